//! Every document is written as its golden file, byte for byte, and read back from it.

use std::collections::BTreeMap;

use fleetman::model::answer::{Answer, AnswerState};
use fleetman::model::audit::{AuditEntry, AuditStage, Chain, EntryRef};
use fleetman::model::content::content_sha256;
use fleetman::model::deployment::{Deployment, DeploymentFile};
use fleetman::model::document::{self, Document};
use fleetman::model::fleet::{Conditions, ControllerBeat, Deleting, Finding, Fleet, StoreReport, Verdict, Writing};
use fleetman::model::index::{About, Index, IndexEntry};
use fleetman::model::manifest::{Manifest, Mode};
use fleetman::model::order::{LogQuery, Order, OrderAction};
use fleetman::model::outcome::{Ending, Outcome};
use fleetman::model::sign::{Signer, sign, verify};
use fleetman::model::trigger::{Action, Trigger, TriggerOptions};
use fleetman::model::users::Users;
use fleetman::model::{Code, Epoch, FilePath, Sha256Digest};

use super::samples::{
    alerts, alice, fleet, floor, heartbeat, heartbeat_with_processes, key, manifest, manifest_with_checks,
    manifest_with_dependencies, manifest_with_drift, manifest_with_group, manifest_with_hooks, manifest_with_processes,
    manifest_with_reload, manifest_with_sockets, manifest_with_unit, manifest_with_unit_file, manifest_with_windows,
    order, target, time, trigger, trust, ulid, users,
};
use super::{root, updating};

/// Holds `bytes` against the golden file, or writes it.
fn golden(name: &str, bytes: &[u8]) {
    let path = root().join("tests/golden").join(name);
    if updating() {
        std::fs::write(&path, bytes).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(String::from_utf8_lossy(bytes), expected, "{name}");
}

/// A document reads as the value, and the value writes as the document, byte for byte.
fn golden_document<T: Document + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
    let bytes = document::render(value);
    golden(name, &bytes);
    assert_eq!(document::parse::<T>(&bytes).unwrap(), *value, "{name}");
}

fn entry(stage: AuditStage) -> AuditEntry {
    AuditEntry {
        id: ulid(),
        at: time(0),
        actor: alice(),
        source: "cli".to_owned(),
        host: "ops1".to_owned(),
        action: "publish".to_owned(),
        object: "cell/n1/web".to_owned(),
        before: Some("1.4.1".to_owned()),
        after: Some("1.4.2".to_owned()),
        reason: None,
        stage,
        chain: None,
    }
}

fn outcome_of_intent() -> AuditStage {
    AuditStage::Outcome { intent: ulid(), done: true, message: "generation 7".to_owned() }
}

#[test]
fn unsigned_documents_stay_readable() {
    for (name, manifest) in [
        ("manifest.json", manifest()),
        ("manifest-processes.json", manifest_with_processes()),
        ("manifest-checks.json", manifest_with_checks()),
        ("manifest-hooks.json", manifest_with_hooks()),
        ("manifest-drift.json", manifest_with_drift()),
        ("manifest-sockets.json", manifest_with_sockets()),
        ("manifest-systemd.json", manifest_with_unit()),
        ("manifest-unit-file.json", manifest_with_unit_file()),
        ("manifest-supervisor.json", manifest_with_group()),
        ("manifest-reload.json", manifest_with_reload()),
        ("manifest-windows.json", manifest_with_windows()),
        ("manifest-dependencies.json", manifest_with_dependencies()),
    ] {
        golden(name, &manifest.render());
        assert_eq!(Manifest::parse(&manifest.render()).unwrap(), manifest, "{name}");
    }
    golden_document("fleet.json", &Fleet { fleet: fleet(), layout: Fleet::LAYOUT, created_at: time(0) });
    golden_document(
        "store.json",
        &StoreReport {
            checked_at: time(0),
            conditions: Conditions::Honoured,
            findings: vec![Finding {
                check: "create_race".to_owned(),
                verdict: Verdict::Ok,
                message: "of 32 writers who created one object at once, exactly one won".to_owned(),
                help: None,
            }],
        },
    );
    golden_document(
        "controller.json",
        &ControllerBeat {
            id: fleet(),
            hostname: "ops1".to_owned(),
            user: "alice".to_owned(),
            reported_at: time(0),
            writing: Some(Writing { cell: "n1/web".parse().unwrap(), since: time(0) }),
        },
    );
    golden_document(
        "deleting.json",
        &Deleting { marked_at: time(0), marked_by: alice(), manifest_sha256: Some(target().manifest_sha256) },
    );
    // As they were before entries were signed.
    golden_document("audit-intent.json", &entry(AuditStage::Intent));
    golden_document("audit-outcome.json", &entry(outcome_of_intent()));
    golden_document(
        "outcome.json",
        &Outcome {
            fleet: fleet(),
            node: "n1".parse().unwrap(),
            cell: "web".parse().unwrap(),
            at: floor(),
            attempt: 1,
            action: "deploy".to_owned(),
            version: Some((&target()).into()),
            started_at: time(2),
            ended_at: time(5),
            outcome: Ending::RolledBack,
            known_good_after: None,
            running_after: Some((&target()).into()),
            code: Some(Code::ActivationFailed),
            message: Some("exit code 1".to_owned()),
            files_fetched: 2,
            files_reused: 1,
            bytes_fetched: 22,
        },
    );
    golden_document(
        "answer.json",
        &Answer {
            fleet: fleet(),
            node: "n1".parse().unwrap(),
            cell: "web".parse().unwrap(),
            order: ulid(),
            state: AnswerState::Failed,
            started_at: time(2),
            written_at: time(5),
            chunks: 2,
            lines: 311,
            bytes: 40_712,
            lost_bytes: 512,
            code: Some(Code::Io),
            message: Some("reading the log of web: permission denied".to_owned()),
            notes: vec!["lines of this profile carry no time".to_owned()],
        },
    );
    golden_document("alerts.json", &alerts());
    golden_document("heartbeat.json", &heartbeat());
    golden_document("heartbeat-processes.json", &heartbeat_with_processes());
}

#[test]
fn signed_documents_stay_readable_and_verifiable() {
    let signer = Signer::Key(key(), Epoch::FIRST);
    let all_set = TriggerOptions { retry: true, force: true, override_windows: true, purge_data: false };
    let purge = TriggerOptions { purge_data: true, ..TriggerOptions::default() };
    for (name, trigger) in [
        ("trigger-deploy.json", trigger(Action::Deploy(target()), all_set)),
        ("trigger-stop.json", trigger(Action::Stop, TriggerOptions::default())),
        ("trigger-remove.json", trigger(Action::Remove, purge)),
    ] {
        let signed = sign(&trigger, &signer).unwrap();
        golden(name, signed.document());
        assert_eq!(*verify::<Trigger>(signed.document(), &trust()).unwrap(), trigger, "{name}");
    }
    let mut deployment = Deployment {
        requires: vec![],
        fleet: fleet(),
        manifest: "shop".parse().unwrap(),
        deployment: "20260102-030405-5d1f2a".parse().unwrap(),
        content_sha256: Sha256Digest::of(b""),
        created_at: time(0),
        created_by: alice(),
        note: None,
        files: vec![DeploymentFile {
            path: FilePath::new("bin/shop").unwrap(),
            size: 10,
            sha256: Sha256Digest::of(b"#!/bin/sh\n"),
            mode: Mode::EXECUTE,
        }],
    };
    deployment.content_sha256 = content_sha256(&deployment);
    let signed = sign(&deployment, &signer).unwrap();
    golden("deployment.json", signed.document());
    assert_eq!(*verify::<Deployment>(signed.document(), &trust()).unwrap(), deployment);

    let logs = LogQuery {
        process: Some("web".parse().unwrap()),
        lines: 100,
        since: Some(time(0)),
        grep: Some("ERR|WARN".to_owned()),
        regex: true,
        follow_secs: Some(600),
    };
    for (name, order) in [
        ("order-hold.json", order(OrderAction::Hold)),
        ("order-release.json", Order { cell: None, reason: None, ..order(OrderAction::Release) }),
        ("order-logs.json", order(OrderAction::Logs(logs))),
    ] {
        let signed = sign(&order, &signer).unwrap();
        golden(name, signed.document());
        assert_eq!(*verify::<Order>(signed.document(), &trust()).unwrap(), order, "{name}");
    }

    let follows = vec![EntryRef { id: ulid(), sha256: Sha256Digest::of(b"") }];
    let audited = AuditEntry { chain: Some(Chain { fleet: fleet(), follows }), ..entry(outcome_of_intent()) };
    let signed = sign(&audited, &signer).unwrap();
    golden("audit-signed.json", signed.document());
    assert_eq!(*verify::<AuditEntry>(signed.document(), &trust()).unwrap(), audited);

    let users = users();
    let signed = sign(&users, &signer).unwrap();
    golden("users.json", signed.document());
    assert_eq!(*verify::<Users>(signed.document(), &trust()).unwrap(), users);
}

#[test]
fn an_index_holds_its_triggers_byte_for_byte() {
    let trigger = trigger(Action::Deploy(target()), TriggerOptions::default());
    let signed = sign(&trigger, &Signer::Key(key(), Epoch::FIRST)).unwrap();
    let raw = serde_json::from_slice(signed.document()).unwrap();
    let about = About {
        manifest: "shop".parse().unwrap(),
        labels: BTreeMap::from([("tier".to_owned(), "front".to_owned())]),
        paused: Some("frozen until monday".to_owned()),
        has_overrides: true,
    };
    let mut index = Index::empty("n1".parse().unwrap(), time(0));
    let web = "web".parse().unwrap();
    index.put(&web, &IndexEntry { trigger: Some(raw), about: Some(about.clone()) }).unwrap();
    let bytes = document::render(&index);
    golden("index.json", &bytes);
    let read = document::parse::<Index>(&bytes).unwrap().entry(&web).unwrap();
    assert_eq!(read.about, Some(about));
    let copy = verify::<Trigger>(read.trigger_bytes().unwrap(), &trust()).unwrap();
    assert_eq!(copy.signed_sha256(), signed.signed_sha256(), "the copy in the index verifies by itself");
}
