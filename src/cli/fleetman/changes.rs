//! What differs between two versions, as lines for people.

use crate::cli::output::{Output, Tone};
use crate::controller::{Changes, FileKind, FileSide, StandIn, TextDiff};
use crate::model::text;

/// A line for each setting, file and definition that differs, and under a text the lines that do.
pub(super) fn lines(changes: &Changes, output: Output) -> Vec<String> {
    let mut lines = Vec::new();
    for change in &changes.fields {
        let value =
            |value: &Option<serde_json::Value>| value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        lines.push(text::line(&format!("  ~ {}: {} → {}", change.field, value(&change.before), value(&change.after))));
    }
    for change in &changes.files {
        let (mark, tone) = marked(change.kind);
        let side = |side: &Option<FileSide>| side.as_ref().map(|side| format!("{} bytes {}", side.size, side.mode));
        let sides: Vec<String> = [side(&change.before), side(&change.after)].into_iter().flatten().collect();
        lines.push(format!("  {}  {}", output.paint(tone, &format!("{mark} {}", change.path)), sides.join(" → ")));
        differing(&change.diff, output, &mut lines);
    }
    for change in &changes.definitions {
        let (mark, tone) = marked(change.kind);
        lines.push(format!("  {}", output.paint(tone, &format!("{mark} {}", change.name))));
        differing(&change.diff, output, &mut lines);
    }
    for StandIn { word, means } in &changes.stand_ins {
        lines.push(output.paint(Tone::Faint, &format!("  {word} is {means}")));
    }
    lines
}

fn marked(kind: FileKind) -> (&'static str, Tone) {
    match kind {
        FileKind::Added => ("+", Tone::Good),
        FileKind::Removed => ("-", Tone::Bad),
        FileKind::Changed => ("~", Tone::Warn),
    }
}

fn differing(diff: &TextDiff, output: Output, lines: &mut Vec<String>) {
    match diff {
        TextDiff::Text(diff) => lines.extend(diff.lines().map(|text| diff_line(text, output))),
        TextDiff::Binary => lines.push("      (no text)".to_owned()),
        TextDiff::TooLarge => lines.push("      (too large to compare)".to_owned()),
        TextDiff::LeftOut => lines.push("      (not compared: too much differs)".to_owned()),
        TextDiff::Same | TextDiff::Unknown => {}
    }
}

fn diff_line(text: &str, output: Output) -> String {
    let tone = match text.chars().next() {
        Some('+') => Tone::Good,
        Some('-') => Tone::Bad,
        _ => Tone::Faint,
    };
    format!("      {}", output.paint(tone, text))
}
