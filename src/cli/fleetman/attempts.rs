//! `fleetman attempts`: what a node tried for a cell, and the log of each try.

use chrono::SecondsFormat;
use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::print;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::controller::{Controller, PastAttempt};
use crate::model::keys::AttemptId;
use crate::model::outcome::Ending;
use crate::model::{CellId, Floor, ObjectKey};
use crate::web::views::Attempt;

/// Show what a node tried for a cell, and with --log what it wrote
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fleetman attempts n1/web\n  fleetman attempts n1/web --log\n  fleetman attempts n1/web --at 1-42 --attempt 2 --log"
)]
pub(super) struct AttemptsArgs {
    /// The cell, as <node>/<cell>
    cell: CellId,
    /// Only those at this generation, as `fleetman history` shows it
    #[arg(long, value_name = "GENERATION")]
    at: Option<Floor>,
    /// Only this one of them
    #[arg(long, value_name = "N", requires = "at")]
    attempt: Option<u32>,
    /// Print the log of the newest
    #[arg(long)]
    log: bool,
    /// How many generations back at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, conflicts_with = "at")]
    limit: usize,
}

/// An attempt in the shape of the API, and at which trigger it was.
#[derive(Debug, Serialize)]
struct Entry {
    at: Floor,
    #[serde(flatten)]
    attempt: Attempt,
}

pub(super) async fn run(args: AttemptsArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.looker().await?;
    let found = find(&controller, &args).await?;
    if args.log {
        return log(&controller, &args, &found, context.output).await;
    }
    if found.is_empty() {
        return Err(absent(&args, "attempt"));
    }
    let entries: Vec<Entry> =
        found.into_iter().map(|it| Entry { at: it.id.floor, attempt: Attempt::from(it) }).collect();
    context.output.show(&entries, |output| table(&entries, output))?;
    Ok(Exit::Ok)
}

/// The attempts that were asked for, newest first.
async fn find(controller: &Controller, args: &AttemptsArgs) -> Result<Vec<PastAttempt>, Failure> {
    let mut found = match args.at {
        Some(at) => controller.attempts_at(&args.cell, at).await?.newest,
        None => {
            let past = controller.past(&args.cell, None, args.limit).await?;
            past.triggers.into_iter().flat_map(|trigger| trigger.attempts.newest).collect()
        }
    };
    found.retain(|it| args.attempt.is_none_or(|attempt| it.id.attempt == attempt));
    Ok(found)
}

async fn log(
    controller: &Controller,
    args: &AttemptsArgs,
    found: &[PastAttempt],
    output: Output,
) -> Result<Exit, Failure> {
    let newest = found.iter().find(|it| it.log.is_some()).map(|it| it.id.clone());
    // It may be older than those that are listed.
    let named = args.at.zip(args.attempt).map(|(floor, attempt)| AttemptId { cell: args.cell.clone(), floor, attempt });
    let key = ObjectKey::AttemptLog(newest.or(named).ok_or_else(|| absent(args, "log"))?);
    let meta = controller.store().head(&key).await?.ok_or_else(|| absent(args, "log"))?;
    print::object(controller.store(), &key, 0..meta.size, |_| Ok(()), output).await?;
    Ok(Exit::Ok)
}

fn absent(args: &AttemptsArgs, what: &str) -> Failure {
    let at = args.at.map(|at| format!(" at generation {at}")).unwrap_or_default();
    let message = format!("there is no {what} of {}{at}", args.cell);
    let failure = Failure::new(Exit::NotFound, "not_found", message);
    failure.help(format!("`fleetman status {}` tells how the cell is and whether its node is heard of", args.cell))
}

fn table(entries: &[Entry], output: Output) -> String {
    let mut rows = Rows::new(output, &["generation", "attempt", "outcome", "ended", "log bytes", "message"]);
    for Entry { at, attempt } in entries {
        let outcome = attempt.outcome.as_ref();
        let (word, tone) = match outcome.map(|outcome| outcome.outcome) {
            None if attempt.problem.is_some() => ("unreadable", Tone::Bad),
            None => ("under way", Tone::Warn),
            Some(Ending::Succeeded) => ("succeeded", Tone::Good),
            Some(Ending::Superseded) => ("superseded", Tone::Faint),
            Some(Ending::RolledBack) => ("rolled back", Tone::Bad),
            Some(Ending::Failed) => ("failed", Tone::Bad),
            Some(Ending::Unknown) => ("unknown", Tone::Warn),
        };
        let ended = outcome.map(|outcome| outcome.ended_at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let why = outcome.and_then(|outcome| {
            let code = outcome.code?;
            Some(outcome.message.as_ref().map_or_else(|| code.to_string(), |message| format!("{code}: {message}")))
        });
        rows.row([
            at.into(),
            attempt.attempt.into(),
            Shown::from(word).toned(tone),
            ended.unwrap_or_default().into(),
            attempt.log_bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()).into(),
            why.or_else(|| attempt.problem.clone()).unwrap_or_default().into(),
        ]);
    }
    rows.render()
}
