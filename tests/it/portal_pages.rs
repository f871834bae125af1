//! Every page, of a fleet in which nothing and of one in which everything has happened, in a real browser: light and
//! dark, on a telephone and on a desk.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::acme::Acme;
use crate::support::browser::{Axe, Browser, Page};
use crate::support::cli::Workplace;
use crate::support::people;
use crate::support::portal::Portal;

/// The pages: a route, and an address that it answers, of the full fleet. The empty fleet has those
/// whose address is the route itself.
pub(crate) const PAGES: &[(&str, &str)] = &[
    ("/", "/"),
    ("/agents", "/agents"),
    ("/agents/{node}", "/agents/par-1"),
    ("/agents/{node}/delete", "/agents/osl-1/delete"),
    ("/agents/{node}/hold", "/agents/ams-1/hold"),
    ("/agents/{node}/hold/{order}", "/agents/ber-2/hold/01KDYWXAC4ZZZZZZZZZZZZZZZZ"),
    ("/agents/{node}/unhold", "/agents/ams-1/unhold"),
    ("/alerts", "/alerts"),
    ("/alerts/ack", "/alerts/ack?alert=rolled_back:cell/ber-1/api"),
    ("/alerts/unack", "/alerts/unack?alert=health_failing:cell/osl-1/site"),
    ("/events", "/events"),
    ("/alerts/silence", "/alerts/silence?type=rolled_back&node=ber-1&cell=api"),
    ("/alerts/unsilence", "/alerts/unsilence?id=01KDYWXAC0ZZZZZZZZZZZZZZZZ"),
    ("/api", "/api"),
    ("/apply", "/apply"),
    ("/at", "/at"),
    ("/at/revert", "/at/revert"),
    ("/audit", "/audit"),
    ("/buckets", "/buckets"),
    ("/buckets/browse", "/buckets/browse"),
    ("/buckets/check", "/buckets/check?run=yes"),
    ("/buckets/gc", "/buckets/gc?run=yes"),
    ("/buckets/object", "/buckets/object?key=fleet.json&verify=yes"),
    ("/buckets/usage", "/buckets/usage"),
    ("/bundles", "/bundles"),
    ("/cells", "/cells"),
    ("/cells/bulk", "/cells/bulk?action=publish&which=all&manifest=site"),
    ("/cells/new", "/cells/new?manifest=site"),
    ("/cells/{node}/{cell}", "/cells/ber-1/api"),
    ("/cells/{node}/{cell}/delete", "/cells/lab-1/site/delete"),
    ("/cells/{node}/{cell}/diff", "/cells/ams-1/site/diff?from=r1&to=r2"),
    ("/cells/{node}/{cell}/follow", "/cells/ber-1/api/follow?at=1-2"),
    ("/cells/{node}/{cell}/history", "/cells/par-1/site/history"),
    ("/cells/{node}/{cell}/hold", "/cells/ams-1/api/hold"),
    ("/cells/{node}/{cell}/hold/{order}", "/cells/ber-2/site/hold/01KDYWXAC5ZZZZZZZZZZZZZZZZ"),
    ("/cells/{node}/{cell}/log", "/cells/ber-1/api/log?at=1-2&attempt=1"),
    ("/cells/{node}/{cell}/output", "/cells/ams-1/site/output"),
    ("/cells/{node}/{cell}/output/{order}", "/cells/ams-1/api/output/01KDYWXAC3ZZZZZZZZZZZZZZZZ"),
    ("/cells/{node}/{cell}/overrides", "/cells/ams-1/site/overrides"),
    ("/cells/{node}/{cell}/overrides/delete", "/cells/ams-1/site/overrides/delete?path=banner.html"),
    ("/cells/{node}/{cell}/overrides/edit", "/cells/ams-1/site/overrides/edit?path=banner.html"),
    ("/cells/{node}/{cell}/overrides/file", "/cells/ams-1/site/overrides/file?path=banner.html"),
    ("/cells/{node}/{cell}/overrides/upload", "/cells/ams-1/site/overrides/upload?path=banner.html"),
    ("/cells/{node}/{cell}/pause", "/cells/ams-1/api/pause"),
    ("/cells/{node}/{cell}/publish", "/cells/ber-1/site/publish"),
    ("/cells/{node}/{cell}/redeploy", "/cells/ams-1/site/redeploy"),
    ("/cells/{node}/{cell}/remove", "/cells/par-1/api/remove"),
    ("/cells/{node}/{cell}/resume", "/cells/par-2/api/resume"),
    ("/cells/{node}/{cell}/rollback", "/cells/ams-2/site/rollback?to=r1"),
    ("/cells/{node}/{cell}/stop", "/cells/ams-1/api/stop"),
    ("/cells/{node}/{cell}/unhold", "/cells/ams-1/api/unhold"),
    ("/cells/{node}/{cell}/versions", "/cells/ams-1/site/versions"),
    ("/cells/{node}/{cell}/versions/{version}", "/cells/ams-1/site/versions/r2"),
    ("/cells/{node}/{cell}/versions/{version}/delete", "/cells/ams-2/site/versions/r1/delete"),
    ("/cells/{node}/{cell}/versions/{version}/file", "/cells/ams-1/site/versions/r2/file?path=index.html"),
    ("/cells/{node}/{cell}/yaml", "/cells/ams-1/api/yaml"),
    ("/deployments", "/deployments"),
    ("/deployments/new", "/deployments/new?manifest=site"),
    ("/deployments/{manifest}/{deployment}", "/deployments/site/r2?sent=2"),
    ("/deployments/{manifest}/{deployment}/delete", "/deployments/site/r2/delete"),
    ("/manifests", "/manifests"),
    ("/manifests/new", "/manifests/new"),
    ("/manifests/{manifest}", "/manifests/site"),
    ("/manifests/{manifest}/delete", "/manifests/api/delete"),
    ("/manifests/{manifest}/edit", "/manifests/site/edit"),
    ("/search", "/search?q=s"),
    ("/settings", "/settings"),
    ("/settings/account", "/settings/account"),
    ("/settings/doctor", "/settings/doctor"),
    ("/settings/keys", "/settings/keys"),
    ("/settings/tokens", "/settings/tokens"),
    ("/settings/users", "/settings/users"),
    ("/settings/users/{user}", "/settings/users/tester"),
    // What waits there is looked at where it is sent.
    ("/uploads/{id}", GONE),
    ("/bulk/{id}", UNKNOWN),
];

/// The address of an upload that does not wait any more.
pub(crate) const GONE: &str = "/uploads/01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// The address of a change of many cells that nobody began.
pub(crate) const UNKNOWN: &str = "/bulk/01ARZ3NDEKTSV4RRFFQ69G5FAV";

/// The same routes without what they are asked for.
const UNASKED: [&str; 5] = ["/alerts/silence", "/buckets/object", "/cells/new", "/deployments/new", "/search"];

/// Pages of whoever is not signed in.
const WAY_IN: [&str; 2] = ["/sign-in", "/sign-in/once"];

/// Whether a path is for programs, answers with a file, or only leads elsewhere.
fn is_no_page(path: &str) -> bool {
    ["/api/v1/", "/static/", "/live", "/healthz", "/readyz", "/metrics", "/sign-in/oidc"]
        .iter()
        .any(|no| path.starts_with(no))
        || [".csv", ".json", ".ndjson", ".tar", ".yaml", "/raw"].iter().any(|end| path.ends_with(end))
}

/// What is wider than the window, and does not lie in something that can be scrolled by itself.
pub(crate) const TOO_WIDE: &str = "(() => {
    const edge = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= edge) return [];
    const scrolls = (e) => e && (getComputedStyle(e).overflowX !== 'visible' || scrolls(e.parentElement));
    const wide = [...document.body.querySelectorAll('*')].filter((e) =>
        e.getBoundingClientRect().right > edge + 1 && !scrolls(e.parentElement));
    return [`${document.documentElement.scrollWidth} px`, ...wide.map((e) => e.outerHTML.slice(0, 120))];
})()";

#[test]
fn every_page_is_looked_at() {
    let listed: BTreeSet<&str> = PAGES.iter().map(|(route, _)| *route).chain(WAY_IN).collect();
    let routes = fleetman::web::routes();
    let there = routes.iter().filter(|route| route.method == "GET").map(|route| route.path);
    let there: BTreeSet<&str> = there.filter(|path| !is_no_page(path)).collect();
    let missing: Vec<_> = there.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&there).collect();
    assert!(missing.is_empty() && gone.is_empty(), "new routes: {missing:?}; routes that are gone: {gone:?}");
}

/// A portal over a fleet, and a page of somebody who may do everything.
pub(crate) async fn look_at(acme: &Acme) -> Option<(Portal, Page)> {
    let browser = Browser::shared().await?;
    let place = Workplace::empty();
    acme.configure(place.path());
    let portal = Portal::start(place).await;
    let page = browser.page().await;
    portal.sign_in(&page, people::ADMIN).await;
    Some((portal, page))
}

/// What is wrong with the look of a page.
pub(crate) async fn faults(page: &Page, axe: &Axe) -> Vec<String> {
    let mut faults = BTreeMap::<String, Vec<String>>::new();
    for width in [1280, 360] {
        page.size(width, 800).await;
        for scheme in ["light", "dark"] {
            page.prefer(scheme).await;
            let mut found = axe.violations(page).await;
            found.extend(page.evaluate(TOO_WIDE).await.as_array().unwrap().iter().map(ToString::to_string));
            for fault in found {
                faults.entry(fault).or_default().push(format!("{width} px {scheme}"));
            }
        }
    }
    let mut faults: Vec<_> =
        faults.into_iter().map(|(fault, places)| format!("{}: {fault}", places.join(", "))).collect();
    // That the page itself was refused is for who opened it to judge.
    let own = format!("{}: {}", page.url().await, page.status());
    let complaints = page.complaints().await.into_iter().filter(|complaint| !complaint.what.ends_with(&own));
    faults.extend(complaints.map(|complaint| format!("{complaint:?}")));
    faults
}

async fn look_at_all(acme: Acme, paths: impl Iterator<Item = &'static str>) {
    let Some(axe) = Axe::find() else { return };
    let Some((portal, page)) = look_at(&acme).await else { return };
    let mut found = Vec::new();
    for path in paths {
        let status = page.open(&portal.url(path)).await;
        found.extend(faults(&page, &axe).await.into_iter().map(|fault| format!("{path}: {status}: {fault}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_a_full_fleet_can_be_used_by_everybody() {
    look_at_all(Acme::full().await, PAGES.iter().map(|(_, url)| *url).chain(UNASKED)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_leave_the_first_screen_to_what_they_are_about() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    for path in ["/cells", "/agents", "/audit", "/deployments"] {
        page.open(&portal.url(path)).await;
        for width in [360, 820] {
            page.size(width, 800).await;
            let height = page.evaluate("document.querySelector('form.filters').getBoundingClientRect().height").await;
            assert!(height.as_f64().unwrap() < 100.0, "{path} at {width} px: {height} px of filters");
        }
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_fills_the_widest_screen() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.open(&portal.url("/")).await;
    let gap = "(() => {
        const [columns, panels] = ['.columns', '.columns > .panel'].map((of) => [...document.querySelectorAll(of)]);
        const right = (e) => e.getBoundingClientRect().right;
        return right(columns[0]) - Math.max(...panels.slice(0, 3).map(right));
    })()";
    for (width, row) in [(1280, 3), (3840, 3), (360, 1)] {
        page.size(width, 1000).await;
        assert!(page.evaluate(gap).await.as_f64().unwrap() < 2.0, "{width} px");
        let tops = "new Set([...document.querySelectorAll('.columns > .panel:not(.all)')]                    .map((e) => e.getBoundingClientRect().top)).size";
        assert_eq!(page.evaluate(tops).await, 4 - row, "{width} px: rows of panels");
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_an_empty_fleet_can_be_used_by_everybody() {
    let unnamed = PAGES.iter().filter(|(route, url)| route == url);
    look_at_all(Acme::empty().await, unnamed.map(|(_, url)| *url).chain(UNASKED)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_in_can_be_used_by_everybody() {
    let (Some(axe), Some(browser)) = (Axe::find(), Browser::shared().await) else { return };
    let (acme, place) = (Acme::empty().await, Workplace::empty());
    acme.configure(place.path());
    let portal = Portal::start_with(place, &["--listen", "127.0.0.1:0"]).await;
    let page = browser.page().await;
    for url in [portal.first_link().await, portal.url("/sign-in")] {
        assert_eq!(page.open(&url).await, 200);
        assert_eq!(faults(&page, &axe).await, [""; 0], "{url}");
    }
    page.end().await;
}
