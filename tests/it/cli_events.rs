//! What happens in the fleet, as the command line tells it while it happens.

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::support::cli::Workplace;
use crate::support::wait_for;

/// A bucket with the cells `n1/web` and `n1/db` of one release, and the node's agent.
pub(crate) async fn place() -> (Workplace, Child) {
    let place = Workplace::with_bucket().await;
    let cells = ["web", "db"].map(|cell| format!("---\ncell: n1/{cell}\nmanifest: site\n"));
    place.write("site.yaml", &format!("name: site\nprofile: {{deploy: {{}}}}\n{}", cells.concat()));
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.write("r1/index.html", "r1");
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    let config = place.agent_config("n1").await;
    let agent = place.run_agent(&config);
    let heard = async || place.fleetman(&["-o", "json", "get", "nodes"]).await.json()[0]["liveness"] == "active";
    wait_for(heard, "the agent's heartbeat").await;
    (place, agent)
}

/// The next line for which `is_wanted` holds.
async fn next(lines: &mut Lines<BufReader<ChildStdout>>, is_wanted: impl Fn(&Value) -> bool) -> Value {
    let found = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if is_wanted(&event) {
                return event;
            }
        }
        panic!("the stream ended");
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), found).await.expect("the event does not come")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_a_hold_and_whoever_did_it_are_told_as_they_happen() {
    let (place, mut agent) = place().await;
    let mut watch = place
        .start_fleetman(&["-o", "json", "events", "-w", "--cell", "n1/web", "--every", "200ms", "--since", "1d ago"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    // What is past comes first; from then on it is looked on.
    next(&mut lines, |event| event["kind"] == "act" && event["cell"] == "n1/web").await;
    place.fleetman(&["publish", "n1/db", "--as", "v1", "-y", "--wait"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "--as", "v1", "-y", "--reason", "at last", "--wait"]).await.exits(0);
    let is_about_web = |event: &Value| assert_ne!(event["cell"], "n1/db", "{event}");
    let wished = next(&mut lines, |event| {
        is_about_web(event);
        event["kind"] == "wished"
    });
    let wished = wished.await;
    assert_eq!((wished["state"].as_str(), wished["version"].as_str()), (Some("deploy"), Some("v1")), "{wished}");
    assert_eq!((wished["by"].as_str(), wished["message"].as_str()), (Some("tester"), Some("at last")), "{wished}");
    next(&mut lines, |event| event["kind"] == "phase" && event["state"] == "up_to_date").await;
    place.fleetman(&["hold", "n1/web", "--reason", "a leak", "--for", "1h", "-y", "--wait"]).await.exits(0);
    let held = next(&mut lines, |event| event["kind"] == "hold").await;
    assert!(held["message"].as_str().unwrap().ends_with(": a leak"), "{held}");

    let pid = rustix::process::Pid::from_raw(watch.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(watch.wait().await.unwrap().code(), Some(130));
    agent.kill().await.unwrap();

    let past = place.fleetman(&["events", "--since", "1d ago", "--cell", "n1/web"]).await.exits(0).out;
    for part in ["n1/web  act done by tester: publish cell/n1/web", "n1/web  outcome succeeded v1"] {
        assert!(past.contains(part), "{part:?} is not in {past}");
    }
    assert!(!past.contains("n1/db"), "{past}");
    let all = place.fleetman(&["events", "--since", "1d ago"]).await.exits(0).out;
    let place_of = |part: &str| all.find(part).unwrap_or_else(|| panic!("{part:?} is not in {all}"));
    let told = ["init fleet", "apply manifests/site/manifest.yaml", "upload deployment/site/r1", "publish cell/n1/db"];
    assert!(told.map(place_of).is_sorted(), "what happened first comes first, also within a second: {all}");
    let refused = place.fleetman(&["-o", "yaml", "events"]).await.exits(2);
    assert!(refused.err.contains("-o json"), "{}", refused.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_written_alike_wherever_one_is_asked_for() {
    let place = Workplace::with_bucket().await;
    let asks: [&[&str]; 6] = [
        &["audit", "--from"],
        &["audit", "--until"],
        &["audit", "verify", "--from"],
        &["events", "--since"],
        &["at"],
        &["logs", "n1/web", "--since"],
    ];
    for ask in asks {
        for good in ["2026-01-01T00:00:00Z", "2026-01-01", "2h ago", "2h", "now"] {
            let ran = place.fleetman(&[ask, &[good]].concat()).await;
            assert_ne!(ran.code, 2, "{ask:?} {good}: {}", ran.err);
        }
        for bad in ["yesterday", "2026-02-30", "99999999999d"] {
            let ran = place.fleetman(&[ask, &[bad]].concat()).await.exits(2);
            assert!(ran.err.contains("write a time as 2026-03-01T12:00:00Z or 2026-03-01"), "{ask:?}: {}", ran.err);
        }
    }
    let none = place.fleetman(&["audit", "--from", "1h", "--actor", "nobody"]).await.exits(0);
    assert_eq!(none.out.trim(), "No entry fits.");
    assert_eq!(
        place.fleetman(&["audit", "--actor", "nobody", "-o", "json"]).await.exits(0).json(),
        serde_json::json!([])
    );
    let unnamed = place.fleetman(&["export"]).await.exits(2);
    assert!(unnamed.err.contains("--manifest or --cell, or say --all"), "{}", unnamed.err);
    let many = place.fleetman(&["logs", "n1/web", "-n", "10001"]).await.exits(2);
    assert!(many.err.contains("10000"), "{}", many.err);
}
