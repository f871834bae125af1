//! `/cells/{node}/{cell}/versions/{version}`: one version, what is in it and what history says of it.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Tab};
use super::words;
use crate::controller::VersionDetail;
use crate::model::manifest::{ManifestFile, Origin};
use crate::model::{ObjectKey, VersionName};
use crate::web::changes::{FieldRow, size};
use crate::web::failure::Failure;
use crate::web::list::{Asked, Chip, Pager, has};
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

/// The last name of the path.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) version: String,
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
    asked: Asked,
    chips: Vec<Chip>,
    files: Vec<FileRow>,
    pager: Pager,
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
    asked: Asked,
) -> Result<Response, Failure> {
    let name = VersionName::new(version)?;
    let frame = Frame::read(&page, &cell, Tab::Versions).await?;
    let it = page.may().version(&cell, &name).await?;
    let wanted = asked.text("q").to_lowercase();
    let fitting: Vec<&ManifestFile> =
        it.manifest.files.iter().filter(|file| has(file.path.as_str(), &wanted)).collect();
    let pager = asked.pager(fitting.len(), it.manifest.files.len());
    let row = |file: &&ManifestFile| FileRow { file: (*file).clone(), size: size(file.size), from: origin(file.from) };
    let files = fitting[pager.from..pager.to].iter().map(row).collect();
    let settings = it.content.fields.iter().map(FieldRow::from).collect();
    let shell = page.shell(format!("{name} of {cell}"), Nav::Cells, format!("fleetman describe version {cell} {name}"));
    page.render(&Page {
        shell,
        frame,
        proof: words::proof(&it.proof),
        size: size(it.manifest.total_bytes()),
        settings,
        chips: asked.chips(&["q"]),
        asked,
        files,
        pager,
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
