//! A fleet of two hosts with a real systemd and a real supervisord, each with one service under every profile.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use futures_util::future::join_all;
use serde_json::Value;

use crate::support::agent_host::{AgentHost, HOME};
use crate::support::cli::{Workplace, page};
use crate::support::host::Host;
use crate::support::wait_for;

/// The cells of each host, by their profiles. Each is made from a manifest of its own name.
const CELLS: [(&str, &str); 4] =
    [("unit", "systemd"), ("program", "supervisor"), ("own", "process"), ("folder", "deploy")];

/// Tells over HTTP what of it is of which version: what it was started from, its files, and where it was started.
const SERVICE: &str = r#"
import http.server, json, os, signal, sys

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told = {"pid": os.getpid(), "program": VERSION, "env": os.environ["FLEETMAN_VERSION"],
                "file": open(os.path.dirname(os.path.abspath(__file__)) + "/version").read(),
                "dir": open("version").read(), "arguments": sys.argv[1:], "text": os.environ["TEXT"]}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
place = os.environ["PORT_FILE"]
with open(place + ".new", "w") as file:
    file.write(str(server.server_address[1]))
os.rename(place + ".new", place)
server.serve_forever()
"#;

/// What each is given: nothing that a unit, a configuration or a shell might take for its own.
const TEXT: &str = "a\"b'c %n $HOME ${HOME} ;d #e [Section] \\";

struct Fleet {
    place: Workplace,
    hosts: Vec<Host>,
}

impl Fleet {
    async fn start() -> Option<Self> {
        let hosts = join_all(["n1", "n2"].map(Host::boot)).await.into_iter().collect::<Option<Vec<Host>>>()?;
        let fleet = Self { place: Workplace::with_bucket().await, hosts };
        for host in &fleet.hosts {
            host.write(&format!("{HOME}/ports/README"), "Where services listen.\n");
            let unit = "ReadWritePaths=/etc/systemd/system /etc/supervisor/conf.d\n";
            let config = "systemd: {}\nsupervisor: {}\nprocess: {}\n";
            AgentHost::install_agent(host, &fleet.place, unit, config).await;
        }
        Some(fleet)
    }

    async fn fleetman(&self, args: &[&str]) {
        self.place.fleetman(args).await.exits(0);
    }

    /// Makes the manifests and cells of the fleet, and two releases of each.
    async fn fill(&self) {
        for release in ["v1", "v2"] {
            self.place.write(&format!("{release}/serve.py"), &format!("VERSION = \"{release}\"\n{SERVICE}"));
            self.place.write(&format!("{release}/version"), release);
        }
        for (cell, profile) in CELLS {
            let text = serde_json::to_string(TEXT).unwrap();
            let spec = match profile {
                "deploy" => "{}".to_owned(),
                _ => format!(
                    "{{command: [/usr/bin/python3, serve.py, {text}], stop: {{timeout: 5s}}, \
                     env: {{TEXT: {text}, PORT_FILE: {HOME}/ports/{cell}}}}}"
                ),
            };
            let mut yaml = format!("name: {cell}\nprofile:\n  {profile}: {spec}\n");
            if profile != "deploy" {
                yaml += "health: {min_healthy_time: 200ms}\n";
            }
            for host in &self.hosts {
                write!(yaml, "---\ncell: {}/{cell}\nmanifest: {cell}\n", host.name()).unwrap();
            }
            self.place.write(&format!("{cell}.yaml"), &yaml);
            self.fleetman(&["apply", "-f", &format!("{cell}.yaml")]).await;
            for release in ["v1", "v2"] {
                self.fleetman(&["upload", cell, release, "--as", release]).await;
            }
        }
    }

    /// Does it to every cell, and waits until the nodes have done it.
    async fn each(&self, verb: &[&str]) {
        join_all(CELLS.map(async |(cell, _)| {
            let args = [&verb[..1], &["--manifest", cell, "-y", "--wait"], &verb[1..]].concat();
            self.fleetman(&args).await;
        }))
        .await;
    }

    async fn publish(&self, release: &str, version: &str) {
        self.each(&["publish", "-d", release, "--as", version]).await;
    }

    /// What each service of each host tells of itself, with the folder's version at the end.
    async fn told(&self) -> Vec<Vec<Value>> {
        join_all(self.hosts.iter().map(async |host| {
            let mut told = Vec::new();
            for (cell, profile) in CELLS {
                told.push(match profile {
                    "deploy" => folder(host).into(),
                    _ => ask(host, cell).await.unwrap_or_default(),
                });
            }
            told
        }))
        .await
    }

    /// Waits until everything everywhere is wholly of this version, and gives the process ids.
    async fn wait_until_all_are(&self, version: &str) -> BTreeSet<String> {
        let mut told = Vec::new();
        let there = async || {
            told = self.told().await;
            told.iter().flatten().all(|told| is_of(told, version))
        };
        wait_for(there, &format!("{version} everywhere")).await;
        let named = self.hosts.iter().zip(&told).flat_map(|(host, told)| {
            let running = told.iter().filter(|told| told.is_object());
            running.map(|told| format!("{} {}", host.name(), told["pid"]))
        });
        named.collect()
    }

    async fn pictures(&self) -> Vec<String> {
        join_all(self.hosts.iter().map(picture)).await
    }
}

/// The version of the cell that is a folder, if it is there.
fn folder(host: &Host) -> Option<String> {
    host.read(&format!("{HOME}/{}-cells/folder/version", host.name()))
}

async fn ask(host: &Host, cell: &str) -> Option<Value> {
    let port = host.read(&format!("{HOME}/ports/{cell}"))?;
    let (_, body) = page(&format!("http://127.0.0.1:{port}/")).await?;
    serde_json::from_str(&body).ok()
}

/// Whether all that is told is of one version, and what the service was given has come to it unharmed.
fn is_of(told: &Value, version: &str) -> bool {
    if let Some(folder) = told.as_str() {
        return folder == version;
    }
    // What was published from each release.
    let versions: &[&str] = if version == "v1" { &["1"] } else { &["2", "3"] };
    ["program", "file", "dir"].iter().all(|part| told[*part] == version)
        && versions.iter().any(|version| told["env"] == *version)
        && told["arguments"] == serde_json::json!([TEXT])
        && told["text"] == TEXT
}

/// What is on a host outside of the agent's own folder and of logs: files with owners, permissions and content, units,
/// programs and processes. The folder of transient units is systemd's own, which keeps it once it had one.
async fn picture(host: &Host) -> String {
    let look = r#"
        cd /
        find etc home opt root srv usr var run/systemd/system run/systemd/transient run/fleetman tmp -xdev \
            \( -path srv/fleetagent -o -path var/log -o -path 'var/tmp/systemd-private-*' -o -path 'tmp/systemd-private-*' \
            -o -path var/lib/systemd/random-seed \) -prune -o ! -path run/systemd/transient -printf '%M %U %G %p %l\n' 2>/dev/null | sort
        find etc srv opt run/fleetman -xdev -path srv/fleetagent -prune -o -type f -exec sha256sum {} + 2>/dev/null | sort
        systemctl list-unit-files --no-legend --plain
        systemctl list-units --all --no-legend --plain 'fleetman*'
        supervisorctl avail
        for process in /proc/[0-9]*; do
            case $(tr '\0' ' ' <"$process/cmdline") in
                '' | sh*) ;;
                *fleetman* | *serve.py* | *fleetsupervisor*) tr '\0' ' ' <"$process/cmdline"; echo ;;
            esac
        done 2>/dev/null
    "#;
    host.run(&["sh", "-c", look]).await.out
}

fn differences(before: &str, after: &str) -> Vec<String> {
    let (before, after): (BTreeSet<&str>, BTreeSet<&str>) = (before.lines().collect(), after.lines().collect());
    let gone = before.difference(&after).map(|line| format!("- {line}"));
    let new = after.difference(&before).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_profile_lives_a_whole_life_on_two_hosts_and_leaves_nothing_behind() {
    let Some(mut fleet) = Fleet::start().await else { return };
    let before = fleet.pictures().await;
    fleet.fill().await;

    fleet.publish("v1", "1").await;
    let first = fleet.wait_until_all_are("v1").await;
    assert_eq!(first.len(), 6);
    fleet.publish("v2", "2").await;
    let second = fleet.wait_until_all_are("v2").await;
    assert!(first.is_disjoint(&second), "{first:?} {second:?}");
    fleet.each(&["redeploy"]).await;
    let again = fleet.wait_until_all_are("v2").await;
    assert!(second.is_disjoint(&again), "{second:?} {again:?}");
    fleet.each(&["rollback", "--to", "1"]).await;
    fleet.wait_until_all_are("v1").await;

    fleet.each(&["stop"]).await;
    let told = fleet.told().await;
    assert!(told.iter().flatten().all(|told| told.is_null() || told == "v1"), "{told:?}");
    // Neither does a boot start what was stopped.
    let crashed = &mut fleet.hosts[1];
    crashed.kill_hard().await;
    crashed.boot_again().await;
    crashed.run(&["systemctl", "is-active", "--wait", "fleetagent"]).await.exits(0);
    let running = ["systemctl", "list-units", "--no-legend", "--plain", "--state=active", "fleetman*"];
    assert_eq!(crashed.run(&running).await.exits(0).out, "");
    assert!(ask(crashed, "program").await.is_none() && ask(crashed, "own").await.is_none());

    fleet.publish("v2", "3").await;
    fleet.wait_until_all_are("v2").await;
    fleet.each(&["remove"]).await;
    let after = fleet.pictures().await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(differences(before, after), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_crashes_in_the_middle_of_an_upgrade_boots_one_whole_version_without_the_store() {
    let Some(mut fleet) = Fleet::start().await else { return };
    fleet.fill().await;
    fleet.publish("v1", "1").await;
    fleet.wait_until_all_are("v1").await;
    let upgrades = CELLS.map(async |(cell, _)| {
        fleet.fleetman(&["publish", "--manifest", cell, "-y", "-d", "v2", "--as", "2"]).await;
    });
    join_all(upgrades).await;
    // One host at the first sign of the new version, the other when something of it runs.
    let crash = async |fleet: &mut Fleet, at: usize, cell: &str| {
        let host = &fleet.hosts[at];
        let begun = async || match cell {
            "folder" => folder(host).as_deref() == Some("v2"),
            cell => ask(host, cell).await.is_some_and(|told| told["program"] == "v2"),
        };
        wait_for(begun, "the upgrade to be under way").await;
        fleet.hosts[at].kill_hard().await;
    };
    crash(&mut fleet, 0, "folder").await;
    crash(&mut fleet, 1, "unit").await;
    fleet.place.store().stop().await;
    for host in &mut fleet.hosts {
        for (cell, _) in CELLS {
            // A port of the boot before says nothing about this one.
            let _ = std::fs::remove_file(host.path(&format!("{HOME}/ports/{cell}")));
        }
        host.boot_again().await;
    }
    let whole = async || {
        let told = fleet.told().await;
        told.iter().flatten().all(|told| is_of(told, "v1") || is_of(told, "v2"))
    };
    wait_for(whole, "one whole version of everything").await;
    fleet.place.store().restart().await;
    fleet.wait_until_all_are("v2").await;
}
