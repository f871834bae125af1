//! The fleet as it was a moment ago: read in the background, so that no request waits for the bucket.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::clock::SharedClock;
use crate::controller::{
    Attention, AttentionLimits, Controller, Event, EventLog, FleetReader, FleetView, LivenessLimits, Looked,
};
use crate::entropy;
use crate::store::Memory;

/// Between two looks at the bucket while somebody looks at pages, before jitter.
const REFRESH: Duration = Duration::from_secs(5);

/// The same while nobody does.
const IDLE_REFRESH: Duration = Duration::from_secs(30);

/// For so long after a request somebody is taken to be there.
const ATTENTIVE: Duration = Duration::from_secs(60);

/// An older view is no longer called fresh: two looks of nobody's were missed.
const FRESH: Duration = Duration::from_secs(90);

/// The newest view, and how old it is.
#[derive(Debug)]
pub(super) struct Snapshot {
    clock: SharedClock,
    /// What pages fall back on; this knows first that they have to.
    memory: Arc<Memory>,
    newest: RwLock<Newest>,
    /// What was seen to happen from one look to the next.
    events: Mutex<EventLog>,
    /// Tells of each look, and what the revision is after it.
    looked: watch::Sender<u64>,
    /// Counts the looks, also those that failed, for what works in the background: that is no sign that somebody looks.
    taken: watch::Sender<u64>,
    /// When somebody asked last.
    asked: Mutex<Option<Duration>>,
    /// Ends the pause until the next look.
    wake: Notify,
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

/// The looks at the bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Looks {
    /// What the last one that succeeded asked of the store.
    pub(super) last: Looked,
    /// How long that took, all in all.
    pub(super) took: Duration,
    /// How many succeeded.
    pub(super) succeeded: u64,
    /// How many did not.
    pub(super) failed: u64,
}

#[derive(Debug, Default)]
struct Newest {
    view: Option<Seen>,
    /// Why the last look failed, if it did.
    problem: Option<String>,
    looks: Looks,
}

#[derive(Debug)]
struct Seen {
    view: Arc<FleetView>,
    attention: Arc<[Attention]>,
    at: Duration,
}

impl Snapshot {
    pub(super) fn new(clock: SharedClock, memory: Arc<Memory>) -> Self {
        let (newest, looked, taken) = (RwLock::default(), watch::Sender::new(0), watch::Sender::new(0));
        let (events, asked) = (Mutex::default(), Mutex::default());
        Self { clock, memory, newest, events, looked, taken, asked, wake: Notify::new() }
    }

    /// The newest view; an error says why there is none yet.
    pub(super) fn view(&self) -> Result<Arc<FleetView>, String> {
        self.ask();
        self.with(|newest| match &newest.view {
            Some(seen) => Ok(seen.view.clone()),
            None => Err(newest.problem.clone().unwrap_or_else(|| "the bucket has not answered yet".to_owned())),
        })
    }

    /// The newest view for a program that looks at all times, which is no sign that somebody does.
    pub(super) fn glance(&self) -> Option<Arc<FleetView>> {
        self.with(|newest| newest.view.as_ref().map(|seen| seen.view.clone()))
    }

    /// What needs attention in the newest view.
    pub(super) fn attention(&self) -> Arc<[Attention]> {
        self.with(|newest| newest.view.as_ref().map(|seen| seen.attention.clone()).unwrap_or_default())
    }

    /// What was seen to happen at `since` or later, oldest first, and since when none of it is missing.
    pub(super) fn events(&self, since: DateTime<Utc>) -> (Vec<Arc<Event>>, Option<DateTime<Utc>>) {
        let log = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        (log.since(since).cloned().collect(), log.whole_since())
    }

    /// How old the newest view is.
    pub(super) fn age(&self) -> Age {
        self.with(|newest| {
            let (at, age) = match &newest.view {
                Some(seen) => (Some(seen.view.at), Some(self.clock.monotonic().saturating_sub(seen.at))),
                None => (None, None),
            };
            Age { revision: *self.looked.borrow(), at, age, problem: newest.problem.clone() }
        })
    }

    /// How the looks at the bucket went.
    pub(super) fn looks(&self) -> Looks {
        self.with(|newest| newest.looks)
    }

    /// Changes at every look; the value is the revision. Whoever holds it is taken to look.
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.ask();
        self.looked.subscribe()
    }

    /// Changes at every look, also at one that failed, for what works in the background.
    pub(super) fn each_look(&self) -> watch::Receiver<u64> {
        self.taken.subscribe()
    }

    /// What the last look found, or why it found nothing. None before the first.
    pub(super) fn last_look(&self) -> Option<Result<Arc<FleetView>, String>> {
        self.with(|newest| match (&newest.problem, &newest.view) {
            (Some(problem), _) => Some(Err(problem.clone())),
            (None, Some(seen)) => Some(Ok(seen.view.clone())),
            (None, None) => None,
        })
    }

    /// Looks at the bucket without waiting: something was changed that the next page should show.
    pub(super) fn look_soon(&self) {
        self.wake.notify_one();
    }

    /// Whether the view is fresh; an error says why not. Asking is no sign that somebody looks at it.
    pub(super) fn is_fresh(&self) -> Result<(), String> {
        match self.age() {
            Age { problem: Some(problem), .. } => Err(problem),
            Age { age: Some(age), .. } if age < FRESH => Ok(()),
            Age { age: Some(age), .. } => Err(format!("the bucket was last read {} s ago", age.as_secs())),
            Age { age: None, .. } => Err("the bucket has not answered yet".to_owned()),
        }
    }

    /// Looks again and again until `ended`.
    pub(super) async fn keep(&self, controller: &Controller, ended: CancellationToken) {
        let mut reader = FleetReader::new(LivenessLimits::default());
        loop {
            let began = self.clock.monotonic();
            let looked = tokio::select! {
                () = ended.cancelled() => return,
                looked = reader.refresh(controller) => looked,
            };
            let took = self.clock.monotonic().saturating_sub(began);
            self.take(looked.map_err(|error| error.to_string()), reader.looked(), took);
            tokio::select! {
                () = ended.cancelled() => return,
                () = self.rest() => {}
            }
        }
    }

    /// Waits until it is time for the next look.
    async fn rest(&self) {
        let pause = if self.is_attended() { REFRESH } else { IDLE_REFRESH };
        tokio::select! {
            () = self.clock.sleep(entropy::jittered(pause)) => {}
            () = self.wake.notified() => {}
        }
    }

    fn take(&self, looked: Result<FleetView, String>, asked: Looked, took: Duration) {
        let mut revision = *self.looked.borrow();
        self.memory.ask_first(looked.is_err());
        match looked {
            Ok(view) => {
                debug!(nodes = view.counts.nodes(), cells = view.counts.cells(), gets = asked.gets, "read the fleet");
                revision = view.revision;
                let known = self.with(|newest| newest.view.as_ref().map(|seen| seen.view.clone()));
                self.events.lock().unwrap_or_else(PoisonError::into_inner).take(known.as_deref(), &view);
                let attention = view.attention(AttentionLimits::default()).into();
                let view = Some(Seen { view: Arc::new(view), attention, at: self.clock.monotonic() });
                let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
                let looks = Looks { last: asked, took, succeeded: newest.looks.succeeded + 1, ..newest.looks };
                // What was seen before is freed once nobody waits any more.
                let before = std::mem::replace(&mut *newest, Newest { view, problem: None, looks });
                drop(newest);
                drop(before);
            }
            Err(problem) => {
                let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
                // Once for each outage, not at every look.
                if newest.problem.is_none() {
                    warn!(problem, "the fleet cannot be read; what was read before is shown");
                }
                newest.problem = Some(problem);
                newest.looks.failed += 1;
            }
        }
        self.looked.send_replace(revision);
        self.taken.send_modify(|taken| *taken += 1);
    }

    fn with<T>(&self, look: impl FnOnce(&Newest) -> T) -> T {
        look(&self.newest.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that somebody is there. Whoever comes after a pause gets a look at once.
    fn ask(&self) {
        let was_attended = self.is_attended();
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.monotonic());
        if !was_attended {
            self.wake.notify_one();
        }
    }

    fn is_attended(&self) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |asked| self.clock.monotonic().saturating_sub(asked) < ATTENTIVE;
        self.looked.receiver_count() > 0 || asked.is_some_and(is_recent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::controller::Counts;

    fn view(revision: u64) -> FleetView {
        FleetView { at: DateTime::UNIX_EPOCH, revision, nodes: Vec::new(), counts: Counts::default() }
    }

    /// How long the next look is waited for, in seconds.
    async fn rested(snapshot: &Snapshot) -> f64 {
        let began = snapshot.clock.monotonic();
        snapshot.rest().await;
        (snapshot.clock.monotonic() - began).as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn the_bucket_is_looked_at_often_only_while_somebody_looks_at_pages() {
        let snapshot = Snapshot::new(SystemClock::shared(), Arc::default());
        assert!(rested(&snapshot).await >= 24.0, "nobody is there");
        let _ = snapshot.view();
        assert!(rested(&snapshot).await < 1.0, "somebody came");
        let _ = snapshot.view();
        let attended = rested(&snapshot).await;
        assert!((4.0..=6.0).contains(&attended), "{attended}");
        tokio::time::advance(ATTENTIVE).await;
        let _ = snapshot.is_fresh();
        assert!(rested(&snapshot).await >= 24.0, "a probe is nobody");

        let stream = snapshot.subscribe();
        assert!(rested(&snapshot).await < 1.0);
        tokio::time::advance(2 * ATTENTIVE).await;
        assert!(rested(&snapshot).await <= 6.0, "a stream is open");
        drop(stream);
        assert!(rested(&snapshot).await >= 24.0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_seen_last_stays_through_an_outage_and_the_outage_is_told() {
        let snapshot = Snapshot::new(SystemClock::shared(), Arc::default());
        assert!(snapshot.view().unwrap_err().contains("not answered yet"));
        let mut stream = snapshot.subscribe();
        snapshot.take(Err("no route".to_owned()), Looked::default(), Duration::ZERO);
        assert_eq!(
            (snapshot.view().unwrap_err(), snapshot.is_fresh().unwrap_err()),
            ("no route".into(), "no route".into())
        );

        snapshot.take(Ok(view(7)), Looked { lists: 2, gets: 9, ..Looked::default() }, Duration::from_secs(1));
        assert!(stream.has_changed().unwrap() && *stream.borrow_and_update() == 7);
        assert_eq!((snapshot.view().unwrap().revision, snapshot.is_fresh()), (7, Ok(())));

        tokio::time::advance(Duration::from_secs(2)).await;
        snapshot.take(Err("no route".to_owned()), Looked::default(), Duration::ZERO);
        assert!(stream.has_changed().unwrap() && *stream.borrow_and_update() == 7, "pages say how old they are");
        let age = snapshot.age();
        assert_eq!(
            (age.revision, age.age, age.problem.as_deref()),
            (7, Some(Duration::from_secs(2)), Some("no route"))
        );
        assert_eq!((snapshot.view().unwrap().revision, snapshot.is_fresh().is_err()), (7, true));
        let looks = snapshot.looks();
        assert_eq!((looks.succeeded, looks.failed, looks.last.gets, looks.took.as_secs()), (1, 2, 9, 1));

        snapshot.take(Ok(view(7)), Looked::default(), Duration::ZERO);
        assert_eq!(snapshot.is_fresh(), Ok(()));
        tokio::time::advance(FRESH).await;
        assert!(snapshot.is_fresh().unwrap_err().contains("90 s ago"));
    }
}
