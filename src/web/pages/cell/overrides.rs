//! `/cells/{node}/{cell}/overrides`: the cell's own files, which are laid over those of the release.

use askama::Template;
use axum::extract::Query;
use axum::response::Response;
use serde::Deserialize;

use super::frame::{Frame, Tab};
use crate::controller::OverrideView;
use crate::model::users::Role;
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};

/// How many overrides a page has.
const PER_PAGE: usize = 100;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    /// A part of the path.
    #[serde(default)]
    q: String,
    /// From 1.
    page: Option<usize>,
    /// The path of what was just written.
    #[serde(default)]
    saved: String,
    /// The path of what was just deleted.
    #[serde(default)]
    deleted: String,
}

#[derive(Template)]
#[template(path = "cell/overrides.html")]
struct Page {
    shell: Shell,
    frame: Frame,
    q: String,
    rows: Vec<(OverrideView, String)>,
    /// How many have `q` in their path.
    found: usize,
    total: usize,
    /// From 1.
    page: usize,
    pages: usize,
    may_edit: bool,
    saved: String,
    deleted: String,
}

pub(super) async fn overrides(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let frame = Frame::read(&page, &cell, Tab::Overrides).await?;
    let mut all = page.may().list_overrides(&cell).await?;
    let total = all.len();
    let q = asked.q.trim().to_owned();
    all.retain(|listed| listed.path.contains(&q));
    let (found, number) = (all.len(), asked.page.unwrap_or(1).max(1));
    let rows = all.into_iter().skip((number - 1).saturating_mul(PER_PAGE)).take(PER_PAGE);
    let rows = rows.map(|listed| {
        let size = size(listed.size);
        (listed, size)
    });
    let shell = page.shell(format!("Overrides of {cell}"), Nav::Cells, format!("fleetman override ls {cell}"));
    let may_edit = page.may().identity().may(Role::Editor, &cell) && shell.read_only.is_none();
    let pages = found.div_ceil(PER_PAGE).max(1);
    let Asked { saved, deleted, .. } = asked;
    let rows = rows.collect();
    page.render(&Page { shell, frame, q, rows, found, total, page: number, pages, may_edit, saved, deleted })
}
