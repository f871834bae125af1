//! What is sent small, to whom, and what is not.

use std::io::Read as _;

use flate2::read::GzDecoder;
use http_body_util::BodyExt as _;

use crate::support::acme::Acme;
use crate::support::cli::Workplace;
use crate::support::people;
use crate::support::portal::Portal;
use crate::support::serving::Answer;

const GZIP: (&str, &str) = ("accept-encoding", "gzip, deflate, br");
const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// What gzip holds.
fn read(answer: &Answer) -> Vec<u8> {
    assert_eq!(answer.header("content-encoding"), "gzip");
    let mut bytes = Vec::new();
    GzDecoder::new(&answer.body[..]).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Everything on which an answer depends.
fn depends_on(answer: &Answer) -> Vec<&str> {
    let lines = answer.headers.get_all("vary").iter().map(|line| line.to_str().unwrap());
    lines.flat_map(|line| line.split(',')).map(str::trim).collect()
}

async fn portal() -> (Acme, Portal) {
    let acme = Acme::empty().await;
    let place = Workplace::empty();
    acme.configure(place.path());
    (acme, Portal::start(place).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pages_load_is_sent_as_gzip_to_who_reads_it() {
    let (_acme, portal) = portal().await;
    let page = portal.get("/").await;
    let mut paths: Vec<&str> =
        page.split('"').filter(|text| text.starts_with("/static/") && !text.ends_with(".svg")).collect();
    paths.sort_unstable();
    paths.dedup();
    assert!(paths.len() >= 3, "{page}");
    for path in paths {
        let plain = portal.serving.get(path).await.is(200);
        assert_eq!((plain.header("content-encoding"), depends_on(&plain)), ("", vec!["accept-encoding"]), "{path}");
        // Nobody has to be signed in, and any site may lead here.
        let stranger = [GZIP, ("sec-fetch-site", "cross-site"), ("cookie", "none=1")];
        let small = portal.serving.send("GET", path, &stranger, "").await.is(200);
        assert!(read(&small) == plain.body && depends_on(&small) == ["accept-encoding"], "{path}");
        assert!(path.contains("ptag") || small.body.len() * 2 < plain.body.len(), "{path}: {}", small.body.len());
        for name in ["content-type", "cache-control", "x-content-type-options"] {
            assert_eq!(small.header(name), plain.header(name), "{path}");
        }
        assert_eq!(small.header("content-length"), small.body.len().to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_sent_as_gzip_unless_another_site_led_there() {
    let (_acme, portal) = portal().await;
    let get = async |path: &str, headers: &[(&str, &str)]| portal.serving.send("GET", path, headers, "").await;
    for own in ["same-origin", "none"] {
        let small = get("/settings", &[GZIP, ("sec-fetch-site", own)]).await.is(200);
        let page = String::from_utf8(read(&small)).unwrap();
        assert!(page.contains("<h1") && page.trim_end().ends_with("</html>"), "{page}");
        assert!(small.body.len() * 2 < page.len(), "{} of {}", small.body.len(), page.len());
        assert_eq!(small.header("content-length"), small.body.len().to_string());
        assert!(small.header("content-security-policy").contains("default-src 'none'"));
    }
    for headers in [
        &[OWN][..],
        &[GZIP],
        &[GZIP, ("sec-fetch-site", "cross-site")],
        &[GZIP, ("sec-fetch-site", "same-site")],
        &[OWN, ("accept-encoding", "gzip;q=0, br")],
    ] {
        let plain = get("/settings", headers).await.is(200);
        assert!(plain.text().contains("<h1") && plain.header("content-encoding").is_empty(), "{headers:?}");
        assert_eq!(depends_on(&plain), ["fleetman-fragment", "accept-encoding", "sec-fetch-site"], "{headers:?}");
    }
    // What went wrong is a page, too.
    let failed = get("/cells/n1/none", &[GZIP, OWN]).await.is(404);
    assert!(String::from_utf8(read(&failed)).unwrap().contains("there is no"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_programs_read_and_what_pages_hear_is_sent_as_it_is() {
    let (_acme, portal) = portal().await;
    let described = portal.serving.send("GET", "/api/v1/openapi.json", &[GZIP, OWN], "").await.is(200);
    assert_eq!((described.header("content-encoding"), described.header("vary")), ("", ""));
    let tag = described.header("etag").to_owned();
    assert!(described.json()["openapi"].is_string() && tag.starts_with('"'), "the tag is of these very bytes: {tag}");
    portal.serving.send("GET", "/api/v1/openapi.json", &[GZIP, OWN, ("if-none-match", &tag)], "").await.is(304);

    let cookie = portal.serving.sign_in(people::ADMIN).await;
    let mut stream = portal.serving.listen(&[("cookie", &cookie), GZIP, OWN]).await;
    let first = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"event: fleet\n"), "{first:?}");
}
