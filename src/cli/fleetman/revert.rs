//! `fleetman revert`: back to what was at an instant.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{ArgGroup, Args};
use serde::Serialize;

use super::batch::{Again, Batch};
use super::change::Changed;
use super::context::Context;
use super::wait::{WaitArgs, follow};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::cli::{ask, interrupt};
use crate::controller::{Moment, Revert, RevertOptions, RevertStep, Scope};
use crate::model::CellId;

/// Bring a cell, a node or the fleet back to what it was at an instant.
///
/// Everything is worked out before anything is done: which cells go back to which version, which are stopped or removed,
/// and which cannot be brought back. A cell goes back only to a version that was wished and ran, and that the bucket
/// still has. Cells to which nothing had been published yet stay, unless --remove-newer is given.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("where").required(true).args(["scope", "all"]),
    after_help = "Examples:\n  fleetman revert n1/web --to '2h ago' --dry-run\n  fleetman revert --all --to 2026-03-01T12:00:00Z --reason 'bad night' --wait"
)]
pub(super) struct RevertArgs {
    /// Where: <node>/<cell> or <node>
    #[arg(value_name = "NODE[/CELL]")]
    scope: Option<Scope>,
    /// The whole fleet
    #[arg(long)]
    all: bool,
    /// When: a time, or '2h ago'
    #[arg(long, value_name = "TIME")]
    to: Moment,
    /// Remove cells to which nothing had been published yet
    #[arg(long)]
    remove_newer: bool,
    /// Only say what would be done; exit code 1 if something would
    #[arg(long, conflicts_with_all = ["yes", "wait"])]
    dry_run: bool,
    /// Why, for the triggers and the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Serialize)]
struct Plan<'a> {
    time: DateTime<Utc>,
    cells: &'a [RevertStep],
}

pub(super) async fn run(args: RevertArgs, context: &Context) -> Result<Exit, Failure> {
    let time = args.to.before(context.clock.now())?;
    let controller = if args.dry_run { context.looker().await? } else { context.controller().await? };
    let options = RevertOptions { remove_newer: args.remove_newer };
    let steps = controller.plan_revert(&args.scope.unwrap_or_default(), time, options).await?;
    let is_refused = steps.iter().any(|step| matches!(step.revert, Revert::Refused { .. }));
    let changes: Vec<CellId> = controller.revert_order(&steps).await?;
    if args.dry_run || changes.is_empty() {
        context.output.show(&Plan { time, cells: &steps }, |output| table(&steps, output))?;
        return Ok(match (is_refused, args.dry_run && !changes.is_empty()) {
            (true, _) => Exit::Failed,
            (false, true) => Exit::Negative,
            (false, false) => Exit::Ok,
        });
    }
    context.output.say(&table(&steps, context.output.uncoloured()));
    let back = time.to_rfc3339_opts(SecondsFormat::Secs, true);
    ask::confirm(&format!("Bring {} of {} cells back to {back}?", changes.len(), steps.len()), args.yes)?;

    let interrupted = interrupt::watch()?;
    let mut ran = Batch::agreed(context, changes, interrupted.clone())
        .run(async |cell| {
            let step = steps.iter().find(|step| step.cell == *cell);
            let step = step.ok_or_else(|| Failure::usage(format!("{cell} is not part of the plan")))?;
            let reverted = controller.revert(step, time, args.reason.as_deref()).await?;
            let reverted = reverted.ok_or_else(|| Failure::usage(format!("{cell}: there was nothing to do")))?;
            Ok(Changed::from(reverted))
        })
        .await;
    let followed = if args.wait.is_wanted() {
        follow(context, &controller, &mut ran.done, &args.wait, interrupted).await?
    } else {
        Exit::Ok
    };
    Ok(match ran.finish(context.output, Again::Nothing)? {
        Exit::Ok if is_refused => followed.max(Exit::Failed),
        Exit::Ok => followed,
        exit => exit,
    })
}

fn table(steps: &[RevertStep], output: Output) -> String {
    if steps.is_empty() {
        return "Nothing was ever published there.".to_owned();
    }
    let mut rows = Rows::new(output, &["cell", "", "what"]);
    for RevertStep { cell, revert, .. } in steps {
        let (mark, mut what) = revert.in_words();
        let tone = match revert {
            Revert::Unchanged => Tone::Faint,
            Revert::Newer => {
                what.push_str("; --remove-newer removes it");
                Tone::Faint
            }
            Revert::Deploy { .. } | Revert::Stop => Tone::Warn,
            Revert::Remove | Revert::Refused { .. } => Tone::Bad,
        };
        rows.row([cell.into(), Shown::from(mark).toned(tone), Shown::whole(&what)]);
    }
    rows.render()
}
