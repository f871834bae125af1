//! The fleet at one moment, as it is kept in memory: each document once, shared by every view that shows it.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::judge::{Health, Liveness, Sync, health, sync};
use crate::controller::HoldOrder;
use crate::controller::error::Claim;
use crate::model::drift::DriftState;
use crate::model::heartbeat::{CellReport, Heartbeat, Phase};
use crate::model::index::About;
use crate::model::sign::{KeyId, Verified};
use crate::model::trigger::{Action, Target, Trigger};
use crate::model::{CellId, CellName, Floor, NodeName};

/// The fleet at one moment.
#[derive(Debug, Clone)]
pub struct FleetView {
    /// The moment, by the store's clock.
    pub at: DateTime<Utc>,
    /// Goes up whenever anything in the view is other than in the one before it by the same reader. That time passed
    /// alone is nothing new.
    pub revision: u64,
    /// Every node that has a heartbeat or an index, by name.
    pub nodes: Vec<Arc<NodeView>>,
    /// How many there are of what.
    pub counts: Counts,
}

/// A node.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Its name.
    pub node: NodeName,
    /// Whether it is heard of.
    pub liveness: Liveness,
    /// When the store took its newest heartbeat.
    pub last_seen: Option<DateTime<Utc>>,
    /// What it says of itself.
    pub heartbeat: Option<Arc<Heartbeat>>,
    /// Why its heartbeat or its index cannot be read.
    pub problems: Vec<String>,
    /// What was ordered about holding it or its cells, by id; a hint that the node's own words outweigh.
    pub hold_orders: Vec<HoldOrder>,
    /// Every cell of which its index or its heartbeat speaks, by name.
    pub cells: Vec<CellView>,
}

/// How much somebody may see of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Not even that there is one.
    Nothing,
    /// Some of the cells that it has or could have.
    Part,
    /// All of them.
    Whole,
}

/// What stands in the place of words about a node as a whole for who may not see all of it: any of its cells may be named
/// in them.
const WITHHELD: &str = "more is told to who may see every cell of this node";

/// A cell.
#[derive(Debug, Clone)]
pub struct CellView {
    /// Its name.
    pub cell: CellId,
    /// Whether its node is heard of.
    pub liveness: Liveness,
    /// Whether it is what it is to be.
    pub sync: Sync,
    /// Whether it runs well.
    pub health: Health,
    wish: Option<Arc<Wish>>,
    heartbeat: Option<Arc<Heartbeat>>,
}

/// What the index says of a cell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// What its document says of it; a hint, unsigned.
    pub(crate) about: Option<Arc<About>>,
    /// What it is to be, by the newest trigger that is believed.
    pub(crate) desired: Option<Desired>,
    /// Why what the index says of it is not believed.
    pub(crate) problem: Option<String>,
}

/// What a cell is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The trigger, and who issued it.
    pub claim: Claim,
    /// The version, if one is to run.
    pub target: Option<Target>,
    /// Why, in the issuer's words.
    pub reason: Option<String>,
    /// The key that signed it; None if signatures are off.
    pub signed_by: Option<KeyId>,
}

impl From<&Verified<Trigger>> for Desired {
    fn from(trigger: &Verified<Trigger>) -> Self {
        let target = trigger.action.target().cloned();
        let (reason, signed_by) = (trigger.reason.clone(), trigger.signed_by());
        Self { claim: Claim::from(trigger), target, reason, signed_by }
    }
}

/// How many there are of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    nodes: [usize; Liveness::ALL.len()],
    sync: [usize; Sync::ALL.len()],
    health: [usize; Health::ALL.len()],
}

impl Counts {
    pub(super) fn of(nodes: &[Arc<NodeView>]) -> Self {
        let mut counts = Self::default();
        for node in nodes {
            counts.nodes[node.liveness as usize] += 1;
            for cell in &node.cells {
                counts.sync[cell.sync as usize] += 1;
                counts.health[cell.health as usize] += 1;
            }
        }
        counts
    }

    /// How many nodes are heard of like this.
    #[must_use]
    pub fn liveness(&self, liveness: Liveness) -> usize {
        self.nodes[liveness as usize]
    }

    /// How many cells are in sync like this.
    #[must_use]
    pub fn sync(&self, sync: Sync) -> usize {
        self.sync[sync as usize]
    }

    /// How many cells run like this.
    #[must_use]
    pub fn health(&self, health: Health) -> usize {
        self.health[health as usize]
    }

    /// How many nodes there are.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.nodes.iter().sum()
    }

    /// How many cells there are.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.sync.iter().sum()
    }
}

impl FleetView {
    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&Arc<NodeView>> {
        self.nodes.binary_search_by(|node| node.node.cmp(name)).ok().map(|at| &self.nodes[at])
    }

    /// The cell of this name.
    #[must_use]
    pub fn cell(&self, name: &CellId) -> Option<&CellView> {
        self.node(&name.node)?.cell(&name.cell)
    }

    /// The part of it that somebody may see: of each node the cells that `sees` accepts, and their reports. Nodes of
    /// which `sight` says that there is nothing to see are left out. What is seen whole is shared.
    #[must_use]
    pub fn narrowed(&self, sight: impl Fn(&NodeName) -> Sight, sees: impl Fn(&CellId) -> bool) -> Self {
        let nodes = self.nodes.iter().filter_map(|node| match sight(&node.node) {
            Sight::Nothing => None,
            Sight::Part => Some(node.narrowed(&sees)),
            Sight::Whole => Some(node.clone()),
        });
        let nodes: Vec<_> = nodes.collect();
        Self { at: self.at, revision: self.revision, counts: Counts::of(&nodes), nodes }
    }

    /// Every cell, by name.
    pub fn cells(&self) -> impl Iterator<Item = &CellView> {
        self.nodes.iter().flat_map(|node| &node.cells)
    }
}

impl NodeView {
    /// The cell of this name.
    #[must_use]
    pub fn cell(&self, name: &CellName) -> Option<&CellView> {
        self.cells.binary_search_by(|cell| cell.cell.cell.cmp(name)).ok().map(|at| &self.cells[at])
    }

    fn narrowed(self: &Arc<Self>, sees: impl Fn(&CellId) -> bool) -> Arc<Self> {
        // A cell that is no more is only in the heartbeat. Cells are asked about once: there are many.
        let sees_gone = |cell: &CellName| sees(&CellId::new(self.node.clone(), cell.clone()));
        let mut reported = self.heartbeat.iter().flat_map(|beat| beat.cells.keys());
        let sees_order = |order: &HoldOrder| order.ordered.to.cell_id().is_none_or(|cell| sees(&cell));
        if self.problems.is_empty()
            && self.heartbeat.as_ref().is_none_or(|beat| beat.conditions.is_empty() && beat.store_error.is_none())
            && self.cells.iter().all(|cell| sees(&cell.cell))
            && self.hold_orders.iter().all(sees_order)
            && reported.all(|cell| self.cell(cell).is_some() || sees_gone(cell))
        {
            return self.clone();
        }
        let mut narrow = Self::clone(self);
        narrow.cells.retain(|cell| sees(&cell.cell));
        narrow.hold_orders.retain(sees_order);
        if !narrow.problems.is_empty() {
            narrow.problems = vec![WITHHELD.to_owned()];
        }
        if let Some(beat) = narrow.heartbeat.as_mut() {
            let beat = Arc::make_mut(beat);
            beat.cells.retain(|cell, _| sees_gone(cell));
            let faults = beat.store_error.iter_mut().map(|fault| &mut fault.message);
            let conditions = beat.conditions.iter_mut().map(|condition| &mut condition.message);
            for message in faults.chain(conditions) {
                WITHHELD.clone_into(message);
            }
        }
        Arc::new(narrow)
    }

    /// How many of its cells are what they are to be.
    #[must_use]
    pub fn synced(&self) -> usize {
        self.cells.iter().filter(|cell| cell.sync == Sync::Synced).count()
    }
}

impl CellView {
    /// A cell, judged by what its node's heartbeat says of it.
    pub(super) fn of(
        cell: CellId,
        wish: Option<Arc<Wish>>,
        heartbeat: Option<Arc<Heartbeat>>,
        liveness: Liveness,
    ) -> Self {
        let mut view = Self { cell, liveness, sync: Sync::Unknown, health: Health::Unknown, wish, heartbeat };
        view.sync = sync(view.desired(), view.report(), liveness);
        if let Some(heartbeat) = &view.heartbeat {
            view.health = health(view.report(), heartbeat.reported_at, liveness);
        }
        view
    }

    /// What its document says of it; a hint, unsigned.
    #[must_use]
    pub fn about(&self) -> Option<&About> {
        self.wish.as_ref()?.about.as_deref()
    }

    /// What it is to be, by the newest trigger that is believed.
    #[must_use]
    pub fn desired(&self) -> Option<&Desired> {
        self.wish.as_ref()?.desired.as_ref()
    }

    /// The place of the trigger that it is to follow.
    #[must_use]
    pub fn desired_at(&self) -> Option<Floor> {
        self.desired().map(|desired| desired.claim.at)
    }

    /// Why what the index says of it is not believed.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.wish.as_ref()?.problem.as_deref()
    }

    /// What its node says of it.
    #[must_use]
    pub fn report(&self) -> Option<&CellReport> {
        self.heartbeat.as_ref()?.cells.get(&self.cell.cell).map(AsRef::as_ref)
    }

    /// How it ran when its node was heard of last, however long ago that is.
    #[must_use]
    pub fn last_health(&self) -> Option<Health> {
        let heartbeat = self.heartbeat.as_ref()?;
        Some(health(Some(self.report()?), heartbeat.reported_at, Liveness::Active))
    }

    /// Whether what is on the host is what was deployed there; None where nobody looks, or none was heard of.
    #[must_use]
    pub fn drift(&self) -> Option<DriftState> {
        let drift = self.report()?.drift.as_ref()?;
        let is_heard = matches!(self.liveness, Liveness::Active | Liveness::Warning);
        Some(if is_heard { drift.state } else { DriftState::Unknown })
    }

    /// Whether it was removed and deleted: only its place in the order of triggers is left.
    pub(super) fn is_tombstone(&self) -> bool {
        let is_removed = |desired: &Desired| desired.claim.action == Action::Remove.name();
        self.about().is_none()
            && self.desired().is_some_and(is_removed)
            && self.report().is_none_or(|report| report.phase == Phase::Removed)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::fleet::sample::{desired, fleet, node, up_to_date};

    #[test]
    fn what_somebody_may_not_see_is_not_even_in_a_heartbeat_and_the_rest_is_shared() {
        let removed = json!({"phase": "removed", "state": {"state": "n/a"}});
        let cells = json!({"db": up_to_date("v1"), "old": removed, "web": up_to_date("v1")});
        let nodes = ["n1", "n2", "n3"].map(|name| {
            let wishes = [("old", Wish { desired: Some(desired("remove", None, 1)), ..Wish::default() })];
            node(name, Some((1, json!({"cells": cells}))), wishes)
        });
        let mut view = fleet(nodes.into());
        for node in &mut view.nodes {
            Arc::make_mut(node).cells.retain(|cell| !cell.is_tombstone());
        }
        assert_eq!(view.nodes[0].cells.len(), 2);
        let sees = |cell: &CellId| cell.node.as_str() == "n2" || cell.cell.as_str() == "web";
        let sight = |node: &NodeName| if node.as_str() == "n3" { Sight::Nothing } else { Sight::Part };
        let narrow = view.narrowed(sight, sees);
        let names: Vec<String> = narrow.cells().map(|cell| cell.cell.to_string()).collect();
        assert_eq!(names, ["n1/web", "n2/db", "n2/web"]);
        assert_eq!((narrow.counts.nodes(), narrow.counts.cells(), narrow.revision), (2, 3, view.revision));
        let told: Vec<&str> =
            narrow.nodes[0].heartbeat.iter().flat_map(|beat| beat.cells.keys()).map(CellName::as_str).collect();
        assert_eq!(told, ["web"]);
        assert!(narrow.nodes[0].cells[0].report().is_some(), "its own report stays");
        assert!(Arc::ptr_eq(&narrow.nodes[1], &view.nodes[1]));
        let all_but_gone = view.narrowed(|_| Sight::Part, |cell| cell.cell.as_str() != "old");
        assert_eq!(all_but_gone.nodes[0].heartbeat.as_ref().unwrap().cells.len(), 2, "not even of what is gone");
    }

    #[test]
    fn words_about_a_node_as_a_whole_are_for_who_may_see_all_of_it() {
        let fault = json!({"code": "io", "message": "n1/db", "at": "2026-01-02T03:04:05Z"});
        let beat = json!({"cells": {"web": up_to_date("v1")}, "store_error": fault,
            "conditions": [{"code": "io", "message": "n1/db"}]});
        let wishes: [(&str, Wish); 0] = [];
        let mut view = fleet(vec![node("n1", Some((1, beat)), wishes)]);
        Arc::make_mut(&mut view.nodes[0]).problems = vec!["n1/db".to_owned(), "n1/db".to_owned()];
        let words = |view: &FleetView| {
            let node = &view.nodes[0];
            let beat = node.heartbeat.as_ref().unwrap();
            let said = [&beat.store_error.as_ref().unwrap().message, &beat.conditions[0].message];
            said.into_iter().chain(&node.problems).cloned().collect::<Vec<_>>()
        };
        // Whether it has cells that are not seen makes no difference: it may have had them.
        assert_eq!(words(&view.narrowed(|_| Sight::Part, |_| true)), [WITHHELD; 3]);
        let whole = view.narrowed(|_| Sight::Whole, |_| false);
        assert!(Arc::ptr_eq(&whole.nodes[0], &view.nodes[0]) && words(&whole).iter().all(|word| word == "n1/db"));
    }
}
