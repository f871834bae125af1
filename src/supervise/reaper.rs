//! Waiting for processes to end.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, waitid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::proc::Stat;
use super::state::Exit;

/// Completes when a process has ended.
pub(super) type Ended = Pin<Box<dyn Future<Output = Exit> + Send>>;

/// Collects processes that have ended, so that none stays behind as a zombie.
#[derive(Debug)]
pub(super) enum Reaper {
    /// Only those that were started here; all others are somebody else's to wait for.
    Own,
    /// Every child there is: those that were orphaned somewhere below become children of this process too.
    Everything(Everything),
}

#[derive(Debug)]
pub(super) struct Everything {
    waiting: Arc<Waiting>,
    /// The marks of the trees of which something may run.
    trees: Mutex<BTreeSet<Vec<u8>>>,
    task: JoinHandle<()>,
}

/// Who waits for which process.
type Waiting = Mutex<HashMap<i32, oneshot::Sender<Exit>>>;

impl Drop for Everything {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reaper {
    /// Makes the calling process the one that gets all orphans below it (`PR_SET_CHILD_SUBREAPER`).
    pub(super) fn everything() -> io::Result<Self> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        let mut ends = signal(SignalKind::child())?;
        let waiting = Arc::new(Waiting::default());
        let shared = Arc::clone(&waiting);
        let task = tokio::spawn(async move {
            loop {
                reap(&shared);
                if ends.recv().await.is_none() {
                    break;
                }
            }
        });
        Ok(Self::Everything(Everything { waiting, trees: Mutex::default(), task }))
    }

    /// From now on something of the tree with this mark may run.
    pub(super) fn runs(&self, mark: &[u8]) {
        if let Self::Everything(Everything { trees, .. }) = self {
            trees.lock().unwrap_or_else(PoisonError::into_inner).insert(mark.to_vec());
        }
    }

    /// Nothing of the tree with this mark runs any more.
    pub(super) fn is_gone(&self, mark: &[u8]) {
        if let Self::Everything(Everything { trees, .. }) = self {
            trees.lock().unwrap_or_else(PoisonError::into_inner).remove(mark);
        }
    }

    /// The orphans among `all` that can only be of the tree with this mark, or of one that is gone: as long as any
    /// other tree may run, an orphan may be of that one.
    pub(super) fn strays(&self, mark: &[u8], all: &[Stat]) -> BTreeSet<i32> {
        let Self::Everything(Everything { waiting, trees, .. }) = self else { return BTreeSet::new() };
        let trees = trees.lock().unwrap_or_else(PoisonError::into_inner);
        if trees.iter().any(|other| other != mark) {
            return BTreeSet::new();
        }
        // What the program starts for itself is in its own session, into which nothing comes that was started here.
        // Read where those of the others are: it is 0 where the session's leader is outside of a container.
        let Ok(Some(me)) = Stat::read(rustix::process::getpid().as_raw_pid()) else { return BTreeSet::new() };
        let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_stray =
            |stat: &&Stat| stat.parent == me.pid && stat.session != me.session && !waiting.contains_key(&stat.pid);
        all.iter().filter(is_stray).map(|stat| stat.pid).collect()
    }

    /// Starts a process with `launch` and says how to wait for its end.
    pub(super) fn start(&self, launch: impl FnOnce() -> Result<Pid, String>) -> Result<(Pid, Ended), String> {
        match self {
            Self::Own => {
                let pid = launch()?;
                // It is our child and nobody has waited for it, so the id is still its own.
                let ended = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
                    .map_err(io::Error::from)
                    .and_then(wait_for_child);
                ended.map(|ended| (pid, ended)).map_err(|error| {
                    // What nobody watches would go on beside the next one.
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                    let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
                    format!("watching the process: {error}")
                })
            }
            Self::Everything(Everything { waiting, .. }) => {
                // Held so that nothing is reaped before it is known who waits for it.
                let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let pid = launch()?;
                let (sender, receiver) = oneshot::channel();
                waiting.insert(pid.as_raw_nonzero().get(), sender);
                Ok((pid, Box::pin(async move { receiver.await.unwrap_or(Exit::Unknown) })))
            }
        }
    }

    /// Whether the calling process has children that nobody started here: orphans of what was. None if that cannot be
    /// known.
    pub(super) fn has_orphans(&self) -> Option<bool> {
        let Self::Everything(Everything { waiting, .. }) = self else { return None };
        let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let children = super::proc::own_children()?;
        Some(children.iter().any(|pid| !waiting.contains_key(pid)))
    }
}

fn reap(waiting: &Waiting) {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if let Some(waiter) = waiting.remove(&pid.as_raw_nonzero().get()) {
            // Whoever waited may have given up.
            let _ = waiter.send(exit(status.exit_status(), status.terminating_signal()));
        }
    }
}

fn exit(code: Option<i32>, signal: Option<i32>) -> Exit {
    code.map(Exit::Code).or_else(|| signal.map(Exit::Signal)).unwrap_or(Exit::Unknown)
}

fn wait_for_child(fd: OwnedFd) -> io::Result<Ended> {
    let fd = readable(fd)?;
    Ok(Box::pin(async move {
        loop {
            let Ok(mut ready) = fd.readable().await else { return Exit::Unknown };
            match waitid(WaitId::PidFd(fd.get_ref().as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
                Ok(Some(status)) => return exit(status.exit_status(), status.terminating_signal()),
                Ok(None) => ready.clear_ready(),
                Err(_) => return Exit::Unknown,
            }
        }
    }))
}

/// Waits for a process that is no child of this one; how it ended is its parent's to know. None if it has ended.
///
/// # Errors
/// It cannot be watched, and may well run.
pub(super) fn wait_for_stranger(stat: &Stat) -> io::Result<Option<Ended>> {
    let Some(fd) = stat.handle()? else { return Ok(None) };
    let fd = readable(fd)?;
    Ok(Some(Box::pin(async move {
        // An error says that it cannot be watched any more, which comes to the same.
        let _ = fd.readable().await;
        Exit::Unknown
    })))
}

/// Completes once the process with this id has ended; at once if there is none.
///
/// # Errors
/// It cannot be watched, and may well run.
pub async fn process_ended(pid: i32) -> io::Result<()> {
    let Some(stat) = Stat::read(pid)? else { return Ok(()) };
    if let Some(ended) = wait_for_stranger(&stat)? {
        ended.await;
    }
    Ok(())
}

#[expect(unsafe_code, reason = "the runtime watches descriptors by their numbers")]
fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor until it is dropped, and the `AsyncFd` owns it until then.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}
