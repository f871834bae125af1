//! What the agent's doctor and config check tell whoever sets up a node.

use serde_json::Value;

use crate::support::cli::{FLEET, Workplace};
use crate::support::policy::Policy;
use crate::support::proxy::FaultProxy;
use crate::support::{ACCESS_KEY, BUCKET, SECRET_KEY};

/// A bucket with the published cell `n1/web`, and an agent of `n1` that has run once.
async fn place() -> Workplace {
    let place = Workplace::with_bucket().await;
    place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.write("r1/index.html", "r1");
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "-d", "r1", "-y"]).await.exits(0);
    place.agent_config("n1").await;
    place.fleetagent(&["-c", "n1.yaml", "once"]).await.exits(0);
    place
}

fn edit(place: &Workplace, name: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(place.path().join(name)).unwrap();
    assert!(text.contains(from), "{text}");
    place.write(name, &text.replace(from, to));
}

async fn doctor(place: &Workplace, config: &str, code: i32) -> Vec<Value> {
    let told = place.fleetagent(&["-c", config, "-o", "json", "doctor"]).await.exits(code).json();
    told.as_array().unwrap().clone()
}

fn of<'a>(found: &'a [Value], check: &str) -> &'a Value {
    found.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("no {check}: {found:#?}"))
}

fn failed(found: &[Value]) -> Vec<&str> {
    let failed = found.iter().filter(|finding| finding["verdict"] == "failed");
    failed.map(|finding| finding["check"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_right_that_is_missing_is_named_in_the_words_of_the_policy() {
    let mut place = place().await;
    let endpoint = place.store().endpoint();
    let proxy = FaultProxy::start(&endpoint).await;
    let added = place.fleetman(&["-o", "json", "node", "add", "n1", "--store", "minio"]).await.exits(0).json();
    let policy = added["policy"].to_string();
    edit(&place, "n1.yaml", &endpoint, &proxy.endpoint());
    proxy.authorize(Policy::parse(&policy));
    assert_eq!(failed(&doctor(&place, "n1.yaml", 0).await), [] as [&str; 0]);
    for (check, action, pattern) in [
        ("read_cells", "s3:GetObject", "cells/n1/*"),
        ("read_index", "s3:GetObject", "index/n1.json"),
        ("read_heartbeat", "s3:GetObject", "agents/n1.json"),
        ("list_index", "s3:ListBucket", "index/n1.json"),
        ("list_heartbeat", "s3:ListBucket", "agents/n1.json"),
        ("write_heartbeat", "s3:PutObject", "agents/n1.json"),
        ("write_logs", "s3:PutObject", "logs/n1/*"),
    ] {
        proxy.authorize(Policy::without(&policy, action, pattern));
        let found = doctor(&place, "n1.yaml", 1).await;
        assert_eq!(failed(&found), [check], "{found:#?}");
        let finding = of(&found, check);
        assert!(finding["message"].as_str().unwrap().starts_with(&format!("{action} on {pattern} is missing")));
        assert!(finding["help"].as_str().unwrap().contains("fleetman node add n1"), "{finding}");
    }
    proxy.authorize(Policy::without(&policy, "s3:ListBucket", "cells/n1/*"));
    assert_eq!(failed(&doctor(&place, "n1.yaml", 1).await), ["bucket", "list_cells"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_writes_nothing_to_the_bucket() {
    let mut place = place().await;
    let client = place.store().client();
    let all = async || {
        let listed = client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
        let entries = listed.contents().iter();
        entries.map(|entry| (entry.key().unwrap().to_owned(), *entry.last_modified().unwrap())).collect::<Vec<_>>()
    };
    let before = all().await;
    let found = doctor(&place, "n1.yaml", 0).await;
    assert_eq!(of(&found, "write_heartbeat")["verdict"], "ok");
    assert_eq!(all().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_agent_of_the_same_name_is_found_before_this_one_starts() {
    let place = place().await;
    // A second machine with the same config.
    place.agent_config("n1").await;
    edit(&place, "n1.yaml", "n1-state", "other-state");
    edit(&place, "n1.yaml", "heartbeat_interval: 1s", "heartbeat_interval: 60s");
    let first = std::fs::read_to_string(place.path().join("n1.yaml")).unwrap();
    place.write("first.yaml", &first.replace("other-state", "n1-state"));
    place.fleetagent(&["-c", "first.yaml", "once"]).await.exits(0);
    assert_eq!(of(&doctor(&place, "first.yaml", 0).await, "heartbeat")["verdict"], "ok");
    let found = doctor(&place, "n1.yaml", 1).await;
    assert_eq!(failed(&found), ["heartbeat"]);
    assert!(of(&found, "heartbeat")["message"].as_str().unwrap().contains("duplicate_node"), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_fleet_signed_and_a_node_without_profiles_are_named() {
    let place = place().await;
    edit(&place, "n1.yaml", FLEET, "6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e11");
    edit(&place, "n1.yaml", "deploy:\n  target_folder: n1-cells\n", "");
    let found = doctor(&place, "n1.yaml", 1).await;
    assert_eq!(failed(&found), ["keys", "heartbeat"]);
    assert!(of(&found, "keys")["message"].as_str().unwrap().contains(FLEET), "{found:#?}");
    let profiles = of(&found, "profiles");
    assert!(profiles["verdict"] == "warning" && profiles["help"].is_string(), "{profiles}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_check_tells_people_where_the_node_looks_and_whom_it_believes() {
    let place = place().await;
    let shown = place.fleetagent(&["-c", "n1.yaml", "config", "check"]).await.exits(0).out;
    for part in ["node n1", FLEET, "s3://fleet at http://", "keys from the config", "profiles: deploy", "ed25519:"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains(SECRET_KEY) && !shown.contains(ACCESS_KEY), "{shown}");
    place.write(
        "bare.yaml",
        &format!("node: n1\nfleet: {FLEET}\nbucket: {{bucket: b, prefix: p}}\nsigning: unsigned\n"),
    );
    let shown = place.fleetagent(&["-c", "bare.yaml", "config", "check"]).await.exits(0).out;
    for part in ["s3://b/p at AWS", "AWS_ACCESS_KEY_ID", "profiles: none", "signatures are off"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
