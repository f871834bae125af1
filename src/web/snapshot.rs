//! The fleet as it was a moment ago: read in the background, so that no request waits for the bucket.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::clock::SharedClock;
use crate::controller::{Controller, FleetReader, FleetView, LivenessLimits};
use crate::entropy;

/// Between two looks at the bucket, before jitter.
const REFRESH: Duration = Duration::from_secs(5);

/// An older view is no longer called fresh.
const FRESH: Duration = Duration::from_secs(30);

/// The newest view, and how old it is.
#[derive(Debug)]
pub(super) struct Snapshot {
    clock: SharedClock,
    newest: RwLock<Newest>,
    /// Tells of each look, and what the revision is after it.
    looked: watch::Sender<u64>,
}

/// How old the newest view is.
#[derive(Debug, Clone)]
pub(super) struct Age {
    /// Goes up when something in the view changed.
    pub(super) revision: u64,
    /// When the view was read, by the store's clock.
    pub(super) at: Option<DateTime<Utc>>,
    /// How long ago that was.
    pub(super) age: Option<Duration>,
    /// Why the last look failed, if it did.
    pub(super) problem: Option<String>,
}

#[derive(Debug, Default)]
struct Newest {
    view: Option<(Arc<FleetView>, Duration)>,
    /// Why the last look failed, if it did.
    problem: Option<String>,
}

impl Snapshot {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, newest: RwLock::default(), looked: watch::Sender::new(0) }
    }

    /// The newest view; an error says why there is none yet.
    pub(super) fn view(&self) -> Result<Arc<FleetView>, String> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        let why = || newest.problem.clone().unwrap_or_else(|| "the bucket has not answered yet".to_owned());
        newest.view.as_ref().map(|(view, _)| view.clone()).ok_or_else(why)
    }

    /// How old the newest view is.
    pub(super) fn age(&self) -> Age {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        let (at, age) = match &newest.view {
            Some((view, at)) => (Some(view.at), Some(self.clock.monotonic().saturating_sub(*at))),
            None => (None, None),
        };
        Age { revision: *self.looked.borrow(), at, age, problem: newest.problem.clone() }
    }

    /// Changes at every look; the value is the revision.
    pub(super) fn looks(&self) -> watch::Receiver<u64> {
        self.looked.subscribe()
    }

    /// Whether the view is fresh; an error says why not.
    pub(super) fn is_fresh(&self) -> Result<(), String> {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        let age = newest.view.as_ref().map(|(_, at)| self.clock.monotonic().saturating_sub(*at));
        match (age, &newest.problem) {
            (Some(age), None) if age < FRESH => Ok(()),
            (_, Some(problem)) => Err(problem.clone()),
            (Some(age), None) => Err(format!("the bucket was last read {} s ago", age.as_secs())),
            (None, None) => Err("the bucket has not answered yet".to_owned()),
        }
    }

    /// Looks again and again until `ended`.
    pub(super) async fn keep(&self, controller: &Controller, ended: CancellationToken) {
        let mut reader = FleetReader::new(LivenessLimits::default());
        loop {
            let looked = tokio::select! {
                () = ended.cancelled() => return,
                looked = reader.refresh(controller) => looked,
            };
            self.take(looked.map_err(|error| error.to_string()));
            self.looked.send_modify(|revision| *revision += 1);
            tokio::select! {
                () = ended.cancelled() => return,
                () = self.clock.sleep(entropy::jittered(REFRESH)) => {}
            }
        }
    }

    fn take(&self, looked: Result<FleetView, String>) {
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        match looked {
            Ok(view) => {
                debug!(nodes = view.nodes.len(), cells = view.counts.cells(), "read the fleet");
                *newest = Newest { view: Some((Arc::new(view), self.clock.monotonic())), problem: None };
            }
            Err(problem) => {
                // Once for each outage, not at every look.
                if newest.problem.is_none() {
                    warn!(problem, "the fleet cannot be read; what was read before is shown");
                }
                newest.problem = Some(problem);
            }
        }
    }
}
