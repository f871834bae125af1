//! What an agent remembers, what it believes of itself where it does not, and who else bears its name.

use std::collections::BTreeMap;

use fleetman::agent::{AgentError, read_status};
use fleetman::model::document;
use fleetman::model::heartbeat::{Heartbeat, Phase};
use fleetman::model::trigger::{Action, TriggerOptions};
use fleetman::model::{Code, Generation, ObjectKey};
use uuid::Uuid;

use crate::support::node::{Bench, ONE, TWO, files, of};
use crate::support::proxy::{Fault, On, Rule};

fn foreign_heartbeat(bench: &Bench) -> Heartbeat {
    Heartbeat {
        node: bench.node.clone(),
        fleet: bench.fleet,
        instance_id: Uuid::from_u128(99),
        sequence: 1,
        cells: BTreeMap::new(),
        ..document::parse(include_bytes!("../golden/heartbeat.json")).unwrap()
    }
}

#[tokio::test]
async fn a_second_agent_under_the_same_name_holds_deployments_and_stops_nothing() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    let foreign = document::render(&foreign_heartbeat(&bench));
    let key = ObjectKey::Heartbeat(bench.node.clone());

    // The first may be a leftover of an earlier life, the second a write that was late.
    let mut agent = bench.agent().await;
    for _ in 0..2 {
        bench.put(&key, foreign.clone()).await;
        assert_eq!(agent.poll_once().await.unwrap().conditions, []);
    }
    bench.put(&key, foreign.clone()).await;
    let heartbeat = agent.poll_once().await.unwrap();
    assert_eq!(heartbeat.conditions[0].code, Code::DuplicateNode);
    assert_eq!(of(&heartbeat, "web").phase, Phase::UpToDate);

    bench.publish("web", "2.0", TWO).await;
    bench.put(&key, foreign.clone()).await;
    let report = of(&agent.poll_once().await.unwrap(), "web");
    assert_eq!((report.phase, report.seen.unwrap().generation.get()), (Phase::Held, 2));
    assert_eq!(bench.deployed("web"), files(ONE));

    // The other one is gone.
    for _ in 0..3 {
        agent.poll_once().await.unwrap();
    }
    let heartbeat = agent.poll_once().await.unwrap();
    assert_eq!((heartbeat.conditions.len(), of(&heartbeat, "web").phase), (0, Phase::UpToDate));
    assert_eq!(bench.deployed("web"), files(TWO));
    agent.close().await;
}

#[tokio::test]
async fn a_clone_of_the_node_is_found_out_although_it_has_the_same_instance_id() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    let mut agent = bench.agent().await;
    let own = agent.poll_once().await.unwrap();
    let clone = Heartbeat { instance_id: own.instance_id, ..foreign_heartbeat(&bench) };
    for expected in [0, 1] {
        bench.put(&ObjectKey::Heartbeat(bench.node.clone()), document::render(&clone)).await;
        assert_eq!(agent.poll_once().await.unwrap().conditions.len(), expected);
    }
    agent.close().await;
}

#[tokio::test]
async fn without_state_the_floor_comes_from_the_bucket_and_the_release_on_the_node_is_taken_over() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    let old = bench.get(&ObjectKey::Trigger(bench.cell_id("web"))).await.unwrap();
    bench.publish("web", "2.0", TWO).await;
    let before = bench.once().await;
    std::fs::remove_dir_all(bench.state_folder()).unwrap();

    bench.proxy.clear_log();
    let heartbeat = bench.once().await;
    assert_ne!(heartbeat.instance_id, before.instance_id);
    assert_eq!(heartbeat.conditions[0].code, Code::FloorRebuilt);
    assert_eq!(of(&heartbeat, "web").phase, Phase::UpToDate);
    assert_eq!(bench.proxy.count(On::get("*/files/*")), 0, "what is there whole is not fetched again");

    // An attacker puts everything back to version 1.0 and wipes the node: its own heartbeat remembers better.
    std::fs::remove_dir_all(bench.state_folder()).unwrap();
    bench.put(&ObjectKey::Trigger(bench.cell_id("web")), old.clone()).await;
    bench.place_index("web", &old).await;
    for key in bench.keys("cells/n1/web/history/").await {
        bench.delete(&ObjectKey::parse(&key).unwrap()).await;
    }
    let report = bench.once_for("web").await;
    assert_eq!(report.seen.unwrap().generation.get(), 2);
    assert_eq!(bench.deployed("web"), files(TWO));
    assert!(report.applied.is_none(), "{report:#?}");
}

#[tokio::test]
async fn a_floor_that_cannot_be_is_not_believed() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    let text = String::from_utf8(bench.get(&ObjectKey::Heartbeat(bench.node.clone())).await.unwrap()).unwrap();
    for (true_one, false_one) in
        [("\"generation\": 1", "\"generation\": 9007199254740991"), ("\"epoch\": 1", "\"epoch\": 2")]
    {
        let forged = text.replace(true_one, false_one);
        assert_ne!(forged, text);
        bench.put(&ObjectKey::Heartbeat(bench.node.clone()), forged).await;
        std::fs::remove_dir_all(bench.state_folder()).unwrap();
        let heartbeat = bench.once().await;
        let codes: Vec<Code> = heartbeat.conditions.iter().map(|condition| condition.code).collect();
        assert_eq!(codes, [Code::FloorRebuilt, Code::FloorImplausible], "{false_one}");
        assert_eq!(of(&heartbeat, "web").phase, Phase::UpToDate);
    }
}

#[tokio::test]
async fn without_state_nothing_is_obeyed_until_all_floors_could_be_read() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    let before = document::render(&foreign_heartbeat(&bench));
    let key = ObjectKey::Heartbeat(bench.node.clone());
    bench.put(&key, before.clone()).await;
    bench.proxy.inject(Rule::new(On::get("*/agents/*"), Fault::status(403)));
    bench.proxy.inject(Rule::new(On::list("*/agents/*"), Fault::status(403)));
    let mut agent = bench.agent().await;
    for _ in 0..2 {
        assert!(matches!(agent.poll_once().await, Err(AgentError::Store(_))));
        assert_eq!(bench.deployed("web"), None);
    }
    assert_eq!(bench.get(&key).await.unwrap(), before, "what may tell of floors is not overwritten");
    bench.proxy.heal();
    assert_eq!(of(&agent.poll_once().await.unwrap(), "web").phase, Phase::UpToDate);
    agent.close().await;
}

#[tokio::test]
async fn removed_cells_keep_their_floor() {
    let mut bench = Bench::start().await;
    let target = bench.publish("web", "1.0", ONE).await;
    bench.ask("web", Action::Remove).await;
    bench.once().await;
    let old = bench.unsigned("web", Action::Deploy(target), TriggerOptions::default(), Generation::FIRST);
    bench.place(&bench.sign(old)).await;
    let report = bench.once_for("web").await;
    assert_eq!((report.phase, report.seen.unwrap().generation.get()), (Phase::Removed, 2));
    assert_eq!(bench.deployed("web"), None);
}

/// Every trigger of `web` in the bucket put back to what `old` says.
async fn put_back(bench: &Bench, old: &[u8]) {
    bench.put(&ObjectKey::Trigger(bench.cell_id("web")), old).await;
    bench.place_index("web", old).await;
    for key in bench.keys("cells/n1/web/history/").await {
        bench.delete(&ObjectKey::parse(&key).unwrap()).await;
    }
}

#[tokio::test]
async fn without_state_the_highest_trigger_is_obeyed_alone_wherever_it_stands() {
    let mut bench = Bench::start().await;
    let target = bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    let remove = bench.trigger("web", Action::Remove);
    bench.place(&remove).await;
    bench.ask("web", Action::Deploy(target)).await;
    // The index still says remove; nobody remembers but trigger and history.
    bench.place_index("web", remove.document()).await;
    bench.delete(&ObjectKey::Heartbeat(bench.node.clone())).await;
    std::fs::remove_dir_all(bench.state_folder()).unwrap();
    let report = bench.once_for("web").await;
    assert_eq!((report.seen.unwrap().generation.get(), report.seen), (3, report.applied));
    let told: Vec<u64> = bench.outcomes("web").await.iter().map(|outcome| outcome.at.generation.get()).collect();
    assert_eq!(told, [1, 3], "the removal was not even begun");
}

#[tokio::test]
async fn a_start_that_could_not_read_the_floors_does_not_make_up_for_them() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    let old = bench.get(&ObjectKey::Trigger(bench.cell_id("web"))).await.unwrap();
    bench.publish("web", "2.0", TWO).await;
    bench.once().await;
    std::fs::remove_dir_all(bench.state_folder()).unwrap();
    put_back(&bench, &old).await;
    bench.proxy.inject(Rule::new(On::any(), Fault::LoseRequest));
    let mut agent = bench.agent().await;
    agent.poll_once().await.unwrap_err();
    agent.close().await;
    bench.proxy.heal();
    let heartbeat = bench.once().await;
    assert_eq!(heartbeat.conditions[0].code, Code::FloorRebuilt);
    assert_eq!(of(&heartbeat, "web").seen.unwrap().generation.get(), 2);
    assert_eq!(bench.deployed("web"), files(TWO));
}

#[tokio::test]
async fn a_state_that_was_restored_from_a_backup_takes_its_floor_from_its_last_heartbeat() {
    let mut bench = Bench::start().await;
    bench.publish("web", "1.0", ONE).await;
    bench.once().await;
    let old = bench.get(&ObjectKey::Trigger(bench.cell_id("web"))).await.unwrap();
    let (state, status) = ("cells/web/state.json", "status.json");
    let backup = [state, status].map(|path| (path, std::fs::read(bench.state_folder().join(path)).unwrap()));
    bench.publish("web", "2.0", TWO).await;
    let newest = bench.get(&ObjectKey::Trigger(bench.cell_id("web"))).await.unwrap();
    let before = bench.once().await;
    for (path, bytes) in &backup {
        std::fs::write(bench.state_folder().join(path), bytes).unwrap();
    }
    put_back(&bench, &old).await;
    let heartbeat = bench.once().await;
    let report = of(&heartbeat, "web");
    assert_eq!((report.seen.unwrap().generation.get(), bench.deployed("web")), (2, files(TWO)), "{report:#?}");
    assert_eq!(heartbeat.conditions[0].code, Code::FloorRebuilt);
    assert!(heartbeat.sequence > before.sequence);

    bench.place_index("web", &newest).await;
    let heartbeat = bench.once().await;
    assert_eq!((heartbeat.conditions.len(), of(&heartbeat, "web").phase), (0, Phase::UpToDate), "{heartbeat:#?}");
}

#[tokio::test]
async fn what_an_earlier_agent_left_is_one_heartbeat_however_often_it_is_read() {
    let bench = Bench::start().await;
    bench.put(&ObjectKey::Heartbeat(bench.node.clone()), document::render(&foreign_heartbeat(&bench))).await;
    bench.proxy.inject(Rule::new(On::put("*/agents/*"), Fault::status(403)));
    let mut agent = bench.agent().await;
    for _ in 0..3 {
        agent.poll_once().await.unwrap_err();
        let codes = read_status(&bench.state_folder()).unwrap().heartbeat.conditions;
        assert!(codes.iter().all(|condition| condition.code != Code::DuplicateNode), "{codes:?}");
    }
    agent.close().await;
}
