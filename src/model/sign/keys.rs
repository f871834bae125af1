//! Ed25519 keys, as configs and key files hold them.

use base64::Engine as _;

use super::{BASE64, Deserialize, Epoch, Serialize, Sha256Digest, SigningKey, VerifyingKey, fmt};

/// The first 16 hex digits of the SHA-256 of a raw public key: a hint to find the key, no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(super::super::Content16);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// A public key is written `ed25519:<base64>`.
    #[error("not a public key: expected `ed25519:` and 44 characters of base64, as `fleetman keygen` prints it")]
    Public,
    /// A private key file holds one line.
    #[error("not a private key: expected a line `ed25519-private:<base64>`, as `fleetman keygen` writes it")]
    Private,
    /// The point is of small order: a signature by it proves nothing.
    #[error("this public key is weak: anyone could sign for it")]
    Weak,
}

/// A public key, written `ed25519:<base64>`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(pub(super) VerifyingKey);

impl PublicKey {
    const TAG: &'static str = "ed25519:";

    /// The key's short name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId(Sha256Digest::of(self.0.as_bytes()).content16())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::TAG, BASE64.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for PublicKey {
    type Err = KeyTextError;

    fn from_str(text: &str) -> Result<Self, KeyTextError> {
        let key = tagged(text, Self::TAG).ok_or(KeyTextError::Public)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| KeyTextError::Public)?;
        if key.is_weak() { Err(KeyTextError::Weak) } else { Ok(Self(key)) }
    }
}

stands_as_text!(PublicKey, KeyTextError);

/// A public key that is believed, and since which epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedKey {
    /// The key.
    pub key: PublicKey,
    /// A key of a higher epoch outranks everything that keys of lower ones signed.
    pub epoch: Epoch,
}

/// A private key. It has no text but the one that [`PrivateKey::to_file_text`] is asked for.
#[derive(Clone)]
pub struct PrivateKey(pub(super) Box<SigningKey>);

impl PrivateKey {
    const TAG: &'static str = "ed25519-private:";

    /// The key of 32 random bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(Box::new(SigningKey::from_bytes(seed)))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// What a key file holds. Whoever reads it can deploy to the whole fleet.
    #[must_use]
    pub fn to_file_text(&self) -> String {
        format!("{}{}\n", Self::TAG, BASE64.encode(self.0.to_bytes()))
    }

    /// Reads what [`Self::to_file_text`] wrote.
    ///
    /// # Errors
    /// When it is anything else. The text itself is never part of the error.
    pub fn from_file_text(text: &str) -> Result<Self, KeyTextError> {
        tagged(text, Self::TAG).map(|seed| Self::from_seed(&seed)).ok_or(KeyTextError::Private)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.public().id())
    }
}

fn tagged(text: &str, tag: &str) -> Option<[u8; 32]> {
    BASE64.decode(text.trim().strip_prefix(tag)?).ok()?.try_into().ok()
}
