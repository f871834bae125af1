//! The browser that the portal's tests look through sees what it must: each kind of failure is planted once, on a page
//! of the test's own.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::Multipart;
use axum::http::StatusCode;
use axum::http::header::CONTENT_SECURITY_POLICY;
use axum::response::Html;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::browser::{Axe, Browser, Page, button, css, field, heading, link, text};
use crate::support::wait_for;

const FORM: &str = "<!doctype html><html lang=en><title>Form</title><main><h1>A form</h1>
<form method=post enctype=multipart/form-data action=/told>
<p><label>Name <input name=name value=old></label>
<p><label>Colour <select name=colour><option>red<option>blue</select></label>
<p><label><input type=checkbox name=sure> I am sure</label>
<p><label>Folder <input type=file name=folder webkitdirectory multiple></label>
<p><button>Send</button> <button type=button disabled>Later</button></form>
<table><tr><td>one<td><a href=/calm>Open</a><tr id=two><td>two<td><a href=/two>Open</a></table>
<p hidden><a href=/hidden>Hidden</a><script src=/script.js></script></main>";

/// A site of a test's own.
struct Site {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Drop for Site {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Site {
    async fn start() -> Self {
        let html = |body: &'static str| get(move || async move { Html(body) });
        let calm = "<!doctype html><html lang=en><title>Calm</title><main><h1>Nothing wrong</h1></main>";
        let strict = [(CONTENT_SECURITY_POLICY, "default-src 'none'")];
        let inline = "<!doctype html><title>Inline</title><h1 style='color: red'>Red</h1><script>pwned = 1</script>";
        let script = "document.title = 'scripted'; addEventListener('keydown', (e) => document.title = e.key);";
        let routes = Router::new()
            .route("/calm", html(calm))
            .route("/two", html("<!doctype html><title>Two</title><h1>The second</h1>"))
            .route("/form", html(FORM))
            .route("/script.js", get(move || async move { ([("content-type", "text/javascript")], script) }))
            .route("/console", html("<!doctype html><title>x</title><script>console.error('oh', 7)</script>"))
            .route("/throws", html("<!doctype html><title>x</title><script>nothing.there()</script>"))
            .route("/asks", html("<!doctype html><title>x</title><script>alert('hello')</script>"))
            .route("/lacks", html("<!doctype html><title>x</title><img alt='' src=/none.png>"))
            .route("/calls", html("<!doctype html><title>x</title><img alt='' src=http://192.0.2.1/a.png>"))
            .route("/gone", get(|| async { (StatusCode::CONFLICT, Html("<!doctype html><title>x</title>Gone")) }))
            .route("/policy", get(move || async move { (strict, Html(inline)) }))
            .route("/unnamed", html("<!doctype html><html lang=en><title>x</title><main><h1>x</h1><input></main>"))
            .route("/told", post(told))
            .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, serving }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Says what a form sent.
async fn told(mut form: Multipart) -> Html<String> {
    let mut fields = Vec::new();
    while let Some(field) = form.next_field().await.unwrap() {
        let (name, file) = (field.name().unwrap().to_owned(), field.file_name().map(str::to_owned));
        fields.push(format!("{name}={}{}", file.unwrap_or_default(), field.text().await.unwrap()));
    }
    Html(format!("<!doctype html><title>Told</title><p>{}", fields.join(" ")))
}

async fn site_and_page() -> Option<(Site, Page)> {
    let browser = Browser::shared().await?;
    Some((Site::start().await, browser.page().await))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_filled_and_sent_by_the_names_of_its_fields() {
    let Some((site, page)) = site_and_page().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let release = folder.path().join("release");
    std::fs::create_dir_all(release.join("inner")).unwrap();
    std::fs::write(release.join("inner/a.txt"), "one").unwrap();
    std::fs::write(release.join("b.txt"), "two").unwrap();
    for scripts in [true, false] {
        if !scripts {
            page.without_scripts().await;
        }
        assert_eq!(page.open(&site.url("/form")).await, 200);
        assert_eq!(page.evaluate("document.title").await == "scripted", scripts);
        page.has(heading("A form")).await;
        page.fill(field("Name"), "brand new").await;
        assert_eq!(page.value_of(field("Name")).await, "brand new");
        page.choose(field("Colour"), "blue").await;
        page.click(field("I am sure")).await;
        page.give_files(css("input[type=file]"), &[&release]).await;
        page.click(button("Send")).await;
        let told = page.read().await;
        assert!(told.starts_with("name=brand new colour=blue sure=on folder=release/"), "{told}");
        assert!(told.contains("release/inner/a.txtone") && told.contains("release/b.txttwo"), "{told}");
    }
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_a_user_can_reach_is_found_and_a_click_lands_where_it_leads() {
    let Some((site, page)) = site_and_page().await else { return };
    page.open(&site.url("/form")).await;
    assert_eq!(page.count(link("Open")).await, 2);
    assert_eq!(page.count(link("Hidden")).await, 0);
    page.press("x").await;
    page.wait("document.title === 'x'").await;
    page.press("Enter").await;
    page.wait("document.title === 'Enter'").await;
    page.click(link("Open").within(css("#two"))).await;
    page.has(text("The second")).await;
    assert_eq!(page.url().await, site.url("/two"));
    let other = page.another().await;
    other.open(&site.url("/calm")).await;
    other.see("Nothing wrong").await;
    other.end().await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_on_a_page_is_told_of() {
    let Some((site, page)) = site_and_page().await else { return };
    for (path, kind, part) in [
        ("/console", "console", "oh"),
        ("/throws", "exception", "nothing is not defined"),
        ("/asks", "dialog", "alert: hello"),
        ("/lacks", "request", "/none.png: 404"),
        ("/calls", "request", "http://192.0.2.1/a.png: net::ERR_NAME_NOT_RESOLVED"),
        ("/gone", "request", "/gone: 409"),
        ("/policy", "csp", "script-src"),
        ("/policy", "csp", "style-src"),
    ] {
        page.open(&site.url(path)).await;
        let mut told = Vec::new();
        let there = async || {
            told.extend(page.complaints().await);
            told.iter().any(|complaint| complaint.kind == kind && complaint.what.contains(part))
        };
        wait_for(there, &format!("{path} to be told of as {kind}")).await;
        if kind != "csp" {
            assert_eq!(told.len(), 1, "{told:?}");
        }
    }
    // Policies are also kept where no script runs.
    page.without_scripts().await;
    page.open(&site.url("/policy")).await;
    let told = async || page.complaints().await.iter().any(|complaint| complaint.what.contains("style-src"));
    wait_for(told, "the style to be told of without scripts").await;

    page.open(&site.url("/gone")).await;
    assert_eq!(page.status(), 409);
    page.expect_failed(&["/gone: 409"]).await;
    page.open(&site.url("/lacks")).await;
    let ended = tokio::spawn(async move { page.end().await }).await;
    assert!(ended.unwrap_err().is_panic(), "an unexpected failure must fail the test");
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_finds_what_has_no_name_while_the_policy_is_in_force() {
    let Some((site, page)) = site_and_page().await else { return };
    let Some(axe) = Axe::find() else { return page.end().await };
    page.open(&site.url("/calm")).await;
    assert_eq!(axe.violations(&page).await, [""; 0]);
    page.open(&site.url("/unnamed")).await;
    let found = axe.violations(&page).await;
    assert!(found.iter().any(|violation| violation.starts_with("label: ")), "{found:#?}");
    page.open(&site.url("/policy")).await;
    page.complaints().await;
    assert!(!axe.violations(&page).await.is_empty());
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn size_scheme_and_pictures_are_what_was_asked_for() {
    let Some((site, page)) = site_and_page().await else { return };
    page.open(&site.url("/form")).await;
    for (width, scheme) in [(360, "dark"), (1280, "light")] {
        page.size(width, 700).await;
        page.prefer(scheme).await;
        page.wait(&format!("innerWidth === {width} && matchMedia('(prefers-color-scheme: {scheme})').matches")).await;
        let shot = page.shot(false).await.0;
        let size = |at: usize| u32::from_be_bytes(shot[at..at + 4].try_into().unwrap());
        assert_eq!((&shot[1..4], size(16), size(20)), (&b"PNG"[..], width, 700));
    }
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('p'), { innerText: '\\n'.repeat(99) })); 0",
    )
    .await;
    let tall = page.shot(true).await.0;
    assert!(u32::from_be_bytes(tall[20..24].try_into().unwrap()) > 1000);
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_browser_is_left() {
    let Some(browser) = Browser::own(&[]).await else { return };
    let profile = browser.profile();
    let name = profile.display().to_string();
    let running = || {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&line).into_owned())
        });
        processes.filter(|line| line.contains(&name)).count()
    };
    assert!(running() > 0);
    let page = browser.page().await;
    page.open("about:blank").await;
    page.end().await;
    drop(browser);
    wait_for(async || running() == 0 && !profile.exists(), "the browser and its profile to be gone").await;
}
