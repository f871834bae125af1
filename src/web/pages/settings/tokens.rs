//! `/settings/tokens`: what programs sign in with.

use std::time::Duration;

use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::grants::{read, written};
use super::review::{self, Change};
use crate::access::{LastUse, NewToken, TokenText, listed};
use crate::controller::ControllerError;
use crate::model::users::TokenId;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A token in the list.
struct Row {
    id: TokenId,
    name: String,
    user: String,
    may: String,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    last_use: LastUse,
    /// Whether that is so long ago that nobody would miss the token.
    is_unused: bool,
    /// The kind and the word of its state.
    state: (&'static str, &'static str),
    is_good: bool,
}

#[derive(Template)]
#[template(path = "settings/tokens.html")]
struct Page<'a> {
    shell: Shell,
    tokens: Vec<Row>,
    /// One that was just made, which is shown this once.
    made: Option<&'a TokenText>,
    fixed: Option<&'static str>,
    sent: &'a Sent,
    error: Option<String>,
}

/// What the form for a new token sends.
#[derive(Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    name: String,
    #[serde(default)]
    may: String,
    #[serde(default)]
    days: u64,
    #[serde(default)]
    reason: String,
}

impl Sent {
    /// What a form begins with.
    fn begun(page: &PageContext) -> Self {
        Self { may: written(&page.may().identity().grants), days: 90, name: String::new(), reason: String::new() }
    }
}

/// The token that a path names.
#[derive(Deserialize)]
pub(super) struct Named {
    id: TokenId,
}

pub(super) async fn list(page: PageContext) -> Result<Response, Failure> {
    show(&page, &Sent::begun(&page), None, None)
}

fn show(
    page: &PageContext,
    sent: &Sent,
    made: Option<&TokenText>,
    refused: Option<Failure>,
) -> Result<Response, Failure> {
    let directory = page.caller.portal.gate.directory();
    let mut tokens = page.may().tokens(directory)?;
    tokens.sort_by_key(|token| std::cmp::Reverse(token.created_at));
    let now = directory.now();
    let row = |token: crate::model::users::Token| {
        let state = match (token.revoked, now < token.expires_at) {
            (true, _) => ("bad", "Revoked"),
            (false, true) => ("good", "Good"),
            (false, false) => ("off", "Ran out"),
        };
        let last_use = directory.last_use(&token);
        Row {
            last_use,
            is_unused: last_use.is_long_ago(now),
            id: token.id,
            name: token.name,
            user: token.user.to_string(),
            may: listed(&token.grants),
            created_at: token.created_at,
            expires_at: token.expires_at,
            state,
            is_good: state.0 == "good",
        }
    };
    let status = refused.as_ref().map_or(StatusCode::OK, Failure::status);
    let template = Page {
        shell: page.shell("Tokens", Nav::Settings, "fleetman token ls".to_owned()),
        tokens: tokens.into_iter().map(row).collect(),
        made,
        fixed: directory.is_fixed(),
        sent,
        error: refused.map(|failure| failure.detail().to_owned()),
    };
    page.render_with(status, &template)
}

pub(super) async fn add(page: PageContext, Form(sent): Form<Sent>) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    match try_add(&page, &sent) {
        Ok(review) => Ok(review),
        Err(failure) if failure.status() == StatusCode::FORBIDDEN => Err(failure),
        Err(failure) => show(&page, &sent, None, Some(failure)),
    }
}

fn try_add(page: &PageContext, sent: &Sent) -> Result<Response, Failure> {
    let days = u32::try_from(sent.days).unwrap_or(u32::MAX);
    let new = NewToken {
        id: Some(TokenText::new_id().map_err(ControllerError::Entropy)?),
        name: sent.name.clone(),
        user: page.may().identity().user.clone(),
        grants: read(&sent.may)?,
        good_for: DAY.saturating_mul(days),
    };
    review::show(page, Change::AddToken(new), &sent.reason)
}

/// The list with a token that was just made.
pub(super) fn made(page: &PageContext, token: &TokenText) -> Result<Response, Failure> {
    show(page, &Sent::begun(page), Some(token), None)
}

pub(super) async fn revoke(page: PageContext, Path(Named { id }): Path<Named>) -> Result<Response, Failure> {
    review::show(&page, Change::RevokeToken(id), "")
}
