//! The upkeep of the bucket: whether it is sound, what can be put right, and what can be swept.

use axum::Json;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::answer::Has;
use super::operation::{Operation, Operations};
use super::request::{Asked, Sent};
use crate::controller::{Finding, GcReport, findings_name};

pub(super) fn operations() -> Operations {
    Operations::of("Upkeep")
        .get(
            "/api/v1/fsck",
            check,
            Operation::new("checkBucket", "admin", "Looks through the bucket. Nothing is written.")
                .query::<How>()
                .gives::<Checked>()
                .cli("fleetman fsck"),
        )
        .post(
            "/api/v1/fsck",
            repair,
            Operation::new(
                "repairBucket",
                "admin",
                "Puts right what takes no decision, if it is still what was found.",
            )
            .takes::<Repair>()
            .gives::<Checked>()
            .cli("fleetman fsck --repair"),
        )
        .get(
            "/api/v1/gc",
            plan_sweep,
            Operation::new("planSweep", "admin", "Tells what would be finished and swept. Nothing is written.")
                .gives::<Planned>()
                .cli("fleetman gc --dry-run"),
        )
        .post(
            "/api/v1/gc",
            sweep,
            Operation::new(
                "sweep",
                "admin",
                "Finishes what was interrupted and sweeps what nothing names, if it is still what was planned.",
            )
            .takes::<Sweep>()
            .gives::<GcReport>()
            .cli("fleetman gc"),
        )
}

/// How it is looked through.
#[derive(Debug, Deserialize, JsonSchema)]
struct How {
    /// Whether every file is read and digested, too.
    deep: Option<bool>,
}

/// What is to be put right.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Repair {
    /// Whether every file is read and digested, too, as for the check that was looked at.
    deep: bool,
    /// `repairable` of that check; it has to be given.
    repairable: String,
    /// Why, for the audit.
    reason: Option<String>,
}

/// What is to be swept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Sweep {
    /// `plan` of what would be done, as it was looked at; it has to be given.
    plan: String,
    /// Why, for the audit.
    reason: Option<String>,
}

/// What a sweep would do.
#[derive(Debug, Serialize, JsonSchema)]
struct Planned {
    /// What names exactly this.
    plan: String,
    #[serde(flatten)]
    report: GcReport,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
struct Checked {
    /// What does not fit.
    findings: Vec<Finding>,
    /// What names exactly those of them that can be put right.
    repairable: String,
}

impl From<Vec<Finding>> for Checked {
    fn from(findings: Vec<Finding>) -> Self {
        Self { repairable: findings_name(&findings), findings }
    }
}

async fn check(caller: Caller, has: Has, Asked(how): Asked<How>) -> Result<Response, Failure> {
    has.json(&Checked::from(caller.may.fsck(how.deep.unwrap_or(false)).await?))
}

async fn repair(caller: Caller, Sent(wanted): Sent<Repair>) -> Result<Json<Checked>, Failure> {
    caller.may.check_upkeep()?;
    caller.check_writable()?;
    let may = caller.may.because(wanted.reason.as_deref().unwrap_or_default());
    Ok(Json(may.fsck_repair(wanted.deep, wanted.repairable).await?.into()))
}

async fn plan_sweep(caller: Caller, has: Has) -> Result<Response, Failure> {
    let report = caller.may.gc_plan().await?;
    has.json(&Planned { plan: report.name(), report })
}

async fn sweep(caller: Caller, Sent(wanted): Sent<Sweep>) -> Result<Json<GcReport>, Failure> {
    caller.may.check_upkeep()?;
    caller.check_writable()?;
    Ok(Json(caller.may.because(wanted.reason.as_deref().unwrap_or_default()).gc(wanted.plan).await?))
}
