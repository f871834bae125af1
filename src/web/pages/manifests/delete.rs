//! Deleting a manifest that nothing needs.

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path};
use axum::http::StatusCode;
use axum::response::Response;

use super::{ManifestPath, barred};
use crate::model::users::Role;
use crate::model::{ManifestName, ObjectKey};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::sides::{self, Facts, Side};
use crate::web::pages::typed::{self, Sent};
use crate::web::pages::used_by::{self, User};
use crate::web::shell::{Nav, Shell};

#[derive(Template)]
#[template(path = "manifests/delete.html")]
struct DeletePage {
    shell: Shell,
    name: ManifestName,
    users: Vec<User>,
    releases: usize,
    facts: Facts,
    /// What was seen and what is there, where those are not the same.
    sides: Option<[Side; 2]>,
    reason: String,
    failure: Option<String>,
    barred: Option<String>,
}

/// `GET /manifests/{manifest}/delete`
pub(super) async fn ask(page: PageContext, Path(path): Path<ManifestPath>) -> Result<Response, Failure> {
    let name = path.name()?;
    page.may().need_on_manifest(Role::Admin, &*page.caller.whole_view()?, &name)?;
    page.may().get_manifest(&name).await?;
    delete_page(&page, name, &Sent::default(), None).await
}

async fn delete_page(
    page: &PageContext,
    name: ManifestName,
    sent: &Sent,
    failed: Option<&Failure>,
) -> Result<Response, Failure> {
    let releases = page.may().release_page(&page.caller.fleet.releases, Some(&name), None, 0).await?.total;
    let facts = Facts::of(page.may().manifest_facts(&name).await?.as_ref());
    let sides = sides::unless_same(page, &ObjectKey::ManifestYaml(name.clone()), sent, &facts).await?;
    let shell =
        page.shell(format!("Delete manifest {name}"), Nav::Manifests, format!("fleetman delete manifest {name}"));
    page.render_with(
        failed.map_or(StatusCode::OK, Failure::status),
        &DeletePage {
            shell,
            users: used_by::of_manifest(&*page.view()?, &name),
            releases,
            barred: barred(page, Role::Admin, &name)?,
            name,
            facts,
            sides,
            reason: sent.reason.clone(),
            failure: failed.map(|failure| failure.detail().to_owned()),
        },
    )
}

/// `POST /manifests/{manifest}/delete`
pub(super) async fn act(
    page: PageContext,
    Path(path): Path<ManifestPath>,
    form: Result<Form<Sent>, FormRejection>,
) -> Result<Response, Failure> {
    let name = path.name()?;
    let fleet = page.caller.whole_view()?;
    page.may().need_on_manifest(Role::Admin, &fleet, &name)?;
    let Form(form) = form.map_err(|error| Failure::bad_request("invalid_form", error.body_text()))?;
    if let Err(failure) = typed::check(&form.name, &name) {
        return delete_page(&page, name, &form, Some(&failure)).await;
    }
    page.caller.check_writable()?;
    let known = Facts::read(&form.seen).known();
    match page.may().because(&form.reason).delete_manifest(&fleet, &name, &known).await {
        Ok(_) => {
            page.caller.fleet.releases.renew_manifests();
            Ok(page.lead_to("/manifests"))
        }
        Err(error) => delete_page(&page, name, &form, Some(&error.into())).await,
    }
}
