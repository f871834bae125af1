//! What cells are made of: manifests, cells and overrides, kept as they were written. Each is changed only as the
//! caller knows it.

use axum::Json;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::pages;
use super::super::paths::CellOfPath;
use super::super::views::{ManifestDetail, ManifestEntry, Override};
use super::answer::{Has, List, Page};
use super::fleet::Deleted;
use super::operation::{Condition, Content, Operation, Operations};
use super::request::{Asked, IfKnown, Of, Precondition, Raw, Sent, Yaml, file_path, unless_it_held_at};
use crate::access::AccessError;
use crate::controller::{Applied, AppliedHow, Guard, Known};
use crate::model::users::Role;
use crate::model::{CellId, FilePath, ManifestName};
use crate::recipe::diagnostics::{Diagnostic, Severity, of_manifest};
use crate::recipe::render;
use crate::store::ETag;

const YAML: &str = "application/yaml";

const OVERRIDE: &str = "/api/v1/cells/{node}/{cell}/overrides/{*path}";

pub(super) fn operations() -> Operations {
    let put =
        |id, needs, summary| Operation::new(id, needs, summary).condition(Condition::MatchOrNew).gives::<Written>();
    Operations::of("Inputs")
        .get(
            "/api/v1/manifests",
            manifests,
            Operation::new("listManifests", "viewer", "Lists the manifests.")
                .query::<Page>()
                .gives::<List<ManifestEntry>>()
                .cli("fleetman get manifests"),
        )
        .get(
            "/api/v1/manifests/{manifest}",
            manifest,
            Operation::new("getManifest", "viewer", "Gives a manifest, with its text.")
                .gives::<ManifestDetail>()
                .cli("fleetman describe manifest {manifest}"),
        )
        .put(
            "/api/v1/manifests/{manifest}",
            put_manifest,
            put("putManifest", "editor", "Writes a manifest.")
                .body(Content::Yaml)
                .cli("fleetman apply -f manifest.yaml"),
        )
        .delete(
            "/api/v1/manifests/{manifest}",
            delete_manifest,
            Operation::new("deleteManifest", "admin", "Deletes a manifest that nothing uses.")
                .condition(Condition::Match)
                .gives::<Deleted>()
                .cli("fleetman delete manifest {manifest}"),
        )
        .post(
            "/api/v1/manifests/{manifest}/check",
            check_manifest,
            Operation::new("checkManifest", "viewer", "Tells what is wrong with a manifest, without writing anything.")
                .body(Content::Yaml)
                .gives::<Draft>(),
        )
        .get(
            "/api/v1/cells/{node}/{cell}/yaml",
            cell_text,
            Operation::new("getCellYaml", "viewer", "Gives a cell as it was written.").answer(Content::Yaml),
        )
        .put(
            "/api/v1/cells/{node}/{cell}/yaml",
            put_cell,
            put("putCellYaml", "editor", "Creates or changes a cell.")
                .body(Content::Yaml)
                .cli("fleetman apply -f cell.yaml"),
        )
        .post(
            "/api/v1/cells/{node}/{cell}/yaml/check",
            check_cell,
            Operation::new("checkCellYaml", "viewer", "Tells what is wrong with a cell, without writing anything.")
                .body(Content::Yaml)
                .gives::<Draft>(),
        )
        .post(
            "/api/v1/cells/{node}/{cell}/pause",
            pause,
            Operation::new("pauseCell", "operator", "Keeps new versions away from a cell.")
                .condition(Condition::MayMatch)
                .takes::<Pause>()
                .gives::<Written>()
                .cli("fleetman pause {node}/{cell} --reason text"),
        )
        .post(
            "/api/v1/cells/{node}/{cell}/resume",
            resume,
            Operation::new("resumeCell", "operator", "Ends a pause.")
                .condition(Condition::MayMatch)
                .gives::<Written>()
                .cli("fleetman resume {node}/{cell}"),
        )
        .delete(
            "/api/v1/cells/{node}/{cell}",
            delete_cell,
            Operation::new("deleteCell", "admin", "Deletes a cell that was removed from its node.")
                .query::<AsItStands>()
                .gives::<Deleted>()
                .cli("fleetman delete cell {node}/{cell}"),
        )
        .get(
            "/api/v1/cells/{node}/{cell}/overrides",
            overrides,
            Operation::new("listOverrides", "viewer", "Lists the cell's own files.")
                .query::<Page>()
                .gives::<List<Override>>()
                .cli("fleetman override ls {node}/{cell}"),
        )
        .get(
            OVERRIDE,
            get_override,
            Operation::new("getOverride", "viewer", "Gives the bytes of one of them.")
                .answer(Content::Bytes)
                .cli("fleetman override get {node}/{cell} {path}"),
        )
        .add(
            "PUT",
            OVERRIDE,
            put("putOverride", "editor", "Writes one of them; the next publish takes it.")
                .body(Content::Bytes)
                .cli("fleetman override put {node}/{cell} {path} file"),
            |routes| {
                let limit = DefaultBodyLimit::max(render::MAX_BYTES);
                routes.add("PUT", OVERRIDE, axum::routing::put(put_override).layer(limit))
            },
        )
        .delete(
            OVERRIDE,
            delete_override,
            Operation::new("deleteOverride", "editor", "Deletes one of them; the next publish goes without it.")
                .condition(Condition::Match)
                .status(StatusCode::NO_CONTENT)
                .cli("fleetman override rm {node}/{cell} {path}"),
        )
}

/// What came of writing something.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Written {
    /// Which object.
    object: String,
    /// `created`, `changed` or `unchanged`.
    how: &'static str,
}

/// What is wrong with a text that was not written.
#[derive(Debug, Serialize, JsonSchema)]
struct Draft {
    /// Whether it could be written: nothing is worse than a warning.
    is_valid: bool,
    /// Everything that is wrong, each with its place.
    problems: Vec<Diagnostic>,
}

/// A cell as it was written, as a failed write tells it.
#[derive(Debug, Serialize)]
struct CellText {
    /// For `If-Match`.
    etag: String,
    text: String,
}

/// Why a cell is paused.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Pause {
    /// In words.
    reason: String,
}

/// What a cell must be for it to be deleted.
#[derive(Debug, Deserialize, JsonSchema)]
struct AsItStands {
    /// The generation that it must be at.
    if_generation: Option<u64>,
}

/// The path of an override, below the cell's own.
#[derive(Debug, Deserialize)]
struct Below {
    path: String,
}

impl Below {
    fn path(&self) -> Result<FilePath, Failure> {
        file_path(&self.path)
    }
}

impl From<Vec<Diagnostic>> for Draft {
    fn from(problems: Vec<Diagnostic>) -> Self {
        let is_valid = problems.iter().all(|problem| problem.severity == Severity::Warning);
        Self { is_valid, problems }
    }
}

impl From<&Applied> for Written {
    fn from(applied: &Applied) -> Self {
        Self { object: applied.what.clone(), how: applied.how.as_str() }
    }
}

/// Answers a PUT. `now` is what lies there now, by its tag: told only if it is what was written, because who is given
/// the tag of another's change would write over it unseen.
fn written(applied: &Applied, now: Option<ETag>) -> Response {
    let status = if applied.how == AppliedHow::Created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = (status, Json(Written::from(applied))).into_response();
    if let Some(tag) = now.and_then(|tag| HeaderValue::from_str(tag.as_str()).ok()) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

async fn manifests(caller: Caller, has: Has, Asked(page): Asked<Page>) -> Result<Response, Failure> {
    let mut all = caller.may.manifests().await?;
    all.sort_by(|one, other| one.name.cmp(&other.name));
    has.json(&List::of(all, &page, |manifest| manifest.name.clone(), ManifestEntry::from)?)
}

async fn manifest(caller: Caller, has: Has, Of(name): Of<ManifestName>) -> Result<Response, Failure> {
    let text = caller.may.get_manifest(&name).await?;
    let tag = text.etag.clone();
    let detail = ManifestDetail::of(name, text);
    Ok(has.stored(Json(detail), "application/json", &tag))
}

async fn put_manifest(
    caller: Caller,
    Of(name): Of<ManifestName>,
    Precondition(known): Precondition,
    Yaml(text): Yaml,
) -> Result<Response, Failure> {
    caller.check_writable()?;
    let fleet = caller.whole_view()?;
    match caller.may.put_manifest(&fleet, &name, &text, &known).await {
        Ok(applied) => {
            caller.fleet.releases.renew_manifests();
            let now = caller.may.get_manifest(&name).await.ok().filter(|now| now.text == text);
            Ok(written(&applied, now.map(|now| now.etag)))
        }
        Err(error) => Err(unless_it_held_at(error, manifest_now(&caller, &name)).await),
    }
}

async fn manifest_now(caller: &Caller, name: &ManifestName) -> Option<ManifestDetail> {
    caller.may.get_manifest(name).await.ok().map(|now| ManifestDetail::of(name.clone(), now))
}

async fn delete_manifest(
    caller: Caller,
    Of(name): Of<ManifestName>,
    Precondition(known): Precondition,
) -> Result<Json<Deleted>, Failure> {
    caller.check_writable()?;
    check_is_there(&known)?;
    let fleet = caller.whole_view()?;
    match caller.may.delete_manifest(&fleet, &name, &known).await {
        Ok(deletion) => {
            caller.fleet.releases.renew_manifests();
            Ok(Json(deletion.into()))
        }
        Err(error) => Err(unless_it_held_at(error, manifest_now(&caller, &name)).await),
    }
}

fn check_is_there(known: &Known) -> Result<(), Failure> {
    match known {
        Known::Absent => {
            Err(Failure::bad_request("invalid_precondition", "what is absent cannot be deleted; send If-Match"))
        }
        Known::Anything | Known::Tag(_) => Ok(()),
    }
}

async fn check_manifest(caller: Caller, Of(name): Of<ManifestName>, Yaml(text): Yaml) -> Result<Json<Draft>, Failure> {
    caller.may.need_anywhere(Role::Viewer, "manifests")?;
    Ok(Json(of_manifest(&text, Some(&name)).into()))
}

async fn check_cell(caller: Caller, CellOfPath(cell): CellOfPath, Yaml(text): Yaml) -> Result<Json<Draft>, Failure> {
    caller.may.check_cell(&cell)?;
    Ok(Json(pages::diagnose_cell(&caller.may, &text, Some(&cell)).await?.into()))
}

async fn cell_text(caller: Caller, has: Has, CellOfPath(cell): CellOfPath) -> Result<Response, Failure> {
    let text = caller.may.get_cell(&cell).await?;
    Ok(has.stored(text.text, YAML, &text.etag))
}

async fn put_cell(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    Precondition(known): Precondition,
    Yaml(text): Yaml,
) -> Result<Response, Failure> {
    caller.check_writable()?;
    match caller.may.put_cell(&cell, &text, &known).await {
        Ok(applied) => {
            let now = caller.may.get_cell(&cell).await.ok().filter(|now| now.text == text);
            Ok(written(&applied, now.map(|now| now.etag)))
        }
        Err(error) => Err(unless_it_held_at(error, cell_now(&caller, &cell)).await),
    }
}

async fn cell_now(caller: &Caller, cell: &CellId) -> Option<CellText> {
    caller.may.get_cell(cell).await.ok().map(|now| CellText { etag: now.etag.to_string(), text: now.text })
}

async fn pause(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    known: IfKnown,
    Sent(wanted): Sent<Pause>,
) -> Result<Json<Written>, Failure> {
    caller.check_writable()?;
    let reason = wanted.reason.trim();
    if reason.is_empty() {
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "reason: say why, for whoever wonders"));
    }
    let paused = caller.may.because(reason).pause(&cell, reason, &known.0).await;
    changed(&caller, &cell, &known, paused).await
}

async fn resume(caller: Caller, CellOfPath(cell): CellOfPath, known: IfKnown) -> Result<Json<Written>, Failure> {
    caller.check_writable()?;
    let resumed = caller.may.resume(&cell, &known.0).await;
    changed(&caller, &cell, &known, resumed).await
}

async fn changed(
    caller: &Caller,
    cell: &CellId,
    known: &IfKnown,
    applied: Result<Applied, AccessError>,
) -> Result<Json<Written>, Failure> {
    match applied {
        Ok(applied) => Ok(Json((&applied).into())),
        Err(error) => Err(known.failed_at(error, cell_now(caller, cell)).await),
    }
}

async fn delete_cell(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    Asked(AsItStands { if_generation }): Asked<AsItStands>,
) -> Result<Json<Deleted>, Failure> {
    caller.check_writable()?;
    Ok(Json(caller.may.delete_cell(&cell, &Guard { if_generation, expect: None }).await?.into()))
}

async fn overrides(
    caller: Caller,
    has: Has,
    CellOfPath(cell): CellOfPath,
    Asked(page): Asked<Page>,
) -> Result<Response, Failure> {
    let mut all = caller.may.list_overrides(&cell).await?;
    all.sort_by(|one, other| one.path.cmp(&other.path));
    has.json(&List::of(all, &page, |view| view.path.clone(), Override::from)?)
}

async fn get_override(
    caller: Caller,
    has: Has,
    CellOfPath(cell): CellOfPath,
    Of(below): Of<Below>,
) -> Result<Response, Failure> {
    let object = caller.may.get_override(&cell, &below.path()?).await?;
    Ok(has.stored(object.bytes, "application/octet-stream", &object.etag))
}

async fn put_override(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    Of(below): Of<Below>,
    Precondition(known): Precondition,
    Raw(bytes): Raw,
) -> Result<Response, Failure> {
    caller.check_writable()?;
    let path = below.path()?;
    match caller.may.put_override(&cell, &path, bytes.clone(), &known).await {
        Ok(applied) => {
            let now = caller.may.get_override(&cell, &path).await.ok().filter(|now| now.bytes == bytes);
            Ok(written(&applied, now.map(|now| now.etag)))
        }
        Err(error) => Err(unless_it_held_at(error, override_now(&caller, &cell, &path)).await),
    }
}

/// As the list of overrides has it.
async fn override_now(caller: &Caller, cell: &CellId, path: &FilePath) -> Option<Override> {
    let all = caller.may.list_overrides(cell).await.ok()?;
    all.into_iter().find(|view| view.path == path.as_str()).map(Override::from)
}

async fn delete_override(
    caller: Caller,
    CellOfPath(cell): CellOfPath,
    Of(below): Of<Below>,
    Precondition(known): Precondition,
) -> Result<StatusCode, Failure> {
    caller.check_writable()?;
    check_is_there(&known)?;
    let path = below.path()?;
    match caller.may.remove_override(&cell, &path, &known).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(error) => Err(unless_it_held_at(error, override_now(&caller, &cell, &path)).await),
    }
}
