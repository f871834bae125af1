//! What is on a node is changed by hand: what an agent makes of it, and what it puts back.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleetman::agent::{Agent, AgentSettings, Steps};
use fleetman::clock::SystemClock;
use fleetman::model::content::content_sha256;
use fleetman::model::drift::{Deviation, DriftMode, DriftReport, DriftSpec, DriftState};
use fleetman::model::heartbeat::{CellReport, Phase, RunningState};
use fleetman::model::manifest::{Manifest, Mode};
use fleetman::model::process::ProcessSpec;
use fleetman::model::run_spec::Profile;
use fleetman::model::trigger::{Action, Target};
use fleetman::model::{CellName, Code, ObjectKey, VersionName};

use crate::support::node::{Bench, File, files, of};
use crate::support::running::Running;
use crate::support::stand_in::run;
use crate::support::wait_for;
use crate::support::walk::{Life, walk};

const FILES: &[File<'static>] = &[("bin/run", b"#!/bin/sh\n"), ("conf.yaml", b"port: 80\n"), ("empty", b"")];

/// Puts a version of `web` into the bucket that wants this done about drift, and asks for it.
async fn publish(bench: &mut Bench, version: &str, drift: DriftSpec) -> Target {
    let mut manifest: Manifest = bench.manifest("web", version, FILES);
    manifest.drift = drift;
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    let target = bench.upload(&manifest, FILES).await;
    bench.ask("web", Action::Deploy(target.clone())).await;
    target
}

fn repair() -> DriftSpec {
    DriftSpec { mode: Some(DriftMode::Repair), ..DriftSpec::default() }
}

/// Looks again and again without waiting for long.
fn often(settings: &mut AgentSettings) {
    settings.drift.interval = Duration::from_millis(20);
    settings.drift.repairs_per_hour = 60;
}

/// A node on which such a version of `web` is deployed, and an agent that looks at it.
async fn deployed(drift: DriftSpec) -> (Bench, Running) {
    let mut bench = Bench::start().await;
    publish(&mut bench, "1", drift).await;
    let agent = Running::start(&bench, often).await;
    wait_for_drift(&bench, "the first look", |drift| drift.state == DriftState::InSync).await;
    (bench, agent)
}

async fn report(bench: &Bench) -> Option<CellReport> {
    let name = CellName::new("web").unwrap();
    bench.heartbeat().await.filter(|beat| beat.cells.contains_key(&name)).map(|beat| of(&beat, "web"))
}

/// Waits until the heartbeat says something of the cell's drift.
async fn wait_for_drift(bench: &Bench, what: &str, is: impl Fn(&DriftReport) -> bool) -> DriftReport {
    let drift = async || report(bench).await.and_then(|report| report.drift).map(|drift| *drift);
    wait_for(async || drift().await.is_some_and(|drift| is(&drift)), what).await;
    drift().await.unwrap()
}

async fn wait_for_finding(bench: &Bench, code: Deviation, path: &str) -> DriftReport {
    let is = |drift: &DriftReport| {
        drift.findings.iter().any(|finding| (finding.code, finding.path.as_str()) == (code, path))
    };
    wait_for_drift(bench, &format!("{} {path}", code.as_str()), is).await
}

fn place(bench: &Bench, path: &str) -> PathBuf {
    bench.target().join("web").join(path)
}

#[tokio::test]
async fn what_is_changed_is_reported_and_left_as_it_is() {
    let (bench, agent) = deployed(DriftSpec::default()).await;
    fs::write(place(&bench, "conf.yaml"), "port: 81\n").unwrap();
    let told = wait_for_finding(&bench, Deviation::Changed, "conf.yaml").await;
    assert_eq!((told.state, told.repairs.len(), told.more), (DriftState::Drifted, 0, 0));
    fs::set_permissions(place(&bench, "bin/run"), Permissions::from_mode(0o666)).unwrap();
    wait_for_finding(&bench, Deviation::ModeChanged, "bin/run").await;
    fs::remove_file(place(&bench, "empty")).unwrap();
    let all = wait_for_finding(&bench, Deviation::Missing, "empty").await;
    assert_eq!(all.findings[1].since, told.findings[0].since, "{all:?}");
    let report = report(&bench).await.unwrap();
    assert_eq!(report.phase, Phase::UpToDate, "it is what it is to be, and drifted");
    let drifted = report.conditions.iter().find(|condition| condition.code == Code::Drifted).unwrap();
    assert_eq!(drifted.message, "mode changed bin/run, changed conf.yaml, missing empty");
    assert_eq!(fs::read(place(&bench, "conf.yaml")).unwrap(), b"port: 81\n");
    // Whoever mends it by hand is believed.
    fs::write(place(&bench, "conf.yaml"), "port: 80\n").unwrap();
    fs::set_permissions(place(&bench, "bin/run"), Permissions::from_mode(0o644)).unwrap();
    fs::write(place(&bench, "empty"), "").unwrap();
    fs::set_permissions(place(&bench, "empty"), Permissions::from_mode(0o644)).unwrap();
    let whole = wait_for_drift(&bench, "all to be well", |drift| drift.state == DriftState::InSync).await;
    assert_eq!((whole.findings, whole.problem), (vec![], None));
    agent.end().await;
}

#[tokio::test]
async fn what_is_changed_is_put_back_and_what_is_extra_stays() {
    let (bench, agent) = deployed(repair()).await;
    let before = fs::metadata(place(&bench, "bin/run")).unwrap().ino();
    let opened = fs::File::open(place(&bench, "bin/run")).unwrap();
    fs::write(place(&bench, "bin/run"), "#!/bin/evil\n").unwrap();
    fs::write(place(&bench, "bin/extra"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(place(&bench, "bin/extra"), Permissions::from_mode(0o755)).unwrap();
    let is = |drift: &DriftReport| {
        let left: Vec<_> = drift.findings.iter().map(|finding| finding.code).collect();
        left == [Deviation::ExtraExecutable] && !drift.repairs.is_empty()
    };
    let told = wait_for_drift(&bench, "the file to be put back", is).await;
    assert_eq!((told.findings[0].path.as_str(), told.repairs[0].path.as_str()), ("bin/extra", "bin/run"));
    assert_eq!(fs::read(place(&bench, "bin/run")).unwrap(), FILES[0].1);
    // Whoever has the old one open keeps it.
    assert_eq!(opened.metadata().unwrap().ino(), before);
    assert_ne!(fs::metadata(place(&bench, "bin/run")).unwrap().ino(), before);
    assert!(place(&bench, "bin/extra").exists());
    fs::remove_file(place(&bench, "bin/extra")).unwrap();
    wait_for_drift(&bench, "all to be well", |drift| drift.state == DriftState::InSync).await;
    assert_eq!(bench.deployed("web"), files(FILES));
    assert_eq!(bench.releases("web").len(), 1, "nothing is left beside the release");
    agent.end().await;
}

#[tokio::test]
async fn whatever_stands_in_the_place_of_a_file_is_replaced_but_for_a_folder() {
    let (bench, agent) = deployed(repair()).await;
    let run = place(&bench, "bin/run");
    let is_whole = || fs::read(&run).is_ok_and(|bytes| bytes == FILES[0].1);
    for (repaired, replace) in [
        (1, (|path| symlink("/etc/passwd", path).unwrap()) as fn(&PathBuf)),
        (2, |path| {
            let mode = rustix::fs::Mode::from_raw_mode(0o644);
            rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).unwrap();
        }),
    ] {
        fs::remove_file(&run).unwrap();
        replace(&run);
        let is = |drift: &DriftReport| drift.repairs.len() == repaired && drift.state == DriftState::InSync;
        wait_for_drift(&bench, "the file to be put back", is).await;
        assert!(is_whole() && fs::symlink_metadata(&run).unwrap().is_file());
    }
    fs::remove_file(&run).unwrap();
    fs::create_dir(&run).unwrap();
    fs::write(run.join("of somebody"), "x").unwrap();
    let is = |drift: &DriftReport| drift.problem.as_ref().is_some_and(|problem| problem.code == Code::RepairFailed);
    let told = wait_for_drift(&bench, "the folder to be told of", is).await;
    assert_eq!(told.findings[0].code, Deviation::NotAFile);
    assert_eq!(fs::read(run.join("of somebody")).unwrap(), b"x");
    fs::remove_dir_all(place(&bench, "bin")).unwrap();
    wait_for_drift(&bench, "all to be well", |drift| drift.state == DriftState::InSync).await;
    assert!(is_whole());
    agent.end().await;
}

#[tokio::test]
async fn what_is_nowhere_on_the_node_comes_from_the_bucket_and_is_verified() {
    let mut bench = Bench::start().await;
    let target = publish(&mut bench, "1", repair()).await;
    let agent = Running::start(&bench, often).await;
    wait_for_drift(&bench, "the first look", |drift| drift.state == DriftState::InSync).await;
    let id = bench.cell_id("web");
    let content16 = target.content_sha256.content16();
    let key = |path: &str| {
        let path = fleetman::model::FilePath::new(path).unwrap();
        ObjectKey::VersionFile(id.clone(), VersionName::new("1").unwrap(), content16, path)
    };
    bench.put(&key("bin/run"), "#!/bin/no\n").await;
    for path in ["bin/run", "conf.yaml"] {
        fs::write(place(&bench, path), "x").unwrap();
    }
    let is = |drift: &DriftReport| drift.problem.as_ref().is_some_and(|problem| problem.code == Code::RepairFailed);
    let told = wait_for_drift(&bench, "the other bytes to be refused", is).await;
    assert_eq!((told.findings.len(), told.findings[0].path.as_str()), (1, "bin/run"), "{told:?}");
    assert_eq!(told.repairs.iter().map(|repair| repair.path.as_str()).collect::<Vec<_>>(), ["conf.yaml"]);
    assert_eq!(fs::read(place(&bench, "bin/run")).unwrap(), b"x", "no byte that was not verified takes its place");
    bench.put(&key("bin/run"), FILES[0].1).await;
    wait_for_drift(&bench, "all to be well", |drift| drift.state == DriftState::InSync).await;
    assert_eq!(bench.deployed("web"), files(FILES));
    agent.end().await;
}

#[tokio::test]
async fn what_drifts_again_and_again_is_left_alone_also_by_the_next_agent() {
    let drift = DriftSpec { repairs_per_hour: Some(2), ..repair() };
    let (bench, agent) = deployed(drift).await;
    let spoil = || fs::write(place(&bench, "conf.yaml"), "mine\n").unwrap();
    for repairs in [1, 2] {
        spoil();
        let is = |drift: &DriftReport| drift.repairs.len() == repairs && drift.state == DriftState::InSync;
        wait_for_drift(&bench, "the file to be put back", is).await;
    }
    spoil();
    let is_exhausted = |drift: &DriftReport| {
        let is = drift.problem.as_ref().is_some_and(|problem| problem.code == Code::RepairsExhausted);
        is && drift.state == DriftState::Drifted && drift.repairs.len() == 2
    };
    wait_for_drift(&bench, "it to give in", is_exhausted).await;
    agent.end().await;
    let agent = Running::start(&bench, often).await;
    let looked = report(&bench).await.unwrap().drift.unwrap().checked_at;
    wait_for_drift(&bench, "the next agent to look", |drift| drift.checked_at > looked && is_exhausted(drift)).await;
    assert_eq!(fs::read(place(&bench, "conf.yaml")).unwrap(), b"mine\n");
    let conditions = report(&bench).await.unwrap().conditions;
    assert!(conditions.iter().any(|condition| condition.code == Code::RepairsExhausted), "{conditions:?}");
    agent.end().await;
}

#[tokio::test]
async fn what_runs_goes_on_while_its_files_are_put_back() {
    const RUN: &[File<'static>] = &[("run", b"#!/bin/sh\nexec sleep 100000\n")];
    let mut bench = Bench::start().await;
    let mut manifest = bench.manifest("web", "1", RUN);
    manifest.profile = Profile::Process(ProcessSpec::main(run()));
    manifest.health.min_healthy_ms = 50;
    manifest.files[0].mode = Mode::EXECUTE;
    manifest.drift = repair();
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    let target = bench.upload(&manifest, RUN).await;
    bench.ask("web", Action::Deploy(target)).await;
    let profiles = bench.profiles_with_process();
    let agent = Running::start(&bench, |settings| {
        often(settings);
        settings.profiles = profiles.clone();
    })
    .await;
    wait_for_drift(&bench, "the first look", |drift| drift.state == DriftState::InSync).await;
    let before = report(&bench).await.unwrap().state;
    assert!(matches!(before, RunningState::Running { pid: Some(_), restarts: 0, .. }), "{before:?}");
    let program = bench.processes().join("web/current/run");
    fs::remove_file(&program).unwrap();
    let is = |drift: &DriftReport| drift.repairs.len() == 1 && drift.state == DriftState::InSync;
    wait_for_drift(&bench, "the program to be put back", is).await;
    assert_eq!(report(&bench).await.unwrap().state, before, "it was not restarted");
    assert_eq!(fs::metadata(&program).unwrap().mode() & 0o777, 0o755);
    agent.end().await;
    profiles.close().await;
}

#[tokio::test]
async fn an_agent_that_is_killed_while_it_puts_back_leaves_whole_files_and_the_next_one_finishes() {
    walk(async |survive| {
        let (bench, agent) = deployed(repair()).await;
        agent.end().await;
        fs::write(place(&bench, "bin/run"), "mine").unwrap();
        fs::remove_file(place(&bench, "conf.yaml")).unwrap();
        let (life, is_dead) = (Life::of(survive), Arc::new(AtomicBool::new(false)));
        let mut settings = bench.settings().await;
        often(&mut settings);
        let died = Arc::clone(&is_dead);
        settings.steps = Steps::new(move |_| {
            let flow = life.step();
            died.fetch_or(flow.is_break(), Ordering::SeqCst);
            flow
        });
        if let Ok(agent) = Agent::open(settings, SystemClock::shared()).await {
            let is_over = async || is_dead.load(Ordering::SeqCst) || is_repaired(&bench).await;
            // One that was killed ends with an error, or by being dropped.
            let _ = agent.run(wait_for(is_over, "the agent to die or to be done")).await;
        }
        let run = fs::read(place(&bench, "bin/run")).unwrap();
        assert!(run == b"mine" || run == FILES[0].1, "after {survive} steps: {run:?}");
        let conf = fs::read(place(&bench, "conf.yaml")).ok();
        assert!(conf.is_none() || conf.as_deref() == Some(FILES[1].1), "after {survive} steps: {conf:?}");
        let lived = !is_dead.load(Ordering::SeqCst);
        let agent = Running::start(&bench, often).await;
        wait_for(async || is_repaired(&bench).await, "the next agent to finish").await;
        agent.end().await;
        assert_eq!(bench.deployed("web"), files(FILES), "after {survive} steps");
        assert_eq!(bench.releases("web").len(), 1, "after {survive} steps");
        lived
    })
    .await;
}

/// Whether all was looked at and is well, after something was put back.
async fn is_repaired(bench: &Bench) -> bool {
    let drift = report(bench).await.and_then(|report| report.drift);
    drift.is_some_and(|drift| drift.state == DriftState::InSync && !drift.repairs.is_empty())
}

#[tokio::test]
async fn a_newer_version_is_deployed_over_what_drifted_and_off_is_not_looked_at() {
    let (mut bench, agent) = deployed(DriftSpec::default()).await;
    fs::write(place(&bench, "conf.yaml"), "x").unwrap();
    wait_for_finding(&bench, Deviation::Changed, "conf.yaml").await;
    publish(&mut bench, "2", DriftSpec { mode: Some(DriftMode::Off), ..DriftSpec::default() }).await;
    let is = async || {
        let report = report(&bench).await.unwrap();
        let runs = report.running.is_some_and(|running| running.version.as_str() == "2");
        runs && report.drift.is_none() && report.conditions.is_empty()
    };
    wait_for(is, "version 2 to be nobody's to look at").await;
    assert_eq!(bench.deployed("web"), files(FILES));
    agent.end().await;
}
