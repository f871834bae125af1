//! How a new version takes the place of the one that runs.

use super::*;

/// The errors about a strategy, on the third line of a manifest of this profile.
fn errors(profile: &str, strategy: &str) -> Vec<String> {
    let text = format!("name: web\nprofile: {profile}\nstrategy: {strategy}\nvars: {{port: 80}}\n");
    manifest(&text, "m.yaml").map_or_else(|error| shown(Err::<(), _>(error)), |_| Vec::new())
}

const ONE: &str = "{process: {command: [/x]}}";
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
    }
    assert_eq!(errors(TWO, "{start_stop: {sockets: {http: {listen: 0.0.0.0:80, process: web}}}}"), [""; 0]);
    assert_eq!(errors("{deploy: {}}", "stop_start"), [""; 0]);
}

#[test]
fn what_cannot_be_is_refused_where_it_stands() {
    for (profile, strategy, expected) in [
        (ONE, "start_stop", "3:11: strategy: two versions at once cannot both listen at the same port by themselves"),
        (ONE, "{start_stop: {}}", "3:11: strategy: two versions at once cannot both listen"),
        (ONE, "blue_green", "3:11: strategy: `blue_green` is no strategy"),
        ("{deploy: {}}", "{start_stop: {shares: second_port}}", "3:11: strategy: the profile `deploy` runs nothing"),
        (
            "{systemd: {command: [/x]}}",
            "{start_stop: {shares: second_port}}",
            "3:11: strategy: the profile `systemd` runs one version at a time",
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
