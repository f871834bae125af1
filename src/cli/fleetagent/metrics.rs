//! The agent's figures for monitoring: served over HTTP, and written into a file for node_exporter.
//!
//! Neither keeps the agent from its work: where an address is taken or a folder cannot be written to, it is said once
//! and tried again.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::future::pending;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;

use crate::agent::{Agent, Figures};
use crate::clock::SharedClock;
use crate::config::MetricsSettings;
use crate::exposition::MEDIA_TYPE;

/// What cannot be had now is asked for again after this time.
const AGAIN: Duration = Duration::from_secs(30);

/// The file is written at most so often.
const BETWEEN_FILES: Duration = Duration::from_secs(1);

/// How long one connection may take in all. Scrapers ask once and go.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Connections at once; whoever comes beyond them waits.
const MOST_CONNECTIONS: usize = 16;

/// The least that hyper takes, and far more than a scraper's request is.
const MOST_HEAD_BYTES: usize = 8 << 10;

/// Takes figures to where they are wanted.
pub(super) struct Exporter {
    figures: watch::Receiver<Figures>,
    clock: SharedClock,
    settings: MetricsSettings,
}

impl Exporter {
    /// None if they are wanted nowhere.
    pub(super) fn new(settings: MetricsSettings, agent: &Agent, clock: SharedClock) -> Option<Self> {
        let is_wanted = settings != MetricsSettings::default();
        is_wanted.then(|| Self { figures: agent.figures(), clock, settings })
    }

    /// Goes on for as long as it is asked to.
    pub(super) async fn run(self) -> Infallible {
        let served = async {
            match self.settings.listen {
                Some(address) => self.serve(address).await,
                None => pending().await,
            }
        };
        let written = async {
            match &self.settings.text_file {
                Some(path) => self.write(path).await,
                None => pending().await,
            }
        };
        let (never, _): (Infallible, Infallible) = tokio::join!(served, written);
        never
    }

    async fn serve(&self, address: SocketAddr) -> Infallible {
        let listener = self.listen(address).await;
        let permits = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let permit = Arc::clone(&permits).acquire_owned().await;
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "a connection for metrics broke off");
                    self.clock.sleep(BETWEEN_FILES).await;
                    continue;
                }
            };
            let (figures, clock) = (self.figures.clone(), self.clock.clone());
            tokio::spawn(async move {
                let _permit = permit;
                tokio::select! {
                    () = answer(stream, figures) => {}
                    () = clock.sleep(ANSWERED_WITHIN) => {}
                }
            });
        }
    }

    async fn listen(&self, address: SocketAddr) -> TcpListener {
        let mut trouble = Trouble::default();
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    let address = listener.local_addr().unwrap_or(address);
                    tracing::info!(event = "metrics_served", "metrics are served on http://{address}/metrics");
                    return listener;
                }
                Err(error) => trouble.say(&format!("metrics cannot be served on {address}: {error}")),
            }
            self.clock.sleep(AGAIN).await;
        }
    }

    async fn write(&self, path: &Path) -> Infallible {
        let (mut figures, mut trouble) = (self.figures.clone(), Trouble::default());
        loop {
            // The agent outlives this.
            if figures.changed().await.is_err() {
                return pending().await;
            }
            let (text, file) = (figures.borrow_and_update().render(), path.to_owned());
            let written = spawn_blocking(move || replace(&file, &text)).await.unwrap_or_else(|error| Err(error.into()));
            match written {
                Ok(()) => trouble = Trouble::default(),
                Err(error) => trouble.say(&format!("metrics cannot be written to {}: {error}", path.display())),
            }
            self.clock.sleep(BETWEEN_FILES).await;
        }
    }
}

/// What keeps the figures from where they should go; said once for as long as it is the same.
#[derive(Default)]
struct Trouble(String);

impl Trouble {
    fn say(&mut self, what: &str) {
        if self.0 != what {
            tracing::warn!(event = "metrics_unavailable", "{what}");
            what.clone_into(&mut self.0);
        }
    }
}

/// Puts `text` in the place of the file at `path` as a whole, readable for everybody: node_exporter is another user.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A name that the collector does not read, and that the next try writes over.
    let mut beside: OsString = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // Made anew: in a folder that is another user's it could be a link to a file that is not.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    fs::rename(&beside, path)
}

async fn answer(stream: TcpStream, figures: watch::Receiver<Figures>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = respond(request.method(), request.uri().path(), &figures);
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ANSWERED_WITHIN)
        .keep_alive(false)
        .max_buf_size(MOST_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection for metrics broke off");
    }
}

fn respond(method: &Method, path: &str, figures: &watch::Receiver<Figures>) -> Response<Full<Bytes>> {
    let (status, text) = match (method, path) {
        (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, figures.borrow().render()),
        (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned()),
        _ => (StatusCode::NOT_FOUND, "there is only /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = if status == StatusCode::OK { MEDIA_TYPE } else { "text/plain; charset=utf-8" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
