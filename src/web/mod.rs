//! What is served over HTTP: the portal and the API.

mod address;
mod alerting;
mod api;
mod app;
mod assets;
mod bulk;
mod caller;
mod changes;
mod command;
mod cookie;
mod download;
mod encoding;
mod failure;
mod findings;
pub mod folder;
mod guard;
mod headers;
mod health;
mod identity;
mod list;
pub mod listener;
mod live;
mod metrics;
mod output;
mod page;
mod pages;
mod paths;
mod rights;
mod routes;
mod shell;
mod snapshot;
mod staged;
mod text;
mod typed;
pub mod views;
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::join_all;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use self::api::Answers;
use self::app::{Fleet, Portal};
pub use self::app::{description, routes};
use self::bulk::Bulks;
use self::listener::Listener;
use self::metrics::Metrics;
use self::output::Chunks;
pub(crate) use self::pages::listed_cells;
pub use self::routes::Route;
use self::snapshot::Snapshot;
use self::staged::Shelf;
use crate::access::Gate;
use crate::access::oidc::Oidc;
use crate::clock::SharedClock;
use crate::config::Setting;
use crate::controller::{
    AlertBoard, AlertKeeper, AlertSettings, Controller, ReceiverTrials, ReleaseReader, SpoolFolder, UploadLimits,
    UsageBoard,
};
use crate::store::Memory;

/// What is served.
#[derive(Debug)]
pub struct Site {
    /// The fleets, in the order of the config; never empty.
    pub fleets: Vec<SiteFleet>,
    /// Who comes in.
    pub gate: Arc<Gate>,
    /// Another service that says who people are.
    pub oidc: Option<Arc<Oidc>>,
    /// Whether everybody gets the metrics, and not only who may look at everything.
    pub open_metrics: bool,
    /// What is configured, and where each value comes from.
    pub settings: Vec<Setting>,
    /// Where the portal keeps its own files.
    pub state_folder: PathBuf,
    /// The most that an upload may bring.
    pub uploads: UploadLimits,
}

/// One fleet of a site.
#[derive(Debug)]
pub struct SiteFleet {
    /// What the config calls its bucket.
    pub name: String,
    /// What reads and writes it.
    pub controller: Arc<Controller>,
    /// Why nothing can be published, if this controller has no key to sign with.
    pub unsigned_reason: Option<String>,
    /// How its alerts are judged, and who is told.
    pub alerts: AlertSettings,
}

/// What stands before the paths of a fleet's pages: nothing for the first, `/b/<name>` for the others.
#[must_use]
pub fn base(place: usize, name: &str) -> String {
    match place {
        0 => String::new(),
        _ => format!("/b/{}", utf8_percent_encode(name, NON_ALPHANUMERIC)),
    }
}

/// How many bundles may be saved at the same time.
const MOST_BUNDLES: usize = 4;

/// Serves `site` on `listener` until `ended`; requests that are under way are answered first.
pub async fn serve(site: Site, clock: SharedClock, listener: Listener, ended: CancellationToken) {
    let Site { fleets, gate, oidc, open_metrics, settings, state_folder, uploads } = site;
    let uploads = SpoolFolder::new(state_folder.join("uploads"), uploads);
    uploads.sweep();
    let shelf = Shelf::new(uploads.limits().release_bytes.saturating_mul(2));
    let mut keepers = Vec::new();
    let fleets = fleets.into_iter().enumerate().map(|(place, fleet)| {
        let SiteFleet { name, controller, unsigned_reason, alerts: settings } = fleet;
        let base = base(place, &name);
        let memory = Arc::new(Memory::default());
        let looking = Arc::new(controller.remembering(memory.clone()));
        let snapshot = Snapshot::new(clock.clone(), memory);
        let releases = ReleaseReader::default();
        let (usage, audit) = (UsageBoard::default(), Arc::default());
        let (alerts, output) = (AlertBoard::default(), Chunks::default());
        let receivers = ReceiverTrials::new(settings.receivers.clone(), settings.portal.clone());
        keepers.push(AlertKeeper::new(controller.clone(), settings, alerts.clone()));
        Arc::new(Fleet {
            name,
            base,
            controller,
            looking,
            snapshot,
            usage,
            audit,
            audit_check: Semaphore::new(1),
            releases,
            output,
            alerts,
            receivers,
            unsigned_reason,
        })
    });
    let fleets: Vec<_> = fleets.collect();
    let metrics = Metrics::new(open_metrics);
    let portal = Portal {
        fleets,
        clock: clock.clone(),
        gate: gate.clone(),
        oidc,
        settings,
        uploads,
        shelf,
        bundles: Arc::new(Semaphore::new(MOST_BUNDLES)),
        metrics,
        streams: Arc::default(),
        answers: Answers::default(),
        bulks: Bulks::default(),
    };
    let refreshed = join_all(portal.fleets.iter().cloned().map(|fleet| {
        let ended = ended.clone();
        async move { fleet.snapshot.keep(&fleet.controller, ended).await }
    }));
    let alerted = join_all(portal.fleets.iter().cloned().zip(keepers).map(|(fleet, keeper)| {
        let (ended, clock) = (ended.clone(), clock.clone());
        async move { alerting::keep(keeper, &fleet.snapshot, &clock, ended).await }
    }));
    let portal = Arc::new(portal);
    let router = app::router(portal.clone());
    tokio::join!(
        refreshed,
        alerted,
        gate.directory().keep(ended.clone()),
        portal.shelf.keep(&clock, ended.clone()),
        listener.serve(router, ended)
    );
}
