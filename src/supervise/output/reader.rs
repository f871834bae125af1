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
        self.stream.append(&[], self.log.lost());
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
