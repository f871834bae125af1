use super::*;

const BOT: &str = "profile:\n  supervisor:\n    env: {LOG: info}\n    processes:\n      web: {command: [bin/x], umask: \"0027\"}\n      \
                   seed: {type: task, shell: exec x, autostart: false}\n";

fn spec_of(resolved: &Resolved) -> &ProcessSpec {
    let run_spec::Profile::Supervisor(spec) = &resolved.profile else { panic!("{:?}", resolved.profile) };
    assert_eq!(spec.check(), Ok(()));
    spec
}

#[test]
fn programs_of_supervisord_are_resolved_as_processes_are() {
    let release = release(&[("bin/x", 0o755)]);
    let plain = try_resolve("profile: {supervisor: {command: [bin/x], user: u}}\n", "", &release, &[]).unwrap();
    assert!(spec_of(&plain).is_plain());
    let cell = "overrides:\n  user: bot\n  limits: {open_files: 9, core: 0}\n  processes:\n    \
                web: {shell: x, umask: \"0077\", env: {LOG: debug}, restart: {policy: always, max_retries: 3}, stop: {signal: INT}}\n";
    let resolved = try_resolve(BOT, cell, &release, &[]).unwrap();
    let (web, seed) = (&spec_of(&resolved).processes[&name("web")], &spec_of(&resolved).processes[&name("seed")]);
    assert_eq!((web.run.command[0].as_str(), web.umask.unwrap().bits()), ("/bin/sh", 0o077));
    assert_eq!((web.run.user.as_deref(), seed.run.user.as_deref()), (Some("bot"), Some("bot")));
    assert_eq!(web.run.restart, restart(run_spec::RestartPolicy::Always, 1_000, 3));
    assert_eq!(
        (seed.kind, seed.autostart, seed.run.restart.policy),
        (ProcessKind::Task, false, run_spec::RestartPolicy::Never)
    );
    assert_eq!(resolved.limits.open_files, Some(9));
}

#[test]
fn a_cell_cannot_ask_of_supervisord_what_it_cannot_do() {
    let flat = "profile: {supervisor: {command: [/x]}}\n";
    let unknown = |key: &str| {
        format!("the manifest `web` has the profile `supervisor`, which does not know `{key}` (remove it: ")
    };
    for (manifest, overrides, place, expected) in [
        (flat, "restart: {delay: 1s}", "3:23: overrides.restart.delay", unknown("delay")),
        (flat, "restart: {policy: never, jitter: 1%}", "3:38: overrides.restart.jitter", unknown("jitter")),
        (
            flat,
            "schedule: daily",
            "3:13: overrides.schedule",
            "the manifest `web` has the profile `supervisor`, which does not know `schedule` (remove it; only"
                .to_owned(),
        ),
        (
            flat,
            "limits: {memory: 1GiB}",
            "3:22: overrides.limits.memory",
            "supervisord cannot limit a whole cell (remove it; the profile `systemd` can)".to_owned(),
        ),
        (
            flat,
            "env: {A: {credential: a}}",
            "3:23: overrides.env.A.credential",
            "the manifest `web` has the profile `supervisor`, which has no credentials (use `from_file: <path>`"
                .to_owned(),
        ),
        (
            BOT,
            "processes: {web: {restart: {delay: 1s}}}",
            "3:41: overrides.processes.web.restart.delay",
            unknown("delay"),
        ),
        (
            BOT,
            "restart: {delay: 1s}",
            "3:13: overrides.restart",
            "the manifest `web` names its processes; set it for one of them".to_owned(),
        ),
    ] {
        let release = release(&[("bin/x", 0o755)]);
        let error = try_resolve(manifest, &format!("overrides: {{{overrides}}}\n"), &release, &[]).unwrap_err();
        let expected = format!("c.yaml:{place}: {expected}");
        assert!(error.starts_with(&expected) && error.lines().count() == 1, "{error}\n  expected {expected}");
    }
}
