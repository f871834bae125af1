//! Taking a node out of the fleet: with its agent, without it, and when it is interrupted.

use fleetman::controller::{ControllerError, Guard, LivenessLimits, StopRequest};
use fleetman::model::{NodeName, ObjectKey};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::process::Child;

use crate::support::cli::{Ran, Workplace};
use crate::support::fleet::{self, Bench};
use crate::support::{BUCKET, PATIENCE, wait_for};

const SITE: &str = "name: site\nprofile: {deploy: {}}\n";

/// A bucket with two cells on `n1` and one on `n2`, all published.
async fn place() -> Workplace {
    let place = Workplace::with_bucket().await;
    let cells = ["n1/web", "n1/api", "n2/web"].map(|cell| format!("---\ncell: {cell}\nmanifest: site\n"));
    place.write("site.yaml", &format!("{SITE}{}", cells.concat()));
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.write("r1/index.html", "r1");
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "--all", "-d", "r1", "--as", "r1", "-y"]).await.exits(0);
    place
}

async fn once(place: &Workplace, node: &str) {
    let config = place.path().join(format!("{node}.yaml"));
    if !config.exists() {
        place.agent_config(node).await;
    }
    place.fleetagent(&["-c", config.to_str().unwrap(), "once"]).await.exits(0);
}

async fn rm(place: &Workplace, more: &[&str]) -> Ran {
    place.fleetman(&[&["node", "rm", "n1", "-y"], more].concat()).await
}

/// Every key that speaks of `n1`, without those of versions and logs.
async fn keys(place: &mut Workplace) -> Vec<String> {
    let listed = place.store().client().list_objects_v2().bucket(BUCKET).send().await.unwrap();
    let keys = listed.contents().iter().map(|object| object.key().unwrap().to_owned());
    keys.filter(|key| key.contains("n1") && !key.contains("/versions/") && !key.starts_with("logs/")).collect()
}

fn deployed(place: &Workplace, cell: &str) -> bool {
    place.path().join(format!("n1-cells/{cell}/index.html")).exists()
}

async fn kill(mut child: Child) {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_up_removes_its_cells_and_is_forgotten_but_for_its_triggers() {
    let mut place = place().await;
    let config = place.agent_config("n1").await;
    let agent = place.run_agent(&config);
    wait_for(async || deployed(&place, "web") && deployed(&place, "api"), "n1 to deploy").await;
    wait_for(async || keys(&mut place).await.contains(&"agents/n1.json".to_owned()), "n1 to report").await;

    let ran = place.fleetman(&["-o", "json", "node", "rm", "n1", "-y", "--reason", "sold"]).await.exits(0);
    let told = ran.json();
    assert_eq!(told.as_array().unwrap().len(), 2, "{told}");
    assert!(told.as_array().unwrap().iter().all(|cell| cell["result"]["followed"]["how"] == "applied"), "{told}");
    for said in ["remove n1/api", "delete the index and the heartbeat of n1", "n1 is out of the fleet", "mc admin user"]
    {
        assert!(ran.err.contains(said), "{said}: {}", ran.err);
    }
    assert!(!deployed(&place, "web") && !deployed(&place, "api"));
    kill(agent).await;
    // The agent may have reported once more meanwhile.
    rm(&place, &[]).await.exits(0);
    let history = |cell: &str| [1, 2].map(|at| format!("cells/n1/{cell}/history/0001-{at:016}.json"));
    let of_cell = |cell: &str| {
        [
            vec![format!("cells/n1/{cell}/cell.yaml")],
            history(cell).into(),
            vec![format!("cells/n1/{cell}/trigger.json")],
        ]
        .concat()
    };
    assert_eq!(keys(&mut place).await, [of_cell("api"), of_cell("web")].concat());
    let nodes = place.fleetman(&["-o", "json", "get", "nodes"]).await.exits(0).json();
    assert_eq!(nodes.as_array().unwrap().len(), 1, "{nodes}");
    let again = rm(&place, &[]).await.exits(0);
    assert!(again.err.contains("was out of the fleet already"), "{}", again.err);

    // What is left of a cell can go as well, and brings no index back.
    place.fleetman(&["delete", "cell", "n1/api", "-y"]).await.exits(0);
    place.fleetman(&["remove", "n1/web", "-y"]).await.exits(0);
    assert!(!keys(&mut place).await.contains(&"index/n1.json".to_owned()));
    // A node of this name comes back where its generations left off.
    place.fleetman(&["publish", "n1/web", "-d", "r1", "--as", "r1", "-y"]).await.exits(0);
    once(&place, "n1").await;
    assert!(deployed(&place, "web"));
    let history = place.fleetman(&["-o", "json", "history", "n1/web"]).await.exits(0).json();
    assert_eq!(history[0]["trigger"]["generation"], 3, "{history}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_heard_of_is_not_waited_for_unless_it_is_forced() {
    let mut place = place().await;
    let before = keys(&mut place).await;
    let error = place.fleetman(&["-o", "json", "node", "rm", "n1", "-y"]).await.exits(3).error();
    assert_eq!(error["code"], "node_not_heard", "{error}");
    assert!(error["help"].as_str().unwrap().contains("--force"), "{error}");
    assert_eq!(keys(&mut place).await, before, "nothing was done");
    // Nobody is there to answer.
    place.fleetman(&["node", "rm", "n1", "--force"]).await.exits(2);
    assert_eq!(keys(&mut place).await, before);

    let ran = rm(&place, &["--force", "--purge-data"]).await.exits(0);
    assert!(ran.err.contains("What runs on n1 goes on until"), "{}", ran.err);
    assert!(!keys(&mut place).await.contains(&"index/n1.json".to_owned()));
    let history = place.fleetman(&["-o", "json", "history", "n1/web"]).await.exits(0).json();
    assert_eq!(history[0]["trigger"]["action"], "remove", "{history}");
    // Forced once more it has nothing left to issue, and the data is still to go.
    rm(&place, &["--force"]).await.exits(0);
    let again = place.fleetman(&["-o", "json", "history", "n1/web"]).await.exits(0).json();
    assert_eq!(again.as_array().unwrap().len(), 2, "{again}");
    rm(&place, &["--force", "--timeout", "1s"]).await.exits(2);
    place.fleetman(&["node", "rm", "n3", "-y"]).await.exits(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_takes_too_long_stays_and_the_same_command_goes_on() {
    let mut place = place().await;
    once(&place, "n1").await;
    let ran = rm(&place, &["--timeout", "1s"]).await.exits(7);
    assert!(ran.err.contains("the same command again goes on"), "{}", ran.err);
    assert!(keys(&mut place).await.contains(&"index/n1.json".to_owned()));
    once(&place, "n1").await;
    // Nothing is issued twice, and what is confirmed needs no agent.
    let ran = rm(&place, &[]).await.exits(0);
    assert!(!ran.err.contains("remove n1/web"), "{}", ran.err);
    let left = keys(&mut place).await;
    assert!(left.iter().all(|key| key.starts_with("cells/")), "{left:?}");
    assert_eq!(left.iter().filter(|key| key.starts_with("cells/n1/web/history/")).count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_cell_is_not_removed_with_its_node() {
    let mut place = place().await;
    once(&place, "n1").await;
    place.fleetman(&["pause", "n1/web", "--reason", "inventory", "-y"]).await.exits(0);
    let before = keys(&mut place).await;
    for more in [&[][..], &["--force"]] {
        let args = [&["-o", "json", "node", "rm", "n1", "-y"], more].concat();
        let error = place.fleetman(&args).await.exits(3).error();
        assert_eq!(error["code"], "paused", "{error}");
        assert!(error["message"].as_str().unwrap().contains("inventory"), "{error}");
    }
    assert_eq!(keys(&mut place).await, before);
    // By name it may be removed, and is then in nobody's way.
    place.fleetman(&["remove", "n1/web", "-y"]).await.exits(0);
    place.fleetman(&["remove", "n1/api", "-y"]).await.exits(0);
    once(&place, "n1").await;
    rm(&place, &[]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_agents_of_one_name_are_not_taken_at_their_word() {
    let mut place = place().await;
    once(&place, "n1").await;
    let client = place.store().client();
    let got = client.get_object().bucket(BUCKET).key("agents/n1.json").send().await.unwrap();
    let mut beat: Value = serde_json::from_slice(&got.body.collect().await.unwrap().into_bytes()).unwrap();
    beat["conditions"] = json!([{"code": "duplicate_node", "message": "another agent reports as n1"}]);
    beat["cells"]["stray"] = beat["cells"]["web"].clone();
    let put = client.put_object().bucket(BUCKET).key("agents/n1.json").body(beat.to_string().into_bytes().into());
    put.send().await.unwrap();
    let error = place.fleetman(&["-o", "json", "node", "rm", "n1", "-y"]).await.exits(3).error();
    assert_eq!(error["code"], "duplicate_node", "{error}");
    let ran = rm(&place, &["--force"]).await.exits(0);
    assert!(ran.err.contains("n1/stray is on the node, but no trigger speaks of it"), "{}", ran.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_waiting_goes_on_with_the_same_command() {
    let mut place = place().await;
    once(&place, "n1").await;
    let waiting = place.start_fleetman(&["node", "rm", "n1", "-y"]);
    let history = |cell: &str| format!("cells/n1/{cell}/history/0001-0000000000000002.json");
    let wanted = ["web", "api"].map(history);
    let issued = async || {
        let keys = keys(&mut place).await;
        wanted.iter().all(|key| keys.contains(key))
    };
    wait_for(issued, "the removals to be issued").await;
    let pid = Pid::from_raw(i32::try_from(waiting.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ended = tokio::time::timeout(PATIENCE, waiting.wait_with_output()).await.unwrap().unwrap();
    let ended = Ran::from(ended).exits(130);
    assert!(ended.err.contains("the same command again"), "{}", ended.err);
    assert!(keys(&mut place).await.contains(&"index/n1.json".to_owned()));
    once(&place, "n1").await;
    rm(&place, &[]).await.exits(0);
    assert!(keys(&mut place).await.iter().all(|key| key.starts_with("cells/")));
}

/// Removes the only cell of `n1` and forgets the node, as the command does once the node has confirmed it.
async fn take_out(bench: &Bench) -> Result<(), ControllerError> {
    let controller = bench.controller().await;
    let request = StopRequest { cell: fleet::cell(), reason: None };
    controller.remove(&request, false, &Guard::default()).await?;
    controller.clear_node(&NodeName::new("n1").unwrap()).await.map(|_| ())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_killed_at_any_write_is_finished_by_the_same_one() {
    let mut killed = 0;
    for writes in 0.. {
        let bench = Bench::start().await;
        bench.publish("1", "hello").await;
        bench.overwrite("agents/n1.json", "{}").await;
        bench.proxy.stop_after_writes(writes);
        let ended = take_out(&bench).await;
        bench.proxy.heal();
        let (index, beat) = (bench.read("index/n1.json").await, bench.read("agents/n1.json").await);
        assert!(index.is_some() || bench.history().await.len() == 2, "{writes}: the index went before the removal");
        assert!(beat.is_some() || index.is_none(), "{writes}: the heartbeat went before the index");
        killed += usize::from(ended.is_err());
        take_out(&bench).await.unwrap();
        assert_eq!((bench.read("index/n1.json").await, bench.read("agents/n1.json").await), (None, None), "{writes}");
        let history = bench.history().await;
        assert_eq!(history.len(), 2, "{writes}: it was issued once");
        let trigger = bench.read(&ObjectKey::Trigger(fleet::cell()).relative()).await.unwrap();
        assert_eq!(history[1].document(), trigger);
        let node = NodeName::new("n1").unwrap();
        let state = bench.controller().await.node_state(&node, LivenessLimits::default()).await.unwrap();
        assert!(state.cells.len() == 1 && state.cells[0].is_removed() && !state.has_index && !state.has_heartbeat);
        if ended.is_ok() && bench.outcomes("node-rm").await.len() == 2 {
            break;
        }
    }
    assert!(killed >= 7, "{killed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_is_published_meanwhile_keeps_its_node_and_its_place_in_the_index() {
    let bench = Bench::start().await;
    let node = NodeName::new("n1").unwrap();
    bench.publish("1", "hello").await;
    let controller = bench.controller().await;
    let refused = controller.clear_node(&node).await.unwrap_err();
    assert!(matches!(refused, ControllerError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains("n1/web"), "{refused}");
    bench.check().await;
    // As if the index had been deleted between somebody's claim and now.
    bench.delete("index/n1.json").await;
    controller.clear_node(&node).await.unwrap_err();
    let index = bench.read("index/n1.json").await.expect("a new index");
    assert!(String::from_utf8(index).unwrap().contains("\"web\""));
}
