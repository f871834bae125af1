//! What was changed last: the newest triggers, each verified, and how far each has come.

use chrono::{DateTime, Utc};

use crate::controller::{CellView, Desired, FleetView};
use crate::web::shell::Shell;
use crate::web::words::State;

/// A change of what a cell is to be.
pub(super) struct Change {
    pub(super) at: DateTime<Utc>,
    pub(super) by: String,
    /// What was asked for.
    pub(super) what: String,
    pub(super) cell: String,
    pub(super) href: String,
    pub(super) reason: Option<String>,
    pub(super) sync: State,
    pub(super) health: State,
}

/// The `most` newest changes, the newest first.
pub(super) fn changes(view: &FleetView, shell: &Shell, most: usize) -> Vec<Change> {
    newest(view, most).into_iter().map(|(cell, desired)| change(cell, desired, shell)).collect()
}

fn newest(view: &FleetView, most: usize) -> Vec<(&CellView, &Desired)> {
    let mut all: Vec<_> = view.cells().filter_map(|cell| Some((cell, cell.desired()?))).collect();
    let newest_first = |a: &(&CellView, &Desired), b: &(&CellView, &Desired)| {
        b.1.claim.issued_at.cmp(&a.1.claim.issued_at).then_with(|| a.0.cell.cmp(&b.0.cell))
    };
    if all.len() > most {
        all.select_nth_unstable_by(most, newest_first);
        all.truncate(most);
    }
    all.sort_unstable_by(newest_first);
    all
}

fn change(cell: &CellView, desired: &Desired, shell: &Shell) -> Change {
    let claim = &desired.claim;
    Change {
        at: claim.issued_at,
        by: claim.by.to_string(),
        what: match &claim.version {
            Some(version) => format!("{} {version}", claim.action),
            None => claim.action.clone(),
        },
        cell: cell.cell.to_string(),
        href: shell.link(&format!("/cells/{}", cell.cell)),
        reason: desired.reason.clone(),
        sync: cell.sync.into(),
        health: cell.health.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::fleet_sample::{Wish, desired, fleet, node};

    #[test]
    fn the_newest_changes_come_first() {
        let wish = |secs_ago| Wish { desired: Some(desired("deploy", Some("v1"), secs_ago)), ..Wish::default() };
        let cells = [("a", wish(30)), ("b", wish(10)), ("c", wish(20)), ("d", Wish::default()), ("e", wish(10))];
        let view = fleet(vec![node("n1", None, cells)]);
        let names = |most| {
            let names = newest(&view, most).into_iter().map(|(cell, _)| cell.cell.cell.to_string());
            names.collect::<Vec<_>>().join("")
        };
        assert_eq!([names(0), names(1), names(3), names(9)], ["", "b", "bec", "beca"]);
    }
}
