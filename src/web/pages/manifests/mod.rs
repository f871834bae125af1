//! `/manifests`: the recipes.

mod delete;
mod edit;
mod list;
mod show;

use serde::Deserialize;

use crate::model::ManifestName;
use crate::model::name::NameError;
use crate::model::users::Role;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/manifests", list::list)
        .get("/manifests.csv", list::csv)
        .get("/manifests.json", list::json)
        .get("/manifests/new", edit::new)
        .post("/manifests/new", edit::submit_new)
        .post("/manifests/new/check", edit::check_new)
        .get("/manifests/{manifest}", show::show)
        .get("/manifests/{manifest}/edit", edit::edit)
        .post("/manifests/{manifest}/edit", edit::submit)
        .post("/manifests/{manifest}/check", edit::check)
        .get("/manifests/{manifest}/delete", delete::ask)
        .post("/manifests/{manifest}/delete", delete::act)
}

#[derive(Debug, Deserialize)]
struct ManifestPath {
    manifest: String,
}

impl ManifestPath {
    fn name(&self) -> Result<ManifestName, NameError> {
        ManifestName::new(self.manifest.as_str())
    }
}

/// Why the user cannot change a manifest in this way, if so.
pub(super) fn barred(page: &PageContext, role: Role, name: &ManifestName) -> Result<Option<String>, Failure> {
    let denied = page.may().need_on_manifest(role, &*page.caller.whole_view()?, name).err();
    Ok(denied.map(|denied| denied.to_string()).or_else(|| page.caller.read_only()))
}
