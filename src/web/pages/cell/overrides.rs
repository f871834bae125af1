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
use crate::web::list::{Asked, Chip, Pager, export, has};
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;
use crate::web::shell::{Nav, Shell};
use crate::web::views::Override;

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
    csv: String,
    json: String,
    may_edit: bool,
    done: Done,
}

struct Row {
    listed: OverrideView,
    size: String,
}

fn fitting(all: Vec<OverrideView>, asked: &Asked) -> Vec<OverrideView> {
    let wanted = asked.text("q").to_lowercase();
    all.into_iter().filter(|listed| has(&listed.path, &wanted)).collect()
}

pub(super) async fn overrides(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(done): Query<Done>,
    asked: Asked,
) -> Result<Response, Failure> {
    let frame = Frame::read(&page, &cell, Tab::Overrides).await?;
    let all = page.may().list_overrides(&cell).await?;
    let total = all.len();
    let fitting = fitting(all, &asked);
    let pager = asked.pager(fitting.len(), total);
    let shown = fitting.into_iter().skip(pager.from).take(pager.to - pager.from);
    let rows = shown.map(|listed| Row { size: size(listed.size), listed }).collect();
    let shell = page.shell(format!("Overrides of {cell}"), Nav::Cells, format!("fleetman override ls {cell}"));
    let may_edit = page.may().identity().may(Role::Editor, &cell) && shell.read_only.is_none();
    let chips = asked.chips(&["q"]);
    let [csv, json] =
        ["csv", "json"].map(|kind| asked.elsewhere(&shell.link(&format!("/cells/{cell}/overrides.{kind}"))));
    page.render(&Page { shell, frame, asked, chips, rows, pager, csv, json, may_edit, done })
}

/// `GET /cells/{node}/{cell}/overrides.csv`
pub(super) async fn csv(page: PageContext, CellOfPath(cell): CellOfPath, asked: Asked) -> Result<Response, Failure> {
    let line = |listed: OverrideView| {
        let modified = listed.modified.map(|at| at.to_rfc3339()).unwrap_or_default();
        vec![listed.path, listed.size.to_string(), modified]
    };
    let rows = fitting(page.may().list_overrides(&cell).await?, &asked).into_iter().map(line);
    Ok(export::csv("overrides", &["path", "size_bytes", "written_at"], rows))
}

/// `GET /cells/{node}/{cell}/overrides.json`
pub(super) async fn json(page: PageContext, CellOfPath(cell): CellOfPath, asked: Asked) -> Result<Response, Failure> {
    let rows = fitting(page.may().list_overrides(&cell).await?, &asked).into_iter();
    Ok(export::json(None, rows.map(Override::from)))
}
