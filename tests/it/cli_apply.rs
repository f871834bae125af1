//! Many documents as one change, and back out again: `apply`, `--prune`, `export`.

use serde_json::Value;

use crate::support::cli::{Ran, Workplace};

const SITE: &str = "# the shop\nname: site\nlabels: {team: shop}   # who owns it\nvars: {port: {default: 80}}\n\
                    profile: {deploy: {}}\n";

fn cell(name: &str) -> String {
    format!("# {name}\ncell: n1/{name}\nmanifest: site\n")
}

/// The objects of a report, each with what came of it.
fn objects(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let objects = report["objects"].as_array().unwrap_or_else(|| panic!("{report}"));
    objects.iter().map(|line| (text(&line["object"]), text(&line["how"]))).collect()
}

/// Every file below a folder, by its path in it.
fn tree(folder: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    let relative = |path: &std::path::Path| path.strip_prefix(folder).unwrap().display().to_string();
    files.map(|entry| (relative(entry.path()), std::fs::read(entry.path()).unwrap())).collect()
}

async fn apply(place: &Workplace, more: &[&str]) -> Ran {
    place.fleetman(&[&["-o", "json", "apply", "-f", "shop"], more].concat()).await
}

/// A folder as people keep it: a manifest, a cell with files of its own, and two cells in one file.
fn shop(place: &Workplace) {
    place.write("shop/site.yaml", SITE);
    place.write("shop/n1/web/cell.yaml", &format!("---\n{}", cell("web")));
    place.write("shop/n1/web/overrides/etc/app.conf", "a = 1\n");
    place.write("shop/n1/web/overrides/etc/deep/b.yaml", "no: [document");
    place.write("shop/rest.yml", &format!("{}---\n{}", cell("api"), cell("jobs")));
    place.write("shop/.git/c.yaml", "no: document\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_one_change_and_comes_back_out_byte_for_byte() {
    let place = Workplace::with_bucket().await;
    shop(&place);
    let dry = apply(&place, &["--dry-run"]).await.exits(1).json();
    assert_eq!((&dry["dry_run"], &dry["summary"]["created"]), (&true.into(), &6.into()), "{dry}");
    place.fleetman(&["bucket", "cat", "manifests/site/manifest.yaml"]).await.exits(4);

    let done = objects(&apply(&place, &[]).await.exits(0).json());
    let names: Vec<&str> = done.iter().map(|(object, _)| object.as_str()).collect();
    let in_order = [
        "manifests/site/manifest.yaml",
        "cells/n1/api/cell.yaml",
        "cells/n1/jobs/cell.yaml",
        "cells/n1/web/overrides/etc/app.conf",
        "cells/n1/web/overrides/etc/deep/b.yaml",
        "cells/n1/web/cell.yaml",
    ];
    assert_eq!(names, in_order, "nothing names what is not there yet");
    assert!(done.iter().all(|(_, how)| how == "created"), "{done:?}");
    let again = apply(&place, &[]).await.exits(0).json();
    assert_eq!((&again["summary"]["unchanged"], objects(&again).len()), (&6.into(), 6), "{again}");
    apply(&place, &["--dry-run"]).await.exits(0);

    let said = place.fleetman(&["export", "--all", "out"]).await.exits(0).out;
    assert!(said.contains("1 manifests, 3 cells, 2 overrides"), "{said}");
    let out = tree(&place.path().join("out"));
    let text = |path: &str| out.iter().find(|(found, _)| found == path).map(|(_, bytes)| bytes.as_slice()).unwrap();
    assert_eq!(text("manifests/site/manifest.yaml"), SITE.as_bytes());
    assert_eq!(text("cells/n1/web/cell.yaml"), format!("---\n{}", cell("web")).as_bytes(), "with its marker");
    assert_eq!(text("cells/n1/jobs/cell.yaml"), cell("jobs").as_bytes());
    assert_eq!(text("cells/n1/web/overrides/etc/deep/b.yaml"), b"no: [document");
    assert_eq!(out.len(), 6);

    let same = place.fleetman(&["-o", "json", "apply", "-f", "out"]).await.exits(0).json();
    assert_eq!(same["summary"]["unchanged"], 6, "{same}");
    let other = Workplace::with_bucket().await;
    let from = place.path().join("out").display().to_string();
    other.fleetman(&["apply", "-f", &from]).await.exits(0);
    other.fleetman(&["export", "--all", "out"]).await.exits(0);
    assert_eq!(tree(&other.path().join("out")), out);
    place.fleetman(&["export", "--all", "out"]).await.exits(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_alone_are_exported_as_one_where_that_loses_nothing() {
    let place = Workplace::with_bucket().await;
    shop(&place);
    apply(&place, &[]).await.exits(0);
    let stream = place.fleetman(&["export", "--manifest", "site", "--cell", "n1/api"]).await.exits(0).out;
    assert_eq!(stream, format!("{SITE}---\n{}", cell("api")));
    let same = place.fleetman_fed(&["-o", "json", "apply", "-f", "-"], &stream).await.exits(0).json();
    assert_eq!(same["summary"]["unchanged"], 2, "{same}");
    let refused = place.fleetman(&["export", "--cell", "n1/web"]).await.exits(2).err;
    assert!(refused.contains("etc/app.conf") && refused.contains("name a folder"), "{refused}");
    place.fleetman(&["override", "rm", "n1/web", "etc/app.conf", "-y"]).await.exits(0);
    place.fleetman(&["override", "rm", "n1/web", "etc/deep/b.yaml", "-y"]).await.exits(0);
    let refused = place.fleetman(&["export", "--all"]).await.exits(2).err;
    assert!(refused.contains("would not be what they are"), "{refused}");
    place.fleetman(&["export", "--cell", "n1/none"]).await.exits(4);
    place.fleetman(&["export"]).await.exits(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_does_not_fit_is_told_with_its_place_before_the_first_write() {
    let place = Workplace::with_bucket().await;
    shop(&place);
    place.write("shop/z.yaml", "cell: n2/web\nmanifest: sight\n---\ncell: n2/api\nmanifest: site\nvars: {prot: 1}\n");
    let refused = apply(&place, &[]).await.exits(2).error();
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("z.yaml:2:11") && message.contains("z.yaml:6:8"), "{message}");
    place.write("shop/z.yaml", &cell("web"));
    let refused = apply(&place, &[]).await.exits(2).error();
    assert!(refused["message"].as_str().unwrap().contains("z.yaml:2:7: cell: it is there twice"), "{refused}");
    std::fs::remove_file(place.path().join("shop/z.yaml")).unwrap();
    place.write("shop/n1/web/cell.yaml", &format!("{}---\n{}", cell("web"), cell("web2")));
    let refused = apply(&place, &[]).await.exits(2).error();
    assert!(refused["message"].as_str().unwrap().contains("must hold one cell"), "{refused}");
    place.fleetman(&["bucket", "cat", "manifests/site/manifest.yaml"]).await.exits(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_carries_the_labels_is_pruned_and_not_more_than_is_allowed() {
    let place = Workplace::with_bucket().await;
    shop(&place);
    place.write("shop/old.yaml", &SITE.replace("site", "old"));
    place.write("other.yaml", "name: other\nprofile: {deploy: {}}\n---\ncell: n1/other\nmanifest: other\n");
    apply(&place, &[]).await.exits(0);
    place.fleetman(&["apply", "-f", "other.yaml"]).await.exits(0);
    place.write("r1/index.html", "r1");
    place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    place.fleetman(&["publish", "n1/jobs", "--yes"]).await.exits(0);

    std::fs::remove_file(place.path().join("shop/old.yaml")).unwrap();
    std::fs::remove_file(place.path().join("shop/rest.yml")).unwrap();
    std::fs::remove_file(place.path().join("shop/n1/web/overrides/etc/app.conf")).unwrap();
    let prune = ["--prune", "-l", "team=shop"];
    apply(&place, &["--prune"]).await.exits(2);
    let refused = apply(&place, &["--prune", "-l", "team=other", "-y"]).await.exits(2).error();
    assert!(refused["message"].as_str().unwrap().contains("site.yaml:3"), "{refused}");
    let refused = apply(&place, &[&prune[..], &["-y", "--prune-max", "2"]].concat()).await.exits(3).error();
    assert_eq!(refused["code"], "too_much_pruned");
    let refused = apply(&place, &[&prune[..], &["-y", "--prune-max-share", "20"]].concat()).await.exits(3).error();
    assert!(refused["message"].as_str().unwrap().contains("3 of 7"), "{refused}");
    let unasked = apply(&place, &prune).await.exits(2);
    assert!(unasked.err.contains("delete cells/n1/api/cell.yaml"), "{}", unasked.err);

    let report = apply(&place, &[&prune[..], &["-y"]].concat()).await.exits(8).json();
    let pruned: Vec<(String, String)> =
        objects(&report).into_iter().filter(|(_, how)| how == "pruned" || how == "refused").collect();
    let expected = [
        ("cells/n1/web/overrides/etc/app.conf", "pruned"),
        ("cells/n1/api/cell.yaml", "pruned"),
        ("manifests/old/manifest.yaml", "pruned"),
        ("cells/n1/jobs/cell.yaml", "refused"),
    ];
    assert_eq!(pruned, expected.map(|(object, how)| (object.to_owned(), how.to_owned())));
    let why = report["objects"].as_array().unwrap().last().unwrap()["why"].as_str().unwrap();
    assert!(why.contains("newest trigger says deploy"), "{why}");
    place.fleetman(&["bucket", "cat", "cells/n1/other/cell.yaml"]).await.exits(0);

    let removing = apply(&place, &[&prune[..], &["-y", "--remove-running"]].concat()).await.exits(0).json();
    assert_eq!(removing["summary"]["removing"], 1, "{removing}");
    let history = place.fleetman(&["-o", "json", "history", "n1/jobs"]).await.exits(0).out;
    assert!(history.contains("\"remove\""), "{history}");
    let last = apply(&place, &[&prune[..], &["-y", "--reason", "tidy"]].concat()).await.exits(0).json();
    assert_eq!(last["summary"]["pruned"], 1, "its node never had it: {last}");
    let audit = place.fleetman(&["-o", "json", "audit"]).await.exits(0).out;
    assert!(audit.contains("tidy"), "{audit}");
    assert_eq!(apply(&place, &[&prune[..], &["-y"]].concat()).await.exits(0).json()["summary"]["pruned"], 0);
}
