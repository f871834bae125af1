//! The triggers of a cell: its history, and the copies of its head.

use super::{Believed, Finding, Findings, Repair};
use crate::controller::head::floor;
use crate::controller::{Controller, ControllerError};
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::Heartbeat;
use crate::model::index::Index;
use crate::model::keys::Folder;
use crate::model::{CellId, NodeName, ObjectKey};
use crate::store::{Depth, StoreError, in_full};

/// An index of which nothing can be read.
pub(super) const INDEX_UNREADABLE: &str = "index_unreadable";

impl Controller {
    /// The believed history of a cell, newest first, and what is wrong with it and with its copies.
    pub(super) async fn check_triggers(&self, cell: &CellId) -> Result<(Believed, Findings), ControllerError> {
        let (mut believed, mut found) = (Believed::new(), Findings::new());
        for entry in self.history(cell, usize::MAX).await? {
            match entry.trigger {
                Ok(trigger) => believed.push(trigger),
                Err(error) => {
                    let key = ObjectKey::History(cell.clone(), entry.at);
                    let by_hand = "find out who wrote it; every reader passes it over";
                    found.push(Finding::new("history_unbelieved", key, in_full(&error), by_hand));
                }
            }
        }
        let head = match self.head(cell).await {
            Ok(head) => head,
            // Nothing of the history is believed, which was told already.
            Err(ControllerError::Untrusted { .. }) => return Ok((believed, found)),
            Err(error) => return Err(error),
        };
        let Some(newest) = &head.newest else {
            if self.store().head(&ObjectKey::Trigger(cell.clone())).await?.is_some() {
                let problem = "it is not believed, and there is no history to put in its place";
                let key = ObjectKey::Trigger(cell.clone());
                found.push(Finding::new("trigger_unbelieved", key, problem, "publish the cell anew"));
            }
            return Ok((believed, found));
        };
        let at = floor(newest);
        if believed.first().map(floor) < Some(at) {
            let key = ObjectKey::History(cell.clone(), at);
            let problem = format!("generation {at} counts, but the history has no entry of it");
            found.push(Finding::new("history_behind", key, problem, "").repaired_by(Repair::Restore(cell.clone())));
            believed.insert(0, newest.clone());
        }
        if head.copied < Some(at) {
            let key = ObjectKey::Trigger(cell.clone());
            let spread = Repair::Spread(cell.clone());
            let (code, problem) = match head.copied {
                Some(copied) => ("trigger_behind", format!("it is generation {copied}, the newest is {at}")),
                None if self.store().head(&key).await?.is_some() => {
                    ("trigger_unbelieved", format!("it is not believed; the newest that is believed is {at}"))
                }
                None => ("trigger_missing", format!("generation {at} was never copied there, or it was deleted")),
            };
            found.push(Finding::new(code, key, problem, "").repaired_by(spread));
        }
        if head.indexed < Some(at) && !(head.indexed.is_none() && head.is_removed()) {
            let key = ObjectKey::Index(cell.node.clone());
            let problem = match head.indexed {
                Some(indexed) => format!("{cell} stands there at generation {indexed}, the newest is {at}"),
                None => format!("{cell} has no believed entry there, the newest is generation {at}"),
            };
            let finding = Finding::new("index_behind", key, problem, "");
            found.push(finding.repaired_by(Repair::Spread(cell.clone())));
        }
        Ok((believed, found))
    }

    /// Indexes and heartbeats that cannot be read, and entries of indexes that are about no cell.
    pub(super) async fn check_indexes(&self) -> Result<Findings, ControllerError> {
        let mut found = Findings::new();
        for folder in [Folder::Indexes, Folder::Agents] {
            let mut pages = self.store().list(&folder, Depth::Deep);
            while let Some(page) = pages.next().await? {
                for key in page.entries.iter().filter_map(crate::store::Entry::object_key) {
                    match &key {
                        ObjectKey::Index(node) => found.extend(self.check_index(node).await?),
                        ObjectKey::Heartbeat(_) => found.extend(self.check_heartbeat(&key).await?),
                        _ => {}
                    }
                }
            }
        }
        Ok(found)
    }

    pub(super) async fn check_index(&self, node: &NodeName) -> Result<Findings, ControllerError> {
        let key = ObjectKey::Index(node.clone());
        let index = match self.store().find(&key, Index::MAX_BYTES).await {
            Ok(Some(object)) => document::parse::<Index>(&object.bytes).map_err(|error| in_full(&error)),
            Ok(None) => return Ok(Findings::new()),
            Err(error @ StoreError::TooLarge { .. }) => Err(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let index = match index {
            Ok(index) => index,
            Err(problem) => {
                let finding = Finding::new(INDEX_UNREADABLE, key, problem, "");
                return Ok(vec![finding.repaired_by(Repair::Rebuild(node.clone()))]);
            }
        };
        let mut found = Findings::new();
        for (name, entry) in index.entries() {
            let (cell, entry) = match entry {
                Ok((cell, entry)) => (CellId::new(node.clone(), cell), entry),
                Err(problem) => {
                    let problem = format!("its entry {name:?} cannot be read: {problem}");
                    found.push(Finding::new("index_entry_unreadable", &key, problem, "the next publish replaces it"));
                    continue;
                }
            };
            if self.list_folder(&Folder::Cell(cell.clone())).await?.is_empty() {
                let finding = |problem: String| Finding::new("index_without_trigger", &key, problem, "");
                let is_believed = entry.trigger_bytes().is_some_and(|bytes| self.believe(&key, &cell, bytes).is_ok());
                found.push(if is_believed {
                    let problem = format!("{cell} stands only here: its trigger and its history are gone");
                    finding(problem).repaired_by(Repair::Restore(cell))
                } else {
                    finding(format!("{cell} stands only here, and what stands here is not believed"))
                        .repaired_by(Repair::Forget(cell))
                });
            }
        }
        Ok(found)
    }

    async fn check_heartbeat(&self, key: &ObjectKey) -> Result<Findings, ControllerError> {
        match self.find_document::<Heartbeat>(key).await {
            Ok(_) => Ok(Findings::new()),
            Err(error) if error.is_unreadable() => {
                let by_hand = "its agent writes another; it keeps versions from being deleted until then";
                Ok(vec![Finding::new("heartbeat_unreadable", key, in_full(&error), by_hand)])
            }
            Err(error) => Err(error),
        }
    }
}
