//! `fleetman gc`: the broom.

use chrono::SecondsFormat;
use clap::Args;
use serde::Serialize;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::controller::GcReport;

/// Finish what was interrupted, and sweep what nothing names
///
/// Brings claimed triggers to their end, finishes deletions whose hour is over, and deletes files that no release and no
/// version has named for a day. Run it now and then, for example from cron; any number may run at once.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman gc --dry-run")]
pub(super) struct GcArgs {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
struct Swept {
    dry_run: bool,
    #[serde(flatten)]
    report: GcReport,
}

pub(super) async fn run(args: &GcArgs, context: &Context) -> Result<Exit, Failure> {
    let report = context.controller().await?.gc(args.dry_run).await?;
    let swept = Swept { dry_run: args.dry_run, report };
    context.output.show(&swept, |_| table(&swept))?;
    Ok(if swept.report.problems.is_empty() { Exit::Ok } else { Exit::Failed })
}

fn table(Swept { dry_run, report }: &Swept) -> String {
    let would = if *dry_run { "would be " } else { "" };
    let mut lines = Vec::new();
    lines.extend(report.finished.iter().map(|cell| format!("{cell}: its newest trigger {would}brought to its end")));
    lines.extend(report.deleted.iter().map(|version| format!("{version}: its deletion {would}finished")));
    lines.extend(report.swept.iter().map(|what| format!("{what}: {would}swept")));
    lines.extend(report.marked.iter().map(|marked| {
        let when = marked.ready_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        format!("{}: its deletion is due at {when}", marked.version)
    }));
    lines.extend(report.problems.iter().map(|problem| format!("not done: {problem}")));
    if lines.is_empty() { "Nothing to do.".to_owned() } else { lines.join("\n") }
}
