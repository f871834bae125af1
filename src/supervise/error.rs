//! What can go wrong, by what the caller may do about it.

use std::io;
use std::path::PathBuf;

use super::definition::InvalidDefinition;
use super::ownership::OwnershipError;

/// Why a supervisor did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The definition must be mended.
    #[error(transparent)]
    Invalid(#[from] InvalidDefinition),
    /// There is no such service; start it first.
    #[error("there is no service {0:?}")]
    NoService(String),
    /// The service has no such process.
    #[error("service {service:?} has no process {process:?}; it has {}", .there.join(", "))]
    NoProcess {
        /// The service.
        service: String,
        /// What was asked for.
        process: String,
        /// The processes that it has.
        there: Vec<String>,
    },
    /// The service is there already; reload it, or stop and remove it first.
    #[error("service {0:?} is there already")]
    Exists(String),
    /// Another supervisor, of another program perhaps, runs this service in this folder.
    #[error("another supervisor runs {service:?} in {}", .folder.display())]
    InUse {
        /// The service.
        service: String,
        /// The folder.
        folder: PathBuf,
    },
    /// It could not be started. Whether it is tried again its restart policy says.
    #[error("process {process} could not be started: {reason}")]
    NotStarted {
        /// The process.
        process: String,
        /// Why not.
        reason: String,
    },
    /// Another command came first that wants the opposite.
    #[error("process {process} was told to {instead} before it came to that")]
    Overruled {
        /// The process.
        process: String,
        /// What it does instead.
        instead: &'static str,
    },
    /// SIGKILL was sent long ago, and something still runs: it hangs in the kernel, on a dead disk perhaps. It goes on
    /// being waited for.
    #[error("process {process} was killed and still runs, as process id {}", list(.pids))]
    Unkillable {
        /// The process.
        process: String,
        /// What still runs.
        pids: Vec<i32>,
    },
    /// The process does not run, so it cannot be sent a signal.
    #[error("process {process} does not run")]
    NotRunning {
        /// The process.
        process: String,
    },
    /// Its definition has no [`reload_signal`](super::ProcessDef::reload_signal): it can only be restarted.
    #[error("process {process} has no reload signal, so it can only be restarted")]
    NoReloadSignal {
        /// The process.
        process: String,
    },
    /// Nothing can listen there.
    #[error("listening at {address}")]
    Socket {
        /// The address.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What runs listens there by a socket of an earlier supervisor, which that took with it: it has to end before
    /// another process can be given one.
    #[error("taking back the socket at {address}")]
    SocketLost {
        /// The address.
        address: String,
        /// Why nothing else can listen there.
        #[source]
        source: io::Error,
    },
    /// A folder is not its own alone.
    #[error(transparent)]
    Ownership(#[from] OwnershipError),
    /// The supervisor has ended.
    #[error("the supervisor has ended")]
    Ended,
    /// The disk, or the kernel.
    #[error("{doing} {}", .path.display())]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it did not work.
        #[source]
        source: io::Error,
    },
}

fn list(pids: &[i32]) -> String {
    pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
