//! The process that takes care of one cell: a part of both programs that nobody types, started by the `process`
//! profile. There is one of it a cell for as long as the cell runs, so it carries as little as it can.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::exit::Exit;
use super::failure::Failure;
use super::interrupt;
use crate::clock::SystemClock;
use crate::profiles::SUPERVISE;
use crate::store::in_full;
use crate::supervise::detached::{NEWEST, Server, ServerConfig, ServerError};
use crate::supervise::process_ended;

/// Take care of the processes of one cell. Agents start this by themselves.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// The folder of all cells under the process profile
    folder: PathBuf,
    /// The cell
    cell: String,
    /// Give each process a control group below the own one
    #[arg(long)]
    cgroup: bool,
    /// The soft limit of open files that processes begin with
    #[arg(long, value_name = "COUNT")]
    open_files: Option<u64>,
    /// Stop everything and end when this process has ended
    #[arg(long, value_name = "PID")]
    bound_to: Option<i32>,
    /// The newest version of the protocol to admit to
    #[arg(long, value_name = "VERSION", default_value_t = NEWEST)]
    protocol: u32,
}

/// Runs it if that is what `args` ask for, the program's name first.
pub(super) fn main(program: &str, args: &[OsString]) -> Option<ExitCode> {
    args.get(1).filter(|word| *word == SUPERVISE)?;
    let args = match Args::try_parse_from(&args[1..]) {
        Ok(args) => args,
        Err(error) => {
            // Nobody is left to be told that nobody listens.
            let _ = error.print();
            return Some(if error.use_stderr() { Exit::Usage.into() } else { Exit::Ok.into() });
        }
    };
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false);
    // A second call, as a test may make it, changes nothing.
    let _ = log.with_writer(std::io::stderr).log_internal_errors(false).try_init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(supervise(program, args)),
        Err(error) => Err(Failure::local("starting", &error)),
    };
    Some(match result {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            tracing::error!("{}", failure.for_people());
            failure.exit.into()
        }
    })
}

async fn supervise(program: &str, args: Args) -> Result<(), Failure> {
    let ended = interrupt::watch()?;
    // What ends the terminal or the group of whoever started it is not meant for it. It fails where it is done already.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if let Some(most) = args.open_files {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = Some(maximum.map_or(most, |maximum| most.min(maximum)));
        let set = setrlimit(Resource::Nofile, Rlimit { current, maximum });
        set.map_err(|error| Failure::local("setting the limit of open files", &error.into()))?;
    }
    let config = ServerConfig {
        folder: args.folder,
        service: args.cell,
        use_cgroup: args.cgroup,
        program: format!("{program} {}", env!("CARGO_PKG_VERSION")),
        newest: args.protocol,
    };
    let server = match Server::open(config, SystemClock::shared()).await {
        // Whoever started this one wanted no more than that there is one.
        Err(ServerError::AlreadyThere { .. }) => return Ok(()),
        opened => opened.map_err(failure)?,
    };
    let until = async {
        tokio::select! {
            () = ended.cancelled() => {}
            result = async { process_ended(args.bound_to.unwrap_or_default()).await }, if args.bound_to.is_some() => {
                if let Err(error) = result {
                    tracing::error!(%error, "the process that this is bound to cannot be watched, so all of it ends");
                }
            }
        }
    };
    server.run(until).await.map_err(failure)
}

fn failure(error: ServerError) -> Failure {
    Failure::new(Exit::Internal, "supervisor", in_full(&error))
}
