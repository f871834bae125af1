//! What is in the bucket, for people: manifests, deployments, versions.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::head::{Head, floor};
use super::inputs::{READS, no_deployment};
use super::timeline::by_numbers;
use super::version_facts::{FoundFacts, VersionFacts};
use super::{Controller, ControllerError};
use crate::model::deployment::Deployment;
use crate::model::heartbeat::{Heartbeat, VersionReport};
use crate::model::keys::Folder;
use crate::model::sign::Verified;
use crate::model::{CellId, DeploymentName, Floor, ManifestName, NodeName, ObjectKey, Sha256Digest, VersionName};
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

/// A page of versions.
#[derive(Debug)]
pub struct VersionPage {
    /// The versions, the highest number first.
    pub versions: Vec<VersionView>,
    /// How many there are in all.
    pub total: usize,
    /// The last of the page, if others come after it.
    pub next: Option<VersionName>,
}

/// A version of a cell.
#[derive(Debug, Clone)]
pub struct VersionView {
    /// Its name.
    pub name: VersionName,
    /// How it stands.
    pub state: VersionState,
    /// What it is, if that can be read. It is no proof of what was published: only the history is.
    pub facts: Option<Arc<VersionFacts>>,
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
        let names = self.release_names(manifest).await?;
        stream::iter(names)
            .map(async |(manifest, name)| self.look_at_deployment(manifest, name).await)
            .buffered(READS)
            .try_collect()
            .await
    }

    /// One deployment.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is none, else why the store did not answer. That it is not believed is
    /// part of the view.
    pub async fn view_deployment(
        &self,
        manifest: &ManifestName,
        name: &DeploymentName,
    ) -> Result<DeploymentView, ControllerError> {
        let view = self.look_at_deployment(manifest.clone(), name.clone()).await?;
        // One whose upload is under way has files, and no document.
        if matches!(view.deployment, Ok(None)) && !self.deployment_names(manifest).await?.contains(name) {
            return Err(no_deployment(manifest, name));
        }
        Ok(view)
    }

    pub(super) async fn look_at_deployment(
        &self,
        manifest: ManifestName,
        name: DeploymentName,
    ) -> Result<DeploymentView, ControllerError> {
        let deployment = match self.find_deployment(&manifest, &name).await {
            Ok(found) => Ok(found.map(|(deployment, _)| deployment)),
            Err(error @ ControllerError::Untrusted { .. }) => Err(error),
            Err(error) => return Err(error),
        };
        Ok(DeploymentView { manifest, name, deployment })
    }

    /// Every version of a cell, by name.
    ///
    /// # Errors
    /// Why the store did not answer. A version that cannot be read is part of the list.
    pub async fn versions(&self, cell: &CellId) -> Result<Vec<VersionView>, ControllerError> {
        let names = self.version_names(cell).await?;
        self.look_at_versions(cell, names).await
    }

    /// The versions of a cell after the one called `after`, the highest number first; at most `limit`, of which alone
    /// anything is read.
    ///
    /// # Errors
    /// Why the store did not answer. A version that cannot be read is part of the page.
    pub async fn version_page(
        &self,
        cell: &CellId,
        after: Option<&VersionName>,
        limit: usize,
    ) -> Result<VersionPage, ControllerError> {
        let mut names = self.version_names_by_number(cell).await?;
        let total = names.len();
        if let Some(after) = after {
            // It may have been deleted since.
            names.drain(..names.partition_point(|name| by_numbers(after.as_str(), name.as_str()).is_le()));
        }
        let is_last = names.len() <= limit;
        names.truncate(limit);
        let next = names.last().filter(|_| !is_last).cloned();
        Ok(VersionPage { versions: self.look_at_versions(cell, names).await?, total, next })
    }

    async fn look_at_versions(
        &self,
        cell: &CellId,
        names: Vec<VersionName>,
    ) -> Result<Vec<VersionView>, ControllerError> {
        let (head, beat) = tokio::try_join!(self.look_at_head(cell), async {
            match self.find_document::<Heartbeat>(&ObjectKey::Heartbeat(cell.node.clone())).await {
                Err(error) if error.is_unreadable() => Ok(None),
                found => found,
            }
        })?;
        let needs = Needs::new(cell, head.as_ref().ok(), beat.as_ref());
        stream::iter(names)
            .map(async |name| self.look_at_row(cell, name, &needs).await)
            .buffered(READS)
            .try_collect()
            .await
    }

    /// One version, as lists show it.
    pub(super) async fn look_at_row(
        &self,
        cell: &CellId,
        name: VersionName,
        needs: &Needs<'_>,
    ) -> Result<VersionView, ControllerError> {
        let (found, marked) = tokio::try_join!(self.look_at_facts(cell, &name), self.is_marked(cell, &name))?;
        let state = match (marked, &found) {
            (Some(since), _) => VersionState::Deleting { since },
            (None, Some(FoundFacts { facts: Err(why), .. })) => VersionState::Unreadable { why: why.clone() },
            (None, Some(_)) => VersionState::Whole,
            (None, None) => VersionState::Unfinished,
        };
        let manifest_sha256 = found.as_ref().and_then(|found| found.digest);
        let needed = needs.of(manifest_sha256);
        let facts = found.and_then(|found| found.facts.ok());
        Ok(VersionView { name, state, facts, manifest_sha256, needed })
    }
}

/// Who needs which version of a cell.
#[derive(Debug)]
pub(super) struct Needs<'a> {
    node: &'a NodeName,
    desired: Option<(Floor, Sha256Digest)>,
    running: Option<Sha256Digest>,
    known_good: Option<Sha256Digest>,
}

impl<'a> Needs<'a> {
    pub(super) fn new(cell: &'a CellId, head: Option<&Head>, beat: Option<&Heartbeat>) -> Self {
        let newest = head.and_then(|head| head.newest.as_ref());
        let desired = newest.and_then(|newest| Some((floor(newest), newest.action.target()?)));
        let report = beat.and_then(|beat| beat.cells.get(&cell.cell));
        let digest = |version: &Option<VersionReport>| version.as_ref().map(|version| version.manifest_sha256);
        Self {
            node: &cell.node,
            desired: desired.map(|(at, target)| (at, target.manifest_sha256)),
            running: report.and_then(|report| digest(&report.running)),
            known_good: report.and_then(|report| digest(&report.known_good)),
        }
    }

    pub(super) fn is_desired(&self, version: Option<Sha256Digest>) -> bool {
        version.is_some() && self.desired.map(|(_, digest)| digest) == version
    }

    pub(super) fn is_running(&self, version: Option<Sha256Digest>) -> bool {
        version.is_some() && self.running == version
    }

    pub(super) fn is_known_good(&self, version: Option<Sha256Digest>) -> bool {
        version.is_some() && self.known_good == version
    }

    /// Who needs the version whose manifest has this digest, in words.
    fn of(&self, version: Option<Sha256Digest>) -> Vec<String> {
        let desired = self.desired.filter(|_| self.is_desired(version));
        let uses = [(self.is_running(version), "running"), (self.is_known_good(version), "known good")];
        let uses = uses.into_iter().filter(|(is_so, _)| *is_so).map(|(_, use_of)| format!("{use_of} on {}", self.node));
        desired.map(|(at, _)| format!("desired by generation {at}")).into_iter().chain(uses).collect()
    }
}
