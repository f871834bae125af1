//! Starting the supervisor of a cell, so that it is nothing of the agent's.
//!
//! A child of the agent would live in the agent's unit: with its sandbox, its private `/tmp`, its control group and
//! its limits, and it would end with it. So where PID 1 is systemd the supervisor is made a unit of its own; see
//! `systemd-run(1)`. Elsewhere it is a child in a session of its own, and becomes init's when the agent ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{ProcessSettings, Program};
use crate::model::run_spec::Limits;
use crate::model::{CellName, Sha256Digest};
use crate::supervise::keep_descriptors;

/// The word that makes the agent's program a cell's supervisor.
pub const SUPERVISE: &str = "supervise";

/// A log of a supervisor itself is begun anew past this.
const MOST_LOG: u64 = 1 << 20;

/// How supervisors are started.
#[derive(Debug, Clone)]
pub(super) struct Launcher {
    pub(super) settings: ProcessSettings,
    pub(super) program: Program,
    /// Those that run as children of the agent, each with a task that waits for its end.
    children: TaskTracker,
    /// Cancelled when children that are not to outlive the agent are to end.
    ending: CancellationToken,
}

impl Launcher {
    pub(super) fn new(settings: ProcessSettings, program: Program) -> Self {
        Self { settings, program, children: TaskTracker::new(), ending: CancellationToken::new() }
    }

    /// Starts the supervisor of `cell`. It may be there already, or fail later on: whoever needs it connects to it.
    pub(super) async fn launch(&self, cell: &CellName) -> io::Result<()> {
        if self.ending.is_cancelled() {
            return Err(io::Error::other("the agent is ending"));
        }
        if self.settings.uses_systemd() { self.start_unit(cell).await } else { self.start_child(cell) }
    }

    fn arguments(&self, cell: &CellName) -> Command {
        let mut command = Command::new(&self.program.path);
        command.arg(SUPERVISE).arg(&self.settings.folder).arg(cell.as_str());
        command
    }

    fn start_child(&self, cell: &CellName) -> io::Result<()> {
        let mut command = self.arguments(cell);
        if let Some(most) = self.program.open_files {
            command.arg("--open-files").arg(most.to_string());
        }
        if self.settings.with_agent {
            command.arg("--bound-to").arg(std::process::id().to_string());
        }
        let run = self.settings.folder.join(cell.as_str()).join("run");
        std::fs::create_dir_all(&run)?;
        let path = run.join("supervisor.log");
        let is_long = std::fs::metadata(&path).is_ok_and(|meta| meta.len() > MOST_LOG);
        let log = File::options().create(true).append(!is_long).write(true).truncate(is_long).mode(0o600).open(path)?;
        // Nothing of the agent's environment, which holds the keys of the bucket.
        command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        keep_descriptors(command.as_std_mut())?;
        let mut child = command.spawn()?;
        let ending = self.ending.clone();
        self.children.spawn(async move {
            tokio::select! {
                // So that it is no zombie if it ends before the agent.
                _ = child.wait() => return,
                () = ending.cancelled() => terminate(&child),
            }
            let _ = child.wait().await;
        });
        Ok(())
    }

    /// Ends the supervisors that are not to outlive the agent, in order, and completes once they are gone.
    pub(super) async fn end_children(&self) {
        if self.settings.with_agent {
            self.ending.cancel();
            self.children.close();
            self.children.wait().await;
        }
    }

    async fn start_unit(&self, cell: &CellName) -> io::Result<()> {
        let unit = self.unit(cell);
        let mut command = systemd("systemd-run");
        command.args(["--quiet", "--collect", "--no-ask-password", "--unit", &unit]);
        command.arg(format!("--description=Fleetman cell {cell}"));
        for property in [
            // The supervisor ends what it runs by itself, and takes over what the one before left running.
            "KillMode=process",
            "Delegate=yes",
            "OOMPolicy=continue",
            // A supervisor that was ordered to stop its cell ends with 0.
            "Restart=on-failure",
            "RestartSec=100ms",
            "StartLimitIntervalSec=0",
            "TimeoutStopSec=10min",
            // Until the cell's own limits are set.
            "TasksMax=infinity",
        ] {
            command.arg(format!("--property={property}"));
        }
        let supervise = self.arguments(cell);
        command.arg("--").arg(supervise.as_std().get_program()).args(supervise.as_std().get_args()).arg("--cgroup");
        run(command).await
    }

    /// Sets the limits of the whole cell. Without systemd there is nobody to enforce them.
    pub(super) async fn limit(&self, cell: &CellName, limits: &Limits) -> io::Result<()> {
        let mut command = systemd("systemctl");
        command.args(["set-property", "--runtime", "--no-ask-password", &self.unit(cell)]);
        command.args(properties(limits));
        run(command).await
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

/// The limits as systemd calls them; see `systemd.resource-control(5)`.
fn properties(limits: &Limits) -> [String; 2] {
    let value = |limit: Option<u64>| limit.map_or_else(|| "infinity".to_owned(), |limit| limit.to_string());
    [format!("MemoryMax={}", value(limits.memory_bytes)), format!("TasksMax={}", value(limits.tasks))]
}

fn systemd(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(mut command: Command) -> io::Result<()> {
    let output = command.output().await?;
    if output.status.success() {
        return Ok(());
    }
    let program = command.as_std().get_program().display().to_string();
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} ended with {}: {}", output.status, said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_named_by_its_cell_and_its_agents_folder() {
        let program = Program { path: "/usr/bin/fleetagent".into(), open_files: None };
        let launcher =
            |folder: &str| Launcher::new(ProcessSettings { folder: folder.into(), with_agent: false }, program.clone());
        let cell = CellName::new("web").unwrap();
        let unit = launcher("/var/lib/fleetagent/process").unit(&cell);
        assert!(unit.starts_with("fleetman-web-") && unit.ends_with(".service"), "{unit}");
        assert_ne!(unit, launcher("/srv/other").unit(&cell));
    }

    #[test]
    fn what_is_not_limited_is_said_to_be_without_limit() {
        let limits = Limits { memory_bytes: Some(1 << 20), ..Limits::default() };
        assert_eq!(properties(&limits), ["MemoryMax=1048576", "TasksMax=infinity"]);
        assert_eq!(properties(&Limits::default()), ["MemoryMax=infinity", "TasksMax=infinity"]);
    }
}
