//! Somebody else writes to the bucket: nothing of it reaches a new signature, and every refusal says what it is.

use bytes::Bytes;
use fleetman::controller::{
    ControllerError, FleetReader, Guard, LivenessLimits, PublishRequest, PublishedHow, RollbackRequest, StopRequest,
    Warning,
};
use fleetman::model::deployment::Deployment;
use fleetman::model::document;
use fleetman::model::fleet::Conditions;
use fleetman::model::heartbeat::Heartbeat;
use fleetman::model::sign::{sign, verify};
use fleetman::model::trigger::{Trigger, TriggerOptions};
use fleetman::model::{Epoch, Floor, Generation, NodeName};
use fleetman::store::ErrorKind;
use serde_json::{Value, json};

use crate::support::fleet::{Bench, FLEET, KEY, TestKey, cell, code, request};
use crate::support::proxy::On;

fn back_to(version: &str) -> RollbackRequest {
    let to = Some(version.parse().unwrap());
    RollbackRequest { cell: cell(), to, reason: None, options: TriggerOptions::default() }
}

async fn replace(bench: &Bench, key: &str, from: &str, to: &str) {
    let text = String::from_utf8(bench.read(key).await.unwrap()).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    bench.overwrite(key, text.replace(from, to)).await;
}

/// What the node says of `n1/web`.
async fn heartbeat(bench: &Bench, cell: Value) {
    let beat = json!({
        "schema": "fleetman/heartbeat/1", "node": "n1", "fleet": FLEET, "agent_version": "0",
        "instance_id": FLEET, "sequence": 1, "started_at": "2026-01-02T03:04:05Z",
        "reported_at": "2026-01-02T03:04:05Z", "interval_secs": 60, "signing": "signed", "cells": {"web": cell},
    });
    document::parse::<Heartbeat>(beat.to_string().as_bytes()).unwrap();
    bench.overwrite("agents/n1.json", beat.to_string()).await;
}

async fn claims(bench: &Bench, epoch: u32, generation: u64) {
    let seen = Floor::new(Epoch::new(epoch).unwrap(), Generation::new(generation).unwrap());
    heartbeat(bench, json!({"phase": "up_to_date", "state": {"state": "n/a"}, "seen": seen})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_overwritten_is_neither_gone_back_to_nor_published_again() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.publish("v2", "bye").await;
    let key = "cells/n1/web/versions/v1/manifest.json";
    // Only who made it: the content, which a reader would compare, is the same, and so is its length.
    replace(&bench, key, "\"alice\"", "\"malik\"").await;
    let controller = bench.controller().await;
    let error = controller.rollback(&back_to("v1"), &Guard::default()).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("version_tampered", ErrorKind::Tampered));
    bench.greet("hello").await;
    assert_eq!(code(controller.publish(&request("v1"), &Guard::default()).await), "version_tampered");
    assert_eq!(code(controller.plan(&request("v1")).await), "version_tampered");
    assert_eq!(bench.history().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_planted_is_only_signed_if_it_is_ours_byte_for_byte() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    // As after a crash before the claim: the version is whole, and no history entry names it.
    bench.proxy.stop_after_writes(3);
    controller.publish(&request("v1"), &Guard::default()).await.unwrap_err();
    bench.proxy.heal();
    let key = "cells/n1/web/versions/v1/manifest.json";
    let ours = bench.read(key).await.unwrap();
    // A field that we would ignore, and a newer agent perhaps not.
    replace(&bench, key, "\"requires\": [],", "\"requires\": [], \"teleport\": {\"to\": [\"sh\"]},").await;
    let error = bench.controller().await.publish(&request("v1"), &Guard::default()).await.unwrap_err();
    assert_eq!(error.code(), "version_tampered");
    assert!(bench.history().await.is_empty());
    bench.overwrite(key, ours).await;
    bench.controller().await.publish(&request("v1"), &Guard::default()).await.unwrap();
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_lost_a_file_is_not_gone_back_to() {
    let bench = Bench::start().await;
    let target = bench.publish("v1", "hello").await.target.unwrap();
    bench.publish("v2", "bye").await;
    let file = format!("cells/n1/web/versions/v1/files/{}/bin/run", target.content_sha256.content16());
    bench.delete(&file).await;
    let error = bench.controller().await.rollback(&back_to("v1"), &Guard::default()).await.unwrap_err();
    assert_eq!(error.code(), "version_incomplete");
    assert!(error.to_string().contains("bin/run"), "{error}");
    // Publishing the same content mends it.
    bench.greet("hello").await;
    bench.controller().await.publish(&request("v1"), &Guard::default()).await.unwrap();
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_list_of_files_was_changed_is_not_published() {
    let bench = Bench::start().await;
    replace(&bench, "deployments/site/r1/deployment.json", "\"0644\"", "\"0755\"").await;
    let error = bench.controller().await.publish(&request("v1"), &Guard::default()).await.unwrap_err();
    assert_eq!((error.code(), error.kind().exit_code()), ("untrusted", 5));
    let told = fleetman::store::in_full(&error);
    for part in [
        "r1 is not believed",
        "--deployment",
        "fleetman delete deployment site r1",
        "deployments/site/r1/deployment.json",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    // Whoever says which one is meant is kept from nothing.
    bench.upload("r2", &[("index.html", "two\n")]).await;
    let named = PublishRequest { deployment: Some("r2".parse().unwrap()), ..request("v1") };
    bench.controller().await.publish(&named, &Guard::default()).await.unwrap();
    // The same release under another's name.
    let bench = Bench::start().await;
    let list = bench.read("deployments/site/r1/deployment.json").await.unwrap();
    bench.overwrite("deployments/site/r9/deployment.json", list).await;
    let request = PublishRequest { deployment: Some("r9".parse().unwrap()), ..request("v1") };
    assert_eq!(code(bench.controller().await.publish(&request, &Guard::default()).await), "untrusted");
    // And under another manifest's.
    let bench = Bench::start().await;
    bench.apply("name: other\nprofile: {deploy: {}}\n---\ncell: n1/other\nmanifest: other\n").await;
    let list = bench.read("deployments/site/r1/deployment.json").await.unwrap();
    bench.overwrite("deployments/other/r1/deployment.json", list).await;
    let other = PublishRequest::new("n1/other".parse().unwrap());
    assert_eq!(code(bench.controller().await.publish(&other, &Guard::default()).await), "untrusted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_requires_what_is_not_known_is_not_published() {
    let bench = Bench::start().await;
    let key = "deployments/site/r1/deployment.json";
    let signed = verify::<Deployment>(&bench.read(key).await.unwrap(), &bench.trust()).unwrap();
    let newer = Deployment { requires: vec!["chunks".to_owned()], ..(*signed).clone() };
    bench.overwrite(key, sign(&newer, &KEY.signer()).unwrap().document().to_vec()).await;
    let error = bench.controller().await.publish(&request("v1"), &Guard::default()).await.unwrap_err();
    assert_eq!(error.code(), "untrusted");
    let told = fleetman::store::in_full(&error);
    assert!(told.contains("requires \"chunks\""), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_of_a_release_that_was_changed_is_not_rendered() {
    let bench = Bench::start().await;
    let keys = bench.keys("deployments/site/r1/files/").await;
    let template = keys.iter().find(|key| key.ends_with("index.html")).unwrap();
    bench.overwrite(template, "one {{ vars.greetinG }}\n").await;
    assert_eq!(code(bench.controller().await.publish(&request("v1"), &Guard::default()).await), "corrupt");
    assert!(bench.keys("cells/n1/web/versions/").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_that_nobody_signed_do_not_count_and_are_replaced() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    for key in ["cells/n1/web/trigger.json", "index/n1.json"] {
        replace(&bench, key, "\"generation\": 1", "\"generation\": 90").await;
    }
    let published = bench.publish("v2", "bye").await;
    assert_eq!(published.at.generation.get(), 2);
    bench.check().await;
    // Garbage in their places is no obstacle either.
    for key in ["cells/n1/web/trigger.json", "index/n1.json", "agents/n1.json"] {
        bench.overwrite(key, "{").await;
    }
    assert_eq!(bench.publish("v3", "ciao").await.at.generation.get(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cells_trigger_does_not_count_however_well_it_is_signed() {
    let bench = Bench::start().await;
    bench.apply("cell: n1/other\nmanifest: site\n").await;
    let controller = bench.controller().await;
    for _ in 0..3 {
        let other = "n1/other".parse().unwrap();
        let options = TriggerOptions::default();
        let publish = PublishRequest::new("n1/other".parse().unwrap());
        controller.publish(&publish, &Guard::default()).await.unwrap();
        controller.redeploy(&other, options, None, &Guard::default()).await.unwrap();
    }
    let foreign = bench.read("cells/n1/other/trigger.json").await.unwrap();
    bench.overwrite("cells/n1/web/trigger.json", foreign.clone()).await;
    bench.overwrite("cells/n1/web/history/0001-0000000000000004.json", foreign).await;
    let published = controller.publish(&request("v1"), &Guard::default()).await;
    // Nothing below the foreign entry is known: the next place may be taken, so it is not guessed.
    assert_eq!(code(published), "untrusted");
    bench.delete("cells/n1/web/history/0001-0000000000000004.json").await;
    assert_eq!(controller.publish(&request("v1"), &Guard::default()).await.unwrap().at.generation.get(), 1);
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_history_entry_at_a_higher_place_does_not_hide_the_newest() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let keys = ["cells/n1/web/trigger.json", "index/n1.json"];
    let old = [bench.read(keys[0]).await.unwrap(), bench.read(keys[1]).await.unwrap()];
    bench.publish("v2", "bye").await;
    for (key, old) in keys.into_iter().zip(old.clone()) {
        bench.overwrite(key, old).await;
    }
    bench.overwrite("cells/n1/web/history/0001-0000000000000003.json", old[0].clone()).await;
    let again = bench.controller().await.publish(&request("v2"), &Guard::default()).await.unwrap();
    assert_eq!((again.at.generation.get(), again.how), (2, PublishedHow::Finished));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_of_another_fleet_does_not_count_however_well_it_is_signed() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let ours = (**bench.history().await.first().unwrap()).clone();
    let generation = Generation::new(9).unwrap();
    let foreign = Trigger { fleet: uuid::Uuid::from_u128(8), generation, ..ours };
    let signed = sign(&foreign, &KEY.signer()).unwrap();
    bench.overwrite("cells/n1/web/trigger.json", signed.document().to_vec()).await;
    assert_eq!(bench.publish("v2", "bye").await.at.generation.get(), 2);
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_a_newer_program_is_not_overwritten() {
    let bench = Bench::start().await;
    let newer = "{\"schema\":\"fleetman/index/9\"}";
    bench.overwrite("index/n1.json", newer).await;
    let error = bench.controller().await.publish(&request("v1"), &Guard::default()).await.unwrap_err();
    assert_eq!(error.code(), "unfinished");
    assert_eq!(bench.read("index/n1.json").await.unwrap(), newer.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_was_filled_with_garbage_is_named() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.overwrite("cells/n1/web/history/0001-0000000000000002.json", "{}").await;
    bench.greet("bye").await;
    let error = bench.controller().await.publish(&request("v2"), &Guard::default()).await.unwrap_err();
    assert_eq!(error.code(), "untrusted");
    assert!(error.to_string().contains("history/0001-0000000000000002.json"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_raises_the_generation_within_reason_only() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    claims(&bench, 1, 5_000_000).await;
    let plan = bench.controller().await.plan(&PublishRequest::new(cell())).await.unwrap();
    assert!(
        matches!(plan.warnings[..], [Warning::FloorImplausible { claimed }] if claimed.generation.get() == 5_000_000)
    );
    let published = bench.publish("v2", "bye").await;
    assert_eq!(published.at.generation.get(), 2);
    assert_eq!(published.warnings.len(), 1);
    claims(&bench, 1, 40).await;
    let published = bench.publish("v3", "ciao").await;
    assert_eq!((published.at.generation.get(), published.warnings.len()), (41, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_higher_epoch_begins_anew_and_ends_the_older_ones_say() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.publish("v2", "bye").await;
    let newer = TestKey(2, 2);
    let both = [KEY, newer];
    let rotated = bench.controller_of("alice", newer, &both, Conditions::Honoured).await;
    let published = rotated.rollback(&back_to("v1"), &Guard::default()).await.unwrap();
    // Whoever only looks has no key, and sees what the newest one would do.
    let plan = bench.looker(&both).await.plan(&PublishRequest::new(cell())).await.unwrap();
    assert_eq!(plan.generation, 1);
    let first = Floor::new(Epoch::new(2).unwrap(), Generation::FIRST);
    assert_eq!(published.at, first);
    let old = bench.controller_of("bob", KEY, &both, Conditions::Honoured).await;
    let error = old.publish(&request("v3"), &Guard::default()).await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("outranked", ErrorKind::Denied));
    // One that pins only the new key does not read what the old one signed, and goes on where the new one is.
    let alone = bench.controller_of("alice", newer, &[newer], Conditions::Honoured).await;
    let published = alone.publish(&request("v1"), &Guard::default()).await;
    assert_eq!(code(published), "untrusted", "the release was signed by the old key");
    let again = alone.redeploy(&cell(), TriggerOptions::default(), None, &Guard::default()).await.unwrap();
    assert_eq!((again.at.epoch.get(), again.at.generation.get()), (2, 2));
    assert_eq!(bench.history_by(&both).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_names_what_was_never_published_is_not_gone_back_to() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let target = bench.publish("v2", "bye").await.target.unwrap();
    let digest = "0".repeat(64);
    // One name that history does not know, and one that it knows for other bytes.
    for name in ["evil", "v1"] {
        let version = json!({"version": name, "manifest_sha256": digest, "content_sha256": digest});
        let outcome = json!({
            "schema": "fleetman/outcome/1", "fleet": FLEET, "node": "n1", "cell": "web",
            "at": {"epoch": 1, "generation": 2}, "attempt": 1, "action": "deploy", "version": version,
            "started_at": "2026-01-02T03:04:05Z", "ended_at": "2026-01-02T03:04:05Z", "outcome": "succeeded",
            "known_good_after": version, "running_after": version,
        });
        bench.overwrite("logs/n1/web/0001-0000000000000002-0001.json", outcome.to_string()).await;
        let anywhere = RollbackRequest { to: None, ..back_to("v1") };
        let error = bench.controller().await.rollback(&anywhere, &Guard::default()).await.unwrap_err();
        assert_eq!((error.code(), error.kind().exit_code()), ("not_found", 4));
    }
    assert_eq!(bench.history().await.last().unwrap().action.target(), Some(&target));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_invents_outcomes_does_not_make_the_history_be_read_for_each() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.publish("v2", "bye").await;
    for number in 0..60 {
        let version = json!({
            "version": format!("evil-{number}"), "manifest_sha256": "0".repeat(64), "content_sha256": "0".repeat(64),
        });
        let outcome = json!({
            "schema": "fleetman/outcome/1", "fleet": FLEET, "node": "n1", "cell": "web",
            "at": {"epoch": 1, "generation": 2}, "attempt": number + 1, "action": "deploy", "version": version,
            "started_at": "2026-01-02T03:04:05Z", "ended_at": "2026-01-02T03:04:05Z", "outcome": "succeeded",
            "known_good_after": version, "running_after": version,
        });
        bench
            .overwrite(&format!("logs/n1/web/0001-0000000000000002-{:04}.json", number + 1), outcome.to_string())
            .await;
    }
    bench.proxy.clear_log();
    let anywhere = RollbackRequest { to: None, ..back_to("v1") };
    assert_eq!(code(bench.controller().await.rollback(&anywhere, &Guard::default()).await), "not_found");
    let reads = bench.proxy.count(On::get("*/history/*"));
    assert!(reads < 60, "{reads} reads of a history of two");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_trigger_put_back_is_brought_up_to_date() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let keys = ["cells/n1/web/trigger.json", "index/n1.json"];
    let old = [bench.read(keys[0]).await.unwrap(), bench.read(keys[1]).await.unwrap()];
    bench.publish("v2", "bye").await;
    for (key, old) in keys.into_iter().zip(old) {
        bench.overwrite(key, old).await;
        let again = bench.controller().await.publish(&request("v2"), &Guard::default()).await.unwrap();
        assert_eq!(again.at.generation.get(), 2);
        bench.check().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_show_what_is_not_believed_and_go_on() {
    let bench = Bench::start().await;
    bench.apply("cell: n1/other\nmanifest: site\n").await;
    bench.publish("v1", "hello").await;
    replace(&bench, "index/n1.json", "\"generation\": 1", "\"generation\": 2").await;
    bench.overwrite("agents/n2.json", "{\"schema\":\"fleetman/heartbeat/9\"}").await;
    let controller = bench.controller().await;
    let view = FleetReader::new(LivenessLimits::default()).refresh(&controller).await.unwrap();
    let web = view.cell(&cell()).unwrap();
    assert!(web.desired().is_none() && web.problem().unwrap().contains("does not fit"), "{web:?}");
    assert!(web.about().is_some(), "the hint is a hint");
    let n2 = view.node(&NodeName::new("n2").unwrap()).unwrap();
    assert!(n2.problems[0].contains("fleetman/heartbeat/9"), "{n2:?}");
    let forged = sign(&**bench.history().await.first().unwrap(), &TestKey(9, 1).signer()).unwrap();
    bench.overwrite("cells/n1/web/history/0001-0000000000000001.json", forged.document().to_vec()).await;
    let history = controller.history(&cell(), 10).await.unwrap();
    assert!(matches!(&history[0].trigger, Err(ControllerError::Untrusted { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_of_which_nothing_is_believed_is_shown_with_the_reason_and_not_ordered_about() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let forged = sign(&**bench.history().await.first().unwrap(), &TestKey(9, 1).signer()).unwrap();
    for key in ["cells/n1/web/history/0001-0000000000000001.json", "cells/n1/web/trigger.json"] {
        bench.overwrite(key, forged.document().to_vec()).await;
    }
    bench.overwrite("index/n1.json", "{}").await;
    let controller = bench.controller().await;
    let is_told = |why: &str| why.contains("history/0001-0000000000000001.json is not believed") && why.contains("key");

    let timeline = controller.timeline(&cell(), 0, 10).await.unwrap();
    assert!(is_told(timeline.problem.as_deref().unwrap()), "{timeline:?}");
    let shown = (timeline.versions[0].version.name.to_string(), timeline.versions[0].is_desired);
    assert_eq!((shown, timeline.versions.len()), (("v1".to_owned(), false), 1));
    assert_eq!(controller.version_page(&cell(), None, 10).await.unwrap().total, 1);
    let (status, is_finished) = controller.cell_status(&cell(), LivenessLimits::default()).await.unwrap();
    assert!(status.desired().is_none() && is_finished && is_told(status.problem().unwrap()), "{status:?}");

    bench.greet("bye").await;
    assert_eq!(code(controller.publish(&request("v2"), &Guard::default()).await), "untrusted");
    assert_eq!(
        code(controller.stop(&StopRequest { cell: cell(), reason: None }, &Guard::default()).await),
        "untrusted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_that_was_changed_after_the_plan_is_not_published() {
    let bench = Bench::start().await;
    bench.overwrite("cells/n1/web/overrides/a.txt", "one").await;
    let controller = bench.controller().await;
    let plan = controller.plan(&PublishRequest::new(cell())).await.unwrap();
    bench.overwrite("cells/n1/web/overrides/a.txt", Bytes::from_static(b"two")).await;
    let guard = Guard { if_generation: Some(0), expect: Some(plan.content_sha256) };
    assert_eq!(code(controller.publish(&PublishRequest::new(cell()), &guard).await), "guard");
    assert!(bench.history().await.is_empty());
}
