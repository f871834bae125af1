//! Writing a bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt as _, BufWriter};

use super::{Bundle, BundleSelector, CONTENTS, MOST_DOCUMENT_BYTES, Packed, local, numbered, tar};
use crate::controller::head::floor;
use crate::controller::history::MOST_ENTRIES;
use crate::controller::{Controller, ControllerError};
use crate::model::document::{self, Document as _};
use crate::model::manifest::Manifest;
use crate::model::sign::Verified;
use crate::model::trigger::Trigger;
use crate::model::{CellId, ObjectKey, Sha256Digest, VersionName};
use crate::store::Expect;

/// What was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The versions.
    pub versions: Vec<(CellId, VersionName)>,
    /// How many files, each counted once.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
}

/// What is to be saved.
#[derive(Debug, Default)]
struct Contents {
    documents: BTreeMap<String, Bytes>,
    /// By what they are: where they are read, and every key that has them.
    files: BTreeMap<(Sha256Digest, u64), (Option<ObjectKey>, BTreeSet<String>)>,
}

impl Contents {
    fn file(&mut self, key: ObjectKey, expect: Expect) {
        let (from, keys) = self.files.entry((expect.sha256, expect.size)).or_default();
        keys.insert(key.relative());
        from.get_or_insert(key);
    }
}

/// Versions that were found whole and are to be written.
#[derive(Debug)]
pub struct BundleToSave {
    contents: Contents,
    saved: Saved,
}

impl BundleToSave {
    /// What it has.
    #[must_use]
    pub fn about(&self) -> &Saved {
        &self.saved
    }
}

impl Controller {
    /// Writes versions with their releases and the signed triggers that name them into a file, which appears whole or
    /// not at all.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when no believed trigger names a version, or it is not whole any more.
    pub async fn save_bundle(&self, path: &Path, wanted: &[BundleSelector]) -> Result<Saved, ControllerError> {
        let bundle = self.gather_bundle(wanted).await?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let part = tempfile::NamedTempFile::new_in(folder).map_err(local("creating a file beside", path))?;
        let file = part.reopen().map_err(local("writing", path))?;
        let mut into = BufWriter::new(tokio::fs::File::from_std(file));
        self.write_bundle(path, &bundle, &mut into).await?;
        into.into_inner().sync_all().await.map_err(local("writing", path))?;
        part.persist(path).map_err(|error| local("writing", path)(error.error))?;
        Ok(bundle.saved)
    }

    /// Finds what a bundle of these versions has. None of its files is read yet.
    ///
    /// # Errors
    /// See [`Self::save_bundle`].
    pub async fn gather_bundle(&self, wanted: &[BundleSelector]) -> Result<BundleToSave, ControllerError> {
        let (mut contents, mut versions) = (Contents::default(), Vec::new());
        for BundleSelector { cell, version } in wanted {
            let trigger = self.trigger_to_save(cell, version.as_ref()).await?;
            versions.push(self.gather(cell, &trigger, &mut contents).await?);
        }
        let held: u64 = contents.documents.values().map(|bytes| bytes.len() as u64).sum();
        if held > MOST_DOCUMENT_BYTES {
            let problem =
                format!("its documents have {held} bytes, more than {MOST_DOCUMENT_BYTES}; save fewer versions");
            return Err(ControllerError::invalid("a bundle", problem));
        }
        let bytes = contents.files.keys().map(|(_, size)| size).sum();
        let saved = Saved { versions, files: contents.files.len(), bytes };
        Ok(BundleToSave { contents, saved })
    }

    /// The newest believed trigger that names the version.
    async fn trigger_to_save(
        &self,
        cell: &CellId,
        version: Option<&VersionName>,
    ) -> Result<Verified<Trigger>, ControllerError> {
        let entries = self.history(cell, MOST_ENTRIES).await?;
        let mut believed = entries.into_iter().filter_map(|entry| entry.trigger.ok());
        let found = match version {
            Some(version) => {
                believed.find(|trigger| trigger.action.target().is_some_and(|target| target.version == *version))
            }
            None => believed.next().filter(|newest| newest.action.target().is_some()),
        };
        let what =
            version.map_or_else(|| format!("{cell}: a desired version"), |name| format!("{cell}: version {name}"));
        found.ok_or_else(|| {
            ControllerError::not_found(what, "no believed trigger names it; name one as <node>/<cell>@<version>")
        })
    }

    async fn gather(
        &self,
        cell: &CellId,
        trigger: &Verified<Trigger>,
        contents: &mut Contents,
    ) -> Result<(CellId, VersionName), ControllerError> {
        let Some(target) = trigger.action.target() else {
            return Err(ControllerError::invalid(cell, "its trigger names no version"));
        };
        let manifest = self.check_pinned(cell, target).await?;
        let Some(bytes) = self.find_manifest(cell, &target.version).await? else {
            return Err(ControllerError::not_found(
                format!("{cell}: version {}", target.version),
                "it was just deleted",
            ));
        };
        let documents = &mut contents.documents;
        let at = floor(trigger);
        documents.insert(ObjectKey::History(cell.clone(), at).relative(), trigger.document().to_vec().into());
        let key = ObjectKey::VersionManifest(cell.clone(), target.version.clone());
        documents.insert(key.relative(), bytes.into());
        for file in &manifest.files {
            if file.object.is_some() {
                let problem = format!("version {} has its files in packs, which bundles do not hold", target.version);
                return Err(ControllerError::invalid(cell, problem));
            }
            let key = manifest.object_of(file).map_err(|error| ControllerError::invalid(cell, error))?;
            contents.file(key, Expect { size: file.size, sha256: file.sha256 });
        }
        self.gather_release(&manifest, contents).await?;
        Ok((cell.clone(), target.version.clone()))
    }

    /// The release that a version was made from, if it is still there: a version needs it no more.
    async fn gather_release(&self, version: &Manifest, contents: &mut Contents) -> Result<(), ControllerError> {
        let Some(name) = &version.deployment else { return Ok(()) };
        let Some((release, _)) = self.find_deployment(&version.manifest, name).await? else { return Ok(()) };
        let key = ObjectKey::Deployment(version.manifest.clone(), name.clone());
        contents.documents.insert(key.relative(), release.document().to_vec().into());
        let content = release.content_sha256.content16();
        for file in &release.files {
            let key = ObjectKey::DeploymentFile(version.manifest.clone(), name.clone(), content, file.path.clone());
            contents.file(key, Expect { size: file.size, sha256: file.sha256 });
        }
        Ok(())
    }

    /// Writes a bundle; `path` is what it is called where that fails.
    ///
    /// # Errors
    /// [`ControllerError::Local`] when `into` fails, or why the store did not give a file. What was written then is no
    /// bundle: it has no end.
    pub async fn write_bundle(
        &self,
        path: &Path,
        bundle: &BundleToSave,
        into: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<(), ControllerError> {
        let contents = &bundle.contents;
        let failed = local("writing", path);
        let documents = contents.documents.iter().map(|(key, bytes)| Packed {
            keys: vec![key.clone()],
            size: bytes.len() as u64,
            sha256: Sha256Digest::of(bytes),
        });
        let files = contents.files.iter().map(|((sha256, size), (_, keys))| Packed {
            keys: keys.iter().cloned().collect(),
            size: *size,
            sha256: *sha256,
        });
        let (fleet, created_at) = (self.fleet(), self.now());
        let bundle = Bundle { fleet, created_at, documents: documents.collect(), files: files.collect() };
        let rendered = document::render(&bundle);
        if rendered.len() as u64 > Bundle::MAX_BYTES {
            return Err(ControllerError::invalid("a bundle", "it would name too many files; save fewer versions"));
        }
        let first = std::iter::once((CONTENTS.to_owned(), Bytes::from(rendered)));
        let rest = contents.documents.values().enumerate().map(|(number, bytes)| (numbered(number), bytes.clone()));
        for (name, bytes) in first.chain(rest) {
            let size = bytes.len() as u64;
            tar::begin(&mut *into, &name, size).await.map_err(&failed)?;
            into.write_all(&bytes).await.map_err(&failed)?;
            tar::end(&mut *into, size).await.map_err(&failed)?;
        }
        let numbers = contents.documents.len()..;
        for (number, ((sha256, size), (from, _))) in numbers.zip(&contents.files) {
            let Some(from) = from else { continue };
            tar::begin(&mut *into, &numbered(number), *size).await.map_err(&failed)?;
            self.store().download(from, None, Expect { size: *size, sha256: *sha256 }, &mut *into).await?;
            tar::end(&mut *into, *size).await.map_err(&failed)?;
        }
        tar::finish(into).await.map_err(&failed)
    }
}
