//! Connecting to the node itself, and to nothing else: what another machine does is no reason to roll back here, and a
//! manifest is no way to have requests sent around.

use std::io;
use std::net::{IpAddr, UdpSocket};

use tokio::net::{TcpStream, lookup_host};

use crate::model::health::TcpCheck;

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;

pub(super) async fn ask(check: &TcpCheck) -> Result<String, String> {
    let address = &check.address;
    connect(address.host(), address.port()).await?;
    Ok(format!("{address} takes connections"))
}

/// Connects to a port of this node.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let found = lookup_host((host, port)).await.map_err(|error| format!("looking up {host}: {error}"))?;
    let own: Vec<_> = found.filter(|address| is_own(address.ip())).take(MOST_ADDRESSES).collect();
    let mut result = Err(format!("{host} is not this node, and checks ask nobody else"));
    for address in own {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => result = Err(format!("connecting to {address}: {}", words(&error))),
        }
    }
    result
}

/// Whether an address is one of this machine: then, and only then, can something be bound to it.
fn is_own(address: IpAddr) -> bool {
    // What is connected to means this machine, though nothing has it.
    !address.is_unspecified() && (address.is_loopback() || UdpSocket::bind((address, 0)).is_ok())
}

/// Without the number that the system has for it.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: String) -> TcpCheck {
        TcpCheck { address: address.parse().unwrap() }
    }

    #[tokio::test]
    async fn a_port_that_listens_passes_and_one_that_does_not_says_so() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        ask(&check(format!("127.0.0.1:{port}"))).await.unwrap();
        ask(&check(format!("localhost:{port}"))).await.unwrap();
        drop(listener);
        let why = ask(&check(format!("127.0.0.1:{port}"))).await.unwrap_err();
        assert_eq!(why, format!("connecting to 127.0.0.1:{port}: connection refused"));
    }

    #[tokio::test]
    async fn nobody_else_is_asked() {
        // Reserved for documentation: no machine has them.
        for address in ["192.0.2.1:80", "[2001:db8::1]:80"] {
            let why = ask(&check(address.to_owned())).await.unwrap_err();
            assert!(why.ends_with("is not this node, and checks ask nobody else"), "{why}");
        }
        assert!(!is_own("0.0.0.0".parse().unwrap()) && !is_own("::".parse().unwrap()));
    }
}
