//! Reading the past of cells: only as far back as an instant needs.

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Chronicle, Scope};
use crate::controller::history::MOST_ENTRIES;
use crate::controller::inputs::READS;
use crate::controller::{Controller, ControllerError};
use crate::model::keys::Folder;
use crate::model::outcome::{Ending, Outcome};
use crate::model::{CellId, CellName};

/// How many cells are read at once; of each, that many documents.
const CELLS: usize = 4;

impl Controller {
    /// The past of the cells in `scope`, by name, as far back as `oldest` needs; without it, all of it.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is no such node or cell, or why the store did not answer.
    pub async fn chronicles(
        &self,
        scope: &Scope,
        oldest: Option<DateTime<Utc>>,
    ) -> Result<Vec<Chronicle>, ControllerError> {
        self.chronicles_of(self.cells_in(scope).await?, oldest).await
    }

    /// The past of these cells, by name.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn chronicles_of(
        &self,
        mut cells: Vec<CellId>,
        oldest: Option<DateTime<Utc>>,
    ) -> Result<Vec<Chronicle>, ControllerError> {
        cells.sort();
        stream::iter(cells).map(async |cell| self.chronicle(&cell, oldest).await).buffered(CELLS).try_collect().await
    }

    /// The cells in `scope`, also those of which only the past is left.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is no such node or cell, or why the store did not answer.
    pub async fn cells_in(&self, scope: &Scope) -> Result<Vec<CellId>, ControllerError> {
        let cells = match scope {
            Scope::Fleet => return self.cell_ids().await,
            Scope::Cell(cell) => {
                let folders = self.folders(&Folder::Cell(cell.clone())).await?;
                if folders.is_empty() && self.read_trigger(cell).await?.is_none() {
                    Vec::new()
                } else {
                    vec![cell.clone()]
                }
            }
            Scope::Node(node) => {
                let names = self.folders(&Folder::NodeCells(node.clone())).await?;
                let names = names.into_iter().filter_map(|name| CellName::new(name).ok());
                names.map(|name| CellId::new(node.clone(), name)).collect()
            }
        };
        if cells.is_empty() {
            let help = "nothing was ever published to it; `fleetman get cells` shows which cells there are";
            return Err(ControllerError::not_found(scope, help));
        }
        Ok(cells)
    }

    /// The past of one cell, as far back as `oldest` needs; without it, all of it.
    ///
    /// # Errors
    /// Why the store did not answer. What is not believed, or cannot be read, is part of the past.
    pub async fn chronicle(&self, cell: &CellId, oldest: Option<DateTime<Utc>>) -> Result<Chronicle, ControllerError> {
        let (triggers, outcomes) =
            tokio::try_join!(self.read_triggers(cell, oldest), self.read_outcomes(cell, oldest))?;
        let found = Chronicle { outcomes, ..triggers };
        // A node may have gone back to what was wished long before.
        let is_strange =
            |outcome: &Outcome| outcome.running_after.as_ref().is_some_and(|it| found.signed(it).is_none());
        if oldest.is_none() || !found.outcomes.iter().any(is_strange) {
            return Ok(found);
        }
        let triggers = self.read_triggers(cell, None).await?;
        Ok(Chronicle { outcomes: found.outcomes, ..triggers })
    }

    async fn read_triggers(&self, cell: &CellId, oldest: Option<DateTime<Utc>>) -> Result<Chronicle, ControllerError> {
        let places = self.history_keys(cell, None).await?;
        let is_first = Chronicle::begins_at_first(places.first().copied()) && places.len() <= MOST_ENTRIES;
        let (triggers, unbelieved, outcomes) = (Vec::new(), Vec::new(), Vec::new());
        let mut found = Chronicle { cell: cell.clone(), triggers, is_cut: !is_first, unbelieved, outcomes };
        let newest_first = places.into_iter().rev().take(MOST_ENTRIES);
        let mut entries =
            stream::iter(newest_first).map(async |at| (at, self.history_entry(cell, at).await)).buffered(READS);
        let mut is_enough = false;
        while let Some((at, entry)) = entries.next().await {
            match entry {
                Ok(Some(trigger)) => {
                    let issued_at = trigger.issued_at;
                    found.triggers.push(trigger);
                    // One more than counted is read, to see whether the times agree with the order.
                    if is_enough {
                        found.is_cut = true;
                        break;
                    }
                    is_enough = oldest.is_some_and(|oldest| issued_at <= oldest);
                }
                Ok(None) => {}
                Err(ControllerError::Untrusted { .. }) => found.unbelieved.push(at),
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    async fn read_outcomes(
        &self,
        cell: &CellId,
        oldest: Option<DateTime<Utc>>,
    ) -> Result<Vec<Outcome>, ControllerError> {
        let ids = self.attempts(cell).await?;
        let mut entries = stream::iter(ids.into_iter().take(MOST_ENTRIES))
            .map(async |id| self.read_outcome(&id).await)
            .buffered(READS);
        let mut found = Vec::new();
        while let Some(entry) = entries.next().await {
            // What cannot be read tells nothing, as if it were not there: the instant is not confirmed.
            let Some(Ok(outcome)) = entry? else { continue };
            let is_enough = oldest.is_some_and(|oldest| outcome.ended_at <= oldest)
                && matches!(outcome.outcome, Ending::Succeeded | Ending::RolledBack);
            found.push(outcome);
            if is_enough {
                break;
            }
        }
        Ok(found)
    }
}
