//! What a check found, as pages show it.

use crate::model::fleet::{Finding, Verdict};

/// A finding, dressed.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// What the state macro draws.
    pub(super) kind: &'static str,
    pub(super) word: &'static str,
    pub(super) finding: Finding,
}

impl From<Finding> for Found {
    fn from(finding: Finding) -> Self {
        let (kind, word) = dressed(finding.verdict);
        Self { kind, word, finding }
    }
}

/// A verdict's shape and word.
pub(super) fn dressed(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Ok => ("good", "Good"),
        Verdict::Warning => ("warn", "Warning"),
        Verdict::Failed => ("bad", "Failed"),
    }
}
