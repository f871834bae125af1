//! Following a trigger until its node has carried it out, or could not.

use std::time::Duration;

use super::{Controller, ControllerError};
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::{CellReport, Heartbeat, Phase};
use crate::model::outcome::Outcome;
use crate::model::{CellId, Code, Floor, ObjectKey};
use crate::store::{ETag, Fetched};

/// Between two looks at the heartbeat; an unchanged one costs one request without a body.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What came of a trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Which way it ended.
    pub how: FollowedHow,
    /// What the node says of the cell now.
    pub report: CellReport,
    /// What the node wrote about the attempt, if it did.
    pub outcome: Option<Outcome>,
}

/// Which way a trigger ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FollowedHow {
    /// The node carried it out.
    Applied,
    /// It failed, and the last known good version runs again.
    RolledBack,
    /// It failed, or is not tried because its content failed before.
    Failed,
    /// A newer trigger came first.
    Superseded {
        /// The newer one.
        by: Floor,
    },
}

impl FollowedHow {
    /// What a report says of the trigger at `at`; None if nothing is decided yet.
    #[must_use]
    pub fn of(report: &CellReport, at: Floor) -> Option<Self> {
        let seen = report.seen?;
        if seen > at {
            return Some(FollowedHow::Superseded { by: seen });
        }
        if seen < at {
            return None;
        }
        let is_applied = report.applied == Some(at);
        match report.phase {
            Phase::UpToDate | Phase::Stopped | Phase::Removed if is_applied => Some(FollowedHow::Applied),
            Phase::RolledBack => Some(FollowedHow::RolledBack),
            Phase::Failed => Some(FollowedHow::Failed),
            Phase::Waiting if report.waiting.as_ref().is_some_and(|waiting| waiting.reason == Code::FailedBefore) => {
                Some(FollowedHow::Failed)
            }
            _ => None,
        }
    }
}

impl Controller {
    /// Waits until the node of `cell` is done with the trigger at `at`; `tell` sees every change of its report. To
    /// stop waiting, drop it: the node goes on all the same.
    ///
    /// # Errors
    /// [`ControllerError::TimedOut`] after `patience`, if there is one.
    pub async fn follow(
        &self,
        cell: &CellId,
        at: Floor,
        patience: Option<Duration>,
        mut tell: impl FnMut(&CellReport),
    ) -> Result<Followed, ControllerError> {
        let began = self.clock.monotonic();
        let key = ObjectKey::Heartbeat(cell.node.clone());
        let (mut known, mut last): (Option<ETag>, Option<CellReport>) = (None, None);
        loop {
            match self.store().get_if_changed(&key, known.as_ref(), Heartbeat::MAX_BYTES).await? {
                Fetched::Changed(object) => {
                    known = Some(object.etag);
                    // One that cannot be read says nothing; the next one may.
                    let beat = document::parse::<Heartbeat>(&object.bytes).ok();
                    let report = beat.and_then(|mut beat| beat.cells.remove(&cell.cell)).map(|report| *report);
                    // What the node said before it saw the trigger is about another one.
                    if let Some(report) = &report
                        && report.seen >= Some(at)
                        && last.as_ref() != Some(report)
                    {
                        tell(report);
                    }
                    last = report.or(last);
                }
                Fetched::Unchanged => {}
                Fetched::Absent => known = None,
            }
            if let Some(report) = &last
                && let Some(how) = FollowedHow::of(report, at)
            {
                let outcome = self.outcome_of(cell, at).await?;
                return Ok(Followed { how, report: report.clone(), outcome });
            }
            let waited = self.clock.monotonic().saturating_sub(began);
            if patience.is_some_and(|patience| waited >= patience) {
                let last = last.as_ref().map_or("the node says nothing of it", |report| report.phase.as_str());
                return Err(ControllerError::TimedOut { cell: cell.clone(), waited, last: last.to_owned() });
            }
            self.clock.sleep(LOOK_AGAIN).await;
        }
    }

    /// What the node wrote about its last attempt at a trigger.
    async fn outcome_of(&self, cell: &CellId, at: Floor) -> Result<Option<Outcome>, ControllerError> {
        let newest = self.attempts(cell).await?.into_iter().find(|id| id.floor == at);
        match newest {
            Some(id) => Ok(self.read_outcome(&id).await?.and_then(Result::ok)),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, Generation};

    fn at(generation: u64) -> Floor {
        Floor::new(Epoch::FIRST, Generation::new(generation).unwrap())
    }

    fn judged(seen: u64, applied: u64, phase: &str) -> Option<FollowedHow> {
        let text = serde_json::json!({
            "phase": phase, "state": {"state": "n/a"}, "seen": at(seen), "applied": at(applied),
        });
        FollowedHow::of(&serde_json::from_value(text).unwrap(), at(5))
    }

    #[test]
    fn only_what_the_node_says_of_this_trigger_counts() {
        assert_eq!(judged(4, 4, "up_to_date"), None, "it has not seen it");
        assert_eq!(judged(5, 4, "fetching"), None);
        assert_eq!(judged(5, 4, "up_to_date"), None, "what is up to date is the older one");
        assert_eq!(judged(5, 5, "up_to_date"), Some(FollowedHow::Applied));
        assert_eq!(judged(5, 5, "stopped"), Some(FollowedHow::Applied));
        assert_eq!(judged(5, 4, "rolled_back"), Some(FollowedHow::RolledBack));
        assert_eq!(judged(5, 4, "failed"), Some(FollowedHow::Failed));
        assert_eq!(judged(6, 5, "up_to_date"), Some(FollowedHow::Superseded { by: at(6) }));
    }
}
