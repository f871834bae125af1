//! Deleting: versions slowly and in an order that whoever comes by can finish, the rest only when nobody needs it
//! (protocol.md, "Publishing, in order", the end).

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};

use super::head::Head;
use super::inputs::READS;
use super::publish::Guard;
use super::references::{Named, of_copies};
use super::version::DELETION_RESTS;
use super::{Controller, ControllerError, Known, Liveness, LivenessLimits, ObjectFacts};
use crate::model::deployment::Deployment;
use crate::model::document::Document as _;
use crate::model::fleet::Deleting;
use crate::model::heartbeat::{Heartbeat, Phase};
use crate::model::keys::Folder;
use crate::model::trigger::Action;
use crate::model::{CellId, DeploymentName, ManifestName, NodeName, ObjectKey, Sha256Digest, VersionName, document};
use crate::store::{Depth, ErrorKind, StoreError, in_full};
use crate::yaml;

/// What came of a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deletion {
    /// It is gone.
    Done {
        /// How many objects were deleted.
        objects: usize,
    },
    /// It is marked and no longer published; the same command, `gc` or `serve` finishes the deletion after this time.
    Marked {
        /// From when on.
        ready_at: DateTime<Utc>,
    },
}

/// What a deletion of a version would come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletionOutlook {
    /// Who needs the version, in words: as long as somebody does it is not deleted.
    pub needed_by: Option<String>,
    /// When what is marked may be deleted; None of what is not marked yet.
    pub ready_at: Option<DateTime<Utc>>,
    /// Whether that is now.
    pub is_ready: bool,
}

impl Controller {
    /// What [`Self::delete_version`] would do now. Nothing is written.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is no such version.
    pub async fn deletion_outlook(
        &self,
        cell: &CellId,
        version: &VersionName,
    ) -> Result<DeletionOutlook, ControllerError> {
        let Some((marked_at, needed_by, _)) = self.look_at_deletion(cell, version).await? else {
            return Err(no_version(cell, version));
        };
        let ready_at = marked_at.map(|marked_at| marked_at + DELETION_RESTS);
        Ok(DeletionOutlook { needed_by, ready_at, is_ready: ready_at.is_some_and(|at| self.store_now() >= at) })
    }

    /// When a version was marked, who needs it, and the digest of its manifest; None if nothing is left of it.
    async fn look_at_deletion(
        &self,
        cell: &CellId,
        version: &VersionName,
    ) -> Result<Option<(Option<DateTime<Utc>>, Option<String>, Option<Sha256Digest>)>, ControllerError> {
        let marked_at = self.is_marked(cell, version).await?;
        if marked_at.is_none() && self.list_folder(&Folder::Version(cell.clone(), version.clone())).await?.is_empty() {
            return Ok(None);
        }
        let manifest = self.find_manifest(cell, version).await?;
        let manifest_sha256 = manifest.as_deref().map(Sha256Digest::of);
        // Without its manifest a marked version is past help: what is left of it only has to go.
        let is_past_help = marked_at.is_some() && manifest.is_none();
        let needed_by = match is_past_help {
            true => None,
            false => self.who_needs(cell, Named { version, manifest_sha256 }).await?,
        };
        Ok(Some((marked_at, needed_by, manifest_sha256)))
    }

    /// Deletes a version that nobody needs: marks it first, and an hour later, having looked again, deletes it.
    ///
    /// # Errors
    /// [`ControllerError::InUse`] when somebody needs it; a mark is then taken back.
    pub async fn delete_version(&self, cell: &CellId, version: &VersionName) -> Result<Deletion, ControllerError> {
        self.delete_version_if(cell, version, None).await
    }

    /// The same, if its manifest is still the one that the caller saw: a name may have been given to other files.
    ///
    /// # Errors
    /// [`ControllerError::Changed`] when it is another; see also [`Self::delete_version`].
    pub async fn delete_seen_version(
        &self,
        cell: &CellId,
        version: &VersionName,
        manifest_sha256: Sha256Digest,
    ) -> Result<Deletion, ControllerError> {
        self.delete_version_if(cell, version, Some(manifest_sha256)).await
    }

    async fn delete_version_if(
        &self,
        cell: &CellId,
        version: &VersionName,
        seen: Option<Sha256Digest>,
    ) -> Result<Deletion, ControllerError> {
        let Some((marked_at, needed_by, manifest_sha256)) = self.look_at_deletion(cell, version).await? else {
            return Err(no_version(cell, version));
        };
        if seen.is_some() && seen != manifest_sha256 {
            return Err(ControllerError::Changed { what: format!("version {version} of {cell}") });
        }
        let mark = ObjectKey::VersionDeleting(cell.clone(), version.clone());
        if let Some(by) = needed_by {
            if marked_at.is_some() {
                self.writer().await?.delete(&mark).await?;
            }
            return Err(ControllerError::InUse { what: format!("{cell}: version {version}"), by });
        }
        let object = format!("version/{cell}/{version}");
        let Some(marked_at) = marked_at else {
            let deleting = Deleting { marked_at: self.now(), marked_by: self.actor().user.clone(), manifest_sha256 };
            let act = self.intend("delete", object, None, Some("marked".to_owned()), None).await?;
            let marked = match self.writer().await?.create(&mark, document::render(&deleting).into()).await {
                // Somebody else marked it: that serves as well.
                Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            };
            self.conclude(act, marked).await?;
            return Ok(Deletion::Marked { ready_at: self.store_now() + DELETION_RESTS });
        };
        let ready_at = marked_at + DELETION_RESTS;
        if self.store_now() < ready_at {
            return Ok(Deletion::Marked { ready_at });
        }
        let act = self.intend("delete", object, manifest_sha256.map(|digest| digest.to_string()), None, None).await?;
        let deleted = self.delete_marked(cell, version).await;
        self.conclude(act, deleted).await.map(|objects| Deletion::Done { objects })
    }

    /// The manifest first, so that the version is no more; the files; the mark last, which frees the name.
    async fn delete_marked(&self, cell: &CellId, version: &VersionName) -> Result<usize, ControllerError> {
        let mark = ObjectKey::VersionDeleting(cell.clone(), version.clone());
        let manifest = ObjectKey::VersionManifest(cell.clone(), version.clone());
        let keys = self.list_folder(&Folder::Version(cell.clone(), version.clone())).await?;
        let count = keys.len();
        self.delete_in_order(&manifest, keys, Some(&mark)).await?;
        Ok(count)
    }

    /// Deletes `first`, then `keys`, then `last`; of `keys` these two are left out.
    async fn delete_in_order(
        &self,
        first: &ObjectKey,
        keys: Vec<ObjectKey>,
        last: Option<&ObjectKey>,
    ) -> Result<(), ControllerError> {
        let writer = self.writer().await?;
        writer.delete(first).await?;
        let keys: Vec<ObjectKey> = keys.into_iter().filter(|key| key != first && Some(key) != last).collect();
        self.delete_all(&keys).await?;
        if let Some(last) = last {
            writer.delete(last).await?;
        }
        Ok(())
    }

    pub(super) async fn delete_all(&self, keys: &[ObjectKey]) -> Result<(), ControllerError> {
        for (_, result) in self.writer().await?.delete_many(keys).await {
            result?;
        }
        Ok(())
    }

    /// The keys of the protocol below a folder. What is no such key was put there by others, and stays.
    pub(super) async fn list_folder(&self, folder: &Folder) -> Result<Vec<ObjectKey>, ControllerError> {
        let mut pages = self.store().list(folder, Depth::Deep);
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await? {
            keys.extend(page.entries.iter().filter_map(crate::store::Entry::object_key));
        }
        Ok(keys)
    }

    /// What the signed list of a release is, without what it says; None where the upload never ended.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn deployment_facts(
        &self,
        manifest: &ManifestName,
        name: &DeploymentName,
    ) -> Result<Option<ObjectFacts>, ControllerError> {
        self.facts(&ObjectKey::Deployment(manifest.clone(), name.clone()), Deployment::MAX_BYTES).await
    }

    /// Deletes a release, if its list is still the one that the caller knows: a name may have been given to other
    /// files. Versions made from it hold their own copies of its files.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is none, [`ControllerError::Changed`] when it is another.
    pub async fn delete_deployment(
        &self,
        manifest: &ManifestName,
        name: &DeploymentName,
        known: &Known,
    ) -> Result<Deletion, ControllerError> {
        let keys = self.list_folder(&Folder::Deployment(manifest.clone(), name.clone())).await?;
        if keys.is_empty() {
            let what = format!("deployment {name} of manifest {manifest}");
            return Err(ControllerError::not_found(what, "there is none"));
        }
        let objects = keys.len();
        let list = ObjectKey::Deployment(manifest.clone(), name.clone());
        known.check(&list, self.store().head(&list).await?.map(|meta| meta.etag).as_ref())?;
        let act = self.intend("delete", format!("deployment/{manifest}/{name}"), None, None, None).await?;
        let deleted = self.delete_in_order(&list, keys, None).await;
        self.conclude(act, deleted).await.map(|()| Deletion::Done { objects })
    }

    /// What a manifest is, without what it says.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn manifest_facts(&self, name: &ManifestName) -> Result<Option<ObjectFacts>, ControllerError> {
        self.facts(&ObjectKey::ManifestYaml(name.clone()), yaml::MAX_BYTES as u64).await
    }

    /// Deletes a manifest that no cell is bound to and that has no releases, if it is still the one that the caller
    /// knows.
    ///
    /// # Errors
    /// [`ControllerError::InUse`] when it is needed, [`ControllerError::Changed`] when it is another.
    pub async fn delete_manifest(&self, name: &ManifestName, known: &Known) -> Result<Deletion, ControllerError> {
        let key = ObjectKey::ManifestYaml(name.clone());
        let Some(meta) = self.store().head(&key).await? else {
            return Err(ControllerError::not_found(format!("manifest {name}"), "there is none"));
        };
        known.check(&key, Some(&meta.etag))?;
        let what = || format!("manifest {name}");
        let cells = self.cell_ids().await?;
        let mut bindings =
            stream::iter(cells).map(async |cell| (self.read_binding(&cell).await, cell)).buffer_unordered(READS);
        while let Some((binding, cell)) = bindings.next().await {
            match binding {
                Ok((binding, _)) if binding.manifest == *name => {
                    let by = format!("cell {} is made from it", binding.cell);
                    return Err(ControllerError::InUse { what: what(), by });
                }
                // A cell that was deleted has no document any more.
                Ok(_) | Err(ControllerError::NotFound { .. }) => {}
                Err(error) if error.kind() == ErrorKind::Invalid => {
                    let by = format!(
                        "cell {cell} may be made from it, which cannot be told: {}; mend its cell.yaml (`fleetman apply \
                         -f`, or its page in the portal), or delete the cell",
                        in_full(&error)
                    );
                    return Err(ControllerError::InUse { what: what(), by });
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(deployment) = self.deployment_names(name).await?.first() {
            let by = format!("it has deployments, such as {deployment}; delete them first");
            return Err(ControllerError::InUse { what: what(), by });
        }
        let act = self.intend("delete", format!("manifest/{name}"), None, None, None).await?;
        let deleted = self.writer().await?.delete(&key).await;
        self.conclude(act, deleted.map_err(Into::into)).await.map(|()| Deletion::Done { objects: 1 })
    }

    /// Every cell that has a folder in the bucket, also what is left of one that was deleted.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn cell_ids(&self) -> Result<Vec<CellId>, ControllerError> {
        let mut cells = Vec::new();
        for node in self.folders(&Folder::Cells).await? {
            let Ok(node) = NodeName::new(node) else { continue };
            let of_node = self.folders(&Folder::NodeCells(node.clone())).await?;
            cells.extend(of_node.iter().filter_map(|cell| format!("{node}/{cell}").parse::<CellId>().ok()));
        }
        Ok(cells)
    }

    pub(super) async fn folders(&self, folder: &Folder) -> Result<Vec<String>, ControllerError> {
        let mut pages = self.store().list(folder, Depth::Shallow);
        let mut names = Vec::new();
        while let Some(page) = pages.next().await? {
            names.extend(page.folders);
        }
        Ok(names)
    }

    /// Deletes a cell that was removed from its node. Its trigger and newest history entry stay as a tombstone, so
    /// that its generations never start again.
    ///
    /// # Errors
    /// [`ControllerError::Guard`] when it is not at the generation that the caller saw; [`ControllerError::InUse`] unless its newest trigger says `remove` and its node does not contradict.
    pub async fn delete_cell(&self, cell: &CellId, guard: &Guard) -> Result<Deletion, ControllerError> {
        let what = || format!("cell {cell}");
        let head = self.head(cell).await?;
        guard.check_generation(cell, &head)?;
        let keys = self.list_folder(&Folder::Cell(cell.clone())).await?;
        let keys: Vec<ObjectKey> = keys.into_iter().filter(|key| !is_tombstone(key, &head)).collect();
        if keys.is_empty() {
            return Err(ControllerError::not_found(what(), "there is none"));
        }
        if let Some(by) = self.keeps_cell(cell, &head).await? {
            return Err(ControllerError::InUse { what: what(), by });
        }
        let objects = keys.len();
        let act = self.intend("delete", format!("cell/{cell}"), None, None, None).await?;
        let deleted = async {
            // Without its document nothing can be published to it any more.
            self.writer().await?.delete(&ObjectKey::CellYaml(cell.clone())).await?;
            let now = self.head(cell).await?;
            if let Some(by) = self.keeps_cell(cell, &now).await? {
                return Err(ControllerError::InUse { what: what(), by });
            }
            let is_manifest = |key: &ObjectKey| matches!(key, ObjectKey::VersionManifest(..));
            let (manifests, others): (Vec<ObjectKey>, Vec<ObjectKey>) = keys.into_iter().partition(is_manifest);
            self.delete_all(&manifests).await?;
            let others: Vec<ObjectKey> = others.into_iter().filter(|key| !is_tombstone(key, &now)).collect();
            self.delete_all(&others).await?;
            let turn = self.take_turn(cell).await?;
            let forgotten = self.change_index(cell, |entry| entry.about.take().is_some()).await;
            turn.end().await;
            forgotten
        }
        .await;
        self.conclude(act, deleted).await.map(|()| Deletion::Done { objects })
    }

    /// Why a cell cannot be deleted, if it cannot.
    pub(super) async fn keeps_cell(&self, cell: &CellId, head: &Head) -> Result<Option<String>, ControllerError> {
        let Some(newest) = &head.newest else {
            // It was never published, so nothing of it can be anywhere.
            return Ok(None);
        };
        if newest.action != Action::Remove {
            return Ok(Some(format!("its newest trigger says {}; `fleetman remove` it first", newest.action.name())));
        }
        // What is at `trigger.json` stays as the tombstone.
        if let Some(by) = of_copies(head) {
            return Ok(Some(by));
        }
        let key = ObjectKey::Heartbeat(cell.node.clone());
        let beat = match self.find_document::<Heartbeat>(&key).await {
            Ok(beat) => beat,
            Err(error) if error.is_unreadable() => return Ok(Some(format!("{key} cannot be read"))),
            Err(error) => return Err(error),
        };
        let report = beat.as_ref().and_then(|beat| beat.cells.get(&cell.cell));
        let is_there = report.is_some_and(|report| report.phase != Phase::Removed || report.running.is_some());
        Ok(is_there
            .then(|| format!("node {} has not removed it yet; if the node is gone, delete its heartbeat", cell.node)))
    }

    /// What the heartbeat of a node is, without what it says.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn heartbeat_facts(&self, node: &NodeName) -> Result<Option<ObjectFacts>, ControllerError> {
        self.facts(&ObjectKey::Heartbeat(node.clone()), Heartbeat::MAX_BYTES).await
    }

    /// Deletes the heartbeat of a node that is dead, if it is still the one that the caller knows. Stores delete without
    /// conditions, so one that comes between this look and the deletion goes too; its node sends another.
    ///
    /// # Errors
    /// [`ControllerError::InUse`] while it is not dead, [`ControllerError::Changed`] when it is another heartbeat.
    pub async fn delete_heartbeat(
        &self,
        node: &NodeName,
        limits: LivenessLimits,
        known: &Known,
    ) -> Result<Deletion, ControllerError> {
        let key = ObjectKey::Heartbeat(node.clone());
        let Some(meta) = self.store().head(&key).await? else {
            return Err(ControllerError::not_found(format!("heartbeat of node {node}"), "there is none"));
        };
        known.check(&key, Some(&meta.etag))?;
        // One that cannot be read has no interval of its own.
        let interval_secs = match self.find_document::<Heartbeat>(&key).await {
            Ok(beat) => beat.map(|beat| beat.interval_secs),
            Err(error) if error.is_unreadable() => None,
            Err(error) => return Err(error),
        };
        let liveness = limits.judge(meta.last_modified, interval_secs, self.store_now());
        if liveness != Liveness::Dead {
            let by = format!("the node is {}", liveness.as_str());
            return Err(ControllerError::InUse { what: format!("heartbeat of node {node}"), by });
        }
        let act = self.intend("delete", format!("heartbeat/{node}"), None, None, None).await?;
        let deleted = self.writer().await?.delete(&key).await;
        self.conclude(act, deleted.map_err(Into::into)).await.map(|()| Deletion::Done { objects: 1 })
    }
}

fn no_version(cell: &CellId, version: &VersionName) -> ControllerError {
    ControllerError::not_found(format!("{cell}: version {version}"), "there is none")
}

/// What stays of a deleted cell.
fn is_tombstone(key: &ObjectKey, head: &Head) -> bool {
    match key {
        ObjectKey::Trigger(_) => true,
        // Above the newest that is believed there may be what a newer key signed.
        ObjectKey::History(_, at) => head.at().is_none_or(|newest| *at >= newest),
        _ => false,
    }
}
