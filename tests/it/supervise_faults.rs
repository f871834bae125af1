//! A machine that fails: full and read-only disks, files in the way, no descriptors left. What runs goes on, what
//! cannot be done is said and tried again, and nothing is started twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use fleetman::supervise::ServiceDef;
use fleetman::supervise::detached::{Client, DetachedError};
use tokio::process::{Child, Command};

use crate::support::shim::{self, Counting, Shims, clock, kill, lives, log, marked, sh, status, up};
use crate::support::{skip, wait_for};

/// A file system mounted for a test.
struct Mount(PathBuf);

impl Mount {
    fn make(at: &Path, arguments: &[&str]) -> Option<Self> {
        let done = std::process::Command::new("mount").args(arguments).arg(at).output();
        match done {
            Ok(done) if done.status.success() => Some(Self(at.to_owned())),
            refused => skip(&format!("nothing can be mounted: {refused:?}")),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Something of a test that failed may have files open in it.
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A supervisor that says on a pipe why it cannot run.
fn start(folder: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetagent"));
    command.arg("supervise").arg(folder).arg("s").env_clear().stdin(Stdio::null()).stderr(Stdio::piped());
    command.kill_on_drop(true).spawn().unwrap()
}

async fn running(shims: &Shims, process: &str) -> i32 {
    shims.until_state("s", process, "running").await.state.pid().unwrap()
}

fn refusal(result: Result<(), DetachedError>) -> String {
    match result {
        Err(DetachedError::Refused { code, message }) if code == "io" => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn orders_that_fail_are_not_done_and_are_tried_again_until_they_are() {
    let shims = Shims::new();
    let _supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    client.apply(up("1", ServiceDef::of("old", sh("exec sleep 1000")))).await.unwrap();
    let in_the_way = shims.run("s").join("new.out");
    fs::create_dir(&in_the_way).unwrap();
    let mut orders = up("2", ServiceDef::of("new", sh("exec sleep 1000")));
    orders.service.processes.insert("beside".into(), sh("exec sleep 1000"));
    let why = refusal(client.apply(orders.clone()).await);
    assert!(why.starts_with("opening ") && why.contains("new.out: Is a directory"), "{why}");
    let report = client.status().await.unwrap();
    assert_eq!((report.orders.as_deref(), report.trouble.as_deref()), (Some("2"), Some(why.as_str())));
    assert_eq!(marked(shims.folder.path()), [0; 0], "not half of it runs");
    assert_eq!(refusal(client.apply(orders.clone()).await), why, "the same orders are not taken for done");

    let mut watch = shims.client("s").await.watch(clock()).await.unwrap();
    fs::remove_dir(&in_the_way).unwrap();
    let mut report = shim::within(watch.next(), "a report").await.unwrap();
    while report.trouble.is_some() {
        report = shim::within(watch.next(), "a report").await.unwrap();
    }
    let new = running(&shims, "new").await;
    client.apply(orders).await.unwrap();
    assert_eq!(running(&shims, "new").await, new, "now they are done");
    client.stop().await.unwrap();
}

#[tokio::test]
async fn a_takeover_that_fails_harms_nothing_and_is_tried_again() {
    let shims = Shims::new();
    let mut supervisor = shims.start("s", &[]);
    let counting = Counting::new(shims.folder.path().join("notes"));
    let mut service = ServiceDef::of("main", counting.def());
    service.processes.insert("done".into(), sh("exit 0"));
    shims.client("s").await.apply(up("1", service)).await.unwrap();
    let main = running(&shims, "main").await;
    let done = shims.until_state("s", "done", "completed").await;
    shim::killed(&mut supervisor).await;
    let pipe = shims.run("s").join("done.out");
    fs::remove_file(&pipe).unwrap();
    fs::create_dir(&pipe).unwrap();

    let _supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    wait_for(async || client.status().await.unwrap().trouble.is_some(), "the trouble to be told").await;
    assert!(lives(main));
    fs::remove_dir(&pipe).unwrap();
    assert_eq!(running(&shims, "main").await, main);
    assert_eq!(shims.until_state("s", "done", "completed").await, done, "it is not done again");
    assert_eq!(client.status().await.unwrap().trouble, None);
    client.stop().await.unwrap();
    assert_eq!(counting.lives().len(), 1);
}

#[tokio::test]
async fn on_a_full_disk_a_process_is_restarted_taken_over_and_halted() {
    let shims = Shims::new();
    let Some(_disk) = Mount::make(shims.folder.path(), &["-t", "tmpfs", "-o", "size=512k,mode=0700", "tmpfs"]) else {
        return;
    };
    let notes = tempfile::tempdir().unwrap();
    let counting = Counting::new(notes.path().to_owned());
    let mut supervisor = shims.start("s", &[]);
    shims.client("s").await.apply(up("1", ServiceDef::of("main", counting.def()))).await.unwrap();
    wait_for(async || counting.lives().len() == 1, "its first life").await;
    let mut ballast = fs::File::create(shims.folder.path().join("ballast")).unwrap();
    let full = loop {
        if let Err(error) = std::io::Write::write_all(&mut ballast, &[0]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);

    kill(running(&shims, "main").await);
    wait_for(async || counting.lives().len() == 2, "its second life").await;
    let main = running(&shims, "main").await;
    shim::killed(&mut supervisor).await;
    supervisor = shims.start("s", &[]);
    assert_eq!(running(&shims, "main").await, main);
    shims.until("s", "main", |status| status.lost_log_bytes > 0, "losing output").await;
    kill(main);
    wait_for(async || counting.lives().len() == 3, "its third life").await;
    let mut client = shims.client("s").await;
    let why = refusal(client.stop().await);
    assert!(why.starts_with("writing ") && why.contains("No space left on device"), "{why}");
    let why = refusal(client.apply(up("2", ServiceDef::of("main", counting.def()))).await);
    assert!(why.contains("No space left on device"), "{why}");
    assert_eq!(client.status().await.unwrap().orders.as_deref(), Some("1"));
    let main = running(&shims, "main").await;
    client.stop_process("main").await.unwrap();
    assert!(!lives(main));

    drop(ballast);
    fs::remove_file(shims.folder.path().join("ballast")).unwrap();
    client.start_process("main").await.unwrap();
    wait_for(async || counting.lives().len() == 4, "its fourth life").await;
    client.stop().await.unwrap();
    assert!(shim::ended(&mut supervisor).await.success());
    assert_eq!(marked(shims.folder.path()), [0; 0]);
    assert!(log(&shims.logs("s"), "main").contains("bytes of output are missing here: No space left"));
}

#[tokio::test]
async fn on_a_read_only_disk_what_runs_goes_on_and_the_reason_is_told() {
    let shims = Shims::new();
    let folder = shims.folder.path();
    let Some(_disk) = Mount::make(folder, &["-t", "tmpfs", "-o", "mode=0700", "tmpfs"]) else { return };
    let remount = |how: &str| {
        let done = std::process::Command::new("mount").args(["-o", how]).arg(folder).status().unwrap();
        assert!(done.success(), "{how}");
    };
    let notes = tempfile::tempdir().unwrap();
    let counting = Counting::new(notes.path().to_owned());
    let mut supervisor = start(folder);
    shims.client("s").await.apply(up("1", ServiceDef::of("main", counting.def()))).await.unwrap();
    wait_for(async || counting.lives().len() == 1, "its first life").await;
    let main = running(&shims, "main").await;
    shim::killed(&mut supervisor).await;

    // Its output is a pipe, which is no file of the disk.
    remount("remount,ro");
    let refused = start(folder).wait_with_output().await.unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("Read-only file system"), "{said}");
    assert!(said.contains("supervisor.lock"), "it says of what: {said}");
    assert!(lives(main));
    remount("remount,rw");
    let _supervisor = start(folder);
    assert_eq!(running(&shims, "main").await, main);
    shims.client("s").await.stop().await.unwrap();
    counting.check(&shims.logs("s"), "main");
}

#[tokio::test]
async fn without_descriptors_nothing_is_started_twice() {
    let shims = Shims::new();
    let counting = Counting::new(shims.folder.path().join("notes"));
    fleetman::supervise::run_folder(shims.folder.path(), "s").unwrap();
    let mut command = Command::new("/bin/sh");
    let few = "ulimit -n 30; exec \"$0\" supervise \"$1\" s 2> \"$1/s/run/supervisor.log\"";
    command.args(["-c", few, env!("CARGO_BIN_EXE_fleetagent")]).arg(shims.folder.path()).env_clear();
    let mut supervisor = command.kill_on_drop(true).spawn().unwrap();
    shims.client("s").await.apply(up("1", ServiceDef::of("main", counting.def()))).await.unwrap();
    wait_for(async || counting.lives().len() == 1, "its first life").await;
    for round in 2..=4 {
        // More than it can let in: it has none left for anything else.
        let mut clients = Vec::new();
        let connect = async || {
            let client =
                tokio::time::timeout(std::time::Duration::from_millis(200), Client::connect(shims.folder.path(), "s"));
            client.await.map(|client| clients.push(client.unwrap())).is_err()
        };
        wait_for(connect, "no client to be let in").await;
        let first = clients.first_mut().unwrap();
        let main = status(&first.status().await.unwrap(), "main").unwrap().state.pid().unwrap();
        kill(main);
        let has_ended = async || status(&first.status().await.unwrap(), "main").unwrap().state.name() != "running";
        wait_for(has_ended, "its end to be seen").await;
        drop(clients);
        wait_for(async || counting.lives().len() == round, "its next life").await;
    }
    shims.client("s").await.stop().await.unwrap();
    assert!(shim::ended(&mut supervisor).await.success());
    assert_eq!(marked(shims.folder.path()), [0; 0]);
    counting.check(&shims.logs("s"), "main");
}

#[tokio::test]
async fn where_other_users_processes_are_hidden_a_process_is_stopped_all_the_same() {
    if !rustix::process::geteuid().is_root() {
        return skip::<()>("only root can mount and become somebody else").unwrap_or_default();
    }
    let shims = Shims::new();
    let probe = shims.folder.path().join("proc");
    fs::create_dir(&probe).unwrap();
    let Some(_probe) = Mount::make(&probe, &["-t", "proc", "-o", "hidepid=1", "proc"]) else { return };
    fs::create_dir(shims.folder.path().join("s")).unwrap();
    for folder in [shims.folder.path().to_owned(), shims.folder.path().join("s")] {
        std::os::unix::fs::chown(folder, Some(65534), Some(65534)).unwrap();
    }
    // A mount of its own, which ends with it.
    let hidden = "mount -t proc -o hidepid=1 proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                  \"$0\" supervise \"$1\" s";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hidden, env!("CARGO_BIN_EXE_fleetagent")]).arg(shims.folder.path());
    let mut supervisor = command.stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let mut client = shims.client("s").await;
    client.apply(up("1", ServiceDef::of("web", sh("exec sleep 1000")))).await.unwrap();
    let pid = status(&client.status().await.unwrap(), "web").unwrap().state.pid().unwrap();
    client.stop_process("web").await.unwrap();
    assert!(!lives(pid));
    client.stop().await.unwrap();
    assert!(shim::ended(&mut supervisor).await.success());
}
