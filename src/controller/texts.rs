//! The lines that differ between two versions, or between a version and what is to come.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::diff::{self, Changes, MOST_TEXT_BYTES, TextDiff};
use super::inputs::READS;
use super::snapshot::Snapshot;
use super::{Controller, ControllerError};
use crate::model::manifest::{Manifest, ManifestFile};
use crate::model::{FilePath, ObjectKey, Sha256Digest};
use crate::store::{Expect, StoreError};

/// How many files are compared line by line.
const MOST_TEXTS: usize = 100;

/// How many bytes are read to compare them.
const MOST_READ_BYTES: u64 = 32 << 20;

/// How many bytes of lines that differ are kept.
const MOST_DIFF_BYTES: usize = 2 << 20;

/// One side of a comparison.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side<'a> {
    /// There is nothing yet.
    Nothing,
    /// A version that lies in the bucket.
    Version(&'a Manifest),
    /// What the inputs give.
    Inputs(&'a Snapshot),
}

impl<'a> Side<'a> {
    pub(super) fn manifest(self) -> Option<&'a Manifest> {
        match self {
            Self::Nothing => None,
            Self::Version(manifest) => Some(manifest),
            Self::Inputs(snapshot) => Some(snapshot.nameless()),
        }
    }
}

impl Controller {
    /// What differs between two sides, with the lines of texts as far as both can be read.
    pub(super) async fn changes(&self, before: Side<'_>, after: Side<'_>) -> Result<Changes, ControllerError> {
        let Some(manifest) = after.manifest() else { return Ok(Changes::default()) };
        let mut changes = Changes::between(before.manifest(), manifest);
        let compared = choose(&mut changes);
        let texts: Vec<(usize, TextDiff)> = stream::iter(compared)
            .map(async |(place, path)| {
                let (old, new) = tokio::try_join!(self.side_bytes(before, &path), self.side_bytes(after, &path))?;
                Ok::<_, ControllerError>((place, lines(old, new).await))
            })
            .buffered(READS / 2)
            .try_collect()
            .await?;
        let mut kept = 0;
        for (place, mut text) in texts {
            if let TextDiff::Text(lines) = &text {
                kept += lines.len();
                if kept > MOST_DIFF_BYTES {
                    text = TextDiff::LeftOut;
                }
            }
            if let Some(change) = changes.files.get_mut(place) {
                change.diff = text;
            }
        }
        Ok(changes)
    }

    /// The bytes of one side's file; empty if it has none, None if they are not there any more.
    async fn side_bytes(&self, side: Side<'_>, path: &FilePath) -> Result<Option<Vec<u8>>, ControllerError> {
        let Some(file) = side.manifest().and_then(|manifest| file_at(&manifest.files, path)) else {
            return Ok(Some(Vec::new()));
        };
        match side {
            Side::Nothing => Ok(Some(Vec::new())),
            Side::Version(manifest) => {
                let key = manifest.object_of(file).map_err(|error| ControllerError::invalid(path, error))?;
                let offset = file.object.is_some().then(|| file.offset.unwrap_or(0));
                self.text_at(&key, offset, file.size, file.sha256).await
            }
            Side::Inputs(snapshot) => match (snapshot.held.get(path), snapshot.copied.get(path)) {
                (Some(bytes), _) => Ok(Some(bytes.to_vec())),
                (None, Some(key)) => self.text_at(key, None, file.size, file.sha256).await,
                (None, None) => Ok(None),
            },
        }
    }

    async fn text_at(
        &self,
        key: &ObjectKey,
        offset: Option<u64>,
        size: u64,
        sha256: Sha256Digest,
    ) -> Result<Option<Vec<u8>>, ControllerError> {
        let mut bytes = Vec::new();
        match self.store().download(key, offset, Expect { size, sha256 }, &mut bytes).await {
            Ok(()) => Ok(Some(bytes)),
            // Only the lines cannot be shown; publishing and agents find out for themselves.
            Err(StoreError::NotFound { .. } | StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Chooses what is compared line by line, by its place among the files, and marks what is not.
fn choose(changes: &mut Changes) -> Vec<(usize, FilePath)> {
    let (mut chosen, mut bytes) = (Vec::new(), 0);
    for (place, change) in changes.files.iter_mut().enumerate() {
        if change.diff != TextDiff::Unknown {
            continue;
        }
        let sides = || [&change.before, &change.after].into_iter().flatten();
        if sides().any(|side| side.size > MOST_TEXT_BYTES) {
            change.diff = TextDiff::TooLarge;
            continue;
        }
        bytes += sides().map(|side| side.size).sum::<u64>();
        if chosen.len() == MOST_TEXTS || bytes > MOST_READ_BYTES {
            change.diff = TextDiff::LeftOut;
            continue;
        }
        chosen.push((place, change.path.clone()));
    }
    chosen
}

/// Compares two texts off the threads that answer others: it may take long.
async fn lines(old: Option<Vec<u8>>, new: Option<Vec<u8>>) -> TextDiff {
    let (Some(old), Some(new)) = (old, new) else { return TextDiff::Unknown };
    tokio::task::spawn_blocking(move || diff::lines(&old, &new)).await.unwrap_or_default()
}

/// Files are sorted by path.
pub(super) fn file_at<'a>(files: &'a [ManifestFile], path: &FilePath) -> Option<&'a ManifestFile> {
    files.binary_search_by(|file| file.path.cmp(path)).ok().and_then(|at| files.get(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::{FileChange, FileKind, FileSide};
    use crate::model::manifest::Mode;

    fn added(name: &str, size: u64) -> FileChange {
        FileChange {
            path: FilePath::new(name).unwrap(),
            kind: FileKind::Added,
            before: None,
            after: Some(FileSide { size, sha256: Sha256Digest::of(b""), mode: Mode::READ }),
            diff: TextDiff::Unknown,
        }
    }

    #[test]
    fn what_is_not_compared_is_marked() {
        let mut files: Vec<FileChange> = (0..102).map(|number| added(&format!("f{number:03}"), 1)).collect();
        files.insert(0, added("large", MOST_TEXT_BYTES + 1));
        files.insert(1, FileChange { diff: TextDiff::Same, ..added("mode", 1) });
        let mut changes = Changes { files, ..Changes::default() };
        let chosen = choose(&mut changes);
        assert_eq!((chosen.len(), chosen[0].0), (MOST_TEXTS, 2));
        let diffs: Vec<&TextDiff> = changes.files.iter().map(|change| &change.diff).collect();
        assert_eq!((diffs[0], diffs[1], diffs[2]), (&TextDiff::TooLarge, &TextDiff::Same, &TextDiff::Unknown));
        assert_eq!(diffs[102..], [&TextDiff::LeftOut, &TextDiff::LeftOut]);
    }

    #[test]
    fn not_more_is_read_than_can_be_borne() {
        let files = (0..40).map(|number| added(&format!("f{number:03}"), MOST_TEXT_BYTES)).collect();
        let mut changes = Changes { files, ..Changes::default() };
        assert_eq!(choose(&mut changes).len() as u64, MOST_READ_BYTES / MOST_TEXT_BYTES);
    }
}
