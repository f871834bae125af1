//! What the agent did in one attempt, line by line, for people.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{DiskError, Folder};
use super::trouble::plain;
use crate::clock::SharedClock;

/// A log that grew so long is not written any further.
const MOST_BYTES: u64 = 256 << 10;

/// The log of one attempt. Clones write to the same file.
#[derive(Debug, Clone)]
pub(super) struct AttemptLog {
    file: Arc<Mutex<std::fs::File>>,
    clock: SharedClock,
}

impl AttemptLog {
    /// Opens the log called `name` in `outbox`, to go on where it ends.
    pub(super) fn open(outbox: &Folder, name: &str, clock: SharedClock) -> Result<Self, DiskError> {
        let file = outbox.append(name)?;
        Ok(Self { file: Arc::new(Mutex::new(file)), clock })
    }

    /// Adds a line. A log that cannot be written stops nothing.
    pub(super) fn line(&self, text: impl AsRef<str>) {
        let time = self.clock.now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.seek(SeekFrom::End(0)).and_then(|length| match length {
            length if length < MOST_BYTES => writeln!(file, "{time} {}", plain(text.as_ref())),
            _ => Ok(()),
        });
        if let Err(error) = written {
            tracing::warn!(%error, "the log of an attempt cannot be written");
        }
    }
}

/// The whole of a log, as far as it is sent.
pub(super) fn read(outbox: &Folder, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
    let Some(file) = outbox.file(name)? else { return Ok(None) };
    let mut bytes = Vec::new();
    // The last line may pass the limit.
    let read = file.take(2 * MOST_BYTES).read_to_end(&mut bytes);
    read.map_err(|source| DiskError::new("reading", outbox.path().join(name), source))?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::steps::Steps;
    use crate::clock::SystemClock;

    #[test]
    fn a_log_has_a_line_for_a_line_and_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Folder::open(folder.path(), 0o700, &Steps::default()).unwrap();
        let log = AttemptLog::open(&outbox, "a.log", SystemClock::shared()).unwrap();
        log.line("one\ntwo\u{1b}[2J");
        let text = String::from_utf8(read(&outbox, "a.log").unwrap().unwrap()).unwrap();
        assert!(text.lines().count() == 1 && !text.contains('\u{1b}'), "{text:?}");
        for _ in 0..2_000 {
            log.line("x".repeat(400));
        }
        let length = read(&outbox, "a.log").unwrap().unwrap().len() as u64;
        assert!((MOST_BYTES..MOST_BYTES + 1_000).contains(&length), "{length}");
    }
}
