//! What happens in the fleet.

use axum::response::Response;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::answer::{Has, Page};
use super::operation::{Operation, Operations};
use super::request::{Asked, parse};
use crate::controller::{Event, EventKind, Moment, Scope};

pub(super) fn operations() -> Operations {
    Operations::of("Fleet").get(
        "/api/v1/events",
        events,
        Operation::new("listEvents", "viewer", "Lists what happened in the fleet, the newest first.")
            .query::<Which>()
            .gives::<Events>()
            .cli("fleetman events --since '1h ago'"),
    )
}

/// Which events.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// The most entries, 1 to 1,000; 100 if left out. `total` tells how many there are.
    limit: Option<usize>,
    /// Only those of this kind.
    kind: Option<EventKind>,
    /// Only what is about this node, or this cell and its node: `n1`, `n1/web`.
    about: Option<String>,
    /// Begin with what happened since: a time, or `2h ago`; `1h ago` if left out.
    since: Option<String>,
}

/// What happened.
#[derive(Debug, Serialize, JsonSchema)]
struct Events {
    /// The newest first.
    items: Vec<Event>,
    /// How many there are in all.
    total: usize,
    /// Since when this controller has seen all that nodes did; what they did before is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    seen_since: Option<DateTime<Utc>>,
    /// Whether what people did is told: to those who may see every cell, while the bucket answers.
    tells_acts: bool,
}

async fn events(caller: Caller, has: Has, Asked(which): Asked<Which>) -> Result<Response, Failure> {
    let limit = Page { limit: which.limit, after: None }.limit()?;
    let scope: Scope = which.about.as_deref().map(|about| parse("about", about)).transpose()?.unwrap_or_default();
    let since: Moment = parse("since", which.since.as_deref().unwrap_or("1h ago"))?;
    let now = caller.view()?.at;
    let since = since.before(now).map_err(|error| Failure::bad_request("invalid_query", format!("since: {error}")))?;
    let (seen, seen_since) = caller.fleet.snapshot.events(since);
    let is_away = caller.fleet.snapshot.age().problem.is_some();
    let audit = (!is_away).then_some(&*caller.fleet.audit);
    let mut events = caller.may.events(seen, audit, &scope, since).await?;
    events.retain(|event| which.kind.is_none_or(|kind| event.kind == kind));
    has.json(&Events {
        total: events.len(),
        items: events.iter().take(limit).map(|event| Event::clone(event)).collect(),
        seen_since,
        tells_acts: !is_away && caller.may.tells_acts(),
    })
}
