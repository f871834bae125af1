//! `fleetman serve`

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::context::Context;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::cli::notify::Manager;
use crate::clock::Clock;
use crate::web;

/// Serve the read API over HTTP, until Ctrl-C or SIGTERM.
///
/// /healthz, /readyz and /api/v1/{nodes,cells,manifests,deployments}. Nothing needs it to run: every verb speaks to the
/// bucket itself.
#[derive(Debug, Default, Args)]
#[command(after_help = "Example:\n  fleetman serve --listen 127.0.0.1:8080\n  curl http://127.0.0.1:8080/api/v1/cells")]
pub(super) struct ServeArgs {
    /// Where to listen [default: `listen` of the config]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Let other machines in, without encryption and without asking who they are
    #[arg(long)]
    insecure_http: bool,
}

pub(super) async fn run(args: ServeArgs, context: &Context) -> Result<Exit, Failure> {
    // Signals are watched before anything else, so that one that comes early is not lost.
    let ended = interrupt::watch()?;
    let address = match args.listen {
        Some(address) => address,
        None => context.quiet_config()?.listen,
    };
    if !address.ip().is_loopback() && !args.insecure_http {
        let message = format!("{address} is open to other machines, and this API neither encrypts nor asks who comes");
        return Err(Failure::usage(message).help("listen on 127.0.0.1 behind a proxy, or say --insecure-http"));
    }
    let site = context.site(args.insecure_http).await?;
    let listener = TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Failure::new(Exit::Conflict, "port_taken", format!("{address} is taken"))
            .help("stop what listens there, or choose another with --listen"),
        _ => Failure::local(format!("listening on {address}"), &error),
    })?;
    let local = listener.local_addr().unwrap_or(address);
    let fleets: Vec<_> = site.fleets.iter().map(|fleet| fleet.controller.store().describe().to_string()).collect();
    let serving = format!("Serving {} on http://{local}", fleets.join(", "));
    context.output.say(&serving);
    let manager = Manager::of_this_process(context.clock.clone());
    manager.ready(&serving);
    let asked_to_end = ended.clone();
    let served = web::serve(site, context.clock.clone(), listener, ended);
    tokio::pin!(served);
    let served = tokio::select! {
        served = &mut served => served,
        () = asked_to_end.cancelled() => {
            manager.stopping();
            served.await
        }
        never = watch(&manager, local, &*context.clock) => match never {},
    };
    served.map_err(|error| Failure::local(format!("serving on {local}"), &error))?;
    Ok(Exit::Ok)
}

/// Tells the service manager that the server gets on, as long as it answers.
async fn watch(manager: &Manager, local: SocketAddr, clock: &dyn Clock) -> Infallible {
    let Some(every) = manager.patience() else { return pending().await };
    loop {
        let answers = tokio::select! {
            answers = answers(local) => answers.unwrap_or(false),
            () = clock.sleep(every) => false,
        };
        if answers {
            manager.alive();
        }
        clock.sleep(every / 2).await;
    }
}

/// Whether the server at `local`, which is this one, takes a connection and answers that all is well.
async fn answers(local: SocketAddr) -> io::Result<bool> {
    let ip = match local.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut connection = TcpStream::connect((ip, local.port())).await?;
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    const GOOD: &[u8] = b"HTTP/1.1 200 ";
    let mut begin = [0; GOOD.len()];
    connection.read_exact(&mut begin).await?;
    Ok(begin == GOOD)
}
