//! The ways to a store: TLS with a CA of one's own, and proxies.

use std::sync::Arc;

use bytes::Bytes;
use fleetman::store::{Outage, ProxySettings, Secret, StoreError, StoreSettings};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::support::Store as Server;
use crate::support::bucket::{connect, heartbeat, settings};
use crate::support::scripted::{Scripted, s3_error};

/// A listener that hands every connection to `serve`, until it is dropped.
struct Listening {
    port: u16,
    _connections: JoinSet<()>,
}

impl Listening {
    async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                open.spawn(serve(stream));
            }
        });
        Self { port, _connections: connections }
    }
}

/// TLS in front of `server`, for the name `localhost`, and the CA that vouches for it.
async fn tls(server: &Server) -> (Listening, NamedTempFile) {
    let mut of_ca = CertificateParams::new([]).unwrap();
    of_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(of_ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &ca).unwrap();
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ca.pem()).unwrap();

    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let upstream = server.endpoint().trim_start_matches("http://").to_owned();
    let listening = Listening::start(move |stream| {
        let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
        async move {
            let mut inner = acceptor.accept(stream).await?;
            copy_bidirectional(&mut inner, &mut TcpStream::connect(&upstream).await?).await.map(|_| ())
        }
    })
    .await;
    (listening, file)
}

#[tokio::test]
async fn a_ca_of_ones_own_is_trusted_and_another_is_not() {
    let server = Server::start().await;
    let (tls, ca) = tls(&server).await;
    let endpoint = format!("https://localhost:{}", tls.port);

    let trusting = StoreSettings { ca_file: Some(ca.path().to_owned()), ..settings(&endpoint) };
    let store = connect(trusting.clone()).await;
    store.put_own(&heartbeat("n1"), Bytes::from_static(b"beat")).await.unwrap();
    assert_eq!(store.get(&heartbeat("n1"), 10).await.unwrap().bytes, "beat");

    let error = connect(settings(&endpoint)).await.get(&heartbeat("n1"), 10).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { why: Outage::Connection, .. }), "{error:?}");
    assert!(causes(&error).contains("UnknownIssuer"), "{}", causes(&error));

    let other_name = StoreSettings { endpoint: Some(format!("https://127.0.0.1:{}", tls.port)), ..trusting };
    let error = connect(other_name).await.get(&heartbeat("n1"), 10).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { why: Outage::Connection, .. }), "{error:?}");
}

/// What an error and everything below it say.
fn causes(error: &StoreError) -> String {
    format!("{error}: {:?}", std::error::Error::source(error))
}

fn through(proxy: String) -> ProxySettings {
    ProxySettings::Explicit { url: proxy, login: None, no_proxy: None }
}

#[tokio::test]
async fn a_proxy_is_asked_for_the_store_by_name_and_with_the_login() {
    let proxy = Scripted::start(|_| s3_error(404, "NoSuchKey")).await;
    let login = Some(("user".to_owned(), Secret::new("pass")));
    let explicit = ProxySettings::Explicit { url: proxy.endpoint(), login, no_proxy: None };
    let store = connect(StoreSettings { proxy: explicit, ..settings("http://store.invalid:9000") }).await;
    assert_eq!(store.find(&heartbeat("n1"), 10).await.unwrap(), None);
    let asked = proxy.asked();
    assert!(asked[0].target.starts_with("http://store.invalid:9000/fleet/prod/eu/agents/n1.json"), "{asked:?}");
    assert_eq!(asked[0].headers["proxy-authorization"], "Basic dXNlcjpwYXNz");
}

#[tokio::test]
async fn hosts_that_need_no_proxy_are_reached_directly() {
    let server = Server::start().await;
    let proxy = Scripted::start(|_| s3_error(404, "NoSuchKey")).await;
    let no_proxy = Some("127.0.0.1".to_owned());
    let explicit = ProxySettings::Explicit { url: proxy.endpoint(), login: None, no_proxy };
    let store = connect(StoreSettings { proxy: explicit, ..settings(&server.endpoint()) }).await;
    store.put_own(&heartbeat("n1"), Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(proxy.asked().len(), 0);
}

#[tokio::test]
async fn tls_goes_through_a_proxy_as_a_tunnel() {
    let server = Server::start().await;
    let (tls, ca) = tls(&server).await;
    let tunnel = Listening::start(|stream| async {
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            stream.read_line(&mut head).await?;
        }
        let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split_once(' ')).unwrap().0.to_owned();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        copy_bidirectional(&mut stream, &mut TcpStream::connect(&target).await?).await.map(|_| ())
    })
    .await;
    let store = connect(StoreSettings {
        ca_file: Some(ca.path().to_owned()),
        proxy: through(format!("http://127.0.0.1:{}", tunnel.port)),
        ..settings(&format!("https://localhost:{}", tls.port))
    })
    .await;
    store.put_own(&heartbeat("n1"), Bytes::from_static(b"x")).await.unwrap();
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_an_outage() {
    let server = Server::start().await;
    let dead = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    let proxied = StoreSettings { proxy: through(format!("http://{dead}")), ..settings(&server.endpoint()) };
    let error = connect(proxied).await.get(&heartbeat("n1"), 10).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { why: Outage::Connection, .. }), "{error:?}");
    let error = fleetman::store::Store::connect(
        StoreSettings { proxy: through("::".to_owned()), ..settings(&server.endpoint()) },
        fleetman::clock::SystemClock::shared(),
    )
    .await
    .unwrap_err();
    assert!(matches!(error, StoreError::Misconfigured { .. }), "{error:?}");
}
