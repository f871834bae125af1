//! How each supervisor is made to run a process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fleetman::clock::SystemClock;
use fleetman::supervise::detached::{Client, Orders};
use fleetman::supervise::{ProcessState, ServiceDef};

use super::support::host::Host;
use super::support::{require_tool, wait_for};

/// What agents start for each cell. It becomes the program beside it, where that is.
pub(crate) const AGENT: &str = env!("CARGO_BIN_EXE_fleetagent");

/// A cell under the supervisor that agents start for it.
pub(crate) struct Cell {
    folder: PathBuf,
    name: String,
    supervisor: Child,
}

impl Cell {
    /// Starts the supervisor, and waits until it listens.
    pub(crate) async fn start(program: &Path, folder: &Path, name: &str) -> Self {
        let supervisor = Command::new(program)
            .args(["supervise".as_ref(), folder.as_os_str(), name.as_ref()])
            .env_clear()
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let cell = Self { folder: folder.to_owned(), name: name.to_owned(), supervisor };
        let listens = async || Client::connect(&cell.folder, &cell.name).await.is_ok();
        wait_for(listens, "a supervisor to listen").await;
        cell
    }

    pub(crate) async fn run(&self, service: ServiceDef) {
        let orders = Orders::up("1", service);
        self.client().await.apply(orders).await.unwrap();
    }

    pub(crate) async fn restart(&self, process: &str) {
        self.client().await.restart_process(process).await.unwrap();
    }

    async fn client(&self) -> Client {
        Client::connect(&self.folder, &self.name).await.unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.supervisor.id()
    }

    /// Completes when this task has.
    pub(crate) async fn completed(&self, process: &str) {
        let mut watch = self.client().await.watch(SystemClock::shared()).await.unwrap();
        loop {
            let status = watch.next().await.unwrap().service.unwrap().processes.remove(process).unwrap();
            match status.state {
                ProcessState::Completed { .. } => return,
                state => assert!(!state.is_at_rest(), "{state:?}"),
            }
        }
    }

    pub(crate) async fn stop(mut self) {
        self.client().await.stop().await.unwrap();
        assert!(self.supervisor.wait().unwrap().success());
    }
}

/// supervisord, if it is installed.
pub(crate) struct Supervisord(Child);

impl Supervisord {
    pub(crate) fn start(folder: &Path, command: &[String]) -> Option<Self> {
        let program = require_tool("supervisord")?;
        let (config, folder) = (folder.join("supervisord.conf"), folder.display());
        let text = format!(
            "[supervisord]\nnodaemon=true\nsilent=true\nuser=root\nchildlogdir={folder}\nlogfile={folder}/log\npidfile={folder}/pid\n\
             [program:web]\ncommand={}\nautorestart=true\nstartsecs=0\n",
            command.join(" ")
        );
        std::fs::write(&config, text).unwrap();
        Some(Self(Command::new(program).arg("-c").arg(config).stdin(Stdio::null()).spawn().unwrap()))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap();
    }
}

/// Lets the systemd of a host run `command`.
pub(crate) async fn systemd_runs(host: &Host, command: &[String]) {
    let mut run = vec!["systemd-run", "--quiet", "--unit=mortal", "--property=Restart=always"];
    run.extend(["--property=RestartSec=0", "--property=StartLimitIntervalSec=0", "--"]);
    run.extend(command.iter().map(String::as_str));
    host.run(&run).await.exits(0);
}
