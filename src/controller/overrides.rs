//! A cell's own files, laid over those of the release when it is published.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::documents::{Applied, Known};
use super::{Controller, ControllerError, ObjectFacts};
use crate::model::keys::Folder;
use crate::model::manifest::Manifest;
use crate::model::{CellId, FilePath, ObjectKey};
use crate::recipe::render;
use crate::store::{Depth, ETag, Object};

/// An override in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrideView {
    /// Its path; a text, because anybody can put an object there under any name.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// The store's name for its bytes.
    pub etag: ETag,
    /// When it was written, by the store's clock.
    pub modified: Option<DateTime<Utc>>,
}

impl Controller {
    /// The overrides of a cell, by path.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn list_overrides(&self, cell: &CellId) -> Result<Vec<OverrideView>, ControllerError> {
        let folder = Folder::Overrides(cell.clone());
        let below = folder.relative();
        let listed = self.store().list_all(&folder, Depth::Deep, Manifest::MAX_FILES).await?;
        let view = |entry: crate::store::Entry| OverrideView {
            path: entry.key.strip_prefix(&below).unwrap_or(&entry.key).to_owned(),
            size: entry.size,
            etag: entry.etag,
            modified: entry.last_modified,
        };
        Ok(listed.entries.into_iter().map(view).collect())
    }

    /// What an override is, without its bytes.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn override_facts(&self, cell: &CellId, path: &FilePath) -> Result<Option<ObjectFacts>, ControllerError> {
        self.facts(&ObjectKey::Override(cell.clone(), path.clone()), render::MAX_BYTES as u64).await
    }

    /// The bytes of an override.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is none.
    pub async fn get_override(&self, cell: &CellId, path: &FilePath) -> Result<Object, ControllerError> {
        let key = ObjectKey::Override(cell.clone(), path.clone());
        let found = self.store().find(&key, render::MAX_BYTES as u64).await?;
        found.ok_or_else(|| no_override(cell, path))
    }

    /// Writes an override, if what is there is still what the caller knows.
    ///
    /// # Errors
    /// [`ControllerError::Changed`] when it is not; [`ControllerError::NotFound`] when there is no such cell.
    pub async fn put_override(
        &self,
        cell: &CellId,
        path: &FilePath,
        bytes: Bytes,
        known: &Known,
    ) -> Result<Applied, ControllerError> {
        if bytes.len() > render::MAX_BYTES {
            let problem = format!(
                "{path} has {} bytes; an override may have {}, so put it into a release",
                bytes.len(),
                render::MAX_BYTES
            );
            return Err(ControllerError::invalid(cell, problem));
        }
        self.read_binding(cell).await?;
        let key = ObjectKey::Override(cell.clone(), path.clone());
        self.replace_text(&key, bytes, known, "override-put", render::MAX_BYTES as u64).await
    }

    /// Deletes an override, if it is still what the caller knows. Stores delete without conditions, so what is written
    /// between this look and the deletion goes too.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is none, [`ControllerError::Changed`] when it is another.
    pub async fn remove_override(&self, cell: &CellId, path: &FilePath, known: &Known) -> Result<(), ControllerError> {
        let key = ObjectKey::Override(cell.clone(), path.clone());
        let Some(meta) = self.store().head(&key).await? else { return Err(no_override(cell, path)) };
        known.check(&key, Some(&meta.etag))?;
        let before = Some(format!("{} bytes", meta.size));
        let act = self.intend("override-rm", key.to_string(), before, None, None).await?;
        let deleted = self.writer().await?.delete(&key).await.map_err(ControllerError::from);
        self.conclude(act, deleted).await
    }
}

pub(super) fn no_override(cell: &CellId, path: &FilePath) -> ControllerError {
    ControllerError::not_found(format!("{cell}: override {path}"), "there is none; `fleetman override ls` lists them")
}
