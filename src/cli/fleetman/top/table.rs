//! Nodes and cells as rows: which, in which order, and what is told of each.

use std::cmp::Reverse;

use chrono::{DateTime, TimeDelta, Utc};

use super::look::Look;
use crate::cli::fleetman::get;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::controller::{CellView, Health, Liveness, NodeView, Severity, Sync};
use crate::model::heartbeat::{HostFacts, Phase};
use crate::web::views::{Cell, Node};

/// What the rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Cells,
    Nodes,
}

impl View {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Cells => Self::Nodes,
            Self::Nodes => Self::Cells,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cells => "cells",
            Self::Nodes => "nodes",
        }
    }
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// What is worst.
    Trouble,
    Name,
    /// What was started again most often.
    Restarts,
    /// What was started last.
    Newest,
    /// The node with the largest share of its memory in use.
    Memory,
    /// The node whose disk is fullest.
    Disk,
    /// The node that was heard of longest ago.
    Silent,
}

impl Sort {
    const OF_CELLS: &[Self] = &[Self::Trouble, Self::Name, Self::Restarts, Self::Newest];
    const OF_NODES: &[Self] = &[Self::Trouble, Self::Name, Self::Memory, Self::Disk, Self::Silent];

    pub(super) fn next(self, view: View) -> Self {
        let all = match view {
            View::Cells => Self::OF_CELLS,
            View::Nodes => Self::OF_NODES,
        };
        let place = all.iter().position(|sort| *sort == self).map_or(0, |place| place + 1);
        all[place % all.len()]
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Name => "name",
            Self::Restarts => "restarts",
            Self::Newest => "newest",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Silent => "silent",
        }
    }
}

/// How bad something is: the least first.
type Rank = (Severity, u8, u8);

fn rank(look: &Look, name: &str, first: u8, second: u8) -> Rank {
    (look.trouble(name).map_or(Severity::Notice, |trouble| trouble.severity), first, second)
}

fn of_health(health: Health) -> u8 {
    match health {
        Health::Failed => 0,
        Health::Degraded => 1,
        Health::Unknown => 2,
        Health::Starting => 3,
        Health::Healthy | Health::NotApplicable => 4,
        Health::Stopped => 5,
    }
}

fn of_sync(sync: Sync) -> u8 {
    match sync {
        Sync::OutOfSync => 0,
        Sync::Unknown => 1,
        Sync::Synced => 2,
    }
}

fn of_liveness(liveness: Liveness) -> u8 {
    match liveness {
        Liveness::Dead => 0,
        Liveness::Warning => 1,
        Liveness::Unknown => 2,
        Liveness::Active => 3,
    }
}

/// The names of the rows, in their order.
pub(super) fn names(look: &Look, view: View, sort: Sort, search: &str, only_trouble: bool) -> Vec<String> {
    let fits = |name: &str, also: Option<&str>| {
        (name.contains(search) || also.is_some_and(|also| also.contains(search)))
            && (!only_trouble || look.trouble(name).is_some())
    };
    match view {
        View::Cells => {
            let named = look.cells().map(|cell| (cell.cell.to_string(), cell));
            let manifest = |cell: &CellView| cell.about().map(|about| about.manifest.to_string());
            let mut cells: Vec<_> = named.filter(|(name, cell)| fits(name, manifest(cell).as_deref())).collect();
            // They come by name, and stay so where they are alike.
            match sort {
                Sort::Restarts => cells.sort_by_key(|(_, cell)| Reverse(restarts(cell))),
                Sort::Newest => cells.sort_by_key(|(_, cell)| Reverse(started(cell))),
                Sort::Trouble => {
                    cells.sort_by_key(|(name, cell)| rank(look, name, of_health(cell.health), of_sync(cell.sync)));
                }
                Sort::Name | Sort::Memory | Sort::Disk | Sort::Silent => {}
            }
            cells.into_iter().map(|(name, _)| name).collect()
        }
        View::Nodes => {
            let named = look.nodes().map(|node| (node.node.to_string(), node));
            let labels = |node: &NodeView| {
                let labels = node.heartbeat.iter().flat_map(|beat| &beat.labels);
                labels.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
            };
            let mut nodes: Vec<_> = named.filter(|(name, node)| fits(name, Some(&labels(node)))).collect();
            let host = |node: &NodeView| node.heartbeat.as_ref().map(|beat| beat.host.clone());
            match sort {
                Sort::Memory => nodes.sort_by_key(|(_, node)| Reverse(host(node).and_then(|host| memory(&host)))),
                Sort::Disk => nodes.sort_by_key(|(_, node)| Reverse(host(node).and_then(|host| disk(&host)))),
                Sort::Silent => nodes.sort_by_key(|(_, node)| node.last_seen),
                Sort::Trouble => nodes.sort_by_key(|(name, node)| rank(look, name, of_liveness(node.liveness), 0)),
                Sort::Name | Sort::Restarts | Sort::Newest => {}
            }
            nodes.into_iter().map(|(name, _)| name).collect()
        }
    }
}

fn restarts(cell: &CellView) -> u32 {
    let processes = cell.report().into_iter().flat_map(|report| report.processes.values());
    processes.map(|process| process.restarts).fold(0, u32::saturating_add)
}

/// When the process of a cell was started that was started last.
fn started(cell: &CellView) -> Option<DateTime<Utc>> {
    cell.report()?.processes.values().filter_map(|process| process.since).max()
}

/// How much of its memory a host uses, in percent.
fn memory(host: &HostFacts) -> Option<u64> {
    share(host.memory_bytes, host.memory_available_bytes)
}

/// How full the disk is, in percent.
fn disk(host: &HostFacts) -> Option<u64> {
    share(host.disk_bytes, host.disk_free_bytes)
}

fn share(all: u64, free: u64) -> Option<u64> {
    u64::try_from((u128::from(all.saturating_sub(free)) * 100).checked_div(u128::from(all))?).ok()
}

/// The head, and a line for each of these names, no wider than `width`.
pub(super) fn render(look: &Look, view: View, names: &[String], width: usize, output: Output) -> Vec<String> {
    let rows = match view {
        View::Cells => cells(look, names, output),
        View::Nodes => nodes(look, names, output),
    };
    rows.within(width).render().lines().map(str::to_owned).collect()
}

fn cells(look: &Look, names: &[String], output: Output) -> Rows {
    let head = ["cell", "sync", "health", "phase", "desired", "current", "restarts", "up", "remark"];
    let mut rows = Rows::new(output, &head);
    for view in names.iter().filter_map(|name| look.fleet.cell(&name.parse().ok()?)) {
        let cell = Cell::from(view);
        let current = cell.running.as_ref().map_or_else(|| "-".to_owned(), |running| running.version.to_string());
        let up = started(view).map_or_else(|| "-".to_owned(), |started| span(look.fleet.at - started));
        let restarts = restarts(view);
        rows.row([
            (&cell.name).into(),
            get::sync(cell.sync),
            get::health(cell.health),
            cell.phase.map_or("-", Phase::as_str).into(),
            get::wish(&cell).into(),
            current.into(),
            if restarts > 0 { Shown::from(restarts).toned(Tone::Warn) } else { restarts.into() },
            up.into(),
            remark(look, &cell.name.to_string(), || get::remark(&cell)),
        ]);
    }
    rows
}

fn nodes(look: &Look, names: &[String], output: Output) -> Rows {
    let mut rows = Rows::new(output, &["node", "status", "seen", "cells", "memory", "disk", "agent", "remark"]);
    for view in names.iter().filter_map(|name| look.fleet.node(&name.parse().ok()?)) {
        let node = Node::from(&**view);
        let full = |share: Option<u64>| match share {
            Some(share) if share >= 90 => Shown::from(format!("{share} %")).toned(Tone::Warn),
            Some(share) => format!("{share} %").into(),
            None => "-".into(),
        };
        rows.row([
            (&node.name).into(),
            get::liveness(node.liveness),
            node.last_seen.map_or_else(|| "-".to_owned(), |seen| span(look.fleet.at - seen)).into(),
            format!("{}/{}", node.cells_synced, node.cells).into(),
            full(node.host.as_ref().and_then(memory)),
            full(node.host.as_ref().and_then(disk)),
            node.agent_version.as_deref().unwrap_or("-").into(),
            remark(look, node.name.as_str(), || Some(get::remarks(&node).join("; "))),
        ]);
    }
    rows
}

/// Why it needs attention, or else what there is to know of it.
fn remark(look: &Look, name: &str, else_: impl FnOnce() -> Option<String>) -> Shown {
    match look.trouble(name) {
        Some(trouble) => Shown::from(&trouble.why).toned(match trouble.severity {
            Severity::Critical => Tone::Bad,
            Severity::Warning | Severity::Notice => Tone::Warn,
        }),
        None => Shown::from(else_().unwrap_or_default()),
    }
}

/// How long something takes, in its two largest units at most.
fn span(span: TimeDelta) -> String {
    match span.num_seconds().max(0) {
        secs @ 0..60 => format!("{secs}s"),
        secs @ 60..3_600 => format!("{}m{:02}s", secs / 60, secs % 60),
        secs @ 3_600..86_400 => format!("{}h{:02}m", secs / 3_600, secs % 3_600 / 60),
        secs => format!("{}d{:02}h", secs / 86_400, secs % 86_400 / 3_600),
    }
}
