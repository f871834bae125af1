//! What browsers are told with every answer, whatever kind it is.

use axum::http::HeaderMap;
use tokio::net::TcpStream;

use crate::support::acme::Acme;
use crate::support::cli::Workplace;
use crate::support::listening::Connection;
use crate::support::people;
use crate::support::portal::Portal;

/// What each answer says, but for how long it may be kept.
const USUAL: [(&str, &str); 5] = [
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "same-origin"),
    ("x-content-type-options", "nosniff"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
];

/// What is wrong with the head of an answer, each value of which has to be there once.
fn faults(headers: &HeaderMap, kept: &str) -> Vec<String> {
    let expected = USUAL.into_iter().chain([("cache-control", kept)]);
    let wrong = expected.filter_map(|(name, value)| {
        let found: Vec<_> = headers.get_all(name).iter().map(|found| found.to_str().unwrap()).collect();
        (found != [value]).then(|| format!("{name}: {found:?}, expected {value:?}"))
    });
    wrong.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_answer_keeps_browsers_from_what_they_need_not_do() {
    let (acme, place) = (Acme::full().await, Workplace::empty());
    acme.configure(place.path());
    let portal = Portal::start(place).await;
    let asset = portal.get("/").await;
    let asset =
        asset.split('"').find(|text| text.starts_with("/static/") && text.ends_with("app.css")).unwrap().to_owned();
    let document = portal.serving.get("/api/v1/openapi.json").await.is(200);
    let tag = document.header("etag").to_owned();

    let own = ("sec-fetch-site", "same-origin");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let json = ("content-type", "application/json");
    let nobody = ("cookie", "none=1");
    let (never, ask, ever) = ("no-store", "private, no-cache", "public, max-age=31536000, immutable");
    let large = "x".repeat((4 << 20) + 1);
    let mut found = Vec::new();
    for (method, path, headers, body, status, kept) in [
        // Pages, and what becomes of them.
        ("GET", "/", &[][..], "", 200, never),
        ("GET", "/sign-in", &[nobody], "", 200, never),
        ("GET", "/cells", &[nobody], "", 303, never),
        ("GET", "/cells", &[("accept-encoding", "gzip"), own], "", 200, never),
        ("HEAD", "/cells", &[], "", 200, never),
        ("GET", "/nowhere", &[], "", 404, never),
        ("GET", "/agents/No_Name", &[], "", 400, never),
        ("GET", "/sign-out", &[], "", 405, never),
        ("POST", "/sign-out", &[nobody, form, ("sec-fetch-site", "cross-site")], "", 403, never),
        ("POST", "/sign-in", &[nobody, form, own], "name=ada&password=wrong", 401, never),
        ("POST", "/manifests/new", &[form, own], &large, 413, never),
        ("GET", "/", &[("host", "evil.example")], "", 421, never),
        ("GET", "/b/none/cells", &[], "", 404, never),
        // The API.
        ("GET", "/api/v1/openapi.json", &[], "", 200, ask),
        ("GET", "/api/v1/openapi.json", &[("if-none-match", &tag)], "", 304, ask),
        ("GET", "/api/v1/cells/n1/none", &[], "", 404, never),
        ("GET", "/api/v1/cells", &[nobody], "", 401, never),
        ("GET", "/api/v1/none", &[], "", 404, never),
        ("POST", "/api/v1/cells/ams-1/site/plan", &[json, own], &large, 413, never),
        ("POST", "/api/v1/cells/ams-1/site/plan", &[json, own], "{}", 200, never),
        // Files and lists.
        ("GET", "/cells.csv", &[], "", 200, never),
        ("GET", "/cells.json", &[], "", 200, never),
        ("GET", "/audit.ndjson", &[], "", 200, never),
        ("GET", "/buckets/object/raw?key=manifests%2Fsite%2Fmanifest.yaml", &[], "", 200, never),
        ("GET", "/bundles/bundle.tar?versions=ams-1%2Fsite", &[], "", 200, never),
        ("GET", "/api/v1/object/content?key=fleet.json", &[], "", 200, ask),
        // What pages load.
        ("GET", &asset, &[nobody], "", 200, ever),
        ("GET", &asset, &[nobody, ("accept-encoding", "gzip")], "", 200, ever),
        ("GET", "/static/0/app.css", &[nobody], "", 404, never),
        // What machines ask.
        ("GET", "/healthz", &[nobody], "", 200, never),
        ("GET", "/readyz", &[nobody], "", 200, never),
        ("GET", "/metrics", &[], "", 200, never),
        ("GET", "/metrics", &[nobody], "", 401, never),
    ] {
        let answer = portal.serving.send(method, path, headers, body.to_owned()).await;
        let mut wrong = faults(&answer.headers, kept);
        // No browser trusts a name like this one, and it would complain about being asked.
        wrong.retain(|wrong| status != 421 || !wrong.contains("opener"));
        if answer.status != status {
            wrong.push(format!("not {status}: {}", String::from_utf8_lossy(&answer.body)));
        }
        found.extend(wrong.into_iter().map(|wrong| format!("{method} {path} {headers:?}: {}: {wrong}", answer.status)));
    }

    // What has no end, and what is refused before it is known who asks for what.
    let cookie = portal.serving.sign_in(people::ADMIN).await;
    let address = &portal.serving.address;
    for (request, status) in [
        (format!("GET /live HTTP/1.1\r\nHost: {address}\r\nCookie: {cookie}\r\n\r\n"), "200"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), "400"),
    ] {
        let mut connection = Connection(TcpStream::connect(address).await.unwrap());
        connection.send(&request).await;
        let head = connection.until("\r\n\r\n").await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{head}");
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let headers: HeaderMap = lines.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        // Before it is known how the request came, no browser has to be kept apart from anything.
        let wrong = faults(&headers, never).into_iter().filter(|wrong| status == "200" || !wrong.contains("opener"));
        found.extend(wrong.map(|wrong| format!("{request:?}: {wrong}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
