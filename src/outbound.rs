//! Requests to services that are no bucket: bounded in size and time, over TLS or within this machine unless somebody
//! said otherwise, and no redirect is followed.

use std::error::Error;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::store::in_full;

/// For all of a request.
const DEADLINE: Duration = Duration::from_secs(10);

/// Far more than any answer that is read takes.
const MAX_BYTES: usize = 1024 * 1024;

type Cause = Box<dyn Error + Send + Sync>;

/// Why nothing can be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Give other certificates.
    #[error("{} cannot be used: {why}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Report it: this build has no TLS.
    #[error("setting up TLS")]
    Tls(#[source] rustls::Error),
}

/// What sends requests. Each has a connection of its own: there are a few in an hour.
#[derive(Clone)]
pub struct Client {
    tls: TlsConnector,
}

impl Client {
    /// One that trusts the system's certificates, and those of a file in PEM.
    ///
    /// # Errors
    /// See [`OutboundError`].
    pub fn new(ca_file: Option<&Path>) -> Result<Self, OutboundError> {
        let mut roots = RootCertStore::empty();
        // One of the system's that cannot be read is not missed until something needs it.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(path) = ca_file {
            let unusable = |why| OutboundError::Certificates { path: path.to_owned(), why };
            let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
            add_pem(&mut roots, &pem).map_err(unusable)?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(OutboundError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Sends one request and reads the whole answer. `headers` are sent besides those that every request has.
    ///
    /// # Errors
    /// Why there is no answer, in words. An answer that redirects is none.
    pub async fn ask(
        &self,
        uri: &Uri,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        match timeout(DEADLINE, self.exchange(uri, method, headers, body)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(in_full(error.as_ref())),
            Err(_) => Err(format!("it took more than {} s", DEADLINE.as_secs())),
        }
    }

    async fn exchange(
        &self,
        uri: &Uri,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Cause> {
        let authority = uri.authority().ok_or("it names no host")?;
        let host = authority.host().trim_matches(['[', ']']);
        let is_tls = uri.scheme_str() == Some("https");
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let mut request = Request::builder()
            .method(&method)
            .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
            .body(Full::new(body))?;
        *request.headers_mut() = headers;
        let own = request.headers_mut();
        own.insert(header::HOST, HeaderValue::from_str(authority.as_str())?);
        own.insert(header::USER_AGENT, HeaderValue::from_static(concat!("fleetman/", env!("CARGO_PKG_VERSION"))));
        let stream = connect(host, port).await?;
        if !is_tls {
            return speak(stream, request).await;
        }
        let name = ServerName::try_from(host.to_owned())?;
        speak(self.tls.connect(name, stream).await?, request).await
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// Connects to where a name leads, but to no address that only serves its own link: there clouds answer with the keys of
/// their machines, and nobody's service is.
async fn connect(host: &str, port: u16) -> Result<TcpStream, Cause> {
    let mut why: Cause = "its name has no address".into();
    for address in tokio::net::lookup_host((host, port)).await? {
        if is_of_the_link(address.ip()) {
            why =
                format!("{} is an address of this machine's own link, where no service is asked", address.ip()).into();
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => why = error.into(),
        }
    }
    Err(why)
}

/// Whether an address is link-local, is none or that of many, or the one of a cloud's metadata that is not.
fn is_of_the_link(address: IpAddr) -> bool {
    const EC2_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let is_local = match address.to_canonical() {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address == EC2_METADATA,
    };
    is_local || address.is_unspecified() || address.is_multicast()
}

/// One request and its whole answer.
async fn speak<S>(stream: S, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes), Cause>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        if status.is_redirection() {
            return Err(format!("it answers {status}, and redirects are not followed").into());
        }
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await?;
        Ok((status, body.to_bytes()))
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // It ends once all is there, or with what the exchange is told, too.
        _ = connection => exchange.await,
    }
}

/// Adds the certificates of a file in PEM.
fn add_pem(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), String> {
    let mut has_one = false;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("it is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("a certificate is unusable: {error}"))?;
        has_one = true;
    }
    if has_one { Ok(()) } else { Err("it holds no certificate; expected PEM with BEGIN CERTIFICATE".to_owned()) }
}

/// Whether what is said to `url` crosses no network readable.
#[must_use]
pub fn is_safe(url: &Uri) -> bool {
    let Some(host) = host(url) else { return false };
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    url.scheme_str() == Some("https") || (url.scheme_str() == Some("http") && is_here)
}

/// The host that `url` names, if it names one and no user.
#[must_use]
pub fn host(url: &Uri) -> Option<&str> {
    let authority = url.authority().filter(|authority| !authority.as_str().contains('@'))?;
    let host = authority.host().trim_matches(['[', ']']);
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_only_a_link_knows_are_asked_for_nothing() {
        for (address, expected) in [
            ("169.254.169.254", true),
            ("::ffff:169.254.169.254", true),
            ("fe80::1", true),
            ("fd00:ec2::254", true),
            ("0.0.0.0", true),
            ("::", true),
            ("224.0.0.1", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("10.0.0.1", false),
            ("fd00::1", false),
            ("192.0.2.1", false),
        ] {
            assert_eq!(is_of_the_link(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn a_cloud_is_not_asked_for_its_keys() {
        let uri = "http://169.254.169.254/latest/meta-data/".parse().unwrap();
        let refused = Client::new(None).unwrap().ask(&uri, Method::GET, HeaderMap::new(), Bytes::new()).await;
        assert!(refused.unwrap_err().contains("own link"));
    }
}
