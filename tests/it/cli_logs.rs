//! `fleetman logs`, from the command line to a program under a real agent and back.

use std::path::PathBuf;

use rustix::fs::Mode;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use crate::support::cells::{Follower, say};
use crate::support::cli::Workplace;
use crate::support::wait_for;

/// A bucket with the cell `n1/web`, whose program says what comes through a pipe, and `n1/page`, which has none.
struct Place {
    place: Workplace,
    pipe: PathBuf,
    config: PathBuf,
    agent: Child,
}

impl Place {
    async fn start() -> Self {
        let place = Workplace::with_bucket().await;
        let pipe = place.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        let manifests = format!(
            "name: site\nprofile: {{deploy: {{}}}}\n---\nname: app\nprofile:\n  process:\n    command: [/bin/sh, -c, \
             'echo ready; while :; do cat {}; done']\nhealth: {{min_healthy_time: 100ms}}\n---\ncell: n1/page\nmanifest: \
             site\n---\ncell: n1/web\nmanifest: app\n",
            pipe.display()
        );
        place.write("all.yaml", &manifests);
        place.fleetman(&["apply", "-f", "all.yaml"]).await.exits(0);
        for manifest in ["site", "app"] {
            place.write(&format!("{manifest}/index.html"), manifest);
            place.fleetman(&["upload", manifest, manifest, "--as", "r1"]).await.exits(0);
        }
        let config = place.agent_config("n1").await;
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, format!("{text}process: {{folder: cells, with_agent: true}}\n")).unwrap();
        let agent = place.run_agent(&config);
        for cell in ["n1/web", "n1/page"] {
            place.fleetman(&["publish", cell, "-y", "--wait"]).await.exits(0);
        }
        Self { place, pipe, config, agent }
    }

    async fn logs(&self, args: &[&str]) -> String {
        self.place.fleetman(&[&["logs", "n1/web"], args].concat()).await.exits(0).out
    }

    fn follow(&self, args: &[&str]) -> Follower {
        let mut child = self.place.start_fleetman(&[&["logs", "n1/web", "-f"], args].concat());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Follower { child, lines }
    }

    /// Objects of orders and of their answers.
    async fn left(&self) -> String {
        let requests = self.place.fleetman(&["bucket", "ls", "cells/n1/_requests/"]).await.out;
        let answers = self.place.fleetman(&["bucket", "ls", "logs/n1/_requests/"]).await.out;
        format!("{requests}{answers}")
    }

    async fn refused(&self, cell: &str, more: &[&str], code: i32) -> Value {
        let ran = self.place.fleetman(&[&["-o", "json", "logs", cell], more].concat()).await;
        let error = ran.error();
        ran.exits(code);
        error
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_wrote_is_shown_and_nothing_of_the_question_stays_but_its_audit() {
    let place = Place::start().await;
    say(&place.pipe, "one\ntwo ERROR\nthree\n");
    wait_for(async || place.logs(&[]).await.contains("three"), "the lines to be logged").await;
    assert_eq!(place.logs(&[]).await, "main | ready\nmain | one\nmain | two ERROR\nmain | three\n");
    assert_eq!(place.logs(&["-n", "2", "--process", "main"]).await, "two ERROR\nthree\n");
    assert_eq!(place.logs(&["--grep", "ERR"]).await, "main | two ERROR\n");
    assert_eq!(place.logs(&["--grep", "^t.*e$", "-E", "--raw"]).await, "three\n");
    assert_eq!(place.logs(&["--since", "1h", "--process", "other"]).await, "");
    let json = place.place.fleetman(&["-o", "json", "logs", "n1/web", "-n", "1"]).await.exits(0).out;
    let line: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((line["process"].as_str(), line["text"].as_str()), (Some("main"), Some("three")));
    let yaml = place.place.fleetman(&["-o", "yaml", "logs", "n1/web", "-n", "2"]).await.exits(0).out;
    let lines: Vec<Value> = serde_yaml::from_str(&yaml).unwrap();
    assert_eq!((lines.len(), lines[1]["text"].as_str()), (2, Some("three")));
    assert_eq!(place.left().await, "");
    // What was asked and answered leaves nothing that had to be mended.
    place.place.fleetman(&["fsck"]).await.exits(0);
    let audit = place.place.fleetman(&["-o", "json", "audit"]).await.exits(0).json();
    let asked = audit.as_array().unwrap().iter().find(|entry| entry["action"] == "logs").unwrap();
    assert_eq!((asked["object"].as_str(), asked["actor"].as_str()), (Some("cell/n1/web"), Some("tester")));
    assert!(asked["after"].as_str().unwrap().ends_with(": the last 2 lines"), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_is_followed_until_ctrl_c_or_the_end_of_its_time() {
    let place = Place::start().await;
    let mut follower = place.follow(&["-n", "1"]);
    assert_eq!(follower.line().await, "main | ready");
    say(&place.pipe, "one\n");
    assert_eq!(follower.line().await, "main | one");
    follower.interrupt();
    let (code, said) = follower.ended().await;
    assert_eq!((code, said.contains("error")), (Some(130), false), "{said}");
    assert_eq!(place.left().await, "");

    let mut short = place.follow(&["--for", "1s", "-n", "1"]);
    assert_eq!(short.line().await, "main | one");
    let (code, said) = short.ended().await;
    assert_eq!(code, Some(0));
    assert!(said.contains("the time of --for is over"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gets_no_log_is_told_why_and_what_to_do() {
    let mut place = Place::start().await;
    assert_eq!(place.refused("n1/page", &[], 4).await["code"], "no_log");
    assert_eq!(place.refused("n1/wbe", &[], 4).await["code"], "not_found");
    for bad in [&["-f", "--for", "2h"][..], &["-n", "10001"], &["--grep", "(", "-E"], &["--since", "tomorrow"]] {
        place.place.fleetman(&[&["logs", "n1/web"], bad].concat()).await.exits(2);
    }

    // The agent ends in the middle.
    let mut follower = place.follow(&["-n", "1"]);
    follower.line().await;
    let pid = rustix::process::Pid::from_raw(i32::try_from(place.agent.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let (code, said) = follower.ended().await;
    assert_eq!(code, Some(8));
    assert!(said.contains("was ended or restarted"), "{said}");
    place.agent.wait().await.unwrap();

    // Nobody is there.
    let silent = place.refused("n1/web", &["--timeout", "2s"], 7).await;
    assert_eq!(silent["code"], "no_answer");
    let why = silent["message"].as_str().unwrap();
    assert!(why.contains("last reported") || why.contains("answers when it looks again"), "{why}");
    assert_eq!(place.left().await, "");

    let text = std::fs::read_to_string(&place.config).unwrap();
    std::fs::write(&place.config, format!("{text}orders: {{logs: false}}\n")).unwrap();
    place.agent = place.place.run_agent(&place.config);
    let off = place.refused("n1/web", &[], 5).await;
    assert_eq!(off["code"], "logs_off");
}
