//! Ends: of a process, of a supervisor, and what they leave alone.

use std::pin::Pin;
use std::process::{Command, Stdio};

use chrono::{DateTime, Utc};

use super::*;
use crate::clock::Clock;

/// Ignores being asked to end, and has long for it.
fn stubborn(timeout_ms: u64) -> ProcessDef {
    let stop = Stop { timeout_ms, ..Stop::default() };
    ProcessDef { stop, ..sh("trap '' TERM; echo ready; while :; do sleep 0.01; done") }
}

/// The system's clock, of a machine that has been up for long.
#[derive(Debug)]
struct Later(SharedClock);

impl Clock for Later {
    fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic() + Duration::from_secs(3600)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.sleep(duration)
    }
}

#[tokio::test]
async fn a_kill_during_a_stop_is_waited_for_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let clock: SharedClock = std::sync::Arc::new(Later(SystemClock::shared()));
    let supervisor = Supervisor::open(SupervisorConfig::new(folder.path()), clock.clone()).unwrap();
    let bench = Bench { supervisor, folder, clock };
    bench.start(stubborn(60_000)).await.unwrap();
    bench.until_said("p", "ready").await;
    let pid = bench.pid();
    let supervisor = bench.supervisor.clone();
    let stop = tokio::spawn(async move { supervisor.stop_process("s", "p").await });
    bench.until_state("p", "stopping").await;
    bench.supervisor.kill_process("s", "p").await.unwrap();
    stop.await.unwrap().unwrap();
    assert!(!lives(pid));
    bench.shutdown().await;
}

#[tokio::test]
async fn nothing_can_be_started_once_the_supervisor_ends() {
    let bench = Bench::new();
    bench.start(stubborn(300)).await.unwrap();
    bench.until_said("p", "ready").await;
    let pid = bench.pid();
    let supervisor = bench.supervisor.clone();
    let end = tokio::spawn(supervisor.shutdown());
    bench.until_state("p", "stopping").await;
    let refused = [
        bench.supervisor.start_process("s", "p").await,
        bench.supervisor.start_all("s").await,
        bench.supervisor.restart_process("s", "p").await,
        bench.supervisor.start_service("t", ServiceDef::of("q", sh("exec sleep 1000"))).await,
    ];
    assert!(refused.iter().all(|result| matches!(result, Err(SupervisorError::Ended))), "{refused:?}");
    end.await.unwrap().unwrap();
    assert!(!lives(pid));
    assert!(!bench.folder.path().join("t").exists());
}

#[tokio::test]
async fn a_service_that_cannot_be_prepared_is_not_begun_with() {
    let bench = Bench::new();
    let in_the_way = bench.folder.path().join("s/run/q.out");
    std::fs::create_dir_all(&in_the_way).unwrap();
    let service = || ServiceDef {
        processes: ["p", "q"].map(|name| (name.to_owned(), sh("exec sleep 1000"))).into(),
        ..ServiceDef::default()
    };
    let error = bench.supervisor.start_service("s", service()).await.unwrap_err();
    assert!(matches!(&error, SupervisorError::Disk { path, .. } if *path == in_the_way), "{error}");
    assert!(bench.supervisor.status().is_empty());
    std::fs::remove_dir(&in_the_way).unwrap();
    bench.supervisor.start_service("s", service()).await.unwrap();
    // Nor is a reload that cannot add what it is to add.
    let before = bench.supervisor.service_status("s").unwrap();
    std::fs::create_dir(bench.folder.path().join("s/run/r.out")).unwrap();
    let more = ServiceDef::of("r", sh("exec sleep 1000"));
    assert!(bench.supervisor.reload_service("s", more).await.is_err());
    assert_eq!(bench.supervisor.service_status("s").unwrap(), before);
    bench.supervisor.stop_service("s").await.unwrap();
    bench.supervisor.remove_service("s").await.unwrap();
    bench.shutdown().await;
}

/// A test of this binary succeeds in a process of its own: it changes things that other tests share.
fn succeeds_alone(mut command: Command, test: &str) {
    command.args(["--exact", &format!("supervise::tests::ending::{test}"), "--include-ignored", "--nocapture"]);
    let child = command.stdin(Stdio::null()).output().unwrap();
    let said = [child.stdout, child.stderr].concat();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn what_the_program_started_by_itself_is_no_orphan() {
    let me = std::env::current_exe().unwrap();
    succeeds_alone(Command::new(&me), "has_a_child_of_its_own");
    // In a container it is in a session that has no number there, if it was begun outside of it.
    if rustix::process::geteuid().is_root() {
        let mut contained = Command::new("unshare");
        contained.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).arg(&me);
        succeeds_alone(contained, "has_a_child_of_its_own");
    }
}

#[tokio::test]
#[ignore = "adopts orphans for its whole process; run by another test"]
async fn has_a_child_of_its_own() {
    let bench = Bench::with(|config| config.adopt_orphans = true);
    let mut own = Command::new("sleep").arg("1000").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let orphan = "(env -i setsid perl -e 'open(my $f, \">\", $ARGV[0]); print $f $$; close $f; sleep 1000' \"$PWD/away\" >/dev/null 2>&1 &); exec sleep 1000";
    let stop = Stop { timeout_ms: 50, ..Stop::default() };
    let def = ProcessDef { working_dir: Some(bench.folder.path().into()), stop, ..sh(orphan) };
    bench.start(def).await.unwrap();
    let away = async || loop {
        if let Ok(Ok(pid)) = std::fs::read_to_string(bench.folder.path().join("away")).map(|pid| pid.parse()) {
            return pid;
        }
        tokio::task::yield_now().await;
    };
    let away: i32 = bench.within(away(), "the orphan").await;
    bench.supervisor.stop_process("s", "p").await.unwrap();
    assert!(!lives(away));
    assert!(lives(i32::try_from(own.id()).unwrap()));
    bench.shutdown().await;
    own.kill().unwrap();
    // The supervisor collects every child that ends.
    let _ = own.wait();
}
