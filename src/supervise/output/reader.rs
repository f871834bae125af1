//! The thread that reads what a process writes.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::log::Log;
use super::pipe::Pipe;
use super::stream::Stream;

/// Reads the output of one process until it is told to close. All its waiting, for the process as for the disk, is on
/// a thread of its own, so that one slow disk delays nothing but the processes that log to it.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) pipe: Pipe,
    pub(super) log: Log,
    pub(super) stream: Arc<Stream>,
    /// Rung when something is asked of the thread.
    pub(super) doorbell: Arc<OwnedFd>,
}

/// Where in the stream something that was asked will be done.
struct Goal {
    position: u64,
    drains: u64,
    closing: bool,
}

impl Reader {
    /// Returns once it was asked to close.
    ///
    /// # Errors
    /// The pipe cannot be read.
    pub(super) fn run(mut self) -> io::Result<()> {
        self.log.expire();
        let result = self.read_to_close();
        self.log.finish();
        result
    }

    fn read_to_close(&mut self) -> io::Result<()> {
        let mut position = 0;
        let mut goal = None;
        loop {
            goal = match goal {
                None => self.next_goal(position)?,
                Some(Goal { position: reached, drains, closing }) if reached <= position => {
                    self.stream.answer(drains);
                    if closing {
                        return Ok(());
                    }
                    self.next_goal(position)?
                }
                Some(goal) => Some(goal),
            };
            match (self.take_some()?, &mut goal) {
                (0, None) => self.pipe.wait(&self.doorbell)?,
                // Whatever else stood in the pipe, somebody else has read it.
                (0, Some(goal)) => goal.position = position,
                (taken, _) => position += taken,
            }
        }
    }

    /// What is asked of this thread, which is done when all that stands in the pipe now is read. It is a fixed place
    /// in the stream, so that an endless flood delays no answer.
    fn next_goal(&self, position: u64) -> io::Result<Option<Goal>> {
        let asked = self.stream.asked();
        if !asked.draining && !asked.closing {
            return Ok(None);
        }
        let position = position + self.pipe.waiting()?;
        Ok(Some(Goal { position, drains: asked.drains, closing: asked.closing }))
    }

    /// Takes what stands at the front of the pipe. It returns how many bytes that was.
    fn take_some(&mut self) -> io::Result<u64> {
        let Some(mut front) = self.pipe.look()? else { return Ok(0) };
        let bytes = front.bytes();
        self.log.take(&mut front)?;
        self.stream.append(bytes, self.log.lost());
        Ok(bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::EventfdFlags;
    use rustix::pipe::PipeFlags;

    use super::*;
    use crate::clock::SystemClock;
    use crate::supervise::output::{LogFiles, LogSettings};

    /// A reader that was not started yet, of a pipe in which `length` bytes stand.
    fn reader(folder: &std::path::Path, length: usize) -> (Reader, OwnedFd) {
        let (end, writer) = rustix::pipe::pipe_with(PipeFlags::NONBLOCK).unwrap();
        let doorbell = Arc::new(rustix::event::eventfd(0, EventfdFlags::NONBLOCK).unwrap());
        let log = Log::new(LogSettings::new(folder.to_owned()), "web", SystemClock::shared()).unwrap();
        let reader = Reader { pipe: Pipe::new(end).unwrap(), log, stream: Arc::default(), doorbell };
        assert_eq!(rustix::io::write(&writer, &vec![b'x'; length]).unwrap(), length);
        (reader, writer)
    }

    #[test]
    fn a_drain_is_done_when_all_is_read_that_stood_in_the_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let (reader, writer) = reader(folder.path(), 1000);
        assert!(reader.next_goal(50).unwrap().is_none());
        reader.stream.ask_drain();
        let goal = reader.next_goal(50).unwrap().unwrap();
        rustix::io::write(&writer, b"later").unwrap();
        assert_eq!((goal.position, goal.drains, goal.closing), (1050, 1, false));
        reader.stream.answer(goal.drains);
        assert!(reader.next_goal(50).unwrap().is_none());
    }

    #[test]
    fn closing_reads_to_the_last_byte_that_stood_in_the_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let length = 256 * 1024 + 1;
        let (reader, _writer) = reader(folder.path(), length);
        reader.stream.ask_close();
        reader.run().unwrap();
        let files = LogFiles::of(folder.path(), "web").unwrap();
        assert_eq!(files.files()[0].bytes, length as u64);
    }
}
