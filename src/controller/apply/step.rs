//! One step of a plan, and what stands on both sides of one that came too late.

use super::{ApplyPlan, ApplyStep, ApplyTarget, StepGuard, StepHow};
use crate::controller::documents::{AppliedHow, Known};
use crate::controller::{AuditCache, AuditRow, Controller, ControllerError, Guard, ObjectFacts, StopRequest};

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// The object has the bytes that were wanted.
    Written(AppliedHow),
    /// It is deleted.
    Deleted,
    /// Its node is told to remove it.
    Removing,
    /// It was refused in the plan already.
    Refused,
}

/// Who came first where a step was refused.
#[derive(Debug)]
pub struct Collision {
    /// What is there now; None if nothing is.
    pub now: Option<ObjectFacts>,
    /// The act that put it there or deleted it, if the audit tells.
    pub by: Option<AuditRow>,
}

impl Controller {
    /// Does one step of a plan. Whoever does them in their order leaves nothing that names what is not there, wherever
    /// they stop.
    ///
    /// # Errors
    /// [`ControllerError::Changed`] or [`ControllerError::Guard`] when the object is not what the plan was made on.
    pub async fn apply_step(&self, plan: &ApplyPlan, step: &ApplyStep) -> Result<Stepped, ControllerError> {
        let request = &plan.request;
        match (&step.how, &step.target) {
            (StepHow::Refused { .. }, _) => Ok(Stepped::Refused),
            (StepHow::Delete | StepHow::Remove, _) => self.prune_step(step).await,
            (StepHow::Unchanged, ApplyTarget::Manifest(_) | ApplyTarget::Override(..)) => {
                Ok(Stepped::Written(AppliedHow::Unchanged))
            }
            // Of a cell that is as it should be the index may not know yet.
            (_, ApplyTarget::Cell(cell)) => {
                let Some(binding) = request.set.cells.get(cell) else { return Ok(Stepped::Refused) };
                let labels = request.set.labels(binding, &plan.others);
                Ok(Stepped::Written(self.write_cell(binding, labels, known(step), "apply").await?.how))
            }
            (_, ApplyTarget::Manifest(name)) => {
                let Some(recipe) = request.set.manifests.get(name) else { return Ok(Stepped::Refused) };
                Ok(Stepped::Written(self.put_text(&step.target.key(), recipe.text(), known(step), "apply").await?.how))
            }
            (_, ApplyTarget::Override(cell, path)) => {
                let file = request.overrides.get(cell).and_then(|files| files.get(path));
                let Some(file) = file else { return Ok(Stepped::Refused) };
                let (key, most_bytes) = (step.target.key(), step.target.most_bytes());
                let bytes = file.read().await?;
                Ok(Stepped::Written(self.replace_text(&key, bytes, known(step), "apply", most_bytes).await?.how))
            }
        }
    }

    async fn prune_step(&self, step: &ApplyStep) -> Result<Stepped, ControllerError> {
        let guard = match step.guard {
            StepGuard::Generation(generation) => Guard { if_generation: Some(generation), expect: None },
            StepGuard::Bytes(_) => Guard::default(),
        };
        match &step.target {
            ApplyTarget::Cell(cell) if step.how == StepHow::Remove => {
                let reason = self.actor().reason.clone();
                let request = StopRequest { cell: cell.clone(), reason };
                return self.remove(&request, false, &guard).await.map(|_| Stepped::Removing);
            }
            ApplyTarget::Cell(cell) => self.delete_cell(cell, &guard).await.map(|_| Stepped::Deleted),
            ApplyTarget::Manifest(name) => self.delete_manifest(name, known(step)).await.map(|_| Stepped::Deleted),
            ApplyTarget::Override(cell, path) => {
                self.remove_override(cell, path, known(step)).await.map(|()| Stepped::Deleted)
            }
        }
    }

    /// What is there instead of what a step was planned on, and whose it is.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn collision(&self, step: &ApplyStep) -> Result<Collision, ControllerError> {
        let key = step.target.key();
        let now = self.facts(&key, step.target.most_bytes()).await?;
        let (modified, sha256) = now.as_ref().map(|facts| (facts.modified, facts.sha256)).unwrap_or_default();
        let by = self.last_act(&AuditCache::default(), &key, modified, sha256).await?;
        Ok(Collision { now, by })
    }
}

fn known(step: &ApplyStep) -> &Known {
    match &step.guard {
        StepGuard::Bytes(known) => known,
        StepGuard::Generation(_) => &Known::Anything,
    }
}
