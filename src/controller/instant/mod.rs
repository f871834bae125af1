//! What was wished of a cell at an instant, and what ran: from its signed history and from what its node told.
//!
//! The history says what was wished and cannot be forged. Outcomes are claims of the node: they say what ran, and an
//! instant of which none tells is *not confirmed*. Nothing else is asked, so whoever has the bucket has its past.

mod compare;
mod moment;
mod read;
mod revert;
mod words;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

pub use compare::InstantChange;
pub use moment::{Moment, MomentError};
pub use revert::{Revert, RevertOptions, RevertPlan, RevertStep};

use super::head::floor;
use crate::model::heartbeat::VersionReport;
use crate::model::name::NameError;
use crate::model::outcome::{Ending, Outcome};
use crate::model::sign::Verified;
use crate::model::trigger::{Action, Target, Trigger};
use crate::model::{CellId, Code, Epoch, Floor, Generation, NodeName, UserName};

/// What is looked at: `<node>/<cell>`, `<node>`, or everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Scope {
    /// Every cell of the fleet.
    #[default]
    Fleet,
    /// Every cell of a node.
    Node(NodeName),
    /// One cell.
    Cell(CellId),
}

impl FromStr for Scope {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains('/') { text.parse().map(Self::Cell) } else { NodeName::new(text).map(Self::Node) }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fleet => f.write_str("the fleet"),
            Self::Node(node) => node.fmt(f),
            Self::Cell(cell) => cell.fmt(f),
        }
    }
}

/// What the bucket has of a cell's past.
#[derive(Debug)]
pub struct Chronicle {
    /// The cell.
    pub cell: CellId,
    /// The triggers that are believed, newest first.
    pub triggers: Vec<Verified<Trigger>>,
    /// Whether older triggers than these were not read, or were deleted with the cell.
    pub is_cut: bool,
    /// Entries of the history that are not believed: what they wished is not known.
    pub unbelieved: Vec<Floor>,
    /// What the node told, the newest attempt first.
    pub outcomes: Vec<Outcome>,
}

/// A cell at an instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CellAt {
    /// The cell.
    pub cell: CellId,
    /// What was wished of it.
    pub wished: Wished,
    /// What its node had told until then.
    pub ran: Ran,
    /// What its node had made of the wish.
    pub answer: Answer,
    /// What makes this less than certain, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
}

/// What was wished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Wished {
    /// Nothing had been published yet.
    Nothing,
    /// The history does not go back so far.
    Unknown,
    /// What this trigger asks for.
    Wish(Wish),
}

/// A trigger that counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Wish {
    /// Its place.
    pub at: Floor,
    /// `deploy`, `stop`, `remove`.
    pub action: String,
    /// The version, if one was to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionReport>,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Who wished it.
    pub by: UserName,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the node had told last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Ran {
    /// Nothing had been told.
    Unknown,
    /// A version was in its place, and not stopped.
    Running(Told),
    /// A version was in its place, stopped.
    Stopped(Told),
    /// A version was in its place that had failed to come up, with nothing to go back to.
    Failed(Told),
    /// No version was in its place.
    Absent {
        /// When the node was done with that.
        since: DateTime<Utc>,
    },
}

/// A version on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Told {
    /// The version.
    pub version: VersionReport,
    /// When the node was done with what brought it there, or left it there.
    pub since: DateTime<Utc>,
}

impl Ran {
    /// The version that was in its place, if one was.
    #[must_use]
    pub fn version(&self) -> Option<&VersionReport> {
        match self {
            Self::Running(told) | Self::Stopped(told) | Self::Failed(told) => Some(&told.version),
            Self::Unknown | Self::Absent { .. } => None,
        }
    }
}

/// What a node had made of a wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Answer {
    /// There was nothing to answer.
    None,
    /// No outcome tells of it.
    NotConfirmed,
    /// It was so.
    Confirmed {
        /// Since when.
        since: DateTime<Utc>,
    },
    /// It was tried and was not so.
    Failed {
        /// When that was over.
        since: DateTime<Utc>,
        /// Whether the known good version was brought back.
        rolled_back: bool,
        /// What went wrong.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<Code>,
        /// The same in words.
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
}

impl Chronicle {
    /// The cell as it was at `time`. Pure.
    ///
    /// Of triggers whose times contradict their order the order counts, because it is the order that a node obeys.
    #[must_use]
    pub fn at(&self, time: DateTime<Utc>) -> CellAt {
        let trigger = self.trigger_at(time);
        let told: Vec<&Outcome> = self.outcomes.iter().filter(|outcome| outcome.ended_at <= time).collect();
        let wished = match trigger {
            Some(trigger) => Wished::Wish(wish(trigger)),
            None if self.is_cut => Wished::Unknown,
            None => Wished::Nothing,
        };
        let ran = ran(&told);
        let answer = trigger.map_or(Answer::None, |trigger| answer(&told, floor(trigger)));
        let doubts = self.doubts(time, trigger, &ran);
        CellAt { cell: self.cell.clone(), wished, ran, answer, doubts }
    }

    /// The trigger that counted at `time`.
    pub(super) fn trigger_at(&self, time: DateTime<Utc>) -> Option<&Verified<Trigger>> {
        self.triggers.iter().find(|trigger| trigger.issued_at <= time)
    }

    /// What verified history says of a version that a node told of: the version itself, under the same digest.
    pub(super) fn signed(&self, version: &VersionReport) -> Option<&Target> {
        let targets = self.triggers.iter().filter_map(|trigger| trigger.action.target());
        targets.into_iter().find(|target| VersionReport::from(*target) == *version)
    }

    fn doubts(&self, time: DateTime<Utc>, counted: Option<&Verified<Trigger>>, ran: &Ran) -> Vec<String> {
        let mut doubts = Vec::new();
        let above = |at: &&Floor| counted.is_none_or(|counted| **at > floor(counted));
        let unbelieved: Vec<String> = self.unbelieved.iter().filter(above).map(ToString::to_string).collect();
        if !unbelieved.is_empty() {
            doubts.push(format!("generation {} is not believed and may have counted", unbelieved.join(", ")));
        }
        let below = |trigger: &&Verified<Trigger>| counted.is_some_and(|counted| floor(trigger) < floor(counted));
        if let Some(later) = self.triggers.iter().filter(below).find(|trigger| trigger.issued_at > time) {
            doubts.push(format!("generation {} before it has a later time: clocks disagreed", floor(later)));
        }
        if let Some(version) = ran.version().filter(|version| self.signed(version).is_none()) {
            doubts.push(format!("the node told of version {}, which no believed trigger names", version.version));
        }
        doubts
    }

    /// Whether the history that was read begins with the first trigger that there ever was.
    fn begins_at_first(oldest: Option<Floor>) -> bool {
        oldest.is_none_or(|oldest| oldest == Floor::new(Epoch::FIRST, Generation::FIRST))
    }
}

fn wish(trigger: &Verified<Trigger>) -> Wish {
    Wish {
        at: floor(trigger),
        action: trigger.action.name().to_owned(),
        version: trigger.action.target().map(VersionReport::from),
        since: trigger.issued_at,
        by: trigger.issued_by.clone(),
        reason: trigger.reason.clone(),
    }
}

/// What outcomes, the newest first, tell of a node. The last says what is in its place; whether that is up is told by
/// the last that came to an end of its own: an attempt that failed before it changed anything leaves it as it was.
fn ran(told: &[&Outcome]) -> Ran {
    let Some(last) = told.first() else { return Ran::Unknown };
    let since = last.ended_at;
    let Some(version) = &last.running_after else { return Ran::Absent { since } };
    let told_of = Told { version: version.clone(), since };
    let is_its_own = |outcome: &Outcome| outcome.version.is_some() && outcome.running_after == outcome.version;
    let decisive = told.iter().find(|outcome| match outcome.outcome {
        Ending::Succeeded | Ending::RolledBack => true,
        // It had put its version in its place.
        _ => is_its_own(outcome),
    });
    match decisive {
        Some(outcome) if !matches!(outcome.outcome, Ending::Succeeded | Ending::RolledBack) => Ran::Failed(told_of),
        Some(outcome) if outcome.action == Action::Stop.name() => Ran::Stopped(told_of),
        _ => Ran::Running(told_of),
    }
}

fn answer(told: &[&Outcome], wished: Floor) -> Answer {
    let Some(outcome) = told.iter().find(|outcome| outcome.at == wished) else { return Answer::NotConfirmed };
    let since = outcome.ended_at;
    match outcome.outcome {
        Ending::Succeeded => Answer::Confirmed { since },
        Ending::Failed | Ending::RolledBack => Answer::Failed {
            since,
            rolled_back: outcome.outcome == Ending::RolledBack,
            code: outcome.code,
            message: outcome.message.clone(),
        },
        Ending::Superseded | Ending::Unknown => Answer::NotConfirmed,
    }
}

#[cfg(test)]
mod tests;
