//! `fleetman gc`: the broom.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde::Serialize;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

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
    /// Folders and objects that nothing names.
    swept: Vec<String>,
    /// How many objects were deleted.
    objects: usize,
    /// Cells whose newest trigger was brought to its end.
    finished: Vec<String>,
    /// Versions whose deletion was finished.
    deleted: Vec<String>,
    /// Versions whose deletion is not due yet.
    marked: Vec<Marked>,
    /// What could not be done, and why.
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Marked {
    version: String,
    ready_at: DateTime<Utc>,
}

pub(super) async fn run(args: &GcArgs, context: &Context) -> Result<Exit, Failure> {
    let report = context.controller().await?.gc(args.dry_run).await?;
    let swept = Swept {
        dry_run: args.dry_run,
        swept: report.swept,
        objects: report.objects,
        finished: report.finished.iter().map(ToString::to_string).collect(),
        deleted: report.deleted,
        marked: report.marked.into_iter().map(|(version, ready_at)| Marked { version, ready_at }).collect(),
        problems: report.problems,
    };
    context.output.show(&swept, |_| table(&swept))?;
    Ok(if swept.problems.is_empty() { Exit::Ok } else { Exit::Failed })
}

fn table(swept: &Swept) -> String {
    let would = if swept.dry_run { "would be " } else { "" };
    let mut lines = Vec::new();
    lines.extend(swept.finished.iter().map(|cell| format!("{cell}: its newest trigger {would}brought to its end")));
    lines.extend(swept.deleted.iter().map(|version| format!("{version}: its deletion {would}finished")));
    lines.extend(swept.swept.iter().map(|what| format!("{what}: {would}swept")));
    lines.extend(swept.marked.iter().map(|marked| {
        let when = marked.ready_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        format!("{}: its deletion is due at {when}", marked.version)
    }));
    lines.extend(swept.problems.iter().map(|problem| format!("not done: {problem}")));
    if lines.is_empty() { "Nothing to do.".to_owned() } else { lines.join("\n") }
}
