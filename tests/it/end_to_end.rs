//! Both programs as processes of their own, over the embedded store and over Garage, while things die.

use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::Child;

use crate::support::cli::Workplace;
use crate::support::garage::Garage;
use crate::support::proxy::{Fault, FaultProxy, On, Rule};
use crate::support::serving::Serving;
use crate::support::{Store, wait_for};

const SITE: &str = "name: site\nprofile: {deploy: {}}\nfiles: [{path: page, template: true}, {glob: '**'}]\n";

/// An operator's folder with manifest `site` and its cells on these nodes.
async fn place_over(endpoint: &str, nodes: &[&str]) -> Workplace {
    let place = Workplace::over(endpoint).await;
    let cells: Vec<String> = nodes.iter().map(|node| format!("---\ncell: {node}/web\nmanifest: site\n")).collect();
    place.write("site.yaml", &format!("{SITE}{}", cells.concat()));
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place
}

/// Uploads a release whose page says the node's name and the release's.
async fn upload(place: &Workplace, name: &str) {
    place.write(&format!("{name}/page"), &format!("{{{{ node }}}} {name}"));
    place.write(&format!("{name}/same.bin"), &"the same in each release".repeat(1000));
    place.fleetman(&["upload", "site", name, "--as", name]).await.exits(0);
}

async fn publish(place: &Workplace, name: &str) {
    upload(place, name).await;
    place.fleetman(&["publish", "--all", "-d", name, "--as", name, "-y"]).await.exits(0);
}

fn deployed(place: &Workplace, node: &str) -> Option<String> {
    std::fs::read_to_string(place.path().join(format!("{node}-cells/web/page"))).ok()
}

async fn wait_deployed(place: &Workplace, node: &str, release: &str) {
    let page = format!("{node} {release}");
    wait_for(async || deployed(place, node).as_deref() == Some(&page), &format!("{node} to run {release}")).await;
}

async fn start_agent(place: &Workplace, node: &str) -> Child {
    let config = place.path().join(format!("{node}.yaml"));
    if !config.exists() {
        place.agent_config(node).await;
    }
    place.run_agent(&config)
}

async fn kill(child: &mut Child) {
    child.start_kill().unwrap();
    child.wait().await.unwrap();
}

async fn history(place: &Workplace, cell: &str) -> Vec<Value> {
    let history = place.fleetman(&["-o", "json", "history", cell]).await.exits(0).json();
    history.as_array().unwrap().clone()
}

/// Everything that an operator does with a cell, with nothing running but the store and the agents.
async fn live_a_whole_life(endpoint: &str) {
    let place = place_over(endpoint, &["n1", "n2"]).await;
    publish(&place, "r1").await;
    let mut agents = [start_agent(&place, "n1").await, start_agent(&place, "n2").await];
    for node in ["n1", "n2"] {
        wait_deployed(&place, node, "r1").await;
    }
    upload(&place, "r2").await;
    place.fleetman(&["publish", "--all", "-d", "r2", "--as", "r2", "-y", "--wait"]).await.exits(0);
    assert_eq!(deployed(&place, "n2").as_deref(), Some("n2 r2"));

    place.fleetman(&["redeploy", "n1/web", "-y", "--wait"]).await.exits(0);
    place.fleetman(&["rollback", "n1/web", "-y", "--wait"]).await.exits(0);
    assert_eq!(deployed(&place, "n1").as_deref(), Some("n1 r1"));
    assert_eq!(deployed(&place, "n2").as_deref(), Some("n2 r2"), "another cell is left alone");
    let told: Vec<String> =
        history(&place, "n1/web").await.iter().map(|entry| entry["outcome"]["outcome"].to_string()).collect();
    assert_eq!(told, ["\"succeeded\""; 4]);

    place.fleetman(&["stop", "n1/web", "-y", "--wait"]).await.exits(0);
    assert_eq!(deployed(&place, "n1").as_deref(), Some("n1 r1"), "stop keeps the files");
    place.fleetman(&["redeploy", "n1/web", "-y", "--wait"]).await.exits(0);
    place.fleetman(&["remove", "n1/web", "-y", "--wait"]).await.exits(0);
    assert_eq!(deployed(&place, "n1"), None);
    let data = |node: &str| place.path().join(format!("{node}-state/data/web"));
    assert!(data("n1").is_dir(), "remove keeps the data");
    place.fleetman(&["remove", "n2/web", "-y", "--wait", "--purge-data"]).await.exits(0);
    assert!(!data("n2").exists());
    for agent in &mut agents {
        let pid = Pid::from_raw(i32::try_from(agent.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        assert!(agent.wait().await.unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_lives_and_goes_on_the_embedded_store() {
    let store = Store::start().await;
    live_a_whole_life(&store.endpoint()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_lives_and_goes_on_garage() {
    let Some(garage) = Garage::start().await else { return };
    live_a_whole_life(&garage.endpoint()).await;
}

/// How often the agent found the bucket gone.
fn backed_off(place: &Workplace, node: &str) -> usize {
    let log = std::fs::read_to_string(place.path().join(format!("{node}.log"))).unwrap_or_default();
    log.lines().filter(|line| line.contains("the bucket cannot be read") && line.contains("unreachable")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_dies_loses_nothing_and_the_agent_converges_after() {
    let mut store = Store::start().await;
    let place = place_over(&store.endpoint(), &["n1"]).await;
    publish(&place, "r1").await;
    let _agent = start_agent(&place, "n1").await;
    wait_deployed(&place, "n1", "r1").await;
    publish(&place, "r2").await;
    store.stop().await;
    wait_for(async || backed_off(&place, "n1") >= 3, "the agent to back off three times").await;
    assert!(deployed(&place, "n1").is_some(), "what runs goes on");
    let status = place.fleetagent(&["-c", "n1.yaml", "-o", "json", "status"]).await.exits(0);
    assert!(status.out.contains("unreachable"), "{}", status.out);
    store.restart().await;
    wait_deployed(&place, "n1", "r2").await;
    publish(&place, "r3").await;
    wait_deployed(&place, "n1", "r3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garage_takes_twenty_publishes_while_serve_is_up() {
    let Some(garage) = Garage::start().await else { return };
    let place = place_over(&garage.endpoint(), &["n1"]).await;
    let _serve = place.start_fleetman(&["serve", "--listen", "127.0.0.1:0"]);
    let _agent = start_agent(&place, "n1").await;
    for round in 1..=20 {
        publish(&place, &format!("r{round}")).await;
    }
    wait_deployed(&place, "n1", "r20").await;
    let history = history(&place, "n1/web").await;
    assert_eq!(history[0]["trigger"]["generation"], 20, "{:?}", history[0]);
    assert_eq!(history.len(), 20);
}

/// Two command lines publish one cell at the same time: one is told that it lost, and to whom.
async fn race(endpoint: &str) {
    let place = place_over(endpoint, &["n1"]).await;
    publish(&place, "r0").await;
    upload(&place, "r1").await;
    upload(&place, "r2").await;
    let mut losers = 0;
    for round in 0..5 {
        let generation = history(&place, "n1/web").await[0]["trigger"]["generation"].to_string();
        let one = [format!("one-{round}"), generation.clone()];
        let other = [format!("other-{round}"), generation];
        let publish = async |release: &str, [version, generation]: &[String; 2]| {
            #[rustfmt::skip]
            let args = [
                "-o", "json", "publish", "n1/web", "-d", release, "--as", version, "-y", "--if-generation", generation,
            ];
            place.fleetman(&args).await
        };
        let (one, other) = tokio::join!(publish("r1", &one), publish("r2", &other));
        let (winner, loser) = if one.code == 0 { (one, other) } else { (other, one) };
        assert_eq!(winner.code, 0, "{winner:?} {loser:?}");
        assert_ne!(loser.code, 0, "both won: {winner:?} {loser:?}");
        let told = format!("{}{}", loser.out, loser.err);
        assert!(told.contains("tester"), "the winner is named: {told}");
        losers += 1;
    }
    assert_eq!(history(&place, "n1/web").await.len(), 1 + losers, "one generation a round");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_publish_one_cell_at_once_one_is_told_who_won() {
    let store = Store::start().await;
    race(&store.endpoint()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_publish_one_cell_at_once_on_garage_one_is_told_who_won() {
    let Some(garage) = Garage::start().await else { return };
    race(&garage.endpoint()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_that_is_killed_at_any_write_is_finished_by_the_same_command_once() {
    let store = Store::start().await;
    let proxy = FaultProxy::start(&store.endpoint()).await;
    let place = place_over(&proxy.endpoint(), &["n1"]).await;
    publish(&place, "r0").await;
    let mut generation = 1;
    for writes in 0.. {
        let name = format!("r{}", writes + 1);
        upload(&place, &name).await;
        let args = ["publish", "n1/web", "-d", &name, "--as", &name, "-y"];
        // So many writes come through; the next one is held until its sender is dead.
        let before = proxy.count(On::write("*"));
        proxy.inject(Rule::new(On::write("*"), Fault::Stall).skip(writes));
        let mut child = place.start_fleetman(&args);
        let mut ended = None;
        wait_for(
            async || {
                ended = child.try_wait().unwrap();
                ended.is_some() || proxy.count(On::write("*")) > before + writes
            },
            "the publish to end or to be held",
        )
        .await;
        kill(&mut child).await;
        proxy.heal();
        place.fleetman(&args).await.exits(0);
        generation += 1;
        let history = history(&place, "n1/web").await;
        assert_eq!(history[0]["trigger"]["generation"], generation, "killed after {writes} writes");
        assert_eq!(history.len(), generation, "killed after {writes} writes");
        if ended.is_some() {
            assert!(writes > 5, "a publish has more writes than {writes}");
            return;
        }
    }
}

/// The names below a folder, to see that something happened in it.
fn names(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_again_and_again_shows_whole_versions_and_converges() {
    let store = Store::start().await;
    let place = place_over(&store.endpoint(), &["n1"]).await;
    publish(&place, "r0").await;
    let mut agent = start_agent(&place, "n1").await;
    wait_deployed(&place, "n1", "r0").await;
    for round in 1..=12 {
        let name = format!("r{round}");
        publish(&place, &name).await;
        // Killed at the first, second, third … change of its folders after the publish.
        let target = format!("n1 {name}");
        for _ in 0..round {
            let before = names(place.path().join("n1-cells").as_path());
            let state = names(place.path().join("n1-state").as_path());
            wait_for(
                async || {
                    deployed(&place, "n1").as_deref() == Some(&target)
                        || names(place.path().join("n1-cells").as_path()) != before
                        || names(place.path().join("n1-state").as_path()) != state
                },
                "the agent to do something",
            )
            .await;
        }
        kill(&mut agent).await;
        let shown = deployed(&place, "n1").expect("there is always a page");
        assert!(shown == target || shown == format!("n1 r{}", round - 1), "{shown}");
        agent = start_agent(&place, "n1").await;
        wait_deployed(&place, "n1", &name).await;
    }
    wait_for(
        async || history(&place, "n1/web").await[0]["outcome"]["outcome"] == "succeeded",
        "the last outcome to be told",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_answers_while_commands_work_beside_it() {
    let store = Store::start().await;
    let place = place_over(&store.endpoint(), &["n1"]).await;
    publish(&place, "r1").await;
    let serving = Serving::start(&place).await;
    let shows = async |version: &str| serving.get("/api/v1/cells").await.text().contains(version);
    wait_for(async || shows("\"r1\"").await, "serve to show r1").await;
    publish(&place, "r2").await;
    wait_for(async || shows("\"r2\"").await, "serve to show r2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_manifests_are_deployed_as_far_as_agents_can_run_them() {
    let store = Store::start().await;
    let place = Workplace::over(&store.endpoint()).await;
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/examples");
    let mut args = vec!["apply".to_owned()];
    for example in std::fs::read_dir(examples).unwrap() {
        args.extend(["-f".to_owned(), example.unwrap().path().display().to_string()]);
    }
    for cell in ["folder", "bot", "worker"] {
        let file = place.write(&format!("{cell}.yaml"), &format!("cell: n1/{cell}\nmanifest: {cell}\n"));
        args.extend(["-f".to_owned(), file.display().to_string()]);
    }
    place.fleetman(&args.iter().map(String::as_str).collect::<Vec<_>>()).await.exits(0);
    for (manifest, files) in [
        ("folder", &[("a.txt", "a")][..]),
        ("site", &[("index.html", "{{ vars.title }}, {{ vars.contact }}"), ("drafts/x", "x"), ("css/a.map", "x")]),
        ("api", &[("bin/api", "x"), ("etc/api.toml", "port = {{ vars.port }}"), ("public/a/b.html", "x")]),
        ("shop", &[("bin/shop", "x"), ("bin/migrate", "x"), ("migrations/1.sql", "x")]),
        ("bot", &[("bot.py", "x")]),
        ("worker", &[("bin/worker", "x"), ("lib/x", "x")]),
    ] {
        for (name, text) in files {
            place.write(&format!("release-{manifest}/{name}"), text);
        }
        place.fleetman(&["upload", manifest, &format!("release-{manifest}"), "--as", "1"]).await.exits(0);
    }
    place.fleetman(&["publish", "--all", "--as", "1", "-y"]).await.exits(0);
    let _agents = [start_agent(&place, "n1").await, start_agent(&place, "n2").await, start_agent(&place, "n3").await];

    let page = |path: &str| std::fs::read_to_string(place.path().join("n1-cells").join(path)).ok();
    wait_for(async || page("folder/a.txt").as_deref() == Some("a"), "the folder").await;
    wait_for(async || page("site/index.html").is_some(), "the site").await;
    assert_eq!(page("site/index.html").unwrap(), "Welcome, hello@example.com");
    assert_eq!((page("site/drafts/x"), page("site/css/a.map")), (None, None), "what is excluded does not travel");
    for cell in ["n1/bot", "n1/worker", "n2/api", "n3/shop"] {
        let waits = async || {
            let cells = place.fleetman(&["-o", "json", "get", "cells"]).await.exits(0).json();
            let cell = cells.as_array().unwrap().iter().find(|entry| entry["name"] == cell).cloned().unwrap();
            cell["phase"] == "waiting" && cell["waiting"]["reason"] == "profile_unavailable"
        };
        wait_for(waits, &format!("{cell} to wait for a profile")).await;
    }
}
