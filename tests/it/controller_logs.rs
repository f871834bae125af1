//! What a controller believes of what a node answers to an order for logs, and what it makes of a node's silence.

use std::time::Duration;

use fleetman::controller::{AskedLogs, ControllerError, LogNews};
use fleetman::model::answer::{Answer, AnswerState};
use fleetman::model::heartbeat::{Condition, Heartbeat};
use fleetman::model::{CellId, Code, ObjectKey, document};

use crate::support::acme::{ASKED, Acme};

fn cell(text: &str) -> CellId {
    text.parse().unwrap()
}

async fn asked(acme: &Acme) -> AskedLogs {
    acme.controller().asked_logs(&cell("ams-1/api"), ASKED.parse().unwrap()).await.unwrap()
}

/// Puts the answer there with a change.
async fn put(acme: &Acme, asked: &AskedLogs, change: impl FnOnce(&mut Answer)) {
    let mut answer = acme.controller().log_answer(asked).await.unwrap().unwrap();
    change(&mut answer);
    let key = ObjectKey::Answer(asked.cell.node.clone(), asked.order);
    acme.put(&key.relative(), document::render(&answer)).await;
}

#[tokio::test]
async fn an_order_is_read_under_its_own_cell_and_its_answer_is_none_to_another() {
    let acme = Acme::full().await;
    let controller = acme.controller();
    let asked = asked(&acme).await;
    assert_eq!((asked.by.as_str(), asked.query.grep.as_deref()), ("bob", Some("GET")));
    for other in ["ams-1/site", "ams-2/api"] {
        let refused = controller.asked_logs(&cell(other), asked.order).await.unwrap_err();
        assert_eq!(refused.code(), "not_found", "{other}");
    }
    let mut reader = controller.read_logs(&asked, Duration::ZERO);
    let LogNews::Lines(lines) = reader.next().await.unwrap() else { panic!("there are lines") };
    assert_eq!(lines.iter().map(|line| line.process.as_deref().unwrap()).collect::<Vec<_>>(), ["main", "main-b"]);
    let LogNews::Ended(answer) = reader.next().await.unwrap() else { panic!("nothing more comes") };
    assert_eq!((answer.state, answer.lost_bytes), (AnswerState::Time, 17));

    type Change = fn(&mut Answer);
    let changes: [Change; 5] = [
        |answer| answer.cell = "site".parse().unwrap(),
        |answer| answer.node = "ams-2".parse().unwrap(),
        |answer| answer.order = ulid::Ulid(7),
        |answer| answer.chunks = Answer::MOST_CHUNKS + 1,
        |answer| answer.bytes = Answer::MOST_BYTES + 1,
    ];
    let key = ObjectKey::Answer(asked.cell.node.clone(), asked.order);
    let good = document::render(&controller.log_answer(&asked).await.unwrap().unwrap());
    for (number, change) in changes.into_iter().enumerate() {
        put(&acme, &asked, change).await;
        assert_eq!(controller.log_answer(&asked).await.unwrap_err().code(), "untrusted", "{number}");
        let mut reader = controller.read_logs(&asked, Duration::ZERO);
        assert_eq!(reader.next().await.unwrap_err().code(), "untrusted", "{number}");
        acme.put(&key.relative(), good.clone()).await;
    }

    // More chunks than are there, and a refusal.
    put(&acme, &asked, |answer| answer.chunks = 2).await;
    let mut reader = controller.read_logs(&asked, Duration::ZERO);
    assert!(matches!(reader.next().await, Ok(LogNews::Lines(_))));
    assert_eq!(reader.next().await.unwrap_err().code(), "not_found");
    put(&acme, &asked, |answer| {
        (answer.state, answer.chunks) = (AnswerState::Refused, 0);
        (answer.code, answer.message) = (Some(Code::LogsOff), Some("no".to_owned()));
    })
    .await;
    let refused = controller.read_logs(&asked, Duration::ZERO).next().await.unwrap_err();
    assert_eq!((refused.code(), refused.kind().exit_code()), ("logs_off", 5));
}

#[tokio::test]
async fn the_silence_of_a_node_is_explained_by_its_heartbeat() {
    let acme = Acme::full().await;
    let controller = acme.controller();
    let asked = asked(&acme).await;
    let key = ObjectKey::Heartbeat(asked.cell.node.clone());
    let say = async |code: Code, message: String| {
        let found = acme.get(&key.relative()).await;
        let mut beat: Heartbeat = document::parse(&found).unwrap();
        beat.conditions = vec![Condition { code, message }];
        acme.put(&key.relative(), document::render(&beat)).await;
        controller.why_no_logs(&asked).await
    };
    let Err(ControllerError::LogsRefused { code, message, .. }) =
        say(Code::Unsupported, format!("order {} of bob, logs for ams-1/api: no", asked.order)).await
    else {
        panic!("an old agent refuses")
    };
    assert!(code == Code::Unsupported && message.contains("is too old"), "{message}");
    let why = say(Code::Unsupported, "another order".to_owned()).await.unwrap();
    assert!(why.contains("answers when it looks again"), "{why}");
    let why = say(Code::SigInvalid, "an order is refused: unknown key".to_owned()).await.unwrap();
    assert!(why.contains("does not believe the key"), "{why}");
    let of_lab = AskedLogs { cell: cell("lab-1/site"), ..asked };
    assert_eq!(controller.why_no_logs(&of_lab).await.unwrap(), "node lab-1 has never reported");
}
