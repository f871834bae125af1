//! What a controller keeps on its own disk, where no node can write: the key of its sessions, and for each fleet how
//! far the list of users had come, with the newest list that was verified, and when tokens were used last.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use uuid::Uuid;

use super::seal::SealKey;
use super::uses::Uses;
use crate::entropy;
use crate::model::Floor;
use crate::model::document::{self, Document, DocumentError};
use crate::model::users::RevokedSession;

/// Why a controller's own files are of no use.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The machine refuses.
    #[error("{doing} {}", path.display())]
    Local {
        /// Such as "reading".
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is damaged. It is not replaced: with it goes what keeps old lists of users out.
    #[error("{} is damaged; restore it, or move it away to believe whatever list of users is signed", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DocumentError,
    },
    /// The file with the key of sessions is none.
    #[error(
        "{} does not hold a key of sessions: expected 64 hex digits, as `openssl rand -hex 32` prints them",
        path.display()
    )]
    Key {
        /// Which.
        path: PathBuf,
    },
}

/// What is remembered of a fleet's users.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// How far the newest list that was verified had come.
    pub(super) floor: Option<Floor>,
    /// That list, byte for byte.
    pub(super) users: Option<String>,
    /// Sessions that ended here and are not, or not yet, in the list.
    #[serde(default)]
    pub(super) revoked_sessions: Vec<RevokedSession>,
}

impl Document for Kept {
    const SCHEMA: &'static str = "fleetman/users-seen/1";
    // The list as a text in JSON, with its quotes and line ends escaped, and the sessions.
    const MAX_BYTES: u64 = 4 << 20;
}

/// The folder of one controller.
#[derive(Debug, Clone)]
pub struct StateFolder {
    path: PathBuf,
    /// One writer of this process at a time.
    writing: Arc<Mutex<()>>,
}

impl StateFolder {
    /// The folder at `path`, made if it is not there. Only its owner can look into it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let local = |source| StateError::Local { doing: "making the folder", path: path.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(local)?;
        Ok(Self { path: path.to_owned(), writing: Arc::default() })
    }

    /// The key of sessions: that of `file`, which several controllers may share, or one of this folder's own, made at
    /// the first time.
    ///
    /// # Errors
    /// When it can neither be read nor made.
    pub fn seal_key(&self, file: Option<&Path>) -> Result<SealKey, StateError> {
        let own = self.path.join("session.key");
        let path = file.unwrap_or(&own);
        if file.is_none() && !own.exists() {
            let local = |source| StateError::Local { doing: "making a key in", path: own.clone(), source };
            let bytes = entropy::bytes::<{ SealKey::BYTES }>().map_err(local)?;
            let new = self.written(hex(&bytes).as_bytes()).map_err(local)?;
            match new.persist_noclobber(&own) {
                // Another process was faster, and its key is as good.
                Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
                persisted => drop(persisted.map_err(|error| local(error.error))?),
            }
        }
        let text = read(path, 1_024)?.ok_or_else(|| StateError::Local {
            doing: "reading the key of sessions from",
            path: path.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        })?;
        let key = std::str::from_utf8(&text).ok().and_then(|text| unhex(text.trim()));
        key.map(SealKey::new).ok_or_else(|| StateError::Key { path: path.to_owned() })
    }

    /// What is remembered of a fleet; nothing at the first time.
    pub(super) fn kept(&self, fleet: Uuid) -> Result<Kept, StateError> {
        let path = self.place(fleet);
        match read(&path, Kept::MAX_BYTES)? {
            None => Ok(Kept::default()),
            Some(bytes) => document::parse(&bytes).map_err(|source| StateError::Damaged { path, source }),
        }
    }

    /// Remembers. What was remembered before is replaced as a whole, or not at all; a list that had come further, by
    /// another process or by a write that was overtaken, stays.
    pub(super) fn keep(&self, fleet: Uuid, kept: &Kept) -> Result<(), StateError> {
        // Nothing is held that a writer who died could have left half done.
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let there = self.kept(fleet)?;
        let document = if there.floor > kept.floor {
            document::render(&Kept { revoked_sessions: kept.revoked_sessions.clone(), ..there })
        } else {
            document::render(kept)
        };
        let path = self.place(fleet);
        let write = || {
            self.written(&document)?.persist(&path).map_err(|error| error.error)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|source| StateError::Local { doing: "writing", path: path.clone(), source })
    }

    /// When tokens were used last; None if nobody here ever paid attention.
    pub(super) fn uses(&self, fleet: Uuid) -> Result<Option<Uses>, StateError> {
        let path = self.place_of_uses(fleet);
        let Some(bytes) = read(&path, Uses::MAX_BYTES)? else { return Ok(None) };
        document::parse(&bytes).map(Some).map_err(|source| StateError::Damaged { path, source })
    }

    /// Keeps when tokens were used last, with what another process kept meanwhile. A damaged file is worth nothing, and
    /// is replaced.
    pub(super) fn keep_uses(&self, fleet: Uuid, uses: Uses) -> Result<(), StateError> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let uses = match self.uses(fleet) {
            Ok(Some(there)) => uses.and(there),
            Ok(None) | Err(_) => uses,
        };
        let path = self.place_of_uses(fleet);
        let write = || self.written(&document::render(&uses))?.persist(&path).map_err(|error| error.error);
        write().map(drop).map_err(|source| StateError::Local { doing: "writing", path: path.clone(), source })
    }

    fn place_of_uses(&self, fleet: Uuid) -> PathBuf {
        self.path.join(format!("token-uses-{fleet}.json"))
    }

    fn place(&self, fleet: Uuid) -> PathBuf {
        self.path.join(format!("users-{fleet}.json"))
    }

    /// A new file of this folder that is on the disk, has no name yet, and only its owner can read.
    fn written(&self, bytes: &[u8]) -> io::Result<NamedTempFile> {
        let mut file = NamedTempFile::new_in(&self.path)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(file)
    }
}

/// At most `most_bytes` and one more, so that whoever parses them sees that there are too many. None if there is none.
fn read(path: &Path, most_bytes: u64) -> Result<Option<Vec<u8>>, StateError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(most_bytes + 1).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StateError::Local { doing: "reading", path: path.to_owned(), source }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; SealKey::BYTES]> {
    if text.len() != 2 * SealKey::BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; SealKey::BYTES];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::seal::Purpose;
    use super::*;
    use crate::model::{Epoch, Generation};

    fn folder() -> (tempfile::TempDir, StateFolder) {
        let place = tempfile::tempdir().unwrap();
        let folder = StateFolder::open(&place.path().join("a/b")).unwrap();
        (place, folder)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_key_is_made_once_and_only_its_owner_reads_it() {
        let (place, folder) = folder();
        let sealed = folder.seal_key(None).unwrap().seal(Purpose::Session, &1).unwrap();
        assert_eq!(folder.seal_key(None).unwrap().open::<i32>(Purpose::Session, &sealed), Some(1));
        assert_eq!(mode(&place.path().join("a/b")), 0o700);
        assert_eq!(mode(&place.path().join("a/b/session.key")), 0o600);
    }

    #[test]
    fn a_shared_key_is_read_from_its_file_and_never_made() {
        let (place, folder) = folder();
        let shared = place.path().join("shared.key");
        assert!(matches!(folder.seal_key(Some(&shared)), Err(StateError::Local { .. })));
        assert!(!shared.exists());
        for bad in ["", "abc", &"0".repeat(63), &"g".repeat(64)] {
            fs::write(&shared, bad).unwrap();
            assert!(matches!(folder.seal_key(Some(&shared)), Err(StateError::Key { .. })), "{bad}");
        }
        fs::write(&shared, format!("{}\n", "0f".repeat(32))).unwrap();
        let sealed = folder.seal_key(Some(&shared)).unwrap().seal(Purpose::Session, &1).unwrap();
        assert_eq!(SealKey::new([15; 32]).open::<i32>(Purpose::Session, &sealed), Some(1));
    }

    #[test]
    fn what_is_remembered_is_read_back_for_its_own_fleet() {
        let (_place, folder) = folder();
        let (fleet, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let floor = Some(Floor::new(Epoch::FIRST, Generation::FIRST));
        let kept = Kept { floor, users: Some("{\"signed\": {}\n}".to_owned()), revoked_sessions: Vec::new() };
        assert_eq!(folder.kept(fleet).unwrap(), Kept::default());
        folder.keep(fleet, &kept).unwrap();
        assert_eq!((folder.kept(fleet).unwrap(), folder.kept(other).unwrap()), (kept, Kept::default()));
        assert_eq!(mode(&folder.place(fleet)), 0o600);
    }

    #[test]
    fn what_is_remembered_never_goes_back() {
        let (place, folder) = folder();
        let fleet = Uuid::from_u128(1);
        let at = |revision, text: &str, revoked_sessions| Kept {
            floor: Some(Floor::new(Epoch::FIRST, Generation::new(revision).unwrap())),
            users: Some(text.to_owned()),
            revoked_sessions,
        };
        let revoked = vec![RevokedSession { id: [1; 16].into(), user: None, until: chrono::DateTime::UNIX_EPOCH }];
        folder.keep(fleet, &at(2, "newer", Vec::new())).unwrap();
        folder.keep(fleet, &at(1, "older", revoked.clone())).unwrap();
        assert_eq!(folder.kept(fleet).unwrap(), at(2, "newer", revoked));
        let left: Vec<_> = fs::read_dir(place.path().join("a/b")).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_damaged_file_is_no_empty_one() {
        let (_place, folder) = folder();
        let fleet = Uuid::from_u128(1);
        fs::write(folder.place(fleet), "{").unwrap();
        assert!(matches!(folder.kept(fleet), Err(StateError::Damaged { .. })));
    }
}
