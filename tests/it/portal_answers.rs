//! What forms are answered with, in a real browser: reviews, refusals, both sides of a lost race, a token that is shown
//! once; and the pages of what went wrong.

use std::collections::BTreeSet;

use crate::portal_pages::{GONE, faults, look_at};
use crate::support::acme::Acme;
use crate::support::browser::{Axe, Browser, Page};
use crate::support::cli::Workplace;
use crate::support::people;
use crate::support::portal::Portal;

/// A form that is sent, and the status of where it leads.
pub(crate) struct Form {
    pub(crate) route: &'static str,
    pub(crate) url: &'static str,
    pub(crate) fields: &'static [(&'static str, &'static str)],
    /// The field, the name and the text of each file.
    pub(crate) files: &'static [(&'static str, &'static str, &'static str)],
    pub(crate) status: u64,
}

const fn form(
    route: &'static str,
    url: &'static str,
    fields: &'static [(&'static str, &'static str)],
    status: u64,
) -> Form {
    Form { route, url, fields, files: &[], status }
}

const fn upload(
    route: &'static str,
    url: &'static str,
    fields: &'static [(&'static str, &'static str)],
    files: &'static [(&'static str, &'static str, &'static str)],
    status: u64,
) -> Form {
    Form { route, url, fields, files, status }
}

impl Form {
    /// What is sent in its fields.
    pub(crate) async fn fields(&self, portal: &Portal, page: &Page) -> Vec<(&'static str, String)> {
        let mut fields: Vec<_> = self.fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        if self.fields.contains(&AS_SHOWN) {
            page.open(&portal.url(self.url)).await;
            let shown = page.evaluate("document.querySelector('input[name=etag]').value").await;
            fields.extend(shown.as_str().map(|shown| ("etag", shown.to_owned())));
            fields.retain(|(name, value)| (*name, value.as_str()) != AS_SHOWN);
        }
        fields
    }
}

const MANIFEST: &str = "name: site\ndescription: Another\nprofile: {deploy: {}}\nvars: {title: Hello}\n";
const WRONG: &str = "name: site\nprofile: {deploy: {}}\nvras: {}\n";
const CELL: &str = "cell: ams-1/api\nmanifest: api\nvars: {port: 9090}\n";
const TWO: &str = "name: shop\nprofile: {deploy: {}}\n---\ncell: ams-1/shop\nmanifest: shop\n";
/// The tag of what is there now, as the page of the form has it.
const AS_SHOWN: (&str, &str) = ("etag", "as shown");
/// The number of a form about many cells.
const NUMBER: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
/// The generation of a form that is older than anything that was published.
const OLD: (&str, &str) = ("if_generation", "0");

/// Forms on the full fleet. None of them changes it, apart from the last few.
#[rustfmt::skip]
pub(crate) const FORMS: &[Form] = &[
    form("/agents/{node}/delete", "/agents/osl-1/delete", &[("name", "osl"), ("reason", "typed")], 422),
    form("/agents/{node}/delete", "/agents/osl-1/delete", &[("name", "osl-1"), ("seen", "2026-01-01T00:00:00.000Z")], 409),
    form("/agents/{node}/hold", "/agents/ams-1/hold", &[("lasts", "2h")], 422),
    form("/agents/{node}/unhold", "/agents/none/unhold", &[("reason", "typed")], 404),
    form("/alerts/ack", "/alerts/ack", &[("alert", "rolled_back:cell/ber-1/api")], 422),
    form("/alerts/ack", "/alerts/ack", &[("alert", "rolled_back:cell/ber-1/none"), ("note", "typed")], 404),
    form("/alerts/test", "/alerts/test", &[("receiver", "none")], 404),
    form("/alerts/unack", "/alerts/unack", &[("alert", "rolled_back:cell/ber-1/none"), ("reason", "typed")], 404),
    form("/alerts/silence", "/alerts/silence", &[("lasts", "2h"), ("reason", "typed")], 422),
    form("/alerts/silence", "/alerts/silence", &[("node", "No"), ("lasts", "2h"), ("reason", "typed")], 422),
    form("/alerts/silence", "/alerts/silence", &[("node", "osl-1"), ("lasts", "2h")], 422),
    form("/alerts/silence", "/alerts/silence", &[("node", "osl-1"), ("lasts", "long"), ("reason", "typed")], 422),
    form("/alerts/unsilence", "/alerts/unsilence", &[("id", "none"), ("reason", "typed")], 404),
    form("/apply", "/apply", &[("step", "preview"), ("text", TWO)], 200),
    form("/apply", "/apply", &[("step", "preview"), ("text", WRONG)], 422),
    form("/apply", "/apply", &[("step", "preview"), ("text", "")], 422),
    form("/apply", "/apply", &[("step", "save"), ("seen", "another"), ("reason", "typed"), ("text", TWO)], 409),
    form("/at/revert", "/at/revert", &[("time", "2h ago"), ("plan", "another"), ("reason", "typed")], 409),
    form("/at/revert", "/at/revert", &[("time", "tomorrow"), ("reason", "typed")], 422),
    form("/buckets/gc", "/buckets/gc", &[("seen", "another"), ("reason", "typed")], 409),
    form("/buckets/check", "/buckets/check", &[("seen", "another"), ("reason", "typed")], 409),
    upload("/bundles", "/bundles", &[], &[("file", "friday.tar", "no bundle")], 403),
    form("/cells/bulk", "/cells/bulk", &[("action", "pause"), ("id", NUMBER), ("cell", r#"{"cell":"ams-1/api","if_generation":1}"#)], 422),
    form("/cells/bulk", "/cells/bulk", &[("action", "stop"), ("id", NUMBER), ("reason", "typed")], 422),
    form("/cells/new", "/cells/new", &[("step", "preview"), ("manifest", "site"), ("cell", "shop"), ("node", "ams-1"), ("node", "ams-2"), ("nodes", "new-1"), ("settings", "vars:\n  title: Shop\n")], 200),
    form("/cells/new", "/cells/new", &[("step", "save"), ("manifest", "site"), ("cell", "site"), ("node", "ams-1"), ("node", "ber-1")], 409),
    form("/cells/new", "/cells/new", &[("step", "preview"), ("manifest", "site"), ("cell", "shop"), ("node", "ams-1"), ("settings", "vras: {}\n")], 422),
    form("/cells/{node}/{cell}/delete", "/cells/lab-1/site/delete", &[("name", "lab-1"), ("reason", "typed")], 422),
    form("/cells/{node}/{cell}/delete", "/cells/lab-1/site/delete", &[("name", "lab-1/site"), OLD], 409),
    form("/cells/{node}/{cell}/hold", "/cells/ams-1/api/hold", &[("lasts", "2h")], 422),
    form("/cells/{node}/{cell}/hold", "/cells/ams-1/api/hold", &[("lasts", "long"), ("reason", "typed")], 422),
    form("/cells/{node}/{cell}/output", "/cells/ams-1/api/output", &[("lines", "1"), ("grep", "("), ("regex", "on")], 422),
    form("/cells/{node}/{cell}/output/{order}/end", "/cells/ams-1/site/output/01KDYWXAC3ZZZZZZZZZZZZZZZZ/end", &[], 404),
    form("/cells/{node}/{cell}/overrides/delete", "/cells/ams-1/site/overrides/delete?path=banner.html", &[("etag", "\"0\"")], 409),
    form("/cells/{node}/{cell}/overrides/edit", "/cells/ams-1/site/overrides/edit?path=new.html", &[("step", "preview"), ("text", "<p>New\n")], 200),
    form("/cells/{node}/{cell}/overrides/edit", "/cells/ams-1/site/overrides/edit?path=banner.html", &[("step", "save"), ("etag", "\"0\""), ("text", "<p>New\n")], 409),
    upload("/cells/{node}/{cell}/overrides/upload", "/cells/ams-1/site/overrides/upload?path=banner.html", &[("seen", "nothing")], &[("file", "banner.html", "<p>New\n")], 200),
    upload("/cells/{node}/{cell}/overrides/upload", "/cells/ams-1/site/overrides/upload?path=banner.html", &[], &[("other", "a", "")], 422),
    form("/cells/{node}/{cell}/pause", "/cells/ams-1/api/pause", &[], 422),
    form("/cells/{node}/{cell}/pause", "/cells/ams-1/api/pause", &[("reason", "typed"), OLD], 409),
    form("/cells/{node}/{cell}/publish", "/cells/ams-1/site/publish", &[("deployment", "r1"), ("seen", "nothing"), OLD], 409),
    form("/cells/{node}/{cell}/publish", "/cells/ams-1/site/publish", &[("deployment", "none"), ("reason", "typed")], 404),
    form("/cells/{node}/{cell}/publish", "/cells/par-2/api/publish", &[("reason", "typed")], 409),
    form("/cells/{node}/{cell}/redeploy", "/cells/ams-1/site/redeploy", &[("seen", "nothing"), OLD], 409),
    form("/cells/{node}/{cell}/remove", "/cells/par-1/api/remove", &[("seen", "nothing"), OLD], 409),
    form("/cells/{node}/{cell}/resume", "/cells/par-2/api/resume", &[("seen", "nothing"), OLD], 409),
    form("/cells/{node}/{cell}/rollback", "/cells/ams-2/site/rollback", &[("to", "r1"), ("seen", "nothing"), OLD], 409),
    form("/cells/{node}/{cell}/rollback", "/cells/ams-2/site/rollback", &[("to", "none"), ("reason", "typed")], 404),
    form("/cells/{node}/{cell}/stop", "/cells/ams-1/api/stop", &[("seen", "nothing"), OLD], 409),
    form("/cells/{node}/{cell}/unhold", "/cells/ams-1/none/unhold", &[("reason", "typed")], 404),
    form("/cells/{node}/{cell}/versions/{version}/delete", "/cells/ams-2/site/versions/r1/delete", &[("name", "r"), ("reason", "typed")], 422),
    form("/cells/{node}/{cell}/versions/{version}/delete", "/cells/ams-2/site/versions/r1/delete", &[("name", "r1"), OLD], 409),
    form("/cells/{node}/{cell}/yaml", "/cells/ams-1/api/yaml", &[("step", "preview"), AS_SHOWN, ("text", CELL)], 200),
    form("/cells/{node}/{cell}/yaml", "/cells/ams-1/api/yaml", &[("step", "save"), ("etag", "\"0\""), ("text", CELL)], 409),
    upload("/deployments/new", "/deployments/new", &[("manifest", "none"), ("name", "r9")], &[("files", "a.txt", "text")], 422),
    upload("/deployments/new", "/deployments/new", &[("manifest", "site"), ("name", "r9"), ("note", "typed")], &[("files", "index.html", "text"), ("files", "new.html", "text")], 200),
    upload("/deployments/new", "/deployments/new", &[("manifest", "site"), ("name", "r2")], &[("files", "index.html", "text")], 200),
    form("/deployments/{manifest}/{deployment}/delete", "/deployments/site/r2/delete", &[("name", "r"), ("reason", "typed")], 422),
    form("/manifests/new", "/manifests/new", &[("step", "preview"), ("text", "name: shop\nprofile: {deploy: {}}\n")], 200),
    form("/manifests/new", "/manifests/new", &[("step", "preview"), ("text", WRONG)], 422),
    form("/manifests/new", "/manifests/new", &[("step", "save"), ("text", MANIFEST)], 409),
    form("/manifests/{manifest}/delete", "/manifests/api/delete", &[("name", "ap"), ("reason", "typed")], 422),
    form("/manifests/{manifest}/edit", "/manifests/site/edit", &[("step", "edit"), ("text", MANIFEST)], 200),
    form("/manifests/{manifest}/edit", "/manifests/site/edit", &[("step", "preview"), AS_SHOWN, ("text", MANIFEST)], 200),
    form("/manifests/{manifest}/edit", "/manifests/site/edit", &[("step", "preview"), ("text", WRONG)], 422),
    form("/manifests/{manifest}/edit", "/manifests/site/edit", &[("step", "preview"), ("etag", "\"0\""), ("text", MANIFEST)], 409),
    form("/settings/review", "/settings/review", &[("sealed", "none"), ("reason", "typed")], 422),
    form("/settings/vouched/end", "/settings/vouched/end", &[("name", "ada")], 200),
    form("/settings/account", "/settings/account", &[("present", "wrong"), ("password", "x"), ("again", "x")], 422),
    form("/settings/users", "/settings/users", &[("name", "ada"), ("may", "root"), ("reason", "typed")], 422),
    form("/settings/users/{user}", "/settings/users/tester", &[("change", "grants"), ("may", "viewer"), ("seen", "")], 409),
    form("/settings/users/{user}", "/settings/users/tester", &[("change", "delete"), ("name", "x")], 422),
    form("/settings/tokens", "/settings/tokens", &[("name", "ci"), ("may", "viewer"), ("days", "0")], 422),
    form("/settings/tokens", "/settings/tokens", &[("name", "ci"), ("may", "viewer"), ("days", "7")], 200),
    form("/settings/tokens/{id}/revoke", "/settings/tokens/aaaaaaaaaa/revoke", &[], 404),
    form("/uploads/{id}", GONE, &[], 410),
    form("/uploads/{id}/discard", "/uploads/none/discard", &[], 410),
    form("/buckets/usage", "/buckets/usage", &[], 200),
    form("/settings/doctor", "/settings/doctor", &[], 200),
];

/// Forms without a page of their own to be answered with: they end a session, or begin one.
const SIGN: [&str; 4] = ["/sign-in", "/sign-in/once", "/sign-out", "/settings/account/end-sessions"];

#[test]
fn every_form_is_answered_once_at_least() {
    let listed: BTreeSet<&str> = FORMS.iter().map(|form| form.route).chain(SIGN).collect();
    let routes = fleetman::web::routes();
    let there = routes.iter().filter(|route| route.method == "POST").map(|route| route.path);
    // What an editor asks while somebody types has no page.
    let is_form = |path: &&str| !path.starts_with("/api/") && (!path.ends_with("/check") || *path == "/buckets/check");
    let there: BTreeSet<&str> = there.filter(is_form).collect();
    let missing: Vec<_> = there.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&there).collect();
    assert!(missing.is_empty() && gone.is_empty(), "new forms: {missing:?}; forms that are gone: {gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_forms_are_answered_with_can_be_used_by_everybody() {
    let Some(axe) = Axe::find() else { return };
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.open(&portal.url("/")).await;
    let mut found = Vec::new();
    for form in FORMS {
        let fields = form.fields(&portal, &page).await;
        let status = page.send_form(&portal.url(form.url), &fields, form.files).await;
        if status != form.status {
            found.push(format!("{}: {status} instead of {}: {}", form.url, form.status, page.read().await));
        }
        found.extend(faults(&page, &axe).await.into_iter().map(|fault| format!("{}: {status}: {fault}", form.url)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_can_be_used_by_everybody_and_so_can_pages_without_their_bucket() {
    let (Some(axe), Some(browser)) = (Axe::find(), Browser::shared().await) else { return };
    let (mut acme, place) = (Acme::full().await, Workplace::empty());
    acme.configure(place.path());
    people::admit(place.path(), &[(people::ADMIN, &["admin"]), ("viewer", &["viewer:ams-*/*"])]);
    let portal = Portal::start(place).await;
    let viewer = browser.page().await;
    portal.sign_in(&viewer, "viewer").await;
    let page = browser.page().await;
    portal.sign_in(&page, people::ADMIN).await;
    let mut found = Vec::new();
    let mut look = async |page: &Page, path: &str, status: u64| {
        let got = page.open(&portal.url(path)).await;
        let faults = faults(page, &axe).await.into_iter();
        found.extend(
            faults
                .chain((got != status).then(|| format!("not {status}")))
                .map(|fault| format!("{path}: {got}: {fault}")),
        );
    };
    look(&viewer, "/settings/users", 403).await;
    look(&viewer, "/cells/ams-1/api/publish", 200).await;
    look(&viewer, "/cells/ams-1/site/redeploy", 403).await;
    look(&page, "/nowhere", 404).await;
    look(&page, "/agents/nobody", 404).await;
    look(&page, "/agents/No_Name", 400).await;
    look(&page, "/sign-out", 405).await;
    page.open(&portal.url("/")).await;
    acme.stop_store().await;
    page.see("The bucket does not answer").await;
    for path in [
        "/",
        "/agents",
        "/cells",
        "/agents/par-1",
        "/agents/osl-1/delete",
        "/manifests/new",
        "/settings/users",
        "/settings/tokens",
        "/settings/account",
    ] {
        look(&page, path, 200).await;
    }
    // Nobody looked at these before.
    for path in ["/manifests/site", "/cells/ams-1/site/publish"] {
        look(&page, path, 503).await;
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    viewer.end().await;
    page.end().await;
}
