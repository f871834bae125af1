//! `fleetman at`, and `diff` of two times: what was wished and what ran at an instant, and what changed between two.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde::Serialize;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::controller::{Answer, CellAt, InstantChange, Moment, Scope, Wished};

/// Show what was wished and what ran at an instant.
///
/// What was wished comes from the signed history, what ran from what nodes told. An instant of which no node told is
/// not confirmed. Nothing but the bucket is needed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fleetman at 2026-03-01T12:00:00Z n1/web\n  fleetman at '2h ago' n1\n  fleetman at '1d ago' -o json"
)]
pub(super) struct AtArgs {
    /// When: a time, or '2h ago'
    #[arg(value_name = "TIME")]
    time: Moment,
    /// Where: <node>/<cell> or <node> [default: the whole fleet]
    #[arg(value_name = "NODE[/CELL]")]
    scope: Option<Scope>,
}

#[derive(Debug, Serialize)]
struct At {
    time: DateTime<Utc>,
    cells: Vec<CellAt>,
}

#[derive(Debug, Serialize)]
struct Changed {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    cells: Vec<InstantChange>,
}

pub(super) async fn at(args: AtArgs, context: &Context) -> Result<Exit, Failure> {
    let time = args.time.before(context.clock.now())?;
    let scope = args.scope.unwrap_or_default();
    let chronicles = context.looker().await?.chronicles(&scope, Some(time)).await?;
    let cells = chronicles.iter().map(|chronicle| chronicle.at(time));
    // Of many, those that were not there yet are of no interest.
    let is_shown = |cell: &CellAt| cell.wished != Wished::Nothing || matches!(scope, Scope::Cell(_));
    let at = At { time, cells: cells.filter(is_shown).collect() };
    context.output.show(&at, |output| table(&at, output))?;
    for cell in &at.cells {
        cell.doubts.iter().for_each(|doubt| context.output.say(&format!("{}: {doubt}", cell.cell)));
    }
    Ok(Exit::Ok)
}

/// What changed between two instants; `fleetman diff --from-time`.
pub(super) async fn changed(from: Moment, to: Moment, scope: &Scope, context: &Context) -> Result<Exit, Failure> {
    let now = context.clock.now();
    let (from, to) = (from.before(now)?, to.before(now)?);
    if from > to {
        return Err(Failure::usage("--from-time is later than --to-time"));
    }
    let controller = context.looker().await?;
    let cells = controller.changed_between(scope, from, to).await?;
    let changed = Changed { from, to, cells };
    context.output.show(&changed, |output| changes(&changed, output))?;
    Ok(if changed.cells.is_empty() { Exit::Ok } else { Exit::Negative })
}

fn table(at: &At, output: Output) -> String {
    if at.cells.is_empty() {
        return format!("At {} nothing had been published.", at.time.to_rfc3339_opts(SecondsFormat::Secs, true));
    }
    let mut rows = Rows::new(output, &["cell", "wished", "since", "by", "ran", ""]);
    for cell in &at.cells {
        let (since, by) = match &cell.wished {
            Wished::Wish(wish) => (wish.since.to_rfc3339_opts(SecondsFormat::Secs, true), wish.by.to_string()),
            Wished::Nothing | Wished::Unknown => Default::default(),
        };
        rows.row([
            (&cell.cell).into(),
            cell.wished.in_words().into(),
            since.into(),
            by.into(),
            cell.ran.in_words().into(),
            answer(&cell.answer),
        ]);
    }
    rows.render()
}

fn answer(answer: &Answer) -> Shown {
    let shown = Shown::from(answer.in_words());
    match answer {
        Answer::None => shown,
        Answer::NotConfirmed => shown.toned(Tone::Warn),
        Answer::Confirmed { .. } => shown.toned(Tone::Good),
        Answer::Failed { .. } => shown.toned(Tone::Bad),
    }
}

fn changes(changed: &Changed, output: Output) -> String {
    if changed.cells.is_empty() {
        return "Nothing changed.".to_owned();
    }
    let mut rows = Rows::new(output, &["cell", "wished", "ran", "what differs"]);
    for InstantChange { from, to, changes } in &changed.cells {
        let arrow =
            |before: String, after: String| if before == after { after } else { format!("{before} → {after}") };
        let differs = changes.as_ref().map(crate::controller::Changes::summary).unwrap_or_default();
        rows.row([
            (&from.cell).into(),
            arrow(from.wished.in_words(), to.wished.in_words()).into(),
            arrow(from.ran.in_words(), to.ran.in_words()).into(),
            differs.into(),
        ]);
    }
    rows.render()
}
