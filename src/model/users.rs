//! `auth/users.json`: who may sign in to the portal and use the API, and what they may do there.
//!
//! On stores without rights by prefix any node's key could write it. So it is signed, and its revision never goes
//! down: a reader believes neither an unsigned one nor an older one than it has seen.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::digest::Sha256Digest;
use super::document::Document;
use super::generation::Generation;
use super::name::{UserName, shown};
use super::sign::Signed;

mod grants;

pub use grants::{CellPattern, Grant, GrantError, Role};

/// Everybody who may sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    /// Features without which a reader must not act on this document.
    pub requires: Vec<String>,
    /// The fleet that it belongs to.
    pub fleet: Uuid,
    /// Counts the changes, from 1.
    pub revision: Generation,
    /// When it was changed last.
    pub changed_at: DateTime<Utc>,
    /// Who changed it last.
    pub changed_by: UserName,
    /// The users, by name.
    #[serde(default)]
    pub users: Vec<User>,
    /// What programs sign in with.
    #[serde(default)]
    pub tokens: Vec<Token>,
    /// Sessions that were ended before their time.
    #[serde(default)]
    pub revoked_sessions: Vec<RevokedSession>,
    /// People whom another service vouches for, and whose sessions were ended: they have no entry among the users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended_vouched: Vec<EndedVouched>,
}

/// Somebody who may sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name that they sign in with.
    pub name: UserName,
    /// What their password is checked against.
    pub password_hash: PasswordHash,
    /// What they may do.
    pub grants: Vec<Grant>,
    /// Sessions of another epoch are over. It is the revision that ended them, so none ever comes again.
    pub session_epoch: u64,
    /// Whether they are kept out for the time being.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// What a program signs in with, in the name of a user. It may do what both it and the user may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its public half.
    pub id: TokenId,
    /// What it is for, in its maker's words.
    pub name: String,
    /// In whose name it acts.
    pub user: UserName,
    /// The digest of the whole token, whose secret half is as long as a key: no slow hash is needed.
    pub sha256: Sha256Digest,
    /// What it may do at most.
    pub grants: Vec<Grant>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it is worthless.
    pub expires_at: DateTime<Utc>,
    /// Whether it was taken back before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

/// A session that was ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedSession {
    /// Which.
    pub id: SessionId,
    /// Whose; not known of those that were ended by older programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// When it would have ended anyway, and need not be remembered any more.
    pub until: DateTime<Utc>,
}

/// An end of sessions that another service vouched for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedVouched {
    /// Whose sessions; everybody's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Those are over that began when the list had a lower revision: the one that ended them.
    pub before: u64,
}

impl Document for Users {
    const SCHEMA: &'static str = "fleetman/users/1";
    const MAX_BYTES: u64 = 1 << 20;
}

impl Signed for Users {
    const KIND: &'static str = "users";

    const FEATURES: &'static [&'static str] = &[];

    fn requires(&self) -> &[String] {
        &self.requires
    }
}

impl Users {
    /// A document without anybody, before its first revision is written.
    #[must_use]
    pub fn empty(fleet: Uuid, changed_at: DateTime<Utc>, changed_by: UserName) -> Self {
        Self {
            requires: Vec::new(),
            fleet,
            revision: Generation::FIRST,
            changed_at,
            changed_by,
            users: Vec::new(),
            tokens: Vec::new(),
            revoked_sessions: Vec::new(),
            ended_vouched: Vec::new(),
        }
    }

    /// The user called `name`.
    #[must_use]
    pub fn user(&self, name: &UserName) -> Option<&User> {
        self.users.iter().find(|user| user.name == *name)
    }

    /// The token whose public half is `id`.
    #[must_use]
    pub fn token(&self, id: &TokenId) -> Option<&Token> {
        self.tokens.iter().find(|token| token.id == *id)
    }
}

impl User {
    /// Whether they may manage everything, users included.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        !self.disabled && is_admin(&self.grants)
    }
}

/// Whether grants are enough to manage everything.
#[must_use]
pub fn is_admin(grants: &[Grant]) -> bool {
    grants.iter().any(|grant| grant.role == Role::Admin && grant.cells.is_everything())
}

/// A text that stands for nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {what}")]
pub struct IdError {
    what: &'static str,
    text: String,
}

/// An argon2id hash in PHC form. It is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PasswordHash(String);

impl PasswordHash {
    /// The most bytes of one.
    const MAX_BYTES: usize = 512;

    /// Takes `text` if it looks like an argon2id hash.
    ///
    /// # Errors
    /// When it does not. The error does not quote it.
    pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        if text.starts_with("$argon2id$") && text.len() <= Self::MAX_BYTES && text.is_ascii() {
            return Ok(Self(text));
        }
        let what = "an argon2id hash as `fleetman user hash` prints it";
        Err(IdError { what, text: "(not shown)".to_owned() })
    }

    /// The hash, to check a password against.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

impl TryFrom<String> for PasswordHash {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl From<PasswordHash> for String {
    fn from(hash: PasswordHash) -> String {
        hash.0
    }
}

/// Takes `text` if it has `length` characters that `fits` takes.
fn of_length(what: &'static str, text: &str, length: usize, fits: impl Fn(u8) -> bool) -> Result<String, IdError> {
    if text.len() == length && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(IdError { what, text: shown(text) })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $length:literal, $fits:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// How many characters it has.
            pub const LENGTH: usize = $length;

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                of_length($what, text, $length, $fits).map(Self)
            }
        }

        stands_as_text!($name, IdError);
    };
}

id!(
    /// The public half of a token: it stands in lists and in the audit.
    TokenId, "the id of a token: 10 letters and digits", 10, |byte: u8| byte.is_ascii_alphanumeric()
);
id!(
    /// 128 random bits that name a session, as hex digits.
    SessionId, "the id of a session: 32 hex digits", 32, |byte: u8| {
        byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
    }
);

impl From<[u8; 16]> for SessionId {
    fn from(bytes: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_never_shown() {
        let hash = PasswordHash::new("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA").unwrap();
        assert!(!format!("{hash:?}").contains("c2FsdA"));
        for bad in ["hunter2", "$2b$10$abcdefg", "$argon2i$v=19$x", &format!("$argon2id${}", "x".repeat(600))] {
            let error = PasswordHash::new(bad).unwrap_err().to_string();
            assert!(!error.contains(bad), "{error}");
        }
    }

    #[test]
    fn ids_have_one_form() {
        let id = SessionId::from([1; 16]);
        assert_eq!((id.as_str().len(), id.as_str().parse::<SessionId>()), (SessionId::LENGTH, Ok(id.clone())));
        assert!(id.as_str().to_uppercase().replace('0', "A").parse::<SessionId>().is_err());
        assert!("aB3".parse::<TokenId>().is_err() && "aB3456789_".parse::<TokenId>().is_err());
        assert!("aB34567890".parse::<TokenId>().is_ok());
    }
}
