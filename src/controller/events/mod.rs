//! What happens in the fleet, as it can be told from two looks at it, one after the other, and from the audit.

mod log;
mod watch;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use log::EventLog;
pub use watch::EventWatch;

use super::audit_log::{Act, ActResult, AuditRow};
use super::fleet::{CellView, FleetView, NodeView};
use super::history::OutcomeEntry;
use super::instant::Scope;
use crate::model::heartbeat::{CellReport, HoldReport, Phase};
use crate::model::{CellId, NodeName, ObjectKey, VersionName};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Event {
    /// When, by the store's clock; of what is only seen, when it was seen.
    pub at: DateTime<Utc>,
    /// Of what kind it is.
    pub kind: EventKind,
    /// The node that it is about.
    pub node: Option<NodeName>,
    /// The cell that it is about, as `<node>/<cell>`.
    pub cell: Option<CellId>,
    /// How it is now, in a word that never changes: a phase, an action, `done`.
    pub state: String,
    /// The version that it is about.
    pub version: Option<VersionName>,
    /// Who did it.
    pub by: Option<String>,
    /// What there is to say of it. Anything may stand in it.
    pub message: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A node is heard of otherwise than before, or for the first time.
    Liveness,
    /// A cell is to be something else.
    Wished,
    /// The node does something else with a cell, or waits for something else.
    Phase,
    /// A cell runs otherwise than before.
    Health,
    /// A hold began.
    Hold,
    /// A hold ended.
    Unhold,
    /// What is on the host is what was deployed there, or is no longer.
    Drift,
    /// An attempt of a node ended.
    Outcome,
    /// Somebody did something.
    Act,
}

impl EventKind {
    /// Each of them.
    pub const ALL: [Self; 9] = [
        Self::Wished,
        Self::Phase,
        Self::Health,
        Self::Outcome,
        Self::Hold,
        Self::Unhold,
        Self::Drift,
        Self::Liveness,
        Self::Act,
    ];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Liveness => "liveness",
            Self::Wished => "wished",
            Self::Phase => "phase",
            Self::Health => "health",
            Self::Hold => "hold",
            Self::Unhold => "unhold",
            Self::Drift => "drift",
            Self::Outcome => "outcome",
            Self::Act => "act",
        }
    }
}

/// How good it is that something is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As it should be.
    Good,
    /// Not as it should be, and perhaps not for long.
    Warn,
    /// Somebody should look.
    Bad,
    /// Neither.
    Plain,
}

impl Event {
    /// How good it is.
    #[must_use]
    pub fn mood(&self) -> Mood {
        match (self.kind, self.state.as_str()) {
            (_, "active" | "up_to_date" | "healthy" | "succeeded" | "done" | "in_sync") => Mood::Good,
            (_, "dead" | "failed" | "rolled_back" | "unhealthy" | "down" | "drifted") => Mood::Bad,
            (EventKind::Hold, _) | (_, "warning" | "waiting" | "held" | "degraded") => Mood::Warn,
            _ => Mood::Plain,
        }
    }

    fn of_node(at: DateTime<Utc>, kind: EventKind, node: &NodeName, state: impl Into<String>) -> Self {
        let (node, state) = (Some(node.clone()), state.into());
        Self { at, kind, node, cell: None, state, version: None, by: None, message: None }
    }

    fn of_cell(at: DateTime<Utc>, kind: EventKind, cell: &CellId, state: impl Into<String>) -> Self {
        Self { cell: Some(cell.clone()), ..Self::of_node(at, kind, &cell.node, state) }
    }

    /// Whether it is about what `scope` names.
    #[must_use]
    pub fn is_in(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Fleet => true,
            Scope::Node(node) => self.node.as_ref() == Some(node),
            // What becomes of its node becomes of the cell.
            Scope::Cell(cell) => match &self.cell {
                Some(about) => about == cell,
                None => self.node.as_ref() == Some(&cell.node),
            },
        }
    }

    /// What somebody did; None while it is under way, or if it cannot be read.
    fn of_act(row: &AuditRow) -> Option<Self> {
        let act = row.act.as_ref().ok()?;
        let (at, message) = match &act.result {
            ActResult::Done { at, message } | ActResult::Failed { at, message } => (*at, message),
            ActResult::NotConcluded => return None,
        };
        let (node, cell) = about(act);
        let told = [Some(format!("{} {}", act.action, act.object)), Some(message.clone()), act.reason.clone()];
        let told: Vec<String> = told.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        Some(Self {
            at,
            kind: EventKind::Act,
            node,
            cell,
            state: act.result.as_str().to_owned(),
            version: None,
            by: Some(act.actor.to_string()),
            message: Some(told.join(": ")),
        })
    }

    fn of_outcome(entry: &OutcomeEntry) -> Option<Self> {
        let outcome = entry.outcome.as_ref().ok()?;
        let event = Self::of_cell(outcome.ended_at, EventKind::Outcome, &entry.id.cell, outcome.outcome.as_str());
        let version = outcome.version.as_ref().map(|version| version.version.clone());
        Some(Self { version, message: outcome.message.clone(), ..event })
    }
}

/// What an act is about, as audit entries name it.
fn about(act: &Act) -> (Option<NodeName>, Option<CellId>) {
    let of_key = match ObjectKey::parse(&act.object) {
        Ok(ObjectKey::CellYaml(cell) | ObjectKey::Override(cell, _)) => Some(cell),
        _ => None,
    };
    let named = || act.object.strip_prefix("cell/").and_then(|name| name.parse::<CellId>().ok());
    let cell = of_key.or_else(named);
    let node = act.object.strip_prefix("node/").and_then(|name| name.parse::<NodeName>().ok());
    (node.or_else(|| cell.as_ref().map(|cell| cell.node.clone())), cell)
}

/// What happened between two looks.
fn between(before: &FleetView, after: &FleetView) -> Vec<Event> {
    let mut events = Vec::new();
    for node in &after.nodes {
        match before.node(&node.node) {
            Some(known) if Arc::ptr_eq(known, node) => {}
            known => of_node(known.map(AsRef::as_ref), node, after.at, &mut events),
        }
    }
    events
}

fn of_node(before: Option<&NodeView>, after: &NodeView, at: DateTime<Utc>, events: &mut Vec<Event>) {
    let node = &after.node;
    let is_heard_alike = before.is_some_and(|before| before.liveness == after.liveness);
    if !is_heard_alike {
        events.push(Event::of_node(at, EventKind::Liveness, node, after.liveness.as_str()));
    }
    let hold = |view: &NodeView| view.heartbeat.as_ref().and_then(|beat| beat.hold.clone());
    of_hold(before.and_then(hold).as_ref(), hold(after).as_ref(), |kind, state| {
        events.push(Event::of_node(at, kind, node, state));
        events.last_mut()
    });
    for cell in &after.cells {
        of_cell(before.and_then(|before| before.cell(&cell.cell.cell)), cell, is_heard_alike, at, events);
    }
}

fn of_hold<'a>(
    before: Option<&HoldReport>,
    after: Option<&HoldReport>,
    push: impl FnOnce(EventKind, &'static str) -> Option<&'a mut Event>,
) {
    let order = |hold: Option<&HoldReport>| hold.map(|hold| hold.order);
    if order(before) == order(after) {
        return;
    }
    let (kind, state) = if after.is_some() { (EventKind::Hold, "held") } else { (EventKind::Unhold, "released") };
    if let Some(event) = push(kind, state) {
        event.by = after.map(|hold| hold.by.to_string());
        event.message = after.map(|hold| {
            format!("until {}: {}", hold.until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), hold.reason)
        });
    }
}

fn of_cell(
    before: Option<&CellView>,
    after: &CellView,
    is_heard_alike: bool,
    at: DateTime<Utc>,
    events: &mut Vec<Event>,
) {
    let cell = &after.cell;
    if let Some(desired) = after.desired().filter(|_| before.and_then(CellView::desired_at) != after.desired_at()) {
        let claim = &desired.claim;
        let event = Event::of_cell(claim.issued_at, EventKind::Wished, cell, claim.action.clone());
        let (version, by) = (claim.version.clone(), Some(claim.by.to_string()));
        events.push(Event { version, by, message: desired.reason.clone(), ..event });
    }
    let known = before.and_then(CellView::report).map(phase);
    if let Some(report) = after.report().filter(|report| known != Some(phase(report))) {
        let event = Event::of_cell(at, EventKind::Phase, cell, report.phase.as_str());
        events.push(Event { version: version(report), message: told(report), ..event });
    }
    // Of what runs on a node that is not heard of nothing is known, which the node's own event says.
    if is_heard_alike && before.is_some_and(|before| before.health != after.health) {
        events.push(Event::of_cell(at, EventKind::Health, cell, after.health.as_str()));
    }
    // The hold of a node is told of the node.
    let own = |view: &CellView| view.report().and_then(|report| report.hold.clone()).filter(|hold| !hold.whole_node);
    of_hold(before.and_then(own).as_ref(), own(after).as_ref(), |kind, state| {
        events.push(Event::of_cell(at, kind, cell, state));
        events.last_mut()
    });
    if let Some(state) =
        after.drift().filter(|_| is_heard_alike && before.is_some_and(|before| before.drift() != after.drift()))
    {
        events.push(Event::of_cell(at, EventKind::Drift, cell, state.as_str()));
    }
}

/// What makes one phase another one: what is done, with which version, and what it waits for.
fn phase(report: &CellReport) -> (Phase, Option<&VersionName>, Option<&str>) {
    let waits_for = report.waiting.as_ref().map(|waiting| waiting.reason.as_str());
    (report.phase, report.running.as_ref().map(|running| &running.version), waits_for)
}

/// The version that is spoken of: what there is after a failure, and what is wanted otherwise.
fn version(report: &CellReport) -> Option<VersionName> {
    let of = match report.phase {
        Phase::RolledBack | Phase::Failed => report.running.as_ref(),
        _ => report.desired.as_ref().or(report.running.as_ref()),
    };
    of.map(|of| of.version.clone())
}

fn told(report: &CellReport) -> Option<String> {
    let waits = report.waiting.as_ref().map(|waiting| waiting.message.clone());
    let failed = || report.last_error.as_ref().map(|fault| format!("{}: {}", fault.code, fault.message));
    waits.or_else(|| failed().filter(|_| matches!(report.phase, Phase::RolledBack | Phase::Failed)))
}

#[cfg(test)]
mod tests;
