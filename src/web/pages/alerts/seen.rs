//! Saying that somebody has seen an alert and is on it, and taking that back.

use askama::Template;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::list::{Row, row};
use crate::access::AccessError;
use crate::model::alert::{Acknowledgement, Alert, AlertKey};
use crate::store::ErrorKind;
use crate::web::address::Asked;
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

/// What the forms send: which alert, and what is said of it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    alert: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    reason: String,
}

impl Sent {
    fn key(&self) -> Result<AlertKey, Failure> {
        self.alert.parse().map_err(|_| self.absent())
    }

    fn absent(&self) -> Failure {
        Failure::not_found(format_args!("open alert {}: it was resolved, or never was", self.alert))
    }

    /// The alert, if it is open and theirs to acknowledge.
    fn open(&self, page: &PageContext) -> Result<Alert, Failure> {
        let key = self.key()?;
        let known = page.caller.fleet.alerts.known().alerts;
        let is_it = |alert: &&Alert| alert.key() == key && page.may().sees_alert(&alert.subject);
        let alert = known.open.iter().find(is_it).ok_or_else(|| self.absent())?;
        page.may().check_acknowledge(&alert.subject)?;
        Ok(alert.clone())
    }
}

#[derive(Template)]
#[template(path = "alerts/ack.html")]
struct Page<'a> {
    shell: Shell,
    sent: &'a Sent,
    row: Row,
    before: Option<Acknowledgement>,
    error: Option<String>,
}

fn show(page: &PageContext, sent: &Sent, failed: Option<Failure>) -> Result<Response, Failure> {
    let alert = sent.open(page)?;
    let cli = format!("fleetman alerts ack {} --note …", quoted(&alert.key().to_string()));
    let shell = page.shell("Acknowledge an alert", Nav::Alerts, cli);
    let status = failed.as_ref().map_or(StatusCode::OK, Failure::status);
    let error = failed.map(|failure| failure.detail().to_owned());
    let row = row(&alert, &shell);
    page.render_with(status, &Page { shell, sent, row, before: alert.acknowledged, error })
}

pub(super) async fn ask(page: PageContext, Asked(sent): Asked<Sent>) -> Result<Response, Failure> {
    show(&page, &sent, None)
}

pub(super) async fn acknowledge(page: PageContext, Form(sent): Form<Sent>) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let key = sent.key()?;
    match page.may().acknowledge(&page.caller.fleet.alerts, &key, &sent.note).await {
        Ok(found) => found.map(|_| page.lead_to("/alerts")).ok_or_else(|| sent.absent()),
        Err(AccessError::Controller(error)) if error.kind() == ErrorKind::Invalid => {
            show(&page, &sent, Some(error.into()))
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "alerts/unack.html")]
struct BackPage {
    shell: Shell,
    alert: String,
    row: Row,
    seen: Acknowledgement,
    reason: String,
}

pub(super) async fn ask_back(page: PageContext, Asked(sent): Asked<Sent>) -> Result<Response, Failure> {
    let alert = sent.open(&page)?;
    let key = alert.key().to_string();
    let Some(seen) = alert.acknowledged.clone() else {
        return Err(Failure::not_found(format_args!("acknowledgement of {key}")));
    };
    let cli = format!("fleetman alerts unack {}", quoted(&key));
    let shell = page.shell("Take back an acknowledgement", Nav::Alerts, cli);
    let row = row(&alert, &shell);
    page.render(&BackPage { shell, alert: key, row, seen, reason: sent.reason })
}

pub(super) async fn take_back(page: PageContext, Form(sent): Form<Sent>) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let key = sent.key()?;
    let found = page.may().because(&sent.reason).unacknowledge(&page.caller.fleet.alerts, &key).await?;
    found.map(|_| page.lead_to("/alerts")).ok_or_else(|| sent.absent())
}
