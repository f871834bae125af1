//! Publishing what the inputs of a cell give, and running again what is desired already.

use super::claim::Order;
use super::error::Claim;
use super::head::Head;
use super::snapshot::Snapshot;
use super::{Controller, ControllerError, Published};
use crate::model::trigger::{Action, Target, TriggerOptions};
use crate::model::{CellId, DeploymentName, ObjectKey, Sha256Digest, VersionName};

/// How often everything is begun again because an input changed meanwhile.
const ROUNDS: usize = 4;

/// What is to be published.
#[derive(Debug, Clone)]
pub struct PublishRequest {
    /// To which cell.
    pub cell: CellId,
    /// The release; the newest of the manifest if absent.
    pub deployment: Option<DeploymentName>,
    /// The version's name; if absent, that of the newest version with the same content, or a generated one.
    pub version: Option<VersionName>,
    /// What its maker says about the version.
    pub note: Option<String>,
    /// Why it is published.
    pub reason: Option<String>,
    /// How it is to be carried out.
    pub options: TriggerOptions,
}

impl PublishRequest {
    /// The newest release, under a generated name.
    #[must_use]
    pub fn new(cell: CellId) -> Self {
        let options = TriggerOptions::default();
        Self { cell, deployment: None, version: None, note: None, reason: None, options }
    }
}

/// What must be so for a change to be made: what the caller saw when it was decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guard {
    /// The generation that the cell must be at; 0 = it was never published.
    pub if_generation: Option<u64>,
    /// What the version must be.
    pub expect: Option<Sha256Digest>,
}

impl Guard {
    pub(super) fn check_generation(&self, cell: &CellId, head: &Head) -> Result<(), ControllerError> {
        let found = head.at().map_or(0, |at| at.generation.get());
        match self.if_generation {
            Some(expected) if expected != found => Err(ControllerError::Guard {
                cell: cell.clone(),
                expected: format!("generation {expected}"),
                found: head
                    .newest
                    .as_ref()
                    .map_or("nothing published".to_owned(), |newest| Claim::from(newest).to_string()),
            }),
            _ => Ok(()),
        }
    }

    fn check_content(&self, cell: &CellId, found: Sha256Digest) -> Result<(), ControllerError> {
        match self.expect {
            Some(expected) if expected != found => Err(ControllerError::Guard {
                cell: cell.clone(),
                expected: format!("content {expected}"),
                found: format!("content {found}"),
            }),
            _ => Ok(()),
        }
    }
}

impl Controller {
    /// Makes a version from the cell's inputs, if there is none of this content yet, and desires it. The same command
    /// again after a crash finishes the work, once; when the cell is at it already, nothing is written.
    ///
    /// # Errors
    /// See [`ControllerError`].
    pub async fn publish(&self, request: &PublishRequest, guard: &Guard) -> Result<Published, ControllerError> {
        for _ in 0..ROUNDS {
            if let Some(published) = self.try_publish(request, guard).await? {
                return Ok(published);
            }
        }
        Err(ControllerError::InputsMoving { cell: request.cell.clone() })
    }

    /// None when an input changed meanwhile.
    async fn try_publish(&self, request: &PublishRequest, guard: &Guard) -> Result<Option<Published>, ControllerError> {
        let cell = &request.cell;
        let head = self.head(cell).await?;
        let inputs = self.read_inputs(cell, request.deployment.as_ref()).await?;
        inputs.refuse_paused()?;
        let Some(snapshot) = self.snapshot(&inputs).await? else { return Ok(None) };
        guard.check_content(cell, snapshot.content())?;
        // Before the guard, so that a command that was interrupted after its claim can be repeated as it was.
        if let Some(newest) = &head.newest
            && let Some(target) = newest.action.target()
            && is_asked_for(target, &snapshot, request)
            && newest.options == request.options
        {
            return self.settle(&head, newest).await.map(Some);
        }
        guard.check_generation(cell, &head)?;
        head.next(cell, self.epoch())?;
        let missing = self.check_dependencies(snapshot.nameless()).await?;
        let (name, _) = self.choose_name(&snapshot, request.version.as_ref()).await?;

        // The files first: they may take long, and nobody has to wait for them.
        let existing = self.stage_version(&snapshot, &name).await?;
        let mut turn = self.take_turn(cell).await?;
        let published = async {
            let target = match existing {
                Some(target) => Some(target),
                None => {
                    let note = request.note.as_deref();
                    self.commit_version(&inputs, &snapshot, &name, note, &mut turn).await?
                }
            };
            let Some(target) = target else { return Ok(None) };
            turn.keep().await?;
            self.refuse_marked(cell, &name).await?;
            if !self.are_unchanged(&inputs).await? {
                return Ok(None);
            }
            let (action, options, reason) = (Action::Deploy(target), request.options, request.reason.clone());
            let order = Order { verb: "publish", action, options, reason };
            let mut published = self.claim(cell, &head, &order, &mut turn).await?;
            published.warnings.extend(missing);
            Ok(Some(published))
        }
        .await;
        turn.end().await;
        published
    }

    /// Desires once more what was desired last, which restarts it, and starts what was stopped.
    ///
    /// # Errors
    /// See [`ControllerError`].
    pub async fn redeploy(
        &self,
        cell: &CellId,
        options: TriggerOptions,
        reason: Option<String>,
        guard: &Guard,
    ) -> Result<Published, ControllerError> {
        let head = self.head(cell).await?;
        let binding = self.unpaused_binding(cell).await?;
        let Some(newest) = &head.newest else { return Err(never_published(cell)) };
        let target = match &newest.action {
            Action::Deploy(target) => {
                // The same command was interrupted after its claim.
                if newest.options == options && !self.is_finished(&head).await? {
                    return self.settle(&head, newest).await;
                }
                target.clone()
            }
            Action::Stop => {
                let stopped = self.newest_target(cell, |_| true).await?;
                stopped.ok_or_else(|| never_published(cell))?
            }
            other => {
                let help = format!("the newest trigger says {}; publish it instead", other.name());
                return Err(ControllerError::not_found(format!("a version of {cell} to run again"), help));
            }
        };
        guard.check_generation(cell, &head)?;
        let order = Order { verb: "redeploy", action: Action::Deploy(target.clone()), options, reason };
        self.claim_pinned(cell, &head, &order, &target, &binding).await
    }

    /// Claims a version that was published before: its bytes must still be those of verified history.
    pub(super) async fn claim_pinned(
        &self,
        cell: &CellId,
        head: &Head,
        order: &Order,
        target: &Target,
        binding: &crate::store::ETag,
    ) -> Result<Published, ControllerError> {
        self.check_pinned(cell, target).await?;
        let mut turn = self.take_turn(cell).await?;
        let published = async {
            // It may have been marked, or the cell paused, while the files were looked at or the turn was waited for.
            self.refuse_marked(cell, &target.version).await?;
            if self.unpaused_binding(cell).await? != *binding {
                return Err(ControllerError::Changed { what: ObjectKey::CellYaml(cell.clone()).to_string() });
            }
            self.claim(cell, head, order, &mut turn).await
        }
        .await;
        turn.end().await;
        published
    }

    /// The tag of a cell's document, if the cell is not paused.
    pub(super) async fn unpaused_binding(&self, cell: &CellId) -> Result<crate::store::ETag, ControllerError> {
        let (binding, etag) = self.read_binding(cell).await?;
        super::inputs::refuse_paused(cell, &binding)?;
        Ok(etag)
    }
}

/// Whether a desired version is what would be published.
fn is_asked_for(target: &Target, snapshot: &Snapshot, request: &PublishRequest) -> bool {
    target.content_sha256 == snapshot.content()
        && request.version.as_ref().is_none_or(|version| *version == target.version)
}

pub(super) fn never_published(cell: &CellId) -> ControllerError {
    ControllerError::not_found(cell, "nothing was published to it yet")
}
