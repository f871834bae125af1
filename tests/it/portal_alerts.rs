//! Silencing alerts in the portal and through the API, and ending that.

use serde_json::{Value, json};

use crate::support::acme::Acme;
use crate::support::api::code;
use crate::support::cli::Workplace;
use crate::support::form::{fields, post};
use crate::support::hooks::Hooks;
use crate::support::mail_server::MailServer;
use crate::support::people;
use crate::support::serving::Serving;
use crate::support::wait_for;

/// A fleet in which alerts are open, looked at by somebody who may do everything; and by two who may do something on
/// some nodes.
async fn served(acme: &Acme) -> (Serving, Workplace) {
    let place = Workplace::empty();
    acme.configure(place.path());
    let users: [(&str, &[&str]); 3] =
        [(people::ADMIN, &["admin"]), ("bert", &["operator:ber-*/*"]), ("vera", &["viewer:ber-*/*"])];
    people::admit(place.path(), &users);
    let serving = Serving::start_for(&place, people::ADMIN).await;
    serving.has_read().await;
    wait_for(async || open(&serving, "rolled_back").await.is_some(), "the alert about ber-1/api").await;
    (serving, place)
}

/// The first alert of a type that is open.
async fn open(serving: &Serving, kind: &str) -> Option<Value> {
    let found = serving.get(&format!("/api/v1/alerts?type={kind}")).await.is(200).json();
    found["items"].get(0).cloned()
}

/// Where the silence leads to its end that stands on the page of alerts under these words.
fn end_of(page: &str, words: &str) -> Option<String> {
    let row = page.split("<tr>").find(|row| row.contains(&format!("<th scope=\"row\">{words}</th>")))?;
    let link = row.split("href=\"").find(|link| link.starts_with("/alerts/unsilence"))?;
    link.split('"').next().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_silenced_from_its_row_and_told_of_again_when_somebody_ends_that() {
    let acme = Acme::full().await;
    let (serving, _place) = served(&acme).await;
    let page = serving.get("/alerts").await.is(200).text();
    let link = "/alerts/silence?type=rolled%5Fback&#38;node=ber%2D1&#38;cell=api";
    assert!(page.contains(link), "{page}");
    assert!(page.contains("<td>open</td>") && !page.contains("not told"), "nobody is to be told: {page}");
    let asked = serving.get(&link.replace("&#38;", "&")).await.is(200).text();
    for part in ["rolled back of ber-1/api", "it covers 1:", "three times in 9 s", "--type rolled_back --node ber-1"] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    let scope = [("type", "rolled_back"), ("node", "ber-1"), ("cell", "api")];
    let hostile = [&scope[..], &[("lasts", "8h"), ("reason", "<b>known")]].concat();
    assert_eq!(post(&serving, "/alerts/silence", &hostile).await.is(303).header("location"), "/alerts");
    let page = serving.get("/alerts").await.is(200).text();
    assert!(page.contains("&#60;b&#62;known") && !page.contains(link), "{page}");
    let alert = open(&serving, "rolled_back").await.unwrap();
    assert_eq!(alert["silenced"], true, "it stays open: {alert}");

    let end = end_of(&page, "rolled back of ber-1/api").expect("a link to its end");
    let asked = serving.get(&end).await.is(200).text();
    assert!(asked.contains("Of what it covers 1 alerts are open") && asked.contains("fleetman alerts unsilence"));
    let id = fields(&asked).remove("id").unwrap();
    let ended = post(&serving, "/alerts/unsilence", &[("id", &id), ("reason", "mended")]).await;
    assert_eq!(ended.is(303).header("location"), "/alerts");
    assert_eq!(end_of(&serving.get("/alerts").await.text(), "rolled back of ber-1/api"), None);
    serving.get(&end).await.is(404);
    post(&serving, "/alerts/unsilence", &[("id", &id)]).await.is(404);
    let untold = async || open(&serving, "rolled_back").await.unwrap().get("silenced").is_none();
    wait_for(untold, "the alert, no more silenced").await;
    let audit = serving.get("/api/v1/audit").await.json().to_string();
    for part in ["end-silence", "\"reason\":\"mended\"", "silence of rolled back of ber-1/api", "<b>known"] {
        assert!(audit.contains(part), "{part}: {audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_takes_the_role_of_an_operator_on_all_that_it_may_cover() {
    let acme = Acme::full().await;
    let (serving, _place) = served(&acme).await;
    let (bert, vera) = (serving.sign_in("bert").await, serving.sign_in("vera").await);
    let json = ("content-type", "application/json");
    let make = async |who: &str, scope: Value| {
        let mut body = json!({"reason": "known", "for_secs": 3_600});
        body.as_object_mut().unwrap().extend(scope.as_object().unwrap().clone());
        let headers = [json, ("sec-fetch-site", "same-origin"), ("cookie", who)];
        serving.send("POST", "/api/v1/silences", &headers, body.to_string()).await
    };
    let made = make(&bert, json!({"node": "ber-1"})).await.is(200).json();
    assert_eq!((&made["by"], &made["scope"]), (&json!("bert"), &json!({"node": "ber-1"})));
    for (who, scope) in [
        (&bert, json!({"node": "ams-1"})),
        (&bert, json!({"type": "drift"})),
        (&bert, json!({"cell": "api"})),
        (&vera, json!({"node": "ber-1"})),
    ] {
        assert_eq!(code(&make(who, scope).await.is(403)), "denied");
    }
    for scope in [json!({}), json!({"node": "ber-1", "reason": " "}), json!({"node": "ber-1", "for_secs": 0})] {
        let cookie = serving.sign_in(people::ADMIN).await;
        assert_eq!(code(&make(&cookie, scope).await.is(422)), "invalid");
    }

    // What somebody may not see is not there for them, and what they may see is theirs to end only as operators.
    let seen = async |who: &str| {
        let listed = serving.get_in(who, "/api/v1/silences").await.is(200).json();
        let scopes =
            listed["items"].as_array().unwrap().iter().map(|it| it["scope"]["node"].as_str().unwrap().to_owned());
        scopes.collect::<Vec<_>>()
    };
    assert_eq!((seen(&bert).await, seen(&vera).await), (vec!["ber-1".to_owned()], vec!["ber-1".to_owned()]));
    let page = serving.get_in(&vera, "/alerts").await.is(200).text();
    assert!(page.contains("everything of ber-1") && !page.contains("/alerts/unsilence"), "{page}");
    assert!(!page.contains("/alerts/silence") && !page.contains("Messages"), "{page}");
    let end = async |who: &str, id: &str| {
        let headers = [("sec-fetch-site", "same-origin"), ("cookie", who)];
        serving.send("DELETE", &format!("/api/v1/silences/{id}?reason=over"), &headers, "").await
    };
    let (own, foreign) = (made["id"].as_str().unwrap(), "01KDYWXAC0ZZZZZZZZZZZZZZZZ");
    assert_eq!(code(&end(&vera, own).await.is(403)), "denied");
    assert_eq!(code(&end(&bert, foreign).await.is(404)), "not_found");
    serving.get_in(&bert, &format!("/alerts/unsilence?id={foreign}")).await.is(404);
    assert_eq!(end(&bert, own).await.is(200).json(), made);
    assert_eq!(code(&end(&bert, own).await.is(404)), "not_found");

    let messages = serving.get("/api/v1/alerts/messages?limit=1").await.is(200).json();
    assert_eq!((&messages["total"], &messages["items"][0]["state"]), (&json!(2), &json!("sent")));
    serving.get_in(&bert, "/api/v1/alerts/messages").await.is(403);
    let page = serving.get("/alerts").await.text();
    assert!(page.contains("Given up") && page.contains("it answered 403 Forbidden"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_acknowledged_from_its_row_by_an_operator_of_what_it_is_about() {
    let acme = Acme::full().await;
    let (serving, _place) = served(&acme).await;
    let (bert, vera) = (serving.sign_in("bert").await, serving.sign_in("vera").await);
    let link = "/alerts/ack?alert=rolled%5Fback%3Acell%2Fber%2D1%2Fapi";
    let page = serving.get_in(&bert, "/alerts").await.is(200).text();
    assert!(page.contains(link), "{page}");
    assert!(!serving.get_in(&vera, "/alerts").await.text().contains("/alerts/ack"), "a viewer has no link to it");
    let asked = serving.get_in(&bert, link).await.is(200).text();
    for part in ["Cell ber-1/api", "three times in 9 s", "fleetman alerts ack rolled_back:cell/ber-1/api --note"] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    let sent = |note: &str| format!("alert=rolled_back:cell/ber-1/api&note={note}");
    let refused = serving.send_form_in(&bert, "/alerts/ack", &sent("+")).await.is(422).text();
    assert!(refused.contains("needs a note") && refused.contains("role=\"alert\""), "{refused}");
    let done = serving.send_form_in(&bert, "/alerts/ack", &sent("<b>on it")).await;
    assert_eq!(done.is(303).header("location"), "/alerts");
    let page = serving.get_in(&vera, "/alerts").await.is(200).text();
    assert!(page.contains("acknowledged by bert") && page.contains("&#60;b&#62;on it"), "{page}");
    let alert = open(&serving, "rolled_back").await.unwrap();
    assert_eq!((&alert["acknowledged"]["by"], &alert["acknowledged"]["note"]), (&json!("bert"), &json!("<b>on it")));

    let back = serving.get_in(&bert, &link.replace("/ack", "/unack")).await.is(200).text();
    assert!(back.contains("fleetman alerts unack rolled_back:cell/ber-1/api") && back.contains("&#60;b&#62;on it"));
    let json = ("content-type", "application/json");
    let act = async |who: &str, path: &str, body: Value| {
        let headers = [json, ("sec-fetch-site", "same-origin"), ("cookie", who)];
        serving.send("POST", path, &headers, body.to_string()).await
    };
    let (back, own) = (json!({"alert": "rolled_back:cell/ber-1/api", "reason": "done"}), "rolled_back:cell/ber-1/api");
    assert_eq!(code(&act(&vera, "/api/v1/alerts/unack", back.clone()).await.is(403)), "denied");
    let alert = act(&bert, "/api/v1/alerts/unack", back.clone()).await.is(200).json();
    assert_eq!(alert.get("acknowledged"), None, "{alert}");
    assert_eq!(code(&act(&bert, "/api/v1/alerts/unack", back).await.is(422)), "invalid");
    for (alert, note, status) in [
        ("needs_operator:cell/ber-1/api", "x", 404),
        ("rolled_back:cell/ams-1/api", "x", 403),
        ("agent_dead:node/osl-1", "x", 403),
        ("store_degraded:bucket", "x", 403),
        ("fire:node/ber-1", "x", 422),
        (own, "", 422),
    ] {
        act(&bert, "/api/v1/alerts/ack", json!({"alert": alert, "note": note})).await.is(status);
    }
    act(&bert, "/api/v1/alerts/ack", json!({"alert": own})).await.is(400);
    let alert = act(&bert, "/api/v1/alerts/ack", json!({"alert": own, "note": "again"})).await.is(200).json();
    assert_eq!(alert["acknowledged"]["note"], "again");
    let audit = serving.get("/api/v1/audit").await.json().to_string();
    for part in ["\"action\":\"acknowledge\"", "<b>on it", "unacknowledge", "\"reason\":\"done\"", "alert rolled_back:"]
    {
        assert!(audit.contains(part), "{part}: {audit}");
    }
}

/// A portal that tells three receivers: a webhook at `hooks`, one like Slack's there, and a mail server at `port`.
async fn telling(hooks: &Hooks, port: u16) -> (Serving, Workplace) {
    let place = Workplace::with_bucket().await;
    let config = place.path().join("controller_config.yaml");
    let address = hooks.address;
    let alerts = format!(
        "alerts:\n  receivers:\n  - name: ops\n    webhook: {{url: \"http://{address}/hook\", secret: hush}}\n  \
         - name: chat\n    slack: {{url: \"http://{address}/secret\"}}\n  - name: all of us\n    \
         mail: {{server: localhost, port: {port}, tls: none, from: fleetman@example.com, to: [ops@example.com]}}\n"
    );
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + &alerts).unwrap();
    people::admit(place.path(), &[(people::ADMIN, &["admin"]), ("eve", &["editor"])]);
    let serving = Serving::start_for(&place, people::ADMIN).await;
    serving.has_read().await;
    (serving, place)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_sends_each_receiver_a_test_and_reads_what_it_answered() {
    let (hooks, mail) = (Hooks::start().await, MailServer::start(None).await);
    let (serving, _place) = telling(&hooks, mail.port).await;
    let eve = serving.sign_in("eve").await;
    let page = serving.get("/alerts").await.is(200).text();
    for part in ["Send a test", "<th scope=\"row\">ops</th><td>webhook</td>", "chat", "all of us", "<td>mail</td>"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!serving.get_in(&eve, "/alerts").await.is(200).text().contains("Send a test"));
    serving.send_form_in(&eve, "/alerts/test", "receiver=ops").await.is(403);
    assert_eq!(hooks.got().len(), 0, "who may not sends nothing");

    let said = post(&serving, "/alerts/test", &[("receiver", "ops")]).await.is(200).text();
    assert!(said.contains("Sent") && said.contains("fleetman alerts test ops"), "{said}");
    let body = &hooks.bodies()[0];
    assert_eq!(body["test"], true, "{body}");
    assert!(said.contains(body["id"].as_str().unwrap()), "the message is named: {said}");
    let soon = post(&serving, "/alerts/test", &[("receiver", "ops")]).await.is(429).text();
    assert!(soon.contains("try again in"), "{soon}");

    let json = ("content-type", "application/json");
    let test = async |receiver: &str| {
        let headers = [json, ("sec-fetch-site", "same-origin")];
        serving.send("POST", "/api/v1/alerts/test", &headers, json!({"receiver": receiver}).to_string()).await
    };
    hooks.answer(&[410]);
    let tested = test("chat").await.is(200).json();
    assert_eq!((&tested["result"], &tested["problem"]), (&json!("refused"), &json!("it answered 410 Gone")));
    assert!(hooks.bodies()[1]["text"].as_str().unwrap().contains("a test"));
    assert_eq!(code(&test("chat").await.is(429)), "too_soon");
    assert_eq!(hooks.got().len(), 2, "nothing was sent too soon");
    assert_eq!(code(&test("nobody").await.is(404)), "not_found");
    let said = post(&serving, "/alerts/test", &[("receiver", "all of us")]).await.is(200).text();
    assert!(said.contains("Sent") && said.contains("fleetman alerts test &#39;all of us&#39;"), "{said}");
    mail.noted(|noted| assert!(noted.mails[0].contains("Subject: [fleetman] a test"), "{:?}", noted.mails));

    let audit = serving.get("/api/v1/audit").await.json().to_string();
    for part in
        ["test-receiver", "receiver ops", "receiver chat", "refused: it answered 410 Gone", "the receiver took it"]
    {
        assert!(audit.contains(part), "{part}: {audit}");
    }
    assert!(!audit.contains("/secret"), "where it was sent is nobody's business: {audit}");
    hooks.stop().await;
}
