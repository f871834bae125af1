//! The maintenance windows of a version, as pages show them.

use chrono::{DateTime, Utc};

use crate::model::manifest::Manifest;
use crate::model::window::{Passage, Window, passage};

/// Windows of one kind; what a node adds to them only the node knows.
pub(super) struct WindowsRow {
    pub(super) what: &'static str,
    pub(super) list: Vec<Window>,
    pub(super) passage: Passage,
}

/// The windows of a version, where it has some, and whether they are open.
pub(super) fn rows(manifest: &Manifest, now: DateTime<Utc>) -> Vec<WindowsRow> {
    let windows = [("Fetched", &manifest.windows.download), ("Switched to", &manifest.windows.activate)];
    let row = |(what, list): (_, &Vec<Window>)| WindowsRow { what, list: list.clone(), passage: passage(&[list], now) };
    windows.into_iter().filter(|(_, list)| !list.is_empty()).map(row).collect()
}
