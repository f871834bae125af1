//! `fleetman stop` and `remove`: the only orders that end what runs.

use clap::Args;

use super::batch::Batch;
use super::change::{ChangeArgs, Changed};
use super::context::Context;
use super::select::Selection;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::controller::StopRequest;

/// Stop each cell and keep it stopped, also across reboots; its files stay.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  fleetman stop n1/web --reason maintenance\n  fleetman redeploy n1/web     # starts it again"
)]
pub(super) struct StopArgs {
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Stop each cell and remove its files from the node.
///
/// What is in the bucket stays: publishing brings the cell back, and `fleetman delete cell` forgets it.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    selection: Selection,
    /// Delete the cell's data folder on the node, too
    #[arg(long)]
    purge_data: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

pub(super) async fn stop(args: StopArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    let cells = args.selection.resolve(&controller, context).await?;
    let guard = args.change.guard(None);
    let batch = Batch::ask(context, "stop", cells, args.change.yes, interrupt::watch()?)?;
    let ran = batch.run(async |cell| {
        let request = StopRequest { cell: cell.clone(), reason: args.change.reason.clone() };
        Ok::<Changed, Failure>(controller.stop(&request, &guard).await?.into())
    });
    ran.await.finish(context.output)
}

pub(super) async fn remove(args: RemoveArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    let cells = args.selection.resolve(&controller, context).await?;
    let guard = args.change.guard(None);
    let intent = if args.purge_data { "remove, with all its data," } else { "remove" };
    let batch = Batch::ask(context, intent, cells, args.change.yes, interrupt::watch()?)?;
    let ran = batch.run(async |cell| {
        let request = StopRequest { cell: cell.clone(), reason: args.change.reason.clone() };
        Ok::<Changed, Failure>(controller.remove(&request, args.purge_data, &guard).await?.into())
    });
    ran.await.finish(context.output)
}
