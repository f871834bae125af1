//! Which cells a list shows, and in which order.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};

use crate::controller::{CellView, FleetView, Health, Sync};
use crate::model::drift::DriftState;
use crate::model::heartbeat::Phase;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Label, Order};

/// What can be asked for, and the names that it has in an address.
pub(super) const FILTERS: [&str; 11] =
    ["q", "sync", "health", "drift", "phase", "manifest", "version", "label", "paused", "overrides", "node"];

/// The words of `sync=`.
pub(super) const SYNCS: [(&str, Sync); 3] =
    [("synced", Sync::Synced), ("out-of-sync", Sync::OutOfSync), ("unknown", Sync::Unknown)];

/// The words of `health=`.
pub(super) const HEALTHS: [(&str, Health); 7] = [
    ("healthy", Health::Healthy),
    ("starting", Health::Starting),
    ("degraded", Health::Degraded),
    ("failed", Health::Failed),
    ("stopped", Health::Stopped),
    ("n-a", Health::NotApplicable),
    ("unknown", Health::Unknown),
];

/// The words of `drift=`.
pub(super) const DRIFTS: [(&str, DriftState); 3] =
    [("in-sync", DriftState::InSync), ("drifted", DriftState::Drifted), ("unknown", DriftState::Unknown)];

/// The words of `phase=`.
pub(super) const PHASES: [(&str, Phase); 12] = [
    ("up_to_date", Phase::UpToDate),
    ("waiting", Phase::Waiting),
    ("fetching", Phase::Fetching),
    ("verifying", Phase::Verifying),
    ("activating", Phase::Activating),
    ("checking", Phase::Checking),
    ("rolled_back", Phase::RolledBack),
    ("failed", Phase::Failed),
    ("held", Phase::Held),
    ("stopped", Phase::Stopped),
    ("removed", Phase::Removed),
    ("inconsistent", Phase::Inconsistent),
];

const YES_OR_NO: [(&str, bool); 2] = [("yes", true), ("no", false)];

/// What cells are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Name,
    /// What is not as it is to be first.
    Sync,
    /// The worst first.
    Health,
    Desired,
    Running,
    Manifest,
    /// What was changed last first.
    Changed,
}

/// The words of `sort=`.
pub(super) const KEYS: [(&str, Key); 7] = [
    ("name", Key::Name),
    ("sync", Key::Sync),
    ("health", Key::Health),
    ("desired", Key::Desired),
    ("running", Key::Running),
    ("manifest", Key::Manifest),
    ("changed", Key::Changed),
];

/// Which cells are asked for.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// In lower case.
    text: String,
    sync: Option<Sync>,
    health: Option<Health>,
    drift: Option<DriftState>,
    phase: Option<Phase>,
    manifest: Option<String>,
    version: Option<String>,
    labels: Vec<Label>,
    paused: Option<bool>,
    overrides: Option<bool>,
    node: Option<String>,
}

impl Filter {
    pub(super) fn of(asked: &Asked) -> Result<Self, Failure> {
        let owned = |name| asked.one(name).map(ToOwned::to_owned);
        Ok(Self {
            text: asked.text("q").to_lowercase(),
            sync: asked.word("sync", &SYNCS)?,
            health: asked.word("health", &HEALTHS)?,
            drift: asked.word("drift", &DRIFTS)?,
            phase: asked.word("phase", &PHASES)?,
            manifest: owned("manifest"),
            version: owned("version"),
            labels: asked.all("label").map(Label::from).collect(),
            paused: asked.word("paused", &YES_OR_NO)?,
            overrides: asked.word("overrides", &YES_OR_NO)?,
            node: owned("node"),
        })
    }

    fn fits(&self, cell: &CellView) -> bool {
        let about = cell.about();
        self.sync.is_none_or(|sync| sync == cell.sync)
            && self.health.is_none_or(|health| health == cell.health)
            && self.drift.is_none_or(|drift| cell.drift() == Some(drift))
            && self.phase.is_none_or(|phase| cell.report().is_some_and(|report| report.phase == phase))
            && self.manifest.as_ref().is_none_or(|name| about.is_some_and(|about| about.manifest.as_str() == name))
            && self.version.as_ref().is_none_or(|name| [desired(cell), running(cell)].contains(&Some(name)))
            && (self.labels.is_empty()
                || about.is_some_and(|about| self.labels.iter().all(|label| label.fits(&about.labels))))
            && self.paused.is_none_or(|paused| about.is_some_and(|about| about.paused.is_some()) == paused)
            && self.overrides.is_none_or(|has| about.is_some_and(|about| about.has_overrides) == has)
            && self.finds(cell)
    }

    /// Whether the text stands in a name of the cell. Names are in lower case.
    fn finds(&self, cell: &CellView) -> bool {
        let (node, name) = (cell.cell.node.as_str(), cell.cell.cell.as_str());
        match self.text.split_once('/') {
            Some((of_node, of_cell)) => node.ends_with(of_node) && name.starts_with(of_cell),
            None => {
                node.contains(&self.text)
                    || name.contains(&self.text)
                    || cell.about().is_some_and(|about| about.manifest.as_str().contains(&self.text))
            }
        }
    }

    /// The places of those that fit in `view`, of their node and on it, by name.
    pub(super) fn select(&self, view: &FleetView) -> Vec<Place> {
        let nodes = view.nodes.iter().enumerate();
        let nodes = nodes.filter(|(_, node)| self.node.as_ref().is_none_or(|name| node.node.as_str() == name));
        let cells = nodes.flat_map(|(of_node, node)| {
            node.cells.iter().enumerate().map(move |(cell, view)| (Place { node: of_node, cell }, view))
        });
        cells.filter(|(_, cell)| self.fits(cell)).map(|(place, _)| place).collect()
    }
}

/// Where a cell stands in a view. Places are in the order of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) node: usize,
    pub(super) cell: usize,
}

/// Puts what a page shows of the selected cells in its order.
pub(super) fn sort(view: &FleetView, rows: &mut [Place], order: Order<Key>, from: usize, to: usize) {
    if order == (Order { key: Key::Name, is_descending: false }) {
        return;
    }
    order.sort_part_by_value(rows, from, to, |key, place| value(key, &view.nodes[place.node].cells[place.cell]));
}

/// What a cell is sorted by; the smallest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Value<'a> {
    Same,
    Rank(u8),
    Text(Option<&'a str>),
    Changed(Reverse<Option<DateTime<Utc>>>),
}

fn value(key: Key, cell: &CellView) -> Value<'_> {
    match key {
        Key::Name => Value::Same,
        Key::Sync => Value::Rank(sync_urgency(cell.sync)),
        Key::Health => Value::Rank(health_urgency(cell.health)),
        Key::Desired => Value::Text(desired(cell)),
        Key::Running => Value::Text(running(cell)),
        Key::Manifest => Value::Text(cell.about().map(|about| about.manifest.as_str())),
        Key::Changed => Value::Changed(Reverse(cell.desired().map(|desired| desired.claim.issued_at))),
    }
}

fn sync_urgency(sync: Sync) -> u8 {
    match sync {
        Sync::OutOfSync => 0,
        Sync::Unknown => 1,
        Sync::Synced => 2,
    }
}

fn health_urgency(health: Health) -> u8 {
    match health {
        Health::Failed => 0,
        Health::Degraded => 1,
        Health::Unknown => 2,
        Health::Starting => 3,
        Health::Stopped => 4,
        Health::Healthy => 5,
        Health::NotApplicable => 6,
    }
}

/// The version that a cell is to run.
pub(super) fn desired(cell: &CellView) -> Option<&str> {
    cell.desired()?.claim.version.as_ref().map(|version| version.as_str())
}

/// The version that is in place.
pub(super) fn running(cell: &CellView) -> Option<&str> {
    cell.report()?.running.as_ref().map(|running| running.version.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::controller::fleet_sample::{Wish, desired, fleet, node, up_to_date};
    use crate::model::index::About;

    fn sample() -> FleetView {
        let wish = |manifest: &str, version: Option<&str>, secs_ago, paused: Option<&str>| {
            let about = json!({"manifest": manifest, "labels": {"tier": manifest}, "paused": paused, "has_overrides": paused.is_some()});
            let about: About = serde_json::from_value(about).unwrap();
            let action = if version.is_some() { "deploy" } else { "stop" };
            Wish { about: Some(about.into()), desired: Some(desired(action, version, secs_ago)), problem: None }
        };
        let with = |said: Value| {
            let mut report = up_to_date("v1");
            report.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
            report
        };
        let failed = json!({"phase": "failed", "state": {"state": "failed", "reason": "x"}});
        let drift = json!({"drift": {"state": "drifted"}});
        let cells = json!({"api": with(drift), "web": with(failed)});
        fleet(vec![
            node(
                "n1",
                Some((1, json!({"cells": cells}))),
                [
                    ("api", wish("service", Some("v1"), 500, None)),
                    ("web", wish("site", Some("v2"), 10, Some("holidays"))),
                ],
            ),
            node("n2", None, [("db", wish("service", None, 90, None))]),
        ])
    }

    /// The names of what is listed for a query.
    fn listed(pairs: &[(&str, &str)]) -> String {
        let (view, asked) = (sample(), Asked::of(pairs));
        let mut rows = Filter::of(&asked).unwrap().select(&view);
        let all = rows.len();
        sort(&view, &mut rows, Order::of(&asked, &KEYS), 0, all);
        let names = rows.iter().map(|place| view.nodes[place.node].cells[place.cell].cell.to_string());
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn cells_are_found_by_what_they_are_and_how_they_stand() {
        assert_eq!(listed(&[]), "n1/api n1/web n2/db");
        assert_eq!(listed(&[("q", "WEB")]), "n1/web");
        assert_eq!(listed(&[("q", "service")]), "n1/api n2/db");
        assert_eq!(listed(&[("q", "1/w")]), "n1/web");
        assert_eq!(listed(&[("q", "n1/")]), "n1/api n1/web");
        assert_eq!(listed(&[("sync", "synced")]), "n1/api");
        assert_eq!(listed(&[("sync", "out-of-sync")]), "n1/web");
        assert_eq!(listed(&[("sync", "unknown"), ("health", "unknown")]), "n2/db");
        assert_eq!(listed(&[("health", "healthy")]), "n1/api");
        assert_eq!(listed(&[("drift", "drifted")]), "n1/api");
        assert_eq!(listed(&[("drift", "in-sync")]), "");
        assert_eq!(listed(&[("phase", "failed")]), "n1/web");
        assert_eq!(listed(&[("manifest", "service")]), "n1/api n2/db");
        assert_eq!(listed(&[("version", "v1")]), "n1/api n1/web", "desired or running");
        assert_eq!(listed(&[("version", "v2")]), "n1/web");
        assert_eq!(listed(&[("label", "tier=site")]), "n1/web");
        assert_eq!(listed(&[("paused", "yes")]), "n1/web");
        assert_eq!(listed(&[("paused", "no"), ("node", "n1")]), "n1/api");
        assert_eq!(listed(&[("overrides", "yes")]), "n1/web");
        assert_eq!(listed(&[("overrides", "no")]), "n1/api n2/db");
        assert_eq!(listed(&[("node", "n")]), "");
        assert!(Filter::of(&Asked::of(&[("health", "fine")])).is_err());
    }

    #[test]
    fn cells_are_sorted_with_what_wants_a_look_first() {
        let sorted = |by: &str| listed(&[("sort", by)]);
        assert_eq!(sorted("-name"), "n2/db n1/web n1/api");
        assert_eq!(sorted("sync"), "n1/web n2/db n1/api");
        assert_eq!(sorted("health"), "n1/web n2/db n1/api");
        assert_eq!(sorted("desired"), "n2/db n1/api n1/web");
        assert_eq!(sorted("running"), "n2/db n1/api n1/web");
        assert_eq!(sorted("manifest"), "n1/api n2/db n1/web");
        assert_eq!(sorted("changed"), "n1/web n2/db n1/api");
        assert_eq!(sorted("-changed"), "n1/api n2/db n1/web");
    }
}
