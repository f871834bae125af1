//! How the portal is served: bounds, TLS, whom it believes, and how it ends.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use fleetman::clock::SystemClock;
use fleetman::config::{Origin, Serving};
use fleetman::web::listener::{Limits, Listener, Settings};
use rcgen::KeyPair;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::time::timeout;

use crate::support::cli::Workplace;
use crate::support::listening::{Connection, Running, authority, certify, connect_from, connect_tls};
use crate::support::{PATIENCE, wait_for};

/// Shorter than anything here takes.
const SHORT: Duration = Duration::from_millis(300);

fn limited(limits: Limits) -> Settings {
    Settings { limits, ..Settings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_end_and_a_body_that_does_not_come_are_given_up() {
    let running = Running::start(limited(Limits { head: SHORT, stall: SHORT, ..Limits::default() })).await;
    let mut slow = running.connect().await;
    slow.send("GET /who HTTP/1.1\r\nHost: loc").await;
    assert_eq!(slow.rest().await, "");

    let mut idle = running.connect().await;
    assert_eq!(idle.get("/who", "").await.status, 200);
    assert_eq!(idle.rest().await, "");

    let mut stalled = running.connect().await;
    stalled.send("POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n123").await;
    let answer = stalled.answer().await;
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(answer.body.contains("too slowly"), "{answer:?}");

    // A stream that has nothing to say is no idle connection.
    let mut streaming = running.connect().await;
    streaming.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(streaming.until("data: 1\n\n\r\n").await.contains("200 OK"));
    assert!(timeout(3 * SHORT, streaming.0.read_u8()).await.is_err(), "the stream ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_are_told_so() {
    let running = Running::start(limited(Limits { connections: 2, refusals: 1, ..Limits::default() })).await;
    let (mut first, mut second) = (running.connect().await, running.connect().await);
    assert_eq!(first.get("/who", "").await.status, 200);
    assert_eq!(second.get("/who", "").await.status, 200);

    let mut third = running.connect().await;
    let refused = third.get("/who", "").await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("too_many_connections") && refused.head.contains("retry-after: "), "{refused:?}");
    assert_eq!(third.rest().await, "", "a refused connection stays no burden");

    // One that is being refused, and says nothing; the next is closed at once.
    let _silent = running.connect().await;
    wait_for(async || running.connect().await.rest().await.is_empty(), "the place of a refusal to be taken").await;
    assert_eq!(first.get("/who", "").await.status, 200, "those within the bound are served on");

    drop(second);
    wait_for(
        async || {
            let mut next = running.connect().await;
            next.send("GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
            next.rest().await.contains("200 OK")
        },
        "a place that was left",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_with_the_certificate_of_the_config() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let (files, _) = certify(&authority, "fleet.example.com", folder.path());
    let public_url = Origin::parse("https://fleet.example.com");
    let serving = Serving { public_url, tls: Some(files), ..Serving::default() };
    let limits = Limits { handshake: SHORT, ..Limits::default() };
    let running = Running::start(Settings { serving, limits, ..Settings::default() }).await;
    let mut client = connect_tls(&authority, running.address, "fleet.example.com").await;

    client.send("GET /who HTTP/1.1\r\nHost: fleet.example.com\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.body, "127.0.0.1 true https://fleet.example.com");
    assert!(answer.head.contains("strict-transport-security: max-age=31536000"), "{answer:?}");
    let by_other_name = client.get("/who", "").await;
    assert!(!by_other_name.head.contains("strict-transport"), "localhost has other ports without TLS");

    let mut plain = running.connect().await;
    let refused = plain.get("/who", "").await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("https_expected"), "{refused:?}");
    assert_eq!(running.connect().await.rest().await, "", "who begins no handshake is given up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_and_an_open_key_are_warned_of() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let (files, _) = certify(&authority, "fleet.example.com", folder.path());
    let warnings = async |url: &str, mode| {
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(mode)).unwrap();
        let (public_url, tls) = (Origin::parse(url), Some(files.clone()));
        let settings = Settings { serving: Serving { public_url, tls, ..Serving::default() }, ..Settings::default() };
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), settings, SystemClock::shared()).await;
        listener.unwrap().warnings().join("\n")
    };
    assert_eq!(warnings("https://fleet.example.com", 0o640).await, "");
    let other = warnings("https://other.example.com", 0o600).await;
    assert!(other.contains("chain.pem is not for other.example.com"), "{other}");
    let open = warnings("https://fleet.example.com:8443", 0o644).await;
    assert!(open.contains("key.pem holds a secret and every user of this machine can read it"), "{open}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_without_breaking_connections() {
    let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
    let (files, first) = certify(&authority, "localhost", folder.path());
    let serving = Serving { tls: Some(files.clone()), ..Serving::default() };
    let limits = Limits { certificate: Duration::from_millis(20), ..Limits::default() };
    let running = Running::start(Settings { serving, limits, ..Settings::default() }).await;
    let mut old = connect_tls(&authority, running.address, "localhost").await;
    assert_eq!(old.shown(), first);

    // What cannot be used, or only half of it, changes nothing.
    let elsewhere = tempfile::tempdir().unwrap();
    let (renewed, second) = certify(&authority, "localhost", elsewhere.path());
    std::fs::remove_file(&files.key).unwrap();
    assert_eq!(connect_tls(&authority, running.address, "localhost").await.shown(), first);
    std::fs::copy(&renewed.certificate, &files.certificate).unwrap();
    for _ in 0..20 {
        assert_eq!(connect_tls(&authority, running.address, "localhost").await.shown(), first);
    }

    std::fs::copy(&renewed.key, &files.key).unwrap();
    let shown = async || connect_tls(&authority, running.address, "localhost").await.shown() == second;
    wait_for(shown, "the new certificate").await;
    assert_eq!(old.get("/who", "").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_are_believed_only_when_they_are_trusted() {
    let proxy = Ipv4Addr::new(127, 0, 0, 2);
    let serving = Serving {
        public_url: Origin::parse("https://fleet.example.com"),
        trusted_proxies: vec![IpAddr::V4(proxy).into()],
        tls: None,
    };
    let running = Running::start(Settings { serving, ..Settings::default() }).await;
    let told = "X-Forwarded-For: 6.6.6.6, 198.51.100.7\r\nX-Forwarded-Proto: https\r\n";
    for (from, expected) in [(proxy, "198.51.100.7 true"), (Ipv4Addr::LOCALHOST, "127.0.0.1 false")] {
        let mut client = Connection(connect_from(from, running.address).await);
        let who = client.get("/who", told).await.body;
        assert_eq!(who, format!("{expected} https://fleet.example.com"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_answers_and_not_for_streams() {
    let running = Running::start(Settings::default()).await;
    let mut idle = running.connect().await;
    assert_eq!(idle.get("/who", "").await.status, 200);
    let mut streaming = running.connect().await;
    streaming.send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(streaming.until("data: 1\n\n").await.contains("200 OK"));
    let mut asking = running.connect().await;
    asking.send("GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    running.later.asked.notified().await;

    running.ended.cancel();
    assert!(streaming.rest().await.ends_with("0\r\n\r\n"), "the stream ends as a whole answer");
    assert_eq!(idle.rest().await, "");
    assert!(TcpStream::connect(running.address).await.is_err(), "nobody is let in any more");
    assert!(!running.task.is_finished());
    running.later.given.notify_one();
    assert_eq!(asking.answer().await.body, "at last");
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_comes_also_where_an_answer_does_not() {
    let running = Running::start(limited(Limits { drain: SHORT, ..Limits::default() })).await;
    let mut asking = running.connect().await;
    asking.send("GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    running.later.asked.notified().await;
    running.ended.cancel();
    timeout(PATIENCE, running.task).await.unwrap().unwrap();
    assert_eq!(asking.rest().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_speaks_tls_and_its_watchdog_is_fed_all_the_same() {
    let place = Workplace::with_bucket().await;
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    let tls = "public_url: https://fleet.example.com\ntls: {certificate_file: chain.pem, key_file: key.pem}\n";
    place.write("controller_config.yaml", &(config + tls));
    let authority = authority();
    certify(&authority, "fleet.example.com", place.path());
    let manager = UnixDatagram::bind(place.path().join("notify")).unwrap();
    let mut command = place.command(env!("CARGO_BIN_EXE_fleetman"), &["serve", "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", place.path().join("notify")).env("WATCHDOG_USEC", "900000");
    let mut serving = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(serving.stderr.take().unwrap()).lines();
    let mut said = async |what: &str| loop {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().expect("it goes on");
        if let Some((_, rest)) = line.split_once(what) {
            return rest.to_owned();
        }
    };
    let address = said(" on https://").await.parse().unwrap();
    let link = said("https://fleet.example.com/sign-in/once?token=").await;
    assert!(!link.is_empty(), "the first admin is sent to where the certificate is good");
    let mut client = connect_tls(&authority, address, "fleet.example.com").await;
    let health = client.get("/healthz", "").await;
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));

    // The first is told without a look at itself.
    let mut fed = 0;
    while fed < 3 {
        let mut heard = [0; 4096];
        let length = timeout(PATIENCE, manager.recv(&mut heard)).await.unwrap().unwrap();
        fed += usize::from(heard[..length].ends_with(b"WATCHDOG=1\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_files_are_told_apart_and_nothing_is_served() {
    let place = Workplace::with_bucket().await;
    let config = std::fs::read_to_string(place.path().join("controller_config.yaml")).unwrap();
    let tls = "listen: 127.0.0.1:0\ntls: {certificate_file: chain.pem, key_file: key.pem}\n";
    place.write("controller_config.yaml", &(config + tls));
    let authority = authority();
    let (files, _) = certify(&authority, "localhost", place.path());
    let (chain, key) = (std::fs::read_to_string(&files.certificate).unwrap(), std::fs::read(&files.key).unwrap());
    let key = String::from_utf8(key).unwrap();
    let cut = &chain[..chain.len() / 2];
    let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let other = KeyPair::generate().unwrap().serialize_pem();
    for (chain, key, expected) in [
        ("", key.as_str(), "chain.pem holds no certificate; expected PEM with BEGIN CERTIFICATE"),
        (cut, &key, "the PEM in "),
        (no_certificate, &key, "chain.pem holds cannot be used"),
        (&chain, "", "key.pem holds no private key; expected PEM with BEGIN PRIVATE KEY"),
        (&chain, &chain, "key.pem holds no private key"),
        (&chain, no_key, "key.pem holds cannot be used"),
        (&chain, &other, "is not the key of the first certificate in "),
    ] {
        place.write("chain.pem", chain);
        place.write("key.pem", key);
        let error = place.fleetman(&["-o", "json", "serve"]).await.exits(2).error();
        assert_eq!(error["code"], "certificate_invalid", "{error}");
        assert!(error["message"].as_str().unwrap().contains(expected), "{expected}: {error}");
    }
    std::fs::remove_file(&files.key).unwrap();
    let error = place.fleetman(&["-o", "json", "serve"]).await.exits(2).error();
    assert!(error["message"].as_str().unwrap().contains("key.pem: No such file"), "{error}");
}
