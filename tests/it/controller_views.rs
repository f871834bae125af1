//! Reading the fleet: what it is to be, what it is, and when a publish has arrived.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use fleetman::controller::{
    FleetReader, FleetView, FollowedHow, Guard, Health, Known, Liveness, LivenessLimits, PublishRequest, Sync,
    VersionState,
};
use fleetman::model::heartbeat::VersionReport;
use fleetman::model::trigger::Target;
use fleetman::model::{Floor, NodeName};
use serde_json::{Value, json};

use crate::support::fleet::{Bench, FLEET, cell, code, site};
use crate::support::proxy::{Fault, On, Rule};
use crate::support::{PATIENCE, wait_for};

fn report(phase: &str, at: Floor, running: &Target) -> Value {
    let running = VersionReport::from(running);
    json!({"phase": phase, "state": {"state": "n/a"}, "seen": at, "applied": at, "running": running})
}

async fn heartbeat(bench: &Bench, node: &str, report: Value) {
    let beat = json!({
        "schema": "fleetman/heartbeat/1", "node": node, "fleet": FLEET, "agent_version": "0",
        "instance_id": FLEET, "sequence": 1, "started_at": "2026-01-02T03:04:05Z",
        "reported_at": "2026-01-02T03:04:05Z", "interval_secs": 60, "signing": "signed", "cells": {"web": report},
    });
    bench.overwrite(&format!("agents/{node}.json"), beat.to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_says_of_processes_is_in_the_view_of_its_cell() {
    let bench = Bench::start().await;
    let published = bench.publish("v1", "hello").await;
    let mut report = report("checking", published.at, published.target.as_ref().unwrap());
    report["processes"] = json!({"main": {"state": "backoff", "restarts": 3, "exit_code": 1, "new": 1}});
    heartbeat(&bench, "n1", report).await;
    let view = FleetReader::new(LivenessLimits::default()).refresh(&bench.controller().await).await.unwrap();
    let shown = serde_json::to_value(fleetman::web::views::Cell::from(view.cell(&cell()).unwrap())).unwrap();
    assert_eq!(shown["processes"], json!({"main": {"state": "backoff", "restarts": 3, "exit_code": 1}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_lists_twice_and_reads_only_what_changed() {
    let bench = Bench::start().await;
    bench.apply("cell: n2/web\nmanifest: site\n").await;
    let first = bench.publish("v1", "hello").await;
    heartbeat(&bench, "n1", report("up_to_date", first.at, first.target.as_ref().unwrap())).await;
    let controller = bench.controller().await;
    let mut reader = FleetReader::new(LivenessLimits::default());
    reader.refresh(&controller).await.unwrap();

    bench.proxy.clear_log();
    let view = reader.refresh(&controller).await.unwrap();
    assert_eq!((bench.proxy.count(On::list("*")), bench.proxy.log().len()), (2, 2));
    assert_eq!(view.nodes.len(), 2);
    let web = view.cell(&cell()).unwrap();
    assert_eq!((web.sync, web.health, web.liveness), (Sync::Synced, Health::NotApplicable, Liveness::Active));
    let about = web.about().unwrap();
    assert_eq!((about.manifest.clone(), about.labels["tier"].as_str()), (site(), "front"));
    let other = view.cell(&"n2/web".parse().unwrap()).unwrap();
    assert_eq!((other.sync, other.liveness), (Sync::Unknown, Liveness::Unknown), "its node was never heard of");

    bench.publish("v2", "bye").await;
    bench.proxy.clear_log();
    let view = reader.refresh(&controller).await.unwrap();
    assert_eq!(bench.proxy.log().len(), 3, "one index changed");
    assert_eq!(view.cell(&cell()).unwrap().sync, Sync::OutOfSync);
    bench.clock.pass(TimeDelta::minutes(10));
    let view = reader.refresh(&controller).await.unwrap();
    assert_eq!(view.nodes[0].liveness, Liveness::Dead);
    assert_eq!(view.cell(&cell()).unwrap().sync, Sync::Unknown);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_the_store_refuses_hides_no_other_node_and_is_read_once_it_may_be() {
    let bench = Bench::start().await;
    let first = bench.publish("v1", "hello").await;
    for node in ["n1", "n2"] {
        heartbeat(&bench, node, report("up_to_date", first.at, first.target.as_ref().unwrap())).await;
    }
    bench.overwrite("agents/n3.json", vec![b' '; (1 << 20) + 1]).await;
    let controller = bench.controller().await;
    let mut reader = FleetReader::new(LivenessLimits::default());
    bench.proxy.inject(Rule::new(On::get("*/agents/n2.json"), Fault::status(400)));
    let view = reader.refresh(&controller).await.unwrap();
    let problems = |view: &FleetView, node: &str| view.node(&NodeName::new(node).unwrap()).unwrap().problems.join(" ");
    assert_eq!((problems(&view, "n1").as_str(), view.nodes.len()), ("", 3));
    assert!(problems(&view, "n2").contains("refuses the request with 400"), "{}", problems(&view, "n2"));
    assert!(problems(&view, "n3").contains("larger than"), "{}", problems(&view, "n3"));
    let again = reader.refresh(&controller).await.unwrap();
    assert_eq!((again.revision, reader.looked().lists, reader.looked().gets), (view.revision, 2, 1));
    bench.proxy.heal();
    let healed = reader.refresh(&controller).await.unwrap();
    assert_eq!((healed.revision, problems(&healed, "n2").as_str()), (view.revision + 1, ""));
    assert!(Arc::ptr_eq(&view.nodes[0], &healed.nodes[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_the_store_went_away_is_not_read_again() {
    let bench = Bench::start().await;
    let first = bench.publish("v1", "hello").await;
    for number in 0..40 {
        heartbeat(&bench, &format!("n{number}"), report("up_to_date", first.at, first.target.as_ref().unwrap())).await;
    }
    let controller = bench.controller().await;
    let mut reader = FleetReader::new(LivenessLimits::default());
    bench.proxy.inject(Rule::new(On::get("*/agents/*"), Fault::LoseRequest).skip(30));
    reader.refresh(&controller).await.unwrap_err();
    bench.proxy.heal();
    assert_eq!(reader.refresh(&controller).await.unwrap().nodes.len(), 40);
    let again = reader.looked().gets;
    assert!((1..=20).contains(&again), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_seen_in_the_index() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    controller.pause(&cell(), "holidays", &Known::Anything).await.unwrap();
    let view = FleetReader::new(LivenessLimits::default()).refresh(&controller).await.unwrap();
    assert_eq!(view.cell(&cell()).unwrap().about().unwrap().paused.as_deref(), Some("holidays"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_cell_is_shown_as_its_history_says_even_where_the_index_lags() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    bench.publish("v1", "hello").await;
    bench.greet("bye").await;
    bench.proxy.stop_after_writes(6);
    controller.publish(&PublishRequest::new(cell()), &Guard::default()).await.unwrap_err();
    bench.proxy.heal();
    let (view, is_finished) = controller.cell_status(&cell(), LivenessLimits::default()).await.unwrap();
    assert_eq!((view.desired_at().unwrap().generation.get(), is_finished), (2, false));
    let nobody = controller.cell_status(&"n1/nothing".parse().unwrap(), LivenessLimits::default()).await;
    assert_eq!(code(nobody.map(|_| ())), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_is_followed_until_its_node_is_done() {
    let bench = Bench::start().await;
    let first = bench.publish("v1", "hello").await;
    let target = first.target.clone().unwrap();
    let controller = bench.controller().await;
    let mut phases = Vec::new();
    let look = On::get("*/agents/n1.json");
    let agent = async {
        let looked = async |times| {
            let before = bench.proxy.count(look.clone());
            wait_for(async || bench.proxy.count(look.clone()) >= before + times, "a look at the heartbeat").await;
        };
        looked(2).await;
        heartbeat(&bench, "n1", json!({"phase": "fetching", "state": {"state": "n/a"}, "seen": first.at})).await;
        looked(2).await;
        heartbeat(&bench, "n1", report("up_to_date", first.at, &target)).await;
    };
    let cell_id = cell();
    let follow = controller.follow(&cell_id, first.at, Some(PATIENCE), |report| phases.push(report.phase));
    let (followed, ()) = tokio::join!(follow, agent);
    assert_eq!(followed.unwrap().how, FollowedHow::Applied);
    let phases: Vec<&str> = phases.into_iter().map(fleetman::model::heartbeat::Phase::as_str).collect();
    assert_eq!(phases, ["fetching", "up_to_date"]);

    let second = bench.publish("v2", "bye").await;
    let patience = Some(Duration::from_millis(300));
    let error = controller.follow(&cell(), second.at, patience, |_| {}).await.unwrap_err();
    assert_eq!((error.code(), error.kind().exit_code()), ("timed_out", 7));
    heartbeat(&bench, "n1", report("rolled_back", second.at, &target)).await;
    let followed = controller.follow(&cell(), second.at, patience, |_| {}).await.unwrap();
    assert_eq!(followed.how, FollowedHow::RolledBack);
    let superseded = controller.follow(&cell(), first.at, patience, |_| {}).await.unwrap();
    assert_eq!(superseded.how, FollowedHow::Superseded { by: second.at });
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_are_looked_at_again_do_not_travel_again() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    for version in ["v1", "v2", "v3"] {
        bench.publish(version, version).await;
    }
    let look = async || {
        bench.proxy.clear_log();
        let shown = controller.timeline(&cell(), 0, 50).await.unwrap().versions;
        (bench.proxy.log().len(), bench.proxy.count(On::get("*/manifest.json")), shown)
    };
    let (first, manifests, shown) = look().await;
    let facts = shown[0].version.facts.as_ref().unwrap();
    assert_eq!((manifests, shown.len(), facts.files, facts.created_by.as_str()), (3, 3, 2, "alice"));
    let (second, asked_again, again) = look().await;
    assert_eq!((asked_again, second <= first), (3, true), "each is asked for, to know that it is the same");
    let same = shown.iter().zip(&again).all(|(before, now)| {
        let facts = (&before.version.facts, &now.version.facts);
        matches!(facts, (Some(before), Some(now)) if std::sync::Arc::ptr_eq(before, now))
    });
    assert!(same, "and none is taken apart again");

    bench.overwrite("cells/n1/web/versions/v3/manifest.json", "{").await;
    let (.., tampered) = look().await;
    assert!(tampered.iter().any(|line| matches!(line.version.state, VersionState::Unreadable { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_what_is_whole_what_is_not_and_who_needs_it() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let published = bench.publish("v1", "hello").await;
    heartbeat(&bench, "n1", report("up_to_date", published.at, published.target.as_ref().unwrap())).await;
    bench.overwrite("cells/n1/web/versions/v2/files/0123456789abcdef/a", "a").await;
    bench.overwrite("cells/n1/web/versions/v3/manifest.json", "{").await;
    let versions = controller.versions(&cell()).await.unwrap();
    let states: Vec<(&str, &VersionState)> = versions.iter().map(|view| (view.name.as_str(), &view.state)).collect();
    assert!(
        matches!(
            states[..],
            [("v1", VersionState::Whole), ("v2", VersionState::Unfinished), ("v3", VersionState::Unreadable { .. })]
        ),
        "{states:?}"
    );
    assert_eq!(versions[0].needed, ["desired by generation 1", "running on n1"]);

    bench.overwrite("deployments/site/r2/files/0123456789abcdef/a", "a").await;
    bench.overwrite("deployments/site/r3/deployment.json", "{").await;
    let deployments = controller.deployments(None).await.unwrap();
    let states: Vec<_> = deployments.iter().map(|view| (view.name.as_str(), &view.deployment)).collect();
    assert!(matches!(states[..], [("r1", Ok(Some(_))), ("r2", Ok(None)), ("r3", Err(_))]), "{states:?}");
    assert_eq!(controller.manifests().await.unwrap()[0].name, site());
    assert_eq!(controller.outcomes(&cell(), 10).await.unwrap(), []);
}
