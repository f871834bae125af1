//! What changes a cell: a page that says what will change, and after it one that follows the change to its end.

mod conflict;
mod delete;
mod delete_version;
mod follow;
mod form;
mod halt;
mod pause;
mod publish;
mod repeat;

use axum::response::Response;

pub(super) use self::follow::steps;
use crate::controller::Published;
use crate::model::CellId;
use crate::web::page::PageContext;
use crate::web::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/cells/{node}/{cell}/publish", publish::ask)
        .post("/cells/{node}/{cell}/publish", publish::act)
        .get("/cells/{node}/{cell}/redeploy", repeat::ask_redeploy)
        .post("/cells/{node}/{cell}/redeploy", repeat::redeploy)
        .get("/cells/{node}/{cell}/rollback", repeat::ask_rollback)
        .post("/cells/{node}/{cell}/rollback", repeat::rollback)
        .get("/cells/{node}/{cell}/stop", halt::ask_stop)
        .post("/cells/{node}/{cell}/stop", halt::stop)
        .get("/cells/{node}/{cell}/remove", halt::ask_remove)
        .post("/cells/{node}/{cell}/remove", halt::remove)
        .get("/cells/{node}/{cell}/pause", pause::ask_pause)
        .post("/cells/{node}/{cell}/pause", pause::pause)
        .get("/cells/{node}/{cell}/resume", pause::ask_resume)
        .post("/cells/{node}/{cell}/resume", pause::resume)
        .get("/cells/{node}/{cell}/delete", delete::ask)
        .post("/cells/{node}/{cell}/delete", delete::act)
        .get("/cells/{node}/{cell}/versions/{version}/delete", delete_version::ask)
        .post("/cells/{node}/{cell}/versions/{version}/delete", delete_version::act)
        .get("/cells/{node}/{cell}/follow", follow::follow)
}

/// Leads to the page that follows what was published.
fn followed(page: &PageContext, cell: &CellId, published: &Published) -> Response {
    page.lead_to(&format!("/cells/{cell}/follow?at={}", published.at))
}
