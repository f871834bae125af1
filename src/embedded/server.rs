//! The listener: accepts connections, bounds them, and ends them in order.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use s3s::auth::SimpleAuth;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::validation::{AwsNameValidation, NameValidation as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::folder::Folder;
use super::service::Service;
use super::{EmbeddedError, Options};
use crate::clock::{SharedClock, SystemClock};

/// Connections beyond this many wait in the listen queue.
const MAX_CONNECTIONS: usize = 1024;

/// How long a client may take to send the headers of a request.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);

/// A multipart upload is completed by a document that names up to 10,000 parts; nothing longer is read at once.
const MAX_XML_BYTES: usize = 4 * 1024 * 1024;

/// Requests under way get this long to finish at shutdown.
const DRAIN_WITHIN: Duration = Duration::from_secs(10);

/// Pause after a failed `accept`, which fails again at once when descriptors run out.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A running server. Dropping it stops it at once; [`Server::shutdown`] lets requests finish.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
    folder_released: oneshot::Receiver<()>,
}

impl Server {
    /// Opens the folder, creates missing buckets and begins to listen.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub async fn start(options: Options) -> Result<Self, EmbeddedError> {
        Self::start_at(options, SystemClock::shared()).await
    }

    /// The same, with the time of `clock` as the time at which objects are written.
    ///
    /// # Errors
    /// See [`EmbeddedError`].
    pub async fn start_at(options: Options, clock: SharedClock) -> Result<Self, EmbeddedError> {
        for name in &options.buckets {
            if !AwsNameValidation::new().validate_bucket_name(name) {
                return Err(EmbeddedError::BucketName { name: name.clone() });
            }
        }
        let address = options.listen;
        let listener = TcpListener::bind(address).await.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => EmbeddedError::PortTaken { address },
            _ => EmbeddedError::Listen { address, source },
        })?;
        let local_addr = listener.local_addr().map_err(|source| EmbeddedError::Listen { address, source })?;

        let (root, buckets, folder_clock) = (options.root.clone(), options.buckets, Arc::clone(&clock));
        let opened = tokio::task::spawn_blocking(move || open(&root, &buckets, folder_clock)).await;
        let failed =
            |error| EmbeddedError::Folder { doing: "opening", path: options.root, source: io::Error::other(error) };
        let (folder, folder_released) = opened.map_err(failed)??;

        let mut config = S3Config::default();
        config.xml_max_body_size = MAX_XML_BYTES;
        let mut builder = S3ServiceBuilder::new(Service::new(folder));
        builder.set_auth(SimpleAuth::from_single(options.access_key, options.secret_key));
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));

        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept(listener, builder.build(), clock, stop.clone()));
        Ok(Self { local_addr, stop, accepting, folder_released })
    }

    /// The base URL, for a client that addresses buckets by path.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.local_addr)
    }

    /// Where the server listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Takes no more connections, lets requests under way finish for up to 10 seconds, and gives up the folder.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        // Twice the bound: requests that are cut off may still have a file operation to finish.
        let _ = timeout(DRAIN_WITHIN, &mut self.accepting).await;
        self.accepting.abort();
        let _ = timeout(DRAIN_WITHIN, &mut self.folder_released).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn open(root: &Path, buckets: &[String], clock: SharedClock) -> Result<(Folder, oneshot::Receiver<()>), EmbeddedError> {
    let (folder, released) = Folder::open(root, clock)?;
    for name in buckets {
        if folder.bucket(name).is_err() {
            folder.create_bucket(name).map_err(|refusal| EmbeddedError::Folder {
                doing: "creating a bucket in",
                path: root.to_owned(),
                source: io::Error::other(refusal),
            })?;
        }
    }
    Ok((folder, released))
}

/// Accepts until told to stop, then waits for the connections. Dropping the future drops the connections.
async fn accept(listener: TcpListener, service: S3Service, clock: SharedClock, stop: CancellationToken) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = async {
                let permit = Arc::clone(&permits).acquire_owned().await;
                (listener.accept().await, permit)
            } => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            (Ok((stream, _)), Ok(permit)) => {
                let connection = graceful.watcher();
                let service = service.clone();
                connections.spawn(async move {
                    serve(stream, service, connection).await;
                    drop(permit);
                });
            }
            (Err(error), _) => {
                tracing::warn!(%error, "accepting a connection failed");
                clock.sleep(ACCEPT_AGAIN_AFTER).await;
            }
            // The semaphore is never closed.
            (_, Err(_)) => break,
        }
    }
    drop(listener);
    graceful.shutdown().await;
    while connections.join_next().await.is_some() {}
}

async fn serve(stream: TcpStream, service: S3Service, watcher: hyper_util::server::graceful::Watcher) {
    // Answers are small and awaited: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    let service = service_fn(move |request| answer(service.clone(), request));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error, "a connection ended early");
    }
}

/// A client that said `Expect: 100-continue` and got its answer without a `100` may read the next answer on that
/// connection wrongly (botocore does), so the connection ends with it. No `100` is sent where no body is read: because
/// there is none, or because the request is refused before.
async fn answer(service: S3Service, request: Request<Incoming>) -> Result<Response<s3s::Body>, s3s::HttpError> {
    let expects = request.headers().contains_key(header::EXPECT);
    let empty = request.body().is_end_stream();
    let mut response = Box::pin(service.call(request.map(s3s::Body::from))).await?;
    if expects && (empty || !response.status().is_success()) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}
