//! What supervisord says of a process, in the words of our own supervisor: pure.

use chrono::{DateTime, Utc};

use super::rpc::{ProcessInfo, State};
use super::shim::Started;
use crate::supervise::{End, Exit, Kind, ProcessDef, ProcessState, ProcessStatus, RestartPolicy};

/// How a process of a cell is doing. `started` is its last start for what is activated, `failure` why that came to
/// nothing.
pub(super) fn status(
    info: &ProcessInfo,
    def: &ProcessDef,
    started: Option<&Started>,
    failure: Option<String>,
) -> ProcessStatus {
    let restarts = started.map_or(0, |started| started.starts.saturating_sub(1));
    let policy = if def.kind == Kind::Task { RestartPolicy::Never } else { def.restart.policy };
    let (start, stop) = (time(info.start), time(info.stop));
    let exit = if info.exit < 0 { Exit::SomeSignal } else { Exit::Code(info.exit) };
    let has_ended = info.stop > 0;
    let end = match failure {
        Some(why) => End::NotStarted(why),
        None if matches!(info.state, State::Backoff | State::Fatal) => End::NotStarted(info.error.clone()),
        None => End::Exited(exit),
    };
    let again = |end: End| ProcessState::Backoff { since: stop, until: stop, end, restarts };
    let state = match info.state {
        State::Running => ProcessState::Running { pid: info.pid, since: start, restarts },
        State::Starting => ProcessState::Starting { since: start },
        State::Stopping => ProcessState::Stopping { pid: info.pid, since: start, kill_at: start },
        // It is started in supervisord's next round.
        State::Stopped if info.start == 0 && def.autostart => ProcessState::Starting { since: start },
        State::Stopped => ProcessState::Stopped { since: stop, exit: has_ended.then_some(exit) },
        State::Backoff => again(end.clone()),
        State::Exited => match (policy, info.exit) {
            (RestartPolicy::Always, _) => again(end.clone()),
            (_, 0) => ProcessState::Completed { since: stop },
            (RestartPolicy::OnFailure, _) => again(end.clone()),
            (RestartPolicy::Never, _) => ProcessState::Crashed { since: stop, end: end.clone() },
        },
        State::Fatal => ProcessState::Failed { since: stop, end: end.clone(), restarts },
        State::Unknown => {
            let end = End::NotStarted("supervisord does not know what it does".to_owned());
            ProcessState::Crashed { since: stop, end }
        }
    };
    // A process that runs has ended before if it was started again; then supervisord has forgotten how.
    let last_end = match &state {
        ProcessState::Running { .. } | ProcessState::Starting { .. } | ProcessState::Stopping { .. } => None,
        _ => has_ended.then_some(end),
    };
    ProcessStatus { kind: def.kind, state, last_end, lost_log_bytes: 0 }
}

fn time(secs: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(secs, 0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::{Restart, Run};

    fn info(state: State, exit: i32) -> ProcessInfo {
        let (group, name, log) = ("g".to_owned(), "n".to_owned(), String::new());
        ProcessInfo { group, name, state, pid: 7, start: 100, stop: 200, exit, error: "too quick".to_owned(), log }
    }

    fn with(policy: RestartPolicy) -> ProcessDef {
        ProcessDef { restart: Restart { policy, ..Restart::default() }, ..ProcessDef::new(Run::command(["x"])) }
    }

    fn state(info: &ProcessInfo, policy: RestartPolicy) -> ProcessState {
        status(info, &with(policy), None, None).state
    }

    #[test]
    fn a_start_is_counted_and_what_runs_says_since_when() {
        let started = Started { activation: "1-1-1".into(), starts: 3, identity: None };
        let running = status(&info(State::Running, 0), &with(RestartPolicy::Always), Some(&started), None);
        assert_eq!(running.state, ProcessState::Running { pid: 7, since: time(100), restarts: 2 });
        assert_eq!(running.last_end, None);
        assert_eq!(
            state(&info(State::Starting, 0), RestartPolicy::Always),
            ProcessState::Starting { since: time(100) }
        );
        let new = ProcessInfo { start: 0, stop: 0, ..info(State::Stopped, 0) };
        assert_eq!(state(&new, RestartPolicy::Always), ProcessState::Starting { since: time(0) });
        let by_hand = ProcessDef { autostart: false, ..with(RestartPolicy::Always) };
        let idle = ProcessState::Stopped { since: time(0), exit: None };
        assert_eq!(status(&new, &by_hand, None, None).state, idle);
        let stopped = ProcessState::Stopped { since: time(200), exit: Some(Exit::Code(0)) };
        assert_eq!(state(&info(State::Stopped, 0), RestartPolicy::Always), stopped);
    }

    #[test]
    fn an_end_is_told_by_what_the_policy_makes_of_it() {
        use RestartPolicy::{Always, Never, OnFailure};
        let is_again = |state: ProcessState| matches!(state, ProcessState::Backoff { .. });
        let completed = ProcessState::Completed { since: time(200) };
        assert_eq!(state(&info(State::Exited, 0), Never), completed);
        assert_eq!(state(&info(State::Exited, 0), OnFailure), completed);
        assert!(is_again(state(&info(State::Exited, 0), Always)));
        assert!(is_again(state(&info(State::Exited, 3), OnFailure)));
        let end = End::Exited(Exit::Code(3));
        assert_eq!(state(&info(State::Exited, 3), Never), ProcessState::Crashed { since: time(200), end });
        let end = End::Exited(Exit::SomeSignal);
        assert_eq!(state(&info(State::Exited, -1), Never), ProcessState::Crashed { since: time(200), end });
        let task = ProcessDef { kind: Kind::Task, ..with(OnFailure) };
        assert!(matches!(status(&info(State::Exited, 3), &task, None, None).state, ProcessState::Crashed { .. }));

        let end = End::NotStarted("too quick".into());
        let failed = ProcessState::Failed { since: time(200), end: end.clone(), restarts: 0 };
        assert_eq!(state(&info(State::Fatal, 0), Always), failed);
        assert_eq!(status(&info(State::Backoff, 0), &with(Always), None, None).last_end, Some(end));
        let why = status(&info(State::Backoff, 0), &with(Always), None, Some("no user".into()));
        assert_eq!(why.last_end, Some(End::NotStarted("no user".into())));
        assert!(matches!(state(&info(State::Unknown, 0), Always), ProcessState::Crashed { .. }));
    }
}
