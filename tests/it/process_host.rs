//! Cells under the built-in supervisor on a host with a real systemd: what a unit of their own gives them, and what
//! they live through.

use std::collections::BTreeMap;
use std::path::Path;

use fleetman::supervise::detached::Client;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::agent_host::{AgentHost, HOME};
use crate::support::wait_for;

/// Where the service tells of its life, outside of all that the agent may write to.
const LIFE: &str = "/srv/life";

/// Says so if there are two of it. Ends in order when it is asked to.
const SERVICE: &str = r#"
exec 9>/srv/lock
flock --nonblock 9 || echo twice >>/srv/life
echo "begin $FLEETMAN_VERSION" >>/srv/life
trap 'echo end >>/srv/life; exit 0' TERM
echo "$(ulimit -n) $(umask) $(nice) $(cat /proc/self/oom_score_adj)" >/tmp/inherited
sleep 1000 &
wait
"#;

/// An agent's unit with as much of its own as a unit can have.
const OWN: &str = "MemoryMax=1G\nTasksMax=100\nNice=5\nOOMScoreAdjust=300\nUMask=0077\nRestartSec=0\n\
                   Environment=AWS_SECRET_ACCESS_KEY=secret\n";

/// A host that runs the `process` profile, with settings of its agent's unit.
async fn start(unit: &str) -> Option<AgentHost> {
    let node = AgentHost::boot().await?;
    apply(&node, "{}").await;
    node.start_agent(unit, "process: {}\n").await;
    Some(node)
}

/// Where a package would put both programs.
const AGENT: &str = "/opt/fleetagent";
const SUPERVISOR: &str = "/opt/fleetsupervisor";

/// The same with programs of the host's own, which may be replaced.
async fn start_installed(unit: &str) -> Option<AgentHost> {
    let node = AgentHost::boot().await?;
    apply(&node, "{}").await;
    node.host.copy_in(Path::new(env!("CARGO_BIN_EXE_fleetagent")), AGENT);
    node.host.copy_in(Path::new(env!("CARGO_BIN_EXE_fleetsupervisor")), SUPERVISOR);
    let unit = format!("{unit}ExecStart=\nExecStart={AGENT} run --config {HOME}/n1.yaml\n");
    node.start_agent(&unit, "process: {}\n").await;
    Some(node)
}

async fn apply(node: &AgentHost, limits: &str) {
    let manifest = format!(
        "name: site\n\
         profile: {{process: {{command: [/bin/sh, serve], restart: {{delay: 10ms}}, stop: {{timeout: 2s}}}}}}\n\
         health: {{min_healthy_time: 100ms}}\nlimits: {limits}\n---\ncell: n1/web\nmanifest: site\n"
    );
    node.place.write("site.yaml", &manifest);
    node.place.fleetman(&["apply", "-f", "site.yaml"]).await.exits(0);
}

async fn publish(node: &AgentHost, release: &str, service: &str) {
    node.place.write(&format!("{release}/serve"), service);
    node.publish(release).await;
}

/// The units of cells on the host, whatever they do.
async fn units(node: &AgentHost) -> Vec<String> {
    let list = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "fleetman-*"];
    let list = node.host.run(&list).await.exits(0).out;
    list.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

async fn unit(node: &AgentHost) -> String {
    let [unit] = &units(node).await[..] else { panic!("{:?}", units(node).await) };
    unit.clone()
}

async fn supervisor_pid(node: &AgentHost) -> String {
    node.property(&unit(node).await, "MainPID").await
}

/// Does something that brings another agent, and gives the first that it says of the cell: an agent waits a second at
/// most before it speaks, and has found the cell by then.
async fn first_report_after(node: &AgentHost, command: &[&str]) -> Value {
    let before = node.status().await.unwrap();
    node.host.run(command).await.exits(0);
    let known = node.status().await.unwrap()["heartbeat"]["sequence"].as_u64();
    let mut said = Value::Null;
    let there = async || {
        let now = node.status().await.unwrap();
        said = now["heartbeat"]["cells"]["web"].clone();
        let is_next = now["running"] == true && now["pid"] != before["pid"];
        is_next && now["heartbeat"]["sequence"].as_u64() > known
    };
    wait_for(there, "another agent to say something").await;
    assert_eq!(said["state"]["state"], "running", "{said}");
    said
}

async fn report(node: &AgentHost) -> Value {
    node.status().await.unwrap()["heartbeat"]["cells"]["web"].clone()
}

fn main_process(report: &Value) -> (String, u64) {
    let process = &report["processes"]["main"];
    (process["pid"].to_string(), process["restarts"].as_u64().unwrap())
}

async fn read(node: &AgentHost, file: &str) -> String {
    node.host.run(&["cat", file]).await.exits(0).out
}

async fn kill(node: &AgentHost, pid: &str) {
    node.host.run(&["sh", "-c", "kill -KILL \"$0\"", pid]).await.exits(0);
}

async fn life(node: &AgentHost) -> String {
    node.host.read(LIFE).unwrap_or_default().replace('\n', " ").trim().to_owned()
}

/// The environment of a process on the host, by name.
async fn environment(node: &AgentHost, pid: &str) -> BTreeMap<String, String> {
    let text = read(node, &format!("/proc/{pid}/environ")).await;
    let variables = text.split('\0').filter_map(|variable| variable.split_once('='));
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The control group of a process below the host's own.
async fn control_group(node: &AgentHost, pid: &str) -> String {
    let groups = read(node, &format!("/proc/{pid}/cgroup")).await;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    group[group.find("/system.slice").unwrap()..].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_has_nothing_of_its_agents_unit() {
    let Some(node) = start(OWN).await else { return };
    publish(&node, "r1", SERVICE).await;
    let unit = unit(&node).await;
    let (agent, supervisor) = (node.agent_pid().await, supervisor_pid(&node).await);
    let (service, _) = main_process(&report(&node).await);

    assert_eq!(control_group(&node, &agent).await, "/system.slice/fleetagent.service");
    assert_eq!(control_group(&node, &supervisor).await, format!("/system.slice/{unit}"));
    assert_eq!(control_group(&node, &service).await, format!("/system.slice/{unit}/main"));
    let limits = [&agent, &supervisor].map(async |pid| read(&node, &format!("/proc/{pid}/limits")).await);
    let [of_agent, of_supervisor] = limits;
    let open_files =
        |limits: String| limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
    let (of_agent, of_supervisor) = (open_files(of_agent.await), open_files(of_supervisor.await));
    assert!(of_agent.contains("2048") && !of_supervisor.contains("2048"), "{of_agent}\n{of_supervisor}");
    assert_eq!(read(&node, "/tmp/inherited").await, "1024 0022 0 0\n", "open files, umask, nice, OOM score");

    let after = node.property(&unit, "After").await;
    assert!(after.split(' ').any(|unit| unit == "network.target"), "it ends before the network does: {after}");

    let of_agent = environment(&node, &agent).await;
    assert_eq!(of_agent["AWS_SECRET_ACCESS_KEY"], "secret");
    let of_supervisor = environment(&node, &supervisor).await;
    assert!(!of_supervisor.contains_key("AWS_SECRET_ACCESS_KEY"), "{of_supervisor:?}");
    assert_ne!(of_supervisor["INVOCATION_ID"], of_agent["INVOCATION_ID"]);
    let of_service = environment(&node, &service).await;
    let foreign = |name: &&String| !name.starts_with("FLEETMAN_") && *name != "SUPERVISED_AS";
    assert_eq!(of_service.keys().find(foreign), None, "{of_service:?}");
    let status = read(&node, &format!("/proc/{service}/status")).await;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    let pipe = 1 << (Signal::PIPE.as_raw() - 1);
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & pipe, 0, "systemd lets supervisors ignore it:\n{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_outlives_agents_that_are_restarted_killed_and_replaced() {
    let Some(node) = start_installed(OWN).await else { return };
    publish(&node, "r1", SERVICE).await;
    let (service, supervisor) = (main_process(&report(&node).await), supervisor_pid(&node).await);

    let restart = ["systemctl", "restart", "fleetagent"];
    let crash = ["systemctl", "kill", "--signal=KILL", "fleetagent"];
    for command in [&restart[..], &crash[..]] {
        assert_eq!(main_process(&first_report_after(&node, command).await), service, "{command:?}");
    }

    let runs = async |pid: &str| node.host.run(&["readlink", &format!("/proc/{pid}/exe")]).await.exits(0).out;
    assert_eq!(runs(&supervisor).await, format!("{SUPERVISOR}\n"));
    for program in [AGENT, SUPERVISOR] {
        node.host.run(&["cp", program, "/opt/new"]).await.exits(0);
        node.host.run(&["mv", "/opt/new", program]).await.exits(0);
    }
    assert_eq!(main_process(&first_report_after(&node, &restart).await), service, "an upgrade");
    assert_eq!(supervisor_pid(&node).await, supervisor);
    assert_eq!(runs(&supervisor).await, format!("{SUPERVISOR} (deleted)\n"));
    assert_eq!(runs(&node.agent_pid().await).await, format!("{AGENT}\n"));
    assert_eq!(life(&node).await, "begin r1");

    node.host.run(&["systemctl", "stop", "fleetagent"]).await.exits(0);
    kill(&node, &service.0).await;
    wait_for(async || life(&node).await == "begin r1 begin r1", "the service to be back without an agent").await;
    let report = first_report_after(&node, &["systemctl", "start", "fleetagent"]).await;
    let (pid, restarts) = main_process(&report);
    assert!(pid != service.0 && restarts == 1, "{report}");
    assert_eq!(report["processes"]["main"]["exit_signal"], 9, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_is_killed_or_stopped_comes_back() {
    let Some(node) = start("").await else { return };
    publish(&node, "r1", SERVICE).await;
    let (service, unit, supervisor) =
        (main_process(&report(&node).await), unit(&node).await, supervisor_pid(&node).await);

    // Without an agent it is systemd that starts it again.
    node.host.run(&["systemctl", "stop", "fleetagent"]).await.exits(0);
    kill(&node, &supervisor).await;
    let back = async |old: &str| {
        let pid = node.property(&unit, "MainPID").await;
        pid != "0" && pid != old
    };
    wait_for(async || back(&supervisor).await, "the supervisor to be back").await;
    let found = first_report_after(&node, &["systemctl", "start", "fleetagent"]).await;
    assert_eq!(main_process(&found), service);

    // With one both do, and it is one nevertheless.
    let supervisor = supervisor_pid(&node).await;
    kill(&node, &supervisor).await;
    wait_for(async || back(&supervisor).await, "the supervisor to be back").await;
    let supervisor = supervisor_pid(&node).await;
    let found = async || report(&node).await["state"]["state"] == "running";
    wait_for(found, "the agent to find it").await;
    assert_eq!(main_process(&report(&node).await), service);
    assert_eq!(life(&node).await, "begin r1");
    let journal = node.host.journal("fleetagent").await;
    assert!(!journal.contains("cannot be spoken to"), "that systemd starts it as well is no trouble:\n{journal}");

    // It is wanted up, whoever stops the unit.
    node.host.run(&["systemctl", "stop", &unit]).await.exits(0);
    wait_for(async || life(&node).await == "begin r1 end begin r1", "the cell to be brought up again").await;
    wait_for(async || back(&supervisor).await, "the supervisor to be back").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_systemd_starts_again_is_of_the_program_that_is_there_then() {
    let Some(node) = start_installed("").await else { return };
    publish(&node, "r1", SERVICE).await;
    let service = main_process(&report(&node).await);
    node.host.run(&["systemctl", "stop", "fleetagent"]).await.exits(0);
    node.host.run(&["rm", SUPERVISOR]).await.exits(0);
    kill(&node, &supervisor_pid(&node).await).await;
    let program = async || {
        let pid = supervisor_pid(&node).await;
        node.host.run(&["readlink", &format!("/proc/{pid}/exe")]).await.out
    };
    wait_for(async || program().await == format!("{AGENT}\n"), "a supervisor of the other program").await;
    let found = first_report_after(&node, &["systemctl", "start", "fleetagent"]).await;
    assert_eq!(main_process(&found), service);
    assert_eq!(life(&node).await, "begin r1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_fails_at_once_is_told_with_its_result_and_tried_again() {
    let Some(node) = start("").await else { return };
    publish(&node, "r1", SERVICE).await;
    node.place.fleetman(&["stop", "n1/web", "-y", "--wait"]).await.exits(0);
    let lock = format!("{HOME}/n1-state/process/web/run/supervisor.lock");
    node.host.run(&["rm", &lock]).await.exits(0);
    node.host.run(&["mkdir", &lock]).await.exits(0);
    node.place.fleetman(&["publish", "n1/web", "-d", "r1", "--as", "r1", "-y"]).await.exits(0);
    let waits = async || {
        let waiting = report(&node).await["waiting"].clone();
        let message = waiting["message"].as_str().unwrap_or_default();
        let why = "its supervisor cannot run: its unit failed (exit-code, status 1); `journalctl --unit=fleetman-web-";
        waiting["reason"] == "io" && message.starts_with(why)
    };
    wait_for(waits, "the failure to be told").await;
    node.host.run(&["rmdir", &lock]).await.exits(0);
    wait_for(async || report(&node).await["phase"] == "up_to_date", "the cell to be tried once more").await;
    assert_eq!(life(&node).await, "begin r1 end begin r1");
}

/// Tells the memory that its cell may use, in bytes, at its begin and its end.
const LIMITED: &str = r#"
may_use() { systemctl show --value --property=MemoryMax 'fleetman-*' | paste -sd ' '; }
echo "begin $FLEETMAN_VERSION $(may_use)" >>/srv/life
trap 'echo "end $FLEETMAN_VERSION $(may_use)" >>/srv/life; exit 0' TERM
sleep 1000 &
wait
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_units_limits_are_those_of_the_version() {
    let Some(node) = start("").await else { return };
    let limits = async || {
        let unit = unit(&node).await;
        (node.property(&unit, "MemoryMax").await, node.property(&unit, "TasksMax").await)
    };
    let limited = |memory: &str, tasks: &str| (memory.to_owned(), tasks.to_owned());

    apply(&node, "{memory: 256MiB, tasks: 50}").await;
    publish(&node, "r1", LIMITED).await;
    assert_eq!(limits().await, limited("268435456", "50"));
    node.host.run(&["systemctl", "stop", &unit(&node).await]).await.exits(0);
    wait_for(async || !units(&node).await.is_empty(), "a new unit").await;
    assert_eq!(limits().await, limited("268435456", "50"), "they outlast the unit");

    apply(&node, "{memory: 512MiB}").await;
    publish(&node, "r2", LIMITED).await;
    assert_eq!(limits().await, limited("536870912", "infinity"));
    apply(&node, "{}").await;
    publish(&node, "r3", LIMITED).await;
    assert_eq!(limits().await, limited("infinity", "infinity"));
    apply(&node, "{memory: 128MiB}").await;
    publish(&node, "r4", LIMITED).await;
    assert_eq!(limits().await, limited("134217728", "infinity"));

    // Nobody ends with less than it is used to, or begins with less than it is given.
    let expected = "begin r1 268435456, end r1 268435456, begin r1 268435456, end r1 536870912, begin r2 536870912, \
                    end r2 infinity, begin r3 infinity, end r3 infinity, begin r4 ";
    let life = node.host.read(LIFE).unwrap().replace('\n', ", ");
    assert!(life.starts_with(expected), "{life}");
}

/// Leaves something behind that has nothing of it: not its session, environment, output or parent.
const ESCAPING: &str = r#"
cp /bin/sleep /srv/escaped
(setsid env -i /srv/escaped 1000 </dev/null >/dev/null 2>&1 &)
exec sleep 1000
"#;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_cell_that_is_removed() {
    let Some(node) = start("").await else { return };
    let escaped = async || {
        let find = ["sh", "-c", "grep --files-with-matches --line-regexp escaped /proc/[0-9]*/comm"];
        node.host.run(&find).await.out.split('/').nth(2).map(str::to_owned)
    };
    publish(&node, "r1", ESCAPING).await;
    let group = format!("/system.slice/{}", unit(&node).await);
    wait_for(async || escaped().await.is_some(), "something to escape").await;
    assert_eq!(control_group(&node, &escaped().await.unwrap()).await, format!("{group}/main"));
    node.place.fleetman(&["stop", "n1/web", "-y", "--wait"]).await.exits(0);
    assert_eq!(escaped().await, None);
    wait_for(async || units(&node).await.is_empty(), "the unit to go").await;

    publish(&node, "r2", ESCAPING).await;
    wait_for(async || escaped().await.is_some(), "something to escape").await;
    let folder = format!("{HOME}/n1-state/process/web");
    assert!(node.host.path(&folder).is_dir());
    node.place.fleetman(&["remove", "n1/web", "-y", "--wait"]).await.exits(0);
    assert_eq!(escaped().await, None);
    assert!(!node.host.path(&folder).exists());
    wait_for(async || units(&node).await.is_empty(), "the unit to go").await;
    let groups = node.host.run(&["find", "/sys/fs/cgroup", "-path", &format!("*{group}*")]).await.out;
    assert_eq!(groups, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_wanted_up_is_up_after_a_boot_without_the_bucket() {
    let Some(mut node) = start("").await else { return };
    publish(&node, "r1", SERVICE).await;
    node.place.store().stop().await;

    node.host.kill_hard().await;
    node.host.boot_again().await;
    wait_for(async || life(&node).await == "begin r1 begin r1", "the cell to start after a crash").await;

    // A stop on the node itself is for this boot.
    let folder = node.host.path(&format!("{HOME}/n1-state/process"));
    Client::connect(&folder, "web").await.unwrap().stop_process("main").await.unwrap();
    assert_eq!(life(&node).await, "begin r1 begin r1 end");
    node.host.stop().await;
    node.host.boot_again().await;
    wait_for(async || life(&node).await == "begin r1 begin r1 end begin r1", "the cell to start after a stop").await;
    node.host.stop().await;
    assert_eq!(life(&node).await, "begin r1 begin r1 end begin r1 end", "it ends in order when its host does");

    node.host.boot_again().await;
    node.place.store().restart().await;
    node.place.fleetman(&["stop", "n1/web", "-y", "--wait"]).await.exits(0);
    node.place.store().stop().await;
    let stopped = life(&node).await;
    let known = node.status().await.unwrap()["heartbeat"]["boot_id"].clone();
    node.host.kill_hard().await;
    node.host.boot_again().await;
    let there = async || node.status().await.unwrap()["heartbeat"]["boot_id"] != known;
    wait_for(there, "the agent to say something after the boot").await;
    assert_eq!(report(&node).await["phase"], "stopped");
    assert_eq!(units(&node).await, [""; 0]);
    assert_eq!(life(&node).await, stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_every_path_as_it_is() {
    let (program, folder) = ("/opt/100% %n/fleetagent", r#"/srv/fleetagent/"it's"\t100%n %"#);
    let Some(node) = AgentHost::boot().await else { return };
    apply(&node, "{}").await;
    node.host.copy_in(Path::new(env!("CARGO_BIN_EXE_fleetagent")), program);
    // The agent finds out by itself where it really is.
    node.host.run(&["ln", "--symbolic", program, "/opt/agent"]).await.exits(0);
    let unit_settings = format!("ExecStart=\nExecStart=/opt/agent run --config {HOME}/n1.yaml\n");
    node.start_agent(&unit_settings, &format!("process: {{folder: '{}'}}\n", folder.replace('\'', "''"))).await;
    publish(&node, "r1", SERVICE).await;
    let service = main_process(&report(&node).await);

    let told = async |pid: String| read(&node, &format!("/proc/{pid}/cmdline")).await.replace('\0', "\n");
    let supervisor = supervisor_pid(&node).await;
    let runs = told(supervisor.clone()).await;
    assert_eq!(runs.split_once('\n').unwrap().1, format!("supervise\n{folder}\nweb\n--cgroup\n"));

    // What systemd has written down it reads once more.
    node.host.run(&["systemctl", "daemon-reload"]).await.exits(0);
    kill(&node, &supervisor).await;
    let back = async || !["0", supervisor.as_str()].contains(&supervisor_pid(&node).await.as_str());
    wait_for(back, "the supervisor to be back").await;
    assert_eq!(told(supervisor_pid(&node).await).await, runs);
    let found = async || main_process(&report(&node).await) == service;
    wait_for(found, "the agent to find it").await;
    assert_eq!(life(&node).await, "begin r1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cell_waits_for_a_systemd_that_does_not_answer() {
    let Some(node) = start("").await else { return };
    let (tool, away) = ("/usr/bin/systemd-run", "/usr/bin/systemd-run.away");
    node.host.run(&["mv", tool, away]).await.exits(0);
    node.place.write("r1/serve", SERVICE);
    node.place.fleetman(&["upload", "site", "r1", "--as", "r1"]).await.exits(0);
    node.place.fleetman(&["publish", "n1/web", "-d", "r1", "--as", "r1", "-y"]).await.exits(0);
    let waits_for = async |why: &str| {
        let waits = async || {
            let waiting = report(&node).await["waiting"].clone();
            waiting["reason"] == "io" && waiting["message"] == format!("its supervisor cannot be started: {why}")
        };
        wait_for(waits, why).await;
    };
    waits_for("running systemd-run: No such file or directory (os error 2)").await;
    node.host.write(tool, "#!/bin/sh\necho 'Failed to connect to bus: Host is down' >&2\nexit 1\n");
    node.host.run(&["chmod", "755", tool]).await.exits(0);
    waits_for("systemd-run ended with exit status: 1: Failed to connect to bus: Host is down").await;
    node.host.run(&["mv", away, tool]).await.exits(0);
    wait_for(async || report(&node).await["phase"] == "up_to_date", "the cell to be tried once more").await;
    assert_eq!(life(&node).await, "begin r1");
}
