//! A fleet to try the controller on: a store behind a proxy, a manifest, a cell, releases in local folders.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use chrono::{DateTime, TimeDelta, Utc};
use fleetman::clock::{Clock, SharedClock, SystemClock};
use fleetman::controller::{
    Actor, Controller, ControllerError, ControllerSettings, Guard, Known, PublishRequest, Published, UploadOptions,
    Uploaded,
};
use fleetman::model::audit::{AuditEntry, AuditStage};
use fleetman::model::fleet::Conditions;
use fleetman::model::index::Index;
use fleetman::model::manifest::Manifest;
use fleetman::model::sign::{PinnedKey, PrivateKey, Signer, Trust, Verified, verify};
use fleetman::model::trigger::Trigger;
use fleetman::model::{
    CellId, DeploymentName, Epoch, Floor, ManifestName, ObjectKey, Prefix, Sha256Digest, UserName, document,
};
use tempfile::TempDir;
use uuid::Uuid;

use super::proxy::FaultProxy;
use super::{BUCKET, Store, bucket};

pub(crate) const FLEET: Uuid = Uuid::from_u128(7);

/// The system's time, shifted as a test likes, in which every wait is a twentieth as long unless a test says otherwise.
#[derive(Debug)]
pub(crate) struct TestClock {
    system: SharedClock,
    ahead: Mutex<TimeDelta>,
    elapsed: Mutex<Duration>,
    hurry: Mutex<u32>,
}

impl TestClock {
    /// A clock that is right.
    pub(crate) fn shared() -> Arc<Self> {
        let (ahead, elapsed, hurry) = (Mutex::default(), Mutex::default(), Mutex::new(20));
        Arc::new(Self { system: SystemClock::shared(), ahead, elapsed, hurry })
    }

    /// From now on it is later.
    pub(crate) fn pass(&self, time: TimeDelta) {
        *self.ahead.lock().unwrap() += time;
    }

    /// So much more has passed since the process began, whatever time it is.
    pub(crate) fn elapse(&self, time: Duration) {
        *self.elapsed.lock().unwrap() += time;
    }

    /// From now on it is so much before the system's time.
    pub(crate) fn go_back(&self, time: TimeDelta) {
        *self.ahead.lock().unwrap() = -time;
    }

    /// From now on waits are as long as they are.
    pub(crate) fn take_time(&self) {
        *self.hurry.lock().unwrap() = 1;
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        self.system.now() + *self.ahead.lock().unwrap()
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic() + *self.elapsed.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.system.sleep(duration / *self.hurry.lock().unwrap())
    }
}

/// A key of an epoch, made from a seed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TestKey(pub(crate) u8, pub(crate) u32);

impl TestKey {
    pub(crate) fn private(self) -> PrivateKey {
        PrivateKey::from_seed(&[self.0; 32])
    }

    pub(crate) fn pinned(self) -> PinnedKey {
        PinnedKey { key: self.private().public(), epoch: self.epoch() }
    }

    fn epoch(self) -> Epoch {
        Epoch::new(self.1).unwrap()
    }

    /// The trust in it alone.
    pub(crate) fn trust(self) -> Trust {
        Trust::Keys(vec![self.pinned()])
    }

    pub(crate) fn signer(self) -> Signer {
        Signer::Key(self.private(), self.epoch())
    }
}

/// The key of every controller that a test does not give another.
pub(crate) const KEY: TestKey = TestKey(1, 1);

/// A store behind a proxy, and what is uploaded to it.
pub(crate) struct Bench {
    pub(crate) server: Store,
    pub(crate) proxy: FaultProxy,
    pub(crate) clock: Arc<TestClock>,
    releases: TempDir,
}

impl Bench {
    /// An empty store.
    pub(crate) async fn empty() -> Self {
        let server = Store::start().await;
        let proxy = FaultProxy::start(&server.endpoint()).await;
        Self { server, proxy, clock: TestClock::shared(), releases: tempfile::tempdir().unwrap() }
    }

    /// A store with the manifest `site`, the cell `n1/web` and the release `r1`.
    pub(crate) async fn start() -> Self {
        let bench = Self::empty().await;
        let controller = bench.controller().await;
        controller.init().await.unwrap();
        bench.apply(MANIFEST).await;
        bench.apply(CELL).await;
        bench.upload("r1", &[("index.html", "one {{ vars.greeting }}\n"), ("bin/run", "#!/bin/sh\n")]).await;
        bench
    }

    /// A controller of alice's, through the proxy.
    pub(crate) async fn controller(&self) -> Controller {
        self.controller_of("alice", KEY, &[KEY], Conditions::Honoured).await
    }

    /// A controller that waits half a second for its turn, on a store whose conditions are ignored.
    pub(crate) async fn impatient(&self, user: &str) -> Controller {
        let settings = self.settings_of(user, KEY, &[KEY], Conditions::Ignored).await;
        let settings = ControllerSettings { lock_timeout: Duration::from_millis(500), ..settings };
        Controller::new(settings, self.clock.clone())
    }

    pub(crate) async fn controller_of(
        &self,
        user: &str,
        key: TestKey,
        pinned: &[TestKey],
        conditions: Conditions,
    ) -> Controller {
        Controller::new(self.settings_of(user, key, pinned, conditions).await, self.clock.clone())
    }

    /// Whose signatures count.
    pub(crate) fn trust(&self) -> Trust {
        KEY.trust()
    }

    /// A controller without a key, for looking.
    pub(crate) async fn looker(&self, pinned: &[TestKey]) -> Controller {
        let settings = self.settings_of("alice", KEY, pinned, Conditions::Honoured).await;
        Controller::new(ControllerSettings { signer: Signer::Unsigned, ..settings }, self.clock.clone())
    }

    /// A controller of a fleet without signatures.
    pub(crate) async fn unsigned(&self) -> Controller {
        let settings = self.settings_of("alice", KEY, &[], Conditions::Honoured).await;
        let settings = ControllerSettings { signer: Signer::Unsigned, trust: Trust::Unsigned, ..settings };
        Controller::new(settings, self.clock.clone())
    }

    async fn settings_of(
        &self,
        user: &str,
        key: TestKey,
        pinned: &[TestKey],
        conditions: Conditions,
    ) -> ControllerSettings {
        let store = bucket::connect(bucket::settings(&self.proxy.endpoint())).await.with_capabilities(conditions);
        ControllerSettings {
            store,
            fleet: FLEET,
            signer: key.signer(),
            trust: Trust::Keys(pinned.iter().map(|key| key.pinned()).collect()),
            actor: Actor {
                user: UserName::new(user).unwrap(),
                source: "cli".to_owned(),
                host: format!("{user}-laptop"),
                reason: None,
            },
            controller_id: fleetman::entropy::uuid().unwrap(),
            lock_timeout: ControllerSettings::LOCK_TIMEOUT,
        }
    }

    pub(crate) async fn apply(&self, text: &str) {
        let documents = fleetman::recipe::read(text, "test").unwrap();
        self.controller().await.apply(documents).await.unwrap();
    }

    /// A local folder with these files.
    pub(crate) fn folder(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.releases.path().join(name);
        for (path, text) in files {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
        }
        folder
    }

    pub(crate) async fn upload(&self, name: &str, files: &[(&str, &str)]) -> Uploaded {
        let folder = self.folder(name, files);
        let controller = self.controller().await;
        let (manifest, deployment) = (site(), DeploymentName::new(name).unwrap());
        controller.upload(&manifest, Some(&deployment), &folder, &UploadOptions::default(), &|_| {}).await.unwrap()
    }

    /// Changes what the cell is made of, so that the next version differs.
    pub(crate) async fn greet(&self, greeting: &str) {
        let text = CELL.replace("hello", greeting);
        self.controller().await.put_cell(&cell(), &text, &Known::Anything).await.unwrap();
    }

    /// Changes the cell and publishes it under a name.
    pub(crate) async fn publish(&self, version: &str, greeting: &str) -> Published {
        self.greet(greeting).await;
        self.controller().await.publish(&request(version), &Guard::default()).await.unwrap()
    }

    /// An unmodified client, past the proxy.
    fn client(&self) -> Client {
        self.server.client()
    }

    fn full(key: &str) -> String {
        Prefix::new("prod/eu").unwrap().join(key)
    }

    /// Puts bytes where they do not belong, as somebody with rights to the bucket could.
    pub(crate) async fn overwrite(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        let body = ByteStream::from(bytes.into());
        self.client().put_object().bucket(BUCKET).key(Self::full(key)).body(body).send().await.unwrap();
    }

    pub(crate) async fn delete(&self, key: &str) {
        self.client().delete_object().bucket(BUCKET).key(Self::full(key)).send().await.unwrap();
    }

    pub(crate) async fn read(&self, key: &str) -> Option<Vec<u8>> {
        let got = self.client().get_object().bucket(BUCKET).key(Self::full(key)).send().await.ok()?;
        Some(got.body.collect().await.unwrap().to_vec())
    }

    /// Every key below a folder.
    pub(crate) async fn keys(&self, below: &str) -> Vec<String> {
        let request = self.client().list_objects_v2().bucket(BUCKET).prefix(Self::full(below));
        let mut pages = request.into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.unwrap();
            let found = page.contents().iter().filter_map(|object| object.key()?.strip_prefix("prod/eu/"));
            keys.extend(found.map(str::to_owned));
        }
        keys
    }

    /// The history of `n1/web`, oldest first, every entry verified.
    pub(crate) async fn history(&self) -> Vec<Verified<Trigger>> {
        self.history_by(&[KEY]).await
    }

    pub(crate) async fn history_by(&self, pinned: &[TestKey]) -> Vec<Verified<Trigger>> {
        let trust = Trust::Keys(pinned.iter().map(|key| key.pinned()).collect());
        let mut entries = Vec::new();
        for key in self.keys("cells/n1/web/history/").await {
            let entry = verify::<Trigger>(&self.read(&key).await.unwrap(), &trust).unwrap();
            let place = ObjectKey::History(cell(), Floor::new(entry.epoch(), entry.generation));
            assert_eq!(place.relative(), key);
            entries.push(entry);
        }
        entries
    }

    /// Everything that must be so whenever nobody is writing: every version that the history names is whole (I1, I2),
    /// no generation is left out, and the copies are those of the newest entry.
    pub(crate) async fn check(&self) {
        let history = self.history().await;
        for (at, entry) in history.iter().enumerate() {
            assert_eq!(entry.generation.get(), at as u64 + 1, "a generation is left out");
            let Some(target) = entry.action.target() else { continue };
            let key = ObjectKey::VersionManifest(cell(), target.version.clone());
            let bytes = self.read(&key.relative()).await.expect("a version that the history names is gone");
            assert_eq!(Sha256Digest::of(&bytes), target.manifest_sha256);
            let manifest = Manifest::parse(&bytes).unwrap();
            for file in &manifest.files {
                let key = manifest.object_of(file).unwrap().relative();
                let bytes = self.read(&key).await.unwrap_or_else(|| panic!("{key} is missing"));
                assert_eq!((bytes.len() as u64, Sha256Digest::of(&bytes)), (file.size, file.sha256), "{key}");
            }
        }
        let newest = history.last().unwrap();
        assert_eq!(self.read("cells/n1/web/trigger.json").await.unwrap(), newest.document());
        let index: Index = document::parse(&self.read("index/n1.json").await.unwrap()).unwrap();
        let entry = index.entry(&cell().cell).unwrap();
        let trust = Trust::Keys(vec![KEY.pinned()]);
        let indexed = verify::<Trigger>(entry.trigger_bytes().unwrap(), &trust).unwrap();
        assert_eq!(indexed.signed_sha256(), newest.signed_sha256());
        assert_eq!(entry.about.unwrap().manifest, site());
    }

    /// The outcomes that the audit has of an action, as (object, done).
    pub(crate) async fn outcomes(&self, action: &str) -> Vec<(String, bool)> {
        let mut found = BTreeMap::new();
        for key in self.keys("audit/").await {
            let entry = verify::<AuditEntry>(&self.read(&key).await.unwrap(), &Trust::Unsigned).unwrap();
            if let AuditStage::Outcome { done, .. } = entry.stage
                && entry.action == action
            {
                found.insert(entry.id, (entry.object.clone(), done));
            }
        }
        found.into_values().collect()
    }
}

pub(crate) const MANIFEST: &str = "\
name: site
vars:
  greeting: hi
files:
  - path: index.html
    template: true
  - glob: \"**\"
profile:
  deploy: {}
";

pub(crate) const CELL: &str = "\
# A comment that stays.
cell: n1/web
manifest: site
labels: {tier: front}
vars:
  greeting: hello
";

pub(crate) fn cell() -> CellId {
    "n1/web".parse().unwrap()
}

pub(crate) fn site() -> ManifestName {
    ManifestName::new("site").unwrap()
}

/// A publish of `n1/web` under a name.
pub(crate) fn request(version: &str) -> PublishRequest {
    PublishRequest { version: Some(version.parse().unwrap()), ..PublishRequest::new(cell()) }
}

/// The code of a refusal.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, ControllerError>) -> &'static str {
    result.unwrap_err().code()
}
