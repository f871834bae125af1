//! `fleetman quickstart` as somebody meets it: every command that it prints is run as it stands.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::browser::{Browser, button, css, field, heading, link};
use crate::support::cli::{Ran, page};
use crate::support::people::PASSWORD;
use crate::support::{require_tool, wait_for};

/// A quickstart that has said that it is ready.
struct Quickstart {
    child: Child,
    home: PathBuf,
    /// What it printed until it was ready.
    said: String,
    out: tokio::io::Lines<BufReader<ChildStdout>>,
}

impl Quickstart {
    async fn start(home: &Path, args: &[&str]) -> Self {
        Self::of(command(home).args(args), home).await
    }

    /// The one that `command` starts, with everything that is its own below `home`.
    async fn of(command: &mut Command, home: &Path) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        while let Some(line) = out.next_line().await.unwrap() {
            said.push_str(&line);
            said.push('\n');
            if line.starts_with("Ctrl-C") {
                return Self { child, home: home.to_owned(), said, out };
            }
        }
        panic!("it ended: {said} {:?}", child.wait().await);
    }

    /// The addresses of the sites.
    fn sites(&self) -> Vec<String> {
        let urls = self.said.lines().filter(|line| line.contains("/site: "));
        urls.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    }

    /// The link by which its first admin comes in.
    fn link(&self) -> &str {
        self.said.lines().find(|line| line.contains("/sign-in/once?token=")).unwrap().trim()
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

    /// Runs `fleetman` with these arguments as somebody does who follows the printed text.
    async fn fleetman(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fleetman"));
        command.args(args).env("FLEETMAN_CONFIG", self.home.join("controller_config.yaml")).stdin(Stdio::null());
        Ran::from(command.output().await.unwrap())
    }

    async fn wait_for_pages(&self, text: &str) {
        for url in self.sites() {
            wait_for(async || shows(&url, text).await, &format!("{url} to show {text:?}")).await;
        }
    }

    /// The next line that it prints that is of this kind.
    async fn wait_until_told(&mut self, is: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.out.next_line().await.unwrap().expect("it goes on");
            if is(&line) {
                return line;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends it as Ctrl-C does. When it has ended nothing of it is left.
    async fn end(mut self) {
        self.signal(Signal::INT);
        assert!(self.child.wait().await.unwrap().success());
        assert_eq!(processes_of(&self.home), [""; 0]);
    }
}

/// The command lines of all processes that name a path below `home`.
fn processes_of(home: &Path) -> Vec<String> {
    let below = format!("{}/", home.display());
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let line = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    processes.filter(|line| line.contains(&below)).collect()
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

/// What the process that serves a site says of itself.
async fn process(url: &str) -> Option<serde_json::Value> {
    let (_, body) = page(&format!("{url}process")).await?;
    serde_json::from_str(&body).ok()
}

/// Five ports in a row that nobody listens on, somewhere of their own for each test and below those that the system
/// gives away.
fn ports() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let bases = (0..1000).map(|_| {
        let nth = std::process::id() + GIVEN.fetch_add(1, Ordering::Relaxed);
        10_000 + u16::try_from(nth * 20 % 22_000).unwrap()
    });
    bases.into_iter().find(|base| (*base..base + 5).all(free)).expect("there are free ports")
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
        assert!(shows(url, &format!("<p class=\"node\">{node} ")).await, "{url} is not {node}'s");
        let process = process(url).await.unwrap();
        assert_eq!((&process["node"], &process["version"]), (&node.into(), &"1".into()));
    }

    quickstart.run_printed("publish --manifest site --deployment 2").await;
    quickstart.wait_for_pages("<h1>Version 2</h1>").await;
    assert_eq!(process(&quickstart.sites()[0]).await.unwrap()["version"], "2");
    quickstart.run_printed("rollback").await;
    quickstart.wait_for_pages("<h1>Version 1</h1>").await;

    let own = std::fs::read_to_string(home.join("site-2/index.html")).unwrap().replace("Version 2", "My own");
    std::fs::write(home.join("site-2/index.html"), own).unwrap();
    quickstart.run_printed("upload site").await;
    quickstart.run_printed("publish --manifest site --yes").await;
    quickstart.wait_for_pages("<h1>My own</h1>").await;

    let listed = quickstart.run_printed("fleetagent ps").await;
    assert!(listed.contains("site") && listed.contains("main") && listed.contains("running"), "{listed}");
    let logged = quickstart.run_printed("fleetagent logs site").await;
    let url = quickstart.sites().remove(0);
    assert!(logged.starts_with(&format!("serving version 1 on {url}\nserving version 2 on {url}\n")), "{logged}");

    let status = quickstart.run_printed(" status").await;
    assert!(status.contains("3 active") && status.contains("3 synced"), "{status}");
    assert!(quickstart.run_printed("bucket ls").await.contains("cells/"));
    if let Some(aws) = require_tool("aws") {
        let listed = quickstart.run_printed("aws --endpoint-url").await;
        assert!(listed.contains("cells/n1/site/trigger.json"), "{}: {listed}", aws.display());
    }
    let link = quickstart.link();
    assert!(shows(link, "The first admin").await && shows(link, "The first admin").await, "a look uses nothing up");
    quickstart.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journey_through_the_portal_begins_at_the_printed_link() {
    let Some(browser) = Browser::shared().await else { return };
    let folder = folder();
    let quickstart = Quickstart::start(&folder.path().join("home"), &["--port", &ports().to_string()]).await;
    quickstart.wait_for_pages("<h1>Version 1</h1>").await;
    let page = browser.page().await;
    page.open(quickstart.link()).await;
    page.fill(field("Name"), "olga").await;
    page.fill(field("Password"), PASSWORD).await;
    page.fill(field("The same password again"), PASSWORD).await;
    page.click(button("Make the first admin and sign in")).await;
    page.has(heading("Overview")).await;
    page.has(heading("Needs attention")).await;
    // Of the machine that the test runs on there may be something to say.
    assert_eq!(page.count(css("[aria-labelledby=attention] a[href^='/cells/']")).await, 0, "no cell needs attention");

    page.click(link("Cells").within(css("nav.sections"))).await;
    for cell in ["n1/site", "n2/site", "n3/site"] {
        page.has(link(cell).within(css("main"))).await;
    }
    assert_eq!(page.count(css("tbody .state.good")).await, 6, "each of the three is Synced and Healthy");
    page.click(link("n1/site").within(css("main"))).await;
    page.click(link("Publish")).await;
    page.fill(field("Name of the version"), "2").await;
    page.click(button("Plan again")).await;
    page.click(button("Publish 2")).await;
    page.see("Live").await;
    page.see_no("still to come").await;
    assert!(shows(&quickstart.sites()[0], "<h1>Version 2</h1>").await);
    page.end().await;
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
            // Long enough for its script to ask who serves it.
            "--virtual-time-budget=2000",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(&quickstart.sites()[0])
        .output()
        .await
        .unwrap();
    let page = String::from_utf8_lossy(&output.stdout).into_owned();
    let process = process(&quickstart.sites()[0]).await.unwrap();
    assert!(page.contains("<h1>Version 1</h1>") && page.contains("n1"), "{page}");
    assert!(page.contains(&format!("· version 1 · process {} · since ", process["pid"])), "{page}");
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

    for args in [&[][..], &["--fresh"]] {
        let refused = command(&home).args(args).output().await.unwrap();
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(3), "{text}");
        assert!(text.contains("running") && text.contains("--ephemeral"), "{text}");
    }

    // Killed, it loses nothing, and the next one waits for what it left.
    first.child.start_kill().unwrap();
    first.child.wait().await.unwrap();
    let second = Quickstart::start(&home, &[]).await;
    assert_eq!(second.sites(), sites, "addresses stay");
    assert!(second.said.contains("n1/site: version 2, up to date"), "{}", second.said);
    second.wait_for_pages("<h1>Version 2</h1>").await;
    second.end().await;

    let moved = folder.path().join("moved");
    std::fs::rename(&home, &moved).unwrap();
    let refused = command(&moved).output().await.unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.contains("was made as") && text.contains("--fresh"), "{text}");
    let third = Quickstart::start(&moved, &["--fresh", "--port", &base]).await;
    third.wait_for_pages("<h1>Version 1</h1>").await;
    third.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_runs_on_after_it_was_killed() {
    let folder = folder();
    let home = folder.path().join("home");
    let mut quickstart = Quickstart::start(&home, &["--port", &ports().to_string()]).await;
    // Three supervisors and what they supervise, and itself without a slash behind its folder.
    let running = processes_of(&home);
    assert_eq!(running.len(), 6, "{running:#?}");
    quickstart.child.start_kill().unwrap();
    quickstart.child.wait().await.unwrap();
    wait_for(async || processes_of(&home).is_empty(), "everything of it to end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_taken_meanwhile_is_passed_over_without_a_new_version() {
    let folder = folder();
    let home = folder.path().join("home");
    let base = ports();
    Quickstart::start(&home, &["--port", &base.to_string()]).await.end().await;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, base + 2)).unwrap();
    let url = |port: u16| format!("http://127.0.0.1:{port}/");
    let sites = [url(base + 1), url(base + 7), url(base + 3)];
    let again = Quickstart::start(&home, &[]).await;
    assert_eq!(again.sites(), sites, "{}", again.said);
    again.end().await;
    drop(taken);
    let again = Quickstart::start(&home, &[]).await;
    assert_eq!(again.sites(), sites, "addresses stay");
    again.wait_for_pages("<h1>Version 1</h1>").await;
    let history = again.fleetman(&["history", "n2/site", "-o", "json"]).await.exits(0).json();
    assert_eq!(history.as_array().unwrap().len(), 1, "{history}");

    // Another wish counts, not what was taken in place of the one before.
    let cells = home.join("cells.yaml");
    let moved = std::fs::read_to_string(&cells).unwrap();
    let moved = moved.replace(&format!("port: {}", base + 2), &format!("port: {}", base + 12));
    std::fs::write(&cells, moved).unwrap();
    again.fleetman(&["apply", "-f", cells.to_str().unwrap()]).await.exits(0);
    again.fleetman(&["publish", "n2/site", "--deployment", "1", "--yes", "--wait"]).await.exits(0);
    wait_for(async || shows(&url(base + 12), "<h1>Version 1</h1>").await, "the new address").await;
    again.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_where_it_runs() {
    let folder = folder();
    let mut quickstart = Quickstart::start(&folder.path().join("home"), &["--port", &ports().to_string()]).await;
    quickstart.run_printed("publish --manifest site --deployment 2").await;
    quickstart.wait_until_told(|line| line == "n3/site: version 2, up to date").await;
    quickstart.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_is_back_as_another_process() {
    if require_tool("curl").is_none() {
        return;
    }
    let folder = folder();
    let mut quickstart = Quickstart::start(&folder.path().join("home"), &["--port", &ports().to_string()]).await;
    let url = quickstart.sites()[0].clone();
    let before = process(&url).await.unwrap();
    quickstart.run_printed("kill -9").await;
    let another = async || process(&url).await.is_some_and(|now| now["pid"] != before["pid"]);
    wait_for(another, "another process").await;
    quickstart.wait_for_pages("<h1>Version 1</h1>").await;
    quickstart.wait_until_told(|line| line == "n1/site: version 1, up to date, restarted once").await;
    quickstart.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_stay_up_is_taken_back_by_each_node() {
    let folder = folder();
    let mut quickstart = Quickstart::start(&folder.path().join("home"), &["--port", &ports().to_string()]).await;
    let manifest = quickstart.home.join("site.yaml");
    let broken = std::fs::read_to_string(&manifest).unwrap().replace("serve-folder", "serve-nothing");
    std::fs::write(&manifest, broken).unwrap();
    quickstart.fleetman(&["apply", "-f", manifest.to_str().unwrap()]).await.exits(0);
    let publish = ["publish", "--manifest", "site", "--as", "broken", "--yes", "--wait", "-o", "json"];
    let said = quickstart.fleetman(&publish).await.exits(8).out;
    let why = "times: it ended with exit code 2";
    // Of each cell the reason, and the lines of its log that tell when it failed and what came of that.
    assert_eq!(said.matches("\"message\": \"unhealthy: main was restarted ").count(), 3, "{said}");
    assert_eq!(said.matches(why).count(), 9, "{said}");
    assert!(said.contains("unrecognized subcommand 'serve-nothing'"), "{said}");
    let line = quickstart.wait_until_told(|line| line.starts_with("n3/site") && line.contains("rolled back")).await;
    assert!(line.starts_with("n3/site: version 1 -> version broken, rolled back: ") && line.contains(why), "{line}");
    quickstart.wait_for_pages("<h1>Version 1</h1>").await;
    assert_eq!(process(&quickstart.sites()[2]).await.unwrap()["version"], "1");
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
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleetman"));
    command.args(["quickstart", "--ephemeral", "--port", &base.to_string()]).env("TMPDIR", folder.path());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let quickstart = Quickstart::of(&mut command, folder.path()).await;
    assert!(quickstart.said.contains("3 cells up to date"), "{}", quickstart.said);
    assert!(!quickstart.said.contains(&format!("127.0.0.1:{}/ ", base + 1)), "{}", quickstart.said);
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_some());
    quickstart.end().await;
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    drop(taken);
}
