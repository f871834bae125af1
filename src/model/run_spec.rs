//! How a cell is run: what `manifest.json` says about processes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::name::CredentialName;
use super::process::ProcessSpec;
use super::systemd::SystemdSpec;

/// How a cell is run on its node, by the name of the profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Profile {
    /// Files in a folder, and nothing is run.
    Deploy(DeploySpec),
    /// The built-in process supervisor.
    Process(ProcessSpec),
    /// A systemd service.
    Systemd(SystemdSpec),
    /// Programs of supervisord.
    Supervisor(ProcessSpec),
}

impl Profile {
    /// The profile's name, as documents and configs write it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Deploy(_) => "deploy",
            Self::Process(_) => "process",
            Self::Systemd(_) => "systemd",
            Self::Supervisor(_) => "supervisor",
        }
    }

    /// Every profile's name.
    pub const NAMES: [&'static str; 4] = ["deploy", "process", "systemd", "supervisor"];

    /// Every program that is run.
    #[must_use]
    pub fn runs(&self) -> Vec<&RunSpec> {
        match self {
            Self::Deploy(_) => Vec::new(),
            Self::Process(spec) | Self::Supervisor(spec) => {
                spec.processes.values().map(|process| &process.run).collect()
            }
            Self::Systemd(spec) => spec.rendered().map(|unit| &unit.run).into_iter().collect(),
        }
    }

    /// The user and group that own the cell's data folder; `None` is the agent's own.
    #[must_use]
    pub fn owner(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Deploy(spec) => (spec.user.as_deref(), spec.group.as_deref()),
            Self::Process(spec) | Self::Supervisor(spec) => (spec.user.as_deref(), spec.group.as_deref()),
            Self::Systemd(spec) => spec.owner(),
        }
    }
}

/// The `deploy` profile: somebody else reads or runs the files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploySpec {
    /// Owner of the cell's data folder; the agent's user if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Group of the cell's data folder; the user's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
}

/// A program and the conditions under which it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The program and its arguments; never a shell line. A relative program is looked up in the release.
    pub command: Vec<String>,
    /// The whole environment, but for what the profile adds (`FLEETMAN_*`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, EnvValue>,
    /// The user that it runs as; the agent's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The group that it runs as; the user's own if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Where it starts, relative to the release; the release itself if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<super::FilePath>,
    /// What happens when it ends.
    pub restart: Restart,
    /// How it is ended.
    pub stop: Stop,
}

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EnvValue {
    /// The value itself.
    Text(String),
    /// The value is read on the node when the program starts; it is never in the bucket.
    FromFile(FromFile),
    /// The path of a file that holds a secret of the node, which systemd shows to the service alone.
    Credential(FromCredential),
}

/// A credential of systemd; only the `systemd` profile knows them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FromCredential {
    /// Its name in the node's credential store, such as `/etc/credstore`.
    pub credential: CredentialName,
}

/// A secret that lies on the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromFile {
    /// An absolute path on the node.
    pub from_file: String,
    /// In a file of `KEY=value` lines, the key whose value is meant; the whole file, without its last newline, if
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What happens when a program ends. Only the `process` profile knows more than the first three.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restart {
    /// When it is started again.
    pub policy: RestartPolicy,
    /// How long to wait before the first time.
    pub delay_ms: u64,
    /// How often at most; without end if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
    /// How long each wait is, in percent of the one before: 200 doubles it every time.
    #[serde(skip_serializing_if = "is_steady")]
    pub backoff_percent: u32,
    /// The longest that a wait grows to.
    #[serde(skip_serializing_if = "is_usual_max_delay")]
    pub max_delay_ms: u64,
    /// How much longer or shorter than that a wait may be, by chance, in percent.
    #[serde(skip_serializing_if = "is_exact")]
    pub jitter_percent: u32,
    /// What ran so long begins to count its restarts anew.
    #[serde(skip_serializing_if = "is_usual_reset")]
    pub reset_after_ms: u64,
}

impl Restart {
    const STEADY_PERCENT: u32 = 100;
    const MAX_DELAY_MS: u64 = 60_000;
    const RESET_AFTER_MS: u64 = 60_000;

    /// Whether nothing is set but what every profile knows.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let Self {
            policy: _,
            delay_ms: _,
            max_retries: _,
            backoff_percent,
            max_delay_ms,
            jitter_percent,
            reset_after_ms,
        } = self;
        is_steady(backoff_percent)
            && is_usual_max_delay(max_delay_ms)
            && is_exact(jitter_percent)
            && is_usual_reset(reset_after_ms)
    }
}

fn is_steady(percent: &u32) -> bool {
    *percent == Restart::STEADY_PERCENT
}

fn is_usual_max_delay(ms: &u64) -> bool {
    *ms == Restart::MAX_DELAY_MS
}

fn is_exact(jitter_percent: &u32) -> bool {
    *jitter_percent == 0
}

fn is_usual_reset(ms: &u64) -> bool {
    *ms == Restart::RESET_AFTER_MS
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::OnFailure,
            delay_ms: 1_000,
            max_retries: None,
            backoff_percent: Self::STEADY_PERCENT,
            max_delay_ms: Self::MAX_DELAY_MS,
            jitter_percent: 0,
            reset_after_ms: Self::RESET_AFTER_MS,
        }
    }
}

/// When a program that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// It is not.
    Never,
    /// After any end but exit code 0.
    OnFailure,
    /// After any end.
    Always,
}

/// How a program is ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// The signal that asks it to end.
    pub signal: StopSignal,
    /// How long it has until SIGKILL.
    pub timeout_ms: u64,
}

impl Default for Stop {
    fn default() -> Self {
        Self { signal: StopSignal::Term, timeout_ms: 10_000 }
    }
}

/// A signal that asks a program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StopSignal {
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

/// The most that a cell may use; what the profile's supervisor enforces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Open files of a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Memory of the whole cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processes and threads of the whole cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// Size of a core dump of a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub core_bytes: Option<u64>,
}
