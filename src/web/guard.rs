//! From where a request may come.
//!
//! A page elsewhere on the web must neither change anything here (cross-site request forgery) nor read anything by
//! naming this machine (DNS rebinding). Cookies are sent along with whatever a browser asks, so each request says
//! where it comes from: `Sec-Fetch-Site` (Fetch Metadata) where the browser sends it, else `Origin`.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::failure::Failure;

/// Under which names this server answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins {
    /// Scheme, host and port under which people reach it, such as `https://fleet.example.com`.
    pub(super) public: Option<String>,
    /// Whether it answers under every name, and not only under that, addresses and `localhost`.
    pub(super) any_host: bool,
}

impl Origins {
    /// Whether a `Host` header names this server.
    fn are_named_by(&self, host: &str) -> bool {
        let public = self.public.as_deref().and_then(|public| public.split_once("://")).map(|(_, host)| host);
        self.any_host || public.is_some_and(|public| public.eq_ignore_ascii_case(host)) || is_address(host)
    }
}

/// Whether a `Host` header names an address or `localhost`.
fn is_address(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

/// Refuses what comes from elsewhere.
pub(super) async fn check(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    match refusal(&origins, request.method(), request.headers()) {
        None => next.run(request).await,
        Some(failure) => failure.into_response(),
    }
}

fn refusal(origins: &Origins, method: &Method, headers: &HeaderMap) -> Option<Failure> {
    let text = |name| headers.get(name).map(|value: &axum::http::HeaderValue| value.to_str().unwrap_or("?"));
    let host = text(header::HOST).unwrap_or_default();
    if !host.is_empty() && !origins.are_named_by(host) {
        let detail = "this server answers under `public_url` of its config, addresses and localhost only; \
            --insecure-http lifts that";
        return Some(Failure::new(StatusCode::MISDIRECTED_REQUEST, "foreign_host", detail));
    }
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return None;
    }
    // Programs that send a token send no cookie that a page could abuse.
    if text(header::AUTHORIZATION).is_some_and(|value| value.starts_with("Bearer ")) {
        return None;
    }
    let is_own = match (text(header::HeaderName::from_static("sec-fetch-site")), text(header::ORIGIN)) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => is_same(origins, origin, host),
        // Browsers send one or the other with every form.
        (None, None) => false,
    };
    let detail = "the request comes from another site; open the page here and send its form again";
    (!is_own).then(|| Failure::new(StatusCode::FORBIDDEN, "cross_site", detail))
}

/// Whether `Origin` is `public_url`, or the host that was asked. `null` is neither.
fn is_same(origins: &Origins, origin: &str, host: &str) -> bool {
    let of_host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    origins.public.as_deref().is_some_and(|public| public.eq_ignore_ascii_case(origin))
        || of_host.is_some_and(|of_host| !host.is_empty() && of_host.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(origins: &Origins, method: Method, headers: &[(&'static str, &str)]) -> Option<StatusCode> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (header::HeaderName::from_static(name), axum::http::HeaderValue::from_str(value).unwrap())
            })
            .collect();
        refusal(origins, &method, &headers).map(|failure| failure.status())
    }

    #[test]
    fn only_own_names_are_answered_under() {
        let origins = Origins { public: Some("https://fleet.example.com".to_owned()), any_host: false };
        for own in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "10.0.0.1", "Fleet.example.com"] {
            assert_eq!(code(&origins, Method::GET, &[("host", own)]), None, "{own}");
        }
        let foreign = ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "[evil]:1", "localhost.evil"];
        for foreign in foreign {
            let refused = Some(StatusCode::MISDIRECTED_REQUEST);
            assert_eq!(code(&origins, Method::GET, &[("host", foreign)]), refused, "{foreign}");
            assert_eq!(code(&Origins { any_host: true, ..origins.clone() }, Method::GET, &[("host", foreign)]), None);
        }
    }

    #[test]
    fn a_page_elsewhere_changes_nothing() {
        let origins = Origins { public: Some("https://fleet.example.com".to_owned()), any_host: false };
        let refused = Some(StatusCode::FORBIDDEN);
        let host = ("host", "10.0.0.1:8080");
        for (headers, expected) in [
            (vec![host, ("sec-fetch-site", "same-origin")], None),
            (vec![host, ("sec-fetch-site", "none")], None),
            (vec![host, ("sec-fetch-site", "cross-site")], refused),
            (vec![host, ("sec-fetch-site", "same-site")], refused),
            (vec![host, ("sec-fetch-site", "cross-site"), ("origin", "http://10.0.0.1:8080")], refused),
            (vec![host, ("origin", "http://10.0.0.1:8080")], None),
            (vec![host, ("origin", "https://fleet.example.com")], None),
            (vec![host, ("origin", "http://10.0.0.1")], refused),
            (vec![host, ("origin", "https://evil.example")], refused),
            (vec![host, ("origin", "null")], refused),
            (vec![("origin", "http://")], refused),
            (vec![host], refused),
            (vec![host, ("authorization", "Basic x")], refused),
            (vec![host, ("authorization", "Bearer x"), ("origin", "https://evil.example")], None),
        ] {
            assert_eq!(code(&origins, Method::POST, &headers), expected, "{headers:?}");
            assert_eq!(code(&origins, Method::GET, &headers), None, "{headers:?}");
        }
    }
}
