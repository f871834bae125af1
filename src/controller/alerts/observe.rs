//! What one look at the fleet says of alerts: what is wrong, and of what nobody can tell.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::controller::fleet::{FleetView, Liveness, NodeView};
use crate::model::NodeName;
use crate::model::alert::{AlertKey, AlertKind, AlertSubject, Severity};
use crate::model::text::short;

/// The most characters of a message that are kept.
pub(super) const MOST_CHARS: usize = 200;

/// The most labels that are kept with an alert, and the most characters of each half.
const MOST_LABELS: usize = 8;
const MOST_LABEL_CHARS: usize = 64;

/// One look at the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// When, by the store's clock.
    pub at: DateTime<Utc>,
    /// What is wrong.
    pub wrong: BTreeMap<AlertKey, Observed>,
    /// Of what nothing can be told at present.
    unknown: Unknown,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// How bad it is by itself.
    pub severity: Severity,
    /// What is the matter; mostly a node's own words.
    pub message: String,
    /// The labels of what it is about.
    pub labels: BTreeMap<String, String>,
}

/// Of what nothing can be told: it is neither well nor wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Unknown {
    /// Of everything but the bucket: it could not be read.
    Fleet,
    /// Of what lies on these nodes: they are not heard of. Whether they are is known.
    Nodes(BTreeSet<NodeName>),
}

impl Observation {
    /// What a look at the whole fleet shows.
    #[must_use]
    pub fn of(view: &FleetView) -> Self {
        let mut wrong = BTreeMap::new();
        let mut silent = BTreeSet::new();
        for node in &view.nodes {
            if matches!(node.liveness, Liveness::Dead | Liveness::Unknown) {
                silent.insert(node.node.clone());
            }
            of_node(node, &mut wrong);
        }
        Self { at: view.at, wrong, unknown: Unknown::Nodes(silent) }
    }

    /// What is known when the bucket could not be read at `at`.
    #[must_use]
    pub fn blind(at: DateTime<Utc>, problem: &str) -> Self {
        let key = AlertKey { kind: AlertKind::StoreDegraded, subject: AlertSubject::Bucket };
        let observed = Observed {
            severity: Severity::Critical,
            message: short(&format!("the bucket cannot be read: {problem}"), MOST_CHARS),
            labels: BTreeMap::new(),
        };
        Self { at, wrong: [(key, observed)].into(), unknown: Unknown::Fleet }
    }

    /// Whether nothing can be told of `key`.
    pub(super) fn is_unknown(&self, key: &AlertKey) -> bool {
        match &self.unknown {
            Unknown::Fleet => key.subject != AlertSubject::Bucket,
            Unknown::Nodes(nodes) => {
                key.kind != AlertKind::AgentDead && key.subject.node().is_some_and(|node| nodes.contains(node))
            }
        }
    }

    #[cfg(test)]
    pub(super) fn sample(at: DateTime<Utc>, wrong: BTreeMap<AlertKey, Observed>, silent: BTreeSet<NodeName>) -> Self {
        Self { at, wrong, unknown: Unknown::Nodes(silent) }
    }
}

fn of_node(node: &NodeView, wrong: &mut BTreeMap<AlertKey, Observed>) {
    let labels = node.heartbeat.as_ref().map(|beat| &beat.labels);
    let of_node = kept(labels.into_iter().flatten());
    for (severity, concern) in node.concerns() {
        let Some(kind) = concern.alert() else { continue };
        let observed = Observed { severity, message: short(&concern.to_string(), MOST_CHARS), labels: of_node.clone() };
        add(wrong, AlertKey { kind, subject: AlertSubject::Node(node.node.clone()) }, observed);
    }
    for cell in &node.cells {
        let own = cell.about().map(|about| &about.labels);
        for (severity, concern) in cell.concerns() {
            let Some(kind) = concern.alert() else { continue };
            // What somebody said of the cell counts more than what was said of its node.
            let labels = kept(own.into_iter().flatten().chain(&of_node));
            let observed = Observed { severity, message: short(&concern.to_string(), MOST_CHARS), labels };
            add(wrong, AlertKey { kind, subject: AlertSubject::Cell(cell.cell.clone()) }, observed);
        }
    }
}

/// Of several things that make one alert the worst is told.
fn add(wrong: &mut BTreeMap<AlertKey, Observed>, key: AlertKey, observed: Observed) {
    match wrong.get(&key) {
        Some(there) if there.severity <= observed.severity => {}
        _ => drop(wrong.insert(key, observed)),
    }
}

/// As many labels as are kept; of two with one name the first.
fn kept<'a>(labels: impl Iterator<Item = (&'a String, &'a String)>) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for (name, value) in labels {
        if kept.len() == MOST_LABELS {
            break;
        }
        kept.entry(short(name, MOST_LABEL_CHARS)).or_insert_with(|| short(value, MOST_LABEL_CHARS));
    }
    kept
}
