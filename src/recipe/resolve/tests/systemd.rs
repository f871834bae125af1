use serde_json::{Value, json};

use super::*;

const WORKER: &str = "\
vars: {queue: default}
profile:
  systemd:
    description: The worker
    type: notify
    command: [bin/x, \"{{ vars.queue }}\"]
    env: {A: a, KEY: {credential: tls.key}}
    user: u
    after: [network-online.target]
    requires: [postgresql.service]
    restart: {policy: always, delay: 5s}
    hardening: {no_new_privileges: true, protect_system: strict, capabilities: [CAP_KILL], read_write_paths: [/srv/b, /srv/a]}
";

fn spec_of(resolved: &Resolved) -> Value {
    let run_spec::Profile::Systemd(spec) = &resolved.profile else { panic!("{:?}", resolved.profile) };
    assert_eq!(spec.check(), Ok(()));
    serde_json::to_value(spec).unwrap()
}

fn resolved(manifest: &str, cell: &str) -> Result<Resolved, String> {
    let release = release(&[("bin/x", 0o755), ("etc/web.service", 0o644)]);
    try_resolve(manifest, cell, &release, &[])
}

#[test]
fn a_unit_gets_all_that_is_said_of_it() {
    let expected = json!({
        "description": "The worker",
        "type": "notify",
        "command": ["bin/x", "default"],
        "env": {"A": "a", "KEY": {"credential": "tls.key"}},
        "user": "u",
        "after": ["network-online.target"],
        "requires": ["postgresql.service"],
        "restart": {"policy": "always", "delay_ms": 5_000},
        "stop": {"signal": "TERM", "timeout_ms": 10_000},
        "hardening": {"no_new_privileges": true, "protect_system": "strict", "capabilities": ["CAP_KILL"],
            "read_write_paths": ["/srv/a", "/srv/b"]},
    });
    assert_eq!(spec_of(&resolved(WORKER, "").unwrap()), expected);
    let plain = resolved("profile: {systemd: {command: [bin/x]}}\n", "").unwrap();
    let run_spec::Profile::Systemd(plain) = &plain.profile else { panic!() };
    assert!(plain.is_plain());
}

#[test]
fn a_cell_changes_a_unit_setting_by_setting() {
    let cell = "vars: {queue: slow}\noverrides:\n  env: {A: {credential: other}}\n  user: w\n  working_dir: bin\n  \
                hardening: {protect_system: full, private_tmp: true, capabilities: []}\n  limits: {memory: 1GiB}\n  \
                restart: {policy: on-failure, max_retries: 2}\n  stop: {signal: INT}\n";
    let changed = resolved(WORKER, cell).unwrap();
    let spec = spec_of(&changed);
    assert_eq!(spec["env"], json!({"A": {"credential": "other"}, "KEY": {"credential": "tls.key"}}));
    assert_eq!(
        (&spec["command"][1], &spec["user"], &spec["working_dir"]),
        (&json!("slow"), &json!("w"), &json!("bin"))
    );
    let hardening = json!({"no_new_privileges": true, "protect_system": "full", "private_tmp": true,
        "capabilities": [], "read_write_paths": ["/srv/a", "/srv/b"]});
    assert_eq!(spec["hardening"], hardening);
    assert_eq!(spec["restart"], json!({"policy": "on_failure", "delay_ms": 5_000, "max_retries": 2}));
    assert_eq!((&spec["stop"]["signal"], changed.limits.memory_bytes), (&json!("INT"), Some(1 << 30)));
}

#[test]
fn what_runs_on_a_schedule_or_once_is_not_restarted_unless_it_says_so() {
    let run = |settings: &str, cell: &str| {
        spec_of(&resolved(&format!("profile: {{systemd: {{command: [bin/x], {settings}}}}}\n"), cell).unwrap())
    };
    let nightly = run("schedule: {on_calendar: daily, persistent: true}", "");
    assert_eq!(nightly["schedule"], json!({"on_calendar": "daily", "persistent": true}));
    assert_eq!(nightly["restart"]["policy"], "never");
    assert_eq!(run("type: oneshot", "")["restart"]["policy"], "never");
    assert_eq!(run("type: exec", "")["restart"]["policy"], "on_failure");
    assert_eq!(run("schedule: daily, restart: {policy: on-failure}", "")["restart"]["policy"], "on_failure");
    let late = run("schedule: {on_calendar: daily, persistent: true}", "overrides: {schedule: {random_delay: 1m}}\n");
    assert_eq!(late["schedule"], json!({"on_calendar": "daily", "persistent": true, "random_delay_ms": 60_000}));
    let weekly = run("schedule: {on_calendar: daily, persistent: true}", "overrides: {schedule: weekly}\n");
    assert_eq!(weekly["schedule"], json!({"on_calendar": "weekly", "persistent": true}));
    let own = run("type: oneshot", "overrides: {schedule: weekly}\n");
    assert_eq!((&own["schedule"]["on_calendar"], &own["restart"]["policy"]), (&json!("weekly"), &json!("never")));
}

#[test]
fn a_unit_file_must_be_there_and_takes_an_owner_alone() {
    let own = "profile: {systemd: {unit_file: etc/web.service, user: u}}\n";
    let spec = spec_of(&resolved(own, "overrides: {group: g}\n").unwrap());
    assert_eq!(spec, json!({"unit_file": "etc/web.service", "user": "u", "group": "g"}));
    let spec = spec_of(&resolved(own, "overrides: {user: w}\n").unwrap());
    assert_eq!(spec, json!({"unit_file": "etc/web.service", "user": "w"}));
    let template = format!("{own}files: [{{path: etc/web.service, template: true}}]\n");
    assert!(resolved(&template, "").is_ok(), "a template is rendered before it is installed");
    let error = resolved("profile: {systemd: {unit_file: web.service}}\n", "").unwrap_err();
    assert_eq!(
        error,
        "m.yaml:2:32: profile.systemd.unit_file: the version has no file `web.service` (near it: `etc/web.service`)"
    );
    let why = "the manifest `web` brings a unit file, which is installed as it is; it can only have another `user` and `group`";
    for (overrides, place, why) in [
        ("command: [bin/x]", "3:13: overrides.command", why),
        ("env: {A: b}", "3:13: overrides.env", why),
        ("shell: x", "3:13: overrides.shell", why),
        ("schedule: daily", "3:13: overrides.schedule", why),
        ("hardening: {private_tmp: true}", "3:13: overrides.hardening", why),
        (
            "limits: {core: 0}",
            "3:22: overrides.limits.core",
            "a unit file of the version sets its limits itself (write it",
        ),
        ("processes: {a: {user: u}}", "3:13: overrides.processes", "the manifest `web` does not name processes"),
    ] {
        let error = resolved(own, &format!("overrides: {{{overrides}}}\n")).unwrap_err();
        let expected = format!("c.yaml:{place}: {why}");
        assert!(error.starts_with(&expected) && error.lines().count() == 1, "{error}\n  expected {expected}");
    }
}

#[test]
fn what_cannot_stand_together_is_refused_in_the_cell_that_adds_it() {
    let cases = [
        ("type: oneshot", "restart: {policy: always}", "3:31: overrides.restart.policy: a oneshot service runs once"),
        (
            "schedule: daily",
            "restart: {policy: always}",
            "3:31: overrides.restart.policy: what runs on a schedule waits",
        ),
        (
            "restart: {policy: always}",
            "schedule: daily",
            "3:23: overrides.schedule: what runs on a schedule waits for its",
        ),
        ("type: notify", "schedule: daily", "3:23: overrides.schedule: what runs on a schedule ends by itself, and a"),
        ("type: exec", "schedule: {persistent: true}", "3:23: overrides.schedule: it is not said when it runs (add on"),
        ("hardening: {dynamic_user: true}", "user: u", "3:19: overrides.user: a user cannot be both named and made up"),
        (
            "group: g",
            "hardening: {dynamic_user: true}",
            "3:39: overrides.hardening.dynamic_user: a user cannot be both",
        ),
        (
            "hardening: {ambient_capabilities: [CAP_KILL]}",
            "hardening: {capabilities: []}",
            "3:39: overrides.hardening.capabilities: CAP_KILL is not among `capabilities`",
        ),
        (
            "env: {A: a}",
            "env: {A: \"{{ vars.raw }}\"}",
            "3:22: overrides.env.A: a control character cannot be given by systemd (only tabs",
        ),
    ];
    for (settings, overrides, expected) in cases {
        let manifest = format!("vars: {{raw: \"\\e\"}}\nprofile: {{systemd: {{command: [bin/x], {settings}}}}}\n");
        assert!(resolved(&manifest, "").is_ok(), "{settings}");
        let error = resolved(&manifest, &format!("overrides: {{{overrides}}}\n")).unwrap_err();
        let expected = format!("c.yaml:{expected}");
        assert!(error.starts_with(&expected) && error.lines().count() == 1, "{error}\n  expected {expected}");
    }
    let error =
        resolved("vars: {raw: \"\\e\"}\nprofile: {systemd: {command: [bin/x], env: {A: \"{{ vars.raw }}\"}}}\n", "");
    assert!(error.unwrap_err().starts_with("m.yaml:3:48: profile.systemd.env.A: a control character"));
}
