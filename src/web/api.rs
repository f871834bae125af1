//! The read API: `/healthz`, `/readyz` and `/api/v1`. Nothing here writes.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::Serialize;
use tower_http::set_header::SetResponseHeaderLayer;

use super::problem::Problem;
use super::snapshot::Snapshot;
use super::views::{Cell, CellDetail, ManifestDetail, ManifestEntry, Node, NodeDetail, Release, ReleaseDetail};
use crate::controller::{Controller, ControllerError, FleetView};
use crate::model::name::NameError;
use crate::model::{CellId, DeploymentName, ManifestName, NodeName};

/// What handlers work with.
#[derive(Debug)]
pub(super) struct App {
    pub(super) controller: Controller,
    pub(super) snapshot: Snapshot,
}

/// A list.
#[derive(Debug, Serialize)]
struct List<T> {
    items: Vec<T>,
    /// When it was read, by the store's clock, if it was read in the background.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_at: Option<DateTime<Utc>>,
}

/// The routes. `any_host` takes requests under every host name; else only under addresses and `localhost`, so that a
/// page on the web cannot read the fleet by naming this machine (DNS rebinding).
pub(super) fn router(app: Arc<App>, any_host: bool) -> Router {
    let fixed = |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/nodes", get(nodes))
        .route("/api/v1/nodes/{node}", get(node))
        .route("/api/v1/cells", get(cells))
        .route("/api/v1/cells/{node}/{cell}", get(cell))
        .route("/api/v1/manifests", get(manifests))
        .route("/api/v1/manifests/{manifest}", get(manifest))
        .route("/api/v1/deployments", get(deployments))
        .route("/api/v1/deployments/{manifest}/{deployment}", get(deployment))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing under this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this API only answers GET")
        })
        .with_state(app)
        .layer(fixed(header::CACHE_CONTROL, "no-store"))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    if any_host { routes } else { routes.layer(middleware::from_fn(refuse_foreign_hosts)) }
}

async fn refuse_foreign_hosts(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if host.is_none_or(is_own) {
        return next.run(request).await;
    }
    let detail = "this server answers under addresses and localhost only; --insecure-http lifts that";
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "foreign_host", detail).into_response()
}

/// Whether a `Host` header names an address or `localhost`.
fn is_own(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    app.snapshot.is_fresh().map(|()| "ok\n").map_err(unavailable)
}

fn unavailable(why: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "bucket_unavailable", why)
}

fn bad_name(error: NameError) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_name", error.to_string())
}

fn fleet(app: &App) -> Result<Arc<FleetView>, Problem> {
    app.snapshot.view().map_err(unavailable)
}

async fn nodes(State(app): State<Arc<App>>) -> Result<Json<List<Node>>, Problem> {
    let fleet = fleet(&app)?;
    let items = fleet.nodes.iter().map(|node| Node::of(node, &fleet)).collect();
    Ok(Json(List { items, snapshot_at: Some(fleet.at) }))
}

async fn node(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<NodeDetail>, Problem> {
    let name = NodeName::new(name).map_err(bad_name)?;
    let found = NodeDetail::find(&name, &*fleet(&app)?);
    found.map(Json).ok_or_else(|| Problem::not_found(format_args!("node {name}")))
}

async fn cells(State(app): State<Arc<App>>) -> Result<Json<List<Cell>>, Problem> {
    let fleet = fleet(&app)?;
    Ok(Json(List { items: fleet.cells.iter().map(Cell::from).collect(), snapshot_at: Some(fleet.at) }))
}

async fn cell(
    State(app): State<Arc<App>>,
    Path((node, cell)): Path<(String, String)>,
) -> Result<Json<CellDetail>, Problem> {
    let name: CellId = format!("{node}/{cell}").parse().map_err(bad_name)?;
    let found = CellDetail::find(&name, &*fleet(&app)?);
    found.map(Json).ok_or_else(|| Problem::not_found(format_args!("cell {name}")))
}

async fn manifests(State(app): State<Arc<App>>) -> Result<Json<List<ManifestEntry>>, Problem> {
    let items = app.controller.manifests().await?.into_iter().map(ManifestEntry::from).collect();
    Ok(Json(List { items, snapshot_at: None }))
}

async fn manifest(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<ManifestDetail>, Problem> {
    let name = ManifestName::new(name).map_err(bad_name)?;
    let text = app.controller.get_manifest(&name).await?;
    Ok(Json(ManifestDetail::of(name, text)))
}

async fn deployments(State(app): State<Arc<App>>) -> Result<Json<List<Release>>, Problem> {
    let items = app.controller.deployments(None).await?.iter().map(Release::from).collect();
    Ok(Json(List { items, snapshot_at: None }))
}

async fn deployment(
    State(app): State<Arc<App>>,
    Path((manifest, name)): Path<(String, String)>,
) -> Result<Json<ReleaseDetail>, Problem> {
    let manifest = ManifestName::new(manifest).map_err(bad_name)?;
    let name = DeploymentName::new(name).map_err(bad_name)?;
    let all: Result<Vec<_>, ControllerError> = app.controller.deployments(Some(&manifest)).await;
    let found = all?.into_iter().find(|view| view.name == name);
    found
        .map(|view| Json(ReleaseDetail::from(&view)))
        .ok_or_else(|| Problem::not_found(format_args!("deployment {name} of manifest {manifest}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_own_hosts() {
        for own in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "10.0.0.1"] {
            assert!(is_own(own), "{own}");
        }
        for foreign in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "", "[evil]:1", "localhost.evil"]
        {
            assert!(!is_own(foreign), "{foreign}");
        }
    }
}
