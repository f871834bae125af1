//! What each of the types that describe a program may say of it, seen as one.
//!
//! They name their fields each for themselves because serde flattens nothing into a type that refuses unknown keys, and
//! because what each says of a field is what editors show there.

use std::collections::BTreeMap;

use super::{Hardening, Limits, Overrides, Process, ProcessOverrides, ProcessRestart, Processes, Stop, Unit};
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

/// The keys of what is set.
pub(super) fn set<const N: usize>(keys: [(&'static str, bool); N]) -> impl Iterator<Item = &'static str> {
    keys.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key)
}

impl Settings<'_> {
    /// The keys of what is set.
    pub(in crate::recipe) fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
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
        set(keys)
    }

    /// The ways to what is set: a key, and below `restart` a second one.
    pub(in crate::recipe) fn ways(&self) -> impl Iterator<Item = Vec<&'static str>> + use<> {
        let below = self.restart.keys().map(|key| vec!["restart", key]);
        self.keys().filter(|key| *key != "restart").map(|key| vec![key]).chain(below)
    }

    /// What several processes may have in common.
    pub(in crate::recipe) const SHARED: [&'static str; 3] = ["env", "user", "group"];

    /// Only what is [`SHARED`](Settings::SHARED).
    pub(in crate::recipe) fn shared(self) -> Self {
        Self { env: self.env, user: self.user, group: self.group, ..Self::default() }
    }
}

/// What to do about a setting that `profile` does not know and another one does, by the [way](Settings::ways) to it.
pub(in crate::recipe) fn unknown_to(profile: &str, way: &[&str]) -> Option<String> {
    let known: &[&str] = match way {
        ["shell" | "umask"] => &["process", "supervisor"],
        ["after"] | ["restart", "backoff" | "max_delay" | "jitter" | "reset_after"] => &["process"],
        ["restart", "delay"] => &["process", "systemd"],
        ["schedule" | "hardening" | "credential"] => &["systemd"],
        _ => return None,
    };
    if known.contains(&profile) {
        return None;
    }
    let instead = match (profile, way) {
        (_, ["credential"]) => "use `from_file: <path>`",
        ("supervisor", ["after"]) => {
            "remove it: supervisord starts all processes at once, so let the program wait for what it needs"
        }
        ("supervisor", ["restart", _]) => {
            "remove it: supervisord waits a second longer before each try and cannot be told otherwise"
        }
        _ => "remove it",
    };
    Some(match known {
        [only] => format!("{instead}; only the profile `{only}` knows it"),
        _ => format!("{instead}; only the profiles `{}` know it", known.join("` and `")),
    })
}

impl Unit {
    pub(in crate::recipe) fn settings(&self) -> Settings<'_> {
        let Self { command, env, user, group, working_dir, restart, stop, reload_signal, .. } = self;
        let (policy, delay, max_retries) = (restart.policy, restart.delay, restart.max_retries);
        Settings {
            command: command.as_ref(),
            env: Some(env),
            user: user.as_ref(),
            group: group.as_ref(),
            working_dir: working_dir.as_ref(),
            restart: ProcessRestart { policy, delay, max_retries, ..ProcessRestart::default() },
            stop: *stop,
            reload_signal: *reload_signal,
            ..Settings::default()
        }
    }

    /// What may stand beside a unit file of the version, and itself.
    pub(in crate::recipe) const BESIDE_FILE: [&'static str; 3] = ["unit_file", "user", "group"];

    /// The keys of what is set.
    pub(in crate::recipe) fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        let Self { unit_file, description, kind, after, requires, reload_command, schedule, hardening, .. } = self;
        let keys = [
            ("unit_file", unit_file.is_some()),
            ("description", description.is_some()),
            ("type", kind.is_some()),
            ("after", !after.is_empty()),
            ("requires", !requires.is_empty()),
            ("reload_command", reload_command.is_some()),
            ("schedule", schedule.is_some()),
            ("hardening", *hardening != Hardening::default()),
        ];
        self.settings().keys().chain(set(keys))
    }
}

impl Overrides {
    /// The keys of what is set of a program.
    pub(in crate::recipe) fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.settings().keys().chain(self.of_units())
    }

    /// The [ways](Settings::ways) to it.
    pub(in crate::recipe) fn ways(&self) -> impl Iterator<Item = Vec<&'static str>> + use<> {
        self.settings().ways().chain(self.of_units().map(|key| vec![key]))
    }

    /// The keys of what is set and only the `systemd` profile knows.
    pub(in crate::recipe) fn of_units(&self) -> impl Iterator<Item = &'static str> + use<> {
        set([("schedule", self.schedule.is_some()), ("hardening", self.hardening != Hardening::default())])
    }
}

impl Limits {
    /// The keys of what is set.
    pub(in crate::recipe) fn keys(&self) -> impl Iterator<Item = &'static str> + use<> {
        let Self { open_files, memory, tasks, core } = self;
        let keys = [
            ("open_files", open_files.is_some()),
            ("memory", memory.is_some()),
            ("tasks", tasks.is_some()),
            ("core", core.is_some()),
        ];
        set(keys)
    }

    /// What supervisord cannot limit, because it knows processes and no cells.
    pub(in crate::recipe) const OF_CELLS: [&'static str; 2] = ["memory", "tasks"];
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
