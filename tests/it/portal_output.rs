//! What a cell writes, in the portal and through the API, from a program under a real agent.

use std::path::PathBuf;

use rustix::fs::Mode;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::support::api::{code, serve_in};
use crate::support::cells::say;
use crate::support::cli::Workplace;
use crate::support::portal::Portal;
use crate::support::wait_for;

/// A bucket with the cell `n1/web`, whose program says what comes through a pipe, and its agent.
async fn place() -> (Workplace, PathBuf, Child) {
    let place = Workplace::with_bucket().await;
    let pipe = place.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
    let command = format!("echo ready; while :; do cat {}; done", pipe.display());
    let manifest = format!(
        "name: app\nprofile:\n  process:\n    command: [/bin/sh, -c, '{command}']\nhealth: {{min_healthy_time: 100ms}}\n"
    );
    place.write("all.yaml", &format!("{manifest}---\ncell: n1/web\nmanifest: app\n"));
    place.fleetman(&["apply", "-f", "all.yaml"]).await.exits(0);
    place.write("r1/x", "x");
    place.fleetman(&["upload", "app", "r1", "--as", "r1"]).await.exits(0);
    let config = place.agent_config("n1").await;
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}process: {{folder: cells, with_agent: true}}\n")).unwrap();
    let agent = place.run_agent(&config);
    place.fleetman(&["publish", "n1/web", "-y", "--wait"]).await.exits(0);
    (place, pipe, agent)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_writes_is_asked_for_by_a_form_and_shown_as_it_comes() {
    let (place, pipe, _agent) = place().await;
    let portal = Portal::start(place).await;
    let form = portal.get("/cells/n1/web/output").await;
    assert!(form.contains("fleetman logs n1/web") && form.contains("name=\"grep\""), "{form}");
    for wrong in ["lines=many", "lines=10001", "lines=1&grep=%28&regex=on", "lines=1&since=then", "lines=1&follow=2h"] {
        let (status, page) = portal.send_form("/cells/n1/web/output", wrong).await;
        assert!(status == 422 && page.contains("role=\"alert\""), "{wrong}: {status}: {page}");
    }

    let shown = portal.send_and_follow("/cells/n1/web/output", "lines=10&follow=10m").await;
    let read = async || portal.get(&shown).await;
    wait_for(async || read().await.contains("<b>main</b> ready"), "what was written before").await;
    let page = read().await;
    assert!(page.contains("Following") && page.contains("fleetman logs n1/web -n 10 -f --for 600s"), "{page}");
    // Without scripts the browser asks again by itself; with them only for the part that changes.
    assert!(page.contains("http-equiv=\"refresh\"") && page.contains("data-poll"), "{page}");
    say(&pipe, "<script>alert(1)</script>\u{1b}[2J\n");
    let escaped = "<b>main</b> &#60;script&#62;alert(1)&#60;/script&#62;\u{fffd}[2J";
    wait_for(async || read().await.contains(escaped), "what came").await;
    assert!(portal.get("/audit").await.contains("the last 10 lines, and what comes for 600 s"));

    assert_eq!(portal.send_and_follow(&format!("{shown}/end"), "").await, "/cells/n1/web/output");
    assert_eq!(portal.answer(&shown).await.0, 404);

    let shown = portal.send_and_follow("/cells/n1/web/output", "lines=1&grep=ready&follow=").await;
    let complete = async || portal.get(&shown).await.contains("Complete");
    wait_for(complete, "a tail to be complete").await;
    let page = portal.get(&shown).await;
    assert!(!page.contains("http-equiv=\"refresh\"") && !page.contains("data-poll"), "nothing more comes: {page}");
    let nothing = portal.send_and_follow("/cells/n1/web/output", "lines=1&process=none").await;
    let told = async || portal.get(&nothing).await.contains("no process of that name has written anything");
    wait_for(told, "what is wrong with the question").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_read_in_pieces_what_a_cell_writes_and_of_no_other_cell() {
    let (place, pipe, mut agent) = place().await;
    place.write("other.yaml", "cell: n1/other\nmanifest: app\n");
    place.fleetman(&["apply", "-f", "other.yaml"]).await.exits(0);
    let (_place, serving, _tokens, token) = serve_in(place).await;
    let api = serving.by(&token);
    let asked = api.post("/cells/n1/web/output", &json!({"follow_secs": 600, "reason": "a leak"})).await.is(200).json();
    assert_eq!(asked["cell"], "n1/web");
    let path = format!("/cells/n1/web/output/{}", asked["id"].as_str().unwrap());
    let mut next = 0;
    let mut lines: Vec<Value> = Vec::new();
    let mut read = async |until: &str| {
        let there = async || {
            let output = api.get(&format!("{path}?after={next}")).await.is(200).json();
            next = output["next"].as_u64().unwrap();
            lines.extend(output["lines"].as_array().unwrap().iter().cloned());
            lines.iter().any(|line| line["text"] == until)
        };
        wait_for(there, until).await;
    };
    read("ready").await;
    say(&pipe, "one\ntwo\n");
    read("two").await;
    let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["ready", "one", "two"]);
    assert_eq!(api.get(&path).await.is(200).json()["state"], "running");

    let of_other = path.replace("/web/", "/other/");
    assert_eq!(code(&api.get(&of_other).await.is(404)), "not_found", "an order is read under its own cell alone");
    api.delete(&of_other).await.is(404);
    api.delete(&path).await.is(204);
    assert_eq!(code(&api.get(&path).await.is(404)), "not_found");
    for (sent, status, word) in [
        (json!({"lines": 10_001}), 422, "invalid"),
        (json!({"grep": "(", "regex": true}), 422, "invalid"),
        (json!({"tail": 1}), 400, "invalid_json"),
    ] {
        assert_eq!(code(&api.post("/cells/n1/web/output", &sent).await.is(status)), word, "{sent}");
    }
    api.get("/cells/n1/web/output/none").await.is(400);

    agent.kill().await.unwrap();
    let asked = api.post("/cells/n1/web/output", &json!({})).await.is(200).json();
    let silent = api.get(&format!("/cells/n1/web/output/{}", asked["id"].as_str().unwrap())).await.is(200).json();
    assert_eq!((&silent["state"], silent["lines"].as_array().unwrap().len()), (&json!("waiting"), 0));
    assert!(silent["message"].as_str().unwrap().contains("node n1 "), "{silent}");
}
