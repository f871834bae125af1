//! The JSON API, below `/api/v1`.

use std::sync::Arc;

use axum::extract::Path;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::app::Fleet;
use super::failure::Failure;
use super::routes::Routes;
use super::views::{Cell, CellDetail, ManifestDetail, ManifestEntry, Node, NodeDetail, Release, ReleaseDetail};
use crate::controller::{ControllerError, FleetView};
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

fn view_of(fleet: &Fleet) -> Result<Arc<FleetView>, Failure> {
    fleet.snapshot.view().map_err(Failure::unavailable)
}

async fn nodes(Extension(fleet): Extension<Arc<Fleet>>) -> Result<Json<List<Node>>, Failure> {
    let view = view_of(&fleet)?;
    let items = view.nodes.iter().map(|node| Node::of(node, &view)).collect();
    Ok(Json(List { items, snapshot_at: Some(view.at) }))
}

async fn node(Extension(fleet): Extension<Arc<Fleet>>, Path(name): Path<String>) -> Result<Json<NodeDetail>, Failure> {
    let name = NodeName::new(name)?;
    let found = NodeDetail::find(&name, &*view_of(&fleet)?);
    found.map(Json).ok_or_else(|| Failure::not_found(format_args!("node {name}")))
}

async fn cells(Extension(fleet): Extension<Arc<Fleet>>) -> Result<Json<List<Cell>>, Failure> {
    let view = view_of(&fleet)?;
    Ok(Json(List { items: view.cells.iter().map(Cell::from).collect(), snapshot_at: Some(view.at) }))
}

async fn cell(
    Extension(fleet): Extension<Arc<Fleet>>,
    Path((node, cell)): Path<(String, String)>,
) -> Result<Json<CellDetail>, Failure> {
    let name: CellId = format!("{node}/{cell}").parse()?;
    let found = CellDetail::find(&name, &*view_of(&fleet)?);
    found.map(Json).ok_or_else(|| Failure::not_found(format_args!("cell {name}")))
}

async fn manifests(Extension(fleet): Extension<Arc<Fleet>>) -> Result<Json<List<ManifestEntry>>, Failure> {
    let items = fleet.controller.manifests().await?.into_iter().map(ManifestEntry::from).collect();
    Ok(Json(List { items, snapshot_at: None }))
}

async fn manifest(
    Extension(fleet): Extension<Arc<Fleet>>,
    Path(name): Path<String>,
) -> Result<Json<ManifestDetail>, Failure> {
    let name = ManifestName::new(name)?;
    let text = fleet.controller.get_manifest(&name).await?;
    Ok(Json(ManifestDetail::of(name, text)))
}

async fn deployments(Extension(fleet): Extension<Arc<Fleet>>) -> Result<Json<List<Release>>, Failure> {
    let items = fleet.controller.deployments(None).await?.iter().map(Release::from).collect();
    Ok(Json(List { items, snapshot_at: None }))
}

async fn deployment(
    Extension(fleet): Extension<Arc<Fleet>>,
    Path((manifest, name)): Path<(String, String)>,
) -> Result<Json<ReleaseDetail>, Failure> {
    let manifest = ManifestName::new(manifest)?;
    let name = DeploymentName::new(name)?;
    let all: Result<Vec<_>, ControllerError> = fleet.controller.deployments(Some(&manifest)).await;
    let found = all?.into_iter().find(|view| view.name == name);
    found
        .map(|view| Json(ReleaseDetail::from(&view)))
        .ok_or_else(|| Failure::not_found(format_args!("deployment {name} of manifest {manifest}")))
}
