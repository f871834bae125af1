//! `fleetman plan`: what a publish would change, without writing anything.

use std::fmt::Write as _;

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::publish::InputArgs;
use super::{changes, forecast};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Tone};
use crate::controller::{Changes, Forecast, Plan, PlannedVersion};
use crate::model::text;
use crate::model::{CellId, DeploymentName, ManifestName, Sha256Digest};

/// Show what a publish would change and what its node would do, and what it takes to publish just that.
///
/// Settings, files, and what stands on the host beside them: units, supervisord's file, definitions of processes. What
/// restarts and what only reloads, which hooks run, what delays it, and what it must pass. Values that may be secrets
/// are masked.
///
/// Exit code 1 where there is something to publish.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman plan n1/web --deployment 1.4.2")]
pub(super) struct PlanArgs {
    /// The cell, as <node>/<cell>
    cell: CellId,
    #[command(flatten)]
    inputs: InputArgs,
}

/// A plan, as programs read it.
#[derive(Debug, Serialize)]
struct Shape<'a> {
    cell: &'a CellId,
    manifest: &'a ManifestName,
    deployment: Option<&'a DeploymentName>,
    current: Option<String>,
    generation: u64,
    version: &'a PlannedVersion,
    content_sha256: Sha256Digest,
    is_needed: bool,
    restart: bool,
    summary: String,
    paused: Option<&'a str>,
    changes: &'a Changes,
    forecast: &'a Forecast,
    warnings: Vec<String>,
}

pub(super) async fn run(args: PlanArgs, context: &Context) -> Result<Exit, Failure> {
    let plan = context.looker().await?.plan(&args.inputs.request(&args.cell)).await?;
    let shape = Shape {
        cell: &plan.cell,
        manifest: &plan.manifest,
        deployment: plan.deployment.as_ref(),
        current: plan.current.as_ref().map(ToString::to_string),
        generation: plan.generation,
        version: &plan.version,
        content_sha256: plan.content_sha256,
        is_needed: plan.is_needed,
        restart: plan.restarts(),
        summary: plan.summary(),
        paused: plan.paused.as_deref(),
        changes: &plan.changes,
        forecast: &plan.forecast,
        warnings: plan.warnings.iter().map(ToString::to_string).collect(),
    };
    context.output.show(&shape, |output| for_people(&plan, output))?;
    Ok(if plan.is_needed { Exit::Negative } else { Exit::Ok })
}

fn for_people(plan: &Plan, output: Output) -> String {
    let mut shown = String::new();
    // Writing into a String cannot fail.
    let mut line = |text: String| {
        let _ = writeln!(shown, "{text}");
    };
    let exists = if plan.version.exists { "exists" } else { "new" };
    let PlannedVersion { name, files, bytes, .. } = &plan.version;
    line(format!("{}  {name} ({exists}, {files} files, {bytes} bytes)", plan.cell));
    match &plan.current {
        Some(current) => line(text::line(&format!("  now: {current}"))),
        None => line("  now: nothing was ever published".to_owned()),
    }
    if let Some(reason) = &plan.paused {
        line(output.paint(
            Tone::Bad,
            &format!("  paused: {reason}; publishing is refused until `fleetman resume {}`", plan.cell),
        ));
    }
    for warning in &plan.warnings {
        line(output.paint(Tone::Warn, &format!("  warning: {warning}")));
    }
    changes::lines(&plan.changes, output).into_iter().for_each(&mut line);
    if !plan.is_needed {
        line("Nothing to publish.".to_owned());
        return shown.trim_end().to_owned();
    }
    forecast::lines(&plan.forecast, output).into_iter().for_each(&mut line);
    line(plan.summary());
    line("Publish exactly this:".to_owned());
    let deployment = plan.deployment.as_ref().map(|name| format!(" --deployment {name}")).unwrap_or_default();
    line(format!(
        "  fleetman publish {}{deployment} --if-generation {} --expect {}",
        plan.cell, plan.generation, plan.content_sha256
    ));
    shown.trim_end().to_owned()
}
