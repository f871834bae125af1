//! The form that redeploy, rollback, stop, remove, pause, resume and delete share: how the cell stands, what will
//! happen, why, and what must still be so.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::conflict::{self, Late, Seen};
use crate::access::AccessError;
use crate::controller::{CellView, Claim, Guard, Known, LivenessLimits, Text};
use crate::model::{CellId, VersionName};
use crate::store::{ETag, ErrorKind};
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
    /// The store's name for the cell's document as the form was made on it, for changes of that.
    #[serde(default)]
    pub(super) etag: String,
    /// That document.
    #[serde(default)]
    base: String,
    #[serde(default)]
    pub(super) retry: Option<String>,
    #[serde(default)]
    pub(super) force: Option<String>,
    #[serde(default)]
    pub(super) override_windows: Option<String>,
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

    /// What is known of the cell's document.
    pub(super) fn known(&self) -> Known {
        if self.etag.is_empty() { Known::Anything } else { Known::Tag(ETag::from(self.etag.clone())) }
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
    /// What its path ends in, behind the cell's.
    pub(super) verb: String,
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
    /// Whether it changes the cell's document, and no trigger.
    pub(super) is_of_document: bool,
}

impl Order {
    pub(super) fn new(verb: impl Into<String>, title: String, button: &'static str, cli: String) -> Self {
        Self {
            verb: verb.into(),
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
            is_of_document: false,
        }
    }

    /// What was asked for by `sent`, and came too late.
    fn late<'a>(&'a self, cell: &'a CellId, sent: &'a Sent) -> Late<'a> {
        let flag = |name, is_set: bool| is_set.then(|| (name, "on".to_owned()));
        let text = |name, text: &str| (!text.is_empty()).then(|| (name, text.to_owned()));
        let flags = [
            flag("retry", sent.retry.is_some()),
            flag("force", sent.force.is_some()),
            flag("override_windows", sent.override_windows.is_some()),
            flag("purge_data", sent.purge_data.is_some()),
        ];
        let texts = [text("reason", &sent.reason), text("to", sent.to.as_deref().unwrap_or_default())];
        Late {
            cell,
            verb: &self.verb,
            title: &self.title,
            generation: sent.if_generation,
            version: sent.to.as_deref().and_then(|to| VersionName::new(to).ok()),
            wanted: self
                .choices
                .iter()
                .filter(|choice| choice.is_set)
                .map(|choice| ("With", choice.label.to_owned()))
                .collect(),
            reason: sent.reason.trim(),
            seen: if sent.base.is_empty() { Seen::Nothing } else { Seen::Document(&sent.base) },
            again: flags.into_iter().chain(texts).flatten().collect(),
        }
    }
}

/// A cell as the form is made on it.
pub(super) struct Stand {
    pub(super) view: CellView,
    /// The cell's document, where that is what is to be changed.
    pub(super) document: Option<Text>,
}

impl Stand {
    /// Reads the cell anew: what the background saw may be seconds old.
    pub(super) async fn read(page: &PageContext, cell: &CellId) -> Result<Self, Failure> {
        let (view, _) = page.may().cell_status(cell, LivenessLimits::default()).await?;
        Ok(Self { view, document: None })
    }

    /// The same, with all that `order` is about.
    pub(super) async fn of(page: &PageContext, cell: &CellId, order: &Order) -> Result<Self, Failure> {
        let document = if order.is_of_document { Some(page.may().get_cell(cell).await?) } else { None };
        Ok(Self { document, ..Self::read(page, cell).await? })
    }

    /// The version that is to run now.
    pub(super) fn desired(&self) -> Option<VersionName> {
        self.claim()?.version.clone()
    }

    pub(super) fn claim(&self) -> Option<&Claim> {
        self.view.desired().map(|desired| &desired.claim)
    }

    /// Whether the form was made on what is there now.
    pub(super) fn is_as_seen(&self, sent: &Sent) -> bool {
        sent.if_generation.is_none_or(|generation| generation == self.generation())
    }

    fn generation(&self) -> u64 {
        self.claim().map_or(0, |claim| claim.at.generation.get())
    }
}

#[derive(Template)]
#[template(path = "orders/order.html")]
struct Page<'a> {
    shell: Shell,
    cell: &'a CellId,
    order: &'a Order,
    stand: &'a Stand,
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
    let error = failed.map(|failure| failure.detail().to_owned());
    let template = Page { shell, cell, order, stand, sent, error };
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
    conflict::show(page, &order.late(cell, sent), &failure).await.map(Some)
}

/// The answer to a change that did not happen: both sides where somebody came first, else the form again, with what
/// was typed.
pub(super) async fn refused(
    page: &PageContext,
    cell: &CellId,
    error: AccessError,
    sent: &Sent,
    order: Order,
) -> Result<Response, Failure> {
    if matches!(&error, AccessError::Controller(error) if error.is_overtaken()) {
        return conflict::show(page, &order.late(cell, sent), &error.into()).await;
    }
    let is_mendable = matches!(
        &error,
        AccessError::Controller(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Invalid | ErrorKind::NotFound)
    );
    if !is_mendable {
        return Err(error.into());
    }
    let stand = Stand::of(page, cell, &order).await?;
    show(page, cell, &stand, &order, sent, Some(&error.into()))
}
