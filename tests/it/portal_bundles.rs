//! Versions in a file, through the portal and the API: taken along from one bucket, and loaded into another.

use serde_json::json;

use crate::support::cli::Workplace;
use crate::support::form::{confirm_upload, post, send_files};
use crate::support::people;
use crate::support::serving::{Answer, Serving};

/// The pages of the second bucket.
const THERE: &str = "/b/site";

/// A fleet with two versions, and beside it the same fleet's bucket at a site that no network reaches.
struct Sites {
    place: Workplace,
    serving: Serving,
}

impl Sites {
    async fn start() -> Self {
        let place = Workplace::with_bucket().await;
        place.write("site.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
        place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
        for release in ["r1", "r2"] {
            place.write(&format!("{release}/index.html"), release);
            place.fleetman(&["upload", "site", release, "--as", release]).await.exits(0);
            place.fleetman(&["publish", "n1/web", "--deployment", release, "--as", release, "-y"]).await.exits(0);
        }
        let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
        let (first, rest) = config.split_once("user: tester").unwrap();
        let second = first.split_once("buckets:\n").unwrap().1.replace("name: test", "name: site\n    prefix: site");
        place.write("controller_config.yaml", &format!("{first}{second}user: tester{rest}"));
        place.fleetman(&["-b", "site", "init"]).await.exits(0);
        people::admit(place.path(), &[(people::ADMIN, &["admin"]), ("edna", &["viewer:edge-*/*"])]);
        let serving = Serving::start_for(&place, people::ADMIN).await;
        serving.has_read().await;
        Self { place, serving }
    }

    async fn here(&self, path: &str) -> Answer {
        self.serving.get(path).await
    }

    async fn there(&self, path: &str) -> Answer {
        self.serving.get(&format!("{THERE}{path}")).await
    }

    async fn saved(&self, versions: &str) -> Vec<u8> {
        let saved = self.here(&format!("/bundles/bundle.tar?versions={versions}")).await.is(200);
        assert_eq!(saved.header("content-disposition"), "attachment; filename=\"bundle.tar\"");
        saved.body.to_vec()
    }

    async fn send(&self, bundle: &[u8]) -> Answer {
        let file = ("file", Some("C:\\friday.tar"), bundle);
        send_files(&self.serving, &format!("{THERE}/bundles"), "text/html", &[file]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_is_carried_from_one_portal_to_another_and_looked_at_before_it_is_loaded() {
    let sites = Sites::start().await;
    let version = sites.here("/cells/n1/web/versions/r1").await.is(200).text();
    assert!(version.contains("/bundles?versions=n1%2Fweb%40r1"), "{version}");
    let asked = sites.here("/bundles?versions=n1%2Fweb%40r1").await.is(200).text();
    assert!(asked.contains("fleetman bundle save bundle.tar n1/web@r1") && asked.contains("n1/web@r1</textarea>"));
    let bundle = sites.saved("n1%2Fweb%40r1%0Dn1%2Fweb").await;
    let (path, file) = ("bundle.tar", sites.place.path().join("bundle.tar"));
    std::fs::write(&file, &bundle).unwrap();
    // The program takes what the portal saved, and finds that all of it is there.
    assert!(sites.place.fleetman(&["bundle", "load", path]).await.exits(0).out.contains("there already"));

    let sent = sites.send(&bundle).await;
    let review = sites.here(sent.is(303).header("location")).await.is(200).text();
    for part in
        ["friday.tar", "Verified", "n1/web", "r1", "r2", "Its node deploys it", "a newer one is desired", "bundle load"]
    {
        assert!(review.contains(part), "{part}: {review}");
    }
    assert!(!review.contains("C:"), "{review}");
    assert_eq!(sites.there("/api/v1/cells").await.json()["items"], json!([]), "nothing is written yet");

    let sent = sites.send(&bundle).await;
    let late = sent.header("location").to_owned();
    let stale = post(&sites.serving, &late, &[("seen", "another"), ("reason", "typed")]).await.is(409).text();
    assert!(stale.contains("Nothing was loaded") && stale.contains("value=\"typed\""), "{stale}");
    let loaded = confirm_upload(&sites.serving, sent, "by hand").await;
    assert_eq!(loaded.is(303).header("location"), "/b/site/cells");
    let manifest = "/buckets/object/raw?key=cells%2Fn1%2Fweb%2Fversions%2Fr2%2Fmanifest.json";
    let (one, other) = (sites.here(manifest).await.is(200).body, sites.there(manifest).await.is(200).body);
    assert!(one == other, "byte for byte");
    let audit = sites.there("/api/v1/audit?action=load").await.is(200).json();
    assert_eq!(
        (&audit["items"][0]["reason"], &audit["items"][0]["object"]),
        (&json!("by hand"), &json!("bundle/friday.tar"))
    );
    let again = sites.send(&bundle).await;
    let review = sites.here(again.is(303).header("location")).await.is(200).text();
    assert!(review.contains("Desired already") && review.contains("a newer one is desired"), "{review}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_bundle_of_this_fleet_is_refused_with_the_reason_and_nothing_is_written() {
    let sites = Sites::start().await;
    let bundle = sites.saved("n1%2Fweb").await;
    let before = sites.there("/api/v1/objects").await.json();
    let mut changed = bundle.clone();
    let at = changed.windows(2).rposition(|bytes| bytes == b"r2").unwrap();
    changed[at] = b'R';
    let foreign = String::from_utf8_lossy(&bundle[..4096]).into_owned();
    let fleet = foreign.split("\"fleet\": \"").nth(1).unwrap()[..36].to_owned();
    let other = "11111111-1111-1111-1111-111111111111";
    let mut foreign = bundle.clone();
    let at = foreign.windows(36).position(|bytes| bytes == fleet.as_bytes()).unwrap();
    foreign[at..at + 36].copy_from_slice(other.as_bytes());
    for (sent, status, why) in [
        (&changed[..], 403, "is not the one that it names"),
        (&bundle[..bundle.len() - 2_000], 403, "friday.tar"),
        (&foreign[..], 409, other),
        (b"no bundle", 403, "friday.tar"),
    ] {
        let refused = sites.send(sent).await.is(status).text();
        assert!(refused.contains("Nothing was loaded") && refused.contains(why), "{why}: {refused}");
        assert!(!refused.contains("uploads/01"), "where it lies on this machine is nobody's business: {refused}");
    }
    send_files(&sites.serving, "/b/site/bundles", "text/html", &[("other", Some("a"), b"a")]).await.is(422);
    let now = sites.there("/api/v1/objects").await.json();
    assert_eq!(now["items"], before["items"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_save_what_they_may_see_and_load_as_admins() {
    let sites = Sites::start().await;
    let saved = sites.here("/api/v1/bundle?versions=n1/web@r1,n1/web").await.is(200);
    for (versions, status, code) in [("", 422, "invalid"), ("n1", 422, "invalid"), ("n1/web@none", 404, "not_found")] {
        let refused = sites.here(&format!("/api/v1/bundle?versions={versions}")).await.is(status).json();
        assert_eq!(refused["code"], code, "{versions}");
    }
    let edna = sites.serving.sign_in("edna").await;
    sites.serving.get_in(&edna, "/api/v1/bundle?versions=n1/web").await.is(403);
    sites.serving.get_in(&edna, "/bundles/bundle.tar?versions=n1/web").await.is(403);
    let page = sites.serving.get_in(&edna, "/bundles").await.is(200).text();
    assert!(page.contains("Download") && !page.contains("Send and review"), "{page}");

    let send = async |query: &str| {
        let path = format!("{THERE}/api/v1/bundle{query}");
        send_files(&sites.serving, &path, "application/json", &[("file", Some("friday.tar"), &saved.body)]).await
    };
    let looked = send("?dry_run=true").await.is(200).json();
    assert_eq!((&looked["versions"][0]["version"], looked.get("loaded")), (&json!("r1"), None));
    let done = send("?reason=by+hand").await.is(200).json();
    assert_eq!(done["loaded"], json!({"sent": 4, "created": 6}));
    assert_eq!(send("").await.is(200).json()["loaded"], json!({"sent": 0, "created": 0}));
    assert_eq!(send("").await.is(200).json()["versions"][1]["newest"], json!({"epoch": 1, "generation": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_is_sent_twice_under_one_key_is_loaded_once() {
    let sites = Sites::start().await;
    let (both, one) = (sites.saved("n1%2Fweb%40r1%0Dn1%2Fweb").await, sites.saved("n1%2Fweb%40r1").await);
    let boundaries = std::cell::Cell::new(0);
    let send = async |query: &str, key: &str, bundle: &[u8]| {
        // Told apart by nothing but how it is put into parts.
        boundaries.set(boundaries.get() + 1);
        let boundary = format!("b{}", boundaries.get());
        let head = "content-disposition: form-data; name=\"file\"; filename=\"friday.tar\"";
        let (begin, end) = (format!("--{boundary}\r\n{head}\r\n\r\n"), format!("\r\n--{boundary}--\r\n"));
        let body = [begin.as_bytes(), bundle, end.as_bytes()].concat();
        let kind = format!("multipart/form-data; boundary={boundary}");
        let headers = [("content-type", kind.as_str()), ("sec-fetch-site", "same-origin"), ("idempotency-key", key)];
        sites.serving.send("POST", &format!("{THERE}/api/v1/bundle{query}"), &headers, body).await
    };
    let audited =
        async || sites.there("/api/v1/audit?action=load").await.is(200).json()["items"].as_array().unwrap().len();
    let first = send("", "a", &both).await.is(200);
    assert_eq!((first.header("idempotency-replayed"), &first.json()["loaded"]["created"]), ("", &json!(6)));
    let again = send("", "a", &both).await.is(200);
    assert_eq!((again.header("idempotency-replayed"), again.json(), audited().await), ("true", first.json(), 1));

    // Another bundle, or another request for it, is another.
    for (query, bundle) in [("", &one), ("?dry_run=true", &both), ("?reason=other", &both)] {
        let refused = send(query, "a", bundle).await.is(422).json();
        assert_eq!(refused["code"], "idempotency_key_reused", "{query}");
    }
    assert_eq!(send("", &"k".repeat(256), &both).await.is(400).json()["code"], "invalid_idempotency_key");
    assert_eq!(audited().await, 1);
    let other = send("", "b", &both).await.is(200);
    assert_eq!((other.header("idempotency-replayed"), &other.json()["loaded"]["created"]), ("", &json!(0)));
    // What is no bundle stays none; mended it is another request.
    assert_eq!(send("", "c", b"no bundle").await.is(403).header("idempotency-replayed"), "");
    assert_eq!(send("", "c", &both).await.is(200).header("idempotency-replayed"), "", "403 is not remembered");
}
