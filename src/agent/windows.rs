//! Whether the maintenance windows of the node and of a version are open.
//!
//! They are looked at by the wall clock each time anew, and nothing of it is remembered: a clock that is set counts from
//! the next look on.

use super::context::Context;
use super::trouble::{Cure, Trouble};
use crate::model::Code;
use crate::model::manifest::Manifest;
use crate::model::window::{Closed, Windows, closed};

/// What windows are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Download,
    Activate,
}

/// # Errors
/// The windows of the node or of the version are closed.
pub(super) fn check(context: &Context, manifest: &Manifest, kind: Kind) -> Result<(), Trouble> {
    let (what, list): (_, fn(&Windows) -> &[_]) = match kind {
        Kind::Download => ("download", |windows| &windows.download),
        Kind::Activate => ("activation", |windows| &windows.activate),
    };
    match closed(what, list(&context.windows), list(&manifest.windows), context.clock.now()) {
        None => Ok(()),
        Some(Closed { message, until }) => Err(Trouble::new(Code::Window, message, Cure::Turn { until })),
    }
}
