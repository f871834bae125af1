//! When tokens were used last, as far as the portals of this machine know. It is kept beside what else they keep, and
//! not in the bucket: there each use would be a write, and anybody's key could say what it likes.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::model::document::Document;
use crate::model::users::{Token, TokenId};

/// Uses are told apart no finer than this.
const NO_FINER_THAN: TimeDelta = TimeDelta::hours(1);

/// Who needs a token uses it more often.
const UNUSED_FOR: TimeDelta = TimeDelta::days(90);

/// When a token was used last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastUse {
    /// To the hour.
    At(DateTime<Utc>),
    /// Not since it was made, or since this machine pays attention.
    NotSince(DateTime<Utc>),
    /// No portal on this machine ever paid attention.
    Unknown,
}

impl LastUse {
    /// Whether a token was not used for so long that nobody would miss it.
    #[must_use]
    pub fn is_long_ago(self, now: DateTime<Utc>) -> bool {
        match self {
            Self::At(time) | Self::NotSince(time) => now - time >= UNUSED_FOR,
            Self::Unknown => false,
        }
    }

    /// The time, if it was used.
    #[must_use]
    pub fn at(self) -> Option<DateTime<Utc>> {
        match self {
            Self::At(time) => Some(time),
            Self::NotSince(_) | Self::Unknown => None,
        }
    }
}

/// What is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Uses {
    /// Since when somebody pays attention.
    pub(super) since: DateTime<Utc>,
    /// Each token's last use.
    pub(super) used: BTreeMap<TokenId, DateTime<Utc>>,
}

impl Document for Uses {
    const SCHEMA: &'static str = "fleetman/token-uses/1";
    // More tokens than a list of users has room for.
    const MAX_BYTES: u64 = 1 << 20;
}

impl Uses {
    /// What this and `other` know together.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.since = self.since.min(other.since);
        for (id, at) in other.used {
            let known = self.used.entry(id).or_insert(at);
            *known = at.max(*known);
        }
        self
    }
}

/// What one process knows of uses.
#[derive(Debug, Default)]
pub(super) struct TokenUses(Mutex<Option<Uses>>);

impl TokenUses {
    pub(super) fn of(kept: Option<Uses>) -> Self {
        Self(Mutex::new(kept))
    }

    /// Pays attention from now on, if nobody did before. What is to be kept, if that is new.
    pub(super) fn begin(&self, now: DateTime<Utc>) -> Option<Uses> {
        self.with(|known| {
            let is_new = known.is_none();
            let known = known.get_or_insert_with(|| Uses { since: now, used: BTreeMap::new() });
            is_new.then(|| known.clone())
        })
    }

    /// Notes a use. What is to be kept, if the last one was not just now; then tokens that are in no list are forgotten.
    pub(super) fn note(&self, id: &TokenId, now: DateTime<Utc>, is_listed: impl Fn(&TokenId) -> bool) -> Option<Uses> {
        self.with(|known| {
            let known = known.get_or_insert_with(|| Uses { since: now, used: BTreeMap::new() });
            if known.used.get(id).is_some_and(|last| now - *last < NO_FINER_THAN) {
                return None;
            }
            known.used.insert(id.clone(), now);
            known.used.retain(|id, _| is_listed(id));
            Some(known.clone())
        })
    }

    pub(super) fn last(&self, token: &Token) -> LastUse {
        self.with(|known| match known {
            None => LastUse::Unknown,
            Some(known) => match known.used.get(&token.id) {
                Some(at) => LastUse::At(*at),
                None => LastUse::NotSince(known.since.max(token.created_at)),
            },
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Option<Uses>) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::TokenText;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    #[test]
    fn a_use_is_kept_once_an_hour_and_only_of_tokens_that_are_listed() {
        let (one, other) = (TokenText::new_id().unwrap(), TokenText::new_id().unwrap());
        let uses = TokenUses::default();
        assert!(uses.note(&one, at(0), |_| true).is_some());
        assert!(uses.note(&one, at(1) - TimeDelta::seconds(1), |_| true).is_none());
        assert!(uses.note(&one, at(1), |_| true).is_some());
        let kept = uses.note(&other, at(1), |id| *id == other).unwrap();
        assert_eq!(kept, Uses { since: at(0), used: BTreeMap::from([(other, at(1))]) });
    }

    #[test]
    fn two_processes_forget_nothing_of_each_other() {
        let (one, other) = (TokenText::new_id().unwrap(), TokenText::new_id().unwrap());
        let a = Uses { since: at(5), used: BTreeMap::from([(one.clone(), at(9)), (other.clone(), at(6))]) };
        let b = Uses { since: at(1), used: BTreeMap::from([(one.clone(), at(7)), (other.clone(), at(8))]) };
        let both = Uses { since: at(1), used: BTreeMap::from([(one, at(9)), (other, at(8))]) };
        assert_eq!((a.clone().and(b.clone()), b.and(a)), (both.clone(), both));
    }

    #[test]
    fn what_was_not_used_for_ninety_days_is_told_apart() {
        let ninety = 90 * 24;
        for (last, then, expected) in [
            (LastUse::At(at(0)), at(ninety - 1), false),
            (LastUse::At(at(0)), at(ninety), true),
            (LastUse::NotSince(at(0)), at(ninety), true),
            (LastUse::NotSince(at(1)), at(ninety), false),
            (LastUse::Unknown, at(10 * ninety), false),
        ] {
            assert_eq!(last.is_long_ago(then), expected, "{last:?}");
        }
    }
}
