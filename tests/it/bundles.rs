//! Versions in a file: from one bucket into another, believed there for their signatures alone.

use std::path::{Path, PathBuf};

use fleetman::agent::{Agent, AgentSettings};
use fleetman::controller::{BundleSelector, Guard, StopRequest};
use fleetman::model::Sha256Digest;
use fleetman::model::heartbeat::Phase;
use fleetman::profiles::{DeploySettings, ProfileSettings};
use fleetman::store::Conditions;
use serde_json::Value;

use crate::support::bucket;
use crate::support::fleet::{Bench, FLEET, KEY, TestKey, cell, code};
use crate::support::node::agents_program;

/// A bucket with two versions, and one that is empty.
struct Two {
    here: Bench,
    there: Bench,
    folder: tempfile::TempDir,
}

impl Two {
    async fn start() -> Self {
        let here = Bench::start().await;
        here.publish("v1", "hello").await;
        here.publish("v2", "bye").await;
        Self { here, there: Bench::empty().await, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn save(&self, name: &str, versions: &[&str]) -> PathBuf {
        let wanted: Vec<BundleSelector> = versions.iter().map(|text| text.parse().unwrap()).collect();
        let path = self.file(name);
        // Nobody needs a key to save.
        self.here.looker(&[KEY]).await.save_bundle(&path, &wanted).await.unwrap();
        path
    }
}

/// Everything of versions, releases and triggers.
async fn committed(bench: &Bench) -> Vec<String> {
    let keys = bench.keys("").await.into_iter();
    keys.filter(|key| !key.starts_with("audit/") && !key.contains("/files/")).collect()
}

async fn same_bytes(one: &Bench, other: &Bench, key: &str) {
    assert_eq!(one.read(key).await.unwrap(), other.read(key).await.expect(key), "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_at_the_second_bucket_deploys_what_was_bundled_and_verifies() {
    let two = Two::start().await;
    let path = two.save("b.tar", &["n1/web"]).await;
    let controller = two.there.controller().await;
    let loaded = controller.load_bundle(&path).await.unwrap();
    assert_eq!((loaded.versions.len(), loaded.created), (1, 3), "release, manifest, history: {loaded:?}");
    for key in two.there.keys("cells/").await.into_iter().chain(two.there.keys("deployments/").await) {
        same_bytes(&two.here, &two.there, &key).await;
    }
    assert!(two.there.read("cells/n1/web/versions/v1/manifest.json").await.is_none());
    let sound = controller.fsck(fleetman::controller::FsckOptions { deep: true, repair: false }).await.unwrap();
    assert_eq!(sound, vec![]);

    let store = bucket::connect(bucket::settings(&two.there.server.endpoint())).await;
    let target_folder = two.file("www");
    let deploy = Some(DeploySettings { target_folder: target_folder.clone() });
    let clock = fleetman::clock::SystemClock::shared();
    let profiles = ProfileSettings { deploy, ..ProfileSettings::default() }.profiles(&agents_program(), &clock);
    let mut settings = AgentSettings::new(cell().node, FLEET, KEY.trust(), store, two.file("state"), profiles);
    settings.reserve_bytes = 0;
    let mut agent = Agent::open(settings, clock).await.unwrap();
    let beat = agent.poll_once().await.unwrap();
    agent.close().await;
    let report = &beat.cells[&cell().cell];
    assert_eq!((report.phase, report.running.as_ref().unwrap().version.as_str()), (Phase::UpToDate, "v2"));
    assert_eq!(std::fs::read_to_string(target_folder.join("web/index.html")).unwrap(), "one bye\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_again_does_nothing_and_an_interrupted_load_goes_on() {
    let two = Two::start().await;
    let path = two.save("b.tar", &["n1/web@v1", "n1/web"]).await;
    // An intent, then files: it is cut off in the middle of them.
    two.there.proxy.stop_after_writes(4);
    two.there.controller().await.load_bundle(&path).await.unwrap_err();
    two.there.proxy.heal();
    assert_eq!(committed(&two.there).await, Vec::<String>::new(), "nothing is visible before all of it was read");
    let begun = two.there.keys("").await.iter().filter(|key| key.contains("/files/")).count();
    assert!(begun > 0);
    let controller = two.there.controller().await;
    let loaded = controller.load_bundle(&path).await.unwrap();
    let all = two.there.keys("").await.iter().filter(|key| key.contains("/files/")).count();
    assert_eq!((loaded.versions.len(), loaded.sent), (2, all - begun), "what was sent is not sent again");
    let again = controller.load_bundle(&path).await.unwrap();
    assert_eq!((again.sent, again.created), (0, 0));
    same_bytes(&two.here, &two.there, "cells/n1/web/trigger.json").await;

    // A bucket that is further keeps its head.
    let newer = two.save("v1.tar", &["n1/web@v1"]).await;
    let head = two.there.read("cells/n1/web/trigger.json").await;
    controller.load_bundle(&newer).await.unwrap();
    assert_eq!(two.there.read("cells/n1/web/trigger.json").await, head);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_or_changed_is_refused_before_anything_is_committed() {
    let two = Two::start().await;
    let path = two.save("b.tar", &["n1/web"]).await;
    let whole = std::fs::read(&path).unwrap();
    let controller = two.there.controller().await;
    let load = async |bytes: &[u8]| {
        let path = two.file("other.tar");
        std::fs::write(&path, bytes).unwrap();
        controller.load_bundle(&path).await
    };
    for cut in [0, 511, 512, 2_000, whole.len() / 2, whole.len() - 1_024, whole.len() - 1] {
        load(&whole[..cut]).await.unwrap_err();
        assert_eq!(committed(&two.there).await, Vec::<String>::new(), "cut at {cut}");
    }
    // A byte in each block of it: of headers, documents, files and what is between them.
    for at in (0..whole.len()).step_by(509) {
        let mut other = whole.clone();
        other[at] ^= 0x10;
        let loaded = load(&other).await;
        // The time and the name of who saved it say nothing that counts.
        if loaded.is_err() {
            assert_eq!(committed(&two.there).await, Vec::<String>::new(), "changed at {at}");
        } else {
            panic!("changed at {at}: {loaded:?}");
        }
    }
    let mut longer = whole.clone();
    longer.extend([0; 512]);
    load(&longer).await.unwrap_err();
    assert_eq!(committed(&two.there).await, Vec::<String>::new());
    load(&whole).await.unwrap();
}

/// The same bundle with a text in `bundle.json` exchanged for another of the same length.
fn exchanged(bundle: &Path, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = std::fs::read(bundle).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from.as_bytes())).collect();
    bytes[places[0]..places[0] + to.len()].copy_from_slice(to.as_bytes());
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_lead_nowhere_but_where_something_signed_says() {
    let two = Two::start().await;
    let path = two.save("b.tar", &["n1/web"]).await;
    let controller = two.there.controller().await;
    let manifest = "cells/n1/web/versions/v2/manifest.json";
    for (from, to) in [
        (manifest, "../../n1/web/versions/v2/manifest.json"),
        (manifest, "cells/n2/web/versions/v2/manifest.json"),
        (manifest, "cells/n1/web/versions/v2/files/c/../.."),
        ("/bin/run", "/bin/ruN"),
        ("/bin/run", "/../run1"),
    ] {
        let other = two.file("other.tar");
        std::fs::write(&other, exchanged(&path, from, to)).unwrap();
        assert_eq!(code(controller.load_bundle(&other).await), "untrusted", "{to}");
        assert_eq!(committed(&two.there).await, Vec::<String>::new(), "{to}");
    }
}

/// A bundle taken apart: what it says of itself, then the bytes of its documents and files.
#[derive(Clone)]
struct Parts {
    contents: Value,
    objects: Vec<Vec<u8>>,
}

const BLOCK: usize = 512;

impl Parts {
    fn read(bundle: &Path) -> Self {
        let bytes = std::fs::read(bundle).unwrap();
        let (mut at, mut files) = (0, Vec::new());
        while bytes[at] != 0 {
            let size = usize::from_str_radix(std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap(), 8).unwrap();
            at += BLOCK;
            files.push(bytes[at..at + size].to_vec());
            at += size.div_ceil(BLOCK) * BLOCK;
        }
        let contents = serde_json::from_slice(&files.remove(0)).unwrap();
        Self { contents, objects: files }
    }

    /// A whole archive again, as POSIX has it.
    fn write(&self, to: &Path) {
        let mut archive = Vec::new();
        let names = (0..).map(|number| format!("objects/{number:09}"));
        let contents = (String::from("bundle.json"), serde_json::to_vec(&self.contents).unwrap());
        for (name, bytes) in std::iter::once(contents).chain(names.zip(self.objects.iter().cloned())) {
            let mut header = [0_u8; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            let fields = format!("0000644\0{0:07}\0{0:07}\0{1:011o}\0{0:011o}\0        0", 0, bytes.len());
            header[100..100 + fields.len()].copy_from_slice(fields.as_bytes());
            header[257..265].copy_from_slice(b"ustar\x0000");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            archive.extend(header);
            archive.extend(&bytes);
            archive.resize(archive.len().next_multiple_of(BLOCK), 0);
        }
        archive.extend([0; 2 * BLOCK]);
        std::fs::write(to, archive).unwrap();
    }

    /// What it says of its documents and then of its files, in the order in which they come.
    fn packed(&self) -> Vec<&Value> {
        let part = |name: &str| self.contents[name].as_array().unwrap();
        part("documents").iter().chain(part("files")).collect()
    }

    /// The number of the first object whose key ends so.
    fn number(&self, end: &str) -> usize {
        let ends = |packed: &&Value| packed["keys"][0].as_str().unwrap().ends_with(end);
        self.packed().iter().position(ends).unwrap_or_else(|| panic!("{end} is not in it"))
    }

    fn said_of(&mut self, number: usize) -> &mut Value {
        let documents = self.contents["documents"].as_array().unwrap().len();
        match number.checked_sub(documents) {
            None => &mut self.contents["documents"][number],
            Some(file) => &mut self.contents["files"][file],
        }
    }

    /// Exchanges a text in an object, of which it says what it said before.
    fn change(&mut self, end: &str, from: &str, to: &str) {
        let number = self.number(end);
        let text = String::from_utf8(self.objects[number].clone()).unwrap();
        assert!(from.len() == to.len() && text.contains(from), "{from} is not in {text}");
        self.objects[number] = text.replacen(from, to, 1).into_bytes();
    }

    /// The same, and it says so.
    fn forge(&mut self, end: &str, from: &str, to: &str) {
        self.change(end, from, to);
        let number = self.number(end);
        let digest = Sha256Digest::of(&self.objects[number]).to_string();
        self.said_of(number)["sha256"] = digest.into();
    }

    /// Leaves an object out.
    fn lose(&mut self, end: &str) {
        let number = self.number(end);
        self.objects.remove(number);
        let documents = self.contents["documents"].as_array_mut().unwrap();
        match number.checked_sub(documents.len()) {
            None => documents.remove(number),
            Some(file) => self.contents["files"].as_array_mut().unwrap().remove(file),
        };
    }

    fn also_under(&mut self, end: &str, key: &str) {
        let number = self.number(end);
        self.said_of(number)["keys"].as_array_mut().unwrap().push(key.into());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_link_from_the_signature_to_the_last_byte_is_checked_by_itself() {
    let two = Two::start().await;
    let whole = Parts::read(&two.save("b.tar", &["n1/web@v1", "n1/web"]).await);
    let controller = two.there.controller().await;
    let (history, manifest, release) = ("0002.json", "/v2/manifest.json", "/deployment.json");
    type Forge = dyn Fn(&mut Parts);
    let cases: &[(&Forge, &str)] = &[
        (&|parts| parts.change(manifest, "\"v2\"", "\"v3\""), "is not the one that it names"),
        (&|parts| parts.forge(manifest, "\"v2\"", "\"v3\""), "is not the one that is signed"),
        (&|parts| parts.forge(history, "\"v2\"", "\"v1\""), "signature"),
        (&|parts| parts.forge(release, "alice", "mallo"), "signature"),
        (&|parts| parts.lose("0001.json"), "no signed trigger in it names"),
        (&|parts| parts.lose(manifest), "is not the one that is signed"),
        (&|parts| parts.lose("/bin/run"), "/bin/run is missing in it"),
        (&|parts| parts.change("/bin/run", "#!/bin/sh", "#!/bin/sx"), "is not the one that it names"),
        (&|parts| parts.forge("/bin/run", "#!/bin/sh", "#!/bin/sx"), "is nothing that is signed"),
        (&|parts| parts.also_under("/bin/run", "auth/users.json"), "is nothing that is signed"),
        (&|parts| parts.also_under(manifest, "auth/users.json"), "is no document that a bundle brings"),
        (&|parts| parts.also_under(manifest, "cells/n1/db/versions/v2/manifest.json"), "no signed trigger in it names"),
    ];
    let other = two.file("other.tar");
    for (forge, problem) in cases {
        let mut parts = whole.clone();
        forge(&mut parts);
        parts.write(&other);
        let error = controller.load_bundle(&other).await.unwrap_err();
        assert_eq!(error.code(), "untrusted", "{problem}: {error}");
        let told = fleetman::store::in_full(&error);
        assert!(told.contains(problem), "{problem} is not in {told}");
        assert_eq!(committed(&two.there).await, Vec::<String>::new(), "{problem}");
    }
    // And what is only taken apart and put together again is as good as it was.
    whole.write(&other);
    assert_eq!(controller.load_bundle(&other).await.unwrap().versions.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_same_fleet_with_a_trusted_key_and_the_same_past_is_served() {
    let two = Two::start().await;
    let path = two.save("b.tar", &["n1/web"]).await;
    let fleet = FLEET.to_string();
    let foreign = two.file("foreign.tar");
    std::fs::write(&foreign, exchanged(&path, &fleet, "00000000-0000-0000-0000-000000000008")).unwrap();
    let controller = two.there.controller().await;
    assert_eq!(code(controller.load_bundle(&foreign).await), "foreign_fleet");
    let stranger = TestKey(9, 1);
    let other = two.there.controller_of("mallory", stranger, &[stranger], Conditions::Honoured).await;
    assert_eq!(code(other.load_bundle(&path).await), "untrusted");
    assert_eq!(two.there.keys("").await, Vec::<String>::new());

    // Another past under the same generation.
    let third = Bench::start().await;
    third.publish("v7", "ciao").await;
    third.publish("v2", "other").await;
    let before = third.keys("").await;
    assert_eq!(code(third.controller().await.load_bundle(&path).await), "exists");
    assert_eq!(third.keys("").await, before, "neither a file of it was sent, nor was it begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_whole_and_signed_is_saved_and_a_failure_leaves_no_file() {
    let two = Two::start().await;
    let looker = two.here.looker(&[KEY]).await;
    let path = two.file("b.tar");
    let save = async |text: &str| looker.save_bundle(&path, &[text.parse().unwrap()]).await;
    assert_eq!(code(save("n1/web@v9").await), "not_found");
    let file = two.here.keys("cells/n1/web/versions/v1/").await.into_iter().find(|key| key.ends_with("run")).unwrap();
    two.here.overwrite(&file, "#!/bin/sx\n").await;
    assert_eq!(code(save("n1/web@v1").await), "corrupt");
    two.here.delete(&file).await;
    assert_eq!(code(save("n1/web@v1").await), "version_incomplete");
    let stop = StopRequest { cell: cell(), reason: None };
    two.here.controller().await.stop(&stop, &Guard::default()).await.unwrap();
    assert_eq!(code(save("n1/web").await), "not_found", "nothing is desired");
    assert_eq!(std::fs::read_dir(two.folder.path()).unwrap().count(), 0);
    assert!("n1/web@".parse::<BundleSelector>().is_err() && "n1".parse::<BundleSelector>().is_err());
}
