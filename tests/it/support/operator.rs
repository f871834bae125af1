//! A fleet as an operator has it: the two programs as processes of their own, config files, folders on nodes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{ACCESS_KEY, BUCKET, SECRET_KEY, wait_for};

/// The programs of this build.
pub(crate) const FLEETMAN: &str = env!("CARGO_BIN_EXE_fleetman");
pub(crate) const FLEETAGENT: &str = env!("CARGO_BIN_EXE_fleetagent");

/// The store as the programs reach it.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub(crate) endpoint: String,
    pub(crate) region: String,
    pub(crate) bucket: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
}

impl Bucket {
    /// The bucket of an embedded server, at `endpoint` directly or through a proxy.
    pub(crate) fn embedded(endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            region: super::REGION.to_owned(),
            bucket: BUCKET.to_owned(),
            access_key: ACCESS_KEY.to_owned(),
            secret_key: SECRET_KEY.to_owned(),
        }
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A fleet in a folder of its own. Agents that still run at the end are killed.
pub(crate) struct Operator {
    folder: TempDir,
    agents: BTreeMap<String, Child>,
}

impl Operator {
    /// Makes config, key and fleet with `fleetman init`, as an operator does.
    pub(crate) async fn init(bucket: &Bucket) -> Self {
        let operator = Self { folder: tempfile::tempdir().unwrap(), agents: BTreeMap::new() };
        operator.write("secret", &bucket.secret_key);
        let url = format!("s3://{}/prod", bucket.bucket);
        let secret = operator.path("secret");
        let secret = secret.to_str().unwrap();
        #[rustfmt::skip]
        let ran = operator.ok(&[
            "init", &url, "--endpoint", &bucket.endpoint, "--region", &bucket.region,
            "--access-key", &bucket.access_key, "--secret-key-file", secret,
        ]).await;
        operator.write("agent_template.yaml", &ran.stdout);
        operator
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, and the folders above it.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("USER", "tester")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs `fleetman` to its end.
    pub(crate) async fn fleetman(&self, args: &[&str]) -> Ran {
        let output = self.command(FLEETMAN, args).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Starts `fleetman` without waiting for its end.
    pub(crate) fn spawn_fleetman(&self, args: &[&str]) -> Child {
        self.command(FLEETMAN, args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs `fleetman`, which must succeed.
    pub(crate) async fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.fleetman(args).await;
        assert_eq!(ran.code, Some(0), "fleetman {args:?}: {ran:?}");
        ran
    }

    /// The folder of a node.
    pub(crate) fn node(&self, node: &str) -> PathBuf {
        self.path("nodes").join(node)
    }

    /// Writes a node's config from what `init` printed, with short intervals and folders of its own.
    pub(crate) fn configure(&self, node: &str) {
        let template = std::fs::read_to_string(self.path("agent_template.yaml")).unwrap();
        let controller = std::fs::read_to_string(self.path("controller_config.yaml")).unwrap();
        let field = |name: &str| {
            let line = controller.lines().find_map(|line| line.trim().strip_prefix(&format!("{name}: ")));
            line.unwrap_or_else(|| panic!("{name} is not in the config")).to_owned()
        };
        let config = template
            .replace("CHANGE-ME", node)
            .replace("# access_key: AKIAEXAMPLE", &format!("access_key: {}", field("access_key")))
            .replace("# secret_key: change-me", &format!("secret_key: {}", field("secret_key")))
            .replace("/var/lib/fleetagent", "state")
            .replace("/srv/cells", "www");
        let intervals = "poll_interval: 200ms\nheartbeat_interval: 1s\nfull_scan_interval: 1s\n";
        self.write(&format!("nodes/{node}/agent_config.yaml"), &format!("{config}\n{intervals}"));
    }

    /// Starts the agent of a node as a process; its log goes to `agent.log` in the node's folder.
    pub(crate) fn start_agent(&mut self, node: &str) {
        if !self.node(node).join("agent_config.yaml").exists() {
            self.configure(node);
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.node(node).join("agent.log"));
        let child = self
            .command(FLEETAGENT, &["run", "--log-format", "json"])
            .current_dir(self.node(node))
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        assert!(self.agents.insert(node.to_owned(), child).is_none(), "{node} runs already");
    }

    /// Ends an agent as a power cut does.
    pub(crate) async fn kill_agent(&mut self, node: &str) {
        let mut child = self.agents.remove(node).unwrap();
        child.start_kill().unwrap();
        child.wait().await.unwrap();
    }

    /// Ends an agent as an init does; gives its exit code.
    pub(crate) async fn stop_agent(&mut self, node: &str) -> Option<i32> {
        let mut child = self.agents.remove(node).unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().await.unwrap().code()
    }

    /// The agent's log so far.
    pub(crate) fn agent_log(&self, node: &str) -> String {
        std::fs::read_to_string(self.node(node).join("agent.log")).unwrap_or_default()
    }

    /// Runs another verb of `fleetagent` in the node's folder.
    pub(crate) async fn fleetagent(&self, node: &str, args: &[&str]) -> Ran {
        let output = self.command(FLEETAGENT, args).current_dir(self.node(node)).output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// A file of what is deployed, if it is there.
    pub(crate) fn deployed(&self, node: &str, cell: &str, file: &str) -> Option<String> {
        std::fs::read_to_string(self.node(node).join("www").join(cell).join(file)).ok()
    }

    /// Waits until a deployed file says `text`.
    pub(crate) async fn wait_deployed(&self, node: &str, cell: &str, file: &str, text: &str) {
        let what = format!("{node}/{cell} to have {file} with {text:?}\n{}", self.agent_log(node));
        wait_for(async || self.deployed(node, cell, file).as_deref() == Some(text), &what).await;
    }

    /// What `fleetman get cells` says of one cell.
    pub(crate) async fn cell(&self, cell: &str) -> Value {
        let cells = self.ok(&["get", "cells", "-o", "json"]).await.json();
        let items = cells["items"].as_array().cloned().unwrap_or_default();
        items.into_iter().find(|item| item["cell"] == cell).unwrap_or(Value::Null)
    }
}

/// The answer to a GET of a page: status line and headers, then the body.
pub(crate) async fn page(url: &str) -> Option<(String, String)> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (address, path) = url.strip_prefix("http://")?.split_once('/')?;
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_owned(), body.to_owned()))
}

/// A file's name below a folder that need not exist.
pub(crate) fn exists(folder: &Path, name: &str) -> bool {
    folder.join(name).symlink_metadata().is_ok()
}
