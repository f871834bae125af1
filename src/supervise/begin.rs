//! How a process is gone on with of which an earlier supervisor may have left something: pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::definition::ProcessDef;
use super::home::Former;
use super::restart::Then;
use super::state::{End, Exit, ProcessState};

/// How a process comes into the care of a supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// It is to run if it starts with its service, whatever it did before.
    Fresh,
    /// What the supervisor before did is gone on with.
    Resume,
    /// It is to end.
    End,
}

/// What is done with what is found.
#[derive(Debug, PartialEq)]
pub(super) enum Plan {
    /// It runs, and goes on running.
    Keep,
    /// It runs, and is stopped.
    Stop(Then),
    /// It does not run; what it may have left behind is cleared away.
    Clear(Then),
    /// It does not run, and nothing was left of it.
    Rest(ProcessState),
}

/// What is done with a process to which `def` applies from now on. `runs` says whether the process itself was found
/// running, which counts for more than what was written down: that may not have come to the disk.
pub(super) fn plan(begin: Begin, def: &ProcessDef, former: Option<&Former>, runs: bool, now: DateTime<Utc>) -> Plan {
    let at_start = if def.autostart { Then::Start } else { Then::Rest };
    match (begin, former) {
        (Begin::End, _) if runs => Plan::Stop(Then::Rest),
        (Begin::End, _) => Plan::Clear(Then::Rest),
        (Begin::Fresh, former) if runs => keep(def, former, at_start),
        (Begin::Resume, None) if runs => Plan::Keep,
        (Begin::Fresh, _) | (Begin::Resume, None) => Plan::Clear(at_start),
        (Begin::Resume, Some(former)) => match &former.status.state {
            ProcessState::Stopping { .. } => match (former.then.clone().unwrap_or(Then::Rest), runs) {
                (then, false) => Plan::Clear(then),
                (Then::Judge { .. }, true) => Plan::Stop(Then::StartAgain),
                (then, true) => Plan::Stop(then),
            },
            _ if runs => keep(def, Some(former), Then::Start),
            ProcessState::Running { since, .. } => {
                let ran_for = (now - *since).to_std().unwrap_or(Duration::ZERO);
                Plan::Clear(Then::Judge { end: End::Exited(Exit::Unknown), ran_for })
            }
            at_rest if at_rest.is_at_rest() => Plan::Rest(at_rest.clone()),
            _ => Plan::Clear(Then::StartAgain),
        },
    }
}

/// What runs goes on if it would not have been started otherwise.
fn keep(def: &ProcessDef, former: Option<&Former>, then: Then) -> Plan {
    let same = former.is_none_or(|former| def.starts_like(&former.def));
    if then != Then::Rest && same { Plan::Keep } else { Plan::Stop(then) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::{Kind, ProcessStatus, Run};

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + secs, 0).unwrap()
    }

    fn def() -> ProcessDef {
        ProcessDef::new(Run::command(["true"]))
    }

    fn other() -> ProcessDef {
        ProcessDef::new(Run::command(["false"]))
    }

    fn by_hand() -> ProcessDef {
        ProcessDef { autostart: false, ..def() }
    }

    fn former(state: ProcessState, then: Option<Then>) -> Former {
        let status = ProcessStatus { kind: Kind::Service, state, last_end: None, lost_log_bytes: 0 };
        Former { def: def(), status, restarts: 0, restarts_in_a_row: 0, then }
    }

    fn running() -> ProcessState {
        ProcessState::Running { pid: 7, since: at(0), restarts: 0 }
    }

    fn stopping() -> ProcessState {
        ProcessState::Stopping { pid: 7, since: at(0), kill_at: at(10) }
    }

    fn stopped() -> ProcessState {
        ProcessState::Stopped { since: at(0), exit: None }
    }

    fn resumed(state: ProcessState, then: Option<Then>, runs: bool) -> Plan {
        plan(Begin::Resume, &def(), Some(&former(state, then)), runs, at(60))
    }

    #[test]
    fn what_runs_goes_on_unless_it_would_be_started_otherwise() {
        assert_eq!(resumed(running(), None, true), Plan::Keep);
        assert_eq!(plan(Begin::Fresh, &def(), Some(&former(running(), None)), true, at(60)), Plan::Keep);
        assert_eq!(plan(Begin::Resume, &by_hand(), Some(&former(running(), None)), true, at(60)), Plan::Keep);
        for begin in [Begin::Fresh, Begin::Resume] {
            let plan = plan(begin, &other(), Some(&former(running(), None)), true, at(60));
            assert_eq!(plan, Plan::Stop(Then::Start), "{begin:?}");
        }
        assert_eq!(
            plan(Begin::Fresh, &by_hand(), Some(&former(running(), None)), true, at(60)),
            Plan::Stop(Then::Rest)
        );
        assert_eq!(plan(Begin::End, &def(), Some(&former(running(), None)), true, at(60)), Plan::Stop(Then::Rest));
    }

    #[test]
    fn what_runs_is_believed_before_what_was_written_down() {
        for state in [stopped(), ProcessState::Completed { since: at(0) }, ProcessState::Starting { since: at(0) }] {
            assert_eq!(resumed(state, None, true), Plan::Keep);
        }
        for begin in [Begin::Fresh, Begin::Resume] {
            assert_eq!(plan(begin, &def(), None, true, at(60)), Plan::Keep, "nothing was written down at all");
        }
    }

    #[test]
    fn what_was_under_way_is_finished() {
        let judge = || Then::Judge { end: End::Exited(Exit::Code(3)), ran_for: Duration::from_secs(5) };
        assert_eq!(resumed(stopping(), Some(Then::Rest), true), Plan::Stop(Then::Rest));
        assert_eq!(resumed(stopping(), Some(Then::Start), true), Plan::Stop(Then::Start));
        assert_eq!(resumed(stopping(), Some(judge()), true), Plan::Stop(Then::StartAgain));
        assert_eq!(resumed(stopping(), Some(Then::Start), false), Plan::Clear(Then::Start));
        assert_eq!(resumed(stopping(), Some(judge()), false), Plan::Clear(judge()));
        assert_eq!(resumed(stopping(), None, false), Plan::Clear(Then::Rest));
        assert_eq!(resumed(ProcessState::Starting { since: at(0) }, None, false), Plan::Clear(Then::StartAgain));
    }

    #[test]
    fn an_unseen_end_is_judged_and_what_was_at_rest_stays_there() {
        let end = End::Exited(Exit::Unknown);
        let judge = Then::Judge { end, ran_for: Duration::from_secs(60) };
        assert_eq!(resumed(running(), None, false), Plan::Clear(judge));
        assert_eq!(resumed(stopped(), None, false), Plan::Rest(stopped()));
        assert_eq!(plan(Begin::Fresh, &def(), Some(&former(stopped(), None)), false, at(60)), Plan::Clear(Then::Start));
        assert_eq!(plan(Begin::Resume, &def(), None, false, at(60)), Plan::Clear(Then::Start));
        assert_eq!(plan(Begin::Resume, &by_hand(), None, false, at(60)), Plan::Clear(Then::Rest));
    }
}
