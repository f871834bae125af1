use std::collections::BTreeMap;

use super::*;

#[tokio::test]
async fn a_process_runs_says_something_and_is_stopped() {
    let bench = Bench::new();
    bench.start(sh("echo out; echo err >&2; exec sleep 1000")).await.unwrap();
    bench.until_said("p", "out\nerr\n").await;
    let pid = bench.pid();
    bench.supervisor.stop_process("s", "p").await.unwrap();
    let state = bench.status("p").state;
    assert!(matches!(state, ProcessState::Stopped { exit: Some(Exit::Signal(15)), .. }), "{state:?}");
    assert!(!lives(pid));
    bench.supervisor.start_process("s", "p").await.unwrap();
    assert_ne!(bench.pid(), pid);
    bench.shutdown().await;
}

#[tokio::test]
async fn what_it_says_last_is_there_when_it_is_said_to_have_ended() {
    let bench = Bench::new();
    bench.start(ProcessDef { kind: Kind::Task, ..sh("seq 20000; echo last") }).await.unwrap();
    bench.until_state("p", "completed").await;
    assert!(bench.said("p").ends_with("20000\nlast\n"));
    let logs = bench.supervisor.get_output("s", "p").unwrap().log_files().unwrap();
    let text = std::fs::read_to_string(&logs.files()[0].path).unwrap();
    assert_eq!(text.lines().count(), 20_001);
    bench.shutdown().await;
}

#[tokio::test]
async fn what_is_still_in_the_pipe_at_an_end_is_read_before_the_end_is_told() {
    let bench = Bench::new();
    let whole = "perl -e 'syswrite(STDOUT, (\"x\" x 900000) . \"\\n$ARGV[0]\\n\")' last";
    bench.start(ProcessDef { kind: Kind::Task, autostart: false, ..sh(whole) }).await.unwrap();
    for round in 1..=20 {
        bench.supervisor.start_process("s", "p").await.unwrap();
        bench.until_state("p", "completed").await;
        let log = || bench.supervisor.get_output("s", "p").unwrap().log_files().unwrap();
        let logged: u64 = log().files().iter().map(|file| file.bytes).sum();
        assert_eq!(logged, round * 900_006);
    }
    bench.shutdown().await;
}

#[tokio::test]
async fn the_environment_is_what_the_definition_says_and_the_mark() {
    let bench = Bench::new();
    std::fs::write(bench.folder.path().join("secret"), "A=1\nTOKEN=s3 cret\n").unwrap();
    let file = |key: Option<&str>, name: &str| {
        EnvValue::File(EnvFile { from_file: bench.folder.path().join(name), key: key.map(str::to_owned) })
    };
    std::fs::write(bench.folder.path().join("whole"), "all of it\n").unwrap();
    let env = BTreeMap::from([
        ("GREETING".to_owned(), "hello".into()),
        ("TOKEN".to_owned(), file(Some("TOKEN"), "secret")),
        ("WHOLE".to_owned(), file(None, "whole")),
    ]);
    let def =
        ProcessDef { env, umask: Some(0o027), kind: Kind::Task, ..ProcessDef::new(Run::command(["/usr/bin/env"])) };
    bench.start(def.clone()).await.unwrap();
    bench.until_state("p", "completed").await;
    let said = bench.said("p");
    let (marks, others): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| line.starts_with(MARK));
    assert_eq!(others, ["GREETING=hello", "TOKEN=s3 cret", "WHOLE=all of it"]);
    assert!(marks.len() == 1 && marks[0].ends_with("/s/p"), "{marks:?}");
    let state = std::fs::read_to_string(bench.folder.path().join("s/run/state.json")).unwrap();
    assert!(!state.contains("s3 cret"), "a secret is kept nowhere");
    bench.shutdown().await;
}

#[test]
fn a_pipe_in_place_of_a_file_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
    let file = EnvFile { from_file: path.clone(), key: None };
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(file.read().map_err(|error| error.to_string())));
    let read = receiver.recv_timeout(std::time::Duration::from_secs(10)).expect("an answer at once");
    assert_eq!(read, Err(format!("{} is not a file", path.display())));
}

#[tokio::test]
async fn a_program_starts_where_and_with_what_its_definition_says() {
    let bench = Bench::new();
    let def = ProcessDef {
        working_dir: Some("/usr".into()),
        umask: Some(0o027),
        limits: Limits { open_files: Some(123), core_bytes: Some(0) },
        kind: Kind::Task,
        ..sh(
            "pwd; umask; ulimit -n; ulimit -c; ps -o sid= -p $$ | tr -d ' ' | sed \"s/^$$\\$/leads its session/\"; read x || echo no input",
        )
    };
    bench.start(def).await.unwrap();
    bench.until_state("p", "completed").await;
    assert_eq!(bench.said("p"), "/usr\n0027\n123\n0\nleads its session\nno input\n");
    bench.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_started_says_why_and_what_to_do() {
    let reason = async |def: ProcessDef| {
        let bench = Bench::new();
        let never = ProcessDef { restart: restart(RestartPolicy::Never, None), ..def };
        let error = bench.start(never).await.unwrap_err();
        assert_eq!(bench.until_state("p", "crashed").await.state.pid(), None);
        bench.shutdown().await;
        match error {
            SupervisorError::NotStarted { process, reason } if process == "p" => reason,
            other => panic!("{other}"),
        }
    };
    let run = |program: &str| ProcessDef::new(Run::command([program]));
    assert_eq!(reason(run("/no/such")).await, "executing /no/such: No such file or directory (os error 2)");
    assert_eq!(reason(run("/etc/passwd")).await, "executing /etc/passwd: Permission denied (os error 13)");
    let there = ProcessDef { working_dir: Some("/no/where".into()), ..run("true") };
    assert!(reason(there).await.starts_with("entering the working folder /no/where: No such file"));
    let who = ProcessDef { user: Some("no-such-user".into()), ..run("true") };
    assert_eq!(reason(who).await, "there is no user \"no-such-user\" in /etc/passwd; create it, or name another");
    let secret = EnvFile { from_file: "/no/secret".into(), key: None };
    let env = BTreeMap::from([("KEY".to_owned(), EnvValue::File(secret))]);
    let said = reason(ProcessDef { env, ..run("true") }).await;
    assert_eq!(said, "the variable KEY: reading /no/secret: No such file or directory (os error 2)");
    let env = BTreeMap::from([("BIG".to_owned(), "x".repeat(200 << 10).as_str().into())]);
    assert!(reason(ProcessDef { env, ..run("true") }).await.contains("a single one may have 128 KiB"));
}

#[tokio::test]
async fn retries_are_counted_until_it_has_failed() {
    let bench = Bench::new();
    let def = ProcessDef { restart: restart(RestartPolicy::OnFailure, Some(3)), ..sh("echo again; exit 7") };
    bench.start(def).await.unwrap();
    let status = bench.until_state("p", "failed").await;
    let expected = End::Exited(Exit::Code(7));
    assert!(matches!(&status.state, ProcessState::Failed { end, restarts: 3, .. } if *end == expected), "{status:?}");
    assert_eq!(bench.said("p"), "again\n".repeat(4));
    bench.supervisor.start_process("s", "p").await.unwrap();
    bench.until_state("p", "failed").await;
    assert_eq!(bench.said("p"), "again\n".repeat(8), "a start begins the count anew");
    bench.shutdown().await;
}

#[tokio::test]
async fn a_restart_that_is_only_due_is_not_counted_yet() {
    let bench = Bench::new();
    let grows = Restart { delay_ms: 7, backoff: 100.0, ..restart(RestartPolicy::OnFailure, None) };
    bench.start(ProcessDef { restart: grows, ..sh("echo again; exit 7") }).await.unwrap();
    // The waits are 7 ms, 700 ms and a minute.
    let waits_long = |status: &ProcessStatus| match status.state {
        ProcessState::Backoff { since, until, .. } => (until - since).num_seconds() == 60,
        _ => false,
    };
    let status = bench.until("p", "waiting for a minute", waits_long).await;
    assert_eq!(bench.said("p"), "again\n".repeat(3));
    assert!(matches!(status.state, ProcessState::Backoff { restarts: 2, .. }), "{status:?}");
    bench.shutdown().await;
}

#[tokio::test]
async fn a_crashed_process_comes_back_with_the_count_and_the_reason() {
    let bench = Bench::new();
    bench.start(ProcessDef { restart: restart(RestartPolicy::Always, None), ..sh("exec sleep 1000") }).await.unwrap();
    let pid = bench.pid();
    proc::Stat::read(pid).unwrap().unwrap().signal(rustix::process::Signal::SEGV).unwrap();
    let status =
        bench.until("p", "restarted", |status| matches!(status.state, ProcessState::Running { restarts: 1, .. })).await;
    assert_ne!(status.state.pid(), Some(pid));
    assert_eq!(status.last_end, Some(End::Exited(Exit::Signal(11))));
    bench.shutdown().await;
}

#[tokio::test]
async fn processes_start_after_what_they_need_and_stop_before_it() {
    let bench = Bench::new();
    let gate = bench.folder.path().join("gate");
    rustix::fs::mkfifoat(rustix::fs::CWD, &gate, rustix::fs::Mode::RWXU).unwrap();
    let after = |names: &[&str], def: ProcessDef| ProcessDef {
        after: names.iter().map(|&name| name.to_owned()).collect(),
        ..def
    };
    let say = "trap 'echo stopped >>\"$LOG\"; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let log = bench.folder.path().join("log");
    let env = BTreeMap::from([("LOG".to_owned(), EnvValue::Text(log.display().to_string()))]);
    let service = ServiceDef {
        processes: BTreeMap::from([
            ("migrate".into(), ProcessDef { kind: Kind::Task, ..sh(&format!("read x < {}", gate.display())) }),
            ("web".into(), after(&["migrate"], ProcessDef { env, ..sh(say) })),
            (
                "probe".into(),
                after(
                    &["web"],
                    sh(&format!(
                        "trap 'echo probe >>{}; exit 0' TERM; echo ready; while :; do sleep 0.01; done",
                        log.display()
                    )),
                ),
            ),
            ("by-hand".into(), ProcessDef { autostart: false, ..sh("exec sleep 1000") }),
        ]),
        ..ServiceDef::default()
    };
    bench.supervisor.start_service("s", service).await.unwrap();
    bench.until_state("migrate", "running").await;
    for waiting in ["web", "probe"] {
        assert_eq!(bench.status(waiting).state.name(), "starting");
    }
    std::fs::write(&gate, "go\n").unwrap();
    bench.until_state("migrate", "completed").await;
    bench.until_said("web", "ready").await;
    bench.until_said("probe", "ready").await;
    assert_eq!(bench.status("by-hand").state.name(), "stopped");
    bench.supervisor.stop_service("s").await.unwrap();
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "probe\nstopped\n");
    assert_eq!(bench.status("migrate").state.name(), "stopped");
    bench.shutdown().await;
}

#[tokio::test]
async fn a_command_that_wants_the_opposite_overrules_and_says_so() {
    let bench = Bench::new();
    let slow = ProcessDef {
        stop: Stop { timeout_ms: 60_000, ..Stop::default() },
        ..sh("trap 'read x < go; exit 0' TERM; echo ready; while :; do sleep 0.01; done")
    };
    let go = bench.folder.path().join("go");
    rustix::fs::mkfifoat(rustix::fs::CWD, &go, rustix::fs::Mode::RWXU).unwrap();
    bench.start(ProcessDef { working_dir: Some(bench.folder.path().into()), ..slow }).await.unwrap();
    bench.until_said("p", "ready").await;
    let pid = bench.pid();
    let told = |command: &'static str| {
        let supervisor = bench.supervisor.clone();
        tokio::spawn(async move {
            match command {
                "stop" => supervisor.stop_process("s", "p").await,
                "start" => supervisor.start_process("s", "p").await,
                _ => supervisor.restart_process("s", "p").await,
            }
        })
    };
    let stop = told("stop");
    bench.until_state("p", "stopping").await;
    let start = told("start");
    let error = stop.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "process p was told to start before it came to that");
    let again = told("stop");
    let error = start.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "process p was told to stop before it came to that");
    let restart = told("restart");
    assert!(again.await.unwrap().is_err());
    std::fs::write(&go, "go\n").unwrap();
    restart.await.unwrap().unwrap();
    assert_ne!(bench.pid(), pid);
    bench.supervisor.kill_process("s", "p").await.unwrap();
    bench.shutdown().await;
}

#[tokio::test]
async fn a_reload_touches_only_what_changed() {
    let bench = Bench::new();
    let run = |word: &str| sh(&format!("trap 'echo hup {word}' HUP; echo ready {word}; while :; do sleep 0.01; done"));
    let service = |processes: &[(&str, ProcessDef)]| ServiceDef {
        processes: processes.iter().map(|(name, def)| ((*name).to_owned(), def.clone())).collect(),
        ..ServiceDef::default()
    };
    let told = ProcessDef { reload_signal: Some(SignalName::Hup), ..run("told") };
    let first = service(&[("same", run("same")), ("told", told.clone()), ("new", run("1")), ("gone", run("gone"))]);
    bench.supervisor.start_service("s", first).await.unwrap();
    for (name, word) in [("same", "same"), ("told", "told"), ("new", "1"), ("gone", "gone")] {
        bench.until_said(name, &format!("ready {word}")).await;
    }
    let before = bench.supervisor.service_status("s").unwrap().processes;
    let patient = ProcessDef { restart: restart(RestartPolicy::Never, None), ..run("same") };
    let second = service(&[("same", patient), ("told", told), ("new", run("2")), ("more", run("more"))]);
    bench.supervisor.reload_service("s", second).await.unwrap();
    bench.until_said("told", "hup told").await;
    bench.until_said("new", "ready 2").await;
    bench.until_said("more", "ready more").await;
    let after = bench.supervisor.service_status("s").unwrap().processes;
    assert_eq!(after.keys().collect::<Vec<_>>(), ["more", "new", "same", "told"]);
    for name in ["same", "told"] {
        assert_eq!(after[name].state, before[name].state, "{name} was not touched");
    }
    assert!(!lives(before["gone"].state.pid().unwrap()));
    bench.supervisor.reload_process("s", "told").await.unwrap();
    bench.until_said("told", "hup told\nhup told").await;
    let refused = bench.supervisor.reload_process("s", "more").await.unwrap_err();
    assert_eq!(refused.to_string(), "process more has no reload signal, so it can only be restarted");
    assert_eq!(bench.status("more").state, after["more"].state, "{refused}");
    let absent = bench.supervisor.reload_process("s", "gone").await.unwrap_err();
    assert!(matches!(absent, SupervisorError::NoProcess { .. }), "{absent}");
    // The new restart policy holds for the process that was not restarted.
    proc::Stat::read(after["same"].state.pid().unwrap())
        .unwrap()
        .unwrap()
        .signal(rustix::process::Signal::KILL)
        .unwrap();
    bench.until_state("same", "crashed").await;
    bench.shutdown().await;
}

#[tokio::test]
async fn names_that_are_not_there_are_told_apart() {
    let bench = Bench::new();
    let say = |result: Result<(), SupervisorError>| result.unwrap_err().to_string();
    assert_eq!(say(bench.supervisor.stop_service("x").await), "there is no service \"x\"");
    bench.start(sh("exec sleep 1000")).await.unwrap();
    assert_eq!(say(bench.supervisor.stop_process("s", "x").await), "service \"s\" has no process \"x\"; it has p");
    assert_eq!(say(bench.start(sh("true")).await), "service \"s\" is there already");
    let other = Supervisor::open(SupervisorConfig::new(bench.folder.path()), bench.clock.clone()).unwrap();
    let error = say(other.start_service("s", ServiceDef::of("p", sh("true"))).await);
    assert!(error.starts_with("another supervisor runs \"s\" in "), "{error}");
    bench.shutdown().await;
}
