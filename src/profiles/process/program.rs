//! The program that a cell's supervisor is.
//!
//! There is one a cell for as long as that runs, and of the agent's large program it would use little. So it is the
//! small program that is made from the same sources, if that lies beside the agent's and is fit; and else the agent's
//! own, so that this can be copied to a node alone.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::clock::SharedClock;
use crate::store::in_full;
use crate::supervise::{OwnershipError, check_ownership, detached, keep_descriptors};

/// The word that makes the agent's program a cell's supervisor.
pub const SUPERVISE: &str = "supervise";

/// The name of the small program.
const SUPERVISOR: &str = "fleetsupervisor";

/// How long it may take to say which version it is.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// No program that is meant says more.
const MOST_ANSWER: u64 = 256;

/// The agent's program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it is. After an upgrade another one is there, and the next supervisors are of that.
    pub path: PathBuf,
    /// The soft limit of open files that cells begin with; what the agent has itself if absent.
    pub open_files: Option<u64>,
}

/// Why the program beside the agent's is not used.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("there is none")]
    Absent,
    #[error(transparent)]
    Unsafe(OwnershipError),
    #[error("it is not of this release: it says {said:?}, expected {expected:?}")]
    Other { said: String, expected: String },
    #[error("it cannot be asked for its version: {0}")]
    Broken(io::Error),
}

impl Program {
    /// The program that runs.
    ///
    /// # Errors
    /// The system does not tell where it is.
    pub fn current() -> io::Result<Self> {
        Ok(Self { path: std::env::current_exe()?, open_files: None })
    }

    /// A command that starts a supervisor once it has its arguments.
    pub(super) async fn supervisor(&self, clock: &SharedClock) -> Command {
        let beside = self.path.with_file_name(SUPERVISOR);
        match check(&beside, clock).await {
            Ok(()) => return Command::new(beside),
            Err(Unfit::Absent) => {}
            Err(why) => {
                let why = in_full(&why);
                tracing::warn!(
                    program = %beside.display(),
                    "cells are supervised by the agent's own program, which takes more memory: {why}"
                );
            }
        }
        let mut command = Command::new(&self.path);
        command.arg(SUPERVISE);
        command
    }
}

/// Checks that the program at `path` may take the agent's place. It runs with the agent's rights, so nobody may have
/// written it who does not have these already.
async fn check(path: &Path, clock: &SharedClock) -> Result<(), Unfit> {
    check_ownership(path).map_err(|error| match error {
        OwnershipError::Unreadable { ref source, .. } if source.kind() == io::ErrorKind::NotFound => Unfit::Absent,
        error => Unfit::Unsafe(error),
    })?;
    let said = tokio::select! {
        said = ask(path) => said,
        () = clock.sleep(ANSWERS_WITHIN) => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer")),
    };
    let said = said.map_err(Unfit::Broken)?;
    let expected = format!("{SUPERVISOR} {}", detached::version());
    if said == expected { Ok(()) } else { Err(Unfit::Other { said, expected }) }
}

async fn ask(path: &Path) -> io::Result<String> {
    let mut command = Command::new(path);
    command.arg("--version").env_clear().current_dir("/").kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    keep_descriptors(command.as_std_mut())?;
    let mut child = command.spawn()?;
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MOST_ANSWER).read_to_end(&mut said).await?;
    }
    child.wait().await?;
    Ok(String::from_utf8_lossy(&said).trim_end().to_owned())
}
