//! Everything that strangers who may write to the bucket would try, put into it.

use std::fmt::Write as _;

use fleetman::controller::{Guard, Known, PublishRequest};
use fleetman::model::CellId;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::acme::{ASKED, Acme};
use super::fleet::FLEET;

/// Markup, whatever it is put into; orders to a terminal; signs that turn a line around or hide.
pub(crate) const NASTY: &str = "</textarea></script><script>window.pwned = 1</script><img src=x onerror=window.pwned=2>\
    '\"><svg onload=window.pwned=3> {{ 7 * 7 }} javascript:window.pwned=4 \u{1b}[2J\u{1b}]0;owned\u{7} \u{202e}gnp.exe\
    \u{2066}x\u{2069}\u{200b}\u{feff} \r\n\u{0}";

/// The same for where control characters and backslashes cannot be.
const NASTY_NAME: &str =
    "<script>window.pwned=1<\u{200b}script> \"'&#x27;\u{202e}gnp.exe %2e%2e%2f ?a=b#c <img src=x onerror=alert(1)>";

/// Longer than any page is wide.
fn long() -> String {
    format!("{NASTY}{}", "W".repeat(100_000))
}

/// [`NASTY`] as YAML and JSON quote it, so that it arrives.
fn quoted() -> String {
    let quote = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        ' '..='~' => c.to_string(),
        _ => format!("\\u{:04x}", u32::from(c)),
    };
    format!("\"{}\"", NASTY.chars().map(quote).collect::<String>())
}

/// [`NASTY`] as a text whose lines can be compared.
fn nasty_text() -> String {
    NASTY.replace('\0', "")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Everything that can be asked for of a cell.
const OF_CELLS: [&str; 17] = [
    "",
    "/delete",
    "/diff?from=v1&to=v2",
    "/diff?from=v2&to=now",
    "/follow?at=1-2",
    "/history",
    "/log?at=1-1&attempt=1",
    "/output",
    "/overrides",
    "/pause",
    "/publish",
    "/redeploy",
    "/remove",
    "/resume",
    "/rollback",
    "/stop",
    "/versions",
];

/// Addresses of pages that show what [`plant`] planted, besides those of the fleet, and how they are answered.
pub(crate) fn pages() -> Vec<(String, u64)> {
    let mut pages: Vec<_> = ["mad-1", "long-1", "old-1", "big-1", "deep-1", "nul-1", "not-json-1"]
        .iter()
        .flat_map(|node| {
            let object = format!("/buckets/object?key=agents/{node}.json&verify=yes");
            [format!("/agents/{node}"), format!("/agents/{node}/delete"), object]
        })
        .map(|page| (page, 200))
        .collect();
    for of in OF_CELLS {
        pages.push((format!("/cells/evil-1/site{of}"), 200));
        // Of a cell of which nothing is believed nothing is planned; its other orders are refused once they are given.
        let status = if of == "/publish" { 403 } else { 200 };
        pages.push((format!("/cells/mad-1/web{of}"), status));
    }
    let file = encoded(NASTY_NAME);
    for of in ["overrides/file", "overrides/edit", "overrides/upload", "overrides/delete", "versions/v2/file"] {
        pages.push((format!("/cells/evil-1/site/{of}?path={file}"), 200));
    }
    for (path, status) in [
        ("/cells/evil-1/site/versions/v1", 200),
        ("/cells/evil-1/site/yaml", 200),
        ("/cells/mad-1/web/yaml", 200),
        ("/cells/mad-1/web/versions/v1", 422),
        ("/cells/mad-1/web/overrides/edit?path=mad.html", 200),
        ("/cells/par-1/site/versions/mad", 200),
        ("/cells/par-1/site/diff?from=r2&to=mad", 200),
        ("/cells/ams-1/site/overrides/file?path=mad.html", 200),
        ("/cells/ams-1/site/overrides/edit?path=mad.html", 200),
        ("/cells/ams-1/site/log?at=1-2&attempt=1", 200),
        ("/cells/new?manifest=mad", 200),
        ("/cells/new?manifest=evil&node=mad-1", 200),
        ("/deployments?manifest=evil", 200),
        ("/deployments/evil/nasty", 200),
        ("/deployments/evil/nasty/delete", 200),
        ("/deployments/site/mad", 403),
        ("/deployments/site/mad/delete", 200),
        ("/deployments/site/forged", 403),
        ("/deployments/new?manifest=evil", 200),
        ("/manifests/evil", 200),
        ("/manifests/evil/edit", 200),
        ("/manifests/evil/delete", 200),
        ("/manifests/mad", 200),
        ("/manifests/mad/edit", 200),
        ("/manifests/mad/delete", 200),
        ("/manifests/long", 200),
        ("/manifests/long/edit", 200),
        ("/manifests/deep", 200),
        ("/buckets/browse?prefix=agents/", 200),
        ("/buckets/browse?prefix=cells/ams-1/site/overrides/", 200),
        ("/buckets/object?key=manifests/mad/manifest.yaml&verify=yes", 200),
        ("/buckets/object?key=deployments/site/mad/deployment.json&verify=yes", 200),
        ("/buckets/object?key=deployments/site/forged/deployment.json&verify=yes", 200),
        ("/buckets/object?key=index/mad-1.json&verify=yes", 200),
        ("/buckets/object?key=auth/users.json&verify=yes", 200),
        ("/buckets/object?key=store.json&verify=yes", 200),
        ("/search?q=mad", 200),
        ("/search?q=evil", 200),
        ("/audit?from=2026-01-01&to=2026-01-03", 200),
        ("/alerts", 200),
        ("/alerts/ack?alert=drift:cell/ams-1/site", 200),
        ("/alerts/unack?alert=drift:cell/ams-1/site", 200),
        ("/events", 200),
        ("/alerts/silence?type=drift", 200),
        ("/alerts/silence?type=needs_operator&node=mad-1", 200),
        ("/buckets/check?run=yes&deep=on", 200),
        ("/buckets/gc?run=yes", 200),
        ("/bundles?versions=%3Cscript%3Ewindow.pwned%3D1%3C%2Fscript%3E", 200),
        ("/buckets/browse?prefix=logs/ams-1/_requests/", 200),
        ("/buckets/object?key=alerts/state.json&verify=yes", 200),
        ("/buckets/object?key=cells/ams-1/_requests/01KDYWXAC0ZZZZZZZZZZZZZZZZ.json&verify=yes", 200),
        ("/buckets/object?key=logs/ams-1/_requests/01KDYWXAC0ZZZZZZZZZZZZZZZZ/answer.json&verify=yes", 200),
        ("/settings/doctor", 200),
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

/// Lists for programs.
pub(crate) const LISTS: [&str; 9] = [
    "/agents.csv",
    "/cells.csv",
    "/audit.csv?from=2026-01-01&to=2026-01-03",
    "/audit.ndjson?from=2026-01-01&to=2026-01-03",
    "/agents.json",
    "/cells.json",
    "/api/v1/nodes",
    "/api/v1/cells",
    "/api/v1/alerts",
];

/// A form: where it goes, what is in it, and how it is answered.
pub(crate) type Sent = (String, Vec<(&'static str, String)>, u64);

/// Forms about what [`plant`] planted.
pub(crate) fn forms() -> Vec<Sent> {
    let old = ("if_generation", "0".to_owned());
    let typed = ("reason", NASTY.to_owned());
    let stale = ("etag", "\"0\"".to_owned());
    let step = |step: &str| ("step", step.to_owned());
    let mut forms = Vec::new();
    // The one is paused, of the other both sides are shown.
    for (cell, release) in [("evil-1/site", "nasty"), ("par-1/site", "r1")] {
        for verb in ["redeploy", "rollback", "stop", "remove", "publish", "resume", "pause", "delete"] {
            let names = [("name", cell), ("to", "r1"), ("deployment", release), ("seen", NASTY)];
            let mut fields = vec![old.clone(), typed.clone()];
            fields.extend(names.map(|(name, value)| (name, value.to_owned())));
            forms.push((format!("/cells/{cell}/{verb}"), fields, 409));
        }
    }
    let settings = format!("vars:\n  title: {}\n", quoted());
    let new = [("manifest", "evil"), ("cell", "shop"), ("node", "mad-1")].map(|(name, value)| (name, value.to_owned()));
    forms.push(("/cells/new".to_owned(), [&new[..], &[step("preview"), ("settings", settings)]].concat(), 200));
    let text = format!("name: evil\ndescription: {}\nprofile: {{deploy: {{}}}}\n", quoted());
    let edit = |text: &str| vec![step("preview"), stale.clone(), typed.clone(), ("text", text.to_owned())];
    forms.push(("/manifests/evil/edit".to_owned(), edit(&text), 409));
    forms.push(("/manifests/mad/edit".to_owned(), edit(&text.replace("evil", "mad")), 409));
    forms.push(("/cells/mad-1/web/yaml".to_owned(), edit("cell: mad-1/web\nmanifest: evil\n"), 409));
    forms.push(("/cells/ams-1/site/overrides/edit?path=mad.html".to_owned(), edit(&nasty_text()), 409));
    let file = format!("/cells/evil-1/site/overrides/edit?path={}", encoded(NASTY_NAME));
    forms.push((file, edit(&nasty_text()), 409));
    let new = format!("/cells/evil-1/site/overrides/edit?path={}", encoded(&format!("new {NASTY_NAME}")));
    forms.push((new, vec![step("preview"), typed, ("text", nasty_text())], 200));
    // What a cell that cannot be read is made of is not known.
    forms.push(("/manifests/mad/delete".to_owned(), vec![("name", "mad".to_owned()), ("seen", NASTY.to_owned())], 409));
    forms
}

/// Keys that name no object of the protocol.
fn strange_keys() -> [String; 4] {
    [
        format!("agents/{NASTY_NAME}\\.json"),
        format!("cells/ams-1/site/overrides/{NASTY_NAME}\\.html"),
        format!("cells/ams-1/site/overrides/{}", "long".repeat(120)),
        format!("{NASTY_NAME}/x"),
    ]
}

/// A heartbeat in which every text is `text`, every number as large as it can be, and of what can be several there are
/// `many`.
fn heartbeat(node: &str, text: &str, many: usize) -> Value {
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
        "attempt": u32::MAX, "last_error": fault, "hold": hold(text),
        "health": {
            "state": "failing", "since": "9999-12-31T23:59:59Z", "need_until": "0001-01-01T00:00:00Z",
            "deadline": "9999-12-31T23:59:59Z", "restarts": u32::MAX, "restarted_at": "0001-01-01T00:00:00Z",
            "checks": {"http": {"state": "failing", "message": text, "since": "9999-12-31T23:59:59Z"}},
        },
        "drift": {
            "state": "drifted", "checked_at": "9999-12-31T23:59:59Z", "more": u64::MAX, "problem": fault,
            "findings": [{"code": "changed", "path": text, "since": "0001-01-01T00:00:00Z"},
                {"code": text, "path": format!("/{text}"), "since": "9999-12-31T23:59:59Z"}],
            "repairs": [{"at": "0001-01-01T00:00:00Z", "path": text, "more": u64::MAX}],
        },
        "conditions": [{"code": "needs_operator", "message": text}, {"code": text, "message": text}],
    });
    json!({
        "schema": "fleetman/heartbeat/1", "node": node, "fleet": FLEET, "agent_version": text,
        "instance_id": FLEET, "boot_id": text, "sequence": u64::MAX, "started_at": "9999-12-31T23:59:59Z",
        "reported_at": "0001-01-01T00:00:00Z", "interval_secs": u64::MAX, "signing": "unsigned",
        "host": {
            "hostname": text, "os": text, "kernel": text, "arch": text, "cpus": u32::MAX,
            "memory_bytes": 0, "memory_available_bytes": u64::MAX, "disk_bytes": 1, "disk_free_bytes": u64::MAX,
            "load_1m": -1e308, "addresses": vec![text; many],
        },
        "labels": {text: text, "region": text, "formula": "=1+1"}, "clock_skew_ms": i64::MIN, "store_error": fault,
        "hold": hold(text),
        "conditions": vec![json!({"code": "disk_full", "message": text}); many],
        "cells": {"web": cell, "site": cell, text: cell},
    })
}

/// What a node says of who holds it, and why.
fn hold(text: &str) -> Value {
    json!({
        "order": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "by": "mallory", "reason": text, "since": "0001-01-01T00:00:00Z",
        "until": "9999-12-31T23:59:59Z", "whole_node": true,
    })
}

/// Alerts, silences and messages as whoever can write to the bucket writes them: nothing of them is signed.
fn alerts(long: &str) -> String {
    let now = "9998-12-31T23:59:59Z";
    let alert = |kind: &str, subject: &str, message: &str| {
        json!({
            "type": kind, "subject": subject, "severity": "critical", "message": message, "labels": {NASTY: NASTY},
            "since": "0001-01-01T00:00:00Z", "opened_at": "9999-12-31T23:59:59Z", "sequence": u64::MAX / 2,
            "returns": u64::MAX, "silenced": false, "told": true,
            "acknowledged": {"by": "mallory", "note": message, "at": "0001-01-01T00:00:00Z", "sequence": u64::MAX},
        })
    };
    let open = [alert("drift", "cell/ams-1/site", NASTY), alert("needs_operator", "node/mad-1", long)];
    let notice =
        json!({"opened": {"counts": {"drift": u64::MAX, "agent_dead": u64::MAX}, "first": []}, "resolved": {}});
    json!({
        "schema": "fleetman/alerts/1", "sequence": u64::MAX, "open": open, "unlisted": u64::MAX,
        "resolved": [{"alert": alert("store_degraded", "bucket", NASTY), "resolved_at": now, "sequence": 1}],
        "silences": [{"id": "01KDYWXAC0ZZZZZZZZZZZZZZZZ", "scope": {"node": "lab-1"}, "by": "mallory",
            "reason": NASTY, "created_at": "0001-01-01T00:00:00Z", "until": now}],
        "deliveries": [{"id": "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "receiver": NASTY, "notice": notice,
            "created_at": now, "tries": u32::MAX, "due_at": now, "problem": long}],
        "finished": [{"id": "01KDYWXAC0ZZZZZZZZZZZZZZZZ", "receiver": long, "about": NASTY,
            "at": "0001-01-01T00:00:00Z", "tries": 1, "problem": NASTY}],
    })
    .to_string()
}

/// Puts all of it into the bucket, beside a fleet that is well.
pub(crate) async fn plant(acme: &Acme) {
    let long = long();
    acme.put("agents/mad-1.json", heartbeat("mad-1", NASTY, 300).to_string()).await;
    // A longer one would be too large to be read.
    let (shorter, _) = long.split_at(NASTY.len() + 8_000);
    acme.put("agents/long-1.json", heartbeat("long-1", shorter, 1).to_string()).await;
    acme.put("agents/old-1.json", heartbeat("another", "x", 1).to_string()).await;
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
    let chunk = format!("{NASTY}\n- {NASTY}\n- main {long}\n2026-01-02T03:04:05Z <b>main {NASTY}\n");
    acme.put(&format!("logs/ams-1/_requests/{ASKED}/0001.log"), chunk).await;

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
    let forged = json!({
        "signed": {"schema": "fleetman/deployment/1", "manifest": NASTY, "deployment": NASTY, "note": NASTY, "files": [NASTY]},
        "signatures": [{"key_id": NASTY, "sig": NASTY}],
    });
    acme.put("deployments/site/forged/deployment.json", forged.to_string()).await;
    for (key, text) in [
        ("cell.yaml", format!("cell: mad-1/web\nmanifest: {NASTY:?}\n")),
        ("trigger.json", forged.to_string()),
        ("history/0001-0000000000000001.json", forged.to_string()),
        ("history/0001-0000000000000002.json", NASTY.to_owned()),
        ("versions/v1/manifest.json", json!({"schema": "fleetman/manifest/1", "version": NASTY}).to_string()),
        ("versions/v2/manifest.json", NASTY.to_owned()),
        ("overrides/mad.html", NASTY.to_owned()),
    ] {
        acme.put(&format!("cells/mad-1/web/{key}"), text).await;
    }
    let finding = json!({"check": NASTY, "verdict": "failed", "message": NASTY, "help": NASTY});
    let report = json!({
        "schema": "fleetman/store/1", "checked_at": "9999-12-31T23:59:59Z", "conditions": "honoured",
        "findings": [finding],
    });
    acme.put("store.json", report.to_string()).await;
    let users = json!({"signed": {"schema": NASTY, "users": [{"name": NASTY}]}, "signatures": [{"key_id": NASTY}]});
    acme.put("auth/users.json", users.to_string()).await;

    // Of attempts that people look at.
    for (cell, generation) in [("ams-1/site", 2), ("evil-1/site", 1), ("mad-1/web", 1)] {
        let at = format!("logs/{cell}/0001-{generation:016}-0001");
        acme.put(&format!("{at}.log"), format!("{NASTY}\n{long}\n{}", "line\n".repeat(200_000))).await;
        let (node, name) = cell.split_once('/').unwrap();
        let outcome = json!({
            "schema": "fleetman/outcome/1", "fleet": FLEET, "node": node, "cell": name,
            "at": {"epoch": 1, "generation": generation}, "attempt": 1, "action": NASTY,
            "started_at": "9999-12-31T23:59:59Z", "ended_at": "0001-01-01T00:00:00Z", "outcome": "failed",
            "code": NASTY, "message": long, "files_fetched": u64::MAX, "bytes_fetched": u64::MAX,
        });
        acme.put(&format!("{at}.json"), outcome.to_string()).await;
    }

    acme.put("alerts/state.json", alerts(&long)).await;
    // Orders that nobody signed, and answers to some.
    let order = "01KDYWXAC0ZZZZZZZZZZZZZZZZ";
    acme.put(&format!("cells/ams-1/_requests/{order}.json"), forged.to_string()).await;
    acme.put(&format!("cells/mad-1/_requests/{order}.json"), NASTY).await;
    let answer = json!({
        "schema": "fleetman/answer/1", "fleet": FLEET, "node": "ams-1", "cell": "site", "order": order,
        "state": NASTY, "started_at": "9999-12-31T23:59:59Z", "written_at": "0001-01-01T00:00:00Z",
        "chunks": u32::MAX, "lines": u64::MAX, "bytes": u64::MAX, "message": NASTY, "notes": [NASTY, long],
    });
    acme.put(&format!("logs/ams-1/_requests/{order}/answer.json"), answer.to_string()).await;
    acme.put(&format!("logs/ams-1/_requests/{order}/0001.log"), format!("{NASTY}\n{long}\n")).await;

    for (id, text) in [("01KDYWXAC0ZZZZZZZZZZZZZZZZ", NASTY), ("01KDYWXAC1ZZZZZZZZZZZZZZZZ", &"W".repeat(50_000))] {
        let entry = json!({
            "schema": "fleetman/audit/1", "id": id, "at": "2026-01-02T03:04:05Z", "actor": "mallory", "source": text,
            "host": "x", "action": "publish", "object": "cell/ams-1/site", "before": "x", "after": "x", "reason": text,
            "stage": {"outcome": {"intent": id, "done": false, "message": if text == NASTY { NASTY } else { "x" }}},
        });
        acme.put(&format!("audit/2026-01-02/{id}.json"), entry.to_string()).await;
    }
    acme.put("audit/2026-01-02/01KDYWXAC2ZZZZZZZZZZZZZZZZ.json", NASTY).await;

    write(acme).await;
}

/// What a user with rights writes, in good order and signed.
async fn write(acme: &Acme) {
    let controller = acme.controller();
    let cell: CellId = "ams-1/site".parse().unwrap();
    let (path, bytes) = ("mad.html".parse().unwrap(), nasty_text().into_bytes());
    controller.put_override(&cell, &path, bytes.clone().into(), &Known::Absent).await.unwrap();
    let nasty = Some(NASTY.to_owned());
    let publish = async |cell: &CellId, release: &str, version: &str| {
        let request = PublishRequest {
            deployment: Some(release.parse().unwrap()),
            version: Some(version.parse().unwrap()),
            note: nasty.clone(),
            reason: nasty.clone(),
            ..PublishRequest::new(cell.clone())
        };
        controller.publish(&request, &Guard::default()).await.unwrap();
    };
    publish(&"par-1/site".parse().unwrap(), "r2", "mad").await;

    let text = quoted();
    let manifest = format!(
        "name: evil\ndescription: {text}\nvars:\n  title: {{description: {text}, default: {text}}}\n\
         profile: {{deploy: {{}}}}\n"
    );
    controller.put_manifest(&"evil".parse().unwrap(), &manifest, &Known::Absent).await.unwrap();
    acme.upload("evil", "nasty", &[(NASTY_NAME, NASTY), ("index.html", "{{ vars.title }}")], Some(NASTY)).await;
    let cell: CellId = "evil-1/site".parse().unwrap();
    let text = format!("cell: {cell}\nmanifest: evil\ndescription: {text}\nvars: {{title: {text}}}\n");
    controller.put_cell(&cell, &text, &Known::Absent).await.unwrap();
    publish(&cell, "nasty", "v1").await;
    let (path, bytes) = (NASTY_NAME.parse().unwrap(), [&bytes, &b"\n"[..]].concat());
    controller.put_override(&cell, &path, bytes.into(), &Known::Absent).await.unwrap();
    publish(&cell, "nasty", "v2").await;
    controller.pause(&cell, NASTY, &Known::Anything).await.unwrap();
}
