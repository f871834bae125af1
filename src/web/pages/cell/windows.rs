//! The maintenance windows of a version and of a node, as pages show them.

use chrono::{DateTime, Utc};

use crate::model::window::{Passage, Window, Windows, passage};

/// Windows of one kind.
pub(super) struct WindowsRow {
    pub(super) what: &'static str,
    pub(super) list: Vec<Window>,
    pub(super) passage: Passage,
}

/// The windows of a version, where it has some, and whether they are open.
pub(super) fn rows(windows: &Windows, now: DateTime<Utc>) -> Vec<WindowsRow> {
    of(windows, ["Fetched", "Switched to"], now)
}

/// Those of a node's own config, which hold besides.
pub(super) fn of_node(windows: &Windows, now: DateTime<Utc>) -> Vec<WindowsRow> {
    of(windows, ["The node fetches", "The node switches"], now)
}

fn of(windows: &Windows, [download, activate]: [&'static str; 2], now: DateTime<Utc>) -> Vec<WindowsRow> {
    let windows = [(download, &windows.download), (activate, &windows.activate)];
    let row = |(what, list): (_, &Vec<Window>)| WindowsRow { what, list: list.clone(), passage: passage(&[list], now) };
    windows.into_iter().filter(|(_, list)| !list.is_empty()).map(row).collect()
}
