//! Reading a bundle into a bucket: documents are checked against each other and against what is there, then files are
//! sent, and only a bundle that was read to its end is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};

use super::{Bundle, BundleFile, CONTENTS, MOST_DOCUMENT_BYTES, Packed, is_document, local, numbered, refuse, tar};
use crate::controller::head::floor;
use crate::controller::version::REUSED;
use crate::controller::{Controller, ControllerError};
use crate::model::deployment::Deployment;
use crate::model::document::{self, Document as _};
use crate::model::manifest::Manifest;
use crate::model::sign::{Verified, verify};
use crate::model::trigger::Trigger;
use crate::model::{CellId, ObjectKey, Sha256Digest, VersionName};
use crate::store::{Expect, StoreError};

/// How much of a file is read at once.
const PIECE_BYTES: usize = 1 << 20;

/// What was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The versions, whether they were there before or not.
    pub versions: Vec<(CellId, VersionName)>,
    /// Files that had to be sent.
    pub sent: usize,
    /// Documents that were not there before.
    pub created: usize,
}

/// A bundle whose documents are believed.
pub(super) struct Opened {
    pub(super) bundle: Bundle,
    pub(super) believed: Believed,
    /// Its files are next.
    pub(super) from: BufReader<File>,
}

/// What the documents of a bundle say, believed.
#[derive(Default)]
pub(super) struct Believed {
    pub(super) triggers: Vec<Verified<Trigger>>,
    /// In the order of their commits: releases, manifests, history.
    pub(super) commits: Vec<(ObjectKey, Bytes)>,
    /// What each file must be.
    files: BTreeMap<String, (ObjectKey, Expect)>,
    versions: Vec<(CellId, VersionName)>,
}

impl Controller {
    /// Puts what is in a bundle into the bucket, byte for byte. The same again does nothing, and one that was
    /// interrupted goes on.
    ///
    /// # Errors
    /// [`ControllerError::ForeignFleet`] for a bundle of another fleet, [`ControllerError::Untrusted`] for one that is
    /// cut, changed or not signed, [`ControllerError::Exists`] when the bucket has something else under a name of it.
    /// Nothing is committed then.
    pub async fn load_bundle<'b>(&self, file: impl Into<BundleFile<'b>>) -> Result<Loaded, ControllerError> {
        let file = file.into();
        let Opened { bundle, believed, mut from } = self.open_bundle(file).await?;
        let path = file.called;
        let object = format!("bundle/{}", path.file_name().unwrap_or_default().to_string_lossy());
        let act = self.intend("load", object, None, None, None).await?;
        let loaded = async {
            let sent = self.send_files_of(path, &bundle, &believed, &mut from).await?;
            tar::expect_end(&mut from).await.map_err(|error| refuse(path, error))?;
            let created = self.commit_bundle(&believed).await?;
            Ok(Loaded { versions: believed.versions.clone(), sent, created })
        }
        .await;
        self.conclude(act, loaded).await
    }

    /// Reads a bundle up to its files, and refuses one that cannot be loaded as far as that can be told by then.
    pub(super) async fn open_bundle(&self, file: BundleFile<'_>) -> Result<Opened, ControllerError> {
        self.check_fleet().await?;
        let opened = File::open(file.path).await.map_err(local("opening", file.called))?;
        let mut from = BufReader::with_capacity(PIECE_BYTES, opened);
        let bundle = self.read_contents(file.called, &mut from).await?;
        let believed = self.read_documents(file.called, &bundle, &mut from).await?;
        self.check_free(&believed).await?;
        Ok(Opened { bundle, believed, from })
    }

    async fn read_contents(&self, path: &Path, from: &mut BufReader<File>) -> Result<Bundle, ControllerError> {
        let bytes = read(path, from, CONTENTS, Bundle::MAX_BYTES).await?;
        let bundle: Bundle = document::parse(&bytes).map_err(|error| refuse(path, crate::store::in_full(&error)))?;
        if bundle.fleet != self.fleet() {
            return Err(ControllerError::ForeignFleet { found: bundle.fleet, expected: self.fleet() });
        }
        let held = bundle.documents.iter().fold(0_u64, |sum, packed| sum.saturating_add(packed.size));
        if held > MOST_DOCUMENT_BYTES {
            return Err(refuse(path, format!("its documents have more than {MOST_DOCUMENT_BYTES} bytes")));
        }
        Ok(bundle)
    }

    /// Reads the documents and checks the whole chain: trigger, manifest, files.
    async fn read_documents(
        &self,
        path: &Path,
        bundle: &Bundle,
        from: &mut BufReader<File>,
    ) -> Result<Believed, ControllerError> {
        let mut documents = BTreeMap::new();
        for (number, packed) in bundle.documents.iter().enumerate() {
            let bytes = read(path, from, &numbered(number), packed.size).await?;
            if bytes.len() as u64 != packed.size || Sha256Digest::of(&bytes) != packed.sha256 {
                return Err(refuse(path, format!("document {number} is not the one that it names")));
            }
            for key in &packed.keys {
                let key = ObjectKey::parse(key).map_err(|error| refuse(path, error))?;
                if !is_document(&key) {
                    return Err(refuse(path, format!("{key} is no document that a bundle brings")));
                }
                documents.insert(key.relative(), (key, bytes.clone()));
            }
        }
        let mut believed = Believed::default();
        for (key, bytes) in documents.values() {
            match key {
                ObjectKey::History(cell, _) => {
                    let trigger = self.believe(key, cell, bytes)?;
                    self.believe_version(path, &documents, &trigger, &mut believed)?;
                    believed.triggers.push(trigger);
                }
                ObjectKey::Deployment(..) => self.believe_release(path, key, bytes, &mut believed)?,
                _ => {}
            }
        }
        let taken: BTreeSet<String> = believed.commits.iter().map(|(key, _)| key.relative()).collect();
        if let Some(stray) = documents.keys().find(|key| !taken.contains(*key)) {
            return Err(refuse(path, format!("no signed trigger in it names {stray}")));
        }
        believed.commits.sort_by_key(|(key, _)| match key {
            ObjectKey::Deployment(..) => 0,
            ObjectKey::VersionManifest(..) => 1,
            _ => 2,
        });
        Ok(believed)
    }

    fn believe_version(
        &self,
        path: &Path,
        documents: &BTreeMap<String, (ObjectKey, Bytes)>,
        trigger: &Verified<Trigger>,
        believed: &mut Believed,
    ) -> Result<(), ControllerError> {
        let cell = trigger.cell_id();
        let Some(target) = trigger.action.target() else {
            return Err(refuse(path, format!("a trigger of {cell} in it names no version")));
        };
        let key = ObjectKey::VersionManifest(cell.clone(), target.version.clone());
        let found = documents.get(&key.relative()).map(|(_, bytes)| bytes);
        let Some(bytes) = found.filter(|bytes| Sha256Digest::of(bytes) == target.manifest_sha256) else {
            return Err(refuse(path, format!("{key} in it is not the one that is signed")));
        };
        let manifest = Manifest::parse(bytes).map_err(|error| refuse(path, error))?;
        if manifest.fleet != self.fleet() || manifest.cell_id() != cell || manifest.version != target.version {
            return Err(refuse(path, format!("{key} in it says that it is another")));
        }
        for file in &manifest.files {
            if file.object.is_some() {
                return Err(refuse(path, format!("{key} in it has its files in packs")));
            }
            let key = manifest.object_of(file).map_err(|error| refuse(path, error))?;
            believed.files.insert(key.relative(), (key, Expect { size: file.size, sha256: file.sha256 }));
        }
        let history = ObjectKey::History(cell.clone(), floor(trigger));
        believed.commits.push((history, trigger.document().to_vec().into()));
        if !believed.versions.contains(&(cell.clone(), target.version.clone())) {
            believed.commits.push((key, bytes.clone()));
            believed.versions.push((cell, target.version.clone()));
        }
        Ok(())
    }

    fn believe_release(
        &self,
        path: &Path,
        key: &ObjectKey,
        bytes: &Bytes,
        believed: &mut Believed,
    ) -> Result<(), ControllerError> {
        let release = verify::<Deployment>(bytes, &self.settings.trust)
            .map_err(|error| refuse(path, crate::store::in_full(&error)))?;
        let its = ObjectKey::Deployment(release.manifest.clone(), release.deployment.clone());
        if release.fleet != self.fleet() || its != *key {
            return Err(refuse(path, format!("{key} in it says that it is another")));
        }
        if let Some(feature) = release.requires.first() {
            return Err(refuse(path, format!("{key} in it requires {feature:?}, which this version does not support")));
        }
        let content = release.content_sha256.content16();
        for file in &release.files {
            let (manifest, name) = (release.manifest.clone(), release.deployment.clone());
            let key = ObjectKey::DeploymentFile(manifest, name, content, file.path.clone());
            believed.files.insert(key.relative(), (key, Expect { size: file.size, sha256: file.sha256 }));
        }
        believed.commits.push((key.clone(), bytes.clone()));
        Ok(())
    }

    /// Refuses before anything is written if the bucket has something else under a name of the bundle.
    async fn check_free(&self, believed: &Believed) -> Result<(), ControllerError> {
        for (cell, version) in &believed.versions {
            self.refuse_marked(cell, version).await?;
        }
        for (key, bytes) in &believed.commits {
            let is_same = match self.store().find(key, bytes.len() as u64).await {
                Ok(found) => found.is_none_or(|found| found.bytes == *bytes),
                Err(StoreError::TooLarge { .. }) => false,
                Err(error) => return Err(error.into()),
            };
            if !is_same {
                let differs = "the bucket and the bundle come from different pasts".to_owned();
                return Err(ControllerError::Exists { what: key.to_string(), differs });
            }
        }
        Ok(())
    }

    /// Sends the files. Each is on the disk, digested and compared, before a byte of it is sent.
    async fn send_files_of(
        &self,
        path: &Path,
        bundle: &Bundle,
        believed: &Believed,
        from: &mut BufReader<File>,
    ) -> Result<usize, ControllerError> {
        let folder = tempfile::tempdir().map_err(local("creating a folder for files of", path))?;
        let spool = folder.path().join("file");
        let (mut files, mut sent) = (Signed::of(path, bundle, believed), 0);
        while let Some(SignedFile { number, packed, keys }) = files.next()? {
            let expect = Expect { size: packed.size, sha256: packed.sha256 };
            let mut into = File::create(&spool).await.map_err(local("writing", &spool))?;
            take(path, from, number, packed, &mut into).await?;
            for key in keys {
                if !self.has_lately(key, expect.size).await? {
                    self.writer().await?.upload(key, &spool, expect, &|_| {}).await?;
                    sent += 1;
                }
            }
        }
        Ok(sent)
    }

    /// Whether an interrupted try has sent a file, so lately that it is not swept before it is committed.
    async fn has_lately(&self, key: &ObjectKey, size: u64) -> Result<bool, ControllerError> {
        let oldest = self.store_now() - REUSED;
        let found = self.store().head(key).await?;
        Ok(found.is_some_and(|found| found.size == size && found.last_modified.is_some_and(|time| time >= oldest)))
    }

    /// Releases, versions, history, and last the copies where agents look.
    async fn commit_bundle(&self, believed: &Believed) -> Result<usize, ControllerError> {
        let mut created = 0;
        for (key, bytes) in &believed.commits {
            match self.writer().await?.create(key, bytes.clone()).await {
                Ok(done) => created += usize::from(done.outcome == crate::store::Outcome::New),
                Err(StoreError::Conflict { .. }) => {
                    return Err(ControllerError::Changed { what: key.to_string() });
                }
                Err(error) => return Err(error.into()),
            }
        }
        for trigger in &believed.triggers {
            let turn = self.take_turn(&trigger.cell_id()).await?;
            // A copy never goes down: where the bucket is further already, it stays so.
            let spread = self.spread(trigger).await;
            turn.end().await;
            spread?;
        }
        Ok(created)
    }
}

/// The files of a bundle in their order, each if something signed names it; and at the end all that something signed
/// names must have been there.
pub(super) struct Signed<'b> {
    path: &'b Path,
    believed: &'b Believed,
    files: std::iter::Zip<std::ops::RangeFrom<usize>, std::slice::Iter<'b, Packed>>,
    missing: BTreeSet<&'b str>,
}

/// A file of a bundle.
pub(super) struct SignedFile<'b> {
    pub(super) number: usize,
    /// What it must be.
    pub(super) packed: &'b Packed,
    /// The objects that have it.
    pub(super) keys: Vec<&'b ObjectKey>,
}

impl<'b> Signed<'b> {
    pub(super) fn of(path: &'b Path, bundle: &'b Bundle, believed: &'b Believed) -> Self {
        let missing = believed.files.keys().map(String::as_str).collect();
        Self { path, believed, files: (bundle.documents.len()..).zip(&bundle.files), missing }
    }

    /// The next file.
    pub(super) fn next(&mut self) -> Result<Option<SignedFile<'b>>, ControllerError> {
        let Some((number, packed)) = self.files.next() else {
            return match self.missing.first() {
                Some(missing) => Err(refuse(self.path, format!("{missing} is missing in it"))),
                None => Ok(None),
            };
        };
        let mut keys = Vec::new();
        for key in &packed.keys {
            match self.believed.files.get(key) {
                Some((key, signed)) if (signed.size, signed.sha256) == (packed.size, packed.sha256) => keys.push(key),
                _ => return Err(refuse(self.path, format!("{key:?} in it is nothing that is signed"))),
            }
            self.missing.remove(key.as_str());
        }
        Ok(Some(SignedFile { number, packed, keys }))
    }
}

/// Reads a small file of the archive whole.
async fn read(path: &Path, from: &mut BufReader<File>, name: &str, most: u64) -> Result<Bytes, ControllerError> {
    let refused = |error: std::io::Error| refuse(path, error);
    let size = tar::expect(from, name).await.map_err(refused)?;
    if size > most {
        return Err(refuse(path, format!("{name} has {size} bytes, more than {most}")));
    }
    let mut bytes = Vec::new();
    let got = from.take(size).read_to_end(&mut bytes).await.map_err(local("reading", path))?;
    if got as u64 != size {
        return Err(refuse(path, "it ends too early"));
    }
    tar::skip(from, size).await.map_err(refused)?;
    Ok(bytes.into())
}

/// Takes a file out of the archive, if it is the one that is named.
pub(super) async fn take(
    path: &Path,
    from: &mut BufReader<File>,
    number: usize,
    packed: &Packed,
    into: &mut (impl AsyncWrite + Unpin),
) -> Result<(), ControllerError> {
    let refused = |error: std::io::Error| refuse(path, error);
    let size = tar::expect(from, &numbered(number)).await.map_err(refused)?;
    if size != packed.size {
        return Err(refuse(path, format!("file {number} has {size} bytes, and should have {}", packed.size)));
    }
    let (mut left, mut digest, mut piece) = (size, Sha256Digest::builder(), vec![0; PIECE_BYTES]);
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let got = from.read(&mut piece[..most]).await.map_err(local("reading", path))?;
        if got == 0 {
            return Err(refuse(path, "it ends too early"));
        }
        digest.update(&piece[..got]);
        into.write_all(&piece[..got]).await.map_err(local("writing a file of", path))?;
        left -= got as u64;
    }
    into.flush().await.map_err(local("writing a file of", path))?;
    if digest.finish() != packed.sha256 {
        return Err(refuse(path, format!("file {number} is not the one that it names")));
    }
    tar::skip(from, size).await.map_err(refused)
}
