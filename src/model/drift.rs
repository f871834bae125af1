//! Drift: what is on a node is not what was deployed there any more. What is to be done about it, and what was found.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::heartbeat::Fault;
use super::pattern::{PathPattern, PatternError};

/// What a version wants done about drift. What it leaves out is as the node's own config says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftSpec {
    /// What is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<DriftMode>,
    /// What may be otherwise: paths in the release, or absolute ones on the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<DriftPattern>,
    /// How long after one look the next one begins, give or take a fifth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
    /// How often in an hour something is put back at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repairs_per_hour: Option<u32>,
}

/// A pattern of paths: in the release, or of the host if it begins with `/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DriftPattern {
    is_of_host: bool,
    pattern: PathPattern,
}

impl DriftPattern {
    /// Whether `path` matches the whole pattern.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let of_host = path.strip_prefix('/');
        of_host.is_some() == self.is_of_host && self.pattern.matches(of_host.unwrap_or(path))
    }
}

impl FromStr for DriftPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let of_host = text.strip_prefix('/');
        Ok(Self { is_of_host: of_host.is_some(), pattern: of_host.unwrap_or(text).parse()? })
    }
}

impl fmt::Display for DriftPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_of_host { "/" } else { "" }, self.pattern)
    }
}

stands_as_text!(DriftPattern, PatternError);

/// A version asks for looks that are not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DriftError {
    /// Too many patterns.
    #[error("{0} patterns are more than the {most} that drift.ignore may have", most = DriftSpec::MOST_IGNORED)]
    TooManyIgnored(usize),
    /// Looks that come too often or too seldom.
    #[error("a drift.interval of {0} ms is not from {least} to {most}", least = DriftSpec::INTERVALS_MS.0, most = DriftSpec::INTERVALS_MS.1)]
    Interval(u64),
    /// Never, which is `mode: report`, or without an end.
    #[error("drift.repairs_per_hour of {0} is not from 1 to {most}", most = DriftSpec::MOST_REPAIRS_PER_HOUR)]
    Repairs(u32),
}

impl DriftSpec {
    /// The most patterns.
    pub const MOST_IGNORED: usize = 64;
    /// The shortest and the longest interval.
    pub const INTERVALS_MS: (u64, u64) = (10_000, 7 * 24 * 3_600_000);
    /// The most repairs in an hour.
    pub const MOST_REPAIRS_PER_HOUR: u32 = 60;

    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// See [`DriftError`].
    pub fn check(&self) -> Result<(), DriftError> {
        if self.ignore.len() > Self::MOST_IGNORED {
            return Err(DriftError::TooManyIgnored(self.ignore.len()));
        }
        let (least, most) = Self::INTERVALS_MS;
        if let Some(interval) = self.interval_ms.filter(|interval| !(least..=most).contains(interval)) {
            return Err(DriftError::Interval(interval));
        }
        match self.repairs_per_hour.filter(|repairs| !(1..=Self::MOST_REPAIRS_PER_HOUR).contains(repairs)) {
            Some(repairs) => Err(DriftError::Repairs(repairs)),
            None => Ok(()),
        }
    }
}

/// What is done about drift.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DriftMode {
    /// It is reported.
    #[default]
    Report,
    /// It is reported and put back.
    Repair,
    /// Nobody looks.
    Off,
}

/// Whether what is on the host is still what was deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct DriftReport {
    /// What the last look found.
    pub state: DriftState,
    /// When that look ended, by the node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<DateTime<Utc>>,
    /// What is otherwise: the first of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<DriftFinding>,
    /// How much more is.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
    /// Why it could not be looked at, or not be put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Fault>,
    /// What was put back last, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repairs: Vec<DriftRepair>,
}

impl DriftReport {
    /// The most findings that are told one by one.
    pub const MOST_FINDINGS: usize = 16;
    /// The most repairs that are told.
    pub const MOST_REPAIRS: usize = 5;
    /// The longest path that is told whole, in characters.
    pub const MOST_PATH: usize = 200;

    /// Nobody has looked yet.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            state: DriftState::Unknown,
            checked_at: None,
            findings: Vec::new(),
            more: 0,
            problem: None,
            repairs: Vec::new(),
        }
    }

    /// How much is otherwise.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.more.saturating_add(self.findings.len() as u64)
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What a look for drift found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DriftState {
    /// All is as it was deployed.
    InSync,
    /// Something is not.
    Drifted,
    /// Nobody has looked yet, or nobody could.
    #[serde(other)]
    Unknown,
}

impl DriftState {
    /// The state as documents write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::Drifted => "drifted",
            Self::Unknown => "unknown",
        }
    }
}

/// One thing that is not as it was deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct DriftFinding {
    /// In what way.
    pub code: Deviation,
    /// Where: relative to the release, or absolute on the host. What would steer a terminal is replaced.
    pub path: String,
    /// When it was seen first.
    pub since: DateTime<Utc>,
}

/// Something was put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
pub struct DriftRepair {
    /// When.
    pub at: DateTime<Utc>,
    /// The first path of it.
    pub path: String,
    /// How many more there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u64,
}

macro_rules! deviations {
    ($($name:ident = $text:literal, $meaning:literal, $words:literal;)*) => {
        /// In what way something is not as it was deployed. Ways are only ever added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
        pub enum Deviation {
            $(
                #[doc = $meaning]
                #[serde(rename = $text)]
                $name,
            )*
            /// A way of a newer agent.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl Deviation {
            /// Every way of this program, with what it means.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $meaning)),*];

            /// The way as documents write it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown => "unknown",
                }
            }

            /// The way in words, to stand before or after a path.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                    Self::Unknown => "otherwise",
                }
            }
        }
    };
}

deviations! {
    Missing = "missing", "a file of the version is not there", "missing";
    Changed = "changed", "a file has other bytes than the version's", "changed";
    ModeChanged = "mode_changed", "a file has other permissions than the version's", "mode changed";
    OwnerChanged = "owner_changed", "a file does not belong to the agent's user any more", "owner changed";
    NotAFile = "not_a_file", "in the place of a file is a link, a folder, a pipe or a device", "not a file";
    Unreadable = "unreadable", "a file cannot be read", "unreadable";
    ExtraExecutable = "extra_executable", "a file that is not of the version and can be executed", "extra executable";
    UnitMissing = "unit_missing", "a unit or configuration that Fleetman wrote is gone", "unit missing";
    UnitChanged = "unit_changed", "a unit or configuration that Fleetman wrote was edited", "unit changed";
    UnitForeign = "unit_foreign", "in the place of a unit or configuration is one without our marker", "not our unit";
}

impl Deviation {
    /// Whether `repair` puts it back. What is not ours is never touched (I7).
    #[must_use]
    pub fn is_mendable(self) -> bool {
        match self {
            Self::Missing | Self::Changed | Self::ModeChanged | Self::OwnerChanged | Self::NotAFile => true,
            Self::UnitMissing | Self::UnitChanged => true,
            Self::Unreadable | Self::ExtraExecutable | Self::UnitForeign | Self::Unknown => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_that_are_not_made_are_refused() {
        let usual = DriftSpec::default();
        assert_eq!(usual.check(), Ok(()));
        assert_eq!(DriftSpec { interval_ms: Some(9_999), ..usual.clone() }.check(), Err(DriftError::Interval(9_999)));
        assert_eq!(DriftSpec { repairs_per_hour: Some(0), ..usual.clone() }.check(), Err(DriftError::Repairs(0)));
        assert_eq!(DriftSpec { repairs_per_hour: Some(61), ..usual.clone() }.check(), Err(DriftError::Repairs(61)));
        let ignore = vec!["*".parse().unwrap(); 65];
        assert_eq!(DriftSpec { ignore, ..usual }.check(), Err(DriftError::TooManyIgnored(65)));
    }

    #[test]
    fn a_pattern_is_of_the_release_or_of_the_host() {
        for (pattern, path, expected) in [
            ("conf/*.yaml", "conf/a.yaml", true),
            ("conf/*.yaml", "/conf/a.yaml", false),
            ("/etc/systemd/system/*.d/*", "/etc/systemd/system/fleetman-web.service.d/limits.conf", true),
            ("/etc/**", "etc/passwd", false),
        ] {
            let read: DriftPattern = pattern.parse().unwrap();
            assert_eq!((read.matches(path), read.to_string()), (expected, pattern.to_owned()), "{path}");
        }
        for text in ["", "/", "//etc", "a/../b", "[a"] {
            assert!(text.parse::<DriftPattern>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_report_of_a_newer_agent_is_read_with_what_is_known_of_it() {
        let text = r#"{"state":"mended","findings":[{"code":"haunted","path":"a","since":"2026-01-02T03:04:05Z"}]}"#;
        let report: DriftReport = serde_json::from_str(text).unwrap();
        assert_eq!((report.state, report.findings[0].code), (DriftState::Unknown, Deviation::Unknown));
        assert_eq!(report.count(), 1);
        for (code, _) in Deviation::ALL {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{}\"", code.as_str()));
        }
    }
}
