//! How a program gets sockets that somebody else listens at, as `sd_listen_fds(3)` says: as descriptors from 3 on, with
//! `LISTEN_FDS`, `LISTEN_FDNAMES`, and its own process id as `LISTEN_PID`.
//!
//! That id is not known before there is a process, and nothing may be done in one between `fork` and `exec` that could
//! tell it. So what is started first is this very program once more: it takes the sockets from its standard input,
//! through which they were sent, and becomes the program that is meant.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, IntoRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::definition::MOST_SOCKETS;
use super::spawn::explain;

/// The first word of a program that is to take sockets.
pub(super) const TAKE_SOCKETS: &str = "--take-sockets";

/// The number of the first socket.
const FIRST: i32 = 3;

/// Sends sockets on their way, and returns where they arrive.
pub(super) fn give(sockets: &[BorrowedFd<'_>]) -> io::Result<OwnedFd> {
    let (here, there) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::other(format!("{} sockets are more than can be passed on", sockets.len())));
    }
    sendmsg(here, &[IoSlice::new(&[1])], &mut control, SendFlags::empty())?;
    Ok(there)
}

/// Takes sockets from standard input and becomes a program that is given them. `args` are their names, between colons,
/// and the program with its arguments. It returns only if that failed, with the reason.
pub(super) fn take(args: &[OsString]) -> String {
    match try_to(args) {
        Ok(never) => match never {},
        Err(why) => why,
    }
}

fn try_to(args: &[OsString]) -> Result<std::convert::Infallible, String> {
    let [names, program, arguments @ ..] = args else {
        return Err("the names of sockets and a program are needed".to_owned());
    };
    let taking = |error: io::Error| format!("taking the sockets: {error}");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    // They are to be passed on.
    let flags = RecvFlags::empty();
    recvmsg(io::stdin(), &mut [IoSliceMut::new(&mut byte)], &mut control, flags)
        .map_err(|error| taking(error.into()))?;
    let mut count = 0;
    for message in control.drain() {
        let RecvAncillaryMessage::ScmRights(sockets) = message else { continue };
        for socket in sockets {
            // The lowest numbers that are free, and in a process that has just begun nothing else is open.
            if socket.as_raw_fd() != FIRST + count {
                return Err(format!("a socket got the number {}, expected {}", socket.as_raw_fd(), FIRST + count));
            }
            // Open until the program closes it.
            let _ = socket.into_raw_fd();
            count += 1;
        }
    }
    let expected = names.to_string_lossy().split(':').count();
    if usize::try_from(count) != Ok(expected) {
        return Err(format!("{count} sockets came, expected {expected}"));
    }
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.env("LISTEN_FDS", count.to_string()).env("LISTEN_FDNAMES", names);
    command.env("LISTEN_PID", std::process::id().to_string());
    let error = command.exec();
    Err(format!("executing {}: {}", program.to_string_lossy(), explain(&error)))
}
