//! A moment as people write it.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};

use crate::yaml::HumanDuration;

/// `2026-03-01T12:00:00Z`, `2h ago` or `now`.
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
    #[error("write a time as 2026-03-01T12:00:00Z, or as \"2h ago\", \"1d12h ago\" or now")]
    Unreadable,
    /// Nobody knows yet what will be.
    #[error("{} lies ahead", .0.to_rfc3339())]
    Ahead(DateTime<Utc>),
}

impl Moment {
    /// This moment.
    pub const NOW: Self = Self::Ago(TimeDelta::zero());

    /// The moment as a time.
    ///
    /// # Errors
    /// [`MomentError::Ahead`].
    pub fn before(self, now: DateTime<Utc>) -> Result<DateTime<Utc>, MomentError> {
        let time = match self {
            Self::At(time) => time,
            Self::Ago(ago) => now - ago,
        };
        if time > now { Err(MomentError::Ahead(time)) } else { Ok(time) }
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        if text == "now" {
            return Ok(Self::NOW);
        }
        if let Some(ago) = text.strip_suffix("ago") {
            let HumanDuration(ago) = ago.trim().parse().map_err(|_| MomentError::Unreadable)?;
            return TimeDelta::from_std(ago).map(Self::Ago).map_err(|_| MomentError::Unreadable);
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
        for bad in ["", "2h", "yesterday", "2026-03-01", "ago", "2x ago"] {
            assert_eq!(bad.parse::<Moment>(), Err(MomentError::Unreadable), "{bad}");
        }
    }
}
