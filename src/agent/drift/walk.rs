//! One look at a release on the disk: at every file of its manifest, and at what lies beside them.
//!
//! It is made in slices of bounded work, so that whoever makes it can pause in between and give it up at any time.
//! Nothing is opened through a symbolic link, and nothing that is no regular file is opened at all. A file whose bytes
//! were right and that has not been touched since, as the file system tells, is not read again.

use std::ffi::OsStr;
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustix::fs::{FileType, Stat};

use super::found::Found;
use crate::agent::disk::{DiskError, Folder};
use crate::agent::release::split;
use crate::model::Sha256Digest;
use crate::model::digest::DigestBuilder;
use crate::model::drift::Deviation;
use crate::model::manifest::Manifest;

/// Bytes that are read at once.
const CHUNK: usize = 128 << 10;

/// Bytes that are read in one slice.
const SLICE_BYTES: u64 = 4 << 20;

/// Files and folders that are looked at in one slice.
const SLICE_LOOKS: usize = 256;

/// Of more entries in a release's folder, what is not of the release is not looked for.
pub(super) const MOST_ENTRIES: usize = 100_000;

/// Deeper than any release can be.
const DEEPEST: usize = 320;

/// What was touched less long ago may be touched once more without a trace: clocks of file systems are coarse.
const SETTLES_AFTER_SECS: i64 = 2;

/// What the file system told of files whose bytes were right, by their places in the manifest; zero = nothing is known.
pub(super) type Prints = Vec<u64>;

/// A look that is under way.
#[derive(Debug)]
pub(super) struct Walk {
    release: Folder,
    device: u64,
    manifest: Arc<Manifest>,
    /// The places of the files in the manifest, in the order of their paths.
    by_path: Vec<usize>,
    before: Arc<Prints>,
    prints: Prints,
    /// How many files have been looked at.
    at: usize,
    hashing: Option<Hashing>,
    /// Folders that are still to be looked into.
    folders: Vec<PathBuf>,
    entries: usize,
    found: Found,
}

/// A file that is being read.
#[derive(Debug)]
struct Hashing {
    place: usize,
    file: File,
    digest: DigestBuilder,
    read: u64,
    print: u64,
}

/// How much of a slice is left.
struct Slice {
    bytes: u64,
    looks: usize,
}

impl Walk {
    /// Begins to look at `release`; files are not read again for which `before` says what the file system does.
    pub(super) fn new(release: Folder, manifest: Arc<Manifest>, before: Arc<Prints>) -> Result<Self, DiskError> {
        let device = release.own_stat()?.st_dev;
        let mut by_path: Vec<usize> = (0..manifest.files.len()).collect();
        by_path.sort_unstable_by_key(|place| manifest.files.get(*place).map(|file| file.path.as_str()));
        let prints = vec![0; manifest.files.len()];
        Ok(Self {
            release,
            device,
            by_path,
            before,
            prints,
            at: 0,
            hashing: None,
            folders: vec![PathBuf::new()],
            entries: 0,
            found: Found::new(manifest.drift.ignore.clone()),
            manifest,
        })
    }

    /// What was found, and what is known of the files from now on.
    pub(super) fn end(self) -> (Found, Prints) {
        (self.found, self.prints)
    }

    /// Looks on for a slice; true once everything was looked at.
    pub(super) fn advance(&mut self, now: DateTime<Utc>) -> bool {
        let mut slice = Slice { bytes: SLICE_BYTES, looks: SLICE_LOOKS };
        while slice.bytes > 0 && slice.looks > 0 {
            if let Some(hashing) = self.hashing.take() {
                self.hash(hashing, &mut slice, now);
            } else if self.at < self.manifest.files.len() {
                slice.looks -= 1;
                self.at += 1;
                self.look_at(self.at - 1);
            } else if let Some(path) = self.folders.pop() {
                let looks = self.look_into(&path);
                slice.looks = slice.looks.saturating_sub(looks.max(1));
            } else {
                return true;
            }
        }
        false
    }

    fn note(&mut self, code: Deviation, place: usize) {
        if let Some(file) = self.manifest.files.get(place) {
            self.found.file(code, file.path.as_str(), place);
        }
    }

    fn look_at(&mut self, place: usize) {
        let manifest = Arc::clone(&self.manifest);
        let Some(file) = manifest.files.get(place) else { return };
        if self.found.ignores(file.path.as_str()) {
            return;
        }
        let (parents, name) = split(&file.path);
        let parent = match self.release.below(parents) {
            Ok(Some(parent)) => parent,
            Ok(None) => return self.note(Deviation::Missing, place),
            Err(error) if error.is_in_the_way() => return self.note(Deviation::Missing, place),
            Err(_) => return self.note(Deviation::Unreadable, place),
        };
        let stat = match parent.stat(OsStr::new(name)) {
            Ok(Some(stat)) => stat,
            Ok(None) => return self.note(Deviation::Missing, place),
            Err(_) => return self.note(Deviation::Unreadable, place),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return self.note(Deviation::NotAFile, place);
        }
        if u64::try_from(stat.st_size) != Ok(file.size) {
            return self.note(Deviation::Changed, place);
        }
        let print = print(&stat);
        if self.before.get(place) == Some(&print) {
            self.keep(place, print);
            return self.judge(place, &stat);
        }
        // What was put in its place since is a matter of the next look, as long as nothing but a file is read.
        match parent.file(name).map(|file| file.and_then(|file| Some((rustix::fs::fstat(&file).ok()?, file)))) {
            Ok(Some((opened, file))) if FileType::from_raw_mode(opened.st_mode) == FileType::RegularFile => {
                let (digest, read) = (Sha256Digest::builder(), 0);
                self.hashing = Some(Hashing { place, file, digest, read, print: self::print(&opened) });
            }
            // Of what may not be read, the mode is often the reason.
            Err(_) if is_well(&stat, file.mode.bits()).is_ok() => self.note(Deviation::Unreadable, place),
            Err(_) => self.judge(place, &stat),
            Ok(_) => self.note(Deviation::NotAFile, place),
        }
    }

    fn hash(&mut self, mut hashing: Hashing, slice: &mut Slice, now: DateTime<Utc>) {
        let manifest = Arc::clone(&self.manifest);
        let Some(file) = manifest.files.get(hashing.place) else { return };
        let mut buffer = vec![0; CHUNK];
        while slice.bytes > 0 {
            let read = match hashing.file.read(&mut buffer) {
                Ok(read) => read,
                Err(_) => return self.note(Deviation::Unreadable, hashing.place),
            };
            hashing.read += read as u64;
            slice.bytes = slice.bytes.saturating_sub(read.max(1) as u64);
            // What grows while it is read would never end.
            if read > 0 && hashing.read <= file.size {
                hashing.digest.update(&buffer[..read]);
                continue;
            }
            if hashing.read != file.size || hashing.digest.finish() != file.sha256 {
                return self.note(Deviation::Changed, hashing.place);
            }
            let Ok(stat) = rustix::fs::fstat(&hashing.file) else {
                return self.note(Deviation::Unreadable, hashing.place);
            };
            if hashing.print == print(&stat) && stat.st_ctime < now.timestamp() - SETTLES_AFTER_SECS {
                self.keep(hashing.place, hashing.print);
            }
            return self.judge(hashing.place, &stat);
        }
        self.hashing = Some(hashing);
    }

    fn keep(&mut self, place: usize, print: u64) {
        if let Some(kept) = self.prints.get_mut(place) {
            *kept = print;
        }
    }

    /// Whose a file with the right bytes is, and who may do what with it.
    fn judge(&mut self, place: usize, stat: &Stat) {
        let mode = self.manifest.files.get(place).map(|file| file.mode.bits());
        if let Some(Err(code)) = mode.map(|mode| is_well(stat, mode)) {
            self.note(code, place);
        }
    }

    /// Looks for what can be executed and is not of the release; comes back with how much was looked at.
    fn look_into(&mut self, path: &Path) -> usize {
        // One that is gone, or is no folder any more, holds nothing.
        let Ok(Some(folder)) = self.release.below(path.iter()) else { return 1 };
        if folder.own_stat().is_ok_and(|stat| stat.st_dev != self.device) {
            return 1;
        }
        let room = MOST_ENTRIES - self.entries;
        let entries = match folder.entries_to(room.saturating_add(1)) {
            Ok(entries) if entries.len() <= room => entries,
            Ok(_) => {
                self.entries = MOST_ENTRIES;
                self.folders.clear();
                let message = format!("its folder holds more than {MOST_ENTRIES} entries; of the rest it is not known");
                self.found.incomplete(message);
                return SLICE_LOOKS;
            }
            Err(error) => {
                self.found.incomplete(crate::store::in_full(&error));
                return 1;
            }
        };
        self.entries += entries.len();
        for (name, kind) in &entries {
            let path = path.join(name);
            match kind {
                FileType::Directory if path.iter().count() < DEEPEST => self.folders.push(path),
                FileType::RegularFile if !self.is_managed(&path) => {
                    let is_executable = |stat: Stat| {
                        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0
                    };
                    if folder.stat(name).ok().flatten().is_some_and(is_executable) {
                        self.found.other(Deviation::ExtraExecutable, &path.to_string_lossy());
                    }
                }
                _ => {}
            }
        }
        entries.len()
    }

    fn is_managed(&self, path: &Path) -> bool {
        let path = path.as_os_str().as_bytes();
        let of = |place: &usize| self.manifest.files.get(*place).map_or(&[][..], |file| file.path.as_str().as_bytes());
        self.by_path.binary_search_by(|place| of(place).cmp(path)).is_ok()
    }
}

/// Whether a file is the agent's own and has `mode`.
fn is_well(stat: &Stat, mode: u32) -> Result<(), Deviation> {
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(Deviation::OwnerChanged);
    }
    if stat.st_mode & 0o7777 != mode { Err(Deviation::ModeChanged) } else { Ok(()) }
}

/// What the file system tells of a file, in short: whoever writes to it, replaces it or changes its owner or mode
/// changes this. Never zero.
fn print(stat: &Stat) -> u64 {
    let mut hasher = DefaultHasher::new();
    (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mode, stat.st_uid).hash(&mut hasher);
    (stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec).hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests;
