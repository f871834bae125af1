//! One file of a version, or one override, as far as it is a text.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Tab};
use super::version::origin;
use crate::controller::{FilePreview, PreviewBody};
use crate::model::{FilePath, VersionName};
use crate::web::changes::size;
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::{CellOfPath, VersionOfPath};
use crate::web::shell::{Nav, Shell};

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    path: String,
}

impl Asked {
    fn path(&self) -> Result<FilePath, Failure> {
        FilePath::new(self.path.clone()).map_err(|error| Failure::bad_request("invalid_path", error.to_string()))
    }
}

#[derive(Template)]
#[template(path = "cell/file.html")]
struct Page {
    shell: Shell,
    frame: Frame,
    path: FilePath,
    /// The version that it is of; None of an override.
    version: Option<VersionName>,
    size: String,
    from: &'static str,
    it: FilePreview,
}

fn show(
    page: &PageContext,
    frame: Frame,
    path: FilePath,
    version: Option<VersionName>,
    it: FilePreview,
    cli: String,
) -> Result<Response, Failure> {
    let shell = page.shell(path.to_string(), Nav::Cells, cli);
    let from = it.of_version.as_ref().map_or("", |facts| origin(facts.from));
    page.render(&Page { shell, frame, path, version, size: size(it.size), from, it })
}

pub(super) async fn of_version(
    page: PageContext,
    VersionOfPath(cell, version): VersionOfPath,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let path = asked.path()?;
    let frame = Frame::read(&page, &cell, Tab::Versions).await?;
    let it = page.may().version_file(&cell, &version, &path).await?;
    let cli = format!("fleetman cat {cell} {version} {}", quoted(path.as_str()));
    show(&page, frame, path, Some(version), it, cli)
}

pub(super) async fn of_override(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let path = asked.path()?;
    let frame = Frame::read(&page, &cell, Tab::Overrides).await?;
    let it = page.may().override_preview(&cell, &path).await?;
    let cli = format!("fleetman override get {cell} {}", quoted(path.as_str()));
    show(&page, frame, path, None, it, cli)
}
