//! What changed between two instants.

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use schemars::JsonSchema;
use serde::Serialize;

use super::{CellAt, Ran, Scope, Wished};
use crate::controller::inputs::READS;
use crate::controller::{Changes, Controller, ControllerError};
use crate::model::CellId;
use crate::model::heartbeat::VersionReport;
use crate::model::manifest::Manifest;

/// A cell that was not the same at two instants.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct InstantChange {
    /// The earlier one.
    pub from: CellAt,
    /// The later one.
    pub to: CellAt,
    /// What differs between the versions that were wished, without the lines of texts; absent where one of them is
    /// missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
}

impl Controller {
    /// The cells in `scope` that changed between two instants, by name.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is no such node or cell, or why the store did not answer.
    pub async fn changed_between(
        &self,
        scope: &Scope,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<InstantChange>, ControllerError> {
        self.changed_of(self.cells_in(scope).await?, from, to).await
    }

    /// Which of these cells changed between two instants, by name.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn changed_of(
        &self,
        cells: Vec<CellId>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<InstantChange>, ControllerError> {
        let chronicles = self.chronicles_of(cells, Some(from.min(to))).await?;
        let changed = chronicles.iter().map(|chronicle| (chronicle.at(from), chronicle.at(to)));
        let changed: Vec<_> = changed.filter(|(from, to)| is_changed(from, to)).collect();
        stream::iter(changed)
            .map(async |(from, to)| {
                let changes = self.changes_between(&from, &to).await?;
                Ok(InstantChange { from, to, changes })
            })
            .buffered(READS)
            .try_collect()
            .await
    }

    async fn changes_between(&self, from: &CellAt, to: &CellAt) -> Result<Option<Changes>, ControllerError> {
        let (Some(before), Some(after)) = (from.wished.version(), to.wished.version()) else { return Ok(None) };
        let before = self.manifest_as_signed(&from.cell, before).await?;
        let after = self.manifest_as_signed(&to.cell, after).await?;
        Ok(before.zip(after).map(|(before, after)| Changes::between(Some(&before), &after)))
    }

    /// The manifest of a version, if the bucket still has the one that the history names.
    async fn manifest_as_signed(
        &self,
        cell: &CellId,
        version: &VersionReport,
    ) -> Result<Option<Manifest>, ControllerError> {
        match self.look_at_version(cell, &version.version).await {
            Ok((manifest, digest)) => Ok(Some(manifest).filter(|_| digest == version.manifest_sha256)),
            Err(ControllerError::NotFound { .. } | ControllerError::Invalid { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Wished {
    /// The version that was to run, if one was.
    #[must_use]
    pub fn version(&self) -> Option<&VersionReport> {
        match self {
            Self::Wish(wish) => wish.version.as_ref(),
            Self::Nothing | Self::Unknown => None,
        }
    }
}

fn is_changed(from: &CellAt, to: &CellAt) -> bool {
    let state = |ran: &Ran| std::mem::discriminant(ran);
    from.wished != to.wished || from.ran.version() != to.ran.version() || state(&from.ran) != state(&to.ran)
}
