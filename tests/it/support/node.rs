//! A bucket with signed triggers in it, and a node: what the agent's tests stand on. Everything is put into the
//! bucket by an unmodified AWS client; no controller is needed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use chrono::DateTime;
use fleetman::agent::{Agent, AgentSettings, Profiles};
use fleetman::clock::SystemClock;
use fleetman::model::content::content_sha256;
use fleetman::model::document::{self, Document};
use fleetman::model::health::Health;
use fleetman::model::heartbeat::{CellReport, Heartbeat};
use fleetman::model::index::{Index, IndexEntry};
use fleetman::model::keys::AttemptId;
use fleetman::model::manifest::{Manifest, ManifestFile, Mode, Origin};
use fleetman::model::outcome::Outcome;
use fleetman::model::run_spec::{DeploySpec, Limits, Profile};
use fleetman::model::sign::{self, PinnedKey, PrivateKey, Signer, Trust, Verified};
use fleetman::model::strategy::Strategy;
use fleetman::model::trigger::{Action, Target, Trigger, TriggerOptions};
use fleetman::model::window::Windows;
use fleetman::model::{
    CellId, CellName, Epoch, FilePath, Floor, Generation, ManifestName, NodeName, ObjectKey, ObjectPath, Prefix,
    Sha256Digest, UserName, VersionName,
};
use fleetman::profiles::{DeploySettings, ProcessSettings, ProfileSettings, Program};
use fleetman::store::{Credentials, RetryPolicy, Secret, Store, StoreSettings};
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::proxy::FaultProxy;
use super::{ACCESS_KEY, BUCKET, SECRET_KEY};

/// The prefix of the fleet in the bucket: not the empty one, so that a forgotten prefix is found.
const PREFIX: &str = "fleets/a";

/// A fleet with one node, and what a controller would have.
pub(crate) struct Bench {
    pub(crate) store: super::Store,
    pub(crate) proxy: FaultProxy,
    pub(crate) client: Client,
    pub(crate) fleet: Uuid,
    pub(crate) node: NodeName,
    pub(crate) key: PrivateKey,
    pub(crate) home: TempDir,
    bucket: OnceCell<Store>,
    generations: BTreeMap<(String, String), u64>,
}

/// A file to be published.
pub(crate) type File<'a> = (&'a str, &'a [u8]);

/// Two releases that share a file's name and not its bytes.
pub(crate) const ONE: &[File<'static>] = &[("index.html", b"one")];
pub(crate) const TWO: &[File<'static>] = &[("index.html", b"two"), ("other", b"2")];

/// The agent's program, as it was built with the tests.
pub(crate) fn agents_program() -> Program {
    Program { path: env!("CARGO_BIN_EXE_fleetagent").into(), open_files: None }
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let store = super::Store::start().await;
        let proxy = FaultProxy::start(&store.endpoint()).await;
        let client = store.client();
        Self {
            client,
            proxy,
            store,
            fleet: Uuid::from_u128(7),
            node: NodeName::new("n1").unwrap(),
            key: PrivateKey::from_seed(&[7; 32]),
            home: tempfile::tempdir().unwrap(),
            bucket: OnceCell::new(),
            generations: BTreeMap::new(),
        }
    }

    // The node.

    pub(crate) fn state_folder(&self) -> PathBuf {
        self.home.path().join("state")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.home.path().join("www")
    }

    pub(crate) fn profiles(&self) -> Profiles {
        let deploy = Some(DeploySettings { target_folder: self.target() });
        ProfileSettings { deploy, ..ProfileSettings::default() }.profiles(&agents_program(), &SystemClock::shared())
    }

    /// Where cells under the process profile are.
    pub(crate) fn processes(&self) -> PathBuf {
        self.home.path().join("process")
    }

    /// All profiles that need no host of their own. Cells end with the test, however it ends.
    pub(crate) fn profiles_with_process(&self) -> Profiles {
        let deploy = Some(DeploySettings { target_folder: self.target() });
        let process = Some(ProcessSettings { folder: self.processes(), with_agent: true });
        ProfileSettings { deploy, process, ..ProfileSettings::default() }
            .profiles(&agents_program(), &SystemClock::shared())
    }

    pub(crate) fn trust(&self) -> Trust {
        Trust::Keys(vec![PinnedKey { key: self.key.public(), epoch: Epoch::FIRST }])
    }

    /// The node's own way to the bucket, through the proxy.
    pub(crate) async fn bucket(&self) -> Store {
        self.bucket.get_or_init(|| self.connect()).await.clone()
    }

    async fn connect(&self) -> Store {
        let mut settings = StoreSettings::new(BUCKET);
        settings.endpoint = Some(self.proxy.endpoint());
        settings.prefix = Prefix::new(PREFIX).unwrap();
        settings.credentials = Credentials::Static {
            access_key: ACCESS_KEY.to_owned(),
            secret_key: Secret::new(SECRET_KEY),
            session_token: None,
        };
        let (first, most) = (Duration::from_millis(1), Duration::from_millis(5));
        settings.retry = RetryPolicy { tries: 2, first, most };
        Store::connect(settings, SystemClock::shared()).await.unwrap()
    }

    pub(crate) async fn settings(&self) -> AgentSettings {
        let (node, trust, store) = (self.node.clone(), self.trust(), self.bucket().await);
        let mut settings = AgentSettings::new(node, self.fleet, trust, store, self.state_folder(), self.profiles());
        settings.reserve_bytes = 0;
        settings
    }

    pub(crate) async fn agent(&self) -> Agent {
        Agent::open(self.settings().await, SystemClock::shared()).await.unwrap()
    }

    /// Opens an agent, lets it do everything once, and closes it again.
    pub(crate) async fn once(&self) -> Heartbeat {
        let mut agent = self.agent().await;
        let heartbeat = agent.poll_once().await.unwrap();
        agent.close().await;
        heartbeat
    }

    /// The same; what it says of one cell.
    pub(crate) async fn once_for(&self, cell: &str) -> CellReport {
        of(&self.once().await, cell)
    }

    /// What the cell's link leads to; None without a link.
    pub(crate) fn deployed(&self, cell: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let link = self.target().join(cell);
        std::fs::read_link(&link).ok()?;
        Some(tree(&link))
    }

    /// The names of the cell's releases on the node.
    pub(crate) fn releases(&self, cell: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.target().join(".fleetman").join(cell)) else { return Vec::new() };
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != ".owner.json");
        names.sort();
        names
    }

    // The bucket.

    pub(crate) fn cell_id(&self, cell: &str) -> CellId {
        CellId::new(self.node.clone(), CellName::new(cell).unwrap())
    }

    pub(crate) async fn put(&self, key: &ObjectKey, body: impl Into<Vec<u8>>) {
        let body = ByteStream::from(body.into());
        let key = key.render(&Prefix::new(PREFIX).unwrap());
        self.client.put_object().bucket(BUCKET).key(key).body(body).send().await.unwrap();
    }

    pub(crate) async fn get(&self, key: &ObjectKey) -> Option<Vec<u8>> {
        let key = key.render(&Prefix::new(PREFIX).unwrap());
        let got = self.client.get_object().bucket(BUCKET).key(key).send().await.ok()?;
        Some(got.body.collect().await.unwrap().to_vec())
    }

    pub(crate) async fn delete(&self, key: &ObjectKey) {
        let key = key.render(&Prefix::new(PREFIX).unwrap());
        self.client.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
    }

    /// The keys below the fleet's prefix that begin with `prefix`.
    pub(crate) async fn keys(&self, prefix: &str) -> Vec<String> {
        let full = format!("{PREFIX}/{prefix}");
        let listed = self.client.list_objects_v2().bucket(BUCKET).prefix(full).send().await.unwrap();
        let keys = listed.contents().iter().map(|object| object.key().unwrap());
        keys.map(|key| key.strip_prefix(PREFIX).unwrap()[1..].to_owned()).collect()
    }

    /// A manifest of `files`, each at its usual place.
    pub(crate) fn manifest(&self, cell: &str, version: &str, files: &[File<'_>]) -> Manifest {
        let files = files.iter().map(|(path, bytes)| ManifestFile {
            path: FilePath::new(*path).unwrap(),
            size: bytes.len() as u64,
            sha256: Sha256Digest::of(bytes),
            mode: Mode::READ,
            from: Origin::Deployment,
            object: None,
            offset: None,
        });
        let id = self.cell_id(cell);
        let mut manifest = Manifest {
            requires: Vec::new(),
            fleet: self.fleet,
            node: id.node,
            cell: id.cell,
            version: VersionName::new(version).unwrap(),
            manifest: ManifestName::new("site").unwrap(),
            deployment: None,
            content_sha256: Sha256Digest::of(b""),
            created_at: DateTime::UNIX_EPOCH,
            created_by: UserName::new("alice").unwrap(),
            note: None,
            profile: Profile::Deploy(DeploySpec::default()),
            health: Health::default(),
            hooks: BTreeMap::new(),
            strategy: Strategy::default(),
            reload_if: Vec::new(),
            restart_if: Vec::new(),
            limits: Limits::default(),
            drift: fleetman::model::drift::DriftSpec::default(),
            windows: Windows::default(),
            lock: None,
            dependencies: Default::default(),
            files: files.collect(),
        };
        manifest.content_sha256 = content_sha256(&manifest);
        manifest
    }

    /// Puts a version into the bucket: its files, then its manifest.
    pub(crate) async fn upload(&self, manifest: &Manifest, files: &[File<'_>]) -> Target {
        for (file, (_, bytes)) in manifest.files.iter().zip(files) {
            self.put(&manifest.object_of(file).unwrap(), *bytes).await;
        }
        let rendered = manifest.render();
        let key = ObjectKey::VersionManifest(manifest.cell_id(), manifest.version.clone());
        self.put(&key, rendered.clone()).await;
        target(manifest, &rendered)
    }

    /// The next trigger of a cell, signed but not in the bucket.
    pub(crate) fn trigger(&mut self, cell: &str, action: Action) -> Verified<Trigger> {
        self.trigger_with(cell, action, TriggerOptions::default())
    }

    pub(crate) fn trigger_with(&mut self, cell: &str, action: Action, options: TriggerOptions) -> Verified<Trigger> {
        let generation = self.generations.entry((self.node.to_string(), cell.to_owned())).or_default();
        *generation += 1;
        let generation = Generation::new(*generation).unwrap();
        self.sign(self.unsigned(cell, action, options, generation))
    }

    pub(crate) fn unsigned(
        &self,
        cell: &str,
        action: Action,
        options: TriggerOptions,
        generation: Generation,
    ) -> Trigger {
        let id = self.cell_id(cell);
        Trigger {
            requires: options.names(),
            fleet: self.fleet,
            node: id.node,
            cell: id.cell,
            generation,
            action,
            options,
            issued_at: DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
            issued_by: UserName::new("alice").unwrap(),
            reason: None,
        }
    }

    pub(crate) fn sign(&self, trigger: Trigger) -> Verified<Trigger> {
        sign::sign(&trigger, &Signer::Key(self.key.clone(), Epoch::FIRST)).unwrap()
    }

    /// Puts a trigger where a controller would: history, trigger, index.
    pub(crate) async fn place(&self, trigger: &Verified<Trigger>) {
        self.place_history(trigger).await;
        self.put(&ObjectKey::Trigger(trigger.cell_id()), trigger.document()).await;
        self.place_index(trigger.cell.as_str(), trigger.document()).await;
    }

    pub(crate) async fn place_history(&self, trigger: &Verified<Trigger>) {
        let at = Floor::new(trigger.epoch(), trigger.generation);
        self.put(&ObjectKey::History(trigger.cell_id(), at), trigger.document()).await;
    }

    pub(crate) async fn place_index(&self, cell: &str, document: &[u8]) {
        let key = ObjectKey::Index(self.node.clone());
        let mut index = match self.get(&key).await {
            Some(bytes) => document::parse::<Index>(&bytes).unwrap(),
            None => Index::empty(self.node.clone(), DateTime::UNIX_EPOCH),
        };
        let trigger = RawValue::from_string(String::from_utf8(document.to_vec()).unwrap().trim().to_owned()).unwrap();
        let entry = IndexEntry { trigger: Some(trigger), about: None };
        index.put(&CellName::new(cell).unwrap(), &entry).unwrap();
        self.put(&key, document::render(&index)).await;
    }

    /// Publishes a version of a cell and asks for it.
    pub(crate) async fn publish(&mut self, cell: &str, version: &str, files: &[File<'_>]) -> Target {
        let manifest = self.manifest(cell, version, files);
        let target = self.upload(&manifest, files).await;
        self.ask(cell, Action::Deploy(target.clone())).await;
        target
    }

    /// Issues the next trigger of a cell.
    pub(crate) async fn ask(&mut self, cell: &str, action: Action) {
        let trigger = self.trigger(cell, action);
        self.place(&trigger).await;
    }

    /// The outcomes that the node has told of a cell, by key.
    pub(crate) async fn outcomes(&self, cell: &str) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for key in self.keys(&format!("logs/{}/{cell}/", self.node)).await {
            if key.ends_with(".json") {
                let bytes = self.get(&ObjectKey::parse(&key).unwrap()).await.unwrap();
                outcomes.push(document::parse::<Outcome>(&bytes).unwrap());
            }
        }
        outcomes
    }

    /// The log of an attempt, as it lies in the bucket.
    pub(crate) async fn log(&self, cell: &str, generation: u64, attempt: u32) -> String {
        let floor = Floor::new(Epoch::FIRST, Generation::new(generation).unwrap());
        let key = ObjectKey::AttemptLog(AttemptId { cell: self.cell_id(cell), floor, attempt });
        String::from_utf8(self.get(&key).await.expect("a log")).unwrap()
    }

    /// The node's heartbeat as it lies in the bucket.
    pub(crate) async fn heartbeat(&self) -> Option<Heartbeat> {
        parsed(self.get(&ObjectKey::Heartbeat(self.node.clone())).await?)
    }
}

fn parsed<T: Document>(bytes: Vec<u8>) -> Option<T> {
    document::parse(&bytes).ok()
}

pub(crate) fn target(manifest: &Manifest, rendered: &[u8]) -> Target {
    Target {
        version: manifest.version.clone(),
        manifest_sha256: Sha256Digest::of(rendered),
        manifest_size: rendered.len() as u64,
        content_sha256: manifest.content_sha256,
    }
}

/// Puts the bytes of all files into one object instead.
pub(crate) fn packed(mut manifest: Manifest, object: &str, first_offset: u64) -> Manifest {
    let mut offset = first_offset;
    for file in &mut manifest.files {
        file.object = Some(ObjectPath::new(object).unwrap());
        file.offset = Some(offset);
        offset += file.size;
    }
    manifest
}

/// What a heartbeat says of one cell.
pub(crate) fn of(heartbeat: &Heartbeat, cell: &str) -> CellReport {
    let report =
        heartbeat.cells.get(&CellName::new(cell).unwrap()).unwrap_or_else(|| panic!("no {cell}: {heartbeat:#?}"));
    CellReport::clone(report)
}

/// Every file below a folder, by its path; of a link, what it says.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            files.extend(tree(&entry.path()).into_iter().map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
        } else if entry.file_type().unwrap().is_symlink() {
            files.insert(name, std::fs::read_link(entry.path()).unwrap().into_os_string().into_encoded_bytes());
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// What should be deployed, as [`Bench::deployed`] says it.
pub(crate) fn files(expected: &[File<'_>]) -> Option<BTreeMap<String, Vec<u8>>> {
    Some(expected.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect())
}
