//! Changing a cell from the portal, by forms: what will change is said first, and what came meanwhile is never lost.

use crate::support::acme::Acme;
use crate::support::cli::Workplace;
use crate::support::people;
use crate::support::portal::Portal;

async fn served(acme: &Acme) -> Portal {
    let place = Workplace::empty();
    acme.configure(place.path());
    Portal::start(place).await
}

/// The value of a hidden field of a page's form.
fn hidden(page: &str, name: &str) -> String {
    let field = format!("name=\"{name}\" value=\"");
    let (_, value) = page.split_once(&field).unwrap_or_else(|| panic!("no {name} in {page}"));
    value.split('"').next().unwrap().to_owned()
}

/// What the form of a page sends: its guard, and what is typed.
fn filled(page: &str, typed: &str) -> String {
    let guard = format!("if_generation={}&{typed}", hidden(page, "if_generation"));
    match page.contains("name=\"expect\"") {
        true => format!("expect={}&{guard}", hidden(page, "expect")),
        false => guard,
    }
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
    let stop = portal.get("/cells/ams-1/site/redeploy").await;
    let theirs = portal.get("/cells/ams-1/site/redeploy").await;
    portal.send_and_follow("/cells/ams-1/site/redeploy", &filled(&theirs, "reason=theirs")).await;

    let seen = hidden(&mine, "seen").replace(' ', "+");
    let form = filled(&mine, &format!("deployment=r1&note=mine&reason=mine&seen={seen}"));
    let (status, page) = portal.send_form("/cells/ams-1/site/publish", &form).await;
    assert_eq!(status, 409);
    sees(&page, &["Somebody came first", "What you saw", "What is there now", "theirs", "by tester", "note=mine"]);
    let (status, page) = portal.send_form("/cells/ams-1/site/redeploy", &filled(&stop, "reason=mine")).await;
    assert_eq!(status, 409, "{page}");

    // Content that changed since the plan is no longer what was looked at.
    let plan = portal.get("/cells/ams-1/site/publish?deployment=r1").await;
    let form = filled(&plan, "deployment=r2");
    let (status, page) = portal.send_form("/cells/ams-1/site/publish", &form).await;
    assert_eq!(status, 409);
    sees(&page, &["expected content"]);
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
        portal.send_form("/cells/ams-1/site/delete", "if_generation=1&name=ams-1/site&seen=long+ago").await;
    assert_eq!(status, 409);
    sees(&late, &["Somebody came first", "long ago"]);
    let (status, page_after) = portal.send_form("/cells/ams-1/site/delete", &filled(&page, "name=ams-2/site")).await;
    assert_eq!(status, 422);
    sees(&page_after, &["Type ams-1/site to delete it", "value=\"ams-2/site\""]);
    let (status, refused) = portal.send_form("/cells/ams-1/site/delete", &filled(&page, "name=ams-1/site")).await;
    assert_eq!(status, 409);
    sees(&refused, &["is in use", "has not removed it yet"]);
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
    sees(&late, &["Somebody came first"]);
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
