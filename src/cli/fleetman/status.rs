//! `fleetman status`: how the fleet is, on one screen.

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::context::Context;
use super::get::{self, fleet};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::controller::{Counts, FleetView, Liveness, Sync};
use crate::model::heartbeat::Phase;
use crate::model::{CellId, NodeName};
use crate::web::views::{Cell, Node};

/// Show how the fleet is, and what needs attention.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fleetman status\n  fleetman status n1/web n2/web\n  fleetman status --check || page-somebody"
)]
pub(super) struct StatusArgs {
    /// Only these cells, as <node>/<cell>
    #[arg(value_name = "CELL")]
    cells: Vec<CellId>,
    /// Exit code 1 if something needs attention
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Serialize)]
struct Status {
    fleet: Uuid,
    bucket: String,
    at: chrono::DateTime<chrono::Utc>,
    nodes: Counted<NodeCounts>,
    cells: Counted<CellCounts>,
    attention: Vec<Attention>,
}

#[derive(Debug, Serialize)]
struct Counted<T> {
    total: usize,
    #[serde(flatten)]
    by: T,
}

#[derive(Debug, Serialize)]
struct NodeCounts {
    active: usize,
    warning: usize,
    dead: usize,
    unknown: usize,
}

#[derive(Debug, Serialize)]
struct CellCounts {
    synced: usize,
    out_of_sync: usize,
    unknown: usize,
}

/// Something that somebody should look at.
#[derive(Debug, Serialize)]
struct Attention {
    /// `node` or `cell`.
    kind: &'static str,
    name: String,
    /// In a word.
    state: String,
    why: String,
}

pub(super) async fn run(args: StatusArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.looker().await?;
    let fleet = fleet(&controller).await?;
    let attention: Vec<Attention> = match args.cells.as_slice() {
        [] => nodes_wanting(&fleet).chain(cells_wanting(&fleet, |_| true)).collect(),
        named => cells_wanting(&fleet, |cell| named.contains(cell)).collect(),
    };
    let exit = if args.check && !attention.is_empty() { Exit::Negative } else { Exit::Ok };
    if !args.cells.is_empty() {
        if let Some(absent) = args.cells.iter().find(|name| fleet.cell(name).is_none()) {
            let failure = Failure::new(Exit::NotFound, "not_found", format!("there is no cell {absent}"));
            return Err(failure.help("`fleetman get cells` shows which there are"));
        }
        let cells: Vec<Cell> = fleet.cells().filter(|cell| args.cells.contains(&cell.cell)).map(Cell::from).collect();
        context.output.show(&cells, |output| get::cells(&cells, output))?;
        return Ok(exit);
    }
    let status = Status {
        fleet: controller.fleet(),
        bucket: controller.store().describe(),
        at: fleet.at,
        nodes: Counted { total: fleet.counts.nodes(), by: count_nodes(fleet.counts) },
        cells: Counted { total: fleet.counts.cells(), by: count_cells(fleet.counts) },
        attention,
    };
    context.output.show(&status, |output| for_people(&status, output))?;
    Ok(exit)
}

fn count_nodes(counts: Counts) -> NodeCounts {
    NodeCounts {
        active: counts.liveness(Liveness::Active),
        warning: counts.liveness(Liveness::Warning),
        dead: counts.liveness(Liveness::Dead),
        unknown: counts.liveness(Liveness::Unknown),
    }
}

fn count_cells(counts: Counts) -> CellCounts {
    CellCounts {
        synced: counts.sync(Sync::Synced),
        out_of_sync: counts.sync(Sync::OutOfSync),
        unknown: counts.sync(Sync::Unknown),
    }
}

fn nodes_wanting(fleet: &FleetView) -> impl Iterator<Item = Attention> {
    fleet.nodes.iter().filter_map(|view| {
        let node = Node::from(&**view);
        let mut why = get::remarks(&node);
        if view.liveness != Liveness::Active {
            let seen = view.last_seen.map(|seen| format!("last seen {} s ago", (fleet.at - seen).num_seconds()));
            why.insert(0, seen.unwrap_or_else(|| "never seen".to_owned()));
        }
        let wants = !why.is_empty();
        let (name, state) = (name_of(&node.name), view.liveness.as_str().to_owned());
        wants.then(|| Attention { kind: "node", name, state, why: why.join("; ") })
    })
}

fn name_of(node: &NodeName) -> String {
    node.to_string()
}

fn cells_wanting(fleet: &FleetView, is_meant: impl Fn(&CellId) -> bool) -> impl Iterator<Item = Attention> {
    fleet.cells().filter(move |view| is_meant(&view.cell)).filter_map(|view| {
        let cell = Cell::from(view);
        // A cell of a node that is gone is told with its node; one that was never published wants nothing yet.
        let is_silent = matches!(view.liveness, Liveness::Dead | Liveness::Unknown);
        let is_late = cell.sync == Sync::OutOfSync && cell.desired.is_some() && !is_silent;
        let is_wrong = cell.problem.is_some()
            || matches!(cell.phase, Some(Phase::Failed | Phase::RolledBack | Phase::Inconsistent | Phase::Held));
        let state = cell.phase.map_or("out of sync", Phase::as_str).to_owned();
        let why = get::remark(&cell).unwrap_or_else(|| "not yet what it is to be".to_owned());
        (is_late || is_wrong).then(|| Attention { kind: "cell", name: cell.name.to_string(), state, why })
    })
}

fn for_people(status: &Status, output: Output) -> String {
    let NodeCounts { active, warning, dead, unknown } = status.nodes.by;
    let nodes = counts(
        output,
        &[
            (active, "active", Tone::Good),
            (warning, "warning", Tone::Warn),
            (dead, "dead", Tone::Bad),
            (unknown, "unknown", Tone::Warn),
        ],
    );
    let CellCounts { synced, out_of_sync, unknown } = status.cells.by;
    let cells = counts(
        output,
        &[(synced, "synced", Tone::Good), (out_of_sync, "out of sync", Tone::Warn), (unknown, "unknown", Tone::Warn)],
    );
    let mut text = format!(
        "Fleet {}  {}\nNodes  {}  {nodes}\nCells  {}  {cells}",
        status.fleet, status.bucket, status.nodes.total, status.cells.total
    );
    if status.nodes.total == 0 {
        text.push_str("\nNo agent has reported yet; `fleetman init` prints the config for one.");
    } else if status.attention.is_empty() {
        text.push_str("\nNothing needs attention.");
    } else {
        let mut rows = Rows::new(output, &["needs attention", "", ""]);
        for Attention { kind, name, state, why } in &status.attention {
            rows.row([format!("{kind} {name}").into(), Shown::from(state).toned(Tone::Warn), why.into()]);
        }
        text.push_str("\n\n");
        text.push_str(&rows.render());
    }
    text
}

/// The counts that are not zero.
fn counts(output: Output, counts: &[(usize, &str, Tone)]) -> String {
    let shown = counts.iter().filter(|(count, ..)| *count > 0);
    shown.map(|(count, word, tone)| output.paint(*tone, &format!("{count} {word}"))).collect::<Vec<_>>().join("  ")
}
