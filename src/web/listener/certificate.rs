//! The certificate: read, checked, and read again when its files change.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

use crate::clock::Clock;
use crate::config::{Origin, TlsFiles, open_warning};

/// No chain is longer.
const MAX_BYTES: u64 = 1024 * 1024;

/// What is wrong with the files, named by what their owner must do.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Make it readable.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Give a file in PEM.
    #[error("{} holds no {expected}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
    },
    /// Write the file anew: it is cut or damaged.
    #[error("the PEM in {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// At what.
        #[source]
        source: pem::Error,
    },
    /// Take another certificate or key.
    #[error("what {} holds cannot be used", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Put the two in accord.
    #[error(
        "the key in {} is not the key of the first certificate in {}: the server's own certificate comes first, those \
        that issued it after it",
        key.display(), certificate.display()
    )]
    Mismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// Report it: this build has no TLS to offer.
    #[error("setting up TLS")]
    Tls(#[source] rustls::Error),
}

/// The bytes of both files. They are compared, not times: those are coarse, and a copy may keep them.
#[derive(PartialEq, Eq)]
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

/// The certificate that new connections are shown.
pub(super) struct Certificate {
    files: TlsFiles,
    provider: Arc<CryptoProvider>,
    pair: Pair,
    shown: watch::Sender<Arc<CertifiedKey>>,
    config: Arc<ServerConfig>,
    warnings: Vec<String>,
}

impl Certificate {
    /// Reads both files and checks that they belong together.
    pub(super) async fn read(files: TlsFiles, public_url: Option<&Origin>) -> Result<Self, CertificateError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let pair = read_pair(&files).await?;
        let certified = pair.check(&files, &provider)?;
        let mut warnings = Vec::new();
        if tokio::fs::metadata(&files.key).await.is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0) {
            warnings.push(open_warning(&files.key));
        }
        if let Some(url) = public_url.filter(|url| !is_for(&certified, url.host())) {
            warnings.push(format!(
                "the certificate in {} is not for {}: browsers will refuse {url}",
                files.certificate.display(),
                url.host()
            ));
        }
        let (shown, seen) = watch::channel(Arc::new(certified));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Shown(seen)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { files, provider, pair, shown, config: Arc::new(config), warnings })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    pub(super) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Shows new connections what the files hold as soon as they hold something else. While they cannot be used, which
    /// may only mean that one of them is replaced already, the last good certificate stays.
    pub(super) async fn keep_fresh(&mut self, clock: &dyn Clock, every: Duration) -> Infallible {
        let mut told = None;
        loop {
            clock.sleep(every).await;
            match self.look().await {
                Ok(is_new) => {
                    told = None;
                    if is_new {
                        tracing::info!(file = %self.files.certificate.display(), "the certificate was read anew");
                    }
                }
                Err(error) => {
                    let text = error.to_string();
                    if told.as_ref() != Some(&text) {
                        let error: &dyn Error = &error;
                        tracing::warn!(error, "the certificate changed and cannot be used: the old one stays");
                        told = Some(text);
                    }
                }
            }
        }
    }

    /// Takes what the files hold now; whether it is something else.
    async fn look(&mut self) -> Result<bool, CertificateError> {
        let pair = read_pair(&self.files).await?;
        if pair == self.pair {
            return Ok(false);
        }
        self.shown.send_replace(Arc::new(pair.check(&self.files, &self.provider)?));
        self.pair = pair;
        Ok(true)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Pair {
    fn check(&self, files: &TlsFiles, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::Unusable { path, source }
        };
        let damaged = |path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::Damaged { path, source }
        };
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(damaged(&files.certificate))?;
        if chain.is_empty() {
            let expected = "certificate; expected PEM with BEGIN CERTIFICATE";
            return Err(CertificateError::Empty { path: files.certificate.clone(), expected });
        }
        let key = match PrivateKeyDer::from_pem_slice(&self.key) {
            Ok(key) => key,
            Err(pem::Error::NoItemsFound) => {
                let expected = "private key; expected PEM with BEGIN PRIVATE KEY, not encrypted";
                return Err(CertificateError::Empty { path: files.key.clone(), expected });
            }
            Err(source) => return Err(damaged(&files.key)(source)),
        };
        let key = provider.key_provider.load_private_key(key).map_err(unusable(&files.key))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(certified),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(CertificateError::Mismatch { certificate: files.certificate.clone(), key: files.key.clone() })
            }
            Err(source) => Err(unusable(&files.certificate)(source)),
        }
    }
}

async fn read_pair(files: &TlsFiles) -> Result<Pair, CertificateError> {
    Ok(Pair { certificate: read_file(&files.certificate).await?, key: read_file(&files.key).await? })
}

async fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let read = async {
        let mut bytes = Vec::new();
        tokio::fs::File::open(path).await?.take(MAX_BYTES).read_to_end(&mut bytes).await?;
        Ok(bytes)
    };
    read.await.map_err(|source| CertificateError::Unreadable { path: path.to_owned(), source })
}

fn is_for(certified: &CertifiedKey, host: &str) -> bool {
    let name = ServerName::try_from(host.trim_matches(['[', ']']));
    let certificate = certified.cert.first().map(ParsedCertificate::try_from);
    matches!((name, certificate), (Ok(name), Some(Ok(certificate))) if verify_server_name(&certificate, &name).is_ok())
}

/// Hands new connections the certificate of the moment.
#[derive(Debug)]
struct Shown(watch::Receiver<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.borrow()))
    }
}
