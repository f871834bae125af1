//! `fleetman pause` and `resume`

use clap::Args;

use super::applied::Written;
use super::batch::{Again, Batch};
use super::context::Context;
use super::select::Selection;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::controller::Known;

/// Keep new versions away from each cell; what runs goes on.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman pause n1/web --reason 'black friday'")]
pub(super) struct PauseArgs {
    #[command(flatten)]
    selection: Selection,
    /// Why, for whoever wants to publish meanwhile
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// End a pause: new versions may be published again.
#[derive(Debug, Args)]
pub(super) struct ResumeArgs {
    #[command(flatten)]
    selection: Selection,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn pause(args: PauseArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    let cells = args.selection.resolve(&controller, context).await?;
    let batch = Batch::ask(context, "pause", cells, args.yes, interrupt::watch()?)?;
    let ran =
        batch.run(async |cell| Ok(Written::from(controller.pause(cell, &args.reason, &Known::Anything).await?))).await;
    ran.finish(context.output, Again::Nothing)
}

pub(super) async fn resume(args: ResumeArgs, context: &Context) -> Result<Exit, Failure> {
    let controller = context.controller().await?;
    let cells = args.selection.resolve(&controller, context).await?;
    let batch = Batch::ask(context, "resume", cells, args.yes, interrupt::watch()?)?;
    let ran = batch.run(async |cell| Ok(Written::from(controller.resume(cell, &Known::Anything).await?))).await;
    ran.finish(context.output, Again::Nothing)
}
