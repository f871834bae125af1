//! As many bytes as anybody asks for, from the same listener that the portal has: what a page would take at least.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use bytes::Bytes;
use fleetman::clock::SystemClock;
use fleetman::web::listener::{Listener, Settings};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio_util::sync::CancellationToken;

/// It ends with the program.
pub(crate) struct Plain {
    address: SocketAddr,
    client: Client<HttpConnector, Empty<Bytes>>,
}

impl Plain {
    pub(crate) async fn start() -> Self {
        let place = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = Listener::bind(place, Settings::default(), SystemClock::shared()).await.unwrap();
        let address = listener.local_addr();
        let router = Router::new().route("/{bytes}", get(async |Path(bytes): Path<usize>| "x".repeat(bytes)));
        tokio::spawn(listener.serve(router, CancellationToken::new()));
        Self { address, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// How many bytes came.
    pub(crate) async fn get(&self, bytes: usize) -> usize {
        let answer = self.client.get(format!("http://{}/{bytes}", self.address).parse().unwrap()).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes().len()
    }
}
