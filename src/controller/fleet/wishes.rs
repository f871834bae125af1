//! What a node's index says of its cells, each trigger verified before it counts.

use std::collections::HashSet;
use std::sync::Arc;

use super::view::{Desired, Wish};
use crate::controller::{Controller, HoldOrder};
use crate::model::index::{About, Index};
use crate::model::{CellId, CellName, NodeName, ObjectKey, document};
use crate::store::in_full;

/// What an index says, verified.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// By name.
    pub(super) cells: Vec<(CellName, Arc<Wish>)>,
    /// Entries that cannot even be read.
    pub(super) problems: Vec<String>,
    /// What is ordered about holding, by id.
    pub(super) hold_orders: Vec<HoldOrder>,
}

impl Wishes {
    pub(super) fn of(&self, cell: &CellName) -> Option<&Arc<Wish>> {
        self.cells.binary_search_by(|(name, _)| name.cmp(cell)).ok().map(|at| &self.cells[at].1)
    }
}

/// What documents of cells say, each text once: fifty thousand cells have a few hundred of them.
#[derive(Debug, Default)]
pub(super) struct Abouts(HashSet<Arc<About>>);

impl Abouts {
    fn shared(&mut self, about: About) -> Arc<About> {
        if let Some(known) = self.0.get(&about) {
            return known.clone();
        }
        let about = Arc::new(about);
        self.0.insert(about.clone());
        about
    }

    /// Forgets what no cell says any more.
    pub(super) fn sweep(&mut self) {
        self.0.retain(|about| Arc::strong_count(about) > 1);
    }
}

impl Controller {
    /// Reads the index of `node`; an error says why it is none.
    pub(super) fn read_wishes(&self, node: &NodeName, bytes: &[u8], abouts: &mut Abouts) -> Result<Wishes, String> {
        let index: Index = document::parse(bytes).map_err(|error| error.to_string())?;
        if index.node != *node {
            return Err(format!("it says that it is of node {}", index.node));
        }
        let key = ObjectKey::Index(node.clone());
        let mut wishes = Wishes { hold_orders: self.hold_orders(&index), ..Wishes::default() };
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
            let about = entry.about.map(|about| abouts.shared(about));
            wishes.cells.push((cell, Arc::new(Wish { about, desired, problem })));
        }
        Ok(wishes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cells_say_alike_is_kept_once_and_for_no_longer_than_one_says_it() {
        let about = |manifest: &str| serde_json::from_value::<About>(json!({"manifest": manifest})).unwrap();
        let mut abouts = Abouts::default();
        let (one, same, other) = (abouts.shared(about("a")), abouts.shared(about("a")), abouts.shared(about("b")));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        drop(other);
        abouts.sweep();
        assert_eq!(abouts.0.len(), 1);
        assert!(Arc::ptr_eq(&one, &abouts.shared(about("a"))));
    }
}
