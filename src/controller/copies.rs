//! The copies of a cell's newest trigger: `trigger.json` and the node's index. Anybody may bring them up to date, and
//! neither ever goes down in generation.

use std::time::Duration;

use serde_json::value::RawValue;
use tracing::warn;

use super::head::floor;
use super::{Controller, ControllerError};
use crate::entropy;
use crate::model::document::{self, Document as _};
use crate::model::index::{Index, IndexEntry};
use crate::model::sign::Verified;
use crate::model::trigger::Trigger;
use crate::model::{CellId, NodeName, ObjectKey};
use crate::store::{ETag, StoreError};

/// How often a copy is tried again when other writers were there first. Every conflict is somebody's success.
const TRIES: u32 = 30;

/// The longest wait after a conflict, times the number of tries so far.
const WAIT: Duration = Duration::from_millis(50);

impl Controller {
    /// Copies a history entry to where agents look.
    pub(super) async fn spread(&self, entry: &Verified<Trigger>) -> Result<(), ControllerError> {
        self.copy_to_trigger(entry).await?;
        self.copy_to_index(entry).await
    }

    async fn copy_to_trigger(&self, entry: &Verified<Trigger>) -> Result<(), ControllerError> {
        let cell = entry.cell_id();
        let key = ObjectKey::Trigger(cell.clone());
        for tries in 1..=TRIES {
            let known = self.read_trigger(&cell).await?;
            let (etag, at) = known.map_or((None, None), |(etag, trigger)| (Some(etag), trigger.as_ref().map(floor)));
            if at >= Some(floor(entry)) {
                return Ok(());
            }
            let body = entry.document().to_vec().into();
            match self.writer().await?.replace_if(&key, body, etag.as_ref()).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. }) => self.wait_after_conflict(tries).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(ControllerError::Changed { what: key.to_string() })
    }

    async fn copy_to_index(&self, entry: &Verified<Trigger>) -> Result<(), ControllerError> {
        let cell = entry.cell_id();
        let key = ObjectKey::Index(cell.node.clone());
        let copy = raw(entry)?;
        self.change_index(&cell, |indexed| {
            let known = indexed.trigger_bytes().and_then(|bytes| self.believe(&key, &cell, bytes).ok());
            if known.as_ref().map(floor) >= Some(floor(entry)) {
                return false;
            }
            indexed.trigger = Some(copy.clone());
            true
        })
        .await
    }

    /// Changes what a node's index says of a cell; `change` says whether there was anything to change, and may be
    /// asked again when other writers were there first.
    pub(super) async fn change_index(
        &self,
        cell: &CellId,
        change: impl Fn(&mut IndexEntry) -> bool,
    ) -> Result<(), ControllerError> {
        let key = ObjectKey::Index(cell.node.clone());
        self.rewrite_index(&cell.node, |index| {
            let mut entry = index.entry(&cell.cell).unwrap_or_default();
            if !change(&mut entry) {
                return Ok(false);
            }
            if entry.trigger.is_none() && entry.about.is_none() {
                index.remove(&cell.cell);
            } else {
                let unreadable = |source| document::DocumentError::Invalid { schema: Index::SCHEMA, source };
                index
                    .put(&cell.cell, &entry)
                    .map_err(|error| ControllerError::Unreadable { key: key.to_string(), source: unreadable(error) })?;
            }
            Ok(true)
        })
        .await
    }

    /// Changes a node's index; `change` says whether there was anything to change, and may be asked again when other
    /// writers were there first.
    pub(super) async fn rewrite_index(
        &self,
        node: &NodeName,
        change: impl Fn(&mut Index) -> Result<bool, ControllerError>,
    ) -> Result<(), ControllerError> {
        let key = ObjectKey::Index(node.clone());
        for tries in 1..=TRIES {
            let (mut index, etag) = self.index_to_change(&key, node).await?;
            if !change(&mut index)? {
                return Ok(());
            }
            index.written_at = self.now();
            let bytes = document::render(&index);
            if bytes.len() as u64 > Index::MAX_BYTES {
                let problem = format!("it would have more than {} bytes; move cells to other nodes", Index::MAX_BYTES);
                return Err(ControllerError::invalid(&key, problem));
            }
            match self.writer().await?.replace_if(&key, bytes.into(), etag.as_ref()).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Conflict { .. }) => self.wait_after_conflict(tries).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(ControllerError::Changed { what: key.to_string() })
    }

    /// The index as it is. One that cannot be read is begun anew: agents lose nothing by it, because a missing entry
    /// means nothing and they read the triggers themselves.
    pub(super) async fn index_to_change(
        &self,
        key: &ObjectKey,
        node: &NodeName,
    ) -> Result<(Index, Option<ETag>), ControllerError> {
        let empty = || Index::empty(node.clone(), self.now());
        match self.store().find(key, Index::MAX_BYTES).await {
            Ok(None) => Ok((empty(), None)),
            Ok(Some(object)) => match document::parse::<Index>(&object.bytes) {
                Ok(index) if index.node == *node => Ok((index, Some(object.etag))),
                Ok(index) => {
                    warn!(%key, found = %index.node, "an index of another node is begun anew");
                    Ok((empty(), Some(object.etag)))
                }
                // A newer program's index is not ours to overwrite.
                Err(source @ document::DocumentError::UnknownSchema { .. }) => {
                    Err(ControllerError::Unreadable { key: key.to_string(), source })
                }
                Err(error) => {
                    warn!(%key, %error, "an index that cannot be read is begun anew");
                    Ok((empty(), Some(object.etag)))
                }
            },
            Err(StoreError::TooLarge { .. }) => Ok((empty(), self.store().head(key).await?.map(|meta| meta.etag))),
            Err(error) => Err(error.into()),
        }
    }

    async fn wait_after_conflict(&self, tries: u32) {
        self.clock.sleep(entropy::up_to(WAIT * tries)).await;
    }
}

/// The document as a JSON value of the same bytes; only the white space around it goes.
fn raw(entry: &Verified<Trigger>) -> Result<Box<RawValue>, ControllerError> {
    let invalid = |source| {
        let key = ObjectKey::Trigger(entry.cell_id()).to_string();
        ControllerError::Unreadable {
            key,
            source: document::DocumentError::Invalid { schema: Trigger::SCHEMA, source },
        }
    };
    serde_json::from_slice::<Box<RawValue>>(entry.document()).map_err(invalid)
}
