//! Whether what lies in the bucket fits together, and what can be put right without deciding anything.
//!
//! A repair finishes copies of what is signed, or sweeps what nothing refers to. It never deletes what a document names,
//! never signs, and never chooses between two contents: that is for people.

mod cell;
mod held;
mod repair;

use chrono::TimeDelta;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;

use super::inputs::READS;
use super::{Controller, ControllerError};
use crate::model::keys::Folder;
use crate::model::sign::Verified;
use crate::model::trigger::Trigger;
use crate::model::{CellId, DeploymentName, ManifestName, NodeName, ObjectKey, VersionName};
use crate::store::Depth;

/// What nothing names is only swept when it is older than this, by the store's clock: it may be on its way.
const SWEPT_AFTER: TimeDelta = TimeDelta::hours(24);

/// How a check is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FsckOptions {
    /// Read and digest every file, too.
    pub deep: bool,
    /// Put right what can be.
    pub repair: bool,
}

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// A word for it that never changes.
    pub code: &'static str,
    /// The object, or the folder.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What a repair does about it, or else what a person can.
    pub remedy: String,
    /// Whether a repair can do it.
    pub repairable: bool,
    /// Whether it is nothing to worry about.
    pub notice: bool,
    /// What came of the repair, if one was tried: nothing, or why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaired: Option<Result<(), String>>,
    #[serde(skip)]
    #[schemars(skip)]
    repair: Option<Repair>,
}

impl Finding {
    /// Whether it still stands, and somebody should care.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.notice && self.repaired != Some(Ok(()))
    }

    fn new(code: &'static str, key: impl std::fmt::Display, problem: impl Into<String>, by_hand: &str) -> Self {
        let (problem, remedy) = (problem.into(), by_hand.to_owned());
        let (repairable, notice, repaired, repair) = (false, false, None, None);
        Self { code, key: key.to_string(), problem, remedy, repairable, notice, repaired, repair }
    }

    fn repaired_by(self, repair: Repair) -> Self {
        Self { remedy: repair.to_string(), repairable: true, repair: Some(repair), ..self }
    }

    fn notice(self) -> Self {
        Self { notice: true, ..self }
    }
}

/// What puts something right.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Repair {
    /// Copy the newest believed trigger to where agents look.
    Spread(CellId),
    /// Write the history entry that a believed copy is of, byte for byte.
    Restore(CellId),
    /// Take an entry out of the index that is about no cell.
    Forget(CellId),
    /// Begin an index anew with what the triggers of its node's cells say.
    Rebuild(NodeName),
    /// Finish the deletion, or take back its mark.
    Unmark(CellId, VersionName),
    /// Delete the folder of a version that was never finished.
    SweepVersion(CellId, VersionName),
    /// Delete the folder of a release that was never finished.
    SweepRelease(ManifestName, DeploymentName),
    /// Delete an object that its folder's commit document does not name.
    SweepObject(ObjectKey),
}

impl std::fmt::Display for Repair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Spread(_) => "copy the newest believed trigger there",
            Self::Restore(_) => "write the entry from its signed copy, byte for byte",
            Self::Forget(_) => "take the entry out of the index",
            Self::Rebuild(_) => "begin it anew from the triggers of its cells",
            Self::Unmark(..) => "finish the deletion, or take the mark back if somebody needs the version",
            Self::SweepVersion(..) | Self::SweepRelease(..) => "delete the folder, if still nothing needs it",
            Self::SweepObject(_) => "delete the object, if still nothing names it",
        })
    }
}

/// What is found, in the order of its finding.
type Findings = Vec<Finding>;

impl Controller {
    /// Looks through the whole bucket. Without `repair` nothing is written.
    ///
    /// # Errors
    /// Why the store did not answer, or that the bucket is another fleet's. What does not fit is part of the answer.
    pub async fn fsck(&self, options: FsckOptions) -> Result<Vec<Finding>, ControllerError> {
        self.check_fleet().await?;
        let mut found = self.check_keys().await?;
        let cells = self.cell_ids().await?;
        let of_cells: Vec<Findings> = stream::iter(cells)
            .map(async |cell| self.check_cell(&cell, options.deep).await)
            .buffered(READS / 4)
            .try_collect()
            .await?;
        found.extend(of_cells.into_iter().flatten());
        found.extend(self.check_indexes().await?);
        found.extend(self.check_releases(options.deep).await?);
        if options.repair {
            for finding in &mut found {
                if let Some(repair) = &finding.repair {
                    finding.repaired = Some(self.repair(repair).await.map_err(|error| crate::store::in_full(&error)));
                }
            }
        }
        Ok(found)
    }

    /// Objects that are none of the protocol's.
    async fn check_keys(&self) -> Result<Findings, ControllerError> {
        let mut found = Findings::new();
        let mut pages = self.store().list(&Folder::Root, Depth::Deep);
        while let Some(page) = pages.next().await? {
            for entry in page.entries.iter().filter(|entry| entry.object_key().is_none()) {
                let problem = "it is no object of this program's; nothing reads it";
                found.push(
                    Finding::new("foreign_object", &entry.key, problem, "delete it by hand if it is nobody's").notice(),
                );
            }
        }
        Ok(found)
    }

    /// A cell's triggers, versions and document.
    async fn check_cell(&self, cell: &CellId, deep: bool) -> Result<Findings, ControllerError> {
        let (believed, mut found) = self.check_triggers(cell).await?;
        found.extend(self.check_versions(cell, &believed, deep).await?);
        match self.read_binding(cell).await {
            // A removed cell has no document any more.
            Ok(_) | Err(ControllerError::NotFound { .. }) => {}
            Err(error @ ControllerError::Store(_)) => return Err(error),
            Err(error) => {
                let key = ObjectKey::CellYaml(cell.clone());
                found.push(Finding::new("cell_unreadable", key, error.to_string(), "correct it with `fleetman apply`"));
            }
        }
        Ok(found)
    }
}

/// The believed triggers of a cell, newest first.
type Believed = Vec<Verified<Trigger>>;
