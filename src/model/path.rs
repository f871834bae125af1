//! Paths of files in a release or a version. One parser, used by upload, editor, publisher and agent.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use super::name::shown;

/// Why a text is not a path, or why paths cannot stand together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The text broke a rule.
    #[error("path {path:?} is not valid: {rule}")]
    Rule {
        /// The text, cut to a printable length.
        path: String,
        /// The rule that it broke.
        rule: &'static str,
    },
    /// Two paths that some file system cannot hold side by side.
    #[error("paths {first:?} and {second:?} cannot be in one release: {rule}")]
    Clash {
        /// The path that came first.
        first: String,
        /// The path that clashes with it.
        second: String,
        /// The rule that they broke together.
        rule: &'static str,
    },
}

/// The longest segment, in bytes: what file systems hold.
const SEGMENT_BYTES: usize = 255;

fn check(text: &str, most_bytes: usize, too_long: &'static str) -> Result<(), PathError> {
    let refuse = |rule| Err(PathError::Rule { path: shown(text), rule });
    if text.is_empty() {
        return refuse("it is empty");
    }
    if text.len() > most_bytes {
        return refuse(too_long);
    }
    if text.starts_with('/') {
        return refuse("it must be relative");
    }
    if text.contains('\\') {
        return refuse("'\\' is not allowed; segments are separated by '/'");
    }
    if text.chars().any(char::is_control) {
        return refuse("control characters are not allowed");
    }
    if !is_nfc(text) {
        return refuse("it must be in Unicode normal form C");
    }
    for segment in text.split('/') {
        match segment {
            "" => return refuse("a segment is empty"),
            "." | ".." => return refuse("'.' and '..' are not allowed as segments"),
            _ if segment.len() > SEGMENT_BYTES => return refuse("a segment is longer than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

macro_rules! path_text {
    ($(#[$doc:meta])* $name:ident, $most:literal, $too_long:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The most bytes that such a path may have.
            pub const MAX_BYTES: usize = $most;

            /// Checks `text` and takes it as a path.
            ///
            /// # Errors
            /// When `text` breaks a rule, naming the rule.
            pub fn new(text: impl Into<String>) -> Result<Self, PathError> {
                let text = text.into();
                check(&text, $most, $too_long)?;
                Ok(Self(text))
            }

            /// The path as text, segments separated by `/`.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The segments, outermost first.
            pub fn segments(&self) -> impl Iterator<Item = &str> {
                self.0.split('/')
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = PathError;

            fn from_str(text: &str) -> Result<Self, PathError> {
                Self::new(text)
            }
        }

        stands_as_text!($name, PathError);
    };
}

path_text!(
    /// Where a file lies in a release or a version: relative, UTF-8 in normal form C, separated by `/`.
    FilePath,
    600,
    "it is longer than 600 bytes"
);
path_text!(
    /// A key relative to a version's own folder: a file's usual place, or a pack that holds many.
    ObjectPath,
    640,
    "it is longer than 640 bytes"
);

impl FilePath {
    /// `text` in Unicode normal form C, as it is written into keys. Some file systems hand out other forms.
    ///
    /// # Errors
    /// When the normalised text breaks a rule.
    pub fn normalised(text: &str) -> Result<Self, PathError> {
        Self::new(text.nfc().collect::<String>())
    }

    /// The same path where upper and lower case do not differ.
    fn folded(&self) -> String {
        self.0.chars().flat_map(char::to_lowercase).nfc().collect()
    }
}

/// Checks that `paths` can lie in one folder on every file system: no duplicate after case folding, and no path
/// that is both a file and a folder.
///
/// # Errors
/// Names the two paths that clash.
pub fn check_together<'a>(paths: impl IntoIterator<Item = &'a FilePath>) -> Result<(), PathError> {
    let clash = |first: &FilePath, second: &FilePath, rule| PathError::Clash {
        first: first.as_str().to_owned(),
        second: second.as_str().to_owned(),
        rule,
    };
    let mut seen = BTreeMap::new();
    for path in paths {
        if let Some(first) = seen.insert(path.folded(), path) {
            let rule = if first == path { "it is there twice" } else { "they differ only in upper and lower case" };
            return Err(clash(first, path, rule));
        }
    }
    for (folded, path) in &seen {
        for (slash, _) in folded.match_indices('/') {
            if let Some(file) = seen.get(&folded[..slash]) {
                return Err(clash(file, path, "one would be both a file and a folder"));
            }
        }
    }
    // Folders that differ only in case would become one folder on some file systems, and two on others.
    let mut folders = BTreeMap::new();
    for (folded, path) in &seen {
        for ((slash, _), (folded_slash, _)) in path.as_str().match_indices('/').zip(folded.match_indices('/')) {
            let folder = &path.as_str()[..slash];
            let (first, first_path) = folders.entry(&folded[..folded_slash]).or_insert((folder, path));
            if *first != folder {
                return Err(clash(first_path, path, "their folders differ only in upper and lower case"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths(texts: &[&str]) -> Vec<FilePath> {
        texts.iter().map(|text| FilePath::new(*text).unwrap()).collect()
    }

    #[test]
    fn hostile_paths_are_refused_with_the_rule_that_they_broke() {
        for (text, rule) in [
            ("", "it is empty"),
            ("/etc/passwd", "it must be relative"),
            ("a//b", "a segment is empty"),
            ("a/", "a segment is empty"),
            ("./a", "'.' and '..' are not allowed as segments"),
            ("a/../b", "'.' and '..' are not allowed as segments"),
            ("..", "'.' and '..' are not allowed as segments"),
            ("a\\b", "'\\' is not allowed; segments are separated by '/'"),
            ("a\0b", "control characters are not allowed"),
            ("a\nb", "control characters are not allowed"),
            ("a\u{9b}b", "control characters are not allowed"),
            ("e\u{301}", "it must be in Unicode normal form C"),
        ] {
            match FilePath::new(text) {
                Err(PathError::Rule { rule: broken, .. }) => assert_eq!(broken, rule, "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
        assert!(FilePath::new("a".repeat(255)).is_ok());
        assert!(FilePath::new("a".repeat(256)).is_err());
        assert!(FilePath::new(format!("{0}/{0}/{1}", "a".repeat(255), "b".repeat(88))).is_ok());
        assert!(FilePath::new(format!("{0}/{0}/{1}", "a".repeat(255), "b".repeat(89))).is_err());
        assert!(FilePath::new("...").is_ok(), "three dots are a name");
    }

    #[test]
    fn paths_that_some_file_system_cannot_hold_together_are_refused() {
        let clashes = |texts: &[&str]| check_together(&paths(texts)).unwrap_err().to_string();
        assert!(clashes(&["a", "a"]).contains("twice"));
        assert!(clashes(&["Readme", "README"]).contains("upper and lower case"));
        assert!(clashes(&["É", "é"]).contains("upper and lower case"));
        assert!(clashes(&["a/b", "a"]).contains("both a file and a folder"));
        assert!(clashes(&["A", "a/b"]).contains("both a file and a folder"));
        assert!(clashes(&["Dir/a", "dir/b"]).contains("folders differ"));
        // Sorted by bytes, "a-b" stands between "a" and "a/b": the clash must be seen all the same.
        assert!(clashes(&["a", "a-b", "a/b"]).contains("both a file and a folder"));
        assert!(check_together(&paths(&["a/b", "a/c", "ab", "a-b/c"])).is_ok());
    }

    #[test]
    fn decomposed_names_are_normalised_where_files_are_read() {
        assert_eq!(FilePath::normalised("e\u{301}").unwrap().as_str(), "é");
    }

    proptest! {
        #[test]
        fn no_accepted_path_leaves_its_folder(text in "([a.é]|\\.\\./|/|\\\\|\u{0}){0,5}") {
            if let Ok(path) = FilePath::new(text) {
                let mut depth = 0_i32;
                for segment in path.segments() {
                    prop_assert!(!segment.is_empty() && segment != "." && segment != "..");
                    depth += 1;
                }
                prop_assert!(depth > 0 && !path.as_str().contains(['\0', '\\']));
            }
        }

        #[test]
        fn the_order_of_paths_does_not_matter(texts in prop::collection::vec("[aAb]{1,2}(/[aAb]{1,2}){0,2}", 1..6)) {
            let forwards: Vec<FilePath> = texts.iter().map(|text| FilePath::new(text.clone()).unwrap()).collect();
            let backwards: Vec<FilePath> = forwards.iter().rev().cloned().collect();
            prop_assert_eq!(check_together(&forwards).is_ok(), check_together(&backwards).is_ok());
        }
    }
}
