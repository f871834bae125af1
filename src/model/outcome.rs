//! What came of one attempt: `logs/<node>/<cell>/<epoch>-<generation>-<attempt>.json`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::code::Code;
use super::document::Document;
use super::generation::Floor;
use super::heartbeat::VersionReport;
use super::name::{CellName, NodeName};

/// The end of one attempt of a node at a trigger, or of its own rollback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Outcome {
    /// The fleet.
    pub fleet: Uuid,
    /// The node.
    pub node: NodeName,
    /// The cell.
    pub cell: CellName,
    /// The trigger.
    pub at: Floor,
    /// Counts the attempts at it, from 1.
    pub attempt: u32,
    /// What the trigger asked for: `deploy`, `stop`, `remove`.
    pub action: String,
    /// The version that was tried, if one was.
    #[serde(default)]
    pub version: Option<VersionReport>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// How it ended.
    pub outcome: Ending,
    /// The version to go back to from now on.
    #[serde(default)]
    pub known_good_after: Option<VersionReport>,
    /// The version that `current` points at from now on.
    #[serde(default)]
    pub running_after: Option<VersionReport>,
    /// What went wrong, if something did.
    #[serde(default)]
    pub code: Option<Code>,
    /// The same in words.
    #[serde(default)]
    pub message: Option<String>,
    /// How many files were fetched and how many were already on the node.
    #[serde(default)]
    pub files_fetched: u64,
    /// See `files_fetched`.
    #[serde(default)]
    pub files_reused: u64,
    /// How many bytes were fetched.
    #[serde(default)]
    pub bytes_fetched: u64,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// What the trigger asked for is so.
    Succeeded,
    /// It is not, and what ran before runs on.
    Failed,
    /// It was, it failed, and the last known good version runs again.
    RolledBack,
    /// A newer trigger came first.
    Superseded,
    /// An ending of a newer agent.
    #[serde(other)]
    Unknown,
}

impl Ending {
    /// The ending as documents write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
            Self::Unknown => "unknown",
        }
    }

    /// The ending as people read it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::RolledBack => "rolled back",
            other => other.as_str(),
        }
    }
}

impl Document for Outcome {
    const SCHEMA: &'static str = "fleetman/outcome/1";
    const MAX_BYTES: u64 = 64 << 10;
}
