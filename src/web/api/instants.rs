//! Instants: what was wished and what ran, what changed between two, and the way back.

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::answer::{Has, List, Page};
use super::operation::{Operation, Operations};
use super::request::{Asked, Sent, parse};
use crate::controller::{CellAt, InstantChange, Moment, RevertOptions, RevertPlan, RevertStep, Scope};
use crate::model::{CellId, Floor};

pub(super) fn operations() -> Operations {
    Operations::of("Instants")
        .get(
            "/api/v1/at",
            at,
            Operation::new("getInstant", "viewer", "Tells what was wished and what ran at an instant, cell by cell.")
                .query::<Page>()
                .query::<When>()
                .gives::<List<CellAt>>()
                .cli("fleetman at {time} {place}"),
        )
        .get(
            "/api/v1/at/changes",
            changes,
            Operation::new("compareInstants", "viewer", "Tells which cells changed between two instants.")
                .query::<Page>()
                .query::<Between>()
                .gives::<List<InstantChange>>()
                .cli("fleetman diff --from-time {from} --to-time {to} {place}"),
        )
        .post(
            "/api/v1/revert/plan",
            plan,
            Operation::new("planRevert", "viewer", "Works out what it takes to bring cells back to an instant.")
                .takes::<Back>()
                .gives::<Planned>()
                .cli("fleetman revert {place} --to {time} --dry-run"),
        )
        .post(
            "/api/v1/revert",
            revert,
            Operation::new("revert", "operator", "Brings cells back to an instant, if that still takes the same.")
                .takes::<Back>()
                .gives::<Reverted>()
                .cli("fleetman revert {place} --to {time}"),
        )
}

/// Which instant, and where.
#[derive(Debug, Deserialize, JsonSchema)]
struct When {
    /// A time in RFC 3339, `2h ago`, or `now`; now if left out.
    time: Option<String>,
    /// `<node>/<cell>` or `<node>`; every cell that the caller may see if left out.
    place: Option<String>,
}

/// Which two instants, and where.
#[derive(Debug, Deserialize, JsonSchema)]
struct Between {
    /// The earlier one: a time in RFC 3339, or `2h ago`.
    from: String,
    /// The later one; now if left out.
    to: Option<String>,
    /// `<node>/<cell>` or `<node>`; every cell that the caller may see if left out.
    place: Option<String>,
}

/// Back to which instant, and where.
#[derive(Debug, Deserialize, JsonSchema)]
struct Back {
    /// A time in RFC 3339; for a plan also `2h ago`.
    time: String,
    /// `<node>/<cell>` or `<node>`; every cell that the caller may see if left out.
    place: Option<String>,
    /// Whether cells to which nothing had been published yet are removed.
    #[serde(default)]
    remove_newer: bool,
    /// `plan` of the plan that is to be carried out.
    #[serde(default)]
    plan: String,
    /// Why, for the triggers and the audit.
    reason: Option<String>,
}

/// What it takes.
#[derive(Debug, Serialize, JsonSchema)]
struct Planned {
    /// The instant, for the request that carries it out.
    time: DateTime<Utc>,
    /// What names exactly this plan.
    plan: String,
    /// What is done, cell by cell.
    steps: Vec<RevertStep>,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
struct Reverted {
    /// The instant.
    time: DateTime<Utc>,
    /// What was done, cell by cell.
    cells: Vec<Outcome>,
}

/// What came of one cell.
#[derive(Debug, Serialize, JsonSchema)]
struct Outcome {
    /// The cell.
    cell: CellId,
    /// The trigger that counts now, if something was to be done and was.
    at: Option<Floor>,
    /// Why nothing was done, if so.
    problem: Option<String>,
}

fn moment(caller: &Caller, name: &str, text: Option<&str>) -> Result<DateTime<Utc>, Failure> {
    let moment: Moment = text.map_or(Ok(Moment::NOW), |text| parse(name, text))?;
    let time = moment.before(caller.portal.clock.now());
    time.map_err(|error| Failure::bad_request("invalid_query", format!("{name}: {error}")))
}

/// The cells of a place that the caller may see, by name.
async fn cells(caller: &Caller, place: Option<&str>) -> Result<Vec<CellId>, Failure> {
    let scope: Scope =
        place.filter(|place| !place.is_empty()).map_or(Ok(Scope::Fleet), |place| parse("place", place))?;
    let mut cells = caller.may.cells_in(&scope).await?;
    cells.sort();
    Ok(cells)
}

async fn at(caller: Caller, has: Has, Asked(page): Asked<Page>, Asked(when): Asked<When>) -> Result<Response, Failure> {
    let time = moment(&caller, "time", when.time.as_deref())?;
    let page = List::of(cells(&caller, when.place.as_deref()).await?, &page, Clone::clone, |cell| cell)?;
    let chronicles = caller.may.chronicles(page.items, time).await?;
    let items = chronicles.iter().map(|chronicle| chronicle.at(time)).collect();
    has.json(&List { items, total: page.total, next: page.next, snapshot_at: None })
}

async fn changes(
    caller: Caller,
    has: Has,
    Asked(page): Asked<Page>,
    Asked(between): Asked<Between>,
) -> Result<Response, Failure> {
    let from = moment(&caller, "from", Some(&between.from))?;
    let to = moment(&caller, "to", between.to.as_deref())?;
    if from > to {
        return Err(Failure::bad_request("invalid_query", "from is later than to"));
    }
    let page = List::of(cells(&caller, between.place.as_deref()).await?, &page, Clone::clone, |cell| cell)?;
    let items = caller.may.changed_between(page.items, from, to).await?;
    has.json(&List { items, total: None, next: page.next, snapshot_at: None })
}

async fn planned(caller: &Caller, back: &Back) -> Result<RevertPlan, Failure> {
    let time = moment(caller, "time", Some(&back.time))?;
    let options = RevertOptions { remove_newer: back.remove_newer };
    Ok(caller.may.plan_revert(cells(caller, back.place.as_deref()).await?, time, options).await?)
}

async fn plan(caller: Caller, Sent(back): Sent<Back>) -> Result<Json<Planned>, Failure> {
    let planned = planned(&caller, &back).await?;
    Ok(Json(Planned { time: planned.time, plan: planned.name(), steps: planned.steps }))
}

async fn revert(caller: Caller, Sent(back): Sent<Back>) -> Result<Json<Reverted>, Failure> {
    caller.check_writable()?;
    let planned = planned(&caller, &back).await?;
    if planned.name() != back.plan {
        let why = "what it takes is no longer what `plan` names; plan it again and look at it";
        return Err(Failure::new(StatusCode::CONFLICT, "guard", why));
    }
    let time = planned.time;
    let cells = caller.may.revert_all(planned, back.reason).await?.into_iter().map(|(step, result)| Outcome {
        cell: step.cell,
        at: result.as_ref().ok().and_then(|published| published.as_ref()).map(|published| published.at),
        problem: result.err().map(|error| error.to_string()),
    });
    Ok(Json(Reverted { time, cells: cells.collect() }))
}
