//! The values that the golden documents say.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use chrono::DateTime;
use fleetman::model::alert::{
    Acknowledgement, Alert, AlertKind, Alerts, Delivery, FinishedDelivery, Notice, NoticePart, Noticed, ReceiverMark,
    Resolved, Severity, Silence, SilenceScope, Taken,
};
use fleetman::model::content::content_sha256;
use fleetman::model::dependencies::Dependencies;
use fleetman::model::drift::{Deviation, DriftFinding, DriftMode, DriftRepair, DriftReport, DriftSpec, DriftState};
use fleetman::model::health::{Check, ExecCheck, FileCheck, Health, HttpCheck, Line, LogCheck, TcpCheck};
use fleetman::model::heartbeat::{
    CellReport, CheckReport, Condition, Fault, HealthReport, HealthState, Heartbeat, HoldReport, HostFacts, Phase,
    ProcessReport, ProcessState, RunningState, SigningMode, VersionReport, Waiting,
};
use fleetman::model::hook::{Hook, HookEvent};
use fleetman::model::manifest::{Manifest, ManifestFile, Mode, Origin};
use fleetman::model::order::{Order, OrderAction};
use fleetman::model::process::{Process, ProcessKind, ProcessSpec};
use fleetman::model::run_spec::{
    DeploySpec, EnvValue, FromCredential, FromFile, Limits, Profile, Restart, RestartPolicy, RunSpec, Stop, StopSignal,
};
use fleetman::model::sign::{PinnedKey, PrivateKey, Trust};
use fleetman::model::strategy::{Socket, StartStop, Strategy};
use fleetman::model::systemd::{
    Hardening, OwnUnit, ProtectHome, ProtectSystem, Schedule, ServiceType, SystemdSpec, UnitSpec,
};
use fleetman::model::trigger::{Action, Target, Trigger, TriggerOptions};
use fleetman::model::users::{EndedVouched, PasswordHash, RevokedSession, SessionId, Token, User, Users};
use fleetman::model::window::{Window, Windows};
use fleetman::model::{Code, Epoch, FilePath, Floor, Generation, ObjectPath, Sha256Digest, UserName};
use ulid::Ulid;
use uuid::Uuid;

pub(super) fn time(seconds: i64) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp(1_767_323_045 + seconds, 0).unwrap()
}

pub(super) fn fleet() -> Uuid {
    "6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10".parse().unwrap()
}

pub(super) fn ulid() -> Ulid {
    Ulid::from_string("01KDYWXAC0ZZZZZZZZZZZZZZZZ").unwrap()
}

pub(super) fn alice() -> UserName {
    "alice".parse().unwrap()
}

pub(super) fn floor() -> Floor {
    Floor::new(Epoch::FIRST, Generation::new(7).unwrap())
}

pub(super) fn key() -> PrivateKey {
    PrivateKey::from_seed(&[1; 32])
}

pub(super) fn manifest() -> Manifest {
    let file = |path: &str, bytes: &[u8], mode, from| ManifestFile {
        path: FilePath::new(path).unwrap(),
        size: bytes.len() as u64,
        sha256: Sha256Digest::of(bytes),
        mode,
        from,
        object: None,
        offset: None,
    };
    let packed = ManifestFile {
        object: Some(ObjectPath::new("packs/0").unwrap()),
        offset: Some(4096),
        ..file("share/words.txt", b"words", Mode::READ, Origin::Deployment)
    };
    let mut manifest = Manifest {
        requires: vec![],
        fleet: fleet(),
        node: "n1".parse().unwrap(),
        cell: "web".parse().unwrap(),
        version: "1.4.2".parse().unwrap(),
        manifest: "shop".parse().unwrap(),
        deployment: Some("20260102-030405-5d1f2a".parse().unwrap()),
        content_sha256: Sha256Digest::of(b""),
        created_at: time(0),
        created_by: alice(),
        note: Some("raise the pool size".to_owned()),
        profile: Profile::Process(ProcessSpec::main(RunSpec {
            command: vec!["bin/shop".to_owned(), "--port".to_owned(), "8080".to_owned()],
            env: BTreeMap::from([
                ("POOL".to_owned(), EnvValue::Text("16".to_owned())),
                (
                    "TOKEN".to_owned(),
                    EnvValue::FromFile(FromFile { from_file: "/etc/shop/secrets".into(), key: Some("TOKEN".into()) }),
                ),
            ]),
            user: Some("shop".to_owned()),
            group: None,
            working_dir: Some(FilePath::new("share").unwrap()),
            restart: Restart { max_retries: Some(5), ..Restart::default() },
            stop: Stop { signal: StopSignal::Term, timeout_ms: 10_000 },
        })),
        health: Health::default(),
        hooks: BTreeMap::new(),
        strategy: Strategy::default(),
        reload_if: Vec::new(),
        restart_if: Vec::new(),
        limits: Limits { open_files: Some(4096), memory_bytes: Some(1 << 30), ..Limits::default() },
        drift: DriftSpec::default(),
        windows: Windows::default(),
        lock: None,
        dependencies: Dependencies::default(),
        files: vec![
            file("bin/shop", b"#!/bin/sh\n", Mode::EXECUTE, Origin::Deployment),
            file("etc/shop.conf", b"port = 8080\n", Mode::READ, Origin::Template),
            packed,
        ],
    };
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

/// A version with what only the `process` profile has.
pub(super) fn manifest_with_processes() -> Manifest {
    let run = |command: &[&str], restart| RunSpec {
        command: command.iter().map(|argument| (*argument).to_owned()).collect(),
        env: BTreeMap::new(),
        user: Some("shop".to_owned()),
        group: None,
        working_dir: None,
        restart,
        stop: Stop::default(),
    };
    let once = Restart { policy: RestartPolicy::Never, ..Restart::default() };
    let migrate = Process {
        kind: ProcessKind::Task,
        autostart: false,
        ..Process::service(run(&["/bin/sh", "-c", "bin/shop --migrate | tee log"], once))
    };
    let growing = Restart {
        policy: RestartPolicy::Always,
        delay_ms: 500,
        max_retries: Some(9),
        backoff_percent: 200,
        max_delay_ms: 30_000,
        jitter_percent: 20,
        reset_after_ms: 300_000,
    };
    let web = Process {
        umask: Some("0027".parse().unwrap()),
        after: ["migrate".parse().unwrap()].into(),
        reload_signal: Some(StopSignal::Hup),
        ..Process::service(run(&["bin/shop"], growing))
    };
    let processes = [("migrate".parse().unwrap(), migrate), ("web".parse().unwrap(), web)].into();
    let mut manifest = manifest();
    manifest.profile = Profile::Process(ProcessSpec { user: Some("shop".to_owned()), group: None, processes });
    manifest.health = Health { min_healthy_ms: 5_000, deadline_ms: 60_000, ..Health::default() };
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

/// A version with a check of every kind.
pub(super) fn manifest_with_checks() -> Manifest {
    let checks = [
        (
            "answers",
            Check::Http(HttpCheck {
                url: "https://127.0.0.1:8443/health".parse().unwrap(),
                status: "200-204".parse().unwrap(),
                contains: Some("\"ok\"".to_owned()),
                insecure: true,
            }),
        ),
        ("cache", Check::Tcp(TcpCheck { address: "127.0.0.1:6379".parse().unwrap() })),
        ("queue", Check::Exec(ExecCheck { command: vec!["bin/shop".to_owned(), "--queue".to_owned()] })),
        ("ready", Check::Log(LogCheck { line: Line::Matches("^listening on .*:[0-9]+$".parse().unwrap()) })),
        ("works", Check::File(FileCheck { path: "heartbeat".to_owned(), newer_than_ms: Some(30_000) })),
    ];
    let mut manifest = manifest();
    manifest.health = Health {
        min_healthy_ms: 15_000,
        deadline_ms: 180_000,
        checks: checks.map(|(name, check)| (name.parse().unwrap(), check)).into(),
        interval_ms: 10_000,
        timeout_ms: 3_000,
        restart_after: NonZeroU32::new(6),
    };
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

/// A version that is put back when it drifts.
pub(super) fn manifest_with_drift() -> Manifest {
    let mut manifest = manifest();
    manifest.drift = DriftSpec {
        mode: Some(DriftMode::Repair),
        ignore: ["share/**", "/etc/systemd/system/fleetman-web.service.d/*"].map(|text| text.parse().unwrap()).into(),
        interval_ms: Some(600_000),
        repairs_per_hour: Some(2),
    };
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

/// A version with hooks, one of them with all that can be said.
pub(super) fn manifest_with_hooks() -> Manifest {
    let hook = |command: &[&str]| Hook {
        command: command.iter().map(|&argument| argument.to_owned()).collect(),
        timeout_ms: Hook::USUAL_TIMEOUT_MS,
        retry_for_ms: Hook::USUAL_RETRY_MS,
        if_changed: Vec::new(),
        ignore_failure: false,
        user: None,
    };
    let mut manifest = manifest();
    manifest.hooks = BTreeMap::from([
        (
            HookEvent::BeforeActivate,
            Hook {
                timeout_ms: 1_200_000,
                retry_for_ms: 600_000,
                if_changed: vec!["db/**".parse().unwrap()],
                ignore_failure: true,
                user: Some("postgres".to_owned()),
                ..hook(&["bin/migrate", "--forward"])
            },
        ),
        (HookEvent::Validate, hook(&["bin/smoke-test"])),
    ]);
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

/// A version that is started beside the one before, and given its sockets.
pub(super) fn manifest_with_sockets() -> Manifest {
    let socket = |listen: &str| Socket { listen: listen.parse().unwrap(), process: None, mode: Socket::MODE };
    let admin = Socket { process: Some("web".parse().unwrap()), mode: Mode::READ, ..socket("/run/shop/admin.sock") };
    let sockets = [("http", Socket { process: Some("web".parse().unwrap()), ..socket("[::]:8080") }), ("admin", admin)];
    let sockets = sockets.map(|(name, socket)| (name.parse().unwrap(), socket)).into();
    let mut manifest = manifest_with_processes();
    manifest.strategy = Strategy::StartStop(StartStop { sockets, shares: None });
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

/// A version whose processes go on when only some of its files have changed.
pub(super) fn manifest_with_reload() -> Manifest {
    let mut manifest = manifest_with_processes();
    manifest.strategy = Strategy::Reload;
    manifest.reload_if = vec!["etc/**".parse().unwrap()];
    manifest.restart_if = vec!["bin/*".parse().unwrap()];
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

/// A version that nodes fetch and switch to in windows only.
pub(super) fn manifest_with_windows() -> Manifest {
    let window = |text: &str| serde_json::from_str(text).unwrap();
    let mut manifest = manifest();
    manifest.profile = Profile::Deploy(DeploySpec::default());
    manifest.limits = Limits::default();
    manifest.windows = Windows {
        download: vec![window(r#"{"allow": "0 22 * * *", "for_secs": 25200, "time_zone": "Europe/Berlin"}"#)],
        activate: vec![
            window(r#"{"allow": "0 2 * * mon-fri", "for_secs": 7200, "time_zone": "Europe/Berlin"}"#),
            window(r#"{"deny": "0 0 20-31 12 *", "for_secs": 86400, "time_zone": "UTC"}"#),
        ],
    };
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

/// A version that starts after another cell, and not without a third one.
pub(super) fn manifest_with_dependencies() -> Manifest {
    let mut manifest = manifest();
    manifest.dependencies = Dependencies {
        after: BTreeSet::from(["cache".parse().unwrap()]),
        requires: BTreeSet::from(["db".parse().unwrap(), "queue".parse().unwrap()]),
    };
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

/// A version that systemd runs, with everything that can be said of a unit.
pub(super) fn manifest_with_unit() -> Manifest {
    let run = RunSpec {
        command: vec!["bin/shop".to_owned(), "--sweep".to_owned()],
        env: BTreeMap::from([(
            "TOKEN".to_owned(),
            EnvValue::Credential(FromCredential { credential: "shop.token".parse().unwrap() }),
        )]),
        user: Some("shop".to_owned()),
        group: None,
        working_dir: None,
        restart: Restart { policy: RestartPolicy::Never, ..Restart::default() },
        stop: Stop::default(),
    };
    let capabilities = || ["CAP_NET_BIND_SERVICE".parse().unwrap()].into();
    let hardening = Hardening {
        no_new_privileges: Some(true),
        protect_system: Some(ProtectSystem::Strict),
        protect_home: Some(ProtectHome::ReadOnly),
        private_tmp: Some(true),
        private_devices: Some(true),
        private_network: Some(false),
        dynamic_user: Some(false),
        protect_kernel_tunables: Some(true),
        protect_kernel_modules: Some(true),
        protect_control_groups: Some(true),
        restrict_suid_sgid: Some(true),
        restrict_realtime: Some(true),
        lock_personality: Some(true),
        memory_deny_write_execute: Some(true),
        capabilities: Some(capabilities()),
        ambient_capabilities: capabilities(),
        read_write_paths: ["/srv/shop".to_owned()].into(),
        state_directory: Some("shop".parse().unwrap()),
    };
    let unit = UnitSpec {
        run,
        description: Some("Sweeps the shop".to_owned()),
        kind: ServiceType::Oneshot,
        after: ["network-online.target".parse().unwrap()].into(),
        requires: ["postgresql.service".parse().unwrap()].into(),
        reload_signal: None,
        reload_command: None,
        schedule: Some(Schedule { on_calendar: "*-*-* 03:00".to_owned(), persistent: true, random_delay_ms: 300_000 }),
        hardening,
    };
    with_profile(manifest(), Profile::Systemd(SystemdSpec::Rendered(Box::new(unit))))
}

/// A version that brings its own unit file.
pub(super) fn manifest_with_unit_file() -> Manifest {
    let unit_file = FilePath::new("etc/shop.service").unwrap();
    let mut manifest = manifest();
    manifest.files[1].path = unit_file.clone();
    let own = OwnUnit { unit_file, user: Some("shop".to_owned()), group: None };
    with_profile(manifest, Profile::Systemd(SystemdSpec::Own(own)))
}

/// A version with a group of supervisord's.
pub(super) fn manifest_with_group() -> Manifest {
    let mut manifest = manifest_with_processes();
    let Profile::Process(mut spec) = manifest.profile else { panic!("{:?}", manifest.profile) };
    for process in spec.processes.values_mut() {
        // What supervisord does not know.
        process.after.clear();
        process.reload_signal = None;
        process.run.restart = Restart {
            policy: process.run.restart.policy,
            max_retries: process.run.restart.max_retries,
            ..Restart::default()
        };
    }
    manifest.profile = Profile::Supervisor(spec);
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

fn with_profile(mut manifest: Manifest, profile: Profile) -> Manifest {
    manifest.profile = profile;
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

pub(super) fn target() -> Target {
    let bytes = manifest().render();
    Target {
        version: "1.4.2".parse().unwrap(),
        manifest_sha256: Sha256Digest::of(&bytes),
        manifest_size: bytes.len() as u64,
        content_sha256: manifest().content_sha256,
    }
}

pub(super) fn trigger(action: Action, options: TriggerOptions) -> Trigger {
    Trigger {
        requires: options.names(),
        fleet: fleet(),
        node: "n1".parse().unwrap(),
        cell: "web".parse().unwrap(),
        generation: floor().generation,
        action,
        options,
        issued_at: time(1),
        issued_by: alice(),
        reason: Some("raise the pool size".to_owned()),
    }
}

pub(super) fn trust() -> Trust {
    Trust::Keys(vec![PinnedKey { key: key().public(), epoch: Epoch::FIRST }])
}

pub(super) fn heartbeat() -> Heartbeat {
    let version: VersionReport = (&target()).into();
    let web = CellReport {
        profile: Some("process".to_owned()),
        phase: Phase::Waiting,
        waiting: Some(Waiting {
            reason: Code::FileMissing,
            message: "bin/shop".to_owned(),
            since: time(3),
            until: None,
        }),
        hold: Some(hold()),
        seen: Some(floor()),
        applied: Some(floor()),
        action: Some("deploy".to_owned()),
        desired: Some(version.clone()),
        running: Some(version.clone()),
        known_good: Some(version),
        state: RunningState::Running { pid: Some(4321), since: Some(time(2)), restarts: 1 },
        processes: BTreeMap::new(),
        health: None,
        drift: None,
        attempt: 2,
        last_error: Some(Fault { code: Code::FileMissing, message: "bin/shop".to_owned(), at: time(3) }),
        failed_content: vec![Sha256Digest::of(b"bad")],
        conditions: vec![Condition { code: Code::TriggerStale, message: "generation 6 lies below 7".to_owned() }],
    };
    let site = CellReport {
        profile: Some("deploy".to_owned()),
        phase: Phase::UpToDate,
        waiting: None,
        hold: None,
        state: RunningState::NotApplicable,
        last_error: None,
        failed_content: vec![],
        conditions: vec![],
        ..web.clone()
    };
    Heartbeat {
        node: "n1".parse().unwrap(),
        fleet: fleet(),
        agent_version: "0.1.0".to_owned(),
        instance_id: fleet(),
        boot_id: Some("0a1b2c3d-0000-4000-8000-000000000000".to_owned()),
        sequence: 42,
        started_at: time(0),
        reported_at: time(60),
        interval_secs: 60,
        signing: SigningMode::Signed,
        host: HostFacts {
            hostname: "edge-1".to_owned(),
            os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            kernel: "6.1.0".to_owned(),
            arch: "x86_64".to_owned(),
            cpus: 2,
            memory_bytes: 2 << 30,
            memory_available_bytes: 1 << 30,
            disk_bytes: 20 << 30,
            disk_free_bytes: 10 << 30,
            load_1m: 0.25,
            addresses: vec!["192.0.2.7".to_owned()],
        },
        labels: BTreeMap::from([("region".to_owned(), "eu".to_owned())]),
        clock_skew_ms: Some(-120),
        store_error: Some(Fault { code: Code::Unreachable, message: "connection refused".to_owned(), at: time(50) }),
        conditions: vec![Condition { code: Code::DuplicateNode, message: "another agent is n1".to_owned() }],
        hold: Some(HoldReport { whole_node: true, ..hold() }),
        windows: Some(Box::new(node_windows())),
        cells: BTreeMap::from([("site".parse().unwrap(), Box::new(site)), ("web".parse().unwrap(), Box::new(web))]),
    }
}

/// The maintenance windows of a node's own config.
fn node_windows() -> Windows {
    let allow = Some("0 2 * * sun".parse().unwrap());
    let window = Window::new(allow, None, 7_200, "Europe/Berlin".parse().unwrap()).unwrap();
    Windows { activate: vec![window], ..Windows::default() }
}

fn hold() -> HoldReport {
    HoldReport {
        order: ulid(),
        by: alice(),
        reason: "looking at a leak".to_owned(),
        since: time(1),
        until: time(7_201),
        whole_node: false,
    }
}

pub(super) fn order(action: OrderAction) -> Order {
    Order {
        requires: vec![],
        fleet: fleet(),
        node: "n1".parse().unwrap(),
        cell: Some("web".parse().unwrap()),
        id: ulid(),
        action,
        issued_at: time(1),
        expires_at: time(601),
        issued_by: alice(),
        reason: Some("looking at a leak".to_owned()),
    }
}

/// What a heartbeat says of the processes of a cell, and as little as it can of everything else.
pub(super) fn heartbeat_with_processes() -> Heartbeat {
    let mut heartbeat = heartbeat();
    let process = |state| ProcessReport {
        state,
        pid: None,
        since: Some(time(5)),
        restarts: 0,
        exit_code: None,
        exit_signal: None,
        reason: None,
    };
    let processes = [
        (
            "cache",
            ProcessReport { pid: Some(4322), exit_signal: Some(9), restarts: 1, ..process(ProcessState::Running) },
        ),
        ("migrate", ProcessReport { exit_code: Some(0), ..process(ProcessState::Completed) }),
        (
            "web",
            ProcessReport {
                exit_code: Some(1),
                restarts: 7,
                reason: Some("started again in 30s".to_owned()),
                ..process(ProcessState::Backoff)
            },
        ),
    ];
    let site = heartbeat.cells.remove(&"site".parse().unwrap()).unwrap();
    let state = RunningState::Failed { reason: "web: exit code 1".to_owned() };
    let processes = processes.into_iter().map(|(name, process)| (name.parse().unwrap(), Box::new(process))).collect();
    let check = |state, message: &str| CheckReport { state, message: message.to_owned(), since: Some(time(6)) };
    let checks = [
        ("answers", check(HealthState::Failing, "HTTP 503 Service Unavailable, expected 200-299")),
        ("ready", check(HealthState::Passing, "listening on [::]:8080")),
    ];
    let health = HealthReport {
        state: HealthState::Starting,
        since: Some(time(5)),
        need_until: None,
        deadline: Some(time(125)),
        restarts: 0,
        restarted_at: None,
        checks: checks.map(|(name, check)| (name.parse().unwrap(), check)).into(),
    };
    let drift = DriftReport {
        state: DriftState::Drifted,
        checked_at: Some(time(55)),
        findings: vec![DriftFinding { code: Deviation::Changed, path: "etc/shop.conf".to_owned(), since: time(40) }],
        more: 1,
        problem: Some(Fault {
            code: Code::RepairsExhausted,
            message: "something was put back 2 times within an hour".to_owned(),
            at: time(55),
        }),
        repairs: vec![DriftRepair { at: time(20), path: "etc/shop.conf".to_owned(), more: 1 }],
    };
    let shop = CellReport {
        profile: Some("process".to_owned()),
        phase: Phase::Checking,
        state,
        processes,
        health: Some(Box::new(health)),
        drift: Some(Box::new(drift)),
        ..*site
    };
    Heartbeat {
        cells: [("shop".parse().unwrap(), Box::new(shop))].into(),
        conditions: vec![],
        store_error: None,
        hold: None,
        windows: None,
        ..heartbeat
    }
}

/// Somebody with a password and a token, and somebody who is kept out.
pub(super) fn users() -> Users {
    let hash = |salt: &str| PasswordHash::new(format!("$argon2id$v=19$m=19456,t=2,p=1${salt}$b25lLXdheQ")).unwrap();
    let bob = "bob".parse().unwrap();
    let token = "fm_4fJq9ZtX2b_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg";
    Users {
        revision: Generation::new(7).unwrap(),
        users: vec![
            User {
                name: alice(),
                password_hash: hash("YWxpY2Utc2FsdA"),
                grants: vec!["admin".parse().unwrap()],
                session_epoch: 1,
                disabled: false,
            },
            User {
                name: bob,
                password_hash: hash("Ym9iJ3Mtc2FsdA"),
                grants: vec!["viewer".parse().unwrap(), "operator:edge-*/*".parse().unwrap()],
                session_epoch: 6,
                disabled: true,
            },
        ],
        tokens: vec![Token {
            id: "4fJq9ZtX2b".parse().unwrap(),
            name: "nightly deploy".to_owned(),
            user: alice(),
            sha256: Sha256Digest::of(token.as_bytes()),
            grants: vec!["editor:edge-*/web".parse().unwrap()],
            created_at: time(0),
            expires_at: time(90 * 86_400),
            revoked: false,
        }],
        revoked_sessions: vec![RevokedSession {
            id: SessionId::from([7; 16]),
            user: Some(alice()),
            until: time(12 * 3_600),
        }],
        ended_vouched: vec![EndedVouched { user: Some(UserName::new("carol").unwrap()), before: 3 }],
        ..Users::empty(fleet(), time(0), alice())
    }
}

/// Alerts in every state.
pub(super) fn alerts() -> Alerts {
    let alert = |kind, subject: &str, severity, message: &str| Alert {
        kind,
        subject: subject.parse().unwrap(),
        severity,
        message: message.to_owned(),
        labels: [("region".to_owned(), "eu".to_owned())].into(),
        since: time(0),
        opened_at: time(60),
        sequence: 3,
        returns: 0,
        silenced: false,
        told: true,
        acknowledged: None,
    };
    let seen = |note: &str, sequence| Acknowledgement { by: alice(), note: note.to_owned(), at: time(180), sequence };
    let back = alert(AlertKind::RolledBack, "cell/n1/web", Severity::Warning, "rolled back: exit code 3");
    let dead = alert(AlertKind::AgentDead, "node/n2", Severity::Critical, "not heard of for long");
    let noticed = Noticed {
        kind: dead.kind,
        subject: dead.subject.clone(),
        severity: dead.severity,
        message: dead.message.clone(),
        since: dead.since,
        resolved_at: None,
        acknowledged: None,
    };
    let over = Noticed {
        kind: back.kind,
        subject: back.subject.clone(),
        severity: back.severity,
        message: back.message.clone(),
        since: back.since,
        resolved_at: Some(time(600)),
        acknowledged: None,
    };
    Alerts {
        sequence: 5,
        open: vec![Alert {
            returns: 1,
            silenced: true,
            acknowledged: Some(seen("new disks are on the way", 5)),
            ..dead
        }],
        unlisted: 2,
        resolved: vec![Resolved { alert: back, resolved_at: time(600), sequence: 4 }],
        silences: vec![Silence {
            id: ulid(),
            scope: SilenceScope {
                kind: Some(AlertKind::AgentDead),
                node: Some("n2".parse().unwrap()),
                cell: Some("web".parse().unwrap()),
            },
            by: alice(),
            reason: "new disks".to_owned(),
            created_at: time(120),
            until: time(7320),
        }],
        receivers: [("on-call".to_owned(), ReceiverMark { sequence: 4, at: time(630) })].into(),
        deliveries: vec![Delivery {
            id: ulid(),
            receiver: "on-call".to_owned(),
            notice: Notice {
                opened: NoticePart { counts: [(AlertKind::AgentDead, 1)].into(), first: vec![noticed.clone()] },
                resolved: NoticePart { counts: [(AlertKind::RolledBack, 1)].into(), first: vec![over] },
                acknowledged: NoticePart {
                    counts: [(AlertKind::AgentDead, 1)].into(),
                    first: vec![Noticed { acknowledged: Some(seen("looking at it", 4)), ..noticed }],
                },
            },
            created_at: time(630),
            tries: 1,
            due_at: time(640),
            taken: Some(Taken { by: fleet(), until: time(720) }),
            problem: Some("it answered 503 Service Unavailable".to_owned()),
        }],
        finished: vec![FinishedDelivery {
            id: ulid(),
            receiver: "on-call".to_owned(),
            about: "1 rolled back".to_owned(),
            at: time(90),
            tries: 9,
            problem: Some("it answered 404 Not Found".to_owned()),
        }],
    }
}
