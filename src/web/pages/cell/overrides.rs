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
use crate::web::list::{Asked, Chip, Pager, has};
use crate::web::page::PageContext;
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
    asked: Asked,
    chips: Vec<Chip>,
    rows: Vec<Row>,
    pager: Pager,
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
    Query(done): Query<Done>,
    asked: Asked,
) -> Result<Response, Failure> {
    let frame = Frame::read(&page, &cell, Tab::Overrides).await?;
    let all = page.may().list_overrides(&cell).await?;
    let (total, wanted) = (all.len(), asked.text("q").to_lowercase());
    let fitting: Vec<OverrideView> = all.into_iter().filter(|listed| has(&listed.path, &wanted)).collect();
    let pager = asked.pager(fitting.len(), total);
    let shown = fitting.into_iter().skip(pager.from).take(pager.to - pager.from);
    let rows = shown.map(|listed| Row { size: size(listed.size), listed }).collect();
    let shell = page.shell(format!("Overrides of {cell}"), Nav::Cells, format!("fleetman override ls {cell}"));
    let may_edit = page.may().identity().may(Role::Editor, &cell) && shell.read_only.is_none();
    let chips = asked.chips(&["q"]);
    page.render(&Page { shell, frame, asked, chips, rows, pager, may_edit, done })
}
