//! What is in the bucket, for people: manifests, deployments, versions.

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::head::{Head, floor};
use super::inputs::READS;
use super::{Controller, ControllerError};
use crate::model::deployment::Deployment;
use crate::model::heartbeat::Heartbeat;
use crate::model::keys::Folder;
use crate::model::manifest::Manifest;
use crate::model::sign::Verified;
use crate::model::{CellId, DeploymentName, ManifestName, ObjectKey, Sha256Digest, VersionName};
use crate::store::{Depth, ETag};

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestView {
    /// Its name.
    pub name: ManifestName,
    /// In bytes.
    pub size: u64,
    /// The store's name for its bytes.
    pub etag: ETag,
    /// When it was written, by the store's clock.
    pub modified: Option<DateTime<Utc>>,
}

/// A deployment.
#[derive(Debug)]
pub struct DeploymentView {
    /// For which manifest.
    pub manifest: ManifestName,
    /// Its name.
    pub name: DeploymentName,
    /// What it is; None while its upload is not finished, an error if its list of files is not believed.
    pub deployment: Result<Option<Verified<Deployment>>, ControllerError>,
}

/// A version of a cell.
#[derive(Debug, Clone)]
pub struct VersionView {
    /// Its name.
    pub name: VersionName,
    /// How it stands.
    pub state: VersionState,
    /// What it is, if that can be read. It is no proof of what was published: only the history is.
    pub manifest: Option<Manifest>,
    /// The digest of its manifest.
    pub manifest_sha256: Option<Sha256Digest>,
    /// Who needs it, in words.
    pub needed: Vec<String>,
}

/// How a version stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionState {
    /// It exists.
    Whole,
    /// It was never finished: a publish is under way, or was interrupted.
    Unfinished,
    /// Its manifest cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
    /// Its deletion is under way.
    Deleting {
        /// Since when, by the store's clock.
        since: DateTime<Utc>,
    },
}

impl Controller {
    /// Every manifest, by name.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn manifests(&self) -> Result<Vec<ManifestView>, ControllerError> {
        let mut pages = self.store().list(&Folder::Manifests, Depth::Deep);
        let mut found = Vec::new();
        while let Some(page) = pages.next().await? {
            found.extend(page.entries.into_iter().filter_map(|entry| match entry.object_key() {
                Some(ObjectKey::ManifestYaml(name)) => {
                    Some(ManifestView { name, size: entry.size, etag: entry.etag, modified: entry.last_modified })
                }
                _ => None,
            }));
        }
        Ok(found)
    }

    /// Every deployment of a manifest, or of all, by name.
    ///
    /// # Errors
    /// Why the store did not answer. A deployment that is not believed is part of the list.
    pub async fn deployments(&self, manifest: Option<&ManifestName>) -> Result<Vec<DeploymentView>, ControllerError> {
        let manifests = match manifest {
            Some(manifest) => vec![manifest.clone()],
            None => {
                let folders = self.folders(&Folder::Deployments(None)).await?;
                folders.into_iter().filter_map(|name| ManifestName::new(name).ok()).collect()
            }
        };
        let mut names = Vec::new();
        for manifest in manifests {
            let of_manifest = self.deployment_names(&manifest).await?;
            names.extend(of_manifest.into_iter().map(|name| (manifest.clone(), name)));
        }
        stream::iter(names)
            .map(async |(manifest, name)| {
                let deployment = match self.find_deployment(&manifest, &name).await {
                    Ok(found) => Ok(found.map(|(deployment, _)| deployment)),
                    Err(error @ ControllerError::Untrusted { .. }) => Err(error),
                    Err(error) => return Err(error),
                };
                Ok(DeploymentView { manifest, name, deployment })
            })
            .buffered(READS)
            .try_collect()
            .await
    }

    /// Every version of a cell, by name.
    ///
    /// # Errors
    /// Why the store did not answer. A version that cannot be read is part of the list.
    pub async fn versions(&self, cell: &CellId) -> Result<Vec<VersionView>, ControllerError> {
        let (names, head, beat) = tokio::try_join!(self.version_names(cell), self.head(cell), async {
            match self.find_document::<Heartbeat>(&ObjectKey::Heartbeat(cell.node.clone())).await {
                Err(error) if error.is_unreadable() => Ok(None),
                found => found,
            }
        })?;
        stream::iter(names)
            .map(async |name| {
                let (found, marked) = tokio::try_join!(self.find_manifest(cell, &name), self.is_marked(cell, &name))?;
                Ok(view(cell, name, found, marked, &head, beat.as_ref()))
            })
            .buffered(READS)
            .try_collect()
            .await
    }
}

fn view(
    cell: &CellId,
    name: VersionName,
    found: Option<Vec<u8>>,
    marked: Option<DateTime<Utc>>,
    head: &Head,
    beat: Option<&Heartbeat>,
) -> VersionView {
    let manifest_sha256 = found.as_deref().map(Sha256Digest::of);
    let (manifest, unreadable) = match found.as_deref().map(Manifest::parse) {
        Some(Ok(manifest)) => (Some(manifest), None),
        Some(Err(error)) => (None, Some(error.to_string())),
        None => (None, None),
    };
    let state = match (marked, unreadable) {
        (Some(since), _) => VersionState::Deleting { since },
        (None, Some(why)) => VersionState::Unreadable { why },
        (None, None) if manifest.is_some() => VersionState::Whole,
        (None, None) => VersionState::Unfinished,
    };
    let desired = head
        .newest
        .as_ref()
        .filter(|newest| newest.action.target().is_some_and(|target| Some(target.manifest_sha256) == manifest_sha256));
    let mut needed: Vec<String> =
        desired.map(|newest| format!("desired by generation {}", floor(newest))).into_iter().collect();
    if let Some(report) = beat.and_then(|beat| beat.cells.get(&cell.cell)) {
        for (use_of, version) in [("running", &report.running), ("known good", &report.known_good)] {
            if version.as_ref().is_some_and(|version| Some(version.manifest_sha256) == manifest_sha256) {
                needed.push(format!("{use_of} on {}", cell.node));
            }
        }
    }
    VersionView { name, state, manifest, manifest_sha256, needed }
}
