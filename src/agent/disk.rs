//! Effects on the node's disk. All of them are made here, so that nothing is half there after a crash, and so that
//! tests can stop an agent between any two.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::steps::{Killed, Steps};

/// The node's disk refused an operation.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {}", path.display())]
pub struct DiskError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl DiskError {
    pub(super) fn new(doing: &'static str, path: PathBuf, source: io::Error) -> Self {
        Self { doing, path, source }
    }

    /// Whether whom the agent runs as may not do it.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }

    /// Whether there was no room left.
    pub(super) fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether something is there that must not be followed or overwritten: a link, or no folder.
    pub(super) fn is_in_the_way(&self) -> bool {
        let errno = rustix::io::Errno::from_io_error(&self.source);
        matches!(errno, Some(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR | rustix::io::Errno::EXIST))
    }

    pub(super) fn is_absent(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether a test stopped the agent; then nothing more may be done.
    pub(super) fn is_killed(&self) -> bool {
        self.source.get_ref().is_some_and(|inner| inner.is::<Killed>())
    }
}

/// What is at a name where a link may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum There {
    Nothing,
    /// A symbolic link, and what it says.
    Link(String),
    /// Anything else, in a word.
    Other(&'static str),
}

/// An open folder. Whatever is done in it is done relative to the open folder and never through a symbolic link, so
/// that nobody who may write to a folder above can lead the agent elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    fd: Arc<OwnedFd>,
    path: PathBuf,
    steps: Steps,
}

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Deeper than any release can be; a tree that a cell made in its data folder can be as deep as it likes.
const DEEPEST: usize = 320;

impl Folder {
    /// Opens a folder that the config names, making it if it is missing. Links on the way there are the owner's own.
    pub(super) fn open(path: &Path, mode: u32, steps: &Steps) -> Result<Self, DiskError> {
        let refuse = |doing, source| DiskError { doing, path: path.to_owned(), source };
        if path.exists() && !path.is_dir() {
            return Err(refuse("opening", Errno::NOTDIR.into()));
        }
        if !path.is_dir() {
            steps.before("make a folder").map_err(|source| refuse("making", source))?;
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o755);
            builder.recursive(true).create(path).map_err(|source| refuse("making", source))?;
            let made = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(path, made).map_err(|source| refuse("setting the mode of", source))?;
        }
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        let fd = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|e| refuse("opening", e.into()))?;
        Ok(Self { fd: Arc::new(fd), path: path.to_owned(), steps: steps.clone() })
    }

    /// Opens a folder that the config names; `None` if it is missing.
    pub(super) fn open_existing(path: &Path, steps: &Steps) -> Result<Option<Self>, DiskError> {
        if path.is_dir() { Self::open(path, 0, steps).map(Some) } else { Ok(None) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder called `name` in this one; `None` if nothing is there.
    pub(super) fn child(&self, name: impl AsRef<OsStr>) -> Result<Option<Self>, DiskError> {
        let name = name.as_ref();
        match rustix::fs::openat(&self.fd, name, FOLDER, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { fd: Arc::new(fd), path: self.path.join(name), steps: self.steps.clone() })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.refuse("opening", &name.to_string_lossy())(error)),
        }
    }

    /// The folder called `name` in this one, made with exactly `mode` if nothing is there.
    pub(super) fn child_made(&self, name: &str, mode: u32) -> Result<Self, DiskError> {
        if let Some(child) = self.child(name)? {
            return Ok(child);
        }
        self.before("make a folder", name)?;
        match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(mode)) {
            // Another download of the same release may have made it meanwhile.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(self.refuse("making", name)(error)),
        }
        let child = self.child(name)?.ok_or_else(|| self.refuse("opening", name)(Errno::NOENT))?;
        // What mkdir makes is cut by the umask.
        rustix::fs::fchmod(&child.fd, Mode::from_raw_mode(mode)).map_err(self.refuse("setting the mode of", name))?;
        self.sync()?;
        Ok(child)
    }

    /// The folder below this one that `segments` lead to; `None` if it is not there.
    pub(super) fn below<S: AsRef<OsStr>>(
        &self,
        segments: impl IntoIterator<Item = S>,
    ) -> Result<Option<Self>, DiskError> {
        let mut folder = self.clone();
        for segment in segments {
            match folder.child(segment)? {
                Some(child) => folder = child,
                None => return Ok(None),
            }
        }
        Ok(Some(folder))
    }

    /// The folder below this one that `segments` lead to, made where it is missing.
    pub(super) fn below_made<'a>(
        &self,
        segments: impl IntoIterator<Item = &'a str>,
        mode: u32,
    ) -> Result<Self, DiskError> {
        segments.into_iter().try_fold(self.clone(), |folder, segment| folder.child_made(segment, mode))
    }

    /// A new file, to be written. Nothing may be there.
    pub(super) fn create(&self, name: &str) -> Result<File, DiskError> {
        self.before("create a file", name)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600));
        fd.map(File::from).map_err(self.refuse("creating", name))
    }

    /// The file called `name`, to be added to; made if nothing is there.
    pub(super) fn append(&self, name: &str) -> Result<File, DiskError> {
        self.before("open a log", name)?;
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600));
        fd.map(File::from).map_err(self.refuse("opening", name))
    }

    /// The file called `name`, to be read; `None` if nothing is there.
    pub(super) fn file(&self, name: &str) -> Result<Option<File>, DiskError> {
        // Not to wait for whoever might write into a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.refuse("opening", name)(error)),
        }
    }

    /// What the file called `name` holds; `None` if nothing is there.
    pub(super) fn read(&self, name: &str, most_bytes: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let Some(file) = self.file(name)? else { return Ok(None) };
        let refuse = |source| DiskError { doing: "reading", path: self.path.join(name), source };
        read_to(file, most_bytes).map(Some).map_err(refuse)
    }

    /// Puts `bytes` at `name`: after any crash the old bytes are there or the new ones, and the new ones once this
    /// has returned.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let new = format!(".tmp-{name}");
        self.remove_file(&new)?;
        let mut file = self.create(&new)?;
        let io = |doing| move |source| DiskError { doing, path: self.path.join(name), source };
        self.before("write a file", name)?;
        file.write_all(bytes).map_err(io("writing"))?;
        file.sync_all().map_err(io("syncing"))?;
        self.before("rename a file", name)?;
        rustix::fs::renameat(&self.fd, &new, &self.fd, name).map_err(self.refuse("renaming to", name))?;
        self.sync()
    }

    /// Removes the file or link called `name`, if there is one.
    pub(super) fn remove_file(&self, name: &str) -> Result<(), DiskError> {
        if self.kind(name)?.is_none() {
            return Ok(());
        }
        self.before("remove a file", name)?;
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => self.sync(),
            Err(error) => Err(self.refuse("removing", name)(error)),
        }
    }

    /// Removes whatever is called `name`, with all that is in it.
    pub(super) fn remove_tree(&self, name: &str) -> Result<(), DiskError> {
        self.remove_below(OsStr::new(name), DEEPEST)?;
        self.sync()
    }

    /// Removes this folder itself, unless there is anything in it, or the path to it is somebody's link or mount.
    pub(super) fn remove_if_empty(&self) -> Result<(), DiskError> {
        let refuse = |source| DiskError { doing: "removing", path: self.path.clone(), source };
        self.steps.before("remove a folder").map_err(refuse)?;
        match rustix::fs::rmdir(&self.path) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::BUSY) => Ok(()),
            Err(error) => Err(refuse(error.into())),
        }
    }

    fn remove_below(&self, name: &OsStr, depth: usize) -> Result<(), DiskError> {
        let shown = name.to_string_lossy();
        let refuse = |error| self.refuse("removing", &shown)(error);
        let Some(depth) = depth.checked_sub(1) else { return Err(refuse(Errno::NAMETOOLONG)) };
        let folder = match rustix::fs::openat(&self.fd, name, FOLDER, Mode::empty()) {
            Ok(fd) => Self { fd: Arc::new(fd), path: self.path.join(name), steps: self.steps.clone() },
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                self.before("remove a file", &shown)?;
                return rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()).map_err(refuse);
            }
            Err(error) => return Err(refuse(error)),
        };
        for (inner, _) in folder.entries()? {
            folder.remove_below(&inner, depth)?;
        }
        self.before("remove a folder", &shown)?;
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).map_err(refuse)
    }

    /// Renames the folder or file `from` to `to`, which may be gone then.
    pub(super) fn set_aside(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.before("set a release aside", from)?;
        rustix::fs::renameat(&self.fd, from, &self.fd, to).map_err(self.refuse("setting aside", from))?;
        self.sync()
    }

    /// Everything in the folder, and what it is.
    pub(super) fn entries(&self) -> Result<Vec<(std::ffi::OsString, FileType)>, DiskError> {
        self.entries_to(usize::MAX)
    }

    /// The first `most` of what is in the folder.
    pub(super) fn entries_to(&self, most: usize) -> Result<Vec<(std::ffi::OsString, FileType)>, DiskError> {
        let refuse = |error: Errno| DiskError { doing: "listing", path: self.path.clone(), source: error.into() };
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(refuse)? {
            if entries.len() == most {
                break;
            }
            let entry = entry.map_err(refuse)?;
            let name: &CStr = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).map_err(refuse)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                kind => kind,
            };
            entries.push((OsStr::from_bytes(name.to_bytes()).to_owned(), kind));
        }
        Ok(entries)
    }

    /// The names of everything in the folder that the agent could have made there.
    pub(super) fn names(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.entries()?.into_iter().filter_map(|(name, _)| name.into_string().ok()).collect())
    }

    /// What is called `name`, if anything is.
    fn kind(&self, name: &str) -> Result<Option<FileType>, DiskError> {
        Ok(self.stat(OsStr::new(name))?.map(|stat| FileType::from_raw_mode(stat.st_mode)))
    }

    /// What is known of `name` without opening it; `None` if nothing is there.
    pub(super) fn stat(&self, name: &OsStr) -> Result<Option<Stat>, DiskError> {
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.refuse("looking at", &name.to_string_lossy())(error)),
        }
    }

    /// What is known of the folder itself.
    pub(super) fn own_stat(&self) -> Result<Stat, DiskError> {
        rustix::fs::fstat(&self.fd).map_err(self.refuse("looking at", ""))
    }

    /// What is at `name`, where a link may be.
    pub(super) fn there(&self, name: &str) -> Result<There, DiskError> {
        Ok(match self.kind(name)? {
            None => There::Nothing,
            Some(FileType::Symlink) => {
                let text = rustix::fs::readlinkat(&self.fd, name, Vec::new()).map_err(self.refuse("reading", name))?;
                There::Link(text.to_string_lossy().into_owned())
            }
            Some(FileType::Directory) => There::Other("folder"),
            Some(FileType::RegularFile) => There::Other("file"),
            Some(_) => There::Other("special file"),
        })
    }

    /// Makes `name` a link that says `text`, in one step: at any instant the old link or the new one is there (I4).
    pub(super) fn switch_link(&self, name: &str, text: &str) -> Result<(), DiskError> {
        if self.there(name)? != There::Link(text.to_owned()) {
            let new = new_link(name);
            self.remove_file(&new)?;
            self.before("make the new link", name)?;
            rustix::fs::symlinkat(text, &self.fd, &new).map_err(self.refuse("making a link for", name))?;
            self.before("switch the link", name)?;
            rustix::fs::renameat(&self.fd, &new, &self.fd, name).map_err(self.refuse("switching", name))?;
        }
        self.sync()
    }

    /// Renames `from` to `to`, where nothing may be yet.
    pub(super) fn rename_new(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.before("put the release in its place", to)?;
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.fd, from, &self.fd, to, flags) {
            // Some network file systems know no flags. Only this agent makes names here, and it looked.
            Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(&self.fd, from, &self.fd, to),
            other => other,
        }
        .map_err(self.refuse("renaming to", to))?;
        self.sync()
    }

    /// Puts the file `name` in the place of whatever file is called so in `to`, in one step.
    pub(super) fn move_over(&self, name: &str, to: &Self) -> Result<(), DiskError> {
        to.before("put a file back", name)?;
        rustix::fs::renameat(&self.fd, name, &to.fd, name).map_err(to.refuse("putting back", name))?;
        to.sync()
    }

    /// Puts the folder `new` in the place of the folder `old`, and the other way round, in one step.
    pub(super) fn exchange(&self, new: &str, old: &str) -> Result<(), DiskError> {
        self.before("exchange the release", old)?;
        rustix::fs::renameat_with(&self.fd, new, &self.fd, old, RenameFlags::EXCHANGE)
            .map_err(self.refuse("exchanging", old))?;
        self.sync()
    }

    /// Makes what was renamed, made or removed in the folder last.
    pub(super) fn sync(&self) -> Result<(), DiskError> {
        rustix::fs::fsync(&self.fd).map_err(|error| DiskError {
            doing: "syncing",
            path: self.path.clone(),
            source: error.into(),
        })
    }

    /// Whether the folder is the agent's own, and nobody else may write to it.
    pub(super) fn is_own(&self) -> Result<bool, DiskError> {
        let stat = self.own_stat()?;
        Ok(stat.st_uid == rustix::process::geteuid().as_raw() && stat.st_mode & 0o022 == 0)
    }

    /// Gives the folder to a user and a group.
    pub(super) fn give_to(&self, user: u32, group: u32) -> Result<(), DiskError> {
        let stat = self.own_stat()?;
        if (stat.st_uid, stat.st_gid) == (user, group) {
            return Ok(());
        }
        self.before("change an owner", "")?;
        let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
        rustix::fs::fchown(&self.fd, Some(user), Some(group)).map_err(self.refuse("changing the owner of", ""))
    }

    /// How many bytes and files the file system still takes.
    pub(super) fn room(&self) -> Result<(u64, u64), DiskError> {
        let stat = rustix::fs::fstatvfs(&self.fd).map_err(self.refuse("measuring the room in", ""))?;
        // Some file systems have no fixed number of files and say zero.
        let files = if stat.f_files == 0 { u64::MAX } else { stat.f_favail };
        Ok((stat.f_bavail.saturating_mul(stat.f_frsize), files))
    }

    /// Asks for leave to go on with `step`.
    pub(super) fn before(&self, step: &'static str, name: &str) -> Result<(), DiskError> {
        let refuse = |source| DiskError { doing: step, path: self.path.join(name), source };
        self.steps.before(step).map_err(refuse)
    }

    fn refuse<'a>(&'a self, doing: &'static str, name: &'a str) -> impl Fn(Errno) -> DiskError + 'a {
        move |error| DiskError { doing, path: self.path.join(name), source: error.into() }
    }
}

/// What the file at `path` holds; `None` if nothing is there.
pub(super) fn read_whole(path: &Path, most_bytes: u64) -> Result<Option<Vec<u8>>, DiskError> {
    let refuse = |source| DiskError::new("reading", path.to_owned(), source);
    match File::open(path) {
        Ok(file) => read_to(file, most_bytes).map(Some).map_err(refuse),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(refuse(error)),
    }
}

fn read_to(file: File, most_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most_bytes {
        return Err(io::Error::other(format!("it has more than {most_bytes} bytes")));
    }
    Ok(bytes)
}

/// The name of the link that is to become `name`.
pub(super) fn new_link(name: &str) -> String {
    format!(".tmp-link-{name}")
}

/// Runs what waits for the disk where it may wait.
pub(super) async fn apart<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<DiskError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The work panicked, or the runtime is being shut down.
        Err(error) => Err(DiskError::new("finishing", PathBuf::new(), io::Error::other(error)).into()),
    }
}
