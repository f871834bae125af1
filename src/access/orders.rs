//! Orders to nodes, which change no version.

use chrono::TimeDelta;
use ulid::Ulid;

use super::{AccessError, Authorized};
use crate::controller::{HoldStanding, Ordered};
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

    /// How far an order about holding has come; see
    /// [`Controller::hold_standing`](crate::controller::Controller::hold_standing).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn hold_standing(&self, to: &Addressee, id: Ulid) -> Result<HoldStanding, AccessError> {
        match to.cell_id() {
            Some(cell) => self.need_on_cell(Role::Viewer, &cell)?,
            None => self.check_node(&to.node)?,
        }
        Ok(self.reading().hold_standing(to, id).await?)
    }

    fn need_on_addressee(&self, role: Role, to: &Addressee) -> Result<(), super::Denied> {
        match to.cell_id() {
            Some(cell) => self.need_on_cell(role, &cell),
            None => self.need_on_node(role, &to.node),
        }
    }
}
