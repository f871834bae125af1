//! A folder as a web site that tells which process serves it: what quickstart's sample cell runs.

use std::future::Future;
use std::path::Path;

use axum::http::{HeaderValue, header};
use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::net::TcpListener;
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;

/// Who serves a site.
#[derive(Debug, Clone, Serialize)]
pub struct Process {
    /// The node that it runs on.
    pub node: String,
    /// The version of the cell.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Since when it serves.
    pub since: DateTime<Utc>,
}

/// Serves the files below `folder` on `listener` until `shutdown` completes; `process` at `/process`, and its id alone
/// at `/process/pid`.
///
/// Nothing may be cached, because a version takes the place of another at the same address.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    folder: &Path,
    process: Process,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let no_store = SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let pid = process.pid.to_string();
    let app = Router::new()
        .route("/process", get(async move || Json(process)))
        .route("/process/pid", get(async move || pid))
        .fallback_service(ServeDir::new(folder))
        .layer(no_store);
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await
}
