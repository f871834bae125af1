//! Looking at supervisord, again and again: it tells of changes only to programs that it runs itself. One question a
//! round does for all cells.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::found::Found;
use super::rpc::{ProcessInfo, RpcError, Supervisord};
use super::{Places, look};
use crate::clock::SharedClock;
use crate::model::CellName;
use crate::profiles::look::Seen;
use crate::render::stanza;
use crate::store::in_full;
use crate::supervise::detached::{Report, Wanted};
use crate::supervise::{ProcessState, ServiceDef, ServiceStatus};

/// How often supervisord is asked while something is on its way, and otherwise.
const BUSY: Duration = Duration::from_millis(500);
const IDLE: Duration = Duration::from_secs(3);

/// All cells that are watched, from [`Watch::begin`] on until this is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    rounds: Arc<Rounds>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Debug)]
struct Rounds {
    places: Places,
    supervisord: Arc<Supervisord>,
    clock: SharedClock,
    cells: Mutex<BTreeMap<CellName, Cell>>,
    /// The specifications that were read last, by cell and activation. They never change.
    services: Mutex<BTreeMap<CellName, (String, Arc<ServiceDef>)>>,
    /// A round ends before the next begins, so that nobody sees what was before.
    turn: tokio::sync::Mutex<()>,
    hurry: Notify,
}

#[derive(Debug, Clone)]
struct Cell {
    known: watch::Sender<Known>,
    /// What was looked at last, so that every change since is told.
    looked: watch::Receiver<Known>,
}

/// What is known of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) seen: Seen,
    /// Whether its file was changed by hand.
    pub(super) is_edited: bool,
}

impl Known {
    const NOTHING: Self = Self { seen: Seen::Nothing, is_edited: false };
}

impl Watch {
    pub(super) fn new(places: Places, supervisord: Arc<Supervisord>, clock: SharedClock) -> Self {
        let rounds = Rounds {
            places,
            supervisord,
            clock,
            cells: Mutex::default(),
            services: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            hurry: Notify::new(),
        };
        Self { rounds: Arc::new(rounds), task: Mutex::default() }
    }

    /// Watches a cell too.
    pub(super) fn begin(&self, cell: &CellName) {
        self.rounds.cell(cell);
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        task.get_or_insert_with(|| tokio::spawn(Arc::clone(&self.rounds).watch()));
    }

    /// What is known of a cell; changes before this are not told any more.
    pub(super) fn look(&self, cell: &CellName) -> Known {
        self.begin(cell);
        let mut cells = self.rounds.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.get_mut(cell).map_or(Known::NOTHING, |cell| cell.looked.borrow_and_update().clone())
    }

    /// What the processes of a cell are, as far as it was looked at.
    pub(super) fn definition(&self, cell: &CellName) -> ServiceDef {
        let services = self.rounds.services.lock().unwrap_or_else(PoisonError::into_inner);
        services.get(cell).map(|(_, service)| ServiceDef::clone(service)).unwrap_or_default()
    }

    /// Completes once something else may be known of a cell than was looked at last.
    pub(super) async fn changed(&self, cell: &CellName) {
        self.begin(cell);
        let mut looked = self.rounds.cell(cell).looked;
        // A cell that is forgotten meanwhile has changed as well.
        let _ = looked.changed().await;
    }

    /// Asks supervisord now instead of when it is due.
    pub(super) fn hurry(&self) {
        self.rounds.hurry.notify_one();
    }

    /// Completes once all is known as it is now.
    pub(super) async fn refresh(&self, cell: &CellName) {
        self.begin(cell);
        self.rounds.round().await;
    }

    pub(super) fn forget(&self, cell: &CellName) {
        self.rounds.cells.lock().unwrap_or_else(PoisonError::into_inner).remove(cell);
        self.rounds.services.lock().unwrap_or_else(PoisonError::into_inner).remove(cell);
    }

    pub(super) fn end(&self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

impl Rounds {
    fn cell(&self, name: &CellName) -> Cell {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            self.hurry.notify_one();
            let (known, looked) = watch::channel(Known::NOTHING);
            Cell { known, looked }
        };
        cells.entry(name.clone()).or_insert_with(new).clone()
    }

    async fn watch(self: Arc<Self>) {
        loop {
            let pause = if self.round().await { BUSY } else { IDLE };
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = self.hurry.notified() => {}
            }
        }
    }

    /// Looks at every cell; whether one of them is on its way from one state to another.
    async fn round(&self) -> bool {
        let _turn = self.turn.lock().await;
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let found: Vec<_> = cells.iter().map(|(name, cell)| (name, cell, self.places.found(name))).collect();
        let is_wanted = |found: &std::io::Result<Found>| !matches!(found, Ok(Found::Nothing));
        let processes = match found.iter().any(|(.., found)| is_wanted(found)) {
            true => self.supervisord.processes().await,
            false => Ok(Vec::new()),
        };
        let mut is_busy = false;
        for (name, cell, found) in found {
            let is_edited = matches!(found, Ok(Found::Ours { is_edited: true, .. }));
            let seen = self.seen(name, found, &processes);
            is_busy |= match &seen {
                Seen::Report(report) => is_on_its_way(report),
                Seen::Trouble(_) => true,
                Seen::Nothing | Seen::Absent => false,
            };
            if let Seen::Trouble(why) = &seen
                && cell.known.borrow().seen != seen
            {
                tracing::warn!(cell = %name, "it cannot be told what it does: {why}");
            }
            let now = Known { seen, is_edited };
            cell.known.send_if_modified(|known| {
                let changed = *known != now;
                *known = now;
                changed
            });
        }
        is_busy
    }

    fn service(&self, cell: &CellName, activation: &str) -> std::io::Result<Option<Arc<ServiceDef>>> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, service)) = services.get(cell).filter(|(known, _)| known == activation) {
            return Ok(Some(Arc::clone(service)));
        }
        let Some(service) = self.places.shim(cell).service(activation)? else { return Ok(None) };
        let service = Arc::new(service);
        services.insert(cell.clone(), (activation.to_owned(), Arc::clone(&service)));
        Ok(Some(service))
    }

    fn seen(
        &self,
        cell: &CellName,
        found: std::io::Result<Found>,
        processes: &Result<Vec<ProcessInfo>, RpcError>,
    ) -> Seen {
        let path = self.places.conf(cell);
        let activation = match found {
            Err(error) => return Seen::Trouble(format!("reading {}: {error}", path.display())),
            Ok(Found::Nothing) if self.places.shim(cell).has_activations() => {
                return Seen::Trouble(format!("{} is gone", path.display()));
            }
            Ok(Found::Nothing) => return Seen::Absent,
            Ok(Found::Foreign(why)) => return Seen::Trouble(format!("{} is not ours: {why}", path.display())),
            Ok(Found::Ours { activation, .. }) => activation,
        };
        let shim = self.places.shim(cell);
        let service = match self.service(cell, &activation) {
            Ok(Some(service)) => service,
            Ok(None) => return Seen::Trouble(format!("what {} names is gone", path.display())),
            Err(error) => return Seen::Trouble(format!("reading what {} names: {error}", path.display())),
        };
        let processes = match processes {
            Ok(processes) => processes,
            Err(error) => return Seen::Trouble(in_full(error)),
        };
        let group = stanza::group(cell);
        let mut statuses = BTreeMap::new();
        for (name, def) in &service.processes {
            let process = if service.processes.len() == 1 { &group } else { name };
            let Some(info) = processes.iter().find(|info| info.group == group && info.name == *process) else {
                return Seen::Trouble(format!(
                    "supervisord knows nothing of {name}, though {} is there",
                    path.display()
                ));
            };
            let started = shim.started(name).filter(|started| started.activation == activation);
            let failure = started.as_ref().and_then(|_| shim.failure(name));
            statuses.insert(name.clone(), look::status(info, def, started.as_ref(), failure));
        }
        Seen::Report(Box::new(Report {
            pid: 0,
            since: chrono::DateTime::default(),
            orders: Some(activation),
            wanted: Some(Wanted::Up),
            trouble: None,
            service: Some(ServiceStatus { name: cell.to_string(), processes: statuses }),
        }))
    }
}

fn is_on_its_way(report: &Report) -> bool {
    let processes = report.service.iter().flat_map(|service| service.processes.values());
    let mut states = processes.map(|process| &process.state);
    states.any(|state| {
        matches!(state, ProcessState::Starting { .. } | ProcessState::Stopping { .. } | ProcessState::Backoff { .. })
    })
}
