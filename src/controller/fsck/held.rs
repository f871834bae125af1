//! Versions and releases: whether their documents are those that were signed, and their files those that are named.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Believed, Finding, Findings, Repair, SWEPT_AFTER};
use crate::controller::inputs::READS;
use crate::controller::{Controller, ControllerError};
use crate::model::keys::Folder;
use crate::model::manifest::Manifest;
use crate::model::trigger::Target;
use crate::model::{CellId, DeploymentName, ManifestName, ObjectKey, Sha256Digest, VersionName};
use crate::store::{Depth, Expect, StoreError, in_full};

/// Objects of a folder, with their sizes and ages.
type There = BTreeMap<String, (ObjectKey, u64, Option<DateTime<Utc>>)>;

/// Bytes that a document names.
struct Named {
    key: ObjectKey,
    offset: Option<u64>,
    expect: Expect,
}

impl Controller {
    /// The versions of a cell.
    pub(super) async fn check_versions(
        &self,
        cell: &CellId,
        believed: &Believed,
        deep: bool,
    ) -> Result<Findings, ControllerError> {
        let mut found = Findings::new();
        let targets: Vec<&Target> = believed.iter().filter_map(|trigger| trigger.action.target()).collect();
        let names = self.version_names(cell).await?;
        if let Some(target) = believed.first().and_then(|newest| newest.action.target())
            && !names.contains(&target.version)
        {
            let key = ObjectKey::VersionManifest(cell.clone(), target.version.clone());
            let problem = "the newest trigger desires it, and it is gone";
            found.push(Finding::new("version_missing", key, problem, "load it from a bundle, or publish another"));
        }
        for name in names {
            let target = targets.iter().find(|target| target.version == name).copied();
            found.extend(self.check_version(cell, &name, target, deep).await?);
        }
        Ok(found)
    }

    async fn check_version(
        &self,
        cell: &CellId,
        name: &VersionName,
        target: Option<&Target>,
        deep: bool,
    ) -> Result<Findings, ControllerError> {
        let there = self.objects_in(&Folder::Version(cell.clone(), name.clone())).await?;
        let key = ObjectKey::VersionManifest(cell.clone(), name.clone());
        let mark = ObjectKey::VersionDeleting(cell.clone(), name.clone());
        if there.contains_key(&mark.relative()) {
            let due = self.is_due(cell, name).await?;
            let finding = Finding::new("deleting_mark", &mark, "the version's deletion was begun", "wait for its hour");
            return Ok(vec![match due {
                true => finding.repaired_by(Repair::Unmark(cell.clone(), name.clone())),
                false => finding.notice(),
            }]);
        }
        let Some(bytes) = self.find_manifest_up_to(&key).await? else {
            let (problem, by_hand) = ("its manifest is missing", "load it from a bundle, or publish another version");
            if target.is_some() {
                return Ok(vec![Finding::new("manifest_missing", key, problem, by_hand)]);
            }
            let folder = Folder::Version(cell.clone(), name.clone()).relative();
            let finding = Finding::new("version_unfinished", folder, "it was never finished", "it may be on its way");
            let sweep = Repair::SweepVersion(cell.clone(), name.clone());
            return Ok(vec![if self.is_old(&there) { finding.repaired_by(sweep) } else { finding.notice() }]);
        };
        let digest = bytes.as_deref().ok().map(Sha256Digest::of);
        if let Some(target) = target.filter(|target| Some(target.manifest_sha256) != digest) {
            let problem = format!("the history names manifest {}, this is another", target.manifest_sha256);
            let by_hand = "find out who wrote it; nodes refuse it. Publish under another name";
            return Ok(vec![Finding::new("version_tampered", key, problem, by_hand)]);
        }
        let manifest = bytes.and_then(|bytes| Manifest::parse(&bytes).map_err(|error| in_full(&error)));
        let manifest = match manifest {
            Ok(manifest) if manifest.cell_id() == *cell && manifest.version == *name => manifest,
            Ok(manifest) => {
                let problem = format!("it says that it is version {} of {}", manifest.version, manifest.cell_id());
                return Ok(vec![Finding::new("manifest_unreadable", key, problem, "`fleetman delete version` it")]);
            }
            Err(problem) => {
                return Ok(vec![Finding::new("manifest_unreadable", key, problem, "`fleetman delete version` it")]);
            }
        };
        let mut found = Findings::new();
        if target.is_none() {
            let problem = "no believed trigger names it: a publish was interrupted, or not begun";
            found.push(Finding::new("version_unpublished", &key, problem, "publish it, or delete it").notice());
        }
        let mut named = Vec::new();
        for file in &manifest.files {
            let object = manifest.object_of(file).map_err(|error| ControllerError::invalid(&key, error))?;
            let offset = file.object.as_ref().map(|_| file.offset.unwrap_or(0));
            named.push(Named { key: object, offset, expect: Expect { size: file.size, sha256: file.sha256 } });
        }
        found.extend(self.check_files(&there, &named, deep, &key).await?);
        Ok(found)
    }

    /// Every release.
    pub(super) async fn check_releases(&self, deep: bool) -> Result<Findings, ControllerError> {
        let mut found = Findings::new();
        for manifest in self.folders(&Folder::Deployments(None)).await? {
            let Ok(manifest) = ManifestName::new(manifest) else { continue };
            for name in self.deployment_names(&manifest).await? {
                found.extend(self.check_release(&manifest, &name, deep).await?);
            }
        }
        Ok(found)
    }

    async fn check_release(
        &self,
        manifest: &ManifestName,
        name: &DeploymentName,
        deep: bool,
    ) -> Result<Findings, ControllerError> {
        let key = ObjectKey::Deployment(manifest.clone(), name.clone());
        let folder = Folder::Deployment(manifest.clone(), name.clone());
        let there = self.objects_in(&folder).await?;
        let release = match self.find_deployment(manifest, name).await {
            Ok(Some((release, _))) => release,
            Ok(None) => {
                let problem = "its upload was never finished";
                let finding = Finding::new("release_unfinished", folder.relative(), problem, "it may be on its way");
                let sweep = Repair::SweepRelease(manifest.clone(), name.clone());
                return Ok(vec![if self.is_old(&there) { finding.repaired_by(sweep) } else { finding.notice() }]);
            }
            Err(error) if error.is_of_document() => {
                let by_hand = "nothing is published from it; upload the release under another name";
                return Ok(vec![Finding::new("release_unbelieved", key, in_full(&error), by_hand)]);
            }
            Err(error) => return Err(error),
        };
        let content = release.content_sha256.content16();
        let named = release.files.iter().map(|file| Named {
            key: ObjectKey::DeploymentFile(manifest.clone(), name.clone(), content, file.path.clone()),
            offset: None,
            expect: Expect { size: file.size, sha256: file.sha256 },
        });
        self.check_files(&there, &named.collect::<Vec<_>>(), deep, &key).await
    }

    /// Whether every file that a document names is there, and every object that is there is named.
    async fn check_files(
        &self,
        there: &There,
        named: &[Named],
        deep: bool,
        document: &ObjectKey,
    ) -> Result<Findings, ControllerError> {
        let by_hand = "publish the same content under another name; nodes that have the file go on";
        let mut unnamed: HashMap<&str, &(ObjectKey, u64, Option<DateTime<Utc>>)> =
            there.iter().map(|(key, object)| (key.as_str(), object)).collect();
        unnamed.remove(document.relative().as_str());
        let (mut found, mut whole) = (Findings::new(), Vec::new());
        for file in named {
            let key = file.key.relative();
            unnamed.remove(key.as_str());
            let end = file.offset.unwrap_or(0) + file.expect.size;
            match there.get(&key).map(|(_, size, _)| *size) {
                None => found.push(Finding::new("file_missing", key, format!("{document} names it"), by_hand)),
                Some(size) if size < end || (file.offset.is_none() && size != end) => {
                    let problem = format!("expected {end} bytes, found {size}");
                    found.push(Finding::new("file_size", key, problem, by_hand));
                }
                Some(_) => whole.push(file),
            }
        }
        if deep {
            let damaged: Vec<Option<Finding>> = stream::iter(0..whole.len())
                .map(async |place| {
                    let Named { key, offset, expect } = whole[place];
                    match self.store().download(key, *offset, *expect, &mut tokio::io::sink()).await {
                        Ok(()) => Ok(None),
                        Err(error @ StoreError::Corrupt { .. }) => {
                            Ok(Some(Finding::new("file_digest", key, error.to_string(), by_hand)))
                        }
                        Err(error) => Err(ControllerError::from(error)),
                    }
                })
                .buffered(READS)
                .try_collect()
                .await?;
            found.extend(damaged.into_iter().flatten());
        }
        let mut orphans: Vec<_> = unnamed.into_values().collect();
        orphans.sort_by_key(|(key, ..)| key.relative());
        for (key, _, time) in orphans {
            let finding =
                Finding::new("file_orphan", key, format!("{document} does not name it"), "it may be on its way");
            let is_old = time.is_some_and(|time| time < self.store_now() - SWEPT_AFTER);
            found.push(if is_old { finding.repaired_by(Repair::SweepObject(key.clone())) } else { finding.notice() });
        }
        Ok(found)
    }

    /// The bytes of a manifest; the inner error says why they are none.
    async fn find_manifest_up_to(&self, key: &ObjectKey) -> Result<Option<Result<Vec<u8>, String>>, ControllerError> {
        use crate::model::document::Document as _;
        match self.store().find(key, Manifest::MAX_BYTES).await {
            Ok(found) => Ok(found.map(|object| Ok(object.bytes.into()))),
            Err(error @ StoreError::TooLarge { .. }) => Ok(Some(Err(error.to_string()))),
            Err(error) => Err(error.into()),
        }
    }

    async fn is_due(&self, cell: &CellId, name: &VersionName) -> Result<bool, ControllerError> {
        let marked_at = self.is_marked(cell, name).await?;
        Ok(marked_at.is_some_and(|marked| self.store_now() >= marked + crate::controller::version::DELETION_RESTS))
    }

    fn is_old(&self, there: &There) -> bool {
        let oldest = self.store_now() - SWEPT_AFTER;
        there.values().all(|(_, _, time)| time.is_some_and(|time| time < oldest))
    }

    async fn objects_in(&self, folder: &Folder) -> Result<There, ControllerError> {
        let mut pages = self.store().list(folder, Depth::Deep);
        let mut there = There::new();
        while let Some(page) = pages.next().await? {
            let known = page.entries.into_iter().filter_map(|entry| Some((entry.object_key()?, entry)));
            there.extend(known.map(|(key, entry)| (entry.key, (key, entry.size, entry.last_modified))));
        }
        Ok(there)
    }

    /// Whether the document that commits the folder of `key` does not name it, read anew.
    pub(super) async fn is_unnamed(&self, key: &ObjectKey) -> Result<bool, ControllerError> {
        match key {
            ObjectKey::VersionFile(cell, version, ..) | ObjectKey::VersionPack(cell, version, _) => {
                let found = self.find_manifest(cell, version).await?;
                let manifest = found.as_deref().map(Manifest::parse);
                let Some(Ok(manifest)) = manifest else { return Ok(false) };
                Ok(manifest.files.iter().all(|file| manifest.object_of(file).is_ok_and(|object| object != *key)))
            }
            ObjectKey::DeploymentFile(manifest, name, content, path) => {
                let Some((release, _)) = self.find_deployment(manifest, name).await? else { return Ok(false) };
                let is_its = *content == release.content_sha256.content16();
                Ok(!is_its || release.files.iter().all(|file| file.path != *path))
            }
            _ => Ok(false),
        }
    }
}
