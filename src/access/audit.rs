//! The audit, for whoever may see every cell.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::Stream;

use super::{AccessError, Authorized};
use crate::controller::{
    AuditCache, AuditFault, AuditFilter, AuditPage, AuditPlace, AuditProof, AuditRow, ControllerError, ExportFormat,
};
use crate::model::users::Role;
use crate::model::{ObjectKey, Sha256Digest};

impl Authorized {
    /// A page of the audit; see [`Controller::audit_page`](crate::controller::Controller::audit_page).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn audit_page(
        &self,
        cache: &AuditCache,
        filter: &AuditFilter,
        after: Option<&AuditPlace>,
        limit: usize,
    ) -> Result<AuditPage, AccessError> {
        self.check_audit()?;
        Ok(self.reading().audit_page(cache, filter, after, limit).await?)
    }

    /// What is gone or was replaced, as a page's entries tell; see
    /// [`Controller::audit_faults`](crate::controller::Controller::audit_faults).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn audit_faults(&self, cache: &AuditCache, page: &AuditPage) -> Result<Vec<AuditFault>, AccessError> {
        self.check_audit()?;
        Ok(self.reading().audit_faults(cache, page).await?)
    }

    /// Checks the entries of a time, and what each says of those before it; see
    /// [`Controller::verify_audit`](crate::controller::Controller::verify_audit).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn verify_audit(
        &self,
        from: Option<DateTime<Utc>>,
        until: Option<DateTime<Utc>>,
    ) -> Result<AuditProof, AccessError> {
        self.check_audit()?;
        Ok(self.reading().verify_audit(from, until).await?)
    }

    /// Who changed an object last; see [`Controller::last_act`](crate::controller::Controller::last_act). Whoever may
    /// see the object may know: it takes no right to the whole audit.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn last_act(
        &self,
        cache: &AuditCache,
        key: &ObjectKey,
        modified: Option<DateTime<Utc>>,
        sha256: Option<Sha256Digest>,
    ) -> Result<Option<AuditRow>, AccessError> {
        match key {
            ObjectKey::CellYaml(cell) | ObjectKey::Override(cell, _) => self.need_on_cell(Role::Viewer, cell)?,
            ObjectKey::ManifestYaml(_) => self.need_anywhere(Role::Viewer, "manifests")?,
            _ => self.check_audit()?,
        }
        Ok(self.reading().last_act(cache, key, modified, sha256).await?)
    }

    /// The whole audit as a file, as far as `filter` wants it.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn audit_export(
        &self,
        cache: Arc<AuditCache>,
        filter: AuditFilter,
        format: ExportFormat,
    ) -> Result<impl Stream<Item = Result<Bytes, ControllerError>> + Send + use<>, AccessError> {
        self.check_audit()?;
        Ok(self.controller.clone().audit_export(cache, filter, format))
    }
}
