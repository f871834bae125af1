//! An agent that is PID 1, as in a container: in a PID namespace of its own, with processes that others left to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fleetman::supervise::detached::Orders;
use fleetman::supervise::{ProcessDef, Run, ServiceDef};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::support::cli::{FLEET, Workplace};
use crate::support::{PATIENCE, require_tool, skip, wait_for};

/// A namespace in which the agent is PID 1. Before it became that it left a cell's supervisor and another process
/// without a parent.
struct Container {
    place: Workplace,
    unshare: Child,
}

impl Container {
    async fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return skip("only root can make a PID namespace");
        }
        let unshare = require_tool("unshare")?;
        let place = Workplace::empty();
        place.write(
            "agent_config.yaml",
            &format!(
                "node: n1\nfleet: {FLEET}\nsigning: unsigned\nstate_folder: state\nprocess: {{folder: cells}}\n\
                 bucket: {{bucket: b, endpoint: \"http://127.0.0.1:1\", access_key: id, secret_key: key}}\n"
            ),
        );
        let service = format!(
            "trap 'echo bye > {}; exit 0' TERM; while :; do sleep 0.01; done",
            place.path().join("said").display()
        );
        let process = ProcessDef {
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".into())]),
            ..ProcessDef::new(Run::Shell(service))
        };
        let service = ServiceDef::of("main", process);
        let orders = Orders::up("1", service);
        place.write("cells/web/orders.json", &serde_json::to_string(&orders).unwrap());
        let agent = env!("CARGO_BIN_EXE_fleetagent");
        let (orphan, cells) = (place.path().join("orphan"), place.path().join("cells"));
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &orphan, mode).unwrap();
        let leave = format!("({agent} supervise {} web &); (cat {} &)", cells.display(), orphan.display());
        let mut command = Command::new(unshare);
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "/bin/sh", "-c"]);
        command.arg(format!("{leave}; exec {agent} run")).current_dir(place.path());
        command.stderr(std::fs::File::create(place.path().join("log")).unwrap());
        let container = Self { unshare: command.kill_on_drop(true).spawn().unwrap(), place };
        let settled = async || {
            let states = [container.supervisor(), container.orphan()];
            states.iter().all(Option::is_some) && container.agent().is_some() && container.service().is_some()
        };
        wait_for(settled, "an agent as PID 1 with the children of others").await;
        Some(container)
    }

    /// PID 1, by its id out here.
    fn init(&self) -> Option<Pid> {
        children(Pid::from_raw(i32::try_from(self.unshare.id()?).ok()?)?).first().copied()
    }

    /// The child of PID 1 that has this word in its command line, or is the program of that name.
    fn child(&self, word: &str) -> Option<Pid> {
        let is_meant = |other: &String| Path::new(other).file_name().is_some_and(|name| name == word);
        children(self.init()?).into_iter().find(|pid| words(*pid).iter().any(is_meant))
    }

    fn agent(&self) -> Option<Pid> {
        self.child("run")
    }

    fn supervisor(&self) -> Option<Pid> {
        self.child("fleetsupervisor")
    }

    fn orphan(&self) -> Option<Pid> {
        self.child("cat")
    }

    fn service(&self) -> Option<Pid> {
        // It has set its trap by the time it sleeps.
        children(self.supervisor()?).into_iter().find(|pid| !children(*pid).is_empty())
    }

    /// The exit code of PID 1, after everything in the namespace has gone.
    async fn ended(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, self.unshare.wait()).await;
        ended.expect("an end in time").unwrap().code()
    }

    fn said(&self) -> PathBuf {
        self.place.path().join("said")
    }
}

fn children(pid: Pid) -> Vec<Pid> {
    let pid = pid.as_raw_nonzero();
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

fn words(pid: Pid) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

fn exists(pid: Pid) -> bool {
    Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists()
}

#[tokio::test]
async fn an_orphan_leaves_no_zombie_and_sigterm_ends_all_in_order() {
    let Some(mut container) = Container::start().await else { return };
    let orphan = container.orphan().unwrap();
    drop(std::fs::OpenOptions::new().write(true).open(container.place.path().join("orphan")).unwrap());
    wait_for(async || !exists(orphan), "the orphan to be collected").await;

    kill_process(container.init().unwrap(), Signal::TERM).unwrap();
    assert_eq!(container.ended().await, Some(0));
    assert_eq!(std::fs::read_to_string(container.said()).unwrap(), "bye\n", "the cell was stopped, and not killed");
    container.place.fleetagent(&["status"]).await.exits(3);
}

#[tokio::test]
async fn what_is_pid_1_ends_as_the_agent_does() {
    let Some(mut container) = Container::start().await else { return };
    kill_process(container.agent().unwrap(), Signal::KILL).unwrap();
    assert_eq!(container.ended().await, Some(137));
    assert_eq!(std::fs::read_to_string(container.said()).unwrap(), "bye\n", "the cell was stopped, and not killed");
}
