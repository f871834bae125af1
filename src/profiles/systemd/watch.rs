//! A cell's units, watched: what is known of them is kept, so that it can be told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use rustix::fs::{AtFlags, CWD, statat};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::bus::{ANSWERS_WITHIN, Bus, BusError, Properties, Signals};
use super::look::{Begun, Exit, File, Look, Unit};
use super::owned::{self, InPlace};
use crate::clock::SharedClock;
use crate::model::CellName;
use crate::render::instance::Instance;
use crate::render::unit::{Names, socket_prefix};

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
    /// Where the units are.
    units: PathBuf,
}

impl Site {
    pub(super) fn new(cell: &CellName, folder: &Path, service_folder: &Path) -> Self {
        let names = Names::of(cell);
        Self { cell: cell.clone(), folder: folder.join(cell.as_str()), units: service_folder.to_owned(), names }
    }

    /// Where a unit is.
    pub(super) fn unit(&self, name: &str) -> PathBuf {
        self.units.join(name)
    }

    pub(super) fn service(&self, instance: Instance) -> PathBuf {
        self.unit(self.names.service(instance))
    }

    pub(super) fn timer(&self) -> PathBuf {
        self.unit(&self.names.timer)
    }

    /// Where the units of a socket are: what listens, and what that starts.
    pub(super) fn socket(&self, stem: &str) -> [PathBuf; 2] {
        ["socket", "service"].map(|end| self.unit(&format!("{stem}.{end}")))
    }

    /// The sockets that the host has units of ours for, or what a crash has left of such units.
    pub(super) fn sockets(&self) -> std::io::Result<BTreeSet<String>> {
        let prefix = socket_prefix(&self.cell);
        let mut found = BTreeSet::new();
        let entries = match std::fs::read_dir(&self.units) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name().into_string().unwrap_or_default();
            let (name, is_whole) = owned::finished(&name).map_or((name.as_str(), true), |name| (name, false));
            let stem = name.strip_suffix(".socket").or_else(|| name.strip_suffix(".service"));
            // The service of the second of two has one dot less.
            let is_sockets = |stem: &&str| stem.strip_prefix(&prefix).is_some_and(|rest| rest.contains('.'));
            let Some(stem) = stem.filter(is_sockets) else { continue };
            if !is_whole || matches!(self.look(&self.unit(name))?, InPlace::Ours(_)) {
                found.insert(stem.to_owned());
            }
        }
        Ok(found)
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
        let services = Instance::BOTH.map(|instance| self.service(instance));
        services.iter().chain([&self.timer()]).map(|path| of(path)).collect()
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
            last_exits: Mutex::default(),
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
    /// How the main processes ended last.
    last_exits: Mutex<BTreeMap<String, Exit>>,
}

impl Watched {
    async fn watch(self: Arc<Self>) {
        loop {
            let names = &self.site.names;
            let units = [names.service(Instance::A), names.service(Instance::B), &names.timer];
            match self.bus.signals(&units).await {
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
                    let Some((unit, changes)) = signal else { return };
                    self.remember(unit, changes);
                    // They come in bursts.
                    while let Some(Some((unit, changes))) = signals.next().now_or_never() {
                        self.remember(unit, changes);
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
    fn remember(&self, unit: String, mut changes: Properties) {
        if let Some(exit) = Exit::of(&mut changes) {
            self.last_exits.lock().unwrap_or_else(PoisonError::into_inner).insert(unit, exit);
        }
    }

    async fn look(&self) -> Result<Look, BusError> {
        let asked = async {
            let _turn = self.asking.lock().await;
            self.ask().await
        };
        // Who waits for another's question waits no longer than for an answer; that to one's own is missed first.
        let looked = tokio::select! {
            looked = asked => looked,
            () = self.clock.sleep(ANSWERS_WITHIN + Duration::from_secs(1)) => Err(BusError::Silent { method: "GetAll" }),
        };
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
        let instance = begun.as_ref().map_or(Instance::A, Begun::instance);
        let path = site.service(instance);
        let file = match site.look(&path) {
            Ok(InPlace::Nothing) => File::Missing,
            Ok(InPlace::Foreign(what)) => File::Foreign(what),
            Ok(InPlace::Ours(ours)) if ours.is_edited => File::Edited(ours.marker.activation, path),
            Ok(InPlace::Ours(ours)) => File::Whole(ours.marker.activation),
            Err(error) => File::Foreign(format!("{} cannot be read: {error}", path.display())),
        };
        let is_ours = |path: &Path| matches!(site.look(path), Ok(InPlace::Ours(_)));
        let has_timer = begun.as_ref().is_some_and(|begun| begun.is_scheduled) || is_ours(&site.timer());
        // Of a unit that there is not systemd tells that it changes each time that it is asked for.
        let has_other = begun.as_ref().is_some_and(|begun| begun.beside.is_some());
        let has_other = has_other || is_ours(&site.service(instance.other()));
        let service = self.service(instance).await?;
        let other = if has_other { Some(self.service(instance.other()).await?) } else { None };
        let timer = if has_timer { Some(Unit::of(self.bus.unit(&site.names.timer).await?)) } else { None };
        let mut sockets = BTreeMap::new();
        for stem in begun.iter().flat_map(Begun::all_sockets) {
            sockets.insert(stem.clone(), Unit::of(self.bus.unit(&format!("{stem}.socket")).await?));
        }
        Ok(Look { service, other, timer, sockets, file, begun })
    }

    async fn service(&self, instance: Instance) -> Result<Unit, BusError> {
        let name = self.site.names.service(instance);
        let mut service = Unit::of(self.bus.unit(name).await?);
        let mut last_exits = self.last_exits.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last_exits.get(name).copied();
        if service.restarts > 0 {
            service.exit = service.exit.or(last);
        }
        if let Some(exit) = service.exit {
            last_exits.insert(name.to_owned(), exit);
        }
        Ok(service)
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
