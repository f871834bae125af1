//! What becomes of versions that fail, each in its own way, on hosts with a real systemd and under every profile that
//! runs something: where the cell ends, how long it was without service, and what the log tells who was not there.
//!
//! docs/FAILURES.md has the table for people.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleetman::clock::SystemClock;
use serde_json::Value;

use crate::support::agent_host::{AgentHost, HOME};
use crate::support::cli::page;
use crate::support::{holds_in_time, wait_for};

/// A web server that is well, or not in the way that its release says.
const SERVER: &str = r#"
import http.server, os, signal, sys, threading, time

how = open("how").read()
began = time.monotonic()
if how == "exits":
    sys.exit("settings.toml: no such file")
if how == "dies":
    def die():
        print("the cache is larger than the memory", flush=True)
        os._exit(3)
    threading.Timer(3, die).start()
if how == "stays":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

class Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        is_ill = how in ("ill", "stays") or how == "flaps" and int(time.monotonic() - began) % 2 == 1
        self.send_response(503 if is_ill else 200)
        self.end_headers()

    def log_message(self, *_):
        pass

print("serving as", os.environ["FLEETMAN_VERSION"], flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Pages).serve_forever()
"#;

/// Runs after the version was brought up, and never ends in a release that is to hang.
const HOOK: &str = "echo filling the index\ntest \"$(cat how)\" != hangs || exec sleep 1000\n";

/// A way to fail.
struct Case {
    /// The cell's name, and what its second release says.
    how: &'static str,
    /// What the case is called in the table.
    title: &'static str,
    /// What the log says of it under every profile.
    says: &'static [&'static str],
    /// Whether a good version runs before it.
    has_way_back: bool,
}

/// Nothing is without service for longer, however busy the machine: the defaults, which no recipe here leaves as they are,
/// would take longer than that.
const MOST: Duration = Duration::from_secs(60);

const fn case(how: &'static str, title: &'static str, says: &'static [&'static str]) -> Case {
    Case { how, title, says, has_way_back: true }
}

const CASES: &[Case] = &[
    case("exits", "exits at once", &["settings.toml: no such file"]),
    case("dies", "dies after 3 s", &["the cache is larger than the memory"]),
    case("ill", "never healthy", &["it is not healthy after 8s: check answers fails: HTTP 503"]),
    case(
        "hangs",
        "a hook hangs",
        &["hook after_activate: filling the index", "it did not end within 2s, and was killed"],
    ),
    case("stays", "ignores its stop", &["it is not healthy after 8s: check answers fails: HTTP 503"]),
    case("flaps", "healthy and flaps", &["check answers fails, after passing for", "it is not healthy after 8s"]),
    Case { has_way_back: false, ..case("exits", "exits, the first one", &["settings.toml: no such file"]) },
];

impl Case {
    fn cell(&self) -> String {
        format!("{}{}", self.how, if self.has_way_back { "" } else { "-first" })
    }
}

/// A row of the table.
struct Row {
    title: &'static str,
    profile: &'static str,
    end: String,
    without: Option<Duration>,
    log: String,
}

/// Asks a server again and again, as a client would, and says for how long nothing good was answered.
async fn ask(port: u16, is_over: &AtomicBool) -> Duration {
    let clock = SystemClock::shared();
    let (mut without, mut since, mut last) = (Duration::ZERO, None, clock.monotonic());
    let url = format!("http://127.0.0.1:{port}/");
    let mut look = async || {
        let answer = tokio::time::timeout(Duration::from_millis(500), page(&url)).await;
        let is_well = matches!(&answer, Ok(Some((head, _))) if head.contains(" 200 "));
        match (is_well, since) {
            (false, None) => since = Some(last),
            (true, Some(began)) => {
                without += clock.monotonic().saturating_sub(began);
                since = None;
            }
            _ => {}
        }
        last = clock.monotonic();
        is_over.load(Ordering::SeqCst)
    };
    while !holds_in_time(&mut look).await {}
    without + since.map(|began| clock.monotonic().saturating_sub(began)).unwrap_or_default()
}

/// A host that runs `profile`, with the recipes of all cases on it.
async fn start(profile: &'static str, also: &str, ports: &[u16]) -> Option<AgentHost> {
    let node = AgentHost::boot().await?;
    for how in ["well", "exits", "dies", "ill", "hangs", "stays", "flaps"] {
        for (name, text) in [("serve", SERVER), ("hook", HOOK), ("how", how)] {
            node.place.write(&format!("{how}/{name}"), text);
        }
    }
    for (case, port) in CASES.iter().zip(ports) {
        let cell = case.cell();
        let manifest = format!(
            "name: {cell}\n\
             profile:\n  {profile}:\n    command: [/usr/bin/python3, serve, \"{port}\"]\n    stop: {{timeout: 3s}}\n\
             health:\n  min_healthy_time: 4s\n  deadline: 8s\n  interval: 200ms\n  timeout: 1s\n\
             \x20 checks:\n    answers: {{http: {{url: \"http://127.0.0.1:{port}/\"}}}}\n\
             hooks:\n  after_activate: {{command: [/bin/sh, hook], timeout: 2s}}\n\
             ---\ncell: n1/{cell}\nmanifest: {cell}\n"
        );
        let file = format!("{cell}.yaml");
        node.place.write(&file, &manifest);
        node.place.fleetman(&["apply", "-f", &file]).await.exits(0);
    }
    let sandbox = format!("ReadWritePaths={also}\n");
    node.start_agent(if also.is_empty() { "" } else { &sandbox }, &format!("{profile}: {{}}\n")).await;
    Some(node)
}

async fn publish(node: &AgentHost, case: &Case, release: &str, exit: i32) -> String {
    let cell = case.cell();
    node.place.fleetman(&["upload", &cell, release, "--as", release]).await.exits(0);
    let name = format!("n1/{cell}");
    let publish = ["publish", &name, "-d", release, "--as", release, "-y", "--wait"];
    node.place.fleetman(&publish).await.exits(exit).err
}

async fn report(node: &AgentHost, cell: &str) -> Value {
    node.status().await.unwrap()["heartbeat"]["cells"][cell].clone()
}

async fn fail(node: &AgentHost, profile: &'static str, case: &Case, port: u16) -> Row {
    if case.has_way_back {
        publish(node, case, "well", 0).await;
    }
    let is_over = AtomicBool::new(false);
    let failed = async {
        let failed = end(node, profile, case).await;
        is_over.store(true, Ordering::SeqCst);
        failed
    };
    let ((end, log), without) = tokio::join!(failed, ask(port, &is_over));
    Row { title: case.title, profile, end, without: case.has_way_back.then_some(without), log }
}

/// Publishes what fails, and gives where the cell ends with the log of the attempt.
async fn end(node: &AgentHost, profile: &str, case: &Case) -> (String, String) {
    let (cell, title) = (case.cell(), case.title);
    let told = publish(node, case, case.how, 8).await;
    let phase = if case.has_way_back { "rolled_back" } else { "failed" };
    let ended = async || report(node, &cell).await["phase"] == phase;
    wait_for(ended, &format!("{title} under {profile} to end as {phase}")).await;
    if case.has_way_back {
        let is_well = async || report(node, &cell).await["health"]["state"] == "passing";
        wait_for(is_well, &format!("{title} under {profile} to be well again")).await;
    }
    let said = report(node, &cell).await;
    let running = said["running"]["version"].as_str().unwrap_or("nothing").to_owned();
    let needs_operator = said["conditions"].as_array().unwrap().iter().any(|it| it["code"] == "needs_operator");
    assert_eq!((needs_operator, running == "well"), (!case.has_way_back, case.has_way_back), "{title}: {said}");
    let log = node.place.fleetman(&["attempts", &format!("n1/{cell}"), "--log"]).await.exits(0).out;
    for sentence in case.says {
        assert!(log.contains(sentence), "{title} under {profile}: {sentence:?} is not in\n{log}");
    }
    let back = "back to version well, the last known good one";
    assert_eq!(log.contains(back), case.has_way_back, "{title} under {profile}:\n{log}");
    assert!(log.contains(&format!("the last that version {} said:\n", case.how)), "{title} under {profile}:\n{log}");
    let left = format!("version {} is left as it is; a person must look", case.how);
    assert_eq!(log.contains(&left), !case.has_way_back, "{title} under {profile}:\n{log}");
    // Whoever waits is told the end of it.
    assert!(told.contains(log.trim_end().lines().last().unwrap()), "{told}\n{log}");
    let end = if needs_operator { "needs_operator".to_owned() } else { format!("{running} runs") };
    (end, log)
}

/// A cell whose versions have a hook for every moment, each of which says so.
async fn has_a_hook_for_every_moment(node: &AgentHost, profile: &'static str, port: u16) {
    // The agent may write there, and nobody's data is there before the first version.
    let say = format!(
        "echo $FLEETMAN_HOOK of $FLEETMAN_VERSION from ${{FLEETMAN_FROM:-nothing}} to ${{FLEETMAN_TO:-nothing}} \
               >>{HOME}/moments"
    );
    let events = ["before_stage", "stop", "before_activate", "after_activate", "validate", "on_failure", "on_rollback"];
    let hooks = events.map(|event| format!("  {event}: {{command: [/bin/sh, -c, '{say}']}}\n")).concat();
    let manifest = format!(
        "name: moments\n\
         profile: {{{profile}: {{command: [/usr/bin/python3, serve, \"{port}\"], stop: {{timeout: 3s}}}}}}\n\
         health: {{min_healthy_time: 500ms, checks: {{answers: {{http: {{url: \"http://127.0.0.1:{port}/\"}}}}}}}}\n\
         hooks:\n{hooks}---\ncell: n1/moments\nmanifest: moments\n"
    );
    node.place.write("moments.yaml", &manifest);
    node.place.fleetman(&["apply", "-f", "moments.yaml"]).await.exits(0);
    for (release, exit) in [("well", 0), ("exits", 8)] {
        node.place.fleetman(&["upload", "moments", release, "--as", release]).await.exits(0);
        let publish = ["publish", "n1/moments", "-d", release, "--as", release, "-y", "--wait"];
        node.place.fleetman(&publish).await.exits(exit);
    }
    node.place.fleetman(&["stop", "n1/moments", "-y", "--wait"]).await.exits(0);
    let expected = "\
before_stage of well from nothing to well
before_activate of well from nothing to well
after_activate of well from nothing to well
validate of well from nothing to well
before_stage of exits from well to exits
stop of well from well to exits
before_activate of exits from well to exits
after_activate of exits from well to exits
on_failure of exits from well to exits
on_rollback of exits from well to exits
stop of well from well to nothing
";
    let said = node.host.read(&format!("{HOME}/moments")).unwrap();
    assert_eq!(said, expected, "under {profile}");
}

async fn all(profile: &'static str, also: &str) -> Option<Vec<Row>> {
    // One more, for hooks.
    let free: Vec<_> = (0..=CASES.len()).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = free.iter().map(|free| free.local_addr().unwrap().port()).collect();
    drop(free);
    let node = start(profile, also, &ports).await?;
    let rows = CASES.iter().zip(&ports).map(|(case, port)| fail(&node, profile, case, *port));
    let rows = futures_util::future::join_all(rows);
    Some(tokio::join!(rows, has_a_hook_for_every_moment(&node, profile, ports[CASES.len()])).0)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_the_cell_ends_on_the_last_good_version_or_asks_for_a_person_and_the_log_says_why() {
    let (process, systemd, supervisor) = tokio::join!(
        all("process", ""),
        all("systemd", "/etc/systemd/system"),
        all("supervisor", "/etc/supervisor/conf.d")
    );
    let rows: Vec<Row> = [process, systemd, supervisor].into_iter().flatten().flatten().collect();
    for row in &rows {
        eprintln!("--- {} under {}:\n{}", row.title, row.profile, row.log);
    }
    let mut table = format!("{:<22} {:<11} {:<15} {:>15}\n", "version", "profile", "ends", "without service");
    for Row { title, profile, end, without, .. } in &rows {
        let without = without.map(|without| format!("{:.1} s", without.as_secs_f64())).unwrap_or_default();
        table.push_str(&format!("{title:<22} {profile:<11} {end:<15} {without:>15}\n"));
    }
    // Past what holds back the output of tests that pass.
    std::io::stderr().write_all(table.as_bytes()).unwrap();
    for Row { title, profile, without, .. } in &rows {
        assert!(without.is_none_or(|without| without <= MOST), "{title} under {profile} took too long");
    }
}
