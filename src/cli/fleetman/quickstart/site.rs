//! The sample's service: a web server on the files of a version, as a verb that nobody types.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::context::Context;
use super::ports;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::store::in_full;
use crate::web::folder::{self, Process};

/// Serve a folder as a web site, as the sample cell of quickstart does.
#[derive(Debug, Args)]
pub(in super::super) struct ServeFolderArgs {
    /// The folder
    folder: PathBuf,
    /// Where to listen on the loopback address, unless it is taken
    #[arg(long)]
    port: u16,
    /// The node that it runs on
    #[arg(long, env = "FLEETMAN_NODE")]
    node: String,
    /// The version that it serves
    #[arg(long, env = "FLEETMAN_VERSION")]
    version: String,
    /// What outlives versions: here it says where it listens
    #[arg(long, env = "FLEETMAN_DATA_DIR")]
    data: PathBuf,
}

/// What is in a data folder.
const FILE: &str = "process.json";

pub(in super::super) async fn serve(args: ServeFolderArgs, context: &Context) -> Result<Exit, Failure> {
    let ended = interrupt::watch()?;
    // Where the process before it was, so that addresses stay.
    let port = read(&args.data).map_or(args.port, |before| before.address.port());
    let listener = ports::listen(port).await?;
    let address = listener.local_addr().map_err(|error| Failure::local("asking for its address", &error))?;
    let ServeFolderArgs { folder, node, version, data, port: _ } = args;
    context.output.data(&format!("serving version {version} on http://{address}/"))?;
    let process = Process { node, version, pid: std::process::id(), since: context.clock.now(), address };
    write(&data, &process)?;
    let serving = folder::serve(&folder, process, listener, ended.cancelled_owned());
    serving.await.map_err(|error| Failure::local("serving a folder", &error))?;
    Ok(Exit::Ok)
}

/// What the process that listened last wrote about itself.
pub(super) fn read(data: &Path) -> Option<Process> {
    serde_json::from_slice(&fs::read(data.join(FILE)).ok()?).ok()
}

fn write(data: &Path, process: &Process) -> Result<(), Failure> {
    let (path, new) = (data.join(FILE), data.join("process.new"));
    let text =
        serde_json::to_string(process).map_err(|error| Failure::new(Exit::Internal, "process", in_full(&error)))?;
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
    written.map_err(|error| Failure::local(format!("writing {}", path.display()), &error))
}
