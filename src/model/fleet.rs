//! Documents about the fleet, its store and its controllers.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::cell_id::CellId;
use super::document::Document;

/// `fleet.json`. Information only: agents and controllers take fleet id and keys from their own config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// The fleet's id.
    pub fleet: Uuid,
    /// The version of the bucket's layout.
    pub layout: u32,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl Fleet {
    /// The layout that this program reads and writes.
    pub const LAYOUT: u32 = 1;
}

impl Document for Fleet {
    const SCHEMA: &'static str = "fleetman/fleet/1";
    const MAX_BYTES: u64 = 64 << 10;
}

/// `store.json`: what `doctor` found out about the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    /// When it was found out.
    pub checked_at: DateTime<Utc>,
    /// Whether the store honours conditions on writes, as a race showed.
    pub conditions: Conditions,
    /// What was looked at.
    pub findings: Vec<Finding>,
}

impl Document for StoreReport {
    const SCHEMA: &'static str = "fleetman/store/1";
    const MAX_BYTES: u64 = 256 << 10;
}

/// Whether a store honours `If-None-Match: *` and `If-Match` on writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conditions {
    /// It does, also when many race.
    Honoured,
    /// It answers 200 and overwrites, or lets several racers win: writers take turns.
    Ignored,
    /// It refuses such requests: writers take turns.
    Refused,
    /// Nobody has looked yet.
    #[default]
    #[serde(other)]
    Unknown,
}

/// One thing that `doctor` looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Finding {
    /// What was looked at, as programs compare it.
    pub check: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was seen, in words.
    pub message: String,
    /// What to do about it, if something is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, with a drawback.
    Warning,
    /// It does not work.
    Failed,
}

/// `controllers/<id>.json`: the beat of a running controller, and its place in the queue of writers on stores
/// without conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerBeat {
    /// The controller.
    pub id: Uuid,
    /// The machine that it runs on.
    pub hostname: String,
    /// Who runs it.
    pub user: String,
    /// When this was written, by its own clock.
    pub reported_at: DateTime<Utc>,
    /// The cell that it is writing now.
    #[serde(default)]
    pub writing: Option<Writing>,
}

/// A writer's announcement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writing {
    /// The cell that is being written.
    pub cell: CellId,
    /// Since when; the earlier goes first.
    pub since: DateTime<Utc>,
}

impl Document for ControllerBeat {
    const SCHEMA: &'static str = "fleetman/controller/1";
    const MAX_BYTES: u64 = 64 << 10;
}

/// `deleting.json`: the mark of a version that is being deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleting {
    /// When the deletion was asked for. The store's own time of the mark decides when it may go on.
    pub marked_at: DateTime<Utc>,
    /// Who asked for it.
    pub marked_by: super::UserName,
    /// The digest of the version's `manifest.json`, if it had one.
    #[serde(default)]
    pub manifest_sha256: Option<super::Sha256Digest>,
}

impl Document for Deleting {
    const SCHEMA: &'static str = "fleetman/deleting/1";
    const MAX_BYTES: u64 = 64 << 10;
}
