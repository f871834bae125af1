//! Cells of a real host that depend on each other: systemd starts their units at boot, before and without the agent.

use serde_json::Value;

use crate::support::agent_host::AgentHost;
use crate::support::{holds_in_time, wait_for};

/// `aa` requires `zz`, which takes its time, so that any other order shows.
const CELLS: &str = "name: first
profile: {systemd: {command: [/bin/sh, serve], type: oneshot}}
health: {min_healthy_time: 100ms}
---
cell: n1/zz
manifest: first
---
name: second
profile: {systemd: {command: [/bin/sh, serve]}}
health: {min_healthy_time: 100ms}
requires: [zz]
---
cell: n1/aa
manifest: second
";

const LIFE: &str = "/srv/life";

async fn life(node: &AgentHost) -> Vec<String> {
    node.host.read(LIFE).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn units_start_in_the_order_of_their_cells_when_published_and_at_boot() {
    let Some(mut node) = AgentHost::boot().await else { return };
    node.start_agent("ReadWritePaths=/etc/systemd/system\n", "systemd: {}\n").await;
    node.place.write("cells.yaml", CELLS);
    node.place.fleetman(&["apply", "-f", "cells.yaml"]).await.exits(0);
    node.place.write("first/serve", &format!("sleep 1; echo zz >>{LIFE}\n"));
    node.place.write("second/serve", &format!("echo aa >>{LIFE}; exec sleep 1000\n"));
    for release in ["first", "second"] {
        node.place.fleetman(&["upload", release, release, "--as", "r1"]).await.exits(0);
    }
    node.place.fleetman(&["publish", "n1/aa", "n1/zz", "-y", "--wait"]).await.exits(0);
    assert_eq!(life(&node).await, ["zz", "aa"]);
    let after = node.property("fleetman-aa.service", "After").await;
    assert!(after.contains("fleetman-zz.service"), "{after}");
    assert!(!node.property("fleetman-aa.service", "Requires").await.contains("fleetman-zz"));

    // Nobody but systemd starts anything.
    node.host.run(&["systemctl", "disable", "fleetagent.service"]).await.exits(0);
    node.host.stop().await;
    node.host.boot_again().await;
    wait_for(async || life(&node).await.len() == 4, "both units to have started").await;
    assert_eq!(life(&node).await, ["zz", "aa", "zz", "aa"]);

    // What another one requires can be stopped, and nothing else is.
    node.host.run(&["systemctl", "stop", "fleetman-zz.service"]).await.exits(0);
    assert_eq!(node.property("fleetman-aa.service", "ActiveState").await, "active");
}

/// `aa` requires `zz`, which is up as soon as somebody lets it.
const HELD_UP: &str = "name: first
profile: {process: {command: [/bin/sh, serve]}}
health: {min_healthy_time: 100ms, interval: 100ms, checks: {up: {exec: {command: [/usr/bin/test, -e, /srv/up]}}}}
---
cell: n1/zz
manifest: first
---
name: second
profile: {process: {command: [/bin/sh, serve]}}
health: {min_healthy_time: 100ms}
requires: [zz]
---
cell: n1/aa
manifest: second
";

/// What the agent said of itself last.
async fn heartbeat(node: &AgentHost) -> Value {
    node.status().await.unwrap_or_default()["heartbeat"].clone()
}

/// Waits until the agent says once more that `aa` waits, later than it said `before`.
async fn waits(node: &AgentHost, before: &Value) {
    let waits = async || {
        let beat = heartbeat(node).await;
        beat["reported_at"] != *before && beat["cells"]["aa"]["waiting"]["reason"] == "dependency"
    };
    if !holds_in_time(waits).await {
        panic!("aa does not wait: {:#}", heartbeat(node).await);
    }
}

/// Has the agent killed again and again while `aa` waits.
async fn kill(node: &AgentHost) {
    for _ in 0..3 {
        let before = node.agent_pid().await;
        node.host.run(&["systemctl", "kill", "--signal=KILL", "fleetagent"]).await.exits(0);
        let is_another = async || !["0", &before].contains(&&*node.agent_pid().await);
        wait_for(is_another, "another agent").await;
        // What is told from now on only that one can tell.
        let said = heartbeat(node).await["reported_at"].clone();
        waits(node, &said).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_waits_goes_on_waiting_whatever_kills_the_agent() {
    let Some(mut node) = AgentHost::boot().await else { return };
    node.start_agent("RestartSec=50ms\nStartLimitIntervalSec=0\n", "process: {}\n").await;
    node.place.write("cells.yaml", HELD_UP);
    node.place.fleetman(&["apply", "-f", "cells.yaml"]).await.exits(0);
    let first =
        format!("until test -e /srv/go; do sleep 0.1; done; echo zz >>{LIFE}; touch /srv/up; exec sleep 1000\n");
    node.place.write("first/serve", &first);
    node.place.write("second/serve", &format!("echo aa >>{LIFE}; exec sleep 1000\n"));
    for release in ["first", "second"] {
        node.place.fleetman(&["upload", release, release, "--as", "r1"]).await.exits(0);
    }
    node.place.fleetman(&["publish", "n1/aa", "n1/zz", "-y"]).await.exits(0);
    waits(&node, &Value::Null).await;
    kill(&node).await;
    assert!(life(&node).await.is_empty());
    node.host.write("/srv/go", "");
    wait_for(async || life(&node).await.len() == 2, "both to have started").await;
    assert_eq!(life(&node).await, ["zz", "aa"]);
    let is_up = async || heartbeat(&node).await["cells"]["aa"]["phase"] == "up_to_date";
    wait_for(is_up, "aa to be good").await;

    // At boot, too.
    for file in ["/srv/go", "/srv/up"] {
        node.host.run(&["rm", file]).await.exits(0);
    }
    node.host.kill_hard().await;
    node.host.boot_again().await;
    waits(&node, &heartbeat(&node).await["reported_at"]).await;
    kill(&node).await;
    assert_eq!(life(&node).await, ["zz", "aa"]);
    node.host.write("/srv/go", "");
    wait_for(async || life(&node).await.len() == 4, "both to have started once more").await;
    assert_eq!(life(&node).await, ["zz", "aa", "zz", "aa"]);
}
