//! What the link points at, brought up or put back.

use std::sync::Arc;

use super::super::attempt_log::AttemptLog;
use super::super::disk::apart;
use super::super::effect::said;
use super::super::health;
use super::super::place::Plot;
use super::super::profile::{Activation, Log, Over, Profile, ProfileError, Start};
use super::super::release::{Look, difference};
use super::super::state::{CellState, Placed};
use super::super::survey::Holding;
use super::super::trouble::{Cure, Trouble};
use super::super::users;
use super::Performer;
use crate::model::Code;
use crate::model::effect::{Effect, effect};
use crate::model::manifest::Manifest;
use crate::model::trigger::Target;

/// A version that is to be brought up.
pub(super) struct Arrival<'a> {
    pub(super) target: &'a Target,
    pub(super) manifest: &'a Manifest,
    pub(super) force: bool,
    pub(super) spares: bool,
    pub(super) activation: Activation,
    /// What it takes the place of.
    pub(super) over: Option<&'a Placed>,
}

impl Performer {
    /// Brings up what the link points at. What another profile had of the cell stays until this is known to be good:
    /// it may be what there is to go back to. True if what ran went on as it; None if nothing was done, because what runs
    /// has to be stopped first, and is spared.
    pub(super) async fn activate(&self, arrival: Arrival<'_>, log: &AttemptLog) -> Result<Option<bool>, Trouble> {
        let Arrival { target, manifest, force, spares, activation, over } = arrival;
        let profile = self.profile(manifest.profile.name())?;
        let (release, data) = (self.release_path(&profile, target), self.data_path());
        self.give_data(manifest).await?;
        let written = profile.log(&self.cell);
        if written != Log::Nowhere {
            let (folder, now) = (self.home.folder.clone(), self.context.clock.now());
            apart(move || health::mark(&folder, &written, &activation.to_string(), now)).await?;
        }
        let start = Start { cell: &self.cell, manifest, release: &release, data: &data, force, spares, activation };
        let over = over.filter(|over| over.profile == profile.name());
        let before = match over {
            Some(over) => self.kept_manifest(&over.target).await.ok().map(|manifest| (over, manifest)),
            None => None,
        };
        if let Some((over, before)) = &before {
            let effect = effect(before, manifest);
            let reloads = matches!(effect, Effect::Reloads(_));
            if reloads || effect == Effect::GoesOn {
                let release = self.release_path(&profile, &over.target);
                match profile.go_on(start, Over { manifest: before, release: &release, reloads }).await {
                    Ok(true) => {
                        log.line(said(&effect));
                        return Ok(Some(true));
                    }
                    Ok(false) => log.line("it is started anew, because not all of what was to go on runs as it should"),
                    // What is gone back to has to run, whatever becomes of what runs.
                    Err(ProfileError::Version(why)) if start.restores() => {
                        log.line(format!("it is started anew, because {why}"));
                    }
                    Err(error) => return Err(error.into()),
                }
            } else if manifest.may_go_on() {
                log.line(said(&effect));
            }
        }
        match profile.activate(start).await {
            Ok(()) => Ok(Some(false)),
            Err(ProfileError::StopsFirst(why)) => {
                log.line(format!("it takes the place of the version before by stop_start: {why}"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the cell's data folder, and makes it theirs as whom the version runs. Only now, because until the switch it
    /// is another version's, and anew with each, because what is gone back to may run as somebody else.
    pub(super) async fn give_data(&self, manifest: &Manifest) -> Result<(), Trouble> {
        let (user, group) = manifest.profile.owner();
        let owner = users::owner(user, group)?;
        let (context, cell) = (Arc::clone(&self.context), self.cell.clone());
        let given = apart(move || {
            let data = context.home.data().child_made(cell.as_str(), 0o750)?;
            owner.map_or(Ok(()), |(user, group)| data.give_to(user, group))
        });
        Ok(given.await?)
    }

    /// Puts the last known good release back, after verifying that it is still what it was (I3).
    pub(super) async fn restore(
        &self,
        state: &CellState,
        activation: Activation,
        log: &AttemptLog,
    ) -> Result<(Placed, bool), Trouble> {
        let lost = |what: String| Trouble::new(Code::NeedsOperator, what, Cure::OtherContent);
        let placed = state.known_good.clone().ok_or_else(|| lost("there is nothing to go back to".to_owned()))?;
        let manifest = self.kept_manifest(&placed.target).await?;
        let profile = self.profile(&placed.profile)?;
        let (context, cell) = (Arc::clone(&self.context), self.cell.clone());
        let (release, owned, at) = (placed.release(), Arc::clone(&manifest), Arc::clone(&profile));
        let damage = apart(move || {
            let plot = Plot::find(at.placement(&cell), &context.owner(&cell), &context.steps)?;
            let folder = plot.map(|plot| plot.releases.child(&release)).transpose()?.flatten();
            let missing = || Ok(Some("it is gone".to_owned()));
            folder.map_or_else(missing, |folder| difference(&folder, &owned, Look::AtBytes))
        });
        if let Some(what) = damage.await.map_err(Trouble::from)? {
            return Err(lost(format!("release {} cannot be gone back to: {what}", placed.release())));
        }
        self.stop_others(state, profile.name()).await?;
        self.switch(&profile, placed.release()).await?;
        let (target, over) = (&placed.target, state.placed.as_ref());
        let arrival = Arrival { target, manifest: &manifest, force: false, spares: false, activation, over };
        let goes_on = self.activate(arrival, log).await?;
        self.clear_others(profile.name()).await?;
        Ok((placed, goes_on.unwrap_or_default()))
    }

    pub(super) async fn switch(&self, profile: &Arc<dyn Profile>, release: String) -> Result<(), Trouble> {
        let (context, cell, profile) = (Arc::clone(&self.context), self.cell.clone(), Arc::clone(profile));
        apart(move || Plot::claim(profile.placement(&cell), &context.owner(&cell), &context.steps)?.switch(&release))
            .await
    }

    /// A cell runs under one profile: before another one takes over, what it ran under is stopped.
    pub(super) async fn stop_others(&self, state: &CellState, profile: &str) -> Result<(), Trouble> {
        self.check_placed(state)?;
        for Holding { profile: other, .. } in self.ours().await? {
            if other.name() != profile {
                other.stop(&self.cell).await?;
            }
        }
        Ok(())
    }
}
