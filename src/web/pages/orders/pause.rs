//! Keeping new versions away from a cell, and letting them come again.

use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::Response;

use super::form::{Order, Sent, Stand, outdated, refused, show};
use crate::model::CellId;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;

fn pause_order(cell: &CellId) -> Order {
    let cli = format!("fleetman pause {cell} --reason …");
    let mut order = Order::new("pause", format!("Pause {cell}"), "Pause", cli);
    order.effects = vec![
        "Nothing is published to it until it is resumed: neither from here nor from the command line.".to_owned(),
        "What runs goes on. It can still be stopped and removed.".to_owned(),
    ];
    order.needs_reason = true;
    order.is_of_document = true;
    order
}

fn resume_order(cell: &CellId) -> Order {
    let mut order = Order::new("resume", format!("Resume {cell}"), "Resume", format!("fleetman resume {cell}"));
    order.effects = vec!["It can be published to again. Nothing is published by this.".to_owned()];
    order.is_of_document = true;
    order
}

pub(super) async fn ask_pause(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    let order = pause_order(&cell);
    show(&page, &cell, &Stand::of(&page, &cell, &order).await?, &order, &sent, None)
}

pub(super) async fn pause(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let Some(reason) = sent.reason() else {
        let detail = "A pause needs a reason: whoever finds the cell paused wants to know why.";
        let failure = Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "reason_missing", detail);
        let order = pause_order(&cell);
        return show(&page, &cell, &Stand::of(&page, &cell, &order).await?, &order, &sent, Some(&failure));
    };
    if let Some(conflict) = outdated(&page, &cell, &sent, &pause_order(&cell)).await? {
        return Ok(conflict);
    }
    match page.may().because(&reason).pause(&cell, &reason, &sent.known()).await {
        Ok(_) => Ok(page.lead_to(&format!("/cells/{cell}"))),
        Err(error) => refused(&page, &cell, error, &sent, pause_order(&cell)).await,
    }
}

pub(super) async fn ask_resume(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    let order = resume_order(&cell);
    show(&page, &cell, &Stand::of(&page, &cell, &order).await?, &order, &sent, None)
}

pub(super) async fn resume(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    if let Some(conflict) = outdated(&page, &cell, &sent, &resume_order(&cell)).await? {
        return Ok(conflict);
    }
    match page.may().because(&sent.reason).resume(&cell, &sent.known()).await {
        Ok(_) => Ok(page.lead_to(&format!("/cells/{cell}"))),
        Err(error) => refused(&page, &cell, error, &sent, resume_order(&cell)).await,
    }
}
