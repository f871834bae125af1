//! The formats: golden documents that stay readable for ever, and `docs/FORMAT.md` held against the code.
//!
//! `FLEETMAN_UPDATE=1 cargo test --test it format -- --test-threads 1`, run twice, writes the golden files and the generated parts of the page anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::DateTime;
use fleetman::model::audit::{AuditEntry, AuditStage};
use fleetman::model::content::content_sha256;
use fleetman::model::deployment::{Deployment, DeploymentFile};
use fleetman::model::document::{self, Document};
use fleetman::model::fleet::{Conditions, ControllerBeat, Deleting, Finding, Fleet, StoreReport, Verdict, Writing};
use fleetman::model::heartbeat::{
    CellReport, Condition, Fault, Heartbeat, HostFacts, Phase, ProcessReport, ProcessState, RunningState, SigningMode,
    VersionReport, Waiting,
};
use fleetman::model::index::{About, Index, IndexEntry};
use fleetman::model::keys::{AttemptId, WriteRule};
use fleetman::model::manifest::{Manifest, ManifestFile, Mode, Origin};
use fleetman::model::outcome::{Ending, Outcome};
use fleetman::model::process::{Process, ProcessKind, ProcessSpec};
use fleetman::model::run_spec::{
    EnvValue, FromFile, Health, Limits, Profile, Restart, RestartPolicy, RunSpec, Stop, StopSignal,
};
use fleetman::model::sign::{PinnedKey, PrivateKey, Signer, Trust, sign, verify};
use fleetman::model::trigger::{Action, Target, Trigger, TriggerOptions};
use fleetman::model::{Code, Epoch, FilePath, Floor, Generation, ObjectKey, ObjectPath, Sha256Digest, UserName};
use ulid::Ulid;
use uuid::Uuid;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn updating() -> bool {
    std::env::var_os("FLEETMAN_UPDATE").is_some()
}

/// Holds `bytes` against the golden file, or writes it.
fn golden(name: &str, bytes: &[u8]) {
    let path = root().join("tests/golden").join(name);
    if updating() {
        std::fs::write(&path, bytes).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(String::from_utf8_lossy(bytes), expected, "{name}");
}

/// A document reads as the value, and the value writes as the document, byte for byte.
fn golden_document<T: Document + PartialEq + std::fmt::Debug>(name: &str, value: &T) {
    let bytes = document::render(value);
    golden(name, &bytes);
    assert_eq!(document::parse::<T>(&bytes).unwrap(), *value, "{name}");
}

fn time(seconds: i64) -> DateTime<chrono::Utc> {
    DateTime::from_timestamp(1_767_323_045 + seconds, 0).unwrap()
}

fn fleet() -> Uuid {
    "6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10".parse().unwrap()
}

fn ulid() -> Ulid {
    Ulid::from_string("01KDYWXAC0ZZZZZZZZZZZZZZZZ").unwrap()
}

fn alice() -> UserName {
    "alice".parse().unwrap()
}

fn floor() -> Floor {
    Floor::new(Epoch::FIRST, Generation::new(7).unwrap())
}

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[1; 32])
}

fn manifest() -> Manifest {
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
        limits: Limits { open_files: Some(4096), memory_bytes: Some(1 << 30), ..Limits::default() },
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
fn manifest_with_processes() -> Manifest {
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
    manifest.health = Health { min_healthy_ms: 5_000, deadline_ms: 60_000 };
    manifest.requires = manifest.features();
    manifest.content_sha256 = content_sha256(&manifest);
    manifest
}

fn target() -> Target {
    let bytes = manifest().render();
    Target {
        version: "1.4.2".parse().unwrap(),
        manifest_sha256: Sha256Digest::of(&bytes),
        manifest_size: bytes.len() as u64,
        content_sha256: manifest().content_sha256,
    }
}

fn trigger(action: Action, options: TriggerOptions) -> Trigger {
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

fn trust() -> Trust {
    Trust::Keys(vec![PinnedKey { key: key().public(), epoch: Epoch::FIRST }])
}

#[test]
fn unsigned_documents_stay_readable() {
    let manifest = manifest();
    golden("manifest.json", &manifest.render());
    assert_eq!(Manifest::parse(&manifest.render()).unwrap(), manifest);
    let manifest = manifest_with_processes();
    golden("manifest-processes.json", &manifest.render());
    assert_eq!(Manifest::parse(&manifest.render()).unwrap(), manifest);
    golden_document("fleet.json", &Fleet { fleet: fleet(), layout: Fleet::LAYOUT, created_at: time(0) });
    golden_document(
        "store.json",
        &StoreReport {
            checked_at: time(0),
            conditions: Conditions::Honoured,
            findings: vec![Finding {
                check: "create_race".to_owned(),
                verdict: Verdict::Ok,
                message: "of 32 writers who created one object at once, exactly one won".to_owned(),
                help: None,
            }],
        },
    );
    golden_document(
        "controller.json",
        &ControllerBeat {
            id: fleet(),
            hostname: "ops1".to_owned(),
            user: "alice".to_owned(),
            reported_at: time(0),
            writing: Some(Writing { cell: "n1/web".parse().unwrap(), since: time(0) }),
        },
    );
    golden_document(
        "deleting.json",
        &Deleting { marked_at: time(0), marked_by: alice(), manifest_sha256: Some(target().manifest_sha256) },
    );
    let entry = |stage| AuditEntry {
        id: ulid(),
        at: time(0),
        actor: alice(),
        source: "cli".to_owned(),
        host: "ops1".to_owned(),
        action: "publish".to_owned(),
        object: "cell/n1/web".to_owned(),
        before: Some("1.4.1".to_owned()),
        after: Some("1.4.2".to_owned()),
        reason: None,
        stage,
    };
    golden_document("audit-intent.json", &entry(AuditStage::Intent));
    let stage = AuditStage::Outcome { intent: ulid(), done: true, message: "generation 7".to_owned() };
    golden_document("audit-outcome.json", &entry(stage));
    golden_document(
        "outcome.json",
        &Outcome {
            fleet: fleet(),
            node: "n1".parse().unwrap(),
            cell: "web".parse().unwrap(),
            at: floor(),
            attempt: 1,
            action: "deploy".to_owned(),
            version: Some((&target()).into()),
            started_at: time(2),
            ended_at: time(5),
            outcome: Ending::RolledBack,
            known_good_after: None,
            running_after: Some((&target()).into()),
            code: Some(Code::ActivationFailed),
            message: Some("exit code 1".to_owned()),
            files_fetched: 2,
            files_reused: 1,
            bytes_fetched: 22,
        },
    );
    golden_document("heartbeat.json", &heartbeat());
    golden_document("heartbeat-processes.json", &heartbeat_with_processes());
}

fn heartbeat() -> Heartbeat {
    let version: VersionReport = (&target()).into();
    let web = CellReport {
        profile: Some("process".to_owned()),
        phase: Phase::Waiting,
        waiting: Some(Waiting { reason: Code::FileMissing, message: "bin/shop".to_owned(), since: time(3) }),
        seen: Some(floor()),
        applied: Some(floor()),
        action: Some("deploy".to_owned()),
        desired: Some(version.clone()),
        running: Some(version.clone()),
        known_good: Some(version),
        state: RunningState::Running { pid: Some(4321), since: Some(time(2)), restarts: 1 },
        processes: BTreeMap::new(),
        attempt: 2,
        last_error: Some(Fault { code: Code::FileMissing, message: "bin/shop".to_owned(), at: time(3) }),
        failed_content: vec![Sha256Digest::of(b"bad")],
        conditions: vec![Condition { code: Code::TriggerStale, message: "generation 6 lies below 7".to_owned() }],
    };
    let site = CellReport {
        profile: Some("deploy".to_owned()),
        phase: Phase::UpToDate,
        waiting: None,
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
        cells: BTreeMap::from([("site".parse().unwrap(), site), ("web".parse().unwrap(), web)]),
    }
}

/// What a heartbeat says of the processes of a cell, and as little as it can of everything else.
fn heartbeat_with_processes() -> Heartbeat {
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
    let processes = processes.into_iter().map(|(name, process)| (name.parse().unwrap(), process)).collect();
    let shop = CellReport { profile: Some("process".to_owned()), phase: Phase::Checking, state, processes, ..site };
    Heartbeat { cells: [("shop".parse().unwrap(), shop)].into(), conditions: vec![], store_error: None, ..heartbeat }
}

#[test]
fn signed_documents_stay_readable_and_verifiable() {
    let signer = Signer::Key(key(), Epoch::FIRST);
    let all_set = TriggerOptions { retry: true, force: true, override_windows: true, purge_data: false };
    let purge = TriggerOptions { purge_data: true, ..TriggerOptions::default() };
    for (name, trigger) in [
        ("trigger-deploy.json", trigger(Action::Deploy(target()), all_set)),
        ("trigger-stop.json", trigger(Action::Stop, TriggerOptions::default())),
        ("trigger-remove.json", trigger(Action::Remove, purge)),
    ] {
        let signed = sign(&trigger, &signer).unwrap();
        golden(name, signed.document());
        assert_eq!(*verify::<Trigger>(signed.document(), &trust()).unwrap(), trigger, "{name}");
    }
    let mut deployment = Deployment {
        requires: vec![],
        fleet: fleet(),
        manifest: "shop".parse().unwrap(),
        deployment: "20260102-030405-5d1f2a".parse().unwrap(),
        content_sha256: Sha256Digest::of(b""),
        created_at: time(0),
        created_by: alice(),
        note: None,
        files: vec![DeploymentFile {
            path: FilePath::new("bin/shop").unwrap(),
            size: 10,
            sha256: Sha256Digest::of(b"#!/bin/sh\n"),
            mode: Mode::EXECUTE,
        }],
    };
    deployment.content_sha256 = content_sha256(&deployment);
    let signed = sign(&deployment, &signer).unwrap();
    golden("deployment.json", signed.document());
    assert_eq!(*verify::<Deployment>(signed.document(), &trust()).unwrap(), deployment);
}

#[test]
fn an_index_holds_its_triggers_byte_for_byte() {
    let trigger = trigger(Action::Deploy(target()), TriggerOptions::default());
    let signed = sign(&trigger, &Signer::Key(key(), Epoch::FIRST)).unwrap();
    let raw = serde_json::from_slice(signed.document()).unwrap();
    let about = About {
        manifest: "shop".parse().unwrap(),
        labels: BTreeMap::from([("tier".to_owned(), "front".to_owned())]),
        paused: Some("frozen until monday".to_owned()),
    };
    let mut index = Index::empty("n1".parse().unwrap(), time(0));
    let web = "web".parse().unwrap();
    index.put(&web, &IndexEntry { trigger: Some(raw), about: Some(about.clone()) }).unwrap();
    let bytes = document::render(&index);
    golden("index.json", &bytes);
    let read = document::parse::<Index>(&bytes).unwrap().entry(&web).unwrap();
    assert_eq!(read.about, Some(about));
    let copy = verify::<Trigger>(read.trigger_bytes().unwrap(), &trust()).unwrap();
    assert_eq!(copy.signed_sha256(), signed.signed_sha256(), "the copy in the index verifies by itself");
}

/// Every key with placeholders for its names. The `match` makes a new key fail to build until it stands here.
fn key_patterns() -> Vec<(&'static str, ObjectKey)> {
    let cell = || "node/cell".parse().unwrap();
    let version = || "version".parse().unwrap();
    let content = Sha256Digest::of(b"").content16();
    let path = || FilePath::new("path").unwrap();
    let attempt = AttemptId { cell: cell(), floor: floor(), attempt: 1 };
    let keys = vec![
        ObjectKey::Fleet,
        ObjectKey::StoreReport,
        ObjectKey::Controller(fleet()),
        ObjectKey::ManifestYaml("manifest".parse().unwrap()),
        ObjectKey::DeploymentFile("manifest".parse().unwrap(), "deployment".parse().unwrap(), content, path()),
        ObjectKey::Deployment("manifest".parse().unwrap(), "deployment".parse().unwrap()),
        ObjectKey::CellYaml(cell()),
        ObjectKey::Override(cell(), path()),
        ObjectKey::VersionFile(cell(), version(), content, path()),
        ObjectKey::VersionPack(cell(), version(), ObjectPath::new("object").unwrap()),
        ObjectKey::VersionManifest(cell(), version()),
        ObjectKey::VersionDeleting(cell(), version()),
        ObjectKey::History(cell(), floor()),
        ObjectKey::Trigger(cell()),
        ObjectKey::Index("node".parse().unwrap()),
        ObjectKey::Heartbeat("node".parse().unwrap()),
        ObjectKey::AttemptLog(attempt.clone()),
        ObjectKey::Outcome(attempt),
        ObjectKey::Audit(time(0).date_naive(), ulid()),
        ObjectKey::Probe(ulid(), path()),
    ];
    keys.into_iter()
        .map(|key| {
            let pattern = match &key {
                ObjectKey::Fleet => "fleet.json",
                ObjectKey::StoreReport => "store.json",
                ObjectKey::Controller(_) => "controllers/<id>.json",
                ObjectKey::ManifestYaml(_) => "manifests/<manifest>/manifest.yaml",
                ObjectKey::DeploymentFile(..) => "deployments/<manifest>/<deployment>/files/<content16>/<path>",
                ObjectKey::Deployment(..) => "deployments/<manifest>/<deployment>/deployment.json",
                ObjectKey::CellYaml(_) => "cells/<node>/<cell>/cell.yaml",
                ObjectKey::Override(..) => "cells/<node>/<cell>/overrides/<path>",
                ObjectKey::VersionFile(..) => "cells/<node>/<cell>/versions/<version>/files/<content16>/<path>",
                ObjectKey::VersionPack(..) => "cells/<node>/<cell>/versions/<version>/<object>",
                ObjectKey::VersionManifest(..) => "cells/<node>/<cell>/versions/<version>/manifest.json",
                ObjectKey::VersionDeleting(..) => "cells/<node>/<cell>/versions/<version>/deleting.json",
                ObjectKey::History(..) => "cells/<node>/<cell>/history/<epoch>-<generation>.json",
                ObjectKey::Trigger(_) => "cells/<node>/<cell>/trigger.json",
                ObjectKey::Index(_) => "index/<node>.json",
                ObjectKey::Heartbeat(_) => "agents/<node>.json",
                ObjectKey::AttemptLog(_) => "logs/<node>/<cell>/<epoch>-<generation>-<attempt>.log",
                ObjectKey::Outcome(_) => "logs/<node>/<cell>/<epoch>-<generation>-<attempt>.json",
                ObjectKey::Audit(..) => "audit/<yyyy-mm-dd>/<ulid>.json",
                ObjectKey::Probe(..) => "probes/<ulid>/<path>",
            };
            (pattern, key)
        })
        .collect()
}

#[test]
fn the_patterns_are_what_the_code_renders() {
    for (pattern, key) in key_patterns() {
        let mut rendered = key.relative();
        for (value, name) in [
            ("0001-0000000000000007-0001", "<epoch>-<generation>-<attempt>"),
            ("0001-0000000000000007", "<epoch>-<generation>"),
            (&ulid().to_string(), "<ulid>"),
            (&fleet().to_string(), "<id>"),
            (&Sha256Digest::of(b"").content16().to_string(), "<content16>"),
            ("2026-01-02", "<yyyy-mm-dd>"),
            ("/node/cell", "/<node>/<cell>"),
            ("index/node", "index/<node>"),
            ("agents/node", "agents/<node>"),
            ("manifests/manifest", "manifests/<manifest>"),
            ("deployments/manifest/deployment", "deployments/<manifest>/<deployment>"),
            ("versions/version", "versions/<version>"),
            ("/path", "/<path>"),
            ("/object", "/<object>"),
        ] {
            rendered = rendered.replace(value, name);
        }
        assert_eq!(rendered, pattern);
    }
}

fn key_table() -> String {
    let mut table = String::from("| key | write rule | media type |\n|---|---|---|\n");
    for (pattern, key) in key_patterns() {
        let rule = match key.write_rule() {
            WriteRule::CreateOnce => "create-once",
            WriteRule::ReplaceIfUnchanged => "replace-if-unchanged",
            WriteRule::PutOwn => "put-own",
            WriteRule::Harmless => "harmless to repeat",
            WriteRule::Replace => "replace",
        };
        writeln!(table, "| `{pattern}` | {rule} | `{}` |", key.content_type()).unwrap();
    }
    table
}

fn code_table() -> String {
    let mut table = String::from("| code | meaning |\n|---|---|\n");
    for (code, meaning) in Code::ALL {
        writeln!(table, "| `{code}` | {meaning} |").unwrap();
    }
    table
}

/// The page's generated parts: between `<!-- begin NAME -->` and `<!-- end NAME -->`.
fn generated() -> Vec<(String, String)> {
    let mut parts = vec![("keys".to_owned(), key_table()), ("codes".to_owned(), code_table())];
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root().join("tests/golden")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "json")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        parts.push((name, format!("```json\n{text}```\n")));
    }
    parts
}

#[test]
fn the_format_page_shows_every_key_code_and_document_as_it_is() {
    let path = root().join("docs/FORMAT.md");
    let mut page = std::fs::read_to_string(&path).unwrap();
    for (name, text) in generated() {
        let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
        let start = page.find(&begin).unwrap_or_else(|| panic!("docs/FORMAT.md has no part {name}")) + begin.len();
        let stop = start + page[start..].find(&end).unwrap_or_else(|| panic!("part {name} does not end"));
        if updating() {
            page.replace_range(start..stop, &text);
        } else {
            assert_eq!(page[start..stop], text, "part {name} of docs/FORMAT.md is stale: see the top of this test");
        }
    }
    if updating() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_fields_are_explained(&page, &path);
}

/// Each field of each document is named in the page's prose, outside the samples.
fn assert_fields_are_explained(page: &str, path: &Path) {
    let prose: String = page.split("```json").enumerate().fold(String::new(), |mut prose, (at, part)| {
        prose.push_str(if at == 0 { part } else { part.split_once("```").map_or("", |(_, rest)| rest) });
        prose
    });
    for (name, text) in generated().iter().filter(|(name, _)| name.ends_with(".json")) {
        let json = text.trim_start_matches("```json\n").trim_end_matches("```\n");
        let mut fields = Vec::new();
        collect_fields(&serde_json::from_str(json).unwrap(), &mut fields);
        for field in fields {
            assert!(
                prose.contains(&format!("`{field}`")),
                "{}: field {field} of {name} is not explained",
                path.display()
            );
        }
    }
}

/// Names that people chose, rather than fields.
const CHOSEN: [&str; 9] = ["web", "site", "shop", "cache", "migrate", "region", "tier", "POOL", "TOKEN"];

fn collect_fields(value: &serde_json::Value, fields: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            for (name, value) in map {
                if !CHOSEN.contains(&name.as_str()) {
                    fields.push(name.clone());
                }
                collect_fields(value, fields);
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect_fields(item, fields)),
        _ => {}
    }
}
