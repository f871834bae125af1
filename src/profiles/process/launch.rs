//! Starting the supervisor of a cell, so that it is nothing of the agent's.
//!
//! A child of the agent would live in the agent's unit: with its sandbox, its private `/tmp`, its control group and
//! its limits, and it would end with it. So where PID 1 is systemd the supervisor is made a unit of its own; see
//! `systemd-run(1)`. Elsewhere it is a child in a session of its own, and becomes init's when the agent ends.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::CellLimits;
use super::started::Started;
use super::{ProcessSettings, Program, SUPERVISE, systemd};
use crate::clock::SharedClock;
use crate::model::{CellName, Sha256Digest};
use crate::store::in_full;
use crate::supervise::{keep_descriptors, run_folder};

/// Where among its own things a supervisor without a unit logs.
const LOG: &str = "supervisor.log";

/// Such a log is begun anew past this.
const MOST_LOG: u64 = 1 << 20;

/// The properties of a supervisor's unit, beside the cell's limits; see `systemd.service(5)`.
const UNIT: [&str; 9] = [
    // It is only started once its program is.
    "Type=exec",
    // The supervisor ends what it runs by itself, and takes over what the one before left running.
    "KillMode=process",
    "Delegate=yes",
    "OOMPolicy=continue",
    // A supervisor that was ordered to stop its cell ends with 0.
    "Restart=on-failure",
    "RestartSec=100ms",
    "StartLimitIntervalSec=0",
    "TimeoutStopSec=10min",
    // When the host goes down the cell ends while there is still a network to say goodbye on.
    "After=network.target",
];

/// How supervisors are started.
#[derive(Debug)]
pub(super) struct Launcher {
    pub(super) settings: ProcessSettings,
    pub(super) program: Program,
    clock: SharedClock,
    /// Those that run as children of the agent, each with a task that waits for its end.
    children: TaskTracker,
    /// Cancelled when children that are not to outlive the agent are to end.
    ending: CancellationToken,
}

impl Launcher {
    pub(super) fn new(settings: ProcessSettings, program: Program, clock: SharedClock) -> Self {
        Self { settings, program, clock, children: TaskTracker::new(), ending: CancellationToken::new() }
    }

    /// The folder of a cell.
    pub(super) fn folder(&self, cell: &CellName) -> PathBuf {
        self.settings.folder.join(cell.as_str())
    }

    /// Starts the supervisor of `cell`. It may be there already: whoever needs it connects to it.
    pub(super) async fn launch(&self, cell: &CellName) -> io::Result<Started> {
        if self.ending.is_cancelled() {
            return Err(io::Error::other("the agent is ending"));
        }
        // What is written there decides what runs.
        let run =
            run_folder(&self.settings.folder, cell.as_str()).map_err(|error| io::Error::other(in_full(&error)))?;
        let mut supervisor = Command::new(&self.program.path);
        supervisor.arg(SUPERVISE).arg(&self.settings.folder).arg(cell.as_str());
        match self.settings.uses_systemd() {
            true => self.start_unit(cell, &supervisor).await,
            false => self.start_child(supervisor, run.join(LOG)),
        }
    }

    fn start_child(&self, mut command: Command, path: PathBuf) -> io::Result<Started> {
        if let Some(most) = self.program.open_files {
            command.arg("--open-files").arg(most.to_string());
        }
        if self.settings.with_agent {
            command.arg("--bound-to").arg(std::process::id().to_string());
        }
        let length = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        let is_long = length > MOST_LOG;
        let log =
            File::options().create(true).append(!is_long).write(true).truncate(is_long).mode(0o600).open(&path)?;
        // Nothing of the agent's environment, which holds the keys of the bucket.
        command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        keep_descriptors(command.as_std_mut())?;
        let spawned = command.spawn().map_err(|error| {
            let program = Path::new(command.as_std().get_program()).display();
            io::Error::new(error.kind(), format!("running {program}: {error}"))
        });
        let mut child = spawned?;
        let ending = self.ending.clone();
        let (tell, ended) = oneshot::channel();
        self.children.spawn(async move {
            // It is waited for in any case, so that it is no zombie if it ends before the agent.
            let status = tokio::select! {
                status = child.wait() => status,
                () = ending.cancelled() => {
                    terminate(&child);
                    child.wait().await
                }
            };
            if let Ok(status) = status {
                // Mostly nobody waits for that any more.
                let _ = tell.send(status);
            }
        });
        Ok(Started::Child { ended, log: path, from: if is_long { 0 } else { length } })
    }

    /// Ends the supervisors that are not to outlive the agent, in order, and completes once they are gone.
    pub(super) async fn end_children(&self) {
        if self.settings.with_agent {
            self.ending.cancel();
            self.children.close();
            self.children.wait().await;
        }
    }

    async fn start_unit(&self, cell: &CellName, supervisor: &Command) -> io::Result<Started> {
        let unit = self.unit(cell);
        let mut arguments: Vec<OsString> = ["--collect", "--unit", &unit].map(OsString::from).into();
        arguments.push(format!("--description=Fleetman cell {cell}").into());
        let limits = CellLimits::load(&self.folder(cell))?.unwrap_or_default().properties();
        for property in UNIT.into_iter().chain(limits.iter().map(String::as_str)) {
            arguments.push(format!("--property={property}").into());
        }
        arguments.extend(["--".into(), systemd::word(supervisor.as_std().get_program(), true)?.into()]);
        for argument in supervisor.as_std().get_args() {
            arguments.push(systemd::word(argument, false)?.into());
        }
        arguments.push("--cgroup".into());
        let started = Started::Unit { name: unit.clone() };
        let Err(refused) = systemd::run(arguments, &self.clock).await else { return Ok(started) };
        // The unit may be there: on its way down, or up again after its supervisor was killed.
        systemd::control(["start", &unit], &self.clock).await.map_err(|_| refused)?;
        Ok(started)
    }

    /// Limits the whole cell, in the unit that it has and in those that it will have.
    pub(super) async fn limit(&self, cell: &CellName, limits: CellLimits) -> io::Result<()> {
        limits.save(&self.folder(cell))?;
        let [memory, tasks] = limits.properties();
        systemd::control(["set-property", "--runtime", &self.unit(cell), &memory, &tasks], &self.clock).await
    }

    /// Where the supervisor itself logs, for people.
    pub(super) fn log(&self, cell: &CellName) -> String {
        match self.settings.uses_systemd() {
            true => format!("`journalctl --unit={}`", self.unit(cell)),
            false => self.folder(cell).join("run").join(LOG).display().to_string(),
        }
    }

    /// The unit of a cell. Several agents may run on one machine, each with cells of the same names.
    pub(super) fn unit(&self, cell: &CellName) -> String {
        let folder = Sha256Digest::of(self.settings.folder.as_os_str().as_encoded_bytes());
        format!("fleetman-{cell}-{}.service", folder.short(8))
    }
}

/// Asks a child that was not waited for yet to end, so that its id is still its own.
fn terminate(child: &Child) {
    let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
        tracing::warn!(%error, "a supervisor cannot be asked to end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn a_unit_is_named_by_its_cell_and_its_agents_folder() {
        let program = Program { path: "/usr/bin/fleetagent".into(), open_files: None };
        let launcher = |folder: &str| {
            let settings = ProcessSettings { folder: folder.into(), with_agent: false };
            Launcher::new(settings, program.clone(), SystemClock::shared())
        };
        let cell = CellName::new("web").unwrap();
        let unit = launcher("/var/lib/fleetagent/process").unit(&cell);
        assert!(unit.starts_with("fleetman-web-") && unit.ends_with(".service"), "{unit}");
        assert_ne!(unit, launcher("/srv/other").unit(&cell));
    }
}
