//! `/cells/{node}/{cell}/versions/{version}`: one version, what is in it and what history says of it.

use askama::Template;
use axum::extract::{Path, Query};
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Tab};
use super::words;
use crate::controller::VersionDetail;
use crate::model::manifest::{ManifestFile, Origin};
use crate::model::{ObjectKey, VersionName};
use crate::web::changes::{FieldRow, size};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

/// How many files a page has.
const PER_PAGE: usize = 100;

/// The last name of the path.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) version: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// A part of a file's path.
    #[serde(default)]
    q: String,
    /// From 1.
    page: Option<usize>,
}

#[derive(Template)]
#[template(path = "cell/version.html")]
struct Page {
    shell: Shell,
    frame: Frame,
    it: VersionDetail,
    proof: (State, String),
    size: String,
    settings: Vec<FieldRow>,
    q: String,
    files: Vec<FileRow>,
    /// How many have `q` in their path.
    found: usize,
    /// From 1.
    page: usize,
    pages: usize,
    key: ObjectKey,
}

struct FileRow {
    file: ManifestFile,
    size: String,
    from: &'static str,
}

pub(super) async fn version(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Path(Named { version }): Path<Named>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let name = VersionName::new(version)?;
    let frame = Frame::read(&page, &cell, Tab::Versions).await?;
    let it = page.may().version(&cell, &name).await?;
    let q = asked.q.trim().to_owned();
    let fitting: Vec<&ManifestFile> = it.manifest.files.iter().filter(|file| file.path.as_str().contains(&q)).collect();
    let (found, number) = (fitting.len(), asked.page.unwrap_or(1).max(1));
    let files = fitting.into_iter().skip((number - 1).saturating_mul(PER_PAGE)).take(PER_PAGE);
    let files =
        files.map(|file| FileRow { file: file.clone(), size: size(file.size), from: origin(file.from) }).collect();
    let settings = it.content.fields.iter().map(FieldRow::from).collect();
    let shell = page.shell(format!("{name} of {cell}"), Nav::Cells, format!("fleetman describe version {cell} {name}"));
    page.render(&Page {
        shell,
        frame,
        proof: words::proof(&it.proof),
        size: size(it.manifest.total_bytes()),
        settings,
        q,
        files,
        found,
        page: number,
        pages: found.div_ceil(PER_PAGE).max(1),
        key: ObjectKey::VersionManifest(cell, name),
        it,
    })
}

/// Where a file of a version came from.
pub(super) fn origin(from: Origin) -> &'static str {
    match from {
        Origin::Deployment => "release",
        Origin::Override => "override",
        Origin::Template => "template",
    }
}
