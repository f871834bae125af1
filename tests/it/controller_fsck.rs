//! Looking whether a bucket fits together: every damage is found by its word, and a repair touches nothing else.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use fleetman::controller::{Finding, FsckOptions, Guard, StopRequest};
use fleetman::model::document;
use fleetman::model::index::{Index, IndexEntry};
use fleetman::model::order::Addressee;
use serde_json::value::RawValue;

use crate::support::fleet::{Bench, KEY, cell, request};

const LOOK: FsckOptions = FsckOptions { deep: false, repair: false };
const DEEP: FsckOptions = FsckOptions { deep: true, repair: false };
const REPAIR: FsckOptions = FsckOptions { deep: false, repair: true };

const HEAD: &str = "cells/n1/web/history/0001-0000000000000002.json";
const TRIGGER: &str = "cells/n1/web/trigger.json";
const INDEX: &str = "index/n1.json";
const V1: &str = "cells/n1/web/versions/v1/";

/// Everything in the bucket but for what says who did what and who runs.
async fn listing(bench: &Bench) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for key in bench.keys("").await {
        if !key.starts_with("audit/") && !key.starts_with("controllers/") {
            all.insert(key.clone(), bench.read(&key).await.unwrap());
        }
    }
    all
}

/// The same without when an index was written, which every write of it changes.
fn timeless(mut listing: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    if let Some(bytes) = listing.get_mut(INDEX) {
        let mut index: Index = document::parse(bytes).unwrap();
        index.written_at = chrono::DateTime::UNIX_EPOCH;
        *bytes = document::render(&index);
    }
    listing
}

async fn fsck(bench: &Bench, options: FsckOptions) -> Vec<Finding> {
    bench.controller().await.fsck(options).await.unwrap()
}

fn codes(found: &[Finding]) -> Vec<(&str, &str)> {
    found.iter().map(|finding| (finding.code, finding.key.as_str())).collect()
}

/// Two versions, the second desired, all of it two days old.
async fn sound() -> Bench {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.publish("v2", "bye").await;
    assert_eq!(codes(&fsck(&bench, DEEP).await), []);
    bench
}

/// What is put, or with None deleted, and what must be found of it.
type Damage<'a> = (&'a [(&'a str, Option<&'a [u8]>)], &'a [(&'a str, &'a str)]);

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_are_behind_missing_or_not_believed_are_finished_and_nothing_else_is_touched() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let (old_trigger, old_index) = (bench.read(TRIGGER).await.unwrap(), bench.read(INDEX).await.unwrap());
    bench.publish("v2", "bye").await;
    let before = listing(&bench).await;
    let damages: &[Damage<'_>] = &[
        (&[(TRIGGER, Some(&old_trigger))], &[("trigger_behind", TRIGGER)]),
        (&[(TRIGGER, None)], &[("trigger_missing", TRIGGER)]),
        (&[(TRIGGER, Some(b"{}"))], &[("trigger_unbelieved", TRIGGER)]),
        (&[(INDEX, Some(&old_index))], &[("index_behind", INDEX)]),
        (&[(HEAD, None)], &[("history_behind", HEAD)]),
        (
            &[(TRIGGER, Some(&old_trigger)), (INDEX, Some(&old_index))],
            &[("trigger_behind", TRIGGER), ("index_behind", INDEX)],
        ),
    ];
    for (planted, expected) in damages {
        for (key, bytes) in *planted {
            match bytes {
                Some(bytes) => bench.overwrite(key, *bytes).await,
                None => bench.delete(key).await,
            }
        }
        let damaged = listing(&bench).await;
        let found = fsck(&bench, LOOK).await;
        assert_eq!(codes(&found), *expected);
        assert!(found.iter().all(|finding| finding.repairable && finding.is_open()), "{found:#?}");
        assert_eq!(listing(&bench).await, damaged, "a look writes nothing");
        let repaired = fsck(&bench, REPAIR).await;
        assert_eq!(codes(&repaired), *expected);
        assert!(repaired.iter().all(|finding| finding.repaired == Some(Ok(())) && !finding.is_open()), "{repaired:#?}");
        assert_eq!(timeless(listing(&bench).await), timeless(before.clone()), "{expected:?}");
        assert_eq!(codes(&fsck(&bench, DEEP).await), []);
    }
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_the_audit_that_are_gone_replaced_changed_or_none_are_told_and_left_to_people() {
    let bench = sound().await;
    let keys = bench.keys("audit/").await;
    let [gone, replaced, unreadable] = [&keys[2], &keys[4], &keys[6]].map(String::as_str);
    let before =
        [bench.read(gone).await.unwrap(), bench.read(replaced).await.unwrap(), bench.read(unreadable).await.unwrap()];
    bench.delete(gone).await;
    let text = String::from_utf8(before[1].clone()).unwrap();
    assert!(text.contains("alice"));
    bench.overwrite(replaced, text.replace("alice", "mallo")).await;
    bench.overwrite(unreadable, "{}").await;
    let expected = [
        ("audit_gone", gone),
        ("audit_replaced", replaced),
        ("audit_broken", replaced),
        ("audit_replaced", unreadable),
        ("audit_unreadable", unreadable),
    ];
    for options in [LOOK, REPAIR] {
        let found = fsck(&bench, options).await;
        assert_eq!(codes(&found), expected);
        assert!(found.iter().all(|finding| finding.is_open() && !finding.repairable), "{found:#?}");
    }
    for (key, bytes) in [gone, replaced, unreadable].into_iter().zip(before) {
        bench.overwrite(key, bytes).await;
    }
    assert_eq!(codes(&fsck(&bench, LOOK).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_be_read_is_begun_anew_and_one_about_no_cell_forgets_it() {
    let bench = sound().await;
    bench.overwrite(INDEX, "{").await;
    let repaired = fsck(&bench, REPAIR).await;
    assert_eq!(codes(&repaired), [("index_behind", INDEX), ("index_unreadable", INDEX)]);
    assert!(repaired.iter().all(|finding| finding.repaired == Some(Ok(()))), "{repaired:#?}");
    assert_eq!(codes(&fsck(&bench, LOOK).await), []);
    let mut index: Index = document::parse(&bench.read(INDEX).await.unwrap()).unwrap();
    let raw = serde_json::value::RawValue::from_string("{}".to_owned()).unwrap();
    index.put(&"ghost".parse().unwrap(), &IndexEntry { trigger: Some(raw), about: None }).unwrap();
    bench.overwrite(INDEX, document::render(&index)).await;
    let before = listing(&bench).await;
    assert_eq!(codes(&fsck(&bench, LOOK).await), [("index_without_trigger", INDEX)]);
    assert_eq!(fsck(&bench, REPAIR).await[0].repaired, Some(Ok(())));
    let mut expected = before;
    index.remove(&"ghost".parse().unwrap());
    expected.insert(INDEX.to_owned(), document::render(&index));
    assert_eq!(timeless(listing(&bench).await), timeless(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_stands_only_in_the_index_gets_its_history_and_trigger_back() {
    let bench = sound().await;
    for key in bench.keys("cells/n1/web/").await {
        bench.delete(&key).await;
    }
    assert_eq!(codes(&fsck(&bench, LOOK).await), [("index_without_trigger", INDEX)]);
    assert_eq!(fsck(&bench, REPAIR).await[0].repaired, Some(Ok(())));
    let history = bench.history_by(&[KEY]).await;
    assert_eq!(history.iter().map(|entry| entry.generation.get()).collect::<Vec<_>>(), [2]);
    let left = fsck(&bench, LOOK).await;
    assert_eq!(left.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["version_missing"], "{left:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_takes_a_decision_is_told_and_never_repaired() {
    let bench = sound().await;
    let file = bench.keys(V1).await.into_iter().find(|key| key.ends_with("index.html")).unwrap();
    let release = bench.keys("deployments/").await.into_iter().find(|key| key.ends_with("bin/run")).unwrap();
    let manifest = format!("{V1}manifest.json");
    let deployment = "deployments/site/r1/deployment.json";
    let first = "cells/n1/web/history/0001-0000000000000001.json";
    let damages: &[(&str, Option<&[u8]>, &str)] = &[
        (&file, None, "file_missing"),
        (&file, Some(b"longer than it was, by far"), "file_size"),
        (&release, Some(b"#!/bin/sx\n"), "file_digest"),
        (&release, None, "file_missing"),
        (&manifest, Some(b"{}"), "version_tampered"),
        (&manifest, None, "manifest_missing"),
        (deployment, Some(b"{}"), "release_unbelieved"),
        (first, Some(b"{}"), "history_unbelieved"),
        ("cells/n1/web/cell.yaml", Some(b"cell: ["), "cell_unreadable"),
        ("agents/n1.json", Some(b"{"), "heartbeat_unreadable"),
    ];
    bench.clock.pass(TimeDelta::days(2));
    for (key, bytes, code) in damages {
        let was = bench.read(key).await;
        match bytes {
            Some(bytes) => bench.overwrite(key, *bytes).await,
            None => bench.delete(key).await,
        }
        let damaged = listing(&bench).await;
        let found = fsck(&bench, FsckOptions { deep: true, repair: true }).await;
        let open: Vec<_> = found.iter().filter(|finding| finding.is_open()).collect();
        assert_eq!(open.iter().map(|it| (it.code, it.key.as_str())).collect::<Vec<_>>(), [(*code, *key)], "{found:#?}");
        assert!(!open[0].repairable && !open[0].remedy.is_empty() && open[0].repaired.is_none());
        assert_eq!(listing(&bench).await, damaged, "{code}");
        match was {
            Some(bytes) => bench.overwrite(key, bytes).await,
            None => bench.delete(key).await,
        }
    }
    assert_eq!(codes(&fsck(&bench, DEEP).await), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_names_is_swept_after_a_day_and_what_is_named_never() {
    let bench = sound().await;
    let orphan = format!("{V1}files/0123456789abcdef/a");
    let planted = [
        ("cells/n1/web/versions/v9/files/0123456789abcdef/a", "version_unfinished", "cells/n1/web/versions/v9/"),
        ("deployments/site/r9/files/0123456789abcdef/a", "release_unfinished", "deployments/site/r9/"),
        ("deployments/site/r1/files/0123456789abcdef/a", "file_orphan", "deployments/site/r1/files/0123456789abcdef/a"),
        (orphan.as_str(), "file_orphan", orphan.as_str()),
        ("notes.txt", "foreign_object", "notes.txt"),
    ];
    let before = listing(&bench).await;
    for (key, ..) in planted {
        bench.overwrite(key, "a").await;
    }
    let mut expected: Vec<(&str, &str)> = planted.iter().map(|(_, code, key)| (*code, *key)).collect();
    expected.sort_unstable();
    for hours in [0, 23] {
        bench.clock.pass(TimeDelta::hours(hours));
        let with_all = listing(&bench).await;
        let found = fsck(&bench, REPAIR).await;
        let mut seen = codes(&found);
        seen.sort_unstable();
        assert_eq!(seen, expected);
        assert!(found.iter().all(|finding| finding.notice && !finding.is_open()), "{found:#?}");
        assert_eq!(listing(&bench).await, with_all, "it may be on its way");
    }
    bench.clock.pass(TimeDelta::hours(2));
    let found = fsck(&bench, REPAIR).await;
    let repaired: Vec<_> = found.iter().filter(|finding| finding.repaired == Some(Ok(()))).collect();
    assert_eq!(repaired.len(), 4, "{found:#?}");
    bench.delete("notes.txt").await;
    assert_eq!(listing(&bench).await, before, "all that was there is there, and no more");
    bench.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_version_that_is_desired_are_kept_although_its_manifest_is_gone() {
    let bench = sound().await;
    bench.delete("cells/n1/web/versions/v2/manifest.json").await;
    bench.clock.pass(TimeDelta::days(3));
    let before = listing(&bench).await;
    let controller = bench.controller().await;
    let swept = controller.gc(false).await.unwrap();
    assert_eq!((swept.objects, swept.problems.len()), (0, 1), "{swept:?}");
    assert!(swept.problems[0].contains("generation 2 desires it"), "{swept:?}");
    let found = fsck(&bench, REPAIR).await;
    assert_eq!(codes(&found), [("manifest_missing", "cells/n1/web/versions/v2/manifest.json")]);
    assert_eq!(listing(&bench).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_was_begun_is_finished_or_taken_back() {
    let bench = sound().await;
    let controller = bench.controller().await;
    controller.delete_version(&cell(), &"v1".parse().unwrap()).await.unwrap();
    let mark = format!("{V1}deleting.json");
    let found = fsck(&bench, REPAIR).await;
    assert_eq!((codes(&found), found[0].is_open()), (vec![("deleting_mark", mark.as_str())], false), "not due yet");
    bench.clock.pass(TimeDelta::hours(2));
    assert!(fsck(&bench, LOOK).await[0].is_open());
    assert_eq!(fsck(&bench, REPAIR).await[0].repaired, Some(Ok(())));
    assert!(bench.keys(V1).await.is_empty());
    // A mark on what is desired is taken back.
    let v2 = "cells/n1/web/versions/v2/deleting.json";
    bench.overwrite(v2, "{}").await;
    bench.clock.pass(TimeDelta::hours(2));
    let before = bench.keys("cells/n1/web/versions/v2/").await;
    assert_eq!(fsck(&bench, REPAIR).await[0].repaired, Some(Ok(())));
    let after = bench.keys("cells/n1/web/versions/v2/").await;
    assert_eq!(after, before.into_iter().filter(|key| key != v2).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_made_and_never_published_is_a_notice() {
    let bench = sound().await;
    let controller = bench.controller().await;
    bench.greet("ciao").await;
    let begun = bench.keys("").await.len();
    // Everything but the claim: two files, the manifest.
    bench.proxy.stop_after_writes(3);
    controller.publish(&request("v3"), &Guard::default()).await.unwrap_err();
    bench.proxy.heal();
    assert!(bench.keys("").await.len() > begun);
    let found = fsck(&bench, DEEP).await;
    assert_eq!(codes(&found), [("version_unpublished", "cells/n1/web/versions/v3/manifest.json")]);
    assert!(!found[0].is_open());
    // A removed cell that has no place in the index any more is sound.
    let stop = StopRequest { cell: cell(), reason: None };
    controller.remove(&stop, false, &Guard::default()).await.unwrap();
    bench.delete(INDEX).await;
    assert_eq!(fsck(&bench, LOOK).await.iter().filter(|finding| finding.is_open()).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_and_their_copies_in_the_index_are_held_against_each_other() {
    let bench = sound().await;
    let controller = bench.controller().await;
    let to = Addressee::from(cell());
    let held = controller.hold(&to, TimeDelta::days(3), "leak").await.unwrap();
    let object = format!("cells/n1/_requests/{}.json", held.id);
    assert_eq!(codes(&fsck(&bench, LOOK).await), []);
    let (sound, index) = (listing(&bench).await, bench.read(INDEX).await.unwrap());
    let with_orders = |change: &dyn Fn(&mut Vec<Box<RawValue>>)| {
        let mut index: Index = document::parse(&index).unwrap();
        change(&mut index.requests);
        document::render(&index)
    };
    let forged = RawValue::from_string("{}".to_owned()).unwrap();
    let damages: &[(&str, Option<Vec<u8>>, &str, &str)] = &[
        (INDEX, Some(with_orders(&Vec::clear)), "order_unlisted", &object),
        (&object, None, "order_missing", &object),
        (INDEX, Some(with_orders(&|orders| orders.push(forged.clone()))), "order_unbelieved", INDEX),
    ];
    for (key, bytes, code, at) in damages {
        match bytes {
            Some(bytes) => bench.overwrite(key, bytes.clone()).await,
            None => bench.delete(key).await,
        }
        let damaged = listing(&bench).await;
        assert_eq!(codes(&fsck(&bench, LOOK).await), [(*code, *at)]);
        assert!(listing(&bench).await == damaged, "a look writes nothing");
        assert_eq!(fsck(&bench, REPAIR).await[0].repaired, Some(Ok(())), "{code}");
        let (mut repaired, mut before) = (timeless(listing(&bench).await), timeless(sound.clone()));
        // A copy in the index has lost the white space around it.
        for all in [&mut repaired, &mut before] {
            all.get_mut(&object).unwrap().retain(|byte| *byte != b'\n');
        }
        assert!(repaired == before, "{code}");
    }
    // What nobody signed is for people to look at; and what was overtaken, or is over, counts no more.
    let strange = "cells/n1/_requests/01KDYWXAC0ZZZZZZZZZZZZZZZZ.json";
    bench.overwrite(strange, "{}").await;
    let found = fsck(&bench, REPAIR).await;
    assert_eq!((codes(&found), found[0].repairable), (vec![("order_unbelieved", strange)], false));
    bench.delete(strange).await;
    let old = bench.read(&object).await.unwrap();
    controller.release(&to, None).await.unwrap();
    bench.overwrite(&object, old).await;
    assert_eq!(codes(&fsck(&bench, LOOK).await), []);
    bench.clock.pass(TimeDelta::days(40));
    bench.overwrite(INDEX, with_orders(&Vec::clear)).await;
    assert_eq!(codes(&fsck(&bench, LOOK).await), []);
}
