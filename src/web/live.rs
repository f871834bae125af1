//! `GET /live`: one stream of events for each tab, which says that something changed and how old what is shown is.
//!
//! What changed is not in it: pages ask for the parts that they show, and are told 304 if those are as they were.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::Extension;
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive};
use axum::response::{IntoResponse, Sse};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::app::{Fleet, Portal};
use super::caller::Caller;
use super::identity::Who;
use super::routes::Routes;
use super::snapshot::Age;
use crate::access::{Authorized, Session};
use crate::model::UserName;

/// A connection that says nothing for longer would be cut by proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How soon a browser comes back after the connection broke.
const RETRY: Duration = Duration::from_secs(3);

/// Between two looks whether somebody may still listen.
const CHECKED_AGAIN: Duration = Duration::from_secs(5);

/// The most streams of one user.
const MOST_OF_ONE: usize = 16;

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

async fn live(Caller { portal, fleet, may }: Caller, Extension(who): Extension<Who>) -> impl IntoResponse {
    let session = who.into_session();
    let looks = fleet.snapshot.subscribe();
    let seat = portal.streams.open(&may.identity().user);
    let listener = Listener { portal, fleet, may, session, seat, looks, told: None, is_over: false };
    let events = Sse::new(stream::unfold(listener, Listener::next)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], events)
}

/// Somebody who listens.
struct Listener {
    portal: Arc<Portal>,
    fleet: Arc<Fleet>,
    may: Authorized,
    session: Option<Arc<Session>>,
    seat: Seat,
    looks: watch::Receiver<u64>,
    /// The revision that they were told of last.
    told: Option<u64>,
    /// Whether they were told that they may listen no more.
    is_over: bool,
}

impl Listener {
    /// The next event, as long as they may listen. A browser whose session was renewed meanwhile comes back with it.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        if self.is_over {
            return None;
        }
        while self.told.is_some() {
            let is_news = tokio::select! {
                () = self.seat.ended.cancelled() => return None,
                // The sender lives as long as the fleet that is held here.
                looked = self.looks.changed() => { looked.ok()?; true }
                () = self.portal.clock.sleep(CHECKED_AGAIN) => false,
            };
            if !self.portal.gate.still_knows(self.may.identity(), self.session.as_deref()) {
                // The page asks for its parts once more, and is told why there are none.
                self.is_over = true;
                return Some((Ok(Event::default().event("fleet")), self));
            }
            if is_news {
                break;
            }
        }
        let revision = *self.looks.borrow_and_update();
        // What changed is fetched again; that nothing did is told, too, because pages say how old they are.
        let name = if self.told == Some(revision) { "age" } else { "fleet" };
        let stand = Stand::from(self.fleet.snapshot.age());
        let event = Event::default().event(name).retry(RETRY).json_data(stand).ok()?;
        self.told = Some(revision);
        Some((Ok(event), self))
    }
}

/// The streams that are open.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    opened: u64,
    /// By user, and then in the order in which they were opened.
    seats: BTreeMap<(UserName, u64), CancellationToken>,
}

/// A place among the streams. It is free again when this goes.
#[derive(Debug)]
struct Seat {
    streams: Arc<Streams>,
    key: (UserName, u64),
    /// Somebody else needs it.
    ended: CancellationToken,
}

impl Streams {
    /// How many are open.
    pub(super) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).seats.len()
    }

    /// A seat for one more stream of `user`. If that is one too many, the one that was opened first ends.
    fn open(self: &Arc<Self>, user: &UserName) -> Seat {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user: Vec<_> = open.seats.range((user.clone(), 0)..=(user.clone(), u64::MAX)).collect();
        if let Some((first, ended)) = of_user.first().filter(|_| of_user.len() >= MOST_OF_ONE) {
            ended.cancel();
            let first = (*first).clone();
            open.seats.remove(&first);
        }
        open.opened += 1;
        let (key, ended) = ((user.clone(), open.opened), CancellationToken::new());
        open.seats.insert(key.clone(), ended.clone());
        Seat { streams: self.clone(), key, ended }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.streams.0.lock().unwrap_or_else(PoisonError::into_inner).seats.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_too_many_ends_the_first_of_its_user_and_what_ends_makes_room() {
        let streams = Arc::new(Streams::default());
        let (ada, bob) = (UserName::new("ada").unwrap(), UserName::new("bob").unwrap());
        let of_bob = streams.open(&bob);
        let mut seats: Vec<Seat> = (0..MOST_OF_ONE).map(|_| streams.open(&ada)).collect();
        assert!(!seats.iter().any(|seat| seat.ended.is_cancelled()));
        drop(seats.pop());
        seats.push(streams.open(&ada));
        assert!(!seats[0].ended.is_cancelled(), "there was room");
        seats.push(streams.open(&ada));
        let ended: Vec<bool> = seats.iter().map(|seat| seat.ended.is_cancelled()).collect();
        assert!(ended[0] && !ended[1..].contains(&true) && !of_bob.ended.is_cancelled(), "{ended:?}");
        drop((seats, of_bob));
        assert!(streams.0.lock().unwrap().seats.is_empty());
    }
}
