//! The node of a sequence: a machine with an agent, and what can be seen of its cell from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use fleetman::model::document;
use fleetman::model::heartbeat::{CellReport, Heartbeat};
use fleetman::model::{CellId, CellName, NodeName, Sha256Digest};
use serde_json::Value;

use super::model::{Content, Seen};
use crate::support::fleet::{Bench, FLEET, KEY};
use crate::support::machine::{Machine, Program};
use crate::support::{ACCESS_KEY, BUCKET, SECRET_KEY, holds_in_time};

const AGENT: &str = env!("CARGO_BIN_EXE_fleetagent");

/// The file of every release.
const PAGE: (&str, &str) = ("page", "one for all");

/// It says something at every request, so also when it is idle.
const LOGS: &str = "info,aws_smithy_runtime::client::orchestrator=debug";

const MANIFEST: &str = "\
name: site
vars: {line: exit 1}
profile:
  process:
    command: [/bin/sh, -c, \"{{ vars.line }}\"]
    restart: {delay: 10ms}
    stop: {timeout: 2s}
health: {min_healthy_time: 200ms, deadline: 60s}
";

/// What all nodes share.
pub(super) async fn prepare(bench: &Bench) {
    bench.controller().await.init().await.unwrap();
    bench.apply(MANIFEST).await;
    bench.upload("r1", &[PAGE]).await;
}

pub(super) struct Node {
    bench: &'static Bench,
    cell: CellId,
    machine: Machine,
    agent: Option<Program>,
    /// What the bucket held when the agent was started: what came from one before it tells nothing.
    before: Option<Vec<u8>>,
    contents: BTreeMap<Sha256Digest, Content>,
    home: tempfile::TempDir,
}

impl Node {
    pub(super) async fn boot(bench: &'static Bench, name: &str) -> Option<Self> {
        let machine = Machine::boot().await?;
        let cell = CellId::new(NodeName::new(name).unwrap(), CellName::new("web").unwrap());
        let home = tempfile::tempdir().unwrap();
        let disk = machine.disk();
        let disk = disk.display();
        let config = format!(
            "node: {name}\nfleet: {FLEET}\n\
             bucket: {{bucket: {BUCKET}, prefix: prod/eu, endpoint: \"{}\", region: us-east-1, \
             access_key: {ACCESS_KEY}, secret_key: {SECRET_KEY}}}\n\
             trusted_keys: [{{key: \"{}\"}}]\nstate_folder: {disk}/state\nprocess: {{folder: {disk}/cells}}\n\
             poll_interval: 100ms\nheartbeat_interval: 1s\n",
            bench.server.endpoint(),
            KEY.private().public(),
        );
        let file = home.path().join("agent.yaml");
        std::fs::write(&file, config).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let (agent, before, contents) = (None, None, BTreeMap::new());
        let mut node = Self { bench, cell, machine, agent, before, contents, home };
        node.start_agent().await;
        Some(node)
    }

    pub(super) fn cell(&self) -> CellId {
        self.cell.clone()
    }

    pub(super) async fn start_agent(&mut self) {
        self.before = self.heartbeat().await;
        let config = self.home.path().join("agent.yaml");
        let command = [AGENT, "run", "--config", config.to_str().unwrap()];
        self.agent = Some(self.machine.start(&command, &[("RUST_LOG", LOGS)], &self.log()).await);
    }

    pub(super) async fn kill_agent(&mut self) {
        self.agent.take().unwrap().kill().await;
    }

    pub(super) async fn cut_power(&mut self) {
        self.machine.cut_power().await;
        self.agent.take().unwrap().ended().await;
    }

    /// Waits until the agent has said so many more lines.
    pub(super) async fn says_more(&mut self, lines: u32) {
        self.agent.as_mut().unwrap().says_more(lines).await;
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("agent.log")
    }

    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().filter(|line| !line.contains("DEBUG")).collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// A document that lets the cell consist of this content, which runs once it was [mended](Self::mend).
    pub(super) fn cell_yaml(&self, content: Content) -> String {
        let is_there = self.mended(content);
        let line = format!("test -e {} && exec sleep 1000000; exit 3", is_there.display());
        format!("cell: {}\nmanifest: site\nvars: {{line: \"{line}\"}}\n", self.cell)
    }

    pub(super) fn mend(&self, content: Content) {
        std::fs::write(self.mended(content), "").unwrap();
    }

    fn mended(&self, content: Content) -> PathBuf {
        self.home.path().join(format!("mended-{content}"))
    }

    /// Remembers which content this is.
    pub(super) fn learn(&mut self, content: Content, sha256: Sha256Digest) {
        self.contents.insert(sha256, content);
    }

    async fn heartbeat(&self) -> Option<Vec<u8>> {
        self.bench.read(&format!("agents/{}.json", self.cell.node)).await
    }

    /// Waits until the agent says and the machine runs one of `expected`, and everything is told.
    pub(super) async fn comes_to(&self, expected: &BTreeSet<Seen>) -> Result<Seen, String> {
        let mut seen = None;
        let arrived = async || {
            seen = self.look().await;
            seen.as_ref().is_some_and(|seen| expected.contains(seen)) && self.has_told_all()
        };
        if holds_in_time(arrived).await {
            return seen.ok_or_else(String::new);
        }
        Err(format!("expected one of {expected:#?}\nfound {seen:#?}"))
    }

    async fn look(&self) -> Option<Seen> {
        let bytes = self.heartbeat().await.filter(|bytes| self.before.as_ref() != Some(bytes))?;
        let beat: Heartbeat = document::parse(&bytes).unwrap();
        let CellReport { phase, waiting, hold, seen, running, known_good, failed_content, conditions, .. } =
            *beat.cells.get(&self.cell.cell)?.clone();
        let text = |value: Value| value.as_str().unwrap().to_owned();
        let phase = text(serde_json::to_value(phase).unwrap());
        let waiting = waiting.map(|waiting| format!(" {}", waiting.reason)).unwrap_or_default();
        let name =
            |version: Option<fleetman::model::heartbeat::VersionReport>| version.map(|it| it.version.to_string());
        Some(Seen {
            phase: format!("{phase}{waiting}"),
            generation: seen?.generation.get(),
            placed: name(running),
            good: name(known_good),
            failed: failed_content.iter().map(|sha256| self.contents[sha256]).collect(),
            is_held: hold.is_some(),
            conditions: conditions.iter().map(|condition| condition.code.to_string()).collect(),
            alive: self.alive(),
        })
    }

    /// The versions that run, and will not end by themselves.
    fn alive(&self) -> Vec<String> {
        self.machine.variables("FLEETMAN_VERSION", "sleep")
    }

    /// Whether every outcome is in the bucket.
    fn has_told_all(&self) -> bool {
        let outbox = std::fs::read_dir(self.machine.outside().join("state/cells/web/outbox"));
        outbox.is_ok_and(|outbox| {
            !outbox.flatten().any(|file| file.path().extension().is_some_and(|kind| kind == "json"))
        })
    }

    /// The version that the node's disk says is known to be good, if its release is there as it was published.
    pub(super) fn good_on_disk(&self) -> Result<Option<String>, String> {
        let disk = self.machine.outside();
        let Ok(text) = std::fs::read_to_string(disk.join("state/cells/web/state.json")) else { return Ok(None) };
        let state: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        let Some(target) = state["known_good"]["target"].as_object() else { return Ok(None) };
        let name = |field: &str| target[field].as_str().unwrap().to_owned();
        let (version, manifest) = (name("version"), name("manifest_sha256"));
        let release = format!("{version}-{}", &manifest[..12]);
        let page = std::fs::read_to_string(disk.join("cells/web/releases").join(&release).join(PAGE.0));
        match page {
            Ok(page) if page == PAGE.1 => Ok(Some(version)),
            other => Err(format!("{release} is known to be good, and its file is {other:?}")),
        }
    }
}
