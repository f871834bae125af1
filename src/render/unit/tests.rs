use serde_json::{Value, json};

use super::*;
use crate::model::SocketName;
use crate::model::manifest::Manifest;
use crate::model::strategy::{Listen, Socket, StartStop};

fn manifest(spec: &Value, limits: &Value) -> Manifest {
    let text = json!({"schema": "fleetman/manifest/1", "requires": [], "fleet": "6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10",
        "node": "n1", "cell": "web", "version": "r1", "manifest": "site", "content_sha256": "0".repeat(64),
        "created_at": "2026-01-02T03:04:05Z", "created_by": "alice", "profile": spec, "limits": limits, "files": []});
    serde_json::from_value(text).unwrap()
}

fn spec(more: &Value) -> Value {
    let mut value = json!({"kind": "systemd", "command": ["bin/web"], "restart": {"policy": "on_failure", "delay_ms": 1000},
        "stop": {"signal": "TERM", "timeout_ms": 10_000}});
    value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    value
}

fn rendered(more: &Value, limits: &Value, scope: Scope) -> Result<Units, Unwritable> {
    let manifest = manifest(&spec(more), limits);
    let crate::model::run_spec::Profile::Systemd(spec) = &manifest.profile else { panic!() };
    let cell = CellName::new("web").unwrap();
    let (release, data) = (Path::new("/var/lib/f/systemd/web/releases/r1-0"), Path::new("/var/lib/f/data/web"));
    let on_node = OnNode { cell: &cell, manifest: &manifest, release, data };
    units(spec.rendered().unwrap(), &on_node, Instance::A, scope, Path::new("/usr/bin/fleetagent"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn service(more: &Value) -> String {
    text(&rendered(more, &json!({}), Scope::System).unwrap().service).to_owned()
}

#[test]
fn a_plain_service_is_this_unit() {
    let expected = r#"# Made by fleetagent, which finds what is changed here. To add to it: systemctl edit <unit>
[Unit]
Description=web of Fleetman
After=network.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart="/var/lib/f/systemd/web/releases/r1-0/bin/web"
WorkingDirectory=/var/lib/f/systemd/web/releases/r1-0
Environment="FLEETMAN_NODE=n1"
Environment="FLEETMAN_CELL=web"
Environment="FLEETMAN_VERSION=r1"
Environment="FLEETMAN_RELEASE_DIR=/var/lib/f/systemd/web/releases/r1-0"
Environment="FLEETMAN_DATA_DIR=/var/lib/f/data/web"
Restart=on-failure
RestartSec=1000ms
KillSignal=SIGTERM
TimeoutStopSec=10000ms

[Install]
WantedBy=multi-user.target
"#;
    assert_eq!(service(&json!({})), expected);
}

#[test]
fn everything_that_can_be_said_is_a_line_of_its_own() {
    let more = json!({"command": ["/usr/bin/web", "--name", "a b"], "description": "the 100% web", "type": "notify",
        "env": {"A": "$x \"y\"", "B": {"from_file": "/etc/web/secret"}, "C": {"credential": "tls.key"}, "FLEETMAN_CELL": "x"},
        "user": "web", "group": "www-data", "working_dir": "share",
        "after": ["postgresql.service"], "requires": ["postgresql.service"],
        "restart": {"policy": "always", "delay_ms": 500, "max_retries": 4}, "stop": {"signal": "INT", "timeout_ms": 0},
        "hardening": {"no_new_privileges": true, "protect_system": "strict", "protect_home": "read-only",
            "private_tmp": false, "dynamic_user": false, "capabilities": [], "ambient_capabilities": ["CAP_KILL"],
            "read_write_paths": ["/srv/a b"], "state_directory": "web"}});
    let limits = json!({"open_files": 100, "memory_bytes": 1000, "tasks": 10, "core_bytes": 0});
    let unit = rendered(&more, &limits, Scope::System).unwrap();
    assert_eq!(unit.timer, None);
    let unit = text(&unit.service);
    for line in [
        "Description=the 100%% web",
        "After=network.target postgresql.service",
        "Requires=postgresql.service",
        "StartLimitIntervalSec=302500ms",
        "StartLimitBurst=5",
        "Type=notify",
        r#"ExecStartPre=+"/usr/bin/fleetagent" write-env %t/fleetman/web.env "{\"B\":{\"from_file\":\"/etc/web/secret\"}}""#,
        r#"ExecStart="/usr/bin/web" "--name" "a b""#,
        r#"ExecStartPost=+-"/usr/bin/fleetagent" write-env %t/fleetman/web.env"#,
        r#"ExecStopPost=+-"/usr/bin/fleetagent" write-env %t/fleetman/web.env"#,
        "WorkingDirectory=/var/lib/f/systemd/web/releases/r1-0/share",
        r#"Environment="A=$x \"y\"""#,
        r#"Environment="C=%d/tls.key""#,
        r#"Environment="FLEETMAN_CELL=web""#,
        "EnvironmentFile=-%t/fleetman/web.env",
        "LoadCredential=tls.key",
        "User=web",
        "Group=www-data",
        "Restart=always",
        "RestartSec=500ms",
        "KillSignal=SIGINT",
        "TimeoutStopSec=1ms",
        "LimitNOFILE=100",
        "LimitCORE=0",
        "MemoryMax=1000",
        "TasksMax=10",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ProtectHome=read-only",
        "PrivateTmp=no",
        "DynamicUser=no",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=CAP_KILL",
        r#"ReadWritePaths="/var/lib/f/data/web""#,
        r#"ReadWritePaths="/srv/a b""#,
        "StateDirectory=web",
    ] {
        assert_eq!(unit.lines().filter(|found| *found == line).count(), 1, "{line}\n{unit}");
    }
    assert!(!unit.contains("FLEETMAN_CELL=x"), "{unit}");
}

#[test]
fn a_schedule_is_a_timer_and_a_service_that_nothing_else_starts() {
    let schedule = json!({"on_calendar": "*-*-* 03:00", "persistent": true, "random_delay_ms": 5000});
    let units = rendered(&json!({"type": "oneshot", "schedule": schedule}), &json!({}), Scope::System).unwrap();
    let (service, timer) = (text(&units.service), text(units.timer.as_deref().unwrap()));
    assert!(!service.contains("[Install]") && !service.contains("RemainAfterExit"), "{service}");
    assert!(
        timer.ends_with(
            "[Timer]\nOnCalendar=*-*-* 03:00\nAccuracySec=1s\nPersistent=yes\nRandomizedDelaySec=5000ms\n\n\
         [Install]\nWantedBy=timers.target\n"
        ),
        "{timer}"
    );
    assert!(self::service(&json!({"type": "oneshot"})).contains("\nRemainAfterExit=yes\n"));
}

#[test]
fn a_user_cannot_have_what_only_the_systems_manager_does() {
    let plain = rendered(&json!({}), &json!({}), Scope::User).unwrap();
    assert!(text(&plain.service).ends_with("[Install]\nWantedBy=default.target\n"));
    assert!(!text(&plain.service).contains("network.target"));
    for (more, field) in [
        (json!({"user": "web"}), "user"),
        (json!({"group": "web"}), "group"),
        (json!({"hardening": {"dynamic_user": true}}), "hardening.dynamic_user"),
        (json!({"hardening": {"capabilities": []}}), "hardening.capabilities"),
        (json!({"env": {"A": {"credential": "x"}}}), "a credential in env"),
    ] {
        let error = rendered(&more, &json!({}), Scope::User).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{field} needs the system's manager; this node's config has `scope: user`")
        );
    }
}

#[test]
fn what_no_unit_can_hold_is_refused_by_its_name() {
    let many: serde_json::Map<String, Value> =
        (0..5).map(|at| (format!("A{at}"), "%".repeat(400_000).into())).collect();
    for (more, field) in [
        (json!({"command": ["/bin/a'b"]}), "command[0]"),
        (json!({"command": ["bin/a$b"]}), "command[0]"),
        (json!({"command": ["/bin/a", "\u{fdd0}"]}), "command[1]"),
        (json!({"env": {"A": "\u{1}"}}), "env.A"),
        (json!({"env": {"A\"\nUser=root\nB": {"credential": "x"}}}), "env.A\"\nUser=root\nB"),
        (json!({"env": {"A=B": "c"}}), "env.A=B"),
        (json!({"description": "a\\"}), "description"),
        (json!({"user": "a\nUser=root"}), "user"),
        (json!({"group": "%u"}), "group"),
        (json!({"schedule": {"on_calendar": "hourly\\"}}), "schedule.on_calendar"),
        (json!({"hardening": {"read_write_paths": ["a"]}}), "hardening.read_write_paths"),
        (json!({"command": ["/bin/a", "x".repeat(1 << 20)]}), "ExecStart"),
        (json!({"env": many}), "the unit"),
        (json!({"env": {"A": {"from_file": "/a"}, "LD_PRELOAD": "/b"}}), "env.LD_PRELOAD"),
        (json!({"env": {"GCONV_PATH": {"from_file": "/a"}}}), "env.GCONV_PATH"),
    ] {
        let error = rendered(&more, &json!({}), Scope::System).unwrap_err();
        assert_eq!(error.field, field, "{error}");
    }
    // What only the program itself is given is its own affair.
    assert!(service(&json!({"env": {"LD_PRELOAD": "/b"}})).contains("\nEnvironment=\"LD_PRELOAD=/b\"\n"));
}

#[test]
fn a_reload_is_a_signal_or_a_command_and_knows_where_the_current_files_are() {
    let lines = |more: &Value| {
        let units = rendered(more, &json!({}), Scope::System).unwrap();
        String::from_utf8(units.service).unwrap()
    };
    let text = lines(&json!({"reload_signal": "HUP"}));
    assert!(text.contains("ExecReload=/bin/sh -c \"kill -s HUP $$MAINPID\"\n"), "{text}");
    let text = lines(&json!({"reload_command": ["bin/ctl", "a b", "$x"]}));
    let expected = "ExecReload=\"/var/lib/f/systemd/web/releases/r1-0/bin/ctl\" \"a b\" \"$$x\"\n";
    assert!(text.contains(expected), "{text}");
    assert!(!lines(&json!({})).contains("ExecReload"));
    assert!(!text.contains("FLEETMAN_CURRENT_DIR"));
}

/// The units of a service that is given these sockets, as the second of two.
fn second(sockets: &Value, more: &Value) -> Units {
    let mut manifest = manifest(&spec(more), &json!({}));
    manifest.strategy = serde_json::from_value(json!({"kind": "start_stop", "sockets": sockets})).unwrap();
    let crate::model::run_spec::Profile::Systemd(spec) = &manifest.profile else { panic!() };
    let cell = CellName::new("web").unwrap();
    let on_node = OnNode { cell: &cell, manifest: &manifest, release: Path::new("/r"), data: Path::new("/d") };
    units(spec.rendered().unwrap(), &on_node, Instance::B, Scope::System, Path::new("/usr/bin/fleetagent")).unwrap()
}

#[test]
fn one_of_two_knows_which_it_is_and_is_given_its_sockets() {
    let sockets = json!({"http": {"listen": "[::]:80"}, "admin": {"listen": "/run/a %n $x;b.sock", "mode": "0660"}});
    let more = json!({"env": {"S": {"from_file": "/etc/s"}, "FLEETMAN_INSTANCE": "a"}});
    let units = second(&sockets, &more);
    let service = text(&units.service);
    let stems: Vec<&String> = units.sockets.keys().collect();
    let [admin, http] = stems[..] else { panic!("{stems:?}") };
    let given = format!("Sockets={admin}.socket {http}.socket");
    for line in [&*given, "NonBlocking=yes", "EnvironmentFile=-%t/fleetman/web.b.env"] {
        assert!(service.lines().any(|found| found == line), "{line}\n{service}");
    }
    // Of several systemd takes the last.
    let instance = service.lines().rfind(|line| line.contains("FLEETMAN_INSTANCE"));
    assert_eq!(instance, Some("Environment=\"FLEETMAN_INSTANCE=b\""));

    assert!(http.starts_with("fleetman-web.http.") && http.len() == "fleetman-web.http.".len() + 8, "{http}");
    let expected = format!(
        "{HEAD}[Unit]\nDescription=Socket http of web of Fleetman\n\n[Socket]\nListenStream=[::]:80\nFreeBind=yes\n\
         FileDescriptorName=http\nBacklog=4096\nService={http}.service\nTriggerLimitIntervalSec=0\n"
    );
    assert_eq!(text(&units.sockets[http].socket), expected);
    let at_path = text(&units.sockets[admin].socket);
    for line in ["ListenStream=/run/a %%n $x;b.sock", "SocketMode=0660", "RemoveOnStop=yes"] {
        assert!(at_path.lines().any(|found| found == line), "{line}\n{at_path}");
    }
    // What traffic starts is nothing of the version's.
    let idle = text(&units.sockets[http].idle);
    assert!(idle.contains(&format!("BindsTo={http}.socket\n")) && !idle.contains("/r"), "{idle}");
    assert_eq!(idle.matches("Exec").count(), 1);
}

#[test]
fn a_socket_that_is_another_one_has_another_name() {
    let name = |socket: &Value| second(&json!({"http": socket}), &json!({})).sockets.into_keys().next().unwrap();
    let one = name(&json!({"listen": "[::]:80"}));
    assert_eq!(one, name(&json!({"listen": "[::]:80", "process": "main"})));
    assert_ne!(one, name(&json!({"listen": "[::]:81"})));
    let path = name(&json!({"listen": "/run/a"}));
    assert_ne!(path, name(&json!({"listen": "/run/a", "mode": "0600"})));
}

#[test]
fn a_path_that_would_be_a_directive_of_its_own_is_refused() {
    let (cell, name) = (CellName::new("web").unwrap(), "http".parse().unwrap());
    for path in ["/run/a\\", "/run/a ", "/run/\u{fdd0}", "/run/a\nExecStartPre=/bin/x"] {
        let socket = Socket { listen: Listen::Unix(path.to_owned()), process: None, mode: Socket::MODE };
        let how = StartStop { sockets: [(SocketName::clone(&name), socket)].into(), shares: None };
        let refused = super::socket::units(&cell, &how).unwrap_err();
        assert_eq!(refused.field, "socket http", "{path:?}");
    }
}

#[test]
fn the_first_of_two_has_the_names_of_one_that_is_alone() {
    let names = Names::of(&CellName::new("web").unwrap());
    assert_eq!(names.service(Instance::A), "fleetman-web.service");
    assert_eq!(names.service(Instance::B), "fleetman-web.b.service");
}

#[test]
fn the_units_of_the_cells_that_it_depends_on_come_before_it() {
    let mut manifest = manifest(&spec(&json!({"after": ["postgresql.service"]})), &json!({}));
    manifest.dependencies = serde_json::from_value(json!({"after": ["cache"], "requires": ["db", "cache"]})).unwrap();
    let crate::model::run_spec::Profile::Systemd(spec) = &manifest.profile else { panic!() };
    let (release, data) = (Path::new("/r"), Path::new("/d"));
    let on_node = OnNode { cell: &manifest.cell, manifest: &manifest, release, data };
    let unit = |scope| {
        let units = units(spec.rendered().unwrap(), &on_node, Instance::A, scope, Path::new("/usr/bin/fleetagent"));
        text(&units.unwrap().service).to_owned()
    };
    let cells = "fleetman-cache.service fleetman-cache.b.service fleetman-db.service fleetman-db.b.service";
    assert!(unit(Scope::System).contains(&format!("\nAfter=network.target postgresql.service {cells}\n")));
    assert!(unit(Scope::User).contains(&format!("\nAfter=postgresql.service {cells}\n")));
    assert!(
        !unit(Scope::System).contains("Wants=") && !unit(Scope::System).contains("Requires="),
        "a stop is no one else's"
    );
}
