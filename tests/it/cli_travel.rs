//! The verbs about the past, about the bucket's soundness and about bundles, as people and programs call them.

use fleetman::clock::SystemClock;

use crate::support::cli::Workplace;
use crate::support::wait_for;

const SITE: &str = "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n";

async fn publish(place: &Workplace, name: &str) {
    place.write(&format!("{name}/index.html"), name);
    place.fleetman(&["upload", "site", name, "--as", name]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "--deployment", name, "--as", name, "--yes", "--wait"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_is_looked_at_compared_and_brought_back_from_the_command_line() {
    let place = Workplace::with_bucket().await;
    place.write("site.yaml", SITE);
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let config = place.agent_config("n1").await;
    let _agent = place.run_agent(&config);
    publish(&place, "r1").await;

    let mut since = String::new();
    let confirmed = async || {
        let at = place.fleetman(&["-o", "json", "at", "now", "n1/web"]).await.exits(0).json();
        let cell = &at["cells"][0];
        assert_eq!((&cell["wished"]["version"]["version"], &cell["wished"]["by"]), (&"r1".into(), &"tester".into()));
        since = cell["answer"]["since"].as_str().unwrap_or_default().to_owned();
        cell["answer"]["state"] == "confirmed" && cell["ran"]["version"]["version"] == "r1"
    };
    wait_for(confirmed, "the outcome").await;
    // Times have whole seconds, and what comes next must have a later one.
    let clock = SystemClock::shared();
    let told: chrono::DateTime<chrono::Utc> = since.parse().unwrap();
    let then = told + chrono::TimeDelta::seconds(1);
    wait_for(async || clock.now() > then, "the next second").await;
    let then = then.to_rfc3339();
    publish(&place, "r2").await;

    let table = place.fleetman(&["at", &then]).await.exits(0).out;
    assert!(table.contains("r1 (generation 1)") && table.contains("confirmed"), "{table}");
    let diff = place.fleetman(&["diff", "--from-time", &then]).await.exits(1).out;
    assert!(diff.contains("r1 (generation 1) → r2 (generation 2)") && diff.contains("index.html"), "{diff}");
    place.fleetman(&["diff", "--from-time", &then, "--to-time", &then]).await.exits(0);
    place.fleetman(&["diff", "--from-time", "now", "--to-time", "2h ago"]).await.exits(2);
    place.fleetman(&["at", "2999-01-01T00:00:00Z"]).await.exits(2);
    place.fleetman(&["at", "now", "n9"]).await.exits(4);

    place.fleetman(&["revert", "--to", &then, "--yes"]).await.exits(2);
    let refused = place.fleetman(&["revert", "n1", "--to", &then]).await.exits(2);
    assert!(refused.err.contains("deploy") && refused.err.contains("no terminal to ask"), "{}", refused.err);
    let plan = place.fleetman(&["-o", "json", "revert", "--all", "--to", &then, "--dry-run"]).await.exits(1).json();
    let step = &plan["cells"][0];
    assert_eq!(
        (&step["revert"], &step["version"]["version"], &step["generation"]),
        (&"deploy".into(), &"r1".into(), &2.into())
    );
    let ran = place.fleetman(&["-o", "json", "revert", "n1/web", "--to", &then, "--yes", "--wait"]).await.exits(0);
    let done = &ran.json()[0];
    assert_eq!((&done["done"], &done["result"]["version"]), (&true.into(), &"r1".into()));
    assert_eq!(done["result"]["followed"]["how"], "applied");
    assert_eq!(std::fs::read_to_string(place.path().join("n1-cells/web/index.html")).unwrap(), "r1");
    let plan = place.fleetman(&["revert", "n1/web", "--to", &then, "--yes"]).await.exits(0).out;
    assert!(plan.contains("unchanged"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_looked_through_and_a_bundle_carried_from_the_command_line() {
    let mut place = Workplace::with_bucket().await;
    place.write("site.yaml", SITE);
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.write("r1/index.html", "r1");
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "--as", "1", "--yes"]).await.exits(0);
    assert_eq!(place.fleetman(&["fsck", "--deep"]).await.exits(0).out.trim(), "Nothing is wrong.");

    let client = place.store().client();
    let trigger = "cells/n1/web/trigger.json";
    client.delete_object().bucket(crate::support::BUCKET).key(trigger).send().await.unwrap();
    let found = place.fleetman(&["-o", "json", "fsck"]).await.exits(1).json();
    assert_eq!(
        (&found["findings"][0]["code"], &found["findings"][0]["key"]),
        (&"trigger_missing".into(), &trigger.into())
    );
    assert!(place.fleetman(&["fsck"]).await.exits(1).out.contains("copy the newest believed trigger there"));
    assert!(place.fleetman(&["fsck", "--repair"]).await.exits(0).out.contains("repaired"));
    place.fleetman(&["fsck"]).await.exits(0);

    let saved = place.fleetman(&["-o", "json", "bundle", "save", "b.tar", "n1/web"]).await.exits(0).json();
    assert_eq!((&saved["versions"][0]["version"], &saved["files"]), (&"1".into(), &1.into()));
    let loaded = place.fleetman(&["bundle", "load", "b.tar"]).await.exits(0).out;
    assert!(loaded.contains("all of it was there already"), "{loaded}");
    place.write("b.tar", "no bundle");
    place.fleetman(&["bundle", "load", "b.tar"]).await.exits(5);
    place.fleetman(&["bundle", "save", "b.tar", "n1/web@9"]).await.exits(4);
}
