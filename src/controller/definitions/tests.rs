use serde_json::{Value, json};

use super::*;

fn manifest(more: &Value) -> Manifest {
    let mut text = json!({"schema": "fleetman/manifest/1", "requires": [],
        "fleet": "6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10", "node": "n1", "cell": "web", "version": "r1", "manifest": "site",
        "content_sha256": "0".repeat(64), "created_at": "2026-01-02T03:04:05Z", "created_by": "alice", "files": []});
    text.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(text).unwrap()
}

fn run(env: &Value) -> Value {
    json!({"command": ["bin/web", "--to=https://a:hunter2@c/"], "env": env, "restart": {"policy": "always", "delay_ms": 1},
        "stop": {"signal": "TERM", "timeout_ms": 1000}})
}

fn of_kind(kind: &str, env: &Value) -> Manifest {
    let mut profile = run(env);
    profile["kind"] = kind.into();
    manifest(&json!({ "profile": profile }))
}

fn diff<'a>(changes: &'a [DefinitionChange], name: &str) -> &'a str {
    let change = changes.iter().find(|change| change.name == name);
    match change.map(|change| &change.diff) {
        Some(TextDiff::Text(text)) => text,
        other => panic!("{name}: {other:?} of {changes:?}"),
    }
}

#[test]
fn a_unit_is_shown_as_the_node_will_have_it_with_words_for_what_only_that_knows() {
    let new = of_kind("systemd", &json!({"PORT": "80", "KEY": {"from_file": "/etc/key"}}));
    let changes = changed(None, &new);
    assert_eq!((changes.len(), changes[0].kind), (1, FileKind::Added));
    let unit = diff(&changes, "fleetman-web.service");
    for line in [
        "+ExecStartPre=+\"<fleetagent>\" write-env %t/fleetman/web.env \"{\\\"KEY\\\":{\\\"from_file\\\":\\\"/etc/key\\\"}}\"",
        "+ExecStart=\"<release>/bin/web\" \"(not shown)\"",
        "+WorkingDirectory=<release>",
        "+Environment=\"PORT=80\"",
        "+Environment=\"FLEETMAN_VERSION=<version>\"",
        "+Environment=\"FLEETMAN_DATA_DIR=<data>\"",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}: {unit}");
    }
    assert!(!unit.contains("..fleetman") && !unit.contains("hunter2"), "{unit}");
    let words: Vec<String> = stand_ins(&changes).into_iter().map(|known| known.word).collect();
    assert_eq!(words, ["<release>", "<data>", "<fleetagent>", "<version>"]);
}

#[test]
fn versions_that_are_run_alike_have_the_same_definitions_whatever_their_names() {
    for kind in ["systemd", "process", "supervisor"] {
        let old = of_kind(kind, &json!({"PORT": "80"}));
        let new = Manifest { version: "r2".parse().unwrap(), ..old.clone() };
        assert_eq!(changed(Some(&old), &new), []);
    }
    let files = manifest(&json!({"profile": {"kind": "deploy"}}));
    assert_eq!((changed(None, &files), refusal(&files)), (vec![], None));
}

#[test]
fn only_the_lines_that_differ_are_shown_and_a_secret_is_only_said_to_be_another() {
    let old = of_kind("systemd", &json!({"PORT": "80", "API_TOKEN": "first", "SECRET": "same"}));
    let new = of_kind("systemd", &json!({"PORT": "81", "API_TOKEN": "second", "SECRET": "same"}));
    let changes = changed(Some(&old), &new);
    let unit = diff(&changes, "fleetman-web.service");
    let differing: Vec<&str> = unit.lines().filter(|line| line.starts_with(['+', '-'])).collect();
    let expected = [
        "-Environment=\"API_TOKEN=(not shown)\"",
        "-Environment=\"PORT=80\"",
        "+Environment=\"API_TOKEN=(not shown), another one\"",
        "+Environment=\"PORT=81\"",
    ];
    assert_eq!(differing, expected);
}

#[test]
fn supervisords_file_and_the_processes_behind_it_are_told_apart() {
    let old = of_kind("supervisor", &json!({"PORT": "80"}));
    let mut new = of_kind("supervisor", &json!({"PORT": "81"}));
    let changes = changed(Some(&old), &new);
    assert_eq!(changes.iter().map(|change| change.name.as_str()).collect::<Vec<_>>(), ["process main"]);
    assert!(diff(&changes, "process main").contains("+    \"PORT\": \"81\""), "{changes:?}");

    let Profile::Supervisor(spec) = &mut new.profile else { panic!() };
    spec.processes.values_mut().for_each(|process| process.autostart = false);
    let changes = changed(Some(&old), &new);
    assert!(diff(&changes, "fleetman-web.conf").contains("-autostart=true\n+autostart=false\n"), "{changes:?}");
    let whole = changed(None, &new);
    let conf = diff(&whole, "fleetman-web.conf");
    assert!(conf.contains("+command=<fleetagent> exec <cell>/activations/<version> main\n"), "{conf}");
    assert!(!conf.contains("sha256"), "the mark is the node's: {conf}");
}

#[test]
fn of_two_that_take_turns_it_is_not_said_whose_turn_it_is() {
    let mut manifest = of_kind("process", &json!({}));
    manifest.strategy = serde_json::from_value(json!({"kind": "start_stop", "shares": "second_port"})).unwrap();
    let changes = changed(None, &manifest);
    assert!(diff(&changes, "process main").contains("\"FLEETMAN_INSTANCE\": \"<instance>\""), "{changes:?}");
}

#[test]
fn a_unit_that_a_version_brings_changes_with_its_file() {
    let own = |digest: &str| {
        let file = json!({"path": "web.service", "size": 1, "sha256": digest.repeat(64), "mode": "0644",
            "from": "deployment"});
        manifest(&json!({"profile": {"kind": "systemd", "unit_file": "web.service"}, "files": [file]}))
    };
    assert_eq!(changed(Some(&own("a")), &own("a")), []);
    let changes = changed(Some(&own("a")), &own("b"));
    assert!(diff(&changes, "fleetman-web.service").contains("+the version's own web.service, bbb"), "{changes:?}");
}

#[test]
fn what_no_agent_would_write_is_refused_with_its_field() {
    let refused = of_kind("systemd", &json!({"A": "\u{1}"}));
    assert_eq!(
        refusal(&refused).as_deref(),
        Some("env.A has a control character in it, which systemd passes in no variable")
    );
    assert_eq!(changed(None, &refused), []);
}

#[test]
fn what_may_outlive_its_release_is_told_of_the_link_beside_it() {
    let mut manifest = of_kind("systemd", &json!({}));
    manifest.restart_if = vec!["bin/**".parse().unwrap()];
    let changes = changed(None, &manifest);
    let unit = diff(&changes, "fleetman-web.service");
    assert!(unit.contains("+Environment=\"FLEETMAN_CURRENT_DIR=<cell>/current\"\n"), "{unit}");
    assert!(unit.contains("FLEETMAN_RELEASE_DIR=<release>\""), "{unit}");
}
