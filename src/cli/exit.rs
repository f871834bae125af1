//! How a command ends, as scripts see it.

use std::process::ExitCode;

/// The exit codes. They are documented and never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing differs.
    Ok = 0,
    /// The answer is no: something differs, or a check found a failure.
    Negative = 1,
    /// The command, the config or a manifest makes no sense as it stands.
    Usage = 2,
    /// Somebody or something else was there first.
    Conflict = 3,
    /// There is no such thing.
    NotFound = 4,
    /// Rights are missing, or what lies in the bucket is not to be trusted.
    Denied = 5,
    /// The bucket cannot be reached.
    Unreachable = 6,
    /// It took longer than was allowed.
    TimedOut = 7,
    /// Some of what was asked for was not done.
    Failed = 8,
    /// A fault of this program or this machine.
    Internal = 10,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// Every code with its meaning, for `--help`.
    pub(super) const ALL: [(Self, &'static str); 11] = [
        (Self::Ok, "done, or nothing differs"),
        (Self::Negative, "the answer is no: something differs, a check failed"),
        (Self::Usage, "the command, the config or a manifest makes no sense"),
        (Self::Conflict, "somebody else was there first"),
        (Self::NotFound, "there is no such thing"),
        (Self::Denied, "rights are missing, or the bucket's content is not trusted"),
        (Self::Unreachable, "the bucket cannot be reached"),
        (Self::TimedOut, "it took longer than was allowed"),
        (Self::Failed, "some of what was asked for was not done"),
        (Self::Internal, "a fault of this program or this machine"),
        (Self::Interrupted, "interrupted"),
    ];

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl From<crate::store::ErrorKind> for Exit {
    fn from(kind: crate::store::ErrorKind) -> Self {
        let code = kind.exit_code();
        Self::ALL.iter().map(|(exit, _)| *exit).find(|exit| exit.code() == code).unwrap_or(Self::Internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_that_scripts_rely_on() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 130]);
    }
}
