//! Releases. They belong to their manifest: whoever may change that may add one.

use std::path::Path;

use super::{AccessError, Authorized};
use crate::controller::{Deletion, DeploymentView, FleetView, Progress, UploadOptions, Uploaded};
use crate::model::users::Role;
use crate::model::{DeploymentName, ManifestName};

impl Authorized {
    /// The releases of one manifest, or all.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn deployments(&self, manifest: Option<&ManifestName>) -> Result<Vec<DeploymentView>, AccessError> {
        self.need_anywhere(Role::Viewer, "deployments")?;
        Ok(self.reading().deployments(manifest).await?)
    }

    /// Uploads what is in `folder`; see [`Controller::upload`](crate::controller::Controller::upload). `fleet` tells
    /// which cells use the manifest, as for [`Self::put_manifest`].
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn upload(
        &self,
        fleet: &FleetView,
        manifest: &ManifestName,
        name: Option<&DeploymentName>,
        folder: &Path,
        options: &UploadOptions,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Uploaded, AccessError> {
        self.need_on_manifest(Role::Editor, fleet, manifest)?;
        Ok(self.acting().upload(manifest, name, folder, options, progress).await?)
    }

    /// Deletes a release. Versions made from it hold their own copies of its files.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn delete_deployment(
        &self,
        fleet: &FleetView,
        manifest: &ManifestName,
        name: &DeploymentName,
    ) -> Result<Deletion, AccessError> {
        self.need_on_manifest(Role::Admin, fleet, manifest)?;
        Ok(self.acting().delete_deployment(manifest, name).await?)
    }
}
