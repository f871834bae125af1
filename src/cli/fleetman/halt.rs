//! `fleetman stop` and `remove`: the only orders that end what runs.

use clap::Args;

use super::batch::Again;
use super::context::Context;
use super::order::{OrderArgs, carry_out_to};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::controller::{Controller, StopRequest};
use crate::model::CellId;

/// The cells that are to end. It is told what becomes of those that depend on them and are not among them.
async fn cells(context: &Context, controller: &Controller, order: &OrderArgs) -> Result<Vec<CellId>, Failure> {
    let cells = order.selection.resolve(controller, context).await?;
    for cell in &cells {
        for dependent in controller.dependents(cell).await? {
            if !cells.contains(&dependent.cell) {
                context.output.say(&dependent.words(cell));
            }
        }
    }
    Ok(cells)
}

/// Stop each cell and keep it stopped, also across reboots; its files stay.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  fleetman stop n1/web --reason maintenance\n  fleetman redeploy n1/web     # starts it again"
)]
pub(super) struct StopArgs {
    #[command(flatten)]
    order: OrderArgs,
}

/// Stop each cell and remove its files from the node.
///
/// What is in the bucket stays: publishing brings the cell back, and `fleetman delete cell` forgets it.
#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// Delete the cell's data folder on the node, too
    #[arg(long)]
    purge_data: bool,
}

pub(super) async fn stop(args: StopArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    let change = &args.order.change;
    let guard = change.guard(None);
    let cells = cells(context, &controller, &args.order).await?;
    carry_out_to(cells, context, &controller, "stop", &args.order, Again::Nothing, async |cell| {
        let request = StopRequest { cell: cell.clone(), reason: change.reason.clone() };
        Ok(controller.stop(&request, &guard).await?.into())
    })
    .await
}

pub(super) async fn remove(args: RemoveArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    let change = &args.order.change;
    let guard = change.guard(None);
    let intent = if args.purge_data { "remove, with all its data," } else { "remove" };
    let cells = cells(context, &controller, &args.order).await?;
    carry_out_to(cells, context, &controller, intent, &args.order, Again::Nothing, async |cell| {
        let request = StopRequest { cell: cell.clone(), reason: change.reason.clone() };
        Ok(controller.remove(&request, args.purge_data, &guard).await?.into())
    })
    .await
}
