//! `fleetman serve`

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::context::Context;
use super::first_admin;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::interrupt;
use crate::cli::notify::Manager;
use crate::clock::Clock;
use crate::web;
use crate::web::listener::{Limits, Listener, Settings};

/// Serve the portal and its API, until Ctrl-C or SIGTERM.
///
/// Beside the pages and /api/v1 there are /healthz, /readyz and /metrics. Nothing needs it to run: every verb speaks to
/// the bucket itself.
#[derive(Debug, Default, Args)]
#[command(after_help = "Example:\n  fleetman serve --listen 127.0.0.1:8080\n  curl http://127.0.0.1:8080/readyz")]
pub(super) struct ServeArgs {
    /// Where to listen [default: `listen` of the config]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Let other machines in without encryption, and take requests under every host name
    #[arg(long)]
    insecure_http: bool,
}

pub(super) async fn run(args: ServeArgs, context: &Context) -> Result<Exit, Failure> {
    // Signals are watched before anything else, so that one that comes early is not lost.
    let ended = interrupt::watch()?;
    let config = context.quiet_config()?;
    let address = args.listen.unwrap_or(config.listen);
    let settings =
        Settings { serving: config.serving.clone(), insecure_http: args.insecure_http, limits: Limits::default() };
    let site = context.site(args.listen).await?;
    let listener = Listener::bind(address, settings, context.clock.clone()).await?;
    for warning in listener.warnings() {
        context.output.say(&format!("warning: {warning}"));
    }
    let (local, url) = (listener.local_addr(), listener.url());
    let fleets: Vec<_> = site.fleets.iter().map(|fleet| fleet.controller.store().describe().to_string()).collect();
    let serving = format!("Serving {} on {url}", fleets.join(", "));
    context.output.say(&serving);
    let manager = Manager::of_this_process(context.clock.clone());
    manager.ready(&serving);
    let asked_to_end = ended.clone();
    let gate = site.gate.clone();
    let reached = config.serving.public_url.map_or(url, |public| public.to_string());
    let tell = async {
        if let Some(link) = first_admin::link(&gate, &reached, &*context.clock).await {
            context.output.say(&link);
        }
        pending::<Infallible>().await
    };
    let served = web::serve(site, context.clock.clone(), listener, ended);
    tokio::pin!(served);
    tokio::select! {
        () = &mut served => {}
        () = asked_to_end.cancelled() => {
            manager.stopping();
            served.await;
        }
        never = tell => match never {},
        never = watch(&manager, local, &*context.clock) => match never {},
    }
    Ok(Exit::Ok)
}

/// Tells the service manager that the server gets on, as long as it answers.
async fn watch(manager: &Manager, local: SocketAddr, clock: &dyn Clock) -> Infallible {
    let Some(every) = manager.patience() else { return pending().await };
    loop {
        let answers = tokio::select! {
            answers = answers(local) => answers.is_ok(),
            () = clock.sleep(every) => false,
        };
        if answers {
            manager.alive();
        }
        clock.sleep(every / 2).await;
    }
}

/// Waits until the server at `local`, which is this one, takes a connection and answers, or at least closes it.
async fn answers(local: SocketAddr) -> io::Result<()> {
    let ip = match local.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut connection = TcpStream::connect((ip, local.port())).await?;
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    // Where TLS is spoken it says so, and where too many ask it refuses: it gets on all the same.
    let _ = connection.read(&mut [0]).await;
    Ok(())
}
