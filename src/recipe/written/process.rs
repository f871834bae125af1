//! The `process` and `supervisor` profiles as people write them: one program, or several processes by name.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::settings::set;
use super::{RestartPolicy, Stop};
use crate::model::{ProcessName, process};
use crate::recipe::either::EnvValue;
use crate::recipe::value::{Factor, Name, Scalar, Share, Signal, Umask};
use crate::yaml::HumanDuration;

/// What the built-in supervisor runs, or supervisord: a `command` or a `shell` line, or `processes`, each with one of its own.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "oneOf" = [{"required": ["command"]}, {"required": ["shell"]}, {"required": ["processes"]}],
))]
pub struct Processes {
    /// The program and its arguments, each one item. A program without a leading `/` is one of the version's files.
    /// Templates may be used.
    #[schemars(with = "Option<Vec<Scalar>>", length(min = 1))]
    pub command: Option<Vec<String>>,
    /// One line for `/bin/sh -c`, in which templates may be used.
    #[schemars(with = "Option<Scalar>")]
    pub shell: Option<String>,
    /// The processes by name: lower-case letters, digits and `-`; at most 32.
    #[schemars(with = "Option<BTreeMap<Name, Process>>", extend("minProperties" = 1, "maxProperties" = 32))]
    pub processes: Option<BTreeMap<ProcessName, Process>>,
    /// The environment, of every process unless it says otherwise. A value is text, in which templates may be used,
    /// or a file on the node.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// The user that owns the cell's data, and that processes run as unless they say otherwise; the agent's own if
    /// left out.
    #[schemars(with = "Option<Scalar>")]
    pub user: Option<String>,
    /// The group, likewise; the user's own if left out.
    #[schemars(with = "Option<Scalar>")]
    pub group: Option<String>,
    /// Where it starts, relative to the version's files; their top folder if left out.
    pub working_dir: Option<String>,
    /// Permissions that the files it makes do not get, as four octal digits in quotes; the supervisor's own if left
    /// out.
    pub umask: Option<Umask>,
    /// What happens when it ends.
    #[serde(default)]
    pub restart: ProcessRestart,
    /// How it is ended.
    #[serde(default)]
    pub stop: Stop,
    /// The signal that makes it read its configuration again; it can only be restarted if left out.
    pub reload_signal: Option<Signal>,
}

/// One of several processes.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["command"]}, {"required": ["shell"]}]))]
pub struct Process {
    /// Whether it is to run on, or once; `service` if left out.
    #[serde(rename = "type")]
    pub kind: Option<ProcessKind>,
    /// The program and its arguments, each one item. A program without a leading `/` is one of the version's files.
    /// Templates may be used.
    #[schemars(with = "Option<Vec<Scalar>>", length(min = 1))]
    pub command: Option<Vec<String>>,
    /// One line for `/bin/sh -c`, in which templates may be used.
    #[schemars(with = "Option<Scalar>")]
    pub shell: Option<String>,
    /// Variables of the environment, added to those of all processes or in place of them.
    #[serde(default)]
    pub env: BTreeMap<String, EnvValue>,
    /// The user that it runs as.
    #[schemars(with = "Option<Scalar>")]
    pub user: Option<String>,
    /// The group that it runs as.
    #[schemars(with = "Option<Scalar>")]
    pub group: Option<String>,
    /// Where it starts, relative to the version's files; their top folder if left out.
    pub working_dir: Option<String>,
    /// Permissions that the files it makes do not get, as four octal digits in quotes; the supervisor's own if left
    /// out.
    pub umask: Option<Umask>,
    /// It starts once these services run and these tasks have completed.
    #[serde(default)]
    #[schemars(with = "Vec<Name>")]
    pub after: Vec<ProcessName>,
    /// Whether it starts with the cell; `true` if left out. One that does not is started by hand.
    pub autostart: Option<bool>,
    /// What happens when it ends.
    #[serde(default)]
    pub restart: ProcessRestart,
    /// How it is ended.
    #[serde(default)]
    pub stop: Stop,
    /// The signal that makes it read its configuration again; it can only be restarted if left out.
    pub reload_signal: Option<Signal>,
}

/// What is expected of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessKind {
    /// It runs until it is stopped.
    Service,
    /// It ends by itself, with exit code 0 if all is well, and is never restarted.
    Task,
}

impl From<ProcessKind> for process::ProcessKind {
    fn from(kind: ProcessKind) -> Self {
        match kind {
            ProcessKind::Service => Self::Service,
            ProcessKind::Task => Self::Task,
        }
    }
}

/// What happens when a process ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessRestart {
    /// When it is started again; `on-failure` if left out, and `never` for a task.
    pub policy: Option<RestartPolicy>,
    /// How long to wait before the first time; `1s` if left out.
    pub delay: Option<HumanDuration>,
    /// How often at most; without end if left out.
    pub max_retries: Option<u32>,
    /// How many times as long each wait is as the one before, such as `2`; all are the same if left out.
    pub backoff: Option<Factor>,
    /// The longest that a growing wait becomes; `1m` if left out.
    pub max_delay: Option<HumanDuration>,
    /// How much shorter or longer a wait may be by chance, such as `20%`; not at all if left out.
    pub jitter: Option<Share>,
    /// After how long without an end the restarts are counted anew; `1m` if left out.
    pub reset_after: Option<HumanDuration>,
}

impl ProcessRestart {
    /// The keys of what is set.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        let Self { policy, delay, max_retries, backoff, max_delay, jitter, reset_after } = self;
        let keys = [
            ("policy", policy.is_some()),
            ("delay", delay.is_some()),
            ("max_retries", max_retries.is_some()),
            ("backoff", backoff.is_some()),
            ("max_delay", max_delay.is_some()),
            ("jitter", jitter.is_some()),
            ("reset_after", reset_after.is_some()),
        ];
        set(keys)
    }
}

/// What a cell has different of one process. What is left out stays as the manifest says.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProcessOverrides {
    /// The whole command.
    #[schemars(with = "Option<Vec<Scalar>>", length(min = 1))]
    pub command: Option<Vec<String>>,
    /// A shell line in place of the command.
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
    /// The folder that it starts in.
    pub working_dir: Option<String>,
    /// The umask.
    pub umask: Option<Umask>,
    /// What happens when it ends, setting by setting.
    #[serde(default)]
    pub restart: ProcessRestart,
    /// How it is ended, setting by setting.
    #[serde(default)]
    pub stop: Stop,
    /// The signal that reloads it.
    pub reload_signal: Option<Signal>,
}
