//! A release on the disk: written file by file beside the others, synced, and put in its place whole (I4).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use rustix::fs::FileType;

use super::disk::{DiskError, Folder};
use super::place::{FOLDER_MODE, UNFINISHED};
use crate::model::manifest::{Manifest, ManifestFile};
use crate::model::{FilePath, Sha256Digest};

/// Bytes that are read at once.
const CHUNK: usize = 128 * 1024;

/// A release that is being written, under a name of its own.
#[derive(Debug, Clone)]
pub(super) struct Unfinished {
    folder: Folder,
    name: String,
}

/// What tells whether two files are the same.
pub(super) type Content = (Sha256Digest, u64);

pub(super) fn content(file: &ManifestFile) -> Content {
    (file.sha256, file.size)
}

impl Unfinished {
    /// Begins to write `release`, or goes on where an earlier try left off.
    pub(super) fn open(releases: &Folder, release: &str) -> Result<Self, DiskError> {
        let name = format!("{UNFINISHED}{release}");
        Ok(Self { folder: releases.child_made(&name, FOLDER_MODE)?, name })
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Puts `file`, which is written and made fast here, in its place in `release`, whatever file is there: at any
    /// instant the old one is there or the new one, and the new one once this has returned. A folder in its place stays.
    pub(super) fn put(&self, file: &ManifestFile, release: &Folder) -> Result<(), DiskError> {
        let (parents, name) = split(&file.path);
        let missing = || self.refuse("opening", file, io::ErrorKind::NotFound.into());
        let from = self.folder.below(parents.clone())?.ok_or_else(missing)?;
        let to = release.below_made(parents, FOLDER_MODE)?;
        from.move_over(name, &to)
    }

    /// An empty file in the place of `file`, whatever an earlier try left there.
    pub(super) fn create(&self, file: &ManifestFile) -> Result<File, DiskError> {
        let (parents, name) = split(&file.path);
        let parent = self.folder.below_made(parents, FOLDER_MODE)?;
        parent.remove_file(name)?;
        parent.create(name)
    }

    /// Whether `file` is there with the right bytes; then it is made fast.
    pub(super) fn has(&self, file: &ManifestFile) -> Result<bool, DiskError> {
        let Some(found) = open(&self.folder, &file.path)? else { return Ok(false) };
        let right = matches(&found, file).map_err(|source| self.refuse("reading", file, source))?;
        if right {
            self.finish(&found, file)?;
        }
        Ok(right)
    }

    /// Writes `file` from one that should hold the same bytes. False if it does not.
    pub(super) fn copy(&self, source: &File, file: &ManifestFile) -> Result<bool, DiskError> {
        // A pipe or a device in the place of a file may never end.
        if !source.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(false);
        }
        let mut copy = self.create(file)?;
        self.folder.before("copy a file", file.path.as_str())?;
        let refuse = |source| self.refuse("copying", file, source);
        // Shared blocks where the file system can. Never a hard link: a cell may be able to write to the other one.
        if rustix::fs::ioctl_ficlone(&copy, source).is_err() {
            let mut source = source;
            io::copy(&mut Read::by_ref(&mut source).take(file.size + 1), &mut copy).map_err(refuse)?;
        }
        if !matches(&copy, file).map_err(refuse)? {
            return Ok(false);
        }
        self.finish(&copy, file)?;
        Ok(true)
    }

    /// Gives the written file its mode and makes it fast.
    pub(super) fn finish(&self, written: &File, file: &ManifestFile) -> Result<(), DiskError> {
        self.folder.before("sync a file", file.path.as_str())?;
        let permissions = Permissions::from_mode(file.mode.bits());
        let done = written.set_permissions(permissions).and_then(|()| written.sync_all());
        done.map_err(|source| self.refuse("syncing", file, source))
    }

    /// Makes all folders fast, innermost first, and puts the whole release in its place. A damaged one that stands
    /// there is exchanged for it in one step.
    pub(super) fn complete(self, releases: &Folder, release: &str, manifest: &Manifest) -> Result<(), DiskError> {
        if let Some(what) = difference(&self.folder, manifest, Look::AtNames)? {
            return Err(DiskError::new("completing", self.folder.path().to_owned(), io::Error::other(what)));
        }
        let mut folders: Vec<&str> = folders_of(manifest).into_iter().collect();
        folders.sort_by_key(|path| std::cmp::Reverse(path.matches('/').count()));
        for path in folders {
            if let Some(folder) = self.folder.below(path.split('/'))? {
                folder.sync()?;
            }
        }
        self.folder.sync()?;
        if releases.child(release)?.is_none() {
            return releases.rename_new(&self.name, release);
        }
        releases.exchange(&self.name, release)?;
        releases.remove_tree(&self.name)
    }

    fn refuse(&self, doing: &'static str, file: &ManifestFile, source: io::Error) -> DiskError {
        DiskError::new(doing, self.folder.path().join(file.path.as_str()), source)
    }
}

/// How closely a release is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Which files there are.
    AtNames,
    /// Their bytes, owners and modes as well.
    AtBytes,
}

/// In what a release differs from its manifest; None if it is whole and holds nothing else.
pub(super) fn difference(release: &Folder, manifest: &Manifest, look: Look) -> Result<Option<String>, DiskError> {
    let mut missing: BTreeMap<&str, &ManifestFile> =
        manifest.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let folders = folders_of(manifest);
    let mut open = vec![(release.clone(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        for (name, kind) in folder.entries()? {
            let Some(name) = name.to_str() else {
                return Ok(Some(format!("{prefix}{} is not of the release", name.display())));
            };
            let path = format!("{prefix}{name}");
            match kind {
                FileType::Directory if folders.contains(path.as_str()) => {
                    if let Some(child) = folder.child(name)? {
                        open.push((child, format!("{path}/")));
                    }
                }
                FileType::RegularFile => {
                    let Some(file) = missing.remove(path.as_str()) else {
                        return Ok(Some(format!("{path} is not of the release")));
                    };
                    if look == Look::AtBytes && !is_intact(&folder, name, file)? {
                        return Ok(Some(format!("{path} was changed")));
                    }
                }
                _ => return Ok(Some(format!("{path} is not of the release"))),
            }
        }
    }
    Ok(missing.keys().next().map(|path| format!("{path} is missing")))
}

fn is_intact(folder: &Folder, name: &str, file: &ManifestFile) -> Result<bool, DiskError> {
    let Some(found) = folder.file(name)? else { return Ok(false) };
    let refuse = |source| DiskError::new("reading", folder.path().join(name), source);
    let metadata = found.metadata().map_err(refuse)?;
    let agent = rustix::process::geteuid().as_raw();
    if metadata.mode() & 0o7777 != file.mode.bits() || metadata.uid() != agent {
        return Ok(false);
    }
    matches(&found, file).map_err(refuse)
}

/// Every folder in a release.
fn folders_of(manifest: &Manifest) -> BTreeSet<&str> {
    let paths = manifest.files.iter().map(|file| file.path.as_str());
    paths.flat_map(|path| path.match_indices('/').map(move |(slash, _)| &path[..slash])).collect()
}

/// The file at `path` below `folder`, if there is one and nothing on the way is a link.
pub(super) fn open(folder: &Folder, path: &FilePath) -> Result<Option<File>, DiskError> {
    let (parents, name) = split(path);
    match folder.below(parents)? {
        Some(parent) => parent.file(name),
        None => Ok(None),
    }
}

pub(super) fn split(path: &FilePath) -> (std::str::Split<'_, char>, &str) {
    match path.as_str().rsplit_once('/') {
        Some((parents, name)) => (parents.split('/'), name),
        None => {
            // Splitting an empty text gives one empty piece, and there is no folder of that name.
            let mut none = "".split('/');
            none.next();
            (none, path.as_str())
        }
    }
}

/// Whether a file holds the bytes that the manifest names.
fn matches(found: &File, file: &ManifestFile) -> io::Result<bool> {
    let metadata = found.metadata()?;
    if !metadata.is_file() || metadata.len() != file.size {
        return Ok(false);
    }
    let mut found = found;
    found.rewind()?;
    let mut digest = Sha256Digest::builder();
    let mut buffer = vec![0; CHUNK];
    loop {
        match found.read(&mut buffer)? {
            0 => return Ok(digest.finish() == file.sha256),
            count => digest.update(&buffer[..count]),
        }
    }
}
