//! Failures by what the caller must do, whatever they are about.

use std::error::Error;

/// What kind of failure something is: the one table that exit codes and HTTP statuses are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// What was asked for makes no sense as it stands: mend it.
    Invalid,
    /// Somebody or something else was there first: look, then decide anew.
    Conflict,
    /// There is no such thing.
    NotFound,
    /// The store refuses these credentials, or this controller's key.
    Denied,
    /// Bytes in the bucket are not what was verified before: do not try again, find out who wrote them.
    Tampered,
    /// The store cannot be reached: come back later.
    Unreachable,
    /// It took longer than was allowed.
    TimedOut,
    /// The node could not do what was asked.
    DeployFailed,
    /// A fault of this program or this machine.
    Internal,
}

impl ErrorKind {
    /// The exit code of a command that fails so.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Invalid => 2,
            Self::Conflict => 3,
            Self::NotFound => 4,
            Self::Denied | Self::Tampered => 5,
            Self::Unreachable => 6,
            Self::TimedOut => 7,
            Self::DeployFailed => 8,
            Self::Internal => 10,
        }
    }

    /// The HTTP status of an answer that says so.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 422,
            Self::Conflict => 409,
            Self::NotFound => 404,
            Self::Denied | Self::Tampered => 403,
            Self::Unreachable => 503,
            Self::TimedOut => 504,
            Self::DeployFailed | Self::Internal => 500,
        }
    }
}

/// How many causes of an error are told: foreign libraries build these chains.
const MOST_CAUSES: usize = 8;

/// An error and what caused it, on one line. A cause that its effect tells already is told once.
#[must_use]
pub fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    for _ in 0..MOST_CAUSES {
        let Some(below) = cause else { break };
        let below_text = below.to_string();
        if !text.contains(&below_text) {
            text.push_str(": ");
            text.push_str(&below_text);
        }
        cause = below.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        assert_eq!(in_full(&Outer(io::Error::other("inner"))), "outer: inner");
        assert_eq!(in_full(&Outer(io::Error::other("outer"))), "outer");
    }
}
