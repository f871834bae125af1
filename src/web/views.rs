//! What the fleet looks like from outside: the shapes of the API, and of `fleetman get -o json`.
//!
//! They are only ever added to. Names and digests are text, times RFC 3339 in UTC, sizes bytes.

mod past;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

pub use self::past::{Attempt, Comparison, Side};
use crate::controller::{
    self, CellView, DeploymentView, Desired, FleetView, Health, Liveness, ManifestView, NodeView, OverrideView,
    ReleaseState, Sync, Text, VersionState, VersionView,
};
use crate::model::deployment::DeploymentFile;
use crate::model::drift::DriftReport;
use crate::model::heartbeat::{
    CellReport, Condition, Fault, HealthReport, Heartbeat, HoldReport, HostFacts, Phase, ProcessReport, SigningMode,
    VersionReport, Waiting,
};
use crate::model::{
    CellId, DeploymentName, Floor, ManifestName, NodeName, ProcessName, Sha256Digest, UserName, VersionName,
};

/// A node.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Whether it is heard of: `active`, `warning`, `dead`, `unknown`.
    pub liveness: Liveness,
    /// When the store took its newest heartbeat.
    pub last_seen: Option<DateTime<Utc>>,
    /// The version of its agent.
    pub agent_version: Option<String>,
    /// Whether its agent checks signatures.
    pub signing: Option<SigningMode>,
    /// What its owner says of it.
    pub labels: BTreeMap<String, String>,
    /// What the machine is and has.
    pub host: Option<HostFacts>,
    /// How many cells it has.
    pub cells: usize,
    /// How many of them are what they are to be.
    pub cells_synced: usize,
    /// Who holds the node as a whole, if somebody does.
    pub hold: Option<HoldReport>,
    /// What stays wrong until somebody acts.
    pub conditions: Vec<Condition>,
    /// What is wrong between the agent and the store.
    pub store_error: Option<Fault>,
    /// Why its heartbeat or its index cannot be read.
    pub problems: Vec<String>,
}

/// A node with everything that is known of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NodeDetail {
    /// In short.
    #[serde(flatten)]
    pub node: Node,
    /// What it says of itself, whole.
    pub heartbeat: Option<Heartbeat>,
    /// Its cells.
    pub cell_list: Vec<Cell>,
}

/// A cell.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Cell {
    /// Its name, `<node>/<cell>`.
    pub name: CellId,
    /// The manifest that it is made from.
    pub manifest: Option<ManifestName>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Why nothing is published to it, if so.
    pub paused: Option<String>,
    /// Whether it has files of its own, for its next version.
    pub has_overrides: bool,
    /// Whether it is what it is to be: `synced`, `out_of_sync`, `unknown`.
    pub sync: Sync,
    /// Whether it runs well.
    pub health: Health,
    /// Whether its node is heard of.
    pub liveness: Liveness,
    /// What its agent is doing with it.
    pub phase: Option<Phase>,
    /// What it is to be.
    pub desired: Option<Wish>,
    /// The version that is in place.
    pub running: Option<VersionReport>,
    /// The version that its agent would go back to.
    pub known_good: Option<VersionReport>,
    /// Its processes, where its agent tells them apart.
    pub processes: BTreeMap<ProcessName, Box<ProcessReport>>,
    /// What its checks say, where its version has some.
    pub checks: Option<Box<HealthReport>>,
    /// Who holds it, if somebody does.
    pub hold: Option<HoldReport>,
    /// Whether what is on its host is still what was deployed, where its agent looks.
    pub drift: Option<Box<DriftReport>>,
    /// What its agent waits for.
    pub waiting: Option<Waiting>,
    /// What went wrong last.
    pub last_error: Option<Fault>,
    /// Why what the index says of it is not believed.
    pub problem: Option<String>,
}

/// What a cell is to be.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Wish {
    /// The trigger's place.
    pub at: Floor,
    /// `deploy`, `stop`, `remove`.
    pub action: String,
    /// The version, if one is to run.
    pub version: Option<VersionName>,
    /// What that version is.
    pub content_sha256: Option<Sha256Digest>,
    /// Who issued it.
    pub issued_by: UserName,
    /// When.
    pub issued_at: DateTime<Utc>,
    /// Why.
    pub reason: Option<String>,
}

/// A cell with everything that its node says of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CellDetail {
    /// In short.
    #[serde(flatten)]
    pub cell: Cell,
    /// What its agent says, whole.
    pub report: Option<CellReport>,
}

/// A manifest.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ManifestEntry {
    /// Its name.
    pub name: ManifestName,
    /// In bytes.
    pub size: u64,
    /// The store's name for its bytes.
    pub etag: String,
    /// When it was written, by the store's clock.
    pub last_modified: Option<DateTime<Utc>>,
}

/// A manifest with its text.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ManifestDetail {
    /// Its name.
    pub name: ManifestName,
    /// The store's name for its bytes.
    pub etag: String,
    /// As it was written.
    pub text: String,
}

/// A cell's own file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Override {
    /// Where it lies.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// For `If-Match`.
    pub etag: String,
    /// When it was written, by the store's clock.
    pub last_modified: Option<DateTime<Utc>>,
}

/// A release.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Release {
    /// For which manifest.
    pub manifest: ManifestName,
    /// Its name.
    pub name: DeploymentName,
    /// `whole`, `unfinished` or `not_believed`.
    pub state: &'static str,
    /// Why it is not believed.
    pub problem: Option<String>,
    /// What it is.
    pub content_sha256: Option<Sha256Digest>,
    /// When it was uploaded.
    pub created_at: Option<DateTime<Utc>>,
    /// By whom.
    pub created_by: Option<UserName>,
    /// What its maker said about it.
    pub note: Option<String>,
    /// How many files it has.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
}

/// A release with its files.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ReleaseDetail {
    /// In short.
    #[serde(flatten)]
    pub release: Release,
    /// Its files, by path.
    pub file_list: Vec<DeploymentFile>,
}

/// A version of a cell.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Version {
    /// Its name.
    pub name: VersionName,
    /// `whole`, `unfinished`, `unreadable` or `deleting`.
    pub state: &'static str,
    /// Why it cannot be read.
    pub problem: Option<String>,
    /// Since when it is being deleted.
    pub deleting_since: Option<DateTime<Utc>>,
    /// The digest of its manifest.
    pub manifest_sha256: Option<Sha256Digest>,
    /// What it is.
    pub content_sha256: Option<Sha256Digest>,
    /// The release that it was made from.
    pub deployment: Option<DeploymentName>,
    /// When it was made.
    pub created_at: Option<DateTime<Utc>>,
    /// By whom.
    pub created_by: Option<UserName>,
    /// What its maker said about it.
    pub note: Option<String>,
    /// How many files it has.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
    /// Who needs it, in words.
    pub needed: Vec<String>,
}

impl From<&NodeView> for Node {
    fn from(node: &NodeView) -> Self {
        let beat = node.heartbeat.as_deref();
        Self {
            name: node.node.clone(),
            liveness: node.liveness,
            last_seen: node.last_seen,
            agent_version: beat.map(|beat| beat.agent_version.clone()),
            signing: beat.map(|beat| beat.signing),
            labels: beat.map(|beat| beat.labels.clone()).unwrap_or_default(),
            host: beat.map(|beat| beat.host.clone()),
            cells: node.cells.len(),
            cells_synced: node.synced(),
            hold: beat.and_then(|beat| beat.hold.clone()),
            conditions: beat.map(|beat| beat.conditions.clone()).unwrap_or_default(),
            store_error: beat.and_then(|beat| beat.store_error.clone()),
            problems: node.problems.clone(),
        }
    }
}

impl NodeDetail {
    /// The node called `name`, if `fleet` has it.
    #[must_use]
    pub fn find(name: &NodeName, fleet: &FleetView) -> Option<Self> {
        let node = fleet.node(name)?;
        Some(Self {
            node: Node::from(&**node),
            heartbeat: node.heartbeat.as_deref().cloned(),
            cell_list: node.cells.iter().map(Cell::from).collect(),
        })
    }
}

impl From<&CellView> for Cell {
    fn from(view: &CellView) -> Self {
        let about = view.about();
        let report = view.report();
        Self {
            name: view.cell.clone(),
            manifest: about.map(|about| about.manifest.clone()),
            labels: about.map(|about| about.labels.clone()).unwrap_or_default(),
            paused: about.and_then(|about| about.paused.clone()),
            has_overrides: about.is_some_and(|about| about.has_overrides),
            sync: view.sync,
            health: view.health,
            liveness: view.liveness,
            phase: report.map(|report| report.phase),
            desired: view.desired().map(Wish::from),
            running: report.and_then(|report| report.running.clone()),
            known_good: report.and_then(|report| report.known_good.clone()),
            processes: report.map(|report| report.processes.clone()).unwrap_or_default(),
            checks: report.and_then(|report| report.health.clone()),
            hold: report.and_then(|report| report.hold.clone()),
            drift: report.and_then(|report| report.drift.clone()),
            waiting: report.and_then(|report| report.waiting.clone()),
            last_error: report.and_then(|report| report.last_error.clone()),
            problem: view.problem().map(ToOwned::to_owned),
        }
    }
}

impl From<&Desired> for Wish {
    fn from(desired: &Desired) -> Self {
        let Desired { claim, target, reason, signed_by: _ } = desired;
        Self {
            at: claim.at,
            action: claim.action.clone(),
            version: claim.version.clone(),
            content_sha256: target.as_ref().map(|target| target.content_sha256),
            issued_by: claim.by.clone(),
            issued_at: claim.issued_at,
            reason: reason.clone(),
        }
    }
}

impl CellDetail {
    /// The cell called `name`, if `fleet` has it.
    #[must_use]
    pub fn find(name: &CellId, fleet: &FleetView) -> Option<Self> {
        let view = fleet.cell(name)?;
        Some(Self { cell: Cell::from(view), report: view.report().cloned() })
    }
}

impl From<ManifestView> for ManifestEntry {
    fn from(view: ManifestView) -> Self {
        let ManifestView { name, size, etag, modified } = view;
        Self { name, size, etag: etag.to_string(), last_modified: modified }
    }
}

impl ManifestDetail {
    /// The manifest called `name`.
    #[must_use]
    pub fn of(name: ManifestName, text: Text) -> Self {
        Self { name, etag: text.etag.to_string(), text: text.text }
    }
}

impl From<OverrideView> for Override {
    fn from(view: OverrideView) -> Self {
        let OverrideView { path, size, etag, modified } = view;
        Self { path, size, etag: etag.to_string(), last_modified: modified }
    }
}

impl From<&controller::Release> for Release {
    fn from(release: &controller::Release) -> Self {
        let (state, problem) = match &release.state {
            ReleaseState::Whole(_) => ("whole", None),
            ReleaseState::Unfinished => ("unfinished", None),
            ReleaseState::Untrusted { why } => ("not_believed", Some(why.clone())),
        };
        let facts = release.facts();
        Self {
            manifest: release.manifest.clone(),
            name: release.name.clone(),
            state,
            problem,
            content_sha256: facts.map(|facts| facts.content_sha256),
            created_at: facts.map(|facts| facts.created_at),
            created_by: facts.map(|facts| facts.created_by.clone()),
            note: facts.and_then(|facts| facts.note.clone()),
            files: facts.map_or(0, |facts| facts.files),
            bytes: facts.map_or(0, |facts| facts.bytes),
        }
    }
}

impl From<&DeploymentView> for Release {
    fn from(view: &DeploymentView) -> Self {
        Self::from(&controller::Release::from(view))
    }
}

impl From<&DeploymentView> for ReleaseDetail {
    fn from(view: &DeploymentView) -> Self {
        let files = view.deployment.as_ref().ok().and_then(Option::as_ref).map(|deployment| deployment.files.clone());
        Self { release: view.into(), file_list: files.unwrap_or_default() }
    }
}

impl From<VersionView> for Version {
    fn from(view: VersionView) -> Self {
        let (state, problem, deleting_since) = match view.state {
            VersionState::Whole => ("whole", None, None),
            VersionState::Unfinished => ("unfinished", None, None),
            VersionState::Unreadable { why } => ("unreadable", Some(why), None),
            VersionState::Deleting { since } => ("deleting", None, Some(since)),
        };
        let facts = view.facts.as_ref();
        Self {
            name: view.name,
            state,
            problem,
            deleting_since,
            manifest_sha256: view.manifest_sha256,
            content_sha256: facts.map(|facts| facts.content_sha256),
            deployment: facts.and_then(|facts| facts.deployment.clone()),
            created_at: facts.map(|facts| facts.created_at),
            created_by: facts.map(|facts| facts.created_by.clone()),
            note: facts.and_then(|facts| facts.note.clone()),
            files: facts.map_or(0, |facts| facts.files),
            bytes: facts.map_or(0, |facts| facts.bytes),
            needed: view.needed,
        }
    }
}
