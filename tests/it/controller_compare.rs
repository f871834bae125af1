//! What a person sees of one cell: versions side by side, its history with what came of it, logs and files.

use fleetman::controller::{
    Controller, Guard, LogPlace, PreviewBody, Proof, PublishRequest, Revision, StopRequest, TextDiff, VersionState,
};
use fleetman::model::fleet::Conditions;
use fleetman::model::keys::AttemptId;
use fleetman::model::outcome::Ending;
use fleetman::model::sign::{Verified, sign};
use fleetman::model::trigger::Trigger;
use fleetman::model::{Epoch, FilePath, Floor, Generation, ObjectKey, VersionName};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::support::fleet::{Bench, FLEET, KEY, TestKey, cell, code, request};
use crate::support::proxy::On;

fn at(generation: u64) -> Floor {
    Floor::new(Epoch::FIRST, Generation::new(generation).unwrap())
}

fn version(name: &str) -> Revision {
    Revision::Version(VersionName::new(name).unwrap())
}

fn path(path: &str) -> FilePath {
    FilePath::new(path).unwrap()
}

fn attempt(generation: u64, attempt: u32) -> AttemptId {
    AttemptId { cell: cell(), floor: at(generation), attempt }
}

/// What the node says came of an attempt.
async fn outcome(bench: &Bench, id: &AttemptId, ending: &str) {
    let text = json!({
        "schema": "fleetman/outcome/1", "fleet": FLEET, "node": "n1", "cell": "web", "at": id.floor,
        "attempt": id.attempt, "action": "deploy", "started_at": "2026-01-02T03:04:05Z",
        "ended_at": "2026-01-02T03:04:06Z", "outcome": ending,
    });
    bench.overwrite(&ObjectKey::Outcome(id.clone()).relative(), text.to_string()).await;
}

/// Continues the history of `n1/web` with copies of its newest entry at these places, as if nobody ever removed any.
async fn continue_history(bench: &Bench, by: TestKey, generations: impl IntoIterator<Item = u64>) {
    let newest: Verified<Trigger> = bench.history().await.pop().unwrap();
    let entries = generations.into_iter().map(|generation| {
        let trigger = Trigger { generation: Generation::new(generation).unwrap(), ..(*newest).clone() };
        sign(&trigger, &by.signer()).unwrap()
    });
    let entries: Vec<Verified<Trigger>> = entries.collect();
    stream::iter(&entries)
        .for_each_concurrent(16, async |entry| {
            let key = ObjectKey::History(cell(), Floor::new(entry.epoch(), entry.generation));
            bench.overwrite(&key.relative(), entry.document()).await;
        })
        .await;
    bench.overwrite("cells/n1/web/trigger.json", entries.last().unwrap().document()).await;
}

/// The generations of a page, and where the next begins.
async fn page(controller: &Controller, below: Option<Floor>, limit: usize) -> (Vec<u64>, Option<Floor>) {
    let past = controller.past(&cell(), below, limit).await.unwrap();
    let generations = past.triggers.iter().map(|trigger| {
        trigger.entry.trigger.as_ref().unwrap();
        trigger.entry.at.generation.get()
    });
    (generations.collect(), past.older)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_differ_in_settings_files_and_lines() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.overwrite("cells/n1/web/overrides/etc/extra.conf", "a = 1\n").await;
    bench.upload("r2", &[("index.html", "one {{ vars.greeting }}\n"), ("logo.png", "\0png")]).await;
    bench.publish("v2", "bye").await;
    let controller = bench.controller().await;
    let compared = controller.compare(&cell(), &version("v1"), &version("v2")).await.unwrap();
    let fields: Vec<String> = compared.changes.fields.iter().map(|change| change.field.clone()).collect();
    assert_eq!(fields, ["deployment"]);
    let files: Vec<(&str, &TextDiff)> =
        compared.changes.files.iter().map(|change| (change.path.as_str(), &change.diff)).collect();
    let [
        ("bin/run", TextDiff::Text(gone)),
        ("etc/extra.conf", TextDiff::Text(new)),
        ("index.html", TextDiff::Text(changed)),
        ("logo.png", TextDiff::Binary),
    ] = files[..]
    else {
        panic!("{files:?}")
    };
    assert!(gone.contains("-#!/bin/sh\n") && new.contains("+a = 1\n"), "{gone} {new}");
    assert!(changed.contains("-one hello\n+one bye\n"), "{changed}");
    let made = compared.to.made.unwrap();
    assert_eq!((made.by.as_str(), made.proof), ("alice", Proof::Verified { by: at(2) }));
    assert_eq!((compared.from.files, compared.to.files), (2, 3));

    let back = controller.compare(&cell(), &version("v2"), &version("v1")).await.unwrap();
    assert_eq!(back.changes.files.len(), 4);
    let error = controller.compare(&cell(), &version("v1"), &version("v9")).await;
    assert_eq!(code(error), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_compared_with_what_its_inputs_give_now() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let controller = bench.controller().await;
    let same = controller.compare(&cell(), &version("v1"), &Revision::Now).await.unwrap();
    assert!(same.changes.is_empty() && same.to.made.is_none(), "{same:?}");
    assert_eq!(same.from.content_sha256, same.to.content_sha256);
    bench.greet("bye").await;
    let compared = controller.compare(&cell(), &version("v1"), &Revision::Now).await.unwrap();
    let TextDiff::Text(diff) = &compared.changes.files[0].diff else { panic!("{compared:?}") };
    assert!(diff.contains("-one hello\n+one bye\n"), "{diff}");
    assert_eq!("now".parse::<Revision>().unwrap(), Revision::Now);
    assert_eq!(version("v1").to_string().parse::<Revision>().unwrap(), version("v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_a_secret_is_not_in_a_comparison() {
    let bench = Bench::start().await;
    let manifest = |password: &str, port: &str| {
        format!(
            "name: site\nvars: {{greeting: hi}}\nfiles: [{{glob: \"**\"}}]\nprofile:\n  process:\n    command: [/bin/true]\n    env:\n      \
             PORT: \"{port}\"\n      DB_PASSWORD: {password}\n      API_TOKEN: {{from_file: /etc/{password}}}\n"
        )
    };
    bench.apply(&manifest("hunter2", "1")).await;
    bench.publish("v1", "hello").await;
    bench.apply(&manifest("swordfish", "2")).await;
    let controller = bench.controller().await;
    let compared = controller.compare(&cell(), &version("v1"), &Revision::Now).await.unwrap();
    let shown = serde_json::to_value(&compared.changes.fields).unwrap();
    let main = "profile.env";
    let field = |name: &str| {
        let fields = shown.as_array().unwrap();
        fields.iter().find(|change| change["field"] == format!("{main}.{name}")).unwrap().clone()
    };
    assert_eq!((&field("PORT")["before"], &field("PORT")["after"]), (&json!("1"), &json!("2")));
    assert_eq!(field("DB_PASSWORD")["is_secret"], json!(true));
    assert_eq!(field("API_TOKEN.from_file")["after"], json!("/etc/swordfish"), "where it lies is no secret");
    let masked = field("DB_PASSWORD").to_string();
    assert!(!masked.contains("hunter2") && !masked.contains("swordfish"), "{masked}");
    let plan = controller.plan(&PublishRequest::new(cell())).await.unwrap();
    assert_eq!(plan.changes.fields, compared.changes.fields, "a plan shows no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_believed_history_names_is_called_verified() {
    let bench = Bench::start().await;
    let published = bench.publish("v1", "hello").await;
    bench.publish("v2", "bye").await;
    let controller = bench.controller().await;
    let key = "cells/n1/web/versions/v1/manifest.json";
    let text = String::from_utf8(bench.read(key).await.unwrap()).unwrap();
    bench.overwrite(key, text.replace("\"alice\"", "\"malik\"")).await;
    let placed = text.replace("\"version\": \"v1\"", "\"version\": \"v0\"");
    bench.overwrite("cells/n1/web/versions/v0/manifest.json", placed).await;

    let compared = controller.compare(&cell(), &version("v0"), &version("v1")).await.unwrap();
    assert_eq!(compared.from.made.unwrap().proof, Proof::Unnamed { triggers: 2 });
    let expected = published.target.unwrap().manifest_sha256;
    assert_eq!(compared.to.made.unwrap().proof, Proof::Contradicted { by: at(1), expected });
    // Nobody's signature is on what was put there by somebody without the key.
    continue_history(&bench, TestKey(9, 1), [3]).await;
    let timeline = controller.timeline(&cell(), 0, 10).await.unwrap();
    let proofs: Vec<_> = timeline.versions.iter().map(|line| (line.version.name.as_str(), &line.proof)).collect();
    assert_eq!(proofs.iter().find(|(name, _)| *name == "v2").unwrap().1, &Some(Proof::Verified { by: at(2) }));
    assert_eq!(timeline.triggers, 2);

    bench.overwrite("cells/n1/web/versions/v1/manifest.json", text.replace("\"v1\"", "\"v7\"")).await;
    assert_eq!(code(controller.compare(&cell(), &version("v1"), &version("v2")).await), "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_desired_long_ago_is_still_verified() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.publish("v2", "bye").await;
    continue_history(&bench, KEY, 3..=250).await;
    let controller = bench.controller().await;
    let compared = controller.compare(&cell(), &version("v1"), &version("v2")).await.unwrap();
    assert_eq!(compared.from.made.unwrap().proof, Proof::Verified { by: at(1) });
    assert_eq!(compared.to.made.unwrap().proof, Proof::Verified { by: at(250) });
    // A list asks less of the bucket, and says how far it looked.
    let timeline = controller.timeline(&cell(), 0, 10).await.unwrap();
    let v1 = timeline.versions.iter().find(|line| line.version.name.as_str() == "v1").unwrap();
    assert_eq!(v1.proof, Some(Proof::Unnamed { triggers: 100 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_too_many_lines_that_differ_the_last_are_left_out() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let text = "a line of a text that is new\n".repeat(30_000);
    let mut files = vec![("index.html", "one\n")];
    files.extend(["a.txt", "b.txt", "c.txt"].map(|name| (name, text.as_str())));
    bench.upload("r2", &files).await;
    let controller = bench.controller().await;
    let compared = controller.compare(&cell(), &version("v1"), &Revision::Now).await.unwrap();
    let is_left_out = |name: &str| {
        let change = compared.changes.files.iter().find(|change| change.path.as_str() == name).unwrap();
        change.diff == TextDiff::LeftOut
    };
    assert_eq!(["a.txt", "b.txt", "c.txt"].map(is_left_out), [false, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_long_history_costs_no_more_than_one_of_a_short_one() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    continue_history(&bench, KEY, 2..=1_300).await;
    let controller = bench.controller().await;
    bench.proxy.clear_log();
    let newest: Vec<u64> = (1_281..=1_300).rev().collect();
    assert_eq!(page(&controller, None, 20).await, (newest.clone(), Some(at(1_281))));
    assert_eq!((bench.proxy.count(On::list("*")), bench.proxy.count(On::get("*/history/*"))), (2, 20));

    bench.proxy.clear_log();
    assert_eq!(page(&controller, None, 20).await.0, newest);
    assert_eq!(bench.proxy.count(On::get("*/history/*")), 0, "entries never change, and none is read twice");
    assert_eq!(bench.proxy.log().len(), 3, "the newest trigger, and two LISTs");

    bench.proxy.clear_log();
    let older = page(&controller, Some(at(1_281)), 20).await;
    assert_eq!((older.0.first(), older.0.len(), older.1), (Some(&1_280), 20, Some(at(1_261))));
    assert_eq!(bench.proxy.log().len(), 22);
    assert_eq!(page(&controller, Some(at(5)), 20).await, (vec![4, 3, 2, 1], None));
    assert_eq!(page(&controller, Some(at(1)), 20).await, (vec![], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_with_gaps_and_of_two_epochs_is_paged_without_leaving_any_out() {
    let bench = Bench::start().await;
    let newer = TestKey(2, 2);
    bench.publish("v1", "hello").await;
    continue_history(&bench, KEY, [2, 3, 900, 1_900]).await;
    // A stranger's entry in an epoch that nobody pins is none.
    continue_history(&bench, TestKey(3, 3), [1]).await;
    let controller = bench.controller_of("alice", newer, &[KEY, newer], Conditions::Honoured).await;
    bench.overwrite("cells/n1/web/history/0003-0000000000000001.json", "{").await;
    controller.publish(&request("v1"), &Guard::default()).await.unwrap();
    controller.stop(&StopRequest { cell: cell(), reason: None }, &Guard::default()).await.unwrap();

    let (mut below, mut all) = (None, Vec::new());
    loop {
        let past = controller.past(&cell(), below, 2).await.unwrap();
        all.extend(past.triggers.iter().map(|trigger| trigger.entry.at.to_string()));
        below = past.older;
        if below.is_none() {
            break;
        }
    }
    assert_eq!(all, ["2-1", "1900", "900", "3", "2", "1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_trigger_stands_beside_what_its_node_did_about_it() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    bench.publish("v2", "bye").await;
    bench.publish("v3", "hello again").await;
    bench.overwrite("cells/n1/web/history/0001-0000000000000002.json", "{").await;
    outcome(&bench, &attempt(1, 1), "failed").await;
    outcome(&bench, &attempt(1, 2), "succeeded").await;
    outcome(&bench, &attempt(4, 1), "succeeded").await;
    bench.overwrite(&ObjectKey::AttemptLog(attempt(1, 2)).relative(), "one\n").await;
    bench.overwrite(&ObjectKey::Outcome(attempt(2, 1)).relative(), "{").await;
    bench.overwrite(&ObjectKey::AttemptLog(attempt(3, 1)).relative(), "begun\n").await;
    let controller = bench.controller().await;
    let past = controller.past(&cell(), None, 10).await.unwrap();
    let told: Vec<_> = past
        .triggers
        .iter()
        .map(|trigger| {
            let attempts = trigger.attempts.newest.iter().map(|attempt| {
                let ending = attempt.outcome.as_ref().map(|outcome| outcome.as_ref().ok().map(|it| it.outcome));
                (attempt.id.attempt, ending, attempt.log.as_ref().map(|log| log.size))
            });
            (trigger.entry.at.generation.get(), trigger.entry.trigger.is_ok(), attempts.collect::<Vec<_>>())
        })
        .collect();
    let (good, bad) = (Some(Some(Ending::Succeeded)), Some(Some(Ending::Failed)));
    assert_eq!(
        told,
        [
            (3, true, vec![(1, None, Some(6))]),
            (2, false, vec![(1, Some(None), None)]),
            (1, true, vec![(2, good, Some(4)), (1, bad, None)]),
        ]
    );
    bench.proxy.clear_log();
    controller.past(&cell(), None, 10).await.unwrap();
    assert_eq!(bench.proxy.count(On::get("*/logs/*")), 0, "what did not change is not read again");
    outcome(&bench, &attempt(1, 2), "rolled_back").await;
    let attempts = controller.attempts_at(&cell(), at(1)).await.unwrap();
    assert_eq!(attempts.newest[0].outcome.clone().unwrap().unwrap().outcome, Ending::RolledBack);
    assert_eq!(attempts.newest.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_floods_its_logs_costs_no_more_than_is_borne() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let ids: Vec<AttemptId> = (1..=60).map(|number| attempt(1, number)).collect();
    stream::iter(&ids).for_each_concurrent(16, async |id| outcome(&bench, id, "failed").await).await;
    let controller = bench.controller().await;
    let attempts = controller.attempts_at(&cell(), at(1)).await.unwrap();
    assert_eq!((attempts.newest.len(), attempts.left_out), (20, 40));
    assert_eq!(attempts.newest[0].id.attempt, 60);
    assert_eq!(bench.proxy.count(On::get("*/logs/*")), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_read_in_pieces_that_fit_together() {
    let bench = Bench::start().await;
    let id = attempt(1, 1);
    let controller = bench.controller().await;
    assert_eq!(code(controller.attempt_log(&id, LogPlace::End).await), "not_found");
    let key = ObjectKey::AttemptLog(id.clone()).relative();
    bench.overwrite(&key, "").await;
    let empty = controller.attempt_log(&id, LogPlace::End).await.unwrap();
    assert_eq!((empty.lines, empty.size), (vec![], 0));

    let lines: Vec<String> = (0..5_000).map(|number| format!("line {number} \u{1b}[31mé")).collect();
    bench.overwrite(&key, lines.join("\n") + "\n\u{feff}end without a newline").await;
    let (mut place, mut found) = (LogPlace::End, Vec::new());
    loop {
        let piece = controller.attempt_log(&id, place).await.unwrap();
        assert!(piece.end - piece.start <= 64 << 10);
        found.splice(..0, piece.lines);
        if piece.start == 0 {
            break;
        }
        place = LogPlace::Until(piece.start);
    }
    assert_eq!(found[..5_000], lines);
    assert_eq!(found[5_000..], ["\u{feff}end without a newline"]);
    let first = controller.attempt_log(&id, LogPlace::From(0)).await.unwrap();
    let second = controller.attempt_log(&id, LogPlace::From(first.end)).await.unwrap();
    assert_eq!(second.lines[0], lines[first.lines.len()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_shown_as_far_as_it_is_a_text_and_what_its_version_says() {
    let bench = Bench::start().await;
    let large = "é".repeat(600 << 10);
    bench.upload("r2", &[("index.html", "one\n"), ("logo.png", "\0png"), ("large.txt", &large)]).await;
    bench.overwrite("cells/n1/web/overrides/a.conf", "a = 1\n").await;
    bench.publish("v1", "hello").await;
    let controller = bench.controller().await;
    let shown = async |file: &str| controller.version_file(&cell(), &"v1".parse().unwrap(), &path(file)).await;
    let index = shown("index.html").await.unwrap();
    assert_eq!((index.body, index.size), (PreviewBody::Text("one\n".to_owned()), 4));
    assert_eq!(shown("logo.png").await.unwrap().body, PreviewBody::Binary);
    let PreviewBody::Beginning(beginning) = shown("large.txt").await.unwrap().body else { panic!() };
    assert_eq!(beginning.len(), 1 << 20);
    assert_eq!(code(shown("none").await), "not_found");

    let of_override = controller.override_preview(&cell(), &path("a.conf")).await.unwrap();
    assert_eq!(of_override.body, PreviewBody::Text("a = 1\n".to_owned()));
    assert_eq!(code(controller.override_preview(&cell(), &path("b.conf")).await), "not_found");
    bench.overwrite(&index.key.relative(), "two\n").await;
    assert!(matches!(shown("index.html").await.unwrap().body, PreviewBody::Corrupt { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_paged_with_what_they_are_to_the_cell() {
    let bench = Bench::start().await;
    let first = bench.publish("v9", "hello").await;
    bench.publish("v10", "bye").await;
    bench.publish("v9", "hello").await;
    let target = first.target.unwrap();
    let running =
        json!({"version": "v9", "manifest_sha256": target.manifest_sha256, "content_sha256": target.content_sha256});
    let report = json!({"phase": "up_to_date", "state": {"state": "n/a"}, "running": running, "known_good": running});
    let beat: Value = json!({
        "schema": "fleetman/heartbeat/1", "node": "n1", "fleet": FLEET, "agent_version": "0",
        "instance_id": FLEET, "sequence": 1, "started_at": "2026-01-02T03:04:05Z",
        "reported_at": "2026-01-02T03:04:05Z", "interval_secs": 60, "signing": "signed", "cells": {"web": report},
    });
    bench.overwrite("agents/n1.json", beat.to_string()).await;
    for name in ["v11", "v12"] {
        bench.overwrite(&format!("cells/n1/web/versions/{name}/manifest.json"), vec![b'{'; 9 << 20]).await;
    }
    bench.overwrite("cells/n1/web/versions/v13/files/0123456789abcdef/a", "a").await;

    let controller = bench.controller().await;
    let timeline = controller.timeline(&cell(), 2, 2).await.unwrap();
    let names: Vec<&str> = timeline.versions.iter().map(|line| line.version.name.as_str()).collect();
    assert_eq!((names, timeline.total), (vec!["v11", "v10"], 5));
    let whole = controller.timeline(&cell(), 0, 100).await.unwrap();
    let line = |name: &str| whole.versions.iter().find(|line| line.version.name.as_str() == name).unwrap();
    let v9 = line("v9");
    assert_eq!(v9.desired_by, [at(3), at(1)]);
    assert_eq!((v9.is_desired, v9.is_running, v9.is_known_good), (true, true, true));
    assert_eq!(v9.version.needed, ["desired by generation 3", "running on n1", "known good on n1"]);
    let v10 = line("v10");
    assert_eq!((v10.desired_by.clone(), v10.is_desired, v10.is_running), (vec![at(2)], false, false));
    assert!(matches!(line("v11").version.state, VersionState::Unreadable { .. }));
    assert_eq!((&line("v13").version.state, &line("v13").proof), (&VersionState::Unfinished, &None));

    bench.proxy.clear_log();
    controller.timeline(&cell(), 3, 2).await.unwrap();
    let manifests = bench.proxy.log().into_iter().filter(|seen| seen.key.ends_with("manifest.json"));
    let answers: Vec<Option<u16>> = manifests.map(|seen| seen.status).collect();
    assert_eq!(answers, [Some(304), Some(304)], "manifests that are known do not travel again");
}
