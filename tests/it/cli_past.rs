//! What a cell was, on the command line: versions compared, their files, what its node tried, and how it is found.

use crate::support::cli::Workplace;
use crate::support::{BUCKET, wait_for};

const SITE: &str = "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cell_was_can_be_read_compared_and_searched_for() {
    let mut place = Workplace::with_bucket().await;
    place.write("site.yaml", SITE);
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let none = place.fleetman(&["-o", "json", "diff", "n1/web"]).await.exits(4).error();
    assert_eq!(none["help"], "`fleetman plan n1/web` shows what a publish would make");
    for (release, text) in [("r1", "one\n"), ("r2", "two\n")] {
        place.write(&format!("{release}/index.html"), text);
        place.fleetman(&["upload", "site", release, "--as", release]).await.exits(0);
        let publish = ["publish", "n1/web", "--deployment", release, "--as", release, "-y"];
        place.fleetman(&publish).await.exits(0);
    }

    let diff = place.fleetman(&["diff", "n1/web", "--from", "r1", "--to", "r2"]).await.exits(1).out;
    for line in ["n1/web  r1 → r2", "  ~ deployment: \"r1\" → \"r2\"", "      -one", "      +two"] {
        assert!(diff.lines().any(|it| it == line), "{line:?} is not in {diff}");
    }
    let diff = place.fleetman(&["-o", "json", "diff", "n1/web", "--from", "r1", "--to", "r2"]).await.exits(1).json();
    assert_eq!((&diff["from"]["revision"], &diff["changes"]["files"][0]["path"]), (&"r1".into(), &"index.html".into()));
    let same = place.fleetman(&["diff", "n1/web"]).await.exits(0).out;
    assert_eq!(same, "n1/web  r2 → now\nNothing differs.\n");
    place.fleetman(&["diff", "n1/web", "--from", "r9"]).await.exits(4);
    place.fleetman(&["stop", "n1/web", "-y"]).await.exits(0);
    let stopped = place.fleetman(&["diff", "n1/web"]).await.exits(0).out;
    assert!(stopped.starts_with("n1/web  r2 → now"), "of what is stopped the newest version is meant: {stopped}");

    assert_eq!(place.fleetman(&["cat", "n1/web", "r1", "index.html"]).await.exits(0).out, "one\n");
    place.fleetman(&["cat", "n1/web", "r1", "absent"]).await.exits(4);
    let listed =
        place.fleetman(&["-o", "json", "bucket", "ls", "-r", "cells/n1/web/versions/r1"]).await.exits(0).json();
    let keys = listed["objects"].as_array().unwrap().iter().filter_map(|object| object["key"].as_str());
    let key = keys.into_iter().find(|key| key.ends_with("index.html")).unwrap().to_owned();
    place.store().client().put_object().bucket(BUCKET).key(key).body(b"0ne\n".to_vec().into()).send().await.unwrap();
    assert_eq!(
        place.fleetman(&["-o", "json", "cat", "n1/web", "r1", "index.html"]).await.exits(5).error()["code"],
        "corrupt"
    );

    let found = place.fleetman(&["-o", "json", "search", "1/WE"]).await.exits(0).json();
    assert_eq!(found, serde_json::json!({"nodes": [], "cells": ["n1/web"], "manifests": [], "deployments": []}));
    let found = place.fleetman(&["search", "site"]).await.exits(0).out;
    let rows: Vec<Vec<&str>> = found.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["manifest", "site"], ["deployment", "site/r1"], ["deployment", "site/r2"]]);
    assert!(place.fleetman(&["search", "zzz"]).await.exits(1).err.contains("nothing has this in its name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_and_their_logs_can_be_read() {
    let place = Workplace::with_bucket().await;
    place.write("site.yaml", SITE);
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let none = place.fleetman(&["-o", "json", "attempts", "n1/web"]).await.exits(4).error();
    assert_eq!(none["message"], "there is no attempt of n1/web");
    place.write("r1/index.html", "one\n");
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    let _agent = place.run_agent(&place.agent_config("n1").await);
    place.fleetman(&["publish", "n1/web", "-y", "--wait"]).await.exits(0);
    let attempts = async || place.fleetman(&["-o", "json", "attempts", "n1/web"]).await;
    let is_told = async || attempts().await.out.contains("\"outcome\": \"succeeded\"");
    wait_for(is_told, "the outcome to be uploaded").await;
    let has_log = async || attempts().await.json()[0]["log_bytes"].is_u64();
    wait_for(has_log, "the log to be uploaded").await;
    let listed = attempts().await.exits(0).json();
    assert_eq!(
        (&listed[0]["at"], &listed[0]["attempt"]),
        (&serde_json::json!({"epoch": 1, "generation": 1}), &1.into()),
        "{listed}"
    );
    let table = place.fleetman(&["attempts", "n1/web", "--at", "1-1"]).await.exits(0).out;
    assert!(table.contains("succeeded"), "{table}");

    let key = "logs/n1/web/0001-0000000000000001-0001.log";
    let log = place.fleetman(&["bucket", "cat", key]).await.exits(0).out;
    assert!(!log.is_empty());
    for words in [&["--log"][..], &["--at", "1-1", "--log"], &["--at", "1-1", "--attempt", "1", "--log"]] {
        assert_eq!(place.fleetman(&[&["attempts", "n1/web"], words].concat()).await.exits(0).out, log, "{words:?}");
    }
    for words in [&["--at", "1-9"][..], &["--at", "1-9", "--log"], &["--at", "1-1", "--attempt", "7", "--log"]] {
        place.fleetman(&[&["attempts", "n1/web"], words].concat()).await.exits(4);
    }
    place.fleetman(&["attempts", "n1/web", "--attempt", "1"]).await.exits(2);
}
