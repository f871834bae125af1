//! What strangers wrote into the bucket is shown on every page, and obeyed on none.

use futures_util::{StreamExt as _, stream};

use crate::portal_pages::{PAGES, TOO_WIDE, look_at};
use crate::support::acme::Acme;
use crate::support::browser::Page;
use crate::support::hostile;

/// What has an effect although it cannot be seen: control characters, and what turns a line around or hides. Texts that
/// are being edited are left alone: they must come back as they are.
const STEERS: &str = "(() => {
    const page = document.documentElement.cloneNode(true);
    for (const edited of page.querySelectorAll('textarea')) edited.remove();
    const found = page.outerHTML.match(/.{0,40}[\\0-\\x08\\x0b-\\x1f\\x7f\\u200b\\u202a-\\u202e\\u2066-\\u2069\\ufeff].{0,40}/u);
    return found && JSON.stringify(found[0]);
})()";

/// What is wrong with a page that shows what strangers wrote.
async fn faults(page: &Page, url: &str, expected: u64) -> Vec<String> {
    let status = page.open(url).await;
    let mut faults = Vec::new();
    if status != expected {
        faults.push(format!("status {status}: {}", page.read().await.lines().take(4).collect::<Vec<_>>().join(" ")));
    }
    if page.evaluate("typeof window.pwned").await != "undefined" {
        faults.push("its script ran".to_owned());
    }
    if let Some(found) = page.evaluate(STEERS).await.as_str() {
        faults.push(format!("it steers: {found}"));
    }
    for width in [360, 1280] {
        page.size(width, 800).await;
        faults
            .extend(page.evaluate(TOO_WIDE).await.as_array().unwrap().iter().map(|wide| format!("{width} px: {wide}")));
    }
    let mut complaints = page.complaints().await;
    complaints.retain(|complaint| status == 200 || complaint.kind != "request");
    faults.extend(complaints.into_iter().map(|complaint| format!("{complaint:?}")));
    let short = url.chars().take(160).collect::<String>();
    faults.into_iter().map(|fault| format!("{short}: {fault}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_wrote_is_shown_on_every_page_and_obeyed_on_none() {
    let acme = Acme::full().await;
    hostile::plant(&acme).await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    // The newest release is none of ours: which one is meant has to be said.
    let status = |url: &str| if url == "/cells/ber-1/site/publish" { 403 } else { 200 };
    let fleet = PAGES.iter().map(|(_, url)| ((*url).to_owned(), status(url)));
    let pages = stream::iter(fleet.chain(hostile::pages()));
    let found = pages.then(async |(path, status)| faults(&page, &portal.url(&path), status).await);
    let found: Vec<_> = found.concat().await;
    assert!(found.is_empty(), "{}", found.join("\n"));

    page.open(&portal.url("/agents")).await;
    let shown = page.read().await;
    for node in ["ams-1", "ber-1", "osl-1", "mad-1", "big-1"] {
        assert!(shown.contains(node), "{node} is not among {shown}");
    }
    page.end().await;
}
