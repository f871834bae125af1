//! What is served over HTTP.

mod api;
pub mod folder;
mod problem;
mod snapshot;
pub mod views;

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::api::App;
use self::snapshot::Snapshot;
use crate::clock::SharedClock;
use crate::controller::Controller;

/// Serves the read API on `listener` until `ended`; requests that are under way are answered first.
///
/// `any_host` takes requests under every host name; without it only those under addresses and `localhost`.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    controller: Controller,
    clock: SharedClock,
    listener: TcpListener,
    any_host: bool,
    ended: CancellationToken,
) -> std::io::Result<()> {
    let app = Arc::new(App { controller, snapshot: Snapshot::new(clock) });
    let router = api::router(app.clone(), any_host);
    let refreshed = app.snapshot.keep(&app.controller, ended.clone());
    let served = async {
        let served = axum::serve(listener, router).with_graceful_shutdown(ended.clone().cancelled_owned()).await;
        // Without a listener nobody is left to refresh for.
        ended.cancel();
        served
    };
    let ((), served) = tokio::join!(refreshed, served);
    served
}
