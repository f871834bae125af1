//! A cell's units, watched: what is known of them is kept, so that it can be told at once.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use rustix::fs::{AtFlags, CWD, statat};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::bus::{Bus, BusError, Properties, Signals};
use super::look::{Begun, Exit, File, Look, Unit};
use super::owned::{self, InPlace};
use super::render::Names;
use crate::clock::SharedClock;
use crate::model::CellName;

/// How often the unit file is looked at, of which systemd does not tell.
const FILE_EVERY: Duration = Duration::from_secs(2);

/// How often systemd is asked without having told of anything.
const ASK_EVERY: Duration = Duration::from_secs(30);

/// How long to wait before systemd is looked for again that could not be asked.
const TRY_AGAIN: Duration = Duration::from_secs(2);

/// What remembers which bringing up has begun, in the folder of a cell.
const BEGUN: &str = "begun.json";

/// What is known of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing yet.
    Nothing,
    Look(Box<Look>),
    /// Nobody could say.
    Trouble(String),
}

/// Where what belongs to a cell is on the host.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) cell: CellName,
    pub(super) names: Names,
    /// The cell's own folder.
    pub(super) folder: PathBuf,
    pub(super) service: PathBuf,
    pub(super) timer: PathBuf,
}

impl Site {
    pub(super) fn new(cell: &CellName, folder: &Path, service_folder: &Path) -> Self {
        let names = Names::of(cell);
        Self {
            cell: cell.clone(),
            folder: folder.join(cell.as_str()),
            service: service_folder.join(&names.service),
            timer: service_folder.join(&names.timer),
            names,
        }
    }

    pub(super) fn look(&self, path: &Path) -> std::io::Result<InPlace> {
        owned::look(path, &self.cell, &self.folder)
    }

    /// Which bringing up has begun; none if that cannot be read, and then it begins once more.
    pub(super) fn begun(&self) -> Option<Begun> {
        serde_json::from_slice(&std::fs::read(self.folder.join(BEGUN)).ok()?).ok()
    }

    pub(super) fn begin(&self, begun: &Begun) -> std::io::Result<()> {
        owned::write(&self.folder.join(BEGUN), &serde_json::to_vec(begun)?, 0o600)
    }

    pub(super) fn forget(&self) -> std::io::Result<()> {
        owned::remove(&self.folder.join(BEGUN))
    }

    /// Changes whenever the files do.
    fn fingerprint(&self) -> Vec<Option<(u64, u64, i64, u64)>> {
        let of = |path: &Path| {
            let stat = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            Some((stat.st_ino, stat.st_size.cast_unsigned(), stat.st_mtime, stat.st_mtime_nsec))
        };
        vec![of(&self.service), of(&self.timer)]
    }
}

/// A cell whose units are watched from [`Cell::begin`] on until this is dropped.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) site: Site,
    watched: Arc<Watched>,
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
    pub(super) fn new(site: Site, bus: &Arc<Bus>, clock: &SharedClock) -> Self {
        let (seen, looked) = watch::channel(Seen::Nothing);
        let watched = Watched {
            site: site.clone(),
            bus: Arc::clone(bus),
            clock: clock.clone(),
            seen,
            asking: tokio::sync::Mutex::default(),
            last_exit: Mutex::default(),
        };
        Self { site, watched: Arc::new(watched), looked: Mutex::new(looked), task: Mutex::default() }
    }

    /// Begins to watch, if nobody does yet.
    pub(super) fn begin(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.get_or_insert_with(|| tokio::spawn(Arc::clone(&self.watched).watch()));
    }

    /// What is known now; changes before this are not told any more.
    pub(super) fn known(&self) -> Seen {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).borrow_and_update().clone()
    }

    /// Completes once something else may be known than was last.
    pub(super) async fn changed(&self) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The sender is in `watched`.
        let _ = looked.changed().await;
    }

    /// Asks systemd and the disk, and keeps what they say.
    pub(super) async fn look(&self) -> Result<Look, BusError> {
        self.watched.look().await
    }
}

#[derive(Debug)]
struct Watched {
    site: Site,
    bus: Arc<Bus>,
    clock: SharedClock,
    seen: watch::Sender<Seen>,
    /// Held while systemd is asked: otherwise an answer that came late would take the place of a newer one.
    asking: tokio::sync::Mutex<()>,
    /// How the main process ended last.
    last_exit: Mutex<Option<Exit>>,
}

impl Watched {
    async fn watch(self: Arc<Self>) {
        loop {
            let Names { service, timer } = &self.site.names;
            match self.bus.signals(&[service, timer]).await {
                Ok(signals) => self.follow(signals).await,
                Err(error) => self.see(Seen::Trouble(error.to_string())),
            }
            self.clock.sleep(TRY_AGAIN).await;
        }
    }

    /// Looks whenever there is reason to, until systemd cannot be asked.
    async fn follow(&self, mut signals: Signals) {
        let mut asked_at = self.clock.monotonic();
        let mut files = self.site.fingerprint();
        if self.look().await.is_err() {
            return;
        }
        loop {
            tokio::select! {
                signal = signals.next() => {
                    let Some(changes) = signal else { return };
                    self.remember(changes);
                    // They come in bursts.
                    while let Some(Some(changes)) = signals.next().now_or_never() {
                        self.remember(changes);
                    }
                }
                () = self.clock.sleep(FILE_EVERY) => {
                    let now = self.clock.monotonic();
                    let found = self.site.fingerprint();
                    if found == files && now.saturating_sub(asked_at) < ASK_EVERY {
                        continue;
                    }
                    files = found;
                    asked_at = now;
                }
            }
            if self.look().await.is_err() {
                return;
            }
        }
    }

    /// How a process ended systemd forgets once it has started the next.
    fn remember(&self, mut changes: Properties) {
        if let Some(exit) = Exit::of(&mut changes) {
            *self.last_exit.lock().unwrap_or_else(PoisonError::into_inner) = Some(exit);
        }
    }

    async fn look(&self) -> Result<Look, BusError> {
        let _turn = self.asking.lock().await;
        let looked = self.ask().await;
        match &looked {
            Ok(look) => self.see(Seen::Look(Box::new(look.clone()))),
            Err(error) => self.see(Seen::Trouble(error.to_string())),
        }
        looked
    }

    async fn ask(&self) -> Result<Look, BusError> {
        let site = &self.site;
        // What is on disk first: it is written before systemd is told.
        let begun = site.begun();
        let file = match site.look(&site.service) {
            Ok(InPlace::Nothing) => File::Missing,
            Ok(InPlace::Foreign(what)) => File::Foreign(what),
            Ok(InPlace::Ours(ours)) if ours.is_edited => File::Edited(ours.marker.activation, site.service.clone()),
            Ok(InPlace::Ours(ours)) => File::Whole(ours.marker.activation),
            Err(error) => File::Foreign(format!("{} cannot be read: {error}", site.service.display())),
        };
        let is_scheduled = begun.as_ref().is_some_and(|begun| begun.is_scheduled);
        let has_timer = is_scheduled || matches!(site.look(&site.timer), Ok(InPlace::Ours(_)));
        let mut service = Unit::of(self.bus.unit(&site.names.service).await?);
        {
            let mut last_exit = self.last_exit.lock().unwrap_or_else(PoisonError::into_inner);
            if service.restarts > 0 {
                service.exit = service.exit.or(*last_exit);
            }
            *last_exit = service.exit.or(*last_exit);
        }
        let timer = if has_timer { Some(Unit::of(self.bus.unit(&site.names.timer).await?)) } else { None };
        Ok(Look { service, timer, file, begun })
    }

    fn see(&self, seen: Seen) {
        if let Seen::Trouble(why) = &seen
            && *self.seen.borrow() != seen
        {
            tracing::warn!(cell = %self.site.cell, "its units cannot be looked at: {why}");
        }
        self.seen.send_if_modified(|known| {
            let changed = *known != seen;
            *known = seen;
            changed
        });
    }
}
