//! Processes that do not do what is expected of them.

use std::collections::BTreeMap;

use super::*;

fn impatient(def: ProcessDef) -> ProcessDef {
    ProcessDef { stop: Stop { timeout_ms: 50, ..Stop::default() }, ..def }
}

#[tokio::test]
async fn one_that_ignores_sigterm_is_killed_after_its_time() {
    let bench = Bench::new();
    bench.start(impatient(sh("trap '' TERM; echo ready; while :; do sleep 0.01; done"))).await.unwrap();
    bench.until_said("p", "ready").await;
    bench.supervisor.stop_process("s", "p").await.unwrap();
    let state = bench.status("p").state;
    assert!(matches!(state, ProcessState::Stopped { exit: Some(Exit::Signal(9)), .. }), "{state:?}");
    bench.shutdown().await;
}

/// A child, one in a session of its own, one that was orphaned on purpose, and one without the marked environment.
const FAMILY: &str = r#"
sleep() { exec perl -e 'sleep 1000' "$MARK"; }
sleep &
setsid perl -e 'sleep 1000' "$MARK" &
(setsid perl -e 'sleep 1000' "$MARK" &)
env -i setsid perl -e 'fork; sleep 1000' "$MARK" &
echo ready
wait
"#;

/// The processes of [`FAMILY`] that run, by the argument that they have.
fn family(bench: &Bench) -> Vec<i32> {
    let mark = bench.folder.path().display().to_string();
    let has_mark = |stat: &proc::Stat| {
        let line = std::fs::read(format!("/proc/{}/cmdline", stat.pid)).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
    };
    let all = proc::all().unwrap().into_iter().filter(|stat| !stat.is_zombie);
    all.filter(has_mark).map(|stat| stat.pid).collect()
}

#[tokio::test]
async fn children_other_sessions_and_orphans_end_with_it() {
    let bench = Bench::new();
    let env = BTreeMap::from([("MARK".to_owned(), EnvValue::Text(bench.folder.path().display().to_string()))]);
    let def = ProcessDef { env, restart: restart(RestartPolicy::Always, None), ..impatient(sh(FAMILY)) };
    bench.start(def).await.unwrap();
    let whole = async || {
        let all = async {
            while family(&bench).len() < 5 {
                tokio::task::yield_now().await;
            }
        };
        bench.within(all, "the family").await;
        family(&bench)
    };
    let first = whole().await;
    proc::Stat::read(bench.pid()).unwrap().unwrap().signal(rustix::process::Signal::KILL).unwrap();
    bench.until("p", "restarted", |status| matches!(status.state, ProcessState::Running { restarts: 1, .. })).await;
    let second = whole().await;
    assert!(first.iter().all(|pid| !second.contains(pid)), "{first:?} {second:?}");
    bench.supervisor.stop_process("s", "p").await.unwrap();
    assert_eq!(family(&bench), [0; 0]);
    bench.shutdown().await;
}

#[tokio::test]
async fn one_that_forks_away_has_ended_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let line = format!("setsid perl -e 'sleep 1000' '{}' & exit 0", bench.folder.path().display());
    bench.start(ProcessDef { restart: restart(RestartPolicy::OnFailure, None), ..sh(&line) }).await.unwrap();
    bench.until_state("p", "completed").await;
    assert_eq!(family(&bench), [0; 0]);
    bench.shutdown().await;
}

#[tokio::test]
async fn one_that_closes_its_output_runs_on_in_silence() {
    let bench = Bench::new();
    let path = bench.folder.path().join("there");
    let line = format!("echo before; exec >&- 2>&-; echo there > {}; exec sleep 1000", path.display());
    bench.start(sh(&line)).await.unwrap();
    bench.until_said("p", "before").await;
    let silent = async {
        while !path.exists() {
            tokio::task::yield_now().await;
        }
    };
    bench.within(silent, "the file").await;
    assert_eq!(bench.status("p").state.name(), "running");
    let pid = bench.pid();
    bench.supervisor.restart_process("s", "p").await.unwrap();
    assert!(!lives(pid));
    bench.until_said("p", "before\nbefore").await;
    bench.shutdown().await;
}

#[tokio::test]
async fn one_that_ends_at_once_for_ever_can_be_stopped() {
    let bench = Bench::new();
    let def = ProcessDef {
        restart: Restart { delay_ms: 0, max_delay_ms: 0, ..restart(RestartPolicy::Always, None) },
        ..ProcessDef::new(Run::command(["true"]))
    };
    bench.start(def).await.unwrap();
    let often = |status: &ProcessStatus| matches!(status.state, ProcessState::Running { restarts: 50.., .. });
    bench.until("p", "restarted often", often).await;
    bench.supervisor.stop_process("s", "p").await.unwrap();
    assert_eq!(bench.status("p").state.name(), "stopped");
    bench.shutdown().await;
}

#[tokio::test]
async fn a_large_environment_is_passed_on_whole() {
    let bench = Bench::new();
    let env: BTreeMap<String, EnvValue> =
        (0..4).map(|at| (format!("BIG{at}"), EnvValue::Text("x".repeat(50 << 10)))).collect();
    bench
        .start(ProcessDef { env, kind: Kind::Task, ..sh("echo $(( ${#BIG0} + ${#BIG1} + ${#BIG2} + ${#BIG3} ))") })
        .await
        .unwrap();
    bench.until_state("p", "completed").await;
    assert_eq!(bench.said("p"), "204800\n");
    bench.shutdown().await;
}

#[tokio::test]
async fn one_that_runs_as_another_user_is_that_user_and_can_open_its_output() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become somebody else");
        return;
    }
    let bench = Bench::new();
    let def = ProcessDef {
        user: Some("daemon".into()),
        kind: Kind::Task,
        ..sh("id -un; id -Gn; echo reopened > /dev/stderr")
    };
    bench.start(def).await.unwrap();
    bench.until("p", "at rest", |status| status.state.is_at_rest()).await;
    assert_eq!(bench.said("p"), "daemon\ndaemon\nreopened\n");
    assert_eq!(bench.status("p").state.name(), "completed");
    bench.shutdown().await;
}
