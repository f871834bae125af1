//! `fleetman node add`

#[cfg(feature = "agent")]
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::config::{Own, Profile, agent_config};
use super::keys::{Steps, StoreKind};
use super::policy::Policy;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::fleetman::context::Context;
use crate::cli::fleetman::keygen::write_new;
use crate::cli::input;
use crate::config::ControllerConfig;
#[cfg(feature = "agent")]
use crate::config::{AGENT_FILE, AgentConfig, ConfigFile};
use crate::controller::{Liveness, LivenessLimits};
use crate::model::NodeName;

/// No secret key is longer.
const MAX_SECRET_BYTES: usize = 4096;

/// Print what a new node needs: its config, its rights, how to make its keys
///
/// Nothing is changed, neither in the bucket nor at the store. Standard output is the config; with --write, which puts
/// the config into a file, it is the policy, on stores that read policies. Both are in -o json and yaml.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fleetman node add n1
  fleetman node add n1 --profile systemd,process --write agent_config.yaml > policy.json
  fleetman node add n1 --access-key GK123 --secret-key-file ./secret --write agent_config.yaml")]
pub(crate) struct AddArgs {
    /// Its name: lower-case letters, digits and `-`
    node: NodeName,
    /// The profiles to set it up for; the others are comments in the config [default: deploy,process]
    #[arg(long, value_name = "PROFILES", value_delimiter = ',', value_enum)]
    profile: Vec<Profile>,
    /// The kind of store [default: the one that the endpoint suggests]
    #[arg(long, value_name = "KIND", value_enum)]
    store: Option<StoreKind>,
    /// Write the config to this file, readable by you alone; an existing one is never overwritten
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// The node's access key, if it is to stand in the config
    #[arg(long, value_name = "KEY", requires_all = ["secret_key_file", "write"])]
    access_key: Option<String>,
    /// The file with its secret key, which is written but never printed; - reads standard input
    #[arg(long, value_name = "FILE", requires = "access_key")]
    secret_key_file: Option<PathBuf>,
}

/// What a new node needs.
#[derive(Debug, Serialize)]
struct Added<'a> {
    node: &'a NodeName,
    /// Unless it was written to a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<PathBuf>,
    store: StoreKind,
    /// On stores that read policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Policy>,
    keys: Steps,
}

pub(super) async fn run(args: AddArgs, context: &Context) -> Result<Exit, Failure> {
    let config = context.config()?;
    let bucket = context.chosen(&config)?;
    let (store, is_sure) = StoreKind::of(args.store, bucket);
    let settings = &bucket.store;
    let policy = if store.reads_policies() {
        let region = settings.region.as_deref().filter(|_| store == StoreKind::Aws);
        Some(Policy::of_node(&args.node, &settings.bucket, &settings.prefix, region)?)
    } else {
        None
    };
    let secret = args.secret_key_file.as_deref().map(|file| input::read_text(file, MAX_SECRET_BYTES)).transpose()?;
    let keys = args.access_key.as_deref().zip(secret.as_deref().map(str::trim));
    let profiles = if args.profile.is_empty() { &Profile::USUAL[..] } else { &args.profile };
    let text = agent_config(bucket, &Own { node: Some(&args.node), keys, profiles })?;
    // What was typed is checked before anything is written. A controller's build alone knows no agents' configs.
    #[cfg(feature = "agent")]
    AgentConfig::parse(&ConfigFile::written(Path::new(AGENT_FILE), text.clone()))?;

    warn_of_others(&args.node, context, &config).await;
    let output = context.output;
    let mut added =
        Added { node: &args.node, config: None, written: None, store, policy, keys: store.make(&args.node, bucket) };
    match args.write {
        Some(path) => {
            write_new(&path, &text, 0o600)?;
            output.say(&format!("{}: written; save it on the node as /etc/fleetman/agent_config.yaml", path.display()));
            added.written = Some(path);
        }
        None => {
            output.say("To be saved on the node as /etc/fleetman/agent_config.yaml, readable by its agent alone:\n");
            added.config = Some(text);
        }
    }
    let policy = added.policy.as_ref().map(serde_json::to_string_pretty).transpose();
    let policy = policy.map_err(|error| Failure::new(Exit::Internal, "output", error.to_string()))?;
    let policy_is_data = added.config.is_none();
    output.show(&added, |_| match (&added.config, &policy) {
        (Some(config), _) => config.trim_end().to_owned(),
        (None, Some(policy)) => policy.clone(),
        (None, None) => String::new(),
    })?;
    output.say(&format!(
        "\nThe store is {}{}",
        store.as_str(),
        if is_sure { "." } else { ", by the looks of its endpoint; --store says otherwise." }
    ));
    if let Some(policy) = policy.filter(|_| !policy_is_data) {
        output.say(&format!("What the node's keys must be allowed, and nothing else (policy.json):\n\n{policy}\n"));
    }
    output.say(&added.keys.text());
    output.say("\nThen, on the node: fleetagent config check, fleetagent doctor, and start fleetagent");
    Ok(Exit::Ok)
}

/// Says what is known of a node of this name. That nothing can be known keeps nobody from reading the config.
async fn warn_of_others(node: &NodeName, context: &Context, config: &ControllerConfig) {
    let state = async {
        let controller = context.looker_of(config).await?;
        Ok::<_, Failure>(controller.node_state(node, LivenessLimits::default()).await?)
    };
    let warn = |message: String| context.output.say(&format!("warning: {message}"));
    match state.await {
        Err(failure) => warn(format!("whether there is a node {node} already cannot be seen: {}", failure.message())),
        Ok(state) => {
            if state.has_heartbeat {
                let when = state.last_seen.map_or_else(
                    || "at an unknown time".to_owned(),
                    |at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
                );
                let still = match state.liveness {
                    Liveness::Active | Liveness::Warning => "; two agents of one name get in each other's way",
                    Liveness::Dead | Liveness::Unknown => "",
                };
                warn(format!("an agent reported as {node} before, last {when}{still}"));
            }
            let wanted = state.cells.iter().filter(|cell| cell.newest.is_some() && !cell.is_removed());
            let cells: Vec<&str> = wanted.map(|cell| cell.cell.cell.as_str()).collect();
            if !cells.is_empty() {
                warn(format!("{node} deploys these as soon as it runs: {}", cells.join(" ")));
            }
        }
    }
}
