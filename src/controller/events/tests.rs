use serde_json::{Value, json};

use super::*;
use crate::controller::fleet_sample::{Wish, desired, fleet, node, up_to_date};

/// One node with the cell `web`, of which this is said.
fn said(report: &Value) -> FleetView {
    fleet(vec![node("n1", Some((1, json!({"cells": {"web": report}}))), [])])
}

fn told(before: &FleetView, after: &FleetView) -> Vec<(EventKind, String, Option<String>)> {
    between(before, after).into_iter().map(|event| (event.kind, event.state, event.message)).collect()
}

fn kind(kind: EventKind, state: &str, message: Option<&str>) -> (EventKind, String, Option<String>) {
    (kind, state.to_owned(), message.map(ToOwned::to_owned))
}

fn with(mut report: Value, more: &Value) -> Value {
    report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    report
}

#[test]
fn where_nothing_is_other_than_before_nothing_happened() {
    let good = said(&up_to_date("v1"));
    assert_eq!(told(&good, &good), []);
    assert_eq!(told(&good, &said(&up_to_date("v1"))), [], "also when it was read anew");
}

#[test]
fn a_deployment_is_told_step_by_step() {
    let wish = |generation| {
        let mut wish = desired("deploy", Some("v2"), 10);
        wish.claim.at.generation = crate::model::Generation::new(generation).unwrap();
        wish.reason = Some("faster".to_owned());
        let wish = Wish { desired: Some(wish), ..Wish::default() };
        fleet(vec![node("n1", Some((1, json!({"cells": {"web": up_to_date("v1")}}))), [("web", wish)])])
    };
    let events = between(&wish(3), &wish(4));
    let [event] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((event.kind, event.state.as_str(), event.by.as_deref()), (EventKind::Wished, "deploy", Some("alice")));
    assert_eq!((event.version.as_ref().unwrap().as_str(), event.message.as_deref()), ("v2", Some("faster")));
    assert_eq!(event.at, crate::controller::fleet_sample::now() - chrono::TimeDelta::seconds(10), "when it was wished");

    let good = said(&up_to_date("v1"));
    let waiting = json!({"reason": "window", "message": "closed until 2", "since": "2026-01-02T03:04:05Z"});
    let waits = said(&with(up_to_date("v1"), &json!({"phase": "waiting", "waiting": waiting})));
    assert_eq!(told(&good, &waits), [kind(EventKind::Phase, "waiting", Some("closed until 2"))]);
    let fault = json!({"code": "unhealthy", "message": "it ended", "at": "2026-01-02T03:04:05Z"});
    let back = said(&with(up_to_date("v1"), &json!({"phase": "rolled_back", "last_error": fault})));
    let events = told(&waits, &back);
    assert_eq!(events[0], kind(EventKind::Phase, "rolled_back", Some("unhealthy: it ended")));
    // What is over is not told again with what comes next.
    let next = said(&with(up_to_date("v2"), &json!({"last_error": fault})));
    assert_eq!(told(&back, &next)[0], kind(EventKind::Phase, "up_to_date", None));
}

#[test]
fn health_and_drift_are_told_of_nodes_that_are_heard_of_alone() {
    let down = with(up_to_date("v1"), &json!({"state": {"state": "failed", "reason": "x"}}));
    let (good, bad) = (said(&up_to_date("v1")), said(&down));
    let state = bad.nodes[0].cells[0].health.as_str();
    assert_eq!(told(&good, &bad), [kind(EventKind::Health, state, None)]);

    let drift = json!({"state": "drifted", "checked_at": "2026-01-02T03:04:05Z", "findings": []});
    let drifted = said(&with(up_to_date("v1"), &json!({ "drift": drift })));
    assert_eq!(told(&good, &drifted), [kind(EventKind::Drift, "drifted", None)]);

    let silent = fleet(vec![node("n1", Some((100_000, json!({"cells": {"web": up_to_date("v1")}}))), [])]);
    assert_eq!(told(&good, &silent), [kind(EventKind::Liveness, "dead", None)]);
    assert_eq!(told(&fleet(vec![]), &silent)[0], kind(EventKind::Liveness, "dead", None), "it is new");
}

#[test]
fn holds_are_told_once_and_that_of_a_node_not_for_each_cell() {
    let hold = |whole_node: bool| {
        json!({"order": "01JZZZZZZZZZZZZZZZZZZZZZZZ", "by": "bob", "reason": "a leak",
            "since": "2026-01-02T03:00:00Z", "until": "2026-01-02T05:00:00Z", "whole_node": whole_node})
    };
    let good = said(&up_to_date("v1"));
    let held = said(&with(up_to_date("v1"), &json!({"hold": hold(false)})));
    let words = "until 2026-01-02T05:00:00Z: a leak";
    assert_eq!(told(&good, &held), [kind(EventKind::Hold, "held", Some(words))]);
    assert_eq!(told(&held, &good), [kind(EventKind::Unhold, "released", None)]);
    let cell = with(up_to_date("v1"), &json!({"hold": hold(true)}));
    let whole = fleet(vec![node("n1", Some((1, json!({"cells": {"web": cell}, "hold": hold(true)}))), [])]);
    let events = between(&good, &whole);
    let about: Vec<(EventKind, Option<&CellId>)> =
        events.iter().map(|event| (event.kind, event.cell.as_ref())).collect();
    assert_eq!(about, [(EventKind::Hold, None)]);
    assert_eq!(events[0].by.as_deref(), Some("bob"));
}

#[test]
fn a_scope_has_what_becomes_of_its_node_and_nothing_of_others() {
    let at = crate::controller::fleet_sample::now();
    let cell = |name: &str| name.parse::<CellId>().unwrap();
    let of_cell = Event::of_cell(at, EventKind::Phase, &cell("n1/web"), "waiting");
    let of_node = Event::of_node(at, EventKind::Liveness, &cell("n1/web").node, "dead");
    let of_all = Event { node: None, ..of_node.clone() };
    let scopes =
        [Scope::Fleet, Scope::Node(cell("n1/web").node), Scope::Cell(cell("n1/web")), Scope::Cell(cell("n1/db"))];
    let seen = |event: &Event| scopes.iter().map(|scope| event.is_in(scope)).collect::<Vec<_>>();
    assert_eq!(seen(&of_cell), [true, true, true, false]);
    assert_eq!(seen(&of_node), [true; 4]);
    assert_eq!(seen(&of_all), [true, false, false, false]);
    assert!(!of_cell.is_in(&Scope::Node(cell("n2/web").node)));
}
