//! `fleetman completion`

use clap::Args;
use clap_complete::Shell;

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

/// Print completions for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(fleetman completion bash)
  fleetman completion zsh > \"${fpath[1]}/_fleetman\"
  fleetman completion fish > ~/.config/fish/completions/fleetman.fish")]
pub(super) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionArgs, context: &Context) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "fleetman", &mut script);
    context.output.bytes(&script)?;
    Ok(Exit::Ok)
}
