//! What goes from the bucket because the request does not have it.
//!
//! Who owns a document is written in it: a label. So a document and its owner never come apart, whoever applies; what
//! carries no such label is nobody's to prune, and neither are documents that cannot be read.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{ApplyPlan, ApplyStep, ApplyTarget, Known, StepGuard, StepHow};
use crate::controller::inputs::READS;
use crate::controller::{Controller, ControllerError};
use crate::model::{CellId, ManifestName};
use crate::recipe::Written;
use crate::recipe::written::{Binding, Recipe};
use crate::store::ETag;

/// What may go, and how much of it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prune {
    /// The labels by which documents are known to belong to the request. Each of its own must carry them.
    pub labels: BTreeMap<String, String>,
    /// How many objects may go at most.
    pub most: usize,
    /// Which part of what belongs to the request may go at most, in percent.
    pub most_percent: u8,
    /// Whether cells that were published are removed from their nodes.
    pub remove_running: bool,
}

/// A cell that is in the bucket and not in the request.
struct Stranger {
    cell: CellId,
    /// The manifest that it is bound to; None if its document is gone or cannot be read.
    manifest: Option<ManifestName>,
    /// Whether its document is there and cannot be read.
    is_unreadable: bool,
    is_ours: bool,
}

impl Prune {
    fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Refuses a plan in which more goes than is allowed.
    pub(super) fn check(&self, writes: &[ApplyStep], pruned: &[ApplyStep]) -> Result<(), ControllerError> {
        let going = pruned.iter().filter(|step| step.how.is_prune()).count();
        let staying = writes.iter().filter(|step| step.how != StepHow::Create).count() + pruned.len() - going;
        let all = going + staying;
        let is_too_much = going > self.most || going * 100 > all * usize::from(self.most_percent);
        if !is_too_much {
            return Ok(());
        }
        Err(ControllerError::TooMuchPruned { going, all, most: self.most, most_percent: self.most_percent })
    }
}

impl Controller {
    /// What goes, in the order in which it goes; then what would go but is needed.
    pub(super) async fn plan_prune(&self, plan: &ApplyPlan, prune: &Prune) -> Result<Vec<ApplyStep>, ControllerError> {
        let set = &plan.request.set;
        set.check_labels(&prune.labels, &plan.others)?;
        let mut steps = Vec::new();
        for (cell, files) in &plan.request.overrides {
            let listed = self.list_override_tags(cell).await?;
            let strange = listed.into_iter().filter(|(path, _)| !files.contains_key(path));
            steps.extend(strange.map(|(path, listed)| delete(ApplyTarget::Override(cell.clone(), path), listed.etag)));
        }
        let recipes = self.strange_recipes(plan).await?;
        let labels_of = |manifest: &ManifestName| match set.manifests.get(manifest) {
            Some(recipe) => recipe.labels.clone(),
            None => recipes.get(manifest).map(|(recipe, _)| recipe.labels.clone()).unwrap_or_default(),
        };
        let cells = self.cell_ids().await?.into_iter().filter(|cell| !set.cells.contains_key(cell));
        let strangers: Vec<Stranger> = stream::iter(cells.collect::<Vec<_>>())
            .map(async |cell| self.stranger(cell, prune, &labels_of).await)
            .buffered(READS)
            .try_collect()
            .await?;
        let ours = strangers.iter().filter(|stranger| stranger.is_ours).map(|stranger| stranger.cell.clone());
        let mut gone = BTreeSet::new();
        for cell in self.in_order_to_stop(ours.collect()).await? {
            let step = self.prune_cell(&cell, prune).await?;
            if step.how == StepHow::Delete {
                gone.insert(cell);
            }
            steps.push(step);
        }
        let staying: Vec<&Stranger> = strangers.iter().filter(|stranger| !gone.contains(&stranger.cell)).collect();
        for (name, (recipe, etag)) in &recipes {
            if prune.fits(&recipe.labels) {
                let step = delete(ApplyTarget::Manifest(name.clone()), etag.clone());
                let by = self.needs_manifest(name, set.cells.values(), &staying).await?;
                steps.push(by.map_or(step.clone(), |by| ApplyStep { how: StepHow::Refused { by }, ..step }));
            }
        }
        // Nothing is done to these, whatever comes of the others.
        steps.sort_by_key(|step| matches!(step.how, StepHow::Refused { .. }));
        Ok(steps)
    }

    /// The manifests of the bucket that are not in the request, as far as they can be read.
    async fn strange_recipes(
        &self,
        plan: &ApplyPlan,
    ) -> Result<BTreeMap<ManifestName, (Written<Recipe>, ETag)>, ControllerError> {
        let listed = self.manifests().await?.into_iter().map(|view| view.name);
        let strange = listed.filter(|name| !plan.request.set.manifests.contains_key(name));
        let read = stream::iter(strange.collect::<Vec<_>>()).map(async |name| match self.read_recipe(&name).await {
            Ok(found) => Ok(Some((name, found))),
            Err(error) if is_unreadable(&error) => Ok(None),
            Err(error) => Err(error),
        });
        read.buffered(READS).try_filter_map(async |found| Ok(found)).try_collect().await
    }

    async fn stranger(
        &self,
        cell: CellId,
        prune: &Prune,
        labels_of: &impl Fn(&ManifestName) -> BTreeMap<String, String>,
    ) -> Result<Stranger, ControllerError> {
        let (manifest, is_unreadable, is_ours) = match self.read_binding(&cell).await {
            Ok((binding, _)) => {
                let mut labels = labels_of(&binding.manifest);
                labels.extend(binding.labels.clone());
                (Some(binding.manifest.clone()), false, prune.fits(&labels))
            }
            // Its deletion was begun: the document goes first, and what views show of it last.
            Err(ControllerError::NotFound { .. }) => {
                let about = self.about(&cell).await?;
                (None, false, about.is_some_and(|about| prune.fits(&about.labels)))
            }
            Err(error) if is_unreadable(&error) => (None, true, false),
            Err(error) => return Err(error),
        };
        Ok(Stranger { cell, manifest, is_unreadable, is_ours })
    }

    async fn prune_cell(&self, cell: &CellId, prune: &Prune) -> Result<ApplyStep, ControllerError> {
        let head = self.head(cell).await?;
        let generation = head.at().map_or(0, |at| at.generation.get());
        let is_published = head.newest.is_some() && !head.is_removed();
        let how = match self.keeps_cell(cell, &head).await? {
            None => StepHow::Delete,
            Some(_) if is_published && prune.remove_running => StepHow::Remove,
            Some(by) => StepHow::Refused { by },
        };
        Ok(ApplyStep::new(ApplyTarget::Cell(cell.clone()), how, StepGuard::Generation(generation)))
    }

    /// Why a manifest cannot go, if it cannot.
    async fn needs_manifest<'a>(
        &self,
        name: &ManifestName,
        mut wanted: impl Iterator<Item = &'a Written<Binding>>,
        staying: &[&Stranger],
    ) -> Result<Option<String>, ControllerError> {
        let made_from_it = |cell: &CellId| format!("cell {cell} is made from it");
        if let Some(binding) = wanted.find(|binding| binding.manifest == *name) {
            return Ok(Some(made_from_it(&binding.cell)));
        }
        if let Some(stranger) = staying.iter().find(|stranger| stranger.manifest.as_ref() == Some(name)) {
            return Ok(Some(made_from_it(&stranger.cell)));
        }
        if let Some(stranger) = staying.iter().find(|stranger| stranger.is_unreadable) {
            return Ok(Some(format!("cell {} cannot be read and may be made from it", stranger.cell)));
        }
        let deployments = self.deployment_names(name).await?;
        Ok(deployments.first().map(|deployment| format!("it has releases, such as {deployment}; delete them first")))
    }
}

fn delete(target: ApplyTarget, etag: ETag) -> ApplyStep {
    ApplyStep::new(target, StepHow::Delete, StepGuard::Bytes(Known::Tag(etag)))
}

/// A document that is there and makes no sense.
fn is_unreadable(error: &ControllerError) -> bool {
    matches!(error, ControllerError::Recipe(_) | ControllerError::Invalid { .. }) || error.is_unreadable()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(how: &StepHow, count: usize) -> Vec<ApplyStep> {
        let step = |number| {
            let target = ApplyTarget::Manifest(ManifestName::new(format!("m{number}")).unwrap());
            ApplyStep::new(target, how.clone(), StepGuard::Bytes(Known::Anything))
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn not_more_goes_than_the_count_and_the_share_allow() {
        let prune = Prune { labels: BTreeMap::new(), most: 3, most_percent: 50, remove_running: false };
        let goes = |kept, pruned| prune.check(&steps(&StepHow::Unchanged, kept), &steps(&StepHow::Delete, pruned));
        assert!(goes(3, 3).is_ok());
        assert!(goes(2, 3).is_err(), "more than half");
        assert!(goes(100, 4).is_err(), "more than three");
        assert!(goes(0, 0).is_ok());
        let created = steps(&StepHow::Create, 100);
        assert!(prune.check(&created, &steps(&StepHow::Remove, 1)).is_err(), "what is new does not outweigh what goes");
        let refused = steps(&StepHow::Refused { by: String::new() }, 9);
        assert!(prune.check(&[], &refused).is_ok(), "what is refused does not go");
    }
}
