//! Uploading a folder as a release: files first, their signed list last, which makes the release exist.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::inputs::READS;
use super::version::REUSED;
use super::walk::{self, Found};
use super::{Controller, ControllerError, names};
use crate::model::content::content_sha256;
use crate::model::deployment::{Deployment, DeploymentFile};
use crate::model::keys::Folder;
use crate::model::sign::{SignError, Verified, sign};
use crate::model::{DeploymentName, ManifestName, ObjectKey, Sha256Digest};
use crate::store::{Expect, StoreError};

/// How many files are read or sent at once. A small file is held in memory while it is sent.
const FILES: usize = 4;

/// How a folder is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadOptions {
    /// Take what links inside the folder point at.
    pub follow_symlinks: bool,
    /// Leave empty folders out instead of refusing them.
    pub skip_empty_dirs: bool,
    /// What its maker says about the release.
    pub note: Option<String>,
}

/// How far an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// False while files are being read for their digests, true while they are sent.
    pub sending: bool,
    /// Bytes done of this part.
    pub done_bytes: u64,
    /// Bytes of this part.
    pub total_bytes: u64,
}

/// A release that is in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// For which manifest.
    pub manifest: ManifestName,
    /// Its name.
    pub deployment: DeploymentName,
    /// What it is.
    pub content_sha256: Sha256Digest,
    /// How many files it has.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
    /// Whether this call made it exist; false if it was there with the same content.
    pub is_new: bool,
    /// How many files were sent; the others were there from an earlier try.
    pub sent_files: usize,
}

/// Counts bytes up and tells somebody.
struct Meter<'a> {
    sending: bool,
    done: AtomicU64,
    total: u64,
    tell: &'a (dyn Fn(Progress) + Send + Sync),
}

impl<'a> Meter<'a> {
    fn new(sending: bool, total: u64, tell: &'a (dyn Fn(Progress) + Send + Sync)) -> Self {
        Self { sending, done: AtomicU64::new(0), total, tell }
    }

    fn add(&self, bytes: u64) {
        let done_bytes = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.tell)(Progress { sending: self.sending, done_bytes, total_bytes: self.total });
    }
}

impl Controller {
    /// Uploads what is in `folder`. The same content again is no work and no new release; the same command after a
    /// crash sends what is missing. Without a name it gets a generated one.
    ///
    /// # Errors
    /// [`ControllerError::Folder`] when something in the folder cannot be taken, [`ControllerError::Exists`] when
    /// the name is taken by other content.
    pub async fn upload(
        &self,
        manifest: &ManifestName,
        name: Option<&DeploymentName>,
        folder: &Path,
        options: &UploadOptions,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Uploaded, ControllerError> {
        let found = find_files(folder, options).await?;
        let files = identify_all(found, progress).await?;
        self.upload_files(manifest, name, &files, options.note.clone(), progress).await
    }

    pub(super) async fn upload_files(
        &self,
        manifest: &ManifestName,
        name: Option<&DeploymentName>,
        files: &[(Found, Expect)],
        note: Option<String>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Uploaded, ControllerError> {
        let mut release = self.describe(manifest, files, note)?;
        let content = release.content_sha256;
        let (name, known) = self.choose_deployment(manifest, name, content).await?;
        if let Some(known) = known {
            return check_same(&known, &release).map(|()| uploaded(&known, false, 0));
        }
        release.deployment = name;

        let writer = self.writer().await?;
        let object = format!("deployment/{manifest}/{}", release.deployment);
        let reason = self.actor().reason.clone().or_else(|| release.note.clone());
        let act = self.intend("upload", object, None, Some(content.to_string()), reason).await?;
        let result = async {
            let sent = self.send_files(&release, files, progress).await?;
            let signed = sign(&release, &self.settings.signer).map_err(|source| unsigned(&release, source))?;
            let key = ObjectKey::Deployment(manifest.clone(), release.deployment.clone());
            match writer.create(&key, signed.document().to_vec().into()).await {
                Ok(_) => Ok(uploaded(&release, true, sent)),
                Err(StoreError::Conflict { .. }) => {
                    let (known, _) = self.read_deployment(manifest, &release.deployment).await?;
                    check_same(&known, &release).map(|()| uploaded(&known, false, sent))
                }
                Err(error) => Err(error.into()),
            }
        }
        .await;
        self.conclude(act, result).await
    }

    /// The release as its document will have it, but for its name.
    pub(super) fn describe(
        &self,
        manifest: &ManifestName,
        files: &[(Found, Expect)],
        note: Option<String>,
    ) -> Result<Deployment, ControllerError> {
        let unnamed = DeploymentName::new("unnamed").map_err(|error| ControllerError::invalid(manifest, error))?;
        let file = |(found, expect): &(Found, Expect)| DeploymentFile {
            path: found.path.clone(),
            size: expect.size,
            sha256: expect.sha256,
            mode: found.mode,
        };
        let mut release = Deployment {
            requires: Vec::new(),
            fleet: self.fleet(),
            manifest: manifest.clone(),
            deployment: unnamed,
            content_sha256: Sha256Digest::of(b""),
            // To the millisecond: the newest release is the default, and a script uploads two in one second.
            created_at: crate::clock::to_millis(self.clock.now()),
            created_by: self.actor().user.clone(),
            note,
            files: files.iter().map(file).collect(),
        };
        release.content_sha256 = content_sha256(&release);
        Ok(release)
    }

    /// The release's name, and what is there under it. Without one it is that of a release of the same content, also
    /// of one whose upload was interrupted.
    pub(super) async fn choose_deployment(
        &self,
        manifest: &ManifestName,
        wanted: Option<&DeploymentName>,
        content: Sha256Digest,
    ) -> Result<(DeploymentName, Option<Verified<Deployment>>), ControllerError> {
        if let Some(name) = wanted {
            let known = self.find_deployment(manifest, name).await?.map(|(known, _)| known);
            return Ok((name.clone(), known));
        }
        let listed = self.deployment_names(manifest).await?;
        let mut begun = None;
        for name in names::generated_for(listed.iter().map(DeploymentName::as_str), content) {
            let name = DeploymentName::new(name).map_err(|error| ControllerError::invalid(manifest, error))?;
            match self.find_deployment(manifest, &name).await? {
                Some((known, _)) if known.content_sha256 == content => return Ok((name, Some(known))),
                Some(_) => {}
                None => begun = begun.or(Some(name)),
            }
        }
        if let Some(known) = self.release_of(manifest, listed, content).await? {
            return Ok((known.deployment.clone(), Some(known)));
        }
        if let Some(name) = begun {
            return Ok((name, None));
        }
        let name = names::generate(self.clock.now(), content);
        let name = DeploymentName::new(name).map_err(|error| ControllerError::invalid(manifest, error))?;
        Ok((name, None))
    }

    /// The newest release of this content, whatever its name. One that is not believed is none.
    async fn release_of(
        &self,
        manifest: &ManifestName,
        names: Vec<DeploymentName>,
        content: Sha256Digest,
    ) -> Result<Option<Verified<Deployment>>, ControllerError> {
        let mut found =
            stream::iter(names).map(async |name| self.find_deployment(manifest, &name).await).buffer_unordered(READS);
        let mut newest: Option<Verified<Deployment>> = None;
        while let Some(found) = found.next().await {
            let found = match found {
                Err(ControllerError::Untrusted { .. }) => None,
                found => found?.map(|(known, _)| known).filter(|known| known.content_sha256 == content),
            };
            newest = newest.into_iter().chain(found).max_by_key(|known| (known.created_at, known.deployment.clone()));
        }
        Ok(newest)
    }

    /// Sends the files that are not there yet; one LIST must then show every one with its size.
    async fn send_files(
        &self,
        release: &Deployment,
        files: &[(Found, Expect)],
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<usize, ControllerError> {
        let (manifest, name) = (&release.manifest, &release.deployment);
        let content = release.content_sha256.content16();
        let folder = Folder::Deployment(manifest.clone(), name.clone());
        let key =
            |found: &Found| ObjectKey::DeploymentFile(manifest.clone(), name.clone(), content, found.path.clone());
        let there = self.list_files(&folder).await?;
        let oldest = self.store_now() - REUSED;
        let is_missing = |(found, expect): &&(Found, Expect)| !there.is_usable(&key(found), expect.size, oldest);
        let missing: Vec<(Found, Expect)> = files.iter().filter(is_missing).cloned().collect();
        let meter = Meter::new(true, missing.iter().map(|(_, expect)| expect.size).sum(), progress);
        let sent = missing.len();
        let store = self.writer().await?;
        stream::iter(missing)
            .map(async |(found, expect): (Found, Expect)| {
                let told = AtomicU64::new(0);
                let tell = |done: u64| meter.add(done.saturating_sub(told.swap(done, Ordering::Relaxed)));
                store.upload(&key(&found), &found.local, expect, &tell).await
            })
            .buffer_unordered(FILES)
            .try_for_each(async |_| Ok(()))
            .await?;
        let there = self.list_files(&folder).await?;
        match files.iter().find(|(found, expect)| there.size(&key(found)) != Some(expect.size)) {
            Some((found, _)) => Err(ControllerError::Changed { what: key(found).to_string() }),
            None => Ok(sent),
        }
    }
}

/// Reads every file for its digest, some at once.
async fn identify_all(
    found: Vec<Found>,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Vec<(Found, Expect)>, ControllerError> {
    let meter = Meter::new(false, found.iter().map(|file| file.size).sum(), progress);
    stream::iter(found)
        .map(async |file| {
            let expect = walk::identify(&file, |bytes| meter.add(bytes)).await?;
            Ok((file, expect))
        })
        .buffered(FILES)
        .try_collect()
        .await
}

/// Walks the folder where waiting for this machine's disk holds nobody up.
async fn find_files(folder: &Path, options: &UploadOptions) -> Result<Vec<Found>, ControllerError> {
    let (path, options) = (folder.to_owned(), options.clone());
    let walked = tokio::task::spawn_blocking(move || walk::walk(&path, &options)).await;
    walked.unwrap_or_else(|error| {
        let (doing, source) = ("reading the folder", std::io::Error::other(error));
        Err(ControllerError::Local { doing, path: folder.to_owned(), source })
    })
}

/// Refuses a release under a name that has other content, naming what differs.
pub(super) fn check_same(known: &Deployment, ours: &Deployment) -> Result<(), ControllerError> {
    if known.content_sha256 == ours.content_sha256 {
        return Ok(());
    }
    let file = |file: &DeploymentFile| (file.path.clone(), (file.sha256, file.mode));
    let before: std::collections::BTreeMap<_, _> = known.files.iter().map(file).collect();
    let after: std::collections::BTreeMap<_, _> = ours.files.iter().map(file).collect();
    let paths: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differing: Vec<String> =
        paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).map(ToString::to_string).collect();
    let what = format!("deployment {} of manifest {}", known.deployment, known.manifest);
    Err(ControllerError::Exists { what, differs: super::diff::listed(&differing) })
}

fn uploaded(release: &Deployment, is_new: bool, sent_files: usize) -> Uploaded {
    Uploaded {
        manifest: release.manifest.clone(),
        deployment: release.deployment.clone(),
        content_sha256: release.content_sha256,
        files: release.files.len(),
        bytes: release.files.iter().map(|file| file.size).sum(),
        is_new,
        sent_files,
    }
}

fn unsigned(release: &Deployment, source: SignError) -> ControllerError {
    let what = format!("deployment {}", release.deployment);
    match source {
        SignError::TooLarge { limit, size, .. } => {
            let problem = format!("its list of files has {size} bytes, more than {limit}; shorten paths or split it");
            ControllerError::invalid(what, problem)
        }
        source => ControllerError::Sign { what, source },
    }
}
