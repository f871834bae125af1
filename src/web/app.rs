//! What every handler works with, and the way of a request to it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderValue, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use tokio::sync::Semaphore;

use super::api::{self, Answers};
use super::bulk::Bulks;
use super::failure::Failure;
use super::listener::Arrival;
use super::live::Streams;
use super::metrics::{self, Metrics};
use super::output::Chunks;
use super::routes::{Route, Routes};
use super::snapshot::Snapshot;
use super::staged::Shelf;
use super::{assets, encoding, guard, headers, health, live, pages};
use crate::access::oidc::Oidc;
use crate::access::{Gate, Problem};
use crate::clock::SharedClock;
use crate::config::Setting;
use crate::controller::{AlertBoard, AuditCache, Controller, ReceiverTrials, ReleaseReader, SpoolFolder, UsageBoard};

/// Most bytes of a form or of a document in a request. Uploads have limits of their own.
pub(super) const BODY_BYTES: usize = 4 << 20;

/// Everything that is served: the fleets of the config.
#[derive(Debug)]
pub(super) struct Portal {
    /// In the order of the config; never empty.
    pub(super) fleets: Vec<Arc<Fleet>>,
    pub(super) clock: SharedClock,
    /// What is configured, and where each value comes from.
    pub(super) settings: Vec<Setting>,
    /// Who comes in.
    pub(super) gate: Arc<Gate>,
    /// Another service that says who people are.
    pub(super) oidc: Option<Arc<Oidc>>,
    /// Where uploads arrive.
    pub(super) uploads: SpoolFolder,
    /// Where they wait to be looked at.
    pub(super) shelf: Shelf,
    /// How many more bundles may be saved at the same time: the documents of each are held in memory.
    pub(super) bundles: Arc<Semaphore>,
    pub(super) metrics: Metrics,
    /// Who listens to what changes.
    pub(super) streams: Arc<Streams>,
    /// What requests with a key came to.
    pub(super) answers: Answers,
    /// Changes of many cells that were begun here.
    pub(super) bulks: Bulks,
}

/// One fleet in its bucket.
#[derive(Debug)]
pub(super) struct Fleet {
    /// What the config calls its bucket.
    pub(super) name: String,
    /// What stands before the paths of its pages: nothing for the first, `/b/<name>` for the others.
    pub(super) base: String,
    pub(super) controller: Arc<Controller>,
    /// The same for pages, with what they showed before while the bucket does not answer.
    pub(super) looking: Arc<Controller>,
    pub(super) snapshot: Snapshot,
    /// How much lies in it, as far as somebody asked.
    pub(super) usage: UsageBoard,
    /// Entries of its audit that were read.
    pub(super) audit: Arc<AuditCache>,
    /// Held while all of it is checked, which reads each entry.
    pub(super) audit_check: Semaphore,
    /// Releases as they were read last.
    pub(super) releases: ReleaseReader,
    /// What nodes answered of what cells write, as far as it was read.
    pub(super) output: Chunks,
    /// What is wrong and was told.
    pub(super) alerts: AlertBoard,
    /// Whom this controller tells of them.
    pub(super) receivers: ReceiverTrials,
    /// Why nothing can be published, if this controller has no key to sign with.
    pub(super) unsigned_reason: Option<String>,
}

impl Fleet {
    /// Said in red: without signatures whoever can write to the bucket rules the fleet.
    pub(super) fn alarm(&self) -> Option<String> {
        let is_unsigned = self.controller.signing_keys().trusted.is_none();
        is_unsigned
            .then(|| "Signatures are off: whoever can write to this bucket can run anything on its nodes.".to_owned())
    }
}

impl Portal {
    /// What must not be overlooked on any page.
    pub(super) fn alarms(&self) -> Vec<String> {
        match self.gate.directory().problem() {
            Some(Problem::NotBelieved(why)) => vec![format!("The list of users in the bucket is not believed: {why}.")],
            Some(Problem::Unread(_)) | None => Vec::new(),
        }
    }

    pub(super) fn first(&self) -> &Arc<Fleet> {
        &self.fleets[0]
    }
}

/// All routes of the portal and the API, for whoever has to know each: `/b/<bucket>` may stand before any.
#[must_use]
pub fn routes() -> Vec<Route> {
    all().list()
}

/// The OpenAPI document of the API, as it is served under `/api/v1/openapi.json`.
#[must_use]
pub fn description() -> serde_json::Value {
    api::description()
}

fn all() -> Routes {
    Routes::new()
        .and(health::routes())
        .and(metrics::routes())
        .and(pages::routes())
        .and(live::routes())
        .and(api::routes())
        .get("/static/{digest}/{*name}", assets::serve)
}

/// The routes, with what stands before each.
pub(super) fn router(portal: Arc<Portal>) -> Router {
    let fleets: Vec<_> = portal.fleets.clone();
    let inner = all()
        .into_router()
        .fallback(async || Failure::not_found("page under this path"))
        .method_not_allowed_fallback(async || Failure::method_not_allowed())
        .with_state(portal.clone())
        .layer(middleware::from_fn_with_state(Arc::new(api::queries()), api::check_query))
        .layer(middleware::from_fn_with_state(portal.clone(), api::answer_once))
        .layer(middleware::from_fn_with_state(portal.clone(), super::rights::check))
        .layer(middleware::from_fn_with_state(portal.clone(), super::identity::recognise))
        .layer(middleware::from_fn_with_state(portal.clone(), super::failure::dress))
        .layer(middleware::from_fn_with_state(portal, metrics::count))
        .layer(DefaultBodyLimit::max(BODY_BYTES));
    // The fleet is found before the routes are looked at.
    Router::new()
        .fallback_service(inner)
        .layer(middleware::from_fn(move |request: Request, next: Next| {
            let fleets = fleets.clone();
            async move { choose_fleet(&fleets, request, next).await }
        }))
        .layer(middleware::from_fn(guard::check))
        .layer(middleware::from_fn(encoding::pages))
        .layer(middleware::from_fn(isolate))
        .layer(middleware::map_response(headers::completed))
}

/// Keeps windows of other sites apart from ours. Where browsers do not trust an origin they do not do it either, and
/// complain about being asked.
async fn isolate(request: Request, next: Next) -> Response {
    let is_trusted = request.extensions().get::<Arrival>().is_some_and(Arrival::is_trustworthy);
    let mut response = next.run(request).await;
    if is_trusted {
        let name = header::HeaderName::from_static("cross-origin-opener-policy");
        response.headers_mut().insert(name, HeaderValue::from_static("same-origin"));
    }
    response
}

/// Takes `/b/<bucket>` off the path, and tells what comes after which fleet is meant.
async fn choose_fleet(fleets: &[Arc<Fleet>], mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let chosen = match path.strip_prefix("/b/") {
        None => fleets.first().map(|fleet| (fleet.clone(), None)),
        Some(rest) => {
            let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
            let name = percent_decode_str(name).decode_utf8_lossy();
            let fleet = fleets.iter().find(|fleet| fleet.name == name);
            fleet.map(|fleet| (fleet.clone(), Some(format!("/{rest}"))))
        }
    };
    let Some((fleet, path)) = chosen else {
        return Failure::not_found("bucket of this name in the config").into_response();
    };
    if let Some(path) = path {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        match format!("{path}{query}").parse::<Uri>() {
            Ok(uri) => *request.uri_mut() = uri,
            Err(_) => return Failure::not_found("page under this path").into_response(),
        }
    }
    request.extensions_mut().insert(fleet);
    next.run(request).await
}
