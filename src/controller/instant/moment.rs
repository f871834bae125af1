//! A moment as people write it.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use crate::yaml::HumanDuration;

/// `2026-03-01T12:00:00Z`, `2026-03-01` for its beginning in UTC, `2h ago`, the same as `2h`, or `now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// This time.
    At(DateTime<Utc>),
    /// So long before now.
    Ago(TimeDelta),
}

/// A text that is no moment of the past.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MomentError {
    /// It is no time.
    #[error("write a time as 2026-03-01T12:00:00Z or 2026-03-01, or as \"2h ago\", \"1d12h ago\" or now")]
    Unreadable,
    /// Nobody knows yet what will be.
    #[error("{} lies ahead", .0.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))]
    Ahead(DateTime<Utc>),
}

impl Moment {
    /// This moment.
    pub const NOW: Self = Self::Ago(TimeDelta::zero());

    /// The moment as a time, which may lie ahead.
    #[must_use]
    pub fn of(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(time) => time,
            Self::Ago(ago) => now.checked_sub_signed(ago).unwrap_or(DateTime::<Utc>::MIN_UTC),
        }
    }

    /// The moment as a time of the past.
    ///
    /// # Errors
    /// [`MomentError::Ahead`].
    pub fn before(self, now: DateTime<Utc>) -> Result<DateTime<Utc>, MomentError> {
        let time = self.of(now);
        if time > now { Err(MomentError::Ahead(time)) } else { Ok(time) }
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        if text == "now" {
            return Ok(Self::NOW);
        }
        let ago = text.strip_suffix("ago").map_or(text, str::trim_end);
        if let Ok(HumanDuration(ago)) = ago.parse() {
            return TimeDelta::from_std(ago).map(Self::Ago).map_err(|_| MomentError::Unreadable);
        }
        if let Ok(day) = text.parse::<NaiveDate>() {
            return Ok(Self::At(day.and_time(NaiveTime::MIN).and_utc()));
        }
        DateTime::parse_from_rfc3339(text).map(|time| Self::At(time.to_utc())).map_err(|_| MomentError::Unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_so_long_ago_and_never_ahead() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let before = |text: &str| text.parse::<Moment>().unwrap().before(now);
        assert_eq!(before("2h ago"), Ok(now - TimeDelta::hours(2)));
        assert_eq!(before("1d12h ago"), Ok(now - TimeDelta::hours(36)));
        assert_eq!(before("now"), Ok(now));
        assert_eq!(before("2027-01-15T09:00:00+01:00"), Ok(now));
        assert_eq!(before("2027-01-15T08:00:01Z"), Err(MomentError::Ahead(now + TimeDelta::seconds(1))));
        assert_eq!(before("2h"), before("2h ago"));
        assert_eq!(before("2027-01-15"), Ok(now - TimeDelta::hours(8)), "where it begins in UTC");
        assert!(matches!(before("2027-01-16"), Err(MomentError::Ahead(_))));
        for bad in ["", "2", "yesterday", "2026-02-30", "2026-13-01", "ago", "2x ago", "now ago"] {
            assert_eq!(bad.parse::<Moment>(), Err(MomentError::Unreadable), "{bad}");
        }
    }
}
