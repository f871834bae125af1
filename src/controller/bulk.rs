//! The same change to many cells: what it would come to for each of them, as things are.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::head::Head;
use super::inputs::READS;
use super::{Controller, ControllerError, Dependent, Guard, Known, PublishRequest};
use crate::model::trigger::Action;
use crate::model::users::Role;
use crate::model::{CellId, Sha256Digest, VersionName};
use crate::store::{ETag, in_full};

/// What is done to each of many cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    /// Publish what its inputs give now, with the newest release.
    Publish,
    /// Deploy the same version once more, which starts what was stopped.
    Redeploy,
    /// Stop it; its files stay.
    Stop,
    /// Keep new versions away from it.
    Pause,
    /// End a pause.
    Resume,
}

impl BulkAction {
    /// Every action, the most frequent first.
    pub const ALL: [Self; 5] = [Self::Redeploy, Self::Publish, Self::Stop, Self::Pause, Self::Resume];

    /// Its word, which is also the verb on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Redeploy => "redeploy",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }

    /// The role that it takes on each cell.
    #[must_use]
    pub fn needs(self) -> Role {
        match self {
            Self::Publish => Role::Editor,
            Self::Redeploy | Self::Stop | Self::Pause | Self::Resume => Role::Operator,
        }
    }

    /// Whether a trigger comes of it, which a node carries out.
    #[must_use]
    pub fn is_order(self) -> bool {
        matches!(self, Self::Publish | Self::Redeploy | Self::Stop)
    }
}

/// A cell that is to be changed, and what was seen of it: it is left alone if it is no longer so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkCell {
    /// Which.
    pub cell: CellId,
    /// The generation that it is at: 0 = never published.
    pub if_generation: u64,
    /// For a publish: the content that must come of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub expect: Option<Sha256Digest>,
    /// For a pause and its end: the ETag of the cell's document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

impl BulkCell {
    fn new(cell: &CellId, head: &Head) -> Self {
        Self { cell: cell.clone(), if_generation: generation(head), expect: None, etag: None }
    }

    /// The guard of a trigger.
    #[must_use]
    pub fn guard(&self) -> Guard {
        Guard { if_generation: Some(self.if_generation), expect: self.expect }
    }

    /// What is known of the cell's document.
    #[must_use]
    pub fn known(&self) -> Known {
        self.etag.clone().map_or(Known::Anything, |etag| Known::Tag(ETag::from(etag)))
    }
}

/// What the change would come to for a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkStep {
    /// Which.
    pub cell: CellId,
    /// What would become of it.
    pub outlook: BulkOutlook,
}

/// What would become of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkOutlook {
    /// It is changed.
    Changes(BulkChange),
    /// It stays as it is.
    LeftOut {
        /// What programs compare.
        code: String,
        /// Why, for people.
        why: String,
    },
}

/// How a cell is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkChange {
    /// What must still be so when it is done.
    pub seen: BulkCell,
    /// The version that it is to run now, if one.
    pub from: Option<VersionName>,
    /// The version that it is to run then, if that has its name already.
    pub to: Option<VersionName>,
    /// What happens, as the end of a sentence.
    pub what: String,
    /// What should be looked at before it is done.
    pub notes: Vec<String>,
}

impl BulkStep {
    /// A cell that stays as it is.
    #[must_use]
    pub fn left_out(cell: CellId, code: &str, why: impl Into<String>) -> Self {
        Self { cell, outlook: BulkOutlook::LeftOut { code: code.to_owned(), why: why.into() } }
    }

    /// How it is changed, if it is.
    #[must_use]
    pub fn change(&self) -> Option<&BulkChange> {
        match &self.outlook {
            BulkOutlook::Changes(change) => Some(change),
            BulkOutlook::LeftOut { .. } => None,
        }
    }
}

/// Why a cell is left out.
struct LeftOut(&'static str, String);

impl LeftOut {
    fn never_published() -> Self {
        Self("never_published", "nothing was published to it yet".to_owned())
    }

    fn removed() -> Self {
        Self("removed", "it was removed from its node; publish it by itself to bring it back".to_owned())
    }

    fn paused(reason: &str) -> Self {
        Self("paused", format!("it is paused: {reason}"))
    }

    fn so_already(why: &str) -> Self {
        Self("unchanged", why.to_owned())
    }
}

type Looked = Result<Result<BulkChange, LeftOut>, ControllerError>;

impl Controller {
    /// What `action` would come to for each of these cells, in the order in which it is done: those first that others
    /// depend on, and to stop them last. Of other cells only those are told of that `sees` accepts.
    ///
    /// # Errors
    /// Why the store did not answer. What keeps one cell from being changed is part of the answer.
    pub async fn bulk_steps(
        &self,
        action: BulkAction,
        cells: BTreeSet<CellId>,
        sees: impl Fn(&CellId) -> bool + Send + Sync,
    ) -> Result<Vec<BulkStep>, ControllerError> {
        let cells = self.bulk_order(action, cells.into_iter().collect()).await?;
        let mut steps: Vec<BulkStep> = stream::iter(cells)
            .map(async |cell| self.bulk_step(action, cell, &sees).await)
            .buffered(READS)
            .try_collect()
            .await?;
        if action == BulkAction::Stop {
            self.note_dependents(&mut steps, sees).await?;
        }
        Ok(steps)
    }

    /// Cells in the order in which `action` is done to them.
    ///
    /// # Errors
    /// See [`ControllerError`].
    pub async fn bulk_order(&self, action: BulkAction, cells: Vec<CellId>) -> Result<Vec<CellId>, ControllerError> {
        match action {
            BulkAction::Publish | BulkAction::Redeploy => self.in_order(cells).await,
            BulkAction::Stop => self.in_order_to_stop(cells).await,
            BulkAction::Pause | BulkAction::Resume => Ok(cells),
        }
    }

    /// Refuses a cell that is at another generation than was seen. For changes that are no triggers, and so have no
    /// such guard of their own.
    ///
    /// # Errors
    /// [`ControllerError::Guard`].
    pub async fn check_seen(&self, seen: &BulkCell) -> Result<(), ControllerError> {
        seen.guard().check_generation(&seen.cell, &self.head(&seen.cell).await?)
    }

    async fn bulk_step(
        &self,
        action: BulkAction,
        cell: CellId,
        sees: &(impl Fn(&CellId) -> bool + Send + Sync),
    ) -> Result<BulkStep, ControllerError> {
        let looked = match action {
            BulkAction::Publish => self.look_at_publish(&cell).await,
            BulkAction::Redeploy => self.look_at_redeploy(&cell).await,
            BulkAction::Stop => self.look_at_stop(&cell).await,
            BulkAction::Pause => self.look_at_pause(&cell).await,
            BulkAction::Resume => self.look_at_resume(&cell).await,
        };
        Ok(match looked {
            Ok(Ok(change)) => BulkStep { cell, outlook: BulkOutlook::Changes(change) },
            Ok(Err(LeftOut(code, why))) => BulkStep::left_out(cell, code, why),
            Err(error @ ControllerError::Store(_)) => return Err(error),
            Err(error) => BulkStep::left_out(cell, error.code(), in_full(&error.told_to(sees))),
        })
    }

    async fn look_at_publish(&self, cell: &CellId) -> Looked {
        let plan = self.plan(&PublishRequest::new(cell.clone())).await?;
        let desires = |action: &Action| plan.current.as_ref().is_some_and(|claim| claim.action == action.name());
        if let Some(reason) = &plan.paused {
            return Ok(Err(LeftOut::paused(reason)));
        }
        if desires(&Action::Remove) {
            return Ok(Err(LeftOut::removed()));
        }
        if !plan.is_needed {
            return Ok(Err(LeftOut::so_already("it is to run exactly this already")));
        }
        let starts = desires(&Action::Stop).then(|| "it is stopped, and this starts it".to_owned());
        let waits = plan.forecast.waits.iter().filter(|wait| wait.is_now).map(|wait| wait.message.clone());
        let refusal = plan.forecast.refusal.iter().map(|why| format!("its node will refuse it: {why}"));
        let warnings = plan.warnings.iter().map(ToString::to_string);
        let notes = starts.into_iter().chain(waits).chain(refusal).chain(warnings).collect();
        Ok(Ok(BulkChange {
            seen: BulkCell {
                cell: cell.clone(),
                if_generation: plan.generation,
                expect: Some(plan.content_sha256),
                etag: None,
            },
            from: plan.current.as_ref().and_then(|claim| claim.version.clone()),
            to: plan.version.exists.then(|| plan.version.name.clone()),
            what: plan.forecast.comes_of(&plan.changes),
            notes,
        }))
    }

    async fn look_at_redeploy(&self, cell: &CellId) -> Looked {
        let head = self.head(cell).await?;
        let (binding, _) = self.read_binding(cell).await?;
        if let Some(paused) = &binding.paused {
            return Ok(Err(LeftOut::paused(&paused.reason)));
        }
        let Some(newest) = &head.newest else { return Ok(Err(LeftOut::never_published())) };
        let (from, to, what) = match &newest.action {
            Action::Deploy(target) => {
                let version = Some(target.version.clone());
                (version.clone(), version, "is deployed once more, which restarts it")
            }
            Action::Stop => match self.newest_target(cell, |_| true).await? {
                Some(target) => (None, Some(target.version), "is stopped, and is started"),
                None => return Ok(Err(LeftOut::never_published())),
            },
            Action::Remove => return Ok(Err(LeftOut::removed())),
            Action::Unknown(action) => return Ok(Err(unknown(action))),
        };
        Ok(Ok(BulkChange { seen: BulkCell::new(cell, &head), from, to, what: what.to_owned(), notes: Vec::new() }))
    }

    async fn look_at_stop(&self, cell: &CellId) -> Looked {
        let head = self.head(cell).await?;
        let Some(newest) = &head.newest else { return Ok(Err(LeftOut::never_published())) };
        let from = match &newest.action {
            Action::Deploy(target) => Some(target.version.clone()),
            Action::Stop => return Ok(Err(LeftOut::so_already("it is stopped already"))),
            Action::Remove => return Ok(Err(LeftOut::so_already("it is removed, which stops it, too"))),
            Action::Unknown(action) => return Ok(Err(unknown(action))),
        };
        let what = "is stopped and stays down, also when its node boots".to_owned();
        Ok(Ok(BulkChange { seen: BulkCell::new(cell, &head), from, to: None, what, notes: Vec::new() }))
    }

    async fn look_at_pause(&self, cell: &CellId) -> Looked {
        let (seen, from, paused) = self.look_at_document(cell).await?;
        if let Some(reason) = paused {
            return Ok(Err(LeftOut::so_already(&format!("it is paused already: {reason}"))));
        }
        let what = "is kept from new versions until it is resumed; what runs goes on".to_owned();
        Ok(Ok(BulkChange { seen, to: from.clone(), from, what, notes: Vec::new() }))
    }

    async fn look_at_resume(&self, cell: &CellId) -> Looked {
        let (seen, from, paused) = self.look_at_document(cell).await?;
        let Some(reason) = paused else { return Ok(Err(LeftOut::so_already("it is not paused"))) };
        let what = format!("can be published to again; it was paused: {reason}");
        Ok(Ok(BulkChange { seen, to: from.clone(), from, what, notes: Vec::new() }))
    }

    /// A cell whose document is to be changed, the version that it is to run, and why it is paused.
    async fn look_at_document(
        &self,
        cell: &CellId,
    ) -> Result<(BulkCell, Option<VersionName>, Option<String>), ControllerError> {
        let head = self.head(cell).await?;
        let (binding, etag) = self.read_binding(cell).await?;
        let target = head.newest.as_ref().and_then(|newest| newest.action.target());
        let from = target.map(|target| target.version.clone());
        let seen = BulkCell { etag: Some(etag.as_str().to_owned()), ..BulkCell::new(cell, &head) };
        Ok((seen, from, binding.paused.as_ref().map(|paused| paused.reason.clone())))
    }

    /// Says of each cell that is to be stopped what becomes of those that depend on it and are not stopped with it.
    async fn note_dependents(
        &self,
        steps: &mut [BulkStep],
        sees: impl Fn(&CellId) -> bool,
    ) -> Result<(), ControllerError> {
        let stopped: Vec<CellId> =
            steps.iter().filter(|step| step.change().is_some()).map(|step| step.cell.clone()).collect();
        let found: BTreeMap<CellId, Vec<Dependent>> = self.dependents_of_all(&stopped).await?;
        for step in steps {
            let BulkOutlook::Changes(change) = &mut step.outlook else { continue };
            let found = found.get(&step.cell).into_iter().flatten();
            let left = found.filter(|other| !stopped.contains(&other.cell) && sees(&other.cell));
            change.notes.extend(left.map(|other| other.words(&step.cell)));
        }
        Ok(())
    }
}

fn unknown(action: &str) -> LeftOut {
    LeftOut("unsupported", format!("its newest trigger says {action:?}, which this version does not know"))
}

fn generation(head: &Head) -> u64 {
    head.at().map_or(0, |at| at.generation.get())
}
