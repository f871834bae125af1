use serde_json::{Value, json};

use super::*;
use crate::model::Sha256Digest;
use crate::model::content::content_sha256;

/// A version with these files, each with its bytes, and these settings.
fn version(files: &[(&str, &str)], settings: &Value) -> Manifest {
    let files = files.iter().map(|(path, bytes)| {
        let sha256 = Sha256Digest::of(bytes.as_bytes()).to_string();
        json!({"path": path, "size": bytes.len(), "sha256": sha256, "mode": "0644", "from": "deployment"})
    });
    let mut value = json!({
        "schema": "fleetman/manifest/1", "requires": [], "fleet": "6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10",
        "node": "n1", "cell": "web", "version": "1.0", "manifest": "site",
        "content_sha256": Sha256Digest::of(b"").to_string(), "created_at": "2026-01-02T03:04:05Z",
        "created_by": "alice", "files": files.collect::<Vec<_>>(),
        "profile": {"kind": "process", "processes": {"main": {
            "command": ["bin/app"], "restart": {}, "stop": {"signal": "TERM", "timeout_ms": 9}, "reload_signal": "HUP",
        }}},
    });
    for (name, setting) in settings.as_object().unwrap() {
        value[name] = setting.clone();
    }
    let mut manifest: Manifest = serde_json::from_value(value).unwrap();
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

const BEFORE: [(&str, &str); 3] = [("bin/app", "1"), ("conf/app.yaml", "1"), ("www/a", "1")];

/// The same with one file changed.
fn with(path: &'static str) -> [(&'static str, &'static str); 3] {
    BEFORE.map(|(name, bytes)| (name, if name == path { "2" } else { bytes }))
}

/// What a version with these files does, in words, to one with those before.
fn does(files: &[(&str, &str)], settings: Value) -> String {
    let (old, new) = (version(&BEFORE, &settings), version(files, &settings));
    word(&effect(&old, &new))
}

fn word(effect: &Effect<'_>) -> String {
    match effect {
        Effect::Restarts(Because::File(path)) => format!("restart for {path}"),
        Effect::Restarts(why) => format!("restart {why:?}"),
        Effect::Reloads(paths) => {
            let names: Vec<_> = paths.iter().map(|path| path.as_str()).collect();
            format!("reload {names:?}")
        }
        Effect::GoesOn => "nothing".to_owned(),
    }
}

#[test]
fn without_a_word_of_it_every_version_restarts_what_runs() {
    assert_eq!(does(&with("www/a"), json!({})), "restart Usual");
    let going_on = version(&BEFORE, &json!({"reload_if": ["conf/**"]}));
    let usual = version(&with("conf/app.yaml"), &json!({}));
    assert_eq!(word(&effect(&going_on, &usual)), "restart Usual");
    assert_eq!(word(&effect(&usual, &going_on)), "restart Usual", "it was not started to be reloaded");
}

#[test]
fn it_is_reloaded_if_only_such_files_changed() {
    let settings = || json!({"reload_if": ["conf/**"]});
    assert_eq!(does(&with("conf/app.yaml"), settings()), "reload [\"conf/app.yaml\"]");
    assert_eq!(does(&with("bin/app"), settings()), "restart for bin/app");
    let both = [("bin/app", "2"), ("conf/app.yaml", "2"), ("www/a", "1")];
    assert_eq!(does(&both, settings()), "restart for bin/app");
    let added = [BEFORE[0], BEFORE[1], BEFORE[2], ("conf/more.yaml", "1")];
    assert_eq!(does(&added, settings()), "reload [\"conf/more.yaml\"]");
    assert_eq!(does(&BEFORE[..2], settings()), "restart for www/a", "it is gone");
}

#[test]
fn only_what_it_is_restarted_for_restarts_it() {
    let settings = || json!({"restart_if": ["bin/**"]});
    assert_eq!(does(&with("www/a"), settings()), "nothing");
    assert_eq!(does(&with("bin/app"), settings()), "restart for bin/app");
    let settings = || json!({"restart_if": ["bin/**"], "reload_if": ["conf/**", "bin/app"]});
    assert_eq!(does(&with("www/a"), settings()), "nothing");
    assert_eq!(does(&with("conf/app.yaml"), settings()), "reload [\"conf/app.yaml\"]");
    assert_eq!(does(&with("bin/app"), settings()), "restart for bin/app", "a restart does what a reload does");
}

#[test]
fn the_strategy_reload_restarts_only_for_what_is_said() {
    let settings = || json!({"strategy": {"kind": "reload"}, "restart_if": ["bin/**"]});
    assert_eq!(does(&with("www/a"), settings()), "reload [\"www/a\"]");
    assert_eq!(does(&with("bin/app"), settings()), "restart for bin/app");
    assert_eq!(does(&BEFORE, settings()), "reload []");
}

#[test]
fn what_is_run_otherwise_is_started_anew() {
    for settings in [json!({"reload_if": ["**"]}), json!({"strategy": {"kind": "reload"}})] {
        for (field, value) in [
            ("limits", json!({"open_files": 9})),
            (
                "profile",
                json!({"kind": "process", "processes": {"main": {
                    "command": ["bin/app", "-v"], "restart": {}, "stop": {"signal": "TERM", "timeout_ms": 9}, "reload_signal": "HUP",
                }}}),
            ),
        ] {
            let mut other = settings.clone();
            other[field] = value;
            let (old, new) = (version(&BEFORE, &settings), version(&BEFORE, &other));
            assert_eq!(word(&effect(&old, &new)), "restart Definition", "{field}");
        }
    }
    let shared = |how: &str| json!({"reload_if": ["**"], "strategy": {"kind": "start_stop", "shares": how}});
    let (old, new) = (version(&BEFORE, &shared("second_port")), version(&BEFORE, &shared("so_reuseport")));
    assert_eq!(word(&effect(&old, &new)), "restart Definition");
    let unit = json!({"reload_if": ["**"], "profile": {"kind": "systemd", "unit_file": "conf/app.yaml"}});
    assert_eq!(does(&with("conf/app.yaml"), unit.clone()), "restart Definition");
    assert_eq!(does(&with("www/a"), unit), "reload [\"www/a\"]");
}

#[test]
fn the_same_once_more_restarts_and_other_settings_around_it_do_not() {
    let settings = json!({"reload_if": ["conf/**"]});
    assert_eq!(does(&BEFORE, settings.clone()), "restart Asked");
    let watched = json!({"reload_if": ["conf/**"], "health": {"min_healthy_ms": 1, "deadline_ms": 2}});
    assert_eq!(word(&effect(&version(&BEFORE, &settings), &version(&BEFORE, &watched))), "nothing");
}

#[test]
fn what_cannot_be_reloaded_is_refused() {
    let check = |settings: Value| version(&BEFORE, &settings).check_effect().map_err(|error| error.to_string());
    let run = |more: Value| {
        let mut run = json!({"command": ["bin/app"], "restart": {}, "stop": {"signal": "TERM", "timeout_ms": 9}, "kind": "systemd"});
        run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        run
    };
    let plain =
        json!({"kind": "process", "command": ["bin/app"], "restart": {}, "stop": {"signal": "TERM", "timeout_ms": 9}});
    for way in [json!({"strategy": {"kind": "reload"}}), json!({"reload_if": ["conf/**"]})] {
        let of = |profile: Value| {
            let mut settings = way.clone();
            settings["profile"] = profile;
            check(settings)
        };
        assert_eq!(check(way.clone()), Ok(()));
        assert!(of(plain.clone()).unwrap_err().contains("there is no reload_signal"));
        assert!(of(run(json!({}))).unwrap_err().contains("nothing says how"));
        assert_eq!(of(run(json!({"reload_signal": "HUP"}))), Ok(()));
        assert_eq!(of(run(json!({"reload_command": ["bin/ctl"]}))), Ok(()));
        assert!(of(run(json!({"reload_signal": "HUP", "type": "oneshot"}))).unwrap_err().contains("ends by itself"));
        let schedule = json!({"reload_signal": "HUP", "schedule": {"on_calendar": "daily"}});
        assert!(of(run(schedule)).unwrap_err().contains("ends by itself"));
        assert!(of(json!({"kind": "deploy"})).unwrap_err().contains("runs nothing"));
        assert_eq!(of(json!({"kind": "systemd", "unit_file": "a.service"})), Ok(()));
    }
    assert_eq!(check(json!({"restart_if": ["bin/**"], "profile": plain})), Ok(()), "nothing is reloaded");
    assert!(check(json!({"restart_if": vec!["x"; 33]})).unwrap_err().contains("too many patterns"));
    assert!(check(json!({"reload_if": vec!["x"; 33]})).unwrap_err().contains("too many patterns"));
}
