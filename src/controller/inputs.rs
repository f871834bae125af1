//! What a version is made from, and whether it is still the same.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Controller, ControllerError};
use crate::model::deployment::Deployment;
use crate::model::document::Document as _;
use crate::model::keys::Folder;
use crate::model::manifest::Manifest;
use crate::model::sign::{SignError, Verified, verify};
use crate::model::{CellId, DeploymentName, FilePath, ManifestName, ObjectKey};
use crate::recipe::written::{Binding, Recipe};
use crate::recipe::{self, Written};
use crate::store::{Depth, ETag, StoreError};
use crate::yaml;

/// How many documents are read at once.
pub(super) const READS: usize = 16;

/// The most bytes of a signed deployment, envelope and all.
pub(super) const DEPLOYMENT_BYTES: u64 = Deployment::MAX_BYTES + (4 << 10);

/// What a version is made from.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) cell: CellId,
    pub(super) recipe: Written<Recipe>,
    pub(super) binding: Written<Binding>,
    pub(super) deployment: Option<Verified<Deployment>>,
    pub(super) overrides: BTreeMap<FilePath, ListedOverride>,
    tags: Tags,
}

/// An override as a LIST shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedOverride {
    pub(super) size: u64,
    pub(super) etag: ETag,
}

/// The stores's names for the bytes of the other inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tags {
    manifest: ETag,
    cell: ETag,
    deployment: Option<ETag>,
}

impl Inputs {
    /// Nothing is published to a paused cell.
    pub(super) fn refuse_paused(&self) -> Result<(), ControllerError> {
        refuse_paused(&self.cell, &self.binding)
    }

    /// Each object that was read, by its key, with the store's name for its bytes.
    pub(super) fn by_key(&self) -> BTreeMap<String, ETag> {
        let deployment = self.deployment.as_ref().zip(self.tags.deployment.clone());
        let deployment =
            deployment.map(|(it, tag)| (ObjectKey::Deployment(it.manifest.clone(), it.deployment.clone()), tag));
        let texts = [
            (ObjectKey::ManifestYaml(self.binding.manifest.clone()), self.tags.manifest.clone()),
            (ObjectKey::CellYaml(self.cell.clone()), self.tags.cell.clone()),
        ];
        let overrides = self.overrides.iter();
        let overrides =
            overrides.map(|(path, listed)| (ObjectKey::Override(self.cell.clone(), path.clone()), listed.etag.clone()));
        texts.into_iter().chain(deployment).chain(overrides).map(|(key, tag)| (key.relative(), tag)).collect()
    }
}

pub(super) fn refuse_paused(cell: &CellId, binding: &Binding) -> Result<(), ControllerError> {
    match &binding.paused {
        Some(paused) => Err(ControllerError::Paused { cell: cell.clone(), reason: paused.reason.clone() }),
        None => Ok(()),
    }
}

impl Controller {
    /// Reads what a version of `cell` is made from. Without a deployment's name it is the newest of the manifest, by
    /// the signed time of its upload, if there is one.
    pub(super) async fn read_inputs(
        &self,
        cell: &CellId,
        deployment: Option<&DeploymentName>,
    ) -> Result<Inputs, ControllerError> {
        let (binding, cell_tag) = self.read_binding(cell).await?;
        let (recipe, manifest_tag) = self.read_recipe(&binding.manifest).await?;
        let (deployment, overrides) = tokio::try_join!(
            async {
                match deployment {
                    Some(name) => self.read_deployment(&binding.manifest, name).await.map(Some),
                    None => self.newest_deployment(&binding.manifest).await,
                }
            },
            self.list_override_tags(cell),
        )?;
        let (deployment, deployment_tag) = deployment.unzip();
        let tags = Tags { manifest: manifest_tag, cell: cell_tag, deployment: deployment_tag };
        Ok(Inputs { cell: cell.clone(), recipe, binding, deployment, overrides, tags })
    }

    /// Whether everything that was read is still so.
    pub(super) async fn are_unchanged(&self, inputs: &Inputs) -> Result<bool, ControllerError> {
        let manifest = ObjectKey::ManifestYaml(inputs.binding.manifest.clone());
        let cell = ObjectKey::CellYaml(inputs.cell.clone());
        let deployment = inputs.deployment.as_ref();
        let deployment = deployment.map(|it| ObjectKey::Deployment(it.manifest.clone(), it.deployment.clone()));
        let (manifest, cell, deployment, overrides) = tokio::try_join!(
            self.tag(Some(&manifest)),
            self.tag(Some(&cell)),
            self.tag(deployment.as_ref()),
            self.list_override_tags(&inputs.cell),
        )?;
        let Tags { manifest: manifest_then, cell: cell_then, deployment: deployment_then } = &inputs.tags;
        Ok(manifest.as_ref() == Some(manifest_then)
            && cell.as_ref() == Some(cell_then)
            && deployment == *deployment_then
            && overrides == inputs.overrides)
    }

    async fn tag(&self, key: Option<&ObjectKey>) -> Result<Option<ETag>, ControllerError> {
        let Some(key) = key else { return Ok(None) };
        Ok(self.store().head(key).await?.map(|meta| meta.etag))
    }

    /// The cell's own document.
    pub(super) async fn read_binding(&self, cell: &CellId) -> Result<(Written<Binding>, ETag), ControllerError> {
        let key = ObjectKey::CellYaml(cell.clone());
        let Some(text) = self.find_text(&key).await? else {
            return Err(ControllerError::not_found(
                format!("cell {cell}"),
                "there is none; `fleetman apply -f` makes one",
            ));
        };
        let binding = recipe::cell(&text.text, &key.relative())?;
        if binding.cell != *cell {
            return Err(ControllerError::invalid(&key, format!("it says that it is cell {}", binding.cell)));
        }
        Ok((binding, text.etag))
    }

    /// The manifest that people wrote.
    pub(super) async fn read_recipe(&self, name: &ManifestName) -> Result<(Written<Recipe>, ETag), ControllerError> {
        let key = ObjectKey::ManifestYaml(name.clone());
        let Some(text) = self.find_text(&key).await? else {
            let help = "there is none; `fleetman apply -f` makes one";
            return Err(ControllerError::not_found(format!("manifest {name}"), help));
        };
        let recipe = recipe::manifest(&text.text, &key.relative())?;
        if recipe.name != *name {
            return Err(ControllerError::invalid(&key, format!("it says that it is manifest {}", recipe.name)));
        }
        Ok((recipe, text.etag))
    }

    /// Reads a text that people wrote.
    pub(super) async fn find_text(&self, key: &ObjectKey) -> Result<Option<super::Text>, ControllerError> {
        let Some(object) = self.store().find(key, yaml::MAX_BYTES as u64).await? else { return Ok(None) };
        match String::from_utf8(object.bytes.into()) {
            Ok(text) => Ok(Some(super::Text { text, etag: object.etag })),
            Err(_) => Err(ControllerError::invalid(key, "it is not UTF-8")),
        }
    }

    /// A release whose list of files is signed by a pinned key.
    pub(super) async fn read_deployment(
        &self,
        manifest: &ManifestName,
        name: &DeploymentName,
    ) -> Result<(Verified<Deployment>, ETag), ControllerError> {
        let found = self.find_deployment(manifest, name).await?;
        found.ok_or_else(|| no_deployment(manifest, name))
    }

    pub(super) async fn find_deployment(
        &self,
        manifest: &ManifestName,
        name: &DeploymentName,
    ) -> Result<Option<(Verified<Deployment>, ETag)>, ControllerError> {
        let key = ObjectKey::Deployment(manifest.clone(), name.clone());
        let untrusted = |problem: String, source: Option<SignError>| {
            let source = source.map(Box::new);
            ControllerError::Untrusted { key: key.to_string(), problem, source }
        };
        let object = match self.store().find(&key, DEPLOYMENT_BYTES).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(None),
            Err(StoreError::TooLarge { .. }) => {
                return Err(untrusted(": it is larger than any list of files".to_owned(), None));
            }
            Err(error) => return Err(error.into()),
        };
        let deployment = verify::<Deployment>(&object.bytes, &self.settings.trust)
            .map_err(|error| untrusted(String::new(), Some(error)))?;
        if deployment.fleet != self.fleet() || deployment.manifest != *manifest || deployment.deployment != *name {
            let Deployment { fleet, manifest, deployment, .. } = &*deployment;
            return Err(untrusted(format!(": it is {manifest}/{deployment} of fleet {fleet}"), None));
        }
        if let Some(feature) = deployment.requires.first() {
            return Err(untrusted(format!(": it requires {feature:?}, which this version does not support"), None));
        }
        Ok(Some((deployment, object.etag)))
    }

    async fn newest_deployment(
        &self,
        manifest: &ManifestName,
    ) -> Result<Option<(Verified<Deployment>, ETag)>, ControllerError> {
        let names = self.deployment_names(manifest).await?;
        let mut found = stream::iter(names)
            .map(async |name| {
                let found = self.find_deployment(manifest, &name).await;
                found.map_err(|error| match error {
                    error @ ControllerError::Untrusted { .. } => {
                        ControllerError::NewestUnknown { manifest: manifest.clone(), name, source: Box::new(error) }
                    }
                    error => error,
                })
            })
            .buffer_unordered(READS);
        let mut newest: Option<(Verified<Deployment>, ETag)> = None;
        while let Some(found) = found.try_next().await? {
            let time = |it: &(Verified<Deployment>, ETag)| (it.0.created_at, it.0.deployment.clone());
            newest = newest.into_iter().chain(found).max_by_key(time);
        }
        Ok(newest)
    }

    /// Every folder below a manifest's deployments that has a proper name, whether its upload was finished or not.
    pub(super) async fn deployment_names(
        &self,
        manifest: &ManifestName,
    ) -> Result<Vec<DeploymentName>, ControllerError> {
        let folder = Folder::Deployments(Some(manifest.clone()));
        let mut pages = self.store().list(&folder, Depth::Shallow);
        let mut names = Vec::new();
        while let Some(page) = pages.next().await? {
            names.extend(page.folders.into_iter().filter_map(|name| DeploymentName::new(name).ok()));
        }
        Ok(names)
    }

    pub(super) async fn list_override_tags(
        &self,
        cell: &CellId,
    ) -> Result<BTreeMap<FilePath, ListedOverride>, ControllerError> {
        let folder = Folder::Overrides(cell.clone());
        let listed = self.store().list_all(&folder, Depth::Deep, Manifest::MAX_FILES).await?;
        let mut overrides = BTreeMap::new();
        for entry in listed.entries {
            // A console makes "folders" that are empty objects with a slash behind their name.
            if entry.key.ends_with('/') && entry.size == 0 {
                continue;
            }
            let Some(ObjectKey::Override(_, path)) = entry.object_key() else {
                return Err(ControllerError::invalid(&entry.key, "its name is not a path that a version can have"));
            };
            overrides.insert(path, ListedOverride { size: entry.size, etag: entry.etag });
        }
        Ok(overrides)
    }
}

pub(super) fn no_deployment(manifest: &ManifestName, name: &DeploymentName) -> ControllerError {
    let help = format!("there is none; `fleetman upload {manifest} <folder>` makes one");
    ControllerError::not_found(format!("deployment {name} of manifest {manifest}"), help)
}
