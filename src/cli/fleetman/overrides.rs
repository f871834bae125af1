//! `fleetman override`: a cell's own files, laid over those of the release when it is published.

use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::applied::{self, Written};
use super::context::Context;
use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::input;
use crate::cli::output::Rows;
use crate::controller::Known;
use crate::model::{CellId, FilePath};
use crate::recipe::render;

#[derive(Debug, Subcommand)]
pub(super) enum OverrideVerb {
    /// List a cell's overrides
    Ls {
        /// The cell, as <node>/<cell>
        cell: CellId,
    },
    /// Print an override
    Get {
        /// The cell, as <node>/<cell>
        cell: CellId,
        /// The file, as the release has it
        path: FilePath,
    },
    /// Write an override; it is deployed with the next publish
    Put(PutArgs),
    /// Delete an override
    Rm {
        /// The cell, as <node>/<cell>
        cell: CellId,
        /// The file, as the release has it
        path: FilePath,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman override put n1/web etc/app.conf ./app.conf")]
pub(super) struct PutArgs {
    /// The cell, as <node>/<cell>
    cell: CellId,
    /// The file, as the release has it
    path: FilePath,
    /// Where its content is; - reads standard input
    file: PathBuf,
    /// Only if there is none yet
    #[arg(long)]
    new: bool,
}

#[derive(Debug, Serialize)]
struct Listed {
    path: String,
    size: u64,
    etag: String,
    last_modified: Option<DateTime<Utc>>,
}

pub(super) async fn run(verb: OverrideVerb, context: &Context) -> Result<Exit, Failure> {
    match verb {
        OverrideVerb::Ls { cell } => {
            let controller = context.looker().await?;
            let found = controller.list_overrides(&cell).await?;
            if found.is_empty() {
                controller.get_cell(&cell).await?;
            }
            let listed: Vec<Listed> = found
                .into_iter()
                .map(|view| Listed {
                    path: view.path,
                    size: view.size,
                    etag: view.etag.to_string(),
                    last_modified: view.modified,
                })
                .collect();
            context.output.show(&listed, |output| {
                let mut rows = Rows::new(output, &["path", "size", "modified"]);
                for entry in &listed {
                    let modified = entry.last_modified.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
                    rows.row([(&entry.path).into(), entry.size.into(), modified.unwrap_or_default().into()]);
                }
                rows.render()
            })?;
        }
        OverrideVerb::Get { cell, path } => {
            let object = context.looker().await?.get_override(&cell, &path).await?;
            context.output.bytes(&object.bytes)?;
        }
        OverrideVerb::Put(args) => {
            let bytes = input::read(&args.file, render::MAX_BYTES)?.into();
            let known = if args.new { Known::Absent } else { Known::Anything };
            let applied = context.controller().await?.put_override(&args.cell, &args.path, bytes, &known).await?;
            applied::show(&[Written::from(applied)], context.output)?;
        }
        OverrideVerb::Rm { cell, path, yes } => {
            ask::confirm(&format!("Delete override {path} of {cell}?"), yes)?;
            context.controller().await?.remove_override(&cell, &path, &Known::Anything).await?;
            context.output.say(&format!("{cell}: override {path} is deleted; the next publish goes without it"));
        }
    }
    Ok(Exit::Ok)
}
