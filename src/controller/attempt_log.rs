//! The log of one attempt of a node, piece by piece.
//!
//! An honest agent stops at 256 KiB, but the object is the node's own and may be anything.

use chrono::{DateTime, Utc};

use super::{Controller, ControllerError};
use crate::model::ObjectKey;
use crate::model::keys::AttemptId;

/// How much of a log is read at once.
const PIECE_BYTES: u64 = 64 << 10;

/// Which piece of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogPlace {
    /// The last one.
    End,
    /// The one that begins at this byte.
    From(u64),
    /// The one that ends before this byte.
    Until(u64),
}

/// A piece of a log: what the node says, in whole lines as far as there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// Its lines, without their ends. What is no UTF-8 is replaced, and anything else may stand in them.
    pub lines: Vec<String>,
    /// The byte of the log that it begins at.
    pub start: u64,
    /// The byte after its last one.
    pub end: u64,
    /// How long the log is.
    pub size: u64,
    /// When the log was written last, by the store's clock.
    pub modified: Option<DateTime<Utc>>,
}

impl Controller {
    /// A piece of the log of an attempt.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is no such log.
    pub async fn attempt_log(&self, id: &AttemptId, place: LogPlace) -> Result<LogPiece, ControllerError> {
        let key = ObjectKey::AttemptLog(id.clone());
        let Some(meta) = self.store().head(&key).await? else {
            let help = "there is none; the node writes it while it works on the trigger";
            return Err(ControllerError::not_found(&key, help));
        };
        let (start, end) = bounds(place, meta.size);
        let bytes = self.read_range(&key, start, end - start).await?;
        let (skipped, whole) = whole_lines(&bytes, start > 0 && place != LogPlace::From(start), end < meta.size);
        let start = start + skipped as u64;
        let end = start + whole.len() as u64;
        let lines = String::from_utf8_lossy(whole).lines().map(str::to_owned).collect();
        Ok(LogPiece { lines, start, end, size: meta.size, modified: meta.last_modified })
    }

    /// Bytes of an object that is no longer than it was a moment ago.
    pub(super) async fn read_range(&self, key: &ObjectKey, offset: u64, size: u64) -> Result<Vec<u8>, ControllerError> {
        let mut bytes = Vec::new();
        if size > 0 {
            let mut stream = self.store().open_range(key, offset, size).await?;
            while let Some(piece) = stream.next().await? {
                bytes.extend_from_slice(&piece);
            }
        }
        Ok(bytes)
    }
}

/// The bytes that hold what is asked for.
fn bounds(place: LogPlace, size: u64) -> (u64, u64) {
    match place {
        LogPlace::From(start) => (start.min(size), start.saturating_add(PIECE_BYTES).min(size)),
        LogPlace::End => (size.saturating_sub(PIECE_BYTES), size),
        LogPlace::Until(end) => (end.min(size).saturating_sub(PIECE_BYTES), end.min(size)),
    }
}

/// Cuts off a line that began before, and one that goes on behind; how much was cut off in front is told. A line that
/// is longer than a piece is not cut off: there would be nothing left.
fn whole_lines(bytes: &[u8], began_before: bool, goes_on: bool) -> (usize, &[u8]) {
    let newline = |byte: &u8| *byte == b'\n';
    let front = match bytes.iter().position(newline) {
        Some(end) if began_before && end + 1 < bytes.len() => end + 1,
        _ => 0,
    };
    let rest = &bytes[front..];
    let back = match rest.iter().rposition(newline) {
        Some(end) if goes_on => end + 1,
        _ => rest.len(),
    };
    (front, &rest[..back])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hold_whole_lines_wherever_they_are_cut() {
        assert_eq!(whole_lines(b"one\ntwo\nthr", false, true), (0, &b"one\ntwo\n"[..]));
        assert_eq!(whole_lines(b"ne\ntwo\n", true, false), (3, &b"two\n"[..]));
        assert_eq!(whole_lines(b"ne\ntwo\nthr", true, true), (3, &b"two\n"[..]));
        assert_eq!(whole_lines(b"longer than a piece", true, true), (0, &b"longer than a piece"[..]));
        assert_eq!(whole_lines(b"end of a long one\n", true, false), (0, &b"end of a long one\n"[..]));
        assert_eq!(whole_lines(b"", false, false), (0, &b""[..]));
    }

    #[test]
    fn no_more_than_a_piece_is_asked_for_and_nothing_behind_the_end() {
        assert_eq!(bounds(LogPlace::End, 10), (0, 10));
        assert_eq!(bounds(LogPlace::End, PIECE_BYTES + 3), (3, PIECE_BYTES + 3));
        assert_eq!(bounds(LogPlace::From(u64::MAX), 10), (10, 10));
        assert_eq!(bounds(LogPlace::From(4), PIECE_BYTES * 2), (4, PIECE_BYTES + 4));
        assert_eq!(bounds(LogPlace::Until(u64::MAX), 10), (0, 10));
        assert_eq!(bounds(LogPlace::Until(PIECE_BYTES + 1), PIECE_BYTES * 2), (1, PIECE_BYTES + 1));
    }
}
