//! `fleetagent`: the command line of the daemon on a node.

mod check;
mod context;
mod doctor;
mod run;
mod status;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use self::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::program::{self, Talk};
use super::supervise;
use crate::config::ConfigError;

/// Runs what a bucket says on this node, and reports back.
#[derive(Debug, Parser)]
#[command(name = "fleetagent", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What every verb understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
struct Global {
    /// The config file [default: ./agent_config.yaml, then /etc/fleetman/agent_config.yaml]
    #[arg(short, long, global = true, value_name = "FILE", env = "FLEETAGENT_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    talk: Talk,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Poll, deploy and report until asked to end (SIGTERM or Ctrl-C)
    Run,
    /// Look once, do what can be done now, report, and end
    Once,
    /// Show what runs here, without asking the bucket
    #[command(after_help = "Exit codes: 0 an agent runs, 3 none runs, 4 it cannot be told.")]
    Status,
    /// Check config, folders, bucket, clock and keys
    Doctor,
    /// Look at the config
    #[command(subcommand)]
    Config(ConfigVerb),
}

#[derive(Debug, Subcommand)]
enum ConfigVerb {
    /// Say whether the config can be used, and what it comes to
    Check,
}

/// The verbs as `--help` shows them.
const GROUPS: &[(&str, &[&str])] = &[("Work", &["run", "once"]), ("Look", &["status", "doctor", "config"])];

fn command() -> clap::Command {
    program::grouped(Cli::command(), GROUPS)
}

/// Runs `fleetagent` with these arguments, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(exit) = supervise::main("fleetagent", &args) {
        return exit;
    }
    let cli: Cli = match program::parse(command(), args) {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    let output = cli.global.talk.output();
    cli.global.talk.log("info");
    let context = Context::new(cli.global.config, output);
    match cli.verb {
        // Service managers give its exit codes a meaning of their own.
        Some(Verb::Status) => status::run(&context),
        verb => program::run(output, dispatch(verb, &context)),
    }
}

async fn dispatch(verb: Option<Verb>, context: &Context) -> Result<Exit, Failure> {
    match verb {
        Some(Verb::Run) => run::run(context).await,
        Some(Verb::Once) => run::once(context).await,
        Some(Verb::Doctor) => doctor::run(context).await,
        Some(Verb::Config(ConfigVerb::Check)) => check::run(context),
        Some(Verb::Status) => Ok(Exit::Internal),
        // Without a verb a node that is set up runs; anybody else is shown what there is.
        None => match context.find_config() {
            Err(ConfigError::Absent { .. }) => {
                program::help(&mut command());
                Ok(Exit::Usage)
            }
            _ => run::run(context).await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_verb_is_in_one_group() {
        command().debug_assert();
        program::assert_grouped(&Cli::command(), GROUPS);
    }
}
