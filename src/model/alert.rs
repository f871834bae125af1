//! `alerts/state.json`: what is wrong in the fleet and was told to people, who silenced what, and what is still to be
//! sent. Controllers share it, so that each message is sent by one of them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::cell_id::CellId;
use super::document::Document;
use super::name::{CellName, NodeName, UserName, shown};

mod message;

pub use message::{Delivery, FinishedDelivery, Notice, NoticePart, Noticed, ReceiverMark, Taken};

/// What an alert is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// A deployment failed, and nothing was left to go back to.
    DeploymentFailed,
    /// A deployment failed, and the last known good version runs again.
    RolledBack,
    /// The agent has done what it may do; a person must look.
    NeedsOperator,
    /// An agent was not heard of for long.
    AgentDead,
    /// What lies or is set up on a host is not what was deployed.
    Drift,
    /// An agent or this controller has trouble with the bucket.
    StoreDegraded,
    /// A cell does not run well.
    HealthFailing,
}

/// A text that is no part of an alert's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}: expected {expected}")]
pub struct AlertNameError {
    what: &'static str,
    text: String,
    expected: &'static str,
}

impl AlertKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::DeploymentFailed,
        Self::RolledBack,
        Self::NeedsOperator,
        Self::AgentDead,
        Self::Drift,
        Self::StoreDegraded,
        Self::HealthFailing,
    ];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeploymentFailed => "deployment_failed",
            Self::RolledBack => "rolled_back",
            Self::NeedsOperator => "needs_operator",
            Self::AgentDead => "agent_dead",
            Self::Drift => "drift",
            Self::StoreDegraded => "store_degraded",
            Self::HealthFailing => "health_failing",
        }
    }

    /// What it says to people.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::DeploymentFailed => "deployment failed",
            Self::RolledBack => "rolled back",
            Self::NeedsOperator => "needs an operator",
            Self::AgentDead => "agent dead",
            Self::Drift => "drift",
            Self::StoreDegraded => "trouble with the bucket",
            Self::HealthFailing => "health failing",
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AlertKind {
    type Err = AlertNameError;

    fn from_str(text: &str) -> Result<Self, AlertNameError> {
        let expected =
            "deployment_failed, rolled_back, needs_operator, agent_dead, drift, store_degraded or health_failing";
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| AlertNameError { what: "a type of alert", text: shown(text), expected })
    }
}

/// How bad something is; the worst comes first in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something does not run, or is not believed.
    Critical,
    /// Something is not as it should be, but runs.
    Warning,
    /// Something to know.
    Notice,
}

impl Severity {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

/// What an alert is about, written `node/<node>`, `cell/<node>/<cell>` or `bucket`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub enum AlertSubject {
    /// The bucket as this controller sees it.
    Bucket,
    /// A node.
    Node(NodeName),
    /// A cell.
    Cell(CellId),
}

impl AlertSubject {
    /// The node that it is about or lies on.
    #[must_use]
    pub fn node(&self) -> Option<&NodeName> {
        match self {
            Self::Bucket => None,
            Self::Node(node) => Some(node),
            Self::Cell(cell) => Some(&cell.node),
        }
    }
}

impl fmt::Display for AlertSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket => f.pad("bucket"),
            Self::Node(node) => f.pad(&format!("node/{node}")),
            Self::Cell(cell) => f.pad(&format!("cell/{cell}")),
        }
    }
}

impl FromStr for AlertSubject {
    type Err = AlertNameError;

    fn from_str(text: &str) -> Result<Self, AlertNameError> {
        let refuse = || AlertNameError {
            what: "what an alert is about",
            text: shown(text),
            expected: "node/<node>, cell/<node>/<cell> or bucket",
        };
        match text.split_once('/') {
            None if text == "bucket" => Ok(Self::Bucket),
            Some(("node", node)) => Ok(Self::Node(NodeName::new(node).map_err(|_| refuse())?)),
            Some(("cell", cell)) => Ok(Self::Cell(cell.parse().map_err(|_| refuse())?)),
            _ => Err(refuse()),
        }
    }
}

stands_as_text!(AlertSubject, AlertNameError);

/// What makes two alerts the same one, written `<type>:<subject>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertKey {
    /// What it is of.
    pub kind: AlertKind,
    /// What it is about.
    pub subject: AlertSubject,
}

impl fmt::Display for AlertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.kind, self.subject))
    }
}

impl FromStr for AlertKey {
    type Err = AlertNameError;

    fn from_str(text: &str) -> Result<Self, AlertNameError> {
        let refuse = || AlertNameError { what: "an alert", text: shown(text), expected: "<type>:<subject>" };
        let (kind, subject) = text.split_once(':').ok_or_else(refuse)?;
        Ok(Self { kind: kind.parse()?, subject: subject.parse()? })
    }
}

/// The alerts of a fleet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerts {
    /// Counts what happened to alerts; each event has one number.
    pub sequence: u64,
    /// What is wrong, by name.
    #[serde(default)]
    pub open: Vec<Alert>,
    /// How many more are wrong than are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlisted: u64,
    /// What was wrong lately, the newest first.
    #[serde(default)]
    pub resolved: Vec<Resolved>,
    /// What nobody is told of for a while.
    #[serde(default)]
    pub silences: Vec<Silence>,
    /// How far each receiver was told, by its name in the config.
    #[serde(default)]
    pub receivers: BTreeMap<String, ReceiverMark>,
    /// What is to be sent, the oldest first.
    #[serde(default)]
    pub deliveries: Vec<Delivery>,
    /// What was sent, or given up, the newest first.
    #[serde(default)]
    pub finished: Vec<FinishedDelivery>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Document for Alerts {
    const SCHEMA: &'static str = "fleetman/alerts/1";
    const MAX_BYTES: u64 = 8 << 20;
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Alert {
    /// What it is of.
    #[serde(rename = "type")]
    pub kind: AlertKind,
    /// What it is about.
    pub subject: AlertSubject,
    /// How bad it is.
    pub severity: Severity,
    /// What is the matter; mostly a node's own words.
    pub message: String,
    /// The labels of what it is about when it was opened.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Since when it was seen without a break, by the store's clock.
    pub since: DateTime<Utc>,
    /// When it counted as an alert, by the store's clock.
    pub opened_at: DateTime<Utc>,
    /// The event that people are to be told of: that it was opened, or that its silence ended.
    pub sequence: u64,
    /// How often it came back shortly after it was resolved.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub returns: u64,
    /// Whether a silence keeps it from being told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silenced: bool,
    /// Whether anybody was told of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub told: bool,
    /// Who has seen it, if anybody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
}

impl Alert {
    /// What makes it this one.
    #[must_use]
    pub fn key(&self) -> AlertKey {
        AlertKey { kind: self.kind, subject: self.subject.clone() }
    }
}

/// Somebody has seen an alert, and is on it. It ends with the alert: what comes back was not seen by anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Acknowledgement {
    /// Who.
    pub by: UserName,
    /// What they say of it.
    pub note: String,
    /// When, by the store's clock.
    pub at: DateTime<Utc>,
    /// The event.
    pub sequence: u64,
}

/// Something that was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Resolved {
    /// As it was.
    pub alert: Alert,
    /// When it was no more, by the store's clock.
    pub resolved_at: DateTime<Utc>,
    /// The event.
    pub sequence: u64,
}

/// What nobody is told of for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Silence {
    /// Its own id.
    #[cfg_attr(feature = "controller", schemars(with = "String"))]
    pub id: Ulid,
    /// What it covers.
    pub scope: SilenceScope,
    /// Who made it.
    pub by: UserName,
    /// Why.
    pub reason: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends, by the store's clock.
    pub until: DateTime<Utc>,
}

/// What a silence covers: alerts that fit everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct SilenceScope {
    /// Of this type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<AlertKind>,
    /// About this node, or a cell on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// About a cell of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<CellName>,
}

impl SilenceScope {
    /// Whether an alert is covered.
    #[must_use]
    pub fn covers(&self, kind: AlertKind, subject: &AlertSubject) -> bool {
        let cell = match subject {
            AlertSubject::Cell(cell) => Some(&cell.cell),
            AlertSubject::Node(_) | AlertSubject::Bucket => None,
        };
        self.kind.is_none_or(|wanted| wanted == kind)
            && self.node.as_ref().is_none_or(|wanted| subject.node() == Some(wanted))
            && self.cell.as_ref().is_none_or(|wanted| cell == Some(wanted))
    }
}

impl fmt::Display for SilenceScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Some(kind) => f.write_str(kind.in_words())?,
            None => f.write_str("everything")?,
        }
        match (&self.node, &self.cell) {
            (Some(node), Some(cell)) => write!(f, " of {node}/{cell}"),
            (Some(node), None) => write!(f, " of {node}"),
            (None, Some(cell)) => write!(f, " of cells called {cell}"),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_foreign_text_is_refused() {
        for text in ["agent_dead:node/n1", "rolled_back:cell/n1/web", "store_degraded:bucket"] {
            assert_eq!(text.parse::<AlertKey>().unwrap().to_string(), text);
        }
        for bad in
            ["", "agent_dead", "fire:node/n1", "agent_dead:n1", "agent_dead:node/N1", "drift:cell/n1", "drift:bucket/"]
        {
            assert!(bad.parse::<AlertKey>().is_err(), "{bad}");
        }
        for kind in AlertKind::ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }

    #[test]
    fn a_silence_covers_what_fits_everything_that_it_names() {
        let scope = |kind: Option<AlertKind>, node: Option<&str>, cell: Option<&str>| SilenceScope {
            kind,
            node: node.map(|name| name.parse().unwrap()),
            cell: cell.map(|name| name.parse().unwrap()),
        };
        let covered = |scope: &SilenceScope| {
            let keys = ["agent_dead:node/n1", "drift:cell/n1/web", "drift:cell/n2/web", "store_degraded:bucket"];
            keys.map(|key| key.parse::<AlertKey>().unwrap()).map(|key| scope.covers(key.kind, &key.subject))
        };
        assert_eq!(covered(&scope(None, None, None)), [true; 4]);
        assert_eq!(covered(&scope(None, Some("n1"), None)), [true, true, false, false]);
        assert_eq!(covered(&scope(None, None, Some("web"))), [false, true, true, false]);
        assert_eq!(covered(&scope(Some(AlertKind::Drift), Some("n1"), Some("web"))), [false, true, false, false]);
        assert_eq!(covered(&scope(Some(AlertKind::AgentDead), None, None)), [true, false, false, false]);
        assert_eq!(scope(Some(AlertKind::Drift), Some("n1"), None).to_string(), "drift of n1");
    }
}
