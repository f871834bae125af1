//! `fleetman cat`: a file of a version, as nodes get it.

use clap::Args;

use super::context::Context;
use super::print;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::controller::FilePlace;
use crate::model::{CellId, FilePath, VersionName};

/// Print a file of a version.
///
/// Its bytes are compared with what the version says of them; exit code 5 if they differ.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  fleetman cat n1/web 1.4.2 etc/app.conf > app.conf")]
pub(super) struct CatArgs {
    /// The cell, as <node>/<cell>
    cell: CellId,
    /// The version
    version: VersionName,
    /// The file
    path: FilePath,
}

pub(super) async fn run(args: CatArgs, context: &Context) -> Result<Exit, Failure> {
    let CatArgs { cell, version, path } = args;
    let controller = context.looker().await?;
    let FilePlace { key, offset, file } = controller.find_version_file(&cell, &version, &path).await?;
    let is_right = |found| {
        if found == file.sha256 {
            return Ok(());
        }
        let message =
            format!("{key} is not file {path} of {cell}, version {version}: expected {}, got {found}", file.sha256);
        Err(Failure::new(Exit::Denied, "corrupt", message)
            .help("find out who wrote to the bucket; publish a new version"))
    };
    let start = offset.unwrap_or(0);
    print::object(controller.store(), &key, start..start.saturating_add(file.size), is_right, context.output).await?;
    Ok(Exit::Ok)
}
