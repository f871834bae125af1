use super::*;
use crate::recipe::written::Unit;

fn unit(settings: &str) -> Box<Unit> {
    let text = format!("name: web\nprofile: {{systemd: {{{settings}}}}}\n");
    let manifest = manifest(&text, "m.yaml").unwrap_or_else(|error| panic!("{error}"));
    let Profile::Systemd(unit) = &manifest.profile else { panic!() };
    unit.clone()
}

#[test]
fn a_unit_is_a_command_or_a_file() {
    assert_refused(
        "systemd",
        &[
            (
                "user: u",
                "4:5: profile.systemd: there is nothing to run (add `command: [bin/server]`, or `unit_file: <file>`",
            ),
            ("command: []", "4:14: profile.systemd.command: the command is empty"),
            ("unit_file: /etc/x.service", "4:16: profile.systemd.unit_file: path \"/etc/x.service\" is not valid"),
            (
                "unit_file: x.service\ncommand: [/x]",
                "5:5: profile.systemd.command: `command` cannot stand beside `unit_file`, which is installed as it is (write it",
            ),
            ("unit_file: x.service\nenv: {A: b}", "5:5: profile.systemd.env: `env` cannot stand beside `unit_file`"),
            ("unit_file: x.service\nworking_dir: a", "5:5: profile.systemd.working_dir: `working_dir` cannot stand"),
            ("unit_file: x.service\nrestart: {delay: 1s}", "5:5: profile.systemd.restart: `restart` cannot stand"),
            ("unit_file: x.service\nstop: {timeout: 1s}", "5:5: profile.systemd.stop: `stop` cannot stand"),
            ("unit_file: x.service\ndescription: d", "5:5: profile.systemd.description: `description` cannot stand"),
            ("unit_file: x.service\ntype: exec", "5:5: profile.systemd.type: `type` cannot stand"),
            ("unit_file: x.service\nafter: [a.service]", "5:5: profile.systemd.after: `after` cannot stand"),
            ("unit_file: x.service\nrequires: [a.service]", "5:5: profile.systemd.requires: `requires` cannot stand"),
            ("unit_file: x.service\nschedule: daily", "5:5: profile.systemd.schedule: `schedule` cannot stand"),
            (
                "unit_file: x.service\nhardening: {private_tmp: true}",
                "5:5: profile.systemd.hardening: `hardening` cannot stand",
            ),
            ("unit_file: x.service\nuser: a b", "5:11: profile.systemd.user: `a b` cannot be the name of a user"),
            ("command: [/x]\nshell: x", "5:5: profile.systemd.shell: unknown key `shell`"),
            ("command: [/x]\nprocesses: {}", "5:5: profile.systemd.processes: unknown key `processes`"),
            ("command: [/x]\nrestart: {backoff: 2}", "5:15: profile.systemd.restart.backoff: unknown key `backoff`"),
        ],
    );
    let own = unit("unit_file: etc/web.service, user: u, group: g");
    assert_eq!((own.unit_file.as_deref(), own.user.as_deref()), (Some("etc/web.service"), Some("u")));
    let errors = manifest_errors("profile: {systemd: {unit_file: x.service}}\nlimits: {core: 0, tasks: 5}\n");
    assert_eq!(
        errors,
        [
            "3:19: limits.tasks: a unit file of the version sets its limits itself (write it into the unit file)",
            "3:10: limits.core: a unit file of the version sets its limits itself (write it into the unit file)",
        ]
    );
}

#[test]
fn what_no_unit_can_hold_is_refused_at_its_place() {
    let long = "d".repeat(201);
    let too_long = format!("command: [/x]\ndescription: {long}");
    assert_refused(
        "systemd",
        &[
            (
                "command: [/x]\ndescription: \" \"",
                "5:18: profile.systemd.description: the description is empty (leave it out to have the cell's name)",
            ),
            (
                "command: [/x]\ndescription: \"a\\n[Service]\"",
                "5:18: profile.systemd.description: the description has a control character in it, which systemd does not",
            ),
            (
                "command: [/x]\ndescription: 'a\\'",
                "5:18: profile.systemd.description: the description ends in `\\`, which would join the next line to it",
            ),
            (
                &too_long,
                "5:18: profile.systemd.description: the description has 201 characters, expected at most 200 (say the rest",
            ),
            (
                "command: [/x]\ntype: forking",
                "5:11: profile.systemd.type: unknown choice `forking` (known here: `exec`, `simple`, `notify`, `oneshot`)",
            ),
            (
                "command: [/x]\ntype: oneshoot",
                "5:11: profile.systemd.type: unknown choice `oneshoot` (did you mean `oneshot`?)",
            ),
            (
                "command: [/x]\nafter: [postgresql]",
                "5:13: profile.systemd.after[0]: unit name \"postgresql\" is not valid: it must end in the kind of unit, such as",
            ),
            (
                "command: [/x]\nrequires: [a.service, \"a\\nb.service\"]",
                "5:27: profile.systemd.requires[1]: unit name \"a\\nb.service\" is not valid: only letters, digits and",
            ),
            (
                "command: [/x]\nenv: {A: \"a\\eb\"}",
                "5:14: profile.systemd.env.A: a control character cannot be given by systemd (only tabs and line breaks",
            ),
            (
                "command: [/x]\nenv: {A: {credential: a b}}",
                "5:27: profile.systemd.env.A.credential: credential name \"a b\" is not valid: only letters",
            ),
            (
                "command: [/x]\nenv: {A: {credential: a, key: b}}",
                "5:14: profile.systemd.env.A: `credential` stands alone (remove `from_file` and `key`, or `credential`)",
            ),
            (
                "command: [/x]\nenv: {A: {key: b}}",
                "5:14: profile.systemd.env.A: the key `from_file` is missing (write {from_file: /path}, or {credential: name})",
            ),
        ],
    );
    assert_eq!(
        unit(&format!("command: [/x], description: {}", &long[1..])).description.map(|text| text.len()),
        Some(200)
    );
    assert!(matches!(unit("command: [/x], env: {A: \"\\t\\n\"}").env["A"], EnvValue::Text(_)));
    assert!(matches!(unit("command: [/x], env: {A: {credential: tls.key}}").env["A"], EnvValue::Credential(_)));
}

#[test]
fn schedules_are_calendar_events_with_or_without_more() {
    let schedule = |text: &str| unit(&format!("command: [/x], schedule: {text}")).schedule.unwrap();
    for (text, event) in [("hourly", "hourly"), ("03:00", "03:00"), ("\"*-*-* 4:00\"", "*-*-* 4:00")] {
        let found = schedule(text);
        assert_eq!(found.on_calendar.unwrap().0, event);
        assert_eq!((found.persistent, found.random_delay), (None, None));
    }
    let found = schedule("{on_calendar: 03:00, persistent: true, random_delay: 5m}");
    assert_eq!(found.on_calendar.unwrap().0, "03:00");
    assert_eq!((found.persistent, found.random_delay.unwrap().as_millis()), (Some(true), 300_000));
    assert_refused(
        "systemd",
        &[
            (
                "command: [/x]\nschedule: sometimes",
                "5:15: profile.systemd.schedule: `sometimes` is not a calendar event (write hourly, daily, \"*-*-* 03:00\" or",
            ),
            (
                "command: [/x]\nschedule: {on_calendar: \"0 3 * * *\"}",
                "5:29: profile.systemd.schedule.on_calendar: `0 3 * * *` is not a calendar event (write hourly",
            ),
            (
                "command: [/x]\nschedule: [daily]",
                "5:15: profile.systemd.schedule: expected a calendar event such as daily, or a map with `on_calendar`, found a list",
            ),
            (
                "command: [/x]\nschedule: {}",
                "5:15: profile.systemd.schedule: it is not said when it runs (add on_calendar",
            ),
            (
                "command: [/x]\nschedule: {on_calender: daily}",
                "5:16: profile.systemd.schedule.on_calender: unknown key `on_calender` (did you mean `on_calendar`?)",
            ),
            (
                "command: [/x]\nschedule: {on_calendar: daily, random_delay: 5}",
                "5:50: profile.systemd.schedule.random_delay: the duration 5 has no unit",
            ),
        ],
    );
}

#[test]
fn hardening_is_checked_setting_by_setting() {
    assert_refused(
        "systemd",
        &[
            (
                "command: [/x]\nhardening: {no_new_privilege: true}",
                "5:17: profile.systemd.hardening.no_new_privilege: unknown key `no_new_privilege` (did you mean `no_new_privileges`?)",
            ),
            (
                "command: [/x]\nhardening: {private_tmp: yes}",
                "5:30: profile.systemd.hardening.private_tmp: expected true or false, found text",
            ),
            (
                "command: [/x]\nhardening: {protect_system: true}",
                "5:33: profile.systemd.hardening.protect_system: unknown choice `true` (known here: `no`, `yes`, `full`, `strict`)",
            ),
            (
                "command: [/x]\nhardening: {protect_home: readonly}",
                "5:31: profile.systemd.hardening.protect_home: unknown choice `readonly` (did you mean `read-only`?)",
            ),
            (
                "command: [/x]\nhardening: {capabilities: [NET_BIND_SERVICE]}",
                "5:32: profile.systemd.hardening.capabilities[0]: unknown capability `NET_BIND_SERVICE` (did you mean `CAP_NET_BIND_SERVICE`?)",
            ),
            (
                "command: [/x]\nhardening: {read_write_paths: [/srv, var]}",
                "5:42: profile.systemd.hardening.read_write_paths[1]: `var` is not an absolute path (begin it with `/`",
            ),
            (
                "command: [/x]\nhardening: {read_write_paths: [/srv/../etc]}",
                "5:36: profile.systemd.hardening.read_write_paths[0]: path \"srv/../etc\" is not valid: '.' and '..'",
            ),
            (
                "command: [/x]\nhardening: {state_directory: a/b}",
                "5:34: profile.systemd.hardening.state_directory: cell name \"a/b\" is not valid: only lower-case letters",
            ),
        ],
    );
    let hardening =
        unit("command: [/x], hardening: {protect_system: yes, protect_home: no, capabilities: []}").hardening;
    let hardening = crate::model::systemd::Hardening::from(hardening);
    let expected = serde_json::json!({"protect_system": "yes", "protect_home": "no", "capabilities": []});
    assert_eq!(serde_json::to_value(&hardening).unwrap(), expected);
}

#[test]
fn settings_that_cannot_stand_together_are_refused() {
    assert_refused(
        "systemd",
        &[
            (
                "command: [/x]\ntype: oneshot\nrestart: {policy: always}",
                "6:23: profile.systemd.restart.policy: a oneshot service runs once, so it cannot be restarted always (write never",
            ),
            (
                "command: [/x]\nschedule: daily\nrestart: {policy: always}",
                "6:23: profile.systemd.restart.policy: what runs on a schedule waits for its time, so it cannot be restarted",
            ),
            (
                "command: [/x]\nschedule: daily\ntype: notify",
                "6:11: profile.systemd.type: what runs on a schedule ends by itself, and a service of the type notify runs on",
            ),
            (
                "command: [/x]\nuser: u\nhardening: {dynamic_user: true}",
                "5:11: profile.systemd.user: a user cannot be both named and made up by systemd (remove `user` and `group`, or",
            ),
            (
                "command: [/x]\ngroup: g\nhardening: {dynamic_user: true}",
                "5:12: profile.systemd.group: a user cannot be both named and made up by systemd",
            ),
            (
                "command: [/x]\nhardening: {capabilities: [], ambient_capabilities: [CAP_NET_RAW]}",
                "5:57: profile.systemd.hardening.ambient_capabilities: CAP_NET_RAW is not among `capabilities`, which are all",
            ),
        ],
    );
    unit("command: [/x], type: oneshot, restart: {policy: on-failure}, schedule: daily");
    unit("command: [/x], type: notify, restart: {policy: always}, user: u, hardening: {dynamic_user: false}");
    unit("command: [/x], hardening: {capabilities: [CAP_KILL, CAP_CHOWN], ambient_capabilities: [CAP_CHOWN]}");
    unit("command: [/x], hardening: {ambient_capabilities: [CAP_CHOWN], dynamic_user: true}");
}

#[test]
fn a_cell_is_checked_like_the_unit_that_it_changes() {
    for (overrides, expected) in [
        (
            "hardening: {read_write_paths: [srv]}",
            "3:44: overrides.hardening.read_write_paths[0]: `srv` is not an absolute",
        ),
        ("schedule: sometimes", "3:23: overrides.schedule: `sometimes` is not a calendar event"),
    ] {
        let errors = shown(cell(&format!("cell: n1/web\nmanifest: web\noverrides: {{{overrides}}}\n"), "c.yaml"));
        assert!(errors.len() == 1 && errors[0].starts_with(expected), "{errors:?}\n  expected {expected}");
    }
}
