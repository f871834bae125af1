//! What a detached supervisor logs of itself: a line for each event, on standard error.
//!
//! There is one such process for each service, so this takes no more memory than a line does.

use std::fmt::{Debug, Write as _};
use std::io::{self, Write as _};

use chrono::SecondsFormat;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::clock::SharedClock;

/// Begins to log, from the level `INFO` on. A second call, as a test may make it, changes nothing.
pub(super) fn begin(clock: SharedClock) {
    let _ = tracing::subscriber::set_global_default(Log { clock });
}

/// The longest that last words may be, in characters.
const MOST_WORDS: usize = 300;

/// What the end of the log says last: why the process has ended, if it told anything. Times are left out, so it is the
/// same whenever the same happens, and so is what a terminal would act upon.
#[must_use]
pub fn last_words(log: &str) -> Option<String> {
    // The latter is how a panic ends.
    let line = log.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with("note: "))?;
    let said = line.split_once(' ').and_then(|(_, rest)| rest.split_once(' '));
    let said = said.filter(|(level, _)| ["ERROR", "WARN", "INFO"].contains(level)).map_or(line, |(_, said)| said);
    let mut words: String = said.chars().take(MOST_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if said.chars().nth(MOST_WORDS).is_some() {
        words.push('…');
    }
    Some(words.trim().to_owned())
}

struct Log {
    clock: SharedClock,
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn event(&self, event: &Event<'_>) {
        let time = self.clock.now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let mut line = Line(format!("{time} {}", event.metadata().level()));
        event.record(&mut line);
        line.0.push('\n');
        // Nobody is left to be told that nobody reads.
        let _ = io::stderr().write_all(line.0.as_bytes());
    }

    // Spans are not logged.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let before = self.0.len();
        // Writing into a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        // An event is one line, whatever it quotes.
        if self.0[before..].contains(char::is_control) {
            let said = self.0.split_off(before);
            self.0.extend(said.chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_that_says_anything_is_taken_without_its_time() {
        let log = "2026-01-02T03:04:05.678Z WARN slow\n2026-01-02T03:04:06.000Z ERROR making /srv/a: it is full\n\n";
        assert_eq!(last_words(log).unwrap(), "making /srv/a: it is full");
        let linker = "fleetsupervisor: error while loading shared libraries: libc.so.6";
        assert_eq!(last_words(linker).unwrap(), linker);
        let panic = "thread 'main' panicked at a.rs:1:2:\nno luck\nnote: run with `RUST_BACKTRACE=1`\n";
        assert_eq!(last_words(panic).unwrap(), "no luck");
        for silent in ["", "\n \n"] {
            assert_eq!(last_words(silent), None);
        }
    }

    #[test]
    fn hostile_words_are_cut_and_cannot_steer_a_terminal() {
        let words = last_words(&format!("a\x1b[2J\tb{}", "é".repeat(1000))).unwrap();
        assert!(words.starts_with("a [2J bé"), "{words}");
        assert_eq!(words.chars().count(), MOST_WORDS + 1);
    }
}
