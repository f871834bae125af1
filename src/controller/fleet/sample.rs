//! Fleets for tests, described as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::judge::LivenessLimits;
pub(crate) use super::view::Wish;
use super::view::{CellView, Counts, Desired, FleetView, NodeView};
use crate::controller::error::Claim;
use crate::model::heartbeat::Heartbeat;
use crate::model::trigger::Target;
use crate::model::{
    CellId, CellName, Epoch, Floor, Generation, NodeName, Sha256Digest, UserName, VersionName, document,
};

/// The moment of every sample.
pub(crate) fn now() -> DateTime<Utc> {
    "2026-01-02T04:00:00Z".parse().unwrap()
}

/// A heartbeat of `node` in which `said` is other than usual.
pub(crate) fn heartbeat(node: &str, said: &Value) -> Heartbeat {
    let mut beat = json!({
        "schema": "fleetman/heartbeat/1", "node": node, "fleet": "00000000-0000-0000-0000-000000000007",
        "agent_version": "1.0.0", "instance_id": "00000000-0000-0000-0000-000000000007", "sequence": 1,
        "started_at": "2026-01-01T00:00:00Z", "reported_at": now(), "interval_secs": 60, "signing": "signed",
    });
    beat.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
    document::parse(beat.to_string().as_bytes()).unwrap()
}

/// What is to be, by generation 3 of `action`, issued this long before [`now`].
pub(crate) fn desired(action: &str, version: Option<&str>, secs_ago: i64) -> Desired {
    let target = version.map(|name| Target {
        version: VersionName::new(name).unwrap(),
        manifest_sha256: Sha256Digest::of(name.as_bytes()),
        manifest_size: 1,
        content_sha256: Sha256Digest::of(b"content"),
    });
    let claim = Claim {
        at: Floor::new(Epoch::FIRST, Generation::new(3).unwrap()),
        action: action.to_owned(),
        version: target.as_ref().map(|target| target.version.clone()),
        by: UserName::new("alice").unwrap(),
        issued_at: now() - TimeDelta::seconds(secs_ago),
    };
    Desired { claim, target, reason: None, signed_by: None }
}

/// What a node says of a cell that carried out [`desired`] with this version.
pub(crate) fn up_to_date(version: &str) -> Value {
    let version = json!({"version": version, "manifest_sha256": Sha256Digest::of(version.as_bytes()),
        "content_sha256": Sha256Digest::of(b"content")});
    json!({"phase": "up_to_date", "state": {"state": "running"}, "applied": {"epoch": 1, "generation": 3}, "running": version})
}

/// A node, whose heartbeat came this long before [`now`], and what its index says.
pub(crate) fn node(
    name: &str,
    heartbeat_said: Option<(i64, Value)>,
    wishes: impl IntoIterator<Item = (&'static str, Wish)>,
) -> Arc<NodeView> {
    let node = NodeName::new(name).unwrap();
    let last_seen = heartbeat_said.as_ref().map(|(secs_ago, _)| now() - TimeDelta::seconds(*secs_ago));
    let heartbeat = heartbeat_said.map(|(_, said)| Arc::new(heartbeat(name, &said)));
    let liveness = LivenessLimits::default().judge(last_seen, Some(60), now());
    let mut cells: BTreeMap<CellName, Option<Arc<Wish>>> =
        heartbeat.iter().flat_map(|beat| beat.cells.keys()).map(|cell| (cell.clone(), None)).collect();
    for (cell, wish) in wishes {
        cells.insert(CellName::new(cell).unwrap(), Some(Arc::new(wish)));
    }
    let cells = cells
        .into_iter()
        .map(|(cell, wish)| CellView::of(CellId::new(node.clone(), cell), wish, heartbeat.clone(), liveness));
    let (problems, hold_orders) = (Vec::new(), Vec::new());
    Arc::new(NodeView { cells: cells.collect(), node, liveness, last_seen, heartbeat, problems, hold_orders })
}

/// A fleet of these nodes, which are sorted by name.
pub(crate) fn fleet(nodes: Vec<Arc<NodeView>>) -> FleetView {
    FleetView { at: now(), revision: 1, counts: Counts::of(&nodes), nodes }
}
