//! Alerts end to end: real heartbeats in a real bucket, decided by one or more controllers, and told to receivers that
//! run here.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use fleetman::clock::Clock as _;
use fleetman::controller::{
    AlertBoard, AlertKeeper, AlertRules, AlertSettings, Channel, Controller, Fate, FleetReader, LivenessLimits,
    MailSettings, MailTls, Observation, Receiver, ReceiverRules,
};
use fleetman::embedded::{Options, Server};
use fleetman::store::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;
use ulid::Ulid;

use crate::support::cli::Workplace;
use crate::support::fleet::{FLEET, KEY, TestClock};
use crate::support::hooks::Hooks;
use crate::support::listening::{authority, certify};
use crate::support::mail_server::MailServer;
use crate::support::scrape::Scrape;
use crate::support::serving::Serving;
use crate::support::{bucket, options, wait_for};

/// A bucket with time in the hands of the test.
struct Place {
    server: Option<Server>,
    endpoint: String,
    clock: Arc<TestClock>,
    folder: TempDir,
    sequence: u64,
}

impl Place {
    async fn start() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), TestClock::shared());
        let server = Server::start_at(options(folder.path()), clock.clone()).await.unwrap();
        let endpoint = server.endpoint();
        let place = Self { server: Some(server), endpoint, clock, folder, sequence: 0 };
        place.controller().await.init().await.unwrap();
        place
    }

    async fn controller(&self) -> Controller {
        let settings = fleetman::controller::ControllerSettings {
            // It goes by the system's time, as the answers of the bucket do: so no skew takes back what passes here.
            store: bucket::connect(bucket::settings(&self.endpoint)).await,
            fleet: FLEET,
            signer: KEY.signer(),
            trust: KEY.trust(),
            actor: fleetman::controller::Actor {
                user: "alice".parse().unwrap(),
                source: "cli".to_owned(),
                host: "ops1".to_owned(),
                reason: None,
            },
            controller_id: fleetman::entropy::uuid().unwrap(),
            lock_timeout: fleetman::controller::ControllerSettings::LOCK_TIMEOUT,
        };
        Controller::new(settings, self.clock.clone())
    }

    async fn watch(&self, receivers: &[Arc<Receiver>]) -> Watch {
        let controller = Arc::new(self.controller().await);
        let settings = AlertSettings { rules: AlertRules::default(), receivers: receivers.to_vec(), portal: None };
        let board = AlertBoard::default();
        let keeper = AlertKeeper::new(controller.clone(), settings, board.clone());
        Watch { controller, keeper, board, reader: FleetReader::new(LivenessLimits::default()) }
    }

    /// What the nodes say: each of `nodes` that its cell `web` is in this phase.
    async fn beat(&mut self, nodes: &[&str], phase: &str) {
        let client = crate::support::client(&self.endpoint);
        for node in nodes {
            self.sequence += 1;
            let body = heartbeat(node, phase, self.clock.now(), self.sequence).to_string().into_bytes();
            let put = client.put_object().bucket(crate::support::BUCKET).key(format!("prod/eu/agents/{node}.json"));
            put.body(body.into()).send().await.unwrap();
        }
    }

    fn pass(&self, secs: i64) {
        self.clock.pass(TimeDelta::seconds(secs));
    }

    async fn stop_store(&mut self) {
        self.server.take().unwrap().shutdown().await;
    }

    async fn start_store(&mut self) {
        let listen = self.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let options = Options { listen, ..options(self.folder.path()) };
        self.server = Some(Server::start_at(options, self.clock.clone()).await.unwrap());
    }
}

fn heartbeat(node: &str, phase: &str, now: DateTime<Utc>, sequence: u64) -> Value {
    let fault = json!({"code": "unhealthy", "message": "exit code 3", "at": now});
    let cell = json!({"phase": phase, "state": {"state": "running"}, "last_error": fault});
    json!({
        "schema": "fleetman/heartbeat/1", "node": node, "fleet": FLEET, "agent_version": "1.0.0",
        "instance_id": "00000000-0000-0000-0000-000000000007", "sequence": sequence, "started_at": now,
        "reported_at": now, "interval_secs": 60, "signing": "signed", "cells": {"web": cell},
    })
}

/// One controller's watch over the alerts.
struct Watch {
    controller: Arc<Controller>,
    keeper: AlertKeeper,
    board: AlertBoard,
    reader: FleetReader,
}

impl Watch {
    async fn look(&mut self) {
        let look = self.reader.refresh(&self.controller).await;
        let look = look.map(|view| Observation::of(&view)).map_err(|error| error.to_string());
        self.keeper.look(look).await;
    }

    /// Looks twice, with so much time in between.
    async fn look_for(&mut self, place: &Place, secs: i64) {
        self.look().await;
        place.pass(secs);
        self.look().await;
    }
}

fn rules(name: &str) -> ReceiverRules {
    ReceiverRules {
        name: name.to_owned(),
        only: Vec::new(),
        group_wait: TimeDelta::zero(),
        group_interval: TimeDelta::zero(),
        retry_wait: TimeDelta::seconds(10),
        acknowledged: false,
    }
}

fn hook(hooks: &Hooks) -> Arc<Receiver> {
    let url = Secret::new(format!("http://{}/hook", hooks.address));
    let secret = Some(Secret::new("hush"));
    Arc::new(Receiver::new(rules("ops"), Channel::Webhook { url, secret, ca_file: None, plain_http: false }).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_controllers_one_tells_and_a_restart_tells_nothing_again() {
    let (mut place, hooks) = (Place::start().await, Hooks::start().await);
    place.beat(&["n1", "n2"], "rolled_back").await;
    let (mut one, mut other) = (place.watch(&[hook(&hooks)]).await, place.watch(&[hook(&hooks)]).await);
    tokio::join!(one.look(), other.look());
    one.look().await;
    other.look().await;
    assert_eq!(hooks.told(), ["{rolled_back:2}/"]);
    let (headers, body) = hooks.got().remove(0);
    let time = headers["fleetman-timestamp"].to_str().unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"hush").unwrap();
    mac.update(&[time.as_bytes(), b".", &body].concat());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(headers["fleetman-signature"], format!("v1={hex}"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(headers["fleetman-delivery"], body["id"].as_str().unwrap());
    assert_eq!(body["opened"]["first"][0]["subject"], "cell/n1/web");
    assert!(body["opened"]["first"][0]["message"].as_str().unwrap().contains("exit code 3"), "{body}");

    drop(one);
    let mut one = place.watch(&[hook(&hooks)]).await;
    one.look_for(&place, 5).await;
    assert_eq!(hooks.told().len(), 1, "a restart tells nothing again");

    place.beat(&["n1", "n2"], "up_to_date").await;
    one.look().await;
    other.look().await;
    place.pass(70);
    tokio::join!(other.look(), one.look());
    one.look().await;
    assert_eq!(hooks.told()[1..], ["/{rolled_back:2}"]);
    let alerts = one.board.known().alerts;
    assert_eq!((alerts.open.len(), alerts.resolved.len(), alerts.finished.len()), (0, 2, 2));
    hooks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_failed_gets_the_very_same_message_later_and_one_that_refuses_is_left_alone() {
    let (mut place, hooks) = (Place::start().await, Hooks::start().await);
    place.beat(&["n1"], "rolled_back").await;
    hooks.answer(&[500, 302]);
    let mut watch = place.watch(&[hook(&hooks)]).await;
    watch.look().await;
    let waiting = watch.board.known().alerts.deliveries.clone();
    assert!(waiting[0].problem.as_deref().unwrap().contains("500"), "{waiting:?}");
    watch.keeper.send_due().await;
    assert_eq!(hooks.told().len(), 1, "not before it is due");
    place.pass(13);
    watch.keeper.send_due().await;
    let waiting = watch.board.known().alerts.deliveries.clone();
    assert!(waiting[0].problem.as_deref().unwrap().contains("redirects are not followed"), "{waiting:?}");
    // A restart in between loses nothing.
    let mut watch = place.watch(&[hook(&hooks)]).await;
    place.pass(23);
    watch.look().await;
    let ids: Vec<Value> = hooks.bodies().into_iter().map(|body| body["id"].clone()).collect();
    assert_eq!(ids.len(), 3, "where the redirect leads to was not asked");
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert!(watch.board.known().alerts.deliveries.is_empty());

    hooks.answer(&[404]);
    place.beat(&["n2"], "failed").await;
    watch.look().await;
    let alerts = watch.board.known().alerts;
    assert_eq!(alerts.finished[0].problem.as_deref(), Some("it answered 404 Not Found"));
    hooks.stop().await;
    place.beat(&["n3"], "failed").await;
    watch.look().await;
    let waiting = watch.board.known().alerts.deliveries.clone();
    assert!(waiting[0].problem.as_deref().unwrap().contains("refused"), "it is down: {waiting:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_the_bucket_is_away_is_told_without_it_and_its_end_once() {
    let (mut place, hooks) = (Place::start().await, Hooks::start().await);
    let mut watch = place.watch(&[hook(&hooks)]).await;
    watch.look().await;
    place.stop_store().await;
    watch.look_for(&place, 130).await;
    assert_eq!(hooks.told(), ["{store_degraded:1}/"]);
    watch.look_for(&place, 130).await;
    assert_eq!(hooks.told().len(), 1, "once");
    place.start_store().await;
    watch.look_for(&place, 70).await;
    watch.look().await;
    assert_eq!(hooks.told()[1..], ["/{store_degraded:1}"]);
    hooks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_silenced_is_told_when_the_silence_ends_and_the_audit_knows_who_made_it() {
    let (mut place, hooks) = (Place::start().await, Hooks::start().await);
    let mut watch = place.watch(&[hook(&hooks)]).await;
    let scope = |node: &str| fleetman::model::alert::SilenceScope {
        node: Some(node.parse().unwrap()),
        ..fleetman::model::alert::SilenceScope::default()
    };
    let alice = place.controller().await;
    assert!(alice.silence_for(Default::default(), "all", TimeDelta::hours(1)).await.is_err(), "never everything");
    assert!(alice.silence_for(scope("n1"), " ", TimeDelta::hours(1)).await.is_err(), "a reason is needed");
    assert!(alice.silence_for(scope("n1"), "why", TimeDelta::seconds(-1)).await.is_err());
    let silence = alice.silence_for(scope("n1"), "new disks", TimeDelta::hours(1)).await.unwrap();
    alice.silence_for(scope("n2"), "new disks", TimeDelta::hours(1)).await.unwrap();
    place.beat(&["n1", "n2"], "rolled_back").await;
    watch.look_for(&place, 10).await;
    assert_eq!(hooks.told(), Vec::<String>::new());
    assert_eq!(watch.board.known().alerts.open.len(), 2);
    assert!(alice.end_silence(silence.id).await.unwrap().is_some());
    assert!(alice.end_silence(silence.id).await.unwrap().is_none());
    watch.look_for(&place, 10).await;
    assert_eq!(hooks.told(), ["{rolled_back:1}/"]);
    place.pass(3_603);
    place.beat(&["n1", "n2"], "rolled_back").await;
    watch.look().await;
    assert_eq!(hooks.told()[1..], ["{rolled_back:1}/"]);
    hooks.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_is_everybodys_and_ends_with_the_alert() {
    let (mut place, hooks) = (Place::start().await, Hooks::start().await);
    let url = Secret::new(format!("http://{}/hook", hooks.address));
    let channel = Channel::Webhook { url, secret: None, ca_file: None, plain_http: false };
    let wants = ReceiverRules { acknowledged: true, ..rules("ops") };
    let curious = [Arc::new(Receiver::new(wants, channel).unwrap())];
    let (mut one, mut other) = (place.watch(&curious).await, place.watch(&curious).await);
    let key = "rolled_back:cell/n1/web".parse().unwrap();
    let alice = place.controller().await;
    assert_eq!(alice.acknowledge(&key, "on it").await.unwrap(), None, "it is not open");
    place.beat(&["n1"], "rolled_back").await;
    one.look().await;
    assert!(alice.acknowledge(&key, " ").await.is_err(), "a note is needed");
    assert!(alice.unacknowledge(&key).await.is_err(), "nobody has");
    let alert = alice.acknowledge(&key, "on it").await.unwrap().unwrap();
    let seen = alert.acknowledged.unwrap();
    assert_eq!((seen.by.as_str(), seen.note.as_str()), ("alice", "on it"));
    alice.acknowledge(&key, "on it").await.unwrap();
    other.look_for(&place, 10).await;
    one.look_for(&place, 10).await;
    assert_eq!(hooks.told(), ["{rolled_back:1}/", "//{rolled_back:1}"], "once, though it was said twice");
    assert_eq!(hooks.bodies()[1]["acknowledged"]["first"][0]["acknowledged"]["note"], "on it");
    let known = other.board.known().alerts;
    assert_eq!((known.open.len(), &known.open[0].acknowledged), (1, &Some(seen)), "another controller knows of it");

    assert_eq!(alice.unacknowledge(&key).await.unwrap().unwrap().acknowledged, None);
    alice.acknowledge(&key, "again").await.unwrap();
    place.beat(&["n1"], "up_to_date").await;
    one.look_for(&place, 70).await;
    place.beat(&["n1"], "rolled_back").await;
    one.look_for(&place, 10).await;
    assert_eq!(one.board.known().alerts.open[0].acknowledged, None, "a new one was seen by nobody");
    hooks.stop().await;
}

/// What comes of a test message over this channel.
async fn test(channel: Channel) -> Fate {
    let receiver = Receiver::new(rules("ops"), channel).unwrap();
    receiver.test(Ulid(7), FLEET, Some("https://fleet.example.com"), DateTime::UNIX_EPOCH).await
}

fn later(fate: Fate) -> String {
    match fate {
        Fate::Later(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_must_show_a_certificate_that_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (authority(), authority());
    let (files, _) = certify(&ours, "localhost", folder.path());
    let hooks = Hooks::start_at(0, Some(files)).await;
    let ca = |name: &str, pem: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let channel = |host: &str, ca_file: &Path| Channel::Slack {
        url: Secret::new(format!("https://{host}:{}/", hooks.address.port())),
        ca_file: Some(ca_file.to_owned()),
        plain_http: false,
    };
    let (good, bad) = (ca("ca.pem", ours.pem()), ca("foreign.pem", foreign.pem()));
    assert_eq!(test(channel("localhost", &good)).await, Fate::Sent);
    assert_eq!(
        hooks.bodies()[0]["text"].as_str().unwrap().lines().next(),
        Some("*a test: messages about alerts arrive here*")
    );
    for (host, ca_file) in [("localhost", &bad), ("127.0.0.1", &good)] {
        let why = later(test(channel(host, ca_file)).await);
        assert!(why.contains("certificate"), "{why}");
    }
    assert_eq!(hooks.got().len(), 1);
    hooks.stop().await;
}

fn mail(port: u16, tls: MailTls, ca_file: Option<&Path>) -> MailSettings {
    MailSettings {
        server: "localhost".to_owned(),
        port,
        tls,
        login: (tls != MailTls::None).then(|| ("fleetman".to_owned(), Secret::new("hush"))),
        from: "Fleetman <fleetman@example.com>".to_owned(),
        to: vec!["ops@example.com".to_owned(), "Größe <g@example.com>".to_owned()],
        ca_file: ca_file.map(Path::to_owned),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_handed_over_within_tls_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (authority(), authority());
    let (files, _) = certify(&ours, "localhost", folder.path());
    let (good, bad) = (folder.path().join("ca.pem"), folder.path().join("foreign.pem"));
    std::fs::write(&good, ours.pem()).unwrap();
    std::fs::write(&bad, foreign.pem()).unwrap();
    let server = MailServer::start(Some(&files)).await;
    let send = async |settings| test(Channel::Mail(settings)).await;
    assert_eq!(send(mail(server.port, MailTls::StartTls, Some(&good))).await, Fate::Sent);
    server.noted(|noted| {
        let before: Vec<&str> =
            noted.lines.iter().filter(|(is_tls, _)| !is_tls).map(|(_, line)| line.as_str()).collect();
        assert_eq!(before, ["EHLO fleetman", "STARTTLS"], "nothing else is said in the clear");
        let said: Vec<&String> = noted.lines.iter().map(|(_, line)| line).collect();
        assert!(said.iter().any(|line| line.starts_with("AUTH PLAIN")));
        assert!(said.iter().any(|line| line.starts_with("RCPT TO:<g@example.com>")), "{said:?}");
        let mail = &noted.mails[0];
        assert!(mail.contains("Subject: [fleetman] a test: messages about alerts arrive here\r\n"), "{mail}");
        assert!(mail.contains("Auto-Submitted: auto-generated\r\n") && mail.contains("text/plain"), "{mail}");
        noted.lines.clear();
    });
    let why = later(send(mail(server.port, MailTls::StartTls, Some(&bad))).await);
    assert!(why.contains("certificate"), "{why}");
    server.noted(|noted| {
        assert_eq!(noted.mails.len(), 1);
        assert!(!noted.lines.iter().any(|(_, line)| line.starts_with("AUTH")), "the password was not shown to it");
        noted.refusals = vec!["451 later".to_owned(), "550 never".to_owned()];
    });
    assert!(later(send(mail(server.port, MailTls::StartTls, Some(&good))).await).contains("451"));
    assert!(
        matches!(send(mail(server.port, MailTls::StartTls, Some(&good))).await, Fate::Never(why) if why.contains("550"))
    );

    let plain = MailServer::start(None).await;
    assert!(send(mail(plain.port, MailTls::StartTls, Some(&good))).await != Fate::Sent);
    plain.noted(|noted| assert_eq!(noted.lines.iter().filter(|(_, line)| line.starts_with("AUTH")).count(), 0));
    assert_eq!(send(mail(plain.port, MailTls::None, None)).await, Fate::Sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_word_of_a_node_gets_into_the_headers_of_mail() {
    let (mut place, server) = (Place::start().await, MailServer::start(None).await);
    let receiver = Receiver::new(rules("mail"), Channel::Mail(mail(server.port, MailTls::None, None))).unwrap();
    let mut watch = place.watch(&[Arc::new(receiver)]).await;
    let hostile = "x\r\nBcc: evil@example.com\r\n\r\n.\r\nMAIL FROM:<evil@example.com>";
    let mut beat = heartbeat("n1", "rolled_back", place.clock.now(), 1);
    beat["cells"]["web"]["last_error"]["message"] = json!(hostile);
    let client = crate::support::client(&place.endpoint);
    let put = client.put_object().bucket(crate::support::BUCKET).key("prod/eu/agents/n1.json");
    put.body(beat.to_string().into_bytes().into()).send().await.unwrap();
    watch.look().await;
    place.pass(1);
    watch.look().await;
    server.noted(|noted| {
        let [mail] = &noted.mails[..] else { panic!("{:?}", noted.mails) };
        let (head, body) = mail.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("Bcc") && head.contains("Subject: [fleetman] cell n1/web: rolled back\r\n"), "{head}");
        assert!(!body.lines().any(|line| line.starts_with("Bcc") || line == "."), "{body}");
    });
    place.stop_store().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_tells_of_alerts_and_the_command_line_shows_silences_and_tests_them() {
    let (mut place, hooks) = (Workplace::with_bucket().await, Hooks::start().await);
    place.write("hook.secret", "hush\n");
    let config = place.path().join("controller_config.yaml");
    let alerts = format!(
        "alerts:\n  receivers:\n  - name: ops\n    webhook: {{url: \"http://{}/\", secret_file: hook.secret}}\n    \
         group_wait: 0s\n    group_interval: 0s\n",
        hooks.address
    );
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text + &alerts).unwrap();
    place.fleetman(&["alerts", "test", "ops"]).await.exits(0);
    place.fleetman(&["alerts", "test", "nobody"]).await.exits(4);
    hooks.answer(&[503, 410]);
    place.fleetman(&["alerts", "test", "ops"]).await.exits(6);
    place.fleetman(&["alerts", "test", "ops"]).await.exits(8);
    assert!(hooks.bodies().iter().all(|body| body["test"] == true));
    assert!(place.fleetman(&["alerts"]).await.exits(0).out.contains("Nothing is wrong."));

    place.store().put("agents/n1.json", heartbeat("n1", "rolled_back", now(), 1).to_string().into_bytes()).await;
    let before = hooks.told().len();
    let open = [("bucket", "test"), ("type", "rolled_back")];
    let metric = async |serving: &Serving| Scrape::parse(&serving.get("/metrics").await.is(200).text());
    let serving = Serving::start(&place).await;
    wait_for(async || hooks.told().len() > before, "the alert to be told").await;
    wait_for(async || metric(&serving).await.value("fleetman_alerts_open", &open) == Some(1.0), "its metric").await;
    let is_kept = async || serving.get("/alerts").await.is(200).text().contains("Sent");
    wait_for(is_kept, "it to be known that it was told").await;
    drop(serving);
    let serving = Serving::start(&place).await;
    wait_for(async || metric(&serving).await.value("fleetman_alerts_open", &open) == Some(1.0), "the restart").await;
    assert_eq!(hooks.told()[before..], ["{rolled_back:1}/"], "a restart tells nothing again");

    let page = serving.get("/alerts").await.is(200).text();
    for said in ["Cell n1/web", "rolled back", "exit code 3", "told", "ops", "Sent", "class=\"count\">1<"] {
        assert!(page.contains(said), "{said}:\n{page}");
    }
    let listed = serving.get("/api/v1/alerts?type=rolled_back").await.is(200).json();
    assert_eq!((&listed["total"], &listed["items"][0]["subject"]), (&json!(1), &json!("cell/n1/web")));
    assert_eq!(serving.get("/api/v1/alerts?type=drift").await.is(200).json()["total"], 0);
    assert_eq!(serving.get("/api/v1/alerts?resolved=true").await.is(200).json()["total"], 0);

    let listed = place.fleetman(&["alerts", "ls", "-o", "json"]).await.exits(0).json();
    assert_eq!((&listed["open"][0]["type"], &listed["open"][0]["told"]), (&json!("rolled_back"), &json!(true)));
    for bad in ["rolled_back", "fire:node/n1", "rolled_back:n1"] {
        place.fleetman(&["alerts", "ack", bad, "--note", "x"]).await.exits(2);
    }
    let (back, absent) = ("rolled_back:cell/n1/web", "drift:cell/n1/web");
    place.fleetman(&["alerts", "ack", back]).await.exits(2);
    let ran = place.fleetman(&["alerts", "ack", back, absent, "--note", "on it"]).await.exits(4);
    assert!(ran.err.contains("there is no open alert drift:cell/n1/web"), "{}", ran.err);
    assert!(!place.fleetman(&["alerts"]).await.exits(0).out.contains("on it"), "all of them or none");
    place.fleetman(&["alerts", "ack", back, "--note", " "]).await.exits(2);
    place.fleetman(&["alerts", "ack", back, "--note", "on it"]).await.exits(0);
    let text = place.fleetman(&["alerts"]).await.exits(0).out;
    assert!(text.contains("acknowledged by tester") && text.contains("on it"), "{text}");
    let listed = place.fleetman(&["alerts", "-o", "json"]).await.exits(0).json();
    assert_eq!(listed["open"][0]["acknowledged"]["note"], "on it", "{listed}");
    place.fleetman(&["alerts", "unack", back]).await.exits(0);
    place.fleetman(&["alerts", "unack", back]).await.exits(2);
    place.fleetman(&["alerts", "silence", "--for", "1h", "--reason", "x"]).await.exits(2);
    place.fleetman(&["alerts", "silence", "--node", "n1", "--for", "1h", "--reason", "new disks"]).await.exits(0);
    let listed = place.fleetman(&["alerts", "-o", "json"]).await.exits(0).json();
    assert_eq!((&listed["silences"][0]["reason"], &listed["open"][0]["silenced"]), (&json!("new disks"), &json!(true)));
    place.fleetman(&["alerts", "unsilence", listed["silences"][0]["id"].as_str().unwrap()]).await.exits(0);
    let audit = place.fleetman(&["audit", "--action", "silence", "-o", "json"]).await.exits(0).json();
    assert_eq!((&audit[0]["reason"], &audit[0]["actor"]), (&json!("new disks"), &json!("tester")));
    hooks.stop().await;
}

/// The system's time: what `serve` and the bucket go by.
fn now() -> DateTime<Utc> {
    fleetman::clock::SystemClock::shared().now()
}
