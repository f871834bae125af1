//! The words of a message, for people.

use std::fmt::Write as _;

use super::Letter;
use crate::controller::alerts::batch::in_short;
use crate::model::alert::{AlertSubject, NoticePart};
use crate::model::text::line;

/// What a message is about, in one line that holds no words of strangers.
pub(super) fn headline(letter: &Letter<'_>) -> String {
    if letter.is_test {
        return "a test: messages about alerts arrive here".to_owned();
    }
    let notice = letter.notice;
    let parts = [("", &notice.opened), ("resolved: ", &notice.resolved), ("acknowledged: ", &notice.acknowledged)];
    let total = parts.iter().fold(0, |sum: u64, (_, part)| sum.saturating_add(part.total()));
    let one = parts.iter().find_map(|(how, part)| part.first.first().map(|one| (one, how)));
    match one.filter(|_| total == 1) {
        Some((one, how)) => format!("{how}{} {}", subject(&one.subject), one.kind.in_words()),
        None => in_short(notice),
    }
}

/// Everything that a message says below its headline. `quote` makes the words of strangers harmless.
pub(super) fn body(letter: &Letter<'_>, quote: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    part(&mut text, "Since the last message", &letter.notice.opened, &quote);
    part(&mut text, "Resolved", &letter.notice.resolved, &quote);
    part(&mut text, "Acknowledged", &letter.notice.acknowledged, &quote);
    if let Some(portal) = letter.portal {
        let _ = writeln!(text, "{portal}/alerts");
    }
    let _ = writeln!(text, "Fleet {}, message {}", letter.fleet, letter.id);
    text
}

fn part(text: &mut String, title: &str, part: &NoticePart, quote: impl Fn(&str) -> String) {
    if part.total() == 0 {
        return;
    }
    let _ = writeln!(text, "{title}:");
    for alert in &part.first {
        let when = match alert.resolved_at {
            Some(resolved) => format!("{} to {}", minute(alert.since), minute(resolved)),
            None => format!("since {}", minute(alert.since)),
        };
        let (severity, kind) = (alert.severity.as_str(), alert.kind.in_words());
        let _ = write!(text, "- {severity}: {} {kind}, {when}", subject(&alert.subject));
        let message = line(&alert.message);
        let _ = if message.is_empty() { writeln!(text) } else { writeln!(text, ": {}", quote(&message)) };
        if let Some(seen) = &alert.acknowledged {
            let _ = writeln!(text, "  acknowledged by {} {}: {}", seen.by, minute(seen.at), quote(&line(&seen.note)));
        }
    }
    let more = part.total().saturating_sub(part.first.len() as u64);
    if more > 0 {
        let _ = writeln!(text, "- and {more} more");
    }
    text.push('\n');
}

fn minute(at: chrono::DateTime<chrono::Utc>) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// Names hold nothing but letters, digits and hyphens.
fn subject(subject: &AlertSubject) -> String {
    match subject {
        AlertSubject::Bucket => "bucket:".to_owned(),
        AlertSubject::Node(node) => format!("agent {node}:"),
        AlertSubject::Cell(cell) => format!("cell {cell}:"),
    }
}
