//! What differs between two versions, as lines for people.

use crate::cli::output::{Output, Tone};
use crate::controller::{Changes, FileKind, FileSide, TextDiff};
use crate::model::text;

/// A line for each setting and file that differs, and under a text file the lines that do.
pub(super) fn lines(changes: &Changes, output: Output) -> Vec<String> {
    let mut lines = Vec::new();
    for change in &changes.fields {
        let value =
            |value: &Option<serde_json::Value>| value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        lines.push(text::line(&format!("  ~ {}: {} → {}", change.field, value(&change.before), value(&change.after))));
    }
    for change in &changes.files {
        let (mark, tone) = match change.kind {
            FileKind::Added => ("+", Tone::Good),
            FileKind::Removed => ("-", Tone::Bad),
            FileKind::Changed => ("~", Tone::Warn),
        };
        let side = |side: &Option<FileSide>| side.as_ref().map(|side| format!("{} bytes {}", side.size, side.mode));
        let sides: Vec<String> = [side(&change.before), side(&change.after)].into_iter().flatten().collect();
        lines.push(format!("  {}  {}", output.paint(tone, &format!("{mark} {}", change.path)), sides.join(" → ")));
        match &change.diff {
            TextDiff::Text(diff) => lines.extend(diff.lines().map(|text| diff_line(text, output))),
            TextDiff::Binary => lines.push("      (no text)".to_owned()),
            TextDiff::TooLarge => lines.push("      (too large to compare)".to_owned()),
            TextDiff::LeftOut => lines.push("      (not compared: too much differs)".to_owned()),
            TextDiff::Same | TextDiff::Unknown => {}
        }
    }
    lines
}

fn diff_line(text: &str, output: Output) -> String {
    let tone = match text.chars().next() {
        Some('+') => Tone::Good,
        Some('-') => Tone::Bad,
        _ => Tone::Faint,
    };
    format!("      {}", output.paint(tone, text))
}
