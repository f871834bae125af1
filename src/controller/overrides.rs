//! A cell's own files, laid over those of the release when it is published.

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::documents::{Applied, Known};
use super::{Controller, ControllerError, ObjectFacts};
use crate::model::index::IndexEntry;
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
        let applied = self.replace_text(&key, bytes, known, "override-put", render::MAX_BYTES as u64).await?;
        self.note_overrides(cell).await?;
        Ok(applied)
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
        self.conclude(act, deleted).await?;
        self.note_overrides(cell).await
    }

    /// Tells views whether a cell has files of its own, where what they were told is something else.
    async fn note_overrides(&self, cell: &CellId) -> Result<(), ControllerError> {
        let Some(about) = self.about(cell).await? else { return Ok(()) };
        if self.has_overrides(cell).await? == about.has_overrides {
            return Ok(());
        }
        let turn = self.take_turn(cell).await?;
        let noted = async {
            // Somebody else may have been there meanwhile.
            let has_overrides = self.has_overrides(cell).await?;
            let note = |entry: &mut IndexEntry| match &mut entry.about {
                Some(about) if about.has_overrides != has_overrides => {
                    about.has_overrides = has_overrides;
                    true
                }
                _ => false,
            };
            self.change_index(cell, note).await
        }
        .await;
        turn.end().await;
        noted
    }

    /// Whether a cell has files of its own.
    pub(super) async fn has_overrides(&self, cell: &CellId) -> Result<bool, ControllerError> {
        let mut pages = self.store().list(&Folder::Overrides(cell.clone()), Depth::Deep).by(1);
        while let Some(page) = pages.next().await? {
            // Not the empty object that some consoles make for a folder.
            if page.entries.iter().any(|entry| matches!(entry.object_key(), Some(ObjectKey::Override(..)))) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

pub(super) fn no_override(cell: &CellId, path: &FilePath) -> ControllerError {
    ControllerError::not_found(format!("{cell}: override {path}"), "there is none; `fleetman override ls` lists them")
}
