//! `fleetman keygen`

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::entropy;
use crate::model::sign::{KeyId, PrivateKey, PublicKey};

/// Make a signing key.
///
/// The private key goes into a file that only you can read; its public half is printed, for `trusted_keys` of the
/// nodes and of other controllers.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman keygen --file /etc/fleetman/signing.key")]
pub(super) struct KeygenArgs {
    /// Where the private key goes; an existing file is never overwritten
    #[arg(short, long, value_name = "FILE", default_value = "signing.key")]
    file: PathBuf,
}

/// What was made.
#[derive(Debug, Serialize)]
struct Made<'a> {
    file: &'a Path,
    key_id: KeyId,
    public_key: PublicKey,
}

pub(super) fn run(args: &KeygenArgs, context: &Context) -> Result<Exit, Failure> {
    let key = create(&args.file)?;
    let public_key = key.public();
    context.output.say(&format!(
        "The private key is in {}. Whoever has it can deploy to the whole fleet.\nThis goes into trusted_keys:",
        args.file.display()
    ));
    let line = format!("  - key: {public_key}");
    context.output.show(&Made { file: &args.file, key_id: public_key.id(), public_key }, |_| line)?;
    Ok(Exit::Ok)
}

/// Makes a key and keeps it in `path`, readable by its owner alone.
pub(super) fn create(path: &Path) -> Result<PrivateKey, Failure> {
    let seed = entropy::bytes().map_err(|error| Failure::local("asking for randomness", &error))?;
    let key = PrivateKey::from_seed(&seed);
    write_new(path, &key.to_file_text(), 0o600)?;
    Ok(key)
}

/// Writes a file that must not exist yet, and sees it to the disk.
pub(super) fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let doing = || format!("writing {}", path.display());
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            let message = format!("{} exists, and is not overwritten", path.display());
            Failure::new(Exit::Conflict, "exists", message).help("name another file, or move this one away")
        }
        _ => Failure::local(doing(), &error),
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| Failure::local(doing(), &error))
}
