//! Orders to a node: what is believed, what is carried out once, and what a hold keeps from being changed.

use chrono::TimeDelta;
use fleetman::clock::SystemClock;
use fleetman::model::heartbeat::{Heartbeat, Phase};
use fleetman::model::order::{Order, OrderAction};
use fleetman::model::sign::{self, PrivateKey, Signer};
use fleetman::model::trigger::Action;
use fleetman::model::{Code, Epoch, NodeName, ObjectKey};

use crate::support::node::{Bench, ONE, TWO, files, of};
use crate::support::orders::{give, index, now, order, put, signed};

fn codes(heartbeat: &Heartbeat) -> Vec<Code> {
    heartbeat.conditions.iter().map(|condition| condition.code).collect()
}

async fn deployed() -> Bench {
    let mut bench = Bench::start().await;
    bench.publish("web", "1", ONE).await;
    assert_eq!(bench.once_for("web").await.phase, Phase::UpToDate);
    bench
}

#[tokio::test]
async fn a_held_cell_is_not_changed_across_restarts_and_loss_of_the_bucket_until_it_is_released() {
    let mut bench = deployed().await;
    let hold = order(&bench, 1, Some("web"), OrderAction::Hold);
    give(&bench, &hold).await;
    let report = bench.once_for("web").await;
    assert_eq!((report.phase, report.waiting), (Phase::UpToDate, None), "nothing waits");
    let told = report.hold.unwrap();
    assert_eq!((told.order, told.by.as_str(), told.until), (hold.id, "alice", hold.expires_at));

    bench.publish("web", "2", TWO).await;
    let report = bench.once_for("web").await;
    let waiting = report.waiting.unwrap();
    assert_eq!((report.phase, waiting.reason), (Phase::Waiting, Code::Hold));
    assert!(waiting.message.starts_with("alice holds it until "), "{}", waiting.message);
    assert_eq!(bench.releases("web").len(), 2, "it is fetched all the same");

    // Everything of orders is gone from the bucket, and the agent starts anew.
    bench.delete(&ObjectKey::Index(bench.node.clone())).await;
    bench.delete(&ObjectKey::Request(bench.node.clone(), hold.id)).await;
    bench.ask("web", Action::Stop).await;
    assert_eq!(bench.once_for("web").await.phase, Phase::Waiting);
    assert_eq!(bench.deployed("web"), files(ONE));

    give(&bench, &order(&bench, 2, Some("web"), OrderAction::Release)).await;
    let report = bench.once_for("web").await;
    assert_eq!((report.phase, report.hold), (Phase::Stopped, None));
}

#[tokio::test]
async fn an_agent_that_starts_while_a_stop_is_held_stops_nothing_before_it_has_read_anything() {
    let mut bench = deployed().await;
    give(&bench, &order(&bench, 1, None, OrderAction::Hold)).await;
    bench.ask("web", Action::Remove).await;
    let heartbeat = bench.once().await;
    assert!(heartbeat.hold.as_ref().unwrap().whole_node);
    assert_eq!(of(&heartbeat, "web").waiting.unwrap().reason, Code::Hold);
    for _ in 0..3 {
        // Its cells do what they owe as soon as they are opened.
        let agent = bench.agent().await;
        agent.close().await;
        assert_eq!(bench.deployed("web"), files(ONE));
    }
}

#[tokio::test]
async fn a_hold_that_only_the_folder_has_is_found_by_a_full_scan_before_what_it_holds_back_is_begun() {
    let mut bench = deployed().await;
    put(&bench, &order(&bench, 1, Some("web"), OrderAction::Hold)).await;
    bench.ask("web", Action::Remove).await;
    // An agent without any state reads everything before it obeys.
    std::fs::remove_dir_all(bench.state_folder()).unwrap();
    assert_eq!(bench.once_for("web").await.phase, Phase::Waiting);
    assert_eq!(bench.deployed("web"), files(ONE));
}

#[tokio::test]
async fn an_overtaken_hold_stays_overtaken_when_it_is_put_there_again() {
    let bench = deployed().await;
    let hold = order(&bench, 1, Some("web"), OrderAction::Hold);
    give(&bench, &hold).await;
    give(&bench, &order(&bench, 2, Some("web"), OrderAction::Release)).await;
    assert_eq!(bench.once_for("web").await.hold, None);
    give(&bench, &hold).await;
    let heartbeat = bench.once().await;
    assert_eq!((of(&heartbeat, "web").hold, codes(&heartbeat)), (None, vec![]));
}

#[tokio::test]
async fn what_is_not_believed_is_refused_and_told() {
    let bench = deployed().await;
    let hold = order(&bench, 1, Some("web"), OrderAction::Hold);
    let other_key = Signer::Key(PrivateKey::from_seed(&[9; 32]), Epoch::FIRST);
    let forged = sign::sign(&hold, &other_key).unwrap();
    let elsewhere = Order { node: NodeName::new("n2").unwrap(), ..hold.clone() };
    let late =
        Order { expires_at: now() - TimeDelta::minutes(1), issued_at: now() - TimeDelta::hours(2), ..hold.clone() };
    let newer = Order { requires: vec!["warp".to_owned()], ..hold.clone() };
    let unknown = Order { action: OrderAction::Unknown("dance".to_owned()), ..hold.clone() };
    let trigger = bench.get(&ObjectKey::Trigger(bench.cell_id("web"))).await.unwrap();
    for (document, code) in [
        (forged.document(), Code::SigInvalid),
        (signed(&bench, &elsewhere).document(), Code::WrongTarget),
        (signed(&bench, &late).document(), Code::OrderExpired),
        (signed(&bench, &newer).document(), Code::Unsupported),
        (signed(&bench, &unknown).document(), Code::Unsupported),
        // A good signature of another kind is worthless.
        (&trigger[..], Code::SigInvalid),
        (b"7", Code::DocumentInvalid),
    ] {
        let key = ObjectKey::Index(bench.node.clone());
        let before = bench.get(&key).await.unwrap();
        index(&bench, document).await;
        let heartbeat = bench.once().await;
        assert_eq!((codes(&heartbeat), of(&heartbeat, "web").hold), (vec![code], None));
        bench.put(&key, before).await;
    }
    assert_eq!(codes(&bench.once().await), vec![], "what is gone is not told of any more");
    // One that lies in the folder alone is told of, too.
    bench.put(&ObjectKey::Request(bench.node.clone(), hold.id), forged.document()).await;
    assert_eq!(codes(&bench.once().await), vec![Code::SigInvalid]);
}

#[tokio::test]
async fn a_hold_that_could_not_be_written_down_is_not_taken_and_nothing_newer_is_begun() {
    let mut bench = deployed().await;
    give(&bench, &order(&bench, 1, Some("web"), OrderAction::Hold)).await;
    bench.ask("web", Action::Remove).await;
    let orders = bench.state_folder().join("orders.json");
    // A folder in its place cannot be replaced.
    std::fs::create_dir_all(orders.join("x")).unwrap();
    let settings = bench.settings().await;
    let refused = fleetman::agent::Agent::open(settings, SystemClock::shared()).await;
    assert!(refused.is_err(), "a state that cannot be read is not passed over");
    std::fs::remove_dir_all(&orders).unwrap();
    let agent = bench.agent().await;
    std::fs::create_dir_all(orders.join("x")).unwrap();
    let mut agent = agent;
    let heartbeat = agent.poll_once().await.unwrap();
    agent.close().await;
    assert_eq!(codes(&heartbeat), vec![Code::Io]);
    assert_eq!(bench.deployed("web"), files(ONE), "the trigger that came with it waits as well");
    std::fs::remove_dir_all(&orders).unwrap();
    assert_eq!(bench.once_for("web").await.phase, Phase::Waiting);
}
