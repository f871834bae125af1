//! Many documents and files as one change: planned whole, then written one by one.
//!
//! A bucket has no transactions. What stands for one here: everything is read and checked before the first write; each
//! write is bound to what was read; manifests come before the cells that name them, and a cell's own files before the
//! cell, so that nothing names what is not there; what goes comes last, cells before their manifests. After a crash
//! the same request does what is left.

mod files;
mod prune;
mod report;
mod step;

use std::collections::BTreeMap;
use std::fmt;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

pub use self::files::LocalFile;
pub use self::prune::Prune;
pub use self::report::{ApplyLine, ApplySummary};
pub use self::step::{Collision, Stepped};
use super::documents::Known;
use super::inputs::{ListedOverride, READS};
use super::{Applied, AppliedHow, Controller, ControllerError};
use crate::model::{CellId, FilePath, ManifestName, ObjectKey, Sha256Digest};
use crate::recipe::written::Recipe;
use crate::recipe::{Parsed, Set, Written, render};
use crate::yaml;

/// What is to be in the bucket.
#[derive(Debug, Clone, Default)]
pub struct ApplyRequest {
    /// Manifests and cells.
    pub set: Set,
    /// The own files of cells of the set. Of a cell that is not here nothing is said.
    pub overrides: BTreeMap<CellId, BTreeMap<FilePath, LocalFile>>,
    /// What goes that is not in the request; nothing if absent.
    pub prune: Option<Prune>,
}

/// What a request comes to, worked out before anything is written.
#[derive(Debug, Clone)]
pub struct ApplyPlan {
    request: ApplyRequest,
    /// Manifests that cells of the set are bound to and that are only in the bucket.
    others: BTreeMap<ManifestName, Written<Recipe>>,
    steps: Vec<ApplyStep>,
}

/// What is done to one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplyStep {
    /// Which.
    pub target: ApplyTarget,
    /// What is done.
    pub how: StepHow,
    /// What was there when the plan was made; of an override of another size only that it was there.
    pub before: Option<Sha256Digest>,
    /// What is to be there.
    pub after: Option<Sha256Digest>,
    /// What must still be so when it is done.
    guard: StepGuard,
}

/// What an [`ApplyStep`] is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApplyTarget {
    /// A manifest.
    Manifest(ManifestName),
    /// A cell.
    Cell(CellId),
    /// A file of a cell's own.
    Override(CellId, FilePath),
}

/// What is done to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepHow {
    /// There is none yet.
    Create,
    /// Other bytes are there.
    Change,
    /// It is there, byte for byte.
    Unchanged,
    /// It is not in the request and is deleted.
    Delete,
    /// A cell that is not in the request is removed from its node; the same request deletes it once its node has done
    /// that.
    Remove,
    /// It is not in the request, but somebody needs it.
    Refused {
        /// Who, in words.
        by: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum StepGuard {
    /// The bytes.
    Bytes(Known),
    /// The generation of the cell.
    Generation(u64),
}

impl ApplyTarget {
    /// The object.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Manifest(name) => ObjectKey::ManifestYaml(name.clone()),
            Self::Cell(cell) => ObjectKey::CellYaml(cell.clone()),
            Self::Override(cell, path) => ObjectKey::Override(cell.clone(), path.clone()),
        }
    }

    fn most_bytes(&self) -> u64 {
        match self {
            Self::Manifest(_) | Self::Cell(_) => yaml::MAX_BYTES as u64,
            Self::Override(..) => render::MAX_BYTES as u64,
        }
    }
}

impl fmt::Display for ApplyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key().fmt(f)
    }
}

impl StepHow {
    /// Whether something is written or deleted.
    #[must_use]
    pub fn is_change(&self) -> bool {
        !matches!(self, Self::Unchanged | Self::Refused { .. })
    }

    /// Whether something goes.
    #[must_use]
    pub fn is_prune(&self) -> bool {
        matches!(self, Self::Delete | Self::Remove)
    }
}

impl ApplyStep {
    fn new(target: ApplyTarget, how: StepHow, guard: StepGuard) -> Self {
        Self { target, how, before: None, after: None, guard }
    }

    /// What a file becomes whose bytes have this digest, where `found` is what is there.
    fn write(target: ApplyTarget, after: Sha256Digest, found: Found) -> Self {
        let (how, before, known) = match found {
            Found::Nothing => (StepHow::Create, None, Known::Absent),
            Found::Bytes(digest, etag) if digest == Some(after) => (StepHow::Unchanged, digest, Known::Tag(etag)),
            Found::Bytes(digest, etag) => (StepHow::Change, digest, Known::Tag(etag)),
        };
        Self { before, after: Some(after), ..Self::new(target, how, StepGuard::Bytes(known)) }
    }
}

/// What is at a key.
enum Found {
    Nothing,
    /// Bytes with this digest, if they were read.
    Bytes(Option<Sha256Digest>, crate::store::ETag),
}

impl ApplyPlan {
    /// What is done, in this order.
    #[must_use]
    pub fn steps(&self) -> &[ApplyStep] {
        &self.steps
    }
}

impl Controller {
    /// Writes manifests and cells as one change; see [`plan_apply`](Self::plan_apply). The same documents again change
    /// nothing.
    ///
    /// # Errors
    /// When a document is there twice or does not fit the others, or why a write was refused.
    pub async fn apply(&self, documents: Vec<Parsed>) -> Result<Vec<Applied>, ControllerError> {
        let request = ApplyRequest { set: Set::of(documents)?, ..ApplyRequest::default() };
        let plan = self.plan_apply(request).await?;
        let mut applied = Vec::new();
        for step in plan.steps() {
            // Without pruning every step writes.
            if let Stepped::Written(how) = self.apply_step(&plan, step).await? {
                applied.push(Applied { what: step.target.to_string(), how });
            }
        }
        Ok(applied)
    }

    /// Works out what a request comes to. Nothing is written.
    ///
    /// # Errors
    /// [`ControllerError::Recipe`] with the place of everything that does not fit together,
    /// [`ControllerError::TooMuchPruned`] when more would go than is allowed, or why the store did not answer.
    pub async fn plan_apply(&self, mut request: ApplyRequest) -> Result<ApplyPlan, ControllerError> {
        let mut others = BTreeMap::new();
        for name in request.set.missing() {
            match self.read_recipe(name).await {
                Ok((recipe, _)) => drop(others.insert(name.clone(), recipe)),
                Err(ControllerError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        request.set.check(&others)?;
        self.check_written(&request.set, &others).await?;
        for binding in request.set.cells.values_mut() {
            self.keep_pause(binding).await?;
        }
        let mut plan = ApplyPlan { request, others, steps: Vec::new() };
        plan.steps = self.plan_writes(&plan.request).await?;
        if let Some(prune) = &plan.request.prune {
            let pruned = self.plan_prune(&plan, prune).await?;
            prune.check(&plan.steps, &pruned)?;
            plan.steps.extend(pruned);
        }
        Ok(plan)
    }

    async fn plan_writes(&self, request: &ApplyRequest) -> Result<Vec<ApplyStep>, ControllerError> {
        let digest = |text: &str| Sha256Digest::of(text.as_bytes());
        let manifests = request.set.manifests.iter();
        let manifests = manifests.map(|(name, recipe)| (ApplyTarget::Manifest(name.clone()), digest(recipe.text())));
        let mut steps = self.plan_texts(manifests.collect()).await?;
        let cells = request.set.cells.iter();
        let cells = cells.map(|(cell, binding)| (ApplyTarget::Cell(cell.clone()), digest(binding.text())));
        for step in self.plan_texts(cells.collect()).await? {
            if let ApplyTarget::Cell(cell) = &step.target
                && let Some(files) = request.overrides.get(cell)
            {
                let listed = self.list_override_tags(cell).await?;
                steps.extend(self.plan_overrides(cell, files, &listed).await?);
            }
            steps.push(step);
        }
        Ok(steps)
    }

    async fn plan_texts(&self, texts: Vec<(ApplyTarget, Sha256Digest)>) -> Result<Vec<ApplyStep>, ControllerError> {
        stream::iter(texts)
            .map(async |(target, wanted)| {
                let found = match self.store().find(&target.key(), target.most_bytes()).await? {
                    Some(object) => Found::Bytes(Some(Sha256Digest::of(&object.bytes)), object.etag),
                    None => Found::Nothing,
                };
                Ok(ApplyStep::write(target, wanted, found))
            })
            .buffered(READS)
            .try_collect()
            .await
    }

    /// Bytes are only read where their number does not tell already that they differ.
    async fn plan_overrides(
        &self,
        cell: &CellId,
        files: &BTreeMap<FilePath, LocalFile>,
        listed: &BTreeMap<FilePath, ListedOverride>,
    ) -> Result<Vec<ApplyStep>, ControllerError> {
        let files: Vec<(FilePath, LocalFile)> = files.iter().map(|(path, file)| (path.clone(), file.clone())).collect();
        stream::iter(files)
            .map(async |(path, file)| {
                let target = ApplyTarget::Override(cell.clone(), path.clone());
                let found = match listed.get(&path) {
                    None => Found::Nothing,
                    Some(there) if there.size != file.size => Found::Bytes(None, there.etag.clone()),
                    Some(_) => match self.facts(&target.key(), target.most_bytes()).await? {
                        Some(facts) => Found::Bytes(facts.sha256, facts.etag),
                        None => Found::Nothing,
                    },
                };
                Ok(ApplyStep::write(target, file.sha256, found))
            })
            .buffered(READS)
            .try_collect()
            .await
    }
}

impl AppliedHow {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        }
    }
}
