//! How long something is to last that ends by itself: what can be chosen, and what was.

use chrono::TimeDelta;

use crate::yaml::HumanDuration;

/// What can be chosen, and in words.
const CHOICES: [(&str, &str); 7] = [
    ("30m", "30 minutes"),
    ("2h", "2 hours"),
    ("8h", "8 hours"),
    ("1d", "a day"),
    ("3d", "3 days"),
    ("7d", "a week"),
    ("30d", "30 days"),
];

/// What a form begins with.
const USUAL: &str = "2h";

/// What a form offers, each with whether it is the one that was `sent`.
pub(super) fn choices(sent: &str) -> [(&'static str, &'static str, bool); 7] {
    let chosen = if sent.is_empty() { USUAL } else { sent };
    CHOICES.map(|(value, words)| (value, words, value == chosen))
}

/// What a form `sent`; None if that is no time.
pub(super) fn read(sent: &str) -> Option<TimeDelta> {
    TimeDelta::from_std(sent.parse::<HumanDuration>().ok()?.0).ok()
}
