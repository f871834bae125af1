//! Writing manifests, cells and their files by the forms of the portal.

use fleetman::model::Sha256Digest;

use crate::support::cli::Workplace;
use crate::support::form::{Part, check, fields, post, send_files};
use crate::support::people;
use crate::support::serving::Serving;
use crate::support::wait_for;

const SITE: &str = "name: site\nprofile: {deploy: {}}\n";

/// A portal over an empty bucket, and the place that it keeps uploads in.
async fn portal(more: &str) -> (Workplace, Serving) {
    let place = Workplace::with_bucket().await;
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    place.write("controller_config.yaml", &format!("{config}{more}"));
    let serving = Serving::start(&place).await;
    serving.has_read().await;
    (place, serving)
}

async fn apply(place: &Workplace, text: &str) {
    place.write("applied.yaml", text);
    place.fleetman(&["apply", "-f", "applied.yaml"]).await.exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_with_a_mistake_is_refused_at_its_line_and_saved_once_it_is_mended() {
    let (place, serving) = portal("").await;
    let begun = fields(&serving.get("/manifests/new").await.is(200).text());
    assert!(begun["text"].starts_with("# ") && begun["etag"].is_empty(), "{begun:?}");

    let wrong = "name: site\n# \"<b>&\nprofiel: {deploy: {}}\n";
    let answer = post(&serving, "/manifests/new", &[("text", wrong), ("step", "preview"), ("reason", "why")]).await;
    let page = answer.is(422).text();
    assert!(page.contains("href=\"#line-3\"") && page.contains("<tr id=\"line-3\" class=\"wrong\">"), "{page}");
    assert_eq!((fields(&page)["text"].as_str(), fields(&page)["reason"].as_str()), (wrong, "why"));
    let found = check(&serving, "/manifests/new/check", wrong).await.is(200).json();
    assert_eq!((found[0]["line"].as_u64(), found[0]["severity"].as_str()), (Some(3), Some("error")), "{found}");

    let review = post(&serving, "/manifests/new", &[("text", SITE), ("step", "preview"), ("reason", "why")]).await;
    let review = fields(&review.is(200).text());
    assert_eq!((review["text"].as_str(), review["reason"].as_str()), (SITE, "why"));
    assert!(place.fleetman(&["-o", "json", "get", "manifests"]).await.exits(0).json().as_array().unwrap().is_empty());
    let back = post(&serving, "/manifests/new", &[("text", SITE), ("step", "edit")]).await.is(200).text();
    assert!(fields(&back)["text"] == SITE && back.contains("data-unsaved"), "{back}");

    let saved = post(&serving, "/manifests/new", &[("text", SITE), ("step", "save"), ("reason", "why")]).await;
    assert_eq!(saved.is(303).header("location"), "/manifests/site");
    let shown = serving.get("/manifests/site").await.is(200).text();
    assert!(shown.contains("profile: {deploy: {}}") && shown.contains("No cell uses it yet"), "{shown}");
    assert!(serving.get("/manifests").await.is(200).text().contains(">site</a>"));

    let other = "name: site\nprofile: {deploy: {user: other}}\n";
    let again = post(&serving, "/manifests/new", &[("text", other), ("step", "save")]).await.is(409).text();
    assert!(again.contains("manifest site exists") && fields(&again)["text"] == other, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_came_second_is_shown_beside_the_first_and_nothing_of_it_is_lost() {
    let (place, serving) = portal("").await;
    apply(&place, SITE).await;
    let path = "/manifests/site/edit";
    let etag = fields(&serving.get(path).await.is(200).text())["etag"].clone();
    let edit = async |text: &str, etag: &str, step: &str| {
        post(&serving, path, &[("text", text), ("etag", etag), ("step", step)]).await
    };
    let mine = "name: site\n# mine\nprofile: {deploy: {}}\n";
    let review = edit(mine, &etag, "preview").await.is(200).text();
    assert!(review.contains("+ # mine"), "{review}");

    // Somebody else is faster, between the review and the button.
    apply(&place, "name: site\n# theirs\nprofile: {deploy: {}}\n").await;
    for step in ["save", "preview"] {
        let page = edit(mine, &etag, step).await.is(409).text();
        assert!(page.contains("# theirs") && page.contains("+ # mine"), "{page}");
        assert_eq!(fields(&page)["text"], mine);
        assert_ne!(fields(&page)["etag"], etag, "who saw both may go on");
    }
    // What both began with is known to the form: each edit is shown by itself, and both together.
    let base = [("text", mine), ("etag", &etag), ("base", SITE), ("reason", "mine"), ("step", "save")];
    let page = post(&serving, path, &base).await.is(409).text();
    assert!(page.contains("It was root (cli)") || page.contains("(cli), <time"), "{page}");
    let (theirs, mine_only) = page.split_once("What you changed").unwrap();
    assert!(theirs.contains("+ # theirs") && !theirs.contains("+ # mine"), "{page}");
    assert!(mine_only.contains("Both change the same lines"), "{page}");
    let lower = "name: site\nprofile: {deploy: {}}\n# below\n";
    let base = [("text", lower), ("etag", &etag), ("base", SITE), ("reason", "mine"), ("step", "save")];
    let page = post(&serving, path, &base).await.is(409).text();
    let (_, both) = page.split_once("<form id=\"both\"").unwrap_or_else(|| panic!("{page}"));
    let both = fields(&format!("<form method=\"post\"{both}"));
    assert_eq!(both["text"], "name: site\n# theirs\nprofile: {deploy: {}}\n# below\n");
    let review =
        [("text", both["text"].as_str()), ("etag", &both["etag"]), ("base", &both["base"]), ("step", "preview")];
    let review = post(&serving, path, &review).await.is(200).text();
    assert!(review.contains("+ # below") && !review.contains("+ # theirs"), "{review}");

    let now = fields(&edit(mine, &etag, "save").await.is(409).text())["etag"].clone();
    assert_eq!(edit(mine, &now, "save").await.is(303).header("location"), "/manifests/site");
    assert!(serving.get("/manifests/site").await.text().contains("# mine"));

    // It was deleted meanwhile.
    let etag = fields(&serving.get(path).await.text())["etag"].clone();
    place.fleetman(&["delete", "manifest", "site", "-y"]).await.exits(0);
    let page = edit("name: site\nprofile: {deploy: {}}\n# late\n", &etag, "save").await.is(409).text();
    assert!(page.contains("it was deleted") && fields(&page)["text"].contains("# late"), "{page}");
    assert!(fields(&page)["etag"].is_empty());
    serving.get(path).await.is(404);

    let renamed = edit("name: other\nprofile: {deploy: {}}\n", "", "save").await.is(422).text();
    assert!(renamed.contains("this is the text of manifest `site`"), "{renamed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_typed_outlives_an_outage_of_the_bucket() {
    let (mut place, serving) = portal("").await;
    apply(&place, SITE).await;
    let etag = fields(&serving.get("/manifests/site/edit").await.is(200).text())["etag"].clone();
    place.store().stop().await;
    let mine = "name: site\n# typed for an hour\nprofile: {deploy: {}}\n";
    for step in ["preview", "save"] {
        let answer = post(&serving, "/manifests/site/edit", &[("text", mine), ("etag", &etag), ("step", step)]).await;
        let page = answer.is(503).text();
        assert_eq!((fields(&page)["text"].as_str(), &fields(&page)["etag"]), (mine, &etag));
        assert!(page.contains("Nothing was saved"), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_come_back_byte_for_byte() {
    let (place, serving) = portal("").await;
    let hostile = "\n# </textarea><script>alert(1)</script> & &amp; \u{202e} ü 🚀\nname: site\nprofile: {deploy: {}}";
    apply(&place, hostile).await;
    let page = serving.get("/manifests/site/edit").await.is(200).text();
    let form = fields(&page);
    assert_eq!(form["text"], hostile);
    assert!(!page.contains("<script>alert"), "{page}");
    let edited = format!("{hostile}\n# more");
    let sent = [("text", edited.as_str()), ("etag", &form["etag"]), ("step", "preview")];
    let review = post(&serving, "/manifests/site/edit", &sent).await.is(200).text();
    let reviewed = fields(&review);
    assert_eq!(reviewed["text"], edited);
    assert!(!review.contains("<script>alert"), "{review}");
    let sent = [("text", reviewed["text"].as_str()), ("etag", &reviewed["etag"]), ("step", "save")];
    post(&serving, "/manifests/site/edit", &sent).await.is(303);
    let kept = place.fleetman(&["bucket", "cat", "manifests/site/manifest.yaml"]).await.exits(0).out;
    assert_eq!(kept, edited);

    let dos = "name: dos\r\nprofile: {deploy: {}}\r\n";
    apply(&place, dos).await;
    let etag = fields(&serving.get("/manifests/dos/edit").await.text())["etag"].clone();
    let edited = "name: dos\nprofile: {deploy: {}}\n# end\n";
    let sent = [("text", edited), ("etag", &etag), ("step", "save")];
    post(&serving, "/manifests/dos/edit", &sent).await.is(303);
    let kept = place.fleetman(&["bucket", "cat", "manifests/dos/manifest.yaml"]).await.exits(0).out;
    assert_eq!(kept, "name: dos\r\nprofile: {deploy: {}}\r\n# end\r\n", "each line ends as it did");
}

/// What the form at `path` says that it is about.
async fn seen(serving: &Serving, path: &str) -> String {
    fields(&serving.get(path).await.is(200).text())["seen"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_used_is_not_deleted_and_one_that_is_not_only_by_its_name() {
    let (place, serving) = portal("").await;
    apply(&place, &format!("{SITE}---\ncell: n1/web\nmanifest: site\n")).await;
    wait_for(
        async || serving.get("/manifests/site").await.text().contains("/cells/n1/web/publish"),
        "the cell to be seen as a user",
    )
    .await;
    let seen = seen(&serving, "/manifests/site/delete").await;
    let form = [("name", "site"), ("reason", "old"), ("seen", &*seen)];
    let used = post(&serving, "/manifests/site/delete", &form).await.is(409).text();
    assert!(used.contains("cell n1/web is made from it") && fields(&used)["reason"] == "old", "{used}");
    apply(&place, "name: spare\nprofile: {deploy: {}}\n").await;
    post(&serving, "/manifests/spare/delete", &[("name", "site")]).await.is(422);
    let path = "/manifests/spare/delete";
    let before = self::seen(&serving, path).await;
    apply(&place, "name: spare\nprofile: {deploy: {}}\ndescription: Needed after all\n").await;
    let late = post(&serving, path, &[("name", "spare"), ("seen", &before), ("reason", "unused")]).await.is(409).text();
    assert!(late.contains("What you saw") && late.contains("What is there now"), "{late}");
    let now = fields(&late);
    assert!(now["seen"] != before && now["reason"] == "unused", "{late}");
    post(&serving, path, &[("name", "spare")]).await.is(409);
    let gone = post(&serving, path, &[("name", "spare"), ("seen", &now["seen"])]).await;
    assert_eq!(gone.is(303).header("location"), "/manifests");
    serving.get("/manifests/spare").await.is(404);
    serving.get("/manifests/Not-A-Name").await.is(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_are_made_on_several_nodes_at_once_and_edited() {
    let (place, serving) = portal("").await;
    apply(&place, "name: site\nvars:\n  title: {description: What it says}\n  tone: kind\nprofile: {deploy: {}}\n")
        .await;
    let begun = fields(&serving.get("/cells/new?manifest=site").await.is(200).text());
    assert_eq!((begun["manifest"].as_str(), begun["cell"].as_str()), ("site", "site"));
    assert_eq!(begun["settings"], "vars:\n  title: # What it says\n  # tone:\n");

    let new = async |nodes: &str, settings: &str, step: &str| {
        let sent = [("manifest", "site"), ("cell", "web"), ("nodes", nodes), ("settings", settings), ("step", step)];
        post(&serving, "/cells/new", &sent).await
    };
    let page = new("n1 n2", &begun["settings"], "preview").await.is(422).text();
    assert!(page.contains("data-line=\"2\"") && fields(&page)["nodes"] == "n1 n2", "a value is missing: {page}");
    assert!(new("", "", "save").await.is(422).text().contains("choose at least one node"));
    new("N1", "", "save").await.is(400);
    let settings = "vars:\n  title: Hello\n";
    let review = new("n1 n2", settings, "preview").await.is(200).text();
    assert!(review.contains("n1/web") && review.contains("n2/web") && review.contains("title: Hello"), "{review}");
    assert_eq!(new("n1 n2", settings, "save").await.is(303).header("location"), "/cells?q=web");
    let partly = new("n2 n3", settings, "save").await.is(409).text();
    assert!(partly.contains("there is one already") && partly.contains("n3/web</a>: made"), "{partly}");
    assert_eq!(new("n4", settings, "save").await.is(303).header("location"), "/cells/n4/web");

    let path = "/cells/n1/web/yaml";
    let form = fields(&serving.get(path).await.is(200).text());
    assert_eq!(form["text"], "cell: n1/web\nmanifest: site\nvars:\n  title: Hello\n");
    let edit = async |text: &str, etag: &str, step: &str| {
        post(&serving, path, &[("text", text), ("etag", etag), ("step", step)]).await
    };
    let warned = check(&serving, "/cells/n1/web/yaml/check", "cell: n1/web\nmanifest: site\nvars: {titel: x}\n").await;
    let warned = warned.is(200).json();
    assert!(warned.as_array().unwrap().iter().all(|one| one["severity"] == "warning"), "{warned}");
    let other = edit("cell: n2/web\nmanifest: site\n", &form["etag"], "preview").await.is(422).text();
    assert!(other.contains("this is the text of cell `n1/web`"), "{other}");
    let mine = "cell: n1/web\nmanifest: site\nvars:\n  title: Bye\n";
    edit(mine, &form["etag"], "preview").await.is(200);
    assert_eq!(edit(mine, &form["etag"], "save").await.is(303).header("location"), "/cells/n1/web");
    let late = edit("cell: n1/web\nmanifest: site\n# late\n", &form["etag"], "save").await.is(409).text();
    assert!(late.contains("title: Bye") && fields(&late)["text"].contains("# late"), "{late}");
    serving.get("/cells/n9/web/yaml").await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_change_something_is_told_what_it_takes() {
    let place = Workplace::with_bucket().await;
    apply(&place, &format!("{SITE}---\ncell: n1/web\nmanifest: site\n---\ncell: n2/web\nmanifest: site\n")).await;
    people::admit(place.path(), &[("ed", &["editor:n1/*"])]);
    let serving = Serving::start_for(&place, "ed").await;
    serving.has_read().await;

    let page = serving.get("/manifests/site").await.is(200).text();
    assert!(page.contains("It cannot be changed: ed lacks the role editor on other cells"), "{page}");
    serving.get("/manifests/site/edit").await.is(403);
    let mine = "name: site\n# mine\nprofile: {deploy: {}}\n";
    let sent = [("text", mine), ("etag", "\"any\""), ("step", "save")];
    let page = post(&serving, "/manifests/site/edit", &sent).await.is(403).text();
    assert!(page.contains("ed lacks the role editor on other cells"), "{page}");
    let release: [Part<'_>; 3] =
        [("manifest", None, b"site"), ("name", None, b"r1"), ("files", Some("index.html"), b"one")];
    let page = send_files(&serving, "/deployments/new", "text/html", &release).await.is(403).text();
    assert!(page.contains("lacks the role editor") && page.contains("value=\"r1\""), "{page}");
    post(&serving, "/manifests/site/delete", &[("name", "site")]).await.is(403);

    serving.get("/cells/n1/web/yaml").await.is(200);
    serving.get("/cells/n2/web/yaml").await.is(403);
    serving.get("/cells/n2/web/overrides/raw?path=a").await.is(403);
    let sent = [("text", "x"), ("step", "save")];
    post(&serving, "/cells/n2/web/overrides/edit?path=a", &sent).await.is(403);
    let asked = [("manifest", "site"), ("cell", "api"), ("nodes", "n1 n2"), ("step", "save")];
    let page = post(&serving, "/cells/new", &asked).await.is(409).text();
    assert!(page.contains("n1/api</a>: made") && page.contains("it takes the role editor on it"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn overrides_are_written_and_deleted_as_they_were_seen() {
    let (place, serving) = portal("").await;
    apply(&place, &format!("{SITE}---\ncell: n1/web\nmanifest: site\n")).await;
    let edit = "/cells/n1/web/overrides/edit?path=etc%2Fapp.conf";
    let begun = fields(&serving.get(edit).await.is(200).text());
    assert!(begun["text"].is_empty() && begun["etag"].is_empty());
    let write = async |text: &str, etag: &str, step: &str| {
        post(&serving, edit, &[("text", text), ("etag", etag), ("step", step)]).await
    };
    assert!(write("port=1\n", "", "preview").await.is(200).text().contains("+ port=1"));
    let saved = write("port=1\n", "", "save").await.is(303);
    assert_eq!(saved.header("location"), "/cells/n1/web/overrides?saved=etc%2Fapp%2Econf");
    let list = serving.get("/cells/n1/web/overrides?saved=etc%2Fapp.conf").await.is(200).text();
    assert!(list.contains("not published yet") && list.contains("/cells/n1/web/publish"), "{list}");
    let fitting = |asked: &'static str| {
        let serving = &serving;
        async move { serving.get(asked).await.is(200).text().contains("n1/web") }
    };
    wait_for(async || fitting("/cells?overrides=yes&cols=overrides").await, "a cell with a file of its own").await;
    assert!(fitting("/api/v1/cells?has_overrides=true").await && !fitting("/api/v1/cells?has_overrides=false").await);
    assert!(!fitting("/cells?overrides=no&cols=overrides").await);
    assert!(serving.get("/cells?cols=overrides").await.is(200).text().contains("<td>yes</td>"));
    assert!(serving.get("/cells.csv").await.is(200).text().contains(",has_overrides\r\n"));
    assert!(place.fleetman(&["get", "cells", "--overrides", "yes"]).await.exits(0).out.contains("n1/web"));
    assert!(!place.fleetman(&["get", "cells", "--overrides", "no"]).await.exits(0).out.contains("n1/web"));
    // Somebody else had begun when there was none.
    let late = write("port=2\n", "", "save").await.is(409).text();
    assert!(late.contains("port=1") && fields(&late)["text"] == "port=2\n", "{late}");

    let delete = "/cells/n1/web/overrides/delete?path=etc%2Fapp.conf";
    let seen = fields(&serving.get(delete).await.is(200).text())["seen"].clone();
    place.write("app.conf", "port=3\n");
    place.fleetman(&["override", "put", "n1/web", "etc/app.conf", "app.conf"]).await.exits(0);
    let page = post(&serving, delete, &[("seen", &seen), ("reason", "old")]).await.is(409).text();
    assert!(page.contains("changed meanwhile") && page.contains("port=3"), "{page}");
    let (then, now) = page.split_once("What is there now").unwrap();
    for (side, bytes, source) in [(then, "port=1\n", "portal"), (now, "port=3\n", "cli")] {
        assert!(side.contains(&Sha256Digest::of(bytes.as_bytes()).to_string()), "{page}");
        assert!(side.contains(&format!("({source})")) && side.contains("7 B"), "{page}");
    }
    assert_eq!(fields(&page)["reason"], "old");
    let seen = fields(&page)["seen"].clone();
    post(&serving, delete, &[("seen", &seen)]).await.is(303);
    post(&serving, delete, &[("seen", &seen)]).await.is(404);

    for path in ["..%2F..%2Ftrigger.json", "%2Fetc%2Fpasswd", "a%5Cb", "a%0Ab", "a%2F%2Fb"] {
        for page in ["edit", "upload", "raw", "delete"] {
            serving.get(&format!("/cells/n1/web/overrides/{page}?path={path}")).await.is(400);
        }
        post(&serving, &format!("/cells/n1/web/overrides/edit?path={path}"), &[("step", "save")]).await.is(400);
    }
    assert!(serving.get("/cells/n1/web/overrides/edit").await.is(200).text().contains("name=\"path\""));
    serving.get("/cells/n9/web/overrides/edit?path=a").await.is(404);
}
