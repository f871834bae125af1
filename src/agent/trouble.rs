//! What goes wrong with a cell: a code for programs, words for people, and what it takes to go on.

use std::error::Error;

use chrono::{DateTime, Utc};

use super::disk::DiskError;
use super::profile::ProfileError;
use crate::model::Code;
use crate::model::heartbeat::Fault;
use crate::store::{StoreError, in_full};

/// Longer texts are cut: they travel in every heartbeat.
const MOST_CHARS: usize = 400;

/// What goes wrong with a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) cure: Cure,
}

/// What it takes to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    /// Trying again later may do.
    Time,
    /// Nothing is wrong: it is not its turn yet. It is looked again whether it is, at the latest then.
    Turn { until: Option<DateTime<Utc>> },
    /// This content will never do.
    OtherContent,
    /// An agent that knows more.
    NewerAgent,
    /// Nothing: a test stopped the agent.
    Killed,
}

impl Trouble {
    pub(super) fn new(code: Code, message: impl Into<String>, cure: Cure) -> Self {
        Self { code, message: plain(&message.into()), cure }
    }

    /// Trouble that time may cure.
    pub(super) fn passing(code: Code, error: &dyn Error) -> Self {
        Self::new(code, in_full(error), Cure::Time)
    }

    pub(super) fn fault(&self, at: DateTime<Utc>) -> Fault {
        Fault { code: self.code, message: self.message.clone(), at }
    }
}

impl From<DiskError> for Trouble {
    fn from(error: DiskError) -> Self {
        let (code, cure) = match () {
            () if error.is_killed() => (Code::Interrupted, Cure::Killed),
            () if error.is_full() => (Code::DiskFull, Cure::Time),
            () => (Code::Io, Cure::Time),
        };
        Self::new(code, in_full(&error), cure)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::passing(store_code(&error), &error)
    }
}

impl From<ProfileError> for Trouble {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::Version(message) => Self::new(Code::ActivationFailed, message, Cure::OtherContent),
            ProfileError::Waiting { code, message } => Self::new(code, message, Cure::Time),
            ProfileError::StopsFirst(_) => Self::new(Code::Io, error.to_string(), Cure::Time),
        }
    }
}

/// The protocol's code for what a store answered.
pub(super) fn store_code(error: &StoreError) -> Code {
    match error {
        StoreError::Denied { .. } | StoreError::NoCredentials { .. } | StoreError::BadCredentials { .. } => {
            Code::Denied
        }
        StoreError::Throttled { .. } => Code::Throttled,
        StoreError::Unreachable { .. } => Code::Unreachable,
        StoreError::ClockSkew { .. } => Code::ClockSkew,
        StoreError::Local { .. } => Code::Io,
        _ => Code::StoreError,
    }
}

/// `text` without anything that a terminal would act upon, and not too long: it may be somebody else's.
pub(super) fn plain(text: &str) -> String {
    let mut plain: String =
        text.chars().take(MOST_CHARS).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.chars().nth(MOST_CHARS).is_some() {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_cut_and_cannot_steer_a_terminal() {
        let text = plain(&format!("a\x1b[2J\nb{}", "é".repeat(1000)));
        assert!(text.starts_with("a\u{fffd}[2J\u{fffd}bé"), "{text}");
        assert_eq!(text.chars().count(), MOST_CHARS + 1);
    }
}
