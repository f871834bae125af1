//! What a cell was: two of its versions side by side, and what its node tried.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::controller::{self, Changes, Compared, Made, PastAttempt};
use crate::model::outcome::Outcome;
use crate::model::{DeploymentName, Sha256Digest, UserName};

/// Two revisions of a cell and what differs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Comparison {
    /// The one that is changed.
    pub from: Side,
    /// The one that comes of it.
    pub to: Side,
    /// What differs. Values that may be secrets are masked.
    pub changes: Changes,
}

/// One side of a comparison.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Side {
    /// A version's name, or `now`.
    pub revision: String,
    /// What it is.
    pub content_sha256: Sha256Digest,
    /// The release that it is made of.
    pub deployment: Option<DeploymentName>,
    /// How many files it has.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
    /// When it was made; absent of what is not made yet.
    pub created_at: Option<DateTime<Utc>>,
    /// By whom.
    pub created_by: Option<UserName>,
    /// What its maker wrote about it.
    pub note: Option<String>,
}

/// An attempt of a node, as it says itself.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Attempt {
    /// Counts the tries at the trigger, from 1.
    pub attempt: u32,
    /// What came of it; absent while it is under way.
    pub outcome: Option<Outcome>,
    /// Why that cannot be read, if so.
    pub problem: Option<String>,
    /// How many bytes of a log there are, if there is one.
    pub log_bytes: Option<u64>,
}

impl From<controller::Comparison> for Comparison {
    fn from(compared: controller::Comparison) -> Self {
        let controller::Comparison { from, to, changes } = compared;
        Self { from: from.into(), to: to.into(), changes }
    }
}

impl From<Compared> for Side {
    fn from(side: Compared) -> Self {
        let Compared { revision, content_sha256, deployment, files, bytes, made } = side;
        let (created_at, created_by, note) = match made {
            Some(Made { at, by, note, .. }) => (Some(at), Some(by), note),
            None => (None, None, None),
        };
        let revision = revision.to_string();
        Self { revision, content_sha256, deployment, files, bytes, created_at, created_by, note }
    }
}

impl From<PastAttempt> for Attempt {
    fn from(past: PastAttempt) -> Self {
        let (outcome, problem) = match past.outcome {
            Some(Ok(outcome)) => (Some(outcome), None),
            Some(Err(problem)) => (None, Some(problem)),
            None => (None, None),
        };
        Self { attempt: past.id.attempt, outcome, problem, log_bytes: past.log.map(|log| log.size) }
    }
}
