//! Pages that stay open: what changes in the bucket shows up by itself, and nobody loses what they were typing.

use std::time::Duration;

use crate::portal_pages::look_at;
use crate::support::acme::Acme;
use crate::support::browser::{Axe, Page, button, css, field, heading};
use crate::support::portal::Portal;
use crate::support::proxy::{Fault, FaultProxy, On, Rule};
use crate::support::{people, wait_for};

const SEARCH: &str = "Search agents, cells, manifests and deployments";

/// Marks the page that is shown, so that one that was loaded anew is told from it.
async fn mark(page: &Page) {
    page.evaluate("window.kept = true").await;
}

async fn is_kept(page: &Page) -> bool {
    page.evaluate("window.kept === true").await == true
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_shows_up_by_itself_and_what_is_being_typed_stays() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.open(&portal.url("/agents")).await;
    page.see("ams-1").await;
    mark(&page).await;
    page.fill(field(SEARCH), "half a wo").await;
    acme.beat_anew("new-1").await;
    page.see("new-1").await;
    assert!(is_kept(&page).await, "the page was loaded anew");
    assert_eq!(page.value_of(field(SEARCH)).await, "half a wo");
    assert_eq!(page.evaluate("document.activeElement.id").await, "search");

    // Paused, it hears of changes and leaves the page alone; the age goes on being told.
    page.click(button("Pause updates")).await;
    page.see("paused").await;
    // The window hears of it before the stream, where the page stops it.
    page.evaluate("window.addEventListener('fleet', () => { window.hasHeard = true; }, true)").await;
    acme.beat_anew("new-2").await;
    page.wait("window.hasHeard === true").await;
    // What would have been asked for at the next turn has been asked for by then.
    page.evaluate(
        "fetch('/agents').then((answer) => answer.text()).then((text) => { window.has2 = text.includes('new-2'); })",
    )
    .await;
    page.wait("window.has2 !== undefined").await;
    assert_eq!(page.evaluate("window.has2").await, true);
    assert!(!page.read().await.contains("new-2"));
    page.click(button("Resume updates")).await;
    page.see("new-2").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_bucket_a_page_stays_readable_and_says_so() {
    let mut acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.open(&portal.url("/")).await;
    page.see("Agent osl-1").await;
    acme.stop_store().await;
    page.see("The bucket does not answer").await;
    page.see("Agent osl-1").await;
    assert_eq!(page.open(&portal.url("/agents")).await, 200, "a page can still be opened");
    page.see("ams-1").await;
    page.see("The bucket does not answer").await;
    acme.start_store().await;
    page.see_no("The bucket does not answer").await;
    page.see("live").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_lead_through_the_portal_and_can_be_switched_off() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.open(&portal.url("/")).await;
    page.press("/").await;
    page.wait("document.activeElement.id === 'search'").await;
    page.press("?").await;
    assert_eq!(page.value_of(field(SEARCH)).await, "?", "in a field keys are text");
    page.fill(field(SEARCH), "").await;
    page.click(heading("Overview")).await;
    page.press("?").await;
    page.has(heading("Keys")).await;
    if let Some(axe) = Axe::find() {
        assert_eq!(axe.violations(&page).await, [""; 0]);
    }
    page.click(css("#keys-on")).await;
    page.press("Escape").await;
    page.wait("!document.getElementById('keys').open").await;
    page.press("/").await;
    assert_ne!(page.evaluate("document.activeElement.id").await, "search", "keys are off");
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_behind_g_leads_to_each_section_and_the_help_names_them() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    let sections = [
        ("a", "/agents"),
        ("l", "/alerts"),
        ("e", "/events"),
        ("c", "/cells"),
        ("m", "/manifests"),
        ("d", "/deployments"),
        ("b", "/buckets"),
        ("u", "/audit"),
        ("s", "/settings"),
        ("o", "/"),
    ];
    page.open(&portal.url("/")).await;
    assert_eq!(page.count(css(".sections a")).await, sections.len(), "each has its letter");
    for (letter, path) in sections {
        page.press("g").await;
        page.press(letter).await;
        page.wait(&format!("location.pathname === '{path}'")).await;
        page.loaded().await;
        page.press("?").await;
        page.has(heading("Keys")).await;
        let named =
            format!("[...document.querySelectorAll('#keys kbd')].some((key) => key.textContent === '{letter}')");
        assert_eq!(page.evaluate(&named).await, true, "{letter}");
        page.press("Escape").await;
        page.wait("!document.getElementById('keys').open").await;
    }
    // A letter that leads nowhere, and what would be none of a selector's.
    for key in ["x", "\""] {
        page.press("g").await;
        page.press(key).await;
    }
    assert_eq!(page.evaluate("location.pathname").await, "/");
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_theme_is_remembered() {
    let acme = Acme::empty().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.prefer("light").await;
    page.open(&portal.url("/")).await;
    let background = "getComputedStyle(document.body).backgroundColor";
    let light = page.evaluate(background).await;
    page.click(button("Theme: auto")).await;
    page.click(button("Theme: light")).await;
    page.has(button("Theme: dark")).await;
    let dark = page.evaluate(background).await;
    assert_ne!(dark, light);
    page.open(&portal.url("/")).await;
    assert_eq!(page.evaluate(background).await, dark);

    // Paper stays white, and what is on it can be read.
    page.print().await;
    assert_eq!(page.evaluate(background).await, "rgb(255, 255, 255)");
    assert_eq!(page.evaluate("getComputedStyle(document.body).color").await, "rgb(27, 34, 44)");
    let panel = "getComputedStyle(document.querySelector('.empty')).backgroundColor";
    assert_eq!(page.evaluate(panel).await, "rgb(255, 255, 255)");
    page.open(&portal.url("/settings")).await;
    assert_eq!(page.evaluate("getComputedStyle(document.querySelector('.tabs')).display").await, "none");
    page.end().await;
}

/// The address of a page at another origin, which passes on what is asked of the portal.
fn url(proxy: &FaultProxy, path: &str) -> String {
    format!("{}{path}", proxy.endpoint())
}

/// The pages, and what they listen to and fetch by themselves.
fn pages() -> On {
    On::list("")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_catches_up_with_what_it_could_not_fetch() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    let proxy = FaultProxy::start(&portal.origin).await;
    page.open(&url(&proxy, "/agents")).await;
    page.see("live").await;
    for (node, fault) in [("new-1", Fault::status(502)), ("new-2", Fault::LoseRequest)] {
        // The page, its stream, and the part that it fetches at the first event: nothing is under way any more.
        let fetched = proxy.count(pages());
        proxy.inject(Rule::new(pages(), fault));
        acme.beat_anew(node).await;
        wait_for(async || proxy.count(pages()) > fetched, "the page to ask for what changed").await;
        page.wait("document.querySelector('#live table') !== null").await;
        proxy.heal();
        page.see(node).await;
    }
    let complaints = page.complaints().await;
    let own =
        complaints.iter().find(|complaint| complaint.kind != "request" && !complaint.what.contains("Failed to fetch"));
    assert_eq!(own, None);
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_listens_also_when_its_scripts_come_one_by_one() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    let proxy = FaultProxy::start(&portal.origin).await;
    proxy.inject(Rule::new(On::get("*/hx-*"), Fault::Delay(Duration::from_secs(1))));
    page.open(&url(&proxy, "/agents")).await;
    page.see("ams-1").await;
    acme.beat_anew("new-1").await;
    page.see("new-1").await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_listens_also_when_the_first_try_failed() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    let proxy = FaultProxy::start(&portal.origin).await;
    proxy.inject(Rule::new(pages(), Fault::status(502)).skip(1).times(1));
    page.open(&url(&proxy, "/agents")).await;
    page.see("ams-1").await;
    acme.beat_anew("new-1").await;
    page.see("new-1").await;
    page.expect_failed(&["/live: 502"]).await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_tells_that_nobody_is_signed_in_and_goes_on_once_somebody_is() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.open(&portal.url("/agents")).await;
    page.see("ams-1").await;
    let other = page.another().await;
    other.open(&portal.url("/")).await;
    other.click(button("tester")).await;
    other.click(button("Sign out")).await;
    page.see("You are no longer signed in").await;
    assert_eq!(page.count(css("#live *")).await, 2, "{}", page.read().await);
    portal.sign_in(&other, people::ADMIN).await;
    acme.beat_anew("new-1").await;
    page.see("new-1").await;
    let complaints = page.complaints().await;
    assert!(complaints.iter().all(|complaint| complaint.kind == "request"), "{complaints:#?}");
    page.end().await;
    other.end().await;
}

/// How many requests to a route the portal has answered.
async fn answered(portal: &Portal, route: &str) -> u64 {
    let metrics = portal.get("/metrics").await;
    let of_route = format!("fleetman_http_requests_total{{method=\"GET\",route=\"{route}\"");
    let counts = metrics.lines().filter(|line| line.starts_with(&of_route));
    counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

async fn open_streams(portal: &Portal) -> u64 {
    let metrics = portal.get("/metrics").await;
    let line = metrics.lines().find_map(|line| line.strip_prefix("fleetman_live_streams "));
    line.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_page_asks_for_nothing_and_catches_up_once_it_is_seen() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.open(&portal.url("/agents")).await;
    wait_for(async || open_streams(&portal).await == 1, "its stream to be there").await;
    let front = page.hide().await;
    // What it asked for before it was hidden has been answered, too.
    page.wait("document.querySelector('.htmx-request') === null").await;
    let (pages, streams) = (answered(&portal, "/agents").await, answered(&portal, "/live").await);

    // A page that is seen tells when the hidden one would have heard of it, too.
    let seen = page.another().await;
    seen.open(&portal.url("/cells")).await;
    wait_for(async || answered(&portal, "/live").await > streams, "the other's stream to be there").await;
    acme.beat_anew("new-1").await;
    wait_for(async || portal.get("/agents.json").await.contains("new-1"), "the portal to have read it").await;
    seen.evaluate(
        "window.revisions = 0; document.getElementById('stream').addEventListener('age', () => window.revisions++)",
    )
    .await;
    seen.wait("window.revisions > 0").await;
    assert_eq!(answered(&portal, "/agents").await, pages);
    assert_eq!(answered(&portal, "/live").await, streams + 1, "the stream of the page that is seen");
    assert!(!page.read().await.contains("new-1"));

    page.show(front).await;
    page.see("new-1").await;
    assert!(answered(&portal, "/agents").await > pages);
    wait_for(async || answered(&portal, "/live").await == streams + 2, "its ended stream to be there anew").await;
    seen.end().await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_was_never_seen_has_no_stream_until_it_is() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    let front = page.hide().await;
    wait_for(async || open_streams(&portal).await == 0, "its stream to end").await;
    let before = answered(&portal, "/live").await;
    page.open(&portal.url("/agents")).await;
    wait_for(async || answered(&portal, "/live").await > before, "its stream to have been asked for").await;
    wait_for(async || open_streams(&portal).await == 0, "its stream to end").await;
    acme.beat_anew("new-1").await;
    wait_for(async || portal.get("/agents.json").await.contains("new-1"), "the portal to have read it").await;
    assert!(!page.read().await.contains("new-1"));
    page.show(front).await;
    page.see("new-1").await;
    assert_eq!(open_streams(&portal).await, 1);
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_asks_again_and_again_does_not_while_it_is_hidden_or_paused() {
    const FOLLOW: &str = "/cells/{node}/{cell}/follow";
    const POLLS: &str =
        "performance.getEntriesByType('resource').filter(({ name }) => name.includes('/follow')).length";
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    // Its node never gets there.
    let url = portal.url("/cells/lab-1/site/follow?at=1-1");
    page.open(&url).await;
    page.wait(&format!("{POLLS} > 1")).await;
    let seen = page.another().await;
    seen.open(&url).await;
    let polls = async |page: &Page| page.evaluate(POLLS).await.as_u64().unwrap();

    // While one page asks four times more, the portal hears of no others.
    let only_seen_asks = async |why: &str| {
        let (all, own) = (answered(&portal, FOLLOW).await, polls(&seen).await);
        seen.wait(&format!("{POLLS} > {}", own + 4)).await;
        let (own, all) = (polls(&seen).await - own, answered(&portal, FOLLOW).await - all);
        assert!(all <= own + 1, "{why}: {all} requests, of which {own} are of the page that is seen");
    };
    let front = page.hide().await;
    only_seen_asks("hidden").await;
    page.show(front).await;
    let before = polls(&page).await;
    page.wait(&format!("{POLLS} > {}", before + 1)).await;

    page.click(button("Pause updates")).await;
    only_seen_asks("paused").await;
    page.click(button("Resume updates")).await;
    let before = polls(&page).await;
    page.wait(&format!("{POLLS} > {}", before + 1)).await;
    seen.end().await;
    page.end().await;
}

const SEND: &str = "document.querySelector('main form[method=post] button:not([value=edit])')";

#[tokio::test(flavor = "multi_thread")]
async fn an_open_form_waits_for_the_bucket_and_keeps_what_was_typed() {
    let mut acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.open(&portal.url("/cells/ams-1/site/redeploy")).await;
    mark(&page).await;
    page.fill(field("Reason"), "half a reason").await;
    acme.stop_store().await;
    page.wait(&format!("{SEND}.disabled")).await;
    let why = format!("document.getElementById({SEND}.getAttribute('aria-describedby')).textContent");
    assert_eq!(page.evaluate(&why).await, "Nothing can be changed: the bucket does not answer.");
    if let Some(axe) = Axe::find() {
        assert_eq!(axe.violations(&page).await, [""; 0]);
    }
    // One that is opened meanwhile says so from the beginning.
    let other = page.another().await;
    other.open(&portal.url("/settings/tokens")).await;
    assert_eq!(other.evaluate(&format!("{SEND}.disabled")).await, true);
    assert_eq!(other.evaluate(&why).await, "Nothing can be changed: the bucket does not answer.");

    acme.start_store().await;
    page.wait(&format!("!{SEND}.disabled && !{SEND}.hasAttribute('aria-describedby')")).await;
    page.see_no("Nothing can be changed").await;
    other.wait(&format!("!{SEND}.disabled && !{SEND}.hasAttribute('aria-describedby')")).await;
    other.see_no("Nothing can be changed").await;
    assert!(is_kept(&page).await, "the page was loaded anew");
    assert_eq!(page.value_of(field("Reason")).await, "half a reason");
    page.click(button("Redeploy")).await;
    page.see("half a reason").await;
    other.end().await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_a_form_that_cannot_be_taken_comes_back_and_can_be_sent_again() {
    let mut acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.without_scripts().await;
    page.open(&portal.url("/cells/ams-1/site/redeploy")).await;
    page.fill(field("Reason"), "half a reason").await;
    acme.stop_store().await;
    wait_for(async || portal.answer("/readyz").await.0 == 503, "the outage to be noticed").await;
    page.click(button("Redeploy")).await;
    page.see("What you typed").await;
    page.see("half a reason").await;
    page.expect_failed(&["/redeploy: 503"]).await;
    acme.start_store().await;
    wait_for(async || portal.answer("/readyz").await.0 == 200, "the portal to come back").await;
    page.click(button("Send it again")).await;
    page.see("half a reason").await;
    assert!(page.url().await.contains("/cells/ams-1/site/follow?at="));
    page.end().await;
}
