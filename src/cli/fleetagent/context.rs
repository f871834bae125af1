//! What verbs stand on: the config and what becomes of it.

use std::path::PathBuf;

use crate::agent::{AgentError, AgentSettings};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, AGENT_FILE, AgentConfig, ConfigError, ConfigFile};
use crate::profiles::Program;
use crate::store::in_full;

/// What a verb works with. Nothing is read or asked before a verb needs it.
pub(super) struct Context {
    pub(super) output: Output,
    pub(super) clock: SharedClock,
    config: Option<PathBuf>,
}

impl Context {
    pub(super) fn new(config: Option<PathBuf>, output: Output) -> Self {
        Self { output, clock: SystemClock::shared(), config }
    }

    pub(super) fn find_config(&self) -> Result<PathBuf, ConfigError> {
        config::find(self.config.as_deref(), AGENT_FILE)
    }

    /// The config. Its warnings are told.
    pub(super) fn config(&self) -> Result<AgentConfig, Failure> {
        let config = self.quiet_config()?;
        for warning in &config.warnings {
            self.output.say(&format!("warning: {warning}"));
        }
        Ok(config)
    }

    /// The config, for verbs that tell its warnings in their own way.
    pub(super) fn quiet_config(&self) -> Result<AgentConfig, Failure> {
        Ok(AgentConfig::parse(&ConfigFile::read(&self.find_config()?)?)?)
    }

    /// The names of the profiles that the node is set up for.
    pub(super) fn profiles(&self, config: &AgentConfig) -> Result<Vec<&'static str>, Failure> {
        let profiles = config.profiles.profiles(&this_program()?, &self.clock);
        Ok(profiles.iter().map(|profile| profile.name()).collect())
    }

    /// What the agent of this config is to be. Its cells begin with this limit of open files.
    pub(super) async fn settings(
        &self,
        config: AgentConfig,
        open_files: Option<u64>,
    ) -> Result<AgentSettings, Failure> {
        Ok(config.settings(&Program { open_files, ..this_program()? }, self.clock.clone()).await?)
    }
}

fn this_program() -> Result<Program, Failure> {
    Program::current().map_err(|error| Failure::local("finding this program", &error))
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        let message = in_full(&error);
        match error {
            AgentError::Store(error) => error.into(),
            AgentError::AlreadyRunning { .. } => Self::new(Exit::Conflict, "already_running", message),
            AgentError::NeverRan { .. } => Self::new(Exit::NotFound, "never_ran", message),
            AgentError::StateInvalid { .. } => Self::new(Exit::Internal, "state_invalid", message),
            AgentError::Disk(error) if error.is_denied() => {
                let help = "run it as the user whom the folder belongs to, or name another folder in the config";
                Self::new(Exit::Denied, "denied", message).help(help)
            }
            _ => Self::new(Exit::Internal, "agent", message),
        }
    }
}
