//! Maintenance windows: when a node may fetch files, and when it may switch a cell to another version.
//!
//! All of it is arithmetic with the data base of time zones that is built in, so a controller that foretells and a node
//! that decides come to the same answer, whatever either has installed.
//!
//! A window opens whenever a clock on the wall in its time zone shows a minute of its [`Cron`], and stays open for its
//! length in elapsed time. What follows where clocks are changed: in an hour that is shown twice it opens twice, and one
//! that would have opened in an hour that is left out opens at the moment when the clocks are put forward.

mod cron;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

pub use self::cron::{Cron, CronError};

/// A place whose clocks go together, by its name in the IANA data base: `Europe/Berlin`, `UTC`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// A text that names no time zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no time zone that is known here; {help}")]
pub struct ZoneError {
    text: String,
    help: String,
}

impl Zone {
    /// Coordinated universal time, which never changes its clocks.
    #[must_use]
    pub fn utc() -> Self {
        Self { name: "UTC".to_owned(), rules: TimeZone::UTC }
    }
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        let refuse = |help: &str| ZoneError { text: super::name::shown(text), help: help.to_owned() };
        if text == "UTC" {
            return Ok(Self::utc());
        }
        let help = "write a name of the IANA data base, such as Europe/Berlin or UTC";
        let rules = TimeZoneDatabase::bundled().get(text).map_err(|_| refuse(help))?;
        // It also takes other cases; in a document there is one way to write it.
        match rules.iana_name().filter(|name| !name.starts_with(char::is_lowercase)) {
            Some(name) if name == text => Ok(Self { name: text.to_owned(), rules }),
            Some(name) => Err(refuse(&format!("did you mean {name}?"))),
            None => Err(refuse(help)),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

stands_as_text!(Zone, ZoneError);

/// What a window says of the time in which it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It may happen, and at no other time than in some window that allows it.
    Allow,
    /// It may not, whatever allows it.
    Deny,
}

/// A recurring span of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(try_from = "WindowText", into = "WindowText")]
pub struct Window {
    /// What it says.
    pub rule: Rule,
    /// When it opens.
    pub opens: Cron,
    /// How long it stays open.
    pub for_secs: u64,
    /// By whose clocks it opens.
    pub time_zone: Zone,
}

/// A window as documents have it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
struct WindowText {
    /// When it opens, as five fields of cron; one of the two is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow: Option<Cron>,
    /// The same for one in which it may not happen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deny: Option<Cron>,
    /// How long it stays open.
    for_secs: u64,
    /// By whose clocks, by its name in the IANA data base.
    time_zone: Zone,
}

/// What is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Neither or both of `allow` and `deny`.
    #[error("a window has either `allow` or `deny`")]
    Rule,
    /// Open for too short or too long.
    #[error("a window is open from 1 minute to 31 days, and not for {secs} s")]
    Length {
        /// The seconds.
        secs: u64,
    },
}

impl Window {
    /// A node notices that a window is open within half a minute.
    pub const SHORTEST_SECS: u64 = 60;
    /// Whatever is longer is no window.
    pub const LONGEST_SECS: u64 = 31 * 24 * 60 * 60;

    /// The window that opens as `allow` or `deny` says.
    ///
    /// # Errors
    /// Not exactly one of the two is given, or the length is out of bounds.
    pub fn new(allow: Option<Cron>, deny: Option<Cron>, for_secs: u64, time_zone: Zone) -> Result<Self, WindowError> {
        let (rule, opens) = match (allow, deny) {
            (Some(opens), None) => (Rule::Allow, opens),
            (None, Some(opens)) => (Rule::Deny, opens),
            _ => return Err(WindowError::Rule),
        };
        match for_secs {
            Self::SHORTEST_SECS..=Self::LONGEST_SECS => Ok(Self { rule, opens, for_secs, time_zone }),
            secs => Err(WindowError::Length { secs }),
        }
    }
}

impl TryFrom<WindowText> for Window {
    type Error = WindowError;

    fn try_from(text: WindowText) -> Result<Self, WindowError> {
        Self::new(text.allow, text.deny, text.for_secs, text.time_zone)
    }
}

impl From<Window> for WindowText {
    fn from(window: Window) -> Self {
        let Window { rule, opens, for_secs, time_zone } = window;
        let (allow, deny) = match rule {
            Rule::Allow => (Some(opens), None),
            Rule::Deny => (None, Some(opens)),
        };
        Self { allow, deny, for_secs, time_zone }
    }
}

impl fmt::Display for Window {
    /// `allow 0 2 * * mon-fri for 2h, Europe/Berlin`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
        let rule = match self.rule {
            Rule::Allow => "allow",
            Rule::Deny => "deny",
        };
        write!(f, "{rule} {} for ", self.opens)?;
        let mut rest = self.for_secs;
        for (seconds, unit) in UNITS.into_iter() {
            if rest >= seconds {
                write!(f, "{}{unit}", rest / seconds)?;
                rest %= seconds;
            }
        }
        write!(f, ", {}", self.time_zone)
    }
}

/// Seconds since 1970.
type Second = i64;

impl Window {
    fn length(&self) -> Second {
        Second::try_from(self.for_secs).unwrap_or(Second::MAX)
    }

    /// When it opened last, at `to` or before, but not before `from`.
    fn opened(&self, from: Second, to: Second) -> Option<Second> {
        let mut to = to;
        while from <= to {
            let span = self.time_zone.span_of(to)?;
            let (first, last) = (span.civil(span.begins.max(from))?, span.civil(to)?);
            if let Some(found) = self.opens.last(first, last) {
                return span.second(found);
            }
            if span.begins >= from && self.skipped_at(&span) {
                return Some(span.begins);
            }
            to = span.begins.checked_sub(1)?;
        }
        None
    }

    /// When it opens next, at `from` or after, but not after `to`.
    fn opens(&self, from: Second, to: Second) -> Option<Second> {
        let mut from = from;
        while from <= to {
            let span = self.time_zone.span_of(from)?;
            if from == span.begins && self.skipped_at(&span) {
                return Some(from);
            }
            let (first, last) = (span.civil(from)?, span.civil(span.ends.checked_sub(1)?.min(to))?);
            if let Some(found) = self.opens.first(first, last) {
                return span.second(found);
            }
            from = span.ends;
        }
        None
    }

    /// Whether it would have opened in what the clocks left out when `span` began.
    fn skipped_at(&self, span: &Span) -> bool {
        let left_out = || {
            let before = span.before?.to_datetime(Timestamp::from_second(span.begins).ok()?);
            let last = span.civil(span.begins)?.checked_sub(jiff::Span::new().minutes(1)).ok()?;
            (before <= last).then(|| self.opens.first(before, last)).flatten()
        };
        left_out().is_some()
    }
}

/// A stretch of time in which the clocks of a zone were not changed.
struct Span {
    begins: Second,
    /// The first second that is not in it any more.
    ends: Second,
    offset: Offset,
    before: Option<Offset>,
}

impl Span {
    fn civil(&self, at: Second) -> Option<jiff::civil::DateTime> {
        Some(self.offset.to_datetime(Timestamp::from_second(at).ok()?))
    }

    fn second(&self, civil: jiff::civil::DateTime) -> Option<Second> {
        Some(self.offset.to_timestamp(civil).ok()?.as_second())
    }
}

impl Zone {
    fn span_of(&self, at: Second) -> Option<Span> {
        let at = Timestamp::from_second(at).ok()?;
        let after = at.checked_add(jiff::SignedDuration::from_nanos(1)).ok()?;
        let begins = self.rules.preceding(after).next().map(|change| change.timestamp().as_second());
        let ends = self.rules.following(at).next().map(|change| change.timestamp().as_second());
        let before = begins.and_then(|begins| Timestamp::from_second(begins - 1).ok());
        Some(Span {
            begins: begins.unwrap_or(Timestamp::MIN.as_second() + 1),
            ends: ends.unwrap_or(Timestamp::MAX.as_second()),
            offset: self.rules.to_offset(at),
            before: before.map(|before| self.rules.to_offset(before)),
        })
    }
}

/// Whether something may happen at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It may.
    Open {
        /// Until when; `None` if not for [`FORESIGHT_DAYS`].
        closes_at: Option<DateTime<Utc>>,
    },
    /// It may not.
    Closed {
        /// When it may again; `None` if not within [`FORESIGHT_DAYS`].
        opens_at: Option<DateTime<Utc>>,
    },
}

impl Passage {
    /// Whether it may happen.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

/// How far it is looked ahead: the rarest date of a year comes within it.
pub const FORESIGHT_DAYS: u32 = 400;

/// More than windows need that open or close several times a day.
const MOST_STEPS: usize = 4_000;

/// What `groups` of windows say at `at`. Each group must be open: some window of it allows, or it has none that allows;
/// and no window of it denies.
#[must_use]
pub fn passage(groups: &[&[Window]], at: DateTime<Utc>) -> Passage {
    let now = at.timestamp();
    let horizon = now.saturating_add(Second::from(FORESIGHT_DAYS) * 24 * 60 * 60);
    let instant = |second: Second| DateTime::from_timestamp(second, 0);
    match stand(groups, now) {
        Stand::Closed { .. } => {
            let mut at = now;
            for _ in 0..MOST_STEPS {
                match stand(groups, at) {
                    Stand::Open { .. } => return Passage::Closed { opens_at: instant(at) },
                    Stand::Closed { until: Some(until) } if until <= horizon => at = until,
                    Stand::Closed { .. } => break,
                }
            }
            Passage::Closed { opens_at: None }
        }
        Stand::Open { .. } => {
            let mut at = now;
            for _ in 0..MOST_STEPS {
                match stand(groups, at) {
                    Stand::Closed { .. } => return Passage::Open { closes_at: instant(at) },
                    Stand::Open { until: Some(until) } if until <= horizon => at = until,
                    Stand::Open { .. } => break,
                }
            }
            Passage::Open { closes_at: None }
        }
    }
}

/// How it stands at a second, and until when it cannot be otherwise.
enum Stand {
    Open { until: Option<Second> },
    Closed { until: Option<Second> },
}

fn stand(groups: &[&[Window]], at: Second) -> Stand {
    let horizon = at.saturating_add(Second::from(FORESIGHT_DAYS) * 24 * 60 * 60);
    let windows = |rule: Rule| groups.iter().flat_map(|group| group.iter()).filter(move |window| window.rule == rule);
    // A window holds from the second in which it opens to the one before it closes.
    let closes = |window: &Window| {
        let since = at.saturating_sub(window.length()).saturating_add(1);
        window.opened(since, at).map(|opened| opened.saturating_add(window.length()))
    };
    let mut until: Option<Second> = None;
    let mut missing = None;
    for group in groups {
        let allows: Vec<&Window> = group.iter().filter(|window| window.rule == Rule::Allow).collect();
        if allows.is_empty() {
            continue;
        }
        match allows.iter().filter_map(|window| closes(window)).max() {
            Some(closes) => until = Some(until.map_or(closes, |until| until.min(closes))),
            // None will be open before the last of those that are missing opens.
            None => match allows.iter().filter_map(|window| window.opens(at, horizon)).min() {
                Some(opens) => missing = missing.max(Some(opens)),
                None => return Stand::Closed { until: None },
            },
        }
    }
    if missing.is_some() {
        return Stand::Closed { until: missing };
    }
    // What denies is asked only where something allows: of one that denies every hour there are thousands a year.
    if let Some(until) = windows(Rule::Deny).filter_map(closes).max() {
        return Stand::Closed { until: Some(until) };
    }
    let denied = windows(Rule::Deny).filter_map(|window| window.opens(at, until.unwrap_or(horizon))).min();
    until = denied.or(until);
    Stand::Open { until }
}

/// The windows of a cell or of a node. Where a list is empty, it may happen at any time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct Windows {
    /// When files may be fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub download: Vec<Window>,
    /// When what runs may be switched to another version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub activate: Vec<Window>,
}

impl Windows {
    /// The most that a list may have.
    pub const MOST: usize = 32;

    /// Whether both lists have a length that is looked through.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.download.len() <= Self::MOST && self.activate.len() <= Self::MOST
    }
}

/// Windows in what anybody may have written: what cannot be read, or is too much to be looked through, counts as not
/// said.
pub(super) fn readable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<Windows>>, D::Error> {
    let raw = Option::<Box<RawValue>>::deserialize(deserializer)?;
    let read = raw.and_then(|raw| serde_json::from_str::<Windows>(raw.get()).ok());
    Ok(read.filter(Windows::is_bounded).map(Box::new))
}

/// That windows are closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Whose, and until when, for people.
    pub message: String,
    /// Until when; None if they do not open within [`FORESIGHT_DAYS`].
    pub until: Option<DateTime<Utc>>,
}

/// Whether the windows for `what` of a node or of a version are closed at `at`. What a node says while it waits is what
/// a controller says before.
#[must_use]
pub fn closed(what: &str, node: &[Window], version: &[Window], at: DateTime<Utc>) -> Option<Closed> {
    let Passage::Closed { opens_at: until } = passage(&[node, version], at) else { return None };
    let whose = match [node, version].map(|group| !passage(&[group], at).is_open()) {
        [true, false] => "of the node",
        [false, true] => "of the version",
        _ => "of the node and of the version",
    };
    let message = match until {
        Some(until) => {
            format!("the {what} windows {whose} are closed until {}", until.format("%Y-%m-%d %H:%M UTC"))
        }
        None => format!("the {what} windows {whose} do not open within {FORESIGHT_DAYS} days"),
    };
    Some(Closed { message, until })
}

#[cfg(test)]
mod tests;
