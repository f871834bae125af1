//! What a user whose grants are for some cells of a node finds out about the others: nothing, wherever they look.

use serde_json::json;

use crate::support::acme::Acme;
use crate::support::cli::Workplace;
use crate::support::people;
use crate::support::serving::Serving;
use crate::support::wait_for;

/// A word that is only ever said of what is not for the user's eyes.
const HIDDEN: &str = "hidden-cell";

/// Every surface that tells of nodes and cells.
const SURFACES: &[&str] = &[
    "/",
    "/agents",
    "/agents?sort=status",
    "/agents.csv",
    "/agents.json",
    "/agents/ams-1",
    "/agents/par-1",
    "/cells",
    "/cells.csv",
    "/cells.json",
    "/cells/ams-1/site",
    "/search?q=ams",
    "/search?q=hidden",
    "/manifests",
    "/manifests/site",
    "/manifests.json",
    "/deployments",
    "/deployments/site/r1",
    "/api/v1/nodes",
    "/api/v1/nodes/ams-1",
    "/api/v1/nodes/par-1",
    "/api/v1/cells",
    "/api/v1/cells/ams-1/site",
    "/api/v1/search?q=a",
    "/alerts",
    "/events",
    "/api/v1/events?since=1d%20ago",
    "/api/v1/alerts",
    "/api/v1/alerts?resolved=true",
    "/alerts/silence?type=needs_operator",
    "/api/v1/silences",
    "/api/v1/attention",
];

/// A fleet in which the heartbeat and the index of a node speak of a cell in their words about the whole node.
async fn telling() -> Acme {
    let acme = Acme::full().await;
    let fault = json!({"code": "io", "message": format!("cells/ams-1/{HIDDEN}/trigger.json: denied"),
        "at": "2026-01-02T03:04:05Z"});
    let conditions = json!([
        {"code": "needs_operator", "message": format!("cell {HIDDEN} is stuck")},
        {"code": "floor_rebuilt", "message": format!("{HIDDEN}: 3")},
    ]);
    let beat = json!({"schema": "fleetman/heartbeat/1", "node": "ams-1", "fleet": "00000000-0000-0000-0000-000000000007",
        "agent_version": "0.1.0", "instance_id": "00000000-0000-0000-0000-000000000007", "sequence": 1,
        "started_at": "2026-01-02T03:04:05Z", "reported_at": "2026-01-02T03:04:05Z", "interval_secs": 60,
        "signing": "signed", "store_error": fault, "conditions": conditions,
        "cells": {HIDDEN: {"phase": "up_to_date", "state": {"state": "n/a"}}}});
    acme.put("agents/ams-1.json", beat.to_string()).await;
    // An entry that cannot be read, and a whole index that cannot.
    let index = json!({"schema": "fleetman/index/1", "node": "ams-1", "written_at": "2026-01-02T03:04:05Z",
        "cells": {"site": {"about": {"manifest": "site"}}, HIDDEN.to_uppercase(): {}, HIDDEN: {"about": 1}}});
    acme.put("index/ams-1.json", index.to_string()).await;
    let other =
        json!({"schema": "fleetman/index/1", "node": HIDDEN, "written_at": "2026-01-02T03:04:05Z", "cells": {}});
    acme.put("index/par-1.json", other.to_string()).await;
    acme
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_some_cells_of_a_node_is_told_nothing_of_its_others_anywhere() {
    let acme = telling().await;
    let place = Workplace::empty();
    acme.configure(place.path());
    people::admit(place.path(), &[("some", &["admin:*/site"]), ("node", &["viewer:ams-1/*"]), ("all", &["viewer"])]);
    let serving = Serving::start_for_nobody(&place).await;
    wait_for(async || serving.get("/readyz").await.status == 200, "the first look at the bucket").await;
    let (some, node, all) =
        (serving.sign_in("some").await, serving.sign_in("node").await, serving.sign_in("all").await);
    let shown = async |path: &str, cookie: &str| {
        let answer = serving.send("GET", path, &[("cookie", cookie)], "").await;
        assert!([200, 303].contains(&answer.status), "{path}: {}", answer.status);
        format!("{}{}", answer.header("location"), answer.text()).to_lowercase().replace("q=hidden", "")
    };
    for path in ["/alerts", "/api/v1/alerts"] {
        wait_for(async || shown(path, &all).await.contains(HIDDEN), "the alert about the node").await;
    }
    for path in SURFACES {
        let seen = shown(path, &some).await;
        assert!(!seen.contains(HIDDEN), "{path} tells of {HIDDEN}:\n{seen}");
    }
    for path in ["/metrics", "/audit", "/api/v1/audit", "/buckets", "/api/v1/objects"] {
        assert_eq!(serving.send("GET", path, &[("cookie", &some)], "").await.status, 403, "{path}");
    }

    // That something is wrong is told, in a word that names nothing.
    let detail = shown("/api/v1/nodes/ams-1", &some).await;
    assert!(detail.contains("needs_operator") && detail.contains("more is told to who may see every cell"), "{detail}");
    let page = shown("/agents/ams-1", &some).await;
    assert!(page.contains("needs_operator") || page.contains("needs operator"), "{page}");
    // Who may see the whole node is told all of it.
    for who in [&node, &all] {
        for path in ["/agents/ams-1", "/api/v1/nodes/ams-1", "/api/v1/cells", "/"] {
            assert!(shown(path, who).await.contains(HIDDEN), "{path} tells nothing");
        }
    }
}
