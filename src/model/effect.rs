//! What a new version does to what runs: whether it is started anew, told to read its files again, or left to go on.

use super::manifest::Manifest;
use super::path::FilePath;
use super::pattern::{PathPattern, changed_files};
use super::run_spec::Profile;
use super::strategy::{Strategy, StrategyError};
use super::systemd::{ServiceType, SystemdSpec};

/// How a new version takes effect where another one runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<'a> {
    /// What runs is started anew.
    Restarts(Because<'a>),
    /// What runs goes on, and is told to read its files again. These have changed.
    Reloads(Vec<&'a FilePath>),
    /// What runs goes on as if nothing had happened.
    GoesOn,
}

/// Why what runs is started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because<'a> {
    /// One of the two versions says nothing of going on.
    Usual,
    /// The same content is deployed once more.
    Asked,
    /// It is run otherwise: its command, its environment, its unit, its sockets or its limits.
    Definition,
    /// This file has changed.
    File(&'a FilePath),
}

/// The most patterns of changed files that a version may have of each kind.
pub const MOST_PATTERNS: usize = 32;

/// What `new` does to what runs of `old`.
#[must_use]
pub fn effect<'a>(old: &'a Manifest, new: &'a Manifest) -> Effect<'a> {
    // What was not started to go on looks for its files where they do not change.
    if !old.may_go_on() || !new.may_go_on() {
        return Effect::Restarts(Because::Usual);
    }
    let changed = changed_files(Some(old), new);
    let matching = |patterns: &[PathPattern], path: &FilePath| patterns.iter().any(|it| it.matches(path.as_str()));
    let own_unit = match &new.profile {
        Profile::Systemd(SystemdSpec::Own(own)) => Some(&own.unit_file),
        _ => None,
    };
    let is_run_alike =
        old.profile == new.profile && old.limits == new.limits && old.strategy.sharing() == new.strategy.sharing();
    if !is_run_alike || changed.iter().any(|path| Some(*path) == own_unit) {
        return Effect::Restarts(Because::Definition);
    }
    if let Some(path) = changed.iter().find(|path| matching(&new.restart_if, path)) {
        return Effect::Restarts(Because::File(path));
    }
    if new.strategy == Strategy::Reload {
        return Effect::Reloads(changed);
    }
    if old.content_sha256 == new.content_sha256 {
        return Effect::Restarts(Because::Asked);
    }
    let other = changed.iter().find(|path| !matching(&new.reload_if, path));
    if let Some(path) = other.filter(|_| new.restart_if.is_empty()) {
        return Effect::Restarts(Because::File(path));
    }
    match changed.iter().any(|path| matching(&new.reload_if, path)) {
        true => Effect::Reloads(changed),
        false => Effect::GoesOn,
    }
}

impl Manifest {
    /// Whether what runs of it may go on when another version takes its place.
    #[must_use]
    pub fn may_go_on(&self) -> bool {
        self.strategy == Strategy::Reload || !self.reload_if.is_empty() || !self.restart_if.is_empty()
    }

    /// Whether what runs of it may have to be told to read its files again.
    #[must_use]
    pub fn may_reload(&self) -> bool {
        self.strategy == Strategy::Reload || !self.reload_if.is_empty()
    }

    /// Checks that what runs can go on, and be told what it may have to be told.
    ///
    /// # Errors
    /// The profile cannot do it, or nothing says how.
    pub fn check_effect(&self) -> Result<(), StrategyError> {
        let refuse = |problem: &str| Err(StrategyError(problem.to_owned()));
        if self.reload_if.len() > MOST_PATTERNS || self.restart_if.len() > MOST_PATTERNS {
            return refuse("reload_if or restart_if has too many patterns");
        }
        if !self.may_go_on() {
            return Ok(());
        }
        match &self.profile {
            Profile::Deploy(_) => refuse("the profile deploy runs nothing that could be reloaded or go on"),
            Profile::Systemd(SystemdSpec::Rendered(unit))
                if unit.schedule.is_some() || unit.kind == ServiceType::Oneshot =>
            {
                refuse("what ends by itself cannot be reloaded, nor go on")
            }
            profile if self.may_reload() && !says_how_to_reload(profile) => refuse(NO_WAY),
            _ => Ok(()),
        }
    }
}

/// What is wrong with a profile that cannot be reloaded.
pub(crate) const NO_WAY: &str = "nothing says how what runs is reloaded: there is no reload_signal";

/// Whether anything says how what runs is told to read its files again.
pub(crate) fn says_how_to_reload(profile: &Profile) -> bool {
    match profile {
        Profile::Deploy(_) => false,
        Profile::Process(spec) | Profile::Supervisor(spec) => {
            spec.processes.values().any(|process| process.reload_signal.is_some())
        }
        Profile::Systemd(SystemdSpec::Rendered(unit)) => unit.reload_signal.is_some() || unit.reload_command.is_some(),
        // It is seen on the node, where systemd has read it.
        Profile::Systemd(SystemdSpec::Own(_)) => true,
    }
}

#[cfg(test)]
mod tests;
