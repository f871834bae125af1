//! Passwords: what one has to be, and checking one without telling whether there is such a user.
//!
//! Argon2id with the least parameters that OWASP recommends. A hash takes 19 MiB for some 20 ms, so only a few are
//! worked out at once, and only a few more wait.

use std::sync::Arc;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization as _;

use crate::entropy;
use crate::model::UserName;
use crate::model::users::PasswordHash;

/// The least characters of a password.
pub const LEAST_CHARS: usize = 8;

/// How many characters it had better have.
pub const GOOD_CHARS: usize = 15;

/// The most bytes of a password.
const MOST_BYTES: usize = 1_024;

/// How many hashes are worked out at once.
const AT_ONCE: usize = 2;

/// How many wait for that.
const WAITING: usize = 32;

const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The most memory that a hash in a config or a list may ask for.
const MOST_MEMORY_KIB: u32 = 256 * 1_024;

/// What a password is checked against where there is no such user: it takes as long, and fits none.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdA$\
    AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The 3,000 most used of at least [`LEAST_CHARS`], one a line, in small letters. `scripts/common-passwords.sh` made it.
const COMMON: &str = include_str!("common_passwords.txt");

/// What administrators choose beside those, and what software comes with.
const OF_ADMINISTRATORS: [&str; 13] = [
    "0987654321",
    "admin1234",
    "adminadmin",
    "administrator",
    "change-me",
    "changeme1",
    "letmein123",
    "p@ssword",
    "password!",
    "password1234",
    "secret123",
    "testtest",
    "welcome123",
];

/// Nobody guesses long at these.
const PRODUCT: &str = "fleetman";

/// Why a password cannot be taken, or not be checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Choose another.
    #[error("the password {rule}")]
    Weak {
        /// What is wrong with it.
        rule: &'static str,
    },
    /// Too many are being checked. Try again in a moment.
    #[error("too many passwords are being checked at once; try again in a moment")]
    Busy,
    /// It could not be hashed.
    #[error("hashing the password failed")]
    Failed(#[source] std::io::Error),
}

/// Works out hashes, a few at once.
#[derive(Debug, Clone)]
pub struct Passwords {
    at_once: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { at_once: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::new(Semaphore::new(AT_ONCE + WAITING)) }
    }
}

impl Passwords {
    /// The hash of a new password of `user`.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub async fn hash(&self, user: &UserName, password: &str) -> Result<PasswordHash, PasswordError> {
        check(user, password)?;
        self.hash_again(password).await
    }

    /// A new hash of a password that fitted the one before, whether or not it would be taken today.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub(super) async fn hash_again(&self, password: &str) -> Result<PasswordHash, PasswordError> {
        let password = normal(password);
        let salt = entropy::bytes::<16>().map_err(PasswordError::Failed)?;
        let hashed = self.work(move || hasher().hash_password_with_salt(password.as_bytes(), &salt)).await?;
        let failed = |error: String| PasswordError::Failed(std::io::Error::other(error));
        let hash = hashed.map_err(|error| failed(error.to_string()))?;
        PasswordHash::new(hash.to_string()).map_err(|error| failed(error.to_string()))
    }

    /// Whether `password` is the one of `hash`. Without a hash it is not, and that takes as long.
    ///
    /// # Errors
    /// [`PasswordError::Busy`].
    pub async fn fits(&self, hash: Option<&PasswordHash>, password: &str) -> Result<bool, PasswordError> {
        // A longer one was never taken. It is still worked on, so that the answer is no earlier.
        let is_possible = hash.is_some() && password.len() <= MOST_BYTES;
        let mut end = password.len().min(MOST_BYTES);
        while !password.is_char_boundary(end) {
            end -= 1;
        }
        let password = normal(&password[..end]);
        let hash = hash.map_or(NOBODY, PasswordHash::reveal).to_owned();
        let fits = self.work(move || verify(&hash, &password)).await?;
        Ok(fits && is_possible)
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PasswordError> {
        let _waiting = self.waiting.clone().try_acquire_owned().map_err(|_| PasswordError::Busy)?;
        let permit = self.at_once.clone().acquire_owned().await.map_err(|_| PasswordError::Busy)?;
        let done = tokio::task::spawn_blocking(move || {
            // Held here, so that whoever goes away early does not make room before the memory is free.
            let _permit = permit;
            work()
        });
        done.await.map_err(|error| PasswordError::Failed(std::io::Error::other(error)))
    }
}

/// Whether a password may be chosen at all.
///
/// # Errors
/// [`PasswordError::Weak`].
pub(super) fn check(user: &UserName, password: &str) -> Result<(), PasswordError> {
    let weak = |rule| Err(PasswordError::Weak { rule });
    let plain = normal(password).to_lowercase();
    if plain.chars().count() < LEAST_CHARS {
        return weak("has fewer than 8 characters; 15 or more are good");
    }
    if password.len() > MOST_BYTES {
        return weak("is longer than 1024 bytes");
    }
    if COMMON.lines().any(|common| common == plain) || OF_ADMINISTRATORS.contains(&plain.as_str()) {
        return weak("is one of those that are tried first; choose another, of 15 characters or more");
    }
    let mut chars = plain.chars();
    let first = chars.next();
    if chars.all(|c| Some(c) == first) {
        return weak("is one character again and again; choose another, of 15 characters or more");
    }
    let without_ends = |letters: fn(char) -> bool| plain.trim_matches(|c| !letters(c));
    if without_ends(|c| c.is_alphabetic() || c == '-') == user.as_str() {
        return weak("is the user's own name; choose another, of 15 characters or more");
    }
    if without_ends(char::is_alphabetic) == PRODUCT {
        return weak("is the name of this product; choose another, of 15 characters or more");
    }
    Ok(())
}

/// The same text however the keyboard composes it.
fn normal(password: &str) -> String {
    password.nfkc().collect()
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Whether a hash was made with other costs than those of today.
pub(super) fn is_outdated(hash: &PasswordHash) -> bool {
    let params = phc::PasswordHash::new(hash.reveal()).ok().and_then(|hash| Params::try_from(&hash).ok());
    params.is_none_or(|it| (it.m_cost(), it.t_cost(), it.p_cost()) != (MEMORY_KIB, PASSES, LANES))
}

fn verify(hash: &str, password: &str) -> bool {
    let Ok(hash) = phc::PasswordHash::new(hash) else { return false };
    // Whoever wrote the hash chose its cost.
    let is_bounded = Params::try_from(&hash).is_ok_and(|params| params.m_cost() <= MOST_MEMORY_KIB);
    is_bounded && hasher().verify_password(password.as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> UserName {
        UserName::new("ada").unwrap()
    }

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_no_other() {
        let passwords = Passwords::default();
        let hash = passwords.hash(&ada(), "correct horse battery").await.unwrap();
        assert!(hash.reveal().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.reveal());
        assert!(passwords.fits(Some(&hash), "correct horse battery").await.unwrap());
        assert!(!passwords.fits(Some(&hash), "correct horse batterY").await.unwrap());
        assert!(!passwords.fits(None, "correct horse battery").await.unwrap());
        assert_ne!(passwords.hash(&ada(), "correct horse battery").await.unwrap(), hash, "each has its own salt");
    }

    #[tokio::test]
    async fn a_password_is_the_same_however_it_is_typed_and_never_cut() {
        let passwords = Passwords::default();
        let hash = passwords.hash(&ada(), "caf\u{e9} au lait").await.unwrap();
        assert!(passwords.fits(Some(&hash), "cafe\u{301} au lait").await.unwrap());
        let long = "a b".repeat(340);
        let hash = passwords.hash(&ada(), &long).await.unwrap();
        assert!(passwords.fits(Some(&hash), &long).await.unwrap());
        assert!(!passwords.fits(Some(&hash), &format!("{long}{}", "x".repeat(9_000))).await.unwrap());
        assert!(!passwords.fits(Some(&hash), &"é".repeat(5_000)).await.unwrap());
    }

    #[test]
    fn a_user_who_is_not_there_costs_a_whole_hash() {
        let nobody = phc::PasswordHash::new(NOBODY).unwrap();
        let params = Params::try_from(&nobody).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (MEMORY_KIB, PASSES, LANES));
        assert_eq!(nobody.hash.unwrap().as_bytes().len(), 32);
    }

    #[test]
    fn weak_passwords_are_refused_with_their_rule() {
        for (password, part) in [
            ("", "8 characters"),
            ("1234567", "8 characters"),
            ("Password123", "tried first"),
            ("ñññññññññ", "again and again"),
            ("ada-lovelace-1", ""),
            (&"x y".repeat(400), "1024 bytes"),
        ] {
            let refused = check(&ada(), password).err().map(|error| error.to_string());
            assert_eq!(refused.is_some(), !part.is_empty(), "{password}");
            assert!(refused.unwrap_or_default().contains(part), "{password}");
        }
        let long = UserName::new("ada-lovelace").unwrap();
        assert!(check(&long, "ada-lovelace").is_err() && check(&long, "Ada-Lovelace12").is_err());
        assert!(check(&long, "ada-lovelace likes engines").is_ok());
    }

    #[test]
    fn what_many_have_is_refused_in_whatever_letters() {
        let refused = |password: &str| check(&ada(), password).err().map(|error| error.to_string()).unwrap_or_default();
        let common: Vec<&str> = COMMON.lines().chain(OF_ADMINISTRATORS).collect();
        assert_eq!(common.len(), 3_000 + OF_ADMINISTRATORS.len());
        let different: std::collections::BTreeSet<&str> = common.iter().copied().collect();
        assert_eq!(different.len(), common.len(), "none is listed twice");
        for password in common {
            assert!(password.chars().count() >= LEAST_CHARS && password.to_lowercase() == password, "{password}");
            for password in [password.to_owned(), password.to_uppercase()] {
                assert!(refused(&password).contains("tried first"), "{password}: {}", refused(&password));
            }
        }
        for password in ["fleetman", "Fleetman2026!", "**FLEETMAN**"] {
            assert!(refused(password).contains("name of this product"), "{password}");
        }
        assert_eq!(refused("fleetman sails at dawn"), "");
    }

    #[tokio::test]
    async fn only_a_hash_of_other_costs_is_outdated() {
        let hash = Passwords::default().hash(&ada(), "correct horse battery").await.unwrap();
        assert!(!is_outdated(&hash));
        let cheaper = PasswordHash::new(hash.reveal().replace("m=19456", "m=4096")).unwrap();
        assert!(is_outdated(&cheaper));
    }

    #[test]
    fn a_hash_that_asks_for_all_memory_fits_nothing() {
        assert!(!verify(
            "$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "x"
        ));
        assert!(!verify("$argon2id$nonsense", "x"));
    }

    #[tokio::test]
    async fn only_so_many_wait_for_a_hash() {
        let passwords = Passwords::default();
        let all =
            passwords.waiting.clone().acquire_many_owned(u32::try_from(AT_ONCE + WAITING).unwrap()).await.unwrap();
        assert!(matches!(passwords.fits(None, "x").await, Err(PasswordError::Busy)));
        drop(all);
        assert!(!passwords.fits(None, "x").await.unwrap());
    }
}
