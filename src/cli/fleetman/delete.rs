//! `fleetman delete`: what nobody needs any more, out of the bucket.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::Context;
use crate::cli::ask;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::controller::{Deletion, Guard, Known, LivenessLimits};
use crate::model::{CellId, DeploymentName, ManifestName, NodeName, VersionName};

/// Delete what nobody needs any more from the bucket.
///
/// What is in use is refused, naming who needs it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman delete version n1/web 1.4.1")]
pub(super) struct DeleteArgs {
    #[command(subcommand)]
    what: What,
    /// Do not ask
    #[arg(short, long, global = true)]
    yes: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A version of a cell: marked now, deleted by the same command an hour later
    Version {
        /// The cell, as <node>/<cell>
        cell: CellId,
        /// The version
        version: VersionName,
    },
    /// A release; versions made from it keep their own copies of its files
    Deployment {
        /// The manifest
        manifest: ManifestName,
        /// The release
        deployment: DeploymentName,
    },
    /// A manifest without cells and releases
    Manifest {
        /// The manifest
        manifest: ManifestName,
    },
    /// A cell that was removed from its node
    Cell {
        /// The cell, as <node>/<cell>
        cell: CellId,
    },
    /// The heartbeat of a node that is dead
    Heartbeat {
        /// The node
        node: NodeName,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { cell, version } => write!(f, "version {version} of {cell}"),
            Self::Deployment { manifest, deployment } => write!(f, "release {deployment} of {manifest}"),
            Self::Manifest { manifest } => write!(f, "manifest {manifest}"),
            Self::Cell { cell } => write!(f, "cell {cell}"),
            Self::Heartbeat { node } => write!(f, "the heartbeat of {node}"),
        }
    }
}

#[derive(Debug, Serialize)]
struct Deleted {
    what: String,
    /// False where it is only marked so far.
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    objects: Option<usize>,
    /// When the same command finishes the deletion.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_at: Option<DateTime<Utc>>,
}

pub(super) async fn run(args: DeleteArgs, context: &Context) -> Result<Exit, Failure> {
    ask::confirm(&format!("Delete {}?", args.what), args.yes)?;
    let controller = context.controller().await?;
    let deletion = match &args.what {
        What::Version { cell, version } => controller.delete_version(cell, version).await?,
        What::Deployment { manifest, deployment } => {
            controller.delete_deployment(manifest, deployment, &Known::Anything).await?
        }
        What::Manifest { manifest } => controller.delete_manifest(manifest, &Known::Anything).await?,
        What::Cell { cell } => controller.delete_cell(cell, &Guard::default()).await?,
        What::Heartbeat { node } => {
            controller.delete_heartbeat(node, LivenessLimits::default(), &Known::Anything).await?
        }
    };
    let what = args.what.to_string();
    let deleted = match deletion {
        Deletion::Done { objects } => Deleted { what, done: true, objects: Some(objects), ready_at: None },
        Deletion::Marked { ready_at } => Deleted { what, done: false, objects: None, ready_at: Some(ready_at) },
    };
    context.output.show(&deleted, |_| match deleted.ready_at {
        None => format!("{} is deleted", deleted.what),
        Some(ready_at) => {
            let when = ready_at.to_rfc3339_opts(SecondsFormat::Secs, true);
            format!("{} is marked and can no longer be published; run this again after {when}", deleted.what)
        }
    })?;
    Ok(Exit::Ok)
}
