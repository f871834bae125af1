//! Looking again and again. A look costs two LISTs for each thousand nodes and one of the audit's day, and a GET of each
//! object that is new.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use ulid::Ulid;

use super::{Event, between};
use crate::controller::audit_log::{AuditCache, AuditFilter};
use crate::controller::{Controller, ControllerError, FleetReader, FleetView, LivenessLimits, Scope};

/// How far back acts are looked for that have ended meanwhile.
const LONGEST_ACT: TimeDelta = TimeDelta::hours(1);

/// How many acts of one look are told, the newest of them.
const MOST_ACTS: usize = 1_000;

/// How many cells are asked for outcomes, each with a LIST of its own.
const MOST_CELLS: usize = 64;

/// How many outcomes of a cell are read.
const MOST_OUTCOMES: usize = 50;

/// Somebody who looks on.
#[derive(Debug, Default)]
pub struct EventWatch {
    reader: FleetReader,
    known: Option<FleetView>,
    audit: AuditCache,
    /// Since when it is looked on.
    began: Option<DateTime<Utc>>,
    /// The acts that were told.
    told: BTreeSet<Ulid>,
}

impl EventWatch {
    /// Somebody who knows nothing yet.
    #[must_use]
    pub fn new(limits: LivenessLimits) -> Self {
        Self { reader: FleetReader::new(limits), ..Self::default() }
    }

    /// What happened since the last look, oldest first; at the first look nothing.
    ///
    /// # Errors
    /// Why the store did not answer. The next look tells what this one would have told.
    pub async fn look(&mut self, controller: &Controller) -> Result<Vec<Event>, ControllerError> {
        let now = controller.store_now();
        let began = *self.began.get_or_insert(now);
        let view = self.reader.refresh(controller).await?;
        let acts = controller.acts_since(&self.audit, now - LONGEST_ACT).await?;
        let mut events = match &self.known {
            Some(known) => between(known, &view),
            None => Vec::new(),
        };
        self.known = Some(view);
        for (id, event) in acts {
            if self.told.insert(id) && event.at >= began {
                events.push(event);
            }
        }
        // Older ones are not found again.
        let oldest = Ulid::from_parts(u64::try_from((now - LONGEST_ACT * 2).timestamp_millis()).unwrap_or(0), 0);
        self.told = self.told.split_off(&oldest);
        events.sort_by_key(|event| event.at);
        Ok(events)
    }

    /// What happened from `since` on, as the audit and the nodes' own words tell it, oldest first. The second value says
    /// how many cells' outcomes were left out, because there are too many cells in `scope`.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn past(
        &mut self,
        controller: &Controller,
        scope: &Scope,
        since: DateTime<Utc>,
    ) -> Result<(Vec<Event>, usize), ControllerError> {
        if self.known.is_none() {
            self.look(controller).await?;
        }
        let acts = controller.acts_since(&self.audit, since).await?;
        let mut events: Vec<Event> = Vec::new();
        for (id, event) in acts {
            self.told.insert(id);
            events.push(event);
        }
        let cells = self.known.iter().flat_map(FleetView::cells).map(|cell| &cell.cell).filter(|cell| match scope {
            Scope::Fleet => true,
            Scope::Node(node) => cell.node == *node,
            Scope::Cell(only) => *cell == only,
        });
        let cells: Vec<_> = cells.cloned().collect();
        let left_out = if cells.len() > MOST_CELLS { cells.len() } else { 0 };
        for cell in cells.iter().filter(|_| left_out == 0) {
            let outcomes = controller.outcomes(cell, MOST_OUTCOMES).await?;
            events.extend(outcomes.iter().filter_map(Event::of_outcome).filter(|event| event.at >= since));
        }
        events.retain(|event| event.is_in(scope));
        events.sort_by_key(|event| event.at);
        Ok((events, left_out))
    }
}

impl Controller {
    /// What people did from `from` on, as the audit tells it, newest first and each under its id; of more than 1,000 acts
    /// the newest.
    ///
    /// # Errors
    /// Why the store did not answer.
    pub async fn acts_since(
        &self,
        audit: &AuditCache,
        from: DateTime<Utc>,
    ) -> Result<Vec<(Ulid, Event)>, ControllerError> {
        let filter = AuditFilter { from: Some(from), ..AuditFilter::default() };
        let (mut acts, mut after) = (Vec::new(), None);
        while acts.len() < MOST_ACTS {
            let page = self.audit_page(audit, &filter, after.as_ref(), MOST_ACTS - acts.len()).await?;
            acts.extend(page.rows.iter().filter_map(|row| Some((row.id, Event::of_act(row)?))));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // They are read the newest first, and the clock counts in seconds: of one second the first comes first.
        acts.reverse();
        Ok(acts)
    }
}
