//! The list of agents.

use std::collections::BTreeMap;

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};

use super::select::{FILTERS, Filter, KEYS, Key, STATUSES, disk_used, load, memory_used, sort};
use crate::controller::{FleetView, NodeView};
use crate::model::heartbeat::HostFacts;
use crate::model::text::short;
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Chip, Column, Order, Pager, export, grouped};
use crate::web::page::PageContext;
use crate::web::shell::{Nav, Shell};
use crate::web::views::Node;
use crate::web::words::State;

/// The most versions to choose from: who may write heartbeats may invent any number of them.
const MOST_VERSIONS: usize = 30;

/// The most labels that are shown of one node.
const MOST_LABELS: usize = 8;

/// The most characters of a node's words in a row of a table, and of what is wrong with it.
const MOST_CHARS: usize = 60;
const MOST_PROBLEM_CHARS: usize = 200;

#[derive(Template)]
#[template(path = "agents/list.html")]
struct Page<'a> {
    shell: Shell,
    asked: &'a Asked,
    statuses: Vec<(&'static str, State, String)>,
    versions: Vec<(&'a str, String)>,
    chips: Vec<Chip>,
    columns: Vec<Column>,
    rows: Vec<Row>,
    pager: Pager,
    csv: String,
    json: String,
}

struct Row {
    name: String,
    href: String,
    state: State,
    last_seen: Option<DateTime<Utc>>,
    synced: usize,
    cells: usize,
    version: String,
    labels: Vec<String>,
    address: String,
    system: String,
    meters: Option<Meters>,
    /// Whether the node as a whole is held, or is to be.
    held: Option<&'static str>,
    problem: Option<String>,
}

/// What a machine has, and how much of it is taken.
pub(super) struct Meters {
    pub(super) load: Meter,
    pub(super) memory: Meter,
    pub(super) disk: Meter,
    /// Whether the disk is nearly full.
    pub(super) is_disk_full: bool,
}

/// A share of something, for `<meter>` and for people.
pub(super) struct Meter {
    /// In percent, at most 100.
    pub(super) percent: f64,
    pub(super) text: String,
    pub(super) full: String,
}

impl From<&HostFacts> for Meters {
    fn from(host: &HostFacts) -> Self {
        let meter = |share: f64, text: String, full: String| Meter {
            // What a node says may be any number.
            percent: (share * 100.0).clamp(0.0, 100.0).round(),
            text,
            full,
        };
        let share = |share: f64| format!("{:.0} %", share * 100.0);
        let of = |free: u64, all: u64| format!("{} of {} free", size(free), size(all));
        Self {
            load: meter(
                load(host),
                format!("{:.2}", host.load_1m.clamp(0.0, 9_999.0)),
                format!("load average of {:.2} for {} processors", host.load_1m.clamp(0.0, 9_999.0), host.cpus),
            ),
            memory: meter(
                memory_used(host),
                share(memory_used(host)),
                of(host.memory_available_bytes, host.memory_bytes),
            ),
            disk: meter(disk_used(host), share(disk_used(host)), of(host.disk_free_bytes, host.disk_bytes)),
            is_disk_full: host.full_disk().is_some(),
        }
    }
}

fn row(node: &NodeView, at: DateTime<Utc>, shell: &Shell) -> Row {
    let beat = node.heartbeat.as_deref();
    let host = beat.map(|beat| &beat.host);
    let labels = beat.iter().flat_map(|beat| &beat.labels).take(MOST_LABELS);
    Row {
        name: node.node.to_string(),
        href: shell.link(&format!("/agents/{}", node.node)),
        state: node.liveness.into(),
        last_seen: node.last_seen,
        synced: node.synced(),
        cells: node.cells.len(),
        version: beat.map(|beat| short(&beat.agent_version, MOST_CHARS)).unwrap_or_default(),
        labels: labels.map(|(key, value)| short(&format!("{key}={value}"), MOST_CHARS)).collect(),
        address: host
            .and_then(|host| host.addresses.first())
            .map(|address| short(address, MOST_CHARS))
            .unwrap_or_default(),
        system: host.map(|host| short(&format!("{} {}", host.os, host.arch), MOST_CHARS)).unwrap_or_default(),
        meters: host.filter(|host| host.memory_bytes > 0).map(Meters::from),
        held: match node.awaited(None, at) {
            Some(order) if order.is_hold => Some("hold ordered"),
            _ => beat.and_then(|beat| beat.hold.as_ref()).map(|_| "held"),
        },
        problem: node.problems.first().map(|problem| short(problem, MOST_PROBLEM_CHARS)),
    }
}

/// The versions that agents have, and how many have each, the most frequent first.
fn versions(view: &FleetView) -> Vec<(&str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for beat in view.nodes.iter().filter_map(|node| node.heartbeat.as_ref()) {
        *counts.entry(&beat.agent_version).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.truncate(MOST_VERSIONS);
    counts
}

pub(super) async fn page(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let view = page.view()?;
    let mut rows = Filter::of(&asked)?.select(&view);
    let pager = asked.pager(rows.len(), view.nodes.len());
    let order = Order::of(&asked, &KEYS);
    sort(&view, &mut rows, order, pager.from, pager.to);
    let shell = page.live_shell("Agents", Nav::Agents, "fleetman get nodes".to_owned());
    let shown = rows[pager.from..pager.to].iter().filter_map(|place| view.nodes.get(*place));
    let rows = shown.map(|node| row(node, view.at, &shell)).collect();
    let column = |name, word, key, is_number| order.column(&asked, name, word, key, is_number);
    let plain = |name| Column { name, is_number: false, href: None, sorted: "" };
    let columns = vec![
        column("Agent", "name", Key::Name, false),
        column("Status", "status", Key::Status, false),
        column("Last seen", "seen", Key::Seen, false),
        column("Cells", "cells", Key::Cells, false),
        column("Version", "version", Key::Version, false),
        plain("Labels"),
        plain("Address and system"),
        column("Load", "load", Key::Load, false),
        column("Memory", "memory", Key::Memory, false),
        column("Disk", "disk", Key::Disk, false),
    ];
    let status = |(word, liveness)| (word, State::from(liveness), grouped(view.counts.liveness(liveness)));
    page.render(&Page {
        statuses: STATUSES.into_iter().map(status).collect(),
        versions: versions(&view).into_iter().map(|(version, count)| (version, grouped(count))).collect(),
        chips: asked.chips(&FILTERS),
        columns,
        rows,
        pager,
        csv: asked.elsewhere(&shell.link("/agents.csv")),
        json: asked.elsewhere(&shell.link("/agents.json")),
        asked: &asked,
        shell,
    })
}

/// Every selected agent, in the order that was asked for.
fn selected(view: &FleetView, asked: &Asked) -> Result<Vec<usize>, Failure> {
    let mut rows = Filter::of(asked)?.select(view);
    let all = rows.len();
    sort(view, &mut rows, Order::of(asked, &KEYS), 0, all);
    Ok(rows)
}

pub(super) async fn csv(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    const HEAD: [&str; 14] = [
        "name",
        "status",
        "last_seen",
        "cells",
        "cells_synced",
        "agent_version",
        "signing",
        "labels",
        "hostname",
        "os",
        "arch",
        "load_1m",
        "memory_available_bytes",
        "disk_free_bytes",
    ];
    let view = page.view()?;
    let rows = selected(&view, &asked)?;
    let line = move |place: usize| {
        let node = Node::from(&**view.nodes.get(place)?);
        let host = node.host.unwrap_or_default();
        let labels: Vec<String> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        Some(vec![
            node.name.to_string(),
            node.liveness.as_str().to_owned(),
            node.last_seen.map(|seen| seen.to_rfc3339()).unwrap_or_default(),
            node.cells.to_string(),
            node.cells_synced.to_string(),
            node.agent_version.unwrap_or_default(),
            node.signing.map(|signing| format!("{signing:?}").to_lowercase()).unwrap_or_default(),
            labels.join(" "),
            host.hostname,
            host.os,
            host.arch,
            host.load_1m.to_string(),
            host.memory_available_bytes.to_string(),
            host.disk_free_bytes.to_string(),
        ])
    };
    Ok(export::csv("agents", &HEAD, rows.into_iter().filter_map(line)))
}

pub(super) async fn json(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let view = page.view()?;
    let rows = selected(&view, &asked)?;
    let at = view.at;
    let shown = move |place: usize| view.nodes.get(place).map(|node| Node::from(&**node));
    Ok(export::json(Some(at), rows.into_iter().filter_map(shown)))
}
