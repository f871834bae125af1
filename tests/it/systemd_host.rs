//! Cells that are services of systemd, on a host that systemd runs.

use std::collections::BTreeMap;

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::support::agent_host::{AgentHost, HOME};
use crate::support::wait_for;

/// Tells of its life outside of all that the agent may write to.
const SERVICE: &str = r#"
echo "begin $FLEETMAN_VERSION" >>/srv/life
trap 'echo "end $FLEETMAN_VERSION" >>/srv/life; exit 0' TERM
sleep 1000 &
wait
"#;

const UNIT: &str = "fleetman-web.service";

/// A host that runs the `systemd` profile. Its agent may write to its own folder and to that of the units.
async fn start() -> Option<AgentHost> {
    let node = AgentHost::boot().await?;
    apply(&node, "").await;
    node.start_agent("ReadWritePaths=/etc/systemd/system\n", "systemd: {}\n").await;
    Some(node)
}

/// Gives the recipe of `web` these fields beside its command.
async fn apply(node: &AgentHost, fields: &str) {
    recipe(node, &format!("command: [/bin/sh, serve], restart: {{delay: 10ms}}, stop: {{timeout: 2s}}, {fields}"))
        .await;
}

async fn recipe(node: &AgentHost, spec: &str) {
    let manifest = format!(
        "name: site\nprofile: {{systemd: {{{spec}}}}}\nhealth: {{min_healthy_time: 100ms}}\n---\n\
         cell: n1/web\nmanifest: site\n"
    );
    node.place.write("site.yaml", &manifest);
    node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
}

async fn publish(node: &AgentHost, release: &str) {
    node.place.write(&format!("{release}/serve"), SERVICE);
    node.publish(release).await;
}

async fn report(node: &AgentHost) -> Value {
    node.status().await.unwrap()["heartbeat"]["cells"]["web"].clone()
}

async fn pid(node: &AgentHost) -> String {
    node.property(UNIT, "MainPID").await
}

async fn life(node: &AgentHost) -> String {
    node.host.read("/srv/life").unwrap_or_default().replace('\n', " ").trim().to_owned()
}

/// All files of the host outside of what may differ, by path and content.
async fn files(node: &AgentHost) -> String {
    let find = "find /etc /usr/local /run/fleetman /var /srv /opt -xdev \
                \\( -path /srv/fleetagent -o -path '/var/tmp/systemd-private-*' -o -path /var/log -o -path /srv/life \\) -prune -o -print0 2>/dev/null \
                | sort -z | xargs -0 sh -c 'for f; do if [ -f \"$f\" ] && [ ! -L \"$f\" ]; then sha256sum \"$f\"; \
                else ls -dn --time-style=+ \"$f\"; fi; done' sh | sed 's/^\\([dl]\\S*\\) *[0-9]* /\\1 /'";
    node.host.run(&["sh", "-c", find]).await.out
}

/// The host's units, by what systemd says of them.
async fn units(node: &AgentHost) -> String {
    let list =
        "systemctl list-unit-files --no-legend --plain; systemctl list-units --all --no-legend --plain 'fleetman*'";
    node.host.run(&["sh", "-c", list]).await.exits(0).out
}

fn differences(before: &str, after: &str) -> Vec<String> {
    let lines = |text: &str| -> BTreeMap<String, ()> { text.lines().map(|line| (line.to_owned(), ())).collect() };
    let (before, after) = (lines(before), lines(after));
    let gone = before.keys().filter(|line| !after.contains_key(*line)).map(|line| format!("- {line}"));
    let new = after.keys().filter(|line| !before.contains_key(*line)).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_is_deployed_upgraded_rolled_back_stopped_and_removed() {
    let Some(node) = start().await else { return };
    let before = (files(&node).await, units(&node).await);

    publish(&node, "r1").await;
    let first = pid(&node).await;
    let said = report(&node).await;
    assert_eq!(said["state"]["state"], "running", "{said}");
    assert_eq!(said["state"]["pid"].to_string(), first, "{said}");
    assert_eq!(said["processes"]["main"]["state"], "running", "{said}");
    assert_eq!(said["conditions"], serde_json::json!([]), "{said}");
    assert_eq!(node.property(UNIT, "UnitFileState").await, "enabled");
    let unit = node.host.read("/etc/systemd/system/fleetman-web.service").unwrap();
    assert!(unit.contains("\n[X-Fleetman]\nCell=web\nVersion=r1\nGeneration=1\n"), "{unit}");

    // Neither agent nor its end matters to what runs.
    for command in [&["systemctl", "restart", "fleetagent"][..], &["systemctl", "kill", "--signal=KILL", "fleetagent"]]
    {
        node.host.run(command).await.exits(0);
        wait_for(async || report(&node).await["state"]["state"] == "running", "another agent").await;
        assert_eq!(pid(&node).await, first, "{command:?}");
    }
    assert_eq!(life(&node).await, "begin r1");

    publish(&node, "r2").await;
    assert_ne!(pid(&node).await, first);
    assert_eq!(life(&node).await, "begin r1 end r1 begin r2");

    // A version that does not come up is gone back from.
    node.place.write("r3/serve", "exit 3\n");
    node.place.fleetman(&["upload", "site", "r3", "--as", "r3"]).await.exits(0);
    node.place.fleetman(&["publish", "n1/web", "-d", "r3", "--as", "r3", "-y"]).await.exits(0);
    wait_for(async || report(&node).await["phase"] == "rolled_back", "the cell to be rolled back").await;
    let said = report(&node).await;
    assert_eq!(said["running"]["version"], "r2", "{said}");
    assert!(said["last_error"]["message"].to_string().contains("exit code 3"), "{said}");
    assert_eq!((&said["state"]["state"], &said["state"]["restarts"]), (&"running".into(), &0.into()), "{said}");

    node.place.fleetman(&["rollback", "n1/web", "--to", "r1", "-y", "--wait"]).await.exits(0);
    assert!(life(&node).await.ends_with("end r2 begin r1"), "{}", life(&node).await);

    node.place.fleetman(&["stop", "n1/web", "-y", "--wait"]).await.exits(0);
    assert!(life(&node).await.ends_with("begin r1 end r1"), "{}", life(&node).await);
    assert_eq!(node.property(UNIT, "ActiveState").await, "inactive");
    assert_eq!(node.property(UNIT, "UnitFileState").await, "disabled");
    assert_eq!(report(&node).await["phase"], "stopped");

    publish(&node, "r4").await;
    assert_eq!(node.property(UNIT, "ActiveState").await, "active");
    // What is stopped is stopped once more before it is removed.
    node.place.fleetman(&["stop", "n1/web", "-y", "--wait"]).await.exits(0);
    node.place.fleetman(&["remove", "n1/web", "-y", "--wait"]).await.exits(0);
    assert!(life(&node).await.ends_with("begin r4 end r4"), "{}", life(&node).await);
    assert_eq!(differences(&before.0, &files(&node).await), [""; 0]);
    assert_eq!(differences(&before.1, &units(&node).await), [""; 0]);
    assert!(!node.host.path(&format!("{HOME}/n1-state/systemd/web")).exists());
}

/// What has meant something in a unit file to somebody.
fn hostile() -> Vec<String> {
    let known = [
        "",
        " ",
        "a b",
        " a ",
        "trailing\\",
        "\\",
        "\\\\",
        "%n %% %",
        "%",
        "%h%t%d",
        "$HOME ${HOME} $$",
        "$",
        "$$$",
        "${",
        "\"",
        "'",
        "\"'`",
        "\\\"",
        ";",
        "; ;",
        "a;b",
        "#",
        "# a",
        "[Service]",
        "\n[Service]\nUser=nobody\n",
        "a\nb",
        "a\\\nb",
        "\n",
        "\t",
        "é☃🦀",
        "-",
        "--",
        "@a",
        "!a",
        "+a",
        ":a",
        "\\n\\x41\\u0041\\101",
        "=",
        "a=b",
        "*",
        "~",
        "\u{200b}\u{feff}\u{85a0}",
    ];
    let mut values: Vec<String> = known.map(str::to_owned).to_vec();
    values.push("x\\\"%$\n ;'".repeat(8192));
    // The same every time, so that what fails fails again.
    let mut state = 1_u64;
    let mut next = |most: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((state >> 33) % most).unwrap()
    };
    let letters: Vec<char> = "\\\"'%${}()[];#=\n\t abn0x7@!+-:~*?<>|&é".chars().collect();
    for _ in 0..200 {
        let length = 1 + next(12);
        values.push((0..length).map(|_| letters[next(letters.len() as u64)]).collect());
    }
    // To recipes these are templates.
    values.retain(|value| !["{{", "{%", "{#"].iter().any(|template| value.contains(template)));
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_version_says_arrives_byte_for_byte() {
    let Some(node) = start().await else { return };
    let values = hostile();
    let mut arguments = values.clone();
    arguments.extend(["\u{1}".to_owned(), "\u{1b}[2J\u{7f}\r".to_owned()]);
    let text = |value: &String| serde_json::to_string(value).unwrap().replace('\u{7f}', "\\u007f");
    let command: Vec<String> = ["/bin/sh".to_owned(), "serve".to_owned()].iter().chain(&arguments).map(text).collect();
    let env: Vec<String> = values.iter().enumerate().map(|(at, value)| format!("H{at}: {}", text(value))).collect();
    node.host.write("/etc/web.secret", "a\"b\\c`d$e\\\nf # ; %n '\n");
    recipe(
        &node,
        &format!(
            "command: [{}], env: {{{}, SECRET: {{from_file: /etc/web.secret}}}}, stop: {{timeout: 2s}}",
            command.join(", "),
            env.join(", ")
        ),
    )
    .await;
    publish(&node, "r1").await;

    let pid = pid(&node).await;
    let found = node.host.run(&["cat", &format!("/proc/{pid}/cmdline")]).await.exits(0).out;
    let found: Vec<&str> = found.strip_suffix('\0').unwrap().split('\0').collect();
    assert_eq!(found[..2], ["/bin/sh", "serve"]);
    assert_eq!(found.len(), arguments.len() + 2);
    for (found, given) in found[2..].iter().zip(&arguments) {
        assert_eq!(found, given);
    }
    let found = node.host.run(&["cat", &format!("/proc/{pid}/environ")]).await.exits(0).out;
    let found: BTreeMap<&str, &str> = found.split('\0').filter_map(|it| it.split_once('=')).collect();
    for (at, given) in values.iter().enumerate() {
        assert_eq!(found[&*format!("H{at}")], given);
    }
    assert_eq!(found["SECRET"], "a\"b\\c`d$e\\\nf # ; %n '");
    assert_eq!(node.property(UNIT, "User").await, "");
    // The secret is nowhere but in the process.
    assert!(!node.host.read("/etc/systemd/system/fleetman-web.service").unwrap().contains("f # ; %n"));
    assert_eq!(node.host.run(&["ls", "/run/fleetman"]).await.out, "");
    let journal = node.host.run(&["journalctl", "--no-pager", "--output=cat"]).await.out;
    assert!(!journal.contains("Unknown") && !journal.contains("ignoring"), "{journal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_arrives_as_it_is_or_nothing_is_written() {
    let Some(node) = start().await else { return };
    let describe =
        async |text: &str| apply(&node, &format!("description: {}", serde_json::to_string(text).unwrap())).await;
    let mut taken = ["\"a b\"", "'a'", "[Service]", "# a", "; a", "=a"].map(str::to_owned).to_vec();
    // As many at once as a description may be long.
    let mut line = String::from("|");
    for value in hostile().iter().filter(|value| !value.contains(char::is_control)) {
        if line.chars().count() + value.chars().count() > 198 {
            taken.push(std::mem::replace(&mut line, String::from("|")));
        }
        line += &format!("{value}|");
    }
    taken.push(line);
    for (at, text) in taken.iter().enumerate() {
        describe(text).await;
        publish(&node, &format!("r{at}")).await;
        assert_eq!(node.property(UNIT, "Description").await, *text);
    }

    // What a line of a unit cannot hold is refused before there is a version of it.
    let installed = (node.host.read(FILE).unwrap(), pid(&node).await);
    let own_directive = "a\n[Service]\nExecStartPre=+/bin/touch /srv/owned";
    for (text, problem) in [
        (own_directive, "has a control character"),
        ("a\\", "ends in `\\`"),
        (" a", "begins or ends with a blank"),
        ("a\u{3000}", "begins or ends with a blank"),
        ("\u{fdd0}", "has a noncharacter"),
        (" ", "is empty"),
    ] {
        let line = serde_json::to_string(text).unwrap();
        let bad = format!("name: site\nprofile: {{systemd: {{command: [/bin/true], description: {line}}}}}\n");
        node.place.write("bad.yaml", &bad);
        let said = node.place.fleetman(&["apply", "-f", "bad.yaml"]).await;
        assert!(said.code != 0 && said.err.contains(&format!("description {problem}")), "{text:?}: {}", said.err);
    }
    assert_eq!((node.host.read(FILE).unwrap(), pid(&node).await), installed);
}

/// What the cell waits for: code and message.
async fn waiting(node: &AgentHost) -> (String, String) {
    let waiting = report(node).await["waiting"].clone();
    let text = |field: &str| waiting[field].as_str().unwrap_or_default().to_owned();
    (text("reason"), text("message"))
}

async fn waits_for(node: &AgentHost, code: &str, what: &str) {
    wait_for(async || matches!(waiting(node).await, (found, message) if found == code && message.contains(what)), what)
        .await;
}

async fn ask(node: &AgentHost, release: &str, more: &[&str]) {
    node.place.write(&format!("{release}/serve"), SERVICE);
    node.place.fleetman(&["upload", "site", release, "--as", release]).await.exits(0);
    let publish = ["publish", "n1/web", "-d", release, "--as", release, "-y"];
    node.place.fleetman(&[&publish[..], more].concat()).await.exits(0);
}

async fn is_deployed(node: &AgentHost, release: &str) {
    let deployed = async || {
        let report = report(node).await;
        report["running"]["version"] == release && report["phase"] == "up_to_date"
    };
    wait_for(deployed, release).await;
}

const FILE: &str = "/etc/systemd/system/fleetman-web.service";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_left_alone_and_what_is_in_the_way_is_waited_for() {
    let Some(node) = start().await else { return };
    let shell = async |line: &str| node.host.run(&["sh", "-euc", line]).await.exits(0);

    // A unit of that name, wherever it is.
    let foreign = "[Service]\nExecStart=/bin/sleep 1000\n";
    node.host.write(FILE, foreign);
    shell("systemctl daemon-reload; systemctl start fleetman-web").await;
    let of_others = pid(&node).await;
    ask(&node, "r1", &[]).await;
    waits_for(&node, "unit_not_owned", "has no marker").await;
    assert_eq!((node.host.read(FILE).unwrap(), pid(&node).await), (foreign.to_owned(), of_others));
    shell(&format!("mkdir -p /usr/local/lib/systemd/system; mv {FILE} /usr/local/lib/systemd/system")).await;
    waits_for(&node, "unit_not_owned", "/usr/local/lib/systemd/system/fleetman-web.service is not ours").await;
    // Masked before it is gone: the agent does not wait to be first.
    shell(
        "systemctl mask fleetman-web; systemctl stop fleetman-web; \
           rm /usr/local/lib/systemd/system/fleetman-web.service; systemctl daemon-reload",
    )
    .await;
    waits_for(&node, "unit_not_owned", "is masked").await;
    shell("systemctl unmask fleetman-web").await;
    is_deployed(&node, "r1").await;
    assert_eq!(life(&node).await, "begin r1");

    // Drop-ins of the host's owner stay, and are told.
    shell("mkdir /etc/systemd/system/fleetman-web.service.d; \
           printf '[Service]\\nNice=5\\n' >/etc/systemd/system/fleetman-web.service.d/own.conf; systemctl daemon-reload").await;
    let condition = async |code: &str| {
        let report = report(&node).await;
        report["conditions"].as_array().unwrap().iter().any(|it| it["code"] == code)
    };
    publish(&node, "r2").await;
    wait_for(async || condition("unit_extended").await, "the drop-in to be told").await;
    assert_eq!(node.property(UNIT, "Nice").await, "5");

    // What was changed by hand is not overwritten without force.
    shell(&format!("sed -i s/TimeoutStopSec=.*/TimeoutStopSec=3s/ {FILE}")).await;
    wait_for(async || condition("unit_drift").await, "the edit to be told").await;
    let (edited, running) = (node.host.read(FILE).unwrap(), pid(&node).await);
    ask(&node, "r3", &[]).await;
    waits_for(&node, "unit_drift", "changed by hand").await;
    assert_eq!((node.host.read(FILE).unwrap(), pid(&node).await), (edited, running));
    ask(&node, "r4", &["--force"]).await;
    is_deployed(&node, "r4").await;
    assert!(!condition("unit_drift").await);

    // A folder that cannot be written to.
    let running = pid(&node).await;
    shell(
        "mount --bind /etc/systemd/system /etc/systemd/system; mount -o remount,bind,ro /etc/systemd/system; \
           systemctl restart fleetagent",
    )
    .await;
    ask(&node, "r5", &[]).await;
    waits_for(&node, "io", "Read-only file system").await;
    assert_eq!(pid(&node).await, running);
    shell("umount /etc/systemd/system; systemctl restart fleetagent").await;
    is_deployed(&node, "r5").await;

    // No bus.
    let running = pid(&node).await;
    shell("systemctl mask --runtime dbus.socket dbus.service; systemctl stop dbus.socket dbus.service").await;
    ask(&node, "r6", &[]).await;
    waits_for(&node, "io", "systemd cannot be reached").await;
    assert_eq!(pid(&node).await, running);
    shell("systemctl unmask --runtime dbus.socket dbus.service; systemctl start dbus.socket").await;
    is_deployed(&node, "r6").await;
    assert!(life(&node).await.ends_with("end r5 begin r6"), "{}", life(&node).await);

    // A systemd that does not answer.
    let running = pid(&node).await;
    let leader = node.host.leader_pid();
    kill_process(leader, Signal::STOP).unwrap();
    ask(&node, "r7", &[]).await;
    waits_for(&node, "io", "systemd has not answered").await;
    kill_process(leader, Signal::CONT).unwrap();
    assert_eq!(pid(&node).await, running);
    is_deployed(&node, "r7").await;

    // A unit whose marker somebody has cut out is nobody's to stop, and nobody says that it was stopped.
    let running = pid(&node).await;
    let ours = node.host.read(FILE).unwrap();
    node.host.write(FILE, ours.split("\n[X-Fleetman]").next().unwrap());
    shell("systemctl daemon-reload").await;
    node.place.fleetman(&["stop", "n1/web", "-y"]).await.exits(0);
    waits_for(&node, "unit_not_owned", "it is left alone, and may run").await;
    assert_eq!(pid(&node).await, running);
    // A timer for our service is its owner's.
    node.host.write(FILE, &ours);
    node.host.write(
        "/etc/systemd/system/fleetman-web.timer",
        "[Timer]\nOnCalendar=2040-01-01\n[Install]\nWantedBy=timers.target\n",
    );
    shell("systemctl daemon-reload; systemctl enable --now fleetman-web.timer").await;
    wait_for(async || report(&node).await["phase"] == "stopped", "the cell to be stopped").await;
    assert_eq!(node.property(UNIT, "ActiveState").await, "inactive");
    for (property, value) in [("ActiveState", "active"), ("UnitFileState", "enabled")] {
        assert_eq!(node.property("fleetman-web.timer", property).await, value);
    }
    shell("systemctl disable --now fleetman-web.timer; rm /etc/systemd/system/fleetman-web.timer; systemctl daemon-reload").await;
    publish(&node, "r8").await;
    // Nor is a folder of others given away.
    let running = pid(&node).await;
    apply(&node, "user: www-data, hardening: {state_directory: dpkg}").await;
    ask(&node, "r9", &[]).await;
    waits_for(&node, "unit_not_owned", "/var/lib/dpkg is there and belongs to user 0").await;
    assert_eq!(pid(&node).await, running);

    // Removed, it leaves what is not ours.
    node.place.fleetman(&["remove", "n1/web", "-y", "--wait"]).await.exits(0);
    assert_eq!(node.host.read(FILE), None);
    assert!(node.host.read("/etc/systemd/system/fleetman-web.service.d/own.conf").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_is_one_of_the_unit() {
    let Some(node) = start().await else { return };
    let show = async |unit: &str, property: &str| node.property(unit, property).await;
    node.host.run(&["useradd", "--system", "worker"]).await.exits(0);
    node.host.write("/etc/credstore/worker.key", "sesame");
    let script = "cat $KEY >/srv/fleetagent/n1-state/data/web/key; exec sleep 1000";
    recipe(
        &node,
        &format!(
            "command: [/bin/sh, -c, '{script}'], description: '100% \"of\" it; \\[Service\\]', env: {{KEY: {{credential: worker.key}}}}, \
             user: worker, after: [network-online.target], restart: {{policy: on-failure, delay: 5s, max_retries: 3}}, \
             stop: {{signal: INT, timeout: 3s}}, \
             hardening: {{no_new_privileges: true, protect_system: strict, private_tmp: true, capabilities: []}}"
        ),
    )
    .await;
    let limits = "limits: {open_files: 333, memory: 64MiB, tasks: 20}\n---\n";
    let text = std::fs::read_to_string(node.place.path().join("site.yaml")).unwrap().replacen("---\n", limits, 1);
    node.place.write("site.yaml", &text);
    node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    publish(&node, "r1").await;

    let running = pid(&node).await;
    let read = async |file: &str| node.host.run(&["cat", file]).await.exits(0).out;
    wait_for(
        async || node.host.read(&format!("{HOME}/n1-state/data/web/key")).is_some_and(|it| !it.is_empty()),
        "the key",
    )
    .await;
    assert_eq!(read(&format!("{HOME}/n1-state/data/web/key")).await, "sesame");
    assert_eq!(show(UNIT, "Description").await, "100% \"of\" it; \\[Service\\]");
    let limits = read(&format!("/proc/{running}/limits")).await;
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().nth(3), Some("333"), "{limits}");
    for (property, value) in [
        ("MemoryMax", "67108864"),
        ("TasksMax", "20"),
        ("User", "worker"),
        ("RestartUSec", "5s"),
        ("StartLimitBurst", "4"),
        ("TimeoutStopUSec", "3s"),
        ("KillSignal", "2"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("PrivateTmp", "yes"),
        ("CapabilityBoundingSet", ""),
    ] {
        assert_eq!(show(UNIT, property).await, value, "{property}");
    }

    // A schedule instead: the service is stopped, and the timer waits.
    recipe(&node, "type: oneshot, command: [/bin/sh, -c, 'echo ran >>/srv/life'], schedule: {on_calendar: '*-*-* *:*:00/2', persistent: true}")
        .await;
    publish(&node, "r2").await;
    let timer = "fleetman-web.timer";
    assert_eq!(
        (show(timer, "ActiveState").await, show(timer, "UnitFileState").await),
        ("active".into(), "enabled".into())
    );
    wait_for(async || life(&node).await.contains("ran ran"), "it to be run twice").await;
    assert_eq!(report(&node).await["state"]["state"], "running");

    // And back, with a unit that the release brings.
    node.place.write("r3/web.service", "# Our own.\n[Service]\nExecStart=/bin/sleep 1000\n[X-Other]\nA=b");
    node.place.write(
        "site.yaml",
        "name: site\nprofile: {systemd: {unit_file: web.service}}\nhealth: {min_healthy_time: 100ms}\n---\n\
         cell: n1/web\nmanifest: site\n",
    );
    node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
    publish(&node, "r3").await;
    assert!(!node.host.path("/etc/systemd/system/fleetman-web.timer").exists());
    assert_eq!(show(timer, "ActiveState").await, "inactive");
    let unit = node.host.read(FILE).unwrap();
    assert!(
        unit.starts_with(
            "# Our own.\n[Service]\nExecStart=/bin/sleep 1000\n[X-Other]\nA=b\n\n[X-Fleetman]\nCell=web\n"
        ),
        "{unit}"
    );
    assert!(node.host.path("/etc/systemd/system/multi-user.target.wants/fleetman-web.service").is_symlink());

    // One that systemd does not take is not installed, and what runs goes on.
    let running = pid(&node).await;
    node.place.write("r4/web.service", "[Service]\nRestart=always\n");
    ask(&node, "r4", &[]).await;
    wait_for(async || report(&node).await["phase"] == "rolled_back", "the unit to be refused").await;
    let said = report(&node).await;
    assert!(said["last_error"]["message"].to_string().contains("systemd does not take the unit"), "{said}");
    assert_ne!(running, "0");
    assert!(node.host.read(FILE).unwrap().contains("Version=r3\n"));
    node.place.fleetman(&["remove", "n1/web", "-y", "--wait"]).await.exits(0);
    let left = node
        .host
        .run(&["sh", "-c", "find /etc/systemd /var/lib/systemd/timers /run/systemd -name '*fleetman-*'"])
        .await
        .out;
    assert_eq!(left, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_has_cells_under_a_manager_of_its_own() {
    let Some(node) = AgentHost::boot().await else { return };
    let shell = async |line: &str| node.host.run(&["sh", "-euc", line]).await.exits(0).out;
    shell(&format!(
        "useradd --create-home --uid 1234 bob; loginctl enable-linger bob; mkdir -p {HOME}; chown bob {HOME}"
    ))
    .await;
    wait_for(async || node.host.run(&["test", "-S", "/run/user/1234/bus"]).await.code == 0, "the user's bus").await;
    let spec = "command: [/bin/sh, -c, 'exec sleep 1000'], stop: {timeout: 2s}";
    recipe(&node, spec).await;
    let unit = "User=bob\nEnvironment=XDG_RUNTIME_DIR=/run/user/1234 HOME=/home/bob\nReadWritePaths=/home/bob\n";
    node.start_agent(unit, "systemd: {scope: user}\n").await;
    publish(&node, "r1").await;
    let ours = "runuser -u bob -- env XDG_RUNTIME_DIR=/run/user/1234 systemctl --user";
    let shown = shell(&format!("{ours} show fleetman-web -p ActiveState -p UnitFileState -p FragmentPath")).await;
    assert_eq!(
        shown.lines().collect::<std::collections::BTreeSet<_>>(),
        [
            "ActiveState=active",
            "FragmentPath=/home/bob/.config/systemd/user/fleetman-web.service",
            "UnitFileState=enabled"
        ]
        .into()
    );

    // What only the system's manager has is refused, and what runs goes on.
    recipe(&node, &format!("{spec}, hardening: {{dynamic_user: true}}")).await;
    ask(&node, "r2", &[]).await;
    wait_for(async || report(&node).await["phase"] == "rolled_back", "it to be refused").await;
    let said = report(&node).await;
    assert!(
        said["last_error"]["message"].to_string().contains("hardening.dynamic_user needs the system's manager"),
        "{said}"
    );
    node.place.fleetman(&["remove", "n1/web", "-y", "--wait"]).await.exits(0);
    assert_eq!(shell("find /home/bob /run/user/1234 -name '*fleetman-web*' 2>/dev/null || true").await, "");
}
