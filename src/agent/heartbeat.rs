//! The heartbeat: one writer, one object, and a look whether it is really one.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::context::Context;
use super::host;
use super::report::boxed;
use super::trouble::Trouble;
use crate::clock::to_seconds;
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::{CellReport, Condition, Fault, Heartbeat, HoldReport, SigningMode};
use crate::model::sign::Trust;
use crate::model::{CellName, Code, ObjectKey};
use crate::store::StoreError;

/// Seen so often in a row, another agent's heartbeat is no leftover of an earlier life of this one.
const FOREIGN_BEATS: u32 = 2;

/// Seen so often in a row, our own heartbeat shows that the other agent is gone.
const OWN_BEATS: u32 = 3;

/// Writes the heartbeats of one agent.
#[derive(Debug)]
pub(super) struct Heart {
    pub(super) instance_id: Uuid,
    pub(super) started_at: DateTime<Utc>,
    pub(super) interval_secs: u64,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) boot_id: Option<String>,
    /// Of the last heartbeat.
    pub(super) sequence: u64,
    /// Heartbeats read in a row that another agent wrote, and that this one wrote.
    foreign: u32,
    own: u32,
    /// Whether one of ours should have been there when it was read.
    written: bool,
    /// The other agent, while it is taken to be there.
    pub(super) duplicate: Option<Uuid>,
}

/// What a heartbeat says beside what the agent always is.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse {
    pub(super) cells: BTreeMap<CellName, CellReport>,
    pub(super) conditions: Vec<Condition>,
    pub(super) store_error: Option<Fault>,
    /// Of the node as a whole.
    pub(super) hold: Option<HoldReport>,
}

impl Heart {
    pub(super) fn new(
        instance_id: Uuid,
        started_at: DateTime<Utc>,
        interval_secs: u64,
        labels: BTreeMap<String, String>,
        sequence: u64,
    ) -> Self {
        let boot_id = host::boot_id();
        let started_at = to_seconds(started_at);
        let (foreign, own, written, duplicate) = (0, 0, false, None);
        Self { instance_id, started_at, interval_secs, labels, boot_id, sequence, foreign, own, written, duplicate }
    }

    /// The next heartbeat.
    pub(super) fn compose(&mut self, context: &Context, pulse: Pulse) -> Heartbeat {
        self.sequence += 1;
        let placed = pulse.cells.keys().next().zip(context.profiles.iter().next());
        let folder = placed.map(|(cell, profile)| profile.placement(cell).folder);
        let signing = match context.identity.trust {
            Trust::Keys(_) => SigningMode::Signed,
            Trust::Unsigned => SigningMode::Unsigned,
        };
        Heartbeat {
            node: context.identity.node.clone(),
            fleet: context.identity.fleet,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            instance_id: self.instance_id,
            boot_id: self.boot_id.clone(),
            sequence: self.sequence,
            started_at: self.started_at,
            reported_at: to_seconds(context.clock.now()),
            interval_secs: self.interval_secs,
            signing,
            host: host::facts(folder.as_deref().unwrap_or(context.home.root().path())),
            labels: self.labels.clone(),
            clock_skew_ms: context.store.clock_skew().map(|skew| skew.num_milliseconds()),
            store_error: pulse.store_error,
            conditions: pulse.conditions,
            hold: pulse.hold,
            windows: Some(Box::new(context.windows.clone())),
            cells: boxed(pulse.cells),
        }
    }

    /// Reads the heartbeat of this node as it lies in the bucket.
    pub(super) async fn read(context: &Context) -> Result<Option<Heartbeat>, StoreError> {
        let key = ObjectKey::Heartbeat(context.identity.node.clone());
        let object = match context.store.find(&key, Heartbeat::MAX_BYTES).await {
            Ok(object) => object,
            // Whatever that is, we did not write it, and will overwrite it.
            Err(StoreError::TooLarge { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(object.and_then(|object| document::parse(&object.bytes).ok()))
    }

    /// Whether `last`, a heartbeat in the bucket, says more than the state here knows of.
    pub(super) fn is_behind(&self, last: &Heartbeat) -> bool {
        last.instance_id == self.instance_id && last.sequence > self.sequence
    }

    /// Counts on where `last` left off, if it is this agent's own.
    pub(super) fn catch_up(&mut self, last: &Heartbeat) {
        if self.is_behind(last) {
            self.sequence = last.sequence;
        }
    }

    /// Takes in whose heartbeat lies in the bucket; true if that changes whether the node is taken to be double.
    ///
    /// Another agent's counts only where one of ours should be: after a start, the last one may be of an earlier life
    /// of this node. A clone of the node has our instance id, and started at another time.
    pub(super) fn recognise(&mut self, found: Option<&Heartbeat>) -> bool {
        let before = self.duplicate;
        if let Some(found) = found.filter(|_| std::mem::take(&mut self.written)) {
            if (found.instance_id, found.started_at) == (self.instance_id, self.started_at) {
                (self.foreign, self.own) = (0, self.own + 1);
            } else {
                (self.foreign, self.own) = (self.foreign + 1, 0);
            }
            if self.foreign >= FOREIGN_BEATS {
                self.duplicate = Some(found.instance_id);
            } else if self.own >= OWN_BEATS {
                self.duplicate = None;
            }
        }
        before != self.duplicate
    }

    /// Writes a heartbeat to the bucket.
    pub(super) async fn send(&mut self, context: &Context, rendered: &[u8]) -> Result<(), Trouble> {
        context.home.root().before("send the heartbeat", "")?;
        let key = ObjectKey::Heartbeat(context.identity.node.clone());
        context.store.put_own(&key, Bytes::copy_from_slice(rendered)).await?;
        self.written = true;
        Ok(())
    }
}

/// The heartbeat's text. What is too much for one goes, words first and floors last, and the heartbeat says so.
pub(super) fn render(heartbeat: &mut Heartbeat) -> Vec<u8> {
    let mut rendered = document::render(heartbeat);
    if fits(&rendered) {
        return rendered;
    }
    let message = "there is more to tell than a heartbeat may hold; the agent's own log has the rest";
    heartbeat.conditions.retain(|condition| condition.code != Code::HeartbeatCut);
    heartbeat.conditions.push(Condition { code: Code::HeartbeatCut, message: message.to_owned() });
    for shed in [shed_words, shed_versions] {
        heartbeat.cells.values_mut().for_each(|report| shed(report));
        rendered = document::render(heartbeat);
        if fits(&rendered) {
            return rendered;
        }
    }
    heartbeat.cells.retain(|_, report| report.seen.is_some());
    while !fits(&rendered) && !heartbeat.cells.is_empty() {
        let most = heartbeat.cells.len() * 9 / 10;
        heartbeat.cells = std::mem::take(&mut heartbeat.cells).into_iter().take(most).collect();
        rendered = document::render(heartbeat);
    }
    rendered
}

fn fits(rendered: &[u8]) -> bool {
    rendered.len() as u64 <= Heartbeat::MAX_BYTES
}

/// Leaves the codes.
fn shed_words(report: &mut CellReport) {
    report.failed_content.clear();
    let faults = report.last_error.iter_mut().map(|fault| &mut fault.message);
    let waiting = report.waiting.iter_mut().map(|waiting| &mut waiting.message);
    let conditions = report.conditions.iter_mut().map(|condition| &mut condition.message);
    faults.chain(waiting).chain(conditions).for_each(String::clear);
    report.processes.values_mut().for_each(|process| process.reason = None);
    let checks = report.health.iter_mut().flat_map(|health| health.checks.values_mut());
    checks.for_each(|check| check.message.clear());
    if let Some(drift) = &mut report.drift {
        drift.more = drift.count();
        drift.findings.clear();
        drift.repairs.clear();
        drift.problem.iter_mut().for_each(|problem| problem.message.clear());
    }
}

/// Leaves the version that runs.
fn shed_versions(report: &mut CellReport) {
    (report.desired, report.known_good) = (None, None);
    report.processes.clear();
    report.health.iter_mut().for_each(|health| health.checks.clear());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::heartbeat::{HostFacts, Phase, ProcessReport, ProcessState, RunningState, VersionReport};
    use crate::model::{Epoch, Floor, Generation, NodeName, ProcessName, Sha256Digest, VersionName};

    fn beat(cells: usize) -> Heartbeat {
        let floor = Floor::new(Epoch::FIRST, Generation::FIRST);
        let fault = Fault { code: Code::Io, message: "x".repeat(400), at: DateTime::UNIX_EPOCH };
        let digest = Sha256Digest::of(b"x");
        let version = VersionName::new("v".repeat(128)).unwrap();
        let version = VersionReport { version, manifest_sha256: digest, content_sha256: digest };
        let process = ProcessReport {
            state: ProcessState::Backoff,
            pid: None,
            since: None,
            restarts: 7,
            exit_code: Some(1),
            exit_signal: None,
            reason: Some("x".repeat(400)),
        };
        let processes = BTreeMap::from([(ProcessName::main(), process)]);
        let report = CellReport {
            profile: Some("deploy".to_owned()),
            phase: Phase::Failed,
            waiting: None,
            hold: None,
            seen: Some(floor),
            applied: Some(floor),
            action: Some("deploy".to_owned()),
            desired: Some(version.clone()),
            running: Some(version.clone()),
            known_good: Some(version),
            state: RunningState::NotApplicable,
            processes: boxed(processes.clone()),
            health: None,
            drift: None,
            attempt: 1,
            last_error: Some(fault.clone()),
            failed_content: vec![digest; 64],
            conditions: vec![Condition { code: Code::NeedsOperator, message: fault.message }],
        };
        let stranger = CellReport { seen: None, ..report.clone() };
        let name = |text: String| CellName::new(text).unwrap();
        let strangers = (0..100).map(|at| (name(format!("a-stranger-{at}")), stranger.clone()));
        Heartbeat {
            node: NodeName::new("n1").unwrap(),
            fleet: Uuid::from_u128(1),
            agent_version: "0".to_owned(),
            instance_id: Uuid::from_u128(1),
            boot_id: None,
            sequence: 1,
            started_at: DateTime::UNIX_EPOCH,
            reported_at: DateTime::UNIX_EPOCH,
            interval_secs: 60,
            signing: SigningMode::Signed,
            host: HostFacts::default(),
            labels: BTreeMap::new(),
            clock_skew_ms: None,
            store_error: None,
            conditions: Vec::new(),
            hold: None,
            windows: None,
            cells: boxed((0..cells).map(|at| (name(format!("cell-{at}")), report.clone())).chain(strangers).collect()),
        }
    }

    /// What readers get, and whether it says that it was cut.
    fn read(cells: usize) -> (Heartbeat, bool) {
        let rendered = render(&mut beat(cells));
        let read: Heartbeat = document::parse(&rendered).expect("what is sent can be read");
        let cut = read.conditions.iter().filter(|condition| condition.code == Code::HeartbeatCut).count();
        assert!(cut <= 1);
        (read, cut == 1)
    }

    #[test]
    fn a_heartbeat_of_many_cells_still_fits_and_keeps_floors_and_codes_longest() {
        let (few, cut) = read(10);
        assert!(!cut && few.cells.len() == 110 && few.conditions.is_empty());
        assert_eq!(few.cells.values().next().unwrap().failed_content.len(), 64);

        let (many, cut) = read(400);
        assert!(cut && many.cells.len() == 500);
        let report = &many.cells[&CellName::new("cell-399").unwrap()];
        assert_eq!(report.conditions[0].code, Code::NeedsOperator);
        assert_eq!((report.last_error.as_ref().unwrap().code, report.failed_content.len()), (Code::Io, 0));
        let process = &report.processes[&ProcessName::main()];
        assert_eq!((process.restarts, &process.reason), (7, &None));

        let (most, cut) = read(10_000);
        assert!(cut && most.cells.len() > 500, "{}", most.cells.len());
        assert!(most.cells.values().all(|report| report.seen.is_some() && report.running.is_some()));
    }
}
