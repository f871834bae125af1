//! Requests to the service: bounded in size and time, over TLS or within this machine, and no redirect is followed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
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
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::error::OidcError;
use crate::config::is_safe;
use crate::store::in_full;

/// For all of a request.
const DEADLINE: Duration = Duration::from_secs(10);

/// Far more than discovery, keys or a token take.
const MAX_BYTES: usize = 1024 * 1024;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What sends them. Each has a connection of its own: there are a few in an hour.
#[derive(Clone)]
pub(super) struct Client {
    tls: TlsConnector,
}

impl Client {
    pub(super) fn new(roots: RootCertStore) -> Result<Self, OidcError> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(OidcError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    pub(super) async fn get(&self, url: &str) -> Result<(StatusCode, Bytes), OidcError> {
        self.ask(url, Method::GET, None, Bytes::new()).await
    }

    /// Sends a form, with what goes into `Authorization` if anything does.
    pub(super) async fn post(
        &self,
        url: &str,
        authorization: Option<HeaderValue>,
        form: String,
    ) -> Result<(StatusCode, Bytes), OidcError> {
        self.ask(url, Method::POST, authorization, form.into()).await
    }

    async fn ask(
        &self,
        url: &str,
        method: Method,
        authorization: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), OidcError> {
        let uri = url
            .parse::<Uri>()
            .ok()
            .filter(is_safe)
            .ok_or_else(|| OidcError::Unusable { url: url.to_owned(), why: "this is no https URL".to_owned() })?;
        let unreachable = |why| OidcError::Unreachable { url: url.to_owned(), why };
        match timeout(DEADLINE, self.exchange(&uri, method, authorization, body)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(unreachable(in_full(error.as_ref()))),
            Err(_) => Err(unreachable(format!("it took more than {} s", DEADLINE.as_secs()))),
        }
    }

    async fn exchange(
        &self,
        uri: &Uri,
        method: Method,
        authorization: Option<HeaderValue>,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Cause> {
        let authority = uri.authority().ok_or("it names no host")?;
        let host = authority.host().trim_matches(['[', ']']);
        let is_tls = uri.scheme_str() == Some("https");
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let mut request = Request::builder()
            .method(&method)
            .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, authority.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("fleetman/", env!("CARGO_PKG_VERSION")));
        if method == Method::POST {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if let Some(authorization) = authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Full::new(body))?;
        let stream = TcpStream::connect((host, port)).await?;
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
pub(super) fn add_pem(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), String> {
    let mut has_one = false;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("it is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("a certificate is unusable: {error}"))?;
        has_one = true;
    }
    if has_one { Ok(()) } else { Err("it holds no certificate; expected PEM with BEGIN CERTIFICATE".to_owned()) }
}
