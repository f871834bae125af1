//! The pictures of the pages in `docs/screenshots`. `FLEETMAN_UPDATE=1 cargo test --test it portal_screenshots` takes
//! them again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::portal_pages::{GONE, PAGES, UNKNOWN, look_at};
use crate::support::acme::Acme;
use crate::support::browser::{Browser, Page, button, css};
use crate::support::find_tool;
use crate::support::portal::Portal;

/// Pages that are also shown in the dark, and on a telephone.
const DARK: [&str; 3] = ["/", "/cells", "/cells/{node}/{cell}/diff"];
const SMALL: [&str; 3] = ["/", "/agents", "/cells/{node}/{cell}"];

/// Of whoever is not signed in.
const SIGN_IN: &str = "sign-in.png";

/// All of them, in bytes: they are fetched with every clone.
const MOST_BYTES: u64 = 3_500_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/screenshots")
}

/// What a picture of a route is called: `/cells/{node}/{cell}/diff` is `cells-node-cell-diff`.
fn name(route: &str) -> String {
    let parts = route.split('/').filter(|part| !part.is_empty());
    let parts: Vec<_> = parts.map(|part| part.trim_matches(['{', '}', '*'])).collect();
    if parts.is_empty() { "overview".to_owned() } else { parts.join("-").replace('.', "-") }
}

/// Each picture of somebody who may do everything: its name, the address, how wide, and in which light.
fn pictures() -> Vec<(String, &'static str, u32, &'static str)> {
    let mut pictures = Vec::new();
    for &(route, url) in PAGES {
        pictures.push((format!("{}.png", name(route)), url, 1280, "light"));
        if DARK.contains(&route) {
            pictures.push((format!("{}-dark.png", name(route)), url, 1280, "dark"));
        }
        if SMALL.contains(&route) {
            pictures.push((format!("{}-small.png", name(route)), url, 360, "light"));
        }
    }
    pictures
}

/// Sends a release, and shows what it would change.
async fn review_an_upload(portal: &Portal, page: &Page) {
    let fields = [("manifest", "site"), ("name", "r3"), ("note", "The shop opens")];
    let files = [("files", "index.html", "<h1>Shop</h1>\n"), ("files", "shop.html", "<p>Soon\n")];
    let fields = fields.map(|(name, text)| (name, text.to_owned()));
    assert_eq!(page.send_form(&portal.url("/deployments/new"), &fields, &files).await, 200);
}

/// Deploys some cells once more, and shows how far they are.
async fn follow_several(portal: &Portal, page: &Page) {
    page.open(&portal.url("/cells/bulk?action=redeploy&which=all&manifest=site")).await;
    page.fill(css("#reason"), "New certificates").await;
    page.click(button("Redeploy 8 cells")).await;
    page.see("Waiting for the node to see it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_taken_when_asked_for() {
    if std::env::var_os("FLEETMAN_UPDATE").is_none() {
        return;
    }
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    if folder().exists() {
        std::fs::remove_dir_all(folder()).unwrap();
    }
    std::fs::create_dir_all(folder()).unwrap();
    for (name, url, width, scheme) in pictures() {
        page.size(width, 800).await;
        page.prefer(scheme).await;
        match url {
            GONE => review_an_upload(&portal, &page).await,
            UNKNOWN => follow_several(&portal, &page).await,
            url => drop(page.open(&portal.url(url)).await),
        }
        page.shot(true).await.save(&folder().join(name));
    }
    let stranger = Browser::shared().await.unwrap().page().await;
    stranger.open(&portal.url("/sign-in")).await;
    stranger.shot(true).await.save(&folder().join(SIGN_IN));
    stranger.end().await;
    page.end().await;
    // A third of the size, where the tool is there.
    if let Some(pngquant) = find_tool("pngquant") {
        let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
        let mut command = std::process::Command::new(pngquant);
        command.args(["128", "--ext", ".png", "--force", "--strip", "--"]).args(files);
        assert!(command.status().unwrap().success());
    }
}

#[test]
fn every_page_has_its_picture_and_docs_name_no_other() {
    if std::env::var_os("FLEETMAN_UPDATE").is_some() {
        return;
    }
    let there: BTreeSet<String> = std::fs::read_dir(folder())
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    let mut wanted: BTreeSet<String> = pictures().into_iter().map(|(name, ..)| name).collect();
    wanted.insert(SIGN_IN.to_owned());
    assert_eq!(there, wanted, "FLEETMAN_UPDATE=1 cargo test --test it portal_screenshots takes them again");
    let bytes: u64 = there.iter().map(|name| std::fs::metadata(folder().join(name)).unwrap().len()).sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes of pictures");
}
