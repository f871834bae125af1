//! Deleting: only what nobody needs, slowly where somebody might still come for it, and never to start again.

use chrono::TimeDelta;
use fleetman::controller::{
    ControllerError, Deletion, DeletionOutlook, Guard, Known, LivenessLimits, PublishRequest, StopRequest,
    UploadOptions, VersionState,
};
use fleetman::model::heartbeat::VersionReport;
use fleetman::model::trigger::Target;
use fleetman::model::{Floor, ManifestName, VersionName};
use serde_json::{Value, json};

use crate::support::fleet::{Bench, FLEET, cell, code, request, site};

fn version(name: &str) -> VersionName {
    name.parse().unwrap()
}

async fn heartbeat(bench: &Bench, report: Value) {
    let beat = json!({
        "schema": "fleetman/heartbeat/1", "node": "n1", "fleet": FLEET, "agent_version": "0",
        "instance_id": FLEET, "sequence": 1, "started_at": "2026-01-02T03:04:05Z",
        "reported_at": "2026-01-02T03:04:05Z", "interval_secs": 60, "signing": "signed", "cells": {"web": report},
    });
    bench.overwrite("agents/n1.json", beat.to_string()).await;
}

fn report(phase: &str, at: Floor, running: Option<&Target>, known_good: Option<&Target>) -> Value {
    let [running, known_good] = [running, known_good].map(|target| target.map(VersionReport::from));
    json!({"phase": phase, "state": {"state": "n/a"}, "seen": at, "applied": at, "running": running, "known_good": known_good})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_another_one_than_was_seen_is_not_even_marked() {
    let bench = Bench::start().await;
    let first = bench.publish("v1", "hello").await.target.unwrap();
    let second = bench.publish("v2", "bye").await.target.unwrap();
    let controller = bench.controller().await;
    let delete = async |seen| controller.delete_seen_version(&cell(), &version("v1"), seen).await;
    let before = bench.keys("cells/").await;
    assert_eq!(code(delete(second.manifest_sha256).await), "changed");
    assert_eq!(bench.keys("cells/").await, before);
    assert!(matches!(delete(first.manifest_sha256).await.unwrap(), Deletion::Marked { .. }));
    bench.clock.pass(TimeDelta::minutes(61));
    assert_eq!(code(delete(second.manifest_sha256).await), "changed");
    assert!(matches!(delete(first.manifest_sha256).await.unwrap(), Deletion::Done { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_marked_first_and_deleted_an_hour_later() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.publish("v2", "bye").await;
    let controller = bench.controller().await;
    let delete = async || controller.delete_version(&cell(), &version("v1")).await;
    let outlook = async || controller.deletion_outlook(&cell(), &version("v1")).await;
    assert_eq!(outlook().await.unwrap(), DeletionOutlook { needed_by: None, ready_at: None, is_ready: false });
    let Deletion::Marked { ready_at } = delete().await.unwrap() else { panic!("it was deleted at once") };
    let states: Vec<bool> = controller
        .versions(&cell())
        .await
        .unwrap()
        .iter()
        .map(|view| matches!(view.state, VersionState::Deleting { .. }))
        .collect();
    assert_eq!(states, [true, false]);
    bench.clock.pass(TimeDelta::minutes(59));
    assert!(matches!(delete().await.unwrap(), Deletion::Marked { .. }));
    let marked = outlook().await.unwrap();
    assert!(!marked.is_ready && (marked.ready_at.unwrap() - ready_at).num_seconds().abs() < 60, "{marked:?}");
    // Nobody comes to need it meanwhile.
    bench.greet("hello").await;
    assert_eq!(code(controller.publish(&request("v1"), &Guard::default()).await), "deleting");
    assert_eq!(code(controller.plan(&request("v1")).await), "deleting", "a plan says what publishing would");
    let generated = controller.publish(&PublishRequest::new(cell()), &Guard::default()).await.unwrap();
    assert_ne!(generated.target.unwrap().version, version("v1"), "a marked version is not found by its content");

    bench.clock.pass(TimeDelta::minutes(2));
    assert!(outlook().await.unwrap().is_ready);
    assert!(matches!(delete().await.unwrap(), Deletion::Done { objects: 4 }));
    assert!(bench.keys("cells/n1/web/versions/v1/").await.is_empty());
    assert_eq!(code(delete().await), "not_found");
    assert_eq!(code(outlook().await), "not_found");
    // The name is free, for other bytes too; what history says of the old ones is not mixed up with them.
    bench.greet("ciao").await;
    let again = controller.publish(&request("v1"), &Guard::default()).await;
    assert_eq!(again.unwrap().target.unwrap().version, version("v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_desired_runs_or_is_to_go_back_to_is_kept() {
    let bench = Bench::start().await;
    let v1 = bench.publish("v1", "hello").await.target.unwrap();
    let v2 = bench.publish("v2", "bye").await.target.unwrap();
    let newest = bench.publish("v3", "ciao").await;
    heartbeat(&bench, report("failed", newest.at, Some(&v2), Some(&v1))).await;
    let controller = bench.controller().await;
    for (name, by) in [("v1", "to go back to"), ("v2", "runs it"), ("v3", "generation 3 desires it")] {
        let error = controller.delete_version(&cell(), &version(name)).await.unwrap_err();
        assert_eq!(error.code(), "in_use");
        assert!(error.to_string().contains(by), "{error}");
    }
    // A heartbeat that nobody can read may name anything.
    bench.overwrite("agents/n1.json", "{").await;
    assert_eq!(code(controller.delete_version(&cell(), &version("v1")).await), "in_use");
    bench.delete("agents/n1.json").await;
    assert!(matches!(controller.delete_version(&cell(), &version("v1")).await.unwrap(), Deletion::Marked { .. }));
    // Somebody comes to need it within the hour: the mark is taken back.
    heartbeat(&bench, report("up_to_date", newest.at, Some(&v1), None)).await;
    assert_eq!(code(controller.delete_version(&cell(), &version("v1")).await), "in_use");
    assert!(bench.read("cells/n1/web/versions/v1/deleting.json").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_trigger_names_is_kept_while_agents_may_read_that_trigger() {
    let bench = Bench::start().await;
    let keys = ["cells/n1/web/trigger.json", "index/n1.json"];
    bench.publish("v1", "hello").await;
    let old = [bench.read(keys[0]).await.unwrap(), bench.read(keys[1]).await.unwrap()];
    bench.publish("v2", "bye").await;
    let controller = bench.controller().await;
    for (key, old) in keys.into_iter().zip(old) {
        bench.overwrite(key, old).await;
        let error = controller.delete_version(&cell(), &version("v1")).await.unwrap_err();
        assert_eq!(error.code(), "in_use");
        assert!(error.to_string().contains("generation 2 (deploy) is not copied"), "{error}");
        controller.publish(&request("v2"), &Guard::default()).await.unwrap();
    }
    assert!(matches!(controller.delete_version(&cell(), &version("v1")).await.unwrap(), Deletion::Marked { .. }));
    // Nor is a cell forgotten whose tombstone would still say deploy.
    let stop = StopRequest { cell: cell(), reason: None };
    let deployed = bench.read(keys[0]).await.unwrap();
    controller.remove(&stop, false, &Guard::default()).await.unwrap();
    bench.overwrite(keys[0], deployed).await;
    assert_eq!(code(controller.delete_cell(&cell(), &Guard::default()).await), "in_use");
    controller.remove(&stop, false, &Guard::default()).await.unwrap();
    controller.delete_cell(&cell(), &Guard::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_goes_after_its_node_removed_it_and_its_generations_never_start_again() {
    let bench = Bench::start().await;
    let target = bench.publish("v1", "hello").await.target.unwrap();
    let controller = bench.controller().await;
    assert_eq!(code(controller.delete_cell(&cell(), &Guard::default()).await), "in_use");
    let stop = StopRequest { cell: cell(), reason: None };
    let removed = controller.remove(&stop, false, &Guard::default()).await.unwrap();
    heartbeat(&bench, report("activating", removed.at, Some(&target), None)).await;
    let error = controller.delete_cell(&cell(), &Guard::default()).await.unwrap_err();
    assert!(error.to_string().contains("n1 has not removed it yet"), "{error}");
    heartbeat(&bench, report("removed", removed.at, None, None)).await;
    assert!(matches!(controller.delete_cell(&cell(), &Guard::default()).await.unwrap(), Deletion::Done { .. }));
    let left = bench.keys("cells/n1/web/").await;
    assert_eq!(left, ["cells/n1/web/history/0001-0000000000000002.json", "cells/n1/web/trigger.json"]);
    assert_eq!(code(controller.delete_cell(&cell(), &Guard::default()).await), "not_found");
    let view = fleetman::controller::FleetReader::new(LivenessLimits::default()).refresh(&controller).await.unwrap();
    assert!(view.cells().next().is_none(), "{:?}", view.nodes);

    bench.greet("hello").await;
    let again = controller.publish(&PublishRequest::new(cell()), &Guard::default()).await.unwrap();
    assert_eq!(again.at.generation.get(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_goes_after_its_cells_and_its_releases() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let error = controller.delete_manifest(&site(), &Known::Anything).await.unwrap_err();
    assert!(error.to_string().contains("cell n1/web"), "{error}");
    let text = bench.read("cells/n1/web/cell.yaml").await.unwrap();
    bench.overwrite("cells/n1/web/cell.yaml", "cell: [\n").await;
    let error = controller.delete_manifest(&site(), &Known::Anything).await.unwrap_err();
    assert_eq!(error.code(), "in_use");
    let told = error.to_string();
    assert!(told.contains("cell n1/web may be made from it") && told.contains("cells/n1/web/cell.yaml"), "{told}");
    assert!(told.contains("fleetman apply"), "{told}");
    bench.overwrite("cells/n1/web/cell.yaml", text).await;
    controller.delete_cell(&cell(), &Guard::default()).await.unwrap();
    let error = controller.delete_manifest(&site(), &Known::Anything).await.unwrap_err();
    assert!(error.to_string().contains("r1"), "{error}");
    controller.delete_deployment(&site(), &"r1".parse().unwrap(), &Known::Anything).await.unwrap();
    assert!(bench.keys("deployments/").await.is_empty());
    assert_eq!(
        code(controller.delete_deployment(&site(), &"r1".parse().unwrap(), &Known::Anything).await),
        "not_found"
    );
    controller.delete_manifest(&site(), &Known::Anything).await.unwrap();
    assert_eq!(code(controller.delete_manifest(&site(), &Known::Anything).await), "not_found");
    assert_eq!(
        code(controller.delete_manifest(&ManifestName::new("other").unwrap(), &Known::Anything).await),
        "not_found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_goes_only_when_the_store_has_not_heard_of_the_node_for_long() {
    let bench = Bench::start().await;
    let target = bench.publish("v1", "hello").await;
    heartbeat(&bench, report("up_to_date", target.at, None, None)).await;
    let controller = bench.controller().await;
    let node = cell().node;
    let delete = async || controller.delete_heartbeat(&node, LivenessLimits::default(), &Known::Anything).await;
    let error = delete().await.unwrap_err();
    assert!(error.to_string().contains("the node is active"), "{error}");
    bench.clock.pass(TimeDelta::seconds(301));
    delete().await.unwrap();
    assert_eq!(code(delete().await), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_commit_document_names_is_swept_after_a_day() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let controller = bench.controller().await;
    bench.overwrite("cells/n1/web/versions/v9/files/0123456789abcdef/a", "a").await;
    bench.overwrite("deployments/site/r9/files/0123456789abcdef/a", "a").await;
    bench.overwrite("probes/01ARZ3NDEKTSV4RRFFQ69G5FAV/race", "a").await;
    bench.overwrite("cells/n1/web/overrides/notes.txt", "kept").await;
    let before = bench.keys("").await;
    bench.clock.pass(TimeDelta::hours(23));
    assert_eq!(controller.gc(false).await.unwrap().objects, 0);
    assert_eq!(bench.keys("").await, before);
    bench.clock.pass(TimeDelta::hours(2));
    let would = controller.gc(true).await.unwrap();
    assert_eq!(bench.keys("").await, before, "a dry run writes nothing");
    let swept = controller.gc(false).await.unwrap();
    assert_eq!((&would.swept, would.objects), (&swept.swept, 3));
    let expected = ["cells/n1/web/versions/v9/", "deployments/site/r9/", "probes/"];
    assert_eq!(swept.swept, expected);
    let left = bench.keys("").await;
    assert!(left.iter().all(|key| !expected.iter().any(|swept| key.starts_with(swept))), "{left:?}");
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_an_interrupted_try_are_written_again_before_they_are_swept() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    bench.proxy.stop_after_writes(2);
    controller.publish(&request("v1"), &Guard::default()).await.unwrap_err();
    bench.proxy.heal();
    let young = bench.proxy.writes();
    bench.clock.pass(TimeDelta::hours(13));
    bench.controller().await.publish(&request("v1"), &Guard::default()).await.unwrap();
    let manifest = 1 + 2 + 5;
    assert_eq!(bench.proxy.writes() - young, manifest, "both files, then what follows");
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_under_the_name_that_it_began_with() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let files: Vec<String> = (0..12).map(|number| number.to_string()).collect();
    let folder = bench.folder("new", &files.iter().map(|name| (name.as_str(), "text")).collect::<Vec<_>>());
    bench.proxy.stop_after_writes(3);
    let upload = async || controller.upload(&site(), None, &folder, &UploadOptions::default(), &|_| {}).await;
    assert!(matches!(upload().await, Err(ControllerError::Store(_))));
    bench.proxy.heal();
    let begun = bench.keys("deployments/site/2").await;
    bench.clock.pass(TimeDelta::minutes(5));
    let finished = upload().await.unwrap();
    assert!(begun[0].contains(finished.deployment.as_str()), "{begun:?} {finished:?}");
    assert!((1..11).contains(&finished.sent_files), "what was there is not sent again: {finished:?}");
}

#[tokio::test]
async fn orders_that_are_over_and_their_answers_are_swept_after_a_day_and_none_that_counts() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let to: fleetman::model::order::Addressee = cell().into();
    let hold = controller.hold(&to, TimeDelta::hours(1), "looking").await.unwrap();
    let other = controller.hold(&to.node.clone().into(), TimeDelta::days(3), "new disk").await.unwrap();
    let request = |id: ulid::Ulid| format!("cells/n1/_requests/{id}.json");
    bench.overwrite(&format!("logs/n1/_requests/{}/0001.log", hold.id), "- - x").await;
    bench.overwrite(&format!("cells/n1/_requests/{}.json", ulid::Ulid::nil()), "{}").await;
    controller.gc(false).await.unwrap();
    assert_eq!(bench.keys("cells/n1/_requests/").await.len(), 3, "all of it is new");
    bench.clock.pass(TimeDelta::hours(26));
    assert_eq!(controller.gc(true).await.unwrap().swept, ["cells/n1/_requests/", "logs/n1/_requests/"]);
    controller.gc(false).await.unwrap();
    let left = bench.keys("cells/n1/_requests/").await;
    assert_eq!(left, [request(ulid::Ulid::nil()), request(other.id)]);
    assert_eq!(bench.keys("logs/n1/_requests/").await, [""; 0]);
    bench.clock.pass(TimeDelta::days(31));
    controller.gc(false).await.unwrap();
    assert_eq!(bench.keys("cells/n1/_requests/").await, [""; 0], "what nobody believes goes last");
}
