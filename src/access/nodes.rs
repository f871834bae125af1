//! Nodes as a whole.

use super::{AccessError, Authorized};
use crate::controller::{Deletion, Known, LivenessLimits, ObjectFacts};
use crate::model::NodeName;
use crate::model::users::Role;

impl Authorized {
    /// What the heartbeat of a node is, without what it says.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn heartbeat_facts(&self, node: &NodeName) -> Result<Option<ObjectFacts>, AccessError> {
        self.check_node(node)?;
        Ok(self.reading().heartbeat_facts(node).await?)
    }

    /// Deletes the heartbeat of a dead node, which takes it off every list. It is about all of the node's cells, so
    /// it needs a grant on all of them.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn delete_heartbeat(
        &self,
        node: &NodeName,
        limits: LivenessLimits,
        known: &Known,
    ) -> Result<Deletion, AccessError> {
        self.need_on_node(Role::Admin, node)?;
        Ok(self.acting().delete_heartbeat(node, limits, known).await?)
    }
}
