//! One cell: looking at it, changing what it is made of, and saying what it is to be. [`Controller`] tells more of each.
//!
//! [`Controller`]: crate::controller::Controller

use bytes::Bytes;

use super::{AccessError, Authorized};
use crate::controller::{
    Applied, Deletion, DeletionOutlook, Dependent, Guard, HistoryEntry, Known, ObjectFacts, OutcomeEntry, OverrideView,
    Plan, PublishRequest, Published, RollbackRequest, StopRequest, Text, VersionPage,
};
use crate::model::trigger::{Target, TriggerOptions};
use crate::model::users::Role;
use crate::model::{CellId, FilePath, Sha256Digest, VersionName};
use crate::store::Object;

impl Authorized {
    /// The cell as it was written.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn get_cell(&self, cell: &CellId) -> Result<Text, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().get_cell(cell).await?)
    }

    /// Writes the cell, if what is there is still what the caller knows.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn put_cell(&self, cell: &CellId, text: &str, known: &Known) -> Result<Applied, AccessError> {
        self.need_on_cell(Role::Editor, cell)?;
        Ok(self.acting().put_cell(cell, text, known).await?)
    }

    /// A page of the cell's versions; see
    /// [`Controller::version_page`](crate::controller::Controller::version_page).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn version_page(
        &self,
        cell: &CellId,
        after: Option<&VersionName>,
        limit: usize,
    ) -> Result<VersionPage, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().version_page(cell, after, limit).await?)
    }

    /// The newest of the cell's triggers.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn history(&self, cell: &CellId, limit: usize) -> Result<Vec<HistoryEntry>, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().history(cell, limit).await?)
    }

    /// What came of the newest attempts at the cell's triggers.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn outcomes(&self, cell: &CellId, limit: usize) -> Result<Vec<OutcomeEntry>, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().outcomes(cell, limit).await?)
    }

    /// The cell's overrides, by path.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn list_overrides(&self, cell: &CellId) -> Result<Vec<OverrideView>, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().list_overrides(cell).await?)
    }

    /// What an override is, without its bytes; None if there is none.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn override_facts(&self, cell: &CellId, path: &FilePath) -> Result<Option<ObjectFacts>, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().override_facts(cell, path).await?)
    }

    /// The bytes of an override.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn get_override(&self, cell: &CellId, path: &FilePath) -> Result<Object, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        Ok(self.reading().get_override(cell, path).await?)
    }

    /// Writes an override, if what is there is still what the caller knows.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn put_override(
        &self,
        cell: &CellId,
        path: &FilePath,
        bytes: Bytes,
        known: &Known,
    ) -> Result<Applied, AccessError> {
        self.need_on_cell(Role::Editor, cell)?;
        Ok(self.acting().put_override(cell, path, bytes, known).await?)
    }

    /// Deletes an override.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn remove_override(&self, cell: &CellId, path: &FilePath, known: &Known) -> Result<(), AccessError> {
        self.need_on_cell(Role::Editor, cell)?;
        Ok(self.acting().remove_override(cell, path, known).await?)
    }

    /// Works out what [`Self::publish`] would do.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn plan(&self, request: &PublishRequest) -> Result<Plan, AccessError> {
        self.need_on_cell(Role::Viewer, &request.cell)?;
        let plan = self.reading().plan(request).await;
        Ok(plan.map_err(|error| error.told_to(|cell| self.sees(cell)))?)
    }

    /// Makes a version from the cell's inputs and desires it.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn publish(&self, request: &PublishRequest, guard: &Guard) -> Result<Published, AccessError> {
        self.need_on_cell(Role::Editor, &request.cell)?;
        let published = self.acting().publish(request, guard).await;
        Ok(published.map_err(|error| error.told_to(|cell| self.sees(cell)))?)
    }

    /// Desires once more what was desired last.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn redeploy(
        &self,
        cell: &CellId,
        options: TriggerOptions,
        reason: Option<String>,
        guard: &Guard,
    ) -> Result<Published, AccessError> {
        self.need_on_cell(Role::Operator, cell)?;
        Ok(self.acting().redeploy(cell, options, reason, guard).await?)
    }

    /// Where [`Self::rollback`] would lead.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn rollback_target(&self, request: &RollbackRequest) -> Result<Target, AccessError> {
        self.need_on_cell(Role::Viewer, &request.cell)?;
        Ok(self.reading().rollback_target(request).await?)
    }

    /// Desires an earlier version again.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn rollback(&self, request: &RollbackRequest, guard: &Guard) -> Result<Published, AccessError> {
        self.need_on_cell(Role::Operator, &request.cell)?;
        Ok(self.acting().rollback(request, guard).await?)
    }

    /// The cells of its node that are to run a version which depends on the cell, as far as the user sees them.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn dependents(&self, cell: &CellId) -> Result<Vec<Dependent>, AccessError> {
        self.need_on_cell(Role::Viewer, cell)?;
        let mut found = self.reading().dependents(cell).await?;
        found.retain(|dependent| self.sees(&dependent.cell));
        Ok(found)
    }

    /// Stops the cell; its files stay.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn stop(&self, request: &StopRequest, guard: &Guard) -> Result<Published, AccessError> {
        self.need_on_cell(Role::Operator, &request.cell)?;
        Ok(self.acting().stop(request, guard).await?)
    }

    /// Stops the cell and removes its files from its node; with `purge_data` its data folder too.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn remove(
        &self,
        request: &StopRequest,
        purge_data: bool,
        guard: &Guard,
    ) -> Result<Published, AccessError> {
        self.need_on_cell(Role::Editor, &request.cell)?;
        Ok(self.acting().remove(request, purge_data, guard).await?)
    }

    /// Keeps new versions away from the cell.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn pause(&self, cell: &CellId, reason: &str, known: &Known) -> Result<Applied, AccessError> {
        self.need_on_cell(Role::Operator, cell)?;
        Ok(self.acting().pause(cell, reason, known).await?)
    }

    /// Ends a pause.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn resume(&self, cell: &CellId, known: &Known) -> Result<Applied, AccessError> {
        self.need_on_cell(Role::Operator, cell)?;
        Ok(self.acting().resume(cell, known).await?)
    }

    /// What deleting a version would come to.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn deletion_outlook(&self, cell: &CellId, version: &VersionName) -> Result<DeletionOutlook, AccessError> {
        self.need_on_cell(Role::Admin, cell)?;
        Ok(self.reading().deletion_outlook(cell, version).await?)
    }

    /// Deletes a version that nobody needs: marks it first, and deletes it when called again an hour later.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn delete_version(&self, cell: &CellId, version: &VersionName) -> Result<Deletion, AccessError> {
        self.need_on_cell(Role::Admin, cell)?;
        Ok(self.acting().delete_version(cell, version).await?)
    }

    /// The same, if its manifest is still the one that the caller saw.
    ///
    /// # Errors
    /// [`ControllerError::Changed`](crate::controller::ControllerError::Changed) when it is another; see also
    /// [`AccessError`].
    pub async fn delete_seen_version(
        &self,
        cell: &CellId,
        version: &VersionName,
        manifest_sha256: Sha256Digest,
    ) -> Result<Deletion, AccessError> {
        self.need_on_cell(Role::Admin, cell)?;
        Ok(self.acting().delete_seen_version(cell, version, manifest_sha256).await?)
    }

    /// Deletes a cell that was removed from its node.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn delete_cell(&self, cell: &CellId, guard: &Guard) -> Result<Deletion, AccessError> {
        self.need_on_cell(Role::Admin, cell)?;
        Ok(self.acting().delete_cell(cell, guard).await?)
    }
}
