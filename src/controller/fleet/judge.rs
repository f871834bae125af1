//! What is made of a node's silence and of a cell's report: pure judgements, of which nothing is kept.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::view::Desired;
use crate::model::heartbeat::{CellReport, HealthState, Phase, ProcessState, RunningState};

/// What is assumed of a node whose heartbeat does not tell how often it comes.
const USUAL_INTERVAL_SECS: u64 = 60;

/// The longest interval that is believed: a node must not be able to call itself alive for ever.
const LONGEST_INTERVAL_SECS: u64 = 3_600;

/// How many missed heartbeats mean what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LivenessLimits {
    /// After so many intervals a node is [`Liveness::Warning`].
    pub warning: u32,
    /// After so many it is [`Liveness::Dead`].
    pub dead: u32,
}

impl Default for LivenessLimits {
    fn default() -> Self {
        Self { warning: 2, dead: 5 }
    }
}

/// Whether a node is heard of, by the store's clock alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Liveness {
    /// Its heartbeats come.
    Active,
    /// Some did not.
    Warning,
    /// None came for long.
    Dead,
    /// It was never heard of, or the store does not tell when.
    Unknown,
}

impl Liveness {
    /// Each of them.
    pub const ALL: [Self; 4] = [Self::Active, Self::Warning, Self::Dead, Self::Unknown];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Warning => "warning",
            Self::Dead => "dead",
            Self::Unknown => "unknown",
        }
    }
}

impl LivenessLimits {
    /// Judges a node by when the store took its heartbeat.
    #[must_use]
    pub fn judge(self, seen: Option<DateTime<Utc>>, interval_secs: Option<u64>, now: DateTime<Utc>) -> Liveness {
        let Some(seen) = seen else { return Liveness::Unknown };
        let interval = interval_secs.unwrap_or(USUAL_INTERVAL_SECS).clamp(1, LONGEST_INTERVAL_SECS);
        let after = |count: u32| {
            TimeDelta::seconds(i64::try_from(interval).unwrap_or(i64::MAX)) * i32::try_from(count).unwrap_or(i32::MAX)
        };
        match now - seen {
            age if age >= after(self.dead) => Liveness::Dead,
            age if age >= after(self.warning) => Liveness::Warning,
            _ => Liveness::Active,
        }
    }
}

/// Whether a cell is what it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    /// It is.
    Synced,
    /// It is not, or not yet.
    OutOfSync,
    /// Nobody can tell: its node is not heard of.
    Unknown,
}

impl Sync {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Synced, Self::OutOfSync, Self::Unknown];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::OutOfSync => "out_of_sync",
            Self::Unknown => "unknown",
        }
    }
}

/// So many restarts are no accident any more.
const FLAPPING: u32 = 3;

/// A process that was started again this recently may fall again.
const SETTLED: TimeDelta = TimeDelta::minutes(10);

/// Whether a cell runs well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing runs under its profile.
    #[serde(rename = "n/a")]
    NotApplicable,
    /// It runs.
    Healthy,
    /// It is on its way up.
    Starting,
    /// It runs, but not whole or not steadily: some of its processes run while others failed, or one was restarted
    /// three times or more and was up for less than ten minutes when its node reported, or waits to be restarted again;
    /// or one of its checks fails.
    Degraded,
    /// It does not run, and should not.
    Stopped,
    /// It does not run, and should.
    Failed,
    /// Nobody can tell.
    Unknown,
}

impl Health {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::NotApplicable,
        Self::Healthy,
        Self::Starting,
        Self::Degraded,
        Self::Stopped,
        Self::Failed,
        Self::Unknown,
    ];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotApplicable => "n/a",
            Self::Healthy => "healthy",
            Self::Starting => "starting",
            Self::Degraded => "degraded",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether a cell is what it is to be, by what its node says.
pub(super) fn sync(desired: Option<&Desired>, report: Option<&CellReport>, liveness: Liveness) -> Sync {
    if matches!(liveness, Liveness::Dead | Liveness::Unknown) {
        return Sync::Unknown;
    }
    let (Some(desired), Some(report)) = (desired, report) else {
        // Nothing is to be and nothing is, or one of both.
        return if desired.is_none() && report.is_none() { Sync::Synced } else { Sync::OutOfSync };
    };
    let runs = report.running.as_ref().map(|running| running.manifest_sha256);
    let is_there = match (desired.claim.action.as_str(), &desired.target) {
        ("deploy", Some(target)) => report.phase == Phase::UpToDate && runs == Some(target.manifest_sha256),
        ("stop", _) => report.phase == Phase::Stopped,
        ("remove", _) => report.phase == Phase::Removed,
        _ => false,
    };
    if is_there && report.applied == Some(desired.claim.at) { Sync::Synced } else { Sync::OutOfSync }
}

/// Whether a cell runs well, by what its node said at `reported_at`, by the node's own clock.
pub(super) fn health(report: Option<&CellReport>, reported_at: DateTime<Utc>, liveness: Liveness) -> Health {
    if matches!(liveness, Liveness::Dead | Liveness::Unknown) {
        return Health::Unknown;
    }
    let Some(report) = report else { return Health::Unknown };
    let by_checks = report.health.as_ref().map(|health| match health.state {
        HealthState::Passing => Health::Healthy,
        HealthState::Failing => Health::Degraded,
        HealthState::Starting => Health::Starting,
        HealthState::Unknown => Health::Unknown,
    });
    match by_processes(report, reported_at) {
        // What does not run well is told before what is asked of it.
        judged @ (Health::Healthy | Health::NotApplicable) => by_checks.unwrap_or(judged),
        judged => judged,
    }
}

fn by_processes(report: &CellReport, reported_at: DateTime<Utc>) -> Health {
    match &report.state {
        RunningState::NotApplicable => Health::NotApplicable,
        RunningState::Running { .. } | RunningState::Starting if is_flapping(report, reported_at) => Health::Degraded,
        RunningState::Running { .. } => Health::Healthy,
        RunningState::Starting => Health::Starting,
        RunningState::Stopped => Health::Stopped,
        RunningState::Failed { .. } if runs_in_part(report) => Health::Degraded,
        RunningState::Failed { .. } => Health::Failed,
        RunningState::Unknown => Health::Unknown,
    }
}

/// Whether something of it runs, although it failed.
fn runs_in_part(report: &CellReport) -> bool {
    report.processes.values().any(|process| process.state == ProcessState::Running)
}

fn is_flapping(report: &CellReport, reported_at: DateTime<Utc>) -> bool {
    let is_young = |since: Option<DateTime<Utc>>| since.is_some_and(|since| reported_at - since < SETTLED);
    if let (RunningState::Running { since, restarts, .. }, true) = (&report.state, report.processes.is_empty()) {
        return *restarts >= FLAPPING && is_young(*since);
    }
    report.processes.values().any(|process| {
        let is_unsteady = match process.state {
            ProcessState::Backoff => true,
            ProcessState::Running => is_young(process.since),
            _ => false,
        };
        is_unsteady && process.restarts >= FLAPPING
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::error::Claim;
    use crate::model::heartbeat::VersionReport;
    use crate::model::trigger::Target;
    use crate::model::{Epoch, Floor, Generation, Sha256Digest, VersionName};

    fn at(generation: u64) -> Floor {
        Floor::new(Epoch::FIRST, Generation::new(generation).unwrap())
    }

    fn target(name: &str) -> Target {
        let manifest_sha256 = Sha256Digest::of(name.as_bytes());
        let version = VersionName::new(name).unwrap();
        Target { version, manifest_sha256, manifest_size: 1, content_sha256: Sha256Digest::of(b"c") }
    }

    fn desired(action: &str, version: Option<&str>) -> Desired {
        let target = version.map(target);
        let claim = Claim {
            at: at(3),
            action: action.to_owned(),
            version: target.as_ref().map(|target| target.version.clone()),
            by: crate::model::UserName::new("alice").unwrap(),
            issued_at: DateTime::UNIX_EPOCH,
        };
        Desired { claim, target, reason: None, signed_by: None }
    }

    fn report(phase: &str, applied: u64, running: Option<&str>) -> CellReport {
        let text = serde_json::json!({
            "phase": phase, "state": {"state": "n/a"}, "applied": at(applied),
            "running": running.map(|name| VersionReport::from(&target(name))),
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_cell_is_synced_when_its_node_carried_out_the_newest_trigger() {
        let wanted = desired("deploy", Some("v2"));
        let judged = |report: CellReport| sync(Some(&wanted), Some(&report), Liveness::Active);
        assert_eq!(judged(report("up_to_date", 3, Some("v2"))), Sync::Synced);
        assert_eq!(judged(report("up_to_date", 2, Some("v2"))), Sync::OutOfSync, "an older trigger");
        assert_eq!(judged(report("up_to_date", 3, Some("v1"))), Sync::OutOfSync, "another version");
        assert_eq!(judged(report("rolled_back", 3, Some("v1"))), Sync::OutOfSync);
        let stopped = report("stopped", 3, Some("v2"));
        assert_eq!(sync(Some(&desired("stop", None)), Some(&stopped), Liveness::Warning), Sync::Synced);
        assert_eq!(sync(Some(&wanted), None, Liveness::Active), Sync::OutOfSync);
    }

    #[test]
    fn of_a_node_that_is_not_heard_of_nothing_is_known() {
        let (wanted, report) = (desired("deploy", Some("v2")), report("up_to_date", 3, Some("v2")));
        assert_eq!(sync(Some(&wanted), Some(&report), Liveness::Dead), Sync::Unknown);
        assert_eq!(health(Some(&report), DateTime::UNIX_EPOCH, Liveness::Dead), Health::Unknown);
        assert_eq!(health(Some(&report), DateTime::UNIX_EPOCH, Liveness::Active), Health::NotApplicable);
    }

    /// A report as of a node that wrote it at 2026-01-02T04:00:00Z.
    fn judged(state: Value, processes: Value) -> Health {
        let report: CellReport =
            serde_json::from_value(json!({"phase": "up_to_date", "state": state, "processes": processes})).unwrap();
        health(Some(&report), "2026-01-02T04:00:00Z".parse().unwrap(), Liveness::Active)
    }

    #[test]
    fn a_cell_of_which_a_part_failed_is_degraded_and_failed_when_nothing_of_it_runs() {
        let failed = json!({"state": "failed", "reason": "worker exit code 1"});
        let (up, down) = (json!({"state": "running"}), json!({"state": "crashed"}));
        assert_eq!(judged(failed.clone(), json!({"web": up, "worker": down})), Health::Degraded);
        assert_eq!(judged(failed.clone(), json!({"worker": down})), Health::Failed);
        assert_eq!(judged(failed, json!({})), Health::Failed);
        // One that is started by hand only fails alone.
        assert_eq!(judged(json!({"state": "running"}), json!({"web": up, "task": down})), Health::Healthy);
    }

    #[test]
    fn a_cell_that_runs_is_what_its_checks_say() {
        let judged = |state: &str, checks: &str| {
            let report =
                json!({"phase": "up_to_date", "state": {"state": state, "reason": ""}, "health": {"state": checks}});
            let report: CellReport = serde_json::from_value(report).unwrap();
            health(Some(&report), DateTime::UNIX_EPOCH, Liveness::Active)
        };
        for state in ["running", "n/a"] {
            assert_eq!(judged(state, "passing"), Health::Healthy);
            assert_eq!(judged(state, "failing"), Health::Degraded);
            assert_eq!(judged(state, "starting"), Health::Starting);
            assert_eq!(judged(state, "sublime"), Health::Unknown);
        }
        assert_eq!(judged("failed", "passing"), Health::Failed, "somebody else answers");
        assert_eq!(judged("starting", "failing"), Health::Starting);
        assert_eq!(judged("stopped", "failing"), Health::Stopped);
    }

    #[test]
    fn a_cell_that_falls_again_and_again_is_degraded_until_it_stays_up() {
        let whole = |since: &str, restarts: u32| {
            judged(json!({"state": "running", "since": since, "restarts": restarts}), json!({}))
        };
        assert_eq!(whole("2026-01-02T03:50:01Z", 3), Health::Degraded);
        assert_eq!(whole("2026-01-02T03:50:00Z", 3), Health::Healthy, "up for ten minutes");
        assert_eq!(whole("2026-01-02T03:59:59Z", 2), Health::Healthy, "an accident or two");
        let process = |state: &str, restarts: u32| {
            let process = json!({"state": state, "since": "2026-01-02T03:59:00Z", "restarts": restarts});
            // Of several, none may hide behind another that stays up.
            judged(json!({"state": "starting"}), json!({"a": {"state": "running"}, "b": process}))
        };
        assert_eq!(process("running", 3), Health::Degraded);
        assert_eq!(process("backoff", 3), Health::Degraded);
        assert_eq!(process("backoff", 2), Health::Starting);
        assert_eq!(process("starting", 3), Health::Starting);
        let summed = json!({"a": {"state": "running", "since": "2026-01-02T03:59:00Z", "restarts": 2},
            "b": {"state": "running", "since": "2026-01-02T03:59:00Z", "restarts": 2}});
        let state = json!({"state": "running", "since": "2026-01-02T03:59:00Z", "restarts": 4});
        assert_eq!(judged(state, summed), Health::Healthy, "each by itself");
    }

    #[test]
    fn liveness_is_counted_in_intervals_of_the_node_within_reason() {
        let now = DateTime::from_timestamp(1_000_000, 0).unwrap();
        let judged =
            |age: i64, interval| LivenessLimits::default().judge(Some(now - TimeDelta::seconds(age)), interval, now);
        assert_eq!(judged(119, Some(60)), Liveness::Active);
        assert_eq!(judged(120, Some(60)), Liveness::Warning);
        assert_eq!(judged(300, Some(60)), Liveness::Dead);
        assert_eq!(judged(20_000, Some(u64::MAX)), Liveness::Dead, "nobody lives for ever");
        assert_eq!(judged(1, Some(0)), Liveness::Active);
        assert_eq!(judged(-5, None), Liveness::Active, "clocks differ");
        assert_eq!(LivenessLimits::default().judge(None, None, now), Liveness::Unknown);
    }
}
