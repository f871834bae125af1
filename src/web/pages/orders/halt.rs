//! Stopping a cell, and removing it from its node.

use axum::extract::{Form, Query};
use axum::response::Response;

use super::followed;
use super::form::{Choice, Order, Sent, Stand, refused, show};
use crate::controller::StopRequest;
use crate::model::CellId;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;

async fn stop_order(page: &PageContext, cell: &CellId) -> Result<Order, Failure> {
    let mut order = Order::new("stop", format!("Stop {cell}"), "Stop", format!("fleetman stop {cell}"));
    order.is_dangerous = true;
    order.effects = vec![
        "Its service is stopped and stays down, also when the node boots. Its files stay.".to_owned(),
        "It stops even if another change is under way. Redeploy starts it again.".to_owned(),
    ];
    order.effects.extend(dependents(page, cell).await?);
    Ok(order)
}

/// What becomes of the cells that depend on it.
async fn dependents(page: &PageContext, cell: &CellId) -> Result<Vec<String>, Failure> {
    let found = page.may().dependents(cell).await?;
    Ok(found.iter().map(|dependent| format!("{}.", dependent.words(cell))).collect())
}

async fn remove_order(page: &PageContext, cell: &CellId, sent: &Sent) -> Result<Order, Failure> {
    let mut order =
        Order::new("remove", format!("Remove {cell} from its node"), "Remove", format!("fleetman remove {cell}"));
    order.is_dangerous = true;
    order.effects = vec![
        "Its service is stopped, and everything that was installed for it on the node is removed.".to_owned(),
        "Versions, history and settings stay in the bucket: publishing brings it back.".to_owned(),
    ];
    let is_set = sent.purge_data.is_some();
    order.choices = vec![Choice { name: "purge_data", label: "Delete its data folder on the node, too", is_set }];
    order.effects.extend(dependents(page, cell).await?);
    Ok(order)
}

pub(super) async fn ask_stop(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    let stand = Stand::read(&page, &cell).await?;
    show(&page, &cell, &stand, &stop_order(&page, &cell).await?, &sent, None)
}

pub(super) async fn stop(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let request = StopRequest { cell: cell.clone(), reason: sent.reason() };
    match page.may().because(&sent.reason).stop(&request, &sent.guard()).await {
        Ok(published) => Ok(followed(&page, &cell, &published)),
        Err(error) => refused(&page, &cell, error, &sent, stop_order(&page, &cell).await?).await,
    }
}

pub(super) async fn ask_remove(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    let stand = Stand::read(&page, &cell).await?;
    show(&page, &cell, &stand, &remove_order(&page, &cell, &sent).await?, &sent, None)
}

pub(super) async fn remove(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let request = StopRequest { cell: cell.clone(), reason: sent.reason() };
    let may = page.may().because(&sent.reason);
    match may.remove(&request, sent.purge_data.is_some(), &sent.guard()).await {
        Ok(published) => Ok(followed(&page, &cell, &published)),
        Err(error) => refused(&page, &cell, error, &sent, remove_order(&page, &cell, &sent).await?).await,
    }
}
