//! The JSON API, below `/api/v1`.

use axum::Json;
use axum::extract::Path;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::caller::Caller;
use super::failure::Failure;
use super::routes::Routes;
use super::views::{Cell, CellDetail, ManifestDetail, ManifestEntry, Node, NodeDetail, Release, ReleaseDetail};
use crate::model::{CellId, DeploymentName, ManifestName, NodeName};

/// A list.
#[derive(Debug, Serialize)]
struct List<T> {
    items: Vec<T>,
    /// When it was read, by the store's clock, if it was read in the background.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_at: Option<DateTime<Utc>>,
}

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/api/v1/nodes", nodes)
        .get("/api/v1/nodes/{node}", node)
        .get("/api/v1/cells", cells)
        .get("/api/v1/cells/{node}/{cell}", cell)
        .get("/api/v1/manifests", manifests)
        .get("/api/v1/manifests/{manifest}", manifest)
        .get("/api/v1/deployments", deployments)
        .get("/api/v1/deployments/{manifest}/{deployment}", deployment)
}

async fn nodes(caller: Caller) -> Result<Json<List<Node>>, Failure> {
    let view = caller.view()?;
    let items = view.nodes.iter().map(|node| Node::from(&**node)).collect();
    Ok(Json(List { items, snapshot_at: Some(view.at) }))
}

async fn node(caller: Caller, Path(name): Path<String>) -> Result<Json<NodeDetail>, Failure> {
    let name = NodeName::new(name)?;
    let found = NodeDetail::find(&name, &*caller.view()?);
    found.map(Json).ok_or_else(|| Failure::not_found(format_args!("node {name}")))
}

async fn cells(caller: Caller) -> Result<Json<List<Cell>>, Failure> {
    let view = caller.view()?;
    Ok(Json(List { items: view.cells().map(Cell::from).collect(), snapshot_at: Some(view.at) }))
}

async fn cell(caller: Caller, Path((node, cell)): Path<(String, String)>) -> Result<Json<CellDetail>, Failure> {
    let name: CellId = format!("{node}/{cell}").parse()?;
    let found = CellDetail::find(&name, &*caller.view()?);
    found.map(Json).ok_or_else(|| Failure::not_found(format_args!("cell {name}")))
}

async fn manifests(caller: Caller) -> Result<Json<List<ManifestEntry>>, Failure> {
    let items = caller.may.manifests().await?.into_iter().map(ManifestEntry::from).collect();
    Ok(Json(List { items, snapshot_at: None }))
}

async fn manifest(caller: Caller, Path(name): Path<String>) -> Result<Json<ManifestDetail>, Failure> {
    let name = ManifestName::new(name)?;
    let text = caller.may.get_manifest(&name).await?;
    Ok(Json(ManifestDetail::of(name, text)))
}

async fn deployments(caller: Caller) -> Result<Json<List<Release>>, Failure> {
    let items = caller.may.deployments(None).await?.iter().map(Release::from).collect();
    Ok(Json(List { items, snapshot_at: None }))
}

async fn deployment(
    caller: Caller,
    Path((manifest, name)): Path<(String, String)>,
) -> Result<Json<ReleaseDetail>, Failure> {
    let manifest = ManifestName::new(manifest)?;
    let name = DeploymentName::new(name)?;
    let all = caller.may.deployments(Some(&manifest)).await?;
    let found = all.into_iter().find(|view| view.name == name);
    found
        .map(|view| Json(ReleaseDetail::from(&view)))
        .ok_or_else(|| Failure::not_found(format_args!("deployment {name} of manifest {manifest}")))
}
