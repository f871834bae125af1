//! The bucket, the audit and the settings as the portal shows them, over the real server.

use std::fmt::Write as _;

use crate::support::acme::Acme;
use crate::support::cli::Workplace;
use crate::support::people;
use crate::support::portal::Portal;
use crate::support::wait_for;

/// A portal over a fleet.
async fn portal_of(acme: &Acme) -> Portal {
    let place = Workplace::empty();
    acme.configure(place.path());
    let users: [(&str, &[&str]); 3] =
        [(people::ADMIN, &["admin"]), ("vera", &["viewer"]), ("nora", &["viewer:ams-*/*", "admin:ams-1/*"])];
    people::admit(place.path(), &users);
    Portal::start(place).await
}

/// Everything that is not plain, percent-encoded.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

async fn object(portal: &Portal, key: &str, rest: &str) -> (u16, String) {
    portal.answer(&format!("/buckets/object?key={}{rest}", encoded(key))).await
}

/// A page that answers 200.
async fn good(portal: &Portal, path: &str) -> String {
    let (status, body) = portal.answer(path).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_lead_down_to_every_object_and_each_is_explained() {
    let acme = Acme::full().await;
    let portal = portal_of(&acme).await;
    let top = good(&portal, "/buckets/browse").await;
    for part in ["cells/", "one heartbeat a node, overwritten by its agent", "whose bucket this is", "prefix=audit%2F"]
    {
        assert!(top.contains(part), "{part}: {top}");
    }
    let cell = good(&portal, &format!("/buckets/browse?prefix={}", encoded("cells/ams-1/site/"))).await;
    assert!(cell.contains("every trigger ever issued") && cell.contains("key=cells%2Fams%2D1%2Fsite%2Ftrigger%2Ejson"));
    assert!(cell.contains("fleetman bucket ls cells/ams-1/site/"), "{cell}");
    let buckets = good(&portal, "/buckets").await;
    assert!(buckets.contains("s3://fleet/prod/eu at http://127.0.0.1") && buckets.contains("Reachable"), "{buckets}");

    // More than fit on a page.
    for n in 0..205 {
        acme.put(&format!("cells/ams-1/site/overrides/many/{n:03}"), "x").await;
    }
    let path = format!("/buckets/browse?prefix={}", encoded("cells/ams-1/site/overrides/many/"));
    let first = good(&portal, &path).await;
    assert!(first.contains(">199<") && !first.contains(">200<"), "{first}");
    let (_, next) = first.split_once("rel=\"next\"").unwrap();
    assert!(next.starts_with(">Next page"));
    let (before, _) = first.split_once("\" rel=\"next\"").unwrap();
    let (_, next) = before.rsplit_once("href=\"").unwrap();
    let second = good(&portal, &next.replace("&#38;", "&")).await;
    assert!(second.contains(">204<") && !second.contains(">199<") && !second.contains("rel=\"next\""), "{second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_shown_verified_and_handed_out_but_never_run() {
    let acme = Acme::full().await;
    let portal = portal_of(&acme).await;
    let (status, trigger) = object(&portal, "cells/ams-1/site/trigger.json", "").await;
    assert_eq!(status, 200);
    for part in [
        "<span class=\"tag\">JSON</span>",
        "&#34;signatures&#34;",
        "a copy of its newest trigger",
        "versions/r2/manifest.json",
    ] {
        assert!(trigger.contains(part), "{part}: {trigger}");
    }
    assert!(!trigger.contains("id=\"verified\""));
    let (_, verified) = object(&portal, "cells/ams-1/site/trigger.json", "&verify=yes").await;
    for part in
        ["signed by key", "generation 2 (deploy r2) by bob", "fleetman bucket verify cells/ams-1/site/trigger.json"]
    {
        assert!(verified.contains(part), "{part}: {verified}");
    }
    acme.put("cells/ams-1/site/trigger.json", "{\"signed\": {}, \"signatures\": []}").await;
    let (_, forged) = object(&portal, "cells/ams-1/site/trigger.json", "&verify=yes").await;
    assert!(forged.contains("state bad") && forged.contains("none of its signatures is by a pinned key"), "{forged}");

    let page = "<script>alert(1)</script><img src=x onerror=alert(2)>\u{202e}\u{1b}[2J";
    acme.put("cells/ams-1/site/overrides/p.html", page).await;
    let (_, shown) = object(&portal, "cells/ams-1/site/overrides/p.html", "&verify=yes").await;
    assert!(
        shown.contains("&#60;script&#62;alert(1)") && !shown.contains("<script>alert") && !shown.contains("<img src=x")
    );
    assert!(!shown.contains(['\u{202e}', '\u{1b}']) && shown.contains("Nothing in the bucket says"), "{shown}");
    let raw =
        portal.serving.get(&format!("/buckets/object/raw?key={}", encoded("cells/ams-1/site/overrides/p.html"))).await;
    assert_eq!(raw.text(), page);
    for (header, value) in [
        ("content-type", "application/octet-stream"),
        ("content-disposition", "attachment; filename=\"p.html\""),
        ("x-content-type-options", "nosniff"),
        ("content-length", &page.len().to_string()),
    ] {
        assert_eq!(raw.header(header), value, "{header}");
    }
    acme.put("cells/ams-1/site/overrides/bin", vec![0, 159, 146, 150]).await;
    assert!(object(&portal, "cells/ams-1/site/overrides/bin", "").await.1.contains("It is no text"));
    acme.put("cells/ams-1/site/overrides/none", "").await;
    assert!(object(&portal, "cells/ams-1/site/overrides/none", "").await.1.contains("It is empty"));
    acme.put("cells/ams-1/site/overrides/huge", "x\n".repeat(4 << 20)).await;
    let (_, huge) = object(&portal, "cells/ams-1/site/overrides/huge", "").await;
    assert!(huge.contains("Only the first 128.0 KiB are shown") && huge.len() < 1 << 20, "{} bytes", huge.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_key_no_folder_or_no_place_is_told_so_and_harms_nothing() {
    let acme = Acme::full().await;
    let portal = portal_of(&acme).await;
    let long = "x".repeat(2000);
    for (path, status) in [
        ("/buckets/object", 400),
        ("/buckets/object?key=", 400),
        ("/buckets/object?key=nope", 404),
        ("/buckets/object?key=..%2Ffleet.json", 404),
        ("/buckets/object?key=%2Ffleet.json", 404),
        ("/buckets/object?key=cells%2Fn9%2Fweb%2Ftrigger.json", 404),
        ("/buckets/object?key=%FF%FE", 404),
        ("/buckets/object?key=%1B%5B2J", 404),
        (&format!("/buckets/object?key={long}"), 404),
        ("/buckets/object/raw?key=nope", 404),
        ("/buckets/object/raw?key=agents%2Fn9.json", 404),
        ("/buckets/browse?prefix=Photos%2F", 404),
        ("/buckets/browse?prefix=manifests", 422),
        (&format!("/buckets/browse?prefix={long}%2F"), 422),
        ("/buckets/browse?prefix=&after=%00", 422),
        ("/audit?from=yesterday", 400),
        ("/audit?result=good", 400),
        ("/audit?after=x", 400),
        ("/audit.csv?from=1", 400),
    ] {
        let (found, body) = portal.answer(path).await;
        assert_eq!(found, status, "{path}: {body}");
        assert!(body.starts_with("<!doctype html>") && !body.contains('\u{1b}'), "{path}: {body}");
    }
    // Strangers' keys are told of, and lead nowhere.
    acme.put("strange/<b>\u{1b}[2J&\"'", "x").await;
    acme.put("strange/a\u{202e}b/c", "x").await;
    let strange = good(&portal, "/buckets/browse?prefix=strange%2F").await;
    assert!(strange.contains("not of the protocol") && strange.contains("&#60;b&#62;") && !strange.contains("<b>"));
    assert!(strange.contains("prefix=strange%2Fa%E2%80%AEb%2F") && !strange.contains(['\u{1b}', '\u{202e}']));
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_is_counted_when_somebody_asks_and_kept() {
    let acme = Acme::full().await;
    let portal = portal_of(&acme).await;
    let before = good(&portal, "/buckets/usage").await;
    assert!(before.contains("Count now") && !before.contains("by folder"), "{before}");
    let (status, _) = portal.send_form("/buckets/usage", "").await;
    assert_eq!(status, 303);
    wait_for(async || portal.answer("/buckets/usage").await.1.contains("Count again"), "the bucket to be counted")
        .await;
    let after = good(&portal, "/buckets/usage").await;
    for part in ["cells/ams-1/site/", "deployments/site/", "logs/ams-1/", "who did what"] {
        assert!(after.contains(part), "{part}: {after}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_tells_what_happened_by_whom_and_why() {
    let acme = Acme::full().await;
    let portal = portal_of(&acme).await;
    let all = good(&portal, "/audit").await;
    for part in
        ["the front page is blank in Safari", "moved to par-1", "carol", "/cells/ams-1/site/diff?from=r1&#38;to=r2"]
    {
        assert!(all.contains(part), "{part}: {all}");
    }
    let rollback = good(&portal, "/audit?action=rollback").await;
    assert!(rollback.contains("1 act,") && rollback.contains("fleetman audit --action rollback"), "{rollback}");
    assert!(good(&portal, "/audit?actor=nobody").await.contains("Nothing fits"));
    assert!(good(&portal, "/audit?result=failed&from=2020-01-01&to=2020-01-02").await.contains("Nothing fits"));

    let answer = portal.serving.get("/audit.csv?actor=bob").await;
    assert!(answer.header("content-type").contains("text/csv"), "{answer:?}");
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"audit.csv\"");
    let csv = answer.text();
    assert!(csv.starts_with("id,at,actor,") && csv.contains("rollback") && !csv.contains("carol"), "{csv}");
    let ndjson = portal.get("/audit.ndjson?action=rollback").await;
    let line: serde_json::Value = serde_json::from_str(ndjson.lines().next().unwrap()).unwrap();
    assert_eq!((line["actor"].as_str(), line["result"].as_str()), (Some("bob"), Some("done")));
    // An entry that somebody replaced is missed by the one that names it.
    assert!(!all.contains("Somebody deleted") && !all.contains("No pinned key"), "{all}");
    let acts = portal.get("/audit.ndjson").await;
    let act: serde_json::Value = serde_json::from_str(acts.lines().nth(3).unwrap()).unwrap();
    let (id, day) = (act["id"].as_str().unwrap(), &act["at"].as_str().unwrap()[..10]);
    let key = format!("audit/{day}/{id}.json");
    let bytes = acme.get(&key).await;
    assert!(object(&portal, &key, "&verify=yes").await.1.contains("a pinned key signed it"));
    // What the portal has read it knows; another has not.
    acme.put(&key, "{}").await;
    let another = portal_of(&acme).await;
    let told = good(&another, "/audit").await;
    assert!(told.contains(&format!("entry {id}")) && told.contains("it was replaced"), "{told}");
    assert!(
        told.contains("Look at the entry that says so") && told.contains("Its intent is not in the audit"),
        "{told}"
    );
    acme.put(&key, bytes).await;
    // More than one page.
    let mut path = "/audit".to_owned();
    let mut acts = 0;
    for _ in 0..20 {
        let page = good(&portal, &path).await;
        acts += page.matches("<tr><td><time").count();
        let Some((before, _)) = page.split_once("\" rel=\"next\"") else { break };
        path = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
    }
    let ndjson = portal.get("/audit.ndjson").await;
    assert_eq!(acts, ndjson.lines().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_tell_where_each_value_comes_from_and_no_secret() {
    let acme = Acme::full().await;
    let portal = portal_of(&acme).await;
    let about = good(&portal, "/settings").await;
    for part in ["buckets[0].secret_key", "••••••", "option --listen", "controller_config.yaml:8", "default", "htmx"]
    {
        assert!(about.contains(part), "{part}: {about}");
    }
    assert!(!about.contains(crate::support::SECRET_KEY));
    let keys = good(&portal, "/settings/keys").await;
    assert!(keys.contains("ed25519:") && keys.contains("Signs") && !keys.contains("ed25519-private"), "{keys}");
    assert!(keys.contains("<td class=\"num\">16</td>"), "it signed every cell's newest trigger: {keys}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_can_be_asked_to_look_again() {
    let acme = Acme::empty().await;
    let portal = portal_of(&acme).await;
    let before = good(&portal, "/settings/doctor").await;
    assert!(before.contains("was not examined yet"), "{before}");
    let (status, body) = portal.send_form("/settings/doctor", "").await;
    assert_eq!(status, 303, "{body}");
    let after = good(&portal, "/settings/doctor").await;
    assert!(after.contains("exactly one won") && after.contains("state good"), "{after}");
    let audit = good(&portal, "/audit?action=doctor").await;
    assert!(audit.contains("store.json") && audit.contains("portal"), "{audit}");
    // What cannot be read is told, and can be found out anew.
    acme.put("store.json", "{").await;
    let (status, body) = portal.answer("/settings/doctor").await;
    assert_eq!(status, 403);
    assert!(body.contains("cannot be read") && body.contains("Examine the store now"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_everything_sees_no_bucket_and_who_is_no_admin_no_settings() {
    let acme = Acme::full().await;
    let portal = portal_of(&acme).await;
    let (vera, nora) = (portal.serving.sign_in("vera").await, portal.serving.sign_in("nora").await);
    let of_everything = [
        "/buckets",
        "/buckets/browse",
        "/buckets/object?key=fleet.json",
        "/buckets/object/raw?key=fleet.json",
        // Whether a key is there, or is one at all, is nothing to tell either.
        "/buckets/object?key=nope",
        "/buckets/object/raw?key=agents%2Fn9.json",
        "/buckets/usage",
        "/audit",
        "/audit.csv",
        "/audit.ndjson",
        "/audit?from=nonsense",
    ];
    for path in of_everything {
        assert_eq!(portal.serving.get_in(&nora, path).await.status, 403, "{path}");
    }
    for path in ["/settings", "/settings/keys", "/settings/doctor"] {
        assert_eq!(portal.serving.get_in(&nora, path).await.status, 403, "{path}");
        assert_eq!(portal.serving.get_in(&vera, path).await.status, 403, "{path}");
    }
    for (path, of_vera) in [("/buckets/usage", 303), ("/settings/doctor", 403)] {
        assert_eq!(portal.serving.send_form_in(&nora, path, "").await.status, 403, "{path}");
        assert_eq!(portal.serving.send_form_in(&vera, path, "").await.status, of_vera, "{path}");
    }
    for path in
        ["/buckets", "/buckets/object?key=fleet.json", "/buckets/object/raw?key=fleet.json", "/audit", "/audit.csv"]
    {
        assert_eq!(portal.serving.get_in(&vera, path).await.status, 200, "{path}");
    }
    // The list of users has hashes of passwords in it.
    acme.put("auth/users.json", "{\"signed\": {\"hash\": \"$argon2id$\"}, \"signatures\": []}").await;
    for path in ["/buckets/object?key=auth%2Fusers.json", "/buckets/object/raw?key=auth%2Fusers.json"] {
        let body = portal.serving.get_in(&vera, path).await.is(403).text();
        assert!(!body.contains("argon2"), "{path}: {body}");
        assert!(portal.answer(path).await.1.contains("$argon2id$"), "{path}");
    }
    let (_, verified) = object(&portal, "auth/users.json", "&verify=yes").await;
    assert!(verified.contains("is not believed") && verified.contains("state bad"), "{verified}");
}
