//! `fleetman quickstart` as somebody meets it: every command that it prints is run as it stands.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::cli::page;
use crate::support::{require_tool, wait_for};

/// A quickstart that has said that it is ready.
struct Quickstart {
    child: Child,
    /// What it printed until it was ready.
    said: String,
    out: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Quickstart {
    async fn start(folder: &Path, args: &[&str]) -> Self {
        let mut child = command(folder).args(args).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        while let Some(line) = out.next_line().await.unwrap() {
            said.push_str(&line);
            said.push('\n');
            if line.starts_with("Ctrl-C") {
                return Self { child, said, out };
            }
        }
        panic!("it ended: {said} {:?}", child.wait().await);
    }

    /// The addresses of the sites.
    fn sites(&self) -> Vec<String> {
        let urls = self.said.lines().filter(|line| line.contains("/site: "));
        urls.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    }

    /// The printed lines that begin with `export`, and the one that has `part` in it, as one script.
    fn script(&self, part: &str) -> String {
        let lines: Vec<&str> = self.said.lines().map(str::trim).collect();
        let exports = lines.iter().filter(|line| line.starts_with("export ")).copied();
        let wanted: Vec<&str> = lines.iter().filter(|line| line.contains(part)).copied().collect();
        assert_eq!(wanted.len(), 1, "{part}: {wanted:?}");
        exports.chain(wanted).collect::<Vec<_>>().join("\n")
    }

    async fn run_printed(&self, part: &str) -> String {
        let output = Command::new("sh").args(["-ec", &self.script(part)]).output().await.unwrap();
        assert!(output.status.success(), "{part}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn wait_for_pages(&self, text: &str) {
        for url in self.sites() {
            wait_for(async || shows(&url, text).await, &format!("{url} to show {text:?}")).await;
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends it as Ctrl-C does, and waits until nothing of it listens any more.
    async fn end(mut self) {
        self.signal(Signal::INT);
        let sites = self.sites();
        assert!(self.child.wait().await.unwrap().success());
        wait_until_closed(&sites).await;
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetman"));
    command
        .arg("quickstart")
        .arg("--folder")
        .arg(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn shows(url: &str, text: &str) -> bool {
    page(url).await.is_some_and(|(head, body)| head.starts_with("HTTP/1.1 200") && body.contains(text))
}

async fn wait_until_closed(sites: &[String]) {
    for url in sites {
        wait_for(async || page(url).await.is_none(), &format!("{url} to be closed")).await;
    }
}

/// Five ports in a row that nobody listens on, somewhere of their own for each test.
fn ports() -> u16 {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let start = 10_000 + u16::try_from(std::process::id() % 40_000).unwrap();
    let found = (start..60_000).step_by(60).find(|base| (*base..base + 5).all(free));
    found.expect("there are free ports")
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_printed_command_works_as_it_stands_and_the_pages_change() {
    let folder = folder();
    let home = folder.path().join("a folder");
    let quickstart = Quickstart::start(&home, &["--port", &ports().to_string()]).await;
    assert!(quickstart.said.contains("3 nodes, 3 cells up to date, "), "{}", quickstart.said);
    assert_eq!(quickstart.sites().len(), 3);
    quickstart.wait_for_pages("<h1>Version 1</h1>").await;
    for (url, node) in quickstart.sites().iter().zip(["n1", "n2", "n3"]) {
        assert!(shows(url, &format!("<p class=\"node\">{node}</p>")).await, "{url} is not {node}'s");
    }

    quickstart.run_printed("publish --manifest site --deployment 2").await;
    quickstart.wait_for_pages("<h1>Version 2</h1>").await;
    quickstart.run_printed("rollback").await;
    quickstart.wait_for_pages("<h1>Version 1</h1>").await;

    let own = std::fs::read_to_string(home.join("site-2/index.html")).unwrap().replace("Version 2", "My own");
    std::fs::write(home.join("site-2/index.html"), own).unwrap();
    quickstart.run_printed("upload site").await;
    quickstart.run_printed("publish --manifest site --yes").await;
    quickstart.wait_for_pages("<h1>My own</h1>").await;

    let status = quickstart.run_printed(" status").await;
    assert!(status.contains("3 active") && status.contains("3 synced"), "{status}");
    assert!(quickstart.run_printed("bucket ls").await.contains("cells/"));
    if let Some(aws) = require_tool("aws") {
        let listed = quickstart.run_printed("aws --endpoint-url").await;
        assert!(listed.contains("cells/n1/site/trigger.json"), "{}: {listed}", aws.display());
    }
    let api = quickstart.said.lines().find(|line| line.ends_with("the API")).unwrap();
    let url = api.split_whitespace().next().unwrap();
    wait_for(async || shows(url, "\"n1/site\"").await, "the API to list the cells").await;
    quickstart.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_deployed_page() {
    let Some(browser) = require_tool("chromium") else { return };
    let folder = folder();
    let quickstart = Quickstart::start(&folder.path().join("home"), &["--port", &ports().to_string()]).await;
    quickstart.wait_for_pages("<h1>Version 1</h1>").await;
    let profile = folder.path().join("profile");
    #[rustfmt::skip]
    let output = Command::new(browser)
        .args([
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(&quickstart.sites()[0])
        .output()
        .await
        .unwrap();
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(page.contains("<h1>Version 1</h1>") && page.contains("n1"), "{page}");
    quickstart.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_where_it_was_until_it_is_told_to_start_over() {
    let folder = folder();
    let home = folder.path().join("home");
    let base = ports().to_string();
    let mut first = Quickstart::start(&home, &["--port", &base]).await;
    first.run_printed("publish --manifest site --deployment 2").await;
    first.wait_for_pages("<h1>Version 2</h1>").await;
    let sites = first.sites();

    let refused = command(&home).output().await.unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{text}");
    assert!(text.contains("running") && text.contains("--ephemeral"), "{text}");

    // Killed, it takes its web servers with it, and loses nothing.
    first.child.start_kill().unwrap();
    first.child.wait().await.unwrap();
    wait_until_closed(&sites).await;
    let second = Quickstart::start(&home, &[]).await;
    assert_eq!(second.sites(), sites, "addresses stay");
    assert!(second.said.contains("n1/site: version 2, up to date"), "{}", second.said);
    second.end().await;

    let third = Quickstart::start(&home, &["--fresh", "--port", &base]).await;
    third.wait_for_pages("<h1>Version 1</h1>").await;
    third.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_where_it_runs() {
    let folder = folder();
    let mut quickstart = Quickstart::start(&folder.path().join("home"), &["--port", &ports().to_string()]).await;
    quickstart.run_printed("publish --manifest site --deployment 2").await;
    let mut last = String::new();
    while !last.starts_with("n3/site: version ") || !last.ends_with("up to date") {
        last = quickstart.out.next_line().await.unwrap().expect("it goes on");
    }
    quickstart.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_its_own_is_never_touched() {
    let folder = folder();
    std::fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
    for args in [&[][..], &["--fresh"]] {
        let refused = command(folder.path()).args(args).output().await.unwrap();
        assert_eq!(refused.status.code(), Some(3), "{refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("--folder"), "{refused:?}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["thesis.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_one_leaves_nothing_and_a_taken_port_is_passed_over() {
    let base = ports();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, base + 1)).unwrap();
    let folder = folder();
    let mut child = Command::new(env!("CARGO_BIN_EXE_fleetman"))
        .args(["quickstart", "--ephemeral", "--port", &base.to_string()])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = String::new();
    while let Some(line) = out.next_line().await.unwrap() {
        said.push_str(&format!("{line}\n"));
        if line.starts_with("Ctrl-C") {
            break;
        }
    }
    let quickstart = Quickstart { child, said, out };
    assert!(quickstart.said.contains("3 cells up to date"), "{}", quickstart.said);
    assert!(!quickstart.said.contains(&format!("127.0.0.1:{}/ ", base + 1)), "{}", quickstart.said);
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_some());
    quickstart.end().await;
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    drop(taken);
}
