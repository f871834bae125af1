//! What was seen to happen, kept for a while for whoever asks later.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::{Event, between};
use crate::controller::FleetView;
use crate::model::text::short;

/// How many events are kept, the newest of them.
const MOST_EVENTS: usize = 2_000;

/// How many characters of what there is to say of one are kept.
const MOST_CHARS: usize = 500;

/// The newest of what was seen to happen in a fleet, from one look at it to the next.
#[derive(Debug, Default)]
pub struct EventLog {
    events: VecDeque<Arc<Event>>,
    /// Since when none is missing: since the first look, or since the last one that had to go.
    whole_since: Option<DateTime<Utc>>,
}

impl EventLog {
    /// Keeps what happened between a look and the one before it, if there was one.
    pub fn take(&mut self, before: Option<&FleetView>, after: &FleetView) {
        let Some(before) = before else {
            self.whole_since = Some(after.at);
            return;
        };
        for event in between(before, after) {
            let message = event.message.as_deref().map(|text| short(text, MOST_CHARS));
            self.events.push_back(Arc::new(Event { message, ..event }));
            if self.events.len() > MOST_EVENTS {
                // What was wished says its own time, which may be any.
                let gone = self.events.pop_front().map(|gone| gone.at.min(after.at));
                self.whole_since = self.whole_since.max(gone);
            }
        }
    }

    /// What happened at `since` or later, oldest first.
    pub fn since(&self, since: DateTime<Utc>) -> impl Iterator<Item = &Arc<Event>> {
        self.events.iter().filter(move |event| event.at >= since)
    }

    /// Since when none is missing; None before the first look.
    #[must_use]
    pub fn whole_since(&self) -> Option<DateTime<Utc>> {
        self.whole_since
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::fleet_sample::{Wish, fleet, node};

    /// `alive` of so many nodes, seen at this second.
    fn look(second: i64, nodes: usize, alive: usize) -> FleetView {
        let nodes = (0..nodes).map(|number| {
            let beat = (number < alive).then(|| (1, json!({})));
            node(&format!("n{number:04}"), beat, [("web", Wish::default())])
        });
        FleetView { at: DateTime::from_timestamp(second, 0).unwrap(), ..fleet(nodes.collect()) }
    }

    #[test]
    fn what_changed_from_one_look_to_the_next_is_kept_in_order() {
        let mut log = EventLog::default();
        assert!(log.whole_since().is_none());
        log.take(None, &look(100, 2, 0));
        assert_eq!((log.since(DateTime::UNIX_EPOCH).count(), log.whole_since().unwrap().timestamp()), (0, 100));
        log.take(Some(&look(100, 2, 0)), &look(110, 2, 1));
        log.take(Some(&look(110, 2, 1)), &look(120, 2, 2));
        let heard = |since: i64| -> Vec<String> {
            let since = DateTime::from_timestamp(since, 0).unwrap();
            let nodes = log.since(since).filter(|event| event.kind == super::super::EventKind::Liveness);
            nodes.map(|event| event.node.as_ref().unwrap().to_string()).collect()
        };
        assert_eq!(heard(0), ["n0000", "n0001"]);
        assert_eq!(heard(111), ["n0001"]);
    }

    #[test]
    fn it_never_grows_past_its_bound_and_says_since_when_it_is_whole() {
        let mut log = EventLog::default();
        let (nobody, all) = (look(100, MOST_EVENTS + 500, 0), look(110, MOST_EVENTS + 500, MOST_EVENTS + 500));
        log.take(None, &nobody);
        log.take(Some(&nobody), &all);
        assert_eq!((log.events.len(), log.whole_since().unwrap().timestamp()), (MOST_EVENTS, 110));
        let gone = look(120, MOST_EVENTS + 500, 0);
        log.take(Some(&all), &gone);
        assert_eq!((log.events.len(), log.whole_since().unwrap().timestamp()), (MOST_EVENTS, 120));
        let few = look(130, MOST_EVENTS + 500, 3);
        log.take(Some(&gone), &few);
        assert_eq!((log.events.len(), log.whole_since().unwrap().timestamp()), (MOST_EVENTS, 120));
        assert_eq!(log.events.back().unwrap().at.timestamp(), 130);
    }
}
