//! Keeping people from being told of some alerts for a while, and ending that before its time.

use std::str::FromStr;

use askama::Template;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use ulid::Ulid;

use super::list::{Row, row};
use crate::access::AccessError;
use crate::model::alert::{Alert, AlertKind, Silence, SilenceScope};
use crate::store::ErrorKind;
use crate::web::address::Asked;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::lasting;
use crate::web::shell::{Nav, Shell};

/// So many of the alerts that a silence covers are listed.
const MOST: usize = 20;

/// What the forms send: first what is to be silenced, then for how long and why.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Sent {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    node: String,
    #[serde(default)]
    cell: String,
    #[serde(default)]
    lasts: String,
    #[serde(default)]
    reason: String,
}

impl Sent {
    /// What it covers; None as long as nothing is named.
    fn scope(&self) -> Result<Option<SilenceScope>, Failure> {
        let scope = SilenceScope { kind: named(&self.kind)?, node: named(&self.node)?, cell: named(&self.cell)? };
        Ok(Some(scope).filter(|scope| *scope != SilenceScope::default()))
    }

    fn command(&self) -> String {
        let mut command = "fleetman alerts silence".to_owned();
        let scope = [("type", &self.kind), ("node", &self.node), ("cell", &self.cell)];
        if scope.iter().all(|(_, value)| value.is_empty()) {
            command += " --node <node>";
        }
        for (name, value) in scope.into_iter().filter(|(_, value)| !value.is_empty()) {
            command += &format!(" --{name} {}", crate::web::command::quoted(value));
        }
        command + " --for 2h --reason …"
    }
}

fn named<T: FromStr<Err: ToString>>(text: &str) -> Result<Option<T>, Failure> {
    let text = text.trim();
    match text.is_empty() {
        true => Ok(None),
        false => text.parse().map(Some).map_err(|error: T::Err| invalid(error.to_string())),
    }
}

fn invalid(detail: impl Into<String>) -> Failure {
    Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
}

#[derive(Template)]
#[template(path = "alerts/silence.html")]
struct Page<'a> {
    shell: Shell,
    sent: &'a Sent,
    covers: Option<Covers>,
    error: Option<String>,
}

/// What would be silenced.
struct Covers {
    scope: SilenceScope,
    /// The first of what it covers now.
    rows: Vec<Row>,
    total: usize,
}

impl Page<'_> {
    fn kinds(&self) -> [(&'static str, &'static str, bool); 7] {
        AlertKind::ALL.map(|kind| (kind.as_str(), kind.in_words(), kind.as_str() == self.sent.kind))
    }

    fn lasts(&self) -> [(&'static str, &'static str, bool); 7] {
        lasting::choices(&self.sent.lasts)
    }
}

fn show(page: &PageContext, sent: &Sent, failed: Option<Failure>) -> Result<Response, Failure> {
    let (scope, failed) = match sent.scope() {
        Ok(scope) => (scope, failed),
        Err(wrong) => (None, Some(failed.unwrap_or(wrong))),
    };
    let shell = page.shell("Silence alerts", Nav::Alerts, sent.command());
    let covers = scope.map(|scope| {
        let known = page.caller.fleet.alerts.known().alerts;
        let is_covered =
            |alert: &&Alert| scope.covers(alert.kind, &alert.subject) && page.may().sees_alert(&alert.subject);
        let mut open: Vec<&Alert> = known.open.iter().filter(is_covered).collect();
        open.sort_by_key(|alert| (alert.severity, alert.key()));
        let rows = open.iter().take(MOST).map(|alert| row(alert, &shell)).collect();
        Covers { rows, total: open.len(), scope }
    });
    let status = failed.as_ref().map_or(StatusCode::OK, Failure::status);
    let error = failed.map(|failure| failure.detail().to_owned());
    page.render_with(status, &Page { shell, sent, covers, error })
}

pub(super) async fn ask(page: PageContext, Asked(sent): Asked<Sent>) -> Result<Response, Failure> {
    show(&page, &sent, None)
}

pub(super) async fn silence(page: PageContext, Form(sent): Form<Sent>) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let scope = match sent.scope() {
        Ok(Some(scope)) => scope,
        Ok(None) => return show(&page, &sent, Some(invalid("Name a type, an agent or a cell: never everything."))),
        Err(failure) => return show(&page, &sent, Some(failure)),
    };
    let Some(lasts) = lasting::read(&sent.lasts) else {
        return show(&page, &sent, Some(invalid("Say how long nobody is to be told: 30m, 2h or 1d.")));
    };
    let board = &page.caller.fleet.alerts;
    match page.may().silence(board, scope, &sent.reason, lasts).await {
        Ok(_) => Ok(page.lead_to("/alerts")),
        Err(AccessError::Controller(error)) if error.kind() == ErrorKind::Invalid => {
            show(&page, &sent, Some(error.into()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Which silence is to end, and why.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Ending {
    #[serde(default)]
    id: String,
    #[serde(default)]
    reason: String,
}

#[derive(Template)]
#[template(path = "alerts/unsilence.html")]
struct EndPage {
    shell: Shell,
    silence: Silence,
    /// How many alerts are told of then.
    quiet: usize,
    reason: String,
}

fn absent(id: &str) -> Failure {
    Failure::not_found(format_args!("silence {id}: it ended, or never was"))
}

pub(super) async fn ask_end(page: PageContext, Asked(sent): Asked<Ending>) -> Result<Response, Failure> {
    let known = page.caller.fleet.alerts.known().alerts;
    let found = known.silences.iter().find(|it| it.id.to_string() == sent.id && page.may().sees_silence(it));
    let silence = found.cloned().ok_or_else(|| absent(&sent.id))?;
    page.may().check_silence(&silence.scope)?;
    let quiet = known.open.iter().filter(|alert| silence.scope.covers(alert.kind, &alert.subject)).count();
    let cli = format!("fleetman alerts unsilence {}", silence.id);
    let shell = page.shell(format!("End the silence of {}", silence.scope), Nav::Alerts, cli);
    page.render(&EndPage { shell, silence, quiet, reason: sent.reason })
}

pub(super) async fn end(page: PageContext, Form(sent): Form<Ending>) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let id = sent.id.parse::<Ulid>().map_err(|_| absent(&sent.id))?;
    let ended = page.may().because(&sent.reason).end_silence(&page.caller.fleet.alerts, id).await?;
    ended.map(|_| page.lead_to("/alerts")).ok_or_else(|| absent(&sent.id))
}
