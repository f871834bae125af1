//! `fleetman history`: every trigger that a cell ever had, and what its node made of it.

use chrono::SecondsFormat;
use clap::Args;
use serde::Serialize;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Rows, Shown, Tone};
use crate::controller::{HistoryEntry, OutcomeEntry};
use crate::model::outcome::{Ending, Outcome};
use crate::model::trigger::Trigger;
use crate::model::{CellId, Floor};
use crate::store::in_full;

/// Show what was asked of a cell, newest first, and what its node made of it.
#[derive(Debug, Args)]
pub(super) struct HistoryArgs {
    /// The cell, as <node>/<cell>
    cell: CellId,
    /// How many at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    at: Floor,
    /// The trigger; absent if it is not believed.
    trigger: Option<&'a Trigger>,
    /// Why it is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// The last attempt of the node, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'a Outcome>,
}

pub(super) async fn run(args: HistoryArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.looker().await?;
    let history = controller.history(&args.cell, args.limit).await?;
    // Several attempts may belong to one trigger.
    let outcomes = controller.outcomes(&args.cell, args.limit.saturating_mul(4)).await?;
    if history.is_empty() {
        let failure = Failure::new(Exit::NotFound, "not_found", format!("nothing was ever published to {}", args.cell));
        return Err(failure.help("`fleetman get cells` shows which cells there are"));
    }
    let entries: Vec<Entry<'_>> = history.iter().map(|entry| join(entry, &outcomes)).collect();
    context.output.show(&entries, |output| {
        let mut rows = Rows::new(output, &["generation", "action", "version", "by", "at", "outcome", "reason"]);
        for entry in &entries {
            rows.row(row(entry));
        }
        rows.render()
    })?;
    Ok(Exit::Ok)
}

fn join<'a>(entry: &'a HistoryEntry, outcomes: &'a [OutcomeEntry]) -> Entry<'a> {
    let of_it = outcomes.iter().filter(|outcome| outcome.id.floor == entry.at).max_by_key(|outcome| outcome.id.attempt);
    Entry {
        at: entry.at,
        trigger: entry.trigger.as_ref().ok().map(|verified| &**verified),
        problem: entry.trigger.as_ref().err().map(|error| in_full(error)),
        outcome: of_it.and_then(|outcome| outcome.outcome.as_ref().ok()),
    }
}

fn row(entry: &Entry<'_>) -> [Shown; 7] {
    let Some(trigger) = entry.trigger else {
        let problem = entry.problem.clone().unwrap_or_default();
        let mark = Shown::from("not believed").toned(Tone::Bad);
        return [entry.at.into(), mark, "".into(), "".into(), "".into(), "".into(), problem.into()];
    };
    let (outcome, tone) = match entry.outcome.map(|outcome| (outcome.outcome, outcome.code)) {
        None => ("-".to_owned(), Tone::Faint),
        Some((Ending::Succeeded, _)) => ("succeeded".to_owned(), Tone::Good),
        Some((Ending::Superseded, _)) => ("superseded".to_owned(), Tone::Faint),
        Some((ending, code)) => {
            let word = match ending {
                Ending::RolledBack => "rolled back",
                Ending::Failed => "failed",
                _ => "unknown",
            };
            (code.map_or_else(|| word.to_owned(), |code| format!("{word}: {code}")), Tone::Bad)
        }
    };
    let version = trigger.action.target().map_or_else(|| "-".to_owned(), |target| target.version.to_string());
    [
        entry.at.into(),
        trigger.action.name().into(),
        version.into(),
        (&trigger.issued_by).into(),
        trigger.issued_at.to_rfc3339_opts(SecondsFormat::Secs, true).into(),
        Shown::from(outcome).toned(tone),
        trigger.reason.as_deref().unwrap_or_default().into(),
    ]
}
