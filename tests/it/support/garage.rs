//! A real S3 server that is not ours: one node of Garage, over a temporary folder.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use aws_sdk_s3::Client;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY, client, find_tool, skip, wait_for};

/// A running node, with the same credentials and bucket as every store of the tests.
pub(crate) struct Garage {
    program: PathBuf,
    process: Option<Child>,
    endpoint: String,
    folder: TempDir,
}

impl Garage {
    /// Starts a node, or says that the test is skipped because there is no `garage` (see [`skip`]).
    ///
    /// It is looked for in `FLEETMAN_GARAGE` (the program itself) and in `PATH`.
    pub(crate) async fn start() -> Option<Self> {
        let named = std::env::var_os("FLEETMAN_GARAGE").map(PathBuf::from).filter(|program| program.is_file());
        let Some(program) = named.or_else(|| find_tool("garage")) else {
            return skip("garage is not in FLEETMAN_GARAGE or PATH");
        };
        // Another process may take a port between our look and Garage's: then it exits, and we look again.
        for _ in 0..5 {
            if let Some(garage) = Self::try_start(&program).await {
                return Some(garage);
            }
        }
        panic!("garage does not start");
    }

    async fn try_start(program: &Path) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let [s3, rpc] = free_ports();
        let root = folder.path().display();
        let config = format!(
            "metadata_dir = \"{root}/meta\"\ndata_dir = \"{root}/data\"\ndb_engine = \"sqlite\"\nreplication_factor = 1\n\
             rpc_bind_addr = \"127.0.0.1:{rpc}\"\nrpc_public_addr = \"127.0.0.1:{rpc}\"\nrpc_secret = \"{secret}\"\n\
             [s3_api]\ns3_region = \"{REGION}\"\napi_bind_addr = \"127.0.0.1:{s3}\"\n",
            secret = "0".repeat(64),
        );
        std::fs::write(folder.path().join("garage.toml"), config).unwrap();
        let endpoint = format!("http://127.0.0.1:{s3}");
        let mut garage = Self { program: program.to_owned(), process: None, endpoint, folder };
        garage.restart().await.then_some(garage)
    }

    /// Starts the node again over what it has stored. `false` if it exits instead.
    pub(crate) async fn restart(&mut self) -> bool {
        self.stop().await;
        let log = std::fs::File::create(self.folder.path().join("log")).unwrap();
        let mut process = Command::new(&self.program)
            .arg("-c")
            .arg(self.folder.path().join("garage.toml"))
            .args(["server", "--single-node", "--default-bucket"])
            .env("GARAGE_DEFAULT_ACCESS_KEY", ACCESS_KEY)
            .env("GARAGE_DEFAULT_SECRET_KEY", SECRET_KEY)
            .env("GARAGE_DEFAULT_BUCKET", BUCKET)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let client = self.client();
        let mut exited = false;
        let answers = async || {
            exited = process.try_wait().unwrap().is_some();
            exited || client.head_bucket().bucket(BUCKET).send().await.is_ok()
        };
        wait_for(answers, "garage to answer").await;
        self.process = Some(process);
        !exited
    }

    /// Kills the node; what it stored stays.
    pub(crate) async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().await.unwrap();
        }
    }

    /// Runs a command line of the program, as an administrator would, and gives what it says.
    pub(crate) async fn run(&self, line: &str) -> String {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.folder.path().join("garage.toml")).args(line.split(' ').skip(1));
        let ran = command.stdin(Stdio::null()).kill_on_drop(true).output().await.unwrap();
        assert!(ran.status.success(), "{line}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// An unmodified AWS client for it.
    pub(crate) fn client(&self) -> Client {
        client(&self.endpoint)
    }
}

/// Ports that were free a moment ago.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [_; N] = std::array::from_fn(|_| std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
