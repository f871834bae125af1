//! The upkeep of the bucket in the portal and through the API: looking through it, putting right what takes no decision,
//! and sweeping.

use serde_json::json;

use crate::support::cli::Workplace;
use crate::support::form;
use crate::support::serving::Serving;
use crate::support::{BUCKET, people};

const TRIGGER: &str = "cells/n1/web/trigger.json";

async fn lose_trigger(place: &mut Workplace) {
    place.store().client().delete_object().bucket(BUCKET).key(TRIGGER).send().await.unwrap();
}

/// A bucket with one version, and a portal to an admin and a viewer.
async fn published() -> (Workplace, Serving) {
    let place = Workplace::with_bucket().await;
    place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    place.write("r1/index.html", "r1");
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "n1/web", "-y"]).await.exits(0);
    people::admit(place.path(), &[(people::ADMIN, &["admin"]), ("vera", &["viewer"])]);
    let serving = Serving::start_for(&place, people::ADMIN).await;
    serving.has_read().await;
    (place, serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_bucket_is_looked_at_before_it_is_put_right() {
    let (mut place, serving) = published().await;

    let asked = serving.get("/buckets/check").await.is(200).text();
    assert!(asked.contains("fleetman fsck") && !asked.contains("Nothing is wrong"), "{asked}");
    assert!(serving.get("/buckets/check?run=yes&deep=on").await.is(200).text().contains("Nothing is wrong"));
    let none = serving.get("/api/v1/fsck").await.is(200).json();
    assert_eq!(none["findings"], json!([]));
    let vera = serving.sign_in("vera").await;
    serving.get_in(&vera, "/buckets/check").await.is(403);

    lose_trigger(&mut place).await;
    let found = serving.get("/api/v1/fsck?deep=true").await.is(200).json();
    assert_eq!(
        (&found["findings"][0]["code"], &found["findings"][0]["key"]),
        (&"trigger_missing".into(), &TRIGGER.into())
    );
    let json = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
    let stale = json!({"repairable": none["repairable"]}).to_string();
    let refused = serving.send("POST", "/api/v1/fsck", &json, stale).await.is(409).json();
    assert_eq!(refused["code"], "changed", "{refused}");

    let page = serving.get("/buckets/check?run=yes").await.is(200).text();
    assert!(page.contains("trigger_missing") && page.contains("Put 1 right"), "{page}");
    let seen = form::fields(&page).remove("seen").unwrap();
    let late = form::post(&serving, "/buckets/check", &[("seen", "other")]).await.is(409).text();
    assert!(late.contains("no longer what you looked at") && late.contains("Put 1 right"), "{late}");
    let done = form::post(&serving, "/buckets/check", &[("seen", &seen), ("reason", "tidy")]).await.is(200).text();
    assert!(done.contains("Repaired") && !done.contains("Put 1 right"), "{done}");
    place.fleetman(&["fsck"]).await.exits(0);

    lose_trigger(&mut place).await;
    let repair = json!({"repairable": found["repairable"], "reason": "again"}).to_string();
    let done = serving.send("POST", "/api/v1/fsck", &json, repair).await.is(200).json();
    assert!(done["findings"][0]["repaired"].get("Ok").is_some(), "{done}");
    place.fleetman(&["fsck"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sweep_would_do_is_looked_at_before_it_is_done() {
    let (mut place, serving) = published().await;
    let asked = serving.get("/buckets/gc").await.is(200).text();
    assert!(asked.contains("fleetman gc --dry-run") && !asked.contains("nothing to do"), "{asked}");
    assert!(serving.get("/buckets/gc?run=yes").await.is(200).text().contains("There is nothing to do"));
    let none = serving.get("/api/v1/gc").await.is(200).json();
    let vera = serving.sign_in("vera").await;
    serving.get_in(&vera, "/buckets/gc").await.is(403);

    // A publish that was cut off between its claim and the copies of it.
    lose_trigger(&mut place).await;
    let page = serving.get("/buckets/gc?run=yes").await.is(200).text();
    assert!(page.contains("to be brought to their end") && page.contains("/cells/n1/web"), "{page}");
    let json = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
    let stale = json!({"plan": none["plan"], "reason": "tidy"}).to_string();
    assert_eq!(serving.send("POST", "/api/v1/gc", &json, stale).await.is(409).json()["code"], "changed");
    let late = form::post(&serving, "/buckets/gc", &[("seen", "other"), ("reason", "tidy")]).await.is(409).text();
    assert!(late.contains("than what you looked at") && late.contains("value=\"tidy\""), "{late}");
    let seen = form::fields(&page).remove("seen").unwrap();
    let done = form::post(&serving, "/buckets/gc", &[("seen", &seen), ("reason", "tidy")]).await.is(200).text();
    assert!(done.contains("that were brought to their end") && done.contains("fleetman gc</code>"), "{done}");
    place.fleetman(&["fsck"]).await.exits(0);

    lose_trigger(&mut place).await;
    let plan = serving.get("/api/v1/gc").await.is(200).json();
    assert_eq!(plan["finished"], json!(["n1/web"]));
    let sweep = json!({"plan": plan["plan"], "reason": "again"}).to_string();
    let done = serving.send("POST", "/api/v1/gc", &json, sweep).await.is(200).json();
    assert_eq!((&done["finished"], &done["problems"]), (&json!(["n1/web"]), &json!([])));
    let audit = serving.get("/api/v1/audit?action=gc").await.is(200).json();
    let reasons: Vec<_> = audit["items"].as_array().unwrap().iter().map(|act| &act["reason"]).collect();
    assert_eq!(reasons, ["again", "tidy"]);
}
