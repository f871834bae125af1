//! What a cell is made of, as people write it: `cell.yaml`, and files of its own over those of the release.

mod new;
mod overrides;
mod upload;
mod yaml;

use axum::extract::DefaultBodyLimit;
use axum::routing::post;

pub(super) use self::overrides::{above_override, saved};
pub(in crate::web) use self::yaml::diagnose;
use crate::model::CellId;
use crate::model::users::Role;
use crate::recipe::render;
use crate::web::page::PageContext;
use crate::web::routes::Routes;

/// What a request with a file may have besides its bytes.
const ENVELOPE_BYTES: usize = 64 << 10;

pub(super) fn routes() -> Routes {
    let upload = post(upload::take).layer(DefaultBodyLimit::max(render::MAX_BYTES + ENVELOPE_BYTES));
    Routes::new()
        .get("/cells/new", new::ask)
        .post("/cells/new", new::submit)
        .get("/cells/{node}/{cell}/yaml", yaml::edit)
        .post("/cells/{node}/{cell}/yaml", yaml::submit)
        .post("/cells/{node}/{cell}/yaml/check", yaml::check)
        .get("/cells/{node}/{cell}/overrides/edit", overrides::edit)
        .post("/cells/{node}/{cell}/overrides/edit", overrides::submit)
        .get("/cells/{node}/{cell}/overrides/raw", overrides::raw)
        .get("/cells/{node}/{cell}/overrides/upload", upload::ask)
        .add("POST", "/cells/{node}/{cell}/overrides/upload", upload)
        .get("/cells/{node}/{cell}/overrides/delete", overrides::ask_delete)
        .post("/cells/{node}/{cell}/overrides/delete", overrides::delete)
}

/// Why the user cannot change what the cell is made of, if so.
pub(super) fn barred(page: &PageContext, cell: &CellId) -> Option<String> {
    let may = page.may().identity().may(Role::Editor, cell);
    let denied = || format!("it takes the role {} on cell {cell}", Role::Editor);
    if may { page.caller.read_only() } else { Some(denied()) }
}

/// The pages above those of a cell.
fn above(page: &PageContext, cell: &CellId) -> Vec<(String, String)> {
    vec![(page.link("/cells"), "Cells".to_owned()), (page.link(&format!("/cells/{cell}")), cell.to_string())]
}
