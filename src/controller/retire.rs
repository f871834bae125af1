//! Taking a node out of the fleet: what is known of it, and what goes from the bucket once its cells are removed.
//!
//! Triggers and history stay, so that no generation is ever used twice (I5). The index goes before the heartbeat: until
//! the heartbeat goes it tells that the cells are removed, so whoever is interrupted can go on.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::delete::Deletion;
use super::fleet::{Liveness, LivenessLimits};
use super::head::floor;
use super::inputs::READS;
use super::{Controller, ControllerError};
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::{CellReport, Heartbeat, Phase};
use crate::model::index::Index;
use crate::model::keys::Folder;
use crate::model::trigger::Action;
use crate::model::{CellId, CellName, Code, Floor, NodeName, ObjectKey};
use crate::store::StoreError;

/// What is known of a node.
#[derive(Debug, Clone)]
pub struct NodeState {
    /// Whether it is heard of.
    pub liveness: Liveness,
    /// When the store took its newest heartbeat; none also where the store does not tell.
    pub last_seen: Option<DateTime<Utc>>,
    /// Whether there is a heartbeat, be it readable or not.
    pub has_heartbeat: bool,
    /// Whether two agents were found to use its name.
    pub is_double: bool,
    /// Whether it has an index.
    pub has_index: bool,
    /// Its cells: those that have a folder in the bucket, an entry in its index or a place in its heartbeat.
    pub cells: Vec<NodeCell>,
}

/// What is known of a cell of a node.
#[derive(Debug, Clone)]
pub struct NodeCell {
    /// Its name.
    pub cell: CellId,
    /// The newest trigger's place and what it asks for; none if it was never published.
    pub newest: Option<(Floor, Action)>,
    /// Whether that trigger says to delete its data folder too.
    pub purges_data: bool,
    /// Why it is paused, if it is.
    pub paused: Option<String>,
    /// What its node says of it.
    pub report: Option<CellReport>,
}

impl NodeCell {
    /// Whether its newest trigger says to remove it.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        matches!(self.newest, Some((_, Action::Remove)))
    }

    /// Whether its node says that it has carried that out.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let (Some((at, Action::Remove)), Some(report)) = (&self.newest, &self.report) else { return false };
        report.phase == Phase::Removed && report.applied == Some(*at)
    }

    /// Whether its node has something of it that no trigger speaks of.
    #[must_use]
    pub fn is_stray(&self) -> bool {
        self.newest.is_none() && self.report.as_ref().is_some_and(|report| report.phase != Phase::Removed)
    }
}

impl NodeState {
    /// Whether nothing in the bucket speaks of the node.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        !self.has_heartbeat && !self.has_index && self.cells.is_empty()
    }
}

impl Controller {
    /// Everything that is known of a node, cell by cell from its history and not from its index.
    ///
    /// # Errors
    /// Why the store did not answer, or [`ControllerError::Untrusted`] where nothing in a cell's history is believed.
    pub async fn node_state(&self, node: &NodeName, limits: LivenessLimits) -> Result<NodeState, ControllerError> {
        let beat_key = ObjectKey::Heartbeat(node.clone());
        let (beat, last_seen) = match self.store().find(&beat_key, Heartbeat::MAX_BYTES).await {
            Ok(Some(object)) => (Some(document::parse::<Heartbeat>(&object.bytes).ok()), object.last_modified),
            Ok(None) => (None, None),
            Err(StoreError::TooLarge { .. }) => {
                (Some(None), self.store().head(&beat_key).await?.and_then(|meta| meta.last_modified))
            }
            Err(error) => return Err(error.into()),
        };
        let has_heartbeat = beat.is_some();
        let beat = beat.flatten().filter(|beat| beat.node == *node);
        let indexed = self.indexed_cells(node).await?;
        let has_index = indexed.is_some();
        let mut names: BTreeSet<CellName> = indexed.unwrap_or_default();
        let folders = self.folders(&Folder::NodeCells(node.clone())).await?;
        names.extend(folders.into_iter().filter_map(|name| CellName::new(name).ok()));
        let interval_secs = beat.as_ref().map(|beat| beat.interval_secs);
        let is_double =
            beat.iter().flat_map(|beat| &beat.conditions).any(|condition| condition.code == Code::DuplicateNode);
        let mut reports: BTreeMap<CellName, Box<CellReport>> = beat.map(|beat| beat.cells).unwrap_or_default();
        names.extend(reports.keys().cloned());
        let cells = names.into_iter().map(|name| {
            let report = reports.remove(&name).map(|report| *report);
            self.node_cell(CellId::new(node.clone(), name), report)
        });
        let cells = stream::iter(cells.collect::<Vec<_>>()).buffered(READS).try_collect().await?;
        let liveness = limits.judge(last_seen, interval_secs, self.store_now());
        Ok(NodeState { liveness, last_seen, has_heartbeat, is_double, has_index, cells })
    }

    async fn node_cell(&self, cell: CellId, report: Option<CellReport>) -> Result<NodeCell, ControllerError> {
        let head = self.head(&cell).await?;
        let paused = match self.read_binding(&cell).await {
            Ok((binding, _)) => binding.paused.as_ref().map(|paused| paused.reason.clone()),
            // What makes no sense pauses nothing.
            Err(ControllerError::NotFound { .. } | ControllerError::Recipe(_) | ControllerError::Invalid { .. }) => {
                None
            }
            Err(error) => return Err(error),
        };
        let newest = head.newest.as_ref();
        let purges_data = newest.is_some_and(|newest| newest.options.purge_data);
        Ok(NodeCell { newest: newest.map(|it| (floor(it), it.action.clone())), cell, purges_data, paused, report })
    }

    /// The cells that a node's index speaks of; none if there is no index. One that cannot be read speaks of no cell.
    async fn indexed_cells(&self, node: &NodeName) -> Result<Option<BTreeSet<CellName>>, ControllerError> {
        let index = match self.store().find(&ObjectKey::Index(node.clone()), Index::MAX_BYTES).await {
            Ok(Some(object)) => document::parse::<Index>(&object.bytes).ok(),
            Ok(None) => return Ok(None),
            Err(StoreError::TooLarge { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let names = index.iter().flat_map(|index| index.cells.keys()).filter_map(|name| CellName::new(name).ok());
        Ok(Some(names.collect()))
    }

    /// Deletes a node's index, then its heartbeat. Its cells' triggers and history stay.
    ///
    /// # Errors
    /// [`ControllerError::InUse`] while a cell of it is to be there. One that was published in the very moment stays
    /// published, and has its place in a new index.
    pub async fn clear_node(&self, node: &NodeName) -> Result<Deletion, ControllerError> {
        self.still_wanted(node).await?;
        let (index, beat) = (ObjectKey::Index(node.clone()), ObjectKey::Heartbeat(node.clone()));
        let act = self.intend("node-rm", format!("node/{node}"), None, None, None).await?;
        let cleared = async {
            let mut objects = 0;
            for key in [index, beat] {
                if self.store().head(&key).await?.is_some() {
                    self.writer().await?.delete(&key).await?;
                    objects += 1;
                }
                self.still_wanted(node).await?;
            }
            Ok(Deletion::Done { objects })
        }
        .await;
        self.conclude(act, cleared).await
    }

    /// Refuses while a cell of the node is to be there, and sees to it that its agent is told of it.
    async fn still_wanted(&self, node: &NodeName) -> Result<(), ControllerError> {
        for name in self.folders(&Folder::NodeCells(node.clone())).await? {
            let Ok(name) = CellName::new(name) else { continue };
            let cell = CellId::new(node.clone(), name);
            let head = self.head(&cell).await?;
            let Some(newest) = head.newest.as_ref().filter(|_| !head.is_removed()) else { continue };
            if head.lags() {
                self.settle(&head, newest).await?;
            }
            let by = format!("the newest trigger of {cell} says {}", newest.action.name());
            return Err(ControllerError::InUse { what: format!("node {node}"), by });
        }
        Ok(())
    }
}
