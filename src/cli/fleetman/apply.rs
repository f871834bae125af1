//! `fleetman apply` and `validate`: manifests, cells and their files as one change.

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::select::Label;
use super::source::FileArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::{ErrorBody, Failure};
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::cli::{ask, interrupt};
use crate::controller::{Actor, ApplyLine, ApplyPlan, ApplyStep, ApplySummary, Controller, Prune, StepHow};

/// Put manifests, cells and their files into the bucket, byte for byte.
///
/// All of it is read and checked before the first write. Each write is bound to what was read; what was changed
/// meanwhile is left as it is, and the same command again does the rest. Nothing is deployed: `fleetman publish` does
/// that.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fleetman apply -f site.yaml -f cells/
  fleetman apply -f fleet/ --dry-run
  fleetman apply -f shop/ --prune -l team=shop --yes
  cat site.yaml | fleetman apply -f -")]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    files: FileArgs,
    /// Only say what would be done; exit code 1 if something would
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    prune: PruneArgs,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Do not ask before something is deleted
    #[arg(short, long)]
    yes: bool,
}

/// What goes that is not in the files.
#[derive(Debug, Args)]
struct PruneArgs {
    /// Delete manifests and cells that carry the labels and are not in the files, and overrides that are not beside
    /// their cell
    #[arg(long, requires = "label")]
    prune: bool,
    /// The labels that say what belongs to the files; each document must carry them
    #[arg(short = 'l', long, value_name = "KEY=VALUE", value_delimiter = ',', requires = "prune")]
    label: Vec<Label>,
    /// How many objects may go at most
    #[arg(long, value_name = "N", default_value_t = 10, requires = "prune")]
    prune_max: usize,
    /// Which part of what carries the labels may go at most, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50, requires = "prune",
        value_parser = clap::value_parser!(u8).range(0..=100))]
    prune_max_share: u8,
    /// Also remove cells from their nodes that were published; the same command deletes them when that is done
    #[arg(long, requires = "prune")]
    remove_running: bool,
}

/// Check manifests and cells without a bucket.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman validate -f site.yaml")]
pub(super) struct ValidateArgs {
    #[command(flatten)]
    files: FileArgs,
}

/// A document that can be applied.
#[derive(Debug, Serialize)]
struct Valid {
    kind: &'static str,
    name: String,
}

/// What came of an apply, or would.
#[derive(Debug, Serialize)]
struct Report<'a> {
    dry_run: bool,
    summary: ApplySummary,
    objects: Vec<ApplyLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
}

impl PruneArgs {
    fn read(&self) -> Option<Prune> {
        self.prune.then(|| Prune {
            labels: self.label.iter().map(Label::pair).collect(),
            most: self.prune_max,
            most_percent: self.prune_max_share,
            remove_running: self.remove_running,
        })
    }
}

pub(super) async fn apply(args: ApplyArgs, context: &Context) -> Result<Exit, Failure> {
    let mut request = args.files.read().await?;
    request.prune = args.prune.read();
    let controller = if args.dry_run { context.looker().await? } else { context.controller().await? };
    let actor = Actor { reason: args.reason, ..controller.actor().clone() };
    let controller = controller.acting_as(actor);
    let plan = controller.plan_apply(request).await?;
    if args.dry_run {
        let report = Report::of(plan.lines(), true, None);
        context.output.show(&report, |output| report.table(output))?;
        let is_change = plan.steps().iter().any(|step| step.how.is_change());
        return Ok(if is_change { Exit::Negative } else { report.ends(Exit::Ok) });
    }
    let going: Vec<&ApplyStep> = plan.steps().iter().filter(|step| step.how.is_prune()).collect();
    if !going.is_empty() {
        for step in &going {
            let verb = if step.how == StepHow::Remove { "remove from its node" } else { "delete" };
            context.output.say(&format!("{verb} {}", step.target));
        }
        ask::confirm(&format!("Prune {} of {} objects?", going.len(), plan.steps().len()), args.yes)?;
    }
    carry_out(&plan, &controller, context).await
}

async fn carry_out(plan: &ApplyPlan, controller: &Controller, context: &Context) -> Result<Exit, Failure> {
    let interrupted = interrupt::watch()?;
    let (lines, failure) = controller.carry_out(plan, || interrupted.is_cancelled()).await;
    let failure = failure.map(Failure::from);
    let report = Report::of(lines, false, failure.as_ref());
    context.output.show(&report, |output| report.table(output))?;
    if report.summary.left > 0 || failure.is_some() {
        let done = report.summary.done();
        context.output.say(&format!("{done} of {} done; the same command again does the rest", report.objects.len()));
    }
    match failure {
        Some(failure) => Err(failure),
        None if report.summary.left > 0 => Ok(Exit::Interrupted),
        None => Ok(report.ends(Exit::Failed)),
    }
}

impl<'a> Report<'a> {
    fn of(objects: Vec<ApplyLine>, dry_run: bool, failure: Option<&'a Failure>) -> Self {
        Self { dry_run, summary: ApplySummary::of(&objects), objects, error: failure.map(Failure::body) }
    }

    /// How the command ends that met nothing worse than what it was to leave.
    fn ends(&self, refused: Exit) -> Exit {
        if self.summary.refused == 0 { Exit::Ok } else { refused.max(Exit::Failed) }
    }

    fn table(&self, output: Output) -> String {
        let mut rows = Rows::new(output, &["object", "", "why"]);
        for line in &self.objects {
            let tone = match line.how {
                "unchanged" => Tone::Faint,
                "pruned" | "removing" | "left" => Tone::Warn,
                "refused" => Tone::Bad,
                _ => Tone::Good,
            };
            let why = Shown::whole(line.why.as_deref().unwrap_or_default());
            rows.row([(&line.object).into(), Shown::from(line.how).toned(tone), why]);
        }
        let dry = if self.dry_run { " (nothing was written)" } else { "" };
        format!("{}\n{}{dry}", rows.render(), self.summary)
    }
}

pub(super) async fn validate(args: &ValidateArgs, context: &Context) -> Result<Exit, Failure> {
    let set = args.files.read().await?.set;
    let manifests = set.manifests.keys().map(|name| Valid { kind: "manifest", name: name.to_string() });
    let cells = set.cells.keys().map(|cell| Valid { kind: "cell", name: cell.to_string() });
    let valid: Vec<Valid> = manifests.chain(cells).collect();
    context.output.show(&valid, |_| {
        let lines: Vec<String> =
            valid.iter().map(|document| format!("{} {} is valid", document.kind, document.name)).collect();
        lines.join("\n")
    })?;
    Ok(Exit::Ok)
}
