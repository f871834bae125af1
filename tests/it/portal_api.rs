//! The JSON API, as a program with a token uses it: every read, every write, and what keeps writes from being lost.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::api::{SITE, WEB, code, serve, session_of_ada, upload, with_cell};
use crate::support::{require_tool, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_program_ships_changes_and_cleans_up_a_cell() {
    let (place, serving, _tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;

    // A release, file by file, each under its path.
    let form = "--b\r\ncontent-disposition: form-data; name=\"name\"\r\n\r\nr0\r\n\
        --b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"css/site.css\"\r\n\r\nbody {}\r\n--b--\r\n";
    let multipart = [("content-type", "multipart/form-data; boundary=b")];
    let made = api.send("POST", "/deployments/site", &multipart, form).await.is(201).json();
    assert_eq!(
        (&made["deployment"], &made["files"], &made["is_new"]),
        (&json!("r0"), &json!(1), &json!(true)),
        "{made}"
    );
    assert_eq!(api.get("/deployments/site/r0").await.is(200).json()["file_list"][0]["path"], "css/site.css");
    api.send("POST", "/deployments/site", &multipart, form).await.is(200);

    // What a publish would change, and then exactly that.
    let plan = api.post("/cells/n1/web/plan", &json!({"deployment": "r1"})).await.is(200).json();
    assert_eq!((plan["generation"].as_u64(), plan["is_needed"].as_bool()), (Some(0), Some(true)), "{plan}");
    assert_eq!(plan["changes"]["files"][0]["path"], "index.html");
    let order = json!({
        "deployment": "r1", "version": "one", "reason": "because",
        "if_generation": plan["generation"], "expect": plan["content_sha256"],
    });
    let first = api.post("/cells/n1/web/publish", &order).await.is(200).json();
    assert_eq!(
        (&first["action"], &first["version"], &first["how"]),
        (&json!("deploy"), &json!("one"), &json!("claimed"))
    );
    assert_eq!(first["at"], json!({"epoch": 1, "generation": 1}));
    let again = api.post("/cells/n1/web/publish", &order).await.is(200).json();
    assert_eq!((&again["how"], &again["at"]), (&json!("unchanged"), &first["at"]));

    // A file of the cell's own.
    let path = "/cells/n1/web/overrides/etc/app.conf";
    let bytes = [("content-type", "application/octet-stream")];
    let new = [bytes[0], ("if-none-match", "*")];
    let made = api.send("PUT", path, &new, "debug = false").await.is(201);
    let tag = made.header("etag").to_owned();
    assert_eq!(code(&api.send("PUT", path, &new, "other").await.is(412)), "changed");
    let found = api.get(path).await.is(200);
    assert_eq!((found.text().as_str(), found.header("etag")), ("debug = false", tag.as_str()));
    api.send("GET", path, &[("if-none-match", &tag)], "").await.is(304);
    let second = api.send("PUT", path, &[bytes[0], ("if-match", &tag)], "debug = true").await.is(200);
    assert_eq!(api.get("/cells/n1/web/overrides").await.is(200).json()["items"][0]["path"], "etc/app.conf");
    let published = api.post("/cells/n1/web/publish", &json!({"version": "two", "if_generation": 1})).await.is(200);
    assert_eq!(published.json()["at"]["generation"], 2);
    api.send("DELETE", path, &[("if-match", &tag)], "").await.is(412);
    api.send("DELETE", path, &[("if-match", second.header("etag"))], "").await.is(204);
    assert_eq!(code(&api.get(path).await.is(404)), "not_found");

    // What was, and what differs.
    let versions = api.get("/cells/n1/web/versions").await.is(200).json();
    let names: Vec<&str> = versions["items"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["two", "one"], "the highest number first");
    let diff = api.get("/cells/n1/web/diff?from=one&to=two").await.is(200).json();
    assert_eq!((&diff["from"]["revision"], &diff["changes"]["files"][0]["kind"]), (&json!("one"), &json!("added")));
    assert_eq!(api.get("/cells/n1/web/diff?from=two").await.is(200).json()["to"]["revision"], "now");
    let newest = api.get("/cells/n1/web/history?limit=1").await.is(200).json();
    assert_eq!((&newest["items"][0]["at"], &newest["items"][0]["version"]), (&json!("2"), &json!("two")));
    let older = format!("/cells/n1/web/history?limit=1&after={}", newest["next"].as_str().unwrap());
    let older = api.get(&older).await.is(200).json();
    assert_eq!((&older["items"][0]["reason"], &older["items"][0]["at"]), (&json!("because"), &json!("1")));
    assert_eq!(older["items"][0]["issued_by"], "ada");

    // Back, again, paused, stopped, gone.
    let back = api.post("/cells/n1/web/rollback", &json!({"to": "one", "reason": "two is bad"})).await.is(200).json();
    assert_eq!((&back["version"], &back["at"]["generation"]), (&json!("one"), &json!(3)));
    let redeployed = api.post("/cells/n1/web/redeploy", &json!({"if_generation": 3})).await.is(200).json();
    assert_eq!(redeployed["version"], "one");
    let tag = api.get("/cells/n1/web/yaml").await.is(200).header("etag").to_owned();
    let change = async |verb: &str, tag: &str, body: &str| {
        let headers = [("if-match", tag), ("content-type", "application/json")];
        api.send("POST", &format!("/cells/n1/web/{verb}"), &headers, body.to_owned()).await
    };
    assert_eq!(code(&change("pause", "\"other\"", "{\"reason\": \"holidays\"}").await.is(412)), "changed");
    change("pause", &tag, "{\"reason\": \"holidays\"}").await.is(200);
    assert_eq!(code(&change("resume", &tag, "").await.is(412)), "changed", "the pause is written there");
    assert_eq!(code(&api.post("/cells/n1/web/publish", &json!({"version": "three"})).await.is(409)), "paused");
    api.send("POST", "/cells/n1/web/resume", &[], "").await.is(200);
    assert_eq!(api.post("/cells/n1/web/stop", &json!({})).await.is(200).json()["action"], "stop");
    assert_eq!(api.post("/cells/n1/web/remove", &json!({"purge_data": true})).await.is(200).json()["action"], "remove");
    assert_eq!(code(&api.delete("/manifests/site").await.is(428)), "precondition_required");
    let tag = api.get("/manifests/site").await.is(200).header("etag").to_owned();
    let delete = async |tag: &str| api.send("DELETE", "/manifests/site", &[("if-match", tag)], "").await;
    assert_eq!(code(&delete("\"other\"").await.is(412)), "changed");
    assert_eq!(code(&delete(&tag).await.is(409)), "in_use");
    let marked = api.delete("/cells/n1/web/versions/two").await.is(200).json();
    assert_eq!((&marked["done"], marked["ready_at"].is_string()), (&json!(false), true), "it is marked first");
    assert_eq!(api.delete("/deployments/site/r1").await.is(200).json()["done"], true);

    // The agent does what is asked, which is told of, and leaves; then the cell can go.
    let config = place.agent_config("n1").await;
    place.fleetagent(&["--config", config.to_str().unwrap(), "once"]).await.exits(0);
    let outcomes = async || {
        let found = api.get("/cells/n1/web/history?limit=1").await.is(200).json();
        found["items"][0]["attempts"][0]["outcome"]["outcome"] == "succeeded"
    };
    wait_for(outcomes, "what came of the removal").await;
    let at = api.get("/cells/n1/web/history?limit=1").await.json()["items"][0]["at"].as_str().unwrap().to_owned();
    assert_eq!(api.get(&format!("/cells/n1/web/outcomes/{at}")).await.is(200).json()["items"][0]["attempt"], 1);
    let log = api.get(&format!("/cells/n1/web/logs/{at}/1")).await.is(200).json();
    assert!(log["lines"].as_array().unwrap().iter().any(|line| line.as_str().unwrap().contains("removed")), "{log}");
    assert_eq!(code(&api.delete("/nodes/n1").await.is(409)), "in_use", "it was heard of a moment ago");
    assert_eq!(code(&api.delete("/cells/n1/web?if_generation=2").await.is(409)), "guard");

    assert_eq!(api.delete("/cells/n1/web").await.is(200).json()["done"], true);
    assert_eq!(code(&api.get("/cells/n1/web/yaml").await.is(404)), "not_found");

    // All of it is in the audit, as this user's, page by page.
    let mut acts = Vec::new();
    let mut page = api.get("/audit?limit=5&source=api").await.is(200).json();
    loop {
        acts.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        page = api.get(&format!("/audit?limit=5&source=api&after={next}")).await.is(200).json();
    }
    let did = |action: &str| acts.iter().find(|act| act["action"] == action).unwrap_or_else(|| panic!("no {action}"));
    for action in [
        "manifest-put",
        "cell-put",
        "publish",
        "override-put",
        "override-rm",
        "rollback",
        "redeploy",
        "pause",
        "resume",
        "stop",
        "remove",
        "delete",
    ] {
        assert_eq!((&did(action)["actor"], &did(action)["host"]), (&json!("ada"), &json!("127.0.0.1")), "{action}");
    }
    assert_eq!((&did("rollback")["reason"], &did("rollback")["result"]), (&json!("two is bad"), &json!("done")));
    assert_eq!(api.get("/audit?action=stop").await.is(200).json()["items"].as_array().unwrap().len(), 1);

    let examined = api.send("POST", "/doctor", &[], "").await.is(200).json();
    assert_eq!(examined["verdict"], "ok", "{examined}");
    assert_eq!(api.get("/doctor").await.is(200).json()["findings"], examined["findings"]);
    // Who may sign in.
    let bob =
        json!({"name": "bob", "password": "a long test password", "grants": [{"role": "viewer", "cells": "n1/*"}]});
    let more = json!({"grants": [{"role": "operator", "cells": "*"}]});
    let session = session_of_ada(&serving).await;
    let ada = async |method: &'static str, path: &str, body: &Value| {
        let headers = [("content-type", "application/json"), ("sec-fetch-site", "same-origin"), ("cookie", &*session)];
        serving.send(method, &format!("/api/v1{path}"), &headers, body.to_string()).await
    };
    for (method, path, body) in [
        ("POST", "/users", &bob),
        ("PUT", "/users/bob/grants", &more),
        ("PUT", "/users/ada/password", &json!({"password": "a long test password"})),
        ("POST", "/users/ada/end-sessions", &json!({})),
        ("POST", "/users/ada/disable", &json!({})),
        ("DELETE", "/users/ada", &json!({})),
        ("POST", "/tokens", &json!({"name": "t", "grants": more["grants"]})),
    ] {
        let refused = api.send(method, path, &[("content-type", "application/json")], body.to_string()).await.is(403);
        assert!(refused.text().contains("takes a session in a browser"), "{method} {path} {}", refused.text());
    }
    ada("POST", "/users", &bob).await.is(204);
    ada("PUT", "/users/bob/grants", &more).await.is(204);
    ada("POST", "/users/bob/disable", &Value::Null).await.is(204);
    let found = api.get("/users").await.is(200).json();
    let users = found["items"].as_array().unwrap();
    let of_bob = users.iter().find(|user| user["name"] == "bob").unwrap();
    assert_eq!((&of_bob["grants"], &of_bob["disabled"]), (&more["grants"], &json!(true)));
    assert!(!found.to_string().contains("argon2"), "hashes are nobody's business");
    ada("POST", "/users/bob/enable", &Value::Null).await.is(204);
    ada("DELETE", "/users/bob", &Value::Null).await.is(204);
    ada("POST", "/vouched/end-sessions", &json!({"name": "eve"})).await.is(204);
    ada("POST", "/vouched/end-sessions", &json!({})).await.is(204);
    assert_eq!(code(&ada("DELETE", "/users/bob", &Value::Null).await.is(404)), "not_found");
    assert_eq!(code(&api.get("/tokens").await.is(403)), "denied", "a token makes no tokens");

    let objects = api.get("/objects?limit=1000").await.is(200).json();
    assert!(
        objects["items"].as_array().unwrap().iter().any(|entry| entry["name"] == "cells/" || entry["name"] == "cells")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_with_a_code_and_changes_nothing() {
    let (place, serving, tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    let yaml = [("content-type", "application/yaml")];
    let refused = [
        (api.send("PUT", "/manifests/site", &yaml, SITE).await, 428, "precondition_required"),
        (api.put_yaml("/manifests/site", None, "name: site\nprofile: {deploy: {}}\n# other\n").await, 412, "changed"),
        (api.put_yaml("/manifests/site", Some("stale"), SITE).await, 400, "invalid_precondition"),
        (api.put_yaml("/manifests/site", Some("*"), SITE).await, 400, "invalid_precondition"),
        (api.put_yaml("/manifests/new", None, SITE).await, 422, "invalid"),
        (api.put_yaml("/manifests/New!", None, SITE).await, 400, "invalid_name"),
        (api.send("PUT", "/manifests/new", &[("if-none-match", "*")], "x").await, 415, "unsupported_type"),
        (api.send("POST", "/cells/n1/web/publish", &[], "{}").await, 415, "unsupported_type"),
        (
            api.send("POST", "/cells/n1/web/publish", &[("content-type", "text/plain")], "{}").await,
            415,
            "unsupported_type",
        ),
        (api.post("/cells/n1/web/publish", &json!({"deploymnt": "r1"})).await, 400, "invalid_json"),
        (api.post("/cells/n1/web/publish", &json!({"version": "not a name"})).await, 400, "invalid_json"),
        (api.post("/cells/n1/web/publish", &json!({"deployment": "r9"})).await, 404, "not_found"),
        (api.post("/cells/n1/web/pause", &json!({"reason": " "})).await, 422, "invalid"),
        (api.post("/cells/n1/absent/publish", &json!({})).await, 404, "not_found"),
        (api.get("/cells/n1/web/diff?from=!").await, 400, "invalid_query"),
        (api.get("/cells?limit=0").await, 400, "invalid_query"),
        (api.get("/cells?after=nowhere").await, 400, "invalid_query"),
        (api.get("/cells?health=fine").await, 400, "invalid_query"),
        (api.get("/cells?helth=failed").await, 400, "invalid_query"),
        (api.get("/cells/n1/web/yaml?at=1").await, 400, "invalid_query"),
        (api.get("/audit?after=x").await, 400, "invalid_query"),
        (api.get("/nowhere").await, 404, "not_found"),
        (api.send("PATCH", "/cells", &[], "").await, 405, "method_not_allowed"),
    ];
    for (at, (answer, status, expected)) in refused.into_iter().enumerate() {
        assert_eq!((answer.status, code(&answer).as_str()), (status, expected), "{at}: {}", answer.text());
    }
    let mistake = api.put_yaml("/manifests/new", None, "name: new\nprofle: {}\n").await.is(422);
    assert_eq!(code(&mistake), "invalid_yaml");
    assert_eq!(mistake.json()["errors"][0]["line"], 2, "{}", mistake.text());
    assert_eq!(code(&serving.by("fm_wrong").get("/cells").await.is(401)), "unauthenticated");
    assert_eq!(code(&serving.get("/api/v1/cells").await.is(401)), "unauthenticated");

    let viewer = tokens.make(&["viewer:n1/*"]).await;
    wait_for(async || serving.by(&viewer).get("/cells").await.status == 200, "the second token to be known").await;
    let viewer = serving.by(&viewer);
    assert_eq!(code(&viewer.post("/cells/n1/web/publish", &json!({})).await.is(403)), "denied");
    assert_eq!(code(&viewer.get("/audit").await.is(403)), "denied");
    assert_eq!(code(&serving.send("GET", "/metrics", &[], "").await.is(401)), "unauthenticated");

    assert_eq!(api.get("/cells/n1/web/history").await.is(200).json()["items"], json!([]));
    assert_eq!(api.get("/manifests").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_over_what_they_have_not_seen() {
    let (place, serving, _tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    upload(&place, "r2", "two").await;

    // Both read the same; the second to write is told.
    let seen = api.get("/cells/n1/web/yaml").await.is(200);
    let tag = seen.header("etag").to_owned();
    assert_eq!(seen.text(), WEB);
    let mine = api.put_yaml("/cells/n1/web/yaml", Some(&tag), &format!("{WEB}labels: {{by: me}}\n")).await.is(200);
    let yours = api.put_yaml("/cells/n1/web/yaml", Some(&tag), &format!("{WEB}labels: {{by: you}}\n")).await.is(412);
    assert_eq!(code(&yours), "changed");
    let now = api.get("/cells/n1/web/yaml").await;
    assert!(now.text().contains("by: me") && now.header("etag") == mine.header("etag"));

    // Both plan on the same; the second to publish sees both sides.
    let one = json!({"deployment": "r1", "version": "one", "if_generation": 0});
    let two = json!({"deployment": "r2", "version": "two", "if_generation": 0});
    api.post("/cells/n1/web/publish", &one).await.is(200);
    let lost = api.post("/cells/n1/web/publish", &two).await.is(409);
    assert_eq!(code(&lost), "guard");
    let conflict = &lost.json()["conflict"];
    assert_eq!(conflict["expected"]["if_generation"], 0);
    let found = &conflict["found"];
    assert_eq!((&found["version"], &found["at"]["generation"]), (&json!("one"), &json!(1)), "{conflict}");
    assert_eq!(found["issued_by"], "ada");
    let other = "0".repeat(64);
    let unexpected = json!({"deployment": "r2", "version": "two", "expect": other});
    let lost = api.post("/cells/n1/web/publish", &unexpected).await.is(409).json();
    assert_eq!(lost["conflict"]["expected"]["expect"], other);
    for order in ["redeploy", "rollback", "stop", "remove"] {
        let lost = api.post(&format!("/cells/n1/web/{order}"), &json!({"if_generation": 7})).await.is(409);
        assert_eq!(lost.json()["conflict"]["found"]["at"]["generation"], 1, "{order}");
    }
    assert_eq!(api.get("/cells/n1/web/history").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_twice_under_one_key_is_carried_out_once() {
    let (place, serving, _tokens, token) = serve().await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    api.post("/cells/n1/web/publish", &json!({"version": "one"})).await.is(200);
    let headers = |key| [("content-type", "application/json"), ("idempotency-key", key)];
    let redeploy =
        async |key, body: &Value| api.send("POST", "/cells/n1/web/redeploy", &headers(key), body.to_string()).await;

    let first = redeploy("a", &json!({})).await.is(200);
    assert_eq!((first.header("idempotency-replayed"), &first.json()["at"]["generation"]), ("", &json!(2)));
    let again = redeploy("a", &json!({})).await.is(200);
    assert_eq!((again.header("idempotency-replayed"), again.json()), ("true", first.json()));
    assert_eq!(again.header("content-type"), "application/json");
    assert_eq!(code(&redeploy("a", &json!({"reason": "other"})).await.is(422)), "idempotency_key_reused");
    let elsewhere = api.send("POST", "/cells/n1/web/stop", &headers("a"), "{}").await.is(422);
    assert_eq!(code(&elsewhere), "idempotency_key_reused");
    assert_eq!(code(&redeploy("", &json!({})).await.is(400)), "invalid_idempotency_key");
    assert_eq!(redeploy("b", &json!({})).await.is(200).json()["at"]["generation"], 3);

    // What was refused is told again, too.
    let guarded = json!({"if_generation": 1});
    assert_eq!(code(&redeploy("c", &guarded).await.is(409)), "guard");
    assert_eq!(redeploy("c", &guarded).await.is(409).header("idempotency-replayed"), "true");

    // Many at once are one.
    let empty = json!({});
    let many = futures_util::future::join_all((0..8).map(|_| redeploy("d", &empty))).await;
    assert!(many.iter().all(|answer| answer.json()["at"]["generation"] == 4), "{many:?}");
    let replayed = many.iter().filter(|answer| answer.header("idempotency-replayed") == "true").count();
    assert_eq!(replayed, 7);
    assert_eq!(api.get("/cells/n1/web/history").await.json()["items"].as_array().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_in_pages_filtered_and_only_when_they_changed() {
    let (place, serving, _tokens, token) = serve().await;
    let api = serving.by(&token);
    api.put_yaml("/manifests/site", None, SITE).await.is(201);
    api.put_yaml("/manifests/other", None, "name: other\nprofile: {deploy: {}}\n").await.is(201);
    // In the order of nodes and then cells, which is not that of the texts.
    let cells = ["n1/a", "n1/b", "n1-x/a", "n2/a", "n2/b"];
    for cell in cells {
        let manifest = if cell.ends_with('b') { "other" } else { "site" };
        let text = format!("cell: {cell}\nmanifest: {manifest}\nlabels: {{tier: \"{}\"}}\n", &cell[1..2]);
        api.put_yaml(&format!("/cells/{cell}/yaml"), None, &text).await.is(201);
    }
    let names = |page: &Value| -> Vec<String> {
        page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = async || names(&api.get("/cells").await.is(200).json()).len() == cells.len();
    wait_for(all, "all cells to be read").await;

    let mut found = Vec::new();
    let mut page = api.get("/cells?limit=2").await.is(200).json();
    loop {
        assert_eq!(page["total"], 5);
        found.extend(names(&page));
        let Some(next) = page["next"].as_str() else { break };
        page = api.get(&format!("/cells?limit=2&after={next}")).await.is(200).json();
    }
    assert_eq!(found, cells);
    for (filter, expected) in [
        ("node=n1", vec!["n1/a", "n1/b"]),
        ("manifest=other", vec!["n1/b", "n2/b"]),
        ("q=x/", vec!["n1-x/a"]),
        ("label=tier%3D2", vec!["n2/a", "n2/b"]),
        ("sync=synced", vec![]),
        ("sync=unknown&node=n2", vec!["n2/a", "n2/b"]),
    ] {
        assert_eq!(names(&api.get(&format!("/cells?{filter}")).await.is(200).json()), expected, "{filter}");
    }
    assert_eq!(names(&api.get("/nodes?liveness=unknown").await.is(200).json()), ["n1", "n1-x", "n2"]);
    assert_eq!(names(&api.get("/nodes?q=x").await.is(200).json()), ["n1-x"]);
    assert_eq!(names(&api.get("/manifests?limit=1").await.is(200).json()), ["other"]);
    let hits = api.get("/search?q=OTHER").await.is(200).json();
    assert_eq!((&hits["manifests"], &hits["cells"]), (&json!(["other"]), &json!([])));
    // What was found a moment ago is shown again, but not past a change of this controller's own.
    let of_new = api.put_yaml("/manifests/other-new", None, "name: other-new\nprofile: {deploy: {}}\n").await.is(201);
    let manifests = async || api.get("/search?q=other").await.is(200).json()["manifests"].clone();
    assert_eq!(manifests().await, json!(["other", "other-new"]));
    api.send("DELETE", "/manifests/other-new", &[("if-match", of_new.header("etag"))], "").await.is(200);
    assert_eq!(manifests().await, json!(["other"]));

    let first = api.get("/manifests").await.is(200);
    let tag = first.header("etag").to_owned();
    api.send("GET", "/manifests", &[("if-none-match", &tag)], "").await.is(304);
    let manifest = api.get("/manifests/site").await.is(200);
    assert_eq!(manifest.json()["etag"], manifest.header("etag"));
    let other = "name: other\nlabels: {a: b}\nprofile: {deploy: {}}\n";
    let of_other = api.get("/manifests/other").await.header("etag").to_owned();
    api.put_yaml("/manifests/other", Some(&of_other), other).await.is(200);
    let changed = api.send("GET", "/manifests", &[("if-none-match", &tag)], "").await.is(200);
    assert_ne!(changed.header("etag"), tag);
    drop(place);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_valid_and_is_what_every_answer_is_held_against() {
    let (place, serving, _tokens, token) = serve().await;
    let api = serving.by(&token);
    let document = api.get("/openapi.json").await.is(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document, fleetman::web::description(), "what is served is what tests compare with");
    let Some(validator) = require_tool("openapi-spec-validator") else { return };
    let file = place.write("openapi.json", &document.to_string());
    let ran = Command::new(validator).arg(&file).output().unwrap();
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
}
