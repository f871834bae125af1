//! How a new version takes the place of the one that runs.

use super::*;

/// The errors about a strategy, on the third line of a manifest of this profile.
fn errors(profile: &str, strategy: &str) -> Vec<String> {
    let text = format!("name: web\nprofile: {profile}\nstrategy: {strategy}\nvars: {{port: 80}}\n");
    manifest(&text, "m.yaml").map_or_else(|error| shown(Err::<(), _>(error)), |_| Vec::new())
}

const ONE: &str = "{process: {command: [/x]}}";
const UNIT: &str = "{systemd: {command: [/x]}}";
const TWO: &str = "{process: {processes: {web: {command: [/x]}, jobs: {command: [/y]}, once: {type: task, shell: z}}}}";

#[test]
fn what_a_program_can_do_is_taken() {
    for strategy in [
        "stop_start",
        "{start_stop: {shares: so_reuseport}}",
        "{start_stop: {shares: second_port}}",
        "{start_stop: {sockets: {http: {listen: \"[::]:{{ vars.port }}\"}}}}",
        "{start_stop: {sockets: {http: {listen: 0.0.0.0:80}, admin: {listen: /run/a.sock, mode: \"0660\"}}}}",
    ] {
        assert_eq!(errors(ONE, strategy), [""; 0], "{strategy}");
        assert_eq!(errors(UNIT, strategy), [""; 0], "{strategy}");
    }
    assert_eq!(errors(TWO, "{start_stop: {sockets: {http: {listen: 0.0.0.0:80, process: web}}}}"), [""; 0]);
    assert_eq!(errors("{deploy: {}}", "stop_start"), [""; 0]);
}

#[test]
fn what_goes_on_is_reloaded_where_something_runs_on() {
    let one = "{process: {command: [/x], reload_signal: HUP}}";
    assert_eq!(errors(one, "reload"), [""; 0]);
    assert_eq!(errors(one, "stop_start\nreload_if: [\"conf/**\"]\nrestart_if: [bin/x]"), [""; 0]);
    for (profile, strategy, expected) in [
        ("{deploy: {}}", "reload", "3:11: strategy: the profile `deploy` runs nothing that could be reloaded"),
        ("{deploy: {}}", "stop_start\nrestart_if: [a]", "4:13: restart_if: the profile `deploy` runs nothing"),
        (
            "{systemd: {command: [/x], type: oneshot, reload_signal: HUP}}",
            "reload",
            "3:11: strategy: what ends by itself cannot be reloaded",
        ),
        (
            "{systemd: {command: [/x], schedule: daily}}",
            "stop_start\nrestart_if: [a]",
            "4:13: restart_if: what ends by itself",
        ),
        (one, "stop_start\nreload_if: [/conf]", "4:13: reload_if[0]: `/conf` matches nothing"),
        (
            "{systemd: {command: [/x], reload_signal: HUP, reload_command: [/y]}}",
            "reload",
            "2:36: profile.systemd.reload_signal: it is reloaded either by a command or by a signal",
        ),
        (
            "{systemd: {command: [/x], reload_command: []}}",
            "reload",
            "2:52: profile.systemd.reload_command: the command",
        ),
    ] {
        let errors = errors(profile, strategy);
        assert!(
            errors.len() == 1 && errors[0].starts_with(expected),
            "{strategy}\n  gives    {errors:?}\n  expected {expected}"
        );
    }
    let many = format!("stop_start\nreload_if: [{}]", ["a"; 33].join(", "));
    assert!(errors(one, &many)[0].contains("33 patterns are more than the 32"));
}

#[test]
fn what_cannot_be_is_refused_where_it_stands() {
    for (profile, strategy, expected) in [
        (ONE, "start_stop", "3:11: strategy: two versions at once cannot both listen at the same port by themselves"),
        (ONE, "{start_stop: {}}", "3:11: strategy: two versions at once cannot both listen"),
        (ONE, "blue_green", "3:11: strategy: `blue_green` is no strategy"),
        ("{deploy: {}}", "{start_stop: {shares: second_port}}", "3:11: strategy: the profile `deploy` runs nothing"),
        (
            "{systemd: {unit_file: x.service}}",
            "{start_stop: {shares: second_port}}",
            "3:11: strategy: a unit file of the version's own is started alone",
        ),
        (
            "{systemd: {command: [/x], schedule: daily}}",
            "{start_stop: {shares: second_port}}",
            "2:36: profile.systemd.schedule: what runs by a schedule runs alone",
        ),
        (
            "{systemd: {command: [/x], type: oneshot}}",
            "{start_stop: {shares: second_port}}",
            "2:42: profile.systemd.type: a oneshot ends by itself",
        ),
        (
            "{systemd: {command: [/x], hardening: {dynamic_user: true}}}",
            "{start_stop: {shares: second_port}}",
            "2:48: profile.systemd.hardening.dynamic_user: systemd would make up another user",
        ),
        (
            "{systemd: {command: [/x], restart: {max_retries: 5}}}",
            "{start_stop: {sockets: {http: {listen: 0.0.0.0:80}}}}",
            "2:46: profile.systemd.restart.max_retries: systemd closes a socket under both versions",
        ),
        (
            UNIT,
            "{start_stop: {sockets: {http: {listen: 0.0.0.0:80, process: web}}}}",
            "3:71: strategy.start_stop.sockets.http.process: `web` is no service of this cell",
        ),
        (
            "{supervisor: {command: [/x]}}",
            "{start_stop: {shares: second_port}}",
            "3:11: strategy: supervisord runs one version at a time",
        ),
        (
            ONE,
            "{start_stop: {shares: second_port, sockets: {http: {listen: 0.0.0.0:80}}}}",
            "3:25: strategy.start_stop.shares: a program that is given `sockets`",
        ),
        (
            ONE,
            "{start_stop: {sockets: {http: {listen: 8080}}}}",
            "3:50: strategy.start_stop.sockets.http.listen: \"8080\" is nothing to listen at: expected an IP address",
        ),
        (
            ONE,
            "{start_stop: {sockets: {http: {listen: 0.0.0.0:80, mode: \"0600\"}}}}",
            "3:62: strategy.start_stop.sockets.http.mode: only a socket at a path has permissions",
        ),
        (
            ONE,
            "{start_stop: {sockets: {a: {listen: /run/s}, b: {listen: /run/s}}}}",
            "3:68: strategy.start_stop.sockets.b.listen: two sockets listen at `/run/s`",
        ),
        (
            TWO,
            "{start_stop: {sockets: {http: {listen: 0.0.0.0:80}}}}",
            "3:41: strategy.start_stop.sockets.http: it is not said which process is given the socket",
        ),
        (
            TWO,
            "{start_stop: {sockets: {http: {listen: 0.0.0.0:80, process: once}}}}",
            "3:71: strategy.start_stop.sockets.http.process: `once` is no service of this cell",
        ),
        (
            "{process: {processes: {web: {command: [/x]}, web-b: {command: [/y]}}}}",
            "{start_stop: {shares: second_port}}",
            "2:55: profile.process.processes.web-b: `web-b` is what the second of two `web` is called",
        ),
    ] {
        let errors = errors(profile, strategy);
        assert!(
            errors.len() == 1 && errors[0].starts_with(expected),
            "{strategy}\n  gives    {errors:?}\n  expected {expected}"
        );
    }
}
