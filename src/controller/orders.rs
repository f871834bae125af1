//! Orders to nodes, which change no version: holding, releasing, asking for logs.
//!
//! The object in the node's `_requests/` is what counts; the node's index has a copy, so that an idle poll stays one
//! request. Whoever writes an order takes out of the index what is over or was overtaken.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::value::RawValue;
use tracing::info;
use ulid::Ulid;

use super::{Controller, ControllerError};
use crate::clock::to_millis;
use crate::entropy;
use crate::model::document::{Document as _, DocumentError};
use crate::model::index::Index;
use crate::model::order::{Addressee, Order, OrderAction};
use crate::model::sign::{self, Verified};
use crate::model::{CellId, CellName, NodeName, ObjectKey};

/// Room for the signatures and for white space.
const ORDER_BYTES: u64 = 2 * Order::MAX_BYTES;

/// A release counts at least so long, and longer than every hold that it ends: a node that comes back and finds both
/// is not to be held again.
const RELEASE_COUNTS: TimeDelta = TimeDelta::hours(1);

/// Orders for logs in a node's index: they leave room for others.
const MOST_LOGS: usize = Order::MOST_OF_NODE / 4;

/// An order that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// Names it.
    pub id: Ulid,
    /// Whom it is about.
    pub to: Addressee,
    /// When it was issued, by the store's clock.
    pub issued_at: DateTime<Utc>,
    /// Until then it counts.
    pub expires_at: DateTime<Utc>,
}

impl Controller {
    /// Keeps a node's agent from changing anything about a cell, or about all of them, for `lasts`. What runs goes on.
    /// A hold that is there already is replaced.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`] when that is too long; [`ControllerError::NotFound`] when there is no such cell or
    /// node.
    pub async fn hold(&self, to: &Addressee, lasts: TimeDelta, reason: &str) -> Result<Ordered, ControllerError> {
        if reason.trim().is_empty() {
            return Err(ControllerError::invalid(to, "a hold needs a reason: whoever finds it wants to know why"));
        }
        if lasts < TimeDelta::seconds(1) || lasts > Order::LONGEST_HOLD {
            let days = Order::LONGEST_HOLD.num_days();
            let problem = format!("a hold lasts a second to {days} days; hold again when it ends");
            return Err(ControllerError::invalid(to, problem));
        }
        self.order(to, OrderAction::Hold, lasts, Some(reason.trim().to_owned())).await
    }

    /// Ends the hold of a cell, or the one of a node as a whole. The one does not end the other.
    ///
    /// # Errors
    /// See [`Self::hold`].
    pub async fn release(&self, to: &Addressee, reason: Option<&str>) -> Result<Ordered, ControllerError> {
        self.order(to, OrderAction::Release, RELEASE_COUNTS, reason.map(str::to_owned)).await
    }

    pub(super) async fn order(
        &self,
        to: &Addressee,
        action: OrderAction,
        lasts: TimeDelta,
        reason: Option<String>,
    ) -> Result<Ordered, ControllerError> {
        let reason = reason.or_else(|| self.actor().reason.clone());
        // Who writes a node's index takes turns with all who do, whatever the cell.
        let turn = match to.cell_id() {
            Some(cell) => self.take_turn(&cell).await?,
            None => self.take_turn(&CellId::new(to.node.clone(), whole_node(to)?)).await?,
        };
        let ordered = self.issue(to, action, lasts, reason).await;
        turn.end().await;
        ordered
    }

    async fn issue(
        &self,
        to: &Addressee,
        action: OrderAction,
        lasts: TimeDelta,
        reason: Option<String>,
    ) -> Result<Ordered, ControllerError> {
        let (index, etag) = self.index_to_change(&ObjectKey::Index(to.node.clone()), &to.node).await?;
        self.check_addressee(to, etag.as_ref().map(|_| &index)).await?;
        let standing = self.believed_orders(&index);
        let overtaken: Vec<&Verified<Order>> =
            standing.iter().filter(|order| is_overtaken(order, to, &action)).collect();
        let id = self.order_id(overtaken.iter().map(|order| order.id).max())?;
        let issued_at = at(id);
        let mut expires_at = issued_at + lasts;
        if action == OrderAction::Release {
            let holds = overtaken.iter().map(|order| order.expires_at + RELEASE_COUNTS).max();
            expires_at = expires_at.max(holds.unwrap_or(expires_at)).min(issued_at + Order::LONGEST_HOLD);
        }
        let verb = match &action {
            OrderAction::Release => "unhold".to_owned(),
            action => action.name().to_owned(),
        };
        let told = match &action {
            OrderAction::Logs(query) => format!("order {id}: {query}"),
            OrderAction::Unknown(_) => format!("order {id}"),
            OrderAction::Hold | OrderAction::Release => {
                format!("order {id} until {}", expires_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
            }
        };
        let order = Order {
            requires: Vec::new(),
            fleet: self.fleet(),
            node: to.node.clone(),
            cell: to.cell.clone(),
            id,
            action,
            issued_at,
            expires_at,
            issued_by: self.actor().user.clone(),
            reason: reason.clone(),
        };
        let signed = sign::sign(&order, &self.settings.signer)
            .map_err(|source| ControllerError::Sign { what: format!("an order to {to}"), source })?;
        let before = overtaken.iter().map(|order| format!("order {} ({})", order.id, order.action.name())).next_back();
        let object = match &to.cell {
            Some(_) => format!("cell/{to}"),
            None => format!("node/{to}"),
        };
        let act = self.intend(&verb, object, before, Some(told), reason).await?;
        let given = self.give(&signed).await;
        self.conclude(act, given).await?;
        let gone: Vec<ObjectKey> =
            overtaken.iter().map(|order| ObjectKey::Request(to.node.clone(), order.id)).collect();
        // What was overtaken counts no more; that it is still there does no harm.
        if let Err(error) = self.delete_all(&gone).await {
            tracing::warn!(%to, %error, "an order that was overtaken could not be deleted");
        }
        info!(%to, action = order.action.name(), %id, by = %order.issued_by, "ordered");
        Ok(Ordered { id, to: to.clone(), issued_at, expires_at })
    }

    /// Writes an order, and its copy into the index.
    async fn give(&self, order: &Verified<Order>) -> Result<(), ControllerError> {
        let key = ObjectKey::Request(order.node.clone(), order.id);
        self.writer().await?.create(&key, order.document().to_vec().into()).await?;
        self.list_order(order).await
    }

    /// Copies an order into its node's index, and takes out what is over or was overtaken.
    pub(super) async fn list_order(&self, order: &Verified<Order>) -> Result<(), ControllerError> {
        let copy = serde_json::from_slice::<Box<RawValue>>(order.document()).map_err(|source| {
            ControllerError::Unreadable {
                key: ObjectKey::Request(order.node.clone(), order.id).to_string(),
                source: DocumentError::Invalid { schema: Order::SCHEMA, source },
            }
        })?;
        let to = order.addressee();
        self.rewrite_index(&order.node, |index| {
            self.keep_orders(index, |known| known.id != order.id && !is_overtaken(known, &to, &order.action));
            if index.requests.len() >= Order::MOST_OF_NODE {
                let problem = format!("{} orders to it are still to be carried out", index.requests.len());
                return Err(ControllerError::invalid(&order.node, problem));
            }
            if matches!(order.action, OrderAction::Logs(_)) {
                let standing = self.believed_orders(index);
                let asked = standing.iter().filter(|known| matches!(known.action, OrderAction::Logs(_))).count();
                if asked >= MOST_LOGS {
                    let problem = format!("it was asked for logs {asked} times in the last minutes; wait a little");
                    return Err(ControllerError::invalid(&order.node, problem));
                }
            }
            index.requests.push(copy.clone());
            Ok(true)
        })
        .await
    }

    /// Takes out of an index what is no order of its node, what is over, and what is not to be kept.
    pub(super) fn keep_orders(&self, index: &mut Index, is_kept: impl Fn(&Order) -> bool) {
        let (now, node) = (self.store_now(), index.node.clone());
        index.requests.retain(|raw| {
            let order = self.believe_order(&node, raw.get().as_bytes());
            order.is_ok_and(|order| order.expires_at > now && is_kept(&order))
        });
    }

    /// What is ordered must be about something that there is.
    async fn check_addressee(&self, to: &Addressee, index: Option<&Index>) -> Result<(), ControllerError> {
        let absent = |what: &str, verb: &str| {
            Err(ControllerError::not_found(to, format!("there is no such {what}; `fleetman get {verb}` shows them")))
        };
        match &to.cell {
            Some(cell) if index.is_none_or(|index| index.entry(cell).is_none()) => absent("cell", "cells"),
            None if index.is_none() => match self.store().head(&ObjectKey::Heartbeat(to.node.clone())).await? {
                Some(_) => Ok(()),
                None => absent("node", "nodes"),
            },
            _ => Ok(()),
        }
    }

    /// An id above `above`: where clocks differ the order that is given later must still count.
    fn order_id(&self, above: Option<Ulid>) -> Result<Ulid, ControllerError> {
        let now = to_millis(self.store_now());
        let at = above.map_or(now, |above| now.max(at(above) + TimeDelta::milliseconds(1)));
        entropy::ulid(at).map_err(ControllerError::Entropy)
    }

    /// The orders in an index that are believed, by id.
    pub(super) fn believed_orders(&self, index: &Index) -> Vec<Verified<Order>> {
        let orders = index.requests.iter().take(Order::MOST_OF_NODE);
        let mut orders: Vec<_> =
            orders.filter_map(|raw| self.believe_order(&index.node, raw.get().as_bytes()).ok()).collect();
        orders.sort_by_key(|order| order.id);
        orders
    }

    /// Verifies an order, and that it is for this node.
    pub(super) fn believe_order(&self, node: &NodeName, bytes: &[u8]) -> Result<Verified<Order>, ControllerError> {
        let untrusted = |problem: String, source| ControllerError::Untrusted {
            key: format!("an order to {node}"),
            problem,
            source,
        };
        let order = sign::verify::<Order>(bytes, &self.settings.trust)
            .map_err(|error| untrusted(String::new(), Some(Box::new(error))))?;
        if (&order.node, order.fleet) != (node, self.fleet()) {
            return Err(untrusted(format!(": it is for node {} of fleet {}", order.node, order.fleet), None));
        }
        Ok(order)
    }

    /// An order as it was given; None if it is no longer there.
    ///
    /// # Errors
    /// [`ControllerError::Untrusted`] when it is not believed.
    pub(super) async fn find_order(
        &self,
        node: &NodeName,
        id: Ulid,
    ) -> Result<Option<Verified<Order>>, ControllerError> {
        let key = ObjectKey::Request(node.clone(), id);
        let Some(object) = self.store().find(&key, ORDER_BYTES).await? else { return Ok(None) };
        let order = self.believe_order(node, &object.bytes)?;
        if order.id != id {
            let problem = format!(": it is order {}", order.id);
            return Err(ControllerError::Untrusted { key: key.to_string(), problem, source: None });
        }
        Ok(Some(order))
    }
}

/// When an order was issued, as its id says.
fn at(id: Ulid) -> DateTime<Utc> {
    let millis = i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX);
    DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Whether an order counts no more once `action` is ordered.
pub(super) fn is_overtaken(order: &Order, to: &Addressee, action: &OrderAction) -> bool {
    order.addressee() == *to && order.action.is_about_holding() && action.is_about_holding()
}

/// What stands in the place of a cell's name where the whole node is written to.
fn whole_node(to: &Addressee) -> Result<CellName, ControllerError> {
    CellName::new("all").map_err(|error| ControllerError::invalid(to, error))
}
