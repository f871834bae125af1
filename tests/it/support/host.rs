//! A machine that boots a real systemd: Debian in namespaces of its own, with supervisord on it.
//!
//! All that a host is hangs on one process, its plug: PID 1 of a PID namespace, in a mount namespace that holds the
//! host's disk. It reads its standard input, and only the test holds the other end. However the test ends, even
//! killed, the plug ends, the kernel kills everything that ran on the host, and its mounts are gone with the namespace.
//! Only a test that is killed leaves the host's folder, and control groups without processes.
//!
//! The disk is an overlay over a base that all hosts share, so every host begins clean. The network is the machine's:
//! on a host `127.0.0.1` reaches a store of the test.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use super::cli::Ran;
use super::{require_tool, skip, wait_for};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin";

/// Where every host has the `fleetagent` that was built with the tests.
pub(crate) const FLEETAGENT: &str = "/usr/local/bin/fleetagent";

/// Takes the base and the host's folder. What systemd-nspawn keeps by a host's name, and leaves behind, each has to
/// itself, so that names may be used again.
const PLUG: &str = r#"
    mkdir -p /run/systemd/nspawn
    mount -t tmpfs tmpfs /run/systemd/nspawn
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/up,workdir=$2/work" "$2/root"
    exec cat
"#;

/// Takes the plug's process, the host's name and folder, the agent's program with its place, and control groups.
const BOOT: &str = r#"
    plug=$1 name=$2 folder=$3 program=$4
    shift 4
    for group; do echo $$ >"$group/cgroup.procs"; done
    exec nsenter --mount="/proc/$plug/ns/mnt" --pid="/proc/$plug/ns/pid_for_children" \
        systemd-nspawn --quiet --boot --directory="$folder/root" --machine="$name" --register=no --keep-unit \
        --link-journal=no --bind-ro="$program"
"#;

/// Where the machine's control groups are, of either version and of both together.
const CONTROL_GROUPS: [&str; 3] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"];

/// A host. When it goes, everything of it goes.
pub(crate) struct Host {
    name: String,
    folder: TempDir,
    plug: Child,
    /// What boots the host and ends after everything on it; `None` while the host is off.
    nspawn: Option<Child>,
    leader: Option<Leader>,
}

/// PID 1 of a host.
struct Leader {
    /// By its number on this machine.
    pid: Pid,
    handle: OwnedFd,
}

impl Host {
    /// Boots a new host, or says that the test is skipped because this machine cannot (see [`skip`]).
    ///
    /// It needs root, and in `FLEETMAN_HOST_BASE` a folder that holds an installed Debian; `.ci/run` makes one.
    pub(crate) async fn boot(name: &str) -> Option<Self> {
        let base = std::env::var_os("FLEETMAN_HOST_BASE").map(PathBuf::from);
        let Some(base) = base.filter(|base| base.join("usr/lib/systemd/systemd").is_file()) else {
            return skip("there is no system in FLEETMAN_HOST_BASE");
        };
        if !rustix::process::geteuid().is_root() {
            return skip("only root can boot a host");
        }
        for tool in ["mount", "nsenter", "systemd-nspawn", "unshare"] {
            require_tool(tool)?;
        }
        let folder = tempfile::Builder::new().prefix("fleetman-host-").tempdir().unwrap();
        for part in ["up/etc", "work", "root"] {
            std::fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        std::fs::write(folder.path().join("up/etc/hostname"), format!("{name}\n")).unwrap();
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().replace('-', "");
        std::fs::write(folder.path().join("up/etc/machine-id"), id).unwrap();

        let plug = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--pid", "--mount-proc", "--fork", "--kill-child"])
            .args(["sh", "-euc", PLUG, "sh"])
            .args([base.as_path(), folder.path()])
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut host = Self { name: name.to_owned(), folder, plug, nspawn: None, leader: None };
        let mounted = async || host.path("/usr").exists() || host.plug.try_wait().unwrap().is_some();
        wait_for(mounted, "the disk of a host").await;
        assert!(host.path("/usr").exists(), "the disk of {name} cannot be mounted");
        host.boot_again().await;
        Some(host)
    }

    /// Boots the host from what is on its disk, and waits until it is up.
    pub(crate) async fn boot_again(&mut self) {
        assert!(self.nspawn.is_none(), "{} is on", self.name);
        let groups = self.control_groups();
        for group in &groups {
            std::fs::create_dir(group).unwrap();
        }
        let console = File::options().create(true).append(true).open(self.folder.path().join("console")).unwrap();
        let nspawn = Command::new("sh")
            .args(["-euc", BOOT, "sh", &self.plug.id().to_string(), &self.name])
            .arg(self.folder.path())
            .arg(format!("{}:{FLEETAGENT}", env!("CARGO_BIN_EXE_fleetagent")))
            .args(groups)
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .unwrap();
        let nspawn = self.nspawn.insert(nspawn);
        let leader = &mut self.leader;
        let begun = async || {
            *leader = Leader::below(nspawn);
            leader.is_some() || nspawn.try_wait().unwrap().is_some()
        };
        wait_for(begun, "a host to begin").await;
        let up = async || {
            let state = self.run(&["systemctl", "is-system-running"]).await.out;
            ["running", "degraded"].contains(&state.trim())
        };
        wait_for(up, "a host to be up").await;
    }

    /// Crashes the host: everything on it is killed at once, and its `/run` and `/tmp` are gone. The disk keeps all
    /// that was written, also what was not synced.
    pub(crate) async fn kill_hard(&mut self) {
        // Killing nspawn is no crash: the host's PID 1 goes on without it.
        pidfd_send_signal(&self.leader().handle, Signal::KILL).unwrap();
        self.wait_off().await;
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Shuts the host down in order. The disk stays.
    pub(crate) async fn stop(&mut self) {
        self.run(&["systemctl", "poweroff"]).await.exits(0);
        self.wait_off().await;
    }

    async fn wait_off(&mut self) {
        let nspawn = self.nspawn.as_mut().unwrap();
        wait_for(async || nspawn.try_wait().unwrap().is_some(), "a host to be off").await;
        self.nspawn = None;
        self.leader = None;
        self.remove_control_groups().unwrap();
    }

    fn unplug(&mut self) -> std::io::Result<()> {
        drop(self.plug.stdin.take());
        self.plug.wait()?;
        if let Some(mut nspawn) = self.nspawn.take() {
            nspawn.wait()?;
            self.remove_control_groups()?;
        }
        Ok(())
    }

    /// Runs a command on the host as root, in the environment of a service.
    pub(crate) async fn run(&self, command: &[&str]) -> Ran {
        let leader = self.leader_pid().as_raw_nonzero().to_string();
        let output = tokio::process::Command::new("nsenter")
            .args(["--target", &leader, "--mount", "--pid", "--uts", "--ipc", "--"])
            .args(command)
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(60), output).await;
        Ran::from(output.unwrap_or_else(|_| panic!("{command:?} does not end on {}", self.name)).unwrap())
    }

    /// What a unit has logged, of every boot.
    pub(crate) async fn journal(&self, unit: &str) -> String {
        self.run(&["journalctl", "--no-pager", "--output=cat", "--unit", unit]).await.exits(0).out
    }

    /// The process on this machine that is the host's PID 1.
    pub(crate) fn leader_pid(&self) -> Pid {
        self.leader().pid
    }

    fn leader(&self) -> &Leader {
        self.leader.as_ref().unwrap_or_else(|| panic!("{} is off:\n{}", self.name, self.console()))
    }

    /// Where a file of the host's disk is for the test, also while the host is off.
    ///
    /// What a host mounts over its disk is not there: `/run`, `/tmp` and [`FLEETAGENT`]. Links on the way that begin
    /// with `/` lead elsewhere; [`Host::read`] follows them.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/{}/root", self.plug.id()));
        for part in [self.folder.path(), Path::new("root"), Path::new(inside)] {
            path.push(part.strip_prefix("/").unwrap_or(part));
        }
        path
    }

    /// Writes a file onto the host's disk, and the folders that it is in.
    pub(crate) fn write(&self, inside: &str, text: &str) {
        std::fs::write(self.prepared(inside), text).unwrap();
    }

    /// Copies a file onto the host's disk; a program stays one.
    pub(crate) fn copy_in(&self, file: &Path, inside: &str) {
        std::fs::copy(file, self.prepared(inside)).unwrap();
    }

    fn prepared(&self, inside: &str) -> PathBuf {
        let path = self.path(inside);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// The text of a file on the host's disk, if it is there, with links followed as on the host.
    pub(crate) fn read(&self, inside: &str) -> Option<String> {
        let disk = File::open(self.path("/")).unwrap();
        let opened = openat2(disk, inside, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT);
        match opened {
            Ok(file) => Some(std::io::read_to_string(File::from(file)).unwrap()),
            Err(Errno::NOENT) => None,
            Err(error) => panic!("{inside} on {}: {error}", self.name),
        }
    }

    fn remove_control_groups(&self) -> std::io::Result<()> {
        self.control_groups().iter().try_for_each(|group| remove_control_group(group))
    }

    /// What shows on this machine that the host is on; all of it goes with the host.
    pub(crate) fn traces(&self) -> Vec<PathBuf> {
        let mut traces = self.control_groups();
        let processes = [self.plug.id().to_string(), self.leader_pid().as_raw_nonzero().to_string()];
        traces.extend(processes.map(|pid| Path::new("/proc").join(pid)));
        traces.push(self.folder.path().to_owned());
        traces
    }

    /// What the host said on its console while it booted.
    fn console(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("console")).unwrap_or_default()
    }

    /// The host's own control groups. systemd on two hosts in one group would mistake the other's units for its own.
    fn control_groups(&self) -> Vec<PathBuf> {
        let roots = CONTROL_GROUPS.map(Path::new).into_iter().filter(|root| root.join("cgroup.procs").exists());
        roots.map(|root| root.join(self.folder.path().file_name().unwrap())).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the console of {}:\n{}", self.name, self.console());
        }
        // A second panic would hide the first.
        if let Err(error) = self.unplug() {
            eprintln!("{} leaves something behind: {error}", self.name);
        }
    }
}

impl Leader {
    /// Below nsenter is nspawn, and below that the host's PID 1, once it is that.
    fn below(nsenter: &Child) -> Option<Self> {
        let pid = only_child(only_child(nsenter.id().to_string())?)?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        // By its number on this machine, below the plug, and on the host.
        let [_, _, "1"] = numbers.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        let pid = Pid::from_raw(pid.parse().ok()?)?;
        Some(Self { pid, handle: pidfd_open(pid, PidfdFlags::empty()).ok()? })
    }
}

fn only_child(pid: String) -> Option<String> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next().map(str::to_owned)
}

/// Removes a group with all groups in it. Only a group without processes can be removed.
fn remove_control_group(group: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_control_group(&entry.path())?;
        }
    }
    std::fs::remove_dir(group)
}
