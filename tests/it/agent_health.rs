//! Checks of health: what an agent makes of them before a version is good and afterwards. Real servers and programs.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use chrono::{DateTime, Utc};
use fleetman::agent::Gate;
use fleetman::model::health::{Check, ExecCheck, FileCheck, Health, HttpCheck, Line, LogCheck, StatusRange, TcpCheck};
use fleetman::model::heartbeat::{CellReport, HealthState, Phase};
use fleetman::model::outcome::Ending;
use fleetman::model::trigger::Action;
use fleetman::model::{CellName, CheckName, Code};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::node::{Bench, of};
use crate::support::running::{Running, wait_for_phase};
use crate::support::stand_in::Node;
use crate::support::wait_for;

/// A web server that answers with a status until it is told another one.
struct Server {
    port: u16,
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (status, asked) = (Arc::new(AtomicU16::new(status)), Arc::new(AtomicUsize::new(0)));
        let (answers, counts) = (Arc::clone(&status), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let status = answers.load(Ordering::SeqCst);
                let mut head = [0; 4096];
                // Whoever only connects says nothing.
                if stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    let _ = stream.write_all(answer.as_bytes()).await;
                    counts.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { port, status, asked }
    }

    fn says(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Waits until it was asked so often more.
    async fn asked(&self, more: usize) {
        let goal = self.asked.load(Ordering::SeqCst) + more;
        wait_for(async || self.asked.load(Ordering::SeqCst) >= goal, "the server to be asked").await;
    }

    fn check(&self) -> Check {
        let url = format!("http://127.0.0.1:{}/health", self.port).parse().unwrap();
        Check::Http(HttpCheck { url, status: StatusRange::default(), contains: None, insecure: false })
    }
}

fn name(text: &str) -> CheckName {
    CheckName::new(text).unwrap()
}

/// Asked ten times a second, and well after half a second.
fn health(checks: impl IntoIterator<Item = (&'static str, Check)>) -> Health {
    Health {
        min_healthy_ms: 500,
        deadline_ms: 60_000,
        interval_ms: 100,
        checks: checks.into_iter().map(|(text, check)| (name(text), check)).collect(),
        ..Health::default()
    }
}

async fn running(node: &Node) -> Running {
    Running::start(&node.bench, |settings| settings.profiles = node.profiles()).await
}

async fn report(bench: &Bench) -> CellReport {
    of(&bench.heartbeat().await.unwrap(), "app")
}

/// Waits until the heartbeat says something of the cell.
async fn wait_for_report(bench: &Bench, what: &str, is: impl Fn(&CellReport) -> bool) -> CellReport {
    let cell = CellName::new("app").unwrap();
    let there =
        async || bench.heartbeat().await.is_some_and(|beat| beat.cells.get(&cell).is_some_and(|report| is(report)));
    wait_for(there, what).await;
    report(bench).await
}

fn state(report: &CellReport) -> Option<HealthState> {
    report.health.as_ref().map(|health| health.state)
}

/// The same, and well only after so long that no test waits for it.
fn patient(checks: impl IntoIterator<Item = (&'static str, Check)>) -> Health {
    Health { min_healthy_ms: 600_000, deadline_ms: 6_000_000, ..health(checks) }
}

fn until(report: &CellReport) -> Option<DateTime<Utc>> {
    report.health.as_ref()?.need_until
}

/// Whether the check `web` fails.
fn failing(report: &CellReport) -> bool {
    report.health.as_ref().is_some_and(|health| health.checks[&name("web")].state == HealthState::Failing)
}

/// Waits until this version is good and its checks pass.
async fn wait_until_well(node: &Node, version: &str) {
    let well = |report: &CellReport| {
        let runs = report.running.as_ref().is_some_and(|running| running.version.as_str() == version);
        runs && report.phase == Phase::UpToDate && state(report) == Some(HealthState::Passing)
    };
    wait_for_report(&node.bench, "the version to be good and well", well).await;
}

/// A node on which version 1 is good, which has no checks.
async fn deployed() -> Node {
    let mut node = Node::start().await;
    node.publish("1").await;
    assert_eq!(node.once().await.phase, Phase::UpToDate);
    node
}

#[tokio::test]
async fn a_version_is_good_once_its_checks_have_passed_for_long_enough_and_goes_on_being_asked() {
    let (mut node, server) = (deployed().await, Server::start(503).await);
    node.publish_with("2", |manifest| manifest.health = health([("web", server.check())])).await;
    let agent = running(&node).await;
    let starting = wait_for_report(&node.bench, "the check to fail", failing).await;
    assert_eq!((starting.phase, state(&starting)), (Phase::Checking, Some(HealthState::Starting)));
    let said = starting.health.unwrap();
    assert!(said.deadline.is_some() && said.need_until.is_none());
    assert_eq!(said.checks[&name("web")].message, "HTTP 503 Service Unavailable, expected 200-299");
    server.says(200);
    wait_until_well(&node, "2").await;
    assert_eq!(report(&node.bench).await.known_good.unwrap().version.as_str(), "2");
    server.says(500);
    let is_told = |report: &CellReport| state(report) == Some(HealthState::Failing);
    let report = wait_for_report(&node.bench, "the failure to be told", is_told).await;
    assert_eq!(
        (report.phase, report.running.unwrap().version.as_str()),
        (Phase::UpToDate, "2"),
        "nothing is rolled back"
    );
    agent.end().await;
    let log = node.bench.log("app", 2, 1).await;
    for line in [
        "check web fails: HTTP 503 Service Unavailable, expected 200-299",
        "check web passes again, after failing for ",
        "it is good, and what to go back to from now on",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert_eq!(node.profile.told().started, ["1 as 1-1-1", "2 as 1-2-1"]);
}

#[tokio::test]
async fn a_version_whose_check_never_passes_is_rolled_back_once_and_remembered_with_the_reason() {
    let (mut node, server) = (deployed().await, Server::start(500).await);
    let unwell = |manifest: &mut fleetman::model::manifest::Manifest| {
        manifest.health = Health { deadline_ms: 1_000, min_healthy_ms: 100, ..health([("web", server.check())]) };
    };
    let target = node.publish_with("2", unwell).await;
    let agent = running(&node).await;
    wait_for_phase(&node.bench, "app", Phase::RolledBack).await;
    agent.end().await;
    assert_eq!(node.profile.told().started, ["1 as 1-1-1", "2 as 1-2-1", "1 as 1-2-1-restore"], "once");
    let why = "it is not healthy after 1s: check web fails: HTTP 500 Internal Server Error, expected 200-299";
    let report = node.once().await;
    let fault = report.last_error.unwrap();
    assert_eq!((fault.code, fault.message.as_str()), (Code::Unhealthy, why));
    assert_eq!((report.running.unwrap().version.as_str(), report.failed_content.len()), ("1", 1));
    let outcome = node.bench.outcomes("app").await.pop().unwrap();
    assert_eq!((outcome.outcome, outcome.message.as_deref()), (Ending::RolledBack, Some(why)));
    let log = node.bench.log("app", 2, 1).await;
    assert!(log.contains("check web fails: HTTP 500") && log.contains("back to version 1"), "{log}");
    // After a restart of the agent, too.
    node.bench.ask("app", Action::Deploy(target)).await;
    let report = node.once().await;
    let waiting = report.waiting.unwrap();
    assert_eq!(
        (waiting.reason, waiting.message),
        (Code::FailedBefore, format!("this content failed here before: {why}"))
    );
    assert_eq!(node.profile.told().started.len(), 3);
}

#[tokio::test]
async fn a_version_that_is_healthy_and_flaps_has_to_be_well_for_the_whole_time_again() {
    let (mut node, server) = (deployed().await, Server::start(200).await);
    node.publish_with("2", |manifest| manifest.health = patient([("web", server.check())])).await;
    let agent = running(&node).await;
    let first = wait_for_report(&node.bench, "all checks to pass", |report| until(report).is_some()).await;
    // Ten answers take a second.
    server.asked(10).await;
    server.says(500);
    wait_for_report(&node.bench, "the failure", |report| failing(report) && until(report).is_none()).await;
    server.says(200);
    let again = wait_for_report(&node.bench, "all checks to pass again", |report| until(report).is_some()).await;
    assert!(until(&again) > until(&first), "the clock begins anew");
    assert_eq!((again.phase, again.known_good.unwrap().version.as_str()), (Phase::Checking, "1"));
    for line in ["the time in which nothing may fail begins anew", "check web passes again, after failing for "] {
        wait_for(async || node.bench.log("app", 2, 1).await.contains(line), line).await;
    }
    agent.end().await;
}

#[tokio::test]
async fn both_the_processes_and_the_checks_have_to_be_well() {
    let (mut node, server) = (deployed().await, Server::start(200).await);
    node.profile.gate("2", Gate::Pending("main is backoff".to_owned()));
    node.publish_with("2", |manifest| manifest.health = health([("web", server.check())])).await;
    let agent = running(&node).await;
    wait_for_phase(&node.bench, "app", Phase::Checking).await;
    server.asked(10).await;
    assert_eq!(report(&node.bench).await.phase, Phase::Checking);
    node.profile.gate("2", Gate::Failed("main ended with exit code 3".to_owned()));
    wait_for_phase(&node.bench, "app", Phase::RolledBack).await;
    assert_eq!(report(&node.bench).await.last_error.unwrap().message, "main ended with exit code 3");
    let asked = server.asked.load(Ordering::SeqCst);
    assert_eq!(state(&report(&node.bench).await), None, "version 1 has no checks");
    let checks = node.profile.told().checks;
    wait_for(async || node.bench.outcomes("app").await.len() == 2, "the outcome").await;
    assert!(server.asked.load(Ordering::SeqCst) <= asked + 1 && node.profile.told().checks <= checks + 1);
    agent.end().await;
}

#[tokio::test]
async fn an_agent_that_is_restarted_while_it_watches_counts_only_what_it_sees() {
    let (mut node, server) = (deployed().await, Server::start(200).await);
    node.publish_with("2", |manifest| manifest.health = patient([("web", server.check())])).await;
    let agent = running(&node).await;
    let before = wait_for_report(&node.bench, "all checks to pass", |report| until(report).is_some()).await;
    server.asked(10).await;
    agent.end().await;
    let agent = running(&node).await;
    let later = |report: &CellReport| until(report) > until(&before);
    let report = wait_for_report(&node.bench, "the time to begin anew", later).await;
    assert_eq!((report.phase, state(&report)), (Phase::Checking, Some(HealthState::Starting)));
    server.says(500);
    wait_for_report(&node.bench, "it to be asked", failing).await;
    agent.end().await;
    assert_eq!(node.profile.told().started, ["1 as 1-1-1", "2 as 1-2-1"], "nothing is started once more");
}

#[tokio::test]
async fn a_good_version_that_goes_on_failing_is_restarted_and_not_rolled_back() {
    let (mut node, server) = (deployed().await, Server::start(200).await);
    let restarted = Health { restart_after: NonZeroU32::new(3), ..health([("web", server.check())]) };
    node.publish_with("2", |manifest| manifest.health = restarted).await;
    let agent = running(&node).await;
    wait_until_well(&node, "2").await;
    server.says(500);
    let is_told = |report: &CellReport| report.health.as_ref().is_some_and(|health| health.restarts == 1);
    let report = wait_for_report(&node.bench, "the restart", is_told).await;
    assert!(report.health.unwrap().restarted_at.is_some());
    let fault = report.last_error.unwrap();
    assert!(
        fault.message.starts_with("it was restarted, because check web failed 3 times in a row: HTTP 500"),
        "{fault:?}"
    );
    assert_eq!((report.phase, report.running.unwrap().version.as_str()), (Phase::UpToDate, "2"));
    server.asked(10).await;
    assert_eq!(node.profile.told().restarts, 1, "the next one has to wait");
    server.says(200);
    let passing = |report: &CellReport| state(report) == Some(HealthState::Passing);
    wait_for_report(&node.bench, "it to be well again", passing).await;
    agent.end().await;
    assert_eq!(node.bench.outcomes("app").await.len(), 2, "it is no attempt at anything");
}

#[tokio::test]
async fn every_kind_of_check_keeps_a_version_from_being_good_until_it_passes() {
    let mut node = deployed().await;
    let folder = node.bench.home.path().join("signs");
    std::fs::create_dir(&folder).unwrap();
    let sign = |text: &str| folder.join(text);
    let shell = format!("echo looking; test -e {}", sign("exec").display());
    let probe = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = probe.local_addr().unwrap();
    drop(probe);
    let file = |text: &str| FileCheck { path: sign(text).display().to_string(), newer_than_ms: Some(3_600_000) };
    let checks = health([
        ("exec", Check::Exec(ExecCheck { command: ["/bin/sh", "-c", &shell].map(str::to_owned).into() })),
        ("file", Check::File(file("file"))),
        ("tcp", Check::Tcp(TcpCheck { address: address.to_string().parse().unwrap() })),
    ]);
    node.publish_with("2", |manifest| manifest.health = checks).await;
    let agent = running(&node).await;
    let failing = async |names: &[&str], node: &Node| {
        let names: Vec<CheckName> = names.iter().map(|text| name(text)).collect();
        let is = |report: &CellReport| {
            report.health.as_ref().is_some_and(|health| {
                let failing = health.checks.iter().filter(|(_, check)| check.state == HealthState::Failing);
                failing.map(|(name, _)| name).eq(&names)
                    && health.checks.values().all(|check| check.state != HealthState::Unknown)
            })
        };
        let report = wait_for_report(&node.bench, &format!("{names:?} to fail"), is).await;
        assert_eq!(report.phase, Phase::Checking);
        report.health.unwrap().checks
    };
    let checks = failing(&["exec", "file", "tcp"], &node).await;
    assert_eq!(checks[&name("exec")].message, "exit code 1: looking");
    assert!(checks[&name("file")].message.ends_with("signs/file is not there"));
    assert_eq!(checks[&name("tcp")].message, format!("connecting to {address}: connection refused"));
    std::fs::write(sign("exec"), "").unwrap();
    failing(&["file", "tcp"], &node).await;
    std::fs::write(sign("file"), "").unwrap();
    failing(&["tcp"], &node).await;
    let _listening = TcpListener::bind(address).await.unwrap();
    wait_for_phase(&node.bench, "app", Phase::UpToDate).await;
    agent.end().await;
}

#[tokio::test]
async fn a_program_that_hangs_or_goes_on_in_the_background_is_gone_with_its_check() {
    let mut node = deployed().await;
    let pids = node.bench.home.path().join("pids");
    let shell = format!("sleep 1000 & echo $! >>{0}; echo $$ >>{0}; wait", pids.display());
    let hangs = Check::Exec(ExecCheck { command: ["/bin/sh", "-c", &shell].map(str::to_owned).into() });
    let hangs = Health { timeout_ms: 300, ..health([("hangs", hangs)]) };
    node.publish_with("2", |manifest| manifest.health = hangs).await;
    let agent = running(&node).await;
    let is_told = |report: &CellReport| {
        let check = report.health.as_ref().and_then(|health| health.checks.get(&name("hangs")));
        check.is_some_and(|check| check.message == "it did not end within 300ms, and was killed")
    };
    wait_for_report(&node.bench, "the check to fail", is_told).await;
    agent.end().await;
    let pids = std::fs::read_to_string(pids).unwrap();
    let lives = |pid: &&str| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
    };
    assert!(pids.lines().count() >= 2);
    assert_eq!(pids.lines().filter(lives).count(), 0, "{pids}");
}

#[tokio::test]
async fn files_alone_can_be_asked_about_too() {
    let (mut node, server) = (Node::start().await, Server::start(503).await);
    let files: &[(&str, &[u8])] = &[("index.html", b"1")];
    let mut manifest = node.bench.manifest("app", "1", files);
    manifest.health = health([("web", server.check())]);
    manifest.requires = manifest.features();
    manifest.content_sha256 = fleetman::model::content::content_sha256(&manifest);
    assert_eq!(manifest.requires, ["health", "checks"]);
    let target = node.bench.upload(&manifest, files).await;
    node.bench.ask("app", Action::Deploy(target)).await;
    let agent = running(&node).await;
    wait_for_phase(&node.bench, "app", Phase::Checking).await;
    server.says(200);
    wait_for_phase(&node.bench, "app", Phase::UpToDate).await;
    agent.end().await;
}

/// Under the real supervisor: what it says, and what it is restarted for.
mod processes {
    use super::*;
    use fleetman::model::content::content_sha256;
    use fleetman::model::process::ProcessSpec;
    use fleetman::model::run_spec::{EnvValue, Profile, Restart, RunSpec, Stop};

    fn shell(line: &str) -> RunSpec {
        RunSpec {
            command: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("PATH".to_owned(), EnvValue::Text("/usr/bin:/bin".to_owned()))]),
            user: None,
            group: None,
            working_dir: None,
            restart: Restart::default(),
            stop: Stop { timeout_ms: 2_000, ..Stop::default() },
        }
    }

    async fn publish(bench: &mut Bench, version: &str, line: &str, health: Health) {
        let files: &[(&str, &[u8])] = &[("version", version.as_bytes())];
        let mut manifest = bench.manifest("app", version, files);
        manifest.profile = Profile::Process(ProcessSpec::main(shell(line)));
        manifest.health = health;
        manifest.requires = manifest.features();
        manifest.content_sha256 = content_sha256(&manifest);
        let target = bench.upload(&manifest, files).await;
        bench.ask("app", Action::Deploy(target)).await;
    }

    async fn agent(bench: &Bench) -> Running {
        Running::start(bench, |settings| settings.profiles = bench.profiles_with_process()).await
    }

    fn waits_for(line: &str) -> Health {
        let line = Line::Matches(line.parse().unwrap());
        health([("ready", Check::Log(LogCheck { line }))])
    }

    #[tokio::test]
    async fn a_line_counts_if_this_version_wrote_it() {
        let mut bench = Bench::start().await;
        publish(&mut bench, "1", "echo ready 1; exec sleep 1000", waits_for("^ready [0-9]$")).await;
        let running = agent(&bench).await;
        wait_for_phase(&bench, "app", Phase::UpToDate).await;
        let silent = Health { deadline_ms: 2_000, ..waits_for("^ready [0-9]$") };
        publish(&mut bench, "2", "echo almost ready 2; exec sleep 1000", silent).await;
        wait_for_phase(&bench, "app", Phase::RolledBack).await;
        let fault = report(&bench).await.last_error.unwrap();
        let why =
            "it is not healthy after 2s: check ready fails: a line that matches \"^ready [0-9]$\" was not written yet";
        assert_eq!(fault.message, why);
        // What was gone back to says it anew.
        let passing = |report: &CellReport| state(report) == Some(HealthState::Passing);
        let back = wait_for_report(&bench, "version 1 to be well", passing).await;
        assert_eq!((back.running.unwrap().version.as_str(), back.conditions.len()), ("1", 0));
        running.end().await;
        // The line is remembered by whoever comes next.
        let running = agent(&bench).await;
        wait_for_report(&bench, "version 1 to be well still", passing).await;
        publish(&mut bench, "3", "exec sleep 1000", Health { min_healthy_ms: 100, ..Health::default() }).await;
        wait_for_phase(&bench, "app", Phase::UpToDate).await;
        bench.ask("app", Action::Stop).await;
        wait_for_phase(&bench, "app", Phase::Stopped).await;
        running.end().await;
    }

    #[tokio::test]
    async fn the_processes_of_a_cell_that_goes_on_failing_are_others_afterwards() {
        let mut bench = Bench::start().await;
        // It is well until its file is taken away, and makes it anew when it starts.
        let line = "touch $FLEETMAN_DATA_DIR/well; exec sleep 1000";
        let well = Check::File(FileCheck { path: "well".to_owned(), newer_than_ms: None });
        let health = Health { restart_after: NonZeroU32::new(2), ..health([("well", well)]) };
        publish(&mut bench, "1", line, health).await;
        let running = agent(&bench).await;
        wait_for_phase(&bench, "app", Phase::UpToDate).await;
        let pid = |report: &CellReport| report.processes.values().next().and_then(|process| process.pid);
        let before = pid(&report(&bench).await);
        let data = bench.home.path().join("state/data/app/well");
        std::fs::remove_file(&data).unwrap();
        let restarted = |report: &CellReport| {
            report.health.as_ref().is_some_and(|health| health.restarts == 1)
                && state(report) == Some(HealthState::Passing)
        };
        let after = wait_for_report(&bench, "the restart to help", restarted).await;
        assert!(before.is_some() && pid(&after).is_some() && pid(&after) != before);
        assert_eq!((after.phase, after.running.unwrap().version.as_str()), (Phase::UpToDate, "1"));
        bench.ask("app", Action::Stop).await;
        wait_for_phase(&bench, "app", Phase::Stopped).await;
        running.end().await;
    }
}
