//! One file of a version or of the overrides, as far as a page shows it.

use bytes::Bytes;
use futures_util::stream::{self, Stream};

use super::diff::{MOST_TEXT_BYTES, text};
use super::texts::file_at;
use super::{Controller, ControllerError};
use crate::model::manifest::{ManifestFile, Mode, Origin};
use crate::model::{CellId, FilePath, ObjectKey, Sha256Digest, VersionName};
use crate::store::{Expect, StoreError};

/// A file, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePreview {
    /// The object that holds it.
    pub key: ObjectKey,
    /// In bytes.
    pub size: u64,
    /// What its version says of it; None of an override.
    pub of_version: Option<FileFacts>,
    /// What it holds.
    pub body: PreviewBody,
}

/// What a version says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Of its bytes.
    pub sha256: Sha256Digest,
    /// Its permissions.
    pub mode: Mode,
    /// Which input it came from.
    pub from: Origin,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PreviewBody {
    /// A text. Anything may stand in it.
    Text(String),
    /// The beginning of a text that is longer than is shown; of a version's file the digest was not checked.
    Beginning(String),
    /// No text.
    Binary,
    /// Not what the version says.
    Corrupt {
        /// What is there instead, in words.
        why: String,
    },
}

/// Where a file of a version lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePlace {
    /// The object that holds it.
    pub key: ObjectKey,
    /// The byte of the object that it begins at; None where it is the whole object.
    pub offset: Option<u64>,
    /// What its version says of it.
    pub file: ManifestFile,
}

impl Controller {
    /// A file of a version, checked against the version's manifest.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when the version has no such file.
    pub async fn version_file(
        &self,
        cell: &CellId,
        version: &VersionName,
        path: &FilePath,
    ) -> Result<FilePreview, ControllerError> {
        let FilePlace { key, offset, file } = self.find_version_file(cell, version, path).await?;
        let body = if file.size > MOST_TEXT_BYTES {
            beginning(self.read_range(&key, offset.unwrap_or(0), MOST_TEXT_BYTES).await?)
        } else {
            let expect = Expect { size: file.size, sha256: file.sha256 };
            let mut bytes = Vec::new();
            match self.store().download(&key, offset, expect, &mut bytes).await {
                Ok(()) => whole(&bytes),
                Err(error @ StoreError::Corrupt { .. }) => PreviewBody::Corrupt { why: error.to_string() },
                Err(error) => return Err(error.into()),
            }
        };
        let of_version = Some(FileFacts { sha256: file.sha256, mode: file.mode, from: file.from });
        Ok(FilePreview { key, size: file.size, of_version, body })
    }

    /// The files of a version, by path.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is no such version.
    pub async fn version_files(
        &self,
        cell: &CellId,
        version: &VersionName,
    ) -> Result<Vec<ManifestFile>, ControllerError> {
        Ok(self.look_at_version(cell, version).await?.0.files)
    }

    /// The bytes of a file of a version, and what the version says of it. The last of them come only once all of them
    /// are known to be what the version says; the stream fails instead.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when the version has no such file.
    pub async fn open_version_file(
        &self,
        cell: &CellId,
        version: &VersionName,
        path: &FilePath,
    ) -> Result<(ManifestFile, impl Stream<Item = Result<Bytes, ControllerError>> + Send + use<>), ControllerError>
    {
        let FilePlace { key, offset, file } = self.find_version_file(cell, version, path).await?;
        // A store cannot be asked for no bytes.
        let object = match file.size {
            0 => None,
            size => Some(self.store().open_range(&key, offset.unwrap_or(0), size).await?),
        };
        let begun = (object, Sha256Digest::builder(), Bytes::new());
        let expected = file.sha256;
        let pieces = stream::try_unfold(begun, move |(object, mut digest, held)| {
            let key = key.clone();
            async move {
                let Some(mut object) = object else { return Ok(None) };
                if let Some(piece) = object.next().await? {
                    digest.update(&piece);
                    return Ok(Some((held, (Some(object), digest, piece))));
                }
                let found = digest.finish();
                if found != expected {
                    let problem = format!(": its bytes have the digest {found}, and not {expected}");
                    return Err(ControllerError::Untrusted { key: key.to_string(), problem, source: None });
                }
                Ok(Some((held, (None, Sha256Digest::builder(), Bytes::new()))))
            }
        });
        Ok((file, pieces))
    }

    /// Where a file of a version lies, and what it should be.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when the version has no such file.
    pub async fn find_version_file(
        &self,
        cell: &CellId,
        version: &VersionName,
        path: &FilePath,
    ) -> Result<FilePlace, ControllerError> {
        let (manifest, _) = self.look_at_version(cell, version).await?;
        let Some(file) = file_at(&manifest.files, path) else {
            let what = format!("{cell}: version {version}: file {path}");
            return Err(ControllerError::not_found(what, "the version has no such file"));
        };
        let key = manifest.object_of(file).map_err(|error| ControllerError::invalid(path, error))?;
        let offset = file.object.is_some().then(|| file.offset.unwrap_or(0));
        Ok(FilePlace { key, offset, file: file.clone() })
    }

    /// An override as it is now.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is none.
    pub async fn override_preview(&self, cell: &CellId, path: &FilePath) -> Result<FilePreview, ControllerError> {
        let key = ObjectKey::Override(cell.clone(), path.clone());
        let Some(meta) = self.store().head(&key).await? else {
            return Err(super::overrides::no_override(cell, path));
        };
        let bytes = self.read_range(&key, 0, meta.size.min(MOST_TEXT_BYTES)).await?;
        let body = if meta.size > MOST_TEXT_BYTES { beginning(bytes) } else { whole(&bytes) };
        Ok(FilePreview { key, size: meta.size, of_version: None, body })
    }
}

fn whole(bytes: &[u8]) -> PreviewBody {
    text(bytes).map_or(PreviewBody::Binary, |text| PreviewBody::Text(text.to_owned()))
}

/// The last character may be cut in two.
fn beginning(mut bytes: Vec<u8>) -> PreviewBody {
    if let Err(error) = std::str::from_utf8(&bytes)
        && error.error_len().is_none()
    {
        bytes.truncate(error.valid_up_to());
    }
    text(&bytes).map_or(PreviewBody::Binary, |text| PreviewBody::Beginning(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_that_is_cut_in_two_makes_no_binary_of_a_text() {
        let cut = "aé".as_bytes()[..2].to_vec();
        assert_eq!(beginning(cut), PreviewBody::Beginning("a".to_owned()));
        assert_eq!(beginning(b"a\xffb".to_vec()), PreviewBody::Binary);
        assert_eq!(whole(b"a\0"), PreviewBody::Binary);
    }
}
