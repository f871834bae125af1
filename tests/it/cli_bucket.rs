//! The command line and the bucket as it is: init, ls, cat, doctor, overrides, apply.

use crate::support::cli::{FLEET, Workplace};
use crate::support::{ACCESS_KEY, BUCKET, SECRET_KEY, Store};

const SITE: &str = "name: site # kept\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n";

#[tokio::test(flavor = "multi_thread")]
async fn init_makes_a_config_a_key_and_a_fleet_and_overwrites_nothing() {
    let store = Store::start().await;
    let place = Workplace::empty();
    place.write("secret", SECRET_KEY);
    let url = format!("s3://{BUCKET}/prod");
    let endpoint = store.endpoint();
    let args = ["init", &url, "--endpoint", &endpoint, "--access-key", ACCESS_KEY, "--secret-key-file", "secret"];
    let ran = place.fleetman(&args).await.exits(0);
    assert!(ran.out.contains("node: CHANGE-ME") && ran.out.contains("key: ed25519:"), "{}", ran.out);
    assert!(!ran.out.contains(SECRET_KEY), "a node has keys of its own");
    let listed = place.fleetman(&["-o", "json", "bucket", "ls"]).await.exits(0).json();
    assert_eq!(listed["objects"][0]["key"], "fleet.json");

    let config = std::fs::read(place.path().join("controller_config.yaml")).unwrap();
    let error = place.fleetman(&["-o", "json", "init", &url]).await.exits(3).error();
    assert_eq!(error["code"], "exists");
    // What was interrupted is finished by the same config.
    place.fleetman(&["init"]).await.exits(0);
    assert_eq!(std::fs::read(place.path().join("controller_config.yaml")).unwrap(), config);

    let other = Workplace::empty();
    other.write("secret", SECRET_KEY);
    let ran = other.fleetman(&args).await.exits(3);
    assert!(ran.err.contains("belongs to fleet"), "{}", ran.err);
    Workplace::empty().fleetman(&["init"]).await.exits(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_another_fleets_bucket() {
    let place = Workplace::with_bucket().await;
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    place.write("controller_config.yaml", &config.replace(FLEET, "00000000-0000-4000-8000-000000000001"));
    place.write("site.yaml", SITE);
    let error = place.fleetman(&["-o", "json", "apply", "-f", "site.yaml"]).await.exits(3).error();
    assert_eq!(error["code"], "foreign_fleet");
    place.fleetman(&["upload", "site", ".", "--skip-empty-dirs"]).await.exits(3);
    place.fleetman(&["publish", "n1/web", "-y"]).await.exits(3);
    let listed = place.fleetman(&["-o", "json", "bucket", "ls", "-r"]).await.exits(0).json();
    let keys: Vec<&str> = listed["objects"].as_array().unwrap().iter().filter_map(|it| it["key"].as_str()).collect();
    assert!(keys.iter().all(|key| key.starts_with("audit/") || ["fleet.json", "store.json"].contains(key)), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_on_something_that_is_nowhere_is_not_an_empty_list() {
    let place = Workplace::with_bucket().await;
    for args in [["get", "versions", "n9/web"], ["get", "deployments", "nope"], ["override", "ls", "n9/web"]] {
        place.fleetman(&args).await.exits(4);
    }
    place.write("site.yaml", SITE);
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    for args in [["get", "versions", "n1/web"], ["get", "deployments", "site"], ["override", "ls", "n1/web"]] {
        place.fleetman(&args).await.exits(0);
    }
    place.write("dist/index.html", "x");
    let ran = place.fleetman(&["upload", "nope", "dist"]).await.exits(0);
    assert!(ran.err.contains("no manifest nope yet"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_reads_ends_no_command() {
    let mut place = Workplace::with_bucket().await;
    place.write("site.yaml", SITE);
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let garbage = place.store().client().put_object().bucket(BUCKET).key("cells/n1/web/trigger.json");
    garbage.body(vec![b'{'].into()).send().await.unwrap();
    let mut child = place.start_fleetman(&["plan", "n1/web"]);
    drop(child.stderr.take());
    assert_eq!(child.wait().await.unwrap().code(), Some(1), "there is something to publish");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_can_be_looked_at_and_folders_are_explained() {
    let mut place = Workplace::with_bucket().await;
    place.write("site.yaml", SITE);
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let ran = place.fleetman(&["bucket", "ls"]).await.exits(0);
    assert!(ran.out.contains("cells/") && ran.out.contains("cells, by node"), "{}", ran.out);
    let ran = place.fleetman(&["bucket", "cat", "manifests/site/manifest.yaml"]).await.exits(0);
    assert_eq!(ran.out, "name: site # kept\nprofile: {deploy: {}}\n");
    let fleet = place.fleetman(&["bucket", "cat", "fleet.json"]).await.exits(0).json();
    assert_eq!(fleet["fleet"], FLEET);
    assert_eq!(
        place.fleetman(&["-o", "json", "bucket", "cat", "agents/n9.json"]).await.exits(4).error()["code"],
        "not_found"
    );
    place.fleetman(&["bucket", "cat", "no such key"]).await.exits(4);
    place.fleetman(&["bucket", "ls", "nothing/here"]).await.exits(4);

    let foreign =
        place.store().client().put_object().bucket(BUCKET).key("Photos/\u{1b}[2Jcat.jpg").body(vec![1].into());
    foreign.send().await.unwrap();
    let ran = place.fleetman(&["bucket", "ls", "Photos"]).await.exits(0);
    assert!(ran.out.contains("not of the protocol") && !ran.out.contains('\u{1b}'), "{:?}", ran.out);
    let listed = place.fleetman(&["-o", "json", "bucket", "ls", "-r"]).await.exits(0).json();
    assert!(listed["objects"].as_array().unwrap().iter().any(|object| object["known"] == false), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_is_checked_as_a_whole_and_repeats_do_nothing() {
    let place = Workplace::with_bucket().await;
    place.write("a/site.yaml", SITE);
    let applied = place.fleetman(&["-o", "json", "apply", "-f", "a"]).await.exits(0).json();
    assert_eq!(applied["objects"][0]["how"], "created");
    let applied = place.fleetman(&["-o", "json", "apply", "-f", "a"]).await.exits(0).json();
    assert!(applied["objects"].as_array().unwrap().iter().all(|entry| entry["how"] == "unchanged"), "{applied}");
    place.write("a/worse.yaml", "name: other\nprofile: {deploy: {}}\n---\ncell: n1/web2\nmanifst: site\n");
    place.fleetman(&["apply", "-f", "a"]).await.exits(2);
    place.fleetman(&["bucket", "cat", "manifests/other/manifest.yaml"]).await.exits(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn overrides_come_and_go() {
    let place = Workplace::with_bucket().await;
    place.write("site.yaml", SITE);
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.write("app.conf", "a = 1\n");
    place.fleetman(&["override", "put", "n1/web", "etc/app.conf", "app.conf"]).await.exits(0);
    assert_eq!(place.fleetman(&["override", "get", "n1/web", "etc/app.conf"]).await.exits(0).out, "a = 1\n");
    place.fleetman(&["override", "put", "--new", "n1/web", "etc/app.conf", "site.yaml"]).await.exits(3);
    let listed = place.fleetman(&["-o", "yaml", "override", "ls", "n1/web"]).await.exits(0).out;
    assert!(listed.contains("path: etc/app.conf"), "{listed}");
    let ran = place.fleetman(&["override", "rm", "n1/web", "etc/app.conf"]).await.exits(2);
    assert!(ran.err.contains("-y"), "{}", ran.err);
    place.fleetman(&["override", "rm", "n1/web", "etc/app.conf", "-y"]).await.exits(0);
    place.fleetman(&["override", "get", "n1/web", "etc/app.conf"]).await.exits(4);
    place.fleetman(&["override", "put", "n1/absent", "etc/app.conf", "app.conf"]).await.exits(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_is_content_with_a_good_store_and_remembers_it() {
    let place = Workplace::with_bucket().await;
    let found = place.fleetman(&["-o", "json", "doctor"]).await.exits(0).json();
    let checks: Vec<&str> = found.as_array().unwrap().iter().filter_map(|finding| finding["check"].as_str()).collect();
    for check in ["config", "signing", "reach", "create_race", "clock", "remembered"] {
        assert!(checks.contains(&check), "{check} is missing in {checks:?}");
    }
    let report = place.fleetman(&["bucket", "cat", "store.json"]).await.exits(0).json();
    assert_eq!(report["conditions"], "honoured");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_or_refuses_has_its_own_exit_code() {
    let mut place = Workplace::with_bucket().await;
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    place.write("denied.yaml", &config.replace(SECRET_KEY, "wrong"));
    place.fleetman(&["-c", "denied.yaml", "bucket", "ls"]).await.exits(5);
    place.write("nowhere.yaml", &config.replace(&format!("bucket: {BUCKET}"), "bucket: nowhere"));
    place.fleetman(&["-c", "nowhere.yaml", "bucket", "ls"]).await.exits(4);
    let ran = place.fleetman(&["--bucket", "other", "bucket", "ls"]).await.exits(2);
    assert!(ran.err.contains("\"test\""), "{}", ran.err);
    place.store().stop().await;
    let error = place.fleetman(&["-o", "json", "bucket", "ls"]).await.exits(6).error();
    assert_eq!(error["code"], "unreachable");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_verified_counted_and_the_audit_and_the_config_told() {
    let mut place = Workplace::with_bucket().await;
    place.write("site.yaml", SITE);
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.write("dist/index.html", "x");
    place.fleetman(&["upload", "site", "dist", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "--as", "v1", "-y"]).await.exits(0);
    place.fleetman(&["pause", "n1/web", "-y", "--reason", "a freeze"]).await.exits(0);

    let good = place.fleetman(&["bucket", "verify", "cells/n1/web/trigger.json"]).await.exits(0);
    assert!(good.out.contains("signed by key") && good.out.contains("deploy v1"), "{}", good.out);
    let listed = place.fleetman(&["-o", "json", "bucket", "ls", "-r", "deployments/site/r1"]).await.exits(0).json();
    let file = listed["objects"][1]["key"].as_str().unwrap().to_owned();
    let changed = place.store().client().put_object().bucket(BUCKET).key(&file).body(vec![b'y'].into());
    changed.send().await.unwrap();
    let bad = place.fleetman(&["bucket", "verify", &file]).await.exits(1);
    assert!(bad.out.contains("failed") && bad.out.contains("index.html: expected 1 bytes"), "{}", bad.out);
    place.fleetman(&["bucket", "verify", "nope"]).await.exits(4);
    place.fleetman(&["bucket", "verify", "agents/n9.json"]).await.exits(4);

    let usage = place.fleetman(&["-o", "json", "bucket", "du"]).await.exits(0).json();
    let row = |folder: &str| usage.as_array().unwrap().iter().find(|row| row["folder"] == folder).cloned();
    assert_eq!(row("deployments/site/").unwrap()["objects"], 2);
    let all = row("all").unwrap()["objects"].as_u64().unwrap();
    assert!(all > 10 && row("cells/n1/web/").unwrap()["objects"].as_u64().unwrap() >= 4, "{usage}");

    let audit = place.fleetman(&["-o", "json", "audit", "--limit", "3"]).await.exits(0).json();
    assert_eq!(audit.as_array().unwrap().len(), 3);
    assert_eq!((&audit[0]["action"], &audit[0]["reason"]), (&"pause".into(), &"a freeze".into()));
    let uploads = place.fleetman(&["audit", "--action", "upload"]).await.exits(0);
    assert!(uploads.out.contains("deployment/site/r1") && !uploads.out.contains("publish"), "{}", uploads.out);
    let nothing = place.fleetman(&["-o", "json", "audit", "--until", "2020-01-01T00:00:00Z"]).await.exits(0).json();
    assert_eq!(nothing, serde_json::json!([]));

    let config = place.fleetman(&["config", "show"]).await.exits(0);
    assert!(config.out.contains("controller_config.yaml:") && config.out.contains("••••••"), "{}", config.out);
    assert!(!config.out.contains(SECRET_KEY));
    let config = place.fleetman(&["-b", "nope", "-o", "json", "config", "show"]).await.exits(0).json();
    assert_eq!(config[1]["source"], serde_json::json!({"flag": {"name": "--bucket"}}));
}
