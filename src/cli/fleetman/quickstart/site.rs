//! The sample's service: a web server on the files of a version, as a verb that nobody types.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::net::TcpListener;

use super::super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::web::folder::{self, Process};

/// Serve a folder as a web site, as the sample cell of quickstart does.
#[derive(Debug, Args)]
pub(in super::super) struct ServeFolderArgs {
    /// The folder
    folder: PathBuf,
    /// Where to listen
    #[arg(long, env = "LISTEN")]
    listen: SocketAddr,
    /// The node that it runs on
    #[arg(long, env = "FLEETMAN_NODE")]
    node: String,
    /// The version that it serves
    #[arg(long, env = "FLEETMAN_VERSION")]
    version: String,
}

pub(in super::super) async fn serve(args: ServeFolderArgs, context: &Context) -> Result<Exit, Failure> {
    let ServeFolderArgs { folder, listen, node, version } = args;
    let ended = interrupt::watch()?;
    let listener = TcpListener::bind(listen).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::new(Exit::Conflict, "port_taken", format!("{listen} is taken")),
        _ => Failure::local(format!("listening on {listen}"), &error),
    })?;
    context.output.data(&format!("serving version {version} on http://{listen}/"))?;
    let process = Process { node, version, pid: std::process::id(), since: context.clock.now() };
    let serving = folder::serve(&folder, process, listener, ended.cancelled_owned());
    serving.await.map_err(|error| Failure::local("serving a folder", &error))?;
    Ok(Exit::Ok)
}
