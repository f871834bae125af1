//! Signatures: what is between a bucket that anyone may write and a machine's root.
//!
//! Ed25519 with strict verification over the [DSSE] pre-authentication encoding of the payload's bytes as they
//! stand in the document. Nothing inside is parsed before it is verified, and a payload reaches the code only as
//! [`Verified`].
//!
//! [DSSE]: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md

use std::fmt;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::digest::Sha256Digest;
use super::document::{self, Document, DocumentError};
use super::generation::Epoch;

mod envelope;
mod keys;

pub use keys::{KeyId, KeyTextError, PinnedKey, PrivateKey, PublicKey};

use envelope::Envelope;

/// A document that is only believed with a signature.
pub trait Signed: Document {
    /// Part of the payload type that is signed; fixed here and never read from a document, so that a signature of
    /// one kind is worthless for another.
    const KIND: &'static str;

    /// The names that `requires` may hold.
    const FEATURES: &'static [&'static str];

    /// What the document requires of its reader.
    fn requires(&self) -> &[String];
}

/// Whom a reader believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Only these keys.
    Keys(Vec<PinnedKey>),
    /// Anyone who can write to the bucket. It must be spelled out in the config and is shown in red.
    Unsigned,
}

/// What a writer signs with.
#[derive(Debug, Clone)]
pub enum Signer {
    /// This key, of this epoch.
    Key(PrivateKey, Epoch),
    /// Nothing; readers must be set to [`Trust::Unsigned`].
    Unsigned,
}

/// Why a document is not believed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It is no signed document at all.
    #[error("not a valid signed {kind} document")]
    Envelope {
        /// What it was to be.
        kind: &'static str,
        /// What the parser found.
        #[source]
        source: serde_json::Error,
    },
    /// More bytes than a document of its kind may have.
    #[error("expected at most {limit} bytes of signed {kind}, got {size}")]
    TooLarge {
        /// What it was to be.
        kind: &'static str,
        /// The most bytes allowed.
        limit: u64,
        /// The size found.
        size: u64,
    },
    /// No pinned key signed it.
    #[error("none of its signatures is by a pinned key (signed by {signed_by}; pinned: {pinned})")]
    UnknownKey {
        /// The ids that its signatures name.
        signed_by: String,
        /// The ids that are pinned.
        pinned: String,
    },
    /// A pinned key is named, but its signature does not fit the bytes.
    #[error("the signature by key {key} does not fit: the document was changed, or re-indented by hand")]
    Mismatch {
        /// The key that is named.
        key: KeyId,
    },
    /// The signature is good, and what it signs is no document of its kind.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

/// A payload whose signature was checked. There is no other way to one.
#[must_use]
#[derive(Clone)]
pub struct Verified<T> {
    payload: T,
    epoch: Epoch,
    signed_by: Option<KeyId>,
    signed_sha256: Sha256Digest,
    document: Box<[u8]>,
}

impl<T> Verified<T> {
    /// The epoch of the key that signed it.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The key that signed it; `None` if signatures are off.
    #[must_use]
    pub fn signed_by(&self) -> Option<KeyId> {
        self.signed_by
    }

    /// The digest of the signed bytes: two documents with the same say the same.
    #[must_use]
    pub fn signed_sha256(&self) -> Sha256Digest {
        self.signed_sha256
    }

    /// The whole document, byte for byte.
    #[must_use]
    pub fn document(&self) -> &[u8] {
        &self.document
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.payload
    }
}

impl<T: fmt::Debug> fmt::Debug for Verified<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("payload", &self.payload)
            .field("epoch", &self.epoch)
            .field("signed_by", &self.signed_by)
            .finish_non_exhaustive()
    }
}

/// What an envelope may have beside its payload: eight signatures, white space.
const ENVELOPE_BYTES: u64 = 4 << 10;

/// Checks the signature of `bytes` and reads them, in this order.
///
/// # Errors
/// See [`SignError`]. A document that requires what this program does not know is no error: the reader decides.
pub fn verify<T: Signed>(bytes: &[u8], trust: &Trust) -> Result<Verified<T>, SignError> {
    let size = bytes.len() as u64;
    let limit = T::MAX_BYTES + ENVELOPE_BYTES;
    if size > limit {
        return Err(SignError::TooLarge { kind: T::KIND, limit, size });
    }
    let envelope: Envelope<'_> =
        serde_json::from_slice(bytes).map_err(|source| SignError::Envelope { kind: T::KIND, source })?;
    let signed = envelope.signed.get().as_bytes();
    let (epoch, signed_by) = match trust {
        Trust::Unsigned => (Epoch::FIRST, None),
        Trust::Keys(pinned) => {
            let (epoch, key) = check_signatures(&envelope, pinned, &pre_authentication_encoding(T::KIND, signed))?;
            (epoch, Some(key))
        }
    };
    let payload = document::parse(signed)?;
    Ok(Verified { payload, epoch, signed_by, signed_sha256: Sha256Digest::of(signed), document: bytes.into() })
}

/// Writes and signs a document. What comes back is what a reader with the matching trust would get.
///
/// # Errors
/// When the payload is larger than its kind allows.
pub fn sign<T: Signed + Clone>(payload: &T, signer: &Signer) -> Result<Verified<T>, SignError> {
    let mut signed = document::render(payload);
    // The value itself has no newline behind it.
    signed.truncate(signed.trim_ascii_end().len());
    let size = signed.len() as u64;
    if size > T::MAX_BYTES {
        return Err(SignError::TooLarge { kind: T::KIND, limit: T::MAX_BYTES, size });
    }
    let (epoch, signed_by, signatures) = match signer {
        Signer::Unsigned => (Epoch::FIRST, None, String::new()),
        Signer::Key(key, epoch) => {
            let signature = key.0.sign(&pre_authentication_encoding(T::KIND, &signed));
            let id = key.public().id();
            let text = format!("{{\"key_id\": \"{id}\", \"sig\": \"{}\"}}", BASE64.encode(signature.to_bytes()));
            (*epoch, Some(id), text)
        }
    };
    let mut document = b"{\"signed\": ".to_vec();
    document.extend_from_slice(&signed);
    document.extend_from_slice(format!(",\n\"signatures\": [{signatures}]}}\n").as_bytes());
    Ok(Verified {
        payload: payload.clone(),
        epoch,
        signed_by,
        signed_sha256: Sha256Digest::of(&signed),
        document: document.into(),
    })
}

/// One valid signature by a pinned key suffices; of several, the one with the highest epoch counts.
fn check_signatures(
    envelope: &Envelope<'_>,
    pinned: &[PinnedKey],
    message: &[u8],
) -> Result<(Epoch, KeyId), SignError> {
    let mut best: Option<(Epoch, KeyId)> = None;
    let mut named = None;
    for key in pinned {
        let id = key.key.id();
        for entry in envelope.signatures.iter().filter(|entry| entry.key_id == id.to_string()) {
            named = Some(id);
            let signature = BASE64.decode(entry.sig.as_ref()).ok().and_then(|bytes| Signature::from_slice(&bytes).ok());
            let valid = signature.is_some_and(|signature| key.key.0.verify_strict(message, &signature).is_ok());
            if valid && best.is_none_or(|(epoch, _)| key.epoch > epoch) {
                best = Some((key.epoch, id));
            }
        }
    }
    match (best, named) {
        (Some(best), _) => Ok(best),
        (None, Some(key)) => Err(SignError::Mismatch { key }),
        (None, None) => {
            let list = |ids: Vec<String>| if ids.is_empty() { "nobody".to_owned() } else { ids.join(", ") };
            Err(SignError::UnknownKey {
                signed_by: list(envelope.signatures.iter().map(|entry| super::name::shown(&entry.key_id)).collect()),
                pinned: list(pinned.iter().map(|key| key.key.id().to_string()).collect()),
            })
        }
    }
}

/// `PAE(type, body)` of DSSE v1.
fn pre_authentication_encoding(kind: &str, body: &[u8]) -> Vec<u8> {
    let kind = format!("application/vnd.fleetman.{kind}+json");
    let mut encoded = format!("DSSEv1 {} {kind} {} ", kind.len(), body.len()).into_bytes();
    encoded.extend_from_slice(body);
    encoded
}

#[cfg(test)]
mod tests;
