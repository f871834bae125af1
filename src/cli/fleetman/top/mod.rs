//! `fleetman top`: the fleet on a screen that stays up to date, as long as somebody looks.

mod board;
mod look;
mod table;

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;

use self::board::{Asked, Board};
use self::look::{Look, Looker};
use super::context::Context;
use super::select::Filter;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::cli::terminal::{Input, Terminal};
use crate::yaml::HumanDuration;

/// Nobody looks more often than this.
const SHORTEST: Duration = Duration::from_millis(200);

/// Watch nodes and cells on one screen, the worst first.
///
/// It reads what agents report: one LIST of the agents and one of the indexes for each look, and what changed. Keys are
/// named in the last line; nothing can be changed from here.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  fleetman top\n  fleetman top -l region=eu --every 10s\n  fleetman top --nodes")]
pub(super) struct TopArgs {
    /// Begin with the nodes
    #[arg(long)]
    nodes: bool,
    #[command(flatten)]
    filter: Filter,
    /// How often it is looked
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    every: HumanDuration,
}

pub(super) async fn run(args: TopArgs, context: &Context) -> Result<Exit, Failure> {
    let interrupted = interrupt::watch()?;
    let controller = context.looker().await?;
    let looker = Looker::new(&controller, args.filter);
    // What makes no sense at all is told before the screen is taken.
    let (first, looker) = looker.first().await?;
    let (tell, looks) = watch::channel(Arc::new(first));
    let mut terminal = Terminal::take()
        .map_err(|failure| failure.help("`fleetman status` and `fleetman events -w` can be read by programs"))?;
    let board = Board::new(args.nodes, controller.store().describe());
    tokio::select! {
        end = show(board, looks, &mut terminal, context) => end,
        () = looker.go_on(&tell, args.every.0.max(SHORTEST), context.clock.as_ref()) => Ok(Exit::Ok),
        () = interrupted.cancelled() => Ok(Exit::Interrupted),
    }
}

/// Shows each look, and does what keys ask for.
async fn show(
    mut board: Board,
    mut looks: watch::Receiver<Arc<Look>>,
    terminal: &mut Terminal,
    context: &Context,
) -> Result<Exit, Failure> {
    let mut shown = looks.borrow_and_update().clone();
    loop {
        terminal.draw(&board.lines(&shown, terminal.size(), context.output))?;
        tokio::select! {
            changed = looks.changed(), if !board.is_paused() => match changed {
                Ok(()) => shown = looks.borrow_and_update().clone(),
                Err(_) => return Ok(Exit::Ok),
            },
            input = terminal.input() => match input {
                Input::Keys(keys) => {
                    for key in keys {
                        if board.press(key, &shown) == Asked::End {
                            return Ok(Exit::Ok);
                        }
                    }
                }
                Input::Resized => {}
                Input::Gone => return Ok(Exit::Ok),
            },
        }
    }
}
