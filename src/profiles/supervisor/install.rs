//! Changing what supervisord runs: a file is put in place or taken away, and supervisord is told to follow it for this
//! one group. What others configured is never touched, and never taken up: that is theirs to do.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::conf::Conf;
use super::found::Found;
use super::rpc::{ProcessInfo, RpcError, Supervisord};
use super::shim::{new_name, replace};
use super::{Supervisor, SupervisorSettings, waiting};
use crate::agent::{ProfileError, Start};
use crate::clock::SharedClock;
use crate::model::process::ProcessSpec;
use crate::model::run_spec::{Profile, Restart};
use crate::model::{CellName, Code};
use crate::profiles::definition::{check_secrets, stops_within};
use crate::render::service::service;
use crate::render::stanza::{self, Stanza};
use crate::store::in_full;
use crate::supervise::SignalName;

/// What it may take to stop a cell, beyond what its processes are given.
const SLACK: Duration = Duration::from_secs(30);

/// How often it is looked whether what was stopped has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Who may read the file of a cell. There is nothing secret in it.
pub(super) const MODE: u32 = 0o644;

impl Supervisor {
    pub(super) async fn bring_up(&self, start: Start<'_>) -> Result<(), ProfileError> {
        let Profile::Supervisor(spec) = &start.manifest.profile else {
            return Err(ProfileError::Version("its manifest is for another profile".to_owned()));
        };
        check_settings(spec).map_err(ProfileError::Version)?;
        let service = service(spec, &start.on_node());
        service.check().map_err(|error| ProfileError::Version(error.to_string()))?;
        check_secrets(&service)?;
        if start.manifest.limits.memory_bytes.is_some() || start.manifest.limits.tasks.is_some() {
            let message = "supervisord cannot limit memory and tasks of a cell";
            return Err(waiting(Code::LimitUnavailable, message.to_owned()));
        }
        let activation = start.activation.to_string();
        let (folder, logs, shim) =
            (self.places.folder(start.cell), self.places.logs(start.cell), self.places.shim(start.cell));
        let stanza = Stanza {
            cell: start.cell,
            version: &start.manifest.version,
            activation: &activation,
            folder: &folder,
            spec: &shim.activation(&activation),
            logs: &logs,
            program: &self.program.path,
            service: &service,
        };
        let text = stanza.render().map_err(|why| waiting(Code::NeedsOperator, why))?;

        let running = self.supervisord.processes().await.map_err(unavailable)?;
        self.check_ownership(&start, &running)?;
        let prepared = shim.prepare(&activation, &service).and_then(|()| fs::create_dir_all(&logs));
        prepared.map_err(|error| disk(&format!("writing to {}", folder.display()), &error))?;
        if let Err(error) = self.install(start.cell, &text, &running).await {
            if matches!(self.places.found(start.cell), Ok(Found::Nothing)) {
                // Nothing of the cell is to run.
                let _ = shim.forget_activations(None);
            }
            return Err(error);
        }
        if let Err(error) = shim.forget_activations(Some(&activation)) {
            tracing::warn!(cell = %start.cell, %error, "an activation of before is left over");
        }
        self.watch.refresh(start.cell).await;
        Ok(())
    }

    /// Refuses to touch what is not ours (I7), and what was changed by hand.
    fn check_ownership(&self, start: &Start<'_>, running: &[ProcessInfo]) -> Result<(), ProfileError> {
        let path = self.places.conf(start.cell);
        let shown = path.display();
        let not_owned = |why: String| waiting(Code::UnitNotOwned, why);
        match self.places.found(start.cell).map_err(|error| disk(&format!("reading {shown}"), &error))? {
            Found::Nothing | Found::Ours { is_edited: false, .. } => {}
            Found::Foreign(why) => return Err(not_owned(format!("{shown} is not ours: {why}"))),
            Found::Ours { is_edited: true, .. } if start.force => {}
            Found::Ours { is_edited: true, .. } => {
                let message = format!("{shown} was changed by hand; remove it, or deploy with force to overwrite it");
                return Err(waiting(Code::UnitDrift, message));
            }
        }
        let group = stanza::group(start.cell);
        let main = &self.places.0.config_file;
        let conf = Conf::read(main).map_err(|error| disk(&format!("reading {}", main.display()), &error))?;
        if let Some(other) = conf.other_holder(&group, &path) {
            return Err(not_owned(format!("{} defines {group}, and is not ours", other.display())));
        }
        conf.includes(&path).map_err(|why| waiting(Code::NeedsOperator, why))?;
        match self.is_running(start.cell, running) {
            Some(false) => Err(not_owned(format!("supervisord runs a group {group} that is not ours"))),
            _ => Ok(()),
        }
    }

    /// Whether the cell's group is ours; None if supervisord has no such group. What it runs says where its log is, and
    /// nobody else logs into the cell's folder.
    pub(super) fn is_running(&self, cell: &CellName, running: &[ProcessInfo]) -> Option<bool> {
        let group = stanza::group(cell);
        let logs = self.places.logs(cell);
        let of_group = running.iter().filter(|process| process.group == group);
        of_group.map(|process| Path::new(&process.log).starts_with(&logs)).reduce(|all, one| all && one)
    }

    /// Puts the cell's file in place and makes supervisord follow it.
    async fn install(&self, cell: &CellName, text: &str, running: &[ProcessInfo]) -> Result<(), ProfileError> {
        let group = stanza::group(cell);
        match self.put_in_place(cell, text, running).await? {
            Differs::Nothing => return Ok(()),
            Differs::Changed => self.end_group(&group, self.patience(cell)).await?,
            Differs::Added => {}
        }
        self.supervisord.add(&group).await.map_err(unavailable)
    }

    /// Puts the cell's file in place and lets supervisord read it. If it does not take it, all is as before.
    async fn put_in_place(
        &self,
        cell: &CellName,
        text: &str,
        running: &[ProcessInfo],
    ) -> Result<Differs, ProfileError> {
        let (path, group) = (self.places.conf(cell), stanza::group(cell));
        let _turn = self.turn.lock().await;
        // If it cannot be read as it is, that is nothing of ours, and supervisord goes on with what it knows.
        self.supervisord.reread().await.map_err(|error| self.reread_failed(error))?;
        let before = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            before => Some(before.map_err(|error| disk(&format!("reading {}", path.display()), &error))?),
        };
        if before.as_deref() != Some(text.as_bytes()) {
            let written = replace(&self.places.0.conf_d_folder, &stanza::file_name(cell), text.as_bytes(), MODE);
            written.map_err(|error| disk(&format!("writing {}", path.display()), &error))?;
        }
        let reread = match self.supervisord.reread().await {
            Ok(reread) => reread,
            Err(error) => {
                self.withdraw(cell, before.as_deref());
                return Err(match error {
                    // It could be read a moment ago, and can be again if it was our file after all.
                    RpcError::Unreadable { text } => match self.supervisord.reread().await {
                        Ok(_) => waiting(Code::NeedsOperator, format!("supervisord refuses our file: {text}")),
                        Err(error) => self.reread_failed(error),
                    },
                    error => unavailable(error),
                });
            }
        };
        if reread.changed.contains(&group) {
            Ok(Differs::Changed)
        } else if reread.added.contains(&group) {
            Ok(Differs::Added)
        } else if running.iter().any(|process| process.group == group) {
            Ok(Differs::Nothing)
        } else {
            self.withdraw(cell, before.as_deref());
            let message = format!("supervisord does not see {}; does it use another main file?", path.display());
            Err(waiting(Code::NeedsOperator, message))
        }
    }

    /// Puts back what was there before a file that supervisord does not take.
    fn withdraw(&self, cell: &CellName, before: Option<&[u8]>) {
        let withdrawn = match before {
            Some(before) => replace(&self.places.0.conf_d_folder, &stanza::file_name(cell), before, MODE),
            None => remove_for_good(&self.places.conf(cell)),
        };
        if let Err(error) = withdrawn {
            tracing::error!(%cell, %error, "supervisord's folder is not as it was before");
        }
    }

    /// How long what runs of a cell may take to end, whichever of its activations that is.
    fn patience(&self, cell: &CellName) -> Duration {
        let services = self.places.shim(cell).services().unwrap_or_default();
        // supervisord takes whole seconds.
        services.iter().map(stops_within).max().unwrap_or_default() + SLACK
    }

    /// Stops a group of ours and makes supervisord forget it.
    async fn end_group(&self, group: &str, patience: Duration) -> Result<(), ProfileError> {
        let give_up_at = self.clock.monotonic() + patience;
        loop {
            // Again and again, because a process may be started again meanwhile. One that is being stopped is left alone.
            self.supervisord.stop(group).await.map_err(unavailable)?;
            if self.supervisord.forget(group).await.map_err(unavailable)? {
                return Ok(());
            }
            if self.clock.monotonic() >= give_up_at {
                let message = format!("supervisord is still stopping {group}, after {} s", patience.as_secs());
                return Err(waiting(Code::Io, message));
            }
            self.clock.sleep(LOOK_AGAIN).await;
        }
    }

    /// Stops all processes of a cell's group and starts again what starts with it. If the agent dies in between, what is stopped goes
    /// on failing its checks and is started by the next one.
    pub(super) async fn start_over(&self, cell: &CellName) -> Result<(), ProfileError> {
        let (group, patience) = (stanza::group(cell), self.patience(cell));
        let give_up_at = self.clock.monotonic() + patience;
        loop {
            self.supervisord.stop(&group).await.map_err(unavailable)?;
            let running = self.supervisord.processes().await.map_err(unavailable)?;
            if !running.iter().any(|process| process.group == group && process.pid != 0) {
                break;
            }
            if self.clock.monotonic() >= give_up_at {
                let message = format!("supervisord is still stopping {group}, after {} s", patience.as_secs());
                return Err(waiting(Code::Io, message));
            }
            self.clock.sleep(LOOK_AGAIN).await;
        }
        let processes = self.watch.definition(cell).processes;
        for (name, _) in processes.iter().filter(|(_, process)| process.autostart) {
            // As the cell's file names them.
            let name = if processes.len() == 1 { &group } else { name };
            self.supervisord.start(&group, name).await.map_err(unavailable)?;
        }
        self.watch.refresh(cell).await;
        Ok(())
    }

    pub(super) async fn take_down(&self, cell: &CellName) -> Result<(), ProfileError> {
        let path = self.places.conf(cell);
        let shown = path.display();
        let found = self.places.found(cell).map_err(|error| disk(&format!("reading {shown}"), &error))?;
        let patience = self.patience(cell);
        if let Found::Ours { .. } = found {
            // First of all, so that no supervisord that starts from now on brings it up again.
            remove_for_good(&path).map_err(|error| disk(&format!("removing {shown}"), &error))?;
        }
        let new = self.places.0.conf_d_folder.join(new_name(&stanza::file_name(cell)));
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(disk(&format!("removing {}", new.display()), &error));
            }
            _ => {}
        }
        if found == Found::Nothing && !self.places.shim(cell).has_activations() {
            return Ok(());
        }
        match self.supervisord.processes().await {
            Ok(running) => {
                if self.is_running(cell, &running) == Some(true) {
                    self.end_group(&stanza::group(cell), patience).await?;
                }
                // So that nobody can bring it back from what supervisord read before. It is no matter if that fails.
                if let Err(error) = self.supervisord.reread().await {
                    tracing::warn!(%cell, "supervisord still knows the configuration of before: {}", in_full(&error));
                }
            }
            Err(error) if error.says_nobody_listens() => {}
            Err(error) => return Err(unavailable(error)),
        }
        self.end_orphans(cell, patience).await?;
        let forgotten = self.places.shim(cell).forget_activations(None);
        forgotten.map_err(|error| disk(&format!("removing from {}", self.places.folder(cell).display()), &error))?;
        self.watch.refresh(cell).await;
        Ok(())
    }

    /// Ends what a supervisord that was killed left running of a cell that no supervisord runs any more.
    async fn end_orphans(&self, cell: &CellName, patience: Duration) -> Result<(), ProfileError> {
        let read = |error: io::Error| disk(&format!("looking for what is left of {cell}"), &error);
        let started = self.places.shim(cell).all_started().map_err(read)?;
        let kill_at = self.clock.monotonic() + patience.saturating_sub(SLACK);
        let give_up_at = kill_at + SLACK;
        for identity in started.into_iter().filter_map(|started| started.identity) {
            let mut signal = SignalName::Term;
            while identity.lives().map_err(read)? {
                if !identity.is_orphan().map_err(read)? {
                    let message =
                        format!("pid {} of the cell runs under a supervisord that does not answer", identity.pid());
                    return Err(waiting(Code::SupervisorUnavailable, message));
                }
                let now = self.clock.monotonic();
                if now >= give_up_at {
                    return Err(waiting(Code::Io, format!("pid {} of the cell does not end", identity.pid())));
                }
                if signal == SignalName::Term || now >= kill_at {
                    identity.signal(signal).map_err(read)?;
                    signal = SignalName::Kill;
                }
                self.clock.sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    /// Why supervisord cannot read its configuration, and which file is at fault as far as it can be seen.
    fn reread_failed(&self, error: RpcError) -> ProfileError {
        let RpcError::Unreadable { .. } = &error else { return unavailable(error) };
        let conf = Conf::read(&self.places.0.config_file).ok();
        let broken = conf.as_ref().and_then(Conf::broken);
        let file = broken.map_or_else(String::new, |(path, why)| format!("{}: {why}: ", path.display()));
        waiting(Code::SupervisorConfBroken, format!("{file}{error}"))
    }
}

/// How what supervisord runs of a cell differs from the cell's file.
enum Differs {
    Nothing,
    Changed,
    /// It runs nothing of it.
    Added,
}

/// Refuses what a manifest may say for our own supervisor, and supervisord cannot do.
fn check_settings(spec: &ProcessSpec) -> Result<(), String> {
    for (name, process) in &spec.processes {
        let restart = &process.run.restart;
        let set = if !process.after.is_empty() {
            "after"
        } else if !restart.is_plain() || restart.delay_ms != Restart::default().delay_ms {
            "a delay, backoff, jitter or reset of its restarts"
        } else {
            continue;
        };
        return Err(format!("process {name} has {set}, which supervisord does not know; use the profile process"));
    }
    Ok(())
}

pub(super) fn unavailable(error: RpcError) -> ProfileError {
    waiting(Code::SupervisorUnavailable, in_full(&error))
}

pub(super) fn disk(doing: &str, error: &io::Error) -> ProfileError {
    let code = if error.kind() == io::ErrorKind::StorageFull { Code::DiskFull } else { Code::Io };
    waiting(code, format!("{doing}: {error}"))
}

/// What can be said of supervisord on this host without changing anything.
#[derive(Debug)]
pub struct SupervisorProbe {
    /// How many processes it takes care of, or why it does not say.
    pub processes: Result<usize, String>,
    /// Whether its main file includes the files of cells; why not otherwise.
    pub includes: Result<(), String>,
    /// A file that it cannot read, and what is wrong with it.
    pub broken: Option<String>,
}

impl SupervisorSettings {
    /// Looks at supervisord and its configuration.
    pub async fn probe(&self, clock: SharedClock) -> SupervisorProbe {
        let processes = Supervisord::new(self.socket.clone(), clock).processes().await;
        let conf = Conf::read(&self.config_file);
        let broken = conf.as_ref().ok().and_then(Conf::broken);
        let broken = broken.map(|(path, why)| format!("{}: {why}", path.display()));
        let includes = match &conf {
            Ok(conf) => conf.includes(&self.conf_d_folder.join("fleetman-cell.conf")),
            Err(error) => Err(format!("reading {}: {error}", self.config_file.display())),
        };
        SupervisorProbe { processes: processes.map(|all| all.len()).map_err(|error| in_full(&error)), includes, broken }
    }
}

/// Removes a file so that no crash of the host brings it back.
fn remove_for_good(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}
