//! The port to whatever runs a cell.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use crate::model::heartbeat::RunningState;
use crate::model::manifest::Manifest;
use crate::model::{CellName, Code};

/// What a profile promises to do.
pub type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How cells of one kind are run. The agent puts releases in place and switches the link; a profile does what is
/// left: it starts, stops and looks.
///
/// Every call may come again after a crash, and must then finish what the last one began.
pub trait Profile: fmt::Debug + Send + Sync {
    /// The profile's name, as manifests write it.
    fn name(&self) -> &'static str;

    /// Where releases and the link of `cell` are.
    fn placement(&self, cell: &CellName) -> Placement;

    /// Brings up what the link points at now, restarting what runs already.
    ///
    /// # Errors
    /// The release could not be brought up; the agent goes back to the last known good one.
    fn activate<'a>(&'a self, start: Start<'a>) -> Work<'a, Result<(), ProfileError>>;

    /// Stops the cell and keeps it stopped, also across reboots. A cell that does not run is stopped.
    ///
    /// # Errors
    /// It may still run.
    fn stop<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<(), ProfileError>>;

    /// Takes away what [`Profile::activate`] put on the host; the cell is stopped already. Link and releases are
    /// the agent's to remove.
    ///
    /// # Errors
    /// Something of it is still there.
    fn remove<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<(), ProfileError>>;

    /// Whether the cell runs.
    fn state<'a>(&'a self, cell: &'a CellName) -> Work<'a, RunningState>;

    /// The cells that the host holds something of, as their folders and units say; others than ours may be among
    /// them.
    ///
    /// # Errors
    /// The host could not be looked at.
    fn cells(&self) -> std::io::Result<Vec<CellName>>;
}

/// Where releases and the link of a cell are: `<folder>/<link>` points to `<releases>/<release>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The folder that holds the link.
    pub folder: PathBuf,
    /// The link's name.
    pub link: String,
    /// The folder of the cell's releases, relative to `folder`, segment by segment.
    pub releases: Vec<String>,
}

impl Placement {
    /// The link.
    #[must_use]
    pub fn link_path(&self) -> PathBuf {
        self.folder.join(&self.link)
    }

    /// The folder of the cell's releases.
    #[must_use]
    pub fn releases_path(&self) -> PathBuf {
        self.releases.iter().fold(self.folder.clone(), |path, segment| path.join(segment))
    }

    /// What the link says when it points at `release`.
    #[must_use]
    pub fn link_text(&self, release: &str) -> String {
        format!("{}/{release}", self.releases.join("/"))
    }
}

/// What a profile is to bring up.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The cell.
    pub cell: &'a CellName,
    /// What to run, and how.
    pub manifest: &'a Manifest,
    /// The release's own folder.
    pub release: &'a Path,
    /// The cell's data folder.
    pub data: &'a Path,
    /// Whether to overwrite what was changed by hand on the host.
    pub force: bool,
}

/// Why a profile did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// It is this version that cannot be brought up: go back.
    #[error("{0}")]
    Version(String),
    /// Something else is in the way, which may change: try again.
    #[error("{message}")]
    Waiting {
        /// What programs compare.
        code: Code,
        /// What people read.
        message: String,
    },
}

/// The profiles that an agent can use.
#[derive(Debug, Clone, Default)]
pub struct Profiles(Vec<Arc<dyn Profile>>);

impl Profiles {
    /// These profiles.
    #[must_use]
    pub fn new(profiles: Vec<Arc<dyn Profile>>) -> Self {
        Self(profiles)
    }

    /// The profile called `name`, if the agent can use it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Profile>> {
        self.0.iter().find(|profile| profile.name() == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Profile>> {
        self.0.iter()
    }
}
