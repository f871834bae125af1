//! What differs between two versions, as pages show it.

use crate::controller::{Changes, DefinitionChange, FieldChange, FileChange, FileKind, FileSide, StandIn, TextDiff};

/// How many files are shown.
const MOST_FILES: usize = 500;

/// How many lines of all files together.
const MOST_LINES: usize = 5_000;

/// How many characters of a line.
const MOST_CHARS: usize = 2_000;

/// What differs between two versions.
#[derive(Debug, Clone, Default)]
pub(super) struct ChangesView {
    pub(super) fields: Vec<FieldRow>,
    pub(super) files: Vec<FileRow>,
    /// What stands on the host beside the files.
    pub(super) definitions: Vec<FileRow>,
    /// The words in angle brackets in their lines, and what each is.
    pub(super) stand_ins: Vec<StandIn>,
    /// How many more files differ.
    pub(super) files_left_out: usize,
}

/// A setting that differs.
#[derive(Debug, Clone)]
pub(super) struct FieldRow {
    pub(super) field: String,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    /// It may be a secret, so that only that it differs is shown.
    pub(super) is_secret: bool,
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
    pub(super) blocks: Vec<Block>,
    /// Whether both sides have lines, which can stand beside each other.
    pub(super) is_split: bool,
    /// Whether more lines differ than are shown.
    pub(super) is_cut: bool,
}

/// Lines that belong together: on a narrow page those before stand above those after, on a wide one beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    /// Where it goes on, as unified diffs write it; or what they note about a line.
    Gap(String),
    /// Lines that are the same on both sides.
    Same(Vec<DiffLine>, Vec<DiffLine>),
    /// Lines that went, and those that came for them.
    Change(Vec<DiffLine>, Vec<DiffLine>),
}

/// A line of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DiffLine {
    pub(super) number: usize,
    pub(super) text: String,
}

impl From<&Changes> for ChangesView {
    fn from(changes: &Changes) -> Self {
        let mut lines_left = MOST_LINES;
        // They are few, and what the rest is about.
        let definitions = changes.definitions.iter().map(|change| FileRow::of_definition(change, &mut lines_left));
        let definitions = definitions.collect();
        let files = changes.files.iter().take(MOST_FILES).map(|change| FileRow::new(change, &mut lines_left));
        Self {
            files: files.collect(),
            definitions,
            stand_ins: changes.stand_ins.clone(),
            fields: changes.fields.iter().map(FieldRow::from).collect(),
            files_left_out: changes.files.len().saturating_sub(MOST_FILES),
        }
    }
}

impl ChangesView {
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.files.is_empty() && self.definitions.is_empty()
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
        let (before, after) = (shown(&change.before), shown(&change.after));
        Self { field: change.field.clone(), before, after, is_secret: change.is_secret }
    }
}

impl FileRow {
    /// A file, with no more than `lines_left` lines.
    fn new(change: &FileChange, lines_left: &mut usize) -> Self {
        let side = |side: &FileSide| format!("{}, {}", size(side.size), side.mode);
        let (before, after) = (change.before.as_ref().map(side), change.after.as_ref().map(side));
        Self { before, after, ..Self::of(change.path.to_string(), change.kind, &change.diff, lines_left) }
    }

    fn of_definition(change: &DefinitionChange, lines_left: &mut usize) -> Self {
        Self::of(change.name.clone(), change.kind, &change.diff, lines_left)
    }

    fn of(path: String, kind: FileKind, diff: &TextDiff, lines_left: &mut usize) -> Self {
        let (mark, word) = match kind {
            FileKind::Added => ("+", "added"),
            FileKind::Removed => ("-", "removed"),
            FileKind::Changed => ("~", "changed"),
        };
        let (note, unified) = match diff {
            TextDiff::Text(diff) => ("", diff.as_str()),
            TextDiff::Binary => ("It is no text.", ""),
            TextDiff::TooLarge => ("It is too large to be compared line by line.", ""),
            TextDiff::LeftOut => ("So much differs that it was not compared line by line.", ""),
            TextDiff::Same => ("Its bytes are the same.", ""),
            TextDiff::Unknown => ("", ""),
        };
        let most = *lines_left;
        let is_cut = unified.lines().count() > most;
        let end = match most {
            0 => Some(0),
            most => unified.match_indices('\n').nth(most - 1).map(|(end, _)| end),
        };
        let shown = if is_cut { &unified[..end.unwrap_or(unified.len())] } else { unified };
        *lines_left = most.saturating_sub(shown.lines().count());
        let is_split = kind == FileKind::Changed;
        Self { path, mark, word, before: None, after: None, note, blocks: lines(shown), is_split, is_cut }
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
pub(super) fn lines(unified: &str) -> Vec<Block> {
    let (mut before, mut after) = (0, 0);
    let mut found = Vec::new();
    for line in unified.lines() {
        if let Some((from, to)) = hunk(line) {
            (before, after) = (from, to);
            found.push(Block::Gap(line.to_owned()));
            continue;
        }
        let (mark, text) = line.split_at_checked(1).unwrap_or((" ", ""));
        let numbered = |number: &mut usize| {
            *number += 1;
            DiffLine { number: *number - 1, text: cut(text) }
        };
        match (mark, found.last_mut()) {
            ("\\", _) => found.push(Block::Gap(line.to_owned())),
            ("-", Some(Block::Change(gone, _))) => gone.push(numbered(&mut before)),
            ("-", _) => found.push(Block::Change(vec![numbered(&mut before)], Vec::new())),
            ("+", Some(Block::Change(_, came))) => came.push(numbered(&mut after)),
            ("+", _) => found.push(Block::Change(Vec::new(), vec![numbered(&mut after)])),
            (_, Some(Block::Same(one, other))) => {
                one.push(numbered(&mut before));
                other.push(numbered(&mut after));
            }
            _ => found.push(Block::Same(vec![numbered(&mut before)], vec![numbered(&mut after)])),
        }
    }
    found
}

/// A line, as far as it can be borne.
fn cut(line: &str) -> String {
    match line.char_indices().nth(MOST_CHARS) {
        Some((end, _)) => format!("{}… ({} bytes more)", &line[..end], line.len() - end),
        None => line.to_owned(),
    }
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

    fn shown(lines: &[DiffLine]) -> String {
        lines.iter().map(|line| format!("{}:{} ", line.number, line.text)).collect()
    }

    #[test]
    fn lines_have_their_numbers_on_both_sides() {
        let found =
            lines("@@ -3,3 +3,4 @@\n same\n-old\n-older\n+new\n+--more\n\n last\n+x\n\\ No newline at end of file\n");
        let told: Vec<(char, String, String)> = found
            .into_iter()
            .map(|block| match block {
                Block::Gap(text) => ('@', text, String::new()),
                Block::Same(before, after) => ('=', shown(&before), shown(&after)),
                Block::Change(before, after) => ('~', shown(&before), shown(&after)),
            })
            .collect();
        let of = |kind, before: &str, after: &str| (kind, before.to_owned(), after.to_owned());
        assert_eq!(
            told,
            [
                of('@', "@@ -3,3 +3,4 @@", ""),
                of('=', "3:same ", "3:same "),
                of('~', "4:old 5:older ", "4:new 5:--more "),
                of('=', "6: 7:last ", "6: 7:last "),
                of('~', "", "8:x "),
                of('@', "\\ No newline at end of file", ""),
            ]
        );
    }

    #[test]
    fn no_more_is_shown_than_a_page_can_bear() {
        let lines: String = (0..3_000).map(|line| format!("+{line}\n")).collect();
        let file = |name: usize| FileChange {
            path: crate::model::FilePath::new(format!("f{name}")).unwrap(),
            kind: FileKind::Added,
            before: None,
            after: None,
            diff: TextDiff::Text(format!("@@ -0,0 +1,3000 @@\n{lines}")),
        };
        let changes = Changes { files: (0..600).map(file).collect(), ..Changes::default() };
        let view = ChangesView::from(&changes);
        assert_eq!((view.files.len(), view.files_left_out), (500, 100));
        let cut: Vec<bool> = view.files.iter().take(3).map(|file| file.is_cut).collect();
        assert_eq!(cut, [false, true, true]);
        let lines = |file: &FileRow| match &file.blocks[..] {
            [Block::Gap(_), Block::Change(_, came)] => came.len(),
            _ => 0,
        };
        assert_eq!(view.files.iter().map(lines).sum::<usize>(), 5_000 - 2);
        assert_eq!(cut_of(&"é".repeat(3_000)), "… (2000 bytes more)");
    }

    fn cut_of(line: &str) -> String {
        cut(line).trim_start_matches('é').to_owned()
    }

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
