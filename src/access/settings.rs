//! What only admins look after.

use super::{AccessError, Authorized};
use crate::controller::{Checkup, SigningKeys};
use crate::model::users::Role;

impl Authorized {
    /// What this controller signs with, and whom it believes.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub fn signing_keys(&self) -> Result<SigningKeys, AccessError> {
        self.check_settings()?;
        Ok(self.reading().signing_keys())
    }

    /// The last examination of the store, if there was one.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn checkup(&self) -> Result<Option<Checkup>, AccessError> {
        self.check_settings()?;
        Ok(self.reading().checkup().await?)
    }

    /// Examines the store now, and remembers what was found.
    ///
    /// # Errors
    /// See [`AccessError`]. Whatever the store does is a finding.
    pub async fn examine(&self) -> Result<Checkup, AccessError> {
        self.need_everywhere(Role::Admin, "the doctor")?;
        Ok(self.acting().examine().await?)
    }
}
