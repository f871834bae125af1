//! What both programs are made of: the runtime, the help, the end.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::future::Future;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{ArgAction, Args, Command, FromArgMatches};
use tokio::runtime::Runtime;

use super::exit::Exit;
use super::failure::Failure;
use super::log::{self, LogFormat};
use super::output::{Format, Output};

/// How a program talks; part of what every verb understands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Talk {
    /// How data is written: table, json or yaml
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    output: Format,
    /// Log more on standard error; again for still more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// How log lines are written: text or json
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    log_format: LogFormat,
}

impl Talk {
    /// Where data goes, and how.
    pub(super) fn output(&self) -> Output {
        Output::new(self.output)
    }

    /// Begins to log for `program`, from the level `usual` on unless more is asked for.
    pub(super) fn log(&self, program: &'static str, usual: &str) {
        log::init(program, self.log_format, usual, self.verbose);
    }
}

/// `command` with a help that shows its verbs in groups.
pub(super) fn grouped(command: Command, groups: &[(&str, &[&str])]) -> Command {
    let mut text = String::new();
    let about = |verb: &str| {
        let found = command.get_subcommands().find(|command| command.get_name() == verb)?;
        Some(found.get_about().map(ToString::to_string).unwrap_or_default())
    };
    for (group, verbs) in groups {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{group}:");
        for verb in *verbs {
            if let Some(about) = about(verb) {
                let _ = writeln!(text, "  {verb:<12} {about}");
            }
        }
        text.push('\n');
    }
    let exits: Vec<String> =
        Exit::ALL.iter().map(|(exit, meaning)| format!("  {:<4} {meaning}", exit.code())).collect();
    let _ = write!(text, "Exit codes:\n{}", exits.join("\n"));
    command
        .help_template("{about}\n\n{usage-heading} {usage}{after-help}\n\nGlobal options:\n{options}")
        .after_help(text)
        .disable_help_subcommand(true)
}

/// Shows the help of `command` where errors go, because nobody asked for it.
pub(super) fn help(command: &mut Command) {
    let _ = write!(io::stderr(), "{}", command.render_help());
}

/// What was typed. Otherwise it says what clap found wrong, or shows the help or the version that was asked for.
pub(super) fn parse<T: FromArgMatches>(
    command: Command,
    args: impl IntoIterator<Item = OsString>,
) -> Result<T, ExitCode> {
    command.try_get_matches_from(args).and_then(|matches| T::from_arg_matches(&matches)).map_err(|error| {
        // Nobody is left to be told that nobody listens.
        let _ = error.print();
        if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() }
    })
}

/// Runs a verb to its end, and tells of its failure.
pub(super) fn run(output: Output, verb: impl Future<Output = Result<Exit, Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    finish(output, runtime, verb)
}

/// The same on the calling thread alone.
#[cfg(feature = "agent")]
pub(super) fn run_alone(output: Output, verb: impl Future<Output = Result<ExitCode, Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    finish(output, runtime, verb)
}

fn finish<T: Into<ExitCode>>(
    output: Output,
    runtime: io::Result<Runtime>,
    verb: impl Future<Output = Result<T, Failure>>,
) -> ExitCode {
    let result = match runtime {
        Ok(runtime) => runtime.block_on(verb),
        Err(error) => Err(Failure::local("starting threads", &error)),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.fail(&failure);
            failure.exit.into()
        }
    }
}

/// Every verb is shown, once.
#[cfg(test)]
pub(super) fn assert_grouped(command: &Command, groups: &[(&str, &[&str])]) {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let count = groups.iter().flat_map(|(_, verbs)| *verbs).filter(|name| **name == verb.get_name()).count();
        assert_eq!(count, 1, "{} is in {count} groups", verb.get_name());
    }
    for name in groups.iter().flat_map(|(_, verbs)| *verbs) {
        assert!(command.find_subcommand(name).is_some(), "{name} is no verb");
    }
}
