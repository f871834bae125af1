//! Changing a cell from the portal, by forms: what will change is said first, and what came meanwhile is never lost.

use std::collections::BTreeMap;

use fleetman::controller::Known;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::support::acme::Acme;
use crate::support::cli::Workplace;
use crate::support::form::fields;
use crate::support::people;
use crate::support::portal::Portal;

async fn served(acme: &Acme) -> Portal {
    let place = Workplace::empty();
    acme.configure(place.path());
    Portal::start(place).await
}

/// The value of a hidden field of a page's form.
fn hidden(page: &str, name: &str) -> String {
    fields(page).remove(name).unwrap_or_else(|| panic!("no {name} in {page}"))
}

/// What the form of a page sends: its guards, and what is typed.
fn filled(page: &str, typed: &str) -> String {
    let guards = ["if_generation", "expect", "inputs", "etag", "base"];
    let sent = fields(page).into_iter().filter(|(name, _)| guards.contains(&name.as_str()));
    let sent = sent.map(|(name, value)| format!("{name}={}&", utf8_percent_encode(&value, NON_ALPHANUMERIC)));
    sent.collect::<String>() + typed
}

fn sees(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part:?} is not in: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_says_what_changes_and_leads_to_the_page_that_follows_it() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let plan = portal.get("/cells/ams-1/site/publish?deployment=r1&note=back").await;
    sees(&plan, &["What changes", "index.html", "Publish", "value=\"back\"", "fleetman publish ams-1/site"]);
    sees(&plan, &["1 cell to publish: ", "What the node does", "In place of", "Gate"]);
    let form = filled(&plan, "deployment=r1&note=back&reason=because+of+the+test");
    let followed = portal.send_and_follow("/cells/ams-1/site/publish", &form).await;
    assert!(followed.starts_with("/cells/ams-1/site/follow?at="), "{followed}");
    let page = portal.get(&followed).await;
    sees(&page, &["Published", "because of the test", "by tester", "Waiting for the node to see it", "every 1s"]);

    // The same form again: it is so already, and nothing is published twice.
    assert_eq!(portal.send_and_follow("/cells/ams-1/site/publish", &form).await, followed);
    let again = portal.get("/cells/ams-1/site/publish?deployment=r1").await;
    sees(&again, &["the cell is to run exactly this already", "disabled"]);
    let audit = portal.get("/audit").await;
    sees(&audit, &["because of the test", "tester", "portal"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_second_sees_both_sides_and_loses_nothing() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let mine = portal.get("/cells/ams-1/site/publish?deployment=r1&note=mine").await;
    let pages = ["redeploy", "stop", "remove", "rollback?to=r1"];
    let mut asked = Vec::new();
    for path in pages {
        asked.push(portal.get(&format!("/cells/ams-1/site/{path}")).await);
    }
    let theirs = portal.get("/cells/ams-1/site/rollback?to=r1").await;
    portal.send_and_follow("/cells/ams-1/site/rollback", &filled(&theirs, "to=r1&reason=theirs")).await;

    let form = filled(&mine, "deployment=r2&note=mine&retry=on&reason=my+reason");
    let form = form.replace("expect=", "ignored=");
    let (status, page) = portal.send_form("/cells/ams-1/site/publish", &form).await;
    assert_eq!(status, 409);
    sees(&page, &["Somebody came first", "Nothing of yours was done", "<time datetime="]);
    let (then, now) = both_sides(&page);
    sees(then, &["(deploy r2) by", "Publish to ams-1/site", "my reason", "mine", "Try again what failed before"]);
    sees(now, &["(deploy r1) by tester", "theirs"]);
    sees(&page, &["What came meanwhile", "index.html", "<del>", "<ins>"]);
    // What was chosen goes along to the fresh look, and the guard does not.
    let kept = again(&page);
    for (name, value) in [("deployment", "r2"), ("note", "mine"), ("reason", "my reason"), ("retry", "on")] {
        assert_eq!(kept.get(name).map(String::as_str), Some(value), "{kept:?}");
    }
    let query = encoded(&kept);
    let fresh = portal.get(&format!("/cells/ams-1/site/publish?{query}")).await;
    assert_eq!(hidden(&fresh, "reason"), "my reason");
    assert_ne!(hidden(&fresh, "if_generation"), hidden(&mine, "if_generation"));

    for (path, asked) in pages.iter().zip(asked) {
        let verb = path.split('?').next().unwrap();
        let form = filled(&asked, "reason=mine&to=r2");
        let (status, page) = portal.send_form(&format!("/cells/ams-1/site/{verb}"), &form).await;
        assert_eq!(status, 409, "{verb}: {page}");
        let (then, now) = both_sides(&page);
        sees(then, &["(deploy r2) by", "mine"]);
        sees(now, &["(deploy r1) by tester", "theirs"]);
        sees(&page, &["What came meanwhile", "index.html"]);
        assert!(page.contains("From what is there now to what you wanted"), "it names a version: {page}");
        let fresh = portal.get(&format!("/cells/ams-1/site/{verb}?{}", encoded(&again(&page)))).await;
        assert_eq!(hidden(&fresh, "reason"), "mine");
        assert_ne!(hidden(&fresh, "if_generation"), hidden(&asked, "if_generation"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_changed_since_the_plan_are_named_and_the_new_plan_is_shown() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let plan = portal.get("/cells/ams-1/site/publish?deployment=r1").await;
    let cell = "ams-1/site".parse().unwrap();
    let path = "etc/late.conf".parse().unwrap();
    acme.controller().put_override(&cell, &path, "late=1\n".into(), &Known::Absent).await.unwrap();
    let form = filled(&plan, "deployment=r1&reason=mine");
    let (status, page) = portal.send_form("/cells/ams-1/site/publish", &form).await;
    assert_eq!(status, 409);
    sees(&page, &["expected content", "Inputs that changed since you looked"]);
    sees(&page, &["<code>cells/ams-1/site/overrides/etc/late.conf</code>: new", "What a publish would change now"]);
    sees(&page, &["+ late=1"]);
    assert!(!page.contains("What came meanwhile"), "nothing was published meanwhile: {page}");
}

/// The two sides of a page about a conflict.
fn both_sides(page: &str) -> (&str, &str) {
    let (_, sides) = page.split_once("id=\"then\"").unwrap_or_else(|| panic!("{page}"));
    let (then, now) = sides.split_once("id=\"now\"").unwrap();
    (then, now.split("</section>").next().unwrap())
}

/// What goes along where somebody looks again.
fn again(page: &str) -> BTreeMap<String, String> {
    let (_, form) = page.split_once("<form method=\"get\" action=\"/cells/").unwrap();
    fields(&format!("<form method=\"post\" {form}"))
}

fn encoded(fields: &BTreeMap<String, String>) -> String {
    let pair = |(name, value): (&String, &String)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    fields.iter().map(pair).collect::<Vec<_>>().join("&")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_is_rolled_back_stopped_started_removed_and_deleted() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let back = portal.get("/cells/ams-1/site/rollback?to=r1").await;
    sees(&back, &["Version r1 is deployed again", "What changes", "value=\"r1\" selected"]);
    portal.send_and_follow("/cells/ams-1/site/rollback", &filled(&back, "to=r1&reason=too+soon")).await;
    sees(&portal.get("/cells/ams-1/site/history").await, &["too soon", "deploy"]);

    for (verb, says) in [("stop", "stays down"), ("redeploy", "started"), ("remove", "is removed")] {
        let page = portal.get(&format!("/cells/ams-1/site/{verb}")).await;
        sees(&page, &[says]);
        let followed = portal.send_and_follow(&format!("/cells/ams-1/site/{verb}"), &filled(&page, "reason=x")).await;
        sees(&portal.get(&followed).await, &["Published", "by tester"]);
    }
    // Its node has not removed it yet.
    let page = portal.get("/cells/ams-1/site/delete").await;
    assert!(!page.contains("disabled"), "{page}");
    let early = portal.get("/cells/ams-2/site/delete").await;
    sees(&early, &["disabled", "It has to be removed from its node first"]);
    let (status, late) =
        portal.send_form("/cells/ams-1/site/delete", "if_generation=1&name=ams-1/site&reason=old").await;
    assert_eq!(status, 409);
    sees(both_sides(&late).0, &["generation 1 ", "Delete ams-1/site", "old"]);
    sees(both_sides(&late).1, &["(remove) by tester"]);
    let (status, page_after) = portal.send_form("/cells/ams-1/site/delete", &filled(&page, "name=ams-2/site")).await;
    assert_eq!(status, 422);
    sees(&page_after, &["Type ams-1/site to go on", "value=\"ams-2/site\""]);
    let (status, refused) = portal.send_form("/cells/ams-1/site/delete", &filled(&page, "name=ams-1/site")).await;
    assert_eq!(status, 409);
    sees(&refused, &["is in use", "has not removed it yet"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_nobody_needs_is_marked_and_what_is_needed_says_by_whom() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let versions = portal.get("/cells/ams-2/site/versions").await;
    assert!(versions.contains("/versions/r1/delete") && !versions.contains("/versions/r2/delete"), "{versions}");
    let needed = portal.get("/cells/ams-2/site/versions/r2/delete").await;
    sees(&needed, &["It is needed: generation 2 desires it.", "disabled"]);
    let (status, refused) = portal.send_form("/cells/ams-2/site/versions/r2/delete", &filled(&needed, "name=r2")).await;
    assert_eq!(status, 409);
    sees(&refused, &["is in use", "generation 2 desires it"]);
    assert_eq!(portal.answer("/cells/ams-2/site/versions/r9/delete").await.0, 404);

    let path = "/cells/ams-2/site/versions/r1/delete";
    let page = portal.get(path).await;
    sees(&page, &["It is marked first", "Mark it for deletion", "fleetman delete version ams-2/site r1"]);
    let (status, untyped) = portal.send_form(path, &filled(&page, "name=r2")).await;
    assert_eq!(status, 422);
    sees(&untyped, &["Type r1 to go on"]);
    let (status, late) = portal.send_form(path, "if_generation=1&name=r1&reason=too+old").await;
    assert_eq!(status, 409);
    sees(&late, &["Somebody came first", "What is there now", "too old"]);
    assert_eq!(
        portal.send_and_follow(path, &filled(&page, "name=r1&reason=too+old")).await,
        "/cells/ams-2/site/versions"
    );
    sees(&portal.get("/cells/ams-2/site/versions").await, &["Being deleted"]);
    sees(&portal.get(path).await, &["It is marked, and may be deleted from", "disabled"]);
    sees(&portal.get("/audit?action=delete").await, &["too old"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_needs_a_reason_and_keeps_publishes_away() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let page = portal.get("/cells/ams-1/site/pause").await;
    let (status, page) = portal.send_form("/cells/ams-1/site/pause", &filled(&page, "reason=+")).await;
    assert_eq!(status, 422);
    sees(&page, &["A pause needs a reason"]);
    let (status, late) = portal.send_form("/cells/ams-1/site/pause", "if_generation=900&reason=late").await;
    assert_eq!(status, 409);
    sees(both_sides(&late).0, &["generation 900, of which the history tells nothing", "late"]);
    // Somebody else paused it meanwhile, which is no trigger.
    let cell = "ams-1/site".parse().unwrap();
    acme.controller().pause(&cell, "theirs", &Known::Anything).await.unwrap();
    for verb in ["pause", "resume"] {
        let (status, late) =
            portal.send_form(&format!("/cells/ams-1/site/{verb}"), &filled(&page, "reason=mine")).await;
        assert_eq!(status, 409);
        sees(&late, &["What changed in cell.yaml meanwhile", "+   reason: &#34;theirs", "value=\"mine\""]);
    }
    acme.controller().resume(&cell, &Known::Anything).await.unwrap();
    let page = portal.get("/cells/ams-1/site/pause?reason=kept").await;
    assert_eq!(hidden(&page, "reason"), "kept");
    let form = filled(&page, "reason=the+fair+is+on");
    assert_eq!(portal.send_and_follow("/cells/ams-1/site/pause", &form).await, "/cells/ams-1/site");
    let plan = portal.get("/cells/ams-1/site/publish?deployment=r1").await;
    sees(&plan, &["The cell is paused: the fair is on", "/cells/ams-1/site/resume", "disabled"]);
    let (status, page) = portal.send_form("/cells/ams-1/site/publish", &filled(&plan, "deployment=r1")).await;
    assert_eq!(status, 409);
    sees(&page, &["is paused (the fair is on)"]);
    let page = portal.get("/cells/ams-1/site/resume").await;
    portal.send_and_follow("/cells/ams-1/site/resume", &filled(&page, "reason=")).await;
    assert!(!portal.get("/cells/ams-1/site/publish?deployment=r1").await.contains("The cell is paused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_said_where_it_was_asked() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    for (path, status, says) in [
        ("/cells/ams-1/site/publish?deployment=no", 404, "deployment no of manifest site"),
        ("/cells/ams-1/site/publish?as=not+a+name", 400, "not a name"),
        ("/cells/ams-1/none/stop", 404, "cell ams-1/none"),
        ("/cells/ams-1/site/follow?at=0", 400, "between 1 and"),
        ("/cells/ams-1/site/follow?at=900", 200, "There is no such change"),
        ("/cells/ams-1/site/rollback?to=nobody-knows", 200, "no believed history entry names it"),
    ] {
        let (found, page) = portal.answer(path).await;
        assert_eq!(found, status, "{path}: {page}");
        sees(&page, &[says]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_leads_to_other_versions_only() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let page = portal.get("/cells/ams-1/site/rollback").await;
    assert!(page.contains("<option value=\"r1\" selected>") && !page.contains("<option value=\"r2\""), "{page}");
    assert_eq!(hidden(&page, "to"), "r1");
    let there_already = portal.get("/cells/ams-1/site/rollback?to=r2").await;
    sees(&there_already, &["r2 is the version that is desired now", "Redeploy"]);
    assert!(there_already.contains("disabled aria-describedby=\"obstacle\""), "{there_already}");

    let only = portal.get("/cells/ber-2/site/rollback").await;
    sees(&only, &["There is no version to go back to: only r1 was ever deployed."]);
    assert!(!only.contains("<option") && !only.contains("--to"), "{only}");
    assert!(only.contains("disabled aria-describedby=\"obstacle\""), "{only}");

    // Its newest version is not known to be good, and the one before it is: that of a node which tells of no attempts
    // is not known either, and has to be chosen.
    let publish = portal.get("/cells/lab-1/site/publish?deployment=r2&as=r2").await;
    portal.send_and_follow("/cells/lab-1/site/publish", &filled(&publish, "deployment=r2&as=r2")).await;
    let back = portal.get("/cells/lab-1/site/rollback").await;
    assert_eq!(hidden(&back, "to"), "r1", "it was good: {back}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_or_is_held_says_by_whom_and_what_comes_next() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let failed = portal.get("/cells/ber-1/api/follow?at=1-2").await;
    sees(&failed, &["Failed, and rolled back", "deploy 1.4.2 by carol", " UTC"]);
    assert!(!failed.contains("+00:00"), "a time for people: {failed}");
    sees(&failed, &["What to do next", "its manifest", "the log of the attempt"]);
    for next in ["/cells/ber-1/api/rollback\"", "/cells/ber-1/api/redeploy?retry=on\""] {
        assert!(failed.contains(&format!("href=\"{next}")), "{next}: {failed}");
    }

    let hold = serde_json::json!({"order": "01KDYWXAC0ZZZZZZZZZZZZZZZZ", "by": "carol", "reason": "the fair",
        "since": "2026-01-02T03:04:05Z", "until": "2099-01-02T03:04:05Z", "whole_node": true});
    let report = serde_json::json!({"phase": "waiting", "state": {"state": "n/a"},
        "seen": {"epoch": 1, "generation": 2}, "hold": hold});
    let beat = serde_json::json!({"schema": "fleetman/heartbeat/1", "node": "ams-2",
        "fleet": "00000000-0000-0000-0000-000000000007", "agent_version": "0.1.0",
        "instance_id": "00000000-0000-0000-0000-000000000007", "sequence": 1, "started_at": "2026-01-02T03:04:05Z",
        "reported_at": "2026-01-02T03:04:05Z", "interval_secs": 60, "signing": "signed", "hold": hold,
        "cells": {"site": report}});
    acme.put("agents/ams-2.json", beat.to_string()).await;
    let held = portal.get("/cells/ams-2/site/follow?at=1-2").await;
    sees(
        &held,
        &[
            "Waiting for the end of a hold",
            "the whole node is held by carol since 2026-01-02 03:04:05 UTC until 2099-01-02 03:04:05 UTC: the fair",
            "href=\"/agents/ams-2\"",
            "Switch over and start</span><span class=\"hidden\">, still to come",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_that_cannot_write_says_so_and_refuses() {
    let mut acme = Acme::full().await;
    let place = Workplace::empty();
    acme.configure(place.path());
    people::admit_admin(place.path());
    let config = place.path().join("controller_config.yaml");
    let text = std::fs::read_to_string(&config).unwrap();
    let public = crate::support::fleet::KEY.private().public();
    let looking = text.replace("signing_key_file: signing.key", &format!("trusted_keys: [{{key: \"{public}\"}}]"));
    std::fs::write(&config, looking).unwrap();
    let portal = Portal::start(place).await;
    let page = portal.get("/cells/ams-1/site/stop").await;
    sees(&page, &["disabled", "this controller cannot sign"]);
    let (status, page) = portal.send_form("/cells/ams-1/site/stop", &filled(&page, "reason=x")).await;
    assert_eq!(status, 503);
    sees(&page, &["this controller cannot sign"]);

    // Without the bucket what was read before is still shown.
    acme.stop_store().await;
    let told = async || portal.get("/cells").await.contains("The bucket does not answer");
    crate::support::wait_for(told, "the outage to be told").await;
    sees(&portal.get("/cells").await, &["ams-1/site", "nothing can be changed until it answers"]);
    let (status, _) = portal.send_form("/cells/ams-1/site/stop", "reason=x").await;
    assert_eq!(status, 503);
}
