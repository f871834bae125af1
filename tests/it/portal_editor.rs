//! The editor and the upload with scripts, in a real browser: what they add to the plain forms.

use std::path::Path;
use std::time::Duration;

use crate::portal_pages::look_at;
use crate::support::acme::Acme;
use crate::support::browser::{button, css, field, heading, link};
use crate::support::proxy::{Fault, FaultProxy, On, Rule};

/// What stands in the editor, and what its form would send.
const TEXTS: &str = "(() => {
    const lines = [...document.querySelector('.editor').shadowRoot.querySelectorAll('.cm-line')];
    const shown = lines.map((line) => line.textContent).join('\\n');
    return shown === document.getElementById('text').value ? shown : 'two texts';
})()";

/// Whether the browser would ask before it leaves the page.
const ASKS: &str = "(() => {
    const leave = new Event('beforeunload', { cancelable: true });
    dispatchEvent(leave);
    return leave.defaultPrevented;
})()";

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_shown_at_their_lines_while_a_text_is_written() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.open(&portal.url("/manifests/new")).await;
    page.see("Nothing is wrong with it.").await;
    assert_eq!(page.evaluate(ASKS).await, false, "nothing was typed yet");
    let is_styled = "document.querySelector('.editor').shadowRoot.adoptedStyleSheets.length > 0";
    assert_eq!(page.evaluate(is_styled).await, true);

    page.fill(field("The manifest"), "name: shop\nprofile:\n  deploi: {}").await;
    page.see("1 mistake").await;
    assert_eq!(page.evaluate(TEXTS).await, "name: shop\nprofile:\n  deploi: {}");
    assert_eq!(page.evaluate(ASKS).await, true);
    let marked = "document.querySelector('.editor').shadowRoot.querySelector('.cm-lintRange-error')?.textContent";
    page.wait(&format!("{marked} === 'deploi'")).await;
    page.click(link("Line 3, column 3")).await;
    page.wait("document.activeElement.className === 'editor'").await;
    // The cursor is where the mistake is.
    page.press("x").await;
    page.wait(&format!("({TEXTS}).endsWith('  xdeploi: {{}}')")).await;

    page.fill(field("The manifest"), "name: shop\nprofile:\n  deploy: {}").await;
    page.see("Nothing is wrong with it.").await;
    page.fill(field("Reason"), "we open a shop").await;
    page.click(button("Review the change")).await;
    page.has(heading("New manifest: review")).await;
    page.click(button("Back to the text")).await;
    page.wait(&format!("{TEXTS} === 'name: shop\\nprofile:\\n  deploy: {{}}'")).await;
    assert_eq!(page.evaluate(ASKS).await, true, "it is kept nowhere yet");
    page.click(button("Review the change")).await;
    page.click(button("Save")).await;
    page.has(heading("Manifest shop")).await;

    // Refused by the server, it comes back in the editor, which numbers the lines itself.
    let wrong = [("step", "preview".to_owned()), ("text", "name: shop\nprofile: {deploi: {}}".to_owned())];
    assert_eq!(page.send_form(&portal.url("/manifests/new"), &wrong, &[]).await, 422);
    page.see("Line 2, column 11").await;
    page.wait(&format!("{TEXTS} === 'name: shop\\nprofile: {{deploi: {{}}}}'")).await;
    page.see_no("with its lines numbered").await;
    page.expect_failed(&["/manifests/new: 422"]).await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_types_before_the_editor_is_there_goes_on_in_it() {
    let acme = Acme::full().await;
    for typed in ["name: sho", ""] {
        let Some((portal, page)) = look_at(&acme).await else { return };
        let proxy = FaultProxy::start(&portal.origin).await;
        proxy.inject(Rule::new(On::get("*/codemirror.js"), Fault::Delay(Duration::from_secs(3))));
        page.open(&format!("{}/manifests/new", proxy.endpoint())).await;
        page.fill(field("The manifest"), typed).await;
        page.wait("document.querySelector('.editor') !== null").await;
        for more in ["p", "s"] {
            page.press(more).await;
        }
        page.wait(&format!("{TEXTS} === '{typed}ps'")).await;
        page.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_the_same_is_written_and_mistakes_are_told_at_their_lines() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.without_scripts().await;
    page.open(&portal.url("/manifests/new")).await;
    page.fill(field("The manifest"), "name: shop\nprofile:\n  deploi: {}").await;
    page.click(button("Review the change")).await;
    page.see("Line 3, column 3").await;
    page.expect_failed(&["/manifests/new: 422"]).await;
    page.click(link("Line 3, column 3")).await;
    assert!(page.url().await.ends_with("#line-3"));
    page.see("Your text with its lines numbered").await;
    page.fill(field("The manifest"), "name: shop\nprofile:\n  deploy: {}").await;
    page.click(button("Review the change")).await;
    page.click(button("Save")).await;
    page.has(heading("Manifest shop")).await;
    page.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_uploaded_and_what_is_wrong_is_told_without_losing_the_form() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join("dist").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("index.html", "<h1>shop</h1>");
    write("css/site.css", "h1 {}");
    let dist = folder.path().join("dist");
    let give = async |name: &str| {
        page.open(&portal.url("/deployments/new?manifest=site")).await;
        page.fill(field("Name"), name).await;
        page.give_files(css("#folder"), &[Path::new(&dist)]).await;
        page.see("2 files").await;
        page.click(button("Send and review")).await;
        page.has(heading("Review a release of site")).await;
    };
    give("shop-1").await;
    page.see("1 new, 1 changed, 1 gone, 0 the same").await;
    page.click(button("Put it into the bucket")).await;
    page.has(heading("Release shop-1")).await;
    page.see("It is in the bucket, signed: 2 files were sent").await;
    page.see("css/site.css").await;

    // The name is taken by other content: nothing has to be sent again for another.
    write("index.html", "<h1>another</h1>");
    give("shop-1").await;
    page.see("exists with other content (index.html)").await;
    assert_eq!(page.value_of(field("Name")).await, "shop-1");
    page.fill(field("Name"), "shop-2").await;
    page.click(button("Look at another name")).await;
    // Not on the page before, which shows the same counts.
    page.has(button("Put it into the bucket")).await;
    page.see("0 new, 1 changed, 0 gone, 1 the same").await;

    // Somebody else is faster: the page that tells so is the one that a form without scripts gets.
    acme.upload("site", "shop-3", &[("index.html", "<h1>theirs</h1>")], None).await;
    page.click(button("Put it into the bucket")).await;
    page.see("What you saw").await;
    page.see("shop-3").await;
    let complaints = page.complaints().await;
    assert!(complaints.iter().all(|complaint| complaint.what.ends_with(": 409")), "{complaints:?}");
    page.click(button("Put it into the bucket")).await;
    page.has(heading("Release shop-2")).await;
    page.end().await;
}
