//! From inputs to what a version is: its manifest, and where the bytes of its files come from.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::inputs::{Inputs, READS};
use super::{Controller, ControllerError};
use crate::model::content::content_sha256;
use crate::model::document::Document as _;
use crate::model::manifest::{Manifest, ManifestFile};
use crate::model::trigger::Target;
use crate::model::{CellId, FilePath, ObjectKey, Sha256Digest, UserName, VersionName};
use crate::recipe::render;
use crate::recipe::resolve::{ResolvedFile, Source, resolve};
use crate::store::{Expect, StoreError};

/// The most bytes of overrides and templates that are held in memory for one version, and of what they render to.
const MOST_HELD_BYTES: u64 = 128 << 20;

/// A version that is not made yet: whatever depends on the inputs alone.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// The manifest, but for the fields that are no part of the content.
    manifest: Manifest,
    /// The bytes of files; those that were digested are those that are written.
    pub(super) held: BTreeMap<FilePath, Bytes>,
    /// Files of the release, which are copied inside the store.
    pub(super) copied: BTreeMap<FilePath, ObjectKey>,
}

impl Snapshot {
    pub(super) fn cell(&self) -> CellId {
        self.manifest.cell_id()
    }

    /// What the version is, whatever its name.
    pub(super) fn content(&self) -> Sha256Digest {
        self.manifest.content_sha256
    }

    pub(super) fn files(&self) -> &[ManifestFile] {
        &self.manifest.files
    }

    /// The version's manifest under a name.
    pub(super) fn manifest(
        &self,
        version: VersionName,
        created_at: DateTime<Utc>,
        created_by: UserName,
        note: Option<String>,
    ) -> Manifest {
        Manifest { version, created_at, created_by, note, ..self.manifest.clone() }
    }

    /// The manifest for comparisons, with names and times that mean nothing.
    pub(super) fn nameless(&self) -> &Manifest {
        &self.manifest
    }
}

/// A version whose manifest has these bytes.
pub(super) fn target_of(manifest: &Manifest, bytes: &[u8]) -> Target {
    Target {
        version: manifest.version.clone(),
        manifest_sha256: Sha256Digest::of(bytes),
        manifest_size: bytes.len() as u64,
        content_sha256: manifest.content_sha256,
    }
}

impl Controller {
    /// Resolves and renders; nothing is written. None when an input changed while it was read.
    pub(super) async fn snapshot(&self, inputs: &Inputs) -> Result<Option<Snapshot>, ControllerError> {
        let release = inputs.deployment.as_ref().map_or(&[][..], |deployment| &deployment.files);
        let overrides: Vec<FilePath> = inputs.overrides.keys().cloned().collect();
        let resolved = resolve(&inputs.recipe, &inputs.binding, release, &overrides)?;
        check_held(inputs, &resolved.files)?;

        // By number: the future of a borrowing closure could not be sent between threads.
        let mut found = stream::iter(0..resolved.files.len())
            .map(async |place| {
                let file = &resolved.files[place];
                let bytes = self.held_bytes(inputs, file).await?;
                Ok::<_, ControllerError>((file, bytes))
            })
            .buffered(READS);
        let (mut files, mut held, mut copied) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let mut held_bytes = 0_u64;
        while let Some((file, bytes)) = found.try_next().await? {
            let (size, sha256) = match (bytes, &file.source) {
                (Held::Changed, _) => return Ok(None),
                (Held::Bytes(bytes), _) => {
                    let bytes = match file.template {
                        true => render::file(file.path.as_str(), &bytes, &resolved.context)?.into(),
                        false => bytes,
                    };
                    // A short template may render to much.
                    held_bytes = held_bytes.saturating_add(bytes.len() as u64);
                    check_held_bytes(inputs, held_bytes)?;
                    let identity = (bytes.len() as u64, Sha256Digest::of(&bytes));
                    held.insert(file.path.clone(), bytes);
                    identity
                }
                (Held::Nothing, Source::Release(released)) => {
                    if let Some(key) = release_key(inputs, &file.path) {
                        copied.insert(file.path.clone(), key);
                    }
                    (released.size, released.sha256)
                }
                (Held::Nothing, Source::Override) => return Ok(None),
            };
            let (path, mode, from) = (file.path.clone(), file.mode, file.origin());
            files.push(ManifestFile { path, size, sha256, mode, from, object: None, offset: None });
        }

        let mut manifest = Manifest {
            requires: Vec::new(),
            fleet: self.fleet(),
            node: inputs.cell.node.clone(),
            cell: inputs.cell.cell.clone(),
            version: nameless(&inputs.cell)?,
            manifest: inputs.binding.manifest.clone(),
            deployment: inputs.deployment.as_ref().map(|deployment| deployment.deployment.clone()),
            content_sha256: Sha256Digest::of(b""),
            created_at: DateTime::UNIX_EPOCH,
            created_by: self.actor().user.clone(),
            note: None,
            profile: resolved.profile,
            health: resolved.health,
            hooks: resolved.hooks,
            strategy: resolved.strategy,
            reload_if: resolved.reload_if,
            restart_if: resolved.restart_if,
            limits: resolved.limits,
            drift: resolved.drift,
            windows: resolved.windows,
            lock: resolved.lock,
            dependencies: resolved.dependencies,
            files,
        };
        manifest.requires = manifest.features();
        manifest.content_sha256 = content_sha256(&manifest);
        manifest.check().map_err(|error| ControllerError::invalid(&inputs.cell, error))?;
        let size = manifest.render().len() as u64;
        if size > Manifest::MAX_BYTES {
            let problem = format!("its manifest has {size} bytes, more than the {} allowed", Manifest::MAX_BYTES);
            return Err(ControllerError::invalid(&inputs.cell, problem));
        }
        Ok(Some(Snapshot { manifest, held, copied }))
    }

    /// The bytes of a file that does not just travel from the release.
    async fn held_bytes(&self, inputs: &Inputs, file: &ResolvedFile) -> Result<Held, ControllerError> {
        match &file.source {
            Source::Release(_) if !file.template => Ok(Held::Nothing),
            Source::Release(released) => {
                let Some(key) = release_key(inputs, &file.path) else { return Ok(Held::Changed) };
                let mut bytes = Vec::new();
                let expect = Expect { size: released.size, sha256: released.sha256 };
                self.store().download(&key, None, expect, &mut bytes).await?;
                Ok(Held::Bytes(bytes.into()))
            }
            Source::Override => {
                let key = ObjectKey::Override(inputs.cell.clone(), file.path.clone());
                let listed = inputs.overrides.get(&file.path);
                match self.store().find(&key, render::MAX_BYTES as u64).await {
                    Ok(Some(object)) if listed.is_some_and(|listed| listed.etag == object.etag) => {
                        Ok(Held::Bytes(object.bytes))
                    }
                    Ok(_) | Err(StoreError::TooLarge { .. }) => Ok(Held::Changed),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}

enum Held {
    /// The file is copied inside the store.
    Nothing,
    Bytes(Bytes),
    /// It is not what the LIST showed.
    Changed,
}

/// Where a file of the release lies.
fn release_key(inputs: &Inputs, path: &FilePath) -> Option<ObjectKey> {
    let deployment = inputs.deployment.as_ref()?;
    let (manifest, name) = (deployment.manifest.clone(), deployment.deployment.clone());
    Some(ObjectKey::DeploymentFile(manifest, name, deployment.content_sha256.content16(), path.clone()))
}

/// Refuses what would be too much to hold, before any of it is fetched.
fn check_held(inputs: &Inputs, files: &[ResolvedFile]) -> Result<(), ControllerError> {
    let mut total = 0_u64;
    for file in files {
        let size = match &file.source {
            Source::Override => inputs.overrides.get(&file.path).map_or(0, |listed| listed.size),
            Source::Release(released) if file.template => released.size,
            Source::Release(_) => continue,
        };
        if size > render::MAX_BYTES as u64 {
            let problem = format!(
                "{} has {size} bytes; overrides and templates may have {}, so put it into a release",
                file.path,
                render::MAX_BYTES
            );
            return Err(ControllerError::invalid(&inputs.cell, problem));
        }
        total = total.saturating_add(size);
    }
    check_held_bytes(inputs, total)
}

fn check_held_bytes(inputs: &Inputs, total: u64) -> Result<(), ControllerError> {
    if total > MOST_HELD_BYTES {
        let problem = format!("overrides and templates have {total} bytes together, more than {MOST_HELD_BYTES}");
        return Err(ControllerError::invalid(&inputs.cell, problem));
    }
    Ok(())
}

/// A name for what has none yet; names are no part of the content.
fn nameless(cell: &CellId) -> Result<VersionName, ControllerError> {
    VersionName::new("unnamed").map_err(|error| ControllerError::invalid(cell, error))
}
