//! Words for what nodes, versions and attempts are.

use crate::controller::{PastAttempt, Proof, VersionState};
use crate::model::heartbeat::{CellReport, HealthState, Phase, ProcessState, RunningState};
use crate::model::outcome::{Ending, Outcome};
use crate::web::words::State;

/// What an agent is doing with a cell.
pub(super) fn phase(phase: Phase) -> State {
    match phase {
        Phase::UpToDate => State::new("good", "Up to date"),
        Phase::Waiting => State::new("warn", "Waiting"),
        Phase::Fetching => State::new("busy", "Fetching files"),
        Phase::Verifying => State::new("busy", "Verifying files"),
        Phase::Activating => State::new("busy", "Switching over"),
        Phase::Checking => State::new("busy", "Watching its health"),
        Phase::RolledBack => State::new("bad", "Failed, and rolled back"),
        Phase::Failed => State::new("bad", "Failed"),
        Phase::Held => State::new("warn", "Held"),
        Phase::Stopped => State::new("off", "Stopped"),
        Phase::Removed => State::new("off", "Removed"),
        Phase::Inconsistent => State::new("bad", "Not what its state says"),
        Phase::Unknown => State::new("unknown", "Unknown to this version"),
    }
}

/// What a process does.
pub(super) fn process(state: ProcessState) -> State {
    match state {
        ProcessState::Starting => State::new("busy", "Starting"),
        ProcessState::Running => State::new("good", "Running"),
        ProcessState::Stopping => State::new("busy", "Stopping"),
        ProcessState::Stopped => State::new("off", "Stopped"),
        ProcessState::Backoff => State::new("warn", "Waits to be restarted"),
        ProcessState::Crashed => State::new("bad", "Crashed"),
        ProcessState::Failed => State::new("bad", "Failed"),
        ProcessState::Completed => State::new("good", "Completed"),
        ProcessState::Unknown => State::new("unknown", "Unknown to this version"),
    }
}

/// What a check says.
pub(super) fn check(state: HealthState) -> State {
    match state {
        HealthState::Passing => State::new("good", "Healthy"),
        HealthState::Failing => State::new("bad", "Failed"),
        HealthState::Starting => State::new("busy", "Starting"),
        HealthState::Unknown => State::new("unknown", "Unknown"),
    }
}

/// How a cell ran when its node was heard of last.
pub(super) fn was(report: &CellReport) -> &'static str {
    match report.state {
        RunningState::NotApplicable => "N/A",
        RunningState::Running { .. } => "Healthy",
        RunningState::Starting => "Starting",
        RunningState::Stopped => "Stopped",
        RunningState::Failed { .. } => "Failed",
        RunningState::Unknown => "Unknown",
    }
}

/// How an attempt ended, or that it did not yet.
pub(super) fn attempt(attempt: &PastAttempt) -> State {
    match &attempt.outcome {
        None => State::new("busy", "Under way"),
        Some(Err(_)) => State::new("unknown", "Cannot be read"),
        Some(Ok(outcome)) => ending(outcome),
    }
}

fn ending(outcome: &Outcome) -> State {
    match outcome.outcome {
        Ending::Succeeded => State::new("good", "Succeeded"),
        Ending::Failed => State::new("bad", "Failed"),
        Ending::RolledBack => State::new("bad", "Rolled back"),
        Ending::Superseded => State::new("off", "Superseded"),
        Ending::Unknown => State::new("unknown", "Unknown to this version"),
    }
}

/// How a version stands.
pub(super) fn version(state: &VersionState) -> State {
    match state {
        VersionState::Whole => State::new("good", "Whole"),
        VersionState::Unfinished => State::new("warn", "Unfinished"),
        VersionState::Unreadable { .. } => State::new("bad", "Cannot be read"),
        VersionState::Deleting { .. } => State::new("off", "Being deleted"),
    }
}

/// What believed history says of a version, and in a sentence.
pub(super) fn proof(proof: &Proof) -> (State, String) {
    match proof {
        Proof::Verified { by } => {
            (State::new("good", "Verified by history"), format!("Generation {by} names exactly these bytes."))
        }
        Proof::Contradicted { by, expected } => (
            State::new("bad", "Not what was published"),
            format!(
                "Generation {by} names other bytes, with the digest {expected}. Somebody changed them in the bucket."
            ),
        ),
        Proof::Unnamed { triggers } => (
            State::new("warn", "Not verified by history"),
            format!("None of the newest {triggers} changes that are believed names it."),
        ),
    }
}
