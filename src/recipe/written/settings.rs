//! What each of the types that describe a program may say of it, seen as one.
//!
//! They name their fields each for themselves because serde flattens nothing into a type that refuses unknown keys, and
//! because what each says of a field is what editors show there.

use std::collections::BTreeMap;

use super::{Overrides, Process, ProcessOverrides, ProcessRestart, Processes, Run, Stop};
use crate::recipe::either::EnvValue;
use crate::recipe::value::{Signal, Umask};

/// The settings of a program as one place writes them; `None` leaves a setting to others.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::recipe) struct Settings<'a> {
    pub(in crate::recipe) command: Option<&'a Vec<String>>,
    pub(in crate::recipe) shell: Option<&'a String>,
    pub(in crate::recipe) env: Option<&'a BTreeMap<String, EnvValue>>,
    pub(in crate::recipe) user: Option<&'a String>,
    pub(in crate::recipe) group: Option<&'a String>,
    pub(in crate::recipe) working_dir: Option<&'a String>,
    pub(in crate::recipe) umask: Option<Umask>,
    pub(in crate::recipe) restart: ProcessRestart,
    pub(in crate::recipe) stop: Stop,
    pub(in crate::recipe) reload_signal: Option<Signal>,
}

impl Settings<'_> {
    /// The keys of what is set.
    pub(in crate::recipe) fn keys(&self) -> impl Iterator<Item = &'static str> {
        let Self { command, shell, env, user, group, working_dir, umask, restart, stop, reload_signal } = self;
        let keys = [
            ("command", command.is_some()),
            ("shell", shell.is_some()),
            ("env", env.is_some_and(|env| !env.is_empty())),
            ("user", user.is_some()),
            ("group", group.is_some()),
            ("working_dir", working_dir.is_some()),
            ("umask", umask.is_some()),
            ("restart", *restart != ProcessRestart::default()),
            ("stop", *stop != Stop::default()),
            ("reload_signal", reload_signal.is_some()),
        ];
        keys.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key)
    }

    /// What several processes may have in common.
    pub(in crate::recipe) const SHARED: [&'static str; 3] = ["env", "user", "group"];

    /// Only what is [`SHARED`](Settings::SHARED).
    pub(in crate::recipe) fn shared(self) -> Self {
        Self { env: self.env, user: self.user, group: self.group, ..Self::default() }
    }
}

impl Run {
    pub(in crate::recipe) fn settings(&self) -> Settings<'_> {
        let Self { command, env, user, group, working_dir, restart, stop } = self;
        let (policy, delay, max_retries) = (restart.policy, restart.delay, restart.max_retries);
        Settings {
            command: Some(command),
            env: Some(env),
            user: user.as_ref(),
            group: group.as_ref(),
            working_dir: working_dir.as_ref(),
            restart: ProcessRestart { policy, delay, max_retries, ..ProcessRestart::default() },
            stop: *stop,
            ..Settings::default()
        }
    }
}

macro_rules! settings {
    ($($type:ty),*) => {$(
        impl $type {
            pub(in crate::recipe) fn settings(&self) -> Settings<'_> {
                Settings {
                    command: self.command.as_ref(),
                    shell: self.shell.as_ref(),
                    env: Some(&self.env),
                    user: self.user.as_ref(),
                    group: self.group.as_ref(),
                    working_dir: self.working_dir.as_ref(),
                    umask: self.umask,
                    restart: self.restart,
                    stop: self.stop,
                    reload_signal: self.reload_signal,
                }
            }
        }
    )*};
}

settings!(Overrides, Process, ProcessOverrides, Processes);
