//! Asking a web server of the node.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::net;
use crate::model::health::HttpCheck;
use crate::store::in_full;

/// How much of a body is looked through.
const MOST_BODY: usize = 64 << 10;

/// How much the head of an answer may have.
const MOST_HEAD: usize = 64 << 10;

/// What vouches for servers, read once there is one to ask.
#[derive(Debug, Default)]
pub(in crate::agent) struct Tls {
    strict: OnceLock<Result<Arc<ClientConfig>, String>>,
    lax: OnceLock<Result<Arc<ClientConfig>, String>>,
}

impl Tls {
    fn connector(&self, insecure: bool) -> Result<TlsConnector, String> {
        let config = if insecure { self.lax.get_or_init(lax) } else { self.strict.get_or_init(strict) };
        config.clone().map(TlsConnector::from)
    }
}

fn strict() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    // What of them cannot be read vouches for nobody.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    trusting(roots)
}

fn trusting(roots: RootCertStore) -> Result<Arc<ClientConfig>, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| in_full(&error))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn lax() -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let config = config.with_safe_default_protocol_versions().map_err(|error| in_full(&error))?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    Ok(Arc::new(config.with_no_client_auth()))
}

/// Takes any certificate, as `insecure` asks for; but whoever shows it must have its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

pub(super) async fn ask(check: &HttpCheck, tls: &Tls) -> Result<String, String> {
    let url = &check.url;
    let stream = net::connect(url.host(), url.port()).await?;
    if !url.is_tls() {
        return speak(stream, check).await;
    }
    let name = ServerName::try_from(url.host().to_owned()).map_err(|error| format!("{}: {error}", url.host()))?;
    let stream = tls.connector(check.insecure)?.connect(name, stream).await;
    speak(stream.map_err(|error| format!("TLS with {}: {}", url.authority(), in_full(&error)))?, check).await
}

async fn speak<S>(stream: S, check: &HttpCheck) -> Result<String, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = Request::get(check.url.path())
        .header(header::HOST, check.url.authority())
        .header(header::USER_AGENT, concat!("fleetagent/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| in_full(&error))?;
    let broken = |error: hyper::Error| format!("GET {}: {}", check.url, in_full(&error));
    let shaken = http1::Builder::new().max_buf_size(MOST_HEAD).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(broken)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        if !check.status.contains(status) {
            return Err(format!("{}, expected {}", shown(status), check.status));
        }
        match &check.contains {
            Some(text) if !holds(response.into_body(), text.as_bytes()).await.map_err(broken)? => {
                Err(format!("{}, but {text:?} is not in the first {} KiB", shown(status), MOST_BODY >> 10))
            }
            _ => Ok(shown(status)),
        }
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // It ends once all is there, or with what the exchange is told, too.
        _ = connection => exchange.await,
    }
}

fn shown(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("HTTP {} {reason}", status.as_u16()),
        None => format!("HTTP {}", status.as_u16()),
    }
}

/// Whether the text stands in the part of the body that is looked through.
async fn holds(mut body: Incoming, text: &[u8]) -> Result<bool, hyper::Error> {
    let mut read = Vec::new();
    while read.len() < MOST_BODY {
        let Some(frame) = body.frame().await else { break };
        if let Ok(data) = frame?.into_data() {
            read.extend_from_slice(&data[..data.len().min(MOST_BODY - read.len())]);
        }
        if read.windows(text.len()).any(|window| window == text) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use rcgen::{Certificate, KeyPair, generate_simple_self_signed};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};

    use super::*;

    /// A server that says the same to everybody, and hears what it was asked.
    async fn server(answer: impl Into<Vec<u8>>) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, answer) = (listener.local_addr().unwrap().port(), answer.into());
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = vec![0; 4096];
            let read = stream.read(&mut heard).await.unwrap();
            // A client that has heard enough hangs up.
            let _ = stream.write_all(&answer).await;
            String::from_utf8_lossy(&heard[..read]).into_owned()
        });
        (port, heard)
    }

    async fn asked(answer: impl Into<Vec<u8>>, change: impl FnOnce(&mut HttpCheck)) -> Result<String, String> {
        let (port, _) = server(answer).await;
        let mut check = HttpCheck {
            url: format!("http://127.0.0.1:{port}/health?deep").parse().unwrap(),
            status: Default::default(),
            contains: None,
            insecure: false,
        };
        change(&mut check);
        ask(&check, &Tls::default()).await
    }

    fn answer(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_get_with_the_host_and_the_path_is_sent() {
        let (port, heard) = server(answer("204 x", "")).await;
        let url = format!("http://localhost:{port}/health?deep").parse().unwrap();
        let check = HttpCheck { url, status: "204".parse().unwrap(), contains: None, insecure: false };
        assert_eq!(ask(&check, &Tls::default()).await.unwrap(), "HTTP 204 No Content");
        let heard = heard.await.unwrap().to_lowercase();
        assert!(heard.starts_with("get /health?deep http/1.1\r\n"), "{heard}");
        assert!(heard.contains(&format!("host: localhost:{port}\r\n")), "{heard}");
    }

    #[tokio::test]
    async fn the_status_and_the_body_decide_and_redirects_are_answers() {
        assert_eq!(asked(answer("200 x", "fine"), |_| {}).await.unwrap(), "HTTP 200 OK");
        let why = asked(answer("503 x", ""), |_| {}).await.unwrap_err();
        assert_eq!(why, "HTTP 503 Service Unavailable, expected 200-299");
        let moved = "HTTP/1.1 302 x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(asked(moved, |_| {}).await.unwrap_err(), "HTTP 302 Found, expected 200-299");
        assert_eq!(asked(moved, |check| check.status = "302".parse().unwrap()).await.unwrap(), "HTTP 302 Found");
        let contains = |text: &str| {
            let text = text.to_owned();
            move |check: &mut HttpCheck| check.contains = Some(text)
        };
        assert!(asked(answer("200 x", "all is well"), contains("is well")).await.is_ok());
        let why = asked(answer("200 x", "all is well"), contains("ill")).await.unwrap_err();
        assert_eq!(why, "HTTP 200 OK, but \"ill\" is not in the first 64 KiB");
    }

    /// A server over TLS that shows `certificate` and signs with `key`, whether they belong together or not.
    async fn server_over_tls(certificate: &Certificate, key: &KeyPair) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = provider.key_provider.load_private_key(key).unwrap();
        let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate.der().clone()], key));
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_cert_resolver(Arc::new(shown));
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
            let _ = stream.read(&mut [0; 4096]).await.unwrap();
            stream.write_all(answer("200 x", "").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        });
        port
    }

    #[tokio::test]
    async fn over_tls_the_name_must_be_vouched_for_unless_anybody_will_do_who_has_the_key() {
        let rcgen::CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).unwrap();
        let known = || Tls { strict: OnceLock::from(trusting(roots.clone())), lax: OnceLock::new() };
        let asked = async |host: &str, key: &KeyPair, tls: Tls, insecure: bool| {
            let port = server_over_tls(&cert, key).await;
            let url = format!("https://{host}:{port}/").parse().unwrap();
            ask(&HttpCheck { url, status: Default::default(), contains: None, insecure }, &tls).await
        };
        assert_eq!(asked("localhost", &signing_key, known(), false).await.unwrap(), "HTTP 200 OK");
        let why = asked("127.0.0.1", &signing_key, known(), false).await.unwrap_err();
        assert!(why.starts_with("TLS with 127.0.0.1:") && why.contains("not valid for name"), "{why}");
        let why = asked("localhost", &signing_key, Tls::default(), false).await.unwrap_err();
        assert!(why.contains("UnknownIssuer"), "{why}");
        assert_eq!(asked("127.0.0.1", &signing_key, Tls::default(), true).await.unwrap(), "HTTP 200 OK");
        let other = KeyPair::generate().unwrap();
        let why = asked("localhost", &other, Tls::default(), true).await.unwrap_err();
        assert!(why.contains("BadSignature"), "{why}");
    }

    #[tokio::test]
    async fn whatever_is_answered_no_more_is_read_than_is_looked_through() {
        let body = |before: usize| format!("{}needle", "x".repeat(before));
        let contains = |check: &mut HttpCheck| check.contains = Some("needle".to_owned());
        assert!(asked(answer("200 x", &body(MOST_BODY - 6)), contains).await.is_ok());
        assert!(asked(answer("200 x", &body(MOST_BODY - 5)), contains).await.is_err());
        assert!(asked(answer("200 x", &body(50 << 20)), contains).await.is_err());
        let head = format!("HTTP/1.1 200 x\r\nA: {}\r\n\r\n", "x".repeat(2 * MOST_HEAD));
        assert!(asked(head, |_| {}).await.is_err());
        for nonsense in ["", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 x\r\nContent-Length: 9\r\n\r\nx"] {
            assert!(asked(nonsense, contains).await.is_err(), "{nonsense}");
        }
    }
}
