//! `agents/<node>.json`: what an agent says of itself. A claim: it may delay a deletion, never alone permit one.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use ulid::Ulid;
use uuid::Uuid;

use super::code::Code;
use super::digest::Sha256Digest;
use super::document::Document;
use super::drift::DriftReport;
use super::generation::Floor;
use super::name::{CellName, CheckName, NodeName, ProcessName, UserName, VersionName};
use super::trigger::Target;
use super::window::{self, Windows};

/// The state of a node and of every cell on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Heartbeat {
    /// The node.
    pub node: NodeName,
    /// The fleet that it belongs to.
    pub fleet: Uuid,
    /// The agent's version.
    pub agent_version: String,
    /// Made when the agent's state folder was made; a second agent of the same name has another.
    pub instance_id: Uuid,
    /// The kernel's boot id, if it has one.
    #[serde(default)]
    pub boot_id: Option<String>,
    /// Counts the heartbeats of this instance, across restarts.
    pub sequence: u64,
    /// When the agent started.
    pub started_at: DateTime<Utc>,
    /// When this was written, by the agent's clock. Liveness is judged by the store's clock instead.
    pub reported_at: DateTime<Utc>,
    /// How often a heartbeat is due.
    pub interval_secs: u64,
    /// Whether the agent checks signatures.
    pub signing: SigningMode,
    /// What the machine is and has.
    #[serde(default)]
    pub host: HostFacts,
    /// What the node's owner said of it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The store's clock minus the node's, if it was measured.
    #[serde(default)]
    pub clock_skew_ms: Option<i64>,
    /// What is wrong between the agent and the store at the moment.
    #[serde(default)]
    pub store_error: Option<Fault>,
    /// What is wrong with the node as a whole.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The hold of the node as a whole, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldReport>,
    /// The maintenance windows of the node's own config, which may be none; None if the agent is too old to tell. Boxed
    /// for the same reason as the cells.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "window::readable")]
    pub windows: Option<Box<Windows>>,
    /// An entry a cell; one that cannot be read spoils only itself. Boxed, because a controller keeps tens of thousands,
    /// and the room that maps keep free would be as much again.
    #[serde(default, deserialize_with = "readable_cells")]
    pub cells: BTreeMap<CellName, Box<CellReport>>,
}

impl Document for Heartbeat {
    const SCHEMA: &'static str = "fleetman/heartbeat/1";
    const MAX_BYTES: u64 = 1 << 20;
}

/// Whether an agent checks signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SigningMode {
    /// Only pinned keys are believed.
    Signed,
    /// Whoever can write to the bucket is believed.
    Unsigned,
}

/// What a machine is and has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(default)]
pub struct HostFacts {
    /// Its own name.
    pub hostname: String,
    /// The name of its operating system.
    pub os: String,
    /// Its kernel's release.
    pub kernel: String,
    /// Its processors' architecture.
    pub arch: String,
    /// How many processors the agent may use.
    pub cpus: u32,
    /// Its memory.
    pub memory_bytes: u64,
    /// How much of it programs can still have.
    pub memory_available_bytes: u64,
    /// The size of the file system that holds the releases.
    pub disk_bytes: u64,
    /// How much of it is free.
    pub disk_free_bytes: u64,
    /// The load average over one minute.
    pub load_1m: f64,
    /// Its addresses, without loopback and link-local ones.
    pub addresses: Vec<String>,
}

impl HostFacts {
    /// From so much in use on, in percent, a disk is nearly full.
    const FULL_PERCENT: u64 = 90;

    /// How much of the disk is in use, in percent, if it is nearly full.
    #[must_use]
    pub fn full_disk(&self) -> Option<u64> {
        let used = u128::from(self.disk_bytes.saturating_sub(self.disk_free_bytes));
        let percent = (used * 100).checked_div(u128::from(self.disk_bytes))?;
        u64::try_from(percent).ok().filter(|percent| *percent >= Self::FULL_PERCENT)
    }
}

/// What goes wrong at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Fault {
    /// What programs compare.
    pub code: Code,
    /// What people read.
    pub message: String,
    /// Since when, or when last.
    pub at: DateTime<Utc>,
}

/// Something that stays wrong until somebody acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Condition {
    /// What programs compare.
    pub code: Code,
    /// What people read.
    pub message: String,
}

/// The state of one cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct CellReport {
    /// The profile of what runs, or of what is to run.
    #[serde(default)]
    pub profile: Option<String>,
    /// What the agent is doing with it.
    pub phase: Phase,
    /// Why it waits, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Why nothing that runs is changed, if somebody holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldReport>,
    /// The highest trigger that was verified; kept for removed cells too.
    #[serde(default)]
    pub seen: Option<Floor>,
    /// The trigger that was carried out last.
    #[serde(default)]
    pub applied: Option<Floor>,
    /// What the highest trigger asks for: `deploy`, `stop`, `remove`.
    #[serde(default)]
    pub action: Option<String>,
    /// The version that the highest trigger asks for.
    #[serde(default)]
    pub desired: Option<VersionReport>,
    /// The version that `current` points at.
    #[serde(default)]
    pub running: Option<VersionReport>,
    /// The version to go back to.
    #[serde(default)]
    pub known_good: Option<VersionReport>,
    /// Whether it runs.
    pub state: RunningState,
    /// Its processes, where the profile tells them apart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub processes: BTreeMap<ProcessName, Box<ProcessReport>>,
    /// What its checks say, where its version has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Box<HealthReport>>,
    /// Whether what is on the host is still what was deployed; absent where nothing is, or nobody looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Box<DriftReport>>,
    /// Counts the attempts at the highest trigger.
    #[serde(default)]
    pub attempt: u32,
    /// What went wrong last.
    #[serde(default)]
    pub last_error: Option<Fault>,
    /// Content that failed here and is not tried again by itself.
    #[serde(default)]
    pub failed_content: Vec<Sha256Digest>,
    /// What stays wrong until somebody acts.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A hold, as the node keeps it: nothing that runs is changed until it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct HoldReport {
    /// The order.
    #[cfg_attr(feature = "controller", schemars(with = "String"))]
    pub order: Ulid,
    /// Who gave it.
    pub by: UserName,
    /// Why.
    pub reason: String,
    /// When it was given.
    pub since: DateTime<Utc>,
    /// When it ends by itself, by the store's clock.
    pub until: DateTime<Utc>,
    /// Whether it is of the node as a whole.
    #[serde(default)]
    pub whole_node: bool,
}

/// A version, by name and digests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct VersionReport {
    /// Its name.
    pub version: VersionName,
    /// The digest of its `manifest.json`.
    pub manifest_sha256: Sha256Digest,
    /// What it is.
    pub content_sha256: Sha256Digest,
}

impl From<&Target> for VersionReport {
    fn from(target: &Target) -> Self {
        Self {
            version: target.version.clone(),
            manifest_sha256: target.manifest_sha256,
            content_sha256: target.content_sha256,
        }
    }
}

/// What an agent is doing with a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// What is desired runs.
    UpToDate,
    /// Something must happen first; see [`CellReport::waiting`].
    Waiting,
    /// Files are on their way.
    Fetching,
    /// Files are being checked.
    Verifying,
    /// The version is being switched to and started.
    Activating,
    /// The version runs, and its health is being watched.
    Checking,
    /// It failed, and the last known good version runs again.
    RolledBack,
    /// It failed, and nothing was left to go back to.
    Failed,
    /// A trigger or an order forbids to go on.
    Held,
    /// A trigger stopped it.
    Stopped,
    /// A trigger removed it.
    Removed,
    /// What is on the host is not what the state says.
    Inconsistent,
    /// A phase of a newer agent.
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// The phase as documents write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UpToDate => "up_to_date",
            Self::Waiting => "waiting",
            Self::Fetching => "fetching",
            Self::Verifying => "verifying",
            Self::Activating => "activating",
            Self::Checking => "checking",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Held => "held",
            Self::Stopped => "stopped",
            Self::Removed => "removed",
            Self::Inconsistent => "inconsistent",
            Self::Unknown => "unknown",
        }
    }
}

/// What a cell waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Waiting {
    /// What programs compare.
    pub reason: Code,
    /// What people read.
    pub message: String,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// Whether a cell runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RunningState {
    /// Nothing runs under this profile.
    #[serde(rename = "n/a")]
    NotApplicable,
    /// It runs.
    Running {
        /// The main process.
        #[serde(default)]
        pid: Option<u32>,
        /// Since when.
        #[serde(default)]
        since: Option<DateTime<Utc>>,
        /// How often it was restarted since the version was activated.
        #[serde(default)]
        restarts: u32,
    },
    /// It is on its way up.
    Starting,
    /// It does not run, and should not.
    Stopped,
    /// It does not run, and should.
    Failed {
        /// Why, as far as it is known.
        reason: String,
    },
    /// Nobody could tell, or a newer agent told something else.
    #[serde(other)]
    Unknown,
}

/// One process of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct ProcessReport {
    /// What it does.
    pub state: ProcessState,
    /// Its process id, while it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Since when it does that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// How often it was restarted since the version was activated.
    #[serde(default)]
    pub restarts: u32,
    /// The code that it ended with last, if it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that ended it last, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_signal: Option<i32>,
    /// What is wrong with it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// It waits for others, or is on its way up.
    Starting,
    /// It runs.
    Running,
    /// It was told to end, and has not yet.
    Stopping,
    /// It does not run, and should not.
    Stopped,
    /// It ended and will be started again.
    Backoff,
    /// It ended badly and is not started again.
    Crashed,
    /// It cannot be started.
    Failed,
    /// A task that ended well.
    Completed,
    /// A state of a newer agent.
    #[serde(other)]
    Unknown,
}

impl ProcessState {
    /// The state as documents write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Backoff => "backoff",
            Self::Crashed => "crashed",
            Self::Failed => "failed",
            Self::Completed => "completed",
            Self::Unknown => "unknown",
        }
    }
}

/// What the checks of a cell say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct HealthReport {
    /// All of them together.
    pub state: HealthState,
    /// Since when, by the node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// While the version is being watched and every check passes: until when they have to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need_until: Option<DateTime<Utc>>,
    /// While the version is being watched: when it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DateTime<Utc>>,
    /// How often the cell was restarted because a check went on failing, since the agent started or the version was
    /// activated.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// When that was done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<DateTime<Utc>>,
    /// Each of them.
    #[serde(default)]
    pub checks: BTreeMap<CheckName, CheckReport>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// All is well.
    Passing,
    /// Something is wrong.
    Failing,
    /// The version was brought up, and is being watched until it is good.
    Starting,
    /// Nothing was heard yet, or a newer agent told something else.
    #[serde(other)]
    Unknown,
}

impl HealthState {
    /// The state as documents write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Failing => "failing",
            Self::Starting => "starting",
            Self::Unknown => "unknown",
        }
    }
}

/// What one check says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct CheckReport {
    /// Whether it passes.
    pub state: HealthState,
    /// What it found when that began, or not long ago.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when it is so, by the node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
}

/// Reads the entries one by one and leaves out what cannot be read: heartbeats are hostile text.
fn readable_cells<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<CellName, Box<CellReport>>, D::Error> {
    let raw = BTreeMap::<String, Box<RawValue>>::deserialize(deserializer)?;
    Ok(raw
        .into_iter()
        .filter_map(|(name, raw)| Some((CellName::new(name).ok()?, serde_json::from_str(raw.get()).ok()?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::document;

    #[test]
    fn windows_that_cannot_be_read_or_are_too_many_count_as_not_said() {
        let text = |windows: &str| {
            format!(
                r#"{{"schema":"fleetman/heartbeat/1","node":"n1","fleet":"6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10",
                "agent_version":"9","instance_id":"6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10","sequence":1,
                "started_at":"2026-01-02T03:04:05Z","reported_at":"2026-01-02T03:04:05Z","interval_secs":60,
                "signing":"signed"{windows}}}"#
            )
        };
        let said = |windows: &str| document::parse::<Heartbeat>(text(windows).as_bytes()).unwrap().windows;
        let window = r#"{"allow":"0 2 * * *","for_secs":3600,"time_zone":"UTC"}"#;
        let of = |count: usize| format!(r#","windows":{{"activate":[{}]}}"#, vec![window; count].join(","));
        assert_eq!(said(&of(2)).unwrap().activate.len(), 2);
        assert_eq!(said(r#","windows":{}"#), Some(Box::default()));
        for unsaid in
            ["", r#","windows":null"#, r#","windows":7"#, &of(Windows::MOST + 1), &of(1).replace("UTC", "Moon")]
        {
            assert_eq!(said(unsaid), None, "{unsaid}");
        }
    }

    #[test]
    fn a_cell_that_cannot_be_read_spoils_only_itself() {
        let text = r#"{"schema":"fleetman/heartbeat/1","node":"n1","fleet":"6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10",
            "agent_version":"9","instance_id":"6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10","sequence":1,
            "started_at":"2026-01-02T03:04:05Z","reported_at":"2026-01-02T03:04:05Z","interval_secs":60,
            "signing":"signed","cells":{
                "good":{"phase":"up_to_date","state":{"state":"n/a"}},
                "newer":{"phase":"levitating","state":{"state":"dreaming"},"processes":{"main":{"state":"sleeping"}}},
                "bad":{"phase":7},"<script>":{"phase":"up_to_date","state":{"state":"n/a"}}}}"#;
        let beat: Heartbeat = document::parse(text.as_bytes()).unwrap();
        let names: Vec<&str> = beat.cells.keys().map(CellName::as_str).collect();
        assert_eq!(names, ["good", "newer"]);
        let newer = &beat.cells[&CellName::new("newer").unwrap()];
        assert_eq!((newer.phase, &newer.state), (Phase::Unknown, &RunningState::Unknown));
        assert_eq!(newer.processes[&ProcessName::main()].state, ProcessState::Unknown);
    }
}
