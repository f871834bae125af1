//! The state folder: who holds it, and where what is kept lies in it.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::disk::{DiskError, Folder};
use super::error::AgentError;
use super::steps::Steps;
use crate::entropy;
use crate::model::document::{self, Document};
use crate::model::{CellName, NodeName};
use crate::store::in_full;

const LOCK: &str = "agent.lock";
const AGENT: &str = "agent.json";
/// The last heartbeat.
pub(super) const STATUS: &str = "status.json";

/// Only for the agent.
const PRIVATE: u32 = 0o700;
/// For others to pass through to what is theirs, without seeing what else there is.
const PASSAGE: u32 = 0o711;

/// The state folder of a running agent. Nobody else can take it until this is dropped.
#[derive(Debug)]
pub(super) struct Home {
    root: Folder,
    cells: Folder,
    data: Folder,
    lock: File,
}

impl Drop for Home {
    /// Closing the file would not do: a child that another thread is just starting holds it, too, until its `exec`.
    fn drop(&mut self) {
        if let Err(error) = rustix::fs::flock(&self.lock, FlockOperation::Unlock) {
            tracing::warn!(%error, "the lock of the state folder is given back only when the program ends");
        }
    }
}

/// The folder of one cell.
#[derive(Debug, Clone)]
pub(super) struct CellHome {
    pub(super) folder: Folder,
    /// Manifests of the releases on the node, `<release>.json`.
    pub(super) manifests: Folder,
    /// Logs and outcomes that are not in the bucket yet.
    pub(super) outbox: Folder,
}

/// `agent.json`: whose state folder it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resident {
    pub(super) node: NodeName,
    pub(super) fleet: Uuid,
    pub(super) instance_id: Uuid,
    /// Whether it knows its floors: a new one has to ask its own last heartbeat before it obeys anything (I5).
    pub(super) settled_in: bool,
}

impl Document for Resident {
    const SCHEMA: &'static str = "fleetman/agent/1";
    const MAX_BYTES: u64 = 64 << 10;
}

impl Home {
    /// Takes the state folder.
    pub(super) fn take(path: &Path, steps: &Steps) -> Result<Self, AgentError> {
        let root = Folder::open(path, PASSAGE, steps)?;
        let lock = lock(path)?;
        let cells = root.child_made("cells", PRIVATE)?;
        let data = root.child_made("data", PASSAGE)?;
        Ok(Self { root, cells, data, lock })
    }

    pub(super) fn root(&self) -> &Folder {
        &self.root
    }

    /// The cells that something is kept of.
    pub(super) fn cells(&self) -> Result<Vec<CellName>, DiskError> {
        Ok(self.cells.names()?.into_iter().filter_map(|name| CellName::new(name).ok()).collect())
    }

    /// The folder of a cell, made if it is missing.
    pub(super) fn cell(&self, cell: &CellName) -> Result<CellHome, DiskError> {
        let folder = self.cells.child_made(cell.as_str(), PRIVATE)?;
        let manifests = folder.child_made("manifests", PRIVATE)?;
        let outbox = folder.child_made("outbox", PRIVATE)?;
        Ok(CellHome { folder, manifests, outbox })
    }

    /// The folder of a cell; None if nothing is kept of it.
    pub(super) fn known_cell(&self, cell: &CellName) -> Result<Option<Folder>, DiskError> {
        self.cells.child(cell.as_str())
    }

    /// Where the cells' data folders are.
    pub(super) fn data(&self) -> &Folder {
        &self.data
    }

    /// Who lives here, moving in if nobody does.
    pub(super) fn resident(&self, node: &NodeName, fleet: Uuid) -> Result<Resident, AgentError> {
        let Some(bytes) = self.root.read(AGENT, Resident::MAX_BYTES)? else {
            let instance_id = entropy::uuid().map_err(|error| self.invalid(error.to_string()))?;
            let resident = Resident { node: node.clone(), fleet, instance_id, settled_in: false };
            self.register(&resident)?;
            return Ok(resident);
        };
        let resident: Resident = document::parse(&bytes).map_err(|error| self.invalid(in_full(&error)))?;
        if (&resident.node, resident.fleet) == (node, fleet) {
            return Ok(resident);
        }
        Err(self.invalid(format!(
            "it belongs to node {} of fleet {}, and this agent is node {node} of fleet {fleet}",
            resident.node, resident.fleet
        )))
    }

    fn invalid(&self, problem: String) -> AgentError {
        AgentError::StateInvalid { path: self.root.path().join(AGENT), problem }
    }

    /// Whether nobody else is known to live here. Who cannot be told is taken for nobody: whatever is touched bears our
    /// marker.
    pub(super) fn check_resident(&self, node: &NodeName, fleet: Uuid) -> Result<(), AgentError> {
        match self.known_resident()? {
            Some(_) => self.resident(node, fleet).map(|_| ()),
            None => Ok(()),
        }
    }

    fn known_resident(&self) -> Result<Option<Resident>, DiskError> {
        let bytes = self.root.read(AGENT, Resident::MAX_BYTES)?;
        Ok(bytes.and_then(|bytes| document::parse(&bytes).ok()))
    }

    /// Makes the next agent ask the bucket for its floors before it obeys anything.
    pub(super) fn forget_floors(&self) -> Result<(), DiskError> {
        match self.known_resident()? {
            Some(resident) => self.register(&Resident { settled_in: false, ..resident }),
            None => Ok(()),
        }
    }

    pub(super) fn register(&self, resident: &Resident) -> Result<(), DiskError> {
        self.root.write(AGENT, &document::render(resident))
    }
}

/// Takes the lock of the folder at `path`, or says who holds it.
fn lock(path: &Path) -> Result<File, AgentError> {
    let mut file = open_lock(path, true)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(AgentError::AlreadyRunning { folder: path.to_owned(), pid: read_pid(&mut file) });
        }
        Err(error) => return Err(DiskError::new("locking", path.join(LOCK), error.into()).into()),
    }
    // For people and for the message above; the lock itself is what counts. An agent on a full disk must start all the
    // same.
    if let Err(error) = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())) {
        tracing::warn!(%error, "{} does not say who holds it", path.join(LOCK).display());
    }
    Ok(file)
}

fn open_lock(path: &Path, make: bool) -> Result<File, DiskError> {
    let mut options = File::options();
    options.read(true).write(make).create(make).truncate(false).mode(0o600);
    options.open(path.join(LOCK)).map_err(|source| DiskError::new("opening", path.join(LOCK), source))
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The process that holds the folder at `path`, if one does.
pub(super) fn holder(path: &Path) -> Result<Option<u32>, AgentError> {
    let mut file = match open_lock(path, false) {
        Ok(file) => file,
        Err(error) if error.is_absent() => return Err(AgentError::NeverRan { folder: path.to_owned() }),
        Err(error) => return Err(error.into()),
    };
    let pid = read_pid(&mut file);
    let raw = pid.and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
    // Only where the process lives the lock is tried: else an agent that starts just now would find it taken.
    if raw.is_none_or(|pid| rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH)) {
        return Ok(None);
    }
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        // Closing the file gives the lock back.
        Ok(()) => Ok(None),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(pid),
        Err(error) => Err(DiskError::new("locking", path.join(LOCK), error.into()).into()),
    }
}

/// The path of the file that holds the last heartbeat.
pub(super) fn status_path(state_folder: &Path) -> PathBuf {
    state_folder.join(STATUS)
}
