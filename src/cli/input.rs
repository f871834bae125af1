//! Files that a command is given, or its standard input in their place.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::failure::Failure;

/// The content of the file at `path`, or of standard input for `-`: at most `most_bytes` and one more, so that whoever
/// asked sees that it is longer.
pub(super) fn read(path: &Path, most_bytes: usize) -> Result<Vec<u8>, Failure> {
    let limit = most_bytes as u64 + 1;
    let mut content = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().take(limit).read_to_end(&mut content)
    } else {
        File::open(path).and_then(|file| file.take(limit).read_to_end(&mut content))
    };
    read.map(|_| content).map_err(|error| Failure::local(format!("reading {}", path.display()), &error))
}

/// The same for text.
pub(super) fn read_text(path: &Path, most_bytes: usize) -> Result<String, Failure> {
    String::from_utf8(read(path, most_bytes)?)
        .map_err(|_| Failure::usage(format!("{} is not UTF-8 text", path.display())))
}
