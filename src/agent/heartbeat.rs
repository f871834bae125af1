//! The heartbeat: one writer, one object, and a look whether it is really one.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::context::Context;
use super::host;
use super::trouble::Trouble;
use crate::clock::to_seconds;
use crate::model::document::{self, Document as _};
use crate::model::heartbeat::{CellReport, Condition, Fault, Heartbeat, SigningMode};
use crate::model::sign::Trust;
use crate::model::{CellName, ObjectKey};
use crate::store::StoreError;

/// Seen so often in a row, another agent's heartbeat is no leftover of an earlier life of this one.
const FOREIGN_BEATS: u32 = 2;

/// Seen so often in a row, our own heartbeat shows that the other agent is gone.
const OWN_BEATS: u32 = 3;

/// Writes the heartbeats of one agent.
#[derive(Debug)]
pub(super) struct Heart {
    pub(super) instance_id: Uuid,
    pub(super) started_at: DateTime<Utc>,
    pub(super) interval_secs: u64,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) boot_id: Option<String>,
    /// Of the last heartbeat.
    pub(super) sequence: u64,
    /// Heartbeats read in a row that another agent wrote, and that this one wrote.
    foreign: u32,
    own: u32,
    /// Whether one of ours should have been there when it was read.
    written: bool,
    /// The other agent, while it is taken to be there.
    pub(super) duplicate: Option<Uuid>,
}

/// What a heartbeat says beside what the agent always is.
#[derive(Debug, Clone, Default)]
pub(super) struct Pulse {
    pub(super) cells: BTreeMap<CellName, CellReport>,
    pub(super) conditions: Vec<Condition>,
    pub(super) store_error: Option<Fault>,
}

impl Heart {
    pub(super) fn new(
        instance_id: Uuid,
        started_at: DateTime<Utc>,
        interval_secs: u64,
        labels: BTreeMap<String, String>,
        sequence: u64,
    ) -> Self {
        let boot_id = host::boot_id();
        let started_at = to_seconds(started_at);
        let (foreign, own, written, duplicate) = (0, 0, false, None);
        Self { instance_id, started_at, interval_secs, labels, boot_id, sequence, foreign, own, written, duplicate }
    }

    /// The next heartbeat.
    pub(super) fn compose(&mut self, context: &Context, pulse: Pulse) -> Heartbeat {
        self.sequence += 1;
        let placed = pulse.cells.keys().next().zip(context.profiles.iter().next());
        let folder = placed.map(|(cell, profile)| profile.placement(cell).folder);
        let signing = match context.identity.trust {
            Trust::Keys(_) => SigningMode::Signed,
            Trust::Unsigned => SigningMode::Unsigned,
        };
        Heartbeat {
            node: context.identity.node.clone(),
            fleet: context.identity.fleet,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            instance_id: self.instance_id,
            boot_id: self.boot_id.clone(),
            sequence: self.sequence,
            started_at: self.started_at,
            reported_at: to_seconds(context.clock.now()),
            interval_secs: self.interval_secs,
            signing,
            host: host::facts(folder.as_deref().unwrap_or(context.home.root().path())),
            labels: self.labels.clone(),
            clock_skew_ms: context.store.clock_skew().map(|skew| skew.num_milliseconds()),
            store_error: pulse.store_error,
            conditions: pulse.conditions,
            cells: pulse.cells,
        }
    }

    /// Reads the heartbeat of this node as it lies in the bucket.
    pub(super) async fn read(context: &Context) -> Result<Option<Heartbeat>, StoreError> {
        let key = ObjectKey::Heartbeat(context.identity.node.clone());
        let object = match context.store.find(&key, Heartbeat::MAX_BYTES).await {
            Ok(object) => object,
            // Whatever that is, we did not write it, and will overwrite it.
            Err(StoreError::TooLarge { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(object.and_then(|object| document::parse(&object.bytes).ok()))
    }

    /// Takes in whose heartbeat lies in the bucket; true if that changes whether the node is taken to be double.
    ///
    /// Another agent's counts only where one of ours should be: after a start, the last one may be of an earlier life
    /// of this node. A clone of the node has our instance id, and started at another time.
    pub(super) fn recognise(&mut self, found: Option<&Heartbeat>) -> bool {
        let before = self.duplicate;
        if let Some(found) = found.filter(|_| std::mem::take(&mut self.written)) {
            if (found.instance_id, found.started_at) == (self.instance_id, self.started_at) {
                (self.foreign, self.own) = (0, self.own + 1);
            } else {
                (self.foreign, self.own) = (self.foreign + 1, 0);
            }
            if self.foreign >= FOREIGN_BEATS {
                self.duplicate = Some(found.instance_id);
            } else if self.own >= OWN_BEATS {
                self.duplicate = None;
            }
        }
        before != self.duplicate
    }

    /// Writes a heartbeat to the bucket.
    pub(super) async fn send(&mut self, context: &Context, rendered: &[u8]) -> Result<(), Trouble> {
        context.home.root().before("send the heartbeat", "")?;
        let key = ObjectKey::Heartbeat(context.identity.node.clone());
        context.store.put_own(&key, Bytes::copy_from_slice(rendered)).await?;
        self.written = true;
        Ok(())
    }
}

/// The heartbeat's bytes. One that readers would refuse for its length is cut to what matters most.
pub(super) fn render(heartbeat: &mut Heartbeat) -> Vec<u8> {
    let rendered = document::render(heartbeat);
    if rendered.len() as u64 <= Heartbeat::MAX_BYTES {
        return rendered;
    }
    for report in heartbeat.cells.values_mut() {
        report.failed_content.clear();
        report.last_error = None;
        report.conditions.iter_mut().for_each(|condition| condition.message.clear());
    }
    document::render(heartbeat)
}
