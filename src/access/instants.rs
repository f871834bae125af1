//! Looking at instants, and going back to them. Everybody sees their own cells.

use chrono::{DateTime, Utc};

use super::{AccessError, Authorized, Denied};
use crate::controller::{
    Chronicle, ControllerError, InstantChange, Published, Revert, RevertOptions, RevertPlan, RevertStep, Scope,
};
use crate::model::CellId;
use crate::model::users::Role;

/// A step of a plan, and what came of it.
pub type Reverted = (RevertStep, Result<Option<Published>, ControllerError>);

impl Authorized {
    /// The cells in `scope` that the user may see, by name.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn cells_in(&self, scope: &Scope) -> Result<Vec<CellId>, AccessError> {
        match scope {
            Scope::Fleet => {}
            Scope::Node(node) => self.check_node(node)?,
            Scope::Cell(cell) => self.need_on_cell(Role::Viewer, cell)?,
        }
        let mut cells = self.reading().cells_in(scope).await?;
        cells.retain(|cell| self.sees(cell));
        Ok(cells)
    }

    /// The past of cells, as far back as `oldest` needs.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn chronicles(&self, cells: Vec<CellId>, oldest: DateTime<Utc>) -> Result<Vec<Chronicle>, AccessError> {
        cells.iter().try_for_each(|cell| self.need_on_cell(Role::Viewer, cell))?;
        Ok(self.reading().chronicles_of(cells, Some(oldest)).await?)
    }

    /// Which of these cells changed between two instants.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn changed_between(
        &self,
        cells: Vec<CellId>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<InstantChange>, AccessError> {
        cells.iter().try_for_each(|cell| self.need_on_cell(Role::Viewer, cell))?;
        Ok(self.reading().changed_of(cells, from, to).await?)
    }

    /// What it takes to bring these cells back.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn plan_revert(
        &self,
        cells: Vec<CellId>,
        time: DateTime<Utc>,
        options: RevertOptions,
    ) -> Result<RevertPlan, AccessError> {
        cells.iter().try_for_each(|cell| self.need_on_cell(Role::Viewer, cell))?;
        Ok(self.reading().plan_revert_of(cells, time, options).await?)
    }

    /// Whether the user may do a step, as if they did the same by hand.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_revert(&self, step: &RevertStep) -> Result<(), Denied> {
        match step.revert {
            Revert::Remove => self.need_on_cell(Role::Editor, &step.cell),
            _ => self.need_on_cell(Role::Operator, &step.cell),
        }
    }

    /// Does all of a plan, step by step, also when nobody waits any more: half of it would be neither here nor there.
    /// Who may not do all of it does none of it.
    ///
    /// # Errors
    /// See [`AccessError`]. What came of each step is part of the answer.
    pub async fn revert_all(&self, plan: RevertPlan, reason: Option<String>) -> Result<Vec<Reverted>, AccessError> {
        for step in plan.steps.iter().filter(|step| step.revert.is_change()) {
            self.check_revert(step)?;
        }
        let order = self.reading().revert_order(&plan.steps).await?;
        let (may, time, mut steps) = (self.clone(), plan.time, plan.steps);
        steps.sort_by_key(|step| order.iter().position(|cell| *cell == step.cell).unwrap_or(usize::MAX));
        let done = tokio::spawn(async move {
            let mut done = Vec::new();
            for step in steps {
                let result = may.acting().revert(&step, time, reason.as_deref()).await;
                done.push((step, result));
            }
            done
        });
        // It panics nowhere; whoever ends the process ends this, too.
        Ok(done.await.unwrap_or_default())
    }
}
