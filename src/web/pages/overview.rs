//! `/`: what needs attention, and how the fleet stands.

use askama::Template;
use axum::response::Response;

use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::shell::{Nav, Shell};

pub(super) fn routes() -> Routes {
    Routes::new().get("/", overview)
}

#[derive(Template)]
#[template(path = "overview/page.html")]
struct Page {
    shell: Shell,
    nodes: usize,
    cells: usize,
}

async fn overview(page: PageContext) -> Result<Response, Failure> {
    let view = page.view()?;
    let shell = page.live_shell("Overview", Nav::Overview, "fleetman status".to_owned());
    page.render(&Page { shell, nodes: view.nodes.len(), cells: view.counts.cells() })
}
