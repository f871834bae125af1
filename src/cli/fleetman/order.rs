//! An order to one or several cells: who gets it, why, and whether to wait until it is carried out.

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::batch::{Again, Batch};
use super::change::{ChangeArgs, Changed};
use super::context::Context;
use super::select::Selection;
use super::wait::{WaitArgs, follow};
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::controller::Controller;
use crate::model::CellId;

/// To which cells an order goes, why, and whether to wait for them.
#[derive(Debug, Args)]
pub(super) struct OrderArgs {
    #[command(flatten)]
    pub(super) selection: Selection,
    #[command(flatten)]
    pub(super) change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Selects, asks, changes, and follows if that is wanted. Cells that others of them depend on come first.
pub(super) async fn carry_out(
    context: &Context,
    controller: &Controller,
    intent: &str,
    order: &OrderArgs,
    again: Again,
    work: impl AsyncFn(&CellId) -> Result<Changed, Failure>,
) -> Result<Exit, Failure> {
    let cells = order.selection.resolve(controller, context).await?;
    let cells = controller.in_order(cells).await?;
    carry_out_to(cells, context, controller, intent, order, again, work).await
}

/// The same to cells that were selected already.
pub(super) async fn carry_out_to(
    cells: Vec<CellId>,
    context: &Context,
    controller: &Controller,
    intent: &str,
    order: &OrderArgs,
    again: Again,
    work: impl AsyncFn(&CellId) -> Result<Changed, Failure>,
) -> Result<Exit, Failure> {
    let OrderArgs { change, wait, .. } = order;
    let interrupted: CancellationToken = interrupt::watch()?;
    let mut ran = Batch::ask(context, intent, cells, change.yes, interrupted.clone())?.run(work).await;
    let followed =
        if wait.is_wanted() { follow(context, controller, &mut ran.done, wait, interrupted).await? } else { Exit::Ok };
    // What could not be published at all is worse than what failed or is late on a node.
    Ok(match ran.finish(context.output, again)? {
        Exit::Ok => followed,
        exit => exit,
    })
}
