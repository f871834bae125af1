//! Cells of a real host that depend on each other: systemd starts their units at boot, before and without the agent.

use crate::support::agent_host::AgentHost;
use crate::support::wait_for;

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
