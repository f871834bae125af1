//! One round of the agent: read, tell the cells, and tell the bucket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cell::Message;
use super::decide::{Place, Seen};
use super::disk::{DiskError, apart};
use super::error::AgentError;
use super::heartbeat::{self, Heart, Pulse};
use super::home::{Resident, STATUS};
use super::node::{Agent, Chore, Memory};
use super::observe::{self, IndexReading, Reading};
use super::orders;
use super::report::waits_for;
use super::trouble::{Trouble, plain, store_code};
use crate::model::heartbeat::{CellReport, Condition, Fault, Heartbeat, Phase, RunningState};
use crate::model::{CellName, Code, Floor};
use crate::store::StoreError;

/// Cells with nothing but a refused trigger that are reported: whoever can write to the bucket can name any number.
const MOST_STRANGERS: usize = 100;

/// What the store refused.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// The index, without which nothing is known.
    pub(super) index: Option<StoreError>,
    /// Something of what a full scan reads one by one.
    pub(super) scan: Option<StoreError>,
}

impl Agent {
    /// Reads the index, and with `full` everything else, and tells the cells; comes back with what the store refused.
    pub(super) async fn read_bucket(&mut self, full: bool) -> Result<Refused, AgentError> {
        let refused = match self.try_read(full).await {
            Ok(scan) => Refused { index: None, scan },
            Err(Refusal::Store(error)) => Refused { index: Some(error), scan: None },
            Err(Refusal::Agent(error)) => return Err(error),
        };
        self.polls.note(refused.index.is_none(), self.context.clock.now());
        let known = self.poll_error.take();
        self.poll_error = refused.index.as_ref().map(|error| self.store_fault(error, known.as_ref()));
        self.tell_change(known.as_ref(), self.poll_error.as_ref());
        if full && refused.index.is_none() {
            // What a scan was refused stays so until the next one: polls of the index say nothing of it.
            let known = self.scan_error.take();
            self.scan_error = refused.scan.as_ref().map(|error| self.store_fault(error, known.as_ref()));
            self.tell_change(known.as_ref(), self.scan_error.as_ref());
        }
        Ok(refused)
    }

    async fn try_read(&mut self, full: bool) -> Result<Option<StoreError>, Refusal> {
        let context = Arc::clone(&self.context);
        if self.memory == Memory::Unsure {
            self.look_back().await;
        }
        let reading = observe::index(&context, self.index.as_ref()).await?;
        let full = full || self.memory == Memory::Lost;
        let mut scanned = if full { observe::scan(&context, &self.floors()).await } else { Reading::default() };
        let mut brought = Vec::new();
        if full {
            match orders::scan(&context, &self.orders.kept).await {
                Ok(orders) => brought = orders,
                Err(error) => scanned.error = scanned.error.or(Some(error)),
            }
        }
        if self.memory == Memory::Lost {
            // To obey anything before all floors are known might be to go back (I5).
            if let Some(error) = scanned.error {
                return Err(error.into());
            }
            let indexed = match &reading {
                IndexReading::Read(seen, ..) => Some(seen),
                IndexReading::Unchanged => None,
            };
            let signed = observe::highest(indexed.into_iter().flatten().chain(&scanned.seen));
            if !self.recall(signed).await? {
                return Ok(None);
            }
        }
        // Orders come first: what is held must not be begun.
        let scanned_orders = full.then_some(brought);
        let indexed_orders = match &reading {
            IndexReading::Read(_, _, _, orders) => Some(orders.as_slice()),
            IndexReading::Unchanged => None,
        };
        if !self.take_orders(indexed_orders, scanned_orders.as_deref()).await? {
            return Ok(scanned.error);
        }
        if let IndexReading::Read(mut seen, etag, conditions, _) = reading {
            for cell in self.cells.keys() {
                seen.entry(cell.clone()).or_insert_with(|| vec![Seen::NothingAt(Place::Index)]);
            }
            let delivered = self.deliver(seen).await?;
            // An index that not every cell could be told of is read again.
            self.index = etag.filter(|_| delivered);
            self.index_conditions = conditions;
        }
        self.deliver(scanned.seen).await?;
        Ok(scanned.error)
    }

    /// The cells that the agent knows, and their floors.
    fn floors(&self) -> BTreeMap<CellName, Option<Floor>> {
        self.cells.iter().map(|(name, handle)| (name.clone(), handle.report.borrow().seen)).collect()
    }

    /// Looks whether the own last heartbeat, as it lies in the bucket, knows more than the state here.
    async fn look_back(&mut self) {
        // While it cannot be read, what is known already goes on.
        if let Ok(last) = Heart::read(&self.context).await {
            let is_behind = last.is_some_and(|last| self.is_of_this_fleet(&last) && self.heart.is_behind(&last));
            self.memory = if is_behind { Memory::Lost } else { Memory::Kept };
        }
    }

    /// Whether no other state of this node is known to be, or may be, newer than the one here.
    pub(super) fn is_sure(&self) -> bool {
        matches!(self.memory, Memory::Kept | Memory::Rebuilt { .. })
    }

    fn is_of_this_fleet(&self, heartbeat: &Heartbeat) -> bool {
        heartbeat.fleet == self.context.identity.fleet
    }

    /// Takes the floors that are signed, and those that the own last heartbeat told of, before any trigger is obeyed;
    /// false if they could not be written down.
    async fn recall(&mut self, signed: BTreeMap<CellName, Floor>) -> Result<bool, Refusal> {
        let last = Heart::read(&self.context).await?.filter(|last| self.is_of_this_fleet(last));
        let (mut memory, mut floors) = (Memory::Kept, signed);
        if let Some(last) = last {
            let (told, implausible) = observe::told_floors(&last, &floors);
            for (cell, told) in told {
                let floor = floors.entry(cell).or_insert(told);
                *floor = told.max(*floor);
            }
            let count = floors.len();
            tracing::warn!(code = %Code::FloorRebuilt, "the state here is new or old; floors of {count} cells come from the bucket");
            self.heart.catch_up(&last);
            memory = Memory::Rebuilt { implausible };
        }
        let heard = floors.into_iter().map(|(cell, floor)| (cell, vec![Seen::Heard(floor)])).collect();
        if !self.deliver(heard).await? || !self.settle().await {
            return Ok(false);
        }
        let (context, resident) = (Arc::clone(&self.context), Resident { settled_in: true, ..self.resident.clone() });
        self.resident = resident.clone();
        let registered = apart(move || context.home.register(&resident)).await;
        if self.bear(Chore::Register, registered).is_none() {
            return Ok(false);
        }
        self.memory = memory;
        Ok(true)
    }

    /// Tells the cells what was seen of them; false if the disk did not take a new one.
    async fn deliver(&mut self, seen: BTreeMap<CellName, Vec<Seen>>) -> Result<bool, AgentError> {
        let is_owed = |seen: &[Seen]| seen.iter().any(|seen| matches!(seen, Seen::Trigger { .. } | Seen::Heard(_)));
        let announced: BTreeSet<CellName> =
            seen.iter().filter(|(_, seen)| is_owed(seen)).map(|(name, _)| name.clone()).collect();
        announced.iter().for_each(|name| self.context.board.announce(name));
        let told = self.tell_cells(seen, &announced).await;
        // Whoever was told takes back itself what was announced, once it has taken it in.
        let (delivered, untold) = told?;
        untold.iter().for_each(|name| self.context.board.withdraw(name, 1));
        Ok(delivered)
    }

    /// Whether all could be told, and whom of those that were announced nothing was told.
    async fn tell_cells(
        &mut self,
        seen: BTreeMap<CellName, Vec<Seen>>,
        announced: &BTreeSet<CellName>,
    ) -> Result<(bool, BTreeSet<CellName>), AgentError> {
        let mut delivered = true;
        let mut untold = announced.clone();
        for (name, seen) in seen {
            // What only the disk keeps from being used is tried again.
            if self.unusable.get(&name).is_some_and(|fault| fault.code == Code::StateInvalid) {
                continue;
            }
            if !self.cells.contains_key(&name) {
                if !announced.contains(&name) {
                    self.remember_stranger(name, seen);
                    continue;
                }
                self.open_cell(&name).await;
            }
            let Some(handle) = self.cells.get(&name) else {
                delivered &= self.unusable.get(&name).is_some_and(|fault| fault.code == Code::StateInvalid);
                continue;
            };
            let was_announced = untold.remove(&name);
            let messages = seen.into_iter().map(Message::Seen).chain(was_announced.then_some(Message::Told));
            for message in messages {
                if !handle.tell(message).await {
                    return Err(AgentError::Broken { part: format!("the task of cell {name}") });
                }
            }
        }
        Ok((delivered, untold))
    }

    /// What the disk refuses is reported and tried again: what runs does not depend on it.
    pub(super) fn bear<T>(&mut self, chore: Chore, result: Result<T, DiskError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.disk_faults.remove(&chore);
                Some(value)
            }
            Err(error) => {
                let trouble = Trouble::from(error);
                tracing::error!(code = %trouble.code, "{}", trouble.message);
                let fault = self.fault(&trouble, self.disk_faults.get(&chore));
                self.disk_faults.insert(chore, fault);
                None
            }
        }
    }

    /// A cell that nothing is here of, and whose triggers are refused, is only reported.
    fn remember_stranger(&mut self, name: CellName, seen: Vec<Seen>) {
        let has_room = self.strangers.len() < MOST_STRANGERS || self.strangers.contains_key(&name);
        let now = self.context.clock.now();
        for seen in seen {
            match seen {
                Seen::Refused { place, trouble } if has_room => {
                    let known = self.strangers.entry(name.clone()).or_default();
                    known.entry(place).or_insert_with(|| trouble.fault(now));
                }
                Seen::NothingAt(place) => {
                    if let Some(known) = self.strangers.get_mut(&name) {
                        known.remove(&place);
                    }
                }
                _ => {}
            }
        }
        self.strangers.retain(|_, faults| !faults.is_empty());
    }

    /// Why new deployments are held on the whole node.
    pub(super) fn held(&self) -> Option<String> {
        let other = self.heart.duplicate?;
        Some(format!("another agent, instance {other}, writes heartbeats as node {}", self.context.identity.node))
    }

    /// Compares with the host, and writes a heartbeat and what else there is to send; false if the store did not let
    /// it. With `look` it looks whether the last heartbeat was really ours.
    pub(super) async fn beat(&mut self, look: bool) -> bool {
        for handle in self.cells.values() {
            handle.tell(Message::Compare { sure: self.is_sure() }).await;
        }
        self.beat_once(look).await.1.is_ok()
    }

    /// The heartbeat, and whether it and everything else reached the bucket.
    pub(super) async fn beat_once(&mut self, look: bool) -> (Heartbeat, Result<(), AgentError>) {
        let mut refused = None;
        if look {
            self.find_orphans().await;
            match Heart::read(&self.context).await {
                Ok(found) => {
                    if self.heart.recognise(found.as_ref()) {
                        self.tell_held().await;
                    }
                }
                Err(error) => refused = Some(Refusal::Store(error)),
            }
        }
        let pulse = self.pulse();
        let mut heartbeat = self.heart.compose(&self.context, pulse);
        let rendered = heartbeat::render(&mut heartbeat);
        let (context, bytes) = (Arc::clone(&self.context), rendered.clone());
        let written = apart(move || context.home.root().write(STATUS, &bytes)).await;
        self.bear(Chore::WriteStatus, written);
        if self.memory == Memory::Lost {
            // The last heartbeat is all that is known of the floors: it must not be overwritten before it was read.
            let message = "the last one could not be read yet, and floors may depend on it".to_owned();
            return (heartbeat, Err(AgentError::Report { message }));
        }
        let sent = self.heart.send(&self.context, &rendered).await;
        self.beats.note(sent.is_ok(), self.context.clock.now());
        self.context.onlooker.step();
        let mut trouble = sent.err();
        let names: Vec<CellName> = self.cells.keys().cloned().collect();
        for name in names {
            // One that is not let in is not let in for the next cell either.
            if trouble.is_none() {
                trouble = self.sent.send(&self.context, &name).await.err();
                self.context.onlooker.step();
            }
        }
        if let (None, Some(Refusal::Store(error))) = (&trouble, refused) {
            trouble = Some(error.into());
        }
        let known = self.beat_error.take();
        self.beat_error = trouble.as_ref().map(|trouble| self.fault(trouble, known.as_ref()));
        self.tell_change(known.as_ref(), self.beat_error.as_ref());
        let sent = trouble.map_or(Ok(()), |trouble| Err(AgentError::Report { message: trouble.message }));
        (heartbeat, sent)
    }

    async fn tell_held(&self) {
        let held = self.held();
        match &held {
            Some(why) => tracing::error!(code = %Code::DuplicateNode, "new deployments are held: {why}"),
            None => tracing::info!(code = %Code::DuplicateNode, "the other agent is gone; deployments go on"),
        }
        for handle in self.cells.values() {
            handle.tell(Message::held(held.clone())).await;
        }
    }

    pub(super) fn pulse(&self) -> Pulse {
        let mut cells: BTreeMap<CellName, CellReport> = self.orphans.clone();
        for (name, faults) in &self.strangers {
            if let Some(fault) = faults.values().next() {
                let waiting = Some(waits_for(fault));
                cells.insert(name.clone(), CellReport { waiting, ..bare_report(Phase::Waiting, fault) });
            }
        }
        cells.extend(self.unusable.iter().map(|(name, fault)| (name.clone(), bare_report(Phase::Held, fault))));
        cells.extend(self.cells.iter().map(|(name, handle)| (name.clone(), handle.report.borrow().clone())));
        let mut conditions = self.index_conditions.clone();
        let disk = self.disk_faults.values();
        conditions.extend(disk.map(|fault| Condition { code: fault.code, message: fault.message.clone() }));
        conditions.extend(self.orders.refused());
        conditions.extend(self.answers.trouble());
        conditions.extend(self.held().map(|message| Condition { code: Code::DuplicateNode, message }));
        if let Memory::Rebuilt { implausible } = &self.memory {
            let message =
                "the agent had no state, or an old one; its floors are the highest verified ones of the bucket"
                    .to_owned();
            conditions.push(Condition { code: Code::FloorRebuilt, message });
            let names: Vec<&str> = implausible.iter().map(CellName::as_str).collect();
            if !names.is_empty() {
                let message =
                    plain(&format!("its last heartbeat told floors that cannot be, of: {}", names.join(", ")));
                conditions.push(Condition { code: Code::FloorImplausible, message });
            }
        }
        let store_error = [&self.poll_error, &self.scan_error, &self.beat_error].into_iter().flatten().next().cloned();
        let hold = self.orders.kept.hold(None, self.context.store_now());
        Pulse { cells, conditions, store_error, hold }
    }

    fn store_fault(&self, error: &StoreError, known: Option<&Fault>) -> Fault {
        let trouble = Trouble::passing(store_code(error), error);
        tracing::warn!(event = "bucket_unreadable", code = %trouble.code, "the bucket cannot be read: {}", trouble.message);
        self.fault(&trouble, known)
    }

    /// What the store does not let the agent do any more, or lets it do again, is for the next heartbeat.
    fn tell_change(&self, before: Option<&Fault>, now: Option<&Fault>) {
        if before.map(|fault| fault.code) != now.map(|fault| fault.code) {
            self.context.changed.notify_one();
        }
    }

    /// The trouble as a fault, since when it began.
    fn fault(&self, trouble: &Trouble, known: Option<&Fault>) -> Fault {
        let same = known.filter(|known| known.code == trouble.code);
        trouble.fault(same.map_or_else(|| self.context.clock.now(), |known| known.at))
    }
}

/// What stops a reading.
enum Refusal {
    Store(StoreError),
    Agent(AgentError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        Self::Agent(error)
    }
}

/// A report of a cell of which nothing is known but what is wrong with it.
pub(super) fn bare_report(phase: Phase, fault: &Fault) -> CellReport {
    CellReport {
        profile: None,
        phase,
        waiting: None,
        hold: None,
        seen: None,
        applied: None,
        action: None,
        desired: None,
        running: None,
        known_good: None,
        state: RunningState::Unknown,
        processes: BTreeMap::new(),
        health: None,
        drift: None,
        attempt: 0,
        last_error: Some(fault.clone()),
        failed_content: Vec::new(),
        conditions: vec![Condition { code: fault.code, message: fault.message.clone() }],
    }
}
