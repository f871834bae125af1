use super::*;

#[test]
fn what_supervisord_cannot_do_is_refused_with_what_to_do() {
    let waits =
        "(remove it: supervisord waits a second longer before each try and cannot be told otherwise; only the profile";
    let delay = format!(
        "5:15: profile.supervisor.restart.delay: the profile `supervisor` does not know `delay` {waits}s `process` and `systemd` know it)"
    );
    let backoff = format!(
        "5:15: profile.supervisor.restart.backoff: the profile `supervisor` does not know `backoff` {waits} `process` knows it)"
    );
    assert_refused(
        "supervisor",
        &[
            ("command: [/x]\nrestart: {delay: 1s}", &delay),
            ("command: [/x]\nrestart: {backoff: 2}", &backoff),
            ("command: [/x]\nrestart: {max_delay: 1s}", "5:15: profile.supervisor.restart.max_delay: the profile"),
            ("command: [/x]\nrestart: {jitter: 5%}", "5:15: profile.supervisor.restart.jitter: the profile"),
            ("command: [/x]\nrestart: {reset_after: 5s}", "5:15: profile.supervisor.restart.reset_after: the profile"),
            (
                "command: [/x]\nenv: {A: {credential: a}}",
                "5:15: profile.supervisor.env.A.credential: the profile `supervisor` has no credentials (use `from_file: <path>`; only the profile `systemd` knows it)",
            ),
            (
                "processes:\n  a: {shell: x, after: [b]}\n  b: {shell: x}",
                "5:21: profile.supervisor.processes.a.after: the profile `supervisor` does not know `after` (remove it: supervisord starts all processes at once, so let the program wait for what it needs; only",
            ),
            (
                "processes:\n  a: {shell: x, restart: {policy: always, jitter: 1%}}",
                "5:47: profile.supervisor.processes.a.restart.jitter: the profile `supervisor` does not know `jitter`",
            ),
            (
                "env: {A: {credential: a}}\nprocesses: {a: {shell: x}}",
                "4:15: profile.supervisor.env.A.credential: the profile `supervisor` has no credentials",
            ),
            (
                "processes:\n  a: {shell: x, env: {A: {credential: a}}}",
                "5:31: profile.supervisor.processes.a.env.A.credential: the profile `supervisor` has no credentials",
            ),
            ("user: u", "4:5: profile.supervisor: there is nothing to run"),
            ("command: [/x]\ntype: exec", "5:5: profile.supervisor.type: unknown key `type`"),
            ("command: [/x]\nhardening: {}", "5:5: profile.supervisor.hardening: unknown key `hardening`"),
        ],
    );
    let errors = manifest_errors(
        "profile: {supervisor: {shell: x}}\nlimits: {memory: 1GiB, tasks: 5, core: 0, open_files: 9}\n",
    );
    assert_eq!(
        errors,
        [
            "3:10: limits.memory: supervisord cannot limit a whole cell (remove it; the profile `systemd` can)",
            "3:24: limits.tasks: supervisord cannot limit a whole cell (remove it; the profile `systemd` can)",
        ]
    );
    assert_eq!(
        profile_errors("process", "command: [/x]\nenv: {A: {credential: a}}"),
        [
            "5:15: profile.process.env.A.credential: the profile `process` has no credentials (use `from_file: <path>`; only the profile `systemd` knows it)"
        ]
    );
}

#[test]
fn what_the_exec_shim_sets_up_is_taken() {
    let text = "name: web\nprofile:\n  supervisor:\n    processes:\n      a: {type: task, shell: x, umask: \"0027\"}\n      \
                b: {command: [/x], autostart: false, restart: {policy: always, max_retries: 5}, stop: {signal: INT}}\n";
    let manifest = manifest(text, "m.yaml").unwrap();
    let Profile::Supervisor(spec) = &manifest.profile else { panic!() };
    assert_eq!(spec.processes.as_ref().map(std::collections::BTreeMap::len), Some(2));
}
