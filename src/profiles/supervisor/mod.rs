//! The `supervisor` profile: a cell is a program or a group of programs of the host's own supervisord.
//!
//! ```text
//! <conf_d_folder>/fleetman-<cell>.conf             tells supervisord of the cell, as long as it is to run
//! <folder>/<cell>/current                          a link to the current release, switched in one step
//! <folder>/<cell>/releases/<release>/              the releases
//! <folder>/<cell>/activations/<activation>/        what the cell's processes are; see [`shim`]
//! <folder>/<cell>/run/                             what the shim tells of its starts
//! <folder>/<cell>/logs/<process>.log               what the processes say, and `.1`, `.2`, …
//! ```
//! The cell's file names an activation, and that names the release itself and not `current`: putting the file in place
//! is what commits, and whatever supervisord starts is one whole version (I4). No two activations have the same file, so
//! supervisord itself tells whether it runs what the file says, also after a crash of either side. A version that what
//! runs only goes on as has no file of its own: it takes its place in what is activated already; see [`reload`].
//!
//! Nobody but supervisord runs the programs: they go on, are restarted and start at boot without an agent.

mod conf;
mod drift;
mod found;
mod install;
mod look;
mod reload;
mod rpc;
mod shim;
mod watch;
mod xml;

use std::fs;
use std::future::ready;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use self::found::Found;
pub use self::install::SupervisorProbe;
use self::rpc::Supervisord;
pub use self::shim::become_process_of;
use self::shim::{GoesOnAs, ShimHome};
use self::watch::{Known, Watch};
use super::{Program, cells_in};
use crate::agent::{Gate, Log, Mark, Observed, Over, Placement, Profile, ProfileError, Start, Strayed, Work};
use crate::clock::SharedClock;
use crate::model::heartbeat::Condition;
use crate::model::{CellName, Code, VersionName, run_spec};
use crate::render::CURRENT;
use crate::render::OnNode;
use crate::render::service::service;
use crate::render::stanza;
pub use crate::render::stanza::EXEC;

const RELEASES: &str = "releases";
const LOGS: &str = "logs";

/// How long an agent that starts waits for word of a cell before it goes on without.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// supervisord counts whole seconds, so what it says began may have begun so much later.
const COARSE: TimeDelta = TimeDelta::seconds(1);

/// How the `supervisor` profile is set up on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupervisorSettings {
    /// The folder whose files supervisord includes.
    pub conf_d_folder: PathBuf,
    /// supervisord's main file.
    pub config_file: PathBuf,
    /// The Unix socket that supervisord listens on.
    pub socket: PathBuf,
    /// The folder in which every cell has its own.
    pub folder: PathBuf,
}

impl SupervisorSettings {
    /// Whether supervisord can be given paths below this one.
    #[must_use]
    pub fn takes(path: &std::path::Path) -> bool {
        stanza::is_harmless(path)
    }
}

/// Where the parts of a cell are.
#[derive(Debug, Clone)]
struct Places(SupervisorSettings);

impl Places {
    fn folder(&self, cell: &CellName) -> PathBuf {
        self.0.folder.join(cell.as_str())
    }

    fn shim(&self, cell: &CellName) -> ShimHome {
        ShimHome::new(&self.folder(cell))
    }

    fn logs(&self, cell: &CellName) -> PathBuf {
        self.folder(cell).join(LOGS)
    }

    /// The cell's file among supervisord's.
    fn conf(&self, cell: &CellName) -> PathBuf {
        self.0.conf_d_folder.join(stanza::file_name(cell))
    }

    /// What lies in the place of the cell's file, and what is activated by that.
    fn found(&self, cell: &CellName) -> io::Result<Found> {
        let found = Found::at(&self.conf(cell), cell, &self.folder(cell))?;
        let Found::Ours { activation, is_edited, .. } = &found else { return Ok(found) };
        let other = self.shim(cell).goes_on_as(activation)?;
        let is_edited = *is_edited;
        Ok(other.map_or(found, |GoesOnAs { activation, version }| Found::Ours { version, activation, is_edited }))
    }
}

/// Cells that supervisord runs.
#[derive(Debug)]
pub struct Supervisor {
    places: Places,
    program: Program,
    clock: SharedClock,
    supervisord: Arc<Supervisord>,
    watch: Watch,
    /// Held from before a file is put in place until supervisord has read it, so that it is known whose fault it is if
    /// it cannot.
    turn: tokio::sync::Mutex<()>,
}

impl Supervisor {
    /// Cells of this supervisord.
    #[must_use]
    pub fn new(settings: SupervisorSettings, program: Program, clock: SharedClock) -> Self {
        let supervisord = Arc::new(Supervisord::new(settings.socket.clone(), clock.clone()));
        let places = Places(settings);
        let watch = Watch::new(places.clone(), Arc::clone(&supervisord), clock.clone());
        Self { places, program, clock, supervisord, watch, turn: tokio::sync::Mutex::default() }
    }

    fn gate(&self, start: &Start<'_>) -> Gate {
        let run_spec::Profile::Supervisor(spec) = &start.manifest.profile else { return Gate::NotStarted };
        let activation = start.activation.to_string();
        match self.places.found(start.cell) {
            Ok(Found::Ours { activation: found, .. }) if found == activation => {}
            Err(error) => return Gate::Pending(format!("reading {}: {error}", self.places.conf(start.cell).display())),
            Ok(_) => return Gate::NotStarted,
        }
        self.watch.hurry();
        let min_healthy = Duration::from_millis(start.manifest.health.min_healthy_ms);
        let service = service(spec, &start.on_node());
        self.watch.look(start.cell).seen.gate(&activation, &service, min_healthy, self.clock.now() - COARSE)
    }

    fn clear(&self, cell: &CellName) -> Result<(), ProfileError> {
        self.watch.forget(cell);
        let removed = || {
            let shim = self.places.shim(cell);
            shim.forget_activations(None)?;
            shim.forget_runs()?;
            match fs::remove_dir_all(self.places.logs(cell)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            }
        };
        let folder = self.places.folder(cell);
        removed().map_err(|error| waiting(Code::Io, format!("removing from {}: {error}", folder.display())))
    }
}

fn waiting(code: Code, message: String) -> ProfileError {
    ProfileError::Waiting { code, message }
}

impl Profile for Supervisor {
    fn name(&self) -> &'static str {
        "supervisor"
    }

    fn placement(&self, cell: &CellName) -> Placement {
        let folder = self.places.folder(cell);
        Placement { folder, link: CURRENT.to_owned(), releases: vec![RELEASES.to_owned()], is_own: true }
    }

    /// supervisord starts by itself what should run; all that is left is to look.
    fn resume<'a>(&'a self, cell: &'a CellName) -> Work<'a, ()> {
        Box::pin(async {
            tokio::select! {
                () = self.watch.refresh(cell) => {}
                () = self.clock.sleep(KNOWN_WITHIN) => {}
            }
        })
    }

    fn activate<'a>(&'a self, start: Start<'a>) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(self.bring_up(start))
    }

    fn go_on<'a>(&'a self, start: Start<'a>, over: Over<'a>) -> Work<'a, Result<bool, ProfileError>> {
        Box::pin(self.go_over(start, over))
    }

    fn check<'a>(&'a self, start: Start<'a>) -> Work<'a, Gate> {
        Box::pin(async move { self.gate(&start) })
    }

    fn stop<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(self.take_down(cell))
    }

    fn remove<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(async { self.clear(cell) })
    }

    fn state<'a>(&'a self, cell: &'a CellName) -> Work<'a, Observed> {
        Box::pin(async {
            let Known { seen, is_edited } = self.watch.look(cell);
            let edited = is_edited.then(|| Condition {
                code: Code::UnitDrift,
                message: format!("{} was changed by hand", self.places.conf(cell).display()),
            });
            let observed = seen.observed(|| self.watch.definition(cell));
            Observed { conditions: edited.into_iter().collect(), ..observed }
        })
    }

    fn restart<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(self.start_over(cell))
    }

    fn log(&self, cell: &CellName) -> Log {
        Log::Folder(self.places.logs(cell))
    }

    fn changed<'a>(&'a self, cell: &'a CellName) -> Work<'a, ()> {
        Box::pin(self.watch.changed(cell))
    }

    fn mark(&self, cell: &CellName) -> io::Result<Option<Mark>> {
        let Found::Ours { version, activation, is_edited } = self.places.found(cell)? else { return Ok(None) };
        // What anybody may have written raises no floor.
        let activation = activation.parse().ok().filter(|_| !is_edited);
        Ok(Some(Mark { version: VersionName::new(version).ok(), activation }))
    }

    fn drift<'a>(&'a self, cell: &'a CellName) -> Work<'a, Result<Vec<Strayed>, ProfileError>> {
        Box::pin(ready(self.strayed(cell)))
    }

    fn mend<'a>(&'a self, deployed: OnNode<'a>) -> Work<'a, Result<(), ProfileError>> {
        Box::pin(self.write_again(deployed))
    }

    fn close(&self) -> Work<'_, ()> {
        Box::pin(async { self.watch.end() })
    }

    fn cells(&self) -> io::Result<Vec<CellName>> {
        let mut cells = cells_in(&self.places.0.folder, RELEASES)?;
        let entries = match fs::read_dir(&self.places.0.conf_d_folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(cells),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let name = name.to_str().and_then(|name| name.strip_prefix("fleetman-")?.strip_suffix(".conf"));
            let Some(cell) = name.and_then(|name| CellName::new(name).ok()) else { continue };
            if !cells.contains(&cell) && matches!(self.places.found(&cell)?, Found::Ours { .. }) {
                cells.push(cell);
            }
        }
        Ok(cells)
    }
}
