//! Running again what ran before: the same version, or an earlier one.

use axum::extract::{Form, Query};
use axum::response::Response;

use super::followed;
use super::form::{Choice, Order, Sent, Stand, Version, refused, show};
use crate::controller::{Revision, RollbackRequest};
use crate::model::trigger::TriggerOptions;
use crate::model::{CellId, VersionName};
use crate::web::changes::ChangesView;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::paths::CellOfPath;

/// How many triggers are looked through for versions to go back to.
const TRIGGERS: usize = 50;

fn options(sent: &Sent) -> TriggerOptions {
    TriggerOptions {
        retry: sent.retry.is_some(),
        force: sent.force.is_some(),
        override_windows: sent.override_windows.is_some(),
        ..TriggerOptions::default()
    }
}

fn choices(sent: &Sent) -> Vec<Choice> {
    vec![
        Choice { name: "retry", label: "Try again what failed on the node before", is_set: sent.retry.is_some() },
        Choice { name: "force", label: "Overwrite what was changed by hand on the node", is_set: sent.force.is_some() },
        Choice {
            name: "override_windows",
            label: "Wait neither for a maintenance window nor for the application's lock, this once",
            is_set: sent.override_windows.is_some(),
        },
    ]
}

fn redeploy_order(cell: &CellId, sent: &Sent) -> Order {
    let title = format!("Redeploy {cell}");
    let mut order = Order::new("redeploy", title, "Redeploy", format!("fleetman redeploy {cell}"));
    order.effects = vec![
        "The version that was desired last is deployed once more, from the bytes that were signed then.".to_owned(),
        "Its service is restarted. A cell that was stopped is started.".to_owned(),
    ];
    order.choices = choices(sent);
    order
}

pub(super) async fn ask_redeploy(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    let stand = Stand::read(&page, &cell).await?;
    show(&page, &cell, &stand, &redeploy_order(&cell, &sent), &sent, None)
}

pub(super) async fn redeploy(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let may = page.may().because(&sent.reason);
    match may.redeploy(&cell, options(&sent), sent.reason(), &sent.guard()).await {
        Ok(published) => Ok(followed(&page, &cell, &published)),
        Err(error) => refused(&page, &cell, error, &sent, redeploy_order(&cell, &sent)).await,
    }
}

fn named(to: Option<&String>) -> Result<Option<VersionName>, Failure> {
    let to = to.map(|to| to.trim()).filter(|to| !to.is_empty());
    Ok(to.map(VersionName::new).transpose()?)
}

/// What a rollback from `desired` to `to` would do; without that, to the newest version that was known good.
async fn rollback_order(
    page: &PageContext,
    cell: &CellId,
    to: Option<VersionName>,
    desired: Option<VersionName>,
    sent: &Sent,
) -> Result<Order, Failure> {
    let cli = to
        .as_ref()
        .map_or_else(|| format!("fleetman rollback {cell}"), |to| format!("fleetman rollback {cell} --to {to}"));
    let mut order = Order::new("rollback", format!("Roll back {cell}"), "Roll back", cli);
    order.choices = choices(sent);
    let request = RollbackRequest { cell: cell.clone(), to, reason: None, options: TriggerOptions::default() };
    let target = match page.may().rollback_target(&request).await {
        Ok(target) => Some(target),
        Err(error) => {
            let failure = Failure::from(error);
            order.obstacle = Some(failure.detail().to_owned());
            None
        }
    };
    let chosen = target.as_ref().map(|target| target.version.clone());
    if let Some(version) = &chosen {
        order.effects = vec![
            format!(
                "Version {version} is deployed again under a new generation, from the bytes that were signed then."
            ),
            "Nothing is rebuilt: manifest, overrides and release as they are now do not matter.".to_owned(),
        ];
    }
    if let (Some(from), Some(to)) = (desired, &chosen) {
        let (from, to) = (Revision::Version(from), Revision::Version(to.clone()));
        // What cannot be compared, because it was deleted or tampered with, is no reason not to show the rest.
        order.changes = page.may().compare(cell, &from, &to).await.ok().map(|found| ChangesView::from(&found.changes));
    }
    let mut seen = Vec::new();
    for entry in page.may().history(cell, TRIGGERS).await? {
        let Some(target) = entry.trigger.as_ref().ok().and_then(|trigger| trigger.action.target().cloned()) else {
            continue;
        };
        if seen.contains(&target.version) {
            continue;
        }
        seen.push(target.version.clone());
        order.versions.push(Version {
            name: target.version.to_string(),
            about: format!("generation {}", entry.at),
            is_chosen: chosen.as_ref() == Some(&target.version),
        });
    }
    Ok(order)
}

pub(super) async fn ask_rollback(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Query(sent): Query<Sent>,
) -> Result<Response, Failure> {
    let stand = Stand::read(&page, &cell).await?;
    let order = rollback_order(&page, &cell, named(sent.to.as_ref())?, stand.desired(), &sent).await?;
    show(&page, &cell, &stand, &order, &sent, None)
}

pub(super) async fn rollback(
    page: PageContext,
    CellOfPath(cell): CellOfPath,
    Form(sent): Form<Sent>,
) -> Result<Response, Failure> {
    page.caller.check_writable()?;
    let to = named(sent.to.as_ref())?;
    let request =
        RollbackRequest { cell: cell.clone(), to: to.clone(), reason: sent.reason(), options: options(&sent) };
    match page.may().because(&sent.reason).rollback(&request, &sent.guard()).await {
        Ok(published) => Ok(followed(&page, &cell, &published)),
        Err(error) => {
            let stand = Stand::read(&page, &cell).await?;
            let order = rollback_order(&page, &cell, to, stand.desired(), &sent).await?;
            refused(&page, &cell, error, &sent, order).await
        }
    }
}
