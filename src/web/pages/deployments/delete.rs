//! Deleting a release.

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path};
use axum::http::StatusCode;
use axum::response::Response;

use super::{ReleasePath, users};
use crate::model::users::Role;
use crate::model::{CellId, DeploymentName, ManifestName, ObjectKey};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::manifests;
use crate::web::pages::sides::{self, Facts, Side};
use crate::web::pages::typed::{self, Sent};
use crate::web::shell::{Nav, Shell};

#[derive(Template)]
#[template(path = "deployments/delete.html")]
struct DeletePage {
    shell: Shell,
    manifest: ManifestName,
    name: DeploymentName,
    users: Vec<CellId>,
    facts: Facts,
    /// What was seen and what is there, where those are not the same.
    sides: Option<[Side; 2]>,
    reason: String,
    failure: Option<String>,
    barred: Option<String>,
}

/// `GET /deployments/{manifest}/{deployment}/delete`
pub(super) async fn ask(page: PageContext, Path(path): Path<ReleasePath>) -> Result<Response, Failure> {
    let (manifest, name) = path.names()?;
    page.may().need_on_manifest(Role::Admin, &*page.caller.whole_view()?, &manifest)?;
    delete_page(&page, manifest, name, &Sent::default(), None).await
}

async fn delete_page(
    page: &PageContext,
    manifest: ManifestName,
    name: DeploymentName,
    sent: &Sent,
    failed: Option<&Failure>,
) -> Result<Response, Failure> {
    let users = users(page, &*page.view()?, &[manifest.clone()].into()).await?.unwrap_or_default();
    let users = users.get(&(manifest.clone(), name.clone())).into_iter().flatten().cloned().collect();
    let facts = Facts::of(page.may().deployment_facts(&manifest, &name).await?.as_ref());
    let key = ObjectKey::Deployment(manifest.clone(), name.clone());
    let sides = sides::unless_same(page, &key, sent, &facts).await?;
    let shell = page.shell(
        format!("Delete release {name}"),
        Nav::Deployments,
        format!("fleetman delete deployment {manifest} {name}"),
    );
    let barred = manifests::barred(page, Role::Admin, &manifest)?;
    let status = failed.map_or(StatusCode::OK, Failure::status);
    let failure = failed.map(|failure| failure.detail().to_owned());
    page.render_with(
        status,
        &DeletePage { shell, manifest, name, users, facts, sides, reason: sent.reason.clone(), failure, barred },
    )
}

/// `POST /deployments/{manifest}/{deployment}/delete`
pub(super) async fn act(
    page: PageContext,
    Path(path): Path<ReleasePath>,
    form: Result<Form<Sent>, FormRejection>,
) -> Result<Response, Failure> {
    let (manifest, name) = path.names()?;
    let fleet = page.caller.whole_view()?;
    page.may().need_on_manifest(Role::Admin, &fleet, &manifest)?;
    let Form(form) = form.map_err(|error| Failure::bad_request("invalid_form", error.body_text()))?;
    if let Err(failure) = typed::check(&form.name, &name) {
        return delete_page(&page, manifest, name, &form, Some(&failure)).await;
    }
    page.caller.check_writable()?;
    let known = Facts::read(&form.seen).known();
    let deleted = page.may().because(&form.reason).delete_deployment(&fleet, &manifest, &name, &known).await;
    page.caller.fleet.releases.forget(&(manifest.clone(), name.clone())).await;
    match deleted {
        Ok(_) => Ok(page.lead_to(&format!("/deployments?manifest={manifest}"))),
        Err(error) => delete_page(&page, manifest, name, &form, Some(&error.into())).await,
    }
}
