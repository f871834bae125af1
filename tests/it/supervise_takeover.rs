//! What becomes of a service when its supervisor is killed, and another one comes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fleetman::supervise::detached::{DetachedError, Orders, Report};
use fleetman::supervise::{
    End, Exit, Kind, ProcessDef, ProcessState, ProcessStatus, Restart, RestartPolicy, ServiceDef, Stop,
};
use tokio::process::Child;

use crate::support::shim::{self, Counting, Shims, kill, lives, log, marked, processes, sh, status, up};
use crate::support::wait_for;

fn service(processes: &[(&str, ProcessDef)]) -> ServiceDef {
    let processes = processes.iter().map(|(name, def)| ((*name).to_owned(), def.clone()));
    ServiceDef { processes: processes.collect(), ..ServiceDef::default() }
}

fn always(def: ProcessDef) -> ProcessDef {
    ProcessDef { restart: Restart { policy: RestartPolicy::Always, delay_ms: 1, ..Restart::default() }, ..def }
}

fn never(def: ProcessDef) -> ProcessDef {
    ProcessDef { restart: Restart { policy: RestartPolicy::Never, ..Restart::default() }, ..def }
}

/// A service that goes on for ever, and writes a line into a file each time that it starts.
fn noted(folder: &Path, name: &str) -> ProcessDef {
    sh(&format!("echo {name} >> {}; exec sleep 1000", folder.join("starts").display()))
}

fn task(folder: &Path, name: &str) -> ProcessDef {
    ProcessDef { kind: Kind::Task, ..sh(&format!("echo {name} >> {}", folder.join("starts").display())) }
}

/// How often a process was started, of those that write it down.
fn starts(folder: &Path, name: &str) -> usize {
    let text = fs::read_to_string(folder.join("starts")).unwrap_or_default();
    text.lines().filter(|line| *line == name).count()
}

async fn killed(mut supervisor: Child) {
    shim::killed(&mut supervisor).await;
}

async fn pid(shims: &Shims, process: &str) -> i32 {
    shims.until_state("s", process, "running").await.state.pid().unwrap()
}

async fn report(shims: &Shims) -> Report {
    shims.client("s").await.status().await.unwrap()
}

async fn now(shims: &Shims, process: &str) -> ProcessStatus {
    status(&report(shims).await, process).unwrap()
}

fn terminate(supervisor: &Child) {
    let pid = rustix::process::Pid::from_raw(supervisor.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[tokio::test]
async fn a_process_goes_on_under_the_next_supervisor_with_its_count_and_all_of_its_output() {
    let shims = Shims::new();
    let counting = Counting::new(shims.folder.path().join("notes"));
    let supervisor = shims.start("s", &[]);
    shims.client("s").await.apply(up("1", service(&[("main", counting.def())]))).await.unwrap();
    wait_for(async || counting.lives().len() == 1, "its first life").await;
    kill(pid(&shims, "main").await);
    let once = |status: &ProcessStatus| matches!(status.state, ProcessState::Running { restarts: 1, .. });
    let before = shims.until("s", "main", once, "restarted").await;
    wait_for(async || counting.lives().len() == 2, "its second life").await;
    let life = counting.lives().pop().unwrap();
    let lines = async || counting.check(&shims.logs("s"), "main").get(&life).copied().unwrap_or_default();
    wait_for(async || lines().await > 0, "a line of it").await;
    killed(supervisor).await;
    let logged = lines().await;

    let supervisor = shims.start("s", &[]);
    wait_for(async || lines().await > logged + 100, "more lines of it").await;
    assert_eq!(now(&shims, "main").await, before, "the same process, since the same moment");
    assert_eq!(counting.lives().len(), 2);

    let mut client = shims.client("s").await;
    client.stop_process("main").await.unwrap();
    let state = status(&client.status().await.unwrap(), "main").unwrap().state;
    assert!(matches!(state, ProcessState::Stopped { exit: Some(Exit::Unknown), .. }), "{state:?}");
    assert_eq!(marked(shims.folder.path()), [0; 0]);
    killed(supervisor).await;
}

#[tokio::test]
async fn what_ended_unseen_is_judged_and_what_was_at_rest_stays_there() {
    let shims = Shims::new();
    let folder = shims.folder.path();
    let unseen = ProcessDef { kind: Kind::Task, ..noted(folder, "unseen") };
    let all = [
        ("web", always(noted(folder, "web"))),
        ("once", never(noted(folder, "once"))),
        ("done", task(folder, "done")),
        ("unseen", unseen),
        ("halted", always(noted(folder, "halted"))),
        ("by-hand", ProcessDef { autostart: false, ..noted(folder, "by-hand") }),
    ];
    let supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    client.apply(up("1", service(&all))).await.unwrap();
    shims.until_state("s", "done", "completed").await;
    client.stop_process("halted").await.unwrap();
    client.start_process("by-hand").await.unwrap();
    let by_hand = pid(&shims, "by-hand").await;
    let gone = [pid(&shims, "web").await, pid(&shims, "once").await, pid(&shims, "unseen").await];
    let before = report(&shims).await;
    killed(supervisor).await;
    for pid in gone {
        kill(pid);
    }
    wait_for(async || !gone.iter().any(|pid| lives(*pid)), "their ends").await;

    let _supervisor = shims.start("s", &[]);
    let unknown = End::Exited(Exit::Unknown);
    let again = |status: &ProcessStatus| matches!(status.state, ProcessState::Running { restarts: 1, .. });
    let web = shims.until("s", "web", again, "restarted").await;
    assert_eq!(web.last_end, Some(unknown.clone()));
    for name in ["once", "unseen"] {
        let state = shims.until_state("s", name, "crashed").await.state;
        assert!(matches!(&state, ProcessState::Crashed { end, .. } if *end == unknown), "{name} {state:?}");
    }
    for name in ["done", "halted", "by-hand"] {
        assert_eq!(now(&shims, name).await, status(&before, name).unwrap(), "{name}");
    }
    assert!(lives(by_hand));
    wait_for(async || starts(folder, "web") == 2, "its second start").await;
    for name in ["once", "done", "unseen", "halted", "by-hand"] {
        assert_eq!(starts(folder, name), 1, "{name}");
    }
    shims.client("s").await.stop().await.unwrap();
}

/// Changes the orders of a service whose supervisor is gone.
fn reorder(shims: &Shims, change: impl FnOnce(&mut Orders)) {
    let path = shims.folder.path().join("s/orders.json");
    let mut orders: Orders = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut orders);
    fs::write(path, serde_json::to_vec(&orders).unwrap()).unwrap();
}

#[tokio::test]
async fn a_definition_that_changed_meanwhile_restarts_what_changed_and_ends_what_is_gone() {
    let shims = Shims::new();
    let folder = shims.folder.path();
    let all = ["same", "changed", "gone", "dead", "unwritten"].map(|name| (name, noted(folder, name)));
    let supervisor = shims.start("s", &[]);
    shims.client("s").await.apply(up("1", service(&all))).await.unwrap();
    let mut pids = BTreeMap::new();
    for (name, _) in &all {
        pids.insert(*name, pid(&shims, name).await);
    }
    killed(supervisor).await;
    kill(pids["dead"]);
    wait_for(async || !lives(pids["dead"]), "its end").await;
    reorder(&shims, |orders| {
        let processes = &mut orders.service.processes;
        processes.remove("gone");
        processes.remove("dead");
        processes.remove("unwritten");
        processes.get_mut("changed").unwrap().env.insert("MORE".into(), "1".into());
        processes.insert("new".into(), noted(folder, "new"));
    });
    // Of one of them nothing is known any more but its record.
    let state = fs::read_to_string(shims.run("s").join("state.json")).unwrap();
    let mut state: serde_json::Value = serde_json::from_str(&state).unwrap();
    state["processes"].as_object_mut().unwrap().remove("unwritten").unwrap();
    fs::write(shims.run("s").join("state.json"), state.to_string()).unwrap();

    let _supervisor = shims.start("s", &[]);
    let other = |status: &ProcessStatus| status.state.pid().is_some_and(|pid| pid != pids["changed"]);
    shims.until("s", "changed", other, "another process").await;
    shims.until_state("s", "new", "running").await;
    assert_eq!(pid(&shims, "same").await, pids["same"]);
    assert!(!lives(pids["gone"]) && !lives(pids["unwritten"]));
    assert_eq!((starts(folder, "gone"), starts(folder, "dead")), (1, 1));
    let report = report(&shims).await.service.unwrap();
    assert_eq!(report.processes.keys().collect::<Vec<_>>(), ["changed", "new", "same"]);
    assert!(!shims.run("s").join("gone.pid").exists() && !shims.run("s").join("unwritten.pid").exists());
    shims.client("s").await.stop().await.unwrap();
}

#[tokio::test]
async fn orders_that_a_kill_interrupted_are_carried_out_from_the_beginning() {
    let shims = Shims::new();
    let folder = shims.folder.path();
    let all = [("web", noted(folder, "web")), ("done", task(folder, "done"))];
    let supervisor = shims.start("s", &[]);
    shims.client("s").await.apply(up("1", service(&all))).await.unwrap();
    shims.until_state("s", "done", "completed").await;
    let before = pid(&shims, "web").await;
    assert!(!shims.run("s").join("orders.begun").exists());
    killed(supervisor).await;
    // Another name for the same: it starts everything anew.
    reorder(&shims, |orders| orders.id = "2".into());
    fs::write(shims.run("s").join("orders.begun"), "2").unwrap();

    let supervisor = shims.start("s", &[]);
    let other = |status: &ProcessStatus| status.state.pid().is_some_and(|pid| pid != before);
    shims.until("s", "web", other, "another process").await;
    shims.until_state("s", "done", "completed").await;
    assert!(!lives(before));
    let path = shims.run("s").join("orders.begun");
    wait_for(async || !path.exists(), "the orders to be carried out").await;
    assert_eq!((starts(folder, "web"), starts(folder, "done")), (2, 2));
    // Orders that were not saved are not those that were begun with.
    killed(supervisor).await;
    fs::write(&path, "3").unwrap();
    let after = processes();
    let _supervisor = shims.start("s", &[]);
    let pid = pid(&shims, "web").await;
    assert!(after.iter().any(|seen| seen.pid == pid), "it went on");
    shims.client("s").await.stop().await.unwrap();
}

#[tokio::test]
async fn a_supervisor_that_is_asked_to_end_stops_everything_and_the_next_one_begins_afresh() {
    let shims = Shims::new();
    let folder = shims.folder.path();
    let all = [("web", noted(folder, "web")), ("done", task(folder, "done")), ("halted", noted(folder, "halted"))];
    let mut supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    client.apply(up("1", service(&all))).await.unwrap();
    shims.until_state("s", "done", "completed").await;
    client.stop_process("halted").await.unwrap();
    terminate(&supervisor);
    assert!(shim::ended(&mut supervisor).await.success());
    assert_eq!(marked(folder), [0; 0]);

    let _supervisor = shims.start("s", &[]);
    for (name, state) in [("web", "running"), ("done", "completed"), ("halted", "running")] {
        shims.until_state("s", name, state).await;
        wait_for(async || starts(folder, name) == 2, name).await;
    }
    shims.client("s").await.stop().await.unwrap();
}

#[tokio::test]
async fn after_a_boot_everything_begins_afresh_and_no_stranger_is_taken_for_a_process() {
    let shims = Shims::new();
    let folder = shims.folder.path();
    let all = [("web", noted(folder, "web")), ("done", task(folder, "done")), ("halted", noted(folder, "halted"))];
    let supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    client.apply(up("1", service(&all))).await.unwrap();
    shims.until_state("s", "done", "completed").await;
    client.stop_process("halted").await.unwrap();
    let web = pid(&shims, "web").await;
    killed(supervisor).await;
    kill(web);
    wait_for(async || !lives(web), "its end").await;
    // After the boot another process has the number of the one before, and has started at the same tick.
    let mut stranger = tokio::process::Command::new("sleep").arg("1000").kill_on_drop(true).spawn().unwrap();
    let stat = fs::read(format!("/proc/{}/stat", stranger.id().unwrap())).unwrap();
    for name in ["web", "done", "halted"] {
        let path = shims.run("s").join(format!("{name}.pid"));
        let mut record = fs::read(&path).unwrap();
        record[..stat.len()].copy_from_slice(&stat);
        let boot = record.len() - 64;
        assert_eq!(record[boot + 8], b'-', "the name of the boot is there");
        record[boot] = if record[boot] == b'0' { b'1' } else { b'0' };
        fs::write(path, record).unwrap();
    }
    let path = shims.run("s").join("state.json");
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    state["boot_id"] = "another".into();
    fs::write(&path, state.to_string()).unwrap();

    let _supervisor = shims.start("s", &[]);
    for (name, state) in [("web", "running"), ("done", "completed"), ("halted", "running")] {
        shims.until_state("s", name, state).await;
        wait_for(async || starts(folder, name) == 2, name).await;
    }
    assert_eq!(now(&shims, "web").await.last_end, None);
    assert!(stranger.try_wait().unwrap().is_none(), "nothing was done to the stranger");
    shims.client("s").await.stop().await.unwrap();
    assert!(stranger.try_wait().unwrap().is_none(), "nothing was done to the stranger");
}

#[tokio::test]
async fn a_restart_that_a_kill_interrupted_does_not_become_a_stop() {
    let shims = Shims::new();
    let folder = shims.folder.path();
    let stubborn = ProcessDef {
        stop: Stop { timeout_ms: 60_000, ..Stop::default() },
        ..sh(&format!("trap '' TERM; echo web >> {}; while :; do sleep 0.01; done", folder.join("starts").display()))
    };
    let supervisor = shims.start("s", &[]);
    shims.client("s").await.apply(up("1", service(&[("web", stubborn)]))).await.unwrap();
    let before = pid(&shims, "web").await;
    wait_for(async || starts(folder, "web") == 1, "its start").await;
    let mut client = shims.client("s").await;
    let restart = tokio::spawn(async move { client.restart_process("web").await });
    shims.until_state("s", "web", "stopping").await;
    killed(supervisor).await;
    assert!(matches!(restart.await.unwrap(), Err(DetachedError::Broken { .. })));

    let supervisor = shims.start("s", &[]);
    shims.until_state("s", "web", "stopping").await;
    kill(before);
    shims.until_state("s", "web", "running").await;
    wait_for(async || starts(folder, "web") == 2, "its second start").await;

    // A stop stays a stop.
    let mut client = shims.client("s").await;
    let stop = tokio::spawn(async move { client.stop_process("web").await });
    shims.until_state("s", "web", "stopping").await;
    killed(supervisor).await;
    assert!(stop.await.unwrap().is_err());
    let _supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    client.kill_process("web").await.unwrap();
    assert_eq!(status(&client.status().await.unwrap(), "web").unwrap().state.name(), "stopped");
    client.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_supervisor_ends_at_once_and_changes_nothing() {
    let shims = Shims::new();
    let counting = Counting::new(shims.folder.path().join("notes"));
    let _supervisor = shims.start("s", &[]);
    shims.client("s").await.apply(up("1", service(&[("main", counting.def())]))).await.unwrap();
    let before = report(&shims).await;
    let mut others: Vec<Child> = (0..3).map(|_| shims.start("s", &[])).collect();
    for other in &mut others {
        assert!(shim::ended(other).await.success());
    }
    assert_eq!(report(&shims).await, before);
    shims.client("s").await.stop().await.unwrap();
    counting.check(&shims.logs("s"), "main");
}

#[tokio::test]
async fn clients_are_served_while_leftovers_are_still_being_stopped() {
    let shims = Shims::new();
    let folder = shims.folder.path();
    let stubborn = ProcessDef {
        stop: Stop { timeout_ms: 60_000, ..Stop::default() },
        ..sh("trap '' TERM; echo ready; while :; do sleep 0.01; done")
    };
    let supervisor = shims.start("s", &[]);
    let all =
        [("old", stubborn), ("web", noted(folder, "web")), ("talks", sh("while :; do echo more; sleep 0.01; done"))];
    shims.client("s").await.apply(up("1", service(&all))).await.unwrap();
    wait_for(async || log(&shims.logs("s"), "old").contains("ready"), "the stubborn one").await;
    let (old, web) = (pid(&shims, "old").await, pid(&shims, "web").await);
    killed(supervisor).await;
    reorder(&shims, |orders| {
        orders.service.processes.remove("old");
    });

    let mut supervisor = shims.start("s", &[]);
    shims.until_state("s", "old", "stopping").await;
    let logged = log(&shims.logs("s"), "talks").len();
    wait_for(async || log(&shims.logs("s"), "talks").len() > logged, "output to be read meanwhile").await;
    // What is asked meanwhile is done as soon as it can be.
    let mut client = shims.client("s").await;
    let restart = tokio::spawn(async move { client.restart_process("web").await });
    kill(old);
    restart.await.unwrap().unwrap();
    assert!(!lives(web) && lives(pid(&shims, "web").await));
    assert_eq!(report(&shims).await.service.unwrap().processes.len(), 2);

    // Nor is an end in order kept waiting by what cannot be told to wait.
    terminate(&supervisor);
    assert!(shim::ended(&mut supervisor).await.success());
    assert_eq!(marked(folder), [0; 0]);
}
