//! Writes the manual pages of both programs, and their completions for bash, zsh and fish, into a folder: what packages
//! bring beside the programs.
//!
//! ```text
//! manual <folder>
//! ```

use std::error::Error;
use std::fs;
use std::path::Path;

use clap_complete::Shell;
use fleetman::cli::{fleetagent, fleetman as controller};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("say into which folder")?;
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    for (mut command, name) in [(controller::command(), "fleetman"), (fleetagent::command(), "fleetagent")] {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut command, name, folder)?;
        }
        clap_mangen::generate_to(command, folder)?;
    }
    Ok(())
}
