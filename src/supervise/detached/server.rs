//! The process that takes care of one service and of nothing else.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

use super::orders::{Orders, Wanted};
use super::protocol::{
    Answer, Ask, Hello, NEWEST, OLDEST, Refusal, Report, Request, SOCKET, read_line, socket, write_line,
};
use crate::clock::SharedClock;
use crate::supervise::home::{self, at};
use crate::supervise::{Piece, Supervisor, SupervisorConfig, SupervisorError};

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
    shared: Arc<Shared>,
    _lock: File,
}

#[derive(Debug)]
struct Shared {
    config: ServerConfig,
    /// The service's folder.
    folder: PathBuf,
    since: DateTime<Utc>,
    clock: SharedClock,
    supervisor: Supervisor,
    orders: watch::Sender<Option<Orders>>,
    /// Orders are carried out one after the other.
    carrying_out: tokio::sync::Mutex<()>,
    /// Set once nothing is left to do.
    done: watch::Sender<bool>,
}

impl Server {
    /// Takes over what runs of the service, listens, and starts what is to run. Every orphan below this process becomes
    /// its own, and it collects every child that ends.
    ///
    /// # Errors
    /// [`ServerError::AlreadyThere`], or something on the machine does not let it.
    pub async fn open(config: ServerConfig, clock: SharedClock) -> Result<Self, ServerError> {
        let folder = config.folder.join(&config.service);
        let run = folder.join("run");
        let failed = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| ServerError::Io { doing, path, source }
        };
        home::make(&run)?;
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
                ..SupervisorConfig::new(&config.folder)
            },
            clock.clone(),
        )?;
        let shared = Arc::new(Shared {
            since: clock.now(),
            config,
            folder,
            clock,
            supervisor,
            orders: watch::Sender::new(orders.clone()),
            carrying_out: tokio::sync::Mutex::default(),
            done: watch::Sender::new(false),
        });
        if let Some(orders) = orders {
            shared.take_up(orders).await?;
        }
        Ok(Self { listener, shared, _lock: lock })
    }

    /// Serves until the service was stopped by an order, or until `shutdown`; then it stops the service, which is to
    /// run again at the next start.
    ///
    /// # Errors
    /// Something could not be stopped.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let mut done = self.shared.done.subscribe();
        let serve = async {
            loop {
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        let shared = Arc::clone(&self.shared);
                        tokio::spawn(async move {
                            if let Err(error) = shared.serve(stream).await {
                                tracing::debug!(%error, "a client has gone");
                            }
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a client cannot be let in");
                        self.shared.clock.sleep(std::time::Duration::from_millis(100)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = serve => {}
            () = shutdown => {}
            // Its own sender is in `shared`, so it does not end before it is done.
            _ = done.wait_for(|done| *done) => {}
        }
        Ok(self.shared.supervisor.clone().shutdown().await?)
    }
}

impl Shared {
    /// Goes on with the orders that the supervisor before had.
    async fn take_up(&self, orders: Orders) -> Result<(), SupervisorError> {
        let service = &self.config.service;
        let taken = match orders.wanted {
            Wanted::Up => self.supervisor.resume_service(service, orders.service).await,
            Wanted::Down => self.supervisor.end_service(service, orders.service).await,
        };
        not_started_is_reported(taken)
    }

    async fn apply(&self, orders: Orders) -> Result<(), SupervisorError> {
        orders.service.check()?;
        let _turn = self.carrying_out.lock().await;
        if self.orders.borrow().as_ref() == Some(&orders) {
            return Ok(());
        }
        orders.save(&self.folder).map_err(at("writing the orders in", &self.folder))?;
        let before = self.orders.send_replace(Some(orders.clone()));
        let service = &self.config.service;
        let carried_out = match (orders.wanted, before) {
            (Wanted::Up, Some(_)) => self.supervisor.replace_service(service, orders.service).await,
            (Wanted::Up, None) => self.supervisor.start_service(service, orders.service).await,
            (Wanted::Down, Some(_)) => self.supervisor.stop_service(service).await,
            (Wanted::Down, None) => self.supervisor.end_service(service, orders.service).await,
        };
        not_started_is_reported(carried_out)
    }

    /// Stops the service, for good until it is ordered to run again.
    async fn stop(&self) -> Result<(), SupervisorError> {
        let orders = self.orders.borrow().clone();
        if let Some(orders) = orders {
            self.apply(Orders { wanted: Wanted::Down, ..orders }).await?;
        }
        Ok(())
    }

    fn report(&self) -> Report {
        let orders = self.orders.borrow();
        Report {
            pid: std::process::id(),
            since: self.since,
            orders: orders.as_ref().map(|orders| orders.id.clone()),
            wanted: orders.as_ref().map(|orders| orders.wanted),
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
                    write_line(&mut write, &answer).await?;
                    if ends && answer == Answer::Ok(None) {
                        self.done.send_replace(true);
                    }
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
            // These are answered by more than one line.
            Ask::Output { .. } | Ask::Watch | Ask::Follow { .. } => Ok(()),
        };
        result.map_or_else(|error| refused(&error), |()| Answer::Ok(None))
    }

    async fn watch(&self, read: &mut BufReader<OwnedReadHalf>, write: &mut OwnedWriteHalf) -> io::Result<()> {
        let mut events = self.supervisor.events();
        let mut orders = self.orders.subscribe();
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
                _ = orders.changed() => {}
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

/// What cannot be started is in the status, and its restart policy goes on.
fn not_started_is_reported(result: Result<(), SupervisorError>) -> Result<(), SupervisorError> {
    match result {
        Err(SupervisorError::NotStarted { .. }) => Ok(()),
        result => result,
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
        SupervisorError::Ended => "ended",
        SupervisorError::Disk { .. } => "io",
    };
    refusal(code, crate::supervise::in_full(error))
}
