//! Orders to nodes from the command line, against a real agent.

use serde_json::Value;
use tokio::process::Child;

use crate::support::cli::Workplace;
use crate::support::wait_for;

/// A bucket with the cell `n1/web` of one release, and the node's agent.
async fn place() -> (Workplace, Child) {
    let place = Workplace::with_bucket().await;
    place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    upload(&place, "r1").await;
    let config = place.agent_config("n1").await;
    let agent = place.start_fleetagent(&["-c", config.to_str().unwrap(), "run"]);
    place.fleetman(&["publish", "n1/web", "-y", "--wait"]).await.exits(0);
    (place, agent)
}

async fn upload(place: &Workplace, name: &str) {
    place.write(&format!("{name}/index.html"), name);
    place.fleetman(&["upload", "site", name, "--as", name]).await.exits(0);
}

fn page(place: &Workplace) -> String {
    std::fs::read_to_string(place.path().join("n1-cells/web/index.html")).unwrap()
}

async fn cell(place: &Workplace) -> Value {
    place.fleetman(&["-o", "json", "describe", "cell", "n1/web"]).await.exits(0).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_confirmed_shown_everywhere_and_ended_and_the_audit_tells_of_it() {
    let (place, _agent) = place().await;
    let hold = ["hold", "n1/web", "--reason", "looking at a leak", "--for", "2h"];
    place.fleetman(&hold).await.exits(2);
    let held = place.fleetman(&[&["-o", "json"], &hold[..], &["-y", "--wait"]].concat()).await.exits(0).json();
    assert_eq!((held[0]["to"].as_str(), held[0]["confirmed"].as_bool()), (Some("n1/web"), Some(true)));

    upload(&place, "r2").await;
    place.fleetman(&["publish", "n1/web", "-y"]).await.exits(0);
    wait_for(async || cell(&place).await["waiting"]["reason"] == "hold", "the new version to wait").await;
    assert_eq!(page(&place), "r1");
    let status = place.fleetman(&["status"]).await.exits(0).out;
    assert!(
        status.contains("on_hold") && status.contains("tester") && status.contains("looking at a leak"),
        "{status}"
    );
    let cells = place.fleetman(&["get", "cells"]).await.exits(0).out;
    assert!(cells.contains("hold: tester holds it until "), "{cells}");
    place.fleetman(&["status", "--check"]).await.exits(1);

    // A hold of the node takes the place of none of its cells', nor its end of theirs.
    place.fleetman(&["hold", "n1", "--reason", "new disk", "--for", "1h", "-y", "--wait"]).await.exits(0);
    place.fleetman(&["unhold", "n1/web", "-y", "--wait"]).await.exits(0);
    assert_eq!(cell(&place).await["hold"]["reason"], "new disk");
    assert_eq!(page(&place), "r1");
    place.fleetman(&["unhold", "n1", "-y", "--wait", "--reason", "it is in"]).await.exits(0);
    wait_for(async || page(&place) == "r2", "the version that waited").await;

    let audit = place.fleetman(&["-o", "json", "audit"]).await.exits(0).json();
    let told = |action: &str, object: &str| {
        let entries = audit.as_array().unwrap().iter();
        let mut found = entries.filter(|entry| entry["action"] == action && entry["object"] == object);
        found.next().map(|entry| entry["reason"].as_str().map(str::to_owned))
    };
    assert_eq!(told("hold", "cell/n1/web"), Some(Some("looking at a leak".to_owned())));
    assert_eq!(told("unhold", "cell/n1/web"), Some(None));
    assert_eq!(told("unhold", "node/n1"), Some(Some("it is in".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_needs_somebody_to_hold_and_a_reasonable_end() {
    let (place, mut agent) = place().await;
    let hold = async |to: &str, lasts: &str| {
        let ran = place.fleetman(&["-o", "json", "hold", to, "--reason", "x", "--for", lasts, "-y"]).await;
        ran.error()["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(hold("n1/wbe", "1h").await, "not_found");
    assert_eq!(hold("n2", "1h").await, "not_found");
    assert_eq!(hold("n1/web", "31d").await, "invalid");
    let blank = place.fleetman(&["-o", "json", "hold", "n1/web", "--reason", " ", "--for", "1h", "-y"]).await.error();
    assert_eq!(blank["code"], "invalid");

    // Nobody takes it: the order stands, and whoever waits is told so.
    agent.kill().await.unwrap();
    let args = ["-o", "json", "hold", "n1/web", "--reason", "x", "--for", "1h", "-y", "--wait", "--timeout", "1s"];
    let late = place.fleetman(&args).await.exits(7).json();
    assert_eq!(late[0]["confirmed"], false);
    let index = place.fleetman(&["bucket", "cat", "index/n1.json"]).await.exits(0).out;
    assert_eq!(index.matches("fleetman/order/1").count(), 1, "{index}");
    // One order about a cell takes the place of the other, in the index and in the folder.
    place.fleetman(&["unhold", "n1/web", "-y"]).await.exits(0);
    let listed = place.fleetman(&["bucket", "ls", "cells/n1/_requests/"]).await.exits(0).out;
    assert_eq!(listed.matches(".json").count(), 1, "{listed}");
}
