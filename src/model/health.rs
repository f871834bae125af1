//! When a version counts as good, and what is asked of it to find out.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use http::uri::Authority;
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::manifest::is_default;
use super::name::{CheckName, shown};
use super::path::FilePath;
use super::run_spec::Profile;

/// When a version that was brought up counts as good, and how that goes on being looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// So long every service must run, and none may be restarted; and so long every check must pass. Any failure makes
    /// the time begin anew.
    pub min_healthy_ms: u64,
    /// What is not good after so long has failed.
    pub deadline_ms: u64,
    /// What is asked besides, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<CheckName, Check>,
    /// How often each check asks, also once the version is good.
    #[serde(skip_serializing_if = "is_usual_interval")]
    pub interval_ms: u64,
    /// How long a check may take before it has failed.
    #[serde(skip_serializing_if = "is_usual_timeout")]
    pub timeout_ms: u64,
    /// After so many failures in a row of one check a version that is good is restarted; absent = never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_after: Option<NonZeroU32>,
}

fn is_usual_interval(millis: &u64) -> bool {
    *millis == Health::default().interval_ms
}

fn is_usual_timeout(millis: &u64) -> bool {
    *millis == Health::default().timeout_ms
}

impl Default for Health {
    fn default() -> Self {
        Self {
            min_healthy_ms: 10_000,
            deadline_ms: 120_000,
            checks: BTreeMap::new(),
            interval_ms: 5_000,
            timeout_ms: 2_000,
            restart_after: None,
        }
    }
}

/// One thing that is asked, again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Check {
    /// A web server of the node answers a GET.
    Http(HttpCheck),
    /// Something on the node takes connections.
    Tcp(TcpCheck),
    /// A program ends with 0.
    Exec(ExecCheck),
    /// A file is there, and fresh.
    File(FileCheck),
    /// A line stands in the cell's log, written since the version was brought up.
    Log(LogCheck),
}

impl Check {
    /// How manifests call this kind of check.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Tcp(_) => "tcp",
            Self::Exec(_) => "exec",
            Self::File(_) => "file",
            Self::Log(_) => "log",
        }
    }
}

/// What a web server is asked for. Redirects are not followed: they are answers like any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpCheck {
    /// What is asked for.
    pub url: CheckUrl,
    /// The answers that are good.
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: StatusRange,
    /// What must stand in the first part of the body; absent = whatever stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Whether any certificate will do. Otherwise it must be one that the node's own roots vouch for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub insecure: bool,
}

/// What is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpCheck {
    /// Host and port.
    pub address: CheckAddress,
}

/// What is run, as the user that owns the cell's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecCheck {
    /// The program and its arguments. One without a leading `/` is one of the version's files.
    pub command: Vec<String>,
}

/// What file is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCheck {
    /// Absolute, or relative to the cell's data folder.
    pub path: String,
    /// It must have been written no longer ago than this; absent = whenever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer_than_ms: Option<u64>,
}

/// Which line is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCheck {
    /// What the line is.
    pub line: Line,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// This stands in it.
    Contains(String),
    /// This regular expression matches somewhere in it.
    Matches(Pattern),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contains(text) => write!(f, "a line with {text:?} in it"),
            Self::Matches(pattern) => write!(f, "a line that matches {:?}", pattern.as_str()),
        }
    }
}

/// A regular expression that can be used: without look-around and back references, so that it takes linear time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// The expression as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Ready to be matched; `None` for none that [`FromStr`] took.
    #[cfg(feature = "agent")]
    #[must_use]
    pub(crate) fn compiled(&self) -> Option<regex_lite::Regex> {
        regex_lite::Regex::new(&self.0).ok()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pattern {
    type Err = NotCheckable;

    fn from_str(text: &str) -> Result<Self, NotCheckable> {
        match regex_lite::Regex::new(text) {
            _ if text.is_empty() => Err(NotCheckable::new("regular expression", text, "every line would match it")),
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(NotCheckable::new("regular expression", text, error.to_string())),
        }
    }
}

stands_as_text!(Pattern, NotCheckable);

/// A text that nothing can be asked by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} is not valid: {why}")]
pub struct NotCheckable {
    what: &'static str,
    text: String,
    why: String,
}

impl NotCheckable {
    fn new(what: &'static str, text: &str, why: impl Into<String>) -> Self {
        Self { what, text: shown(text), why: why.into() }
    }
}

/// An `http` or `https` URL without a user in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckUrl(Uri);

impl CheckUrl {
    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// The host, without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        unbracketed(self.0.host().unwrap_or_default())
    }

    /// The port, the scheme's own if none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// Host and port as they are written.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.0.authority().map_or("", Authority::as_str)
    }

    /// Path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.path_and_query().map_or("/", |path| path.as_str())
    }
}

impl fmt::Display for CheckUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CheckUrl {
    type Err = NotCheckable;

    fn from_str(text: &str) -> Result<Self, NotCheckable> {
        let refuse = |why: &str| NotCheckable::new("URL", text, why);
        let uri: Uri = text.parse().map_err(|_| refuse("it is not written as a URL is"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(refuse("it begins with neither http:// nor https://"));
        }
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| refuse("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("it holds a user, which everybody who may see the manifest would see"));
        }
        let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
        if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(refuse("its port is none"));
        }
        Ok(Self(uri))
    }
}

stands_as_text!(CheckUrl, NotCheckable);

/// A host and a port, `127.0.0.1:5432`, `[::1]:5432`, `localhost:5432`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckAddress(Authority);

impl CheckAddress {
    /// The host, without the brackets of an IPv6 address.
    #[must_use]
    pub fn host(&self) -> &str {
        unbracketed(self.0.host())
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or_default()
    }
}

impl fmt::Display for CheckAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CheckAddress {
    type Err = NotCheckable;

    fn from_str(text: &str) -> Result<Self, NotCheckable> {
        let parsed = text.parse::<Authority>().ok().filter(|authority| {
            !text.contains('@') && !authority.host().is_empty() && authority.port_u16().is_some_and(|port| port > 0)
        });
        parsed.map(Self).ok_or_else(|| NotCheckable::new("address", text, "expected <host>:<port>"))
    }
}

stands_as_text!(CheckAddress, NotCheckable);

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Statuses of HTTP, from one to another: `200`, `200-299`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatusRange {
    first: u16,
    last: u16,
}

impl StatusRange {
    /// From `first` to `last`, both included.
    ///
    /// # Errors
    /// When there is no such status, or none in between.
    pub fn new(first: u16, last: u16) -> Result<Self, NotCheckable> {
        if (100..=999).contains(&first) && (first..=999).contains(&last) {
            return Ok(Self { first, last });
        }
        Err(NotCheckable::new("status", &format!("{first}-{last}"), "expected one from 100 to 999, or a range"))
    }

    /// Whether `status` is one of them.
    #[must_use]
    pub fn contains(self, status: StatusCode) -> bool {
        (self.first..=self.last).contains(&status.as_u16())
    }
}

impl Default for StatusRange {
    /// Success, by RFC 9110.
    fn default() -> Self {
        Self { first: 200, last: 299 }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl FromStr for StatusRange {
    type Err = NotCheckable;

    fn from_str(text: &str) -> Result<Self, NotCheckable> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| {
            let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let refuse = || NotCheckable::new("status", text, "expected 200 or 200-299");
        Self::new(number(first).ok_or_else(refuse)?, number(last).ok_or_else(refuse)?)
    }
}

stands_as_text!(StatusRange, NotCheckable);

/// Why nothing can be asked as a manifest says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HealthError {
    /// More checks than an agent takes.
    #[error("{count} health checks are more than the {} that a version may have", Health::MOST_CHECKS)]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A time that no agent keeps.
    #[error("health.{field} is {millis} ms, expected {least} to {most}")]
    Time {
        /// Which.
        field: &'static str,
        /// What it is.
        millis: u64,
        /// The least that is taken.
        least: u64,
        /// The most that is taken.
        most: u64,
    },
    /// A check that says nothing.
    #[error("health check {check}: {problem}")]
    Check {
        /// Its name.
        check: CheckName,
        /// What is wrong.
        problem: &'static str,
    },
    /// Nothing runs that could be restarted.
    #[error("health.restart_after: {problem}")]
    Restart {
        /// What is wrong.
        problem: &'static str,
    },
}

impl Health {
    /// The most checks that a version may have: each is in every heartbeat.
    pub const MOST_CHECKS: usize = 16;

    /// How often may be asked, in milliseconds: from and to.
    pub const INTERVALS_MS: (u64, u64) = (100, 86_400_000);

    /// How long a check may take, in milliseconds: from and to.
    pub const TIMEOUTS_MS: (u64, u64) = (10, 60_000);

    /// The longest text that is looked for, in bytes.
    pub const MOST_TEXT: usize = 1_000;

    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// See [`HealthError`].
    pub fn check(&self, profile: &Profile) -> Result<(), HealthError> {
        if self.checks.len() > Self::MOST_CHECKS {
            return Err(HealthError::TooMany { count: self.checks.len() });
        }
        let times =
            [("interval_ms", self.interval_ms, Self::INTERVALS_MS), ("timeout_ms", self.timeout_ms, Self::TIMEOUTS_MS)];
        for (field, millis, (least, most)) in times {
            if !(least..=most).contains(&millis) {
                return Err(HealthError::Time { field, millis, least, most });
            }
        }
        for (name, check) in &self.checks {
            check
                .problem(profile)
                .map_or(Ok(()), |problem| Err(HealthError::Check { check: name.clone(), problem }))?;
        }
        let problem = match (self.restart_after, profile) {
            (Some(_), Profile::Deploy(_)) => "the profile deploy runs nothing that could be restarted",
            (Some(_), _) if self.checks.is_empty() => "there are no checks that could fail",
            _ => return Ok(()),
        };
        Err(HealthError::Restart { problem })
    }
}

impl Check {
    /// What is wrong with it under this profile.
    fn problem(&self, profile: &Profile) -> Option<&'static str> {
        let unfit = |text: &str| text.is_empty() || text.len() > Health::MOST_TEXT || text.contains('\0');
        match self {
            Self::Http(HttpCheck { contains: Some(text), .. }) if unfit(text) => {
                Some("the text that the body must hold is empty, too long or has a NUL in it")
            }
            Self::Http(_) | Self::Tcp(_) => None,
            Self::Exec(ExecCheck { command }) => {
                let is_empty = command.first().is_none_or(|program| program.trim().is_empty());
                is_empty.then_some("its command is empty")
            }
            Self::File(FileCheck { path, .. }) => {
                let relative = path.strip_prefix('/').unwrap_or(path);
                FilePath::new(relative).is_err().then_some("its path can be none of a file")
            }
            Self::Log(_) if matches!(profile, Profile::Deploy(_)) => {
                Some("the profile deploy runs nothing that could write a log")
            }
            Self::Log(LogCheck { line: Line::Contains(text) }) if unfit(text) || text.contains('\n') => {
                Some("the text that a line must hold is empty, too long or no line")
            }
            Self::Log(LogCheck { line: Line::Matches(pattern) }) => {
                unfit(pattern.as_str()).then_some("its regular expression is too long")
            }
            Self::Log(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::process::ProcessSpec;
    use crate::model::run_spec::DeploySpec;

    #[test]
    fn a_url_names_a_scheme_a_host_and_perhaps_a_port_and_no_user() {
        let url = |text: &str| text.parse::<CheckUrl>();
        let asked = url("http://[::1]:8080/health?deep=1").unwrap();
        assert_eq!((asked.host(), asked.port(), asked.path()), ("::1", 8080, "/health?deep=1"));
        let asked = url("https://localhost").unwrap();
        assert_eq!((asked.host(), asked.port(), asked.path(), asked.is_tls()), ("localhost", 443, "/", true));
        for text in
            ["", "/health", "ftp://localhost/", "http://a:b@localhost/", "http://", "localhost:80", "http://h:/"]
        {
            assert!(url(text).is_err(), "{text}");
        }
        for text in ["http://h:0/", "http://h:99999/"] {
            assert!(url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let address = |text: &str| text.parse::<CheckAddress>().map(|it| (it.host().to_owned(), it.port())).ok();
        assert_eq!(address("127.0.0.1:80"), Some(("127.0.0.1".to_owned(), 80)));
        assert_eq!(address("[::1]:5432"), Some(("::1".to_owned(), 5432)));
        for text in ["localhost", ":80", "h:0", "h:65536", "u@h:80", "h:80/x", ""] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn statuses_are_one_or_a_range() {
        let range = |text: &str| text.parse::<StatusRange>();
        assert!(range("200-399").unwrap().contains(StatusCode::FOUND));
        assert!(!range("204").unwrap().contains(StatusCode::OK));
        assert_eq!(
            (range("204").unwrap().to_string(), StatusRange::default().to_string().as_str()),
            ("204".into(), "200-299")
        );
        for text in ["", "20", "2000", "299-200", "099", "200-", "+20", "200 - 299"] {
            assert!(range(text).is_err(), "{text}");
        }
    }

    fn health(check: Check) -> Health {
        Health { checks: BTreeMap::from([(CheckName::new("it").unwrap(), check)]), ..Health::default() }
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let process = Profile::Process(ProcessSpec { user: None, group: None, processes: BTreeMap::new() });
        let deploy = Profile::Deploy(DeploySpec::default());
        let exec =
            |command: &[&str]| Check::Exec(ExecCheck { command: command.iter().map(|it| (*it).into()).collect() });
        let line = |text: &str| Check::Log(LogCheck { line: Line::Contains(text.into()) });
        let file = |path: &str| Check::File(FileCheck { path: path.into(), newer_than_ms: None });
        for check in [exec(&["/bin/true"]), file("/run/x"), file("beat")] {
            assert_eq!(health(check).check(&deploy), Ok(()));
        }
        assert_eq!(health(line("ready")).check(&process), Ok(()));
        for check in
            [exec(&[]), exec(&[" "]), file("/"), file("../x"), line(""), line("a\nb"), line(&"x".repeat(1_001))]
        {
            assert!(health(check.clone()).check(&process).is_err(), "{check:?}");
        }
        assert!(health(line("ready")).check(&deploy).is_err());
        let restart_after = NonZeroU32::new(3);
        assert_eq!(Health { restart_after, ..health(file("x")) }.check(&process), Ok(()));
        assert!(Health { restart_after, ..health(file("x")) }.check(&deploy).is_err());
        assert!(Health { restart_after, ..Health::default() }.check(&process).is_err());
        assert!(Health { interval_ms: 99, ..Health::default() }.check(&process).is_err());
        assert!(Health { timeout_ms: 60_001, ..Health::default() }.check(&process).is_err());
        let many = (0..17).map(|at| (CheckName::new(format!("c{at}")).unwrap(), file("x")));
        assert!(Health { checks: many.collect(), ..Health::default() }.check(&process).is_err());
    }

    #[test]
    fn what_asks_nothing_besides_is_written_as_ever() {
        let text = serde_json::to_string(&Health::default()).unwrap();
        assert_eq!(text, r#"{"min_healthy_ms":10000,"deadline_ms":120000}"#);
        let health = health(Check::Http(HttpCheck {
            url: "http://127.0.0.1:80/".parse().unwrap(),
            status: StatusRange::default(),
            contains: None,
            insecure: false,
        }));
        let text = serde_json::to_string(&health).unwrap();
        assert!(text.ends_with(r#""checks":{"it":{"kind":"http","url":"http://127.0.0.1:80/"}}}"#), "{text}");
        assert_eq!(serde_json::from_str::<Health>(&text).unwrap(), health);
    }
}
