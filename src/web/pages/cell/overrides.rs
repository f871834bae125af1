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
use crate::web::pages::listing::{ListQuery, Listing};
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};

/// What was just done.
#[derive(Debug, Deserialize)]
pub(super) struct Done {
    /// The path of what was written.
    #[serde(default)]
    saved: String,
    /// The path of what was deleted.
    #[serde(default)]
    deleted: String,
}

#[derive(Template)]
#[template(path = "cell/overrides.html")]
struct Page {
    shell: Shell,
    frame: Frame,
    list: Listing<Row>,
    may_edit: bool,
    done: Done,
}

struct Row {
    listed: OverrideView,
    size: String,
}

pub(super) async fn overrides(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(query): Query<ListQuery>,
    Query(done): Query<Done>,
) -> Result<Response, Failure> {
    let frame = Frame::read(&page, &cell, Tab::Overrides).await?;
    let all = page.may().list_overrides(&cell).await?;
    let total = all.len();
    let fitting = all.into_iter().filter(|listed| listed.path.contains(query.q.trim()));
    let rows = fitting.map(|listed| Row { size: size(listed.size), listed }).collect();
    let list = Listing::new(query, page.link(&format!("/cells/{cell}/overrides")), total, rows);
    let shell = page.shell(format!("Overrides of {cell}"), Nav::Cells, format!("fleetman override ls {cell}"));
    let may_edit = page.may().identity().may(Role::Editor, &cell) && shell.read_only.is_none();
    page.render(&Page { shell, frame, list, may_edit, done })
}
