//! What all processes of a service share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, watch};

use super::cgroup::Cgroup;
use super::home::{Former, Home};
use super::reaper::Reaper;
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
    pub(super) memory: Mutex<Memory>,
}

/// What the next supervisor is told.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) processes: BTreeMap<String, Former>,
    /// Whether this is what is on the disk.
    pub(super) is_written: bool,
}

impl Shared {
    /// Tells the next supervisor, and everybody, what a process does now.
    pub(super) fn tell(&self, process: &str, former: Former) {
        let status = former.status.clone();
        self.remember(|processes| {
            if processes.get(process) == Some(&former) {
                return false;
            }
            processes.insert(process.to_owned(), former);
            true
        });
        let changed = self.board.send_if_modified(|board| {
            let changed = board.get(process) != Some(&status);
            board.insert(process.to_owned(), status.clone());
            changed
        });
        if changed {
            // Nobody may be listening.
            let _ = self.events.send(Event { service: self.service.clone(), process: process.to_owned(), status });
        }
    }

    /// Forgets a process that is no longer part of the service.
    pub(super) fn forget(&self, process: &str) {
        self.board.send_modify(|board| {
            board.remove(process);
        });
        self.remember(|processes| processes.remove(process).is_some());
        self.home.forget(process);
        let group = self.cgroup.as_ref().map(|cgroup| cgroup.child(process).and_then(|group| group.remove()));
        if let Some(Err(error)) = group {
            tracing::warn!(%process, %error, "the control group of a removed process stays behind");
        }
    }

    /// Leaves no word to the next supervisor: it starts everything anew.
    pub(super) fn forget_all(&self) {
        self.remember(|processes| {
            processes.clear();
            true
        });
    }

    /// Writes down what `change` changes, if it says so, or if it could not be written the last time.
    fn remember(&self, change: impl FnOnce(&mut BTreeMap<String, Former>) -> bool) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut memory.processes);
        if !changed && memory.is_written {
            return;
        }
        let written = self.home.save(memory.processes.clone());
        if let (Err(error), true) = (&written, memory.is_written) {
            let service = &self.service;
            tracing::warn!(%service, %error, "what the processes do cannot be written down for the next supervisor");
        }
        memory.is_written = written.is_ok();
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
