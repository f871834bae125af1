//! Who a request is from: the session in its cookie, or the token that a program sends.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::app::Portal;
use super::cookie::Cookie;
use super::failure::Failure;
use super::listener::Arrival;
use super::page::FRAGMENT;
use crate::access::{Identity, Session, SessionEnd};
use crate::controller::Actor;

/// Who asks, among the extensions of a request.
#[derive(Debug, Clone)]
pub(super) enum Who {
    /// Somebody.
    Known {
        /// As far as rights go.
        identity: Arc<Identity>,
        /// Their session, unless a token speaks for them.
        session: Option<Arc<Session>>,
    },
    /// Nobody; a cookie or a token that was of no use says why.
    Nobody(Option<SessionEnd>),
}

impl Who {
    /// The session of whoever asks, if they have one.
    pub(super) fn into_session(self) -> Option<Arc<Session>> {
        match self {
            Self::Known { session, .. } => session,
            Self::Nobody(_) => None,
        }
    }
}

/// Finds out who asks, keeps their session going, and writes down what they may not do.
pub(super) async fn recognise(State(portal): State<Arc<Portal>>, mut request: Request, next: Next) -> Response {
    let arrival = request.extensions().get::<Arrival>().cloned();
    let cookie = arrival.as_ref().and_then(Cookie::of);
    let (who, renewed) = who(&portal, request.headers(), cookie);
    let denied = denial(&request, &who, arrival.as_ref());
    // What a page asks for by itself is no use of it.
    let path = request.uri().path();
    // Nor do what caches between may keep: a cookie in it would be everybody's.
    let by_itself = request.headers().contains_key(FRAGMENT) || path == "/live" || path.starts_with("/static/");
    let known = if let Who::Known { identity, .. } = &who { Some(identity.clone()) } else { None };
    request.extensions_mut().insert(who);
    let mut response = next.run(request).await;
    // The page about a failure is for somebody, too.
    if let Some(identity) = known {
        response.extensions_mut().insert(identity);
    }
    if let Some(set) = renewed.filter(|_| !by_itself).and_then(|value| cookie?.set(&value))
        && !response.headers().contains_key(header::SET_COOKIE)
    {
        response.headers_mut().append(header::SET_COOKIE, set);
    }
    if let Some((actor, asked)) = denied
        && response.status() == StatusCode::FORBIDDEN
        && let Some(failure) = response.extensions().get::<Arc<Failure>>()
    {
        portal.gate.note_denial(actor, asked, failure.detail());
    }
    response
}

/// Who asks, and what their cookie is to be from now on.
fn who(portal: &Portal, headers: &HeaderMap, cookie: Option<Cookie>) -> (Who, Option<String>) {
    // Whoever sends a token means it: a cookie that comes along does not count, and a bad token is not made up for.
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let identity = token.and_then(|token| portal.gate.by_token(token.trim()));
        let who = identity.map_or(Who::Nobody(Some(SessionEnd::Unknown)), |identity| Who::Known {
            identity: Arc::new(identity),
            session: None,
        });
        return (who, None);
    }
    let Some(value) = cookie.and_then(|cookie| cookie.find(headers)) else { return (Who::Nobody(None), None) };
    match portal.gate.by_cookie(value) {
        Ok(known) => {
            let (identity, session) = (Arc::new(known.identity), Some(Arc::new(known.session)));
            (Who::Known { identity, session }, known.renewed)
        }
        Err(end) => (Who::Nobody(Some(end)), None),
    }
}

/// What the audit is to say if a change is denied.
fn denial(request: &Request, who: &Who, arrival: Option<&Arrival>) -> Option<(Actor, String)> {
    let Who::Known { identity, .. } = who else { return None };
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return None;
    }
    let path = request.uri().path();
    let source = if path.starts_with("/api/") { "api" } else { "portal" };
    let host = arrival.map(|arrival| arrival.client().to_string()).unwrap_or_default();
    let actor = Actor { user: identity.user.clone(), source: source.to_owned(), host, reason: None };
    Some((actor, format!("{} {path}", request.method())))
}

/// Who asks.
///
/// # Errors
/// [`Failure::unauthenticated`] for nobody.
pub(super) fn of(parts: &Parts) -> Result<Arc<Identity>, Failure> {
    match parts.extensions.get::<Who>() {
        Some(Who::Known { identity, .. }) => Ok(identity.clone()),
        Some(Who::Nobody(_)) | None => Err(Failure::unauthenticated()),
    }
}
