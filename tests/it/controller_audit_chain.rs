//! Whoever deletes, replaces or changes entries of the audit is found out, and nobody else is accused.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::TimeDelta;
use fleetman::controller::{AuditCache, AuditFilter, AuditProof, Controller, FaultKind, Known};
use fleetman::model::audit::{AuditEntry, AuditStage};
use fleetman::model::document;
use fleetman::model::fleet::Conditions;
use fleetman::model::sign::{Trust, Verified, sign, verify};

use serde_json::json;

use crate::support::api::{serve, with_cell};
use crate::support::cli::Workplace;
use crate::support::fleet::{Bench, KEY, TestKey, cell};
use crate::support::proxy::On;
use crate::support::wait_for;

async fn note(controller: &Controller, number: u32) {
    controller.record("noted", format!("thing/{number}"), true, "done".to_owned()).await.unwrap();
}

async fn proof(controller: &Controller) -> AuditProof {
    controller.verify_audit(None, None).await.unwrap()
}

/// What is found, as kind and id.
async fn faults(controller: &Controller) -> Vec<(&'static str, String)> {
    proof(controller).await.faults.iter().map(|fault| (fault.kind.as_str(), fault.id.to_string())).collect()
}

fn id_in(key: &str) -> String {
    key.rsplit('/').next().unwrap().trim_end_matches(".json").to_owned()
}

async fn entry(bench: &Bench, key: &str) -> Verified<AuditEntry> {
    verify(&bench.read(key).await.unwrap(), &Trust::Unsigned).unwrap()
}

/// The entries that no other names.
async fn loose(bench: &Bench) -> BTreeSet<String> {
    let keys = bench.keys("audit/").await;
    let mut loose: BTreeSet<String> = keys.iter().map(|key| id_in(key)).collect();
    for key in &keys {
        for before in &entry(bench, key).await.chain.as_ref().unwrap().follows {
            loose.remove(&before.id.to_string());
        }
    }
    loose
}

#[tokio::test(flavor = "multi_thread")]
async fn each_entry_that_is_deleted_is_missed_by_the_one_that_came_after_it() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    // Another process, which finds what the others wrote.
    let controller = bench.controller().await;
    controller.pause(&cell(), "later", &Known::Anything).await.unwrap();
    let found = proof(&controller).await;
    let keys = bench.keys("audit/").await;
    assert_eq!((found.signed, found.not_signed, found.faults), (keys.len() as u64, 0, vec![]));
    let loose = loose(&bench).await;
    assert_eq!(loose.len(), 1, "{loose:?}");
    for key in &keys {
        let bytes = bench.read(key).await.unwrap();
        bench.delete(key).await;
        let expected = if loose.contains(&id_in(key)) { vec![] } else { vec![("gone", id_in(key))] };
        assert_eq!(faults(&controller).await, expected, "{key}");
        bench.overwrite(key, bytes).await;
    }
    assert_eq!(faults(&controller).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_moved_or_written_by_strangers_is_told_from_what_is_right() {
    let bench = Bench::empty().await;
    let controller = bench.controller().await;
    for number in 0..3 {
        note(&controller, number).await;
    }
    let keys = bench.keys("audit/").await;
    let (key, other) = (&keys[2], &keys[4]);
    let bytes = bench.read(key).await.unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let with = async |bytes: Vec<u8>| {
        bench.overwrite(key, bytes).await;
        faults(&controller).await
    };
    let replaced = [("replaced", id_in(key))];
    let changed = with(text.replace("alice", "mallo").into()).await;
    assert_eq!(changed, [replaced[0].clone(), ("broken", id_in(key))]);
    // By another key, by none, and as an older program would have written it.
    let forged = AuditEntry { actor: "mallory".parse().unwrap(), ..(*entry(&bench, other).await).clone() };
    let forged = AuditEntry { id: id_in(key).parse().unwrap(), ..forged };
    assert_eq!(with(sign(&forged, &TestKey(9, 1).signer()).unwrap().document().to_vec()).await, replaced);
    assert_eq!(with(document::render(&AuditEntry { chain: None, ..forged })).await, replaced);
    assert_eq!(proof(&controller).await.not_signed, 1);
    // An entry in the place of another.
    let moved = with(bench.read(other).await.unwrap()).await;
    assert_eq!(moved, [replaced[0].clone(), ("unreadable", id_in(key))]);
    assert_eq!(with(bytes).await, []);

    // What strangers add accuses nobody, whatever it says was there.
    let stranger = bench.controller_of("eve", TestKey(9, 1), &[TestKey(9, 1)], Conditions::Honoured).await;
    note(&stranger, 7).await;
    note(&stranger, 8).await;
    let strangers: Vec<String> = bench.keys("audit/").await.into_iter().filter(|key| !keys.contains(key)).collect();
    bench.delete(&strangers[1]).await;
    let found = proof(&controller).await;
    assert_eq!((found.signed, found.not_signed, found.faults), (6, 3, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_are_written_at_once_and_those_that_fail_leave_no_gap() {
    let bench = Bench::empty().await;
    let controller = Arc::new(bench.controller().await);
    note(&controller, 0).await;
    bench.proxy.refuse_connections().await;
    controller.record("noted", "thing/lost".to_owned(), true, String::new()).await.unwrap_err();
    bench.proxy.accept_connections().await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let controller = controller.clone();
        writers.spawn(async move { note(&controller, number).await });
    }
    writers.join_all().await;
    note(&controller, 21).await;
    let found = proof(&controller).await;
    assert_eq!((found.entries, found.signed, found.faults), (44, 44, vec![]));
    assert_eq!(loose(&bench).await.len(), 1, "each is named by a later one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_by_its_age_is_no_alarm_and_what_is_gone_of_younger_days_is() {
    let bench = Bench::empty().await;
    let controller = bench.controller().await;
    for number in 0..3 {
        note(&controller, number).await;
        bench.clock.pass(TimeDelta::days(1));
    }
    let keys = bench.keys("audit/").await;
    bench.delete(&keys[0]).await;
    assert_eq!(faults(&controller).await, [("gone", id_in(&keys[0]))], "the first day of a young audit");
    bench.delete(&keys[1]).await;
    let found = proof(&controller).await;
    assert_eq!((found.entries, found.not_kept, found.faults), (4, 1, vec![]), "all of a day, and nothing before it");
    bench.delete(&keys[2]).await;
    assert_eq!(faults(&controller).await, [("gone", id_in(&keys[2]))]);
    // Of the oldest day, once it is old, a rule of the bucket may be deleting one after the other.
    bench.clock.pass(TimeDelta::days(8));
    let found = proof(&controller).await;
    assert_eq!((found.not_kept, found.faults), (1, vec![]));
    bench.delete(&keys[4]).await;
    assert_eq!(faults(&controller).await, [("gone", id_in(&keys[4]))]);

    // What lies before the time that is asked for is looked up, and not missed.
    let from = controller.verify_audit(Some("2020-01-01T00:00:00Z".parse().unwrap()), None).await.unwrap();
    assert_eq!(from.faults.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_tells_what_its_entries_miss_and_costs_what_it_did() {
    let bench = Bench::empty().await;
    let controller = bench.controller().await;
    for number in 0..12 {
        note(&controller, number).await;
    }
    let (cache, all) = (AuditCache::default(), AuditFilter::default());
    let page = controller.audit_page(&cache, &all, None, 4).await.unwrap();
    bench.proxy.clear_log();
    assert_eq!(controller.audit_faults(&cache, &page).await.unwrap(), []);
    assert_eq!(bench.proxy.count(On::get("*/audit/*")), 0, "everything was read for the page");

    let keys = bench.keys("audit/").await;
    // The intent of the eleventh: what came of it is told all the same.
    bench.delete(&keys[20]).await;
    let fresh = AuditCache::default();
    let page = controller.audit_page(&fresh, &all, None, 4).await.unwrap();
    let found = controller.audit_faults(&fresh, &page).await.unwrap();
    let FaultKind::Gone { named_by } = &found[0].kind else { panic!("{found:?}") };
    assert_eq!((found.len(), found[0].id.to_string(), named_by.to_string()), (1, id_in(&keys[20]), id_in(&keys[21])));
    // Behind a filter that hides all of it.
    let hidden = AuditFilter { action: Some("other".to_owned()), ..all };
    let page = controller.audit_page(&fresh, &hidden, None, 4).await.unwrap();
    assert_eq!(controller.audit_faults(&fresh, &page).await.unwrap(), found);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_signatures_entries_still_name_each_other() {
    let bench = Bench::empty().await;
    let controller = bench.unsigned().await;
    note(&controller, 1).await;
    note(&controller, 2).await;
    let found = proof(&controller).await;
    assert_eq!((found.entries, found.signed, found.not_signed, found.faults), (4, 0, 0, vec![]));
    let keys = bench.keys("audit/").await;
    bench.delete(&keys[1]).await;
    assert_eq!(faults(&controller).await, [("gone", id_in(&keys[1]))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_intent_of_a_claim_is_written_once_by_whoever_comes_first() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let again = bench.controller_of("bob", KEY, &[KEY], Conditions::Honoured).await;
    let before = bench.keys("audit/").await;
    again.publish(&crate::support::fleet::request("v1"), &fleetman::controller::Guard::default()).await.unwrap();
    let intents = async |keys: &[String]| {
        let mut count = 0;
        for key in keys {
            let entry = entry(&bench, key).await;
            count += usize::from(entry.action == "publish" && entry.stage == AuditStage::Intent);
        }
        count
    };
    assert_eq!(intents(&before).await, intents(&bench.keys("audit/").await).await);
    assert_eq!(faults(&again).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_is_gone_and_ends_with_no() {
    let mut place = Workplace::with_bucket().await;
    place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.fleetman(&["pause", "n1/web", "--reason", "later", "-y"]).await.exits(0);
    let said = place.fleetman(&["audit", "verify"]).await.exits(0);
    assert!(said.out.contains("None is gone") && !said.out.contains("0 signed"), "{}", said.out);
    let client = place.store().client();
    let listed = client.list_objects_v2().bucket(crate::support::BUCKET).prefix("audit/").send().await.unwrap();
    let key = listed.contents()[2].key().unwrap();
    client.delete_object().bucket(crate::support::BUCKET).key(key).send().await.unwrap();
    let said = place.fleetman(&["audit", "verify"]).await.exits(1);
    assert!(said.out.contains("gone") && said.out.contains(&id_in(key)), "{}", said.out);
    let json = place.fleetman(&["-o", "json", "audit", "verify"]).await.exits(1).json();
    assert_eq!((&json["faults"][0]["fault"], &json["faults"][0]["id"]), (&"gone".into(), &id_in(key).into()));
    place.fleetman(&["audit", "verify", "--from", "2999-01-01T00:00:00Z"]).await.exits(0);
    // It is part of whether the bucket is sound.
    let checked = place.fleetman(&["-o", "json", "fsck"]).await.exits(1).json();
    let found = checked["findings"].as_array().unwrap();
    assert_eq!((found.len(), &found[0]["code"], &found[0]["key"]), (1, &"audit_gone".into(), &key.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_told_what_is_gone_and_only_those_who_may_read_the_audit() {
    let (mut place, serving, tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    let path = "/audit/verification";
    let sound = api.get(path).await.is(200);
    let proof = sound.json();
    assert!(proof["signed"].as_u64().unwrap() > 4 && proof["faults"] == json!([]), "{proof}");
    api.send("GET", path, &[("if-none-match", sound.header("etag"))], "").await.is(304);
    let client = place.store().client();
    let listed = client.list_objects_v2().bucket(crate::support::BUCKET).prefix("audit/").send().await.unwrap();
    let key = listed.contents()[2].key().unwrap();
    client.delete_object().bucket(crate::support::BUCKET).key(key).send().await.unwrap();
    let proof = api.get(path).await.is(200).json();
    let fault = &proof["faults"][0];
    assert_eq!((&fault["fault"], &fault["id"]), (&json!("gone"), &json!(id_in(key))), "{proof}");
    assert!(fault["named_by"].is_string());
    let none = api.get(&format!("{path}?from=2999-01-01T00:00:00Z")).await.is(200).json();
    assert_eq!((&none["entries"], &none["faults"]), (&json!(0), &json!([])));
    api.get(&format!("{path}?from=yesterday")).await.is(400);
    let found = api.get("/fsck").await.is(200).json();
    assert_eq!((&found["findings"][0]["code"], &found["findings"][0]["key"]), (&json!("audit_gone"), &json!(key)));
    let limited = tokens.make(&["viewer:edge-*/*"]).await;
    wait_for(async || serving.by(&limited).get("/nodes").await.status == 200, "the token to be known").await;
    serving.by(&limited).get(path).await.is(403);
}
