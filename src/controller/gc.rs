//! Bringing to an end what others began: claims without copies, marked deletions, folders that no commit document
//! names.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{StreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;
use tracing::info;

use super::claim::PublishedHow;
use super::inputs::READS;
use super::references::Named;
use super::{Controller, ControllerError, Deletion};
use crate::model::keys::Folder;
use crate::model::order::Order;
use crate::model::{CellId, DeploymentName, ManifestName, NodeName, ObjectKey, Sha256Digest, VersionName};
use crate::store::Depth;

/// What no commit document names is swept after this time, by the store's clock.
const SWEPT_AFTER: TimeDelta = TimeDelta::hours(24);

/// What a sweep did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GcReport {
    /// Folders and objects that no commit document names.
    pub swept: Vec<String>,
    /// How many objects were deleted.
    pub objects: usize,
    /// Cells whose newest trigger was brought to its end.
    pub finished: Vec<CellId>,
    /// Versions whose deletion was finished.
    pub deleted: Vec<String>,
    /// Versions whose deletion is marked, and from when on it may be finished.
    pub marked: Vec<MarkedVersion>,
    /// What could not be done, and why.
    pub problems: Vec<String>,
}

impl GcReport {
    /// What names exactly what would be done: whoever looked at it can say so when it is to be done.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = Sha256Digest::builder();
        let cells = self.finished.iter().map(|cell| format!("finish {cell}\n"));
        let folders = self.swept.iter().map(|folder| format!("sweep {folder}\n"));
        let versions = self.marked.iter().map(|marked| format!("delete {}\n", marked.version));
        let mut lines: Vec<String> = cells.chain(folders).chain(versions).collect();
        lines.sort_unstable();
        lines.push(self.objects.to_string());
        lines.iter().for_each(|line| name.update(line.as_bytes()));
        name.finish().to_string()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A version whose deletion was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MarkedVersion {
    /// Its cell and its name.
    pub version: String,
    /// From then on it may be deleted, by the store's clock.
    pub ready_at: DateTime<Utc>,
}

/// A folder that has, or lacks, a commit document.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owner {
    Version(CellId, VersionName),
    Deployment(ManifestName, DeploymentName),
}

impl Owner {
    fn of(key: &ObjectKey) -> Option<Self> {
        match key {
            ObjectKey::VersionFile(cell, version, ..)
            | ObjectKey::VersionPack(cell, version, _)
            | ObjectKey::VersionManifest(cell, version)
            | ObjectKey::VersionDeleting(cell, version) => Some(Self::Version(cell.clone(), version.clone())),
            ObjectKey::DeploymentFile(manifest, name, ..) | ObjectKey::Deployment(manifest, name) => {
                Some(Self::Deployment(manifest.clone(), name.clone()))
            }
            _ => None,
        }
    }

    fn folder(&self) -> Folder {
        match self {
            Self::Version(cell, version) => Folder::Version(cell.clone(), version.clone()),
            Self::Deployment(manifest, name) => Folder::Deployment(manifest.clone(), name.clone()),
        }
    }
}

/// What a LIST showed of a folder.
#[derive(Debug, Default)]
struct Seen {
    committed: bool,
    marked: bool,
    newest: Option<DateTime<Utc>>,
    /// An object whose time the store did not tell is never old.
    timeless: bool,
    keys: Vec<ObjectKey>,
}

impl Seen {
    fn add(&mut self, key: ObjectKey, time: Option<DateTime<Utc>>) {
        self.committed |= matches!(key, ObjectKey::VersionManifest(..) | ObjectKey::Deployment(..));
        self.marked |= matches!(key, ObjectKey::VersionDeleting(..));
        self.timeless |= time.is_none();
        self.newest = self.newest.max(time);
        self.keys.push(key);
    }

    fn is_garbage(&self, oldest: DateTime<Utc>) -> bool {
        !self.committed && !self.marked && !self.timeless && self.newest.is_some_and(|newest| newest < oldest)
    }
}

impl Controller {
    /// Finishes and sweeps, if that would do what was `seen`, by [`GcReport::name`].
    ///
    /// # Errors
    /// [`ControllerError::Changed`] when it would do something else by now; see also [`Self::gc`].
    pub async fn gc_seen(&self, seen: &str) -> Result<GcReport, ControllerError> {
        if self.gc(true).await?.name() != seen {
            return Err(ControllerError::Changed { what: "what is to be swept".to_owned() });
        }
        self.gc(false).await
    }

    /// Finishes what others began and sweeps what nobody will. With `dry_run` nothing is written.
    ///
    /// # Errors
    /// Why the store could not be listed. What goes wrong with one thing is part of the report.
    pub async fn gc(&self, dry_run: bool) -> Result<GcReport, ControllerError> {
        let mut report = GcReport::default();
        self.finish_claims(dry_run, &mut report).await?;
        for folder in [Folder::Cells, Folder::Deployments(None)] {
            self.sweep(&folder, dry_run, &mut report).await?;
        }
        self.sweep_loose(dry_run, &mut report).await?;
        self.sweep_orders(dry_run, &mut report).await?;
        info!(swept = report.swept.len(), objects = report.objects, finished = report.finished.len(), dry_run, "swept");
        Ok(report)
    }

    async fn finish_claims(&self, dry_run: bool, report: &mut GcReport) -> Result<(), ControllerError> {
        let cells = self.cell_ids().await?;
        let mut finished = stream::iter(cells)
            .map(async |cell| {
                let finished = self.finish_claim(&cell, dry_run).await;
                (cell, finished)
            })
            .buffer_unordered(READS);
        while let Some((cell, result)) = finished.next().await {
            match result {
                Ok(true) => report.finished.push(cell),
                Ok(false) => {}
                Err(error) => report.problems.push(format!("{cell}: {error}")),
            }
        }
        Ok(())
    }

    /// Brings the newest trigger of a cell to its end; says whether there was anything to do.
    async fn finish_claim(&self, cell: &CellId, dry_run: bool) -> Result<bool, ControllerError> {
        let head = self.head(cell).await?;
        match &head.newest {
            Some(newest) if !self.is_finished(&head).await? => {
                if dry_run {
                    return Ok(true);
                }
                let act = self.intend("gc", format!("cell/{cell}"), None, None, None).await?;
                let settled = self.settle(&head, newest).await;
                Ok(self.conclude(act, settled).await?.how == PublishedHow::Finished)
            }
            _ => Ok(false),
        }
    }

    /// Goes through a folder once. Keys come in order, so the objects of one version come together.
    async fn sweep(&self, folder: &Folder, dry_run: bool, report: &mut GcReport) -> Result<(), ControllerError> {
        let mut pages = self.store().list(folder, Depth::Deep);
        let mut current: Option<(Owner, Seen)> = None;
        while let Some(page) = pages.next().await? {
            for entry in page.entries {
                let Some(key) = entry.object_key() else { continue };
                let Some(owner) = Owner::of(&key) else { continue };
                if current.as_ref().is_none_or(|(before, _)| *before != owner) {
                    let before = current.replace((owner, Seen::default()));
                    self.judge(before, dry_run, report).await;
                }
                if let Some((_, seen)) = &mut current {
                    seen.add(key, entry.last_modified);
                }
            }
        }
        self.judge(current, dry_run, report).await;
        Ok(())
    }

    async fn judge(&self, folder: Option<(Owner, Seen)>, dry_run: bool, report: &mut GcReport) {
        let Some((owner, seen)) = folder else { return };
        let done = match &owner {
            Owner::Version(cell, version) if seen.marked => self.finish_deletion(cell, version, dry_run, report).await,
            _ if seen.is_garbage(self.store_now() - SWEPT_AFTER) => self.sweep_folder(&owner, dry_run, report).await,
            _ => Ok(()),
        };
        if let Err(error) = done {
            report.problems.push(format!("{}: {error}", owner.folder().relative()));
        }
    }

    async fn finish_deletion(
        &self,
        cell: &CellId,
        version: &VersionName,
        dry_run: bool,
        report: &mut GcReport,
    ) -> Result<(), ControllerError> {
        let name = format!("{cell} {version}");
        if dry_run {
            let since = self.is_marked(cell, version).await?;
            let ready = |since| MarkedVersion { version: name, ready_at: since + super::version::DELETION_RESTS };
            report.marked.extend(since.map(ready));
            return Ok(());
        }
        match self.delete_version(cell, version).await? {
            Deletion::Done { objects } => {
                report.objects += objects;
                report.deleted.push(name);
            }
            Deletion::Marked { ready_at } => report.marked.push(MarkedVersion { version: name, ready_at }),
        }
        Ok(())
    }

    /// Looks once more before deleting: an upload or publish may have taken the folder up again.
    async fn sweep_folder(&self, owner: &Owner, dry_run: bool, report: &mut GcReport) -> Result<(), ControllerError> {
        let folder = owner.folder();
        let mut seen = Seen::default();
        let mut pages = self.store().list(&folder, Depth::Deep);
        while let Some(page) = pages.next().await? {
            for entry in page.entries {
                if let Some(key) = entry.object_key() {
                    seen.add(key, entry.last_modified);
                }
            }
        }
        if !seen.is_garbage(self.store_now() - SWEPT_AFTER) {
            return Ok(());
        }
        // A manifest that was lost leaves files that a trigger or a node still names: they may be all that is left.
        if let Owner::Version(cell, version) = owner
            && let Some(by) = self.who_needs(cell, Named { version, manifest_sha256: None }).await?
        {
            return Err(ControllerError::InUse { what: format!("{cell}: version {version} without its manifest"), by });
        }
        self.sweep_keys(folder.relative(), seen.keys, dry_run, report).await
    }

    /// Sweeps what is left of a version that was never finished, if it is old and nobody needs it.
    pub(super) async fn sweep_unfinished_version(
        &self,
        cell: &CellId,
        version: &VersionName,
    ) -> Result<(), ControllerError> {
        self.sweep_folder(&Owner::Version(cell.clone(), version.clone()), false, &mut GcReport::default()).await
    }

    /// The same of a release.
    pub(super) async fn sweep_unfinished_release(
        &self,
        manifest: &ManifestName,
        name: &DeploymentName,
    ) -> Result<(), ControllerError> {
        self.sweep_folder(&Owner::Deployment(manifest.clone(), name.clone()), false, &mut GcReport::default()).await
    }

    /// Probes and beats that were left behind.
    async fn sweep_loose(&self, dry_run: bool, report: &mut GcReport) -> Result<(), ControllerError> {
        let oldest = self.store_now() - SWEPT_AFTER;
        for folder in [Folder::Probes(None), Folder::Controllers] {
            let mut keys = Vec::new();
            let mut pages = self.store().list(&folder, Depth::Deep);
            while let Some(page) = pages.next().await? {
                let old = page.entries.iter().filter(|entry| entry.last_modified.is_some_and(|time| time < oldest));
                keys.extend(old.filter_map(crate::store::Entry::object_key));
            }
            if !keys.is_empty() {
                self.sweep_keys(folder.relative(), keys, dry_run, report).await?;
            }
        }
        Ok(())
    }

    /// Orders that have been over for long, and what nodes answered to some.
    async fn sweep_orders(&self, dry_run: bool, report: &mut GcReport) -> Result<(), ControllerError> {
        let oldest = self.store_now() - SWEPT_AFTER;
        for node in self.folders(&Folder::Cells).await?.into_iter().filter_map(|name| NodeName::new(name).ok()) {
            let mut over = Vec::new();
            let mut pages = self.store().list(&Folder::Requests(node.clone()), Depth::Shallow);
            while let Some(page) = pages.next().await? {
                for entry in page.entries {
                    let Some(key @ ObjectKey::Request(_, id)) = entry.object_key() else { continue };
                    let is_over = match self.find_order(&node, id).await {
                        Ok(order) => order.is_some_and(|order| order.expires_at < oldest),
                        // Nobody can tell when it ends, but nothing counts for longer than this.
                        Err(error) if error.is_of_document() => {
                            entry.last_modified.is_some_and(|time| time < oldest - Order::LONGEST_HOLD)
                        }
                        Err(error) => return Err(error),
                    };
                    over.extend(is_over.then_some(key));
                }
            }
            if !over.is_empty() {
                self.sweep_keys(Folder::Requests(node).relative(), over, dry_run, report).await?;
            }
        }
        for node in self.folders(&Folder::Logs).await?.into_iter().filter_map(|name| NodeName::new(name).ok()) {
            let mut old = Vec::new();
            let mut pages = self.store().list(&Folder::Answers(node.clone()), Depth::Deep);
            while let Some(page) = pages.next().await? {
                let entries = page.entries.iter().filter(|entry| entry.last_modified.is_some_and(|time| time < oldest));
                old.extend(entries.filter_map(crate::store::Entry::object_key));
            }
            if !old.is_empty() {
                self.sweep_keys(Folder::Answers(node).relative(), old, dry_run, report).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn sweep_keys(
        &self,
        what: String,
        keys: Vec<ObjectKey>,
        dry_run: bool,
        report: &mut GcReport,
    ) -> Result<(), ControllerError> {
        if !dry_run {
            let act = self.intend("gc", what.clone(), None, None, None).await?;
            let swept = self.delete_all(&keys).await;
            self.conclude(act, swept).await?;
        }
        report.objects += keys.len();
        report.swept.push(what);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_whose_time_is_not_told_is_never_old() {
        let (old, limit) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + SWEPT_AFTER);
        let key = || ObjectKey::VersionManifest("n1/web".parse().unwrap(), VersionName::new("v1").unwrap());
        let seen = |time| Seen { newest: Some(old), timeless: time, keys: vec![key()], ..Seen::default() };
        assert!(seen(false).is_garbage(limit));
        assert!(!seen(true).is_garbage(limit));
        let mut seen = Seen::default();
        seen.add(ObjectKey::Deployment("site".parse().unwrap(), "r1".parse().unwrap()), None);
        assert!(seen.timeless && seen.committed);
    }
}
