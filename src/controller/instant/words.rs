//! What is said of an instant, in the same words wherever it is said.

use super::{Answer, Ran, Revert, Wished};

impl Wished {
    /// What was wished.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Nothing => "nothing yet".to_owned(),
            Self::Unknown => "not known any more".to_owned(),
            Self::Wish(wish) => match &wish.version {
                Some(version) => format!("{} (generation {})", version.version, wish.at),
                None => format!("{} (generation {})", wish.action, wish.at),
            },
        }
    }
}

impl Ran {
    /// What ran.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Unknown => "not known".to_owned(),
            Self::Running(told) => told.version.version.to_string(),
            Self::Stopped(told) => format!("{}, stopped", told.version.version),
            Self::Failed(told) => format!("{}, which failed", told.version.version),
            Self::Absent { .. } => "nothing".to_owned(),
        }
    }
}

impl Answer {
    /// What came of the wish, and why it failed; empty where nothing was wished.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::None => String::new(),
            Self::NotConfirmed => "not confirmed".to_owned(),
            Self::Confirmed { .. } => "confirmed".to_owned(),
            Self::Failed { rolled_back, code, message, .. } => {
                let word = if *rolled_back { "rolled back" } else { "failed" };
                let why = [Some(word.to_owned()), code.map(|code| code.to_string()), message.clone()];
                why.into_iter().flatten().collect::<Vec<_>>().join(": ")
            }
        }
    }
}

impl Revert {
    /// What is done, and to what or why not.
    #[must_use]
    pub fn in_words(&self) -> (&'static str, String) {
        match self {
            Self::Unchanged => ("unchanged", String::new()),
            Self::Newer => ("stays", "nothing had been published yet".to_owned()),
            Self::Deploy { version, .. } => ("deploy", version.version.to_string()),
            Self::Stop => ("stop", String::new()),
            Self::Remove => ("remove", "its data stays".to_owned()),
            Self::Refused { code, why } => ("refused", format!("{code}: {why}")),
        }
    }
}
