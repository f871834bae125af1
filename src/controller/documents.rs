//! The texts that people write: manifests and cells, kept byte for byte.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Actor, Controller, ControllerError};
use crate::model::index::About;
use crate::model::{CellId, ManifestName, ObjectKey, Sha256Digest};
use crate::recipe::written::{Binding, Paused, Recipe};
use crate::recipe::{self, Written};
use crate::store::{ETag, StoreError};
use crate::yaml;

/// A text and what the store calls its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// What was written.
    pub text: String,
    /// To be handed back when it is changed.
    pub etag: ETag,
}

/// What the caller knows of an object that it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// Nothing: whatever is there is replaced, unless it changes in this moment.
    Anything,
    /// That there is none.
    Absent,
    /// Its bytes.
    Tag(ETag),
}

impl Known {
    /// Refuses a change where `found`, the tag of what is there now, is not what the caller knows.
    pub(super) fn check(&self, key: &ObjectKey, found: Option<&ETag>) -> Result<(), ControllerError> {
        let is_known = match self {
            Self::Anything => true,
            Self::Absent => found.is_none(),
            Self::Tag(known) => found == Some(known),
        };
        if is_known { Ok(()) } else { Err(ControllerError::Changed { what: key.to_string() }) }
    }
}

/// What came of writing one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Which.
    pub what: String,
    /// What came of it.
    pub how: AppliedHow,
}

/// How an object came to have the bytes that were wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppliedHow {
    /// There was none.
    Created,
    /// There were other bytes.
    Changed,
    /// It was there, byte for byte.
    Unchanged,
}

impl Applied {
    pub(super) fn created(what: impl Into<String>) -> Self {
        Self { what: what.into(), how: AppliedHow::Created }
    }

    pub(super) fn unchanged(what: impl Into<String>) -> Self {
        Self { what: what.into(), how: AppliedHow::Unchanged }
    }
}

impl Controller {
    /// A manifest as it was written.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is none.
    pub async fn get_manifest(&self, name: &ManifestName) -> Result<Text, ControllerError> {
        let found = self.find_text(&ObjectKey::ManifestYaml(name.clone())).await?;
        found.ok_or_else(|| ControllerError::not_found(format!("manifest {name}"), "there is none"))
    }

    /// Writes a manifest, if what is there is still what the caller knows.
    ///
    /// # Errors
    /// [`ControllerError::Recipe`] when it makes no sense, [`ControllerError::Changed`] when another was written
    /// meanwhile.
    pub async fn put_manifest(
        &self,
        name: &ManifestName,
        text: &str,
        known: &Known,
    ) -> Result<Applied, ControllerError> {
        let key = ObjectKey::ManifestYaml(name.clone());
        let recipe: Written<Recipe> = recipe::manifest(text, &key.relative())?;
        if recipe.name != *name {
            return Err(ControllerError::invalid(&key, format!("it says that it is manifest {}", recipe.name)));
        }
        self.put_text(&key, text, known, "manifest-put").await
    }

    /// A cell as it was written.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is none.
    pub async fn get_cell(&self, cell: &CellId) -> Result<Text, ControllerError> {
        let found = self.find_text(&ObjectKey::CellYaml(cell.clone())).await?;
        found.ok_or_else(|| ControllerError::not_found(format!("cell {cell}"), "there is none"))
    }

    /// Writes a cell, if what is there is still what the caller knows, and what views show of it into its node's
    /// index.
    ///
    /// # Errors
    /// See [`Self::put_manifest`].
    pub async fn put_cell(&self, cell: &CellId, text: &str, known: &Known) -> Result<Applied, ControllerError> {
        let key = ObjectKey::CellYaml(cell.clone());
        let binding = recipe::cell(text, &key.relative())?;
        if binding.cell != *cell {
            return Err(ControllerError::invalid(&key, format!("it says that it is cell {}", binding.cell)));
        }
        let labels = self.cell_labels(&binding).await?;
        self.write_cell(&binding, labels, known, "cell-put").await
    }

    /// Keeps new versions away from a cell, if its document is still what the caller knows. What runs goes on, and it
    /// may still be stopped or removed.
    ///
    /// # Errors
    /// See [`Self::put_cell`].
    pub async fn pause(&self, cell: &CellId, reason: &str, known: &Known) -> Result<Applied, ControllerError> {
        let (by, since) = (Some(self.actor().user.to_string()), Some(self.now()));
        let paused = Paused { reason: reason.to_owned(), by, since };
        // The audit tells the reason, too: the document forgets it with the pause.
        let actor = Actor { reason: Some(reason.to_owned()), ..self.actor().clone() };
        self.acting_as(actor).set_paused(cell, Some(paused), known, "pause").await
    }

    /// Ends a pause, if the cell's document is still what the caller knows.
    ///
    /// # Errors
    /// See [`Self::put_cell`].
    pub async fn resume(&self, cell: &CellId, known: &Known) -> Result<Applied, ControllerError> {
        self.set_paused(cell, None, known, "resume").await
    }

    /// Only [`Self::resume`] ends a pause: a file that was written before it knows nothing of it.
    pub(super) async fn keep_pause(&self, binding: &mut Written<Binding>) -> Result<(), ControllerError> {
        if binding.paused.is_some() {
            return Ok(());
        }
        let paused = match self.read_binding(&binding.cell).await {
            Ok((there, _)) => there.paused.clone(),
            // What makes no sense there is about to be mended.
            Err(ControllerError::NotFound { .. } | ControllerError::Recipe(_) | ControllerError::Invalid { .. }) => {
                None
            }
            Err(error) => return Err(error),
        };
        if paused.is_some() {
            let text = binding.with_paused(paused.as_ref())?;
            *binding = recipe::cell(&text, &ObjectKey::CellYaml(binding.cell.clone()).relative())?;
        }
        Ok(())
    }

    async fn set_paused(
        &self,
        cell: &CellId,
        paused: Option<Paused>,
        known: &Known,
        verb: &'static str,
    ) -> Result<Applied, ControllerError> {
        let (binding, etag) = self.read_binding(cell).await?;
        known.check(&ObjectKey::CellYaml(cell.clone()), Some(&etag))?;
        let same_reason = |a: &Paused, b: &Paused| a.reason == b.reason;
        let is_so = match (&binding.paused, &paused) {
            (None, None) => true,
            (Some(now), Some(wanted)) => same_reason(now, wanted),
            _ => false,
        };
        let labels = self.cell_labels(&binding).await?;
        let edited = if is_so { binding.text().to_owned() } else { binding.with_paused(paused.as_ref())? };
        let binding = recipe::cell(&edited, &ObjectKey::CellYaml(cell.clone()).relative())?;
        self.write_cell(&binding, labels, &Known::Tag(etag), verb).await
    }

    async fn cell_labels(&self, binding: &Binding) -> Result<BTreeMap<String, String>, ControllerError> {
        let mut labels = self.read_recipe(&binding.manifest).await?.0.labels.clone();
        labels.extend(binding.labels.clone());
        Ok(labels)
    }

    /// `labels` are those of the manifest with the cell's own over them.
    pub(super) async fn write_cell(
        &self,
        binding: &Written<Binding>,
        labels: BTreeMap<String, String>,
        known: &Known,
        verb: &'static str,
    ) -> Result<Applied, ControllerError> {
        let cell = &binding.cell;
        let applied = self.put_text(&ObjectKey::CellYaml(cell.clone()), binding.text(), known, verb).await?;
        let paused = binding.paused.as_ref().map(|paused| paused.reason.clone());
        let has_overrides = self.has_overrides(cell).await?;
        let about = About { manifest: binding.manifest.clone(), labels, paused, has_overrides };
        if self.about(cell).await?.as_ref() == Some(&about) {
            return Ok(applied);
        }
        let turn = self.take_turn(cell).await?;
        let merged = self
            .change_index(cell, |entry| {
                let differs = entry.about.as_ref() != Some(&about);
                entry.about = Some(about.clone());
                differs
            })
            .await;
        turn.end().await;
        merged.map(|()| applied)
    }

    pub(super) async fn put_text(
        &self,
        key: &ObjectKey,
        text: &str,
        known: &Known,
        verb: &'static str,
    ) -> Result<Applied, ControllerError> {
        self.replace_text(key, Bytes::copy_from_slice(text.as_bytes()), known, verb, yaml::MAX_BYTES as u64).await
    }

    /// Writes something that people edit, unless the same is there.
    pub(super) async fn replace_text(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        known: &Known,
        verb: &'static str,
        most_bytes: u64,
    ) -> Result<Applied, ControllerError> {
        let there = self.store().find(key, most_bytes).await?;
        if let Some(there) = &there
            && there.bytes == bytes
        {
            return Ok(Applied::unchanged(key.to_string()));
        }
        let etag = there.as_ref().map(|object| object.etag.clone());
        known.check(key, etag.as_ref())?;
        let digest = |bytes: &[u8]| Sha256Digest::of(bytes).to_string();
        let before = there.as_ref().map(|object| digest(&object.bytes));
        let act = self.intend(verb, key.to_string(), before, Some(digest(&bytes)), None).await?;
        let written = match self.writer().await?.replace_if(key, bytes, etag.as_ref()).await {
            Ok(_) => {
                let how = if etag.is_some() { AppliedHow::Changed } else { AppliedHow::Created };
                Ok(Applied { what: key.to_string(), how })
            }
            Err(StoreError::Conflict { .. }) => Err(ControllerError::Changed { what: key.to_string() }),
            Err(error) => Err(error.into()),
        };
        self.conclude(act, written).await
    }
}
