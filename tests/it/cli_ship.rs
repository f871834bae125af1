//! The verbs that change what runs, against a real agent where it takes one.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::support::cli::{FLEET, Workplace};
use crate::support::{BUCKET, PATIENCE, wait_for};

const SITE: &str = "name: site\nlabels: {tier: front}\nprofile: {deploy: {}}\n";

/// A bucket with manifest `site`, these cells of it, and release `r1`.
async fn place_with(cells: &[&str]) -> Workplace {
    let place = Workplace::with_bucket().await;
    let bindings: Vec<String> = cells
        .iter()
        .map(|cell| format!("---\ncell: {cell}\nmanifest: site\nlabels: {{at: {}}}\n", &cell[..2]))
        .collect();
    place.write("site.yaml", &format!("{SITE}{}", bindings.concat()));
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    upload(&place, "r1").await;
    place
}

/// Uploads a release whose page says its name.
async fn upload(place: &Workplace, name: &str) {
    place.write(&format!("{name}/index.html"), name);
    let uploaded = place.fleetman(&["-o", "json", "upload", "site", name, "--as", name]).await.exits(0).json();
    assert_eq!((uploaded["deployment"].as_str(), uploaded["is_new"].as_bool()), (Some(name), Some(true)));
}

/// Starts the agent of `node` and waits until it has reported.
async fn agent(place: &Workplace, node: &str) -> Child {
    let config = place.agent_config(node).await;
    let child = place.start_fleetagent(&["-c", config.to_str().unwrap(), "run"]);
    wait_for(async || nodes(place).await.contains(&node.to_owned()), "the agent's heartbeat").await;
    child
}

async fn nodes(place: &Workplace) -> Vec<String> {
    let nodes = place.fleetman(&["-o", "json", "get", "nodes"]).await.exits(0).json();
    let active = nodes.as_array().unwrap().iter().filter(|node| node["liveness"] == "active");
    active.map(|node| node["name"].as_str().unwrap().to_owned()).collect()
}

fn page(place: &Workplace, node: &str, cell: &str) -> Option<String> {
    std::fs::read_to_string(place.path().join(format!("{node}-cells/{cell}/index.html"))).ok()
}

async fn end(mut child: Child) {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "SIGTERM ends it in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_is_published_rolled_back_stopped_and_removed() {
    let place = place_with(&["n1/web"]).await;
    let child = agent(&place, "n1").await;

    place.fleetman(&["plan", "n1/web"]).await.exits(1);
    let ran = place.fleetman(&["publish", "n1/web", "-y", "--wait"]).await.exits(0);
    assert!(ran.out.contains("done") && ran.out.contains("applied"), "{}", ran.out);
    assert_eq!(page(&place, "n1", "web").as_deref(), Some("r1"));
    assert!(place.fleetman(&["plan", "n1/web"]).await.exits(0).out.contains("Nothing to publish"));
    place.fleetman(&["-o", "json", "rollback", "n1/web", "-y"]).await.exits(4);

    upload(&place, "r2").await;
    let plan = place.fleetman(&["plan", "n1/web"]).await.exits(1).out;
    assert!(plan.contains("~ index.html") && plan.contains("+r2") && plan.contains("--if-generation 1"), "{plan}");
    let published = place.fleetman(&["-o", "json", "publish", "--manifest", "site", "-y", "-w"]).await.exits(0).json();
    assert_eq!(published[0]["result"]["followed"]["how"], "applied");
    assert_eq!(page(&place, "n1", "web").as_deref(), Some("r2"));

    place.fleetman(&["rollback", "n1/web", "-y", "--wait", "--reason", "r2 is broken"]).await.exits(0);
    assert_eq!(page(&place, "n1", "web").as_deref(), Some("r1"));
    let history = place.fleetman(&["-o", "json", "history", "n1/web"]).await.exits(0).json();
    assert_eq!(history[0]["trigger"]["reason"], "r2 is broken");
    assert_eq!(history[0]["outcome"]["outcome"], "succeeded");
    assert_eq!(history.as_array().unwrap().len(), 3);

    let status = place.fleetman(&["status", "--check"]).await.exits(0).out;
    assert!(status.contains("1 active") && status.contains("1 synced"), "{status}");
    let ran = place.fleetagent(&["-c", "n1.yaml", "status"]).await.exits(0);
    assert!(ran.out.contains("running, pid") && ran.out.contains("up_to_date"), "{}", ran.out);
    let found = place.fleetagent(&["-c", "n1.yaml", "doctor", "-o", "json"]).await.exits(0).json();
    assert!(found.as_array().unwrap().iter().all(|finding| finding["verdict"] != "failed"), "{found}");

    let versions = place.fleetman(&["-o", "json", "get", "versions", "n1/web"]).await.exits(0).json();
    let wanted = versions.as_array().unwrap().iter().find(|version| !version["needed"].as_array().unwrap().is_empty());
    let wanted = wanted.unwrap()["name"].as_str().unwrap();
    let error = place.fleetman(&["-o", "json", "delete", "version", "n1/web", wanted, "-y"]).await.exits(3).error();
    assert_eq!(error["code"], "in_use");
    let detail = place.fleetman(&["describe", "version", "n1/web", wanted]).await.exits(0).out;
    assert!(detail.contains("path: index.html"), "{detail}");

    place.fleetman(&["redeploy", "n1/web", "-y", "-w"]).await.exits(0);
    place.fleetman(&["stop", "n1/web", "-y"]).await.exits(0);
    wait_for(async || cell(&place, "n1/web").await["phase"] == "stopped", "the stop").await;
    place.fleetman(&["remove", "n1/web", "-y"]).await.exits(0);
    wait_for(async || page(&place, "n1", "web").is_none(), "the removal").await;
    wait_for(async || cell(&place, "n1/web").await["phase"] == "removed", "its report").await;
    // A removed cell comes back by name only.
    place.fleetman(&["publish", "--all", "-y"]).await.exits(4);
    place.fleetman(&["delete", "cell", "n1/web", "-y"]).await.exits(0);
    place.fleetman(&["describe", "cell", "n1/web"]).await.exits(4);
    end(child).await;
    place.fleetagent(&["-c", "n1.yaml", "status"]).await.exits(3);
}

async fn cell(place: &Workplace, name: &str) -> serde_json::Value {
    place.fleetman(&["-o", "json", "describe", "cell", name]).await.exits(0).json()
}

#[tokio::test(flavor = "multi_thread")]
async fn once_deploys_what_is_asked_for_and_ends() {
    let place = place_with(&["n1/web"]).await;
    let config = place.agent_config("n1").await;
    place.fleetman(&["publish", "n1/web", "-y"]).await.exits(0);
    let beat = place.fleetagent(&["-c", config.to_str().unwrap(), "-o", "json", "once"]).await.exits(0).json();
    assert_eq!(beat["cells"]["web"]["phase"], "up_to_date");
    assert_eq!(page(&place, "n1", "web").as_deref(), Some("r1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_without_a_yes_or_under_a_guard_that_does_not_hold() {
    let place = place_with(&["n1/web"]).await;
    let ran = place.fleetman(&["publish", "n1/web"]).await.exits(2);
    assert!(ran.err.contains("-y") && ran.err.contains("publish to n1/web"), "{}", ran.err);
    for verb in ["redeploy", "rollback", "stop", "remove", "resume"] {
        place.fleetman(&[verb, "n1/web"]).await.exits(2);
    }
    place.fleetman(&["delete", "manifest", "site"]).await.exits(2);
    let error =
        place.fleetman(&["-o", "json", "publish", "n1/web", "-y", "--if-generation", "5"]).await.exits(3).error();
    assert_eq!(error["code"], "guard");
    let other = "0".repeat(64);
    place.fleetman(&["publish", "n1/web", "-y", "--expect", &other]).await.exits(3);
    place.fleetman(&["history", "n1/web"]).await.exits(4);
    place.fleetman(&["publish", "n1/web", "-y", "--if-generation", "0"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_cells_what_failed_is_named_and_the_same_command_does_the_rest() {
    let place = place_with(&["n1/web", "n2/web", "n3/web"]).await;
    place.fleetman(&["pause", "n2/web", "-y", "--reason", "not now"]).await.exits(0);
    let ran = place.fleetman(&["publish", "--all", "-y"]).await.exits(8);
    assert!(ran.err.contains("2 of 3 done") && ran.err.contains("not now"), "{}", ran.err);
    let failed: Vec<&str> = ran.out.lines().filter(|line| line.contains("failed")).collect();
    assert!(matches!(failed.as_slice(), [line] if line.starts_with("n2/web")), "{}", ran.out);

    place.fleetman(&["resume", "n2/web", "-y"]).await.exits(0);
    let results = place.fleetman(&["-o", "json", "publish", "--all", "-y"]).await.exits(0).json();
    let how: Vec<&str> = results.as_array().unwrap().iter().filter_map(|cell| cell["result"]["how"].as_str()).collect();
    assert_eq!(how, ["unchanged", "claimed", "unchanged"]);
    // One cell alone has its own code.
    place.fleetman(&["pause", "n2/web", "-y", "--reason", "again"]).await.exits(0);
    let code = place.fleetman(&["publish", "n2/web", "-y", "--deployment", "r9"]).await.code;
    assert!((3..=4).contains(&code), "{code}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_done_once_more_is_not_told_to_be_repeated() {
    let place = place_with(&["n1/web", "n2/web"]).await;
    place.fleetman(&["publish", "--all", "-y"]).await.exits(0);
    place.fleetman(&["pause", "n2/web", "-y", "--reason", "not now"]).await.exits(0);
    let ran = place.fleetman(&["redeploy", "--all", "-y"]).await.exits(8);
    assert!(ran.err.contains("1 of 2 done; do not repeat it for those, but for the rest alone: n2/web"), "{}", ran.err);
    let ran = place.fleetman(&["publish", "--all", "-y", "--retry"]).await.exits(8);
    assert!(ran.err.contains("the same command again does the rest"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_are_chosen_by_manifest_and_label() {
    let place = place_with(&["n1/web", "n2/web"]).await;
    place.write("other.yaml", "name: other\nprofile: {deploy: {}}\n---\ncell: n1/api\nmanifest: other\n");
    place.fleetman(&["apply", "-f", "other.yaml"]).await.exits(0);
    let asked = async |args: &[&str]| {
        let mut all = vec!["publish"];
        all.extend(args);
        // Without a yes it only says what it would do.
        let ran = place.fleetman(&all).await;
        let cells = ran.err.lines().filter_map(|line| line.strip_prefix("publish to ")).map(str::to_owned);
        (ran.code, cells.collect::<Vec<_>>())
    };
    assert_eq!(asked(&["--manifest", "site"]).await, (2, vec!["n1/web".to_owned(), "n2/web".to_owned()]));
    assert_eq!(asked(&["-l", "at=n2"]).await, (2, vec!["n2/web".to_owned()]));
    assert_eq!(asked(&["-l", "tier=front,at=n1"]).await, (2, vec!["n1/web".to_owned()]));
    assert_eq!(asked(&["--manifest", "other", "-l", "at=n1"]).await.0, 4);
    assert_eq!(asked(&["--all"]).await.1.len(), 3);
    assert_eq!(asked(&["n1/api", "n1/api"]).await.1, ["n1/api"]);
    let cells = place.fleetman(&["-o", "json", "get", "cells", "-m", "other"]).await.exits(0).json();
    assert_eq!(cells[0]["name"], "n1/api");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_in_time_and_ctrl_c_detaches() {
    let place = place_with(&["n1/web"]).await;
    let ran = place.fleetman(&["publish", "n1/web", "-y", "--wait", "--timeout", "1s"]).await.exits(7);
    assert!(ran.out.contains("timed out"), "{}", ran.out);

    let mut child = place.start_fleetman(&["redeploy", "n1/web", "-y", "--wait"]);
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    // It can be interrupted once the trigger is there.
    wait_for(async || generations(&place).await == 2, "the redeploy's trigger").await;
    kill_process(pid, Signal::INT).unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    while let Some(line) = err.next_line().await.unwrap() {
        said.push_str(&line);
        said.push('\n');
    }
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains("fleetman status n1/web") || said.contains("does the rest"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_node_that_fails_or_goes_back_is_a_failure() {
    let mut place = place_with(&["n1/web"]).await;
    for (generation, phase, word) in [(1, "failed", "failed"), (2, "rolled_back", "rolled back")] {
        place.fleetman(&["publish", "n1/web", "-y", "--if-generation", &(generation - 1).to_string()]).await.exits(0);
        let at = format!(r#"{{"epoch":1,"generation":{generation}}}"#);
        let beat = format!(
            r#"{{"schema":"fleetman/heartbeat/1","node":"n1","fleet":"{FLEET}","agent_version":"9",
            "instance_id":"{FLEET}","sequence":1,"started_at":"2026-01-02T03:04:05Z",
            "reported_at":"2026-01-02T03:04:05Z","interval_secs":60,"signing":"signed","cells":{{"web":{{
            "phase":"{phase}","state":{{"state":"n/a"}},"seen":{at},"applied":{at},
            "last_error":{{"code":"disk_full","message":"no room","at":"2026-01-02T03:04:05Z"}}}}}}}}"#
        );
        let put = place.store().client().put_object().bucket(BUCKET).key("agents/n1.json");
        put.body(beat.into_bytes().into()).send().await.unwrap();
        let ran = place.fleetman(&["publish", "n1/web", "-y", "--wait"]).await.exits(8);
        assert!(ran.out.contains(word) && ran.out.contains("disk_full: no room"), "{}", ran.out);
        upload(&place, &format!("r{}", generation + 1)).await;
    }
}

async fn generations(place: &Workplace) -> usize {
    place.fleetman(&["-o", "json", "history", "n1/web"]).await.json().as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_of_the_bucket_never_reaches_a_terminal_s_controls() {
    let mut place = place_with(&["n1/web"]).await;
    let evil = "\\u001b[2J\\u009b31m\\u202e";
    let beat = format!(
        r#"{{"schema":"fleetman/heartbeat/1","node":"n1","fleet":"{FLEET}","agent_version":"9{evil}",
        "instance_id":"{FLEET}","sequence":1,"started_at":"2026-01-02T03:04:05Z","reported_at":"2026-01-02T03:04:05Z",
        "interval_secs":60,"signing":"signed","labels":{{"a{evil}":"b{evil}"}},
        "conditions":[{{"code":"io","message":"x{evil}"}}],
        "cells":{{"web":{{"phase":"failed","state":{{"state":"failed","reason":"{evil}"}},
        "last_error":{{"code":"io","message":"y{evil}","at":"2026-01-02T03:04:05Z"}}}}}}}}"#
    );
    let put = place.store().client().put_object().bucket(BUCKET).key("agents/n1.json").body(beat.into_bytes().into());
    put.send().await.unwrap();
    for args in [
        &["get", "nodes"][..],
        &["get", "cells"],
        &["status"],
        &["status", "n1/web"],
        &["describe", "node", "n1"],
        &["describe", "cell", "n1/web"],
    ] {
        let ran = place.fleetman(args).await.exits(0);
        for text in [&ran.out, &ran.err] {
            assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{args:?} {text:?}");
        }
    }
    let nodes = place.fleetman(&["-o", "json", "get", "nodes"]).await.exits(0).json();
    assert!(nodes[0]["agent_version"].as_str().unwrap().contains('\u{1b}'), "programs get what is there");
    place.fleetman(&["status", "--check"]).await.exits(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_signing_key_can_look_and_change_nothing() {
    let place = place_with(&["n1/web"]).await;
    let key = place.fleetman(&["init"]).await.exits(0).out;
    let key = key.lines().find_map(|line| line.trim().strip_prefix("- key: ")).unwrap().to_owned();
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    place.write(
        "looks.yaml",
        &config.replace("signing_key_file: signing.key", &format!("trusted_keys: [{{key: \"{key}\"}}]")),
    );
    place.fleetman(&["-c", "looks.yaml", "get", "cells"]).await.exits(0);
    place.fleetman(&["-c", "looks.yaml", "plan", "n1/web"]).await.exits(1);
    let error = place.fleetman(&["-c", "looks.yaml", "-o", "json", "publish", "n1/web", "-y"]).await.exits(2).error();
    assert_eq!(error["code"], "config_no_signing_key");
    assert!(Path::new(&place.path().join("signing.key")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_release_named_the_one_that_was_uploaded_last_is_published() {
    let place = place_with(&["n1/web"]).await;
    // In the same second, and before it by name.
    upload(&place, "a-later-one").await;
    place.fleetman(&["publish", "n1/web", "--as", "v1", "-y"]).await.exits(0);
    let version = place.fleetman(&["describe", "version", "n1/web", "v1"]).await.exits(0).out;
    assert!(version.contains("deployment: a-later-one"), "{version}");
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_says_what_it_would_do_and_a_pause_outlives_an_older_file() {
    let place = place_with(&["n1/web"]).await;
    assert_eq!(place.fleetman(&["gc", "--dry-run"]).await.exits(0).out, "Nothing to do.\n");
    place.fleetman(&["publish", "n1/web", "--as", "v1", "-y"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "--as", "v2", "-d", "r1", "-y"]).await;
    upload(&place, "r2").await;
    place.fleetman(&["publish", "n1/web", "--as", "v3", "-d", "r2", "-y"]).await.exits(0);
    place.fleetman(&["delete", "version", "n1/web", "v1", "-y"]).await.exits(0);
    let swept = place.fleetman(&["-o", "json", "gc"]).await.exits(0).json();
    assert!(swept["marked"][0]["version"].as_str().unwrap().contains("v1"), "{swept}");
    assert_eq!(swept["objects"], 0);

    place.fleetman(&["pause", "n1/web", "--reason", "frozen", "-y"]).await.exits(0);
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let refused = place.fleetman(&["publish", "n1/web", "-d", "r1", "-y"]).await.exits(3);
    assert!(refused.err.contains("frozen") || refused.out.contains("frozen"), "{refused:?}");
    place.fleetman(&["resume", "n1/web", "-y"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "-d", "r1", "-y"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_may_open_as_many_files_as_the_system_lets_it() {
    let place = place_with(&["n1/web"]).await;
    let config = place.agent_config("n1").await;
    let script = format!("ulimit -Sn 64; exec {} -c {} run", env!("CARGO_BIN_EXE_fleetagent"), config.display());
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", &script]).current_dir(place.path()).stderr(std::process::Stdio::null()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    wait_for(async || nodes(&place).await.contains(&"n1".to_owned()), "the agent's heartbeat").await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id().unwrap())).unwrap();
    let open = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|column| open.split_whitespace().nth(column).unwrap());
    assert_eq!(soft, hard, "{open}");
    assert_ne!(soft, "64");
    end(child).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_is_waited_for_unless_it_is_overridden_for_this_once() {
    let place = place_with(&["n1/web"]).await;
    place.write("site.yaml", &format!("{SITE}windows:\n  activate:\n    - {{deny: \"* * * * *\", for: 1h}}\n"));
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let child = agent(&place, "n1").await;
    place.fleetman(&["publish", "n1/web", "-y", "-w"]).await.exits(0);
    upload(&place, "r2").await;
    place.fleetman(&["publish", "n1/web", "-y"]).await.exits(0);
    let waits = async || cell(&place, "n1/web").await["waiting"]["reason"] == "window";
    wait_for(waits, "it to wait for its window").await;
    assert_eq!(page(&place, "n1", "web").as_deref(), Some("r1"));
    let told = "window: the activation windows of the version do not open within 400 days";
    let status = place.fleetman(&["get", "cells"]).await.exits(0).out;
    assert!(status.contains(told), "{status}");
    let status = place.fleetagent(&["-c", "n1.yaml", "status"]).await.exits(0).out;
    assert!(status.contains(told), "{status}");

    place.fleetman(&["redeploy", "n1/web", "--override-windows", "-y", "-w"]).await.exits(0);
    assert_eq!(page(&place, "n1", "web").as_deref(), Some("r2"));
    let audit = place.fleetman(&["-o", "json", "audit"]).await.exits(0).out;
    assert_eq!(audit.matches("with override_windows").count(), 1, "{audit}");
    end(child).await;
}
