//! Cells under a real supervisord on hosts with a real systemd.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::agent_host::{AgentHost, HOME};
use crate::support::host::FLEETAGENT;
use crate::support::wait_for;

/// What the agent's unit may write to besides its own folder.
const SANDBOX: &str = "ReadWritePaths=/etc/supervisor/conf.d\n";

/// Somebody else's program, which must never notice anything.
const FOREIGN: &str = "[program:foreign]\ncommand=/bin/sleep 100000\n";

const CONF: &str = "/etc/supervisor/conf.d/fleetman-web.conf";

/// A host with a foreign program under supervisord, and an agent that is set up for the profile.
async fn start() -> Option<AgentHost> {
    let node = AgentHost::boot().await?;
    node.host.write("/etc/supervisor/conf.d/foreign.conf", FOREIGN);
    ctl(&node, &["update"]).await;
    node.start_agent(SANDBOX, "supervisor: {}\n").await;
    Some(node)
}

async fn ctl(node: &AgentHost, words: &[&str]) -> String {
    let words: Vec<&str> = ["supervisorctl"].iter().chain(words).copied().collect();
    node.host.run(&words).await.exits(0).out
}

async fn apply(node: &AgentHost, profile: &str, limits: &str) {
    let manifest = format!(
        "name: site\nprofile: {{supervisor: {{{profile}}}}}\nhealth: {{min_healthy_time: 100ms}}\nlimits: {limits}\n---\n\
         cell: n1/web\nmanifest: site\n"
    );
    node.place.write("site.yaml", &manifest);
    node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
}

async fn publish(node: &AgentHost, release: &str, service: &str) {
    node.place.write(&format!("{release}/serve"), service);
    node.publish(release).await;
}

async fn report(node: &AgentHost) -> Value {
    node.status().await.unwrap()["heartbeat"]["cells"]["web"].clone()
}

/// The process id of a program, as supervisord knows it.
async fn pid(node: &AgentHost, program: &str) -> String {
    ctl(node, &["pid", program]).await.trim().to_owned()
}

async fn read(node: &AgentHost, file: &str) -> String {
    node.host.run(&["cat", file]).await.exits(0).out
}

async fn environment(node: &AgentHost, pid: &str) -> BTreeMap<String, String> {
    let text = read(node, &format!("/proc/{pid}/environ")).await;
    let variables = text.split('\0').filter_map(|variable| variable.split_once('='));
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// What is on the host's disk outside of the agent's folder and of logs, and what supervisord runs.
async fn picture(node: &AgentHost) -> String {
    let files = "find /etc /usr /srv /opt /root /home /var -xdev \\( -path /srv/fleetagent -o -path /var/log \
                 -o -path /etc/systemd/system/fleetagent.service \\) -prune -o -type f -exec sha256sum {} + \
                 | sort; supervisorctl pid foreign; supervisorctl avail";
    node.host.run(&["sh", "-c", files]).await.exits(0).out
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_is_deployed_upgraded_rolled_back_stopped_and_removed() {
    let Some(node) = start().await else { return };
    let foreign = pid(&node, "foreign").await;
    let before = picture(&node).await;
    apply(&node, "command: [/bin/sh, serve], user: www-data", "{}").await;

    publish(&node, "r1", "echo begun; exec sleep 1000").await;
    let first = pid(&node, "fleetman-web").await;
    let said = report(&node).await;
    assert_eq!(said["processes"]["main"]["pid"].to_string(), first, "{said}");
    assert_eq!(said["state"]["state"], "running", "{said}");
    assert_eq!(environment(&node, &first).await["FLEETMAN_VERSION"], "r1");
    assert_eq!(read(&node, &format!("{HOME}/n1-state/supervisor/web/logs/main.log")).await, "begun\n");

    publish(&node, "r2", "echo begun; exec sleep 1001").await;
    let second = pid(&node, "fleetman-web").await;
    assert_ne!(second, first);
    assert_eq!(environment(&node, &second).await["FLEETMAN_VERSION"], "r2");

    // One that does not stay up brings back what was there before.
    node.place.write("r3/serve", "echo no >&2; exit 3");
    node.place.fleetman(&["upload", "site", "r3", "--as", "r3"]).await.exits(0);
    node.place.fleetman(&["publish", "n1/web", "-d", "r3", "--as", "r3", "-y", "--wait"]).await.exits(8);
    let third = pid(&node, "fleetman-web").await;
    assert_eq!(environment(&node, &third).await["FLEETMAN_VERSION"], "r2");

    node.place.fleetman(&["stop", "n1/web", "-y", "--wait"]).await.exits(0);
    assert_eq!(node.host.read(CONF), None);
    assert!(!ctl(&node, &["avail"]).await.contains("fleetman"));
    node.place.fleetman(&["remove", "n1/web", "-y", "--wait"]).await.exits(0);
    assert_eq!(picture(&node).await, before);
    assert_eq!(pid(&node, "foreign").await, foreign);
}

/// Waits until the cell waits for something with this code.
async fn wait_for_code(node: &AgentHost, code: &str) {
    let there = async || report(node).await["waiting"]["reason"] == code;
    wait_for(there, &format!("the cell to wait for {code}")).await;
}

async fn wait_for_version(node: &AgentHost, version: &str) {
    let there = async || {
        let said = report(node).await;
        said["phase"] == "up_to_date" && said["running"]["version"] == version && said["state"]["state"] == "running"
    };
    wait_for(there, &format!("{version} to run")).await;
}

/// Uploads a release and asks for it, without waiting for what becomes of it.
async fn ask(node: &AgentHost, release: &str) {
    node.place.write(&format!("{release}/serve"), &format!("exec sleep 1000 # {release}"));
    node.place.fleetman(&["upload", "site", release, "--as", release]).await.exits(0);
    node.place.fleetman(&["publish", "n1/web", "-d", release, "--as", release, "-y"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_needs_no_agent_and_survives_what_happens_to_its_host() {
    let Some(mut node) = start().await else { return };
    let profile = "command: [/bin/sh, serve], user: www-data, env: {SECRET: {from_file: /root/secret}}";
    node.host.write("/root/secret", "s3cr3t\n");
    node.host.run(&["chmod", "600", "/root/secret"]).await.exits(0);
    apply(&node, profile, "{open_files: 512}").await;
    publish(&node, "r1", "exec sleep 1000").await;
    let (cell, foreign) = (pid(&node, "fleetman-web").await, pid(&node, "foreign").await);

    // It is what it was asked to be, and nothing of its agent's sandbox.
    let status = read(&node, &format!("/proc/{cell}/status")).await;
    let ids = |line: &str| status.lines().find_map(|found| found.strip_prefix(line)).unwrap().trim().to_owned();
    assert_eq!(
        (ids("Uid:"), ids("Gid:"), ids("Groups:")),
        ("33\t33\t33\t33".into(), "33\t33\t33\t33".into(), "33".into())
    );
    assert_eq!(environment(&node, &cell).await["SECRET"], "s3cr3t", "it is read by root, before root is given up");
    let limits = read(&node, &format!("/proc/{cell}/limits")).await;
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().skip(3).collect::<Vec<_>>(), ["512", "512", "files"]);
    let doctor = node.host.run(&[FLEETAGENT, "doctor", "--config", &format!("{HOME}/n1.yaml")]).await;
    for good in ["it answers at /run/supervisor.sock", "supervisord.conf includes the files of cells"] {
        assert!(doctor.out.contains(good), "{}", doctor.out);
    }

    // Agents come and go.
    let agent = node.agent_pid().await;
    node.host.run(&["sh", "-c", "kill -KILL \"$0\"", &agent]).await.exits(0);
    let another = async || ![agent.as_str(), "0"].contains(&node.agent_pid().await.as_str());
    wait_for(another, "another agent").await;
    wait_for_version(&node, "r1").await;
    assert_eq!(pid(&node, "fleetman-web").await, cell);

    // A folder that cannot be written to, and a file that supervisord cannot read.
    let settings = "/etc/systemd/system/fleetagent.service.d/closed.conf";
    node.host.write(settings, "[Service]\nReadWritePaths=\nReadWritePaths=/srv/fleetagent\n");
    node.host.run(&["systemctl", "daemon-reload"]).await.exits(0);
    node.host.run(&["systemctl", "restart", "fleetagent"]).await.exits(0);
    ask(&node, "r2").await;
    wait_for_code(&node, "io").await;
    assert_eq!(pid(&node, "fleetman-web").await, cell);
    node.host.run(&["rm", settings]).await.exits(0);
    node.host.run(&["systemctl", "daemon-reload"]).await.exits(0);
    node.host.run(&["systemctl", "restart", "fleetagent"]).await.exits(0);
    wait_for_version(&node, "r2").await;
    let cell = pid(&node, "fleetman-web").await;
    node.host.write("/etc/supervisor/conf.d/broken.conf", "[program:broken]\ncommand=x %\n");
    ask(&node, "r3").await;
    wait_for_code(&node, "supervisor_conf_broken").await;
    assert_eq!((pid(&node, "fleetman-web").await, pid(&node, "foreign").await), (cell, foreign));
    node.host.run(&["rm", "/etc/supervisor/conf.d/broken.conf"]).await.exits(0);
    wait_for_version(&node, "r3").await;

    // After a crash of the host it is there again, and no agent is needed for it.
    node.host.run(&["systemctl", "disable", "fleetagent"]).await.exits(0);
    node.host.kill_hard().await;
    node.host.boot_again().await;
    let up = async || node.host.run(&["supervisorctl", "status", "fleetman-web"]).await.out.contains("RUNNING");
    wait_for(up, "the cell to be started at boot").await;
    let cell = pid(&node, "fleetman-web").await;
    assert_eq!(environment(&node, &cell).await["FLEETMAN_VERSION"], "r3");
}
