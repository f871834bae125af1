//! What a node's index says of its cells, each trigger verified before it counts.

use std::sync::Arc;

use super::view::{Desired, Wish};
use crate::controller::Controller;
use crate::model::index::Index;
use crate::model::{CellId, CellName, NodeName, ObjectKey, document};
use crate::store::in_full;

/// What an index says, verified.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// By name.
    pub(super) cells: Vec<(CellName, Arc<Wish>)>,
    /// Entries that cannot even be read.
    pub(super) problems: Vec<String>,
}

impl Wishes {
    pub(super) fn of(&self, cell: &CellName) -> Option<&Arc<Wish>> {
        self.cells.binary_search_by(|(name, _)| name.cmp(cell)).ok().map(|at| &self.cells[at].1)
    }
}

impl Controller {
    /// Reads the index of `node`; an error says why it is none.
    pub(super) fn read_wishes(&self, node: &NodeName, bytes: &[u8]) -> Result<Wishes, String> {
        let index: Index = document::parse(bytes).map_err(|error| error.to_string())?;
        if index.node != *node {
            return Err(format!("it says that it is of node {}", index.node));
        }
        let key = ObjectKey::Index(node.clone());
        let mut wishes = Wishes::default();
        // By text, which is the order of the names, too.
        for (name, entry) in index.entries() {
            let (cell, entry) = match entry {
                Ok(entry) => entry,
                Err(why) => {
                    wishes.problems.push(format!("index entry {name:?}: {why}"));
                    continue;
                }
            };
            let id = CellId::new(node.clone(), cell.clone());
            let trigger = entry.trigger_bytes().map(|bytes| self.believe(&key, &id, bytes));
            let (desired, problem) = match trigger {
                Some(Ok(trigger)) => (Some(Desired::from(&trigger)), None),
                Some(Err(error)) => (None, Some(in_full(&error))),
                None => (None, None),
            };
            wishes.cells.push((cell, Arc::new(Wish { about: entry.about, desired, problem })));
        }
        Ok(wishes)
    }
}
