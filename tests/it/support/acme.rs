//! A fleet in which everything has happened once: versions, rollbacks, failures, dead nodes, pauses. What its nodes
//! say was written by this file, at the times that it tells of; everything else was written by a controller.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use chrono::{DateTime, TimeDelta, Utc};
use fleetman::clock::Clock as _;
use fleetman::controller::{
    Actor, Controller, ControllerSettings, Guard, Known, PublishRequest, Published, RollbackRequest, StopRequest,
    UploadOptions,
};
use fleetman::embedded::{Options, Server};
use fleetman::model::alert::{
    Acknowledgement, Alert, AlertKind, AlertSubject, Alerts, FinishedDelivery, Severity, Silence, SilenceScope,
};
use fleetman::model::answer::{Answer, AnswerState, LogLine};
use fleetman::model::heartbeat::{
    CellReport, Condition, Fault, Heartbeat, HostFacts, Phase, ProcessReport, ProcessState, RunningState, SigningMode,
    VersionReport, Waiting,
};
use fleetman::model::keys::AttemptId;
use fleetman::model::order::{LogQuery, Order, OrderAction};
use fleetman::model::outcome::{Ending, Outcome};
use fleetman::model::trigger::{Target, TriggerOptions};
use fleetman::model::window::Windows;
use fleetman::model::{CellId, Code, FilePath, ManifestName, NodeName, ObjectKey, Prefix, UserName, document, sign};
use tempfile::TempDir;
use ulid::Ulid;
use uuid::Uuid;

use super::fleet::{FLEET, KEY, TestClock};
use super::{ACCESS_KEY, BUCKET, SECRET_KEY, bucket, options};

const SITE: &str = "\
# The company's site, as files that a web server of the node reads.
name: site
description: The company's web site
files:
  - glob: \"**\"
  - path: index.html
    template: true
vars:
  title: Welcome
labels: {team: web}
profile:
  deploy: {}
";

const API: &str = "\
name: api
description: The public API
files:
  - path: bin/api
    mode: \"0755\"
  - path: etc/api.toml
    template: true
vars:
  port: 8080
labels: {team: core}
profile:
  process:
    command: [bin/api, --listen, \"127.0.0.1:{{ vars.port }}\"]
    env:
      LOG_LEVEL: info
      TOKEN: {from_file: /etc/api/token}
limits:
  memory: 512MiB
";

const NODES: [(&str, &str); 7] = [
    ("ams-1", "eu-west"),
    ("ams-2", "eu-west"),
    ("ber-1", "eu-central"),
    ("ber-2", "eu-central"),
    ("osl-1", "eu-north"),
    ("par-1", "eu-west"),
    ("par-2", "eu-west"),
];

/// The order for what `ams-1/api` writes.
pub(crate) const ASKED: &str = "01KDYWXAC3ZZZZZZZZZZZZZZZZ";

/// The order that holds `ber-2`, which nobody has taken yet; and one for its cell.
pub(crate) const HELD: [&str; 2] = ["01KDYWXAC4ZZZZZZZZZZZZZZZZ", "01KDYWXAC5ZZZZZZZZZZZZZZZZ"];

/// The fleet, in a bucket of its own.
pub(crate) struct Acme {
    // Before its folder.
    server: Option<Server>,
    endpoint: String,
    folder: TempDir,
    clock: Arc<TestClock>,
    controller: Controller,
    client: Client,
}

impl Acme {
    /// A bucket that was only marked as this fleet's.
    pub(crate) async fn empty() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), TestClock::shared());
        let server = Server::start_at(options(&folder.path().join("store")), clock.clone()).await.unwrap();
        let endpoint = server.endpoint();
        let settings = ControllerSettings {
            store: bucket::connect(bucket::settings(&endpoint)).await,
            fleet: FLEET,
            signer: KEY.signer(),
            trust: KEY.trust(),
            actor: by("alice"),
            controller_id: fleetman::entropy::uuid().unwrap(),
            lock_timeout: ControllerSettings::LOCK_TIMEOUT,
        };
        let controller = Controller::new(settings, clock.clone());
        let client = super::client(&endpoint);
        let acme = Self { server: Some(server), endpoint, folder, clock, controller, client };
        acme.at(TimeDelta::days(3));
        acme.controller.init().await.unwrap();
        acme.clock.go_back(TimeDelta::zero());
        acme
    }

    /// The fleet with everything that happened in it.
    pub(crate) async fn full() -> Self {
        let acme = Self::empty().await;
        acme.live().await;
        acme.clock.go_back(TimeDelta::zero());
        acme
    }

    /// Writes the config of a controller of this fleet into a folder.
    pub(crate) fn configure(&self, folder: &Path) {
        self.configure_at(folder, &self.endpoint);
    }

    /// Where its bucket is reached.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The same with a bucket that is reached at `endpoint`.
    pub(crate) fn configure_at(&self, folder: &Path, endpoint: &str) {
        std::fs::write(folder.join("signing.key"), KEY.private().to_file_text()).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(folder.join("signing.key"), private).unwrap();
        let config = format!(
            "buckets:\n  - name: acme\n    fleet: {FLEET}\n    bucket: {BUCKET}\n    prefix: prod/eu\n    \
             endpoint: {endpoint}\n    region: us-east-1\n    access_key: {ACCESS_KEY}\n    secret_key: {SECRET_KEY}\n    \
             signing_key_file: signing.key\nuser: alice\nstate_folder: state\n"
        );
        let path = folder.join("controller_config.yaml");
        std::fs::write(&path, config).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, private).unwrap();
    }

    /// Puts an object into the bucket as whoever has rights to it could.
    pub(crate) async fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        let key = Prefix::new("prod/eu").unwrap().join(key);
        self.client.put_object().bucket(BUCKET).key(key).body(ByteStream::from(bytes.into())).send().await.unwrap();
    }

    /// What an object holds.
    pub(crate) async fn get(&self, key: &str) -> Vec<u8> {
        let key = Prefix::new("prod/eu").unwrap().join(key);
        let got = self.client.get_object().bucket(BUCKET).key(key).send().await.unwrap();
        got.body.collect().await.unwrap().to_vec()
    }

    /// Ends the bucket's server; what it stored stays.
    pub(crate) async fn stop_store(&mut self) {
        self.server.take().unwrap().shutdown().await;
    }

    /// Starts it again, at the same address.
    pub(crate) async fn start_store(&mut self) {
        let listen = self.endpoint.strip_prefix("http://").unwrap().parse().unwrap();
        let options = Options { listen, ..options(&self.folder.path().join("store")) };
        self.server = Some(Server::start_at(options, self.clock.clone()).await.unwrap());
    }

    /// A node is heard of that has no cells.
    pub(crate) async fn beat_anew(&self, node: &str) {
        self.beat(node, "eu-west", &Past::new(), &Past::new()).await;
    }

    /// What writes the fleet, for whoever is to have another reason or note.
    pub(crate) fn controller(&self) -> &Controller {
        &self.controller
    }

    /// What happens from now on happened so long ago.
    fn at(&self, ago: TimeDelta) {
        self.clock.go_back(ago);
    }

    fn acting(&self, user: &str) -> Controller {
        self.controller.acting_as(by(user))
    }

    async fn live(&self) {
        self.at(TimeDelta::days(2));
        let alice = self.acting("alice");
        alice.put_manifest(&manifest("site"), SITE, &Known::Absent).await.unwrap();
        alice.put_manifest(&manifest("api"), API, &Known::Absent).await.unwrap();
        let first = [("index.html", "<h1>{{ vars.title }}</h1>\n"), ("robots.txt", "User-agent: *\n")];
        self.upload("site", "r1", &first, None).await;
        self.upload(
            "api",
            "1.4.1",
            &[("bin/api", "#!/bin/sh\nsleep 9\n"), ("etc/api.toml", "port = {{ vars.port }}\n")],
            None,
        )
        .await;
        let mut past = BTreeMap::new();
        for (node, region) in NODES.into_iter().chain([("lab-1", "lab")]) {
            for of in ["site", "api"] {
                let id = cell(node, of);
                let text = format!("cell: {id}\nmanifest: {of}\nlabels: {{region: {region}}}\n");
                alice.put_cell(&id, &text, &Known::Absent).await.unwrap();
                let published = self.publish("alice", &id, if of == "site" { "r1" } else { "1.4.1" }, "first").await;
                self.attempt(&published, Ending::Succeeded, None).await;
                past.insert(id, published);
            }
        }
        let first = past.clone();

        self.at(TimeDelta::hours(5));
        let second = [("index.html", "<h1>{{ vars.title }}!</h1>\n"), ("news.html", "<p>News\n")];
        self.upload("site", "r2", &second, None).await;
        let banner = FilePath::new("banner.html").unwrap();
        let bytes = b"<p>Open until eight\n".to_vec().into();
        self.acting("bob").put_override(&cell("ams-1", "site"), &banner, bytes, &Known::Absent).await.unwrap();
        for node in ["ams-1", "ams-2", "par-1"] {
            let id = cell(node, "site");
            let published = self.publish("bob", &id, "r2", "the new front page").await;
            self.attempt(&published, Ending::Succeeded, None).await;
            past.insert(id, published);
        }

        self.at(TimeDelta::minutes(50));
        let id = cell("par-1", "site");
        let back = RollbackRequest {
            cell: id.clone(),
            to: Some("r1".parse().unwrap()),
            reason: Some("the front page is blank in Safari".to_owned()),
            options: TriggerOptions::default(),
        };
        let back = self.acting("bob").rollback(&back, &Guard::default()).await.unwrap();
        self.attempt(&back, Ending::Succeeded, None).await;
        past.insert(id, back);
        let stop = StopRequest { cell: cell("par-2", "site"), reason: Some("moved to par-1".to_owned()) };
        let stopped = self.acting("alice").stop(&stop, &Guard::default()).await.unwrap();
        self.attempt(&stopped, Ending::Succeeded, None).await;
        past.insert(stop.cell, stopped);
        self.acting("carol")
            .pause(&cell("par-2", "api"), "the database moves on Sunday", &Known::Anything)
            .await
            .unwrap();

        self.at(TimeDelta::minutes(6));
        self.upload(
            "api",
            "1.4.2",
            &[("bin/api", "#!/bin/sh\nexit 3\n"), ("etc/api.toml", "port = {{ vars.port }}\n")],
            None,
        )
        .await;
        for node in ["ams-2", "ber-1", "par-1"] {
            let id = cell(node, "api");
            let published = self.publish("carol", &id, "1.4.2", "a larger pool").await;
            if node == "ber-1" {
                let why = (Code::Unhealthy, "main ended with exit code 3, three times in 9 s");
                self.attempt(&published, Ending::RolledBack, Some(why)).await;
            }
            past.insert(id, published);
        }
        for (node, region) in NODES {
            self.beat(node, region, &first, &past).await;
        }
        self.tell().await;
        self.answer().await;
        self.hold().await;
    }

    /// Somebody holds a node and a cell, and it lies there.
    async fn hold(&self) {
        let now = self.clock.now();
        let site = cell("ber-2", "site");
        for (id, cell) in HELD.into_iter().zip([None, Some(site.cell)]) {
            let order = Order {
                requires: Vec::new(),
                fleet: FLEET,
                node: site.node.clone(),
                cell,
                id: id.parse().unwrap(),
                action: OrderAction::Hold,
                issued_at: now - TimeDelta::seconds(20),
                expires_at: now + TimeDelta::hours(2),
                issued_by: "bob".parse().unwrap(),
                reason: Some("the disk is being replaced".to_owned()),
            };
            let signed = sign::sign(&order, &KEY.signer()).unwrap();
            self.put(&ObjectKey::Request(site.node.clone(), order.id).relative(), signed.document()).await;
        }
    }

    /// What `ams-1` answered to [`ASKED`].
    async fn answer(&self) {
        let now = self.clock.now();
        let api = cell("ams-1", "api");
        let order = Order {
            requires: Vec::new(),
            fleet: FLEET,
            node: api.node.clone(),
            cell: Some(api.cell.clone()),
            id: ASKED.parse().unwrap(),
            action: OrderAction::Logs(LogQuery { grep: Some("GET".to_owned()), ..LogQuery::last(100) }),
            issued_at: now - TimeDelta::minutes(1),
            expires_at: now,
            issued_by: "bob".parse().unwrap(),
            reason: None,
        };
        let signed = sign::sign(&order, &KEY.signer()).unwrap();
        self.put(&ObjectKey::Request(api.node.clone(), order.id).relative(), signed.document()).await;
        let mut chunk = String::new();
        for (number, process) in ["main", "main-b"].into_iter().enumerate() {
            let text = format!("GET /orders/{number} 200 4 ms");
            LogLine { at: Some(now), process: Some(process.to_owned()), text }.render(&mut chunk);
        }
        let answer = Answer {
            fleet: FLEET,
            node: api.node.clone(),
            cell: api.cell,
            order: order.id,
            state: AnswerState::Time,
            started_at: now,
            written_at: now,
            chunks: 1,
            lines: 2,
            bytes: chunk.len() as u64,
            lost_bytes: 17,
            code: None,
            message: None,
            notes: vec!["not everything could be read in 120 s".to_owned()],
        };
        self.put(&ObjectKey::Answer(api.node.clone(), order.id).relative(), document::render(&answer)).await;
        self.put(&ObjectKey::AnswerChunk(api.node, order.id, 1).relative(), chunk).await;
    }

    /// Who was told of what, and of what nobody is told.
    async fn tell(&self) {
        let now = self.clock.now();
        let ago = |minutes| now - TimeDelta::minutes(minutes);
        let about = "1 rolled back".to_owned();
        let silence = Silence {
            id: Ulid::from_string("01KDYWXAC0ZZZZZZZZZZZZZZZZ").unwrap(),
            scope: SilenceScope { node: Some("lab-1".parse().unwrap()), ..SilenceScope::default() },
            by: "carol".parse().unwrap(),
            reason: "it is being rebuilt".to_owned(),
            created_at: ago(50),
            until: now + TimeDelta::days(3),
        };
        let finished = |id: u128, receiver: &str, problem: Option<&str>| FinishedDelivery {
            id: Ulid(id),
            receiver: receiver.to_owned(),
            about: about.clone(),
            at: ago(4),
            tries: if problem.is_some() { 7 } else { 1 },
            problem: problem.map(str::to_owned),
        };
        let open = Alert {
            kind: AlertKind::HealthFailing,
            // Nothing is heard of its node, so it stays as it is.
            subject: AlertSubject::Cell(cell("osl-1", "site")),
            severity: Severity::Warning,
            message: "the cell is degraded".to_owned(),
            labels: BTreeMap::new(),
            since: ago(50),
            opened_at: ago(49),
            sequence: 1,
            returns: 0,
            silenced: false,
            told: false,
            acknowledged: Some(Acknowledgement {
                by: "carol".parse().unwrap(),
                note: "somebody is on the way to it".to_owned(),
                at: ago(40),
                sequence: 2,
            }),
        };
        let alerts = Alerts {
            sequence: 2,
            open: vec![open],
            silences: vec![silence],
            finished: vec![finished(1, "chat", None), finished(2, "on-call", Some("it answered 403 Forbidden"))],
            ..Alerts::default()
        };
        self.put(&ObjectKey::Alerts.relative(), document::render(&alerts)).await;
    }

    /// Uploads a release of these files, with what its maker says of it.
    pub(crate) async fn upload(&self, name: &str, release: &str, files: &[(&str, &str)], note: Option<&str>) {
        let folder = self.folder.path().join("releases").join(name).join(release);
        for (path, text) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let options = UploadOptions { note: note.map(str::to_owned), ..UploadOptions::default() };
        let release = release.parse().unwrap();
        let controller = self.acting("ci");
        controller.upload(&manifest(name), Some(&release), &folder, &options, &|_| {}).await.unwrap();
    }

    async fn publish(&self, user: &str, cell: &CellId, release: &str, reason: &str) -> Published {
        let request = PublishRequest {
            deployment: Some(release.parse().unwrap()),
            version: Some(release.parse().unwrap()),
            reason: Some(reason.to_owned()),
            ..PublishRequest::new(cell.clone())
        };
        self.acting(user).publish(&request, &Guard::default()).await.unwrap()
    }

    /// What a node tells of an attempt: how it ended, and its log.
    async fn attempt(&self, published: &Published, outcome: Ending, why: Option<(Code, &str)>) {
        let now = self.clock.now();
        let version = published.target.as_ref().map(VersionReport::from);
        let id = AttemptId { cell: published.cell.clone(), floor: published.at, attempt: 1 };
        let told = Outcome {
            fleet: FLEET,
            node: published.cell.node.clone(),
            cell: published.cell.cell.clone(),
            at: published.at,
            attempt: 1,
            action: published.action.clone(),
            version: version.clone(),
            started_at: now,
            ended_at: now + TimeDelta::seconds(4),
            outcome,
            known_good_after: version.clone(),
            running_after: version,
            code: why.map(|(code, _)| code),
            message: why.map(|(_, message)| message.to_owned()),
            files_fetched: 2,
            files_reused: 0,
            bytes_fetched: 44,
        };
        self.put(&ObjectKey::Outcome(id.clone()).relative(), document::render(&told)).await;
        let line = |secs, text: &str| {
            let at = now + TimeDelta::seconds(secs);
            format!("{} {text}\n", at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
        };
        let mut log = line(0, "fetching 2 files, 44 bytes") + &line(1, "verified") + &line(1, "activated");
        log += &line(4, why.map_or("healthy", |(_, message)| message));
        self.put(&ObjectKey::AttemptLog(id).relative(), log).await;
    }

    /// What a node says of itself, when it was heard of last.
    async fn beat(&self, node: &str, region: &str, first: &Past, past: &Past) {
        // An Active one stays so for as long as any test takes.
        let (ago, interval_secs) = match node {
            "osl-1" => (TimeDelta::minutes(14), 60),
            "ber-2" => (TimeDelta::minutes(65), 1_800),
            _ => (TimeDelta::seconds(9), 1_800),
        };
        self.at(ago);
        let now = self.clock.now();
        let was = |of: &str| first[&cell(node, of)].target.as_ref().unwrap();
        let mut cells = BTreeMap::new();
        for of in ["site", "api"] {
            let Some(wish) = past.get(&cell(node, of)) else { continue };
            let target = wish.target.as_ref().unwrap_or_else(|| was(of));
            let mut report = running(wish, target, of, now);
            match (node, of) {
                ("par-2", "site") => (report.phase, report.state) = (Phase::Stopped, RunningState::Stopped),
                ("ams-2", "api") => {
                    report = CellReport { seen: Some(wish.at), ..running(&first[&cell(node, of)], was(of), of, now) };
                    report.phase = Phase::Fetching;
                }
                ("ber-1", "api") => {
                    report.phase = Phase::RolledBack;
                    report.running = Some(VersionReport::from(was(of)));
                    report.known_good.clone_from(&report.running);
                    report.failed_content = vec![target.content_sha256];
                    let message = "main ended with exit code 3, three times in 9 s".to_owned();
                    report.last_error = Some(Fault { code: Code::Unhealthy, message, at: now });
                }
                ("par-1", "api") => {
                    report.phase = Phase::Waiting;
                    report.running = Some(VersionReport::from(was(of)));
                    let message = "/etc/api/token is not there".to_owned();
                    report.waiting = Some(Waiting { reason: Code::SecretMissing, message, since: now, until: None });
                    report.state = RunningState::Failed { reason: "the value of TOKEN cannot be read".to_owned() };
                    let reason = Some("it cannot be started".to_owned());
                    let failed = ProcessReport { state: ProcessState::Failed, pid: None, reason, ..process(now) };
                    report.processes = BTreeMap::from([("main".parse().unwrap(), Box::new(failed))]);
                }
                _ => {}
            }
            cells.insert(of.parse().unwrap(), Box::new(report));
        }
        let name = NodeName::new(node).unwrap();
        let beat = Heartbeat {
            node: name.clone(),
            fleet: FLEET,
            agent_version: if node == "osl-1" { "0.0.9" } else { "0.1.0" }.to_owned(),
            instance_id: Uuid::from_u128(node.len() as u128),
            boot_id: Some("6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10".to_owned()),
            sequence: 4711,
            started_at: now - TimeDelta::days(2),
            reported_at: now,
            interval_secs,
            signing: SigningMode::Signed,
            host: HostFacts {
                hostname: format!("{node}.acme.example"),
                os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
                kernel: "6.1.0-30-amd64".to_owned(),
                arch: "x86_64".to_owned(),
                cpus: 4,
                memory_bytes: 8 << 30,
                memory_available_bytes: 5 << 30,
                disk_bytes: 80 << 30,
                disk_free_bytes: if node == "par-1" { 2 << 30 } else { 51 << 30 },
                load_1m: 0.42,
                addresses: vec!["10.1.4.7".to_owned(), "2001:db8::4:7".to_owned()],
            },
            labels: BTreeMap::from([("region".to_owned(), region.to_owned())]),
            clock_skew_ms: Some(if node == "ber-2" { 93_000 } else { 12 }),
            store_error: None,
            hold: None,
            windows: windows(node).map(Box::new),
            conditions: if node == "par-1" { vec![disk()] } else { Vec::new() },
            cells,
        };
        self.put(&ObjectKey::Heartbeat(name).relative(), document::render(&beat)).await;
    }
}

type Past = BTreeMap<CellId, Published>;

fn disk() -> Condition {
    Condition { code: Code::DiskFull, message: "2 GiB are free below /var/lib/fleetman, 4 GiB are kept".to_owned() }
}

fn process(now: DateTime<Utc>) -> ProcessReport {
    let since = Some(now - TimeDelta::hours(5));
    let (exit_code, exit_signal) = (None, None);
    ProcessReport {
        state: ProcessState::Running,
        pid: Some(812),
        since,
        restarts: 0,
        exit_code,
        exit_signal,
        reason: None,
    }
}

fn running(wish: &Published, target: &Target, of: &str, now: DateTime<Utc>) -> CellReport {
    let version = Some(VersionReport::from(target));
    let is_process = of == "api";
    CellReport {
        profile: Some(if is_process { "process" } else { "deploy" }.to_owned()),
        phase: Phase::UpToDate,
        hold: None,
        waiting: None,
        seen: Some(wish.at),
        applied: Some(wish.at),
        action: Some(wish.action.clone()),
        desired: wish.target.as_ref().map(VersionReport::from),
        running: version.clone(),
        known_good: version,
        state: match is_process {
            true => RunningState::Running { pid: Some(812), since: Some(now - TimeDelta::hours(5)), restarts: 0 },
            false => RunningState::NotApplicable,
        },
        processes: if is_process {
            BTreeMap::from([("main".parse().unwrap(), Box::new(process(now)))])
        } else {
            BTreeMap::new()
        },
        health: None,
        drift: None,
        attempt: 1,
        last_error: None,
        failed_content: Vec::new(),
        conditions: Vec::new(),
    }
}

fn by(user: &str) -> Actor {
    let (user, source) = (UserName::new(user).unwrap(), "cli".to_owned());
    Actor { host: format!("{user}-laptop"), user, source, reason: None }
}

fn cell(node: &str, cell: &str) -> CellId {
    format!("{node}/{cell}").parse().unwrap()
}

fn manifest(name: &str) -> ManifestName {
    ManifestName::new(name).unwrap()
}

/// The maintenance windows of a node's own config; an old agent says nothing of them.
fn windows(node: &str) -> Option<Windows> {
    let text = match node {
        "osl-1" => return None,
        "ber-1" => r#"{"activate": [{"allow": "0 2 1 1 *", "for_secs": 60, "time_zone": "Europe/Berlin"}]}"#,
        _ => "{}",
    };
    Some(serde_json::from_str(text).unwrap())
}
