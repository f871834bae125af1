//! The versions of a cell page by page, with who needs them and what history says of them.

use std::cmp::{Ordering, Reverse};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::compare::Proof;
use super::head::floor;
use super::inputs::READS;
use super::lists::{Needs, VersionView};
use super::{Controller, ControllerError};
use crate::model::document::Document as _;
use crate::model::heartbeat::Heartbeat;
use crate::model::{CellId, Floor, ObjectKey, VersionName, document};
use crate::store::{StoreError, in_full};

/// How many triggers back it is looked for what desired a version.
const RECENT: usize = 100;

/// A page of versions.
#[derive(Debug)]
pub struct Timeline {
    /// Newest first: by the time of their making where all are on the page, by name where there are more.
    pub versions: Vec<TimelineVersion>,
    /// How many there are in all.
    pub total: usize,
    /// How many triggers were looked at for what desired them.
    pub triggers: usize,
    /// Why nothing that was asked of the cell is believed, if that is so: then nobody knows what is desired.
    pub problem: Option<String>,
}

/// A version, and what it was and is to the cell.
#[derive(Debug, Clone)]
pub struct TimelineVersion {
    /// The version.
    pub version: VersionView,
    /// The triggers that desired it, newest first; of the newest only.
    pub desired_by: Vec<Floor>,
    /// Whether the newest of all triggers desires it.
    pub is_desired: bool,
    /// Whether its node says that it runs.
    pub is_running: bool,
    /// Whether its node says that it would go back to it.
    pub is_known_good: bool,
    /// What history says of its manifest; None where that cannot be read.
    pub proof: Option<Proof>,
}

impl Controller {
    /// The versions of a cell, `limit` of them from the one numbered `from` on.
    ///
    /// # Errors
    /// Why the store did not answer. A version that cannot be read is part of the page.
    pub async fn timeline(&self, cell: &CellId, from: usize, limit: usize) -> Result<Timeline, ControllerError> {
        let (names, head, beat, (triggers, _)) = tokio::try_join!(
            self.version_names_by_number(cell),
            self.look_at_head(cell),
            self.look_at_beat(cell),
            self.believed(cell, None, RECENT),
        )?;
        let total = names.len();
        let (head, problem) = match head {
            Ok(head) => (Some(head), None),
            Err(error) => (None, Some(in_full(&error))),
        };
        let needs = Needs::new(cell, head.as_ref(), beat.as_ref());
        let mut versions: Vec<TimelineVersion> = stream::iter(names.into_iter().skip(from).take(limit))
            .map(async |name| {
                let version = self.look_at_row(cell, name, &needs).await?;
                let desires = |digest| {
                    let named = triggers.iter().filter(move |trigger| {
                        trigger.action.target().is_some_and(|target| target.manifest_sha256 == digest)
                    });
                    named.map(floor).collect()
                };
                let digest = version.manifest_sha256;
                Ok::<_, ControllerError>(TimelineVersion {
                    desired_by: digest.map(desires).unwrap_or_default(),
                    is_desired: needs.is_desired(digest),
                    is_running: needs.is_running(digest),
                    is_known_good: needs.is_known_good(digest),
                    proof: digest.map(|digest| Proof::of(&triggers, &version.name, digest)),
                    version,
                })
            })
            .buffered(READS)
            .try_collect()
            .await?;
        if versions.len() == total {
            // What was never finished is being made, or was: it stands before all others.
            versions.sort_by_key(|line| match &line.version.facts {
                Some(facts) => (true, Reverse(Some(facts.created_at))),
                None => (false, Reverse(None)),
            });
        }
        Ok(Timeline { versions, total, triggers: triggers.len(), problem })
    }

    /// The names of a cell's versions, the highest number first: `1.10` before `1.9`.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn version_names_by_number(&self, cell: &CellId) -> Result<Vec<VersionName>, ControllerError> {
        let mut names = self.version_names(cell).await?;
        names.sort_by(|one, other| by_numbers(other.as_str(), one.as_str()));
        Ok(names)
    }

    /// What the node of a cell says; nothing if that cannot be read.
    async fn look_at_beat(&self, cell: &CellId) -> Result<Option<Heartbeat>, ControllerError> {
        let key = ObjectKey::Heartbeat(cell.node.clone());
        match self.look(&key, Heartbeat::MAX_BYTES).await {
            Ok(found) => Ok(found.and_then(|object| document::parse(&object.bytes).ok())),
            Err(StoreError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Orders names as people number them: `1.10` comes after `1.9`. No two are equal.
pub(super) fn by_numbers(one: &str, other: &str) -> Ordering {
    by_pieces(one, other).then_with(|| one.cmp(other))
}

fn by_pieces(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        let ((a, rest_of_one), (b, rest_of_other)) = (piece(one), piece(other));
        let ordering = match (number(a), number(b)) {
            // Leading zeros do not count, and without them the longer number is the larger.
            (Some(a), Some(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
            _ => a.cmp(b),
        };
        if ordering != Ordering::Equal || (a.is_empty() && b.is_empty()) {
            return ordering;
        }
        (one, other) = (rest_of_one, rest_of_other);
    }
}

/// The first run of digits, or of other characters, and the rest.
fn piece(text: &str) -> (&str, &str) {
    let is_digit = text.starts_with(|first: char| first.is_ascii_digit());
    let end = text.find(|next: char| next.is_ascii_digit() != is_digit).unwrap_or(text.len());
    text.split_at(end)
}

fn number(piece: &str) -> Option<&str> {
    piece.starts_with(|first: char| first.is_ascii_digit()).then(|| piece.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_as_people_number_them() {
        let sorted = [
            "",
            "1.9.0",
            "1.9.0-rc",
            "1.010",
            "1.10.1",
            "20261121-093000-0a1b2c",
            "20261121-093001-000000",
            "v2",
            "v10",
        ];
        for (place, name) in sorted.iter().enumerate() {
            for later in &sorted[place + 1..] {
                assert_eq!(by_numbers(name, later), Ordering::Less, "{name} {later}");
                assert_eq!(by_numbers(later, name), Ordering::Greater, "{later} {name}");
            }
            assert_eq!(by_numbers(name, name), Ordering::Equal);
        }
        assert_eq!((by_pieces("01", "1"), by_numbers("01", "1")), (Ordering::Equal, Ordering::Less));
    }
}
