//! The program that a detached supervisor is: its command line, its log, and its end.
//!
//! There is one of it a service for as long as that runs, so it carries as little as it can.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::log;
use super::protocol::NEWEST;
use super::server::{Server, ServerConfig, ServerError};
use crate::clock::SystemClock;
use crate::supervise::handed::{self, TAKE_SOCKETS};
use crate::supervise::{in_full, process_ended};

/// What it ends with when it was started with arguments that it does not know.
const USAGE_ERROR: u8 = 2;

/// What it ends with when it could not become the program that it was started for, as shells do.
const NOT_BECOME: u8 = 127;

const USAGE: &str = "\
<folder> <service> [options]
Takes care of the processes of one service.

  <folder>              where every service has its folder
  <service>             the service
  --cgroup              give each process a control group below the own one
  --open-files <count>  the soft limit of open files that processes begin with
  --bound-to <pid>      stop everything and end when this process has ended
  --protocol <version>  the newest version of the protocol to admit to
  --version             say which version this is
";

/// What [`main`] answers to `--version` after the program's name: two programs that say the same take the same
/// arguments and speak the same protocol.
#[must_use]
pub fn version() -> String {
    format!("{}, protocol {NEWEST}", env!("CARGO_PKG_VERSION"))
}

/// Whether [`main`] with these arguments only takes sockets from a supervisor, and becomes the program that is given
/// them.
#[must_use]
pub fn takes_sockets(args: &[OsString]) -> bool {
    args.first().is_some_and(|first| first == TAKE_SOCKETS)
}

/// Is the supervisor of the service that `args` name, until that is stopped or the process is asked to end. `program`
/// is what it calls itself; [`Client`](super::Client) speaks to it. A host's program may be nothing but this, or this
/// under some word of its own command line:
///
/// ```no_run
/// fn main() -> std::process::ExitCode {
///     fleetman::supervise::detached::main("acme-supervisor", std::env::args_os().skip(1))
/// }
/// ```
pub fn main(program: &str, args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    if takes_sockets(&args) {
        return say(io::stderr(), &format!("{program}: {}\n", handed::take(&args[1..])), ExitCode::from(NOT_BECOME));
    }
    // What stands before the arguments on the command line makes this program the supervisor.
    let own: Vec<OsString> = std::env::args_os().collect();
    let before = own.get(1..own.len().saturating_sub(args.len())).unwrap_or_default();
    let itself = [OsString::from("/proc/self/exe")].into_iter().chain(before.iter().cloned()).collect();
    let args = match Args::parse(args) {
        Ok(Asked::Run(args)) => args,
        Ok(Asked::Version) => return say(io::stdout(), &format!("{program} {}\n", version()), ExitCode::SUCCESS),
        Ok(Asked::Help) => return say(io::stdout(), &format!("Usage: {program} {USAGE}"), ExitCode::SUCCESS),
        Err(why) => {
            let text = format!("{program}: {why}\nUsage: {program} {USAGE}");
            return say(io::stderr(), &text, ExitCode::from(USAGE_ERROR));
        }
    };
    log::begin(SystemClock::shared());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(supervise(program, args, itself)),
        Err(error) => Err(format!("starting: {error}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tracing::error!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Nobody is left to be told that nobody listens.
fn say(mut to: impl io::Write, text: &str, exit: ExitCode) -> ExitCode {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
    exit
}

async fn supervise(program: &str, args: Args, itself: Vec<OsString>) -> Result<(), String> {
    let refused = |error| format!("watching for signals: {error}");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    // What ends the terminal or the group of whoever started it is not meant for it. It fails where it is done already.
    let _ = rustix::process::setsid();
    rustix::process::umask(Mode::from_raw_mode(0o022));
    if let Some(most) = args.open_files {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = Some(maximum.map_or(most, |maximum| most.min(maximum)));
        let set = setrlimit(Resource::Nofile, Rlimit { current, maximum });
        set.map_err(|error| format!("setting the limit of open files: {error}"))?;
    }
    let config = ServerConfig {
        folder: args.folder,
        service: args.service,
        use_cgroup: args.use_cgroup,
        program: format!("{program} {}", env!("CARGO_PKG_VERSION")),
        newest: args.protocol,
        itself: Some(itself),
    };
    let server = match Server::open(config, SystemClock::shared()).await {
        // Whoever started this one wanted no more than that there is one.
        Err(ServerError::AlreadyThere { .. }) => return Ok(()),
        opened => opened.map_err(|error| in_full(&error))?,
    };
    let until = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            result = async { process_ended(args.bound_to.unwrap_or_default()).await }, if args.bound_to.is_some() => {
                if let Err(error) = result {
                    tracing::error!(%error, "the process that this is bound to cannot be watched, so all of it ends");
                }
            }
        }
    };
    server.run(until).await.map_err(|error| in_full(&error))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Args {
    folder: PathBuf,
    service: String,
    use_cgroup: bool,
    open_files: Option<u64>,
    bound_to: Option<i32>,
    protocol: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Run(Args),
    Version,
    Help,
}

impl Args {
    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Asked, String> {
        let mut places = Vec::new();
        let (mut use_cgroup, mut open_files, mut bound_to, mut protocol) = (false, None, None, NEWEST);
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("--version") => return Ok(Asked::Version),
                Some("--help") => return Ok(Asked::Help),
                Some("--cgroup") => use_cgroup = true,
                Some("--open-files") => open_files = Some(number("--open-files", args.next())?),
                Some("--bound-to") => bound_to = Some(number("--bound-to", args.next())?),
                Some("--protocol") => protocol = number("--protocol", args.next())?,
                Some(unknown) if unknown.starts_with('-') => return Err(format!("there is no option {unknown}")),
                _ => places.push(arg),
            }
        }
        let count = places.len();
        let [folder, service] = <[OsString; 2]>::try_from(places)
            .map_err(|_| format!("a folder and a service are needed, {count} arguments were given"))?;
        let service = service.into_string().map_err(|service| format!("{service:?} is no name of a service"))?;
        Ok(Asked::Run(Self { folder: folder.into(), service, use_cgroup, open_files, bound_to, protocol }))
    }
}

fn number<T: FromStr>(option: &str, value: Option<OsString>) -> Result<T, String> {
    let value = value.ok_or_else(|| format!("{option} needs a number"))?;
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{option} needs a number, not {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Asked, String> {
        Args::parse(args.iter().map(OsString::from))
    }

    #[test]
    fn what_is_typed_is_taken_in_any_order() {
        let none = Args {
            folder: "/srv".into(),
            service: "web".to_owned(),
            use_cgroup: false,
            open_files: None,
            bound_to: None,
            protocol: NEWEST,
        };
        let all = Args { use_cgroup: true, open_files: Some(64), bound_to: Some(7), protocol: 1, ..none.clone() };
        assert_eq!(parse(&["/srv", "web"]), Ok(Asked::Run(none)));
        let args = ["--cgroup", "/srv", "--open-files", "64", "web", "--bound-to", "7", "--protocol", "1"];
        assert_eq!(parse(&args), Ok(Asked::Run(all)));
        assert_eq!(parse(&["/srv", "--version"]), Ok(Asked::Version));
        assert_eq!(parse(&["--help"]), Ok(Asked::Help));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (args, why) in [
            (&["/srv"][..], "a folder and a service are needed, 1 arguments were given"),
            (&["/srv", "web", "more"], "a folder and a service are needed, 3 arguments were given"),
            (&["/srv", "web", "--cgroups"], "there is no option --cgroups"),
            (&["/srv", "web", "--bound-to"], "--bound-to needs a number"),
            (&["/srv", "web", "--bound-to", "me"], "--bound-to needs a number, not \"me\""),
            (&["/srv", "web", "--open-files", "-1"], "--open-files needs a number, not \"-1\""),
        ] {
            assert_eq!(parse(args), Err(why.to_owned()), "{args:?}");
        }
    }
}
