use chrono::TimeDelta;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::model::Sha256Digest;
use crate::model::sign::{Signer, sign};
use crate::model::trigger::TriggerOptions;

fn cell() -> CellId {
    "n1/web".parse().unwrap()
}

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
}

fn place(generation: u64) -> Floor {
    Floor::new(Epoch::FIRST, Generation::new(generation).unwrap())
}

fn target(version: &str) -> Target {
    let sha256 = Sha256Digest::of(version.as_bytes());
    Target { version: version.parse().unwrap(), manifest_sha256: sha256, manifest_size: 1, content_sha256: sha256 }
}

fn deploy(version: &str) -> Action {
    Action::Deploy(target(version))
}

/// What was wished at minutes, oldest first.
fn wished(wishes: &[(i64, Action)]) -> Chronicle {
    let triggers = wishes.iter().zip(1..).map(|((minute, action), generation)| Trigger {
        requires: Vec::new(),
        fleet: Uuid::nil(),
        node: cell().node,
        cell: cell().cell,
        generation: Generation::new(generation).unwrap(),
        action: action.clone(),
        options: TriggerOptions::default(),
        issued_at: at(*minute),
        issued_by: "alice".parse().unwrap(),
        reason: None,
    });
    let mut triggers: Vec<_> = triggers.map(|trigger| sign(&trigger, &Signer::Unsigned).unwrap()).collect();
    triggers.reverse();
    Chronicle { cell: cell(), triggers, is_cut: false, unbelieved: Vec::new(), outcomes: Vec::new() }
}

fn told(
    generation: u64,
    minute: i64,
    action: &str,
    ending: Ending,
    version: Option<&str>,
    after: Option<&str>,
) -> Outcome {
    let report = |version: &str| VersionReport::from(&target(version));
    let value = json!({
        "fleet": Uuid::nil(), "node": "n1", "cell": "web", "at": place(generation), "attempt": 1, "action": action,
        "started_at": at(minute), "ended_at": at(minute), "outcome": ending,
        "version": version.map(report), "running_after": after.map(report),
    });
    serde_json::from_value(value).unwrap()
}

fn with(chronicle: Chronicle, outcomes: impl IntoIterator<Item = Outcome>) -> Chronicle {
    let mut outcomes: Vec<Outcome> = outcomes.into_iter().collect();
    outcomes.reverse();
    Chronicle { outcomes, ..chronicle }
}

fn generation(cell: &CellAt) -> Option<u64> {
    match &cell.wished {
        Wished::Wish(wish) => Some(wish.at.generation.get()),
        _ => None,
    }
}

fn version(ran: &Ran) -> Option<&str> {
    ran.version().map(|version| version.version.as_str())
}

#[test]
fn an_instant_without_an_outcome_is_wished_and_not_confirmed() {
    let past = with(
        wished(&[(10, deploy("1")), (20, deploy("2"))]),
        [told(1, 12, "deploy", Ending::Succeeded, Some("1"), Some("1"))],
    );
    let seen = |minute| {
        let seen = past.at(at(minute));
        assert_eq!(seen.doubts, Vec::<String>::new());
        (generation(&seen), version(&seen.ran).map(str::to_owned), seen.answer)
    };
    assert_eq!(past.at(at(9)).wished, Wished::Nothing);
    assert_eq!(seen(9), (None, None, Answer::None));
    assert_eq!(seen(10), (Some(1), None, Answer::NotConfirmed));
    assert_eq!(seen(12), (Some(1), Some("1".to_owned()), Answer::Confirmed { since: at(12) }));
    assert_eq!(seen(20), (Some(2), Some("1".to_owned()), Answer::NotConfirmed), "what ran before runs on");
}

#[test]
fn a_stopped_cell_stays_stopped_until_something_comes_up() {
    let past = with(
        wished(&[(1, deploy("1")), (2, Action::Stop), (3, deploy("2")), (4, deploy("3")), (5, Action::Remove)]),
        [
            told(1, 1, "deploy", Ending::Succeeded, Some("1"), Some("1")),
            told(2, 2, "stop", Ending::Succeeded, None, Some("1")),
            told(3, 3, "deploy", Ending::Failed, Some("2"), Some("1")),
            told(4, 4, "deploy", Ending::Failed, Some("3"), Some("3")),
            told(5, 5, "remove", Ending::Succeeded, None, None),
        ],
    );
    let ran: Vec<Ran> = (1..=5).map(|minute| past.at(at(minute)).ran).collect();
    assert!(matches!(ran[0], Ran::Running(_)));
    assert!(matches!(ran[1], Ran::Stopped(_)));
    assert!(matches!(ran[2], Ran::Stopped(_)), "it failed before it touched anything");
    assert!(matches!(&ran[3], Ran::Failed(told) if told.version.version.as_str() == "3"), "it is in its place");
    assert_eq!(ran[4], Ran::Absent { since: at(5) });
}

#[test]
fn the_order_of_triggers_counts_and_times_that_contradict_it_are_told() {
    // The second controller's clock is an hour behind.
    let past = wished(&[(100, deploy("1")), (50, deploy("2"))]);
    let between = past.at(at(60));
    assert_eq!(generation(&between), Some(2));
    assert!(between.doubts[0].contains("clocks disagreed"), "{:?}", between.doubts);
    assert_eq!(past.at(at(100)).doubts, Vec::<String>::new());
}

#[test]
fn what_is_not_believed_or_was_deleted_is_said_and_never_guessed() {
    let mut past = wished(&[(10, deploy("1"))]);
    past.unbelieved = vec![place(2)];
    assert!(past.at(at(20)).doubts[0].contains("generation 2 is not believed"));
    past.is_cut = true;
    assert_eq!(past.at(at(5)).wished, Wished::Unknown);
    let past = with(past, [told(1, 10, "deploy", Ending::Succeeded, Some("1"), Some("forged"))]);
    assert!(past.at(at(20)).doubts.iter().any(|doubt| doubt.contains("forged, which no believed trigger names")));
    assert!(Chronicle::begins_at_first(Some(place(1))) && Chronicle::begins_at_first(None));
    assert!(!Chronicle::begins_at_first(Some(place(2))));
}

#[test]
fn a_scope_is_a_node_or_a_cell() {
    assert_eq!("n1".parse(), Ok(Scope::Node("n1".parse().unwrap())));
    assert_eq!("n1/web".parse(), Ok(Scope::Cell(cell())));
    assert!("n1/".parse::<Scope>().is_err() && "N1".parse::<Scope>().is_err());
}
