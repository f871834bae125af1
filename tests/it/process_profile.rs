//! Cells under the built-in supervisor: real agents, real supervisor processes, real services.

use std::collections::BTreeMap;

use fleetman::agent::AgentSettings;
use fleetman::model::content::content_sha256;
use fleetman::model::health::Health;
use fleetman::model::heartbeat::{CellReport, Phase, ProcessState, RunningState};
use fleetman::model::outcome::Ending;
use fleetman::model::process::ProcessSpec;
use fleetman::model::run_spec::{EnvValue, FromFile, Limits, Profile, Restart, RestartPolicy, RunSpec, Stop};
use fleetman::model::trigger::{Action, Target};
use fleetman::model::{CellName, Code, ProcessName};
use fleetman::supervise::detached::Client;

use crate::support::node::{Bench, of};
use crate::support::proxy::{Fault, On, Rule};
use crate::support::running::{Running, wait_for_phase};
use crate::support::wait_for;

/// A service that is content to be there.
const CONTENT: &str = "echo version $FLEETMAN_VERSION; exec sleep 1000";

fn run(line: &str) -> RunSpec {
    RunSpec {
        command: ["/bin/sh", "-c", line].map(str::to_owned).to_vec(),
        env: BTreeMap::from([("PATH".to_owned(), EnvValue::Text("/usr/bin:/bin".to_owned()))]),
        user: None,
        group: None,
        working_dir: None,
        restart: Restart { policy: RestartPolicy::OnFailure, delay_ms: 10, ..Restart::default() },
        stop: Stop { timeout_ms: 2_000, ..Stop::default() },
    }
}

async fn publish(bench: &mut Bench, version: &str, spec: ProcessSpec) -> Target {
    let target = upload(bench, version, spec, Limits::default()).await;
    bench.ask("web", Action::Deploy(target.clone())).await;
    target
}

async fn upload(bench: &Bench, version: &str, spec: ProcessSpec, limits: Limits) -> Target {
    let files: &[(&str, &[u8])] = &[("version", version.as_bytes())];
    let mut manifest = bench.manifest("web", version, files);
    manifest.profile = Profile::Process(spec);
    manifest.health = Health { min_healthy_ms: 100, deadline_ms: 20_000, ..Health::default() };
    manifest.limits = limits;
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    bench.upload(&manifest, files).await
}

fn with_process(settings: &mut AgentSettings, bench: &Bench) {
    settings.profiles = bench.profiles_with_process();
}

async fn agent(bench: &Bench) -> Running {
    Running::start(bench, |settings| with_process(settings, bench)).await
}

async fn report(bench: &Bench) -> CellReport {
    of(&bench.heartbeat().await.expect("a heartbeat"), "web")
}

/// The only service's process id, by the heartbeat.
fn pid(report: &CellReport) -> u32 {
    match report.state {
        RunningState::Running { pid: Some(pid), .. } => pid,
        ref other => panic!("{other:?}"),
    }
}

async fn wait_for_report(bench: &Bench, what: &str, is: impl Fn(&CellReport) -> bool) -> CellReport {
    let there = async || match bench.heartbeat().await {
        Some(beat) => beat.cells.get(&CellName::new("web").unwrap()).is_some_and(|report| is(report)),
        None => false,
    };
    wait_for(there, what).await;
    report(bench).await
}

fn lives(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap().starts_with(" Z"))
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

async fn supervisor(bench: &Bench) -> u32 {
    Client::connect(&bench.processes(), "web").await.unwrap().status().await.unwrap().pid
}

#[tokio::test]
async fn a_cell_keeps_its_process_while_agents_come_and_go() {
    let mut bench = Bench::start().await;
    publish(&mut bench, "1", ProcessSpec::main(run(CONTENT))).await;
    let first = agent(&bench).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    let before = report(&bench).await;
    let served = std::fs::read_to_string(bench.processes().join("web/current/version")).unwrap();
    assert_eq!(served, "1");
    first.end().await;
    assert!(lives(pid(&before)), "without an agent it goes on");

    let second = agent(&bench).await;
    let same = |report: &CellReport| report.state == before.state && report.phase == Phase::UpToDate;
    wait_for_report(&bench, "the same process to be found again", same).await;
    kill(pid(&before));
    let restarted = |report: &CellReport| matches!(report.state, RunningState::Running { restarts: 1, .. });
    let after = wait_for_report(&bench, "the restart to be told", restarted).await;
    assert_ne!(pid(&before), pid(&after));
    assert_eq!(after.processes[&ProcessName::main()].exit_signal, Some(9));
    second.end().await;
}

#[tokio::test]
async fn cells_that_live_as_long_as_the_agents_process_are_gone_once_it_may_end_and_run_again_with_the_next() {
    let mut bench = Bench::start().await;
    // It takes its time to end.
    publish(&mut bench, "1", ProcessSpec::main(run("trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done")))
        .await;
    let profiles = bench.profiles_with_process();
    let first = Running::start(&bench, |settings| settings.profiles = profiles.clone()).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    let (before, supervisor) = (report(&bench).await, supervisor(&bench).await);
    first.end().await;
    profiles.close().await;
    assert!(!lives(pid(&before)) && !lives(supervisor), "both are gone, not only on their way");

    let second = agent(&bench).await;
    let anew =
        |report: &CellReport| report.state != before.state && matches!(report.state, RunningState::Running { .. });
    wait_for_report(&bench, "it to run again", anew).await;
    second.end().await;
}

#[tokio::test]
async fn what_happened_without_an_agent_is_told_by_the_next() {
    let mut bench = Bench::start().await;
    publish(&mut bench, "1", ProcessSpec::main(run(CONTENT))).await;
    let first = agent(&bench).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    let before = report(&bench).await;
    first.end().await;
    let mut watch = Client::connect(&bench.processes(), "web").await.unwrap();
    kill(pid(&before));
    let again = async || {
        let service = watch.status().await.unwrap().service.unwrap();
        service.processes["main"].state.pid().is_some_and(|now| now.unsigned_abs() != pid(&before))
    };
    wait_for(again, "the supervisor to start it again").await;
    let second = agent(&bench).await;
    let told = |report: &CellReport| {
        let main = report.processes.get(&ProcessName::main());
        main.is_some_and(|main| {
            main.restarts == 1 && main.exit_signal == Some(9) && main.state == ProcessState::Running
        })
    };
    wait_for_report(&bench, "the restart to be told", told).await;
    second.end().await;
}

#[tokio::test]
async fn a_killed_supervisor_is_replaced_and_its_process_goes_on() {
    let mut bench = Bench::start().await;
    publish(&mut bench, "1", ProcessSpec::main(run(CONTENT))).await;
    let agent = agent(&bench).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    let (before, old) = (report(&bench).await, supervisor(&bench).await);
    kill(old);
    let replaced = async || match Client::connect(&bench.processes(), "web").await {
        Ok(mut client) => client.status().await.is_ok_and(|report| report.pid != old),
        Err(_) => false,
    };
    wait_for(replaced, "another supervisor").await;
    assert!(lives(pid(&before)));
    let now = Client::connect(&bench.processes(), "web").await.unwrap().status().await.unwrap();
    let now = now.service.unwrap().processes["main"].state.pid();
    assert_eq!(now.map(i32::unsigned_abs), Some(pid(&before)));
    assert!(!lives(old), "it is no zombie either");
    agent.end().await;
}

#[tokio::test]
async fn a_version_that_does_not_stay_up_is_rolled_back_once() {
    let mut bench = Bench::start().await;
    publish(&mut bench, "1", ProcessSpec::main(run(CONTENT))).await;
    let agent = agent(&bench).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    publish(&mut bench, "2", ProcessSpec::main(run("echo broken >&2; exit 3"))).await;
    wait_for_phase(&bench, "web", Phase::RolledBack).await;
    let running = |report: &CellReport| matches!(report.state, RunningState::Running { .. });
    let report = wait_for_report(&bench, "the last known good version to run", running).await;
    assert_eq!(report.running.unwrap().version.as_str(), "1");
    let error = report.last_error.unwrap();
    assert_eq!(error.code, Code::Unhealthy);
    // How often it was by the time that this was seen depends on the machine.
    let message = &error.message;
    assert!(
        message.contains("main was restarted ") && message.contains(" times: it ended with exit code 3"),
        "{message}"
    );
    let outcomes = async || bench.outcomes("web").await.len() == 2;
    wait_for(outcomes, "both outcomes").await;
    let endings: Vec<Ending> = bench.outcomes("web").await.iter().map(|outcome| outcome.outcome).collect();
    assert_eq!(endings, [Ending::Succeeded, Ending::RolledBack]);
    let said = bench.processes().join("web/logs");
    let logs: String =
        std::fs::read_dir(said).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    assert_eq!(logs.matches("version 1").count(), 2, "{logs}");
    // The last one may have been stopped before it could say anything.
    assert!(logs.matches("broken").count() >= 3, "{logs}");
    agent.end().await;
}

#[tokio::test]
async fn what_was_known_of_a_stopped_cell_is_not_taken_for_the_next_start() {
    let mut bench = Bench::start().await;
    let target = publish(&mut bench, "1", ProcessSpec::main(run(CONTENT))).await;
    let agent = agent(&bench).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    for _ in 0..4 {
        bench.ask("web", Action::Stop).await;
        wait_for_phase(&bench, "web", Phase::Stopped).await;
        bench.ask("web", Action::Deploy(target.clone())).await;
        wait_for_phase(&bench, "web", Phase::UpToDate).await;
    }
    agent.end().await;
}

#[tokio::test]
async fn stop_lasts_and_deploy_ends_it_and_remove_leaves_nothing() {
    let mut bench = Bench::start().await;
    let target = publish(&mut bench, "1", ProcessSpec::main(run(CONTENT))).await;
    let first = agent(&bench).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    let before = pid(&report(&bench).await);
    bench.ask("web", Action::Stop).await;
    wait_for_phase(&bench, "web", Phase::Stopped).await;
    assert!(!lives(before));
    first.end().await;
    let second = agent(&bench).await;
    let stopped = |report: &CellReport| report.phase == Phase::Stopped && report.state == RunningState::Stopped;
    wait_for_report(&bench, "it to stay stopped", stopped).await;
    assert!(Client::connect(&bench.processes(), "web").await.is_err(), "nothing needs a supervisor");

    bench.ask("web", Action::Deploy(target)).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    let again = pid(&report(&bench).await);
    bench.ask("web", Action::Remove).await;
    wait_for_phase(&bench, "web", Phase::Removed).await;
    assert!(!lives(again));
    for left in ["run", "logs", "orders.json", "current", "releases"] {
        assert!(!bench.processes().join("web").join(left).exists(), "{left}");
    }
    second.end().await;
}

#[tokio::test]
async fn after_a_boot_cells_start_without_the_bucket() {
    let mut bench = Bench::start().await;
    publish(&mut bench, "1", ProcessSpec::main(run(CONTENT))).await;
    let first = agent(&bench).await;
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    let before = pid(&report(&bench).await);
    first.end().await;
    // What a boot does: nothing runs, and the id is another one.
    kill(supervisor(&bench).await);
    kill(before);
    let state = bench.processes().join("web/run/state.json");
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = std::fs::read_to_string(&state).unwrap().replace(boot_id.trim(), "00000000-0000-0000-0000-000000000000");
    std::fs::write(&state, text).unwrap();

    bench.proxy.inject(Rule::new(On::any(), Fault::status(503)));
    let second = agent(&bench).await;
    let runs = async || match Client::connect(&bench.processes(), "web").await {
        Ok(mut client) => {
            let service = client.status().await.unwrap().service;
            service.is_some_and(|service| service.processes["main"].state.name() == "running")
        }
        Err(_) => false,
    };
    wait_for(runs, "the cell to run").await;
    bench.proxy.heal();
    second.end().await;
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_waited_for() {
    let mut bench = Bench::start().await;
    let secret = bench.home.path().join("token");
    let from_file = EnvValue::FromFile(FromFile { from_file: secret.display().to_string(), key: None });
    let mut spec = run("test \"$TOKEN\" = s3cret && exec sleep 1000");
    spec.env.insert("TOKEN".to_owned(), from_file);
    publish(&mut bench, "1", ProcessSpec::main(spec)).await;
    let agent = agent(&bench).await;
    let waits =
        |report: &CellReport| report.waiting.as_ref().is_some_and(|waiting| waiting.reason == Code::SecretMissing);
    let report = wait_for_report(&bench, "it to wait", waits).await;
    let message = report.waiting.unwrap().message;
    assert!(message.starts_with("TOKEN of main: reading ") && message.contains("No such file"), "{message}");
    std::fs::write(&secret, "s3cret\n").unwrap();
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    agent.end().await;
}

#[tokio::test]
async fn a_limit_that_nobody_can_enforce_is_waited_for() {
    let mut bench = Bench::start().await;
    let limits = Limits { memory_bytes: Some(1 << 30), ..Limits::default() };
    let target = upload(&bench, "1", ProcessSpec::main(run(CONTENT)), limits).await;
    bench.ask("web", Action::Deploy(target)).await;
    let agent = agent(&bench).await;
    let waits =
        |report: &CellReport| report.waiting.as_ref().is_some_and(|waiting| waiting.reason == Code::LimitUnavailable);
    wait_for_report(&bench, "it to wait", waits).await;
    agent.end().await;
}

#[tokio::test]
async fn an_agent_that_is_killed_while_it_checks_goes_on_with_the_same_process() {
    let mut bench = Bench::start().await;
    let target = upload(&bench, "1", ProcessSpec::main(run(CONTENT)), Limits::default()).await;
    bench.ask("web", Action::Deploy(target)).await;
    // The gate stays closed until the file is there.
    let gate = bench.home.path().join("gate");
    let task = format!("until test -e {}; do sleep 0.02; done", gate.display());
    let mut spec = ProcessSpec::main(run(CONTENT));
    let mut once = fleetman::model::process::Process::service(run(&task));
    once.kind = fleetman::model::process::ProcessKind::Task;
    once.run.restart.policy = RestartPolicy::Never;
    spec.processes.insert(ProcessName::new("seed").unwrap(), once);
    publish(&mut bench, "2", spec).await;
    let first = agent(&bench).await;
    wait_for_phase(&bench, "web", Phase::Checking).await;
    let running = |report: &CellReport| {
        report.processes.get(&ProcessName::main()).is_some_and(|main| main.state == ProcessState::Running)
    };
    let before = wait_for_report(&bench, "the service to run", running).await;
    first.end().await;
    let second = agent(&bench).await;
    std::fs::write(&gate, "").unwrap();
    wait_for_phase(&bench, "web", Phase::UpToDate).await;
    let after = report(&bench).await;
    assert_eq!(after.processes[&ProcessName::main()], before.processes[&ProcessName::main()]);
    assert_eq!(after.processes[&ProcessName::new("seed").unwrap()].state, ProcessState::Completed);
    second.end().await;
}
