use serde_json::{Value, json};

use super::*;
use crate::controller::fleet::sample::{desired, fleet, node, up_to_date};
use crate::controller::fleet::view::Wish;

fn wish(secs_ago: i64) -> Wish {
    Wish { desired: Some(desired("deploy", Some("v2"), secs_ago)), ..Wish::default() }
}

/// What is found about nodes, each as "severity subject code", and its words.
fn found(nodes: Vec<std::sync::Arc<NodeView>>) -> Vec<(String, String)> {
    let attention = fleet(nodes).attention(AttentionLimits::default());
    let told = attention.into_iter().map(|it| {
        let subject = match it.subject {
            Subject::Node(node) => node.to_string(),
            Subject::Cell(cell) => cell.to_string(),
            Subject::Agents => "agents".to_owned(),
        };
        (format!("{:?} {subject} {}", it.severity, it.concern.code()), it.concern.to_string())
    });
    told.collect()
}

/// What is found about a cell of a healthy node that says this of it; desired was a version a minute ago.
fn of_cell(report: Value) -> Vec<(String, String)> {
    found(vec![node("n1", Some((1, json!({"cells": {"web": report}}))), [("web", wish(60))])])
}

fn with(mut report: Value, said: Value) -> Value {
    report.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
    report
}

#[test]
fn a_fleet_that_is_well_needs_nothing() {
    assert_eq!(of_cell(up_to_date("v2")), []);
    assert_eq!(found(vec![]), []);
}

#[test]
fn nodes_that_are_not_heard_of_come_worst_first_and_stand_for_their_cells() {
    let said = || json!({"cells": {"web": {"phase": "failed", "state": {"state": "stopped"}}}, "signing": "unsigned"});
    let all = found(vec![
        node("n1", None, [("web", wish(9_000))]),
        node("n2", Some((130, json!({}))), []),
        node("n3", Some((3_600, said())), []),
    ]);
    let all: Vec<&str> = all.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(all, ["Critical n3 dead", "Warning n1 never_seen", "Warning n2 silent"]);
}

#[test]
fn a_disk_that_is_nearly_full_is_told_of() {
    let disk = |free: u64, all: u64| {
        let host = json!({"host": {"disk_bytes": all, "disk_free_bytes": free}});
        found(vec![node("n1", Some((1, host)), [])]).pop().map(|(what, words)| format!("{what}: {words}"))
    };
    assert_eq!(disk(101, 1_000), None);
    assert_eq!(disk(100, 1_000).unwrap(), "Notice n1 full_disk: 90 % of its disk are in use");
    assert_eq!(disk(0, u64::MAX).unwrap(), "Notice n1 full_disk: 100 % of its disk are in use");
    assert_eq!(disk(0, 0), None, "it says nothing of its disk");
    assert_eq!(disk(7, 1), None, "what cannot be");
    let told = json!({"host": {"disk_bytes": 9}, "conditions": [{"code": "disk_full", "message": "no room for r2"}]});
    let told = found(vec![node("n1", Some((1, told)), [])]);
    assert_eq!(told.into_iter().map(|(_, words)| words).collect::<Vec<_>>(), ["disk_full: no room for r2"]);
}

#[test]
fn what_a_node_says_is_wrong_with_it_is_told() {
    let fault = json!({"code": "denied", "message": "no <b>", "at": "2026-01-02T03:00:00Z"});
    let conditions: Vec<Value> = ["duplicate_node", "floor_rebuilt", "made_up"]
        .iter()
        .map(|code| json!({"code": code, "message": "why"}))
        .chain((0..50).map(|_| json!({"code": "io", "message": "x".repeat(9_999)})))
        .collect();
    let said = json!({"signing": "unsigned", "store_error": fault, "clock_skew_ms": 95_000, "conditions": conditions});
    let all = found(vec![node("n1", Some((1, said)), [])]);
    let codes: Vec<&str> = all.iter().map(|(what, _)| what.as_str()).collect();
    let expected = [
        "Critical n1 duplicate_node",
        "Warning n1 unsigned",
        "Warning n1 denied",
        "Warning n1 clock_skew",
        "Warning n1 unknown",
    ];
    assert_eq!(codes[..5], expected);
    assert_eq!((codes.len(), *codes.last().unwrap()), (3 + MOST_CONDITIONS, "Notice n1 floor_rebuilt"));
    assert_eq!(all[2].1, "trouble with the bucket: denied: no <b>");
    assert_eq!(all[3].1, "its clock is 95 s behind the store's");
    assert!(all.iter().all(|(_, text)| text.len() < 400), "hostile text is cut");
    let ahead = found(vec![node("n1", Some((1, json!({"clock_skew_ms": -31_000}))), [])]);
    assert_eq!(ahead[0].1, "its clock is 31 s ahead of the store's");
    assert_eq!(found(vec![node("n1", Some((1, json!({"clock_skew_ms": 30_000}))), [])]), [], "a little is fine");
    // A number that no clock can be off by is none.
    let absurd = found(vec![node("n1", Some((1, json!({"clock_skew_ms": i64::MIN}))), [])]);
    assert!(absurd.len() <= 1);
}

#[test]
fn what_cannot_be_read_or_believed_is_told() {
    let mut silent = NodeView::clone(&node("n1", Some((1, json!({}))), []));
    silent.problems.push("heartbeat: it is no JSON".to_owned());
    let forged = Wish { problem: Some("forged".to_owned()), ..Wish::default() };
    let all = found(vec![silent.into(), node("n2", None, [("web", forged)])]);
    let codes: Vec<&str> = all.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(codes, ["Critical n1 unreadable", "Critical n2/web not_believed", "Warning n2 never_seen"]);
}

#[test]
fn the_worst_about_a_cell_is_told_once() {
    let fault = json!({"code": "unhealthy", "message": "never came up", "at": "2026-01-02T03:00:00Z"});
    let says = |said: Value| of_cell(with(up_to_date("v2"), said));
    for (said, expected) in [
        (
            json!({"phase": "failed", "last_error": fault, "state": {"state": "failed", "reason": "x"}}),
            "Critical n1/web failed",
        ),
        (json!({"phase": "rolled_back", "last_error": fault}), "Warning n1/web rolled_back"),
        (
            json!({"phase": "rolled_back", "conditions": [{"code": "needs_operator", "message": "no"}]}),
            "Critical n1/web needs_operator",
        ),
        (json!({"phase": "held", "conditions": [{"code": "reset", "message": "by hand"}]}), "Warning n1/web held"),
        (json!({"phase": "inconsistent"}), "Warning n1/web inconsistent"),
        (json!({"state": {"state": "failed", "reason": "exit code 1"}}), "Critical n1/web down"),
        (
            json!({"state": {"state": "running", "since": "2026-01-02T03:59:00Z", "restarts": 5}}),
            "Warning n1/web degraded",
        ),
        (
            json!({"conditions": [{"code": "unit_extended", "message": "a"}, {"code": "unit_drift", "message": "b"}]}),
            "Warning n1/web unit_drift",
        ),
        (
            json!({"conditions": [{"code": "drift_unchecked", "message": "a"}, {"code": "drifted", "message": "b"}]}),
            "Warning n1/web drifted",
        ),
        (json!({"conditions": [{"code": "drift_unchecked", "message": "a"}]}), "Notice n1/web drift_unchecked"),
    ] {
        let codes: Vec<String> = says(said).into_iter().map(|(what, _)| what).collect();
        assert_eq!(codes, [expected]);
    }
    let bringing_up = json!({"phase": "checking", "state": {"state": "failed", "reason": "not yet"}});
    assert_eq!(says(bringing_up), [], "it is being brought up");
    let failed = says(json!({"phase": "failed", "last_error": fault}));
    assert_eq!(failed[0].1, "the deployment failed: unhealthy: never came up");
}

#[test]
fn a_cell_is_late_only_after_a_while() {
    let waits = json!({"phase": "waiting", "state": {"state": "running"},
        "waiting": {"reason": "file_missing", "message": "app", "since": "2026-01-02T03:00:00Z"}});
    let late =
        |secs_ago| found(vec![node("n1", Some((1, json!({"cells": {"web": waits}}))), [("web", wish(secs_ago))])]);
    assert_eq!(late(599), []);
    assert_eq!(
        late(600),
        [("Warning n1/web out_of_sync".to_owned(), "not yet what it is to be: file_missing: app".to_owned())]
    );
    let unheard = found(vec![node("n1", Some((1, json!({}))), [("web", wish(600))])]);
    assert_eq!(unheard[0].1, "not yet what it is to be: its node says nothing of it");
    assert_eq!(found(vec![node("n1", Some((1, json!({}))), [("web", Wish::default())])]), [], "never published");

    let window = |until: Option<&str>| {
        let waiting = json!({"reason": "window", "message": "closed", "since": "2026-01-02T03:00:00Z", "until": until});
        let waits = json!({"phase": "waiting", "state": {"state": "running"}, "waiting": waiting});
        found(vec![node("n1", Some((1, json!({"cells": {"web": waits}}))), [("web", wish(600))])]).len()
    };
    assert_eq!(window(Some("2026-01-03T01:00:00Z")), 0, "it waits as somebody wanted it");
    assert_eq!(window(None), 1, "it would wait for ever");
}

#[test]
fn agents_of_other_versions_than_the_newest_are_counted() {
    let old = |versions: &[&str]| {
        let nodes = versions
            .iter()
            .enumerate()
            .map(|(number, version)| node(&format!("n{number}"), Some((1, json!({"agent_version": version}))), []));
        found(nodes.collect()).into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    assert_eq!(old(&["1.2.0", "1.2.0"]), Vec::<String>::new());
    assert_eq!(old(&["1.9.0", "1.10.0"]), ["1 agent is not at 1.10.0, the newest seen"]);
    assert_eq!(old(&["1.2.0-rc.1", "1.2.0", "zebra"]), ["2 agents are not at 1.2.0, the newest seen"]);
    let dead = node("n1", Some((9_999, json!({"agent_version": "9.0.0"}))), []);
    let all = found(vec![dead, node("n2", Some((1, json!({}))), [])]);
    assert_eq!(all.len(), 1, "only that it is dead: {all:?}");
}
