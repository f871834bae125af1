//! The same change to many cells at once: chosen in the list, looked at, confirmed, followed; each under its own guard.

use std::collections::BTreeSet;

use fleetman::controller::{Guard, Known};
use fleetman::model::trigger::TriggerOptions;
use serde_json::{Value, json};

use crate::portal_pages::look_at;
use crate::support::acme::Acme;
use crate::support::api::{code, serve_in};
use crate::support::browser::{button, css, heading};
use crate::support::cli::{FLEET, Workplace};
use crate::support::form::{encoded, unescaped};
use crate::support::people;
use crate::support::portal::Portal;
use crate::support::serving::Serving;
use crate::support::wait_for;

async fn served(acme: &Acme) -> Portal {
    let place = Workplace::empty();
    acme.configure(place.path());
    Portal::start(place).await
}

/// What the form of a page sends, all of it, and what is typed besides.
fn filled(page: &str, typed: &str) -> String {
    let form = page.split("<form method=\"post\" action=\"/cells/bulk\">").nth(1).unwrap_or_else(|| panic!("{page}"));
    let tags = form.split("</form>").next().unwrap().split("<input type=\"hidden\" ").skip(1);
    let sent = tags.map(|tag| {
        let of = |name: &str| unescaped(tag.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap());
        format!("{}={}&", of("name"), encoded(&of("value")))
    });
    sent.collect::<String>() + typed
}

/// The cells of the first table of a page, in its order.
fn named(page: &str) -> Vec<&str> {
    let table = page.split("<tbody>").nth(1).and_then(|rest| rest.split("</tbody>").next()).unwrap_or_default();
    table.split("<th scope=\"row\"><a href=\"").skip(1).map(|row| row.split(['>', '<']).nth(1).unwrap()).collect()
}

fn sees(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part:?} is not in: {page}");
    }
}

async fn generation(portal: &Portal, cell: &str) -> Value {
    portal.serving.get(&format!("/api/v1/cells/{cell}/history?limit=1")).await.is(200).json()["items"][0]["at"].clone()
}

/// Whether every cell has had its turn.
fn is_written(page: &str) -> bool {
    !page.contains("still to come") && !page.contains("Being written")
}

/// The row of a cell on a page.
fn row<'p>(page: &'p str, cell: &str) -> &'p str {
    let rows = page.split("<tr>").filter(|row| row.contains(&format!("/cells/{cell}\">")));
    rows.last().and_then(|row| row.split("</tr>").next()).unwrap_or_else(|| panic!("no row of {cell} in {page}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_each_is_said_first_and_then_done_once_to_exactly_those() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let list = portal.get("/cells?manifest=site").await;
    sees(
        &list,
        &["name=\"cell\" value=\"ams-1/site\"", "All 8 matching", "The ticked ones", "<option value=\"publish\""],
    );
    sees(&list, &["<input type=\"hidden\" name=\"manifest\" value=\"site\">"]);

    let ticked = "ams-1/site par-2/site par-2/api osl-1/site ber-2/site".split(' ');
    let ticked: String = ticked.map(|cell| format!("&cell={}", encoded(cell))).collect();
    let page = portal.get(&format!("/cells/bulk?action=redeploy&which=ticked&manifest=site{ticked}")).await;
    sees(&page, &["<h1>Redeploy 4 cells</h1>", ">Redeploy 4 cells</button>", "Left out: 1"]);
    sees(row(&page, "par-2/api"), &["it is paused: the database moves on Sunday"]);
    sees(row(&page, "par-2/site"), &["none → r1", "is stopped, and is started"]);
    sees(row(&page, "osl-1/site"), &["its node is not heard of"]);
    sees(&page, &["fleetman redeploy ams-1/site ber-2/site osl-1/site par-2/site", "href=\"/cells?manifest=site\""]);

    let before = generation(&portal, "ams-1/site").await;
    let form = filled(&page, "reason=new+certificates&retry=on");
    let followed = portal.send_and_follow("/cells/bulk", &form).await;
    assert!(followed.starts_with("/bulk/"), "{followed}");
    wait_for(async || is_written(&portal.get(&followed).await), "every cell to have its turn").await;
    let page = portal.get(&followed).await;
    sees(&page, &["new certificates", "Under way:", "http-equiv=\"refresh\"", "every 1s"]);
    assert_eq!(named(&page), ["ams-1/site", "ber-2/site", "osl-1/site", "par-2/site"]);
    let after = generation(&portal, "ams-1/site").await;
    assert_ne!(before, after);
    sees(row(&page, "ams-1/site"), &["step by step", "/cells/ams-1/site/follow?at="]);
    let told = async |cell: &str, what: &str| row(&portal.get(&followed).await, cell).contains(what);
    wait_for(async || told("ams-1/site", "Waiting for the node to see it").await, "the snapshot").await;
    wait_for(async || told("osl-1/site", "The node is not heard of").await, "the snapshot of the last one").await;

    // The same form again is the same change.
    assert_eq!(portal.send_and_follow("/cells/bulk", &form).await, followed);
    wait_for(async || portal.get(&followed).await.contains("Waiting for the node to see it"), "the same page").await;
    assert_eq!(generation(&portal, "ams-1/site").await, after);
    // Under another number, as another controller would take it, each guard keeps its cell from it.
    let number = form.split("id=").nth(1).unwrap().split('&').next().unwrap();
    let other = form.replace(number, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
    let other = portal.send_and_follow("/cells/bulk", &other).await;
    wait_for(async || portal.get(&other).await.contains("All is over"), "the guards").await;
    assert_eq!(portal.get(&other).await.matches("Left alone: somebody came first").count(), 4);
    assert_eq!(generation(&portal, "ams-1/site").await, after);
    let audit = portal.get("/audit?action=redeploy").await;
    assert!(audit.matches("new certificates").count() >= 4, "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_that_somebody_changed_meanwhile_is_left_alone_and_the_others_go_on() {
    let acme = Acme::full().await;
    let portal = served(&acme).await;
    let address = "/cells/bulk?action=stop&cell=ams-1%2Fsite&cell=ams-2%2Fsite&cell=par-1%2Fsite";
    let page = portal.get(address).await;
    sees(&page, &["class=\"danger\"", ">Stop 3 cells</button>"]);
    let cell = "ams-2/site".parse().unwrap();
    let options = TriggerOptions::default();
    let theirs =
        acme.controller().redeploy(&cell, options, Some("theirs".to_owned()), &Guard::default()).await.unwrap();
    let followed = portal.send_and_follow("/cells/bulk", &filled(&page, "reason=mine")).await;
    wait_for(async || is_written(&portal.get(&followed).await), "every turn").await;
    let page = portal.get(&followed).await;
    sees(row(&page, "ams-2/site"), &["Left alone: somebody came first", "expected generation", "(deploy r2) by"]);
    assert_eq!(generation(&portal, "ams-2/site").await, json!(theirs.at.to_string()), "{page}");
    for cell in ["ams-1/site", "par-1/site"] {
        sees(row(&page, cell), &["step by step"]);
        let newest = portal.serving.get(&format!("/api/v1/cells/{cell}/history?limit=1")).await.json();
        assert_eq!((&newest["items"][0]["action"], &newest["items"][0]["reason"]), (&json!("stop"), &json!("mine")));
    }
    sees(&page, &["1 left alone or overtaken"]);

    // A pause is about the document, which somebody else may have written.
    let page = portal.get("/cells/bulk?action=pause&cell=ams-1%2Fapi&cell=ams-2%2Fapi").await;
    let (status, again) = portal.send_form("/cells/bulk", &filled(&page, "reason=+")).await;
    assert_eq!(status, 422);
    sees(&again, &["A pause needs a reason", ">Pause 2 cells</button>"]);
    acme.controller().pause(&"ams-2/api".parse().unwrap(), "theirs", &Known::Anything).await.unwrap();
    let followed = portal.send_and_follow("/cells/bulk", &filled(&again, "reason=the+fair")).await;
    wait_for(async || portal.get(&followed).await.contains("All is over"), "its end").await;
    let page = portal.get(&followed).await;
    assert!(!page.contains("http-equiv"), "nothing more is to come");
    sees(row(&page, "ams-1/api"), &["Paused"]);
    sees(row(&page, "ams-2/api"), &["Left alone"]);
    let page = portal.get("/cells/bulk?action=resume&cell=ams-1%2Fapi&cell=ams-2%2Fapi&cell=ber-1%2Fapi").await;
    sees(&page, &["it was paused: the fair", "it was paused: theirs", "it is not paused", ">Resume 2 cells</button>"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_fit_are_bounded_and_what_publishing_changes_is_said_of_each() {
    let acme = Acme::full().await;
    let cells: serde_json::Map<String, Value> =
        (0..501).map(|number| (format!("c{number}"), json!({"about": {"manifest": "many"}}))).collect();
    let index =
        json!({"schema": "fleetman/index/1", "node": "big", "written_at": "2026-01-02T03:04:05Z", "cells": cells});
    acme.put("index/big.json", index.to_string()).await;
    let portal = served(&acme).await;
    let (status, page) = portal.answer("/cells/bulk?action=stop&which=all&node=big").await;
    assert_eq!(status, 422);
    sees(&page, &["these are 501 cells, and 500 may be changed at once: narrow the list by agent"]);
    let (status, page) = portal.answer("/cells/bulk?which=all&node=big").await;
    assert_eq!(status, 400);
    sees(&page, &["action is one of redeploy, publish, stop, pause, resume"]);
    assert_eq!(portal.answer("/cells/bulk?action=eat&node=big").await.0, 400);
    assert_eq!(portal.answer("/cells/bulk?action=stop&cell=no+name").await.0, 400);
    let none = portal.get("/cells/bulk?action=stop&which=ticked").await;
    sees(&none, &["No cell was chosen."]);
    assert!(!none.contains("<form method=\"post\" action=\"/cells/bulk\""), "{none}");

    let page = portal.get("/cells/bulk?action=publish&which=all&manifest=site").await;
    let changed: BTreeSet<&str> = named(&page).into_iter().collect();
    // Two are at the newest release already; what was rolled back is not.
    assert!(!changed.contains("ams-2/site") && changed.contains("par-1/site"), "{changed:?}");
    sees(row(&page, "ams-2/site"), &["it is to run exactly this already"]);
    sees(row(&page, "par-1/site"), &["r1 →", "what differs", "href=\"/cells/par-1/site/publish\""]);
    sees(row(&page, "par-2/site"), &["it is stopped, and this starts it"]);
    sees(&page, &[&format!(">Publish {} cells</button>", changed.len())]);

    // What was not looked at is not published: an override came meanwhile.
    let cell = "par-1/site".parse().unwrap();
    acme.controller().put_override(&cell, &"late".parse().unwrap(), "1".into(), &Known::Absent).await.unwrap();
    let followed = portal.send_and_follow("/cells/bulk", &filled(&page, "")).await;
    wait_for(async || is_written(&portal.get(&followed).await), "every turn").await;
    let page = portal.get(&followed).await;
    sees(row(&page, "par-1/site"), &["Left alone", "expected content"]);
    sees(row(&page, "lab-1/site"), &["step by step"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_changes_only_what_they_may() {
    let acme = Acme::full().await;
    let place = Workplace::empty();
    acme.configure(place.path());
    let some = ("some", &["viewer", "operator:ams-*/*"][..]);
    people::admit(place.path(), &[("viewer", &["viewer"]), some, ("one", &["operator:ams-1/site"])]);
    let serving = Serving::start_for_nobody(&place).await;
    serving.has_read().await;
    let viewer = serving.sign_in("viewer").await;
    let list = serving.get_in(&viewer, "/cells").await.is(200).text();
    assert!(!list.contains("/cells/bulk") && !list.contains("Tick"), "{list}");
    serving.get_in(&viewer, "/cells/bulk?action=stop").await.is(403);
    serving.send_form_in(&viewer, "/cells/bulk", "action=stop").await.is(403);

    let some = serving.sign_in("some").await;
    let list = serving.get_in(&some, "/cells").await.is(200).text();
    assert_eq!(list.matches("name=\"cell\"").count(), 4, "{list}");
    assert!(!list.contains("<option value=\"publish\""), "that takes an editor: {list}");
    let page = serving.get_in(&some, "/cells/bulk?action=redeploy&which=all&manifest=site").await.is(200).text();
    assert_eq!(named(&page), ["ams-1/site", "ams-2/site"]);
    sees(row(&page, "par-1/site"), &["some lacks the role operator on cell par-1/site"]);

    // Who sends what was not offered gets no further, and the rest is done.
    let forged = encoded(r#"{"cell":"par-1/site","if_generation":3}"#);
    let typed = format!("cell={forged}&reason=x");
    let answer = serving.send_form_in(&some, "/cells/bulk", &filled(&page, &typed)).await.is(303);
    let followed = answer.header("location").to_owned();
    let told = async || serving.get_in(&some, &followed).await.is(200).text();
    wait_for(async || is_written(&told().await), "every turn").await;
    let told = told().await;
    sees(row(&told, "par-1/site"), &["Not done", "some lacks the role operator on cell par-1/site"]);
    sees(row(&told, "ams-1/site"), &["step by step"]);
    let only_forged = format!("action=redeploy&id=01ARZ3NDEKTSV4RRFFQ69G5FAV&cell={forged}");
    serving.send_form_in(&some, "/cells/bulk", &only_forged).await.is(403);
    let editors = format!("action=publish&id=01ARZ3NDEKTSV4RRFFQ69G5FAV&cell={forged}");
    serving.send_form_in(&some, "/cells/bulk", &editors).await.is(403);
    let other = serving.get_in(&viewer, "/api/v1/cells/par-1/site/history").await.is(200).json();
    assert_ne!(other["items"][0]["reason"], "x");

    // What somebody began is theirs to follow, and what they may not see is as if it were not there.
    serving.get_in(&viewer, &followed).await.is(404);
    let number = followed.trim_start_matches("/bulk/");
    let one = serving.sign_in("one").await;
    let own = encoded(r#"{"cell":"ams-1/site","if_generation":3}"#);
    let taken = serving.send_form_in(&one, "/cells/bulk", &format!("action=stop&id={number}&cell={own}")).await;
    taken.is(400);
    let hidden = "/cells/bulk?action=stop&cell=ams-1%2Fsite&cell=par-1%2Fsite&cell=no-1%2Fsite";
    let page = serving.get_in(&one, hidden).await.is(200).text();
    let words = |cell: &str| row(&page, cell).replace(cell, "it");
    assert_eq!(words("par-1/site"), words("no-1/site"));
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_that_others_depend_on_come_first_and_are_stopped_last() {
    let place = Workplace::with_bucket().await;
    let document = |name: &str, on: &str| {
        format!("name: {name}\nprofile: {{deploy: {{}}}}\n{on}\n---\ncell: n1/{name}\nmanifest: {name}\n")
    };
    let all = [document("a", "requires: [b]"), document("b", "after: [c]"), document("c", "")];
    place.write("all.yaml", &all.join("---\n"));
    place.fleetman(&["apply", "-f", "all.yaml"]).await.exits(0);
    place.write("r1/index.html", "one");
    for name in ["a", "b", "c"] {
        place.fleetman(&["upload", name, "r1", "--as", "r1"]).await.exits(0);
    }
    people::admit(place.path(), &[(people::ADMIN, &["admin"])]);
    let serving = Serving::start_for(&place, people::ADMIN).await;
    serving.has_read().await;
    let get = async |path: &str| serving.get(path).await.is(200).text();
    let all = "cell=n1%2Fa&cell=n1%2Fb&cell=n1%2Fc";
    let page = get(&format!("/cells/bulk?action=redeploy&{all}")).await;
    sees(&page, &["nothing was published to it yet", "None of the chosen cells would be changed."]);
    let page = get(&format!("/cells/bulk?action=publish&{all}")).await;
    assert_eq!(named(&page), ["n1/c", "n1/b", "n1/a"]);
    sees(row(&page, "n1/a"), &["none → a new one"]);
    // Whoever turns them round is not followed in that.
    let cells = |answer: &Value| answer["cells"].as_array().unwrap().clone();
    let post = async |path: &str, body: Value| {
        let headers = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
        serving.send("POST", path, &headers, body.to_string()).await.is(200).json()
    };
    let wanted = json!({"action": "publish", "cells": ["n1/a", "n1/b", "n1/c"]});
    let plan = post("/api/v1/bulk/plan", wanted).await;
    let turned: Vec<Value> = cells(&plan).iter().rev().map(|step| step["seen"].clone()).collect();
    assert_eq!(turned[0]["cell"], "n1/a", "{plan}");
    let done = post("/api/v1/bulk", json!({"action": "publish", "cells": turned})).await;
    let names: Vec<Value> = cells(&done).iter().map(|outcome| outcome["cell"].clone()).collect();
    assert_eq!((&done["done"], names), (&json!(3), vec![json!("n1/c"), json!("n1/b"), json!("n1/a")]), "{done}");
    let are_known = async || get(&format!("/cells/bulk?action=redeploy&{all}")).await.contains("Redeploy 3");
    wait_for(are_known, "what was published to be seen").await;

    let page = get(&format!("/cells/bulk?action=stop&{all}")).await;
    assert_eq!(named(&page), ["n1/a", "n1/b", "n1/c"]);
    assert!(!page.contains("what runs of it goes on"), "they are stopped, too: {page}");
    let page = get("/cells/bulk?action=stop&cell=n1%2Fb&cell=n1%2Fc").await;
    sees(row(&page, "n1/b"), &["n1/a requires n1/b: what runs of it goes on"]);
    assert!(!row(&page, "n1/c").contains("n1/b starts after"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_text_stays_text() {
    let acme = Acme::full().await;
    let evil = "\"><script>alert(1)</script>{\"cell\":";
    acme.controller().pause(&"ams-1/site".parse().unwrap(), evil, &Known::Anything).await.unwrap();
    let portal = served(&acme).await;
    let escaped = "&#34;&#62;&#60;script&#62;alert(1)&#60;/script&#62;";
    for address in ["action=resume&cell=ams-1%2Fsite", "action=redeploy&cell=ams-1%2Fsite"] {
        let page = portal.get(&format!("/cells/bulk?{address}")).await;
        assert!(page.contains(escaped) && !page.contains("<script>alert"), "{page}");
    }
    let page = portal.get(&format!("/cells/bulk?action=redeploy&cell=ams-2%2Fsite&reason={}", encoded(evil))).await;
    assert!(page.contains(escaped) && !page.contains("<script>alert"), "{page}");
    let followed = portal.send_and_follow("/cells/bulk", &filled(&page, &format!("reason={}", encoded(evil)))).await;
    let page = portal.get(&followed).await;
    assert!(page.contains(escaped) && !page.contains("<script>alert"), "{page}");
    let list = portal.get(&format!("/cells?label={}", encoded(evil))).await;
    assert!(!list.contains("<script>alert"), "{list}");
    let id = "id=01ARZ3NDEKTSV4RRFFQ69G5FAV&action=stop";
    for form in ["action=stop", id, &format!("{id}&cell=ams-1/site"), &format!("{id}&cell={}", encoded(evil))] {
        let (status, page) = portal.send_form("/cells/bulk", form).await;
        assert!([400, 422].contains(&status) && !page.contains("<script>alert"), "{form}: {status}: {page}");
    }
    assert_eq!(portal.answer("/bulk/01ARZ3NDEKTSV4RRFFQ69G5FAV").await.0, 404);
    assert_eq!(portal.answer("/bulk/%3Cscript%3E").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_one_answer_a_cell_and_each_request_counts_once() {
    let acme = Acme::full().await;
    let place = Workplace::empty();
    acme.configure(place.path());
    let (_place, serving, tokens, token) = serve_in(place).await;
    let api = serving.by(&token);
    let cells = ["ams-1/site", "ams-2/site", "par-1/site", "par-2/api"];
    let plan = api.post("/bulk/plan", &json!({"action": "redeploy", "cells": cells})).await.is(200).json();
    assert_eq!((&plan["changes"], plan["cells"].as_array().unwrap().len()), (&json!(3), 4), "{plan}");
    let step = |cell: &str| plan["cells"].as_array().unwrap().iter().find(|step| step["cell"] == cell).unwrap();
    assert_eq!((&step("ams-1/site")["from"], &step("par-2/api")["code"]), (&json!("r2"), &json!("paused")));
    let seen: Vec<&Value> = ["ams-1/site", "ams-2/site", "par-1/site"].map(|cell| &step(cell)["seen"]).into();

    let cell = "ams-2/site".parse().unwrap();
    acme.controller().redeploy(&cell, TriggerOptions::default(), None, &Guard::default()).await.unwrap();
    let order = json!({"action": "redeploy", "cells": seen, "reason": "new certificates"});
    let keyed = [("content-type", "application/json"), ("idempotency-key", "k1")];
    let done = api.send("POST", "/bulk", &keyed, order.to_string()).await.is(200);
    let told = done.json();
    assert_eq!((&told["done"], &told["failed"]), (&json!(2), &json!(1)), "{told}");
    let of = |told: &Value, cell: &str| {
        told["cells"].as_array().unwrap().iter().find(|outcome| outcome["cell"] == cell).unwrap().clone()
    };
    let late = of(&told, "ams-2/site");
    assert_eq!(
        (&late["done"], &late["status"], &late["code"]),
        (&json!(false), &json!(409), &json!("guard")),
        "{late}"
    );
    assert_eq!(of(&told, "ams-1/site")["version"], "r2");
    let newest = async || api.get("/cells/ams-1/site/history?limit=1").await.is(200).json()["items"][0].clone();
    let once = newest().await;
    let at = of(&told, "ams-1/site")["at"]["generation"].to_string();
    assert_eq!((&once["at"], &once["reason"]), (&json!(at), &json!("new certificates")));
    let again = api.send("POST", "/bulk", &keyed, order.to_string()).await.is(200);
    assert_eq!((again.header("idempotency-replayed"), again.json()), ("true", told));
    // Without the key it is its guards that keep it from being done twice.
    let again = api.post("/bulk", &order).await.is(200).json();
    assert_eq!((&again["done"], &again["failed"], newest().await), (&json!(0), &json!(3), once));

    let many: Vec<String> = (0..501).map(|number| format!("n1/c{number}")).collect();
    for (cells, says) in [(json!([]), "1 to 500"), (json!(many), "and not 501"), (json!(["a/b", "a/b"]), "twice")] {
        let refused = api.post("/bulk/plan", &json!({"action": "stop", "cells": cells})).await.is(422);
        assert!(refused.text().contains(says), "{}", refused.text());
        assert_eq!(refused.header("content-type"), "application/problem+json");
    }
    let pause = json!({"action": "pause", "cells": [{"cell": "ams-1/api", "if_generation": 1}]});
    assert_eq!(code(&api.post("/bulk", &pause).await.is(422)), "invalid");
    assert_eq!(code(&api.post("/bulk", &json!({"action": "eat", "cells": []})).await.is(400)), "invalid_json");
    let unguarded = json!({"action": "stop", "cells": [{"cell": "ams-1/api"}]});
    assert_eq!(code(&api.post("/bulk", &unguarded).await.is(400)), "invalid_json");

    let (viewer, limited) = (tokens.make(&["viewer"]).await, tokens.make(&["operator:ams-*/*"]).await);
    for token in [&viewer, &limited] {
        wait_for(async || serving.by(token).get("/me").await.status == 200, "the token to be known").await;
    }
    assert_eq!(code(&serving.by(&viewer).post("/bulk", &order).await.is(403)), "denied");
    let planned = serving.by(&viewer).post("/bulk/plan", &json!({"action": "stop", "cells": cells})).await.is(200);
    assert_eq!((&planned.json()["changes"], &planned.json()["cells"][0]["code"]), (&json!(0), &json!("denied")));
    let plan = serving.by(&limited).post("/bulk/plan", &json!({"action": "stop", "cells": cells})).await.is(200).json();
    assert_eq!(plan["changes"], 2, "{plan}");
    let order = json!({"action": "stop", "reason": "x", "cells": [
        plan["cells"][0]["seen"], plan["cells"][1]["seen"], {"cell": "par-1/site", "if_generation": 3},
    ]});
    let told = serving.by(&limited).post("/bulk", &order).await.is(200).json();
    assert_eq!((&told["done"], &of(&told, "par-1/site")["code"]), (&json!(2), &json!("denied")), "{told}");
}

/// What a node says once it runs what it was told.
fn beat(node: &str, generation: u64) -> String {
    let at = json!({"epoch": 1, "generation": generation});
    let now = fleetman::clock::SystemClock::shared().now().to_rfc3339();
    json!({"schema": "fleetman/heartbeat/1", "node": node, "fleet": FLEET, "agent_version": "1.0.0",
        "instance_id": "00000000-0000-0000-0000-000000000007", "sequence": 9000, "started_at": now, "reported_at": now,
        "interval_secs": 60, "signing": "signed",
        "cells": {"site": {"phase": "up_to_date", "state": {"state": "running"}, "profile": "deploy", "attempt": 1,
            "seen": at, "applied": at}}})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_browser_ticks_stay_with_their_cells_and_many_are_followed_to_their_end() {
    let acme = Acme::full().await;
    let Some((portal, page)) = look_at(&acme).await else { return };
    page.open(&portal.url("/cells?manifest=site")).await;
    page.see("The 0 ticked").await;
    assert_eq!(page.evaluate("document.querySelector('[data-ticked]').disabled").await, true);
    let ticked = "[...document.querySelectorAll('[name=cell]:checked')].map((tick) => tick.value).join(' ')";
    for cell in ["ams-2/site", "ber-1/site"] {
        page.click(css(&format!("[name=cell][value=\"{cell}\"]"))).await;
    }
    page.see("The 2 ticked").await;
    page.evaluate("document.querySelector('#bulk select').value = 'stop'; window.kept = true").await;
    // A cell that comes before them moves every row down by one.
    let first = "aaa-1/site".parse().unwrap();
    let text = "cell: aaa-1/site\nmanifest: site\n";
    acme.controller().put_cell(&first, text, &Known::Absent).await.unwrap();
    page.see("aaa-1/site").await;
    assert_eq!(page.evaluate("window.kept").await, true, "it was not loaded anew");
    assert_eq!(page.evaluate(ticked).await, "ams-2/site ber-1/site");
    page.see("The 2 ticked").await;
    assert_eq!(page.evaluate("document.querySelector('#bulk select').value").await, "stop");
    // All of the page, and none of it.
    for (count, all) in [("9", "9"), ("0", "0")] {
        page.click(css("th[data-tick-all] input")).await;
        page.see(&format!("The {count} ticked")).await;
        assert_eq!(page.count(css("[name=cell]:checked")).await.to_string(), all);
    }
    page.evaluate("document.querySelector('#bulk select').value = 'redeploy'").await;
    for cell in ["ams-2/site", "ber-1/site"] {
        page.click(css(&format!("[name=cell][value=\"{cell}\"]"))).await;
    }
    page.click(button("The 2 ticked")).await;
    page.has(heading("Redeploy 2 cells")).await;
    page.fill(css("#reason"), "new certificates").await;
    page.click(button("Redeploy 2 cells")).await;
    page.wait("location.pathname.startsWith('/bulk/')").await;
    page.see("Waiting for the node to see it").await;
    page.evaluate("window.kept = true").await;
    for (node, generation) in [("ams-2", 3), ("ber-1", 2)] {
        acme.put(&format!("agents/{node}.json"), beat(node, generation)).await;
    }
    page.see("All is over: 2 done.").await;
    assert_eq!(page.evaluate("window.kept").await, true, "it came by itself");
    assert_eq!(page.count(css("[data-poll]")).await, 0);

    page.open(&portal.url("/cells?node=par-1")).await;
    page.click(button("All 2 matching")).await;
    page.has(heading("Redeploy 2 cells")).await;
    page.end().await;
}
