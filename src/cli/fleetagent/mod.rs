//! `fleetagent`: the command line of the daemon on a node.

mod bucket;
mod cells;
mod check;
mod context;
mod doctor;
mod follow;
mod host;
mod init;
mod logs;
mod metrics;
mod order;
mod ps;
mod reset;
mod run;
mod status;
mod strand;
mod supervisord;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use self::context::Context;
use self::logs::LogsArgs;
use self::order::{Order, OrderArgs};
use self::reset::ResetArgs;
use super::exec;
use super::exit::Exit;
use super::failure::Failure;
use super::program::{self, Talk};
use super::write_env;
use crate::config::ConfigError;
use crate::profiles::{self, SUPERVISE};

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
    /// The config file [default: ./agent_config.yaml, ~/.config/fleetman/agent_config.yaml unless root, /etc/fleetman/agent_config.yaml]
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
    /// List the processes of the cells, as their supervisors report them
    Ps,
    /// Show what the processes of a cell write
    #[command(after_help = "Examples:
  fleetagent logs web
  fleetagent logs web/main -f -n 20

A terminal gets it without control characters, anything else as it was written. Without -f no supervisor has to run.")]
    Logs(LogsArgs),
    /// Start processes of a cell
    #[command(after_help = "Without a process: those that start with the cell and do not run, but no task that has \
completed.")]
    Start(OrderArgs),
    /// Stop processes of a cell, until it gets a new version or the machine starts again
    #[command(after_help = "For good: fleetman stop")]
    Stop(OrderArgs),
    /// Stop processes of a cell and start them again
    #[command(
        after_help = "Without a process: all of them are stopped, the last that was started first; then those that \
start with the cell are started, tasks too."
    )]
    Restart(OrderArgs),
    /// Tell processes of a cell to read their configuration anew, without stopping them
    #[command(after_help = "A process is sent its `reload_signal`, and refused if its manifest sets none. Without a \
process: those that have one and run.")]
    Reload(OrderArgs),
    /// Stop and remove cells on this node, without the bucket
    #[command(after_help = "Examples:
  fleetagent reset --cell web
  fleetagent reset --all --purge-data -y

Also for cells that no trigger asks for (orphaned). What the agent accepted last stays known: an older trigger is not \
obeyed afterwards either. The bucket is not told: what it asks for the agent deploys again, unless it is held.")]
    Reset(ResetArgs),
    /// Check config, folders, profiles, rights in the bucket, keys and clock
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
const GROUPS: &[(&str, &[&str])] = &[
    ("Work", &["run", "once"]),
    ("Look", &["status", "ps", "logs", "doctor", "config"]),
    ("Act by hand", &["start", "stop", "restart", "reload", "reset"]),
];

/// The command line as clap knows it, with the help that groups verbs.
#[must_use]
pub fn command() -> clap::Command {
    program::grouped(Cli::command(), GROUPS)
}

/// Runs `fleetagent` with these arguments, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if let Some(exit) = exec::main(&args) {
        return exit;
    }
    if let [_, word, rest @ ..] = &args[..]
        && word == SUPERVISE
    {
        return profiles::supervise("fleetagent", rest);
    }
    if let Some(exit) = write_env::main(&args) {
        return exit;
    }
    let cli: Cli = match program::parse(command(), args.clone()) {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    let output = cli.global.talk.output();
    cli.global.talk.log("fleetagent", "info");
    let context = Context::new(cli.global.config, output);
    match cli.verb {
        // Service managers give its exit codes a meaning of their own.
        Some(Verb::Status) => status::run(&context),
        None | Some(Verb::Run) if init::is_init() => {
            program::run_alone(output, init::run(&args, context.clock.clone()))
        }
        verb => program::run(output, dispatch(verb, &context)),
    }
}

async fn dispatch(verb: Option<Verb>, context: &Context) -> Result<Exit, Failure> {
    match verb {
        Some(Verb::Run) => run::run(context).await,
        Some(Verb::Once) => run::once(context).await,
        Some(Verb::Ps) => ps::run(context).await,
        Some(Verb::Logs(args)) => logs::run(&args, context).await,
        Some(Verb::Start(args)) => order::run(Order::Start, &args, context).await,
        Some(Verb::Stop(args)) => order::run(Order::Stop, &args, context).await,
        Some(Verb::Restart(args)) => order::run(Order::Restart, &args, context).await,
        Some(Verb::Reload(args)) => order::run(Order::Reload, &args, context).await,
        Some(Verb::Reset(args)) => reset::run(&args, context).await,
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
