//! What loading a bundle would do: all of it is checked, and nothing is written.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::load::{Believed, Opened, Signed, SignedFile, take};
use super::{BundleFile, refuse, tar};
use crate::controller::head::floor;
use crate::controller::{Controller, ControllerError};
use crate::model::{CellId, Floor, Sha256Digest, VersionName};

/// What loading a bundle would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BundlePlan {
    /// When it was saved.
    pub created_at: DateTime<Utc>,
    /// The versions in it, each with the trigger that names it.
    pub versions: Vec<BundledVersion>,
    /// How many files it has, each counted once.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
}

/// A version in a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BundledVersion {
    /// Of this cell.
    #[schemars(with = "String")]
    pub cell: CellId,
    /// Its name.
    #[schemars(with = "String")]
    pub version: VersionName,
    /// The trigger that names it.
    pub at: Floor,
    /// The newest trigger of the cell in the bucket, if it has one.
    pub newest: Option<Floor>,
    /// Whether its node deploys it when it is loaded: neither the bucket nor the bundle has anything newer.
    pub is_deployed: bool,
}

impl BundlePlan {
    /// What names exactly this: whoever looked at it can say so when it is to be done.
    #[must_use]
    pub fn name(&self) -> String {
        let mut name = Sha256Digest::builder();
        for BundledVersion { cell, version, at, newest, .. } in &self.versions {
            let newest = newest.map(|newest| newest.to_string()).unwrap_or_default();
            name.update(format!("{cell} {version} {at} {newest}\n").as_bytes());
        }
        name.finish().to_string()
    }
}

impl Controller {
    /// Reads a bundle to its end and checks all of it, also against what is in the bucket.
    ///
    /// # Errors
    /// See [`Self::load_bundle`]: what is refused here would be refused there.
    pub async fn plan_bundle(&self, file: BundleFile<'_>) -> Result<BundlePlan, ControllerError> {
        let Opened { bundle, believed, mut from } = self.open_bundle(file).await?;
        let path = file.called;
        let (mut files, mut nowhere) = (Signed::of(path, &bundle, &believed), tokio::io::sink());
        while let Some(SignedFile { number, packed, .. }) = files.next()? {
            take(path, &mut from, number, packed, &mut nowhere).await?;
        }
        tar::expect_end(&mut from).await.map_err(|error| refuse(path, error))?;
        let versions = self.plan_versions(&believed).await?;
        let bytes = bundle.files.iter().fold(0_u64, |sum, packed| sum.saturating_add(packed.size));
        Ok(BundlePlan { created_at: bundle.created_at, versions, files: bundle.files.len(), bytes })
    }

    async fn plan_versions(&self, believed: &Believed) -> Result<Vec<BundledVersion>, ControllerError> {
        let mut versions = Vec::new();
        let is_last = |cell: &CellId, at| {
            let same = believed.triggers.iter().filter(|other| other.cell_id() == *cell);
            same.map(floor).max() == Some(at)
        };
        for trigger in &believed.triggers {
            let Some(target) = trigger.action.target() else { continue };
            let cell = trigger.cell_id();
            let newest = self.head(&cell).await?.newest.as_ref().map(floor);
            let at = floor(trigger);
            let is_deployed = newest < Some(at) && is_last(&cell, at);
            versions.push(BundledVersion { version: target.version.clone(), at, newest, is_deployed, cell });
        }
        Ok(versions)
    }
}
