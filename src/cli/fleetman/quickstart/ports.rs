//! Ports of the loopback address: the wanted one, or the next that is free.

use std::net::Ipv4Addr;

use tokio::net::TcpListener;

use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

/// The most ports that are tried beyond the wanted one.
const NEXT_PORTS: u16 = 50;

/// The wanted port and those after it, without those that others got.
pub(super) fn candidates(port: u16, given: &[u16]) -> impl Iterator<Item = u16> {
    (port..=port.saturating_add(NEXT_PORTS)).filter(|port| !given.contains(port))
}

pub(super) fn none_free(port: u16) -> Failure {
    let message = format!("no port is free from {port} to {}", port.saturating_add(NEXT_PORTS));
    Failure::new(Exit::Conflict, "no_port", message).help("--port names another one to begin with")
}

/// Listens at the first candidate that is free; also says which one that is.
pub(super) async fn listen(port: u16, given: &[u16]) -> Result<(TcpListener, u16), Failure> {
    for port in candidates(port, given) {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return Ok((listener, port));
        }
    }
    Err(none_free(port))
}
