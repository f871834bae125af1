//! `fleetman serve`: the read API over HTTP, as a client sees it.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::support::cli::Workplace;
use crate::support::wait_for;

/// A server that runs, and its address.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    async fn start(place: &Workplace) -> Self {
        let mut child = place.start_fleetman(&["serve", "--listen", "127.0.0.1:0"]);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        loop {
            let line = lines.next_line().await.unwrap().expect("it says where it serves");
            if let Some((_, address)) = line.split_once(" on http://") {
                let address = address.to_owned();
                // What it logs later must not fill the pipe.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Self { child, address };
            }
        }
    }

    /// Status, head and body of the answer to a request.
    async fn ask(&self, method: &str, path: &str, host: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.ask("GET", path, &self.address).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_can_be_read_and_nothing_can_be_written() {
    let mut place = Workplace::with_bucket().await;
    place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.write("r1/index.html", "one");
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "-y"]).await.exits(0);
    let mut serving = Serving::start(&place).await;

    assert_eq!(serving.get("/healthz").await.0, 200);
    wait_for(async || serving.get("/readyz").await.0 == 200, "the first look at the bucket").await;
    let (status, nodes) = serving.get("/api/v1/nodes").await;
    assert_eq!((status, nodes["items"][0]["name"].as_str()), (200, Some("n1")));
    let (_, cells) = serving.get("/api/v1/cells").await;
    assert_eq!(cells["items"][0]["desired"]["action"], "deploy");
    assert_eq!(cells["items"], place.fleetman(&["-o", "json", "get", "cells"]).await.exits(0).json());
    assert_eq!(serving.get("/api/v1/cells/n1/web").await.1["manifest"], "site");
    assert_eq!(serving.get("/api/v1/nodes/n1").await.1["cell_list"][0]["name"], "n1/web");
    assert_eq!(serving.get("/api/v1/manifests").await.1["items"][0]["name"], "site");
    assert!(serving.get("/api/v1/manifests/site").await.1["text"].as_str().unwrap().starts_with("name: site"));
    assert_eq!(serving.get("/api/v1/deployments").await.1["items"][0]["state"], "whole");
    assert_eq!(serving.get("/api/v1/deployments/site/r1").await.1["file_list"][0]["path"], "index.html");

    for (path, expected) in [
        ("/api/v1/nodes/n9", 404),
        ("/api/v1/cells/n1/absent", 404),
        ("/api/v1/cells/n1/Not-A-Name", 400),
        ("/api/v1/manifests/absent", 404),
        ("/api/v1/deployments/site/absent", 404),
        ("/nowhere", 404),
    ] {
        let (status, problem) = serving.get(path).await;
        assert_eq!((status, problem["status"].as_u64()), (expected, Some(expected.into())), "{path} {problem}");
    }
    let (status, head, body) = serving.ask("POST", "/api/v1/cells", &serving.address).await;
    assert_eq!(status, 405);
    assert!(head.contains("application/problem+json") && body.contains("method_not_allowed"), "{head}\n{body}");
    let (status, ..) = serving.ask("GET", "/api/v1/cells", "evil.example").await;
    assert_eq!(status, 421, "a page on the web must not read the fleet under a name of its own");

    // What was read is still shown while the bucket is away, and it is told.
    place.store().stop().await;
    wait_for(async || serving.get("/readyz").await.0 == 503, "the outage to be noticed").await;
    let why = serving.get("/readyz").await.1;
    assert!(why["detail"].as_str().unwrap().contains("no connection"), "{why}");
    assert_eq!(serving.get("/api/v1/cells").await.0, 200);
    assert_eq!(serving.get("/healthz").await.0, 200);

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
