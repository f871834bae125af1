//! What tests stand on: an S3 server in a temporary folder, and waiting for a condition instead of for a time.
#![allow(dead_code, reason = "a toolbox: not every build of the tests uses every tool")]

pub(crate) mod acme;
pub(crate) mod agent_host;
pub(crate) mod api;
pub(crate) mod browser;
pub(crate) mod bucket;
pub(crate) mod cells;
pub(crate) mod cli;
pub(crate) mod contract;
pub(crate) mod fleet;
pub(crate) mod form;
pub(crate) mod garage;
pub(crate) mod hooks;
pub(crate) mod host;
pub(crate) mod hostile;
pub(crate) mod identity_provider;

pub(crate) mod listening;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod mail_server;
pub(crate) mod node;
pub(crate) mod orders;
pub(crate) mod package_host;
pub(crate) mod people;
pub(crate) mod policy;
pub(crate) mod portal;
pub(crate) mod proxy;
pub(crate) mod running;
pub(crate) mod scrape;
pub(crate) mod scripted;
pub(crate) mod serving;
pub(crate) mod shim;
pub(crate) mod stand_in;
pub(crate) mod supervisord;
pub(crate) mod tokens;
pub(crate) mod walk;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use fleetman::embedded::{EmbeddedError, Options, Server};
use tempfile::TempDir;

/// The credentials and the bucket of every server that tests start.
pub(crate) const ACCESS_KEY: &str = "GK31c2f218a2e44f485b94239e";
pub(crate) const SECRET_KEY: &str = "b892c0665f0ada8a4755dae98baa3b133590e11dae3bcc1f9d769d67f16c3835";
pub(crate) const BUCKET: &str = "fleet";
pub(crate) const REGION: &str = "us-east-1";

/// An embedded server over a folder of its own. The folder goes when this goes.
pub(crate) struct Store {
    server: Option<Server>,
    listen: SocketAddr,
    folder: TempDir,
}

impl Store {
    /// Starts a server with the empty bucket [`BUCKET`] on a free port.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(options(folder.path())).await.unwrap();
        Self { listen: server.local_addr(), server: Some(server), folder }
    }

    /// Where it is reached, also after a restart.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// The folder that it serves.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts an object into the bucket as whoever has rights to it could.
    pub(crate) async fn put(&self, key: &str, bytes: Vec<u8>) {
        self.client().put_object().bucket(BUCKET).key(key).body(bytes.into()).send().await.unwrap();
    }

    /// An unmodified AWS client for it.
    pub(crate) fn client(&self) -> Client {
        client(&self.endpoint())
    }

    /// Stops the server, if it runs, and starts another over the same folder, on the same port.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        let again = async || {
            let options = Options { listen: self.listen, ..options(self.folder.path()) };
            match Server::start(options).await {
                // A process that another test forks at this moment has it open until it executes its program.
                Err(EmbeddedError::PortTaken { .. }) => false,
                started => {
                    self.server = Some(started.unwrap());
                    true
                }
            }
        };
        wait_for(again, "the port to be free again").await;
    }

    /// Stops the server; what it stored stays.
    pub(crate) async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown().await;
        }
    }
}

/// The options for a server over `root` on a free port.
pub(crate) fn options(root: &Path) -> Options {
    Options {
        root: root.to_owned(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        access_key: ACCESS_KEY.to_owned(),
        secret_key: SECRET_KEY.to_owned(),
        buckets: vec![BUCKET.to_owned()],
    }
}

/// An unmodified AWS client with the SDK's own defaults, apart from the path style.
pub(crate) fn client(endpoint: &str) -> Client {
    client_with(endpoint, REGION, ACCESS_KEY, SECRET_KEY)
}

/// The same for a server with other credentials.
pub(crate) fn client_with(endpoint: &str, region: &str, access_key: &str, secret_key: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(endpoint)
        .region(Region::new(region.to_owned()))
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
        .force_path_style(true);
    Client::from_conf(config.build())
}

/// So long is waited for what should come soon: long, because a machine may have much else to do, and nothing that goes
/// well waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long after a look at a condition the next one is.
const BETWEEN: Duration = Duration::from_millis(50);

/// Waits until `condition` holds, and panics naming `what` if it does not within [`PATIENCE`].
pub(crate) async fn wait_for(condition: impl AsyncFnMut() -> bool, what: &str) {
    assert!(holds_in_time(condition).await, "waited {PATIENCE:?} in vain for: {what}");
}

/// Waits until `condition` holds, and says whether it did within [`PATIENCE`].
pub(crate) async fn holds_in_time(mut condition: impl AsyncFnMut() -> bool) -> bool {
    for _ in 0..PATIENCE.div_duration_f64(BETWEEN) as usize {
        if condition().await {
            return true;
        }
        pause().await;
    }
    false
}

#[expect(clippy::disallowed_methods, reason = "the one pause of all tests, between two looks at a condition")]
async fn pause() {
    tokio::time::sleep(BETWEEN).await;
}

/// Where a foreign program is, or `None` after saying that the test is skipped; see [`skip`].
pub(crate) fn require_tool(name: &str) -> Option<PathBuf> {
    find_tool(name).or_else(|| skip(&format!("{name} is not in PATH")))
}

pub(crate) fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Skips a test for `reason`. With `FLEETMAN_E2E=1` nothing may be skipped, and it fails.
pub(crate) fn skip<T>(reason: &str) -> Option<T> {
    assert!(std::env::var_os("FLEETMAN_E2E").is_none_or(|value| value != "1"), "FLEETMAN_E2E=1, but {reason}");
    eprintln!("skipped: {reason}");
    None
}
