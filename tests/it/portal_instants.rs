//! What was at a time, what changed since, and the way back: in the portal and through the API.

use fleetman::clock::SystemClock;
use serde_json::{Value, json};

use crate::support::cli::Workplace;
use crate::support::form;
use crate::support::people;
use crate::support::serving::{Answer, Serving};
use crate::support::wait_for;

async fn deploy(place: &Workplace, name: &str, config: &str) {
    place.write(&format!("{name}/index.html"), name);
    place.fleetman(&["upload", "site", name, "--as", name]).await.exits(0);
    place.fleetman(&["publish", "--all", "-d", name, "--as", name, "--yes"]).await.exits(0);
    place.fleetagent(&["-c", config, "once"]).await.exits(0);
}

/// A fleet in which r1 ran until a time, which is given, and r2 does since.
async fn fleet() -> (Workplace, String) {
    let place = Workplace::with_bucket().await;
    let cells =
        "name: site\nprofile: {deploy: {}}\n---\ncell: n1/web\nmanifest: site\n---\ncell: n1/api\nmanifest: site\n";
    place.write("site.yaml", cells);
    place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    let config = place.agent_config("n1").await.display().to_string();
    deploy(&place, "r1", &config).await;
    // Times have whole seconds, and what comes next must have a later one.
    let clock = SystemClock::shared();
    let then = clock.now() + chrono::TimeDelta::seconds(1);
    wait_for(async || clock.now() > then + chrono::TimeDelta::seconds(1), "the next second").await;
    deploy(&place, "r2", &config).await;
    (place, then.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
}

async fn post(serving: &Serving, path: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
    serving.send("POST", path, &headers, body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_look_at_an_instant_compare_two_and_go_back() {
    let (place, then) = fleet().await;
    let serving = Serving::start(&place).await;
    serving.has_read().await;
    let at = serving.get(&format!("/api/v1/at?time={then}&place=n1/web")).await.is(200).json();
    let web = &at["items"][0];
    assert_eq!(
        (&web["wished"]["version"]["version"], &web["answer"]["state"], &web["ran"]["version"]["version"]),
        (&"r1".into(), &"confirmed".into(), &"r1".into()),
        "{at}"
    );
    let first = serving.get("/api/v1/at?limit=1").await.is(200).json();
    assert_eq!((&first["total"], &first["items"][0]["wished"]["version"]["version"]), (&2.into(), &"r2".into()));
    let next = first["next"].as_str().unwrap().replace('/', "%2F");
    let second = serving.get(&format!("/api/v1/at?limit=1&after={next}")).await.is(200).json();
    assert_eq!(second["items"][0]["cell"], web["cell"], "{second}");
    let changes = serving.get(&format!("/api/v1/at/changes?from={then}")).await.is(200).json();
    assert_eq!(changes["items"].as_array().unwrap().len(), 2, "{changes}");
    assert_eq!(changes["items"][1]["changes"]["files"][0]["path"], "index.html");
    for bad in ["at?time=tomorrow", "at?time=2999-01-01T00:00:00Z", "at?place=A!", "at/changes?from=now&to=2h%20ago"] {
        serving.get(&format!("/api/v1/{bad}")).await.is(400);
    }
    serving.get("/api/v1/at?place=n9").await.is(404);

    let back = json!({"time": then, "place": "n1/web"});
    let plan = post(&serving, "/api/v1/revert/plan", &back).await.is(200).json();
    assert_eq!((&plan["steps"][0]["revert"], &plan["steps"][0]["generation"]), (&"deploy".into(), &2.into()), "{plan}");
    let unlooked = post(&serving, "/api/v1/revert", &back).await.is(409).json();
    assert_eq!(unlooked["code"], "guard");
    let mut ask = json!({"time": plan["time"], "place": "n1/web", "plan": plan["plan"], "reason": "r2 is bad"});
    // Somebody publishes meanwhile: it takes something else now.
    place.fleetman(&["redeploy", "n1/web", "-y"]).await.exits(0);
    post(&serving, "/api/v1/revert", &ask).await.is(409);
    ask["plan"] = post(&serving, "/api/v1/revert/plan", &back).await.is(200).json()["plan"].clone();
    let done = post(&serving, "/api/v1/revert", &ask).await.is(200).json();
    assert_eq!(
        (&done["cells"][0]["at"]["generation"], &done["cells"][0]["problem"]),
        (&4.into(), &Value::Null),
        "{done}"
    );
    let history = place.fleetman(&["-o", "json", "history", "n1/web"]).await.exits(0).json();
    let newest = &history[0]["trigger"];
    assert!(newest["reason"].as_str().unwrap().ends_with("r2 is bad"), "{newest}");
    let again = post(&serving, "/api/v1/revert/plan", &back).await.is(200).json();
    assert_eq!(again["steps"][0]["revert"], "unchanged", "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_look_and_go_back_with_a_look_before_and_only_to_what_they_may_change() {
    let (place, then) = fleet().await;
    people::admit(place.path(), &[(people::ADMIN, &["admin"]), ("looker", &["viewer:n1/web"])]);
    let serving = Serving::start_for(&place, people::ADMIN).await;
    serving.has_read().await;
    let page = serving.get(&format!("/at?time={then}")).await.is(200).text();
    assert!(page.contains("r1 (generation 1)") && page.contains("Confirmed"), "{page}");
    assert!(page.contains(&format!("fleetman at {then}")), "{page}");
    let page = serving.get(&format!("/at?time={then}&to=now&place=n1/api")).await.is(200).text();
    assert!(page.contains("r2 (generation 2)") && page.contains("index.html"), "{page}");
    serving.get("/at?time=tomorrow").await.is(422);

    let page = serving.get(&format!("/at/revert?time={then}&place=n1")).await.is(200).text();
    assert!(page.contains("Bring 2 of 2 cells back") && page.contains("fleetman revert n1 --to"), "{page}");
    let mut fields = form::fields(&page);
    fields.insert("reason".to_owned(), "a bad night".to_owned());
    let send = async |plan: &str| {
        let pairs: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), if name == "plan" { plan } else { value })).collect();
        form::post(&serving, "/at/revert", &pairs).await
    };
    let late = send("another").await.is(409).text();
    assert!(late.contains("somebody came first") && late.contains("Bring 2 of 2 cells back"), "{late}");

    let looker = serving.sign_in("looker").await;
    let theirs = serving.get_in(&looker, "/at").await.is(200).text();
    assert!(theirs.contains("n1/web") && !theirs.contains("n1/api"), "they see their own cells: {theirs}");
    let page = serving.get_in(&looker, &format!("/at/revert?time={then}")).await.is(200).text();
    let plan = form::fields(&page).remove("plan").unwrap();
    let time = then.replace(':', "%3A");
    serving.send_form_in(&looker, "/at/revert", &format!("time={time}&place=&plan={plan}")).await.is(403);
    serving.get_in(&looker, "/at?place=n1/api").await.is(403);

    let done = send(&fields["plan"].clone()).await.is(200).text();
    assert!(done.contains("deploy is wished at generation 3"), "{done}");
    let audit = place.fleetman(&["-o", "json", "audit"]).await.exits(0).out;
    assert!(audit.contains("\"revert\"") && audit.contains("a bad night"), "{audit}");
}
