//! Who still needs a version.

use super::head::{Head, floor};
use super::{Controller, ControllerError};
use crate::model::heartbeat::{CellReport, Heartbeat};
use crate::model::{CellId, ObjectKey, Sha256Digest, VersionName};

/// A version as those name it who may need it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) version: &'a VersionName,
    /// The digest of its manifest; absent if it has none.
    pub(super) manifest_sha256: Option<Sha256Digest>,
}

impl Controller {
    /// Who needs a version of `cell`, in words: its newest trigger wherever that stands, or its node by what it says.
    /// A heartbeat that cannot be read needs everything: it may only ever delay a deletion.
    pub(super) async fn who_needs(&self, cell: &CellId, version: Named<'_>) -> Result<Option<String>, ControllerError> {
        let head = self.head(cell).await?;
        // Where agents look there may still be an older trigger, which names another version.
        if let Some(user) = of_copies(&head) {
            return Ok(Some(user));
        }
        if let Some(user) = of_head(&head, version) {
            return Ok(Some(user));
        }
        let key = ObjectKey::Heartbeat(cell.node.clone());
        match self.find_document::<Heartbeat>(&key).await {
            Ok(beat) => {
                let report = beat.as_ref().and_then(|beat| beat.cells.get(&cell.cell));
                Ok(report.and_then(|report| of_report(cell, report, version)))
            }
            Err(error) if error.is_unreadable() => Ok(Some(format!("{key} cannot be read and may name it"))),
            Err(error) => Err(error),
        }
    }
}

/// Why nothing that an older trigger may name can be spared yet: the newest one is not everywhere.
pub(super) fn of_copies(head: &Head) -> Option<String> {
    let newest = head.newest.as_ref().filter(|_| head.lags())?;
    let (at, action) = (floor(newest), newest.action.name());
    Some(format!(
        "generation {at} ({action}) is not copied to where agents look yet; repeat what issued it to finish it"
    ))
}

fn of_head(head: &Head, version: Named<'_>) -> Option<String> {
    let newest = head.newest.as_ref()?;
    let target = newest.action.target()?;
    let is_it = target.version == *version.version || Some(target.manifest_sha256) == version.manifest_sha256;
    is_it.then(|| format!("generation {} desires it", floor(newest)))
}

fn of_report(cell: &CellId, report: &CellReport, version: Named<'_>) -> Option<String> {
    let uses = [
        ("desires it", &report.desired),
        ("runs it", &report.running),
        ("holds it as the version to go back to", &report.known_good),
    ];
    let is_it = |found: &crate::model::heartbeat::VersionReport| match version.manifest_sha256 {
        Some(digest) => found.manifest_sha256 == digest,
        None => found.version == *version.version,
    };
    uses.into_iter()
        .find(|(_, found)| found.as_ref().is_some_and(is_it))
        .map(|(use_of, _)| format!("node {} {use_of}", cell.node))
}
