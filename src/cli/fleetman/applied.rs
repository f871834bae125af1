//! What came of writing an object, as it is shown.

use std::fmt;

use serde::Serialize;

use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::controller::Applied;

/// An object that was written, or was there already.
#[derive(Debug, Serialize)]
pub(super) struct Written {
    object: String,
    /// `created`, `changed` or `unchanged`.
    how: &'static str,
}

impl From<Applied> for Written {
    fn from(applied: Applied) -> Self {
        Self { object: applied.what, how: applied.how.as_str() }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.object, self.how)
    }
}

/// Shows what came of several.
pub(super) fn show(written: &[Written], output: Output) -> Result<(), Failure> {
    output.show(&written, |output| {
        let mut rows = Rows::new(output, &["object", ""]);
        for Written { object, how } in written {
            let tone = if *how == "unchanged" { Tone::Faint } else { Tone::Good };
            rows.row([object.into(), Shown::from(how).toned(tone)]);
        }
        rows.render()
    })
}
