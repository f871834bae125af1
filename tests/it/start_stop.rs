//! Versions that take each other's place while clients never stop asking: real agents, supervisors and web servers.

use std::collections::BTreeMap;
use std::process::Command;

use fleetman::model::content::content_sha256;
use fleetman::model::health::{Check, ExecCheck, Health};
use fleetman::model::heartbeat::{CellReport, Phase, ProcessState};
use fleetman::model::hook::{Hook, HookEvent};
use fleetman::model::process::ProcessSpec;
use fleetman::model::run_spec::{Profile, Restart, RestartPolicy, RunSpec, Stop};
use fleetman::model::strategy::{Listen, Socket, StartStop, Strategy};
use fleetman::model::trigger::Action;
use fleetman::model::{CellName, Code};
use fleetman::supervise::detached::Client;

use crate::support::load::{Load, SERVER, ask};
use crate::support::node::{Bench, of};
use crate::support::running::{Running, wait_for_phase};
use crate::support::{holds_in_time, require_tool, wait_for};

/// Whether a version serves.
const READY: &str = "test -e \"$FLEETMAN_DATA_DIR/ready.$FLEETMAN_VERSION\"";

/// A node with a cell whose versions are given their socket.
struct Node {
    bench: Bench,
    port: u16,
    python: String,
    /// The hooks of the versions that are published from now on.
    hooks: BTreeMap<HookEvent, Hook>,
}

impl Node {
    async fn start() -> Option<Self> {
        let python = python()?;
        let bench = Bench::start().await;
        // Free now, and hardly anybody else's by the time that it is listened at.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Some(Self { bench, port, python, hooks: BTreeMap::new() })
    }

    fn run(&self, command: &[&str]) -> RunSpec {
        RunSpec {
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            env: BTreeMap::new(),
            user: None,
            group: None,
            working_dir: None,
            restart: Restart { policy: RestartPolicy::OnFailure, delay_ms: 10, ..Restart::default() },
            stop: Stop { timeout_ms: 20_000, ..Stop::default() },
        }
    }

    /// Publishes a version that runs this program, and is good once the check says so.
    async fn publish(&mut self, version: &str, command: &[&str], check: &str, deadline_ms: u64) {
        let files: &[(&str, &[u8])] = &[("version", version.as_bytes())];
        let mut manifest = self.bench.manifest("web", version, files);
        manifest.profile = Profile::Process(ProcessSpec::main(self.run(command)));
        let command = ["/bin/sh", "-c", check].map(str::to_owned).to_vec();
        manifest.health = Health {
            min_healthy_ms: 100,
            deadline_ms,
            interval_ms: 100,
            checks: [("ready".parse().unwrap(), Check::Exec(ExecCheck { command }))].into(),
            ..Health::default()
        };
        let listen: Listen = format!("127.0.0.1:{}", self.port).parse().unwrap();
        let http = Socket { listen, process: None, mode: Socket::MODE };
        let sockets = [("http".parse().unwrap(), http)].into();
        manifest.strategy = Strategy::StartStop(StartStop { sockets, shares: None });
        manifest.hooks = self.hooks.clone();
        manifest.requires = manifest.features();
        manifest.content_sha256 = content_sha256(&manifest);
        let target = self.bench.upload(&manifest, files).await;
        self.bench.ask("web", Action::Deploy(target)).await;
    }

    /// Publishes a version that serves, and is good once it does.
    async fn serve(&mut self, version: &str) {
        let python = self.python.clone();
        self.publish(version, &[&python, "-c", SERVER], READY, 60_000).await;
    }

    /// Publishes a version that serves, and writes down when it is asked to end.
    async fn serve_and_tell(&mut self, version: &str, check: &str) {
        let told =
            "open(os.environ[\"FLEETMAN_DATA_DIR\"] + \"/diary\", \"a\").write(\"end of \" + body.decode() + \"\\n\")";
        let (python, program) = (self.python.clone(), SERVER.replace("listener.close()", told));
        self.publish(version, &[&python, "-c", &program], check, 60_000).await;
    }

    /// Has each version write down what its hooks `stop` and `validate` are told; `stop` then does this.
    fn tells(&mut self, then: &str) {
        let line =
            "echo \"$FLEETMAN_HOOK of $FLEETMAN_VERSION: $FLEETMAN_FROM>$FLEETMAN_TO\" >> \"$FLEETMAN_DATA_DIR/diary\"";
        let hook = |line: &str| -> Hook {
            serde_json::from_value(serde_json::json!({ "command": ["/bin/sh", "-c", line] })).unwrap()
        };
        let hooks = [(HookEvent::Validate, hook(line)), (HookEvent::Stop, hook(&format!("{line}; {then}")))];
        self.hooks = hooks.into();
    }

    fn diary(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.data("diary")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What was written since the last time.
    fn written(&self) -> Vec<String> {
        let diary = self.diary();
        std::fs::remove_file(self.data("diary")).unwrap();
        diary
    }

    fn data(&self, name: &str) -> std::path::PathBuf {
        self.bench.state_folder().join("data/web").join(name)
    }

    async fn agent(&self) -> Running {
        Running::start(&self.bench, |settings| settings.profiles = self.bench.profiles_with_process()).await
    }

    async fn report(&self) -> CellReport {
        of(&self.bench.heartbeat().await.unwrap(), "web")
    }

    async fn wait_for(&self, what: &str, is: impl Fn(&CellReport) -> bool) -> CellReport {
        let cell = CellName::new("web").unwrap();
        let there = async || {
            self.bench.heartbeat().await.is_some_and(|beat| beat.cells.get(&cell).is_some_and(|report| is(report)))
        };
        let is_there = holds_in_time(there).await;
        let report = self.report().await;
        assert!(is_there, "waited in vain for {what}: {report:#?}");
        report
    }

    /// Waits until this version is good, and alone.
    async fn is_up(&self, version: &str) -> CellReport {
        self.wait_for(&format!("version {version} to be up"), |report| {
            report.phase == Phase::UpToDate
                && report.running.as_ref().is_some_and(|running| running.version.as_str() == version)
                && report.processes.len() == 1
        })
        .await
    }

    /// The process id of the cell's supervisor, if it answers.
    async fn supervisor(&self) -> Option<u32> {
        let mut client = Client::connect(&self.bench.processes(), "web").await.ok()?;
        Some(client.status().await.ok()?.pid)
    }

    /// The process ids of what runs of the cell, by the supervisor's word.
    async fn pids(&self) -> BTreeMap<String, i32> {
        let mut client = Client::connect(&self.bench.processes(), "web").await.unwrap();
        let service = client.status().await.unwrap().service.unwrap();
        let running = service.processes.into_iter().filter_map(|(name, status)| Some((name, status.state.pid()?)));
        running.collect()
    }
}

/// The interpreter itself, which needs no environment as wrappers of it may.
fn python() -> Option<String> {
    let found = require_tool("python3")?;
    let said = Command::new(found).args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    Some(String::from_utf8(said.stdout).unwrap().trim().to_owned())
}

fn both_run(report: &CellReport) -> bool {
    let running = report.processes.values().filter(|process| process.state == ProcessState::Running);
    report.phase == Phase::Checking && running.count() == 2
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn no_request_fails_over_twenty_versions() {
    let Some(mut node) = Node::start().await else { return };
    node.serve("0").await;
    let agent = node.agent().await;
    node.is_up("0").await;
    let load = Load::begin(node.port);
    load.answered(20).await;
    for version in 1..=20 {
        let version = version.to_string();
        node.serve(&version).await;
        node.is_up(&version).await;
        assert_eq!(ask(node.port, None, false).await.unwrap().0, version, "the old one takes no more connections");
        load.check();
    }
    load.answered(20).await;
    let answered = load.end().await;
    eprintln!("{answered} requests were answered over 20 upgrades, and none failed");
    agent.end().await;
}

#[tokio::test]
async fn a_version_that_fails_leaves_the_one_before_as_it_was() {
    let Some(mut node) = Node::start().await else { return };
    node.serve("1").await;
    let agent = node.agent().await;
    node.is_up("1").await;
    let before = node.pids().await;
    let load = Load::begin(node.port);
    load.answered(20).await;
    let python = node.python.clone();
    for (version, program, check, why) in [
        ("never-healthy", "import time; time.sleep(1000)", "exit 7", "it is not healthy after"),
        ("exits-at-once", "raise SystemExit(3)", "true", "ended with exit code 3"),
        ("dies-soon", "import time; time.sleep(0.3); raise SystemExit(4)", "exit 1", "ended with exit code 4"),
    ] {
        node.publish(version, &[&python, "-c", program], check, 2_000).await;
        let failed = |report: &CellReport| {
            report.phase == Phase::RolledBack
                && report.last_error.as_ref().is_some_and(|error| error.message.contains(why))
                && report.processes.len() == 1
        };
        let report = node.wait_for(version, failed).await;
        assert_eq!(report.last_error.unwrap().code, Code::Unhealthy);
        assert_eq!(report.running.unwrap().version.as_str(), "1");
        assert_eq!(node.pids().await, before, "it was not even restarted after {version}");
        load.answered(20).await;
    }
    node.serve("2").await;
    node.is_up("2").await;
    load.end().await;
    agent.end().await;
}

#[tokio::test]
async fn agent_and_supervisor_may_be_killed_while_two_versions_run() {
    let Some(mut node) = Node::start().await else { return };
    node.serve("1").await;
    let first = node.agent().await;
    node.is_up("1").await;
    let old = node.pids().await;
    let load = Load::begin(node.port);
    // The gate stays closed until the file is there.
    let gate = node.bench.home.path().join("gate");
    let (python, check) = (node.python.clone(), format!("test -e {}", gate.display()));
    node.publish("2", &[&python, "-c", SERVER], &check, 600_000).await;
    node.wait_for("both to run", both_run).await;
    first.end().await;
    let both = node.pids().await;
    assert!(both.len() == 2 && old.iter().all(|(name, pid)| both.get(name) == Some(pid)), "{old:?} {both:?}");

    let second = node.agent().await;
    node.wait_for("both to be found again", both_run).await;
    let before = node.supervisor().await.unwrap();
    kill(before);
    wait_for(async || node.supervisor().await.is_some_and(|pid| pid != before), "another supervisor").await;
    wait_for(async || node.pids().await == both, "both to be taken over").await;
    load.answered(20).await;

    std::fs::write(&gate, "").unwrap();
    node.is_up("2").await;
    let new = node.pids().await;
    assert!(new.len() == 1 && both.values().any(|pid| new.values().any(|new| new == pid)), "{both:?} {new:?}");
    // The supervisor that was killed has taken no socket with it: the next version gets it from what runs.
    node.serve("3").await;
    node.is_up("3").await;
    load.end().await;
    second.end().await;
}

#[tokio::test]
async fn a_version_that_waits_for_its_gate_gives_way_to_a_newer_one_and_to_a_stop() {
    let Some(mut node) = Node::start().await else { return };
    node.serve("1").await;
    let agent = node.agent().await;
    node.is_up("1").await;
    let load = Load::begin(node.port);
    let python = node.python.clone();
    node.publish("2", &[&python, "-c", SERVER], "exit 1", 600_000).await;
    node.wait_for("both to run", both_run).await;
    load.answered(20).await;
    node.serve("3").await;
    node.is_up("3").await;
    load.end().await;

    node.publish("4", &[&python, "-c", SERVER], "exit 1", 600_000).await;
    node.wait_for("both to run", both_run).await;
    let both = node.pids().await;
    node.bench.ask("web", Action::Stop).await;
    wait_for_phase(&node.bench, "web", Phase::Stopped).await;
    let lives = |pid: &i32| std::path::Path::new(&format!("/proc/{pid}")).exists();
    assert!(both.len() == 2 && !both.values().any(lives), "{both:?}");
    assert!(ask(node.port, None, false).await.is_err(), "nobody listens any more");
    agent.end().await;
}

#[tokio::test]
async fn a_socket_that_cannot_be_taken_back_costs_a_restart_and_no_more() {
    let Some(mut node) = Node::start().await else { return };
    node.tells("true");
    node.serve_and_tell("1", READY).await;
    let agent = node.agent().await;
    node.is_up("1").await;
    node.written();
    let old = node.pids().await;
    // What the next supervisor would know it by.
    std::fs::remove_file(node.bench.processes().join("web/run/sockets.json")).unwrap();
    let before = node.supervisor().await.unwrap();
    kill(before);
    wait_for(async || node.supervisor().await.is_some_and(|pid| pid != before), "another supervisor").await;
    wait_for(async || node.pids().await == old, "the process to be taken over").await;
    assert_eq!(ask(node.port, None, false).await.unwrap().0, "1", "it goes on");
    for version in ["2", "3"] {
        node.serve_and_tell(version, READY).await;
        node.is_up(version).await;
        assert_eq!(ask(node.port, None, false).await.unwrap().0, version);
    }
    // What had to end first was told first, and only once; what went on beside the next one once that was good.
    let expected =
        ["stop of 1: 1>2", "end of 1", "validate of 2: 1>2", "validate of 3: 2>3", "stop of 2: 2>3", "end of 2"];
    assert_eq!(node.written(), expected);
    let log = node.bench.log("web", 2, 1).await;
    let why = "it takes the place of the version before by stop_start: taking back the socket at 127.0.0.1:";
    assert!(log.contains(why), "{log}");
    agent.end().await;
}

#[tokio::test]
async fn a_version_that_wants_somebody_elses_port_waits_for_it_and_harms_nothing() {
    let Some(mut node) = Node::start().await else { return };
    node.serve("1").await;
    let agent = node.agent().await;
    node.is_up("1").await;
    let before = node.pids().await;
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let own = std::mem::replace(&mut node.port, other.local_addr().unwrap().port());
    node.serve("2").await;
    let waits = |report: &CellReport| {
        report.phase == Phase::Waiting
            && report.waiting.as_ref().is_some_and(|waiting| waiting.reason == Code::SocketUnavailable)
    };
    let report = node.wait_for("it to wait for the port", waits).await;
    let message = report.waiting.unwrap().message;
    assert!(message.starts_with(&format!("listening at 127.0.0.1:{}: ", node.port)), "{message}");
    assert_eq!(node.pids().await, before);
    assert_eq!(ask(own, None, false).await.unwrap().0, "1");
    assert_eq!(report.failed_content, [], "it is no fault of the content");
    // Once the port is free nobody has to ask again.
    drop(other);
    node.is_up("2").await;
    assert_eq!(ask(node.port, None, false).await.unwrap().0, "2");
    agent.end().await;
}

#[tokio::test]
async fn the_old_version_is_told_once_the_new_one_is_good_and_before_it_is_asked_to_end() {
    let Some(mut node) = Node::start().await else { return };
    node.tells("exit 3");
    node.serve_and_tell("1", READY).await;
    let agent = node.agent().await;
    node.is_up("1").await;
    assert_eq!(node.written(), ["validate of 1: >1"]);
    let load = Load::begin(node.port);
    node.serve_and_tell("2", READY).await;
    node.is_up("2").await;
    // That it fails keeps nobody from being replaced.
    assert_eq!(node.written(), ["validate of 2: 1>2", "stop of 1: 1>2", "end of 1"]);
    let log = node.bench.log("web", 2, 1).await;
    assert!(log.contains("hook stop failed: exit code 3; this goes on all the same"), "{log}");

    // What is not good tells nobody that it stops.
    node.publish("3", &["/bin/sh", "-c", "exit 4"], "true", 2_000).await;
    wait_for_phase(&node.bench, "web", Phase::RolledBack).await;
    assert!(node.diary().is_empty());
    load.answered(20).await;
    load.end().await;
    agent.end().await;
}

#[tokio::test]
async fn the_old_version_may_ask_for_time_while_both_serve_and_a_newer_one_comes_first() {
    let Some(mut node) = Node::start().await else { return };
    node.tells("test -e \"$FLEETMAN_DATA_DIR/drained\" || { echo 'two jobs are running'; exit 21; }");
    node.serve_and_tell("1", READY).await;
    let agent = node.agent().await;
    node.is_up("1").await;
    node.written();
    let load = Load::begin(node.port);
    node.tells("true");
    node.serve_and_tell("2", READY).await;
    let waits = |report: &CellReport| {
        report.waiting.as_ref().is_some_and(|waiting| {
            waiting.reason == Code::HookWaits
                && waiting.message == "hook stop asks to be run again later: two jobs are running"
        })
    };
    node.wait_for("the old one to ask for time", waits).await;
    assert_eq!(node.pids().await.len(), 2);
    wait_for(async || node.diary().len() >= 3, "it to be told again").await;
    assert!(!node.diary().contains(&"end of 1".to_owned()));
    let validated = node.diary().iter().filter(|line| line.starts_with("validate of 2")).count();
    assert_eq!(validated, 1, "what was run is not run again");

    // The gate of the third stays closed, and of what goes the one that never became good goes first.
    node.serve_and_tell("3", "test -e \"$FLEETMAN_DATA_DIR/gate\"").await;
    wait_for(async || node.diary().last().is_some_and(|line| line == "end of 2"), "the second one to go").await;
    assert_eq!(ask(node.port, None, false).await.map(|_| ()).ok(), Some(()));
    node.written();
    std::fs::write(node.data("drained"), "").unwrap();
    std::fs::write(node.data("gate"), "").unwrap();
    node.is_up("3").await;
    assert_eq!(node.written(), ["validate of 3: 2>3", "stop of 1: 1>3", "end of 1"]);
    load.end().await;
    agent.end().await;
}
