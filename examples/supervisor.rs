//! A process supervisor of a few lines: what `fleetman::supervise` gives to a program that has nothing else to do with
//! Fleetman. It keeps a service running, in the foreground or in a process of its own.
//!
//! ```sh
//! cargo run --no-default-features --features supervise --example supervisor
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use fleetman::clock::SystemClock;
use fleetman::supervise::detached::{Client, DetachedError, NEWEST, Orders, Report, Server, ServerConfig};
use fleetman::supervise::{
    Follow, Last, LogFiles, Piece, ProcessState, ProcessStatus, ServiceDef, Supervisor, SupervisorConfig,
    SupervisorError,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

const USAGE: &str = "\
Runs a service, and keeps it running.

  supervisor run     <folder> <service> <file>       in the foreground, until Ctrl-C or nothing of it is left to run
  supervisor start   <folder> <service> <file>       in the background, or as the file says now if it runs already
  supervisor status  <folder> <service>
  supervisor logs    <folder> <service> <process>    what it wrote; with -f at the end also what it writes from now on
  supervisor restart <folder> <service> <process>
  supervisor stop    <folder> <service>

The folder holds the logs, and what a supervisor leaves to the next one. The file is JSON:

  {\"processes\": {
    \"migrate\": {\"kind\": \"task\", \"run\": {\"shell\": \"echo migrated\"}},
    \"web\": {\"run\": {\"command\": [\"python3\", \"-m\", \"http.server\"]}, \"env\": {\"PATH\": \"/usr/bin\"}, \"after\": [\"migrate\"]}
  }}
";

/// The end of the log that `logs` shows.
const LINES: u64 = 100;

/// A line that is longer is shown in pieces.
const MOST_LINE: usize = 16 * 1024;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["run", folder, service, file] => run(folder, service, file).await,
        ["start", folder, service, file] => start(folder, service, file).await,
        ["serve", folder, service] => serve(folder, service).await,
        ["status", folder, service] => status(folder, service).await,
        ["logs", folder, service, process] => logs(folder, service, process),
        ["logs", folder, service, process, "-f"] => follow(folder, service, process).await,
        ["restart", folder, service, process] => restart(folder, service, process).await,
        ["stop", folder, service] => stop(folder, service).await,
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    done.unwrap_or_else(|error| {
        eprintln!("supervisor: {}", in_full(&*error));
        ExitCode::FAILURE
    })
}

/// Runs a service below this very process.
async fn run(folder: &str, service: &str, file: &str) -> Fallible<ExitCode> {
    let definition = read_definition(file)?;
    let supervisor = Supervisor::open(SupervisorConfig::new(folder), SystemClock::shared())?;
    let mut events = supervisor.events();
    let mut asked_to_end = Box::pin(asked_to_end()?);
    let names: Vec<String> = definition.processes.keys().cloned().collect();

    match supervisor.start_service(service, definition).await {
        // It is tried again if its restart policy says so.
        Ok(()) | Err(SupervisorError::NotStarted { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let mut printing = JoinSet::new();
    for name in names {
        let output = supervisor.get_output(service, &name)?.follow();
        printing.spawn(print(name, output));
    }

    let mut said = BTreeMap::new();
    loop {
        let now = supervisor.service_status(service)?.processes;
        print_changes(&said, &now)?;
        said = now;
        if said.values().all(|process| process.state.is_at_rest()) {
            break;
        }
        tokio::select! {
            // Whatever happened, or was missed: the status tells the rest.
            _ = events.recv() => {}
            () = &mut asked_to_end => break,
        }
    }
    let bad = |state: &ProcessState| matches!(state, ProcessState::Crashed { .. } | ProcessState::Failed { .. });
    let went_badly = said.values().any(|process| bad(&process.state));
    // Ends what runs. All output has come then, and so the printing ends too.
    supervisor.shutdown().await?;
    while let Some(printed) = printing.join_next().await {
        printed??;
    }
    Ok(if went_badly { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Orders a service from the supervisor in the background, which is started if none is there.
async fn start(folder: &str, service: &str, file: &str) -> Fallible<ExitCode> {
    let orders = Orders::up("by hand", read_definition(file)?);
    let mut client = match Client::connect(Path::new(folder), service).await {
        Err(DetachedError::NotThere { .. }) => {
            start_server(folder, service)?;
            Client::connect(Path::new(folder), service).await?
        }
        client => client?,
    };
    client.apply(orders).await?;
    print_report(&client.status().await?)
}

/// Starts this program anew as a supervisor that outlives it, and waits until it listens.
fn start_server(folder: &str, service: &str) -> Fallible<()> {
    let mut command = Command::new(std::env::current_exe()?);
    // In a group of its own, so that Ctrl-C here is nothing to it.
    command.args(["serve", folder, service]).process_group(0);
    let mut server = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut said = String::new();
    if let Some(stdout) = server.stdout.take() {
        io::BufReader::new(stdout).read_line(&mut said)?;
    }
    if said.trim() == LISTENS { Ok(()) } else { Err(format!("the supervisor did not start: {}", said.trim()).into()) }
}

/// What a supervisor in the background says once it listens. Otherwise it says why it does not.
const LISTENS: &str = "listens";

/// Is the supervisor in the background.
async fn serve(folder: &str, service: &str) -> Fallible<ExitCode> {
    let config = ServerConfig {
        folder: folder.into(),
        service: service.to_owned(),
        use_cgroup: false,
        program: concat!("example ", env!("CARGO_PKG_VERSION")).to_owned(),
        newest: NEWEST,
        itself: None,
    };
    let server = match Server::open(config, SystemClock::shared()).await {
        Ok(server) => server,
        Err(error) => {
            writeln!(io::stdout(), "{}", in_full(&error))?;
            return Err(error.into());
        }
    };
    writeln!(io::stdout(), "{LISTENS}")?;
    server.run(asked_to_end()?).await?;
    Ok(ExitCode::SUCCESS)
}

async fn status(folder: &str, service: &str) -> Fallible<ExitCode> {
    print_report(&Client::connect(Path::new(folder), service).await?.status().await?)
}

async fn restart(folder: &str, service: &str, process: &str) -> Fallible<ExitCode> {
    Client::connect(Path::new(folder), service).await?.restart_process(process).await?;
    Ok(ExitCode::SUCCESS)
}

async fn stop(folder: &str, service: &str) -> Fallible<ExitCode> {
    match Client::connect(Path::new(folder), service).await {
        Ok(mut client) => client.stop().await?,
        Err(DetachedError::NotThere { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Shows what is logged, whether or not anything runs.
fn logs(folder: &str, service: &str, process: &str) -> Fallible<ExitCode> {
    let logs = Path::new(folder).join(service).join("logs");
    io::copy(&mut LogFiles::of(&logs, process)?.tail(Last::Lines(LINES))?, &mut io::stdout())?;
    Ok(ExitCode::SUCCESS)
}

async fn follow(folder: &str, service: &str, process: &str) -> Fallible<ExitCode> {
    let client = Client::connect(Path::new(folder), service).await?;
    let mut following = client.follow(process, SystemClock::shared()).await?;
    loop {
        match following.next().await {
            Ok(Piece::Bytes(bytes)) => io::stdout().write_all(&bytes)?,
            Ok(Piece::Lost(bytes)) => eprintln!("[{bytes} bytes came too fast to be shown]"),
            // The supervisor has ended.
            Err(DetachedError::Broken { source, .. }) if source.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(ExitCode::SUCCESS);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn read_definition(file: &str) -> Fallible<ServiceDef> {
    let text = std::fs::read(file).map_err(|error| format!("reading {file}: {error}"))?;
    Ok(serde_json::from_slice(&text).map_err(|error| format!("reading {file}: {error}"))?)
}

/// An error with its causes.
fn in_full(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", in_full(cause)))
}

/// Completes at Ctrl-C or SIGTERM, which from now on do not end this process by themselves.
fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Prints what a process writes, each line with its name before it.
async fn print(process: String, mut output: Follow) -> io::Result<()> {
    let mut waiting = Vec::new();
    while let Some(piece) = output.next().await {
        match piece {
            Piece::Bytes(bytes) => waiting.extend(bytes),
            Piece::Lost(bytes) => eprintln!("{process} | [{bytes} bytes came too fast to be shown]"),
        }
        let mut rest = &waiting[..];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            print_line(&process, &rest[..end])?;
            rest = &rest[end + 1..];
        }
        if rest.len() > MOST_LINE {
            print_line(&process, std::mem::take(&mut rest))?;
        }
        waiting = rest.to_vec();
    }
    if waiting.is_empty() { Ok(()) } else { print_line(&process, &waiting) }
}

fn print_line(process: &str, line: &[u8]) -> io::Result<()> {
    writeln!(io::stdout(), "{process} | {}", String::from_utf8_lossy(line))
}

type Processes = BTreeMap<String, ProcessStatus>;

fn print_changes(before: &Processes, now: &Processes) -> io::Result<()> {
    for (name, process) in now.iter().filter(|(name, process)| before.get(*name) != Some(process)) {
        writeln!(io::stderr(), "{name} is {}", describe(&process.state))?;
    }
    Ok(())
}

fn describe(state: &ProcessState) -> String {
    match state {
        ProcessState::Running { pid, restarts: 0, .. } => format!("running as process {pid}"),
        ProcessState::Running { pid, restarts, .. } => format!("running as process {pid}, restarted {restarts} times"),
        ProcessState::Backoff { end, until, .. } => format!("to be restarted at {until}: it {end}"),
        ProcessState::Crashed { end, .. } => format!("crashed: it {end}"),
        ProcessState::Failed { end, restarts, .. } => format!("failed after {restarts} restarts: it {end}"),
        ProcessState::Stopped { exit: Some(exit), .. } => format!("stopped with {exit}"),
        state => state.name().to_owned(),
    }
}

fn print_report(report: &Report) -> Fallible<ExitCode> {
    let mut out = io::stdout();
    for (name, process) in report.service.iter().flat_map(|service| &service.processes) {
        writeln!(out, "{name} is {}", describe(&process.state))?;
    }
    Ok(ExitCode::SUCCESS)
}
