//! The pages of one cell, as the server answers them to somebody without scripts.

use fleetman::model::{CellId, ObjectKey};

use crate::portal_pages::look_at;
use crate::support::acme::Acme;
use crate::support::cli::Workplace;
use crate::support::portal::Portal;

async fn served(acme: &Acme) -> Portal {
    let place = Workplace::empty();
    acme.configure(place.path());
    Portal::start(place).await
}

/// The words of a page, without its markup, one space between two.
fn words(page: &str) -> String {
    let mut text = String::new();
    for piece in page.split('<') {
        text.push_str(piece.split_once('>').map_or(piece, |(_, after)| after));
        text.push(' ');
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Sees that each of these stands on the page.
fn sees(page: &str, parts: &[&str]) {
    let words = words(page);
    for part in parts {
        assert!(words.contains(part), "{part:?} is not in: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_whose_past_is_forged_shows_its_versions_and_why_nobody_knows_which_is_desired() {
    let acme = Acme::full().await;
    let cell: CellId = "par-1/site".parse().unwrap();
    for entry in acme.controller().history(&cell, 10).await.unwrap() {
        let key = ObjectKey::History(cell.clone(), entry.at).to_string();
        acme.put(&key, "{\"signed\": {}, \"signatures\": []}").await;
    }
    for copy in ["cells/par-1/site/trigger.json", "index/par-1.json"] {
        acme.put(copy, "{}").await;
    }
    let portal = served(&acme).await;
    let why = "nothing that was asked of the cell is believed: cells/par-1/site/history/";
    sees(&portal.get("/cells/par-1/site/versions").await, &[why, "none of its signatures"]);
    sees(&portal.get("/cells/par-1/site").await, &["What the bucket says of it is not believed"]);
    sees(&portal.get("/cells/par-1/site/history").await, &["none of its signatures"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_failed_says_what_is_desired_what_runs_and_why_first() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let status = portal.get("/cells/ber-1/api").await;
    sees(
        &status,
        &[
            "Sync OutOfSync",
            "Desired 1.4.2 Running 1.4.1",
            "unhealthy",
            "main ended with exit code 3, three times in 9 s",
            "verified",
            "The whole log of attempt 1 at generation 2",
            "Phase Failed, and rolled back",
            "What differs from what runs",
            "Delete: the cell has to be removed from its node first",
        ],
    );
    assert!(
        status.contains("href=\"/cells/ber-1/api/diff?from=1.4.1&#38;to=1.4.2\"")
            || status.contains("/cells/ber-1/api/diff?from=1.4.1&amp;to=1.4.2")
    );
    assert!(
        status.contains("href=\"/cells/ber-1/api/publish\"") && !status.contains("href=\"/cells/ber-1/api/delete\"")
    );

    assert!(!status.contains("last seen"), "its node was heard of a moment ago");
    let waiting = portal.get("/cells/par-1/api").await;
    sees(&waiting, &["secret_missing", "/etc/api/token is not there", "Failed", "it cannot be started"]);
    let dead = portal.get("/cells/osl-1/site").await;
    sees(&dead, &["Sync Unknown", "Health Unknown", "(last seen N/A", "osl-1 Dead"]);
    let paused = portal.get("/cells/par-2/api").await;
    sees(&paused, &["Paused: the database moves on Sunday", "Publish, Redeploy, Roll back: the cell is paused"]);
    assert!(paused.contains("href=\"/cells/par-2/api/resume\""));
    for absent in ["/cells/ber-1/none", "/cells/ber-1/none/history", "/cells/ber-1/api/versions/9", "/cells/x/y/diff"] {
        assert_eq!(portal.answer(absent).await.0, 404, "{absent}");
    }
    assert_eq!(portal.answer("/cells/ber-1/Not%20A%20Name/log").await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_can_be_looked_at_compared_and_gone_back_to() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let versions = portal.get("/cells/ams-1/site/versions").await;
    sees(&versions, &["2 of 2 versions", "Verified by history", "desired running known good", "Roll back to this"]);
    assert!(versions.contains("href=\"/cells/ams-1/site/rollback?to=r1\""), "to the other one");
    assert!(!versions.contains("rollback?to=r2"), "it is there already");
    let chosen = |side: &str, name: &str| {
        format!("name=\"{side}\" value=\"{name}\" aria-label=\"Compare {side} {name}\" checked")
    };
    assert!(versions.contains(&chosen("from", "r1")) && versions.contains(&chosen("to", "r2")), "{versions}");

    let diff = portal.get("/cells/ams-1/site/diff?from=r1&to=r2").await;
    sees(&diff, &["+ banner.html added", "+ &#60;p&#62;Open until eight", "~ index.html changed", "deployment r1 r2"]);
    assert!(diff.contains("<del>- &#60;h1&#62;Welcome&#60;/h1&#62;</del>"), "{diff}");
    assert!(diff.contains("<ins>+ &#60;h1&#62;Welcome!&#60;/h1&#62;</ins>"));
    let now = portal.get("/cells/ams-1/site/diff").await;
    sees(&now, &["From: r2", "To: the inputs as they are now", "Nothing differs."]);
    let gone = portal.get("/cells/ams-1/site/diff?from=r9&to=now").await;
    sees(&gone, &["version r9: there is none"]);
    assert!(gone.contains("<select name=\"from\">"), "others can be chosen");
    assert_eq!(portal.answer("/cells/ams-1/site/diff?from=%3Cb%3E").await.0, 400);

    let version = portal.get("/cells/ams-1/site/versions/r2").await;
    sees(
        &version,
        &["Generation 2 names exactly these bytes", "banner.html 20 B 0644 override", "profile.kind deploy"],
    );
    let file = portal.get("/cells/ams-1/site/versions/r2/file?path=banner.html").await;
    sees(&file, &["Of version r2", "&#60;p&#62;Open until eight"]);
    assert_eq!(portal.answer("/cells/ams-1/site/versions/r2/file?path=none").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_into_the_bucket_by_others_is_shown_as_what_it_is() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    sees(&portal.get("/cells/ams-1/site/versions/r1").await, &["Verified by history"]);
    let r2 = portal.get("/buckets/object/raw?key=cells/ams-1/site/versions/r2/manifest.json").await;
    let planted = r2.replace("\"version\": \"r2\"", "\"version\": \"r7\"");
    acme.put("cells/ams-1/site/versions/r7/manifest.json", planted).await;
    acme.put("cells/ams-1/site/versions/r1/manifest.json", "{\"schema\": \"<script>alert(1)</script>\"}").await;
    acme.put("cells/ams-1/site/overrides/<img src=x>.html", "a").await;
    acme.put("cells/ams-1/site/history/0001-0000000000000003.json", "<script>alert(2)</script>").await;
    acme.put("logs/ams-1/site/0001-0000000000000002-0001.log", "\u{1b}[31m<script>alert(3)</script>\u{202e}\n").await;
    let versions = portal.get("/cells/ams-1/site/versions").await;
    sees(&versions, &["Cannot be read", "r7", "Not verified by history"]);
    assert!(!versions.contains("rollback?to="), "nobody is led back to what was never published");
    let overrides = portal.get("/cells/ams-1/site/overrides").await;
    sees(&overrides, &["&#60;img src=x&#62;.html", "2 overrides", "banner.html 20 B"]);
    let history = portal.get("/cells/ams-1/site/history").await;
    sees(&history, &["3 Not believed", "2 ", "deploy r2"]);
    let log = portal.get("/cells/ams-1/site/log?at=2&attempt=1").await;
    sees(&log, &["\u{fffd}[31m&#60;script&#62;alert(3)", "What ams-1 says"]);
    for page in [versions, overrides, history, log] {
        assert!(!page.contains("<script>alert") && !page.contains("<img src=x") && !page.contains('\u{1b}'), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_logs_stand_beside_each_other() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let history = portal.get("/cells/par-1/site/history").await;
    sees(
        &history,
        &[
            "3",
            "bob deploy r1 the front page is blank in Safari",
            "Succeeded",
            "then ran r1",
            "This is where it began.",
        ],
    );
    assert!(history.contains("/cells/par-1/site/log?at=3&amp;attempt=1"));
    let older = portal.get("/cells/par-1/site/history?below=2").await;
    sees(&older, &["Newest", "1", "alice deploy r1 first"]);
    assert!(!older.contains("blank in Safari"));
    assert_eq!(portal.answer("/cells/par-1/site/history?below=x").await.0, 400);

    let newest = portal.get("/cells/ber-1/api/log").await;
    sees(&newest, &["1 at generation 2 Rolled back", "fetching 2 files, 44 bytes", "2 fetched, 0 on the node already"]);
    let first = portal.get("/cells/ber-1/api/log?at=1").await;
    sees(&first, &["1 at generation 1 Succeeded", "healthy"]);
    assert!(!first.contains("id=\"live\""), "it is over");
    assert_eq!(portal.answer("/cells/ber-1/api/log?at=7").await.0, 404);

    let lines: String = (0..9_000).map(|line| format!("line {line}\n")).collect();
    acme.put("logs/ber-1/api/0001-0000000000000002-0002.log", lines).await;
    let growing = portal.get("/cells/ber-1/api/log?at=2&attempt=2").await;
    sees(&growing, &["Under way", "line 8999", "Earlier lines"]);
    assert!(growing.contains("id=\"live\"") && !growing.contains("line 0\n"));
    let query = growing.split("href=\"?").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let earlier = portal.get(&format!("/cells/ber-1/api/log?{query}")).await;
    sees(&earlier, &["line 0 line 1", "Later lines"]);
    assert!(!earlier.contains("line 8999"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_stays_readable_while_the_bucket_does_not_answer() {
    let mut acme = Acme::full().await;
    let portal = served(&acme).await;
    portal.get("/cells").await;
    acme.stop_store().await;
    let status = portal.get("/cells/ber-1/api").await;
    sees(&status, &["Desired 1.4.2 Running 1.4.1", "main ended with exit code 3", "The log cannot be read at present"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_cell_stands_is_shown_anew_by_itself() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.open(&portal.url("/cells/ber-1/api")).await;
    page.see("Failed, and rolled back").await;
    let beat = portal.get("/buckets/object/raw?key=agents/ber-1.json").await;
    acme.put("agents/ber-1.json", beat.replace("\"rolled_back\"", "\"checking\"")).await;
    page.see("Watching its health").await;
    page.see_no("Failed, and rolled back").await;
    page.end().await;
}
