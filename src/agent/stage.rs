//! From a verified trigger to a whole, verified release beside the others (protocol.md, "The agent, in order").

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::attempt_log::AttemptLog;
use super::context::Context;
use super::disk::{DiskError, Folder, apart};
use super::fetch;
use super::home::CellHome;
use super::hooks::{Call, Reason};
use super::place::{Plot, UNFINISHED};
use super::release::{self, Content, Look, Unfinished, content, difference};
use super::reuse::Sources;
use super::state::{Effort, Placed, release_name};
use super::trouble::{Cure, Trouble};
use super::users;
use super::windows::{self, Kind};
use crate::model::document::{Document as _, DocumentError};
use crate::model::hook::{HookEvent, owed_hooks};
use crate::model::manifest::{Manifest, ManifestError, ManifestFile};
use crate::model::pattern::changed_files;
use crate::model::strategy::overlap;
use crate::model::trigger::Target;
use crate::model::{CellName, Code, Floor, ObjectKey, Sha256Digest};
use crate::store::{StoreError, in_full};

/// A release that can be switched to.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    pub(super) manifest: Arc<Manifest>,
    pub(super) effort: Effort,
    /// The hooks that are to be run on the way from what runs.
    pub(super) hooks: BTreeSet<HookEvent>,
    /// Whether it can run beside what runs.
    pub(super) overlaps: bool,
}

/// One release on its way to the node.
#[derive(Debug, Clone)]
pub(super) struct Staging {
    pub(super) context: Arc<Context>,
    pub(super) cell: CellName,
    pub(super) home: CellHome,
    pub(super) target: Target,
    pub(super) log: AttemptLog,
    pub(super) at: Floor,
    pub(super) reason: Reason,
    /// What runs, if something does.
    pub(super) from: Option<Placed>,
    /// Since when a hook puts this off, if one does.
    pub(super) waits_since: Option<DateTime<Utc>>,
    /// Whether what is run before was run, by an earlier try.
    pub(super) is_prepared: Arc<AtomicBool>,
    /// Whether a window may keep it from being fetched.
    pub(super) may_wait: bool,
}

impl Staging {
    /// Brings the release to the node, unless it is there whole. What was fetched by an earlier try is kept.
    pub(super) async fn run(self, cancel: CancellationToken) -> Result<Staged, Trouble> {
        let given_up = || Trouble::new(Code::Interrupted, "it was given up", Cure::Time);
        let known = async { Ok::<_, Trouble>((Arc::new(self.manifest().await?), self.manifest_before().await?)) };
        let (manifest, before) = cancel.run_until_cancelled(known).await.ok_or_else(given_up)??;
        let (plot, is_whole) = cancel.run_until_cancelled(self.begin(&manifest)).await.ok_or_else(given_up)??;
        // What it started has to be ended with it, so it is not just dropped.
        self.prepare(&manifest, before.as_ref(), &cancel).await?;
        let effort = match is_whole {
            true => Effort::default(),
            false => cancel.run_until_cancelled(self.bring(&plot, &manifest)).await.ok_or_else(given_up)??,
        };
        let overlaps = before.as_ref().is_some_and(|before| overlap(before, &manifest));
        Ok(Staged { hooks: owed_hooks(before.as_ref(), &manifest), manifest, effort, overlaps })
    }

    /// The manifest of what runs, if it is known.
    async fn manifest_before(&self) -> Result<Option<Manifest>, Trouble> {
        let Some(from) = self.from.clone() else { return Ok(None) };
        let home = self.home.clone();
        Ok(apart(move || kept_manifest(&home, &from.target)).await?)
    }

    /// Runs what is to be run before any file is fetched.
    async fn prepare(
        &self,
        manifest: &Manifest,
        before: Option<&Manifest>,
        cancel: &CancellationToken,
    ) -> Result<(), Trouble> {
        let event = HookEvent::BeforeStage;
        let concerned = manifest.hooks.get(&event).is_some_and(|hook| hook.concerns(&changed_files(before, manifest)));
        if !concerned || self.is_prepared.load(Ordering::Relaxed) {
            return Ok(());
        }
        let placement = self.context.profiles.get(manifest.profile.name()).map(|it| it.placement(&self.cell));
        let Some(placement) = placement else { return Ok(()) };
        let call = Call {
            event,
            manifest,
            release: placement.releases_path().join(release_name(&self.target)),
            data: self.context.home.data().path().join(self.cell.as_str()),
            from: before,
            to: Some(manifest),
            at: self.at,
            reason: self.reason,
            waits_since: self.waits_since,
        };
        call.run(&self.context, &self.log, cancel).await.map_err(|trouble| match trouble.cure {
            // Only this try is over, and not the agent.
            Cure::Killed => Trouble { cure: Cure::Time, ..trouble },
            _ => trouble,
        })?;
        self.is_prepared.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the cell's place, and looks whether the release is there already, and whole; if not, whether it may be
    /// fetched now.
    async fn begin(&self, manifest: &Arc<Manifest>) -> Result<(Arc<Plot>, bool), Trouble> {
        let plot = Arc::new(self.claim(manifest).await?);
        let is_whole = self.is_whole(&plot, manifest).await?;
        if is_whole {
            self.log.line("the release is on the node already, and whole");
        } else if self.may_wait {
            windows::check(&self.context, manifest, Kind::Download)?;
        }
        Ok((plot, is_whole))
    }

    async fn bring(&self, plot: &Arc<Plot>, manifest: &Arc<Manifest>) -> Result<Effort, Trouble> {
        let unfinished = self.make_room(plot, manifest).await?;
        let mut effort = Effort::default();
        let missing = self.reuse(&unfinished, manifest, &mut effort).await?;
        self.log.line(format!(
            "{} files, {} bytes; {} files are on the node already",
            manifest.files.len(),
            manifest.total_bytes(),
            effort.files_reused
        ));
        self.fetch(&unfinished, manifest, missing, &mut effort).await?;
        let (plot, release, owned) = (Arc::clone(plot), release_name(&self.target), Arc::clone(manifest));
        apart(move || unfinished.complete(&plot.releases, &release, &owned)).await?;
        self.log.line(format!("the release is whole: {} files fetched", effort.files_fetched));
        Ok(effort)
    }

    /// The version's manifest, from the node if it is kept there, checked against the trigger (I3).
    async fn manifest(&self) -> Result<Manifest, Trouble> {
        let (home, target) = (self.home.clone(), self.target.clone());
        if let Some(manifest) = apart(move || kept_manifest(&home, &target)).await? {
            return self.check(manifest);
        }
        let target = &self.target;
        if target.manifest_size > Manifest::MAX_BYTES {
            let message = format!("the manifest has {} bytes, more than a manifest may have", target.manifest_size);
            return Err(Trouble::new(Code::ManifestInvalid, message, Cure::OtherContent));
        }
        let key = ObjectKey::VersionManifest(self.context.identity.cell_id(&self.cell), target.version.clone());
        let tampered = |got: String| {
            let expected = format!("{} bytes with sha256 {}", target.manifest_size, target.manifest_sha256);
            let message = format!("{key} is not the manifest of the trigger: expected {expected}, got {got}");
            Trouble::new(Code::ManifestTampered, message, Cure::Time)
        };
        let object = match self.context.store.find(&key, target.manifest_size).await {
            Ok(Some(object)) => object,
            Ok(None) => {
                let message = format!("{key} is not in the bucket yet");
                return Err(Trouble::new(Code::ManifestMissing, message, Cure::Time));
            }
            Err(StoreError::TooLarge { .. }) => return Err(tampered("more bytes".to_owned())),
            Err(error) => return Err(error.into()),
        };
        let digest = Sha256Digest::of(&object.bytes);
        if object.bytes.len() as u64 != target.manifest_size || digest != target.manifest_sha256 {
            return Err(tampered(format!("{} bytes with sha256 {digest}", object.bytes.len())));
        }
        let manifest = self.read_manifest(&object.bytes)?;
        let (folder, name) = (self.home.manifests.clone(), manifest_file(target));
        apart(move || folder.write(&name, &object.bytes)).await?;
        self.log.line(format!("manifest of version {}: {} bytes, verified", target.version, target.manifest_size));
        Ok(manifest)
    }

    /// Reads the manifest, if this agent can do what it says.
    fn read_manifest(&self, bytes: &[u8]) -> Result<Manifest, Trouble> {
        let manifest = Manifest::parse(bytes).map_err(|error| match &error {
            ManifestError::Document(DocumentError::Unsupported { .. } | DocumentError::UnknownSchema { .. }) => {
                Trouble::new(Code::Unsupported, in_full(&error), Cure::NewerAgent)
            }
            _ => Trouble::new(Code::ManifestInvalid, in_full(&error), Cure::OtherContent),
        })?;
        self.check(manifest)
    }

    /// Checks what the manifest says of itself against the trigger, also of one that was fetched for another trigger.
    fn check(&self, manifest: Manifest) -> Result<Manifest, Trouble> {
        let identity = &self.context.identity;
        let found = (manifest.fleet, manifest.cell_id(), &manifest.version);
        let expected = (identity.fleet, identity.cell_id(&self.cell), &self.target.version);
        if found != expected {
            let message = format!(
                "the manifest is of {} version {} in fleet {}, expected {} version {} in fleet {}",
                found.1, found.2, found.0, expected.1, expected.2, expected.0
            );
            return Err(Trouble::new(Code::WrongTarget, message, Cure::OtherContent));
        }
        if manifest.content_sha256 != self.target.content_sha256 {
            let message = format!(
                "the trigger names content {}, the manifest {}",
                self.target.content_sha256, manifest.content_sha256
            );
            return Err(Trouble::new(Code::ManifestInvalid, message, Cure::OtherContent));
        }
        Ok(manifest)
    }

    /// Takes the cell's place on the host.
    async fn claim(&self, manifest: &Arc<Manifest>) -> Result<Plot, Trouble> {
        let (context, cell, manifest) = (Arc::clone(&self.context), self.cell.clone(), Arc::clone(manifest));
        apart(move || {
            let name = manifest.profile.name();
            let Some(profile) = context.profiles.get(name) else {
                let message = format!("this agent is not set up for the {name} profile; see its config");
                return Err(Trouble::new(Code::ProfileUnavailable, message, Cure::Time));
            };
            let (user, group) = manifest.profile.owner();
            users::owner(user, group)?;
            // Whom a program is to run as is found missing before anything is stopped for it.
            for run in manifest.profile.runs() {
                users::owner(run.user.as_deref(), run.group.as_deref())?;
            }
            for hook in manifest.hooks.values() {
                users::owner(hook.user.as_deref(), None)?;
            }
            Plot::claim(profile.placement(&cell), &context.owner(&cell), &context.steps)
        })
        .await
    }

    async fn is_whole(&self, plot: &Arc<Plot>, manifest: &Arc<Manifest>) -> Result<bool, Trouble> {
        let (plot, manifest, release) = (Arc::clone(plot), Arc::clone(manifest), release_name(&self.target));
        let found = apart(move || {
            let Some(folder) = plot.releases.child(&release)? else { return Ok::<_, DiskError>(None) };
            Ok(Some(difference(&folder, &manifest, Look::AtBytes)?))
        });
        match found.await? {
            None => Ok(false),
            Some(None) => Ok(true),
            Some(Some(what)) => {
                self.log.line(format!("the release on the node is damaged: {what}"));
                Ok(false)
            }
        }
    }

    /// Begins the release's folder, if there is room for the release.
    async fn make_room(&self, plot: &Arc<Plot>, manifest: &Arc<Manifest>) -> Result<Unfinished, Trouble> {
        let (plot, manifest, release) = (Arc::clone(plot), Arc::clone(manifest), release_name(&self.target));
        let reserve = self.context.reserve_bytes;
        apart(move || {
            let (free_bytes, free_files) = plot.releases.room()?;
            let begun = plot.releases.child(format!("{UNFINISHED}{release}"))?;
            let there = begun.map_or(Ok(0), |begun| written_bytes(&begun, &manifest))?;
            let needed = manifest.total_bytes().saturating_sub(there).saturating_add(reserve);
            if needed > free_bytes || manifest.files.len() as u64 > free_files {
                let message = format!(
                    "{} needs {} files and {} bytes and leaves {reserve} bytes free; there is room for {free_files} \
                     files and {free_bytes} bytes at {}",
                    manifest.version,
                    manifest.files.len(),
                    manifest.total_bytes(),
                    plot.releases.path().display()
                );
                return Err(Trouble::new(Code::DiskFull, message, Cure::Time));
            }
            Ok(Unfinished::open(&plot.releases, &release)?)
        })
        .await
    }

    /// Takes what is on the node already; comes back with what is not.
    async fn reuse(
        &self,
        unfinished: &Unfinished,
        manifest: &Arc<Manifest>,
        effort: &mut Effort,
    ) -> Result<Vec<ManifestFile>, Trouble> {
        let (context, cell) = (Arc::clone(&self.context), self.cell.clone());
        let wanted: BTreeSet<Content> = manifest.files.iter().map(content).collect();
        let sources = Arc::new(apart(move || Sources::find(&context, &cell, &wanted)).await?);
        let tries = stream::iter(manifest.files.clone()).map(|file| {
            let (unfinished, sources) = (unfinished.clone(), Arc::clone(&sources));
            apart(move || {
                let held = unfinished.has(&file)? || is_copied(&unfinished, &sources, &file)?;
                Ok::<_, DiskError>((!held).then_some(file))
            })
        });
        let tried: Vec<_> = tries.buffered(self.context.parallel_downloads.max(1)).try_collect().await?;
        let missing: Vec<ManifestFile> = tried.into_iter().flatten().collect();
        effort.files_reused = (manifest.files.len() - missing.len()) as u64;
        Ok(missing)
    }

    /// Fetches `missing`, each content once.
    async fn fetch(
        &self,
        unfinished: &Unfinished,
        manifest: &Arc<Manifest>,
        missing: Vec<ManifestFile>,
        effort: &mut Effort,
    ) -> Result<(), Trouble> {
        let mut first: BTreeMap<Content, &ManifestFile> = BTreeMap::new();
        let mut again = Vec::new();
        for file in &missing {
            if let Some(same) = first.insert(content(file), file) {
                again.push((same.clone(), file.clone()));
            }
        }
        let mut once: Vec<&ManifestFile> = first.into_values().collect();
        // Of nothing there is nothing to fetch.
        let empty = once.extract_if(.., |file| file.size == 0).next().cloned();
        let context = &self.context;
        let pieces = fetch::pieces(manifest, &once)?;
        let fetches = stream::iter(pieces).map(|piece| async move {
            // The semaphore is never closed.
            let _permit = context.downloads.acquire().await;
            piece.fetch(&context.store, unfinished).await
        });
        let mut fetches = fetches.buffer_unordered(context.parallel_downloads.max(1));
        let mut trouble = None;
        while let Some(done) = fetches.next().await {
            match done {
                Ok(done) => {
                    effort.files_fetched += done.files_fetched;
                    effort.bytes_fetched += done.bytes_fetched;
                }
                // One bad file says nothing of the others, which the next try then need not fetch.
                Err(error) if matches!(error.code, Code::FileMissing | Code::FileTampered) => {
                    trouble.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        drop(fetches);
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        effort.files_reused += (again.len() + usize::from(empty.is_some())) as u64;
        let unfinished = unfinished.clone();
        apart(move || {
            if let Some(file) = empty {
                write_empty(&unfinished, &file)?;
            }
            again.iter().try_for_each(|(same, file)| copy_again(&unfinished, same, file))
        })
        .await
    }
}

/// How much of the release an earlier try has written.
fn written_bytes(begun: &Folder, manifest: &Manifest) -> Result<u64, DiskError> {
    manifest.files.iter().try_fold(0, |sum, file| {
        let length = release::open(begun, &file.path)?.and_then(|found| Some(found.metadata().ok()?.len()));
        Ok(sum + length.unwrap_or(0).min(file.size))
    })
}

/// The manifest of `target` that is kept on the node.
pub(super) fn kept_manifest(home: &CellHome, target: &Target) -> Result<Option<Manifest>, DiskError> {
    let Some(bytes) = home.manifests.read(&manifest_file(target), Manifest::MAX_BYTES)? else { return Ok(None) };
    if Sha256Digest::of(&bytes) != target.manifest_sha256 {
        return Ok(None);
    }
    Ok(Manifest::parse(&bytes).ok())
}

pub(super) fn manifest_file(target: &Target) -> String {
    format!("{}.json", release_name(target))
}

fn is_copied(unfinished: &Unfinished, sources: &Sources, file: &ManifestFile) -> Result<bool, DiskError> {
    if file.size == 0 {
        return Ok(false);
    }
    for source in sources.of(content(file)) {
        if unfinished.copy(&source, file)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes a file that has no bytes, if that is what its digest says.
pub(super) fn write_empty(unfinished: &Unfinished, file: &ManifestFile) -> Result<(), Trouble> {
    if file.sha256 != Sha256Digest::of(b"") {
        let message = format!("file {} is said to be empty, with the digest of something else", file.path);
        return Err(Trouble::new(Code::ManifestInvalid, message, Cure::OtherContent));
    }
    let written = unfinished.create(file)?;
    Ok(unfinished.finish(&written, file)?)
}

fn copy_again(unfinished: &Unfinished, same: &ManifestFile, file: &ManifestFile) -> Result<(), Trouble> {
    let source = release::open(unfinished.folder(), &same.path)?;
    let copied = source.map(|source| unfinished.copy(&source, file)).transpose()?;
    if copied == Some(true) {
        return Ok(());
    }
    let message = format!("{} changed while it was copied to {}", same.path, file.path);
    Err(Trouble::new(Code::Io, message, Cure::Time))
}
