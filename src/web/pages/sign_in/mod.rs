//! Coming in and going out.

mod back;
mod oidc;
mod once;

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use self::back::Back;
use self::oidc::Elsewhere;
use crate::access::{BROWSER_KNOWN_FOR, PasswordError, SessionEnd, SignInError, SignedIn, SignedOut, Source, Visitor};
use crate::controller::Actor;
use crate::store::in_full;
use crate::web::app::Portal;
use crate::web::assets;
use crate::web::cookie::Cookie;
use crate::web::failure::Failure;
use crate::web::identity::Who;
use crate::web::listener::Arrival;
use crate::web::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/sign-in", ask)
        .post("/sign-in", sign_in)
        .get("/sign-in/once", once::ask)
        .post("/sign-in/once", once::claim)
        .get("/sign-in/oidc", oidc::depart)
        .get("/sign-in/oidc/callback", oidc::arrive)
        .post("/sign-out", sign_out)
}

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
struct Next {
    #[serde(default)]
    next: Back,
}

/// What the form sends.
#[derive(Deserialize)]
struct Sent {
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: Back,
}

#[derive(Template)]
#[template(path = "sign_in/page.html")]
struct Page<'a> {
    css: String,
    icon: String,
    next: &'a Back,
    name: &'a str,
    /// Why they have to sign in again, or that they went out.
    notice: Option<String>,
    error: Option<String>,
    /// What is wrong with the list of users.
    alarms: Vec<String>,
    /// Who else says who people are.
    elsewhere: Option<Elsewhere>,
}

impl<'a> Page<'a> {
    fn new(portal: &Portal, next: &'a Back) -> Self {
        let (css, icon) = (assets::path("app.css"), assets::path("icon.svg"));
        let elsewhere = portal.oidc.as_deref().map(|oidc| Elsewhere::new(oidc, next));
        Self { css, icon, next, name: "", notice: None, error: None, alarms: portal.alarms(), elsewhere }
    }

    fn answer(&self, status: StatusCode) -> Result<Response, Failure> {
        Ok((status, Html(self.render()?)).into_response())
    }
}

async fn ask(
    State(portal): State<Arc<Portal>>,
    Extension(who): Extension<Who>,
    Query(Next { next }): Query<Next>,
) -> Result<Response, Failure> {
    let notice = match who {
        Who::Known { session: Some(_), .. } => return Ok(next.redirect()),
        Who::Nobody(Some(end @ (SessionEnd::Idle | SessionEnd::Expired | SessionEnd::Revoked))) => {
            let end = end.to_string();
            Some(format!("{}{}. Sign in again.", end[..1].to_uppercase(), &end[1..]))
        }
        Who::Nobody(_) | Who::Known { .. } => None,
    };
    Page { notice, ..Page::new(&portal, &next) }.answer(StatusCode::OK)
}

async fn sign_in(
    State(portal): State<Arc<Portal>>,
    Extension(arrival): Extension<Arrival>,
    headers: HeaderMap,
    Form(Sent { name, password, next }): Form<Sent>,
) -> Result<Response, Failure> {
    let browser = Cookie::of_browser(&arrival).ok_or_else(in_the_clear)?.find(&headers);
    match portal.gate.sign_in(&name, &password, Visitor { address: arrival.client(), browser }).await {
        Ok(signed_in) => came_in(&arrival, &signed_in, &next),
        Err(error) => {
            let page = Page { name: &name, error: Some(sentence(&error)), ..Page::new(&portal, &next) };
            refused(&error, page.answer(status(&error))?)
        }
    }
}

/// Leads on, with the cookies of a new session: the one that the browser had before is replaced.
fn came_in(arrival: &Arrival, signed_in: &SignedIn, next: &Back) -> Result<Response, Failure> {
    let mut response = next.redirect();
    set_cookies(&mut response, arrival, signed_in)?;
    Ok(response)
}

/// Gives a browser the cookies of a session that began with it.
pub(in crate::web) fn set_cookies(
    response: &mut Response,
    arrival: &Arrival,
    signed_in: &SignedIn,
) -> Result<(), Failure> {
    let cookie = Cookie::of(arrival).ok_or_else(in_the_clear)?;
    let Some(session) = cookie.set(&signed_in.cookie) else {
        return Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "cookie", "the session fits into no cookie"));
    };
    response.headers_mut().append(header::SET_COOKIE, session);
    if let Some(value) = &signed_in.browser
        && let Some(browser) = Cookie::of_browser(arrival).and_then(|cookie| cookie.keep(value, BROWSER_KNOWN_FOR))
    {
        response.headers_mut().append(header::SET_COOKIE, browser);
    }
    Ok(())
}

async fn sign_out(
    State(portal): State<Arc<Portal>>,
    Extension(who): Extension<Who>,
    Extension(arrival): Extension<Arrival>,
) -> Result<Response, Failure> {
    let mut response = match who {
        Who::Known { session: Some(session), identity } => {
            let host = arrival.client().to_string();
            let source = Source::Portal.as_str().to_owned();
            let actor = Actor { user: identity.user.clone(), source, host, reason: None };
            match portal.gate.sign_out(&session, actor).await {
                SignedOut::Everywhere => Redirect::to("/sign-in").into_response(),
                SignedOut::Here { why } => {
                    let text = format!(
                        "You are signed out here. Other controllers that share the key of sessions would take this \
                        browser's old cookie until the session ends by itself: {why}."
                    );
                    let next = Back::default();
                    Page { notice: Some(text), ..Page::new(&portal, &next) }.answer(StatusCode::OK)?
                }
            }
        }
        Who::Known { .. } | Who::Nobody(_) => Redirect::to("/sign-in").into_response(),
    };
    if let Some(clear) = Cookie::of(&arrival).and_then(Cookie::clear) {
        response.headers_mut().append(header::SET_COOKIE, clear);
    }
    Ok(response)
}

/// The status of an answer to somebody who did not come in.
fn status(error: &SignInError) -> StatusCode {
    match error {
        SignInError::Wrong | SignInError::LinkSpent => StatusCode::UNAUTHORIZED,
        SignInError::Vouched(_) => StatusCode::FORBIDDEN,
        SignInError::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
        SignInError::Password(PasswordError::Busy) => StatusCode::SERVICE_UNAVAILABLE,
        SignInError::Password(PasswordError::Weak { .. }) | SignInError::Name(_) => StatusCode::UNPROCESSABLE_ENTITY,
        SignInError::Controller(error) => {
            StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        }
        SignInError::Password(PasswordError::Failed(_)) | SignInError::Entropy(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer to somebody who did not come in, with what programs and browsers go by.
fn refused(error: &SignInError, mut response: Response) -> Result<Response, Failure> {
    if let SignInError::Throttled { wait } = error {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
    }
    Ok(response)
}

/// What went wrong, as a sentence.
pub(in crate::web) fn sentence(error: &dyn std::error::Error) -> String {
    let text = in_full(error);
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

/// A password was sent over a network that anybody may listen on, and nobody said that this is fine.
fn in_the_clear() -> Failure {
    let detail = "this page came without encryption from another machine; name the proxy in `trusted_proxies`, let \
        `fleetman serve` speak TLS, or start it with --insecure-http";
    Failure::new(StatusCode::FORBIDDEN, "in_the_clear", detail)
}
