mod drift;
mod health;
mod hooks;
mod strategy;
mod supervisor;
mod systemd;

use super::either::{EnvValue, FromFile};
use super::written::Profile;
use super::*;

fn shown(result: Result<impl Sized, RecipeError>) -> Vec<String> {
    let Err(error) = result else { panic!("it is accepted") };
    let line = |error: &YamlError| {
        let text = error.to_string();
        text.split_once(':').map(|(_, rest)| rest.to_owned()).expect("the origin comes first")
    };
    error.errors().iter().map(line).collect()
}

/// What is wrong with a manifest that begins with a name.
fn manifest_errors(rest: &str) -> Vec<String> {
    shown(manifest(&format!("name: web\n{rest}"), "m.yaml"))
}

/// What is wrong with the settings of a profile, which begin on line 4, column 5.
fn profile_errors(profile: &str, settings: &str) -> Vec<String> {
    let indented: String = settings.lines().map(|line| format!("    {line}\n")).collect();
    manifest_errors(&format!("profile:\n  {profile}:\n{indented}"))
}

#[track_caller]
fn assert_refused(profile: &str, cases: &[(&str, &str)]) {
    for (settings, expected) in cases {
        let errors = profile_errors(profile, settings);
        assert!(
            errors.len() == 1 && errors[0].starts_with(expected),
            "{settings:?}\n  gives    {errors:?}\n  expected {expected}"
        );
    }
}

fn run_errors(settings: &str) -> Vec<String> {
    profile_errors("process", settings)
}

#[test]
fn a_text_may_hold_manifests_and_cells() {
    let text = "name: web\nprofile: {deploy: {}}\n---\n# the cell\ncell: n1/web\nmanifest: web\n";
    let found = read(text, "all.yaml").unwrap();
    let [Parsed::Manifest(manifest), Parsed::Cell(cell)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((manifest.name.as_str(), manifest.text()), ("web", "name: web\nprofile: {deploy: {}}\n"));
    assert_eq!(
        (cell.cell.to_string(), cell.text()),
        ("n1/web".to_owned(), "# the cell\ncell: n1/web\nmanifest: web\n")
    );
}

#[test]
fn every_document_of_a_text_is_looked_at_and_lines_are_those_of_the_text() {
    let text = "name: We b\nprofile: {deploy: {}}\n---\nkind: Pod\n---\ncell: n1/web\nmanifset: web\n---\n\
                cell: n1/b\nmanifest: web\noverrides: {user: \"\", group: \"\"}\n";
    let errors = shown(read(text, "all.yaml"));
    assert_eq!(errors.len(), 5, "{errors:?}");
    assert!(errors[0].starts_with("1:7: name: manifest name \"We b\" is not valid: only lower-case"), "{errors:?}");
    assert!(errors[1].starts_with("4:1: this is neither a manifest nor a cell"), "{errors:?}");
    assert_eq!(errors[2], "7:1: manifset: unknown key `manifset` (did you mean `manifest`?)");
}

#[test]
fn environment_values_are_text_or_a_file_on_the_node() {
    let text =
        "name: web\nprofile: {process: {command: [/bin/true], env: {A: 1.10, B: on, C: {from_file: /s, key: K}}}}\n";
    let manifest = manifest(text, "m.yaml").unwrap();
    let Profile::Process(run) = &manifest.profile else { panic!() };
    assert_eq!(run.env["A"], EnvValue::Text("1.10".to_owned()));
    assert_eq!(run.env["B"], EnvValue::Text("on".to_owned()));
    let file = FromFile { from_file: "/s".to_owned(), key: Some("K".to_owned()) };
    assert_eq!(run.env["C"], EnvValue::FromFile(file));
}

#[test]
fn values_that_make_no_sense_are_refused_at_their_place() {
    let cases = [
        ("mode: \"0644\"", "4:5: files[0].mode: "),
        ("path: /etc/passwd", "4:11: files[0].path: path \"/etc/passwd\" is not valid: it must be relative"),
        ("path: ../x", "4:11: files[0].path: path \"../x\" is not valid: '.' and '..' are not allowed"),
        ("glob: \"a[\"", "4:11: files[0].glob: `a[` is not a pattern: "),
        ("glob: \"../*\"", "4:11: files[0].glob: `../*` matches nothing"),
        ("glob: \"*\"\nexclude: [\"ok\", \"{a\"]", "5:21: files[0].exclude[1]: `{a` is not a pattern: "),
        ("path: a\nglob: \"*\"", "5:5: files[0].glob: `path` and `glob` cannot stand together (make them two"),
        ("path: a\nexclude: [\"*\"]", "5:5: files[0].exclude: a path is one file"),
        ("path: a\nmode: 0644", "5:11: files[0].mode: ambiguous: YAML readers differ on `0644` (quote it: \"0644\")"),
        (
            "path: a\nmode: 644",
            "5:11: files[0].mode: the mode 644 is not in quotes, so it could be octal or decimal (write \"0644\")",
        ),
        (
            "path: a\nmode: \"4755\"",
            "5:11: files[0].mode: mode \"4755\" is not valid: expected four octal digits from \"0000\" to \"0777\" (setuid",
        ),
        ("path: a\nmode: \"0o644\"", "5:11: files[0].mode: mode \"0o644\" is not valid"),
        ("path: a\ntemplate: yes", "5:15: files[0].template: expected true or false, found text"),
    ];
    for (item, expected) in cases {
        let indented = item.replace('\n', "\n    ");
        let errors = manifest_errors(&format!("profile: {{deploy: {{}}}}\nfiles:\n  - {indented}\n"));
        let expected = expected.replace("4:5: files[0].mode: ", "4:5: files[0]: the item names no files");
        assert!(
            errors.len() == 1 && errors[0].starts_with(&expected),
            "{item:?}\n  gives    {errors:?}\n  expected {expected}"
        );
    }
    let twice = manifest_errors("profile: {deploy: {}}\nfiles: [{path: a}, {path: b}, {path: a}]\n");
    assert_eq!(twice, ["3:38: files[2].path: `a` is listed twice (it is `files[0]` already)"]);
}

#[test]
fn programs_that_cannot_run_are_refused_at_their_place() {
    let cases = [
        ("command: []", "4:14: profile.process.command: the command is empty"),
        ("command: [\" \"]", "4:15: profile.process.command[0]: the program has no name"),
        ("command: bin/x --port 1", "4:14: profile.process.command: expected a list, found text (write [one, two], or"),
        (
            "command: [/x, \"{{ vars.port }}\"]",
            "4:19: profile.process.command[1]: the manifest declares no variable `port` (add `port` to `vars`",
        ),
        ("command: [/x, \"{{ secrets.a }}\"]", "4:19: profile.process.command[1]: templates do not know `secrets`"),
        ("command: [/x, \"{{ version }}\"]", "4:19: profile.process.command[1]: templates do not know `version`"),
        ("command: [/x, \"{{ vars.\"]", "4:19: profile.process.command[1]: syntax error"),
        ("command: [/x]\nenv: {1A: x}", "5:11: profile.process.env.1A: `1A` cannot be the name"),
        (
            "command: [/x]\nenv: {FLEETMAN_DATA_DIR: x}",
            "5:11: profile.process.env.FLEETMAN_DATA_DIR: `FLEETMAN_DATA_DIR` is set by the agent",
        ),
        (
            "command: [/x]\nenv: {A: {from_file: etc/x}}",
            "5:26: profile.process.env.A.from_file: `etc/x` is not an absolute path",
        ),
        ("command: [/x]\nenv: {A: {from_file: /etc/../x}}", "5:26: profile.process.env.A.from_file: path \"etc/../x\""),
        (
            "command: [/x]\nenv: {A: {from_flie: /etc/x}}",
            "5:15: profile.process.env.A.from_flie: unknown key `from_flie` (did you mean `from_file`?)",
        ),
        (
            "command: [/x]\nenv: {A: {from_file: /x, key: \"a b\"}}",
            "5:35: profile.process.env.A.key: `a b` cannot be a key",
        ),
        ("command: [/x]\nenv: {A: [x]}", "5:14: profile.process.env.A: "),
        ("command: [/x]\nuser: a b", "5:11: profile.process.user: `a b` cannot be the name of a user"),
        ("command: [/x]\nuser: -a", "5:11: profile.process.user: `-a` cannot be the name of a user"),
        ("command: [/x]\ngroup: .a", "5:12: profile.process.group: `.a` cannot be the name of a user or group"),
        (
            "command: [/x]\nuser: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "5:11: profile.process.user: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` cannot be the name",
        ),
        ("command: [/x]\nworking_dir: /tmp", "5:18: profile.process.working_dir: path \"/tmp\" is not valid"),
        (
            "command: [/x]\nrestart: always",
            "5:14: profile.process.restart: expected a map, found text (its keys are `policy`",
        ),
        (
            "command: [/x]\nrestart: {policy: alwyas}",
            "5:23: profile.process.restart.policy: unknown choice `alwyas` (did you mean `always`?)",
        ),
        (
            "command: [/x]\nrestart: {delay: 10}",
            "5:22: profile.process.restart.delay: the duration 10 has no unit (write 10s",
        ),
        (
            "command: [/x]\nstop: {signal: SIGTREM}",
            "5:20: profile.process.stop.signal: unknown signal `SIGTREM` (did you mean `TERM`?)",
        ),
        ("command: [/x]\nstop: {signal: 15}", "5:20: profile.process.stop.signal: the signal 15 is a number"),
    ];
    for (settings, expected) in cases {
        let errors = run_errors(settings);
        assert!(
            errors.len() == 1 && errors[0].starts_with(expected),
            "{settings:?}\n  gives    {errors:?}\n  expected {expected}"
        );
    }
}

#[test]
fn one_way_to_say_what_is_run_is_needed_and_only_one() {
    let cases = [
        ("user: u", "4:5: profile.process: there is nothing to run (add `command: [bin/server]`, `shell: …` or"),
        ("command: [/x]\nshell: x", "5:5: profile.process.shell: `command` and `shell` cannot stand together"),
        ("shell: \" \"", "4:12: profile.process.shell: the shell line is empty"),
        ("shell: \"{{ vars.a }}\"", "4:12: profile.process.shell: the manifest declares no variable `a`"),
        ("processes: {}", "4:5: profile.process.processes: 0 processes, expected 1 to 32"),
        ("processes: {a: {type: task}}", "4:20: profile.process.processes.a: there is nothing to run (add `command"),
        (
            "processes: {a: {command: [/x], shell: x}}",
            "4:36: profile.process.processes.a.shell: `command` and `shell` cannot stand together",
        ),
        (
            "command: [/x]\nprocesses: {a: {command: [/x]}}",
            "4:5: profile.process.command: `command` is each process's own where there are `processes` (move it",
        ),
        ("shell: x\nprocesses: {a: {shell: x}}", "4:5: profile.process.shell: `shell` is each process's own"),
        ("umask: \"0022\"\nprocesses: {a: {shell: x}}", "4:5: profile.process.umask: `umask` is each process's own"),
        (
            "restart: {backoff: 2}\nprocesses: {a: {shell: x}}",
            "4:5: profile.process.restart: `restart` is each process's own",
        ),
        ("stop: {timeout: 1s}\nprocesses: {a: {shell: x}}", "4:5: profile.process.stop: `stop` is each process's own"),
        (
            "working_dir: a\nreload_signal: HUP\nuser: u\nprocesses: {a: {shell: x}}",
            "4:5: profile.process.working_dir: `working_dir` is each process's own",
        ),
    ];
    for (settings, expected) in cases {
        let errors = run_errors(settings);
        assert!(errors[0].starts_with(expected), "{settings:?}\n  gives    {errors:?}\n  expected {expected}");
    }
    let many: String = (0..33).map(|at| format!("  p{at}: {{shell: x}}\n")).collect();
    assert_eq!(
        run_errors(&format!("processes:\n{many}")),
        ["4:5: profile.process.processes: 33 processes, expected 1 to 32"]
    );
}

#[test]
fn processes_that_could_never_start_are_refused_at_their_place() {
    let cases = [
        (
            "  web: {shell: x, after: [migrte]}\n  migrate: {type: task, shell: x}",
            "5:31: profile.process.processes.web.after[0]: there is no process `migrte` (did you mean `migrate`?)",
        ),
        (
            "  a: {shell: x, after: [b]}\n  b: {shell: x, after: [c]}\n  c: {shell: x, after: [b]}",
            "6:21: profile.process.processes.b.after: `b` waits for itself: it starts after `c`, which starts after `b` (leave",
        ),
        (
            "  a: {shell: x, after: [a]}",
            "5:21: profile.process.processes.a.after: `a` waits for itself: it starts after `a`",
        ),
        (
            "  a: {shell: x, after: [b]}\n  b: {shell: x, autostart: false}",
            "5:29: profile.process.processes.a.after[0]: `b` is not started by itself, so `a` would wait for ever (let both",
        ),
        (
            "  a: {type: task, shell: x, restart: {policy: always}}",
            "5:51: profile.process.processes.a.restart.policy: a task runs once (remove it, or make the process a service)",
        ),
        (
            "  a: {type: cron, shell: x}",
            "5:17: profile.process.processes.a.type: unknown choice `cron` (known here: `service`",
        ),
        (
            "  A: {shell: x}",
            "5:7: profile.process.processes.A: process name \"A\" is not valid: only lower-case letters",
        ),
        ("  a: {shell: x, after: [A]}", "5:29: profile.process.processes.a.after[0]: process name \"A\" is not valid"),
        ("  a: {shell: x, user: a b}", "5:27: profile.process.processes.a.user: `a b` cannot be the name of a user"),
        ("  a: {shell: x, env: {1A: x}}", "5:27: profile.process.processes.a.env.1A: `1A` cannot be the name"),
    ];
    for (processes, expected) in cases {
        let errors = run_errors(&format!("processes:\n{processes}"));
        assert!(
            errors.len() == 1 && errors[0].starts_with(expected),
            "{processes:?}\n  gives    {errors:?}\n  expected {expected}"
        );
    }
    let fine = "  a: {shell: x, autostart: false, after: [b]}\n  b: {type: task, shell: x, autostart: false, restart: {policy: never}}";
    let indented = fine.replace('\n', "\n    ");
    assert!(manifest(&format!("name: web\nprofile:\n  process:\n    processes:\n    {indented}\n"), "m.yaml").is_ok());
}

#[test]
fn restarts_and_umasks_are_written_with_their_units() {
    let cases = [
        (
            "restart: {backoff: 0.5}",
            "5:24: profile.process.restart.backoff: the factor 0.5 is not from 1 to 100 (write 2",
        ),
        ("restart: {backoff: -1}", "5:24: profile.process.restart.backoff: the factor -1 is not from 1 to 100"),
        (
            "restart: {backoff: 1.005}",
            "5:24: profile.process.restart.backoff: the factor 1.005 has more than two digits",
        ),
        (
            "restart: {backoff: 2x}",
            "5:24: profile.process.restart.backoff: expected a factor such as 2 or 1.5, found text",
        ),
        ("restart: {jitter: 20}", "5:23: profile.process.restart.jitter: the share 20 has no unit (write 20%)"),
        (
            "restart: {jitter: 0.2}",
            "5:23: profile.process.restart.jitter: expected a share such as 20%, found a number",
        ),
        ("restart: {jitter: 120%}", "5:23: profile.process.restart.jitter: `120%` is not a share (write it as 20%"),
        ("restart: {max_delay: 5}", "5:26: profile.process.restart.max_delay: the duration 5 has no unit"),
        ("umask: 0022", "5:12: profile.process.umask: ambiguous: YAML readers differ on `0022` (quote it: \"0022\")"),
        (
            "umask: 22",
            "5:12: profile.process.umask: the umask 22 is not in quotes, so it could be octal or decimal (write \"0022\")",
        ),
        ("umask: \"22\"", "5:12: profile.process.umask: mode \"22\" is not valid: expected four octal digits"),
        ("reload_signal: 1", "5:20: profile.process.reload_signal: the signal 1 is a number"),
    ];
    for (setting, expected) in cases {
        let errors = run_errors(&format!("command: [/x]\n{setting}"));
        assert!(
            errors.len() == 1 && errors[0].starts_with(expected),
            "{setting:?}\n  gives    {errors:?}\n  expected {expected}"
        );
    }
    let text = "name: web\nprofile: {process: {shell: x, restart: {backoff: 1.5, jitter: 20%, max_delay: 1m}, umask: \"0027\"}}\n";
    assert!(manifest(text, "m.yaml").is_ok());
}

#[test]
fn health_must_be_attainable_and_something_must_run() {
    let process = "profile: {process: {command: [/x]}}\n";
    let errors = |rest: &str| manifest_errors(&format!("{process}{rest}\n"));
    let too_late = "the deadline, `2m` if left out, is not longer than `min_healthy_time`, `10s` if left out";
    assert!(
        errors("health: {min_healthy_time: 2m}")[0].starts_with(&format!("3:28: health.min_healthy_time: {too_late}"))
    );
    assert!(errors("health: {deadline: 10s}")[0].starts_with(&format!("3:20: health.deadline: {too_late}")));
    assert!(errors("health: {deadline: 0s, min_healthy_time: 0s}")[0].starts_with("3:20: health.deadline: "));
    assert!(manifest(&format!("name: web\n{process}health: {{deadline: 11s}}\n"), "m.yaml").is_ok());
    assert!(manifest(&format!("name: web\n{process}health: {{}}\n"), "m.yaml").is_ok());
    let errors = manifest_errors("profile: {deploy: {}}\nhealth: {}\n");
    assert_eq!(
        errors,
        [
            "3:1: health: the profile `deploy` runs nothing whose health could be seen without `checks` (add `checks`, or remove it)"
        ]
    );
}

#[test]
fn the_deploy_profile_runs_nothing() {
    let errors = manifest_errors("profile:\n  deploy:\n    command: [x]\n");
    assert_eq!(errors, ["4:5: profile.deploy.command: unknown key `command` (known here: `user`, `group`)"]);
    let errors = manifest_errors("profile:\n  deploy:\n");
    assert!(errors[0].starts_with("3:3: profile.deploy: there is no value"), "{errors:?}");
    let errors = manifest_errors("profile: deploy\n");
    assert_eq!(errors, ["2:10: profile: `deploy` takes settings (write {deploy: {}})"]);
}

#[test]
fn labels_vars_and_limits_are_checked() {
    let errors = manifest_errors(
        "profile: {deploy: {}}\nlabels: {\"-a\": x, b: \"x y\", c: \"\"}\nvars: {a-b: 1, c: 1.5, d: [[x]]}\n",
    );
    assert!(errors[0].starts_with("4:19: vars.c: a number with a fraction loses its form (quote it)"), "{errors:?}");
    let errors = manifest_errors(
        "profile: {deploy: {}}\nlabels: {\"-a\": x, b: \"x y\", c: \"\"}\nvars: {a-b: 1}\nlimits: {memory: 0, core: 0, tasks: 0}\n",
    );
    let expected = [
        "3:10: labels.-a: `-a` cannot be a label",
        "3:22: labels.b: `x y` cannot be the value of a label",
        "4:8: vars.a-b: `a-b` cannot be the name of a variable",
        "5:18: limits.memory: a limit of 0 lets nothing run",
        "5:37: limits.tasks: a limit of 0 lets nothing run",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.starts_with(expected), "{error}\n  expected {expected}");
    }
}

#[test]
fn there_are_not_too_many_rules() {
    let rules =
        |count: usize| format!("name: web\nprofile: {{deploy: {{}}}}\nfiles:\n{}", "  - glob: x\n".repeat(count));
    assert!(manifest(&rules(1_000), "m.yaml").is_ok());
    let errors = shown(manifest(&rules(1_001), "m.yaml"));
    assert_eq!(
        errors,
        ["3:1: files: 1001 paths and globs are more than the 1000 that are looked for (use globs that match more)"]
    );
}

#[test]
fn labels_are_short() {
    let labelled =
        |key: &str, value: &str| format!("name: web\nprofile: {{deploy: {{}}}}\nlabels: {{{key}: {value}}}\n");
    let (fits, long) = ("a".repeat(63), "a".repeat(64));
    assert!(manifest(&labelled(&fits, &fits), "m.yaml").is_ok());
    assert!(manifest(&labelled(&long, "a"), "m.yaml").is_err());
    assert!(manifest(&labelled("a", &long), "m.yaml").is_err());
}

#[test]
fn a_cell_is_checked_like_its_manifest() {
    let text = "cell: n1/web\nmanifest: web\nlabels: {\"a b\": x}\nvars: {\"1\": x}\noverrides:\n  command: []\n  \
                env: {FLEETMAN_X: x}\n  user: \"\"\n  working_dir: ..\n  limits: {open_files: 0}\n  processes: {a: {command: []}}\npaused: {reason: \" \"}\n";
    let places = shown(cell(text, "c.yaml"));
    let expected = [
        "3:10: labels[\"a b\"]: ",
        "4:8: vars.1: ",
        "6:12: overrides.command: ",
        "7:9: overrides.env.FLEETMAN_X: ",
        "8:9: overrides.user: ",
        "9:16: overrides.working_dir: ",
        "10:24: overrides.limits.open_files: ",
        "11:28: overrides.processes.a.command: ",
        "12:18: paused.reason: ",
    ];
    assert_eq!(places.len(), expected.len(), "{places:#?}");
    for (place, expected) in places.iter().zip(expected) {
        assert!(place.starts_with(expected), "{place}\n  expected {expected}");
    }
    assert!(shown(cell("cell: n1\nmanifest: web\n", "c.yaml"))[0].contains("a cell is written <node>/<cell>"));
}
