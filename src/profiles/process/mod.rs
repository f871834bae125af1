//! The `process` profile: a cell runs under a supervisor of its own, a small program that lies beside the agent's, or
//! else the agent's own in another role.
//!
//! ```text
//! <folder>/<cell>/current                 a link to the current release, switched in one step
//! <folder>/<cell>/releases/<release>/     the releases
//! <folder>/<cell>/orders.json             what its supervisor is to do
//! <folder>/<cell>/limits.json             what the cell may use, where systemd runs the node
//! <folder>/<cell>/run/                    its supervisor's own
//! <folder>/<cell>/logs/                   what its processes say
//! ```
//! The agent may be restarted, upgraded or killed, and the cell goes on, with the same processes. It finds them again
//! at its start, and after a boot it starts them from what is on disk, before it asks the bucket for anything.

mod cells;
mod launch;
mod limits;
mod overlap;
mod program;
mod started;
mod systemd;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::cells::Cell;
use self::launch::Launcher;
use self::limits::CellLimits;
pub use self::program::{Program, SUPERVISE, supervise};
use super::cells_in;
use super::definition::{check_secrets, stops_within};
use crate::agent::{Gate, Log, Mark, Observed, Over, Placement, Profile, ProfileError, Start, Work};
use crate::clock::SharedClock;
use crate::model::run_spec;
use crate::model::strategy::Strategy;
use crate::model::{CellName, Code};
use crate::render::CURRENT;
use crate::render::service::service;
use crate::store::in_full;
use crate::supervise::detached::{DetachedError, Orders, Report, SOCKET_LOST, Stays, Wanted};
use crate::supervise::{Kind, ProcessState, ServiceDef};

const RELEASES: &str = "releases";
/// Where a cell's supervisor keeps what its processes say.
const LOGS: &str = "logs";

/// How long an agent that starts waits for word of a cell before it goes on without.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// What it may take to stop a cell, beyond what its processes are given.
const SLACK: Duration = Duration::from_secs(30);

/// How the `process` profile is set up on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSettings {
    /// The folder in which every cell has its own.
    pub folder: PathBuf,
    /// Whether cells end with the agent's process, and not only when they are told to.
    pub with_agent: bool,
}

impl ProcessSettings {
    /// The cells that have releases on this node.
    ///
    /// # Errors
    /// The folder cannot be read. One that is not there yet has no cells, which is no error.
    pub fn cells(&self) -> io::Result<Vec<CellName>> {
        cells_in(&self.folder, RELEASES)
    }

    /// Whether cells' supervisors become units of systemd on this host, and not children of the agent.
    #[must_use]
    pub fn uses_systemd(&self) -> bool {
        !self.with_agent && systemd::is_at_hand()
    }
}

/// Cells that run under a supervisor of their own.
#[derive(Debug)]
pub struct Process {
    launcher: Arc<Launcher>,
    clock: SharedClock,
    cells: Mutex<BTreeMap<CellName, Arc<Cell>>>,
}

impl Process {
    /// Cells below a folder, which is made when there is one.
    #[must_use]
    pub fn new(settings: ProcessSettings, program: Program, clock: SharedClock) -> Self {
        let launcher = Arc::new(Launcher::new(settings, program, clock.clone()));
        Self { launcher, clock, cells: Mutex::default() }
    }

    fn cell(&self, cell: &CellName) -> Arc<Cell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cells.entry(cell.clone());
        Arc::clone(known.or_insert_with(|| Arc::new(Cell::new(cell, &self.launcher, &self.clock))))
    }

    async fn bring_up(&self, start: Start<'_>) -> Result<(), ProfileError> {
        let cell = self.cell(start.cell);
        let before = cell.orders().map_err(|error| waiting(Code::Io, format!("reading orders: {error}")))?;
        let orders = orders(&start, before.as_ref())?;
        orders.service.check().map_err(|error| ProfileError::Version(error.to_string()))?;
        check_secrets(&orders.service)?;
        let limits = CellLimits::from(&start.manifest.limits);
        if !limits.is_empty() && !self.launcher.settings.uses_systemd() {
            let message = "memory and tasks of a cell are limited through systemd, which does not run this node";
            return Err(waiting(Code::LimitUnavailable, message.to_owned()));
        }
        // What runs is stopped as its own definition says.
        let patience = before.map_or(Duration::ZERO, |before| stops_within(&before.service)) + SLACK;
        let mut client = cell.connect().await.map_err(|why| waiting(Code::Io, why))?;
        cell.begin();
        // What runs until then ends within the limits that it is used to, and what comes begins with its own.
        let kept = CellLimits::load(&self.launcher.folder(start.cell));
        let kept = kept.map_err(|error| waiting(Code::Io, format!("reading limits: {error}")))?;
        let meanwhile = kept.map_or(limits, |kept| kept.or_looser(limits));
        self.limit(start.cell, meanwhile).await?;
        let id = orders.id.clone();
        if !client.takes(&orders) {
            if start.spares {
                let why = "its supervisor is of an earlier release, and ends with what it runs";
                return Err(ProfileError::StopsFirst(why.to_owned()));
            }
            self.within(patience, client.stop()).await?;
            client = cell.connect().await.map_err(|why| waiting(Code::Io, why))?;
        }
        self.within(patience, client.apply(orders)).await?;
        if limits != meanwhile {
            self.limit(start.cell, limits).await?;
        }
        self.known_to_have(&cell, &id).await
    }

    /// Lets what runs of `over` go on as the version of `start`, if it runs just so.
    async fn go_over(&self, start: Start<'_>, over: Over<'_>) -> Result<bool, ProfileError> {
        let cell = self.cell(start.cell);
        let before = cell.orders().map_err(|error| waiting(Code::Io, format!("reading orders: {error}")))?;
        let Some(orders) = before.as_ref().and_then(|before| staying(&start, over, before)) else { return Ok(false) };
        check_secrets(&orders.service)?;
        let mut client = cell.connect().await.map_err(|why| waiting(Code::Io, why))?;
        cell.begin();
        let id = orders.id.clone();
        let report = client.status().await.map_err(|error| waiting(Code::Io, in_full(&error)))?;
        // A supervisor of an earlier release does not know how.
        if !client.takes(&orders) || !runs_well(&report, &orders.service, start.restores()) {
            return Ok(false);
        }
        self.within(SLACK, client.apply(orders)).await?;
        self.known_to_have(&cell, &id).await?;
        Ok(true)
    }

    /// Waits until what is known of a cell is of these orders.
    async fn known_to_have(&self, cell: &Cell, id: &str) -> Result<(), ProfileError> {
        tokio::select! {
            () = cell.known_to_have(id) => Ok(()),
            () = self.clock.sleep(SLACK) => {
                let message = format!("its supervisor has not said what it does, after {} s", SLACK.as_secs());
                Err(waiting(Code::Io, message))
            }
        }
    }

    async fn limit(&self, cell: &CellName, limits: CellLimits) -> Result<(), ProfileError> {
        if !self.launcher.settings.uses_systemd() {
            return Ok(());
        }
        let limited = self.launcher.limit(cell, limits).await;
        limited.map_err(|error| waiting(Code::Io, format!("limiting the cell: {error}")))
    }

    /// Ends what runs beside what was brought up.
    async fn leave_alone(&self, start: Start<'_>) -> Result<(), ProfileError> {
        let cell = self.cell(start.cell);
        let orders = cell.orders().map_err(|error| waiting(Code::Io, format!("reading orders: {error}")))?;
        let Some(orders) = orders.filter(|orders| orders.id == start.activation.to_string()) else { return Ok(()) };
        let Some(settled) = overlap::settled(&orders) else { return Ok(()) };
        let mut client = cell.connect().await.map_err(|why| waiting(Code::Io, why))?;
        self.within(stops_within(&orders.service) + SLACK, client.apply(settled)).await
    }

    async fn take_down(&self, cell: &CellName) -> Result<(), ProfileError> {
        let cell = self.cell(cell);
        let orders = cell.orders().map_err(|error| waiting(Code::Io, format!("reading orders: {error}")))?;
        let mut client = match (cell.find().await, &orders) {
            (Ok(client), _) => client,
            (Err(DetachedError::NotThere { .. }), None | Some(Orders { wanted: Wanted::Down, .. })) => return Ok(()),
            // What its supervisor left running must end as well, and another supervisor knows how.
            (Err(_), _) => cell.connect_to_end().await.map_err(|why| waiting(Code::Io, why))?,
        };
        let patience = orders.map_or(Duration::ZERO, |orders| stops_within(&orders.service)) + SLACK;
        self.within(patience, client.stop()).await
    }

    async fn start_over(&self, cell: &CellName) -> Result<(), ProfileError> {
        let cell = self.cell(cell);
        let orders = cell.orders().map_err(|error| waiting(Code::Io, format!("reading orders: {error}")))?;
        let patience = orders.map_or(Duration::ZERO, |orders| stops_within(&orders.service)) + SLACK;
        let mut client = cell.connect().await.map_err(|why| waiting(Code::Io, why))?;
        self.within(patience, client.restart_service()).await
    }

    /// Ends the cells that are not to outlive the agent.
    async fn end(&self) {
        let cells = std::mem::take(&mut *self.cells.lock().unwrap_or_else(PoisonError::into_inner));
        let orders = cells.values().filter_map(|cell| cell.orders().ok().flatten());
        let patience = orders.map(|orders| stops_within(&orders.service)).max().unwrap_or_default() + SLACK;
        // Whoever watches a supervisor would start it again.
        drop(cells);
        tokio::select! {
            () = self.launcher.end_children() => {}
            () = self.clock.sleep(patience) => {
                tracing::warn!("supervisors are still stopping what ran, after {} s", patience.as_secs());
            }
        }
    }

    async fn within(
        &self,
        patience: Duration,
        asked: impl Future<Output = Result<(), DetachedError>>,
    ) -> Result<(), ProfileError> {
        tokio::select! {
            result = asked => result.map_err(|error| match error {
                DetachedError::Refused { ref code, .. } if code == "invalid" => {
                    ProfileError::Version(in_full(&error))
                }
                // Whoever has the address may let go of it, and the content is as good as ever.
                DetachedError::Refused { ref code, .. } if code == SOCKET_LOST => {
                    ProfileError::StopsFirst(in_full(&error))
                }
                DetachedError::Refused { ref code, .. } if code == "socket" => {
                    waiting(Code::SocketUnavailable, in_full(&error))
                }
                error => waiting(Code::Io, in_full(&error)),
            }),
            () = self.clock.sleep(patience) => {
                let message = format!("its supervisor is still stopping what ran, after {} s", patience.as_secs());
                Err(waiting(Code::Io, message))
            }
        }
    }

    async fn clear(&self, cell: &CellName) -> Result<(), ProfileError> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).remove(cell);
        let folder = self.launcher.folder(cell);
        let failed = |error: io::Error| waiting(Code::Io, format!("removing from {}: {error}", folder.display()));
        for name in ["run", LOGS] {
            match fs::remove_dir_all(folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        CellLimits::remove(&folder).map_err(failed)?;
        Orders::remove(&folder).map_err(failed)
    }
}

/// What the supervisor of a cell is to do, after what it did until now.
fn orders(start: &Start<'_>, before: Option<&Orders>) -> Result<Orders, ProfileError> {
    let run_spec::Profile::Process(spec) = &start.manifest.profile else {
        return Err(ProfileError::Version("its manifest is for another profile".to_owned()));
    };
    match &start.manifest.strategy {
        Strategy::StopStart | Strategy::Reload => {
            Ok(Orders::up(start.activation.to_string(), service(spec, &start.on_node())))
        }
        Strategy::StartStop(how) => {
            overlap::orders(spec, how, start, before).map_err(|why| ProfileError::StopsFirst(why.to_owned()))
        }
    }
}

/// Whether all that should run of a service does; where it is gone back from, without having ended meanwhile.
fn runs_well(report: &Report, service: &ServiceDef, restores: bool) -> bool {
    let mut should_run = service.processes.iter().filter(|(_, def)| def.autostart && def.kind == Kind::Service);
    let statuses = report.service.as_ref().map(|service| &service.processes);
    should_run.all(|(name, _)| match statuses.and_then(|it| it.get(name)).map(|status| &status.state) {
        Some(ProcessState::Running { restarts, .. }) => *restarts == 0 || !restores,
        _ => false,
    })
}

/// Orders by which what runs by the orders `before` goes on as the version of `start`, in place of that of `over`; None
/// if it is not that which runs, or not alone.
fn staying(start: &Start<'_>, over: Over<'_>, before: &Orders) -> Option<Orders> {
    let id = start.activation.to_string();
    if before.id == id && before.stays.is_some() {
        return Some(before.clone());
    }
    if before.wanted != Wanted::Up || !before.leaving.is_empty() {
        return None;
    }
    let services = |start: &Start<'_>| -> Option<Vec<ServiceDef>> {
        let run_spec::Profile::Process(spec) = &start.manifest.profile else { return None };
        Some(match &start.manifest.strategy {
            Strategy::StopStart | Strategy::Reload => vec![service(spec, &start.on_node())],
            Strategy::StartStop(how) => overlap::instances(spec, how, start),
        })
    };
    let (was, is) = (services(&over.start(*start))?, services(start)?);
    // What could not be brought up left what is gone back to as it was.
    let alike = was.iter().zip(&is).find(|(was, is)| before.service == **was || before.service == **is);
    let stays = if over.reloads { Stays::Reloaded } else { Stays::Untouched };
    alike.map(|(_, is)| Orders { stays: Some(stays), ..Orders::up(id, is.clone()) })
}

fn waiting(code: Code, message: String) -> ProfileError {
    ProfileError::Waiting { code, message }
}

impl Profile for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn placement(&self, cell: &CellName) -> Placement {
        let folder = self.launcher.folder(cell);
        Placement { folder, link: CURRENT.to_owned(), releases: vec![RELEASES.to_owned()], is_own: true }
    }

    fn resume<'a>(&'a self, cell: &'a CellName) -> Work<'a, ()> {
        Box::pin(async {
            let cell = self.cell(cell);
            cell.begin();
            tokio::select! {
                () = cell.known() => {}
                () = self.clock.sleep(KNOWN_WITHIN) => {}
            }
        })
    }

    fn starts<'a>(&'a self, cell: &'a CellName) -> Work<'a, bool> {
        Box::pin(async { matches!(self.cell(cell).find().await, Err(DetachedError::NotThere { .. })) })
    }

    fn activate<'a>(&'a self, start: Start<'a>) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(self.bring_up(start))
    }

    fn go_on<'a>(&'a self, start: Start<'a>, over: Over<'a>) -> Work<'a, Result<bool, ProfileError>> {
        Box::pin(self.go_over(start, over))
    }

    fn check<'a>(&'a self, start: Start<'a>) -> Work<'a, Gate> {
        Box::pin(async move {
            let cell = self.cell(start.cell);
            cell.begin();
            let min_healthy = Duration::from_millis(start.manifest.health.min_healthy_ms);
            let orders = match cell.orders() {
                Ok(Some(orders)) if orders.id == start.activation.to_string() => orders,
                Ok(_) => return Gate::NotStarted,
                Err(error) => return Gate::Pending(format!("its orders cannot be read: {error}")),
            };
            let arriving = overlap::settled(&orders).map_or(orders.service, |settled| settled.service);
            let look = cell.look().without(&orders.leaving);
            look.gate(&orders.id, &arriving, min_healthy, self.clock.now())
        })
    }

    fn settle<'a>(&'a self, start: Start<'a>) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(self.leave_alone(start))
    }

    fn stop<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(self.take_down(cell))
    }

    fn remove<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(self.clear(cell))
    }

    fn state<'a>(&'a self, cell: &'a CellName) -> Work<'a, Observed> {
        Box::pin(async {
            let cell = self.cell(cell);
            // Without them, what is only started by hand is not told from the rest.
            cell.look().observed(|| cell.orders().ok().flatten().map(|orders| orders.service).unwrap_or_default())
        })
    }

    fn restart<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(self.start_over(cell))
    }

    fn log(&self, cell: &CellName) -> Log {
        Log::Folder(self.launcher.folder(cell).join(LOGS))
    }

    fn changed<'a>(&'a self, cell: &'a CellName) -> Work<'a, ()> {
        let cell = self.cell(cell);
        Box::pin(async move { cell.changed().await })
    }

    fn close(&self) -> Work<'_, ()> {
        Box::pin(self.end())
    }

    fn cells(&self) -> io::Result<Vec<CellName>> {
        self.launcher.settings.cells()
    }

    fn mark(&self, cell: &CellName) -> io::Result<Option<Mark>> {
        let orders = Orders::load(&self.launcher.folder(cell))?;
        // Orders of another author name no activation.
        Ok(orders.map(|orders| Mark { version: None, activation: orders.id.parse().ok() }))
    }
}
