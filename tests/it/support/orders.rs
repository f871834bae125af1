//! Orders to a node, as a controller would put them into the bucket.

use chrono::{DateTime, TimeDelta, Utc};
use fleetman::clock::SystemClock;
use fleetman::model::index::Index;
use fleetman::model::order::{Order, OrderAction};
use fleetman::model::sign::{self, Signer, Verified};
use fleetman::model::{CellName, Epoch, ObjectKey, document};
use serde_json::value::RawValue;
use ulid::Ulid;

use super::node::Bench;

pub(crate) fn now() -> DateTime<Utc> {
    SystemClock::shared().now()
}

/// An order of alice's for the next hour, whose id is the `number`th of this moment's.
pub(crate) fn order(bench: &Bench, number: u128, cell: Option<&str>, action: OrderAction) -> Order {
    let issued_at = now();
    Order {
        requires: Vec::new(),
        fleet: bench.fleet,
        node: bench.node.clone(),
        cell: cell.map(|cell| CellName::new(cell).unwrap()),
        id: Ulid::from_parts(u64::try_from(issued_at.timestamp_millis()).unwrap(), number),
        action,
        issued_at,
        expires_at: issued_at + TimeDelta::hours(1),
        issued_by: "alice".parse().unwrap(),
        reason: Some("looking at a leak".to_owned()),
    }
}

pub(crate) fn signed(bench: &Bench, order: &Order) -> Verified<Order> {
    sign::sign(order, &Signer::Key(bench.key.clone(), Epoch::FIRST)).unwrap()
}

/// Puts an order where a controller would: its object, and the index.
pub(crate) async fn give(bench: &Bench, order: &Order) {
    put(bench, order).await;
    index(bench, signed(bench, order).document()).await;
}

pub(crate) async fn put(bench: &Bench, order: &Order) {
    let key = ObjectKey::Request(bench.node.clone(), order.id);
    bench.put(&key, signed(bench, order).document()).await;
}

/// Puts a document among the index's requests.
pub(crate) async fn index(bench: &Bench, document: &[u8]) {
    let key = ObjectKey::Index(bench.node.clone());
    let mut index: Index = document::parse(&bench.get(&key).await.unwrap()).unwrap();
    index
        .requests
        .push(RawValue::from_string(String::from_utf8(document.to_vec()).unwrap().trim().to_owned()).unwrap());
    bench.put(&key, document::render(&index)).await;
}
