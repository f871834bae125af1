//! `/api`: the JSON API, told to people.

use askama::Template;
use axum::response::Response;

use crate::web::api::{Reference, reference};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::routes::Routes;
use crate::web::shell::{Nav, Shell};

pub(super) fn routes() -> Routes {
    Routes::new().get("/api", show)
}

#[derive(Template)]
#[template(path = "api/reference.html")]
struct Page {
    shell: Shell,
    reference: Reference,
}

async fn show(page: PageContext) -> Result<Response, Failure> {
    let shell = page.shell("API", Nav::Elsewhere, "fleetman -o json get cells".to_owned());
    let reference = reference(&shell.base);
    page.render(&Page { shell, reference })
}
