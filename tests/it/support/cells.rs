//! Cells with real supervisors and no agent, and the node's commands on them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fleetman::supervise::detached::{Client, Orders};
use fleetman::supervise::{Kind, ProcessDef, Restart, RestartPolicy, Run, ServiceDef, Stop};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;

use super::cli::{FLEET, Workplace};
use super::wait_for;
use crate::support::PATIENCE;

/// A node with cells, and no agent.
pub(crate) struct Node {
    pub(crate) place: Workplace,
    pub(crate) supervisors: BTreeMap<String, Child>,
}

impl Drop for Node {
    /// Asked to end, a supervisor stops its cell first.
    fn drop(&mut self) {
        for supervisor in self.supervisors.values_mut() {
            let _ = kill_process(Pid::from_child(supervisor), Signal::TERM);
            let _ = supervisor.wait();
        }
    }
}

impl Node {
    pub(crate) fn new() -> Self {
        let place = Workplace::empty();
        place.write("agent_config.yaml", &config("process: {folder: cells}\n"));
        Self { place, supervisors: BTreeMap::new() }
    }

    pub(crate) fn cells(&self) -> PathBuf {
        self.place.path().join("cells")
    }

    /// Makes a cell that has files and was never started.
    pub(crate) fn cell(&self, cell: &str) {
        std::fs::create_dir_all(self.cells().join(cell).join("releases")).unwrap();
    }

    /// Starts the supervisor of a cell, and gives its orders.
    pub(crate) async fn run(&mut self, cell: &str, processes: impl IntoIterator<Item = (&str, ProcessDef)>) {
        self.cell(cell);
        self.supervise(cell).await;
        self.order(cell, "1", processes).await;
    }

    /// Starts the supervisor of a cell, which goes on with its orders.
    pub(crate) async fn supervise(&mut self, cell: &str) {
        self.supervise_with(cell, &[]).await;
    }

    /// As [`Node::supervise`], with more arguments for the supervisor.
    pub(crate) async fn supervise_with(&mut self, cell: &str, more: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetagent"));
        command.arg("supervise").arg(self.cells()).arg(cell);
        let bound_to = std::process::id().to_string();
        let child = command
            .args(["--bound-to", &bound_to])
            .args(more)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.supervisors.insert(cell.to_owned(), child);
        wait_for(async || Client::connect(&self.cells(), cell).await.is_ok(), "a supervisor to listen").await;
    }

    pub(crate) async fn order(&self, cell: &str, id: &str, processes: impl IntoIterator<Item = (&str, ProcessDef)>) {
        let processes = processes.into_iter().map(|(name, process)| (name.to_owned(), process)).collect();
        let service = ServiceDef { processes, ..ServiceDef::default() };
        let orders = Orders::up(id, service);
        Client::connect(&self.cells(), cell).await.unwrap().apply(orders).await.unwrap();
    }

    /// Kills a supervisor; what it took care of goes on.
    pub(crate) fn kill_supervisor(&mut self, cell: &str) {
        let mut supervisor = self.supervisors.remove(cell).unwrap();
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
    }

    /// What `ps` says of a cell.
    pub(crate) async fn ps(&self, cell: &str) -> Value {
        let rows = self.place.fleetagent(&["ps", "-o", "json"]).await.json();
        rows.as_array().unwrap().iter().find(|row| row["cell"] == cell).unwrap().clone()
    }

    pub(crate) async fn pid(&self, cell: &str, process: &str) -> i64 {
        self.ps(cell).await["processes"][process]["pid"].as_i64().unwrap()
    }

    /// Waits until the logs of a cell hold `text`.
    pub(crate) async fn wait_for_log(&self, cell: &str, text: &str) {
        let there = async || self.place.fleetagent(&["logs", cell]).await.out.contains(text);
        wait_for(there, &format!("{text:?} in the log of {cell}")).await;
    }

    /// A pipe that a process of [`repeater`] reads from.
    pub(crate) fn pipe(&self, name: &str) -> PathBuf {
        let path = self.place.path().join(name);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        path
    }

    /// Begins to follow.
    pub(crate) fn follow(&self, args: &[&str]) -> Follower {
        let mut child = self.place.start_fleetagent(&[&["logs", "-f"], args].concat());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Follower { child, lines }
    }
}

/// `fleetagent logs -f`.
pub(crate) struct Follower {
    pub(crate) child: tokio::process::Child,
    pub(crate) lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    pub(crate) async fn line(&mut self) -> String {
        let next = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        next.expect("a line in time").unwrap().expect("a line")
    }

    pub(crate) fn interrupt(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
    }

    /// Waits for its end: its exit code, and what it said beside the output.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        let ended = async {
            stderr.read_to_string(&mut said).await.unwrap();
            self.child.wait().await.unwrap().code()
        };
        let code = tokio::time::timeout(PATIENCE, ended).await.expect("an end in time");
        (code, said)
    }
}

/// An agent's config for a bucket that is never asked.
pub(crate) fn config(more: &str) -> String {
    format!("node: n1\nfleet: {FLEET}\nsigning: unsigned\nbucket: {{bucket: b}}\nstate_folder: state\n{more}")
}

pub(crate) fn shell(line: &str) -> ProcessDef {
    ProcessDef {
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".into())]),
        restart: Restart { policy: RestartPolicy::Never, ..Restart::default() },
        stop: Stop { timeout_ms: 2_000, ..Stop::default() },
        ..ProcessDef::new(Run::Shell(line.to_owned()))
    }
}

pub(crate) fn task(line: &str) -> ProcessDef {
    ProcessDef { kind: Kind::Task, ..shell(line) }
}

/// Says what comes through a pipe.
pub(crate) fn repeater(pipe: &Path) -> ProcessDef {
    shell(&format!("echo ready; while :; do cat {}; done", pipe.display()))
}

pub(crate) fn say(pipe: &Path, text: &str) {
    std::fs::OpenOptions::new().write(true).open(pipe).unwrap().write_all(text.as_bytes()).unwrap();
}
