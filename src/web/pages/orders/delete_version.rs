//! Deleting a version that nobody needs: it is marked first, and an hour later deleted.

use axum::extract::Form;
use axum::response::Response;
use chrono::SecondsFormat;

use super::form::{Order, Sent, Stand, outdated, refused, show};
use crate::controller::DeletionOutlook;
use crate::model::{CellId, VersionName};
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::typed;
use crate::web::paths::VersionOfPath;

/// The form, as things are.
async fn order(page: &PageContext, cell: &CellId, version: &VersionName) -> Result<Order, Failure> {
    let DeletionOutlook { needed_by, ready_at, is_ready } = page.may().deletion_outlook(cell, version).await?;
    let button = if is_ready { "Delete for ever" } else { "Mark it for deletion" };
    let cli = format!("fleetman delete version {cell} {version}");
    let mut order =
        Order::new(format!("versions/{version}/delete"), format!("Delete version {version} of {cell}"), button, cli);
    order.is_dangerous = true;
    order.typed = Some(version.to_string());
    let when = ready_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    order.effects = match &when {
        None => vec![
            "It is marked first: from then on it can be neither published nor rolled back to.".to_owned(),
            "An hour later it may be deleted, by this page or by fleetman gc. If somebody needs it by then it stays."
                .to_owned(),
        ],
        Some(when) if is_ready => {
            vec![format!(
                "It was marked, and may be deleted since {when}. Its manifest and files leave the bucket; nothing brings them back."
            )]
        }
        Some(_) => Vec::new(),
    };
    order.effects.push("What runs on the node, the history and the audit stay as they are.".to_owned());
    order.obstacle = match (needed_by, when) {
        (Some(by), _) => Some(format!("It is needed: {by}.")),
        (None, Some(when)) if !is_ready => Some(format!("It is marked, and may be deleted from {when} on.")),
        (None, _) => None,
    };
    Ok(order)
}

pub(super) async fn ask(page: PageContext, VersionOfPath(cell, version): VersionOfPath) -> Result<Response, Failure> {
    let order = order(&page, &cell, &version).await?;
    show(&page, &cell, &Stand::read(&page, &cell).await?, &order, &Sent::default(), None)
}

pub(super) async fn act(
    page: PageContext,
    VersionOfPath(cell, version): VersionOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let order = order(&page, &cell, &version).await?;
    if let Err(failure) = typed::check(&sent.name, &version) {
        return show(&page, &cell, &Stand::read(&page, &cell).await?, &order, &sent, Some(&failure));
    }
    if let Some(conflict) = outdated(&page, &cell, &sent, &order).await? {
        return Ok(conflict);
    }
    match page.may().because(&sent.reason).delete_version(&cell, &version).await {
        Ok(_) => Ok(page.lead_to(&format!("/cells/{cell}/versions"))),
        Err(error) => refused(&page, &cell, error, &sent, order).await,
    }
}
