//! `/manifests`: the recipes.

mod edit;

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path, Query};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::listing::{ListQuery, Listing};
use super::used_by::{self, User};
use crate::controller::Release;
use crate::model::ManifestName;
use crate::model::name::NameError;
use crate::model::users::Role;
use crate::recipe;
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::shell::{Nav, Shell};

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/manifests", list)
        .get("/manifests/new", edit::new)
        .post("/manifests/new", edit::submit_new)
        .post("/manifests/new/check", edit::check_new)
        .get("/manifests/{manifest}", show)
        .get("/manifests/{manifest}/edit", edit::edit)
        .post("/manifests/{manifest}/edit", edit::submit)
        .post("/manifests/{manifest}/check", edit::check)
        .get("/manifests/{manifest}/delete", ask_delete)
        .post("/manifests/{manifest}/delete", delete)
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

/// A manifest in the list.
struct Row {
    name: ManifestName,
    size_bytes: u64,
    size: String,
    modified: Option<DateTime<Utc>>,
    cells: usize,
}

#[derive(Template)]
#[template(path = "manifests/list.html")]
struct ListPage {
    shell: Shell,
    list: Listing<Row>,
}

/// `GET /manifests`
async fn list(page: PageContext, Query(query): Query<ListQuery>) -> Result<Response, Failure> {
    let found = page.may().manifests().await?;
    let view = page.view()?;
    let counts = used_by::counts(&view);
    let total = found.len();
    let mut rows: Vec<Row> = found
        .into_iter()
        .filter(|manifest| manifest.name.as_str().contains(query.q.trim()))
        .map(|manifest| Row {
            cells: counts.get(&manifest.name).copied().unwrap_or_default(),
            name: manifest.name,
            size_bytes: manifest.size,
            size: size(manifest.size),
            modified: manifest.modified,
        })
        .collect();
    match query.sort.trim_start_matches('-') {
        "modified" => rows.sort_by_key(|row| row.modified),
        "size" => rows.sort_by_key(|row| row.size_bytes),
        "cells" => rows.sort_by_key(|row| row.cells),
        _ => {}
    }
    if query.sort.starts_with('-') {
        rows.reverse();
    }
    let list = Listing::new(query, page.link("/manifests"), total, rows);
    let shell = page.shell("Manifests", Nav::Manifests, "fleetman get manifests".to_owned());
    page.render(&ListPage { shell, list })
}

#[derive(Template)]
#[template(path = "manifests/show.html")]
struct ShowPage {
    shell: Shell,
    name: ManifestName,
    /// The lines of its text.
    lines: Vec<String>,
    bytes: String,
    /// What is wrong with the text, if somebody put it there by other means.
    problem: Option<String>,
    users: Vec<User>,
    releases: Vec<ReleaseRow>,
    /// The command that uploads one.
    upload: String,
    /// Why it cannot be edited, or deleted.
    edit_barred: Option<String>,
    delete_barred: Option<String>,
}

/// A release of the manifest.
struct ReleaseRow {
    name: String,
    created_at: Option<DateTime<Utc>>,
    by: String,
}

impl From<&Release> for ReleaseRow {
    fn from(release: &Release) -> Self {
        let facts = release.facts();
        Self {
            name: release.name.to_string(),
            created_at: facts.map(|facts| facts.created_at),
            by: facts.map(|facts| facts.created_by.to_string()).unwrap_or_default(),
        }
    }
}

/// How many of its newest releases a manifest's page shows.
const NEWEST_RELEASES: usize = 10;

/// `GET /manifests/{manifest}`
async fn show(page: PageContext, Path(path): Path<ManifestPath>) -> Result<Response, Failure> {
    let name = path.name()?;
    let text = page.may().get_manifest(&name).await?.text;
    let releases = page.may().releases(&page.caller.fleet.releases).await?;
    let mut releases: Vec<ReleaseRow> =
        releases.iter().filter(|release| release.manifest == name).map(ReleaseRow::from).collect();
    releases.sort_by_key(|release| std::cmp::Reverse(release.created_at));
    releases.truncate(NEWEST_RELEASES);
    let shell = page.shell(format!("Manifest {name}"), Nav::Manifests, format!("fleetman describe manifest {name}"));
    page.render(&ShowPage {
        shell,
        lines: text.lines().map(ToOwned::to_owned).collect(),
        bytes: size(text.len() as u64),
        problem: recipe::manifest(&text, "manifest.yaml").err().map(|error| error.to_string()),
        users: used_by::of_manifest(&*page.view()?, &name),
        releases,
        upload: format!("fleetman upload {name} <folder>"),
        edit_barred: barred(&page, Role::Editor, &name)?,
        delete_barred: barred(&page, Role::Admin, &name)?,
        name,
    })
}

#[derive(Template)]
#[template(path = "manifests/delete.html")]
struct DeletePage {
    shell: Shell,
    name: ManifestName,
    users: Vec<User>,
    releases: usize,
    reason: String,
    failure: Option<String>,
    barred: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct DeleteForm {
    /// The name, typed once more.
    #[serde(default)]
    name: String,
    #[serde(default)]
    reason: String,
}

/// `GET /manifests/{manifest}/delete`
async fn ask_delete(page: PageContext, Path(path): Path<ManifestPath>) -> Result<Response, Failure> {
    let name = path.name()?;
    page.may().get_manifest(&name).await?;
    delete_page(&page, name, StatusCode::OK, String::new(), None).await
}

async fn delete_page(
    page: &PageContext,
    name: ManifestName,
    status: StatusCode,
    reason: String,
    failure: Option<String>,
) -> Result<Response, Failure> {
    let releases = page.may().releases(&page.caller.fleet.releases).await?;
    let shell =
        page.shell(format!("Delete manifest {name}"), Nav::Manifests, format!("fleetman delete manifest {name}"));
    page.render_with(
        status,
        &DeletePage {
            shell,
            users: used_by::of_manifest(&*page.view()?, &name),
            releases: releases.iter().filter(|release| release.manifest == name).count(),
            barred: barred(page, Role::Admin, &name)?,
            name,
            reason,
            failure,
        },
    )
}

/// `POST /manifests/{manifest}/delete`
async fn delete(
    page: PageContext,
    Path(path): Path<ManifestPath>,
    form: Result<Form<DeleteForm>, FormRejection>,
) -> Result<Response, Failure> {
    let name = path.name()?;
    let Form(form) = form.map_err(|error| Failure::bad_request("invalid_form", error.body_text()))?;
    if form.name.trim() != name.as_str() {
        let failure = Some(format!("Type {name} to delete it."));
        return delete_page(&page, name, StatusCode::UNPROCESSABLE_ENTITY, form.reason, failure).await;
    }
    page.caller.check_writable()?;
    let fleet = page.caller.whole_view()?;
    match page.may().because(&form.reason).delete_manifest(&fleet, &name).await {
        Ok(_) => Ok(page.lead_to("/manifests")),
        Err(error) => {
            let failure = Failure::from(error);
            let (status, detail) = (failure.status(), failure.detail().to_owned());
            delete_page(&page, name, status, form.reason, Some(detail)).await
        }
    }
}
