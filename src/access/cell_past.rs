//! Looking at what a cell was and could be: versions side by side, its history, logs and files.
//! [`Controller`](crate::controller::Controller) tells more of each.

use bytes::Bytes;
use futures_util::Stream;

use super::{AccessError, Authorized};
use crate::controller::{
    Attempts, Comparison, ControllerError, FilePreview, LogPiece, LogPlace, Past, Revision, Timeline, VersionDetail,
};
use crate::model::keys::AttemptId;
use crate::model::manifest::Manifest;
use crate::model::manifest::ManifestFile;
use crate::model::trigger::Target;
use crate::model::users::Role;
use crate::model::{CellId, FilePath, Floor, VersionName};

impl Authorized {
    /// Two revisions of the cell, and what differs.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn compare(&self, cell: &CellId, from: &Revision, to: &Revision) -> Result<Comparison, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().compare(cell, from, to).await?)
    }

    /// The newest `limit` triggers of the cell below `below`, with what came of each.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn past(&self, cell: &CellId, below: Option<Floor>, limit: usize) -> Result<Past, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().past(cell, below, limit).await?)
    }

    /// What the node did about one trigger.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn attempts_at(&self, cell: &CellId, at: Floor) -> Result<Attempts, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().attempts_at(cell, at).await?)
    }

    /// A piece of the log of an attempt.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn attempt_log(&self, id: &AttemptId, place: LogPlace) -> Result<LogPiece, AccessError> {
        self.need_on_cell(Role::Viewer, &id.cell)?;
        Ok(self.reading().attempt_log(id, place).await?)
    }

    /// Versions of the cell with what they are to it, `limit` of them from the one numbered `from` on.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn timeline(&self, cell: &CellId, from: usize, limit: usize) -> Result<Timeline, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().timeline(cell, from, limit).await?)
    }

    /// The names of the cell's versions, newest first as people number them.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn version_names(&self, cell: &CellId) -> Result<Vec<VersionName>, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().version_names_by_number(cell).await?)
    }

    /// The manifest that a trigger pins, if the bucket has those very bytes.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn pinned_manifest(&self, cell: &CellId, target: &Target) -> Result<Option<Manifest>, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().pinned_manifest(cell, target).await?)
    }

    /// A version of the cell, and what history says of it.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn version(&self, cell: &CellId, version: &VersionName) -> Result<VersionDetail, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().version(cell, version).await?)
    }

    /// A file of a version.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn version_file(
        &self,
        cell: &CellId,
        version: &VersionName,
        path: &FilePath,
    ) -> Result<FilePreview, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().version_file(cell, version, path).await?)
    }

    /// The files of a version, by path.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn version_files(&self, cell: &CellId, version: &VersionName) -> Result<Vec<ManifestFile>, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().version_files(cell, version).await?)
    }

    /// The bytes of a file of a version as they come; see
    /// [`Controller::open_version_file`](crate::controller::Controller::open_version_file).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn open_version_file(
        &self,
        cell: &CellId,
        version: &VersionName,
        path: &FilePath,
    ) -> Result<(ManifestFile, impl Stream<Item = Result<Bytes, ControllerError>> + Send + use<>), AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().open_version_file(cell, version, path).await?)
    }

    /// An override as it is now.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn override_preview(&self, cell: &CellId, path: &FilePath) -> Result<FilePreview, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().override_preview(cell, path).await?)
    }
}
