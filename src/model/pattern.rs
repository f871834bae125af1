//! Patterns of paths, and what changed between two versions.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use super::name::shown;
use super::path::FilePath;

/// A pattern of paths in a release: `*` and `?` stay within a folder, `**` does not.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPattern(GlobMatcher);

/// A text that is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is nothing in it.
    #[error("the pattern is empty")]
    Empty,
    /// Longer than any path.
    #[error("the pattern is longer than {} bytes", FilePath::MAX_BYTES)]
    TooLong,
    /// No path could match it.
    #[error("`{}` matches nothing: paths are relative to the release, without `.` and `..`", shown(.0))]
    Nothing(String),
    /// What is written in it makes no sense.
    #[error("`{}` is not a pattern: {why}", shown(text))]
    Invalid {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: String,
    },
}

impl PathPattern {
    /// Whether `path` matches the whole pattern.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        self.0.is_match(path)
    }

    /// The pattern as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.glob().glob()
    }
}

impl FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > FilePath::MAX_BYTES {
            return Err(PatternError::TooLong);
        }
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.starts_with('/') || text.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(PatternError::Nothing(text.to_owned()));
        }
        let glob = GlobBuilder::new(text).literal_separator(true).backslash_escape(false).build();
        let invalid =
            |error: globset::Error| PatternError::Invalid { text: text.to_owned(), why: error.kind().to_string() };
        Ok(Self(glob.map_err(invalid)?.compile_matcher()))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl PartialEq for PathPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for PathPattern {}

stands_as_text!(PathPattern, PatternError);

/// The files in which `new` differs from `old`, sorted by path: those that were added, taken away, or have other bytes
/// or another mode. Without an `old` version every file is new.
#[must_use]
pub fn changed_files<'a>(old: Option<&'a Manifest>, new: &'a Manifest) -> Vec<&'a FilePath> {
    let old = old.iter().flat_map(|old| &old.files);
    let mut before: BTreeMap<&FilePath, _> = old.map(|file| (&file.path, (file.sha256, file.mode))).collect();
    let mut changed: Vec<&FilePath> = new
        .files
        .iter()
        .filter(|file| before.remove(&file.path) != Some((file.sha256, file.mode)))
        .map(|file| &file.path)
        .collect();
    changed.extend(before.into_keys());
    changed.sort_unstable();
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_star_stays_within_a_folder_and_two_do_not() {
        assert!(pattern("conf/*.toml").matches("conf/a.toml"));
        assert!(!pattern("conf/*.toml").matches("conf/deep/a.toml"));
        assert!(!pattern("*.toml").matches("conf/a.toml"));
        assert!(pattern("conf/**").matches("conf/deep/a.toml"));
        assert!(pattern("**/a.toml").matches("a.toml"));
        assert!(pattern("{a,b}.[ch]").matches("b.c"));
    }

    #[test]
    fn a_pattern_is_read_as_it_is_written_and_what_is_none_says_why() {
        let text = "\"conf/{a,b}/**\"";
        let read: PathPattern = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        for (text, why) in [
            ("", "the pattern is empty"),
            ("/etc/*", "`/etc/*` matches nothing: paths are relative to the release, without `.` and `..`"),
            ("a/../b", "`a/../b` matches nothing: paths are relative to the release, without `.` and `..`"),
            ("[a", "`[a` is not a pattern: unclosed character class; missing ']'"),
        ] {
            assert_eq!(text.parse::<PathPattern>().unwrap_err().to_string(), why);
        }
        assert_eq!("x".repeat(FilePath::MAX_BYTES + 1).parse::<PathPattern>(), Err(PatternError::TooLong));
    }
}
