//! The bucket as a whole. None of it belongs to a cell.

use super::{Authorized, Denied};
use crate::model::users::Role;
use crate::store::RequestCounts;

impl Authorized {
    /// Whether the user may look at the bucket itself, which shows every cell.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_bucket(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Viewer, "the bucket")
    }

    /// Whether the user may read the audit, which tells of every cell.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_audit(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Viewer, "the audit")
    }

    /// Whether the user may read the metrics, which count every cell.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_metrics(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Viewer, "the metrics")
    }

    /// Whether the user may see the settings.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_settings(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Admin, "the settings")
    }

    /// Where the bucket is, and what was asked of it so far.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn store(&self) -> Result<(String, RequestCounts), Denied> {
        self.check_bucket()?;
        let store = self.reading().store();
        Ok((store.describe(), store.request_counts()))
    }
}
