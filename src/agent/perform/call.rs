//! The hooks of an attempt's version, and of those that it takes the place of.

use super::super::attempt_log::AttemptLog;
use super::super::decide::{Cell, Seen};
use super::super::hooks::{Call, Reason};
use super::super::state::{Attempt, Placed, Standing};
use super::super::trouble::{Cure, Trouble};
use super::Performer;
use crate::model::Code;
use crate::model::hook::HookEvent;
use crate::model::manifest::Manifest;
use crate::model::pattern::changed_files;

impl Performer {
    /// Tells what still runs beside the attempt's version that it stops, by its hook.
    ///
    /// # Errors
    /// It asks to be told again later.
    pub(super) async fn leave(&mut self, cell: &Cell, attempt: &Attempt, log: &AttemptLog) -> Result<Seen, Trouble> {
        if let Some(leaving) = &cell.state.leaving {
            self.call(cell, attempt, HookEvent::Stop, Some(leaving), log).await?;
        }
        Ok(Seen::Left { key: attempt.key })
    }

    /// The same of all that runs of the cell.
    ///
    /// # Errors
    /// One asks to be told again later.
    pub(super) async fn tell_all_to_stop(
        &mut self,
        cell: &Cell,
        attempt: &Attempt,
        log: &AttemptLog,
    ) -> Result<(), Trouble> {
        self.leave(cell, attempt, log).await?;
        self.run_hook(cell, attempt, HookEvent::Stop, log).await
    }

    /// Runs a hook of the attempt's version, or `stop` of the one that is there.
    ///
    /// # Errors
    /// It failed and that decides, or it asks to be run again later.
    pub(super) async fn run_hook(
        &mut self,
        cell: &Cell,
        attempt: &Attempt,
        event: HookEvent,
        log: &AttemptLog,
    ) -> Result<(), Trouble> {
        let state = &cell.state;
        // A cell that was stopped before has nothing that could be told.
        let stands = state.placed.as_ref().filter(|_| state.standing == Standing::Deployed);
        let from = if event == HookEvent::Stop { stands } else { attempt.from.as_ref() };
        self.call(cell, attempt, event, from, log).await
    }

    async fn call(
        &mut self,
        cell: &Cell,
        attempt: &Attempt,
        event: HookEvent,
        from: Option<&Placed>,
        log: &AttemptLog,
    ) -> Result<(), Trouble> {
        let from = match from {
            Some(from) => match self.kept_manifest(&from.target).await {
                Ok(manifest) => Some((from, manifest)),
                Err(trouble) if trouble.cure == Cure::OtherContent => {
                    log.line(format!("hook {event} does not know what ran before: {}", trouble.message));
                    None
                }
                Err(trouble) => return Err(trouble),
            },
            None => None,
        };
        let to = match attempt.wish.action.target() {
            Some(_) => Some(self.manifest_of(attempt).await?),
            None => None,
        };
        let owner = match event {
            HookEvent::Stop => from.as_ref().map(|(from, manifest)| (&from.target, manifest)),
            _ => to.as_ref().map(|(target, manifest)| (target, manifest)),
        };
        let Some((target, manifest)) = owner else { return Ok(()) };
        if event == HookEvent::Stop && !is_concerned(manifest, to.as_ref().map(|(_, manifest)| &**manifest)) {
            return Ok(());
        }
        let waits = cell.mind.waits.get(&attempt.key).filter(|wait| wait.fault.code == Code::HookWaits);
        let call = Call {
            event,
            manifest,
            release: self.release_path(&self.profile(manifest.profile.name())?, target),
            data: self.data_path(),
            from: from.as_ref().map(|(_, manifest)| &**manifest),
            to: to.as_ref().map(|(_, manifest)| &**manifest),
            at: attempt.key.at,
            reason: Reason::of(attempt),
            waits_since: waits.map(|wait| wait.fault.at),
        };
        call.run(&self.context, log, &self.stop).await
    }
}

/// Whether the files that change where `old` gives way to `new` concern its hook `stop`. All do where nothing follows.
fn is_concerned(old: &Manifest, new: Option<&Manifest>) -> bool {
    let hook = old.hooks.get(&HookEvent::Stop);
    hook.zip(new).is_none_or(|(hook, new)| hook.concerns(&changed_files(Some(old), new)))
}
