//! The bucket as it is: folders and objects of friends and strangers, previews, verification, references, usage.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fleetman::controller::{Content, Controller, TextKind, UsageBoard};
use fleetman::model::ObjectKey;
use fleetman::model::fleet::{Finding, Verdict};
use fleetman::model::keys::Folder;

use crate::support::fleet::{Bench, TestKey, cell, code};

const MOST_BYTES: u64 = 64 << 20;

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

/// Names as hostile as S3 takes them.
fn hostile() -> Vec<String> {
    // The embedded store's own limit is S3's, prefix and all.
    let long = "x".repeat(1024 - "prod/eu/strange/".len());
    [
        "a\u{1b}[31mb",
        "line\nbreak",
        "..",
        "%2e%2e",
        "a+b c&d=e#f?g",
        "\u{202e}gnp.exe",
        "<script>alert(1)</script>",
        &long,
    ]
    .map(str::to_owned)
    .into()
}

async fn verified(controller: &Controller, of: &str) -> Vec<Finding> {
    controller.verify(&key(of), MOST_BYTES).await.unwrap()
}

fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap()
}

/// The messages of a verdict, for assertions.
fn told(findings: &[Finding], verdict: Verdict) -> String {
    let told = findings.iter().filter(|finding| finding.verdict == verdict);
    told.map(|finding| format!("{}: {}\n", finding.check, finding.message)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_told_page_by_page_with_what_they_are_for() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    bench.publish("v1", "hello").await;

    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = controller.browse("", after.as_deref(), 2).await.unwrap();
        assert!(page.folders.len() + page.objects.len() <= 2);
        assert_eq!(page.about.unwrap().purpose, "everything that the fleet is, wants and did");
        seen.extend(page.folders.iter().map(|row| (row.path.clone(), row.about.is_some())));
        seen.extend(page.objects.iter().map(|row| (row.name.clone(), row.key.is_some())));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    seen.sort();
    let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["audit/", "cells/", "deployments/", "fleet.json", "index/", "manifests/"]);
    assert!(seen.iter().all(|(_, known)| *known));

    let page = controller.browse("cells/n1/web/versions/v1/", None, 100).await.unwrap();
    assert_eq!(page.folders[0].path, "cells/n1/web/versions/v1/files/");
    assert_eq!((page.folders[0].about, page.objects[0].name.as_str()), (None, "manifest.json"));
    assert!(page.objects[0].size > 0 && page.objects[0].modified.is_some());

    let nothing = controller.browse("Photos/2024/", None, 100).await.unwrap();
    assert_eq!((nothing.about, nothing.folders.len(), nothing.objects.len()), (None, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_keys_are_listed_as_they_are_and_never_taken_for_ours() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    for name in hostile() {
        bench.overwrite(&format!("strange/{name}"), "x").await;
    }
    bench.overwrite("strange//nameless", "x").await;
    // Another fleet beside ours, whose prefix begins with the same letters.
    let beside = bench.server.client().put_object().bucket(crate::support::BUCKET).key("prod/europe/fleet.json");
    beside.body(b"{}".to_vec().into()).send().await.unwrap();

    let page = controller.browse("strange/", None, 1000).await.unwrap();
    let mut names: Vec<&str> = page.objects.iter().map(|row| row.name.as_str()).collect();
    let folders: Vec<(&str, &str)> = page.folders.iter().map(|row| (row.name.as_str(), row.path.as_str())).collect();
    // The script's end tag holds a slash.
    assert_eq!(folders, [("", "strange//"), ("<script>alert(1)<", "strange/<script>alert(1)</")]);
    let mut expected = hostile();
    expected.retain(|name| !name.contains('/'));
    expected.sort();
    names.sort_unstable();
    assert_eq!(names, expected);
    assert!(page.objects.iter().all(|row| row.key.is_none()));
    let nameless = controller.browse("strange//", None, 1000).await.unwrap();
    assert_eq!(nameless.objects[0].name, "nameless");

    let root = controller.browse("", None, 1000).await.unwrap();
    assert!(root.folders.iter().all(|row| row.path != "ope/"), "the fleet beside is none of ours");
    let above = controller.browse("../", None, 1000).await.unwrap();
    assert_eq!((above.folders.len(), above.objects.len()), (0, 0), "two dots are a name like any other");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_folder_or_no_place_in_it_is_refused() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    assert_eq!(code(controller.browse("cells", None, 10).await), "invalid");
    assert_eq!(code(controller.browse(&format!("{}/", "x".repeat(1024)), None, 10).await), "invalid");
    for after in ["", "not a token", "%%%", "\u{1b}", &"x".repeat(5000)] {
        assert_eq!(code(controller.browse("", Some(after), 10).await), "invalid", "{after:?}");
    }
    let absent = key("cells/n1/web/versions/v9/manifest.json");
    assert_eq!(code(controller.object(&absent).await), "not_found");
    assert_eq!(code(controller.preview(&absent, 10).await), "not_found");
    assert_eq!(code(controller.open(&absent).await.map(|_| ())), "not_found");
    assert_eq!(code(controller.verify(&absent, 10).await), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_bounded_and_goes_by_what_the_bytes_are() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let preview = async |of: &str, most| controller.preview(&key(of), most).await.unwrap();
    let is_kind = |content: &Content, expected| matches!(content, Content::Text { kind, .. } if *kind == expected);

    let fleet = preview("fleet.json", 1 << 16).await;
    assert!(is_kind(&fleet.content, TextKind::Json) && !fleet.is_cut());
    assert!(is_kind(&preview("fleet.json", 20).await.content, TextKind::Json), "cut, and still JSON");
    assert!(is_kind(&preview("manifests/site/manifest.yaml", 1 << 16).await.content, TextKind::Yaml));

    bench.overwrite("cells/n1/web/overrides/page.html", "<script>alert(1)</script>\u{1b}[2J").await;
    let html = preview("cells/n1/web/overrides/page.html", 1 << 16).await;
    assert!(is_kind(&html.content, TextKind::Plain), "its name makes it nothing");
    bench.overwrite("cells/n1/web/overrides/tool.json", vec![0x7f, b'E', b'L', b'F', 0]).await;
    assert_eq!(preview("cells/n1/web/overrides/tool.json", 1 << 16).await.content, Content::Binary);
    bench.overwrite("cells/n1/web/overrides/empty", "").await;
    assert_eq!(preview("cells/n1/web/overrides/empty", 1 << 16).await.content, Content::Empty);

    bench.overwrite("cells/n1/web/overrides/huge", "line\n".repeat(2 << 20)).await;
    let huge = preview("cells/n1/web/overrides/huge", 1 << 16).await;
    assert_eq!((huge.shown_bytes, huge.meta.size, huge.is_cut()), (1 << 16, 10 << 20, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_can_be_had_whole_also_an_empty_one() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    let text = "line\n".repeat(1 << 18);
    for (name, text) in [("whole", text.as_str()), ("empty", "")] {
        bench.overwrite(&format!("cells/n1/web/overrides/{name}"), text).await;
        let (meta, mut stream) = controller.open(&key(&format!("cells/n1/web/overrides/{name}"))).await.unwrap();
        let mut got = Vec::new();
        while let Some(piece) = stream.next().await.unwrap() {
            got.extend_from_slice(&piece);
        }
        assert_eq!(meta.size, text.len() as u64);
        assert!(got == text.as_bytes(), "{name} came back as something else");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_a_publish_wrote_verifies() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    bench.publish("v1", "hello").await;
    let mut checked = 0;
    for relative in bench.keys("").await {
        let findings = verified(&controller, &relative).await;
        assert!(findings.iter().all(|finding| finding.verdict != Verdict::Failed), "{relative}: {findings:?}");
        checked += 1;
    }
    assert!(checked > 15, "{checked}");
    let file = bench.keys("cells/n1/web/versions/v1/files/").await.remove(0);
    let findings = verified(&controller, &file).await;
    let good = told(&findings, Verdict::Ok);
    for part in ["digest: ", "pinned: manifest.json: the history pins these bytes", "place: "] {
        assert!(good.contains(part), "{good}");
    }
    let findings = verified(&controller, "cells/n1/web/trigger.json").await;
    let good = told(&findings, Verdict::Ok);
    let id = TestKey(1, 1).private().public().id().to_string();
    for part in [id.as_str(), "epoch 1", "generation 1 (deploy v1) by alice", "what the history says of generation 1"] {
        assert!(good.contains(part), "{good}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_changed_by_hand_is_found_and_named() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    bench.publish("v1", "hello").await;
    let read = async |of: &str| String::from_utf8(bench.read(of).await.unwrap()).unwrap();

    let file = bench.keys("cells/n1/web/versions/v1/files/").await.remove(0);
    let size = bench.read(&file).await.unwrap().len();
    for other in ["y".repeat(size), "y".repeat(size + 1), "y".repeat(size - 1), String::new()] {
        bench.overwrite(&file, other.as_str()).await;
        let bad = told(&verified(&controller, &file).await, Verdict::Failed);
        assert!(
            bad.contains("digest: ") && bad.contains("expected") && bad.contains(&format!("got {} bytes", other.len())),
            "{bad}"
        );
    }
    let findings = verified(&controller, "cells/n1/web/versions/v1/manifest.json").await;
    assert!(told(&findings, Verdict::Failed).starts_with("files: "), "{findings:?}");

    let release = bench.keys("deployments/site/r1/files/").await.remove(0);
    bench.overwrite(&release, "other").await;
    assert!(told(&verified(&controller, &release).await, Verdict::Failed).starts_with("digest: "));

    let manifest = "cells/n1/web/versions/v1/manifest.json";
    let text = read(manifest).await;
    bench.overwrite(manifest, text.replace("\"note\"", "\"nota\"") + "\n").await;
    assert!(told(&verified(&controller, manifest).await, Verdict::Failed).starts_with("pinned: "));
    bench.overwrite(manifest, "{").await;
    let findings = verified(&controller, manifest).await;
    assert!(told(&findings, Verdict::Failed).contains("document: manifest.json: "), "{findings:?}");

    for of in ["cells/n1/web/trigger.json", "deployments/site/r1/deployment.json"] {
        let text = read(of).await;
        bench.overwrite(of, text.replace("alice", "mallory")).await;
        let findings = verified(&controller, of).await;
        assert!(told(&findings, Verdict::Failed).contains("does not fit: the document was changed"), "{findings:?}");
        bench.overwrite(of, text).await;
    }
    let index = read("index/n1.json").await;
    bench.overwrite("index/n1.json", index.replace("alice", "mallory")).await;
    let findings = verified(&controller, "index/n1.json").await;
    assert!(told(&findings, Verdict::Failed).starts_with("signature: n1/web: "), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_under_a_key_that_is_not_its_own_is_no_good() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    bench.publish("v1", "hello").await;
    bench.publish("v2", "bye").await;
    for (from, to) in [
        ("cells/n1/web/trigger.json", "cells/n2/web/trigger.json"),
        ("cells/n1/web/history/0001-0000000000000001.json", "cells/n1/web/history/0001-0000000000000009.json"),
        ("deployments/site/r1/deployment.json", "deployments/site/r2/deployment.json"),
        ("index/n1.json", "index/n2.json"),
        ("manifests/site/manifest.yaml", "manifests/other/manifest.yaml"),
        ("cells/n1/web/cell.yaml", "cells/n2/web/cell.yaml"),
        ("cells/n1/web/versions/v1/manifest.json", "cells/n1/web/versions/v3/manifest.json"),
    ] {
        bench.overwrite(to, bench.read(from).await.unwrap()).await;
        let findings = verified(&controller, to).await;
        assert_eq!(worst(&findings), Verdict::Failed, "{to}: {findings:?}");
    }
    let old = bench.read("cells/n1/web/history/0001-0000000000000001.json").await.unwrap();
    bench.overwrite("cells/n1/web/trigger.json", old).await;
    let findings = verified(&controller, "cells/n1/web/trigger.json").await;
    assert!(told(&findings, Verdict::Warning).contains("a newer generation"), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_strangers_sign_nothing() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let stranger = bench.looker(&[TestKey(9, 1)]).await;
    for of in ["cells/n1/web/trigger.json", "deployments/site/r1/deployment.json"] {
        let findings = stranger.verify(&key(of), MOST_BYTES).await.unwrap();
        assert!(told(&findings, Verdict::Failed).contains("none of its signatures is by a pinned key"), "{findings:?}");
    }
    let findings = stranger.verify(&key("cells/n1/web/versions/v1/manifest.json"), MOST_BYTES).await.unwrap();
    assert!(told(&findings, Verdict::Warning).contains("no trigger that is believed"), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_names_is_no_failure_and_what_is_too_large_is_not_read() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    bench.publish("v1", "hello").await;
    bench.overwrite("cells/n1/web/versions/v9/files/0123456789abcdef/a", "a").await;
    let findings = verified(&controller, "cells/n1/web/versions/v9/files/0123456789abcdef/a").await;
    assert_eq!(worst(&findings), Verdict::Warning, "{findings:?}");
    let content = bench.keys("cells/n1/web/versions/v1/files/").await.remove(0);
    let beside = format!("{}/stray", content.rsplit_once('/').unwrap().0);
    bench.overwrite(&beside, "a").await;
    assert!(told(&verified(&controller, &beside).await, Verdict::Warning).contains("no document names this object"));

    bench.overwrite("cells/n1/web/overrides/a", "a").await;
    assert_eq!(verified(&controller, "cells/n1/web/overrides/a").await, []);
    let file = key(&content);
    assert_eq!(code(controller.verify(&file, 1).await), "invalid");
    bench.overwrite("fleet.json", "x".repeat(1 << 20)).await;
    let findings = verified(&controller, "fleet.json").await;
    assert!(told(&findings, Verdict::Failed).contains("more than the"), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn references_lead_from_files_to_triggers_and_back() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    bench.publish("v1", "hello").await;
    let manifest = key("cells/n1/web/versions/v1/manifest.json");
    let history = key("cells/n1/web/history/0001-0000000000000001.json");
    let trigger = key("cells/n1/web/trigger.json");
    let ends = |found: &[fleetman::controller::Reference]| -> Vec<ObjectKey> {
        found.iter().map(|reference| reference.key.clone()).collect()
    };

    let file = key(&bench.keys("cells/n1/web/versions/v1/files/").await.remove(0));
    assert_eq!(ends(&controller.references(&file).await.unwrap().named_by), std::slice::from_ref(&manifest));
    let of_manifest = controller.references(&manifest).await.unwrap();
    assert_eq!(ends(&of_manifest.named_by), [trigger.clone(), history.clone()]);
    assert_eq!(
        ends(&of_manifest.names),
        [key("manifests/site/manifest.yaml"), key("deployments/site/r1/deployment.json")]
    );
    let of_history = controller.references(&history).await.unwrap();
    assert_eq!(
        (ends(&of_history.names), ends(&of_history.named_by)),
        (vec![manifest.clone()], vec![trigger.clone(), key("index/n1.json")])
    );
    assert_eq!(ends(&controller.references(&trigger).await.unwrap().names), [history.clone(), manifest]);
    assert_eq!(ends(&controller.references(&key("index/n1.json")).await.unwrap().names), [history]);
    let release = key(&bench.keys("deployments/site/r1/files/").await.remove(0));
    assert_eq!(
        ends(&controller.references(&release).await.unwrap().named_by),
        [key("deployments/site/r1/deployment.json")]
    );

    // What is not believed names nothing, and breaks nothing.
    bench.overwrite("cells/n1/web/trigger.json", "{").await;
    bench.overwrite("index/n1.json", "x".repeat(5 << 20)).await;
    assert_eq!(controller.references(&trigger).await.unwrap().names, []);
    assert_eq!(controller.references(&key("index/n1.json")).await.unwrap().names, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_counts_every_object_once_by_folder_and_cell() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    bench.publish("v1", "hello").await;
    bench.overwrite("strange/x", "12345").await;
    let told = AtomicU64::new(0);
    let usage = controller.usage(|objects| told.store(objects, Ordering::Relaxed)).await.unwrap();
    let keys = bench.keys("").await;
    assert_eq!((usage.total.objects, told.into_inner()), (keys.len() as u64, keys.len() as u64));
    assert_eq!((usage.foreign.objects, usage.foreign.bytes, usage.is_cut), (1, 5, false));
    let in_folders: u64 = usage.folders.iter().map(|folder| folder.amount.bytes).sum();
    assert_eq!(in_folders + 5, usage.total.bytes);
    let cells = usage.folders.iter().find(|row| row.folder == Folder::Cells).unwrap();
    assert_eq!(cells.parts, [(Folder::Cell(cell()), cells.amount)]);

    let board = UsageBoard::default();
    assert!(board.state().last.is_none());
    let (board, controller) = (Arc::new(board), Arc::new(controller));
    tokio::join!(board.count(&controller), board.count(&controller));
    let state = board.state();
    assert_eq!((state.counting, state.last.unwrap().unwrap().total), (None, usage.total));
    bench.proxy.refuse_connections().await;
    board.count(&controller).await;
    assert!(board.state().last.unwrap().is_err() && board.state().counting.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_examined_on_demand_and_the_result_is_remembered() {
    let bench = Bench::start().await;
    let controller = bench.controller().await;
    assert_eq!(controller.checkup().await.unwrap(), None);
    let examined = controller.examine().await.unwrap();
    assert_eq!(examined.verdict(), Verdict::Ok, "{examined:?}");
    bench.clock.pass(chrono::TimeDelta::days(3));
    let remembered = controller.checkup().await.unwrap().unwrap();
    assert_eq!(remembered.report, examined.report);
    assert!(remembered.age >= chrono::TimeDelta::days(3));
    assert_eq!(bench.outcomes("doctor").await, [("store.json".to_owned(), true)]);
    bench.overwrite("store.json", "{").await;
    assert_eq!(code(controller.checkup().await), "unreadable");
}
