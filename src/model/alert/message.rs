//! Messages about alerts: what is on its way to whom, and what came of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use uuid::Uuid;

use super::{Acknowledgement, AlertKind, AlertSubject, Severity};

/// How far a receiver was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverMark {
    /// It was told of events up to this one.
    pub sequence: u64,
    /// When a message for it was made last.
    pub at: DateTime<Utc>,
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its own id: a receiver that sees it twice knows that it is the same.
    pub id: Ulid,
    /// To whom, by its name in the config.
    pub receiver: String,
    /// What it says.
    pub notice: Notice,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next.
    pub due_at: DateTime<Utc>,
    /// Who is about to send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Who sends a message: others leave it alone for so long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The controller.
    pub by: Uuid,
    /// For how long, by the store's clock.
    pub until: DateTime<Utc>,
}

/// What a message says. Of many alerts of one kind the first are listed and all are counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Notice {
    /// What is wrong since the last message.
    pub opened: NoticePart,
    /// What is no more wrong.
    pub resolved: NoticePart,
    /// What somebody has seen since the last message, and is on.
    #[serde(default, skip_serializing_if = "NoticePart::is_empty")]
    pub acknowledged: NoticePart,
}

/// Alerts of which something is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct NoticePart {
    /// How many there are of each type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<AlertKind, u64>,
    /// The first of them, the worst first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<Noticed>,
}

impl NoticePart {
    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.first.is_empty()
    }
}

/// One alert in a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Noticed {
    /// What it is of.
    #[serde(rename = "type")]
    pub kind: AlertKind,
    /// What it is about.
    pub subject: AlertSubject,
    /// How bad it is.
    pub severity: Severity,
    /// What is the matter.
    pub message: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// When it was no more, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<DateTime<Utc>>,
    /// Who has seen it, if anybody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
}

/// A message that is not tried any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct FinishedDelivery {
    /// Its own id.
    #[cfg_attr(feature = "controller", schemars(with = "String"))]
    pub id: Ulid,
    /// To whom.
    pub receiver: String,
    /// What it was about, in short.
    pub about: String,
    /// When that was settled, by the store's clock.
    pub at: DateTime<Utc>,
    /// How often it was tried.
    pub tries: u32,
    /// Why it was given up; None if it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
