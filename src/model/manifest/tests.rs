use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::pattern::changed_files;
use super::*;

fn sample() -> Value {
    json!({
        "schema": "fleetman/manifest/1", "requires": [], "fleet": "6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10",
        "node": "n1", "cell": "web", "version": "1.0", "manifest": "site", "deployment": "r1",
        "content_sha256": Sha256Digest::of(b"").to_string(), "created_at": "2026-01-02T03:04:05Z",
        "created_by": "alice", "profile": {"kind": "deploy"},
        "files": [
            {"path": "a", "size": 1, "sha256": Sha256Digest::of(b"a").to_string(), "mode": "0644", "from": "deployment"},
            {"path": "b", "size": 2, "sha256": Sha256Digest::of(b"b").to_string(), "mode": "0755", "from": "override"},
            {"path": "c", "size": 3, "sha256": Sha256Digest::of(b"c").to_string(), "mode": "0644", "from": "template"},
        ],
    })
}

fn read(value: &Value) -> Manifest {
    let mut manifest: Manifest = serde_json::from_value(value.clone()).unwrap();
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

fn changed(change: impl FnOnce(&mut Value)) -> Manifest {
    let mut value = sample();
    change(&mut value);
    read(&value)
}

#[test]
fn a_manifest_reads_back_what_it_wrote() {
    let manifest = read(&sample());
    assert_eq!(Manifest::parse(&manifest.render()).unwrap(), manifest);
}

#[test]
fn names_dates_and_places_are_no_content_and_everything_else_is() {
    let content = read(&sample()).content_sha256;
    let outside: [(&str, Value); 5] = [
        ("version", json!("2.0")),
        ("deployment", json!("r2")),
        ("created_at", json!("2027-01-02T03:04:05Z")),
        ("created_by", json!("bob")),
        ("note", json!("hello")),
    ];
    for (field, value) in outside {
        assert_eq!(changed(|m| m[field] = value).content_sha256, content, "{field}");
    }
    for (field, value) in [("object", json!("packs/1")), ("offset", json!(7)), ("from", json!("template"))] {
        assert_eq!(changed(|m| m["files"][0][field] = value).content_sha256, content, "{field}");
    }
    let inside: [(&str, Value); 9] = [
        ("requires", json!(["x"])),
        ("fleet", json!("6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e11")),
        ("node", json!("n2")),
        ("cell", json!("web2")),
        ("manifest", json!("site2")),
        ("profile", json!({"kind": "deploy", "user": "www"})),
        ("health", json!({"deadline_ms": 5})),
        ("hooks", json!({"validate": {"command": ["bin/x"]}})),
        ("limits", json!({"open_files": 5})),
    ];
    for (field, value) in inside {
        assert_ne!(changed(|m| m[field] = value).content_sha256, content, "{field}");
    }
    let file: [(&str, Value); 4] = [
        ("path", json!("z")),
        ("size", json!(9)),
        ("sha256", json!(Sha256Digest::of(b"z").to_string())),
        ("mode", json!("0600")),
    ];
    for (field, value) in file {
        assert_ne!(changed(|m| m["files"][0][field] = value).content_sha256, content, "{field}");
    }
}

#[test]
fn every_field_of_a_manifest_is_known_to_be_inside_or_outside() {
    // A new field must be put into one of the two lists of the test above.
    let full = changed(|m| {
        m["note"] = json!("x");
        m["health"] = json!({"deadline_ms": 5});
        m["hooks"] = json!({"validate": {"command": ["bin/x"]}});
        m["limits"] = json!({"open_files": 5});
    });
    let fields: Vec<String> = serde_json::to_value(&full).unwrap().as_object().unwrap().keys().cloned().collect();
    let mut expected = vec![
        "requires",
        "fleet",
        "node",
        "cell",
        "version",
        "manifest",
        "deployment",
        "content_sha256",
        "created_at",
        "created_by",
        "note",
        "profile",
        "health",
        "hooks",
        "limits",
        "files",
    ];
    expected.sort_unstable();
    let mut fields = fields;
    fields.sort_unstable();
    assert_eq!(fields, expected);
}

#[test]
fn what_only_a_newer_agent_understands_is_refused_by_name() {
    for (change, name) in [(json!(["teleport"]), "teleport"), (json!(["x\u{1b}[2J"]), "x\u{1b}[2J")] {
        let mut value = sample();
        value["requires"] = change;
        match Manifest::parse(value.to_string().as_bytes()) {
            Err(ManifestError::Document(DocumentError::Unsupported { feature })) => assert_eq!(feature, name),
            other => panic!("{other:?}"),
        }
    }
    let mut value = sample();
    value["profile"] = json!({"kind": "wasm", "module": 1});
    let error = Manifest::parse(value.to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("profile.wasm"), "{error}");
}

#[test]
fn a_manifest_that_lies_about_its_content_or_hides_a_path_is_refused() {
    let refused = |change: &dyn Fn(&mut Value)| {
        let mut value = sample();
        change(&mut value);
        Manifest::parse(value.to_string().as_bytes()).unwrap_err()
    };
    assert!(matches!(refused(&|_| {}), ManifestError::Content { .. }));
    assert!(matches!(refused(&|m| m["files"][1]["path"] = json!("A")), ManifestError::Path(_)));
    assert!(matches!(refused(&|m| m["files"][1]["path"] = json!("../x")), ManifestError::Document(_)));
    assert!(matches!(refused(&|m| m["files"][1]["mode"] = json!("4755")), ManifestError::Document(_)));
    assert!(matches!(
        refused(&|m| m["files"][1]["size"] = json!(6_000_000_000_u64)),
        ManifestError::FileTooLarge { .. }
    ));
    assert!(matches!(refused(&|m| m["files"][1]["offset"] = json!(u64::MAX)), ManifestError::Location { .. }));
    assert!(matches!(refused(&|m| m["files"][1]["object"] = json!("manifest.json")), ManifestError::Location { .. }));
}

#[test]
fn modes_have_four_octal_digits_and_no_special_bits() {
    for bad in ["644", "0o644", "4755", "1777", "0888", "00644", ""] {
        assert!(bad.parse::<Mode>().is_err(), "{bad}");
    }
    assert_eq!("0755".parse::<Mode>().unwrap().to_string(), "0755");
    assert!(Mode::new(0o4755).is_err());
}

proptest! {
    #[test]
    fn the_content_digest_ignores_the_order_of_input(order in Just(vec![0_usize, 1, 2]).prop_shuffle()) {
        let shuffled = changed(|m| {
            let files = m["files"].as_array().unwrap().clone();
            m["files"] = order.iter().map(|at| files[*at].clone()).collect();
        });
        prop_assert_eq!(shuffled.content_sha256, read(&sample()).content_sha256);
    }
}

#[test]
fn a_file_changes_by_its_bytes_its_mode_and_by_coming_and_going() {
    let old = read(&sample());
    let names = |old: Option<&Manifest>, new: &Manifest| -> Vec<String> {
        changed_files(old, new).into_iter().map(ToString::to_string).collect()
    };
    assert_eq!(names(None, &old), ["a", "b", "c"]);
    assert!(names(Some(&old), &old).is_empty());
    let new = changed(|m| {
        m["files"][0]["mode"] = json!("0600");
        m["files"][1]["sha256"] = json!(Sha256Digest::of(b"other").to_string());
        // Where the bytes lie and which input they came from changes nothing on the node.
        m["files"][2]["from"] = json!("override");
        m["files"][2]["object"] = json!("elsewhere");
    });
    assert_eq!(names(Some(&old), &new), ["a", "b"]);
    let new = changed(|m| m["files"][1]["path"] = json!("d"));
    assert_eq!(names(Some(&old), &new), ["b", "d"]);
}
