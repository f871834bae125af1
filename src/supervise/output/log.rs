//! Writing the log files of a process.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::Duration;

use chrono::NaiveDate;
use rustix::fs::{CWD, Mode, OFlags};

use super::files::{self, Label};
use super::pipe::Front;
use super::{LogSettings, Lost};
use crate::clock::SharedClock;

/// How long a log that cannot be written is left alone, so that a flood of output does not hammer a full disk.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The log of one process. Whatever happens to it, output is taken from the pipe: a process never waits for a disk
/// that is full, only for one that is slow.
#[derive(Debug)]
pub(super) struct Log {
    settings: LogSettings,
    process: String,
    clock: SharedClock,
    file: Option<Current>,
    failing: Option<Failing>,
    /// All that was lost so far.
    lost: Lost,
}

/// The file being written.
#[derive(Debug)]
struct Current {
    file: File,
    label: Label,
    bytes: u64,
    /// Whether what was written last ended a line, or nothing was.
    at_line_start: bool,
}

/// Since the last time that writing worked.
#[derive(Debug)]
struct Failing {
    /// On the monotonic clock.
    retry_at: Duration,
    lost_bytes: u64,
    error: String,
}

impl Log {
    /// # Errors
    /// `process` cannot be part of a file name.
    pub(super) fn new(settings: LogSettings, process: &str, clock: SharedClock) -> io::Result<Self> {
        if process.is_empty() || process.contains(['/', '\0']) {
            let text = format!("a log file cannot be named after {process:?}: it is empty or holds a slash or NUL");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let process = process.to_owned();
        Ok(Self { settings, process, clock, file: None, failing: None, lost: Lost::default() })
    }

    pub(super) fn lost(&self) -> &Lost {
        &self.lost
    }

    /// Removes old files.
    pub(super) fn expire(&self) {
        let current = self.file.as_ref().map(|current| current.label);
        if let Err(error) = files::expire(&self.settings, &self.process, self.today(), current) {
            let folder = self.settings.folder.display();
            tracing::warn!(process = self.process, "old logs in {folder} cannot be removed: {error}");
        }
    }

    /// Moves all of `front` from the pipe to the log. What cannot be written is counted and dropped.
    ///
    /// # Errors
    /// The pipe cannot be read.
    pub(super) fn take(&mut self, front: &mut Front<'_>) -> io::Result<()> {
        if self.failing.as_ref().is_none_or(|failing| failing.retry_at <= self.clock.monotonic()) {
            while !front.bytes().is_empty() {
                if let Err(error) = self.take_some(front) {
                    self.fail(&error);
                    break;
                }
            }
        }
        let dropped = front.drop_rest()?;
        if let Some(failing) = &mut self.failing {
            failing.lost_bytes += dropped;
            self.lost.bytes += dropped;
        }
        Ok(())
    }

    /// Says in the log what is missing at its end, if that can be written by now.
    pub(super) fn finish(&mut self) {
        if self.failing.is_some()
            && let Err(error) = self.ready()
        {
            self.fail(&error);
        }
    }

    /// Moves as much of `front` as the current file may hold, or begins the next one.
    fn take_some(&mut self, front: &mut Front<'_>) -> io::Result<()> {
        let max_bytes = self.settings.limits.max_file_bytes.get();
        let current = self.ready()?;
        let fitting = current.fitting(front.bytes(), max_bytes);
        if fitting == 0 {
            let Label { day, number } = current.label;
            return self.begin(Label { day, number: number.saturating_add(1) });
        }
        let bytes = front.bytes();
        let moved = front.pour(&current.file, current.bytes, fitting)?;
        current.bytes += moved as u64;
        current.at_line_start = bytes[..moved].ends_with(b"\n");
        Ok(())
    }

    /// The file to write to now.
    fn ready(&mut self) -> io::Result<&mut Current> {
        let today = self.today();
        if let Some(current) = &mut self.file {
            // Somebody else may have emptied or removed it, to make room.
            let found = current.file.metadata()?;
            current.bytes = found.len();
            if current.label.day != today || found.nlink() == 0 {
                self.file = None;
            }
        }
        if self.file.is_none() {
            self.resume(today)?;
        }
        let Some(current) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if let Some(failing) = &self.failing {
            current.mark(failing)?;
            tracing::info!(process = self.process, lost_bytes = failing.lost_bytes, "output is logged again");
            self.failing = None;
        }
        Ok(current)
    }

    /// Goes on with the newest file of today, or begins one.
    fn resume(&mut self, today: NaiveDate) -> io::Result<()> {
        let labels = files::labels(&self.settings.folder, &self.process)?;
        let newest = labels.into_iter().rfind(|label| label.day == today);
        // What is in the way, a link for example, is left to whoever put it there.
        if let Some(label) = newest
            && let Ok(current) = self.open(label, OFlags::empty())
        {
            self.file = Some(current);
            return Ok(());
        }
        let number = newest.map_or(1, |label| label.number.saturating_add(1));
        self.begin(Label { day: today, number })
    }

    /// Goes over to a new file.
    fn begin(&mut self, label: Label) -> io::Result<()> {
        self.file = Some(self.open(label, OFlags::CREATE)?);
        self.expire();
        Ok(())
    }

    fn open(&self, label: Label, more: OFlags) -> io::Result<Current> {
        // For reading too, to learn how it ends. A pipe that somebody put there is not waited for, then.
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | more;
        let path = self.settings.folder.join(label.file_name(&self.process));
        let mut file = File::from(rustix::fs::openat(CWD, &path, flags, Mode::from_raw_mode(0o640))?);
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file"));
        }
        let bytes = found.len();
        let mut last = [b'\n'];
        if bytes > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        Ok(Current { file, label, bytes, at_line_start: last == [b'\n'] })
    }

    fn fail(&mut self, error: &io::Error) {
        let text = format!("writing the log of {} in {}: {error}", self.process, self.settings.folder.display());
        if self.failing.is_none() {
            tracing::warn!(process = self.process, "output is being lost: {text}");
        }
        let lost_bytes = self.failing.as_ref().map_or(0, |failing| failing.lost_bytes);
        let retry_at = self.clock.monotonic() + RETRY_AFTER;
        self.failing = Some(Failing { retry_at, lost_bytes, error: error.to_string() });
        self.lost.last_error = Some(text);
        // A disk that was away may be another one when it is back.
        self.file = None;
    }

    fn today(&self) -> NaiveDate {
        self.clock.now().date_naive()
    }
}

impl Current {
    /// How many of `bytes` go into this file: up to the last line end that fits. A line is cut only if it was begun
    /// here or no file could hold it.
    fn fitting(&self, bytes: &[u8], max_bytes: u64) -> usize {
        let room = usize::try_from(max_bytes.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
        if bytes.len() <= room {
            return bytes.len();
        }
        match bytes[..room].iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None if self.at_line_start && self.bytes > 0 => 0,
            None => room,
        }
    }

    /// Writes down what is missing at the end of the file, wholly or not at all.
    fn mark(&mut self, failing: &Failing) -> io::Result<()> {
        let line_end = if self.at_line_start { "" } else { "\n" };
        let Failing { lost_bytes, error, .. } = failing;
        let mark = format!("{line_end}[{lost_bytes} bytes of output are missing here: {error}]\n");
        if let Err(error) = self.file.write_all_at(mark.as_bytes(), self.bytes) {
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += mark.len() as u64;
        self.at_line_start = true;
        Ok(())
    }
}
