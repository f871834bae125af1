//! Holding cells and nodes from the portal and through the API, against an agent.

use serde_json::json;

use crate::support::api::{code, serve_in, with_cell};
use crate::support::cli::Workplace;
use crate::support::portal::Portal;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_asked_for_on_a_page_of_its_own_and_shown_until_it_ends() {
    let place = Workplace::with_bucket().await;
    place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    place.write("r1/index.html", "r1");
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    let config = place.agent_config("n1").await;
    let _agent = place.start_fleetagent(&["-c", config.to_str().unwrap(), "run"]);
    place.fleetman(&["publish", "n1/web", "-y", "--wait"]).await.exits(0);
    let portal = Portal::start(place).await;

    let asked = portal.get("/cells/n1/web/hold").await;
    assert!(asked.contains("by nobody") && asked.contains("fleetman hold n1/web"), "{asked}");
    let (status, page) = portal.send_form("/cells/n1/web/hold", "lasts=1d&reason=").await;
    assert!(status == 422 && page.contains("a hold needs a reason"), "{status}: {page}");
    let (status, page) = portal.send_form("/cells/n1/web/hold", "lasts=long&reason=mine").await;
    assert!(status == 422 && page.contains("value=\"mine\""), "{status}: {page}");
    let follow = portal.send_and_follow("/cells/n1/web/hold", "lasts=1d&reason=%3Cb%3Eleak").await;
    assert!(follow.starts_with("/cells/n1/web/hold/"), "{follow}");
    let taken = async |follow: &str, end: &str| {
        let told = async || portal.get(follow).await.contains("Taken by n1");
        wait_for(told, "the node to take the order").await;
        let page = portal.get(follow).await;
        assert!(page.contains("Order sent") && page.contains(end) && !page.contains("data-poll"), "{page}");
    };
    taken(&follow, "by tester, until ").await;
    let shown = async || portal.get("/cells/n1/web").await.contains("<strong>Held</strong> since ");
    wait_for(shown, "the hold on the cell's page").await;
    let page = portal.get("/cells/n1/web").await;
    assert!(page.contains("&#60;b&#62;leak") && page.contains("/cells/n1/web/unhold"), "{page}");
    assert!(portal.get("/").await.contains("somebody holds it"), "the overview tells of it");

    let of_node = portal.send_and_follow("/agents/n1/hold", "lasts=30d&reason=disk").await;
    taken(&of_node, "by tester, until ").await;
    let shown = async || portal.get("/agents/n1").await.contains("<strong>Held</strong> since ");
    wait_for(shown, "the hold on the agent's page").await;
    let release = portal.send_and_follow("/cells/n1/web/unhold", "reason=").await;
    taken(&release, "Its own hold has ended").await;
    let overtaken = portal.get(&follow).await;
    assert!(overtaken.contains("The order counts no more") && !overtaken.contains("data-poll"), "{overtaken}");
    let shown = async || portal.get("/cells/n1/web").await.contains("<strong>The node is held</strong> since ");
    wait_for(shown, "the node's hold on the cell's page").await;
    let of_node = portal.send_and_follow("/agents/n1/unhold", "reason=done").await;
    taken(&of_node, "The hold has ended").await;
    wait_for(async || !portal.get("/cells/n1/web").await.contains("is held"), "the end of both").await;
    let audit = portal.get("/audit").await;
    assert!(audit.contains("unhold") && audit.contains("node/n1") && audit.contains("portal"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_waits_in_sight_until_its_node_takes_it() {
    let place = Workplace::with_bucket().await;
    place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    place.write("r1/index.html", "r1");
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "-y"]).await.exits(0);
    let config = place.agent_config("n1").await;
    let portal = Portal::start(place).await;
    // No agent runs: nobody takes it.
    let of_node = portal.send_and_follow("/agents/n1/hold", "lasts=1d&reason=the+fair").await;
    let of_cell = portal.send_and_follow("/cells/n1/web/hold", "lasts=1d&reason=leak").await;
    let page = portal.get(&of_node).await;
    for words in ["Order sent", "by tester, ", "the fair", "n1 is not heard of", "still to come", "data-poll"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert_eq!(portal.answer(&of_node.replace("agents/n1", "cells/n1/web")).await.0, 200);
    let other = portal.get(&of_node.replace("agents/n1", "cells/n1/web")).await;
    assert!(other.contains("The order counts no more") && !other.contains("the fair"), "of another addressee: {other}");
    assert_eq!(portal.answer("/agents/n1/hold/none").await.0, 404);
    let shown = async || portal.get("/agents/n1").await.contains("Hold of n1 ordered</strong> by tester");
    wait_for(shown, "the order on the agent's page").await;
    let page = portal.get("/agents/n1").await;
    assert!(
        page.contains(&of_node) && page.contains("/agents/n1/unhold") && !page.contains(">Hold the node<"),
        "{page}"
    );
    let page = portal.get("/cells/n1/web").await;
    assert!(page.contains(&of_cell) && page.contains("/cells/n1/web/unhold\""), "{page}");
    assert!(portal.get("/agents/n1/unhold").await.contains("Hold of n1 ordered"), "where it would be taken back");

    let _agent = portal.place.start_fleetagent(&["-c", config.to_str().unwrap(), "run"]);
    let told = async || portal.get(&of_node).await.contains("Taken by n1");
    wait_for(told, "the node to take the order").await;
    let gone = async || !portal.get("/agents/n1").await.contains(" ordered</strong>");
    wait_for(gone, "the page to tell of the hold instead").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_hold_and_release() {
    let (place, serving, _tokens, token) = serve_in(Workplace::with_bucket().await).await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    let held = api.post("/cells/n1/web/hold", &json!({"reason": "leak", "for_secs": 7_200})).await.is(200).json();
    assert_eq!(held["to"], "n1/web");
    let released = api.post("/cells/n1/web/unhold", &json!({})).await.is(200).json();
    assert!(released["id"].as_str() > held["id"].as_str(), "{released} is newer than {held}");
    assert_eq!(api.post("/nodes/n1/hold", &json!({"reason": "disk", "for_secs": 60})).await.is(200).json()["to"], "n1");
    api.post("/nodes/n1/unhold", &json!({"reason": "it is in"})).await.is(200);
    for (path, sent, status, word) in [
        ("/cells/n1/none/hold", json!({"reason": "x", "for_secs": 60}), 404, "not_found"),
        ("/cells/n1/web/hold", json!({"reason": " ", "for_secs": 60}), 422, "invalid"),
        ("/cells/n1/web/hold", json!({"reason": "x", "for_secs": 0}), 422, "invalid"),
        ("/nodes/n1/hold", json!({"reason": "x", "for_secs": 2_592_001}), 422, "invalid"),
    ] {
        let answer = api.post(path, &sent).await.is(status);
        assert_eq!(code(&answer), word, "{path}");
    }
}
