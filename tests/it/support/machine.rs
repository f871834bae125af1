//! A machine of processes whose power can be cut: whatever runs on it is killed at once, and of its disk only that is
//! left which was synced.
//!
//! The disk is an image with ext4 on it. A cut copies the image while the file system is still mounted, so that what
//! only the kernel's memory holds is not in the copy, and boots from that. What runs, runs in namespaces of its own
//! below a PID 1 that ends with the test, and sees no systemd.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{require_tool, skip};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Takes the image and where it is mounted, and keeps it mounted until its standard input ends. What nobody syncs is
/// not to be written by the kernel's own clock. Where there are no loop devices the folder itself is the disk.
const DISK: &str = r#"
    mount -o loop,commit=300 "$1" "$2" || echo "without loop devices a power cut spares what was not synced" >&2
    echo ready
    exec cat >/dev/null
"#;

/// PID 1, until its standard input ends. What it inherits is nobody's: the kernel reaps it.
const FIRST: &str = r#"
    mount -t tmpfs tmpfs /run
    trap '' CHLD
    echo ready
    exec cat >/dev/null
"#;

/// A machine that is on. When it goes, everything of it goes.
pub(crate) struct Machine {
    folder: TempDir,
    cuts: u32,
    disk: Child,
    first: Child,
}

/// A program that runs on a machine.
pub(crate) struct Program {
    child: Child,
    lines: watch::Receiver<u32>,
    reader: JoinHandle<()>,
}

impl Machine {
    /// Boots a machine with an empty disk, or says that the test is skipped because this machine cannot (see [`skip`]).
    pub(crate) async fn boot() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return skip("only root can cut the power of a machine");
        }
        for tool in ["cp", "mkfs.ext4", "mount", "nsenter", "unshare"] {
            require_tool(tool)?;
        }
        let folder = tempfile::Builder::new().prefix("fleetman-machine-").tempdir().unwrap();
        std::fs::create_dir(folder.path().join("disk")).unwrap();
        let image = folder.path().join("0.img");
        File::create(&image).unwrap().set_len(128 << 20).unwrap();
        let made =
            Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0", "-J", "size=4"]).arg(&image).status().await.unwrap();
        assert!(made.success(), "{made}");
        let disk = mount(folder.path(), &image).await;
        let first = first(&disk).await;
        Some(Self { folder, cuts: 0, disk, first })
    }

    /// Where the machine's disk is, for what runs on it.
    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// The same for the test.
    pub(crate) fn outside(&self) -> PathBuf {
        let disk = self.disk();
        Path::new(&format!("/proc/{}/root", self.disk.id().unwrap())).join(disk.strip_prefix("/").unwrap())
    }

    /// Cuts the power, and boots from what the disk holds then.
    pub(crate) async fn cut_power(&mut self) {
        kill(only_child(&self.first).unwrap());
        self.first.wait().await.unwrap();
        let (before, after) = (self.image(), self.cuts + 1);
        self.cuts = after;
        let copied = Command::new("cp").arg("--sparse=auto").args([&before, &self.image()]).status().await.unwrap();
        assert!(copied.success(), "{copied}");
        drop(self.disk.stdin.take());
        self.disk.wait().await.unwrap();
        std::fs::remove_file(before).unwrap();
        self.disk = mount(self.folder.path(), &self.image()).await;
        self.first = first(&self.disk).await;
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join(format!("{}.img", self.cuts))
    }

    /// Starts a program with its arguments and environment. What it says on its standard error goes on in the file `log`,
    /// which a cut spares.
    pub(crate) async fn start(&self, command: &[&str], env: &[(&str, &str)], log: &Path) -> Program {
        let first = only_child(&self.first).unwrap().as_raw_nonzero();
        let namespace = |kind: &str, file: &str| format!("--{kind}=/proc/{first}/ns/{file}");
        let mut inside = self::command("nsenter");
        inside.args([namespace("mount", "mnt"), namespace("pid", "pid")]).args(command).envs(env.iter().copied());
        inside.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = inside.spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        let file = tokio::fs::File::options().create(true).append(true).open(log).await.unwrap();
        let (count, lines) = watch::channel(0);
        let reader = tokio::spawn(keep(said, file, count));
        Program { child, lines, reader }
    }

    /// The variable `name` of every process of this program on the machine.
    pub(crate) fn variables(&self, name: &str, program: &str) -> Vec<String> {
        let first = only_child(&self.first).unwrap();
        let Ok(ours) = std::fs::read_link(format!("/proc/{}/ns/pid", first.as_raw_nonzero())) else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            // Those that end meanwhile, and what is no process, cannot be read.
            if std::fs::read_to_string(process.path().join("comm")).is_ok_and(|comm| comm.trim_end() == program)
                && std::fs::read_link(process.path().join("ns/pid")).is_ok_and(|other| other == ours)
                && let Ok(environment) = std::fs::read(process.path().join("environ"))
            {
                let text = String::from_utf8_lossy(&environment).into_owned();
                let value = |variable: &str| variable.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
                found.extend(text.split('\0').filter_map(value));
            }
        }
        found
    }
}

impl Program {
    /// Waits until it has said so many more lines, or has ended.
    pub(crate) async fn says_more(&mut self, lines: u32) {
        let until = *self.lines.borrow() + lines;
        let _ = self.lines.wait_for(|said| *said >= until).await;
    }

    /// Kills it, and what it started goes on.
    pub(crate) async fn kill(self) {
        // Below nsenter, which may not have got so far yet.
        super::wait_for(async || only_child(&self.child).is_some(), "a program to begin").await;
        kill(only_child(&self.child).unwrap());
        self.ended().await;
    }

    /// Waits until it has ended with its machine.
    pub(crate) async fn ended(mut self) {
        self.child.wait().await.unwrap();
        // What it started may still hold the other end of what it wrote to.
        self.reader.abort();
    }
}

async fn keep(mut said: Lines<BufReader<ChildStderr>>, mut file: tokio::fs::File, count: watch::Sender<u32>) {
    while let Ok(Some(line)) = said.next_line().await {
        file.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        count.send_modify(|lines| *lines += 1);
    }
}

/// Mounts an image at the disk's place, in a namespace of its own.
async fn mount(folder: &Path, image: &Path) -> Child {
    let mut command = command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", DISK, "sh"]).arg(image).arg(folder.join("disk"));
    ready(command).await
}

async fn first(disk: &Child) -> Child {
    let mut command = command("nsenter");
    command.arg(format!("--mount=/proc/{}/ns/mnt", disk.id().unwrap())).args(["unshare", "--mount", "--propagation"]);
    command.args(["private", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", FIRST]);
    // Killed, it complains of what its child has done with its signals.
    command.stderr(Stdio::null());
    ready(command).await
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).kill_on_drop(true);
    command
}

/// Starts what says that it is ready, and waits until it does.
async fn ready(mut command: Command) -> Child {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().next_line().await.unwrap();
    assert_eq!(said.as_deref(), Some("ready"), "{command:?}");
    child
}

fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).unwrap();
}

fn only_child(parent: &Child) -> Option<Pid> {
    let parent = parent.id()?;
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
}
