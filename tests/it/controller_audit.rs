//! Reading the audit: pages, filters, acts of two entries, strangers' entries, exports.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use fleetman::controller::{
    ActResult, AuditCache, AuditFilter, AuditPage, AuditPlace, AuditRow, Controller, ExportFormat, Known, ResultFilter,
};
use fleetman::model::audit::{AuditEntry, AuditStage};
use fleetman::model::{ObjectKey, UserName, document};
use futures_util::{StreamExt as _, TryStreamExt as _, pin_mut};
use ulid::Ulid;

use crate::support::fleet::{Bench, cell};
use crate::support::proxy::On;

/// The time that entries of these tests count from.
fn start() -> DateTime<Utc> {
    "2026-03-01T23:59:00Z".parse().unwrap()
}

fn id(after: TimeDelta, salt: u128) -> Ulid {
    Ulid::from_parts(u64::try_from((start() + after).timestamp_millis()).unwrap(), salt)
}

fn entry(id: Ulid, action: &str, stage: AuditStage) -> AuditEntry {
    AuditEntry {
        id,
        at: DateTime::from_timestamp_millis(i64::try_from(id.timestamp_ms()).unwrap()).unwrap(),
        actor: UserName::new("alice").unwrap(),
        source: "cli".to_owned(),
        host: "laptop".to_owned(),
        action: action.to_owned(),
        object: "cell/n1/web".to_owned(),
        before: None,
        after: None,
        reason: None,
        stage,
        chain: None,
    }
}

async fn write(bench: &Bench, entry: &AuditEntry) {
    bench.overwrite(&key_of(entry.id), document::render(entry)).await;
}

fn key_of(id: Ulid) -> String {
    let at = DateTime::from_timestamp_millis(i64::try_from(id.timestamp_ms()).unwrap()).unwrap();
    ObjectKey::Audit(at.date_naive(), id).relative()
}

/// An act that begins so many seconds after the start and takes so long.
async fn act(bench: &Bench, secs: i64, takes_secs: i64, action: &str, done: bool) -> Ulid {
    let intent = id(TimeDelta::seconds(secs), 7);
    write(bench, &entry(intent, action, AuditStage::Intent)).await;
    let stage = AuditStage::Outcome { intent, done, message: if done { "done" } else { "lost" }.to_owned() };
    write(bench, &entry(id(TimeDelta::seconds(secs + takes_secs), 8), action, stage)).await;
    intent
}

/// Everything that a filter wants, in pages of `limit`.
async fn all(controller: &Controller, filter: &AuditFilter, limit: usize) -> Vec<AuditRow> {
    let cache = AuditCache::default();
    let (mut rows, mut after) = (Vec::new(), None::<AuditPlace>);
    for _ in 0..100 {
        let page = controller.audit_page(&cache, filter, after.as_ref(), limit).await.unwrap();
        assert!(page.rows.len() <= limit);
        rows.extend(page.rows);
        let Some(next) = page.next else { return rows };
        // As it stands in a link.
        after = Some(next.to_string().parse().unwrap());
    }
    panic!("the audit never ends");
}

fn actions(rows: &[AuditRow]) -> Vec<(String, &'static str)> {
    rows.iter()
        .map(|row| row.act.as_ref().map_or(("?".to_owned(), "?"), |act| (act.action.clone(), act.result.as_str())))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_really_happened_is_told_newest_first_as_acts() {
    let bench = Bench::start().await;
    bench.publish("v1", "hello").await;
    let controller = bench.controller().await;
    controller.pause(&cell(), "=1+1, \"later\"", &Known::Anything).await.unwrap();
    let changed = controller.put_cell(&cell(), "cell: n1/web\nmanifest: site\n", &Known::Absent).await;
    assert!(changed.is_err());
    let rows = all(&controller, &AuditFilter::default(), 100).await;
    let told = actions(&rows);
    let names: Vec<&str> = told.iter().map(|(action, _)| action.as_str()).collect();
    // A claim is dated by its trigger, whose time has whole seconds.
    let others: Vec<&str> = names.iter().filter(|name| **name != "publish").copied().collect();
    assert_eq!(others, ["pause", "upload", "apply", "apply", "init"]);
    assert!(told.iter().all(|(_, result)| *result == "done"), "{told:?}");
    let publish = rows.iter().find_map(|row| row.act.as_ref().ok().filter(|act| act.action == "publish")).unwrap();
    assert_eq!((publish.object.as_str(), publish.lacks_intent), ("cell/n1/web", false));
    assert!(publish.after.as_ref().unwrap().contains("deploy v1"), "{publish:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_any_size_tell_every_act_once_in_order() {
    let bench = Bench::empty().await;
    let controller = bench.controller().await;
    // Across midnight, some within others, one that takes long, two in one millisecond, one never concluded.
    act(&bench, 0, 3600, "upload", true).await;
    for secs in 1..40 {
        act(&bench, secs * 5, 7, &format!("a{secs:02}"), secs % 3 != 0).await;
    }
    write(&bench, &entry(id(TimeDelta::seconds(300), 7), "cut-off", AuditStage::Intent)).await;
    let at_once = id(TimeDelta::seconds(301), 9);
    let stage = AuditStage::Outcome { intent: at_once, done: true, message: "done".to_owned() };
    write(&bench, &entry(at_once, "at-once", AuditStage::Intent)).await;
    write(&bench, &entry(id(TimeDelta::seconds(301), 2), "at-once", stage)).await;

    let whole = all(&controller, &AuditFilter::default(), 1000).await;
    let told = actions(&whole);
    assert_eq!(told.len(), 42, "{told:?}");
    assert_eq!(told[..2], [("at-once".to_owned(), "done"), ("cut-off".to_owned(), "not concluded")]);
    assert_eq!(told[2..5], [("a39".to_owned(), "failed"), ("a38".to_owned(), "done"), ("a37".to_owned(), "done")]);
    assert_eq!(told[41], ("upload".to_owned(), "done"));
    for limit in [1, 2, 7, 41, 42, 43] {
        assert_eq!(actions(&all(&controller, &AuditFilter::default(), limit).await), told, "in pages of {limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_choose_by_time_actor_action_object_source_and_result() {
    let bench = Bench::empty().await;
    let controller = bench.controller().await;
    act(&bench, 0, 1, "publish", true).await;
    act(&bench, 30, 600, "upload", false).await;
    let mut other = entry(id(TimeDelta::seconds(120), 7), "publish", AuditStage::Intent);
    (other.actor, other.source, other.object) =
        (UserName::new("bob").unwrap(), "portal".to_owned(), "cell/n2/db".to_owned());
    write(&bench, &other).await;
    let found = async |filter: AuditFilter| -> Vec<String> {
        // Pages of one, so that no filter hides the end of a page.
        actions(&all(&controller, &filter, 1).await).into_iter().map(|(action, _)| action).collect()
    };
    let none = AuditFilter::default;
    assert_eq!(found(none()).await, ["publish", "upload", "publish"]);
    assert_eq!(found(AuditFilter { actor: Some("bob".into()), ..none() }).await, ["publish"]);
    assert_eq!(found(AuditFilter { action: Some("upload".into()), ..none() }).await, ["upload"]);
    assert_eq!(found(AuditFilter { object: Some("n1/".into()), ..none() }).await, ["upload", "publish"]);
    assert_eq!(found(AuditFilter { source: Some("portal".into()), ..none() }).await, ["publish"]);
    assert_eq!(found(AuditFilter { result: Some(ResultFilter::Failed), ..none() }).await, ["upload"]);
    assert_eq!(found(AuditFilter { result: Some(ResultFilter::NotConcluded), ..none() }).await, ["publish"]);
    assert_eq!(found(AuditFilter { actor: Some("ali".into()), ..none() }).await, Vec::<String>::new());
    let midnight = start() + TimeDelta::seconds(60);
    assert_eq!(found(AuditFilter { from: Some(midnight), ..none() }).await, ["publish"]);
    // Its outcome is of the next day, and is known all the same.
    let before = AuditFilter { until: Some(midnight), ..none() };
    assert_eq!(
        actions(&all(&controller, &before, 1).await),
        [("upload".to_owned(), "failed"), ("publish".to_owned(), "done")]
    );
    let between = AuditFilter { from: Some(start() + TimeDelta::seconds(10)), until: Some(midnight), ..none() };
    assert_eq!(found(between).await, ["upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_entries_are_told_and_spoil_only_themselves() {
    let bench = Bench::empty().await;
    let controller = bench.controller().await;
    act(&bench, 0, 1, "publish", true).await;
    let at = |secs| id(TimeDelta::seconds(secs), 1);
    bench.overwrite(&key_of(at(10)), "{").await;
    bench.overwrite(&key_of(at(11)), "x".repeat(1 << 20)).await;
    bench.overwrite(&key_of(at(12)), document::render(&entry(at(99), "posing", AuditStage::Intent))).await;
    // An outcome of nothing, one of an act of last year, and a second one of an act that has one.
    let outcome = |intent| AuditStage::Outcome { intent, done: true, message: "\u{1b}[2J".to_owned() };
    write(&bench, &entry(at(13), "orphan", outcome(id(TimeDelta::seconds(5), 3)))).await;
    write(&bench, &entry(at(14), "ancient", outcome(id(TimeDelta::days(-400), 3)))).await;
    write(&bench, &entry(at(15), "second", outcome(id(TimeDelta::seconds(0), 7)))).await;
    for key in [
        "audit/2026-03-01/x.json",
        "audit/2026-3-1/y.json",
        "audit/nonsense/z",
        "audit/loose",
        "audit/2026-02-30/w.json",
    ] {
        bench.overwrite(key, "{}").await;
    }
    // In the folder of a day that is not its own.
    bench.overwrite(&key_of(at(16)).replace("2026-03-01", "2026-02-01"), "{}").await;
    for limit in [1, 100] {
        let rows = all(&controller, &AuditFilter::default(), limit).await;
        let told: Vec<String> = rows
            .iter()
            .map(|row| match &row.act {
                Ok(act) => {
                    format!("{} {}{}", act.action, act.result.as_str(), if act.lacks_intent { " alone" } else { "" })
                }
                Err(why) => why.clone(),
            })
            .collect();
        assert_eq!((told[0].as_str(), told[4].as_str()), ("ancient done alone", "orphan done alone"), "{told:?}");
        assert!(told[1].contains("entry 01"), "{told:?}");
        assert!(told[2].contains("131072") && told[3].contains("not a valid fleetman/audit/1"), "{told:?}");
        // Of the two outcomes of one act the first that is met counts; the other is not hidden.
        assert_eq!(told[5..], ["publish done alone", "publish done"], "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_costs_a_bounded_number_of_requests_and_what_was_read_is_not_read_again() {
    let bench = Bench::empty().await;
    let controller = bench.controller().await;
    for secs in 0..30 {
        act(&bench, secs * 86_400, 1, "publish", true).await;
    }
    let (cache, rare) =
        (AuditCache::default(), AuditFilter { action: Some("never".to_owned()), ..AuditFilter::default() });
    bench.proxy.clear_log();
    let page = controller.audit_page(&cache, &rare, None, 10).await.unwrap();
    assert_eq!((page.rows.len(), page.next), (0, None));
    let counted = |on| bench.proxy.count(on);
    assert_eq!(counted(On::get("prod/eu/audit*")), 60);
    assert_eq!(counted(On::list("prod/eu/audit*")), 31, "the days, and each once");
    bench.proxy.clear_log();
    let page = controller.audit_page(&cache, &AuditFilter::default(), None, 5).await.unwrap();
    assert_eq!(page.rows.len(), 5);
    assert_eq!(counted(On::get("prod/eu/audit*")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rare_act_is_found_by_going_on_from_where_the_search_stopped() {
    let bench = Bench::empty().await;
    let controller = bench.controller().await;
    let intent = act(&bench, 0, 1, "rare", true).await;
    let many = (0..1200).map(|n| entry(id(TimeDelta::seconds(60 + n), 1), "common", AuditStage::Intent));
    futures_util::stream::iter(many).for_each_concurrent(16, async |entry| write(&bench, &entry).await).await;
    let rare = AuditFilter { action: Some("rare".to_owned()), ..AuditFilter::default() };
    let cache = AuditCache::default();
    let AuditPage { rows, next, searched_to, .. } = controller.audit_page(&cache, &rare, None, 10).await.unwrap();
    assert_eq!(rows, []);
    assert_eq!(searched_to, Some(start() + TimeDelta::seconds(60 + 200)));
    let page = controller.audit_page(&cache, &rare, Some(&next.unwrap()), 10).await.unwrap();
    assert_eq!((page.rows[0].id, page.next, page.searched_to), (intent, None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_place_is_refused() {
    for text in [
        "",
        ".",
        "x",
        "01arz3ndektsv4rrffq69g5fav",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV.",
        &["01ARZ3NDEKTSV4RRFFQ69G5FAV"; 34].join("."),
    ] {
        assert!(text.parse::<AuditPlace>().is_err(), "{text}");
    }
    // Beyond the last millisecond that a time has.
    let bench = Bench::empty().await;
    let controller = bench.controller().await;
    act(&bench, 0, 1, "publish", true).await;
    let far: AuditPlace = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ".parse().unwrap();
    let page = controller.audit_page(&AuditCache::default(), &AuditFilter::default(), Some(&far), 10).await.unwrap();
    assert_eq!(page.rows.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_hold_every_act_and_no_formula() {
    let bench = Bench::empty().await;
    let controller = Arc::new(bench.controller().await);
    for secs in 0..600 {
        act(&bench, secs, 1, "publish", true).await;
    }
    let mut hostile = entry(id(TimeDelta::seconds(700), 1), "=cmd|' /C calc'!A0", AuditStage::Intent);
    hostile.reason = Some("a \"quote\",\r\na line".to_owned());
    write(&bench, &hostile).await;
    let export = async |format| {
        let stream = controller.clone().audit_export(Arc::default(), AuditFilter::default(), format);
        let bytes: Vec<bytes::Bytes> = stream.try_collect().await.unwrap();
        String::from_utf8(bytes.concat()).unwrap()
    };
    let ndjson = export(ExportFormat::Ndjson).await;
    let lines: Vec<serde_json::Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 601);
    assert_eq!((&lines[0]["reason"], &lines[0]["result"]), (&"a \"quote\",\r\na line".into(), &"not concluded".into()));
    assert_eq!(
        (&lines[1]["actor"], &lines[1]["result"], &lines[600]["at"]),
        (&"alice".into(), &"done".into(), &"2026-03-01T23:59:00.000Z".into())
    );

    let csv = export(ExportFormat::Csv).await;
    let mut records = csv.split("\r\n");
    assert!(records.next().unwrap().starts_with("id,at,actor,"));
    assert!(csv.contains(",'=cmd|' /C calc'!A0,") && csv.contains("\"a \"\"quote\"\",\r\na line\""), "{}", &csv[..400]);
    assert_eq!(csv.matches("\r\n").count(), 1 + 601 + 1);

    // A store that fails halfway is seen by whoever reads.
    bench.proxy.refuse_connections().await;
    let stream = controller.clone().audit_export(Arc::default(), AuditFilter::default(), ExportFormat::Csv);
    pin_mut!(stream);
    assert!(stream.next().await.unwrap().is_ok());
    assert!(stream.next().await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_keeps_its_words_and_time() {
    let bench = Bench::empty().await;
    let controller = bench.controller().await;
    act(&bench, 0, 5, "publish", false).await;
    let rows = all(&controller, &AuditFilter::default(), 10).await;
    let result = &rows[0].act.as_ref().unwrap().result;
    assert_eq!(*result, ActResult::Failed { at: start() + TimeDelta::seconds(5), message: "lost".to_owned() });
}
