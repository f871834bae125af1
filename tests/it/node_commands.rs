//! What an operator does on a node without the bucket: real supervisors, and the real commands.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use chrono::{DateTime, Utc};
use fleetman::supervise::detached::Client;
use fleetman::supervise::{ProcessDef, Restart, RestartPolicy, Run, SignalName, Stop};
use serde_json::Value;

use crate::support::cells::{Node, config, shell, task};
use crate::support::{skip, wait_for};

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

/// Says when it gets SIGHUP, and goes on.
fn reloads() -> ProcessDef {
    let reload_signal = Some(SignalName::Hup);
    ProcessDef { reload_signal, ..shell("trap 'echo read anew' HUP; echo ready; while :; do sleep 0.01; done") }
}

#[tokio::test]
async fn a_process_is_told_to_read_its_configuration_anew() {
    let mut node = Node::new();
    let console = ProcessDef { autostart: false, ..reloads() };
    let seed = ProcessDef { reload_signal: Some(SignalName::Hup), ..task("exit 0") };
    node.run("web", [("console", console), ("main", reloads()), ("plain", shell("exec sleep 1000")), ("seed", seed)])
        .await;
    node.wait_for_log("web", "ready").await;
    let before = [node.pid("web", "main").await, node.pid("web", "plain").await];
    let reload =
        async |target: &str, exit: i32| node.place.fleetagent(&["reload", target, "-o", "json"]).await.exits(exit);
    let heard = async |times: usize| {
        let said =
            async || node.place.fleetagent(&["logs", "web/main"]).await.out.matches("read anew").count() == times;
        wait_for(said, &format!("signal {times}")).await;
    };

    assert_eq!(reload("web/main", 0).await.json()[0]["did"], "signalled");
    heard(1).await;
    let rows = reload("web", 0).await.json();
    let did: Vec<_> =
        rows.as_array().unwrap().iter().map(|row| (row["process"].as_str(), row["did"].as_str())).collect();
    let expected = [("console", "unchanged"), ("main", "signalled"), ("plain", "unchanged"), ("seed", "unchanged")];
    assert_eq!(did, expected.map(|(process, did)| (Some(process), Some(did))));
    heard(2).await;

    let error = reload("web/plain", 2).await.error();
    assert_eq!(error["code"], "no_reload_signal");
    assert_eq!(error["message"], "process plain has no reload signal, so it can only be restarted");
    assert_eq!(error["help"], "`fleetagent restart web/plain` stops it and starts it again");
    assert_eq!(reload("web/console", 8).await.error()["code"], "not_running");
    let after = [node.pid("web", "main").await, node.pid("web", "plain").await];
    assert_eq!(before, after, "nothing was stopped");

    node.run("api", [("main", shell("exec sleep 1000"))]).await;
    let error = node.place.fleetagent(&["reload", "api", "-o", "json"]).await.exits(2).error();
    assert_eq!(error["code"], "no_reload_signal");
    assert_eq!(error["message"], "no process of cell api has a reload signal, so it can only be restarted");
    let table = node.place.fleetagent(&["reload", "web/main"]).await.exits(0);
    assert_eq!(table.out, "CELL  PROCESS  RESULT\nweb   main     signalled\n");
}

#[tokio::test]
async fn what_a_supervisor_of_the_previous_protocol_cannot_do_it_says() {
    let mut node = Node::new();
    node.cell("web");
    node.supervise_with("web", &["--protocol", "1"]).await;
    node.order("web", "1", [("main", reloads())]).await;
    node.wait_for_log("web", "ready").await;
    let before = node.pid("web", "main").await;
    for target in ["web", "web/main"] {
        let error = node.place.fleetagent(&["reload", target, "-o", "json"]).await.exits(3).error();
        assert_eq!(error["code"], "foreign_protocol");
        assert_eq!(error["message"], "the supervisor of web is of an earlier release, which cannot do this");
        assert_eq!(error["help"], "`fleetagent restart web/main` stops it and starts it again");
    }
    let error = node.place.fleetagent(&["restart", "web", "-o", "json"]).await.exits(3).error();
    assert_eq!(error["help"], "restart its processes one by one: web/<process>");
    assert_eq!(node.pid("web", "main").await, before);
    node.place.fleetagent(&["restart", "web/main"]).await.exits(0);
    assert_ne!(node.pid("web", "main").await, before);
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

    // What takes longer than somebody waits goes on.
    let stop = Stop { timeout_ms: 1_000, ..Stop::default() };
    let deaf = ProcessDef { stop, ..shell("trap '' TERM; echo ready; while :; do sleep 0.01; done") };
    node.run("deaf", [("main", deaf)]).await;
    node.wait_for_log("deaf", "ready").await;
    let before = node.pid("deaf", "main").await;
    let error = node.place.fleetagent(&["restart", "deaf", "--timeout", "100ms", "-o", "json"]).await.exits(7).error();
    let message = "cell deaf is not there yet after 0.1 s, and goes on";
    assert_eq!((error["code"].as_str(), error["message"].as_str()), (Some("timed_out"), Some(message)));
    let is_back = async || {
        let main = node.ps("deaf").await["processes"]["main"].clone();
        main["state"] == "running" && main["pid"].as_i64() != Some(before)
    };
    wait_for(is_back, "the restart to be done").await;

    // One that fails keeps nothing from the others, and each is told.
    let mut client = Client::connect(&node.cells(), "web").await.unwrap();
    client.stop_process("waits").await.unwrap();
    let child = node.place.start_fleetagent(&["start", "web"]);
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
    for verb in ["logs", "start", "stop", "restart", "reload"] {
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
