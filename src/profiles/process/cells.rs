//! A cell's supervisor, watched: found, started again when it is gone, and its latest report kept.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::launch::Launcher;
use crate::clock::SharedClock;
use crate::model::CellName;
use crate::profiles::look::Seen;
use crate::store::in_full;
use crate::supervise::detached::{Client, DetachedError, Orders, Wanted};

/// How long a supervisor that was started may take until it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);

/// How often it is tried meanwhile.
const TRY_AGAIN: Duration = Duration::from_millis(10);

/// How long to wait before a supervisor is started again that does not stay: from the first to the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// A supervisor that stayed so long is none of those.
const STAYED: Duration = Duration::from_secs(10);

/// A cell whose supervisor is watched from [`Cell::begin`] on until this is dropped.
#[derive(Debug)]
pub(super) struct Cell {
    supervisor: Arc<Supervisor>,
    /// What was looked at last, so that every change since is told.
    looked: Mutex<watch::Receiver<Seen>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Cell {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl Cell {
    pub(super) fn new(name: &CellName, launcher: &Arc<Launcher>, clock: &SharedClock) -> Self {
        let (seen, looked) = watch::channel(Seen::Nothing);
        let supervisor = Supervisor {
            cell: name.clone(),
            launcher: Arc::clone(launcher),
            clock: clock.clone(),
            seen,
            launching: tokio::sync::Mutex::default(),
            ordered: tokio::sync::Notify::new(),
        };
        Self { supervisor: Arc::new(supervisor), looked: Mutex::new(looked), task: Mutex::default() }
    }

    /// Begins to watch, if nobody does yet.
    pub(super) fn begin(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.get_or_insert_with(|| tokio::spawn(Arc::clone(&self.supervisor).watch()));
    }

    /// What is known now; changes before this are not told any more.
    pub(super) fn look(&self) -> Seen {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).borrow_and_update().clone()
    }

    /// Completes once something else may be known than was looked at last.
    pub(super) async fn changed(&self) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The sender is in `supervisor`.
        let _ = looked.changed().await;
    }

    /// Completes once anything is known at all.
    pub(super) async fn known(&self) {
        let _ = self.supervisor.seen.subscribe().wait_for(|seen| *seen != Seen::Nothing).await;
    }

    /// Completes once the watcher knows that the cell's supervisor has `orders`, which it was given elsewhere. What it
    /// knew before says nothing of them.
    pub(super) async fn known_to_have(&self, orders: &str) {
        self.supervisor.ordered.notify_one();
        let has = |seen: &Seen| matches!(seen, Seen::Report(report) if report.orders.as_deref() == Some(orders));
        let _ = self.supervisor.seen.subscribe().wait_for(has).await;
    }

    /// The orders that the cell's supervisor has, or will find.
    pub(super) fn orders(&self) -> std::io::Result<Option<Orders>> {
        self.supervisor.orders()
    }

    /// Speaks to the cell's supervisor, if it is there.
    pub(super) async fn find(&self) -> Result<Client, DetachedError> {
        self.supervisor.find().await
    }

    /// Speaks to the cell's supervisor, which is started if it is not there.
    pub(super) async fn connect(&self) -> Result<Client, String> {
        self.supervisor.connect(Wanted::Up).await
    }

    /// The same to end what runs of the cell: a supervisor that is started for that starts nothing.
    pub(super) async fn connect_to_end(&self) -> Result<Client, String> {
        self.supervisor.connect(Wanted::Down).await
    }
}

/// The supervisor of a cell, as the agent sees it.
#[derive(Debug)]
struct Supervisor {
    cell: CellName,
    launcher: Arc<Launcher>,
    clock: SharedClock,
    seen: watch::Sender<Seen>,
    /// One is started at a time.
    launching: tokio::sync::Mutex<()>,
    /// Told when one was given orders that the watcher may know nothing of.
    ordered: tokio::sync::Notify,
}

impl Supervisor {
    async fn watch(self: Arc<Self>) {
        let mut pause = Duration::ZERO;
        loop {
            let began = self.clock.monotonic();
            self.watch_once().await;
            pause = match self.clock.monotonic().saturating_sub(began) > STAYED {
                true => Duration::ZERO,
                false => (pause * 2).clamp(PAUSES.0, PAUSES.1),
            };
            if *self.seen.borrow() == Seen::Absent {
                self.ordered.notified().await;
                pause = Duration::ZERO;
            }
            self.clock.sleep(pause).await;
        }
    }

    /// Watches a supervisor until it is gone, starting it if it should be there.
    async fn watch_once(&self) {
        let client = match self.find().await {
            Ok(client) => client,
            Err(DetachedError::NotThere { .. }) => {
                match self.orders() {
                    Ok(Some(Orders { wanted: Wanted::Up, .. })) => {}
                    Ok(_) => return self.see(Seen::Absent),
                    Err(error) => return self.see(Seen::Trouble(format!("its orders cannot be read: {error}"))),
                }
                match self.connect(Wanted::Up).await {
                    Ok(client) => client,
                    Err(why) => return self.see(Seen::Trouble(why)),
                }
            }
            Err(error) => return self.see(Seen::Trouble(in_full(&error))),
        };
        let mut watch = match client.watch(self.clock.clone()).await {
            Ok(watch) => watch,
            Err(error) => return self.see(Seen::Trouble(in_full(&error))),
        };
        loop {
            match watch.next().await {
                Ok(report) => self.see(Seen::Report(Box::new(report))),
                Err(error) => {
                    tracing::debug!(cell = %self.cell, "its supervisor has gone: {}", in_full(&error));
                    return;
                }
            }
        }
    }

    fn see(&self, seen: Seen) {
        if let Seen::Trouble(why) = &seen
            && *self.seen.borrow() != seen
        {
            tracing::warn!(cell = %self.cell, "its supervisor cannot be spoken to: {why}");
        }
        self.seen.send_if_modified(|known| {
            let changed = *known != seen;
            *known = seen;
            changed
        });
    }

    fn orders(&self) -> std::io::Result<Option<Orders>> {
        Orders::load(&self.launcher.settings.folder.join(self.cell.as_str()))
    }

    async fn find(&self) -> Result<Client, DetachedError> {
        Client::connect(&self.launcher.settings.folder, self.cell.as_str()).await
    }

    /// One that has to be started finds its orders as they are, or that nothing is to run.
    async fn connect(&self, wanted: Wanted) -> Result<Client, String> {
        let _turn = self.launching.lock().await;
        match self.find().await {
            Err(DetachedError::NotThere { .. }) => {}
            result => return result.map_err(|error| in_full(&error)),
        }
        if wanted == Wanted::Down {
            let stands_down = Orders::stand_down(&self.launcher.folder(&self.cell));
            stands_down.map_err(|error| format!("its orders cannot be changed: {error}"))?;
        }
        let started = self.launcher.launch(&self.cell).await;
        let started = started.map_err(|error| format!("its supervisor cannot be started: {error}"))?;
        let mut failed = pin!(started.failed(&self.clock));
        let give_up_at = self.clock.monotonic() + LISTENS_WITHIN;
        loop {
            match self.find().await {
                Err(DetachedError::NotThere { .. }) if self.clock.monotonic() < give_up_at => {
                    tokio::select! {
                        () = self.clock.sleep(TRY_AGAIN) => {}
                        why = &mut failed => return Err(format!("its supervisor cannot run: {why}")),
                    }
                }
                Err(DetachedError::NotThere { .. }) => {
                    let log = self.launcher.log(&self.cell);
                    return Err(format!("its supervisor was started and does not answer; it may say why in {log}"));
                }
                result => return result.map_err(|error| in_full(&error)),
            }
        }
    }
}
