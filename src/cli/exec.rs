//! The shim that supervisord starts in a program's place: a part of the agent that nobody types. It becomes the program,
//! with the same process id.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use crate::profiles::{EXEC, become_process_of};

/// How a shim ends that could not become its program. Shells use it for what cannot be executed.
const CANNOT_EXECUTE: u8 = 126;

/// Becomes a program if that is what `args` ask for, the program's name first.
pub(super) fn main(args: &[OsString]) -> Option<ExitCode> {
    let [_, word, folder, process] = args else { return None };
    if word != EXEC {
        return None;
    }
    let why = become_process_of(Path::new(folder), &process.to_string_lossy());
    eprintln!("fleetagent: {why}");
    Some(ExitCode::from(CANNOT_EXECUTE))
}
