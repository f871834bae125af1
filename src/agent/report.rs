//! A cell in the heartbeat's words (I8).

use std::collections::BTreeMap;

use chrono::SecondsFormat;

use super::decide::Cell;
use super::profile::Observed;
use super::state::{Aftermath, Attempt, Placed, Standing, Step, Verdict};
use super::trouble::plain;
use crate::model::Code;
use crate::model::heartbeat::{CellReport, Condition, Fault, HoldReport, Phase, RunningState, VersionReport, Waiting};
use crate::model::process::ProcessSpec;

/// More than a profile has kinds of.
const MOST_CONDITIONS: usize = 8;

/// What the heartbeat says of a cell of which its profile sees `observed`.
pub(super) fn report(cell: &Cell, observed: Observed) -> CellReport {
    let Observed { state, processes, conditions: on_host } = bounded(observed);
    let kept = &cell.state;
    let (phase, waiting) = phase(cell);
    let placed = |placed: &Option<Placed>| placed.as_ref().map(|placed| VersionReport::from(&placed.target));
    let mut conditions: Vec<Condition> = cell
        .mind
        .refused
        .values()
        .map(|fault| Condition { code: fault.code, message: fault.message.clone() })
        .chain(cell.mind.conditions.iter().map(|(code, message)| Condition { code: *code, message: message.clone() }))
        .collect();
    conditions.extend(on_host);
    let stuck = kept.verdict.as_ref().filter(|verdict| verdict.aftermath == Aftermath::Stuck);
    conditions.extend(stuck.map(|verdict| Condition {
        code: Code::NeedsOperator,
        message: format!("nothing that is known to be good runs: {}", verdict.fault.message),
    }));
    let reset = kept.verdict.as_ref().filter(|verdict| verdict.fault.code == Code::Reset);
    conditions
        .extend(reset.map(|Verdict { fault, .. }| Condition { code: fault.code, message: fault.message.clone() }));
    let is_back = kept.verdict.as_ref().is_some_and(|verdict| verdict.aftermath == Aftermath::RolledBack);
    conditions.extend(unwell(cell, &state).filter(|_| is_back).map(|why| Condition {
        code: Code::NeedsOperator,
        message: plain(&format!("the version that was gone back to is not well either: {why}")),
    }));
    let ties = &cell.mind.ties;
    let lacks = ties.lacks.iter().map(|message| (Code::Dependency, message));
    let circle = ties.circle.iter().map(|message| (Code::DependencyCircle, message));
    conditions.extend(lacks.chain(circle).map(|(code, message)| Condition { code, message: message.clone() }));
    let unsupported = kept.wish.as_ref().and_then(|wish| wish.unsupported());
    conditions.extend(unsupported.map(|feature| Condition {
        code: Code::Unsupported,
        message: plain(&format!("the trigger requires {feature:?}, which this agent does not have; what runs is held")),
    }));
    CellReport {
        profile: profile(cell),
        phase,
        waiting,
        hold: cell.mind.hold.clone(),
        seen: kept.floor.as_ref().map(|floor| floor.at),
        applied: kept.applied,
        action: kept.wish.as_ref().map(|wish| wish.action.name().to_owned()),
        desired: kept.wish.as_ref().and_then(|wish| wish.action.target()).map(VersionReport::from),
        running: placed(&kept.placed),
        known_good: placed(&kept.known_good),
        state,
        processes: boxed(processes),
        health: cell.up().and_then(|_| cell.mind.vitals.report(cell.watched().is_some())).map(Box::new),
        drift: None,
        attempt: kept.attempts,
        last_error: kept.last_error.clone(),
        failed_content: kept.failed.iter().map(|failed| failed.content_sha256).collect(),
        conditions,
    }
}

/// What is wrong with what was brought up long enough ago.
fn unwell(cell: &Cell, state: &RunningState) -> Option<String> {
    cell.up()?;
    match state {
        RunningState::Failed { reason } => Some(reason.clone()),
        _ => cell.mind.vitals.failing().filter(|_| cell.mind.vitals.is_overdue()),
    }
}

/// As much as a heartbeat takes, whatever a profile says.
pub(super) fn bounded(observed: Observed) -> Observed {
    let Observed { mut state, processes, mut conditions } = observed;
    if let RunningState::Failed { reason } = &mut state {
        *reason = plain(reason);
    }
    let mut processes: BTreeMap<_, _> = processes.into_iter().take(ProcessSpec::MOST_PROCESSES).collect();
    processes.values_mut().filter_map(|process| process.reason.as_mut()).for_each(|reason| *reason = plain(reason));
    conditions.truncate(MOST_CONDITIONS);
    conditions.iter_mut().for_each(|condition| condition.message = plain(&condition.message));
    Observed { state, processes, conditions }
}

fn profile(cell: &Cell) -> Option<String> {
    let placed = cell.state.placed.as_ref().map(|placed| placed.profile.clone());
    placed.or_else(|| cell.state.journal.last()?.profile.clone())
}

fn phase(cell: &Cell) -> (Phase, Option<Waiting>) {
    let kept = &cell.state;
    let wish = kept.wish.as_deref();
    if wish.is_some_and(|wish| wish.unsupported().is_some()) {
        return (Phase::Held, None);
    }
    if let Some(why) = cell.mind.ties.resuming.as_ref().filter(|_| cell.is_to_resume()) {
        return (Phase::Waiting, held_up_by(cell, why));
    }
    // What the floor asks for says more than an older attempt that goes on beside it.
    if let Some(attempt) = kept.journal.iter().rev().find(|attempt| !matches!(attempt.step, Step::Ended { .. })) {
        return of_attempt(cell, attempt);
    }
    if let Some(verdict) = &kept.verdict {
        let phase = match verdict.fault.code {
            Code::Unsupported | Code::Reset => Phase::Held,
            _ if verdict.aftermath == Aftermath::RolledBack => Phase::RolledBack,
            _ => Phase::Failed,
        };
        return (phase, None);
    }
    if cell.owed().is_some() {
        if let Some(failed) = cell.failed_before() {
            let message = format!("this content failed here before: {}", failed.fault.message);
            let since = kept.floor.as_ref().map_or(failed.fault.at, |floor| floor.since);
            return (Phase::Waiting, Some(Waiting { reason: Code::FailedBefore, message, since, until: None }));
        }
        return (Phase::Held, None);
    }
    if cell.mind.conditions.contains_key(&Code::Inconsistent) || cell.mind.conditions.contains_key(&Code::Orphaned) {
        return (Phase::Inconsistent, None);
    }
    match kept.standing {
        Standing::Deployed => (Phase::UpToDate, None),
        Standing::Stopped => (Phase::Stopped, None),
        Standing::Removed => (Phase::Removed, None),
        Standing::Absent => (Phase::Waiting, cell.mind.refused.values().next().map(waits_for)),
    }
}

fn of_attempt(cell: &Cell, attempt: &Attempt) -> (Phase, Option<Waiting>) {
    if cell.mind.held.is_some() && matches!(attempt.step, Step::Fetching | Step::Staged | Step::Switching) {
        return (Phase::Held, None);
    }
    if let Some(hold) = cell.mind.hold.as_ref().filter(|_| attempt.is_held_up()) {
        return (Phase::Waiting, Some(held_by(hold)));
    }
    if let Some(why) = cell.mind.ties.switching.as_ref().filter(|_| cell.is_hindered(attempt)) {
        return (Phase::Waiting, held_up_by(cell, why));
    }
    let is_staging = cell.mind.staging.contains(&attempt.key);
    if let Some(wait) = cell.mind.waits.get(&attempt.key).filter(|_| !is_staging) {
        return (Phase::Waiting, Some(Waiting { until: wait.until, ..waits_for(&wait.fault) }));
    }
    match attempt.step {
        Step::Fetching => (Phase::Fetching, None),
        Step::Checking => (Phase::Checking, None),
        _ => (Phase::Activating, None),
    }
}

/// A wait for a hold to end.
fn held_by(hold: &HoldReport) -> Waiting {
    let what = if hold.whole_node { "the node" } else { "it" };
    let until = hold.until.to_rfc3339_opts(SecondsFormat::Secs, true);
    let message = plain(&format!("{} holds {what} until {until}: {}", hold.by, hold.reason));
    Waiting { reason: Code::Hold, message, since: hold.since, until: Some(hold.until) }
}

/// A wait for other cells.
fn held_up_by(cell: &Cell, why: &str) -> Option<Waiting> {
    let since = cell.mind.hindered_since?;
    Some(Waiting { reason: Code::Dependency, message: why.to_owned(), since, until: None })
}

/// A wait for what `fault` names to go away.
pub(super) fn waits_for(fault: &Fault) -> Waiting {
    Waiting { reason: fault.code, message: fault.message.clone(), since: fault.at, until: None }
}

/// Entries as a heartbeat has them.
pub(super) fn boxed<K: Ord, V>(entries: BTreeMap<K, V>) -> BTreeMap<K, Box<V>> {
    entries.into_iter().map(|(name, entry)| (name, Box::new(entry))).collect()
}
