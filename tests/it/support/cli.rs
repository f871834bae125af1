//! The real programs, run in a folder of their own against an embedded store.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::{ACCESS_KEY, BUCKET, SECRET_KEY, Store};

/// The fleet of every config that tests write.
pub(crate) const FLEET: &str = "6f1c2b5e-8d57-4a1e-9a3e-0b6a5d7c9e10";

/// How a command ended and what it wrote.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Ran {
    /// What it wrote on standard output, if it ended with `code`.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Its standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}\n{}", self.out, self.err))
    }

    /// The failure on its standard error, with `-o json`.
    #[track_caller]
    pub(crate) fn error(&self) -> serde_json::Value {
        let line = self.err.lines().find(|line| line.starts_with("{\"error\"")).unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}\n{}", self.err))["error"]
            .clone()
    }
}

/// A folder to run the programs in, and perhaps a bucket that the configs in it name.
pub(crate) struct Workplace {
    folder: TempDir,
    store: Option<Store>,
    endpoint: Option<String>,
}

impl Workplace {
    /// A folder without configs.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), store: None, endpoint: None }
    }

    /// A folder with a controller's config and key for a bucket that is marked as this fleet's.
    pub(crate) async fn with_bucket() -> Self {
        let store = Store::start().await;
        let place = Self::over(&store.endpoint()).await;
        Self { store: Some(store), ..place }
    }

    /// The same for a server that somebody else started, with the usual bucket and credentials.
    pub(crate) async fn over(endpoint: &str) -> Self {
        let place = Self { endpoint: Some(endpoint.to_owned()), ..Self::empty() };
        place.fleetman(&["keygen"]).await.exits(0);
        place.write(
            "controller_config.yaml",
            &format!(
                "buckets:\n  - name: test\n    fleet: {FLEET}\n{}    signing_key_file: signing.key\nuser: tester\n\
                 state_folder: state\n",
                place.access("    ")
            ),
        );
        place.fleetman(&["init"]).await.exits(0);
        place
    }

    /// The fields of a config that reach the bucket, indented.
    pub(crate) fn access(&self, indent: &str) -> String {
        let endpoint = self.endpoint.as_ref().unwrap();
        format!(
            "{indent}bucket: {BUCKET}\n{indent}endpoint: {endpoint}\n{indent}region: us-east-1\n\
             {indent}access_key: {ACCESS_KEY}\n{indent}secret_key: {SECRET_KEY}\n"
        )
    }

    /// Writes the config of an agent called `node`, which believes this folder's signing key, with a state and a
    /// target folder of its own, and gives the config's path.
    pub(crate) async fn agent_config(&self, node: &str) -> PathBuf {
        // `init` prints the key with the config for a node.
        let printed = self.fleetman(&["init"]).await.exits(0).out;
        let key = printed.lines().find(|line| line.contains("ed25519:")).unwrap().to_owned();
        self.write(
            &format!("{node}.yaml"),
            &format!(
                "node: {node}\nfleet: {FLEET}\nbucket:\n{}trusted_keys:\n{key}\nstate_folder: {node}-state\n\
                 poll_interval: 200ms\nheartbeat_interval: 1s\nfull_scan_interval: 1h\n\
                 deploy:\n  target_folder: {node}-cells\n",
                self.access("  ")
            ),
        )
    }

    /// The bucket's server.
    pub(crate) fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, and the folders that it is in.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) async fn fleetman(&self, args: &[&str]) -> Ran {
        self.run(env!("CARGO_BIN_EXE_fleetman"), args, "").await
    }

    pub(crate) async fn fleetman_fed(&self, args: &[&str], input: &str) -> Ran {
        self.run(env!("CARGO_BIN_EXE_fleetman"), args, input).await
    }

    pub(crate) async fn fleetagent(&self, args: &[&str]) -> Ran {
        self.run(env!("CARGO_BIN_EXE_fleetagent"), args, "").await
    }

    /// Starts `fleetman` and leaves it running; it is killed when what is returned goes.
    pub(crate) fn start_fleetman(&self, args: &[&str]) -> Child {
        self.command(env!("CARGO_BIN_EXE_fleetman"), args).kill_on_drop(true).spawn().unwrap()
    }

    /// The same with `fleetagent`.
    pub(crate) fn start_fleetagent(&self, args: &[&str]) -> Child {
        self.command(env!("CARGO_BIN_EXE_fleetagent"), args).kill_on_drop(true).spawn().unwrap()
    }

    /// Runs the agent of `config` as a process, killed when what is returned goes. Its log goes on in `<config>.log`.
    pub(crate) fn run_agent(&self, config: &Path) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(config.with_extension("log")).unwrap();
        let mut command = self.command(env!("CARGO_BIN_EXE_fleetagent"), &["run", "-v", "--log-format", "json"]);
        command.arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true).spawn().unwrap()
    }

    /// A program, to be started here with more in its environment.
    pub(crate) fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        // Nothing of the machine that the test runs on: no config, no credentials, no proxies.
        command.env_clear().env("HOME", self.folder.path()).env("USER", "tester").env("PATH", "/usr/bin:/bin");
        command.args(args).current_dir(self.folder.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn run(&self, program: &str, args: &[&str], input: &str) -> Ran {
        let mut child = self.command(program, args).kill_on_drop(true).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A program that does not read it may have ended already.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = tokio::time::timeout(Duration::from_secs(120), child.wait_with_output()).await;
        Ran::from(output.unwrap_or_else(|_| panic!("{program} {args:?} did not end")).unwrap())
    }
}

/// The answer to a GET of a page: status line and headers, then the body.
pub(crate) async fn page(url: &str) -> Option<(String, String)> {
    let (address, path) = url.strip_prefix("http://")?.split_once('/')?;
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}
