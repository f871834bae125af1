//! What is asked of a version.

use super::*;

/// The errors about checks that stand below `health:` of a manifest of this profile.
fn errors(profile: &str, health: &str) -> Vec<String> {
    let health = health.replace('\n', "\n  ");
    let text = format!("name: web\nvars: {{port: 80}}\nprofile: {profile}\nhealth:\n  {health}\n");
    manifest(&text, "m.yaml").map_or_else(|error| shown(Err::<(), _>(error)), |_| Vec::new())
}

const PROCESS: &str = "{process: {command: [/x]}}";

#[test]
fn a_check_of_each_kind_is_read() {
    let health = "min_healthy_time: 15s\ninterval: 500ms\ntimeout: 1s\nrestart_after: 3\nchecks:\n  \
                  answers: {http: {url: \"https://{{ node }}:{{ vars.port }}/\", status: 204, contains: ok, insecure: true}}\n  \
                  range: {http: {url: http://localhost/, status: 200-399}}\n  \
                  cache: {tcp: {address: \"[::1]:{{ vars.port }}\"}}\n  \
                  queue: {exec: {command: [bin/queue, \"{{ vars.port }}\"]}}\n  \
                  works: {file: {path: beat, newer_than: 30s}}\n  \
                  ready: {log: {contains: \"on {{ vars.port }}\"}}\n  \
                  other: {log: {matches: \"^ready [0-9]{2}$\"}}";
    assert_eq!(errors(PROCESS, health), [""; 0]);
    assert_eq!(errors("{deploy: {}}", "checks: {web: {http: {url: http://localhost/}}}"), [""; 0]);
}

#[test]
fn what_cannot_be_asked_is_refused_where_it_stands() {
    let cases = [
        (
            "checks: {web: {http: {url: localhost:80}}}",
            "5:30: health.checks.web.http.url: URL \"localhost:80\" is not valid: ",
        ),
        ("checks: {web: {http: {url: \"{{ vars.prot }}\"}}}", "5:30: health.checks.web.http.url: "),
        (
            "checks: {web: {http: {url: http://h/, status: 42}}}",
            "5:49: health.checks.web.http.status: status \"42\" is not valid",
        ),
        (
            "checks: {web: {http: {url: http://h/, insecure: true}}}",
            "5:41: health.checks.web.http.insecure: http has no certificates",
        ),
        ("checks: {web: {tcp: {address: h}}}", "5:33: health.checks.web.tcp.address: address \"h\" is not valid: "),
        ("checks: {web: {exec: {command: []}}}", "5:34: health.checks.web.exec.command: the command is empty"),
        ("checks: {web: {file: {path: ../x}}}", "5:31: health.checks.web.file.path: "),
        (
            "checks: {web: {file: {path: x, newer_than: 0s}}}",
            "5:46: health.checks.web.file.newer_than: no file is ever",
        ),
        ("checks: {web: {log: {}}}", "5:23: health.checks.web.log: the check waits for no line"),
        (
            "checks: {web: {log: {contains: a, matches: b}}}",
            "5:37: health.checks.web.log.matches: `contains` and `matches`",
        ),
        (
            "checks: {web: {log: {matches: \"(\"}}}",
            "5:33: health.checks.web.log.matches: regular expression \"(\" is not valid",
        ),
        ("checks: {web: {log: {contains: \"\"}}}", "5:34: health.checks.web.log.contains: the text is empty"),
        ("checks: {web: {ping: {}}}", "5:18: health.checks.web"),
        ("checks: {Web: {tcp: {address: \"h:1\"}}}", "5:12: health.checks.Web: check name"),
        ("interval: 50ms", "5:13: health.interval: `50ms` is not from 100ms to 24h"),
        ("timeout: 2m", "5:12: health.timeout: `120s` is not from 10ms to 60s"),
        ("restart_after: 0", "5:18: health.restart_after: "),
        ("restart_after: 3", "5:3: health.restart_after: there are no checks that could fail"),
    ];
    for (health, expected) in cases {
        let errors = errors(PROCESS, health);
        assert!(
            errors.len() == 1 && errors[0].starts_with(expected),
            "{health:?}\n  gives    {errors:?}\n  expected {expected}"
        );
    }
}

#[test]
fn the_deadline_leaves_room_for_the_looks_around_the_time_in_which_nothing_may_fail() {
    let check = "checks: {web: {tcp: {address: \"h:1\"}}}";
    assert_eq!(errors(PROCESS, &format!("deadline: 16s\n{check}")), [""; 0]);
    assert!(errors(PROCESS, &format!("deadline: 15s\n{check}"))[0].starts_with("5:13: health.deadline: "));
    assert!(
        errors(PROCESS, &format!("min_healthy_time: 115s\n{check}"))[0].starts_with("5:21: health.min_healthy_time: ")
    );
    assert!(errors(PROCESS, &format!("interval: 2m\n{check}"))[0].starts_with("5:13: health.interval: "));
}

#[test]
fn files_alone_write_no_log_and_are_not_restarted() {
    let deploy = "{deploy: {}}";
    let errors = errors(deploy, "restart_after: 3\nchecks: {web: {log: {contains: x}}}");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors.iter().any(|error| error.starts_with("5:3: health.restart_after: the profile `deploy`")),
        "{errors:?}"
    );
    assert!(
        errors.iter().any(|error| error.starts_with("6:18: health.checks.web.log: the profile `deploy`")),
        "{errors:?}"
    );
}
