//! What a node wrote about an attempt that failed, for whoever waited for it.

use std::time::Duration;

use super::{Controller, ControllerError, LogPlace};
use crate::model::keys::AttemptId;
use crate::model::{CellId, Floor};
use crate::store::StoreError;

/// Between two looks for what the node wrote.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The end of an attempt, as the node tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastLines {
    /// Which attempt.
    pub attempt: AttemptId,
    /// The last lines of its log. Anything may stand in them.
    pub lines: Vec<String>,
    /// Whether there are lines before them.
    pub has_more: bool,
}

impl Controller {
    /// The last lines of the newest attempt at the trigger at `at` that has ended. A node writes its heartbeat first
    /// and its log a little later: that is waited for, up to `patience`.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn last_lines(
        &self,
        cell: &CellId,
        at: Floor,
        most: usize,
        patience: Duration,
    ) -> Result<Option<LastLines>, ControllerError> {
        let began = self.clock.monotonic();
        loop {
            if let Some(found) = self.find_last_lines(cell, at, most).await? {
                return Ok(Some(found));
            }
            if self.clock.monotonic().saturating_sub(began) >= patience {
                return Ok(None);
            }
            self.clock.sleep(LOOK_AGAIN).await;
        }
    }

    async fn find_last_lines(
        &self,
        cell: &CellId,
        at: Floor,
        most: usize,
    ) -> Result<Option<LastLines>, ControllerError> {
        // Only the outcome tells that the log is whole.
        let attempts = self.attempts_at(cell, at).await?;
        let Some(attempt) = attempts.newest.into_iter().find(|attempt| attempt.outcome.is_some()) else {
            return Ok(None);
        };
        let mut piece = match self.attempt_log(&attempt.id, LogPlace::End).await {
            Ok(piece) => piece,
            Err(ControllerError::NotFound { .. }) => return Ok(None),
            // It was replaced while it was read; what comes next is looked at instead.
            Err(error) if matches!(error.of_store(), Some(StoreError::NotFound { .. })) => return Ok(None),
            Err(error) => return Err(error),
        };
        let left_out = piece.lines.len().saturating_sub(most);
        let has_more = left_out > 0 || piece.start > 0;
        Ok(Some(LastLines { attempt: attempt.id, lines: piece.lines.split_off(left_out), has_more }))
    }
}
