//! How much lies in the bucket, and where. Only a LIST of everything tells, so it is counted when somebody asks, in the
//! background, and what was counted is kept with its time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use super::{Controller, ControllerError};
use crate::model::ObjectKey;
use crate::model::keys::Folder;
use crate::store::{Depth, in_full};

/// Where counting stops: some thousand requests.
const MOST_OBJECTS: u64 = 5_000_000;

/// How many parts of one folder are kept, the largest. Cells come and go, so there is no other limit to them.
const MOST_PARTS: usize = 1_000;

/// So many objects, with so many bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many objects.
    pub objects: u64,
    /// Their sizes together.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What lies in the bucket below the fleet's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// When the counting ended.
    pub counted_at: DateTime<Utc>,
    /// Everything.
    pub total: Amount,
    /// By top folder, the largest first.
    pub folders: Vec<FolderUsage>,
    /// What is not of the protocol.
    pub foreign: Amount,
    /// There are more objects than are counted.
    pub is_cut: bool,
}

/// What lies in one top folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderUsage {
    /// The folder; [`Folder::Root`] stands for what lies directly in it.
    pub folder: Folder,
    /// What lies in it.
    pub amount: Amount,
    /// The same by cell, manifest or node, where the folder has such; the largest first.
    pub parts: Vec<(Folder, Amount)>,
    /// How many smaller parts are left out.
    pub parts_left_out: usize,
}

/// What a count came to so far.
#[derive(Debug, Default)]
struct Count {
    folders: HashMap<Folder, (Amount, HashMap<Folder, Amount>)>,
    foreign: Amount,
    total: Amount,
}

impl Count {
    fn add(&mut self, key: Option<&ObjectKey>, bytes: u64) {
        self.total.add(bytes);
        let Some(key) = key else { return self.foreign.add(bytes) };
        let (folder, part) = place(key);
        let (amount, parts) = self.folders.entry(folder).or_default();
        amount.add(bytes);
        if let Some(part) = part {
            parts.entry(part).or_default().add(bytes);
        }
    }

    fn finish(self, counted_at: DateTime<Utc>, is_cut: bool) -> Usage {
        let folders = self.folders.into_iter().map(|(folder, (amount, parts))| {
            let mut parts: Vec<(Folder, Amount)> = parts.into_iter().collect();
            parts.sort_by_cached_key(|(part, amount)| (std::cmp::Reverse(amount.bytes), part.relative()));
            let parts_left_out = parts.len().saturating_sub(MOST_PARTS);
            parts.truncate(MOST_PARTS);
            FolderUsage { folder, amount, parts, parts_left_out }
        });
        let mut folders: Vec<FolderUsage> = folders.collect();
        folders.sort_by_cached_key(|usage| (std::cmp::Reverse(usage.amount.bytes), usage.folder.relative()));
        Usage { counted_at, total: self.total, folders, foreign: self.foreign, is_cut }
    }
}

/// The top folder that a key lies in, and the part of it.
fn place(key: &ObjectKey) -> (Folder, Option<Folder>) {
    let cell = |cell: &crate::model::CellId| (Folder::Cells, Some(Folder::Cell(cell.clone())));
    match key {
        ObjectKey::Fleet | ObjectKey::StoreReport => (Folder::Root, None),
        ObjectKey::Controller(_) => (Folder::Controllers, None),
        ObjectKey::ManifestYaml(_) => (Folder::Manifests, None),
        ObjectKey::DeploymentFile(manifest, ..) | ObjectKey::Deployment(manifest, _) => {
            (Folder::Deployments(None), Some(Folder::Deployments(Some(manifest.clone()))))
        }
        ObjectKey::CellYaml(id)
        | ObjectKey::Override(id, _)
        | ObjectKey::VersionFile(id, ..)
        | ObjectKey::VersionPack(id, ..)
        | ObjectKey::VersionManifest(id, _)
        | ObjectKey::VersionDeleting(id, _)
        | ObjectKey::History(id, _)
        | ObjectKey::Trigger(id) => cell(id),
        ObjectKey::Request(node, _) => (Folder::Cells, Some(Folder::Requests(node.clone()))),
        ObjectKey::Index(_) => (Folder::Indexes, None),
        ObjectKey::Heartbeat(_) => (Folder::Agents, None),
        ObjectKey::AttemptLog(id) | ObjectKey::Outcome(id) => {
            (Folder::Logs, Some(Folder::NodeLogs(id.cell.node.clone())))
        }
        ObjectKey::Answer(node, _) | ObjectKey::AnswerChunk(node, ..) => {
            (Folder::Logs, Some(Folder::NodeLogs(node.clone())))
        }
        ObjectKey::Audit(..) => (Folder::Audit(None), None),
        ObjectKey::Alerts => (Folder::Alerts, None),
        ObjectKey::Users => (Folder::Auth, None),
        ObjectKey::Probe(..) => (Folder::Probes(None), None),
    }
}

impl Controller {
    /// Counts everything below the fleet's prefix; `progress` is told how many objects were counted so far.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn usage(&self, progress: impl Fn(u64)) -> Result<Usage, ControllerError> {
        let mut pages = self.store().list(&Folder::Root, Depth::Deep);
        let mut count = Count::default();
        while let Some(page) = pages.next().await? {
            for entry in &page.entries {
                count.add(entry.object_key().as_ref(), entry.size);
            }
            progress(count.total.objects);
            if count.total.objects >= MOST_OBJECTS {
                return Ok(count.finish(self.now(), pages.token().is_some()));
            }
        }
        Ok(count.finish(self.now(), false))
    }
}

/// What is known of a bucket's usage, and whether it is being counted.
#[derive(Debug, Clone, Default)]
pub struct UsageState {
    /// Since when it is being counted, and how many objects were counted so far.
    pub counting: Option<(DateTime<Utc>, u64)>,
    /// What the last count that ended came to, or why it failed.
    pub last: Option<Result<Arc<Usage>, String>>,
}

/// Counts a bucket for everybody who asks: one count at a time.
#[derive(Debug, Clone, Default)]
pub struct UsageBoard(Arc<Mutex<UsageState>>);

impl UsageBoard {
    /// What is known now.
    #[must_use]
    pub fn state(&self) -> UsageState {
        self.change(|state| state.clone())
    }

    /// Counts, unless somebody does already. It is done when this returns; whoever does not want to wait spawns it.
    pub async fn count(&self, controller: &Controller) {
        let since = controller.now();
        let is_first = self.change(|state| {
            let is_first = state.counting.is_none();
            state.counting.get_or_insert((since, 0));
            is_first
        });
        if !is_first {
            return;
        }
        // Also when the count is given up halfway, others may count again.
        let ended = Ended(self);
        let counted = controller.usage(|objects| self.change(|state| state.counting = Some((since, objects)))).await;
        let counted = counted.map(Arc::new).map_err(|error| in_full(&error));
        self.change(|state| state.last = Some(counted));
        drop(ended);
    }

    fn change<T>(&self, change: impl FnOnce(&mut UsageState) -> T) -> T {
        // Whoever panicked left a state that still can be shown.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Ended<'a>(&'a UsageBoard);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.counting = None);
    }
}
