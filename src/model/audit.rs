//! `audit/<yyyy-mm-dd>/<ulid>.json`: who did what. An intent before the first visible effect, an outcome after.
//!
//! Whoever can write to the bucket could change or delete entries. So each is signed, and names the digests of entries
//! that were there before it: what is gone or was replaced is missed by those that name it.

use std::ops::Deref;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use uuid::Uuid;

use super::digest::Sha256Digest;
use super::document::{self, Document, DocumentError};
use super::name::UserName;
use super::sign::{SignError, Signed, Trust, verify};

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its own id.
    pub id: Ulid,
    /// When it was written.
    pub at: DateTime<Utc>,
    /// Who acted.
    pub actor: UserName,
    /// From where: `cli`, `portal`, `api`.
    pub source: String,
    /// The machine that it was done on.
    pub host: String,
    /// What was done: the verb.
    pub action: String,
    /// What it was done to, such as `cell/n1/web`.
    pub object: String,
    /// What the object was before, in short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Why, in the actor's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which half of the story this is.
    pub stage: AuditStage,
    /// Where it stands among the others; None in entries of older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
}

/// Where an entry stands among the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The fleet whose audit it belongs to.
    pub fleet: Uuid,
    /// Entries that were there before: those of the same process that no other named yet, and, when a process begins and
    /// now and then after that, the newest of others. None stand before the first of all.
    pub follows: Vec<EntryRef>,
}

impl Chain {
    /// The most entries that one follows.
    pub const MOST_FOLLOWED: usize = 64;
}

/// An entry and its signed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryRef {
    /// Which.
    pub id: Ulid,
    /// The digest of what is signed of it.
    pub sha256: Sha256Digest,
}

/// Which half of the story an entry tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditStage {
    /// It is about to be done.
    Intent,
    /// It was done, or not; names the intent.
    Outcome {
        /// The intent's id.
        intent: Ulid,
        /// Whether it was done.
        done: bool,
        /// What came of it.
        message: String,
    },
}

impl Document for AuditEntry {
    const SCHEMA: &'static str = "fleetman/audit/1";
    const MAX_BYTES: u64 = 64 << 10;
}

impl Signed for AuditEntry {
    const KIND: &'static str = "audit";

    const FEATURES: &'static [&'static str] = &[];

    fn requires(&self) -> &[String] {
        &[]
    }
}

/// How far an entry can be believed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seal {
    /// A pinned key signed it.
    Signed,
    /// Signatures are off.
    Off,
    /// No pinned key signed it: it is of an older program, of one without a key or with one that is no longer pinned, or
    /// of anybody who can write to the bucket.
    Missing,
    /// It was changed after it was signed, or belongs elsewhere.
    Broken(String),
}

impl Seal {
    /// How far, in a word or two.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Off => "signatures are off",
            Self::Missing => "not signed",
            Self::Broken(_) => "broken",
        }
    }

    /// Whether what the entry says of others counts.
    #[must_use]
    pub fn is_believed(&self) -> bool {
        matches!(self, Self::Signed | Self::Off)
    }
}

/// An entry as it lies in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundEntry {
    entry: AuditEntry,
    /// The digest of what is signed of it.
    pub sha256: Sha256Digest,
    /// How far it can be believed.
    pub seal: Seal,
}

impl FoundEntry {
    /// The most bytes of an entry with its signatures.
    pub const MOST_BYTES: u64 = 2 * AuditEntry::MAX_BYTES;

    /// Reads an entry of the audit of `fleet`. One whose signature is not believed can be read all the same.
    ///
    /// # Errors
    /// Why the bytes are no entry.
    pub fn read(bytes: &[u8], fleet: Uuid, trust: &Trust) -> Result<Self, SignError> {
        let seal = match verify::<AuditEntry>(bytes, trust) {
            Ok(entry) if entry.chain.as_ref().is_some_and(|chain| chain.fleet != fleet) => {
                Seal::Broken("it is of the audit of another fleet".to_owned())
            }
            Ok(_) if *trust == Trust::Unsigned => Seal::Off,
            Ok(_) => Seal::Signed,
            Err(SignError::Envelope { .. }) => return Self::bare(bytes, trust).map_err(SignError::from),
            Err(error @ SignError::Mismatch { .. }) => Seal::Broken(error.to_string()),
            Err(SignError::UnknownKey { .. }) => Seal::Missing,
            Err(error @ (SignError::TooLarge { .. } | SignError::Document(_))) => return Err(error),
        };
        let read = verify::<AuditEntry>(bytes, &Trust::Unsigned)?;
        Ok(Self { entry: (*read).clone(), sha256: read.signed_sha256(), seal })
    }

    /// An entry as older programs wrote it.
    fn bare(bytes: &[u8], trust: &Trust) -> Result<Self, DocumentError> {
        let entry = document::parse(bytes)?;
        let seal = if *trust == Trust::Unsigned { Seal::Off } else { Seal::Missing };
        Ok(Self { entry, sha256: Sha256Digest::of(bytes), seal })
    }

    /// How others name it.
    #[must_use]
    pub fn name(&self) -> EntryRef {
        EntryRef { id: self.id, sha256: self.sha256 }
    }

    /// The entries that it says were there before it; none where that cannot be believed.
    #[must_use]
    pub fn follows(&self) -> &[EntryRef] {
        let chain = self.chain.as_ref().filter(|_| self.seal.is_believed());
        chain.map_or(&[], |chain| &chain.follows[..chain.follows.len().min(Chain::MOST_FOLLOWED)])
    }
}

impl Deref for FoundEntry {
    type Target = AuditEntry;

    fn deref(&self) -> &AuditEntry {
        &self.entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Epoch;
    use crate::model::sign::{PinnedKey, PrivateKey, Signer, sign};

    const FLEET: Uuid = Uuid::from_u128(1);

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_seed(&[seed; 32])
    }

    fn signed_by(seed: u8) -> Vec<u8> {
        let entry = AuditEntry {
            id: Ulid::from_parts(1, 1),
            at: DateTime::UNIX_EPOCH,
            actor: UserName::new("alice").unwrap(),
            source: "cli".to_owned(),
            host: "host".to_owned(),
            action: "publish".to_owned(),
            object: "cell/n1/web".to_owned(),
            before: None,
            after: None,
            reason: None,
            stage: AuditStage::Intent,
            chain: Some(Chain { fleet: FLEET, follows: Vec::new() }),
        };
        sign(&entry, &Signer::Key(key(seed), Epoch::FIRST)).unwrap().document().to_vec()
    }
    fn seal(bytes: &[u8], fleet: Uuid) -> Seal {
        let trust = Trust::Keys(vec![PinnedKey { key: key(1).public(), epoch: Epoch::FIRST }]);
        FoundEntry::read(bytes, fleet, &trust).unwrap().seal
    }

    #[test]
    fn how_far_an_entry_is_believed_says_its_signature() {
        let signed = signed_by(1);
        assert_eq!(seal(&signed, FLEET), Seal::Signed);
        assert_eq!(seal(&signed_by(2), FLEET), Seal::Missing, "by a key that is not pinned");
        assert!(matches!(seal(&signed, Uuid::from_u128(2)), Seal::Broken(_)), "copied from another fleet");
        let changed = String::from_utf8(signed.clone()).unwrap().replace("\"alice\"", "\"mallory\"");
        assert!(matches!(seal(changed.as_bytes(), FLEET), Seal::Broken(_)));
        let stripped = String::from_utf8(signed.clone()).unwrap();
        let stripped = format!("{}\"signatures\": []}}", stripped.split_once("\"signatures\"").unwrap().0);
        assert_eq!(seal(stripped.as_bytes(), FLEET), Seal::Missing);
        assert_eq!(FoundEntry::read(&signed, FLEET, &Trust::Unsigned).unwrap().seal, Seal::Off);
    }

    #[test]
    fn entries_of_older_programs_are_read_and_prove_nothing() {
        let read = FoundEntry::read(&signed_by(1), FLEET, &Trust::Unsigned).unwrap();
        let older = document::render(&AuditEntry { chain: None, ..(*read).clone() });
        assert_eq!(seal(&older, FLEET), Seal::Missing);
        let found = FoundEntry::read(&older, FLEET, &Trust::Unsigned).unwrap();
        assert_eq!((found.seal.clone(), found.actor.as_str(), found.follows()), (Seal::Off, "alice", &[][..]));
        assert!(FoundEntry::read(b"{\"schema\": \"fleetman/audit/2\"}", FLEET, &Trust::Unsigned).is_err());
    }
}
