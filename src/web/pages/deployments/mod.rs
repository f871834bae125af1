//! `/deployments`: the releases that were uploaded.

mod upload;

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{DefaultBodyLimit, Form, Path, Query};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::listing::{ListQuery, Listing};
use super::used_by;
use crate::controller::{FleetView, Release, ReleaseState};
use crate::model::deployment::DeploymentFile;
use crate::model::name::NameError;
use crate::model::users::Role;
use crate::model::{CellId, DeploymentName, ManifestName};
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::shell::{Nav, Shell};

/// How many versions are looked into for one list, at most. Each is read once.
const MOST_VERSIONS: usize = 500;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/deployments", list)
        .get("/deployments/new", upload::ask)
        // It has a limit of its own, which the config sets.
        .add("POST", "/deployments/new", post(upload::take).layer(DefaultBodyLimit::disable()))
        .get("/deployments/{manifest}/{deployment}", show)
        .get("/deployments/{manifest}/{deployment}/delete", ask_delete)
        .post("/deployments/{manifest}/{deployment}/delete", delete)
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
async fn users(page: &PageContext, view: &FleetView, manifests: &[ManifestName]) -> Result<Option<Users>, Failure> {
    let mut users = Users::new();
    let mut left = MOST_VERSIONS;
    for manifest in manifests {
        let versions = used_by::versions(view, manifest);
        let Some(rest) = left.checked_sub(versions.len()) else { return Ok(None) };
        left = rest;
        for ((cell, ..), release) in page.may().made_from(&page.caller.fleet.releases, versions).await? {
            users.entry((manifest.clone(), release)).or_default().insert(cell);
        }
    }
    Ok(Some(users))
}

/// A release in the list.
struct Row {
    manifest: ManifestName,
    name: DeploymentName,
    /// Why there is nothing more to tell.
    problem: Option<String>,
    created_at: Option<DateTime<Utc>>,
    by: String,
    note: Option<String>,
    files: usize,
    bytes: u64,
    size: String,
    users: usize,
}

impl Row {
    fn new(release: &Release) -> Self {
        let facts = release.facts();
        let bytes = facts.map_or(0, |facts| facts.bytes);
        Self {
            manifest: release.manifest.clone(),
            name: release.name.clone(),
            problem: match &release.state {
                ReleaseState::Whole(_) => None,
                ReleaseState::Unfinished => Some("its upload is under way, or was interrupted".to_owned()),
                ReleaseState::Untrusted { why } => Some(why.clone()),
            },
            created_at: facts.map(|facts| facts.created_at),
            by: facts.map(|facts| facts.created_by.to_string()).unwrap_or_default(),
            note: facts.and_then(|facts| facts.note.clone()),
            files: facts.map_or(0, |facts| facts.files),
            bytes,
            size: size(bytes),
            users: 0,
        }
    }
}

#[derive(Template)]
#[template(path = "deployments/list.html")]
struct ListPage {
    shell: Shell,
    list: Listing<Row>,
    knows_users: bool,
}

/// `GET /deployments`
async fn list(page: PageContext, Query(query): Query<ListQuery>) -> Result<Response, Failure> {
    let releases = page.may().releases(&page.caller.fleet.releases).await?;
    let wanted = query.q.trim();
    let fits = |release: &&Release| {
        let note = || release.facts().and_then(|facts| facts.note.as_deref()).unwrap_or_default();
        let is_of = query.manifest.is_empty() || release.manifest.as_str() == query.manifest.trim();
        let has = release.name.as_str().contains(wanted) || release.manifest.as_str().contains(wanted);
        is_of && (has || note().contains(wanted))
    };
    let mut rows: Vec<Row> = releases.iter().filter(fits).map(Row::new).collect();
    match query.sort.trim_start_matches('-') {
        "manifest" => rows.sort_by(|a, b| (&a.manifest, &a.name).cmp(&(&b.manifest, &b.name))),
        "name" => rows.sort_by(|a, b| a.name.cmp(&b.name)),
        "size" => rows.sort_by_key(|row| row.bytes),
        "by" => rows.sort_by(|a, b| a.by.cmp(&b.by)),
        "created" => rows.sort_by_key(|row| row.created_at),
        // The newest first, and before them what was never finished.
        _ => rows.sort_by_key(|row| std::cmp::Reverse(row.created_at.unwrap_or(DateTime::<Utc>::MAX_UTC))),
    }
    if query.sort.starts_with('-') {
        rows.reverse();
    }
    let mut list = Listing::new(query, page.link("/deployments"), releases.len(), rows);
    let manifests: BTreeSet<ManifestName> = list.rows.iter().map(|row| row.manifest.clone()).collect();
    let manifests: Vec<ManifestName> = manifests.into_iter().collect();
    let users = users(&page, &*page.view()?, &manifests).await?;
    for row in &mut list.rows {
        let of_row = users.as_ref().and_then(|users| users.get(&(row.manifest.clone(), row.name.clone())));
        row.users = of_row.map_or(0, BTreeSet::len);
    }
    let shell = page.live_shell("Deployments", Nav::Deployments, "fleetman get deployments".to_owned());
    page.render(&ListPage { shell, list, knows_users: users.is_some() })
}

#[derive(Debug, Deserialize)]
struct ShowQuery {
    /// How many files were just sent, if it was just uploaded.
    sent: Option<usize>,
    /// The path that paths of files contain.
    #[serde(default)]
    q: String,
    page: Option<usize>,
    per: Option<usize>,
}

/// A file of a release.
struct FileRow {
    path: String,
    size: String,
    sha256: String,
    mode: String,
}

impl From<&DeploymentFile> for FileRow {
    fn from(file: &DeploymentFile) -> Self {
        Self {
            path: file.path.to_string(),
            size: size(file.size),
            sha256: file.sha256.to_string(),
            mode: file.mode.to_string(),
        }
    }
}

#[derive(Template)]
#[template(path = "deployments/show.html")]
struct ShowPage {
    shell: Shell,
    manifest: ManifestName,
    name: DeploymentName,
    content: String,
    created_at: DateTime<Utc>,
    created_by: String,
    note: Option<String>,
    bytes: String,
    sent: Option<usize>,
    files: Listing<FileRow>,
    /// None where that would be too much to look at.
    users: Option<Vec<CellId>>,
    delete_barred: Option<String>,
}

/// `GET /deployments/{manifest}/{deployment}`
async fn show(
    page: PageContext,
    Path(path): Path<ReleasePath>,
    Query(query): Query<ShowQuery>,
) -> Result<Response, Failure> {
    let (manifest, name) = path.names()?;
    let release = page.may().deployment(&manifest, &name).await?;
    let fits = |file: &&DeploymentFile| file.path.as_str().contains(query.q.trim());
    let rows: Vec<FileRow> = release.files.iter().filter(fits).map(FileRow::from).collect();
    let list = ListQuery { q: query.q.clone(), page: query.page, per: query.per, ..ListQuery::default() };
    let own = page.link(&format!("/deployments/{manifest}/{name}"));
    let users = users(&page, &*page.view()?, std::slice::from_ref(&manifest)).await?;
    let users = users.map(|mut users| users.remove(&(manifest.clone(), name.clone())).unwrap_or_default());
    let shell = page.shell(
        format!("Release {name}"),
        Nav::Deployments,
        format!("fleetman describe deployment {manifest} {name}"),
    );
    page.render(&ShowPage {
        shell,
        content: release.content_sha256.to_string(),
        created_at: release.created_at,
        created_by: release.created_by.to_string(),
        note: release.note.clone(),
        bytes: size(release.files.iter().map(|file| file.size).sum()),
        sent: query.sent,
        files: Listing::new(list, own, release.files.len(), rows),
        users: users.map(|users| users.into_iter().collect()),
        delete_barred: super::manifests::barred(&page, Role::Admin, &manifest)?,
        manifest,
        name,
    })
}

#[derive(Template)]
#[template(path = "deployments/delete.html")]
struct DeletePage {
    shell: Shell,
    manifest: ManifestName,
    name: DeploymentName,
    users: Vec<CellId>,
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

/// `GET /deployments/{manifest}/{deployment}/delete`
async fn ask_delete(page: PageContext, Path(path): Path<ReleasePath>) -> Result<Response, Failure> {
    let (manifest, name) = path.names()?;
    delete_page(&page, manifest, name, StatusCode::OK, String::new(), None).await
}

async fn delete_page(
    page: &PageContext,
    manifest: ManifestName,
    name: DeploymentName,
    status: StatusCode,
    reason: String,
    failure: Option<String>,
) -> Result<Response, Failure> {
    let users = users(page, &*page.view()?, std::slice::from_ref(&manifest)).await?.unwrap_or_default();
    let users = users.get(&(manifest.clone(), name.clone())).into_iter().flatten().cloned().collect();
    let shell = page.shell(
        format!("Delete release {name}"),
        Nav::Deployments,
        format!("fleetman delete deployment {manifest} {name}"),
    );
    let barred = super::manifests::barred(page, Role::Admin, &manifest)?;
    page.render_with(status, &DeletePage { shell, manifest, name, users, reason, failure, barred })
}

/// `POST /deployments/{manifest}/{deployment}/delete`
async fn delete(
    page: PageContext,
    Path(path): Path<ReleasePath>,
    form: Result<Form<DeleteForm>, FormRejection>,
) -> Result<Response, Failure> {
    let (manifest, name) = path.names()?;
    let Form(form) = form.map_err(|error| Failure::bad_request("invalid_form", error.body_text()))?;
    if form.name.trim() != name.as_str() {
        let failure = Some(format!("Type {name} to delete it."));
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return delete_page(&page, manifest, name, status, form.reason, failure).await;
    }
    page.caller.check_writable()?;
    let fleet = page.caller.whole_view()?;
    let deleted = page.may().because(&form.reason).delete_deployment(&fleet, &manifest, &name).await;
    page.caller.fleet.releases.forget().await;
    match deleted {
        Ok(_) => Ok(page.lead_to(&format!("/deployments?manifest={manifest}"))),
        Err(error) => {
            let failure = Failure::from(error);
            let (status, detail) = (failure.status(), failure.detail().to_owned());
            delete_page(&page, manifest, name, status, form.reason, Some(detail)).await
        }
    }
}
