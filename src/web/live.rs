//! `GET /live`: one stream of events for each tab, which says that something changed and how old what is shown is.
//!
//! What changed is not in it: pages ask for the parts that they show, and are told 304 if those are as they were.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, stream};
use serde::Serialize;

use super::caller::Caller;
use super::routes::Routes;
use super::snapshot::Age;

/// A connection that says nothing for longer would be cut by proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How soon a browser comes back after the connection broke.
const RETRY: Duration = Duration::from_secs(3);

pub(super) fn routes() -> Routes {
    Routes::new().get("/live", live)
}

/// How the view stands.
#[derive(Debug, Serialize)]
struct Stand {
    revision: u64,
    /// When it was read, by the store's clock.
    at: Option<chrono::DateTime<chrono::Utc>>,
    age_secs: Option<u64>,
    problem: Option<String>,
}

impl From<Age> for Stand {
    fn from(age: Age) -> Self {
        let Age { revision, at, age, problem } = age;
        Self { revision, at, age_secs: age.map(|age| age.as_secs()), problem }
    }
}

async fn live(Caller { fleet, .. }: Caller) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let looks = fleet.snapshot.subscribe();
    let events = stream::unfold((fleet, looks, None), async |(fleet, mut looks, told)| {
        if told.is_some() {
            // The sender lives as long as the fleet that is held here.
            looks.changed().await.ok()?;
        }
        let revision = *looks.borrow_and_update();
        // What changed is fetched again; that nothing did is told, too, because pages say how old they are.
        let name = if told == Some(revision) { "age" } else { "fleet" };
        let stand = Stand::from(fleet.snapshot.age());
        let event = Event::default().event(name).retry(RETRY).json_data(stand).ok()?;
        Some((Ok(event), (fleet, looks, Some(revision))))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
