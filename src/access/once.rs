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

    /// Opens, once; again if nothing comes of what is taken.
    pub(super) fn take(&self, text: &str, now: Duration) -> Option<Taken<'_>> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = held.take_if(|(sha256, until)| is_it(sha256, text) && now < *until)?;
        Some(Taken { once: self, token: Some(taken) })
    }
}

/// A token that was taken. Unless it is spent it is good again afterwards, also when its bearer hung up.
#[derive(Debug)]
#[must_use]
pub(super) struct Taken<'o> {
    once: &'o Once,
    token: Option<(Sha256Digest, Duration)>,
}

impl Taken<'_> {
    /// Something came of it.
    pub(super) fn spend(mut self) {
        self.token = None;
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.once.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(token);
        }
    }
}

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
        drop(taken);
        assert!(!once.opens(token.reveal(), NOW + GOOD_FOR), "it is good for no longer");
        once.take(token.reveal(), NOW).unwrap().spend();
        assert!(once.take(token.reveal(), NOW).is_none());
    }

    #[test]
    fn a_newer_one_takes_the_place_of_the_older() {
        let once = Once::default();
        let (older, newer) = (once.issue(NOW).unwrap(), once.issue(NOW).unwrap());
        assert!(once.take(older.reveal(), NOW).is_none());
        let taken = once.take(newer.reveal(), NOW).unwrap();
        let newest = once.issue(NOW).unwrap();
        drop(taken);
        assert!(once.take(newer.reveal(), NOW).is_none() && once.opens(newest.reveal(), NOW));
    }
}
