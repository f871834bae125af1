//! What somebody should look at, worst first.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::judge::{Health, Liveness, Sync};
use super::view::{CellView, FleetView, NodeView};
use crate::model::alert::AlertKind;
pub use crate::model::alert::Severity;
use crate::model::heartbeat::{CellReport, Condition, HealthState, HoldReport, Phase, RunningState, SigningMode};
use crate::model::text::short;
use crate::model::{CellId, Code, NodeName};

/// The most characters of a node's own words that are kept.
const MOST_CHARS: usize = 300;

/// The most conditions of one node that are told: its agent has fewer, whoever else wrote its heartbeat.
const MOST_CONDITIONS: usize = 8;

/// From when on something needs attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionLimits {
    /// So long a cell may take until it is what it is to be.
    pub late: TimeDelta,
    /// So far a node's clock may be from the store's.
    pub skew: TimeDelta,
}

impl Default for AttentionLimits {
    fn default() -> Self {
        Self { late: TimeDelta::minutes(10), skew: TimeDelta::seconds(30) }
    }
}

/// What it is about, which is where people go from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A node.
    Node(NodeName),
    /// A cell.
    Cell(CellId),
    /// The agents as a whole.
    Agents,
}

/// Something that somebody should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attention {
    /// How bad it is.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// What is the matter.
    pub concern: Concern,
    /// Since when, where that is known.
    pub since: Option<DateTime<Utc>>,
}

/// What is the matter. The words in it are a node's: hostile text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    /// A node was not heard of for long.
    Dead,
    /// A node's last heartbeats did not come.
    Silent,
    /// A node is to run something, and was never heard of.
    NeverSeen,
    /// A heartbeat or an index cannot be read.
    Unreadable(String),
    /// An agent has trouble with the store.
    StoreError(Code, String),
    /// Something stays wrong with a node or a cell until somebody acts.
    Condition(Code, String),
    /// A node's clock is off: the store's time minus the node's.
    ClockSkew(TimeDelta),
    /// An agent checks no signatures.
    Unsigned,
    /// So much of a node's disk is in use, in percent.
    FullDisk(u64),
    /// So many agents have another version than the newest one.
    OldAgents {
        /// How many.
        count: usize,
        /// The newest version that any agent has.
        newest: String,
    },
    /// What the index says of a cell is not believed.
    NotBelieved(String),
    /// A deployment failed, and nothing was left to go back to.
    Failed(String),
    /// A deployment failed, and the last known good version runs again.
    RolledBack(String),
    /// A cell does not run, and should.
    Down(String),
    /// A cell runs only in part, falls again and again, or fails a check.
    Degraded(String),
    /// What is on the host is not what the agent's state says.
    Inconsistent(String),
    /// The agent is held back from what a cell is to be.
    Held(String),
    /// Somebody holds it, and until when.
    OnHold(String),
    /// A cell is not what it is to be, and should be by now.
    OutOfSync(String),
}

impl Concern {
    /// In a word that never changes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Silent => "silent",
            Self::NeverSeen => "never_seen",
            Self::Unreadable(_) => "unreadable",
            Self::StoreError(code, _) | Self::Condition(code, _) => code.as_str(),
            Self::ClockSkew(_) => "clock_skew",
            Self::Unsigned => "unsigned",
            Self::FullDisk(_) => "full_disk",
            Self::OldAgents { .. } => "old_agents",
            Self::NotBelieved(_) => "not_believed",
            Self::Failed(_) => "failed",
            Self::RolledBack(_) => "rolled_back",
            Self::Down(_) => "down",
            Self::Degraded(_) => "degraded",
            Self::Inconsistent(_) => "inconsistent",
            Self::Held(_) => "held",
            Self::OnHold(_) => "on_hold",
            Self::OutOfSync(_) => "out_of_sync",
        }
    }
}

impl Concern {
    /// The type of the alert that people are told of, if this is one.
    pub(in crate::controller) fn alert(&self) -> Option<AlertKind> {
        match self {
            Self::Dead => Some(AlertKind::AgentDead),
            Self::StoreError(..) => Some(AlertKind::StoreDegraded),
            Self::Failed(_) => Some(AlertKind::DeploymentFailed),
            Self::RolledBack(_) => Some(AlertKind::RolledBack),
            Self::Down(_) | Self::Degraded(_) => Some(AlertKind::HealthFailing),
            Self::Condition(Code::NeedsOperator, _) => Some(AlertKind::NeedsOperator),
            Self::Condition(Code::Drifted | Code::UnitDrift, _) => Some(AlertKind::Drift),
            _ => None,
        }
    }
}

impl NodeView {
    /// Everything that is the matter with the node as a whole.
    pub(in crate::controller) fn concerns(&self) -> impl Iterator<Item = (Severity, Concern)> {
        of_node(self, AttentionLimits::default()).into_iter().map(|(severity, concern, _)| (severity, concern))
    }
}

impl CellView {
    /// Everything that its node says is the matter with the cell: how its deployment went, how it runs, and what stays
    /// wrong. A cell that could not be deployed does not run for that very reason.
    pub(in crate::controller) fn concerns(&self) -> impl Iterator<Item = (Severity, Concern)> {
        let is_heard = !matches!(self.liveness, Liveness::Dead | Liveness::Unknown);
        let report = self.report().filter(|_| is_heard);
        let deployed = report.and_then(of_report);
        let explains = matches!(&deployed, Some((_, Concern::Failed(_) | Concern::Condition(..), _)));
        let health = report.filter(|_| !explains).and_then(|report| of_health(self.health, report));
        let conditions = report.into_iter().flat_map(|report| report.conditions.iter().take(MOST_CONDITIONS));
        deployed
            .into_iter()
            .chain(health)
            .chain(conditions.map(of_condition))
            .map(|(severity, concern, _)| (severity, concern))
    }
}

impl fmt::Display for Concern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, why) = match self {
            Self::Dead => ("not heard of for long; its cells may run on", ""),
            Self::Silent => ("its last heartbeats did not come", ""),
            Self::NeverSeen => ("no agent of this name has reported yet", ""),
            Self::Unreadable(why) => ("cannot be read", why.as_str()),
            Self::StoreError(code, why) => return write!(f, "trouble with the bucket: {code}: {why}"),
            Self::Condition(code, why) => return write!(f, "{code}: {why}"),
            Self::ClockSkew(skew) => {
                let way = if *skew > TimeDelta::zero() { "behind" } else { "ahead of" };
                return write!(f, "its clock is {} s {way} the store's", skew.num_seconds().abs());
            }
            Self::Unsigned => ("its agent checks no signatures", ""),
            Self::FullDisk(percent) => return write!(f, "{percent} % of its disk are in use"),
            Self::OldAgents { count: 1, newest } => return write!(f, "1 agent is not at {newest}, the newest seen"),
            Self::OldAgents { count, newest } => {
                return write!(f, "{count} agents are not at {newest}, the newest seen");
            }
            Self::NotBelieved(why) => ("what the index says of it is not believed", why.as_str()),
            Self::Failed(why) => ("the deployment failed", why.as_str()),
            Self::RolledBack(why) => ("the deployment failed and was rolled back", why.as_str()),
            Self::Down(why) => ("it does not run, and should", why.as_str()),
            Self::Degraded(why) => ("it runs, but not well", why.as_str()),
            Self::Inconsistent(why) => ("what is on the host is not what its agent knows of", why.as_str()),
            Self::Held(why) => ("its agent is held back", why.as_str()),
            Self::OnHold(why) => ("somebody holds it, and nothing that runs is changed", why.as_str()),
            Self::OutOfSync(why) => ("not yet what it is to be", why.as_str()),
        };
        if why.is_empty() { f.write_str(what) } else { write!(f, "{what}: {why}") }
    }
}

impl FleetView {
    /// What somebody should look at, the worst first, then by name. Cells of a node that is not heard of are told with
    /// their node.
    #[must_use]
    pub fn attention(&self, limits: AttentionLimits) -> Vec<Attention> {
        let mut found = Vec::new();
        for node in &self.nodes {
            let of_node = of_node(node, limits);
            found.extend(of_node.into_iter().map(|(severity, concern, since)| Attention {
                severity,
                subject: Subject::Node(node.node.clone()),
                concern,
                since,
            }));
        }
        for cell in self.cells() {
            let of_cell = of_cell(cell, limits, self.at);
            found.extend(of_cell.map(|(severity, concern, since)| Attention {
                severity,
                subject: Subject::Cell(cell.cell.clone()),
                concern,
                since,
            }));
        }
        let old = old_agents(&self.nodes);
        found.extend(old.map(|concern| Attention {
            severity: Severity::Notice,
            subject: Subject::Agents,
            concern,
            since: None,
        }));
        found.sort_by_key(|attention| attention.severity);
        found
    }
}

type Finding = (Severity, Concern, Option<DateTime<Utc>>);

fn of_node(node: &NodeView, limits: AttentionLimits) -> Vec<Finding> {
    let mut found = Vec::new();
    match node.liveness {
        Liveness::Active => {}
        Liveness::Warning => found.push((Severity::Warning, Concern::Silent, node.last_seen)),
        Liveness::Dead => found.push((Severity::Critical, Concern::Dead, node.last_seen)),
        Liveness::Unknown => found.push((Severity::Warning, Concern::NeverSeen, None)),
    }
    found.extend(node.problems.iter().map(|why| (Severity::Critical, Concern::Unreadable(brief(why)), None)));
    let Some(beat) = node.heartbeat.as_ref().filter(|_| node.liveness != Liveness::Dead) else { return found };
    if beat.signing == SigningMode::Unsigned {
        found.push((Severity::Warning, Concern::Unsigned, None));
    }
    if let Some(fault) = &beat.store_error {
        found.push((Severity::Warning, Concern::StoreError(fault.code, brief(&fault.message)), Some(fault.at)));
    }
    let skew = beat.clock_skew_ms.and_then(TimeDelta::try_milliseconds);
    if let Some(skew) = skew.filter(|skew| skew.abs() > limits.skew) {
        found.push((Severity::Warning, Concern::ClockSkew(skew), None));
    }
    // Where the agent itself says what the disk is too full for, that says more.
    let is_told = beat.conditions.iter().any(|condition| condition.code == Code::DiskFull);
    let full = beat.host.full_disk().filter(|_| !is_told);
    found.extend(full.map(|percent| (Severity::Notice, Concern::FullDisk(percent), None)));
    found.extend(beat.hold.as_ref().map(|hold| (Severity::Notice, on_hold(hold), Some(hold.since))));
    found.extend(beat.conditions.iter().take(MOST_CONDITIONS).map(of_condition));
    found
}

/// A hold of the cell, or one of its node that something waits for.
fn of_hold(report: &CellReport) -> Option<Finding> {
    let hold = report.hold.as_ref()?;
    let waits = report.waiting.as_ref().is_some_and(|waiting| waiting.reason == Code::Hold);
    let severity = if waits { Severity::Warning } else { Severity::Notice };
    (waits || !hold.whole_node).then(|| (severity, on_hold(hold), Some(hold.since)))
}

fn on_hold(hold: &HoldReport) -> Concern {
    let until = hold.until.to_rfc3339_opts(SecondsFormat::Secs, true);
    Concern::OnHold(brief(&format!("{} until {until}: {}", hold.by, hold.reason)))
}

fn of_condition(condition: &Condition) -> Finding {
    let severity = match condition.code {
        Code::NeedsOperator | Code::DuplicateNode | Code::Conflict | Code::SigInvalid => Severity::Critical,
        Code::HeartbeatCut | Code::FloorRebuilt | Code::TriggerStale | Code::UnitExtended | Code::DriftUnchecked => {
            Severity::Notice
        }
        _ => Severity::Warning,
    };
    (severity, Concern::Condition(condition.code, brief(&condition.message)), None)
}

/// The worst about a cell, if there is anything.
fn of_cell(cell: &CellView, limits: AttentionLimits, now: DateTime<Utc>) -> Option<Finding> {
    if let Some(why) = cell.problem() {
        return Some((Severity::Critical, Concern::NotBelieved(brief(why)), None));
    }
    if matches!(cell.liveness, Liveness::Dead | Liveness::Unknown) {
        return None;
    }
    let report = cell.report();
    report
        .and_then(of_report)
        .or_else(|| of_health(cell.health, report?))
        .or_else(|| report?.conditions.iter().take(MOST_CONDITIONS).map(of_condition).min_by_key(|found| found.0))
        .or_else(|| of_hold(report?))
        .or_else(|| of_sync(cell, limits, now))
}

/// What an agent says that it could not do.
fn of_report(report: &CellReport) -> Option<Finding> {
    let operator = report.conditions.iter().find(|condition| condition.code == Code::NeedsOperator);
    if let Some(condition) = operator {
        return Some(of_condition(condition));
    }
    let fault = report.last_error.as_ref();
    let why = || fault.map(|fault| brief(&format!("{}: {}", fault.code, fault.message))).unwrap_or_default();
    let told = || report.conditions.first().map_or_else(why, |it| brief(&format!("{}: {}", it.code, it.message)));
    let since = fault.map(|fault| fault.at);
    match report.phase {
        Phase::Failed => Some((Severity::Critical, Concern::Failed(why()), since)),
        Phase::RolledBack => Some((Severity::Warning, Concern::RolledBack(why()), since)),
        Phase::Inconsistent => Some((Severity::Warning, Concern::Inconsistent(told()), None)),
        Phase::Held => Some((Severity::Warning, Concern::Held(told()), None)),
        _ => None,
    }
}

/// How it runs, unless it is just being brought up.
fn of_health(health: Health, report: &CellReport) -> Option<Finding> {
    if matches!(report.phase, Phase::Activating | Phase::Checking) {
        return None;
    }
    let mut checks = report.health.iter().flat_map(|health| &health.checks);
    let failing = checks.find(|(_, check)| check.state == HealthState::Failing);
    let since = failing.and_then(|(_, check)| check.since);
    let why = match &report.state {
        RunningState::Failed { reason } => brief(reason),
        RunningState::Running { .. } | RunningState::NotApplicable if failing.is_some() => {
            failing.map(|(name, check)| brief(&format!("check {name} fails: {}", check.message))).unwrap_or_default()
        }
        RunningState::Running { restarts, .. } if *restarts > 0 => format!("restarted {restarts} times"),
        _ => String::new(),
    };
    match health {
        Health::Failed => Some((Severity::Critical, Concern::Down(why), None)),
        Health::Degraded => Some((Severity::Warning, Concern::Degraded(why), since)),
        _ => None,
    }
}

fn of_sync(cell: &CellView, limits: AttentionLimits, now: DateTime<Utc>) -> Option<Finding> {
    // One that was never published is nothing yet, and wants nothing.
    let issued_at = cell.desired()?.claim.issued_at;
    if cell.sync != Sync::OutOfSync || now - issued_at < limits.late {
        return None;
    }
    let waiting = cell.report().and_then(|report| report.waiting.as_ref());
    // What waits for a window that will open is as somebody wanted it.
    if waiting.is_some_and(|waiting| waiting.reason == Code::Window && waiting.until.is_some()) {
        return None;
    }
    let why = match (waiting, cell.report()) {
        (Some(waiting), _) => brief(&format!("{}: {}", waiting.reason, waiting.message)),
        (None, Some(report)) => report.phase.as_str().replace('_', " "),
        (None, None) => "its node says nothing of it".to_owned(),
    };
    Some((Severity::Warning, Concern::OutOfSync(why), Some(issued_at)))
}

/// How many agents that are heard of have another version than the newest.
fn old_agents(nodes: &[std::sync::Arc<NodeView>]) -> Option<Concern> {
    let heard = nodes.iter().filter(|node| matches!(node.liveness, Liveness::Active | Liveness::Warning));
    let mut versions: BTreeMap<&str, usize> = BTreeMap::new();
    for beat in heard.filter_map(|node| node.heartbeat.as_ref()) {
        *versions.entry(&beat.agent_version).or_default() += 1;
    }
    let (newest, at_newest) = versions.iter().max_by_key(|(version, _)| age(version))?;
    let count = versions.values().sum::<usize>() - at_newest;
    (count > 0).then(|| Concern::OldAgents { count, newest: brief(newest) })
}

/// The order of versions: by their numbers, and what is no `x.y.z` before all that are. A pre-release comes before its
/// release.
fn age(version: &str) -> (Vec<u64>, Reverse<bool>) {
    let (numbers, rest) = version.split_at(version.find(['-', '+']).unwrap_or(version.len()));
    let numbers: Result<Vec<u64>, _> = numbers.split('.').map(str::parse).collect();
    (numbers.unwrap_or_default(), Reverse(rest.starts_with('-')))
}

/// A node's own words, as many as are shown.
fn brief(text: &str) -> String {
    short(text, MOST_CHARS)
}

#[cfg(test)]
mod tests;
