//! `fleetman quickstart`

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::failure::Failure;

/// A whole fleet in one process: a store, a controller and three agents, with a small web site on each node.
#[derive(Debug, Args)]
pub(super) struct QuickstartArgs {
    /// Start over: throw away what the last run left in the folder
    #[arg(long)]
    fresh: bool,
    /// Leave nothing behind
    #[arg(long, conflicts_with_all = ["fresh", "folder"])]
    ephemeral: bool,
    /// Where everything is kept between runs
    #[arg(long, value_name = "FOLDER", default_value = ".fleetman/quickstart")]
    folder: PathBuf,
    /// The first of the ports that the sites are served on [default: free ones]
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
}

pub(super) async fn run(args: QuickstartArgs) -> Result<Exit, Failure> {
    let QuickstartArgs { fresh: _, ephemeral: _, folder: _, port: _ } = args;
    Err(Failure::new(Exit::Internal, "not_built", "this build has no quickstart"))
}
