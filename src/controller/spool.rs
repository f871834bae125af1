//! Files that arrive over the network, on this machine's disk until a release is made of them. What was sent is
//! digested as it arrives; nothing but a number names it here, so that no name can do harm.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FlockOperation, Mode as Permissions, OFlags};
use tokio::io::{AsyncWriteExt as _, BufWriter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};
use ulid::Ulid;

use super::walk::Found;
use crate::model::digest::DigestBuilder;
use crate::model::manifest::{Manifest, ManifestFile, Mode};
use crate::model::{FilePath, Sha256Digest};
use crate::store::Expect;

/// How many uploads may arrive at once.
const MOST_AT_ONCE: usize = 4;

/// What stays free on the disk, for everything else that lives there.
const RESERVE_BYTES: u64 = 256 << 20;

/// How many bytes are written between two looks at what is free.
const LOOK_EVERY_BYTES: u64 = 64 << 20;

/// How many problems are kept: nobody reads more, and the sender chooses their texts.
const MOST_PROBLEMS: usize = 20;

/// How much of a file is gathered before it is written.
const PIECE_BYTES: usize = 1 << 20;

/// Names of files that are folders packed into one. Alone they are most likely a release that somebody packed.
const ARCHIVES: [&str; 9] = [".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".tar.zst", ".7z", ".rar"];

/// The most that one upload may bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadLimits {
    /// Bytes of a file.
    pub file_bytes: u64,
    /// Bytes of all files together.
    pub release_bytes: u64,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self { file_bytes: ManifestFile::MAX_BYTES, release_bytes: 20 << 30 }
    }
}

/// Why an upload is not taken any further.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// It brings more than an upload may.
    #[error("the upload has more than {limit} bytes; `uploads.release` in the controller's config sets this limit")]
    TooLarge {
        /// How much it may bring.
        limit: u64,
    },
    /// The disk is too full.
    #[error(
        "the controller has no room for it: {needed} more bytes are wanted in {}, {free} are free beside a reserve of \
         {RESERVE_BYTES}; make room there, or upload with the command line",
        path.display()
    )]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// How many bytes are to come at least.
        needed: u64,
        /// How many bytes may still be used.
        free: u64,
    },
    /// As many uploads as are allowed at once are arriving.
    #[error("{MOST_AT_ONCE} other uploads are arriving; try again when one of them is done")]
    Busy,
    /// The disk failed.
    #[error("{doing} {}", path.display())]
    Local {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn local(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    move |source| SpoolError::Local { doing, path: path.to_owned(), source }
}

/// The folder in which uploads arrive, each in a folder of its own.
#[derive(Debug)]
pub struct SpoolFolder {
    path: PathBuf,
    limits: UploadLimits,
    turns: Arc<Semaphore>,
}

impl SpoolFolder {
    /// The folder at `path`. It is made when the first upload arrives.
    #[must_use]
    pub fn new(path: PathBuf, limits: UploadLimits) -> Self {
        Self { path, limits, turns: Arc::new(Semaphore::new(MOST_AT_ONCE)) }
    }

    /// Removes what processes that died left behind. Whatever else lies here stays.
    pub fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let is_ours = entry.file_name().to_str().is_some_and(|name| Ulid::from_string(name).is_ok());
            if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                sweep(&entry.path());
            }
        }
    }

    /// What one upload may bring.
    #[must_use]
    pub fn limits(&self) -> UploadLimits {
        self.limits
    }

    /// A place for a new upload. `announced` is how many bytes the sender says it has.
    ///
    /// # Errors
    /// [`SpoolError::Busy`], or one that can be told before anything has arrived.
    pub fn begin(&self, id: Ulid, announced: Option<u64>) -> Result<Spool, SpoolError> {
        self.begin_within(self.limits, id, announced)
    }

    /// The same for an upload that may bring less.
    ///
    /// # Errors
    /// See [`Self::begin`].
    pub fn begin_within(&self, limits: UploadLimits, id: Ulid, announced: Option<u64>) -> Result<Spool, SpoolError> {
        let turn = self.turns.clone().try_acquire_owned().map_err(|_| SpoolError::Busy)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(local("making the folder", &self.path))?;
        let path = self.path.join(id.to_string());
        DirBuilder::new().mode(0o700).create(&path).map_err(local("making the folder", &path))?;
        let lock = lock(&path).map_err(local("locking", &path))?;
        let folder = SpoolPlace { path, lock: Some(lock), turn: Some(turn) };
        let spool = Spool { folder, limits, bytes: 0, looked_at: 0, files: Vec::new(), problems: Vec::new() };
        spool.check_room(announced.unwrap_or(0))?;
        Ok(spool)
    }
}

/// Locks a folder for as long as the file is open: no other process takes it for left behind.
fn lock(folder: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Permissions::empty())?;
    rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    Ok(folder.into())
}

/// Removes what a process that died left behind. One that lives holds the lock.
fn sweep(folder: &Path) {
    let Ok(_held) = lock(folder) else { return };
    match std::fs::remove_dir_all(folder) {
        Ok(()) => info!(path = %folder.display(), "removed an upload that was never finished"),
        Err(error) => warn!(path = %folder.display(), %error, "an upload that was never finished cannot be removed"),
    }
}

/// A folder that goes when this goes.
#[derive(Debug)]
struct SpoolPlace {
    path: PathBuf,
    lock: Option<File>,
    /// Held while it arrives.
    turn: Option<OwnedSemaphorePermit>,
}

impl Drop for SpoolPlace {
    fn drop(&mut self) {
        let (path, lock) = (std::mem::take(&mut self.path), self.lock.take());
        let remove = move || {
            if let Err(error) = std::fs::remove_dir_all(&path) {
                warn!(path = %path.display(), %error, "an upload cannot be removed; the next start tries again");
            }
            drop(lock);
        };
        // Thousands of files take a moment, which no request should wait for.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// One upload on its way. Its files go when this goes.
#[derive(Debug)]
pub struct Spool {
    folder: SpoolPlace,
    limits: UploadLimits,
    /// Of everything that was sent, also of what is not kept.
    bytes: u64,
    /// [`Self::bytes`] when the disk was last looked at.
    looked_at: u64,
    files: Vec<(Found, Expect)>,
    problems: Vec<String>,
}

impl Spool {
    /// Makes ready for the next file. What is wrong with it is only noted, and its bytes are passed over, so that the
    /// sender hears everything at once.
    ///
    /// # Errors
    /// [`SpoolError::Local`] when it cannot be kept.
    pub async fn file(&mut self, path: &str) -> Result<SpoolFile<'_>, SpoolError> {
        let path = match FilePath::normalised(path) {
            Ok(path) if self.files.len() < Manifest::MAX_FILES => Some(path),
            Ok(_) => {
                self.refuse(format!("there are more than the {} files that a release may have", Manifest::MAX_FILES));
                None
            }
            Err(error) => {
                self.refuse(error.to_string());
                None
            }
        };
        let kept = match path {
            None => None,
            Some(path) => {
                let local_path = self.folder.path.join(format!("{:06}", self.files.len()));
                let file = tokio::fs::File::create_new(&local_path).await.map_err(local("making", &local_path))?;
                let file = BufWriter::with_capacity(PIECE_BYTES, file);
                Some(Kept { path, local: local_path, file, size: 0, digest: Sha256Digest::builder() })
            }
        };
        Ok(SpoolFile { spool: self, kept })
    }

    /// Notes what is wrong with the upload.
    pub fn refuse(&mut self, problem: impl Into<String>) {
        let problem = problem.into();
        if self.problems.len() < MOST_PROBLEMS && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// All of it has arrived: others may, while it waits.
    pub fn rest(&mut self) {
        self.folder.turn = None;
    }

    /// How many bytes were sent.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What names all that has arrived, and what is wrong with it.
    #[must_use]
    pub fn digest(&self) -> Sha256Digest {
        let mut digest = Sha256Digest::builder();
        for (found, expect) in self.files(|_| false) {
            digest.update(format!("{} {}\n", expect.sha256, found.path).as_bytes());
        }
        for problem in self.problems() {
            digest.update(format!("{problem}\n").as_bytes());
        }
        digest.finish()
    }

    /// What its only file is; None if it has none, or several.
    #[must_use]
    pub fn only(&self) -> Option<Expect> {
        match &self.files[..] {
            [(_, expect)] => Some(*expect),
            _ => None,
        }
    }

    /// Where its only file lies; None if it has none, or several.
    #[must_use]
    pub fn only_path(&self) -> Option<&Path> {
        match &self.files[..] {
            [(found, _)] => Some(&found.local),
            _ => None,
        }
    }

    /// The bytes of its first file, which must fit into memory; nothing if it has none.
    ///
    /// # Errors
    /// [`SpoolError::Local`], also when they are not what arrived.
    pub async fn read_first(&self) -> Result<Bytes, SpoolError> {
        let Some((found, expect)) = self.files.first() else { return Ok(Bytes::new()) };
        let bytes = tokio::fs::read(&found.local).await.map_err(local("reading", &found.local))?;
        if Sha256Digest::of(&bytes) != expect.sha256 {
            let changed = io::Error::new(io::ErrorKind::InvalidData, "its bytes are not those that arrived");
            return Err(local("reading", &found.local)(changed));
        }
        Ok(bytes.into())
    }

    /// What is wrong with what has arrived; a release can be made of it if nothing is.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = self.problems.clone();
        let paths = self.files.iter().map(|(found, _)| &found.path);
        if let Err(error) = crate::model::path::check_together(paths) {
            problems.push(error.to_string());
        }
        match &self.files[..] {
            [] if problems.is_empty() => problems.push("there are no files in it; choose a folder or files".to_owned()),
            [(only, _)] if is_archive(only.path.as_str()) => problems.push(format!(
                "{:?} is an archive, and archives are not unpacked; unpack it and choose the folder (as a file of a \
                 release it can be uploaded with the command line)",
                only.path.as_str()
            )),
            _ => {}
        }
        problems
    }

    /// The files, sorted by path; those that `is_program` picks can be executed.
    pub(super) fn files(&self, is_program: impl Fn(&FilePath) -> bool) -> Vec<(Found, Expect)> {
        let mut files = self.files.clone();
        for (found, _) in files.iter_mut().filter(|(found, _)| is_program(&found.path)) {
            found.mode = Mode::EXECUTE;
        }
        files.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        files
    }

    fn count(&mut self, bytes: usize) -> Result<(), SpoolError> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > self.limits.release_bytes {
            return Err(SpoolError::TooLarge { limit: self.limits.release_bytes });
        }
        if self.bytes - self.looked_at >= LOOK_EVERY_BYTES {
            self.looked_at = self.bytes;
            self.check_room(0)?;
        }
        Ok(())
    }

    fn check_room(&self, needed: u64) -> Result<(), SpoolError> {
        let path = &self.folder.path;
        let room = rustix::fs::statvfs(path).map_err(|error| local("measuring the room in", path)(error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize).saturating_sub(RESERVE_BYTES);
        if free == 0 || needed > free {
            return Err(SpoolError::NoRoom { path: path.clone(), needed, free });
        }
        Ok(())
    }
}

fn is_archive(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    ARCHIVES.iter().any(|suffix| path.ends_with(suffix))
}

/// A file that is arriving.
#[derive(Debug)]
#[must_use = "it is only kept when it is finished"]
pub struct SpoolFile<'s> {
    spool: &'s mut Spool,
    /// None if it is passed over.
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    path: FilePath,
    local: PathBuf,
    file: BufWriter<tokio::fs::File>,
    size: u64,
    digest: DigestBuilder,
}

impl SpoolFile<'_> {
    /// Takes the next bytes of it.
    ///
    /// # Errors
    /// [`SpoolError`] when the whole upload cannot go on.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.spool.count(bytes.len())?;
        let Some(kept) = &mut self.kept else { return Ok(()) };
        kept.size += bytes.len() as u64;
        let most = self.spool.limits.file_bytes;
        if kept.size > most {
            let problem = format!("{} has more than the {most} bytes that one file may have; split it", kept.path);
            let local_path = kept.local.clone();
            self.kept = None;
            self.spool.refuse(problem);
            return tokio::fs::remove_file(&local_path).await.map_err(local("removing", &local_path));
        }
        kept.digest.update(bytes);
        kept.file.write_all(bytes).await.map_err(local("writing", &kept.local))
    }

    /// Notes that all of it has arrived.
    ///
    /// # Errors
    /// [`SpoolError::Local`] when it could not be written.
    pub async fn finish(self) -> Result<(), SpoolError> {
        let Some(mut kept) = self.kept else { return Ok(()) };
        kept.file.flush().await.map_err(local("writing", &kept.local))?;
        let expect = Expect { size: kept.size, sha256: kept.digest.finish() };
        let found = Found { path: kept.path, local: kept.local, size: kept.size, mode: Mode::READ };
        self.spool.files.push((found, expect));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn limits(file_bytes: u64, release_bytes: u64) -> UploadLimits {
        UploadLimits { file_bytes, release_bytes }
    }

    fn begin(folder: &SpoolFolder, number: u64) -> Spool {
        folder.begin(Ulid::from_parts(number, 1), None).unwrap()
    }

    /// Outside of the runtime its files are gone when it is.
    fn drop_at_once(spool: Spool) {
        std::thread::spawn(move || drop(spool)).join().unwrap();
    }

    async fn send(spool: &mut Spool, path: &str, bytes: &[u8]) -> Result<(), SpoolError> {
        let mut file = spool.file(path).await?;
        for piece in bytes.chunks(3) {
            file.write(piece).await?;
        }
        file.finish().await
    }

    #[tokio::test]
    async fn what_arrives_is_digested_and_goes_with_its_upload() {
        let root = tempfile::tempdir().unwrap();
        let folder = SpoolFolder::new(root.path().join("uploads"), UploadLimits::default());
        let mut spool = begin(&folder, 1);
        send(&mut spool, "b/run", b"#!/bin/sh").await.unwrap();
        send(&mut spool, "a.txt", b"").await.unwrap();
        assert_eq!(spool.problems(), [""; 0]);
        let files = spool.files(|path| path.as_str() == "b/run");
        let seen: Vec<_> = files.iter().map(|(found, expect)| (found.path.as_str(), found.mode, *expect)).collect();
        let expect = |bytes: &[u8]| Expect { size: bytes.len() as u64, sha256: Sha256Digest::of(bytes) };
        assert_eq!(seen, [("a.txt", Mode::READ, expect(b"")), ("b/run", Mode::EXECUTE, expect(b"#!/bin/sh"))]);
        assert_eq!(std::fs::read(&files[1].0.local).unwrap(), b"#!/bin/sh");
        let mode = spool.folder.path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);

        let path = spool.folder.path.clone();
        drop_at_once(spool);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn names_lead_nowhere_and_each_is_told() {
        let root = tempfile::tempdir().unwrap();
        let folder = SpoolFolder::new(root.path().to_owned(), UploadLimits::default());
        let mut spool = begin(&folder, 1);
        for path in ["../x", "/etc/passwd", "a\\b", "", "a\0", "a/./b"] {
            send(&mut spool, path, b"no").await.unwrap();
        }
        send(&mut spool, "Readme", b"yes").await.unwrap();
        send(&mut spool, "README", b"yes").await.unwrap();
        let problems = spool.problems();
        assert_eq!(problems.len(), 7, "{problems:#?}");
        assert!(problems[6].contains("upper and lower case"), "{problems:#?}");
        let names = std::fs::read_dir(&spool.folder.path).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["000000", "000001"], "nothing is kept of the others");
        for number in 0..100 {
            send(&mut spool, &format!("../{number}"), b"").await.unwrap();
        }
        assert_eq!(spool.problems().len(), MOST_PROBLEMS + 1);
    }

    #[tokio::test]
    async fn a_file_that_is_too_large_is_named_and_an_upload_that_is_too_large_ends() {
        let root = tempfile::tempdir().unwrap();
        let folder = SpoolFolder::new(root.path().to_owned(), limits(4, 10));
        let mut spool = begin(&folder, 1);
        send(&mut spool, "just", b"four").await.unwrap();
        send(&mut spool, "large", b"fives").await.unwrap();
        let problems = spool.problems();
        assert!(problems.len() == 1 && problems[0].starts_with("large has more than the 4 bytes"), "{problems:?}");
        assert_eq!(std::fs::read_dir(&spool.folder.path).unwrap().count(), 1, "it takes no room");
        let error = send(&mut spool, "x", b"xx").await.unwrap_err();
        assert!(matches!(error, SpoolError::TooLarge { limit: 10 }), "what was passed over counts too: {error}");
    }

    #[tokio::test]
    async fn an_archive_alone_is_refused_with_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let folder = SpoolFolder::new(root.path().to_owned(), UploadLimits::default());
        for name in ["site.ZIP", "x/site.tar.gz", "site.tgz"] {
            let mut spool = begin(&folder, 1);
            send(&mut spool, name, b"PK").await.unwrap();
            assert!(spool.problems()[0].contains("unpack it"), "{:?}", spool.problems());
            send(&mut spool, "readme", b"").await.unwrap();
            assert_eq!(spool.problems(), [""; 0], "beside other files it is a file");
            drop_at_once(spool);
        }
        assert!(begin(&folder, 9).problems()[0].contains("no files"));
    }

    #[tokio::test]
    async fn what_does_not_fit_on_the_disk_is_refused_before_it_arrives() {
        let root = tempfile::tempdir().unwrap();
        let folder = SpoolFolder::new(root.path().to_owned(), UploadLimits::default());
        let error = folder.begin(Ulid::from_parts(1, 1), Some(u64::MAX / 2)).unwrap_err();
        assert!(matches!(error, SpoolError::NoRoom { .. }), "{error}");
    }

    #[tokio::test]
    async fn only_so_many_arrive_at_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = SpoolFolder::new(root.path().to_owned(), UploadLimits::default());
        let mut spools: Vec<Spool> = (0..4).map(|number| begin(&folder, number)).collect();
        assert!(matches!(folder.begin(Ulid::from_parts(9, 9), None), Err(SpoolError::Busy)));
        spools.pop();
        assert!(folder.begin(Ulid::from_parts(9, 9), None).is_ok());
    }

    #[tokio::test]
    async fn a_start_removes_what_a_dead_process_left_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let folder = SpoolFolder::new(root.path().to_owned(), UploadLimits::default());
        let alive = begin(&folder, 1);
        let left = root.path().join(Ulid::from_parts(2, 2).to_string());
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("000000"), "half").unwrap();
        let foreign = root.path().join("notes");
        std::fs::create_dir(&foreign).unwrap();
        let again = SpoolFolder::new(root.path().to_owned(), UploadLimits::default());
        again.sweep();
        assert!(!left.exists() && foreign.exists() && alive.folder.path.exists());
        assert!(again.begin(Ulid::from_parts(2, 2), None).is_ok());
    }
}
