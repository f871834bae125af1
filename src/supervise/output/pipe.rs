//! The reading end of a process's output.
//!
//! A supervisor may be killed at any instruction, and another one goes on reading the same pipe. So bytes must leave
//! the pipe in the same step in which they come into the log: `read` and then `write` would lose what was read when
//! the kill falls between them. Therefore bytes are looked at in a copy (`tee`), and then moved by the kernel from
//! the pipe into the file (`splice`), which takes from the pipe exactly what it wrote.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

/// How much the process may write ahead of the log: the most that a system allows everybody by default.
const PIPE_BYTES: usize = 1024 * 1024;

/// How much is looked at in one go, at most.
const CHUNK_BYTES: usize = 256 * 1024;

/// A process's output, as it comes.
#[derive(Debug)]
pub(super) struct Pipe {
    pipe: OwnedFd,
    /// A pipe of our own for the copy of what is looked at: where it is read, and where it is written.
    copy: (OwnedFd, OwnedFd),
    buffer: Vec<u8>,
}

impl Pipe {
    pub(super) fn new(pipe: OwnedFd) -> io::Result<Self> {
        let copy = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Refused to a user who has many pipes already; smaller ones only mean smaller chunks.
        rustix::pipe::fcntl_setpipe_size(&pipe, PIPE_BYTES).ok();
        rustix::pipe::fcntl_setpipe_size(&copy.1, CHUNK_BYTES).ok();
        // Zeroed memory of this size comes from the system, which provides it when it is first written to: a process
        // that writes a line at a time costs one page of it.
        Ok(Self { pipe, copy, buffer: vec![0; CHUNK_BYTES] })
    }

    /// How many bytes stand in the pipe.
    pub(super) fn waiting(&self) -> io::Result<u64> {
        Ok(rustix::io::ioctl_fionread(&self.pipe)?)
    }

    /// Sleeps until there is something in the pipe or `doorbell` was rung, which it clears.
    pub(super) fn wait(&self, doorbell: &OwnedFd) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.pipe, PollFlags::IN), PollFd::new(doorbell, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if fds[1].revents().is_empty() {
            return Ok(());
        }
        match rustix::io::read(doorbell, &mut [0_u8; 8]) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What stands at the front of the pipe and stays there until it is moved; `None` if there is nothing.
    pub(super) fn look(&mut self) -> io::Result<Option<Front<'_>>> {
        let copied = loop {
            match rustix::pipe::tee(&self.pipe, &self.copy.1, CHUNK_BYTES, SpliceFlags::NONBLOCK) {
                Ok(copied) => break copied,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if copied == 0 {
            // A pipe that its reader holds open for writing has no end.
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the pipe is not open for writing too"));
        }
        let mut read = 0;
        while read < copied {
            match rustix::io::read(&self.copy.0, &mut self.buffer[read..copied]) {
                Ok(more) => read += more,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(Front { pipe: &self.pipe, bytes: &self.buffer[..copied] }))
    }
}

/// Bytes that are known but have not left the pipe.
#[derive(Debug)]
pub(super) struct Front<'a> {
    pipe: &'a OwnedFd,
    bytes: &'a [u8],
}

impl<'a> Front<'a> {
    /// What has not left the pipe yet.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Moves the first `most` bytes, or fewer, to `position` in `file`. It returns how many.
    pub(super) fn pour(&mut self, file: &File, position: u64, most: usize) -> io::Result<usize> {
        let most = most.min(self.bytes.len());
        let mut end = position;
        let moved = loop {
            match rustix::pipe::splice(self.pipe, None, file, Some(&mut end), most, SpliceFlags::NONBLOCK) {
                Ok(moved) => break moved,
                Err(Errno::INTR) => {}
                // The file system has no splice. The pipe is emptied last: a kill in between doubles, and loses
                // nothing.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    let written = file.write_at(&self.bytes[..most], position)?;
                    discard(self.pipe, written)?;
                    break written;
                }
                Err(error) => return Err(error.into()),
            }
        };
        if moved == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.bytes = &self.bytes[moved..];
        Ok(moved)
    }

    /// Takes all bytes from the pipe that were not moved, and says how many those are.
    pub(super) fn drop_rest(&mut self) -> io::Result<u64> {
        let rest = std::mem::take(&mut self.bytes).len();
        discard(self.pipe, rest)?;
        Ok(rest as u64)
    }
}

/// Takes `count` bytes from the pipe.
fn discard(pipe: &OwnedFd, mut count: usize) -> io::Result<()> {
    let mut nowhere = [0_u8; 16 * 1024];
    while count > 0 {
        let most = count.min(nowhere.len());
        match rustix::io::read(pipe.as_fd(), &mut nowhere[..most]) {
            // Whoever else holds the pipe has read from it.
            Ok(0) | Err(Errno::AGAIN) => break,
            Ok(read) => count -= read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_splice_is_written_all_the_same() {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK).unwrap();
        rustix::io::write(&writer, b"one two").unwrap();
        let mut pipe = Pipe::new(reader).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        // The kernel refuses to splice into a file that is open for appending.
        let file = File::options().append(true).create(true).open(&path).unwrap();
        let mut front = pipe.look().unwrap().unwrap();
        assert_eq!(front.pour(&file, 0, 4).unwrap(), 4);
        assert_eq!(front.bytes(), b"two");
        assert_eq!(pipe.waiting().unwrap(), 3);
        assert_eq!(std::fs::read(path).unwrap(), b"one ");
    }
}
