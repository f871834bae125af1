//! What differs between two versions, as pages show it.

use crate::controller::{Changes, FieldChange, FileChange, FileKind, FileSide, TextDiff};

/// What differs between two versions.
#[derive(Debug, Clone, Default)]
pub(super) struct ChangesView {
    pub(super) fields: Vec<FieldRow>,
    pub(super) files: Vec<FileRow>,
}

/// A setting that differs.
#[derive(Debug, Clone)]
pub(super) struct FieldRow {
    pub(super) field: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

/// A file that differs.
#[derive(Debug, Clone)]
pub(super) struct FileRow {
    pub(super) path: String,
    /// `+`, `-` or `~`.
    pub(super) mark: &'static str,
    pub(super) word: &'static str,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    /// Why there are no lines, if that needs saying.
    pub(super) note: &'static str,
    pub(super) lines: Vec<DiffLine>,
}

/// A line of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DiffLine {
    /// `ins`, `del`, `same` or `gap`.
    pub(super) kind: &'static str,
    pub(super) before: Option<usize>,
    pub(super) after: Option<usize>,
    pub(super) text: String,
}

impl From<&Changes> for ChangesView {
    fn from(changes: &Changes) -> Self {
        Self {
            fields: changes.fields.iter().map(FieldRow::from).collect(),
            files: changes.files.iter().map(FileRow::from).collect(),
        }
    }
}

impl ChangesView {
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.files.is_empty()
    }
}

impl From<&FieldChange> for FieldRow {
    fn from(change: &FieldChange) -> Self {
        let shown = |value: &Option<serde_json::Value>| {
            value.as_ref().map(|value| match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            })
        };
        Self { field: change.field.clone(), before: shown(&change.before), after: shown(&change.after) }
    }
}

impl From<&FileChange> for FileRow {
    fn from(change: &FileChange) -> Self {
        let (mark, word) = match change.kind {
            FileKind::Added => ("+", "added"),
            FileKind::Removed => ("-", "removed"),
            FileKind::Changed => ("~", "changed"),
        };
        let (note, lines) = match &change.diff {
            TextDiff::Text(diff) => ("", lines(diff)),
            TextDiff::Binary => ("It is no text.", Vec::new()),
            TextDiff::TooLarge => ("It is too large to be compared line by line.", Vec::new()),
            TextDiff::LeftOut => ("So much differs that it was not compared line by line.", Vec::new()),
            TextDiff::Same => ("Its bytes are the same.", Vec::new()),
            TextDiff::Unknown => ("", Vec::new()),
        };
        let side = |side: &FileSide| format!("{}, {}", size(side.size), side.mode);
        let (before, after) = (change.before.as_ref().map(side), change.after.as_ref().map(side));
        Self { path: change.path.to_string(), mark, word, before, after, note, lines }
    }
}

/// Bytes as people read them.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut rest = bytes;
    let mut unit = 0;
    while rest >= 1024 * 1024 && unit + 1 < UNITS.len() {
        rest /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", rest / 1024, rest % 1024 * 10 / 1024, UNITS[unit])
}

/// The lines of a unified diff, numbered.
pub(super) fn lines(unified: &str) -> Vec<DiffLine> {
    let (mut before, mut after) = (0, 0);
    let mut found = Vec::new();
    for line in unified.lines() {
        if let Some((from, to)) = hunk(line) {
            (before, after) = (from, to);
            found.push(DiffLine { kind: "gap", before: None, after: None, text: line.to_owned() });
            continue;
        }
        let mut chars = line.chars();
        let (kind, counts_before, counts_after) = match chars.next() {
            Some('+') => ("ins", false, true),
            Some('-') => ("del", true, false),
            Some('\\') => ("gap", false, false),
            _ => ("same", true, true),
        };
        found.push(DiffLine {
            kind,
            before: counts_before.then_some(before),
            after: counts_after.then_some(after),
            text: if kind == "gap" { line.to_owned() } else { chars.as_str().to_owned() },
        });
        before += usize::from(counts_before);
        after += usize::from(counts_after);
    }
    found
}

/// Where a hunk begins on both sides: `@@ -1,4 +1,5 @@`.
fn hunk(line: &str) -> Option<(usize, usize)> {
    let (sides, _) = line.strip_prefix("@@ -")?.split_once(" @@")?;
    let (before, after) = sides.split_once(" +")?;
    let first = |side: &str| side.split(',').next().and_then(|first| first.parse().ok());
    Some((first(before)?, first(after)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_numbers_on_both_sides() {
        let found = lines("@@ -3,3 +3,4 @@\n same\n-old\n+new\n+--more\n");
        let shown: Vec<_> = found.iter().map(|line| (line.kind, line.before, line.after, line.text.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("gap", None, None, "@@ -3,3 +3,4 @@"),
                ("same", Some(3), Some(3), "same"),
                ("del", Some(4), None, "old"),
                ("ins", None, Some(4), "new"),
                ("ins", None, Some(5), "--more"),
            ]
        );
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
