//! One manifest: its text, who uses it, what was uploaded for it.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::{ManifestPath, barred};
use crate::controller::Release;
use crate::model::ManifestName;
use crate::model::users::Role;
use crate::recipe;
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::used_by::{self, User};
use crate::web::shell::{Nav, Shell};

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
pub(super) async fn show(page: PageContext, Path(path): Path<ManifestPath>) -> Result<Response, Failure> {
    let name = path.name()?;
    let text = page.may().get_manifest(&name).await?.text;
    let known = &page.caller.fleet.releases;
    let releases = page.may().release_page(known, Some(&name), None, usize::MAX).await?.releases;
    let mut releases: Vec<ReleaseRow> = releases.iter().map(|release| ReleaseRow::from(&**release)).collect();
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
