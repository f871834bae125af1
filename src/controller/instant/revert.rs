//! Going back to an instant: worked out whole before anything is written, then cell by cell, each under the
//! generation that it was worked out for.

use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Chronicle, Scope, answer};
use crate::controller::claim::Order;
use crate::controller::head::{Head, floor};
use crate::controller::inputs::READS;
use crate::controller::{Controller, ControllerError, Guard, Published, StopRequest};
use crate::model::heartbeat::VersionReport;
use crate::model::outcome::{Ending, Outcome};
use crate::model::sign::Verified;
use crate::model::trigger::{Action, Target, Trigger, TriggerOptions};
use crate::model::{CellId, Floor, Sha256Digest};

/// What a revert may do beyond going back to versions and stopping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RevertOptions {
    /// Remove cells to which nothing had been published yet. Without it they stay as they are.
    pub remove_newer: bool,
}

/// What is to be done, worked out whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RevertPlan {
    /// The instant.
    pub time: DateTime<Utc>,
    /// What it takes, cell by cell.
    pub steps: Vec<RevertStep>,
}

impl RevertPlan {
    /// What names exactly this plan: whoever looked at it can say so when it is carried out.
    #[must_use]
    pub fn name(&self) -> String {
        // Its own types are always written.
        Sha256Digest::of(&serde_json::to_vec(self).unwrap_or_default()).to_string()
    }
}

/// What is to be done to a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RevertStep {
    /// The cell.
    pub cell: CellId,
    /// The generation that it is at: 0 = never published.
    pub generation: u64,
    /// What it takes.
    #[serde(flatten)]
    pub revert: Revert,
}

/// What it takes to bring a cell back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "revert", rename_all = "snake_case")]
pub enum Revert {
    /// It is so already.
    Unchanged,
    /// It stays as it is, because it was published only later.
    Newer,
    /// Desire the version that ran.
    Deploy {
        /// Which.
        version: VersionReport,
        /// Its digest as it was signed.
        #[serde(skip)]
        target: Target,
    },
    /// Stop it.
    Stop,
    /// Remove it from its node. Its data stays.
    Remove,
    /// It cannot be brought back.
    Refused {
        /// What never changes.
        code: String,
        /// Why, and what to do.
        why: String,
    },
}

impl Revert {
    /// Whether something is to be written.
    #[must_use]
    pub fn is_change(&self) -> bool {
        matches!(self, Self::Deploy { .. } | Self::Stop | Self::Remove)
    }

    fn refused(code: &str, why: impl Into<String>) -> Self {
        Self::Refused { code: code.to_owned(), why: why.into() }
    }
}

/// What a cell was, as something that can be wished again.
#[derive(Debug, PartialEq, Eq)]
enum Was {
    Nothing,
    Version(Target),
    Stopped,
    Removed,
    Unclear(Revert),
}

impl Controller {
    /// Works out what it takes to bring the cells in `scope` back to what they were at `time`. Nothing is written.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is no such node or cell, or why the store did not answer. What cannot
    /// be brought back is part of the plan.
    pub async fn plan_revert(
        &self,
        scope: &Scope,
        time: DateTime<Utc>,
        options: RevertOptions,
    ) -> Result<Vec<RevertStep>, ControllerError> {
        Ok(self.plan_revert_of(self.cells_in(scope).await?, time, options).await?.steps)
    }

    /// The same for these cells.
    ///
    /// # Errors
    /// Why the store did not answer. What cannot be brought back is part of the plan.
    pub async fn plan_revert_of(
        &self,
        cells: Vec<CellId>,
        time: DateTime<Utc>,
        options: RevertOptions,
    ) -> Result<RevertPlan, ControllerError> {
        let chronicles = self.chronicles_of(cells, Some(time)).await?;
        let steps: Vec<Option<RevertStep>> = stream::iter(chronicles)
            .map(async |chronicle| self.revert_step(chronicle, time, options).await)
            .buffered(READS)
            .try_collect()
            .await?;
        Ok(RevertPlan { time, steps: steps.into_iter().flatten().collect() })
    }

    /// None for a cell to which nothing was ever published.
    async fn revert_step(
        &self,
        chronicle: Chronicle,
        time: DateTime<Utc>,
        options: RevertOptions,
    ) -> Result<Option<RevertStep>, ControllerError> {
        let cell = &chronicle.cell;
        let head = match self.look_at_head(cell).await? {
            Ok(head) => head,
            Err(error) => {
                let revert = Revert::refused(error.code(), error.to_string());
                return Ok(Some(RevertStep { cell: cell.clone(), generation: 0, revert }));
            }
        };
        let Some(newest) = &head.newest else { return Ok(None) };
        let revert = match was(&chronicle, time) {
            Was::Unclear(refused) => refused,
            Was::Nothing if newest.action == Action::Remove => Revert::Unchanged,
            Was::Nothing if options.remove_newer => Revert::Remove,
            Was::Nothing => Revert::Newer,
            Was::Removed if newest.action == Action::Remove => Revert::Unchanged,
            Was::Removed => Revert::Remove,
            Was::Stopped => match &newest.action {
                Action::Stop => Revert::Unchanged,
                Action::Remove => Revert::refused(
                    "removed",
                    format!("it was stopped then and is removed now; `fleetman publish {cell}` brings it back first"),
                ),
                _ => Revert::Stop,
            },
            Was::Version(target) => self.revert_to(cell, &head, target).await?,
        };
        let generation = head.at().map_or(0, |at| at.generation.get());
        Ok(Some(RevertStep { cell: cell.clone(), generation, revert }))
    }

    /// Whether a version can be desired again: it is all there, and nobody has paused the cell.
    async fn revert_to(&self, cell: &CellId, head: &Head, target: Target) -> Result<Revert, ControllerError> {
        let desired = head.newest.as_ref().and_then(|newest| newest.action.target());
        if desired == Some(&target) {
            return Ok(Revert::Unchanged);
        }
        let checked = async {
            head.next(cell, self.epoch())?;
            self.unpaused_binding(cell).await?;
            self.check_pinned(cell, &target).await
        };
        match checked.await {
            Ok(_) => Ok(Revert::Deploy { version: VersionReport::from(&target), target }),
            Err(error @ ControllerError::Store(_)) => Err(error),
            Err(error) => Ok(Revert::refused(error.code(), error.to_string())),
        }
    }

    /// The cells that a plan changes, in the order in which that is done: first what is stopped or removed, those first
    /// that depend on others; then what is deployed, those first that others depend on.
    ///
    /// # Errors
    /// See [`ControllerError`].
    pub async fn revert_order(&self, steps: &[RevertStep]) -> Result<Vec<CellId>, ControllerError> {
        let changes = steps.iter().filter(|step| step.revert.is_change());
        let (deployed, halted): (Vec<_>, Vec<_>) =
            changes.partition(|step| matches!(step.revert, Revert::Deploy { .. }));
        let names = |steps: Vec<&RevertStep>| steps.into_iter().map(|step| step.cell.clone()).collect();
        let mut order = self.in_order_to_stop(names(halted)).await?;
        order.extend(self.in_order(names(deployed)).await?);
        Ok(order)
    }

    /// Does one step of a plan, if the cell is still at the generation that the plan was made for. None where there
    /// was nothing to do.
    ///
    /// # Errors
    /// See [`ControllerError`]; [`ControllerError::Guard`] when the cell was changed meanwhile.
    pub async fn revert(
        &self,
        step: &RevertStep,
        time: DateTime<Utc>,
        reason: Option<&str>,
    ) -> Result<Option<Published>, ControllerError> {
        let cell = &step.cell;
        let guard = Guard { if_generation: Some(step.generation), expect: None };
        let reason = Some(reason_of(time, reason));
        let halt = || StopRequest { cell: cell.clone(), reason: reason.clone() };
        match &step.revert {
            Revert::Unchanged | Revert::Newer | Revert::Refused { .. } => Ok(None),
            Revert::Stop => self.stop(&halt(), &guard).await.map(Some),
            Revert::Remove => self.remove(&halt(), false, &guard).await.map(Some),
            Revert::Deploy { target, .. } => {
                let head = self.head(cell).await?;
                let binding = self.unpaused_binding(cell).await?;
                let (action, options) = (Action::Deploy(target.clone()), TriggerOptions::default());
                let order = Order { verb: "revert", action, options, reason };
                // An interrupted one is brought to its end.
                if let Some(newest) = head.newest.as_ref().filter(|newest| order.is_said_by(newest)) {
                    return self.settle(&head, newest).await.map(Some);
                }
                guard.check_generation(cell, &head)?;
                self.claim_pinned(cell, &head, &order, target, &binding).await.map(Some)
            }
        }
    }
}

/// What the trigger and the audit say of why.
fn reason_of(time: DateTime<Utc>, reason: Option<&str>) -> String {
    let to = format!("back to {}", time.to_rfc3339_opts(SecondsFormat::Secs, true));
    reason.map_or_else(|| to.clone(), |reason| format!("{to}: {reason}"))
}

/// What a cell was. Of versions only one that was wished and ran counts: one that was on its way at that instant does if
/// it arrived later, and where it never did, what ran instead.
fn was(chronicle: &Chronicle, time: DateTime<Utc>) -> Was {
    let trigger = chronicle.trigger_at(time);
    let counts_more = |at: &&Floor| trigger.is_none_or(|trigger| **at > floor(trigger));
    if let Some(at) = chronicle.unbelieved.iter().find(counts_more) {
        let why = format!("generation {at} is not believed and may have counted then; name a version instead");
        return Was::Unclear(Revert::refused("untrusted", why));
    }
    let Some(trigger) = trigger else {
        let why = "its history does not go back so far; name a version with `fleetman rollback --to`";
        return if chronicle.is_cut { Was::Unclear(Revert::refused("history_cut", why)) } else { Was::Nothing };
    };
    match &trigger.action {
        Action::Deploy(target) => ran_of(chronicle, trigger, target, time),
        Action::Stop => Was::Stopped,
        Action::Remove => Was::Removed,
        Action::Unknown(action) => {
            let why = format!("generation {} says {action:?}, which this version does not know", floor(trigger));
            Was::Unclear(Revert::refused("unsupported", why))
        }
    }
}

fn ran_of(chronicle: &Chronicle, trigger: &Verified<Trigger>, target: &Target, time: DateTime<Utc>) -> Was {
    let at = floor(trigger);
    let succeeded = |outcome: &&Outcome| outcome.at == at && outcome.outcome == Ending::Succeeded;
    if chronicle.outcomes.iter().any(|outcome| succeeded(&outcome)) {
        return Was::Version(target.clone());
    }
    let all: Vec<&Outcome> = chronicle.outcomes.iter().collect();
    let instead = matches!(answer(&all, at), super::Answer::Failed { .. }).then(|| chronicle.at(time).ran);
    match instead.as_ref().map(|ran| (ran, ran.version().and_then(|version| chronicle.signed(version)))) {
        Some((super::Ran::Running(_), Some(ran))) if ran != target => Was::Version(ran.clone()),
        Some((super::Ran::Stopped(_), _)) => Was::Stopped,
        _ => Was::Unclear(not_confirmed(&chronicle.cell, at, target)),
    }
}

fn not_confirmed(cell: &CellId, at: Floor, target: &Target) -> Revert {
    let version = &target.version;
    let why = format!(
        "generation {at} wished version {version}, and its node never told that it ran; \
         `fleetman rollback {cell} --to {version}` desires it all the same"
    );
    Revert::refused("not_confirmed", why)
}
