//! What was put back, kept across restarts: so that what is changed again and again is not fought over without an end.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::agent::disk::{DiskError, Folder};
use crate::model::document::{self, Document};
use crate::model::drift::{DriftRepair, DriftReport, DriftSpec};

/// The name of the file in the cell's own folder.
const FILE: &str = "drift.json";

/// In which so many repairs may be made.
const WINDOW: TimeDelta = TimeDelta::hours(1);

/// The repairs of a cell, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    repairs: Vec<DriftRepair>,
}

impl Document for Ledger {
    const SCHEMA: &'static str = "fleetman/agent-drift/1";
    const MAX_BYTES: u64 = 256 << 10;
}

impl Ledger {
    /// Reads it from the cell's folder. One that cannot be read is begun anew: it only slows down what is right to do.
    pub(super) fn load(folder: &Folder) -> Result<Self, DiskError> {
        let bytes = folder.read(FILE, Self::MAX_BYTES)?;
        Ok(bytes.and_then(|bytes| document::parse(&bytes).ok()).unwrap_or_default())
    }

    /// When the next repair may be made, if `most` were made within the last hour. Only what the clock says was then
    /// counts: one that was set back would put repairs off for as long.
    pub(super) fn full_until(&self, most: u32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let recent = self.repairs.iter().map(|repair| repair.at).filter(|at| *at <= now && now - *at < WINDOW);
        let mut recent: Vec<_> = recent.collect();
        recent.sort_unstable();
        let first = recent.len().checked_sub(most.try_into().unwrap_or(usize::MAX))?;
        recent.get(first).map(|at| *at + WINDOW)
    }

    /// Writes down a repair before it is made, so that it counts even if the agent does not survive it.
    pub(super) fn note(&mut self, repair: DriftRepair, folder: &Folder) -> Result<(), DiskError> {
        self.repairs.push(repair);
        let most = DriftSpec::MOST_REPAIRS_PER_HOUR.try_into().unwrap_or(usize::MAX);
        let excess = self.repairs.len().saturating_sub(most);
        self.repairs.drain(..excess);
        folder.write(FILE, &document::render(self))
    }

    /// The last ones, as heartbeats tell of them.
    pub(super) fn last(&self) -> Vec<DriftRepair> {
        let first = self.repairs.len().saturating_sub(DriftReport::MOST_REPAIRS);
        self.repairs.iter().skip(first).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::steps::Steps;

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + 60 * minutes, 0).unwrap()
    }

    #[test]
    fn so_many_repairs_are_made_in_any_hour_also_by_the_next_agent() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path(), 0o700, &Steps::default()).unwrap();
        let mut ledger = Ledger::load(&folder).unwrap();
        for minute in [0, 20, 40] {
            assert_eq!(ledger.full_until(3, at(minute)), None);
            ledger.note(DriftRepair { at: at(minute), path: format!("at {minute}"), more: 0 }, &folder).unwrap();
        }
        let ledger = Ledger::load(&folder).unwrap();
        assert_eq!(ledger.full_until(3, at(59)), Some(at(60)));
        assert_eq!(ledger.full_until(2, at(59)), Some(at(80)), "of three the second makes room for one of two");
        assert_eq!(ledger.full_until(3, at(60)), None);
        assert_eq!(ledger.full_until(1, at(-10)), None, "a clock that was set back puts nothing off");
    }

    #[test]
    fn what_is_kept_is_bounded_and_a_damaged_file_is_begun_anew() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(home.path(), 0o700, &Steps::default()).unwrap();
        let mut ledger = Ledger::default();
        for minute in 0..100 {
            ledger.note(DriftRepair { at: at(minute), path: String::new(), more: 0 }, &folder).unwrap();
        }
        assert_eq!(ledger.repairs.len(), 60);
        assert_eq!(ledger.last().len(), DriftReport::MOST_REPAIRS);
        assert_eq!(ledger.last()[4].at, at(99));
        folder.write(FILE, b"{").unwrap();
        assert_eq!(Ledger::load(&folder).unwrap(), Ledger::default());
    }
}
