//! Processes that try to get away, or to be too much, under a supervisor of their own.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fleetman::supervise::{
    EnvFile, EnvValue, Kind, ProcessDef, ProcessState, Restart, RestartPolicy, ServiceDef, Stop,
};

use crate::support::shim::{self, Counting, Shims, descriptors, kill, lives, log, processes, sh, up};
use crate::support::{skip, wait_for};

/// Goes away as far as it can: twice orphaned, in a session of its own, without the environment and the output that
/// it was given. Its last words name the file that it makes when it is there.
const GETS_AWAY: &str = r#"
sub away { my ($name) = @_;
  return if fork;
  setpgrp; exit if fork;
  syscall(112);
  exit if fork;
  open(STDIN, '<', '/dev/null'); open(STDOUT, '>', '/dev/null'); open(STDERR, '>', '/dev/null');
  exec('/usr/bin/env', '-i', '/usr/bin/perl', '-e', 'open(my $f, ">", $ARGV[0]); print $f $$; close $f; sleep 1 while 1', "$ENV{NOTES}/$name");
}
"#;

/// A process that sends `count` others away and then does `rest`.
fn sends_away(notes: &Path, name: &str, count: usize, rest: &str) -> ProcessDef {
    let program = format!("{GETS_AWAY} away(\"{name}-$_\") for 1..{count}; {rest}");
    let env = BTreeMap::from([("NOTES".to_owned(), EnvValue::Text(notes.display().to_string()))]);
    let stop = Stop { timeout_ms: 200, ..Stop::default() };
    let run = fleetman::supervise::Run::command(["/usr/bin/perl", "-e", &program]);
    ProcessDef { env, stop, ..ProcessDef::new(run) }
}

/// The process ids of those that got away, once all of them are there.
async fn away(notes: &Path, name: &str, count: usize) -> Vec<i32> {
    let pids = || -> Vec<i32> {
        let read = |number| fs::read_to_string(notes.join(format!("{name}-{number}"))).ok()?.parse().ok();
        (1..=count).filter_map(read).collect()
    };
    wait_for(async || pids().len() == count, &format!("{count} of {name} to be away")).await;
    pids()
}

fn remaining(pids: &[i32]) -> Vec<i32> {
    let living = processes().into_iter().filter(|seen| !seen.is_zombie).map(|seen| seen.pid);
    living.filter(|pid| pids.contains(pid)).collect()
}

fn service(processes: &[(&str, ProcessDef)]) -> ServiceDef {
    let processes = processes.iter().map(|(name, def)| ((*name).to_owned(), def.clone()));
    ServiceDef { processes: processes.collect(), ..ServiceDef::default() }
}

#[tokio::test]
async fn whoever_does_away_with_every_mark_ends_with_the_only_process() {
    let shims = Shims::new();
    let notes = shims.folder.path();
    let _supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    client.apply(up("1", service(&[("main", sends_away(notes, "a", 200, "sleep 1 while 1"))]))).await.unwrap();
    let gone = away(notes, "a", 200).await;
    client.restart_process("main").await.unwrap();
    assert_eq!(remaining(&gone), [0; 0], "nothing of its earlier life is left");
    for number in 1..=200 {
        // Written anew by the next life.
        let path = notes.join(format!("a-{number}"));
        let old = gone[number - 1].to_string();
        wait_for(async || fs::read_to_string(&path).is_ok_and(|pid| !pid.is_empty() && pid != old), "the next life")
            .await;
    }
    let gone = away(notes, "a", 200).await;
    client.stop_process("main").await.unwrap();
    assert_eq!(remaining(&gone), [0; 0]);
    client.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_that_only_sent_others_away_has_ended_and_so_have_they() {
    let shims = Shims::new();
    let notes = shims.folder.path();
    let _supervisor = shims.start("s", &[]);
    // It waits for them, so that they are known to be there.
    let rest = "for (1..3) { select(undef, undef, undef, 0.005) until -s \"$ENV{NOTES}/b-$_\" } exit 3";
    let def = ProcessDef {
        restart: Restart { policy: RestartPolicy::Never, ..Restart::default() },
        ..sends_away(notes, "b", 3, rest)
    };
    shims.client("s").await.apply(up("1", service(&[("main", def)]))).await.unwrap();
    shims.until_state("s", "main", "crashed").await;
    assert_eq!(remaining(&away(notes, "b", 3).await), [0; 0]);
    shims.client("s").await.stop().await.unwrap();
}

#[tokio::test]
async fn an_orphan_of_nobody_ends_with_the_last_process_that_it_may_be_of() {
    let shims = Shims::new();
    let notes = shims.folder.path();
    let _supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    let all = [("one", sends_away(notes, "c", 1, "sleep 1 while 1")), ("two", sh("exec sleep 1000"))];
    client.apply(up("1", service(&all))).await.unwrap();
    let gone = away(notes, "c", 1).await;
    client.stop_process("one").await.unwrap();
    assert_eq!(remaining(&gone), gone, "it may be of the other one");
    client.stop_process("two").await.unwrap();
    assert_eq!(remaining(&gone), [0; 0]);
    client.stop().await.unwrap();
}

#[tokio::test]
async fn what_stays_in_the_session_ends_with_it_though_it_does_away_with_its_marks() {
    let shims = Shims::new();
    let notes = shims.folder.path();
    let _supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    let path = notes.join("d-1");
    let stays = format!(
        "(env -i perl -e 'open(my $f, \">\", \"{}\"); print $f $$; close $f; sleep 1 while 1' >/dev/null 2>&1 &) ; exec sleep 1000",
        path.display()
    );
    // Another process runs all the time, so that orphans are nobody's.
    client.apply(up("1", service(&[("one", sh(&stays)), ("two", sh("exec sleep 1000"))]))).await.unwrap();
    let gone = away(notes, "d", 1).await;
    client.stop_process("one").await.unwrap();
    assert_eq!(remaining(&gone), [0; 0]);
    client.stop().await.unwrap();
}

#[tokio::test]
async fn a_child_without_marks_ends_with_its_parent_though_others_run() {
    let shims = Shims::new();
    let notes = shims.folder.path();
    let _supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    let path = notes.join("g-1").display().to_string();
    let child =
        format!("env -i setsid perl -e 'open(my $f, \">\", \"{path}\"); print $f $$; close $f; sleep 1 while 1'");
    // It makes an end at once, after which nothing tells whose the child was.
    let parent = sh(&format!("{child} >/dev/null 2>&1 & wait"));
    client.apply(up("1", service(&[("one", parent), ("two", sh("exec sleep 1000"))]))).await.unwrap();
    let gone = away(notes, "g", 1).await;
    client.stop_process("one").await.unwrap();
    assert_eq!(remaining(&gone), [0; 0]);
    client.stop().await.unwrap();
}

/// A control group that the supervisor of a test can have for itself, and its removal.
struct Group(PathBuf);

impl Group {
    fn make() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let find = |mounts: &str| {
            let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.to_owned();
            line.split(' ').nth(4).map(PathBuf::from)
        };
        let Some(mount) = find(&mounts) else { return skip("no cgroup2 file system is mounted") };
        let name = tempfile::Builder::new().prefix("supervise-test-").make_in(&mount, |path| fs::create_dir(path));
        match name {
            Ok(made) => {
                let (_, path) = made.keep().unwrap();
                Some(Self(path))
            }
            Err(error) => skip(&format!("no control group can be made in {}: {error}", mount.display())),
        }
    }

    fn processes(&self, below: &str) -> Vec<i32> {
        let text = fs::read_to_string(self.0.join(below).join("cgroup.procs")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        // From the innermost one out.
        let mut groups = vec![self.0.clone()];
        let mut seen = 0;
        while let Some(group) = groups.get(seen) {
            let below = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
            let below: Vec<_> = below.filter(|path| path.is_dir()).collect();
            groups.extend(below);
            seen += 1;
        }
        groups.iter().rev().for_each(|group| {
            let _ = fs::remove_dir(group);
        });
    }
}

#[tokio::test]
async fn in_a_control_group_nothing_gets_away_from_any_process() {
    let Some(group) = Group::make() else { return };
    let shims = Shims::new();
    let notes = shims.folder.path();
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
    let mut command = tokio::process::Command::new("/bin/sh");
    command
        .args(["-c", &enter, "sh", env!("CARGO_BIN_EXE_fleetagent"), "supervise"])
        .arg(notes)
        .args(["s", "--cgroup"]);
    let mut supervisor = command.env_clear().kill_on_drop(true).spawn().unwrap();
    let mut client = shims.client("s").await;
    // The second one hides in a group below its own.
    let hides = "my ($g) = map { /^0::(.*)/ ? $1 : () } do { open(my $f, '<', '/proc/self/cgroup'); <$f> };\
                 mkdir \"$ENV{GROUP}/below\"; open(my $p, '>', \"$ENV{GROUP}/below/cgroup.procs\"); syswrite($p, '0'); close $p;";
    let below = group.0.join("hides");
    let mut hidden = sends_away(notes, "f", 1, "sleep 1 while 1");
    hidden.run = fleetman::supervise::Run::command([
        "/usr/bin/perl".to_owned(),
        "-e".to_owned(),
        format!("{hides} {GETS_AWAY} away('f-1'); sleep 1 while 1"),
    ]);
    hidden.env.insert("GROUP".into(), EnvValue::Text(below.display().to_string()));
    let all =
        [("away", sends_away(notes, "e", 3, "sleep 1 while 1")), ("hides", hidden), ("stays", sh("exec sleep 1000"))];
    client.apply(up("1", service(&all))).await.unwrap();
    let (gone, hidden) = (away(notes, "e", 3).await, away(notes, "f", 1).await);
    assert!(gone.iter().all(|pid| group.processes("away").contains(pid)));
    assert!(group.processes("hides/below").contains(&hidden[0]) && group.processes("hides").is_empty());
    client.stop_process("away").await.unwrap();
    assert_eq!(remaining(&gone), [0; 0], "while others run");
    client.stop_process("hides").await.unwrap();
    assert_eq!(remaining(&hidden), [0; 0]);

    // Also after the supervisor was killed, which lets every orphan go.
    client.start_process("away").await.unwrap();
    for number in 1..=3 {
        let (path, old) = (notes.join(format!("e-{number}")), gone[number - 1].to_string());
        wait_for(async || fs::read_to_string(&path).is_ok_and(|pid| !pid.is_empty() && pid != old), "the next life")
            .await;
    }
    let gone = away(notes, "e", 3).await;
    shim::killed(&mut supervisor).await;
    let mut supervisor = command.spawn().unwrap();
    shims.client("s").await.stop().await.unwrap();
    assert_eq!(remaining(&gone), [0; 0]);
    assert!(shim::ended(&mut supervisor).await.success());
}

#[tokio::test]
async fn a_flood_is_logged_within_its_limits_and_costs_little_memory() {
    const FLOOD: u64 = 1 << 30;
    let shims = Shims::new();
    let supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    let flood =
        ProcessDef { kind: Kind::Task, ..sh(&format!("yes 'a line of a flood' | head -c {FLOOD}; echo; echo last")) };
    // A follower that never reads keeps nobody waiting.
    client.apply(up("1", service(&[("flood", flood)]))).await.unwrap();
    let _follow = shims.client("s").await.follow("flood", shim::clock()).await.unwrap();
    let status = shims.until_state("s", "flood", "completed").await;
    assert_eq!(status.lost_log_bytes, 0);
    assert!(log(&shims.logs("s"), "flood").ends_with("\nlast\n"));
    let sizes: Vec<u64> =
        fs::read_dir(shims.logs("s")).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 10);
    assert!(sizes.iter().all(|size| *size <= 10 << 20), "{sizes:?}");
    let text = fs::read_to_string(format!("/proc/{}/status", supervisor.id().unwrap())).unwrap();
    let kib = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    };
    assert!(kib("RssAnon:") < 10 << 10, "{text}");
    client.stop().await.unwrap();
}

#[tokio::test]
async fn the_longest_names_in_a_deep_folder_will_do() {
    let home = tempfile::tempdir().unwrap();
    let deep = home.path().join("d".repeat(100)).join("e".repeat(100));
    fs::create_dir_all(&deep).unwrap();
    let (service_name, process) = ("s".repeat(63), "p".repeat(63));
    let mut supervisor = shim::start(&deep, &service_name, &[]);
    let mut client = shim::client(&deep, &service_name).await;
    client.apply(up("1", service(&[(&process, sh("echo here; exec sleep 1000"))]))).await.unwrap();
    let logs = deep.join(&service_name).join("logs");
    wait_for(async || log(&logs, &process) == "here\n", "its output").await;
    client.stop().await.unwrap();
    assert!(shim::ended(&mut supervisor).await.success());
}

#[tokio::test]
async fn a_variable_from_a_file_is_read_at_each_start_and_its_absence_is_told() {
    let shims = Shims::new();
    let secret = shims.folder.path().join("secret");
    fs::write(&secret, "one\n").unwrap();
    let file = EnvFile { from_file: secret.clone(), key: None };
    let def = ProcessDef {
        env: BTreeMap::from([("TOKEN".to_owned(), EnvValue::File(file))]),
        ..sh("echo \"token $TOKEN\"; exec sleep 1000")
    };
    let _supervisor = shims.start("s", &[]);
    let mut client = shims.client("s").await;
    client.apply(up("1", service(&[("main", def)]))).await.unwrap();
    wait_for(async || log(&shims.logs("s"), "main") == "token one\n", "its first output").await;
    fs::write(&secret, "two\n").unwrap();
    client.restart_process("main").await.unwrap();
    wait_for(async || log(&shims.logs("s"), "main") == "token one\ntoken two\n", "its second output").await;
    fs::remove_file(&secret).unwrap();
    let error = client.restart_process("main").await.unwrap_err().to_string();
    assert!(error.contains("the variable TOKEN: reading ") && error.contains("No such file"), "{error}");
    // Whole at once: an empty one would be read as it is.
    fs::write(secret.with_extension("new"), "three\n").unwrap();
    fs::rename(secret.with_extension("new"), &secret).unwrap();
    // Its restart policy goes on.
    wait_for(async || log(&shims.logs("s"), "main").ends_with("token three\n"), "its third output").await;
    let state = fs::read_to_string(shims.run("s").join("state.json")).unwrap();
    assert!(!state.contains("three"), "a secret is kept nowhere");
    client.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_of_another_user_is_taken_over_and_killed_like_any_other() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can become somebody else").unwrap_or_default();
    }
    let shims = Shims::new();
    fs::set_permissions(shims.folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let counting = Counting::new(shims.folder.path().join("notes"));
    fs::set_permissions(&counting.notes, fs::Permissions::from_mode(0o777)).unwrap();
    let mut supervisor = shims.start("s", &[]);
    let def = ProcessDef { user: Some("nobody".into()), ..counting.def() };
    shims.client("s").await.apply(up("1", service(&[("main", def)]))).await.unwrap();
    wait_for(async || counting.lives().len() == 1, "its first life").await;
    for round in 2..=4 {
        let before = shims.until_state("s", "main", "running").await.state.pid().unwrap();
        shim::killed(&mut supervisor).await;
        supervisor = shims.start("s", &[]);
        assert_eq!(shims.until_state("s", "main", "running").await.state.pid(), Some(before));
        assert!(descriptors(before).values().any(|path| path.ends_with("main.out")));
        kill(before);
        wait_for(async || counting.lives().len() == round, "its next life").await;
    }
    let last = shims.until_state("s", "main", "running").await.state;
    assert!(matches!(last, ProcessState::Running { restarts: 3, .. }), "{last:?}");
    shims.client("s").await.stop().await.unwrap();
    assert!(!lives(last.pid().unwrap()));
    counting.check(&shims.logs("s"), "main");
}
