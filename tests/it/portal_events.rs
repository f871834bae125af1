//! What happens in the fleet, on its page and through the API.

use serde_json::{Value, json};

use crate::support::acme::Acme;
use crate::support::api::code;
use crate::support::cli::Workplace;
use crate::support::people;
use crate::support::serving::Serving;
use crate::support::wait_for;

/// What the node ber-1 says when its cell api waits for something, in words that are not to be trusted.
fn waiting(acme: &Value) -> Value {
    let mut beat = acme.clone();
    let cell = &mut beat["cells"]["api"];
    cell["phase"] = "waiting".into();
    cell["waiting"] = json!({"reason": "window", "message": "<b>closed</b> \u{1b}[31muntil \u{202e}dawn",
        "since": "2026-01-02T03:04:05Z"});
    beat
}

async fn change(acme: &Acme, change: impl FnOnce(&Value) -> Value) {
    let beat: Value = serde_json::from_slice(&acme.get("agents/ber-1.json").await).unwrap();
    acme.put("agents/ber-1.json", change(&beat).to_string()).await;
}

async fn served(acme: &Acme) -> (Serving, Workplace) {
    let place = Workplace::empty();
    acme.configure(place.path());
    let users: [(&str, &[&str]); 3] =
        [(people::ADMIN, &["admin"]), ("bert", &["viewer:ber-1/api"]), ("osla", &["viewer:osl-*/*"])];
    people::admit(place.path(), &users);
    let serving = Serving::start_for(&place, people::ADMIN).await;
    serving.has_read().await;
    (serving, place)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_does_is_told_as_it_is_seen_to_those_who_see_the_cell() {
    let acme = Acme::full().await;
    let (serving, _place) = served(&acme).await;
    let events = async |query: &str| serving.get(&format!("/api/v1/events?{query}")).await.is(200).json();
    let before = events("about=ber-1/api&kind=phase").await;
    assert_eq!((&before["items"], &before["tells_acts"]), (&json!([]), &json!(true)));
    assert!(before["seen_since"].is_string(), "{before}");

    change(&acme, waiting).await;
    let told = async || events("about=ber-1/api&kind=phase").await["total"] == 1;
    wait_for(told, "the cell to be seen waiting").await;
    let event = events("about=ber-1/api&kind=phase").await["items"][0].clone();
    assert_eq!((&event["cell"], &event["state"]), (&json!("ber-1/api"), &json!("waiting")), "{event}");
    assert_eq!(events("about=ber-1&kind=phase").await["total"], 1, "of its node, too");
    assert_eq!(events("about=osl-1").await["total"], 0, "of no other");

    let page = serving.get("/events?kind=phase&about=ber-1%2Fapi").await.is(200).text();
    for part in [
        "&#60;b&#62;closed",
        "href=\"/cells/ber-1/api\"",
        "waiting",
        "<span role=\"status\">1 of ",
        "/cells/ber-1/api/history",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains('\u{1b}') && !page.contains('\u{202e}'), "nothing steers what shows it: {page}");
    assert!(page.contains("fleetman events -w --since &#39;1h ago&#39; --kind phase --cell ber-1/api"), "{page}");

    let (bert, osla) = (serving.sign_in("bert").await, serving.sign_in("osla").await);
    let of_bert = serving.get_in(&bert, "/events").await.is(200).text();
    assert!(of_bert.contains("closed") && of_bert.contains("is told to those who may see every cell"), "{of_bert}");
    let of_osla = serving.get_in(&osla, "/api/v1/events").await.is(200).json();
    assert_eq!((&of_osla["items"], &of_osla["tells_acts"]), (&json!([]), &json!(false)));
    for path in ["/api/v1/events?about=ber-1/api", "/api/v1/events?about=ber-1"] {
        assert_eq!(code(&serving.get_in(&osla, path).await.is(403)), "denied", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_did_stands_beside_it_and_what_makes_no_sense_is_refused() {
    let acme = Acme::full().await;
    let (serving, _place) = served(&acme).await;
    let pause = json!({"reason": "the fair"});
    let cookie = serving.sign_in(people::ADMIN).await;
    let headers =
        [("content-type", "application/json"), ("sec-fetch-site", "same-origin"), ("cookie", cookie.as_str())];
    serving.send("POST", "/api/v1/cells/ber-1/api/pause", &headers, pause.to_string()).await.is(200);
    let acts = serving.get("/api/v1/events?kind=act&about=ber-1/api").await.is(200).json();
    let act = &acts["items"][0];
    assert_eq!((&act["state"], &act["by"]), (&json!("done"), &json!(people::ADMIN)), "{acts}");
    assert!(act["message"].as_str().unwrap().contains("the fair"), "{act}");
    let page = serving.get("/events?kind=act").await.is(200).text();
    assert!(page.contains("the fair") && page.contains(people::ADMIN), "{page}");
    let bert = serving.sign_in("bert").await;
    let of_bert = serving.get_in(&bert, "/api/v1/events?kind=act").await.is(200).json();
    assert_eq!(of_bert["total"], 0, "{of_bert}");

    for (path, said) in [
        ("/events?since=soon", "since is one of 15m, 1h, 6h, 1d"),
        ("/events?kind=none", "kind is one of wished, phase"),
        ("/events?about=N1!", "write n1 or n1/web"),
    ] {
        let page = serving.get(path).await.is(400).text();
        assert!(page.contains(said), "{path}: {page}");
    }
    for query in ["since=soon", "since=2999-01-01T00:00:00Z", "kind=none", "about=N1!", "limit=0", "node=n1"] {
        let answer = serving.get(&format!("/api/v1/events?{query}")).await.is(400);
        assert_eq!(code(&answer), "invalid_query", "{query}");
    }
}
