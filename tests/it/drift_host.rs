//! Drift on hosts with a real systemd and supervisord: what is edited by hand is told and put back, and what runs goes on.

use serde_json::Value;

use crate::support::agent_host::AgentHost;
use crate::support::wait_for;

/// A host with an agent that may write to `also`, is set up for `profile`, puts back what drifts, and runs a cell.
async fn start(profile: &str, also: &str) -> Option<AgentHost> {
    let node = AgentHost::boot().await?;
    let manifest = format!(
        "name: site\nprofile: {{{profile}: {{command: [/bin/sleep, \"100000\"]}}}}\n\
         health: {{min_healthy_time: 100ms}}\n---\ncell: n1/web\nmanifest: site\n"
    );
    node.place.write("site.yaml", &manifest);
    node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let config = format!("{profile}: {{}}\ndrift: {{mode: repair, interval: 1s, repairs_per_hour: 60}}\n");
    node.start_agent(&format!("ReadWritePaths={also}\n"), &config).await;
    node.place.write("r1/conf", "port: 80\n");
    node.publish("r1").await;
    is_whole(&node, 0).await;
    Some(node)
}

async fn drift(node: &AgentHost) -> Value {
    node.status().await.unwrap()["heartbeat"]["cells"]["web"]["drift"].clone()
}

fn repairs(drift: &Value) -> usize {
    drift["repairs"].as_array().map_or(0, Vec::len)
}

/// Waits until nothing drifts any more, after so many repairs.
async fn is_whole(node: &AgentHost, made: usize) {
    let is = async || {
        let drift = drift(node).await;
        drift["state"] == "in_sync" && repairs(&drift) == made
    };
    wait_for(is, &format!("all to be well after {made} repairs")).await;
}

/// Changes the host, and waits until `file` is as it was.
async fn is_put_back(node: &AgentHost, made: usize, file: &str, command: &str) {
    let before = node.host.read(file).unwrap();
    node.host.run(&["sh", "-c", command]).await.exits(0);
    is_whole(node, made).await;
    assert_eq!(node.host.read(file).unwrap(), before, "{command}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_of_a_service_of_systemd_is_put_back_and_it_runs_on() {
    const UNIT: &str = "/etc/systemd/system/fleetman-web.service";
    let Some(node) = start("systemd", "/etc/systemd/system").await else { return };
    let pid = node.property("fleetman-web.service", "MainPID").await;
    is_put_back(&node, 1, UNIT, &format!("echo '[Service]\nNice=5' >>{UNIT}; systemctl daemon-reload")).await;
    assert_eq!(node.property("fleetman-web.service", "NeedDaemonReload").await, "no");
    assert_eq!(node.property("fleetman-web.service", "Nice").await, "0");
    is_put_back(&node, 2, UNIT, &format!("rm {UNIT}")).await;
    let conf = "/srv/fleetagent/n1-state/systemd/web/current/conf";
    is_put_back(&node, 3, conf, &format!("echo 'port: 81' >{conf}")).await;

    // A drop-in is the owner's way to change a unit: it stays, and is no drift.
    let folder = format!("{UNIT}.d");
    node.host
        .run(&["sh", "-c", &format!("mkdir {folder}; echo '[Service]\nNice=7' >{folder}/own.conf")])
        .await
        .exits(0);
    node.host.run(&["systemctl", "daemon-reload"]).await.exits(0);
    is_put_back(&node, 4, UNIT, &format!("echo '[Service]\nNice=5' >>{UNIT}")).await;
    let found = drift(&node).await;
    assert_eq!(found["state"], "in_sync", "{found}");
    assert_eq!(node.property("fleetman-web.service", "Nice").await, "7");
    node.host.run(&["sh", "-c", &format!("mv {UNIT} /root/; echo '[Service]' >{UNIT}")]).await.exits(0);
    let told = async || drift(&node).await["findings"][0]["code"] == "unit_foreign";
    wait_for(told, "the foreign unit to be told").await;
    assert_eq!(node.host.read(UNIT).unwrap(), "[Service]\n");
    assert_eq!(node.property("fleetman-web.service", "MainPID").await, pid, "nothing was restarted");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_of_sockets_of_systemd_is_put_back_and_they_go_on_listening() {
    const UNITS: &str = "/etc/systemd/system";
    let Some(node) = AgentHost::boot().await else { return };
    let manifest = "name: site\nprofile: {systemd: {command: [/bin/sleep, \"100000\"]}}\n\
                    strategy: {start_stop: {sockets: {http: {listen: /run/web.sock}}}}\n\
                    health: {min_healthy_time: 100ms}\n---\ncell: n1/web\nmanifest: site\n";
    node.place.write("site.yaml", manifest);
    node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let config = "systemd: {}\ndrift: {mode: repair, interval: 1s, repairs_per_hour: 60}\n";
    node.start_agent(&format!("ReadWritePaths={UNITS}\n"), config).await;
    node.place.write("r1/conf", "port: 80\n");
    node.publish("r1").await;
    is_whole(&node, 0).await;
    let pid = node.property("fleetman-web.service", "MainPID").await;
    let inode = async || node.host.run(&["stat", "-c", "%i", "/run/web.sock"]).await.exits(0).out;
    let before = inode().await;

    let found = node.host.run(&["sh", "-c", &format!("ls {UNITS} | grep '^fleetman-web.http.'")]).await.exits(0).out;
    let units: Vec<&str> = found.lines().collect();
    assert_eq!(units.len(), 2, "a socket and what it starts: {units:?}");
    let mut made = 0;
    for unit in units {
        let path = format!("{UNITS}/{unit}");
        let edit = format!("echo '[Unit]\nDescription=mine' >>{path}; systemctl daemon-reload");
        for change in [edit, format!("rm {path}")] {
            made += 1;
            is_put_back(&node, made, &path, &change).await;
        }
        assert_eq!(node.property(unit, "NeedDaemonReload").await, "no");
        assert_ne!(node.property(unit, "Description").await, "mine");
    }
    assert_eq!(node.property("fleetman-web.service", "MainPID").await, pid, "nothing was restarted");
    assert_eq!(inode().await, before, "it was never closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_of_a_program_of_supervisord_is_put_back_and_it_runs_on() {
    const CONF: &str = "/etc/supervisor/conf.d/fleetman-web.conf";
    let Some(node) = start("supervisor", "/etc/supervisor/conf.d").await else { return };
    let pid = async || node.host.run(&["supervisorctl", "pid", "fleetman-web"]).await.exits(0).out;
    let before = pid().await;
    is_put_back(&node, 1, CONF, &format!("sed -i s/stopwaitsecs=.*/stopwaitsecs=99/ {CONF}")).await;
    is_put_back(&node, 2, CONF, &format!("rm {CONF}")).await;
    let avail = node.host.run(&["supervisorctl", "update"]).await.exits(0).out;
    assert!(!avail.contains("fleetman"), "what is put back is what runs already: {avail}");
    assert_eq!(pid().await, before, "nothing was restarted");
}
