//! The page of a change that came too late: what its maker saw, and what is there now.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use crate::controller::LivenessLimits;
use crate::model::CellId;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};

#[derive(Template)]
#[template(path = "orders/conflict.html")]
struct Page<'a> {
    shell: Shell,
    cell: &'a CellId,
    what: &'a str,
    seen: &'a str,
    now: String,
    reason: Option<String>,
    detail: &'a str,
    /// Where to look again, with what was typed.
    again: String,
}

/// Answers 409, with both sides.
pub(super) async fn show(
    page: &PageContext,
    cell: &CellId,
    what: &str,
    failure: &Failure,
    seen: &str,
    again: &str,
) -> Result<Response, Failure> {
    let (view, _) = page.may().cell_status(cell, LivenessLimits::default()).await?;
    let claim = view.desired().map(|desired| desired.claim.to_string());
    let shell = page.shell("Somebody came first", Nav::Cells, format!("fleetman history {cell}"));
    let again = shell.link(again);
    let template = Page {
        shell,
        cell,
        what,
        seen,
        now: claim.unwrap_or_else(|| "nothing was ever published".to_owned()),
        reason: view.desired().and_then(|desired| desired.reason.clone()),
        detail: failure.detail(),
        again,
    };
    page.render_with(StatusCode::CONFLICT, &template)
}
