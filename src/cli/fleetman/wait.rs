//! Following what was published until its nodes are done with it.

use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::change::Changed;
use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::controller::{Controller, FollowedHow, LastLines};
use crate::model::heartbeat::{CellReport, Phase};
use crate::model::{CellId, Code, Floor, VersionName, text};
use crate::yaml::HumanDuration;

/// How many nodes are looked at at once.
const AT_ONCE: usize = 32;

/// How many lines of a log are shown of what failed.
const LAST_LINES: usize = 20;

/// How long the log of what failed is waited for: a node writes it after its heartbeat.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// Whether to wait for the nodes.
#[derive(Debug, Clone, Args)]
pub(super) struct WaitArgs {
    /// Follow until the nodes are done; exit code 8 if one fails, 7 if it takes too long
    #[arg(short, long)]
    wait: bool,
    /// How long to wait [default: wait_timeout of the config]
    #[arg(long, value_name = "DURATION", requires = "wait")]
    timeout: Option<HumanDuration>,
}

/// How following a cell ended.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Ended {
    /// `applied`, `rolled_back`, `failed`, `superseded`, `timed_out`, `detached` or `lost_sight`.
    pub(super) how: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
    /// What became of the cell after it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    aftermath: Option<Aftermath>,
    #[serde(skip)]
    exit: Exit,
}

/// What became of a cell after it failed.
#[derive(Debug, Clone, Serialize)]
struct Aftermath {
    /// The version that is there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    running: Option<VersionName>,
    /// Why the node waits for a person, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs_operator: Option<String>,
    /// Which attempt the lines are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    /// The last lines of its log.
    log: Vec<String>,
}

impl Ended {
    fn new(how: &'static str, message: Option<String>, exit: Exit) -> Self {
        Self { how, message, aftermath: None, exit }
    }
}

impl WaitArgs {
    /// For a verb that waits without being told to.
    pub(super) fn always(timeout: Option<HumanDuration>) -> Self {
        Self { wait: true, timeout }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.wait
    }

    fn timeout(&self, context: &Context) -> Result<Duration, Failure> {
        match self.timeout {
            Some(HumanDuration(timeout)) => Ok(timeout),
            None => Ok(context.quiet_config()?.wait_timeout),
        }
    }
}

/// Follows every change to its end, or until `interrupted`, and notes how it ended.
pub(super) async fn follow(
    context: &Context,
    controller: &Controller,
    changes: &mut [(CellId, Changed)],
    wait: &WaitArgs,
    interrupted: CancellationToken,
) -> Result<Exit, Failure> {
    let timeout = wait.timeout(context)?;
    let interrupted = &interrupted;
    let mut ends = stream::iter(changes.iter_mut())
        .map(async |(cell, changed)| {
            let ended = tokio::select! {
                ended = follow_one(context, controller, cell, changed.at, timeout) => ended,
                () = interrupted.cancelled() => Ended::new("detached", None, Exit::Interrupted),
            };
            let exit = ended.exit;
            changed.followed = Some(ended);
            (cell.clone(), exit)
        })
        .buffer_unordered(AT_ONCE);
    let (mut worst, mut detached) = (Exit::Ok, Vec::new());
    while let Some((cell, exit)) = ends.next().await {
        worst = worst.max(exit);
        if exit == Exit::Interrupted {
            detached.push(cell.to_string());
        }
    }
    if !detached.is_empty() {
        let cells = detached.join(" ");
        context.output.say(&format!("Detached; the nodes go on. Look again: fleetman status {cells}"));
    }
    Ok(worst)
}

async fn follow_one(context: &Context, controller: &Controller, cell: &CellId, at: Floor, timeout: Duration) -> Ended {
    let tell = |report: &CellReport| {
        let waiting = report.waiting.as_ref().map(|waiting| format!(": {}", waiting.message)).unwrap_or_default();
        context.output.say(&format!("{cell}: {}{waiting}", report.phase.as_str()));
    };
    let followed = match controller.follow(cell, at, Some(timeout), tell).await {
        Ok(followed) => followed,
        Err(error) => {
            let failure = Failure::from(error);
            let how = if failure.exit == Exit::TimedOut { "timed_out" } else { "lost_sight" };
            return Ended::new(how, Some(failure.message().to_owned()), failure.exit);
        }
    };
    match followed.how {
        FollowedHow::Applied => Ended::new("applied", None, Exit::Ok),
        FollowedHow::RolledBack => failed(context, controller, cell, at, &followed.report, "rolled_back").await,
        FollowedHow::Failed => failed(context, controller, cell, at, &followed.report, "failed").await,
        FollowedHow::Superseded { by } => Ended::new("superseded", Some(format!("by generation {by}")), Exit::Conflict),
    }
}

/// Tells why it failed, what the node wrote last, and what became of the cell.
async fn failed(
    context: &Context,
    controller: &Controller,
    cell: &CellId,
    at: Floor,
    report: &CellReport,
    how: &'static str,
) -> Ended {
    let fault = report.last_error.as_ref().map(|fault| format!("{}: {}", fault.code, fault.message));
    let waiting = report.waiting.as_ref().map(|waiting| format!("{}: {}", waiting.reason, waiting.message));
    let message = fault.or(waiting);
    // Content that failed before is not tried again, so there is nothing to wait for.
    let patience = if report.phase == Phase::Waiting { Duration::ZERO } else { LOG_PATIENCE };
    let last = match controller.last_lines(cell, at, LAST_LINES, patience).await {
        Ok(last) => last,
        Err(error) => {
            context.output.say(&format!("{cell}: warning: its log cannot be read: {error}"));
            None
        }
    };
    let operator = report.conditions.iter().find(|condition| condition.code == Code::NeedsOperator);
    let aftermath = Aftermath {
        running: report.running.as_ref().map(|running| running.version.clone()),
        needs_operator: operator.map(|condition| condition.message.clone()),
        attempt: last.as_ref().map(|last| last.attempt.attempt),
        log: last.as_ref().map(|last| last.lines.clone()).unwrap_or_default(),
    };
    context.output.say(&story(cell, at, how, message.as_deref(), &aftermath, last.as_ref()));
    Ended { aftermath: Some(aftermath), ..Ended::new(how, message, Exit::Failed) }
}

fn story(
    cell: &CellId,
    at: Floor,
    how: &str,
    message: Option<&str>,
    aftermath: &Aftermath,
    last: Option<&LastLines>,
) -> String {
    let mut lines = Vec::new();
    match last {
        Some(LastLines { attempt, lines: found, has_more }) => {
            let number = attempt.attempt;
            let whole = format!("fleetman attempts {cell} --at {at} --attempt {number} --log");
            let whole = if *has_more { format!("; all of it: {whole}") } else { String::new() };
            lines.push(format!("{cell}: the last lines of attempt {number} at generation {at}{whole}"));
            lines.extend(found.iter().map(|line| format!("{cell} | {}", text::line(line))));
        }
        None => lines.push(format!("{cell}: the node has written no log of it")),
    }
    let why = message.map(|message| format!(": {}", text::line(message))).unwrap_or_default();
    let running = aftermath.running.as_ref();
    let now = match (how, running) {
        ("rolled_back", Some(version)) => format!("rolled back to {version}"),
        (_, Some(version)) => format!("failed; {version} is what is there now"),
        (_, None) => "failed; nothing is there now".to_owned(),
    };
    lines.push(format!("{cell}: {now}{why}"));
    if let Some(why) = &aftermath.needs_operator {
        lines.push(format!("{cell}: the node needs an operator: {}", text::line(why)));
    }
    lines.join("\n")
}
