//! Orders to nodes, which change no version.

use chrono::TimeDelta;

use super::{AccessError, Authorized};
use crate::controller::Ordered;
use crate::model::order::Addressee;
use crate::model::users::Role;

impl Authorized {
    /// Keeps a node's agent from changing anything about a cell, or about all of them. That takes a grant on all of them.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn hold(&self, to: &Addressee, lasts: TimeDelta, reason: &str) -> Result<Ordered, AccessError> {
        self.need_on_addressee(Role::Operator, to)?;
        Ok(self.acting().hold(to, lasts, reason).await?)
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn release(&self, to: &Addressee, reason: Option<&str>) -> Result<Ordered, AccessError> {
        self.need_on_addressee(Role::Operator, to)?;
        Ok(self.acting().release(to, reason).await?)
    }

    fn need_on_addressee(&self, role: Role, to: &Addressee) -> Result<(), super::Denied> {
        match to.cell_id() {
            Some(cell) => self.need_on_cell(role, &cell),
            None => self.need_on_node(role, &to.node),
        }
    }
}
