//! `fleetagent config check`

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Serialize;
use uuid::Uuid;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Tone};
use crate::config::AgentConfig;
use crate::model::NodeName;
use crate::model::sign::Trust;
use crate::model::text;

/// What the config comes to; nothing in it is secret.
#[derive(Debug, Serialize)]
struct Checked<'a> {
    file: PathBuf,
    node: &'a NodeName,
    fleet: Uuid,
    bucket: &'a str,
    prefix: &'a str,
    endpoint: Option<&'a str>,
    region: Option<&'a str>,
    /// Where the keys for the bucket come from.
    credentials: String,
    trusted_keys: Vec<String>,
    state_folder: &'a Path,
    poll_interval_ms: u128,
    heartbeat_interval_ms: u128,
    full_scan_interval_ms: u128,
    keep_versions: usize,
    labels: &'a BTreeMap<String, String>,
    profiles: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deploy_folder: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process_folder: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supervisor_folder: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics_listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics_text_file: Option<&'a Path>,
}

pub(super) fn run(context: &Context) -> Result<Exit, Failure> {
    let config = context.config()?;
    let checked = Checked {
        file: context.find_config()?,
        node: &config.node,
        fleet: config.fleet,
        bucket: &config.store.bucket,
        prefix: config.store.prefix.as_str(),
        endpoint: config.store.endpoint.as_deref(),
        region: config.store.region.as_deref(),
        credentials: config.store.credentials.places(),
        trusted_keys: trusted(&config),
        state_folder: &config.state_folder,
        poll_interval_ms: config.poll_interval.as_millis(),
        heartbeat_interval_ms: config.heartbeat_interval.as_millis(),
        full_scan_interval_ms: config.full_scan_interval.as_millis(),
        keep_versions: config.keep_versions,
        labels: &config.labels,
        profiles: context.profiles(&config)?,
        deploy_folder: config.profiles.deploy.as_ref().map(|deploy| deploy.target_folder.as_path()),
        process_folder: config.profiles.process.as_ref().map(|process| process.folder.as_path()),
        supervisor_folder: config.profiles.supervisor.as_ref().map(|supervisor| supervisor.folder.as_path()),
        metrics_listen: config.metrics.listen,
        metrics_text_file: config.metrics.text_file.as_deref(),
    };
    context.output.show(&checked, |output| table(&checked, output))?;
    Ok(Exit::Ok)
}

/// What whoever sets up a node compares with what it was meant to be.
fn table(checked: &Checked<'_>, output: Output) -> String {
    let list = |items: &[String]| items.iter().map(|item| format!("\n  {}", text::line(item))).collect::<String>();
    let address = [checked.bucket, checked.prefix].join("/");
    let profiles = match checked.profiles.as_slice() {
        [] => output.paint(Tone::Warn, "none: every cell waits"),
        profiles => profiles.join(", "),
    };
    let believed = match checked.trusted_keys.as_slice() {
        [] => output.paint(Tone::Bad, "everybody: signatures are off, whoever can write to the bucket can deploy here"),
        keys => list(keys),
    };
    format!(
        "{} can be used: node {} of fleet {}\nbucket: s3://{} at {}, keys from {}\nprofiles: {profiles}\nbelieved: {}",
        checked.file.display(),
        checked.node,
        checked.fleet,
        text::line(address.trim_end_matches('/')),
        text::line(checked.endpoint.unwrap_or("AWS")),
        text::line(&checked.credentials),
        believed.trim_start_matches(' ')
    )
}

/// The keys that are believed; none where signatures are off.
fn trusted(config: &AgentConfig) -> Vec<String> {
    match &config.trust {
        Trust::Keys(keys) => keys.iter().map(|pinned| format!("{} (epoch {})", pinned.key, pinned.epoch)).collect(),
        Trust::Unsigned => Vec::new(),
    }
}
