//! `fleetman bundle`: versions in a file, for sites that no network reaches.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::controller::BundleSelector;
use crate::model::{CellId, VersionName};

#[derive(Debug, Subcommand)]
pub(super) enum BundleVerb {
    Save(SaveArgs),
    Load(LoadArgs),
}

/// Write versions into a file, with the signed triggers that name them.
///
/// The file appears whole or not at all. Its signatures are those of the bucket: no key is needed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman bundle save friday.tar n1/web n2/web@1.4.2")]
pub(super) struct SaveArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The versions: <node>/<cell> for the one that is desired, or <node>/<cell>@<version>
    #[arg(value_name = "VERSION", required = true)]
    versions: Vec<BundleSelector>,
}

/// Put what is in a bundle into the bucket, byte for byte.
///
/// Only a bundle of the same fleet is taken, and only what a trusted key signed. The same again does nothing, and one
/// that was interrupted goes on. Nodes deploy what is newer than what they know.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Serialize)]
struct Moved {
    versions: Vec<Version>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// Files that had to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<usize>,
    /// Documents that were not there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Version {
    cell: CellId,
    version: VersionName,
}

pub(super) async fn run(verb: BundleVerb, context: &Context) -> Result<Exit, Failure> {
    match verb {
        BundleVerb::Save(args) => save(args, context).await,
        BundleVerb::Load(args) => load(args, context).await,
    }
}

async fn save(args: SaveArgs, context: &Context) -> Result<Exit, Failure> {
    let saved = context.looker().await?.save_bundle(&args.file, &args.versions).await?;
    let text = format!("{} files, {} bytes", saved.files, saved.bytes);
    let (files, bytes) = (Some(saved.files), Some(saved.bytes));
    let moved = Moved { versions: versions(saved.versions), files, bytes, sent: None, created: None };
    context.output.show(&moved, |_| lines(&moved, &text))?;
    Ok(Exit::Ok)
}

async fn load(args: LoadArgs, context: &Context) -> Result<Exit, Failure> {
    let loaded = context.controller().await?.load_bundle(&args.file).await?;
    let text = match loaded.created {
        0 => "all of it was there already".to_owned(),
        created => format!("{created} new documents, {} files sent", loaded.sent),
    };
    let (sent, created) = (Some(loaded.sent), Some(loaded.created));
    let moved = Moved { versions: versions(loaded.versions), files: None, bytes: None, sent, created };
    context.output.show(&moved, |_| lines(&moved, &text))?;
    Ok(Exit::Ok)
}

fn versions(versions: Vec<(CellId, VersionName)>) -> Vec<Version> {
    versions.into_iter().map(|(cell, version)| Version { cell, version }).collect()
}

fn lines(moved: &Moved, last: &str) -> String {
    let versions = moved.versions.iter().map(|Version { cell, version }| format!("{cell}  {version}"));
    versions.chain([last.to_owned()]).collect::<Vec<_>>().join("\n")
}
