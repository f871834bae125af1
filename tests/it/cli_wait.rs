//! What `--wait` tells of versions that fail on real agents.

use crate::support::cli::Workplace;
use crate::support::wait_for;

const JOB: &str = "name: job\nhealth: {min_healthy_time: 200ms, deadline: 20s}\nprofile: {process: {command: \
                   [/bin/sh, serve], restart: {policy: never}, stop: {timeout: 2s}}}\n";

async fn upload(place: &Workplace, name: &str, serve: &str) {
    place.write(&format!("{name}/serve"), serve);
    place.fleetman(&["upload", "job", name, "--as", name]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_ends_the_wait_with_the_last_lines_and_what_came_after() {
    let place = Workplace::with_bucket().await;
    let cells = ["n1/api", "n1/web"].map(|cell| format!("---\ncell: {cell}\nmanifest: job\n"));
    place.write("job.yaml", &format!("{JOB}{}", cells.concat()));
    place.fleetman(&["apply", "-f", "job.yaml"]).await.exits(0);
    let config = place.agent_config("n1").await;
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}process: {{folder: n1-run, with_agent: true}}\n")).unwrap();
    let _agent = place.run_agent(&config);
    let heard = async || place.fleetman(&["-o", "json", "get", "nodes"]).await.json()[0]["liveness"] == "active";
    wait_for(heard, "the agent's heartbeat").await;

    upload(&place, "bad", "echo '\x1b[2Jno database'; exit 3\n").await;
    let first = place.fleetman(&["publish", "n1/web", "-d", "bad", "--as", "bad", "-y", "--wait"]).await.exits(8);
    assert!(first.err.contains("n1/web: the last lines of attempt 1 at generation 1"), "{}", first.err);
    assert!(first.err.contains("n1/web: failed"), "nothing was good before: {}", first.err);
    assert!(!first.err.contains('\x1b') && !first.out.contains('\x1b'), "{:?}", first.err);

    upload(&place, "good", "exec sleep 1000\n").await;
    let good = place.fleetman(&["publish", "--all", "-d", "good", "--as", "good", "-y", "--wait"]).await.exits(0);
    assert!(good.err.contains("n1/web: checking") || good.err.contains("n1/web: up_to_date"), "{}", good.err);
    let again = place.fleetman(&["-o", "json", "publish", "--all", "-d", "bad", "--as", "worse", "-y", "--wait"]).await;
    let again = again.exits(8);
    let results = again.json();
    for (place_of, how) in [(0, "rolled_back"), (1, "failed")] {
        let followed = &results[place_of]["result"]["followed"];
        assert_eq!(followed["how"], how, "{results}");
        assert_eq!(followed["aftermath"]["running"], "good", "{results}");
    }
    // The one failed with this content before, so it is not tried again; the other was tried.
    let api = &results[0]["result"]["followed"];
    assert!(!api["aftermath"]["log"].as_array().unwrap().is_empty(), "{results}");
    assert!(again.err.contains("n1/api: rolled back to good: "), "{}", again.err);
    assert!(again.err.lines().any(|line| line.starts_with("n1/api | ")), "{}", again.err);

    let retried = place.fleetman(&["redeploy", "n1/web", "--retry", "-y", "--wait"]).await.exits(8);
    assert!(retried.err.contains("n1/web: rolled back to good"), "{}", retried.err);
    place.fleetman(&["rollback", "n1/web", "--to", "good", "-y", "--wait"]).await.exits(0);

    // Whatever brings a version that fails ends the same way.
    let back = place.fleetman(&["rollback", "n1/web", "--to", "bad", "--retry", "-y", "--wait"]).await.exits(8);
    assert!(back.err.lines().any(|line| line.starts_with("n1/web | ")), "{}", back.err);
    assert!(back.err.contains("n1/web: rolled back to good"), "{}", back.err);

    // What ran well once need not do so again.
    let flag = place.write("flag", "");
    upload(&place, "moody", &format!("test -e {} || exit 3; exec sleep 1000\n", flag.display())).await;
    place.fleetman(&["publish", "n1/api", "-d", "moody", "--as", "moody", "-y", "--wait"]).await.exits(0);
    let ran = async || {
        let history = place.fleetman(&["-o", "json", "history", "n1/api"]).await.exits(0).json();
        history[0]["outcome"]["ended_at"].as_str().map(ToOwned::to_owned)
    };
    wait_for(async || ran().await.is_some(), "the outcome").await;
    let time = ran().await.unwrap();
    place.fleetman(&["rollback", "n1/api", "--to", "good", "-y", "--wait"]).await.exits(0);
    std::fs::remove_file(&flag).unwrap();
    let reverted = place.fleetman(&["revert", "n1/api", "--to", &time, "-y", "--wait"]).await.exits(8);
    assert!(reverted.err.lines().any(|line| line.starts_with("n1/api | ")), "{}", reverted.err);
    assert!(reverted.err.contains("n1/api: rolled back to good"), "{}", reverted.err);
}
