//! Knowing a process again that another supervisor started.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use super::definition::{SignalName, Stop};
use super::proc::{Stat, boot_id};

/// How long a process that was killed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// One process of one boot, which leads a process group, and who started it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pid: i32,
    parent: i32,
    /// When it started, in clock ticks since boot.
    start: u64,
    boot: String,
}

impl Identity {
    /// The calling process.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn own() -> io::Result<Self> {
        let own = i32::try_from(std::process::id()).map_err(io::Error::other)?;
        let Some(Stat { pid, parent, start, .. }) = Stat::read(own)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        Ok(Self { pid, parent, start, boot: boot_id()? })
    }

    /// Its process id, while it had one.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    fn read(&self) -> io::Result<Option<Stat>> {
        if self.boot != boot_id()? {
            return Ok(None);
        }
        Ok(Stat::read(self.pid)?.filter(|now| now.start == self.start && !now.is_zombie))
    }

    /// Whether it runs.
    ///
    /// # Errors
    /// That cannot be known now.
    pub fn lives(&self) -> io::Result<bool> {
        Ok(self.read()?.is_some())
    }

    /// Whether it runs, and who started it does not.
    ///
    /// # Errors
    /// That cannot be known now.
    pub fn is_orphan(&self) -> io::Result<bool> {
        Ok(self.read()?.is_some_and(|now| now.parent != self.parent))
    }

    /// Sends a signal to its process group. One that is gone needs none.
    ///
    /// # Errors
    /// It may not be sent one.
    pub fn signal(&self, signal: SignalName) -> io::Result<()> {
        let Some(pid) = self.read()?.and_then(|now| Pid::from_raw(now.pid)) else { return Ok(()) };
        match kill_process_group(pid, Signal::from(signal)) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends its process group as `stop` says. The calling thread waits meanwhile.
    ///
    /// # Errors
    /// It may still run.
    pub fn end(&self, stop: Stop) -> io::Result<()> {
        self.signal(stop.signal)?;
        if self.is_gone_within(Duration::from_millis(stop.timeout_ms))? {
            return Ok(());
        }
        self.signal(SignalName::Kill)?;
        if self.is_gone_within(GONE_WITHIN)? { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
    }

    fn is_gone_within(&self, time: Duration) -> io::Result<bool> {
        let Some(handle) = self.read()?.map(|now| now.handle()).transpose()?.flatten() else { return Ok(true) };
        let timeout = Timespec::try_from(time).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            // It is looked at once more by whoever cares.
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command};

    use super::*;

    fn sleeper() -> (Child, Identity) {
        let child = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let Stat { parent, start, .. } = Stat::read(pid).unwrap().unwrap();
        (child, Identity { pid, parent, start, boot: boot_id().unwrap() })
    }

    #[test]
    fn a_process_is_known_by_its_start_and_its_boot_and_an_orphan_by_its_parent() {
        let own = Identity::own().unwrap();
        assert!(own.lives().unwrap() && !own.is_orphan().unwrap());
        assert!(!Identity { start: own.start + 1, ..own.clone() }.lives().unwrap());
        assert!(!Identity { boot: "another".into(), ..own.clone() }.lives().unwrap());
        assert!(Identity { parent: own.parent + 1, ..own }.is_orphan().unwrap());
    }

    #[test]
    fn a_process_is_ended_and_a_stranger_with_its_id_is_not() {
        let (mut child, identity) = sleeper();
        let stop = Stop { signal: SignalName::Term, timeout_ms: 60_000 };
        Identity { start: identity.start + 1, ..identity.clone() }.end(stop).unwrap();
        assert!(identity.lives().unwrap());
        identity.end(stop).unwrap();
        assert!(!identity.lives().unwrap());
        child.wait().unwrap();

        let (mut child, identity) = sleeper();
        identity.end(Stop { signal: SignalName::Usr1, timeout_ms: 0 }).unwrap();
        child.wait().unwrap();
        assert!(!identity.lives().unwrap());
    }
}
