//! What processes do: states, and how they end.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::definition::Kind;

/// What a process does. Times are the wall clock's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ProcessState {
    /// It is to run, and waits for what it comes after.
    Starting {
        /// When it was told to start.
        since: DateTime<Utc>,
    },
    /// It runs.
    Running {
        /// Its process id.
        pid: i32,
        /// When it was started.
        since: DateTime<Utc>,
        /// How often it was started again since it was told to start.
        restarts: u32,
    },
    /// It was asked to end, or has ended, and what it started is still to be gone.
    Stopping {
        /// Its process id; 0 if it had ended before this supervisor came.
        pid: i32,
        /// When it was asked.
        since: DateTime<Utc>,
        /// When it is killed if it has not ended by then.
        kill_at: DateTime<Utc>,
    },
    /// It was told to stop, or never to start.
    Stopped {
        /// Since when.
        since: DateTime<Utc>,
        /// How it ended, if it ran.
        exit: Option<Exit>,
    },
    /// It ended, and will be started again.
    Backoff {
        /// When it ended.
        since: DateTime<Utc>,
        /// When it is started again.
        until: DateTime<Utc>,
        /// How it ended.
        end: End,
        /// How often it was started again already.
        restarts: u32,
    },
    /// It ended badly, and its policy says to leave it.
    Crashed {
        /// When it ended.
        since: DateTime<Utc>,
        /// How it ended.
        end: End,
    },
    /// It ended badly more often than its policy allows.
    Failed {
        /// When it ended for the last time.
        since: DateTime<Utc>,
        /// How it ended.
        end: End,
        /// How often it had been started again.
        restarts: u32,
    },
    /// It ended with exit code 0, and its policy says to leave it.
    Completed {
        /// When it ended.
        since: DateTime<Utc>,
    },
}

impl ProcessState {
    /// The state's name, as documents write it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Running { .. } => "running",
            Self::Stopping { .. } => "stopping",
            Self::Stopped { .. } => "stopped",
            Self::Backoff { .. } => "backoff",
            Self::Crashed { .. } => "crashed",
            Self::Failed { .. } => "failed",
            Self::Completed { .. } => "completed",
        }
    }

    /// Its process id, while it has one.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        match self {
            Self::Running { pid, .. } | Self::Stopping { pid, .. } => Some(*pid).filter(|pid| *pid > 0),
            _ => None,
        }
    }

    /// Since when it is in this state.
    #[must_use]
    pub fn since(&self) -> DateTime<Utc> {
        match self {
            Self::Starting { since }
            | Self::Running { since, .. }
            | Self::Stopping { since, .. }
            | Self::Stopped { since, .. }
            | Self::Backoff { since, .. }
            | Self::Crashed { since, .. }
            | Self::Failed { since, .. }
            | Self::Completed { since } => *since,
        }
    }

    /// Whether nothing of it runs and nothing will without being told to.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Crashed { .. } | Self::Failed { .. } | Self::Completed { .. })
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// By a signal; which one only its supervisor knows, and does not say.
    SomeSignal,
    /// Only the supervisor that started it could have seen how, and that was gone.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "{name}"),
                None => write!(f, "signal {number}"),
            },
            Self::SomeSignal => f.write_str("a signal"),
            Self::Unknown => f.write_str("an unknown exit code, as the supervisor that started it was gone"),
        }
    }
}

/// The names of `signal(7)` that end processes.
fn signal_name(number: i32) -> Option<&'static str> {
    use rustix::process::Signal;
    let named = [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::ILL, "SIGILL"),
        (Signal::ABORT, "SIGABRT"),
        (Signal::BUS, "SIGBUS"),
        (Signal::FPE, "SIGFPE"),
        (Signal::KILL, "SIGKILL"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::SEGV, "SIGSEGV"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::PIPE, "SIGPIPE"),
        (Signal::ALARM, "SIGALRM"),
        (Signal::TERM, "SIGTERM"),
        (Signal::XCPU, "SIGXCPU"),
        (Signal::XFSZ, "SIGXFSZ"),
        (Signal::SYS, "SIGSYS"),
    ];
    named.iter().find(|(signal, _)| signal.as_raw() == number).map(|(_, name)| *name)
}

/// Why a process does not run any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// It ran and ended.
    Exited(Exit),
    /// It could not be started, for this reason.
    NotStarted(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(exit) => write!(f, "ended with {exit}"),
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
        }
    }
}

/// A process as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Whether it goes on, or runs once.
    pub kind: Kind,
    /// What it does.
    #[serde(flatten)]
    pub state: ProcessState,
    /// How it ended when it last ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_end: Option<End>,
    /// How much of its output could not be logged, since this supervisor took over the output.
    #[serde(default)]
    pub lost_log_bytes: u64,
}

/// A service as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// The service.
    pub name: String,
    /// Its processes, by name.
    pub processes: BTreeMap<String, ProcessStatus>,
}

/// Something that happened: what [`Supervisor::events`](super::Supervisor::events) tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The service.
    pub service: String,
    /// The process.
    pub process: String,
    /// What it does now.
    pub status: ProcessStatus,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(End::Exited(Exit::Code(3)).to_string(), "ended with exit code 3");
        assert_eq!(End::Exited(Exit::Signal(15)).to_string(), "ended with SIGTERM");
        assert_eq!(End::Exited(Exit::Signal(64)).to_string(), "ended with signal 64");
        assert_eq!(End::NotStarted("no".into()).to_string(), "could not be started: no");
    }

    #[test]
    fn what_ended_before_it_was_seen_has_no_process_id() {
        let since = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let stopping = |pid| ProcessState::Stopping { pid, since, kill_at: since };
        assert_eq!([stopping(7).pid(), stopping(0).pid()], [Some(7), None]);
    }

    #[test]
    fn a_status_is_one_flat_document() {
        let since = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let state = ProcessState::Running { pid: 7, since, restarts: 2 };
        let status = ProcessStatus {
            kind: Kind::Service,
            state,
            last_end: Some(End::Exited(Exit::Signal(9))),
            lost_log_bytes: 0,
        };
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"service","state":"running","pid":7,"since":"2023-11-14T22:13:20Z","restarts":2,"last_end":{"exited":{"signal":9}},"lost_log_bytes":0}"#
        );
        assert_eq!(serde_json::from_str::<ProcessStatus>(&text).unwrap(), status);
    }
}
