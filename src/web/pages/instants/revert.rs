//! Going back to an instant: what it takes, and then cell by cell what came of it.

use askama::Template;
use axum::extract::Form;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::{MOST_CELLS, Query, cells, written};
use crate::access::Reverted;
use crate::controller::{Revert, RevertOptions, RevertPlan, RevertStep};
use crate::model::CellId;
use crate::store::in_full;
use crate::web::address::Asked;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

/// What the form asks for, and sends back.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Sent {
    #[serde(flatten)]
    query: Query,
    /// Whether cells that were published only later are removed.
    #[serde(default)]
    remove_newer: Option<String>,
    /// What was looked at: the digest of its steps.
    #[serde(default)]
    plan: String,
    #[serde(default)]
    reason: String,
}

#[derive(Template)]
#[template(path = "instants/revert.html")]
struct Page {
    shell: Shell,
    sent: Sent,
    /// The instant, as addresses write it.
    written: String,
    steps: Vec<Step>,
    /// What the form is bound to.
    plan: String,
    /// How many cells change.
    changes: usize,
    /// Why it was not done.
    refused: Option<String>,
    /// What came of it, once it was done.
    is_done: bool,
}

/// A step, dressed.
struct Step {
    cell: CellId,
    kind: &'static str,
    word: &'static str,
    what: String,
}

impl Step {
    fn new(page: &PageContext, step: &RevertStep) -> Self {
        let (word, what) = step.revert.in_words();
        let denied = page.may().check_revert(step).err().filter(|_| step.revert.is_change());
        let (kind, what) = match (&step.revert, denied) {
            (_, Some(denied)) => ("bad", denied.to_string()),
            (Revert::Refused { .. }, _) => ("bad", what),
            (Revert::Deploy { .. } | Revert::Stop | Revert::Remove, _) => ("warn", what),
            (Revert::Unchanged | Revert::Newer, _) => ("off", what),
        };
        Self { cell: step.cell.clone(), kind, word, what }
    }
}

async fn plan(page: &PageContext, sent: &Sent) -> Result<RevertPlan, Failure> {
    let unfit = |why: String| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", why);
    let scope = sent.query.scope().map_err(unfit)?;
    let time = sent.query.time(page).map_err(unfit)?;
    let (cells, more) = cells(page, &scope).await?;
    if more > 0 {
        let why = format!("That are more than {MOST_CELLS} cells; name a node, or use the command line.");
        return Err(unfit(why));
    }
    let options = RevertOptions { remove_newer: sent.remove_newer.is_some() };
    Ok(page.may().plan_revert(cells, time, options).await?)
}

fn render(
    page: &PageContext,
    sent: Sent,
    planned: &RevertPlan,
    steps: Vec<Step>,
    status: StatusCode,
    refused: Option<String>,
    is_done: bool,
) -> Result<Response, Failure> {
    let place = sent.query.argument();
    let place = if place.is_empty() { " --all".to_owned() } else { place };
    let newer = if sent.remove_newer.is_some() { " --remove-newer" } else { "" };
    let cli = format!("fleetman revert{place} --to {}{newer}", written(planned.time));
    let shell = page.shell("Back to a time", Nav::Cells, cli);
    let changes = planned.steps.iter().filter(|step| step.revert.is_change()).count();
    let (written, plan) = (written(planned.time), planned.name());
    page.render_with(status, &Page { shell, sent, written, steps, plan, changes, refused, is_done })
}

pub(super) async fn ask(page: PageContext, Asked(sent): Asked<Sent>) -> Result<Response, Failure> {
    let planned = plan(&page, &sent).await?;
    let steps = planned.steps.iter().map(|step| Step::new(&page, step)).collect();
    // From now on the same instant is meant, whenever the form is sent.
    let query = Query { time: written(planned.time), ..sent.query };
    render(&page, Sent { query, ..sent }, &planned, steps, StatusCode::OK, None, false)
}

pub(super) async fn act(page: PageContext, Form(sent): Form<Sent>) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let planned = plan(&page, &sent).await?;
    if sent.plan != planned.name() {
        let why = "What it takes is no longer what you looked at: somebody came first. Nothing was done; this is what \
                   it would take now.";
        let steps = planned.steps.iter().map(|step| Step::new(&page, step)).collect();
        return render(&page, sent, &planned, steps, StatusCode::CONFLICT, Some(why.to_owned()), false);
    }
    let reason = Some(sent.reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    let done = page.may().because(&sent.reason).revert_all(planned.clone(), reason).await?;
    let steps = done.into_iter().map(|done| outcome(&page, done)).collect();
    render(&page, sent, &planned, steps, StatusCode::OK, None, true)
}

fn outcome(page: &PageContext, (step, result): Reverted) -> Step {
    match result {
        Ok(Some(published)) => {
            let what = format!("{} is wished at generation {}", step.revert.in_words().0, published.at);
            Step { cell: step.cell, kind: "good", word: "done", what }
        }
        Ok(None) => Step::new(page, &step),
        Err(error) => Step { cell: step.cell, kind: "bad", word: "failed", what: in_full(&error) },
    }
}
