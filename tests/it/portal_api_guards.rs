//! Writes through the API that say what they are about: what is no longer as it was read stays as it is.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::support::acme::Acme;
use crate::support::api::{SITE, WEB, code, serve, session_of_ada, with_cell};
use crate::support::cli::Workplace;
use crate::support::serving::{Answer, Serving};
use crate::support::{people, wait_for};

/// Somebody in a browser, whose cookie this is.
struct InPerson<'a>(&'a Serving, String);

impl InPerson<'_> {
    /// Sends JSON with the tag of what is known, if anything is.
    async fn send(&self, method: &str, path: &str, known: Option<&str>, body: &Value) -> Answer {
        let mut headers =
            vec![("content-type", "application/json"), ("sec-fetch-site", "same-origin"), ("cookie", self.1.as_str())];
        headers.extend(known.map(|tag| ("if-match", tag)));
        self.0.send(method, &format!("/api/v1{path}"), &headers, body.to_string()).await
    }

    async fn tag(&self, path: &str) -> String {
        let answer = self.send("GET", path, None, &Value::Null).await.is(200);
        let tag = answer.header("etag").to_owned();
        let again = [("if-none-match", tag.as_str()), ("cookie", self.1.as_str())];
        self.0.send("GET", &format!("/api/v1{path}"), &again, "").await.is(304);
        tag
    }
}

fn grants(role: &str) -> Value {
    json!({"grants": [{"role": role, "cells": "*"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_was_changed_meanwhile_is_not_changed_again_unseen() {
    let (_place, serving, _tokens, _) = serve().await;
    let ada = InPerson(&serving, session_of_ada(&serving).await);
    let password = json!({"password": "another long password"});
    let bob = json!({"name": "bob", "password": "a long test password", "grants": []});
    ada.send("POST", "/users", None, &bob).await.is(204);
    let mut seen = ada.tag("/users/bob").await;
    for (method, path, body, now) in [
        ("PUT", "/users/bob/grants", grants("operator"), json!({"disabled": false})),
        ("PUT", "/users/bob/password", password, grants("operator")),
        ("POST", "/users/bob/disable", Value::Null, json!({"disabled": true})),
        ("POST", "/users/bob/enable", Value::Null, json!({"disabled": false})),
        ("POST", "/users/bob/end-sessions", Value::Null, json!({"name": "bob"})),
    ] {
        ada.send(method, path, Some(&seen), &body).await.is(204);
        let late = ada.send(method, path, Some(&seen), &body).await.is(412);
        assert_eq!(code(&late), "changed", "{path}");
        for (name, value) in now.as_object().unwrap() {
            assert_eq!(&late.json()["now"][name], value, "{path}: {}", late.text());
        }
        assert!(!late.text().contains("argon2"), "hashes are nobody's business");
        let now = ada.tag("/users/bob").await;
        assert_ne!(now, seen, "{path}");
        assert_eq!(code(&ada.send("DELETE", "/users/bob", Some(&seen), &Value::Null).await.is(412)), "changed");
        seen = now;
    }
    assert_eq!(code(&ada.send("DELETE", "/users/bob", Some("\"other\""), &Value::Null).await.is(412)), "changed");
    assert_eq!(
        code(&ada.send("DELETE", "/users/bob", Some("any"), &Value::Null).await.is(400)),
        "invalid_precondition"
    );
    ada.send("DELETE", "/users/bob", Some(&seen), &Value::Null).await.is(204);
    assert_eq!(code(&ada.send("GET", "/users/bob", None, &Value::Null).await.is(404)), "not_found");
    assert_eq!(code(&ada.send("DELETE", "/users/bob", Some(&seen), &Value::Null).await.is(412)), "changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_back_if_it_is_the_one_that_was_read() {
    let (_place, serving, _tokens, _) = serve().await;
    let ada = InPerson(&serving, session_of_ada(&serving).await);
    let wanted = json!({"name": "ci", "grants": [{"role": "viewer", "cells": "*"}]});
    ada.send("POST", "/tokens", None, &wanted).await.is(201);
    let listed = ada.send("GET", "/tokens", None, &Value::Null).await.is(200).json();
    let token = listed["items"].as_array().unwrap().iter().find(|token| token["name"] == "ci").unwrap();
    let path = format!("/tokens/{}", token["id"].as_str().unwrap());
    let seen = ada.tag(&path).await;
    assert_eq!(&ada.send("GET", &path, None, &Value::Null).await.json(), token);
    ada.send("DELETE", &path, Some(&seen), &Value::Null).await.is(204);
    let late = ada.send("DELETE", &path, Some(&seen), &Value::Null).await.is(412);
    assert_eq!((code(&late).as_str(), &late.json()["now"]["revoked"]), ("changed", &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_deleted_if_it_is_the_one_that_was_read() {
    let (place, serving, _tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    let path = "/deployments/site/r1";
    let delete = async |tag: &str| api.send("DELETE", path, &[("if-match", tag)], "").await;
    let first = api.get(path).await.is(200).header("etag").to_owned();
    // The same name, other files.
    delete(&first).await.is(200);
    assert_eq!(code(&delete(&first).await.is(404)), "not_found");
    crate::support::api::upload(&place, "r1", "two").await;
    let late = delete(&first).await.is(412);
    let now = api.get(path).await.is(200);
    assert_eq!((code(&late).as_str(), &late.json()["now"]), ("changed", &now.json()));
    delete(now.header("etag")).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_node_is_deleted_if_it_is_the_one_that_was_read() {
    let acme = Acme::full().await;
    let place = Workplace::empty();
    acme.configure(place.path());
    people::admit_admin(place.path());
    let serving = Serving::start_for_nobody(&place).await;
    serving.has_read().await;
    let admin = InPerson(&serving, serving.sign_in(people::ADMIN).await);
    let seen = admin.tag("/nodes/osl-1").await;
    acme.beat_anew("osl-1").await;
    wait_for(async || admin.tag("/nodes/osl-1").await != seen, "the node to be read anew").await;
    let late = admin.send("DELETE", "/nodes/osl-1", Some(&seen), &Value::Null).await.is(412);
    let now = admin.send("GET", "/nodes/osl-1", None, &Value::Null).await.json();
    assert_eq!((code(&late).as_str(), &late.json()["now"]["name"]), ("changed", &now["name"]));
    assert_eq!(now["name"], "osl-1");
    let seen = admin.tag("/nodes/osl-1").await;
    admin.send("DELETE", "/nodes/osl-1", Some(&seen), &Value::Null).await.is(200);
    // The guard is no way around what a deletion needs anyway.
    let seen = admin.tag("/nodes/ams-1").await;
    assert_eq!(code(&admin.send("DELETE", "/nodes/ams-1", Some(&seen), &Value::Null).await.is(409)), "in_use");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_wrote_meanwhile_is_told_where_a_write_is_refused() {
    let (place, serving, _tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    let yaml = ("content-type", "application/yaml");
    let bytes = ("content-type", "application/octet-stream");
    let file = "/cells/n1/web/overrides/etc/app.conf";
    api.send("PUT", file, &[bytes, ("if-none-match", "*")], "a").await.is(201);
    for (path, kind, texts) in [
        ("/manifests/site", yaml, [SITE.to_owned() + "# mine\n", SITE.to_owned() + "# theirs\n"]),
        ("/cells/n1/web/yaml", yaml, [WEB.to_owned() + "# mine\n", WEB.to_owned() + "# theirs\n"]),
        (file, bytes, ["mine".to_owned(), "theirs".to_owned()]),
    ] {
        let [mine, theirs] = texts;
        let seen = api.get(path).await.is(200).header("etag").to_owned();
        let wrote = api.send("PUT", path, &[kind, ("if-match", &seen)], theirs.clone()).await.is(200);
        let tag = wrote.header("etag").to_owned();
        let expected = match path {
            "/manifests/site" => json!({"name": "site", "etag": tag, "text": theirs}),
            "/cells/n1/web/yaml" => json!({"etag": tag, "text": theirs}),
            _ => api.get("/cells/n1/web/overrides").await.json()["items"][0].clone(),
        };
        let stale = [kind, ("if-match", seen.as_str())];
        let mut late = vec![
            api.send("PUT", path, &stale, mine.clone()).await,
            api.send("PUT", path, &[kind, ("if-none-match", "*")], mine.clone()).await,
        ];
        if path == "/cells/n1/web/yaml" {
            let json = [("content-type", "application/json"), stale[1]];
            late.push(api.send("POST", "/cells/n1/web/pause", &json, "{\"reason\": \"later\"}").await);
            late.push(api.send("POST", "/cells/n1/web/resume", &stale[1..], "").await);
        } else {
            late.push(api.send("DELETE", path, &stale[1..], "").await);
        }
        for (at, late) in late.into_iter().enumerate() {
            let late = late.is(412);
            assert_eq!((code(&late).as_str(), &late.json()["now"]), ("changed", &expected), "{path}: {at}");
        }
        // What is told is enough to go on with.
        let now = [kind, ("if-match", expected["etag"].as_str().unwrap())];
        api.send("PUT", path, &now, mine).await.is(200);
    }
    // Where nothing is left there is nothing to tell.
    let seen = api.get(file).await.header("etag").to_owned();
    api.send("DELETE", file, &[("if-match", &seen)], "").await.is(204);
    let late = api.send("PUT", file, &[bytes, ("if-match", &seen)], "mine").await.is(412);
    assert!(late.json().as_object().unwrap().contains_key("now") && late.json()["now"].is_null(), "{}", late.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_deleted_if_it_is_the_one_that_was_read() {
    let (place, serving, _tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    for version in ["one", "two"] {
        api.post("/cells/n1/web/publish", &json!({"version": version, "note": version})).await.is(200);
    }
    let path = "/cells/n1/web/versions/one";
    let delete = async |tag: &str| api.send("DELETE", path, &[("if-match", tag)], "").await;
    let now = api.get(path).await.is(200);
    let of_other = api.get("/cells/n1/web/versions/two").await.is(200).header("etag").to_owned();
    let states = async || api.get("/cells/n1/web/versions").await.is(200).json();
    let before = states().await;
    for tag in ["\"other\"", of_other.as_str()] {
        let late = delete(tag).await.is(412);
        assert_eq!((code(&late).as_str(), &late.json()["now"]), ("changed", &now.json()), "{tag}");
    }
    assert_eq!(code(&delete("one").await.is(400)), "invalid_precondition");
    assert_eq!(states().await, before, "it is not marked");
    assert_eq!(delete(now.header("etag")).await.is(200).json()["done"], false);
    assert_ne!(states().await, before);
    // The guard is no way around what a deletion needs anyway.
    assert_eq!(code(&api.send("DELETE", "/cells/n1/web/versions/two", &[("if-match", &of_other)], "").await), "in_use");
}

/// What a form with these fields and files is, told apart from another by nothing but how it is put into parts.
fn form(fields: &[(&str, &str)], files: &[(&str, &str)]) -> (String, String) {
    static FORMS: AtomicU32 = AtomicU32::new(0);
    let boundary = format!("b{}", FORMS.fetch_add(1, Ordering::Relaxed));
    let fields = fields.iter().map(|(name, text)| (format!("name=\"{name}\""), *text));
    let files = files.iter().map(|(path, text)| (format!("name=\"file\"; filename=\"{path}\""), *text));
    let parts = fields.chain(files);
    let parts =
        parts.map(|(head, text)| format!("--{boundary}\r\ncontent-disposition: form-data; {head}\r\n\r\n{text}\r\n"));
    let body = parts.collect::<String>() + &format!("--{boundary}--\r\n");
    (format!("multipart/form-data; boundary={boundary}"), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_is_sent_twice_under_one_key_is_made_once() {
    let (place, serving, _tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    let send = async |key: &str, fields: &[(&str, &str)], files: &[(&str, &str)]| {
        let (kind, body) = form(fields, files);
        api.send("POST", "/deployments/site", &[("content-type", &kind), ("idempotency-key", key)], body).await
    };
    let releases = async || api.get("/deployments?manifest=site").await.is(200).json()["total"].as_u64().unwrap();
    let files = [("index.html", "two"), ("css/site.css", "h1 {}")];

    // Without a name it gets one of its time: a second one would be another.
    let first = send("a", &[], &files).await.is(201);
    let again = send("a", &[], &files).await.is(201);
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), ("", "true"));
    assert_eq!((again.json(), releases().await), (first.json(), 2));
    let swapped = send("a", &[], &[files[1], files[0]]).await.is(201);
    assert_eq!(swapped.header("idempotency-replayed"), "true", "the same files in another order");

    for (fields, files) in [
        (&[][..], &[files[0]][..]),
        (&[], &[("index.html", "three"), files[1]]),
        (&[], &[("index.htm", "two"), files[1]]),
        (&[("note", "another")], &files),
        (&[("name", "r9")], &files),
        (&[("executables", "css/*")], &files),
    ] {
        assert_eq!(code(&send("a", fields, files).await.is(422)), "idempotency_key_reused", "{fields:?} {files:?}");
    }
    let elsewhere = [("content-type", "application/json"), ("idempotency-key", "a")];
    let elsewhere = api.send("POST", "/cells/n1/web/stop", &elsewhere, "{}").await;
    assert_eq!(code(&elsewhere.is(422)), "idempotency_key_reused");
    assert_eq!(code(&send("", &[], &files).await.is(400)), "invalid_idempotency_key");
    assert_eq!(releases().await, 2);

    // What was refused is told again; mended it is another request.
    let bad = [("../up", "x"), files[0]];
    assert_eq!(code(&send("b", &[], &bad).await.is(422)), "invalid_files");
    assert_eq!(send("b", &[], &bad).await.is(422).header("idempotency-replayed"), "true");
    assert_eq!(code(&send("b", &[], &[files[0]]).await.is(422)), "idempotency_key_reused");

    // Many at once are one.
    let many = futures_util::future::join_all((0..4).map(|_| send("c", &[], &[("index.html", "many")]))).await;
    let names: Vec<_> = many.iter().map(|answer| answer.json()["deployment"].clone()).collect();
    assert!(names[0].is_string() && names.iter().all(|name| *name == names[0]), "{names:?}");
    assert_eq!(releases().await, 3);
}
