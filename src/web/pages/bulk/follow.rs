//! Following a change of many cells until each is where it is to be, or cannot be brought there.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use ulid::Ulid;

use super::name;
use crate::controller::{BulkAction, FleetView};
use crate::model::{CellId, Floor};
use crate::web::bulk::{BulkRow, BulkState};
use crate::web::failure::Failure;
use crate::web::list::{counted, grouped};
use crate::web::page::PageContext;
use crate::web::pages::orders;
use crate::web::pages::steps::{Kind, Step};
use crate::web::shell::{Nav, Shell};

/// A cell, and where it is on its way.
struct Row {
    cell: CellId,
    step: Step,
    warnings: Vec<String>,
    /// Where all of its way is told.
    at: Option<Floor>,
}

#[derive(Template)]
#[template(path = "bulk/follow.html")]
struct Page<'a> {
    shell: Shell,
    reason: Option<&'a str>,
    began: DateTime<Utc>,
    rows: Vec<Row>,
    summary: String,
    /// Nothing more is to come.
    is_over: bool,
    /// The cells that did not come to what was asked for, to look at.
    has_failed: bool,
}

pub(super) async fn follow(page: PageContext, Path(id): Path<String>) -> Result<Response, Failure> {
    let id: Option<Ulid> = id.parse().ok();
    let Some(bulk) = id.and_then(|id| page.caller.portal.bulks.find(&page.caller, id)) else {
        let detail = "this controller does not know how far that change of many cells has come: it was begun by somebody \
                      else or at another controller, or this one was started anew; the list of cells shows how each \
                      stands, and the audit what was done";
        return Err(Failure::new(StatusCode::NOT_FOUND, "not_found", detail));
    };
    let view = page.view()?;
    let (rows, is_done) = bulk.progress();
    let rows: Vec<(Row, bool)> = rows.into_iter().map(|row| told(row, bulk.action, &view)).collect();
    let is_over = is_done && rows.iter().all(|(_, is_over)| *is_over);
    let rows: Vec<Row> = rows.into_iter().map(|(row, _)| row).collect();
    let has_failed = rows.iter().any(|row| row.step.kind == Kind::Failed);
    let title = format!("{} {}", name(bulk.action), counted(rows.len(), "cell"));
    let shell = page.live_shell(title, Nav::Cells, "fleetman get cells");
    let (reason, began) = (bulk.reason.as_deref(), bulk.began);
    page.render(&Page { shell, reason, began, summary: summary(&rows), rows, is_over, has_failed })
}

/// Where a cell is, and whether that is the end.
fn told(row: BulkRow, action: BulkAction, view: &FleetView) -> (Row, bool) {
    let BulkRow { cell, state } = row;
    let (mut warnings, mut at) = (Vec::new(), None);
    let (step, is_over) = match state {
        BulkState::Waits => (Step::new(Kind::ToCome, "Waits for its turn", ""), false),
        BulkState::UnderWay => (Step::new(Kind::UnderWay, "Being written", ""), false),
        BulkState::Written => {
            let text = if action == BulkAction::Pause { "Paused" } else { "Resumed" };
            (Step::new(Kind::Done, text, ""), true)
        }
        BulkState::Overtaken { why } => (Step::new(Kind::Off, "Left alone: somebody came first", why), true),
        BulkState::Failed { why } => (Step::new(Kind::Failed, "Not done", why), true),
        BulkState::Left { why } => (Step::new(Kind::Failed, "Not begun", why), true),
        BulkState::Published { at: published, warnings: told } => {
            (warnings, at) = (told, Some(published));
            on_node(&cell, published, view)
        }
    };
    (Row { cell, step, warnings, at }, is_over)
}

/// How far a node has come with the trigger at `at`, by what was seen of it a moment ago.
fn on_node(cell: &CellId, at: Floor, view: &FleetView) -> (Step, bool) {
    let seen = view.cell(cell).filter(|seen| seen.desired_at() >= Some(at));
    let Some(seen) = seen else {
        return (Step::new(Kind::UnderWay, "Published", "its node looks every few seconds"), false);
    };
    // What else there is to do to a cell is told where it alone is followed.
    let (steps, is_over) = orders::steps(seen, at, false);
    let now = steps.into_iter().rfind(|step| !step.is_to_come());
    (now.unwrap_or_else(|| Step::new(Kind::UnderWay, "Published", "")), is_over)
}

/// How many stand how, in words.
fn summary(rows: &[Row]) -> String {
    let count = |kinds: &[Kind]| rows.iter().filter(|row| kinds.contains(&row.step.kind)).count();
    let parts = [
        (count(&[Kind::Done]), "done"),
        (count(&[Kind::UnderWay]), "under way"),
        (count(&[Kind::Stands]), "waiting on their node"),
        (count(&[Kind::ToCome]), "still to come"),
        (count(&[Kind::Off]), "left alone or overtaken"),
        (count(&[Kind::Failed]), "failed"),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    parts.map(|(count, word)| format!("{} {word}", grouped(*count))).collect::<Vec<_>>().join(", ")
}
