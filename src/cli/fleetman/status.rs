//! `fleetman status`: how the fleet is, on one screen.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::context::Context;
use super::get::{self, fleet};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::controller::{self, AttentionLimits, Counts, FleetView, Liveness, Severity, Subject, Sync};
use crate::model::CellId;
use crate::model::heartbeat::{HealthState, HoldReport};
use crate::web::views::Cell;

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
    at: DateTime<Utc>,
    nodes: Counted<NodeCounts>,
    cells: Counted<CellCounts>,
    attention: Vec<Attention>,
    held: Vec<Held>,
}

/// A node or a cell on which nothing that runs is changed for a while.
#[derive(Debug, Serialize)]
struct Held {
    /// The node, or `<node>/<cell>`.
    name: String,
    #[serde(flatten)]
    hold: HoldReport,
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
    let mut attention = attention(&fleet);
    if !args.cells.is_empty() {
        attention.retain(|it| it.kind == "cell" && args.cells.iter().any(|cell| it.name == cell.to_string()));
    }
    let exit = if args.check && !attention.is_empty() { Exit::Negative } else { Exit::Ok };
    if !args.cells.is_empty() {
        if let Some(absent) = args.cells.iter().find(|name| fleet.cell(name).is_none()) {
            let failure = Failure::new(Exit::NotFound, "not_found", format!("there is no cell {absent}"));
            return Err(failure.help("`fleetman get cells` shows which there are"));
        }
        let cells: Vec<Cell> = fleet.cells().filter(|cell| args.cells.contains(&cell.cell)).map(Cell::from).collect();
        context.output.show(&cells, |output| in_full(&cells, output))?;
        return Ok(exit);
    }
    let status = Status {
        fleet: controller.fleet(),
        bucket: controller.store().describe(),
        at: fleet.at,
        nodes: count_nodes(fleet.counts),
        cells: count_cells(fleet.counts),
        attention,
        held: held(&fleet),
    };
    context.output.show(&status, |output| for_people(&status, output))?;
    Ok(exit)
}

/// Cells with what their checks say, and what strayed.
pub(super) fn in_full(cells: &[Cell], output: Output) -> String {
    [get::cells(cells, output), checks(cells, output), drift(cells, output)].concat()
}

/// What the checks of cells say, where there are some.
fn checks(cells: &[Cell], output: Output) -> String {
    let mut rows = Rows::new(output, &["check", "state", "since", "what it found"]);
    let mut are_there = false;
    for cell in cells {
        for (name, check) in cell.checks.iter().flat_map(|health| &health.checks) {
            are_there = true;
            let tone = match check.state {
                HealthState::Passing => Tone::Good,
                HealthState::Failing => Tone::Bad,
                HealthState::Starting | HealthState::Unknown => Tone::Warn,
            };
            rows.row([
                format!("{} {name}", cell.name).into(),
                Shown::from(check.state.as_str()).toned(tone),
                check
                    .since
                    .map(|since| since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
                    .unwrap_or_default()
                    .into(),
                check.message.as_str().into(),
            ]);
        }
    }
    if are_there { format!("\n\n{}", rows.render()) } else { String::new() }
}

/// Who holds what: nodes as a whole, and cells by themselves.
fn held(fleet: &FleetView) -> Vec<Held> {
    let nodes = fleet.nodes.iter().filter_map(|node| {
        let hold = node.heartbeat.as_ref()?.hold.clone()?;
        Some(Held { name: node.node.to_string(), hold })
    });
    let cells = fleet.cells().filter_map(|cell| {
        let hold = cell.report()?.hold.clone().filter(|hold| !hold.whole_node)?;
        Some(Held { name: cell.cell.to_string(), hold })
    });
    nodes.chain(cells).collect()
}

/// What of cells is not as it was deployed, where something is.
fn drift(cells: &[Cell], output: Output) -> String {
    let mut rows = Rows::new(output, &["drift", "what", "since", "path"]);
    let mut are_there = false;
    for cell in cells {
        for finding in cell.drift.iter().flat_map(|drift| &drift.findings) {
            are_there = true;
            rows.row([
                cell.name.to_string().into(),
                Shown::from(finding.code.words()).toned(Tone::Warn),
                finding.since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true).into(),
                finding.path.as_str().into(),
            ]);
        }
        if let Some(more) = cell.drift.as_ref().map(|drift| drift.more).filter(|more| *more > 0) {
            rows.row([cell.name.to_string().into(), "".into(), "".into(), format!("and {more} more").into()]);
        }
    }
    if are_there { format!("\n\n{}", rows.render()) } else { String::new() }
}

fn count_nodes(counts: Counts) -> Counted<NodeCounts> {
    let by = NodeCounts {
        active: counts.liveness(Liveness::Active),
        warning: counts.liveness(Liveness::Warning),
        dead: counts.liveness(Liveness::Dead),
        unknown: counts.liveness(Liveness::Unknown),
    };
    Counted { total: counts.nodes(), by }
}

fn count_cells(counts: Counts) -> Counted<CellCounts> {
    let by = CellCounts {
        synced: counts.sync(Sync::Synced),
        out_of_sync: counts.sync(Sync::OutOfSync),
        unknown: counts.sync(Sync::Unknown),
    };
    Counted { total: counts.cells(), by }
}

/// How many nodes and cells there are, and how they are: two lines.
pub(super) fn head(fleet: &FleetView, output: Output) -> String {
    how_many(&count_nodes(fleet.counts), &count_cells(fleet.counts), output)
}

/// What needs attention, in the words of the portal. To whoever asks on a command line a cell is late at once: they may
/// have published it just now.
fn attention(fleet: &FleetView) -> Vec<Attention> {
    needs_attention(fleet).map(|it| told(it, fleet.at)).collect()
}

/// The same as the view tells it.
pub(super) fn needs_attention(fleet: &FleetView) -> impl Iterator<Item = controller::Attention> {
    let limits = AttentionLimits { late: TimeDelta::MIN, ..AttentionLimits::default() };
    fleet.attention(limits).into_iter().filter(|it| it.severity < Severity::Notice)
}

fn told(attention: controller::Attention, now: DateTime<Utc>) -> Attention {
    let (kind, name) = match &attention.subject {
        Subject::Node(node) => ("node", node.to_string()),
        Subject::Cell(cell) => ("cell", cell.to_string()),
        Subject::Agents => ("agents", String::new()),
    };
    let since = attention.since.map(|since| format!(", since {} s", (now - since).num_seconds().max(0)));
    let why = format!("{}{}", attention.concern, since.unwrap_or_default());
    Attention { kind, name, state: attention.concern.code().to_owned(), why }
}

fn for_people(status: &Status, output: Output) -> String {
    let mut text =
        format!("Fleet {}  {}\n{}", status.fleet, status.bucket, how_many(&status.nodes, &status.cells, output));
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
    if !status.held.is_empty() {
        let mut rows = Rows::new(output, &["held", "by", "until", "why"]);
        for Held { name, hold } in &status.held {
            let until = hold.until.to_rfc3339_opts(SecondsFormat::Secs, true);
            rows.row([name.into(), (&hold.by).into(), until.into(), (&hold.reason).into()]);
        }
        text.push_str("\n\n");
        text.push_str(&rows.render());
    }
    text
}

/// A line for nodes and one for cells.
fn how_many(nodes: &Counted<NodeCounts>, cells: &Counted<CellCounts>, output: Output) -> String {
    let NodeCounts { active, warning, dead, unknown } = nodes.by;
    let of_nodes = counts(
        output,
        &[
            (active, "active", Tone::Good),
            (warning, "warning", Tone::Warn),
            (dead, "dead", Tone::Bad),
            (unknown, "unknown", Tone::Warn),
        ],
    );
    let CellCounts { synced, out_of_sync, unknown } = cells.by;
    let of_cells = counts(
        output,
        &[(synced, "synced", Tone::Good), (out_of_sync, "out of sync", Tone::Warn), (unknown, "unknown", Tone::Warn)],
    );
    format!("Nodes  {}  {of_nodes}\nCells  {}  {of_cells}", nodes.total, cells.total)
}

/// The counts that are not zero.
fn counts(output: Output, counts: &[(usize, &str, Tone)]) -> String {
    let shown = counts.iter().filter(|(count, ..)| *count > 0);
    shown.map(|(count, word, tone)| output.paint(*tone, &format!("{count} {word}"))).collect::<Vec<_>>().join("  ")
}
