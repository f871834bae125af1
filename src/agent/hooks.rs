//! The hooks of versions: programs that are run around a deployment.
//!
//! Which of them an attempt owes is written down with it once its release is on the node, and each is struck off once
//! it was run; so a crash has at most the one that was running run again. What a hook says goes to the attempt's log.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::attempt_log::AttemptLog;
use super::context::Context;
use super::errand::program;
use super::state::Attempt;
use super::trouble::{Cure, Trouble};
use crate::model::hook::{Hook, HookEvent};
use crate::model::manifest::Manifest;
use crate::model::pattern::changed_files;
use crate::model::trigger::Action;
use crate::model::{Code, Floor, VersionName};
use crate::render::OnNode;
use crate::supervise::{ErrandEnd, Exit, run_errand};

/// What of a hook's output stands in the log, in bytes: an attempt's log holds more than one.
const MOST_OUTPUT: usize = 32 << 10;

/// How many bytes of the names of changed files a hook is told: one variable holds no more than 128 KiB on Linux.
const MOST_NAMES: usize = 64 << 10;

/// Why a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A trigger asks for another version, or for the same once more.
    Deploy,
    /// A trigger asks for the end of what runs.
    Stop,
    /// A trigger asks for the end of the cell.
    Remove,
    /// The agent puts right what is otherwise than it should be.
    Repair,
}

impl Reason {
    pub(super) fn of(attempt: &Attempt) -> Self {
        match attempt.wish.action {
            Action::Stop => Self::Stop,
            Action::Remove => Self::Remove,
            _ if attempt.repairs.is_some() => Self::Repair,
            Action::Deploy(_) | Action::Unknown(_) => Self::Deploy,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Repair => "repair",
        }
    }
}

/// A hook in its place.
pub(super) struct Call<'a> {
    pub(super) event: HookEvent,
    /// The version whose hook it is.
    pub(super) manifest: &'a Manifest,
    /// That version's folder, which is not there yet before it is staged.
    pub(super) release: PathBuf,
    pub(super) data: PathBuf,
    /// The version that is left, if there is one.
    pub(super) from: Option<&'a Manifest>,
    /// The version that is wanted; none where a cell is stopped or removed.
    pub(super) to: Option<&'a Manifest>,
    pub(super) at: Floor,
    pub(super) reason: Reason,
    /// Since when it puts the attempt off, if it does.
    pub(super) waits_since: Option<DateTime<Utc>>,
}

impl Call<'_> {
    /// Runs the hook, if the version has it.
    ///
    /// # Errors
    /// It failed and that decides, or it asks to be run again later.
    pub(super) async fn run(
        &self,
        context: &Context,
        log: &AttemptLog,
        stop: &CancellationToken,
    ) -> Result<(), Trouble> {
        let event = self.event;
        let Some(hook) = self.manifest.hooks.get(&event) else { return Ok(()) };
        log.line(format!("hook {event} begins: {}", hook.command.join(" ")));
        let (user, group) = self.manifest.profile.owner();
        let own = || (user.map(str::to_owned), group.map(str::to_owned));
        let owner = hook.user.clone().map_or_else(own, |user| (Some(user), None));
        let def = program(&hook.command, &self.release, self.variables(), owner);
        // No other hook's, nor another agent's on this host: what belongs to it is killed by that.
        let mark = format!("hook {event} in {}", self.data.display());
        let (timeout, began) = (Duration::from_millis(hook.timeout_ms), context.clock.monotonic());
        let mut told = Told { log, event, left: MOST_OUTPUT };
        let done =
            run_errand(&def, &mark, timeout, stop.cancelled(), &context.clock, &mut |line| told.line(line)).await;
        let took = context.clock.monotonic().saturating_sub(began);
        let (why, is_later) = match done {
            Ok(done) => {
                let said = done.said.last().map(|said| format!(": {said}")).unwrap_or_default();
                match done.end {
                    ErrandEnd::Exited(Exit::Code(0)) => {
                        log.line(format!("hook {event} has ended well, after {took:.1?}"));
                        return Ok(());
                    }
                    ErrandEnd::Exited(Exit::Code(code)) if code == i32::from(Hook::LATER) && event.may_wait() => {
                        (said, true)
                    }
                    ErrandEnd::Exited(exit) => (format!("{exit}{said}"), false),
                    ErrandEnd::TimedOut => (
                        format!("it did not end within {timeout:?}, and was killed with all that it started{said}"),
                        false,
                    ),
                    ErrandEnd::GivenUp => {
                        let message = format!("hook {event} was killed, because the agent ends or it is not wanted");
                        log.line(&message);
                        return Err(Trouble::new(Code::Interrupted, message, Cure::Killed));
                    }
                }
            }
            Err(why) => (why, false),
        };
        match is_later {
            true => self.put_off(hook, &why, context, log),
            false => self.failed(hook, &why, log),
        }
    }

    fn put_off(&self, hook: &Hook, said: &str, context: &Context, log: &AttemptLog) -> Result<(), Trouble> {
        let (event, most) = (self.event, Duration::from_millis(hook.retry_for_ms));
        let now = context.clock.now();
        let waited = (now - self.waits_since.unwrap_or(now)).to_std().unwrap_or_default();
        if waited >= most {
            return self.failed(
                hook,
                &format!("it has put this off for {most:?}, which is as long as it may{said}"),
                log,
            );
        }
        Err(Trouble::new(Code::HookWaits, format!("hook {event} asks to be run again later{said}"), Cure::Time))
    }

    fn failed(&self, hook: &Hook, why: &str, log: &AttemptLog) -> Result<(), Trouble> {
        let message = format!("hook {} failed: {why}", self.event);
        if self.event.decides() && !hook.ignore_failure {
            return Err(Trouble::new(Code::HookFailed, message, Cure::OtherContent));
        }
        log.line(format!("{message}; this goes on all the same"));
        Ok(())
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let version = |manifest: Option<&Manifest>| manifest.map(|manifest| manifest.version.clone());
        let name = |version: Option<VersionName>| version.map(|version| version.to_string()).unwrap_or_default();
        let changed = self.to.map(|to| changed_files(self.from, to)).unwrap_or_default();
        let mut names = String::new();
        let mut named = 0;
        for path in &changed {
            if names.len() + path.as_str().len() + 1 > MOST_NAMES {
                break;
            }
            names.push_str(path.as_str());
            names.push('\n');
            named += 1;
        }
        let (release, data) = (self.release.as_path(), self.data.as_path());
        let on_node = OnNode { cell: &self.manifest.cell, manifest: self.manifest, release, data };
        let mut variables = on_node.variables();
        variables.extend([
            ("FLEETMAN_HOOK", self.event.to_string()),
            ("FLEETMAN_FROM", name(version(self.from))),
            ("FLEETMAN_TO", name(version(self.to))),
            ("FLEETMAN_GENERATION", self.at.generation.to_string()),
            ("FLEETMAN_REASON", self.reason.name().to_owned()),
            ("FLEETMAN_CHANGED_FILES", names),
            ("FLEETMAN_CHANGED_MORE", (changed.len() - named).to_string()),
        ]);
        variables
    }
}

/// What a hook says, on its way to the log.
struct Told<'a> {
    log: &'a AttemptLog,
    event: HookEvent,
    left: usize,
}

impl Told<'_> {
    fn line(&mut self, line: &str) {
        if self.left == 0 {
            return;
        }
        self.left = self.left.saturating_sub(line.len() + 1);
        self.log.line(format!("hook {}: {line}", self.event));
        if self.left == 0 {
            self.log.line(format!("hook {} says more, which is left out", self.event));
        }
    }
}
