//! The steps past fetching, carried out: switch, bring up, watch, put back, stop, remove, tell.

mod bring_up;
mod call;
mod ending;
mod gate;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use self::bring_up::Arrival;
use super::attempt_log::AttemptLog;
use super::context::Context;
use super::decide::{Cell, Deed, Place, Seen};
use super::disk::{DiskError, apart};
use super::home::CellHome;
use super::outbox::log_name;
use super::profile::Profile;
use super::stage::kept_manifest;
use super::state::{Attempt, AttemptKey, CellState, Placed, Step, release_name};
use super::survey::{Holding, holdings};
use super::trouble::{Cure, Trouble};
use crate::model::dependencies::Dependencies;
use crate::model::document::Document as _;
use crate::model::manifest::Manifest;
use crate::model::outcome::Ending;
use crate::model::trigger::{Target, Trigger};
use crate::model::{CellName, Code, ObjectKey};

/// Carries out what was decided for one cell.
#[derive(Debug)]
pub(super) struct Performer {
    context: Arc<Context>,
    cell: CellName,
    home: CellHome,
    logs: BTreeMap<AttemptKey, AttemptLog>,
    manifests: BTreeMap<AttemptKey, Arc<Manifest>>,
    /// What the log of an attempt says already that went wrong last.
    noted: BTreeMap<AttemptKey, String>,
    /// Whether what is run before a release is fetched was run.
    prepared: BTreeMap<AttemptKey, Arc<AtomicBool>>,
    /// Ends what is run for the cell, with the agent.
    stop: CancellationToken,
}

/// The releases that must stay, whatever else goes.
pub(super) fn kept(state: &CellState) -> BTreeSet<String> {
    let wished = state.wish.as_ref().and_then(|wish| wish.action.target()).map(release_name);
    let placed = state.placed.iter().chain(&state.known_good).chain(&state.started_from);
    let placed = placed.chain(&state.leaving).map(Placed::release);
    under_way(state).into_iter().chain(wished).chain(placed).collect()
}

/// The releases that attempts are about which are not over.
pub(super) fn under_way(state: &CellState) -> BTreeSet<String> {
    let open = state.journal.iter().filter(|attempt| !matches!(attempt.step, Step::Ended { .. }));
    open.filter_map(|attempt| attempt.wish.action.target()).map(release_name).collect()
}

impl Performer {
    pub(super) fn new(context: Arc<Context>, cell: CellName, home: CellHome, stop: CancellationToken) -> Self {
        let (logs, manifests, noted, prepared) = Default::default();
        Self { context, cell, home, logs, manifests, noted, prepared, stop }
    }

    /// Keeps the manifest of a staged attempt until the attempt is over.
    pub(super) fn remember(&mut self, key: AttemptKey, manifest: Arc<Manifest>) {
        self.manifests.insert(key, manifest);
    }

    /// Whether what is run before the attempt's release is fetched was run, by whichever try.
    pub(super) fn is_prepared(&mut self, key: AttemptKey) -> Arc<AtomicBool> {
        Arc::clone(self.prepared.entry(key).or_default())
    }

    /// The attempt's log, begun if it is new.
    pub(super) async fn log(&mut self, attempt: &Attempt) -> Result<AttemptLog, Trouble> {
        let key = attempt.key;
        if let Some(log) = self.logs.get(&key) {
            return Ok(log.clone());
        }
        let (outbox, clock) = (self.home.outbox.clone(), Arc::clone(&self.context.clock));
        let log = apart(move || AttemptLog::open(&outbox, &log_name(key), clock)).await?;
        let asked = match attempt.wish.action.target() {
            Some(target) => {
                format!("deploy version {} (manifest {})", target.version, target.manifest_sha256.short(12))
            }
            None => attempt.wish.action.name().to_owned(),
        };
        log.line(format!(
            "attempt {} at generation {}: {asked}, issued by {}",
            key.number, key.at, attempt.wish.issued_by
        ));
        if let Some(fault) = &attempt.repairs {
            log.line(format!("begun by the agent itself: {}: {}", fault.code, fault.message));
        }
        self.logs.insert(key, log.clone());
        Ok(log)
    }

    /// Tells the attempt's log what went wrong.
    pub(super) fn note(&mut self, key: AttemptKey, trouble: &Trouble) {
        if let Some(log) = self.logs.get(&key).filter(|_| trouble.cure != Cure::Killed) {
            log.line(format!("{}: {}", trouble.code, trouble.message));
            self.noted.insert(key, trouble.message.clone());
        }
    }

    /// Carries out a deed of an attempt, and says what came of it.
    pub(super) async fn perform(&mut self, cell: &Cell, attempt: &Attempt, deed: Deed) -> Seen {
        let key = attempt.key;
        let result = match self.log(attempt).await {
            Ok(log) => self.step(cell, attempt, deed, &log).await,
            Err(trouble) => Err(trouble),
        };
        result.unwrap_or_else(|trouble| {
            if !cell.knows(key, &trouble) {
                self.note(key, &trouble);
            }
            Seen::StepFailed { key, trouble }
        })
    }

    async fn step(&mut self, cell: &Cell, attempt: &Attempt, deed: Deed, log: &AttemptLog) -> Result<Seen, Trouble> {
        let (key, state) = (attempt.key, &cell.state);
        match deed {
            Deed::Run(event) => {
                match self.run_hook(cell, attempt, event, log).await {
                    // What is lost is no reason not to go on, where the hook's own failure would be none.
                    Err(trouble) if !event.decides() && trouble.cure == Cure::OtherContent => self.note(key, &trouble),
                    done => done?,
                }
                Ok(Seen::HookRun { key, event })
            }
            Deed::Leave => self.leave(cell, attempt, log).await,
            Deed::Ask => self.ask(cell, attempt, log).await,
            Deed::Switch => {
                let (target, manifest) = self.manifest_of(attempt).await?;
                let profile = self.profile(manifest.profile.name())?;
                self.stop_others(state, profile.name()).await?;
                self.switch(&profile, release_name(&target)).await?;
                log.line(format!("the link points at {}", release_name(&target)));
                Ok(Seen::Switched { key })
            }
            Deed::Activate => {
                let (target, manifest) = self.manifest_of(attempt).await?;
                let arrival = Arrival {
                    target: &target,
                    manifest: &manifest,
                    force: attempt.wish.options.force,
                    spares: state.leaving.is_some(),
                    activation: key.activation(),
                    over: attempt.replaces.as_ref(),
                };
                let Some(goes_on) = self.activate(arrival, log).await? else {
                    return self.leave(cell, attempt, log).await;
                };
                log.line(format!("version {} is up under the {} profile", target.version, manifest.profile.name()));
                Ok(Seen::Activated { key, goes_on })
            }
            Deed::Check => self.check(cell, attempt, log).await,
            Deed::Restore => {
                if let (Step::RollingBack { fault }, None) = (&attempt.step, &attempt.repairs) {
                    let why = if self.noted.get(&key) == Some(&fault.message) { "" } else { &*fault.message };
                    let colon = if why.is_empty() { "" } else { ": " };
                    log.line(format!("it has failed, and is to be replaced by what is known to be good{colon}{why}"));
                    self.quote(state, attempt, log).await;
                }
                let (placed, goes_on) = self.restore(state, key.activation().restoring(), log).await?;
                log.line(format!("back to version {}, the last known good one", placed.target.version));
                Ok(Seen::Restored { key, placed, goes_on })
            }
            Deed::Stop => {
                self.check_placed(state)?;
                self.tell_all_to_stop(cell, attempt, log).await?;
                for Holding { profile, .. } in self.ours().await? {
                    profile.stop(&self.cell).await?;
                }
                log.line("stopped; the files stay");
                Ok(Seen::Stopped { key })
            }
            Deed::Remove => {
                self.tell_all_to_stop(cell, attempt, log).await?;
                self.remove(state, attempt.wish.options.purge_data).await?;
                log.line(if attempt.wish.options.purge_data {
                    "removed, with its data"
                } else {
                    "removed; its data stays"
                });
                Ok(Seen::Removed { key })
            }
            Deed::Write => {
                let is_failed = matches!(attempt.step, Step::Ended { ending: Ending::Failed, .. });
                let is_up = |placed: &&Placed| Some(&placed.target) == attempt.wish.action.target();
                if let Some(placed) = state.placed.as_ref().filter(is_up).filter(|_| is_failed) {
                    self.quote(state, attempt, log).await;
                    let version = &placed.target.version;
                    log.line(format!(
                        "nothing can be gone back to, so version {version} is left as it is; a person must look"
                    ));
                }
                self.write(state, attempt, log).await?;
                if let Step::Ended { ending, .. } = attempt.step {
                    self.context.count_attempt(&attempt.wish.action, ending);
                }
                Ok(Seen::Written { key })
            }
        }
    }

    fn profile(&self, name: &str) -> Result<Arc<dyn Profile>, Trouble> {
        self.context.profiles.get(name).cloned().ok_or_else(|| {
            let message = format!("this agent is not set up for the {name} profile; see its config");
            Trouble::new(Code::ProfileUnavailable, message, Cure::Time)
        })
    }

    /// What the cell is placed under must be there to be stopped.
    fn check_placed(&self, state: &CellState) -> Result<(), Trouble> {
        state.placed.as_ref().map_or(Ok(()), |placed| self.profile(&placed.profile).map(|_| ()))
    }

    async fn manifest_of(&mut self, attempt: &Attempt) -> Result<(Target, Arc<Manifest>), Trouble> {
        let Some(target) = attempt.wish.action.target().cloned() else {
            return Err(Trouble::new(Code::Io, "the attempt is at no version", Cure::Time));
        };
        if let Some(manifest) = self.manifests.get(&attempt.key) {
            return Ok((target, Arc::clone(manifest)));
        }
        let manifest = self.kept_manifest(&target).await?;
        self.manifests.insert(attempt.key, Arc::clone(&manifest));
        Ok((target, manifest))
    }

    async fn kept_manifest(&self, target: &Target) -> Result<Arc<Manifest>, Trouble> {
        let (home, wanted) = (self.home.clone(), target.clone());
        let manifest = apart(move || kept_manifest(&home, &wanted)).await?;
        manifest.map(Arc::new).ok_or_else(|| {
            let message = format!("the manifest of version {} is not kept on the node any more", target.version);
            Trouble::new(Code::ManifestMissing, message, Cure::OtherContent)
        })
    }

    /// What the version of an attempt depends on, once its release is whole.
    pub(super) fn needs(&self, key: AttemptKey) -> Option<&Dependencies> {
        self.manifests.get(&key).map(|manifest| &manifest.dependencies)
    }

    /// What a version that is on the node depends on.
    pub(super) async fn dependencies(&self, target: &Target) -> Result<Dependencies, Trouble> {
        Ok(self.kept_manifest(target).await?.dependencies.clone())
    }

    /// What is on the host of the cell that is ours.
    async fn ours(&self) -> Result<Vec<Holding>, DiskError> {
        let (context, cell) = (Arc::clone(&self.context), self.cell.clone());
        apart(move || holdings(&context.profiles, &context.owner(&cell), &context.steps)).await
    }

    /// Stops and clears what other profiles than this one have of the cell.
    pub(super) async fn clear_others(&self, profile: &str) -> Result<(), Trouble> {
        for holding in self.ours().await? {
            if holding.profile.name() != profile {
                holding.clear(&self.cell).await?;
            }
        }
        Ok(())
    }

    fn release_path(&self, profile: &Arc<dyn Profile>, target: &Target) -> PathBuf {
        profile.placement(&self.cell).releases_path().join(release_name(target))
    }

    fn data_path(&self) -> PathBuf {
        self.context.home.data().path().join(self.cell.as_str())
    }

    /// Tells the attempt's log something, if it is still written.
    pub(super) fn tell(&self, key: AttemptKey, text: &str) {
        if let Some(log) = self.logs.get(&key) {
            log.line(text);
        }
    }

    /// Restarts what runs, because its checks go on failing.
    pub(super) async fn restart(&self, state: &CellState) -> Result<(), Trouble> {
        let Some(placed) = &state.placed else { return Ok(()) };
        Ok(self.profile(&placed.profile)?.restart(&self.cell).await?)
    }

    /// Reads the cell's trigger, because the index lags behind.
    pub(super) async fn look(&self) -> Vec<Seen> {
        let place = Place::Trigger;
        let key = ObjectKey::Trigger(self.context.identity.cell_id(&self.cell));
        // An envelope is a little larger than what it holds; `believe` knows how much.
        let found = match self.context.store.find(&key, 2 * Trigger::MAX_BYTES).await {
            Ok(Some(object)) => match self.context.identity.believe(&object.bytes, &self.cell) {
                Ok(wish) => Some(Seen::Trigger { wish, place }),
                Err(trouble) => Some(Seen::Refused { place, trouble }),
            },
            Ok(None) => None,
            Err(error) => {
                let Trouble { code, message, .. } = Trouble::from(error);
                tracing::debug!(cell = %self.cell, %code, "the trigger cannot be read: {message}");
                None
            }
        };
        found.into_iter().chain([Seen::Looked]).collect()
    }
}
