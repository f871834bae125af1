//! Connections: taken in up to a bound, told so beyond it, spoken to in HTTP, and ended in order.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::front::{Front, refusal};
use crate::clock::Clock;

/// Pause after a failed `accept`, which fails again at once when descriptors run out.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What is kept of a connection at once; the head of a request has to fit.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// The first byte of every TLS connection: a record of the handshake.
const TLS_HANDSHAKE: u8 = 22;

/// What a connection comes through.
pub(super) struct Entrance {
    tls: Option<TlsAcceptor>,
    front: Front,
    limits: Limits,
    ended: CancellationToken,
}

/// Accepts until told to end, then waits for the connections. Dropping the future drops the connections.
pub(super) async fn accept(socket: TcpListener, entrance: Entrance, clock: &dyn Clock) {
    let entrance = Arc::new(entrance);
    let Limits { connections, refusals, drain, .. } = entrance.limits;
    let (places, told) = (Arc::new(Semaphore::new(connections)), Arc::new(Semaphore::new(refusals)));
    let graceful = GracefulShutdown::new();
    let mut open = JoinSet::new();
    let mut is_full = false;
    loop {
        let accepted = tokio::select! {
            () = entrance.ended.cancelled() => break,
            accepted = socket.accept() => accepted,
            Some(_) = open.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                clock.sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        let (entrance, watcher) = (Arc::clone(&entrance), graceful.watcher());
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            is_full = false;
            open.spawn(async move {
                entrance.admit(stream, peer, watcher).await;
                drop(place);
            });
            continue;
        }
        if !is_full {
            tracing::warn!(connections, "as many connections as are served are open: others are refused");
            is_full = true;
        }
        if let Ok(place) = Arc::clone(&told).try_acquire_owned() {
            open.spawn(async move {
                // All of it in the time of a handshake, so that refusals do not pile up either.
                let _ = timeout(entrance.limits.handshake, entrance.refuse(stream, watcher)).await;
                drop(place);
            });
        }
    }
    drop(socket);
    let _ = timeout(drain, async {
        graceful.shutdown().await;
        while open.join_next().await.is_some() {}
    })
    .await;
}

impl Entrance {
    pub(super) fn new(tls: Option<TlsAcceptor>, front: Front, limits: Limits, ended: CancellationToken) -> Self {
        Self { tls, front, limits, ended }
    }

    async fn admit(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        match self.open(stream).await {
            Some(Opened::Plain(stream)) => {
                let answer = service_fn(|request| self.front.answer(peer.ip(), false, request));
                self.serve(stream, watcher, answer).await;
            }
            Some(Opened::Tls(stream)) => {
                let answer = service_fn(|request| self.front.answer(peer.ip(), true, request));
                self.serve(*stream, watcher, answer).await;
            }
            Some(Opened::PlainForTls(stream)) => {
                let detail = "this port speaks HTTPS: begin the URL with https://";
                let answer = service_fn(async |_| Ok(refusal(StatusCode::BAD_REQUEST, "https_expected", detail)));
                self.serve(stream, watcher, answer).await;
            }
            None => {}
        }
    }

    async fn refuse(&self, stream: TcpStream, watcher: Watcher) {
        let detail = "this server has as many connections as it serves: try again in a moment";
        let answer = service_fn(async |_| {
            let mut refusal = refusal(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", detail);
            refusal.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            Ok(refusal)
        });
        match self.open(stream).await {
            Some(Opened::Plain(stream) | Opened::PlainForTls(stream)) => self.serve(stream, watcher, answer).await,
            Some(Opened::Tls(stream)) => self.serve(*stream, watcher, answer).await,
            None => {}
        }
    }

    /// The connection as HTTP needs it; `None` where it came to nothing.
    async fn open(&self, stream: TcpStream) -> Option<Opened> {
        // Answers are small and awaited: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let stall = u32::try_from(self.limits.stall.as_millis()).unwrap_or(u32::MAX);
        let _ = set_tcp_user_timeout(&stream, stall);
        let Some(tls) = &self.tls else { return Some(Opened::Plain(stream)) };
        let handshake = async {
            let mut first = [0];
            stream.peek(&mut first).await?;
            if first != [TLS_HANDSHAKE] {
                return Ok(Opened::PlainForTls(stream));
            }
            tls.accept(stream).await.map(|stream| Opened::Tls(Box::new(stream)))
        };
        match self.ended.run_until_cancelled(timeout(self.limits.handshake, handshake)).await? {
            Ok(Ok(opened)) => Some(opened),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => None,
        }
    }

    async fn serve<I, S>(&self, stream: I, watcher: Watcher, answer: S)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.limits.head).max_buf_size(MAX_HEAD_BYTES);
        if let Err(error) = watcher.watch(builder.serve_connection(TokioIo::new(stream), answer)).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// A connection that HTTP can be spoken on.
enum Opened {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// Plain HTTP where TLS is spoken.
    PlainForTls(TcpStream),
}
