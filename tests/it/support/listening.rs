//! A listener of the portal over a router that tells what reached it, and clients that speak HTTP by hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use crate::support::PATIENCE;
use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use fleetman::clock::SystemClock;
use fleetman::config::TlsFiles;
use fleetman::web::listener::{Arrival, Listener, Settings};
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

/// A listener that runs, over a router that tells what reached it.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) ended: CancellationToken,
    pub(crate) task: JoinHandle<()>,
    pub(crate) later: Later,
    /// The first bytes of a body for `/count` are here.
    pub(crate) receiving: Arc<Notify>,
}

/// The answer of `/later`.
#[derive(Clone, Default)]
pub(crate) struct Later {
    /// Somebody asked for it.
    pub(crate) asked: Arc<Notify>,
    /// It may be given.
    pub(crate) given: Arc<Notify>,
}

impl Running {
    pub(crate) async fn start(settings: Settings) -> Self {
        let clock = SystemClock::shared();
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into(), settings, clock).await.unwrap();
        let (address, ended, later) = (listener.local_addr(), CancellationToken::new(), Later::default());
        let receiving = Arc::new(Notify::new());
        let task = tokio::spawn(listener.serve(router(later.clone(), receiving.clone()), ended.clone()));
        Self { address, ended, task, later, receiving }
    }

    pub(crate) async fn connect(&self) -> Connection<TcpStream> {
        Connection(TcpStream::connect(self.address).await.unwrap())
    }
}

fn router(later: Later, receiving: Arc<Notify>) -> Router {
    let stream = async || {
        let events = stream::iter([Ok::<_, std::io::Error>(Bytes::from("data: 1\n\n"))]).chain(stream::pending());
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events))
    };
    let who = async |Extension(arrival): Extension<Arrival>| {
        let origin = arrival.origin().map(ToString::to_string).unwrap_or_default();
        format!("{} {} {origin}", arrival.client(), arrival.is_secure())
    };
    let count = async move |body: Body| {
        let mut stream = body.into_data_stream();
        let mut bytes = 0;
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(chunk) => {
                    receiving.notify_one();
                    bytes += chunk.len();
                }
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

/// An answer: its status, its head as it came and in small letters, its body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) raw: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A client's end of a connection.
pub(crate) struct Connection<S>(pub(crate) S);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
        // Over TLS the last bytes otherwise stay here once the socket is full.
        self.0.flush().await.unwrap();
    }

    pub(crate) async fn get(&mut self, path: &str, more: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")).await;
        self.answer().await
    }

    /// The next answer, whose length has to stand in its head.
    pub(crate) async fn answer(&mut self) -> Answer {
        let (answer, body) = self.answer_in_bytes().await;
        Answer { body: String::from_utf8(body).unwrap(), ..answer }
    }

    /// The same of one that is no text.
    pub(crate) async fn answer_in_bytes(&mut self) -> (Answer, Vec<u8>) {
        let raw = self.until("\r\n\r\n").await;
        let head = raw.to_lowercase();
        let line = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let status = head.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_else(|_| panic!("{head:?}"));
        let mut body = vec![0; line("content-length:").map_or(0, |length| length.parse().unwrap())];
        timeout(PATIENCE, self.0.read_exact(&mut body)).await.unwrap().unwrap();
        (Answer { status, body: String::new(), head, raw }, body)
    }

    /// What comes until `end`, or the end of the connection.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            match timeout(PATIENCE, self.0.read_u8()).await.expect("something comes in time") {
                Ok(byte) => read.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8(read).unwrap()
    }

    /// Everything that still comes until the server closes the connection.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("the connection ends in time");
        String::from_utf8(rest).unwrap()
    }
}

/// Whoever signs certificates.
pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

/// A new one.
pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a certificate for `name` and its key into `folder`, and gives the two files and the certificate's bytes.
pub(crate) fn certify(authority: &Authority, name: &str, folder: &Path) -> (TlsFiles, Vec<u8>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new([name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let files = TlsFiles { certificate: folder.join("chain.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, certificate.pem() + &authority.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    (files, certificate.der().to_vec())
}

/// A connection to `name` over TLS that believes `authority`.
pub(crate) async fn connect_tls(
    authority: &Authority,
    address: SocketAddr,
    name: &str,
) -> Connection<TlsStream<TcpStream>> {
    over_tls(authority, TcpStream::connect(address).await.unwrap(), name).await
}

/// The same over a connection that stands.
pub(crate) async fn over_tls(authority: &Authority, stream: TcpStream, name: &str) -> Connection<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    Connection(TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap())
}

/// A connection from another of this machine's addresses, for a listener that tells them apart.
pub(crate) async fn connect_from(from: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(address).await.unwrap()
}

impl Connection<TlsStream<TcpStream>> {
    /// The certificate that the server showed.
    pub(crate) fn shown(&self) -> Vec<u8> {
        self.0.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }
}
