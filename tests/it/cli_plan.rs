//! What a plan foretells, and that the node does just that.

use chrono::Datelike as _;
use fleetman::clock::SystemClock;

use crate::support::cli::Workplace;
use crate::support::wait_for;

fn manifest(port: &str, more: &str) -> String {
    format!(
        "name: job\nhealth: {{min_healthy_time: 200ms, deadline: 20s}}\n\
         hooks: {{before_activate: {{command: [/bin/true], if_changed: [\"conf/**\"]}}}}\n\
         profile: {{process: {{command: [/bin/sh, serve], env: {{PORT: \"{port}\", API_TOKEN: hush-{port}}}, \
         stop: {{timeout: 2s}}}}}}\n{more}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_foretells_what_stands_on_the_host_what_restarts_and_what_delays_it() {
    let place = Workplace::with_bucket().await;
    let cell = "---\ncell: n1/web\nmanifest: job\n";
    place.write("job.yaml", &manifest("80", cell));
    place.fleetman(&["apply", "-f", "job.yaml"]).await.exits(0);
    place.write("r1/serve", "exec sleep 1000\n");
    place.write("r1/conf/a", "1\n");
    place.fleetman(&["upload", "job", "r1", "--as", "r1"]).await.exits(0);

    let first = place.fleetman(&["plan", "n1/web"]).await.exits(1).out;
    for part in [
        "On the node, where nothing of the cell runs:",
        "  + main starts: nothing of the cell runs",
        "  hook before_activate runs: /bin/true (conf/a changed)",
        "waits: n1 was never heard of",
        "  not known here: whether the node's own config has maintenance windows: it was never heard of",
        "  gate: it must run for 200ms without a break, within 20s",
        "definition changed, starts main; reloads nothing",
    ] {
        assert!(first.contains(part), "{part:?} is not in {first}");
    }

    let config = place.agent_config("n1").await;
    let text = std::fs::read_to_string(&config).unwrap();
    // A window of its own that is never open while this runs.
    let month = (SystemClock::shared().now().month() + 5) % 12 + 1;
    let windows = format!("windows: {{activate: [{{allow: \"0 2 1 {month} *\", for: 1m}}]}}\n");
    let text = format!("{text}{windows}process: {{folder: n1-run, with_agent: true}}\n");
    std::fs::write(&config, text).unwrap();
    let _agent = place.run_agent(&config);
    place.fleetman(&["publish", "n1/web", "--as", "v1", "-y", "--wait"]).await.exits(0);
    let good = async || {
        let cell = place.fleetman(&["-o", "json", "describe", "cell", "n1/web"]).await.exits(0).json();
        cell["report"]["known_good"]["version"] == "v1" || cell["known_good"]["version"] == "v1"
    };
    wait_for(good, "the first version to be known good").await;
    let same = place.fleetman(&["-o", "json", "plan", "n1/web"]).await.exits(0).json();
    assert_eq!((&same["restart"], &same["summary"]), (&false.into(), &"0 cells to publish".into()), "{same}");

    place.write("job.yaml", &manifest("81", cell));
    place.fleetman(&["apply", "-f", "job.yaml"]).await.exits(0);
    place.fleetman(&["hold", "n1/web", "--reason", "a leak", "--for", "2h", "-y"]).await.exits(0);
    let plan = place.fleetman(&["plan", "n1/web"]).await.exits(1).out;
    for part in [
        "  ~ process main\n",
        "      -    \"PORT\": \"80\"\n      +    \"PORT\": \"81\"",
        "(not shown), another one",
        "  <version> is the name of the version",
        "On the node, in place of v1:",
        "  ~ main restarts: profile.env.API_TOKEN and 1 more changed, and no reload_if or restart_if lets it go on",
        "waits: the activation windows of the node are closed until ",
        "  hook before_activate does not run: /bin/true (nothing changed that it is for)",
        "waits: the cell is held by tester until ",
        ": a leak",
        "; otherwise the node goes back to v1",
        "1 cell to publish: 2 settings changed, 1 definition changed, restarts main; reloads nothing",
    ] {
        assert!(plan.contains(part), "{part:?} is not in {plan}");
    }
    assert!(!plan.contains("hush") && !plan.contains("not known here"), "{plan}");

    let shape = place.fleetman(&["-o", "json", "plan", "n1/web"]).await.exits(1).json();
    assert_eq!(shape["changes"]["definitions"][0]["name"], "process main");
    let process = &shape["forecast"]["processes"][0];
    assert_eq!(process["fate"], "restarts");
    assert!(process["because"].as_str().unwrap().starts_with("profile.env.API_TOKEN and 1 more changed"), "{process}");
    assert_eq!((&shape["forecast"]["over"], &shape["restart"]), (&"v1".into(), &true.into()));
    assert_eq!(shape["forecast"]["waits"][0]["kind"], "hold");

    let compared = place.fleetman(&["diff", "n1/web"]).await.exits(1).out;
    assert!(compared.contains("  ~ process main\n") && !compared.contains("hush"), "{compared}");

    // What stands on the host is what was foretold, once the words are what they stand for.
    place.fleetman(&["unhold", "n1/web", "-y"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "--as", "v2", "-y", "--wait", "--override-windows"]).await.exits(0);
    let orders = std::fs::read_to_string(place.path().join("n1-run/web/orders.json")).unwrap();
    let orders: serde_json::Value = serde_json::from_str(&orders).unwrap();
    let env = &orders["service"]["processes"]["main"]["env"];
    assert_eq!((env["PORT"].as_str(), env["FLEETMAN_VERSION"].as_str()), (Some("81"), Some("v2")), "{orders}");
}
