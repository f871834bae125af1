//! What a supervisor reports, in the heartbeat's words; and whether it is good enough. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::agent::{Gate, Observed};
use crate::model::ProcessName;
use crate::model::heartbeat::{self, ProcessReport, RunningState};
use crate::supervise::detached::{Report, Wanted};
use crate::supervise::{End, Exit, Kind, ProcessState, ProcessStatus, ServiceDef};

/// What was restarted so often since it was activated, or is about to be, is not waited for any longer.
const MOST_RESTARTS: u32 = 3;

/// What is known of a cell's supervisor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing yet.
    Nothing,
    /// None is there, and none should be.
    Absent,
    /// What it said last.
    Report(Box<Report>),
    /// There should be one, and it cannot be spoken to.
    Trouble(String),
}

impl Seen {
    /// The same without these processes.
    pub(super) fn without(mut self, processes: &BTreeSet<String>) -> Self {
        if let Self::Report(report) = &mut self
            && let Some(service) = &mut report.service
        {
            service.processes.retain(|name, _| !processes.contains(name));
        }
        self
    }

    /// The cell of this definition, as heartbeats tell of it.
    pub(super) fn observed(self, definition: impl FnOnce() -> ServiceDef) -> Observed {
        match self {
            Self::Nothing => RunningState::Unknown.into(),
            Self::Absent => RunningState::Stopped.into(),
            Self::Report(report) => observed(&report, &definition()),
            Self::Trouble(reason) => RunningState::Failed { reason }.into(),
        }
    }

    /// Whether the activation of this name, by this definition, is good.
    pub(super) fn gate(
        &self,
        activation: &str,
        definition: &ServiceDef,
        min_healthy: Duration,
        now: DateTime<Utc>,
    ) -> Gate {
        match self {
            Self::Nothing => Gate::Pending("its supervisor has not answered yet".to_owned()),
            Self::Trouble(why) => Gate::Pending(why.clone()),
            Self::Absent => Gate::NotStarted,
            Self::Report(report) if report.orders.as_deref() != Some(activation) => Gate::NotStarted,
            Self::Report(report) => gate(report, definition, min_healthy, now),
        }
    }
}

fn observed(report: &Report, definition: &ServiceDef) -> Observed {
    let processes = report.service.iter().flat_map(|service| &service.processes);
    let named = processes
        .clone()
        .filter_map(|(name, status)| Some((ProcessName::new(name.clone()).ok()?, process_report(status))));
    Observed { processes: named.collect(), ..state(report, definition).into() }
}

/// Whether it only starts when somebody asks for it: then it is no failure of the cell's that it does not run.
fn is_by_hand(definition: &ServiceDef, process: &str) -> bool {
    definition.processes.get(process).is_some_and(|process| !process.autostart)
}

fn state(report: &Report, definition: &ServiceDef) -> RunningState {
    if let Some(trouble) = &report.trouble {
        return RunningState::Failed { reason: trouble.clone() };
    }
    if report.wanted == Some(Wanted::Down) {
        return RunningState::Stopped;
    }
    let Some(service) = &report.service else { return RunningState::Starting };
    let its_own = || service.processes.iter().filter(|(name, _)| !is_by_hand(definition, name));
    if let Some((name, end)) = its_own().find_map(|(name, status)| Some((name, has_failed(status)?))) {
        return RunningState::Failed { reason: format!("{name} {end}") };
    }
    let is_coming =
        |state: &ProcessState| matches!(state, ProcessState::Starting { .. } | ProcessState::Backoff { .. });
    if its_own().any(|(_, status)| is_coming(&status.state)) {
        return RunningState::Starting;
    }
    let running = service.processes.values().filter_map(|status| match (&status.state, status.kind) {
        (ProcessState::Running { pid, since, restarts }, Kind::Service) => Some((*pid, *since, *restarts)),
        _ => None,
    });
    let running: Vec<_> = running.collect();
    if running.is_empty() {
        return RunningState::Stopped;
    }
    RunningState::Running {
        // Of several none is more the cell's than another.
        pid: running.first().filter(|_| running.len() == 1).and_then(|(pid, ..)| u32::try_from(*pid).ok()),
        since: running.iter().map(|(_, since, _)| *since).max(),
        restarts: running.iter().map(|(.., restarts)| restarts).sum(),
    }
}

/// How it came that something which should run, or have run, does not.
fn has_failed(status: &ProcessStatus) -> Option<String> {
    match &status.state {
        ProcessState::Crashed { end, .. } => Some(end.to_string()),
        ProcessState::Failed { end, restarts, .. } => Some(format!("{end}, after {restarts} restarts")),
        ProcessState::Completed { .. } if status.kind == Kind::Service => {
            Some("is a service, and ended with exit code 0".to_owned())
        }
        _ => None,
    }
}

fn process_report(status: &ProcessStatus) -> ProcessReport {
    let (state, restarts) = match &status.state {
        ProcessState::Starting { .. } => (heartbeat::ProcessState::Starting, 0),
        ProcessState::Running { restarts, .. } => (heartbeat::ProcessState::Running, *restarts),
        ProcessState::Stopping { .. } => (heartbeat::ProcessState::Stopping, 0),
        ProcessState::Stopped { .. } => (heartbeat::ProcessState::Stopped, 0),
        ProcessState::Backoff { restarts, .. } => (heartbeat::ProcessState::Backoff, *restarts),
        ProcessState::Crashed { .. } => (heartbeat::ProcessState::Crashed, 0),
        ProcessState::Failed { restarts, .. } => (heartbeat::ProcessState::Failed, *restarts),
        ProcessState::Completed { .. } => (heartbeat::ProcessState::Completed, 0),
    };
    let (exit_code, exit_signal) = match &status.last_end {
        Some(End::Exited(Exit::Code(code))) => (Some(*code), None),
        Some(End::Exited(Exit::Signal(signal))) => (None, Some(*signal)),
        _ => (None, None),
    };
    let lost = (status.lost_log_bytes > 0)
        .then(|| format!("{} bytes of its output are not in its log", status.lost_log_bytes));
    ProcessReport {
        state,
        pid: status.state.pid().and_then(|pid| u32::try_from(pid).ok()),
        since: Some(status.state.since()),
        restarts,
        exit_code,
        exit_signal,
        reason: status.last_end.as_ref().map(ToString::to_string).or(lost),
    }
}

/// Whether every service runs and every task has completed, without a restart for `min_healthy`. Processes that do not
/// start with the cell do not count.
fn gate(report: &Report, definition: &ServiceDef, min_healthy: Duration, now: DateTime<Utc>) -> Gate {
    if let Some(trouble) = &report.trouble {
        return Gate::Pending(trouble.clone());
    }
    let Some(service) = &report.service else { return Gate::Pending("it is being started".to_owned()) };
    let missing = definition.processes.iter().find(|(name, process)| {
        // As long as a supervisor still ends what was there before.
        process.autostart && !service.processes.contains_key(*name)
    });
    let mut waits = missing.map(|(name, _)| format!("{name} is not taken care of yet"));
    let mut well_since = None;
    for (name, status) in &service.processes {
        if is_by_hand(definition, name) {
            continue;
        }
        if let Some(end) = has_failed(status) {
            return Gate::Failed(format!("{name} {end}"));
        }
        let last_end = || status.last_end.as_ref().map(|end| format!(": it {end}")).unwrap_or_default();
        let (made, due) = match &status.state {
            ProcessState::Running { restarts, .. } => (*restarts, 0),
            ProcessState::Backoff { restarts, .. } => (*restarts, 1),
            _ => (0, 0),
        };
        if made.saturating_add(due) >= MOST_RESTARTS {
            return Gate::Failed(format!("{name} was restarted {made} times{}", last_end()));
        }
        match (&status.state, status.kind) {
            (ProcessState::Running { since, .. }, Kind::Service) | (ProcessState::Completed { since }, Kind::Task) => {
                well_since = well_since.max(Some(*since));
            }
            (state, _) => waits = waits.or(Some(format!("{name} is {}{}", state.name(), last_end()))),
        }
    }
    if let Some(waits) = waits {
        return Gate::Pending(waits);
    }
    let well_for = well_since.map_or(min_healthy, |since| (now - since).to_std().unwrap_or_default());
    match min_healthy.checked_sub(well_for) {
        None | Some(Duration::ZERO) => Gate::Passed,
        Some(left) => Gate::Pending(format!("it has to run for {:.1} s more", left.as_secs_f64())),
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::supervise::{ProcessDef, Run, ServiceStatus};

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + secs, 0).unwrap()
    }

    fn report(processes: &[(&str, Kind, ProcessState)]) -> Report {
        let status = |kind: Kind, state: &ProcessState| {
            let last_end = match state {
                ProcessState::Backoff { end, .. } => Some(end.clone()),
                ProcessState::Running { restarts: 1.., .. } => Some(End::Exited(Exit::Signal(9))),
                _ => None,
            };
            ProcessStatus { kind, state: state.clone(), last_end, lost_log_bytes: 0 }
        };
        let processes = processes.iter().map(|(name, kind, state)| ((*name).to_owned(), status(*kind, state)));
        let service = ServiceStatus { name: "web".into(), processes: processes.collect() };
        let (orders, wanted) = (Some("1-1-1".into()), Some(Wanted::Up));
        Report { pid: 1, since: at(0), orders, wanted, trouble: None, service: Some(service) }
    }

    fn running(since: i64, restarts: u32) -> ProcessState {
        ProcessState::Running { pid: 7, since: at(since), restarts }
    }

    fn definition() -> ServiceDef {
        ServiceDef::of("by-hand", ProcessDef { autostart: false, ..ProcessDef::new(Run::command(["true"])) })
    }

    fn gate_of(processes: &[(&str, Kind, ProcessState)], now: i64) -> Gate {
        gate(&report(processes), &definition(), Duration::from_secs(10), at(now))
    }

    #[test]
    fn what_runs_for_long_enough_passes() {
        let (service, task) = (Kind::Service, Kind::Task);
        let pending = |text: &str| Gate::Pending(text.to_owned());
        assert_eq!(gate_of(&[("main", service, running(0, 0))], 9), pending("it has to run for 1.0 s more"));
        assert_eq!(gate_of(&[("main", service, running(0, 0))], 10), Gate::Passed);
        assert_eq!(gate_of(&[("main", service, running(5, 1))], 10), pending("it has to run for 5.0 s more"));
        let done = ProcessState::Completed { since: at(0) };
        assert_eq!(gate_of(&[("main", service, running(0, 0)), ("seed", task, done.clone())], 10), Gate::Passed);
        assert_eq!(gate_of(&[("seed", task, running(0, 0))], 100), pending("seed is running"));
        let idle = ProcessState::Stopped { since: at(0), exit: None };
        assert_eq!(gate_of(&[("main", service, running(0, 0)), ("by-hand", service, idle.clone())], 10), Gate::Passed);
        assert_eq!(gate_of(&[("main", service, idle)], 100), pending("main is stopped"));
        for state in [ProcessState::Crashed { since: at(5), end: End::Exited(Exit::Code(1)) }, running(5, 3)] {
            let asked_for = [("main", service, running(0, 0)), ("by-hand", service, state)];
            assert_eq!(gate_of(&asked_for, 10), Gate::Passed, "what an operator tries is not the version's to answer");
        }
        let main = ServiceDef::of("main", ProcessDef::new(Run::command(["true"])));
        let none_yet = gate(&report(&[]), &main, Duration::from_secs(10), at(100));
        assert_eq!(none_yet, pending("main is not taken care of yet"));
        let earlier = at(-1) - TimeDelta::seconds(5);
        assert_eq!(
            gate(
                &report(&[("main", service, running(0, 0))]),
                &ServiceDef::default(),
                Duration::from_secs(10),
                earlier
            ),
            pending("it has to run for 10.0 s more")
        );
    }

    #[test]
    fn what_ended_badly_fails_and_says_how() {
        let (service, end) = (Kind::Service, End::Exited(Exit::Code(3)));
        let failed = |text: &str| Gate::Failed(text.to_owned());
        let crashed = ProcessState::Crashed { since: at(0), end: end.clone() };
        assert_eq!(gate_of(&[("seed", Kind::Task, crashed)], 0), failed("seed ended with exit code 3"));
        let gone = ProcessState::Failed { since: at(0), end: end.clone(), restarts: 2 };
        assert_eq!(gate_of(&[("main", service, gone)], 0), failed("main ended with exit code 3, after 2 restarts"));
        assert_eq!(
            gate_of(&[("main", service, running(0, 3))], 99),
            failed("main was restarted 3 times: it ended with SIGKILL")
        );
        let soon = |restarts| ProcessState::Backoff { since: at(0), until: at(1), end: end.clone(), restarts };
        assert_eq!(
            gate_of(&[("main", service, soon(1))], 0),
            Gate::Pending("main is backoff: it ended with exit code 3".into())
        );
        assert_eq!(
            gate_of(&[("main", service, soon(2))], 0),
            failed("main was restarted 2 times: it ended with exit code 3"),
            "its third restart is only due"
        );
        let done = ProcessState::Completed { since: at(0) };
        assert_eq!(gate_of(&[("main", service, done)], 99), failed("main is a service, and ended with exit code 0"));
    }

    #[test]
    fn a_cell_is_what_its_processes_are() {
        let (service, task) = (Kind::Service, Kind::Task);
        let state_of = |report: &Report| observed(report, &definition()).state;
        let state = |processes: &[(&str, Kind, ProcessState)]| state_of(&report(processes));
        let one = RunningState::Running { pid: Some(7), since: Some(at(3)), restarts: 1 };
        assert_eq!(state(&[("main", service, running(3, 1))]), one);
        let two = RunningState::Running { pid: None, since: Some(at(5)), restarts: 3 };
        assert_eq!(state(&[("a", service, running(3, 1)), ("b", service, running(5, 2))]), two);
        assert_eq!(state(&[("a", task, ProcessState::Starting { since: at(0) })]), RunningState::Starting);
        let trouble = Report { trouble: Some("no".into()), ..report(&[("main", service, running(0, 0))]) };
        assert_eq!(state_of(&trouble), RunningState::Failed { reason: "no".into() });
        let down = |report| Report { wanted: Some(Wanted::Down), ..report };
        assert_eq!(state_of(&down(report(&[("main", service, running(0, 0))]))), RunningState::Stopped);
        assert_eq!(state_of(&down(trouble)), RunningState::Failed { reason: "no".into() }, "it did not stop");
        let crashed = ProcessState::Crashed { since: at(0), end: End::NotStarted("no".into()) };
        let tried = [("by-hand", service, crashed.clone()), ("main", service, running(3, 1))];
        assert_eq!(state(&tried), one, "what an operator tried and what ended is no failure of the cell's");
        let failed = RunningState::Failed { reason: "a could not be started: no".into() };
        assert_eq!(state(&[("a", task, crashed), ("b", service, running(0, 0))]), failed);
    }
}
