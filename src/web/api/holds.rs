//! Holding cells and nodes as they are.

use axum::Json;
use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::paths::AddresseeOfPath;
use super::operation::{Operation, Operations};
use super::request::Sent;
use crate::controller::Ordered;

pub(super) fn operations() -> Operations {
    let held = |id, summary| Operation::new(id, "operator", summary).takes::<Hold>().gives::<Order>();
    let released = |id, summary| Operation::new(id, "operator", summary).takes::<Release>().gives::<Order>();
    Operations::of("Holds")
        .post(
            "/api/v1/cells/{node}/{cell}/hold",
            hold,
            held("holdCell", "Keeps the node from changing what runs of a cell, for a while.")
                .cli("fleetman hold {node}/{cell} --reason text --for 2h"),
        )
        .post(
            "/api/v1/cells/{node}/{cell}/unhold",
            release,
            released("unholdCell", "Ends the hold of a cell.").cli("fleetman unhold {node}/{cell}"),
        )
        .post(
            "/api/v1/nodes/{node}/hold",
            hold,
            held("holdNode", "Keeps a node from changing what runs of any of its cells, for a while.")
                .cli("fleetman hold {node} --reason text --for 2h"),
        )
        .post(
            "/api/v1/nodes/{node}/unhold",
            release,
            released("unholdNode", "Ends the hold of a node as a whole.").cli("fleetman unhold {node}"),
        )
}

/// Why and for how long nothing that runs is to be changed.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Hold {
    /// For whoever finds it held; it has to be given.
    reason: String,
    /// After so long it ends by itself; it has to be given, and is 30 days at most.
    #[schemars(range(max = 2_592_000))]
    for_secs: u32,
}

/// Why a hold ends.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Release {
    /// For the audit.
    reason: Option<String>,
}

/// An order that counts from the node's next look on.
#[derive(Debug, Serialize, JsonSchema)]
struct Order {
    /// The order.
    id: String,
    /// The cell, or the node.
    to: String,
    /// When it was given, by the store's clock.
    issued_at: DateTime<Utc>,
    /// Until then it counts, which of a hold is its end.
    expires_at: DateTime<Utc>,
}

impl From<Ordered> for Order {
    fn from(ordered: Ordered) -> Self {
        let Ordered { id, to, issued_at, expires_at } = ordered;
        Self { id: id.to_string(), to: to.to_string(), issued_at, expires_at }
    }
}

async fn hold(
    caller: Caller,
    AddresseeOfPath(to): AddresseeOfPath,
    Sent(wanted): Sent<Hold>,
) -> Result<Json<Order>, Failure> {
    caller.check_writable()?;
    let lasts = TimeDelta::seconds(i64::from(wanted.for_secs));
    Ok(Json(caller.may.hold(&to, lasts, &wanted.reason).await?.into()))
}

async fn release(
    caller: Caller,
    AddresseeOfPath(to): AddresseeOfPath,
    Sent(wanted): Sent<Release>,
) -> Result<Json<Order>, Failure> {
    caller.check_writable()?;
    Ok(Json(caller.may.release(&to, wanted.reason.as_deref()).await?.into()))
}
