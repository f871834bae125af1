//! `fleetman schema`

use clap::{Args, ValueEnum};

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::recipe::schema;

/// Print the JSON Schema of a file that people write.
///
/// Editors that know `yaml-language-server` check a file against it while it is written.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  fleetman schema manifest > manifest.schema.json
  # then, as the first line of a manifest:
  # yaml-language-server: $schema=manifest.schema.json")]
pub(super) struct SchemaArgs {
    /// Of which file
    #[arg(value_enum)]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// What a cell is made of and how it is run
    Manifest,
    /// A manifest bound to a node
    Cell,
}

pub(super) fn run(args: &SchemaArgs, context: &Context) -> Result<Exit, Failure> {
    let schema = match args.kind {
        Kind::Manifest => schema::manifest(),
        Kind::Cell => schema::cell(),
    };
    // A schema is JSON whatever `-o` says.
    context.output.data(schema::text(&schema).trim_end())?;
    Ok(Exit::Ok)
}
