//! What the cells of a node depend on, looked at before anything is desired: circles are refused, what is missing is
//! told, and so is who depends on what is to be stopped.
//!
//! It goes by what the cells are to run. Two who publish at once may make a circle all the same: nodes break it, and say
//! so.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tracing::warn;

use super::inputs::READS;
use super::{Controller, ControllerError, Warning};
use crate::model::dependencies::{Dependencies, circle};
use crate::model::document::{self, Document as _};
use crate::model::index::Index;
use crate::model::manifest::Manifest;
use crate::model::trigger::Action;
use crate::model::{CellId, CellName, ManifestName, NodeName, ObjectKey};
use crate::recipe::written::Recipe;
use crate::recipe::{Set, Written, dependencies};

/// A cell that depends on another one of its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependent {
    /// Which.
    pub cell: CellId,
    /// Whether it does not start without the other one, and not only after it.
    pub requires: bool,
}

impl Dependent {
    /// What becomes of it once `other` is stopped, for whoever is about to do that.
    #[must_use]
    pub fn words(&self, other: &CellId) -> String {
        let cell = &self.cell;
        if self.requires {
            format!("{cell} requires {other}: what runs of it goes on, but it does not start again without it")
        } else {
            format!("{cell} starts after {other}, and will start without it")
        }
    }
}

impl Controller {
    /// Refuses a version that would be in a circle with what the other cells of its node are to run, and tells what it
    /// requires that nobody wishes to run.
    pub(super) async fn check_dependencies(&self, new: &Manifest) -> Result<Vec<Warning>, ControllerError> {
        if new.dependencies.is_empty() {
            return Ok(Vec::new());
        }
        let wished = self.wished_actions(&new.node).await?;
        let mut needs = BTreeMap::from([(new.cell.clone(), new.dependencies.clone())]);
        let mut ahead: Vec<CellName> = new.dependencies.all().into_iter().cloned().collect();
        while let Some(cell) = ahead.pop() {
            if needs.contains_key(&cell) {
                continue;
            }
            let id = CellId::new(new.node.clone(), cell.clone());
            let found = self.wished_dependencies(&id, wished.get(&cell)).await?;
            ahead.extend(found.all().into_iter().cloned());
            needs.insert(cell, found);
        }
        refuse_circle(&new.cell_id(), &needs)?;
        let missing = new.dependencies.requires.iter().filter_map(|cell| {
            let how = match wished.get(cell) {
                Some(Action::Deploy(_)) => return None,
                Some(Action::Stop) => "is stopped",
                _ => "is not there",
            };
            Some(Warning::DependencyMissing { cell: CellId::new(new.node.clone(), cell.clone()), how })
        });
        Ok(missing.collect())
    }

    /// The cells of its node that are to run a version which depends on `cell`, by name.
    ///
    /// # Errors
    /// See [`ControllerError`].
    pub async fn dependents(&self, cell: &CellId) -> Result<Vec<Dependent>, ControllerError> {
        Ok(self.dependents_of_all(std::slice::from_ref(cell)).await?.remove(cell).unwrap_or_default())
    }

    /// The same for several cells. What a node is to run is read once, however many of its cells are asked about.
    ///
    /// # Errors
    /// See [`ControllerError`].
    pub async fn dependents_of_all(
        &self,
        cells: &[CellId],
    ) -> Result<BTreeMap<CellId, Vec<Dependent>>, ControllerError> {
        let nodes: BTreeSet<NodeName> = cells.iter().map(|cell| cell.node.clone()).collect();
        let wished: Vec<Vec<(CellId, Action)>> = stream::iter(nodes)
            .map(async |node| {
                let wished = self.wished_actions(&node).await?.into_iter();
                let named = wished.map(|(cell, action)| (CellId::new(node.clone(), cell), action));
                Ok::<_, ControllerError>(named.collect())
            })
            .buffered(READS)
            .try_collect()
            .await?;
        let needs: Vec<(CellId, Dependencies)> = stream::iter(wished.into_iter().flatten())
            .map(async |(cell, action)| {
                let needs = self.wished_dependencies(&cell, Some(&action)).await?;
                Ok::<_, ControllerError>((cell, needs))
            })
            .buffered(READS)
            .try_collect()
            .await?;
        let dependents = |cell: &CellId| {
            let others = needs.iter().filter(|(other, _)| other.node == cell.node && other != cell);
            let dependents = others.filter_map(|(other, needs)| {
                let requires = needs.requires.contains(&cell.cell);
                let depends = requires || needs.after.contains(&cell.cell);
                depends.then(|| Dependent { cell: other.clone(), requires })
            });
            (cell.clone(), dependents.collect())
        };
        Ok(cells.iter().map(dependents).collect())
    }

    /// Cells in an order in which those come first that others of them depend on, as they are written now; otherwise as
    /// they are given. A node that reads one trigger before the next is then told of them in that order.
    ///
    /// # Errors
    /// See [`ControllerError`].
    pub async fn in_order(&self, cells: Vec<CellId>) -> Result<Vec<CellId>, ControllerError> {
        if cells.len() < 2 {
            return Ok(cells);
        }
        let written: Vec<Dependencies> = stream::iter(cells.clone())
            .map(async |cell| Ok::<_, ControllerError>(self.written_dependencies(&cell).await?.unwrap_or_default()))
            .buffered(READS)
            .try_collect()
            .await?;
        let mut left: Vec<(CellId, Dependencies)> = cells.into_iter().zip(written).collect();
        let mut ordered = Vec::new();
        while !left.is_empty() {
            let waits = |(cell, needs): &(CellId, Dependencies)| {
                let all = needs.all();
                left.iter().any(|(other, _)| other.node == cell.node && other != cell && all.contains(&other.cell))
            };
            // In a circle there is none: the publish of one of them says so.
            let next = left.iter().position(|cell| !waits(cell)).unwrap_or(0);
            ordered.push(left.remove(next).0);
        }
        Ok(ordered)
    }

    /// The same where they are to be stopped: those come first that depend on others of them.
    ///
    /// # Errors
    /// See [`ControllerError`].
    pub async fn in_order_to_stop(&self, mut cells: Vec<CellId>) -> Result<Vec<CellId>, ControllerError> {
        cells.reverse();
        let mut cells = self.in_order(cells).await?;
        cells.reverse();
        Ok(cells)
    }

    /// Refuses documents by which cells would depend on each other in a circle. `others` are manifests that are only in
    /// the bucket.
    pub(super) async fn check_written(
        &self,
        set: &Set,
        others: &BTreeMap<ManifestName, Written<Recipe>>,
    ) -> Result<(), ControllerError> {
        let mut nodes: BTreeMap<&NodeName, BTreeMap<CellName, Dependencies>> = BTreeMap::new();
        for (cell, binding) in &set.cells {
            let needs = set.dependencies(binding, others);
            nodes.entry(&cell.node).or_default().insert(cell.cell.clone(), needs);
        }
        for (node, mut needs) in nodes {
            let own: Vec<CellName> = needs.keys().cloned().collect();
            let mut ahead: Vec<CellName> = needs.values().flat_map(Dependencies::all).cloned().collect();
            while let Some(cell) = ahead.pop() {
                if needs.contains_key(&cell) {
                    continue;
                }
                let found = self.written_dependencies(&CellId::new(node.clone(), cell.clone())).await?;
                let found = found.unwrap_or_default();
                ahead.extend(found.all().into_iter().cloned());
                needs.insert(cell, found);
            }
            own.into_iter().try_for_each(|cell| refuse_circle(&CellId::new(node.clone(), cell), &needs))?;
        }
        Ok(())
    }

    /// What a cell depends on as it is written in the bucket; None if it is not there, or cannot be read.
    async fn written_dependencies(&self, cell: &CellId) -> Result<Option<Dependencies>, ControllerError> {
        let readable = |error: ControllerError| match error {
            ControllerError::NotFound { .. } | ControllerError::Recipe(_) | ControllerError::Invalid { .. } => Ok(None),
            error => Err(error),
        };
        let (binding, _) = match self.read_binding(cell).await {
            Ok(binding) => binding,
            Err(error) => return readable(error),
        };
        match self.read_recipe(&binding.manifest).await {
            Ok((recipe, _)) => Ok(Some(dependencies(&recipe, &binding))),
            Err(error) => readable(error),
        }
    }

    /// What the cells of a node are to do, as its index has it. What is not believed is passed over.
    async fn wished_actions(&self, node: &NodeName) -> Result<BTreeMap<CellName, Action>, ControllerError> {
        let key = ObjectKey::Index(node.clone());
        let Some(object) = self.store().find(&key, Index::MAX_BYTES).await? else { return Ok(BTreeMap::new()) };
        let index = match document::parse::<Index>(&object.bytes) {
            Ok(index) => index,
            Err(error) => {
                warn!(%key, %error, "an index that cannot be read is passed over");
                return Ok(BTreeMap::new());
            }
        };
        let wished = index.entries().filter_map(|(_, entry)| {
            let (cell, entry) = entry.ok()?;
            let trigger = self.believe(&key, &CellId::new(node.clone(), cell.clone()), entry.trigger_bytes()?).ok()?;
            Some((cell, trigger.action.clone()))
        });
        Ok(wished.collect())
    }

    /// What the version depends on that a cell is to run; nothing if it is to run none, or it is not there as it was signed.
    async fn wished_dependencies(
        &self,
        cell: &CellId,
        action: Option<&Action>,
    ) -> Result<Dependencies, ControllerError> {
        let Some(Action::Deploy(target)) = action else { return Ok(Dependencies::default()) };
        match self.pinned_manifest(cell, target).await {
            Ok(found) => Ok(found.map(|manifest| manifest.dependencies).unwrap_or_default()),
            Err(error @ (ControllerError::VersionTampered { .. } | ControllerError::Invalid { .. })) => {
                warn!(%cell, error = &error as &dyn std::error::Error, "what it depends on is not known");
                Ok(Dependencies::default())
            }
            Err(error) => Err(error),
        }
    }
}

/// Refuses a cell that would wait for itself.
fn refuse_circle(cell: &CellId, needs: &BTreeMap<CellName, Dependencies>) -> Result<(), ControllerError> {
    match circle(&cell.cell, |of| needs.get(of)) {
        None => Ok(()),
        Some(way) => {
            let way = way.into_iter().map(ToString::to_string).collect();
            Err(ControllerError::Circle { cell: cell.clone(), way })
        }
    }
}
