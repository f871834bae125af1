//! Many manifests and cells as one change, and all of them as one text.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::operation::{Content, Operation, Operations};
use super::request::{Asked, Yaml};
use crate::controller::{ApplyLine, ApplySummary, ControllerError};
use crate::model::users::Role;
use crate::recipe::{self, Set};

pub(super) fn operations() -> Operations {
    Operations::of("Apply")
        .post(
            "/api/v1/apply",
            apply,
            Operation::new("apply", "editor", "Writes manifests and cells as one change, all of it checked first.")
                .query::<How>()
                .body(Content::Yaml)
                .gives::<Done>()
                .cli("fleetman apply -f fleet.yaml"),
        )
        .get(
            "/api/v1/export",
            export,
            Operation::new("export", "viewer", "Gives manifests and cells as one text that `apply` takes.")
                .answer(Content::Yaml)
                .cli("fleetman export --all"),
        )
}

/// How it is written.
#[derive(Debug, Deserialize, JsonSchema)]
struct How {
    /// Whether it is only told what would be done.
    dry_run: Option<bool>,
    /// `plan` of what was looked at: nothing is written if it is something else by now.
    plan: Option<String>,
    /// Why, for the audit.
    reason: Option<String>,
}

/// What was done, or would be.
#[derive(Debug, Serialize, JsonSchema)]
struct Done {
    /// Whether nothing was written.
    dry_run: bool,
    /// What names exactly what would be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    /// How many objects, by what came of them.
    summary: ApplySummary,
    /// What came of each.
    objects: Vec<ApplyLine>,
    /// Why it went no further, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

async fn apply(caller: Caller, Asked(how): Asked<How>, Yaml(text): Yaml) -> Result<Json<Done>, Failure> {
    caller.may.need_anywhere(Role::Editor, "manifests and cells")?;
    let set = recipe::read(&text, "the text").and_then(Set::of).map_err(ControllerError::from)?;
    let fleet = caller.whole_view()?;
    let plan = caller.may.plan_apply(&fleet, set.clone()).await?;
    if how.dry_run.unwrap_or(false) {
        let objects = plan.lines();
        let (plan, summary) = (Some(plan.name()), ApplySummary::of(&objects));
        return Ok(Json(Done { dry_run: true, plan, summary, objects, error: None }));
    }
    caller.check_writable()?;
    let may = caller.may.because(how.reason.as_deref().unwrap_or_default());
    let seen = how.plan.unwrap_or_else(|| plan.name());
    // It ends also when nobody waits any more: what was begun is concluded in the audit.
    let done = tokio::spawn(async move { may.apply(&fleet, set, &seen).await }).await;
    let broke_off = |error| {
        let detail = format!("it broke off: {error}");
        Failure::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "apply", detail)
    };
    let (objects, error) = done.map_err(broke_off)??;
    caller.fleet.snapshot.look_soon();
    caller.fleet.releases.renew_manifests();
    let error = error.map(|error| crate::store::in_full(&error));
    Ok(Json(Done { dry_run: false, plan: None, summary: ApplySummary::of(&objects), objects, error }))
}

async fn export(caller: Caller) -> Result<Response, Failure> {
    Ok(([(header::CONTENT_TYPE, "application/yaml")], caller.may.export().await?).into_response())
}
