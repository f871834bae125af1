//! Everything that strangers who may write to the bucket would try, put into it.

use std::fmt::Write as _;

use fleetman::controller::{Guard, Known, PublishRequest};
use fleetman::model::CellId;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::acme::Acme;
use super::fleet::FLEET;

/// Markup, whatever it is put into; orders to a terminal; signs that turn a line around or hide.
pub(crate) const NASTY: &str = "</textarea></script><script>window.pwned = 1</script><img src=x onerror=window.pwned=2>\
    '\"><svg onload=window.pwned=3> {{ 7 * 7 }} javascript:window.pwned=4 \u{1b}[2J\u{1b}]0;owned\u{7} \u{202e}gnp.exe\
    \u{2066}x\u{2069}\u{200b}\u{feff} \r\n\u{0}";

/// The same for where control characters cannot be.
const NASTY_NAME: &str = "<script>window.pwned=1<\u{200b}script> \"'&#x27;\u{202e}gnp.exe %2e%2e%2f ?a=b#c \\";

/// Longer than any page is wide.
fn long() -> String {
    format!("{NASTY}{}", "W".repeat(100_000))
}

/// Addresses of pages that show what [`plant`] planted, besides those of the fleet, and how they are answered.
pub(crate) fn pages() -> Vec<(String, u64)> {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let mut pages: Vec<_> = ["mad-1", "long-1", "old-1", "big-1", "deep-1", "nul-1", "not-json-1"]
        .iter()
        .flat_map(|node| [format!("/agents/{node}"), format!("/buckets/object?key=agents/{node}.json&verify=yes")])
        .map(|page| (page, 200))
        .collect();
    for (path, status) in [
        ("/cells/mad-1/web", 200),
        ("/cells/mad-1/web/history", 200),
        ("/cells/mad-1/web/log", 200),
        // Its cell.yaml cannot be read.
        ("/cells/mad-1/web/publish", 422),
        ("/cells/par-1/site", 200),
        ("/cells/par-1/site/versions/mad", 200),
        ("/cells/par-1/site/diff?from=r2&to=mad", 200),
        ("/cells/ams-1/site/overrides/file?path=mad.html", 200),
        ("/cells/ams-1/site/overrides/edit?path=mad.html", 200),
        ("/cells/ams-1/site/log?at=1-2&attempt=1", 200),
        ("/manifests/mad", 200),
        ("/manifests/mad/edit", 200),
        ("/manifests/long", 200),
        ("/manifests/long/edit", 200),
        ("/manifests/deep", 200),
        ("/buckets/browse?prefix=agents/", 200),
        ("/buckets/browse?prefix=cells/ams-1/site/overrides/", 200),
        ("/buckets/object?key=manifests/mad/manifest.yaml&verify=yes", 200),
        ("/buckets/object?key=deployments/site/mad/deployment.json&verify=yes", 200),
        ("/buckets/object?key=index/mad-1.json&verify=yes", 200),
        ("/audit?from=2026-01-01&to=2026-01-03", 200),
    ] {
        pages.push((path.to_owned(), status));
    }
    for key in strange_keys() {
        // Only keys of the protocol are opened. Others are told of where they lie.
        pages.push((format!("/buckets/object?key={}", encoded(&key)), 404));
    }
    for query in [NASTY, NASTY_NAME, &"x".repeat(5_000)] {
        for page in ["/search?q=", "/agents?q=", "/cells?q=", "/audit?object=", "/manifests?q=", "/deployments?q="] {
            pages.push((format!("{page}{}", encoded(query)), 200));
        }
    }
    pages
}

/// Keys that name no object of the protocol.
fn strange_keys() -> [String; 4] {
    [
        format!("agents/{NASTY_NAME}.json"),
        format!("cells/ams-1/site/overrides/{NASTY_NAME}.html"),
        format!("cells/ams-1/site/overrides/{}", "long".repeat(120)),
        format!("{NASTY_NAME}/x"),
    ]
}

/// A heartbeat in which every text is `text` and every number as large as it can be.
fn heartbeat(node: &str, text: &str) -> Value {
    let version = json!({
        "version": "v1", "manifest_sha256": "0".repeat(64), "content_sha256": "f".repeat(64),
    });
    let fault = json!({"code": "unhealthy", "message": text, "at": "9999-12-31T23:59:59Z"});
    let cell = json!({
        "profile": text, "phase": "rolled_back", "action": text,
        "waiting": {"reason": "denied", "message": text, "since": "0001-01-01T00:00:00Z"},
        "seen": {"epoch": 4_000_000_000_u32, "generation": 9_007_199_254_740_991_u64},
        "applied": {"epoch": 1, "generation": 1},
        "desired": version, "running": version, "known_good": version,
        "state": {"state": "failed", "reason": text},
        "processes": {"main": {"state": "crashed", "pid": u32::MAX, "restarts": u32::MAX, "exit_code": i32::MIN, "reason": text}},
        "attempt": u32::MAX, "last_error": fault,
        "conditions": [{"code": "needs_operator", "message": text}, {"code": text, "message": text}],
    });
    json!({
        "schema": "fleetman/heartbeat/1", "node": node, "fleet": FLEET, "agent_version": text,
        "instance_id": FLEET, "boot_id": text, "sequence": u64::MAX, "started_at": "9999-12-31T23:59:59Z",
        "reported_at": "0001-01-01T00:00:00Z", "interval_secs": u64::MAX, "signing": "unsigned",
        "host": {
            "hostname": text, "os": text, "kernel": text, "arch": text, "cpus": u32::MAX,
            "memory_bytes": 0, "memory_available_bytes": u64::MAX, "disk_bytes": 1, "disk_free_bytes": u64::MAX,
            "load_1m": -1e308, "addresses": [text, text],
        },
        "labels": {text: text, "region": text}, "clock_skew_ms": i64::MIN, "store_error": fault,
        "conditions": [{"code": "disk_full", "message": text}],
        "cells": {"web": cell, "site": cell, text: cell},
    })
}

/// Puts all of it into the bucket, beside a fleet that is well.
pub(crate) async fn plant(acme: &Acme) {
    let long = long();
    acme.put("agents/mad-1.json", heartbeat("mad-1", NASTY).to_string()).await;
    acme.put("agents/long-1.json", heartbeat("long-1", &long).to_string()).await;
    acme.put("agents/old-1.json", heartbeat("another", "x").to_string()).await;
    acme.put(
        "agents/big-1.json",
        format!("{{\"schema\": \"fleetman/heartbeat/1\", \"x\": \"{}\"}}", "x".repeat(10 << 20)),
    )
    .await;
    acme.put("agents/deep-1.json", format!("{}{}", "[".repeat(200_000), "]".repeat(200_000))).await;
    acme.put("agents/nul-1.json", vec![0; 4096]).await;
    acme.put("agents/not-json-1.json", NASTY).await;
    for key in strange_keys() {
        acme.put(&key, NASTY).await;
    }
    acme.put("cells/ams-1/site/overrides/..%2f..%2fetc/passwd", NASTY).await;

    let entry = json!({
        "trigger": {"signed": {"schema": NASTY, "reason": NASTY}, "signatures": [{"key_id": NASTY, "sig": NASTY}]},
        "about": {"manifest": "site", "labels": {NASTY: NASTY}, "paused": NASTY},
    });
    let cells = json!({"web": entry, "long": {"about": {"manifest": "site", "paused": long}}, NASTY: entry, "bad": 7});
    let index = json!({
        "schema": "fleetman/index/1", "node": "mad-1", "written_at": "9999-12-31T23:59:59Z", "cells": cells,
    });
    acme.put("index/mad-1.json", index.to_string()).await;
    acme.put("index/deep-1.json", format!("{}{}", "{\"a\":".repeat(100_000), "}".repeat(100_000))).await;

    let mut deep = "name: mad\nprofile: {deploy: {}}\nvars:\n".to_owned();
    for depth in 1..200 {
        writeln!(deep, "{}a:", " ".repeat(depth)).unwrap();
    }
    acme.put("manifests/deep/manifest.yaml", deep).await;
    acme.put("manifests/mad/manifest.yaml", format!("name: mad\ndescription: {NASTY}\nprofile: {{deploy: {{}}}}\n"))
        .await;
    acme.put(
        "manifests/long/manifest.yaml",
        format!("name: long\ndescription: {:?}\nprofile: {{deploy: {{}}}}\n", "W".repeat(100_000)),
    )
    .await;
    acme.put("deployments/site/mad/deployment.json", NASTY).await;
    acme.put("cells/ams-1/site/versions/mad/manifest.json", json!({"schema": NASTY}).to_string()).await;
    acme.put("cells/mad-1/web/cell.yaml", format!("cell: mad-1/web\nmanifest: {NASTY:?}\n")).await;

    // Of the newest attempt at a cell that people look at.
    acme.put("logs/ams-1/site/0001-0000000000000002-1.log", format!("{NASTY}\n{long}\n{}", "line\n".repeat(200_000)))
        .await;
    let outcome = json!({
        "schema": "fleetman/outcome/1", "fleet": FLEET, "node": "ams-1", "cell": "site",
        "at": {"epoch": 1, "generation": 2}, "attempt": 1, "action": NASTY, "started_at": "9999-12-31T23:59:59Z",
        "ended_at": "0001-01-01T00:00:00Z", "outcome": "failed", "code": NASTY, "message": long,
        "files_fetched": u64::MAX, "bytes_fetched": u64::MAX,
    });
    acme.put("logs/ams-1/site/0001-0000000000000002-1.json", outcome.to_string()).await;

    for (id, text) in [("01KDYWXAC0ZZZZZZZZZZZZZZZZ", NASTY), ("01KDYWXAC1ZZZZZZZZZZZZZZZZ", &"W".repeat(50_000))] {
        let entry = json!({
            "schema": "fleetman/audit/1", "id": id, "at": "2026-01-02T03:04:05Z", "actor": "mallory", "source": text,
            "host": "x", "action": "publish", "object": "cell/ams-1/site", "before": "x", "after": "x", "reason": text,
            "stage": {"outcome": {"intent": id, "done": false, "message": if text == NASTY { NASTY } else { "x" }}},
        });
        acme.put(&format!("audit/2026-01-02/{id}.json"), entry.to_string()).await;
    }
    acme.put("audit/2026-01-02/01KDYWXAC2ZZZZZZZZZZZZZZZZ.json", NASTY).await;

    // What a user with rights wrote, in good order and signed.
    let cell: CellId = "ams-1/site".parse().unwrap();
    let (path, bytes) = ("mad.html".parse().unwrap(), NASTY.as_bytes().to_vec().into());
    acme.controller().put_override(&cell, &path, bytes, &Known::Absent).await.unwrap();
    let request = PublishRequest {
        deployment: Some("r2".parse().unwrap()),
        version: Some("mad".parse().unwrap()),
        note: Some(NASTY.to_owned()),
        reason: Some(NASTY.to_owned()),
        ..PublishRequest::new("par-1/site".parse().unwrap())
    };
    acme.controller().publish(&request, &Guard::default()).await.unwrap();
}
