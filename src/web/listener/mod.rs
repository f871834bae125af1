//! The listener: takes connections, bounds them, and ends them in order.
//!
//! HTTP/1.1, in plain or over TLS. A request reaches the router with an [`Arrival`] among its extensions.
//!
//! # Bounds
//! [`Limits`] bounds the connections, the time until a request's head is whole, the pace of its body, and how long the
//! end takes. A reader who does not take the answer is given up by the kernel after [`Limits::stall`].

mod arrival;
mod bodies;
mod certificate;
mod connections;
mod front;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use arrival::Arrival;
pub use certificate::CertificateError;

use self::certificate::Certificate;
use self::connections::{Entrance, accept};
use self::front::Front;
use crate::clock::SharedClock;
use crate::config::{Origin, Serving};

/// For whom to listen, and how.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How it is reached.
    pub serving: Serving,
    /// Lets other machines in without TLS, and takes requests under every host name.
    pub insecure_http: bool,
    /// How much of everything.
    pub limits: Limits,
}

impl Settings {
    /// Whether passwords would cross a network readable. Behind proxies that encrypt for people only those are let in.
    fn check(&self, address: SocketAddr) -> Result<(), ListenError> {
        let Serving { public_url, trusted_proxies, tls } = &self.serving;
        let is_behind_proxies = !trusted_proxies.is_empty() && public_url.as_ref().is_some_and(Origin::is_https);
        if address.ip().is_loopback() || tls.is_some() || is_behind_proxies || self.insecure_http {
            return Ok(());
        }
        Err(ListenError::Open { address })
    }
}

/// How much of everything a listener takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at the same time. Together with what the bucket takes they fit into 1,024 descriptors, which is
    /// what a process may usually have.
    pub connections: usize,
    /// Connections beyond those that are told so at the same time; yet others are closed without a word.
    pub refusals: usize,
    /// How long a client may take until the head of a request is whole, and idle between two requests.
    pub head: Duration,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
    /// How long nothing may come of a request's body, and nothing be taken of the answer.
    pub stall: Duration,
    /// What is waited for a body altogether: [`Self::stall`], and a second for as many bytes that have come.
    pub slowest_bytes_per_sec: u64,
    /// How long requests under way may take at the end.
    pub drain: Duration,
    /// How often the files of the certificate are looked at.
    pub certificate: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            refusals: 32,
            head: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            stall: Duration::from_secs(30),
            slowest_bytes_per_sec: 4 * 1024,
            drain: Duration::from_secs(10),
            certificate: Duration::from_secs(10),
        }
    }
}

/// Why nothing is served, named by what the operator must do.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Give it TLS, put a proxy before it, or choose a loopback address.
    #[error("{address} is open to other machines, and passwords would cross the network readable")]
    Open {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Stop what listens there, or choose another.
    #[error("{address} is taken")]
    Taken {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("listening on {address}")]
    Address {
        /// The address asked for.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Report it: this is no socket that listens.
    #[error("asking a socket where it listens")]
    Socket(#[source] io::Error),
    /// Correct the files.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

/// An address that is listened on.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local_addr: SocketAddr,
    certificate: Option<Certificate>,
    settings: Settings,
    clock: SharedClock,
}

impl Listener {
    /// Checks the settings, reads the certificate and listens at `address`. Port 0 takes a free one.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn bind(address: SocketAddr, settings: Settings, clock: SharedClock) -> Result<Self, ListenError> {
        settings.check(address)?;
        let socket = TcpListener::bind(address).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::Taken { address },
            _ => ListenError::Address { address, source },
        })?;
        Self::over(socket, settings, clock).await
    }

    /// The same for a socket that listens already.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn over(socket: TcpListener, settings: Settings, clock: SharedClock) -> Result<Self, ListenError> {
        let local_addr = socket.local_addr().map_err(ListenError::Socket)?;
        settings.check(local_addr)?;
        let certificate = match &settings.serving.tls {
            Some(files) => Some(Certificate::read(files.clone(), settings.serving.public_url.as_ref()).await?),
            None => None,
        };
        Ok(Self { socket, local_addr, certificate, settings, clock })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The URL of that address.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.local_addr)
    }

    /// What its owner should hear.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        self.certificate.as_ref().map_or(&[], Certificate::warnings)
    }

    /// Serves until `ended`, then takes no more connections, ends event streams and lets other answers finish for
    /// [`Limits::drain`].
    pub async fn serve(self, router: Router, ended: CancellationToken) {
        let Self { socket, local_addr, certificate, settings, clock } = self;
        let tls = certificate.as_ref().map(Certificate::acceptor);
        let only_proxies = !settings.insecure_http && tls.is_none() && !local_addr.ip().is_loopback();
        let limits = settings.limits;
        let front = Front::new(router, settings, only_proxies, ended.clone(), clock.clone());
        let accepting = accept(socket, Entrance::new(tls, front, limits, ended), &*clock);
        match certificate {
            None => accepting.await,
            Some(mut certificate) => tokio::select! {
                () = accepting => {}
                never = certificate.keep_fresh(&*clock, limits.certificate) => match never {},
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsFiles;

    #[test]
    fn an_address_that_others_reach_needs_tls_or_proxies_that_have_it() {
        let proxies = Serving { trusted_proxies: vec!["10.0.0.5/32".parse().unwrap()], ..Serving::default() };
        let named = |serving: &Serving, url| Serving { public_url: Origin::parse(url), ..serving.clone() };
        let tls = TlsFiles { certificate: "c".into(), key: "k".into() };
        for (serving, insecure_http, expected) in [
            (Serving::default(), false, false),
            (Serving::default(), true, true),
            (Serving { tls: Some(tls), ..Serving::default() }, false, true),
            (named(&Serving::default(), "https://fleet.example.com"), false, false),
            (proxies.clone(), false, false),
            (named(&proxies, "http://fleet.example.com"), false, false),
            (named(&proxies, "https://fleet.example.com"), false, true),
        ] {
            let settings = Settings { serving, insecure_http, ..Settings::default() };
            for address in ["10.0.0.1:80", "0.0.0.0:80", "[::]:80"] {
                assert_eq!(settings.check(address.parse().unwrap()).is_ok(), expected, "{address} {settings:?}");
            }
            assert!(settings.check("127.0.0.1:80".parse().unwrap()).is_ok());
        }
    }
}
