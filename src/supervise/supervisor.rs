//! The supervisor itself: services by name.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{broadcast, watch};

use super::begin::Begin;
use super::cgroup::Cgroup;
use super::definition::{ProcessDef, Run, ServiceDef, SignalName, check_name};
use super::error::SupervisorError;
use super::handed::TAKE_SOCKETS;
use super::home::{Home, at, make};
use super::keeper::Command;
use super::output::{Follow, Output, Snapshot};
use super::reaper::Reaper;
use super::service::{Board, Memory, Service, Shared, all};
use super::sockets::Sockets;
use super::spawn::in_full;
use super::state::{Event, ServiceStatus};
use crate::clock::SharedClock;

/// Events that a slow listener may be behind before it misses some.
const EVENTS: usize = 64;

/// How a supervisor is set up.
#[derive(Debug, Clone)]
pub struct SupervisorConfig {
    /// Where each service has a folder. It must be on a file system with pipes and locks, so not on NFS.
    pub folder: PathBuf,
    /// Makes the calling process the one that gets every orphan below it, so that no process escapes by forking twice,
    /// and none stays behind as a zombie. Every child that ends is then collected: nothing else in the calling process
    /// may wait for children of its own. An orphan that nothing tells whose it is ends with the last process that it
    /// can have come from; what the calling process starts by itself is left alone, unless it makes a session.
    pub adopt_orphans: bool,
    /// Gives each process a control group below the one that the calling process is in. Only for a group that was
    /// delegated to the calling process, as by `Delegate=yes` of a systemd unit. Where the system has only the first
    /// version of control groups nothing comes of it, and processes are found by other means.
    pub use_cgroup: bool,
    /// The words by which the calling program is started anew so that it is nothing but
    /// [`detached::main`](super::detached::main) with the arguments that follow. Only with them can processes be given
    /// [sockets](super::ProcessDef::sockets).
    pub itself: Option<Vec<OsString>>,
}

impl SupervisorConfig {
    /// The usual settings: nothing of the calling process is changed.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), adopt_orphans: false, use_cgroup: false, itself: None }
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
    services: Mutex<Services>,
}

#[derive(Debug, Default)]
struct Services {
    by_name: BTreeMap<String, Arc<Service>>,
    /// Set for good when the supervisor ends: nothing may be started from then on.
    is_ending: bool,
}

impl Supervisor {
    /// A supervisor of nothing.
    ///
    /// # Errors
    /// The folder cannot be made, or the system does not do what the config asks for.
    pub fn open(config: SupervisorConfig, clock: SharedClock) -> Result<Self, SupervisorError> {
        make(&config.folder)?;
        let reaper = match config.adopt_orphans {
            true => Reaper::everything().map_err(at("adopting orphans for", &config.folder))?,
            false => Reaper::Own,
        };
        let cgroup = match config.use_cgroup {
            true => Cgroup::own().map_err(at("entering the control group for", &config.folder))?,
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
        self.start_each(service, |process| process.after.is_empty()).await
    }

    /// Starts what starts with its service, and waits for those that `is_awaited`.
    async fn start_each(&self, service: &str, is_awaited: impl Fn(&ProcessDef) -> bool) -> Result<(), SupervisorError> {
        let service = self.service(service)?;
        let made_of = service.made_of.lock().await.clone();
        let mut awaited = Vec::new();
        for (name, process) in made_of.processes.iter().filter(|(_, process)| process.autostart) {
            let started = service.send(name, Command::Start).await?;
            if is_awaited(process) {
                awaited.push(started);
            }
        }
        all(awaited).await
    }

    /// Stops every process of a service, in the reverse of the order in which they start.
    ///
    /// # Errors
    /// [`SupervisorError::NoService`], [`SupervisorError::Unkillable`], or [`SupervisorError::Overruled`] if somebody
    /// started it again meanwhile.
    pub async fn stop_service(&self, service: &str) -> Result<(), SupervisorError> {
        self.service(service)?.stop().await
    }

    /// Stops a service and starts it again, tasks too. It takes until each process was started, also those that come
    /// after others.
    ///
    /// # Errors
    /// As for [`Supervisor::stop_service`] and [`Supervisor::start_all`].
    pub async fn restart_service(&self, service: &str) -> Result<(), SupervisorError> {
        self.stop_service(service).await?;
        self.start_each(service, |_| true).await
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
        let service = self.service(name)?;
        service.stop().await?;
        let mut made_of = service.made_of.lock().await;
        for process in made_of.processes.keys().cloned().collect::<Vec<_>>() {
            service.drop_process(&process).await?;
            made_of.processes.remove(&process);
            made_of.processes.values_mut().for_each(|other| {
                other.after.remove(&process);
            });
        }
        service.shared.sockets.keep([]);
        self.inner.drop_service(name, &service);
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

    /// Tells a process to read its configuration anew, by its [`reload_signal`](ProcessDef::reload_signal). Whether it
    /// does is not known here.
    ///
    /// # Errors
    /// [`SupervisorError::NoReloadSignal`], [`SupervisorError::NotRunning`], or there is no such process.
    pub async fn reload_process(&self, service: &str, process: &str) -> Result<(), SupervisorError> {
        let found = self.service(service)?;
        found.process(process)?;
        let signal = found.made_of.lock().await.processes.get(process).and_then(|def| def.reload_signal);
        let signal = signal.ok_or_else(|| SupervisorError::NoReloadSignal { process: process.to_owned() })?;
        found.tell(process, |reply| Command::Signal(signal, reply)).await
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
        let services: Vec<_> = self.inner.services().by_name.values().cloned().collect();
        services.iter().map(|service| service.status()).collect()
    }

    /// What one service does now.
    ///
    /// # Errors
    /// [`SupervisorError::NoService`].
    pub fn service_status(&self, service: &str) -> Result<ServiceStatus, SupervisorError> {
        Ok(self.inner.look(service)?.status())
    }

    /// The output of a process.
    ///
    /// # Errors
    /// There is no such service or process.
    pub fn get_output(&self, service: &str, process: &str) -> Result<ProcessOutput, SupervisorError> {
        let service = self.inner.look(service)?;
        let output = service.process(process)?.output;
        Ok(ProcessOutput { output, logs: service.shared.home.logs.clone(), process: process.to_owned() })
    }

    /// Every change of a process from now on. Whoever is too slow misses some and is told so; [`Supervisor::status`]
    /// says what became of them.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// Stops everything, and completes when nothing runs any more and all output is logged. Every command that comes
    /// later is refused with [`SupervisorError::Ended`].
    ///
    /// # Errors
    /// The first one; the other services are stopped nevertheless.
    pub async fn shutdown(self) -> Result<(), SupervisorError> {
        let services: Vec<_> = {
            let mut services = self.inner.services();
            services.is_ending = true;
            services.by_name.values().cloned().collect()
        };
        let stops = services.iter().cloned().map(|service| {
            tokio::spawn(async move {
                loop {
                    match service.stop().await {
                        // By a command that had come before; no other one will.
                        Err(SupervisorError::Overruled { .. }) => {}
                        result => break result,
                    }
                }
            })
        });
        let mut result = Ok(());
        for stop in stops.collect::<Vec<_>>() {
            result = result.and(stop.await.unwrap_or(Err(SupervisorError::Ended)));
        }
        self.inner.services().by_name.clear();
        for service in services {
            // What was stopped because the supervisor ends is no reason not to start it again.
            service.shared.forget_all();
            service.shared.sockets.keep([]);
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
        self.inner.check_free(&self.inner.services(), name)?;
        let folder = &self.inner.config.folder;
        let home = Home::take(folder, name, &self.inner.clock).await?;
        let in_use = || SupervisorError::InUse { service: name.to_owned(), folder: folder.join(name) };
        let home = home.ok_or_else(in_use)?;
        let mut former = home.load();
        let recorded = home.recorded()?;
        let (board, _) = watch::channel(Board::new());
        let sockets = Sockets::new(&home.run, &home.boot_id);
        let itself = self.inner.config.itself.clone();
        let taker = itself.map(|words| words.into_iter().chain([TAKE_SOCKETS.into()]).collect());
        if begin != Begin::End
            && let Err(error) = sockets.hold(definition.listens(), || home.running())
        {
            // It is tried again before a process starts that needs them; what has them goes on.
            tracing::warn!(service = name, "not all sockets are held: {}", in_full(&error));
        }
        let shared = Arc::new(Shared {
            service: name.to_owned(),
            home,
            sockets,
            taker,
            clock: Arc::clone(&self.inner.clock),
            reaper: Arc::clone(&self.inner.reaper),
            cgroup: self.inner.cgroup.clone(),
            board,
            events: self.inner.events.clone(),
            memory: Mutex::new(Memory { processes: former.clone(), is_written: true }),
        });
        let service = Arc::new(Service::new(shared, definition.clone()));
        // Whoever finds it among the services waits until it is complete.
        let complete = service.made_of.lock().await;

        // What may fail comes before anything is done to what runs.
        let is_known = !former.is_empty();
        let logs = definition.logs;
        let mut gone = BTreeMap::new();
        for process in former.keys().chain(&recorded).filter(|name| !definition.processes.contains_key(*name)) {
            // Of what is known only by its record anything will do: it is only to end.
            let def =
                former.get(process).map_or_else(|| ProcessDef::new(Run::command([name])), |left| left.def.clone());
            gone.insert(process.clone(), service.prepare(process, def, logs)?);
        }
        let mut stays = BTreeMap::new();
        for (process, def) in &definition.processes {
            stays.insert(process.clone(), service.prepare(process, def.clone(), logs)?);
        }
        // What they are told before they are begun with waits for that.
        let all = gone.iter().chain(&stays);
        service.processes().extend(all.map(|(process, prepared)| (process.clone(), prepared.process.clone())));
        {
            let mut services = self.inner.services();
            self.inner.check_free(&services, name)?;
            services.by_name.insert(name.to_owned(), Arc::clone(&service));
        }

        let names: Vec<String> = gone.keys().cloned().collect();
        for (process, prepared) in gone {
            service.begin(&process, prepared, Begin::End, former.remove(&process));
        }
        for process in names {
            if let Err(error) = service.drop_process(&process).await {
                self.inner.drop_service(name, &service);
                return Err(error);
            }
        }
        for (process, prepared) in stays {
            service.begin(&process, prepared, begin, former.remove(&process));
        }
        drop(complete);
        match begin {
            Begin::Resume if is_known => Ok(()),
            Begin::Fresh | Begin::Resume => self.start_all(name).await,
            Begin::End => Ok(()),
        }
    }

    pub(super) fn service(&self, name: &str) -> Result<Arc<Service>, SupervisorError> {
        if self.inner.services().is_ending {
            return Err(SupervisorError::Ended);
        }
        self.inner.look(name)
    }
}

impl Inner {
    fn services(&self) -> std::sync::MutexGuard<'_, Services> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The service, also while the supervisor ends.
    fn look(&self, name: &str) -> Result<Arc<Service>, SupervisorError> {
        let service = self.services().by_name.get(name).cloned();
        service.ok_or_else(|| SupervisorError::NoService(name.to_owned()))
    }

    fn check_free(&self, services: &Services, name: &str) -> Result<(), SupervisorError> {
        match services.by_name.contains_key(name) {
            _ if services.is_ending => Err(SupervisorError::Ended),
            true => Err(SupervisorError::Exists(name.to_owned())),
            false => Ok(()),
        }
    }

    /// Takes the service off the list, unless another one of its name has taken its place.
    fn drop_service(&self, name: &str, service: &Arc<Service>) {
        let mut services = self.services();
        if services.by_name.get(name).is_some_and(|there| Arc::ptr_eq(there, service)) {
            services.by_name.remove(name);
        }
    }
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
