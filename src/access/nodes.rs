//! Nodes as a whole.

use super::{AccessError, Authorized};
use crate::controller::{Deletion, LivenessLimits};
use crate::model::NodeName;
use crate::model::users::Role;

impl Authorized {
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
