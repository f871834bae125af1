//! What people and programs are told when something went wrong, and what becomes of what they typed.

use serde_json::json;

use crate::support::acme::Acme;
use crate::support::cli::Workplace;
use crate::support::form::{fields, post};
use crate::support::people::{self, PASSWORD};
use crate::support::proxy::{Fault, FaultProxy, On, REQUEST_ID, Rule};
use crate::support::serving::Serving;
use crate::support::wait_for;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_of_the_store_and_what_it_said_is_told_to_people_and_to_programs() {
    let (acme, place) = (Acme::full().await, Workplace::empty());
    let proxy = FaultProxy::start(acme.endpoint()).await;
    acme.configure_at(place.path(), &proxy.endpoint());
    let serving = Serving::start(&place).await;
    serving.has_read().await;

    proxy.inject(Rule::new(On::get("*manifests/site/*"), Fault::status(403)));
    let page = serving.get("/manifests/site").await.is(403).text();
    for said in [
        "s3://fleet/prod/eu/manifests/site/manifest.yaml",
        "<code>GetObject</code>",
        "403 <code>AccessDenied</code>",
        &format!("<code>{REQUEST_ID}</code>"),
        "Trying again does not help",
        "href=\"/settings/doctor\"",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    let problem = serving.get("/api/v1/manifests/site").await.is(403).json();
    let call = json!({"operation": "GetObject", "status": 403, "code": "AccessDenied", "request_id": REQUEST_ID});
    assert_eq!((&problem["store"], &problem["retry"]), (&call, &json!(false)), "{problem}");

    proxy.heal();
    proxy.inject(Rule::new(On::get("*manifests/site/*"), Fault::status(503)));
    let page = serving.get("/manifests/site").await.is(503).text();
    assert!(page.contains("503 <code>SlowDown</code>") && page.contains("Trying again later may help"), "{page}");
    assert_eq!(serving.get("/api/v1/manifests/site").await.is(503).json()["retry"], json!(true));

    // What has nothing to do with the store leads to no doctor.
    let page = serving.get("/agents/nobody").await.is(404).text();
    assert!(!page.contains("doctor") && !page.contains("request id"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_in_finds_the_way_on_from_a_failure_and_who_is_not_is_told_the_same() {
    let (mut acme, place) = (Acme::full().await, Workplace::empty());
    acme.configure(place.path());
    people::admit(place.path(), &[(people::ADMIN, &["admin"]), ("vera", &["viewer"])]);
    let serving = Serving::start_for(&place, people::ADMIN).await;
    serving.has_read().await;
    let (missing, refused) = (serving.get("/cells/ams-1/none").await, serving.sign_in("vera").await);
    let refused = serving.get_in(&refused, "/settings").await;
    for (page, current) in [(missing.is(404).text(), "/cells"), (refused.is(403).text(), "/settings/account")] {
        for part in ["aria-label=\"Sections\"", "role=\"search\"", "href=\"/agents\"", "Sign out", "<h1>"] {
            assert!(page.contains(part), "{part}: {page}");
        }
        let entry = page.split("<li>").find(|entry| entry.contains("aria-current=\"page\""));
        assert!(entry.is_some_and(|entry| entry.contains(&format!("href=\"{current}\""))), "{entry:?}");
        assert!(!page.contains("Try again"), "it would not help: {page}");
    }

    acme.stop_store().await;
    wait_for(async || serving.get("/readyz").await.status == 503, "the outage to be noticed").await;
    let page = serving.get("/manifests/site?x=1").await.is(503).text();
    assert!(page.contains("href=\"/manifests/site?x=1\">Try again</a>"), "{page}");
    assert!(page.contains("aria-label=\"Sections\""), "{page}");
    let strange = serving.get_in("none=1", "/nowhere").await.is(404).text();
    assert!(strange.contains("class=\"bare\"") && !strange.contains("Sections"), "{strange}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_comes_back_while_the_bucket_is_away_and_can_be_sent_again() {
    let (mut acme, place) = (Acme::full().await, Workplace::empty());
    acme.configure(place.path());
    let serving = Serving::start(&place).await;
    serving.has_read().await;
    let form = fields(&serving.get("/agents/osl-1/delete").await.is(200).text());
    acme.stop_store().await;
    wait_for(async || serving.get("/readyz").await.status == 503, "the outage to be noticed").await;

    let typed = [("seen", form["seen"].as_str()), ("name", "osl-1"), ("reason", "burnt <down>\n& gone")];
    let kept = post(&serving, "/agents/osl-1/delete", &typed).await.is(503).text();
    assert!(kept.contains("action=\"/agents/osl-1/delete\"") && kept.contains("What you typed"), "{kept}");
    let kept = fields(&kept);
    let secret = [("present", PASSWORD), ("password", "another password"), ("again", "another password")];
    let page = post(&serving, "/settings/account", &secret).await.is(503).text();
    assert!(!page.contains(PASSWORD) && !page.contains("another password"), "{page}");
    assert!(!page.contains("action=\"/settings/account\""), "a secret is not sent again: {page}");

    acme.start_store().await;
    wait_for(async || serving.get("/readyz").await.status == 200, "the portal to come back").await;
    let again: Vec<_> = kept.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(again.iter().find(|(name, _)| *name == "reason").unwrap().1, "burnt <down>\n& gone");
    post(&serving, "/agents/osl-1/delete", &again).await.is(303);
}
