//! How much of the bucket the API reads for an answer: what is on the page, however much there is.

use serde_json::{Value, json};

use crate::support::Store;
use crate::support::api::{serve_in, with_cell};
use crate::support::cli::Workplace;
use crate::support::proxy::{FaultProxy, On};

fn names(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_releases_or_versions_reads_the_documents_on_it_and_no_other() {
    let store = Store::start().await;
    let proxy = FaultProxy::start(&store.endpoint()).await;
    let (place, serving, _tokens, token) = serve_in(Workplace::over(&proxy.endpoint()).await).await;
    let api = serving.by(&token);
    with_cell(&place, api).await;
    api.put_yaml("/manifests/site-x", None, "name: site-x\nprofile: {deploy: {}}\n").await.is(201);
    for (manifest, release) in [("site", "r2"), ("site", "r3"), ("site", "r10"), ("site-x", "r1")] {
        place.write(&format!("{release}/index.html"), release);
        place.fleetman(&["upload", manifest, release, "--as", release]).await.exits(0);
    }

    let documents = || proxy.count(On::get("*deployment.json"));
    proxy.clear_log();
    let first = api.get("/deployments?limit=2").await.is(200).json();
    assert_eq!((names(&first), first["total"].as_u64(), documents()), (vec!["r1", "r10"], Some(5), 2), "{first}");
    let path = format!("/deployments?limit=2&after={}", first["next"].as_str().unwrap());
    let second = api.get(&path).await.is(200).json();
    assert_eq!((names(&second), documents()), (vec!["r2", "r3"], 4));
    let path = format!("/deployments?limit=2&after={}", second["next"].as_str().unwrap());
    let last = api.get(&path).await.is(200).json();
    assert_eq!((&last["items"][0]["manifest"], &last["next"], documents()), (&json!("site-x"), &Value::Null, 5));
    let of_one = api.get("/deployments?manifest=site&limit=1&after=site/r2").await.is(200).json();
    assert_eq!((names(&of_one), of_one["total"].as_u64(), documents()), (vec!["r3"], Some(4), 5), "each is read once");
    api.get("/deployments?after=site").await.is(400);

    proxy.clear_log();
    assert_eq!(api.get("/deployments/site/r3").await.is(200).json()["file_list"][0]["path"], "index.html");
    assert_eq!((documents(), proxy.count(On::list("deployments/*"))), (1, 0));
    api.get("/deployments/site/r9").await.is(404);

    for version in ["1.9", "1.10", "1.11", "1.12"] {
        api.post("/cells/n1/web/publish", &json!({"version": version, "note": version})).await.is(200);
    }
    let manifests = || proxy.count(On::get("*versions/*/manifest.json"));
    proxy.clear_log();
    let first = api.get("/cells/n1/web/versions?limit=2").await.is(200).json();
    assert_eq!((names(&first), first["total"].as_u64(), manifests()), (vec!["1.12", "1.11"], Some(4), 2), "{first}");
    let last = api.get("/cells/n1/web/versions?limit=2&after=1.11").await.is(200).json();
    assert_eq!((names(&last), &last["next"], manifests()), (vec!["1.10", "1.9"], &Value::Null, 4));
    let after_one_that_is_gone = api.get("/cells/n1/web/versions?limit=1&after=1.10.5").await.is(200).json();
    assert_eq!((names(&after_one_that_is_gone), &after_one_that_is_gone["next"]), (vec!["1.10"], &json!("1.10")));
}
