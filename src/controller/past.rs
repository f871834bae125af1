//! The history of a cell page by page, newest first: what was wanted, and what came of it on the node.
//!
//! However long the history is, a page costs a bounded number of requests: keys sort as generations count, so the
//! LIST begins where the page ends.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::head::{TRIGGER_BYTES, floor};
use super::history::outcome;
use super::inputs::READS;
use super::{Controller, ControllerError, HistoryEntry};
use crate::model::document::Document as _;
use crate::model::keys::{AttemptId, Folder};
use crate::model::outcome::Outcome;
use crate::model::sign::Verified;
use crate::model::trigger::Trigger;
use crate::model::{CellId, Floor, Generation, ObjectKey};
use crate::store::{Depth, ETag, StoreError};

/// How many attempts of a node at one trigger are looked at, newest first.
const MOST_ATTEMPTS: usize = 20;

/// How many pages of a LIST of a node's logs are read: a node can fill its own folder.
const MOST_LOG_PAGES: usize = 4;

/// How much further back the next look goes where generations were left out.
const WIDER: u64 = 8;

/// A page of the history.
#[derive(Debug, Default)]
pub struct Past {
    /// Triggers, newest first.
    pub triggers: Vec<PastTrigger>,
    /// Where the next page begins, if there are older ones.
    pub older: Option<Floor>,
    /// The node wrote more logs than are read, so that attempts may be missing.
    pub logs_left_out: bool,
}

/// A trigger that was issued, and what came of it.
#[derive(Debug)]
pub struct PastTrigger {
    /// The trigger.
    pub entry: HistoryEntry,
    /// What the node did about it.
    pub attempts: Attempts,
}

/// What a node did about one trigger.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Newest first.
    pub newest: Vec<PastAttempt>,
    /// How many older ones were not looked at.
    pub left_out: usize,
}

/// An attempt of a node, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastAttempt {
    /// Which.
    pub id: AttemptId,
    /// What came of it, or why that cannot be read; None while it is under way.
    pub outcome: Option<Result<Outcome, String>>,
    /// Its log, if there is one.
    pub log: Option<LogFacts>,
}

/// A log of which nothing was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFacts {
    /// In bytes.
    pub size: u64,
    /// When it was written last, by the store's clock.
    pub modified: Option<DateTime<Utc>>,
}

/// What a LIST shows of an attempt.
#[derive(Debug, Default)]
struct Listed {
    outcome: Option<ETag>,
    log: Option<LogFacts>,
}

type ListedAttempts = BTreeMap<Floor, BTreeMap<u32, Listed>>;

impl Controller {
    /// The newest `limit` triggers of a cell below `below`, with what its node did about each.
    ///
    /// # Errors
    /// Why the store did not answer. What is not believed or cannot be read is part of the page.
    pub async fn past(&self, cell: &CellId, below: Option<Floor>, limit: usize) -> Result<Past, ControllerError> {
        let (places, older) = self.newest_places(cell, below, limit).await?;
        let Some((oldest, _)) = places.last().cloned() else { return Ok(Past::default()) };
        let (entries, (mut listed, logs_left_out)) = tokio::try_join!(
            stream::iter(places)
                .map(async |(at, tag)| Ok::<_, ControllerError>((at, self.past_trigger(cell, at, &tag).await?)))
                .buffered(READS)
                .try_collect::<Vec<_>>(),
            self.list_attempts(cell, oldest, below),
        )?;
        // What was deleted between the LIST and the GET is gone.
        let entries =
            entries.into_iter().filter_map(|(at, trigger)| trigger.map(|trigger| HistoryEntry { at, trigger }));
        let entries: Vec<_> = entries.map(|entry| (listed.remove(&entry.at).unwrap_or_default(), entry)).collect();
        let triggers = stream::iter(entries)
            .map(async |(listed, entry)| {
                let attempts = self.read_attempts(cell, entry.at, listed).await?;
                Ok::<_, ControllerError>(PastTrigger { entry, attempts })
            })
            .buffered(READS)
            .try_collect()
            .await?;
        Ok(Past { triggers, older, logs_left_out })
    }

    /// What the node of `cell` did about the trigger at `at`.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn attempts_at(&self, cell: &CellId, at: Floor) -> Result<Attempts, ControllerError> {
        let above = at.generation.next().map(|next| Floor::new(at.epoch, next));
        let (mut listed, _) = self.list_attempts(cell, at, above).await?;
        self.read_attempts(cell, at, listed.remove(&at).unwrap_or_default()).await
    }

    /// Of the newest `limit` triggers below `below` those that are believed, newest first, and where older ones begin.
    pub(super) async fn believed(
        &self,
        cell: &CellId,
        below: Option<Floor>,
        limit: usize,
    ) -> Result<(Vec<Verified<Trigger>>, Option<Floor>), ControllerError> {
        let (places, older) = self.newest_places(cell, below, limit).await?;
        let triggers = stream::iter(places)
            .map(async |(at, tag)| self.past_trigger(cell, at, &tag).await)
            .buffered(READS)
            .try_filter_map(async |found| Ok(found.and_then(Result::ok)))
            .try_collect()
            .await?;
        Ok((triggers, older))
    }

    /// The newest `limit` places of the history below `below`, newest first, and where older ones begin.
    async fn newest_places(
        &self,
        cell: &CellId,
        below: Option<Floor>,
        limit: usize,
    ) -> Result<(Vec<(Floor, ETag)>, Option<Floor>), ControllerError> {
        let mut places = self.more_than(limit, cell, below).await?;
        let surplus = places.len().saturating_sub(limit);
        places.drain(..surplus);
        let older = places.front().filter(|_| surplus > 0).map(|(at, _)| *at);
        Ok((places.into_iter().rev().collect(), older))
    }

    /// The newest places of the history below `below`, in order: one more than `count`, or all that there are.
    async fn more_than(
        &self,
        count: usize,
        cell: &CellId,
        below: Option<Floor>,
    ) -> Result<VecDeque<(Floor, ETag)>, ControllerError> {
        let top = match below {
            Some(below) => Some(below),
            // It may lag, and then a few more are listed.
            None => self.read_trigger(cell).await?.and_then(|(_, trigger)| trigger).as_ref().map(floor),
        };
        // Neither `below` nor the place that a LIST begins behind counts.
        let mut width = count as u64 + 2;
        while let Some(above) = top.and_then(|top| back(top, width)) {
            let places = self.places(cell, Some(above), below, count + 1).await?;
            if places.len() > count {
                return Ok(places);
            }
            width = width.saturating_mul(WIDER);
        }
        self.places(cell, None, below, count + 1).await
    }

    /// The last `most` places between two others, of the epochs whose keys are pinned, in order.
    async fn places(
        &self,
        cell: &CellId,
        above: Option<Floor>,
        below: Option<Floor>,
        most: usize,
    ) -> Result<VecDeque<(Floor, ETag)>, ControllerError> {
        let epochs = self.believed_epochs();
        let mut pages = self.store().list(&Folder::History(cell.clone()), Depth::Deep);
        if let Some(above) = above {
            pages = pages.after(&ObjectKey::History(cell.clone(), above));
        }
        let mut found = VecDeque::with_capacity(most);
        while let Some(page) = pages.next().await? {
            for entry in page.entries {
                let Some(ObjectKey::History(_, at)) = entry.object_key() else { continue };
                if below.is_some_and(|below| at >= below) {
                    return Ok(found);
                }
                if !epochs.contains(&at.epoch) {
                    continue;
                }
                if found.len() == most {
                    found.pop_front();
                }
                found.push_back((at, entry.etag));
            }
        }
        Ok(found)
    }

    /// The entry of the history at `at`, whose tag was listed; the inner error says why it is not believed.
    async fn past_trigger(
        &self,
        cell: &CellId,
        at: Floor,
        listed: &ETag,
    ) -> Result<Option<Result<Verified<Trigger>, ControllerError>>, ControllerError> {
        let key = ObjectKey::History(cell.clone(), at);
        let found = self.look_listed(&key, listed, TRIGGER_BYTES).await;
        match self.believe_found(&key, cell, found) {
            Ok(found) => Ok(found.map(Ok)),
            Err(error @ ControllerError::Untrusted { .. }) => Ok(Some(Err(error))),
            Err(error) => Err(error),
        }
    }

    /// The attempts from the trigger at `from` to below `below`; the flag tells that there are more logs than were
    /// read.
    async fn list_attempts(
        &self,
        cell: &CellId,
        from: Floor,
        below: Option<Floor>,
    ) -> Result<(ListedAttempts, bool), ControllerError> {
        let first = AttemptId { cell: cell.clone(), floor: from, attempt: 0 };
        let mut pages =
            self.store().list(&Folder::CellLogs(cell.clone()), Depth::Deep).after(&ObjectKey::AttemptLog(first));
        let mut found = ListedAttempts::default();
        for _ in 0..MOST_LOG_PAGES {
            let Some(page) = pages.next().await? else { return Ok((found, false)) };
            for entry in page.entries {
                let key = entry.object_key();
                let Some(ObjectKey::AttemptLog(id) | ObjectKey::Outcome(id)) = &key else { continue };
                if below.is_some_and(|below| id.floor >= below) {
                    return Ok((found, false));
                }
                let listed = found.entry(id.floor).or_default().entry(id.attempt).or_default();
                match key {
                    Some(ObjectKey::Outcome(_)) => listed.outcome = Some(entry.etag),
                    _ => listed.log = Some(LogFacts { size: entry.size, modified: entry.last_modified }),
                }
            }
        }
        Ok((found, true))
    }

    async fn read_attempts(
        &self,
        cell: &CellId,
        at: Floor,
        listed: BTreeMap<u32, Listed>,
    ) -> Result<Attempts, ControllerError> {
        let left_out = listed.len().saturating_sub(MOST_ATTEMPTS);
        let newest = stream::iter(listed.into_iter().rev().take(MOST_ATTEMPTS))
            .map(async |(attempt, Listed { outcome, log })| {
                let id = AttemptId { cell: cell.clone(), floor: at, attempt };
                let outcome = match outcome {
                    Some(tag) => self.past_outcome(&id, &tag).await?,
                    None => None,
                };
                Ok::<_, ControllerError>(PastAttempt { id, outcome, log })
            })
            .buffered(READS)
            .try_collect()
            .await?;
        Ok(Attempts { newest, left_out })
    }

    async fn past_outcome(
        &self,
        id: &AttemptId,
        listed: &ETag,
    ) -> Result<Option<Result<Outcome, String>>, ControllerError> {
        let found = self.look_listed(&ObjectKey::Outcome(id.clone()), listed, Outcome::MAX_BYTES).await;
        match found {
            Ok(found) => Ok(found.map(|object| outcome(id, &object.bytes))),
            Err(error @ StoreError::TooLarge { .. }) => Ok(Some(Err(error.to_string()))),
            Err(error) => Err(error.into()),
        }
    }
}

/// The place `width` generations before `at`; None before the first of the epoch.
fn back(at: Floor, width: u64) -> Option<Floor> {
    let generation = at.generation.get().checked_sub(width)?;
    Generation::new(generation).ok().map(|generation| Floor::new(at.epoch, generation))
}
