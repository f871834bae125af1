//! `fleetagent reset`: takes cells off this node by hand, without the bucket.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;

use super::context::Context;
use crate::agent::{AgentError, Reset, ResetError, ResetOptions, ResetReport};
use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::{ErrorBody, Failure};
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::model::{CellName, NodeName};
use crate::profiles::Program;

#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    #[command(flatten)]
    which: Which,
    /// Remove the data of the cells as well
    #[arg(long)]
    purge_data: bool,
    /// Do not deploy them again until a newer trigger asks for it
    #[arg(long)]
    hold: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// A cell; may be given several times
    #[arg(long = "cell", value_name = "CELL")]
    cells: Vec<CellName>,
    /// Every cell that the agent of this config owns
    #[arg(long)]
    all: bool,
}

/// What became of a cell.
struct Outcome {
    cell: CellName,
    result: Result<ResetReport, ResetError>,
}

/// The same as programs read it.
#[derive(Debug, Serialize)]
struct Told<'a> {
    cell: &'a str,
    #[serde(flatten)]
    report: Option<ToldReport<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
}

#[derive(Debug, Serialize)]
struct ToldReport<'a> {
    profiles: &'a [String],
    purged_data: bool,
    floor: Option<String>,
    asked: Option<&'a str>,
    held: bool,
    damaged_state: Option<&'a str>,
}

pub(super) async fn run(args: &ResetArgs, context: &Context) -> Result<Exit, Failure> {
    let config = context.config()?;
    let node = config.node.clone();
    let program = Program::current().map_err(|error| Failure::local("finding this program", &error))?;
    let (reset, profiles) = config.reset(&program, context.clock.clone()).await.map_err(refused)?;
    let done = take_off(args, &reset, &node, context.output).await;
    profiles.close().await;
    done
}

fn refused(error: AgentError) -> Failure {
    let runs = matches!(error, AgentError::AlreadyRunning { .. });
    let failure = Failure::from(error);
    if runs { failure.help("systemctl stop fleetagent, or end its process; what it runs goes on") } else { failure }
}

async fn take_off(args: &ResetArgs, reset: &Reset, node: &NodeName, output: Output) -> Result<Exit, Failure> {
    let here = reset.cells().await.map_err(|error| failure(&error))?;
    let cells = if args.which.all { here } else { chosen(&args.which.cells, &here)? };
    if cells.is_empty() {
        output.show(&[] as &[Told<'_>; 0], |_| "nothing of any cell is on this node".to_owned())?;
        return Ok(Exit::Ok);
    }
    let names = cells.iter().map(CellName::as_str).collect::<Vec<_>>().join(", ");
    let data = if args.purge_data { ", with their data" } else { "" };
    ask::confirm(&format!("Stop and remove {names} on this node{data}?"), args.yes)?;
    let options = ResetOptions { purge_data: args.purge_data, hold: args.hold };
    let mut outcomes = Vec::new();
    for cell in cells {
        let result = reset.take_off(&cell, options).await;
        outcomes.push(Outcome { cell, result });
    }
    tell(&outcomes, output)?;
    foretell(&outcomes, node, output);
    Ok(if outcomes.iter().any(|outcome| outcome.result.is_err()) { Exit::Failed } else { Exit::Ok })
}

/// The cells that were named, each of which must be here.
fn chosen(named: &[CellName], here: &BTreeSet<CellName>) -> Result<BTreeSet<CellName>, Failure> {
    if let Some(missing) = named.iter().find(|cell| !here.contains(*cell)) {
        let names = here.iter().map(CellName::as_str).collect::<Vec<_>>().join(", ");
        let there = if names.is_empty() { "of no cell is".to_owned() } else { format!("is of {names}") };
        let message = format!("there is nothing of cell {missing} on this node; what is here {there}");
        return Err(Failure::new(Exit::NotFound, "no_cell", message));
    }
    Ok(named.iter().cloned().collect())
}

fn failure(error: &ResetError) -> Failure {
    Failure::new(Exit::Failed, error.code.as_str(), error.to_string())
}

fn tell(outcomes: &[Outcome], output: Output) -> Result<(), Failure> {
    let failures: Vec<Option<Failure>> =
        outcomes.iter().map(|outcome| outcome.result.as_ref().err().map(failure)).collect();
    let told: Vec<Told<'_>> = outcomes
        .iter()
        .zip(&failures)
        .map(|(Outcome { cell, result }, failure)| Told {
            cell: cell.as_str(),
            report: result.as_ref().ok().map(|report| ToldReport {
                profiles: &report.profiles,
                purged_data: report.purged_data,
                floor: report.floor.map(|floor| floor.to_string()),
                asked: report.asked.as_deref(),
                held: report.held,
                damaged_state: report.damaged.as_deref(),
            }),
            error: failure.as_ref().map(Failure::body),
        })
        .collect();
    output.show(&told, |output| {
        let mut rows = Rows::new(output, &["cell", "result"]);
        for Outcome { cell, result } in outcomes {
            rows.row([cell.into(), result.as_ref().map_or_else(told_failed, told_done)]);
        }
        rows.render()
    })
}

fn told_failed(error: &ResetError) -> Shown {
    Shown::from(format!("{}: {error}", error.code)).toned(Tone::Bad)
}

fn told_done(report: &ResetReport) -> Shown {
    let mut words = match report.profiles.as_slice() {
        [] => "nothing of it ran here".to_owned(),
        profiles => format!("stopped and removed ({})", profiles.join(", ")),
    };
    if report.purged_data {
        words.push_str(", with its data");
    }
    if let Some(problem) = &report.damaged {
        words.push_str(&format!("; its state could not be read and was set aside: {problem}"));
    }
    Shown::from(words).toned(Tone::Good)
}

/// Says what the agent will do next, as far as it can be known without the bucket.
fn foretell(outcomes: &[Outcome], node: &NodeName, output: Output) {
    let done = || outcomes.iter().filter_map(|outcome| Some((&outcome.cell, outcome.result.as_ref().ok()?)));
    let names = |which: &dyn Fn(&ResetReport) -> bool| {
        let cells: Vec<&str> = done().filter(|(_, report)| which(report)).map(|(cell, _)| cell.as_str()).collect();
        (!cells.is_empty()).then(|| cells.join(", "))
    };
    let is_owed = |report: &ResetReport| report.asked.as_deref() == Some("deploy") && !report.held;
    if let Some(names) = names(&is_owed) {
        output.say(&format!(
            "When the agent starts it deploys again what the bucket asks for: {names}. For good: fleetman remove {node}/<cell>"
        ));
    }
    if let Some(names) = names(&|report| report.asked.is_none()) {
        output
            .say(&format!("Of these the agent knows no trigger, and deploys them if the bucket asks for it: {names}"));
    }
    if let Some(names) = names(&|report| report.held) {
        output.say(&format!(
            "Held until a newer trigger asks for it: {names}. It comes with: fleetman redeploy {node}/<cell>"
        ));
    }
}
