//! What a publish would change, without writing anything.

use serde::Serialize;

use super::diff::{self, Changes, FileChange, MOST_TEXT_BYTES, TextDiff};
use super::error::Claim;
use super::head::{Head, Next};
use super::publish::PublishRequest;
use super::snapshot::Snapshot;
use super::{Controller, ControllerError, Warning};
use crate::model::manifest::{Manifest, ManifestFile};
use crate::model::run_spec::Profile;
use crate::model::trigger::{Action, Target};
use crate::model::{CellId, DeploymentName, FilePath, ManifestName, ObjectKey, Sha256Digest, VersionName};
use crate::store::{Expect, StoreError};

/// How many files are compared line by line.
const MOST_TEXTS: usize = 100;

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
    /// What differs from the version that was desired last.
    pub changes: Changes,
    /// Whether the cell's service would be restarted.
    pub restart: bool,
    /// Whether there is anything to publish.
    pub is_needed: bool,
    /// Why nothing can be published at present, if the cell is paused.
    pub paused: Option<String>,
    /// What should be looked at.
    pub warnings: Vec<Warning>,
}

/// The version that would be desired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
        let mut changes = Changes::between(last.as_ref(), snapshot.nameless());
        self.compare_texts(&mut changes, last.as_ref(), &snapshot).await?;
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
        Ok(Plan {
            cell: cell.clone(),
            manifest: inputs.binding.manifest.clone(),
            deployment: manifest.deployment.clone(),
            current: head.newest.as_ref().map(Claim::from),
            generation: head.at().map_or(0, |at| at.generation.get()),
            version: PlannedVersion { name, exists, files: manifest.files.len(), bytes: manifest.total_bytes() },
            content_sha256: snapshot.content(),
            restart: restarts(&manifest.profile) && !(is_same && same_options),
            is_needed: !(is_same && same_options),
            changes,
            paused: inputs.binding.paused.as_ref().map(|paused| paused.reason.clone()),
            warnings: implausible.map(|claimed| Warning::FloorImplausible { claimed }).into_iter().collect(),
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
        let Some(found) = self.find_manifest(cell, &target.version).await? else { return Ok(None) };
        let found_digest = Sha256Digest::of(&found);
        if found_digest != target.manifest_sha256 {
            let (version, expected) = (&target.version, target.manifest_sha256);
            return Err(ControllerError::version_tampered(cell, version, expected, found_digest));
        }
        Manifest::parse(&found).map(Some).map_err(|error| ControllerError::invalid(cell, error))
    }

    /// Fills in the lines that differ, as far as both sides can be read.
    async fn compare_texts(
        &self,
        changes: &mut Changes,
        before: Option<&Manifest>,
        after: &Snapshot,
    ) -> Result<(), ControllerError> {
        let mut left = MOST_TEXTS;
        for change in changes.files.iter_mut().filter(|change| change.diff == TextDiff::Unknown) {
            let sides = [&change.before, &change.after];
            if left == 0 || sides.into_iter().flatten().any(|side| side.size > MOST_TEXT_BYTES) {
                change.diff = TextDiff::TooLarge;
                continue;
            }
            left -= 1;
            if let (Some(old), Some(new)) =
                (self.old_bytes(change, before).await?, self.new_bytes(change, after).await?)
            {
                change.diff = diff::lines(&old, &new);
            }
        }
        Ok(())
    }

    /// The bytes of the desired version's file; empty if it has none, None if they are not there any more.
    async fn old_bytes(
        &self,
        change: &FileChange,
        before: Option<&Manifest>,
    ) -> Result<Option<Vec<u8>>, ControllerError> {
        let Some(manifest) = before else { return Ok(Some(Vec::new())) };
        let Some(file) = file_at(&manifest.files, &change.path) else { return Ok(Some(Vec::new())) };
        let key = manifest.object_of(file).map_err(|error| ControllerError::invalid(&change.path, error))?;
        let offset = file.object.is_some().then(|| file.offset.unwrap_or(0));
        self.text_at(&key, offset, file.size, file.sha256).await
    }

    /// The bytes of the file that is to come; empty if it goes.
    async fn new_bytes(&self, change: &FileChange, after: &Snapshot) -> Result<Option<Vec<u8>>, ControllerError> {
        let Some(file) = file_at(after.files(), &change.path) else { return Ok(Some(Vec::new())) };
        if let Some(bytes) = after.held.get(&file.path) {
            return Ok(Some(bytes.to_vec()));
        }
        match after.copied.get(&file.path) {
            Some(key) => self.text_at(key, None, file.size, file.sha256).await,
            None => Ok(None),
        }
    }

    async fn text_at(
        &self,
        key: &ObjectKey,
        offset: Option<u64>,
        size: u64,
        sha256: Sha256Digest,
    ) -> Result<Option<Vec<u8>>, ControllerError> {
        let mut bytes = Vec::new();
        match self.store().download(key, offset, Expect { size, sha256 }, &mut bytes).await {
            Ok(()) => Ok(Some(bytes)),
            // Only the lines cannot be shown; publishing and agents find out for themselves.
            Err(StoreError::NotFound { .. } | StoreError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Files are sorted by path.
fn file_at<'a>(files: &'a [ManifestFile], path: &FilePath) -> Option<&'a ManifestFile> {
    files.binary_search_by(|file| file.path.cmp(path)).ok().and_then(|at| files.get(at))
}

/// Whether a new version of this profile means a new process.
fn restarts(profile: &Profile) -> bool {
    !matches!(profile, Profile::Deploy(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_run_is_restarted_by_a_new_version() {
        let profile = |json| serde_json::from_value(json).unwrap();
        assert!(!restarts(&profile(serde_json::json!({"kind": "deploy"}))));
        assert!(restarts(&profile(serde_json::json!({"kind": "systemd", "unit_file": "etc/web.service"}))));
    }
}
