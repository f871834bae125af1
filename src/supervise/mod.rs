//! The place of the built-in process supervisor, which is not written yet.
//!
//! It will stand on [`clock`](crate::clock) alone. The feature `supervise` is here before it, so that what it stands
//! on keeps building without an S3 client, an HTTP server or a command line.

#[cfg_attr(not(test), expect(dead_code, reason = "what runs the processes is not written yet"))]
mod output;

pub use output::{Follow, Last, LogFile, LogFiles, LogSettings, Lost, Piece, RING_BYTES, Snapshot, Tail};
