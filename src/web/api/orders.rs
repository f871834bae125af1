//! What a cell is to be: publishing, going back, stopping. Each is guarded by what the caller saw.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::paths::CellOfPath;
use super::super::views::Wish;
use super::operation::{Operation, Operations};
use super::request::Sent;
use crate::access::AccessError;
use crate::controller::{
    Changes, Forecast, Guard, LivenessLimits, Plan, PlannedVersion, PublishRequest, Published, PublishedHow,
    RollbackRequest, StopRequest,
};
use crate::model::trigger::TriggerOptions;
use crate::model::{CellId, DeploymentName, Floor, ManifestName, Sha256Digest, VersionName};

pub(super) fn operations() -> Operations {
    let order = |id, needs, summary| Operation::new(id, needs, summary).gives::<Order>();
    Operations::of("Orders")
        .post(
            "/api/v1/cells/{node}/{cell}/plan",
            plan,
            Operation::new("planCell", "viewer", "Tells what a publish would change, without writing anything.")
                .takes::<Publish>()
                .gives::<Planned>()
                .cli("fleetman plan {node}/{cell}"),
        )
        .post(
            "/api/v1/cells/{node}/{cell}/publish",
            publish,
            order("publishCell", "editor", "Makes a version of the cell's inputs and desires it.")
                .takes::<Publish>()
                .cli("fleetman publish {node}/{cell}"),
        )
        .post(
            "/api/v1/cells/{node}/{cell}/redeploy",
            redeploy,
            order("redeployCell", "operator", "Desires once more what is desired already.")
                .takes::<Redeploy>()
                .cli("fleetman redeploy {node}/{cell}"),
        )
        .post(
            "/api/v1/cells/{node}/{cell}/rollback",
            rollback,
            order("rollbackCell", "operator", "Desires an earlier version again.")
                .takes::<Rollback>()
                .cli("fleetman rollback {node}/{cell}"),
        )
        .post(
            "/api/v1/cells/{node}/{cell}/stop",
            stop,
            order("stopCell", "operator", "Stops the cell; its files stay.")
                .takes::<Stop>()
                .cli("fleetman stop {node}/{cell}"),
        )
        .post(
            "/api/v1/cells/{node}/{cell}/remove",
            remove,
            order("removeCell", "editor", "Stops the cell and removes its files from its node.")
                .takes::<Remove>()
                .cli("fleetman remove {node}/{cell}"),
        )
}

/// What is to be published, and what must be so.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Publish {
    /// The release; the newest of the manifest if left out.
    #[schemars(with = "Option<String>")]
    deployment: Option<DeploymentName>,
    /// The version's name; a generated one if left out.
    #[schemars(with = "Option<String>")]
    version: Option<VersionName>,
    /// What is said about the version.
    note: Option<String>,
    /// Why it is published.
    reason: Option<String>,
    /// Try content again that failed before.
    retry: bool,
    /// Overwrite what was changed by hand on the host.
    force: bool,
    /// Wait neither for a maintenance window nor for the application's lock, this once.
    override_windows: bool,
    /// The generation that the cell must be at, as the plan told it: 0 = it was never published.
    if_generation: Option<u64>,
    /// The content that must come of it, as the plan told it.
    #[schemars(with = "Option<String>")]
    expect: Option<Sha256Digest>,
}

/// How it is to be desired again, and what must be so.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Redeploy {
    /// Why.
    reason: Option<String>,
    /// Try content again that failed before.
    retry: bool,
    /// Overwrite what was changed by hand on the host.
    force: bool,
    /// Wait neither for a maintenance window nor for the application's lock, this once.
    override_windows: bool,
    /// The generation that the cell must be at.
    if_generation: Option<u64>,
}

/// Where to go back to, and what must be so.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Rollback {
    /// The version; the newest other one that was good on the node if left out.
    #[schemars(with = "Option<String>")]
    to: Option<VersionName>,
    /// Why.
    reason: Option<String>,
    /// Try content again that failed before.
    retry: bool,
    /// Overwrite what was changed by hand on the host.
    force: bool,
    /// Wait neither for a maintenance window nor for the application's lock, this once.
    override_windows: bool,
    /// The generation that the cell must be at.
    if_generation: Option<u64>,
}

/// What must be so for the cell to be stopped.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Stop {
    /// Why.
    reason: Option<String>,
    /// The generation that the cell must be at.
    if_generation: Option<u64>,
}

/// What must be so for the cell to be removed, and what goes with it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Remove {
    /// Why.
    reason: Option<String>,
    /// Delete the cell's own data on the node, too.
    purge_data: bool,
    /// The generation that the cell must be at.
    if_generation: Option<u64>,
}

/// A trigger that counts now.
#[derive(Debug, Serialize, JsonSchema)]
struct Order {
    /// The cell.
    cell: CellId,
    /// Its place.
    at: Floor,
    /// `deploy`, `stop`, `remove`.
    action: String,
    /// The version, if one is to run.
    version: Option<VersionName>,
    /// What that version is.
    content_sha256: Option<Sha256Digest>,
    /// `claimed` by this request, `finished` after an interruption, or `unchanged`.
    how: &'static str,
    /// What should be looked at all the same.
    warnings: Vec<String>,
}

impl From<Published> for Order {
    fn from(published: Published) -> Self {
        let Published { cell, at, action, target, how, warnings } = published;
        Self {
            cell,
            at,
            action,
            content_sha256: target.as_ref().map(|target| target.content_sha256),
            version: target.map(|target| target.version),
            how: match how {
                PublishedHow::Claimed => "claimed",
                PublishedHow::Finished => "finished",
                PublishedHow::Unchanged => "unchanged",
            },
            warnings: warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What a publish would change.
#[derive(Debug, Serialize, JsonSchema)]
struct Planned {
    /// The cell.
    cell: CellId,
    /// The recipe.
    manifest: ManifestName,
    /// The release, if one is used.
    deployment: Option<DeploymentName>,
    /// What the cell is to be now, in words.
    current: Option<String>,
    /// For `if_generation`.
    generation: u64,
    /// The version that would be desired.
    version: PlannedVersion,
    /// For `expect`.
    content_sha256: Sha256Digest,
    /// Whether there is anything to publish.
    is_needed: bool,
    /// Whether anything that runs would be stopped or started anew.
    restart: bool,
    /// What is published and what comes of it, in one line.
    summary: String,
    /// What the cell's node will do with it.
    forecast: Forecast,
    /// Why nothing can be published, if the cell is paused.
    paused: Option<String>,
    /// What differs from the version that was desired last.
    changes: Changes,
    /// What should be looked at.
    warnings: Vec<String>,
}

impl From<Plan> for Planned {
    fn from(plan: Plan) -> Self {
        let (restart, summary) = (plan.restarts(), plan.summary());
        Self {
            cell: plan.cell,
            manifest: plan.manifest,
            deployment: plan.deployment,
            current: plan.current.as_ref().map(ToString::to_string),
            generation: plan.generation,
            version: plan.version,
            content_sha256: plan.content_sha256,
            is_needed: plan.is_needed,
            restart,
            summary,
            forecast: plan.forecast,
            paused: plan.paused,
            changes: plan.changes,
            warnings: plan.warnings.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Both sides of a change that came too late.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Conflict {
    /// What the request said must be so.
    expected: Expected,
    /// What is so.
    found: Option<Wish>,
}

/// What a request said must be so.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
struct Expected {
    /// The generation.
    if_generation: Option<u64>,
    /// The content.
    expect: Option<Sha256Digest>,
}

impl Publish {
    fn request(&self, cell: &CellId) -> PublishRequest {
        PublishRequest {
            cell: cell.clone(),
            deployment: self.deployment.clone(),
            version: self.version.clone(),
            note: self.note.clone(),
            reason: self.reason.clone(),
            options: options(self.retry, self.force, self.override_windows),
        }
    }
}

fn options(retry: bool, force: bool, override_windows: bool) -> TriggerOptions {
    TriggerOptions { retry, force, override_windows, ..TriggerOptions::default() }
}

fn at(if_generation: Option<u64>) -> Guard {
    Guard { if_generation, expect: None }
}

async fn plan(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    Sent(wanted): Sent<Publish>,
) -> Result<Json<Planned>, Failure> {
    Ok(Json(caller.may.plan(&wanted.request(&cell)).await?.into()))
}

async fn publish(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    Sent(wanted): Sent<Publish>,
) -> Result<Json<Order>, Failure> {
    caller.check_writable()?;
    let guard = Guard { if_generation: wanted.if_generation, expect: wanted.expect };
    let published = caller.may.publish(&wanted.request(&cell), &guard).await;
    ordered(&caller, &cell, guard, published).await
}

async fn redeploy(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    Sent(wanted): Sent<Redeploy>,
) -> Result<Json<Order>, Failure> {
    caller.check_writable()?;
    let guard = at(wanted.if_generation);
    let options = options(wanted.retry, wanted.force, wanted.override_windows);
    let published = caller.may.redeploy(&cell, options, wanted.reason, &guard).await;
    ordered(&caller, &cell, guard, published).await
}

async fn rollback(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    Sent(wanted): Sent<Rollback>,
) -> Result<Json<Order>, Failure> {
    caller.check_writable()?;
    let guard = at(wanted.if_generation);
    let options = options(wanted.retry, wanted.force, wanted.override_windows);
    let request = RollbackRequest { cell: cell.clone(), to: wanted.to, reason: wanted.reason, options };
    let published = caller.may.rollback(&request, &guard).await;
    ordered(&caller, &cell, guard, published).await
}

async fn stop(caller: Caller, CellOfPath(cell): CellOfPath, Sent(wanted): Sent<Stop>) -> Result<Json<Order>, Failure> {
    caller.check_writable()?;
    let guard = at(wanted.if_generation);
    let published = caller.may.stop(&StopRequest { cell: cell.clone(), reason: wanted.reason }, &guard).await;
    ordered(&caller, &cell, guard, published).await
}

async fn remove(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    Sent(wanted): Sent<Remove>,
) -> Result<Json<Order>, Failure> {
    caller.check_writable()?;
    let guard = at(wanted.if_generation);
    let request = StopRequest { cell: cell.clone(), reason: wanted.reason };
    let published = caller.may.remove(&request, wanted.purge_data, &guard).await;
    ordered(&caller, &cell, guard, published).await
}

/// The trigger that counts now; or, where somebody else's came first, both sides.
async fn ordered(
    caller: &Caller,
    cell: &CellId,
    guard: Guard,
    published: Result<Published, AccessError>,
) -> Result<Json<Order>, Failure> {
    let error = match published {
        Ok(published) => return Ok(Json(published.into())),
        Err(error) => error,
    };
    if !matches!(&error, AccessError::Controller(error) if error.is_overtaken()) {
        return Err(error.into());
    }
    let failure = Failure::from(error);
    let (view, _) = caller.may.cell_status(cell, LivenessLimits::default()).await?;
    let Guard { if_generation, expect } = guard;
    let found = view.desired().map(Wish::from);
    Err(failure.with("conflict", Conflict { expected: Expected { if_generation, expect }, found }))
}
