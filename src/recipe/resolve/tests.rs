mod supervisor;
mod systemd;

use super::*;
use crate::model::process::{Process, ProcessKind, ProcessSpec};
use crate::model::{ProcessName, Sha256Digest};
use crate::recipe;

fn release(files: &[(&str, u32)]) -> Vec<DeploymentFile> {
    let file = |(path, mode): &(&str, u32)| DeploymentFile {
        path: FilePath::new(*path).unwrap(),
        size: 1,
        sha256: Sha256Digest::of(path.as_bytes()),
        mode: Mode::new(*mode).unwrap(),
    };
    files.iter().map(file).collect()
}

fn paths(texts: &[&str]) -> Vec<FilePath> {
    texts.iter().map(|text| FilePath::new(*text).unwrap()).collect()
}

fn try_resolve(manifest: &str, cell: &str, release: &[DeploymentFile], overrides: &[&str]) -> Result<Resolved, String> {
    let manifest = recipe::manifest(&format!("name: web\n{manifest}"), "m.yaml").unwrap();
    let cell = recipe::cell(&format!("cell: n1/web\nmanifest: web\n{cell}"), "c.yaml").unwrap();
    resolve(&manifest, &cell, release, &paths(overrides)).map_err(|error| error.to_string())
}

/// `path mode origin` of each file.
fn listed_files(manifest: &str, release: &[DeploymentFile], overrides: &[&str]) -> Vec<String> {
    let resolved = try_resolve(manifest, "", release, overrides).unwrap();
    resolved.files.iter().map(|file| format!("{} {} {:?}", file.path, file.mode, file.origin())).collect()
}

const DEPLOY: &str = "profile: {deploy: {}}\n";

#[test]
fn without_rules_every_file_is_taken_with_its_own_mode() {
    let release = release(&[("b", 0o755), ("a", 0o644)]);
    assert_eq!(listed_files(DEPLOY, &release, &[]), ["a 0644 Deployment", "b 0755 Deployment"]);
    assert_eq!(listed_files(&format!("{DEPLOY}files: []\n"), &release, &[]), [""; 0]);
}

#[test]
fn a_path_decides_over_globs_and_the_last_glob_over_the_others() {
    let rules = "files:\n  - {path: bin/x, mode: \"0700\"}\n  - {glob: \"**\", mode: \"0600\", exclude: [\"**/*.map\"]}\n  \
                 - {glob: \"bin/*\", mode: \"0755\"}\n  - {glob: \"etc/*.conf\", template: true}\n";
    let release =
        release(&[("bin/x", 0o644), ("bin/y", 0o644), ("a/b/c", 0o644), ("j.map", 0o644), ("etc/a.conf", 0o640)]);
    let expected =
        ["a/b/c 0600 Deployment", "bin/x 0700 Deployment", "bin/y 0755 Deployment", "etc/a.conf 0640 Template"];
    assert_eq!(listed_files(&format!("{DEPLOY}{rules}"), &release, &[]), expected);
}

#[test]
fn a_star_stays_in_its_folder() {
    let rules = "files: [{glob: \"*.js\"}]\n";
    let release = release(&[("a.js", 0o644), ("lib/b.js", 0o644)]);
    assert_eq!(listed_files(&format!("{DEPLOY}{rules}"), &release, &[]), ["a.js 0644 Deployment"]);
}

#[test]
fn an_override_takes_the_place_and_the_mode_of_the_file_below_it() {
    let rules = "files: [{path: run, mode: \"0755\"}, {path: t, template: true}, {glob: \"d/*\"}]\n";
    let release = release(&[("run", 0o644), ("t", 0o644), ("left-out", 0o755), ("d/x", 0o600)]);
    let expected =
        ["d/x 0600 Override", "left-out 0755 Override", "new 0644 Override", "run 0755 Override", "t 0644 Template"];
    let manifest = format!("{DEPLOY}{rules}");
    assert_eq!(listed_files(&manifest, &release, &["run", "t", "left-out", "d/x", "new"]), expected);
    let resolved = try_resolve(&manifest, "", &release, &["t"]).unwrap();
    let template = resolved.files.iter().find(|file| file.path.as_str() == "t").unwrap();
    assert_eq!(template.source, Source::Override, "the override's text is what is rendered");
}

#[test]
fn a_rule_that_names_no_file_is_refused_with_what_may_have_been_meant() {
    let release = release(&[("public/index.html", 0o644), ("bin/server", 0o755), ("README", 0o644), ("x", 0o644)]);
    let error = |rules: &str, release: &[DeploymentFile]| {
        try_resolve(&format!("{DEPLOY}files: [{{{rules}}}]\n"), "", release, &[]).unwrap_err()
    };
    let cases = [
        (
            "path: index.html",
            "m.yaml:3:16: files[0].path: no file of the release matches `index.html` (near it: `public/index.html`)",
        ),
        (
            "path: bin/sever",
            "m.yaml:3:16: files[0].path: no file of the release matches `bin/sever` (near it: `bin/server`)",
        ),
        ("path: readme", "m.yaml:3:16: files[0].path: no file of the release matches `readme` (near it: `README`)"),
        (
            "path: \"*.css\"",
            "m.yaml:3:16: files[0].path: no file of the release matches `*.css` (a pattern is written as `glob`)",
        ),
        (
            "glob: \"*.html\"",
            "m.yaml:3:16: files[0].glob: no file of the release matches `*.html` (near it: `public/index.html`)",
        ),
        (
            "glob: \"*.css\"",
            "m.yaml:3:16: files[0].glob: no file of the release matches `*.css` (the release has 4 files, such as `README`, \
             `bin/server`, `public/index.html`)",
        ),
        (
            "glob: \"public/*\", exclude: [\"**/*.html\"]",
            "m.yaml:3:16: files[0].glob: no file of the release matches `public/*`",
        ),
    ];
    for (rules, expected) in cases {
        let error = error(rules, &release);
        assert!(error.starts_with(expected), "{error}\n  expected {expected}");
    }
    assert!(error("glob: \"*\"", &[]).contains("the release has no files at all"));
}

#[test]
fn files_that_cannot_lie_together_are_refused() {
    let release = release(&[("conf", 0o644)]);
    let error = try_resolve(DEPLOY, "", &release, &["conf/a"]).unwrap_err();
    assert!(error.contains("one would be both a file and a folder"), "{error}");
}

#[test]
fn vars_come_from_the_cell_or_the_default_and_must_be_declared() {
    let manifest =
        format!("{DEPLOY}vars: {{a: 1, b: two, c: {{description: \"the third\"}}}}\nlabels: {{x: m, y: m}}\n");
    let resolved = try_resolve(&manifest, "vars: {b: own, c: true}\nlabels: {y: c, z: c}\n", &[], &[]).unwrap();
    let vars: Vec<String> = resolved.context.vars.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    assert_eq!(vars, ["a=Integer(1)", "b=Text(\"own\")", "c=Bool(true)"]);
    let labels: Vec<(&str, &str)> = resolved.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("x", "m"), ("y", "c"), ("z", "c")]);

    let error = try_resolve(&manifest, "vars: {bb: x}\n", &[], &[]).unwrap_err();
    let expected = "c.yaml:3:7: vars.c: the variable `c` has no default and this cell does not set it (add `c: …` to `vars`: the \
                    third)\nc.yaml:3:8: vars.bb: the manifest `web` declares no variable `bb` (did you mean `b`?)";
    assert_eq!(error, expected);
}

const RUN: &str = "vars: {port: 80}\nprofile:\n  process:\n    command: [bin/x, \"{{ vars.port }}\"]\n    env: {A: \"{{ node }}\", B: b}\n    \
                   user: u\n    working_dir: bin\n    restart: {policy: always, max_retries: 3}\n";

fn run_of(resolved: &Resolved) -> &run_spec::RunSpec {
    resolved.profile.runs()[0]
}

fn restart(policy: run_spec::RestartPolicy, delay_ms: u64, max_retries: u32) -> run_spec::Restart {
    run_spec::Restart { policy, delay_ms, max_retries: Some(max_retries), ..run_spec::Restart::default() }
}

#[test]
fn a_cell_changes_what_it_names_and_leaves_the_rest() {
    let release = release(&[("bin/x", 0o755), ("y", 0o755)]);
    let plain = try_resolve(RUN, "", &release, &[]).unwrap();
    let run = run_of(&plain);
    assert_eq!(run.command, ["bin/x", "80"]);
    assert_eq!(run.env["A"], run_spec::EnvValue::Text("n1".to_owned()));
    assert_eq!((run.user.as_deref(), run.group.as_deref()), (Some("u"), None));
    assert_eq!(run.working_dir.as_ref().map(FilePath::as_str), Some("bin"));
    let expected = restart(run_spec::RestartPolicy::Always, 1_000, 3);
    assert_eq!((run.restart.clone(), run.stop.clone()), (expected, run_spec::Stop::default()));

    let cell = "vars: {port: 81}\noverrides:\n  env: {B: \"{{ cell }}\", C: {from_file: /s}}\n  group: g\n  \
                restart: {delay: 5s}\n  stop: {signal: HUP}\n  limits: {memory: 1GiB}\n";
    let changed = try_resolve(&format!("{RUN}limits: {{memory: 1MiB, tasks: 5}}\n"), cell, &release, &[]).unwrap();
    let run = run_of(&changed);
    assert_eq!(run.command, ["bin/x", "81"]);
    let names: Vec<&str> = run.env.keys().map(String::as_str).collect();
    assert_eq!(names, ["A", "B", "C"]);
    assert_eq!(run.env["B"], run_spec::EnvValue::Text("web".to_owned()));
    assert_eq!(
        run.env["C"],
        run_spec::EnvValue::FromFile(run_spec::FromFile { from_file: "/s".to_owned(), key: None })
    );
    assert_eq!((run.user.as_deref(), run.group.as_deref()), (Some("u"), Some("g")));
    let expected = restart(run_spec::RestartPolicy::Always, 5_000, 3);
    let stop = run_spec::Stop { signal: run_spec::StopSignal::Hup, ..run_spec::Stop::default() };
    assert_eq!((run.restart.clone(), run.stop.clone()), (expected, stop));
    assert_eq!((changed.limits.memory_bytes, changed.limits.tasks), (Some(1 << 30), Some(5)));

    let limits = "overrides: {limits: {open_files: 7, core: 1B}, restart: {policy: never, max_retries: 9}, stop: {timeout: 3s}}\n";
    let manifest = format!("{RUN}limits: {{open_files: 5, core: 0, tasks: 5}}\n");
    let changed = try_resolve(&manifest, limits, &release, &[]).unwrap();
    assert_eq!(
        (changed.limits.open_files, changed.limits.core_bytes, changed.limits.tasks),
        (Some(7), Some(1), Some(5))
    );
    let expected = restart(run_spec::RestartPolicy::Never, 1_000, 9);
    assert_eq!((run_of(&changed).restart.clone(), run_of(&changed).stop.timeout_ms), (expected, 3_000));

    let replaced = try_resolve(RUN, "overrides: {command: [y], user: w, working_dir: bin}\n", &release, &[]).unwrap();
    assert_eq!(
        (run_of(&replaced).command.as_slice(), run_of(&replaced).user.as_deref()),
        (&["y".to_owned()][..], Some("w"))
    );
}

/// Two processes, the first line after the name of the manifest being line 2.
const SHOP: &str = "\
profile:
  process:
    user: shop
    env: {LOG: info, A: shared}
    processes:
      migrate: {type: task, shell: 'bin/x --all > \"$FLEETMAN_DATA_DIR/log\"', user: owner}
      web:
        command: [bin/x, \"{{ node }}\"]
        env: {LOG: debug}
        group: web
        umask: \"0027\"
        after: [migrate]
        restart: {policy: always, delay: 100ms, backoff: 1.5, max_delay: 30s, jitter: 20%, reset_after: 5m}
        reload_signal: HUP
";

fn processes_of(resolved: &Resolved) -> &ProcessSpec {
    let run_spec::Profile::Process(spec) = &resolved.profile else { panic!() };
    assert_eq!(spec.check(), Ok(()));
    spec
}

fn name(text: &str) -> ProcessName {
    ProcessName::new(text).unwrap()
}

#[test]
fn each_process_gets_all_that_it_needs() {
    let release = release(&[("bin/x", 0o755)]);
    let resolved = try_resolve(SHOP, "", &release, &[]).unwrap();
    let spec = processes_of(&resolved);
    assert_eq!((spec.user.as_deref(), spec.group.as_deref(), spec.is_plain()), (Some("shop"), None, false));
    let (migrate, web) = (&spec.processes[&name("migrate")], &spec.processes[&name("web")]);
    assert_eq!(migrate.run.command, ["/bin/sh", "-c", "bin/x --all > \"$FLEETMAN_DATA_DIR/log\""]);
    assert_eq!((migrate.kind, migrate.run.restart.policy), (ProcessKind::Task, run_spec::RestartPolicy::Never));
    assert_eq!((migrate.run.user.as_deref(), migrate.umask, migrate.autostart), (Some("owner"), None, true));
    let env = |process: &Process| process.run.env.clone().into_iter().collect::<Vec<_>>();
    let text = |text: &str| run_spec::EnvValue::Text(text.to_owned());
    assert_eq!(env(migrate), [("A".to_owned(), text("shared")), ("LOG".to_owned(), text("info"))]);
    assert_eq!(env(web), [("A".to_owned(), text("shared")), ("LOG".to_owned(), text("debug"))]);
    assert_eq!(
        (web.kind, web.run.command.as_slice()),
        (ProcessKind::Service, &["bin/x".to_owned(), "n1".to_owned()][..])
    );
    assert_eq!((web.run.user.as_deref(), web.run.group.as_deref()), (Some("shop"), Some("web")));
    assert_eq!((web.umask.unwrap().bits(), web.reload_signal), (0o027, Some(run_spec::StopSignal::Hup)));
    assert_eq!(web.after.iter().collect::<Vec<_>>(), [&name("migrate")]);
    let expected = run_spec::Restart {
        policy: run_spec::RestartPolicy::Always,
        delay_ms: 100,
        max_retries: None,
        backoff_percent: 150,
        max_delay_ms: 30_000,
        jitter_percent: 20,
        reset_after_ms: 300_000,
    };
    assert_eq!(web.run.restart, expected);
}

#[test]
fn a_cell_changes_single_processes_and_what_they_share() {
    let release = release(&[("bin/x", 0o755)]);
    let cell = "overrides:\n  user: shop2\n  env: {LOG: warn, B: cell}\n  processes:\n    migrate: {command: [/bin/true], restart: {policy: never}}\n    \
                web: {env: {B: web}, restart: {jitter: 5%}, stop: {signal: INT}, umask: \"0077\", reload_signal: USR1}\n";
    let resolved = try_resolve(SHOP, cell, &release, &[]).unwrap();
    let spec = processes_of(&resolved);
    let (migrate, web) = (&spec.processes[&name("migrate")], &spec.processes[&name("web")]);
    assert_eq!((spec.user.as_deref(), web.run.user.as_deref()), (Some("shop2"), Some("shop2")));
    assert_eq!((migrate.run.user.as_deref(), migrate.run.command[0].as_str()), (Some("owner"), "/bin/true"));
    let env: Vec<String> = web.run.env.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    assert_eq!(env, ["A=Text(\"shared\")", "B=Text(\"web\")", "LOG=Text(\"debug\")"], "the process's own stands");
    assert_eq!(migrate.run.env["LOG"], run_spec::EnvValue::Text("warn".to_owned()));
    assert_eq!((web.run.restart.jitter_percent, web.run.restart.backoff_percent), (5, 150));
    assert_eq!((web.run.stop.signal, web.umask.unwrap().bits()), (run_spec::StopSignal::Int, 0o077));
    assert_eq!(web.reload_signal, Some(run_spec::StopSignal::Usr1));
}

#[test]
fn one_program_with_more_settings_is_called_main() {
    let manifest = "profile: {process: {shell: 'exec x', umask: \"0077\", restart: {backoff: 2}, user: u}}\n";
    let resolved = try_resolve(manifest, "overrides: {reload_signal: HUP}\n", &[], &[]).unwrap();
    let spec = processes_of(&resolved);
    let main = &spec.processes[&ProcessName::main()];
    assert_eq!((spec.user.as_deref(), main.run.user.as_deref()), (Some("u"), Some("u")));
    assert_eq!((main.umask.unwrap().bits(), main.run.restart.backoff_percent), (0o077, 200));
    assert_eq!(main.reload_signal, Some(run_spec::StopSignal::Hup));
    // A shell line alone is a command like any other.
    let plain = try_resolve("profile: {process: {shell: 'exec x'}}\n", "", &[], &[]).unwrap();
    assert!(processes_of(&plain).is_plain());
    let replaced =
        try_resolve("profile: {process: {shell: 'exec x'}}\n", "overrides: {command: [/x]}\n", &[], &[]).unwrap();
    assert_eq!(run_of(&replaced).command, ["/x"]);
}

#[test]
fn what_a_cell_cannot_have_different_is_refused_at_its_place() {
    let systemd = "profile: {systemd: {command: [/x]}}\n";
    let main = "profile: {process: {command: [/x]}}\n";
    let cases = [
        (
            SHOP,
            "command: [/x]",
            "c.yaml:3:13: overrides.command: the manifest `web` names its processes; set it for one of them, in `over",
        ),
        (SHOP, "restart: {delay: 1s}", "c.yaml:3:13: overrides.restart: the manifest `web` names its processes"),
        (
            SHOP,
            "processes: {wbe: {user: u}}",
            "c.yaml:3:25: overrides.processes.wbe: the manifest `web` has no process `wbe` (did you mean `web`?)",
        ),
        (
            SHOP,
            "processes: {migrate: {restart: {policy: always}}}",
            "c.yaml:3:53: overrides.processes.migrate.restart.policy: a task runs once",
        ),
        (
            SHOP,
            "processes: {web: {command: [bin/y]}}",
            "c.yaml:3:41: overrides.processes.web.command[0]: the version has no file `bin/y`",
        ),
        (
            SHOP,
            "processes: {web: {shell: '{{ vars.a }}'}}",
            "c.yaml:3:38: overrides.processes.web.shell: `vars.a` is not defined",
        ),
        (
            main,
            "processes: {main: {user: u}}",
            "c.yaml:3:13: overrides.processes: the manifest `web` does not name processes (set it in",
        ),
        (
            systemd,
            "shell: x",
            "c.yaml:3:13: overrides.shell: the manifest `web` has the profile `systemd`, which does not know `shell` (remove it; only the profiles `process` and `supervisor` know it)",
        ),
        (
            systemd,
            "umask: \"0022\"",
            "c.yaml:3:13: overrides.umask: the manifest `web` has the profile `systemd`, which does not know `umask`",
        ),
        (
            systemd,
            "restart: {backoff: 2}",
            "c.yaml:3:23: overrides.restart.backoff: the manifest `web` has the profile `systemd`, which does not know `backoff`",
        ),
        (
            main,
            "schedule: daily",
            "c.yaml:3:13: overrides.schedule: the manifest `web` has the profile `process`, which does not know `schedule` (remove it; only the profile `systemd` knows it)",
        ),
        (
            SHOP,
            "hardening: {private_tmp: true}",
            "c.yaml:3:13: overrides.hardening: the manifest `web` has the profile `process`, which does not know `hardening`",
        ),
        (
            main,
            "env: {A: {credential: a}}",
            "c.yaml:3:23: overrides.env.A.credential: the manifest `web` has the profile `process`, which has no credentials (use `from_file: <path>`; only the profile `systemd` knows it)",
        ),
        (
            DEPLOY,
            "hardening: {private_tmp: true}",
            "c.yaml:3:13: overrides.hardening: the manifest `web` has the profile `deploy`, which runs nothing",
        ),
        (
            systemd,
            "processes: {a: {user: u}}",
            "c.yaml:3:13: overrides.processes: the manifest `web` does not name processes",
        ),
        (
            DEPLOY,
            "processes: {a: {user: u}}",
            "c.yaml:3:13: overrides.processes: the manifest `web` does not name processes",
        ),
        (
            DEPLOY,
            "shell: x",
            "c.yaml:3:13: overrides.shell: the manifest `web` has the profile `deploy`, which runs nothing",
        ),
    ];
    let release = release(&[("bin/x", 0o755)]);
    for (manifest, overrides, expected) in cases {
        let error = try_resolve(manifest, &format!("overrides: {{{overrides}}}\n"), &release, &[]).unwrap_err();
        assert!(error.starts_with(expected) && error.lines().count() == 1, "{error}\n  expected {expected}");
    }
    assert!(
        try_resolve(systemd, "overrides: {restart: {delay: 2s}, working_dir: bin, user: u}\n", &release, &[]).is_ok()
    );
}

#[test]
fn health_is_the_manifests_or_the_usual() {
    let health =
        |rest: &str| try_resolve(&format!("profile: {{process: {{shell: x}}}}\n{rest}"), "", &[], &[]).unwrap().health;
    assert_eq!(health(""), Health { min_healthy_ms: 10_000, deadline_ms: 120_000, ..Health::default() });
    assert_eq!(
        health("health: {deadline: 1h}\n"),
        Health { min_healthy_ms: 10_000, deadline_ms: 3_600_000, ..Health::default() }
    );
    assert_eq!(health("health: {min_healthy_time: 0s}\n").min_healthy_ms, 0);
}

#[test]
fn a_program_must_be_there_and_be_executable() {
    let error = |command: &str, mode: u32| {
        let manifest = format!("profile:\n  process:\n    command: [{command}]\n");
        try_resolve(&manifest, "", &release(&[("bin/x", mode)]), &[]).unwrap_err()
    };
    let place = "m.yaml:4:15: profile.process.command[0]: ";
    assert_eq!(
        error("bin/x", 0o644),
        format!("{place}`bin/x` cannot be executed: its mode is 0644 (give it the mode \"0755\" in `files`)")
    );
    assert_eq!(error("x", 0o755), format!("{place}the version has no file `x` to execute (near it: `bin/x`)"));
    assert!(error("python3", 0o755).ends_with("(begin a program of the node itself with `/`, as in /usr/bin/python3)"));
    assert!(try_resolve("profile: {process: {command: [/bin/x]}}\n", "", &[], &[]).is_ok());
}

#[test]
fn what_is_missing_is_told_once() {
    let manifest =
        "vars: {port: {}}\nfiles: [{path: bin/x}]\nprofile: {process: {command: [bin/x, \"{{ vars.port }}\"]}}\n";
    let error = try_resolve(manifest, "", &[], &[]).unwrap_err();
    let places: Vec<&str> = error.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(places, ["vars.port", "files[0].path"]);
}

#[test]
fn an_error_points_into_the_document_that_says_it() {
    let release = release(&[("bin/x", 0o755)]);
    let cases = [
        ("overrides: {command: [bin/y]}\n", "c.yaml:3:23: overrides.command[0]: the version has no file `bin/y`"),
        (
            "overrides: {env: {B: \"{{ labels.zone }}\"}}\n",
            "c.yaml:3:22: overrides.env.B: `labels.zone` is not defined",
        ),
        (
            "overrides: {env: {B: \"{{ vars.prot }}\"}}\n",
            "c.yaml:3:22: overrides.env.B: `vars.prot` is not defined (did you mean `vars.port`?)",
        ),
        ("overrides: {working_dir: bni}\n", "c.yaml:3:26: overrides.working_dir: the version has no folder `bni`"),
        ("vars: {port: \"a\\0b\"}\n", "m.yaml:5:22: profile.process.command[1]: a NUL character"),
    ];
    for (cell, expected) in cases {
        let error = try_resolve(RUN, cell, &release, &[]).unwrap_err();
        assert!(error.starts_with(expected), "{error}\n  expected {expected}");
    }
}

#[test]
fn a_cell_may_replace_a_value_that_it_cannot_render() {
    let manifest = "profile: {process: {command: [/bin/x], env: {A: \"{{ labels.zone }}\"}}}\n";
    assert!(try_resolve(manifest, "", &[], &[]).is_err());
    assert!(try_resolve(manifest, "overrides: {env: {A: fixed}}\n", &[], &[]).is_ok());
}

#[test]
fn a_cell_of_a_folder_cannot_say_how_to_run_it() {
    let cell = "overrides:\n  command: [x]\n  user: u\n  env: {A: b}\n  stop: {timeout: 1s}\n";
    let error = try_resolve(DEPLOY, cell, &[], &[]).unwrap_err();
    let places: Vec<&str> = error.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["c.yaml:4:3", "c.yaml:6:3", "c.yaml:7:3"]);
    let resolved = try_resolve(DEPLOY, "overrides: {user: u}\n", &[], &[]).unwrap();
    assert_eq!(resolved.profile.owner(), (Some("u"), None));
}

#[test]
fn the_order_of_inputs_changes_nothing() {
    let mut files = release(&[("a", 0o644), ("b", 0o755), ("bin/x", 0o755)]);
    let first = try_resolve(RUN, "", &files, &["a", "c"]).unwrap();
    files.reverse();
    assert_eq!(try_resolve(RUN, "", &files, &["c", "a"]).unwrap(), first);
}

#[test]
fn checks_are_asked_with_templates_rendered() {
    use crate::model::health::{Check, Line};

    let resolve = |checks: &str, cell: &str| {
        let manifest =
            format!("vars: {{port: 80}}\nprofile: {{process: {{shell: x}}}}\nhealth: {{checks: {{it: {checks}}}}}\n");
        try_resolve(&manifest, cell, &release(&[("bin/check", 0o755)]), &[])
    };
    let check = |checks: &str| resolve(checks, "").unwrap().health.checks.into_values().next().unwrap();
    let Check::Http(http) = check("{http: {url: \"http://{{ node }}:{{ vars.port }}/\"}}") else { panic!() };
    assert_eq!((http.url.port(), http.status.to_string().as_str()), (80, "200-299"));
    let Check::Exec(exec) = check("{exec: {command: [bin/check, \"{{ vars.port }}\"]}}") else { panic!() };
    assert_eq!(exec.command, ["bin/check", "80"]);
    let Check::Log(log) = check("{log: {contains: \"on {{ vars.port }}\"}}") else { panic!() };
    assert_eq!(log.line, Line::Contains("on 80".to_owned()));
    for (checks, cell, place) in [
        ("{tcp: {address: \"h:{{ vars.port }}\"}}", "vars: {port: none}\n", "health.checks.it.tcp.address: "),
        ("{exec: {command: [bin/other]}}", "", "health.checks.it.exec.command[0]: "),
        ("{log: {contains: \"{{ vars.port }}\"}}", "vars: {port: \"\"}\n", "health.checks.it.log.contains: "),
    ] {
        let errors = resolve(checks, cell).unwrap_err();
        assert!(errors.contains(place), "{errors:?}");
    }
}

#[test]
fn what_is_to_be_reloaded_says_how_in_the_manifest_or_the_cell() {
    let manifest = "profile: {systemd: {command: [/x]}}\nreload_if: [conf/**]\n";
    let error = try_resolve(manifest, "", &[], &[]).unwrap_err();
    assert!(error.contains("3:12: reload_if: nothing says how what runs is reloaded"), "{error}");
    let resolved = try_resolve(manifest, "overrides: {reload_signal: USR1}\n", &[], &[]).unwrap();
    let run_spec::Profile::Systemd(spec) = resolved.profile else { panic!("{:?}", resolved.profile) };
    assert_eq!(spec.rendered().unwrap().reload_signal, Some(run_spec::StopSignal::Usr1));
    assert_eq!(resolved.reload_if, ["conf/**".parse().unwrap()]);
    let manifest = "profile: {systemd: {command: [/x], reload_command: [/y, now]}}\nstrategy: reload\n";
    let resolved = try_resolve(manifest, "", &[], &[]).unwrap();
    assert_eq!(resolved.strategy, Strategy::Reload);
    let run_spec::Profile::Systemd(spec) = resolved.profile else { panic!("{:?}", resolved.profile) };
    assert_eq!(spec.rendered().unwrap().reload_command, Some(vec!["/y".to_owned(), "now".to_owned()]));
}
