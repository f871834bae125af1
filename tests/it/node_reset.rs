//! `fleetagent reset`: cells are taken off a node by hand, and the agent knows what it was.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::cli::Workplace;
use crate::support::node::tree;
use crate::support::wait_for;

/// A process that is content to be there, and files beside it.
const MANIFESTS: &str = "\
name: sleeper
files:
  - path: index.html
profile:
  process:
    command: [/bin/sleep, '1000']
health:
  min_healthy_time: 100ms
---
name: site
profile: {deploy: {}}
files:
  - path: index.html
---
cell: n1/web
manifest: sleeper
---
cell: n1/docs
manifest: site
";

/// A node with a cell of each kind. What runs ends with it.
struct Node {
    place: Workplace,
}

impl Node {
    async fn running() -> Self {
        let place = Workplace::with_bucket().await;
        place.agent_config("n1").await;
        let config = std::fs::read_to_string(place.path().join("n1.yaml")).unwrap();
        place.write("agent_config.yaml", &format!("{config}process: {{folder: n1-processes}}\n"));
        place.write("cells.yaml", MANIFESTS);
        place.fleetman(&["apply", "-f", "cells.yaml"]).await.exits(0);
        place.write("files/index.html", "hello");
        for (manifest, cell) in [("sleeper", "n1/web"), ("site", "n1/docs")] {
            place.fleetman(&["upload", manifest, "files", "--as", "1"]).await.exits(0);
            place.fleetman(&["publish", cell, "--deployment", "1", "--as", "1", "--yes"]).await.exits(0);
        }
        let node = Self { place };
        node.once().await;
        assert!(node.runs().await && node.docs().exists());
        node
    }

    async fn once(&self) {
        let ran = self.place.fleetagent(&["once"]).await;
        assert!(ran.code == 0, "{}\n{}", ran.out, ran.err);
    }

    fn docs(&self) -> PathBuf {
        self.place.path().join("n1-cells/docs/index.html")
    }

    fn state(&self, path: &str) -> PathBuf {
        self.place.path().join("n1-state").join(path)
    }

    /// Whether the process cell is up, by its own supervisor.
    async fn runs(&self) -> bool {
        let rows = self.place.fleetagent(&["ps", "-o", "json"]).await.json();
        rows.as_array().unwrap().iter().any(|row| row["processes"]["main"]["state"] == "running")
    }

    async fn reset(&self, args: &[&str], code: i32) -> Value {
        self.place.fleetagent(&[&["reset", "-y", "-o", "json"], args].concat()).await.exits(code).json()
    }

    async fn phase(&self, cell: &str) -> Value {
        let status = self.place.fleetagent(&["status", "-o", "json"]).await.json();
        status["heartbeat"]["cells"][cell]["phase"].clone()
    }
}

impl Drop for Node {
    /// A supervisor is a process of its own: whatever a test that failed left running is ended by its own command.
    fn drop(&mut self) {
        let mut reset = std::process::Command::new(env!("CARGO_BIN_EXE_fleetagent"));
        reset.args(["reset", "--all", "-y"]).current_dir(self.place.path());
        let _ = reset.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status();
    }
}

fn is_gone(folder: &Path) -> bool {
    !folder.exists() || tree(folder).is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_is_stopped_and_removed_and_comes_back_when_the_agent_is_there_again() {
    let node = Node::running().await;
    let data = node.state("data/web");
    std::fs::write(data.join("notes"), "mine").unwrap();
    let ran = node.place.fleetagent(&["reset", "--cell", "web"]).await.exits(2);
    assert!(ran.err.contains("Stop and remove web on this node?") && ran.err.contains("-y"), "{}", ran.err);
    assert!(node.runs().await, "nobody answered");

    let ran = node.place.fleetagent(&["reset", "--cell", "web", "-y"]).await.exits(0);
    assert!(ran.out.contains("stopped and removed (process)"), "{}", ran.out);
    assert!(ran.err.contains("deploys again what the bucket asks for: web"), "{}", ran.err);
    assert!(!node.runs().await && !node.place.path().join("n1-processes/web").exists());
    assert!(node.docs().exists() && data.join("notes").exists());
    assert!(is_gone(&node.state("cells/web/manifests")));

    // What was accepted stays known: a second time there is nothing to stop, and the floor is told.
    let told = node.reset(&["--cell", "web", "--purge-data"], 0).await;
    let report = json!({"cell": "web", "profiles": [], "purged_data": true, "floor": "1", "asked": "deploy",
        "held": false, "damaged_state": null});
    assert_eq!(told, json!([report]));
    assert!(!data.exists());
    let is_back = async || {
        node.once().await;
        node.phase("web").await == "up_to_date"
    };
    wait_for(is_back, "the cell to be deployed again").await;
    assert!(node.runs().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_everything_and_what_is_held_waits_for_a_newer_trigger() {
    let node = Node::running().await;
    let told = node.reset(&["--all", "--hold"], 0).await;
    let held: Vec<_> = told.as_array().unwrap().iter().map(|row| (&row["cell"], &row["held"])).collect();
    assert_eq!(held, [(&json!("docs"), &json!(true)), (&json!("web"), &json!(true))]);
    for folder in ["n1-processes", "n1-cells"] {
        let left = std::fs::read_dir(node.place.path().join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
    node.once().await;
    assert!(!node.runs().await && !node.docs().exists());
    assert_eq!((node.phase("web").await, node.phase("docs").await), (json!("held"), json!("held")));
    let conditions = &node.place.fleetagent(&["status", "-o", "json"]).await.json()["heartbeat"]["cells"]["web"];
    assert_eq!(conditions["conditions"][0]["code"], "reset");

    node.place.fleetman(&["redeploy", "n1/web", "--yes"]).await.exits(0);
    node.once().await;
    assert!(node.runs().await && !node.docs().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_agent_a_strange_cell_and_a_damaged_state_are_told_apart() {
    let node = Node::running().await;
    let mut agent = node.place.start_fleetagent(&["run"]);
    let runs = async || node.place.fleetagent(&["status"]).await.code == 0;
    wait_for(runs, "the agent to hold its state folder").await;
    let error = node.place.fleetagent(&["reset", "--all", "-y", "-o", "json"]).await.exits(3).error();
    assert_eq!(error["code"], "already_running");
    assert!(error["help"].as_str().unwrap().contains("systemctl stop fleetagent"), "{error}");
    agent.kill().await.unwrap();
    assert!(node.runs().await);

    node.place.fleetagent(&["reset", "-y"]).await.exits(2);
    node.place.fleetagent(&["reset", "-y", "--all", "--cell", "web"]).await.exits(2);
    let error = node.place.fleetagent(&["reset", "--cell", "nope", "-y", "-o", "json"]).await.exits(4).error();
    assert!(error["code"] == "no_cell" && error["message"].as_str().unwrap().contains("docs, web"), "{error}");

    std::fs::write(node.state("cells/web/state.json"), "{}").unwrap();
    let told = node.reset(&["--cell", "web", "--hold"], 8).await;
    assert_eq!(told[0]["error"]["code"], "state_invalid");
    assert!(node.runs().await, "what cannot be held is not touched");
    let told = node.reset(&["--cell", "web"], 0).await;
    assert!(told[0]["profiles"] == json!(["process"]) && told[0]["damaged_state"].is_string(), "{told}");
    assert!(node.state("cells/web/state.json.damaged").exists() && !node.runs().await);
    node.once().await;
    assert!(node.runs().await, "its floor is the bucket's");
    let heartbeat = &node.place.fleetagent(&["status", "-o", "json"]).await.json()["heartbeat"];
    assert_eq!(heartbeat["conditions"][0]["code"], "floor_rebuilt");
    assert_eq!(heartbeat["cells"]["web"]["seen"]["generation"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn orphans_are_taken_off_as_well_and_what_is_not_ours_stays() {
    let node = Node::running().await;
    std::fs::remove_dir_all(node.state("")).unwrap();
    let foreign = node.place.path().join("n1-processes/theirs/releases/1");
    std::fs::create_dir_all(&foreign).unwrap();
    let ran = node.place.fleetagent(&["reset", "--all", "-y"]).await.exits(0);
    assert!(ran.out.contains("web") && ran.out.contains("docs") && !ran.out.contains("theirs"), "{}", ran.out);
    assert!(ran.err.contains("knows no trigger") && ran.err.contains("docs, web"), "{}", ran.err);
    assert!(foreign.exists() && !node.place.path().join("n1-processes/web").exists() && !node.docs().exists());
    let told = node.reset(&["--all"], 0).await;
    assert_eq!(told, json!([]));
    node.once().await;
    assert!(node.runs().await && node.docs().exists());
}
