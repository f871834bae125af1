//! What was wanted of a cell, and what came of it on the node.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tracing::warn;

use super::inputs::READS;
use super::{Controller, ControllerError};
use crate::model::document::{self, Document as _};
use crate::model::keys::{AttemptId, Folder};
use crate::model::outcome::Outcome;
use crate::model::sign::Verified;
use crate::model::trigger::{Target, Trigger};
use crate::model::{CellId, Floor, ObjectKey};
use crate::store::{Depth, StoreError};

/// How far back a version is looked for.
pub(super) const MOST_ENTRIES: usize = 10_000;

/// A trigger that was issued.
#[derive(Debug)]
pub struct HistoryEntry {
    /// Its place.
    pub at: Floor,
    /// What it says, or why it is not believed.
    pub trigger: Result<Verified<Trigger>, ControllerError>,
}

/// What a node says of an attempt. A claim: nothing in it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeEntry {
    /// Which attempt.
    pub id: AttemptId,
    /// What it says, or why it cannot be read.
    pub outcome: Result<Outcome, String>,
}

impl Controller {
    /// The newest `limit` triggers of a cell, newest first.
    ///
    /// # Errors
    /// Why the store did not answer. An entry that is not believed is no error.
    pub async fn history(&self, cell: &CellId, limit: usize) -> Result<Vec<HistoryEntry>, ControllerError> {
        let mut places = self.history_keys(cell, None).await?;
        places.reverse();
        let entries = stream::iter(places.into_iter().take(limit))
            .map(async |at| match self.history_entry(cell, at).await {
                Ok(Some(trigger)) => Ok(Some(HistoryEntry { at, trigger: Ok(trigger) })),
                Ok(None) => Ok(None),
                Err(error @ ControllerError::Untrusted { .. }) => Ok(Some(HistoryEntry { at, trigger: Err(error) })),
                Err(error) => Err(error),
            })
            .buffered(READS);
        let entries: Vec<Option<HistoryEntry>> = entries.try_collect().await?;
        Ok(entries.into_iter().flatten().collect())
    }

    /// The newest `limit` attempts of a cell, newest first.
    ///
    /// # Errors
    /// Why the store did not answer. An outcome that cannot be read is no error.
    pub async fn outcomes(&self, cell: &CellId, limit: usize) -> Result<Vec<OutcomeEntry>, ControllerError> {
        let ids = self.attempts(cell).await?;
        let entries = stream::iter(ids.into_iter().take(limit))
            .map(async |id| {
                let outcome = self.read_outcome(&id).await?;
                Ok::<_, ControllerError>(outcome.map(|outcome| OutcomeEntry { id, outcome }))
            })
            .buffered(READS);
        let entries: Vec<Option<OutcomeEntry>> = entries.try_collect().await?;
        Ok(entries.into_iter().flatten().collect())
    }

    /// The attempts that have an outcome, newest first.
    pub(super) async fn attempts(&self, cell: &CellId) -> Result<Vec<AttemptId>, ControllerError> {
        let mut pages = self.store().list(&Folder::CellLogs(cell.clone()), Depth::Deep);
        let mut ids = Vec::new();
        while let Some(page) = pages.next().await? {
            ids.extend(page.entries.iter().filter_map(|entry| match entry.object_key() {
                Some(ObjectKey::Outcome(id)) => Some(id),
                _ => None,
            }));
        }
        ids.sort_by_key(|id| std::cmp::Reverse((id.floor, id.attempt)));
        Ok(ids)
    }

    /// The outcome of an attempt; the inner error says why it cannot be read.
    pub(super) async fn read_outcome(
        &self,
        id: &AttemptId,
    ) -> Result<Option<Result<Outcome, String>>, ControllerError> {
        let object = match self.store().find(&ObjectKey::Outcome(id.clone()), Outcome::MAX_BYTES).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(None),
            Err(error @ StoreError::TooLarge { .. }) => return Ok(Some(Err(error.to_string()))),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(outcome(id, &object.bytes)))
    }

    /// The newest version in verified history for which `is_wanted` holds.
    pub(super) async fn newest_target(
        &self,
        cell: &CellId,
        is_wanted: impl Fn(&Target) -> bool,
    ) -> Result<Option<Target>, ControllerError> {
        self.target_below(cell, None, MOST_ENTRIES, is_wanted).await
    }

    /// The same among the newest `limit` entries below `below`. Entries that are not believed are passed over.
    pub(super) async fn target_below(
        &self,
        cell: &CellId,
        below: Option<Floor>,
        limit: usize,
        is_wanted: impl Fn(&Target) -> bool,
    ) -> Result<Option<Target>, ControllerError> {
        let places = self.history_keys(cell, None).await?;
        let places = places.into_iter().rev().filter(|at| below.is_none_or(|below| *at < below)).take(limit);
        let mut entries = stream::iter(places).map(async |at| self.history_entry(cell, at).await).buffered(READS);
        while let Some(entry) = entries.next().await {
            match entry {
                Ok(Some(trigger)) => {
                    if let Some(target) = trigger.action.target().filter(|target| is_wanted(target)) {
                        return Ok(Some(target.clone()));
                    }
                }
                Ok(None) => {}
                Err(error @ ControllerError::Untrusted { .. }) => {
                    warn!(%cell, error = &error as &dyn std::error::Error, "passed over");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Reads the outcome of an attempt, or says why it cannot be read.
pub(super) fn outcome(id: &AttemptId, bytes: &[u8]) -> Result<Outcome, String> {
    match document::parse::<Outcome>(bytes) {
        Ok(outcome) if outcome.node == id.cell.node && outcome.cell == id.cell.cell && outcome.at == id.floor => {
            Ok(outcome)
        }
        Ok(outcome) => Err(format!("it is about {}/{} generation {}", outcome.node, outcome.cell, outcome.at)),
        Err(error) => Err(error.to_string()),
    }
}
