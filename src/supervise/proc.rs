//! Processes as the kernel shows them in `/proc`; see `proc(5)`.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The largest environment that is searched for a mark.
const MOST_ENVIRON: u64 = 4 << 20;

/// The part of `/proc/<pid>/stat` that says who is who.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) session: i32,
    pub(super) is_zombie: bool,
    /// When it started, in clock ticks since boot: with the pid it names one process of this boot.
    pub(super) start: u64,
}

impl Stat {
    /// Reads the one line of the file. The program's name stands in it unescaped, between the first `(` and the last
    /// `)`.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(&line[..line.iter().position(|byte| *byte == b'(')?]).ok().zip(
            line.iter().rposition(|byte| *byte == b')').and_then(|end| std::str::from_utf8(&line[end + 1..]).ok()),
        );
        let (pid, rest) = line?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Numbered from 3 in the manual: 3 state, 4 ppid, 6 session, 22 starttime.
        Some(Self {
            pid: pid.trim().parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            is_zombie: matches!(*fields.first()?, "Z" | "X"),
            start: fields.get(19)?.parse().ok()?,
        })
    }

    /// The process with this id; None if there is none.
    ///
    /// # Errors
    /// That cannot be known now: for want of a descriptor, for example.
    pub(super) fn read(pid: i32) -> io::Result<Option<Self>> {
        match fs::read(format!("/proc/{pid}/stat")) {
            Ok(line) => match Self::parse(&line) {
                Some(stat) => Ok(Some(stat)),
                None => Err(io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat says nothing known"))),
            },
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the process still runs.
    ///
    /// # Errors
    /// As for [`Stat::read`].
    pub(super) fn lives(&self) -> io::Result<bool> {
        Ok(Self::read(self.pid)?.is_some_and(|now| now.start == self.start && !now.is_zombie))
    }

    /// Sends a signal to this very process, and to no other that got its id since. One that is gone needs none.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        match self.handle()? {
            Some(fd) => match pidfd_send_signal(fd, signal) {
                Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
                Err(error) => Err(error.into()),
            },
            None => Ok(()),
        }
    }

    /// A descriptor of this very process; None if it is gone.
    ///
    /// # Errors
    /// There is none to be had now, which says nothing about the process.
    pub(super) fn handle(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else { return Ok(None) };
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The descriptor holds on to one process; now it must be seen to be the right one.
        Ok(Self::read(self.pid)?.filter(|now| now.start == self.start).map(|_| fd))
    }
}

/// Whether a file of `/proc` could not be read because its process has ended.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// All processes that this one may see. Those of other users may be hidden from it (`hidepid`, see `proc(5)`): not
/// listed, or listed and not shown.
///
/// # Errors
/// Not all can be seen now. Taken for the whole, what is seen would let something be started twice.
pub(super) fn all() -> io::Result<Vec<Stat>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) {
            match Stat::read(pid) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                stat => all.extend(stat?),
            }
        }
    }
    Ok(all)
}

/// The children of the calling process. None where the kernel does not list them (`CONFIG_PROC_CHILDREN`).
pub(super) fn own_children() -> Option<Vec<i32>> {
    let mut children = Vec::new();
    for thread in fs::read_dir("/proc/self/task").ok()? {
        let text = match fs::read_to_string(thread.ok()?.path().join("children")) {
            Ok(text) => text,
            // A thread that ended meanwhile has left its children to another one.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !children.is_empty() => continue,
            Err(_) => return None,
        };
        children.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    Some(children)
}

/// Whether the process was started with `variable` (`NAME=value`) in its environment. A process may overwrite what is
/// shown here, so a `no` proves nothing.
pub(super) fn was_started_with(pid: i32, variable: &[u8]) -> bool {
    let mut environ = Vec::new();
    let read = fs::File::open(format!("/proc/{pid}/environ"))
        .and_then(|file| file.take(MOST_ENVIRON).read_to_end(&mut environ));
    read.is_ok() && environ.split(|byte| *byte == 0).any(|other| other == variable)
}

/// Whether standard output or standard error of the process is the file with this device and inode.
pub(super) fn writes_to(pid: i32, file: (u64, u64)) -> bool {
    [1, 2].iter().any(|fd| {
        let meta = fs::metadata(format!("/proc/{pid}/fd/{fd}"));
        meta.is_ok_and(|meta| (meta.dev(), meta.ino()) == file)
    })
}

/// Names this boot of the machine, or of the container: process ids mean nothing across boots, and little else does.
pub(super) fn boot_id() -> io::Result<String> {
    let machine = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    // A container that is started again has another first process on the same kernel. Where users may not see it,
    // they never may.
    let first = Stat::read(1).ok().flatten().map_or(0, |first| first.start);
    Ok(format!("{}/{first}", machine.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_brackets_does_not_hide_the_fields() {
        let line = b"42 (a) S 1 (b\xff) S 7 42 41 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1 2 3\n";
        let expected = Stat { pid: 42, parent: 7, session: 41, is_zombie: false, start: 123_456 };
        assert_eq!(Stat::parse(line), Some(expected));
        assert_eq!(Stat::parse(b"42 (a) S 7"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn this_process_is_found_by_all_that_is_known_of_it() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let me = Stat::read(pid).unwrap().unwrap();
        assert!(me.lives().unwrap() && me.handle().unwrap().is_some() && all().unwrap().contains(&me));
        let earlier = Stat { start: me.start - 1, ..me };
        assert!(!earlier.lives().unwrap() && earlier.handle().unwrap().is_none(), "another process had the id then");
        let none = Stat { pid: i32::MAX, ..me };
        assert!(!none.lives().unwrap() && none.handle().unwrap().is_none(), "no process has the id");
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        assert!(was_started_with(pid, path.as_bytes()));
        assert!(!was_started_with(pid, &path.as_bytes()[..path.len() - 1]));
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert!(boot_id().unwrap().len() > 36);
    }
}
