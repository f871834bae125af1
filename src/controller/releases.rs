//! The releases of a fleet for lists: their documents never change, so each is read once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Mutex;

use super::inputs::READS;
use super::lists::DeploymentView;
use super::{Controller, ControllerError};
use crate::model::deployment::Deployment;
use crate::model::keys::Folder;
use crate::model::manifest::Manifest;
use crate::model::sign::Verified;
use crate::model::{CellId, DeploymentName, ManifestName, Sha256Digest, UserName, VersionName};
use crate::store::in_full;

/// How long a list is shown before it is read again: in the background at first, and while somebody waits once it is
/// stale. The names are one LIST for each manifest.
const LIST_FRESH: Duration = Duration::from_secs(3);
const LIST_STALE: Duration = Duration::from_secs(15);

/// After how long a document is read again: a deleted name may have been given to other content by somebody else.
const DOCUMENT_FRESH: Duration = Duration::from_secs(600);

/// How many versions are remembered for the release that they were made from.
const MOST_VERSIONS: usize = 100_000;

/// A release, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// For which manifest.
    pub manifest: ManifestName,
    /// Its name.
    pub name: DeploymentName,
    /// What it is.
    pub state: ReleaseState,
}

impl Release {
    /// What its document says, if it exists and is believed.
    #[must_use]
    pub fn facts(&self) -> Option<&ReleaseFacts> {
        match &self.state {
            ReleaseState::Whole(facts) => Some(facts),
            ReleaseState::Unfinished | ReleaseState::Untrusted { .. } => None,
        }
    }
}

impl From<&DeploymentView> for Release {
    fn from(view: &DeploymentView) -> Self {
        let state = match &view.deployment {
            Ok(Some(deployment)) => ReleaseState::Whole((&**deployment).into()),
            Ok(None) => ReleaseState::Unfinished,
            Err(error) => ReleaseState::Untrusted { why: in_full(error) },
        };
        Self { manifest: view.manifest.clone(), name: view.name.clone(), state }
    }
}

/// How a release stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseState {
    /// It exists.
    Whole(ReleaseFacts),
    /// Its upload is under way, or was interrupted.
    Unfinished,
    /// Its document is not believed.
    Untrusted {
        /// Why.
        why: String,
    },
}

/// What a release's document says, but for its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFacts {
    /// What it is.
    pub content_sha256: Sha256Digest,
    /// When it was uploaded.
    pub created_at: DateTime<Utc>,
    /// Who uploaded it.
    pub created_by: UserName,
    /// What they said about it.
    pub note: Option<String>,
    /// How many files it has.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
}

impl From<&Deployment> for ReleaseFacts {
    fn from(deployment: &Deployment) -> Self {
        Self {
            content_sha256: deployment.content_sha256,
            created_at: deployment.created_at,
            created_by: deployment.created_by.clone(),
            note: deployment.note.clone(),
            files: deployment.files.len(),
            bytes: deployment.files.iter().map(|file| file.size).sum(),
        }
    }
}

/// A release among all of a fleet.
pub type ReleaseName = (ManifestName, DeploymentName);

/// A page of releases.
#[derive(Debug)]
pub struct ReleasePage {
    /// The releases, by manifest and name.
    pub releases: Vec<Arc<Release>>,
    /// How many there are in all.
    pub total: usize,
    /// The last of the page, if others come after it.
    pub next: Option<ReleaseName>,
}

/// A version of a cell, named so that it can be no other.
pub type KnownVersion = (CellId, VersionName, Sha256Digest);

/// Remembers what it has read of releases, and which manifests there are. Clones remember together.
#[derive(Debug, Clone, Default)]
pub struct ReleaseReader {
    // Held while they are read, so that many who look at once read once.
    documents: Arc<Mutex<ReadDocuments>>,
    list: Arc<Lately<Vec<Arc<Release>>>>,
    names: Arc<Lately<BTreeSet<ReleaseName>>>,
    manifests: Arc<Lately<BTreeSet<ManifestName>>>,
    made_from: Arc<Mutex<BTreeMap<KnownVersion, Option<DeploymentName>>>>,
}

/// What was read a moment ago, and is shown until it is too old.
#[derive(Debug)]
struct Lately<T> {
    state: SyncMutex<LatelyState<T>>,
    /// Held by who reads it, so that many who look at once read once.
    turn: Arc<Mutex<()>>,
}

#[derive(Debug)]
struct LatelyState<T> {
    /// What was read, and when, by the monotonic clock.
    read: Option<(Arc<T>, Duration)>,
    /// Counts the changes that this controller made. What was read before one is not shown after it.
    changes: u64,
}

impl<T> Default for Lately<T> {
    fn default() -> Self {
        Self { state: SyncMutex::new(LatelyState { read: None, changes: 0 }), turn: Arc::default() }
    }
}

impl<T> Lately<T> {
    fn state(&self) -> std::sync::MutexGuard<'_, LatelyState<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked for at `oldest` or since.
    fn since(&self, oldest: Duration) -> Option<Arc<T>> {
        self.state().read.as_ref().filter(|(_, at)| *at >= oldest).map(|(read, _)| read.clone())
    }

    fn forget(&self) {
        let mut state = self.state();
        state.read = None;
        state.changes += 1;
    }

    /// Keeps what was asked for at `at`, when `changes` had been made.
    fn keep(&self, found: Arc<T>, at: Duration, changes: u64) {
        let mut state = self.state();
        if state.changes == changes {
            state.read = Some((found, at));
        }
    }
}

/// What is read that way, and how.
trait Read: Sized + Send + Sync + 'static {
    /// Where it is kept.
    fn place(reader: &ReleaseReader) -> &Arc<Lately<Self>>;

    /// Reads it.
    fn read(
        controller: &Controller,
        reader: &ReleaseReader,
    ) -> impl Future<Output = Result<Arc<Self>, ControllerError>> + Send;
}

impl Read for BTreeSet<ReleaseName> {
    fn place(reader: &ReleaseReader) -> &Arc<Lately<Self>> {
        &reader.names
    }

    async fn read(controller: &Controller, _: &ReleaseReader) -> Result<Arc<Self>, ControllerError> {
        Ok(Arc::new(controller.release_names(None).await?))
    }
}

impl Read for BTreeSet<ManifestName> {
    fn place(reader: &ReleaseReader) -> &Arc<Lately<Self>> {
        &reader.manifests
    }

    async fn read(controller: &Controller, _: &ReleaseReader) -> Result<Arc<Self>, ControllerError> {
        let manifests = controller.manifests().await?;
        Ok(Arc::new(manifests.into_iter().map(|manifest| manifest.name).collect()))
    }
}

impl Read for Vec<Arc<Release>> {
    fn place(reader: &ReleaseReader) -> &Arc<Lately<Self>> {
        &reader.list
    }

    async fn read(controller: &Controller, reader: &ReleaseReader) -> Result<Arc<Self>, ControllerError> {
        let names = controller.read_lately::<BTreeSet<ReleaseName>>(reader).await?;
        let mut documents = reader.documents.lock().await;
        controller.read_releases(&mut documents, names.iter()).await?;
        documents.0.retain(|name, _| names.contains(name));
        Ok(Arc::new(documents.releases(names.iter())))
    }
}

/// What documents say, and when each was read, by the monotonic clock. Lists share it: there may be tens of thousands.
#[derive(Debug, Default)]
struct ReadDocuments(BTreeMap<ReleaseName, (Arc<Release>, Duration)>);

impl ReadDocuments {
    /// What has to be read of `names`.
    fn unknown<'a>(&self, names: impl Iterator<Item = &'a ReleaseName>, now: Duration) -> Vec<ReleaseName> {
        let is_known = |name: &&ReleaseName| match self.0.get(*name) {
            Some((release, at)) => release.facts().is_some() && now.saturating_sub(*at) < DOCUMENT_FRESH,
            None => false,
        };
        names.filter(|name| !is_known(name)).cloned().collect()
    }

    /// Those of `names` that were read, in their order.
    fn releases<'a>(&self, names: impl Iterator<Item = &'a ReleaseName>) -> Vec<Arc<Release>> {
        names.filter_map(|name| self.0.get(name)).map(|(release, _)| release.clone()).collect()
    }
}

impl ReleaseReader {
    /// A release was made: the list is read again before it is shown.
    pub fn renew(&self) {
        self.names.forget();
        self.list.forget();
    }

    /// A manifest was written or deleted: they are listed again before they are shown.
    pub fn renew_manifests(&self) {
        self.manifests.forget();
    }

    /// A release was deleted, and its name may be given to other content.
    pub async fn forget(&self, release: &ReleaseName) {
        self.documents.lock().await.0.remove(release);
        self.renew();
    }
}

impl Controller {
    /// Every release, by manifest and name, as it was a moment ago. Whoever looks is shown what the last look found, and
    /// causes the next one.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn releases(&self, reader: &ReleaseReader) -> Result<Arc<Vec<Arc<Release>>>, ControllerError> {
        self.lately(reader).await
    }

    /// What all releases are called, as it was a moment ago: for who looks for a name, and needs no document.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn release_names_lately(
        &self,
        reader: &ReleaseReader,
    ) -> Result<Arc<BTreeSet<ReleaseName>>, ControllerError> {
        self.lately(reader).await
    }

    /// What all manifests are called, as it was a moment ago: for who looks for a name.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn manifest_names_lately(
        &self,
        reader: &ReleaseReader,
    ) -> Result<Arc<BTreeSet<ManifestName>>, ControllerError> {
        self.lately(reader).await
    }

    /// What was read last, if that is not stale, and then reads it again in the background.
    async fn lately<T: Read>(&self, reader: &ReleaseReader) -> Result<Arc<T>, ControllerError> {
        let (now, place) = (self.clock.monotonic(), T::place(reader));
        let shown = place.state().read.clone().map(|(read, at)| (read, now.saturating_sub(at)));
        // What is known is kept by the reader: no other memory has to.
        let controller = self.acting_as(self.settings.actor.clone());
        match shown {
            Some((shown, age)) if age < LIST_FRESH => Ok(shown),
            Some((shown, age)) if age < LIST_STALE => {
                if let Ok(turn) = place.turn.clone().try_lock_owned() {
                    let reader = reader.clone();
                    tokio::spawn(async move {
                        if let Err(error) = controller.read_now::<T>(&reader).await {
                            tracing::debug!("what was read a moment ago stays as it is: {}", in_full(&error));
                        }
                        drop(turn);
                    });
                }
                Ok(shown)
            }
            shown => match (controller.read_lately(reader).await, shown) {
                (Err(error), Some((shown, _))) if error.is_outage() => Ok(shown),
                (read, _) => read,
            },
        }
    }

    /// Reads it, unless another that was asked for since does.
    async fn read_lately<T: Read>(&self, reader: &ReleaseReader) -> Result<Arc<T>, ControllerError> {
        let asked_at = self.clock.monotonic();
        let place = T::place(reader);
        let _turn = place.turn.lock().await;
        match place.since(asked_at) {
            Some(read) => Ok(read),
            None => self.read_now(reader).await,
        }
    }

    async fn read_now<T: Read>(&self, reader: &ReleaseReader) -> Result<Arc<T>, ControllerError> {
        let place = T::place(reader);
        let (now, changes) = (self.clock.monotonic(), place.state().changes);
        let found = T::read(self, reader).await?;
        place.keep(found.clone(), now, changes);
        Ok(found)
    }

    /// The releases after the one called `after`, of one manifest or of all; at most `limit`, of which alone anything is
    /// read.
    ///
    /// # Errors
    /// Why the store did not answer. A release that is not believed is part of the page.
    pub async fn release_page(
        &self,
        reader: &ReleaseReader,
        manifest: Option<&ManifestName>,
        after: Option<&ReleaseName>,
        limit: usize,
    ) -> Result<ReleasePage, ControllerError> {
        let names = self.release_names(manifest).await?;
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let mut page: Vec<&ReleaseName> = names.range::<ReleaseName, _>(behind).take(limit.saturating_add(1)).collect();
        let is_last = page.len() <= limit;
        page.truncate(limit);
        let mut known = reader.documents.lock().await;
        self.read_releases(&mut known, page.iter().copied()).await?;
        known.0.retain(|name, _| names.contains(name) || manifest.is_some_and(|of| name.0 != *of));
        Ok(ReleasePage {
            releases: known.releases(page.iter().copied()),
            total: names.len(),
            next: page.last().filter(|_| !is_last).map(|last| (*last).clone()),
        })
    }

    /// What the releases of one manifest, or of all, are called, whatever they are: no document is read.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn release_names(
        &self,
        manifest: Option<&ManifestName>,
    ) -> Result<BTreeSet<ReleaseName>, ControllerError> {
        let manifests = match manifest {
            Some(manifest) => vec![manifest.clone()],
            None => {
                let folders = self.folders(&Folder::Deployments(None)).await?;
                folders.into_iter().filter_map(|name| ManifestName::new(name).ok()).collect()
            }
        };
        let names: Vec<Vec<_>> = stream::iter(manifests)
            .map(async |manifest| {
                let names = self.deployment_names(&manifest).await?;
                Ok::<_, ControllerError>(names.into_iter().map(|name| (manifest.clone(), name)).collect())
            })
            .buffered(READS)
            .try_collect()
            .await?;
        Ok(names.into_iter().flatten().collect())
    }

    /// Reads what is not known yet of `names`.
    async fn read_releases<'a>(
        &self,
        known: &mut ReadDocuments,
        names: impl Iterator<Item = &'a ReleaseName>,
    ) -> Result<(), ControllerError> {
        let now = self.clock.monotonic();
        let mut reads = stream::iter(known.unknown(names, now))
            .map(async |name: ReleaseName| {
                let view = self.look_at_deployment(name.0.clone(), name.1.clone()).await?;
                Ok::<_, ControllerError>((name, Arc::new(Release::from(&view))))
            })
            .buffer_unordered(READS);
        while let Some((name, release)) = reads.try_next().await? {
            known.0.insert(name, (release, now));
        }
        Ok(())
    }

    /// A release with all of its files.
    ///
    /// # Errors
    /// [`ControllerError::NotFound`] when there is none, [`ControllerError::Untrusted`] when it is not believed.
    pub async fn deployment(
        &self,
        manifest: &ManifestName,
        name: &DeploymentName,
    ) -> Result<Verified<Deployment>, ControllerError> {
        Ok(self.read_deployment(manifest, name).await?.0)
    }

    /// Which releases versions were made from; those of which nobody can tell any more are left out.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn made_from(
        &self,
        reader: &ReleaseReader,
        versions: Vec<KnownVersion>,
    ) -> Result<BTreeMap<KnownVersion, DeploymentName>, ControllerError> {
        let mut known = reader.made_from.lock().await;
        if known.len() + versions.len() > MOST_VERSIONS {
            known.clear();
        }
        let unknown: Vec<_> = versions.iter().filter(|version| !known.contains_key(version)).cloned().collect();
        let read: Vec<_> = stream::iter(unknown)
            .map(async |version| {
                let (cell, name, digest) = &version;
                let found = self.find_manifest(cell, name).await?;
                let found = found.filter(|bytes| Sha256Digest::of(bytes) == *digest);
                let deployment = found.and_then(|bytes| Manifest::parse(&bytes).ok()?.deployment);
                Ok::<_, ControllerError>((version, deployment))
            })
            .buffer_unordered(READS)
            .try_collect()
            .await?;
        known.extend(read);
        let found = versions.into_iter().filter_map(|version| {
            let deployment = known.get(&version)?.clone()?;
            Some((version, deployment))
        });
        Ok(found.collect())
    }
}
