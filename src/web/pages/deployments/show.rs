//! One release: its files with their digests, and who uses it.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::{ReleasePath, users};
use crate::model::deployment::DeploymentFile;
use crate::model::users::Role;
use crate::model::{CellId, DeploymentName, ManifestName};
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Chip, Pager, has};
use crate::web::page::PageContext;
use crate::web::pages::manifests;
use crate::web::shell::{Nav, Shell};

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
struct Page<'a> {
    shell: Shell,
    manifest: ManifestName,
    name: DeploymentName,
    content: String,
    created_at: DateTime<Utc>,
    created_by: String,
    note: Option<String>,
    bytes: String,
    /// How many files were just sent, if it was just uploaded.
    sent: Option<usize>,
    asked: &'a Asked,
    chips: Vec<Chip>,
    files: Vec<FileRow>,
    file_count: usize,
    pager: Pager,
    /// None where that would be too much to look at.
    users: Option<Vec<CellId>>,
    delete_barred: Option<String>,
}

/// `GET /deployments/{manifest}/{deployment}`
pub(super) async fn show(page: PageContext, Path(path): Path<ReleasePath>, asked: Asked) -> Result<Response, Failure> {
    let (manifest, name) = path.names()?;
    let release = page.may().deployment(&manifest, &name).await?;
    let wanted = asked.text("q").to_lowercase();
    let fitting: Vec<&DeploymentFile> = release.files.iter().filter(|file| has(file.path.as_str(), &wanted)).collect();
    let pager = asked.pager(fitting.len(), release.files.len());
    let users = users(&page, &*page.view()?, &[manifest.clone()].into()).await?;
    let users = users.map(|mut users| users.remove(&(manifest.clone(), name.clone())).unwrap_or_default());
    let shell = page.shell(
        format!("Release {name}"),
        Nav::Deployments,
        format!("fleetman describe deployment {manifest} {name}"),
    );
    page.render(&Page {
        shell,
        content: release.content_sha256.to_string(),
        created_at: release.created_at,
        created_by: release.created_by.to_string(),
        note: release.note.clone(),
        bytes: size(release.files.iter().map(|file| file.size).sum()),
        sent: asked.one("sent").and_then(|sent| sent.parse().ok()),
        chips: asked.chips(&["q"]),
        asked: &asked,
        files: fitting[pager.from..pager.to].iter().map(|file| FileRow::from(*file)).collect(),
        file_count: release.files.len(),
        pager,
        users: users.map(|users| users.into_iter().collect()),
        delete_barred: manifests::barred(&page, Role::Admin, &manifest)?,
        manifest,
        name,
    })
}
