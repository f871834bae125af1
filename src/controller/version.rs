//! Making a version: its name, its files, and last its manifest, which makes it exist (protocol.md, "Publishing, in
//! order", 2 and 3; I1, I2).

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::diff::Changes;
use super::inputs::Inputs;
use super::names;
use super::snapshot::{Snapshot, target_of};
use super::turns::Turn;
use super::{Controller, ControllerError};
use crate::model::document::Document as _;
use crate::model::fleet::Deleting;
use crate::model::keys::Folder;
use crate::model::manifest::{Manifest, ManifestFile};
use crate::model::trigger::Target;
use crate::model::{CellId, ObjectKey, Sha256Digest, VersionName};
use crate::store::{Depth, StoreError};

/// How many files are copied or written at once.
pub(super) const WRITES: usize = 16;

/// A file that was left behind by an earlier try is written again if it is older than this, because `gc` sweeps what
/// is older than a day.
pub(super) const REUSED: TimeDelta = TimeDelta::hours(12);

/// A deletion that was marked is finished after this time.
pub(super) const DELETION_RESTS: TimeDelta = TimeDelta::hours(1);

/// How many generated names of the same content are looked at, newest first.
const SAME_CONTENT: usize = 8;

/// How many triggers back a version of the same content is looked for, whatever its name.
const RECENT: usize = 100;

impl Controller {
    /// The version's name: the one that is asked for, or that of the newest version with the same content, or a
    /// generated one; and whether there is a version of that name.
    pub(super) async fn choose_name(
        &self,
        snapshot: &Snapshot,
        wanted: Option<&VersionName>,
    ) -> Result<(VersionName, bool), ControllerError> {
        let cell = snapshot.cell();
        if let Some(name) = wanted {
            let exists = self.store().head(&ObjectKey::VersionManifest(cell, name.clone())).await?.is_some();
            return Ok((name.clone(), exists));
        }
        let content = snapshot.content();
        let listed = self.version_names(&cell).await?;
        let is_same = |target: &Target| target.content_sha256 == content;
        let of_history = self.target_below(&cell, None, RECENT, is_same).await?;
        let same_content = of_history.map(|target| target.version).into_iter();
        let generated = names::generated_for(listed.iter().map(VersionName::as_str), content);
        let generated: Vec<VersionName> =
            generated.into_iter().take(SAME_CONTENT).filter_map(|name| VersionName::new(name).ok()).collect();
        for name in same_content.chain(generated) {
            // One that is on its way out, or that is not what its name says, is no use.
            if self.is_marked(&cell, &name).await?.is_none()
                && let Some(found) = self.find_manifest(&cell, &name).await?
                && Manifest::parse(&found).is_ok_and(|manifest| manifest.content_sha256 == content)
            {
                return Ok((name, true));
            }
        }
        let name = names::generate(self.clock.now(), content);
        VersionName::new(name).map(|name| (name, false)).map_err(|error| ControllerError::invalid(&cell, error))
    }

    /// Brings the version's files to their place. Returns the version if it exists already.
    ///
    /// # Errors
    /// When the name is taken by something else, or is being deleted.
    pub(super) async fn stage_version(
        &self,
        snapshot: &Snapshot,
        name: &VersionName,
    ) -> Result<Option<Target>, ControllerError> {
        let cell = snapshot.cell();
        self.refuse_marked(&cell, name).await?;
        let existing = match self.find_manifest(&cell, name).await? {
            Some(found) => Some(self.check_existing(snapshot, name, &found).await?),
            None => None,
        };
        // What a manifest names is never swept, so files of a version that exists are good at any age.
        let oldest = if existing.is_some() { DateTime::<Utc>::MIN_UTC } else { self.store_now() - REUSED };
        self.write_files(snapshot, name, oldest).await?;
        Ok(existing)
    }

    /// Makes a staged version exist. None when an input changed meanwhile, or another controller was faster.
    pub(super) async fn commit_version(
        &self,
        inputs: &Inputs,
        snapshot: &Snapshot,
        name: &VersionName,
        note: Option<&str>,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Target>, ControllerError> {
        // Getting in line again may take long, so it is not done between a look at the inputs and the write.
        turn.keep().await?;
        if !self.are_unchanged(inputs).await? {
            return Ok(None);
        }
        let cell = snapshot.cell();
        self.refuse_marked(&cell, name).await?;
        let by = self.actor().user.clone();
        let manifest = snapshot.manifest(name.clone(), self.now(), by, note.map(str::to_owned));
        let bytes = manifest.render();
        let target = target_of(&manifest, &bytes);
        let key = ObjectKey::VersionManifest(cell, name.clone());
        match self.writer().await?.create(&key, bytes.into()).await {
            Ok(_) => Ok(Some(target)),
            Err(StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a manifest that lies in the bucket for the version's if it is what verified history says, or byte for
    /// byte what we would write. Nothing is ever signed only because it was found there (I3).
    pub(super) async fn check_existing(
        &self,
        snapshot: &Snapshot,
        name: &VersionName,
        found: &[u8],
    ) -> Result<Target, ControllerError> {
        let cell = snapshot.cell();
        let found_digest = Sha256Digest::of(found);
        let tampered = |expected| ControllerError::version_tampered(&cell, name, expected, found_digest);
        let history = self.newest_target(&cell, |target| target.version == *name).await?;
        if let Some(target) = &history
            && target.manifest_sha256 != found_digest
        {
            return Err(tampered(target.manifest_sha256));
        }
        let manifest = Manifest::parse(found).map_err(|error| {
            let key = ObjectKey::VersionManifest(cell.clone(), name.clone());
            ControllerError::Untrusted { key: key.to_string(), problem: format!(": {error}"), source: None }
        })?;
        if manifest.content_sha256 != snapshot.content() {
            let what = format!("{cell}: version {name}");
            let differs = Changes::between(Some(&manifest), snapshot.nameless()).summary();
            return Err(ControllerError::Exists { what, differs });
        }
        if let Some(target) = history {
            return Ok(target);
        }
        let Manifest { created_at, created_by, note, deployment, .. } = manifest.clone();
        let ours = Manifest { deployment, ..snapshot.manifest(name.clone(), created_at, created_by, note) };
        let bytes = ours.render();
        if bytes != found {
            return Err(tampered(Sha256Digest::of(&bytes)));
        }
        Ok(target_of(&ours, &bytes))
    }

    /// Brings a version's files to their place, but for those that are there and not older than `oldest`. One LIST
    /// must then show every one of them with its size.
    async fn write_files(
        &self,
        snapshot: &Snapshot,
        name: &VersionName,
        oldest: DateTime<Utc>,
    ) -> Result<(), ControllerError> {
        let cell = snapshot.cell();
        let content = snapshot.content().content16();
        let there = self.list_files(&Folder::VersionFiles(cell.clone(), name.clone(), content)).await?;
        let key = |file: &ManifestFile| ObjectKey::VersionFile(cell.clone(), name.clone(), content, file.path.clone());
        let is_missing = |file: &&ManifestFile| !there.is_usable(&key(file), file.size, oldest);
        let missing: Vec<&ManifestFile> = snapshot.files().iter().filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let store = self.writer().await?;
        stream::iter(0..missing.len())
            .map(async |place| {
                let file = missing[place];
                let to = key(file);
                match (snapshot.held.get(&file.path), snapshot.copied.get(&file.path)) {
                    (Some(bytes), _) => store.put_own(&to, bytes.clone()).await.map(|_| ()),
                    (None, Some(from)) => store.copy(from, &to).await,
                    (None, None) => Ok(()),
                }
            })
            .buffer_unordered(WRITES)
            .try_collect::<()>()
            .await?;
        let manifest = Manifest { version: name.clone(), ..snapshot.nameless().clone() };
        self.check_complete(&manifest).await
    }

    /// Sees that every file of a version lies in the bucket with its size.
    ///
    /// # Errors
    /// [`ControllerError::Incomplete`] names one that does not.
    pub(super) async fn check_complete(&self, manifest: &Manifest) -> Result<(), ControllerError> {
        let cell = manifest.cell_id();
        let folder = Folder::Version(cell.clone(), manifest.version.clone());
        let there = self.list_files(&folder).await?;
        for file in &manifest.files {
            let key = manifest.object_of(file).map_err(|error| ControllerError::invalid(&cell, error))?;
            let end = file.offset.unwrap_or(0) + file.size;
            let size = there.size(&key);
            let fits = size.is_some_and(|size| if file.object.is_some() { size >= end } else { size == end });
            if !fits {
                let found = size.map_or("is not there".to_owned(), |size| format!("has {size} bytes"));
                let missing = format!("{} should have {end} bytes and {found}", file.path);
                let version = manifest.version.clone();
                return Err(ControllerError::Incomplete { cell, version, missing });
            }
        }
        Ok(())
    }

    /// The manifest that a trigger pins; None if it is gone. Whether its files are there is not asked.
    ///
    /// # Errors
    /// [`ControllerError::VersionTampered`] when the bucket has other bytes.
    pub async fn pinned_manifest(&self, cell: &CellId, target: &Target) -> Result<Option<Manifest>, ControllerError> {
        let Some(found) = self.find_manifest(cell, &target.version).await? else { return Ok(None) };
        let digest = Sha256Digest::of(&found);
        if digest != target.manifest_sha256 {
            return Err(ControllerError::version_tampered(cell, &target.version, target.manifest_sha256, digest));
        }
        Manifest::parse(&found).map(Some).map_err(|error| ControllerError::invalid(cell, error))
    }

    /// The bytes of a version's manifest, if there is one.
    pub(super) async fn find_manifest(
        &self,
        cell: &CellId,
        version: &VersionName,
    ) -> Result<Option<Vec<u8>>, ControllerError> {
        let key = ObjectKey::VersionManifest(cell.clone(), version.clone());
        Ok(self.store().find(&key, Manifest::MAX_BYTES).await?.map(|object| object.bytes.into()))
    }

    /// The manifest of a version that verified history names, if the bucket still has those bytes and all files.
    ///
    /// # Errors
    /// [`ControllerError::VersionTampered`] when it has others.
    pub(super) async fn check_pinned(&self, cell: &CellId, target: &Target) -> Result<Manifest, ControllerError> {
        let Some(found) = self.find_manifest(cell, &target.version).await? else {
            let what = format!("{cell}: version {}", target.version);
            return Err(ControllerError::not_found(what, "it was deleted; publish it again"));
        };
        let digest = Sha256Digest::of(&found);
        if digest != target.manifest_sha256 || found.len() as u64 != target.manifest_size {
            return Err(ControllerError::version_tampered(cell, &target.version, target.manifest_sha256, digest));
        }
        let manifest = Manifest::parse(&found).map_err(|error| ControllerError::invalid(cell, error))?;
        self.refuse_marked(cell, &target.version).await?;
        self.check_complete(&manifest).await?;
        Ok(manifest)
    }

    /// Refuses a version whose deletion is under way.
    pub(super) async fn refuse_marked(&self, cell: &CellId, version: &VersionName) -> Result<(), ControllerError> {
        match self.is_marked(cell, version).await? {
            Some(marked_at) => Err(ControllerError::Deleting {
                cell: cell.clone(),
                version: version.clone(),
                free_after: marked_at + DELETION_RESTS,
            }),
            None => Ok(()),
        }
    }

    /// When a version was marked for deletion, by the store's clock, if it was.
    pub(super) async fn is_marked(
        &self,
        cell: &CellId,
        version: &VersionName,
    ) -> Result<Option<DateTime<Utc>>, ControllerError> {
        let key = ObjectKey::VersionDeleting(cell.clone(), version.clone());
        // What the mark says of itself is of no interest: that it is there counts.
        let found = self.store().find(&key, Deleting::MAX_BYTES).await?;
        Ok(found.map(|object| object.last_modified.unwrap_or_else(|| self.store_now())))
    }

    /// Every folder below a cell's versions that has a proper name, whether the version is whole or not.
    pub(super) async fn version_names(&self, cell: &CellId) -> Result<Vec<VersionName>, ControllerError> {
        let mut pages = self.store().list(&Folder::Versions(cell.clone()), Depth::Shallow);
        let mut names = Vec::new();
        while let Some(page) = pages.next().await? {
            names.extend(page.folders.into_iter().filter_map(|name| VersionName::new(name).ok()));
        }
        Ok(names)
    }

    /// What lies below a folder of a version.
    pub(super) async fn list_files(&self, folder: &Folder) -> Result<There, ControllerError> {
        let mut pages = self.store().list(folder, Depth::Deep);
        let mut there = There::default();
        while let Some(page) = pages.next().await? {
            let known = page.entries.into_iter().filter_map(|entry| Some((entry.object_key()?, entry)));
            there.0.extend(known.map(|(key, entry)| (key, (entry.size, entry.last_modified))));
        }
        Ok(there)
    }
}

/// Objects that a LIST showed, with their sizes and ages.
#[derive(Debug, Default)]
pub(super) struct There(HashMap<ObjectKey, (u64, Option<DateTime<Utc>>)>);

impl There {
    pub(super) fn size(&self, key: &ObjectKey) -> Option<u64> {
        self.0.get(key).map(|(size, _)| *size)
    }

    /// Whether an object is there with its size and will not be swept soon.
    pub(super) fn is_usable(&self, key: &ObjectKey, size: u64, oldest: DateTime<Utc>) -> bool {
        self.0.get(key).is_some_and(|(found, time)| *found == size && time.is_some_and(|time| time >= oldest))
    }
}
