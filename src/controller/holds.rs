//! Holds and their ends from the order to what the node says of it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use ulid::Ulid;

use super::fleet::NodeView;
use super::{Controller, ControllerError, Ordered};
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::{Heartbeat, HoldReport};
use crate::model::index::Index;
use crate::model::order::{Addressee, Order, OrderAction};
use crate::model::{CellName, ObjectKey, UserName};
use crate::store::{ETag, Fetched};

/// Between two looks at the heartbeat; an unchanged one costs one request without a body.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// An order to hold, or to end a hold, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldOrder {
    /// Which one, about whom, and until when it counts.
    pub ordered: Ordered,
    /// Whether it holds; one that does not ends a hold.
    pub is_hold: bool,
    /// Who gave it.
    pub by: UserName,
    /// Why.
    pub reason: Option<String>,
}

impl HoldOrder {
    /// What an order says about holding, if that is what it is about.
    pub(super) fn of(order: &Order) -> Option<Self> {
        let is_hold = match order.action {
            OrderAction::Hold => true,
            OrderAction::Release => false,
            OrderAction::Logs(_) | OrderAction::Unknown(_) => return None,
        };
        let Order { id, issued_at, expires_at, .. } = *order;
        let ordered = Ordered { id, to: order.addressee(), issued_at, expires_at };
        Some(Self { ordered, is_hold, by: order.issued_by.clone(), reason: order.reason.clone() })
    }
}

/// How far an order about holding has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldStanding {
    /// The order; None if it is not there any more, because a newer one took its place or it is over.
    pub order: Option<HoldOrder>,
    /// What the node says keeps it from changing what the order is about.
    pub held: Option<HoldReport>,
    /// Whether the node says that the order is carried out.
    pub is_carried_out: bool,
}

impl NodeView {
    /// The order about holding `cell`, or the whole node, that counts at `now` and of which the node does not say yet
    /// that it is carried out.
    #[must_use]
    pub fn awaited(&self, cell: Option<&CellName>, now: DateTime<Utc>) -> Option<&HoldOrder> {
        let is_about = |order: &&HoldOrder| order.ordered.to.cell.as_ref() == cell && order.ordered.expires_at > now;
        // By their ids: the last one counts.
        let order = self.hold_orders.iter().rfind(is_about)?;
        let is_said = |beat: &Heartbeat| says_so(beat, &order.ordered, order.is_hold);
        (!self.heartbeat.as_deref().is_some_and(is_said)).then_some(order)
    }
}

impl Controller {
    /// What an index asks of its node about holding, each order verified, by id.
    pub(super) fn hold_orders(&self, index: &Index) -> Vec<HoldOrder> {
        self.believed_orders(index).iter().filter_map(|order| HoldOrder::of(order)).collect()
    }

    /// How far the order `id` about holding `to` has come.
    ///
    /// # Errors
    /// [`ControllerError::Untrusted`] when the order is not believed.
    pub async fn hold_standing(&self, to: &Addressee, id: Ulid) -> Result<HoldStanding, ControllerError> {
        let key = ObjectKey::Heartbeat(to.node.clone());
        let (order, beat) = tokio::try_join!(self.find_order(&to.node, id), async {
            Ok(self.store().find(&key, Heartbeat::MAX_BYTES).await?)
        })?;
        let order = order.and_then(|order| HoldOrder::of(&order)).filter(|order| order.ordered.to == *to);
        // One that cannot be read says nothing; the next one may.
        let beat = beat.and_then(|object| document::parse::<Heartbeat>(&object.bytes).ok());
        let is_said =
            |order: &HoldOrder| beat.as_ref().is_some_and(|beat| says_so(beat, &order.ordered, order.is_hold));
        Ok(HoldStanding {
            is_carried_out: order.as_ref().is_some_and(is_said),
            held: beat.as_ref().and_then(|beat| held(beat, to)).cloned(),
            order,
        })
    }

    /// Waits until the node says that a hold is in force, or that a release is.
    ///
    /// # Errors
    /// [`ControllerError::Unconfirmed`] after `patience`.
    pub async fn confirm_hold(
        &self,
        ordered: &Ordered,
        is_hold: bool,
        patience: Duration,
    ) -> Result<(), ControllerError> {
        let (began, key) = (self.clock.monotonic(), ObjectKey::Heartbeat(ordered.to.node.clone()));
        let mut known: Option<ETag> = None;
        loop {
            match self.store().get_if_changed(&key, known.as_ref(), Heartbeat::MAX_BYTES).await? {
                Fetched::Changed(object) => {
                    // One that cannot be read says nothing; the next one may.
                    if document::parse(&object.bytes).is_ok_and(|beat| says_so(&beat, ordered, is_hold)) {
                        return Ok(());
                    }
                    known = Some(object.etag);
                }
                Fetched::Unchanged => {}
                Fetched::Absent => known = None,
            }
            let waited = self.clock.monotonic().saturating_sub(began);
            if waited >= patience {
                return Err(ControllerError::Unconfirmed { to: ordered.to.clone(), order: ordered.id, waited });
            }
            self.clock.sleep(LOOK_AGAIN).await;
        }
    }
}

/// Whether a node says that the order is carried out.
fn says_so(beat: &Heartbeat, ordered: &Ordered, is_hold: bool) -> bool {
    // A cell that the node knows nothing of cannot be told of.
    match held(beat, &ordered.to) {
        // Of two holds the one that lasts longer is told of.
        Some(hold) if is_hold => hold.order == ordered.id || hold.until >= ordered.expires_at,
        Some(hold) => hold.order > ordered.id || (hold.whole_node && ordered.to.cell.is_some()),
        // However late the node reads what came before, the release counts.
        None => !is_hold,
    }
}

/// What a node says keeps it from changing a cell, or anything.
fn held<'a>(beat: &'a Heartbeat, to: &Addressee) -> Option<&'a HoldReport> {
    match &to.cell {
        Some(cell) => beat.cells.get(cell)?.hold.as_ref(),
        None => beat.hold.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeDelta;
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::fleet_sample::{Wish, node, now, up_to_date};

    fn order(number: u64, to: &str, is_hold: bool, ends_in: i64) -> HoldOrder {
        let to = to.parse().unwrap();
        let expires_at = now() + TimeDelta::seconds(ends_in);
        let ordered = Ordered { id: Ulid::from_parts(number, 0), to, issued_at: now(), expires_at };
        HoldOrder { ordered, is_hold, by: UserName::new("alice").unwrap(), reason: None }
    }

    fn hold(number: u64, whole_node: bool) -> Value {
        json!({"order": Ulid::from_parts(number, 0), "by": "alice", "reason": "", "since": now(),
            "until": now() + TimeDelta::seconds(10), "whole_node": whole_node})
    }

    /// The number of the order that is waited for, where the node says this of itself and of its cell `web`.
    fn awaited(orders: Vec<HoldOrder>, of_node: Value, of_cell: Value, cell: Option<&str>) -> Option<u64> {
        let mut report = up_to_date("v1");
        report["hold"] = of_cell;
        let wishes: [(&str, Wish); 0] = [];
        let mut view = node("n1", Some((1, json!({"hold": of_node, "cells": {"web": report}}))), wishes);
        Arc::make_mut(&mut view).hold_orders = orders;
        let cell = cell.map(|cell| CellName::new(cell).unwrap());
        view.awaited(cell.as_ref(), now()).map(|order| order.ordered.id.timestamp_ms())
    }

    #[test]
    fn an_order_is_awaited_until_the_node_says_that_it_is_carried_out() {
        let (null, web) = (Value::Null, Some("web"));
        let held = || vec![order(1, "n1/web", true, 60)];
        assert_eq!(awaited(held(), null.clone(), null.clone(), web), Some(1));
        assert_eq!(awaited(held(), null.clone(), null.clone(), None), None, "it is not about the node");
        assert_eq!(awaited(held(), null.clone(), hold(1, false), web), None);
        assert_eq!(awaited(vec![order(1, "n1/web", true, 0)], null.clone(), null.clone(), web), None, "it is over");
        let released = || vec![order(1, "n1/web", true, 60), order(2, "n1/web", false, 60)];
        assert_eq!(awaited(released(), null.clone(), hold(1, false), web), Some(2), "the newer one counts");
        assert_eq!(awaited(released(), hold(3, true), hold(3, true), web), None, "the node's own hold is another one");
        assert_eq!(awaited(released(), null.clone(), null.clone(), web), None);
        let whole = || vec![order(1, "n1", true, 60)];
        assert_eq!(awaited(whole(), null.clone(), null.clone(), None), Some(1));
        assert_eq!(awaited(whole(), hold(1, true), hold(1, true), None), None);
    }
}
