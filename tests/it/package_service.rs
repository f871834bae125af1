//! What the installed services tell systemd and its journal.

use serde_json::Value;

use crate::support::cli::page;
use crate::support::package_host::PackageHost;
use crate::support::wait_for;

/// A watchdog for people who have no time.
async fn hurry(node: &PackageHost, unit: &str) {
    node.host
        .write(&format!("/etc/systemd/system/{unit}.service.d/hurry.conf"), "[Service]\nWatchdogSec=3\nRestartSec=0\n");
}

/// Waits for longer than the watchdog does while the unit has nothing to do, and then stops its process without ending
/// it, until systemd notices.
async fn hang(node: &PackageHost, unit: &str) {
    let (process, fed_at) = ("MainPID", "WatchdogTimestampMonotonic");
    let hung = node.property(unit, process).await;
    let micros = |at: &str| at.parse::<u64>().unwrap();
    let begin = micros(&node.property(unit, fed_at).await);
    node.wait_property(unit, fed_at, |at| micros(at) > begin + 6_000_000).await;
    assert_eq!(node.property(unit, process).await, hung);

    node.host.run(&["sh", "-c", "kill -STOP \"$0\"", &hung]).await.exits(0);
    node.wait_property(unit, process, |pid| pid != hung && pid != "0").await;
    node.wait_property(unit, "ActiveState", |state| state == "active").await;
    assert!(!node.is_alive(&hung).await);
    let logged = node.host.journal(unit).await;
    assert!(logged.contains("Watchdog timeout"), "{logged}");
}

/// The entries of the journal that these fields are in.
async fn entries(node: &PackageHost, fields: &[&str]) -> Vec<Value> {
    let command = [&["journalctl", "--no-pager", "--output=json"], fields].concat();
    let lines = node.host.run(&command).await.out;
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_says_how_it_gets_on_and_is_started_again_when_it_hangs() {
    let Some(node) = PackageHost::boot().await else { return };
    hurry(&node, "fleetagent").await;
    node.install("fleetagent", 1).await.exits(0);
    node.configure_agent().await;
    node.host.run(&["systemctl", "start", "fleetagent"]).await.exits(0);
    node.wait_property("fleetagent", "StatusText", |text| text == "no cells; next look in 1 s").await;
    node.publish("own", "r1", "exec sleep 1000\n").await;
    node.wait_property("fleetagent", "StatusText", |text| text == "1 of 1 cell up to date; next look in 1 s").await;
    let (processes, agent) = (node.pids().await, node.property("fleetagent", "MainPID").await);
    let good = entries(&node, &["FLEET_CELL=own", "FLEET_EVENT=version_good"]).await;
    let [good] = &good[..] else { panic!("{good:?}") };
    for (field, value) in [
        ("FLEET_VERSION", "r1"),
        ("FLEET_GENERATION", "1"),
        ("SYSLOG_IDENTIFIER", "fleetagent"),
        ("PRIORITY", "6"),
        ("_PID", &agent),
        ("_SYSTEMD_UNIT", "fleetagent.service"),
        ("_TRANSPORT", "journal"),
    ] {
        assert_eq!(good[field], value, "{field} of {good}");
    }
    assert!(good["MESSAGE"].as_str().unwrap().starts_with("the version is good cell=own version=r1 "), "{good}");
    let same = entries(&node, &[&format!("MESSAGE_ID={}", good["MESSAGE_ID"].as_str().unwrap())]).await;
    assert_eq!(same.len(), 1);

    // The watchdog wants to hear of the agent far more often than the agent wants to look at the bucket.
    node.reconfigure_agent(&[
        ("poll_interval: 200ms", "poll_interval: 10m"),
        ("heartbeat_interval: 1s", "heartbeat_interval: 10m"),
    ]);
    node.host.run(&["systemctl", "restart", "fleetagent"]).await.exits(0);
    hang(&node, "fleetagent").await;
    wait_for(async || node.pids().await == processes, "the next agent to report the cell").await;
    assert_eq!(entries(&node, &["FLEET_EVENT=agent_started", "_SYSTEMD_UNIT=fleetagent.service"]).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_serves_as_its_own_user_and_is_started_again_when_it_hangs() {
    let Some(node) = PackageHost::boot().await else { return };
    hurry(&node, "fleetman").await;
    let config = std::fs::read_to_string(node.place.path().join("controller_config.yaml")).unwrap();
    let of_agent = std::fs::read_to_string(node.place.agent_config("n1").await).unwrap();
    let key = of_agent.lines().find(|line| line.contains("ed25519:")).unwrap().trim();
    // Who only looks has no use for the key that publishes.
    let config = config.replace("signing_key_file: signing.key", &format!("trusted_keys: [{{{}}}]", &key[2..]));
    // What it keeps of its own lies where the package lets it.
    let config = config.replace("state_folder: state\n", "");
    let path = "/etc/fleetman/controller_config.yaml";
    node.host.write(path, &format!("{config}listen: 127.0.0.1:0\n"));
    node.host.run(&["chmod", "600", path]).await.exits(0);
    node.install("fleetman", 1).await.exits(0);
    assert_eq!(node.property("fleetman", "ActiveState").await, "active", "{}", node.host.journal("fleetman").await);
    let mode = ["stat", "--format=%a %U %G", path];
    assert_eq!(node.host.run(&mode).await.exits(0).out, "640 root fleetman\n");
    let pid = node.property("fleetman", "MainPID").await;
    assert_eq!(node.host.run(&["stat", "--format=%U", &format!("/proc/{pid}")]).await.exits(0).out, "fleetman\n");

    let keeps = ["stat", "--format=%a %U", "/var/lib/fleetman/session.key"];
    assert_eq!(node.host.run(&keeps).await.exits(0).out, "600 fleetman\n");

    hang(&node, "fleetman").await;
    let status = node.property("fleetman", "StatusText").await;
    let (_, url) = status.split_once(" on ").unwrap();
    let (head, _) = page(&format!("{url}/healthz")).await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_has_an_agent_whose_cell_outlives_it() {
    let Some(node) = PackageHost::boot().await else { return };
    node.install("fleetagent", 1).await.exits(0);
    node.host.run(&["useradd", "--create-home", "--uid", "2000", "op"]).await.exits(0);
    node.host
        .write("/home/op/.config/fleetman/agent_config.yaml", &node.agent_config("state_folder: /home/op/fleet").await);
    node.host.run(&["chown", "--recursive", "op:op", "/home/op"]).await.exits(0);
    node.host.run(&["loginctl", "enable-linger", "op"]).await.exits(0);
    node.wait_property("user@2000", "ActiveState", |state| state == "active").await;
    let user = ["runuser", "--user", "op", "--", "env", "XDG_RUNTIME_DIR=/run/user/2000"];
    let systemctl = async |words: &[&str]| {
        let command = [&user[..], &["systemctl", "--user"], words].concat();
        node.host.run(&command).await.exits(0).out
    };
    systemctl(&["enable", "--now", "fleetagent"]).await;
    node.publish("own", "r1", "echo $$ >/home/op/pid; exec sleep 1000\n").await;
    let cell = node.host.read("/home/op/pid").unwrap();
    assert_eq!(node.host.run(&["stat", "--format=%U", &format!("/proc/{}", cell.trim())]).await.exits(0).out, "op\n");

    let restart = [&user[..], &["systemctl", "--user", "restart", "fleetagent"]].concat();
    node.heartbeat_after(&restart).await;
    let well = "StatusText=1 of 1 cell up to date; next look in 1 s\n";
    let is_well = async || systemctl(&["show", "--property=StatusText", "fleetagent"]).await == well;
    wait_for(is_well, "the agent to say that all is well").await;
    assert!(node.is_alive(cell.trim()).await);
    assert_eq!(node.host.read("/home/op/pid").unwrap(), cell, "it was not started again");
}
