use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::json;
use ulid::Ulid;
use uuid::Uuid;

use super::batch::{self, AlertFilter, Fate, ReceiverRules};
use super::decide::{AlertEvent, Debounce, step};
use super::observe::Observed;
use super::receivers::Letter;
use super::*;
use crate::controller::fleet_sample::{Wish, desired, fleet, node, up_to_date};
use crate::model::alert::{
    Acknowledgement, AlertKey, AlertKind, Alerts, Notice, NoticePart, Noticed, Severity, Silence, SilenceScope,
};

/// What is made of a message about a cell that was rolled back, whose node says `words` of it.
pub(super) fn letter_about<T>(words: &str, make: impl Fn(&Letter<'_>) -> T) -> T {
    let noticed = Noticed {
        kind: AlertKind::RolledBack,
        subject: key(BACK).subject,
        severity: Severity::Warning,
        message: words.to_owned(),
        since: at(0),
        resolved_at: None,
        acknowledged: None,
    };
    let opened = NoticePart { counts: [(AlertKind::RolledBack, 1)].into(), first: vec![noticed] };
    let notice = Notice { opened, ..Notice::default() };
    make(&Letter {
        id: Ulid(7),
        fleet: Uuid::from_u128(7),
        portal: Some("https://fleet.example.com"),
        sent_at: at(60),
        is_test: false,
        notice: &notice,
    })
}

fn at(secs: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_323_000 + secs, 0).unwrap()
}

fn key(text: &str) -> AlertKey {
    text.parse().unwrap()
}

/// A look at which these are wrong, while these nodes are not heard of.
fn look(secs: i64, wrong: &[&str], silent: &[&str]) -> Observation {
    let observed = |severity| Observed { severity, message: "why".to_owned(), labels: BTreeMap::new() };
    let wrong = wrong.iter().map(|text| match text.strip_suffix('!') {
        Some(text) => (key(text), observed(Severity::Critical)),
        None => (key(text), observed(Severity::Warning)),
    });
    Observation::sample(at(secs), wrong.collect(), silent.iter().map(|name| name.parse().unwrap()).collect())
}

/// One controller that shares its alerts with others.
struct Watcher {
    rules: AlertRules,
    debounce: Debounce,
}

impl Watcher {
    fn new() -> Self {
        Self { rules: AlertRules::default(), debounce: Debounce::default() }
    }

    /// What happened, in short: `+` opened, `-` resolved, `!` worse, `~` no longer silent.
    fn look(&mut self, alerts: &mut Alerts, seen: &Observation) -> Vec<String> {
        self.debounce.look(seen, alerts.open.iter());
        let (after, events) = step(&self.rules, seen, alerts, &self.debounce);
        *alerts = after;
        let told = events.iter().map(|event| match event {
            AlertEvent::Opened(alert) => format!("+{}", alert.key()),
            AlertEvent::Worsened(alert) => format!("!{}", alert.key()),
            AlertEvent::Unsilenced(alert) => format!("~{}", alert.key()),
            AlertEvent::Resolved(resolved) => format!("-{}", resolved.alert.key()),
        });
        told.collect()
    }
}

const DEAD: &str = "agent_dead:node/n1";
const SICK: &str = "health_failing:cell/n1/web";
const BACK: &str = "rolled_back:cell/n1/web";

#[test]
fn something_must_be_wrong_for_a_while_and_well_for_a_while() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    let mut sick = |secs, wrong: &[&str]| watcher.look(&mut alerts, &look(secs, wrong, &[]));
    assert!(sick(0, &[SICK]).is_empty());
    assert!(sick(59, &[SICK]).is_empty(), "not for a minute yet");
    assert!(sick(60, &[]).is_empty());
    assert!(sick(61, &[SICK]).is_empty(), "it begins anew");
    assert_eq!(sick(121, &[SICK]), ["+health_failing:cell/n1/web"]);
    assert!(sick(122, &[SICK]).is_empty(), "once");
    assert!(sick(200, &[]).is_empty());
    assert!(sick(259, &[SICK]).is_empty(), "still the same");
    assert!(sick(300, &[]).is_empty());
    assert_eq!(sick(360, &[]), ["-health_failing:cell/n1/web"]);
    let resolved = &alerts.resolved[0];
    assert_eq!((resolved.alert.since, resolved.alert.opened_at, resolved.resolved_at), (at(61), at(121), at(360)));
}

#[test]
fn the_same_look_twice_counts_once() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    assert!(watcher.look(&mut alerts, &look(0, &[DEAD], &[])).is_empty());
    assert!(watcher.look(&mut alerts, &look(0, &[DEAD], &[])).is_empty());
    assert_eq!(watcher.look(&mut alerts, &look(1, &[DEAD], &[])).len(), 1);
}

#[test]
fn what_cannot_be_told_of_a_node_that_died_is_neither_resolved_nor_opened() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    let mut seen = |secs, wrong: &[&str], silent: &[&str]| watcher.look(&mut alerts, &look(secs, wrong, silent));
    assert_eq!(seen(0, &[BACK], &[]), [format!("+{BACK}")]);
    assert!(seen(10, &[DEAD], &["n1"]).is_empty());
    assert_eq!(seen(20, &[DEAD], &["n1"]), [format!("+{DEAD}")]);
    assert!(seen(1_000, &[DEAD], &["n1"]).is_empty(), "the cell's alert stays");
    assert!(seen(1_010, &[], &[]).is_empty());
    assert_eq!(
        seen(1_070, &[], &[]),
        [format!("-{DEAD}"), format!("-{BACK}")].map(|it| it).into_iter().rev().collect::<Vec<_>>()
    );
}

#[test]
fn what_was_wrong_before_a_node_fell_silent_counts_once_it_is_heard_of_again() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    let mut seen = |secs, wrong: &[&str], silent: &[&str]| watcher.look(&mut alerts, &look(secs, wrong, silent));
    assert!(seen(0, &[SICK], &[]).is_empty());
    assert!(seen(30, &[], &["n1"]).is_empty());
    assert_eq!(seen(60, &[SICK], &[]), [format!("+{SICK}")]);
}

#[test]
fn when_the_bucket_cannot_be_read_only_that_is_known() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    assert_eq!(watcher.look(&mut alerts, &look(0, &[BACK], &[])).len(), 1);
    let bucket = "store_degraded:bucket";
    assert!(watcher.look(&mut alerts, &Observation::blind(at(30), "no route")).is_empty());
    assert_eq!(watcher.look(&mut alerts, &Observation::blind(at(150), "no route")), [format!("+{bucket}")]);
    assert!(watcher.look(&mut alerts, &look(160, &[BACK], &[])).is_empty());
    assert_eq!(watcher.look(&mut alerts, &look(220, &[BACK], &[])), [format!("-{bucket}")]);
    assert_eq!(alerts.open.len(), 1);
}

#[test]
fn what_flaps_must_be_well_for_longer_each_time() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    let mut now = 0;
    let mut took = Vec::new();
    for _ in 0..4 {
        assert_eq!(watcher.look(&mut alerts, &look(now, &[BACK], &[])), [format!("+{BACK}")]);
        let began = now + 10;
        loop {
            now += 10;
            if !watcher.look(&mut alerts, &look(now, &[], &[])).is_empty() {
                break;
            }
        }
        took.push(now - began);
        now += 10;
    }
    assert_eq!(took, [60, 120, 240, 480]);
    now += 3_600;
    watcher.look(&mut alerts, &look(now, &[BACK], &[]));
    assert_eq!(alerts.open[0].returns, 0, "an hour later it is something new");
}

#[test]
fn what_becomes_worse_is_told_and_what_becomes_better_is_not() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    watcher.look(&mut alerts, &look(0, &[BACK], &[]));
    let before = alerts.open[0].sequence;
    assert_eq!(watcher.look(&mut alerts, &look(1, &["rolled_back:cell/n1/web!"], &[])), [format!("!{BACK}")]);
    assert!(alerts.open[0].sequence > before && alerts.open[0].severity == Severity::Critical);
    assert!(watcher.look(&mut alerts, &look(2, &[BACK], &[])).is_empty());
    assert_eq!(alerts.open[0].severity, Severity::Critical);
}

fn silence(kind: AlertKind, until: i64) -> Silence {
    Silence {
        id: Ulid(1),
        scope: SilenceScope { kind: Some(kind), ..SilenceScope::default() },
        by: "alice".parse().unwrap(),
        reason: "moving racks".to_owned(),
        created_at: at(0),
        until: at(until),
    }
}

#[test]
fn a_silence_keeps_an_alert_quiet_until_it_ends() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    alerts.silences.push(silence(AlertKind::RolledBack, 100));
    assert_eq!(watcher.look(&mut alerts, &look(0, &[BACK], &[])).len(), 1, "it is open all the same");
    assert!(alerts.open[0].silenced && messages(&mut alerts, &[receiver("ops")], 50).is_empty());
    assert!(watcher.look(&mut alerts, &look(99, &[BACK], &[])).is_empty());
    assert_eq!(watcher.look(&mut alerts, &look(100, &[BACK], &[])), [format!("~{BACK}")]);
    assert!(alerts.silences.is_empty());
    assert_eq!(messages(&mut alerts, &[receiver("ops")], 200), ["ops: 1 rolled back"]);
}

#[test]
fn a_silence_that_is_made_later_is_noted_without_a_word() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    watcher.look(&mut alerts, &look(0, &[BACK], &[]));
    alerts.silences.push(silence(AlertKind::RolledBack, 100));
    assert!(watcher.look(&mut alerts, &look(1, &[BACK], &[])).is_empty());
    assert!(alerts.open[0].silenced);
}

#[test]
fn more_than_a_list_holds_is_counted_and_moves_up_when_there_is_room() {
    let nodes: Vec<String> = (0..super::decide::MOST_OPEN + 7).map(|n| format!("rolled_back:cell/n{n}/web")).collect();
    let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    assert_eq!(watcher.look(&mut alerts, &look(0, &nodes, &[])).len(), super::decide::MOST_OPEN);
    assert_eq!(alerts.unlisted, 7);
    let fewer: Vec<&str> = nodes.iter().copied().skip(10).collect();
    watcher.look(&mut alerts, &look(10, &fewer, &[]));
    watcher.look(&mut alerts, &look(70, &fewer, &[]));
    assert_eq!((alerts.open.len(), alerts.unlisted), (super::decide::MOST_OPEN - 3, 0));
    let bytes = crate::model::document::render(&alerts);
    assert!((bytes.len() as u64) < <Alerts as crate::model::document::Document>::MAX_BYTES / 2, "{}", bytes.len());
}

fn receiver(name: &str) -> ReceiverRules {
    ReceiverRules {
        name: name.to_owned(),
        only: Vec::new(),
        group_wait: TimeDelta::seconds(30),
        group_interval: TimeDelta::minutes(5),
        retry_wait: TimeDelta::seconds(10),
        acknowledged: false,
    }
}

/// The messages that are made now, in short.
fn messages(alerts: &mut Alerts, receivers: &[ReceiverRules], secs: i64) -> Vec<String> {
    let known: BTreeSet<Ulid> = alerts.deliveries.iter().map(|it| it.id).collect();
    let mut number = alerts.deliveries.len() as u128 + 100;
    batch::make(alerts, receivers, at(secs), || {
        number += 1;
        Some(Ulid(number))
    });
    let made = alerts.deliveries.iter().filter(|it| !known.contains(&it.id));
    made.map(|it| format!("{}: {}", it.receiver, batch::in_short(&it.notice))).collect()
}

#[test]
fn a_thousand_alerts_are_one_message_with_counts_and_the_first_few() {
    let dead: Vec<String> = (0..1_000).map(|n| format!("agent_dead:node/n{n:04}")).collect();
    let mut dead: Vec<&str> = dead.iter().map(String::as_str).collect();
    dead.push("rolled_back:cell/a/web!");
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    watcher.look(&mut alerts, &look(0, &dead, &[]));
    watcher.look(&mut alerts, &look(10, &dead, &[]));
    assert!(messages(&mut alerts, &[receiver("ops")], 29).is_empty(), "more may come");
    assert_eq!(messages(&mut alerts, &[receiver("ops")], 30), ["ops: 1 rolled back, 1000 agent dead"]);
    let part = &alerts.deliveries[0].notice.opened;
    assert_eq!((part.first.len(), part.first[0].kind), (20, AlertKind::RolledBack), "the worst first");
    assert!(messages(&mut alerts, &[receiver("ops")], 9_999).is_empty(), "nothing new");
}

#[test]
fn messages_to_one_receiver_keep_their_distance_and_nothing_is_lost_meanwhile() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    watcher.look(&mut alerts, &look(0, &[BACK], &[]));
    assert_eq!(messages(&mut alerts, &[receiver("ops")], 40).len(), 1);
    watcher.look(&mut alerts, &look(50, &[BACK, "needs_operator:cell/n2/db"], &[]));
    watcher.look(&mut alerts, &look(60, &["needs_operator:cell/n2/db"], &[]));
    watcher.look(&mut alerts, &look(130, &["needs_operator:cell/n2/db"], &[]));
    assert!(messages(&mut alerts, &[receiver("ops")], 339).is_empty());
    assert_eq!(messages(&mut alerts, &[receiver("ops")], 340), ["ops: 1 needs an operator; resolved: 1 rolled back"]);
}

#[test]
fn what_was_over_before_anybody_was_told_is_not_told_and_a_new_receiver_hears_of_what_is_open() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    watcher.look(&mut alerts, &look(0, &[BACK], &[]));
    for secs in [10, 80] {
        watcher.look(&mut alerts, &look(secs, &[], &[]));
    }
    assert_eq!(alerts.resolved.len(), 1);
    assert!(messages(&mut alerts, &[receiver("ops")], 500).is_empty());
    watcher.look(&mut alerts, &look(600, &[BACK], &[]));
    assert_eq!(messages(&mut alerts, &[receiver("ops")], 700), ["ops: 1 rolled back"]);
    assert_eq!(messages(&mut alerts, &[receiver("ops"), receiver("new")], 710), ["new: 1 rolled back"]);
}

#[test]
fn what_came_and_went_between_two_messages_is_told_to_nobody() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    watcher.look(&mut alerts, &look(0, &[BACK], &[]));
    assert_eq!(messages(&mut alerts, &[receiver("ops")], 40).len(), 1);
    for (secs, wrong) in [(50, &[BACK, "needs_operator:cell/n2/db"][..]), (60, &[BACK]), (130, &[BACK])] {
        watcher.look(&mut alerts, &look(secs, wrong, &[]));
    }
    assert_eq!(alerts.resolved.len(), 1);
    assert!(messages(&mut alerts, &[receiver("ops")], 340).is_empty());
}

#[test]
fn a_receiver_is_told_of_what_it_wants_only() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    let mut seen = look(0, &[BACK, "needs_operator:cell/edge-1/db!", "rolled_back:cell/edge-2/db"], &[]);
    let labelled = seen.wrong.get_mut(&key("rolled_back:cell/edge-2/db")).unwrap();
    labelled.labels.insert("site".to_owned(), "a".to_owned());
    watcher.look(&mut alerts, &seen);
    let only = |name: &str, filter: AlertFilter| ReceiverRules { only: vec![filter], ..receiver(name) };
    let any = AlertFilter::default;
    let receivers = [
        only("kind", AlertFilter { kinds: vec![AlertKind::NeedsOperator], ..any() }),
        only("bad", AlertFilter { severity: Some(Severity::Critical), ..any() }),
        only("edge", AlertFilter { cells: Some("edge-*/*".parse().unwrap()), ..any() }),
        only("site", AlertFilter { labels: [("site".to_owned(), "a".to_owned())].into(), ..any() }),
        only("none", AlertFilter { kinds: vec![AlertKind::Drift], ..any() }),
    ];
    assert_eq!(
        messages(&mut alerts, &receivers, 60),
        [
            "kind: 1 needs an operator",
            "bad: 1 needs an operator",
            "edge: 1 rolled back, 1 needs an operator",
            "site: 1 rolled back"
        ]
    );
}

fn acknowledge(alerts: &mut Alerts, secs: i64, note: &str) {
    alerts.sequence += 1;
    let sequence = alerts.sequence;
    let seen = Acknowledgement { by: "alice".parse().unwrap(), note: note.to_owned(), at: at(secs), sequence };
    alerts.open[0].acknowledged = Some(seen);
}

#[test]
fn that_somebody_has_seen_an_alert_is_told_once_to_who_wants_it_and_ends_with_the_alert() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    let curious = |name: &str| ReceiverRules { acknowledged: true, ..receiver(name) };
    let receivers = [receiver("ops"), curious("chat")];
    watcher.look(&mut alerts, &look(0, &[BACK], &[]));
    assert_eq!(messages(&mut alerts, &receivers, 30), ["ops: 1 rolled back", "chat: 1 rolled back"]);
    acknowledge(&mut alerts, 40, "on it");
    assert!(watcher.look(&mut alerts, &look(50, &[BACK], &[])).is_empty());
    assert!(messages(&mut alerts, &receivers, 69).is_empty(), "not within its time of grouping");
    assert_eq!(messages(&mut alerts, &receivers, 340), ["chat: acknowledged: 1 rolled back"]);
    let told = &alerts.deliveries.last().unwrap().notice.acknowledged.first[0];
    assert_eq!(told.acknowledged.as_ref().unwrap().note, "on it");
    assert!(messages(&mut alerts, &receivers, 9_999).is_empty(), "once");
    // Whoever comes late reads it beside the alert, and is not told of it besides.
    assert_eq!(messages(&mut alerts, &[curious("new")], 10_000), ["new: 1 rolled back"]);
    let told = &alerts.deliveries.last().unwrap().notice.opened.first[0];
    assert!(told.acknowledged.is_some());
    assert_eq!(alerts.deliveries.last().unwrap().notice.acknowledged.total(), 0);
    assert!(messages(&mut alerts, &[curious("new")], 20_000).is_empty());
    // What is silenced is told to nobody.
    acknowledge(&mut alerts, 20_000, "still");
    alerts.open[0].silenced = true;
    assert!(messages(&mut alerts, &receivers, 30_000).is_empty());
    alerts.open[0].silenced = false;

    for secs in [30_010, 30_080] {
        watcher.look(&mut alerts, &look(secs, &[], &[]));
    }
    assert!(alerts.resolved[0].alert.acknowledged.is_some(), "who was on it is remembered");
    assert_eq!(watcher.look(&mut alerts, &look(30_090, &[BACK], &[])).len(), 1);
    assert_eq!(alerts.open[0].acknowledged, None, "what comes back was seen by nobody");
}

#[test]
fn one_controller_at_a_time_has_a_message_and_another_takes_over_when_it_died() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    watcher.look(&mut alerts, &look(0, &[BACK], &[]));
    let known = [receiver("ops")];
    messages(&mut alerts, &known, 30);
    let id = alerts.deliveries[0].id;
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    assert_eq!(batch::take(&mut alerts, &[receiver("mail")], one, at(30), 9), []);
    assert_eq!(batch::take(&mut alerts, &known, one, at(30), 9).len(), 1);
    assert!(batch::take(&mut alerts, &known, other, at(60), 9).is_empty());
    assert_eq!(batch::next_due(&alerts, &known), Some(at(120)));
    assert_eq!(batch::take(&mut alerts, &known, other, at(120), 9).len(), 1, "the first one died");

    batch::settle(&mut alerts, &[receiver("ops")], id, &Fate::Later("503".to_owned()), at(121));
    assert_eq!(alerts.deliveries[0].problem.as_deref(), Some("503"));
    assert!(batch::take(&mut alerts, &known, one, at(130), 9).is_empty(), "10 s");
    assert_eq!(batch::take(&mut alerts, &known, one, at(131), 9).len(), 1);
    batch::settle(&mut alerts, &[receiver("ops")], id, &Fate::Later("503".to_owned()), at(131));
    assert_eq!(batch::next_due(&alerts, &known), Some(at(151)), "20 s");
    batch::settle(&mut alerts, &[receiver("ops")], id, &Fate::Sent, at(151));
    batch::settle(&mut alerts, &[receiver("ops")], id, &Fate::Sent, at(152));
    assert_eq!((alerts.deliveries.len(), alerts.finished.len()), (0, 1));
    assert_eq!((alerts.finished[0].tries, &alerts.finished[0].problem), (3, &None));
}

#[test]
fn what_cannot_be_sent_is_given_up_and_remembered() {
    let (mut watcher, mut alerts) = (Watcher::new(), Alerts::default());
    watcher.look(&mut alerts, &look(0, &[BACK], &[]));
    messages(&mut alerts, &[receiver("ops"), receiver("gone")], 30);
    let id = alerts.deliveries[0].id;
    batch::settle(&mut alerts, &[receiver("ops")], id, &Fate::Never("404".to_owned()), at(31));
    batch::give_up(&mut alerts, at(30 + 86_399));
    assert_eq!(alerts.deliveries.len(), 1);
    batch::give_up(&mut alerts, at(30 + 86_400));
    let given_up: Vec<_> = alerts.finished.iter().map(|it| (it.receiver.as_str(), it.problem.as_deref())).collect();
    assert_eq!(given_up, [("gone", Some("no controller has a receiver of this name")), ("ops", Some("404"))]);
}

#[test]
fn a_look_at_the_fleet_finds_what_people_are_told_of() {
    let fault = json!({"code": "unreachable", "message": "no route", "at": "2026-01-02T03:04:05Z"});
    let drift = json!([{"code": "unit_drift", "message": "edited"}]);
    let edited = json!([{"code": "drifted", "message": "a file"}]);
    let down = json!({"state": "failed", "reason": "exit code 1"});
    let cell = |phase: &str, state: &serde_json::Value, conditions: &serde_json::Value| {
        let mut cell = up_to_date("v1");
        cell["phase"] = json!(phase);
        cell["state"] = state.clone();
        cell["conditions"] = conditions.clone();
        cell
    };
    let up = json!({"state": "running"});
    let operator = json!([{"code": "needs_operator", "message": "look"}]);
    let cells = json!({
        "back": cell("rolled_back", &down, &json!([])), "bad": cell("failed", &down, &json!([])),
        "drifts": cell("up_to_date", &up, &drift), "edited": cell("up_to_date", &up, &edited), "down": cell("up_to_date", &down, &json!([])),
        "stuck": cell("failed", &down, &operator), "well": cell("up_to_date", &up, &json!([])),
    });
    let wish = || [("back", Wish { desired: Some(desired("deploy", Some("v1"), 10)), ..Wish::default() })];
    let none: [(&'static str, Wish); 0] = [];
    let labels = json!({"site": "a"});
    let view = fleet(vec![
        node("n1", Some((1, json!({"cells": cells, "store_error": fault, "labels": labels}))), wish()),
        node("n2", Some((9_999, json!({"cells": {"bad": cell("failed", &down, &json!([]))}}))), none.clone()),
        node("n3", None, none),
    ]);
    let seen = Observation::of(&view);
    let found: Vec<String> = seen.wrong.keys().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "deployment_failed:cell/n1/bad",
            "rolled_back:cell/n1/back",
            "needs_operator:cell/n1/stuck",
            "agent_dead:node/n2",
            "drift:cell/n1/drifts",
            "drift:cell/n1/edited",
            "store_degraded:node/n1",
            "health_failing:cell/n1/back",
            "health_failing:cell/n1/down",
        ]
    );
    assert_eq!(seen.wrong[&key("drift:cell/n1/drifts")].labels["site"], "a");
    assert!(seen.is_unknown(&key("deployment_failed:cell/n2/bad")) && !seen.is_unknown(&key("agent_dead:node/n2")));
    assert!(!seen.is_unknown(&key("deployment_failed:cell/n1/bad")));
}

/// One moment of a random story: how long after the one before, what is wrong, which nodes are silent, which of two
/// controllers looks, and whether it was restarted just before.
type Moment = (i64, BTreeSet<usize>, bool, bool, bool);

const KEYS: [&str; 5] = [DEAD, SICK, BACK, "drift:cell/n1/db", "needs_operator:cell/n2/db"];

fn tell(story: &[Moment]) -> (Alerts, Vec<(i64, String)>) {
    let mut controllers = [Watcher::new(), Watcher::new()];
    let (mut alerts, mut now, mut told) = (Alerts::default(), 0, Vec::new());
    for (pause, wrong, silent, which, restarted) in story {
        now += pause;
        let watcher = &mut controllers[usize::from(*which)];
        if *restarted {
            watcher.debounce = Debounce::default();
        }
        let wrong: Vec<&str> = wrong.iter().map(|at| KEYS[*at]).collect();
        let silent: &[&str] = if *silent { &["n1"] } else { &[] };
        let events = watcher.look(&mut alerts, &look(now, &wrong, silent));
        told.extend(events.into_iter().map(|event| (now, event)));
    }
    (alerts, told)
}

proptest! {
    #[test]
    fn whoever_looks_and_however_often_they_restart_an_alert_opens_and_resolves_in_turn(
        story in prop::collection::vec(
            (1..200_i64, prop::collection::btree_set(0..KEYS.len(), 0..4), any::<bool>(), any::<bool>(), prop::bool::weighted(0.1)),
            1..60,
        )
    ) {
        let (alerts, told) = tell(&story);
        prop_assert_eq!(&tell(&story), &(alerts.clone(), told.clone()), "the same story ends the same");
        let mut open = BTreeSet::new();
        for (_, event) in &told {
            let (sign, name) = event.split_at(1);
            match sign {
                "+" => prop_assert!(open.insert(name.to_owned()), "{} opened twice: {:?}", name, told),
                "-" => prop_assert!(open.remove(name), "{} resolved without being open: {:?}", name, told),
                _ => {}
            }
        }
        let listed: BTreeSet<String> = alerts.open.iter().map(|alert| alert.key().to_string()).collect();
        prop_assert_eq!(&listed, &open);
        // Each event has a number of its own.
        let numbers: BTreeSet<u64> =
            alerts.open.iter().map(|it| it.sequence).chain(alerts.resolved.iter().map(|it| it.sequence)).collect();
        prop_assert_eq!(numbers.len(), alerts.open.len() + alerts.resolved.len());
        // One that waits for two minutes cannot open any earlier than its first look allows.
        for alert in &alerts.open {
            let rule = AlertRules::default();
            prop_assert!(alert.opened_at - alert.since >= rule.of(alert.kind).after);
        }
    }
}
