use super::*;

fn at(secs: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + secs, 0).unwrap()
}

fn unit(active: &str, sub: &str) -> Unit {
    Unit {
        load: "loaded".into(),
        enabled: "enabled".into(),
        active: active.into(),
        sub: sub.into(),
        invocation: Some("new".into()),
        active_since: Some(at(0)),
        result: "success".into(),
        ..Unit::default()
    }
}

fn look(service: Unit) -> Look {
    let begun = Begun {
        activation: "1-1-1".into(),
        is_scheduled: false,
        instead_of: Some("old".into()),
        instance: None,
        sockets: Sockets::new(),
        beside: None,
    };
    let (file, sockets) = (File::Whole("1-1-1".into()), BTreeMap::new());
    Look { service, other: None, timer: None, sockets, file, begun: Some(begun) }
}

fn scheduled(service: Unit, timer: Unit) -> Look {
    let mut look = Look { timer: Some(timer), ..look(service) };
    look.begun.as_mut().unwrap().is_scheduled = true;
    look
}

fn gate_of(look: &Look, now: i64) -> Gate {
    gate(look, "1-1-1", Duration::from_secs(10), at(now))
}

fn failed(exit: Exit, result: &str) -> Unit {
    Unit { exit: Some(exit), result: result.into(), ..unit("failed", "failed") }
}

#[test]
fn what_runs_for_long_enough_passes() {
    let pending = |text: &str| Gate::Pending(text.to_owned());
    let running = look(unit("active", "running"));
    assert_eq!(gate_of(&running, 9), pending("it has to run for 1.0 s more"));
    assert_eq!(gate_of(&running, -5), pending("it has to run for 10.0 s more"));
    assert_eq!(gate_of(&running, 10), Gate::Passed);
    assert_eq!(gate_of(&look(unit("activating", "start")), 99), pending("it is activating (start)"));
    let again = Unit { exit: Some(Exit::Code(3)), restarts: 1, ..unit("activating", "auto-restart") };
    assert_eq!(gate_of(&look(again), 99), pending("it is started once more: it ended with exit code 3"));
    assert_eq!(gate_of(&look(unit("active", "exited")), 0), Gate::Passed);
    assert_eq!(gate_of(&look(Unit { is_oneshot: true, ..unit("inactive", "dead") }), 0), Gate::Passed);
}

#[test]
fn what_ended_badly_fails_and_says_how() {
    let fails = |unit: Unit, text: &str| assert_eq!(gate_of(&look(unit), 99), Gate::Failed(text.to_owned()));
    fails(failed(Exit::Code(3), "exit-code"), "it ended with exit code 3");
    fails(failed(Exit::Signal(9), "oom-kill"), "it was ended by signal 9, oom-kill");
    fails(failed(Exit::Code(203), "exit-code"), "systemd failed at executing its program (status 203)");
    fails(failed(Exit::Code(1), "start-limit-hit"), "it ended with exit code 1, start-limit-hit");
    let done = Unit { exit: Some(Exit::Code(0)), ..unit("inactive", "dead") };
    fails(done, "it does not run any more: it ended with exit code 0");
    let flapping = Unit { restarts: 3, exit: Some(Exit::Signal(11)), ..unit("active", "running") };
    fails(flapping, "it was restarted 3 times: it was ended by signal 11");
}

#[test]
fn only_this_bringing_up_counts() {
    let running = look(unit("active", "running"));
    assert_eq!(gate(&running, "1-2-1", Duration::ZERO, at(99)), Gate::NotStarted);
    let before = Unit { invocation: Some("old".into()), ..unit("active", "running") };
    assert_eq!(gate_of(&look(before), 99), Gate::NotStarted);
    assert_eq!(gate_of(&Look { begun: None, ..running.clone() }, 99), Gate::NotStarted);
    assert_eq!(gate_of(&Look { file: File::Missing, ..running.clone() }, 99), Gate::NotStarted);
    assert_eq!(gate_of(&Look { file: File::Foreign(String::new()), ..running.clone() }, 99), Gate::NotStarted);
    assert_eq!(gate_of(&Look { timer: Some(unit("active", "waiting")), ..running }, 99), Gate::NotStarted);
}

#[test]
fn a_unit_that_was_never_started_is_no_bringing_up() {
    let mut fresh = look(Unit { invocation: None, ..unit("inactive", "dead") });
    assert_eq!(gate_of(&fresh, 99), Gate::NotStarted, "the host was booted since");
    fresh.begun.as_mut().unwrap().instead_of = None;
    assert_eq!(gate_of(&fresh, 99), Gate::NotStarted);
}

#[test]
fn of_two_only_the_newer_one_has_to_be_good_and_both_are_seen() {
    let running = |pid: u32| Unit { pid: Some(pid), ..unit("active", "running") };
    let mut both = Look { other: Some(running(1)), ..look(running(2)) };
    let begun = both.begun.as_mut().unwrap();
    begun.instance = Some(Instance::B);
    begun.beside = Some(Older { activation: "1-0-1".into(), sockets: Sockets::new() });
    both.service.enabled = "disabled".into();
    let pids = |look: &Look| {
        let processes = look.observed().processes.into_iter();
        processes.map(|(name, process)| (name.to_string(), process.pid)).collect::<Vec<_>>()
    };
    assert_eq!(pids(&both), [("main".to_owned(), Some(1)), ("main-b".to_owned(), Some(2))]);
    assert_eq!(both.observed().conditions, [], "it is the other one that starts with the host");
    assert_eq!(gate_of(&both, 10), Gate::Passed);
    both.other = Some(failed(Exit::Code(3), "exit-code"));
    assert_eq!(gate_of(&both, 10), Gate::Passed);
    assert_eq!(pids(&both), [("main-b".to_owned(), Some(2))]);
    both.begun.as_mut().unwrap().beside = None;
    assert_eq!(both.observed().conditions[0].code, Code::Inconsistent, "now it should start with the host");
}

#[test]
fn a_socket_that_is_closed_under_its_service_is_told() {
    let mut given = look(unit("active", "running"));
    let stem = "fleetman-web.http.0a1b2c3d";
    given.begun.as_mut().unwrap().sockets.insert(stem.into(), "[::]:80".parse().unwrap());
    given.sockets.insert(stem.into(), unit("active", "listening"));
    assert_eq!(given.observed().conditions, []);
    given.sockets.insert(stem.into(), unit("failed", "failed"));
    let conditions = given.observed().conditions;
    assert_eq!(conditions[0].code, Code::Inconsistent);
    assert!(conditions[0].message.contains("listen at [::]:80"), "{}", conditions[0].message);
}

#[test]
fn what_was_written_of_one_that_takes_no_turns_is_read() {
    let text = r#"{"activation":"1-1-1","is_scheduled":false,"instead_of":null}"#;
    let begun: Begun = serde_json::from_str(text).unwrap();
    assert_eq!((begun.instance(), begun.beside.is_none(), begun.sockets.len()), (Instance::A, true, 0));
    assert_eq!(serde_json::to_string(&begun).unwrap(), text, "an agent before this one reads it, too");
}

#[test]
fn a_schedule_is_good_while_it_waits_and_its_last_run_did_not_fail() {
    let idle = || Unit { is_oneshot: true, ..unit("inactive", "dead") };
    assert_eq!(gate_of(&scheduled(idle(), unit("active", "waiting")), 0), Gate::Passed);
    let bad = scheduled(failed(Exit::Code(1), "exit-code"), unit("active", "waiting"));
    assert_eq!(gate_of(&bad, 0), Gate::Failed("it ended with exit code 1".into()));
    assert_eq!(bad.observed().state, RunningState::Failed { reason: "it ended with exit code 1".into() });
    assert!(matches!(gate_of(&scheduled(idle(), unit("failed", "failed")), 0), Gate::Failed(_)));
    let seen = scheduled(idle(), unit("active", "waiting")).observed();
    assert_eq!(seen.state, RunningState::Running { pid: None, since: Some(at(0)), restarts: 0 });
    assert_eq!(seen.processes[&ProcessName::main()].state, ProcessState::Completed);
    assert_eq!(scheduled(idle(), unit("inactive", "dead")).observed().state, RunningState::Stopped);
}

#[test]
fn a_cell_is_what_its_service_is() {
    let seen = |unit: Unit| look(unit).observed();
    let running = seen(Unit { pid: Some(7), restarts: 2, ..unit("active", "running") });
    assert_eq!(running.state, RunningState::Running { pid: Some(7), since: Some(at(0)), restarts: 2 });
    assert_eq!(running.processes[&ProcessName::main()].pid, Some(7));
    for (active, sub, state) in [
        ("activating", "start", ProcessState::Starting),
        ("activating", "auto-restart", ProcessState::Backoff),
        ("active", "exited", ProcessState::Completed),
        ("deactivating", "stop-sigterm", ProcessState::Stopping),
        ("inactive", "dead", ProcessState::Stopped),
        ("failed", "failed", ProcessState::Crashed),
    ] {
        assert_eq!(seen(unit(active, sub)).processes[&ProcessName::main()].state, state, "{active} {sub}");
    }
    let given_up = seen(failed(Exit::Code(9), "start-limit-hit"));
    let process = &given_up.processes[&ProcessName::main()];
    assert_eq!((process.state, process.exit_code, process.exit_signal), (ProcessState::Failed, Some(9), None));
    assert_eq!(process.reason.as_deref(), Some("it ended with exit code 9, start-limit-hit"));
    assert_eq!(seen(unit("dreaming", "")).state, RunningState::Unknown);
}

#[test]
fn what_is_otherwise_on_the_host_is_said() {
    let codes = |look: &Look| look.observed().conditions.iter().map(|it| it.code).collect::<Vec<_>>();
    let whole = look(unit("active", "running"));
    assert_eq!(codes(&whole), []);
    let edited = File::Edited("1-1-1".into(), "/etc/x.service".into());
    assert_eq!(codes(&Look { file: edited, ..whole.clone() }), [Code::UnitDrift]);
    assert_eq!(codes(&Look { file: File::Missing, ..whole.clone() }), [Code::Inconsistent]);
    assert_eq!(codes(&Look { file: File::Missing, begun: None, ..whole.clone() }), []);
    let foreign = Look { file: File::Foreign("x is masked".into()), ..whole };
    assert_eq!(codes(&foreign), [Code::UnitNotOwned]);
    assert_eq!((foreign.observed().state, foreign.observed().processes.len()), (RunningState::Stopped, 0));
    assert_eq!(codes(&look(Unit { enabled: "disabled".into(), ..unit("active", "running") })), [Code::Inconsistent]);
    let drop_ins = ["/usr/lib/systemd/system/service.d/10-all.conf", "/etc/systemd/system/fleetman-.service.d/a.conf"];
    let extended = look(Unit { drop_ins: drop_ins.map(PathBuf::from).to_vec(), ..unit("active", "running") });
    let conditions = extended.observed().conditions;
    assert_eq!(conditions[0].code, Code::UnitExtended);
    assert_eq!(conditions[0].message, format!("drop-ins change how it runs: {}", drop_ins[1]));
}
