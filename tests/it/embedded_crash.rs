//! The embedded store is killed while it is written to. What it acknowledged is there, and nothing is torn.
//!
//! A killed process loses nothing that the kernel already has, so this says nothing about a power cut.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use fleetman::embedded::Server;
use fleetman::entropy;
use sha2::{Digest as _, Sha256};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::support::{BUCKET, client, options, wait_for};

const ROUNDS: usize = 6;
const WRITERS: usize = 8;
const KEYS_OF_A_WRITER: usize = 4;

/// Set for the process that is to be killed: the folder, and the file to say the endpoint in.
const FOLDER_VARIABLE: &str = "FLEETMAN_TEST_SERVE_FOLDER";
const ENDPOINT_VARIABLE: &str = "FLEETMAN_TEST_ENDPOINT_FILE";

/// What a key may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    Version(u64),
}

/// What a writer knows about one of its keys.
#[derive(Debug)]
struct Key {
    name: String,
    acknowledged: State,
    /// Asked for, and not answered.
    unanswered: Option<State>,
    next_version: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_whole_or_absent_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut keys: Vec<Vec<Key>> = (0..WRITERS).map(keys_of_writer).collect();
    for round in 0..ROUNDS {
        let (mut process, endpoint) = spawn_server(folder.path()).await;
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let mut writers = JoinSet::new();
        for keys in keys.drain(..) {
            writers.spawn(write_until_it_dies(once(&endpoint), keys, Arc::clone(&acknowledged)));
        }
        let enough = 20 + usize::from(entropy::bytes::<1>().unwrap()[0]);
        wait_for(async || acknowledged.load(Ordering::SeqCst) >= enough, "writes to be acknowledged").await;
        process.kill().await.unwrap();
        keys = writers.join_all().await;

        let (mut process, endpoint) = spawn_server(folder.path()).await;
        let client = once(&endpoint);
        for key in keys.iter_mut().flatten() {
            let found = look(&client, key).await;
            let possible = [Some(key.acknowledged), key.unanswered];
            assert!(possible.contains(&Some(found)), "round {round}: found {found:?}, known is {key:?}");
            key.acknowledged = found;
            key.unanswered = None;
        }
        let listed = client.list_objects_v2().bucket(BUCKET).send().await.unwrap();
        let there = keys.iter().flatten().filter(|key| key.acknowledged != State::Absent).count();
        assert_eq!(listed.key_count(), i32::try_from(there).ok(), "round {round}");
        process.kill().await.unwrap();
    }
}

/// The process that the test above kills: this test binary, asked for this test alone.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "serves until it is killed; `an_object_is_whole_or_absent_after_a_kill` starts it"]
async fn serve_until_killed() {
    let (Some(folder), Some(file)) = (std::env::var_os(FOLDER_VARIABLE), std::env::var_os(ENDPOINT_VARIABLE)) else {
        return;
    };
    let server = Server::start(options(Path::new(&folder))).await.unwrap();
    let draft = Path::new(&file).with_extension("draft");
    std::fs::write(&draft, server.endpoint()).unwrap();
    std::fs::rename(draft, file).unwrap();
    std::future::pending::<()>().await;
}

async fn spawn_server(folder: &Path) -> (Child, String) {
    let file = folder.join("endpoint");
    let _ = std::fs::remove_file(&file);
    let process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded_crash::serve_until_killed", "--ignored", "--nocapture"])
        .env(FOLDER_VARIABLE, folder.join("store"))
        .env(ENDPOINT_VARIABLE, &file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    wait_for(async || file.exists(), "the server to start").await;
    (process, std::fs::read_to_string(&file).unwrap())
}

/// A client that does not retry: a write is answered, or it is not.
fn once(endpoint: &str) -> Client {
    let config = client(endpoint).config().to_builder().retry_config(RetryConfig::disabled());
    Client::from_conf(config.build())
}

fn keys_of_writer(writer: usize) -> Vec<Key> {
    let name = |n: usize| format!("writer {writer}/{n}");
    let key = |n| Key { name: name(n), acknowledged: State::Absent, unanswered: None, next_version: 1 };
    (0..KEYS_OF_A_WRITER).map(key).collect()
}

async fn write_until_it_dies(client: Client, mut keys: Vec<Key>, acknowledged: Arc<AtomicUsize>) -> Vec<Key> {
    for turn in 0.. {
        let key = &mut keys[turn % KEYS_OF_A_WRITER];
        let version = key.next_version;
        key.next_version += 1;
        let delete = key.acknowledged != State::Absent && version.is_multiple_of(5);
        let wanted = if delete { State::Absent } else { State::Version(version) };
        key.unanswered = Some(wanted);
        let answered = if delete {
            client.delete_object().bucket(BUCKET).key(&key.name).send().await.is_ok()
        } else {
            let put = client.put_object().bucket(BUCKET).key(&key.name).body(body(&key.name, version).into());
            put.send().await.is_ok()
        };
        if !answered {
            break;
        }
        key.acknowledged = wanted;
        key.unanswered = None;
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    keys
}

/// What is there now. A body that is no whole version of this key fails the test.
async fn look(client: &Client, key: &Key) -> State {
    let got = match client.get_object().bucket(BUCKET).key(&key.name).send().await {
        Ok(got) => got,
        Err(error) if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 404) => {
            return State::Absent;
        }
        Err(error) => panic!("{error:?}"),
    };
    let found = Sha256::digest(got.body.collect().await.unwrap().to_vec());
    let versions = [key.acknowledged, key.unanswered.unwrap_or(State::Absent)];
    let whole = versions.into_iter().find(|state| match state {
        State::Absent => false,
        State::Version(version) => Sha256::digest(body(&key.name, *version)) == found,
    });
    whole.unwrap_or_else(|| panic!("{key:?} holds neither of its versions"))
}

/// The body of a version: from nothing to some hundred KiB, different for every key and version.
fn body(name: &str, version: u64) -> Vec<u8> {
    let seed = Sha256::digest(format!("{name} {version}"));
    let length = if version.is_multiple_of(7) { 0 } else { usize::from(seed[0]) * 2000 + usize::from(seed[1]) };
    seed.iter().copied().cycle().take(length).collect()
}
