//! Versions of a service of systemd that take each other's place while clients never stop asking, on a host that
//! systemd runs.

use std::net::TcpListener;

use serde_json::Value;

use crate::support::agent_host::AgentHost;
use crate::support::load::{Load, SERVER, ask};
use crate::support::wait_for;

const UNITS: &str = "/etc/systemd/system";
const STARTS: &str = "/etc/systemd/system/multi-user.target.wants";
const FIRST: &str = "fleetman-web.service";
const SECOND: &str = "fleetman-web.b.service";
/// While it is there no version becomes good.
const GATE: &str = "/srv/gate";

/// Whether a version serves.
const READY: &str = "test -e \"$FLEETMAN_DATA_DIR/ready.$FLEETMAN_VERSION\"";

/// A host whose cell is given the socket `port`. Hosts share this machine's loopback.
struct Node {
    node: AgentHost,
    port: u16,
    profile: &'static str,
    /// What the recipe of `web` says besides.
    more: String,
    /// What else has to hold for a version to be good.
    check: &'static str,
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn sockets(name: &str, port: u16) -> String {
    format!("{{start_stop: {{sockets: {{{name}: {{listen: \"127.0.0.1:{port}\"}}}}}}}}")
}

impl Node {
    async fn start() -> Option<Self> {
        Self::start_under("systemd", "").await
    }

    async fn start_under(profile: &'static str, more: &str) -> Option<Self> {
        let (node, more) = (AgentHost::boot().await?, more.to_owned());
        let node = Self { node, port: free_port(), profile, more, check: READY };
        node.apply(&sockets("http", node.port), "").await;
        // An agent that crashes is there again at once.
        let unit = format!("ReadWritePaths={UNITS}\nRestartSec=50ms\nStartLimitIntervalSec=0\n");
        node.node.start_agent(&unit, &format!("{profile}: {{}}\n")).await;
        Some(node)
    }

    /// Gives the recipe of `web` this strategy, and its service these fields beside its command.
    async fn apply(&self, strategy: &str, fields: &str) {
        let Self { profile, more, .. } = self;
        let check = format!("{} && test ! -e {GATE}", self.check);
        let manifest = format!(
            "name: site\nstrategy: {strategy}\n\
             profile:\n  {profile}:\n    command: [/usr/bin/python3, serve.py]\n    restart: {{delay: 10ms}}\n    \
             stop: {{timeout: 20s}}\n{fields}\
             health:\n  min_healthy_time: 100ms\n  deadline: 60s\n  interval: 100ms\n  checks:\n    \
             ready: {{exec: {{command: [/bin/sh, -c, '{check}']}}}}\n{more}---\ncell: n1/web\nmanifest: site\n"
        );
        self.node.place.write("site.yaml", &manifest);
        self.node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    }

    /// Publishes a version that serves, and waits until it is good and alone.
    async fn serve(&self, version: &str) {
        self.ask(version, SERVER).await;
        self.is_up(version).await;
    }

    /// Publishes a version that is this program.
    async fn ask(&self, version: &str, program: &str) {
        let place = &self.node.place;
        place.write(&format!("{version}/serve.py"), program);
        place.fleetman(&["upload", "site", version, "--as", version]).await.exits(0);
        place.fleetman(&["publish", "n1/web", "-d", version, "--as", version, "-y"]).await.exits(0);
    }

    async fn report(&self) -> Value {
        let status = self.node.status().await;
        status.map(|status| status["heartbeat"]["cells"]["web"].clone()).unwrap_or_default()
    }

    async fn is_up(&self, version: &str) {
        let up = async || {
            let report = self.report().await;
            let count = report["processes"].as_object().map_or(0, serde_json::Map::len);
            report["phase"] == "up_to_date" && report["running"]["version"] == version && count == 1
        };
        if !crate::support::holds_in_time(up).await {
            let units = self.shell("systemctl status --no-pager 'fleetman-*' fleetagent || true").await;
            panic!("version {version} is not up: {:#}\n{units}", self.report().await);
        }
    }

    async fn both_run(&self) {
        let both = async || {
            let report = self.report().await;
            let states = ["main", "main-b"].map(|name| report["processes"][name]["state"] == "running");
            report["phase"] == "checking" && states == [true, true]
        };
        wait_for(both, "both to run").await;
    }

    async fn shell(&self, line: &str) -> String {
        self.node.host.run(&["sh", "-euc", line]).await.exits(0).out
    }

    fn has(&self, path: &str) -> bool {
        self.node.host.path(path).symlink_metadata().is_ok()
    }

    /// The names of what the folder of the units has of the cell.
    async fn units(&self) -> Vec<String> {
        let list =
            self.shell(&format!("find {UNITS} -name '*fleetman*' ! -path '*.wants/*' -printf '%f\\n' | sort")).await;
        list.lines().map(str::to_owned).collect()
    }

    /// The process ids of the services.
    async fn pids(&self) -> [String; 2] {
        [self.node.property(FIRST, "MainPID").await, self.node.property(SECOND, "MainPID").await]
    }

    async fn answers(&self) -> String {
        ask(self.port, None, false).await.unwrap().0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_over_twenty_versions_of_a_service() {
    let Some(node) = Node::start().await else { return };
    node.serve("v0").await;
    let load = Load::begin(node.port);
    load.answered(20).await;
    for version in 1..=20 {
        let version = format!("v{version}");
        node.serve(&version).await;
        assert_eq!(node.answers().await, version, "the old one takes no more connections");
        load.check();
    }
    load.answered(20).await;
    let answered = load.end().await;
    eprintln!("{answered} requests were answered over 20 upgrades, and none failed");

    // It is the one that is left that starts with the host.
    let units = node.units().await;
    assert_eq!((units.len(), units.contains(&FIRST.to_owned())), (3, true), "{units:?}");
    assert_eq!(node.node.property(FIRST, "UnitFileState").await, "enabled");
    assert!(!node.has(&format!("{STARTS}/{SECOND}")));
    assert_eq!(node.shell("systemctl list-units --all --failed --no-legend --plain 'fleetman*'").await, "");

    // Nobody listens once it is stopped, and nothing is left once it is removed.
    node.node.place.fleetman(&["stop", "n1/web", "-y", "--wait"]).await.exits(0);
    assert!(ask(node.port, None, false).await.is_err());
    node.serve("v21").await;
    node.serve("v22").await;
    assert!(node.units().await.contains(&SECOND.to_owned()));
    node.node.place.fleetman(&["remove", "n1/web", "-y", "--wait"]).await.exits(0);
    assert_eq!(node.units().await, [""; 0]);
    assert_eq!(node.shell("systemctl list-units --all --no-legend --plain 'fleetman-*'").await, "");
    assert_eq!(node.shell(&format!("find {UNITS} -name '*fleetman-*'")).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_of_a_service_that_fails_leaves_the_one_before_as_it_was() {
    let Some(node) = Node::start().await else { return };
    node.serve("good").await;
    let before = node.pids().await;
    let load = Load::begin(node.port);
    load.answered(20).await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let of_others = taken.local_addr().unwrap();
    for (version, program, strategy, why) in [
        // It is restarted as fast as can be, which systemd must not take for a reason to close the socket.
        ("exits", "raise SystemExit(3)", sockets("http", node.port), "exit code 3"),
        ("dies", "import time; time.sleep(0.5); raise SystemExit(4)", sockets("http", node.port), "exit code 4"),
        ("nobodys", SERVER, sockets("http", of_others.port()), "Address already in use"),
        ("pathless", SERVER, "{start_stop: {sockets: {http: {listen: /etc/passwd}}}}".to_owned(), "no socket"),
    ] {
        node.apply(&strategy, "").await;
        node.ask(version, program).await;
        let failed = async || {
            let report = node.report().await;
            let message = report["last_error"]["message"].as_str().unwrap_or_default().to_owned();
            let is_told = message.contains(why);
            report["phase"] == "rolled_back"
                && is_told
                && report["processes"].as_object().is_some_and(|it| it.len() == 1)
        };
        if !crate::support::holds_in_time(failed).await {
            panic!("{version}: {:#}", node.report().await);
        }
        assert_eq!(node.pids().await, before, "it was not even restarted after {version}");
        assert_eq!(node.units().await.len(), 3, "nothing is left of {version}");
        load.answered(20).await;
    }
    assert!(node.node.host.read("/etc/passwd").is_some());
    node.apply(&sockets("http", node.port), "").await;
    node.serve("better").await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_killed_at_any_step_of_an_upgrade_ends_it_all_the_same() {
    let Some(node) = Node::start().await else { return };
    node.serve("v0").await;
    let load = Load::begin(node.port);
    load.answered(20).await;
    let begun = "/srv/fleetagent/n1-state/systemd/web/begun.json";
    let activation = |text: Option<String>| {
        let begun: Value = serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default();
        (begun["activation"].to_string(), begun["beside"].is_object())
    };
    let mut newer = [SECOND, FIRST].into_iter().cycle();
    // What is on the disk when it is killed, in the order in which it comes to be.
    for (at, step) in
        ["written", "begun", "enabled", "older is disabled", "older is gone", "settled"].iter().enumerate()
    {
        let version = format!("v{}", at + 1);
        let unit = newer.next().unwrap();
        let older = if unit == FIRST { SECOND } else { FIRST };
        let before = activation(node.node.host.read(begun)).0;
        node.ask(&version, SERVER).await;
        let reached = async || match *step {
            "written" => node.has(&format!("{UNITS}/{unit}")),
            "begun" => activation(node.node.host.read(begun)).0 != before,
            "enabled" => node.has(&format!("{STARTS}/{unit}")),
            "older is disabled" => !node.has(&format!("{STARTS}/{older}")),
            "older is gone" => !node.has(&format!("{UNITS}/{older}")),
            _ => matches!(activation(node.node.host.read(begun)), (now, false) if now != before),
        };
        wait_for(reached, step).await;
        node.shell("systemctl kill --signal=KILL fleetagent").await;
        node.is_up(&version).await;
        load.check();
        assert_eq!(node.units().await.len(), 3, "{step}");
        assert!(node.has(&format!("{STARTS}/{unit}")) && !node.has(&format!("{STARTS}/{older}")), "{step}");
    }
    load.answered(20).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_crashes_while_two_versions_run_boots_the_good_one() {
    let Some(mut node) = Node::start().await else { return };
    node.serve("v1").await;
    node.node.host.write(GATE, "");
    node.ask("v2", SERVER).await;
    node.both_run().await;
    // An agent that ends changes nothing.
    let both = node.pids().await;
    node.shell("systemctl restart fleetagent").await;
    node.both_run().await;
    assert_eq!(node.pids().await, both);

    // Without an agent that could see to it.
    node.shell("systemctl disable fleetagent").await;
    node.node.host.kill_hard().await;
    node.node.host.boot_again().await;
    wait_for(async || ask(node.port, None, false).await.is_ok(), "the host to serve").await;
    assert_eq!(node.answers().await, "v1");
    assert_eq!(node.node.property(SECOND, "ActiveState").await, "inactive");
    let load = Load::begin(node.port);
    node.shell("systemctl enable --now fleetagent").await;
    node.both_run().await;
    load.answered(20).await;
    node.shell(&format!("rm {GATE}")).await;
    node.is_up("v2").await;
    load.end().await;

    // What is good boots.
    node.node.host.kill_hard().await;
    node.node.host.boot_again().await;
    wait_for(async || ask(node.port, None, false).await.is_ok(), "the host to serve").await;
    assert_eq!(node.answers().await, "v2");
    assert_eq!(node.node.property(FIRST, "LoadState").await, "not-found");
    node.is_up("v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strategy_and_sockets_may_change_from_version_to_version() {
    let Some(node) = Node::start().await else { return };
    // What listens by itself holds its port until it is stopped.
    let by_itself = SERVER.replace("socket.socket(fileno=3)", "socket.create_server((\"127.0.0.1\", PORT))");
    let by_itself = by_itself.lines().filter(|line| !line.starts_with("assert")).collect::<Vec<_>>().join("\n");
    let by_itself = by_itself.replace("PORT", &node.port.to_string());
    node.apply("stop_start", "").await;
    node.ask("alone", &by_itself).await;
    node.is_up("alone").await;
    assert_eq!(node.units().await, [FIRST]);
    node.apply(&sockets("http", node.port), "").await;
    node.serve("given").await;
    assert_eq!(node.answers().await, "given");
    let load = Load::begin(node.port);
    node.serve("turn").await;

    // Another port beside the one before.
    let (before, after) = (node.port, free_port());
    let two = format!(
        "{{start_stop: {{sockets: {{http: {{listen: \"127.0.0.1:{before}\"}}, \
         more: {{listen: \"127.0.0.1:{after}\"}}}}}}}}"
    );
    node.apply(&two, "").await;
    let both = SERVER
        .replace("== \"1\"", "== \"2\"")
        .replace(
            "assert os.environ[\"LISTEN_FDNAMES\"] == \"http\"",
            "names = os.environ[\"LISTEN_FDNAMES\"].split(\":\")",
        )
        .replace("fileno=3", "fileno=3 + names.index(\"http\")");
    node.ask("two", &both).await;
    node.is_up("two").await;
    assert_eq!(node.units().await.len(), 5);
    node.apply(&sockets("http", node.port), "").await;
    node.serve("one").await;
    assert_eq!(node.units().await.len(), 3);
    load.end().await;
    assert!(ask(after, None, false).await.is_err(), "what no version needs is closed");

    // Nobody can listen there twice: it is closed and opened.
    node.apply(&sockets("web", node.port), "").await;
    let renamed = SERVER.replace("== \"http\"", "== \"web\"");
    node.ask("renamed", &renamed).await;
    node.is_up("renamed").await;
    assert_eq!(node.answers().await, "renamed");
    assert_eq!(node.units().await.len(), 3);

    // A socket that somebody has closed under the service is told, and the next version opens it.
    node.shell("systemctl stop 'fleetman-web.web.*.socket'").await;
    let told = async || node.report().await["conditions"].to_string().contains("does not listen at 127.0.0.1");
    wait_for(told, "the closed socket to be told").await;
    assert_eq!(node.answers().await, "renamed", "what has it goes on");
    node.ask("again", &renamed).await;
    node.is_up("again").await;
    let load = Load::begin(node.port);
    node.ask("and-again", &renamed).await;
    node.is_up("and-again").await;
    load.end().await;

    // And back to what listens by itself.
    node.apply("stop_start", "").await;
    node.ask("back", &by_itself).await;
    node.is_up("back").await;
    assert_eq!(node.answers().await, "back");
    assert_eq!(node.units().await, [FIRST]);
    assert_eq!(node.node.property(FIRST, "UnitFileState").await, "enabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_starts_nothing_and_waits_for_what_was_stopped_by_hand() {
    let Some(node) = Node::start().await else { return };
    node.serve("v1").await;
    node.shell(&format!("systemctl stop {FIRST}")).await;
    let waiting = tokio::spawn(ask(node.port, None, false));
    let idle = async || node.shell("systemctl list-units --plain --no-legend 'fleetman-web.http.*.service'").await;
    wait_for(async || idle().await.contains("exited"), "systemd to see the connection").await;
    assert_eq!(node.node.property(FIRST, "ActiveState").await, "inactive");
    node.shell(&format!("systemctl start {FIRST}")).await;
    assert_eq!(waiting.await.unwrap().unwrap().0, "v1");
    node.serve("v2").await;
}

/// Where hooks and programs write down what they are told.
const DIARY: &str = "/srv/fleetagent/diary";
/// While it is there the hook `stop` does not end.
const HOLD: &str = "/srv/fleetagent/hold";
/// While it is there what was asked to end does not.
const LINGER: &str = "/srv/linger";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_that_it_stops_is_told_once_whenever_the_agent_is_killed() {
    for profile in ["systemd", "process"] {
        let tell = |then: &str| format!("[/bin/sh, -c, 'echo $FLEETMAN_HOOK of $FLEETMAN_VERSION >>{DIARY}; {then}']");
        let stop = tell(&format!("while test -e {HOLD}; do sleep 0.1; done; echo done >>{DIARY}"));
        let hooks =
            format!("hooks:\n  validate: {{command: {}}}\n  stop: {{command: {stop}, timeout: 5m}}\n", tell("true"));
        let Some(node) = Node::start_under(profile, &hooks).await else { return };
        let lingers = format!(
            "open(\"{DIARY}\", \"a\").write(\"end of \" + body.decode() + \"\\n\")\n\
             while os.path.exists(\"{LINGER}\"):\n    time.sleep(0.05)\n"
        );
        let program = SERVER.replace("listener.close()\n", &format!("listener.close()\n{lingers}"));
        node.ask("v1", &program).await;
        node.is_up("v1").await;
        let load = Load::begin(node.port);
        load.answered(20).await;
        for file in [HOLD, LINGER] {
            node.node.host.write(file, "");
        }
        let diary = || node.node.host.read(DIARY).unwrap_or_default().lines().map(str::to_owned).collect::<Vec<_>>();
        node.ask("v2", &program).await;
        let told =
            |times: usize| move |diary: &[String]| diary.iter().filter(|it| *it == "stop of v1").count() == times;
        wait_for(async || told(1)(&diary()), "the old version to be told").await;
        node.both_run().await;
        // The hook that is under way goes with the agent, and is run again.
        node.shell("systemctl kill --signal=KILL fleetagent").await;
        wait_for(async || told(2)(&diary()), "the old version to be told by the next agent").await;
        node.both_run().await;
        load.answered(20).await;

        // One that has ended is not.
        node.shell(&format!("rm {HOLD}")).await;
        wait_for(async || diary().contains(&"end of v1".to_owned()), "the old version to be asked to end").await;
        let since = node.node.agent_pid().await;
        node.shell("systemctl kill --signal=KILL fleetagent").await;
        wait_for(async || !["0", &since].contains(&&*node.node.agent_pid().await), "another agent").await;
        node.shell(&format!("rm {LINGER}")).await;
        node.is_up("v2").await;
        assert_eq!(
            diary(),
            ["validate of v1", "validate of v2", "stop of v1", "stop of v1", "done", "end of v1"],
            "{profile}"
        );
        load.end().await;
    }
}

/// A server that opens its own socket beside another one's, and answers what its file says, which it reads anew when it
/// is told to.
fn shares(port: u16) -> String {
    let own = format!(
        "socket.socket()\nlistener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)\n\
         listener.bind((\"127.0.0.1\", {port}))\nlistener.listen()"
    );
    let read = "def read(*_):\n    global body\n    with open(os.environ[\"FLEETMAN_CURRENT_DIR\"] + \"/conf/app\") as file:\n        \
                body = file.read().encode()\n\nread()\nsignal.signal(signal.SIGHUP, read)";
    let lines: Vec<&str> = SERVER.lines().filter(|line| !line.starts_with("assert")).collect();
    let server = lines.join("\n").replace("socket.socket(fileno=3)", &own);
    server.replace("body = os.environ[\"FLEETMAN_VERSION\"].encode()", read)
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_share_a_port_by_themselves_are_reloaded_for_their_files_and_else_run_beside_each_other() {
    let Some(mut node) = Node::start().await else { return };
    node.more = "reload_if: [\"conf/**\"]\n".to_owned();
    node.check = "true";
    node.apply("{start_stop: {shares: so_reuseport}}", "    reload_signal: HUP\n").await;
    let program = shares(node.port);
    let publish = async |version: &str, program: &str, conf: &str| {
        node.node.place.write(&format!("{version}/conf/app"), conf);
        node.ask(version, program).await;
    };
    publish("v1", &program, "one").await;
    node.is_up("v1").await;
    assert_eq!(node.answers().await, "one");
    assert_eq!(node.units().await, [FIRST], "nobody but the program listens");
    let before = node.pids().await;

    publish("v2", &program, "two").await;
    node.is_up("v2").await;
    assert_eq!((node.answers().await.as_str(), node.pids().await), ("two", before.clone()), "it was only told");

    // Other bytes of the program start it beside the one that was told, and the two are asked in turn.
    node.node.host.write(GATE, "");
    publish("v3", &format!("{program}\n"), "three").await;
    node.both_run().await;
    assert_eq!(node.pids().await[0], before[0]);
    let mut said = std::collections::BTreeSet::new();
    wait_for(
        async || {
            let answer = node.answers().await;
            said.insert(answer);
            said.len() == 2
        },
        "both to answer",
    )
    .await;
    node.shell(&format!("rm {GATE}")).await;
    node.is_up("v3").await;
    assert_eq!(node.answers().await, "three");
    assert_eq!(node.units().await, [SECOND]);

    // The one whose turn it is now is told as well, and it is what boots.
    let before = node.pids().await;
    publish("v4", &format!("{program}\n"), "four").await;
    node.is_up("v4").await;
    assert_eq!((node.answers().await.as_str(), node.pids().await), ("four", before));
    assert_eq!(node.node.property(SECOND, "UnitFileState").await, "enabled");
}
