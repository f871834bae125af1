//! One agent: what it is, what is wrong with it, and its cells.

use askama::Template;
use axum::extract::Path;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};

use super::list::Meters;
use crate::controller::{CellView, HoldOrder, Liveness, NodeView};
use crate::model::heartbeat::{Condition, Fault, HoldReport, SigningMode};
use crate::model::users::Role;
use crate::model::{Code, NodeName};
use crate::web::changes::size;
use crate::web::failure::Failure;
use crate::web::page::PageContext;
use crate::web::pages::cells::{self, Columns, Row};
use crate::web::shell::{Nav, Shell, span};
use crate::web::words::State;

/// The most that is shown of lists in a heartbeat, which may be as long as a heartbeat can be.
const MOST_SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "agents/detail.html")]
struct Page<'a> {
    shell: Shell,
    name: &'a NodeName,
    state: State,
    last_seen: Option<DateTime<Utc>>,
    is_dead: bool,
    /// Whether who looks may delete its status.
    may_delete: bool,
    facts: Vec<(&'static str, String)>,
    started_at: Option<DateTime<Utc>>,
    reported_at: Option<DateTime<Utc>>,
    meters: Option<Meters>,
    labels: Vec<String>,
    is_unsigned: bool,
    hold: Option<&'a HoldReport>,
    /// What was ordered about holding it and not yet taken.
    awaited: Option<&'a HoldOrder>,
    /// Whether who looks could hold it.
    may_hold: bool,
    store_error: Option<&'a Fault>,
    conditions: &'a [Condition],
    problems: &'a [String],
    cells: Vec<Row>,
    columns: Columns,
    synced: usize,
    /// How many of them wait for a maintenance window, and when the next one opens.
    windows: Option<(usize, Option<DateTime<Utc>>)>,
    /// The cells in the list of cells.
    all_cells: String,
    /// The heartbeat as it lies in the bucket.
    raw: String,
}

impl Page<'_> {
    /// Whether it is held once everything that was ordered is done.
    fn is_to_be_held(&self) -> bool {
        self.awaited.map_or(self.hold.is_some(), |order| order.is_hold)
    }
}

pub(super) async fn page(page: PageContext, Path(name): Path<String>) -> Result<Response, Failure> {
    let name = NodeName::new(name)?;
    let view = page.view()?;
    let node = view.node(&name).ok_or_else(|| Failure::not_found(format_args!("agent {name}")))?;
    let beat = node.heartbeat.as_deref();
    let shell = page.live_shell(name.to_string(), Nav::Agents, format!("fleetman describe node {name}"));
    let shown: Vec<&CellView> = node.cells.iter().take(MOST_SHOWN).collect();
    let labels = beat.iter().flat_map(|beat| &beat.labels).take(MOST_SHOWN);
    page.render(&Page {
        name: &name,
        state: node.liveness.into(),
        last_seen: node.last_seen,
        may_delete: page.may().need_on_node(Role::Admin, &name).is_ok(),
        is_dead: node.liveness == Liveness::Dead,
        facts: facts(node),
        started_at: beat.map(|beat| beat.started_at),
        reported_at: beat.map(|beat| beat.reported_at),
        meters: beat.map(|beat| &beat.host).filter(|host| host.memory_bytes > 0).map(Meters::from),
        labels: labels.map(|(key, value)| format!("{key}={value}")).collect(),
        is_unsigned: beat.is_some_and(|beat| beat.signing == SigningMode::Unsigned),
        hold: beat.and_then(|beat| beat.hold.as_ref()),
        awaited: node.awaited(None, view.at),
        may_hold: page.may().need_on_node(Role::Operator, &name).is_ok() && page.caller.read_only().is_none(),
        store_error: beat.and_then(|beat| beat.store_error.as_ref()),
        conditions: beat.map_or(&[], |beat| &beat.conditions[..beat.conditions.len().min(MOST_SHOWN)]),
        problems: &node.problems[..node.problems.len().min(MOST_SHOWN)],
        cells: shown.into_iter().map(|cell| cells::row(cell, node, &shell)).collect(),
        columns: Columns::of_node(),
        synced: node.synced(),
        windows: windows(node),
        all_cells: shell.link(&format!("/cells?node={name}")),
        raw: shell.link(&format!("/buckets/object?key=agents%2F{name}.json")),
        shell,
    })
}

/// How many cells wait for a maintenance window, if some do, and when the next one opens.
fn windows(node: &NodeView) -> Option<(usize, Option<DateTime<Utc>>)> {
    let waiting = node.cells.iter().filter_map(|cell| cell.report()?.waiting.as_ref());
    let waiting: Vec<_> = waiting.filter(|waiting| waiting.reason == Code::Window).collect();
    let next = waiting.iter().filter_map(|waiting| waiting.until).min();
    (!waiting.is_empty()).then_some((waiting.len(), next))
}

/// What a heartbeat says of the agent and its machine, as far as it says it.
fn facts(node: &NodeView) -> Vec<(&'static str, String)> {
    let Some(beat) = node.heartbeat.as_deref() else { return Vec::new() };
    let host = &beat.host;
    let bytes = |bytes: u64| if bytes == 0 { String::new() } else { size(bytes) };
    let addresses: Vec<&str> = host.addresses.iter().take(MOST_SHOWN).map(String::as_str).collect();
    let all = [
        ("Host", host.hostname.clone()),
        ("Addresses", addresses.join(", ")),
        ("System", [&host.os, &host.kernel, &host.arch].map(String::as_str).join(" ").trim().to_owned()),
        ("Processors", if host.cpus == 0 { String::new() } else { host.cpus.to_string() }),
        ("Memory", bytes(host.memory_bytes)),
        ("Disk", bytes(host.disk_bytes)),
        ("Agent version", beat.agent_version.clone()),
        ("Signatures", if beat.signing == SigningMode::Signed { "checked".to_owned() } else { String::new() }),
        ("Clock", beat.clock_skew_ms.map(clock).unwrap_or_default()),
        ("Heartbeat", format!("every {} s, number {}", beat.interval_secs, beat.sequence)),
        ("Instance", beat.instance_id.to_string()),
        ("Boot", beat.boot_id.clone().unwrap_or_default()),
    ];
    all.into_iter().filter(|(_, text)| !text.is_empty()).collect()
}

/// How far the node's clock is off; the number is the store's time minus the node's.
fn clock(skew_ms: i64) -> String {
    let off = TimeDelta::try_milliseconds(skew_ms).and_then(|skew| skew.abs().to_std().ok()).unwrap_or_default();
    match skew_ms {
        // The store tells its time in whole seconds.
        -1_500..=1_500 => "in step with the store's".to_owned(),
        1_501.. => format!("{} behind the store's", span(off)),
        _ => format!("{} ahead of the store's", span(off)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_told_as_people_set_it() {
        assert_eq!(clock(900), "in step with the store's");
        assert_eq!(clock(95_000), "1 min behind the store's");
        assert_eq!(clock(-31_000), "31 s ahead of the store's");
        assert_eq!(clock(i64::MIN), "0 s ahead of the store's");
    }
}
