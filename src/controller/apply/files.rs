//! Local files that are to become a cell's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use crate::controller::upload::UploadOptions;
use crate::controller::walk::{identify, walk};
use crate::controller::{Controller, ControllerError};
use crate::model::{FilePath, Sha256Digest};
use crate::recipe::render;

/// A file on this machine, as it was when it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalFile {
    /// Where it lies.
    pub local: PathBuf,
    /// In bytes.
    pub size: u64,
    /// Of its bytes.
    pub sha256: Sha256Digest,
}

impl Controller {
    /// The files below a folder, as overrides of a cell.
    ///
    /// # Errors
    /// Everything in the folder that cannot be an override.
    pub async fn local_overrides(folder: &Path) -> Result<BTreeMap<FilePath, LocalFile>, ControllerError> {
        let options = UploadOptions { skip_empty_dirs: true, ..UploadOptions::default() };
        let mut files = BTreeMap::new();
        for found in walk(folder, &options)? {
            if found.size > render::MAX_BYTES as u64 {
                let problem = format!(
                    "it has {} bytes; an override may have {}, so put it into a release",
                    found.size,
                    render::MAX_BYTES
                );
                return Err(ControllerError::invalid(found.local.display(), problem));
            }
            let is = identify(&found, |_| {}).await?;
            files.insert(found.path, LocalFile { local: found.local, size: is.size, sha256: is.sha256 });
        }
        Ok(files)
    }
}

impl LocalFile {
    /// Its bytes, if they are still those that were planned with.
    pub(super) async fn read(&self) -> Result<Bytes, ControllerError> {
        let local = |source| ControllerError::Local { doing: "reading", path: self.local.clone(), source };
        let mut bytes = Vec::new();
        let file = File::open(&self.local).await.map_err(local)?;
        file.take(self.size + 1).read_to_end(&mut bytes).await.map_err(local)?;
        if Sha256Digest::of(&bytes) != self.sha256 {
            return Err(ControllerError::Changed { what: self.local.display().to_string() });
        }
        Ok(bytes.into())
    }
}
