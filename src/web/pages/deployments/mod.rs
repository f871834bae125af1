//! `/deployments`: the releases that were uploaded.

mod delete;
mod list;
mod show;
mod upload;

pub(in crate::web) use self::upload::Arrived;

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use serde::Deserialize;

use super::used_by;
use crate::controller::{CellView, FleetView};
use crate::model::name::NameError;
use crate::model::{CellId, DeploymentName, ManifestName};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::routes::Routes;

/// How many versions are looked into for one page, at most. Each is read once.
const MOST_VERSIONS: usize = 500;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/deployments", list::list)
        .get("/deployments.csv", list::csv)
        .get("/deployments.json", list::json)
        .get("/deployments/new", upload::ask)
        // It has a limit of its own, which the config sets.
        .add("POST", "/deployments/new", post(upload::take).layer(DefaultBodyLimit::disable()))
        .get("/deployments/{manifest}/{deployment}", show::show)
        .get("/deployments/{manifest}/{deployment}/delete", delete::ask)
        .post("/deployments/{manifest}/{deployment}/delete", delete::act)
}

#[derive(Debug, Deserialize)]
struct ReleasePath {
    manifest: String,
    deployment: String,
}

impl ReleasePath {
    fn names(&self) -> Result<(ManifestName, DeploymentName), NameError> {
        Ok((ManifestName::new(self.manifest.as_str())?, DeploymentName::new(self.deployment.as_str())?))
    }
}

/// Cells by the release that their desired or running version was made from.
type Users = BTreeMap<(ManifestName, DeploymentName), BTreeSet<CellId>>;

/// Who uses the releases of these manifests; None where that would be too much to look at.
async fn users(
    page: &PageContext,
    view: &FleetView,
    manifests: &BTreeSet<ManifestName>,
) -> Result<Option<Users>, Failure> {
    let versions = used_by::versions(view, manifests);
    if versions.len() > MOST_VERSIONS {
        return Ok(None);
    }
    let mut users = Users::new();
    for ((cell, ..), release) in page.may().made_from(&page.caller.fleet.releases, versions).await? {
        if let Some(about) = view.cell(&cell).and_then(CellView::about) {
            users.entry((about.manifest.clone(), release)).or_default().insert(cell);
        }
    }
    Ok(Some(users))
}
