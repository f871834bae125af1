//! Reading what a forecast is made from: what the node says of itself, and what it is ordered.

use super::{Forecast, Hold, Known, ordered, stands};
use crate::controller::fleet::read_heartbeat;
use crate::controller::{Controller, ControllerError, LivenessLimits};
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::{Heartbeat, VersionReport};
use crate::model::index::Index;
use crate::model::manifest::Manifest;
use crate::model::order::Order;
use crate::model::trigger::TriggerOptions;
use crate::model::{NodeName, ObjectKey, Sha256Digest};
use crate::store::Object;

impl Controller {
    /// What the cell's node will do with `new`. `last` is the version that was desired last.
    pub(in crate::controller) async fn forecast(
        &self,
        last: Option<&Manifest>,
        new: &Manifest,
        options: TriggerOptions,
    ) -> Result<Forecast, ControllerError> {
        let (beat_key, index_key) = (ObjectKey::Heartbeat(new.node.clone()), ObjectKey::Index(new.node.clone()));
        let (beat, index) =
            tokio::try_join!(self.look(&beat_key, Heartbeat::MAX_BYTES), self.look(&index_key, Index::MAX_BYTES))?;
        let last_seen = beat.as_ref().and_then(|object| object.last_modified);
        // One that cannot be read is told of wherever the node is shown.
        let beat = beat.and_then(|object| read_heartbeat(&new.node, &object.bytes).ok());
        let now = self.store_now();
        let liveness = LivenessLimits::default().judge(last_seen, beat.as_ref().map(|beat| beat.interval_secs), now);
        let report = beat.as_ref().and_then(|beat| beat.cells.get(&new.cell)).map(AsRef::as_ref);
        let running = report.filter(|report| stands(report)).and_then(|report| report.running.as_ref());
        let found = match (running, last) {
            (Some(running), last) => self.running(running, last, new).await?,
            // Nobody has said what runs, so it is what was wished.
            (None, last) if report.is_none() => last.cloned(),
            (None, _) => None,
        };
        let mut holds = self.ordered_holds(&new.node, index, new);
        let reported = beat.iter().filter_map(|beat| beat.hold.as_ref()).chain(report.and_then(|it| it.hold.as_ref()));
        for hold in reported.filter(|hold| hold.until > now) {
            // The order is the better witness of the two.
            if holds.iter().all(|known| known.whole_node != hold.whole_node) {
                holds.push(Hold {
                    whole_node: hold.whole_node,
                    by: hold.by.to_string(),
                    reason: hold.reason.clone(),
                    until: hold.until,
                });
            }
        }
        let (over, beat) = (found.as_ref(), beat.as_ref());
        Ok(Forecast::of(&Known {
            over,
            new,
            options,
            is_heard: beat.is_some(),
            liveness,
            last_seen,
            report,
            cells: beat.map(|beat| &beat.cells),
            windows: beat.and_then(|beat| beat.windows.as_deref()),
            holds,
            now,
        }))
    }

    /// The manifest of what the node says that it runs; None if it is not there as the node has it.
    async fn running(
        &self,
        running: &VersionReport,
        last: Option<&Manifest>,
        new: &Manifest,
    ) -> Result<Option<Manifest>, ControllerError> {
        if let Some(last) = last.filter(|last| last.version == running.version) {
            return Ok(Some(last.clone()));
        }
        let Some(found) = self.find_manifest(&new.cell_id(), &running.version).await? else { return Ok(None) };
        let is_it = Sha256Digest::of(&found) == running.manifest_sha256;
        Ok(is_it.then(|| Manifest::parse(&found).ok()).flatten())
    }

    fn ordered_holds(&self, node: &NodeName, index: Option<Object>, new: &Manifest) -> Vec<Hold> {
        let index = index.and_then(|object| document::parse::<Index>(&object.bytes).ok());
        let orders = index.filter(|index| index.node == *node).map(|index| self.believed_orders(&index));
        let orders: Vec<Order> = orders.into_iter().flatten().map(|order| (*order).clone()).collect();
        ordered(&orders, new, self.store_now())
    }
}
