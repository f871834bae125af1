//! Recipes. Everybody reads them; who changes one changes what all of its cells will get.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{AccessError, Authorized, Denied};
use crate::controller::{Applied, Deletion, FleetView, Known, ManifestView, ObjectFacts, ReleaseReader, Text};
use crate::model::ManifestName;
use crate::model::users::Role;

impl Authorized {
    /// The manifests that there are.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn manifests(&self) -> Result<Vec<ManifestView>, AccessError> {
        self.need_anywhere(Role::Viewer, "manifests")?;
        Ok(self.reading().manifests().await?)
    }

    /// What the manifests are called, as it was a moment ago.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn manifest_names(&self, reader: &ReleaseReader) -> Result<Arc<BTreeSet<ManifestName>>, AccessError> {
        self.need_anywhere(Role::Viewer, "manifests")?;
        Ok(self.reading().manifest_names_lately(reader).await?)
    }

    /// A manifest as it was written.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn get_manifest(&self, name: &ManifestName) -> Result<Text, AccessError> {
        self.need_anywhere(Role::Viewer, "manifests")?;
        Ok(self.reading().get_manifest(name).await?)
    }

    /// Writes a manifest, if what is there is still what the caller knows. `fleet` tells which cells use it; it is
    /// the whole fleet, not what the user may see of it.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn put_manifest(
        &self,
        fleet: &FleetView,
        name: &ManifestName,
        text: &str,
        known: &Known,
    ) -> Result<Applied, AccessError> {
        self.need_on_manifest(Role::Editor, fleet, name)?;
        Ok(self.acting().put_manifest(name, text, known).await?)
    }

    /// Deletes a manifest that nothing uses.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn delete_manifest(
        &self,
        fleet: &FleetView,
        name: &ManifestName,
        known: &Known,
    ) -> Result<Deletion, AccessError> {
        self.need_on_manifest(Role::Admin, fleet, name)?;
        Ok(self.acting().delete_manifest(name, known).await?)
    }

    /// What a manifest is, without what it says.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn manifest_facts(&self, name: &ManifestName) -> Result<Option<ObjectFacts>, AccessError> {
        self.need_anywhere(Role::Viewer, "manifests")?;
        Ok(self.reading().manifest_facts(name).await?)
    }

    /// Whether the user may play `role` on `manifest`: on every cell that uses it. Which those are is a hint in the
    /// index, which is good enough: a changed manifest reaches a cell only by a publish, and that is checked for itself.
    ///
    /// # Errors
    /// [`Denied`] names the first cell that is in the way, unless the user may not even see it.
    pub fn need_on_manifest(&self, role: Role, fleet: &FleetView, manifest: &ManifestName) -> Result<(), Denied> {
        self.need_anywhere(role, &format!("manifest {manifest}"))?;
        if self.identity.may_everywhere(role) {
            return Ok(());
        }
        let uses = |about: &crate::model::index::About| about.manifest == *manifest;
        let mut users = fleet.cells().filter(|cell| cell.about().is_some_and(uses));
        match users.find(|cell| !self.identity.may(role, &cell.cell)) {
            None => Ok(()),
            Some(cell) if self.sees(&cell.cell) => {
                Err(self.denied(role, format!("cell {}, which uses manifest {manifest}", cell.cell)))
            }
            Some(_) => Err(self.denied(role, format!("other cells, which use manifest {manifest}"))),
        }
    }
}
