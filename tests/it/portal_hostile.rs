//! What strangers wrote into the bucket is shown on every page, and obeyed on none.

use serde_json::Value;

use crate::portal_answers::FORMS;
use crate::portal_pages::{GONE, PAGES, TOO_WIDE, UNKNOWN, look_at};
use crate::support::acme::Acme;
use crate::support::browser::Page;
use crate::support::hostile::{self, NASTY};

/// What has an effect although it cannot be seen: control characters, and what turns a line around or hides. Texts that
/// are being edited are left alone: they must come back as they are.
const STEERS: &str = "(() => {
    const page = document.documentElement.cloneNode(true);
    for (const edited of page.querySelectorAll('textarea, input[type=hidden]')) edited.remove();
    const found = page.outerHTML.match(/.{0,40}[\\0-\\x08\\x0b-\\x1f\\x7f\\u200b\\u202a-\\u202e\\u2066-\\u2069\\ufeff].{0,40}/u);
    return found && JSON.stringify(found[0]);
})()";

/// What is on a page that nothing of ours puts there.
const INJECTED: &str = "[...document.querySelectorAll('script, style, iframe, object, embed, base, meta[http-equiv], *')]
    .filter((e) => (e.matches('script') && new URL(e.src).pathname.startsWith('/static/') === false)
        || e.matches('style, iframe, object, embed, base, [src=x]')
        || [...e.attributes].some(({ name, value }) => name.startsWith('on') || name === 'style' || /^\\s*javascript:/i.test(value) && name === 'href'))
    .map((e) => e.outerHTML.slice(0, 200))";

/// What is wrong with the page that is open, which shows what strangers wrote.
async fn faults(page: &Page) -> Vec<String> {
    let mut faults = Vec::new();
    if page.evaluate("typeof window.pwned").await != "undefined" {
        faults.push("its script ran".to_owned());
    }
    let injected = page.evaluate(INJECTED).await;
    faults.extend(injected.as_array().unwrap().iter().map(|element| format!("not ours: {element}")));
    if let Some(found) = page.evaluate(STEERS).await.as_str() {
        faults.push(format!("it steers: {found}"));
    }
    for width in [360, 1280] {
        page.size(width, 800).await;
        faults
            .extend(page.evaluate(TOO_WIDE).await.as_array().unwrap().iter().map(|wide| format!("{width} px: {wide}")));
    }
    let mut complaints = page.complaints().await;
    complaints.retain(|complaint| page.status() == 200 || complaint.kind != "request");
    faults.extend(complaints.into_iter().map(|complaint| format!("{complaint:?}")));
    faults
}

/// What is wrong with how `url` was answered.
async fn judge(page: &Page, url: &str, status: u64, is_expected: bool) -> Vec<String> {
    let mut faults = faults(page).await;
    if !is_expected {
        faults.push(page.read().await.lines().take(4).collect::<Vec<_>>().join(" "));
    }
    let short = url.chars().take(160).collect::<String>();
    faults.into_iter().map(|fault| format!("{short}: {status}: {fault}")).collect()
}

/// The same form with hostile text wherever text is typed.
fn poisoned(fields: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    let typed = ["name", "note", "reason", "seen", "text", "settings", "nodes", "manifest", "cell", "may", "as", "to"];
    let mut fields: Vec<_> = fields.into_iter().filter(|(name, _)| !typed.contains(name)).collect();
    fields.extend(typed.map(|name| (name, NASTY.to_owned())));
    fields
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_wrote_is_shown_on_every_page_and_obeyed_on_none() {
    let acme = Acme::full().await;
    hostile::plant(&acme).await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    // The newest release is none of ours: which one is meant has to be said.
    let status = |url: &str| match url {
        "/cells/ber-1/site/publish" => 403,
        GONE => 410,
        UNKNOWN => 404,
        // What is known of alerts was replaced, and that one was in it.
        "/alerts/unack?alert=health_failing:cell/osl-1/site" => 404,
        _ => 200,
    };
    let fleet = PAGES.iter().map(|(_, url)| ((*url).to_owned(), status(url)));
    let mut found = Vec::new();
    for (path, expected) in fleet.chain(hostile::pages()) {
        let status = page.open(&portal.url(&path)).await;
        found.extend(judge(&page, &path, status, status == expected).await);
    }
    for (path, fields, expected) in hostile::forms() {
        let status = page.send_form(&portal.url(&path), &fields, &[]).await;
        found.extend(judge(&page, &path, status, status == expected).await);
    }
    for form in FORMS {
        let fields = poisoned(form.fields(&portal, &page).await);
        let files: Vec<_> = form.files.iter().map(|(field, ..)| (*field, NASTY, NASTY)).collect();
        let status = page.send_form(&portal.url(form.url), &fields, &files).await;
        found.extend(judge(&page, form.url, status, status == 200 || (400..500).contains(&status)).await);
    }
    let (url, name) = ("/deployments/new", "<img src=x onerror=window.pwned=1> \u{202e}gnp.exe");
    let fields = [("manifest", "evil"), ("note", NASTY), ("executables", "<img> *")];
    let status = page
        .send_form(&portal.url(url), &fields.map(|(name, text)| (name, text.to_owned())), &[("files", name, NASTY)])
        .await;
    found.extend(judge(&page, "the review of an upload", status, status == 200).await);
    assert!(found.is_empty(), "{}", found.join("\n"));

    page.open(&portal.url("/agents")).await;
    let shown = page.read().await;
    for node in ["ams-1", "ber-1", "osl-1", "mad-1", "big-1", "deep-1", "old-1", "evil-1"] {
        assert!(shown.contains(node), "{node} is not among {shown}");
    }
    page.end().await;
    assert!(portal.get("/agents/big-1").await.contains("larger than the 1048576 bytes"));
    for path in hostile::LISTS {
        let (status, text) = portal.answer(path).await;
        assert_eq!(status, 200, "{path}: {text}");
        assert!(text.contains("ams-1") || path.contains("audit"), "{path}: {text}");
        if path.contains("csv") {
            assert!(!text.contains(['\u{202e}', '\u{1b}']), "{path}: {text}");
        } else {
            let lines = if path.contains("ndjson") { text.lines().collect() } else { vec![text.as_str()] };
            assert!(lines.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{path}: {text}");
        }
    }
}
