//! How a cell is run: the implementations of the agent's [`Profile`].

mod definition;
mod deploy;
mod look;
mod process;
mod supervisor;
mod systemd;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use deploy::Deploy;
pub use process::{Process, ProcessSettings, Program, SUPERVISE, supervise};
pub use supervisor::{EXEC, Supervisor, SupervisorProbe, SupervisorSettings, become_process_of};
pub use systemd::{Scope, SecretsError, Systemd, SystemdSettings, WRITE_ENV, write_env};

use crate::agent::{Profile, Profiles};
use crate::clock::SharedClock;
use crate::model::CellName;

/// Which profiles a node offers; a cell of any other waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileSettings {
    /// Files in a folder.
    pub deploy: Option<DeploySettings>,
    /// Processes under a supervisor of our own.
    pub process: Option<ProcessSettings>,
    /// Programs of the host's supervisord.
    pub supervisor: Option<SupervisorSettings>,
    /// Services of systemd.
    pub systemd: Option<SystemdSettings>,
}

/// How the `deploy` profile is set up on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploySettings {
    /// The folder in which every cell has its link. Cells of other agents need another one.
    pub target_folder: PathBuf,
}

impl ProfileSettings {
    /// The profiles that these settings describe, for an agent that is this program.
    #[must_use]
    pub fn profiles(&self, program: &Program, clock: &SharedClock) -> Profiles {
        let mut profiles: Vec<Arc<dyn Profile>> = Vec::new();
        if let Some(deploy) = &self.deploy {
            profiles.push(Arc::new(Deploy::new(deploy.target_folder.clone())));
        }
        if let Some(process) = &self.process {
            profiles.push(Arc::new(Process::new(process.clone(), program.clone(), clock.clone())));
        }
        if let Some(supervisor) = &self.supervisor {
            profiles.push(Arc::new(Supervisor::new(supervisor.clone(), program.clone(), clock.clone())));
        }
        if let Some(systemd) = &self.systemd {
            profiles.push(Arc::new(Systemd::new(systemd.clone(), program.clone(), clock.clone())));
        }
        Profiles::new(profiles)
    }
}

/// The cells that have a folder of `releases` in theirs below `folder`.
fn cells_in(folder: &Path, releases: &str) -> io::Result<Vec<CellName>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut cells = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().and_then(|name| CellName::new(name).ok());
        cells.extend(name.filter(|_| entry.path().join(releases).is_dir()));
    }
    Ok(cells)
}
