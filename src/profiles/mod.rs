//! How a cell is run: the implementations of the agent's [`Profile`].

mod definition;
mod deploy;
mod look;
mod process;
mod supervisor;

use std::path::PathBuf;
use std::sync::Arc;

pub use deploy::Deploy;
pub use process::{Process, ProcessSettings, Program, SUPERVISE, supervise};
pub use supervisor::{EXEC, Supervisor, SupervisorProbe, SupervisorSettings, become_process_of};

use crate::agent::{Profile, Profiles};
use crate::clock::SharedClock;

/// Which profiles a node offers; a cell of any other waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileSettings {
    /// Files in a folder.
    pub deploy: Option<DeploySettings>,
    /// Processes under a supervisor of our own.
    pub process: Option<ProcessSettings>,
    /// Programs of the host's supervisord.
    pub supervisor: Option<SupervisorSettings>,
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
        Profiles::new(profiles)
    }
}
