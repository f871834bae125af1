//! Whether a version may be switched to, and whether it is good.

use std::sync::Arc;
use std::time::Duration;

use super::super::attempt_log::AttemptLog;
use super::super::decide::{Cell, Seen};
use super::super::disk::apart;
use super::super::health::{Prober, Subject};
use super::super::lock;
use super::super::profile::{Gate, Start};
use super::super::state::{Attempt, CellState, Placed};
use super::super::trouble::{Cure, Trouble};
use super::super::windows::{self, Kind};
use super::Performer;
use crate::model::Code;
use crate::model::hook::HookEvent;
use crate::render::OnNode;

impl Performer {
    /// Whether the staged attempt may be switched to. What has nothing to protect waits for nothing.
    pub(super) async fn ask(&mut self, cell: &Cell, attempt: &Attempt, log: &AttemptLog) -> Result<Seen, Trouble> {
        let key = attempt.key;
        if cell.is_protected(key) {
            let hindered = self.hindered(&cell.state, attempt).await;
            match hindered {
                Err(trouble) if attempt.wish.options.override_windows && matches!(trouble.cure, Cure::Turn { .. }) => {
                    log.line(format!("{}; the trigger overrides it", trouble.message));
                }
                result => result?,
            }
        }
        Ok(Seen::Due { key })
    }

    /// # Errors
    /// The windows are closed, or the application holds its lock.
    pub(super) async fn hindered(&mut self, state: &CellState, attempt: &Attempt) -> Result<(), Trouble> {
        let (_, manifest) = self.manifest_of(attempt).await?;
        windows::check(&self.context, &manifest, Kind::Activate)?;
        // It is what runs that is to be kept from being stopped, by the lock that its own version speaks of.
        let Some(placed) = &state.placed else { return Ok(()) };
        let running = self.kept_manifest(&placed.target).await?;
        let Some(path) = running.lock.clone() else { return Ok(()) };
        let (context, cell) = (Arc::clone(&self.context), self.cell.clone());
        apart(move || lock::check(&context, &cell, &path)).await
    }

    /// Asks the profile whether what the attempt brought up is good.
    pub(super) async fn check(&mut self, cell: &Cell, attempt: &Attempt, log: &AttemptLog) -> Result<Seen, Trouble> {
        let (key, force) = (attempt.key, attempt.wish.options.force);
        let (target, manifest) = self.manifest_of(attempt).await?;
        let profile = self.profile(manifest.profile.name())?;
        let (release, data) = (self.release_path(&profile, &target), self.data_path());
        let activation = key.activation();
        let name = self.cell.clone();
        let start = Start {
            cell: &name,
            manifest: &manifest,
            release: &release,
            data: &data,
            force,
            spares: false,
            activation,
        };
        let pending = |missing| {
            let deadline = Duration::from_millis(manifest.health.deadline_ms);
            Ok(Seen::Pending { key, missing, deadline })
        };
        let unchecked = cell.mind.vitals.missing(&manifest.health);
        match (profile.check(start).await, unchecked) {
            (Gate::Passed, Some(missing)) => pending(missing),
            // What went on has run for long: it is what it was told that it has to bear.
            (Gate::Passed, None)
                if let Some(left) = cell.has_to_bear(attempt, &manifest.health, self.context.clock.monotonic()) =>
            {
                pending(format!("it has to go on well for {:.1} s more", left.as_secs_f64()))
            }
            (Gate::Passed, None) => {
                // What each of them did is written down before it is looked once more whether all is well.
                if let Some(event) = attempt.owes(&[HookEvent::Validate]) {
                    self.run_hook(cell, attempt, event, log).await?;
                    return Ok(Seen::HookRun { key, event });
                }
                if cell.state.leaving.is_some() {
                    return self.leave(cell, attempt, log).await;
                }
                profile.settle(start).await?;
                self.clear_others(profile.name()).await?;
                log.line("it is good, and what to go back to from now on");
                Ok(Seen::Passed { key })
            }
            // A check that fails tells more than that the time is not over.
            (Gate::Pending(missing), _) => pending(cell.mind.vitals.failing().unwrap_or(missing)),
            (Gate::Failed(why), _) => Err(Trouble::new(Code::Unhealthy, why, Cure::OtherContent)),
            (Gate::NotStarted, _) => {
                log.line("it is not this that runs; it is brought up once more");
                Ok(Seen::NotStarted { key })
            }
        }
    }

    /// Begins to ask what there is to ask of a release that is up, and says what that is. Nobody is asked if it has no
    /// checks.
    pub(in super::super) async fn probe(&self, placed: &Placed, round: u64) -> Result<(Option<Prober>, Seen), Trouble> {
        let (profile, manifest) = (self.profile(&placed.profile)?, self.kept_manifest(&placed.target).await?);
        let (release, data) = (self.release_path(&profile, &placed.target), self.data_path());
        let (user, group) = manifest.profile.owner();
        let on_node = OnNode { cell: &self.cell, manifest: &manifest, release: &release, data: &data };
        let subject = Subject {
            variables: on_node.variables(),
            owner: (user.map(str::to_owned), group.map(str::to_owned)),
            log: profile.log(&self.cell),
            home: self.home.folder.clone(),
            release: release.clone(),
            data: data.clone(),
        };
        let context = &self.context;
        let prober = Prober::start(subject, &manifest.health, round, &context.probing, &context.clock);
        Ok((prober, Seen::Watching { round, health: Box::new(manifest.health.clone()) }))
    }
}
