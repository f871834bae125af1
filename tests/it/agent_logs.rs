//! Orders for what a cell writes: what an agent answers, to whom, how much of it, and when it ends.

use std::io::Write as _;

use chrono::TimeDelta;
use fleetman::agent::AgentSettings;
use fleetman::model::answer::{Answer, AnswerState, LogLine};
use fleetman::model::document;
use fleetman::model::heartbeat::Phase;
use fleetman::model::order::{LogQuery, Order, OrderAction};
use fleetman::model::sign::{self, PrivateKey, Signer};
use fleetman::model::{CellName, Code, Epoch, ObjectKey};

use crate::support::node::{Bench, ONE};
use crate::support::orders::{give, index, now, order, put, signed};
use crate::support::proxy::{Fault, On, Rule};
use crate::support::running::{Running, wait_for_phase};
use crate::support::stand_in::Node;
use crate::support::wait_for;

/// A node whose cell `app` is up, run by the stand-in.
async fn deployed() -> Node {
    let mut node = Node::start().await;
    node.publish("1").await;
    assert_eq!(node.once().await.phase, Phase::UpToDate);
    node
}

/// What the cell's process `main` writes.
fn write(node: &Node, text: &str) {
    let logs = node.profile.logs(&CellName::new("app").unwrap());
    std::fs::create_dir_all(&logs).unwrap();
    let mut file = std::fs::File::options().append(true).create(true).open(logs.join("main.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn logs(node: &Node, number: u128, query: LogQuery) -> Order {
    order(&node.bench, number, Some("app"), OrderAction::Logs(query))
}

fn follow(secs: u32) -> LogQuery {
    LogQuery { follow_secs: Some(secs), ..LogQuery::last(2) }
}

async fn answer(bench: &Bench, order: &Order) -> Option<Answer> {
    let bytes = bench.get(&ObjectKey::Answer(bench.node.clone(), order.id)).await?;
    Some(document::parse(&bytes).unwrap())
}

async fn texts(bench: &Bench, order: &Order) -> Vec<String> {
    let chunks = answer(bench, order).await.map_or(0, |answer| answer.chunks);
    let mut texts = Vec::new();
    for chunk in 1..=chunks {
        let bytes = bench.get(&ObjectKey::AnswerChunk(bench.node.clone(), order.id, chunk)).await.unwrap();
        assert!(bytes.len() as u64 <= Answer::CHUNK_BYTES);
        texts.extend(LogLine::parse_all(&String::from_utf8(bytes).unwrap()).into_iter().map(|line| line.text));
    }
    texts
}

async fn wait_for_state(bench: &Bench, order: &Order, state: AnswerState) -> Answer {
    let there = async || answer(bench, order).await.is_some_and(|answer| answer.state == state);
    wait_for(there, &format!("the answer to be {state:?}")).await;
    answer(bench, order).await.unwrap()
}

async fn wait_for_text(bench: &Bench, order: &Order, text: &str) {
    wait_for(async || texts(bench, order).await.iter().any(|it| it == text), text).await;
}

async fn running(node: &Node, change: impl FnOnce(&mut AgentSettings)) -> Running {
    let profiles = node.profiles();
    Running::start(&node.bench, |settings| {
        settings.profiles = profiles;
        change(settings);
    })
    .await
}

#[tokio::test]
async fn the_last_lines_are_answered_once() {
    let node = deployed().await;
    write(&node, "one\ntwo\nthree\n");
    let asked = logs(&node, 1, LogQuery::last(2));
    give(&node.bench, &asked).await;
    node.once().await;
    let told = answer(&node.bench, &asked).await.unwrap();
    assert_eq!((told.state, told.chunks, told.lines, told.order), (AnswerState::Complete, 1, 2, asked.id));
    assert_eq!((told.fleet, told.node.as_str(), told.cell.as_str()), (node.bench.fleet, "n1", "app"));
    let chunk = ObjectKey::AnswerChunk(node.bench.node.clone(), asked.id, 1);
    let bytes = node.bench.get(&chunk).await.unwrap();
    assert_eq!(
        (String::from_utf8_lossy(&bytes).as_ref(), told.bytes),
        ("- main two\n- main three\n", bytes.len() as u64)
    );

    // Another agent of the same state does not do it again.
    node.bench.delete(&ObjectKey::Answer(node.bench.node.clone(), asked.id)).await;
    node.once().await;
    assert_eq!(answer(&node.bench, &asked).await, None);

    // One that looks once and ends follows nothing.
    let asked = logs(&node, 2, follow(3_600));
    give(&node.bench, &asked).await;
    node.once().await;
    let told = answer(&node.bench, &asked).await.unwrap();
    assert_eq!((told.state, told.notes.len()), (AnswerState::Complete, 1));
    assert_eq!(texts(&node.bench, &asked).await, ["two", "three"]);
}

#[tokio::test]
async fn what_cannot_or_may_not_be_shown_is_refused_in_words() {
    let mut node = deployed().await;
    node.bench.publish("web", "1", ONE).await;
    node.once().await;
    let of = |cell: &str, number| order(&node.bench, number, Some(cell), OrderAction::Logs(LogQuery::last(2)));
    let (folder, none) = (of("web", 1), of("other", 2));
    for asked in [&folder, &none] {
        give(&node.bench, asked).await;
    }
    node.once().await;
    for (asked, code, words) in
        [(&folder, Code::NoLog, "the deploy profile runs no programs"), (&none, Code::OrderRefused, "cell other")]
    {
        let told = answer(&node.bench, asked).await.unwrap();
        assert_eq!((told.state, told.code), (AnswerState::Refused, Some(code)));
        assert!(told.message.as_ref().unwrap().contains(words), "{told:?}");
    }

    let off = of("app", 3);
    give(&node.bench, &off).await;
    let mut agent = node.agent(|settings| settings.serves_logs = false).await.unwrap();
    agent.poll_once().await.unwrap();
    agent.close().await;
    let told = answer(&node.bench, &off).await.unwrap();
    assert_eq!((told.state, told.code, told.chunks), (AnswerState::Refused, Some(Code::LogsOff), 0));
}

#[tokio::test]
async fn nobody_is_answered_who_is_not_believed_or_has_taken_the_order_back() {
    let node = deployed().await;
    write(&node, "secret\n");
    let (forged, gone) = (logs(&node, 1, LogQuery::last(2)), logs(&node, 2, LogQuery::last(2)));
    let stranger = Signer::Key(PrivateKey::from_seed(&[9; 32]), Epoch::FIRST);
    let signature = sign::sign(&forged, &stranger).unwrap();
    node.bench.put(&ObjectKey::Request(node.bench.node.clone(), forged.id), signature.document()).await;
    index(&node.bench, signature.document()).await;
    // Only the index still has it.
    index(&node.bench, signed(&node.bench, &gone).document()).await;
    let late =
        Order { issued_at: now() - TimeDelta::minutes(9), expires_at: now() - TimeDelta::minutes(1), ..gone.clone() };
    let late = Order { id: ulid::Ulid::from_parts(late.id.timestamp_ms(), 3), ..late };
    put(&node.bench, &late).await;
    let mut agent = node.agent(|_| {}).await.unwrap();
    let heartbeat = agent.poll_once().await.unwrap();
    agent.close().await;
    let codes: Vec<Code> = heartbeat.conditions.iter().map(|condition| condition.code).collect();
    assert_eq!(codes, [Code::SigInvalid, Code::OrderExpired]);
    assert_eq!(node.bench.keys("logs/n1/_requests/").await, [""; 0]);
}

#[tokio::test]
async fn what_comes_is_passed_on_until_the_order_is_taken_back() {
    let node = deployed().await;
    write(&node, "zero\none\ntwo\n");
    let agent = running(&node, |_| {}).await;
    let asked = logs(&node, 1, follow(600));
    give(&node.bench, &asked).await;
    wait_for_text(&node.bench, &asked, "two").await;
    write(&node, "three\nunfin");
    wait_for_text(&node.bench, &asked, "three").await;
    write(&node, "ished\n");
    wait_for_text(&node.bench, &asked, "unfinished").await;
    assert_eq!(texts(&node.bench, &asked).await, ["one", "two", "three", "unfinished"]);
    assert_eq!(answer(&node.bench, &asked).await.unwrap().state, AnswerState::Running);

    node.bench.delete(&ObjectKey::Request(node.bench.node.clone(), asked.id)).await;
    let looks = || node.bench.proxy.count(On::head(&format!("*_requests/{}.json", asked.id)));
    let before = looks();
    wait_for(async || looks() > before, "the agent to look whether it is still wanted").await;
    write(&node, "four\n");
    let again = logs(&node, 2, LogQuery::last(1));
    give(&node.bench, &again).await;
    wait_for_state(&node.bench, &again, AnswerState::Complete).await;
    assert_eq!(texts(&node.bench, &again).await, ["four"]);
    assert_eq!(texts(&node.bench, &asked).await.last().unwrap(), "unfinished");
    agent.end().await;
    assert_eq!(answer(&node.bench, &asked).await.unwrap().state, AnswerState::Running, "it is not touched any more");
}

#[tokio::test]
async fn a_follow_ends_by_itself_and_with_its_agent() {
    let node = deployed().await;
    let agent = running(&node, |_| {}).await;
    let (short, long) = (logs(&node, 1, follow(1)), logs(&node, 2, follow(600)));
    for asked in [&short, &long] {
        give(&node.bench, asked).await;
    }
    wait_for_state(&node.bench, &long, AnswerState::Running).await;
    write(&node, "unfinished");
    wait_for_state(&node.bench, &short, AnswerState::Time).await;
    assert_eq!(texts(&node.bench, &short).await, ["unfinished"]);
    agent.end().await;
    assert_eq!(answer(&node.bench, &long).await.unwrap().state, AnswerState::Withdrawn);
}

#[tokio::test]
async fn only_a_few_are_answered_at_a_time() {
    let node = deployed().await;
    let agent = running(&node, |_| {}).await;
    let asked: Vec<Order> = (1..=5).map(|number| logs(&node, number, follow(600))).collect();
    for order in &asked[..4] {
        give(&node.bench, order).await;
        wait_for_state(&node.bench, order, AnswerState::Running).await;
    }
    give(&node.bench, &asked[4]).await;
    let told = wait_for_state(&node.bench, &asked[4], AnswerState::Refused).await;
    assert_eq!(told.code, Some(Code::OrderRefused));
    node.bench.delete(&ObjectKey::Request(node.bench.node.clone(), asked[0].id)).await;
    let next = |number| logs(&node, number, LogQuery::last(1));
    let mut number = 6;
    let taken = async || {
        number += 1;
        let order = next(number);
        give(&node.bench, &order).await;
        wait_for(
            async || answer(&node.bench, &order).await.is_some_and(|it| it.state != AnswerState::Running),
            "an end",
        )
        .await;
        answer(&node.bench, &order).await.unwrap().state == AnswerState::Complete
    };
    wait_for(taken, "room for another one").await;
    agent.end().await;
}

#[tokio::test]
async fn an_answer_is_no_larger_than_one_may_be() {
    let node = deployed().await;
    let line = format!("{}\n", "x".repeat(9_999));
    write(&node, &line.repeat(2_000));
    let asked = logs(&node, 1, LogQuery::last(10_000));
    give(&node.bench, &asked).await;
    node.once().await;
    let told = answer(&node.bench, &asked).await.unwrap();
    let texts = texts(&node.bench, &asked).await;
    assert_eq!((told.state, told.lines), (AnswerState::Full, texts.len() as u64));
    assert!(told.bytes <= Answer::MOST_BYTES && told.bytes + 10_100 > Answer::MOST_BYTES, "{}", told.bytes);
}

#[tokio::test]
async fn a_store_that_takes_no_answer_is_told_of_and_holds_up_no_deployment() {
    let mut node = deployed().await;
    write(&node, "one\n");
    node.bench.proxy.inject(Rule::new(On::put("*/logs/n1/_requests/*"), Fault::Stall));
    let agent = running(&node, |_| {}).await;
    let asked = logs(&node, 1, follow(600));
    give(&node.bench, &asked).await;
    wait_for(async || node.bench.proxy.count(On::put("*/logs/n1/_requests/*")) > 0, "the answer to be tried").await;
    node.publish("2").await;
    wait_for_phase(&node.bench, "app", Phase::UpToDate).await;
    let up = async || {
        let beat = node.bench.heartbeat().await.unwrap();
        beat.cells[&CellName::new("app").unwrap()].running.as_ref().unwrap().version.as_str() == "2"
    };
    wait_for(up, "version 2 to be up").await;

    node.bench.proxy.heal();
    node.bench.proxy.inject(Rule::new(On::put("*/logs/n1/_requests/*"), Fault::status(403)));
    let refused = logs(&node, 2, LogQuery::last(1));
    give(&node.bench, &refused).await;
    let denied = async || {
        let beat = node.bench.heartbeat().await.unwrap();
        beat.conditions.iter().any(|it| it.code == Code::Denied && it.message.contains(&refused.id.to_string()))
    };
    wait_for(denied, "the heartbeat to say that it is denied").await;
    node.bench.proxy.heal();
    let taken = logs(&node, 3, LogQuery::last(1));
    give(&node.bench, &taken).await;
    wait_for_state(&node.bench, &taken, AnswerState::Complete).await;
    wait_for(async || node.bench.heartbeat().await.unwrap().conditions.is_empty(), "nothing to be wrong").await;
    agent.end().await;
}
