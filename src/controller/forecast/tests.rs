use serde_json::{Value, json};

use super::*;
use crate::model::{FilePath, Sha256Digest};

const RUN: &str = r#"{"command": ["bin/x"], "restart": {"policy": "always", "delay_ms": 1},
    "stop": {"signal": "TERM", "timeout_ms": 1000}}"#;

fn manifest(version: &str, more: &Value) -> Manifest {
    let mut text = json!({"schema": "fleetman/manifest/1", "requires": [],
        "fleet": "6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10", "node": "n1", "cell": "web", "version": version,
        "manifest": "site", "content_sha256": "0".repeat(64), "created_at": "2026-01-02T03:04:05Z",
        "created_by": "alice", "files": []});
    text.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(text).unwrap()
}

/// Processes of the profile `kind`, each with what is said of it beside the usual.
fn of(version: &str, kind: &str, processes: &[(&str, Value)]) -> Manifest {
    let process = |(name, more): &(&str, Value)| {
        let mut run: Value = serde_json::from_str(RUN).unwrap();
        run.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ((*name).to_owned(), run)
    };
    let processes: serde_json::Map<String, Value> = processes.iter().map(process).collect();
    manifest(version, &json!({"profile": {"kind": kind, "processes": processes}}))
}

fn unit(version: &str, more: &Value) -> Manifest {
    let mut profile: Value = serde_json::from_str(RUN).unwrap();
    profile["kind"] = "systemd".into();
    profile.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    manifest(version, &json!({ "profile": profile }))
}

fn file(path: &str, digest: &str) -> Value {
    json!({"path": path, "size": 1, "sha256": digest.repeat(64), "mode": "0644", "from": "deployment"})
}

fn now() -> DateTime<Utc> {
    "2026-01-05T12:00:00Z".parse().unwrap()
}

/// What a node says of a cell that runs well.
fn well(version: &str) -> CellReport {
    let version = json!({"version": version, "manifest_sha256": "0".repeat(64), "content_sha256": "1".repeat(64)});
    let report =
        json!({"phase": "up_to_date", "state": {"state": "running"}, "running": version, "known_good": version});
    serde_json::from_value(report).unwrap()
}

fn known<'a>(over: Option<&'a Manifest>, new: &'a Manifest, report: Option<&'a CellReport>) -> Known<'a> {
    let (options, holds) = (TriggerOptions::default(), Vec::new());
    let (liveness, last_seen) = (Liveness::Active, Some(now()));
    let (cells, windows, is_heard) = (None, None, report.is_some());
    Known { over, new, options, is_heard, liveness, last_seen, report, cells, windows, holds, now: now() }
}

fn fates(over: Option<&Manifest>, new: &Manifest) -> Vec<(String, ProcessFate)> {
    processes(over, new).into_iter().map(|process| (process.process, process.fate)).collect()
}

fn kinds(forecast: &Forecast) -> Vec<(WaitKind, bool)> {
    forecast.waits.iter().map(|wait| (wait.kind, wait.is_now)).collect()
}

#[test]
fn each_process_has_a_fate_of_its_own() {
    let old = of("v1", "process", &[("gone", json!({})), ("hand", json!({"autostart": false})), ("web", json!({}))]);
    let new = of(
        "v2",
        "process",
        &[
            ("migrate", json!({"type": "task", "restart": {"policy": "never", "delay_ms": 0}})),
            ("new", json!({})),
            ("web", json!({})),
        ],
    );
    let name = |name: &str, fate| (name.to_owned(), fate);
    let expected = [
        name("gone", ProcessFate::Stops),
        name("migrate", ProcessFate::RunsOnce),
        name("new", ProcessFate::Starts),
        name("web", ProcessFate::Restarts),
    ];
    assert_eq!(fates(Some(&old), &new), expected);
    assert_eq!(fates(None, &old)[..2], [name("gone", ProcessFate::Starts), name("hand", ProcessFate::ByHand)]);

    let beside = |kind| {
        let strategy = serde_json::from_value(json!({"kind": "start_stop", "shares": "second_port"})).unwrap();
        Manifest { strategy, ..of("v3", kind, &[("web", json!({}))]) }
    };
    let web = of("v2", "process", &[("web", json!({}))]);
    assert_eq!(fates(Some(&web), &beside("process")), [name("web", ProcessFate::Replaced)]);
    let elsewhere = of("v2", "supervisor", &[("web", json!({}))]);
    assert_eq!(fates(Some(&elsewhere), &beside("process")), [name("web", ProcessFate::Restarts)], "another profile's");
}

#[test]
fn units_run_by_a_schedule_or_all_the_time_and_files_run_nothing() {
    let service = unit("v1", &json!({}));
    let timer = unit("v2", &json!({"type": "oneshot", "schedule": {"on_calendar": "daily"}}));
    let main = |fate| [("main".to_owned(), fate)];
    assert_eq!(fates(Some(&service), &service), main(ProcessFate::Restarts));
    assert_eq!(fates(Some(&service), &timer), main(ProcessFate::Scheduled));
    assert_eq!(fates(Some(&timer), &service), main(ProcessFate::Starts));
    let files = manifest("v3", &json!({"profile": {"kind": "deploy"}}));
    assert_eq!(fates(Some(&service), &files), main(ProcessFate::Stops));
    assert_eq!(fates(None, &files), []);
    let forecast = Forecast::of(&known(None, &files, None));
    assert!(!forecast.restarts());
    assert_eq!(forecast.gate.to_string(), "none: it counts as good once it is switched to");
}

#[test]
fn hooks_run_for_the_files_that_changed_and_the_one_that_stops_is_the_old_versions() {
    let hooks = |stop: &str| {
        json!({"stop": {"command": [stop]}, "before_activate": {"command": ["bin/migrate", "postgres://a:b@c/"],
            "if_changed": ["db/**"]}, "validate": {"command": ["bin/check"], "if_changed": ["conf/**"]},
            "on_failure": {"command": ["bin/tell"]}})
    };
    let profile = json!({"kind": "deploy"});
    let version = |version: &str, stop: &str, digest: &str| {
        let files = [file("conf/a", "a"), file("db/1.sql", digest)];
        manifest(version, &json!({"profile": profile, "hooks": hooks(stop), "files": files}))
    };
    let (old, new) = (version("v1", "bin/old", "b"), version("v2", "bin/new", "c"));
    let found = super::hooks(Some(&old), &new);
    let said: Vec<(HookEvent, HookRun, bool)> = found.iter().map(|hook| (hook.event, hook.run, hook.is_old)).collect();
    let expected = [
        (HookEvent::Stop, HookRun::Runs, true),
        (HookEvent::BeforeActivate, HookRun::Runs, false),
        (HookEvent::Validate, HookRun::Skipped, false),
        (HookEvent::OnFailure, HookRun::IfItFails, false),
    ];
    assert_eq!(said, expected);
    assert_eq!(found[0].command, ["bin/old"]);
    assert_eq!(found[1].command, ["bin/migrate", "(not shown)"]);
    assert_eq!(found[1].matches, [FilePath::new("db/1.sql").unwrap()]);
    let first: Vec<HookEvent> = super::hooks(None, &new).into_iter().map(|hook| hook.event).collect();
    assert_eq!(first, [HookEvent::BeforeActivate, HookEvent::Validate, HookEvent::OnFailure], "nothing is left");
}

#[test]
fn windows_and_locks_delay_only_what_takes_the_place_of_something_good() {
    let at_night = json!([{"allow": "0 2 * * *", "for_secs": 3600, "time_zone": "UTC"}]);
    let plain = json!({"kind": "deploy"});
    let new = manifest("v2", &json!({"profile": plain, "windows": {"download": at_night, "activate": at_night}}));
    let old = manifest("v1", &json!({"profile": plain, "lock": "busy"}));
    let report = well("v1");
    let delays = known(Some(&old), &new, Some(&report));
    let forecast = Forecast::of(&delays);
    let expected = [(WaitKind::DownloadWindow, true), (WaitKind::ActivateWindow, true), (WaitKind::Lock, false)];
    assert_eq!(kinds(&forecast), expected);
    assert_eq!(forecast.waits[1].until, Some("2026-01-06T02:00:00Z".parse().unwrap()));
    assert_eq!(
        forecast.waits[1].message,
        "the activation windows of the version are closed until 2026-01-06 02:00 UTC"
    );

    let is_open = Known { now: "2026-01-05T02:30:00Z".parse().unwrap(), ..known(Some(&old), &new, Some(&report)) };
    assert_eq!(kinds(&Forecast::of(&is_open)), [(WaitKind::Lock, false)]);
    let options = TriggerOptions { override_windows: true, ..TriggerOptions::default() };
    assert_eq!(kinds(&Forecast::of(&Known { options, ..delays })), []);
    assert_eq!(
        kinds(&Forecast::of(&known(None, &new, None))),
        [(WaitKind::DownloadWindow, true)],
        "nothing to protect"
    );
    let bad = CellReport { known_good: None, ..report.clone() };
    assert_eq!(kinds(&Forecast::of(&known(Some(&old), &new, Some(&bad)))), [(WaitKind::DownloadWindow, true)]);
}

#[test]
fn nodes_that_are_not_heard_of_holds_and_what_failed_before_are_told() {
    let new = unit("v2", &json!({}));
    let report = CellReport { failed_content: vec![new.content_sha256], ..well("v1") };
    let hold = Hold { whole_node: true, by: "bob".into(), reason: "stocktaking".into(), until: now() };
    let known = Known { liveness: Liveness::Dead, holds: vec![hold], ..known(None, &new, Some(&report)) };
    let forecast = Forecast::of(&known);
    let messages: Vec<&str> = forecast.waits.iter().map(|wait| wait.message.as_str()).collect();
    let expected = [
        "n1 is dead, was last heard of at 2026-01-05 12:00 UTC",
        "the node is held by bob until 2026-01-05 12:00 UTC: stocktaking",
        "this content failed on the node before; it is tried again only with --retry",
    ];
    assert_eq!(messages, expected);
    let options = TriggerOptions { retry: true, ..TriggerOptions::default() };
    assert_eq!(Forecast::of(&Known { options, ..known }).waits.len(), 2);
}

#[test]
fn of_the_orders_to_hold_the_newest_counts_and_each_only_for_what_it_is_about() {
    let new = unit("v2", &json!({}));
    let order = |id: u128, cell: Option<&str>, action, expires: &str| Order {
        requires: Vec::new(),
        fleet: new.fleet,
        node: new.node.clone(),
        cell: cell.map(|cell| cell.parse().unwrap()),
        id: id.into(),
        action,
        issued_at: now(),
        expires_at: expires.parse().unwrap(),
        issued_by: "bob".parse().unwrap(),
        reason: Some(format!("order {id}")),
    };
    let (hold, release, later) = (OrderAction::Hold, OrderAction::Release, "2026-01-06T00:00:00Z");
    let reasons = |orders: &[Order]| -> Vec<String> {
        ordered(orders, &new, now()).into_iter().map(|hold| hold.reason).collect()
    };
    let of_cell = order(1, Some("web"), hold.clone(), later);
    assert_eq!(reasons(std::slice::from_ref(&of_cell)), ["order 1"]);
    assert_eq!(reasons(&[order(2, Some("web"), release.clone(), later), of_cell.clone()]), Vec::<String>::new());
    assert_eq!(reasons(&[of_cell.clone(), order(2, None, release, later)]), ["order 1"], "it is of the node");
    assert_eq!(reasons(&[of_cell, order(2, None, hold.clone(), later)]), ["order 1", "order 2"]);
    assert_eq!(reasons(&[order(1, Some("db"), hold.clone(), later)]), Vec::<String>::new());
    assert_eq!(reasons(&[order(1, None, hold, "2026-01-05T11:59:59Z")]), Vec::<String>::new(), "it is over");
}

#[test]
fn one_line_says_what_is_published_and_what_comes_of_it() {
    let (old, new) = (unit("v1", &json!({})), unit("v2", &json!({"env": {"A": "b"}})));
    let summary = |over: Option<&Manifest>, new: &Manifest| {
        Forecast::of(&known(over, new, None)).summary(&Changes::between(over, new))
    };
    let expected = "1 cell to publish: 1 setting changed, fleetman-web.service changed, restarts main; reloads nothing";
    assert_eq!(summary(Some(&old), &new), expected);
    assert_eq!(
        summary(Some(&old), &old),
        "1 cell to publish: nothing changed, restarts main; reloads nothing",
        "the same once more"
    );
    let files = |digest: &str| {
        manifest("v1", &json!({"profile": {"kind": "deploy"}, "files": [file("a", digest), file("b", digest)]}))
    };
    let expected = "1 cell to publish: 2 files changed, restarts nothing; reloads nothing";
    assert_eq!(summary(Some(&files("a")), &files("b")), expected);
    let of_two = |env: &Value| of("v1", "process", &[("jobs", json!({ "env": env })), ("web", json!({ "env": env }))]);
    let expected = "1 cell to publish: 2 settings changed, 2 definitions changed, restarts jobs, web; reloads nothing";
    assert_eq!(summary(Some(&of_two(&json!({"A": "a"}))), &of_two(&json!({"A": "b"}))), expected);
}

#[test]
fn the_gate_says_what_is_asked_and_what_it_falls_back_to() {
    let health = json!({"min_healthy_ms": 10_000, "deadline_ms": 60_000,
        "checks": {"up": {"kind": "tcp", "address": "127.0.0.1:80"}}});
    let new = Manifest { health: serde_json::from_value(health).unwrap(), ..unit("v2", &json!({})) };
    let report = well("v1");
    let gate = |report| Forecast::of(&known(None, &new, report)).gate.to_string();
    let asked = "it must run and pass up (tcp) for 10s without a break, within 60s";
    assert_eq!(gate(Some(&report)), format!("{asked}; otherwise the node goes back to v1"));
    assert_eq!(gate(None), format!("{asked}; otherwise it is left as it is, for there is nothing to go back to"));
}

#[test]
fn what_goes_on_is_reloaded_if_it_hears_and_not_stopped() {
    let version = |version: &str, digest: &str| {
        let hears = json!({"reload_signal": "HUP"});
        let mut manifest =
            of(version, "process", &[("deaf", json!({})), ("hand", json!({"autostart": false})), ("web", hears)]);
        manifest.reload_if = vec!["conf/**".parse().unwrap()];
        manifest.files = vec![serde_json::from_value(file("conf/a", digest)).unwrap()];
        manifest.hooks = serde_json::from_value(json!({"stop": {"command": ["bin/old"]}})).unwrap();
        manifest.content_sha256 = manifest.files[0].sha256;
        manifest
    };
    let (old, new) = (version("v1", "a"), version("v2", "b"));
    let name = |name: &str, fate| (name.to_owned(), fate);
    let reloads =
        [name("deaf", ProcessFate::GoesOn), name("hand", ProcessFate::ByHand), name("web", ProcessFate::Reloads)];
    assert_eq!(fates(Some(&old), &new), reloads);
    assert_eq!(super::hooks(Some(&old), &new)[0].run, HookRun::Skipped);
    let summary = Forecast::of(&known(Some(&old), &new, None)).summary(&Changes::between(Some(&old), &new));
    assert_eq!(summary, "1 cell to publish: 1 file changed, restarts nothing; reloads web");
    let restarts = Manifest { restart_if: vec!["conf/a".parse().unwrap()], ..new };
    assert_eq!(fates(Some(&old), &restarts)[2], name("web", ProcessFate::Restarts));
    assert_eq!(super::hooks(Some(&old), &restarts)[0].run, HookRun::Runs);
}

#[test]
fn what_it_depends_on_delays_it_by_how_that_stands() {
    let on = |after: &str, requires: &str| {
        manifest(
            "v1",
            &json!({"profile": {"kind": "deploy"}, "dependencies": {"after": [after], "requires": [requires]}}),
        )
    };
    let cell = |phase: &str, state: &str| {
        let state = json!({"state": state, "reason": "no"});
        Box::new(serde_json::from_value::<CellReport>(json!({"phase": phase, "state": state})).unwrap())
    };
    let cells = [("up", "up_to_date", "running"), ("down", "failed", "failed"), ("stopped", "stopped", "stopped")];
    let cells: BTreeMap<CellName, Box<CellReport>> =
        cells.into_iter().map(|(name, phase, state)| (name.parse().unwrap(), cell(phase, state))).collect();
    let told = |after: &str, requires: &str| {
        let new = on(after, requires);
        let forecast = Forecast::of(&Known { cells: Some(&cells), ..known(None, &new, None) });
        forecast.waits.into_iter().map(|wait| (wait.message, wait.is_now)).collect::<Vec<_>>()
    };
    let required = |how: &str| {
        (
            format!(
                "{how}, which it requires, {}",
                match how {
                    "gone" => "is not on the node",
                    "stopped" => "is stopped",
                    _ => "does not run",
                }
            ),
            true,
        )
    };
    for how in ["gone", "stopped", "down"] {
        assert_eq!(told(how, how), [required(how)], "one that it only starts after does not hold it up");
    }
    let may = |text: &str| (text.to_owned(), false);
    assert_eq!(told("gone", "up"), [may("it requires up, and starts after it is up")]);
    assert_eq!(told("up", "gone")[1], may("it starts after up, if that is on its way up"));
}

/// Why each process comes to what it comes to.
fn reasons(over: Option<&Manifest>, new: &Manifest) -> Vec<String> {
    processes(over, new).into_iter().map(|process| process.because).collect()
}

#[test]
fn each_process_is_told_why_by_the_file_or_the_setting_that_made_it_so() {
    let version = |version: &str, digest: &str, env: &str, more: &Value| {
        let mut manifest = of(version, "process", &[("web", json!({"reload_signal": "HUP", "env": {"A": env}}))]);
        let files = [file("bin/x", digest), file("conf/a", digest)];
        manifest.files = files.map(|file| serde_json::from_value(file).unwrap()).into();
        manifest.content_sha256 = Sha256Digest::of(format!("{digest}{env}").as_bytes());
        let patterns =
            |name: &str| serde_json::from_value(more.get(name).cloned().unwrap_or_else(|| json!([]))).unwrap();
        (manifest.reload_if, manifest.restart_if) = (patterns("reload_if"), patterns("restart_if"));
        manifest
    };
    let pair = |env: &str, more: &Value| (version("v1", "a", "1", more), version("v2", "b", env, more));
    let why = |env: &str, more: Value| {
        let (old, new) = pair(env, &more);
        reasons(Some(&old), &new).remove(0)
    };
    let nothing = "and no reload_if or restart_if lets it go on";
    assert_eq!(why("1", json!({})), format!("bin/x and 1 more changed, {nothing}"));
    assert_eq!(why("2", json!({})), format!("profile.processes.web.env.A and 2 more changed, {nothing}"));
    assert_eq!(why("1", json!({"reload_if": ["**"]})), "bin/x, conf/a changed, which reload_if names");
    assert_eq!(why("1", json!({"reload_if": ["conf/**"]})), "bin/x changed, which reload_if does not name");
    assert_eq!(why("1", json!({"restart_if": ["bin/*"]})), "bin/x changed, which restart_if names");
    assert_eq!(why("1", json!({"restart_if": ["db/*"]})), "nothing changed that it is reloaded or restarted for");
    assert_eq!(why("2", json!({"reload_if": ["**"]})), "profile.processes.web.env.A changed");
    let (plain, goes_on) =
        (version("v1", "a", "1", &json!({})), version("v2", "b", "1", &json!({"reload_if": ["**"]})));
    assert_eq!(reasons(Some(&plain), &goes_on), ["the version before was not set to go on"]);
    assert_eq!(reasons(Some(&plain), &plain), ["the same content is deployed once more"]);
    let reload = |mut manifest: Manifest| {
        manifest.strategy = Strategy::Reload;
        manifest
    };
    let (old, new) = pair("1", &json!({}));
    assert_eq!(reasons(Some(&reload(old)), &reload(new)), ["its strategy is reload, and bin/x, conf/a changed"]);
    assert_eq!(reasons(None, &plain), ["nothing of the cell runs"]);
    let files = manifest("v3", &json!({"profile": {"kind": "deploy"}}));
    assert_eq!(reasons(Some(&plain), &files), ["the profile deploy runs nothing"]);
    let other = of("v3", "supervisor", &[("web", json!({})), ("hand", json!({"autostart": false}))]);
    assert_eq!(
        reasons(Some(&plain), &other),
        ["it has autostart: false", "its profile is supervisor, and was process"]
    );
}

#[test]
fn of_a_unit_the_line_that_differs_is_told_and_no_secret() {
    let going_on = |mut manifest: Manifest| {
        manifest.restart_if = vec!["bin/*".parse().unwrap()];
        manifest
    };
    let of = |env: Value| going_on(unit("v1", &json!({ "env": env })));
    let why = |old: Value, new: Value| reasons(Some(&of(old)), &of(new)).remove(0);
    assert_eq!(why(json!({"A": "1"}), json!({"A": "2"})), "profile.env.A changed: Environment=\"A=2\"");
    assert_eq!(why(json!({"A": "1"}), json!({})), "profile.env.A changed: no Environment=\"A=1\"");
    let secret = why(json!({"API_TOKEN": "hush-1"}), json!({"API_TOKEN": "hush-2"}));
    assert!(secret.starts_with("profile.env.API_TOKEN changed") && !secret.contains("hush"), "{secret}");
}

#[test]
fn the_windows_of_the_nodes_own_config_count_like_those_of_the_version() {
    let new = manifest("v2", &json!({"profile": {"kind": "deploy"}}));
    let old = manifest("v1", &json!({"profile": {"kind": "deploy"}}));
    let report = well("v1");
    let told = |windows: Option<Value>, is_heard: bool| {
        let windows: Option<Windows> = windows.map(|it| serde_json::from_value(it).unwrap());
        let known = Known { windows: windows.as_ref(), is_heard, ..known(Some(&old), &new, Some(&report)) };
        let forecast = Forecast::of(&known);
        let waits: Vec<String> = forecast.waits.into_iter().map(|wait| wait.message).collect();
        (waits, forecast.unknown)
    };
    let at_night = json!([{"allow": "0 2 * * *", "for_secs": 3600, "time_zone": "UTC"}]);
    let closed = "windows of the node are closed until 2026-01-06 02:00 UTC";
    let both = told(Some(json!({"download": at_night, "activate": at_night})), true);
    assert_eq!(both, (vec![format!("the download {closed}"), format!("the activation {closed}")], Vec::new()));
    assert_eq!(told(Some(json!({})), true), (Vec::new(), Vec::new()), "it has none, and says so");
    let unknown = |why: &str| vec![format!("whether the node's own config has maintenance windows: {why}")];
    assert_eq!(told(None, true).1, unknown("its agent is too old to say"));
    assert_eq!(told(None, false).1, unknown("it was never heard of"));
}
