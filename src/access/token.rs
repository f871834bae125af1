//! Tokens: what programs sign in with. `fm_<id>_<secret>`, so that those who look for leaked secrets know one.

use chrono::{DateTime, Utc};
use subtle::ConstantTimeEq as _;

use crate::entropy;
use crate::model::Sha256Digest;
use crate::model::users::{Token, TokenId, Users};

/// What every token begins with.
const PREFIX: &str = "fm";

/// As many characters out of 62 hold 256 random bits.
const SECRET_CHARS: usize = 43;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A whole token, which is shown once.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText {
    /// Its public half.
    pub id: TokenId,
    text: String,
}

impl TokenText {
    /// A new one.
    ///
    /// # Errors
    /// Where the operating system has no randomness.
    pub fn generate() -> std::io::Result<Self> {
        Self::generate_as(Self::new_id()?)
    }

    /// A public half that nobody has.
    ///
    /// # Errors
    /// Where the operating system has no randomness.
    pub fn new_id() -> std::io::Result<TokenId> {
        letters(TokenId::LENGTH)?.parse().map_err(std::io::Error::other)
    }

    /// A new one with this public half.
    ///
    /// # Errors
    /// Where the operating system has no randomness.
    pub fn generate_as(id: TokenId) -> std::io::Result<Self> {
        let text = format!("{PREFIX}_{id}_{}", letters(SECRET_CHARS)?);
        Ok(Self { id, text })
    }

    /// Takes `text` if it has the form of a token.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.strip_prefix('_')?.split_once('_')?;
        let is_secret = secret.len() == SECRET_CHARS && secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Some(Self { id: id.parse().ok().filter(|_| is_secret)?, text: text.to_owned() })
    }

    /// The whole of it, secret half included.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What of it is kept.
    #[must_use]
    pub fn sha256(&self) -> Sha256Digest {
        Sha256Digest::of(self.text.as_bytes())
    }

    /// The entry of the list that it is of, if it counts now.
    #[must_use]
    pub fn find<'a>(&self, users: &'a Users, now: DateTime<Utc>) -> Option<&'a Token> {
        let entry = users.token(&self.id)?;
        let is_it: bool = entry.sha256.as_bytes().ct_eq(self.sha256().as_bytes()).into();
        (is_it && counts(entry, now)).then_some(entry)
    }
}

/// Whether a token is good for anything.
pub(super) fn counts(entry: &Token, now: DateTime<Utc>) -> bool {
    !entry.revoked && now < entry.expires_at
}

impl std::fmt::Debug for TokenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenText({}, …)", self.id)
    }
}

/// Random letters and digits, each as likely as any other.
fn letters(count: usize) -> std::io::Result<String> {
    /// The largest multiple of 62 that a byte holds: what lies above would make some letters likelier.
    const FAIR: u8 = 248;
    let mut letters = String::with_capacity(count);
    while letters.len() < count {
        let fair = entropy::bytes::<64>()?.into_iter().filter(|byte| *byte < FAIR);
        letters.extend(fair.take(count - letters.len()).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
    }
    Ok(letters)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use uuid::Uuid;

    use super::*;
    use crate::model::UserName;

    fn entry(token: &TokenText) -> Token {
        Token {
            id: token.id.clone(),
            name: "t".to_owned(),
            user: UserName::new("ada").unwrap(),
            sha256: token.sha256(),
            grants: vec![],
            created_at: DateTime::UNIX_EPOCH,
            expires_at: DateTime::UNIX_EPOCH + TimeDelta::seconds(10),
            revoked: false,
        }
    }

    fn users(tokens: Vec<Token>) -> Users {
        Users { tokens, ..Users::empty(Uuid::from_u128(1), DateTime::UNIX_EPOCH, UserName::new("ada").unwrap()) }
    }

    #[test]
    fn a_token_has_a_form_that_scanners_know_and_reads_back() {
        let token = TokenText::generate().unwrap();
        assert_eq!(token.reveal().len(), "fm_".len() + 10 + 1 + 43);
        assert_eq!(TokenText::read(token.reveal()), Some(token.clone()));
        assert!(!format!("{token:?}").contains(&token.reveal()[14..]));
        for bad in [
            "",
            "fm_",
            "fm__",
            "fm_abcdefghij_short",
            &token.reveal().replace("fm_", "gh_"),
            &format!("{} ", token.reveal()),
        ] {
            assert_eq!(TokenText::read(bad), None, "{bad}");
        }
        assert_ne!(TokenText::generate().unwrap(), token);
    }

    #[test]
    fn letters_are_equally_likely() {
        let letters = letters(62_000).unwrap();
        let counts: Vec<usize> =
            ALPHABET.iter().map(|letter| letters.bytes().filter(|b| b == letter).count()).collect();
        // 1,000 each; six standard deviations are 188.
        assert!(counts.iter().all(|count| (812..=1_188).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_token_counts_until_it_runs_out_or_is_taken_back() {
        let (token, other) = (TokenText::generate().unwrap(), TokenText::generate().unwrap());
        let at = |secs| DateTime::UNIX_EPOCH + TimeDelta::seconds(secs);
        let list = users(vec![entry(&token)]);
        assert!(token.find(&list, at(9)).is_some());
        assert!(token.find(&list, at(10)).is_none());
        assert!(other.find(&list, at(9)).is_none());
        let revoked = users(vec![Token { revoked: true, ..entry(&token) }]);
        assert!(token.find(&revoked, at(9)).is_none());
        let forged = TokenText { id: token.id.clone(), text: other.text.clone() };
        assert!(forged.find(&list, at(9)).is_none(), "the id alone opens nothing");
    }
}
