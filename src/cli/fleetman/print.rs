//! The bytes of an object, on standard output.

use std::io::IsTerminal as _;
use std::ops::Range;

use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::model::{ObjectKey, Sha256Digest};
use crate::store::Store;

/// The most bytes that a terminal is shown.
const MOST_SHOWN_BYTES: u64 = 1 << 20;

/// Prints these bytes of an object as they come, and tells their digest. A terminal is shown them once `is_right` is
/// content with that, and only if they are few.
pub(super) async fn object(
    store: &Store,
    key: &ObjectKey,
    bytes: Range<u64>,
    is_right: impl Fn(Sha256Digest) -> Result<(), Failure>,
    output: Output,
) -> Result<(), Failure> {
    let size = bytes.end - bytes.start;
    let shown = std::io::stdout().is_terminal();
    if shown && size > MOST_SHOWN_BYTES {
        let message = format!("{key} has {size} bytes, too many to be shown");
        return Err(Failure::usage(message).help("send it to a file"));
    }
    let mut digest = Sha256Digest::builder();
    // A terminal is shown the whole at once, because a character may lie across two pieces.
    let mut whole = Vec::new();
    if size > 0 {
        let mut stream = store.open_range(key, bytes.start, size).await?;
        while let Some(piece) = stream.next().await? {
            digest.update(&piece);
            if shown {
                whole.extend_from_slice(&piece);
            } else {
                output.bytes(&piece)?;
            }
        }
    }
    is_right(digest.finish())?;
    if shown {
        output.bytes(&whole)?;
    }
    Ok(())
}
