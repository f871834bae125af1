//! The same change to many cells: what it comes to for each, and then exactly that.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::bulk::{delays, still_may};
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::identity::Who;
use super::operation::{Operation, Operations};
use super::request::Sent;
use crate::access::{AccessError, BulkDone, BulkNews, BulkOrder, MOST_BULK_CELLS};
use crate::controller::{BulkAction, BulkCell, BulkOutlook, BulkStep, FleetView};
use crate::model::trigger::TriggerOptions;
use crate::model::{CellId, Floor, VersionName};

pub(super) fn operations() -> Operations {
    Operations::of("Bulk")
        .post(
            "/api/v1/bulk/plan",
            plan,
            Operation::new(
                "planBulk",
                "viewer",
                "Tells what the same change would come to for each of up to 500 cells.",
            )
            .takes::<Wanted>()
            .gives::<Planned>(),
        )
        .post(
            "/api/v1/bulk",
            bulk,
            Operation::new(
                "bulk",
                "operator (for a publish: editor) on each cell",
                "Changes up to 500 cells one after the other, each only if it is still as the plan told it. The answer \
                 is 200 with what came of each, also where some or all were left alone.",
            )
            .takes::<Order>()
            .gives::<Done>(),
        )
}

/// What is to be done, and to which cells.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// What is done to each.
    action: BulkAction,
    /// Which, as `<node>/<cell>`; at most 500.
    cells: Vec<CellId>,
}

/// What it comes to.
#[derive(Debug, Serialize, JsonSchema)]
struct Planned {
    /// What is done to each.
    action: BulkAction,
    /// How many are changed.
    changes: usize,
    /// Each cell, in the order in which they are changed; those that are left out may stand anywhere.
    cells: Vec<Step>,
}

/// What it comes to for a cell.
#[derive(Debug, Serialize, JsonSchema)]
struct Step {
    /// The cell.
    cell: CellId,
    /// Whether it is changed.
    changes: bool,
    /// To be sent back as it is to have it changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen: Option<BulkCell>,
    /// The version that it is to run now.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<VersionName>,
    /// The version that it is to run then, if that has its name already.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<VersionName>,
    /// What happens; or why it is left out.
    what: String,
    /// Why it is left out, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// What should be looked at before it is done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Step {
    fn new(BulkStep { cell, outlook }: BulkStep, action: BulkAction, view: &FleetView) -> Self {
        match outlook {
            BulkOutlook::LeftOut { code, why } => Self {
                cell,
                changes: false,
                seen: None,
                from: None,
                to: None,
                what: why,
                code: Some(code),
                notes: Vec::new(),
            },
            BulkOutlook::Changes(change) => {
                let mut notes = change.notes;
                if matches!(action, BulkAction::Redeploy | BulkAction::Stop) {
                    notes.extend(view.cell(&cell).map(delays).unwrap_or_default());
                }
                let (seen, from, to) = (Some(change.seen), change.from, change.to);
                Self { cell, changes: true, seen, from, to, what: change.what, code: None, notes }
            }
        }
    }
}

/// What is to be done, to which cells, and what was seen of each.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Order {
    /// What is done to each.
    action: BulkAction,
    /// Which, each with what was seen of it: `seen` of the plan. At most 500.
    cells: Vec<BulkCell>,
    /// Why, for the triggers and the audit. A pause needs one.
    reason: Option<String>,
    /// Try content again that failed before.
    #[serde(default)]
    retry: bool,
    /// Overwrite what was changed by hand on the hosts.
    #[serde(default)]
    force: bool,
    /// Wait neither for maintenance windows nor for the applications' locks, this once.
    #[serde(default)]
    override_windows: bool,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
struct Done {
    /// What was done to each.
    action: BulkAction,
    /// How many cells are as it wants them.
    done: usize,
    /// How many are not.
    failed: usize,
    /// Each cell, in the order in which they were changed.
    cells: Vec<Outcome>,
}

/// What came of a cell.
#[derive(Debug, Serialize, JsonSchema)]
struct Outcome {
    /// The cell.
    cell: CellId,
    /// Whether it is as the change wants it.
    done: bool,
    /// The trigger that counts now, if one was to be issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Floor>,
    /// The version, if one is to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<VersionName>,
    /// What should be looked at, although it is done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// The status that the change of this cell alone would have been answered with, if it is not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// Why it is not done, for programs: as the `code` of a problem; `left` if it was not begun with.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Outcome {
    fn new(cell: CellId, ended: Result<BulkDone, AccessError>) -> Self {
        let bare = Self {
            cell,
            done: true,
            at: None,
            version: None,
            warnings: Vec::new(),
            status: None,
            code: None,
            detail: None,
        };
        match ended {
            Ok(BulkDone::Written(_)) => bare,
            Ok(BulkDone::Published(published)) => Self {
                at: Some(published.at),
                version: published.target.map(|target| target.version),
                warnings: published.warnings.iter().map(ToString::to_string).collect(),
                ..bare
            },
            Err(error) => {
                let failure = Failure::from(error);
                let (status, code) = (Some(failure.status().as_u16()), Some(failure.code().to_owned()));
                Self { done: false, status, code, detail: Some(failure.detail().to_owned()), ..bare }
            }
        }
    }

    fn left(cell: CellId, why: &str) -> Self {
        let (code, detail) = (Some("left".to_owned()), Some(why.to_owned()));
        Self { done: false, code, detail, at: None, version: None, warnings: Vec::new(), status: None, cell }
    }
}

/// Refuses what names no cell, one twice, or too many.
fn check<'c>(cells: impl ExactSizeIterator<Item = &'c CellId>) -> Result<BTreeSet<CellId>, Failure> {
    let count = cells.len();
    let refuse = |detail: String| Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail));
    if count == 0 || count > MOST_BULK_CELLS {
        return refuse(format!("cells: 1 to {MOST_BULK_CELLS} may be changed at once, and not {count}"));
    }
    let names: BTreeSet<CellId> = cells.cloned().collect();
    match names.len() == count {
        true => Ok(names),
        false => refuse("cells: one of them is there twice".to_owned()),
    }
}

async fn plan(caller: Caller, Sent(wanted): Sent<Wanted>) -> Result<Json<Planned>, Failure> {
    let cells = check(wanted.cells.iter())?;
    let view = caller.view()?;
    let steps = caller.may.plan_bulk(wanted.action, cells.into_iter().collect()).await?;
    let cells: Vec<Step> = steps.into_iter().map(|step| Step::new(step, wanted.action, &view)).collect();
    let changes = cells.iter().filter(|step| step.changes).count();
    Ok(Json(Planned { action: wanted.action, changes, cells }))
}

async fn bulk(
    caller: Caller,
    Extension(who): Extension<Who>,
    Sent(wanted): Sent<Order>,
) -> Result<Json<Done>, Failure> {
    caller.check_writable()?;
    let mut left = check(wanted.cells.iter().map(|seen| &seen.cell))?;
    let Order { action, cells, reason, retry, force, override_windows } = wanted;
    let reason = reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    caller.may.check_bulk(action, cells.iter().map(|seen| &seen.cell))?;
    if action == BulkAction::Pause && reason.is_none() {
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "a pause needs a reason"));
    }
    let may = caller.may.because(reason.as_deref().unwrap_or_default());
    let options = TriggerOptions { retry, force, override_windows, ..TriggerOptions::default() };
    let order = BulkOrder { action, options, reason };
    let may_go_on = still_may(&caller, who.into_session());
    let told: Arc<Mutex<Vec<Outcome>>> = Arc::default();
    let heard = told.clone();
    // It ends also when nobody waits any more: half of it would be neither here nor there.
    let done = tokio::spawn(async move {
        may.bulk(&order, cells, may_go_on, |cell, news| {
            if let BulkNews::Ends(ended) = news {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(Outcome::new(cell.clone(), *ended));
            }
        })
        .await
    });
    let broke_off =
        |error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("it broke off: {error}"));
    done.await.map_err(broke_off)??;
    caller.fleet.snapshot.look_soon();
    let mut cells = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    left.retain(|name| !cells.iter().any(|outcome| outcome.cell == *name));
    cells.extend(left.into_iter().map(|cell| Outcome::left(cell, "whoever began this may no longer do it")));
    let done = cells.iter().filter(|outcome| outcome.done).count();
    Ok(Json(Done { action, done, failed: cells.len() - done, cells }))
}
