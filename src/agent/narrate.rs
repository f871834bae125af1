//! The agent's own log: one line a decision, with the same fields everywhere.

use super::decide::{Cell, Now, Seen, Ties};
use super::state::{AttemptKey, Step};
use super::trouble::{Cure, Trouble, plain};
use crate::model::{CellName, Code};

/// Tells what `seen` means for the cell, which has not taken it in yet.
pub(super) fn narrate(name: &CellName, cell: &Cell, seen: &Seen, now: Now) {
    let version = |key: &AttemptKey| {
        let target = cell.attempt(*key).and_then(|attempt| attempt.wish.action.target());
        target.map(|target| target.version.to_string()).unwrap_or_default()
    };
    let told = |key: &AttemptKey, event: &str, what: &str| {
        tracing::info!(event, cell = %name, version = %version(key), generation = %key.at, "{what}");
    };
    let warned = |key: &AttemptKey, Trouble { code, message, .. }: &Trouble| {
        let step = cell.attempt(*key).map(|attempt| step_name(&attempt.step)).unwrap_or_default();
        tracing::warn!(event = "version_failed", cell = %name, version = %version(key), generation = %key.at, %code, step, "{message}");
    };
    match seen {
        Seen::Staged { key, .. } => told(key, "version_staged", "the release is on the node, whole and verified"),
        Seen::Due { key } => told(key, "version_due", "nothing is in the way of the version any more"),
        Seen::Switched { key } => told(key, "version_switched", "the link points at the release"),
        Seen::Activated { key, goes_on: false } => told(key, "version_up", "the version is up"),
        Seen::Activated { key, goes_on: true } => told(key, "version_up", "what ran goes on as the version"),
        Seen::Passed { key } => told(key, "version_good", "the version is good"),
        Seen::NotStarted { key } => {
            told(key, "version_not_started", "something else runs; the version is brought up once more")
        }
        Seen::Pending { key, missing, deadline } => {
            if let Some(trouble) = cell.overdue(*key, missing, *deadline, now) {
                warned(key, &trouble);
            }
        }
        Seen::Restored { key, .. } => told(key, "rolled_back", "the last known good release is back"),
        Seen::Probed(probe) => {
            if let Some(news) = cell.mind.vitals.news(probe, now) {
                let version = cell.state.placed.as_ref().map(|placed| placed.target.version.to_string());
                let version = version.unwrap_or_default();
                match probe.result {
                    Ok(_) => tracing::info!(event = "check_passes", cell = %name, %version, "{news}"),
                    Err(_) => tracing::warn!(event = "check_fails", cell = %name, %version, "{news}"),
                }
            }
        }
        Seen::Restarted(result) => {
            let why = cell.mind.vitals.restart().map(|(_, why)| why).unwrap_or_default();
            match result {
                Ok(()) => tracing::warn!(event = "cell_restarted", cell = %name, "it was restarted, because {why}"),
                Err(Trouble { code, message, .. }) => {
                    tracing::error!(event = "cell_not_restarted", cell = %name, %code, "{message}; it was to be, because {why}");
                }
            }
        }
        Seen::Stopped { key } => told(key, "cell_stopped", "the cell is stopped"),
        Seen::Removed { key } => told(key, "cell_removed", "the cell is removed"),
        Seen::StagingFailed { key, trouble } | Seen::StepFailed { key, trouble } => match trouble.cure {
            Cure::Turn { .. } if cell.knows(*key, trouble) => {}
            Cure::Turn { .. } => told(key, "version_waits", &trouble.message),
            _ => warned(key, trouble),
        },
        Seen::Refused { trouble, .. } => {
            tracing::warn!(event = "trigger_refused", cell = %name, code = %trouble.code, "{}", trouble.message)
        }
        Seen::Held(Some(why)) => {
            tracing::warn!(event = "deployments_held", cell = %name, "deployments are held: {why}")
        }
        Seen::Hold(Some(hold)) => {
            tracing::info!(event = "cell_held", cell = %name, by = %hold.by, until = %hold.until, "what runs is not changed: {}", plain(&hold.reason))
        }
        Seen::Tied(ties) if cell.mind.ties != **ties => {
            let held_up = |ties: &Ties| ties.resuming.clone().or(ties.switching.clone());
            match (held_up(&cell.mind.ties), held_up(ties)) {
                // Whom it waits for may have more and more to tell.
                (Some(_), Some(_)) => {}
                (None, Some(why)) => {
                    tracing::info!(event = "cell_waits", cell = %name, code = %Code::Dependency, "{why}")
                }
                (Some(_), None) => {
                    tracing::info!(event = "cell_goes_on", cell = %name, "no other cell holds it up any more")
                }
                (None, None) => {}
            }
            if let Some(why) = ties.circle.as_ref().filter(|why| cell.mind.ties.circle.as_ref() != Some(*why)) {
                tracing::warn!(event = "dependency_circle", cell = %name, code = %Code::DependencyCircle, "{why}");
            }
            if let Some(why) = ties.lacks.as_ref().filter(|why| cell.mind.ties.lacks.as_ref() != Some(*why)) {
                tracing::warn!(event = "dependency_missing", cell = %name, code = %Code::Dependency, "it goes on running: {why}");
            }
        }
        Seen::Hold(None) => tracing::info!(event = "cell_released", cell = %name, "it is held no longer"),
        Seen::Started { up: Some(up), .. } if cell.state.floor.as_ref().is_none_or(|floor| floor.at < up.at()) => {
            tracing::warn!(cell = %name, code = %Code::FloorRebuilt, generation = %up.at(), "the host runs what the state knows nothing of; nothing older is accepted");
        }
        Seen::OthersCleared(Ok(())) => tracing::info!(cell = %name, "what other profiles had of the cell is gone"),
        Seen::OthersCleared(Err(Trouble { code, message, .. })) => {
            tracing::warn!(cell = %name, %code, "what other profiles have of the cell is still there: {message}");
        }
        _ => {}
    }
}

fn step_name(step: &Step) -> &'static str {
    match step {
        Step::Fetching => "fetching",
        Step::Staged => "waiting for its turn",
        Step::Switching => "switching",
        Step::Activating => "activating",
        Step::Checking => "checking",
        Step::RollingBack { .. } => "rolling back",
        Step::Stopping => "stopping",
        Step::Removing => "removing",
        Step::Ended { .. } => "writing the outcome",
    }
}
