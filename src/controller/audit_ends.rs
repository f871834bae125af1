//! Which entries the next one of the audit follows.
//!
//! A process keeps the entries that it wrote and that no other names yet; the next one names them all. Entries that are
//! written at the same time therefore never wait for each other, and one that could not be written leaves no gap. When
//! a process begins, and now and then after that, it looks for the newest entries of others and names these, too: that
//! ties the audits of short-lived commands together. What nobody has named yet may be deleted unnoticed.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tracing::debug;

use super::audit_log::{AuditCache, AuditWalk};
use super::{Controller, ControllerError};
use crate::model::audit::{Chain, EntryRef};
use crate::store::in_full;

/// How often it is looked for what others wrote.
const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);

/// So many of the newest entries are read for that.
const NEWEST: usize = 16;

/// The newest entries are hardly ever older where much is written.
const RECENT: TimeDelta = TimeDelta::hours(1);

/// The entries that nobody names yet, as far as one process knows, whoever acts in it.
#[derive(Debug, Default)]
pub(super) struct LooseEnds(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    ends: Vec<EntryRef>,
    /// When it was looked for others, on the clock that never jumps.
    looked: Option<Duration>,
}

/// Entries that the one being written names. If it is not written, the next one does.
#[derive(Debug)]
#[must_use]
pub(super) struct Taken<'a> {
    from: &'a LooseEnds,
    ends: Vec<EntryRef>,
}

impl LooseEnds {
    fn with<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        // Whatever another thread died of: an entry that is named twice or never breaks no chain.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it is time to look for others. Whoever asks first is told so.
    fn is_due(&self, now: Duration) -> bool {
        self.with(|known| {
            let is_due = known.looked.is_none_or(|looked| now.saturating_sub(looked) >= LOOK_AGAIN);
            if is_due {
                known.looked = Some(now);
            }
            is_due
        })
    }

    fn add(&self, found: Vec<EntryRef>) {
        self.with(|known| {
            known.ends.extend(found);
            known.ends.sort_unstable();
            known.ends.dedup();
        });
    }

    fn take(&self) -> Taken<'_> {
        let ends = self.with(|known| {
            let rest = known.ends.len().saturating_sub(Chain::MOST_FOLLOWED);
            known.ends.split_off(rest)
        });
        Taken { from: self, ends }
    }
}

impl Taken<'_> {
    /// The entries.
    pub(super) fn follows(&self) -> Vec<EntryRef> {
        self.ends.clone()
    }

    /// The entry that names them is written: now it is the one to be named.
    pub(super) fn replace(mut self, with: EntryRef) {
        self.ends = vec![with];
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.from.add(std::mem::take(&mut self.ends));
    }
}

impl Controller {
    /// What the next entry follows.
    pub(super) async fn followed(&self) -> Taken<'_> {
        if self.ends.is_due(self.clock.monotonic()) {
            match self.newest_entries().await {
                Ok(found) => self.ends.add(found),
                // What is to be done does not wait for what others did.
                Err(error) => debug!(error = in_full(&error), "the newest entries of the audit could not be read"),
            }
        }
        self.ends.take()
    }

    /// Of the newest entries those that can be believed and that none of the others names.
    async fn newest_entries(&self) -> Result<Vec<EntryRef>, ControllerError> {
        let mut ids = Vec::new();
        for from in [self.clock.now() - RECENT, DateTime::<Utc>::MIN_UTC] {
            ids = AuditWalk::newest(self, from).await?.next(NEWEST).await?;
            if !ids.is_empty() {
                break;
            }
        }
        let found = self.audit_entries(&AuditCache::default(), &ids).await?;
        let found: Vec<_> = found.into_iter().filter_map(|(_, entry)| entry.ok()).collect();
        let named: HashSet<EntryRef> = found.iter().flat_map(|entry| entry.follows()).copied().collect();
        let is_loose = |name: &EntryRef| !named.contains(name);
        let believed = found.iter().filter(|entry| entry.seal.is_believed() && entry.chain.is_some());
        Ok(believed.map(|entry| entry.name()).filter(is_loose).collect())
    }
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;
    use crate::model::Sha256Digest;

    fn entry(number: u64) -> EntryRef {
        EntryRef { id: Ulid::from_parts(number, 0), sha256: Sha256Digest::of(&number.to_be_bytes()) }
    }

    #[test]
    fn each_entry_names_what_was_written_before_it_and_is_named_itself() {
        let ends = LooseEnds::default();
        let first = ends.take();
        assert_eq!(first.follows(), []);
        let beside = ends.take();
        first.replace(entry(1));
        beside.replace(entry(2));
        let third = ends.take();
        assert_eq!(third.follows(), [entry(1), entry(2)]);
        third.replace(entry(3));
        assert_eq!(ends.take().follows(), [entry(3)]);
    }

    #[test]
    fn what_was_not_written_leaves_no_gap() {
        let ends = LooseEnds::default();
        ends.take().replace(entry(1));
        drop(ends.take());
        assert_eq!(ends.take().follows(), [entry(1)]);
    }

    #[test]
    fn an_entry_names_no_more_than_it_may_and_the_next_one_the_rest() {
        let ends = LooseEnds::default();
        ends.add((0..100).map(entry).collect());
        let taken = ends.take();
        assert_eq!(taken.follows().len(), Chain::MOST_FOLLOWED);
        taken.replace(entry(100));
        assert_eq!(ends.take().follows().len(), 100 - Chain::MOST_FOLLOWED + 1);
    }

    #[test]
    fn others_are_looked_for_at_the_beginning_and_now_and_then() {
        let ends = LooseEnds::default();
        assert_eq!(
            [0, 1, 599, 600, 601].map(|secs| ends.is_due(Duration::from_secs(secs))),
            [true, false, false, true, false]
        );
    }
}
