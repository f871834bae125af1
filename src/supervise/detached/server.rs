//! The process that takes care of one service and of nothing else.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, watch};

use super::orders::{Orders, Stays, Wanted};
use super::protocol::{
    Answer, Ask, Hello, NEWEST, OLDEST, Refusal, Report, Request, SOCKET, SOCKET_LOST, read_line, socket, write_line,
};
use crate::clock::SharedClock;
use crate::supervise::home::{self, at};
use crate::supervise::{Piece, ServiceDef, Supervisor, SupervisorConfig, SupervisorError, in_full, run_folder};

/// The most clients that are served at once; others wait at the door. There must be descriptors left to see what runs.
const MOST_CLIENTS: usize = 256;

/// How long nobody is let in when there is no descriptor left for a client.
const NO_CLIENT_FOR: Duration = Duration::from_millis(100);

/// How soon orders that could not be carried out are tried again: at first, and at last.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// How a detached supervisor is set up.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where services have their folders.
    pub folder: PathBuf,
    /// The service.
    pub service: String,
    /// See [`SupervisorConfig::use_cgroup`].
    pub use_cgroup: bool,
    /// What it calls itself to clients, such as `acme 1.2`.
    pub program: String,
    /// The newest version of the protocol that it admits to; [`NEWEST`] unless an older one is to be tried out.
    pub newest: u32,
    /// See [`SupervisorConfig::itself`].
    pub itself: Option<Vec<OsString>>,
}

/// Why a detached supervisor cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// There is one already; nothing needs to be done.
    #[error("a supervisor of {service} is there already")]
    AlreadyThere {
        /// The service.
        service: String,
    },
    /// The orders cannot be carried out.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The file system, or the kernel.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it did not work.
        #[source]
        source: io::Error,
    },
}

/// The process that takes care of one service and of nothing else.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    /// One for each client.
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
    _lock: File,
}

#[derive(Debug)]
struct Shared {
    config: ServerConfig,
    /// The service's folder, and in it the one of whoever supervises it.
    folder: PathBuf,
    run: PathBuf,
    since: DateTime<Utc>,
    clock: SharedClock,
    supervisor: Supervisor,
    standing: watch::Sender<Standing>,
    /// How far the orders are carried out. Held while they are, so that this is done one after the other.
    progress: Arc<tokio::sync::Mutex<Progress>>,
    /// Told when orders could not be carried out, to try it again.
    unsettled: Notify,
    /// Set once nothing is left to do.
    done: watch::Sender<bool>,
}

/// What there is to do.
#[derive(Debug, Clone, Default)]
struct Standing {
    orders: Option<Orders>,
    /// Why they could not be carried out the last time.
    trouble: Option<String>,
}

/// How far the orders are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// They are those of an earlier supervisor, which had carried them out, or was just `begun` with them.
    Found { begun: bool },
    /// They were given here.
    Given,
    /// They are carried out.
    Done,
}

impl Server {
    /// Listens, and begins to take over what runs of the service and to start what is to run. Every orphan below this
    /// process becomes its own, and it collects every child that ends.
    ///
    /// # Errors
    /// [`ServerError::AlreadyThere`], or something on the machine does not let it.
    pub async fn open(config: ServerConfig, clock: SharedClock) -> Result<Self, ServerError> {
        let folder = config.folder.join(&config.service);
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| ServerError::Io { doing, path, source }
        };
        let run = run_folder(&config.folder, &config.service)?;
        let lock = home::lock(&run.join("supervisor.lock"), &clock).await?;
        let lock = lock.ok_or_else(|| ServerError::AlreadyThere { service: config.service.clone() })?;
        let orders = Orders::load(&folder).map_err(failed("reading the orders in", &folder))?;

        // Whoever has the lock is the only one who listens, so what is there is left over.
        let path = run.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("removing", &path)(error)),
            _ => {}
        }
        let (handle, short) = socket(&run).map_err(failed("opening", &run))?;
        let listener = UnixListener::bind(short).map_err(failed("listening at", &path))?;
        drop(handle);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed("protecting", &path))?;

        let supervisor = Supervisor::open(
            SupervisorConfig {
                adopt_orphans: true,
                use_cgroup: config.use_cgroup,
                itself: config.itself.clone(),
                ..SupervisorConfig::new(&config.folder)
            },
            clock.clone(),
        )?;
        let progress = match &orders {
            Some(orders) => Progress::Found { begun: orders.are_begun(&run) },
            None => Progress::Done,
        };
        let shared = Arc::new(Shared {
            since: clock.now(),
            config,
            folder,
            run,
            clock,
            supervisor,
            standing: watch::Sender::new(Standing { orders, trouble: None }),
            progress: Arc::new(tokio::sync::Mutex::new(progress)),
            unsettled: Notify::new(),
            done: watch::Sender::new(false),
        });
        // Stopping what is left over may take its time, in which clients are served. None of them comes first.
        let mut turn = Arc::clone(&shared.progress).lock_owned().await;
        let this = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Err(error) = this.carry_out(&mut turn).await {
                tracing::error!("the orders of the supervisor before cannot be carried out: {}", in_full(&error));
            }
        });
        Ok(Self { listener, places: Arc::new(Semaphore::new(MOST_CLIENTS)), shared, _lock: lock })
    }

    /// Serves until the service was stopped by an order, or until `shutdown`; then it stops the service, which is to
    /// run again at the next start.
    ///
    /// # Errors
    /// Something could not be stopped.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let this = Arc::clone(&self.shared);
        let settling = tokio::spawn(async move { this.settle().await });
        let mut shutdown = pin!(shutdown);
        let mut done = self.shared.done.subscribe();
        let _turn = loop {
            let was_told = tokio::select! {
                () = self.accept() => false,
                () = &mut shutdown => true,
                // Its own sender is in `shared`, so it does not end before it is done.
                _ = done.wait_for(|done| *done) => false,
            };
            // What is being carried out is not cut off, and nothing else is begun with.
            let turn = self.shared.progress.lock().await;
            let wanted = self.shared.standing.borrow().orders.as_ref().map(|orders| orders.wanted);
            if was_told || wanted != Some(Wanted::Up) {
                break turn;
            }
            // Other orders came before the end.
            self.shared.done.send_replace(false);
        };
        settling.abort();
        Ok(self.shared.supervisor.clone().shutdown().await?)
    }

    async fn accept(&self) {
        loop {
            // It is never closed.
            let place = Arc::clone(&self.places).acquire_owned().await;
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let shared = Arc::clone(&self.shared);
                    // A task of its own: what a client has asked for is done even if the client is gone by then.
                    tokio::spawn(async move {
                        if let Err(error) = shared.serve(stream).await {
                            tracing::debug!(%error, "a client has gone");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a client cannot be let in");
                    self.shared.clock.sleep(NO_CLIENT_FOR).await;
                }
            }
        }
    }
}

impl Shared {
    async fn apply(&self, orders: Orders) -> Result<(), SupervisorError> {
        orders.service.check()?;
        let mut turn = self.progress.lock().await;
        if self.standing.borrow().orders.as_ref() != Some(&orders) {
            // If this process ends in the middle, the next one knows that it was in the middle.
            orders.begin(&self.run).map_err(at("writing down what is begun in", &self.run))?;
            orders.save(&self.folder).map_err(at("writing the orders in", &self.folder))?;
            *turn = Progress::Given;
            self.standing.send_replace(Standing { orders: Some(orders), trouble: None });
        }
        self.carry_out(&mut turn).await
    }

    /// Carries out the orders, unless that is done.
    async fn carry_out(&self, turn: &mut Progress) -> Result<(), SupervisorError> {
        let orders = self.standing.borrow().orders.clone();
        let Some(Orders { wanted, service: definition, joins, spares, stays, .. }) =
            orders.filter(|_| *turn != Progress::Done)
        else {
            return Ok(());
        };
        let (supervisor, service) = (&self.supervisor, &self.config.service);
        let is_there = supervisor.service_status(service).is_ok();
        let result = match (wanted, is_there, *turn) {
            (Wanted::Up, true, _) if let Some(stays) = stays => {
                supervisor.redefine_service(service, definition, stays == Stays::Reloaded).await
            }
            (Wanted::Up, true, _) if joins => self.join(definition, spares).await,
            (Wanted::Up, true, _) => supervisor.replace_service(service, definition).await,
            // Whether what runs was told of it before the supervisor died is not known: once more does no harm.
            (Wanted::Up, false, Progress::Found { begun: true }) if let Some(stays) = stays => {
                let resumed = supervisor.resume_service(service, definition.clone()).await;
                let told = supervisor.redefine_service(service, definition, stays == Stays::Reloaded).await;
                resumed.and(told)
            }
            // What joins others leaves nothing half done that could not be gone on with.
            (Wanted::Up, false, Progress::Found { begun }) if joins || !begun => {
                supervisor.resume_service(service, definition).await
            }
            (Wanted::Up, false, Progress::Found { .. }) => {
                match supervisor.end_service(service, definition.clone()).await {
                    Ok(()) => supervisor.replace_service(service, definition).await,
                    failed => failed,
                }
            }
            (Wanted::Up, false, _) => supervisor.start_service(service, definition).await,
            (Wanted::Down, true, _) => supervisor.stop_service(service).await,
            (Wanted::Down, false, _) => supervisor.end_service(service, definition).await,
        };
        let trouble = match &result {
            // What cannot be started is in the status, and its restart policy goes on.
            Ok(()) | Err(SupervisorError::NotStarted { .. }) => None,
            Err(error) => Some(in_full(error)),
        };
        self.standing.send_if_modified(|standing| {
            let changed = standing.trouble != trouble;
            standing.trouble.clone_from(&trouble);
            changed
        });
        if trouble.is_some() {
            self.unsettled.notify_one();
            return result;
        }
        *turn = Progress::Done;
        // Processes that are gone are no events.
        self.standing.send_modify(|_| {});
        if let Err(error) = Orders::finish(&self.run) {
            tracing::warn!(%error, "it cannot be written down that the orders are carried out");
        }
        Ok(())
    }

    /// Lets what is not there yet join what runs, and ends what is to run no more. If a socket that is to be passed on
    /// was lost with the supervisor before, and could not be taken back, all of it is started anew instead, unless the
    /// orders spare what runs.
    async fn join(&self, definition: ServiceDef, spares: bool) -> Result<(), SupervisorError> {
        let (supervisor, service) = (&self.supervisor, &self.config.service);
        match supervisor.join_service(service, definition.clone()).await {
            Err(error @ SupervisorError::SocketLost { .. }) if !spares => {
                tracing::warn!("what runs has to end first: {}", in_full(&error));
                supervisor.replace_service(service, definition).await
            }
            result => result,
        }
    }

    /// Carries out again what could not be, until it can.
    async fn settle(&self) {
        let mut pause = TRY_AGAIN.0;
        loop {
            self.unsettled.notified().await;
            self.clock.sleep(pause).await;
            let mut turn = self.progress.lock().await;
            pause = match self.carry_out(&mut turn).await {
                Ok(()) => TRY_AGAIN.0,
                Err(_) => (pause * 2).min(TRY_AGAIN.1),
            };
        }
    }

    /// Stops the service, for good until it is ordered to run again.
    async fn stop(&self) -> Result<(), SupervisorError> {
        let orders = self.standing.borrow().orders.clone();
        match orders {
            Some(orders) => self.apply(Orders { wanted: Wanted::Down, ..orders }).await,
            None => Ok(()),
        }
    }

    fn report(&self) -> Report {
        let standing = self.standing.borrow();
        Report {
            pid: std::process::id(),
            since: self.since,
            orders: standing.orders.as_ref().map(|orders| orders.id.clone()),
            wanted: standing.orders.as_ref().map(|orders| orders.wanted),
            trouble: standing.trouble.clone(),
            service: self.supervisor.service_status(&self.config.service).ok(),
        }
    }

    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let hello = Hello {
            oldest: OLDEST,
            newest: self.config.newest.min(NEWEST),
            pid: std::process::id(),
            program: self.config.program.clone(),
        };
        write_line(&mut write, &hello).await?;
        loop {
            let request = match read_line::<Request>(&mut read).await {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) => {
                    let message = format!("this is no request: {error}");
                    return write_line(&mut write, &refusal("unknown_request", message)).await;
                }
                Err(error) => return Err(error),
            };
            if request.ask.since() > self.config.newest || request.v > self.config.newest || request.v < OLDEST {
                let message = format!("version {} of the protocol has no such request here", request.v);
                write_line(&mut write, &refusal("unknown_request", message)).await?;
                continue;
            }
            match request.ask {
                Ask::Watch => return self.watch(&mut read, &mut write).await,
                Ask::Follow { process } => return self.follow(&process, &mut read, &mut write).await,
                Ask::Output { process } => match self.supervisor.get_output(&self.config.service, &process) {
                    Ok(output) => write_bytes(&mut write, &output.snapshot().bytes).await?,
                    Err(error) => write_line(&mut write, &refused(&error)).await?,
                },
                ask => {
                    let ends = matches!(ask, Ask::Stop);
                    let answer = self.obey(ask).await;
                    let told = write_line(&mut write, &answer).await;
                    if ends && answer == Answer::Ok(None) {
                        // Also if whoever asked did not wait for the answer.
                        self.done.send_replace(true);
                    }
                    told?;
                }
            }
        }
    }

    async fn obey(&self, ask: Ask) -> Answer {
        let (supervisor, service) = (&self.supervisor, &self.config.service);
        let result = match ask {
            Ask::Status => return Answer::Ok(Some(Box::new(self.report()))),
            Ask::Apply { orders } => self.apply(*orders).await,
            Ask::Stop => self.stop().await,
            Ask::Start { process } => supervisor.start_process(service, &process).await,
            Ask::Halt { process } => supervisor.stop_process(service, &process).await,
            Ask::Restart { process } => supervisor.restart_process(service, &process).await,
            Ask::Kill { process } => supervisor.kill_process(service, &process).await,
            Ask::Reload { process } => supervisor.reload_process(service, &process).await,
            Ask::RestartAll => supervisor.restart_service(service).await,
            // These are answered by more than one line.
            Ask::Output { .. } | Ask::Watch | Ask::Follow { .. } => Ok(()),
        };
        result.map_or_else(|error| refused(&error), |()| Answer::Ok(None))
    }

    async fn watch(&self, read: &mut BufReader<OwnedReadHalf>, write: &mut OwnedWriteHalf) -> io::Result<()> {
        let mut events = self.supervisor.events();
        let mut standing = self.standing.subscribe();
        let mut said = None;
        loop {
            let report = self.report();
            if said.as_ref() != Some(&report) {
                write_line(write, &Answer::Ok(Some(Box::new(report.clone())))).await?;
                said = Some(report);
            }
            tokio::select! {
                // Whatever came, or was missed: the report tells the rest.
                _ = events.recv() => {}
                _ = standing.changed() => {}
                _ = read.fill_buf() => return Ok(()),
            }
        }
    }

    async fn follow(
        &self,
        process: &str,
        read: &mut BufReader<OwnedReadHalf>,
        write: &mut OwnedWriteHalf,
    ) -> io::Result<()> {
        let mut follow = match self.supervisor.get_output(&self.config.service, process) {
            Ok(output) => output.follow(),
            Err(error) => return write_line(write, &refused(&error)).await,
        };
        loop {
            let piece = tokio::select! {
                piece = follow.next() => piece,
                _ = read.fill_buf() => return Ok(()),
            };
            match piece {
                Some(Piece::Bytes(bytes)) => write_bytes(write, &bytes).await?,
                Some(Piece::Lost(bytes)) => write_line(write, &Answer::Lost(bytes)).await?,
                None => return Ok(()),
            }
        }
    }
}

async fn write_bytes(write: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    write_line(write, &Answer::Bytes(bytes.len() as u64)).await?;
    tokio::io::AsyncWriteExt::write_all(write, bytes).await
}

fn refusal(code: &str, message: String) -> Answer {
    Answer::Error(Refusal { code: code.to_owned(), message })
}

fn refused(error: &SupervisorError) -> Answer {
    let code = match error {
        SupervisorError::Invalid(_) => "invalid",
        SupervisorError::NoService(_) => "no_service",
        SupervisorError::NoProcess { .. } => "no_process",
        SupervisorError::Exists(_) => "exists",
        SupervisorError::InUse { .. } => "in_use",
        SupervisorError::NotStarted { .. } => "not_started",
        SupervisorError::Overruled { .. } => "overruled",
        SupervisorError::Unkillable { .. } => "unkillable",
        SupervisorError::NotRunning { .. } => "not_running",
        SupervisorError::NoReloadSignal { .. } => "no_reload_signal",
        SupervisorError::Ended => "ended",
        SupervisorError::Socket { .. } => "socket",
        SupervisorError::SocketLost { .. } => SOCKET_LOST,
        SupervisorError::Ownership(_) | SupervisorError::Disk { .. } => "io",
    };
    refusal(code, in_full(error))
}
