//! From where a request may come.
//!
//! A page elsewhere on the web must neither change anything here (cross-site request forgery) nor read anything by
//! naming this machine (DNS rebinding). Cookies are sent along with whatever a browser asks, so each request says
//! where it comes from: `Sec-Fetch-Site` (Fetch Metadata) where the browser sends it, else `Origin`.

use axum::Extension;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::failure::Failure;
use super::listener::Arrival;

/// Refuses what comes from elsewhere.
pub(super) async fn check(Extension(arrival): Extension<Arrival>, request: Request, next: Next) -> Response {
    match refusal(&arrival, request.method(), request.headers()) {
        None => next.run(request).await,
        Some(failure) => failure.into_response(),
    }
}

fn refusal(arrival: &Arrival, method: &Method, headers: &HeaderMap) -> Option<Failure> {
    if !arrival.names_this_server() {
        let detail = "this server answers under `public_url` of its config, addresses and localhost only; \
            --insecure-http lifts that";
        return Some(Failure::new(StatusCode::MISDIRECTED_REQUEST, "foreign_host", detail));
    }
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return None;
    }
    let text = |name| headers.get(name).map(|value: &axum::http::HeaderValue| value.to_str().unwrap_or("?"));
    // Programs that send a token send no cookie that a page could abuse.
    if text(header::AUTHORIZATION).is_some_and(|value| value.starts_with("Bearer ")) {
        return None;
    }
    let is_own = match (text(header::HeaderName::from_static("sec-fetch-site")), text(header::ORIGIN)) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => arrival.is_own_origin(origin),
        // Browsers send one or the other with every form.
        (None, None) => false,
    };
    let detail = "the request comes from another site; open the page here and send its form again";
    (!is_own).then(|| Failure::new(StatusCode::FORBIDDEN, "cross_site", detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, Serving};
    use crate::web::listener::Settings;

    fn code(any_host: bool, method: Method, headers: &[(&'static str, &str)]) -> Option<StatusCode> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (header::HeaderName::from_static(name), axum::http::HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let serving = Serving { public_url: Origin::parse("https://fleet.example.com"), ..Serving::default() };
        let settings = Settings { serving, insecure_http: any_host, ..Settings::default() };
        let arrival = Arrival::of(&"/".parse().unwrap(), &headers, [10, 0, 0, 1].into(), false, &settings).unwrap();
        refusal(&arrival, &method, &headers).map(|failure| failure.status())
    }

    #[test]
    fn only_own_names_are_answered_under() {
        assert_eq!(code(false, Method::GET, &[("host", "Fleet.example.com")]), None);
        let foreign = [("host", "evil.example")];
        assert_eq!(code(false, Method::GET, &foreign), Some(StatusCode::MISDIRECTED_REQUEST));
        assert_eq!(code(true, Method::GET, &foreign), None);
    }

    #[test]
    fn a_page_elsewhere_changes_nothing() {
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
            (vec![host, ("origin", "https://10.0.0.1:8080")], refused),
            (vec![host], refused),
            (vec![host, ("authorization", "Basic x")], refused),
            (vec![host, ("authorization", "Bearer x"), ("origin", "https://evil.example")], None),
        ] {
            assert_eq!(code(false, Method::POST, &headers), expected, "{headers:?}");
            assert_eq!(code(false, Method::GET, &headers), None, "{headers:?}");
        }
    }
}
