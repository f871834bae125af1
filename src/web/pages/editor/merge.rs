//! Two edits of one text that began with the same base, line by line.

use std::ops::Range;
use std::time::Duration;

use similar::{DiffOp, TextDiff};

/// How long texts are compared before the answer is a rough one, which may find two edits in each other's way that are
/// not.
const PATIENCE: Duration = Duration::from_millis(250);

/// Lines of the base, and what an edit puts in their place.
#[derive(Debug, PartialEq, Eq)]
struct Hunk<'t> {
    base: Range<usize>,
    lines: Vec<&'t str>,
}

/// Both edits in one text; None where they change the same lines, or lines beside each other: those a person has to put
/// together.
pub(super) fn merged(base: &str, mine: &str, theirs: &str) -> Option<String> {
    let lines: Vec<&str> = base.split_inclusive('\n').collect();
    let (mine, theirs) = (hunks(base, mine), hunks(base, theirs));
    let mut hunks: Vec<&Hunk<'_>> = mine.iter().chain(theirs.iter().filter(|hunk| !mine.contains(hunk))).collect();
    hunks.sort_by_key(|hunk| (hunk.base.start, hunk.base.end));
    if hunks.windows(2).any(|pair| matches!(pair, [first, second] if second.base.start <= first.base.end)) {
        return None;
    }
    let (mut text, mut at) = (String::new(), 0);
    for hunk in hunks {
        text.extend(lines.get(at..hunk.base.start)?.iter().copied());
        text.extend(hunk.lines.iter().copied());
        at = hunk.base.end;
    }
    text.extend(lines.get(at..)?.iter().copied());
    Some(text)
}

fn hunks<'t>(base: &str, edited: &'t str) -> Vec<Hunk<'t>> {
    let lines: Vec<&str> = edited.split_inclusive('\n').collect();
    let differ = TextDiff::configure().timeout(PATIENCE).diff_lines(base, edited);
    let changes = differ.ops().iter().filter(|op| !matches!(op, DiffOp::Equal { .. }));
    let hunk =
        |op: &DiffOp| Hunk { base: op.old_range(), lines: lines.get(op.new_range()).unwrap_or_default().to_vec() };
    changes.map(hunk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "a\nb\nc\nd\ne\n";

    #[test]
    fn edits_of_different_lines_come_together() {
        assert_eq!(merged(BASE, "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\nf\n").as_deref(), Some("A\nb\nc\nd\nE\nf\n"));
        assert_eq!(merged(BASE, "a\nc\nd\ne\n", "a\nb\nc\nd\nx\ne\n").as_deref(), Some("a\nc\nd\nx\ne\n"));
        assert_eq!(
            merged(BASE, "a\nB\nc\nd\ne\n", "a\nB\nc\nd\nE\n").as_deref(),
            Some("a\nB\nc\nd\nE\n"),
            "twice the same"
        );
        assert_eq!(merged(BASE, BASE, "x\n").as_deref(), Some("x\n"));
        assert_eq!(merged("a\nb", "a\nb\n", "a\nb").as_deref(), Some("a\nb\n"));
    }

    #[test]
    fn edits_of_the_same_lines_are_left_to_people() {
        assert_eq!(merged(BASE, "a\nM\nc\nd\ne\n", "a\nT\nc\nd\ne\n"), None);
        assert_eq!(merged(BASE, "a\nM\nc\nd\ne\n", "a\nb\nT\nd\ne\n"), None, "side by side");
        assert_eq!(merged(BASE, "a\nb\nc\nd\ne\nM\n", "a\nb\nc\nd\ne\nT\n"), None);
        assert_eq!(merged("", "M\n", "T\n"), None);
    }
}
