//! Looking at the fleet: everybody sees their cells, and the nodes that have or could have one.

use std::sync::Arc;

use super::{AccessError, Authorized, Denied};
use crate::controller::{CellView, FleetView, Followed, LivenessLimits, Sight};
use crate::model::heartbeat::CellReport;
use crate::model::users::Role;
use crate::model::{CellId, Floor, NodeName};

impl Authorized {
    /// Whether the user may see `cell`.
    #[must_use]
    pub fn sees(&self, cell: &CellId) -> bool {
        self.identity.may(Role::Viewer, cell)
    }

    /// What the user may see of `fleet`. For those who may see everything it is `fleet` itself.
    #[must_use]
    pub fn fleet(&self, fleet: &Arc<FleetView>) -> Arc<FleetView> {
        if self.identity.may_everywhere(Role::Viewer) {
            return fleet.clone();
        }
        let sight = |node: &NodeName| match self.identity.may_on_node(Role::Viewer, node) {
            true => Sight::Whole,
            false if self.identity.sees_node(node) => Sight::Part,
            false => Sight::Nothing,
        };
        Arc::new(fleet.narrowed(sight, |cell| self.sees(cell)))
    }

    /// Refuses a cell that the user may not see.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_cell(&self, cell: &CellId) -> Result<(), Denied> {
        self.need_on_cell(Role::Viewer, cell)
    }

    /// Refuses a node that the user does not know of.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_node(&self, node: &NodeName) -> Result<(), Denied> {
        if self.identity.sees_node(node) {
            return Ok(());
        }
        Err(self.denied(Role::Viewer, format!("node {node}")))
    }

    /// One cell as its history and its node's heartbeat tell of it, and whether its newest trigger was brought to its
    /// end.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn cell_status(&self, cell: &CellId, limits: LivenessLimits) -> Result<(CellView, bool), AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().cell_status(cell, limits).await?)
    }

    /// Waits until the node of `cell` is done with the trigger at `at`; see
    /// [`Controller::follow`](crate::controller::Controller::follow).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn follow(
        &self,
        cell: &CellId,
        at: Floor,
        patience: Option<std::time::Duration>,
        tell: impl FnMut(&CellReport),
    ) -> Result<Followed, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().follow(cell, at, patience, tell).await?)
    }
}
