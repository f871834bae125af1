//! Holding a cell or a whole node as it is, and letting it go.

use askama::Template;
use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::TimeDelta;
use serde::Deserialize;

use super::super::failure::Failure;
use super::super::page::PageContext;
use super::super::paths::AddresseeOfPath;
use super::super::routes::Routes;
use super::super::shell::{Nav, Shell};
use crate::access::AccessError;
use crate::model::heartbeat::HoldReport;
use crate::model::order::Addressee;
use crate::store::ErrorKind;
use crate::yaml::HumanDuration;

/// How long things are usually held, and in words.
const LASTS: [(&str, &str); 7] = [
    ("30m", "30 minutes"),
    ("2h", "2 hours"),
    ("8h", "8 hours"),
    ("1d", "a day"),
    ("3d", "3 days"),
    ("7d", "a week"),
    ("30d", "30 days"),
];

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/cells/{node}/{cell}/hold", ask_hold)
        .post("/cells/{node}/{cell}/hold", hold)
        .get("/cells/{node}/{cell}/unhold", ask_release)
        .post("/cells/{node}/{cell}/unhold", release)
        .get("/agents/{node}/hold", ask_hold)
        .post("/agents/{node}/hold", hold)
        .get("/agents/{node}/unhold", ask_release)
        .post("/agents/{node}/unhold", release)
}

/// What the forms send back.
#[derive(Debug, Clone, Default, Deserialize)]
struct Sent {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    lasts: String,
}

#[derive(Template)]
#[template(path = "holds/page.html")]
struct Page<'a> {
    shell: Shell,
    to: &'a Addressee,
    is_hold: bool,
    /// What holds it now.
    now: Option<HoldReport>,
    sent: &'a Sent,
    error: Option<String>,
}

impl Page<'_> {
    /// Where the form came from, and leads back to.
    fn place(&self) -> String {
        place(self.to)
    }

    fn lasts(&self) -> [(&'static str, &'static str, bool); 7] {
        let chosen = if self.sent.lasts.is_empty() { "2h" } else { &self.sent.lasts };
        LASTS.map(|(value, words)| (value, words, value == chosen))
    }
}

fn place(to: &Addressee) -> String {
    match to.cell_id() {
        Some(cell) => format!("/cells/{cell}"),
        None => format!("/agents/{}", to.node),
    }
}

fn show(
    page: &PageContext,
    to: &Addressee,
    is_hold: bool,
    sent: &Sent,
    failed: Option<&Failure>,
) -> Result<Response, Failure> {
    let view = page.view()?;
    let node = view.node(&to.node).ok_or_else(|| Failure::not_found(format_args!("agent {}", to.node)))?;
    let now = match &to.cell {
        Some(cell) => {
            let cell = node.cell(cell).ok_or_else(|| Failure::not_found(format_args!("cell {to}")))?;
            cell.report().and_then(|report| report.hold.clone())
        }
        None => node.heartbeat.as_ref().and_then(|beat| beat.hold.clone()),
    };
    let (title, cli) = match is_hold {
        true => (format!("Hold {to}"), format!("fleetman hold {to} --reason … --for 2h")),
        false => (format!("End the hold of {to}"), format!("fleetman unhold {to}")),
    };
    let nav = if to.cell.is_some() { Nav::Cells } else { Nav::Agents };
    let error = failed.map(|failure| failure.detail().to_owned());
    let template = Page { shell: page.shell(title, nav, cli), to, is_hold, now, sent, error };
    page.render_with(failed.map_or(StatusCode::OK, Failure::status), &template)
}

async fn ask_hold(
    page: PageContext,
    AddresseeOfPath(to): AddresseeOfPath,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    show(&page, &to, true, &sent, None)
}

async fn ask_release(
    page: PageContext,
    AddresseeOfPath(to): AddresseeOfPath,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    show(&page, &to, false, &sent, None)
}

async fn hold(
    page: PageContext,
    AddresseeOfPath(to): AddresseeOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let lasts = sent.lasts.parse::<HumanDuration>().ok().and_then(|lasts| TimeDelta::from_std(lasts.0).ok());
    let Some(lasts) = lasts else {
        let detail = "Say how long it is to be held: 30m, 2h or 1d.";
        let failure = Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail);
        return show(&page, &to, true, &sent, Some(&failure));
    };
    let ordered = page.may().hold(&to, lasts, &sent.reason).await.map(drop);
    ended(&page, &to, true, &sent, ordered)
}

async fn release(
    page: PageContext,
    AddresseeOfPath(to): AddresseeOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let ordered = page.may().because(&sent.reason).release(&to, None).await.map(drop);
    ended(&page, &to, false, &sent, ordered)
}

/// Leads back to what it was about; or shows the form again, with what was typed.
fn ended(
    page: &PageContext,
    to: &Addressee,
    is_hold: bool,
    sent: &Sent,
    ordered: Result<(), AccessError>,
) -> Result<Response, Failure> {
    match ordered {
        Ok(()) => {
            page.caller.fleet.snapshot.look_soon();
            Ok(page.lead_to(&place(to)))
        }
        Err(AccessError::Controller(error)) if error.kind() == ErrorKind::Invalid => {
            show(page, to, is_hold, sent, Some(&error.into()))
        }
        Err(error) => Err(error.into()),
    }
}
