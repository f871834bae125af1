//! A profile that runs nothing and remembers what it was asked: what an agent does with one that runs something.
//!
//! What it "runs" is not the agent's child, so it outlives the agents of a test as real programs do.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use fleetman::agent::{
    Activation, Agent, AgentSettings, Gate, Log, Mark, Observed, Placement, Profile, ProfileError, Profiles, Start,
    Steps, Work,
};
use fleetman::clock::SystemClock;
use fleetman::model::content::content_sha256;
use fleetman::model::heartbeat::{CellReport, RunningState};
use fleetman::model::manifest::Manifest;
use fleetman::model::process::ProcessSpec;
use fleetman::model::run_spec::{self, Restart, RunSpec, Stop};
use fleetman::model::trigger::{Action, Target};
use fleetman::model::{CellName, VersionName};
use tokio::sync::{Notify, Semaphore};

use super::node::{Bench, of};

/// Runs nothing, and remembers what it was asked.
#[derive(Debug)]
pub(crate) struct StandIn {
    name: &'static str,
    pub(crate) folder: PathBuf,
    told: Mutex<Told>,
    changed: Notify,
    /// A permit lets a cell be resumed.
    resuming: Semaphore,
}

/// What it was told, and what it is to say.
#[derive(Debug, Default)]
pub(crate) struct Told {
    asked: Vec<String>,
    /// Versions that do not come up.
    broken: BTreeSet<String>,
    /// What is said of a version that is up; of all others that they are good.
    gates: BTreeMap<String, Gate>,
    /// Every bringing up that started something.
    pub(crate) started: Vec<String>,
    running: Option<(String, Activation)>,
    /// Said in place of what follows from all that.
    observed: Option<Observed>,
    /// Whether the host cannot be looked at.
    pub(crate) is_blind: bool,
    pub(crate) checks: usize,
    pub(crate) resumed: usize,
    pub(crate) restarts: usize,
}

impl StandIn {
    fn new(name: &'static str, folder: PathBuf) -> Self {
        let (told, changed) = (Mutex::default(), Notify::new());
        Self { name, folder, told, changed, resuming: Semaphore::new(Semaphore::MAX_PERMITS) }
    }

    /// Where the cell's programs would write to, if there were any.
    pub(crate) fn logs(&self, cell: &CellName) -> PathBuf {
        self.folder.join("logs").join(cell.as_str())
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    /// The version that it runs.
    pub(crate) fn runs(&self) -> Option<String> {
        self.told().running.as_ref().map(|(version, _)| version.clone())
    }

    /// What it was asked to do since the last time.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.told().asked)
    }

    pub(crate) fn breaks(&self, version: &str) {
        self.told().broken.insert(version.to_owned());
    }

    pub(crate) fn mends(&self) {
        self.told().broken.clear();
    }

    /// Says this of `version` from now on, and that it changed.
    pub(crate) fn gate(&self, version: &str, gate: Gate) {
        self.told().gates.insert(version.to_owned(), gate);
        self.changed.notify_one();
    }

    /// What runs is gone, and nothing is known of it.
    pub(crate) fn forget(&self) {
        self.told().running = None;
        self.changed.notify_one();
    }

    pub(crate) fn observe(&self, observed: Observed) {
        self.told().observed = Some(observed);
        self.changed.notify_one();
    }

    /// Resuming takes until [`StandIn::let_resume`].
    pub(crate) fn hold_resume(&self) {
        self.resuming.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn let_resume(&self) {
        self.resuming.add_permits(1);
    }
}

impl Profile for StandIn {
    fn name(&self) -> &'static str {
        self.name
    }

    fn placement(&self, cell: &CellName) -> Placement {
        Placement {
            folder: self.folder.join(cell.as_str()),
            link: "current".to_owned(),
            releases: vec!["releases".to_owned()],
            is_own: true,
        }
    }

    fn resume<'a>(&'a self, _cell: &'a CellName) -> Work<'a, ()> {
        self.told().resumed += 1;
        Box::pin(async {
            self.resuming.acquire().await.unwrap().forget();
            self.resuming.add_permits(1);
        })
    }

    fn activate<'a>(&'a self, start: Start<'a>) -> Work<'a, Result<(), ProfileError>> {
        let version = start.manifest.version.to_string();
        let file = std::fs::read_to_string(self.folder.join(start.cell.as_str()).join("current/version")).unwrap();
        assert_eq!(file, version, "the link points at what is to be brought up");
        assert!(start.release.join("version").exists() && start.data.is_dir());
        let mut told = self.told();
        told.asked.push(format!("activate {version}"));
        let up = (version.clone(), start.activation);
        let result = if told.broken.contains(&version) {
            told.running = None;
            Err(ProfileError::Version(format!("version {version} exits with 1")))
        } else {
            if told.running.as_ref() != Some(&up) {
                told.started.push(format!("{version} as {}", start.activation));
            }
            told.running = Some(up);
            Ok(())
        };
        Box::pin(std::future::ready(result))
    }

    fn check<'a>(&'a self, start: Start<'a>) -> Work<'a, Gate> {
        let mut told = self.told();
        told.checks += 1;
        let version = start.manifest.version.to_string();
        assert!(start.release.join("version").exists() && start.data.is_dir());
        let is_up = told.running == Some((version.clone(), start.activation));
        let gate = if is_up { told.gates.get(&version).cloned().unwrap_or(Gate::Passed) } else { Gate::NotStarted };
        Box::pin(std::future::ready(gate))
    }

    fn stop<'a>(&'a self, _cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        let mut told = self.told();
        told.asked.push("stop".to_owned());
        told.running = None;
        Box::pin(std::future::ready(Ok(())))
    }

    fn remove<'a>(&'a self, _cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        self.told().asked.push("remove".to_owned());
        Box::pin(std::future::ready(Ok(())))
    }

    fn state<'a>(&'a self, _cell: &'a CellName) -> Work<'a, Observed> {
        let told = self.told();
        let pid = u32::try_from(told.started.len()).ok();
        let state = match told.running {
            Some(_) => RunningState::Running { pid, since: None, restarts: 0 },
            None => RunningState::Stopped,
        };
        Box::pin(std::future::ready(told.observed.clone().unwrap_or(state.into())))
    }

    fn restart<'a>(&'a self, _cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        self.told().restarts += 1;
        Box::pin(std::future::ready(Ok(())))
    }

    fn log(&self, cell: &CellName) -> Log {
        Log::Folder(self.logs(cell))
    }

    fn changed<'a>(&'a self, _cell: &'a CellName) -> Work<'a, ()> {
        Box::pin(self.changed.notified())
    }

    fn cells(&self) -> std::io::Result<Vec<CellName>> {
        if self.told().is_blind {
            return Err(std::io::Error::other("nothing can be seen"));
        }
        let is_there = self.runs().is_some() || self.folder.join("app").exists();
        Ok(is_there.then(|| CellName::new("app").unwrap()).into_iter().collect())
    }

    fn mark(&self, _cell: &CellName) -> std::io::Result<Option<Mark>> {
        let mark = |(version, activation): &(String, Activation)| Mark {
            version: Some(VersionName::new(version.clone()).unwrap()),
            activation: Some(*activation),
        };
        Ok(self.told().running.as_ref().map(mark))
    }
}

/// A node whose cell `app` is run by the stand-in, or by another one.
pub(crate) struct Node {
    pub(crate) bench: Bench,
    pub(crate) profile: Arc<StandIn>,
    pub(crate) other: Arc<StandIn>,
}

impl Node {
    pub(crate) async fn start() -> Self {
        let bench = Bench::start().await;
        let stand_in = |name| Arc::new(StandIn::new(name, bench.home.path().join("run").join(name)));
        Self { profile: stand_in("process"), other: stand_in("supervisor"), bench }
    }

    pub(crate) fn profiles(&self) -> Profiles {
        let mut profiles: Vec<Arc<dyn Profile>> = self.bench.profiles().iter().cloned().collect();
        profiles.extend([&self.profile, &self.other].map(|it| Arc::clone(it) as Arc<dyn Profile>));
        Profiles::new(profiles)
    }

    pub(crate) async fn agent(&self, change: impl FnOnce(&mut AgentSettings)) -> Option<Agent> {
        let mut settings = self.bench.settings().await;
        settings.profiles = self.profiles();
        change(&mut settings);
        Agent::open(settings, SystemClock::shared()).await.ok()
    }

    pub(crate) async fn once(&self) -> CellReport {
        let mut agent = self.agent(|_| {}).await.unwrap();
        let report = of(&agent.poll_once().await.unwrap(), "app");
        agent.close().await;
        report
    }

    /// Runs an agent that is killed as soon as `dead` says so, asked before each of its effects; true if it lived.
    pub(crate) async fn once_until(&self, dead: impl Fn(&StandIn) -> bool + Send + Sync + 'static) -> bool {
        let profile = Arc::clone(&self.profile);
        let steps =
            Steps::new(move |_| if dead(&profile) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
        let Some(mut agent) = self.agent(|settings| settings.steps = steps).await else { return false };
        // A task that died tells nobody why, as a killed process would not.
        let lived = agent.poll_once().await.is_ok();
        agent.close().await;
        lived
    }

    /// Publishes a version that is run; what it is does not depend on its name.
    pub(crate) async fn publish(&mut self, version: &str) -> Target {
        self.publish_with(version, |_| {}).await
    }

    /// The same, run by the other stand-in.
    pub(crate) async fn publish_other(&mut self, version: &str) -> Target {
        let other = |manifest: &mut Manifest| {
            manifest.profile = run_spec::Profile::Supervisor(ProcessSpec::main(run()));
        };
        self.publish_with(version, other).await
    }

    pub(crate) async fn publish_with(&mut self, version: &str, change: impl FnOnce(&mut Manifest)) -> Target {
        let files: &[(&str, &[u8])] = &[("version", version.as_bytes())];
        let mut manifest = self.bench.manifest("app", version, files);
        manifest.profile = run_spec::Profile::Process(ProcessSpec::main(run()));
        change(&mut manifest);
        manifest.requires = manifest.features();
        manifest.content_sha256 = content_sha256(&manifest);
        let target = self.bench.upload(&manifest, files).await;
        self.bench.ask("app", Action::Deploy(target.clone())).await;
        target
    }
}

pub(crate) fn run() -> RunSpec {
    RunSpec {
        command: vec!["./run".to_owned()],
        env: Default::default(),
        user: None,
        group: None,
        working_dir: None,
        restart: Restart::default(),
        stop: Stop::default(),
    }
}
