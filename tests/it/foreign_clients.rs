//! Programs that other people wrote use the embedded store as they come: no settings but endpoint and keys.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Output, Stdio};

use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{ACCESS_KEY, BUCKET, REGION, SECRET_KEY, Store, require_tool};

/// Large enough for every client to send it in parts.
const LARGE_BYTES: usize = 40 * 1024 * 1024 + 17;

/// Names that are legal for files and unusual for keys.
const NAMES: [&str; 9] =
    ["plain", "a b", "a+b", "100%25", "sub/deep/er", "caf\u{e9}", "\u{65e5}\u{672c}/\u{1f980}", "q?x=1&y#z", "empty"];

/// A store, a home for the clients that knows its keys, and a folder full of files.
struct Stage {
    store: Store,
    home: TempDir,
}

impl Stage {
    async fn set() -> Self {
        let store = Store::start().await;
        let home = tempfile::tempdir().unwrap();
        let source = home.path().join("source");
        for name in NAMES {
            let path = source.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, if name == "empty" { "" } else { name }).unwrap();
        }
        let large: Vec<u8> = (0..LARGE_BYTES).map(|n| (n % 251) as u8).collect();
        std::fs::write(source.join("large"), large).unwrap();
        Self { store, home }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs a client to its end; it must succeed. Gives what it printed.
    async fn run(&self, program: &Path, arguments: &[&str]) -> String {
        let output = self.output(program, arguments).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{program:?} {arguments:?}: {}\n{stdout}\n{stderr}", output.status);
        stdout
    }

    async fn output(&self, program: &Path, arguments: &[&str]) -> Output {
        let endpoint = self.store.endpoint();
        let path = std::env::var_os("PATH").unwrap_or_default();
        Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", self.home.path())
            .env("PYENV_ROOT", std::env::var_os("PYENV_ROOT").unwrap_or_default())
            .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_REGION", REGION)
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("S3_ENDPOINT_URL", &endpoint)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("RCLONE_CONFIG_STORE_TYPE", "s3")
            .env("RCLONE_CONFIG_STORE_PROVIDER", "Other")
            .env("RCLONE_CONFIG_STORE_ENV_AUTH", "true")
            .env("RCLONE_CONFIG_STORE_ENDPOINT", &endpoint)
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap()
    }

    /// What the store holds below a prefix, by name.
    async fn stored(&self, prefix: &str) -> Vec<String> {
        let list = self.store.client().list_objects_v2().bucket(BUCKET).prefix(prefix).send().await.unwrap();
        list.contents().iter().map(|object| object.key().unwrap().strip_prefix(prefix).unwrap().to_owned()).collect()
    }

    /// Fails unless `folder` holds exactly the files of the source.
    fn assert_same_as_source(&self, folder: &str) {
        assert!(files(&self.home.path().join(folder)) == files(&self.home.path().join("source")), "{folder} differs");
    }
}

/// The names that the store should hold after an upload.
fn uploaded() -> Vec<String> {
    let mut names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
    names.push("large".to_owned());
    names.sort();
    names
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files =
        walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    let name = |path: &Path| path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    files.map(|entry| (name(entry.path()), std::fs::read(entry.path()).unwrap())).collect()
}

#[tokio::test]
async fn the_aws_command_line_works_unchanged() {
    let Some(aws) = require_tool("aws") else { return };
    let stage = Stage::set().await;
    let (source, back) = (stage.path("source"), stage.path("back"));
    stage.run(&aws, &["s3", "cp", "--recursive", &source, "s3://fleet/up/"]).await;
    assert_eq!(stage.stored("up/").await, uploaded());
    stage.run(&aws, &["s3", "sync", "s3://fleet/up/", &back]).await;
    stage.assert_same_as_source("back");

    // Nothing changed, so there is nothing to do.
    assert_eq!(stage.run(&aws, &["s3", "sync", "--size-only", &source, "s3://fleet/up/"]).await, "");
    let listed = stage.run(&aws, &["s3", "ls", "--recursive", "--summarize", "s3://fleet/up/"]).await;
    assert!(listed.contains("Total Objects: 10"), "{listed}");
    // Larger than what the client copies in one request, so it copies in parts.
    stage.run(&aws, &["s3", "mv", "s3://fleet/up/large", "s3://fleet/moved/large \u{e9}"]).await;
    assert_eq!(stage.stored("moved/").await, ["large \u{e9}"]);
    stage.run(&aws, &["s3", "rm", "--recursive", "s3://fleet/"]).await;
    assert_eq!(stage.stored("").await, Vec::<String>::new());

    stage.run(&aws, &["s3", "mb", "s3://another-bucket"]).await;
    assert!(stage.run(&aws, &["s3", "ls"]).await.contains("another-bucket"));
    stage.run(&aws, &["s3", "rb", "s3://another-bucket"]).await;
    assert!(!stage.run(&aws, &["s3", "ls"]).await.contains("another-bucket"));
}

#[tokio::test]
async fn s5cmd_works_unchanged() {
    let Some(s5cmd) = require_tool("s5cmd") else { return };
    let stage = Stage::set().await;
    let (source, back) = (format!("{}/", stage.path("source")), format!("{}/", stage.path("back")));
    stage.run(&s5cmd, &["cp", &source, "s3://fleet/up/"]).await;
    assert_eq!(stage.stored("up/").await, uploaded());
    stage.run(&s5cmd, &["cp", "s3://fleet/up/*", &back]).await;
    stage.assert_same_as_source("back");
    let listed = stage.run(&s5cmd, &["ls", "s3://fleet/up/*"]).await;
    assert_eq!(listed.lines().count(), 10, "{listed}");
    assert_eq!(stage.run(&s5cmd, &["sync", "--size-only", &source, "s3://fleet/up/"]).await, "");
    stage.run(&s5cmd, &["cp", "s3://fleet/up/a b", "s3://fleet/copy/a+b \u{e9}"]).await;
    assert_eq!(stage.run(&s5cmd, &["cat", "s3://fleet/copy/a+b \u{e9}"]).await, "a b");
    stage.run(&s5cmd, &["rm", "s3://fleet/*"]).await;
    assert_eq!(stage.stored("").await, Vec::<String>::new());
}

#[tokio::test]
async fn rclone_works_unchanged() {
    let Some(rclone) = require_tool("rclone") else { return };
    let stage = Stage::set().await;
    let (source, back) = (stage.path("source"), stage.path("back"));
    // The limit from which on parts are used is 200 MiB otherwise.
    stage.run(&rclone, &["copy", "--s3-upload-cutoff", "16M", &source, "store:fleet/up"]).await;
    assert_eq!(stage.stored("up/").await, uploaded());
    stage.run(&rclone, &["check", "--download", &source, "store:fleet/up"]).await;
    stage.run(&rclone, &["sync", "store:fleet/up", &back]).await;
    stage.assert_same_as_source("back");
    let listed = stage.run(&rclone, &["lsf", "--recursive", "--files-only", "store:fleet/up"]).await;
    assert_eq!(listed.lines().count(), 10, "{listed}");
    stage.run(&rclone, &["moveto", "store:fleet/up/a b", "store:fleet/moved/a+b \u{e9}"]).await;
    assert_eq!(stage.stored("moved/").await, ["a+b \u{e9}"]);
    assert_eq!(stage.run(&rclone, &["cat", "--offset", "1", "store:fleet/moved/a+b \u{e9}"]).await, " b");
    stage.run(&rclone, &["purge", "store:fleet/up"]).await;
    assert_eq!(stage.stored("up/").await, Vec::<String>::new());
}

#[tokio::test]
async fn s3cmd_works_unchanged() {
    let Some(s3cmd) = require_tool("s3cmd") else { return };
    let stage = Stage::set().await;
    let host = stage.store.endpoint().trim_start_matches("http://").to_owned();
    let config = format!("[default]\nhost_base = {host}\nhost_bucket = {host}\nuse_https = False\n");
    std::fs::write(stage.home.path().join(".s3cfg"), config).unwrap();
    let (source, back) = (format!("{}/", stage.path("source")), format!("{}/", stage.path("back")));
    stage.run(&s3cmd, &["sync", "--no-progress", &source, "s3://fleet/up/"]).await;
    assert_eq!(stage.stored("up/").await, uploaded());
    std::fs::create_dir(&back).unwrap();
    stage.run(&s3cmd, &["sync", "--no-progress", "s3://fleet/up/", &back]).await;
    stage.assert_same_as_source("back");
    stage.run(&s3cmd, &["cp", "s3://fleet/up/a b", "s3://fleet/copy/a+b"]).await;
    assert_eq!(stage.stored("copy/").await, ["a+b"]);
    stage.run(&s3cmd, &["del", "--recursive", "--force", "s3://fleet/up/"]).await;
    assert_eq!(stage.stored("up/").await, Vec::<String>::new());
}

#[tokio::test]
async fn boto3_works_unchanged() {
    let Some(python) = require_tool("python3") else { return };
    let stage = Stage::set().await;
    if !stage.output(&python, &["-c", "import boto3"]).await.status.success() {
        crate::support::skip::<()>("boto3 cannot be imported by python3");
        return;
    }
    let script = include_str!("foreign_clients/with_boto3.py");
    let printed = stage.run(&python, &["-c", script, &stage.path("source/large"), BUCKET]).await;
    assert_eq!(printed, "all is well\n");
}
