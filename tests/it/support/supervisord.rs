//! A supervisord of a test's own, with a program that is nobody's business.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fleetman::profiles::SupervisorSettings;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{require_tool, wait_for};

/// What runs beside the cells, and must never notice anything of them.
pub(crate) const FOREIGN: &str = "[program:foreign]\ncommand=/bin/sleep 100000\n";

/// supervisord as the test's user, in a folder of its own.
pub(crate) struct Supervisord {
    folder: TempDir,
    process: Option<Child>,
}

impl Drop for Supervisord {
    /// It ends what it runs first.
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            for signal in [Signal::CONT, Signal::TERM] {
                let _ = kill_process(Pid::from_child(process), signal);
            }
            let _ = process.wait();
        }
    }
}

impl Supervisord {
    /// Starts one, or says that the test is skipped because this machine has none.
    pub(crate) async fn start() -> Option<Self> {
        require_tool("supervisord")?;
        require_tool("supervisorctl")?;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::create_dir(path.join("conf.d")).unwrap();
        let main = format!(
            "[unix_http_server]\nfile={0}/socket\n[supervisord]\nnodaemon=true\nlogfile={0}/log\npidfile={0}/pid\n\
             childlogdir={0}\n[rpcinterface:supervisor]\n\
             supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
             [supervisorctl]\nserverurl=unix://{0}/socket\n[include]\nfiles=conf.d/*.conf\n",
            path.display()
        );
        std::fs::write(path.join("supervisord.conf"), main).unwrap();
        let mut supervisord = Self { folder, process: None };
        supervisord.write("foreign.conf", FOREIGN);
        supervisord.begin().await;
        Some(supervisord)
    }

    /// Starts it anew after it was ended or killed.
    pub(crate) async fn begin(&mut self) {
        let mut command = Command::new("supervisord");
        command.args(["-n", "-c"]).arg(self.path("supervisord.conf"));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.process = Some(process);
        let up = async || self.ctl(&["status", "foreign"]).contains("RUNNING");
        wait_for(up, "supervisord to run").await;
    }

    /// Sends it a signal; if that ends it, what it ran is ended or left behind.
    pub(crate) fn signal(&mut self, signal: Signal) {
        let process = self.process.as_mut().unwrap();
        kill_process(Pid::from_child(process), signal).unwrap();
        if [Signal::TERM, Signal::KILL].contains(&signal) {
            let ended = process.wait().unwrap();
            assert!(ended.success() || ended.signal() == Some(9), "{ended}");
            self.process = None;
        }
    }

    pub(crate) fn settings(&self, folder: PathBuf) -> SupervisorSettings {
        SupervisorSettings {
            conf_d_folder: self.path("conf.d"),
            config_file: self.path("supervisord.conf"),
            socket: self.path("socket"),
            folder,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file that it includes.
    pub(crate) fn conf(&self, name: &str) -> PathBuf {
        self.path("conf.d").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.conf(name), text).unwrap();
    }

    /// The names of the files that it includes.
    pub(crate) fn confs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("conf.d")).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What `supervisorctl` says.
    pub(crate) fn ctl(&self, words: &[&str]) -> String {
        let ctl = Command::new("supervisorctl").arg("-c").arg(self.path("supervisord.conf")).args(words).output();
        String::from_utf8(ctl.unwrap().stdout).unwrap()
    }

    /// The process id of a program that runs.
    pub(crate) fn pid(&self, program: &str) -> u32 {
        let said = self.ctl(&["pid", program]);
        said.trim().parse().unwrap_or_else(|_| panic!("{program}: {said}"))
    }
}

/// The parts of a file of `/proc` that NUL bytes divide.
pub(crate) fn parts(pid: u32, file: &str) -> Vec<String> {
    let bytes = std::fs::read(Path::new("/proc").join(pid.to_string()).join(file)).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.strip_suffix('\0').unwrap_or(&text).split('\0').map(str::to_owned).collect()
}
