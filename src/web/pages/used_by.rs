//! Which cells use a manifest or a release, and how they are.

use std::collections::{BTreeMap, BTreeSet};

use crate::controller::{CellView, FleetView, KnownVersion};
use crate::model::{CellId, ManifestName};
use crate::web::words::State;

/// A cell that uses something.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) cell: CellId,
    /// The version that it is to run.
    pub(super) version: Option<String>,
    pub(super) sync: State,
    pub(super) health: State,
    pub(super) paused: Option<String>,
}

impl From<&CellView> for User {
    fn from(view: &CellView) -> Self {
        let target = view.desired().and_then(|desired| desired.target.as_ref());
        Self {
            cell: view.cell.clone(),
            version: target.map(|target| target.version.to_string()),
            sync: view.sync.into(),
            health: view.health.into(),
            paused: view.about().and_then(|about| about.paused.clone()),
        }
    }
}

/// The cells that use `manifest`, by name.
pub(super) fn of_manifest(view: &FleetView, manifest: &ManifestName) -> Vec<User> {
    let uses = |cell: &&CellView| cell.about().is_some_and(|about| about.manifest == *manifest);
    view.cells().filter(uses).map(User::from).collect()
}

/// A cell by itself.
pub(super) fn this(view: &FleetView, cell: &CellId) -> Vec<User> {
    view.cell(cell).map(User::from).into_iter().collect()
}

/// How many cells use each manifest.
pub(super) fn counts(view: &FleetView) -> BTreeMap<&ManifestName, usize> {
    let mut counts = BTreeMap::new();
    for about in view.cells().filter_map(|cell| cell.about()) {
        *counts.entry(&about.manifest).or_default() += 1;
    }
    counts
}

/// The versions that cells of any of `manifests` are to run or do run, by cell.
pub(super) fn versions(view: &FleetView, manifests: &BTreeSet<ManifestName>) -> Vec<KnownVersion> {
    let mut found = Vec::new();
    for view in view.cells().filter(|cell| cell.about().is_some_and(|about| manifests.contains(&about.manifest))) {
        let target = view.desired().and_then(|desired| desired.target.as_ref());
        let running = view.report().and_then(|report| report.running.as_ref());
        found.extend(target.map(|target| (view.cell.clone(), target.version.clone(), target.manifest_sha256)));
        found.extend(running.map(|it| (view.cell.clone(), it.version.clone(), it.manifest_sha256)));
    }
    found.sort();
    found.dedup();
    found
}
