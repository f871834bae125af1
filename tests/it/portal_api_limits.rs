//! How much may be sent: what is more is told so by its status, whatever it is, and nothing of it is kept.

use serde_json::json;

use crate::support::api::{SITE, code, serve_in, with_cell};
use crate::support::cli::Workplace;
use crate::support::form::{Part, send_files};
use crate::support::people;
use crate::support::serving::Serving;

/// A byte more than documents may have.
const BODY_BYTES: usize = (4 << 20) + 1;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_told_so_and_changes_nothing() {
    let (place, serving, _tokens, token) = serve_in(Workplace::with_bucket().await).await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    let objects = async || place.fleetman(&["-o", "json", "bucket", "ls", "cells/"]).await.exits(0).out;
    let before = objects().await;
    let (yaml, bytes) = (("content-type", "application/yaml"), ("content-type", "application/octet-stream"));
    let (json, new) = (("content-type", "application/json"), ("if-none-match", "*"));
    let key = ("idempotency-key", "a");
    let comment = |bytes: usize| format!("{SITE}# {}", "x".repeat(bytes));
    for (method, path, headers, body) in [
        ("PUT", "/manifests/other", &[yaml, new][..], comment(BODY_BYTES)),
        ("POST", "/manifests/site/check", &[yaml], comment(BODY_BYTES)),
        ("PUT", "/cells/n1/other/yaml", &[yaml, new], comment(BODY_BYTES)),
        ("POST", "/apply", &[yaml], comment(BODY_BYTES)),
        ("PUT", "/cells/n1/web/overrides/large", &[bytes, new], "x".repeat((8 << 20) + 1)),
        ("POST", "/cells/n1/web/publish", &[json], json!({"reason": "x".repeat(BODY_BYTES)}).to_string()),
        // What is held to be compared with what comes under the same key.
        ("POST", "/cells/n1/web/publish", &[json, key], json!({"reason": "x".repeat(1 << 20)}).to_string()),
    ] {
        let refused = api.send(method, path, headers, body).await.is(413);
        assert_eq!(code(&refused), "too_large", "{method} {path}");
    }
    assert_eq!(objects().await, before);
    // What just fits is read, and a text has a limit of its own.
    let fits = json!({"reason": "x".repeat(BODY_BYTES - 20)}).to_string();
    assert!(fits.len() < BODY_BYTES);
    api.send("POST", "/cells/n1/web/plan", &[json], fits).await.is(200);
    let long = api.send("POST", "/manifests/site/check", &[yaml], comment(1 << 20)).await.is(200).json();
    assert!(long["problems"][0]["message"].as_str().unwrap().contains("more than the 1048576"), "{long}");
    api.send("PUT", "/cells/n1/web/overrides/fits", &[bytes, new], "x".repeat(8 << 20)).await.is(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_too_large_is_told_so_and_leaves_nothing() {
    let place = Workplace::with_bucket().await;
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    place.write("controller_config.yaml", &format!("{config}uploads: {{file: 256KiB, release: 256KiB}}\n"));
    people::admit_admin(place.path());
    place.write("site.yaml", SITE);
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let serving = Serving::start_for(&place, people::ADMIN).await;
    serving.has_read().await;
    let half = vec![0_u8; 200 << 10];
    let large = vec![0_u8; (256 << 10) + 1];
    let beyond = vec![0_u8; 40 << 20];
    let kind = "application/json";
    for (path, parts) in [
        ("/api/v1/deployments/site", &[("file", Some("a"), &half[..]), ("file", Some("b"), &half)][..]),
        // More than is read of one at all, as its length announces.
        ("/api/v1/deployments/site", &[("file", Some("a"), &beyond)]),
        ("/api/v1/bundle", &[("file", Some("a.tar"), &large)]),
        ("/deployments/new", &[("manifest", None, b"site"), ("file", Some("a"), &half), ("file", Some("b"), &half)]),
        ("/bundles", &[("file", Some("a.tar"), &large)]),
    ] as [(&str, &[Part<'_>]); 5]
    {
        let refused = send_files(&serving, path, kind, parts).await.is(413);
        if path.starts_with("/api/") {
            assert_eq!(code(&refused), "upload_too_large", "{path}");
        }
        assert!(refused.text().contains("more than 262144 bytes"), "{path}: {}", refused.text());
    }
    let none = place.fleetman(&["-o", "json", "get", "deployments"]).await.exits(0).json();
    assert_eq!(none, json!([]));
}
