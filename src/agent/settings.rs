//! What an agent is told when it starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::drift::DriftSettings;
use super::onlooker::{Nobody, Onlooker};
use super::profile::Profiles;
use super::steps::Steps;
use crate::model::NodeName;
use crate::model::sign::Trust;
use crate::model::window::Windows;
use crate::store::Store;

/// What an agent is told when it starts. It holds no secrets but those inside the [`Store`].
#[derive(Debug, Clone)]
pub struct AgentSettings {
    /// The node that it is.
    pub node: NodeName,
    /// The fleet that the node belongs to; documents of another one are refused.
    pub fleet: Uuid,
    /// Whose triggers it obeys.
    pub trust: Trust,
    /// The bucket.
    pub store: Store,
    /// Where it keeps what it must remember; made if it is missing.
    pub state_folder: PathBuf,
    /// How it can run cells. A cell of any other profile waits.
    pub profiles: Profiles,
    /// What the node's owner says of it, for the heartbeat.
    pub labels: BTreeMap<String, String>,
    /// How often the index is asked for, give or take a fifth.
    pub poll_interval: Duration,
    /// How often a heartbeat is written when nothing changes.
    pub heartbeat_interval: Duration,
    /// How often triggers and history are read one by one, whatever the index says.
    pub full_scan_interval: Duration,
    /// How many releases of a cell are kept besides the current and the known good one.
    pub keep_versions: usize,
    /// When the node's owner lets its cells change.
    pub windows: Windows,
    /// Whether the node's owner lets what cells write be asked for.
    pub serves_logs: bool,
    /// How many objects are fetched at once, for all cells together.
    pub parallel_downloads: usize,
    /// What must stay free on a file system when a release is written to it.
    pub reserve_bytes: u64,
    /// How it looks for drift in cells whose versions do not say.
    pub drift: DriftSettings,
    /// Who is told how it gets on.
    pub onlooker: Arc<dyn Onlooker>,
    /// Tests only: what is asked between any two effects on the disk.
    pub steps: Steps,
}

impl AgentSettings {
    /// The settings of the protocol for everything that has a usual value.
    #[must_use]
    pub fn new(
        node: NodeName,
        fleet: Uuid,
        trust: Trust,
        store: Store,
        state_folder: PathBuf,
        profiles: Profiles,
    ) -> Self {
        Self {
            node,
            fleet,
            trust,
            store,
            state_folder,
            profiles,
            labels: BTreeMap::new(),
            poll_interval: Duration::from_secs(15),
            heartbeat_interval: Duration::from_secs(60),
            full_scan_interval: Duration::from_secs(30 * 60),
            keep_versions: 3,
            windows: Windows::default(),
            serves_logs: true,
            parallel_downloads: 8,
            reserve_bytes: 64 << 20,
            drift: DriftSettings::default(),
            onlooker: Arc::new(Nobody),
            steps: Steps::default(),
        }
    }
}
