//! Where in the audit a page begins.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use ulid::Ulid;

/// How many entries may be held over. More acts than this are hardly ever under way at once; the outcomes of others
/// would be told by themselves.
const MOST_HELD: usize = 32;

/// Where a page begins: below an id, with entries that were read before and not told yet. Written as ids, a dot between
/// two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditPlace {
    pub(super) below: Ulid,
    pub(super) held: Vec<Ulid>,
}

/// A text that is no place in the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no place in the audit; begin at its newest page")]
pub struct PlaceError;

impl AuditPlace {
    /// Everything before this time.
    pub(super) fn before(time: DateTime<Utc>) -> Self {
        Self { below: first_of(time), held: Vec::new() }
    }

    /// Below `below`, with what of `untold` is not below it.
    pub(super) fn new(below: Ulid, untold: Vec<Ulid>) -> Self {
        let mut held: Vec<Ulid> = untold.into_iter().filter(|id| *id >= below).collect();
        held.sort_unstable();
        held.reverse();
        // The older ones are the more likely to be wanted next.
        let held = held.split_off(held.len().saturating_sub(MOST_HELD));
        Self { below, held }
    }
}

impl fmt::Display for AuditPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.below)?;
        self.held.iter().try_for_each(|id| write!(f, ".{id}"))
    }
}

impl FromStr for AuditPlace {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let mut ids = text.split('.').map(|id| {
            let parsed = Ulid::from_string(id).map_err(|_| PlaceError)?;
            if parsed.to_string() == id { Ok(parsed) } else { Err(PlaceError) }
        });
        let below = ids.next().ok_or(PlaceError)??;
        let held = ids.take(MOST_HELD + 1).collect::<Result<Vec<_>, _>>()?;
        if held.len() > MOST_HELD { Err(PlaceError) } else { Ok(Self { below, held }) }
    }
}

/// The time that an id names.
pub(super) fn time_of(id: Ulid) -> DateTime<Utc> {
    // Ids reach further than times do.
    let millis = i64::try_from(id.timestamp_ms()).unwrap_or(i64::MAX);
    DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The lowest id of a time.
pub(super) fn first_of(time: DateTime<Utc>) -> Ulid {
    const MOST_MILLIS: u64 = (1 << 48) - 1;
    Ulid::from_parts(u64::try_from(time.timestamp_millis()).unwrap_or(0).min(MOST_MILLIS), 0)
}
