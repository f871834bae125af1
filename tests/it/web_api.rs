//! `fleetman serve`: the read API over HTTP, as a client sees it.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::cli::Workplace;
use crate::support::serving::Serving;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_can_be_read_and_nothing_can_be_written() {
    let mut place = Workplace::with_bucket().await;
    place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.write("r1/index.html", "one");
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "-y"]).await.exits(0);
    let mut serving = Serving::start(&place).await;

    assert_eq!(serving.get("/healthz").await.status, 200);
    serving.has_read().await;
    let nodes = serving.get("/api/v1/nodes").await.is(200).json();
    assert_eq!(nodes["items"][0]["name"], "n1");
    let cells = serving.get("/api/v1/cells").await.json();
    assert_eq!(cells["items"][0]["desired"]["action"], "deploy");
    assert_eq!(cells["items"], place.fleetman(&["-o", "json", "get", "cells"]).await.exits(0).json());
    assert_eq!(serving.get("/api/v1/cells/n1/web").await.json()["manifest"], "site");
    assert_eq!(serving.get("/api/v1/nodes/n1").await.json()["cell_list"][0]["name"], "n1/web");
    assert_eq!(serving.get("/api/v1/manifests").await.json()["items"][0]["name"], "site");
    assert!(serving.get("/api/v1/manifests/site").await.json()["text"].as_str().unwrap().starts_with("name: site"));
    assert_eq!(serving.get("/api/v1/deployments").await.json()["items"][0]["state"], "whole");
    assert_eq!(serving.get("/api/v1/deployments/site/r1").await.json()["file_list"][0]["path"], "index.html");

    for (path, expected) in [
        ("/api/v1/nodes/n9", 404),
        ("/api/v1/cells/n1/absent", 404),
        ("/api/v1/cells/n1/Not-A-Name", 400),
        ("/api/v1/manifests/absent", 404),
        ("/api/v1/deployments/site/absent", 404),
        ("/api/nowhere", 404),
    ] {
        let problem = serving.get(path).await.is(expected).json();
        assert_eq!(problem["status"].as_u64(), Some(expected.into()), "{path} {problem}");
    }
    let refused = serving.send("POST", "/api/v1/cells", &[("authorization", "Bearer x")], "").await.is(405);
    assert_eq!(refused.header("content-type"), "application/problem+json");
    assert_eq!(refused.json()["code"], "method_not_allowed");
    // A page on the web must not read the fleet under a name of its own.
    serving.send("GET", "/api/v1/cells", &[("host", "evil.example")], "").await.is(421);

    // What was read is still shown while the bucket is away, and it is told.
    place.store().stop().await;
    wait_for(async || serving.get("/readyz").await.status == 503, "the outage to be noticed").await;
    let why = serving.get("/readyz").await.json();
    assert!(why["detail"].as_str().unwrap().contains("no connection"), "{why}");
    assert_eq!(serving.get("/api/v1/cells").await.status, 200);
    assert_eq!(serving.get("/healthz").await.status, 200);

    let pid = Pid::from_raw(i32::try_from(serving.child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = tokio::time::timeout(Duration::from_secs(60), serving.child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_address_is_refused_and_a_taken_port_is_named() {
    let place = Workplace::with_bucket().await;
    let ran = place.fleetman(&["serve", "--listen", "0.0.0.0:0"]).await.exits(2);
    assert!(ran.err.contains("--insecure-http"), "{}", ran.err);
    let serving = Serving::start(&place).await;
    let error = place.fleetman(&["-o", "json", "serve", "--listen", &serving.address]).await.exits(3).error();
    assert_eq!(error["code"], "port_taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_verb_a_machine_that_is_set_up_serves() {
    let place = Workplace::with_bucket().await;
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    place.write("controller_config.yaml", &format!("{config}listen: 127.0.0.1:0\n"));
    let mut child = place.start_fleetman(&[]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    while !said.contains("Serving s3://") {
        said.push_str(&lines.next_line().await.unwrap().expect("it says that it serves"));
    }
    child.kill().await.unwrap();
}
