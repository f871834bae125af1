//! Versions that take each other's place without a restart, on hosts with a real systemd, under each profile that runs
//! something: the same program, and the same files.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::support::agent_host::AgentHost;
use crate::support::wait_for;

/// Reads its file when it starts and whenever it is told to.
const APP: &str = "#!/bin/sh\n\
    read_it() {\n\
    \x20 said=$(cat \"$FLEETMAN_CURRENT_DIR/conf/app\")\n\
    \x20 test \"$said\" != deadly || exit 3\n\
    \x20 echo \"$said\" > \"$FLEETMAN_DATA_DIR/says\"\n\
    }\n\
    trap read_it HUP\n\
    read_it\n\
    while :; do sleep 0.1; done\n";

/// Where it says what it has read.
const SAYS: &str = "/srv/fleetagent/n1-state/data/web/says";

/// A host with an agent that may write to `also` and is set up for `profile`.
async fn start(profile: &str, also: &str) -> Option<AgentHost> {
    let node = AgentHost::boot().await?;
    let manifest = format!(
        "name: site\n\
         profile: {{{profile}: {{command: [bin/app], reload_signal: HUP}}}}\n\
         reload_if: [\"conf/**\"]\n\
         health:\n  min_healthy_time: 1s\n  deadline: 10s\n  interval: 200ms\n\
         \x20 checks:\n\
         \x20   fine: {{exec: {{command: [/bin/sh, -c, \"! grep -q sick $FLEETMAN_DATA_DIR/says\"]}}}}\n\
         ---\ncell: n1/web\nmanifest: site\n"
    );
    node.place.write("site.yaml", &manifest);
    node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let sandbox = format!("ReadWritePaths={also}\n");
    node.start_agent(if also.is_empty() { "" } else { &sandbox }, &format!("{profile}: {{}}\n")).await;
    Some(node)
}

/// Uploads a release with this in its files.
async fn upload(node: &AgentHost, release: &str, app: &str, conf: &str) {
    node.place.write(&format!("{release}/bin/app"), app);
    node.place.write(&format!("{release}/conf/app"), conf);
    let program = node.place.path().join(release).join("bin/app");
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    node.place.fleetman(&["upload", "site", release, "--as", release]).await.exits(0);
}

async fn report(node: &AgentHost) -> Value {
    node.status().await.unwrap()["heartbeat"]["cells"]["web"].clone()
}

async fn publish(node: &AgentHost, release: &str, exits: i32) {
    let publish = ["publish", "n1/web", "-d", release, "--as", release, "-y", "--wait"];
    node.place.fleetman(&publish).await.exits(exits);
}

/// Waits until this version runs; its process.
async fn runs(node: &AgentHost, release: &str) -> u64 {
    let runs = async || {
        let report = report(node).await;
        report["running"]["version"] == release && report["state"]["pid"].is_u64()
    };
    wait_for(runs, &format!("{release} to run")).await;
    report(node).await["state"]["pid"].as_u64().unwrap()
}

async fn is_reloaded_and_not_restarted(node: &AgentHost) {
    let says = || node.host.read(SAYS).unwrap_or_default().trim().to_owned();
    upload(node, "r1", APP, "one").await;
    publish(node, "r1", 0).await;
    let first = runs(node, "r1").await;
    assert_eq!(says(), "one");

    upload(node, "r2", APP, "two").await;
    publish(node, "r2", 0).await;
    assert_eq!((runs(node, "r2").await, says().as_str()), (first, "two"));
    let log = node.place.fleetman(&["attempts", "n1/web", "--log"]).await.exits(0).out;
    assert!(log.contains("reloaded because only conf/app changed"), "{log}");

    // What does not bear its file is reloaded back.
    upload(node, "r3", APP, "sick").await;
    publish(node, "r3", 8).await;
    assert_eq!(runs(node, "r2").await, first);
    wait_for(async || says() == "two", "the file of before to be read again").await;

    // Whoever starts it later starts the newest version, with all its files.
    node.host.run(&["/bin/sh", "-c", &format!("kill -KILL {first}")]).await.exits(0);
    let restarted = async || report(node).await["state"]["pid"].as_u64().is_some_and(|pid| pid != first);
    wait_for(restarted, "the program to be restarted").await;
    let second = runs(node, "r2").await;
    let cwd = node.host.run(&["readlink", &format!("/proc/{second}/cwd")]).await.exits(0).out;
    assert!(cwd.contains("/releases/r2-"), "{cwd}");

    // What died of its file is restarted with that of before.
    upload(node, "r4", APP, "deadly").await;
    publish(node, "r4", 8).await;
    let third = runs(node, "r2").await;
    assert_ne!(third, second);
    assert_eq!(says(), "two");

    // Another program is another process.
    upload(node, "r5", &format!("{APP}# other\n"), "two").await;
    publish(node, "r5", 0).await;
    assert_ne!(runs(node, "r5").await, third);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_under_its_own_supervisor_is_reloaded() {
    let Some(node) = start("process", "").await else { return };
    is_reloaded_and_not_restarted(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_systemd_is_reloaded() {
    let Some(node) = start("systemd", "/etc/systemd/system").await else { return };
    is_reloaded_and_not_restarted(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_supervisord_is_reloaded() {
    let Some(node) = start("supervisor", "/etc/supervisor/conf.d").await else { return };
    is_reloaded_and_not_restarted(&node).await;
}
