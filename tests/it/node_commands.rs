//! What an operator does on a node without the bucket: real supervisors, and the real commands.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use chrono::{DateTime, Utc};
use fleetman::supervise::detached::{Client, Orders, Wanted};
use fleetman::supervise::{Kind, ProcessDef, Restart, RestartPolicy, Run, ServiceDef, Stop};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::ChildStdout;

use crate::support::cli::{FLEET, Workplace};
use crate::support::{require_tool, skip, wait_for};

/// A node with cells, and no agent.
struct Node {
    place: Workplace,
    supervisors: BTreeMap<String, Child>,
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
    fn new() -> Self {
        let place = Workplace::empty();
        place.write("agent_config.yaml", &config("process: {folder: cells}\n"));
        Self { place, supervisors: BTreeMap::new() }
    }

    fn cells(&self) -> PathBuf {
        self.place.path().join("cells")
    }

    /// Makes a cell that has files and was never started.
    fn cell(&self, cell: &str) {
        std::fs::create_dir_all(self.cells().join(cell).join("releases")).unwrap();
    }

    /// Starts the supervisor of a cell, and gives its orders.
    async fn run(&mut self, cell: &str, processes: impl IntoIterator<Item = (&str, ProcessDef)>) {
        self.cell(cell);
        self.supervise(cell).await;
        self.order(cell, "1", processes).await;
    }

    /// Starts the supervisor of a cell, which goes on with its orders.
    async fn supervise(&mut self, cell: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetagent"));
        command.arg("supervise").arg(self.cells()).arg(cell);
        let bound_to = std::process::id().to_string();
        let child = command.args(["--bound-to", &bound_to]).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.supervisors.insert(cell.to_owned(), child);
        wait_for(async || Client::connect(&self.cells(), cell).await.is_ok(), "a supervisor to listen").await;
    }

    async fn order(&self, cell: &str, id: &str, processes: impl IntoIterator<Item = (&str, ProcessDef)>) {
        let processes = processes.into_iter().map(|(name, process)| (name.to_owned(), process)).collect();
        let service = ServiceDef { processes, ..ServiceDef::default() };
        let orders = Orders { id: id.to_owned(), wanted: Wanted::Up, service };
        Client::connect(&self.cells(), cell).await.unwrap().apply(orders).await.unwrap();
    }

    /// Kills a supervisor; what it took care of goes on.
    fn kill_supervisor(&mut self, cell: &str) {
        let mut supervisor = self.supervisors.remove(cell).unwrap();
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
    }

    /// What `ps` says of a cell.
    async fn ps(&self, cell: &str) -> Value {
        let rows = self.place.fleetagent(&["ps", "-o", "json"]).await.json();
        rows.as_array().unwrap().iter().find(|row| row["cell"] == cell).unwrap().clone()
    }

    async fn pid(&self, cell: &str, process: &str) -> i64 {
        self.ps(cell).await["processes"][process]["pid"].as_i64().unwrap()
    }

    /// Waits until the logs of a cell hold `text`.
    async fn wait_for_log(&self, cell: &str, text: &str) {
        let there = async || self.place.fleetagent(&["logs", cell]).await.out.contains(text);
        wait_for(there, &format!("{text:?} in the log of {cell}")).await;
    }

    /// A pipe that a process of [`repeater`] reads from.
    fn pipe(&self, name: &str) -> PathBuf {
        let path = self.place.path().join(name);
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
        path
    }

    /// Begins to follow.
    fn follow(&self, args: &[&str]) -> Follower {
        let mut child = self.place.start_fleetagent(&[&["logs", "-f"], args].concat());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Follower { child, lines }
    }
}

/// `fleetagent logs -f`.
struct Follower {
    child: tokio::process::Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Follower {
    async fn line(&mut self) -> String {
        let next = tokio::time::timeout(std::time::Duration::from_secs(30), self.lines.next_line()).await;
        next.expect("a line within 30 s").unwrap().expect("a line")
    }

    fn interrupt(&self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
    }

    /// Waits for its end: its exit code, and what it said beside the output.
    async fn ended(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        let ended = async {
            stderr.read_to_string(&mut said).await.unwrap();
            self.child.wait().await.unwrap().code()
        };
        let code = tokio::time::timeout(std::time::Duration::from_secs(30), ended).await.expect("an end within 30 s");
        (code, said)
    }
}

/// An agent's config for a bucket that is never asked.
fn config(more: &str) -> String {
    format!("node: n1\nfleet: {FLEET}\nsigning: unsigned\nbucket: {{bucket: b}}\nstate_folder: state\n{more}")
}

fn shell(line: &str) -> ProcessDef {
    ProcessDef {
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".into())]),
        restart: Restart { policy: RestartPolicy::Never, ..Restart::default() },
        stop: Stop { timeout_ms: 2_000, ..Stop::default() },
        ..ProcessDef::new(Run::Shell(line.to_owned()))
    }
}

fn task(line: &str) -> ProcessDef {
    ProcessDef { kind: Kind::Task, ..shell(line) }
}

/// Says what comes through a pipe.
fn repeater(pipe: &std::path::Path) -> ProcessDef {
    shell(&format!("echo ready; while :; do cat {}; done", pipe.display()))
}

fn say(pipe: &std::path::Path, text: &str) {
    std::fs::OpenOptions::new().write(true).open(pipe).unwrap().write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn ps_tells_what_every_process_does() {
    let mut node = Node::new();
    assert_eq!(node.place.fleetagent(&["ps"]).await.exits(0).out, "no cells\n");
    node.cell("idle");
    let retried = Restart { policy: RestartPolicy::OnFailure, max_retries: Some(1), delay_ms: 1, ..Restart::default() };
    node.run(
        "web",
        [
            ("main", shell("exec sleep 1000")),
            ("seed", task("exit 0")),
            ("bad", ProcessDef { restart: retried, ..shell("exit 3") }),
            ("console", ProcessDef { autostart: false, ..shell("exec sleep 1000") }),
        ],
    )
    .await;
    let settled = async || {
        let states = node.ps("web").await["processes"].clone();
        states["bad"]["state"] == "failed" && states["seed"]["state"] == "completed"
    };
    wait_for(settled, "processes to end").await;

    let web = node.ps("web").await;
    assert_eq!((web["wanted"].as_str(), web.get("error")), (Some("up"), None));
    assert_eq!(web["supervisor"]["pid"], node.supervisors["web"].id());
    assert_eq!(web["processes"]["main"]["state"], "running");
    assert_eq!(web["processes"]["bad"]["last_end"]["exited"]["code"], 3);
    assert_eq!(web["processes"]["bad"]["restarts"], 1);
    assert_eq!(node.ps("idle").await["wanted"], Value::Null);

    let pid = node.pid("web", "main").await.to_string();
    let table = node.place.fleetagent(&["ps"]).await.exits(0).out;
    let row = |process: &str| {
        let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        row.into_iter().find(|words| words[1] == process).unwrap()
    };
    assert_eq!(row("PROCESS"), ["CELL", "PROCESS", "STATE", "PID", "SINCE", "RESTARTS", "LAST", "END"], "{table}");
    assert_eq!(row("main")[..4], ["web", "main", "running", &pid], "{table}");
    assert!(row("main")[4].ends_with('s') && row("main")[5] == "0", "{table}");
    assert_eq!(row("bad")[2..4], ["failed", "-"], "{table}");
    assert_eq!(row("bad")[5..].join(" "), "1 ended with exit code 3", "{table}");
    assert_eq!(row("console")[2..4], ["stopped", "-"], "{table}");
    assert_eq!(row("-")[..4], ["idle", "-", "never", "started"], "{table}");
}

#[tokio::test]
async fn ps_shows_the_other_cells_when_a_supervisor_is_gone() {
    let mut node = Node::new();
    node.run("api", [("main", shell("exec sleep 1000"))]).await;
    node.run("web", [("main", shell("exec sleep 1000"))]).await;
    let pid = node.pid("api", "main").await;
    node.kill_supervisor("api");
    let ran = node.place.fleetagent(&["ps"]).await.exits(8);
    assert!(ran.out.contains("api   -        unknown") && ran.out.contains("web   main     running"), "{}", ran.out);
    assert!(ran.err.contains("api: error: cell api is to run, and its supervisor is not there"), "{}", ran.err);
    assert_eq!(node.ps("api").await["error"]["code"], "no_supervisor");
    node.supervise("api").await;
    assert_eq!(node.pid("api", "main").await, pid, "the next one has the same process");

    Client::connect(&node.cells(), "api").await.unwrap().stop().await.unwrap();
    node.supervisors.remove("api").unwrap().wait().unwrap();
    let ran = node.place.fleetagent(&["ps"]).await.exits(0);
    assert!(ran.out.contains("api   -        stopped"), "{}", ran.out);
}

#[tokio::test]
async fn logs_are_read_from_files_whoever_runs() {
    let mut node = Node::new();
    node.run("web", [("main", shell("seq 1 5; printf end; exec sleep 1000"))]).await;
    node.wait_for_log("web", "end").await;
    let logs = async |args: &[&str]| node.place.fleetagent(&[&["logs"], args].concat()).await.exits(0).out;
    assert_eq!(logs(&["web"]).await, "1\n2\n3\n4\n5\nend");
    assert_eq!(logs(&["web/main", "-n", "3"]).await, "4\n5\nend");
    assert_eq!(logs(&["web", "-n", "0"]).await, "");

    // Another version has other processes. What the earlier one said is still there for whoever asks.
    node.order("web", "2", [("a", shell("echo one; echo two; exec sleep 1000")), ("longer", task("printf x"))]).await;
    node.wait_for_log("web", "two").await;
    node.wait_for_log("web", "x").await;
    let logs = async |args: &[&str]| node.place.fleetagent(&[&["logs"], args].concat()).await.exits(0).out;
    assert_eq!(logs(&["web"]).await, "a      | one\na      | two\nlonger | x\n");
    assert_eq!(logs(&["web", "-n", "1"]).await, "a      | two\nlonger | x\n");
    assert_eq!(logs(&["web/longer"]).await, "x");
    assert_eq!(logs(&["web/main", "-n", "1"]).await, "end");

    Client::connect(&node.cells(), "web").await.unwrap().stop().await.unwrap();
    node.supervisors.remove("web").unwrap().wait().unwrap();
    let without = node.place.fleetagent(&["logs", "web/a"]).await.exits(0).out;
    assert_eq!(without, "one\ntwo\n", "no supervisor is needed");
}

#[tokio::test]
async fn what_is_followed_comes_at_once_and_ctrl_c_ends_it() {
    let mut node = Node::new();
    let (pipe, other) = (node.pipe("pipe"), node.pipe("other"));
    node.run("web", [("main", repeater(&pipe)), ("side", repeater(&other))]).await;
    say(&pipe, "a\nb\n");
    node.wait_for_log("web/main", "b").await;

    let mut follower = node.follow(&["web/main", "-n", "2"]);
    assert_eq!([follower.line().await, follower.line().await], ["a", "b"]);
    say(&pipe, "c\n");
    assert_eq!(follower.line().await, "c");
    follower.interrupt();
    assert_eq!(follower.ended().await, (Some(130), String::new()));

    let mut both = node.follow(&["web", "-n", "1"]);
    let mut first = [both.line().await, both.line().await];
    first.sort();
    assert_eq!(first, ["main | c", "side | ready"]);
    say(&other, "un");
    say(&other, "finished\n");
    assert_eq!(both.line().await, "side | unfinished");
    both.interrupt();
    assert_eq!(both.ended().await.0, Some(130));
}

#[tokio::test]
async fn what_is_followed_goes_on_over_supervisors_and_versions_and_has_the_whole_past() {
    let mut node = Node::new();
    let pipe = node.pipe("pipe");
    node.run("web", [("main", repeater(&pipe))]).await;
    say(&pipe, "one\n");
    node.wait_for_log("web", "one").await;
    let mut follower = node.follow(&["web"]);
    assert_eq!([follower.line().await, follower.line().await], ["ready", "one"]);

    node.kill_supervisor("web");
    say(&pipe, "two\n");
    node.supervise("web").await;
    assert_eq!(follower.line().await, "two", "what was said while nobody listened");
    // The supervisor itself remembers nothing of what came before it; a part of the past is only on disk.
    let mut another = node.follow(&["web", "-n", "2"]);
    assert_eq!([another.line().await, another.line().await], ["one", "two"]);

    node.order("web", "2", [("main", repeater(&pipe))]).await;
    assert_eq!([follower.line().await, another.line().await], ["ready", "ready"], "of the next version");

    node.order("web", "3", [("other", repeater(&pipe))]).await;
    let (code, said) = another.ended().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("main: the version that runs now has no such process"), "{said}");

    node.order("web", "4", [("main", repeater(&pipe))]).await;
    say(&pipe, "three\n");
    node.wait_for_log("web", "three").await;
    let mut last = node.follow(&["web", "-n", "1"]);
    assert_eq!(last.line().await, "three");
    Client::connect(&node.cells(), "web").await.unwrap().stop().await.unwrap();
    let (code, said) = last.ended().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("main: the cell was stopped"), "{said}");
}

#[tokio::test]
async fn a_reader_that_has_had_enough_is_no_failure() {
    let mut node = Node::new();
    let pipe = node.pipe("pipe");
    node.run("web", [("main", repeater(&pipe))]).await;
    let mut follower = node.follow(&["web"]);
    assert_eq!(follower.line().await, "ready");
    let Follower { mut child, lines } = follower;
    drop(lines);
    // Again and again: what another test is just starting may hold the pipe open until it has become its program.
    let ends = async || {
        say(&pipe, "nobody hears this\n");
        child.try_wait().unwrap().is_some()
    };
    wait_for(ends, "the end of what nobody reads").await;
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!((child.wait().await.unwrap().code(), said), (Some(0), String::new()));
}

#[tokio::test]
async fn a_slow_reader_is_told_what_it_missed_and_the_process_goes_on() {
    const FLOOD: u64 = 24 << 20;
    let mut node = Node::new();
    let pipe = node.pipe("pipe");
    let flood = format!("echo ready; cat {}; yes 0123456789abcde | head -c {FLOOD}; echo done", pipe.display());
    node.run("web", [("main", task(&flood))]).await;
    let mut follower = node.follow(&["web"]);
    assert_eq!(follower.line().await, "ready");
    say(&pipe, "");
    let Follower { mut child, lines } = follower;
    let mut stdout = lines.into_inner();
    let done = async || node.ps("web").await["processes"]["main"]["state"] == "completed";
    wait_for(done, "the flood to be over, whoever reads").await;

    let mut read = 0;
    let mut end = Vec::new();
    while !end.ends_with(b"done\n") {
        let block = stdout.fill_buf().await.unwrap();
        assert!(!block.is_empty(), "it ends with what was said last");
        end.extend_from_slice(block);
        let length = block.len();
        stdout.consume(length);
        read += length as u64;
        end.drain(..end.len().saturating_sub(16));
    }
    assert!(read < FLOOD, "{read} bytes were read");
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut missed = 0;
    while read + missed < FLOOD + 5 {
        said.clear();
        assert!(stderr.read_line(&mut said).await.unwrap() > 0);
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!((words[0], words[2..5].join(" ").as_str()), ("main:", "bytes are left"), "{said}");
        missed += words[1].parse::<u64>().unwrap();
    }
    assert_eq!(read + missed, FLOOD + 5, "every byte is read or told of");
}

#[tokio::test]
async fn a_terminal_is_not_steered_by_what_a_process_writes() {
    let mut node = Node::new();
    node.run("web", [("main", shell(r"printf '\033]0;owned\007\033[2Jred\r\nb\303\244d\n\377'; exec sleep 1000"))])
        .await;
    let raw = "\u{1b}]0;owned\u{7}\u{1b}[2Jred\r\nb\u{e4}d\n";
    let log = node.cells().join("web/logs");
    let written = async || {
        let file = std::fs::read_dir(&log).unwrap().next().map(|entry| entry.unwrap().path());
        file.is_some_and(|file| std::fs::read(file).unwrap().ends_with(b"\xff"))
    };
    wait_for(written, "the output to be logged").await;
    let program = env!("CARGO_BIN_EXE_fleetagent");
    let mut command = Command::new(program);
    let piped = command.args(["logs", "web"]).current_dir(node.place.path()).output().unwrap();
    assert_eq!(piped.stdout, [raw.as_bytes(), b"\xff"].concat(), "a program gets every byte");

    let Some(script) = require_tool("script") else { return };
    for follow in ["", " -f"] {
        let mut command = Command::new(&script);
        command.args(["-qec", &format!("{program} logs web{follow}"), "/dev/null"]);
        let mut child =
            command.current_dir(node.place.path()).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let shown = read_until(child.stdout.take().unwrap(), "d\r\n\u{fffd}").await;
        assert_eq!(shown, "\u{fffd}]0;owned\u{fffd}\u{fffd}[2Jred\r\nb\u{e4}d\r\n\u{fffd}");
        // Its terminal goes with it, and so does what runs there.
        child.kill().unwrap();
        child.wait().unwrap();
    }

    node.order("web", "2", [("a", shell("printf 'x\\033c\\n'; exec sleep 1000")), ("b", task("true"))]).await;
    node.wait_for_log("web", "x").await;
    let coloured = format!("TERM=xterm {program} logs web");
    let mut command = Command::new(&script);
    let shown = command.args(["-qec", &coloured, "/dev/null"]).current_dir(node.place.path()).output().unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap(), "\u{1b}[36ma |\u{1b}[0m x\u{fffd}c\r\n");
}

async fn read_until(stdout: std::process::ChildStdout, end: &str) -> String {
    let mut stdout = ChildStdout::from_std(stdout).unwrap();
    let (mut shown, mut block) = (Vec::new(), [0; 1024]);
    while !shown.ends_with(end.as_bytes()) {
        let read = stdout.read(&mut block).await.unwrap();
        assert!(read > 0, "it ended with {:?}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&block[..read]);
    }
    String::from_utf8(shown).unwrap()
}

#[tokio::test]
async fn a_process_is_stopped_started_and_restarted_by_hand() {
    let mut node = Node::new();
    let log = node.place.path().join("order");
    let noted = |name: &str| {
        let end = format!("echo {name} >> {}", log.display());
        shell(&format!("trap '{end}; exit 0' TERM; echo up; while :; do sleep 0.01; done"))
    };
    let after = |process: ProcessDef, name: &str| ProcessDef { after: [name.to_owned()].into(), ..process };
    node.run(
        "web",
        [
            ("a", after(noted("a"), "seed")),
            ("b", after(noted("b"), "a")),
            ("console", ProcessDef { autostart: false, ..noted("console") }),
            ("seed", task("sleep 0.2; echo seeded")),
        ],
    )
    .await;
    let ups = async |count: usize| {
        let up = async || node.place.fleetagent(&["logs", "web/b"]).await.out.matches("up\n").count() == count;
        wait_for(up, &format!("start {count} of b")).await;
    };
    ups(1).await;
    let order = async |args: &[&str]| node.place.fleetagent(&[args, &["-o", "json"]].concat()).await.exits(0);
    let did = |ran: &Value| {
        let rows = ran.as_array().unwrap().iter();
        rows.map(|row| format!("{} {}", row["process"].as_str().unwrap(), row["did"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };

    let before = node.pid("web", "b").await;
    assert_eq!(did(&order(&["restart", "web/b"]).await.json()), ["b restarted"]);
    assert_ne!(node.pid("web", "b").await, before);
    ups(2).await;
    assert_eq!(did(&order(&["start", "web/b"]).await.json()), ["b unchanged"]);
    assert_eq!(did(&order(&["start", "web/console"]).await.json()), ["console started"]);

    let stopped = order(&["stop", "web"]).await;
    assert_eq!(did(&stopped.json()), ["a stopped", "b stopped", "console stopped", "seed unchanged"]);
    assert!(stopped.err.contains("A reboot or a new version starts it again; for good: fleetman stop n1/web"));
    let ended = std::fs::read_to_string(&log).unwrap();
    assert!(ended.find("a\n").unwrap() > ended.rfind("b\n").unwrap(), "the last that was started is stopped first");
    let again = order(&["stop", "web/a"]).await;
    assert_eq!((did(&again.json()), again.err.as_str()), (vec!["a unchanged".to_owned()], ""));

    assert_eq!(did(&order(&["start", "web"]).await.json()), ["a started", "b started", "seed unchanged"]);
    let seeded = async || node.place.fleetagent(&["logs", "web/seed"]).await.exits(0).out;
    assert_eq!(seeded().await, "seeded\n", "a task that has completed is left alone");
    ups(3).await;
    let restarted = order(&["restart", "web"]).await.json();
    assert_eq!(did(&restarted), ["a restarted", "b restarted", "seed restarted"]);
    assert_eq!(seeded().await, "seeded\nseeded\n", "a restart of the cell is as at a boot");
    let processes = node.ps("web").await["processes"].clone();
    let since = |process: &str| processes[process]["since"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert!(since("seed") <= since("a") && since("a") <= since("b"), "each waits for what it comes after: {processes}");

    let table = node.place.fleetagent(&["stop", "web/b"]).await.exits(0);
    assert_eq!(table.out, "CELL  PROCESS  RESULT\nweb   b        stopped\n");
}

#[tokio::test]
async fn an_order_that_cannot_be_carried_out_says_why() {
    let mut node = Node::new();
    let waits = ProcessDef { after: ["never".to_owned()].into(), ..shell("exec sleep 1000") };
    let never = ProcessDef { autostart: false, ..task("exec sleep 1000") };
    let broken = ProcessDef { run: Run::command(["/nowhere"]), ..shell("") };
    node.run("web", [("broken", broken), ("never", never), ("waits", waits)]).await;

    let error = node.place.fleetagent(&["start", "web/broken", "-o", "json"]).await.exits(8).error();
    assert_eq!(error["code"], "not_started");
    assert!(error["message"].as_str().unwrap().contains("/nowhere"), "{error}");

    let error = node.place.fleetagent(&["start", "web/waits", "--timeout", "100ms", "-o", "json"]).await;
    assert_eq!(error.exits(7).error()["code"], "timed_out");

    // One that fails keeps nothing from the others, and each is told.
    let child = node.place.start_fleetagent(&["start", "web"]);
    let mut client = Client::connect(&node.cells(), "web").await.unwrap();
    let waiting = async || node.ps("web").await["processes"]["waits"]["state"] == "starting";
    wait_for(waiting, "the start to be under way").await;
    client.stop_process("waits").await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(8), "{out}");
    assert!(out.contains("web   broken   process broken could not be started: "), "{out}");
}

#[tokio::test]
async fn each_reason_that_nothing_can_be_done_is_told_apart() {
    let mut node = Node::new();
    let error = async |node: &Node, args: &[&str], exit: i32| {
        let error = node.place.fleetagent(&[args, &["-o", "json"]].concat()).await.exits(exit).error();
        let text = |field: &str| error[field].as_str().unwrap_or_default().to_owned();
        [text("code"), text("message"), text("help")]
    };
    let [code, _, help] = error(&node, &["restart", "web"], 4).await;
    assert_eq!([code.as_str(), help.as_str()], ["no_cell", "no cell was ever deployed here with it"]);
    node.run("web", [("main", shell("exec sleep 1000")), ("side", shell("exec sleep 1000"))]).await;
    node.cell("api");
    let [code, _, help] = error(&node, &["logs", "wbe"], 4).await;
    assert_eq!([code.as_str(), help.as_str()], ["no_cell", "there is api, web"]);
    let [code, _, help] = error(&node, &["logs", "n1/web"], 4).await;
    assert_eq!([code.as_str(), help.as_str()], ["no_cell", "here a cell is called by its name alone"]);
    for verb in ["logs", "start", "stop", "restart"] {
        let [code, _, help] = error(&node, &[verb, "web/mian"], 4).await;
        assert_eq!([code.as_str(), help.as_str()], ["no_process", "it has main, side"], "{verb}");
        node.place.fleetagent(&[verb, "web/../../etc"]).await.exits(2);
        node.place.fleetagent(&[verb]).await.exits(2);
    }
    let [code, message, _] = error(&node, &["start", "api"], 4).await;
    assert_eq!(
        [code.as_str(), message.as_str()],
        ["no_supervisor", "cell api was never started, so it has no supervisor"]
    );
    assert_eq!(error(&node, &["logs", "api"], 4).await[0], "never_started");

    node.kill_supervisor("web");
    let [code, message, help] = error(&node, &["stop", "web/main"], 4).await;
    assert_eq!(code, "no_supervisor");
    assert!(message.contains("is to run, and its supervisor is not there") && help.contains("agent"), "{message}");
    assert_eq!(error(&node, &["logs", "web", "-f"], 4).await[0], "no_supervisor");
    node.supervise("web").await;
    Client::connect(&node.cells(), "web").await.unwrap().stop().await.unwrap();
    node.supervisors.remove("web").unwrap().wait().unwrap();
    let [_, message, help] = error(&node, &["start", "web"], 4).await;
    assert!(message.contains("was stopped for good") && help.contains("fleetman redeploy n1/web"), "{message} {help}");

    node.place.write("agent_config.yaml", &config(""));
    assert_eq!(error(&node, &["ps"], 2).await[0], "profile_not_set_up");
    std::fs::remove_file(node.place.path().join("agent_config.yaml")).unwrap();
    assert_eq!(error(&node, &["ps"], 2).await[0], "config_absent");
}

#[tokio::test]
async fn a_supervisor_of_another_time_or_one_that_hangs_is_told_apart() {
    let node = Node::new();
    for cell in ["hangs", "newer"] {
        node.cell(cell);
        std::fs::create_dir(node.cells().join(cell).join("run")).unwrap();
    }
    let listen = |cell: &str| UnixListener::bind(node.cells().join(cell).join("run/supervisor.socket")).unwrap();
    let (_hangs, newer) = (listen("hangs"), listen("newer"));
    std::thread::spawn(move || {
        for stream in newer.incoming() {
            let hello = "{\"oldest\":98,\"newest\":99,\"pid\":1,\"program\":\"fleetagent 9\"}\n";
            stream.unwrap().write_all(hello.as_bytes()).unwrap();
        }
    });
    let rows = node.place.fleetagent(&["ps", "-o", "json"]).await.exits(8).json();
    let codes: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["error"]["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["no_answer", "foreign_protocol"]);
    let message = rows[1]["error"]["message"].as_str().unwrap();
    assert!(message.contains("fleetagent 9") && message.contains("98 to 99"), "{message}");
}

#[tokio::test]
async fn who_may_not_look_is_told_so() {
    if !rustix::process::geteuid().is_root() {
        return skip::<()>("only root can become somebody else").unwrap_or_default();
    }
    let mut node = Node::new();
    node.run("web", [("main", shell("exec sleep 1000"))]).await;
    for folder in [node.place.path().to_owned(), node.cells()] {
        std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    }
    let as_nobody = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetagent"));
        command.args(args).args(["-o", "json"]).current_dir(node.place.path()).uid(65534).gid(65534);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = as_nobody(&["ps"]);
    assert!(code == Some(5) && said.contains("\"denied\"") && said.contains("usually root"), "{code:?} {said}");
    std::fs::set_permissions(node.cells(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for args in [["stop", "web"], ["logs", "web"]] {
        let (code, said) = as_nobody(&args);
        assert!(code == Some(5) && said.contains("\"denied\""), "{args:?} {code:?} {said}");
    }
    assert_eq!(as_nobody(&["ps"]).0, Some(8));
}
