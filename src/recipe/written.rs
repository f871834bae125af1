//! `manifest.yaml` and `cell.yaml` as people write them. What these types hold is well formed; whether it makes sense
//! is checked apart.

mod drift;
mod health;
mod hook;
mod process;
mod settings;
mod strategy;
mod systemd;
mod windows;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Deserialize;

pub use self::drift::Drift;
pub use self::health::{Check, ExecCheck, FileCheck, Health, HttpCheck, LogCheck, TcpCheck};
pub use self::hook::{Hook, Hooks};
pub use self::process::{Process, ProcessKind, ProcessOverrides, ProcessRestart, Processes};
pub(super) use self::settings::{Settings, unknown_to};
pub use self::strategy::{Socket, StartStop, Strategy};
pub use self::systemd::{Hardening, Unit};
pub use self::windows::{Window, Windows};
use super::either::{EnvValue, Schedule, VarDeclaration};
use super::value::{CellText, HumanBytes, Name, Scalar, Signal, Time, Umask, VarValue, WrittenMode};
use crate::model::{CellId, CellName, ManifestName, ProcessName, run_spec};
use crate::yaml::HumanDuration;

/// A manifest: what a cell is made of and how it is run.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Fleetman manifest")]
pub struct Recipe {
    /// The manifest's name: lower-case letters, digits and `-`.
    #[schemars(with = "Name")]
    pub name: ManifestName,
    /// What it is, for people.
    pub description: Option<String>,
    /// Labels that each of its cells carries unless it says otherwise.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub labels: BTreeMap<String, String>,
    /// What templates may use, as `{{ vars.port }}`. A cell may set each of them to something else.
    #[serde(default)]
    pub vars: BTreeMap<String, VarDeclaration>,
    /// Which files of a release belong to a version. All of them, with their own modes, if this is left out.
    pub files: Option<Vec<FileRule>>,
    /// How it is run.
    pub profile: Profile,
    /// When a version that was brought up counts as good; until then the node can go back to the one before.
    pub health: Option<Health>,
    /// What is run around a deployment, by the moment.
    #[serde(default)]
    pub hooks: Hooks,
    /// How a new version takes the place of the one that runs; `stop_start` if left out.
    #[serde(default)]
    pub strategy: Strategy,
    /// If only files that these patterns match have changed, what runs is told to read them again, and not started anew.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub reload_if: Vec<String>,
    /// What runs is started anew only if a file that one of these patterns matches has changed.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub restart_if: Vec<String>,
    /// The most that it may use.
    #[serde(default)]
    pub limits: Limits,
    /// What is done when what is on a node is not what was deployed any more.
    pub drift: Option<Drift>,
    /// When a node may fetch a version and switch to it.
    #[serde(default)]
    pub windows: Windows,
    /// A file below the cell's data folder. While a process holds a lock of `flock(2)` on it, the node does not switch to
    /// another version.
    pub lock: Option<String>,
    /// Other cells of the same node: this one starts after those of them that are on their way up. Those that are not
    /// there, are stopped or have failed do not hold it up.
    #[serde(default)]
    #[schemars(with = "Vec<Name>", length(max = 32))]
    pub after: Vec<CellName>,
    /// Other cells of the same node: this one starts after them, and waits while one of them is not there, is stopped or
    /// has failed. What runs of it is never stopped for that.
    #[serde(default)]
    #[schemars(with = "Vec<Name>", length(max = 32))]
    pub requires: Vec<CellName>,
}

/// Files of a release, by path or by glob. A `path` decides over every `glob`; of several globs the last decides.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "oneOf" = [{"required": ["path"]}, {"required": ["glob"]}],
    "dependencies" = {"exclude": ["glob"]},
))]
pub struct FileRule {
    /// One file, relative to the release.
    pub path: Option<String>,
    /// Files by pattern: `*` within a folder, `**` across folders, `?`, `[a-z]`, `{css,js}`.
    pub glob: Option<String>,
    /// Files that the glob would match but must not.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Permissions as four octal digits in quotes; those of the release if left out.
    pub mode: Option<WrittenMode>,
    /// Whether the content is a template that is rendered for each cell.
    #[serde(default)]
    pub template: bool,
}

/// How a cell is run: one of the four, each with its settings.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Files in a folder, and nothing is run.
    Deploy(Owner),
    /// The built-in process supervisor.
    Process(Processes),
    /// A systemd service.
    Systemd(Box<Unit>),
    /// Programs of supervisord. It starts all at once and waits a second longer before each restart, so `after` and the
    /// waits of `restart` are not for it.
    Supervisor(Processes),
}

impl Profile {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Deploy(_) => "deploy",
            Self::Process(_) => "process",
            Self::Systemd(_) => "systemd",
            Self::Supervisor(_) => "supervisor",
        }
    }
}

/// Who owns the cell's data.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// Owner of the cell's data folder; the agent's user if left out.
    #[schemars(with = "Option<Scalar>")]
    pub user: Option<String>,
    /// Group of the cell's data folder; the user's own if left out.
    #[schemars(with = "Option<Scalar>")]
    pub group: Option<String>,
}

/// What happens when a program ends.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// When it is started again; `on-failure` if left out.
    pub policy: Option<RestartPolicy>,
    /// How long to wait before; `1s` if left out.
    pub delay: Option<HumanDuration>,
    /// How often at most; without end if left out.
    pub max_retries: Option<u32>,
}

/// When a program that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// It is not.
    Never,
    /// After any end but exit code 0.
    OnFailure,
    /// After any end.
    Always,
}

impl From<RestartPolicy> for run_spec::RestartPolicy {
    fn from(policy: RestartPolicy) -> Self {
        match policy {
            RestartPolicy::Never => Self::Never,
            RestartPolicy::OnFailure => Self::OnFailure,
            RestartPolicy::Always => Self::Always,
        }
    }
}

/// How a program is ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// The signal that asks it to end; `TERM` if left out.
    pub signal: Option<Signal>,
    /// How long it has until it is killed; `10s` if left out.
    pub timeout: Option<HumanDuration>,
}

/// The most that a cell may use.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Open files of a process.
    #[schemars(range(min = 1))]
    pub open_files: Option<u64>,
    /// Memory of the whole cell, such as `512MiB`.
    pub memory: Option<HumanBytes>,
    /// Processes and threads of the whole cell.
    #[schemars(range(min = 1))]
    pub tasks: Option<u64>,
    /// Size of a core dump, such as `1GiB`, or `0`.
    pub core: Option<HumanBytes>,
}

/// A cell: a manifest bound to a node.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Fleetman cell")]
pub struct Binding {
    /// The cell, as `<node>/<cell>`.
    #[schemars(with = "CellText")]
    pub cell: CellId,
    /// The manifest that it is made from.
    #[schemars(with = "Name")]
    pub manifest: ManifestName,
    /// What it is, for people.
    pub description: Option<String>,
    /// Values for the manifest's variables.
    #[serde(default)]
    pub vars: BTreeMap<String, VarValue>,
    /// Labels of this cell, over those of the manifest.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub labels: BTreeMap<String, String>,
    /// Other cells of the node that this one starts after, in place of those that the manifest names.
    #[schemars(with = "Option<Vec<Name>>", length(max = 32))]
    pub after: Option<Vec<CellName>>,
    /// Other cells of the node that this one does not start without, in place of those that the manifest names.
    #[schemars(with = "Option<Vec<Name>>", length(max = 32))]
    pub requires: Option<Vec<CellName>>,
    /// What this cell has different from the manifest's profile and limits.
    #[serde(default)]
    pub overrides: Overrides,
    /// While this is there, nothing is published to the cell.
    pub paused: Option<Paused>,
}

/// What a cell has different from its manifest. What is left out stays as the manifest says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    /// The whole command.
    #[schemars(with = "Option<Vec<Scalar>>", length(min = 1))]
    pub command: Option<Vec<String>>,
    /// A shell line in place of the command; only for the `process` and `supervisor` profiles.
    #[schemars(with = "Option<Scalar>")]
    pub shell: Option<String>,
    /// Variables of the environment, added to those of the manifest or in place of them.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// The user.
    #[schemars(with = "Option<Scalar>")]
    pub user: Option<String>,
    /// The group.
    #[schemars(with = "Option<Scalar>")]
    pub group: Option<String>,
    /// The folder that the program starts in.
    pub working_dir: Option<String>,
    /// The umask; only for the `process` and `supervisor` profiles.
    pub umask: Option<Umask>,
    /// What happens when the program ends, setting by setting.
    #[serde(default)]
    pub restart: ProcessRestart,
    /// How the program is ended, setting by setting.
    #[serde(default)]
    pub stop: Stop,
    /// The signal that reloads the program.
    pub reload_signal: Option<Signal>,
    /// What is different of each process, where the manifest names them.
    #[serde(default)]
    #[schemars(with = "BTreeMap<Name, ProcessOverrides>")]
    pub processes: BTreeMap<ProcessName, ProcessOverrides>,
    /// When it runs; only for the `systemd` profile.
    pub schedule: Option<Schedule>,
    /// What it is kept from, setting by setting; only for the `systemd` profile.
    #[serde(default)]
    pub hardening: Hardening,
    /// Limits, one by one.
    #[serde(default)]
    pub limits: Limits,
}

/// Why nothing is published to a cell at present.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Paused {
    /// Why, for whoever would publish next.
    pub reason: String,
    /// Who paused it.
    pub by: Option<String>,
    /// Since when, in RFC 3339.
    #[schemars(with = "Option<Time>")]
    pub since: Option<DateTime<Utc>>,
}
