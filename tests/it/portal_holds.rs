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
    assert_eq!(portal.send_and_follow("/cells/n1/web/hold", "lasts=1d&reason=%3Cb%3Eleak").await, "/cells/n1/web");
    let shown = async || portal.get("/cells/n1/web").await.contains("<strong>Held</strong> by tester until");
    wait_for(shown, "the hold on the cell's page").await;
    let page = portal.get("/cells/n1/web").await;
    assert!(page.contains("&#60;b&#62;leak") && page.contains("/cells/n1/web/unhold"), "{page}");
    assert!(portal.get("/").await.contains("somebody holds it"), "the overview tells of it");

    assert_eq!(portal.send_and_follow("/agents/n1/hold", "lasts=30d&reason=disk").await, "/agents/n1");
    let shown = async || portal.get("/agents/n1").await.contains("<strong>Held</strong> by tester until");
    wait_for(shown, "the hold on the agent's page").await;
    assert_eq!(portal.send_and_follow("/cells/n1/web/unhold", "reason=").await, "/cells/n1/web");
    let shown = async || portal.get("/cells/n1/web").await.contains("<strong>The node is held</strong> by tester");
    wait_for(shown, "the node's hold on the cell's page").await;
    assert_eq!(portal.send_and_follow("/agents/n1/unhold", "reason=done").await, "/agents/n1");
    wait_for(async || !portal.get("/cells/n1/web").await.contains("is held"), "the end of both").await;
    let audit = portal.get("/audit").await;
    assert!(audit.contains("unhold") && audit.contains("node/n1") && audit.contains("portal"), "{audit}");
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
