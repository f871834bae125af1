//! Between being up and being good: what an agent does until a version passes, and what it does about one that does
//! not; and what it brings up by itself when it starts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use fleetman::agent::{Gate, Observed};
use fleetman::model::health::Health;
use fleetman::model::heartbeat::{Phase, ProcessReport, ProcessState, RunningState};
use fleetman::model::outcome::Ending;
use fleetman::model::process::{Process, ProcessSpec};
use fleetman::model::run_spec::{self, RunSpec};
use fleetman::model::trigger::Action;
use fleetman::model::{Code, ProcessName};

use crate::support::node::{ONE, files, of};
use crate::support::proxy::On;
use crate::support::running::{Running, wait_for_phase};
use crate::support::stand_in::{Node, run};
use crate::support::wait_for;

fn pending() -> Gate {
    Gate::Pending("web: up for 3 s of 10 s".to_owned())
}

/// A node on which version 1 is good and version 2 is being watched.
async fn checking() -> Node {
    let mut node = Node::start().await;
    node.publish("1").await;
    assert_eq!(node.once().await.phase, Phase::UpToDate);
    node.profile.gate("2", pending());
    node.publish("2").await;
    node
}

async fn running(node: &Node) -> Running {
    Running::start(&node.bench, |settings| settings.profiles = node.profiles()).await
}

#[tokio::test]
async fn a_version_becomes_good_as_soon_as_its_gate_lets_it_pass() {
    let node = checking().await;
    let agent = running(&node).await;
    wait_for_phase(&node.bench, "app", Phase::Checking).await;
    let report = of(&node.bench.heartbeat().await.unwrap(), "app");
    assert_eq!(report.running.unwrap().version.as_str(), "2");
    assert_eq!(report.known_good.unwrap().version.as_str(), "1");
    assert!(report.applied < report.seen);
    let before = node.profile.told().checks;
    wait_for(async || node.profile.told().checks >= before + 3, "it to be looked at by the clock").await;
    node.profile.gate("2", Gate::Passed);
    wait_for_phase(&node.bench, "app", Phase::UpToDate).await;
    let report = of(&node.bench.heartbeat().await.unwrap(), "app");
    assert_eq!(report.known_good.unwrap().version.as_str(), "2");
    wait_for(async || node.bench.outcomes("app").await.len() == 2, "the outcome").await;
    assert_eq!(node.bench.outcomes("app").await[1].outcome, Ending::Succeeded);
    agent.end().await;
    assert_eq!(node.profile.told().started, ["1 as 1-1-1", "2 as 1-2-1"]);
}

#[tokio::test]
async fn a_version_that_is_not_healthy_is_rolled_back_once_and_told() {
    let node = checking().await;
    let agent = running(&node).await;
    wait_for_phase(&node.bench, "app", Phase::Checking).await;
    node.profile.asked();
    node.profile.gate("2", Gate::Failed("web: exit code 1, 5 times".to_owned()));
    wait_for_phase(&node.bench, "app", Phase::RolledBack).await;
    agent.end().await;
    let report = node.once().await;
    let fault = report.last_error.unwrap();
    assert_eq!((fault.code, fault.message.as_str()), (Code::Unhealthy, "web: exit code 1, 5 times"));
    assert_eq!((report.running.unwrap().version.as_str(), report.failed_content.len()), ("1", 1));
    assert_eq!(node.profile.asked(), ["activate 1"], "once, and nothing is stopped before");
    assert_eq!(node.profile.told().started, ["1 as 1-1-1", "2 as 1-2-1", "1 as 1-2-1-restore"]);
    let outcome = node.bench.outcomes("app").await.pop().unwrap();
    assert_eq!((outcome.outcome, outcome.code), (Ending::RolledBack, Some(Code::Unhealthy)));
    let log = node.bench.log("app", 2, 1).await;
    assert!(log.contains("unhealthy: web: exit code 1, 5 times"), "{log}");
}

#[tokio::test]
async fn a_version_that_is_not_healthy_in_time_is_rolled_back_with_what_it_lacked() {
    let mut node = Node::start().await;
    node.publish("1").await;
    node.once().await;
    node.profile.gate("2", pending());
    node.publish_with("2", |manifest| {
        manifest.health = Health { min_healthy_ms: 1, deadline_ms: 700, ..Health::default() }
    })
    .await;
    let agent = running(&node).await;
    wait_for_phase(&node.bench, "app", Phase::RolledBack).await;
    agent.end().await;
    assert!(node.profile.told().checks >= 3, "it was given its time");
    let fault = node.once().await.last_error.unwrap();
    let expected = "it is not healthy after 700ms: web: up for 3 s of 10 s";
    assert_eq!((fault.code, fault.message.as_str()), (Code::Unhealthy, expected));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_gate() {
    let mut node = checking().await;
    let agent = running(&node).await;
    wait_for_phase(&node.bench, "app", Phase::Checking).await;
    node.bench.ask("app", Action::Stop).await;
    wait_for_phase(&node.bench, "app", Phase::Stopped).await;
    node.profile.gate("2", Gate::Failed("too late".to_owned()));
    agent.end().await;
    assert_eq!(node.once().await.phase, Phase::Stopped);
    assert_eq!(node.profile.told().started.len(), 2, "nothing is put back");
    let outcomes = node.bench.outcomes("app").await;
    let endings: Vec<Ending> = outcomes.iter().map(|outcome| outcome.outcome).collect();
    assert_eq!(endings, [Ending::Succeeded, Ending::Superseded, Ending::Succeeded]);
}

#[tokio::test]
async fn a_newer_version_does_not_wait_for_the_gate() {
    let mut node = checking().await;
    assert_eq!(node.once().await.phase, Phase::Checking);
    node.publish("3").await;
    let report = node.once().await;
    assert_eq!((report.phase, report.known_good.unwrap().version.as_str()), (Phase::UpToDate, "3"));
    assert_eq!(node.profile.told().started, ["1 as 1-1-1", "2 as 1-2-1", "3 as 1-3-1"]);
    assert_eq!(node.bench.outcomes("app").await[1].outcome, Ending::Superseded);
}

#[tokio::test]
async fn an_agent_that_is_killed_while_it_watches_goes_on_watching_the_same_process() {
    let node = checking().await;
    assert_eq!(node.once().await.phase, Phase::Checking);
    let pid = |state: RunningState| match state {
        RunningState::Running { pid, .. } => pid,
        other => panic!("{other:?}"),
    };
    node.profile.asked();
    for _ in 0..5 {
        let checks = node.profile.told().checks;
        node.once_until(move |profile| profile.told().checks > checks).await;
        let report = node.once().await;
        assert_eq!((report.phase, pid(report.state)), (Phase::Checking, Some(2)));
    }
    node.profile.gate("2", Gate::Passed);
    let report = node.once().await;
    assert_eq!((report.phase, pid(report.state)), (Phase::UpToDate, Some(2)));
    assert_eq!(node.profile.asked(), [""; 0], "it was not even asked again");
    assert_eq!(node.bench.outcomes("app").await.len(), 2);
}

#[tokio::test]
async fn an_activation_that_the_agent_could_not_write_down_is_asked_for_again_under_its_name() {
    let mut node = Node::start().await;
    node.publish("1").await;
    // It dies with the program up, and the journal saying that it is to be brought up.
    assert!(!node.once_until(|profile| !profile.told().started.is_empty()).await);
    assert_eq!(node.profile.asked(), ["activate 1"]);
    assert_eq!(node.once().await.phase, Phase::UpToDate);
    assert_eq!(node.profile.asked(), ["activate 1"]);
    assert_eq!(node.profile.told().started, ["1 as 1-1-1"], "what was up already is not restarted");
    // The same on the way back.
    node.profile.breaks("2");
    node.publish("2").await;
    assert!(!node.once_until(|profile| profile.told().started.len() == 2).await);
    assert_eq!(node.once().await.phase, Phase::RolledBack);
    assert_eq!(node.profile.asked(), ["activate 2", "activate 1", "activate 1"]);
    assert_eq!(node.profile.told().started, ["1 as 1-1-1", "1 as 1-2-1-restore"]);
}

#[tokio::test]
async fn an_upgrade_that_is_killed_between_any_two_steps_starts_the_version_once() {
    for survive in 0..200 {
        let mut node = Node::start().await;
        node.publish("1").await;
        node.once().await;
        node.publish("2").await;
        let left = AtomicUsize::new(survive);
        let dead =
            move |_: &_| left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
        let lived = node.once_until(dead).await;
        let report = node.once().await;
        assert_eq!((report.phase, &report.conditions), (Phase::UpToDate, &vec![]), "after {survive} steps");
        assert_eq!(node.profile.told().started, ["1 as 1-1-1", "2 as 1-2-1"], "after {survive} steps");
        let endings: Vec<Ending> = node.bench.outcomes("app").await.iter().map(|outcome| outcome.outcome).collect();
        assert_eq!(endings, [Ending::Succeeded; 2], "after {survive} steps");
        if lived {
            assert!(survive > 20, "an upgrade has more steps than that: {survive}");
            return;
        }
    }
    panic!("the walk does not end");
}

#[tokio::test]
async fn what_is_not_running_any_more_while_it_is_watched_is_brought_up_again() {
    let node = checking().await;
    node.once().await;
    node.profile.asked();
    node.profile.forget();
    assert_eq!(node.once().await.phase, Phase::Checking);
    assert_eq!(node.profile.asked(), ["activate 2"]);
    assert_eq!(node.profile.told().started[1..], ["2 as 1-2-1", "2 as 1-2-1"]);
}

#[tokio::test]
async fn cells_that_should_run_are_resumed_before_the_bucket_is_asked() {
    let mut node = Node::start().await;
    node.publish("1").await;
    node.once().await;
    assert_eq!(node.profile.told().resumed, 0, "there was nothing to resume");
    node.bench.proxy.clear_log();
    let agent = node.agent(|_| {}).await.unwrap();
    wait_for(async || node.profile.told().resumed == 1, "the cell to be resumed").await;
    assert!(node.bench.proxy.log().is_empty(), "{:?}", node.bench.proxy.log());
    agent.close().await;

    node.bench.ask("app", Action::Stop).await;
    node.once().await;
    let resumed = node.profile.told().resumed;
    assert_eq!(node.once().await.phase, Phase::Stopped);
    assert_eq!(node.profile.told().resumed, resumed, "what a trigger stopped stays stopped");
}

#[tokio::test]
async fn a_cell_that_takes_long_to_resume_delays_neither_the_polls_nor_other_cells() {
    let mut node = Node::start().await;
    node.publish("1").await;
    node.once().await;
    node.profile.hold_resume();
    node.publish("2").await;
    let agent = Running::start(&node.bench, |settings| {
        settings.profiles = node.profiles();
        settings.full_scan_interval = settings.poll_interval;
    })
    .await;
    node.bench.proxy.clear_log();
    // Each of them tells the cell something: more than it keeps unread.
    wait_for(async || node.bench.proxy.count(On::get("*/app/trigger.json")) >= 100, "a hundred scans").await;
    node.bench.publish("site", "1", ONE).await;
    wait_for(async || node.bench.deployed("site") == files(ONE), "another cell").await;
    wait_for_phase(&node.bench, "app", Phase::Fetching).await;
    assert_eq!(node.profile.told().started.len(), 1, "the cell itself waits");
    node.profile.let_resume();
    wait_for(async || node.profile.told().started.len() == 2, "what is owed to go on").await;
    wait_for_phase(&node.bench, "app", Phase::UpToDate).await;
    agent.end().await;
}

#[tokio::test]
async fn a_change_of_state_is_told_at_once_and_never_more_than_a_heartbeat_takes() {
    let mut node = Node::start().await;
    node.publish("1").await;
    let agent = running(&node).await;
    wait_for_phase(&node.bench, "app", Phase::UpToDate).await;
    let process = ProcessReport {
        state: ProcessState::Crashed,
        pid: None,
        since: None,
        restarts: 5,
        exit_code: None,
        exit_signal: Some(11),
        reason: Some(format!("\u{1b}[2J{}", "x".repeat(100_000))),
    };
    let name = |at: usize| ProcessName::new(format!("p{at}")).unwrap();
    let processes: BTreeMap<_, _> = (0..100).map(|at| (name(at), process.clone())).collect();
    node.profile.observe(Observed {
        state: RunningState::Failed { reason: "x".repeat(100_000) },
        processes,
        conditions: Vec::new(),
    });
    // The next heartbeat by the clock is a minute away.
    let told = async || !of(&node.bench.heartbeat().await.unwrap(), "app").processes.is_empty();
    wait_for(told, "the processes to be told").await;
    agent.end().await;
    let report = of(&node.bench.heartbeat().await.unwrap(), "app");
    assert_eq!(report.processes.len(), ProcessSpec::MOST_PROCESSES);
    let process = &report.processes[&name(0)];
    assert_eq!((process.state, process.restarts, process.exit_signal), (ProcessState::Crashed, 5, Some(11)));
    let reason = process.reason.as_ref().unwrap();
    assert!(reason.chars().count() < 500 && !reason.contains('\u{1b}'), "{reason}");
    let RunningState::Failed { reason } = report.state else { panic!("{:?}", report.state) };
    assert!(reason.chars().count() < 500);
}

#[tokio::test]
async fn a_user_that_the_node_does_not_have_is_waited_for_before_anything_is_touched() {
    let mut node = Node::start().await;
    node.publish("1").await;
    node.once().await;
    node.profile.asked();
    let nobody = Process::service(RunSpec { user: Some("no-such-user-here".to_owned()), ..run() });
    let processes = BTreeMap::from([("web".parse().unwrap(), nobody), ("x".parse().unwrap(), Process::service(run()))]);
    let spec = ProcessSpec { user: None, group: None, processes };
    node.publish_with("2", |manifest| manifest.profile = run_spec::Profile::Process(spec)).await;
    let report = node.once().await;
    assert_eq!(report.waiting.unwrap().reason, Code::UserUnknown);
    assert_eq!((report.running.unwrap().version.as_str(), node.profile.asked().len()), ("1", 0));
}
