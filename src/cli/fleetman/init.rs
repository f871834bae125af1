//! `fleetman init`

use std::path::{Path, PathBuf};

use askama::Template;
use clap::Args;
use uuid::Uuid;

use super::applied::Written;
use super::context::Context;
use super::keygen;
use super::node::config::{Own, Profile, agent_config, quoted};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::input;
use crate::config::{ConfigFile, ControllerConfig};
use crate::entropy;

/// No secret key is longer.
const MAX_SECRET_BYTES: usize = 4096;

/// Make a config and a signing key, and mark the bucket as this fleet's.
///
/// Writes controller_config.yaml and a signing key, neither over an existing file, creates fleet.json in the bucket,
/// and prints the config for the nodes. Run it again without a bucket to finish what was interrupted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fleetman init s3://acme-fleet/prod --region eu-central-1
  fleetman init s3://fleet --endpoint http://127.0.0.1:9000 --access-key GK123 --secret-key-file ./secret")]
pub(super) struct InitArgs {
    /// The bucket, and the folder in it for this fleet: s3://<bucket>[/<prefix>]
    #[arg(value_name = "URL")]
    url: Option<String>,
    /// What --bucket will call it [default: the bucket's name]
    #[arg(long, value_name = "NAME", requires = "url")]
    name: Option<String>,
    /// The store's URL, unless it is AWS
    #[arg(long, value_name = "URL", requires = "url")]
    endpoint: Option<String>,
    /// The store's region
    #[arg(long, value_name = "REGION", requires = "url")]
    region: Option<String>,
    /// A profile of ~/.aws/config
    #[arg(long, value_name = "PROFILE", requires = "url", conflicts_with = "access_key")]
    profile: Option<String>,
    /// The access key, if it is to stand in the config
    #[arg(long, value_name = "KEY", requires_all = ["url", "secret_key_file"])]
    access_key: Option<String>,
    /// The file with its secret key; - reads standard input
    #[arg(long, value_name = "FILE", requires = "access_key")]
    secret_key_file: Option<PathBuf>,
    /// The fleet to join, instead of a new one
    #[arg(long, value_name = "UUID", requires = "url")]
    fleet: Option<Uuid>,
    /// Where the signing key is, or goes
    #[arg(long, value_name = "FILE", default_value = "signing.key")]
    key_file: PathBuf,
    /// Sign nothing: whoever can write to the bucket can then deploy
    #[arg(long, requires = "url")]
    unsigned: bool,
}

#[derive(Template)]
#[template(path = "init_controller.yaml", escape = "none")]
struct ControllerTemplate {
    name: String,
    fleet: Uuid,
    bucket: String,
    prefix: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    access: Access,
    signing_key_file: Option<String>,
}

/// Who asks the store.
enum Access {
    Keys { access_key: String, secret_key: String },
    Profile(String),
    Chain,
}

pub(super) async fn run(args: InitArgs, context: &Context) -> Result<Exit, Failure> {
    let path = match (&args.url, context.find_config()) {
        (None, found) => found
            .map_err(|error| Failure::from(error).help("name the bucket: fleetman init s3://<bucket>[/<prefix>]"))?,
        (Some(url), _) => {
            let path = context.config_to_write();
            write_config(&args, url, path, context)?;
            path.to_owned()
        }
    };
    let controller = context.controller().await?;
    let marked = controller.init().await?;
    context.output.say(&format!("{}: {}", controller.store().describe(), Written::from(marked)));
    let config = ControllerConfig::parse(&ConfigFile::read(&path)?)?;
    let bucket = context.chosen(&config)?;
    context
        .output
        .say("\nThe config for a node, to be completed and saved there as /etc/fleetman/agent_config.yaml:\n");
    let own = Own { node: None, keys: None, profiles: &Profile::USUAL };
    context.output.data(&agent_config(bucket, &own)?)?;
    context.output.say("\nNext: fleetman doctor, and fleetman node add <node>");
    Ok(Exit::Ok)
}

/// Writes the key first: a config that names no key is of no use, a key alone does no harm.
fn write_config(args: &InitArgs, url: &str, path: &Path, context: &Context) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() {
        let message = format!("{} exists, and is not overwritten", path.display());
        let help = "add the bucket to it by hand; controller_config.example.yaml shows how";
        return Err(Failure::new(Exit::Conflict, "exists", message).help(help));
    }
    let address = url.strip_prefix("s3://").unwrap_or(url).trim_end_matches('/');
    let (bucket, prefix) = match address.split_once('/') {
        Some((bucket, prefix)) => (bucket, Some(prefix)),
        None => (address, None),
    };
    let access = match (&args.access_key, &args.secret_key_file, &args.profile) {
        (Some(access_key), Some(file), _) => Access::Keys {
            access_key: quoted(access_key),
            secret_key: quoted(input::read_text(file, MAX_SECRET_BYTES)?.trim()),
        },
        (_, _, Some(profile)) => Access::Profile(quoted(profile)),
        _ => Access::Chain,
    };
    let template = ControllerTemplate {
        name: quoted(args.name.as_deref().unwrap_or(bucket)),
        fleet: args.fleet.map_or_else(entropy::uuid, Ok).map_err(|e| Failure::local("asking for randomness", &e))?,
        bucket: quoted(bucket),
        prefix: prefix.map(quoted),
        endpoint: args.endpoint.as_deref().map(quoted),
        region: args.region.as_deref().map(quoted),
        access,
        signing_key_file: (!args.unsigned).then(|| from_config(&args.key_file, path)),
    };
    let text = template.render().map_err(|error| Failure::new(Exit::Internal, "template", error.to_string()))?;
    // What was typed is checked before anything is written.
    ControllerConfig::parse(&ConfigFile::written(path, text.clone()))?;
    if !args.unsigned && args.key_file.symlink_metadata().is_err() {
        let key = keygen::create(&args.key_file)?;
        context.output.say(&format!("{}: a new signing key, {}", args.key_file.display(), key.public()));
    }
    keygen::write_new(path, &text, 0o600)?;
    context.output.say(&format!("{}: written", path.display()));
    Ok(())
}

/// `file` as the config at `config` has to name it: from its own folder.
fn from_config(file: &Path, config: &Path) -> String {
    let same_folder = config.parent().is_none_or(|folder| folder.as_os_str().is_empty() || folder == Path::new("."));
    let path =
        if same_folder { file.to_owned() } else { std::path::absolute(file).unwrap_or_else(|_| file.to_owned()) };
    quoted(&path.display().to_string())
}
