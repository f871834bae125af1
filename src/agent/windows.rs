//! Whether the maintenance windows of the node and of a version are open.
//!
//! They are looked at by the wall clock each time anew, and nothing of it is remembered: a clock that is set counts from
//! the next look on.

use super::context::Context;
use super::trouble::{Cure, Trouble};
use crate::model::Code;
use crate::model::manifest::Manifest;
use crate::model::window::{FORESIGHT_DAYS, Passage, Windows, passage};

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
    let now = context.clock.now();
    let groups = [list(&context.windows), list(&manifest.windows)];
    let Passage::Closed { opens_at: until } = passage(&groups, now) else { return Ok(()) };
    let whose = groups.map(|group| !passage(&[group], now).is_open());
    let whose = match whose {
        [true, false] => "of the node",
        [false, true] => "of the version",
        _ => "of the node and of the version",
    };
    let message = match until {
        Some(until) => {
            format!("the {what} windows {whose} are closed until {}", until.format("%Y-%m-%d %H:%M UTC"))
        }
        None => format!("the {what} windows {whose} do not open within {FORESIGHT_DAYS} days"),
    };
    Err(Trouble::new(Code::Window, message, Cure::Turn { until }))
}
