//! Releases. They belong to their manifest: whoever may change that may add one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::{AccessError, Authorized};
use crate::controller::{
    Deletion, Delivery, DeliveryPlan, DeploymentView, FleetView, Known, KnownVersion, ObjectFacts, Progress, Release,
    ReleaseName, ReleasePage, ReleaseReader, UploadOptions, Uploaded,
};
use crate::model::deployment::Deployment;
use crate::model::sign::Verified;
use crate::model::users::Role;
use crate::model::{DeploymentName, ManifestName};

impl Authorized {
    /// A page of the releases of one manifest, or of all; see
    /// [`Controller::release_page`](crate::controller::Controller::release_page).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn release_page(
        &self,
        reader: &ReleaseReader,
        manifest: Option<&ManifestName>,
        after: Option<&ReleaseName>,
        limit: usize,
    ) -> Result<ReleasePage, AccessError> {
        self.need_anywhere(Role::Viewer, "deployments")?;
        Ok(self.reading().release_page(reader, manifest, after, limit).await?)
    }

    /// One release, however it stands.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn view_deployment(
        &self,
        manifest: &ManifestName,
        name: &DeploymentName,
    ) -> Result<DeploymentView, AccessError> {
        self.need_anywhere(Role::Viewer, "deployments")?;
        Ok(self.reading().view_deployment(manifest, name).await?)
    }

    /// The releases that there are, in short, as they were a moment ago.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn releases(&self, reader: &ReleaseReader) -> Result<Arc<Vec<Arc<Release>>>, AccessError> {
        self.need_anywhere(Role::Viewer, "deployments")?;
        Ok(self.reading().releases(reader).await?)
    }

    /// What the releases are called, as it was a moment ago.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn release_names(&self, reader: &ReleaseReader) -> Result<Arc<BTreeSet<ReleaseName>>, AccessError> {
        self.need_anywhere(Role::Viewer, "deployments")?;
        Ok(self.reading().release_names_lately(reader).await?)
    }

    /// A release with all of its files.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn deployment(
        &self,
        manifest: &ManifestName,
        name: &DeploymentName,
    ) -> Result<Verified<Deployment>, AccessError> {
        self.need_anywhere(Role::Viewer, "deployments")?;
        Ok(self.reading().deployment(manifest, name).await?)
    }

    /// Which releases versions were made from; versions of cells that the user does not see are left out.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn made_from(
        &self,
        reader: &ReleaseReader,
        versions: Vec<KnownVersion>,
    ) -> Result<BTreeMap<KnownVersion, DeploymentName>, AccessError> {
        let seen = versions.into_iter().filter(|(cell, ..)| self.sees(cell)).collect();
        Ok(self.reading().made_from(reader, seen).await?)
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

    /// What [`Self::upload_delivery`] would do; see [`Controller::plan_delivery`](crate::controller::Controller::plan_delivery).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn plan_delivery(
        &self,
        fleet: &FleetView,
        manifest: &ManifestName,
        name: Option<&DeploymentName>,
        delivery: &Delivery<'_>,
    ) -> Result<DeliveryPlan, AccessError> {
        self.need_on_manifest(Role::Editor, fleet, manifest)?;
        Ok(self.reading().plan_delivery(manifest, name, delivery).await?)
    }

    /// Uploads what has arrived over the network; see
    /// [`Controller::upload_delivery`](crate::controller::Controller::upload_delivery).
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn upload_delivery(
        &self,
        fleet: &FleetView,
        manifest: &ManifestName,
        name: Option<&DeploymentName>,
        delivery: &Delivery<'_>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Uploaded, AccessError> {
        self.need_on_manifest(Role::Editor, fleet, manifest)?;
        Ok(self.acting().upload_delivery(manifest, name, delivery, progress).await?)
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
        known: &Known,
    ) -> Result<Deletion, AccessError> {
        self.need_on_manifest(Role::Admin, fleet, manifest)?;
        Ok(self.acting().delete_deployment(manifest, name, known).await?)
    }

    /// What the list of a release is, without what it says.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn deployment_facts(
        &self,
        manifest: &ManifestName,
        name: &DeploymentName,
    ) -> Result<Option<ObjectFacts>, AccessError> {
        self.need_anywhere(Role::Viewer, "deployments")?;
        Ok(self.reading().deployment_facts(manifest, name).await?)
    }
}
