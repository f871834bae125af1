//! Which program supervises a cell, and what is told when none can.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fleetman::agent::Profile as _;
use fleetman::clock::SystemClock;
use fleetman::model::CellName;
use fleetman::model::heartbeat::RunningState;
use fleetman::profiles::{Process, ProcessSettings, Program};
use fleetman::supervise::detached::Client;
use fleetman::supervise::{ServiceDef, run_folder};
use tempfile::TempDir;

use crate::support::shim::{sh, up};
use crate::support::wait_for;

/// A node with the cell `web`, which is wanted up, and with a folder for the agent's program.
struct Node {
    place: TempDir,
    process: Process,
    cell: CellName,
}

impl Node {
    fn new() -> Self {
        // On the disk of the programs, which are large.
        let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let settings = ProcessSettings { folder: place.path().join("process"), with_agent: true };
        let program = Program { path: place.path().join("bin/fleetagent"), open_files: None };
        fs::create_dir(place.path().join("bin")).unwrap();
        fs::hard_link(env!("CARGO_BIN_EXE_fleetagent"), &program.path).unwrap();
        let orders = up("1", ServiceDef::of("main", sh("exec sleep 1000")));
        run_folder(&settings.folder, "web").unwrap();
        fs::write(settings.folder.join("web/orders.json"), serde_json::to_vec(&orders).unwrap()).unwrap();
        let process = Process::new(settings, program, SystemClock::shared());
        Self { place, process, cell: CellName::new("web").unwrap() }
    }

    fn folder(&self) -> PathBuf {
        self.place.path().join("process")
    }

    fn bin(&self, program: &str) -> PathBuf {
        self.place.path().join("bin").join(program)
    }

    /// Waits for a supervisor, and says by what words it was started.
    async fn supervisor(&self) -> Vec<String> {
        let mut pid = 0;
        let there = async || {
            let Ok(mut client) = Client::connect(&self.folder(), "web").await else { return false };
            pid = client.status().await.map_or(0, |report| report.pid);
            pid != 0
        };
        wait_for(there, "a supervisor").await;
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
        words.split('\0').map(str::to_owned).collect()
    }

    async fn until_state(&self, is: impl Fn(&RunningState) -> bool, what: &str) -> RunningState {
        let state = async || self.process.state(&self.cell).await.state;
        wait_for(async || is(&state().await), what).await;
        state().await
    }

    /// Waits until it is told why there is no supervisor.
    async fn trouble(&self) -> String {
        let failed = |state: &RunningState| matches!(state, RunningState::Failed { .. });
        match self.until_state(failed, "trouble to be told").await {
            RunningState::Failed { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    async fn runs(&self) {
        self.until_state(|state| matches!(state, RunningState::Running { .. }), "the cell to run").await;
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Puts another program at `path` by what `line` writes. A process of its own writes it: what another test starts at
/// the same moment would inherit the open file, and nobody can run a program that somebody may write to.
fn replace(path: &Path, line: &str, word: &str) {
    let line = format!("rm -f \"$0\" && {line} >\"$0\" && chmod 755 \"$0\"");
    let ran = Command::new("sh").args(["-c".as_ref(), line.as_ref(), path.as_os_str(), word.as_ref()]).status();
    assert!(ran.unwrap().success(), "{line}");
}

#[tokio::test]
async fn the_small_program_beside_the_agents_supervises_unless_it_is_unfit() {
    let built = |path: &Path| replace(path, "cat \"$1\"", env!("CARGO_BIN_EXE_fleetsupervisor"));
    let says = |path: &Path, version: &str| replace(path, "printf '#!/bin/sh\\necho \"%s\"\\n' \"$1\"", version);
    let with_mode = |path: &Path, mode| {
        built(path);
        set_mode(path, mode);
    };
    type Case<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>, bool);
    let mut cases: Vec<Case<'_>> = vec![
        ("not there", Box::new(|_| {}), false),
        ("as it was built", Box::new(built), true),
        ("read only", Box::new(|path| with_mode(path, 0o555)), true),
        ("writable by its group", Box::new(|path| with_mode(path, 0o775)), false),
        ("writable by everybody", Box::new(|path| with_mode(path, 0o757)), false),
        ("not executable", Box::new(|path| with_mode(path, 0o644)), false),
        ("of another release", Box::new(|path| says(path, "fleetsupervisor 0.0.1, protocol 1")), false),
        ("something else", Box::new(|path| says(path, "")), false),
    ];
    if rustix::process::geteuid().is_root() {
        let another = |path: &Path| {
            built(path);
            std::os::unix::fs::chown(path, Some(12345), None).unwrap();
        };
        cases.push(("another user's", Box::new(another), false));
    }
    for (what, prepare, is_used) in cases {
        let node = Node::new();
        let small = node.bin("fleetsupervisor");
        prepare(&small);
        node.process.resume(&node.cell).await;
        let words = node.supervisor().await;
        let program = match is_used {
            true => vec![small.display().to_string()],
            false => vec![node.bin("fleetagent").display().to_string(), "supervise".to_owned()],
        };
        let expected = [program, vec![node.folder().display().to_string(), "web".to_owned()]].concat();
        assert!(words.starts_with(&expected), "{what}: {words:?}");
        node.runs().await;
        node.process.close().await;
    }
}

#[tokio::test]
async fn a_supervisor_that_ends_at_once_is_told_with_its_last_words_and_tried_again() {
    let node = Node::new();
    let lock = node.folder().join("web/run/supervisor.lock");
    fs::create_dir(&lock).unwrap();
    node.process.resume(&node.cell).await;
    let words = format!("opening {}: Is a directory (os error 21)", lock.display());
    assert_eq!(node.trouble().await, format!("its supervisor cannot run: it ended with exit status: 1: {words}"));
    fs::remove_dir(&lock).unwrap();
    node.runs().await;
    node.process.close().await;
}

#[tokio::test]
async fn a_program_that_is_gone_is_told_by_its_path() {
    let node = Node::new();
    let program = node.bin("fleetagent");
    fs::remove_file(&program).unwrap();
    node.process.resume(&node.cell).await;
    let why = format!("running {}: No such file or directory (os error 2)", program.display());
    assert_eq!(node.trouble().await, format!("its supervisor cannot be started: {why}"));
    node.process.close().await;
}

#[tokio::test]
async fn nothing_is_started_from_folders_that_others_may_write_to() {
    for open in ["", "web", "web/run"] {
        let node = Node::new();
        let folder = node.folder().join(open);
        let folder = PathBuf::from(folder.to_str().unwrap().trim_end_matches('/'));
        set_mode(&folder, 0o775);
        node.process.resume(&node.cell).await;
        let path = folder.display();
        let why = format!("others than the owner may write to {path} (mode 0775); chmod go-w {path}");
        assert_eq!(node.trouble().await, format!("its supervisor cannot be started: {why}"));
        assert_eq!(fs::read_dir(node.folder().join("web/run")).unwrap().count(), 0, "nothing is recorded there");
        set_mode(&folder, 0o755);
        node.runs().await;
        node.process.close().await;
    }
}
