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
    selection: Selection,
    #[command(flatten)]
    pub(super) change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Selects, asks, changes, and follows if that is wanted.
pub(super) async fn carry_out(
    context: &Context,
    controller: &Controller,
    intent: &str,
    order: &OrderArgs,
    again: Again,
    work: impl AsyncFn(&CellId) -> Result<Changed, Failure>,
) -> Result<Exit, Failure> {
    let OrderArgs { selection, change, wait } = order;
    let cells = selection.resolve(controller, context).await?;
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
