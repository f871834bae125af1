//! The `systemd` profile: a cell is a service of systemd, which runs and restarts it, with or without an agent.
//!
//! ```text
//! <folder>/<cell>/current                     a link to the current release, switched in one step
//! <folder>/<cell>/releases/<release>/         the releases
//! <folder>/<cell>/begun.json                  which bringing up has begun
//! <service_folder>/fleetman-<cell>.service    the unit, with a marker of ours
//! <service_folder>/fleetman-<cell>.timer      for what runs by schedule
//! <service_folder>/fleetman-<cell>.b.service  the second of two that take turns
//! <service_folder>/fleetman-<cell>.<socket>.<digest>.{socket,service}
//!                                             a socket that both are given, and what it starts, which does nothing
//! ```
//! The unit names the release's own folder, not the link: the rename that puts the unit in its place is what decides
//! which version the host starts, after any crash (I4).

mod bus;
mod drift;
mod install;
mod look;
mod needs;
mod owned;
mod reload;
mod secrets;
mod sockets;
mod turns;
mod watch;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use self::bus::{Bus, BusError, JobEnd};
use self::look::{Begun, File};
use self::owned::InPlace;
pub use self::secrets::{SecretsError, write_env};
use self::watch::{Cell, Seen, Site};
use super::{Program, cells_in};
use crate::agent::{Gate, Log, Mark, Observed, Over, Placement, Profile, ProfileError, Start, Strayed, Work};
use crate::clock::SharedClock;
use crate::model::heartbeat::{Condition, RunningState};
use crate::model::{CellName, Code};
use crate::render::CURRENT;
use crate::render::OnNode;
use crate::render::instance::Instance;
use crate::render::unit::PREFIX;
pub use crate::render::unit::{Scope, WRITE_ENV};

const RELEASES: &str = "releases";

/// What a job may take beyond the time that a unit has to stop.
const SLACK: Duration = Duration::from_secs(30);

impl Scope {
    /// Where an administrator, or a user, keeps units.
    #[must_use]
    pub fn service_folder(self) -> PathBuf {
        match self {
            Self::System => "/etc/systemd/system".into(),
            Self::User => {
                let var = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
                let config = var("XDG_CONFIG_HOME").or_else(|| Some(var("HOME")?.join(".config")));
                config.unwrap_or_else(|| "/root/.config".into()).join("systemd/user")
            }
        }
    }
}

/// How the `systemd` profile is set up on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemdSettings {
    /// Where units are put.
    pub service_folder: PathBuf,
    /// The folder in which every cell has its own.
    pub folder: PathBuf,
    /// Whose manager runs them.
    pub scope: Scope,
}

impl SystemdSettings {
    /// Asks the manager in which folders it looks for units.
    ///
    /// # Errors
    /// Why it does not answer.
    pub async fn unit_folders(&self, clock: &SharedClock) -> Result<Vec<PathBuf>, String> {
        Bus::new(self.scope, clock.clone()).unit_folders().await.map_err(|error| error.to_string())
    }

    /// What is wrong with `folder` as the folder of releases, which stand in units.
    ///
    /// # Errors
    /// Why systemd would run no program in it.
    pub fn check_folder(folder: &Path) -> Result<(), &'static str> {
        let text = folder.to_str().ok_or("it is not UTF-8")?;
        if text.trim() != text || text.contains(|c: char| c.is_control() || "$\"'\\".contains(c)) {
            return Err("it has a control character, a quote, `\\` or `$` in it, or a blank at an end");
        }
        Ok(())
    }
}

/// Cells that are services of systemd.
#[derive(Debug)]
pub struct Systemd {
    settings: SystemdSettings,
    program: Program,
    clock: SharedClock,
    bus: Arc<Bus>,
    cells: Mutex<BTreeMap<CellName, Arc<Cell>>>,
    /// Held while units are changed: systemd reads all of them at once.
    changing: tokio::sync::Mutex<()>,
}

impl Systemd {
    /// Cells below a folder, which is made when there is one.
    #[must_use]
    pub fn new(settings: SystemdSettings, program: Program, clock: SharedClock) -> Self {
        let bus = Arc::new(Bus::new(settings.scope, clock.clone()));
        Self { settings, program, clock, bus, cells: Mutex::default(), changing: tokio::sync::Mutex::default() }
    }

    fn cell(&self, cell: &CellName) -> Arc<Cell> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cells.entry(cell.clone());
        let site = || Site::new(cell, &self.settings.folder, &self.settings.service_folder);
        Arc::clone(known.or_insert_with(|| Arc::new(Cell::new(site(), &self.bus, &self.clock))))
    }

    /// Has a unit stopped, in as much time as it has for that.
    async fn stop_unit(&self, unit: &str, patience: Duration) -> Result<(), ProfileError> {
        match self.bus.stop(unit, patience + SLACK).await? {
            JobEnd::Result(result) if ["done", "collected"].contains(&result.as_str()) => Ok(()),
            JobEnd::Result(result) => Err(waiting(Code::Io, format!("stopping {unit} ended as {result}"))),
            JobEnd::Going => Err(waiting(
                Code::Io,
                format!("{unit} is still being stopped after {} s", (patience + SLACK).as_secs()),
            )),
        }
    }

    async fn take_down(&self, name: &CellName) -> Result<(), ProfileError> {
        let cell = self.cell(name);
        let (site, names) = (&cell.site, &cell.site.names);
        let found = |path: &Path| site.look(path).map_err(|error| disk("reading", path, &error));
        let look = cell.look().await?;
        if let (File::Foreign(what), Some(_)) = (&look.file, &look.begun) {
            let message = format!("{what}, though it was put there for this cell; it is left alone, and may run");
            return Err(waiting(Code::UnitNotOwned, message));
        }
        let mut services = Vec::new();
        for instance in Instance::BOTH {
            let service = names.service(instance);
            if self.is_ours(site, &found(&site.service(instance))?, service).await? {
                services.push(service);
            }
        }
        let sockets = site.sockets().map_err(|error| disk("reading", &self.settings.service_folder, &error))?;
        if services.is_empty() && sockets.is_empty() {
            return Ok(());
        }
        let has_timer = match found(&site.timer())? {
            InPlace::Ours(_) => true,
            InPlace::Nothing => look.begun.as_ref().is_some_and(|begun| begun.is_scheduled),
            InPlace::Foreign(_) => false,
        };
        let timer = has_timer.then_some(&*names.timer);
        for unit in services.iter().copied().chain(timer) {
            self.bus.disable(unit).await?;
        }
        if has_timer && look.timer.as_ref().is_some_and(look::Unit::is_up) {
            self.stop_unit(&names.timer, Duration::ZERO).await?;
        }
        // First: what still comes in then is answered, and nothing waits for what will not come.
        for stem in &sockets {
            self.close_socket(stem).await?;
        }
        for service in &services {
            // Asked once more: a timer may have started it until now.
            self.stop_service(service).await?;
        }
        for unit in services.into_iter().chain(timer) {
            self.bus.reset_failed(unit).await?;
        }
        // Only now: where the unit's file is gone nothing else tells that it is ours to stop.
        site.forget().map_err(|error| disk("removing", &site.folder, &error))?;
        // What the host starts with no longer asks for it only then.
        let _turn = self.changing.lock().await;
        self.bus.reload().await?;
        cell.look().await?;
        Ok(())
    }

    async fn start_over(&self, name: &CellName) -> Result<(), ProfileError> {
        let cell = self.cell(name);
        let look = cell.look().await?;
        let (site, names) = (&cell.site, &cell.site.names);
        let instance = look.begun.as_ref().map_or(Instance::A, Begun::instance);
        let other = look.other.as_ref().filter(|other| other.is_up()).map(|other| (instance.other(), other));
        for (instance, service) in [(instance, &look.service)].into_iter().chain(other) {
            let (unit, path) = (names.service(instance), site.service(instance));
            let found = site.look(&path).map_err(|error| disk("reading", &path, &error))?;
            if !self.is_ours(site, &found, unit).await? {
                return Err(waiting(Code::UnitNotOwned, format!("{unit} is not ours to restart")));
            }
            // A unit that failed too often would not be started otherwise.
            self.bus.reset_failed(unit).await?;
            match self.bus.restart(unit, service.stops_within + SLACK).await? {
                JobEnd::Result(result) if result != "done" => {
                    return Err(waiting(Code::Io, format!("restarting {unit} ended as {result}")));
                }
                JobEnd::Result(_) | JobEnd::Going => {}
            }
        }
        Ok(())
    }

    async fn clear(&self, name: &CellName) -> Result<(), ProfileError> {
        let cell = self.cell(name);
        let (site, names) = (&cell.site, &cell.site.names);
        let sockets = site.sockets().map_err(|error| disk("reading", &self.settings.service_folder, &error))?;
        for stem in &sockets {
            self.close_socket(stem).await?;
        }
        let _turn = self.changing.lock().await;
        let mut is_changed = !sockets.is_empty();
        let remove = |path: &Path| owned::remove(path).map_err(|error| disk("removing", path, &error));
        let services = Instance::BOTH.map(|instance| names.service(instance));
        for name in [&*names.timer].into_iter().chain(services) {
            let path = site.unit(name);
            let found = site.look(&path).map_err(|error| disk("looking at", &path, &error))?;
            if matches!(found, InPlace::Ours(_)) {
                if name == names.timer {
                    self.bus.clean(name).await?;
                }
                self.bus.disable(name).await?;
                remove(&path)?;
                is_changed = true;
            }
        }
        for path in sockets.iter().flat_map(|stem| site.socket(stem)) {
            remove(&path)?;
        }
        site.forget().map_err(|error| disk("removing", &site.folder, &error))?;
        if is_changed || cell.look().await?.service.needs_reload {
            self.bus.reload().await?;
        }
        self.cells.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }
}

impl From<BusError> for ProfileError {
    fn from(error: BusError) -> Self {
        waiting(Code::Io, error.to_string())
    }
}

fn waiting(code: Code, message: String) -> ProfileError {
    ProfileError::Waiting { code, message }
}

/// What the disk refused.
fn disk(doing: &str, path: &Path, error: &io::Error) -> ProfileError {
    let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    waiting(if is_full { Code::DiskFull } else { Code::Io }, format!("{doing} {}: {error}", path.display()))
}

impl Profile for Systemd {
    fn name(&self) -> &'static str {
        "systemd"
    }

    fn placement(&self, cell: &CellName) -> Placement {
        let folder = self.settings.folder.join(cell.as_str());
        Placement { folder, link: CURRENT.to_owned(), releases: vec![RELEASES.to_owned()], is_own: true }
    }

    /// Nothing needs to be brought up: systemd has done that. But it is watched from now on.
    fn resume<'a>(&'a self, cell: &'a CellName) -> Work<'a, ()> {
        Box::pin(async {
            let cell = self.cell(cell);
            cell.begin();
            // A failure is for `state` to tell.
            let _ = cell.look().await;
        })
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
            match cell.known() {
                Seen::Nothing => Gate::Pending("systemd has not answered yet".to_owned()),
                Seen::Trouble(why) => Gate::Pending(why),
                Seen::Look(look) => {
                    let min_healthy = Duration::from_millis(start.manifest.health.min_healthy_ms);
                    look::gate(&look, &start.activation.to_string(), min_healthy, self.clock.now())
                }
            }
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
            cell.begin();
            match cell.known() {
                Seen::Nothing => RunningState::Unknown.into(),
                Seen::Look(look) => look.observed(),
                Seen::Trouble(message) => {
                    let conditions = vec![Condition { code: Code::Io, message }];
                    Observed { conditions, ..RunningState::Unknown.into() }
                }
            }
        })
    }

    fn restart<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(self.start_over(cell))
    }

    fn log(&self, cell: &CellName) -> Log {
        let cell = self.cell(cell);
        let units = Instance::BOTH.map(|instance| cell.site.names.service(instance).to_owned()).to_vec();
        Log::Journal { units, is_users: self.settings.scope == Scope::User }
    }

    fn changed<'a>(&'a self, cell: &'a CellName) -> Work<'a, ()> {
        let cell = self.cell(cell);
        Box::pin(async move { cell.changed().await })
    }

    fn drift<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<Vec<Strayed>, ProfileError>> {
        Box::pin(self.strayed(cell))
    }

    fn mend<'a>(&'a self, deployed: OnNode<'a>) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(self.write_again(deployed))
    }

    fn cells(&self) -> io::Result<Vec<CellName>> {
        let mut cells = cells_in(&self.settings.folder, RELEASES)?;
        for cell in self.marked()? {
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        Ok(cells)
    }

    fn mark(&self, cell: &CellName) -> io::Result<Option<Mark>> {
        let cell = self.cell(cell);
        let site = &cell.site;
        // Of two the one that was brought up last.
        let instance = site.begun().map_or(Instance::A, |begun| begun.instance());
        let services = [instance, instance.other()].map(|instance| site.service(instance));
        let sockets: Vec<PathBuf> = site.sockets()?.iter().flat_map(|stem| site.socket(stem)).collect();
        for path in services.into_iter().chain([site.timer()]).chain(sockets) {
            if let InPlace::Ours(ours) = site.look(&path)? {
                // What anybody may have written raises no floor.
                let activation = ours.marker.activation.parse().ok().filter(|_| !ours.is_edited);
                return Ok(Some(Mark { version: ours.marker.version.parse().ok(), activation }));
            }
        }
        Ok(None)
    }
}

impl Systemd {
    /// The cells that have a unit with our marker.
    fn marked(&self) -> io::Result<Vec<CellName>> {
        let entries = match std::fs::read_dir(&self.settings.service_folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut cells = Vec::new();
        for entry in entries {
            let name = entry?.file_name().into_string().unwrap_or_default();
            // No name of a cell has a dot in it, and those of all its units begin so.
            let cell = name.strip_prefix(PREFIX).and_then(|rest| rest.split('.').next());
            let Some(cell) = cell.and_then(|cell| CellName::new(cell).ok()) else { continue };
            let site = Site::new(&cell, &self.settings.folder, &self.settings.service_folder);
            if !cells.contains(&cell) && matches!(site.look(&site.unit(&name)), Ok(InPlace::Ours(_))) {
                cells.push(cell);
            }
        }
        Ok(cells)
    }
}
