//! Taking turns on stores that do not keep conditions on writes (protocol.md, "Three writes exist").
//!
//! A writer announces the cell in its own beat, waits until an announcement made at the same time must be visible,
//! and looks at the others': an earlier one goes first. Announcements are ordered by the store's clock, so that one
//! made after another was looked for cannot claim to be the earlier.
//!
//! Cells of one node take turns together, because they share the node's index.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};
use tracing::{debug, warn};
use uuid::Uuid;

use super::{Controller, ControllerError};
use crate::model::document::{self, Document as _};
use crate::model::fleet::{Conditions, ControllerBeat, Writing};
use crate::model::keys::Folder;
use crate::model::{CellId, ObjectKey};
use crate::store::Depth;

/// An announcement that was not renewed for so long is that of a dead controller. It is shorter than the usual
/// patience with a turn, so that nobody fails because of one.
const FRESH: Duration = Duration::from_secs(20);

/// How long an announcement needs at least to be seen by everybody.
const SETTLE: Duration = Duration::from_secs(1);

/// Between two looks at the one who goes first.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The most controllers that are looked at.
const MOST_CONTROLLERS: usize = 10_000;

/// What one process shows of itself, whoever acts in it.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// One turn at a time: a beat announces one cell.
    turn: AsyncMutex<()>,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    writing: Option<Writing>,
    /// Whether the beat stays when nothing is written.
    beats: bool,
}

impl Presence {
    fn with<T>(&self, change: impl FnOnce(&mut Shown) -> T) -> T {
        // What is shown is right enough whatever another thread died of.
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The right to write a cell and its node's index; on stores with conditions nothing is needed for it.
#[must_use]
pub(super) struct Turn<'a> {
    controller: &'a Controller,
    cell: CellId,
    held: Option<Held<'a>>,
}

struct Held<'a> {
    _one_at_a_time: MutexGuard<'a, ()>,
    /// When it was announced last, by the monotonic clock.
    announced: Duration,
}

/// Another controller that goes first.
#[derive(Debug, PartialEq, Eq)]
struct Earlier {
    holder: Uuid,
    hostname: String,
    writing: Writing,
}

/// Who of `others` goes first: of those that write the same node, whoever came earlier.
fn goes_first(ours: &Writing, id: Uuid, others: Vec<ControllerBeat>) -> Option<Earlier> {
    let of_node = others.into_iter().filter(|beat| beat.id != id).filter_map(|beat| {
        let writing = beat.writing.filter(|writing| writing.cell.node == ours.cell.node)?;
        Some(Earlier { holder: beat.id, hostname: beat.hostname, writing })
    });
    of_node
        .filter(|other| (other.writing.since, other.holder) < (ours.since, id))
        .min_by_key(|other| (other.writing.since, other.holder))
}

impl Controller {
    /// Waits until it is this controller's turn to write `cell`.
    ///
    /// # Errors
    /// [`ControllerError::Busy`] names who had it all the time.
    pub(super) async fn take_turn(&self, cell: &CellId) -> Result<Turn<'_>, ControllerError> {
        let mut turn = Turn { controller: self, cell: cell.clone(), held: None };
        if self.writer().await?.conditions() != Conditions::Honoured {
            let one_at_a_time = self.presence.turn.lock().await;
            let announced = self.wait_for_turn(cell).await?;
            turn.held = Some(Held { _one_at_a_time: one_at_a_time, announced });
        }
        Ok(turn)
    }

    async fn wait_for_turn(&self, cell: &CellId) -> Result<Duration, ControllerError> {
        let began = self.clock.monotonic();
        let writing = Writing { cell: cell.clone(), since: self.store_now() };
        let mut announced = self.announce(Some(writing.clone())).await?;
        let round_trip = announced.saturating_sub(began);
        // The store's clock is known to half a second and half a round trip, ours and the other's: whoever announces
        // after our look must not be able to take itself for the earlier.
        self.clock.sleep(SETTLE + 2 * round_trip).await;
        loop {
            let others = match self.fresh_beats().await {
                Ok(others) => others,
                Err(error) => return Err(self.give_up_turn(error).await),
            };
            let Some(first) = goes_first(&writing, self.settings.controller_id, others) else {
                return Ok(announced);
            };
            let waited = self.clock.monotonic().saturating_sub(began);
            if waited >= self.settings.lock_timeout {
                let busy = ControllerError::Busy {
                    cell: cell.clone(),
                    holder: format!(
                        "controller {} on {:?} is writing {}",
                        first.holder, first.hostname, first.writing.cell
                    ),
                    since: first.writing.since,
                    waited,
                };
                return Err(self.give_up_turn(busy).await);
            }
            debug!(%cell, holder = %first.holder, "another controller writes this node; waiting");
            self.clock.sleep(LOOK_AGAIN).await;
            if self.clock.monotonic().saturating_sub(announced) > FRESH / 4 {
                announced = self.announce(Some(writing.clone())).await?;
            }
        }
    }

    async fn give_up_turn(&self, why: ControllerError) -> ControllerError {
        self.withdraw().await;
        why
    }

    /// The beats that were written a short while ago by the store's clock.
    async fn fresh_beats(&self) -> Result<Vec<ControllerBeat>, ControllerError> {
        let listed = self.store().list_all(&Folder::Controllers, Depth::Deep, MOST_CONTROLLERS).await?;
        let oldest = self.store_now() - TimeDelta::from_std(FRESH).unwrap_or_default();
        let mut beats = Vec::new();
        for entry in listed.entries {
            // A store that does not tell the time of an object makes it a fresh one.
            let is_fresh = entry.last_modified.is_none_or(|time| time >= oldest);
            let Some(key @ ObjectKey::Controller(_)) = entry.object_key().filter(|_| is_fresh) else { continue };
            let found = self.store().find(&key, ControllerBeat::MAX_BYTES).await?;
            match found.map(|object| document::parse::<ControllerBeat>(&object.bytes)) {
                // Only a beat under its own name can hold anybody up.
                Some(Ok(beat)) if key == ObjectKey::Controller(beat.id) => beats.push(beat),
                Some(Ok(_)) | None => {}
                Some(Err(error)) => warn!(%key, %error, "a beat that cannot be read is passed over"),
            }
        }
        Ok(beats)
    }

    /// Writes this process's beat; returns when, by the monotonic clock.
    async fn announce(&self, writing: Option<Writing>) -> Result<Duration, ControllerError> {
        self.presence.with(|shown| shown.writing.clone_from(&writing));
        let beat = ControllerBeat {
            id: self.settings.controller_id,
            hostname: self.actor().host.clone(),
            user: self.actor().user.to_string(),
            reported_at: self.now(),
            writing,
        };
        let key = ObjectKey::Controller(beat.id);
        self.store().put_own(&key, document::render(&beat).into()).await?;
        Ok(self.clock.monotonic())
    }

    /// Shows that this controller runs. A long-lived one calls it every now and then, and [`Self::end_beat`] at its
    /// end.
    ///
    /// # Errors
    /// Why the store did not take it.
    pub async fn beat(&self) -> Result<(), ControllerError> {
        let writing = self.presence.with(|shown| {
            shown.beats = true;
            shown.writing.clone()
        });
        self.announce(writing).await.map(|_| ())
    }

    /// Ends what [`Self::beat`] began.
    pub async fn end_beat(&self) {
        self.presence.with(|shown| shown.beats = false);
        self.withdraw().await;
    }

    /// Takes the announcement back. Whoever waits for it does so until it is no longer fresh if that fails.
    async fn withdraw(&self) {
        let beats = self.presence.with(|shown| {
            shown.writing = None;
            shown.beats
        });
        let withdrawn = if beats {
            self.announce(None).await.map(|_| ())
        } else {
            let key = ObjectKey::Controller(self.settings.controller_id);
            self.store().delete(&key).await.map_err(ControllerError::from)
        };
        if let Err(error) = withdrawn {
            warn!(%error, "the announcement of this controller stays until it is no longer fresh");
        }
    }
}

impl Turn<'_> {
    /// Makes sure that the turn is still ours; called before every write that commits something.
    pub(super) async fn keep(&mut self) -> Result<(), ControllerError> {
        if let Some(held) = &mut self.held
            && self.controller.clock.monotonic().saturating_sub(held.announced) > FRESH / 2
        {
            // Others may soon take us for dead, or have done so: get in line again.
            held.announced = self.controller.wait_for_turn(&self.cell).await?;
        }
        Ok(())
    }

    /// Lets others go on.
    pub(super) async fn end(self) {
        if self.held.is_some() {
            self.controller.withdraw().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;

    fn beat(id: u128, cell: Option<&str>, since: i64) -> ControllerBeat {
        let since = DateTime::<Utc>::from_timestamp(since, 0).unwrap();
        ControllerBeat {
            id: Uuid::from_u128(id),
            hostname: "h".to_owned(),
            user: "u".to_owned(),
            reported_at: since,
            writing: cell.map(|cell| Writing { cell: cell.parse().unwrap(), since }),
        }
    }

    fn first(others: Vec<ControllerBeat>) -> Option<u128> {
        let ours = Writing { cell: "n1/web".parse().unwrap(), since: DateTime::from_timestamp(100, 0).unwrap() };
        goes_first(&ours, Uuid::from_u128(5), others).map(|earlier| earlier.holder.as_u128())
    }

    #[test]
    fn whoever_announced_earlier_goes_first_and_ids_settle_a_tie() {
        assert_eq!(first(vec![beat(9, Some("n1/web"), 99), beat(8, Some("n1/web"), 98)]), Some(8));
        assert_eq!(first(vec![beat(4, Some("n1/web"), 100)]), Some(4));
        assert_eq!(first(vec![beat(6, Some("n1/web"), 100), beat(4, Some("n1/web"), 101)]), None);
    }

    #[test]
    fn idle_controllers_other_nodes_and_our_own_beat_hold_nobody_up() {
        assert_eq!(first(vec![beat(1, None, 1), beat(2, Some("n2/web"), 1), beat(5, Some("n1/web"), 1)]), None);
        assert_eq!(first(vec![beat(1, Some("n1/other"), 1)]), Some(1), "cells of one node share its index");
    }
}
