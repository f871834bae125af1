//! A service: its processes, and what they share.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::begin::Begin;
use super::cgroup::Cgroup;
use super::definition::{ProcessDef, ServiceDef};
use super::error::SupervisorError;
use super::home::{Former, Home, at};
use super::keeper::{Command, Keeper, Reply};
use super::output::{LogLimits, LogSettings, Output};
use super::reaper::Reaper;
use super::sockets::Sockets;
use super::state::{Event, ProcessState, ProcessStatus, ServiceStatus};
use crate::clock::SharedClock;

/// Commands that wait for a process; whoever sends more waits as well.
const INBOX: usize = 16;

/// What each process of a service does now.
pub(super) type Board = BTreeMap<String, ProcessStatus>;

/// What all processes of a service share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) service: String,
    pub(super) home: Home,
    pub(super) sockets: Sockets,
    /// How the calling program is started so that it takes sockets.
    pub(super) taker: Option<Vec<OsString>>,
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

/// A service whose processes are taken care of.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
    /// What it consists of now. Held while that changes.
    pub(super) made_of: tokio::sync::Mutex<ServiceDef>,
    processes: Mutex<BTreeMap<String, Process>>,
}

/// A process that is about to be taken care of.
pub(super) struct Prepared {
    keeper: Keeper,
    pub(super) process: Process,
}

/// A process that is taken care of.
#[derive(Debug, Clone)]
pub(super) struct Process {
    commands: mpsc::Sender<Command>,
    pub(super) output: Output,
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>, made_of: ServiceDef) -> Self {
        Self { shared, made_of: tokio::sync::Mutex::new(made_of), processes: Mutex::default() }
    }

    pub(super) fn processes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn process(&self, name: &str) -> Result<Process, SupervisorError> {
        let processes = self.processes();
        processes.get(name).cloned().ok_or_else(|| SupervisorError::NoProcess {
            service: self.shared.service.clone(),
            process: name.to_owned(),
            there: processes.keys().cloned().collect(),
        })
    }

    pub(super) fn status(&self) -> ServiceStatus {
        let mut board = self.shared.board.borrow().clone();
        for (name, process) in &*self.processes() {
            if let Some(status) = board.get_mut(name) {
                // It grows without anything else happening to the process.
                status.lost_log_bytes = process.output.lost().bytes;
            }
        }
        ServiceStatus { name: self.shared.service.clone(), processes: board }
    }

    /// Everything about taking care of a process that may fail. Its output is read from here on, so that it waits for
    /// nothing.
    pub(super) fn prepare(&self, name: &str, def: ProcessDef, limits: LogLimits) -> Result<Prepared, SupervisorError> {
        let (home, clock) = (&self.shared.home, Arc::clone(&self.shared.clock));
        let (pipe, identity) = home.pipe(name)?;
        let (commands, inbox) = mpsc::channel(INBOX);
        let logs = LogSettings { folder: home.logs.clone(), limits };
        let output = Output::open(pipe, logs, name, clock).map_err(at("reading", &home.pipe_path(name)))?;
        let keeper = Keeper::new(Arc::clone(&self.shared), name, def, inbox, output.clone(), identity)?;
        Ok(Prepared { keeper, process: Process { commands, output } })
    }

    /// Takes care of a process from now on.
    pub(super) fn begin(&self, name: &str, prepared: Prepared, begin: Begin, former: Option<Former>) {
        let Prepared { mut keeper, process } = prepared;
        keeper.begin(begin, former);
        self.processes().insert(name.to_owned(), process);
        tokio::spawn(keeper.run());
    }

    /// Stops its processes in the reverse of the order in which they start.
    pub(super) async fn stop(&self) -> Result<(), SupervisorError> {
        let ranks = self.made_of.lock().await.ranks()?;
        let mut result = Ok(());
        for rank in ranks.iter().rev() {
            let mut replies = Vec::new();
            for name in rank {
                replies.push(self.send(name, Command::Stop).await?);
            }
            // What cannot be stopped is no reason to let the others run.
            result = result.and(all(replies).await);
        }
        result
    }

    /// Gives a process a command, and says where the answer will come.
    pub(super) async fn send(
        &self,
        process: &str,
        command: impl FnOnce(Reply) -> Command,
    ) -> Result<oneshot::Receiver<Result<(), SupervisorError>>, SupervisorError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.process(process)?.commands.send(command(reply)).await;
        sent.map(|()| answer).map_err(|_| SupervisorError::Ended)
    }

    pub(super) async fn tell(
        &self,
        process: &str,
        command: impl FnOnce(Reply) -> Command,
    ) -> Result<(), SupervisorError> {
        self.send(process, command).await?.await.unwrap_or(Err(SupervisorError::Ended))
    }

    /// Stops a process and forgets it.
    pub(super) async fn drop_process(&self, name: &str) -> Result<(), SupervisorError> {
        self.tell(name, Command::Stop).await?;
        let process = self.processes().remove(name);
        if let Some(Process { commands, output }) = process {
            drop(commands);
            output.close().await;
        }
        self.shared.forget(name);
        Ok(())
    }
}

/// Waits for all answers, and gives the first error.
pub(super) async fn all(answers: Vec<oneshot::Receiver<Result<(), SupervisorError>>>) -> Result<(), SupervisorError> {
    let mut result = Ok(());
    for answer in answers {
        result = result.and(answer.await.unwrap_or(Err(SupervisorError::Ended)));
    }
    result
}
