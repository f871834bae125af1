//! Running again what ran before: the same version, or an earlier one.

use axum::extract::{Form, Query};
use axum::http::StatusCode;
use axum::response::Response;

use super::followed;
use super::form::{Choice, Order, Sent, Stand, Version, refused, show};
use crate::controller::{HistoryEntry, Revision, RollbackRequest};
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
    let is_named = to.is_some();
    let request = RollbackRequest { cell: cell.clone(), to, reason: None, options: TriggerOptions::default() };
    let mut obstacle = None;
    let target = match page.may().rollback_target(&request).await {
        Ok(target) => Some(target),
        Err(error) => {
            obstacle = Some(Failure::from(error));
            None
        }
    };
    let chosen = target.as_ref().map(|target| target.version.clone());
    order.versions = others(page.may().history(cell, TRIGGERS).await?, desired.as_ref(), chosen.as_ref());
    order.obstacle = match (&obstacle, &desired) {
        // The words of the command line name an option that is a list here.
        (Some(failure), _) if !is_named && failure.status() == StatusCode::NOT_FOUND && !order.versions.is_empty() => {
            Some("No other version is known to have been good on the node. Choose the one to go back to.".to_owned())
        }
        (Some(failure), Some(desired)) if !is_named && failure.status() == StatusCode::NOT_FOUND => {
            Some(format!("There is no version to go back to: only {desired} was ever deployed."))
        }
        (Some(failure), _) => Some(failure.detail().to_owned()),
        (None, Some(desired)) if chosen.as_ref() == Some(desired) => {
            Some(format!("{desired} is the version that is desired now. Redeploy deploys it once more."))
        }
        (None, _) => None,
    };
    if let Some(version) = chosen.as_ref().filter(|_| order.obstacle.is_none()) {
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
    Ok(order)
}

/// The versions of these triggers that can be gone back to, the newest first: all but the one that is desired, and in
/// any case the one that was chosen.
fn others(entries: Vec<HistoryEntry>, desired: Option<&VersionName>, chosen: Option<&VersionName>) -> Vec<Version> {
    let mut found: Vec<Version> = Vec::new();
    let mut add = |name: &VersionName, about: String| {
        if !found.iter().any(|version| version.name == name.as_str()) {
            found.push(Version { name: name.to_string(), about, is_chosen: chosen == Some(name) });
        }
    };
    for entry in entries {
        let target = entry.trigger.as_ref().ok().and_then(|trigger| trigger.action.target());
        if let Some(target) = target.filter(|target| desired != Some(&target.version)) {
            add(&target.version, format!("generation {}", entry.at));
        }
    }
    if let Some(chosen) = chosen.filter(|chosen| desired != Some(*chosen)) {
        add(chosen, "of long ago".to_owned());
    }
    found
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
