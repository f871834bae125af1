//! What systemd says of a cell's units, in the heartbeat's words; and whether it is good enough. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use zbus::OwnedVariant;

use super::bus::Properties;
use crate::agent::{Gate, Observed};
use crate::model::heartbeat::{Condition, ProcessReport, ProcessState, RunningState};
use crate::model::{Code, ProcessName, strategy};
use crate::render::instance::Instance;
use crate::render::unit::Sockets;

/// What was restarted so often since it was activated is not waited for any longer.
const MOST_RESTARTS: u32 = 3;

/// A unit, as systemd has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Unit {
    /// Whether systemd could read it: `loaded`, `not-found`, `bad-setting`, `error`, `masked`.
    pub(super) load: String,
    pub(super) load_error: String,
    /// The file that it was read from.
    pub(super) file: Option<PathBuf>,
    pub(super) drop_ins: Vec<PathBuf>,
    /// Whether it starts with the host: `enabled`, `disabled`, `static` and others.
    pub(super) enabled: String,
    /// Whether the file has changed since systemd read it.
    pub(super) needs_reload: bool,
    /// Whether it says how it is told to read its files again.
    pub(super) can_reload: bool,
    pub(super) active: String,
    pub(super) sub: String,
    /// Names one time that it was started; what was never started has none.
    pub(super) invocation: Option<String>,
    pub(super) active_since: Option<DateTime<Utc>>,
    pub(super) changed_at: Option<DateTime<Utc>>,
    /// How its last run went: `success`, or what was wrong.
    pub(super) result: String,
    pub(super) is_oneshot: bool,
    pub(super) pid: Option<u32>,
    pub(super) restarts: u32,
    pub(super) exit: Option<Exit>,
    /// The longest that it may take to stop.
    pub(super) stops_within: Duration,
}

/// How a service's main process ended last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
}

impl Exit {
    /// What `properties` say of it, which is nothing while another process runs.
    pub(super) fn of(properties: &mut Properties) -> Option<Self> {
        let status: i32 = get(properties, "ExecMainStatus").unwrap_or_default();
        // As waitid(2) says how a process ended.
        match get::<i32>(properties, "ExecMainCode") {
            Some(1) => Some(Self::Code(status)),
            Some(2 | 3) => Some(Self::Signal(status)),
            _ => None,
        }
    }
}

/// Nothing is waited for longer than this, whatever a unit says.
const LONGEST_STOP: Duration = Duration::from_secs(600);

impl Unit {
    /// What `properties` say, where they say it.
    pub(super) fn of(mut properties: Properties) -> Self {
        let p = &mut properties;
        let (_, load_error): (String, String) = get(p, "LoadError").unwrap_or_default();
        let invocation: Vec<u8> = get(p, "InvocationID").unwrap_or_default();
        let exit = Exit::of(p);
        let stops_within = Duration::from_micros(get(p, "TimeoutStopUSec").unwrap_or_default());
        Self {
            load: get(p, "LoadState").unwrap_or_default(),
            load_error,
            file: get::<String>(p, "FragmentPath").filter(|path| !path.is_empty()).map(PathBuf::from),
            drop_ins: get::<Vec<String>>(p, "DropInPaths").unwrap_or_default().into_iter().map(PathBuf::from).collect(),
            enabled: get(p, "UnitFileState").unwrap_or_default(),
            needs_reload: get(p, "NeedDaemonReload").unwrap_or_default(),
            can_reload: get(p, "CanReload").unwrap_or_default(),
            active: get(p, "ActiveState").unwrap_or_default(),
            sub: get(p, "SubState").unwrap_or_default(),
            invocation: (!invocation.is_empty())
                .then(|| invocation.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
            active_since: time(p, "ActiveEnterTimestamp"),
            changed_at: time(p, "StateChangeTimestamp"),
            result: get(p, "Result").unwrap_or_default(),
            is_oneshot: get::<String>(p, "Type").as_deref() == Some("oneshot"),
            pid: get(p, "MainPID").filter(|pid| *pid != 0),
            restarts: get(p, "NRestarts").unwrap_or_default(),
            exit,
            stops_within: stops_within.min(LONGEST_STOP),
        }
    }

    /// Whether it runs, or is about to.
    pub(super) fn is_up(&self) -> bool {
        !["inactive", "failed", ""].contains(&self.active.as_str())
    }

    fn is_failed(&self) -> bool {
        self.active == "failed"
    }

    /// How its last run ended, in words.
    fn ending(&self) -> String {
        let how = match self.exit {
            // What systemd says when it is not the program that ended; see systemd.exec(5).
            Some(Exit::Code(code @ 200..=245)) => {
                let step = match code {
                    200 => "changing to its folder",
                    203 => "executing its program",
                    216 => "taking its group",
                    217 => "taking its user",
                    226 => "setting up what it may see of the host",
                    228 => "filtering its system calls",
                    238 => "making its state folder",
                    243 => "reading its credentials",
                    _ => "setting it up",
                };
                format!("systemd failed at {step} (status {code})")
            }
            Some(Exit::Code(code)) => format!("it ended with exit code {code}"),
            Some(Exit::Signal(signal)) => format!("it was ended by signal {signal}"),
            None => "it could not be started".to_owned(),
        };
        match self.result.as_str() {
            "" | "success" | "exit-code" | "signal" => how,
            result => format!("{how}, {result}"),
        }
    }
}

fn get<T: TryFrom<OwnedVariant>>(properties: &mut Properties, name: &str) -> Option<T> {
    properties.remove(name).and_then(|value| T::try_from(value).ok())
}

/// A moment in microseconds since 1970; systemd says 0 for never.
fn time(properties: &mut Properties, name: &str) -> Option<DateTime<Utc>> {
    let micros = get::<u64>(properties, name).filter(|micros| *micros != 0)?;
    DateTime::from_timestamp_micros(i64::try_from(micros).ok()?)
}

/// A bringing up that has begun: from then on it is its unit that systemd has read, so that what is started later is
/// started by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begun {
    /// Which.
    pub(super) activation: String,
    /// Whether it is the timer that was started.
    pub(super) is_scheduled: bool,
    /// What ran before, and is not it.
    pub(super) instead_of: Option<String>,
    /// Which of two it is, if it takes turns with what comes before and after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) instance: Option<Instance>,
    /// The sockets that it is given.
    #[serde(default, skip_serializing_if = "Sockets::is_empty")]
    pub(super) sockets: Sockets,
    /// The other one, which runs on until this one is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) beside: Option<Older>,
}

impl Begun {
    /// Which of the cell's services it is.
    pub(super) fn instance(&self) -> Instance {
        self.instance.unwrap_or(Instance::A)
    }

    /// The sockets that it is given, and those of what runs beside it.
    pub(super) fn all_sockets(&self) -> impl Iterator<Item = &String> {
        self.sockets.keys().chain(self.beside.iter().flat_map(|older| older.sockets.keys()))
    }
}

/// What runs beside a newer one until that is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Older {
    /// Which bringing up it was.
    pub(super) activation: String,
    /// The sockets that it is given.
    #[serde(default, skip_serializing_if = "Sockets::is_empty")]
    pub(super) sockets: Sockets,
}

/// The unit file, as far as it matters to what is said of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum File {
    /// There is none.
    Missing,
    /// Ours, as this bringing up wrote it.
    Whole(String),
    /// Ours, and changed by hand; and which.
    Edited(String, PathBuf),
    /// Not ours, and what is.
    Foreign(String),
}

/// Everything that is known of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Look {
    /// The service that was brought up last.
    pub(super) service: Unit,
    /// The other one of two that take turns.
    pub(super) other: Option<Unit>,
    /// The timer, where there is one.
    pub(super) timer: Option<Unit>,
    /// The sockets that either is given.
    pub(super) sockets: BTreeMap<String, Unit>,
    pub(super) file: File,
    pub(super) begun: Option<Begun>,
}

impl Look {
    /// What is started and stopped: the timer, or the service itself.
    fn lead(&self) -> &Unit {
        self.timer.as_ref().unwrap_or(&self.service)
    }

    /// Whether it is this bringing up that runs, or ran.
    pub(super) fn has_started(&self, activation: &str) -> bool {
        self.begun.as_ref().is_some_and(|begun| {
            begun.activation == activation
                && begun.is_scheduled == self.timer.is_some()
                && self.lead().invocation.is_some()
                && begun.instead_of != self.lead().invocation
        })
    }

    /// What the heartbeat says of it.
    pub(super) fn observed(&self) -> Observed {
        if matches!(self.file, File::Foreign(_)) {
            // It says nothing of the cell.
            return Observed { conditions: self.conditions(), ..RunningState::Stopped.into() };
        }
        let mut observed = Observed { conditions: self.conditions(), ..self.state().into() };
        let instance = self.begun.as_ref().map_or(Instance::A, Begun::instance);
        if self.service.invocation.is_some() || self.service.is_up() {
            observed.processes.insert(process_name(instance), self.process(&self.service));
        }
        if let Some(other) = self.other.as_ref().filter(|other| other.is_up()) {
            observed.processes.insert(process_name(instance.other()), self.process(other));
        }
        observed
    }

    fn state(&self) -> RunningState {
        let service = &self.service;
        let failed = |unit: &Unit| RunningState::Failed { reason: unit.ending() };
        if let Some(timer) = &self.timer {
            return match () {
                () if timer.is_failed() => {
                    RunningState::Failed { reason: format!("its timer failed: {}", timer.result) }
                }
                () if !timer.is_up() => RunningState::Stopped,
                () if service.is_failed() => failed(service),
                () => RunningState::Running { pid: service.pid, since: timer.active_since, restarts: service.restarts },
            };
        }
        match service.active.as_str() {
            "active" | "reloading" => {
                RunningState::Running { pid: service.pid, since: service.active_since, restarts: service.restarts }
            }
            "activating" => RunningState::Starting,
            "deactivating" | "inactive" => RunningState::Stopped,
            "failed" => failed(service),
            _ => RunningState::Unknown,
        }
    }

    fn process(&self, service: &Unit) -> ProcessReport {
        let state = match (service.active.as_str(), service.sub.as_str()) {
            ("active", "exited") => ProcessState::Completed,
            ("active" | "reloading", _) => ProcessState::Running,
            ("activating", "auto-restart") => ProcessState::Backoff,
            // A oneshot is that for as long as it runs.
            ("activating", _) if service.is_oneshot && service.pid.is_some() => ProcessState::Running,
            ("activating", _) => ProcessState::Starting,
            ("deactivating", _) => ProcessState::Stopping,
            ("failed", _) if service.result == "start-limit-hit" => ProcessState::Failed,
            ("failed", _) => ProcessState::Crashed,
            _ if self.timer.is_some() => ProcessState::Completed,
            _ => ProcessState::Stopped,
        };
        let (exit_code, exit_signal) = match service.exit {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let is_well = service.result == "success";
        ProcessReport {
            state,
            pid: service.pid,
            since: service.changed_at,
            restarts: service.restarts,
            exit_code,
            exit_signal,
            reason: (!is_well || service.restarts > 0).then(|| service.ending()).filter(|_| service.exit.is_some()),
        }
    }

    fn conditions(&self) -> Vec<Condition> {
        let mut conditions = Vec::new();
        let mut say = |code, message: String| conditions.push(Condition { code, message });
        match &self.file {
            File::Whole(_) => {}
            File::Foreign(what) => say(Code::UnitNotOwned, format!("{what}, so it is left alone")),
            File::Edited(_, path) => {
                let path = path.display();
                say(Code::UnitDrift, format!("{path} was changed by hand; publish with --force to overwrite it"));
            }
            File::Missing if self.begun.is_some() => {
                say(Code::Inconsistent, "its unit file is gone; redeploy to bring it back".to_owned());
            }
            File::Missing => {}
        }
        let units = || [Some(&self.service), self.other.as_ref(), self.timer.as_ref()].into_iter().flatten();
        let drop_ins: Vec<String> = units()
            .flat_map(|unit| &unit.drop_ins)
            .filter(|path| is_of_unit(path))
            .map(|path| path.display().to_string())
            .collect();
        if !drop_ins.is_empty() {
            say(Code::UnitExtended, format!("drop-ins change how it runs: {}", drop_ins.join(", ")));
        }
        let Some(begun) = self.begun.as_ref().filter(|_| matches!(self.file, File::Whole(_))) else {
            return conditions;
        };
        // Until it is good it is the other one that starts with the host.
        if begun.beside.is_none() && self.lead().enabled == "disabled" {
            say(Code::Inconsistent, "its unit was disabled by hand, so it does not start with the host".to_owned());
        }
        for (stem, listen) in &begun.sockets {
            if self.sockets.get(stem).is_some_and(|socket| !socket.is_up()) {
                let message = format!(
                    "systemd does not listen at {listen} for it any more ({stem}.socket); what has the socket goes on, \
                     and the next version takes its place by stop_start"
                );
                say(Code::Inconsistent, message);
            }
        }
        conditions
    }
}

/// What heartbeats call the process of an instance.
fn process_name(instance: Instance) -> ProcessName {
    let main = ProcessName::main();
    match instance {
        Instance::A => main,
        Instance::B => ProcessName::new(strategy::second(&main)).unwrap_or(main),
    }
}

/// Whether a drop-in is for units of ours, and not for all services.
pub(super) fn is_of_unit(path: &Path) -> bool {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    !["service.d", "socket.d", "timer.d"].iter().any(|all| folder == *all)
}

/// Whether `look` is good: this activation runs, without a restart for `min_healthy`.
pub(super) fn gate(look: &Look, activation: &str, min_healthy: Duration, now: DateTime<Utc>) -> Gate {
    let is_it = matches!(&look.file, File::Whole(written) | File::Edited(written, _) if written == activation);
    if !is_it || !look.has_started(activation) {
        return Gate::NotStarted;
    }
    let service = &look.service;
    if service.is_failed() {
        return Gate::Failed(service.ending());
    }
    if service.restarts >= MOST_RESTARTS {
        return Gate::Failed(format!("it was restarted {} times: {}", service.restarts, service.ending()));
    }
    if let Some(timer) = &look.timer {
        return match timer.active.as_str() {
            "active" => Gate::Passed,
            "failed" | "inactive" => Gate::Failed(format!("its timer is {}: {}", timer.active, timer.result)),
            state => Gate::Pending(format!("its timer is {state}")),
        };
    }
    match (service.active.as_str(), service.sub.as_str()) {
        ("active", "exited") => Gate::Passed,
        ("active", _) => {
            let well_for = service.active_since.map_or(min_healthy, |since| (now - since).to_std().unwrap_or_default());
            match min_healthy.checked_sub(well_for) {
                None | Some(Duration::ZERO) => Gate::Passed,
                Some(left) => Gate::Pending(format!("it has to run for {:.1} s more", left.as_secs_f64())),
            }
        }
        ("inactive", _) if service.is_oneshot => Gate::Passed,
        ("inactive", _) => Gate::Failed(format!("it does not run any more: {}", service.ending())),
        ("activating", "auto-restart") => Gate::Pending(format!("it is started once more: {}", service.ending())),
        (state, sub) => Gate::Pending(format!("it is {state} ({sub})")),
    }
}

#[cfg(test)]
mod tests;
