//! Alerts: what is wrong, and what was wrong lately.

use axum::response::Response;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::answer::{Has, List, Page};
use super::operation::{Operation, Operations};
use super::request::Asked;
use crate::model::alert::{Alert, AlertKind};

pub(super) fn operations() -> Operations {
    Operations::of("Fleet").get(
        "/api/v1/alerts",
        alerts,
        Operation::new(
            "listAlerts",
            "viewer",
            "Lists the alerts that are open, the worst first, or those that are over.",
        )
        .query::<Which>()
        .gives::<List<Shown>>()
        .cli("fleetman alerts"),
    )
}

/// Which alerts.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// The most entries, 1 to 1,000; 100 if left out. `total` tells how many there are.
    limit: Option<usize>,
    /// Only those of this type.
    #[serde(rename = "type")]
    kind: Option<AlertKind>,
    /// Those that were resolved lately, instead of those that are open.
    resolved: Option<bool>,
}

/// An alert.
#[derive(Debug, Serialize, JsonSchema)]
struct Shown {
    #[serde(flatten)]
    alert: Alert,
    /// When it was over, by the store's clock, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_at: Option<DateTime<Utc>>,
}

async fn alerts(caller: Caller, has: Has, Asked(which): Asked<Which>) -> Result<Response, Failure> {
    let limit = Page { limit: which.limit, after: None }.limit()?;
    let view = caller.view()?;
    let known = caller.fleet.alerts.known().alerts;
    let mut all: Vec<(&Alert, Option<DateTime<Utc>>)> = match which.resolved {
        Some(true) => known.resolved.iter().map(|it| (&it.alert, Some(it.resolved_at))).collect(),
        _ => known.open.iter().map(|alert| (alert, None)).collect(),
    };
    all.retain(|(alert, _)| which.kind.is_none_or(|kind| kind == alert.kind) && caller.may.sees_alert(&alert.subject));
    if which.resolved != Some(true) {
        all.sort_by_key(|(alert, _)| (alert.severity, alert.key()));
    }
    let total = Some(all.len());
    let items = all.into_iter().take(limit).map(|(alert, resolved_at)| Shown { alert: alert.clone(), resolved_at });
    has.json(&List { items: items.collect(), total, next: None, snapshot_at: Some(view.at) })
}
