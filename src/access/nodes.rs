//! Nodes as a whole.

use super::{AccessError, Authorized};
use crate::controller::{Deletion, LivenessLimits, NodeState};
use crate::model::NodeName;
use crate::model::users::Role;

impl Authorized {
    /// Everything that is known of a node and of those of its cells that the user may see.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn node_state(&self, node: &NodeName, limits: LivenessLimits) -> Result<NodeState, AccessError> {
        self.check_node(node)?;
        let mut state = self.reading().node_state(node, limits).await?;
        state.cells.retain(|cell| self.sees(&cell.cell));
        Ok(state)
    }

    /// Deletes the heartbeat of a dead node, which takes it off every list. It is about all of the node's cells, so
    /// it needs a grant on all of them.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn delete_heartbeat(&self, node: &NodeName, limits: LivenessLimits) -> Result<Deletion, AccessError> {
        self.need_on_node(Role::Admin, node)?;
        Ok(self.acting().delete_heartbeat(node, limits).await?)
    }
}
