//! The one-time token by which the first admin gets in. It is known to this process alone, and printed where only
//! whoever started it reads.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use subtle::ConstantTimeEq as _;

use super::token::TokenText;
use crate::model::Sha256Digest;

/// How long it is good for.
pub const GOOD_FOR: Duration = Duration::from_secs(60 * 60);

/// A token that opens once. Times are those of [`Clock::monotonic`](crate::clock::Clock::monotonic).
#[derive(Debug, Default)]
pub(super) struct Once(Mutex<Option<(Sha256Digest, Duration)>>);

impl Once {
    /// Makes the token. One that was made before opens no more.
    pub(super) fn issue(&self, now: Duration) -> std::io::Result<TokenText> {
        let token = TokenText::generate()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((token.sha256(), now + GOOD_FOR));
        Ok(token)
    }

    /// Whether it would open.
    pub(super) fn opens(&self, text: &str, now: Duration) -> bool {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((sha256, until)) => is_it(sha256, text) && now < *until,
            None => false,
        }
    }

    /// Opens, once.
    pub(super) fn take(&self, text: &str, now: Duration) -> Option<Taken> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *held {
            Some((sha256, until)) if is_it(&sha256, text) && now < until => {
                *held = None;
                Some(Taken(sha256, until))
            }
            _ => None,
        }
    }

    /// Makes what was taken good again, because nothing came of it.
    pub(super) fn put_back(&self, Taken(sha256, until): Taken) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((sha256, until));
    }
}

/// A token that was taken.
#[derive(Debug)]
pub(super) struct Taken(Sha256Digest, Duration);

fn is_it(sha256: &Sha256Digest, text: &str) -> bool {
    sha256.as_bytes().ct_eq(Sha256Digest::of(text.as_bytes()).as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn it_opens_once_and_not_for_ever() {
        let once = Once::default();
        assert!(once.take("", NOW).is_none(), "without a token nothing opens");
        let token = once.issue(NOW).unwrap();
        assert!(once.take("fm_x", NOW).is_none() && once.opens(token.reveal(), NOW));
        assert!(!once.opens(token.reveal(), NOW + GOOD_FOR) && once.take(token.reveal(), NOW + GOOD_FOR).is_none());
        let taken = once.take(token.reveal(), NOW).unwrap();
        assert!(once.take(token.reveal(), NOW).is_none() && !once.opens(token.reveal(), NOW));
        once.put_back(taken);
        assert!(!once.opens(token.reveal(), NOW + GOOD_FOR), "it is good for no longer");
        assert!(once.take(token.reveal(), NOW).is_some());
    }

    #[test]
    fn a_newer_one_takes_the_place_of_the_older() {
        let once = Once::default();
        let (older, newer) = (once.issue(NOW).unwrap(), once.issue(NOW).unwrap());
        assert!(once.take(older.reveal(), NOW).is_none() && once.take(newer.reveal(), NOW).is_some());
    }
}
