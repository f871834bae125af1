//! What a process writes: the last of it in memory, all of it to whoever follows, and into dated log files.
//!
//! A process's standard output and error are one named pipe, which the process itself holds open for reading and
//! writing. So the pipe outlives a supervisor that is killed, with all that stands in it, and the next supervisor
//! goes on where that one stopped: no byte is lost or doubled.

mod files;
mod log;
mod pipe;
mod reader;
mod ring;
mod stream;
mod tail;

use std::io;
use std::num::{NonZeroU64, NonZeroUsize};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::event::EventfdFlags;
use serde::{Deserialize, Serialize};

use self::log::Log;
use self::pipe::Pipe;
use self::reader::Reader;
use self::stream::Stream;
use crate::clock::SharedClock;

pub use self::files::{LogFile, LogFiles};
pub(super) use self::tail::overlap;
pub use self::tail::{Last, Tail};

/// How much of a process's last output is held in memory.
pub const RING_BYTES: usize = 64 * 1024;

/// How far a follower may be behind before it loses output. It is held in memory while somebody follows.
const FOLLOWED_BYTES: usize = 1024 * 1024;

/// More than the thread needs; what it does not touch costs nothing.
const STACK_BYTES: usize = 256 * 1024;

/// Where the output of a process is logged, and how much of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The folder of the files, which must exist. Several processes may share it.
    pub folder: PathBuf,
    /// How much is kept.
    pub limits: LogLimits,
}

/// How much of the output of a process is kept in its log files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLimits {
    /// How long a file may become; 10 MiB unless set.
    #[serde(default = "default_max_file_bytes")]
    pub max_file_bytes: NonZeroU64,
    /// How many files of a process are kept, with the one being written; 10 unless set.
    #[serde(default = "default_max_files")]
    pub max_files: NonZeroUsize,
    /// How many days after the one in its name a file is kept; 30 unless set.
    #[serde(default = "default_max_age_days")]
    pub max_age_days: u32,
}

const fn default_max_file_bytes() -> NonZeroU64 {
    NonZeroU64::MIN.saturating_add(10 * 1024 * 1024 - 1)
}

const fn default_max_files() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(9)
}

const fn default_max_age_days() -> u32 {
    30
}

impl LogSettings {
    /// Logs in `folder`, within the default limits.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, limits: LogLimits::default() }
    }
}

impl Default for LogLimits {
    fn default() -> Self {
        let (max_file_bytes, max_files) = (default_max_file_bytes(), default_max_files());
        Self { max_file_bytes, max_files, max_age_days: default_max_age_days() }
    }
}

/// The last output of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// At most [`RING_BYTES`].
    pub bytes: Vec<u8>,
    /// How much came before them since this supervisor took over the output.
    pub begins_at: u64,
}

/// What a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Output, at most [`RING_BYTES`] of it.
    Bytes(Vec<u8>),
    /// So many bytes came and went, because the follower was too slow.
    Lost(u64),
}

/// Output that could not be logged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lost {
    /// How many bytes, since this supervisor took over the output.
    pub bytes: u64,
    /// Why the log could not be written the last time that it could not.
    pub last_error: Option<String>,
}

/// Somebody who reads the output of a process as it comes. However slow, it delays neither the process nor its log.
#[derive(Debug)]
pub struct Follow {
    stream: Arc<Stream>,
    position: u64,
}

/// The output of one process, and the thread that reads it. When the last clone is dropped the thread reads what is
/// left and ends; [`Output::close`] waits for it.
#[derive(Debug, Clone)]
pub(super) struct Output(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    stream: Arc<Stream>,
    doorbell: Arc<OwnedFd>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Output {
    /// Reads and logs what comes through `pipe` on behalf of the process called `name`. The pipe must be open for
    /// reading and writing, so that it has no end, and without blocking.
    ///
    /// # Errors
    /// The name cannot be part of a file name, or the system refuses a descriptor or a thread. A log that cannot be
    /// written is no error: it must not keep a process from running.
    pub(super) fn open(pipe: OwnedFd, settings: LogSettings, name: &str, clock: SharedClock) -> io::Result<Self> {
        let stream = Arc::new(Stream::default());
        let doorbell = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let log = Log::new(settings, name, clock)?;
        let pipe = Pipe::new(pipe)?;
        let reader = Reader { pipe, log, stream: Arc::clone(&stream), doorbell: Arc::clone(&doorbell) };
        let (ending, process) = (Ending(Arc::clone(&stream)), name.to_owned());
        let read = move || {
            let _ending = ending;
            if let Err(error) = reader.run() {
                tracing::error!(process, "output is no longer read: {error}");
            }
        };
        let thread = std::thread::Builder::new().name(format!("output {name}")).stack_size(STACK_BYTES).spawn(read)?;
        Ok(Self(Arc::new(Handle { stream, doorbell, thread: Mutex::new(Some(thread)) })))
    }

    /// The last of what the process wrote.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.0.stream.snapshot()
    }

    /// What [`Output::snapshot`] would give, and then all that comes, without a gap.
    pub(super) fn follow(&self) -> Follow {
        Follow::new(&self.0.stream)
    }

    /// What could not be logged so far.
    pub(super) fn lost(&self) -> Lost {
        self.0.stream.lost()
    }

    /// Completes once everything is read and logged that stood in the pipe when this was called.
    pub(super) async fn drained(&self) {
        let drain = self.0.stream.ask_drain();
        self.0.ring_doorbell();
        self.0.stream.drained(drain).await;
    }

    /// Reads and logs what stands in the pipe, and ends the thread. Whatever clones there are, nothing comes any more.
    pub(super) async fn close(self) {
        self.0.close();
        self.0.stream.ended().await;
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It has only to return by now.
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that reads the output of a process panicked");
        }
    }
}

impl Handle {
    fn close(&self) {
        self.stream.ask_close();
        self.ring_doorbell();
    }

    fn ring_doorbell(&self) {
        // It refuses only when it was rung 2^64 times and nobody came, and then it still rings.
        rustix::io::write(&*self.doorbell, &1_u64.to_ne_bytes()).ok();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

/// Tells everybody that the thread has ended, however it did.
struct Ending(Arc<Stream>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests;
