//! The sample's service: a web server on the files of a version, as a verb that nobody types.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::super::context::Context;
use super::ports;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
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

/// What the process that listened last left in the data folder.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Listening {
    pub(super) pid: u32,
    /// Where it was to listen.
    wanted: u16,
    /// Where it did.
    pub(super) address: SocketAddr,
}

impl Listening {
    const FILE: &'static str = "listening.json";

    pub(super) fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(data.join(Self::FILE)).ok()?).ok()
    }

    fn write(&self, data: &Path) -> Result<(), Failure> {
        let (path, new) = (data.join(Self::FILE), data.join("listening.new"));
        let written = serde_json::to_vec(self).map_err(std::io::Error::from).and_then(|bytes| fs::write(&new, bytes));
        let written = written.and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| Failure::local(format!("writing {}", path.display()), &error))
    }
}

pub(in super::super) async fn serve(args: ServeFolderArgs, context: &Context) -> Result<Exit, Failure> {
    let ServeFolderArgs { folder, port: wanted, node, version, data } = args;
    let ended = interrupt::watch()?;
    // Addresses stay, also those that were not the first choice.
    let before = Listening::read(&data).filter(|before| before.wanted == wanted);
    let listener = ports::listen(before.map_or(wanted, |before| before.address.port())).await?;
    let address = listener.local_addr().map_err(|error| Failure::local("asking for its address", &error))?;
    context.output.data(&format!("serving version {version} on http://{address}/"))?;
    let pid = std::process::id();
    Listening { pid, wanted, address }.write(&data)?;
    let process = Process { node, version, pid, since: context.clock.now() };
    let serving = folder::serve(&folder, process, listener, ended.cancelled_owned());
    serving.await.map_err(|error| Failure::local("serving a folder", &error))?;
    Ok(Exit::Ok)
}
