//! `index/<node>.json`: every current trigger of a node in one object, so that an idle poll is one request.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::document::Document;
use super::name::{CellName, ManifestName, NodeName};

/// Copies of a node's triggers. Nothing in it is believed before its own signature is checked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Index {
    /// The node.
    pub node: NodeName,
    /// When it was last written.
    pub written_at: DateTime<Utc>,
    /// An entry a cell, each unread, so that a bad one spoils only itself.
    #[serde(default)]
    pub cells: BTreeMap<String, Box<RawValue>>,
    /// Signed orders to the agent.
    #[serde(default)]
    pub requests: Vec<Box<RawValue>>,
}

/// What the index says of one cell.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct IndexEntry {
    /// The trigger document, byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Box<RawValue>>,
    /// A hint for views; unsigned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
}

/// What a view shows of a cell without reading its `cell.yaml`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct About {
    /// The recipe that the cell is bound to.
    pub manifest: ManifestName,
    /// The cell's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Why publishing is paused, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// Whether the cell has files of its own, for its next version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_overrides: bool,
}

impl Document for Index {
    const SCHEMA: &'static str = "fleetman/index/1";
    const MAX_BYTES: u64 = 4 << 20;
}

impl Index {
    /// An index without cells.
    #[must_use]
    pub fn empty(node: NodeName, written_at: DateTime<Utc>) -> Self {
        Self { node, written_at, cells: BTreeMap::new(), requests: Vec::new() }
    }

    /// The entries, each read by itself: under its name what it says, or why it cannot be read.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Result<(CellName, IndexEntry), String>)> {
        self.cells.iter().map(|(name, raw)| {
            let entry = CellName::new(name.as_str()).map_err(|error| error.to_string()).and_then(|cell| {
                let entry = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
                Ok((cell, entry))
            });
            (name.as_str(), entry)
        })
    }

    /// What the index says of `cell`; nothing if its entry cannot be read.
    #[must_use]
    pub fn entry(&self, cell: &CellName) -> Option<IndexEntry> {
        serde_json::from_str(self.cells.get(cell.as_str())?.get()).ok()
    }

    /// Puts `entry` in the place of what was said of `cell`.
    ///
    /// # Errors
    /// Never for an entry that was read or built from valid JSON.
    pub fn put(&mut self, cell: &CellName, entry: &IndexEntry) -> serde_json::Result<()> {
        self.cells.insert(cell.to_string(), serde_json::value::to_raw_value(entry)?);
        Ok(())
    }

    /// Forgets `cell`.
    pub fn remove(&mut self, cell: &CellName) {
        self.cells.remove(cell.as_str());
    }
}

impl IndexEntry {
    /// The trigger's document as it is verified: exactly the bytes that stand in the index.
    #[must_use]
    pub fn trigger_bytes(&self) -> Option<&[u8]> {
        self.trigger.as_ref().map(|raw| raw.get().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::document;

    #[test]
    fn a_bad_entry_spoils_only_itself_and_bytes_stay_as_they_are() {
        let text = r#"{"schema":"fleetman/index/1","node":"n1","written_at":"2026-01-02T03:04:05Z",
            "cells":{"ok":{"trigger":{"b" : 1,  "a":2}},"bad":7,"_x":{}},"requests":[]}"#;
        let index: Index = document::parse(text.as_bytes()).unwrap();
        let read: Vec<(&str, bool)> = index.entries().map(|(name, entry)| (name, entry.is_ok())).collect();
        assert_eq!(read, [("_x", false), ("bad", false), ("ok", true)]);
        let again: Index = document::parse(&document::render(&index)).unwrap();
        let entry = again.entry(&CellName::new("ok").unwrap()).unwrap();
        assert_eq!(entry.trigger_bytes().unwrap(), br#"{"b" : 1,  "a":2}"#);
    }

    #[test]
    fn an_entry_can_be_put_and_removed() {
        let cell = CellName::new("web").unwrap();
        let mut index = Index::empty(NodeName::new("n1").unwrap(), DateTime::UNIX_EPOCH);
        let about = About {
            manifest: ManifestName::new("site").unwrap(),
            labels: BTreeMap::new(),
            paused: None,
            has_overrides: true,
        };
        index.put(&cell, &IndexEntry { trigger: None, about: Some(about.clone()) }).unwrap();
        assert_eq!(index.entry(&cell).unwrap().about, Some(about));
        index.remove(&cell);
        assert!(index.entry(&cell).is_none());
    }
}
