//! Supervisors of single services in processes of their own, as agents start them, and services that tell if they run
//! twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use fleetman::clock::SystemClock;
use fleetman::supervise::detached::{Client, DetachedError, Orders, Report};
use fleetman::supervise::{EnvValue, MARK, ProcessDef, ProcessStatus, Restart, RestartPolicy, Run, ServiceDef, Stop};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::wait_for;
use crate::support::PATIENCE;

/// A service that writes lines with growing numbers, each with the name of this life of it. It and its child hold a
/// lock as long as any of them lives: whoever cannot have it notes that something runs twice.
const COUNTS: &str = r#"
use Fcntl qw(:flock); use Time::HiRes qw(time);
$| = 1;
my $life = sprintf('%d.%.6f', $$, time);
open(my $lock, '>>', "$ENV{NOTES}/lock") or die;
my $alone = flock($lock, LOCK_EX | LOCK_NB);
open(my $lives, '>>', "$ENV{NOTES}/lives") or die;
syswrite($lives, ($alone ? 'life' : 'TWICE') . " $life\n");
if (!fork) { sleep 1 while 1 }
my $line = 0;
while (1) { $line++; syswrite(STDOUT, "$life $line\n"); select(undef, undef, undef, 0.0005) }
"#;

/// Where a service that counts leaves its notes, and what it left there.
#[derive(Debug)]
pub(crate) struct Counting {
    pub(crate) notes: PathBuf,
}

impl Counting {
    pub(crate) fn new(notes: PathBuf) -> Self {
        fs::create_dir_all(&notes).unwrap();
        Self { notes }
    }

    /// The words that start it.
    pub(crate) fn command() -> [String; 3] {
        ["/usr/bin/perl".to_owned(), "-e".to_owned(), COUNTS.to_owned()]
    }

    pub(crate) fn def(&self) -> ProcessDef {
        let notes = self.notes.to_str().unwrap();
        ProcessDef {
            env: BTreeMap::from([("NOTES".to_owned(), EnvValue::Text(notes.to_owned()))]),
            restart: Restart { policy: RestartPolicy::Always, delay_ms: 0, max_delay_ms: 0, ..Restart::default() },
            ..ProcessDef::new(Run::command(Self::command()))
        }
    }

    /// The lives that it had, oldest first.
    #[track_caller]
    pub(crate) fn lives(&self) -> Vec<String> {
        let text = fs::read_to_string(self.notes.join("lives")).unwrap_or_default();
        let lives = text.lines().map(|line| {
            let life = line.strip_prefix("life ");
            life.unwrap_or_else(|| panic!("something ran twice:\n{text}")).to_owned()
        });
        lives.collect()
    }

    /// That nothing ran twice, and that of each life the log has a beginning without a gap. It returns how many lines
    /// there are of each.
    #[track_caller]
    pub(crate) fn check(&self, logs: &Path, process: &str) -> BTreeMap<String, u64> {
        let lives: BTreeSet<String> = self.lives().into_iter().collect();
        let mut lines = BTreeMap::new();
        for line in log(logs, process).lines() {
            let (life, number) = line.split_once(' ').unwrap_or_else(|| panic!("half a line: {line:?}"));
            assert!(lives.contains(life), "a line of nobody: {line:?}");
            let last = lines.entry(life.to_owned()).or_insert(0);
            assert_eq!(number.parse::<u64>().ok(), Some(*last + 1), "after line {last} of {life}: {line:?}");
            *last += 1;
        }
        lines
    }
}

/// The whole log of a process.
pub(crate) fn log(logs: &Path, process: &str) -> String {
    let files = fleetman::supervise::LogFiles::of(logs, process).unwrap();
    files.files().iter().map(|file| fs::read_to_string(&file.path).unwrap()).collect()
}

/// A folder of services with supervisors of their own.
pub(crate) struct Shims {
    pub(crate) folder: TempDir,
}

impl Shims {
    pub(crate) fn new() -> Self {
        // Nobody else may write there, whatever the umask is.
        let own = fs::Permissions::from_mode(0o700);
        Self { folder: tempfile::Builder::new().permissions(own).tempdir().unwrap() }
    }

    /// The supervisor of a service. It is killed when what is returned goes; what it supervises is not.
    pub(crate) fn start(&self, service: &str, more: &[&str]) -> Child {
        start(self.folder.path(), service, more)
    }

    /// A client of the supervisor once that listens.
    pub(crate) async fn client(&self, service: &str) -> Client {
        client(self.folder.path(), service).await
    }

    pub(crate) fn run(&self, service: &str) -> PathBuf {
        self.folder.path().join(service).join("run")
    }

    pub(crate) fn logs(&self, service: &str) -> PathBuf {
        self.folder.path().join(service).join("logs")
    }

    /// Waits until `process` is as `is` says.
    pub(crate) async fn until(
        &self,
        service: &str,
        process: &str,
        is: impl Fn(&ProcessStatus) -> bool,
        what: &str,
    ) -> ProcessStatus {
        let mut client = self.client(service).await;
        let mut last = None;
        let there = async || {
            let report = client.status().await.unwrap();
            last = status(&report, process);
            last.as_ref().is_some_and(&is)
        };
        wait_for(there, &format!("{process} of {service} to be {what}")).await;
        last.unwrap()
    }

    pub(crate) async fn until_state(&self, service: &str, process: &str, state: &str) -> ProcessStatus {
        self.until(service, process, |status| status.state.name() == state, state).await
    }
}

impl Drop for Shims {
    fn drop(&mut self) {
        // Whatever a test that failed has left running.
        for pid in marked(self.folder.path()) {
            kill(pid);
        }
    }
}

/// What the supervisor tells of one process.
pub(crate) fn status(report: &Report, process: &str) -> Option<ProcessStatus> {
    report.service.as_ref()?.processes.get(process).cloned()
}

pub(crate) fn up(id: &str, service: ServiceDef) -> Orders {
    Orders::up(id, service)
}

/// A line for the shell that is given little time to end.
pub(crate) fn sh(line: &str) -> ProcessDef {
    let stop = Stop { timeout_ms: 500, ..Stop::default() };
    let restart = Restart { delay_ms: 1, ..Restart::default() };
    ProcessDef { stop, restart, ..ProcessDef::new(Run::Shell(line.to_owned())) }
}

pub(crate) fn start(folder: &Path, service: &str, more: &[&str]) -> Child {
    let run = fleetman::supervise::run_folder(folder, service).unwrap();
    let log = fs::OpenOptions::new().create(true).append(true).open(run.join("supervisor.log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetagent"));
    command.arg("supervise").arg(folder).arg(service).args(more);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    command.spawn().unwrap()
}

pub(crate) async fn client(folder: &Path, service: &str) -> Client {
    let mut client = None;
    let there = async || {
        client = match Client::connect(folder, service).await {
            Ok(client) => Some(client),
            Err(DetachedError::NotThere { .. } | DetachedError::Broken { .. }) => None,
            Err(error) => panic!("{error}"),
        };
        client.is_some()
    };
    wait_for(there, &format!("the supervisor of {service}")).await;
    client.unwrap()
}

/// What `future` gives, which must come in time however slow the machine is.
pub(crate) async fn within<T>(future: impl Future<Output = T>, what: &str) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("waited in vain for: {what}"))
}

/// How a program ended.
pub(crate) async fn ended(child: &mut Child) -> ExitStatus {
    within(child.wait(), "a program to end").await.unwrap()
}

/// Kills a program, and waits until it is gone.
pub(crate) async fn killed(child: &mut Child) {
    child.start_kill().unwrap();
    ended(child).await;
}

/// Sends SIGKILL.
pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// A process as `/proc` shows it: its id, its parent, and whether it is a zombie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) is_zombie: bool,
}

/// Every process of the machine.
pub(crate) fn processes() -> Vec<Seen> {
    let mut seen = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Ok(line) = fs::read_to_string(entry.unwrap().path().join("stat")) else { continue };
        let Some((pid, rest)) =
            line.split_once(' ').zip(line.rsplit_once(") ")).map(|((pid, _), (_, rest))| (pid, rest))
        else {
            continue;
        };
        let mut fields = rest.split(' ');
        let is_zombie = fields.next() == Some("Z");
        let parent = fields.next().unwrap().parse().unwrap();
        seen.extend(pid.parse().ok().map(|pid| Seen { pid, parent, is_zombie }));
    }
    seen
}

pub(crate) fn lives(pid: i32) -> bool {
    processes().iter().any(|seen| seen.pid == pid && !seen.is_zombie)
}

/// The processes that carry the mark of a service in this folder.
pub(crate) fn marked(folder: &Path) -> Vec<i32> {
    use std::os::unix::fs::MetadataExt as _;
    let services = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| {
        let run = fs::metadata(entry.ok()?.path().join("run")).ok()?;
        Some(format!("{MARK}={:x}.{:x}/", run.dev(), run.ino()))
    });
    let services: Vec<String> = services.collect();
    let is_marked = |pid: i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|one| services.iter().any(|mark| one.starts_with(mark.as_bytes())))
    };
    let living = processes().into_iter().filter(|seen| !seen.is_zombie);
    living.map(|seen| seen.pid).filter(|pid| is_marked(*pid)).collect()
}

/// The descriptors that a process has open, and what they are.
pub(crate) fn descriptors(pid: i32) -> BTreeMap<u32, PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open = entries.filter_map(|entry| {
        let entry = entry.ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, fs::read_link(entry.path()).ok()?))
    });
    open.collect()
}

/// The system's clock.
pub(crate) fn clock() -> fleetman::clock::SharedClock {
    SystemClock::shared()
}
