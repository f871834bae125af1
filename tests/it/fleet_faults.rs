//! What a host runs when its disks are full or its systemd refuses to read units: a unit and a program go on, their
//! new versions wait and say why, and come up without a hand once the cause is gone.

use serde_json::Value;

use crate::support::agent_host::{AgentHost, HOME};
use crate::support::cli::page;
use crate::support::wait_for;

/// The cells by their profiles, each with what it is installed as.
const CELLS: [(&str, &str, &str); 2] = [
    ("unit", "systemd", "/etc/systemd/system/fleetman-unit.service"),
    ("program", "supervisor", "/etc/supervisor/conf.d/fleetman-program.conf"),
];

/// Tells over HTTP which version it is, from the file beside it, and writes of it into its log.
const SERVICE: &str = r#"
import http.server, os

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("asked for " + "a page " * 1000, flush=True)
        body = ("%d %s" % (os.getpid(), open("version").read())).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
place = os.environ["PORT_FILE"]
with open(place + ".new", "w") as file:
    file.write(str(server.server_address[1]))
os.rename(place + ".new", place)
server.serve_forever()
"#;

/// Puts a small disk with the content of the folder over it.
const SMALL_DISK: &str = r#"
    folder=$0 size=$1
    mkdir -p "$folder" /mnt/small
    mount -t tmpfs -o "mode=755,size=$size" tmpfs /mnt/small
    cp -a "$folder/." /mnt/small
    mount --bind /mnt/small "$folder"
    umount /mnt/small
"#;

/// Leaves no byte free, also of what the agent may just have given back.
const FILL: &str = r#"
    for folder in "$0" "$@"; do
        while [ "$(stat --file-system --format=%a "$folder")" -gt 0 ]; do
            dd if=/dev/zero bs=4k status=none >>"$folder/.filler" 2>/dev/null || true
        done
    done
"#;

struct Node(AgentHost);

impl Node {
    async fn start() -> Option<Self> {
        let node = Self(AgentHost::boot().await?);
        node.0.host.write(&format!("{HOME}/ports/README"), "Where services listen.\n");
        // A release leaves 64 MiB free.
        node.run(SMALL_DISK, &[&node.state(), "96m"]).await;
        node.run(SMALL_DISK, &["/etc/supervisor/conf.d", "64k"]).await;
        let unit = "ReadWritePaths=/etc/systemd/system /etc/supervisor/conf.d\n[Unit]\nStartLimitIntervalSec=0\n";
        node.0.start_agent(unit, "systemd: {}\nsupervisor: {}\n").await;
        node.run(SMALL_DISK, &["/etc/systemd/system", "256k"]).await;
        node.run("systemctl daemon-reload; systemctl restart fleetagent", &[]).await;
        for (cell, profile, _) in CELLS {
            let manifest = format!(
                "name: {cell}\nprofile: {{{profile}: {{command: [/usr/bin/python3, serve.py], stop: {{timeout: 5s}}, \
                 env: {{PORT_FILE: {HOME}/ports/{cell}}}}}}}\nhealth: {{min_healthy_time: 100ms}}\n---\n\
                 cell: n1/{cell}\nmanifest: {cell}\n"
            );
            node.0.place.write(&format!("{cell}.yaml"), &manifest);
            node.0.place.fleetman(&["apply", "-f", &format!("{cell}.yaml")]).await.exits(0);
        }
        Some(node)
    }

    fn state(&self) -> String {
        format!("{HOME}/n1-state")
    }

    /// Runs a script on the host.
    async fn run(&self, script: &str, arguments: &[&str]) -> String {
        self.0.host.run(&[&["sh", "-euc", script], arguments].concat()).await.exits(0).out
    }

    /// Asks for a release of both cells, without waiting for what becomes of it.
    async fn ask(&self, release: &str) {
        self.0.place.write(&format!("{release}/serve.py"), SERVICE);
        self.0.place.write(&format!("{release}/version"), release);
        for (cell, ..) in CELLS {
            self.0.place.fleetman(&["upload", cell, release, "--as", release]).await.exits(0);
            let publish = ["publish", &format!("n1/{cell}"), "-d", release, "--as", release, "-y"];
            self.0.place.fleetman(&publish).await.exits(0);
        }
    }

    /// What the heartbeat in the bucket says of a cell.
    async fn report(&self, cell: &str) -> Value {
        let cell = format!("n1/{cell}");
        self.0.place.fleetman(&["describe", "cell", &cell, "-o", "json"]).await.exits(0).json()["report"].clone()
    }

    /// What the service of a cell says: its process and its version.
    async fn told(&self, cell: &str) -> Option<String> {
        let port = self.0.host.read(&format!("{HOME}/ports/{cell}"))?;
        Some(page(&format!("http://127.0.0.1:{port}/")).await?.1)
    }

    /// What both services say, and what they are installed as.
    async fn running(&self) -> Vec<(Option<String>, String)> {
        let mut running = Vec::new();
        for (cell, _, file) in CELLS {
            running.push((self.told(cell).await, self.run("cat \"$0\"", &[file]).await));
        }
        running
    }

    /// Waits until a service is of this version, and the heartbeat says so.
    async fn comes_up(&self, cell: &str, release: &str) {
        let up = async || {
            let (told, report) = (self.told(cell).await, self.report(cell).await);
            told.is_some_and(|told| told.ends_with(&format!(" {release}")))
                && (&report["phase"], &report["running"]["version"]) == (&"up_to_date".into(), &release.into())
        };
        wait_for(up, &format!("{release} of {cell}")).await;
    }

    async fn all_come_up(&self, release: &str) {
        for (cell, ..) in CELLS {
            self.comes_up(cell, release).await;
        }
    }

    /// Kills a service, and waits until it runs again, of this version.
    async fn is_started_again(&self, cell: &str, release: &str) {
        let killed = self.told(cell).await.unwrap();
        let pid = killed.split_whitespace().next().unwrap();
        self.run("kill -KILL \"$0\"", &[pid]).await;
        let mut told = None;
        let again = async || {
            told = self.told(cell).await;
            told.as_ref().is_some_and(|told| *told != killed)
        };
        wait_for(again, &format!("another process of {cell}")).await;
        assert!(told.unwrap().ends_with(&format!(" {release}")));
    }

    /// Waits until the heartbeat says that the cell waits for this.
    async fn waits(&self, cell: &str, code: &str, message: &str) {
        let mut report = Value::Null;
        let waits = async || {
            report = self.report(cell).await;
            let waiting = &report["waiting"];
            waiting["reason"] == code && waiting["message"].as_str().is_some_and(|said| said.contains(message))
        };
        wait_for(waits, &format!("{cell} to wait for {code}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_goes_on_while_a_disk_is_full_or_systemd_refuses_to_reload() {
    let Some(node) = Node::start().await else { return };
    let state = node.state();
    node.ask("r1").await;
    node.all_come_up("r1").await;

    // The agent cannot even write down what it is asked.
    let before = node.running().await;
    node.run(FILL, &[&state]).await;
    node.ask("r2").await;
    for (cell, ..) in CELLS {
        let says = async || {
            let report = node.report(cell).await;
            report["last_error"]["code"] == "disk_full" || report["waiting"]["reason"] == "disk_full"
        };
        wait_for(says, &format!("{cell} to tell of the full disk")).await;
    }
    assert_eq!(node.running().await, before);
    // What is killed there is started again as it was, and an agent starts there, too.
    for (cell, ..) in CELLS {
        node.is_started_again(cell, "r1").await;
    }
    let before = node.running().await;
    node.run("systemctl stop fleetagent; truncate --size=0 \"$0/agent.lock\"", &[&state]).await;
    node.run(FILL, &[&state]).await;
    node.run("systemctl start fleetagent", &[]).await;
    let says = async || {
        let agent = format!("_PID={}", node.0.agent_pid().await);
        let said = node.run("journalctl --no-pager --output=cat \"$0\"", &[&agent]).await;
        said.contains("the state cannot be written") && said.contains("disk_full")
    };
    wait_for(says, "another agent to say that the disk is full").await;
    assert_eq!(node.running().await, before);
    // There is room to write that down, but none for a release.
    node.run("truncate --size=64M \"$0/.filler\"", &[&state]).await;
    for (cell, ..) in CELLS {
        node.waits(cell, "disk_full", "there is room for").await;
    }
    assert_eq!(node.running().await, before);
    node.run("rm \"$0/.filler\"", &[&state]).await;
    node.all_come_up("r2").await;

    // No room for a unit, nor for a program's file.
    let before = node.running().await;
    let folders = ["/etc/systemd/system", "/etc/supervisor/conf.d"];
    node.run(FILL, &folders).await;
    node.ask("r3").await;
    for (cell, _, file) in CELLS {
        node.waits(cell, "disk_full", &format!("writing {file}")).await;
    }
    assert_eq!(node.running().await, before);
    let left = node.run("find \"$0\" \"$1\" -name '*fleetman-*' -type f", &folders).await;
    assert_eq!(left.lines().collect::<Vec<_>>(), CELLS.map(|(_, _, file)| file), "nothing half written is left");
    node.run("rm \"$0/.filler\" \"$1/.filler\"", &folders).await;
    node.all_come_up("r3").await;

    // systemd reads units anew only while there is room where it keeps what it knows. What it runs still is started
    // again as it was.
    let before = node.running().await;
    let size = node.run("findmnt --noheadings --output OPTIONS /run | tr , '\\n' | grep '^size='", &[]).await;
    node.run("mount -o remount,size=12m /run", &[]).await;
    node.ask("r4").await;
    node.waits("unit", "io", "systemd refuses Reload").await;
    node.waits("unit", "io", "not enough space available on /run/systemd").await;
    node.comes_up("program", "r4").await;
    assert_eq!(node.running().await[0], before[0]);
    node.is_started_again("unit", "r3").await;
    node.run("mount -o \"remount,$0\" /run", &[size.trim()]).await;
    node.all_come_up("r4").await;
    let unit = node.0.property("fleetman-unit", "NeedDaemonReload").await;
    assert_eq!(unit, "no");
}
