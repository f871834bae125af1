//! What lists show of versions. A manifest of thousands of files takes a while to read, so what it says in short is kept
//! by the digest of its bytes: the same bytes always say the same. The bytes are asked for and digested each time.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use lru::LruCache;

use super::{Controller, ControllerError};
use crate::model::document::Document as _;
use crate::model::manifest::Manifest;
use crate::model::{CellId, DeploymentName, ManifestName, ObjectKey, Sha256Digest, UserName, VersionName};
use crate::store::StoreError;

/// How many versions are remembered; what was not asked for longest goes first (I9).
const MOST_KEPT: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();

/// A longer note is not remembered.
const LONGEST_NOTE_BYTES: usize = 4 << 10;

/// What a version's manifest says, but for its files and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFacts {
    /// The recipe that it was made by.
    pub manifest: ManifestName,
    /// The release that it was made from, if one was.
    pub deployment: Option<DeploymentName>,
    /// What it is.
    pub content_sha256: Sha256Digest,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: UserName,
    /// What its maker said about it.
    pub note: Option<String>,
    /// How many files it has.
    pub files: usize,
    /// Their bytes together.
    pub bytes: u64,
}

impl From<Manifest> for VersionFacts {
    fn from(manifest: Manifest) -> Self {
        Self {
            files: manifest.files.len(),
            bytes: manifest.total_bytes(),
            manifest: manifest.manifest,
            deployment: manifest.deployment,
            content_sha256: manifest.content_sha256,
            created_at: manifest.created_at,
            created_by: manifest.created_by,
            note: manifest.note,
        }
    }
}

/// A manifest that lies in the bucket.
#[derive(Debug)]
pub(super) struct FoundFacts {
    /// Of its bytes; None if it was too large to be read.
    pub(super) digest: Option<Sha256Digest>,
    /// What it says, or why it cannot be read.
    pub(super) facts: Result<Arc<VersionFacts>, String>,
}

/// What manifests said, by their digests.
#[derive(Debug)]
pub(super) struct SaidFacts(Mutex<LruCache<Sha256Digest, Arc<VersionFacts>>>);

impl Default for SaidFacts {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MOST_KEPT)))
    }
}

impl SaidFacts {
    /// What bytes of this digest say; `read` is asked if that is not known.
    fn of<E>(
        &self,
        digest: Sha256Digest,
        read: impl FnOnce() -> Result<VersionFacts, E>,
    ) -> Result<Arc<VersionFacts>, E> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facts) = kept().get(&digest) {
            return Ok(facts.clone());
        }
        let facts = Arc::new(read()?);
        if facts.note.as_ref().is_none_or(|note| note.len() <= LONGEST_NOTE_BYTES) {
            kept().put(digest, facts.clone());
        }
        Ok(facts)
    }
}

impl Controller {
    /// What the manifest of a version says, whoever put it there; None if there is none.
    pub(super) async fn look_at_facts(
        &self,
        cell: &CellId,
        version: &VersionName,
    ) -> Result<Option<FoundFacts>, ControllerError> {
        let key = ObjectKey::VersionManifest(cell.clone(), version.clone());
        let object = match self.look(&key, Manifest::MAX_BYTES).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(None),
            Err(error @ StoreError::TooLarge { .. }) => {
                return Ok(Some(FoundFacts { digest: None, facts: Err(error.to_string()) }));
            }
            Err(error) => return Err(error.into()),
        };
        let digest = Sha256Digest::of(&object.bytes);
        let facts = self.said.of(digest, || Manifest::parse(&object.bytes).map(VersionFacts::from));
        Ok(Some(FoundFacts { digest: Some(digest), facts: facts.map_err(|error| error.to_string()) }))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn facts(note: Option<String>) -> VersionFacts {
        VersionFacts {
            manifest: ManifestName::new("site").unwrap(),
            deployment: None,
            content_sha256: Sha256Digest::of(b"content"),
            created_at: DateTime::UNIX_EPOCH,
            created_by: UserName::new("alice").unwrap(),
            note,
            files: 1,
            bytes: 2,
        }
    }

    #[test]
    fn the_same_bytes_are_read_once_and_others_anew() {
        let (said, reads) = (SaidFacts::default(), Cell::new(0));
        let look = |bytes: &[u8], note: Option<String>| {
            let read = || {
                reads.set(reads.get() + 1);
                Ok::<_, ()>(facts(note))
            };
            said.of(Sha256Digest::of(bytes), read).unwrap()
        };
        let first = look(b"one", Some("first".to_owned()));
        assert_eq!((look(b"one", None), reads.get()), (first, 1));
        assert_eq!((look(b"other", None).note.clone(), reads.get()), (None, 2));
        let long = "n".repeat(LONGEST_NOTE_BYTES + 1);
        look(b"long", Some(long.clone()));
        look(b"long", Some(long));
        assert_eq!(reads.get(), 4, "what would take much room is not kept");
    }

    #[test]
    fn what_cannot_be_read_is_not_kept() {
        let (said, digest) = (SaidFacts::default(), Sha256Digest::of(b"half"));
        assert_eq!(said.of(digest, || Err("cut off")), Err("cut off"));
        assert!(said.of(digest, || Ok::<_, ()>(facts(None))).is_ok());
    }
}
