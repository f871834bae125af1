//! Coming in, going out, and who manages whom: over HTTP, as a browser without scripts does it.

use std::time::Duration;

use fleetman::model::audit::AuditEntry;
use fleetman::model::sign::{Trust, Verified, verify};
use fleetman::model::users::Users;
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::support::cli::Workplace;
use crate::support::form::{confirmed, fields};
use crate::support::people::{self, PASSWORD};
use crate::support::serving::{Answer, Serving};
use crate::support::{BUCKET, wait_for};

const FORM_KIND: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Sends a form as somebody, and confirms what is only shown at first.
async fn decide(serving: &Serving, cookie: &str, path: &str, form: &str) -> Answer {
    let answer = serving.send_form_in(cookie, path, form).await;
    confirmed(serving, cookie, answer).await
}

/// What lies in the bucket below `prefix`.
async fn objects(place: &mut Workplace, prefix: &str) -> Vec<Vec<u8>> {
    let client = place.store().client();
    let listed = client.list_objects_v2().bucket(BUCKET).prefix(prefix).send().await.unwrap();
    let mut objects = Vec::new();
    for object in listed.contents() {
        let got = client.get_object().bucket(BUCKET).key(object.key().unwrap()).send().await.unwrap();
        objects.push(got.body.collect().await.unwrap().to_vec());
    }
    objects
}

async fn audited(place: &mut Workplace, action: &str, object: &str) -> bool {
    let entries = objects(place, "audit/").await;
    let entries = entries.iter().map(|bytes| verify::<AuditEntry>(bytes, &Trust::Unsigned).unwrap());
    let entries: Vec<Verified<AuditEntry>> = entries.collect();
    entries.iter().any(|entry| entry.action == action && entry.object == object)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_signed_in_is_led_to_sign_in_and_back() {
    let place = Workplace::with_bucket().await;
    people::admit_admin(place.path());
    let serving = Serving::start_for_nobody(&place).await;
    let led = serving.get_in("none=1", "/cells?q=a%20b").await.is(303);
    assert_eq!(led.header("location"), "/sign-in?next=%2Fcells%3Fq%3Da%2520b");
    serving.get_in("none=1", "/api/v1/cells").await.is(401);
    let part = [("cookie", "none=1"), ("fleetman-fragment", "live")];
    let part = serving.send("GET", "/cells", &part, "").await.is(401).text();
    assert!(part.contains("id=\"live\"") && part.contains("/sign-in?next="), "{part}");

    let page = serving.get_in("none=1", led.header("location")).await.is(200).text();
    assert!(page.contains("value=\"/cells?q=a%20b\""), "{page}");
    let wrong = serving.send_form_in("none=1", "/sign-in", "name=tester&password=wrong").await.is(401);
    assert!(wrong.text().contains("The name or the password is not right.") && wrong.header("set-cookie").is_empty());
    let form = format!("{}&next=%2Fcells%3Fq%3Da%2520b", people::form("tester"));
    let came = serving.send_form_in("none=1", "/sign-in", &form).await.is(303);
    assert_eq!(came.header("location"), "/cells?q=a%20b");
    let set = came.header("set-cookie");
    assert!(set.starts_with("__Host-fleetman=") && set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure"), "{set}");
    let tester = came.cookie();
    serving.get_in(&tester, "/cells").await.is(200);
    assert_eq!(serving.get_in(&tester, "/sign-in?next=//evil.example").await.is(303).header("location"), "/");
    let form = format!("{}&next=%2F%2Fevil.example", people::form("tester"));
    assert_eq!(serving.send_form_in("none=1", "/sign-in", &form).await.is(303).header("location"), "/");

    let out = serving.send_form_in(&tester, "/sign-out", "").await.is(303);
    assert!(out.header("set-cookie").contains("Max-Age=0"), "{:?}", out.headers);
    serving.get_in(&tester, "/cells").await.is(303);
    let again = serving.get_in(&tester, "/sign-in").await.is(200).text();
    assert!(again.contains("The session was ended"), "{again}");
    let elsewhere = [("cookie", "none=1"), FORM_KIND, ("sec-fetch-site", "cross-site")];
    serving.send("POST", "/sign-in", &elsewhere, people::form("tester")).await.is(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_told_to_wait_except_in_a_browser_that_is_known() {
    let place = Workplace::with_bucket().await;
    people::admit_admin(place.path());
    let serving = Serving::start_for_nobody(&place).await;
    let came = serving.send_form_in("none=1", "/sign-in", &people::form("tester")).await.is(303);
    let set: Vec<_> = came.headers.get_all("set-cookie").iter().map(|set| set.to_str().unwrap()).collect();
    assert!(set[1].starts_with("__Host-fleetman-browser=") && set[1].contains("; HttpOnly;"), "{set:?}");
    assert!(set[1].ends_with("; Secure; Max-Age=15552000"), "{set:?}");
    let browser = set[1].split(';').next().unwrap();
    for _ in 0..6 {
        serving.send_form_in("none=1", "/sign-in", "name=tester&password=guess").await.is(401);
    }
    let told = serving.send_form_in("none=1", "/sign-in", &people::form("tester")).await.is(429);
    let known = format!("none=1; {browser}");
    serving.send_form_in(&known, "/sign-in", &people::form("tester")).await.is(303);
    assert!(told.header("retry-after").parse::<u64>().unwrap() >= 1 && told.text().contains("Too many failures"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_admin_is_made_by_the_printed_link_and_manages_others() {
    let mut place = Workplace::with_bucket().await;
    let serving = Serving::start_for_nobody(&place).await;
    let link = serving.first_admin_link().await;
    let (page, token) = (serving.get_in("none=1", &link).await.is(200).text(), link.split_once('=').unwrap().1);
    assert!(page.contains("The first admin") && page.contains(token), "{page}");
    let once = async |name: &str, password: &str, again: &str| {
        let form = format!("token={token}&name={name}&password={password}&again={again}");
        serving.send_form_in("none=1", "/sign-in/once", &form).await
    };
    assert!(once("ada", "a+long+password+1", "other").await.is(422).text().contains("two passwords differ"));
    assert!(once("ada", "password", "password").await.is(422).text().contains("tried first"));
    assert!(once("A da", "a+long+password+1", "a+long+password+1").await.is(422).text().contains("User name"));
    let ada = once("ada", "a+long+password+1", "a+long+password+1").await.is(303).cookie();
    assert!(once("eve", "a+long+password+1", "a+long+password+1").await.is(401).text().contains("used or is too old"));
    serving.get_in("none=1", &link).await.is(401);

    let bob =
        "name=bob&may=viewer%0D%0Aoperator%3Aedge-*%2F*&password=a+long+password+2&again=a+long+password+2&reason=new";
    decide(&serving, &ada, "/settings/users", &bob.replace("viewer", "root")).await.is(422);
    assert_eq!(decide(&serving, &ada, "/settings/users", bob).await.is(303).header("location"), "/settings/users");
    decide(&serving, &ada, "/settings/users", bob).await.is(409);
    let listed = serving.get_in(&ada, "/settings/users").await.is(200).text();
    assert!(listed.contains("/settings/users/bob") && listed.contains("operator:edge-*/*"), "{listed}");
    let came = serving.send_form_in("none=1", "/sign-in", "name=bob&password=a+long+password+2").await.is(303);
    let bob = came.cookie();
    serving.get_in(&bob, "/settings/users").await.is(403);
    decide(&serving, &bob, "/settings/users", "name=eve").await.is(403);
    wait_for(async || audited(&mut place, "denied", "POST /settings/users").await, "the denial in the audit").await;
    assert!(audited(&mut place, "sign-in", "user/bob").await && audited(&mut place, "user-add", "user/bob").await);

    let seen = "change=grants&may=editor&seen=viewer%0D%0Aoperator%3Aedge-*%2F*";
    decide(&serving, &ada, "/settings/users/bob", seen).await.is(303);
    let lost = decide(&serving, &ada, "/settings/users/bob", seen).await.is(409).text();
    assert!(lost.contains("changed meanwhile"), "{lost}");
    serving.get_in(&bob, "/cells/new").await.is(200);
    decide(&serving, &ada, "/settings/users/ada", "change=disable").await.is(409);
    decide(&serving, &ada, "/settings/users/bob", "change=delete&name=bo").await.is(422);
    decide(&serving, &ada, "/settings/users/bob", "change=delete&name=bob").await.is(303);
    serving.get_in(&bob, "/cells").await.is(303);
    serving.get_in(&ada, "/settings/users/bob").await.is(404);

    let lists = objects(&mut place, "auth/").await;
    let list: Value = serde_json::from_slice(&lists[0]).unwrap();
    let list: Users = serde_json::from_value(list["signed"].clone()).unwrap();
    assert_eq!(list.users.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_somebody_is_shown_before_it_is_made_and_only_to_what_was_seen() {
    let mut place = Workplace::with_bucket().await;
    place.fleetman_fed(&["user", "add", "ada", "--may", "admin"], "a long password 1\n").await.exits(0);
    place.fleetman_fed(&["user", "add", "bob", "--may", "viewer"], "a long password 2\n").await.exits(0);
    let serving = Serving::start_for_nobody(&place).await;
    let ada = serving.send_form_in("none=1", "/sign-in", "name=ada&password=a+long+password+1").await.is(303).cookie();
    let review = async |path: &str, form: &str| serving.send_form_in(&ada, path, form).await.is(200).text();
    let confirm = async |page: &str, who: &str| {
        let form = format!("sealed={}&reason=because", fields(page)["sealed"]);
        serving.send_form_in(who, "/settings/review", &form).await
    };
    let grants = review("/settings/users/bob", "change=grants&may=operator%3An1%2F*&seen=viewer").await;
    assert!(grants.contains("<del>viewer:*</del>") || grants.contains("<del>viewer</del>"), "{grants}");
    assert!(grants.contains("<ins>operator:n1/*</ins>"), "{grants}");
    let mut others = Vec::new();
    for form in ["change=disable", "change=delete&name=bob", "change=end"] {
        others.push(review("/settings/users/bob", form).await);
    }
    let password = "change=password&password=another+long+one&again=another+long+one";
    let password = review("/settings/users/bob", password).await;
    assert!(password.contains("<ins>another</ins>") && !password.contains("another long one"), "{password}");
    others.push(password);
    let before = serving.get_in(&ada, "/settings/users/bob").await.is(200).text();
    assert!(!before.contains("operator:n1/*") && !before.contains("Kept out"), "nothing was done yet");

    let bob = serving.send_form_in("none=1", "/sign-in", "name=bob&password=a+long+password+2").await.is(303).cookie();
    confirm(&grants, &bob).await.is(422);
    serving.send_form_in(&ada, "/settings/review", "sealed=no.no&reason=x").await.is(422);
    confirm(&grants, &ada).await.is(303);
    // What was looked at before is no longer what is there.
    for page in others {
        let late = confirm(&page, &ada).await.is(409).text();
        assert!(late.contains("What you saw") && late.contains("What is there now"), "{late}");
        assert!(late.contains("operator:n1/*") && fields(&late)["reason"] == "because", "{late}");
    }
    let listed = serving.get_in(&ada, "/settings/users").await.is(200).text();
    assert!(listed.contains("/settings/users/bob") && !listed.contains("Kept out"), "{listed}");
    let late = review("/settings/users/bob", "change=disable").await;
    confirm(&late, &ada).await.is(303);
    let entries = objects(&mut place, "audit/").await;
    let entries = entries.iter().map(|bytes| verify::<AuditEntry>(bytes, &Trust::Unsigned).unwrap());
    let entries: Vec<Verified<AuditEntry>> = entries.collect();
    let reason = |action: &str| entries.iter().find(|entry| entry.action == action).and_then(|it| it.reason.clone());
    assert_eq!(
        (reason("user-grant").as_deref(), reason("user-disable").as_deref()),
        (Some("because"), Some("because"))
    );

    // A token, too, is made and revoked only after a look.
    let made = review("/settings/tokens", "name=ci&may=viewer&days=7").await;
    assert!(!made.contains("fm_") && made.contains("7 days"), "{made}");
    let looked_at = made;
    let made = confirm(&looked_at, &ada).await.is(200).text();
    let again = confirm(&looked_at, &ada).await.is(422).text();
    assert!(again.contains("it was made when this was confirmed first") && !again.contains("fm_"), "{again}");
    let listed = serving.get_in(&ada, "/settings/tokens").await.is(200).text();
    assert!(listed.contains("1 token<"), "{listed}");
    let start = made.find("fm_").unwrap();
    let revoke = format!("/settings/tokens/{}/revoke", &made[start + 3..start + 13]);
    let (first, second) = (review(&revoke, "").await, review(&revoke, "").await);
    confirm(&first, &ada).await.is(303);
    confirm(&second, &ada).await.is(409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_works_until_it_is_revoked() {
    let place = Workplace::with_bucket().await;
    place.fleetman_fed(&["user", "add", "ada", "--may", "admin"], "a long password 1\n").await.exits(0);
    let serving = Serving::start_for_nobody(&place).await;
    let came = serving.send_form_in("none=1", "/sign-in", "name=ada&password=a+long+password+1").await.is(303);
    let ada = came.cookie();
    let made = decide(&serving, &ada, "/settings/tokens", "name=ci&may=viewer&days=7").await.is(200).text();
    let start = made.find("fm_").unwrap();
    let token = &made[start..start + 57];
    assert!(!serving.get_in(&ada, "/settings/tokens").await.is(200).text().contains(token));
    let bearer = format!("Bearer {token}");
    let by_token = async |method: &str, path: &str| {
        let headers = [("authorization", bearer.as_str()), FORM_KIND];
        serving.send(method, path, &headers, "").await.status
    };
    assert_eq!(by_token("GET", "/api/v1/cells").await, 200);
    assert_eq!(by_token("GET", "/settings/users").await, 403, "an admin's token may no more than it says");
    assert_eq!(by_token("POST", "/settings/tokens").await, 403);
    let listed = serving.get_in(&ada, "/settings/tokens").await.is(200).text();
    assert!(listed.contains("Last used") && !listed.contains("not since") && !listed.contains("Unused"), "{listed}");
    let told = serving.get_in(&ada, "/api/v1/tokens").await.is(200).text();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert!(told["items"][0]["last_used_at"].is_string() && told["items"][0]["unused"] == false, "{told}");
    decide(&serving, &ada, "/settings/tokens", "name=ci&may=viewer&days=0").await.is(422);
    let id = &token[3..13];
    decide(&serving, &ada, &format!("/settings/tokens/{id}/revoke"), "").await.is(303);
    assert_eq!(by_token("GET", "/api/v1/cells").await, 401);

    let printed = place.fleetman(&["token", "add", "night", "--for", "ada", "--may", "viewer:n1/*"]).await.exits(0);
    let bearer = format!("Bearer {}", printed.out.trim());
    let answers = async || serving.send("GET", "/api/v1/cells", &[("authorization", &bearer)], "").await.status == 200;
    wait_for(answers, "the portal to know the new token").await;
    let listed = place.fleetman(&["-o", "json", "token", "ls"]).await.exits(0).json();
    assert_eq!((&listed[0]["state"], &listed[1]["state"]), (&"revoked".into(), &"good".into()), "{listed}");
    place.fleetman(&["token", "revoke", listed[1]["id"].as_str().unwrap()]).await.exits(0);
    place.fleetman(&["token", "add", "x", "--for", "eve", "--may", "viewer"]).await.exits(4);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_changes_their_own_password_and_ends_their_own_sessions() {
    let place = Workplace::with_bucket().await;
    place.fleetman_fed(&["user", "add", "root", "--may", "admin"], "a long password 0\n").await.exits(0);
    place.fleetman_fed(&["user", "add", "ada", "--may", "viewer:n1/*"], "a long password 1\n").await.exits(0);
    let serving = Serving::start_for_nobody(&place).await;
    let sign_in = async |password: &str| {
        serving.send_form_in("none=1", "/sign-in", &format!("name=ada&password={password}")).await
    };
    let (ada, other) =
        (sign_in("a+long+password+1").await.is(303).cookie(), sign_in("a+long+password+1").await.cookie());
    let page = serving.get_in(&ada, "/settings/account").await.is(200).text();
    assert!(page.contains("viewer:n1/*") && !page.contains("/settings/users"), "{page}");
    let change = async |present: &str, new: &str| {
        let form = format!("present={present}&password={new}&again={new}");
        decide(&serving, &ada, "/settings/account", &form).await
    };
    assert!(change("wrong", "a+long+password+2").await.is(422).text().contains("not right"));
    assert!(change("a+long+password+1", "password1").await.is(422).text().contains("tried first"));
    let changed = change("a+long+password+1", "a+long+password+2").await.is(303);
    let new = changed.cookie();
    assert!(serving.get_in(&new, changed.header("location")).await.is(200).text().contains("The password is changed"));
    serving.get_in(&ada, "/cells").await.is(303);
    serving.get_in(&other, "/cells").await.is(303);
    sign_in("a+long+password+1").await.is(401);
    decide(&serving, &new, "/settings/account/end-sessions", "").await.is(303);
    serving.get_in(&new, "/cells").await.is(303);
}

/// Waits until a stream of events ends: what was heard.
async fn ends(stream: hyper::body::Incoming, why: &str) -> String {
    let all = tokio::time::timeout(Duration::from_secs(60), stream.collect()).await;
    let heard = all.unwrap_or_else(|_| panic!("the stream goes on: {why}")).unwrap().to_bytes();
    String::from_utf8(heard.to_vec()).unwrap()
}

/// The same of one that says at last that the page is to look for itself.
async fn ends_with_a_word(stream: hyper::body::Incoming, why: &str) {
    let heard = ends(stream, why).await;
    assert!(heard.starts_with("event: fleet\n") && heard.ends_with("\n\nevent: fleet\n\n"), "{why}: {heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_let_in_no_more_hears_no_more() {
    let place = Workplace::with_bucket().await;
    place.fleetman_fed(&["user", "add", "root", "--may", "admin"], "a long password 0\n").await.exits(0);
    place.fleetman_fed(&["user", "add", "ada", "--may", "viewer"], "a long password 1\n").await.exits(0);
    let serving = Serving::start_for_nobody(&place).await;
    let sign_in = async |name: &str, password: &str| {
        serving.send_form_in("none=1", "/sign-in", &format!("name={name}&password={password}")).await.is(303).cookie()
    };
    let root = sign_in("root", "a+long+password+0").await;
    let mut others = serving.listen(&[("cookie", &root)]).await;

    let ada = sign_in("ada", "a+long+password+1").await;
    let stream = serving.listen(&[("cookie", &ada)]).await;
    serving.send_form_in(&ada, "/sign-out", "").await.is(303);
    ends_with_a_word(stream, "signed out").await;

    let ada = sign_in("ada", "a+long+password+1").await;
    let made = decide(&serving, &ada, "/settings/tokens", "name=ci&may=viewer&days=7").await.is(200).text();
    let start = made.find("fm_").unwrap();
    let (id, bearer) = (&made[start + 3..start + 13], format!("Bearer {}", &made[start..start + 57]));
    let (stream, by_token) =
        (serving.listen(&[("cookie", &ada)]).await, serving.listen(&[("authorization", &bearer)]).await);
    decide(&serving, &root, "/settings/users/ada", "change=grants&may=viewer%3An1%2F*&seen=viewer").await.is(303);
    ends_with_a_word(stream, "may something else").await;
    ends_with_a_word(by_token, "its user may something else").await;
    let by_token = serving.listen(&[("authorization", &bearer)]).await;
    decide(&serving, &ada, &format!("/settings/tokens/{id}/revoke"), "").await.is(303);
    ends_with_a_word(by_token, "the token was revoked").await;

    let first = serving.listen(&[("cookie", &ada)]).await;
    let mut more = Vec::new();
    for _ in 0..16 {
        more.push(serving.listen(&[("cookie", &ada)]).await);
    }
    ends(first, "one too many").await;
    let next = async |stream: &mut hyper::body::Incoming| {
        let frame = tokio::time::timeout(Duration::from_secs(60), stream.frame()).await.expect("it goes on");
        frame.expect("it has not ended").unwrap()
    };
    for stream in [&mut more[0], &mut others] {
        next(stream).await;
        next(stream).await;
    }
}

/// What a node's key can write where a store has no rights by prefix.
async fn put_users(place: &mut Workplace, document: &[u8]) {
    let client = place.store().client();
    let put = client.put_object().bucket(BUCKET).key("auth/users.json").body(document.to_vec().into());
    put.send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_users_that_a_nodes_key_wrote_is_alarmed_about_in_red_and_changes_nothing() {
    let mut place = Workplace::with_bucket().await;
    place.fleetman_fed(&["user", "add", "ada", "--may", "admin"], "a long password 1\n").await.exits(0);
    place.fleetman_fed(&["user", "add", "eve", "--may", "admin"], "a long password 2\n").await.exits(0);
    let with_eve = objects(&mut place, "auth/").await.remove(0);
    place.fleetman(&["user", "rm", "eve", "-y"]).await.exits(0);
    let newest = objects(&mut place, "auth/").await.remove(0);
    let text = String::from_utf8(with_eve.clone()).unwrap();
    let unsigned = format!("{}\"signatures\": []}}\n", &text[..text.rfind("\"signatures\"").unwrap()]);

    let serving = Serving::start_for_nobody(&place).await;
    let sign_in = async |form: &str| serving.send_form_in("none=1", "/sign-in", form).await;
    let ada = sign_in("name=ada&password=a+long+password+1").await.is(303).cookie();
    let alarm = "<p class=\"banner bad\" role=\"alert\">The list of users in the bucket is not believed: ";
    let alarmed = async || {
        let page = serving.get_in(&ada, "/cells").await.is(200).text();
        page.split_once(alarm).map(|(_, rest)| rest.split_once("</p>").unwrap().0.to_owned())
    };
    assert_eq!(alarmed().await, None);
    for (document, why) in [(unsigned.as_bytes(), "signature"), (&with_eve, "somebody put an old one back")] {
        put_users(&mut place, document).await;
        sign_in("name=eve&password=a+long+password+2").await.is(401);
        wait_for(async || alarmed().await.is_some_and(|text| text.contains(why)), "the alarm").await;
        let text = alarmed().await.unwrap();
        assert!(text.contains("which was read before, counts until somebody changes it"), "{text}");
        assert!(serving.get_in("none=1", "/sign-in").await.is(200).text().contains(alarm));
        serving.get_in(&ada, "/settings/users").await.is(200);
        sign_in("name=ada&password=a+long+password+1").await.is(303);
        serving.get_in(&ada, "/settings/users/eve").await.is(404);
    }
    put_users(&mut place, &newest).await;
    wait_for(async || alarmed().await.is_none(), "the alarm to be over").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_managed_on_the_command_line_and_no_password_is_an_argument() {
    let place = Workplace::with_bucket().await;
    place.fleetman_fed(&["user", "add", "ada", "--may", "admin"], "short\n").await.exits(2);
    place.fleetman_fed(&["user", "add", "ada", "--may", "admin"], &format!("{PASSWORD}\n")).await.exits(0);
    place.fleetman_fed(&["user", "add", "bob", "--may", "viewer"], &format!("{PASSWORD}\n")).await.exits(0);
    place.fleetman_fed(&["user", "add", "bob", "--may", "viewer"], &format!("{PASSWORD}\n")).await.exits(3);
    place.fleetman(&["user", "grant", "bob", "editor:edge-*/*"]).await.exits(0);
    place.fleetman(&["user", "disable", "bob"]).await.exits(0);
    let listed = place.fleetman(&["-o", "json", "user", "ls"]).await.exits(0).json();
    assert_eq!(listed[1]["grants"][0]["cells"], "edge-*/*");
    assert_eq!((&listed[0]["state"], &listed[1]["state"]), (&"active".into(), &"disabled".into()));
    place.fleetman(&["user", "disable", "bob", "--undo"]).await.exits(0);
    place.fleetman(&["user", "end", "bob"]).await.exits(0);
    place.fleetman_fed(&["user", "passwd", "bob"], "another long password\n").await.exits(0);
    place.fleetman(&["user", "rm", "ada", "-y"]).await.exits(3);
    place.fleetman(&["user", "rm", "bob", "-y"]).await.exits(0);
    place.fleetman(&["user", "rm", "bob", "-y"]).await.exits(4);
    let hash = place.fleetman_fed(&["user", "hash"], &format!("{PASSWORD}\n")).await.exits(0).out;
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
}
