//! Versions that take each other's place without a restart: real agents, supervisors and programs.

use std::collections::BTreeMap;

use fleetman::model::content::content_sha256;
use fleetman::model::health::{Check, ExecCheck, Health};
use fleetman::model::heartbeat::{CellReport, Phase, RunningState};
use fleetman::model::hook::{Hook, HookEvent};
use fleetman::model::manifest::Manifest;
use fleetman::model::process::{Process, ProcessSpec};
use fleetman::model::run_spec::{EnvValue, Profile, Restart, RestartPolicy, RunSpec, Stop, StopSignal};
use fleetman::model::strategy::{Sharing, StartStop, Strategy};
use fleetman::model::trigger::Action;
use fleetman::supervise::detached::Client;

use crate::support::node::{Bench, of};
use crate::support::running::Running;
use crate::support::wait_for;

/// Reads its file when it starts and whenever it is told to, says what it has read, and cannot bear everything.
const APP: &str = r#"
    read_it() {
        said=$(cat "$FLEETMAN_CURRENT_DIR/conf/app")
        test "$said" != deadly || exit 3
        echo "$said" > "$FLEETMAN_DATA_DIR/says"
    }
    trap read_it HUP
    read_it
    while :; do sleep 0.02; done
"#;

/// A node with one cell, whose versions have a file for each of what may change.
struct Node {
    bench: Bench,
    generation: u64,
}

impl Node {
    async fn start() -> Self {
        Self { bench: Bench::start().await, generation: 0 }
    }

    async fn agent(&self) -> Running {
        Running::start(&self.bench, |settings| {
            settings.profiles = self.bench.profiles_with_process();
            settings.keep_versions = 0;
        })
        .await
    }

    /// Publishes a version with this in its files; its log's name.
    async fn publish(&mut self, version: &str, [bin, conf, www]: [&str; 3], change: impl FnOnce(&mut Manifest)) {
        let files: &[(&str, &[u8])] =
            &[("bin/app", bin.as_bytes()), ("conf/app", conf.as_bytes()), ("www/a", www.as_bytes())];
        let mut manifest = self.bench.manifest("web", version, files);
        manifest.profile = profile(APP);
        let fine = "! grep -q sick \"$FLEETMAN_DATA_DIR/says\"".to_owned();
        let command = ["/bin/sh".to_owned(), "-c".to_owned(), fine].into();
        manifest.health = Health {
            min_healthy_ms: 150,
            deadline_ms: 2_000,
            interval_ms: 100,
            checks: [("fine".parse().unwrap(), Check::Exec(ExecCheck { command }))].into(),
            ..Health::default()
        };
        manifest.reload_if = vec!["conf/**".parse().unwrap()];
        manifest.restart_if = vec!["bin/**".parse().unwrap()];
        change(&mut manifest);
        manifest.requires = manifest.features();
        manifest.content_sha256 = content_sha256(&manifest);
        let target = self.bench.upload(&manifest, files).await;
        self.bench.ask("web", Action::Deploy(target)).await;
        self.generation += 1;
    }

    async fn settles(&self, version: &str, phase: Phase) -> CellReport {
        let settled = async || {
            let beat = self.bench.heartbeat().await;
            beat.and_then(|beat| beat.cells.get(&"web".parse().unwrap()).cloned()).is_some_and(|report| {
                report.phase == phase
                    && report.seen.is_some_and(|seen| seen.generation.get() == self.generation)
                    && report.running.as_ref().is_some_and(|running| running.version.as_str() == version)
                    && matches!(report.state, RunningState::Running { pid: Some(_), .. })
            })
        };
        wait_for(settled, &format!("version {version} to be {phase:?}")).await;
        of(&self.bench.heartbeat().await.unwrap(), "web")
    }

    /// Waits until a version is good; its process.
    async fn is_up(&self, version: &str) -> u32 {
        pid(&self.settles(version, Phase::UpToDate).await)
    }

    /// What the program has read last.
    fn says(&self) -> String {
        let path = self.bench.state_folder().join("data/web/says");
        std::fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// What the log of the newest attempt says.
    async fn log(&self) -> String {
        let there = async || self.bench.outcomes("web").await.len() as u64 >= self.generation;
        wait_for(there, "the outcome").await;
        self.bench.log("web", self.generation, 1).await
    }
}

fn profile(line: &str) -> Profile {
    let run = RunSpec {
        command: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        env: BTreeMap::from([("PATH".to_owned(), EnvValue::Text("/usr/bin:/bin".to_owned()))]),
        user: None,
        group: None,
        working_dir: None,
        restart: Restart { policy: RestartPolicy::OnFailure, delay_ms: 10, ..Restart::default() },
        stop: Stop { timeout_ms: 2_000, ..Stop::default() },
    };
    let main = Process { reload_signal: Some(StopSignal::Hup), ..Process::service(run) };
    Profile::Process(ProcessSpec { user: None, group: None, processes: [("main".parse().unwrap(), main)].into() })
}

fn pid(report: &CellReport) -> u32 {
    match report.state {
        RunningState::Running { pid: Some(pid), .. } => pid,
        ref other => panic!("{other:?}"),
    }
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// The release that a process was started from.
fn started_from(pid: u32) -> String {
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    cwd.file_name().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_changed_decides_whether_it_is_restarted_reloaded_or_left_alone() {
    let mut node = Node::start().await;
    let agent = node.agent().await;
    node.publish("1", ["1", "one", "1"], |_| {}).await;
    let first = node.is_up("1").await;
    assert_eq!(node.says(), "one");

    node.publish("2", ["1", "two", "1"], |_| {}).await;
    assert_eq!((node.is_up("2").await, node.says().as_str()), (first, "two"));
    let log = node.log().await;
    assert!(log.contains("reloaded because only conf/app changed"), "{log}");
    assert!(log.contains("succeeded"), "{log}");

    node.publish("3", ["1", "two", "2"], |_| {}).await;
    assert_eq!(node.is_up("3").await, first);
    let log = node.log().await;
    assert!(log.contains("what runs goes on: nothing changed that it is reloaded or restarted for"), "{log}");
    // What it was started from is still there, though nothing else of it is kept.
    assert!(started_from(first).starts_with("1-"), "{}", started_from(first));

    node.publish("4", ["2", "four", "2"], |_| {}).await;
    let second = node.is_up("4").await;
    assert_ne!(second, first);
    assert_eq!(node.says(), "four");
    let log = node.log().await;
    assert!(log.contains("restarted because bin/app changed"), "{log}");
    assert!(started_from(second).starts_with("4-"));

    node.publish("5", ["2", "four", "2"], |manifest| manifest.profile = profile(&format!("{APP} # other"))).await;
    let third = node.is_up("5").await;
    assert_ne!(third, second);
    let log = node.log().await;
    assert!(log.contains("restarted because it is run otherwise than before"), "{log}");
    agent.end().await;
}

#[tokio::test]
async fn whatever_restarts_it_later_starts_the_newest_version() {
    let mut node = Node::start().await;
    let agent = node.agent().await;
    node.publish("1", ["1", "one", "1"], |_| {}).await;
    let first = node.is_up("1").await;
    node.publish("2", ["1", "two", "1"], |_| {}).await;
    assert_eq!(node.is_up("2").await, first);
    agent.end().await;

    // The supervisor's end is no reason to end what goes on.
    let supervisor = Client::connect(&node.bench.processes(), "web").await.unwrap().status().await.unwrap().pid;
    kill(supervisor);
    let agent = node.agent().await;
    let other = async || match Client::connect(&node.bench.processes(), "web").await {
        Ok(mut client) => client.status().await.is_ok_and(|report| report.pid != supervisor),
        Err(_) => false,
    };
    wait_for(other, "another supervisor").await;
    assert_eq!(node.is_up("2").await, first);

    kill(first);
    let restarted = async || {
        let beat = node.bench.heartbeat().await.unwrap();
        matches!(of(&beat, "web").state, RunningState::Running { pid: Some(pid), .. } if pid != first)
    };
    wait_for(restarted, "the process to be restarted").await;
    let second = node.is_up("2").await;
    assert!(started_from(second).starts_with("2-"), "{}", started_from(second));
    agent.end().await;
}

#[tokio::test]
async fn what_does_not_bear_its_new_files_is_reloaded_back_or_restarted_if_it_died_of_them() {
    let mut node = Node::start().await;
    let agent = node.agent().await;
    node.publish("1", ["1", "one", "1"], |_| {}).await;
    let first = node.is_up("1").await;

    node.publish("2", ["1", "sick", "1"], |_| {}).await;
    assert_eq!(pid(&node.settles("1", Phase::RolledBack).await), first);
    wait_for(async || node.says() == "one", "the file of before to be read again").await;
    let log = node.log().await;
    assert!(log.matches("reloaded because only conf/app changed").count() == 2, "{log}");
    assert!(log.contains("check fine fails"), "{log}");
    assert!(log.contains("rolled back: unhealthy: "), "{log}");

    node.publish("3", ["1", "deadly", "1"], |_| {}).await;
    let report = node.settles("1", Phase::RolledBack).await;
    assert_ne!(pid(&report), first);
    assert_eq!((node.says().as_str(), started_from(pid(&report)).starts_with("1-")), ("one", true));
    agent.end().await;
}

#[tokio::test]
async fn a_reload_is_watched_for_as_long_as_a_start_is() {
    let mut node = Node::start().await;
    let agent = node.agent().await;
    node.publish("1", ["1", "one", "1"], |_| {}).await;
    let first = node.is_up("1").await;
    // It has run for longer than this by now, but not as this version.
    node.publish("2", ["1", "two", "1"], |manifest| {
        manifest.health.min_healthy_ms = 3_600_000;
        manifest.health.deadline_ms = 7_200_000;
    })
    .await;
    let watched = async || {
        let report = of(&node.bench.heartbeat().await.unwrap(), "web");
        report.phase == Phase::Checking && node.says() == "two"
    };
    wait_for(watched, "the second version to be watched").await;
    // Whatever takes its place goes on with the same process.
    node.publish("3", ["1", "three", "1"], |_| {}).await;
    assert_eq!((node.is_up("3").await, node.says().as_str()), (first, "three"));
    agent.end().await;
}

#[tokio::test]
async fn the_strategy_reload_restarts_nothing_and_tells_nobody_to_stop() {
    let mut node = Node::start().await;
    let agent = node.agent().await;
    let only = |manifest: &mut Manifest| {
        (manifest.reload_if, manifest.restart_if) = (Vec::new(), Vec::new());
        manifest.strategy = Strategy::Reload;
        let touch = "touch \"$FLEETMAN_DATA_DIR/stopped\"".to_owned();
        let stop = Hook {
            command: ["/bin/sh".to_owned(), "-c".to_owned(), touch].into(),
            timeout_ms: Hook::USUAL_TIMEOUT_MS,
            retry_for_ms: Hook::USUAL_RETRY_MS,
            if_changed: Vec::new(),
            ignore_failure: false,
            user: None,
        };
        manifest.hooks.insert(HookEvent::Stop, stop);
    };
    node.publish("1", ["1", "one", "1"], only).await;
    let first = node.is_up("1").await;
    node.publish("2", ["2", "two", "2"], only).await;
    assert_eq!((node.is_up("2").await, node.says().as_str()), (first, "two"));
    let log = node.log().await;
    assert!(log.contains("reloaded because only bin/app, conf/app and www/a changed"), "{log}");
    let stopped = node.bench.state_folder().join("data/web/stopped");
    assert!(!stopped.exists(), "what goes on was told to stop");
    node.publish("3", ["3", "two", "2"], |_| {}).await;
    assert_ne!(node.is_up("3").await, first, "the strategy of the newer version counts");
    agent.end().await;
}

#[tokio::test]
async fn one_of_two_that_take_turns_is_reloaded_as_it_is() {
    let mut node = Node::start().await;
    let agent = node.agent().await;
    let shares = |manifest: &mut Manifest| {
        let sockets = BTreeMap::new();
        manifest.strategy = Strategy::StartStop(StartStop { sockets, shares: Some(Sharing::SecondPort) });
    };
    node.publish("1", ["1", "one", "1"], shares).await;
    let first = node.is_up("1").await;
    node.publish("2", ["2", "one", "1"], shares).await;
    let second = node.is_up("2").await;
    assert_ne!(second, first);
    node.publish("3", ["2", "three", "1"], shares).await;
    assert_eq!((node.is_up("3").await, node.says().as_str()), (second, "three"));
    let processes = of(&node.bench.heartbeat().await.unwrap(), "web").processes;
    let names: Vec<&str> = processes.keys().map(|name| name.as_str()).collect();
    assert_eq!(names, ["main-b"]);
    agent.end().await;
}
