//! The orders that a node has taken, until they are over: an order is carried out once, and a hold lasts across
//! restarts, without bucket and without controller.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::agent::disk::{DiskError, Folder};
use crate::agent::error::AgentError;
use crate::agent::trouble::{Cure, Trouble};
use crate::model::document::{self, Document};
use crate::model::heartbeat::HoldReport;
use crate::model::order::{Order, OrderAction};
use crate::model::{CellName, Code, UserName};
use crate::store::in_full;

const FILE: &str = "orders.json";

/// As well as the store's clock is known.
const TOLERANCE: TimeDelta = TimeDelta::seconds(30);

/// From further ahead no order can come, however wrong a controller's clock is.
const AHEAD: TimeDelta = TimeDelta::minutes(10);

/// So long an order is remembered after it is over, so that a clock that goes back a little does not let it in again.
const REMEMBERED: TimeDelta = TimeDelta::hours(1);

/// None is forgotten before its time: past these no more are taken.
const MOST: usize = 1_024;

/// Past these no order for logs is taken: whoever asks for many keeps nobody from holding a cell.
const MOST_BEFORE_LOGS: usize = MOST / 2;

/// What a node has been ordered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::agent) struct Kept {
    orders: BTreeMap<Ulid, KeptOrder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptOrder {
    /// None for the node as a whole.
    cell: Option<CellName>,
    action: String,
    issued_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    issued_by: UserName,
    reason: Option<String>,
    /// A newer order about the same thing was taken.
    overtaken: bool,
}

impl KeptOrder {
    fn is_about_holding(&self) -> bool {
        [OrderAction::Hold.name(), OrderAction::Release.name()].contains(&self.action.as_str())
    }

    fn holds(&self, now: DateTime<Utc>) -> bool {
        self.action == OrderAction::Hold.name() && !self.overtaken && now < self.expires_at
    }
}

impl Document for Kept {
    const SCHEMA: &'static str = "fleetman/agent-orders/1";
    const MAX_BYTES: u64 = 4 << 20;
}

impl Kept {
    /// What stands in the state folder.
    pub(in crate::agent) fn load(root: &Folder) -> Result<Self, AgentError> {
        let Some(bytes) = root.read(FILE, Self::MAX_BYTES)? else { return Ok(Self::default()) };
        document::parse(&bytes)
            .map_err(|error| AgentError::StateInvalid { path: root.path().join(FILE), problem: in_full(&error) })
    }

    /// Makes it what a crash leaves.
    pub(super) fn save(&self, root: &Folder) -> Result<(), DiskError> {
        root.write(FILE, &document::render(self))
    }

    /// Whether the order was taken before.
    pub(super) fn has(&self, id: Ulid) -> bool {
        self.orders.contains_key(&id)
    }

    /// Whether an order that is believed and new can be taken now.
    pub(super) fn check(&self, order: &Order, now: DateTime<Utc>) -> Result<(), Trouble> {
        let refuse = |code, why: String| {
            let Order { id, issued_by, action, .. } = order;
            let message = format!("order {id} of {issued_by}, {} for {}: {why}", action.name(), order.addressee());
            Err(Trouble::new(code, message, Cure::Time))
        };
        if let Some(feature) = order.unsupported() {
            return refuse(Code::Unsupported, format!("it requires {feature:?}, which this agent does not have"));
        }
        if now > order.expires_at + TOLERANCE {
            return refuse(Code::OrderExpired, format!("it was to be carried out before {}", order.expires_at));
        }
        if order.issued_at > now + AHEAD {
            return refuse(Code::OrderRefused, format!("it was issued at {}, which is yet to come", order.issued_at));
        }
        let most = if matches!(order.action, OrderAction::Logs(_)) { MOST_BEFORE_LOGS } else { MOST };
        if self.orders.len() >= most {
            return refuse(Code::OrderRefused, format!("{most} orders are not over yet, and no more are remembered"));
        }
        Ok(())
    }

    /// Takes an order.
    pub(super) fn take(&mut self, order: &Order) {
        let is_rival = |kept: &KeptOrder| kept.cell == order.cell && kept.is_about_holding();
        let about_holding = order.action.is_about_holding();
        let mut overtaken = false;
        for (id, kept) in self.orders.iter_mut().filter(|(_, kept)| about_holding && is_rival(kept)) {
            overtaken |= *id > order.id;
            kept.overtaken |= *id < order.id;
        }
        let kept = KeptOrder {
            cell: order.cell.clone(),
            action: order.action.name().to_owned(),
            issued_at: order.issued_at,
            expires_at: order.expires_at,
            issued_by: order.issued_by.clone(),
            reason: order.reason.clone(),
            overtaken,
        };
        self.orders.insert(order.id, kept);
    }

    /// Forgets what has been over for long.
    pub(super) fn forget_old(&mut self, now: DateTime<Utc>) {
        self.orders.retain(|_, kept| now < kept.expires_at + REMEMBERED);
    }

    /// What holds a cell, or the node as a whole; of two holds the one that lasts longer.
    pub(in crate::agent) fn hold(&self, cell: Option<&CellName>, now: DateTime<Utc>) -> Option<HoldReport> {
        let is_about = |kept: &KeptOrder| kept.cell.is_none() || kept.cell.as_ref() == cell;
        let holds = self.orders.iter().filter(|(_, kept)| kept.holds(now) && is_about(kept));
        let (id, kept) = holds.max_by_key(|(id, kept)| (kept.expires_at, **id))?;
        Some(HoldReport {
            order: *id,
            by: kept.issued_by.clone(),
            reason: kept.reason.clone().unwrap_or_default(),
            since: kept.issued_at,
            until: kept.expires_at,
            whole_node: kept.cell.is_none(),
        })
    }

    /// When the next hold ends.
    pub(super) fn next_end(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.orders.values().filter(|kept| kept.holds(now)).map(|kept| kept.expires_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeName;
    use crate::model::order::LogQuery;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::minutes(minute)
    }

    fn order(number: u8, cell: Option<&str>, action: OrderAction, until: i64) -> Order {
        Order {
            requires: Vec::new(),
            fleet: uuid::Uuid::from_u128(1),
            node: NodeName::new("n1").unwrap(),
            cell: cell.map(|cell| CellName::new(cell).unwrap()),
            id: Ulid::from_parts(u64::from(number), 0),
            action,
            issued_at: at(i64::from(number)),
            expires_at: at(until),
            issued_by: UserName::new("alice").unwrap(),
            reason: Some("debugging".to_owned()),
        }
    }

    fn holder(kept: &Kept, cell: &str, minute: i64) -> Option<u64> {
        kept.hold(Some(&CellName::new(cell).unwrap()), at(minute)).map(|hold| hold.order.timestamp_ms())
    }

    #[test]
    fn the_newest_order_about_a_cell_counts_in_whichever_order_they_come() {
        let hold = order(1, Some("web"), OrderAction::Hold, 60);
        let release = order(2, Some("web"), OrderAction::Release, 120);
        let again = order(3, Some("web"), OrderAction::Hold, 30);
        for (orders, expected) in [
            (vec![&hold], Some(1)),
            (vec![&hold, &release], None),
            (vec![&release, &hold], None),
            (vec![&again, &release, &hold], Some(3)),
            (vec![&hold, &again, &release], Some(3)),
        ] {
            let mut kept = Kept::default();
            orders.into_iter().for_each(|order| kept.take(order));
            assert_eq!(holder(&kept, "web", 10), expected);
            assert_eq!(holder(&kept, "other", 10), None);
        }
    }

    #[test]
    fn a_hold_ends_by_itself_and_does_not_come_back_when_its_release_is_forgotten() {
        let mut kept = Kept::default();
        kept.take(&order(1, Some("web"), OrderAction::Hold, 60));
        assert_eq!((holder(&kept, "web", 59), holder(&kept, "web", 60)), (Some(1), None));
        assert_eq!(kept.next_end(at(0)), Some(at(60)));
        kept.take(&order(2, Some("web"), OrderAction::Release, 3));
        kept.forget_old(at(3 + 60));
        assert_eq!((holder(&kept, "web", 59), kept.has(Ulid::from_parts(2, 0))), (None, false));
        kept.forget_old(at(60 + 60));
        assert_eq!(kept, Kept::default());
    }

    #[test]
    fn a_hold_of_the_node_holds_every_cell_and_is_released_by_itself() {
        let mut kept = Kept::default();
        kept.take(&order(1, None, OrderAction::Hold, 60));
        kept.take(&order(2, Some("web"), OrderAction::Hold, 90));
        assert_eq!([holder(&kept, "web", 10), holder(&kept, "other", 10)], [Some(2), Some(1)]);
        kept.take(&order(3, Some("web"), OrderAction::Release, 90));
        assert_eq!(holder(&kept, "web", 10), Some(1), "the node is still held");
        assert!(kept.hold(None, at(10)).unwrap().whole_node);
        kept.take(&order(4, None, OrderAction::Release, 90));
        assert_eq!((holder(&kept, "web", 10), kept.hold(None, at(10))), (None, None));
    }

    #[test]
    fn what_is_late_early_or_unknown_is_refused() {
        let kept = Kept::default();
        let code = |order: &Order, minute| kept.check(order, at(minute)).unwrap_err().code;
        let hold = order(1, None, OrderAction::Hold, 60);
        assert!(kept.check(&hold, at(60)).is_ok(), "clocks differ a little");
        assert_eq!(code(&hold, 61), Code::OrderExpired);
        assert_eq!(code(&hold, -10), Code::OrderRefused);
        let newer = Order { requires: vec!["warp".to_owned()], ..hold.clone() };
        assert_eq!(code(&newer, 5), Code::Unsupported);
        assert_eq!(code(&order(1, None, OrderAction::Unknown("dance".to_owned()), 60), 5), Code::Unsupported);
    }

    #[test]
    fn past_a_number_no_order_is_taken_and_none_is_forgotten() {
        let mut kept = Kept::default();
        for number in 0..MOST {
            let id = Ulid::from_parts(number as u64, 7);
            kept.take(&Order { id, ..order(1, Some("web"), OrderAction::Hold, 60) });
        }
        let next = order(200, None, OrderAction::Hold, 260);
        assert_eq!(kept.check(&next, at(30)).unwrap_err().code, Code::OrderRefused);
        kept.forget_old(at(120));
        assert!(kept.check(&next, at(200)).is_ok());
    }

    #[test]
    fn orders_for_logs_leave_room_for_others() {
        let mut kept = Kept::default();
        let logs = |number| Order {
            id: Ulid::from_parts(number as u64, 7),
            ..order(1, Some("web"), OrderAction::Logs(LogQuery::last(1)), 60)
        };
        for number in 0..MOST_BEFORE_LOGS {
            assert!(kept.check(&logs(number), at(30)).is_ok());
            kept.take(&logs(number));
        }
        assert_eq!(kept.check(&logs(MOST), at(30)).unwrap_err().code, Code::OrderRefused);
        assert!(kept.check(&order(1, Some("web"), OrderAction::Hold, 60), at(30)).is_ok());
        assert_eq!(holder(&kept, "web", 30), None, "to be asked for logs holds nothing");
    }
}
