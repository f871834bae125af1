//! Whether what lies in the bucket fits together, and what can be put right without deciding anything.
//!
//! A repair finishes copies of what is signed, or sweeps what nothing refers to. It never deletes what a document names,
//! never signs, and never chooses between two contents: that is for people.

mod audit;
mod cell;
mod held;
mod order;
mod repair;

use chrono::TimeDelta;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;
use ulid::Ulid;

use super::inputs::READS;
use super::{Controller, ControllerError};
use crate::model::keys::Folder;
use crate::model::sign::Verified;
use crate::model::trigger::Trigger;
use crate::model::{CellId, DeploymentName, ManifestName, NodeName, ObjectKey, Sha256Digest, VersionName};
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

/// What names exactly those of the findings that can be put right: whoever looked at them can say so when they are.
#[must_use]
pub fn findings_name(findings: &[Finding]) -> String {
    let mut name = Sha256Digest::builder();
    for finding in findings.iter().filter(|finding| finding.repairable) {
        // No key holds a line end.
        name.update(format!("{} {}\n", finding.code, finding.key).as_bytes());
    }
    name.finish().to_string()
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
    /// Copy an order that counts into its node's index.
    List(NodeName, Ulid),
    /// Write an order that stands in the index only.
    RestoreOrder(NodeName, Ulid),
    /// Take what is no order of the node out of its index.
    Unlist(NodeName),
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
            Self::List(..) => "copy the order into the index",
            Self::RestoreOrder(..) => "write the order from its signed copy",
            Self::Unlist(_) => "take it out of the index",
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
        let mut found = self.find_damage(options.deep).await?;
        if options.repair {
            self.repair_all(&mut found).await;
        }
        Ok(found)
    }

    /// Puts right what can be, if it is still what was `seen`, by [`findings_name`].
    ///
    /// # Errors
    /// [`ControllerError::Changed`] when it is something else by now; see also [`Self::fsck`].
    pub async fn repair_seen(&self, deep: bool, seen: &str) -> Result<Vec<Finding>, ControllerError> {
        let mut found = self.find_damage(deep).await?;
        if findings_name(&found) != seen {
            return Err(ControllerError::Changed { what: "what can be put right".to_owned() });
        }
        self.repair_all(&mut found).await;
        Ok(found)
    }

    async fn repair_all(&self, found: &mut [Finding]) {
        for finding in found {
            if let Some(repair) = &finding.repair {
                finding.repaired = Some(self.repair(repair).await.map_err(|error| crate::store::in_full(&error)));
            }
        }
    }

    async fn find_damage(&self, deep: bool) -> Result<Findings, ControllerError> {
        self.check_fleet().await?;
        let mut found = self.check_keys().await?;
        let cells = self.cell_ids().await?;
        let of_cells: Vec<Findings> = stream::iter(cells)
            .map(async |cell| self.check_cell(&cell, deep).await)
            .buffered(READS / 4)
            .try_collect()
            .await?;
        found.extend(of_cells.into_iter().flatten());
        found.extend(self.check_indexes().await?);
        found.extend(self.check_orders().await?);
        found.extend(self.check_releases(deep).await?);
        found.extend(self.check_audit().await?);
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
