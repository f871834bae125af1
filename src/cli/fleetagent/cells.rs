//! The cells under the process profile, as verbs on the node find them: in the folders, and through their supervisors.
//! No agent has to run, and the bucket is not asked.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::clock::SharedClock;
use crate::model::{CellName, NodeName, ProcessName};
use crate::profiles::ProcessSettings;
use crate::store::in_full;
use crate::supervise::LogFiles;
use crate::supervise::detached::{Client, DetachedError, Orders, Report, Wanted};

/// How long a supervisor may take to say what it does.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A cell of this node, or one process of it.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) cell: CellName,
    pub(super) process: Option<ProcessName>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (cell, process) = match text.split_once('/') {
            Some((cell, process)) => (cell, Some(process)),
            None => (text, None),
        };
        let cell = cell.parse().map_err(|error| format!("{error}"))?;
        let process = process.map(str::parse).transpose().map_err(|error| format!("{error}"))?;
        Ok(Self { cell, process })
    }
}

/// The cells of this node.
pub(super) struct Cells {
    settings: ProcessSettings,
    node: NodeName,
    clock: SharedClock,
}

impl Cells {
    pub(super) fn of(context: &Context) -> Result<Self, Failure> {
        let config = context.config()?;
        let Some(settings) = config.profiles.process else {
            let message = "this node is not set up for the process profile, and nothing else runs processes";
            let help = format!("add `process: {{}}` to {}", context.find_config()?.display());
            return Err(Failure::new(Exit::Usage, "profile_not_set_up", message).help(help));
        };
        Ok(Self { settings, node: config.node, clock: context.clock.clone() })
    }

    /// Every cell, by name.
    pub(super) fn all(&self) -> Result<Vec<Cell>, Failure> {
        let folder = &self.settings.folder;
        let mut names = self.settings.cells().map_err(|error| reading(folder, &error))?;
        names.sort();
        Ok(names.into_iter().map(|name| self.cell(name)).collect())
    }

    /// The cell of this name.
    pub(super) fn find(&self, name: &CellName) -> Result<Cell, Failure> {
        let there = self.all()?;
        let help = match there.as_slice() {
            _ if name.as_str() == self.node.as_str() => "here a cell is called by its name alone".to_owned(),
            [] => "no cell was ever deployed here with it".to_owned(),
            cells => format!("there is {}", list(cells.iter().map(|cell| &cell.name))),
        };
        there.into_iter().find(|cell| cell.name == *name).ok_or_else(|| {
            let message = format!("this node has no cell {name} under the process profile");
            Failure::new(Exit::NotFound, "no_cell", message).help(help)
        })
    }

    fn cell(&self, name: CellName) -> Cell {
        let (root, node, clock) = (self.settings.folder.clone(), self.node.clone(), self.clock.clone());
        Cell { root, name, node, clock }
    }
}

/// A cell that has a folder here.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    root: PathBuf,
    pub(super) name: CellName,
    node: NodeName,
    clock: SharedClock,
}

impl Cell {
    fn folder(&self) -> PathBuf {
        self.root.join(self.name.as_str())
    }

    /// How a controller calls it.
    pub(super) fn address(&self) -> String {
        format!("{}/{}", self.node, self.name)
    }

    /// What its supervisor was told last; None if that never came to it.
    pub(super) fn orders(&self) -> Result<Option<Orders>, Failure> {
        let folder = self.folder();
        Orders::load(&folder).map_err(|error| reading(&folder.join("orders.json"), &error))
    }

    /// The log files of a process, which need no supervisor; None if nothing was ever logged.
    pub(super) fn logs(&self, process: &str) -> Result<Option<LogFiles>, Failure> {
        let folder = self.folder().join("logs");
        match LogFiles::of(&folder, process) {
            Ok(files) => Ok(Some(files).filter(|files| !files.files().is_empty())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(reading(&folder, &error)),
        }
    }

    /// Its processes that `target` means, by the orders.
    pub(super) fn processes(&self, target: &Target, orders: Option<&Orders>) -> Result<Vec<String>, Failure> {
        let there: Vec<&String> = orders.iter().flat_map(|orders| orders.service.processes.keys()).collect();
        match &target.process {
            None => Ok(there.into_iter().cloned().collect()),
            Some(process) if there.iter().any(|name| *name == process.as_str()) => Ok(vec![process.to_string()]),
            Some(process) => {
                let message = format!("cell {} has no process {process}", self.name);
                let failure = Failure::new(Exit::NotFound, "no_process", message);
                Err(if there.is_empty() { failure } else { failure.help(format!("it has {}", list(there))) })
            }
        }
    }

    /// Speaks to its supervisor.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        self.in_time(Client::connect(&self.root, self.name.as_str())).await
    }

    /// What its supervisor says it does.
    pub(super) async fn report(&self) -> Result<Report, Failure> {
        let asked = async { Client::connect(&self.root, self.name.as_str()).await?.status().await };
        self.in_time(asked).await
    }

    /// What was asked, unless the supervisor takes so long that it hangs.
    pub(super) async fn in_time<T>(&self, asked: impl Future<Output = Result<T, DetachedError>>) -> Result<T, Failure> {
        tokio::select! {
            result = asked => result.map_err(|error| self.failure(&error)),
            () = self.clock.sleep(ANSWERS_WITHIN) => {
                let (cell, secs) = (&self.name, ANSWERS_WITHIN.as_secs());
                let message = format!("the supervisor of {cell} is there and has not answered within {secs} s");
                Err(Failure::new(Exit::TimedOut, "no_answer", message))
            }
        }
    }

    /// Why nothing came of asking its supervisor, and what can be done.
    pub(super) fn failure(&self, error: &DetachedError) -> Failure {
        let message = in_full(error);
        match error {
            DetachedError::NotThere { .. } => self.no_supervisor(),
            DetachedError::Foreign { .. } | DetachedError::TooOld { .. } => {
                Failure::new(Exit::Conflict, "foreign_protocol", message)
            }
            DetachedError::Refused { code, .. } => {
                let exit = match code.as_str() {
                    "no_process" | "no_service" => Exit::NotFound,
                    "overruled" => Exit::Conflict,
                    "no_reload_signal" => Exit::Usage,
                    // Every supervisor of this release knows all that is asked here.
                    "unknown_request" => return self.older_supervisor(),
                    _ => Exit::Failed,
                };
                Failure::new(exit, code, message)
            }
            DetachedError::Broken { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => denied(message),
            DetachedError::Broken { .. } => Failure::new(Exit::Failed, "supervisor_lost", message),
        }
    }

    fn older_supervisor(&self) -> Failure {
        let message = format!("the supervisor of {} is of an earlier release, which cannot do this", self.name);
        Failure::new(Exit::Conflict, "foreign_protocol", message)
    }

    /// There is none, as it should be or not.
    fn no_supervisor(&self) -> Failure {
        let (cell, address) = (&self.name, self.address());
        let wanted = match self.orders() {
            Ok(orders) => orders.map(|orders| orders.wanted),
            Err(failure) => return failure,
        };
        let (message, help) = match wanted {
            Some(Wanted::Down) => (
                format!("cell {cell} was stopped for good, so it has no supervisor"),
                format!("`fleetman redeploy {address}` starts it again"),
            ),
            Some(Wanted::Up) => (
                format!("cell {cell} is to run, and its supervisor is not there"),
                "the agent starts it: systemctl start fleetagent".to_owned(),
            ),
            None => (
                format!("cell {cell} was never started, so it has no supervisor"),
                "`fleetagent status` says what it waits for".to_owned(),
            ),
        };
        Failure::new(Exit::NotFound, "no_supervisor", message).help(help)
    }
}

/// Names in a sentence.
fn list<T: fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

fn reading(path: &Path, error: &io::Error) -> Failure {
    let doing = format!("reading {}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => denied(format!("{doing}: {error}")),
        _ => Failure::local(doing, error),
    }
}

/// What an agent that is root keeps is only for root.
fn denied(message: String) -> Failure {
    Failure::new(Exit::Denied, "denied", message).help("run this as the user that the agent runs as, usually root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_cell_or_a_process_of_it() {
        let parse = |text: &str| text.parse::<Target>();
        let whole = parse("web").unwrap();
        assert_eq!((whole.cell.as_str(), whole.process), ("web", None));
        let one = parse("web/main").unwrap();
        assert_eq!(one.process.unwrap().as_str(), "main");
        for bad in ["", "/main", "web/", "web/main/x", "web/../x", "WEB"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
