//! `/cells/{node}/{cell}/versions/{version}`: one version, what is in it and what history says of it.

use askama::Template;
use axum::response::Response;

use super::frame::{Frame, Tab};
use super::windows::{self, WindowsRow};
use super::words;
use crate::controller::VersionDetail;
use crate::model::ObjectKey;
use crate::model::manifest::{ManifestFile, Origin};
use crate::model::window::{FORESIGHT_DAYS, Passage};
use crate::web::changes::{FieldRow, size};
use crate::web::failure::Failure;
use crate::web::list::{Asked, Chip, Pager, has};
use crate::web::page::PageContext;
use crate::web::paths::VersionOfPath;
use crate::web::shell::{Nav, Shell};
use crate::web::words::State;

#[derive(Template)]
#[template(path = "cell/version.html")]
struct Page {
    shell: Shell,
    frame: Frame,
    it: VersionDetail,
    proof: (State, String),
    size: String,
    windows: Vec<WindowsRow>,
    settings: Vec<FieldRow>,
    asked: Asked,
    chips: Vec<Chip>,
    files: Vec<FileRow>,
    pager: Pager,
    key: ObjectKey,
    may_delete: bool,
}

struct FileRow {
    file: ManifestFile,
    size: String,
    from: &'static str,
}

pub(super) async fn version(
    page: PageContext,
    VersionOfPath(cell, name): VersionOfPath,
    asked: Asked,
) -> Result<Response, Failure> {
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
        may_delete: frame.may_delete(&page),
        frame,
        proof: words::proof(&it.proof),
        size: size(it.manifest.total_bytes()),
        windows: windows::rows(&it.manifest.windows, shell.now),
        settings,
        chips: asked.chips(&["q"]),
        asked,
        files,
        pager,
        key: ObjectKey::VersionManifest(cell, name),
        it,
        shell,
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
