//! The head of a cell: the highest (epoch, generation) that anybody verified, and the one that comes next.

use std::collections::BTreeSet;

use tracing::warn;

use super::{Controller, ControllerError};
use crate::model::document::Document as _;
use crate::model::heartbeat::Heartbeat;
use crate::model::index::Index;
use crate::model::keys::Folder;
use crate::model::sign::{SignError, Trust, Verified, verify};
use crate::model::trigger::{Action, Trigger};
use crate::model::{CellId, Epoch, Floor, Generation, ObjectKey, document};
use crate::store::{Depth, ETag, Object, StoreError};

/// A heartbeat that claims a generation so far above the highest verified one is not believed: it would use up
/// generations that cannot be won back.
const PLAUSIBLE_GENERATIONS: u64 = 1_000;

/// How many entries of the history that cannot be believed are passed over, newest first.
const UNBELIEVED: usize = 32;

/// The most bytes of a signed trigger, envelope and all.
pub(super) const TRIGGER_BYTES: u64 = Trigger::MAX_BYTES + (4 << 10);

/// Where a cell stands.
#[derive(Debug)]
pub(super) struct Head {
    /// The highest verified trigger, wherever it stood.
    pub(super) newest: Option<Verified<Trigger>>,
    /// The place of what lies at `trigger.json`, if that is believed.
    pub(super) copied: Option<Floor>,
    /// The place of what stands in the index, likewise.
    pub(super) indexed: Option<Floor>,
    /// What the next claim is to be.
    pub(super) next: Result<Next, NoNext>,
}

/// The claim that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    /// Its place.
    pub(super) at: Floor,
    /// What the heartbeat claims and is not believed.
    pub(super) implausible: Option<Floor>,
}

/// Why there is no next claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoNext {
    /// A key of this higher epoch signed before.
    Outranked(Epoch),
    /// The epoch's generations are used up.
    Exhausted,
}

impl Head {
    /// The place of the newest trigger.
    pub(super) fn at(&self) -> Option<Floor> {
        self.newest.as_ref().map(floor)
    }

    /// Whether a copy of the newest trigger is missing. A removal needs no place in the index, from which the cells of a
    /// node that was taken out of the fleet are gone; an older trigger that stands there is one that lags.
    pub(super) fn lags(&self) -> bool {
        let at = self.at();
        let is_cleared = self.indexed.is_none() && self.is_removed();
        self.copied < at || (self.indexed < at && !is_cleared)
    }

    /// Whether the newest trigger says to remove the cell.
    pub(super) fn is_removed(&self) -> bool {
        self.newest.as_ref().is_some_and(|newest| newest.action == Action::Remove)
    }

    /// The place of the next claim.
    ///
    /// # Errors
    /// When this controller's key cannot make one.
    pub(super) fn next(&self, cell: &CellId, epoch: Epoch) -> Result<Next, ControllerError> {
        self.next.map_err(|why| match why {
            NoNext::Outranked(theirs) => ControllerError::Outranked { cell: cell.clone(), ours: epoch, theirs },
            NoNext::Exhausted => ControllerError::Exhausted { cell: cell.clone(), epoch },
        })
    }
}

/// The place of a verified trigger.
pub(super) fn floor(trigger: &Verified<Trigger>) -> Floor {
    Floor::new(trigger.epoch(), trigger.generation)
}

/// One above the highest of what was verified and what a heartbeat plausibly claims; a new epoch starts at 1
/// (protocol.md, "Publishing, in order", 4).
fn next(epoch: Epoch, verified: Option<Floor>, claimed: Option<Floor>) -> Result<Next, NoNext> {
    if let Some(higher) = verified.filter(|verified| verified.epoch > epoch) {
        return Err(NoNext::Outranked(higher.epoch));
    }
    let of_epoch =
        |floor: Option<Floor>| floor.filter(|floor| floor.epoch == epoch).map_or(0, |at| at.generation.get());
    let (verified, reached) = (of_epoch(verified), of_epoch(claimed));
    let is_implausible = claimed.is_some_and(|claimed| claimed.epoch > epoch)
        || reached > verified.saturating_add(PLAUSIBLE_GENERATIONS);
    let highest = if is_implausible { verified } else { verified.max(reached) };
    let generation = Generation::new(highest + 1).map_err(|_| NoNext::Exhausted)?;
    Ok(Next { at: Floor::new(epoch, generation), implausible: claimed.filter(|_| is_implausible) })
}

impl Controller {
    /// Reads where `cell` stands.
    pub(super) async fn head(&self, cell: &CellId) -> Result<Head, ControllerError> {
        let (trigger, index, claimed) =
            tokio::try_join!(self.read_trigger(cell), self.read_index(cell), self.claimed(cell))?;
        let trigger = trigger.and_then(|(_, trigger)| trigger);
        let (copied, indexed) = (trigger.as_ref().map(floor), index.as_ref().map(floor));
        let highest = [trigger, index].into_iter().flatten().max_by_key(floor);
        let above = self.newest_history(cell, highest.as_ref().map(floor)).await?;
        let newest = above.or(highest);
        let next = next(self.epoch(), newest.as_ref().map(floor), claimed);
        if let Ok(Next { implausible: Some(claimed), .. }) = next {
            let code = crate::model::Code::FloorImplausible;
            warn!(%cell, %claimed, %code, "the node claims a generation far above every signed one; it is not believed");
        }
        Ok(Head { newest, copied, indexed, next })
    }

    /// Where `cell` stands, for who only looks. The inner error says why nothing that was asked of it is believed: that
    /// is something to see, and keeps nobody from the rest.
    pub(super) async fn look_at_head(&self, cell: &CellId) -> Result<Result<Head, ControllerError>, ControllerError> {
        match self.head(cell).await {
            Err(error @ ControllerError::Untrusted { .. }) => Ok(Err(error)),
            found => found.map(Ok),
        }
    }

    /// Takes bytes for a trigger of `cell` if they are one that is believed.
    ///
    /// # Errors
    /// [`ControllerError::Untrusted`] if they are not.
    pub(super) fn believe(
        &self,
        key: &ObjectKey,
        cell: &CellId,
        bytes: &[u8],
    ) -> Result<Verified<Trigger>, ControllerError> {
        let untrusted = |problem: &str, source: Option<SignError>| {
            let (key, problem) = (key.to_string(), problem.to_owned());
            ControllerError::Untrusted { key, problem, source: source.map(Box::new) }
        };
        let trigger = verify::<Trigger>(bytes, &self.settings.trust).map_err(|error| untrusted("", Some(error)))?;
        if trigger.fleet != self.fleet() || trigger.cell_id() != *cell {
            let problem = format!(": it is about {} of fleet {}", trigger.cell_id(), trigger.fleet);
            return Err(untrusted(&problem, None));
        }
        if let ObjectKey::History(_, at) = key
            && *at != floor(&trigger)
        {
            return Err(untrusted(&format!(": it is generation {}", floor(&trigger)), None));
        }
        Ok(trigger)
    }

    pub(super) async fn read_trigger(
        &self,
        cell: &CellId,
    ) -> Result<Option<(ETag, Option<Verified<Trigger>>)>, ControllerError> {
        let key = ObjectKey::Trigger(cell.clone());
        let found = match self.store().find(&key, TRIGGER_BYTES).await {
            Ok(found) => found,
            // It cannot be one of ours; only its tag is wanted, to put a right one in its place.
            Err(StoreError::TooLarge { .. }) => {
                return Ok(self.store().head(&key).await?.map(|meta| (meta.etag, None)));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(found.map(|object| {
            let trigger = self.believe(&key, cell, &object.bytes);
            (object.etag, trigger.map_err(|error| warn!(%cell, error = &error as &dyn std::error::Error)).ok())
        }))
    }

    async fn read_index(&self, cell: &CellId) -> Result<Option<Verified<Trigger>>, ControllerError> {
        let key = ObjectKey::Index(cell.node.clone());
        let Some(object) = self.store().find(&key, Index::MAX_BYTES).await? else { return Ok(None) };
        let index = match document::parse::<Index>(&object.bytes) {
            Ok(index) => index,
            Err(error) => {
                warn!(%key, %error, "an index that cannot be read is passed over");
                return Ok(None);
            }
        };
        let entry = index.entry(&cell.cell);
        let Some(bytes) = entry.as_ref().and_then(|entry| entry.trigger_bytes()) else { return Ok(None) };
        Ok(self.believe(&key, cell, bytes).map_err(|error| warn!(%cell, error = &error as &dyn std::error::Error)).ok())
    }

    /// What the node says it has seen. A claim.
    async fn claimed(&self, cell: &CellId) -> Result<Option<Floor>, ControllerError> {
        let beat = match self.find_document::<Heartbeat>(&ObjectKey::Heartbeat(cell.node.clone())).await {
            Ok(beat) => beat,
            Err(error) if error.is_unreadable() => {
                warn!(node = %cell.node, %error, "a heartbeat that cannot be read is passed over");
                None
            }
            Err(error) => return Err(error),
        };
        let report = beat.as_ref().and_then(|beat| beat.cells.get(&cell.cell));
        Ok(report.and_then(|report| report.seen.max(report.applied)))
    }

    /// The newest entry of the history above `above` that is believed.
    async fn newest_history(
        &self,
        cell: &CellId,
        above: Option<Floor>,
    ) -> Result<Option<Verified<Trigger>>, ControllerError> {
        let keys = self.history_keys(cell, above).await?;
        let mut last = None;
        for at in keys.into_iter().rev().take(UNBELIEVED) {
            match self.history_entry(cell, at).await {
                Ok(Some(entry)) => return Ok(Some(entry)),
                // Deleted between the LIST and the GET.
                Ok(None) => {}
                Err(error @ ControllerError::Untrusted { .. }) => {
                    warn!(%cell, error = &error as &dyn std::error::Error, "passed over");
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match last {
            // Nothing above is believed, and nothing below is known to be: the next claim may be taken already.
            Some(error) if above.is_none() => Err(error),
            _ => Ok(None),
        }
    }

    /// The epochs whose keys are pinned: entries of the history in others cannot be believed.
    pub(super) fn believed_epochs(&self) -> BTreeSet<Epoch> {
        match &self.settings.trust {
            Trust::Unsigned => BTreeSet::from([Epoch::FIRST]),
            Trust::Keys(pinned) => pinned.iter().map(|key| key.epoch).collect(),
        }
    }

    /// The places of the history above `above`, of the epochs whose keys are pinned, in order.
    pub(super) async fn history_keys(
        &self,
        cell: &CellId,
        above: Option<Floor>,
    ) -> Result<Vec<Floor>, ControllerError> {
        let epochs = self.believed_epochs();
        let mut pages = self.store().list(&Folder::History(cell.clone()), Depth::Deep);
        if let Some(above) = above {
            pages = pages.after(&ObjectKey::History(cell.clone(), above));
        }
        let mut found = Vec::new();
        while let Some(page) = pages.next().await? {
            found.extend(page.entries.iter().filter_map(|entry| match entry.object_key() {
                Some(ObjectKey::History(_, at)) if epochs.contains(&at.epoch) => Some(at),
                _ => None,
            }));
        }
        Ok(found)
    }

    /// The entry of the history at `at`, if there is one.
    ///
    /// # Errors
    /// [`ControllerError::Untrusted`] when it is not believed.
    pub(super) async fn history_entry(
        &self,
        cell: &CellId,
        at: Floor,
    ) -> Result<Option<Verified<Trigger>>, ControllerError> {
        let key = ObjectKey::History(cell.clone(), at);
        let found = self.store().find(&key, TRIGGER_BYTES).await;
        self.believe_found(&key, cell, found)
    }

    /// What a read of a history entry gave, verified.
    pub(super) fn believe_found(
        &self,
        key: &ObjectKey,
        cell: &CellId,
        found: Result<Option<Object>, StoreError>,
    ) -> Result<Option<Verified<Trigger>>, ControllerError> {
        match found {
            Ok(Some(object)) => self.believe(key, cell, &object.bytes).map(Some),
            Ok(None) => Ok(None),
            Err(StoreError::TooLarge { .. }) => {
                let problem = ": it is larger than any trigger".to_owned();
                Err(ControllerError::Untrusted { key: key.to_string(), problem, source: None })
            }
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u32, generation: u64) -> Option<Floor> {
        Some(Floor::new(Epoch::new(epoch).unwrap(), Generation::new(generation).unwrap()))
    }

    fn next_of(epoch: u32, verified: Option<Floor>, claimed: Option<Floor>) -> Result<(Floor, bool), NoNext> {
        next(Epoch::new(epoch).unwrap(), verified, claimed).map(|next| (next.at, next.implausible.is_some()))
    }

    #[test]
    fn the_next_claim_is_one_above_everything_that_is_believed() {
        assert_eq!(next_of(1, None, None), Ok((at(1, 1).unwrap(), false)));
        assert_eq!(next_of(1, at(1, 7), None), Ok((at(1, 8).unwrap(), false)));
        assert_eq!(next_of(1, at(1, 7), at(1, 7)), Ok((at(1, 8).unwrap(), false)));
        // The bucket was restored from an old copy; the node remembers.
        assert_eq!(next_of(1, at(1, 7), at(1, 9)), Ok((at(1, 10).unwrap(), false)));
    }

    #[test]
    fn a_heartbeat_cannot_use_up_the_generations() {
        assert_eq!(next_of(1, at(1, 7), at(1, 1_007)), Ok((at(1, 1_008).unwrap(), false)));
        assert_eq!(next_of(1, at(1, 7), at(1, 1_008)), Ok((at(1, 8).unwrap(), true)));
        assert_eq!(next_of(1, at(1, 7), at(1, Generation::MAX)), Ok((at(1, 8).unwrap(), true)));
        assert_eq!(next_of(1, at(1, 7), at(2, 1)), Ok((at(1, 8).unwrap(), true)));
    }

    #[test]
    fn a_new_epoch_starts_at_one_and_an_old_one_is_over() {
        assert_eq!(next_of(2, at(1, 7), at(1, 7)), Ok((at(2, 1).unwrap(), false)));
        assert_eq!(next_of(2, at(1, 7), at(2, 3)), Ok((at(2, 4).unwrap(), false)));
        assert_eq!(next_of(1, at(2, 1), None), Err(NoNext::Outranked(Epoch::new(2).unwrap())));
        assert_eq!(next_of(1, at(1, Generation::MAX), None), Err(NoNext::Exhausted));
    }
}
