//! Stopping and removing a cell. Both are allowed while it is paused: pausing keeps new versions away, not safety.

use super::claim::Order;
use super::publish::{Guard, never_published};
use super::{Controller, ControllerError, Published};
use crate::model::CellId;
use crate::model::trigger::{Action, TriggerOptions};

/// How often `stop` claims again after others claimed first.
const STOP_TRIES: usize = 10;

/// What is to be stopped or removed.
#[derive(Debug, Clone)]
pub struct StopRequest {
    /// The cell.
    pub cell: CellId,
    /// Why.
    pub reason: Option<String>,
}

impl Controller {
    /// Stops a cell: its files stay, its service stays down, also across reboots. It is the one command that claims
    /// again by itself when another claim came first.
    ///
    /// # Errors
    /// See [`ControllerError`].
    pub async fn stop(&self, request: &StopRequest, guard: &Guard) -> Result<Published, ControllerError> {
        let mut tries = 1;
        loop {
            match self.halt(request, Action::Stop, TriggerOptions::default(), guard).await {
                Err(ControllerError::Lost { .. }) if tries < STOP_TRIES => tries += 1,
                result => return result,
            }
        }
    }

    /// Stops a cell and removes its files from the node; with `purge_data` its data folder too.
    ///
    /// # Errors
    /// See [`ControllerError`].
    pub async fn remove(
        &self,
        request: &StopRequest,
        purge_data: bool,
        guard: &Guard,
    ) -> Result<Published, ControllerError> {
        let options = TriggerOptions { purge_data, ..TriggerOptions::default() };
        self.halt(request, Action::Remove, options, guard).await
    }

    async fn halt(
        &self,
        request: &StopRequest,
        action: Action,
        options: TriggerOptions,
        guard: &Guard,
    ) -> Result<Published, ControllerError> {
        let cell = &request.cell;
        let head = self.head(cell).await?;
        let Some(newest) = &head.newest else { return Err(never_published(cell)) };
        let verb = if action == Action::Stop { "stop" } else { "remove" };
        let order = Order { verb, action, options, reason: request.reason.clone() };
        if order.is_said_by(newest) {
            return self.settle(&head, newest).await;
        }
        if order.action == Action::Stop && newest.action == Action::Remove {
            let problem = "it is removed, which stops it too; publish it to bring it back";
            return Err(ControllerError::invalid(cell, problem));
        }
        guard.check_generation(cell, &head)?;
        let mut turn = self.take_turn(cell).await?;
        let halted = self.claim(cell, &head, &order, &mut turn).await;
        turn.end().await;
        halted
    }
}
