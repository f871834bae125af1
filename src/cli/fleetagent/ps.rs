//! `fleetagent ps`

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use serde::Serialize;

use super::cells::{Cell, Cells};
use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::{ErrorBody, Failure};
use crate::cli::output::{Output, Rows, Shown, Tone};
use crate::model::CellName;
use crate::supervise::detached::{Report, Wanted};
use crate::supervise::{ProcessState, ProcessStatus};

/// A cell, and what its supervisor says.
#[derive(Debug, Serialize)]
struct Row<'a> {
    cell: &'a CellName,
    /// Whether it is to run; None if it was never told to.
    wanted: Option<Wanted>,
    supervisor: Option<Supervisor>,
    /// Why its supervisor, which should be there, says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorBody<'a>>,
    processes: BTreeMap<String, ProcessStatus>,
}

#[derive(Debug, Serialize)]
struct Supervisor {
    pid: u32,
    since: DateTime<Utc>,
}

pub(super) async fn run(context: &Context) -> Result<Exit, Failure> {
    let cells = Cells::of(context)?.all()?;
    let seen = join_all(cells.iter().map(look)).await;
    let rows = cells.iter().zip(&seen).map(|(cell, seen)| row(cell, seen)).collect::<Vec<_>>();
    context.output.show(&rows, |output| table(&rows, context.clock.now(), output))?;
    let mut failed = false;
    for (cell, failure) in cells.iter().zip(&seen).filter_map(|(cell, seen)| Some((cell, seen.as_ref().err()?))) {
        failed = true;
        context.output.say(&format!("{}: {}", cell.name, failure.for_people()));
    }
    for (cell, name, lost) in rows.iter().flat_map(lost) {
        context.output.say(&format!("{cell}/{name}: {lost} bytes of its output are not in its log"));
    }
    Ok(if failed { Exit::Failed } else { Exit::Ok })
}

/// What there is to say of a cell: what its supervisor does, or that it was told to stop, or nothing yet.
enum Seen {
    Report(Box<Report>),
    AtRest(Option<Wanted>),
}

async fn look(cell: &Cell) -> Result<Seen, Failure> {
    match cell.report().await {
        Ok(report) => Ok(Seen::Report(Box::new(report))),
        // It has ended with its cell, or there was nothing to do for one yet.
        Err(failure) => match cell.orders()?.map(|orders| orders.wanted) {
            Some(Wanted::Up) => Err(failure),
            wanted if failure.exit == Exit::NotFound => Ok(Seen::AtRest(wanted)),
            _ => Err(failure),
        },
    }
}

fn row<'a>(cell: &'a Cell, seen: &'a Result<Seen, Failure>) -> Row<'a> {
    let mut row = Row { cell: &cell.name, wanted: None, supervisor: None, error: None, processes: BTreeMap::new() };
    match seen {
        Ok(Seen::Report(report)) => {
            row.wanted = report.wanted;
            row.supervisor = Some(Supervisor { pid: report.pid, since: report.since });
            row.processes = report.service.as_ref().map(|service| service.processes.clone()).unwrap_or_default();
        }
        Ok(Seen::AtRest(wanted)) => row.wanted = *wanted,
        Err(failure) => {
            row.wanted = cell.orders().ok().flatten().map(|orders| orders.wanted);
            row.error = Some(failure.body());
        }
    }
    row
}

fn lost<'a>(row: &'a Row<'_>) -> impl Iterator<Item = (&'a CellName, &'a String, u64)> {
    let lost = row.processes.iter().filter(|(_, status)| status.lost_log_bytes > 0);
    lost.map(|(name, status)| (row.cell, name, status.lost_log_bytes))
}

fn table(cells: &[Row<'_>], now: DateTime<Utc>, output: Output) -> String {
    if cells.is_empty() {
        return "no cells".to_owned();
    }
    let mut rows = Rows::new(output, &["cell", "process", "state", "pid", "since", "restarts", "last end"]);
    for Row { cell, wanted, error, processes, .. } in cells {
        for (name, status) in processes {
            let state = Shown::from(status.state.name()).toned(tone(&status.state));
            let pid = status.state.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            let restarts = restarts(&status.state).map_or_else(|| "-".to_owned(), |count| count.to_string());
            let end = status.last_end.as_ref().map(ToString::to_string).unwrap_or_default();
            let since = age(now - status.state.since());
            rows.row([cell.into(), name.into(), state, pid.into(), since.into(), restarts.into(), end.into()]);
        }
        if processes.is_empty() {
            let state = match (error, wanted) {
                (Some(_), _) => Shown::from("unknown").toned(Tone::Bad),
                (None, Some(Wanted::Up)) => Shown::from("starting").toned(Tone::Warn),
                (None, Some(Wanted::Down)) => "stopped".into(),
                (None, None) => "never started".into(),
            };
            rows.row([cell.into(), "-".into(), state, "-".into(), "-".into(), "-".into(), "".into()]);
        }
    }
    rows.render()
}

fn tone(state: &ProcessState) -> Tone {
    match state {
        ProcessState::Running { .. } | ProcessState::Completed { .. } => Tone::Good,
        ProcessState::Crashed { .. } | ProcessState::Failed { .. } => Tone::Bad,
        _ => Tone::Warn,
    }
}

fn restarts(state: &ProcessState) -> Option<u32> {
    match state {
        ProcessState::Running { restarts, .. }
        | ProcessState::Backoff { restarts, .. }
        | ProcessState::Failed { restarts, .. } => Some(*restarts),
        _ => None,
    }
}

/// How long something has been so: its two largest units.
fn age(time: TimeDelta) -> String {
    let secs = time.num_seconds().max(0);
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, minutes) => format!("{minutes}m{}s", secs % 60),
        (0, hours, minutes) => format!("{hours}h{minutes}m"),
        (days, hours, _) => format!("{days}d{hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_two_largest_units() {
        let told = |secs| age(TimeDelta::seconds(secs));
        assert_eq!([told(-5), told(0), told(59)], ["0s", "0s", "59s"]);
        assert_eq!([told(60), told(3_599)], ["1m0s", "59m59s"]);
        assert_eq!([told(3_600), told(86_399)], ["1h0m", "23h59m"]);
        assert_eq!([told(86_400), told(400 * 86_400 + 3_700)], ["1d0h", "400d1h"]);
    }
}
