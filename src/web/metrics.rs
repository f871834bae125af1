//! `/metrics`: figures of this controller and of the fleets as it sees them, for Prometheus.
//!
//! Nodes and cells are counted, never named: a fleet has tens of thousands of cells, and a series for each of them in
//! one scrape is what monitoring dies of. Each node's agent names its own cells, and the API names those that a count
//! is about. So what is here is no secret among users, but still one of the fleet: who asks must be signed in or send a
//! token, unless the config says `metrics: {open: true}`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::app::{Fleet, Portal};
use super::caller::Caller;
use super::failure::Failure;
use super::routes::Routes;
use crate::controller::{FleetView, Health, Liveness, Sync};
use crate::exposition::{Exposition, Histogram, MEDIA_TYPE, Metric, Samples};
use crate::model::alert::AlertKind;
use crate::model::drift::DriftState;

const BUILD_INFO: Metric = Metric::gauge("fleetman_build_info", "1, with the controller's version.");
const NODES: Metric = Metric::gauge("fleetman_nodes", "Nodes, by whether they are heard of.");
const DRIFT: Metric =
    Metric::gauge("fleetman_cells_drift", "Cells that are looked at, by whether they are as they were deployed.");
const CELLS: Metric = Metric::gauge("fleetman_cells", "Cells, by whether they are what they are to be and run well.");
const ALERTS_OPEN: Metric =
    Metric::gauge("fleetman_alerts_open", "Alerts that are open, by type, also those that are silenced.");
const SNAPSHOT_AGE: Metric = Metric::gauge(
    "fleetman_snapshot_age_seconds",
    "How long ago the fleet was last read from the bucket; absent until then.",
);
const REFRESHES: Metric =
    Metric::counter("fleetman_snapshot_refreshes_total", "Looks at the fleet in the bucket, by result.");
const REFRESH_DURATION: Metric =
    Metric::gauge("fleetman_snapshot_refresh_duration_seconds", "How long the last look at the whole fleet took.");
const BUCKET_REQUESTS: Metric = Metric::counter(
    "fleetman_bucket_requests_total",
    "Requests to the store, every try counted, by S3 operation and result.",
);
const BUCKET_DURATION: Metric = Metric::histogram(
    "fleetman_bucket_request_duration_seconds",
    "How long the store took until its answer began, by S3 operation.",
);
const HTTP_REQUESTS: Metric =
    Metric::counter("fleetman_http_requests_total", "Requests of browsers and programs, by route and status.");
const HTTP_DURATION: Metric = Metric::histogram(
    "fleetman_http_request_duration_seconds",
    "How long requests of browsers and programs took until their answer began, by route.",
);

const LIVE_STREAMS: Metric =
    Metric::gauge("fleetman_live_streams", "Pages that are seen in a browser and are told what changes.");

/// Up to which times answers are counted, in seconds.
const HTTP_BOUNDS_SECS: &[f64] = &[0.005, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

pub(super) fn routes() -> Routes {
    Routes::new().get("/metrics", metrics)
}

async fn metrics(
    State(portal): State<Arc<Portal>>,
    caller: Result<Caller, Failure>,
) -> Result<impl IntoResponse, Failure> {
    if !portal.metrics.is_open {
        caller?.may.check_metrics()?;
    }
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], portal.metrics.render(&portal.fleets, portal.streams.count())))
}

/// What is counted while requests are answered.
#[derive(Debug)]
pub(super) struct Metrics {
    /// Whether everybody gets them.
    is_open: bool,
    http: Mutex<Http>,
}

#[derive(Debug, Default)]
struct Http {
    /// By method, route and status. Bounded, because routes are patterns and everything beside them is one.
    answers: BTreeMap<(&'static str, String, u16), u64>,
    took: BTreeMap<(&'static str, String), Histogram>,
}

/// Counts a request, however it is answered.
pub(super) async fn count(State(portal): State<Arc<Portal>>, request: Request, next: Next) -> Response {
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let began = portal.clock.monotonic();
    let response = next.run(request).await;
    let took = portal.clock.monotonic().saturating_sub(began);
    portal.metrics.note(method, route, response.status().as_u16(), took);
    response
}

/// A method's name out of a fixed set: anybody can invent others.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

impl Metrics {
    pub(super) fn new(is_open: bool) -> Self {
        Self { is_open, http: Mutex::default() }
    }

    fn note(&self, method: &'static str, route: String, status: u16, took: Duration) {
        let mut http = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        *http.answers.entry((method, route.clone(), status)).or_default() += 1;
        let durations = http.took.entry((method, route)).or_insert_with(|| Histogram::new(HTTP_BOUNDS_SECS));
        durations.observe(took.as_secs_f64());
    }

    fn render(&self, fleets: &[Arc<Fleet>], streams: usize) -> String {
        let mut text = Exposition::default();
        text.metric(&BUILD_INFO).count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
        for (metric, tell) in FLEET {
            let mut samples = text.metric(metric);
            fleets.iter().for_each(|fleet| tell(fleet, &mut samples, ("bucket", &fleet.name)));
        }
        text.metric(&LIVE_STREAMS).count(&[], streams as u64);
        let http = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        let mut samples = text.metric(&HTTP_REQUESTS);
        for ((method, route, status), count) in &http.answers {
            samples.count(&[("method", method), ("route", route), ("status", &status.to_string())], *count);
        }
        let mut samples = text.metric(&HTTP_DURATION);
        for ((method, route), took) in &http.took {
            samples.histogram(&[("method", method), ("route", route)], took);
        }
        text.into_text()
    }
}

/// Says what there is to say of one fleet.
type Tell = fn(&Fleet, &mut Samples<'_>, (&str, &str));

/// The metrics that have values for each fleet.
const FLEET: [(&Metric, Tell); 9] = [
    (&NODES, |fleet, samples, bucket| {
        let Some(view) = fleet.snapshot.glance() else { return };
        for liveness in Liveness::ALL {
            samples.count(&[bucket, ("liveness", liveness.as_str())], view.counts.liveness(liveness) as u64);
        }
    }),
    (&CELLS, |fleet, samples, bucket| {
        let Some(view) = fleet.snapshot.glance() else { return };
        for ((sync, health), count) in cells(&view) {
            samples.count(&[bucket, ("sync", sync), ("health", health)], count);
        }
    }),
    (&DRIFT, |fleet, samples, bucket| {
        let Some(view) = fleet.snapshot.glance() else { return };
        for state in [DriftState::InSync, DriftState::Drifted, DriftState::Unknown] {
            let count = view.cells().filter(|cell| cell.drift() == Some(state)).count();
            samples.count(&[bucket, ("drift", state.as_str())], count as u64);
        }
    }),
    (&ALERTS_OPEN, |fleet, samples, bucket| {
        let known = fleet.alerts.known();
        for kind in AlertKind::ALL {
            let count = known.alerts.open.iter().filter(|alert| alert.kind == kind).count();
            samples.count(&[bucket, ("type", kind.as_str())], count as u64);
        }
    }),
    (&SNAPSHOT_AGE, |fleet, samples, bucket| {
        samples.maybe(&[bucket], fleet.snapshot.age().age.map(|age| age.as_secs_f64()));
    }),
    (&REFRESHES, |fleet, samples, bucket| {
        let looks = fleet.snapshot.looks();
        samples.count(&[bucket, ("result", "ok")], looks.succeeded);
        samples.count(&[bucket, ("result", "failed")], looks.failed);
    }),
    (&REFRESH_DURATION, |fleet, samples, bucket| {
        let looks = fleet.snapshot.looks();
        samples.maybe(&[bucket], (looks.succeeded > 0).then_some(looks.took.as_secs_f64()));
    }),
    (&BUCKET_REQUESTS, |fleet, samples, bucket| {
        fleet.controller.store().request_counts().write(samples, &[bucket]);
    }),
    (&BUCKET_DURATION, |fleet, samples, bucket| {
        fleet.controller.store().request_counts().write_durations(samples, &[bucket]);
    }),
];

/// How many cells there are of each kind, also of those that there are none of.
fn cells(view: &FleetView) -> BTreeMap<(&'static str, &'static str), u64> {
    let kinds = Sync::ALL.iter().flat_map(|sync| Health::ALL.iter().map(|health| (sync.as_str(), health.as_str())));
    let mut counts: BTreeMap<_, u64> = kinds.map(|kind| (kind, 0)).collect();
    for cell in view.cells() {
        *counts.entry((cell.sync.as_str(), cell.health.as_str())).or_default() += 1;
    }
    counts
}
