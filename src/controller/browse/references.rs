//! What an object names, and what names it, as far as a few reads tell.

use super::Controller;
use crate::controller::ControllerError;
use crate::controller::head::floor;
use crate::model::audit::{AuditStage, FoundEntry};
use crate::model::heartbeat::{CellReport, Heartbeat, VersionReport};
use crate::model::index::Index;
use crate::model::keys::AttemptId;
use crate::model::manifest::Manifest;
use crate::model::{CellId, Floor, NodeName, ObjectKey, Sha256Digest, VersionName};

/// How many entries of a history, cells of a node or deployments of a manifest are named.
const MOST: usize = 100;

/// What an object names, and what names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// What it names.
    pub names: Vec<Reference>,
    /// What names it.
    pub named_by: Vec<Reference>,
    /// There may be more than was looked at.
    pub is_cut: bool,
}

/// One end of a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The object.
    pub key: ObjectKey,
    /// How the two hang together.
    pub how: String,
}

impl References {
    fn names(&mut self, key: ObjectKey, how: impl Into<String>) {
        self.names.push(Reference { key, how: how.into() });
    }

    fn named_by(&mut self, key: ObjectKey, how: impl Into<String>) {
        self.named_by.push(Reference { key, how: how.into() });
    }

    fn names_version(&mut self, cell: &CellId, version: &VersionName, how: impl Into<String>) {
        self.names(ObjectKey::VersionManifest(cell.clone(), version.clone()), how);
    }
}

impl Controller {
    /// What the object at `key` names, and what names it. What is not believed names nothing.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn references(&self, key: &ObjectKey) -> Result<References, ControllerError> {
        let mut found = References::default();
        match key {
            ObjectKey::DeploymentFile(manifest, deployment, content, path) => {
                if let Some((release, _)) = readable(self.find_deployment(manifest, deployment).await)?.flatten()
                    && release.content_sha256.content16() == *content
                    && release.files.iter().any(|file| file.path == *path)
                {
                    found.named_by(ObjectKey::Deployment(manifest.clone(), deployment.clone()), "lists this file");
                }
            }
            ObjectKey::Deployment(manifest, _) => {
                found.names(ObjectKey::ManifestYaml(manifest.clone()), "the release is for this manifest");
            }
            ObjectKey::ManifestYaml(manifest) => {
                let mut names = self.deployment_names(manifest).await?;
                found.is_cut = names.len() > MOST;
                names.truncate(MOST);
                for name in names {
                    found.named_by(ObjectKey::Deployment(manifest.clone(), name), "a release for this manifest");
                }
            }
            ObjectKey::CellYaml(cell) => {
                if let Ok((binding, _)) = self.read_binding(cell).await {
                    found.names(ObjectKey::ManifestYaml(binding.manifest.clone()), "the cell is bound to it");
                }
            }
            ObjectKey::VersionFile(cell, version, ..) | ObjectKey::VersionPack(cell, version, _) => {
                if let Some(manifest) = self.manifest_of(cell, version).await?
                    && manifest.files.iter().any(|file| manifest.object_of(file).is_ok_and(|object| object == *key))
                {
                    let key = ObjectKey::VersionManifest(cell.clone(), version.clone());
                    found.named_by(key, "lists a file that lies here");
                }
            }
            ObjectKey::VersionDeleting(cell, version) => {
                found.names_version(cell, version, "is to be deleted");
            }
            ObjectKey::VersionManifest(cell, version) => self.of_version(cell, version, &mut found).await?,
            ObjectKey::Trigger(cell) => {
                if let Some((_, Some(trigger))) = self.read_trigger(cell).await? {
                    found.names(ObjectKey::History(cell.clone(), floor(&trigger)), "the entry that it is a copy of");
                    if let Some(target) = trigger.action.target() {
                        found.names_version(cell, &target.version, "the version that it wants");
                    }
                }
            }
            ObjectKey::History(cell, at) => self.of_entry(cell, *at, &mut found).await?,
            ObjectKey::Index(node) => self.of_index(node, &mut found).await?,
            ObjectKey::Heartbeat(node) => self.of_heartbeat(node, &mut found).await?,
            ObjectKey::AttemptLog(id) => {
                of_attempt(id, &mut found);
                found.names(ObjectKey::Outcome(id.clone()), "what came of the attempt");
            }
            ObjectKey::Outcome(id) => {
                of_attempt(id, &mut found);
                found.names(ObjectKey::AttemptLog(id.clone()), "the log of the attempt");
                if let Some(Ok(outcome)) = self.read_outcome(id).await?
                    && let Some(version) = &outcome.version
                {
                    found.names_version(&id.cell, &version.version, "the version that was tried");
                }
            }
            ObjectKey::Request(node, order) => {
                found
                    .names(ObjectKey::Answer(node.clone(), *order), "what the node answered, if it was asked for logs");
            }
            ObjectKey::Answer(node, order) | ObjectKey::AnswerChunk(node, order, _) => {
                found.names(ObjectKey::Request(node.clone(), *order), "the order that it answers");
            }
            ObjectKey::Audit(..) => {
                let object = self.store().find(key, FoundEntry::MOST_BYTES).await?;
                let read = |bytes: &[u8]| FoundEntry::read(bytes, self.fleet(), &self.settings.trust).ok();
                if let Some(entry) = object.and_then(|object| read(&object.bytes)) {
                    if let AuditStage::Outcome { intent, .. } = entry.stage {
                        found.names(super::super::audit::key(intent), "the intent that it concludes");
                    }
                    for before in entry.follows() {
                        found.names(super::super::audit::key(before.id), "an entry that was there before it");
                    }
                }
            }
            ObjectKey::Override(..)
            | ObjectKey::Fleet
            | ObjectKey::StoreReport
            | ObjectKey::Controller(_)
            | ObjectKey::Alerts
            | ObjectKey::Users
            | ObjectKey::Probe(..) => {}
        }
        Ok(found)
    }

    async fn manifest_of(&self, cell: &CellId, version: &VersionName) -> Result<Option<Manifest>, ControllerError> {
        let bytes = readable(self.find_manifest(cell, version).await)?.flatten();
        Ok(bytes.and_then(|bytes| Manifest::parse(&bytes).ok()))
    }

    async fn of_version(
        &self,
        cell: &CellId,
        version: &VersionName,
        found: &mut References,
    ) -> Result<(), ControllerError> {
        let Some(bytes) = readable(self.find_manifest(cell, version).await)?.flatten() else { return Ok(()) };
        let digest = Sha256Digest::of(&bytes);
        if let Ok(manifest) = Manifest::parse(&bytes) {
            found.names(ObjectKey::ManifestYaml(manifest.manifest.clone()), "made from this manifest");
            if let Some(deployment) = manifest.deployment {
                found.names(ObjectKey::Deployment(manifest.manifest, deployment), "made from this release");
            }
        }
        if let Some((_, Some(trigger))) = self.read_trigger(cell).await?
            && trigger.action.target().is_some_and(|target| target.manifest_sha256 == digest)
        {
            found.named_by(ObjectKey::Trigger(cell.clone()), "wants it now");
        }
        let entries = self.history(cell, MOST).await?;
        found.is_cut = entries.len() == MOST;
        for entry in entries {
            if let Ok(trigger) = entry.trigger
                && trigger.action.target().is_some_and(|target| target.manifest_sha256 == digest)
            {
                let how = format!("wanted it, issued by {}", trigger.issued_by);
                found.named_by(ObjectKey::History(cell.clone(), entry.at), how);
            }
        }
        let beat = ObjectKey::Heartbeat(cell.node.clone());
        let report = readable(self.find_document::<Heartbeat>(&beat).await)?.flatten();
        if let Some(report) = report.as_ref().and_then(|beat| beat.cells.get(&cell.cell)) {
            for (how, _) in uses(report).filter(|(_, used)| used.manifest_sha256 == digest) {
                found.named_by(beat.clone(), how);
            }
        }
        Ok(())
    }

    async fn of_entry(&self, cell: &CellId, at: Floor, found: &mut References) -> Result<(), ControllerError> {
        let Some(entry) = readable(self.history_entry(cell, at).await)?.flatten() else { return Ok(()) };
        if let Some(target) = entry.action.target() {
            found.names_version(cell, &target.version, "the version that it wants");
        }
        let head = self.head(cell).await?;
        if head.copied == Some(at) {
            found.named_by(ObjectKey::Trigger(cell.clone()), "holds a copy of it");
        }
        if head.indexed == Some(at) {
            found.named_by(ObjectKey::Index(cell.node.clone()), "holds a copy of it");
        }
        Ok(())
    }

    async fn of_index(&self, node: &NodeName, found: &mut References) -> Result<(), ControllerError> {
        let key = ObjectKey::Index(node.clone());
        let Some(index) = readable(self.find_document::<Index>(&key).await)?.flatten() else { return Ok(()) };
        found.is_cut = index.cells.len() > MOST;
        for (_, entry) in index.entries().take(MOST) {
            let Ok((cell, entry)) = entry else { continue };
            let cell = CellId::new(node.clone(), cell);
            if let Some(bytes) = entry.trigger_bytes()
                && let Ok(trigger) = self.believe(&key, &cell, bytes)
            {
                let how = format!("holds a copy of its trigger ({})", trigger.action.name());
                found.names(ObjectKey::History(cell, floor(&trigger)), how);
            }
        }
        Ok(())
    }

    async fn of_heartbeat(&self, node: &NodeName, found: &mut References) -> Result<(), ControllerError> {
        let key = ObjectKey::Heartbeat(node.clone());
        let Some(beat) = readable(self.find_document::<Heartbeat>(&key).await)?.flatten() else { return Ok(()) };
        found.is_cut = beat.cells.len() > MOST;
        for (cell, report) in beat.cells.iter().take(MOST) {
            let cell = CellId::new(node.clone(), cell.clone());
            for (how, version) in uses(report) {
                found.names_version(&cell, &version.version, how);
            }
        }
        Ok(())
    }
}

/// What a node says of the versions of one cell.
fn uses(report: &CellReport) -> impl Iterator<Item = (&'static str, &VersionReport)> {
    let uses = [("the node runs it", &report.running), ("the node would go back to it", &report.known_good)];
    uses.into_iter().filter_map(|(how, version)| Some((how, version.as_ref()?)))
}

fn of_attempt(id: &AttemptId, found: &mut References) {
    found.names(ObjectKey::History(id.cell.clone(), id.floor), "the trigger that was carried out");
}

/// What cannot be read or is not believed names nothing.
fn readable<T>(found: Result<T, ControllerError>) -> Result<Option<T>, ControllerError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_of_document() => Ok(None),
        Err(error) => Err(error),
    }
}
