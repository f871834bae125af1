//! Releases and overrides that are sent from a browser: they wait on the controller until what they would change was
//! looked at.

use std::path::PathBuf;

use fleetman::model::Sha256Digest;

use crate::support::cli::Workplace;
use crate::support::form::{Part, confirm_upload, encoded, fields, post, send_files, unescaped};
use crate::support::people;
use crate::support::serving::{Answer, Serving};
use crate::support::wait_for;

/// A portal over an empty bucket, and the place that it keeps uploads in.
async fn portal(more: &str) -> (Workplace, Serving) {
    let place = place(more).await;
    let serving = Serving::start(&place).await;
    serving.has_read().await;
    (place, serving)
}

/// A bucket with a manifest and a cell, and a config with something more in it.
async fn place(more: &str) -> Workplace {
    let place = Workplace::with_bucket().await;
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    place.write("controller_config.yaml", &format!("{config}{more}"));
    place.write("applied.yaml", "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n");
    place.fleetman(&["apply", "-f", "applied.yaml"]).await.exits(0);
    place
}

const FORM: &str = "text/html";
const LINES: &str = "application/x-ndjson";

fn upload<'p>(name: &'p str, files: &[Part<'p>]) -> Vec<Part<'p>> {
    let mut parts: Vec<Part<'p>> = vec![("manifest", None, b"site"), ("name", None, name.as_bytes())];
    parts.extend([("executables", None, &b"bin/*"[..]), ("note", None, b"a <note>")]);
    parts.extend_from_slice(files);
    parts
}

/// What lies where uploads arrive.
fn spooled(place: &Workplace) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(place.path().join("state/uploads"));
    folder.map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default()
}

/// Sends a release.
async fn send(serving: &Serving, name: &str, files: &[Part<'_>]) -> Answer {
    send_files(serving, "/deployments/new", FORM, &upload(name, files)).await
}

/// Where what was sent waits.
async fn waits(serving: &Serving, name: &str, files: &[Part<'_>]) -> String {
    send(serving, name, files).await.is(303).header("location").to_owned()
}

async fn releases(place: &Workplace) -> usize {
    place.fleetman(&["-o", "json", "get", "deployments"]).await.exits(0).json().as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_from_a_browser_is_looked_at_and_becomes_a_signed_release_with_the_digests_that_were_shown() {
    let (place, serving) = portal("").await;
    assert!(serving.get("/deployments/new?manifest=site").await.is(200).text().contains("webkitdirectory"));
    let large = vec![7_u8; 3 << 20];
    let files: [Part<'_>; 4] = [
        ("folder", Some("dist/index.html"), b"<h1>one</h1>"),
        ("folder", Some("dist/bin/run"), b"#!/bin/sh\n"),
        ("folder", Some("dist/data/large"), &large),
        ("files", Some(""), b""),
    ];
    let path = waits(&serving, "r1", &files).await;
    let page = serving.get(&path).await.is(200).text();
    for bytes in [&b"<h1>one</h1>"[..], b"#!/bin/sh\n", &large] {
        assert!(page.contains(&Sha256Digest::of(bytes).to_string()), "{page}");
    }
    assert!(
        page.contains("it is the first release") && page.contains("3 new, 0 changed, 0 gone, 0 the same"),
        "{page}"
    );
    assert!(page.contains("data/large") && page.contains("a &#60;note&#62;") && page.contains("0755"), "{page}");
    assert_eq!((releases(&place).await, spooled(&place).len()), (0, 1), "nothing is done before it is confirmed");
    assert!(serving.get("/deployments/new").await.text().contains(&path), "it can be found again");

    let form = fields(&page);
    let confirm = [("name", "r1"), ("seen", form["seen"].as_str()), ("reason", "the shop opens")];
    let answer = post(&serving, &path, &confirm).await.is(303);
    assert_eq!(answer.header("location"), "/deployments/site/r1?sent=3");
    let page = serving.get("/deployments/site/r1?sent=3").await.is(200).text();
    assert!(page.contains(&Sha256Digest::of(&large).to_string()) && page.contains("a &#60;note&#62;"), "{page}");
    let release = place.fleetman(&["-o", "json", "describe", "deployment", "site", "r1"]).await.exits(0).json();
    let file = |path: &str| {
        let files = release["file_list"].as_array().unwrap();
        files.iter().find(|file| file["path"] == path).unwrap_or_else(|| panic!("{path}: {release}"))["mode"].clone()
    };
    assert_eq!((file("bin/run"), file("index.html")), ("0755".into(), "0644".into()));
    let audit = place.fleetman(&["-o", "json", "audit", "--action", "upload"]).await.exits(0).out;
    assert!(audit.contains("the shop opens"), "{audit}");
    wait_for(async || spooled(&place).is_empty(), "what was spooled to be removed").await;
    post(&serving, &path, &confirm).await.is(410);
    assert!(serving.get("/deployments").await.is(200).text().contains("3.0 MiB"));

    // The same again is no work, by lines this time.
    let told = send_files(&serving, "/deployments/new", LINES, &upload("r1", &files)).await.is(200).text();
    let path = told.split('"').find(|part| part.starts_with("/uploads/")).unwrap().to_owned();
    let page = serving.get(&path).await.is(200).text();
    assert!(
        page.contains("has this content already") && page.contains("0 new, 0 changed, 0 gone, 3 the same"),
        "{page}"
    );
    let seen = format!("name=r1&seen={}", encoded(&fields(&page)["seen"]));
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let headers = [kind, ("accept", LINES), ("sec-fetch-site", "same-origin")];
    let told = serving.send("POST", &path, &headers, seen).await.is(200).text();
    assert!(told.lines().last().unwrap().contains("\"location\":\"/deployments/site/r1?sent=0\""), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_is_told_and_another_is_looked_at_without_sending_again() {
    let (place, serving) = portal("").await;
    let one: [Part<'_>; 2] = [("files", Some("index.html"), b"one"), ("files", Some("gone.html"), b"gone")];
    let sent = send(&serving, "r1", &one).await;
    confirm_upload(&serving, sent, "").await.is(303);
    let other: [Part<'_>; 1] = [("files", Some("index.html"), b"two")];
    let path = waits(&serving, "r1", &other).await;
    let page = serving.get(&path).await.is(200).text();
    assert!(page.contains("exists with other content") && page.contains("0 new, 1 changed, 1 gone"), "{page}");
    let seen = fields(&page)["seen"].clone();
    let refused = post(&serving, &path, &[("name", "r1"), ("seen", &seen)]).await.is(409).text();
    assert!(refused.contains("exists with other content (gone.html, index.html)"), "{refused}");

    let again = post(&serving, &path, &[("name", "r2"), ("seen", &seen)]).await.is(303);
    assert_eq!(again.header("location"), format!("{path}?name=r2"));
    let form = fields(&serving.get(again.header("location")).await.is(200).text());
    let done = post(&serving, &path, &[("name", "r2"), ("seen", &form["seen"])]).await.is(303);
    assert_eq!(done.header("location"), "/deployments/site/r2?sent=1");

    // Without a name it gets one, and a new name is in the list at once.
    let third: [Part<'_>; 1] = [("files", Some("index.html"), b"three")];
    let sent = send(&serving, "", &third).await;
    let answer = confirm_upload(&serving, sent, "").await.is(303);
    let path = answer.header("location").split('?').next().unwrap().to_owned();
    assert!(serving.get("/deployments").await.text().contains(&path));
    assert_eq!(releases(&place).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_uploaded_meanwhile_is_shown_beside_what_was_seen() {
    let (place, serving) = portal("").await;
    let mine: [Part<'_>; 1] = [("files", Some("index.html"), b"mine")];
    let path = waits(&serving, "r1", &mine).await;
    let seen = fields(&serving.get(&path).await.is(200).text())["seen"].clone();
    place.write("dist/index.html", "theirs");
    place.fleetman(&["upload", "site", "dist", "--as", "theirs"]).await.exits(0);

    let page = post(&serving, &path, &[("name", "r1"), ("seen", &seen), ("reason", "mine")]).await.is(409).text();
    let (_, sides) = page.split_once("What you saw").unwrap();
    let (then, now) = sides.split_once("What is there now").unwrap();
    assert!(then.contains("<dd>none</dd>") && now.contains("theirs, uploaded"), "{page}");
    assert!(page.contains("0 new, 1 changed") && fields(&page)["reason"] == "mine", "{page}");
    assert_eq!(releases(&place).await, 1);
    post(&serving, &path, &[("name", "r1"), ("seen", &fields(&page)["seen"])]).await.is(303);
    assert_eq!(releases(&place).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_belongs_to_its_sender_and_goes_when_it_is_discarded_or_the_controller_starts_anew() {
    let place = place("").await;
    people::admit(place.path(), &[(people::ADMIN, &["admin"]), ("eve", &["admin"])]);
    let serving = Serving::start(&place).await;
    serving.has_read().await;
    let files: [Part<'_>; 1] = [("files", Some("index.html"), b"one")];
    let mut paths = Vec::new();
    for number in 0..4 {
        paths.push(waits(&serving, &format!("r{number}"), &files).await);
    }
    let fifth = send(&serving, "r5", &files).await.is(409).text();
    assert!(fifth.contains("confirm or discard one of them first") && fifth.contains(&paths[3]), "{fifth}");
    wait_for(async || spooled(&place).len() == 4, "what was refused to be removed").await;

    let eve = Serving::start_for(&place, "eve").await;
    eve.has_read().await;
    for path in &paths {
        let page = eve.get(path).await.is(410).text();
        assert!(page.contains("another controller took it") && page.contains("Send the files again"), "{page}");
    }
    let seen = fields(&serving.get(&paths[0]).await.text())["seen"].clone();
    drop(eve);
    let cookie = serving.sign_in("eve").await;
    serving.get_in(&cookie, &paths[0]).await.is(410);
    let form = format!("name=r0&seen={}", encoded(&seen));
    serving.send_form_in(&cookie, &paths[0], &form).await.is(410);
    serving.send_form_in(&cookie, &format!("{}/discard", paths[0]), "").await.is(410);

    let discarded = post(&serving, &format!("{}/discard", paths[0]), &[]).await.is(303);
    assert_eq!(discarded.header("location"), "/deployments");
    wait_for(async || spooled(&place).len() == 3, "what was discarded to be removed").await;
    post(&serving, &paths[0], &[("name", "r0"), ("seen", &seen)]).await.is(410);

    let mut serving = serving;
    serving.child.kill().await.unwrap();
    assert_eq!(spooled(&place).len(), 3, "it was killed");
    let serving = Serving::start(&place).await;
    serving.has_read().await;
    assert!(spooled(&place).is_empty(), "what a dead process left is removed at the start");
    serving.get(&paths[1]).await.is(410);
    assert_eq!(releases(&place).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_upload_must_not_hold_is_named_all_at_once_and_nothing_of_it_is_kept() {
    let (place, serving) = portal("uploads: {file: 64KiB, release: 256KiB}\n").await;
    let send = async |files: &[Part<'_>]| send(&serving, "r1", files).await;
    let large = vec![0_u8; (64 << 10) + 1];
    let page = send(&[
        ("files", Some("../../etc/passwd"), b"x"),
        ("folder", Some("dist/../../x"), b"x"),
        ("files", Some("/etc/shadow"), b"x"),
        ("files", Some("a%22b"), b"x"),
        ("files", Some("README"), b"x"),
        ("files", Some("Readme"), b"x"),
        ("files", Some("much"), &large),
    ])
    .await
    .is(422);
    let page = unescaped(&page.text());
    for part in [
        "\"../../etc/passwd\" is not valid",
        "\"../../x\" is not valid",
        "it must be relative",
        "rename the file",
        "differ only in upper and lower case",
        "much has more than the 65536 bytes",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.contains("name=\"name\" value=\"r1\""), "what was typed is kept: {page}");

    let page = send(&[("files", Some("site.tar.gz"), b"x")]).await.is(422).text();
    assert!(page.contains("archives are not unpacked"), "{page}");
    let page = send(&[("files", Some(""), b"")]).await.is(422).text();
    assert!(page.contains("choose a folder or files"), "{page}");

    let half = vec![0_u8; 60 << 10];
    let many: Vec<(String, &[u8])> = (0..5).map(|number| (format!("f{number}"), half.as_slice())).collect();
    let parts: Vec<Part<'_>> = many.iter().map(|(name, bytes)| ("files", Some(name.as_str()), *bytes)).collect();
    let page = send(&parts).await.is(413).text();
    assert!(page.contains("more than 262144 bytes") && page.contains("uploads.release"), "{page}");

    let strange: [Part<'_>; 2] = [("manifest", None, b"No Name"), ("files", Some("a"), b"x")];
    send_files(&serving, "/deployments/new", FORM, &strange).await.is(400);
    let absent: [Part<'_>; 2] = [("manifest", None, b"absent"), ("files", Some("a"), b"x")];
    let page = send_files(&serving, "/deployments/new", FORM, &absent).await.is(422).text();
    assert!(page.contains("there is no manifest absent"), "{page}");
    let glob: [Part<'_>; 3] =
        [("manifest", None, b"site"), ("executables", None, b"bin/["), ("files", Some("a"), b"x")];
    let page = send_files(&serving, "/deployments/new", FORM, &glob).await.is(422).text();
    assert!(page.contains("is not a pattern"), "{page}");

    assert_eq!(releases(&place).await, 0);
    wait_for(async || spooled(&place).is_empty(), "what was spooled to be removed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_from_a_file_is_looked_at_beside_the_one_whose_place_it_takes() {
    let (place, serving) = portal("").await;
    let upload = "/cells/n1/web/overrides/upload?path=logo.png";
    let picture: &[u8] = b"\x89PNG\r\n\x1a\n\0\xff";
    let send = async |seen: &str, bytes: &[u8]| {
        let parts: [Part<'_>; 2] = [("seen", None, seen.as_bytes()), ("file", Some("../any name"), bytes)];
        send_files(&serving, upload, FORM, &parts).await
    };
    let waiting = send("", picture).await.is(303).header("location").to_owned();
    let page = serving.get(&waiting).await.is(200).text();
    assert!(page.contains("There is none.") && page.contains("It is no text"), "{page}");
    assert!(page.contains(&Sha256Digest::of(picture).to_string()), "{page}");
    serving.get("/cells/n1/web/overrides/raw?path=logo.png").await.is(404);
    let late = send("", b"other").await;
    let seen = fields(&page)["seen"].clone();
    let saved = post(&serving, &waiting, &[("seen", &seen), ("reason", "new")]).await.is(303);
    assert_eq!(saved.header("location"), "/cells/n1/web/overrides?saved=logo%2Epng");
    let audit = place.fleetman(&["-o", "json", "audit", "--action", "override-put"]).await.exits(0).out;
    assert!(audit.contains("\"new\""), "{audit}");
    wait_for(async || spooled(&place).len() == 1, "what was saved to be removed").await;

    // Sent when there was none, looked at when there is one.
    let waiting = late.header("location").to_owned();
    let page = serving.get(&waiting).await.is(200).text();
    assert!(page.contains("Somebody else changed it since") && page.contains("There was none."), "{page}");
    let page = post(&serving, &waiting, &[("seen", ""), ("reason", "late")]).await.is(409).text();
    assert!(page.contains("Somebody else changed it meanwhile") && fields(&page)["reason"] == "late", "{page}");
    assert!(page.contains("There was none.") && page.contains("What is there now"), "{page}");
    post(&serving, &format!("{waiting}/discard"), &[]).await.is(303);

    let none: [Part<'_>; 1] = [("file", Some(""), b"")];
    assert!(send_files(&serving, upload, FORM, &none).await.is(422).text().contains("no file was chosen"));
    let large = vec![0_u8; (8 << 20) + 1];
    let page = send("", &large).await.is(413).text();
    assert!(page.contains("put it into a release"), "{page}");
    wait_for(async || spooled(&place).is_empty(), "what is not taken to be removed").await;
    // What is no text is not offered as one.
    let page = serving.get("/cells/n1/web/overrides/edit?path=logo.png").await.is(200).text();
    assert!(page.contains("type=\"file\"") && page.contains("no text that can be edited"), "{page}");
    let raw = serving.get("/cells/n1/web/overrides/raw?path=logo.png").await.is(200);
    assert_eq!(raw.body, picture);
    assert_eq!(raw.header("content-type"), "application/octet-stream");
    assert_eq!(raw.header("content-disposition"), "attachment; filename=\"logo.png\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_is_sent_is_shown_line_by_line() {
    let (_place, serving) = portal("").await;
    let edit = "/cells/n1/web/overrides/edit?path=app.conf";
    post(&serving, edit, &[("text", "port=1\nhost=a\n"), ("etag", ""), ("step", "save")]).await.is(303);
    let upload = "/cells/n1/web/overrides/upload?path=app.conf";
    let seen = fields(&serving.get(upload).await.is(200).text())["seen"].clone();
    let parts: [Part<'_>; 2] = [("seen", None, seen.as_bytes()), ("file", Some("app.conf"), b"port=2\nhost=a\n")];
    let waiting = send_files(&serving, upload, FORM, &parts).await.is(303).header("location").to_owned();
    let page = serving.get(&waiting).await.is(200).text();
    assert!(page.contains("- port=1") && page.contains("+ port=2") && !page.contains("+ host=a"), "{page}");
    post(&serving, &waiting, &[("seen", &fields(&page)["seen"])]).await.is(303);
    assert!(serving.get(edit).await.text().contains("port=2"));
}
