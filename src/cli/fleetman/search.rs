//! `fleetman search`: everything in whose name a text stands.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::get::fleet;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::output::Rows;
use crate::controller::Found;
use crate::model::{CellId, DeploymentName, ManifestName, NodeName};

/// Find agents, cells, manifests and deployments by a part of their name.
///
/// A part with a slash, such as 7/web, is the end of a node's name and the start of a cell's. Exit code 1 if there is
/// nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  fleetman search web\n  fleetman search edge-7/w -o json")]
pub(super) struct SearchArgs {
    /// What stands in the name
    text: String,
}

#[derive(Debug, Serialize)]
struct Names<'a> {
    nodes: Vec<&'a NodeName>,
    cells: Vec<&'a CellId>,
    manifests: Vec<&'a ManifestName>,
    deployments: Vec<Release<'a>>,
}

#[derive(Debug, Serialize)]
struct Release<'a> {
    manifest: &'a ManifestName,
    name: &'a DeploymentName,
}

pub(super) async fn run(args: SearchArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.looker().await?;
    let fleet = fleet(&controller).await?;
    let releases = controller.release_names(None).await?;
    let stored = controller.manifests().await?.into_iter().map(|manifest| manifest.name);
    // One that cells name may not be there any more.
    let named = fleet.cells().filter_map(|cell| cell.about()).map(|about| about.manifest.clone());
    let manifests: BTreeSet<ManifestName> = stored.chain(named).collect();
    let releases = releases.iter().map(|(manifest, name)| (manifest, name));
    let Found { nodes, cells, manifests, releases } = Found::new(&args.text, &fleet, &manifests, releases);
    let deployments = releases.into_iter().map(|(manifest, name)| Release { manifest, name }).collect();
    let names = Names { nodes, cells, manifests, deployments };
    let mut rows = Rows::new(context.output, &["kind", "name"]);
    names.nodes.iter().for_each(|name| rows.row(["node".into(), name.into()]));
    names.cells.iter().for_each(|name| rows.row(["cell".into(), name.into()]));
    names.manifests.iter().for_each(|name| rows.row(["manifest".into(), name.into()]));
    for Release { manifest, name } in &names.deployments {
        rows.row(["deployment".into(), format!("{manifest}/{name}").into()]);
    }
    let is_empty = rows.is_empty();
    context.output.show(&names, |_| rows.render())?;
    if is_empty {
        context.output.say("nothing has this in its name");
    }
    Ok(if is_empty { Exit::Negative } else { Exit::Ok })
}
