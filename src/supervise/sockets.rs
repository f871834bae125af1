//! Sockets that a service listens at, held by its supervisor: they outlive the processes that take connections from
//! them. While one process gives way to another, connections wait in the kernel, and none is refused.
//!
//! A supervisor that is killed leaves them to the processes that have them. The next one takes them back from there
//! (`pidfd_getfd`), because a socket that was bound anew beside them would get connections that nobody takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with, sockopt,
};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use serde::{Deserialize, Serialize};

use super::error::SupervisorError;
use super::proc::Stat;

/// Connections that wait to be taken; the kernel takes less if it is set to.
const BACKLOG: i32 = 4096;

/// Where it stands which sockets are held, beside the records of processes.
pub(super) const FILE: &str = "sockets.json";

/// A socket that a process is given; see `sd_listen_fds(3)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Socket {
    /// What the process knows it by, in `LISTEN_FDNAMES`.
    pub name: String,
    /// Where it listens.
    pub listen: Listen,
}

/// Where a socket listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Listen {
    /// For TCP connections to this address. `[::]` takes those over IPv4 as well, unless the system is set otherwise.
    Tcp(SocketAddr),
    /// At a path, whose folder is there.
    Unix {
        /// The absolute path.
        path: PathBuf,
        /// The permissions of the socket.
        mode: u32,
    },
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => path.display().fmt(f),
        }
    }
}

/// The sockets of one service.
#[derive(Debug)]
pub(super) struct Sockets {
    file: PathBuf,
    boot: String,
    held: Mutex<BTreeMap<Listen, OwnedFd>>,
}

/// What a supervisor tells the next one of the sockets that it holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    boot_id: String,
    sockets: Vec<Known>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    listen: Listen,
    /// The number of the socket itself, whichever descriptors it is open by.
    inode: u64,
}

impl Sockets {
    pub(super) fn new(run: &Path, boot: &str) -> Self {
        Self { file: run.join(FILE), boot: boot.to_owned(), held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Listen, OwnedFd>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens at all of `wanted`. What an earlier supervisor listened at is taken back from `running`.
    ///
    /// # Errors
    /// [`SupervisorError::Socket`] for the first that cannot be listened at; the ones before it are held.
    pub(super) fn hold<'a>(
        &self,
        wanted: impl IntoIterator<Item = &'a Listen>,
        running: impl FnOnce() -> Vec<Stat>,
    ) -> Result<(), SupervisorError> {
        let mut held = self.held();
        let missing: BTreeSet<&Listen> = wanted.into_iter().filter(|listen| !held.contains_key(listen)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let known = self.load();
        let mut running = Some(running);
        let mut left = None;
        let mut result = Ok(());
        for wanted in missing {
            let inode = known.iter().find(|known| known.listen == *wanted).map(|known| known.inode);
            let back = inode.and_then(|inode| {
                let running = left.get_or_insert_with(|| running.take().map(|running| running()).unwrap_or_default());
                running.iter().find_map(|stat| take_back(stat, inode))
            });
            match back.map_or_else(|| wanted.open(), Ok) {
                Ok(socket) => {
                    held.insert(wanted.clone(), socket);
                }
                Err(source) => {
                    result = Err(SupervisorError::Socket { address: wanted.to_string(), source });
                    break;
                }
            }
        }
        self.remember(&held);
        result
    }

    /// Closes all that is not `wanted`.
    pub(super) fn keep<'a>(&self, wanted: impl IntoIterator<Item = &'a Listen>) {
        let wanted: BTreeSet<&Listen> = wanted.into_iter().collect();
        let mut held = self.held();
        let before = held.len();
        held.retain(|listen, _| {
            let stays = wanted.contains(listen);
            if let (false, Listen::Unix { path, .. }) = (stays, listen) {
                // Nobody could connect to it any more. If it stays, the next one that listens there removes it.
                let _ = fs::remove_file(path);
            }
            stays
        });
        if held.len() != before {
            self.remember(&held);
        }
    }

    /// Puts these sockets on their way to a process, and returns what it is to have as its standard input: from there
    /// [`take`](super::handed::take) gets them.
    ///
    /// # Errors
    /// One is not held, or the system passes none on.
    pub(super) fn hand(&self, sockets: &[Socket]) -> io::Result<OwnedFd> {
        let held = self.held();
        let fds = sockets.iter().map(|socket| {
            let fd = held.get(&socket.listen).map(|fd| fd.as_fd());
            fd.ok_or_else(|| io::Error::other(format!("nothing listens at {}", socket.listen)))
        });
        super::handed::give(&fds.collect::<io::Result<Vec<BorrowedFd<'_>>>>()?)
    }

    fn load(&self) -> Vec<Known> {
        let read = fs::read(&self.file).ok().and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok());
        read.filter(|read| read.boot_id == self.boot).map(|read| read.sockets).unwrap_or_default()
    }

    fn remember(&self, held: &BTreeMap<Listen, OwnedFd>) {
        let known = held.iter().filter_map(|(listen, socket)| {
            Some(Known { listen: listen.clone(), inode: rustix::fs::fstat(socket).ok()?.st_ino })
        });
        let remembered = Remembered { boot_id: self.boot.clone(), sockets: known.collect() };
        let new = self.file.with_extension("json.new");
        let written = serde_json::to_vec(&remembered).map_err(io::Error::from);
        let written = written.and_then(|bytes| fs::write(&new, bytes)).and_then(|()| fs::rename(&new, &self.file));
        if let Err(error) = written {
            let file = self.file.display();
            tracing::warn!(%file, %error, "the next supervisor will not know which sockets are held");
        }
    }
}

/// The socket of this number, if that process has it and lets it be taken.
fn take_back(stat: &Stat, inode: u64) -> Option<OwnedFd> {
    let link = format!("socket:[{inode}]");
    let process = stat.handle().ok()??;
    let fds = fs::read_dir(format!("/proc/{}/fd", stat.pid)).ok()?;
    let mut fds = fds.filter_map(|entry| Some(entry.ok()?.path()));
    let path = fds.find(|path| fs::read_link(path).is_ok_and(|target| target.as_os_str() == link.as_str()))?;
    let number = path.file_name()?.to_str()?.parse().ok()?;
    match pidfd_getfd(process, number, PidfdGetfdFlags::empty()) {
        Ok(socket) => rustix::fs::fstat(&socket).is_ok_and(|stat| stat.st_ino == inode).then_some(socket),
        Err(error) => {
            let pid = stat.pid;
            tracing::warn!(pid, %error, "a socket that the process listens at cannot be taken back from it");
            None
        }
    }
}

impl Listen {
    fn open(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(address) => {
                let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                let socket = stream(family)?;
                // Connections of an earlier one that are still being closed do not count.
                sockopt::set_socket_reuseaddr(&socket, true)?;
                bind(&socket, address)?;
                listen(&socket, BACKLOG)?;
                Ok(socket)
            }
            Self::Unix { path, mode } => {
                let address = SocketAddrUnix::new(path)?;
                let socket = stream(AddressFamily::UNIX)?;
                match bind(&socket, &address) {
                    Err(Errno::ADDRINUSE) if is_left_over(path, &address) => {
                        fs::remove_file(path)?;
                        bind(&socket, &address)?;
                    }
                    result => result?,
                }
                fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
                listen(&socket, BACKLOG)?;
                Ok(socket)
            }
        }
    }
}

fn stream(family: AddressFamily) -> io::Result<OwnedFd> {
    Ok(socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

/// Whether what lies at a path is a socket at which nobody listens any more.
fn is_left_over(path: &Path, address: &SocketAddrUnix) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let asked = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None);
    is_socket && asked.is_ok_and(|socket| connect(&socket, address) == Err(Errno::CONNREFUSED))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn tcp(port: u16) -> Listen {
        Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    fn free() -> Listen {
        tcp(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port())
    }

    fn connects(listen: &Listen) -> bool {
        let Listen::Tcp(address) = listen else { panic!("{listen:?}") };
        TcpStream::connect(address).is_ok()
    }

    #[test]
    fn what_is_held_is_listened_at_until_it_is_no_longer_wanted() {
        let run = tempfile::tempdir().unwrap();
        let sockets = Sockets::new(run.path(), "boot");
        let (one, two) = (free(), free());
        sockets.hold([&one, &two], Vec::new).unwrap();
        sockets.hold([&one], Vec::new).unwrap();
        assert!(connects(&one) && connects(&two));
        sockets.keep([&two]);
        assert!(!connects(&one) && connects(&two));
    }

    #[test]
    fn what_somebody_else_has_is_refused_and_named() {
        let run = tempfile::tempdir().unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = tcp(other.local_addr().unwrap().port());
        let error = Sockets::new(run.path(), "boot").hold([&taken], Vec::new).unwrap_err();
        assert_eq!(error.to_string(), format!("listening at {taken}"));
    }

    #[test]
    fn a_path_is_listened_at_by_its_mode_unless_somebody_does_or_a_file_lies_there() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join("http.sock");
        let at = |mode| Listen::Unix { path: path.clone(), mode };
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let sockets = Sockets::new(run.path(), "boot");
        sockets.hold([&at(0o600)], Vec::new).unwrap();
        assert_eq!(mode(), 0o600);
        assert!(Sockets::new(run.path(), "boot").hold([&at(0o660)], Vec::new).is_err(), "it is listened at");
        drop(sockets);
        // Nobody has removed it, and nobody listens.
        let sockets = Sockets::new(run.path(), "boot");
        sockets.hold([&at(0o660)], Vec::new).unwrap();
        assert_eq!(mode(), 0o660);
        sockets.keep([]);
        assert!(!path.exists());
        fs::write(&path, "mine").unwrap();
        assert!(sockets.hold([&at(0o660)], Vec::new).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[test]
    fn a_socket_of_this_boot_is_taken_back_from_whoever_has_it() {
        let run = tempfile::tempdir().unwrap();
        let listen = free();
        let first = Sockets::new(run.path(), "boot");
        first.hold([&listen], Vec::new).unwrap();
        let inode = |sockets: &Sockets| rustix::fs::fstat(&sockets.held()[&listen]).unwrap().st_ino;
        let before = inode(&first);
        // Of this very process it is allowed everywhere.
        let own = || vec![Stat::read(i32::try_from(std::process::id()).unwrap()).unwrap().unwrap()];
        assert!(
            Sockets::new(run.path(), "another").hold([&listen], own).is_err(),
            "numbers of another boot mean nothing"
        );
        first.remember(&first.held());
        let second = Sockets::new(run.path(), "boot");
        second.hold([&listen], own).unwrap();
        assert_eq!(inode(&second), before);
        drop(first);
        assert!(connects(&listen));
    }

    #[test]
    fn what_is_no_socket_of_a_program_is_left_alone() {
        let run = tempfile::tempdir().unwrap();
        let path = run.path().join("other.sock");
        let other = UnixListener::bind(&path).unwrap();
        let at = Listen::Unix { path: path.clone(), mode: 0o666 };
        let sockets = Sockets::new(run.path(), "boot");
        assert!(sockets.hold([&at], Vec::new).is_err());
        sockets.keep([]);
        assert!(path.exists(), "it was never held");
        drop(other);
    }
}
