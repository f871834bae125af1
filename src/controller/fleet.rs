//! What the fleet is to be and what it is: the indexes and the heartbeats, joined.
//!
//! Everything in a heartbeat is a claim of the node, and its texts may be hostile: they are kept as data, and whoever
//! shows them escapes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

use super::error::Claim;
use super::inputs::READS;
use super::{Controller, ControllerError};
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::{CellReport, Heartbeat, Phase, RunningState};
use crate::model::index::{About, Index};
use crate::model::keys::Folder;
use crate::model::sign::Verified;
use crate::model::trigger::{Action, Target, Trigger};
use crate::model::{CellId, CellName, Floor, NodeName, ObjectKey};
use crate::store::{Depth, ETag, StoreError};

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    /// It is.
    Synced,
    /// It is not, or not yet.
    OutOfSync,
    /// Nobody can tell: its node is not heard of.
    Unknown,
}

/// Whether a cell runs well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing runs under its profile.
    #[serde(rename = "n/a")]
    NotApplicable,
    /// It runs.
    Healthy,
    /// It is on its way up.
    Starting,
    /// It does not run, and should not.
    Stopped,
    /// It does not run, and should.
    Failed,
    /// Nobody can tell.
    Unknown,
}

/// What a cell is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    /// The trigger, and who issued it.
    pub claim: Claim,
    /// The version, if one is to run.
    pub target: Option<Target>,
    /// Why, in the issuer's words.
    pub reason: Option<String>,
}

impl From<&Verified<Trigger>> for Desired {
    fn from(trigger: &Verified<Trigger>) -> Self {
        let target = trigger.action.target().cloned();
        Self { claim: Claim::from(trigger), target, reason: trigger.reason.clone() }
    }
}

/// A node.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Its name.
    pub node: NodeName,
    /// Whether it is heard of.
    pub liveness: Liveness,
    /// When the store took its newest heartbeat.
    pub last_seen: Option<DateTime<Utc>>,
    /// What it says of itself.
    pub heartbeat: Option<Arc<Heartbeat>>,
    /// Why its heartbeat or its index cannot be read.
    pub problems: Vec<String>,
}

/// A cell.
#[derive(Debug, Clone)]
pub struct CellView {
    /// Its name.
    pub cell: CellId,
    /// What its document says of it; a hint, unsigned.
    pub about: Option<About>,
    /// What it is to be, by the newest trigger that is believed.
    pub desired: Option<Desired>,
    /// Why what the index says of it is not believed.
    pub problem: Option<String>,
    /// What its node says of it.
    pub report: Option<CellReport>,
    /// Whether its node is heard of.
    pub liveness: Liveness,
    /// Whether it is what it is to be.
    pub sync: Sync,
    /// Whether it runs well.
    pub health: Health,
}

/// The fleet at one moment.
#[derive(Debug, Clone)]
pub struct FleetView {
    /// The moment, by the store's clock.
    pub at: DateTime<Utc>,
    /// Every node that has a heartbeat or an index, by name.
    pub nodes: Vec<NodeView>,
    /// Every cell of which a node's index or heartbeat speaks, by name.
    pub cells: Vec<CellView>,
}

/// Reads the fleet again and again: one LIST of the heartbeats, one of the indexes, and a GET of each that changed.
#[derive(Debug, Default)]
pub struct FleetReader {
    limits: LivenessLimits,
    beats: BTreeMap<NodeName, Cached<Heartbeat>>,
    wishes: BTreeMap<NodeName, Cached<Wishes>>,
}

/// An object as it was read; an error says why it cannot be.
#[derive(Debug, Clone)]
struct Cached<T> {
    etag: ETag,
    modified: Option<DateTime<Utc>>,
    value: Result<Arc<T>, String>,
}

/// What an index says, verified.
#[derive(Debug, Default)]
struct Wishes {
    cells: BTreeMap<CellName, Wish>,
    /// Entries that cannot even be read.
    problems: Vec<String>,
}

#[derive(Debug, Default)]
struct Wish {
    about: Option<About>,
    desired: Option<Desired>,
    problem: Option<String>,
}

impl FleetReader {
    /// A reader that knows nothing yet.
    #[must_use]
    pub fn new(limits: LivenessLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Reads what changed and joins it with what was known.
    ///
    /// # Errors
    /// Why the store did not answer. An object that cannot be read is part of the view.
    pub async fn refresh(&mut self, controller: &Controller) -> Result<FleetView, ControllerError> {
        let heartbeat = |key: &ObjectKey| match key {
            ObjectKey::Heartbeat(node) => Some(node.clone()),
            _ => None,
        };
        let index = |key: &ObjectKey| match key {
            ObjectKey::Index(node) => Some(node.clone()),
            _ => None,
        };
        let (beats, wishes) = tokio::try_join!(
            controller.reread(&self.beats, &Folder::Agents, Heartbeat::MAX_BYTES, heartbeat, read_beat),
            controller.reread(&self.wishes, &Folder::Indexes, Index::MAX_BYTES, index, |node, bytes| {
                controller.read_wishes(node, bytes)
            }),
        )?;
        (self.beats, self.wishes) = (beats, wishes);
        Ok(self.join(controller.store_now()))
    }

    fn join(&self, at: DateTime<Utc>) -> FleetView {
        let names: BTreeSet<&NodeName> = self.beats.keys().chain(self.wishes.keys()).collect();
        let (mut nodes, mut cells) = (Vec::new(), Vec::new());
        for node in names {
            let beat = self.beats.get(node);
            let heartbeat = beat.and_then(|beat| beat.value.as_ref().ok());
            let interval_secs = heartbeat.map(|beat| beat.interval_secs);
            let last_seen = beat.and_then(|beat| beat.modified);
            let liveness = self.limits.judge(last_seen, interval_secs, at);
            let wishes = self.wishes.get(node);
            let mut problems: Vec<String> = Vec::new();
            problems.extend(beat.and_then(|beat| beat.value.as_ref().err()).map(|why| format!("heartbeat: {why}")));
            problems.extend(wishes.and_then(|wishes| wishes.value.as_ref().err()).map(|why| format!("index: {why}")));
            let wishes = wishes.and_then(|wishes| wishes.value.as_ref().ok());
            problems.extend(wishes.iter().flat_map(|wishes| wishes.problems.iter().cloned()));
            cells.extend(join_cells(node, liveness, wishes.map(AsRef::as_ref), heartbeat.map(AsRef::as_ref)));
            nodes.push(NodeView { node: node.clone(), liveness, last_seen, heartbeat: heartbeat.cloned(), problems });
        }
        FleetView { at, nodes, cells }
    }
}

fn join_cells(node: &NodeName, liveness: Liveness, wishes: Option<&Wishes>, beat: Option<&Heartbeat>) -> Vec<CellView> {
    let wished = wishes.map(|wishes| &wishes.cells);
    let reported = beat.map(|beat| &beat.cells);
    let names: BTreeSet<&CellName> =
        wished.into_iter().flat_map(BTreeMap::keys).chain(reported.into_iter().flat_map(BTreeMap::keys)).collect();
    let view = |name: &CellName| {
        let wish = wished.and_then(|wished| wished.get(name));
        let report = reported.and_then(|reported| reported.get(name));
        let desired = wish.and_then(|wish| wish.desired.clone());
        let view = CellView {
            cell: CellId::new(node.clone(), name.clone()),
            about: wish.and_then(|wish| wish.about.clone()),
            problem: wish.and_then(|wish| wish.problem.clone()),
            sync: sync(desired.as_ref(), report, liveness),
            health: health(report, liveness),
            desired,
            report: report.cloned(),
            liveness,
        };
        (!is_tombstone(&view)).then_some(view)
    };
    names.into_iter().filter_map(view).collect()
}

/// A cell that was removed and deleted: only its place in the order of triggers is left.
fn is_tombstone(view: &CellView) -> bool {
    let is_removed = |action: &str| action == Action::Remove.name();
    view.about.is_none()
        && view.desired.as_ref().is_some_and(|desired| is_removed(&desired.claim.action))
        && view.report.as_ref().is_none_or(|report| report.phase == Phase::Removed)
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

/// Whether a cell runs well, by what its node says.
pub(super) fn health(report: Option<&CellReport>, liveness: Liveness) -> Health {
    if matches!(liveness, Liveness::Dead | Liveness::Unknown) {
        return Health::Unknown;
    }
    match report.map(|report| &report.state) {
        Some(RunningState::NotApplicable) => Health::NotApplicable,
        Some(RunningState::Running { .. }) => Health::Healthy,
        Some(RunningState::Starting) => Health::Starting,
        Some(RunningState::Stopped) => Health::Stopped,
        Some(RunningState::Failed { .. }) => Health::Failed,
        Some(RunningState::Unknown) | None => Health::Unknown,
    }
}

fn read_beat(node: &NodeName, bytes: &[u8]) -> Result<Heartbeat, String> {
    let beat: Heartbeat = document::parse(bytes).map_err(|error| error.to_string())?;
    if beat.node == *node { Ok(beat) } else { Err(format!("it says that it is of node {}", beat.node)) }
}

impl Controller {
    /// Lists a folder and reads what is not known by its tag yet.
    async fn reread<T>(
        &self,
        known: &BTreeMap<NodeName, Cached<T>>,
        folder: &Folder,
        most_bytes: u64,
        node_of: impl Fn(&ObjectKey) -> Option<NodeName>,
        read: impl Fn(&NodeName, &[u8]) -> Result<T, String>,
    ) -> Result<BTreeMap<NodeName, Cached<T>>, ControllerError> {
        let mut pages = self.store().list(folder, Depth::Deep);
        let mut listed = Vec::new();
        while let Some(page) = pages.next().await? {
            listed.extend(page.entries);
        }
        let objects = listed.into_iter().filter_map(|entry| {
            let key = entry.object_key()?;
            Some((node_of(&key)?, key, entry))
        });
        let read = &read;
        stream::iter(objects)
            .map(async |(node, key, entry)| {
                let before = known.get(&node).filter(|before| before.etag == entry.etag);
                if let Some(before) = before {
                    let Cached { etag, value, .. } = before;
                    let cached = Cached { etag: etag.clone(), modified: entry.last_modified, value: value.clone() };
                    return Ok(Some((node, cached)));
                }
                let (etag, value) = match self.store().find(&key, most_bytes).await {
                    Ok(Some(object)) => (object.etag, read(&node, &object.bytes).map(Arc::new)),
                    // Deleted between the LIST and the GET.
                    Ok(None) => return Ok(None),
                    Err(error @ StoreError::TooLarge { .. }) => (entry.etag, Err(error.to_string())),
                    Err(error) => return Err(ControllerError::from(error)),
                };
                Ok(Some((node, Cached { etag, modified: entry.last_modified, value })))
            })
            .buffer_unordered(READS)
            .try_filter_map(async |found| Ok(found))
            .try_collect()
            .await
    }

    fn read_wishes(&self, node: &NodeName, bytes: &[u8]) -> Result<Wishes, String> {
        let index: Index = document::parse(bytes).map_err(|error| error.to_string())?;
        if index.node != *node {
            return Err(format!("it says that it is of node {}", index.node));
        }
        let key = ObjectKey::Index(node.clone());
        let mut wishes = Wishes::default();
        for (name, entry) in index.entries() {
            let (cell, entry) = match entry {
                Ok(entry) => entry,
                Err(why) => {
                    wishes.problems.push(format!("index entry {name:?}: {why}"));
                    continue;
                }
            };
            let id = CellId::new(node.clone(), cell.clone());
            let trigger = entry.trigger_bytes().map(|bytes| self.believe(&key, &id, bytes));
            let (desired, problem) = match trigger {
                Some(Ok(trigger)) => (Some(Desired::from(&trigger)), None),
                Some(Err(error)) => (None, Some(with_causes(&error))),
                None => (None, None),
            };
            wishes.cells.insert(cell, Wish { about: entry.about, desired, problem });
        }
        Ok(wishes)
    }

    /// One cell, by its history and its node's heartbeat: right even where the index lags. The flag tells whether its
    /// newest trigger was brought to its end.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when nothing in the bucket speaks of it.
    pub async fn cell_status(
        &self,
        cell: &CellId,
        limits: LivenessLimits,
    ) -> Result<(CellView, bool), ControllerError> {
        let beat_key = ObjectKey::Heartbeat(cell.node.clone());
        let (head, beat, about) = tokio::try_join!(
            self.head(cell),
            async { Ok(self.store().find(&beat_key, Heartbeat::MAX_BYTES).await?) },
            self.about(cell),
        )?;
        let last_seen = beat.as_ref().and_then(|object| object.last_modified);
        let beat = beat.map(|object| read_beat(&cell.node, &object.bytes));
        let (beat, problem) = match beat {
            Some(Ok(beat)) => (Some(beat), None),
            Some(Err(why)) => (None, Some(format!("heartbeat: {why}"))),
            None => (None, None),
        };
        let liveness = limits.judge(last_seen, beat.as_ref().map(|beat| beat.interval_secs), self.store_now());
        let desired = head.newest.as_ref().map(Desired::from);
        let report = beat.and_then(|mut beat| beat.cells.remove(&cell.cell));
        if about.is_none() && desired.is_none() && report.is_none() {
            return Err(ControllerError::not_found(
                format!("cell {cell}"),
                "there is none; `fleetman get cells` lists them",
            ));
        }
        let view = CellView {
            cell: cell.clone(),
            about,
            problem,
            sync: sync(desired.as_ref(), report.as_ref(), liveness),
            health: health(report.as_ref(), liveness),
            desired,
            report,
            liveness,
        };
        Ok((view, self.is_finished(&head).await?))
    }

    /// What the index says of a cell for views.
    pub(super) async fn about(&self, cell: &CellId) -> Result<Option<About>, ControllerError> {
        let found = self.store().find(&ObjectKey::Index(cell.node.clone()), Index::MAX_BYTES).await?;
        let index = found.and_then(|object| document::parse::<Index>(&object.bytes).ok());
        Ok(index.and_then(|index| index.entry(&cell.cell)).and_then(|entry| entry.about))
    }
}

/// An error and what lies below it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl CellView {
    /// The place of the trigger that the cell is to follow.
    #[must_use]
    pub fn desired_at(&self) -> Option<Floor> {
        self.desired.as_ref().map(|desired| desired.claim.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::heartbeat::VersionReport;
    use crate::model::{Epoch, Generation, Sha256Digest, VersionName};

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
        Desired { claim, target, reason: None }
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
        assert_eq!(health(Some(&report), Liveness::Dead), Health::Unknown);
        assert_eq!(health(Some(&report), Liveness::Active), Health::NotApplicable);
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
