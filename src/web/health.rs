//! Whether the server is there, and whether it sees the bucket: for load balancers and service managers.

use std::sync::Arc;

use axum::extract::State;

use super::app::Portal;
use super::failure::Failure;
use super::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().get("/healthz", healthz).get("/readyz", readyz)
}

async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready when every bucket of the config was read a moment ago.
async fn readyz(State(portal): State<Arc<Portal>>) -> Result<&'static str, Failure> {
    for fleet in &portal.fleets {
        fleet.snapshot.is_fresh().map_err(Failure::unavailable)?;
    }
    Ok("ok\n")
}
