//! The folder: who holds it, its temporary files, and which buckets it has.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::{FlockOperation, flock};
use tokio::sync::oneshot;
use tracing::warn;

use super::EmbeddedError;
use super::bucket::{Bucket, Refusal};
use crate::clock::SharedClock;

/// An exclusive hold on the folder. Whatever may still write into the folder keeps a share of it.
#[derive(Debug)]
pub(super) struct Hold {
    lock: File,
    _released: oneshot::Sender<()>,
    temporary: PathBuf,
    next_temporary: AtomicU64,
}

impl Drop for Hold {
    /// Closing the file would not do: a process that was forked meanwhile has it open until it executes its program.
    fn drop(&mut self) {
        if let Err(error) = flock(&self.lock, FlockOperation::Unlock) {
            warn!(%error, "the lock of the folder is given up once every process has closed it");
        }
    }
}

impl Hold {
    /// A new empty temporary file. Names need to be unique only among ours: the folder is locked, and swept at start.
    pub(super) fn temporary_file(self: &Arc<Self>) -> io::Result<Temporary> {
        let path = self.temporary_path();
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(Temporary { file, path: Some(path), _hold: Arc::clone(self) })
    }

    /// A path below the temporary folder that nothing uses.
    pub(super) fn temporary_path(&self) -> PathBuf {
        self.temporary.join(self.next_temporary.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Removes a folder so that it is gone at once for readers, whatever happens during the removal.
    pub(super) fn discard_folder(&self, path: &Path) -> io::Result<()> {
        let doomed = self.temporary_path();
        fs::rename(path, &doomed)?;
        if let Some(parent) = path.parent() {
            sync_folder(parent)?;
        }
        fs::remove_dir_all(doomed)
    }
}

/// A file that vanishes unless it is renamed to its place.
#[derive(Debug)]
pub(super) struct Temporary {
    pub(super) file: File,
    path: Option<PathBuf>,
    _hold: Arc<Hold>,
}

impl Temporary {
    /// Gives the file its lasting name. That it lasts is up to [`sync_folder`].
    pub(super) fn rename_to(mut self, target: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            fs::rename(path, target)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // What is left behind is swept at the next start.
            let _ = fs::remove_file(path);
        }
    }
}

/// Waits until the entries of a folder are on disk.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The opened folder.
#[derive(Debug)]
pub(super) struct Folder {
    hold: Arc<Hold>,
    clock: SharedClock,
    buckets_path: PathBuf,
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
}

impl Folder {
    /// Locks the folder, sweeps what an earlier server left unfinished, and reads the record of every object.
    ///
    /// The receiver completes once nothing can write into the folder any more.
    pub(super) fn open(root: &Path, clock: SharedClock) -> Result<(Self, oneshot::Receiver<()>), EmbeddedError> {
        let failed = |doing: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| EmbeddedError::Folder { doing, path, source }
        };
        let temporary = root.join("tmp");
        let buckets_path = root.join("buckets");
        if !root.exists() {
            fs::create_dir_all(root).map_err(failed("creating", root))?;
            let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            sync_folder(parent).map_err(failed("syncing", parent))?;
        }
        let lock_path = root.join(".lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(failed("opening", &lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(EmbeddedError::InUse { root: root.to_owned() }),
            Err(errno) => return Err(failed("locking", &lock_path)(errno.into())),
        }
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("sweeping", &temporary)(error)),
            _ => {}
        }
        fs::create_dir(&temporary).map_err(failed("creating", &temporary))?;
        fs::create_dir_all(&buckets_path).map_err(failed("creating", &buckets_path))?;
        sync_folder(root).map_err(failed("syncing", root))?;

        let (released, until_released) = oneshot::channel();
        let hold = Arc::new(Hold { lock, _released: released, temporary, next_temporary: AtomicU64::new(0) });
        let mut buckets = BTreeMap::new();
        for entry in fs::read_dir(&buckets_path).map_err(failed("listing", &buckets_path))? {
            let path = entry.map_err(failed("listing", &buckets_path))?.path();
            let bucket = Bucket::load(&path, Arc::clone(&hold)).map_err(|(path, source)| {
                if source.kind() == io::ErrorKind::InvalidData {
                    EmbeddedError::Damaged { path, source }
                } else {
                    EmbeddedError::Folder { doing: "reading", path, source }
                }
            })?;
            buckets.insert(bucket.name().to_owned(), Arc::new(bucket));
        }
        Ok((Self { hold, clock, buckets_path, buckets: RwLock::new(buckets) }, until_released))
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    pub(super) fn bucket(&self, name: &str) -> Result<Arc<Bucket>, Refusal> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.get(name).cloned().ok_or(Refusal::NoSuchBucket)
    }

    /// All buckets, in the order of their names.
    pub(super) fn buckets(&self) -> Vec<Arc<Bucket>> {
        self.buckets.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Creates a bucket; blocks on the disk.
    pub(super) fn create_bucket(&self, name: &str) -> Result<(), Refusal> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        if buckets.contains_key(name) {
            return Err(Refusal::BucketExists);
        }
        let path = self.buckets_path.join(name);
        let bucket = Bucket::create(&path, Arc::clone(&self.hold), self.clock.now())?;
        buckets.insert(name.to_owned(), Arc::new(bucket));
        Ok(())
    }

    /// Deletes an empty bucket with the uploads that were never completed; blocks on the disk.
    pub(super) fn delete_bucket(&self, name: &str) -> Result<(), Refusal> {
        // Closing waits for writes under way, and those may need the list of buckets: it is not locked here.
        self.bucket(name)?.close_if_empty()?;
        self.hold.discard_folder(&self.buckets_path.join(name))?;
        self.buckets.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::condition::WriteCondition;
    use super::super::digests::{Algorithm, Digests};
    use super::super::object::{Headers, Object};
    use super::*;
    use crate::clock::SystemClock;

    #[tokio::test]
    async fn a_write_under_way_does_not_land_in_a_deleted_bucket() {
        let root = tempfile::tempdir().unwrap();
        let clock = SystemClock::shared();
        let (folder, _) = Folder::open(root.path(), Arc::clone(&clock)).unwrap();
        folder.create_bucket("bucket").unwrap();
        let bucket = folder.bucket("bucket").unwrap();
        let temporary = bucket.hold().temporary_file().unwrap();
        let folder = tokio::task::spawn_blocking(move || {
            folder.delete_bucket("bucket").unwrap();
            folder.create_bucket("bucket").unwrap();
            folder
        });
        let folder = folder.await.unwrap();
        let object = Object {
            key: "k".to_owned(),
            size: 0,
            etag: String::new(),
            modified: clock.now(),
            checksum: Digests::new(Algorithm::Crc32).finish().1,
            headers: Headers::default(),
            parts: Vec::new(),
            upload: None,
        };
        let refused = bucket.commit(temporary, object, WriteCondition::None).await;
        assert!(matches!(refused, Err(Refusal::NoSuchBucket)), "{refused:?}");
        assert_eq!(fs::read_dir(root.path().join("buckets/bucket/objects")).unwrap().count(), 0);
        assert!(folder.bucket("bucket").unwrap().get("k").is_none());
    }
}
