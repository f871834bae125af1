//! Programs that a version has run around its deployment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::effect::{Effect, effect};
use super::manifest::{Manifest, is_default};
use super::path::FilePath;
use super::pattern::{PathPattern, changed_files};

/// A moment of a deployment at which a version may have a program run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "controller", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HookEvent {
    /// Before any file of the version is fetched.
    BeforeStage,
    /// The version that runs is about to be replaced, stopped or removed: its own hook, not that of the new one. Where
    /// the two run at once, the new one is good by then.
    Stop,
    /// The version is on the node, whole, and about to be switched to; what ran before still runs.
    BeforeActivate,
    /// The version was brought up.
    AfterActivate,
    /// The version would now count as good.
    Validate,
    /// The version has failed.
    OnFailure,
    /// The version has failed, and the last known good one is about to be put back.
    OnRollback,
}

impl HookEvent {
    /// Every moment, in their order.
    pub const ALL: [Self; 7] = [
        Self::BeforeStage,
        Self::Stop,
        Self::BeforeActivate,
        Self::AfterActivate,
        Self::Validate,
        Self::OnFailure,
        Self::OnRollback,
    ];

    /// How manifests call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BeforeStage => "before_stage",
            Self::Stop => "stop",
            Self::BeforeActivate => "before_activate",
            Self::AfterActivate => "after_activate",
            Self::Validate => "validate",
            Self::OnFailure => "on_failure",
            Self::OnRollback => "on_rollback",
        }
    }

    /// Whether a hook that fails here makes the version fail. A version that leaves is not asked whether it may, and
    /// what has failed already cannot fail once more.
    #[must_use]
    pub fn decides(self) -> bool {
        matches!(self, Self::BeforeStage | Self::BeforeActivate | Self::AfterActivate | Self::Validate)
    }

    /// Whether a hook may put the deployment off here, by [`Hook::LATER`].
    #[must_use]
    pub fn may_wait(self) -> bool {
        !matches!(self, Self::OnFailure | Self::OnRollback)
    }
}

impl fmt::Display for HookEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The hooks of a version.
pub type Hooks = BTreeMap<HookEvent, Hook>;

/// A program that is run at a moment of a deployment. It may be run more than once: whoever writes one makes it
/// idempotent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// The program and its arguments. One without a leading `/` is one of the version's files.
    pub command: Vec<String>,
    /// How long it may take; then it is killed with all that it started, and has failed.
    #[serde(default = "usual_timeout", skip_serializing_if = "is_usual_timeout")]
    pub timeout_ms: u64,
    /// How long it may put off the deployment altogether, by exit code [`Hook::LATER`].
    #[serde(default = "usual_retry_for", skip_serializing_if = "is_usual_retry_for")]
    pub retry_for_ms: u64,
    /// It is only run if a file that one of these matches is another one than before; absent = always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub if_changed: Vec<PathPattern>,
    /// Whether the deployment goes on although it failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ignore_failure: bool,
    /// As whom it is run; absent = the user that owns the cell's data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

fn usual_timeout() -> u64 {
    Hook::USUAL_TIMEOUT_MS
}

fn is_usual_timeout(millis: &u64) -> bool {
    *millis == Hook::USUAL_TIMEOUT_MS
}

fn usual_retry_for() -> u64 {
    Hook::USUAL_RETRY_MS
}

fn is_usual_retry_for(millis: &u64) -> bool {
    *millis == Hook::USUAL_RETRY_MS
}

/// Why a hook cannot be run as a manifest says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("hook {event}: {problem}")]
pub struct HookError {
    /// When it is to be run.
    pub event: HookEvent,
    /// What is wrong.
    pub problem: &'static str,
}

impl Hook {
    /// The exit code by which a hook asks to be run again later.
    pub const LATER: u8 = 21;

    /// How long a hook may take if its manifest does not say, in milliseconds.
    pub const USUAL_TIMEOUT_MS: u64 = 60_000;

    /// How long a hook may put off a deployment if its manifest does not say, in milliseconds.
    pub const USUAL_RETRY_MS: u64 = 3_600_000;

    /// How long a hook may take, in milliseconds: from and to.
    pub const TIMEOUTS_MS: (u64, u64) = (100, 3_600_000);

    /// How long a hook may put off a deployment, in milliseconds, at most.
    pub const MOST_RETRY_MS: u64 = 7 * 86_400_000;

    /// The most patterns that a hook may have.
    pub const MOST_PATTERNS: usize = 32;

    /// Whether it is to be run when these files have changed.
    #[must_use]
    pub fn concerns(&self, changed: &[&FilePath]) -> bool {
        let matches = |path: &&FilePath| self.if_changed.iter().any(|pattern| pattern.matches(path.as_str()));
        self.if_changed.is_empty() || changed.iter().any(matches)
    }

    /// Checks what the types alone do not say.
    ///
    /// # Errors
    /// See [`HookError`].
    pub fn check(&self, event: HookEvent) -> Result<(), HookError> {
        let program = self.command.first().map(|program| program.trim());
        let (least, most) = Self::TIMEOUTS_MS;
        let problem = match program {
            None | Some("") => "its command is empty",
            Some(program) if event == HookEvent::BeforeStage && !program.starts_with('/') => {
                "no file of the version is on the node yet: the program must be one of the node itself"
            }
            Some(_) if self.command.iter().any(|argument| argument.contains('\0')) => "its command has a NUL in it",
            Some(_) if !(least..=most).contains(&self.timeout_ms) => "its timeout is out of bounds",
            Some(_) if self.retry_for_ms > Self::MOST_RETRY_MS => "it would put off the deployment for too long",
            Some(_) if self.if_changed.len() > Self::MOST_PATTERNS => "it has too many patterns",
            Some(_) => return Ok(()),
        };
        Err(HookError { event, problem })
    }
}

/// The hooks that are to be run once `new` is on a node where `old` runs: those of `new` that the changed files concern,
/// and `stop` of `old` if they concern it and what runs is not to go on. Those are among them that only what comes of it
/// makes necessary.
#[must_use]
pub fn owed_hooks(old: Option<&Manifest>, new: &Manifest) -> BTreeSet<HookEvent> {
    let changed = changed_files(old, new);
    let is_past = |event: &HookEvent| matches!(event, HookEvent::BeforeStage | HookEvent::Stop);
    let own = new.hooks.iter().filter(|(event, _)| !is_past(event));
    let left = old.filter(|old| matches!(effect(old, new), Effect::Restarts(_)));
    let stop = left.and_then(|old| old.hooks.get_key_value(&HookEvent::Stop));
    own.chain(stop).filter(|(_, hook)| hook.concerns(&changed)).map(|(event, _)| *event).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(command: &[&str]) -> Hook {
        serde_json::from_value(serde_json::json!({ "command": command })).unwrap()
    }

    #[test]
    fn a_hook_says_only_what_is_not_the_usual() {
        let usual = hook(&["bin/migrate"]);
        assert_eq!(serde_json::to_string(&usual).unwrap(), r#"{"command":["bin/migrate"]}"#);
        assert_eq!((usual.timeout_ms, usual.retry_for_ms), (60_000, 3_600_000));
        let hooks = Hooks::from([(HookEvent::BeforeActivate, Hook { ignore_failure: true, ..usual })]);
        let text = serde_json::to_string(&hooks).unwrap();
        assert_eq!(text, r#"{"before_activate":{"command":["bin/migrate"],"ignore_failure":true}}"#);
        assert_eq!(serde_json::from_str::<Hooks>(&text).unwrap(), hooks);
        for event in HookEvent::ALL {
            assert_eq!(serde_json::to_value(event).unwrap(), event.name());
        }
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        let refused = |hook: Hook| hook.check(HookEvent::Validate).is_err();
        assert!(!refused(hook(&["bin/check"])));
        assert!(refused(hook(&[])) && refused(hook(&[" "])) && refused(hook(&["/bin/sh", "a\0b"])));
        assert!(refused(Hook { timeout_ms: 99, ..hook(&["x"]) }));
        assert!(refused(Hook { timeout_ms: 3_600_001, ..hook(&["x"]) }));
        assert!(refused(Hook { retry_for_ms: Hook::MOST_RETRY_MS + 1, ..hook(&["x"]) }));
        assert!(refused(Hook { if_changed: vec!["*".parse().unwrap(); 33], ..hook(&["x"]) }));
        assert!(hook(&["bin/x"]).check(HookEvent::BeforeStage).is_err());
        assert!(hook(&["/bin/x"]).check(HookEvent::BeforeStage).is_ok());
    }

    #[test]
    fn a_hook_with_patterns_is_only_for_files_that_they_match() {
        let (conf, bin) = (FilePath::new("conf/a.toml").unwrap(), FilePath::new("bin/a").unwrap());
        let always = hook(&["x"]);
        assert!(always.concerns(&[]) && always.concerns(&[&bin]));
        let conf_only = Hook { if_changed: vec!["conf/**".parse().unwrap()], ..always };
        assert!(!conf_only.concerns(&[]) && !conf_only.concerns(&[&bin]) && conf_only.concerns(&[&bin, &conf]));
    }
}
