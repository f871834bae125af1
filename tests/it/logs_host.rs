//! What cells write on a host with a real systemd, under each profile that runs something, as `fleetman logs` shows it.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::support::agent_host::AgentHost;
use crate::support::cells::Follower;
use crate::support::wait_for;

/// What is written here the service says.
const PIPE: &str = "/srv/pipe";

/// A host with an agent that may write to `also` and is set up for `profile`, and a service that says what comes
/// through a pipe.
async fn start(profile: &str, also: &str) -> Option<AgentHost> {
    let node = AgentHost::boot().await?;
    node.host.run(&["mkfifo", "-m", "0666", PIPE]).await.exits(0);
    let manifest = format!(
        "name: site\nprofile: {{{profile}: {{command: [/bin/sh, run]}}}}\nhealth: {{min_healthy_time: 1s}}\n---\ncell: \
         n1/web\nmanifest: site\n"
    );
    node.place.write("site.yaml", &manifest);
    node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let sandbox = format!("ReadWritePaths={also}\n");
    node.start_agent(if also.is_empty() { "" } else { &sandbox }, &format!("{profile}: {{}}\n")).await;
    for release in ["r1", "r2"] {
        node.place.write(&format!("{release}/run"), &format!("echo {release} is up\nwhile :; do cat {PIPE}; done\n"));
    }
    node.publish("r1").await;
    Some(node)
}

async fn say(node: &AgentHost, line: &str) {
    node.host.run(&["/bin/sh", "-c", &format!("printf '{line}' > {PIPE}")]).await.exits(0);
}

async fn logs(node: &AgentHost, args: &[&str]) -> Vec<Value> {
    let out = node.place.fleetman(&[&["-o", "json", "logs", "n1/web"], args].concat()).await.exits(0).out;
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn texts(node: &AgentHost, args: &[&str]) -> Vec<String> {
    logs(node, args).await.iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

async fn line_with(follower: &mut Follower, text: &str) {
    while !follower.line().await.contains(text) {}
}

/// Shows the past, what comes, and what another version says; and leaves nothing behind.
async fn shows(node: &AgentHost) {
    wait_for(async || texts(node, &["--grep", "is up"]).await == ["r1 is up"], "what it said first").await;
    say(node, "one\\ntwo\\nthree\\n\\033[2J\\377four\\n").await;
    wait_for(async || texts(node, &["--grep", "four"]).await.len() == 1, "what it says").await;
    assert_eq!(texts(node, &["-n", "2", "--grep", "^(one|two|three)$", "-E"]).await, ["two", "three"]);
    assert_eq!(texts(node, &["--grep", "four"]).await, ["\u{1b}[2J\u{fffd}four"]);
    assert!(texts(node, &["--since", "1h", "--grep", "o"]).await.contains(&"one".to_owned()));

    let mut child = node.place.start_fleetman(&["logs", "n1/web", "-f", "-n", "1", "--grep", "t"]);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut follower = Follower { child, lines };
    line_with(&mut follower, "three").await;
    say(node, "nothing\\nfive is no more than that\\n").await;
    line_with(&mut follower, "nothing").await;
    line_with(&mut follower, "five is").await;
    node.place.fleetman(&["upload", "site", "r2", "--as", "r2"]).await.exits(0);
    node.place.fleetman(&["publish", "n1/web", "-d", "r2", "--as", "r2", "-y", "--wait"]).await.exits(0);
    say(node, "this is another version\\n").await;
    line_with(&mut follower, "this is another").await;
    follower.interrupt();
    assert_eq!(follower.ended().await.0, Some(130));
    for folder in ["cells/n1/_requests/", "logs/n1/_requests/"] {
        let left = node.place.fleetman(&["bucket", "ls", folder]).await.out;
        assert!(!left.contains(".json") && !left.contains(".log"), "{left}");
    }
}

/// Follows across the files that a flood of output fills.
async fn follows_across_rotation(node: &AgentHost) {
    let mut child = node.place.start_fleetman(&["logs", "n1/web", "-f", "-n", "1", "--grep", "needle"]);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut follower = Follower { child, lines };
    say(node, "needle 1\\n").await;
    line_with(&mut follower, "needle 1").await;
    let flood = format!("yes {} | head -n 12000 > {PIPE}", "x".repeat(999));
    node.host.run(&["/bin/sh", "-c", &flood]).await.exits(0);
    say(node, "needle 2\\n").await;
    assert!(follower.line().await.ends_with("needle 2"));
    follower.interrupt();
    assert_eq!(follower.ended().await.0, Some(130));
    assert_eq!(texts(node, &["--grep", "needle"]).await, ["needle 1", "needle 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_under_its_own_supervisor_shows_its_log() {
    let Some(node) = start("process", "").await else { return };
    shows(&node).await;
    follows_across_rotation(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_systemd_shows_its_journal() {
    let Some(node) = start("systemd", "/etc/systemd/system").await else { return };
    shows(&node).await;
    let lines = logs(&node, &["-n", "5"]).await;
    assert!(lines.len() == 5 && lines.iter().all(|line| line["at"].is_string()), "{lines:?}");
    let identifier = lines.last().unwrap()["process"].as_str().unwrap().to_owned();
    let of_one = logs(&node, &["--process", &identifier]).await;
    assert!(!of_one.is_empty() && of_one.iter().all(|line| line["process"] == identifier.as_str()), "{of_one:?}");
    assert_eq!(texts(&node, &["--since", "1s", "--grep", "is up"]).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_supervisord_shows_its_log() {
    let Some(node) = start("supervisor", "/etc/supervisor/conf.d").await else { return };
    shows(&node).await;
    follows_across_rotation(&node).await;
}
