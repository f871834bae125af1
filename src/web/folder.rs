//! A folder as a web site: what quickstart shows a deployed cell with.

use std::future::Future;
use std::path::Path;

use axum::Router;
use axum::http::{HeaderValue, header};
use tokio::net::TcpListener;
use tower_http::services::ServeDir;
use tower_http::set_header::SetResponseHeaderLayer;

/// Serves the files below `folder` on `listener` until `shutdown` completes.
///
/// `folder` may be a link: it is followed anew for each request, so a deployment that switches it shows at once.
/// Nothing may be cached for the same reason.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    folder: &Path,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let no_store = SetResponseHeaderLayer::overriding(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let app = Router::new().fallback_service(ServeDir::new(folder)).layer(no_store);
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await
}
