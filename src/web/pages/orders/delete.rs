//! Deleting a cell that was removed from its node.

use axum::extract::{Form, Query};
use axum::response::Response;

use super::form::{Order, Sent, Stand, refused, show};
use crate::model::CellId;
use crate::model::trigger::Action;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::typed;
use crate::web::paths::CellOfPath;

fn order(cell: &CellId) -> Order {
    let cli = format!("fleetman delete cell {cell}");
    let mut order = Order::new("delete", format!("Delete {cell}"), "Delete for ever", cli);
    order.is_dangerous = true;
    order.effects = vec![
        "Its settings, overrides, versions and history are deleted from the bucket. Nothing brings them back."
            .to_owned(),
        "It has to be removed from its node before. Its last trigger stays, so that its generations never start again."
            .to_owned(),
    ];
    order.typed = Some(cell.to_string());
    order
}

pub(super) async fn ask(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    let stand = Stand::read(&page, &cell).await?;
    let mut order = order(&cell);
    let is_removed = |action: &str| action == Action::Remove.name();
    if stand.claim().is_some_and(|claim| !is_removed(&claim.action)) {
        order.obstacle = Some("It has to be removed from its node first.".to_owned());
    }
    show(&page, &cell, &stand, &order, &sent, None)
}

pub(super) async fn act(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    if let Err(failure) = typed::check(&sent.name, &cell) {
        let stand = Stand::read(&page, &cell).await?;
        return show(&page, &cell, &stand, &order(&cell), &sent, Some(&failure));
    }
    match page.may().because(&sent.reason).delete_cell(&cell, &sent.guard()).await {
        Ok(_) => Ok(page.lead_to("/cells")),
        Err(error) => refused(&page, &cell, error, &sent, order(&cell)).await,
    }
}
