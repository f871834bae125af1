//! Where the links of pages lead: to nothing that whoever sees them is refused.

use std::collections::{BTreeSet, VecDeque};

use crate::support::acme::Acme;
use crate::support::cli::Workplace;
use crate::support::form::unescaped;
use crate::support::people;
use crate::support::serving::Serving;

/// The most pages that are looked at for one person.
const MOST: usize = 600;

/// What differs in the value of a query alone is one page.
fn kind(url: &str) -> String {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let names: BTreeSet<&str> = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default()).collect();
    format!("{path} {names:?}")
}

/// Where a link of the page at `url` leads, if to another page of the portal.
fn target(url: &str, href: &str) -> Option<String> {
    let path = url.split('?').next().unwrap_or(url);
    let target = match href {
        _ if href.starts_with('?') => format!("{path}{href}"),
        _ if href.starts_with("./") => format!("{}{}", &path[..=path.rfind('/')?], &href[2..]),
        _ if href.starts_with('/') => href.to_owned(),
        _ => return None,
    };
    let is_page = !["/static/", "/api/"].iter().any(|other| target.starts_with(other));
    is_page.then(|| target.split('#').next().unwrap_or_default().to_owned())
}

/// Follows every link from the overview on; gives those that lead to a refusal, and how many pages there were.
async fn refusals(serving: &Serving, name: &str) -> (Vec<String>, usize) {
    let cookie = serving.sign_in(name).await;
    let mut ahead = VecDeque::from([("the beginning".to_owned(), "/".to_owned())]);
    let (mut seen, mut refused, mut looked) = (BTreeSet::new(), Vec::new(), 0);
    while let Some((from, url)) = ahead.pop_front() {
        if looked == MOST {
            break;
        }
        looked += 1;
        let answer = serving.get_in(&cookie, &url).await;
        if answer.status == 403 || answer.status >= 500 {
            refused.push(format!("{name}: {from} leads to {url}: {}", answer.status));
        }
        if !answer.header("content-type").starts_with("text/html") {
            continue;
        }
        let page = answer.text();
        let hrefs = page.split("href=\"").skip(1).filter_map(|rest| Some(unescaped(rest.split_once('"')?.0)));
        for next in hrefs.filter_map(|href| target(&url, &href)) {
            if seen.insert(kind(&next)) {
                ahead.push_back((url.clone(), next));
            }
        }
    }
    (refused, looked)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_link_leads_anybody_to_a_refusal() {
    let (acme, place) = (Acme::full().await, Workplace::empty());
    acme.configure(place.path());
    // An upload that was interrupted has a link of its own in the list.
    acme.put("deployments/site/half/files/aa", "x").await;
    let people: [(&str, &[&str]); 5] = [
        ("vera", &["viewer"]),
        ("olga", &["operator:ams-1/*"]),
        ("edda", &["editor:ams-1/site", "viewer:osl-1/*"]),
        ("adam", &["admin:osl-1/*", "viewer:ber-1/*"]),
        (people::ADMIN, &["admin"]),
    ];
    people::admit(place.path(), &people);
    let serving = Serving::start_for_nobody(&place).await;
    serving.has_read().await;
    let mut wrong = Vec::new();
    for (name, _) in people {
        let (refused, looked) = refusals(&serving, name).await;
        assert!(looked > 30, "{name} saw {looked} pages");
        wrong.extend(refused);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_publish_sees_the_plan_and_why_it_stays_one() {
    let (acme, place) = (Acme::full().await, Workplace::empty());
    acme.configure(place.path());
    people::admit(place.path(), &[("vera", &["viewer"])]);
    let serving = Serving::start_for(&place, "vera").await;
    serving.has_read().await;
    let page = serving.get("/cells/ams-2/site/publish?deployment=r1&as=foo&force=on").await.is(200).text();
    assert!(page.contains("What changes") && page.contains("disabled aria-describedby=\"barred\""), "{page}");
    assert!(page.contains("role editor"), "why: {page}");
    assert!(page.contains("fleetman publish ams-2/site --deployment r1 --as foo --force"), "{page}");
    let manifest = serving.get("/manifests/site").await.is(200).text();
    assert!(manifest.contains("href=\"/cells/ams-2/site/publish\">Plan"), "{manifest}");
}
