//! The steps of something that is followed: done, under way, still to come.

use std::fmt;

/// A step on the way, as `steps.html` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) detail: String,
    /// Where to go on from it: an address of the same bucket, and in words.
    pub(super) link: Option<(String, &'static str)>,
}

/// How far a step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Done,
    UnderWay,
    /// It does not go on by itself, or nobody knows.
    Stands,
    Failed,
    /// It is no longer wanted.
    Off,
    ToCome,
}

impl fmt::Display for Kind {
    /// As `macros.html` names shapes and colours.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "good",
            Self::UnderWay => "busy",
            Self::Stands => "warn",
            Self::Failed => "bad",
            Self::Off => "off",
            Self::ToCome => "unknown",
        })
    }
}

impl Step {
    pub(super) fn new(kind: Kind, text: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, text: text.into(), detail: detail.into(), link: None }
    }

    pub(super) fn with_link(self, path: impl Into<String>, words: &'static str) -> Self {
        Self { link: Some((path.into(), words)), ..self }
    }

    pub(super) fn is_to_come(&self) -> bool {
        self.kind == Kind::ToCome
    }
}
