//! Sockets that systemd listens at for a cell: opened before its services are started, closed when none needs them.

use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::{fs, io};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::bus::JobEnd;
use super::look::Unit;
use super::{SLACK, Systemd};
use crate::agent::ProfileError;
use crate::model::strategy::Listen;
use crate::render::unit::Sockets;

impl Systemd {
    /// Has systemd listen at each of them.
    pub(super) async fn open_sockets(&self, sockets: &Sockets) -> Result<(), ProfileError> {
        for (stem, listen) in sockets {
            let name = format!("{stem}.socket");
            if self.unit(&name).await?.is_up() {
                continue;
            }
            check_free(listen).map_err(|error| ProfileError::Version(format!("listening at {listen}: {error}")))?;
            self.bus.reset_failed(&name).await?;
            match self.bus.start(&name, SLACK).await? {
                JobEnd::Result(result) if result == "done" => {}
                end => {
                    let how = match end {
                        JobEnd::Result(result) => result,
                        JobEnd::Going => "it still tries".to_owned(),
                    };
                    let message =
                        format!("listening at {listen}: systemd cannot ({how}); see `journalctl --unit={name}`");
                    return Err(ProfileError::Version(message));
                }
            }
        }
        Ok(())
    }

    /// Whether systemd listens at all of them.
    pub(super) async fn are_open(&self, sockets: &Sockets) -> Result<bool, ProfileError> {
        for stem in sockets.keys() {
            if !self.unit(&format!("{stem}.socket")).await?.is_up() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has systemd listen at it no longer. Who was given the socket still has it.
    pub(super) async fn close_socket(&self, stem: &str) -> Result<(), ProfileError> {
        // What it starts ends with it.
        let [name, idle] = ["socket", "service"].map(|end| format!("{stem}.{end}"));
        for name in [&name, &idle] {
            if self.unit(name).await?.is_up() {
                self.stop_unit(name, SLACK).await?;
            }
            self.bus.reset_failed(name).await?;
        }
        Ok(())
    }

    /// What systemd says of a unit.
    pub(super) async fn unit(&self, name: &str) -> Result<Unit, ProfileError> {
        Ok(Unit::of(self.bus.unit(name).await?))
    }
}

/// Whether nobody else listens there, as far as this process may try. systemd does not say why it cannot, takes an
/// address that the host does not have, and removes whatever lies at a path.
fn check_free(listen: &Listen) -> io::Result<()> {
    match listen {
        Listen::Tcp(address) => match bind(*address) {
            Err(error @ (Errno::ADDRINUSE | Errno::ADDRNOTAVAIL)) => Err(error.into()),
            // An agent need not have the right to try every port.
            _ => Ok(()),
        },
        Listen::Unix(path) => check_path(Path::new(path)),
    }
}

/// Without listening, so that no connection is taken and lost.
fn bind(address: SocketAddr) -> Result<(), Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)
}

/// A socket that nobody listens at any more may be replaced.
fn check_path(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if !meta.file_type().is_socket() => Err(io::Error::other("there is something that is no socket")),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another program listens there")),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn what_somebody_has_is_not_taken() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s");
        let at = || check_free(&Listen::Unix(path.display().to_string()));
        at().unwrap();
        fs::write(&path, "mine").unwrap();
        assert!(at().unwrap_err().to_string().contains("no socket"));
        fs::remove_file(&path).unwrap();
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(at().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        at().unwrap();
        assert!(path.exists(), "to be replaced by whoever listens");

        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(check_free(&Listen::Tcp(address)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(taken);
        check_free(&Listen::Tcp(address)).unwrap();
        // Of a network that is kept for examples.
        let nobodys = "192.0.2.1:8080".parse().unwrap();
        assert_eq!(check_free(&Listen::Tcp(nobodys)).unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }
}
