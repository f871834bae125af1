//! The processes of a cell under the `process` and `supervisor` profiles.
//!
//! A cell with one plain service is written flat, as every other profile writes its program. Anything more is written
//! as a map of processes, and the manifest then [requires](super::manifest::Manifest::features) `processes`, so that
//! an agent which only knows the flat form does not run a part of it.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{Mode, is_default};
use super::name::ProcessName;
use super::run_spec::{EnvValue, RestartPolicy, RunSpec, StopSignal};

/// What the built-in supervisor runs, or supervisord.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "Form")]
pub struct ProcessSpec {
    /// Owner of the cell's data folder; the agent's user if absent.
    pub user: Option<String>,
    /// Group of the cell's data folder; the user's own if absent.
    pub group: Option<String>,
    /// The processes, each with all that it needs: nothing is inherited any more.
    pub processes: BTreeMap<ProcessName, Process>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Whether it is to run on, or once.
    #[serde(rename = "type", default, skip_serializing_if = "is_default")]
    pub kind: ProcessKind,
    /// The program, and how it is started, restarted and stopped.
    #[serde(flatten)]
    pub run: RunSpec,
    /// The permissions that files which it makes do not get; the supervisor's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<Mode>,
    /// It is started once these services run and these tasks have completed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<ProcessName>,
    /// Whether it is started with the cell, and not only when somebody asks for it.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub autostart: bool,
    /// What tells it to read its configuration again; it can only be restarted if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_signal: Option<StopSignal>,
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

/// What is expected of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessKind {
    /// It runs until it is stopped.
    #[default]
    Service,
    /// It ends by itself, with 0 if all is well, and is never restarted.
    Task,
}

/// Why processes cannot be run together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// None, or more than a supervisor takes.
    #[error("{count} processes, expected 1 to {}", ProcessSpec::MOST_PROCESSES)]
    Count {
        /// How many there are.
        count: usize,
    },
    /// A process without a program.
    #[error("the command of process {process} is empty")]
    NoCommand {
        /// The process.
        process: ProcessName,
    },
    /// A process waits for one that there is not.
    #[error("process {process} starts after {after}, which is not one of the processes")]
    UnknownAfter {
        /// The process.
        process: ProcessName,
        /// What it waits for.
        after: ProcessName,
    },
    /// Processes wait for each other.
    #[error("processes wait for each other: {}", shown(.circle))]
    Circle {
        /// Each starts after the next; the last is the first again.
        circle: Vec<ProcessName>,
    },
    /// A credential, which only systemd has.
    #[error("process {process}: only systemd gives credentials, as {variable} asks for; use from_file instead")]
    Credential {
        /// The process.
        process: ProcessName,
        /// The variable that is to have it.
        variable: String,
    },
    /// A task that is to be restarted.
    #[error("process {process} is a task, which runs once; its restart policy must be never")]
    RestartedTask {
        /// The process.
        process: ProcessName,
    },
}

fn shown(circle: &[ProcessName]) -> String {
    circle.iter().map(ProcessName::as_str).collect::<Vec<_>>().join(" after ")
}

impl Process {
    /// A service that is started with the cell and has nothing set but what every profile knows.
    #[must_use]
    pub fn service(run: RunSpec) -> Self {
        let (kind, after) = (ProcessKind::Service, BTreeSet::new());
        Self { kind, run, umask: None, after, autostart: true, reload_signal: None }
    }
}

impl ProcessSpec {
    /// The most processes that a cell may have.
    pub const MOST_PROCESSES: usize = 32;

    /// One plain service, called `main`.
    #[must_use]
    pub fn main(run: RunSpec) -> Self {
        let (user, group) = (run.user.clone(), run.group.clone());
        Self { user, group, processes: BTreeMap::from([(ProcessName::main(), Process::service(run))]) }
    }

    /// Whether it is one plain service, which is written flat.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain().is_some()
    }

    fn plain(&self) -> Option<&RunSpec> {
        let (name, process) = self.processes.first_key_value().filter(|_| self.processes.len() == 1)?;
        let is_plain = *name == ProcessName::main()
            && (&process.run.user, &process.run.group) == (&self.user, &self.group)
            && process.run.restart.is_plain()
            && *process == Process::service(process.run.clone());
        is_plain.then_some(&process.run)
    }

    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// See [`ProcessError`].
    pub fn check(&self) -> Result<(), ProcessError> {
        let count = self.processes.len();
        if count == 0 || count > Self::MOST_PROCESSES {
            return Err(ProcessError::Count { count });
        }
        for (name, process) in &self.processes {
            let unknown = process.after.iter().find(|after| !self.processes.contains_key(*after));
            if let Some(after) = unknown.cloned() {
                return Err(ProcessError::UnknownAfter { process: name.clone(), after });
            }
            if process.run.command.is_empty() {
                return Err(ProcessError::NoCommand { process: name.clone() });
            }
            let credential = process.run.env.iter().find(|(_, value)| matches!(value, EnvValue::Credential(_)));
            if let Some((variable, _)) = credential {
                return Err(ProcessError::Credential { process: name.clone(), variable: variable.clone() });
            }
            if process.kind == ProcessKind::Task && process.run.restart.policy != RestartPolicy::Never {
                return Err(ProcessError::RestartedTask { process: name.clone() });
            }
        }
        let after = self.processes.iter().map(|(name, process)| (name, process.after.iter().collect()));
        match circle(&after.collect()) {
            Some(circle) => Err(ProcessError::Circle { circle: circle.into_iter().cloned().collect() }),
            None => Ok(()),
        }
    }
}

/// Processes that wait for each other: each starts after the next, and the last is the first again.
#[must_use]
pub fn circle<'a>(after: &BTreeMap<&'a ProcessName, BTreeSet<&'a ProcessName>>) -> Option<Vec<&'a ProcessName>> {
    let mut waiting = after.clone();
    loop {
        let before = waiting.len();
        let still: BTreeSet<&ProcessName> = waiting.keys().copied().collect();
        waiting.retain(|_, after| after.iter().any(|after| still.contains(after)));
        if waiting.len() == before {
            break;
        }
    }
    // What is left waits for something that is left as well, so whoever goes on long enough comes back.
    let mut way = vec![*waiting.keys().next()?];
    loop {
        let next = waiting.get(way.last()?)?.iter().find(|after| waiting.contains_key(*after))?;
        if let Some(begin) = way.iter().position(|passed| passed == next) {
            way.drain(..begin);
            way.push(next);
            return Some(way);
        }
        way.push(next);
    }
}

/// How a [`ProcessSpec`] stands in a document: flat, or as a map.
#[derive(Serialize)]
#[serde(untagged)]
enum Form {
    Flat(RunSpec),
    Many(Many),
}

#[derive(Serialize, Deserialize)]
struct Many {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    processes: BTreeMap<ProcessName, Process>,
}

impl From<ProcessSpec> for Form {
    fn from(spec: ProcessSpec) -> Self {
        match spec.plain() {
            Some(run) => Self::Flat(run.clone()),
            None => Self::Many(Many { user: spec.user, group: spec.group, processes: spec.processes }),
        }
    }
}

impl<'de> Deserialize<'de> for ProcessSpec {
    /// By hand, because serde's untagged enums do not say what was wrong.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value.get("processes").is_none() {
            return RunSpec::deserialize(value).map(Self::main).map_err(D::Error::custom);
        }
        if value.get("command").is_some() {
            return Err(D::Error::custom("a command and processes cannot stand together"));
        }
        let Many { user, group, processes } = Many::deserialize(value).map_err(D::Error::custom)?;
        Ok(Self { user, group, processes })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(processes: Value) -> ProcessSpec {
        ProcessSpec::deserialize(json!({"processes": processes})).unwrap()
    }

    fn process(more: Value) -> Value {
        let mut value = json!({"command": ["/x"], "restart": {"policy": "never", "delay_ms": 1000},
            "stop": {"signal": "TERM", "timeout_ms": 1}});
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        value
    }

    #[test]
    fn one_plain_service_is_flat_and_anything_more_is_a_map() {
        let flat = process(json!({"user": "u", "env": {"A": "b", "C": {"from_file": "/c"}}}));
        let spec = ProcessSpec::deserialize(flat.clone()).unwrap();
        assert_eq!(spec.processes.keys().map(ProcessName::as_str).collect::<Vec<_>>(), ["main"]);
        assert_eq!((spec.user.as_deref(), spec.processes[&ProcessName::main()].run.env.len()), (Some("u"), 2));
        assert_eq!(serde_json::to_value(&spec).unwrap(), flat);

        for more in [
            json!({"type": "task"}),
            json!({"umask": "0027"}),
            json!({"autostart": false}),
            json!({"reload_signal": "HUP"}),
            json!({"user": "other"}),
            json!({"restart": {"policy": "always", "delay_ms": 1, "backoff_percent": 200}}),
            json!({"restart": {"policy": "always", "delay_ms": 1, "max_delay_ms": 2}}),
            json!({"restart": {"policy": "always", "delay_ms": 1, "jitter_percent": 3}}),
            json!({"restart": {"policy": "always", "delay_ms": 1, "reset_after_ms": 4}}),
        ] {
            let many = json!({"processes": {"main": process(more)}});
            let spec = ProcessSpec::deserialize(many.clone()).unwrap();
            assert!(!spec.is_plain());
            assert_eq!(serde_json::to_value(&spec).unwrap(), many);
        }
        let named = json!({"processes": {"web": process(json!({"after": ["web"]}))}});
        assert_eq!(serde_json::to_value(ProcessSpec::deserialize(named.clone()).unwrap()).unwrap(), named);
    }

    #[test]
    fn what_is_wrong_with_a_form_is_said() {
        let error = |value: Value| ProcessSpec::deserialize(value).unwrap_err().to_string();
        assert!(error(json!({"restart": {}})).contains("missing field `command`"));
        assert!(error(json!({"processes": {"a b": process(json!({}))}})).contains("process name \"a b\" is not valid"));
        let both = process(json!({"processes": {}}));
        assert_eq!(error(both), "a command and processes cannot stand together");
    }

    #[test]
    fn processes_that_cannot_run_together_are_refused() {
        let after = |names: &[&str]| process(json!({"after": names}));
        let refused = |processes| spec(processes).check().unwrap_err().to_string();
        assert_eq!(
            spec(json!({"a": after(&["b"]), "b": after(&["c"]), "c": after(&[]), "d": after(&["a", "c"])})).check(),
            Ok(())
        );
        assert_eq!(refused(json!({})), "0 processes, expected 1 to 32");
        let many: serde_json::Map<String, Value> = (0..33).map(|at| (format!("p{at}"), after(&[]))).collect();
        assert_eq!(refused(Value::Object(many)), "33 processes, expected 1 to 32");
        assert_eq!(refused(json!({"a": after(&["b"])})), "process a starts after b, which is not one of the processes");
        assert_eq!(refused(json!({"a": process(json!({"command": []}))})), "the command of process a is empty");
        let circle =
            json!({"z": after(&["a"]), "a": after(&["b"]), "b": after(&["c"]), "c": after(&["a"]), "d": after(&["z"])});
        assert_eq!(refused(circle), "processes wait for each other: a after b after c after a");
        assert_eq!(refused(json!({"a": after(&["a"])})), "processes wait for each other: a after a");
        let task = process(json!({"type": "task", "restart": {"policy": "always", "delay_ms": 1}}));
        assert_eq!(
            refused(json!({"a": task})),
            "process a is a task, which runs once; its restart policy must be never"
        );
        let secret = process(json!({"env": {"A": {"credential": "a"}}}));
        let expected = "process a: only systemd gives credentials, as A asks for; use from_file instead";
        assert_eq!(refused(json!({"a": secret})), expected);
        assert_eq!(spec(json!({"a": process(json!({"type": "task"}))})).check(), Ok(()));
    }
}
