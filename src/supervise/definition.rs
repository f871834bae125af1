//! What is to run: a service and its processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::output::LogLimits;
use super::sockets::{Listen, Socket};

/// The most sockets that a process can be given.
pub(super) const MOST_SOCKETS: usize = 16;

/// A service: one or more processes that belong together.
///
/// ```
/// # use fleetman::supervise::{Kind, ServiceDef};
/// let service: ServiceDef = serde_json::from_str(r#"{
///     "processes": {
///         "migrate": {"kind": "task", "run": {"command": ["/opt/site/migrate", "--all"]}},
///         "web": {
///             "run": {"shell": "exec ./serve --port $PORT"},
///             "env": {"PORT": "8000", "TOKEN": {"from_file": "/etc/site/token"}},
///             "working_dir": "/opt/site",
///             "user": "www-data",
///             "after": ["migrate"],
///             "restart": {"policy": "always", "delay_ms": 200, "backoff": 2, "max_retries": 10},
///             "stop": {"signal": "INT", "timeout_ms": 30000}
///         }
///     },
///     "logs": {"max_file_bytes": 1000000}
/// }"#)?;
/// assert_eq!(service.processes["migrate"].kind, Kind::Task);
/// service.check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceDef {
    /// The processes, by name.
    pub processes: BTreeMap<String, ProcessDef>,
    /// How much of the output of each is kept on disk. A reload does not change it.
    #[serde(default)]
    pub logs: LogLimits,
}

/// One process of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessDef {
    /// Whether it goes on, or runs once.
    #[serde(default)]
    pub kind: Kind,
    /// What is executed.
    pub run: Run,
    /// The whole environment, but for [`MARK`](super::MARK).
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// The absolute path of where it starts; `/` if absent.
    #[serde(default)]
    pub working_dir: Option<PathBuf>,
    /// The user that it runs as, by name or number; the supervisor's own if absent.
    #[serde(default)]
    pub user: Option<String>,
    /// The group that it runs as, by name or number; the user's own if absent.
    #[serde(default)]
    pub group: Option<String>,
    /// The permissions that files it makes never have, such as `0o027`; the supervisor's own if absent.
    #[serde(default)]
    pub umask: Option<u32>,
    /// The most that it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Whether it starts with its service. Otherwise it waits for [`Supervisor::start_process`].
    ///
    /// [`Supervisor::start_process`]: super::Supervisor::start_process
    #[serde(default = "yes")]
    pub autostart: bool,
    /// It starts once these run or, if they are tasks, have completed.
    #[serde(default)]
    pub after: BTreeSet<String>,
    /// What happens when it ends. A task is never started again, whatever this says.
    #[serde(default)]
    pub restart: Restart,
    /// How it is ended.
    #[serde(default)]
    pub stop: Stop,
    /// What tells it to read its configuration anew, if it can: it is sent by a reload that changes nothing else.
    #[serde(default)]
    pub reload_signal: Option<SignalName>,
    /// What it is given to listen at, as `sd_listen_fds(3)` says. The supervisor listens there as long as the service is
    /// there, whether or not the process runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<Socket>,
}

fn yes() -> bool {
    true
}

impl ProcessDef {
    /// A process with the usual settings.
    #[must_use]
    pub fn new(run: Run) -> Self {
        Self {
            kind: Kind::default(),
            run,
            env: BTreeMap::new(),
            working_dir: None,
            user: None,
            group: None,
            umask: None,
            limits: Limits::default(),
            autostart: true,
            after: BTreeSet::new(),
            restart: Restart::default(),
            stop: Stop::default(),
            reload_signal: None,
            sockets: Vec::new(),
        }
    }

    /// Whether a process that runs by this definition would have been started otherwise by `other`. Restart policy
    /// and stop settings are taken over without a restart.
    #[must_use]
    pub fn starts_like(&self, other: &Self) -> bool {
        let started_by = |def: &Self| Self {
            autostart: true,
            after: BTreeSet::new(),
            restart: Restart::default(),
            stop: Stop::default(),
            reload_signal: None,
            ..def.clone()
        };
        started_by(self) == started_by(other)
    }
}

/// Whether a process goes on, or runs once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is meant to run until it is stopped.
    #[default]
    Service,
    /// It runs once and is done when it ends with 0.
    Task,
}

/// What is executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Run {
    /// A program and its arguments. One without `/` is looked up in the `PATH` of the process's own environment.
    Command(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}

impl Run {
    /// A program and its arguments.
    pub fn command<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self::Command(words.into_iter().map(Into::into).collect())
    }

    /// The words that are executed.
    pub(super) fn words(&self) -> Vec<&str> {
        match self {
            Self::Command(words) => words.iter().map(String::as_str).collect(),
            Self::Shell(line) => vec!["/bin/sh", "-c", line],
        }
    }
}

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnvValue {
    /// The value itself.
    Text(String),
    /// The value is read at each start, and kept nowhere else.
    File(EnvFile),
}

impl From<&str> for EnvValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A file that holds the value of an environment variable: UTF-8, at most 64 KiB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvFile {
    /// An absolute path.
    pub from_file: PathBuf,
    /// In a file of `KEY=value` lines, the key whose value is meant; the whole file, without its last newline, if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The most that one process may use, as soft and hard limits; see `setrlimit(2)`. The supervisor's own if absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Open files (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// Size of a core dump (`RLIMIT_CORE`).
    pub core_bytes: Option<u64>,
}

/// What happens when a process ends by itself, or cannot be started.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restart {
    /// When it is started again; on failure unless set.
    pub policy: RestartPolicy,
    /// How often in a row it is started again at most; without end if absent.
    pub max_retries: Option<u32>,
    /// How long to wait before the first restart in a row; 1 second unless set.
    pub delay_ms: u64,
    /// What the delay is multiplied with for each further one, 1 to 100; 1 unless set, which keeps it.
    pub backoff: f64,
    /// The longest that the delay grows to; 1 minute unless set.
    pub max_delay_ms: u64,
    /// How far a delay may be off at random, as a share of it: 0.1 is a tenth more or less; 0 unless set.
    pub jitter: f64,
    /// After running for so long a process has recovered, and the next restart is the first in a row; 1 minute unless
    /// set.
    pub reset_after_ms: u64,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::OnFailure,
            max_retries: None,
            delay_ms: 1_000,
            backoff: 1.0,
            max_delay_ms: 60_000,
            jitter: 0.0,
            reset_after_ms: 60_000,
        }
    }
}

/// When a process that ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// It is not.
    Never,
    /// After any end but exit code 0.
    #[default]
    OnFailure,
    /// After any end.
    Always,
}

/// How a process is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stop {
    /// What asks it, and everything else in its session, to end; SIGTERM unless set.
    pub signal: SignalName,
    /// How long it and everything that it started have until SIGKILL; 10 seconds unless set.
    pub timeout_ms: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: SignalName::Term, timeout_ms: 10_000 }
    }
}

impl Stop {
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}

/// A signal by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SignalName {
    /// SIGTERM
    Term,
    /// SIGINT
    Int,
    /// SIGQUIT
    Quit,
    /// SIGHUP
    Hup,
    /// SIGUSR1
    Usr1,
    /// SIGUSR2
    Usr2,
    /// SIGKILL
    Kill,
}

impl From<SignalName> for rustix::process::Signal {
    fn from(name: SignalName) -> Self {
        match name {
            SignalName::Term => Self::TERM,
            SignalName::Int => Self::INT,
            SignalName::Quit => Self::QUIT,
            SignalName::Hup => Self::HUP,
            SignalName::Usr1 => Self::USR1,
            SignalName::Usr2 => Self::USR2,
            SignalName::Kill => Self::KILL,
        }
    }
}

/// Why a definition cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidDefinition {
    /// The name would not do as a file name.
    #[error("{0:?} cannot be a name: expected 1 to 63 letters, digits, `-` or `_`")]
    Name(String),
    /// There is nothing to run.
    #[error("the service has no process")]
    Empty,
    /// There is nothing to execute.
    #[error("process {process} has no command")]
    NoCommand {
        /// The process.
        process: String,
    },
    /// A NUL byte, or a name of a variable that is empty or has `=` in it, cannot be passed to a program.
    #[error("process {process}: {what} cannot be passed to a program")]
    Unpassable {
        /// The process.
        process: String,
        /// What holds it.
        what: String,
    },
    /// A process comes after one that is not there.
    #[error("process {process} comes after {after:?}, which the service does not have")]
    UnknownAfter {
        /// The process.
        process: String,
        /// What it names.
        after: String,
    },
    /// Processes wait for each other.
    #[error("each of these processes comes after another of them, so none can be first: {}", .0.join(", "))]
    Circle(Vec<String>),
    /// Sockets that no process can be given.
    #[error("process {process}: {problem}")]
    Sockets {
        /// The process.
        process: String,
        /// What is wrong with them.
        problem: String,
    },
    /// A number makes no sense.
    #[error("process {process}: {field} is {value}, expected {expected}")]
    OutOfRange {
        /// The process.
        process: String,
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What would do.
        expected: &'static str,
    },
}

/// Whether `name` may name a service or a process: it becomes a file name.
pub(super) fn check_name(name: &str) -> Result<(), InvalidDefinition> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if (1..=63).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    Err(InvalidDefinition::Name(name.to_owned()))
}

impl ServiceDef {
    /// A service of one process.
    #[must_use]
    pub fn of(name: impl Into<String>, process: ProcessDef) -> Self {
        Self { processes: BTreeMap::from([(name.into(), process)]), ..Self::default() }
    }

    /// Where the processes listen.
    pub(super) fn listens(&self) -> impl Iterator<Item = &Listen> {
        self.processes.values().flat_map(|process| &process.sockets).map(|socket| &socket.listen)
    }

    /// Checks what can be known before anything is started.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), InvalidDefinition> {
        if self.processes.is_empty() {
            return Err(InvalidDefinition::Empty);
        }
        for (name, process) in &self.processes {
            check_name(name)?;
            process.check(name)?;
            if let Some(after) = process.after.iter().find(|after| !self.processes.contains_key(*after)) {
                return Err(InvalidDefinition::UnknownAfter { process: name.clone(), after: after.clone() });
            }
        }
        self.ranks().map(|_| ())
    }

    /// The processes in the order of starting: those of one rank wait for nothing but those of the ranks before.
    ///
    /// # Errors
    /// [`InvalidDefinition::Circle`].
    pub fn ranks(&self) -> Result<Vec<Vec<String>>, InvalidDefinition> {
        let mut ranks: Vec<Vec<String>> = Vec::new();
        let mut done: BTreeSet<&String> = BTreeSet::new();
        while done.len() < self.processes.len() {
            let ready = |(name, process): &(&String, &ProcessDef)| {
                !done.contains(name) && process.after.iter().all(|after| done.contains(after))
            };
            let rank: Vec<&String> = self.processes.iter().filter(ready).map(|(name, _)| name).collect();
            if rank.is_empty() {
                let waiting = self.processes.keys().filter(|name| !done.contains(name));
                return Err(InvalidDefinition::Circle(waiting.cloned().collect()));
            }
            ranks.push(rank.iter().map(|name| (*name).clone()).collect());
            done.extend(rank);
        }
        Ok(ranks)
    }
}

impl ProcessDef {
    fn check(&self, name: &str) -> Result<(), InvalidDefinition> {
        let process = || name.to_owned();
        let words = self.run.words();
        if words.first().is_none_or(|program| program.is_empty()) {
            return Err(InvalidDefinition::NoCommand { process: process() });
        }
        let unpassable = |what: String| InvalidDefinition::Unpassable { process: process(), what };
        if words.iter().any(|word| word.contains('\0')) {
            return Err(unpassable("a NUL byte in the command".to_owned()));
        }
        for (key, value) in &self.env {
            let nul = matches!(value, EnvValue::Text(text) if text.contains('\0'));
            if key.is_empty() || key.contains(['=', '\0']) || nul {
                return Err(unpassable(format!("the variable {key:?}")));
            }
        }
        let problem = |problem: String| InvalidDefinition::Sockets { process: process(), problem };
        if self.sockets.len() > MOST_SOCKETS {
            return Err(problem(format!(
                "{} sockets are more than the {MOST_SOCKETS} that it can be given",
                self.sockets.len()
            )));
        }
        if let Some(socket) = self.sockets.iter().find(|socket| check_name(&socket.name).is_err()) {
            return Err(problem(format!("{:?} cannot name a socket", socket.name)));
        }
        let Restart { backoff, jitter, .. } = self.restart;
        let range = |field, value, fits: bool, expected| match fits {
            true => Ok(()),
            false => Err(InvalidDefinition::OutOfRange { process: process(), field, value, expected }),
        };
        range("restart.backoff", backoff, (1.0..=100.0).contains(&backoff), "1 to 100")?;
        range("restart.jitter", jitter, (0.0..=1.0).contains(&jitter), "0 to 1")?;
        let umask = self.umask.unwrap_or_default();
        range("umask", f64::from(umask), umask <= 0o777, "0 to 511 (0o777)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(after: &[&str]) -> ProcessDef {
        ProcessDef { after: after.iter().map(|&name| name.into()).collect(), ..ProcessDef::new(Run::command(["true"])) }
    }

    fn service(processes: &[(&str, &[&str])]) -> ServiceDef {
        ServiceDef {
            processes: processes.iter().map(|(name, after)| ((*name).into(), process(after))).collect(),
            ..ServiceDef::default()
        }
    }

    #[test]
    fn processes_are_ranked_by_what_they_come_after() {
        let service = service(&[("web", &["migrate", "cache"]), ("migrate", &[]), ("cache", &[]), ("probe", &["web"])]);
        assert_eq!(service.ranks().unwrap(), [vec!["cache", "migrate"], vec!["web"], vec!["probe"]]);
    }

    #[test]
    fn circles_and_strangers_are_named() {
        let circle = service(&[("a", &["b"]), ("b", &["a"]), ("c", &[])]);
        assert_eq!(circle.check(), Err(InvalidDefinition::Circle(vec!["a".into(), "b".into()])));
        let error = service(&[("a", &["x"])]).check().unwrap_err();
        assert_eq!(error.to_string(), "process a comes after \"x\", which the service does not have");
    }

    #[test]
    fn what_no_program_can_be_given_is_refused() {
        let check = |change: &dyn Fn(&mut ProcessDef)| {
            let mut def = process(&[]);
            change(&mut def);
            ServiceDef::of("p", def).check().map_err(|error| error.to_string())
        };
        assert_eq!(check(&|_| {}), Ok(()));
        assert!(check(&|def| def.run = Run::Command(vec![])).unwrap_err().contains("no command"));
        assert!(check(&|def| def.run = Run::command(["a\0b"])).unwrap_err().contains("NUL"));
        assert!(check(&|def| drop(def.env.insert("A=B".into(), "".into()))).unwrap_err().contains("\"A=B\""));
        assert!(check(&|def| def.restart.backoff = f64::NAN).unwrap_err().contains("restart.backoff"));
        assert!(check(&|def| def.umask = Some(0o1000)).unwrap_err().contains("umask is 512"));
        assert_eq!(ServiceDef::of("../x", process(&[])).check(), Err(InvalidDefinition::Name("../x".into())));
        assert_eq!(ServiceDef::default().check(), Err(InvalidDefinition::Empty));
    }

    #[test]
    fn only_what_is_passed_to_a_program_needs_a_restart() {
        let def = process(&[]);
        let patient = ProcessDef { stop: Stop { timeout_ms: 1, ..Stop::default() }, ..def.clone() };
        assert!(def.starts_like(&patient));
        let other = ProcessDef { umask: Some(0o22), ..def.clone() };
        assert!(!def.starts_like(&other));
    }
}
