//! Bundles. Whoever may look at a version may take it along; what is loaded may be of any cell.

use std::path::Path;

use tokio::io::AsyncWrite;

use super::{AccessError, Authorized, Denied};
use crate::controller::{BundleFile, BundlePlan, BundleSelector, BundleToSave, ControllerError, Loaded};
use crate::model::users::Role;

impl Authorized {
    /// Whether the user may load bundles.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_load(&self) -> Result<(), Denied> {
        self.need_everywhere(Role::Admin, "loading bundles")
    }

    /// Finds what a bundle of these versions has.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn gather_bundle(&self, wanted: &[BundleSelector]) -> Result<BundleToSave, AccessError> {
        for BundleSelector { cell, .. } in wanted {
            self.need_on_cell(Role::Viewer, cell)?;
        }
        Ok(self.reading().gather_bundle(wanted).await?)
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// Why it broke off; what was written then has no end.
    pub async fn write_bundle(
        &self,
        bundle: &BundleToSave,
        into: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<(), ControllerError> {
        self.reading().write_bundle(Path::new("the bundle"), bundle, into).await
    }

    /// Checks all of a bundle and tells what loading it would do.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn plan_bundle(&self, file: BundleFile<'_>) -> Result<BundlePlan, AccessError> {
        self.check_load()?;
        Ok(self.reading().plan_bundle(file).await?)
    }

    /// Puts what is in a bundle into the bucket.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn load_bundle(&self, file: BundleFile<'_>) -> Result<Loaded, AccessError> {
        self.check_load()?;
        Ok(self.acting().load_bundle(file).await?)
    }
}
