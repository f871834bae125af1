//! `/cells`: every cell, and what is wrong with it.

mod columns;
mod labels;
mod select;

use std::fmt::Write as _;

use askama::Template;
use axum::response::Response;
use chrono::{DateTime, Utc};

pub(super) use self::columns::Columns;
use self::select::{DRIFTS, FILTERS, Filter, HEALTHS, KEYS, PHASES, Place, SYNCS, desired, running, sort};
use crate::controller::{CellView, FleetView, Liveness, NodeView};
use crate::model::drift::DriftState;
use crate::model::heartbeat::Phase;
use crate::model::text::short;
use crate::model::{CellId, ManifestName};
use crate::web::command::quoted;
use crate::web::failure::Failure;
use crate::web::list::{Asked, Chip, Column, Order, Pager, export, grouped};
use crate::web::page::PageContext;
use crate::web::pages::bulk;
use crate::web::routes::Routes;
use crate::web::shell::{Nav, Shell};
use crate::web::views::Cell;
use crate::web::words::State;

pub(super) fn routes() -> Routes {
    Routes::new().get("/cells", page).get("/cells.csv", csv).get("/cells.json", json)
}

#[derive(Template)]
#[template(path = "cells/list.html")]
struct Page<'a> {
    shell: Shell,
    asked: &'a Asked,
    syncs: Vec<(&'static str, State, String)>,
    healths: Vec<(&'static str, State, String)>,
    drifts: Vec<(&'static str, State)>,
    phases: Vec<(&'static str, String)>,
    /// The labels that most cells have, how many, and the link that asks for those.
    labels: Vec<(String, String, String)>,
    chips: Vec<Chip>,
    columns: Columns,
    heads: Vec<Column>,
    /// What can be done to many at once; nothing for who may change none.
    actions: Vec<bulk::Choice>,
    /// What chooses these cells, for a form about all of them.
    filters: Vec<(&'a str, &'a str)>,
    rows: Vec<Row>,
    pager: Pager,
    csv: String,
    json: String,
}

/// The most characters of a remark in a row of a table; the cell's own page has all of it.
const MOST_CHARS: usize = 200;

/// The most labels in a row of a table.
const MOST_LABELS: usize = 8;

/// A cell in a table.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) href: String,
    /// Whether it can be changed together with others.
    pub(super) may_tick: bool,
    pub(super) agent: (String, String),
    pub(super) labels: Vec<String>,
    pub(super) has_overrides: bool,
    pub(super) sync: State,
    pub(super) health: State,
    /// That it drifted, if it did.
    pub(super) drifted: Option<State>,
    /// How it ran when its node was heard of last, and when that was, if that is long ago.
    pub(super) last: Option<(State, DateTime<Utc>)>,
    pub(super) phase: String,
    pub(super) desired: String,
    pub(super) running: String,
    pub(super) manifest: Option<(String, String)>,
    pub(super) changed: Option<(DateTime<Utc>, String)>,
    pub(super) paused: Option<String>,
    pub(super) remark: Option<String>,
}

/// The row of a cell of `node`.
pub(super) fn row(cell: &CellView, node: &NodeView, shell: &Shell) -> Row {
    let report = cell.report();
    let waiting = report.and_then(|report| report.waiting.as_ref());
    let fault = report.and_then(|report| report.last_error.as_ref()).filter(|_| {
        report.is_some_and(|report| matches!(report.phase, Phase::Failed | Phase::RolledBack | Phase::Waiting))
    });
    let remark = cell
        .problem()
        .map(ToOwned::to_owned)
        .or_else(|| waiting.map(|waiting| format!("{}: {}", waiting.reason, waiting.message)))
        .or_else(|| fault.map(|fault| format!("{}: {}", fault.code, fault.message)));
    let is_silent = matches!(cell.liveness, Liveness::Dead | Liveness::Unknown);
    let action = cell.desired().map(|desired| desired.claim.action.clone());
    let labels = cell.about().into_iter().flat_map(|about| &about.labels);
    Row {
        name: cell.cell.to_string(),
        href: shell.link(&format!("/cells/{}", cell.cell)),
        may_tick: shell.may_operate(&cell.cell),
        agent: (cell.cell.node.to_string(), shell.link(&format!("/agents/{}", cell.cell.node))),
        labels: labels.take(MOST_LABELS).map(|(key, value)| short(&format!("{key}={value}"), MOST_CHARS)).collect(),
        has_overrides: cell.about().is_some_and(|about| about.has_overrides),
        sync: cell.sync.into(),
        health: cell.health.into(),
        drifted: cell.drift().filter(|drift| *drift == DriftState::Drifted).map(State::from),
        last: cell.last_health().filter(|_| is_silent).map(State::from).zip(node.last_seen),
        phase: report.map(|report| report.phase.as_str().replace('_', " ")).unwrap_or_default(),
        desired: desired(cell).map(ToOwned::to_owned).or(action).unwrap_or_default(),
        running: running(cell).unwrap_or_default().to_owned(),
        manifest: cell
            .about()
            .map(|about| (about.manifest.to_string(), shell.link(&format!("/manifests/{}", about.manifest)))),
        changed: cell.desired().map(|desired| (desired.claim.issued_at, desired.claim.by.to_string())),
        paused: cell.about().and_then(|about| about.paused.as_ref()).map(|why| short(why, MOST_CHARS)),
        remark: remark.map(|remark| short(&remark, MOST_CHARS)),
    }
}

/// The flags of `fleetman get cells` for what can be asked for.
const FLAGS: [(&str, &str); FILTERS.len()] = [
    ("q", "--search"),
    ("sync", "--sync"),
    ("health", "--health"),
    ("drift", "--drift"),
    ("phase", "--phase"),
    ("manifest", "--manifest"),
    ("version", "--of-version"),
    ("label", "--label"),
    ("paused", "--paused"),
    ("overrides", "--overrides"),
    ("node", "--node"),
];

/// The same list on the command line.
fn command(asked: &Asked) -> String {
    let mut command = "fleetman get cells".to_owned();
    for (name, flag) in FLAGS {
        let is_taken = |value: &&str| match name {
            "label" => value.contains('='),
            "manifest" => ManifestName::new(*value).is_ok(),
            _ => true,
        };
        for value in asked.all(name).filter(is_taken) {
            // A value that begins with a dash is no flag.
            let gap = if value.starts_with('-') { '=' } else { ' ' };
            // Writing into a String cannot fail.
            let _ = write!(command, " {flag}{gap}{}", quoted(value));
        }
    }
    command
}

/// The cells of `view` that the list shows when it is asked for these, by name: for the command line.
///
/// # Errors
/// What is asked for that there is not, in words.
pub(crate) fn listed<'v>(view: &'v FleetView, asked: &[(&str, &str)]) -> Result<Vec<&'v CellView>, String> {
    let filter = Filter::of(&Asked::of(asked)).map_err(|failure| failure.detail().to_owned())?;
    let found = filter.select(view).into_iter().filter_map(|place| find(view, place));
    Ok(found.map(|(_, cell)| cell).collect())
}

/// The names of the cells of `view` that the list shows when it is asked for this, by name.
pub(super) fn fitting(view: &FleetView, asked: &Asked) -> Result<Vec<CellId>, Failure> {
    let found = Filter::of(asked)?.select(view).into_iter().filter_map(|place| find(view, place));
    Ok(found.map(|(_, cell)| cell.cell.clone()).collect())
}

/// What of an address chooses cells.
pub(super) fn filters(asked: &Asked) -> impl Iterator<Item = (&str, &str)> {
    FILTERS.into_iter().flat_map(|name| asked.all(name).map(move |value| (name, value)))
}

async fn page(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let view = page.view()?;
    let mut rows = Filter::of(&asked)?.select(&view);
    let pager = asked.pager(rows.len(), view.counts.cells());
    let order = Order::of(&asked, &KEYS);
    sort(&view, &mut rows, order, pager.from, pager.to);
    let shell = page.live_shell("Cells", Nav::Cells, command(&asked));
    let shown = rows[pager.from..pager.to].iter().filter_map(|place| find(&view, *place));
    let rows = shown.map(|(node, cell)| row(cell, node, &shell)).collect();
    let columns = Columns::of(&asked)?;
    let actions = bulk::choices(&shell);
    let label = |(label, count): (String, usize)| {
        let href = asked.and("label", &label);
        (label, grouped(count), href)
    };
    let sync = |(word, sync)| (word, State::from(sync), grouped(view.counts.sync(sync)));
    let health = |(word, health)| (word, State::from(health), grouped(view.counts.health(health)));
    page.render(&Page {
        syncs: SYNCS.into_iter().map(sync).collect(),
        healths: HEALTHS.into_iter().map(health).collect(),
        drifts: DRIFTS.map(|(word, drift)| (word, State::from(drift))).into(),
        phases: PHASES.into_iter().map(|(word, _)| (word, word.replace('_', " "))).collect(),
        labels: labels::frequent(&view).into_iter().map(label).collect(),
        chips: asked.chips(&FILTERS),
        heads: columns.heads(&asked, order, !actions.is_empty()),
        actions,
        filters: filters(&asked).collect(),
        columns,
        rows,
        pager,
        csv: asked.elsewhere(&shell.link("/cells.csv")),
        json: asked.elsewhere(&shell.link("/cells.json")),
        asked: &asked,
        shell,
    })
}

fn find(view: &FleetView, place: Place) -> Option<(&NodeView, &CellView)> {
    let node = view.nodes.get(place.node)?;
    Some((node, node.cells.get(place.cell)?))
}

/// Every selected cell, in the order that was asked for.
fn selected(view: &FleetView, asked: &Asked) -> Result<Vec<Place>, Failure> {
    let mut rows = Filter::of(asked)?.select(view);
    let all = rows.len();
    sort(view, &mut rows, Order::of(asked, &KEYS), 0, all);
    Ok(rows)
}

async fn csv(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    const HEAD: [&str; 15] = [
        "name",
        "sync",
        "health",
        "liveness",
        "phase",
        "manifest",
        "labels",
        "paused",
        "desired",
        "desired_version",
        "running_version",
        "changed_at",
        "changed_by",
        "drift",
        "has_overrides",
    ];
    let view = page.view()?;
    let rows = selected(&view, &asked)?;
    let line = move |place| {
        let (_, view) = find(&view, place)?;
        let cell = Cell::from(view);
        let labels: Vec<String> = cell.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let wish = cell.desired.as_ref();
        Some(vec![
            cell.name.to_string(),
            cell.sync.as_str().to_owned(),
            cell.health.as_str().to_owned(),
            cell.liveness.as_str().to_owned(),
            cell.phase.map(|phase| phase.as_str().to_owned()).unwrap_or_default(),
            cell.manifest.as_ref().map(ToString::to_string).unwrap_or_default(),
            labels.join(" "),
            cell.paused.unwrap_or_default(),
            wish.map(|wish| wish.action.clone()).unwrap_or_default(),
            desired(view).unwrap_or_default().to_owned(),
            running(view).unwrap_or_default().to_owned(),
            wish.map(|wish| wish.issued_at.to_rfc3339()).unwrap_or_default(),
            wish.map(|wish| wish.issued_by.to_string()).unwrap_or_default(),
            view.drift().map(|drift| drift.as_str().to_owned()).unwrap_or_default(),
            if cell.has_overrides { "yes" } else { "no" }.to_owned(),
        ])
    };
    Ok(export::csv("cells", &HEAD, rows.into_iter().filter_map(line)))
}

async fn json(page: PageContext, asked: Asked) -> Result<Response, Failure> {
    let view = page.view()?;
    let rows = selected(&view, &asked)?;
    let at = view.at;
    let shown = move |place| find(&view, place).map(|(_, cell)| Cell::from(cell));
    Ok(export::json(Some(at), rows.into_iter().filter_map(shown)))
}
