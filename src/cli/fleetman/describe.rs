//! `fleetman describe`: everything that is known of one thing.

use clap::{Args, Subcommand};
use serde::Serialize;

use super::context::Context;
use super::get::fleet;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::model::manifest::Manifest;
use crate::model::{CellId, DeploymentName, ManifestName, NodeName, VersionName};
use crate::web::views::{CellDetail, ManifestDetail, NodeDetail, ReleaseDetail, Version};

/// Show everything that is known of one thing, as YAML unless -o json is given.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  fleetman describe cell n1/web\n  fleetman describe node n1 -o json")]
pub(super) struct DescribeArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A machine that runs an agent
    Node {
        /// Its name
        node: NodeName,
    },
    /// What is deployed to a node
    Cell {
        /// Its name, <node>/<cell>
        cell: CellId,
    },
    /// A recipe
    Manifest {
        /// Its name
        manifest: ManifestName,
    },
    /// An uploaded release
    Deployment {
        /// The manifest
        manifest: ManifestName,
        /// Its name
        deployment: DeploymentName,
    },
    /// A version of a cell
    Version {
        /// The cell, as <node>/<cell>
        cell: CellId,
        /// Its name
        version: VersionName,
    },
}

/// A version with its manifest.
#[derive(Debug, Serialize)]
struct VersionDetail {
    #[serde(flatten)]
    version: Version,
    manifest: Option<Manifest>,
}

pub(super) async fn run(args: DescribeArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.looker().await?;
    let output = context.output;
    match args.what {
        What::Node { node } => {
            let found = NodeDetail::find(&node, &fleet(&controller).await?);
            show(output, &found.ok_or_else(|| absent(format!("node {node}"), "nodes"))?)
        }
        What::Cell { cell } => {
            let found = CellDetail::find(&cell, &fleet(&controller).await?);
            show(output, &found.ok_or_else(|| absent(format!("cell {cell}"), "cells"))?)
        }
        What::Manifest { manifest } => {
            let text = controller.get_manifest(&manifest).await?;
            show(output, &ManifestDetail::of(manifest, text))
        }
        What::Deployment { manifest, deployment } => {
            show(output, &ReleaseDetail::from(&controller.view_deployment(&manifest, &deployment).await?))
        }
        What::Version { cell, version } => {
            let found = controller.versions(&cell).await?.into_iter().find(|view| view.name == version);
            let view =
                found.ok_or_else(|| absent(format!("version {version} of {cell}"), &format!("versions {cell}")))?;
            let manifest = match view.facts {
                Some(_) => Some(controller.version(&cell, &version).await?.manifest),
                None => None,
            };
            show(output, &VersionDetail { version: view.into(), manifest })
        }
    }
}

fn show<T: Serialize>(output: Output, value: &T) -> Result<Exit, Failure> {
    output.show_whole(value)?;
    Ok(Exit::Ok)
}

fn absent(what: String, kind: &str) -> Failure {
    let failure = Failure::new(Exit::NotFound, "not_found", format!("there is no {what}"));
    failure.help(format!("`fleetman get {kind}` shows which there are"))
}
