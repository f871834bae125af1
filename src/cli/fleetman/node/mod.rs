//! `fleetman node`: a node's way into the fleet and out of it. Neither speaks to the node itself.

mod add;
pub(super) mod config;
mod keys;
mod policy;
mod rm;

use clap::Subcommand;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum NodeVerb {
    Add(add::AddArgs),
    Rm(rm::RmArgs),
}

pub(super) async fn run(verb: NodeVerb, context: &Context) -> Result<Exit, Failure> {
    match verb {
        NodeVerb::Add(args) => add::run(args, context).await,
        NodeVerb::Rm(args) => rm::run(args, context).await,
    }
}
