//! Claiming the next generation: the moment at which a change of mind counts (protocol.md, "Publishing, in order", 4
//! and 5).
//!
//! The history entry commits. Before it there is an intent in the audit, after it come the copies and the outcome;
//! whoever finds an entry without these may [finish](Controller::finish) it.

use chrono::TimeDelta;
use tracing::{info, warn};

use super::error::Claim;
use super::head::{Head, floor};
use super::turns::Turn;
use super::{Controller, ControllerError};
use crate::model::sign::{Verified, sign};
use crate::model::trigger::{Action, Target, Trigger, TriggerOptions};
use crate::model::{CellId, Floor, ObjectKey};
use crate::store::StoreError;

/// For so long the same command is taken to be the one that was interrupted before its outcome was written.
const OUTCOME_DUE: TimeDelta = TimeDelta::hours(24);

/// What came of a publish, redeploy, rollback, stop or remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The cell.
    pub cell: CellId,
    /// The trigger that counts now.
    pub at: Floor,
    /// What it asks for: `deploy`, `stop`, `remove`.
    pub action: String,
    /// The version, if one is to run.
    pub target: Option<Target>,
    /// How it came to be.
    pub how: PublishedHow,
    /// What should be looked at, although it is published.
    pub warnings: Vec<Warning>,
}

/// How the trigger that counts came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublishedHow {
    /// This call claimed it.
    Claimed,
    /// It was claimed before, and this call brought it to its end.
    Finished,
    /// It was there before, whole.
    Unchanged,
}

/// What should be looked at, although nothing failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// A heartbeat claims a generation far above every signed one; it was not believed.
    FloorImplausible {
        /// What it claims.
        claimed: Floor,
    },
    /// It is published, but the audit has no outcome of it.
    OutcomeNotRecorded {
        /// Why.
        problem: String,
    },
    /// It requires a cell that nobody wishes to run.
    DependencyMissing {
        /// Which.
        cell: CellId,
        /// Why nothing of it runs, in words.
        how: &'static str,
    },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FloorImplausible { claimed } => {
                write!(f, "the node claims generation {claimed}, far above every signed one; it was not believed")
            }
            Self::OutcomeNotRecorded { problem } => {
                write!(f, "it is published, but the audit has no outcome of it: {problem}")
            }
            Self::DependencyMissing { cell, how } => {
                write!(f, "it requires {cell}, which {how}: its node waits with it until that runs")
            }
        }
    }
}

/// What is to be claimed.
#[derive(Debug, Clone)]
pub(super) struct Order {
    /// The verb, as the audit has it.
    pub(super) verb: &'static str,
    pub(super) action: Action,
    pub(super) options: TriggerOptions,
    pub(super) reason: Option<String>,
}

impl Order {
    /// Whether a trigger asks for exactly this.
    pub(super) fn is_said_by(&self, trigger: &Trigger) -> bool {
        trigger.action == self.action && trigger.options == self.options
    }
}

impl Controller {
    /// Claims the generation after `head` for `order`, which is what makes it count, and copies it to where agents
    /// look.
    ///
    /// # Errors
    /// [`ControllerError::Lost`] when somebody claimed it first; [`ControllerError::Unfinished`] when it counts, but
    /// the copies could not be made.
    pub(super) async fn claim(
        &self,
        cell: &CellId,
        head: &Head,
        order: &Order,
        turn: &mut Turn<'_>,
    ) -> Result<Published, ControllerError> {
        let next = head.next(cell, self.epoch())?;
        let trigger = Trigger {
            requires: order.options.names(),
            fleet: self.fleet(),
            node: cell.node.clone(),
            cell: cell.cell.clone(),
            generation: next.at.generation,
            action: order.action.clone(),
            options: order.options,
            issued_at: self.now(),
            issued_by: self.actor().user.clone(),
            reason: order.reason.clone().or_else(|| self.actor().reason.clone()),
        };
        let entry = sign(&trigger, &self.settings.signer)
            .map_err(|source| ControllerError::Sign { what: format!("{cell} generation {}", next.at), source })?;
        let before = head.newest.as_ref().map(|trigger| Claim::from(trigger).to_string());
        self.intend_claim(&entry, order.verb, before).await?;
        turn.keep().await?;

        let key = ObjectKey::History(cell.clone(), next.at);
        let created = self.writer().await?.create(&key, entry.document().to_vec().into()).await;
        match created {
            Ok(_) => {}
            Err(StoreError::Conflict { .. }) => {
                let lost = self.who_won(cell, next.at).await;
                if let Err(error) = self.conclude_claim(&entry, false, lost.to_string()).await {
                    warn!(%cell, %error, "that the claim was lost could not be recorded");
                }
                return Err(lost);
            }
            Err(error) => return Err(error.into()),
        }
        info!(%cell, at = %next.at, action = order.action.name(), by = %trigger.issued_by, "claimed");
        let implausible = next.implausible.map(|claimed| Warning::FloorImplausible { claimed });
        let mut published = self.finish(&entry, PublishedHow::Claimed).await?;
        published.warnings.extend(implausible);
        Ok(published)
    }

    /// Why the claim of `at` failed.
    async fn who_won(&self, cell: &CellId, at: Floor) -> ControllerError {
        match self.history_entry(cell, at).await {
            Ok(Some(winner)) => ControllerError::Lost { cell: cell.clone(), winner: Box::new(Claim::from(&winner)) },
            Ok(None) => ControllerError::Changed { what: ObjectKey::History(cell.clone(), at).to_string() },
            Err(error) => error,
        }
    }

    /// Brings a claimed trigger to its end: the copies, then the outcome.
    ///
    /// # Errors
    /// [`ControllerError::Unfinished`] when the copies could not be made.
    pub(super) async fn finish(
        &self,
        entry: &Verified<Trigger>,
        how: PublishedHow,
    ) -> Result<Published, ControllerError> {
        let cell = entry.cell_id();
        if let Err(source) = self.spread(entry).await {
            return Err(ControllerError::Unfinished { cell, at: floor(entry), source: Box::new(source) });
        }
        let mut published = Published::of(entry, how);
        if let Err(error) = self.conclude_claim(entry, true, "published".to_owned()).await {
            warn!(%cell, %error, "published, but the outcome could not be recorded");
            published.warnings.push(Warning::OutcomeNotRecorded { problem: error.to_string() });
        }
        Ok(published)
    }

    /// Whether a cell's newest trigger was brought to its end. A missing outcome tells of a crash only for a while:
    /// the audit may be kept for less long than the history.
    pub(super) async fn is_finished(&self, head: &Head) -> Result<bool, ControllerError> {
        match &head.newest {
            Some(_) if head.lags() => Ok(false),
            Some(entry) if self.now() - entry.issued_at < OUTCOME_DUE => self.is_concluded(entry).await,
            _ => Ok(true),
        }
    }

    /// The newest trigger says already what is wanted: brings it to its end if it is not there.
    pub(super) async fn settle(&self, head: &Head, entry: &Verified<Trigger>) -> Result<Published, ControllerError> {
        if self.is_finished(head).await? {
            return Ok(Published::of(entry, PublishedHow::Unchanged));
        }
        // A copy in the index has lost the white space around it, so copies are made from the history.
        let cell = entry.cell_id();
        let whole = match self.history_entry(&cell, floor(entry)).await {
            Ok(found) => found.filter(|found| found.signed_sha256() == entry.signed_sha256()),
            Err(ControllerError::Untrusted { .. }) => None,
            Err(error) => return Err(error),
        };
        let turn = self.take_turn(&cell).await?;
        let finished = self.finish(whole.as_ref().unwrap_or(entry), PublishedHow::Finished).await;
        turn.end().await;
        finished
    }
}

impl Published {
    fn of(entry: &Verified<Trigger>, how: PublishedHow) -> Self {
        Self {
            cell: entry.cell_id(),
            at: floor(entry),
            action: entry.action.name().to_owned(),
            target: entry.action.target().cloned(),
            how,
            warnings: Vec::new(),
        }
    }
}
