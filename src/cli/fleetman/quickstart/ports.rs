//! Ports of the loopback address: the wanted one, or another that is free.

use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

/// How many ports a quickstart has. What finds its own taken goes on in such steps, so that it takes none of the others.
pub(super) const STEP: u16 = 5;

/// How often it goes on.
const STEPS: u16 = 20;

/// The wanted port and those to try after it.
pub(super) fn candidates(port: u16) -> impl Iterator<Item = u16> {
    (0..STEPS).filter_map(move |step| port.checked_add(step * STEP))
}

pub(super) fn none_free(port: u16) -> Failure {
    let message = format!("none of {STEPS} ports is free, from {port} on in steps of {STEP}");
    Failure::new(Exit::Conflict, "no_port", message).help("--fresh with --port begins somewhere else")
}

/// Listens at the first candidate that is free.
pub(super) async fn listen(port: u16) -> Result<TcpListener, Failure> {
    for port in candidates(port) {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return Ok(listener);
        }
    }
    Err(none_free(port))
}
