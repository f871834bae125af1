//! What was wrong, where, and how to mend it.

use std::fmt::{self, Write as _};
use std::ops::Deref;

use serde::Serialize;

use super::Source;
use super::tree::Place;

/// How much of a long line a snippet shows before and after the place, in characters.
const SHOWN_AROUND: usize = 60;

/// One thing that is wrong with a text, and its place.
///
/// Displayed as one line; [`snippet`](Self::snippet) shows the line of the file too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct YamlError(Box<Diagnostic>);

/// What a [`YamlError`] tells, also as JSON for editors and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The name of the text, as the caller gave it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The first column behind the place, where it ends on the same line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_column: Option<usize>,
    /// The way to the value, as in `files[2].mode`. Empty for the document itself.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    #[serde(skip)]
    source_line: Option<SourceLine>,
}

/// The part of a line that a snippet shows, and how many characters were cut off before it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SourceLine {
    text: String,
    cut: usize,
}

impl YamlError {
    pub(super) fn new(source: Source<'_>, place: Place, field: &str, message: &str, help: Option<String>) -> Self {
        let line = source.text.split('\n').nth(place.line.saturating_sub(1)).unwrap_or_default().trim_end_matches('\r');
        let cut = place.column.saturating_sub(1 + SHOWN_AROUND);
        let text = line.chars().skip(cut).take(2 * SHOWN_AROUND).collect::<String>();
        Self(Box::new(Diagnostic {
            file: source.origin.to_owned(),
            line: place.line,
            column: place.column,
            end_column: place.end_column,
            field: printable(field),
            message: printable(message),
            help: help.map(|help| printable(&help)),
            source_line: Some(SourceLine { text: printable(&text), cut }),
        }))
    }

    /// The same without the line that it is about, which may hold a secret.
    #[must_use]
    pub fn without_source(mut self) -> Self {
        self.0.source_line = None;
        self
    }

    /// The error with the line that it is about, as a compiler would show it. Ends without a newline.
    #[must_use]
    pub fn snippet(&self) -> String {
        let mut out = format!("error: {}", self.message);
        let gutter = " ".repeat(self.line.to_string().len());
        let Diagnostic { file, line, column, .. } = &*self.0;
        // Writing into a String cannot fail.
        let _ = write!(out, "\n{gutter}--> {file}:{line}:{column}");
        if !self.field.is_empty() {
            let _ = write!(out, " ({})", self.field);
        }
        if let Some(SourceLine { text, cut }) = &self.source_line {
            let before = column.saturating_sub(cut + 1);
            // A tab is as wide above as below only if it stays a tab.
            let indent: String = text.chars().take(before).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let room = text.chars().count().saturating_sub(before);
            let width = self.end_column.map_or(1, |end| end.saturating_sub(*column)).clamp(1, room.max(1));
            let _ = write!(out, "\n{gutter} |\n{line} | {text}\n{gutter} | {indent}{}", "^".repeat(width));
        }
        if let Some(help) = &self.help {
            let _ = write!(out, "\n{gutter} = help: {help}");
        }
        out
    }
}

impl Deref for YamlError {
    type Target = Diagnostic;

    fn deref(&self) -> &Diagnostic {
        &self.0
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

impl std::error::Error for YamlError {}

/// Errors reach terminals and logs: what a file says must not steer either.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// See [`super::nearest`].
pub(super) fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let folded = |word: &str| word.to_lowercase().replace('-', "_");
    let given = folded(given);
    let near = |known: &str| {
        let longest = known.len().max(given.len());
        let most = (longest / 3).clamp(usize::from(longest > 1), 3);
        Some(distance(&given, &folded(known))).filter(|distance| *distance <= most)
    };
    let found = known.into_iter().filter_map(|known| Some((near(known)?, known)));
    found.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// Insertions, deletions, substitutions and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Words of very different length are never suggested, and a key may be as long as its file.
    if a.len().abs_diff(b.len()) > 3 {
        return usize::MAX;
    }
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substituted = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substituted.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
