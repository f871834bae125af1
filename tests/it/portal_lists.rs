//! The overview, the lists and the search, as a browser without JavaScript gets them.

use serde_json::{Value, json};

use crate::support::acme::Acme;
use crate::support::cli::Workplace;
use crate::support::serving::{Answer, Serving};
use crate::support::wait_for;

/// A portal over a fleet that has read it. The workplace is its folder.
async fn open(acme: &Acme) -> (Workplace, Serving) {
    let place = Workplace::empty();
    acme.configure(place.path());
    let serving = Serving::start(&place).await;
    wait_for(async || serving.get("/readyz").await.status == 200, "the first look at the bucket").await;
    (place, serving)
}

/// The names in the first column of a page's tables.
fn rows(answer: &Answer) -> Vec<String> {
    let text = answer.text();
    let cells = text.split("<th scope=\"row\"><a href=\"").skip(1);
    cells.map(|cell| cell.split(['>', '<']).nth(1).unwrap().to_owned()).collect()
}

async fn listed(serving: &Serving, path: &str) -> Vec<String> {
    rows(&serving.get(path).await.is(200))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_begins_with_what_needs_attention() {
    let acme = Acme::full().await;
    let (_place, serving) = open(&acme).await;
    let page = serving.get("/").await.is(200);
    let text = page.text();
    let attention: Vec<String> = rows(&page).into_iter().take_while(|name| !name.starts_with("ams-2/")).collect();
    assert_eq!(attention[..2], ["Agent osl-1", "Cell par-1/api"], "the worst first");
    for said in [
        "not heard of for long",
        "it does not run, and should: the value of TOKEN cannot be read",
        "the deployment failed and was rolled back: unhealthy: main ended with exit code 3",
        "disk_full: 2 GiB are free",
        "its clock is 93 s behind the store&#39;s",
        "no agent of this name has reported yet",
    ] {
        assert!(text.contains(said), "{said}");
    }
    // Every number leads to the list of what it counts.
    for (href, count) in [("/agents?status=dead", 1), ("/agents?status=active", 5), ("/cells?health=unknown", 4)] {
        assert!(text.contains(&format!("href=\"{href}\"")), "{href}");
        assert_eq!(listed(&serving, href).await.len(), count, "{href}");
    }
    assert!(text.contains("a larger pool") && text.contains("deploy 1.4.2"), "recent changes, with their reasons");
    assert!(!text.contains("style=") && !text.contains("<script>"), "nothing inline");
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_filtered_sorted_and_paged_by_their_address_alone() {
    let acme = Acme::full().await;
    let (_place, serving) = open(&acme).await;
    let all = ["ams-1", "ams-2", "ber-1", "ber-2", "lab-1", "osl-1", "par-1", "par-2"];
    assert_eq!(listed(&serving, "/agents").await, all);
    assert_eq!(listed(&serving, "/agents?label=region%3Deu-central").await, ["ber-1", "ber-2"]);
    assert_eq!(listed(&serving, "/agents?q=OSL-1.acme&status=&version=").await, ["osl-1"]);
    assert_eq!(listed(&serving, "/agents?version=0.0.9").await, ["osl-1"]);
    assert_eq!(listed(&serving, "/agents?sort=status&per=3").await, ["osl-1", "ber-2", "lab-1"]);
    assert_eq!(listed(&serving, "/agents?sort=-name&per=3&page=3").await, ["ams-2", "ams-1"]);
    assert_eq!(listed(&serving, "/agents?sort=disk&per=1").await, ["par-1"]);
    let filtered = serving.get("/agents?status=dead&per=1").await.text();
    assert!(filtered.contains("1 of 8 agents · filtered"), "{filtered}");
    assert!(filtered.contains("href=\"?per=1\""), "the filter can be taken away");
    let wrong = serving.get("/agents?status=zombie").await.is(400).text();
    assert!(wrong.contains("status is one of active, warning, dead, unknown"), "{wrong}");

    let csv = serving.get("/agents.csv?status=dead").await.is(200);
    assert_eq!(csv.header("content-disposition"), "attachment; filename=\"agents.csv\"");
    let lines: Vec<String> = csv.text().lines().map(str::to_owned).collect();
    assert!(
        lines.len() == 2 && lines[0].starts_with("name,status,") && lines[1].starts_with("osl-1,dead,"),
        "{lines:?}"
    );
    let json = serving.get("/agents.json?sort=-name").await.is(200).json();
    let names: Vec<&str> =
        json["items"].as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap()).collect();
    assert!(names.iter().rev().eq(all.iter()), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_are_listed_with_what_is_known_of_them() {
    let acme = Acme::full().await;
    let (_place, serving) = open(&acme).await;
    assert_eq!(listed(&serving, "/cells").await.len(), 16);
    assert_eq!(listed(&serving, "/cells?sync=out-of-sync").await, ["ams-2/api", "ber-1/api", "par-1/api"]);
    assert_eq!(listed(&serving, "/cells?health=failed").await, ["par-1/api"]);
    assert_eq!(listed(&serving, "/cells?paused=yes").await, ["par-2/api"]);
    assert_eq!(listed(&serving, "/cells?node=ams-1&manifest=site").await, ["ams-1/site"]);
    assert_eq!(listed(&serving, "/cells?version=r2&label=region%3Deu-west").await, ["ams-1/site", "ams-2/site"]);
    assert_eq!(listed(&serving, "/cells?phase=stopped").await, ["par-2/site"]);
    let dead = serving.get("/cells?node=osl-1").await.text();
    assert!(dead.contains(">Unknown</span>") && !dead.contains(">Healthy</span>"), "never stale green: {dead}");
    assert!(dead.contains("last seen Healthy") || dead.contains("last seen N/A"), "{dead}");
    let json = serving.get("/cells.json?health=failed").await.is(200).json();
    assert_eq!(json["items"][0]["name"], json!("par-1/api"));
    let csv = serving.get("/cells.csv?paused=yes").await.text();
    assert!(csv.lines().nth(1).unwrap().contains("the database moves on Sunday"), "{csv}");
    let agent = serving.get("/agents/par-1").await.is(200);
    assert_eq!(rows(&agent), ["par-1/api", "par-1/site"]);
    assert!(agent.text().contains("2 GiB are free below") && agent.text().contains("agents%2Fpar-1.json"));
    serving.get("/agents/nobody").await.is(404);
    serving.get("/agents/No_Name").await.is(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_can_be_saved_as_it_is_filtered_and_sorted() {
    let acme = Acme::full().await;
    let formula = b"name: site\nprofile: {deploy: {}}\n".to_vec();
    acme.put("cells/ams-1/site/overrides/=1+1;@x", formula).await;
    acme.put("cells/ams-1/site/overrides/plain", "x").await;
    let (_place, serving) = open(&acme).await;
    for (page, name, head, first) in [
        ("/manifests", "manifests", "name,used_by_cells,changed_at,size_bytes", "api,"),
        ("/deployments?manifest=site&sort=name", "deployments", "manifest,name,state,uploaded_at,", "site,r1,whole,"),
        ("/cells/ams-1/site/overrides?q=1", "overrides", "path,size_bytes,written_at", "\"'=1+1;'@x\",33,"),
    ] {
        let (path, query) = page.split_once('?').unwrap_or((page, ""));
        let text = serving.get(page).await.is(200).text();
        for kind in ["csv", "json"] {
            assert!(text.contains(&format!("href=\"{path}.{kind}")), "{page} leads to its {kind}");
        }
        let csv = serving.get(&format!("{path}.csv?{query}")).await.is(200);
        assert_eq!(csv.header("content-disposition"), format!("attachment; filename=\"{name}.csv\""));
        let csv = csv.text();
        let lines: Vec<&str> = csv.lines().collect();
        assert!(lines[0].starts_with(head) && lines[1].starts_with(first), "{csv}");
        let json = serving.get(&format!("{path}.json?{query}")).await.is(200).json();
        assert_eq!(json["items"].as_array().unwrap().len(), lines.len() - 1, "{json}");
    }
    let csv = serving.get("/cells/ams-1/site/overrides.csv").await.is(200).text();
    assert_eq!(csv.lines().count(), 4, "its own, and these two");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_search_finds_everything_and_leads_to_what_has_the_name() {
    let acme = Acme::full().await;
    let (_place, serving) = open(&acme).await;
    for (asked, path) in [
        ("osl-1", "/agents/osl-1"),
        ("AMS-1/site", "/cells/ams-1/site"),
        ("api", "/manifests/api"),
        ("site/r2", "/deployments/site/r2"),
    ] {
        let answer = serving.get(&format!("/search?q={}", asked.replace('/', "%2F"))).await;
        assert_eq!((answer.status, answer.header("location")), (303, path), "{asked}");
    }
    let found = serving.get("/search?q=a").await.is(200).text();
    for href in ["/agents/ams-1", "/cells/par-1/api", "/manifests/api", "/deployments/api/1.4.1"] {
        assert!(found.contains(&format!("href=\"{href}\"")), "{href}");
    }
    assert!(serving.get("/search?q=nothing-like-it").await.is(200).text().contains("Nothing has this in its name"));
    serving.get("/search").await.is(200);
}

/// A form as a browser sends it.
async fn send(serving: &Serving, path: &str, form: &str) -> Answer {
    let origin = format!("http://{}", serving.address);
    let headers = [("origin", origin.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    serving.send("POST", path, &headers, form.to_owned()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_dead_agent_can_be_deleted_and_of_no_other() {
    let acme = Acme::full().await;
    let (place, serving) = open(&acme).await;
    let seen = |page: &str| {
        let seen = crate::support::form::fields(page).remove("seen").unwrap();
        percent_encoding::utf8_percent_encode(&seen, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let alive = serving.get("/agents/ams-1/delete").await.is(200).text();
    assert!(alive.contains("Only the status of a dead agent can be deleted") && alive.contains("disabled"), "{alive}");
    let refused = send(&serving, "/agents/ams-1/delete", &format!("name=ams-1&seen={}", seen(&alive))).await.is(409);
    assert!(refused.text().contains("the node is active"), "{}", refused.text());

    let page = serving.get("/agents/osl-1/delete").await.is(200).text();
    let form = format!("seen={}&reason=burnt+down", seen(&page));
    let untyped = send(&serving, "/agents/osl-1/delete", &format!("{form}&name=osl")).await.is(422);
    assert!(untyped.text().contains("value=\"burnt down\""), "what was typed is not lost");
    let stale = format!("seen={}&name=osl-1&reason=kept", seen(&alive));
    let late = send(&serving, "/agents/osl-1/delete", &stale).await.is(409).text();
    assert!(late.contains("It reported meanwhile") && late.contains("value=\"kept\""), "{late}");
    let digest = |page: &str| page.split("data-copy=\"").nth(1).map(|rest| rest[..64].to_owned());
    let (then, now) = late.split_once("What is there now").unwrap();
    assert!(digest(then).is_some() && digest(then) != digest(now), "{late}");
    let done = send(&serving, "/agents/osl-1/delete", &format!("{form}&name=osl-1")).await.is(303);
    assert_eq!(done.header("location"), "/agents");
    let unknown = async || listed(&serving, "/agents?status=unknown").await.contains(&"osl-1".to_owned());
    wait_for(unknown, "the list to show what was done").await;
    let audit = place.fleetman(&["-o", "json", "audit"]).await;
    assert!(audit.out.contains("burnt down") && audit.out.contains("heartbeat/osl-1"), "{}", audit.out);
    let again = serving.get("/agents/osl-1/delete").await.is(200).text();
    assert!(again.contains("It has no status"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_subject_is_gone_says_so_in_its_own_place_and_goes_on_asking() {
    let (_place, serving) = open(&Acme::empty().await).await;
    let part = serving.send("GET", "/agents/gone", &[("fleetman-fragment", "live")], "").await.is(404).text();
    assert!(part.contains("id=\"live\" hx-get=\"/agents/gone\"") && !part.contains("<html"), "{part}");
    assert!(part.contains("there is no"), "{part}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_fleet_is_told_what_to_do_next() {
    let acme = Acme::empty().await;
    let (_place, serving) = open(&acme).await;
    for (path, command) in
        [("/", "fleetman node add"), ("/agents", "fleetman node add"), ("/cells", "fleetman apply -f cell.yaml")]
    {
        let page = serving.get(path).await.is(200).text();
        assert!(page.contains(command), "{path}: {page}");
    }
    assert_eq!(serving.get("/agents.json").await.json()["items"], json!([]));
    assert_eq!(serving.get("/cells.csv").await.text().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_wrote_is_shown_and_hides_nobody() {
    let acme = Acme::full().await;
    let hostile = "<script>alert(1)</script>\u{202e}\u{1b}[2J";
    let report = json!({"phase": "failed", "state": {"state": "failed", "reason": hostile},
        "last_error": {"code": "io", "message": hostile, "at": "2026-01-01T00:00:00Z"}});
    let beat = |node: &str| {
        json!({"schema": "fleetman/heartbeat/1", "node": node, "fleet": "00000000-0000-0000-0000-000000000007",
            "agent_version": hostile, "instance_id": "00000000-0000-0000-0000-000000000007", "sequence": 1,
            "started_at": "2026-01-02T03:04:05Z", "reported_at": "9999-01-02T03:04:05Z", "interval_secs": u64::MAX,
            "signing": "signed", "labels": {hostile: "=1+1"}, "clock_skew_ms": i64::MIN,
            "host": {"hostname": hostile, "os": hostile, "addresses": vec![hostile; 200], "memory_bytes": 1,
                "memory_available_bytes": u64::MAX, "load_1m": 1e300, "disk_bytes": u64::MAX},
            "conditions": vec![json!({"code": "io", "message": hostile}); 300], "cells": {"evil": report}})
    };
    acme.put("agents/evil.json", beat("evil").to_string()).await;
    acme.put("agents/liar.json", beat("evil").to_string()).await;
    acme.put("agents/huge.json", vec![b'x'; 10 << 20]).await;
    acme.put("index/deep.json", "[".repeat(1 << 20)).await;
    let (_place, serving) = open(&acme).await;
    for path in
        ["/", "/agents", "/agents/evil", "/agents/huge", "/agents/liar", "/cells", "/cells?node=evil", "/search?q=evi"]
    {
        let text = serving.get(path).await.is(200).text();
        assert!(!text.contains("<script>alert") && !text.contains(['\u{202e}', '\u{1b}']), "{path}");
    }
    let agents = listed(&serving, "/agents").await;
    for node in ["ams-1", "evil", "huge", "liar", "deep"] {
        assert!(agents.contains(&node.to_owned()), "{node} of {agents:?}");
    }
    assert!(serving.get("/agents/huge").await.text().contains("larger than the 1048576 bytes"));
    assert!(serving.get("/agents/evil").await.text().contains("&#60;script&#62;"));
    let csv = serving.get("/agents.csv").await.is(200).text();
    assert!(!csv.contains(['\u{202e}', '\u{1b}']), "{csv}");
    let _: Value = serde_json::from_slice(&serving.get("/cells.json").await.is(200).body).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_stays_readable_while_the_bucket_is_away() {
    let mut acme = Acme::full().await;
    let (_place, serving) = open(&acme).await;
    // While nobody looks at pages the bucket is looked at less often.
    serving.get("/").await.is(200);
    acme.stop_store().await;
    wait_for(async || serving.get("/readyz").await.status == 503, "the outage to be noticed").await;
    for path in ["/", "/agents", "/cells", "/agents/ams-1"] {
        let text = serving.get(path).await.is(200).text();
        assert!(text.contains("The bucket does not answer"), "{path}");
    }
    let found = serving.get("/search?q=am").await.is(200).text();
    assert!(found.contains("/agents/ams-1") && found.contains("Not all manifests and deployments"), "{found}");
    let delete = serving.get("/agents/osl-1/delete").await.is(200).text();
    assert!(delete.contains("disabled"), "{delete}");
    send(&serving, "/agents/osl-1/delete", "name=osl-1").await.is(503);
    acme.start_store().await;
    wait_for(async || serving.get("/readyz").await.status == 200, "the portal to come back").await;
}
