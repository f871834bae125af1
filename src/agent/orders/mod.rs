//! Orders to the node: read, verified, written down, and only then carried out (protocol.md, "Objects").

mod answer;
mod kept;
mod logs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ulid::Ulid;

pub(super) use self::kept::Kept;
pub(super) use self::logs::Answers;
use super::cell::Message;
use super::context::Context;
use super::decide::Seen;
use super::disk::apart;
use super::error::AgentError;
use super::node::{Agent, Chore};
use super::trouble::Trouble;
use crate::model::document::Document as _;
use crate::model::heartbeat::{Condition, HoldReport};
use crate::model::index::Index;
use crate::model::keys::Folder;
use crate::model::order::Order;
use crate::model::sign::Verified;
use crate::model::{CellName, Code, ObjectKey};
use crate::store::{Depth, StoreError};

/// Room for the signatures and for white space.
const ORDER_BYTES: u64 = 2 * Order::MAX_BYTES;

/// Refusals that are reported.
const MOST_REFUSED: usize = 8;

/// An order that came too late is reported for so long.
const LATE_IS_NEWS: TimeDelta = TimeDelta::hours(1);

/// An order as it was found, or why it is not believed.
pub(super) type Brought = Result<Arc<Verified<Order>>, Trouble>;

/// What the agent knows of orders.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) kept: Kept,
    /// What each cell was told last.
    pub(super) told: BTreeMap<CellName, Option<HoldReport>>,
    /// What was refused of those in the index, and in the folder.
    in_index: Vec<Condition>,
    in_folder: Vec<Condition>,
}

impl Orders {
    pub(super) fn new(kept: Kept) -> Self {
        Self { kept, told: BTreeMap::new(), in_index: Vec::new(), in_folder: Vec::new() }
    }

    /// What is refused, each thing once (I8).
    pub(super) fn refused(&self) -> Vec<Condition> {
        let mut refused = self.in_index.clone();
        refused.extend(self.in_folder.iter().filter(|condition| !self.in_index.contains(condition)).cloned());
        refused
    }
}

/// The orders in the index.
pub(super) fn in_index(context: &Context, index: &Index) -> Vec<Brought> {
    let orders = index.requests.iter().take(Order::MOST_OF_NODE);
    orders.map(|raw| context.identity.believe_order(raw.get().as_bytes())).collect()
}

/// The orders in the node's folder that were not taken yet, whatever the index says.
pub(super) async fn scan(context: &Context, kept: &Kept) -> Result<Vec<Brought>, StoreError> {
    let node = &context.identity.node;
    let oldest = context.store_now() - Order::LONGEST_HOLD - LATE_IS_NEWS;
    let oldest = Ulid::from_parts(u64::try_from(oldest.timestamp_millis()).unwrap_or(0), 0);
    let pages = context.store.list(&Folder::Requests(node.clone()), Depth::Shallow);
    let mut pages = pages.after(&ObjectKey::Request(node.clone(), oldest));
    // Whoever can write to the bucket can put any number there; the newest count.
    let mut new = BTreeSet::new();
    while let Some(page) = pages.next().await? {
        new.extend(page.entries.iter().filter_map(|entry| match entry.object_key() {
            Some(ObjectKey::Request(_, id)) if !kept.has(id) => Some(id),
            _ => None,
        }));
        while new.len() > Order::MOST_OF_NODE {
            new.pop_first();
        }
    }
    let mut brought = Vec::new();
    for id in new {
        match context.store.find(&ObjectKey::Request(node.clone(), id), ORDER_BYTES).await {
            Ok(Some(object)) => brought.push(context.identity.believe_order(&object.bytes)),
            // Taken back meanwhile.
            Ok(None) => {}
            Err(error @ StoreError::TooLarge { .. }) => {
                brought.push(Err(Trouble::passing(Code::DocumentInvalid, &error)));
            }
            Err(error) => return Err(error),
        }
        context.onlooker.step();
    }
    Ok(brought)
}

impl Agent {
    /// Takes the orders that were read in the index and in the folder, as far as either was read; false if they could
    /// not be written down, and so were not taken.
    pub(super) async fn take_orders(
        &mut self,
        in_index: Option<&[Brought]>,
        in_folder: Option<&[Brought]>,
    ) -> Result<bool, AgentError> {
        let now = self.context.store_now();
        let mut kept = self.orders.kept.clone();
        kept.forget_old(now);
        let (mut taken, before) = (Vec::new(), self.orders.refused());
        if let Some(brought) = in_index {
            self.orders.in_index = judge(&mut kept, brought, now, &mut taken);
        }
        if let Some(brought) = in_folder {
            self.orders.in_folder = judge(&mut kept, brought, now, &mut taken);
        }
        if kept != self.orders.kept {
            let (context, rendered) = (Arc::clone(&self.context), kept.clone());
            let written = apart(move || rendered.save(context.home.root())).await;
            if written.as_ref().is_err_and(super::disk::DiskError::is_killed) {
                return Err(AgentError::Broken { part: "the state folder".to_owned() });
            }
            if self.bear(Chore::KeepOrders, written).is_none() {
                return Ok(false);
            }
            self.orders.kept = kept;
        }
        if !taken.is_empty() || before != self.orders.refused() {
            self.context.changed.notify_one();
        }
        for order in taken {
            tracing::info!(event = "order_taken", id = %order.id, action = order.action.name(), by = %order.issued_by, "an order for {} is taken", order.addressee());
            let report = order.cell.as_ref().and_then(|cell| self.cells.get(cell)).map(|cell| cell.report.borrow());
            let profile = report.and_then(|report| report.profile.clone());
            self.answers.begin(&self.context, order, profile);
        }
        self.tell_holds().await;
        Ok(true)
    }

    /// Tells the cells what holds them, where that has changed.
    pub(super) async fn tell_holds(&mut self) {
        let now = self.context.store_now();
        for (name, handle) in &self.cells {
            let hold = self.orders.kept.hold(Some(name), now);
            if self.orders.told.get(name) != Some(&hold) {
                self.orders.told.insert(name.clone(), hold.clone());
                handle.tell(Message::Seen(Seen::Hold(hold))).await;
            }
        }
    }

    /// How long it is until the next hold ends.
    pub(super) fn next_release(&self) -> Duration {
        let now = self.context.store_now();
        let end = self.orders.kept.next_end(now);
        end.map_or(Duration::MAX, |end| (end - now).to_std().unwrap_or_default())
    }
}

/// Takes what can be taken of `brought`; comes back with what is refused.
fn judge(
    kept: &mut Kept,
    brought: &[Brought],
    now: DateTime<Utc>,
    taken: &mut Vec<Arc<Verified<Order>>>,
) -> Vec<Condition> {
    let mut refused = Vec::new();
    let mut refuse = |trouble: &Trouble| {
        if refused.len() < MOST_REFUSED {
            refused.push(Condition { code: trouble.code, message: trouble.message.clone() });
        }
    };
    for order in brought {
        match order {
            Ok(order) if kept.has(order.id) => {}
            Ok(order) => match kept.check(order, now) {
                Ok(()) => {
                    kept.take(order);
                    taken.push(Arc::clone(order));
                }
                Err(trouble) if trouble.code == Code::OrderExpired && now > order.expires_at + LATE_IS_NEWS => {}
                Err(trouble) => refuse(&trouble),
            },
            Err(trouble) => refuse(trouble),
        }
    }
    refused
}
