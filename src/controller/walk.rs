//! A local folder as the files of a release: what is in it, what of that cannot be taken, and what each file is.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use walkdir::{DirEntry, WalkDir};

use super::ControllerError;
use super::upload::UploadOptions;
use crate::model::FilePath;
use crate::model::Sha256Digest;
use crate::model::manifest::{Manifest, ManifestFile, Mode};
use crate::model::path::check_together;
use crate::store::Expect;

/// How many problems are named before the rest is only counted.
const MOST_PROBLEMS: usize = 20;

/// How much of a file is read at once.
const PIECE_BYTES: usize = 1 << 20;

/// A file to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: FilePath,
    /// Where it lies on this machine.
    pub(super) local: PathBuf,
    pub(super) size: u64,
    pub(super) mode: Mode,
}

/// What a look into a folder gave.
struct Walk<'a> {
    /// Without links.
    root: PathBuf,
    options: &'a UploadOptions,
    found: Vec<Found>,
    problems: Vec<String>,
}

/// Every file below `folder`, sorted by path.
///
/// # Errors
/// [`ControllerError::Folder`] names everything that cannot be taken, with the remedy.
pub(super) fn walk(folder: &Path, options: &UploadOptions) -> Result<Vec<Found>, ControllerError> {
    let local = |source| ControllerError::Local { doing: "reading the folder", path: folder.to_owned(), source };
    let root = folder.canonicalize().map_err(local)?;
    if !root.is_dir() {
        return Err(local(io::Error::from(io::ErrorKind::NotADirectory)));
    }
    let mut walk = Walk { root, options, found: Vec::new(), problems: Vec::new() };
    let folders = WalkDir::new(&walk.root).min_depth(1).follow_links(options.follow_symlinks).sort_by_file_name();
    let mut entries = folders.into_iter();
    while let Some(entry) = entries.next() {
        match entry {
            // What lies behind a refused link is none of ours, and may be the whole machine.
            Ok(entry) if entry.path_is_symlink() && !walk.check_link(entry.path()) => {
                if entry.file_type().is_dir() {
                    entries.skip_current_dir();
                }
            }
            Ok(entry) => walk.take(&entry),
            Err(error) => walk.unreadable(&error),
        }
        if walk.found.len() > Manifest::MAX_FILES {
            walk.problems
                .push(format!("there are more than the {} files that a release may have", Manifest::MAX_FILES));
            break;
        }
    }
    if walk.found.is_empty() && walk.problems.is_empty() {
        walk.problems.push("there are no files in it".to_owned());
    }
    let Walk { mut found, mut problems, .. } = walk;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    if let Err(error) = check_together(found.iter().map(|file| &file.path)) {
        problems.push(error.to_string());
    }
    if problems.is_empty() {
        return Ok(found);
    }
    let more = problems.len().saturating_sub(MOST_PROBLEMS);
    problems.truncate(MOST_PROBLEMS);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    Err(ControllerError::Folder { folder: folder.to_owned(), problems })
}

impl Walk<'_> {
    fn refuse(&mut self, entry: &Path, problem: &str) {
        let relative = entry.strip_prefix(&self.root).unwrap_or(entry);
        self.problems.push(format!("{relative:?} {problem}"));
    }

    fn unreadable(&mut self, error: &walkdir::Error) {
        let path = error.path().unwrap_or(&self.root).to_owned();
        let problem = match (error.loop_ancestor(), error.io_error()) {
            (Some(_), _) => "is a link to a folder that it lies in; remove it".to_owned(),
            // The link is followed before anybody asks whether it may be.
            (None, Some(_)) if path.is_symlink() && !path.exists() => {
                "is a link that leads nowhere; remove it".to_owned()
            }
            (None, Some(cause)) => format!("cannot be read: {cause}"),
            (None, None) => "cannot be read".to_owned(),
        };
        self.refuse(&path, &problem);
    }

    fn take(&mut self, entry: &DirEntry) {
        let path = entry.path();
        let kind = entry.file_type();
        if kind.is_dir() {
            if !self.options.skip_empty_dirs && is_empty(path) {
                self.refuse(
                    path,
                    "is an empty folder, which a release cannot hold; leave it out with --skip-empty-dirs",
                );
            }
        } else if kind.is_file() {
            match entry.metadata() {
                Ok(metadata) => self.take_file(path, &metadata),
                Err(error) => self.unreadable(&error),
            }
        } else {
            let what = if kind.is_socket() {
                "a socket"
            } else if kind.is_fifo() {
                "a pipe"
            } else {
                "a device"
            };
            self.refuse(path, &format!("is {what}, which a release cannot hold; remove it"));
        }
    }

    /// Whether a link may be followed: only if that is wished, and only to what lies in the folder.
    fn check_link(&mut self, path: &Path) -> bool {
        if !self.options.follow_symlinks {
            self.refuse(path, "is a link; take what it points at with --follow-symlinks");
            return false;
        }
        match path.canonicalize() {
            Ok(target) if target.starts_with(&self.root) => true,
            Ok(_) => {
                self.refuse(path, "is a link out of the folder; copy what it points at into the folder");
                false
            }
            Err(error) => {
                self.refuse(path, &format!("is a link that leads nowhere: {error}"));
                false
            }
        }
    }

    fn take_file(&mut self, local: &Path, metadata: &Metadata) {
        let relative = local.strip_prefix(&self.root).unwrap_or(local);
        let Some(text) = relative.to_str() else {
            return self.refuse(local, "has a name that is not UTF-8; rename it");
        };
        let path = match FilePath::normalised(text) {
            Ok(path) => path,
            Err(error) => return self.problems.push(error.to_string()),
        };
        let size = metadata.len();
        if size > ManifestFile::MAX_BYTES {
            let problem = format!("has {size} bytes, more than the {} of one file; split it", ManifestFile::MAX_BYTES);
            return self.refuse(local, &problem);
        }
        let is_program = metadata.permissions().mode() & 0o100 != 0;
        let mode = if is_program { Mode::EXECUTE } else { Mode::READ };
        self.found.push(Found { path, local: local.to_owned(), size, mode });
    }
}

fn is_empty(folder: &Path) -> bool {
    // One that cannot be read is reported by the walk itself.
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

/// What a file is. `progress` is told of every piece that was read.
///
/// # Errors
/// When it cannot be read, or has another size than when it was found.
pub(super) async fn identify(file: &Found, progress: impl Fn(u64)) -> Result<Expect, ControllerError> {
    let local = |source| ControllerError::Local { doing: "reading", path: file.local.clone(), source };
    let mut source = File::open(&file.local).await.map_err(local)?;
    let mut digest = Sha256Digest::builder();
    let (mut size, mut piece) = (0, vec![0; PIECE_BYTES.min(usize::try_from(file.size).unwrap_or(PIECE_BYTES) + 1)]);
    loop {
        let read = source.read(&mut piece).await.map_err(local)?;
        if read == 0 {
            break;
        }
        digest.update(&piece[..read]);
        size += read as u64;
        progress(read as u64);
        if size > file.size {
            break;
        }
    }
    if size != file.size {
        let problem = "it changed while it was read; upload it when it rests".to_owned();
        return Err(ControllerError::Invalid { what: file.local.display().to_string(), problem });
    }
    Ok(Expect { size, sha256: digest.finish() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(files: &[(&str, u32)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, mode) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "text").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        folder
    }

    fn refused(folder: &tempfile::TempDir, options: &UploadOptions) -> String {
        walk(folder.path(), options).unwrap_err().to_string()
    }

    #[test]
    fn files_are_found_in_order_and_only_the_owners_right_to_execute_counts() {
        let folder = folder(&[("b/run", 0o4750), ("a.txt", 0o666), ("b/other", 0o655)]);
        let found = walk(folder.path(), &UploadOptions::default()).unwrap();
        let seen: Vec<(&str, String)> = found.iter().map(|file| (file.path.as_str(), file.mode.to_string())).collect();
        assert_eq!(seen, [("a.txt", "0644".into()), ("b/other", "0644".into()), ("b/run", "0755".into())]);
    }

    #[test]
    fn what_a_release_cannot_hold_is_named_with_the_remedy_all_at_once() {
        let folder = folder(&[("a", 0o644)]);
        symlink("a", folder.path().join("link")).unwrap();
        fs::create_dir(folder.path().join("hollow")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        let text = refused(&folder, &UploadOptions::default());
        for part in ["\"link\"", "--follow-symlinks", "\"hollow\"", "--skip-empty-dirs", "\"socket\" is a socket"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn links_are_followed_inside_the_folder_only() {
        let options = UploadOptions { follow_symlinks: true, ..UploadOptions::default() };
        let inside = folder(&[("a", 0o755)]);
        symlink("a", inside.path().join("link")).unwrap();
        let found = walk(inside.path(), &options).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].mode, Mode::EXECUTE, "the file's own mode, not the link's");

        symlink("/etc/hostname", inside.path().join("out")).unwrap();
        assert!(refused(&inside, &options).contains("\"out\" is a link out of the folder"));
        fs::remove_file(inside.path().join("out")).unwrap();
        let outside = folder(&[("x/secret", 0o644)]);
        fs::create_dir(outside.path().join("hollow")).unwrap();
        symlink(outside.path(), inside.path().join("out")).unwrap();
        let text = refused(&inside, &options);
        assert!(text.contains("\"out\" is a link out of the folder") && !text.contains("hollow"), "{text}");
        fs::remove_file(inside.path().join("out")).unwrap();
        symlink("..", inside.path().join("up")).unwrap();
        assert!(refused(&inside, &options).contains("\"up\""));
        fs::remove_file(inside.path().join("up")).unwrap();
        symlink(".", inside.path().join("self")).unwrap();
        assert!(refused(&inside, &options).contains("\"self\" is a link to a folder that it lies in"));
        fs::remove_file(inside.path().join("self")).unwrap();
        symlink("nowhere", inside.path().join("lost")).unwrap();
        assert!(refused(&inside, &options).contains("\"lost\" is a link that leads nowhere; remove it"));
    }

    #[test]
    fn empty_folders_are_left_out_only_if_that_is_wished() {
        let folder = folder(&[("a", 0o644)]);
        fs::create_dir_all(folder.path().join("x/y")).unwrap();
        assert!(refused(&folder, &UploadOptions::default()).contains("\"x/y\" is an empty folder"));
        let options = UploadOptions { skip_empty_dirs: true, ..UploadOptions::default() };
        assert_eq!(walk(folder.path(), &options).unwrap().len(), 1);
    }

    #[test]
    fn names_that_some_machine_cannot_hold_are_refused() {
        use std::os::unix::ffi::OsStrExt as _;
        let folder = folder(&[("A", 0o644), ("a", 0o644)]);
        assert!(refused(&folder, &UploadOptions::default()).contains("upper and lower case"));
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
        assert!(refused(&folder, &UploadOptions::default()).contains("not UTF-8"));
    }

    #[tokio::test]
    async fn a_file_that_changes_while_it_is_read_is_refused() {
        let folder = folder(&[("a", 0o644)]);
        let found = walk(folder.path(), &UploadOptions::default()).unwrap();
        assert_eq!(identify(&found[0], |_| {}).await.unwrap().sha256, Sha256Digest::of(b"text"));
        for other in ["longer text", "t"] {
            fs::write(folder.path().join("a"), other).unwrap();
            let error = identify(&found[0], |_| {}).await.unwrap_err().to_string();
            assert!(error.contains("changed while it was read"), "{error}");
        }
    }
}
