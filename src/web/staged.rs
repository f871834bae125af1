//! Uploads that have arrived and wait until whoever sent them has looked at what they would change. They lie on this
//! controller's disk alone, belong to their sender, and go when they are confirmed, discarded or too old.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use super::failure::Failure;
use crate::clock::SharedClock;
use crate::controller::Spool;
use crate::model::{CellId, DeploymentName, FilePath, ManifestName, UserName};

/// For how long an upload waits.
pub(super) const WAITS_FOR: TimeDelta = TimeDelta::minutes(30);

/// How many of one user may wait, and how many of all.
const MOST_OF_USER: usize = 4;
const MOST: usize = 32;

/// How often what has waited for too long is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What an upload is to become.
#[derive(Debug)]
pub(super) enum Purpose {
    /// A release.
    Release(NewRelease),
    /// An override.
    Override {
        /// Of this cell.
        cell: CellId,
        /// Where it is to lie.
        path: FilePath,
        /// What its sender saw there, as the form remembered it.
        seen: String,
    },
    /// Versions that are to be loaded.
    Bundle {
        /// What its sender calls the file.
        called: String,
    },
}

/// What is said of a release besides its files.
#[derive(Debug, Clone)]
pub(super) struct NewRelease {
    pub(super) manifest: ManifestName,
    /// None lets a name be generated.
    pub(super) name: Option<DeploymentName>,
    pub(super) note: Option<String>,
    /// Patterns of what can be executed.
    pub(super) executables: Vec<String>,
}

/// An upload that waits.
#[derive(Debug)]
pub(super) struct Staged {
    /// Who sent it.
    pub(super) by: UserName,
    /// What the config calls the bucket that it is for.
    pub(super) bucket: String,
    pub(super) purpose: Purpose,
    pub(super) spool: Spool,
    /// Until when it waits.
    pub(super) until: DateTime<Utc>,
}

/// Why an upload cannot be taken to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ShelfError {
    #[error(
        "{MOST_OF_USER} uploads of yours wait to be looked at already; confirm or discard one of them first (they are \
         listed below the form)"
    )]
    MostOfUser,
    #[error("{MOST} uploads wait to be looked at already; try again when some of them were confirmed")]
    Most,
    #[error(
        "the uploads that wait to be looked at have {limit} bytes together with this one, which is all that may wait; \
         try again when some of them were confirmed"
    )]
    TooLarge { limit: u64 },
}

impl From<ShelfError> for Failure {
    fn from(error: ShelfError) -> Self {
        let status = match error {
            ShelfError::MostOfUser => StatusCode::CONFLICT,
            ShelfError::Most | ShelfError::TooLarge { .. } => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, "uploads_waiting", error.to_string())
    }
}

/// Where uploads wait.
#[derive(Debug)]
pub(super) struct Shelf {
    held: Arc<Mutex<BTreeMap<Ulid, Held>>>,
    /// How many bytes may wait in all.
    most_bytes: u64,
}

#[derive(Debug)]
struct Held {
    staged: Arc<Staged>,
    /// Whether it is on its way into the bucket.
    is_taken: bool,
}

/// An upload on its way into the bucket. It waits again when this goes, unless it is done.
#[derive(Debug)]
pub(super) struct Taken {
    held: Arc<Mutex<BTreeMap<Ulid, Held>>>,
    id: Ulid,
    staged: Arc<Staged>,
}

fn lock(held: &Mutex<BTreeMap<Ulid, Held>>) -> MutexGuard<'_, BTreeMap<Ulid, Held>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    /// One on which `most_bytes` may wait.
    pub(super) fn new(most_bytes: u64) -> Self {
        Self { held: Arc::default(), most_bytes }
    }

    /// Keeps an upload until it is looked at.
    pub(super) fn put(&self, id: Ulid, staged: Staged, now: DateTime<Utc>) -> Result<(), ShelfError> {
        self.expire(now);
        let mut held = lock(&self.held);
        if held.values().filter(|held| held.staged.by == staged.by).count() >= MOST_OF_USER {
            return Err(ShelfError::MostOfUser);
        }
        if held.len() >= MOST {
            return Err(ShelfError::Most);
        }
        let bytes: u64 = held.values().map(|held| held.staged.spool.bytes()).sum();
        if bytes.saturating_add(staged.spool.bytes()) > self.most_bytes {
            return Err(ShelfError::TooLarge { limit: self.most_bytes });
        }
        held.insert(id, Held { staged: Arc::new(staged), is_taken: false });
        Ok(())
    }

    /// Lets go of what has waited for too long, until `ended`.
    pub(super) async fn keep(&self, clock: &SharedClock, ended: CancellationToken) {
        while ended.run_until_cancelled(clock.sleep(LOOK_EVERY)).await.is_some() {
            self.expire(clock.now());
        }
    }

    fn expire(&self, now: DateTime<Utc>) {
        lock(&self.held).retain(|_, held| held.is_taken || held.staged.until > now);
    }

    /// What `user` sent for `bucket` and waits.
    pub(super) fn waiting(&self, user: &UserName, bucket: &str, now: DateTime<Utc>) -> Vec<(Ulid, Arc<Staged>)> {
        self.expire(now);
        let held = lock(&self.held);
        let own = held.iter().filter(|(_, held)| held.staged.by == *user && held.staged.bucket == bucket);
        own.map(|(id, held)| (*id, held.staged.clone())).collect()
    }

    /// One of them.
    pub(super) fn find(&self, id: Ulid, user: &UserName, bucket: &str, now: DateTime<Utc>) -> Option<Arc<Staged>> {
        self.waiting(user, bucket, now).into_iter().find(|(of, _)| *of == id).map(|(_, staged)| staged)
    }

    /// Takes it, so that nobody else does. None if somebody has.
    pub(super) fn take(&self, id: Ulid) -> Option<Taken> {
        let mut held = lock(&self.held);
        let found = held.get_mut(&id).filter(|held| !held.is_taken)?;
        found.is_taken = true;
        Some(Taken { held: self.held.clone(), id, staged: found.staged.clone() })
    }
}

impl Taken {
    pub(super) fn staged(&self) -> &Staged {
        &self.staged
    }

    /// It need not wait any more.
    pub(super) fn done(self) {
        lock(&self.held).remove(&self.id);
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Some(held) = lock(&self.held).get_mut(&self.id) {
            held.is_taken = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::{SpoolFolder, UploadLimits};

    /// Uploads of three bytes each, and a shelf that takes `most_bytes`.
    struct Bench {
        _root: tempfile::TempDir,
        folder: SpoolFolder,
        shelf: Shelf,
    }

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn user(name: &str) -> UserName {
        UserName::new(name).unwrap()
    }

    fn id(number: u64) -> Ulid {
        Ulid::from_parts(number, 1)
    }

    impl Bench {
        fn new(most_bytes: u64) -> Self {
            let root = tempfile::tempdir().unwrap();
            let folder = SpoolFolder::new(root.path().to_owned(), UploadLimits::default());
            Self { _root: root, folder, shelf: Shelf::new(most_bytes) }
        }

        async fn put(&self, number: u64, by: &str, bucket: &str) -> Result<(), ShelfError> {
            let mut spool = self.folder.begin(id(number), None).unwrap();
            let mut file = spool.file("a").await.unwrap();
            file.write(b"abc").await.unwrap();
            file.finish().await.unwrap();
            spool.rest();
            let release =
                NewRelease { manifest: "site".parse().unwrap(), name: None, note: None, executables: Vec::new() };
            let purpose = Purpose::Release(release);
            let staged = Staged { by: user(by), bucket: bucket.to_owned(), purpose, spool, until: NOW + WAITS_FOR };
            self.shelf.put(id(number), staged, NOW)
        }

        fn finds(&self, number: u64, by: &str, bucket: &str, at: DateTime<Utc>) -> bool {
            self.shelf.find(id(number), &user(by), bucket, at).is_some()
        }
    }

    #[tokio::test]
    async fn what_waits_is_found_by_its_sender_in_its_bucket_until_it_is_too_old() {
        let bench = Bench::new(100);
        bench.put(1, "alice", "prod").await.unwrap();
        assert!(bench.finds(1, "alice", "prod", NOW));
        assert!(!bench.finds(1, "bob", "prod", NOW) && !bench.finds(1, "alice", "test", NOW));
        assert!(!bench.finds(2, "alice", "prod", NOW));
        let taken = bench.shelf.take(id(1)).unwrap();
        assert!(bench.finds(1, "alice", "prod", NOW + WAITS_FOR), "what is on its way stays");
        drop(taken);
        assert!(!bench.finds(1, "alice", "prod", NOW + WAITS_FOR));
    }

    #[tokio::test]
    async fn it_is_taken_once_and_waits_again_unless_it_is_done() {
        let bench = Bench::new(100);
        bench.put(1, "alice", "prod").await.unwrap();
        let taken = bench.shelf.take(id(1)).unwrap();
        assert!(bench.shelf.take(id(1)).is_none());
        drop(taken);
        bench.shelf.take(id(1)).unwrap().done();
        assert!(bench.shelf.take(id(1)).is_none() && !bench.finds(1, "alice", "prod", NOW));
    }

    #[tokio::test]
    async fn only_so_much_waits() {
        let bench = Bench::new(1_000);
        for number in 0..4 {
            bench.put(number, "alice", "prod").await.unwrap();
        }
        assert_eq!(bench.put(4, "alice", "test").await, Err(ShelfError::MostOfUser), "whatever the bucket");
        for number in 10..38 {
            bench.put(number, &format!("user-{number}"), "prod").await.unwrap();
        }
        assert_eq!(bench.put(40, "bob", "prod").await, Err(ShelfError::Most));

        let bench = Bench::new(5);
        bench.put(1, "alice", "prod").await.unwrap();
        assert_eq!(bench.put(2, "bob", "prod").await, Err(ShelfError::TooLarge { limit: 5 }));
        bench.shelf.take(id(1)).unwrap().done();
        bench.put(3, "bob", "prod").await.unwrap();
    }
}
