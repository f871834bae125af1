//! Whoever asks: who they are, what they may do, and what they change of their own account.

use std::sync::Arc;

use axum::Extension;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::app::Portal;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::identity::Who;
use super::super::listener::Arrival;
use super::super::pages;
use super::answer::Has;
use super::operation::{Operation, Operations};
use super::request::Sent;
use crate::access::Via;
use crate::model::UserName;
use crate::model::users::{Grant, TokenId};

pub(super) fn operations() -> Operations {
    Operations::of("Account")
        .get("/api/v1/me", me, Operation::new("getMe", "viewer", "Tells who asks, and what they may do.").gives::<Me>())
        .put(
            "/api/v1/me/password",
            change_password,
            Operation::new(
                "changeOwnPassword",
                "viewer",
                "Gives whoever asks another password, which ends their other sessions.",
            )
            .in_person()
            .takes::<Passwords>()
            .status(StatusCode::NO_CONTENT)
            .also(StatusCode::TOO_MANY_REQUESTS),
        )
        .post(
            "/api/v1/me/end-sessions",
            end_sessions,
            Operation::new("endOwnSessions", "viewer", "Ends all sessions of whoever asks.")
                .in_person()
                .status(StatusCode::NO_CONTENT),
        )
}

/// Whoever asks.
#[derive(Debug, Serialize, JsonSchema)]
struct Me {
    /// The name that they sign in with.
    name: UserName,
    /// What they may do.
    grants: Vec<Grant>,
    /// How they showed who they are: `password`, `oidc` or `token`.
    via: &'static str,
    /// Whether the config of this controller names them, and is where they are changed.
    of_config: bool,
    /// The token that speaks for them, if one does.
    token: Option<OwnToken>,
    /// The session that they are in, unless a token speaks for them.
    session: Option<OwnSession>,
}

/// A token that speaks for whoever asks.
#[derive(Debug, Serialize, JsonSchema)]
struct OwnToken {
    /// Its public half.
    #[schemars(with = "String")]
    id: TokenId,
    /// What it may do at most: less than its user may, or as much.
    grants: Vec<Grant>,
}

/// The session of whoever asks.
#[derive(Debug, Serialize, JsonSchema)]
struct OwnSession {
    /// When it was begun.
    began_at: DateTime<Utc>,
    /// When it is over in any case.
    ends_at: DateTime<Utc>,
    /// After so many seconds without a request it is over before.
    idle_secs: u64,
}

/// The password that counts, and another.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Passwords {
    /// The one that counts.
    present: String,
    /// The one that is to count.
    password: String,
}

/// A caller who asks in a session of their own: found out before their request is read.
struct InPerson(Caller);

impl FromRequestParts<Arc<Portal>> for InPerson {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, portal: &Arc<Portal>) -> Result<Self, Failure> {
        let caller = Caller::from_request_parts(parts, portal).await?;
        caller.may.check_in_person("passwords and sessions")?;
        Ok(Self(caller))
    }
}

async fn me(caller: Caller, Extension(who): Extension<Who>, has: Has) -> Result<Response, Failure> {
    let (gate, identity) = (&caller.portal.gate, caller.may.identity());
    let (via, token) = match &identity.via {
        Via::Password => ("password", None),
        Via::Oidc => ("oidc", None),
        Via::Token { id, grants } => ("token", Some(OwnToken { id: id.clone(), grants: grants.clone() })),
    };
    let session = match who {
        Who::Known { session: Some(session), .. } => Some(OwnSession {
            began_at: session.began,
            ends_at: gate.sessions().ends(&session),
            idle_secs: gate.sessions().idle.as_secs(),
        }),
        Who::Known { .. } | Who::Nobody(_) => None,
    };
    has.json(&Me {
        name: identity.user.clone(),
        grants: identity.grants.clone(),
        via,
        of_config: gate.directory().of_config().iter().any(|user| user.name == identity.user),
        token,
        session,
    })
}

async fn change_password(
    InPerson(caller): InPerson,
    Extension(who): Extension<Who>,
    Extension(arrival): Extension<Arrival>,
    Sent(sent): Sent<Passwords>,
) -> Result<Response, Failure> {
    caller.check_writable()?;
    let signed_in = pages::change_password(&caller, &who, &sent.present, &sent.password).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    pages::set_cookies(&mut response, &arrival, &signed_in)?;
    Ok(response)
}

async fn end_sessions(InPerson(caller): InPerson) -> Result<StatusCode, Failure> {
    caller.check_writable()?;
    caller.may.end_own_sessions(caller.portal.gate.directory(), None).await?;
    Ok(StatusCode::NO_CONTENT)
}
