//! The steps past fetching, carried out: switch, bring up, watch, put back, stop, remove, tell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::attempt_log::AttemptLog;
use super::context::Context;
use super::decide::{Cell, Deed, Place, Seen};
use super::disk::{DiskError, apart};
use super::effect::said;
use super::health::{self, Prober, Subject};
use super::home::CellHome;
use super::hooks::{Call, Reason};
use super::lock;
use super::outbox::{log_name, outcome_name};
use super::place::Plot;
use super::profile::{Activation, Gate, Log, Over, Profile, ProfileError, Start};
use super::release::{Look, difference};
use super::stage::kept_manifest;
use super::state::{Attempt, AttemptKey, CellState, Placed, Standing, Step, release_name};
use super::survey::{Holding, holdings};
use super::trouble::{Cure, Trouble};
use super::users;
use super::windows::{self, Kind};
use crate::model::dependencies::Dependencies;
use crate::model::document::{self, Document as _};
use crate::model::effect::{Effect, effect};
use crate::model::heartbeat::VersionReport;
use crate::model::hook::HookEvent;
use crate::model::manifest::Manifest;
use crate::model::outcome::{Ending, Outcome};
use crate::model::trigger::{Target, Trigger};
use crate::model::{CellName, Code, ObjectKey};
use crate::render::OnNode;

/// Carries out what was decided for one cell.
#[derive(Debug)]
pub(super) struct Performer {
    context: Arc<Context>,
    cell: CellName,
    home: CellHome,
    logs: BTreeMap<AttemptKey, AttemptLog>,
    manifests: BTreeMap<AttemptKey, Arc<Manifest>>,
    /// Whether what is run before a release is fetched was run.
    prepared: BTreeMap<AttemptKey, Arc<AtomicBool>>,
    /// Ends what is run for the cell, with the agent.
    stop: CancellationToken,
}

/// A version that is to be brought up.
struct Arrival<'a> {
    target: &'a Target,
    manifest: &'a Manifest,
    force: bool,
    activation: Activation,
    /// What it takes the place of.
    over: Option<&'a Placed>,
}

/// The releases that must stay, whatever else goes.
pub(super) fn kept(state: &CellState) -> BTreeSet<String> {
    let wished = state.wish.as_ref().and_then(|wish| wish.action.target()).map(release_name);
    let placed = state.placed.iter().chain(&state.known_good).chain(&state.started_from).map(Placed::release);
    under_way(state).into_iter().chain(wished).chain(placed).collect()
}

/// The releases that attempts are about which are not over.
pub(super) fn under_way(state: &CellState) -> BTreeSet<String> {
    let open = state.journal.iter().filter(|attempt| !matches!(attempt.step, Step::Ended { .. }));
    open.filter_map(|attempt| attempt.wish.action.target()).map(release_name).collect()
}

impl Performer {
    pub(super) fn new(context: Arc<Context>, cell: CellName, home: CellHome, stop: CancellationToken) -> Self {
        Self { context, cell, home, logs: BTreeMap::new(), manifests: BTreeMap::new(), prepared: BTreeMap::new(), stop }
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
    pub(super) fn note(&self, key: AttemptKey, trouble: &Trouble) {
        if let Some(log) = self.logs.get(&key).filter(|_| trouble.cure != Cure::Killed) {
            log.line(format!("{}: {}", trouble.code, trouble.message));
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
                let (force, activation) = (attempt.wish.options.force, key.activation());
                let over = attempt.replaces.as_ref();
                let goes_on = self
                    .activate(Arrival { target: &target, manifest: &manifest, force, activation, over }, log)
                    .await?;
                log.line(format!("version {} is up under the {} profile", target.version, manifest.profile.name()));
                Ok(Seen::Activated { key, goes_on })
            }
            Deed::Check => self.check(cell, attempt, log).await,
            Deed::Restore => {
                if let (Step::RollingBack { fault }, None) = (&attempt.step, &attempt.repairs) {
                    log.line(format!(
                        "it has failed, and is to be replaced by what is known to be good: {}",
                        fault.message
                    ));
                    self.quote(state, attempt, log).await;
                }
                let (placed, goes_on) = self.restore(state, key.activation().restoring(), log).await?;
                log.line(format!("back to version {}, the last known good one", placed.target.version));
                Ok(Seen::Restored { key, placed, goes_on })
            }
            Deed::Stop => {
                self.check_placed(state)?;
                self.run_hook(cell, attempt, HookEvent::Stop, log).await?;
                for Holding { profile, .. } in self.ours().await? {
                    profile.stop(&self.cell).await?;
                }
                log.line("stopped; the files stay");
                Ok(Seen::Stopped { key })
            }
            Deed::Remove => {
                self.run_hook(cell, attempt, HookEvent::Stop, log).await?;
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

    /// Whether the staged attempt may be switched to. What has nothing to protect waits for nothing.
    async fn ask(&mut self, cell: &Cell, attempt: &Attempt, log: &AttemptLog) -> Result<Seen, Trouble> {
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
    async fn hindered(&mut self, state: &CellState, attempt: &Attempt) -> Result<(), Trouble> {
        let (_, manifest) = self.manifest_of(attempt).await?;
        windows::check(&self.context, &manifest, Kind::Activate)?;
        // It is what runs that is to be kept from being stopped, by the lock that its own version speaks of.
        let Some(placed) = &state.placed else { return Ok(()) };
        let running = self.kept_manifest(&placed.target).await?;
        let Some(path) = running.lock.clone() else { return Ok(()) };
        let (context, cell) = (Arc::clone(&self.context), self.cell.clone());
        apart(move || lock::check(&context, &cell, &path)).await
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

    /// A cell runs under one profile: before another one takes over, what it ran under is stopped.
    async fn stop_others(&self, state: &CellState, profile: &str) -> Result<(), Trouble> {
        self.check_placed(state)?;
        for Holding { profile: other, .. } in self.ours().await? {
            if other.name() != profile {
                other.stop(&self.cell).await?;
            }
        }
        Ok(())
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

    async fn switch(&self, profile: &Arc<dyn Profile>, release: String) -> Result<(), Trouble> {
        let (context, cell, profile) = (Arc::clone(&self.context), self.cell.clone(), Arc::clone(profile));
        apart(move || Plot::claim(profile.placement(&cell), &context.owner(&cell), &context.steps)?.switch(&release))
            .await
    }

    /// Brings up what the link points at. What another profile had of the cell stays until this is known to be good:
    /// it may be what there is to go back to. True if what ran went on as it.
    async fn activate(&self, arrival: Arrival<'_>, log: &AttemptLog) -> Result<bool, Trouble> {
        let Arrival { target, manifest, force, activation, over } = arrival;
        let profile = self.profile(manifest.profile.name())?;
        let (release, data) = (self.release_path(&profile, target), self.data_path());
        self.give_data(manifest).await?;
        let written = profile.log(&self.cell);
        if written != Log::Nowhere {
            let (folder, now) = (self.home.folder.clone(), self.context.clock.now());
            apart(move || health::mark(&folder, &written, &activation.to_string(), now)).await?;
        }
        let start = Start { cell: &self.cell, manifest, release: &release, data: &data, force, activation };
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
                        return Ok(true);
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
        profile.activate(start).await?;
        Ok(false)
    }

    /// Makes the cell's data folder, and makes it theirs as whom the version runs. Only now, because until the switch it
    /// is another version's, and anew with each, because what is gone back to may run as somebody else.
    async fn give_data(&self, manifest: &Manifest) -> Result<(), Trouble> {
        let (user, group) = manifest.profile.owner();
        let owner = users::owner(user, group)?;
        let (context, cell) = (Arc::clone(&self.context), self.cell.clone());
        let given = apart(move || {
            let data = context.home.data().child_made(cell.as_str(), 0o750)?;
            owner.map_or(Ok(()), |(user, group)| data.give_to(user, group))
        });
        Ok(given.await?)
    }

    fn release_path(&self, profile: &Arc<dyn Profile>, target: &Target) -> PathBuf {
        profile.placement(&self.cell).releases_path().join(release_name(target))
    }

    fn data_path(&self) -> PathBuf {
        self.context.home.data().path().join(self.cell.as_str())
    }

    /// Runs a hook of the attempt's version, or `stop` of the one that is there.
    ///
    /// # Errors
    /// It failed and that decides, or it asks to be run again later.
    async fn run_hook(
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

    /// Asks the profile whether what the attempt brought up is good.
    async fn check(&mut self, cell: &Cell, attempt: &Attempt, log: &AttemptLog) -> Result<Seen, Trouble> {
        let (key, force) = (attempt.key, attempt.wish.options.force);
        let (target, manifest) = self.manifest_of(attempt).await?;
        let profile = self.profile(manifest.profile.name())?;
        let (release, data) = (self.release_path(&profile, &target), self.data_path());
        let activation = key.activation();
        let name = self.cell.clone();
        let start = Start { cell: &name, manifest: &manifest, release: &release, data: &data, force, activation };
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
                if attempt.owes(&[HookEvent::Validate]).is_some() {
                    self.run_hook(cell, attempt, HookEvent::Validate, log).await?;
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
    pub(super) async fn probe(&self, placed: &Placed, round: u64) -> Result<(Option<Prober>, Seen), Trouble> {
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

    /// Tells the attempt's log something, if it is still written.
    pub(super) fn tell(&self, key: AttemptKey, text: &str) {
        if let Some(log) = self.logs.get(&key) {
            log.line(text);
        }
    }

    /// Tells the attempt's log what the programs of the version that failed said last. What cannot be read is told, and
    /// keeps nothing from going on.
    async fn quote(&self, state: &CellState, attempt: &Attempt, log: &AttemptLog) {
        let target = attempt.wish.action.target();
        let Some(placed) = state.placed.as_ref().filter(|placed| Some(&placed.target) == target) else { return };
        let Ok(profile) = self.profile(&placed.profile) else { return };
        let (from, activation) = (profile.log(&self.cell), attempt.key.activation().to_string());
        match health::last_lines(&self.home.folder, &from, &activation, &self.context.clock).await {
            Ok(lines) if lines.is_empty() => {}
            Ok(lines) => {
                log.line(format!("the last that version {} said:", placed.target.version));
                for line in lines {
                    log.line(format!("  {line}"));
                }
            }
            Err(why) => log.line(format!("what version {} said cannot be read: {why}", placed.target.version)),
        }
    }

    /// Restarts what runs, because its checks go on failing.
    pub(super) async fn restart(&self, state: &CellState) -> Result<(), Trouble> {
        let Some(placed) = &state.placed else { return Ok(()) };
        Ok(self.profile(&placed.profile)?.restart(&self.cell).await?)
    }

    /// Puts the last known good release back, after verifying that it is still what it was (I3).
    async fn restore(
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
        let goes_on =
            self.activate(Arrival { target, manifest: &manifest, force: false, activation, over }, log).await?;
        self.clear_others(profile.name()).await?;
        Ok((placed, goes_on))
    }

    async fn remove(&self, state: &CellState, purge_data: bool) -> Result<(), Trouble> {
        self.check_placed(state)?;
        for holding in self.ours().await? {
            holding.clear(&self.cell).await?;
        }
        let (context, cell, home) = (Arc::clone(&self.context), self.cell.clone(), self.home.clone());
        Ok(apart(move || {
            for name in home.manifests.names()? {
                home.manifests.remove_file(&name)?;
            }
            if purge_data {
                context.home.data().remove_tree(cell.as_str())?;
            }
            Ok::<_, DiskError>(())
        })
        .await?)
    }

    /// Writes down what came of the attempt, to be sent, and tidies up behind it.
    async fn write(&mut self, state: &CellState, attempt: &Attempt, log: &AttemptLog) -> Result<(), Trouble> {
        let Some(outcome) = self.outcome(state, attempt) else { return Ok(()) };
        let ending = outcome.outcome.words();
        match (&outcome.code, &outcome.message) {
            (Some(code), Some(message)) => log.line(format!("{ending}: {code}: {message}")),
            _ => log.line(ending),
        }
        let (outbox, name) = (self.home.outbox.clone(), outcome_name(attempt.key));
        apart(move || outbox.write(&name, &document::render(&outcome))).await?;
        self.logs.remove(&attempt.key);
        self.manifests.remove(&attempt.key);
        self.prepared.remove(&attempt.key);
        self.context.changed.notify_one();
        if state.standing == Standing::Deployed {
            self.tidy(state).await?;
        }
        Ok(())
    }

    fn outcome(&self, state: &CellState, attempt: &Attempt) -> Option<Outcome> {
        let Step::Ended { ended_at, ending, fault } = &attempt.step else { return None };
        let version = |placed: &Option<Placed>| placed.as_ref().map(|placed| VersionReport::from(&placed.target));
        let identity = &self.context.identity;
        Some(Outcome {
            fleet: identity.fleet,
            node: identity.node.clone(),
            cell: self.cell.clone(),
            at: attempt.key.at,
            attempt: attempt.key.number,
            action: attempt.wish.action.name().to_owned(),
            version: attempt.wish.action.target().map(VersionReport::from),
            started_at: attempt.started_at,
            ended_at: *ended_at,
            outcome: *ending,
            known_good_after: version(&state.known_good),
            running_after: version(&state.placed),
            code: fault.as_ref().map(|fault| fault.code),
            message: fault.as_ref().map(|fault| fault.message.clone()),
            files_fetched: attempt.effort.files_fetched,
            files_reused: attempt.effort.files_reused,
            bytes_fetched: attempt.effort.bytes_fetched,
        })
    }

    /// Removes releases, and manifests of releases, that are not kept (I9).
    async fn tidy(&self, state: &CellState) -> Result<(), DiskError> {
        let (keep, under_way) = (kept(state), under_way(state));
        let order: Vec<String> = state.placed_before.iter().map(Placed::release).collect();
        let (home, extra) = (self.home.clone(), self.context.keep_versions);
        let ours = self.ours().await?;
        apart(move || {
            let mut there = keep.clone();
            for plot in ours.into_iter().filter_map(|holding| holding.plot) {
                plot.tidy(&keep, &under_way, &order, extra)?;
                there.extend(plot.releases.names()?);
            }
            for name in home.manifests.names()? {
                if !name.strip_suffix(".json").is_some_and(|release| there.contains(release)) {
                    home.manifests.remove_file(&name)?;
                }
            }
            Ok(())
        })
        .await
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
