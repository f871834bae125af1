//! Which agents a list shows, and in which order.

use std::cmp::Reverse;

use chrono::{DateTime, Utc};

use crate::controller::{FleetView, Liveness, NodeView};
use crate::model::heartbeat::{HostFacts, SigningMode};
use crate::web::failure::Failure;
use crate::web::list::{Asked, Label, Order, has};

/// What can be asked for, and the names that it has in an address.
pub(super) const FILTERS: [&str; 5] = ["q", "status", "label", "version", "signing"];

/// The words of `status=`.
pub(super) const STATUSES: [(&str, Liveness); 4] = [
    ("active", Liveness::Active),
    ("warning", Liveness::Warning),
    ("dead", Liveness::Dead),
    ("unknown", Liveness::Unknown),
];

const SIGNINGS: [(&str, SigningMode); 2] = [("signed", SigningMode::Signed), ("unsigned", SigningMode::Unsigned)];

/// What agents are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Name,
    /// The worst first.
    Status,
    /// Who was heard of last first.
    Seen,
    /// Who has most cells that are not as they are to be first.
    Cells,
    Version,
    /// The busiest first.
    Load,
    /// The fullest first.
    Memory,
    /// The fullest first.
    Disk,
}

/// The words of `sort=`.
pub(super) const KEYS: [(&str, Key); 8] = [
    ("name", Key::Name),
    ("status", Key::Status),
    ("seen", Key::Seen),
    ("cells", Key::Cells),
    ("version", Key::Version),
    ("load", Key::Load),
    ("memory", Key::Memory),
    ("disk", Key::Disk),
];

/// Which agents are asked for.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// In lower case.
    text: String,
    status: Option<Liveness>,
    labels: Vec<Label>,
    version: Option<String>,
    signing: Option<SigningMode>,
}

impl Filter {
    pub(super) fn of(asked: &Asked) -> Result<Self, Failure> {
        Ok(Self {
            text: asked.one("q").unwrap_or_default().to_lowercase(),
            status: asked.word("status", &STATUSES)?,
            labels: asked.all("label").map(Label::from).collect(),
            version: asked.one("version").map(ToOwned::to_owned),
            signing: asked.word("signing", &SIGNINGS)?,
        })
    }

    fn fits(&self, node: &NodeView) -> bool {
        let beat = node.heartbeat.as_deref();
        self.status.is_none_or(|status| status == node.liveness)
            && self.version.as_ref().is_none_or(|version| beat.is_some_and(|beat| beat.agent_version == *version))
            && self.signing.is_none_or(|signing| beat.is_some_and(|beat| beat.signing == signing))
            && (self.labels.is_empty()
                || beat.is_some_and(|beat| self.labels.iter().all(|label| label.fits(&beat.labels))))
            && self.finds(node)
    }

    /// Whether the text stands in something that people know a machine by.
    fn finds(&self, node: &NodeView) -> bool {
        if self.text.is_empty() || node.node.as_str().contains(&self.text) {
            return true;
        }
        let Some(beat) = &node.heartbeat else { return false };
        let HostFacts { hostname, os, addresses, .. } = &beat.host;
        [hostname, os].into_iter().chain(addresses).any(|text| has(text, &self.text))
            || beat.labels.iter().any(|(key, value)| has(key, &self.text) || has(value, &self.text))
    }

    /// The places in `view.nodes` of those that fit, by name.
    pub(super) fn select(&self, view: &FleetView) -> Vec<usize> {
        let fitting = view.nodes.iter().enumerate().filter(|(_, node)| self.fits(node));
        fitting.map(|(place, _)| place).collect()
    }
}

/// Puts what a page shows of the selected agents in its order.
pub(super) fn sort(view: &FleetView, rows: &mut [usize], order: Order<Key>, from: usize, to: usize) {
    if order == (Order { key: Key::Name, is_descending: false }) {
        return;
    }
    order.sort_part_by_value(rows, from, to, |key, place| value(key, &view.nodes[place]));
}

/// What an agent is sorted by; the smallest comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Value<'a> {
    Same,
    Count(Reverse<usize>),
    Rank(u8),
    Share(Reverse<i64>),
    Seen(Reverse<Option<DateTime<Utc>>>),
    Text(Option<&'a str>),
}

fn value(key: Key, node: &NodeView) -> Value<'_> {
    let beat = node.heartbeat.as_deref();
    let used =
        |part: fn(&HostFacts) -> f64| Value::Share(Reverse(beat.map_or(-1, |beat| thousandths(part(&beat.host)))));
    match key {
        Key::Name => Value::Same,
        Key::Status => Value::Rank(urgency(node.liveness)),
        Key::Seen => Value::Seen(Reverse(node.last_seen)),
        Key::Cells => Value::Count(Reverse(node.cells.len() - node.synced())),
        Key::Version => Value::Text(beat.map(|beat| beat.agent_version.as_str())),
        Key::Load => used(load),
        Key::Memory => used(memory_used),
        Key::Disk => used(disk_used),
    }
}

/// A share as a number that has an order. A node may say any number; one that is none is zero.
#[expect(clippy::cast_possible_truncation, reason = "a cast of a float stays within the integer's bounds")]
fn thousandths(share: f64) -> i64 {
    (share * 1_000.0) as i64
}

fn urgency(liveness: Liveness) -> u8 {
    match liveness {
        Liveness::Dead => 0,
        Liveness::Warning => 1,
        Liveness::Unknown => 2,
        Liveness::Active => 3,
    }
}

/// The load for each processor; one is as much as there is.
pub(super) fn load(host: &HostFacts) -> f64 {
    host.load_1m / f64::from(host.cpus.max(1))
}

/// How much of the memory is taken, of one.
pub(super) fn memory_used(host: &HostFacts) -> f64 {
    taken(host.memory_available_bytes, host.memory_bytes)
}

/// How much of the disk is taken, of one.
pub(super) fn disk_used(host: &HostFacts) -> f64 {
    taken(host.disk_free_bytes, host.disk_bytes)
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no more digits than a double has")]
fn taken(free: u64, all: u64) -> f64 {
    // What a node says may be any numbers.
    if all == 0 { 0.0 } else { all.saturating_sub(free) as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::fleet_sample::{Wish, fleet, node, up_to_date};

    fn sample() -> FleetView {
        let host = |memory: u64, free: u64, load: f64| {
            json!({"hostname": "Box", "os": "Debian 12", "cpus": 2, "memory_bytes": memory,
                "memory_available_bytes": free, "disk_bytes": 10, "disk_free_bytes": 5, "load_1m": load,
                "addresses": ["10.0.0.7"]})
        };
        let cells = json!({"web": up_to_date("v2")});
        fleet(vec![
            node("a1", Some((1, json!({"host": host(100, 90, 0.5), "labels": {"tier": "front"}}))), []),
            node("a2", Some((200, json!({"host": host(100, 10, 4.0), "agent_version": "0.9.0"}))), []),
            node("b1", Some((9_999, json!({"signing": "unsigned", "cells": cells}))), [("web", Wish::default())]),
            node("b2", None, []),
        ])
    }

    /// The names of what is listed for a query.
    fn listed(pairs: &[(&str, &str)]) -> Vec<String> {
        let (view, asked) = (sample(), Asked::of(pairs));
        let mut rows = Filter::of(&asked).unwrap().select(&view);
        let pager = asked.pager(rows.len(), view.nodes.len());
        sort(&view, &mut rows, Order::of(&asked, &KEYS), pager.from, pager.to);
        rows[pager.from..pager.to].iter().map(|place| view.nodes[*place].node.to_string()).collect()
    }

    #[test]
    fn agents_are_found_by_what_people_know_of_them() {
        assert_eq!(listed(&[]), ["a1", "a2", "b1", "b2"]);
        assert_eq!(listed(&[("q", "A")]), ["a1", "a2"]);
        assert_eq!(listed(&[("q", "FRONT")]), ["a1"]);
        assert_eq!(listed(&[("q", "debian")]), ["a1", "a2"]);
        assert_eq!(listed(&[("q", "10.0.0.7"), ("version", "0.9.0")]), ["a2"]);
        assert_eq!(listed(&[("status", "dead")]), ["b1"]);
        assert_eq!(listed(&[("status", "unknown")]), ["b2"]);
        assert_eq!(listed(&[("label", "tier=front")]), ["a1"]);
        assert_eq!(listed(&[("label", "tier"), ("label", "zone")]), Vec::<String>::new());
        assert_eq!(listed(&[("signing", "unsigned")]), ["b1"]);
        assert!(Filter::of(&Asked::of(&[("status", "zombie")])).is_err());
    }

    #[test]
    fn agents_are_sorted_with_what_wants_a_look_first() {
        let sorted = |by: &str| listed(&[("sort", by)]).join(" ");
        assert_eq!(sorted("-name"), "b2 b1 a2 a1");
        assert_eq!(sorted("status"), "b1 a2 b2 a1");
        assert_eq!(sorted("seen"), "a1 a2 b1 b2");
        assert_eq!(sorted("cells"), "b1 a1 a2 b2");
        assert_eq!(sorted("version"), "b2 a2 a1 b1");
        assert_eq!(sorted("load"), "a2 a1 b1 b2");
        assert_eq!(sorted("memory"), "a2 a1 b1 b2");
        assert_eq!(listed(&[("sort", "memory"), ("per", "1"), ("page", "2")]), ["a1"]);
    }

    #[test]
    fn absurd_numbers_of_a_node_do_no_harm() {
        let host: HostFacts =
            serde_json::from_value(json!({"memory_bytes": 1, "memory_available_bytes": u64::MAX, "load_1m": -1e300}))
                .unwrap();
        assert_eq!((memory_used(&host), disk_used(&host)), (0.0, 0.0));
        assert!(load(&host).is_finite());
    }
}
