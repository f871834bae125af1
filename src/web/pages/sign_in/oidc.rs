//! The way in by another service: there, and back with its answer.

use std::sync::Arc;

use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};

use super::{Back, Next, Page, came_in, in_the_clear, sentence, status};
use crate::access::oidc::{Answer, Departure, Oidc, OidcError};
use crate::web::address::with_query;
use crate::web::app::Portal;
use crate::web::cookie::Cookie;
use crate::web::failure::Failure;
use crate::web::listener::Arrival;

/// What the sign-in page says of the service.
pub(super) struct Elsewhere {
    pub(super) host: String,
    pub(super) href: String,
}

impl Elsewhere {
    pub(super) fn new(oidc: &Oidc, next: &Back) -> Self {
        let href = with_query("/sign-in/oidc", [("next", next.to_string().as_str())]);
        Self { host: oidc.host().to_owned(), href }
    }
}

/// Sends a browser to the service.
pub(super) async fn depart(
    State(portal): State<Arc<Portal>>,
    Extension(arrival): Extension<Arrival>,
    Query(Next { next }): Query<Next>,
) -> Result<Response, Failure> {
    let (oidc, cookie) = (configured(&portal)?, Cookie::of_oidc(&arrival).ok_or_else(in_the_clear)?);
    // The service leads back there, and only there the browser would send the cookie along.
    let public = oidc.public_url();
    if arrival.named().is_some_and(|named| named.host() != public.host()) {
        let page = Page { error: Some(format!("Open {public} and sign in there.")), ..Page::new(&portal, &next) };
        return page.answer(StatusCode::CONFLICT);
    }
    match oidc.depart(&next.to_string()).await {
        Ok(Departure { url, cookie: value }) => {
            let mut response = Redirect::to(&url).into_response();
            response.headers_mut().extend(cookie.set(&value).map(|set| (header::SET_COOKIE, set)));
            Ok(response)
        }
        Err(error) => refused(&portal, &next, &error),
    }
}

/// Lets in whoever comes back.
pub(super) async fn arrive(
    State(portal): State<Arc<Portal>>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    Query(answer): Query<Answer>,
) -> Result<Response, Failure> {
    let (oidc, cookie) = (configured(&portal)?, Cookie::of_oidc(&arrival).ok_or_else(in_the_clear)?);
    let mut response = match oidc.arrive(&answer, cookie.find(&headers)).await {
        Ok(vouched) => {
            let next = Back::from(vouched.next.clone());
            match portal.gate.sign_in_vouched(&vouched, arrival.client()).await {
                Ok(signed_in) => came_in(&arrival, &signed_in, &next)?,
                Err(error) => {
                    let page = Page { error: Some(sentence(&error)), ..Page::new(&portal, &next) };
                    page.answer(status(&error))?
                }
            }
        }
        Err(error) => refused(&portal, &Back::default(), &error)?,
    };
    // It was good for one answer.
    response.headers_mut().extend(cookie.clear().map(|clear| (header::SET_COOKIE, clear)));
    Ok(response)
}

fn configured(portal: &Portal) -> Result<&Oidc, Failure> {
    portal.oidc.as_deref().ok_or_else(|| Failure::not_found("service to sign in with: the config has no oidc"))
}

/// The sign-in page, which says why the service was of no use.
fn refused(portal: &Portal, next: &Back, error: &OidcError) -> Result<Response, Failure> {
    tracing::warn!(error = error as &dyn std::error::Error, "a sign-in with OpenID Connect came to nothing");
    let status = match error {
        OidcError::Began => StatusCode::BAD_REQUEST,
        OidcError::Refused { .. } | OidcError::Name { .. } => StatusCode::FORBIDDEN,
        OidcError::Unreachable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        OidcError::Unusable { .. } | OidcError::Token { .. } => StatusCode::BAD_GATEWAY,
        OidcError::Outbound(_) | OidcError::Entropy(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Page { error: Some(sentence(error)), ..Page::new(portal, next) }.answer(status)
}
