//! `fleetman`: the controller's command line. One file a verb, or a small family of verbs.
//!
//! Every verb speaks to the bucket itself; none needs `serve` to run.

mod alerts;
mod applied;
mod apply;
mod at;
mod attempts;
mod audit;
mod batch;
mod bucket;
mod bundle;
mod cat;
mod change;
mod changes;
mod completion;
mod config;
mod context;
mod delete;
mod describe;
mod diff;
mod doctor;
mod events;
mod export;
mod first_admin;
mod forecast;
mod fsck;
mod gc;
mod get;
mod halt;
mod history;
mod hold;
mod init;
mod keygen;
mod logs;
mod node;
mod order;
mod overrides;
mod password;
mod pause;
mod plan;
mod print;
mod publish;
#[cfg(all(feature = "agent", feature = "embedded"))]
mod quickstart;
mod revert;
mod schema;
mod search;
mod select;
mod serve;
mod source;
mod status;
mod token;
mod top;
mod upload;
mod user;
mod wait;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use self::context::Context;
use super::exit::Exit;
use super::failure::Failure;
use super::program::{self, Talk};
use crate::config::ConfigError;

/// Deploys services to nodes with an S3 bucket as the only control plane.
#[derive(Debug, Parser)]
#[command(name = "fleetman", version, max_term_width = 100)]
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
    /// The config file [default: ./controller_config.yaml, ~/.config/fleetman/controller_config.yaml unless root, /etc/fleetman/controller_config.yaml]
    #[arg(short, long, global = true, value_name = "FILE", env = "FLEETMAN_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Which bucket of the config [default: the first]
    #[arg(short, long, global = true, value_name = "NAME", env = "FLEETMAN_BUCKET", hide_env_values = true)]
    bucket: Option<String>,
    #[command(flatten)]
    talk: Talk,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Try it: a store, a controller and three agents in one process
    #[cfg(all(feature = "agent", feature = "embedded"))]
    Quickstart(quickstart::QuickstartArgs),
    #[cfg(all(feature = "agent", feature = "embedded"))]
    #[command(hide = true)]
    ServeFolder(quickstart::ServeFolderArgs),
    Init(init::InitArgs),
    Keygen(keygen::KeygenArgs),
    /// Take a node into the fleet or out of it
    #[command(subcommand)]
    Node(node::NodeVerb),
    Doctor(doctor::DoctorArgs),
    Serve(serve::ServeArgs),
    /// Say who may sign in to the portal
    #[command(subcommand)]
    User(user::UserVerb),
    /// Make and take back what programs use the portal's API with
    #[command(subcommand)]
    Token(token::TokenVerb),

    Apply(apply::ApplyArgs),
    Validate(apply::ValidateArgs),
    Export(export::ExportArgs),
    /// A cell's own files, laid over those of the release
    #[command(subcommand)]
    Override(overrides::OverrideVerb),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Hold(hold::HoldArgs),
    Unhold(hold::UnholdArgs),
    Logs(logs::LogsArgs),
    Schema(schema::SchemaArgs),

    Upload(upload::UploadArgs),
    Plan(plan::PlanArgs),
    Publish(publish::PublishArgs),
    Redeploy(publish::RedeployArgs),
    Rollback(publish::RollbackArgs),
    Revert(revert::RevertArgs),
    Stop(halt::StopArgs),
    Remove(halt::RemoveArgs),
    Delete(delete::DeleteArgs),
    Gc(gc::GcArgs),
    Fsck(fsck::FsckArgs),
    /// Carry versions to a bucket that no network reaches
    #[command(subcommand)]
    Bundle(bundle::BundleVerb),

    Status(status::StatusArgs),
    Top(top::TopArgs),
    Get(get::GetArgs),
    Describe(describe::DescribeArgs),
    Search(search::SearchArgs),
    History(history::HistoryArgs),
    At(at::AtArgs),
    Attempts(attempts::AttemptsArgs),
    Diff(diff::DiffArgs),
    Cat(cat::CatArgs),
    /// See what is wrong and who was told, acknowledge or silence it
    Alerts(alerts::AlertsArgs),
    Events(events::EventsArgs),
    Audit(audit::AuditArgs),
    /// Look at objects in the bucket
    #[command(subcommand)]
    Bucket(bucket::BucketVerb),
    /// Look at the config
    #[command(subcommand)]
    Config(config::ConfigVerb),
    Completion(completion::CompletionArgs),
}

/// The verbs as `--help` shows them, by what they are for.
const GROUPS: &[(&str, &[&str])] = &[
    ("Start", &["quickstart", "init", "keygen", "node", "doctor", "serve", "user", "token"]),
    ("Say what is wanted", &["apply", "validate", "export", "override", "pause", "resume", "hold", "unhold", "schema"]),
    (
        "Ship",
        &[
            "upload", "plan", "publish", "redeploy", "rollback", "revert", "stop", "remove", "delete", "gc", "fsck",
            "bundle",
        ],
    ),
    (
        "Look",
        &[
            "status", "top", "get", "describe", "search", "history", "at", "attempts", "logs", "diff", "cat", "alerts",
            "events", "audit", "bucket", "config",
        ],
    ),
    ("Shell", &["completion"]),
];

/// The command line as clap knows it, with the help that groups verbs.
#[must_use]
pub fn command() -> clap::Command {
    program::grouped(Cli::command(), GROUPS)
}

/// Runs `fleetman` with these arguments, the program's name first.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    #[cfg(feature = "agent")]
    if let [_, word, rest @ ..] = &args[..]
        && word == crate::profiles::SUPERVISE
    {
        return crate::profiles::supervise("fleetman", rest);
    }
    let cli: Cli = match program::parse(command(), args) {
        Ok(cli) => cli,
        Err(exit) => return exit,
    };
    let output = cli.global.talk.output();
    cli.global.talk.log("fleetman", "warn");
    program::run(output, async {
        let context = Context::new(cli.global, output);
        match cli.verb {
            Some(verb) => dispatch(verb, &context).await,
            None => nothing_asked(&context).await,
        }
    })
}

async fn dispatch(verb: Verb, context: &Context) -> Result<Exit, Failure> {
    match verb {
        #[cfg(all(feature = "agent", feature = "embedded"))]
        Verb::Quickstart(args) => quickstart::run(args, context).await,
        #[cfg(all(feature = "agent", feature = "embedded"))]
        Verb::ServeFolder(args) => quickstart::serve_folder(args, context).await,
        Verb::Init(args) => init::run(args, context).await,
        Verb::Keygen(args) => keygen::run(&args, context),
        Verb::Node(verb) => node::run(verb, context).await,
        Verb::Doctor(args) => doctor::run(args, context).await,
        Verb::Serve(args) => serve::run(args, context).await,
        Verb::User(verb) => user::run(verb, context).await,
        Verb::Token(verb) => token::run(verb, context).await,
        Verb::Apply(args) => apply::apply(args, context).await,
        Verb::Validate(args) => apply::validate(&args, context).await,
        Verb::Export(args) => export::run(args, context).await,
        Verb::Override(verb) => overrides::run(verb, context).await,
        Verb::Pause(args) => pause::pause(args, context).await,
        Verb::Resume(args) => pause::resume(args, context).await,
        Verb::Hold(args) => hold::hold(args, context).await,
        Verb::Unhold(args) => hold::unhold(args, context).await,
        Verb::Logs(args) => logs::run(args, context).await,
        Verb::Schema(args) => schema::run(&args, context),
        Verb::Upload(args) => upload::run(args, context).await,
        Verb::Plan(args) => plan::run(args, context).await,
        Verb::Publish(args) => publish::publish(args, context).await,
        Verb::Redeploy(args) => publish::redeploy(args, context).await,
        Verb::Rollback(args) => publish::rollback(args, context).await,
        Verb::Revert(args) => revert::run(args, context).await,
        Verb::Stop(args) => halt::stop(args, context).await,
        Verb::Remove(args) => halt::remove(args, context).await,
        Verb::Gc(args) => gc::run(&args, context).await,
        Verb::Fsck(args) => fsck::run(&args, context).await,
        Verb::Bundle(verb) => bundle::run(verb, context).await,
        Verb::Delete(args) => delete::run(args, context).await,
        Verb::Status(args) => status::run(args, context).await,
        Verb::Top(args) => top::run(args, context).await,
        Verb::Get(args) => get::run(args, context).await,
        Verb::Describe(args) => describe::run(args, context).await,
        Verb::Search(args) => search::run(args, context).await,
        Verb::History(args) => history::run(args, context).await,
        Verb::At(args) => at::at(args, context).await,
        Verb::Attempts(args) => attempts::run(args, context).await,
        Verb::Diff(args) => diff::run(args, context).await,
        Verb::Cat(args) => cat::run(args, context).await,
        Verb::Alerts(args) => alerts::run(args, context).await,
        Verb::Events(args) => events::run(args, context).await,
        Verb::Audit(args) => audit::run(args, context).await,
        Verb::Config(verb) => config::run(&verb, context),
        Verb::Bucket(verb) => bucket::run(verb, context).await,
        Verb::Completion(args) => completion::run(&args, context),
    }
}

/// Without a verb a machine that is set up serves; anybody else is shown what there is.
async fn nothing_asked(context: &Context) -> Result<Exit, Failure> {
    match context.find_config() {
        Err(ConfigError::Absent { .. }) => {
            program::help(&mut command());
            Ok(Exit::Usage)
        }
        _ => serve::run(serve::ServeArgs::default(), context).await,
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
