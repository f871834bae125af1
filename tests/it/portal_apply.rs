//! Many manifests and cells as one change, in the portal and through the API; and all of them as one text.

use serde_json::json;

use crate::support::cli::Workplace;
use crate::support::form::{fields, post};
use crate::support::people;
use crate::support::serving::Serving;

const SITE: &str = "# The site.\nname: site\nprofile: {deploy: {}}\n";
const CELLS: &str = "cell: n1/web\nmanifest: site\n---\ncell: n2/web\nmanifest: site\n";

async fn served() -> (Workplace, Serving) {
    let place = Workplace::with_bucket().await;
    people::admit(place.path(), &[(people::ADMIN, &["admin"]), ("eve", &["editor:n1/*"]), ("vera", &["viewer:n1/*"])]);
    let serving = Serving::start_for(&place, people::ADMIN).await;
    serving.has_read().await;
    (place, serving)
}

#[tokio::test(flavor = "multi_thread")]
async fn several_documents_are_looked_at_as_one_change_and_then_written() {
    let (place, serving) = served().await;
    let text = format!("{SITE}---\n{CELLS}");
    let preview = post(&serving, "/apply", &[("step", "preview"), ("text", &text)]).await.is(200).text();
    assert!(preview.contains("3 created") && preview.contains("cells/n2/web/cell.yaml"), "{preview}");
    assert!(serving.get("/apply/export.yaml").await.is(200).text().is_empty(), "nothing is written yet");
    let mut sent = fields(&preview);
    assert_eq!(sent["text"], text);
    sent.extend([("step".to_owned(), "save".to_owned()), ("reason".to_owned(), "the new shop".to_owned())]);
    let sent: Vec<(&str, &str)> = sent.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let done = post(&serving, "/apply", &sent).await.is(200).text();
    assert!(done.contains("What was done") && done.contains("3 created"), "{done}");
    assert_eq!(serving.get("/apply/export.yaml").await.is(200).text(), text);
    assert_eq!(place.fleetman(&["export", "--all"]).await.exits(0).out, text, "the same words on the command line");
    let audit = serving.get("/api/v1/audit?action=apply").await.is(200).json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 3, "{audit}");
    assert_eq!(
        (&audit["items"][0]["reason"], &audit["items"][0]["source"]),
        (&json!("the new shop"), &json!("portal"))
    );

    let late = post(&serving, "/apply", &sent).await.is(409).text();
    assert!(late.contains("than what you looked at") && late.contains("3 unchanged"), "{late}");
    assert!(!late.contains("value=\"save\""), "there is nothing to do: {late}");
    let wrong =
        post(&serving, "/apply", &[("step", "preview"), ("text", "name: <b>\nvras: {}\n")]).await.is(422).text();
    assert!(wrong.contains("the text:") && wrong.contains("&#60;b&#62;") && wrong.contains("<textarea"), "{wrong}");
    let stray = post(&serving, "/apply", &[("step", "preview"), ("text", "cell: n3/web\nmanifest: none\n")]).await;
    assert!(stray.is(422).text().contains("none"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_the_role_on_each_manifest_and_each_cell() {
    let (_place, serving) = served().await;
    let yaml = [("content-type", "application/yaml"), ("sec-fetch-site", "same-origin")];
    let apply = async |who: &str, query: &str, text: &str| {
        let headers = [&yaml[..], &[("cookie", who)]].concat();
        serving.send("POST", &format!("/api/v1/apply{query}"), &headers, text.to_owned()).await
    };
    let tester = serving.sign_in(people::ADMIN).await;
    let (eve, vera) = (serving.sign_in("eve").await, serving.sign_in("vera").await);
    let text = format!("{SITE}---\n{CELLS}");
    let plan = apply(&tester, "?dry_run=true", &text).await.is(200).json();
    assert_eq!((&plan["dry_run"], &plan["summary"]["created"]), (&json!(true), &json!(3)));
    for who in [&eve, &vera] {
        assert_eq!(apply(who, "", &text).await.is(403).json()["code"], "denied");
    }
    let first = CELLS.split("---\n").next().unwrap();
    let done = apply(&eve, "?reason=mine", &format!("{SITE}---\n{first}")).await.is(200).json();
    assert_eq!((&done["summary"]["created"], done.get("error")), (&json!(2), None));
    let stale = format!("?plan={}", plan["plan"].as_str().unwrap());
    assert_eq!(apply(&tester, &stale, &text).await.is(409).json()["code"], "changed");
    let done = apply(&tester, "", &text).await.is(200).json();
    assert_eq!((&done["summary"]["created"], &done["summary"]["unchanged"]), (&json!(1), &json!(2)));
    assert_eq!(done["objects"][2]["object"], "cells/n2/web/cell.yaml");
    assert_eq!(apply(&tester, "", "name: [").await.is(422).json()["code"], "invalid_yaml");

    let export = async |who: &str| serving.get_in(who, "/api/v1/export").await.is(200).text();
    assert_eq!((export(&tester).await, export(&vera).await), (text, format!("{SITE}---\n{first}")));
}
