//! A receiver of webhooks: it notes what comes, and answers as it is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fleetman::clock::SystemClock;
use fleetman::config::TlsFiles;
use fleetman::web::listener::{Listener, Settings};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One that runs.
pub(crate) struct Hooks {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
    ended: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Inner {
    got: Mutex<Vec<(HeaderMap, Bytes)>>,
    /// What is answered next, and 200 after these.
    answers: Mutex<Vec<u16>>,
}

impl Hooks {
    pub(crate) async fn start() -> Self {
        Self::start_at(0, None).await
    }

    /// One at this port, over TLS if there are files for it.
    pub(crate) async fn start_at(port: u16, tls: Option<TlsFiles>) -> Self {
        let mut settings = Settings::default();
        settings.serving.tls = tls;
        let listener =
            Listener::bind((Ipv4Addr::LOCALHOST, port).into(), settings, SystemClock::shared()).await.unwrap();
        let (address, inner, ended) = (listener.local_addr(), Arc::<Inner>::default(), CancellationToken::new());
        let router = Router::new().fallback(take).with_state(inner.clone());
        let task = tokio::spawn(listener.serve(router, ended.clone()));
        Self { address, inner, ended, task }
    }

    pub(crate) async fn stop(self) {
        self.ended.cancel();
        self.task.await.unwrap();
    }

    /// The next requests are answered so.
    pub(crate) fn answer(&self, statuses: &[u16]) {
        *self.inner.answers.lock().unwrap() = statuses.to_vec();
    }

    /// What came, as JSON.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        let got = self.inner.got.lock().unwrap();
        got.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect()
    }

    /// What came.
    pub(crate) fn got(&self) -> Vec<(HeaderMap, Bytes)> {
        self.inner.got.lock().unwrap().clone()
    }

    /// In short: how many alerts of which type each message says to be opened and resolved, and to be acknowledged.
    pub(crate) fn told(&self) -> Vec<String> {
        let part =
            |body: &Value, name: &str| body[name]["counts"].as_object().map(|it| Value::from(it.clone()).to_string());
        let bodies = self.bodies();
        let one = |body| {
            let (opened, resolved) =
                (part(body, "opened").unwrap_or_default(), part(body, "resolved").unwrap_or_default());
            let acknowledged = part(body, "acknowledged").map(|counts| format!("/{counts}")).unwrap_or_default();
            format!("{opened}/{resolved}{acknowledged}").replace('"', "")
        };
        bodies.iter().map(one).collect()
    }
}

async fn take(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    inner.got.lock().unwrap().push((headers, body));
    let mut answers = inner.answers.lock().unwrap();
    let status = if answers.is_empty() { 200 } else { answers.remove(0) };
    // Where a redirect leads to would be noted, too.
    (StatusCode::from_u16(status).unwrap(), [(header::LOCATION, "/elsewhere")], "ok").into_response()
}
