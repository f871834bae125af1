//! A release that has arrived over the network: what it would change, and its way into the bucket.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt as _, stream};

use super::diff::{FileKind, FileSide};
use super::inputs::READS;
use super::releases::ReleaseFacts;
use super::spool::Spool;
use super::upload::{Progress, Uploaded, check_same};
use super::walk::Found;
use super::{Controller, ControllerError};
use crate::model::deployment::{Deployment, DeploymentFile};
use crate::model::sign::Verified;
use crate::model::{DeploymentName, FilePath, ManifestName, PathPattern, Sha256Digest};
use crate::store::{Expect, in_full};

/// What has arrived over the network, and what its sender says about it.
#[derive(Debug)]
pub struct Delivery<'s> {
    /// The files.
    pub spool: &'s Spool,
    /// Which of them are programs, which no browser tells: patterns in which `*` stays within a folder.
    pub executables: &'s [String],
    /// What its maker says about the release.
    pub note: Option<String>,
}

/// What a delivery would come to.
#[derive(Debug)]
pub struct DeliveryPlan {
    /// What it is.
    pub content_sha256: Sha256Digest,
    /// How many files it has.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
    /// The release that has this content already, under the name that was given or under any.
    pub same: Option<DeploymentName>,
    /// Why it cannot have the name that was given.
    pub obstacle: Option<String>,
    /// The newest release, which it is compared with.
    pub newest: Option<(DeploymentName, ReleaseFacts)>,
    /// Releases whose documents are not believed. Nothing is compared with them.
    pub not_believed: Vec<DeploymentName>,
    /// Every file of the delivery and of the newest release, by path.
    pub fates: Vec<FileFate>,
}

/// What becomes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFate {
    /// Where it lies.
    pub path: FilePath,
    /// How it differs from the newest release; None if it does not.
    pub kind: Option<FileKind>,
    /// What it is in the newest release.
    pub before: Option<FileSide>,
    /// What it is to be.
    pub after: Option<FileSide>,
}

impl Delivery<'_> {
    /// The files as a release has them.
    fn files(&self) -> Result<Vec<(Found, Expect)>, ControllerError> {
        let mut problems = self.spool.problems();
        let mut globs = Vec::new();
        for pattern in self.executables {
            match pattern.parse::<PathPattern>() {
                Ok(glob) => globs.push(glob),
                Err(error) => problems.push(error.to_string()),
            }
        }
        if !problems.is_empty() {
            return Err(ControllerError::Files { problems });
        }
        Ok(self.spool.files(|path| globs.iter().any(|glob| glob.matches(path.as_str()))))
    }
}

impl Controller {
    /// What [`Self::upload_delivery`] would do. Nothing is written.
    ///
    /// # Errors
    /// [`ControllerError::Files`] when something in it cannot be taken, else why the store did not answer.
    pub async fn plan_delivery(
        &self,
        manifest: &ManifestName,
        name: Option<&DeploymentName>,
        delivery: &Delivery<'_>,
    ) -> Result<DeliveryPlan, ControllerError> {
        let release = self.describe(manifest, &delivery.files()?, delivery.note.clone())?;
        let (same, obstacle) = match self.choose_deployment(manifest, name, release.content_sha256).await {
            Ok((_, Some(known))) => match check_same(&known, &release) {
                Ok(()) => (Some(known.deployment.clone()), None),
                Err(error) => (None, Some(in_full(&error))),
            },
            Ok((_, None)) => (None, None),
            Err(error @ ControllerError::Untrusted { .. }) => (None, Some(in_full(&error))),
            Err(error) => return Err(error),
        };
        let (newest, not_believed) = self.newest_believed(manifest).await?;
        Ok(DeliveryPlan {
            content_sha256: release.content_sha256,
            files: release.files.len(),
            bytes: release.files.iter().map(|file| file.size).sum(),
            same,
            obstacle,
            fates: fates(newest.as_deref().map_or(&[], |newest| &newest.files), &release.files),
            newest: newest.map(|newest| (newest.deployment.clone(), ReleaseFacts::from(&*newest))),
            not_believed,
        })
    }

    /// Uploads what has arrived over the network.
    ///
    /// # Errors
    /// [`ControllerError::Files`] when something in it cannot be taken, else as [`Self::upload`].
    pub async fn upload_delivery(
        &self,
        manifest: &ManifestName,
        name: Option<&DeploymentName>,
        delivery: &Delivery<'_>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Uploaded, ControllerError> {
        self.upload_files(manifest, name, &delivery.files()?, delivery.note.clone(), progress).await
    }

    /// The newest release that is believed, and which are not.
    async fn newest_believed(
        &self,
        manifest: &ManifestName,
    ) -> Result<(Option<Verified<Deployment>>, Vec<DeploymentName>), ControllerError> {
        let names = self.deployment_names(manifest).await?;
        let mut found = stream::iter(names)
            .map(async |name| (self.find_deployment(manifest, &name).await, name))
            .buffer_unordered(READS);
        let (mut newest, mut not_believed) = (None::<Verified<Deployment>>, Vec::new());
        while let Some((found, name)) = found.next().await {
            match found {
                Ok(found) => {
                    let known = found.map(|(known, _)| known);
                    newest = newest.into_iter().chain(known).max_by_key(|it| (it.created_at, it.deployment.clone()));
                }
                Err(ControllerError::Untrusted { .. }) => not_believed.push(name),
                Err(error) => return Err(error),
            }
        }
        not_believed.sort();
        Ok((newest, not_believed))
    }
}

/// What becomes of each file, by path.
fn fates(before: &[DeploymentFile], after: &[DeploymentFile]) -> Vec<FileFate> {
    let by_path = |files: &[DeploymentFile]| -> BTreeMap<FilePath, FileSide> {
        files.iter().map(|file| (file.path.clone(), FileSide::from(file))).collect()
    };
    let (before, after) = (by_path(before), by_path(after));
    let paths: BTreeSet<&FilePath> = before.keys().chain(after.keys()).collect();
    let fate = |path: &FilePath| {
        let (before, after) = (before.get(path).cloned(), after.get(path).cloned());
        let kind = match (&before, &after) {
            (Some(before), Some(after)) if before == after => None,
            (Some(_), Some(_)) => Some(FileKind::Changed),
            (Some(_), None) => Some(FileKind::Removed),
            (None, _) => Some(FileKind::Added),
        };
        FileFate { path: path.clone(), kind, before, after }
    };
    paths.into_iter().map(fate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::manifest::Mode;

    #[test]
    fn each_file_is_told_as_it_differs_from_the_newest_release() {
        let file = |path: &str, bytes: &[u8], mode| DeploymentFile {
            path: FilePath::new(path).unwrap(),
            size: bytes.len() as u64,
            sha256: Sha256Digest::of(bytes),
            mode,
        };
        let before = [file("a", b"a", Mode::READ), file("b", b"b", Mode::READ), file("c", b"c", Mode::READ)];
        let after = [file("b", b"b", Mode::EXECUTE), file("c", b"c", Mode::READ), file("d", b"d", Mode::READ)];
        let told = fates(&before, &after);
        let told: Vec<_> = told.iter().map(|fate| (fate.path.as_str(), fate.kind)).collect();
        let changed = Some(FileKind::Changed);
        let expected = [("a", Some(FileKind::Removed)), ("b", changed), ("c", None), ("d", Some(FileKind::Added))];
        assert_eq!(told, expected, "a program is another file than the same bytes that are none");
    }
}
