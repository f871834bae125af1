//! `/settings/account`: one's own password and sessions.

use askama::Template;
use axum::Form;
use axum::extract::{Extension, Query};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::review::{self, Change};
use super::users::hash;
use crate::access::{GOOD_CHARS, LEAST_CHARS, SignInError, SignedIn, Via, listed};
use crate::web::caller::Caller;
use crate::web::failure::Failure;
use crate::web::identity::Who;
use crate::web::page::PageContext;
use crate::web::pages::sign_in::sentence;
use crate::web::shell::{Nav, Shell};

#[derive(Template)]
#[template(path = "settings/account.html")]
struct Page {
    shell: Shell,
    may: String,
    /// Whose affair the password is, if not theirs here.
    elsewhere: Option<&'static str>,
    fixed: Option<&'static str>,
    /// Whether their sessions can be ended from here.
    can_end: bool,
    session: Option<Own>,
    is_changed: bool,
    error: Option<String>,
    least: usize,
    good: usize,
}

/// The session of who asks.
struct Own {
    began: DateTime<Utc>,
    ends: DateTime<Utc>,
    idle: String,
}

/// What the form for another password sends.
#[derive(Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    present: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    again: String,
    #[serde(default)]
    reason: String,
}

/// What was just done.
#[derive(Deserialize)]
pub(super) struct Done {
    #[serde(default)]
    done: String,
}

pub(super) async fn account(
    page: PageContext,
    Extension(who): Extension<Who>,
    Query(Done { done }): Query<Done>,
) -> Result<Response, Failure> {
    show(&page, &who, done == "password", None)
}

fn show(page: &PageContext, who: &Who, is_changed: bool, refused: Option<Failure>) -> Result<Response, Failure> {
    let gate = &page.caller.portal.gate;
    let identity = page.may().identity();
    let of_config = gate.directory().of_config().iter().any(|user| user.name == identity.user);
    let elsewhere = match identity.via {
        Via::Oidc => Some("You signed in with another service; your password is changed there."),
        _ if of_config => Some("You are named in the config of the controller; your password is changed there."),
        Via::Password | Via::Token { .. } => None,
    };
    let session = match who {
        Who::Known { session: Some(session), .. } => Some(Own {
            began: session.began,
            ends: gate.sessions().ends(session),
            idle: crate::web::shell::span(gate.sessions().idle),
        }),
        Who::Known { .. } | Who::Nobody(_) => None,
    };
    let status = refused.as_ref().map_or(StatusCode::OK, Failure::status);
    let template = Page {
        shell: page.shell("Account", Nav::Settings, format!("fleetman user passwd {}", identity.user)),
        may: listed(&identity.grants),
        elsewhere,
        fixed: gate.directory().is_fixed(),
        can_end: gate.directory().is_fixed().is_none() && (identity.via == Via::Oidc || !of_config),
        session,
        is_changed,
        error: refused.map(|failure| failure.detail().to_owned()),
        least: LEAST_CHARS,
        good: GOOD_CHARS,
    };
    page.render_with(status, &template)
}

pub(super) async fn change_password(
    page: PageContext,
    Extension(who): Extension<Who>,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    match try_change(&page, &who, &sent).await {
        Ok(response) => Ok(response),
        Err(failure) if failure.status() == StatusCode::FORBIDDEN => Err(failure),
        Err(failure) => show(&page, &who, false, Some(failure)),
    }
}

async fn try_change(page: &PageContext, who: &Who, sent: &Sent) -> Result<Response, Failure> {
    check_present(&page.caller, who, &sent.present).await?;
    let hash = hash(page, &page.may().identity().user, &sent.password, &sent.again).await?;
    review::show(page, Change::OwnPassword(hash), &sent.reason)
}

/// Gives whoever asks another password, and begins a session anew: the change ends every one, also the one that it is
/// made in.
pub(in crate::web) async fn change_own(
    caller: &Caller,
    who: &Who,
    present: &str,
    password: &str,
) -> Result<SignedIn, Failure> {
    let (gate, name) = (&caller.portal.gate, &caller.may.identity().user);
    check_present(caller, who, present).await?;
    let hash = caller.hash_password(name, password).await?;
    caller.may.change_own_password(gate.directory(), hash, None).await?;
    gate.begin_again(name).map_err(|error| refusal(&error))
}

async fn check_present(caller: &Caller, who: &Who, present: &str) -> Result<(), Failure> {
    // A token is not told whether it guessed the password.
    caller.may.check_in_person("passwords")?;
    let Who::Known { session: Some(session), .. } = who else { return Err(Failure::unauthenticated()) };
    caller.portal.gate.check_password(session, present).await.map_err(|error| refusal(&error))
}

fn refusal(error: &SignInError) -> Failure {
    let status = match error {
        SignInError::Throttled { .. } => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Failure::new(status, "password", sentence(error))
}

pub(super) async fn end_sessions(page: PageContext) -> Result<Response, Failure> {
    review::show(&page, Change::EndOwnSessions, "")
}
