//! What stands between connections and the router: who is let in, how it came, and how bodies end.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;

use super::bodies::{Paced, is_event_stream, until};
use super::{Arrival, Limits, Settings};
use crate::clock::SharedClock;
use crate::config::Serving;
use crate::web::failure::Failure;
use crate::web::headers;

/// A year, as the lists of browsers ask for at least.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// See the module.
pub(super) struct Front {
    router: TowerToHyperService<Router>,
    settings: Settings,
    /// Whether nobody else is let in, but for this machine itself.
    only_proxies: bool,
    ended: CancellationToken,
    clock: SharedClock,
}

impl Front {
    pub(super) fn new(
        router: Router,
        settings: Settings,
        only_proxies: bool,
        ended: CancellationToken,
        clock: SharedClock,
    ) -> Self {
        Self { router: TowerToHyperService::new(router), settings, only_proxies, ended, clock }
    }

    /// The answer to a request from `peer`.
    pub(super) async fn answer(
        &self,
        peer: IpAddr,
        is_tls: bool,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        if self.only_proxies && !is_proxy(peer, &self.settings.serving) {
            let detail = "only the proxies among trusted_proxies may connect here: use the public URL";
            return Ok(refusal(StatusCode::FORBIDDEN, "not_a_proxy", detail));
        }
        let Some(arrival) = Arrival::of(request.uri(), request.headers(), peer, is_tls, &self.settings) else {
            let detail = "the Host of this request names no host";
            return Ok(refusal(StatusCode::BAD_REQUEST, "invalid_host", detail));
        };
        let is_public_and_secure = arrival.is_public_and_secure();
        request.extensions_mut().insert(arrival);
        let Limits { stall, slowest_bytes_per_sec, .. } = self.settings.limits;
        let request = request.map(|body| Body::new(Paced::new(body, stall, slowest_bytes_per_sec, self.clock.clone())));
        let mut response = self.router.call(request).await?;
        if is_public_and_secure {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
        }
        if is_event_stream(response.headers()) {
            // It would never end by itself.
            return Ok(response.map(|body| until(self.ended.clone(), body)));
        }
        Ok(response)
    }
}

/// Whether `peer` may connect where only proxies may: one of them, or this machine itself.
fn is_proxy(peer: IpAddr, serving: &Serving) -> bool {
    serving.trusts(peer) || peer.to_canonical().is_loopback()
}

/// An answer instead of the router's. Whoever gets it has nothing more to ask on this connection.
pub(super) fn refusal(status: StatusCode, code: &str, detail: &str) -> Response<Body> {
    let mut response = Failure::new(status, code, detail).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers::complete(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_only_proxies_may_connect_nobody_else_does() {
        let serving = Serving { trusted_proxies: vec!["10.0.0.0/24".parse().unwrap()], ..Serving::default() };
        for (peer, expected) in
            [("10.0.0.7", true), ("::ffff:10.0.0.7", true), ("127.0.0.1", true), ("::1", true), ("10.0.1.7", false)]
        {
            assert_eq!(is_proxy(peer.parse().unwrap(), &serving), expected, "{peer}");
        }
    }
}
