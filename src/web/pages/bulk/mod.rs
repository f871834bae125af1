//! `/cells/bulk`: the same change to many cells. A page says what becomes of each, and after it one follows all of them.

mod follow;
mod review;

use std::collections::BTreeSet;

use axum::http::StatusCode;

use super::cells;
use crate::access::MOST_BULK_CELLS;
use crate::controller::BulkAction;
use crate::model::CellId;
use crate::web::failure::Failure;
use crate::web::list::{Asked, grouped};
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::shell::Shell;

pub(super) fn routes() -> Routes {
    Routes::new().get("/cells/bulk", review::ask).post("/cells/bulk", review::act).get("/bulk/{id}", follow::follow)
}

/// Something that can be done to many cells: its word, and how it is called.
pub(super) type Choice = (&'static str, &'static str);

/// What somebody may do to many cells, if there are any.
pub(super) fn choices(shell: &Shell) -> Vec<Choice> {
    let may = BulkAction::ALL.into_iter().filter(|action| shell.identity.may_somewhere(action.needs()));
    may.map(|action| (action.as_str(), name(action))).collect()
}

fn name(action: BulkAction) -> &'static str {
    match action {
        BulkAction::Publish => "Publish",
        BulkAction::Redeploy => "Redeploy",
        BulkAction::Stop => "Stop",
        BulkAction::Pause => "Pause",
        BulkAction::Resume => "Resume",
    }
}

fn words() -> [(&'static str, BulkAction); BulkAction::ALL.len()] {
    BulkAction::ALL.map(|action| (action.as_str(), action))
}

/// What an address asks to be done.
fn action(asked: &Asked) -> Result<BulkAction, Failure> {
    asked.word("action", &words())?.ok_or_else(|| {
        let words: Vec<&str> = words().iter().map(|(word, _)| *word).collect();
        Failure::bad_request("invalid_action", format!("say what is to be done: action is one of {}", words.join(", ")))
    })
}

/// The cells that an address names: those that are ticked, or all that fit.
fn chosen(page: &PageContext, asked: &Asked) -> Result<BTreeSet<CellId>, Failure> {
    let ticked = || asked.all("cell").map(|cell| Ok(cell.parse::<CellId>()?)).collect::<Result<BTreeSet<_>, Failure>>();
    let cells = match asked.word("which", &[("ticked", true), ("all", false)])? {
        Some(true) => ticked()?,
        None if asked.one("cell").is_some() => ticked()?,
        Some(false) | None => cells::fitting(&*page.view()?, asked)?.into_iter().collect(),
    };
    check_count(cells.len())?;
    Ok(cells)
}

/// Refuses more cells than are changed at once.
fn check_count(count: usize) -> Result<(), Failure> {
    if count <= MOST_BULK_CELLS {
        return Ok(());
    }
    let detail = format!(
        "these are {} cells, and {MOST_BULK_CELLS} may be changed at once: narrow the list by agent, manifest, label or \
         state, and do one part after the other",
        grouped(count)
    );
    Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many_cells", detail))
}
