//! The overview, the lists and the search, as a browser without JavaScript gets them.

use serde_json::json;

use crate::portal_pages::PAGES;
use crate::support::acme::Acme;
use crate::support::cli::Workplace;
use crate::support::serving::{Answer, Serving};
use crate::support::wait_for;

/// A portal over a fleet that has read it. The workplace is its folder.
async fn open(acme: &Acme) -> (Workplace, Serving) {
    let place = Workplace::empty();
    acme.configure(place.path());
    let serving = Serving::start(&place).await;
    serving.has_read().await;
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
    for said in ["ListObjectsV2</th><td>A</td>", "GetObject</th><td>B</td>", "≤ ", "known once a minute was counted"]
    {
        assert!(text.contains(said), "what is asked of the bucket: {said}");
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
    let heads = |page: String| page.matches("<th scope=\"col\"").count();
    assert_eq!(heads(serving.get("/cells").await.text()), 10);
    let chosen = serving.get("/cells?q=ams-1&cols=agent&cols=labels").await.text();
    assert!(chosen.contains("<td><a href=\"/agents/ams-1\">ams-1</a></td>"), "{chosen}");
    assert!(chosen.contains("title=\"region=eu-west\"") && !chosen.contains(">Desired</a></th>"), "{chosen}");
    assert!(
        chosen.contains("name=\"q\" value=\"ams-1\"") && chosen.contains("name=\"cols\" value=\"agent\""),
        "{chosen}"
    );
    assert_eq!(heads(chosen), 4);
    assert!(serving.get("/cells?cols=shoes").await.is(400).text().contains("cols are some of agent, sync"));
    let by_label = serving.get("/cells?node=ams-1").await.text();
    assert!(by_label.contains("href=\"?node=ams%2D1&#38;label=region%3Deu%2Dwest\""), "a facet: {by_label}");
    let json = serving.get("/cells.json?health=failed").await.is(200).json();
    assert_eq!(json["items"][0]["name"], json!("par-1/api"));
    let csv = serving.get("/cells.csv?paused=yes").await.text();
    assert!(csv.lines().nth(1).unwrap().contains("the database moves on Sunday"), "{csv}");
    let agent = serving.get("/agents/par-1").await.is(200);
    assert_eq!(rows(&agent), ["par-1/api", "par-1/site"]);
    for next in ["/cells?node=par-1", "/at?place=par-1", "/audit?object=par-1"] {
        assert!(agent.text().contains(&format!("href=\"{next}\"")), "{next}");
    }
    assert!(agent.text().contains("Nearly full") && serving.get("/agents").await.text().contains("Nearly full"));
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
    for (asked, path) in
        [("osl-1", "/agents/osl-1"), ("AMS-1/site", "/cells/ams-1/site"), ("site/r2", "/deployments/site/r2")]
    {
        let answer = serving.get(&format!("/search?q={}", asked.replace('/', "%2F"))).await;
        assert_eq!((answer.status, answer.header("location")), (303, path), "{asked}");
    }
    // A manifest of which cells have the name, too: whoever looks for those finds them.
    let found = serving.get("/search?q=api").await.is(200).text();
    for href in ["/manifests/api", "/cells/par-1/api"] {
        assert!(found.contains(&format!("href=\"{href}\"")), "{href}");
    }
    let found = serving.get("/search?q=a").await.is(200).text();
    for href in ["/agents/ams-1", "/cells/par-1/api", "/manifests/api", "/deployments/api/1.4.1"] {
        assert!(found.contains(&format!("href=\"{href}\"")), "{href}");
    }
    assert!(serving.get("/search?q=nothing-like-it").await.is(200).text().contains("Nothing has this in its name"));
    serving.get("/search").await.is(200);
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
    let refused = serving.send_form("/agents/ams-1/delete", &format!("name=ams-1&seen={}", seen(&alive))).await.is(409);
    assert!(refused.text().contains("the node is active"), "{}", refused.text());

    let page = serving.get("/agents/osl-1/delete").await.is(200).text();
    let form = format!("seen={}&reason=burnt+down", seen(&page));
    let untyped = serving.send_form("/agents/osl-1/delete", &format!("{form}&name=osl")).await.is(422);
    assert!(untyped.text().contains("value=\"burnt down\""), "what was typed is not lost");
    let stale = format!("seen={}&name=osl-1&reason=kept", seen(&alive));
    let late = serving.send_form("/agents/osl-1/delete", &stale).await.is(409).text();
    assert!(late.contains("It reported meanwhile") && late.contains("value=\"kept\""), "{late}");
    let digest = |page: &str| page.split("data-copy=\"").nth(1).map(|rest| rest[..64].to_owned());
    let (then, now) = late.split_once("What is there now").unwrap();
    assert!(digest(then).is_some() && digest(then) != digest(now), "{late}");
    let done = serving.send_form("/agents/osl-1/delete", &format!("{form}&name=osl-1")).await.is(303);
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
async fn what_was_read_stays_readable_while_the_bucket_is_away() {
    let mut acme = Acme::full().await;
    let (_place, serving) = open(&acme).await;
    // Also what keeps the bucket in view: while nobody looks at pages it is looked at less often.
    for (_, path) in PAGES {
        serving.get(path).await;
    }
    acme.stop_store().await;
    wait_for(async || serving.get("/readyz").await.status == 503, "the outage to be noticed").await;
    for path in ["/", "/agents", "/cells", "/agents/ams-1"] {
        let text = serving.get(path).await.is(200).text();
        assert!(text.contains("The bucket does not answer"), "{path}");
    }
    let mut unreadable = Vec::new();
    for (route, path) in PAGES {
        let answer = serving.get(path).await;
        match answer.status {
            200 => assert!(answer.text().contains("The bucket does not answer"), "{path}"),
            _ => unreadable.push((*route, answer.status)),
        }
    }
    // What is to be published or deleted has to be looked at as it is.
    let (publish, release) = ("/cells/{node}/{cell}/publish", "/deployments/{manifest}/{deployment}/delete");
    let manifest = "/manifests/{manifest}/delete";
    let (bulk, gone) = ("/cells/bulk", [("/uploads/{id}", 410), ("/bulk/{id}", 404)]);
    let to_look_at = [(bulk, 503), (publish, 503), (release, 503), (manifest, 503)];
    assert_eq!(unreadable, [&to_look_at[..], &gone[..]].concat());
    // Programs are told, and what was never looked at is not there.
    serving.get("/api/v1/manifests/site").await.is(503);
    serving.get("/cells/ams-2/site/history").await.is(503);
    let found = serving.get("/search?q=am").await.is(200).text();
    assert!(found.contains("/agents/ams-1") && found.contains("Not all manifests and deployments"), "{found}");
    let delete = serving.get("/agents/osl-1/delete").await.is(200).text();
    assert!(delete.contains("disabled"), "{delete}");
    serving.send_form("/agents/osl-1/delete", "name=osl-1").await.is(503);
    acme.start_store().await;
    wait_for(async || serving.get("/readyz").await.status == 200, "the portal to come back").await;
}
