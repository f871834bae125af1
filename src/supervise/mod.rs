//! A process supervisor: it starts the processes of services, keeps them running, and keeps what they write.
//!
//! It is a library for programs that run other programs, and needs nothing else of this crate: with
//! `default-features = false, features = ["supervise"]` there is no S3, no HTTP server and no command line in it.
//! `examples/supervisor.rs` is such a program. It needs Linux 5.4 or newer, `/proc`, and a tokio runtime with its I/O
//! and time enabled.
//!
//! ```
//! use fleetman::clock::SystemClock;
//! use fleetman::supervise::{
//!     Piece, ProcessDef, Restart, RestartPolicy, Run, ServiceDef, SignalName, Supervisor, SupervisorConfig,
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let supervisor = Supervisor::open(SupervisorConfig::new(folder), SystemClock::shared())?;
//! let web = ProcessDef {
//!     restart: Restart { policy: RestartPolicy::Always, delay_ms: 0, ..Restart::default() },
//!     ..ProcessDef::new(Run::Shell("echo ready; exec sleep 1000".into()))
//! };
//! supervisor.start_service("site", ServiceDef::of("web", web)).await?;
//!
//! // It is killed, and is there again.
//! let mut output = supervisor.get_output("site", "web")?.follow();
//! assert_eq!(output.next().await, Some(Piece::Bytes(b"ready\n".to_vec())));
//! supervisor.signal_process("site", "web", SignalName::Kill).await?;
//! assert_eq!(output.next().await, Some(Piece::Bytes(b"ready\n".to_vec())));
//!
//! // Ends everything. Whatever is dropped without this runs on, for the next supervisor to take over.
//! supervisor.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Definitions are values that serde reads and writes, so that they can come from a file: [`ServiceDef`] says what there
//! is, [`Supervisor`] what can be done, and [`detached`] is a supervisor in a process of its own.
//!
//! # States
//! ```text
//!              start            what it comes after is up
//!  Stopped ───────────▶ Starting ──────────────────────▶ Running ───stop───▶ Stopping ──all of it is gone──▶ Stopped
//!                          ▲                                │
//!                          └──delay is over── Backoff ◀─────┤ it ended, and its policy says to start it again
//!                                                           │
//!                    Completed, Crashed or Failed ◀─────────┘ it ended, and its policy says to leave it
//! ```
//! - A process is Running as soon as its program is executed. Whether it is of any use yet nobody asks it.
//! - Completed is an end with exit code 0, Crashed another one under a policy that leaves it, Failed one too many in a
//!   row ([`Restart::max_retries`]). A program that cannot be started counts as one that ended badly.
//! - A [`Kind::Task`] is never started again by itself, whatever its policy says.
//! - What comes [`after`](ProcessDef::after) others starts once those services are Running and those tasks Completed,
//!   and waits for that without end. Stopping goes the other way round. What happens to them later is nothing to it.
//! - Every command may be given in every state. One that wants the opposite of what is under way overrules it, and
//!   whoever gave the earlier one gets [`SupervisorError::Overruled`]. None is dropped: a call completes when what it
//!   asked for is so, or can no longer become so.
//!
//! # What can be relied on
//! - **A process is everything that it starts.** It ends when the program that was started ends: what it leaves behind,
//!   by forking away too, is killed at once. When it is to stop, everything in its session gets
//!   [`Stop::signal`], and after [`Stop::timeout_ms`] whatever is left of it gets SIGKILL, whether it ignores signals,
//!   went to another session or became an orphan. Only when nothing of it is left is it Stopped or started again, so it
//!   never runs twice.
//! - **A supervisor may die.** If the program that supervises is killed, what it runs goes on. The next supervisor on
//!   the same folder takes it over, by pid, start time and boot, when it is told to
//!   [start](Supervisor::start_service) or [resume](Supervisor::resume_service) the service. Only who started a process
//!   learns its exit code: what was taken over, or ended meanwhile, ends with [`Exit::Unknown`], which counts as badly.
//!   A lock keeps two supervisors from running one service.
//! - **No signal hits a stranger.** Processes are held by descriptors, and a pid that was given to another process is
//!   noticed.
//! - **Output is not lost.** Standard output and error are one named pipe, which the process itself holds open. While no
//!   supervisor is there it takes 1 MiB (64 KiB where the system refuses more); then the process waits as it writes,
//!   until the next supervisor reads on. What it had written when it ended is logged before its end is told, unless the
//!   disk hangs for a second.
//! - **A log never stops a process.** If the disk is full, output is dropped and counted ([`Lost`]), and the log says
//!   how much is missing. A reader of the live output that is too slow is told what it missed ([`Piece::Lost`]).
//!
//! # What a process finds
//! - It leads a session and a process group of its own, without a terminal. Standard input is `/dev/null`.
//! - Its environment is [`ProcessDef::env`] and [`MARK`], nothing of the supervisor's. The kernel takes at most 128 KiB
//!   for one variable or argument, name and all; what is too large is told as such.
//! - It has no descriptors but input, output and error, whatever the supervisor inherited.
//! - User and groups are those of `/etc/passwd` and `/etc/group`; other directories are not asked. Only root can become
//!   somebody else. Umask, user and limits are the supervisor's own unless set.
//! - Values of [`EnvValue::Text`] are written to the supervisor's folder, which only its user can read. Secrets belong
//!   into an [`EnvFile`], of which only the path is.
//!
//! # On disk
//! The folder of services, that of a service, and `run` and `logs` in it must belong to root or to the supervisor's user,
//! and nobody else may write to them ([`check_ownership`]): whoever could would choose what runs. They are made so.
//!
//! ```text
//! <folder>/<service>/logs/<process>.<yyyy-mm-dd>.<n>.log   output as it came, by days of UTC; see [LogLimits]
//! <folder>/<service>/run/lock             held by the supervisor that runs the service
//! <folder>/<service>/run/state.json       what each process did last, for the next supervisor of this boot
//! <folder>/<service>/run/<process>.out    the pipe that the process writes to
//! <folder>/<service>/run/<process>.pid    who the process is, written by itself before it becomes the program
//! ```
//!
//! # What is not done
//! - Health is not checked: whoever can tell whether a service is well uses [`Supervisor::restart_process`].
//! - What waits for a pipe is lost with the last process that holds it: what a process writes and nobody reads any more
//!   is gone if supervisor and process are both killed before the next supervisor is there.
//! - Output is not told apart by stream, and lines get no times: the order of the two would be lost.
//! - Memory and CPU are not limited, and nothing is shut into namespaces.
//! - Without [`SupervisorConfig::use_cgroup`], what belongs to a process is told by its session, its ancestors, its
//!   environment ([`MARK`]) and its output. What does away with all four of them on purpose is found only by the
//!   supervisor under which it was orphaned, if that [adopts orphans](SupervisorConfig::adopt_orphans), and ends with
//!   the last process that it can have come from. What runs as another user than a supervisor that is not root is not
//!   found once it is out of the session and has lost its ancestors, and never where `/proc` hides it (`hidepid`).
//!
//! # Figures
//! What `cargo bench --bench supervisor` printed on a machine with 4 cores (AMD EPYC, Linux 6.18, ext4) and other work:
//!
//! | | `fleetsupervisor` | systemd 252 | supervisord 4.2.5 | `cat pipe > file` |
//! |---|---|---|---|---|
//! | a killed process is up again after (median) | 0.64 ms | 1.41 ms | 1005 ms | |
//! | memory of one that runs one process (Pss) | 2068 KiB | | 28500 KiB | |
//! | memory of each of ten (Pss) | 628 KiB | | | |
//! | of that in no file (private dirty) | 380 KiB | | 19968 KiB | |
//! | 1 GiB of output into a file | 2048 MiB/s | | | 1409 MiB/s |
//!
//! Most of the memory is the program's own pages, of which all supervisors of a machine share one copy; so a small
//! program is worth having. In `fleetagent`, which has all else in it, the same supervisor had a Pss of 8278 KiB, 2147
//! KiB each of ten, and 1328 KiB in no file.

mod begin;
mod cgroup;
mod change;
mod conditions;
mod definition;
pub mod detached;
mod errand;
mod error;
mod handed;
mod home;
mod identity;
mod keeper;
mod output;
mod ownership;
mod proc;
mod reaper;
mod replace;
mod restart;
mod service;
mod sockets;
mod spawn;
mod state;
mod supervisor;
mod tree;
mod users;

pub use definition::{
    EnvFile, EnvValue, InvalidDefinition, Kind, Limits, ProcessDef, Restart, RestartPolicy, Run, ServiceDef,
    SignalName, Stop,
};
pub use errand::{Errand, ErrandEnd, run_errand};
pub use error::SupervisorError;
pub use home::run_folder;
pub use identity::Identity;
pub use output::{Follow, Last, LogFile, LogFiles, LogLimits, LogSettings, Lost, Piece, RING_BYTES, Snapshot, Tail};
pub use ownership::{OwnershipError, check_ownership};
pub use reaper::process_ended;
pub use replace::become_process;
pub use sockets::{Listen, Socket};
pub use spawn::{EnvFileError, keep_descriptors};
pub use state::{End, Event, Exit, ProcessState, ProcessStatus, ServiceStatus};
pub use supervisor::{ProcessOutput, Supervisor, SupervisorConfig};
pub use users::{Account, AccountError};

use spawn::in_full;

/// The environment variable by which everything that a process starts is known to be its own. Its value names the
/// service's folder, the service and the process.
pub const MARK: &str = "SUPERVISED_AS";

#[cfg(test)]
mod tests;
