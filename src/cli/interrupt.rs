//! Being asked to end.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;

/// A token that is cancelled by Ctrl-C or SIGTERM. From then on these do not end the process by themselves.
///
/// # Errors
/// When the system does not let signals be watched.
pub(crate) fn watch() -> Result<CancellationToken, Failure> {
    let refused = |error| Failure::local("watching for signals", &error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        cancelled.cancel();
    });
    Ok(token)
}
