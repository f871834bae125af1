//! What processes write, as an operator reads it on a node.

use std::process::{Command, Stdio};

use fleetman::supervise::detached::Client;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::ChildStdout;

use crate::support::cells::{Follower, Node, repeater, say, shell, task};
use crate::support::{PATIENCE, require_tool, wait_for};

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
        let line = tokio::time::timeout(PATIENCE, stderr.read_line(&mut said)).await;
        assert!(line.expect("a word of what is missing in time").unwrap() > 0);
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
