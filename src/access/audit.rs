//! The audit, for whoever may see every cell.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;

use super::{AccessError, Authorized};
use crate::controller::{AuditCache, AuditFilter, AuditPage, AuditPlace, ControllerError, ExportFormat};

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
