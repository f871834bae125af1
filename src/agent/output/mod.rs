//! What the programs of a cell write: read where its [profile](crate::agent::profile::Log) keeps it, line by line,
//! from the last few on, and as it comes.
//!
//! Both sources are read alike: first it is found where the wanted lines begin, without keeping any in memory, and
//! from there on everything is read once. All of it is hostile text, of any length.

pub(in crate::agent) mod files;
pub(in crate::agent) mod journal;

use chrono::{DateTime, Utc};
use regex_lite::Regex;

use crate::model::answer::LogLine;
use crate::model::order::LogQuery;

/// The most bytes of a time that a program writes before a line.
const MOST_TIME: usize = 40;

/// Which lines are wanted.
#[derive(Debug, Clone)]
pub(in crate::agent) struct Sieve {
    process: Option<String>,
    since: Option<DateTime<Utc>>,
    text: Wanted,
}

#[derive(Debug, Clone)]
enum Wanted {
    All,
    With(String),
    Matching(Regex),
}

impl Sieve {
    /// # Errors
    /// Why the expression cannot be used.
    pub(in crate::agent) fn new(query: &LogQuery) -> Result<Self, String> {
        let text = match &query.grep {
            None => Wanted::All,
            Some(text) if query.regex => {
                Wanted::Matching(Regex::new(text).map_err(|error| format!("{text:?} is no expression: {error}"))?)
            }
            Some(text) => Wanted::With(text.clone()),
        };
        let process = query.process.as_ref().map(ToString::to_string);
        Ok(Self { process, since: query.since, text })
    }

    fn takes_process(&self, process: &str) -> bool {
        self.process.as_ref().is_none_or(|wanted| wanted == process)
    }

    /// Whether something of that time is too old.
    fn is_too_old(&self, at: DateTime<Utc>) -> bool {
        self.since.is_some_and(|since| at < since)
    }

    fn takes_text(&self, text: &str) -> bool {
        match &self.text {
            Wanted::All => true,
            Wanted::With(wanted) => text.contains(wanted.as_str()),
            Wanted::Matching(pattern) => pattern.is_match(text),
        }
    }
}

/// What a reader says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) enum Said {
    Line(LogLine),
    /// What should be known of the lines.
    Note(String),
}

/// How much of what was to be read is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::agent) struct Missing {
    /// Bytes that were gone before they could be read.
    pub(in crate::agent) lost_bytes: u64,
    /// Lines that were cut.
    pub(in crate::agent) cut_lines: u64,
}

/// A line's text as it is passed on, and whether it was cut.
fn text(line: &[u8]) -> (String, bool) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut text = String::from_utf8_lossy(line).into_owned();
    let is_cut = text.len() > LogLine::MOST_BYTES;
    text.truncate(text.floor_char_boundary(LogLine::MOST_BYTES));
    (text, is_cut)
}

/// The time that a program wrote before a line, if it is one that cannot be taken for another: with its offset.
fn told_time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim_start_matches(['[', '(', '"']);
    let most = &text[..text.floor_char_boundary(MOST_TIME)];
    let end = most.find(|c: char| c.is_whitespace() || matches!(c, ']' | ')' | '"' | ',' | '|')).unwrap_or(most.len());
    DateTime::parse_from_rfc3339(&most[..end]).ok().map(|time| time.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_a_line_is_read_if_it_says_its_offset() {
        let told = |text| told_time(text).map(|time| time.to_rfc3339());
        let expected = Some("2026-01-02T03:04:05+00:00".to_owned());
        for text in [
            "2026-01-02T03:04:05Z",
            "2026-01-02T05:04:05+02:00 ready",
            "[2026-01-02T03:04:05Z] ready",
            "2026-01-02T03:04:05Z\tINFO",
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
        for text in ["", "2026-01-02 03:04:05 ready", "2026-01-02T03:04:05 ready", "ü2026-01-02T03:04:05Z", "ready"] {
            assert_eq!(told(text), None, "{text}");
        }
        assert_eq!(told(&"ü".repeat(100)), None);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let (text, is_cut) = text(&[b'x'; 3].into_iter().chain(vec![0xff; LogLine::MOST_BYTES]).collect::<Vec<_>>());
        assert!(is_cut && text.len() <= LogLine::MOST_BYTES && text.ends_with('\u{fffd}'));
        assert_eq!(super::text(b"a\r"), ("a".to_owned(), false));
    }
}
