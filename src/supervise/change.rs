//! Making a service another one while what stays of it goes on running.

use std::collections::{BTreeMap, BTreeSet};

use super::begin::Begin;
use super::definition::{ProcessDef, ServiceDef, SignalName};
use super::error::SupervisorError;
use super::keeper::Command;
use super::service::{Service, all};
use super::state::ProcessState;
use super::supervisor::Supervisor;

/// What becomes of processes that would be started just as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Same {
    /// They are sent their reload signals.
    Reloads,
    /// They are left alone if they run, and started if they are to run and do not.
    Runs,
}

impl Service {
    /// Tells a process to read its configuration anew. What does not run reads it when it starts.
    async fn reload(&self, process: &str, signal: SignalName) -> Result<(), SupervisorError> {
        match self.tell(process, |reply| Command::Signal(signal, reply)).await {
            Ok(()) | Err(SupervisorError::NotRunning { .. }) => Ok(()),
            failed => failed,
        }
    }
}

impl Supervisor {
    /// Makes the service what `definition` says: processes that are not in it any more are stopped, new ones are
    /// started, those that would be started otherwise are restarted. All others keep running; those with a
    /// [`reload_signal`](ProcessDef::reload_signal) are sent it.
    ///
    /// # Errors
    /// [`SupervisorError::NotStarted`] if a process could not be started; the definition holds nevertheless. With
    /// [`SupervisorError::Socket`] nothing has changed.
    pub async fn reload_service(&self, name: &str, definition: ServiceDef) -> Result<(), SupervisorError> {
        self.change(name, definition, Same::Reloads).await
    }

    /// The same, but nothing is sent a signal, and services that should run and do not are started: for a definition
    /// in which other processes join those that run, or leave them.
    ///
    /// # Errors
    /// As for [`Supervisor::reload_service`].
    pub async fn join_service(&self, name: &str, definition: ServiceDef) -> Result<(), SupervisorError> {
        self.change(name, definition, Same::Runs).await
    }

    /// Has processes started as `definition` says from their next start on. What runs goes on, whatever it was started
    /// by, and counts its restarts anew; what should run and does not is started. With `reloads` what has a
    /// [`reload_signal`](ProcessDef::reload_signal) and runs is sent it.
    ///
    /// # Errors
    /// As for [`Supervisor::reload_service`].
    pub async fn redefine_service(
        &self,
        name: &str,
        definition: ServiceDef,
        reloads: bool,
    ) -> Result<(), SupervisorError> {
        definition.check()?;
        let service = self.service(name)?;
        let mut made_of = service.made_of.lock().await;
        if !made_of.processes.keys().eq(definition.processes.keys()) {
            drop(made_of);
            return self.join_service(name, definition).await;
        }
        made_of.clone_from(&definition);
        let (mut result, mut replies) = (Ok(()), Vec::new());
        for (process, def) in &definition.processes {
            service.tell(process, |reply| Command::Redefine(Box::new(def.clone()), reply)).await?;
            let state = service.shared.board.borrow().get(process).map(|status| status.state.clone());
            let runs = state.as_ref().is_some_and(|state| !state.is_at_rest());
            let is_done = matches!(state, Some(ProcessState::Completed { .. }));
            match def.reload_signal.filter(|_| reloads) {
                _ if def.autostart && !runs && !is_done => replies.push(service.send(process, Command::Start).await?),
                Some(signal) => result = result.and(service.reload(process, signal).await),
                None => {}
            }
        }
        drop(made_of);
        result.and(all(replies).await)
    }

    async fn change(&self, name: &str, definition: ServiceDef, same_ones: Same) -> Result<(), SupervisorError> {
        definition.check()?;
        let service = self.service(name)?;
        let mut made_of = service.made_of.lock().await;
        // What may fail comes before anything is changed.
        let held = service.shared.sockets.hold(definition.listens(), || service.shared.home.running());
        held.map_err(|error| match error {
            SupervisorError::Socket { address, source }
                if made_of.listens().any(|listen| listen.to_string() == address) =>
            {
                SupervisorError::SocketLost { address, source }
            }
            error => error,
        })?;
        let mut new = BTreeMap::new();
        for (process, def) in definition.processes.iter().filter(|(name, _)| !made_of.processes.contains_key(*name)) {
            new.insert(process, service.prepare(process, def.clone(), definition.logs)?);
        }
        let last_first = made_of.ranks()?.into_iter().rev().flatten();
        let before = std::mem::replace(&mut *made_of, definition.clone());
        let mut result = Ok(());
        for gone in last_first.filter(|name| !definition.processes.contains_key(name)) {
            if let Err(error) = service.drop_process(&gone).await {
                // It is still there to be stopped.
                if let Some(def) = before.processes.get(&gone) {
                    let def = ProcessDef { after: BTreeSet::new(), ..def.clone() };
                    made_of.processes.insert(gone, def);
                }
                result = result.and(Err(error));
            }
        }
        let mut replies = Vec::new();
        for (process, def) in &definition.processes {
            if let Some(prepared) = new.remove(process) {
                service.begin(process, prepared, Begin::Fresh, None);
                if def.autostart && def.after.is_empty() {
                    replies.push(service.send(process, Command::Start).await?);
                }
                continue;
            }
            service.tell(process, |reply| Command::Define(Box::new(def.clone()), reply)).await?;
            let state = service.shared.board.borrow().get(process).map(|status| status.state.clone());
            let runs = state.as_ref().is_some_and(|state| !state.is_at_rest());
            let is_done = matches!(state, Some(ProcessState::Completed { .. }));
            let same = before.processes.get(process).is_some_and(|old| def.starts_like(old));
            if !same && (runs || def.autostart) {
                replies.push(service.send(process, Command::Restart).await?);
                continue;
            }
            match (same_ones, def.reload_signal) {
                (Same::Runs, _) if def.autostart && !runs && !is_done => {
                    replies.push(service.send(process, Command::Start).await?);
                }
                (Same::Reloads, Some(signal)) => result = result.and(service.reload(process, signal).await),
                _ => {}
            }
        }
        service.shared.sockets.keep(made_of.listens());
        drop(made_of);
        result.and(all(replies).await)
    }
}
