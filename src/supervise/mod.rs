//! A process supervisor.

mod begin;
mod cgroup;
mod definition;
pub mod detached;
mod error;
mod home;
mod keeper;
mod output;
mod proc;
mod reaper;
mod restart;
mod service;
mod spawn;
mod state;
mod supervisor;
mod tree;
mod users;

pub use definition::{
    EnvFile, EnvValue, InvalidDefinition, Kind, Limits, ProcessDef, Restart, RestartPolicy, Run, ServiceDef,
    SignalName, Stop,
};
pub use error::SupervisorError;
pub use output::{Follow, Last, LogFile, LogFiles, LogLimits, LogSettings, Lost, Piece, RING_BYTES, Snapshot, Tail};
pub use reaper::process_ended;
pub use spawn::EnvFileError;
pub use state::{End, Event, Exit, ProcessState, ProcessStatus, ServiceStatus};
pub use supervisor::{ProcessOutput, Supervisor, SupervisorConfig};
pub use users::{Account, AccountError};

use spawn::in_full;

/// The environment variable by which everything that a process starts is known to be its own. Its value names the
/// service's folder, the service and the process.
pub const MARK: &str = "SUPERVISED_AS";

#[cfg(test)]
mod tests;
