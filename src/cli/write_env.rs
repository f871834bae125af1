//! What writes down the values that a service of systemd gets from files of the node: a part of `fleetagent` that
//! nobody types, named by the units of cells that have such values.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use super::exit::Exit;
use crate::profiles::{WRITE_ENV, write_env};
use crate::store::in_full;

/// Write values of the node where systemd reads them. Units of cells start this by themselves.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The file to write
    file: PathBuf,
    /// Which values to read from where, as JSON; without it the file is removed
    values: Option<String>,
}

/// Runs it if that is what `args` ask for, the program's name first.
pub(super) fn main(args: &[OsString]) -> Option<ExitCode> {
    args.get(1).filter(|word| *word == WRITE_ENV)?;
    let args = match Args::try_parse_from(&args[1..]) {
        Ok(args) => args,
        Err(error) => {
            // Nobody is left to be told that nobody listens.
            let _ = error.print();
            return Some(if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() });
        }
    };
    let log = tracing_subscriber::fmt().without_time().with_ansi(false).with_writer(std::io::stderr);
    // A second call, as a test may make it, changes nothing.
    let _ = log.log_internal_errors(false).try_init();
    Some(match write_env(&args.file, args.values.as_deref()) {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            tracing::error!("{}", in_full(&error));
            Exit::Internal.into()
        }
    })
}
