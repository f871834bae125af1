//! One bucket: an ordered index in memory over files on disk, and the atomic change of a key.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::RwLock;

use super::condition::WriteCondition;
use super::digests::hex;
use super::folder::{Hold, Temporary, sync_folder};
use super::object::Object;
use super::record;

/// Objects in one bucket. The index holds a record of each (about 1 KiB) in memory.
const MAX_OBJECTS: usize = 1_000_000;

/// Keys that share a lock wait for each other's rename; more locks than that many disks can sync at once gain nothing.
const LOCKS: usize = 64;

/// Why a request cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no such bucket")]
    NoSuchBucket,
    #[error("the bucket exists already")]
    BucketExists,
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    #[error("no such key")]
    NoSuchKey,
    #[error("no such upload: it was completed or aborted, or never begun")]
    NoSuchUpload,
    #[error("the condition does not hold")]
    PreconditionFailed,
    #[error("the bucket holds {MAX_OBJECTS} objects, the most that this server keeps")]
    Full,
    #[error("reading or writing the folder")]
    Disk(#[from] io::Error),
}

#[derive(Debug, Serialize, Deserialize)]
struct BucketRecord {
    name: String,
    created: DateTime<Utc>,
}

#[derive(Debug, Default)]
struct Index {
    objects: BTreeMap<String, Arc<Object>>,
    /// Set once the bucket is deleted: a write that was under way must not land in it.
    closed: bool,
}

/// A bucket. See the module documentation of [`super`] for its files.
#[derive(Debug)]
pub(super) struct Bucket {
    path: PathBuf,
    record: BucketRecord,
    hold: Arc<Hold>,
    /// A std mutex: it is never held across an await or a disk access.
    index: Mutex<Index>,
    /// By hash of the key: written to while file and index change, read while a file is opened, so that nobody sees
    /// the one without the other. Never held while a body streams.
    locks: [Arc<RwLock<()>>; LOCKS],
}

impl Bucket {
    /// Creates an empty bucket at `path`, by one rename.
    pub(super) fn create(path: &Path, hold: Arc<Hold>, now: DateTime<Utc>) -> io::Result<Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let record = BucketRecord { name, created: now };
        let draft = hold.temporary_path();
        for folder in ["objects", "uploads"] {
            fs::create_dir_all(draft.join(folder))?;
        }
        let mut file = File::create_new(draft.join("bucket"))?;
        record::seal(&mut file, &record)?;
        sync_folder(&draft)?;
        fs::rename(&draft, path)?;
        path.parent().map_or(Ok(()), sync_folder)?;
        Ok(Self::new(path, record, hold, BTreeMap::new()))
    }

    /// Reads the records, not the bodies, of a bucket on disk. An error comes with the path that it is about.
    pub(super) fn load(path: &Path, hold: Arc<Hold>) -> Result<Self, (PathBuf, io::Error)> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| (path, error)
        };
        let record_path = path.join("bucket");
        let mut file = File::open(&record_path).map_err(at(&record_path))?;
        let (record, _) = record::read::<BucketRecord>(&mut file).map_err(at(&record_path))?;
        let mut objects = BTreeMap::new();
        let folder = path.join("objects");
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let path = entry.map_err(at(&folder))?.path();
            let object = File::open(&path).and_then(|mut file| record::read::<Object>(&mut file));
            let (object, body_bytes) = object.map_err(at(&path))?;
            let misplaced = path.file_name().is_none_or(|name| name != file_name(&object.key).as_str());
            if misplaced || object.size != body_bytes {
                let error = io::Error::new(io::ErrorKind::InvalidData, "its record is that of another object");
                return Err((path, error));
            }
            objects.insert(object.key.clone(), Arc::new(object));
        }
        Ok(Self::new(path, record, hold, objects))
    }

    fn new(path: &Path, record: BucketRecord, hold: Arc<Hold>, objects: BTreeMap<String, Arc<Object>>) -> Self {
        let index = Mutex::new(Index { objects, closed: false });
        Self { path: path.to_owned(), record, hold, index, locks: std::array::from_fn(|_| Arc::default()) }
    }

    pub(super) fn name(&self) -> &str {
        &self.record.name
    }

    pub(super) fn created(&self) -> DateTime<Utc> {
        self.record.created
    }

    pub(super) fn hold(&self) -> &Arc<Hold> {
        &self.hold
    }

    /// The folder of multipart uploads.
    pub(super) fn uploads_path(&self) -> PathBuf {
        self.path.join("uploads")
    }

    /// What is known about a key.
    pub(super) fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.index().objects.get(key).cloned()
    }

    /// Runs `view` over the ordered index. It must be quick: writers wait for it.
    pub(super) fn with_objects<T>(&self, view: impl FnOnce(&BTreeMap<String, Arc<Object>>) -> T) -> T {
        view(&self.index().objects)
    }

    /// Opens an object: its record, and the file whose first `size` bytes are its body.
    pub(super) async fn open(&self, key: &str) -> Result<(Arc<Object>, File), Refusal> {
        let guard = Arc::clone(self.lock(key)).read_owned().await;
        let object = self.get(key).ok_or(Refusal::NoSuchKey)?;
        let path = self.object_path(key);
        let file = blocking(move || {
            let file = File::open(path);
            drop(guard);
            Ok(file?)
        })
        .await?;
        Ok((object, file))
    }

    /// Makes a body that is complete in `temporary` the object's, if `condition` holds at that moment.
    pub(super) async fn commit(
        self: &Arc<Self>,
        mut temporary: Temporary,
        object: Object,
        condition: WriteCondition,
    ) -> Result<Arc<Object>, Refusal> {
        let object = Arc::new(object);
        let bucket = Arc::clone(self);
        let sealed = Arc::clone(&object);
        // The slow part first, without the lock.
        let temporary = blocking(move || {
            record::seal(&mut temporary.file, &*sealed)?;
            Ok(temporary)
        })
        .await?;
        let guard = Arc::clone(self.lock(&object.key)).write_owned().await;
        // One closure, so that a client that goes away cannot separate the rename from the index.
        blocking(move || {
            let _guard = guard;
            {
                let index = bucket.index();
                if index.closed {
                    return Err(Refusal::NoSuchBucket);
                }
                let current = index.objects.get(&object.key);
                condition.check(current.map(|object| object.etag.as_str()))?;
                if current.is_none() && index.objects.len() >= MAX_OBJECTS {
                    return Err(Refusal::Full);
                }
            }
            temporary.rename_to(&bucket.object_path(&object.key))?;
            let synced = sync_folder(&bucket.objects_path());
            // Even if the sync failed: this is what lies there now, and index and file must agree.
            bucket.index().objects.insert(object.key.clone(), Arc::clone(&object));
            synced?;
            Ok(object)
        })
        .await
    }

    /// Deletes a key if `condition` holds. An absent key is a success, as in S3.
    pub(super) async fn delete(self: &Arc<Self>, key: &str, condition: WriteCondition) -> Result<(), Refusal> {
        let guard = Arc::clone(self.lock(key)).write_owned().await;
        let (bucket, key) = (Arc::clone(self), key.to_owned());
        blocking(move || {
            let _guard = guard;
            let current = bucket.get(&key);
            condition.check_delete(current.as_ref().map(|object| object.etag.as_str()))?;
            if current.is_some() {
                fs::remove_file(bucket.object_path(&key))?;
                let synced = sync_folder(&bucket.objects_path());
                bucket.index().objects.remove(&key);
                synced?;
            }
            Ok(())
        })
        .await
    }

    /// Refuses further writes, provided that there is no object; blocks until writes under way are done.
    pub(super) fn close_if_empty(&self) -> Result<(), Refusal> {
        let _guards: Vec<_> = self.locks.iter().map(|lock| lock.blocking_write()).collect();
        let mut index = self.index();
        if index.closed {
            return Err(Refusal::NoSuchBucket);
        }
        if !index.objects.is_empty() {
            return Err(Refusal::BucketNotEmpty);
        }
        index.closed = true;
        Ok(())
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn objects_path(&self) -> PathBuf {
        self.path.join("objects")
    }

    fn object_path(&self, key: &str) -> PathBuf {
        self.objects_path().join(file_name(key))
    }

    fn lock(&self, key: &str) -> &Arc<RwLock<()>> {
        let digest = Sha256::digest(key.as_bytes());
        &self.locks[usize::from(digest[0]) % LOCKS]
    }
}

/// Keys are longer than file names may be, differ only in case, and hold `/` and `..`; digests do not.
fn file_name(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

/// Runs what blocks on the disk where blocking is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Refusal::Disk(io::Error::other(error))),
    }
}
