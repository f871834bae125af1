//! How a cell is run: the implementations of the agent's [`Profile`].

mod deploy;

use std::path::PathBuf;
use std::sync::Arc;

pub use deploy::Deploy;

use crate::agent::{Profile, Profiles};

/// Which profiles a node offers; a cell of any other waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProfileSettings {
    /// Files in a folder.
    pub deploy: Option<DeploySettings>,
}

/// How the `deploy` profile is set up on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploySettings {
    /// The folder in which every cell has its link. Cells of other agents need another one.
    pub target_folder: PathBuf,
}

impl ProfileSettings {
    /// The profiles that these settings describe.
    #[must_use]
    pub fn profiles(&self) -> Profiles {
        let mut profiles: Vec<Arc<dyn Profile>> = Vec::new();
        if let Some(deploy) = &self.deploy {
            profiles.push(Arc::new(Deploy::new(deploy.target_folder.clone())));
        }
        Profiles::new(profiles)
    }
}
