//! A fleet of any size in a bucket: what its agents say and what they are to run, signed, as a controller and agents
//! would have written it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use fleetman::clock::SystemClock;
use fleetman::model::heartbeat::{
    CellReport, Fault, Heartbeat, HostFacts, Phase, ProcessReport, ProcessState, RunningState, SigningMode,
    VersionReport,
};
use fleetman::model::index::{About, Index, IndexEntry};
use fleetman::model::sign::sign;
use fleetman::model::trigger::{Action, Target, Trigger, TriggerOptions};
use fleetman::model::{
    CellName, Code, Epoch, Floor, Generation, ManifestName, NodeName, ObjectKey, Sha256Digest, UserName, VersionName,
    document,
};
use futures_util::{StreamExt as _, stream};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::support::acme::Acme;
use crate::support::fleet::{FLEET, KEY};

/// So many objects are written at once.
const WRITES: usize = 32;

const REGIONS: [&str; 5] = ["eu-west", "eu-central", "eu-north", "us-east", "us-west"];

/// What a cell is made of, by its place on its node.
const MANIFESTS: [&str; 5] = ["site", "api", "worker", "cache", "metrics"];

/// How many nodes, and how many cells each has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) nodes: usize,
    pub(crate) cells: usize,
}

impl Crowd {
    /// Writes all of it.
    pub(crate) async fn write(self, acme: &Acme) {
        let now = SystemClock::shared().now();
        let objects = (0..self.nodes).flat_map(|node| {
            [(index_key(node), self.index(node, now)), (heartbeat_key(node), self.heartbeat(node, 1, now))]
        });
        put(acme, objects).await;
    }

    /// Some nodes report again.
    pub(crate) async fn beat(self, acme: &Acme, nodes: impl Iterator<Item = usize>, sequence: u64) {
        let now = SystemClock::shared().now();
        put(acme, nodes.map(|node| (heartbeat_key(node), self.heartbeat(node, sequence, now)))).await;
    }

    fn index(self, node: usize, now: DateTime<Utc>) -> Vec<u8> {
        let mut index = Index::empty(node_name(node), now);
        for cell in 0..self.cells {
            let (name, version, target) = desired(node, cell);
            let trigger = Trigger {
                requires: Vec::new(),
                fleet: FLEET,
                node: node_name(node),
                cell: name.clone(),
                generation: Generation::new(7).unwrap(),
                action: Action::Deploy(target),
                options: TriggerOptions::default(),
                issued_at: now - TimeDelta::seconds(i64::try_from(node * 5 + cell).unwrap()),
                issued_by: UserName::new(["alice", "bob", "ci"][node % 3]).unwrap(),
                reason: node.is_multiple_of(4).then(|| format!("release {version}")),
            };
            let signed = sign(&trigger, &KEY.signer()).unwrap();
            let trigger = RawValue::from_string(String::from_utf8(signed.document().to_vec()).unwrap()).unwrap();
            let labels =
                [("region", REGIONS[node % REGIONS.len()]), ("tier", if cell == 0 { "front" } else { "back" })];
            let about = About {
                manifest: ManifestName::new(MANIFESTS[cell % MANIFESTS.len()]).unwrap(),
                labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
                paused: (node % 500 == 3).then(|| "the database moves".to_owned()),
                has_overrides: node.is_multiple_of(10),
            };
            index.put(&name, &IndexEntry { trigger: Some(trigger), about: Some(about) }).unwrap();
        }
        document::render(&index)
    }

    fn heartbeat(self, node: usize, sequence: u64, now: DateTime<Utc>) -> Vec<u8> {
        let cells: BTreeMap<CellName, Box<CellReport>> = (0..self.cells)
            .map(|cell| {
                let (name, _, target) = desired(node, cell);
                (name, Box::new(report(node, cell, &target, now)))
            })
            .collect();
        let gib = |count: usize| u64::try_from(count).unwrap() << 30;
        document::render(&Heartbeat {
            node: node_name(node),
            fleet: FLEET,
            agent_version: if node.is_multiple_of(50) { "0.9.4" } else { "1.0.0" }.to_owned(),
            instance_id: Uuid::from_u128(u128::try_from(node).unwrap()),
            boot_id: Some("6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10".to_owned()),
            sequence,
            started_at: now - TimeDelta::days(3),
            reported_at: now,
            // Nobody falls silent while it is measured.
            interval_secs: 3_600,
            signing: SigningMode::Signed,
            host: HostFacts {
                hostname: format!("{}.example.org", node_name(node)),
                os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
                kernel: "6.1.0-30-amd64".to_owned(),
                arch: "x86_64".to_owned(),
                cpus: 4,
                memory_bytes: gib(8),
                memory_available_bytes: gib(node % 8),
                disk_bytes: gib(80),
                disk_free_bytes: gib(node % 80),
                load_1m: f64::from(u32::try_from(node % 700).unwrap()) / 100.0,
                addresses: vec![format!("10.{}.{}.{}", node / 65_536, node / 256 % 256, node % 256)],
            },
            labels: [("region", REGIONS[node % REGIONS.len()]), ("rack", ["a", "b", "c"][node % 3])]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            clock_skew_ms: Some(if node % 900 == 5 { 95_000 } else { 12 }),
            store_error: None,
            hold: None,
            windows: None,
            conditions: Vec::new(),
            cells,
        })
    }
}

/// Writes objects as they are.
pub(crate) async fn put(acme: &Acme, objects: impl Iterator<Item = (ObjectKey, Vec<u8>)>) {
    stream::iter(objects)
        .map(async |(key, bytes)| acme.put(&key.relative(), bytes).await)
        .buffer_unordered(WRITES)
        .collect::<()>()
        .await;
}

fn node_name(node: usize) -> NodeName {
    NodeName::new(format!("node-{node:05}")).unwrap()
}

fn heartbeat_key(node: usize) -> ObjectKey {
    ObjectKey::Heartbeat(node_name(node))
}

fn index_key(node: usize) -> ObjectKey {
    ObjectKey::Index(node_name(node))
}

/// A cell's name, its version, and what that is.
fn desired(node: usize, cell: usize) -> (CellName, String, Target) {
    let name = CellName::new(MANIFESTS[cell % MANIFESTS.len()]).unwrap();
    let version = format!("2026.11.{}", node % 9);
    let target = Target {
        version: VersionName::new(version.as_str()).unwrap(),
        manifest_sha256: Sha256Digest::of(format!("{node}/{cell}").as_bytes()),
        manifest_size: 812,
        content_sha256: Sha256Digest::of(version.as_bytes()),
    };
    (name, version, target)
}

fn report(node: usize, cell: usize, target: &Target, now: DateTime<Utc>) -> CellReport {
    let place = node * 7 + cell;
    let phase = match place % 1_000 {
        0..5 => Phase::Failed,
        5..15 => Phase::RolledBack,
        15..40 => Phase::Fetching,
        _ => Phase::UpToDate,
    };
    let at = Floor::new(Epoch::FIRST, Generation::new(7).unwrap());
    let version = Some(VersionReport::from(target));
    let is_well = phase == Phase::UpToDate;
    let message = "main ended with exit code 3, three times in 9 s".to_owned();
    let since = Some(now - TimeDelta::hours(9));
    let process = ProcessReport {
        state: ProcessState::Running,
        pid: Some(812),
        since,
        restarts: 0,
        exit_code: None,
        exit_signal: None,
        reason: None,
    };
    CellReport {
        profile: Some("process".to_owned()),
        phase,
        hold: None,
        waiting: None,
        seen: Some(at),
        applied: is_well.then_some(at),
        action: Some("deploy".to_owned()),
        desired: version.clone(),
        running: version.clone(),
        known_good: version,
        state: match phase {
            Phase::Failed => RunningState::Failed { reason: message.clone() },
            _ => RunningState::Running { pid: Some(812), since, restarts: 0 },
        },
        processes: BTreeMap::from([("main".parse().unwrap(), Box::new(process))]),
        health: None,
        drift: None,
        attempt: 1,
        last_error: (!is_well).then_some(Fault { code: Code::Unhealthy, message, at: now }),
        failed_content: Vec::new(),
        conditions: Vec::new(),
    }
}
