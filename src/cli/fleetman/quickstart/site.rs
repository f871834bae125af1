//! The deployed folder of a node as a web site, in a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use super::super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::web::folder;

/// Serve a folder as a web site until standard input is closed.
#[derive(Debug, Args)]
pub(in super::super) struct ServeFolderArgs {
    /// The folder, or a link to it
    folder: PathBuf,
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
}

/// A running site.
pub(super) struct Site {
    child: Child,
    pub(super) port: u16,
}

/// The most ports that are tried beyond the wanted one.
const NEXT_PORTS: u16 = 50;

/// How long a site may take to say that it listens, and to end.
const PATIENCE: Duration = Duration::from_secs(5);

impl Site {
    /// Serves `folder` at `port`, or at the next free one; `taken` ports are left to others.
    pub(super) async fn start(folder: &Path, port: u16, taken: &[u16], context: &Context) -> Result<Self, Failure> {
        for port in candidates(port, taken) {
            if let Some(child) = spawn(folder, port, context).await? {
                return Ok(Self { child, port });
            }
        }
        Err(no_port(port))
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Asks it to end, and makes it end.
    pub(super) async fn stop(mut self, context: &Context) {
        drop(self.child.stdin.take());
        tokio::select! {
            _ = self.child.wait() => {}
            () = context.clock.sleep(PATIENCE) => {
                let _ = self.child.kill().await;
            }
        }
    }
}

/// The wanted port and those after it.
pub(super) fn candidates(port: u16, taken: &[u16]) -> impl Iterator<Item = u16> {
    (port..=port.saturating_add(NEXT_PORTS)).filter(|port| !taken.contains(port))
}

pub(super) fn no_port(port: u16) -> Failure {
    let message = format!("no port is free from {port} to {}", port.saturating_add(NEXT_PORTS));
    Failure::new(Exit::Conflict, "no_port", message).help("--port names another one to begin with")
}

/// Starts the process and waits until it listens; None if the port is taken.
async fn spawn(folder: &Path, port: u16, context: &Context) -> Result<Option<Child>, Failure> {
    let failed = |error| Failure::local("starting a web server for a node", &error);
    let mut child = Command::new(std::env::current_exe().map_err(failed)?)
        .arg("serve-folder")
        .arg(folder)
        .args(["--listen", &format!("127.0.0.1:{port}")])
        // It ends when this is closed: also when this process is killed.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Ctrl-C is for this process, which then ends the others in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let mut line = String::new();
    if let Some(out) = child.stdout.take() {
        let mut out = BufReader::new(out).take(1024);
        tokio::select! {
            read = out.read_line(&mut line) => { read.map_err(failed)?; }
            () = context.clock.sleep(PATIENCE) => {}
        }
    }
    if line.trim() == LISTENING {
        return Ok(Some(child));
    }
    let taken = i32::from(Exit::Conflict.code());
    let status = child.wait().await.map_err(failed)?;
    if status.code() == Some(taken) {
        return Ok(None);
    }
    Err(Failure::new(Exit::Internal, "site", format!("the web server for a node ended with {status}")))
}

/// What the process says once it can be asked.
const LISTENING: &str = "listening";

/// The process itself.
pub(in super::super) async fn serve(args: ServeFolderArgs, context: &Context) -> Result<Exit, Failure> {
    let listener = TcpListener::bind(args.listen).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            Failure::new(Exit::Conflict, "port_taken", format!("{} is taken", args.listen))
        }
        _ => Failure::local(format!("listening on {}", args.listen), &error),
    })?;
    context.output.data(LISTENING)?;
    let until_closed = async {
        let mut input = tokio::io::stdin();
        let mut ignored = [0; 64];
        while input.read(&mut ignored).await.is_ok_and(|count| count > 0) {}
    };
    let serving = folder::serve(&args.folder, listener, until_closed);
    serving.await.map_err(|error| Failure::local("serving a folder", &error))?;
    Ok(Exit::Ok)
}

/// Listens on the loopback address, at the wanted port or at the next free one.
pub(super) async fn listen(port: u16, taken: &[u16]) -> Result<TcpListener, Failure> {
    for port in candidates(port, taken) {
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return Ok(listener);
        }
    }
    Err(no_port(port))
}
