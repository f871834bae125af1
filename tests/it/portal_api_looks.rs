//! What programs find out and change beside the fleet itself: versions with their bytes, objects, the bucket's usage, the
//! settings, drafts, and their own account.

use serde_json::{Value, json};

use crate::support::api::{WEB, code, serve, session_of_ada, with_cell};
use crate::support::people;
use crate::support::serving::Serving;
use crate::support::wait_for;

fn paths(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["path"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_told_listed_and_handed_out_byte_for_byte() {
    let (mut place, serving, _tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    let octets = [("content-type", "application/octet-stream"), ("if-none-match", "*")];
    let bytes: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
    api.send("PUT", "/cells/n1/web/overrides/bin/data", &octets, bytes.clone()).await.is(201);
    api.send("PUT", "/cells/n1/web/overrides/empty", &octets, "").await.is(201);
    api.post("/cells/n1/web/publish", &json!({"version": "one", "note": "the first"})).await.is(200);

    let version = api.get("/cells/n1/web/versions/one").await.is(200).json();
    assert_eq!(
        (&version["note"], &version["files"], &version["deployment"]),
        (&json!("the first"), &json!(3), &json!("r1"))
    );
    assert_eq!(version["proof"], json!({"verdict": "verified", "by": {"epoch": 1, "generation": 1}}));
    assert_eq!(code(&api.get("/cells/n1/web/versions/two").await.is(404)), "not_found");
    let first = api.get("/cells/n1/web/versions/one/files?limit=2").await.is(200).json();
    assert_eq!(
        (paths(&first), &first["total"], &first["items"][0]["from"]),
        (vec!["bin/data", "empty"], &json!(3), &json!("override"))
    );
    let rest = format!("/cells/n1/web/versions/one/files?after={}", first["next"].as_str().unwrap());
    assert_eq!(paths(&api.get(&rest).await.is(200).json()), ["index.html"]);

    let file = api.get("/cells/n1/web/versions/one/files/bin/data").await.is(200);
    assert_eq!((&file.body[..], file.header("content-length")), (&bytes[..], "300000"));
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"data\"");
    let tag = file.header("etag").to_owned();
    assert_eq!(tag, format!("\"{}\"", first["items"][0]["sha256"].as_str().unwrap()));
    api.send("GET", "/cells/n1/web/versions/one/files/bin/data", &[("if-none-match", &tag)], "").await.is(304);
    assert_eq!(api.get("/cells/n1/web/versions/one/files/empty").await.is(200).text(), "");
    assert_eq!(code(&api.get("/cells/n1/web/versions/one/files/none").await.is(404)), "not_found");
    assert_eq!(code(&api.get("/cells/n1/web/versions/one/files/a//b").await.is(400)), "invalid_name");

    // Bytes that somebody else put there never come whole.
    let content = version["content_sha256"].as_str().unwrap();
    let key = format!("cells/n1/web/versions/one/files/{}/bin/data", &content[..16]);
    place.store().put(&key, vec![0; bytes.len()]).await;
    let broken = serving.broken(&token, "/api/v1/cells/n1/web/versions/one/files/bin/data").await;
    assert!(broken < bytes.len(), "{broken} bytes came");
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_told_handed_out_and_verified() {
    let (mut place, serving, tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    api.post("/cells/n1/web/publish", &json!({"version": "one"})).await.is(200);

    let key = "/object?key=cells/n1/web/versions/one/manifest.json";
    let object = api.get(key).await.is(200).json();
    assert_eq!(
        (&object["key"], &object["rule"]),
        (&json!("cells/n1/web/versions/one/manifest.json"), &json!("written once, never changed"))
    );
    let named_by: Vec<&str> =
        object["named_by"].as_array().unwrap().iter().map(|it| it["key"].as_str().unwrap()).collect();
    assert!(named_by.iter().any(|key| key.starts_with("cells/n1/web/history/")), "{object}");
    let content = api.get("/object/content?key=cells/n1/web/cell.yaml").await.is(200);
    assert_eq!((content.text().as_str(), content.header("content-type")), (WEB, "application/octet-stream"));
    let tag = content.header("etag").to_owned();
    api.send("GET", "/object/content?key=cells/n1/web/cell.yaml", &[("if-none-match", &tag)], "").await.is(304);
    let verify = "/object/verification?key=deployments/site/r1/deployment.json";
    let good = api.get(verify).await.is(200).json();
    assert_eq!(good["verdict"], "ok", "{good}");
    place.store().put("deployments/site/r1/deployment.json", b"{}".to_vec()).await;
    let bad = api.get(verify).await.is(200).json();
    assert_eq!(bad["verdict"], "failed", "{bad}");
    for (path, status, expected) in [
        ("/object", 400, "invalid_query"),
        ("/object?key=", 400, "no_key"),
        ("/object?key=../x", 404, "not_found"),
        ("/object/content?key=cells/n1/other/cell.yaml", 404, "not_found"),
        ("/object/verification?key=cells/n1/other/cell.yaml", 404, "not_found"),
    ] {
        assert_eq!(code(&api.get(path).await.is(status)), expected, "{path}");
    }
    // The hashes of passwords are for admins.
    api.get("/object/content?key=auth/users.json").await.is(200);
    let viewer = tokens.make(&["viewer"]).await;
    wait_for(async || serving.by(&viewer).get("/me").await.status == 200, "the second token to be known").await;
    assert_eq!(code(&serving.by(&viewer).get("/object/content?key=auth/users.json").await.is(403)), "denied");
    serving.by(&viewer).get("/object/content?key=fleet.json").await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_counted_and_the_settings_are_told_without_secrets() {
    let (place, serving, _tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    let buckets = api.get("/buckets").await.is(200).json();
    assert_eq!((&buckets["items"][0]["name"], &buckets["items"][0]["path"]), (&json!("test"), &json!("")));
    assert!(buckets["items"][0]["details"]["location"].as_str().unwrap().contains("127.0.0.1"), "{buckets}");

    assert_eq!(api.get("/usage").await.is(200).json()["counted"], Value::Null);
    api.send("POST", "/usage", &[], "").await.is(202);
    wait_for(async || api.get("/usage").await.json()["counted"].is_object(), "the count to end").await;
    let counted = api.get("/usage").await.is(200).json()["counted"].clone();
    let folders = counted["folders"].as_array().unwrap();
    let cells = folders.iter().find(|folder| folder["path"] == "cells/").unwrap();
    assert_eq!((&cells["parts"][0]["path"], &cells["parts"][0]["objects"]), (&json!("cells/n1/web/"), &json!(1)));
    let sum: u64 = folders.iter().map(|folder| folder["objects"].as_u64().unwrap()).sum();
    assert_eq!(counted["total"]["objects"].as_u64(), Some(sum));

    let config = api.get("/config").await.is(200);
    assert!(!config.text().contains(crate::support::SECRET_KEY), "{}", config.text());
    let settings = config.json()["items"].as_array().unwrap().clone();
    let setting = |name: &str| settings.iter().find(|setting| setting["name"] == name).unwrap().clone();
    assert!(setting("user")["source"]["file"]["line"].as_u64().unwrap() > 1, "{settings:?}");
    assert_eq!(setting("buckets[0].secret_key")["value"], "••••••");
    let keys = api.get("/keys").await.is(200).json();
    let key = &keys["keys"][0];
    assert_eq!((&key["is_own"], &key["is_trusted"], &keys["is_unsigned"]), (&json!(true), &json!(true), &json!(false)));
    assert!(key["public_key"].as_str().unwrap().starts_with("ed25519:"), "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_are_checked_without_being_written() {
    let (place, serving, tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    let yaml = [("content-type", "application/yaml")];
    let check = async |path: &str, text: &str| api.send("POST", path, &yaml, text.to_owned()).await.is(200).json();
    let good = check("/manifests/new/check", "name: new\nprofile: {deploy: {}}\n").await;
    assert_eq!(good, json!({"is_valid": true, "problems": []}));
    let bad = check("/manifests/new/check", "name: new\nprofle: {}\n").await;
    assert_eq!(
        (&bad["is_valid"], &bad["problems"][0]["line"], &bad["problems"][0]["column"]),
        (&json!(false), &json!(2), &json!(1))
    );
    let other = check("/manifests/new/check", "name: other\nprofile: {deploy: {}}\n").await;
    assert_eq!((&other["is_valid"], &other["problems"][0]["line"]), (&json!(false), &json!(1)), "{other}");
    assert_eq!(code(&api.get("/manifests/new").await.is(404)), "not_found");

    assert_eq!(check("/cells/n1/web/yaml/check", WEB).await["is_valid"], true);
    let warned = check("/cells/n1/web/yaml/check", &format!("{WEB}vars: {{colour: red}}\n")).await;
    assert_eq!(
        (&warned["is_valid"], &warned["problems"][0]["severity"]),
        (&json!(true), &json!("warning")),
        "{warned}"
    );
    let wrong = check("/cells/n1/web/yaml/check", "cell: n1/db\nmanifest: site\n").await;
    assert_eq!(wrong["is_valid"], false);
    assert_eq!(code(&api.send("POST", "/manifests/new/check", &[], "x").await.is(415)), "unsupported_type");
    let other = tokens.make(&["viewer:n2/*"]).await;
    wait_for(async || serving.by(&other).get("/me").await.status == 200, "the second token to be known").await;
    let denied = serving.by(&other).send("POST", "/cells/n1/web/yaml/check", &yaml, WEB).await.is(403);
    assert_eq!(code(&denied), "denied");
}

/// Somebody who is signed in with a password, as a program in a browser sends requests.
async fn send(
    serving: &Serving,
    cookie: &str,
    method: &str,
    path: &str,
    body: &str,
) -> crate::support::serving::Answer {
    let headers = [("cookie", cookie), ("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
    serving.send(method, path, &headers, body.to_owned()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_told_who_they_are_and_changes_their_password_in_person_alone() {
    let (_place, serving, _tokens, token) = serve().await;
    let api = serving.by(&token);
    let me = api.get("/me").await.is(200).json();
    assert_eq!((&me["name"], &me["via"], &me["session"]), (&json!("ada"), &json!("token"), &Value::Null));
    assert_eq!(me["token"]["grants"], json!([{"role": "admin", "cells": "*"}]));
    let bob = json!({"name": "bob", "password": people::PASSWORD, "grants": [{"role": "viewer", "cells": "n1/*"}]});
    let ada = session_of_ada(&serving).await;
    send(&serving, &ada, "POST", "/api/v1/users", &bob.to_string()).await.is(204);

    let cookie = serving.sign_in("bob").await;
    let me = send(&serving, &cookie, "GET", "/api/v1/me", "").await.is(200).json();
    assert_eq!((&me["via"], &me["of_config"], &me["grants"]), (&json!("password"), &json!(false), &bob["grants"]));
    assert!(me["session"]["idle_secs"].as_u64().unwrap() > 0, "{me}");
    let wanted = |present: &str| json!({"present": present, "password": "quite another password"}).to_string();
    let by_token = api.send("PUT", "/me/password", &[("content-type", "application/json")], wanted("x")).await.is(403);
    assert_eq!(code(&by_token), "denied", "a token must not lock its user out");
    assert_eq!(code(&api.send("POST", "/me/end-sessions", &[], "").await.is(403)), "denied");
    let wrong = send(&serving, &cookie, "PUT", "/api/v1/me/password", &wanted("wrong")).await.is(422);
    assert_eq!(code(&wrong), "password");
    let changed = send(&serving, &cookie, "PUT", "/api/v1/me/password", &wanted(people::PASSWORD)).await.is(204);
    send(&serving, &cookie, "GET", "/api/v1/me", "").await.is(401);
    let cookie = changed.header("set-cookie").split(';').next().unwrap().to_owned();
    send(&serving, &cookie, "GET", "/api/v1/me", "").await.is(200);
    send(&serving, &cookie, "POST", "/api/v1/me/end-sessions", "").await.is(204);
    send(&serving, &cookie, "GET", "/api/v1/me", "").await.is(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_attention_is_listed_the_worst_first() {
    let acme = crate::support::acme::Acme::full().await;
    let place = crate::support::cli::Workplace::empty();
    acme.configure(place.path());
    let serving = Serving::start(&place).await;
    wait_for(async || serving.get("/readyz").await.status == 200, "the first look at the bucket").await;
    let all = serving.get("/api/v1/attention").await.is(200).json();
    let items = all["items"].as_array().unwrap();
    assert_eq!(
        (&items[0]["severity"], &items[0]["node"], &items[0]["code"]),
        (&json!("critical"), &json!("osl-1"), &json!("dead"))
    );
    assert!(items.iter().any(|item| item["cell"] == "par-1/api" && item["code"] == "down"), "{all}");
    let found = serving.get("/api/v1/search?q=SITE/r2").await.is(200).json();
    assert_eq!((&found["deployments"], &found["problem"]), (&json!(["site/r2"]), &Value::Null), "{found}");
    let one = serving.get("/api/v1/attention?limit=1").await.is(200).json();
    assert_eq!((one["items"].as_array().unwrap().len(), &one["total"]), (1, &all["total"]));
}
