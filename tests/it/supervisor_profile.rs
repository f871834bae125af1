//! Cells under supervisord: real agents, a real supervisord of the test's user, real services.

use std::collections::BTreeMap;

use fleetman::clock::SystemClock;
use fleetman::model::content::content_sha256;
use fleetman::model::health::Health;
use fleetman::model::heartbeat::{CellReport, Phase, ProcessState, RunningState};
use fleetman::model::process::{Process, ProcessKind, ProcessSpec};
use fleetman::model::run_spec::{EnvValue, FromFile, Profile, RestartPolicy, RunSpec, Stop, StopSignal};
use fleetman::model::trigger::{Action, Target, TriggerOptions};
use fleetman::model::{CellName, Code, ProcessName};
use fleetman::profiles::ProfileSettings;
use rustix::process::{Pid, Signal};

use crate::support::node::{Bench, agents_program};
use crate::support::running::{Running, wait_for_phase};
use crate::support::supervisord::{Supervisord, parts};
use crate::support::wait_for;

/// A service that is content to be there.
const CONTENT: &str = "echo version $FLEETMAN_VERSION; exec sleep 1000";

const CONF: &str = "fleetman-web.conf";

/// A node whose cells a supervisord of its own runs.
struct Place {
    bench: Bench,
    supervisord: Supervisord,
    /// The process of the program that is nobody's business.
    foreign: u32,
}

impl Place {
    async fn start() -> Option<Self> {
        let supervisord = Supervisord::start().await?;
        let foreign = supervisord.pid("foreign");
        Some(Self { bench: Bench::start().await, supervisord, foreign })
    }

    async fn agent(&self) -> Running {
        let supervisor = Some(self.supervisord.settings(self.bench.home.path().join("cells")));
        let settings = ProfileSettings { supervisor, ..ProfileSettings::default() };
        let profiles = settings.profiles(&agents_program(), &SystemClock::shared());
        Running::start(&self.bench, |settings| settings.profiles = profiles).await
    }

    async fn upload(&self, version: &str, spec: ProcessSpec) -> Target {
        let files: &[(&str, &[u8])] = &[("version", version.as_bytes())];
        let mut manifest = self.bench.manifest("web", version, files);
        manifest.profile = Profile::Supervisor(spec);
        manifest.health = Health { min_healthy_ms: 100, deadline_ms: 20_000, ..Health::default() };
        manifest.requires = manifest.features();
        manifest.content_sha256 = content_sha256(&manifest);
        self.bench.upload(&manifest, files).await
    }

    async fn publish(&mut self, version: &str, spec: ProcessSpec) {
        let target = self.upload(version, spec).await;
        self.bench.ask("web", Action::Deploy(target)).await;
    }

    async fn wait_for_report(&self, what: &str, is: impl Fn(&CellReport) -> bool) -> CellReport {
        let mut last = None;
        let there = async || {
            let beat = self.bench.heartbeat().await;
            last = beat.and_then(|beat| beat.cells.get(&CellName::new("web").unwrap()).cloned());
            last.as_ref().is_some_and(|report| is(report))
        };
        wait_for(there, what).await;
        *last.unwrap()
    }

    async fn wait_for_version(&self, version: &str) -> CellReport {
        let is = |report: &CellReport| {
            let running = report.running.as_ref().is_some_and(|running| running.version.as_str() == version);
            running && report.phase == Phase::UpToDate && matches!(report.state, RunningState::Running { .. })
        };
        self.wait_for_report(&format!("version {version} to run"), is).await
    }

    /// Waits until the cell waits for something; what people read of it.
    async fn wait_for_code(&self, code: Code) -> String {
        let is = |report: &CellReport| report.waiting.as_ref().is_some_and(|waiting| waiting.reason == code);
        self.wait_for_report(&format!("the cell to wait for {code}"), is).await.waiting.unwrap().message
    }

    fn conf(&self) -> String {
        std::fs::read_to_string(self.supervisord.conf(CONF)).unwrap()
    }

    fn log(&self, process: &str) -> String {
        let path = self.bench.home.path().join(format!("cells/web/logs/{process}.log"));
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

impl Drop for Place {
    /// Whatever was done to a cell, nobody else has noticed.
    fn drop(&mut self) {
        if !std::thread::panicking() && self.foreign != 0 {
            assert_eq!(self.supervisord.pid("foreign"), self.foreign);
        }
    }
}

fn run(line: &str) -> RunSpec {
    command(["/bin/sh", "-c", line])
}

fn command<'a>(words: impl IntoIterator<Item = &'a str>) -> RunSpec {
    RunSpec {
        command: words.into_iter().map(str::to_owned).collect(),
        env: BTreeMap::from([("PATH".to_owned(), EnvValue::Text("/usr/bin:/bin".to_owned()))]),
        user: None,
        group: None,
        working_dir: None,
        restart: Default::default(),
        stop: Stop { timeout_ms: 2_000, ..Stop::default() },
    }
}

fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

fn kill(pid: u32) {
    rustix::process::kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
}

#[tokio::test]
async fn hostile_values_arrive_byte_for_byte_and_change_nothing_else() {
    let Some(mut place) = Place::start().await else { return };
    let long = "x".repeat(64 << 10);
    let hostile = [
        "a\nb",
        "\n[program:evil]\ncommand=/bin/false\n",
        " ; comment",
        "x ;y",
        " # comment",
        "%",
        "%(here)s",
        "%%",
        "\"",
        "'",
        "\\",
        "trailing\\",
        "$HOME",
        "`id`",
        "",
        " ",
        "\t",
        "\u{1}\u{7f}",
        "ümläut \u{1f600}",
        "[supervisord]",
        "A=\"b\",C=d",
        "\r\n",
        "-",
        "--help",
        &long,
    ];
    let mut run = command(["/bin/sh", "-c", "while :; do sleep 1000; done", "sh"]);
    run.command.extend(hostile.map(str::to_owned));
    let names = (0..).map(|at| format!("HOSTILE_{at}"));
    run.env.extend(names.zip(hostile.map(|value| EnvValue::Text(value.to_owned()))));
    let secret = place.bench.home.path().join("secret");
    std::fs::write(&secret, "s3cr3t \"%;\n").unwrap();
    let from_file = FromFile { from_file: secret.display().to_string(), key: None };
    run.env.insert("SECRET".into(), EnvValue::FromFile(from_file));
    run.env.insert("odd-name.%; x".into(), EnvValue::Text("y".into()));
    let expected = run.clone();
    place.publish("1", ProcessSpec::main(run)).await;
    let agent = place.agent().await;
    wait_for_phase(&place.bench, "web", Phase::UpToDate).await;

    let pid = place.supervisord.pid("fleetman-web");
    assert_eq!(parts(pid, "cmdline"), expected.command);
    let found = parts(pid, "environ");
    for (name, value) in &expected.env {
        let value = match value {
            EnvValue::Text(text) => text.as_str(),
            _ => "s3cr3t \"%;",
        };
        assert!(found.contains(&format!("{name}={value}")), "{name} is not {value:?}");
    }
    // Ours, and what was asked for; nothing of supervisord's and of the agent's.
    assert_eq!(found.len(), expected.env.len() + 5, "{found:?}");
    let conf = place.conf();
    assert!(!conf.contains("evil") && !conf.contains("s3cr3t") && conf.len() < 2000, "{conf}");
    let programs = place.supervisord.ctl(&["avail"]);
    assert_eq!(programs.lines().count(), 2, "{programs}");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/fd/0")).unwrap().to_str(), Some("/dev/null"));
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert_eq!(open, 3 + usize::from(std::fs::read_link(format!("/proc/{pid}/fd/10")).is_ok()));
    agent.end().await;
}

#[tokio::test]
async fn several_processes_are_a_group_and_each_is_told_of() {
    let Some(mut place) = Place::start().await else { return };
    let service = |line| Process::service(run(line));
    let mut never = run("echo seeded");
    never.restart.policy = RestartPolicy::Never;
    let task = Process { kind: ProcessKind::Task, ..Process::service(never) };
    let by_hand = Process { autostart: false, ..service(CONTENT) };
    let mut stubborn = run("trap '' TERM; trap 'echo bye; exit 0' USR1; while :; do sleep 0.1; done");
    stubborn.stop = Stop { signal: StopSignal::Usr1, timeout_ms: 20_000 };
    let name = |name: &str| ProcessName::new(name).unwrap();
    let processes = [
        (name("web"), service(CONTENT)),
        (name("worker"), Process::service(stubborn)),
        (name("seed"), task),
        (name("console"), by_hand),
    ];
    place.publish("1", ProcessSpec { user: None, group: None, processes: processes.into() }).await;
    let agent = place.agent().await;
    let report = place.wait_for_version("1").await;
    let state = |report: &CellReport, process: &str| report.processes[&name(process)].state;
    assert_eq!(state(&report, "web"), ProcessState::Running);
    assert_eq!(state(&report, "seed"), ProcessState::Completed);
    assert_eq!(report.processes[&name("seed")].exit_code, Some(0));
    assert_eq!(state(&report, "console"), ProcessState::Stopped);
    let (web, worker) = (place.supervisord.pid("fleetman-web:web"), place.supervisord.pid("fleetman-web:worker"));
    assert_eq!(report.processes[&name("web")].pid, Some(web));
    assert_eq!(place.log("seed"), "seeded\n");

    kill(web);
    let restarted = |report: &CellReport| {
        let web = &report.processes[&name("web")];
        web.restarts == 1 && web.state == ProcessState::Running
    };
    place.wait_for_report("the restart to be told", restarted).await;
    assert_eq!(place.supervisord.pid("fleetman-web:worker"), worker);
    place.supervisord.ctl(&["start", "fleetman-web:console"]);
    let started = |report: &CellReport| report.processes[&name("console")].state == ProcessState::Running;
    place.wait_for_report("what was started by hand to be told", started).await;

    // One process instead of four.
    place.publish("2", ProcessSpec::main(run(CONTENT))).await;
    place.wait_for_version("2").await;
    assert!(place.log("worker").ends_with("bye\n"), "it was asked with the signal that it wants");
    assert!(!lives(worker));
    assert_eq!(place.supervisord.ctl(&["status"]).lines().count(), 2);
    agent.end().await;
}

#[tokio::test]
async fn what_cannot_be_started_says_why_and_the_version_before_comes_back() {
    let Some(mut place) = Place::start().await else { return };
    place.publish("1", ProcessSpec::main(run(CONTENT))).await;
    let agent = place.agent().await;
    place.wait_for_version("1").await;
    let mut folder = run(CONTENT);
    folder.working_dir = Some(fleetman::model::FilePath::new("nowhere").unwrap());
    for (version, spec, why) in [
        ("2", command(["bin/none"]), "/bin/none: No such file or directory"),
        ("3", folder, "could not be started: entering the working folder"),
        ("4", run("exit 3"), "Exited too quickly"),
    ] {
        place.publish(version, ProcessSpec::main(spec)).await;
        let is = |report: &CellReport| {
            let failed = report.last_error.as_ref().is_some_and(|error| error.message.contains(why));
            failed && report.phase == Phase::RolledBack && matches!(report.state, RunningState::Running { .. })
        };
        place.wait_for_report(&format!("version {version} to fail"), is).await;
    }
    let log = place.log("main");
    assert!(log.contains("fleetagent: executing ") && log.contains("fleetagent: entering the working folder"), "{log}");
    agent.end().await;
}

#[tokio::test]
async fn what_supervisord_cannot_do_is_refused_before_anything_is_stopped() {
    let Some(mut place) = Place::start().await else { return };
    place.publish("1", ProcessSpec::main(run(CONTENT))).await;
    let agent = place.agent().await;
    place.wait_for_version("1").await;
    let mut slow = run(CONTENT);
    slow.restart.delay_ms = 5;
    place.publish("2", ProcessSpec::main(slow)).await;
    let refused = |report: &CellReport| {
        let told = report.last_error.as_ref().is_some_and(|error| error.message.contains("supervisord does not know"));
        told && report.phase == Phase::RolledBack
    };
    place.wait_for_report("the version to be refused", refused).await;
    let mut secret = run(CONTENT);
    let file = place.bench.home.path().join("secret");
    let from_file = FromFile { from_file: file.display().to_string(), key: None };
    secret.env.insert("SECRET".into(), EnvValue::FromFile(from_file));
    place.publish("3", ProcessSpec::main(secret)).await;
    place.wait_for_code(Code::SecretMissing).await;
    std::fs::write(&file, "x").unwrap();
    place.wait_for_version("3").await;
    agent.end().await;
}

#[tokio::test]
async fn a_cell_outlives_agents_and_comes_back_with_supervisord() {
    let Some(mut place) = Place::start().await else { return };
    place.publish("1", ProcessSpec::main(run(CONTENT))).await;
    let agent = place.agent().await;
    place.wait_for_version("1").await;
    let pid = place.supervisord.pid("fleetman-web");
    agent.end().await;
    let agent = place.agent().await;
    place.wait_for_version("1").await;
    assert_eq!(place.supervisord.pid("fleetman-web"), pid);

    place.supervisord.signal(Signal::STOP);
    let told = |report: &CellReport| matches!(&report.state, RunningState::Failed { reason } if reason.contains("has not answered"));
    place.wait_for_report("the hanging supervisord to be told", told).await;
    place.supervisord.signal(Signal::CONT);
    place.wait_for_version("1").await;
    assert_eq!(place.supervisord.pid("fleetman-web"), pid);

    place.supervisord.signal(Signal::TERM);
    let told = |report: &CellReport| matches!(&report.state, RunningState::Failed { reason } if reason.contains("cannot be reached"));
    place.wait_for_report("the missing supervisord to be told", told).await;
    assert!(!lives(pid));
    place.supervisord.begin().await;
    place.wait_for_version("1").await;

    // Killed, it leaves the program running, which must not run twice.
    let orphan = place.supervisord.pid("fleetman-web");
    place.foreign = 0;
    let foreign = place.supervisord.pid("foreign");
    place.supervisord.signal(Signal::KILL);
    place.wait_for_report("the killed supervisord to be told", told).await;
    assert!(lives(orphan));
    place.publish("2", ProcessSpec::main(run(CONTENT))).await;
    place.wait_for_code(Code::SupervisorUnavailable).await;
    place.supervisord.begin().await;
    place.wait_for_version("2").await;
    assert!(!lives(orphan), "{}", place.log("main"));

    // What is left of a supervisord that is gone is stopped without one.
    let orphan = place.supervisord.pid("fleetman-web");
    let other = place.supervisord.pid("foreign");
    place.supervisord.signal(Signal::KILL);
    place.bench.ask("web", Action::Stop).await;
    wait_for_phase(&place.bench, "web", Phase::Stopped).await;
    assert!(!lives(orphan));
    for left in [foreign, other] {
        kill(left);
    }
    place.supervisord.begin().await;
    assert!(!place.supervisord.ctl(&["status"]).contains("fleetman"));
    agent.end().await;
}

#[tokio::test]
async fn a_stopped_cell_stays_stopped_and_a_removed_one_leaves_nothing() {
    let Some(mut place) = Place::start().await else { return };
    place.publish("1", ProcessSpec::main(run(CONTENT))).await;
    let agent = place.agent().await;
    place.wait_for_version("1").await;
    let pid = place.supervisord.pid("fleetman-web");
    place.bench.ask("web", Action::Stop).await;
    wait_for_phase(&place.bench, "web", Phase::Stopped).await;
    assert!(!lives(pid));
    assert_eq!(place.supervisord.confs(), ["foreign.conf"]);
    place.supervisord.ctl(&["update"]);
    assert!(!place.supervisord.ctl(&["avail"]).contains("fleetman"));

    place.publish("2", ProcessSpec::main(run(CONTENT))).await;
    place.wait_for_version("2").await;
    place.bench.ask("web", Action::Remove).await;
    wait_for_phase(&place.bench, "web", Phase::Removed).await;
    assert!(!place.bench.home.path().join("cells/web").exists());
    assert_eq!(place.supervisord.confs(), ["foreign.conf"]);
    agent.end().await;
}

#[tokio::test]
async fn what_is_not_ours_or_was_changed_by_hand_is_not_touched() {
    let Some(mut place) = Place::start().await else { return };
    place.supervisord.write(CONF, "[program:fleetman-web]\ncommand=/bin/sleep 100001\n");
    place.publish("1", ProcessSpec::main(run(CONTENT))).await;
    let agent = place.agent().await;
    let why = place.wait_for_code(Code::UnitNotOwned).await;
    assert!(why.contains(CONF) && why.contains("our marker"), "{why}");
    std::fs::rename(place.supervisord.conf(CONF), place.supervisord.conf("other.conf")).unwrap();
    let why =
        |report: &CellReport| report.waiting.as_ref().is_some_and(|waiting| waiting.message.contains("other.conf"));
    place.wait_for_report("the other file to be told", why).await;
    place.supervisord.ctl(&["update"]);
    let stranger = place.supervisord.pid("fleetman-web");
    std::fs::remove_file(place.supervisord.conf("other.conf")).unwrap();
    let why =
        |report: &CellReport| report.waiting.as_ref().is_some_and(|waiting| waiting.message.contains("runs a group"));
    place.wait_for_report("the group to be told", why).await;
    assert!(lives(stranger));
    place.supervisord.ctl(&["update"]);
    place.wait_for_version("1").await;
    assert!(!lives(stranger));

    let pid = place.supervisord.pid("fleetman-web");
    let edited = place.conf().replace("stopwaitsecs=2", "stopwaitsecs=3");
    place.supervisord.write(CONF, &edited);
    let told = |report: &CellReport| report.conditions.iter().any(|condition| condition.code == Code::UnitDrift);
    place.wait_for_report("the change by hand to be told", told).await;
    place.publish("2", ProcessSpec::main(run(CONTENT))).await;
    place.wait_for_code(Code::UnitDrift).await;
    assert_eq!((place.conf(), place.supervisord.pid("fleetman-web")), (edited, pid));
    let target = place.upload("3", ProcessSpec::main(run(CONTENT))).await;
    let options = TriggerOptions { force: true, ..TriggerOptions::default() };
    let trigger = place.bench.trigger_with("web", Action::Deploy(target), options);
    place.bench.place(&trigger).await;
    place.wait_for_version("3").await;
    assert!(place.conf().contains("stopwaitsecs=2"));
    agent.end().await;
}

#[tokio::test]
async fn a_broken_file_of_somebody_else_is_named_and_waited_for() {
    let Some(mut place) = Place::start().await else { return };
    place.publish("1", ProcessSpec::main(run(CONTENT))).await;
    let agent = place.agent().await;
    place.wait_for_version("1").await;
    let pid = place.supervisord.pid("fleetman-web");
    for (version, text) in
        [("2", "[program:bad]\ncommand=x 100%\n"), ("3", "no section\n"), ("4", "[program:b]\nnumprocs=x\ncommand=y\n")]
    {
        place.supervisord.write("bad.conf", text);
        place.publish(version, ProcessSpec::main(run(CONTENT))).await;
        let why = place.wait_for_code(Code::SupervisorConfBroken).await;
        assert!(why.contains("bad.conf"), "{why}");
        if version == "2" {
            assert_eq!(place.supervisord.pid("fleetman-web"), pid);
        }
        std::fs::remove_file(place.supervisord.conf("bad.conf")).unwrap();
        place.wait_for_version(version).await;
    }
    agent.end().await;
}
