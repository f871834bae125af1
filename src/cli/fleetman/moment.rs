//! A moment as people write it on a command line.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};

use crate::cli::failure::Failure;
use crate::yaml::HumanDuration;

/// `2026-03-01T12:00:00Z`, `2h ago` or `now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    At(DateTime<Utc>),
    Ago(TimeDelta),
}

impl Moment {
    pub(super) const NOW: Self = Self::Ago(TimeDelta::zero());

    /// The moment as a time.
    ///
    /// # Errors
    /// When it lies ahead: nobody knows yet what will be.
    pub(super) fn before(self, now: DateTime<Utc>) -> Result<DateTime<Utc>, Failure> {
        let time = match self {
            Self::At(time) => time,
            Self::Ago(ago) => now - ago,
        };
        if time > now {
            return Err(Failure::usage(format!("{} lies ahead", time.to_rfc3339())));
        }
        Ok(time)
    }
}

/// A text that is no moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoMoment;

impl fmt::Display for NoMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("write a time as 2026-03-01T12:00:00Z, or as \"2h ago\", \"1d12h ago\" or now")
    }
}

impl std::error::Error for NoMoment {}

impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        if text == "now" {
            return Ok(Self::NOW);
        }
        if let Some(ago) = text.strip_suffix("ago") {
            let HumanDuration(ago) = ago.trim().parse().map_err(|_| NoMoment)?;
            return TimeDelta::from_std(ago).map(Self::Ago).map_err(|_| NoMoment);
        }
        DateTime::parse_from_rfc3339(text).map(|time| Self::At(time.to_utc())).map_err(|_| NoMoment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_so_long_ago_and_never_ahead() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let before = |text: &str| text.parse::<Moment>().unwrap().before(now).map_err(|failure| failure.exit);
        assert_eq!(before("2h ago"), Ok(now - TimeDelta::hours(2)));
        assert_eq!(before("1d12h ago"), Ok(now - TimeDelta::hours(36)));
        assert_eq!(before("now"), Ok(now));
        assert_eq!(before("2027-01-15T09:00:00+01:00"), Ok(now));
        assert_eq!(before("2027-01-15T08:00:01Z"), Err(crate::cli::exit::Exit::Usage));
        for bad in ["", "2h", "yesterday", "2026-03-01", "ago", "2x ago"] {
            assert_eq!(bad.parse::<Moment>(), Err(NoMoment), "{bad}");
        }
    }
}
