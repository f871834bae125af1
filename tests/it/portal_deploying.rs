//! How a cell is deployed and what its node says of that, in the portal and through the API: strategy, hooks, windows,
//! holds, checks, drift.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use crate::support::cli::{FLEET, Workplace};
use crate::support::people;
use crate::support::serving::Serving;
use crate::support::wait_for;

const SHOP: &str = "\
name: shop
profile: {process: {command: [bin/shop]}}
files: [{glob: \"bin/*\", mode: \"0755\"}]
strategy: {start_stop: {sockets: {http: {listen: \"127.0.0.1:8080\"}}}}
hooks:
  before_activate: {command: [bin/migrate]}
  on_failure: {command: [bin/tell]}
windows:
  download: [{allow: \"* * * * *\", for: 1h}]
  activate: [{deny: \"* * * * *\", for: 1d}, {allow: \"0 2 * * *\", for: 1h, time_zone: Europe/Berlin}]
lock: run/busy
---
cell: n1/shop
manifest: shop
";

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// What the node says of the cell: it waits, somebody holds it, a check fails, and a file was changed.
fn heartbeat(now: DateTime<Utc>) -> Value {
    let (since, until) = (text(now - TimeDelta::minutes(3)), text(now + TimeDelta::hours(3) + TimeDelta::minutes(1)));
    let cell = json!({
        "phase": "waiting", "state": {"state": "running"}, "profile": "process",
        "waiting": {"reason": "window", "message": "the activation windows of the version are closed", "since": since,
            "until": until},
        "hold": {"order": "01KDYWXAC0ZZZZZZZZZZZZZZZZ", "by": "carol", "reason": "disk", "since": since, "until": until},
        "health": {
            "state": "failing", "since": since, "restarts": 2, "restarted_at": since,
            "checks": {
                "page": {"state": "failing", "message": "GET /: 503 <b>busy", "since": since},
                "port": {"state": "passing", "since": since},
            },
        },
        "drift": {"state": "drifted", "checked_at": since, "more": 3,
            "findings": [{"code": "changed", "path": "etc/<i>shop", "since": since}]},
    });
    json!({
        "schema": "fleetman/heartbeat/1", "node": "n1", "fleet": FLEET, "agent_version": "1.0.0",
        "instance_id": "00000000-0000-0000-0000-000000000007", "sequence": 1, "started_at": since,
        "reported_at": text(now), "interval_secs": 60, "signing": "signed", "cells": {"shop": cell},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_cell_and_of_its_node_tell_how_it_is_deployed_and_what_that_waits_for() {
    let mut place = Workplace::with_bucket().await;
    place.write("shop.yaml", SHOP);
    place.fleetman(&["apply", "-f", "shop.yaml"]).await.exits(0);
    for program in ["shop", "migrate", "tell"] {
        place.write(&format!("r1/bin/{program}"), "#!/bin/sh\n");
    }
    place.fleetman(&["upload", "shop", "r1", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "n1/shop", "-y"]).await.exits(0);
    let now = fleetman::clock::SystemClock::shared().now();
    place.store().put("agents/n1.json", heartbeat(now).to_string().into_bytes()).await;
    people::admit_admin(place.path());
    let serving = Serving::start_for(&place, people::ADMIN).await;
    serving.has_read().await;
    let page = async |path: &str| serving.get(path).await.is(200).text();
    wait_for(async || page("/cells/n1/shop").await.contains("Checks"), "what the node says").await;
    let cell = page("/cells/n1/shop").await;
    for part in [
        "<dt>Strategy</dt><dd><code>start_stop</code>",
        "<code>before_activate</code> <code>on_failure</code>",
        "<dt>Lock</dt><dd><code>run/busy</code>",
        "<dt>Fetched</dt>",
        "<dt>Switched to</dt>",
        "and none opens within 400 days",
        "Europe/Berlin",
        ", it ends <time",
        ">in 3 h</time>",
        "<strong>Held</strong> since <time",
        "</time> by carol until <time",
        "<th scope=\"row\">page</th>",
        "GET /: 503 &#60;b&#62;busy",
        "<th scope=\"row\">port</th>",
        "Drifted",
        "etc/&#60;i&#62;shop",
        "3 more are not shown",
    ] {
        assert!(cell.contains(part), "{part}: {cell}");
    }
    let node = page("/agents/n1").await;
    assert!(node.contains("1 cell waits for a maintenance window. The next one opens <time"), "{node}");

    let told = serving.get("/api/v1/cells/n1/shop").await.is(200).json();
    assert_eq!(told["checks"]["state"], "failing", "{told}");
    assert_eq!(told["checks"]["checks"]["page"]["message"], "GET /: 503 <b>busy");
    assert_eq!((&told["hold"]["by"], &told["hold"]["reason"]), (&json!("carol"), &json!("disk")));
    assert_eq!((&told["drift"]["findings"][0]["path"], &told["drift"]["more"]), (&json!("etc/<i>shop"), &json!(3)));
    assert_eq!(told["waiting"]["reason"], "window");
    // The same words on the command line.
    let status = place.fleetman(&["status", "n1/shop", "-o", "json"]).await.exits(0).json();
    for field in ["checks", "hold", "drift", "waiting"] {
        assert_eq!(status[0][field], told[field], "{field}");
    }
}
