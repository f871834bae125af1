//! The lock file by which an application keeps what runs from being switched away under it.
//!
//! A lock of `flock(2)` ends with the process that holds it, so none is ever left behind. It is looked for by asking for
//! a shared one and giving it back at once: whoever holds the file exclusively is in the way.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{FlockOperation, flock, major, minor};
use rustix::io::Errno;

use super::context::Context;
use super::release;
use super::trouble::{Cure, Trouble, plain};
use crate::model::{CellName, Code, FilePath};

/// Of `/proc/locks` no more is read: it is only there to name the holder.
const MOST_LOCKS: u64 = 1 << 20;

/// Looks at the lock file at `path` in the cell's data folder, following no links. What is not there is not locked.
///
/// # Errors
/// It is held, or it cannot be said whether it is.
pub(super) fn check(context: &Context, cell: &CellName, path: &FilePath) -> Result<(), Trouble> {
    let waits = |why: String| Trouble::new(Code::Lock, why, Cure::Turn { until: None });
    let unclear = |why: String| waits(format!("the lock file {path} cannot be looked at: {why}"));
    let data = context.home.data().child(cell.as_str()).map_err(|error| unclear(crate::store::in_full(&error)))?;
    let Some(data) = data else { return Ok(()) };
    let found = release::open(&data, path).map_err(|error| unclear(crate::store::in_full(&error)))?;
    let Some(file) = found else { return Ok(()) };
    match is_held(&file) {
        Ok(false) => Ok(()),
        Ok(true) => {
            let holder = holder(&file).map(|holder| format!(" by {holder}")).unwrap_or_default();
            Err(waits(format!("the application holds its lock file {path}{holder}")))
        }
        Err(error) => Err(unclear(error.to_string())),
    }
}

fn is_held(file: &File) -> io::Result<bool> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    match flock(file.as_fd(), FlockOperation::NonBlockingLockShared) {
        Ok(()) => flock(file.as_fd(), FlockOperation::Unlock).map(|()| false).map_err(Into::into),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// The process that holds the file, as far as the kernel tells.
fn holder(file: &File) -> Option<String> {
    let meta = file.metadata().ok()?;
    let place = format!("{:02x}:{:02x}:{}", major(meta.dev()), minor(meta.dev()), meta.ino());
    let mut locks = String::new();
    File::open("/proc/locks").ok()?.take(MOST_LOCKS).read_to_string(&mut locks).ok()?;
    let pid = pid_of(&locks, &place)?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).map(|name| format!(" ({})", plain(name.trim())));
    Some(format!("process {pid}{}", name.unwrap_or_default()))
}

/// Who holds a lock of `flock(2)` at `place`, by the text of `/proc/locks`. Lines of those who wait have an arrow.
fn pid_of(locks: &str, place: &str) -> Option<u32> {
    let mut held = locks.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    held.find_map(|words| match words[..] {
        [_, "FLOCK", _, "WRITE", pid, at, ..] if at == place => pid.parse().ok().filter(|pid| *pid > 0),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_the_one_that_does_not_wait() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fe:00:42 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 fe:00:43 0 EOF\n\
                     3: -> FLOCK  ADVISORY  WRITE 13 fe:00:42 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 14 fe:00:42 0 EOF\n";
        assert_eq!(pid_of(locks, "fe:00:42"), Some(14));
        assert_eq!(pid_of(locks, "fe:00:44"), None);
        assert_eq!(pid_of("4: FLOCK ADVISORY WRITE -1 fe:00:42 0 EOF", "fe:00:42"), None);
        assert_eq!(pid_of("4: FLOCK ADVISORY", "fe:00:42"), None);
    }
}
