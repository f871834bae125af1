//! What a publish would change, without writing anything.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::diff::Changes;
use super::error::Claim;
use super::forecast::Forecast;
use super::head::{Head, Next};
use super::publish::PublishRequest;
use super::texts::Side;
use super::{Controller, ControllerError, Warning};
use crate::model::manifest::Manifest;
use crate::model::trigger::{Action, Target};
use crate::model::{CellId, DeploymentName, ManifestName, Sha256Digest, VersionName};
use crate::store::ETag;

/// What a publish would change.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The cell.
    pub cell: CellId,
    /// The recipe.
    pub manifest: ManifestName,
    /// The release, if one is used.
    pub deployment: Option<DeploymentName>,
    /// What the cell is to be now.
    pub current: Option<Claim>,
    /// The generation that this was made on, for [`Guard::if_generation`](super::Guard): 0 = never published.
    pub generation: u64,
    /// The version that would be desired.
    pub version: PlannedVersion,
    /// What it is, for [`Guard::expect`](super::Guard).
    pub content_sha256: Sha256Digest,
    /// What it would be made from: each object by its key, with the store's name for its bytes.
    pub inputs: BTreeMap<String, ETag>,
    /// What differs from the version that was desired last.
    pub changes: Changes,
    /// What the cell's node will do with it.
    pub forecast: Forecast,
    /// Whether there is anything to publish.
    pub is_needed: bool,
    /// Why nothing can be published at present, if the cell is paused.
    pub paused: Option<String>,
    /// What should be looked at.
    pub warnings: Vec<Warning>,
}

/// The version that would be desired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedVersion {
    /// Its name. A generated one has the time of its making, so a new version will have a later one.
    pub name: VersionName,
    /// Whether it is there already.
    pub exists: bool,
    /// How many files it has.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
}

impl Plan {
    /// Whether anything that runs would be stopped or started anew.
    #[must_use]
    pub fn restarts(&self) -> bool {
        self.is_needed && self.forecast.restarts()
    }

    /// In one line what is published and what comes of it.
    #[must_use]
    pub fn summary(&self) -> String {
        match self.is_needed {
            true => self.forecast.summary(&self.changes),
            false => "0 cells to publish".to_owned(),
        }
    }
}

impl Controller {
    /// Works out what [`Self::publish`] would do.
    ///
    /// # Errors
    /// Whatever would keep it from being published, but for a pause, which is part of the plan.
    pub async fn plan(&self, request: &PublishRequest) -> Result<Plan, ControllerError> {
        let cell = &request.cell;
        let head = self.head(cell).await?;
        let inputs = self.read_inputs(cell, request.deployment.as_ref()).await?;
        let Some(snapshot) = self.snapshot(&inputs).await? else {
            return Err(ControllerError::InputsMoving { cell: cell.clone() });
        };
        let Next { implausible, .. } = head.next(cell, self.epoch())?;
        let (name, exists) = self.choose_name(&snapshot, request.version.as_ref()).await?;
        if exists && let Some(found) = self.find_manifest(cell, &name).await? {
            self.check_existing(&snapshot, &name, &found).await?;
        }
        let last = self.last_version(cell, &head).await?;
        let before = last.as_ref().map_or(Side::Nothing, Side::Version);
        let changes = self.changes(before, Side::Inputs(&snapshot)).await?;
        let desired = head.newest.as_ref().and_then(|newest| newest.action.target());
        let is_same = desired.is_some_and(|target| {
            target.content_sha256 == snapshot.content()
                && request.version.as_ref().is_none_or(|version| *version == target.version)
        });
        let same_options = head.newest.as_ref().is_some_and(|newest| newest.options == request.options);
        if !(is_same && same_options) {
            self.refuse_marked(cell, &name).await?;
        }
        let manifest = snapshot.nameless();
        let missing = self.check_dependencies(manifest).await?;
        let implausible = implausible.map(|claimed| Warning::FloorImplausible { claimed });
        let forecast = self.forecast(last.as_ref(), manifest, request.options).await?;
        Ok(Plan {
            cell: cell.clone(),
            manifest: inputs.binding.manifest.clone(),
            deployment: manifest.deployment.clone(),
            current: head.newest.as_ref().map(Claim::from),
            generation: head.at().map_or(0, |at| at.generation.get()),
            version: PlannedVersion { name, exists, files: manifest.files.len(), bytes: manifest.total_bytes() },
            content_sha256: snapshot.content(),
            forecast,
            is_needed: !(is_same && same_options),
            inputs: inputs.by_key(),
            changes,
            paused: inputs.binding.paused.as_ref().map(|paused| paused.reason.clone()),
            warnings: implausible.into_iter().chain(missing).collect(),
        })
    }

    /// The manifest of the version that was desired last, if the bucket still has it as it was signed. Only what
    /// history verifies is compared with.
    async fn last_version(&self, cell: &CellId, head: &Head) -> Result<Option<Manifest>, ControllerError> {
        let desired: Option<Target> = match head.newest.as_ref().map(|newest| &newest.action) {
            None => None,
            Some(Action::Deploy(target)) => Some(target.clone()),
            Some(_) => self.newest_target(cell, |_| true).await?,
        };
        let Some(target) = desired else { return Ok(None) };
        self.pinned_manifest(cell, &target).await
    }
}
