//! Checks of health on hosts with a real systemd, under each profile that runs something: of the same service, with the
//! same checks.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::agent_host::AgentHost;
use crate::support::wait_for;

/// While it is there the service is not well, whatever it is.
const ILL: &str = "/srv/ill";

/// A host with an agent that may write to `also` and is set up for `profile`; and the recipe of what it runs.
async fn start(profile: &str, also: &str) -> Option<AgentHost> {
    let node = AgentHost::boot().await?;
    // Hosts share this machine's loopback.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // It serves the folder of its release.
    let command = "[/usr/bin/python3, -u, -m, http.server, \"{{ vars.port }}\", --bind, 127.0.0.1]";
    let manifest = format!(
        "name: site\n\
         vars: {{port: {port}}}\n\
         profile: {{{profile}: {{command: {command}}}}}\n\
         health:\n  min_healthy_time: 1s\n  deadline: 30s\n  interval: 200ms\n  timeout: 5s\n  restart_after: 3\n\
         \x20 checks:\n\
         \x20   answers: {{http: {{url: \"http://127.0.0.1:{{{{ vars.port }}}}/ok\", contains: fine}}}}\n\
         \x20   listens: {{tcp: {{address: \"127.0.0.1:{{{{ vars.port }}}}\"}}}}\n\
         \x20   says-so: {{log: {{contains: Serving HTTP}}}}\n\
         \x20   well: {{exec: {{command: [/bin/sh, -c, \"test -e version && test ! -e {ILL}\"]}}}}\n\
         ---\ncell: n1/web\nmanifest: site\n"
    );
    node.place.write("site.yaml", &manifest);
    node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let sandbox = format!("ReadWritePaths={also}\n");
    node.start_agent(if also.is_empty() { "" } else { &sandbox }, &format!("{profile}: {{}}\n")).await;
    Some(node)
}

async fn report(node: &AgentHost) -> Value {
    node.status().await.unwrap()["heartbeat"]["cells"]["web"].clone()
}

async fn passes_fails_and_is_restarted(node: &AgentHost) {
    for release in ["r1", "r2"] {
        node.place.write(&format!("{release}/version"), release);
    }
    node.place.write("r1/ok", "all is fine");
    node.publish("r1").await;
    let passing = async || report(node).await["health"]["state"] == "passing";
    wait_for(passing, "all checks to pass").await;
    let said = report(node).await;
    for check in ["answers", "listens", "says-so", "well"] {
        assert_eq!(said["health"]["checks"][check]["state"], "passing", "{check}: {said}");
    }

    // It runs as well as the one before, and does not serve what is asked for.
    node.place.fleetman(&["upload", "site", "r2", "--as", "r2"]).await.exits(0);
    node.place.fleetman(&["publish", "n1/web", "-d", "r2", "--as", "r2", "-y", "--wait"]).await.exits(8);
    wait_for(async || report(node).await["phase"] == "rolled_back", "the cell to be rolled back").await;
    let said = report(node).await;
    assert_eq!(said["running"]["version"], "r1", "{said}");
    let why = said["last_error"]["message"].as_str().unwrap();
    assert!(why.contains("check answers fails: HTTP 404"), "{why}");
    wait_for(passing, "what was gone back to to be well").await;

    let before = report(node).await["state"]["pid"].clone();
    node.host.write(ILL, "");
    let restarted = async || report(node).await["health"]["restarts"].as_u64() >= Some(1);
    wait_for(restarted, "the service to be restarted").await;
    node.host.run(&["rm", ILL]).await.exits(0);
    wait_for(passing, "it to be well again").await;
    // Supervisord calls it starting for a while although it answers.
    let runs = async || {
        let pid = report(node).await["state"]["pid"].clone();
        pid.is_u64() && pid != before
    };
    wait_for(runs, "another process to run").await;
    let said = report(node).await;
    assert_eq!((&said["running"]["version"], &said["known_good"]["version"]), (&"r1".into(), &"r1".into()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_a_cell_under_its_own_supervisor() {
    let Some(node) = start("process", "").await else { return };
    passes_fails_and_is_restarted(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_a_service_of_systemd() {
    let Some(node) = start("systemd", "/etc/systemd/system").await else { return };
    passes_fails_and_is_restarted(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_a_program_of_supervisord() {
    let Some(node) = start("supervisor", "/etc/supervisor/conf.d").await else { return };
    passes_fails_and_is_restarted(&node).await;
}
