//! The form that redeploy, rollback, stop, remove, pause, resume and delete share: how the cell stands, what will
//! happen, why, and what must still be so.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::conflict;
use crate::access::AccessError;
use crate::controller::{CellView, Claim, ControllerError, Guard, LivenessLimits};
use crate::model::{CellId, VersionName};
use crate::store::ErrorKind;
use crate::web::changes::ChangesView;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

/// What every such form sends back.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    pub(super) reason: String,
    /// The generation that the form was made on; 0 = never published.
    pub(super) if_generation: Option<u64>,
    /// What was there then, in words.
    #[serde(default)]
    pub(super) seen: String,
    #[serde(default)]
    pub(super) retry: Option<String>,
    #[serde(default)]
    pub(super) force: Option<String>,
    #[serde(default)]
    pub(super) purge_data: Option<String>,
    /// The version to go back to.
    #[serde(default)]
    pub(super) to: Option<String>,
    /// The name of what is deleted, typed once more.
    #[serde(default)]
    pub(super) name: String,
}

impl Sent {
    pub(super) fn guard(&self) -> Guard {
        Guard { if_generation: self.if_generation, expect: None }
    }

    pub(super) fn reason(&self) -> Option<String> {
        Some(self.reason.trim().to_owned()).filter(|reason| !reason.is_empty())
    }
}

/// What can be ticked.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) is_set: bool,
}

/// One of the versions to choose from.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) is_chosen: bool,
}

/// What a form is about.
#[derive(Debug)]
pub(super) struct Order {
    /// The last part of its path.
    pub(super) verb: &'static str,
    pub(super) title: String,
    /// What will happen, in sentences.
    pub(super) effects: Vec<String>,
    pub(super) cli: String,
    pub(super) button: &'static str,
    pub(super) is_dangerous: bool,
    pub(super) choices: Vec<Choice>,
    pub(super) versions: Vec<Version>,
    /// What would differ, if that can be told.
    pub(super) changes: Option<ChangesView>,
    /// Whether a reason has to be given.
    pub(super) needs_reason: bool,
    /// What has to be typed, so that it is not deleted by mistake.
    pub(super) typed: Option<String>,
    /// Why it cannot be done as things are.
    pub(super) obstacle: Option<String>,
}

impl Order {
    pub(super) fn new(verb: &'static str, title: String, button: &'static str, cli: String) -> Self {
        Self {
            verb,
            title,
            effects: Vec::new(),
            cli,
            button,
            is_dangerous: false,
            choices: Vec::new(),
            versions: Vec::new(),
            changes: None,
            needs_reason: false,
            typed: None,
            obstacle: None,
        }
    }
}

/// A cell as the form is made on it.
pub(super) struct Stand {
    pub(super) view: CellView,
    pub(super) now: Option<Claim>,
}

impl Stand {
    /// Reads the cell anew: what the background saw may be seconds old.
    pub(super) async fn read(page: &PageContext, cell: &CellId) -> Result<Self, Failure> {
        let (view, _) = page.may().cell_status(cell, LivenessLimits::default()).await?;
        let now = view.desired().map(|desired| desired.claim.clone());
        Ok(Self { view, now })
    }

    /// The version that is to run now.
    pub(super) fn desired(&self) -> Option<VersionName> {
        self.now.as_ref().and_then(|claim| claim.version.clone())
    }

    /// Whether the form was made on what is there now.
    pub(super) fn is_as_seen(&self, sent: &Sent) -> bool {
        sent.if_generation.is_none_or(|generation| generation == self.generation())
    }

    fn generation(&self) -> u64 {
        self.now.as_ref().map_or(0, |claim| claim.at.generation.get())
    }

    fn words(&self) -> String {
        self.now.as_ref().map_or_else(|| "nothing was ever published".to_owned(), ToString::to_string)
    }
}

#[derive(Template)]
#[template(path = "orders/order.html")]
struct Page<'a> {
    shell: Shell,
    cell: &'a CellId,
    order: &'a Order,
    generation: u64,
    seen: String,
    running: Option<String>,
    sent: &'a Sent,
    error: Option<String>,
}

/// The form.
pub(super) fn show(
    page: &PageContext,
    cell: &CellId,
    stand: &Stand,
    order: &Order,
    sent: &Sent,
    failed: Option<&Failure>,
) -> Result<Response, Failure> {
    let shell = page.shell(order.title.clone(), Nav::Cells, order.cli.clone());
    let running = stand.view.report().and_then(|report| report.running.as_ref());
    let template = Page {
        shell,
        cell,
        order,
        generation: stand.generation(),
        seen: stand.words(),
        running: running.map(|running| running.version.to_string()),
        sent,
        error: failed.map(|failure| failure.detail().to_owned()),
    };
    page.render_with(failed.map_or(StatusCode::OK, Failure::status), &template)
}

/// The answer to a form that was made on another generation than the one that is there now; None if it was not. For
/// changes that are no triggers, and so have no guard of their own.
pub(super) async fn outdated(
    page: &PageContext,
    cell: &CellId,
    sent: &Sent,
    order: &Order,
) -> Result<Option<Response>, Failure> {
    if Stand::read(page, cell).await?.is_as_seen(sent) {
        return Ok(None);
    }
    let detail = "it was changed since this page was made";
    let failure = Failure::new(StatusCode::CONFLICT, "guard", detail);
    let again = format!("/cells/{cell}/{}", order.verb);
    conflict::show(page, cell, &order.title, &failure, &sent.seen, &again).await.map(Some)
}

/// The answer to a change that did not happen: both sides where somebody came first, else the form again, with what
/// was typed.
pub(super) async fn refused(
    page: &PageContext,
    cell: &CellId,
    error: AccessError,
    sent: &Sent,
    again: &str,
    order: Order,
) -> Result<Response, Failure> {
    let is_race = matches!(
        &error,
        AccessError::Controller(
            ControllerError::Lost { .. }
                | ControllerError::Guard { .. }
                | ControllerError::Changed { .. }
                | ControllerError::InputsMoving { .. }
        )
    );
    if is_race {
        return conflict::show(page, cell, &order.title, &error.into(), &sent.seen, again).await;
    }
    let is_mendable = matches!(
        &error,
        AccessError::Controller(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Invalid | ErrorKind::NotFound)
    );
    if !is_mendable {
        return Err(error.into());
    }
    let stand = Stand::read(page, cell).await?;
    show(page, cell, &stand, &order, sent, Some(&error.into()))
}
