//! The agent as a whole.

use std::path::Path;

use super::error::AgentError;
use super::settings::AgentSettings;
use crate::clock::SharedClock;
use crate::model::heartbeat::Heartbeat;

/// The agent of one node. Many may run in one process, each with a state folder of its own.
#[derive(Debug)]
pub struct Agent {
    settings: AgentSettings,
    clock: SharedClock,
}

impl Agent {
    /// Takes the state folder, reads what it holds and sweeps what a crash left. Nothing is asked of the bucket.
    ///
    /// # Errors
    /// [`AgentError::AlreadyRunning`], [`AgentError::StateInvalid`] or [`AgentError::Disk`].
    pub async fn open(settings: AgentSettings, clock: SharedClock) -> Result<Self, AgentError> {
        Ok(Self { settings, clock })
    }

    /// Polls and deploys until `shutdown` completes; then ends what is under way at its next journal step.
    ///
    /// # Errors
    /// Only what no agent can live with: a part of it ended. A store that is down is waited for.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), AgentError> {
        shutdown.await;
        todo!("{:?} {:?}", self.settings, self.clock)
    }

    /// Reads everything once, carries out what can be carried out now, and writes the heartbeat that comes back.
    ///
    /// # Errors
    /// [`AgentError::Store`] when the bucket could not be read or the heartbeat not be written.
    pub async fn poll_once(&mut self) -> Result<Heartbeat, AgentError> {
        todo!()
    }
}

/// What an agent last wrote of itself, read without the bucket and without disturbing the agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// The process that holds the state folder; `None` if no agent runs.
    pub pid: Option<u32>,
    /// The last heartbeat, whether it reached the bucket or not.
    pub heartbeat: Heartbeat,
}

/// Reads the status of the agent with this state folder.
///
/// # Errors
/// [`AgentError::NeverRan`], [`AgentError::StateInvalid`] or [`AgentError::Disk`].
pub fn read_status(state_folder: &Path) -> Result<Status, AgentError> {
    todo!("{}", state_folder.display())
}
