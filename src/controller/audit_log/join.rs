//! Two entries, one act.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use ulid::Ulid;

use super::LONGEST_ACT;
use super::place::time_of;
use crate::model::UserName;
use crate::model::audit::{AuditStage, FoundEntry, Seal};

/// One act, or an entry that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRow {
    /// The id of its intent.
    pub id: Ulid,
    /// When it was begun.
    pub at: DateTime<Utc>,
    /// What it was, or why it cannot be read.
    pub act: Result<Act, String>,
    /// The entries that it was read from.
    entries: Vec<Ulid>,
}

/// What somebody did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// Who acted.
    pub actor: UserName,
    /// From where: `cli`, `portal`, `api`.
    pub source: String,
    /// The machine, or the address of who used it.
    pub host: String,
    /// What was done: the verb.
    pub action: String,
    /// To what.
    pub object: String,
    /// What it was before, in short.
    pub before: Option<String>,
    /// What it was to be.
    pub after: Option<String>,
    /// Why, in the actor's words.
    pub reason: Option<String>,
    /// What came of it.
    pub result: ActResult,
    /// Its intent is not in the audit: what is told of it is what the outcome repeats.
    pub lacks_intent: bool,
    /// How far it can be believed: as far as the less believed of its entries.
    pub seal: Seal,
}

/// What came of an act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActResult {
    /// It was done.
    Done {
        /// When that was written.
        at: DateTime<Utc>,
        /// In the words of who did it.
        message: String,
    },
    /// It was not done.
    Failed {
        /// When that was written.
        at: DateTime<Utc>,
        /// Why not.
        message: String,
    },
    /// Nobody wrote what came of it: it is under way, or whoever did it was cut off.
    NotConcluded,
}

impl ActResult {
    /// The result as a word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
            Self::NotConcluded => "not concluded",
        }
    }

    /// What was written about it, if something was.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Done { message, .. } | Self::Failed { message, .. } => Some(message),
            Self::NotConcluded => None,
        }
    }

    /// When that was written.
    #[must_use]
    pub fn at(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Done { at, .. } | Self::Failed { at, .. } => Some(*at),
            Self::NotConcluded => None,
        }
    }
}

impl AuditRow {
    /// The entries that it was read from.
    pub(super) fn entries(&self) -> impl Iterator<Item = Ulid> {
        self.entries.iter().copied()
    }
}

/// An act of which more may come.
#[derive(Debug, Default)]
struct Open {
    intent: Option<Arc<FoundEntry>>,
    outcome: Option<Arc<FoundEntry>>,
    unreadable: Option<String>,
    entries: Vec<Ulid>,
}

/// Puts entries together that are taken newest first.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    /// By the ids of their intents.
    open: BTreeMap<Ulid, Open>,
    /// Acts from here on were told on earlier pages, if there were such.
    told: Option<Ulid>,
}

impl Joiner {
    /// From now on an act at or above `id` is one that was told before, unless something of it was held over.
    pub(super) fn told_down_to(&mut self, id: Ulid) {
        self.told = Some(id);
    }

    pub(super) fn take(&mut self, (id, entry): (Ulid, Result<Arc<FoundEntry>, String>)) {
        let place = match entry.as_ref().map(|entry| &entry.stage) {
            Ok(AuditStage::Outcome { intent, .. }) if can_follow(id, *intent) => match self.open.get(intent) {
                // A second outcome is told by itself.
                Some(Open { outcome: Some(_), .. }) => id,
                None if self.told.is_some_and(|told| *intent >= told) => return,
                Some(_) | None => *intent,
            },
            Ok(AuditStage::Outcome { .. } | AuditStage::Intent) | Err(_) => id,
        };
        let open = self.open.entry(place).or_default();
        open.entries.push(id);
        match entry {
            Err(why) => open.unreadable = Some(why),
            Ok(entry) if entry.stage == AuditStage::Intent => open.intent = Some(entry),
            Ok(entry) => open.outcome = Some(entry),
        }
    }

    /// The acts of which no more comes once every entry down to `below` was taken, oldest first. Ids of one
    /// millisecond stand in no order, so it takes an older one to tell.
    pub(super) fn ready(&mut self, below: Ulid) -> Vec<AuditRow> {
        let next = Ulid::from_parts(below.timestamp_ms().saturating_add(1), 0);
        told(self.open.split_off(&next))
    }

    /// All that are left, oldest first.
    pub(super) fn finish(&mut self) -> Vec<AuditRow> {
        told(std::mem::take(&mut self.open))
    }

    /// The entries of acts that are not told yet.
    pub(super) fn held(&self) -> impl Iterator<Item = Ulid> {
        self.open.values().flat_map(|open| open.entries.iter().copied())
    }
}

/// Whether an outcome may be of an intent, by their times. One that may not is told by itself: waiting for the intent
/// of last year would hold it over for ever.
fn can_follow(outcome: Ulid, intent: Ulid) -> bool {
    let took = time_of(outcome) - time_of(intent);
    TimeDelta::zero() <= took && took <= LONGEST_ACT
}

fn told(open: BTreeMap<Ulid, Open>) -> Vec<AuditRow> {
    open.into_iter().map(|(id, open)| open.tell(id)).collect()
}

impl Open {
    fn tell(self, id: Ulid) -> AuditRow {
        let Self { intent, outcome, unreadable, entries } = self;
        let result = match outcome.as_deref().map(|outcome| (&outcome.stage, outcome.at)) {
            Some((AuditStage::Outcome { done: true, message, .. }, at)) => {
                ActResult::Done { at, message: message.clone() }
            }
            Some((AuditStage::Outcome { message, .. }, at)) => ActResult::Failed { at, message: message.clone() },
            Some((AuditStage::Intent, _)) | None => ActResult::NotConcluded,
        };
        let lacks_intent = intent.is_none();
        let seal = [&intent, &outcome].into_iter().flatten().map(|entry| entry.seal.clone()).max();
        // What the intent says counts: who finished the act of somebody else wrote its outcome in other words.
        let act = match intent.or(outcome) {
            Some(entry) => Ok(Act {
                actor: entry.actor.clone(),
                source: entry.source.clone(),
                host: entry.host.clone(),
                action: entry.action.clone(),
                object: entry.object.clone(),
                before: entry.before.clone(),
                after: entry.after.clone(),
                reason: entry.reason.clone(),
                result,
                lacks_intent,
                seal: seal.unwrap_or(Seal::Missing),
            }),
            None => Err(unreadable.unwrap_or_default()),
        };
        AuditRow { id, at: time_of(id), act, entries }
    }
}
