//! `fleetagent start`, `stop`, `restart` and `reload`: by hand, without the bucket, until the next version or the next
//! boot.

use std::time::Duration;

use clap::Args;
use futures_util::future::join_all;
use serde::Serialize;

use super::cells::{Cell, Cells, Target};
use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::{ErrorBody, Failure};
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::supervise::detached::Orders;
use crate::supervise::{Kind, ProcessState, ServiceDef, ServiceStatus};
use crate::yaml::HumanDuration;

#[derive(Debug, Args)]
pub(super) struct OrderArgs {
    /// The cell, and one process of it if not all of them are meant
    #[arg(value_name = "CELL[/PROCESS]")]
    target: Target,
    /// How long to wait until it is done
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    timeout: HumanDuration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Start,
    Stop,
    Restart,
    Reload,
}

/// What came of it for one process.
#[derive(Debug)]
struct Outcome {
    process: String,
    result: Result<Did, Failure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Did {
    Started,
    Stopped,
    Restarted,
    /// It was sent its reload signal. What it makes of it only itself can say.
    Signalled,
    /// It was so already.
    Unchanged,
}

/// An outcome as programs read it.
#[derive(Debug, Serialize)]
struct Told<'a> {
    cell: &'a str,
    process: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    did: Option<Did>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
}

pub(super) async fn run(order: Order, args: &OrderArgs, context: &Context) -> Result<Exit, Failure> {
    let cell = Cells::of(context)?.find(&args.target.cell)?;
    let orders = cell.orders()?;
    cell.processes(&args.target, orders.as_ref())?;
    let report = cell.report().await?;
    let (Some(orders), Some(now)) = (orders, report.service) else {
        let message = format!("cell {} is only just being started", cell.name);
        return Err(Failure::new(Exit::Conflict, "starting", message).help("try again in a moment"));
    };
    let HumanDuration(patience) = args.timeout;
    let outcomes = tokio::select! {
        outcomes = carry_out(order, &cell, &args.target, &orders, &now) => outcomes?,
        () = context.clock.sleep(patience) => return Err(still_under_way(&args.target, patience)),
    };
    let stopped = outcomes.iter().any(|outcome| matches!(outcome.result, Ok(Did::Stopped)));
    let exit = tell(&cell, outcomes, context.output)?;
    if stopped && order == Order::Stop {
        let address = cell.address();
        let for_good = format!("A reboot or a new version starts it again; for good: fleetman stop {address}");
        context.output.say(&for_good);
    }
    Ok(exit)
}

/// What a supervisor was asked for goes on.
fn still_under_way(target: &Target, patience: Duration) -> Failure {
    let message = format!("cell {} is not there yet after {} s, and goes on", target.cell, patience.as_secs_f32());
    Failure::new(Exit::TimedOut, "timed_out", message).help("`fleetagent ps` says what it waits for")
}

async fn carry_out(
    order: Order,
    cell: &Cell,
    target: &Target,
    orders: &Orders,
    now: &ServiceStatus,
) -> Result<Vec<Outcome>, Failure> {
    if let Some(process) = &target.process {
        let process = process.as_str();
        let ask = match order {
            Order::Start if runs(now, process) => Ask::Nothing,
            Order::Start => Ask::Start,
            Order::Stop if rests(now, process) => Ask::Nothing,
            Order::Stop => Ask::Stop,
            Order::Restart => Ask::Restart,
            Order::Reload => Ask::Reload,
        };
        return Ok(vec![ask_one(cell, process, ask).await]);
    }
    match order {
        Order::Start => Ok(start_all(cell, &orders.service, now).await),
        Order::Stop => stop_all(cell, &orders.service, now).await,
        Order::Restart => restart_all(cell, &orders.service, now).await,
        Order::Reload => reload_all(cell, &orders.service, now).await,
    }
}

fn runs(now: &ServiceStatus, process: &str) -> bool {
    now.processes.get(process).is_some_and(|status| matches!(status.state, ProcessState::Running { .. }))
}

fn rests(now: &ServiceStatus, process: &str) -> bool {
    now.processes.get(process).is_some_and(|status| status.state.is_at_rest())
}

/// Starts what starts with the cell. Of these each waits by itself for what it comes after.
async fn start_all(cell: &Cell, service: &ServiceDef, now: &ServiceStatus) -> Vec<Outcome> {
    let with_cell = service.processes.iter().filter(|(_, process)| process.autostart);
    let asked = with_cell.map(|(name, process)| {
        let state = now.processes.get(name).map(|status| &status.state);
        let is_done = process.kind == Kind::Task && matches!(state, Some(ProcessState::Completed { .. }));
        let ask = if is_done || runs(now, name) { Ask::Nothing } else { Ask::Start };
        ask_one(cell, name, ask)
    });
    join_all(asked).await
}

/// Stops what runs or will, in the reverse of the order of starting. What cannot be stopped keeps nothing else running.
async fn stop_all(cell: &Cell, service: &ServiceDef, now: &ServiceStatus) -> Result<Vec<Outcome>, Failure> {
    let ranks = service.ranks().map_err(|error| Failure::new(Exit::Internal, "orders", error.to_string()))?;
    let mut outcomes = Vec::new();
    for rank in ranks.iter().rev() {
        let asked =
            rank.iter().map(|name| ask_one(cell, name, if rests(now, name) { Ask::Nothing } else { Ask::Stop }));
        outcomes.extend(join_all(asked).await);
    }
    outcomes.sort_by(|a, b| a.process.cmp(&b.process));
    Ok(outcomes)
}

/// One request, so that what is stopped is started again whatever becomes of this program.
async fn restart_all(cell: &Cell, service: &ServiceDef, now: &ServiceStatus) -> Result<Vec<Outcome>, Failure> {
    let done = cell.connect().await?.restart_service().await;
    done.map_err(|error| {
        let failure = cell.failure(&error);
        let is_foreign = failure.body().code == "foreign_protocol";
        if is_foreign {
            failure.help(format!("restart its processes one by one: {}/<process>", cell.name))
        } else {
            failure
        }
    })?;
    let outcomes = service.processes.iter().filter_map(|(name, process)| {
        let did = if process.autostart { Did::Restarted } else { Did::Stopped };
        let was_touched = process.autostart || !rests(now, name);
        was_touched.then(|| Outcome { process: name.clone(), result: Ok(did) })
    });
    Ok(outcomes.collect())
}

/// Tells those that can be told and run. What does not run reads its configuration when it starts.
async fn reload_all(cell: &Cell, service: &ServiceDef, now: &ServiceStatus) -> Result<Vec<Outcome>, Failure> {
    if service.processes.values().all(|process| process.reload_signal.is_none()) {
        let message = format!("no process of cell {} has a reload signal, so it can only be restarted", cell.name);
        let help = restart_instead(cell.name.as_str());
        return Err(Failure::new(Exit::Usage, "no_reload_signal", message).help(help));
    }
    let asked = service.processes.iter().map(|(name, process)| {
        let is_told = process.reload_signal.is_some() && runs(now, name);
        ask_one(cell, name, if is_told { Ask::Reload } else { Ask::Nothing })
    });
    Ok(join_all(asked).await)
}

fn restart_instead(target: &str) -> String {
    format!("`fleetagent restart {target}` stops it and starts it again")
}

/// What a supervisor is asked to do with one process.
enum Ask {
    Nothing,
    Start,
    Stop,
    Restart,
    Reload,
}

/// Each has a connection of its own, because a supervisor answers one request after the other.
async fn ask_one(cell: &Cell, process: &str, ask: Ask) -> Outcome {
    let asked = async {
        let did = match ask {
            Ask::Nothing => return Ok(Did::Unchanged),
            Ask::Start => Did::Started,
            Ask::Stop => Did::Stopped,
            Ask::Restart => Did::Restarted,
            Ask::Reload => Did::Signalled,
        };
        let mut client = cell.connect().await?;
        let done = match ask {
            Ask::Nothing => Ok(()),
            Ask::Start => client.start_process(process).await,
            Ask::Stop => client.stop_process(process).await,
            Ask::Restart => client.restart_process(process).await,
            Ask::Reload => client.reload_process(process).await,
        };
        done.map(|()| did).map_err(|error| {
            let failure = cell.failure(&error);
            let can_restart = matches!(failure.body().code, "no_reload_signal" | "foreign_protocol");
            if can_restart { failure.help(restart_instead(&format!("{}/{process}", cell.name))) } else { failure }
        })
    };
    Outcome { process: process.to_owned(), result: asked.await }
}

/// Tells what was done and what was not.
///
/// # Errors
/// The failure of the one process that there was: it says more than that something failed.
fn tell(cell: &Cell, mut outcomes: Vec<Outcome>, output: Output) -> Result<Exit, Failure> {
    if outcomes.len() == 1 && outcomes.iter().all(|outcome| outcome.result.is_err()) {
        return outcomes.pop().map_or(Ok(Exit::Ok), |outcome| outcome.result.map(|_| Exit::Ok));
    }
    let told: Vec<Told<'_>> = outcomes
        .iter()
        .map(|Outcome { process, result }| Told {
            cell: cell.name.as_str(),
            process,
            did: result.as_ref().ok().copied(),
            error: result.as_ref().err().map(Failure::body),
        })
        .collect();
    output.show(&told, |output| {
        let mut rows = Rows::new(output, &["cell", "process", "result"]);
        for Outcome { process, result } in &outcomes {
            let what = match result {
                Ok(Did::Started) => Shown::from("started").toned(Tone::Good),
                Ok(Did::Stopped) => Shown::from("stopped").toned(Tone::Good),
                Ok(Did::Restarted) => Shown::from("restarted").toned(Tone::Good),
                Ok(Did::Signalled) => Shown::from("signalled").toned(Tone::Good),
                Ok(Did::Unchanged) => Shown::from("unchanged").toned(Tone::Faint),
                Err(failure) => Shown::from(failure.message()).toned(Tone::Bad),
            };
            rows.row([(&cell.name).into(), process.into(), what]);
        }
        rows.render()
    })?;
    let failed = outcomes.iter().any(|outcome| outcome.result.is_err());
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}
