//! How the portal is served: bounds, TLS, whom it believes, and how it ends.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use fleetman::clock::SystemClock;
use fleetman::config::{Origin, Serving, TlsFiles};
use fleetman::web::listener::{Arrival, Limits, Listener, Settings};
use futures_util::{StreamExt as _, stream};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

use crate::support::cli::Workplace;
use crate::support::wait_for;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// Shorter than anything here takes.
const SHORT: Duration = Duration::from_millis(300);

/// A listener that runs, over a router that tells what reached it.
struct Running {
    address: SocketAddr,
    ended: CancellationToken,
    task: JoinHandle<()>,
    later: Later,
}

/// The answer of `/later`.
#[derive(Clone, Default)]
struct Later {
    /// Somebody asked for it.
    asked: Arc<Notify>,
    /// It may be given.
    given: Arc<Notify>,
}

impl Running {
    async fn start(settings: Settings) -> Self {
        let clock = SystemClock::shared();
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), settings, clock).await.unwrap();
        let (address, ended, later) = (listener.local_addr(), CancellationToken::new(), Later::default());
        let task = tokio::spawn(listener.serve(router(later.clone()), ended.clone()));
        Self { address, ended, task, later }
    }

    async fn connect(&self) -> Connection<TcpStream> {
        Connection(TcpStream::connect(self.address).await.unwrap())
    }
}

fn router(later: Later) -> Router {
    let stream = async || {
        let events = stream::iter([Ok::<_, std::io::Error>(Bytes::from("data: 1\n\n"))]).chain(stream::pending());
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events))
    };
    let who = async |Extension(arrival): Extension<Arrival>| {
        let origin = arrival.origin().map(ToString::to_string).unwrap_or_default();
        format!("{} {} {origin}", arrival.client(), arrival.is_secure())
    };
    let count = async |body: Body| {
        let mut stream = body.into_data_stream();
        let mut bytes = 0;
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => bytes += chunk.len(),
                Err(error) => return (StatusCode::REQUEST_TIMEOUT, error.to_string()),
            }
        }
        (StatusCode::OK, bytes.to_string())
    };
    let later = async move || {
        later.asked.notify_one();
        later.given.notified().await;
        "at last"
    };
    Router::new()
        .route("/who", get(who))
        .route("/stream", get(stream))
        .route("/count", post(count))
        .route("/later", get(later))
}

/// An answer: its status, its head in small letters, its body.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// A client's end of a connection.
struct Connection<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn get(&mut self, path: &str, more: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")).await;
        self.answer().await
    }

    /// The next answer, whose length has to stand in its head.
    async fn answer(&mut self) -> Answer {
        let head = self.until("\r\n\r\n").await.to_lowercase();
        let line = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let status = head.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_else(|_| panic!("{head:?}"));
        let mut body = vec![0; line("content-length:").map_or(0, |length| length.parse().unwrap())];
        timeout(LONG, self.0.read_exact(&mut body)).await.unwrap().unwrap();
        Answer { status, body: String::from_utf8(body).unwrap(), head }
    }

    /// What comes until `end`, or the end of the connection.
    async fn until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            match timeout(LONG, self.0.read_u8()).await.expect("something comes in time") {
                Ok(byte) => read.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8(read).unwrap()
    }

    /// Everything that still comes until the server closes the connection.
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = timeout(LONG, self.0.read_to_end(&mut rest)).await.expect("the connection ends in time");
        String::from_utf8(rest).unwrap()
    }
}

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

/// Whoever signs certificates.
fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate for `name` and its key into `folder`, and gives the two files and the certificate's bytes.
fn certify(authority: &CertifiedIssuer<'_, KeyPair>, name: &str, folder: &Path) -> (TlsFiles, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let files = TlsFiles { certificate: folder.join("chain.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, certificate.pem() + &authority.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    (files, certificate.der().to_vec())
}

async fn connect_tls(
    authority: &CertifiedIssuer<'_, KeyPair>,
    address: SocketAddr,
    name: &str,
) -> Connection<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    Connection(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
}

impl Connection<TlsStream<TcpStream>> {
    /// The certificate that the server showed.
    fn shown(&self) -> Vec<u8> {
        self.0.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
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
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut client = Connection(socket.connect(running.address).await.unwrap());
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
    timeout(LONG, running.task).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_comes_also_where_an_answer_does_not() {
    let running = Running::start(limited(Limits { drain: SHORT, ..Limits::default() })).await;
    let mut asking = running.connect().await;
    asking.send("GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    running.later.asked.notified().await;
    running.ended.cancel();
    timeout(LONG, running.task).await.unwrap().unwrap();
    assert_eq!(asking.rest().await, "");
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
