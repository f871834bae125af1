//! `fleetman apply` and `validate`: manifests and cells from files.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::applied::{self, Written};
use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::input;
use crate::recipe::{self, Parsed};
use crate::yaml;

/// Put manifests and cells into the bucket, byte for byte.
///
/// Everything is checked before the first is written. Nothing is deployed: `fleetman publish` does that.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  fleetman apply -f site.yaml -f cells/\n  cat site.yaml | fleetman apply -f -")]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    files: FileArgs,
}

/// Check manifests and cells without a bucket.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman validate -f site.yaml")]
pub(super) struct ValidateArgs {
    #[command(flatten)]
    files: FileArgs,
}

#[derive(Debug, Args)]
struct FileArgs {
    /// A file, a folder of *.yaml and *.yml files, or - for standard input; may be repeated
    #[arg(short, long = "file", value_name = "PATH", required = true)]
    file: Vec<PathBuf>,
}

/// A document that can be applied.
#[derive(Debug, Serialize)]
struct Valid {
    kind: &'static str,
    name: String,
}

pub(super) async fn apply(args: ApplyArgs, context: &Context) -> Result<Exit, Failure> {
    let documents = args.files.read()?;
    let applied = context.controller().await?.apply(documents).await?;
    let written: Vec<Written> = applied.into_iter().map(Written::from).collect();
    applied::show(&written, context.output)?;
    Ok(Exit::Ok)
}

pub(super) fn validate(args: &ValidateArgs, context: &Context) -> Result<Exit, Failure> {
    let valid: Vec<Valid> = args.files.read()?.iter().map(Valid::from).collect();
    context.output.show(&valid, |_| {
        let lines: Vec<String> =
            valid.iter().map(|document| format!("{} {} is valid", document.kind, document.name)).collect();
        lines.join("\n")
    })?;
    Ok(Exit::Ok)
}

impl From<&Parsed> for Valid {
    fn from(parsed: &Parsed) -> Self {
        match parsed {
            Parsed::Manifest(recipe) => Self { kind: "manifest", name: recipe.name.to_string() },
            Parsed::Cell(binding) => Self { kind: "cell", name: binding.cell.to_string() },
        }
    }
}

impl FileArgs {
    /// Every document, or everything that is wrong with any of them.
    fn read(&self) -> Result<Vec<Parsed>, Failure> {
        let (mut documents, mut errors) = (Vec::new(), Vec::new());
        for named in &self.file {
            for path in files(named)? {
                match recipe::read(&input::read_text(&path, yaml::MAX_BYTES)?, &path.display().to_string()) {
                    Ok(read) => documents.extend(read),
                    Err(error) => errors.push(error),
                }
            }
        }
        if errors.is_empty() { Ok(documents) } else { Err(Failure::recipes(&errors)) }
    }
}

/// The files that `named` stands for, by name.
fn files(named: &Path) -> Result<Vec<PathBuf>, Failure> {
    if named == Path::new("-") || !named.is_dir() {
        return Ok(vec![named.to_owned()]);
    }
    let unreadable = |error| Failure::local(format!("listing {}", named.display()), &error);
    let mut found = Vec::new();
    for entry in fs::read_dir(named).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Failure::usage(format!("there is no *.yaml and no *.yml in {}", named.display())));
    }
    found.sort();
    Ok(found)
}
