//! Orders to nodes: the objects that count, and their copies in the index, which nodes read at every poll.

use std::collections::{BTreeMap, BTreeSet};

use ulid::Ulid;

use super::{Finding, Findings, Repair};
use crate::controller::orders::is_overtaken;
use crate::controller::{Controller, ControllerError};
use crate::model::document::{self, Document as _};
use crate::model::index::Index;
use crate::model::keys::Folder;
use crate::model::order::{Order, OrderAction};
use crate::model::sign::Verified;
use crate::model::{NodeName, ObjectKey};
use crate::store::{Depth, Entry, StoreError, in_full};

impl Controller {
    /// The orders of every node that has an index, or orders.
    pub(super) async fn check_orders(&self) -> Result<Findings, ControllerError> {
        let of_cells = self.folders(&Folder::Cells).await?.into_iter().filter_map(|name| NodeName::new(name).ok());
        let mut nodes: BTreeSet<NodeName> = of_cells.collect();
        let mut pages = self.store().list(&Folder::Indexes, Depth::Deep);
        while let Some(page) = pages.next().await? {
            nodes.extend(page.entries.iter().filter_map(|entry| match entry.object_key() {
                Some(ObjectKey::Index(node)) => Some(node),
                _ => None,
            }));
        }
        let mut found = Findings::new();
        for node in nodes {
            found.extend(self.check_orders_of(&node).await?);
        }
        Ok(found)
    }

    async fn check_orders_of(&self, node: &NodeName) -> Result<Findings, ControllerError> {
        let index_key = ObjectKey::Index(node.clone());
        let index = match self.store().find(&index_key, Index::MAX_BYTES).await {
            Ok(object) => object.and_then(|object| document::parse::<Index>(&object.bytes).ok()),
            // An index that is none was told of already.
            Err(StoreError::TooLarge { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let mut found = Findings::new();
        let mut listed = BTreeMap::new();
        for raw in index.iter().flat_map(|index| &index.requests) {
            match self.believe_order(node, raw.get().as_bytes()) {
                Ok(order) => {
                    listed.insert(order.id, order);
                }
                Err(error) => {
                    let finding = Finding::new("order_unbelieved", &index_key, in_full(&error), "");
                    found.push(finding.repaired_by(Repair::Unlist(node.clone())));
                }
            }
        }
        let mut there = BTreeMap::new();
        let mut pages = self.store().list(&Folder::Requests(node.clone()), Depth::Shallow);
        while let Some(page) = pages.next().await? {
            for key in page.entries.iter().filter_map(Entry::object_key) {
                let ObjectKey::Request(_, id) = key else { continue };
                match self.find_order(node, id).await {
                    Ok(Some(order)) => {
                        there.insert(id, order);
                    }
                    Ok(None) => {}
                    Err(error) if error.is_of_document() => {
                        let by_hand = "find out who wrote it; its node refuses it";
                        found.push(Finding::new("order_unbelieved", key, in_full(&error), by_hand));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let now = self.store_now();
        let is_newer = |old: &Order| {
            let all = listed.values().chain(there.values());
            all.into_iter().any(|new| new.id > old.id && is_overtaken(old, &new.addressee(), &new.action))
        };
        let counts = |order: &Verified<Order>| order.expires_at > now && !is_newer(order);
        for (id, _) in there.iter().filter(|(id, order)| !listed.contains_key(id) && counts(order)) {
            let problem = format!("{index_key} does not name it, so its node reads it at its next full look only");
            let finding = Finding::new("order_unlisted", ObjectKey::Request(node.clone(), *id), problem, "");
            found.push(finding.repaired_by(Repair::List(node.clone(), *id)));
        }
        // Whoever asked for logs takes that back by deleting the order, and the index tells of it until it is next written.
        let is_kept = |order: &Verified<Order>| !matches!(order.action, OrderAction::Logs(_));
        let missing = |id: &Ulid, order: &Verified<Order>| !there.contains_key(id) && counts(order) && is_kept(order);
        for (id, _) in listed.iter().filter(|(id, order)| missing(id, order)) {
            let problem = format!("it stands only in {index_key}, where whoever writes that next may lose it");
            let finding = Finding::new("order_missing", ObjectKey::Request(node.clone(), *id), problem, "");
            found.push(finding.repaired_by(Repair::RestoreOrder(node.clone(), *id)));
        }
        Ok(found)
    }
}
