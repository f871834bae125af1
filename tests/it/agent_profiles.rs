//! What an agent does with profiles that run something: starts, failures, going back, changing from one to another.
//! The profile here is a stand-in that keeps a list of what it was asked; the agent's side of it is real.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use fleetman::agent::{Agent, Observed, Placement, Profile, ProfileError, Profiles, Start, Work};
use fleetman::clock::SystemClock;
use fleetman::model::content::content_sha256;
use fleetman::model::heartbeat::{CellReport, Phase, RunningState};
use fleetman::model::outcome::Ending;
use fleetman::model::process::ProcessSpec;
use fleetman::model::run_spec::{self, Restart, RunSpec, Stop};
use fleetman::model::trigger::{Action, Target, TriggerOptions};
use fleetman::model::{CellName, Code};

use crate::support::node::{Bench, of};

/// Runs nothing, and remembers what it was asked.
#[derive(Debug, Default)]
struct StandIn {
    folder: PathBuf,
    asked: Mutex<Vec<String>>,
    /// Versions that do not come up.
    broken: Mutex<BTreeSet<String>>,
    running: Mutex<Option<String>>,
}

impl StandIn {
    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn breaks(&self, version: &str) {
        self.broken.lock().unwrap().insert(version.to_owned());
    }
}

impl Profile for StandIn {
    fn name(&self) -> &'static str {
        "process"
    }

    fn placement(&self, cell: &CellName) -> Placement {
        Placement {
            folder: self.folder.join(cell.as_str()),
            link: "current".to_owned(),
            releases: vec!["releases".to_owned()],
        }
    }

    fn activate<'a>(&'a self, start: Start<'a>) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(async move {
            let version = start.manifest.version.to_string();
            let file = std::fs::read_to_string(self.folder.join(start.cell.as_str()).join("current/version")).unwrap();
            assert_eq!(file, version, "the link points at what is to be brought up");
            assert!(start.release.join("version").exists() && start.data.is_dir());
            self.note(format!("activate {version}"));
            if self.broken.lock().unwrap().contains(&version) {
                *self.running.lock().unwrap() = None;
                return Err(ProfileError::Version(format!("version {version} exits with 1")));
            }
            *self.running.lock().unwrap() = Some(version);
            Ok(())
        })
    }

    fn stop<'a>(&'a self, _cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        self.note("stop".to_owned());
        *self.running.lock().unwrap() = None;
        Box::pin(std::future::ready(Ok(())))
    }

    fn remove<'a>(&'a self, _cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        self.note("remove".to_owned());
        Box::pin(std::future::ready(Ok(())))
    }

    fn state<'a>(&'a self, _cell: &'a CellName) -> Work<'a, Observed> {
        let running = self.running.lock().unwrap().is_some();
        let state = RunningState::Running { pid: Some(1), since: None, restarts: 0 };
        Box::pin(std::future::ready(Observed::from(if running { state } else { RunningState::Stopped })))
    }

    fn cells(&self) -> std::io::Result<Vec<CellName>> {
        Ok(Vec::new())
    }
}

struct Node {
    bench: Bench,
    profile: Arc<StandIn>,
}

impl Node {
    async fn start() -> Self {
        let bench = Bench::start().await;
        let folder = bench.home.path().join("run");
        Self { profile: Arc::new(StandIn { folder, ..StandIn::default() }), bench }
    }

    async fn once(&self) -> CellReport {
        let mut settings = self.bench.settings().await;
        let mut profiles: Vec<Arc<dyn Profile>> = self.bench.profiles().iter().cloned().collect();
        profiles.push(Arc::clone(&self.profile) as Arc<dyn Profile>);
        settings.profiles = Profiles::new(profiles);
        let mut agent = Agent::open(settings, SystemClock::shared()).await.unwrap();
        let report = of(&agent.poll_once().await.unwrap(), "app");
        agent.close().await;
        report
    }

    /// Publishes a version that is run; what it is does not depend on its name.
    async fn publish(&mut self, version: &str) -> Target {
        let files: &[(&str, &[u8])] = &[("version", version.as_bytes())];
        let mut manifest = self.bench.manifest("app", version, files);
        manifest.profile = run_spec::Profile::Process(ProcessSpec::main(RunSpec {
            command: vec!["./run".to_owned()],
            env: Default::default(),
            user: None,
            group: None,
            working_dir: None,
            restart: Restart::default(),
            stop: Stop::default(),
        }));
        manifest.content_sha256 = content_sha256(&manifest);
        let target = self.bench.upload(&manifest, files).await;
        self.bench.ask("app", Action::Deploy(target.clone())).await;
        target
    }
}

#[tokio::test]
async fn a_version_that_does_not_come_up_is_rolled_back_once_and_not_tried_again() {
    let mut node = Node::start().await;
    node.publish("1").await;
    let report = node.once().await;
    assert_eq!(report.phase, Phase::UpToDate, "{report:#?}");
    assert!(matches!(report.state, RunningState::Running { .. }));

    node.profile.breaks("2");
    let bad = node.publish("2").await;
    node.profile.asked();
    let report = node.once().await;
    assert_eq!(node.profile.asked(), ["activate 2", "activate 1"], "nothing is stopped before the new one failed");
    assert_eq!((report.phase, report.last_error.as_ref().unwrap().code), (Phase::RolledBack, Code::ActivationFailed));
    assert_eq!(report.running.as_ref().unwrap().version.as_str(), "1");
    assert_eq!(report.failed_content, [bad.content_sha256]);
    assert!(report.applied < report.seen);
    let outcome = node.bench.outcomes("app").await.pop().unwrap();
    assert_eq!((outcome.outcome, outcome.code), (Ending::RolledBack, Some(Code::ActivationFailed)));
    assert_eq!(outcome.running_after, outcome.known_good_after);

    assert_eq!(node.once().await.phase, Phase::RolledBack);
    assert_eq!(node.profile.asked(), [""; 0], "nothing flaps");

    // The same content, asked for again: not without `retry`.
    node.bench.ask("app", Action::Deploy(bad.clone())).await;
    let report = node.once().await;
    assert_eq!(report.waiting.unwrap().reason, Code::FailedBefore);
    assert_eq!(node.profile.asked(), [""; 0]);
    node.profile.broken.lock().unwrap().clear();
    let options = TriggerOptions { retry: true, ..TriggerOptions::default() };
    let trigger = node.bench.trigger_with("app", Action::Deploy(bad), options);
    node.bench.place(&trigger).await;
    let report = node.once().await;
    assert_eq!((report.phase, report.failed_content), (Phase::UpToDate, vec![]));
}

#[tokio::test]
async fn a_first_version_that_does_not_come_up_has_nothing_to_go_back_to() {
    let mut node = Node::start().await;
    node.profile.breaks("1");
    node.publish("1").await;
    let report = node.once().await;
    assert_eq!((report.phase, report.known_good), (Phase::Failed, None));
    assert_eq!(report.conditions[0].code, Code::NeedsOperator);
    assert_eq!(node.bench.outcomes("app").await[0].outcome, Ending::Failed);
    node.publish("2").await;
    assert_eq!(node.once().await.phase, Phase::UpToDate);
}

#[tokio::test]
async fn a_known_good_release_that_was_damaged_is_not_gone_back_to() {
    let mut node = Node::start().await;
    node.publish("1").await;
    node.once().await;
    std::fs::write(node.profile.folder.join("app/current/version"), "hacked").unwrap();
    node.profile.breaks("2");
    node.publish("2").await;
    node.profile.asked();
    let report = node.once().await;
    assert_eq!(node.profile.asked(), ["activate 2"]);
    assert_eq!(report.phase, Phase::Failed, "{report:#?}");
    assert_eq!(report.conditions[0].code, Code::NeedsOperator);
}

#[tokio::test]
async fn a_rollback_target_that_fails_as_well_ends_the_matter() {
    let mut node = Node::start().await;
    node.publish("1").await;
    node.once().await;
    node.profile.breaks("1");
    node.profile.breaks("2");
    node.publish("2").await;
    node.profile.asked();
    let report = node.once().await;
    assert_eq!(node.profile.asked(), ["activate 2", "activate 1"]);
    assert_eq!((report.phase, report.conditions[0].code), (Phase::Failed, Code::NeedsOperator), "{report:#?}");
    node.once().await;
    assert_eq!(node.profile.asked(), [""; 0]);
}

#[tokio::test]
async fn a_cell_that_changes_its_profile_is_never_under_both() {
    let mut node = Node::start().await;
    node.publish("1").await;
    node.once().await;
    node.profile.asked();

    let files: &[(&str, &[u8])] = &[("index.html", b"static now")];
    node.bench.publish("app", "2", files).await;
    let report = node.once().await;
    assert_eq!((report.phase, report.profile.as_deref()), (Phase::UpToDate, Some("deploy")), "{report:#?}");
    assert_eq!(node.profile.asked(), ["stop", "stop", "remove"], "stopped before the switch, then cleared");
    assert!(!node.profile.folder.join("app/current").exists());
    assert!(!node.profile.folder.join("app/releases").exists());

    node.publish("3").await;
    let report = node.once().await;
    assert_eq!((report.phase, report.profile.as_deref()), (Phase::UpToDate, Some("process")));
    assert_eq!(node.bench.deployed("app"), None);
    assert!(node.bench.releases("app").is_empty());
}

#[tokio::test]
async fn a_redeploy_restarts_a_stop_stops_and_a_remove_removes() {
    let mut node = Node::start().await;
    let target = node.publish("1").await;
    node.once().await;
    node.bench.ask("app", Action::Deploy(target.clone())).await;
    node.once().await;
    assert_eq!(node.profile.asked(), ["activate 1", "activate 1"]);
    node.bench.ask("app", Action::Stop).await;
    let report = node.once().await;
    assert_eq!((report.phase, report.state), (Phase::Stopped, RunningState::Stopped));
    assert_eq!(node.profile.asked(), ["stop"]);
    node.bench.ask("app", Action::Remove).await;
    assert_eq!(node.once().await.phase, Phase::Removed);
    assert_eq!(node.profile.asked(), ["stop", "remove"]);
    node.bench.ask("app", Action::Deploy(target)).await;
    assert_eq!(node.once().await.phase, Phase::UpToDate);
}
