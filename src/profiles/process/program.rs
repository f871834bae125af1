//! The program that a cell's supervisor is.
//!
//! There is one a cell for as long as that runs, and of the agent's large program it uses little. So it begins as that,
//! and becomes the small program that is made from the same sources, if that lies beside it and is fit. Otherwise it
//! stays what it is: the agent's program can be copied to a node alone. It is decided anew at each start, whoever starts
//! it: systemd keeps to the command line that a unit was made with, and the small program may come and go.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::clock::{SharedClock, SystemClock};
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

impl Program {
    /// The program that runs.
    ///
    /// # Errors
    /// The system does not tell where it is.
    pub fn current() -> io::Result<Self> {
        Ok(Self { path: std::env::current_exe()?, open_files: None })
    }
}

/// Is the supervisor of the cell that `args` name; see [`detached::main`]. `program` is what this one is called.
#[must_use]
pub fn supervise(program: &str, args: &[OsString]) -> ExitCode {
    // What takes sockets for a program is soon gone, and not looked at by anybody.
    if detached::takes_sockets(args) {
        return detached::main(program, args.iter().cloned());
    }
    match become_small(args) {
        Unfit::Absent => {}
        why => {
            // Nobody is left to be told that nobody reads.
            let _ = writeln!(io::stderr(), "{program}: {SUPERVISOR} beside it is not used: {}", in_full(&why));
        }
    }
    detached::main(program, args.iter().cloned())
}

/// Why the small program is not used.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("there is none")]
    Absent,
    #[error(transparent)]
    Unsafe(OwnershipError),
    #[error("it is not of this release: it says {said:?}, expected {expected:?}")]
    Other { said: String, expected: String },
    #[error("it cannot be run: {0}")]
    Broken(#[from] io::Error),
}

/// Goes on as the small program, with these arguments. It returns if that cannot be.
fn become_small(args: &[OsString]) -> Unfit {
    let become_it = || {
        let path = std::env::current_exe()?.with_file_name(SUPERVISOR);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(check(&path, &SystemClock::shared()))?;
        Err(Unfit::Broken(std::process::Command::new(path).args(args).exec()))
    };
    let Err(why): Result<std::convert::Infallible, Unfit> = become_it();
    why
}

/// Checks that the program at `path` may take this one's place. It gets the agent's rights, so nobody may have
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
    let said = said?;
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
