//! The supervisor itself: services by name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::cgroup::Cgroup;
use super::definition::{ProcessDef, ServiceDef, SignalName, check_name};
use super::error::SupervisorError;
use super::home::{Former, Home, at};
use super::keeper::{Begin, Command, Keeper, Reply};
use super::output::{Follow, LogLimits, LogSettings, Output, Snapshot};
use super::reaper::Reaper;
use super::service::{Board, Shared};
use super::state::{Event, ServiceStatus};
use crate::clock::SharedClock;

/// Commands that wait for a process; whoever sends more waits as well.
const INBOX: usize = 16;

/// Events that a slow listener may be behind before it misses some.
const EVENTS: usize = 64;

/// How a supervisor is set up.
#[derive(Debug, Clone)]
pub struct SupervisorConfig {
    /// Where each service has a folder. It must be on a file system with pipes and locks, so not on NFS.
    pub folder: PathBuf,
    /// Makes the calling process the one that gets every orphan below it, so that no process escapes by forking twice,
    /// and none stays behind as a zombie. Every child that ends is then collected: nothing else in the calling process
    /// may wait for children of its own.
    pub adopt_orphans: bool,
    /// Gives each process a control group below the one that the calling process is in. Only for a group that was
    /// delegated to the calling process, as by `Delegate=yes` of a systemd unit.
    pub use_cgroup: bool,
}

impl SupervisorConfig {
    /// The usual settings: nothing of the calling process is changed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), adopt_orphans: false, use_cgroup: false }
    }
}

/// Runs services and keeps them running. A handle: clones speak of the same supervisor.
///
/// It needs a tokio runtime. When the last handle is dropped, or the program ends in whatever way, what runs goes on
/// running; a supervisor that is opened later on the same folder takes it over when it is told to start or resume the
/// same service.
#[derive(Debug, Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: SupervisorConfig,
    clock: SharedClock,
    reaper: Arc<Reaper>,
    cgroup: Option<Cgroup>,
    events: broadcast::Sender<Event>,
    services: Mutex<BTreeMap<String, Arc<Service>>>,
}

/// A service whose processes are taken care of.
#[derive(Debug)]
struct Service {
    shared: Arc<Shared>,
    /// What it consists of now. Held while that changes.
    made_of: tokio::sync::Mutex<ServiceDef>,
    processes: Mutex<BTreeMap<String, Process>>,
}

/// A process that is taken care of.
#[derive(Debug, Clone)]
struct Process {
    commands: mpsc::Sender<Command>,
    output: Output,
}

impl Supervisor {
    /// A supervisor of nothing.
    ///
    /// # Errors
    /// The folder cannot be made, or the system does not do what the config asks for.
    pub fn open(config: SupervisorConfig, clock: SharedClock) -> Result<Self, SupervisorError> {
        std::fs::create_dir_all(&config.folder).map_err(at("making", &config.folder))?;
        let reaper = match config.adopt_orphans {
            true => Reaper::everything().map_err(at("adopting orphans for", &config.folder))?,
            false => Reaper::Own,
        };
        let cgroup = match config.use_cgroup {
            true => Some(Cgroup::own().map_err(at("entering the control group for", &config.folder))?),
            false => None,
        };
        let (events, _) = broadcast::channel(EVENTS);
        let services = Mutex::default();
        Ok(Self { inner: Arc::new(Inner { config, clock, reaper: Arc::new(reaper), cgroup, events, services }) })
    }

    /// Starts a service: those of its processes that start with it, each once what it comes after is up. Completes when
    /// everything that nothing holds back was started.
    ///
    /// Of a service that an earlier supervisor left running, processes of the same definition are taken over as they
    /// are, and everything else of it is ended first.
    ///
    /// # Errors
    /// [`SupervisorError::NotStarted`] if a process could not be started; the service is there nevertheless, and the
    /// restart policy goes on. With any other error it is not.
    pub async fn start_service(&self, name: &str, definition: ServiceDef) -> Result<(), SupervisorError> {
        self.add(name, definition, Begin::Fresh).await
    }

    /// Goes on where an earlier supervisor of this boot ended, however it ended: what runs is taken over, what ended
    /// meanwhile is restarted if its policy says so, and what was stopped or had completed stays as it was. After a
    /// boot it is the same as [`Supervisor::start_service`].
    ///
    /// # Errors
    /// As for [`Supervisor::start_service`].
    pub async fn resume_service(&self, name: &str, definition: ServiceDef) -> Result<(), SupervisorError> {
        self.add(name, definition, Begin::Resume).await
    }

    /// Ends what an earlier supervisor left running of a service. It is there then, and stopped.
    ///
    /// # Errors
    /// As for [`Supervisor::start_service`].
    pub async fn end_service(&self, name: &str, definition: ServiceDef) -> Result<(), SupervisorError> {
        self.add(name, definition, Begin::End).await?;
        self.stop_service(name).await
    }

    /// Makes the service what `definition` says: processes that are not in it any more are stopped, new ones are
    /// started, those that would be started otherwise are restarted. All others keep running; those with a
    /// [`reload_signal`](ProcessDef::reload_signal) are sent it.
    ///
    /// # Errors
    /// [`SupervisorError::NotStarted`] if a process could not be started; the definition holds nevertheless.
    pub async fn reload_service(&self, name: &str, definition: ServiceDef) -> Result<(), SupervisorError> {
        definition.check()?;
        let service = self.service(name)?;
        let mut made_of = service.made_of.lock().await;
        let before = std::mem::replace(&mut *made_of, definition.clone());
        for gone in before.processes.keys().filter(|name| !definition.processes.contains_key(*name)) {
            service.drop_process(gone).await?;
        }
        let mut replies = Vec::new();
        for (process, def) in definition.processes {
            let Some(old) = before.processes.get(&process) else {
                self.inner.add_process(&service, &process, def.clone(), definition.logs, Begin::Fresh, None)?;
                if def.autostart && def.after.is_empty() {
                    replies.push(service.send(&process, Command::Start).await?);
                }
                continue;
            };
            service.tell(&process, |reply| Command::Define(Box::new(def.clone()), reply)).await?;
            let runs = service.shared.board.borrow().get(&process).is_some_and(|status| !status.state.is_at_rest());
            if !def.starts_like(old) && (runs || def.autostart) {
                replies.push(service.send(&process, Command::Restart).await?);
            } else if let Some(signal) = def.reload_signal {
                // What does not run reads its configuration when it starts.
                match service.tell(&process, |reply| Command::Signal(signal, reply)).await {
                    Ok(()) | Err(SupervisorError::NotRunning { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        drop(made_of);
        all(replies).await
    }

    /// Makes the service what `definition` says, and starts all of it anew, whatever runs.
    ///
    /// # Errors
    /// As for [`Supervisor::reload_service`].
    pub async fn replace_service(&self, name: &str, definition: ServiceDef) -> Result<(), SupervisorError> {
        definition.check()?;
        self.stop_service(name).await?;
        self.remove_service(name).await?;
        self.start_service(name, definition).await
    }

    /// Starts the processes that start with their service, and run not.
    ///
    /// # Errors
    /// [`SupervisorError::NoService`], or what kept a process from being started.
    pub async fn start_all(&self, service: &str) -> Result<(), SupervisorError> {
        let service = self.service(service)?;
        let made_of = service.made_of.lock().await.clone();
        let mut free = Vec::new();
        for (name, process) in made_of.processes.iter().filter(|(_, process)| process.autostart) {
            let started = service.send(name, Command::Start).await?;
            if process.after.is_empty() {
                free.push(started);
            }
        }
        all(free).await
    }

    /// Stops every process of a service, in the reverse of the order in which they start.
    ///
    /// # Errors
    /// [`SupervisorError::NoService`], [`SupervisorError::Unkillable`], or [`SupervisorError::Overruled`] if somebody
    /// started it again meanwhile.
    pub async fn stop_service(&self, service: &str) -> Result<(), SupervisorError> {
        let service = self.service(service)?;
        let ranks = service.made_of.lock().await.ranks()?;
        for rank in ranks.iter().rev() {
            let mut replies = Vec::new();
            for name in rank {
                replies.push(service.send(name, Command::Stop).await?);
            }
            all(replies).await?;
        }
        Ok(())
    }

    /// Stops a service and starts it again.
    ///
    /// # Errors
    /// As for [`Supervisor::stop_service`] and [`Supervisor::start_all`].
    pub async fn restart_service(&self, service: &str) -> Result<(), SupervisorError> {
        self.stop_service(service).await?;
        self.start_all(service).await
    }

    /// Ends every process of a service with SIGKILL, at once.
    ///
    /// # Errors
    /// As for [`Supervisor::stop_service`].
    pub async fn kill_service(&self, service: &str) -> Result<(), SupervisorError> {
        let service = self.service(service)?;
        let names: Vec<String> = service.made_of.lock().await.processes.keys().cloned().collect();
        let mut replies = Vec::new();
        for name in names {
            replies.push(service.send(&name, Command::Kill).await?);
        }
        all(replies).await
    }

    /// Stops a service and forgets it. Its logs stay.
    ///
    /// # Errors
    /// As for [`Supervisor::stop_service`]; then the service is still there.
    pub async fn remove_service(&self, name: &str) -> Result<(), SupervisorError> {
        self.stop_service(name).await?;
        let service = self.service(name)?;
        let made_of = service.made_of.lock().await;
        for process in made_of.processes.keys() {
            service.drop_process(process).await?;
        }
        self.inner.services().remove(name);
        Ok(())
    }

    /// Starts a process, and completes when it runs. One that runs already is left alone.
    ///
    /// # Errors
    /// [`SupervisorError::NotStarted`], [`SupervisorError::Overruled`], or there is no such process.
    pub async fn start_process(&self, service: &str, process: &str) -> Result<(), SupervisorError> {
        self.service(service)?.tell(process, Command::Start).await
    }

    /// Stops a process, and completes when nothing of it runs any more.
    ///
    /// # Errors
    /// [`SupervisorError::Unkillable`], [`SupervisorError::Overruled`], or there is no such process.
    pub async fn stop_process(&self, service: &str, process: &str) -> Result<(), SupervisorError> {
        self.service(service)?.tell(process, Command::Stop).await
    }

    /// Stops a process and starts it again, and completes when it runs.
    ///
    /// # Errors
    /// As for [`Supervisor::start_process`] and [`Supervisor::stop_process`].
    pub async fn restart_process(&self, service: &str, process: &str) -> Result<(), SupervisorError> {
        self.service(service)?.tell(process, Command::Restart).await
    }

    /// Lets a process read its configuration anew: by its [`reload_signal`](ProcessDef::reload_signal), or else by a
    /// restart.
    ///
    /// # Errors
    /// [`SupervisorError::NotRunning`] if it cannot be sent its signal, or as for [`Supervisor::restart_process`].
    pub async fn reload_process(&self, service: &str, process: &str) -> Result<(), SupervisorError> {
        let found = self.service(service)?;
        let signal = found.made_of.lock().await.processes.get(process).and_then(|def| def.reload_signal);
        match signal {
            Some(signal) => found.tell(process, |reply| Command::Signal(signal, reply)).await,
            None => found.tell(process, Command::Restart).await,
        }
    }

    /// Ends a process and all that it started with SIGKILL, at once. It stays stopped.
    ///
    /// # Errors
    /// As for [`Supervisor::stop_process`].
    pub async fn kill_process(&self, service: &str, process: &str) -> Result<(), SupervisorError> {
        self.service(service)?.tell(process, Command::Kill).await
    }

    /// Sends a signal to a process, and to nothing that it started.
    ///
    /// # Errors
    /// [`SupervisorError::NotRunning`], or there is no such process.
    pub async fn signal_process(
        &self,
        service: &str,
        process: &str,
        signal: SignalName,
    ) -> Result<(), SupervisorError> {
        self.service(service)?.tell(process, |reply| Command::Signal(signal, reply)).await
    }

    /// What every service does now, by name.
    #[must_use]
    pub fn status(&self) -> Vec<ServiceStatus> {
        let services: Vec<_> = self.inner.services().values().cloned().collect();
        services.iter().map(|service| service.status()).collect()
    }

    /// What one service does now.
    ///
    /// # Errors
    /// [`SupervisorError::NoService`].
    pub fn service_status(&self, service: &str) -> Result<ServiceStatus, SupervisorError> {
        Ok(self.service(service)?.status())
    }

    /// The output of a process.
    ///
    /// # Errors
    /// There is no such service or process.
    pub fn get_output(&self, service: &str, process: &str) -> Result<ProcessOutput, SupervisorError> {
        let service = self.service(service)?;
        let output = service.process(process)?.output;
        Ok(ProcessOutput { output, logs: service.shared.home.logs.clone(), process: process.to_owned() })
    }

    /// Every change of a process from now on. Whoever is too slow misses some and is told so; [`Supervisor::status`]
    /// says what became of them.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Stops everything, and completes when nothing runs any more and all output is logged.
    ///
    /// # Errors
    /// The first one; the other services are stopped nevertheless.
    pub async fn shutdown(self) -> Result<(), SupervisorError> {
        let names: Vec<String> = self.inner.services().keys().cloned().collect();
        let stops = names.into_iter().map(|name| {
            let this = self.clone();
            tokio::spawn(async move { this.stop_service(&name).await })
        });
        let mut result = Ok(());
        for stop in stops.collect::<Vec<_>>() {
            result = result.and(stop.await.unwrap_or(Err(SupervisorError::Ended)));
        }
        let services: Vec<_> = std::mem::take(&mut *self.inner.services()).into_values().collect();
        for service in services {
            // What was stopped because the supervisor ends is no reason not to start it again.
            service.shared.forget_all();
            let processes = std::mem::take(&mut *service.processes());
            for process in processes.into_values() {
                process.output.close().await;
            }
        }
        result
    }

    async fn add(&self, name: &str, definition: ServiceDef, begin: Begin) -> Result<(), SupervisorError> {
        check_name(name)?;
        definition.check()?;
        if self.inner.services().contains_key(name) {
            return Err(SupervisorError::Exists(name.to_owned()));
        }
        let folder = self.inner.config.folder.join(name);
        let home = Home::take(&folder, &self.inner.clock).await?;
        let home = home.ok_or_else(|| SupervisorError::InUse { service: name.to_owned(), folder })?;
        let mut former = home.load();
        let (board, _) = watch::channel(Board::new());
        let shared = Arc::new(Shared {
            service: name.to_owned(),
            home,
            clock: Arc::clone(&self.inner.clock),
            reaper: Arc::clone(&self.inner.reaper),
            cgroup: self.inner.cgroup.clone(),
            board,
            events: self.inner.events.clone(),
            remembered: Mutex::new(former.clone()),
        });
        let made_of = tokio::sync::Mutex::new(definition.clone());
        let service = Arc::new(Service { shared, made_of, processes: Mutex::default() });
        let gone: Vec<String> =
            former.keys().filter(|name| !definition.processes.contains_key(*name)).cloned().collect();
        for name in gone {
            let Some(left) = former.remove(&name) else { continue };
            self.inner.add_process(&service, &name, left.def.clone(), definition.logs, Begin::End, Some(left))?;
            service.drop_process(&name).await?;
        }
        let begin = if former.is_empty() && begin == Begin::Resume { Begin::Fresh } else { begin };
        for (process, def) in &definition.processes {
            self.inner.add_process(&service, process, def.clone(), definition.logs, begin, former.remove(process))?;
        }
        if let Some(_other) = self.inner.services().insert(name.to_owned(), Arc::clone(&service)) {
            return Err(SupervisorError::Exists(name.to_owned()));
        }
        if begin == Begin::Fresh { self.start_all(name).await } else { Ok(()) }
    }

    fn service(&self, name: &str) -> Result<Arc<Service>, SupervisorError> {
        let service = self.inner.services().get(name).cloned();
        service.ok_or_else(|| SupervisorError::NoService(name.to_owned()))
    }
}

impl Inner {
    fn services(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Service>>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_process(
        &self,
        service: &Service,
        name: &str,
        def: ProcessDef,
        limits: LogLimits,
        begin: Begin,
        former: Option<Former>,
    ) -> Result<(), SupervisorError> {
        let home = &service.shared.home;
        let (pipe, identity) = home.pipe(name)?;
        let logs = LogSettings { folder: home.logs.clone(), limits };
        let output =
            Output::open(pipe, logs, name, Arc::clone(&self.clock)).map_err(at("reading", &home.pipe_path(name)))?;
        let (commands, inbox) = mpsc::channel(INBOX);
        let mut keeper = Keeper::new(Arc::clone(&service.shared), name, def, inbox, output.clone(), identity)?;
        keeper.begin(begin, former);
        tokio::spawn(keeper.run());
        service.processes().insert(name.to_owned(), Process { commands, output });
        Ok(())
    }
}

impl Service {
    fn processes(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self, name: &str) -> Result<Process, SupervisorError> {
        let processes = self.processes();
        processes.get(name).cloned().ok_or_else(|| SupervisorError::NoProcess {
            service: self.shared.service.clone(),
            process: name.to_owned(),
            there: processes.keys().cloned().collect(),
        })
    }

    fn status(&self) -> ServiceStatus {
        ServiceStatus { name: self.shared.service.clone(), processes: self.shared.board.borrow().clone() }
    }

    /// Gives a process a command, and says where the answer will come.
    async fn send(
        &self,
        process: &str,
        command: impl FnOnce(Reply) -> Command,
    ) -> Result<oneshot::Receiver<Result<(), SupervisorError>>, SupervisorError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.process(process)?.commands.send(command(reply)).await;
        sent.map(|()| answer).map_err(|_| SupervisorError::Ended)
    }

    async fn tell(&self, process: &str, command: impl FnOnce(Reply) -> Command) -> Result<(), SupervisorError> {
        self.send(process, command).await?.await.unwrap_or(Err(SupervisorError::Ended))
    }

    /// Stops a process and forgets it.
    async fn drop_process(&self, name: &str) -> Result<(), SupervisorError> {
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
async fn all(answers: Vec<oneshot::Receiver<Result<(), SupervisorError>>>) -> Result<(), SupervisorError> {
    let mut result = Ok(());
    for answer in answers {
        result = result.and(answer.await.unwrap_or(Err(SupervisorError::Ended)));
    }
    result
}

/// What a process writes to standard output and standard error, in the order in which it does.
#[derive(Debug, Clone)]
pub struct ProcessOutput {
    output: Output,
    logs: PathBuf,
    process: String,
}

impl ProcessOutput {
    /// The last of it, at most [`RING_BYTES`](super::RING_BYTES).
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.output.snapshot()
    }

    /// What [`ProcessOutput::snapshot`] gives, and then all that comes.
    #[must_use]
    pub fn follow(&self) -> Follow {
        self.output.follow()
    }

    /// The log files.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn log_files(&self) -> std::io::Result<super::LogFiles> {
        super::LogFiles::of(&self.logs, &self.process)
    }
}
