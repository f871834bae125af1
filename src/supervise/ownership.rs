//! Files and folders that nobody else can write to: what is run, and where it is recorded, is nobody else's to choose.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The bits of a mode that let others than the owner write.
const OTHERS_WRITE: u32 = 0o022;

/// Why a file or a folder cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum OwnershipError {
    /// It is somebody else's.
    #[error(
        "{0} belongs to user {owner}, expected this process's user {expected} or root; chown {expected} {0}",
        .path.display()
    )]
    Foreign {
        /// The file or folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        expected: u32,
    },
    /// Others may write to it.
    #[error("others than the owner may write to {0} (mode {mode:04o}); chmod go-w {0}", .path.display())]
    Writable {
        /// The file or folder.
        path: PathBuf,
        /// The bits of its mode.
        mode: u32,
    },
    /// It cannot be looked at.
    #[error("looking at {}", .path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Checks that a file or folder belongs to root or to this process's user, and that nobody else may write to it. What
/// is above it is not looked at.
///
/// # Errors
/// It is not so, or cannot be found out.
pub fn check_ownership(path: &Path) -> Result<(), OwnershipError> {
    let unreadable = |source| OwnershipError::Unreadable { path: path.to_owned(), source };
    let meta = fs::metadata(path).map_err(unreadable)?;
    judge(path, meta.uid(), meta.mode() & 0o7777, rustix::process::geteuid().as_raw())
}

fn judge(path: &Path, owner: u32, mode: u32, expected: u32) -> Result<(), OwnershipError> {
    let path = || path.to_owned();
    if owner != expected && owner != 0 {
        return Err(OwnershipError::Foreign { path: path(), owner, expected });
    }
    if mode & OTHERS_WRITE != 0 {
        return Err(OwnershipError::Writable { path: path(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_may_write_and_is_root_or_oneself() {
        let judge = |owner, mode| judge(Path::new("/srv/a"), owner, mode, 1000).map_err(|error| error.to_string());
        for (owner, mode) in [(1000, 0o700), (1000, 0o755), (0, 0o555), (0, 0o2750)] {
            assert_eq!(judge(owner, mode), Ok(()), "{owner} {mode:o}");
        }
        let foreign = "/srv/a belongs to user 1001, expected this process's user 1000 or root; chown 1000 /srv/a";
        assert_eq!(judge(1001, 0o700), Err(foreign.to_owned()));
        for mode in [0o720, 0o702, 0o1777] {
            let writable = format!("others than the owner may write to /srv/a (mode {mode:04o}); chmod go-w /srv/a");
            assert_eq!(judge(1000, mode), Err(writable), "{mode:o}");
        }
        let absent = check_ownership(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(
            matches!(&absent, OwnershipError::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
        );
    }
}
