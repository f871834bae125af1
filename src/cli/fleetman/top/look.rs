//! The fleet, looked at again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::cli::failure::Failure;
use crate::cli::fleetman::select::Filter;
use crate::cli::fleetman::status;
use crate::clock::Clock;
use crate::controller::{CellView, Controller, FleetReader, FleetView, LivenessLimits, NodeView, Severity, Subject};

/// The fleet as it was at one time.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) fleet: Arc<FleetView>,
    filter: Filter,
    /// What needs attention, by the name of the node or cell.
    troubles: Arc<BTreeMap<String, Trouble>>,
    /// Why the fleet could not be looked at since.
    pub(super) problem: Option<String>,
}

/// Why something needs attention.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) severity: Severity,
    pub(super) why: String,
    pub(super) since: Option<DateTime<Utc>>,
}

impl Look {
    pub(super) fn new(fleet: FleetView, filter: Filter) -> Self {
        let mut troubles = BTreeMap::new();
        for attention in status::needs_attention(&fleet) {
            let name = match &attention.subject {
                Subject::Node(node) => node.to_string(),
                Subject::Cell(cell) => cell.to_string(),
                Subject::Agents => continue,
            };
            let (severity, since) = (attention.severity, attention.since);
            let trouble = || Trouble { severity, why: attention.concern.to_string(), since };
            // The worst comes first.
            troubles.entry(name).or_insert_with(trouble);
        }
        Self { fleet: Arc::new(fleet), filter, troubles: Arc::new(troubles), problem: None }
    }

    pub(super) fn trouble(&self, name: &str) -> Option<&Trouble> {
        self.troubles.get(name)
    }

    /// The cells that were asked for on the command line.
    pub(super) fn cells(&self) -> impl Iterator<Item = &CellView> {
        self.fleet.cells().filter(|cell| self.filter.fits(cell))
    }

    /// The nodes of those cells; all, if all cells were asked for.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeView> {
        let fits =
            |node: &&NodeView| self.filter == Filter::default() || node.cells.iter().any(|cell| self.filter.fits(cell));
        self.fleet.nodes.iter().map(|node| &**node).filter(fits)
    }
}

/// Who looks at the fleet.
pub(super) struct Looker<'a> {
    controller: &'a Controller,
    reader: FleetReader,
    filter: Filter,
}

impl<'a> Looker<'a> {
    pub(super) fn new(controller: &'a Controller, filter: Filter) -> Self {
        Self { controller, reader: FleetReader::new(LivenessLimits::default()), filter }
    }

    /// Looks for the first time.
    ///
    /// # Errors
    /// The bucket cannot be read.
    pub(super) async fn first(mut self) -> Result<(Look, Self), Failure> {
        let fleet = self.reader.refresh(self.controller).await?;
        Ok((Look::new(fleet, self.filter.clone()), self))
    }

    /// Looks again and again. What was seen last stays while the bucket does not answer.
    pub(super) async fn go_on(mut self, tell: &watch::Sender<Arc<Look>>, every: Duration, clock: &dyn Clock) {
        while !tell.is_closed() {
            clock.sleep(every).await;
            match self.reader.refresh(self.controller).await {
                Ok(fleet) => drop(tell.send(Arc::new(Look::new(fleet, self.filter.clone())))),
                Err(error) => tell.send_modify(|look| {
                    *look = Arc::new(Look { problem: Some(error.to_string()), ..Look::clone(look) });
                }),
            }
        }
    }
}
