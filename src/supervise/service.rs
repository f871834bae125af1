//! What all processes of a service share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, watch};

use super::cgroup::Cgroup;
use super::definition::ProcessDef;
use super::home::{Former, Home};
use super::reaper::Reaper;
use super::restart::Count;
use super::state::{Event, ProcessState, ProcessStatus};
use crate::clock::SharedClock;

/// What each process of a service does now.
pub(super) type Board = BTreeMap<String, ProcessStatus>;

/// What all processes of a service share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) service: String,
    pub(super) home: Home,
    pub(super) clock: SharedClock,
    pub(super) reaper: Arc<Reaper>,
    /// The control group that processes get groups of their own in.
    pub(super) cgroup: Option<Cgroup>,
    pub(super) board: watch::Sender<Board>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) remembered: Mutex<BTreeMap<String, Former>>,
}

impl Shared {
    /// Tells everybody, and the next supervisor, what a process does now. `started_by` is the definition of what runs.
    pub(super) fn tell(&self, process: &str, status: ProcessStatus, started_by: &ProcessDef, count: Count) {
        let changed = self.board.send_if_modified(|board| {
            let changed = board.get(process) != Some(&status);
            board.insert(process.to_owned(), status.clone());
            changed
        });
        if !changed {
            return;
        }
        let former = Former {
            def: started_by.clone(),
            status: status.clone(),
            restarts: count.total,
            restarts_in_a_row: count.in_a_row,
        };
        self.remember(|processes| {
            processes.insert(process.to_owned(), former);
        });
        // Nobody may be listening.
        let _ = self.events.send(Event { service: self.service.clone(), process: process.to_owned(), status });
    }

    /// Forgets a process that is no longer part of the service.
    pub(super) fn forget(&self, process: &str) {
        self.board.send_modify(|board| {
            board.remove(process);
        });
        self.remember(|processes| {
            processes.remove(process);
        });
        self.home.forget(process);
        let group = self.cgroup.as_ref().map(|cgroup| cgroup.child(process).and_then(|group| group.remove()));
        if let Some(Err(error)) = group {
            tracing::warn!(%process, %error, "the control group of a removed process stays behind");
        }
    }

    /// Leaves no word to the next supervisor: it starts everything anew.
    pub(super) fn forget_all(&self) {
        self.remember(BTreeMap::clear);
    }

    fn remember(&self, change: impl FnOnce(&mut BTreeMap<String, Former>)) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut remembered);
        if let Err(error) = self.home.save(remembered.clone()) {
            let service = &self.service;
            tracing::warn!(%service, %error, "what the processes do cannot be written down for the next supervisor");
        }
    }

    /// Completes once nothing of `after` is to be waited for any more.
    pub(super) async fn all_up(&self, after: &BTreeSet<String>) {
        let is_up = |status: &ProcessStatus| match (&status.state, status.kind) {
            (ProcessState::Running { .. }, kind) => kind == super::Kind::Service,
            (ProcessState::Completed { .. }, _) => true,
            _ => false,
        };
        let mut board = self.board.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = board.wait_for(|board| after.iter().all(|name| board.get(name).is_some_and(is_up))).await;
    }
}
