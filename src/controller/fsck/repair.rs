//! Carrying out what a check proposed. Each looks again first: the bucket may have gone on.

use ulid::Ulid;

use super::Repair;
use super::cell::INDEX_UNREADABLE;
use crate::controller::gc::GcReport;
use crate::controller::head::{TRIGGER_BYTES, floor};
use crate::controller::{Controller, ControllerError, Deletion};
use crate::model::index::IndexEntry;
use crate::model::keys::Folder;
use crate::model::{CellId, CellName, NodeName, ObjectKey};

impl Controller {
    pub(super) async fn repair(&self, repair: &Repair) -> Result<(), ControllerError> {
        match repair {
            Repair::Spread(cell) => self.spread_head(cell).await,
            Repair::Restore(cell) => self.restore(cell).await,
            Repair::Forget(cell) => {
                let act = self.intend("fsck", ObjectKey::Index(cell.node.clone()).relative(), None, None, None).await?;
                let forgotten = self.change_index(cell, |entry| {
                    *entry = IndexEntry::default();
                    true
                });
                let forgotten = forgotten.await;
                self.conclude(act, forgotten).await
            }
            Repair::List(node, id) => {
                // Over, or taken back meanwhile.
                let Some(order) = self.find_order(node, *id).await? else { return Ok(()) };
                let act = self.intend("fsck", ObjectKey::Index(node.clone()).relative(), None, None, None).await?;
                let listed = self.list_order(&order).await;
                self.conclude(act, listed).await
            }
            Repair::RestoreOrder(node, id) => self.restore_order(node, *id).await,
            Repair::Unlist(node) => {
                let act = self.intend("fsck", ObjectKey::Index(node.clone()).relative(), None, None, None).await?;
                let unlisted = self.rewrite_index(node, |index| {
                    let before = index.requests.len();
                    self.keep_orders(index, |_| true);
                    Ok(index.requests.len() < before)
                });
                let unlisted = unlisted.await;
                self.conclude(act, unlisted).await
            }
            Repair::Rebuild(node) => self.rebuild_index(node).await,
            Repair::Unmark(cell, version) => match self.delete_version(cell, version).await {
                // Somebody needs it: the mark was taken back.
                Ok(Deletion::Done { .. } | Deletion::Marked { .. }) | Err(ControllerError::InUse { .. }) => Ok(()),
                Err(error) => Err(error),
            },
            Repair::SweepVersion(cell, version) => self.sweep_unfinished_version(cell, version).await,
            Repair::SweepRelease(manifest, name) => self.sweep_unfinished_release(manifest, name).await,
            Repair::SweepObject(key) => {
                if !self.is_unnamed(key).await? {
                    let by = "the document of its folder names it, or cannot be read".to_owned();
                    return Err(ControllerError::InUse { what: key.to_string(), by });
                }
                let mut report = GcReport::default();
                self.sweep_keys(key.relative(), vec![key.clone()], false, &mut report).await
            }
        }
    }

    async fn spread_head(&self, cell: &CellId) -> Result<(), ControllerError> {
        let head = self.head(cell).await?;
        match &head.newest {
            // One repair may have served several findings.
            Some(newest) if head.lags() => {
                let act = self.intend("fsck", format!("cell/{cell}"), None, None, None).await?;
                let settled = self.settle(&head, newest).await.map(|_| ());
                self.conclude(act, settled).await
            }
            _ => Ok(()),
        }
    }

    async fn rebuild_index(&self, node: &NodeName) -> Result<(), ControllerError> {
        for name in self.folders(&Folder::NodeCells(node.clone())).await? {
            if let Ok(name) = CellName::new(name) {
                self.spread_head(&CellId::new(node.clone(), name)).await?;
            }
        }
        if self.check_index(node).await?.iter().any(|finding| finding.code == INDEX_UNREADABLE) {
            let problem = "no cell of its node has a trigger that would begin it anew; delete it by hand";
            return Err(ControllerError::invalid(ObjectKey::Index(node.clone()), problem));
        }
        Ok(())
    }

    /// Writes the history entry of the newest trigger from a copy of it. From `trigger.json` where that is it: a copy
    /// in the index has lost the white space around it.
    async fn restore(&self, cell: &CellId) -> Result<(), ControllerError> {
        let head = self.head(cell).await?;
        let Some(newest) = &head.newest else { return Ok(()) };
        let key = ObjectKey::History(cell.clone(), floor(newest));
        let copy = self.store().find(&ObjectKey::Trigger(cell.clone()), TRIGGER_BYTES).await?;
        let copy = copy.and_then(|object| self.believe(&key, cell, &object.bytes).ok());
        let whole = copy.filter(|copy| copy.signed_sha256() == newest.signed_sha256());
        let document = whole.as_ref().unwrap_or(newest).document().to_vec();
        let act = self.intend("fsck", key.relative(), None, None, None).await?;
        let restored = async {
            self.writer().await?.create(&key, document.into()).await?;
            self.spread(newest).await
        }
        .await;
        self.conclude(act, restored).await
    }

    /// Writes an order from its copy in the index.
    async fn restore_order(&self, node: &NodeName, id: Ulid) -> Result<(), ControllerError> {
        let (index, _) = self.index_to_change(&ObjectKey::Index(node.clone()), node).await?;
        let order = self.believed_orders(&index).into_iter().find(|order| order.id == id);
        // It was overtaken meanwhile.
        let Some(order) = order else { return Ok(()) };
        let key = ObjectKey::Request(node.clone(), id);
        let act = self.intend("fsck", key.relative(), None, None, None).await?;
        let restored = async {
            self.writer().await?.create(&key, order.document().to_vec().into()).await?;
            Ok(())
        }
        .await;
        self.conclude(act, restored).await
    }
}
